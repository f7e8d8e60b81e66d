"""An endpoint: a sandbox's foot in a network. Its record, its states as a table, and the handle that users hold.

Division of labour: `EndpointRecord` is what is stored; `TRANSITIONS` says which verb is allowed when; `Endpoint` is a handle: an id
and a narrow port (`EndpointOps`) that `lifecycle/` implements. References upward (network, sandbox) are ids.

Rule: an endpoint belongs to one network for life and is joined to at most one sandbox at a time.

May import: sandbox, facts, types, errors.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from socket import AF_INET, SOCK_STREAM
from socket import socket as Socket  # noqa: N812 (the name of a method here)
from typing import Literal, Protocol

from attrs import frozen

from .condition import Condition, shaped
from .errors import InvalidParameter
from .facts import LinkStatistics
from .handle import Handle
from .routes import StaticRoute
from .sandbox import Handover, Sandbox
from .types import EMPTY, FAMILIES, Family, IPAddress, IPInterface, MacAddress, PortBinding

State = Literal["created", "joined", "deleted"]
Verb = Literal["join", "leave", "delete", "publish", "unpublish", "update"]

TRANSITIONS: Mapping[tuple[State, Verb], State] = {
    ("created", "join"): "joined",
    ("created", "delete"): "deleted",
    ("created", "publish"): "created",
    ("created", "unpublish"): "created",
    ("created", "update"): "created",
    ("joined", "leave"): "created",
    ("joined", "publish"): "joined",
    ("joined", "unpublish"): "joined",
    ("joined", "update"): "joined",
}
"""Every verb that an endpoint in a state allows, and the state after it. What is not here is a `Conflict`."""


@frozen
class EndpointRecord:
    """What is stored of an endpoint.

    Attributes:
        sandbox_id: The sandbox it is joined to, or ``None``.
        addresses: With the prefix length of their subnet.
        ports: What was asked to be published; ``bindings``: the same with concrete host ports, while joined.
        sysctls_before: What the settings in ``sysctls`` were that its interface was given while joined.
        interface: The name asked for; ``ifname``: the one it has while joined.
        decided: What its driver found out when it joined, and needs to know while it is.
        external: The families (``4``, ``6``, ``46``) for which its driver was told that it is its sandbox's way out.
        segment: Which part of its network it hangs on while joined, where the driver makes a network of several; 0 is the first.
        created: Seconds since the epoch.
        host: Id of the host that it is on, if that is another one of the cluster; ``vtep``: that host's address in the underlay.
        condition: Its link's, unless that is as it comes.
    """

    id: str
    name: str
    network_id: str
    sandbox_id: str | None = None
    addresses: tuple[IPInterface, ...] = ()
    mac: MacAddress | None = None
    ports: tuple[PortBinding, ...] = ()
    bindings: tuple[PortBinding, ...] = ()
    expose: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    dns_names: tuple[str, ...] = ()
    sysctls: Mapping[str, str] = EMPTY
    sysctls_before: Mapping[str, str] = EMPTY
    interface: str | None = None
    ifname: str = ""
    priority: int = 0
    segment: int = 0
    decided: Mapping[str, str] = EMPTY
    external: str = ""
    options: Mapping[str, str] = EMPTY
    labels: Mapping[str, str] = EMPTY
    routes: tuple[StaticRoute, ...] = ()
    created: float = 0.0
    host: str = ""
    vtep: IPAddress | None = None
    condition: Condition | None = None

    @property
    def families(self) -> tuple[Family, ...]:
        """The address families that it has, IPv4 first."""
        versions = [each.version for each in self.addresses]
        return tuple([family for family in FAMILIES if family in versions])

    @property
    def port_families(self) -> tuple[Family, ...]:
        """The families of the host's addresses at which its ports can be published: a relay lends IPv6 to who has none."""
        families = self.families
        return (*families, 6) if families == (4,) else families

    @property
    def state(self) -> State:
        """``joined`` while it is in a sandbox, else ``created``."""
        return "created" if self.sandbox_id is None else "joined"


class EndpointOps(Protocol):
    """What an `Endpoint` handle needs; `lifecycle.endpoints` implements it."""

    def record(self, endpoint_id: str) -> EndpointRecord | None: ...
    def scene(self) -> object: ...
    def gateways(self, endpoint_id: str) -> tuple[IPAddress, ...]: ...
    def statistics(self, endpoint_id: str) -> LinkStatistics: ...
    def handover(self, endpoint_id: str) -> Handover: ...
    def join(self, endpoint_id: str, sandbox: Sandbox, priority: int) -> None: ...
    def leave(self, endpoint_id: str) -> None: ...
    def publish(self, endpoint_id: str, binding: PortBinding) -> PortBinding: ...
    def unpublish(self, endpoint_id: str, binding: PortBinding) -> None: ...
    def update(
        self,
        endpoint_id: str,
        aliases: Sequence[str] | None,
        routes: Iterable[str | StaticRoute] | str | StaticRoute | None,
        sysctls: Mapping[str, object] | None,
        labels: Mapping[str, object] | None,
    ) -> None: ...
    def impose(self, changes: Mapping[str, Condition]) -> Mapping[str, Condition]: ...
    def socket(self, endpoint_id: str, family: int, kind: int, protocol: int) -> Socket: ...
    def delete(self, endpoint_id: str, *, force: bool) -> None: ...


class Endpoint(Handle[EndpointRecord]):
    """A sandbox's foot in a network. Made by `Network.create_endpoint` or `Sandbox.connect`.

    Properties say what the controller's records hold at the moment; after the endpoint was deleted, what they held last.
    """

    __slots__ = ("_ops",)

    def __init__(self, ops: EndpointOps, record: EndpointRecord) -> None:
        super().__init__(ops, record)
        self._ops = ops

    @property
    def network_id(self) -> str:
        """The network it belongs to."""
        return self._record.network_id

    @property
    def sandbox_id(self) -> str | None:
        """The sandbox it is joined to, or ``None``."""
        return self._now().sandbox_id

    @property
    def state(self) -> State:
        """``created``, ``joined`` or ``deleted``."""
        record = self._ops.record(self._record.id)
        return record.state if record else "deleted"

    @property
    def addresses(self) -> tuple[IPAddress, ...]:
        """Its addresses, IPv4 first."""
        return tuple(interface.ip for interface in self._now().addresses)

    @property
    def mac(self) -> MacAddress | None:
        """Its Ethernet address; ``None`` where the driver has no interface."""
        return self._now().mac

    @property
    def gateways(self) -> tuple[IPAddress, ...]:
        """The gateways that its network offers, at most one per family; which one a sandbox uses is `Sandbox.gateway`."""
        return self._ops.gateways(self.id)

    @property
    def interface(self) -> str:
        """Name of its interface inside the sandbox; empty while it is not joined."""
        return self._now().ifname

    @property
    def ports(self) -> tuple[PortBinding, ...]:
        """Its published ports: with the host ports they have while joined, else as they were asked for."""
        record = self._now()
        return record.bindings or record.ports

    @property
    def aliases(self) -> tuple[str, ...]:
        """Further names of it in its network."""
        return self._now().aliases

    @property
    def routes(self) -> tuple[StaticRoute, ...]:
        """The routes it was given, without its network's."""
        return self._now().routes

    @property
    def condition(self) -> Condition:
        """Its link's condition: what `shape` and `libnetwork_py.experiments` made of it."""
        return self._now().condition or Condition()

    def shape(
        self,
        *,
        rate: float | str | None = None,
        delay: float | str | None = None,
        jitter: float | str | None = None,
        loss: float | str | None = None,
        seed: int | None = None,
        queue: int | None = None,
    ) -> Condition:
        """Give its link a condition, each way; what is not given is as it comes, so without arguments all is.

        The kernel's network emulator does it where there is one (``sch_netem``); else a token bucket limits the rate and the packet filter
        loses packets. It is kept: also while not joined, over a restart, and mended by `NetworkController.reconcile`.

        Args:
            rate: ``"10mbit"``, or bits per second.
            delay: ``"50ms"``, or seconds.
            jitter: How far the delay varies, to either side.
            loss: ``"1%"``, or a share of 1.
            seed: Makes the same packets of the sequence be lost each time the condition is set.
            queue: Bytes that may wait for their turn where the rate is limited; by default what drains in 0.1 s.

        Raises:
            InvalidParameter: malformed. NotSupported: the kernel lacks what it needs, which is named, or the driver gives no veth pair.
        """
        wanted = shaped(self.condition, rate=rate, delay=delay, jitter=jitter, loss=loss, seed=seed, queue=queue)
        return self._ops.impose({self.id: wanted})[self.id]

    @staticmethod
    def impose(conditions: Mapping[Endpoint, Condition]) -> None:
        """Give several links conditions, all of them or, if one cannot be had, none; the packet filter changes for all at one moment.

        Raises:
            InvalidParameter: the endpoints are of several controllers. Otherwise as `shape`.
        """
        ports = {id(each._ops): each._ops for each in conditions}  # noqa: SLF001 (of its own class)
        if len(ports) > 1:
            raise InvalidParameter(
                "the endpoints belong to several controllers: change each controller's links apart",
                code="other_controller",
            )
        for ops in ports.values():
            ops.impose({endpoint.id: condition for endpoint, condition in conditions.items()})

    def socket(self, family: int = AF_INET, type: int = SOCK_STREAM, proto: int = 0) -> Socket:  # noqa: A002 (socket.socket's)
        """Open a socket in its sandbox that sends and receives by its interface alone; ``AF_PACKET`` sees every frame of it.

        Raises:
            Conflict: it is not joined.
        """
        return self._ops.socket(self.id, family, type, proto)

    def statistics(self) -> LinkStatistics:
        """Return byte, packet, error and drop counters of its interface.

        Raises:
            Conflict: it is not joined.
        """
        return self._ops.statistics(self.id)

    def handover(self) -> Handover:
        """Return what whoever takes its interface needs to know, once it is joined to a sandbox made with ``netns="handed"``.

        Raises:
            Conflict: it is joined to none of that kind.
        """
        return self._ops.handover(self.id)

    def join(self, sandbox: Sandbox, *, priority: int = 0) -> None:
        """Put its interface into ``sandbox``; the sandbox's gateways are elected anew.

        Args:
            sandbox: The sandbox.
            priority: Higher wins the election.

        Raises:
            Conflict: it is joined already, or a port is taken. NotFound: the sandbox is gone.
        """
        self._ops.join(self.id, sandbox, priority)

    def leave(self) -> None:
        """Take its interface out of its sandbox; address and name stay its own.

        Raises:
            Conflict: it is not joined.
        """
        self._ops.leave(self.id)

    def publish(self, port: str | int | PortBinding) -> PortBinding:
        """Publish a port, also while joined; the result has the host port that it got.

        Raises:
            Conflict: the host port is taken. InvalidParameter: malformed. NotSupported: the driver publishes no ports.
        """
        return self._ops.publish(self.id, PortBinding.parse(port))

    def unpublish(self, binding: str | int | PortBinding) -> None:
        """Take back a published port.

        Raises:
            NotFound: it is not published.
        """
        self._ops.unpublish(self.id, PortBinding.parse(binding))

    def update(
        self,
        *,
        aliases: Sequence[str] | None = None,
        routes: Iterable[str | StaticRoute] | str | StaticRoute | None = None,
        sysctls: Mapping[str, object] | None = None,
        labels: Mapping[str, object] | None = None,
    ) -> None:
        """Change it, also while joined; what is given takes the place of all there was of it.

        Args:
            aliases: Further names in its network.
            routes: Its routes, without the network's.
            sysctls: Settings of its interface. One that is not named any more keeps its value until the endpoint joins again.
            labels: Yours, kept as text.

        Raises:
            InvalidParameter: malformed, or a route that does not fit. Conflict: a route collides with another one in the sandbox.
        """
        self._ops.update(self.id, aliases, routes, sysctls, labels)

    def delete(self, *, force: bool = False) -> None:
        """Delete it and give its addresses back.

        Args:
            force: Leave the sandbox first.

        Raises:
            Conflict: it is joined and ``force`` is false.
        """
        self._ops.delete(self.id, force=force)

    def __repr__(self) -> str:
        addresses = ", ".join(map(str, (each.ip for each in self._record.addresses)))
        return f"<Endpoint {self._record.name} {self._record.state}{' ' if addresses else ''}{addresses}>"
