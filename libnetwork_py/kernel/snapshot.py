"""Bytes to facts: what the kernel answers when asked what is there.

Division of labour: `messages` asks, `transport` carries, this decodes just what `facts` needs, by struct: pyroute2's decoder takes
100 µs for a link, and a restart looks at thousands.

May import: stack, messages, transport, desired, facts, types, errors. (`nft` when a table is asked for.)
"""

from __future__ import annotations

import socket
import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network

from ..desired import HOST, Element, Entry, Key, Qdisc, Relay, Sysctl, Table, Word
from ..errors import InvalidParameter, NotFound
from ..facts import Facts, LinkFact, LinkStatistics, NamespaceFacts, RouteFact, TableFact, TunnelFact
from ..types import IPInterface, IPNetwork
from . import entry_facts, messages, qdiscs
from .attributes import address_of, number_in, octets_in, pieces, text_of
from .stack import Sockets
from .transport import NETLINK_NETFILTER, Transport

_LINK = struct.Struct("=BxHiII")  # struct ifinfomsg: family, type, index, flags, change
_ADDRESS = struct.Struct("=BBBBI")  # struct ifaddrmsg: family, prefix length, flags, scope, index
_ROUTE = struct.Struct("=BBBBBBBBI")  # struct rtmsg: family, dst_len, src_len, tos, table, protocol, scope, type, flags
_COUNTERS = struct.Struct("=8Q")  # the beginning of struct rtnl_link_stats64

_IFF_UP = 1
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_MASTER, _IFLA_LINKINFO = 1, 3, 4, 10, 18
_IFLA_STATS64, _IFLA_GROUP = 23, 27
_INFO_KIND, _INFO_DATA, _INFO_SLAVE_DATA = 1, 2, 5
_BRPORT_MODE, _BRPORT_LEARNING, _BRPORT_UNICAST_FLOOD, _BRPORT_ISOLATED = 4, 8, 9, 33
_VXLAN_ID, _VXLAN_LOCAL, _VXLAN_LEARNING, _VXLAN_PROXY, _VXLAN_PORT, _VXLAN_LOCAL6 = 1, 4, 7, 11, 15, 17
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_TABLE, _RTA_VIA = 1, 4, 5, 6, 15, 18
_MAIN, _UNICAST, _KERNEL, _CLONED = 254, 1, 2, 0x200


def take(sockets: Sockets, namespaces: Iterable[str], words: Iterable[Word]) -> Facts:
    """Return a snapshot of the host, of ``namespaces``, and of the tables and settings that ``words`` name."""
    inside: dict[str, NamespaceFacts] = {}
    listed = list(words)
    with_entries = {word.namespace for word in listed if isinstance(word, Entry)}
    for path in dict.fromkeys((HOST, *namespaces)):
        try:
            transport = sockets.host() if path == HOST else sockets.inside(path)
        except (NotFound, InvalidParameter):
            continue  # no such path, or a file that a namespace was never bound to
        try:
            inside[path] = namespace_facts(transport, entries=path in with_entries)
        finally:
            if path != HOST:
                transport.close()
    relays = sockets.relays.carried() if any(isinstance(word, Relay | Table) for word in listed) else {}
    return Facts(inside, _tables(sockets, listed), _sysctls(sockets, listed), relays, _qdiscs(sockets, inside, listed))


def _tables(sockets: Sockets, words: Iterable[Word]) -> dict[tuple[str, str], TableFact]:
    wanted: dict[str, dict[str, Table | None]] = defaultdict(dict)
    for word in words:
        if isinstance(word, Table):
            wanted[word.namespace][word.name] = word
        elif isinstance(word, Element):
            wanted[word.namespace].setdefault(word.table, None)
    found: dict[tuple[str, str], TableFact] = {}
    for path, names in wanted.items():
        from . import nft  # noqa: PLC0415 (needed by few)

        try:
            transport = sockets.host(NETLINK_NETFILTER) if path == HOST else sockets.inside(path, NETLINK_NETFILTER)
        except (NotFound, InvalidParameter):
            continue
        try:
            found |= {(path, name): fact for name, fact in nft.snapshot(transport, names).items()}
        finally:
            if path != HOST:
                transport.close()
    return found


def _qdiscs(sockets: Sockets, inside: Mapping[str, NamespaceFacts], words: Iterable[Word]) -> dict[Key, Qdisc]:
    found: dict[Key, Qdisc] = {}
    for path in dict.fromkeys(word.namespace for word in words if isinstance(word, Qdisc) and word.namespace in inside):
        names = {link.index: link.name for link in inside[path].links.values()}
        transport = sockets.host() if path == HOST else sockets.inside(path)
        try:
            for _, data in transport.dump(qdiscs.dump(), "read the queueing disciplines"):
                name = names.get(qdiscs.interface_of(data))
                qdisc = qdiscs.decode(data, path, name) if name else None
                if qdisc is not None:
                    found[qdisc.key] = qdisc
        finally:
            if path != HOST:
                transport.close()
    return found


def _sysctls(sockets: Sockets, words: Iterable[Word]) -> dict[Key, str]:
    wanted: dict[str, list[Sysctl]] = defaultdict(list)
    for word in words:
        if isinstance(word, Sysctl):
            wanted[word.namespace].append(word)
    found: dict[Key, str] = {}
    for path, some in wanted.items():
        try:
            values = sockets.opener.read(path, [word.path for word in some])
        except (NotFound, InvalidParameter):
            continue
        found |= {word.key: value for word, value in zip(some, values, strict=True) if value is not None}
    return found


def namespace_facts(transport: Transport, *, entries: bool = False) -> NamespaceFacts:
    """Return the links, addresses and unicast routes of the namespace of an rtnetlink socket; with ``entries``, those too."""
    links, names = _links(transport)
    addresses = frozenset((names[index], address) for index, address in _addresses(transport) if index in names)
    facts = NamespaceFacts(links=links, addresses=addresses, routes=frozenset(_routes(transport, names)))
    return entry_facts.added(facts, transport, names) if entries else facts


def links_by_name(transport: Transport) -> dict[str, LinkFact]:
    """Return the links of the namespace of an rtnetlink socket."""
    return _links(transport)[0]


def statistics(transport: Transport) -> Mapping[str, LinkStatistics]:
    """Return the counters of every link of the namespace of an rtnetlink socket."""
    counters: dict[str, LinkStatistics] = {}
    for _, data in transport.dump(messages.dump_links(statistics=True), "read the interfaces' counters"):
        attributes = pieces(data, _LINK.size)
        start, end = attributes[_IFLA_STATS64]
        rx_packets, tx_packets, rx_bytes, tx_bytes, rx_errors, tx_errors, rx_dropped, tx_dropped = _COUNTERS.unpack(
            data[start:end][: _COUNTERS.size]
        )
        counters[text_of(data, attributes[_IFLA_IFNAME])] = LinkStatistics(
            rx_bytes=rx_bytes,
            rx_packets=rx_packets,
            rx_errors=rx_errors,
            rx_dropped=rx_dropped,
            tx_bytes=tx_bytes,
            tx_packets=tx_packets,
            tx_errors=tx_errors,
            tx_dropped=tx_dropped,
        )
    return counters


def _links(transport: Transport) -> tuple[dict[str, LinkFact], dict[int, str]]:
    """Links by name, and names by index."""
    dumped: list[tuple[bytes, int, int, dict[int, tuple[int, int]]]] = []
    names: dict[int, str] = {}
    for _, data in transport.dump(messages.dump_links(), "read the interfaces"):
        _, _, index, flags, _ = _LINK.unpack_from(data)
        attributes = pieces(data, _LINK.size)
        dumped.append((data, index, flags, attributes))
        names[index] = text_of(data, attributes[_IFLA_IFNAME])
    return {
        names[index]: _link(data, index, flags, attributes, names) for data, index, flags, attributes in dumped
    }, names


def _link(
    data: bytes, index: int, flags: int, attributes: dict[int, tuple[int, int]], names: Mapping[int, str]
) -> LinkFact:
    info = pieces(data, *attributes[_IFLA_LINKINFO]) if _IFLA_LINKINFO in attributes else {}
    kind = text_of(data, info[_INFO_KIND]) if _INFO_KIND in info else ""
    port = pieces(data, *info[_INFO_SLAVE_DATA]) if _INFO_SLAVE_DATA in info else {}

    def flag(number: int, default: bool) -> bool:
        return bool(data[port[number][0]]) if number in port else default

    mac = attributes.get(_IFLA_ADDRESS)
    return LinkFact(
        name=names[index],
        index=index,
        kind=kind,
        mac=data[mac[0] : mac[1]].hex(":") if mac else "",
        mtu=number_in(data, attributes, _IFLA_MTU),
        up=bool(flags & _IFF_UP),
        group=number_in(data, attributes, _IFLA_GROUP),
        master=names.get(number_in(data, attributes, _IFLA_MASTER), ""),
        hairpin=flag(_BRPORT_MODE, False),
        isolated=flag(_BRPORT_ISOLATED, False),
        learning=flag(_BRPORT_LEARNING, True),
        flood=flag(_BRPORT_UNICAST_FLOOD, True),
        tunnel=_tunnel(data, info[_INFO_DATA]) if kind == "vxlan" and _INFO_DATA in info else None,
    )


def _tunnel(data: bytes, place: tuple[int, int]) -> TunnelFact:
    attributes = pieces(data, *place)
    local = octets_in(data, attributes, _VXLAN_LOCAL) or octets_in(data, attributes, _VXLAN_LOCAL6)
    return TunnelFact(
        vni=number_in(data, attributes, _VXLAN_ID),
        local=address_of(local),
        port=int.from_bytes(octets_in(data, attributes, _VXLAN_PORT), "big"),
        learning=any(octets_in(data, attributes, _VXLAN_LEARNING)),
        proxy=any(octets_in(data, attributes, _VXLAN_PROXY)),
    )


def _addresses(transport: Transport) -> Iterator[tuple[int, IPInterface]]:
    """Link index and address with prefix length."""
    for _, data in transport.dump(messages.dump_addresses(), "read the addresses"):
        family, length, _, _, index = _ADDRESS.unpack_from(data)
        attributes = pieces(data, _ADDRESS.size)
        place = attributes.get(_IFA_LOCAL) or attributes.get(
            _IFA_ADDRESS
        )  # on a point-to-point link ADDRESS is the peer's
        if place is None:
            continue
        packed = data[place[0] : place[1]]
        if family == socket.AF_INET:
            yield index, IPv4Interface((packed, length))
        elif family == socket.AF_INET6:
            yield index, IPv6Interface((packed, length))


def _routes(transport: Transport, names: Mapping[int, str]) -> Iterator[RouteFact]:
    for family in (socket.AF_INET, socket.AF_INET6):
        for data in _dump_routes(transport, family):
            _, length, _, _, table, protocol, _, kind, flags = _ROUTE.unpack_from(data)
            attributes = pieces(data, _ROUTE.size)
            table = number_in(data, attributes, _RTA_TABLE) or table
            name = names.get(number_in(data, attributes, _RTA_OIF))
            if table != _MAIN or kind != _UNICAST or flags & _CLONED or name is None:
                continue
            yield RouteFact(
                destination=_network(family, octets_in(data, attributes, _RTA_DST), length),
                link=name,
                gateway=address_of(
                    octets_in(data, attributes, _RTA_GATEWAY) or octets_in(data, attributes, _RTA_VIA)[2:]
                ),
                metric=number_in(data, attributes, _RTA_PRIORITY),
                connected=protocol == _KERNEL,
            )


def _dump_routes(transport: Transport, family: int) -> list[bytes]:
    try:
        return [data for _, data in transport.dump(messages.dump_routes(family), "read the routes")]
    except NotFound:  # a namespace that never had a route has no table yet ("FIB table does not exist")
        return []


def _network(family: int, packed: bytes, length: int) -> IPNetwork:
    if family == socket.AF_INET:
        return IPv4Network((packed or bytes(4), length))
    return IPv6Network((packed or bytes(16), length))
