"""What kernel settings were before they were asked for: when they are asked for no more, they become that again.

May import: kernel.api, desired, endpoint, sandbox, types.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import evolve

from ..desired import Sysctl
from ..endpoint import EndpointRecord
from ..kernel.api import Kernel
from ..sandbox import SandboxRecord
from ..types import freeze


def of_sandbox(record: SandboxRecord, already: Mapping[str, str], kernel: Kernel) -> SandboxRecord:
    """Return a sandbox's record with what its settings are that are not among ``already``."""
    words = {name: Sysctl(record.key, name.removeprefix("net."), value) for name, value in record.sysctls.items()}
    return evolve(record, sysctls_before=_before(words, already, record.sysctls_before, kernel))


def of_interface(name: str, value: str, record: EndpointRecord, key: str) -> Sysctl:
    """Return the word for an endpoint's setting in the namespace at ``key``."""
    plain = name.removeprefix("net.").replace("IFNAME", "{}")
    return Sysctl(key, plain, value, link=record.ifname, restore=record.sysctls_before.get(name))


def of_endpoint(record: EndpointRecord, already: Mapping[str, str], key: str, kernel: Kernel) -> EndpointRecord:
    """Return a joined endpoint's record with what its interface's settings are that are not among ``already``."""
    words = {name: of_interface(name, value, record, key) for name, value in record.sysctls.items()}
    return evolve(record, sysctls_before=_before(words, already, record.sysctls_before, kernel))


def _before(
    words: Mapping[str, Sysctl], already: Mapping[str, str], known: Mapping[str, str], kernel: Kernel
) -> Mapping[str, str]:
    new = {name: word for name, word in words.items() if name not in already}
    places = {word.namespace for word in new.values()}
    found = kernel.facts(places, words=new.values()).sysctls if new else {}
    kept = {name: value for name, value in known.items() if name in words}
    return freeze(kept | {name: found[word.key] for name, word in new.items() if word.key in found}, "sysctls")
