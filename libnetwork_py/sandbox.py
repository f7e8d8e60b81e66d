"""A sandbox: one network stack. Its record, the choice of its gateways, and the handle that users hold.

Division of labour: `SandboxRecord` is what is stored; `order` and `elect` decide, without I/O, which endpoint leads and which is
the way out; `Sandbox` is a handle: an id and a narrow port (`SandboxOps`) that `lifecycle/` implements.

May import: types, errors.
"""

from __future__ import annotations

import socket as socket_module
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from attrs import frozen

from .types import EMPTY, FAMILIES, Family, IPAddress

if TYPE_CHECKING:
    from .endpoint import Endpoint
    from .facts import LinkFact, RouteFact
    from .kernel.api import LinkStatistics
    from .network import Network

T = TypeVar("T")


@frozen
class SandboxRecord:
    """What is stored of a sandbox.

    Attributes:
        key: Path of its network namespace; empty for the host's own.
        owned: We made the namespace and remove it; false for an adopted one and for the host's.
        created: Seconds since the epoch.
    """

    id: str
    name: str
    key: str
    owned: bool = True
    hostname: str = ""
    domainname: str = ""
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    extra_hosts: Mapping[str, str] = EMPTY
    sysctls: Mapping[str, str] = EMPTY
    labels: Mapping[str, str] = EMPTY
    created: float = 0.0


@frozen
class Candidate:
    """What the election needs to know of one joined endpoint."""

    endpoint_id: str
    network_name: str
    priority: int
    internal: bool
    gateways: tuple[IPAddress, ...]

    def gateway(self, family: Family) -> IPAddress | None:
        """The gateway it offers for a family."""
        return next((address for address in self.gateways if address.version == family), None)


def order(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Return endpoints in the reference's order (libnetwork ``Endpoint.Less``).

    Higher priority first; then not internal before internal; gateways for both families before one before none; then by network name.
    """
    return sorted(
        candidates,
        key=lambda each: (
            -each.priority,
            each.internal,
            -len({address.version for address in each.gateways}),
            each.network_name,
        ),
    )


def elect(candidates: Iterable[Candidate]) -> Mapping[Family, Candidate]:
    """Return the endpoint that is the way out, per family: the first in `order` that offers a gateway of that family."""
    ordered = order(candidates)
    chosen = ((family, next((each for each in ordered if each.gateway(family)), None)) for family in FAMILIES)
    return {family: candidate for family, candidate in chosen if candidate}


class SandboxOps(Protocol):
    """What a `Sandbox` handle needs from the controller."""

    def sandbox_record(self, sandbox_id: str) -> SandboxRecord | None: ...
    def sandbox_endpoints(self, sandbox_id: str) -> list[Endpoint]: ...
    def sandbox_interfaces(self, sandbox_id: str) -> list[LinkFact]: ...
    def sandbox_routes(self, sandbox_id: str) -> list[RouteFact]: ...
    def sandbox_gateway(self, sandbox_id: str, family: Family) -> IPAddress | None: ...
    def sandbox_statistics(self, sandbox_id: str) -> Mapping[str, LinkStatistics]: ...
    def connect(self, sandbox_id: str, network: Network, priority: int, options: Mapping[str, Any]) -> Endpoint: ...
    def disconnect(self, sandbox_id: str, network: Network) -> None: ...
    def popen(
        self, sandbox_id: str, argv: Sequence[str] | str, options: Mapping[str, Any]
    ) -> subprocess.Popen[Any]: ...
    def run(
        self, sandbox_id: str, argv: Sequence[str] | str, options: Mapping[str, Any]
    ) -> subprocess.CompletedProcess[Any]: ...
    def call(
        self, sandbox_id: str, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Any: ...
    def entered(self, sandbox_id: str) -> AbstractContextManager[None]: ...
    def socket(self, sandbox_id: str, family: int, kind: int, protocol: int) -> socket_module.socket: ...
    def rename_sandbox(self, sandbox_id: str, name: str) -> None: ...
    def refresh_sandbox(self, sandbox_id: str, options: Mapping[str, Any]) -> None: ...
    def add_host(self, sandbox_id: str, name: str, address: IPAddress) -> None: ...
    def delete_sandbox(self, sandbox_id: str, force: bool) -> None: ...
