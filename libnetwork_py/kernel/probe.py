"""What this kernel can do, found by trying it in a namespace made for that and gone afterwards.

Division of labour: this module asks; whoever needs a feature says what its absence means. Versions are never looked at: distributions
take features back into old kernels, and leave some out of new ones.

Trying may make the kernel load a module, as using the feature would. What no socket asks for (``br_netfilter``) is only looked at.

May import: opener, namespaces, keeper, transport, nft, desired, nftables, types, errors.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from threading import Thread, get_ident
from types import MappingProxyType
from typing import Any, TypeVar

from attrs import frozen
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.tcmsg import tcmsg

from ..desired import HOST, Qdisc, Table
from ..errors import LibnetworkError
from ..nftables import Chain, Expression, Hook, Rule, SetDecl
from . import nft, qdiscs
from .keeper import PROBE
from .namespaces import RUN_DIRECTORY
from .opener import Opener
from .transport import Transport, failed

T = TypeVar("T")

_NETLINK_ROUTE, _NETLINK_XFRM, _NETLINK_NETFILTER, _NETLINK_GENERIC = 0, 6, 12, 16
_CLONE_NEWNET = 0x40000000
_RTM_NEWLINK, _RTM_NEWQDISC = 16, 36
_REQUEST, _CREATE, _DUMP = 0x1, 0x400, 0x300
_ROOT, _INGRESS = 0xFFFFFFFF, 0xFFFFFFF1
_QDISCS = ("netem", "tbf", "htb", "ingress")
_CONNTRACK_DUMP = 1 << 8 | 1  # NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_GET
_GENL_ID_CTRL, _CTRL_CMD_GETFAMILY, _CTRL_ATTR_FAMILY_NAME = 16, 3, 2

_libc = ctypes.CDLL(None, use_errno=True)


@frozen
class _Bench:
    """Sockets in a namespace with nothing else in it, which dies with them. ``inside``: what only a thread inside can tell."""

    route: Transport
    netfilter: Transport | None
    generic: Transport
    inside: Mapping[str, bool]


def probe(opener: Opener) -> Mapping[str, bool]:
    """Return which kernel features work, by name. Takes some 10 ms; nothing is left.

    Links: ``bridge veth vxlan macvlan ipvlan dummy vlan wireguard``, ``bridge_vlan_filtering``, ``bridge_port_isolation``. Traffic
    control: ``netem tbf htb ingress``, ``netem_seed``. Packet filter: ``nftables``, ``nftables_nat_inet`` (masquerade in an ``inet``
    table), ``nftables_concat_intervals`` (ranges inside a concatenation), ``nftables_ingress`` (rules for what comes in by one
    interface, and chance), ``conntrack`` (its table can be read). Others: ``ipv6``, ``ipvs``, ``xfrm``, ``br_netfilter`` (bridged
    packets can be shown to the packet filter).

    Raises:
        Forbidden: no privilege to make a namespace.
    """
    with _bench(opener) as bench:
        return MappingProxyType(
            {
                **_links(bench.route),
                **_traffic_control(bench.route),
                **_packet_filter(bench.netfilter),
                "ipvs": _family(bench.generic, "IPVS"),
                **bench.inside,
            }
        )


# the bench


@contextmanager
def _bench(opener: Opener) -> Generator[_Bench, None, None]:
    sockets: list[socket.socket] = []
    try:
        if opener.mode == "user":
            yield _open_as_user(opener, sockets)
        else:
            yield _on_own_thread(lambda: _open(sockets, socket.socket))
    finally:
        for each in sockets:
            each.close()


def _open(sockets: list[socket.socket], make: Callable[[int, int, int], socket.socket]) -> _Bench:
    def netlink(protocol: int) -> Transport:
        sockets.append(make(socket.AF_NETLINK, socket.SOCK_RAW, protocol))
        return Transport(sockets[-1])

    def opens(family: int, kind: int, protocol: int) -> bool:
        try:
            make(family, kind, protocol).close()
        except (OSError, LibnetworkError):
            return False
        return True

    netfilter = None
    with suppress(OSError, LibnetworkError):
        netfilter = netlink(_NETLINK_NETFILTER)
    inside = {
        "ipv6": opens(socket.AF_INET6, socket.SOCK_DGRAM, 0),
        "xfrm": opens(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_XFRM),
        "br_netfilter": Path("/proc/sys/net/bridge/bridge-nf-call-iptables").exists(),
    }
    return _Bench(netlink(_NETLINK_ROUTE), netfilter, netlink(_NETLINK_GENERIC), inside)


def _open_as_user(opener: Opener, sockets: list[socket.socket]) -> _Bench:
    """Where a thread cannot go itself, in a namespace that has a name for a moment; it dies with the helper process in any case."""
    path = f"{RUN_DIRECTORY}/{PROBE}{os.getpid()}-{get_ident()}"
    opener.make(path).close()
    try:
        return _open(sockets, partial(opener.socket, path))
    finally:
        opener.remove(path)


def _on_own_thread(function: Callable[[], T]) -> T:
    results: list[T] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            if _libc.unshare(_CLONE_NEWNET):
                raise failed(OSError(ctypes.get_errno(), ""), "make a namespace to try the kernel's features in")
            results.append(function())
        except BaseException as error:  # noqa: BLE001 (handed to the waiting thread)
            errors.append(error)

    thread = Thread(target=work, name="libnetwork-probe", daemon=True)
    thread.start()
    thread.join()
    if errors:
        raise errors.pop()
    return results.pop()


# links and traffic control


def _links(route: Transport) -> dict[str, bool]:
    """Make one of each; the lower devices are the ends of veth pairs, one for each kind that wants a device for itself."""
    pairs = [_new_link(f"p{n}", "veth", [("VETH_INFO_PEER", {"attrs": [("IFLA_IFNAME", f"q{n}")]})]) for n in (0, 1)]
    works = {
        "bridge": _accepted(route, _new_link("b0", "bridge")),
        "veth": all(_accepted(route, pair) for pair in pairs),
        "vxlan": _accepted(route, _new_link("x0", "vxlan", [("IFLA_VXLAN_ID", 1), ("IFLA_VXLAN_PORT", 4789)])),
        "dummy": _accepted(route, _new_link("d0", "dummy")),
        "wireguard": _accepted(route, _new_link("g0", "wireguard")),
    }
    upper: dict[str, tuple[str, list[tuple[str, Any]]]] = {
        "macvlan": ("p1", [("IFLA_MACVLAN_MODE", "bridge")]),
        "ipvlan": ("q1", [("IFLA_IPVLAN_MODE", 0)]),
        "vlan": ("q0", [("IFLA_VLAN_ID", 2)]),
    }
    for kind, (lower, data) in upper.items():
        works[kind] = works["veth"] and _accepted(route, _new_link(f"u-{kind}", kind, data, route.index(lower)))
    return works | _bridge_features(route, works["bridge"], works["veth"])


def _bridge_features(route: Transport, bridge: bool, veth: bool) -> dict[str, bool]:
    """Change a bridge that is there: making one with a feature it lacks costs its removal, 40 ms."""
    filtering = bridge and _accepted(route, _new_link("b0", "bridge", [("IFLA_BR_VLAN_FILTERING", 1)], flags=0))
    isolation = False
    if bridge and veth:
        member: list[tuple[str, Any]] = [("IFLA_MASTER", route.index("b0"))]
        data = {"attrs": [("IFLA_BRPORT_ISOLATED", 1)]}
        isolated = [("IFLA_LINKINFO", {"attrs": [("IFLA_INFO_SLAVE_KIND", "bridge"), ("IFLA_INFO_SLAVE_DATA", data)]})]
        isolation = _accepted(route, _link("p0", member)) and _accepted(route, _link("p0", isolated))
    return {"bridge_vlan_filtering": filtering, "bridge_port_isolation": isolation}


def _traffic_control(route: Transport) -> dict[str, bool]:
    """Ask for each without parameters: the kernel misses them (EINVAL) if it knows the kind, else the kind (ENOENT)."""
    index = route.index("lo")
    refused = ((kind, route.send([_qdisc(kind, index)])) for kind in _QDISCS)
    works = {kind: all(each.errno == errno.EINVAL for each in refusals) for kind, refusals in refused}
    return works | {"netem_seed": works["netem"] and _keeps_seed(route, index)}


def _keeps_seed(route: Transport, index: int) -> bool:
    """Older kernels take a seed and forget it: what they say they have tells."""
    wanted = Qdisc(HOST, "lo", "netem", limit=1, loss=1, seed=7)
    if not _accepted(route, qdiscs.add(wanted, index)):
        return False
    answers = (data for _, data in route.dump(qdiscs.dump(), "read the queueing disciplines"))
    found = [qdiscs.decode(data, HOST, "lo") for data in answers if qdiscs.interface_of(data) == index]
    return any(each is not None and each.seed == wanted.seed for each in found)


def _accepted(transport: Transport, message: bytes) -> bool:
    return not transport.send([message])


def _new_link(
    name: str, kind: str, data: Iterable[tuple[str, Any]] = (), lower: int = 0, flags: int = _CREATE
) -> bytes:
    info: list[tuple[str, Any]] = [("IFLA_INFO_KIND", kind)]
    info += [("IFLA_INFO_DATA", {"attrs": list(data)})] if data else []
    on: list[tuple[str, Any]] = [("IFLA_LINK", lower)] if lower else []
    return _link(name, [("IFLA_LINKINFO", {"attrs": info}), *on], flags)


def _link(name: str, attributes: list[tuple[str, Any]], flags: int = 0) -> bytes:
    message = ifinfmsg()
    message["attrs"] = [("IFLA_IFNAME", name), *attributes]
    return _encoded(message, _RTM_NEWLINK, flags)


def _qdisc(kind: str, index: int) -> bytes:
    message = tcmsg()
    message["index"] = index
    message["parent"], message["handle"] = (_INGRESS, 0xFFFF0000) if kind == "ingress" else (_ROOT, 0x10000)
    message["attrs"] = [("TCA_KIND", kind)]
    return _encoded(message, _RTM_NEWQDISC, _CREATE)


def _encoded(message: Any, kind: int, flags: int) -> bytes:
    message["header"]["type"] = kind
    message["header"]["flags"] = _REQUEST | flags
    message.encode()
    return bytes(message.data)


# packet filter and generic netlink


def _packet_filter(netfilter: Transport | None) -> dict[str, bool]:
    rule = Rule("masquerade", (Expression("masq"),))
    tables = {
        "nftables": Table(HOST, "plain", (), ()),
        "nftables_nat_inet": Table(HOST, "nat", (), (Chain("c", (rule,), Hook("nat", "postrouting", 100)),)),
        "nftables_concat_intervals": Table(
            HOST, "ranges", (SetDecl("s", ("ipv4_addr", "inet_service"), interval=True),), ()
        ),
        "nftables_ingress": Table(HOST, "ingress", (), (Chain("c", (_chance(),), Hook("filter", "ingress", 0, "lo")),)),
    }
    works = {name: netfilter is not None and _loads(netfilter, table) for name, table in tables.items()}
    return works | {"conntrack": netfilter is not None and _dumps(netfilter, _CONNTRACK_DUMP, bytes(4))}


def _chance() -> Rule:
    """What drops packets by chance is made of: numbers drawn and counted, and their hash."""
    draws = (
        (("dreg", 1), ("modulus", 2), ("type", 1), ("offset", 0)),
        (("dreg", 2), ("modulus", 2), ("type", 0), ("offset", 0)),
    )
    hashed = (("sreg", 2), ("dreg", 1), ("len", 4), ("modulus", 2), ("seed", 1), ("type", 0))
    return Rule("", (*(Expression("numgen", each) for each in draws), Expression("hash", hashed)))


def _loads(netfilter: Transport, table: Table) -> bool:
    try:
        nft.load(netfilter, [table], [])
    except LibnetworkError:
        return False
    return True


def _family(generic: Transport, name: str) -> bool:
    """Whether there is a generic netlink family of this name."""
    text = name.encode() + b"\0"
    attribute = struct.pack("=HH", 4 + len(text), _CTRL_ATTR_FAMILY_NAME) + text + bytes(-len(text) % 4)
    body = struct.pack("=BBH", _CTRL_CMD_GETFAMILY, 1, 0) + attribute
    return _accepted(generic, _message(_GENL_ID_CTRL, _REQUEST, body))


def _dumps(transport: Transport, kind: int, body: bytes) -> bool:
    try:
        transport.dump(_message(kind, _REQUEST | _DUMP, body))
    except LibnetworkError:
        return False
    return True


def _message(kind: int, flags: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, flags, 0, 0) + body
