"""Names of interfaces in sandboxes.

May import: lifecycle.state, kernel.api, endpoint, sandbox, types, errors.
"""

from __future__ import annotations

from ..endpoint import EndpointRecord
from ..errors import Conflict, NotFound
from ..kernel.api import Kernel
from ..sandbox import SandboxRecord
from ..types import check_interface_name
from .state import State


def interface_name(state: State, kernel: Kernel, endpoint: EndpointRecord, sandbox: SandboxRecord, prefix: str) -> str:
    """Return the name that an endpoint's interface gets in a sandbox: the one asked for, else the lowest that is free.

    Raises:
        Conflict: the name that was asked for is taken. NotFound: the adopted namespace is gone.
    """
    if not prefix:
        return ""
    if sandbox.handed:  # on the host, until it is taken
        return f"lnw{endpoint.id[:10]}"
    taken = {each.ifname for each in state.in_sandbox(sandbox.id) if each.id != endpoint.id}
    if not sandbox.owned:
        facts = kernel.facts([sandbox.key])
        if sandbox.key not in facts.namespaces:
            raise NotFound(
                f"sandbox {sandbox.name!r}'s namespace {sandbox.key} is gone",
                code="namespace_gone",
                path=sandbox.key,
            )
        taken |= set(facts.namespaces[sandbox.key].links)
    if endpoint.interface is None:
        return next_interface_name(prefix, taken)
    if endpoint.interface in taken | {"lo"}:
        raise Conflict(
            f"interface {endpoint.interface!r} exists in sandbox {sandbox.name!r} already",
            code="interface_taken",
            name=endpoint.interface,
        )
    return endpoint.interface


def next_interface_name(prefix: str, taken: set[str]) -> str:
    """Return ``prefix`` and the lowest number that gives a name not taken (the reference's ``GenerateIfaceName``)."""
    number = 0
    while f"{prefix}{number}" in taken:
        number += 1
    return check_interface_name(f"{prefix}{number}")
