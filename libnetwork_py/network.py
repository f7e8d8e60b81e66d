"""A network: endpoints that reach each other directly. Its record and the handle that users hold.

Division of labour: `NetworkRecord` is what is stored; `Network` is a handle: an id and a narrow port (`NetworkOps`) that
`lifecycle/` implements.

May import: endpoint, sandbox, labels, types, errors.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Protocol, TypedDict

from attrs import field, frozen

from .endpoint import Endpoint
from .handle import Handle
from .routes import StaticRoute
from .types import EMPTY, FAMILIES, Family, IPAddress, IPNetwork, MacAddress, PortBinding, Scope


@frozen
class Subnet:
    """One subnet of a network, as IPAM gave it.

    Attributes:
        pool_id: IPAM's name for it.
        gateway: Address of the network's own way out; ``None`` where there is none.
        gateway_reserved: The gateway was taken from the pool and goes back with it.
        ip_range: Sub-pool that endpoint addresses come from.
        aux_addresses: Names and addresses kept back.
        chosen: The subnet was IPAM's choice, not the caller's.
    """

    pool_id: str
    subnet: IPNetwork
    gateway: IPAddress | None = None
    gateway_reserved: bool = False
    ip_range: IPNetwork | None = None
    aux_addresses: Mapping[str, IPAddress] = field(factory=lambda: MappingProxyType({}))
    chosen: bool = False

    @property
    def family(self) -> Family:
        """4 or 6."""
        return 4 if self.subnet.version == 4 else 6


@frozen
class NetworkRecord:
    """What is stored of a network.

    Attributes:
        decided: What its driver found out or decided when it was created, and needs to know ever after.
        created: Seconds since the epoch.
        host: Id of the host that created it, if it is of global scope and known to the cluster.
        temporary: Its creator is a temporary controller: when that has left the cluster and nobody is on it any more, it goes.
        vnis: The number of each subnet in the cluster, 24 bits, where its driver needs one.
    """

    id: str
    name: str
    driver: str
    scope: Scope = "local"
    subnets: tuple[Subnet, ...] = ()
    ipv4: bool = True
    ipv6: bool = False
    internal: bool = False
    attachable: bool = False
    options: Mapping[str, str] = EMPTY
    labels: Mapping[str, str] = EMPTY
    ipam: str = "default"
    ipam_options: Mapping[str, str] = EMPTY
    config_only: bool = False
    config_from: str | None = None
    decided: Mapping[str, str] = EMPTY
    routes: tuple[StaticRoute, ...] = ()
    created: float = 0.0
    vnis: tuple[int, ...] = ()
    host: str = ""
    temporary: bool = False

    @property
    def families(self) -> tuple[Family, ...]:
        """The address families that it has subnets of, IPv4 first."""
        return tuple(family for family in FAMILIES if any(each.family == family for each in self.subnets))

    def gateway(self, family: Family) -> IPAddress | None:
        """The gateway of the first subnet of a family that has one."""
        return next((subnet.gateway for subnet in self.subnets if subnet.family == family and subnet.gateway), None)


@frozen
class NetworkSpec:
    """What a caller asks of a new network; see `NetworkController.create_network`."""

    name: str
    driver: str = "bridge"
    subnets: Sequence[str | IPNetwork] | str | IPNetwork = ()
    gateways: Sequence[str | IPAddress] | str | IPAddress = ()
    ip_ranges: Sequence[str | IPNetwork] | str | IPNetwork = ()
    aux_addresses: Mapping[str, str | IPAddress] = field(factory=dict)
    ipv4: bool = True
    ipv6: bool = False
    internal: bool = False
    attachable: bool = False
    options: Mapping[str, object] = EMPTY
    labels: Mapping[str, object] = EMPTY
    ipam: str = "default"
    ipam_options: Mapping[str, object] = EMPTY
    config_from: str | None = None
    config_only: bool = False
    routes: Iterable[str | StaticRoute] | str | StaticRoute = ()


@frozen
class EndpointSpec:
    """What a caller asks of a new endpoint; see `Network.create_endpoint`."""

    name: str | None = None
    addresses: Sequence[str | IPAddress] | str | IPAddress = ()
    mac: str | MacAddress | None = None
    ports: Iterable[str | int | PortBinding] | str | int | PortBinding = ()
    expose: Iterable[str | int] | str | int = ()
    aliases: Iterable[str] | str = ()
    dns_names: Iterable[str] | str = ()
    sysctls: Mapping[str, object] = EMPTY
    interface: str | None = None
    options: Mapping[str, object] = EMPTY
    labels: Mapping[str, object] = EMPTY
    routes: Iterable[str | StaticRoute] | str | StaticRoute = ()


class EndpointOptions(TypedDict, total=False):
    """The keywords of `Network.create_endpoint`, for a call that hands them on, `Sandbox.connect`."""

    name: str | None
    addresses: Sequence[str | IPAddress] | str | IPAddress
    mac: str | MacAddress | None
    ports: Iterable[str | int | PortBinding] | str | int | PortBinding
    expose: Iterable[str | int] | str | int
    aliases: Iterable[str] | str
    dns_names: Iterable[str] | str
    sysctls: Mapping[str, object]
    interface: str | None
    options: Mapping[str, object]
    labels: Mapping[str, object]
    routes: Iterable[str | StaticRoute] | str | StaticRoute


class NetworkOps(Protocol):
    """What a `Network` handle needs; `lifecycle.networks` implements it."""

    def record(self, network_id: str) -> NetworkRecord | None: ...
    def scene(self) -> object: ...
    def endpoints(self, network_id: str) -> list[Endpoint]: ...
    def endpoint(self, network_id: str, name_or_id: str) -> Endpoint: ...
    def create_endpoint(self, network_id: str, spec: EndpointSpec) -> Endpoint: ...
    def update(
        self,
        network_id: str,
        labels: Mapping[str, object] | None,
        options: Mapping[str, object] | None,
        routes: Iterable[str | StaticRoute] | str | StaticRoute | None,
    ) -> None: ...
    def delete(self, network_id: str, *, force: bool) -> None: ...
    def inspect(self, network_id: str) -> dict[str, Any]: ...


class Network(Handle[NetworkRecord]):
    """Endpoints that reach each other directly. Made by `NetworkController.create_network`.

    Properties say what the controller's records hold at the moment; after the network was deleted, what they held last.
    """

    __slots__ = ("_ops",)

    def __init__(self, ops: NetworkOps, record: NetworkRecord) -> None:
        super().__init__(ops, record)
        self._ops = ops

    @property
    def driver(self) -> str:
        """Name of its driver."""
        return self._record.driver

    @property
    def scope(self) -> Scope:
        """``local`` or ``global``."""
        return self._record.scope

    @property
    def subnets(self) -> tuple[IPNetwork, ...]:
        """Its subnets, IPv4 first."""
        return tuple(each.subnet for each in self._record.subnets)

    @property
    def gateways(self) -> tuple[IPAddress, ...]:
        """The gateway of each subnet that has one."""
        return tuple(each.gateway for each in self._record.subnets if each.gateway)

    @property
    def ipv6(self) -> bool:
        """Whether it has IPv6."""
        return self._record.ipv6

    @property
    def internal(self) -> bool:
        """Whether it is cut off from the outside."""
        return self._record.internal

    @property
    def options(self) -> Mapping[str, str]:
        """The driver's options, as given."""
        return self._now().options

    @property
    def routes(self) -> tuple[StaticRoute, ...]:
        """The routes that every sandbox on it gets."""
        return self._now().routes

    @property
    def created(self) -> datetime:
        """When it was created, in UTC."""
        return datetime.fromtimestamp(self._record.created, tz=UTC)

    def endpoints(self) -> list[Endpoint]:
        """Return its endpoints, by name."""
        return self._ops.endpoints(self.id)

    def endpoint(self, name_or_id: str) -> Endpoint:
        """Return one of its endpoints, by name, id, or the beginning of an id that only one has.

        Raises:
            NotFound: it has no such endpoint.
        """
        return self._ops.endpoint(self.id, name_or_id)

    def create_endpoint(
        self,
        name: str | None = None,
        *,
        addresses: Sequence[str | IPAddress] | str | IPAddress = (),
        mac: str | MacAddress | None = None,
        ports: Iterable[str | int | PortBinding] | str | int | PortBinding = (),
        expose: Iterable[str | int] | str | int = (),
        aliases: Iterable[str] | str = (),
        dns_names: Iterable[str] | str = (),
        sysctls: Mapping[str, object] = EMPTY,
        interface: str | None = None,
        options: Mapping[str, object] = EMPTY,
        labels: Mapping[str, object] = EMPTY,
        routes: Iterable[str | StaticRoute] | str | StaticRoute = (),
    ) -> Endpoint:
        """Create an endpoint; it has its addresses from now on and no interface before it joins a sandbox.

        Args:
            name: Unique in the network; made from the id by default.
            addresses: Addresses of the network's subnets; for a family of which none is named, a free one is chosen.
            mac: Unicast Ethernet address; by default 02:42 and the octets of the IPv4 address.
            ports: Ports to publish while joined, as `PortBinding` or its text.
            expose: Ports that are served, for information: ``80``, ``53/udp``.
            aliases: Further names in this network.
            dns_names: Names to be found under instead of the sandbox's.
            sysctls: ``net.X.Y.IFNAME.Z`` → value, set on its interface; ``IFNAME`` is written so.
            interface: Name inside the sandbox; by default the lowest free ``eth`` number.
            options: The driver's endpoint options.
            labels: Yours, kept as text.
            routes: Routes that its sandbox gets besides the network's, ``10.9.0.0/16 via 172.18.0.5 metric 100`` or `StaticRoute`. One
                to the same destination with the same metric takes the place of the network's.

        Raises:
            InvalidParameter: malformed, or an address outside the subnets. Conflict: name or address in use.
            Unavailable: the subnets are full. Forbidden: a configuration-only network.
        """
        spec = EndpointSpec(
            name, addresses, mac, ports, expose, aliases, dns_names, sysctls, interface, options, labels, routes
        )
        return self._ops.create_endpoint(self.id, spec)

    def update(
        self,
        *,
        labels: Mapping[str, object] | None = None,
        options: Mapping[str, object] | None = None,
        routes: Iterable[str | StaticRoute] | str | StaticRoute | None = None,
    ) -> None:
        """Change what may change while the network is in use; interfaces, addresses and connections of its sandboxes stay.

        Args:
            labels: Take the place of all labels.
            options: Each takes the place of the option of that key; the others stay.
            routes: Take the place of all the network's routes.

        Raises:
            NotSupported: an option cannot be changed. InvalidParameter: unknown option or bad value, or a route that does not fit.
            Conflict: a route collides with another one in a sandbox.
        """
        self._ops.update(self.id, labels, options, routes)

    def delete(self, *, force: bool = False) -> None:
        """Remove it.

        Args:
            force: Its endpoints leave and are deleted first.

        Raises:
            Conflict: it has endpoints, or another network takes its configuration from it.
        """
        self._ops.delete(self.id, force=force)

    def inspect(self) -> dict[str, Any]:
        """Return what ``docker network inspect`` returns for a network: plain values, ready for JSON."""
        return self._ops.inspect(self.id)

    def __repr__(self) -> str:
        return f"<Network {self._record.name} {self._record.driver} {', '.join(map(str, self.subnets))}>"
