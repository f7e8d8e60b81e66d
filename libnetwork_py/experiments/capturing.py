"""Packet capture on an endpoint: every frame that its interface sends or receives.

May import: targets, packets, pcapng, frames, endpoint, display, show.table.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import threading
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from ..display import Displayed
from ..endpoint import Endpoint
from ..show.bundles import bundle
from ..show.table import table
from . import targets
from .frames import frame
from .packets import Headers, Packet, headers
from .pcapng import pcapng

if TYPE_CHECKING:
    from pandas import DataFrame

_ETH_P_ALL = 3
_SO_RCVBUFFORCE, _SO_TIMESTAMPNS, _SCM_TIMESTAMPNS = 33, 35, 35
_SOL_PACKET, _PACKET_STATISTICS, _PACKET_OUTGOING = 263, 6, 4
_BUFFER = 32 << 20
_TIMESPEC = struct.Struct("=qq")
SHOWN = 100
"""Packets that a notebook shows."""
MOST = 1_000_000
"""Packets that are kept; what comes after is counted."""
GRACE = 0.05
"""Seconds for which what is on its way at the end is still waited for."""


class Capture(Displayed):
    """The frames of one endpoint's interface, from the moment it is made until `stop`. Made by `capture`.

    Attributes:
        interface: The name of the interface.
        packets: What was captured so far, in the order of its passing.
        lost: Packets that were not kept, because the kernel's buffer or the capture was full.
    """

    def __init__(self, endpoint: Endpoint, kept: int) -> None:
        self.interface = endpoint.interface
        self.packets: list[Packet] = []
        self.lost = 0
        self._kept = kept
        self._socket = endpoint.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        except PermissionError:  # in a user namespace
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        self._stop, self._wake = os.pipe()
        self._thread = threading.Thread(target=self._read, name="libnetwork-capture", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the capture; what was captured stays. Doing so twice is no error."""
        if self._wake >= 0:
            os.close(self._wake)
            self._wake = -1
            self._thread.join()

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the packets as pcapng, which Wireshark and tcpdump read, and return the path."""
        target = Path(path)
        with target.open("wb") as file:
            file.writelines(pcapng(list(self.packets), self.interface))
        return target

    def frame(self) -> DataFrame:
        """Return a pandas ``DataFrame``, a row for each packet.

        Columns: ``time`` (UTC, nanoseconds), ``outgoing``, ``protocol``, ``source``, ``destination``, ``source_port``,
        ``destination_port``, ``flags`` (as tcpdump writes them), ``sequence``, ``payload`` (bytes), ``length`` (bytes of the frame),
        ``info``.

        Raises:
            NotSupported: pandas is not installed (the extra ``frames``).
        """
        kept = sorted(self.packets, key=lambda each: each.time)  # two processors hand theirs over as it comes
        read = [headers(each.data) for each in kept]
        made = frame(
            {
                "time": [each.time for each in kept],
                "outgoing": [each.outgoing for each in kept],
                **{name: [getattr(each, name) for each in read] for name in _COLUMNS},
                "length": [each.length for each in kept],
                "info": [each.info for each in read],
            }
        )
        made = made.astype(dict.fromkeys(("source_port", "destination_port", "sequence", "payload", "length"), "Int64"))
        made["time"] = made["time"].astype("int64").astype("datetime64[ns]").dt.tz_localize("UTC")
        return made

    def __len__(self) -> int:
        return len(self.packets)

    def __iter__(self) -> Iterator[tuple[Packet, Headers]]:
        return ((each, headers(each.data)) for each in list(self.packets))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        lost = f", {self.lost} lost" if self.lost else ""
        return f"<Capture of {self.interface}: {len(self.packets)} packets{lost}>"

    def _read(self) -> None:
        """Runs on a thread of its own until it is stopped and nothing more is there."""
        try:
            stopping = False
            while True:
                wanted: list[socket.socket | int] = [self._socket] if stopping else [self._socket, self._stop]
                ready, _, _ = select.select(wanted, [], [], GRACE if stopping else None)
                stopping = stopping or self._stop in ready
                if self._socket in ready:
                    self._take()
                elif stopping and not ready:
                    break
            counted = self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
            self.lost += int(struct.unpack("=II", counted)[1])
        finally:
            self._socket.close()
            os.close(self._stop)

    def _take(self) -> None:
        try:
            data, ancillary, _, address = self._socket.recvmsg(1 << 17, 64, socket.MSG_DONTWAIT | socket.MSG_TRUNC)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:  # the interface is gone or down: what follows is nothing
            return
        if len(self.packets) >= self._kept:
            self.lost += 1
            return
        times = [value for level, kind, value in ancillary if level == socket.SOL_SOCKET and kind == _SCM_TIMESTAMPNS]
        seconds, nanoseconds = _TIMESPEC.unpack_from(times[0]) if times else (0, 0)
        outgoing = address[2] == _PACKET_OUTGOING
        self.packets.append(Packet(seconds * 10**9 + nanoseconds, data, len(data), outgoing))


@bundle.register
def _capture(found: Capture) -> Mapping[str, str]:
    start = found.packets[0].time if found.packets else 0
    rows = (
        (
            f"{(each.time - start) / 1e9:.6f}", "out" if each.outgoing else "in", said.protocol,
            _end(said.source, said.source_port), _end(said.destination, said.destination_port),
            said.flags, each.length, said.info,
        )
        for each, said in islice(found, SHOWN)
    )  # fmt: skip
    headings = ("seconds", "", "protocol", "from", "to", "flags", "bytes", "")
    return {"text/plain": repr(found), "text/html": table(repr(found).strip("<>"), headings, rows).html}


def _end(address: str, port: int | None) -> str:
    return address if port is None else f"{address} : {port}"


_COLUMNS = ("protocol", "source", "destination", "source_port", "destination_port", "flags", "sequence", "payload")


def capture(endpoint: Endpoint, *, most: int = MOST) -> Capture:
    """Begin to capture what an endpoint's interface sends and receives; used as a context manager, it ends with the block.

    Frames are seen as the interface passes them: with segmentation offload, as super-packets of up to 64 kB, as tcpdump does. Loss and
    partitions happen behind the link: what the sandbox sends is captured on its own endpoint although it gets lost.

    Args:
        endpoint: It must be joined.
        most: Packets that are kept.

    Raises:
        InvalidParameter: it is no endpoint. Conflict: it is not joined. Forbidden: no privilege.
    """
    return Capture(targets.endpoint(endpoint), most)
