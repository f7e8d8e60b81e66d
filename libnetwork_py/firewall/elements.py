"""What a network and a published port put into the table's sets.

Division of labour: drivers say these words for their networks and endpoints; `table` says what they mean. An endpoint without
published ports puts in nothing, so joining costs no firewall transaction.

May import: table, desired, nftables, types, errors.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address
from itertools import pairwise
from types import MappingProxyType
from typing import Literal, TypeAlias

from ..desired import Element, Table
from ..errors import InvalidParameter
from ..nftables import Atom, SetDecl, Verdict
from ..types import Family, IPAddress, IPNetwork, PortBinding
from .table import (
    BRIDGES,
    CLOSED,
    DETOUR,
    HOME,
    INTERNAL,
    MASQUERADE,
    OPEN,
    PORTS,
    PORTS_ANY,
    PUBLISHED,
    ROUTED,
    SNAT,
    TRUSTED,
    UNPROTECTED,
    WITHIN,
)

GatewayMode: TypeAlias = Literal["nat", "nat-unprotected", "routed", "isolated"]
"""How a network meets the outside in one family: ``com.docker.network.bridge.gateway_mode_ipv4`` and ``_ipv6``.

``nat``: sources masqueraded, published ports translated, the rest closed. ``nat-unprotected``: the same, nothing closed.
``routed``: nothing translated; published container ports and ICMP open. ``isolated``: for internal networks, the bridge has no
address; the firewall is that of an internal network.
"""


def network_elements(
    table: Table,
    bridge: str,
    subnets: Iterable[IPNetwork],
    *,
    internal: bool = False,
    icc: bool = True,
    masquerade: bool = True,
    modes: Mapping[Family, GatewayMode] = MappingProxyType({}),
    snat: Mapping[Family, IPAddress] = MappingProxyType({}),
    trusted: Iterable[str] = (),
    closed: Iterable[Family] = (),
) -> tuple[Element, ...]:
    """Return what a network puts into the table.

    Args:
        table: The controller's table.
        bridge: The network's bridge.
        subnets: The network's subnets, of both families.
        internal: Nothing enters or leaves the network. The other options then count for nothing, but ``icc``.
        icc: May endpoints of the network reach each other? Where bridged frames do not pass the packet filter (no br_netfilter),
            the bridge's ports must be isolated too.
        masquerade: In the nat modes, change the source of what leaves.
        modes: The gateway mode of a family; ``nat`` where it has none.
        snat: Use this source address for a family instead of the outgoing interface's.
        trusted: The host's interfaces from which published ports may be reached by the container's own address.
        closed: Families that the host forwards for our sake alone: packets of none of our bridges are dropped.

    Raises:
        InvalidParameter: an isolated family on a network that is not internal.
    """
    say = _Speaker(table)
    inside = say(WITHIN, bridge, bridge, value="accept" if icc else "drop")
    if internal:
        return (say(INTERNAL, bridge), inside)
    elements = [say(BRIDGES, bridge), inside, *(say(TRUSTED, interface, bridge) for interface in trusted)]
    elements += [say(CLOSED, f"ipv{family}") for family in closed]
    for subnet in subnets:
        mode = modes.get(_family(subnet), "nat")
        elements += _subnet_elements(say, bridge, subnet, mode, masquerade=masquerade)
        if source := snat.get(_family(subnet)):
            elements.append(say(SNAT[_family(subnet)], _interval(subnet), bridge, value=(source,)))
    return tuple(dict.fromkeys(elements))


def leaf_elements(
    table: Table, leaf: str, bridge: str, *, internal: bool = False, icc: bool = True
) -> tuple[Element, ...]:
    """Return what a further bridge of a large network puts into the table.

    Frames pass a leaf freely: what goes to the gateway does too, and whether endpoints reach each other is decided by the ports'
    isolation. A packet enters the host by a leaf only where br_netfilter translated
    it there, or where somebody sends to the leaf's own Ethernet address: it then counts as having entered by the network's bridge.

    Args:
        table: The controller's table.
        leaf: The further bridge.
        bridge: The network's own.
        internal: As for `network_elements`. icc: likewise.
        icc: See ``internal``.
    """
    say = _Speaker(table)
    kept_in = say(WITHIN, leaf, bridge, value="accept" if icc else "drop")
    return (say(INTERNAL if internal else BRIDGES, leaf), say(WITHIN, leaf, leaf, value="accept"), kept_in)


def _subnet_elements(
    say: _Speaker, bridge: str, subnet: IPNetwork, mode: GatewayMode, *, masquerade: bool
) -> Iterator[Element]:
    family, key = _family(subnet), _interval(subnet)
    if mode == "isolated":
        raise InvalidParameter(
            f"gateway mode 'isolated' can only be used for an internal network: {bridge} is not internal",
            code="isolated_not_internal",
            bridge=bridge,
        )
    yield say(HOME[family], key, bridge)
    if mode != "routed" and masquerade:
        yield say(MASQUERADE[family], key, bridge)
    if mode == "routed":
        yield say(ROUTED[family], bridge)
    elif mode == "nat-unprotected":
        yield say(UNPROTECTED[family], bridge)


def port_elements(
    table: Table,
    binding: PortBinding,
    address: IPAddress,
    *,
    mode: GatewayMode = "nat",
    shared: Iterable[IPNetwork] = (),
) -> tuple[Element, ...]:
    """Return what a published port, or a run of them, puts into the table for one of the container's addresses.

    A binding without a host address stands for all the host's addresses of the container address's family: call this once per
    container address. A binding to an address of the other family gives nothing, for the kernel cannot translate it.

    Args:
        table: The controller's table.
        binding: With concrete host ports (not needed in routed mode, where they count for nothing).
        address: The container's address on the network it publishes through.
        mode: That network's gateway mode in this family.
        shared: Subnets of the sandbox's other networks. A client there is answered directly, past the host, so its source must
            be changed on the way in. 0.0.0.0/0 or ::/0 where every other client would be answered by another network too,
            because another endpoint is the sandbox's way out.

    Raises:
        InvalidParameter: no concrete host port, or the network is isolated.
    """
    family = _family(address)
    if binding.host_ip is not None and binding.host_ip.version != family:
        return ()
    if mode == "isolated":
        raise InvalidParameter(f"{binding} cannot be published: its network is isolated", code="isolated_port")
    say = _Speaker(table)
    inside = address, binding.protocol, binding.container_port
    if mode == "routed":
        return (say(OPEN[family], *inside, count=binding.count),)
    if not binding.host_port:
        raise InvalidParameter(f"{binding} has no concrete host port: choose one first", code="no_host_port")
    elements = [_translation(say, binding, family, address), say(PUBLISHED[family], *inside, count=binding.count)]
    elements += [say(DETOUR[family], _interval(net), address) for net in shared if _family(net) == family]
    return tuple(elements)


def _translation(say: _Speaker, binding: PortBinding, family: Family, address: IPAddress) -> Element:
    """The translation of a run of ports."""
    to, count = (address, binding.container_port), binding.count
    if binding.host_ip is None or binding.host_ip.is_unspecified:
        return say(PORTS_ANY[family], binding.protocol, binding.host_port, value=to, count=count)
    return say(PORTS[family], binding.host_ip, binding.protocol, binding.host_port, value=to, count=count)


def apart(bindings: Iterable[PortBinding], elements: Iterable[Element]) -> Iterable[Element]:
    """Return the elements of an endpoint's bindings; one by one where two runs lead to a container's port in common.

    The element that stands for that port belongs to both, and must not go with one of them.
    """
    runs = [each for each in bindings if each.count > 1]
    if not runs or not _overlap(bindings):
        return elements
    return dict.fromkeys(single for each in elements for single in each.singles)


def _overlap(bindings: Iterable[PortBinding]) -> bool:
    ordered = sorted((each.protocol, each.container_port, each.container_port_end) for each in bindings)
    return any(one[0] == other[0] and other[1] <= one[2] for one, other in pairwise(ordered))


class _Speaker:
    """Says elements of one table."""

    def __init__(self, table: Table) -> None:
        self._namespace, self._table = table.namespace, table.name

    def __call__(
        self, decl: SetDecl, *fields: Atom, value: tuple[Atom, ...] | Verdict | None = None, count: int = 1
    ) -> Element:
        return Element(self._namespace, self._table, decl, fields, value, count)


def _interval(network: IPNetwork) -> IPAddress | IPNetwork:
    """A network of one address is that address: so the kernel reports it."""
    return ip_address(network.network_address) if network.num_addresses == 1 else network


def _family(value: IPAddress | IPNetwork) -> Family:
    return 4 if value.version == 4 else 6
