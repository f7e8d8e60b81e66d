"""Kernel settings as a caller gives them, and what they were before: when they are asked for no more, they become that again.

May import: lifecycle.state, kernel.api, desired, endpoint, sandbox, types, errors.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from attrs import evolve

from ..desired import Sysctl
from ..endpoint import EndpointRecord
from ..errors import InvalidParameter
from ..kernel.api import Kernel
from ..sandbox import SandboxRecord
from ..types import freeze
from .state import State


def given(sysctls: Mapping[str, object]) -> Mapping[str, str]:
    """Return settings as text.

    Raises:
        InvalidParameter: a value is empty, or of several lines, of which the kernel would take the first.
    """
    found = freeze(sysctls, "sysctls")
    for name, value in found.items():
        if not value.strip() or re.search(r"[\n\0]", value):
            raise InvalidParameter(
                f"invalid value of sysctl {name!r}, {value!r}: write one line", code="invalid_sysctl", name=name
            )
    return found


def of_sandbox(record: SandboxRecord, already: Mapping[str, str], kernel: Kernel) -> SandboxRecord:
    """Return a sandbox's record with what its settings are that are not among ``already``."""
    words = {name: Sysctl(record.key, name.removeprefix("net."), value) for name, value in record.sysctls.items()}
    return evolve(record, sysctls_before=_before(words, already, record.sysctls_before, kernel))


def of_interface(name: str, value: str, record: EndpointRecord, key: str) -> Sysctl:
    """Return the word for an endpoint's setting in the namespace at ``key``."""
    plain = name.removeprefix("net.").replace("IFNAME", "{}")
    return Sysctl(key, plain, value, link=record.ifname, restore=record.sysctls_before.get(name))


def changed(record: EndpointRecord, sysctls: Mapping[str, str], state: State, kernel: Kernel) -> EndpointRecord:
    """Return an endpoint's record with other settings, and, while it is joined, with what new ones are now."""
    sandbox = state.sandboxes.get(record.sandbox_id or "")
    wanted = evolve(record, sysctls=sysctls)
    if sandbox is None or not record.ifname:
        return wanted
    words = {name: of_interface(name, value, record, sandbox.key) for name, value in sysctls.items()}
    return evolve(wanted, sysctls_before=_before(words, record.sysctls, record.sysctls_before, kernel))


def _before(
    words: Mapping[str, Sysctl], already: Mapping[str, str], known: Mapping[str, str], kernel: Kernel
) -> Mapping[str, str]:
    new = {name: word for name, word in words.items() if name not in already}
    places = {word.namespace for word in new.values()}
    found = kernel.facts(places, words=new.values()).sysctls if new else {}
    kept = {name: value for name, value in known.items() if name in words}
    return freeze(kept | {name: found[word.key] for name, word in new.items() if word.key in found}, "sysctls")
