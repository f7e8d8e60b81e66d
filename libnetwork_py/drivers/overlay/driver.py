"""The namespace, bridge and tunnels of an overlay network on one host, and an endpoint on it.

May import: drivers.api, drivers.macs, drivers.options, drivers.overlay, desired, network, endpoint, sandbox, types.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from types import MappingProxyType

from attrs import evolve

from ...desired import NAMESPACES, Address, Bridge, Description, Namespace, Route, Sysctl, Veth, Vxlan, Word
from ...endpoint import EndpointRecord
from ...network import NetworkRecord
from ...sandbox import SandboxRecord
from ...types import INTERFACE_NAME_MAX, IPAddress
from ..api import Attachment, Capability, Context, Driver, Option, Surroundings
from ..macs import derived_mac, hashed_mac
from ..options import Options
from .checks import check_subnets, mtu
from .options import OPTIONS, read
from .peers import device, peer_words

BRIDGE = "br0"
"""The bridge's name in the network's namespace."""

MTU = "overlay.mtu"
"""What was decided when the network was created: the MTU of its endpoints on every host."""


class OverlayDriver(Driver):
    """One network across the hosts of a cluster; what its sandboxes send to each other goes through VXLAN tunnels."""

    capability = Capability(scope="global", ports=True, vni=True, outlet=True)
    options: Sequence[Option] = OPTIONS

    # Checks

    def check_network(self, network: NetworkRecord, surroundings: Surroundings) -> NetworkRecord:
        """Check options and subnets, and that the underlay takes the packets; decide the MTU.

        Raises:
            InvalidParameter: unknown option or bad value, or an MTU that does not fit. NotSupported: encryption.
            Conflict: a VXLAN number is another network's.
        """
        options = read(network.options)
        check_subnets(network, options, surroundings.networks)
        size = mtu(network, options, int(network.decided.get(MTU, 0)), surroundings)
        decided = MappingProxyType({**network.decided, MTU: str(size)})
        return evolve(network, decided=decided, vnis=network.vnis or options.vnis)

    def check_endpoint(self, network: NetworkRecord, endpoint: EndpointRecord) -> EndpointRecord:
        """Give the endpoint its MAC address.

        Raises:
            InvalidParameter: unknown option.
        """
        Options("overlay", OPTIONS, endpoint.options, where="endpoint")
        return endpoint if endpoint.mac else evolve(endpoint, mac=derived_mac(endpoint))

    # Descriptions

    def describe_network(self, network: NetworkRecord, context: Context) -> Description:
        """Return the network's namespace with its bridge and tunnels, and where the endpoints of other hosts are.

        A network whose subnets have no numbers yet, or a host without an address in the underlay, has nothing.
        """
        if context.vtep is None or len(network.vnis) < len(network.subnets):
            return ()
        path, size = namespace(network, context), int(network.decided.get(MTU, 0))
        return (
            Namespace(path),
            Sysctl(path, "ipv6.conf.default.disable_ipv6", "1"),
            Bridge(path, BRIDGE, hashed_mac(f"bridge {network.id}"), size),
            *_tunnels(network, path, size, context.vtep),
            *_gateways(network, path),
            *peer_words(path, network.subnets, context.peers, context.vtep),
        )

    def describe_endpoint(
        self, network: NetworkRecord, endpoint: EndpointRecord, sandbox: SandboxRecord, context: Context
    ) -> Attachment:
        """Return the veth pair from the network's namespace, and the way to the network's other subnets."""
        path = namespace(network, context)
        veth = Veth(
            path,
            f"veth{endpoint.id[: INTERFACE_NAME_MAX - 4]}",
            sandbox.key,
            endpoint.ifname,
            endpoint.mac or derived_mac(endpoint),
            master=BRIDGE,
            mtu=int(network.decided.get(MTU, 0)),
        )
        return Attachment((veth, *_routes(network, endpoint, sandbox)))

    def interface_prefix(self, network: NetworkRecord) -> str:
        """Return the option's prefix."""
        return read(network.options).prefix


def namespace(network: NetworkRecord, context: Context) -> str:
    """Return the path of a network's namespace: no two hosts of one machine have the same."""
    return f"{NAMESPACES}/ov-{network.id[:12]}-{context.controller[:8]}"


def _tunnels(network: NetworkRecord, path: str, size: int, vtep: IPAddress) -> Iterator[Word]:
    port = read(network.options).port
    for number, vni in enumerate(network.vnis):
        yield Vxlan(path, device(number), vni, vtep, port, BRIDGE, size)
        if 6 in network.families:  # a device without IPv6 has no neighbours of that family to answer for
            yield Sysctl(path, "ipv6.conf.{}.disable_ipv6", "0", link=device(number))


def _gateways(network: NetworkRecord, path: str) -> Iterator[Word]:
    """The gateway answers on every host, with the same addresses and the same MAC address."""
    if 6 in network.families:
        yield Sysctl(path, "ipv6.conf.{}.disable_ipv6", "0", link=BRIDGE)
        yield Sysctl(path, "ipv6.conf.{}.accept_ra", "0", link=BRIDGE)
    for subnet in network.subnets:
        if subnet.gateway:
            yield Address(path, BRIDGE, ipaddress.ip_interface(f"{subnet.gateway}/{subnet.subnet.prefixlen}"))


def _routes(network: NetworkRecord, endpoint: EndpointRecord, sandbox: SandboxRecord) -> Iterator[Route]:
    """The network's other subnets are on the same wire: no router stands between an endpoint and its peers there."""
    own = {address.network for address in endpoint.addresses}
    for subnet in network.subnets:
        if subnet.family in endpoint.families and subnet.subnet not in own:
            yield Route(sandbox.key, subnet.subnet, endpoint.ifname)
