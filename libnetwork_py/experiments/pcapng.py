"""Frames as a pcapng file (draft-ietf-opsawg-pcapng), which Wireshark and tcpdump read: one section, one interface, nanoseconds.

May import: nothing of this package.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Protocol

_SECTION, _INTERFACE, _PACKET = 0x0A0D0D0A, 1, 6
_ETHERNET = 1
_NAME, _RESOLUTION, _APPLICATION, _FLAGS = 2, 9, 4, 2
_NANOSECONDS = b"\x09"
_IN, _OUT = 1, 2


class Frame(Protocol):
    """What is written of a packet."""

    @property
    def time(self) -> int: ...
    @property
    def data(self) -> bytes: ...
    @property
    def length(self) -> int: ...
    @property
    def outgoing(self) -> bool: ...


def pcapng(frames: Iterable[Frame], interface: str) -> Iterator[bytes]:
    """Return the blocks of a file."""
    yield _block(_SECTION, struct.pack("=IHHq", 0x1A2B3C4D, 1, 0, -1) + _options((_APPLICATION, b"libnetwork_py")))
    name = interface.encode()
    yield _block(
        _INTERFACE, struct.pack("=HHI", _ETHERNET, 0, 0) + _options((_NAME, name), (_RESOLUTION, _NANOSECONDS))
    )
    for each in frames:
        head = struct.pack("=IIIII", 0, each.time >> 32, each.time & 0xFFFFFFFF, len(each.data), each.length)
        direction = struct.pack("=I", _OUT if each.outgoing else _IN)
        yield _block(_PACKET, head + _padded(each.data) + _options((_FLAGS, direction)))


def _block(kind: int, body: bytes) -> bytes:
    length = len(body) + 12
    return struct.pack("=II", kind, length) + body + struct.pack("=I", length)


def _options(*options: tuple[int, bytes]) -> bytes:
    written = [struct.pack("=HH", code, len(value)) + _padded(value) for code, value in options]
    return b"".join([*written, struct.pack("=HH", 0, 0)])


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
