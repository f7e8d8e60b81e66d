"""The driver: a network is a bridge of Open vSwitch, an endpoint one of its internal ports, moved into the sandbox.

Open vSwitch makes and removes its own interfaces, so this driver acts: it tells Open vSwitch what to make, and describes the rest. It has
no gateway of its own: a network's ``gateways`` are routers that are there already.
"""

from __future__ import annotations

from attrs import evolve

from libnetwork_py.desired import Moved
from libnetwork_py.drivers.acting import ActingDriver, Joined
from libnetwork_py.drivers.api import Attachment, Capability, Context, Surroundings
from libnetwork_py.endpoint import EndpointRecord
from libnetwork_py.errors import Conflict
from libnetwork_py.network import NetworkRecord
from libnetwork_py.sandbox import SandboxRecord
from libnetwork_py.types import Family, MacAddress

from . import ovs
from .options import OPTIONS, EndpointOptions, NetworkOptions


class OvsDriver(ActingDriver):
    """Ports of an Open vSwitch bridge."""

    api_version = 1
    capability = Capability()
    options = OPTIONS

    # Checks

    def check_network(self, network: NetworkRecord, surroundings: Surroundings) -> NetworkRecord:
        """Check the options, and that nobody else's interface has the bridge's name."""
        name = _of(network).bridge
        ours = {_of(each).bridge for each in surroundings.networks}
        if name in ours or (
            name in surroundings.facts.host.links and network.id not in {each.id for each in surroundings.networks}
        ):
            raise Conflict(f"bridge {name!r} exists already: choose another ovs.bridge", code="bridge_taken", name=name)
        return network

    def check_endpoint(self, network: NetworkRecord, endpoint: EndpointRecord) -> EndpointRecord:
        """Check the options, and choose a MAC address, so that it is known before Open vSwitch is asked for anything."""
        EndpointOptions.read(_of(network), endpoint.options)
        return (
            endpoint if endpoint.mac else evolve(endpoint, mac=MacAddress(b"\x02\x4f" + bytes.fromhex(endpoint.id[:8])))
        )

    def gateway_families(self, network: NetworkRecord) -> tuple[Family, ...]:
        """The network needs no address of its own."""
        return ()

    # Deeds

    def create_network(self, network: NetworkRecord) -> None:
        """Make the bridge."""
        options = _of(network)
        ovs.add_bridge(options.bridge, options.datapath)

    def delete_network(self, network: NetworkRecord) -> None:
        """Remove the bridge."""
        ovs.delete_bridge(_of(network).bridge)

    def join(self, network: NetworkRecord, endpoint: EndpointRecord, sandbox: SandboxRecord) -> Joined:
        """Make the port."""
        bridge, port = _of(network).bridge, _port(endpoint)
        options = EndpointOptions.read(_of(network), endpoint.options)
        ovs.add_port(bridge, port, options.vlan)
        if options.rate:
            ovs.limit(bridge, port, options.rate)
        return Joined()

    def leave(self, network: NetworkRecord, endpoint: EndpointRecord) -> None:
        """Remove the port; it may be gone."""
        bridge, port = _of(network).bridge, _port(endpoint)
        if ovs.has_port(port):
            if EndpointOptions.read(_of(network), endpoint.options).rate:
                ovs.unlimit(bridge, port)
            ovs.delete_port(bridge, port)

    # Description

    def describe_endpoint(
        self, network: NetworkRecord, endpoint: EndpointRecord, sandbox: SandboxRecord, context: Context
    ) -> Attachment:
        """The port, moved into the sandbox, and the routers that the network was given."""
        gateways = tuple(each.gateway for each in network.subnets if each.gateway)
        return Attachment((Moved(sandbox.key, endpoint.ifname, _port(endpoint), endpoint.mac),), gateways)


def _of(network: NetworkRecord) -> NetworkOptions:
    return NetworkOptions.read(network.id, network.options)


def _port(endpoint: EndpointRecord) -> str:
    return f"ovs{endpoint.id[:11]}"
