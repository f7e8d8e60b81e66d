"""VXLAN devices, and the entries that tell them who is where, to rtnetlink messages.

Division of labour: as `messages`, for the words `Vxlan`, `Neighbour` and `Forwarding`. Of the entries there are thousands: they are
encoded once and patched.

May import: encoding, messages, templates, desired.
"""

from __future__ import annotations

import functools
import socket
from collections.abc import Mapping

from ..desired import Forwarding, Neighbour, Vxlan
from .encoding import (
    CREATE,
    EXCL,
    REPLACE,
    REQUEST,
    RTM_DELNEIGH,
    RTM_NEWLINK,
    RTM_NEWNEIGH,
    Attributes,
    encoded,
    link,
    renamed,
)
from .messages import ADDRESS_KINDS, MTU_MIN_IPV6, port_attributes
from .templates import Template

_NUD_NOARP, _NUD_PERMANENT = 0x40, 0x80
_NTF_SELF, _NTF_MASTER, _NTF_STICKY = 0x02, 0x04, 0x40


def vxlan(word: Vxlan, namespace: int, master: int) -> bytes:
    """Create a VXLAN device, to be sent in the namespace that its packets go through.

    Args:
        word: The device.
        namespace: Descriptor of the namespace that it is for; below 0: it stays.
        master: Index there of the bridge that it is a port of; 0: none.
    """
    local = "IFLA_VXLAN_LOCAL" if word.local.version == 4 else "IFLA_VXLAN_LOCAL6"
    data = {
        "attrs": [
            ("IFLA_VXLAN_ID", word.vni),
            (local, str(word.local)),
            ("IFLA_VXLAN_PORT", word.port),
            ("IFLA_VXLAN_LEARNING", 0),
            ("IFLA_VXLAN_PROXY", int(word.proxy)),
        ]
    }
    attributes: Attributes = [
        ("IFLA_IFNAME", word.name),
        *([("IFLA_NET_NS_FD", namespace)] if namespace >= 0 else []),
        *([("IFLA_MTU", word.mtu)] if word.mtu else []),
        *([("IFLA_MASTER", master)] if master else []),
        *([("IFLA_GROUP", word.group)] if word.group else []),
        ("IFLA_LINKINFO", {"attrs": [("IFLA_INFO_KIND", "vxlan"), ("IFLA_INFO_DATA", data)]}),
    ]
    return link(RTM_NEWLINK, CREATE | EXCL, attributes)


def vxlan_port(word: Vxlan, master: int, ipv6: bool) -> list[bytes]:
    """Give a VXLAN device that exists its bridge, and no way there but to the stations it is told of.

    As a port it learns nothing, gets nothing for unknown stations, and passes nothing on to another tunnel. It goes up last: it would get
    a link-local address before it is told to do without.
    """
    name: Attributes = [("IFLA_IFNAME", word.name)]
    size: Attributes = [("IFLA_MTU", word.mtu)] if word.mtu else []
    settings = port_attributes(ipv6 and not 0 < word.mtu < MTU_MIN_IPV6, False, False, False)
    if master:
        data = {"attrs": [("IFLA_BRPORT_LEARNING", 0), ("IFLA_BRPORT_UNICAST_FLOOD", 0), ("IFLA_BRPORT_ISOLATED", 1)]}
        info = [("IFLA_INFO_SLAVE_KIND", "bridge"), ("IFLA_INFO_SLAVE_DATA", data)]
        settings.append(("IFLA_LINKINFO", {"attrs": info}))
    first = link(RTM_NEWLINK, 0, [*name, ("IFLA_MASTER", master), *size])
    return [first, link(RTM_NEWLINK, 0, [*name, *settings]), link(RTM_NEWLINK, 0, name, up=True)]


def add_neighbour(word: Neighbour, index: int, *, replace: bool = False) -> bytearray:
    """Add a permanent neighbour of the link with ``index``; ``replace``: whatever is known of the address."""
    message = _neighbour_template(word.address.version).fill(index, word.address.packed, word.mac.packed)
    return renamed(message, RTM_NEWNEIGH, REQUEST | CREATE | (REPLACE if replace else EXCL))


@functools.cache
def _neighbour_template(version: int) -> Template:
    return Template(encode_neighbour, index="u32", address=ADDRESS_KINDS[version], mac="mac")


def encode_neighbour(*, index: int, address: str, mac: str) -> bytes:
    """Encode what `add_neighbour` fills in, by pyroute2."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    body = {"family": family, "ifindex": index, "state": _NUD_PERMANENT}
    return _neighbour(body, [("NDA_DST", address), ("NDA_LLADDR", mac)])


def delete_neighbour(word: Neighbour, index: int) -> bytearray:
    """Remove a neighbour from the link with ``index``."""
    return renamed(add_neighbour(word, index), RTM_DELNEIGH, REQUEST)


def add_forwarding(word: Forwarding, index: int, *, replace: bool = False) -> list[bytearray]:
    """Tell the VXLAN device with ``index`` where a station is, and before that the bridge that it is a port of.

    The bridge's entry takes the place of one that a local station with a forged address may have made.
    """
    device = _device_template(word.vtep.version).fill(index, word.mac.packed, word.vtep.packed)
    renamed(device, RTM_NEWNEIGH, REQUEST | CREATE | (REPLACE if replace else EXCL))
    return [_bridged_template().fill(index, word.mac.packed), device]


@functools.cache
def _device_template(version: int) -> Template:
    return Template(encode_device_entry, index="u32", mac="mac", vtep=ADDRESS_KINDS[version])


def encode_device_entry(*, index: int, mac: str, vtep: str) -> bytes:
    """Encode a VXLAN device's entry, by pyroute2."""
    body = {"family": socket.AF_BRIDGE, "ifindex": index, "state": _NUD_PERMANENT, "flags": _NTF_SELF}
    return _neighbour(body, [("NDA_LLADDR", mac), ("NDA_DST", vtep)])


@functools.cache
def _bridged_template() -> Template:
    return Template(encode_bridge_entry, index="u32", mac="mac")


def encode_bridge_entry(*, index: int, mac: str) -> bytes:
    """Encode a bridge's entry for one of its ports, by pyroute2: static, and not to be moved by what a frame claims."""
    flags = _NTF_MASTER | _NTF_STICKY
    body = {"family": socket.AF_BRIDGE, "ifindex": index, "state": _NUD_NOARP, "flags": flags}
    return _neighbour(body, [("NDA_LLADDR", mac)], REPLACE)


def delete_forwarding(word: Forwarding, index: int) -> list[bytearray]:
    """Let device and bridge forget a station. Two messages: the kernel gives up at the first of two that it lacks."""
    return [
        renamed(message, RTM_DELNEIGH, REQUEST)
        for message in (
            _bridged_template().fill(index, word.mac.packed),
            _device_template(word.vtep.version).fill(index, word.mac.packed, word.vtep.packed),
        )
    ]


def _neighbour(body: Mapping[str, int], attributes: Attributes, flags: int = EXCL) -> bytes:
    from pyroute2.netlink.rtnl.ndmsg import ndmsg  # noqa: PLC0415 (0.1 s)

    return encoded(ndmsg(), RTM_NEWNEIGH, CREATE | flags, body, attributes)
