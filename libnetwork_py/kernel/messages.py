"""Words to rtnetlink messages.

Division of labour: pyroute2's message classes know the wire format. A shape that is sent a thousand times is encoded by them once;
from then on its bytes are copied and patched (`templates`). Rare shapes are encoded afresh. `meaning` puts a word into words, for errors.

Interface names are sent as 16 bytes, padded with zeros: the kernel's policy (``NLA_STRING``, at most 15 bytes before a final zero)
allows it, and the length of a message does not depend on its names. pyroute2 takes 0.1 s to import: it is, when first needed.

May import: encoding, templates, desired, errors.
"""

from __future__ import annotations

import errno
import functools
import socket
import struct
from collections.abc import Mapping

from ..desired import (
    HOST,
    Address,
    Bridge,
    Element,
    Forwarding,
    Link,
    Moved,
    Namespace,
    Neighbour,
    Qdisc,
    Relay,
    Route,
    Sysctl,
    Table,
    Veth,
    Vxlan,
    Word,
)
from ..errors import InvalidParameter
from .encoding import (
    CREATE,
    DUMP,
    EXCL,
    REPLACE,
    REQUEST,
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_DELROUTE,
    RTM_GETADDR,
    RTM_GETLINK,
    RTM_GETNEIGH,
    RTM_GETROUTE,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWROUTE,
    Attributes,
    encoded,
    link,
    padded,
    renamed,
)
from .templates import FieldKind, Template

GONE = frozenset({errno.ENODEV, errno.ENOENT, errno.ESRCH, errno.EADDRNOTAVAIL, errno.ENXIO})
"""What the kernel says when asked to remove what is not there."""

_IFLA_MASTER, _IFLA_EXT_MASK, _RTEXT_FILTER_SKIP_STATS = 10, 29, 1 << 3
_IFA_F_NODAD = 0x02
_TABLE_MAIN, _PROTO_STATIC, _UNICAST, _SCOPE_LINK = 254, 4, 1, 253
_ADDR_GEN_MODE_NONE = 1
_LONGEST_WITH_BROADCAST = 30
MTU_MIN_IPV6 = 1280

ADDRESS_KINDS: Mapping[int, FieldKind] = {4: "ipv4", 6: "ipv6"}


# links


def veth(word: Veth, master: int, peer_namespace: int) -> bytearray:
    """Create a pair, its outer end up and a port of the link with index ``master`` (0: none), its other end in the namespace.

    The other end cannot be born up: the pair is not joined yet (``veth_open`` gives ENOTCONN).
    """
    values: list[bytes | int] = [word.name.encode(), word.peer_name.encode(), word.peer_mac.packed, peer_namespace]
    values += [each for each in (master, word.group) if each]
    values += [word.mtu, word.mtu] if word.mtu else []
    return _veth_template(bool(master), bool(word.group), bool(word.mtu)).fill(*values)


@functools.cache
def _veth_template(master: bool, group: bool, mtu: bool) -> Template:
    fields: dict[str, FieldKind] = {"name": "name", "peer": "name", "mac": "mac", "namespace": "u32"}
    fields |= {"master": "u32"} if master else {}
    fields |= {"group": "u32"} if group else {}
    fields |= {"mtu": "u32", "peer_mtu": "u32"} if mtu else {}
    return Template(encode_veth, **fields)


def encode_veth(
    *, name: str, peer: str, mac: str, namespace: int, master: int = 0, group: int = 0, mtu: int = 0, peer_mtu: int = 0
) -> bytes:
    """Encode what `veth` fills in, by pyroute2."""
    inside: Attributes = [("IFLA_IFNAME", padded(peer)), ("IFLA_ADDRESS", mac), ("IFLA_NET_NS_FD", namespace)]
    inside += [("IFLA_MTU", peer_mtu)] if peer_mtu else []
    pair = {"attrs": [("VETH_INFO_PEER", {"attrs": inside})]}
    attributes: Attributes = [
        ("IFLA_IFNAME", padded(name)),
        *([("IFLA_MTU", mtu)] if mtu else []),
        *([("IFLA_MASTER", master)] if master else []),
        *([("IFLA_GROUP", group)] if group else []),
        ("IFLA_LINKINFO", {"attrs": [("IFLA_INFO_KIND", "veth"), ("IFLA_INFO_DATA", pair)]}),
    ]
    return link(RTM_NEWLINK, CREATE | EXCL, attributes, up=True)


def port(word: Veth, ipv6: bool) -> bytearray | None:
    """Set what the kernel does not take while creating: no IPv6 address for the outer end, isolated and hairpin for its port."""
    ipv6 = ipv6 and not _too_small(word)
    is_port = bool(word.master) and (word.hairpin or word.isolated)
    if not ipv6 and not is_port:
        return None
    return _port_template(ipv6, is_port, word.hairpin, word.isolated).fill(word.name.encode())


@functools.cache
def _port_template(ipv6: bool, is_port: bool, hairpin: bool, isolated: bool) -> Template:
    return Template(
        lambda name: encode_port(name, ipv6=ipv6, is_port=is_port, hairpin=hairpin, isolated=isolated), name="name"
    )


def encode_port(name: str, *, ipv6: bool, is_port: bool, hairpin: bool, isolated: bool) -> bytes:
    """Encode what `port` fills in, by pyroute2."""
    return link(RTM_NEWLINK, 0, [("IFLA_IFNAME", padded(name)), *port_attributes(ipv6, is_port, hairpin, isolated)])


def port_attributes(ipv6: bool, is_port: bool, hairpin: bool, isolated: bool) -> Attributes:
    """Return what is set of a port once it is there: no IPv6 address, and what the bridge lets it do."""
    attributes: Attributes = []
    if ipv6:
        mode = {"attrs": [("IFLA_INET6_ADDR_GEN_MODE", _ADDR_GEN_MODE_NONE)]}
        attributes.append(("IFLA_AF_SPEC", {"attrs": [("AF_INET6", mode)]}))
    if is_port:
        data = {"attrs": [("IFLA_BRPORT_MODE", int(hairpin)), ("IFLA_BRPORT_ISOLATED", int(isolated))]}
        info = [("IFLA_INFO_SLAVE_KIND", "bridge"), ("IFLA_INFO_SLAVE_DATA", data)]
        attributes.append(("IFLA_LINKINFO", {"attrs": info}))
    return attributes


def _too_small(word: Veth) -> bool:
    """Below IPv6's least MTU the kernel gives an interface no IPv6 at all (``addrconf_notify`` in net/ipv6/addrconf.c)."""
    return 0 < word.mtu < MTU_MIN_IPV6


def bridge(word: Bridge, *, up: bool) -> bytes:
    """Create a bridge. Its MTU comes after (`mtu`): given here, it would follow that of its ports."""
    data = {"attrs": [("IFLA_BR_FORWARD_DELAY", 0), ("IFLA_BR_STP_STATE", 0)]}
    attributes: Attributes = [
        ("IFLA_IFNAME", word.name),
        ("IFLA_ADDRESS", str(word.mac)),
        *([("IFLA_GROUP", word.group)] if word.group else []),
        ("IFLA_LINKINFO", {"attrs": [("IFLA_INFO_KIND", "bridge"), ("IFLA_INFO_DATA", data)]}),
    ]
    return link(RTM_NEWLINK, CREATE | EXCL, attributes, up=up)


def mtu(word: Link) -> bytes:
    """Set a link's MTU; a bridge's for good."""
    return link(RTM_NEWLINK, 0, [("IFLA_IFNAME", word.name), ("IFLA_MTU", word.mtu)])


def resize(name: str, size: int) -> bytes:
    """Set the MTU of a link."""
    return link(RTM_NEWLINK, 0, [("IFLA_IFNAME", name), ("IFLA_MTU", size)])


def mend_bridge(word: Bridge) -> bytes:
    """Give a bridge that exists what the word says."""
    size: Attributes = [("IFLA_MTU", word.mtu)] if word.mtu else []
    return link(RTM_NEWLINK, 0, [("IFLA_IFNAME", word.name), ("IFLA_ADDRESS", str(word.mac)), *size], up=True)


def mend_veth(word: Veth, master: int, ipv6: bool) -> list[bytes]:
    """Give the outer end of a pair that exists what the word says: first its bridge, then its port."""
    size: Attributes = [("IFLA_MTU", word.mtu)] if word.mtu else []
    settings = port_attributes(ipv6 and not _too_small(word), bool(word.master), word.hairpin, word.isolated)
    first = link(
        RTM_NEWLINK, 0, [("IFLA_IFNAME", word.name), ("IFLA_MASTER", master), *size], up=not word.down, down=word.down
    )
    return [first, link(RTM_NEWLINK, 0, [("IFLA_IFNAME", word.name), *settings])] if settings else [first]


def mend_peer(word: Veth) -> bytes:
    """Give the inner end of a pair that exists what the word says."""
    size: Attributes = [("IFLA_MTU", word.mtu)] if word.mtu else []
    return link(RTM_NEWLINK, 0, [("IFLA_IFNAME", word.peer_name), ("IFLA_ADDRESS", str(word.peer_mac)), *size], up=True)


def pull(name: str) -> bytes:
    """Take a link down: the other end of a pair loses its carrier."""
    return link(RTM_NEWLINK, 0, [("IFLA_IFNAME", name)], down=True)


def join(name: str, master: int) -> bytes:
    """Make a link a port of the one with index ``master``."""
    return link(RTM_NEWLINK, 0, [("IFLA_IFNAME", name), ("IFLA_MASTER", master)])


def move(index: int, namespace: int, name: str, mac: str = "") -> bytes:
    """Move the link with ``index`` into the namespace behind a descriptor and rename it there (``do_setlink``); it goes down by that."""
    address: Attributes = [("IFLA_ADDRESS", mac)] if mac else []
    return link(RTM_NEWLINK, 0, [("IFLA_NET_NS_FD", namespace), ("IFLA_IFNAME", name), *address], index=index)


def mend_moved(word: Moved) -> bytes:
    """Give a moved link what the word says."""
    address: Attributes = [("IFLA_ADDRESS", str(word.mac))] if word.mac else []
    return link(RTM_NEWLINK, 0, [("IFLA_IFNAME", word.name), *address], up=True)


def link_up(index: int) -> bytearray:
    """Raise a link."""
    return _up_template().fill(index)


@functools.cache
def _up_template() -> Template:
    return Template(lambda index: link(RTM_NEWLINK, 0, [], up=True, index=index), index="u32")


def settle(name: str) -> bytearray:
    """Ask about one link, whose answer nobody reads: the kernel first does what it put off when the link's other end went up.

    Until then the link sends nothing and its bridge sends nothing to it (``linkwatch_sync_dev`` in ``rtnl_getlink``, since Linux 6.8).
    """
    return _settle_template().fill(name.encode())


@functools.cache
def _settle_template() -> Template:
    def encode(name: str) -> bytes:
        attributes: Attributes = [("IFLA_IFNAME", padded(name)), ("IFLA_EXT_MASK", _RTEXT_FILTER_SKIP_STATS)]
        return link(RTM_GETLINK, 0, attributes)

    return Template(encode, name="name")


def delete_link(name: str) -> bytearray:
    """Delete one link (a network of 300 devices: 25 ms, whoever asks; see `regroup` for many)."""
    return _delete_template().fill(name.encode())


@functools.cache
def _delete_template() -> Template:
    return Template(lambda name: link(RTM_DELLINK, 0, [("IFLA_IFNAME", padded(name))]), name="name")


def regroup(name: str, group: int) -> bytearray:
    """Put a link into a group."""
    return _group_template().fill(name.encode(), group)


@functools.cache
def _group_template() -> Template:
    def encode(name: str, group: int) -> bytes:
        return link(RTM_NEWLINK, 0, [("IFLA_IFNAME", padded(name)), ("IFLA_GROUP", group)])

    return Template(encode, name="name", group="u32")


def delete_numbered(index: int) -> bytearray:
    """Delete the link that has an index, and no other of its name."""
    return _delete_numbered_template().fill(index)


@functools.cache
def _delete_numbered_template() -> Template:
    return Template(lambda index: link(RTM_DELLINK, 0, [], index=index), index="u32")


def regroup_numbered(index: int, group: int) -> bytearray:
    """Put the link that has an index into a group."""
    return _group_numbered_template().fill(index, group)


@functools.cache
def _group_numbered_template() -> Template:
    return Template(
        lambda index, group: link(RTM_NEWLINK, 0, [("IFLA_GROUP", group)], index=index), index="u32", group="u32"
    )


def delete_group(group: int) -> bytes:
    """Delete every link of a group together (1 ms each)."""
    return link(RTM_DELLINK, 0, [("IFLA_GROUP", group)])


# addresses and routes


def add_address(word: Address, index: int) -> bytearray:
    """Add an address to the link with ``index``. IPv6 without duplicate detection: IPAM has seen to it."""
    packed, length = word.address.packed, word.address.network.prefixlen
    if word.address.version == 6:
        return _address_template(6, broadcast=False).fill(length, index, packed)
    if length > _LONGEST_WITH_BROADCAST:
        return _address_template(4, broadcast=False).fill(length, index, packed, packed)
    everybody = int(word.address) | (1 << 32 - length) - 1
    return _address_template(4, broadcast=True).fill(length, index, packed, packed, everybody.to_bytes(4, "big"))


@functools.cache
def _address_template(version: int, *, broadcast: bool) -> Template:
    if version == 6:
        return Template(encode_address, length="u8", index="u32", address="ipv6")
    fields: dict[str, FieldKind] = {"length": "u8", "index": "u32", "address": "ipv4", "local": "ipv4"}
    fields |= {"broadcast": "ipv4"} if broadcast else {}
    return Template(encode_address, **fields)


def encode_address(*, length: int, index: int, address: str, local: str = "", broadcast: str = "") -> bytes:
    """Encode what `add_address` fills in, by pyroute2."""
    from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg  # noqa: PLC0415 (0.1 s)

    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    attributes: Attributes = [("IFA_ADDRESS", address)]
    attributes += [("IFA_LOCAL", local)] if local else []
    attributes += [("IFA_BROADCAST", broadcast)] if broadcast else []
    flags = _IFA_F_NODAD if family == socket.AF_INET6 else 0
    body = {"family": family, "prefixlen": length, "flags": flags, "index": index}
    return encoded(ifaddrmsg(), RTM_NEWADDR, CREATE | EXCL, body, attributes)


def delete_address(word: Address, index: int) -> bytearray:
    """Remove an address from the link with ``index``."""
    return renamed(add_address(word, index), RTM_DELADDR, REQUEST)


def add_route(word: Route, index: int, *, replace: bool = False) -> bytearray:
    """Add a route over the link with ``index``; ``replace``: in place of one to the same destination with the same metric."""
    destination, gateway = word.destination, word.gateway
    if gateway is not None and destination.version == 6 and gateway.version == 4:
        raise InvalidParameter(f"cannot make {meaning(word)}: the kernel knows no IPv6 route by an IPv4 gateway")
    values: list[bytes | int] = [index]
    values += [destination.prefixlen, destination.network_address.packed] if destination.prefixlen else []
    values += [gateway.packed] if gateway else []
    values += [word.metric] if word.metric else []
    version = gateway.version if gateway else 0
    shape = _route_template(
        destination.version, version, destination=bool(destination.prefixlen), metric=bool(word.metric)
    )
    message = shape.fill(*values)
    return renamed(message, RTM_NEWROUTE, REQUEST | CREATE | REPLACE) if replace else message


@functools.cache
def _route_template(version: int, gateway: int, *, destination: bool, metric: bool) -> Template:
    fields: dict[str, FieldKind] = {"index": "u32"}
    fields |= {"length": "u8", "destination": ADDRESS_KINDS[version]} if destination else {}
    fields |= {"gateway": ADDRESS_KINDS[gateway]} if gateway else {}
    fields |= {"metric": "u32"} if metric else {}
    return Template(functools.partial(encode_route, version), **fields)


def encode_route(
    version: int, *, index: int, length: int = 0, destination: str = "", gateway: str = "", metric: int = 0
) -> bytes:
    """Encode what `add_route` fills in, by pyroute2. An IPv4 route may go by an IPv6 gateway (``RTA_VIA``)."""
    from pyroute2.netlink.rtnl.rtmsg import rtmsg  # noqa: PLC0415 (0.1 s)

    attributes: Attributes = [("RTA_DST", destination)] if destination else []
    if version == 4 and ":" in gateway:
        attributes.append(("RTA_VIA", {"family": socket.AF_INET6, "addr": gateway}))
    elif gateway:
        attributes.append(("RTA_GATEWAY", gateway))
    attributes += [("RTA_PRIORITY", metric)] if metric else []
    attributes += [("RTA_OIF", index)]
    body = {
        "family": socket.AF_INET if version == 4 else socket.AF_INET6,
        "dst_len": length,
        "table": _TABLE_MAIN,
        "proto": _PROTO_STATIC,
        "scope": _SCOPE_LINK if version == 4 and not gateway else 0,
        "type": _UNICAST,
    }
    return encoded(rtmsg(), RTM_NEWROUTE, CREATE | EXCL, body, attributes)


def delete_route(word: Route, index: int) -> bytearray:
    """Remove a route over the link with ``index``."""
    return renamed(add_route(word, index), RTM_DELROUTE, REQUEST)


# questions: constants, written out so that looking at the machine does not import pyroute2


def dump_links(*, statistics: bool = False) -> bytes:
    """Ask for every link, without its counters unless asked for (they take most of the time)."""
    mask = b"" if statistics else struct.pack("=HHI", 8, _IFLA_EXT_MASK, _RTEXT_FILTER_SKIP_STATS)
    return _question(RTM_GETLINK, struct.pack("=BxHiII", socket.AF_UNSPEC, 0, 0, 0, 0) + mask)


def dump_ports(bridge: int) -> bytes:
    """Ask for the links that are ports of a bridge."""
    only = struct.pack("=HHIHHI", 8, _IFLA_MASTER, bridge, 8, _IFLA_EXT_MASK, _RTEXT_FILTER_SKIP_STATS)
    return _question(RTM_GETLINK, struct.pack("=BxHiII", socket.AF_UNSPEC, 0, 0, 0, 0) + only)


def dump_addresses() -> bytes:
    """Ask for every address of both families."""
    return _question(RTM_GETADDR, struct.pack("=BBBBI", socket.AF_UNSPEC, 0, 0, 0, 0))


def dump_routes(family: int) -> bytes:
    """Ask for the main table's routes of a family."""
    return _question(RTM_GETROUTE, struct.pack("=BBBBBBBBI", family, 0, 0, 0, _TABLE_MAIN, 0, 0, 0, 0))


def dump_neighbours(family: int) -> bytes:
    """Ask for the neighbours of a family; of ``AF_BRIDGE``: for the entries of bridges and of VXLAN devices."""
    return _question(RTM_GETNEIGH, struct.pack("=BxxxiHBB", family, 0, 0, 0, 0))


def _question(kind: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, REQUEST | DUMP, 0, 0) + body


# words in words


def meaning(word: Word) -> str:
    """Return what a word asks for, as a phrase after ``make`` or ``remove``."""
    match word:
        case Namespace():
            return f"namespace {word.path}"
        case Sysctl():
            return f"setting net/{word.path}={word.value}{_inside(word.namespace)}"
        case Bridge() | Veth() | Vxlan() | Moved():
            return _link_meaning(word)
        case Neighbour() | Forwarding():
            return _entry_meaning(word)
        case Address():
            return f"address {word.address} dev {word.link}{_inside(word.namespace)}"
        case Route():
            gateway = f" via {word.gateway}" if word.gateway else ""
            destination = word.destination if word.destination.prefixlen else "default"
            return f"route {destination}{gateway} dev {word.link}{_inside(word.namespace)}"
        case Qdisc():
            return f"queueing discipline {word.kind} on {word.link}{_inside(word.namespace)}"
        case _:
            return _filtered(word)


def _filtered(word: Table | Element | Relay) -> str:
    match word:
        case Table():
            return f"table inet {word.name}{_inside(word.namespace)}"
        case Element():
            fields = " . ".join(map(str, word.fields))
            return f"element {{ {fields} }} of inet {word.table} {word.set.name}{_inside(word.namespace)}"
        case Relay():
            return f"relay of {word.protocol} port {word.port} of {word.host_ip} to {word.to}"


def _link_meaning(word: Link | Moved) -> str:
    if isinstance(word, Moved):
        return f"link {word.source} of the host as {word.name}{_inside(word.namespace)}"
    if isinstance(word, Bridge):
        return f"bridge {word.name}{_inside(word.namespace)}"
    master = f", port of {word.master}" if word.master else ""
    if isinstance(word, Veth):
        return f"veth {word.name} with {word.peer_name}{_inside(word.peer_namespace)}{master}"
    tunnel = f"vxlan {word.name} with VNI {word.vni} from {word.local} port {word.port}"
    return f"{tunnel}{_inside(word.namespace)}{master}"


def _entry_meaning(word: Neighbour | Forwarding) -> str:
    if isinstance(word, Neighbour):
        return f"neighbour {word.address} at {word.mac} dev {word.link}{_inside(word.namespace)}"
    return f"forwarding of {word.mac} to {word.vtep} dev {word.link}{_inside(word.namespace)}"


def _inside(path: str) -> str:
    return "" if path == HOST else f" in {path}"
