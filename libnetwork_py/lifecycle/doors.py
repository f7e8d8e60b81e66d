"""The sockets where sandboxes are asked for names: opened inside, bound, and handed to the service's process.

Division of labour: `names` says which sandboxes need them, and when; `Doors` opens them, those of several sandboxes on one journey.

May import: kernel.api, dns, firewall.resolver, errors.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import suppress

from attrs import frozen

from ..dns.book import Box
from ..errors import LibnetworkError
from ..firewall import resolver
from ..kernel.api import Kernel

_BACKLOG = 128
_ROOM = 1 << 20
"""Bytes of questions that wait in a sandbox's socket."""
_UDP, _TCP = (kind | socket.SOCK_CLOEXEC for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM))
_DOORS = ((socket.AF_INET, _UDP, 0), (socket.AF_INET, _TCP, 0))
"""The sockets that are asked."""
EACH = len(_DOORS)
"""Sockets of one sandbox."""


@frozen
class Opened:
    """A sandbox's new sockets, for the service; ``place``: see `place`."""

    box_id: str
    place: int
    sockets: list[socket.socket]

    def close(self) -> None:
        """Close them."""
        for each in self.sockets:
            each.close()


class Doors:
    """Opens sockets in sandboxes.

    Args:
        kernel: Gets there.

    Attributes:
        without: Sandbox id → why it has none.
    """

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self.without: dict[str, str] = {}

    def open(self, boxes: Mapping[str, Box]) -> Iterator[Opened]:
        """Open those of sandboxes, by their ids; where that fails, `without` says why."""
        opened = self._kernel.sockets_in_each([(box.where, _DOORS) for box in boxes.values()]) if boxes else []
        for (box_id, box), found in zip(boxes.items(), opened, strict=True):
            try:
                if isinstance(found, LibnetworkError):
                    raise found
                doors = Opened(box_id, place(box.where), found)
                _let_in(doors)
            except (OSError, LibnetworkError) as error:
                self.without[box_id] = f"no name service in {box.where}: {error}"
            else:
                self.without.pop(box_id, None)
                yield doors


def _let_in(doors: Opened) -> None:
    """Bind new sockets to where they are asked, or close them."""
    udp, tcp = doors.sockets
    try:
        for option in (socket.SO_RCVBUF, 33):  # 33: SO_RCVBUFFORCE, beyond the limit for those who may
            with suppress(OSError):
                udp.setsockopt(socket.SOL_SOCKET, option, _ROOM)
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for each in (udp, tcp):
            each.bind((resolver.ADDRESS, resolver.PORT))
        tcp.listen(_BACKLOG)
    except OSError:
        doors.close()
        raise


def place(path: str) -> int:
    """What tells a namespace from one that takes its name later."""
    try:
        return os.stat(path).st_ino  # noqa: PTH116 (before every join)
    except OSError:
        return 0
