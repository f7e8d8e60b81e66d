"""The contract between the library and a network driver.

A driver is a class, found through the entry-point group ``libnetwork_py.drivers`` and made without arguments. It answers four
questions, and the answers are frozen values:

* ``check_network`` / ``check_endpoint``: may this exist? Raise before anything was touched, or return the record, completed.
* ``describe_network`` / ``describe_endpoint``: what should exist for it? Asked again after a restart, for drift and for dry
  runs, so the answer depends on the arguments alone, and asking costs nothing.

Making, undoing, repairing and removing what is described is the library's business. `Driver` has a default for everything.

May import: desired, facts, network, endpoint, sandbox, types, errors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Literal, Protocol, runtime_checkable

from attrs import frozen

from ..desired import Description, Key, Sysctl, Table
from ..endpoint import EndpointRecord
from ..facts import Facts
from ..network import NetworkRecord
from ..sandbox import SandboxRecord
from ..types import Family, IPAddress, IPInterface, MacAddress, Scope

API_VERSION = 1
"""Version of this contract. A driver may state the one it was written for as ``api_version``."""

OptionType = Literal["text", "boolean", "integer", "address", "interface"]


@frozen
class Option:
    """One option of a driver: the key that users write, its type, its default as text, and what it does.

    ``where``: given to a network or to an endpoint. ``changeable``: also while the network is in use. ``choices``: allowed texts.
    """

    key: str
    type: OptionType
    default: str
    doc: str
    where: Literal["network", "endpoint"] = "network"
    changeable: bool = False
    choices: tuple[str, ...] = ()


@frozen
class Capability:
    """What a driver is like.

    Attributes:
        scope: ``local``: a network is known to one host; ``global``: to every host of the cluster.
        addresses: Its networks have subnets and its endpoints addresses; without, IPAM is not asked.
        ports: Its endpoints can publish ports.
        reserves_ports: The library finds free host ports and keeps them for the published ones; else the driver sees to that itself.
        host_only: Its endpoints join the host's own sandbox and no other.
        singleton: At most one network of this driver per controller.
        outlet: Its networks lead nowhere but to their own endpoints: the library gives a sandbox on one that is not internal an endpoint
            on a local network besides, by which it reaches the outside and by which its ports are published.
        vni: Each subnet of its networks needs a number that no other of the cluster has, of 24 bits.
    """

    scope: Scope = "local"
    addresses: bool = True
    ports: bool = False
    reserves_ports: bool = True
    host_only: bool = False
    singleton: bool = False
    vni: bool = False
    outlet: bool = False


@frozen(cache_hash=True)  # there are thousands of them, and each is looked up at every change
class Peer:
    """An endpoint of a network of global scope that is joined to a sandbox on another host.

    ``vtep``: the address of its host in the underlay, at which tunnels end.
    """

    endpoint_id: str
    addresses: tuple[IPInterface, ...]
    mac: MacAddress
    vtep: IPAddress


@frozen
class Surroundings:
    """What a driver may look at to decide: a snapshot of the host and the other networks of the same driver.

    ``settings`` reads settings of the host, for the few drivers that must know one: word's key → value, of those that there are.
    ``vtep`` is this host's own address in the underlay, where it has one.
    """

    facts: Facts
    networks: Sequence[NetworkRecord] = ()
    settings: Callable[[Sequence[Sysctl]], Mapping[Key, str]] = lambda _: {}
    vtep: IPAddress | None = None


@frozen
class Context:
    """What a description may refer to.

    Attributes:
        table: The controller's firewall table.
        sysctls: What the host had before the controller changed it, by name.
        networks: The networks that the endpoint's sandbox is joined to.
        gateways: Family → id of the endpoint that is the sandbox's way out; told to endpoints with published ports only.
        segments: The network's segments, other than the first, that endpoints are joined to; see `Driver.segment`.
        peers: The network's endpoints joined on other hosts, for a network of global scope. It is asked for on the hosts alone where one
            of its endpoints is joined, and again when the peers change; then it may be asked with those alone that have changed, as they
            were and as they are, so a peer's words must depend on no other peer but one with the same MAC address.
        vtep: This host's own address in the underlay, where it has one.
        localhost: Whether published ports shall be reached at 127.0.0.1 of the caller's machine too, where the host is another one.
        controller: The controller's id, for names of what several hosts of one machine must not both make.
    """

    table: Table
    sysctls: Mapping[str, str]
    networks: Sequence[NetworkRecord] = ()
    segments: Sequence[int] = ()
    gateways: Mapping[Family, str] = MappingProxyType({})
    peers: Sequence[Peer] = ()
    vtep: IPAddress | None = None
    controller: str = ""
    localhost: bool = False


@frozen
class Attachment:
    """An endpoint inside a sandbox: the driver's words, and the gateways that it offers the sandbox, at most one per family.

    The library adds to them what is the same for every driver: the endpoint's addresses on its interface, its sysctls, and the
    default routes through the gateways that win the election.
    """

    words: Description = ()
    gateways: tuple[IPAddress, ...] = ()


@runtime_checkable
class NetworkDriver(Protocol):
    """The methods of a driver; see the module's text and `Driver`, which has them all."""

    @property
    def capability(self) -> Capability: ...
    @property
    def options(self) -> Sequence[Option]: ...
    def check_network(self, network: NetworkRecord, surroundings: Surroundings) -> NetworkRecord: ...
    def describe_network(self, network: NetworkRecord, context: Context) -> Description: ...
    def check_endpoint(self, network: NetworkRecord, endpoint: EndpointRecord) -> EndpointRecord: ...
    def describe_endpoint(
        self, network: NetworkRecord, endpoint: EndpointRecord, sandbox: SandboxRecord, context: Context
    ) -> Attachment: ...
    def segment(self, network: NetworkRecord, taken: Mapping[int, int]) -> int: ...
    def interface_prefix(self, network: NetworkRecord) -> str: ...
    def gateway_families(self, network: NetworkRecord) -> tuple[Family, ...]: ...


class Driver:
    """A driver that makes nothing; derive from it and say what is different."""

    capability = Capability()
    options: Sequence[Option] = ()

    def check_network(self, network: NetworkRecord, surroundings: Surroundings) -> NetworkRecord:
        """Return the record of a network about to be created, completed where the driver decides something once.

        Asked before the network has its subnets and again with them. ``vnis``, for a driver that needs them, then holds the numbers
        that were asked for, which may be fewer than there are subnets: the library claims those and chooses the others.

        Raises:
            LibnetworkError: it cannot be; nothing has been touched.
        """
        return network

    def describe_network(self, network: NetworkRecord, context: Context) -> Description:
        """Return what exists for a network, without its endpoints."""
        return ()

    def check_endpoint(self, network: NetworkRecord, endpoint: EndpointRecord) -> EndpointRecord:
        """Return the record of an endpoint about to be created or changed, completed; it has its addresses already.

        When a port is published later, ``endpoint.ports`` is that port alone.

        Raises:
            LibnetworkError: it cannot be; nothing has been touched.
        """
        return endpoint

    def describe_endpoint(
        self, network: NetworkRecord, endpoint: EndpointRecord, sandbox: SandboxRecord, context: Context
    ) -> Attachment:
        """Return what exists for an endpoint joined to a sandbox. ``endpoint.ifname`` is its interface there."""
        return Attachment()

    def segment(self, network: NetworkRecord, taken: Mapping[int, int]) -> int:
        """Return which part of a network the next endpoint to join hangs on, for a driver that makes a large network of several.

        Asked once, at the join; the answer is ``endpoint.segment`` from then on, and ``context.segments`` lists those in use.

        Args:
            network: The network.
            taken: Segment → how many endpoints are joined to it; those without one are not there.

        Raises:
            Unavailable: the network is full.
        """
        return 0

    def interface_prefix(self, network: NetworkRecord) -> str:
        """Return the prefix of interface names inside a sandbox (``eth``); empty: endpoints have no interface."""
        return "eth"

    def gateway_families(self, network: NetworkRecord) -> tuple[Family, ...]:
        """Return the families for which the network itself needs a gateway address."""
        return (4, 6)
