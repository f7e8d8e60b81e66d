"""A sandbox: one network stack. Its record, the choice of its gateways, and the handle that users hold.

Division of labour: `SandboxRecord` is what is stored; `order` and `elect` decide, without I/O, which endpoint leads and which is
the way out; `Sandbox` is a handle: an id and a narrow port (`SandboxOps`) that `lifecycle/` implements.

May import: facts, types, errors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from socket import AF_INET, SOCK_STREAM
from socket import socket as Socket  # noqa: N812 (the name of a method here)
from subprocess import CompletedProcess, Popen
from typing import TYPE_CHECKING, Any, Protocol, TypedDict, TypeVar, Unpack

from attrs import field, frozen

from .facts import LinkStatistics, RouteFact
from .handle import Handle
from .types import EMPTY, FAMILIES, Family, IPAddress, IPInterface, IPNetwork, MacAddress, parse_address

if TYPE_CHECKING:
    from .endpoint import Endpoint
    from .network import EndpointOptions, Network

T = TypeVar("T")

HANDED = "handed"
"""Says, in place of a namespace, that interfaces are made on the host for somebody else to take: Docker, of a plug-in's."""


HOST_GATEWAY = "host-gateway"
"""Stands for the host's address among the user's records, as in Docker: that of the way out."""


@frozen
class SandboxRecord:
    """What is stored of a sandbox.

    Attributes:
        key: Path of its network namespace; empty for the host's own; `HANDED` and the id where somebody else has the namespace.
        owned: We made the namespace and remove it; false for an adopted one and for the host's.
        identity: What tells a process's namespace, adopted by its path, from that of a later process of the same number.
        sysctls_before: What the settings in ``sysctls`` were in a namespace that existed before they were asked for.
        created: Seconds since the epoch.
    """

    id: str
    name: str
    key: str
    owned: bool = True
    identity: str = ""
    hostname: str = ""
    domainname: str = ""
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    extra_hosts: Mapping[str, str] = EMPTY
    aliases: Mapping[str, str] = EMPTY
    sysctls: Mapping[str, str] = EMPTY
    sysctls_before: Mapping[str, str] = EMPTY
    labels: Mapping[str, str] = EMPTY
    created: float = 0.0

    @property
    def handed(self) -> bool:
        """Whether its interfaces are made on the host, for somebody else to take."""
        return self.key.startswith(f"{HANDED}:")


@frozen
class Handover:
    """What whoever takes an endpoint's interface needs to know.

    Attributes:
        source: Its name on the host; empty: there is none.
        prefix: Of the name that it should get in its sandbox.
        routes: Destination and next hop, ``None``: on-link.
    """

    source: str
    prefix: str
    gateways: tuple[IPAddress, ...] = ()
    routes: tuple[tuple[IPNetwork, IPAddress | None], ...] = ()


@frozen
class SandboxSpec:
    """What a caller asks of a new sandbox; see `NetworkController.create_sandbox`."""

    name: str
    netns: str | int | None = None
    hostname: str | None = None
    domainname: str | None = None
    dns: Iterable[str | IPAddress] | str | IPAddress = ()
    dns_search: Iterable[str] | str = ()
    dns_options: Iterable[str] | str = ()
    extra_hosts: Mapping[str, str | IPAddress] = field(factory=dict)
    sysctls: Mapping[str, object] = EMPTY
    labels: Mapping[str, object] = EMPTY
    aliases: Mapping[str, str] = EMPTY


class SandboxOptions(TypedDict, total=False):
    """The keywords of `Sandbox.refresh`: those of `NetworkController.create_sandbox` that can change."""

    hostname: str | None
    domainname: str | None
    dns: Iterable[str | IPAddress] | str | IPAddress
    dns_search: Iterable[str] | str
    dns_options: Iterable[str] | str
    extra_hosts: Mapping[str, str | IPAddress]
    sysctls: Mapping[str, object]
    labels: Mapping[str, object]
    aliases: Mapping[str, str]


@frozen
class Interface:
    """An interface in a sandbox, as the kernel has it."""

    name: str
    index: int
    mac: MacAddress | None
    mtu: int
    up: bool
    addresses: tuple[IPInterface, ...]


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
    found = list(candidates)
    if len(found) < 2:  # most sandboxes have one endpoint
        return found
    return sorted(
        found,
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
    chosen: dict[Family, Candidate] = {}
    for family in FAMILIES:
        winner = next((each for each in ordered if each.gateway(family)), None)
        if winner is not None:
            chosen[family] = winner
    return chosen


class SandboxOps(Protocol):
    """What a `Sandbox` handle needs; `lifecycle.sandboxes` implements it."""

    def record(self, sandbox_id: str) -> SandboxRecord | None: ...
    def scene(self) -> object: ...
    def explain(self, sandbox_id: str, target: str) -> object: ...
    def key(self, path: str) -> str: ...
    def endpoints(self, sandbox_id: str) -> list[Endpoint]: ...
    def interfaces(self, sandbox_id: str) -> list[Interface]: ...
    def routes(self, sandbox_id: str) -> list[RouteFact]: ...
    def gateway(self, sandbox_id: str, family: Family) -> IPAddress | None: ...
    def statistics(self, sandbox_id: str) -> Mapping[str, LinkStatistics]: ...
    def files(self, sandbox_id: str) -> tuple[str, str]: ...
    def connect(self, sandbox_id: str, network: Network, priority: int, options: Mapping[str, Any]) -> Endpoint: ...
    def disconnect(self, sandbox_id: str, network: Network) -> None: ...
    def run(self, sandbox_id: str, argv: Sequence[str] | str, options: Mapping[str, Any]) -> CompletedProcess[Any]: ...
    def popen(self, sandbox_id: str, argv: Sequence[str] | str, options: Mapping[str, Any]) -> Popen[Any]: ...
    def call(
        self, sandbox_id: str, function: Callable[..., T], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> T: ...
    def entered(self, sandbox_id: str) -> AbstractContextManager[None]: ...
    def socket(self, sandbox_id: str, family: int, kind: int, protocol: int) -> Socket: ...
    def resolve(self, sandbox_id: str, name: str) -> list[Any]: ...
    def rename(self, sandbox_id: str, name: str) -> None: ...
    def add_host(self, sandbox_id: str, name: str, address: str) -> None: ...
    def refresh(self, sandbox_id: str, options: Mapping[str, Any]) -> None: ...
    def delete(self, sandbox_id: str, *, force: bool) -> None: ...


class Sandbox(Handle[SandboxRecord]):
    """One network stack: a network namespace with its interfaces and routes.

    Made by `NetworkController.create_sandbox`. Properties say what the controller's records hold at the moment; after the sandbox
    was deleted, what they held last.
    """

    __slots__ = ("_ops",)

    def __init__(self, ops: SandboxOps, record: SandboxRecord) -> None:
        super().__init__(ops, record)
        self._ops = ops

    @property
    def key(self) -> str:
        """Path of the network namespace: ``/run/netns/NAME``, of which ``ip netns exec`` takes the last part.

        Without root it is ``/proc/PID/root/run/netns/NAME``: ``nsenter --user=/proc/PID/ns/user --net=…`` enters it.
        """
        return self._ops.key(self._now().key)

    @property
    def hosts(self) -> str:
        """What its processes read as ``/etc/hosts``."""
        return self._ops.files(self.id)[0]

    @property
    def resolv_conf(self) -> str:
        """What its processes read as ``/etc/resolv.conf``."""
        return self._ops.files(self.id)[1]

    def endpoints(self) -> list[Endpoint]:
        """Return the endpoints joined to it, the leading one first (the reference's order; see `order`)."""
        return self._ops.endpoints(self.id)

    def interfaces(self) -> list[Interface]:
        """Return the interfaces in the namespace as the kernel has them now, loopback included, by index."""
        return self._ops.interfaces(self.id)

    def routes(self) -> list[RouteFact]:
        """Return the unicast routes of the main table as the kernel has them now."""
        return self._ops.routes(self.id)

    def gateway(self, family: Family = 4) -> IPAddress | None:
        """Return the elected gateway of a family (4 or 6), or ``None``."""
        return self._ops.gateway(self.id, family)

    def statistics(self) -> Mapping[str, LinkStatistics]:
        """Return byte, packet, error and drop counters, by interface name."""
        return self._ops.statistics(self.id)

    def connect(self, network: Network, *, priority: int = 0, **endpoint_options: Unpack[EndpointOptions]) -> Endpoint:
        """Create an endpoint on ``network`` and join it, as one step: both happen or neither.

        Args:
            network: The network.
            priority: Higher wins the election of the gateway.
            **endpoint_options: As for `Network.create_endpoint`; the endpoint's name is the sandbox's unless given.

        Raises:
            LibnetworkError: as `Network.create_endpoint` and `Endpoint.join`.
        """
        return self._ops.connect(self.id, network, priority, endpoint_options)

    def disconnect(self, network: Network) -> None:
        """Leave ``network`` and delete the endpoint.

        Raises:
            Conflict: it is not connected to that network, or by more than one endpoint.
        """
        self._ops.disconnect(self.id, network)

    def run(self, argv: Sequence[str] | str, **subprocess_options: Any) -> CompletedProcess[Any]:
        """Run a program inside and wait for it; options and result are `subprocess.run`'s."""
        return self._ops.run(self.id, argv, subprocess_options)

    def popen(self, argv: Sequence[str] | str, **subprocess_options: Any) -> Popen[Any]:
        """Start a program inside: it sees the sandbox's interfaces, ``/sys``, ``/etc/resolv.conf`` and ``/etc/hosts``.

        Options are `subprocess.Popen`'s, all but ``preexec_fn``.
        """
        return self._ops.popen(self.id, argv, subprocess_options)

    def call(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Run ``function`` on a thread inside and return its result; sockets that it opens belong to the sandbox."""
        return self._ops.call(self.id, function, args, kwargs)

    def entered(self) -> AbstractContextManager[None]:
        """Return a context manager that moves the calling thread inside for its body."""
        return self._ops.entered(self.id)

    def socket(self, family: int = AF_INET, type: int = SOCK_STREAM, proto: int = 0) -> Socket:  # noqa: A002 (socket.socket's)
        """Open a socket of the sandbox, usable from any thread."""
        return self._ops.socket(self.id, family, type, proto)

    def resolve(self, name: str) -> list[IPAddress] | list[str]:
        """Return what the sandbox's name service answers of its own knowledge, without a packet.

        Args:
            name: A name: endpoint, sandbox, alias, ``name.network``, one that was added; or an address.

        Returns:
            Its addresses, IPv4 first; for an address, ``name.network`` of who has it. Empty for a name that somebody else must be asked
            for, and in a sandbox without a name service.
        """
        return self._ops.resolve(self.id, name)

    def add_host(self, name: str, address: str | IPAddress) -> None:
        """Let ``name`` mean ``address`` inside the sandbox."""
        self._ops.add_host(self.id, name, str(parse_address(address)))

    def rename(self, name: str) -> None:
        """Change the name; the namespace keeps its path.

        A host name that is the old name changes with it, and so do the names of endpoints, but for those on networks of global scope.

        Raises:
            Conflict: another sandbox has the name.
        """
        self._ops.rename(self.id, name)

    def refresh(self, **options: Unpack[SandboxOptions]) -> None:
        """Change options given to `NetworkController.create_sandbox`: ``hostname``, ``domainname``, ``dns``, ``sysctls`` and so on.

        Raises:
            InvalidParameter: malformed, or none that can change.
        """
        self._ops.refresh(self.id, options)

    def delete(self, *, force: bool = False) -> None:
        """Leave every network, delete its endpoints and remove the namespace (an adopted one stays, without what we made in it).

        Args:
            force: Also when something it depends on is missing or broken.
        """
        self._ops.delete(self.id, force=force)

    def _explain(self, target: str) -> object:
        return self._ops.explain(self.id, target)

    def __repr__(self) -> str:
        return f"<Sandbox {self._record.name} {self._record.key or 'host'}>"
