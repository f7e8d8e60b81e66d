"""The envelope of rtnetlink messages, encoded by pyroute2's classes.

Division of labour: `messages` and `tunnels` say what is in a message; here is what all have in common. pyroute2 takes 0.1 s to import:
it is, when first needed.

May import: nothing of this package.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any, TypeAlias

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH = 28, 29, 30
REQUEST, REPLACE, EXCL, CREATE, DUMP = 0x1, 0x100, 0x200, 0x400, 0x300
_IFF_UP = 1
_HEAD = struct.Struct("=HH")

Attributes: TypeAlias = list[tuple[str, Any]]


def link(
    kind: int, flags: int, attributes: Attributes, *, up: bool = False, down: bool = False, index: int = 0
) -> bytes:
    """Encode a message about an interface; ``up``: raise it; ``down``: the opposite."""
    from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg  # noqa: PLC0415 (0.1 s)

    body = {"index": index} | ({"flags": _IFF_UP * up, "change": _IFF_UP} if up or down else {})
    return encoded(ifinfmsg(), kind, flags, body, attributes)


def encoded(message: Any, kind: int, flags: int, body: Mapping[str, int], attributes: Attributes) -> bytes:
    """Encode a message of pyroute2's."""
    message["header"]["type"] = kind
    message["header"]["flags"] = REQUEST | flags
    for name, value in body.items():
        message[name] = value
    message["attrs"] = attributes
    message.encode()
    return bytes(message.data)


def renamed(message: bytearray, kind: int, flags: int) -> bytearray:
    """Turn a message into one of another type with the same contents."""
    _HEAD.pack_into(message, 4, kind, flags)
    return message


def padded(name: str) -> str:
    """Return an interface's name at its greatest length."""
    return name.ljust(15, "\0")
