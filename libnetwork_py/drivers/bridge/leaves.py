"""More endpoints than one Linux bridge has ports: further bridges, leaves, in a row, each joined to the one before by a veth pair.

Division of labour: `Sizes` says which bridge the next endpoint hangs on; `leaf_words` what a leaf is. The first 959 endpoints hang on
the network's own bridge, the root, so a small network knows nothing of this. Leaves come and go with the endpoints that need them.

Why a row and not a star: the kernel queues what is flooded on the processor's backlog, which holds 1,000 frames
(``net.core.netdev_max_backlog``). A star of four leaves floods one ARP request 4,000 times at once: three in four are lost, the answer
too. In a row each bridge floods after the one before has been served, and never more than 960 frames.

Subnet, gateway and addresses stay the root's: a leaf has none and answers for none. Isolation (ICC off) holds across leaves because
the port that leads away from the root is isolated as endpoints' ports are; the one that leads to the root is not, so that the gateway
is reached. The pair does not hairpin, or a leaf would hear its own broadcasts and learn its endpoints' addresses at the wrong port.

May import: drivers.bridge.options, drivers.bridge.checks, firewall, desired, network, types, errors.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

from attrs import frozen

from ...desired import HOST, Bridge, Sysctl, Table, Veth, Word
from ...errors import Unavailable
from ...firewall.elements import leaf_elements
from ...firewall.table import GROUP_ID, GROUP_INTERNAL, LEAF_MARK
from ...network import NetworkRecord
from ...types import MacAddress
from .checks import PORTS
from .options import MTU_MIN_IPV6, BridgeOptions

BRIDGE_PORTS = 1023
"""As many ports as a Linux bridge takes (``BR_MAX_PORTS`` in ``net/bridge/br_private.h``, less one)."""


@frozen
class Sizes:
    """What one bridge takes.

    Attributes:
        ports: Ports that it may have.
        endpoints: How many of them are endpoints' at most: one broadcast to all of them fits into the kernel's backlog.
        leaves: How many leaves a network may have: with 68, a /16 fits.
    """

    ports: int = BRIDGE_PORTS
    endpoints: int = 959
    leaves: int = 68

    def segment(self, network: NetworkRecord, taken: Mapping[int, int]) -> int:
        """Return the lowest bridge with room: 0 is the root, 1 the first leaf.

        Raises:
            Unavailable: all are full.
        """
        free = self.ports - int(network.decided.get(PORTS, "0"))
        if taken.get(0, 0) < min(self.endpoints, free - 1):
            return 0
        for number in range(1, self.leaves + 1) if free > 0 else ():
            if taken.get(number, 0) < self.endpoints:
                return number
        raise Unavailable(
            f"network {network.name!r} is full: {sum(taken.values()):,} endpoints are joined to it and none of its bridges has a port"
            " left; spread them over several networks",
            code="network_full", network_id=network.id,
        )  # fmt: skip


def group_bits(network: NetworkRecord) -> int:
    """Return what tells the group of a network's links from others' groups."""
    return GROUP_INTERNAL * network.internal | int(network.id[:8], 16) & GROUP_ID


def leaf_name(network_id: str, number: int) -> str:
    """Return the name of a leaf."""
    return f"br{number}-{network_id[:10]}"


def bridge_of(network_id: str, root: str, segment: int) -> str:
    """Return the bridge that an endpoint of a segment is a port of."""
    return leaf_name(network_id, segment) if segment else root


def leaf_words(network: NetworkRecord, options: BridgeOptions, number: int, group: int, table: Table) -> Iterator[Word]:
    """Return what a leaf is: a bridge, the pair that joins it to the one before, and what keeps it from being more than that.

    Args:
        network: The network.
        options: Its options.
        number: Of the leaf, from 1.
        group: The group of the network's links.
        table: The controller's firewall table.
    """
    name, up, down = leaf_name(network.id, number), f"up{number}-{network.id[:10]}", f"dn{number}-{network.id[:10]}"
    yield Bridge(HOST, name, _mac(name), options.mtu, LEAF_MARK | group_bits(network))
    yield Veth(
        HOST, up, HOST, down, _mac(down), master=bridge_of(network.id, options.name, number - 1), mtu=options.mtu, group=group,
        isolated=not options.icc, peer_master=name,
    )  # fmt: skip
    yield from _settings(network, options, name)
    if not 0 < options.mtu < MTU_MIN_IPV6:  # below it there is no IPv6 to turn off
        yield Sysctl(HOST, "ipv6.conf.{}.disable_ipv6", "1", link=down)
    yield from leaf_elements(table, name, options.name, internal=network.internal, icc=options.icc)


def _settings(network: NetworkRecord, options: BridgeOptions, name: str) -> Iterator[Sysctl]:
    """Keep a leaf from answering for the host, and let br_netfilter hand up what it translates on a leaf."""
    yield Sysctl(HOST, "ipv4.conf.{}.arp_ignore", "8", link=name)
    # __fib_validate_source in net/ipv4/fib_frontend.c: on a link without an address even the loose mode drops
    yield Sysctl(HOST, "ipv4.conf.{}.rp_filter", "0", link=name)
    if not network.internal:
        yield Sysctl(HOST, "ipv4.conf.{}.route_localnet", "1", link=name)
    ipv6 = any(subnet.family == 6 for subnet in network.subnets)
    if not 0 < options.mtu < MTU_MIN_IPV6:
        yield Sysctl(HOST, "ipv6.conf.{}.disable_ipv6", "0" if ipv6 else "1", link=name)
    if ipv6:
        yield Sysctl(HOST, "ipv6.conf.{}.accept_ra", "0", link=name)


def _mac(name: str) -> MacAddress:
    return MacAddress(b"\x02" + hashlib.blake2s(name.encode(), digest_size=5).digest())
