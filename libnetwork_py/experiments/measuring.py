"""A path under load: throughput, round trip, retransmits, as the sender's kernel counts them (``TCP_INFO``).

May import: targets, frames, endpoint, sandbox, display, show.table, show.progress, errors.
"""

from __future__ import annotations

import socket
import statistics
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from typing import TYPE_CHECKING

from attrs import fields_dict, frozen

from ..display import Displayed
from ..endpoint import Endpoint
from ..errors import InvalidParameter, Unavailable
from ..sandbox import Sandbox
from ..show.bundles import bundle
from ..show.progress import Progress
from ..show.table import table
from ..types import IPAddress
from . import targets
from .frames import frame

if TYPE_CHECKING:
    from pandas import DataFrame

_INFO = 256
_RTT, _RTTVAR, _CWND, _RETRANS, _ACKED = 68, 72, 80, 100, 120
"""Offsets in ``struct tcp_info`` (linux/tcp.h): microseconds, microseconds, segments, segments, bytes."""
_CHUNK = 1 << 17
_HELLO = 10.0
"""Seconds that a connection may take to come about."""
_METRICS = ("throughput", "rtt", "rtt_idle", "retransmits")


@frozen
class Sample:
    """One look at one repeat's flows.

    Attributes:
        repeat: Number of the repeat, from 0.
        time: Seconds since its load began.
        throughput: Bits per second that were acknowledged since the look before, over all flows.
        rtt: The kernel's smoothed round trip, seconds; the mean of the flows. ``rttvar``: how it varies.
        cwnd: Congestion windows, segments, together.
        retransmits: Segments sent again so far, together.
        acked: Bytes acknowledged so far, together.
    """

    repeat: int
    time: float
    throughput: float
    rtt: float
    rttvar: float
    cwnd: int
    retransmits: int
    acked: int


@frozen
class Repeat:
    """What one repeat came to: ``throughput`` in bit/s, ``rtt`` (median under load) and ``rtt_idle`` (of the handshake) in seconds."""

    throughput: float
    rtt: float
    rtt_idle: float
    retransmits: int


@frozen
class Measurement(Displayed):
    """What `measure` found.

    Attributes:
        title: Who to whom.
        samples: Every look, in order.
        repeats: What each repeat came to.
    """

    title: str
    samples: tuple[Sample, ...]
    repeats: tuple[Repeat, ...]

    def frame(self) -> DataFrame:
        """Return the samples as a pandas ``DataFrame``, a column for each attribute of `Sample`."""
        return frame({name: [getattr(each, name) for each in self.samples] for name in fields_dict(Sample)})

    def summary(self) -> DataFrame:
        """Return a ``DataFrame`` with a row per metric: ``median``, ``least``, ``most``, ``deviation`` (standard), ``repeats``."""
        made = frame(
            dict(
                zip(
                    ("median", "least", "most", "deviation", "repeats"),
                    zip(*self.spread().values(), strict=True),
                    strict=True,
                )
            )
        )
        return made.set_axis(list(_METRICS), axis="index")

    def spread(self) -> Mapping[str, tuple[float, float, float, float, int]]:
        """Return median, least, most and standard deviation of each metric over the repeats, and how many those are."""
        found: dict[str, tuple[float, float, float, float, int]] = {}
        for name in _METRICS:
            values = [float(getattr(each, name)) for each in self.repeats]
            deviation = statistics.stdev(values) if len(values) > 1 else 0.0
            found[name] = (statistics.median(values), min(values), max(values), deviation, len(values))
        return found

    def __str__(self) -> str:
        rows = [
            f"{name:12} {median:.6g} ({least:.6g} … {most:.6g})"
            for name, (median, least, most, *_) in self.spread().items()
        ]
        return "\n".join([f"{self.title}, {len(self.repeats)} repeats", *rows])


@bundle.register
def _measurement(found: Measurement) -> Mapping[str, str]:
    rows = ((name, *(f"{value:.6g}" for value in values[:4])) for name, values in found.spread().items())
    caption = f"{found.title}: {len(found.repeats)} repeats; throughput in bit/s, times in s"
    return {
        "text/plain": str(found),
        "text/html": table(caption, ("", "median", "least", "most", "deviation"), rows).html,
    }


def measure(
    client: Sandbox,
    server: Sandbox | Endpoint,
    *,
    seconds: float = 1.0,
    repeats: int = 3,
    flows: int = 1,
    interval: float = 0.05,
    congestion: str | None = None,
) -> Measurement:
    """Send from one sandbox to another by TCP as fast as it goes, several times, and say how it went.

    Sender and receiver are threads of this process: what they reach without any limit is the interpreter's measure, some Gbit/s, not the
    kernel's.

    Args:
        client: Who sends.
        server: Who receives: an endpoint, or a sandbox, by its first address on a network that they share, else by its first.
        seconds: How long each repeat sends.
        repeats: How often.
        flows: Connections at the same time.
        interval: Seconds between two looks at the sender's kernel.
        congestion: Congestion control of the sender (``reno``, ``cubic``, …); the kernel's default otherwise.

    Raises:
        InvalidParameter: a number out of range, one of the two is no sandbox, or the server has no address.
        Unavailable: no connection comes about.
    """
    if not (0 < seconds <= 3600 and 1 <= repeats <= 1000 and 1 <= flows <= 256 and 0 < interval <= seconds):
        raise InvalidParameter(
            "measure: seconds up to 3600, repeats up to 1000, flows up to 256, and an interval within the seconds",
            code="invalid_measure",
        )
    address, host = _address(targets.sandbox(client), server)
    samples: list[Sample] = []
    done: list[Repeat] = []
    with Progress(repeats, "measuring") as progress:
        for number in range(repeats):
            with _sink(host, address) as port, _connected(client, address, port, flows, congestion) as senders:
                idle = statistics.fmean(_look(each)[0] for each in senders)
                some = list(_load(senders, number, seconds, interval))
            samples += some
            done.append(_came_to(some, idle))
            progress.step()
    return Measurement(f"{client.name} → {address}", tuple(samples), tuple(done))


def _came_to(samples: Sequence[Sample], idle: float) -> Repeat:
    last = samples[-1]
    return Repeat(last.acked * 8 / last.time, statistics.median(each.rtt for each in samples), idle, last.retransmits)


def _address(client: Sandbox, server: Sandbox | Endpoint) -> tuple[IPAddress, Callable[[int], socket.socket]]:
    """Return where to connect to, and what opens a socket there."""
    if isinstance(server, Endpoint):
        ends, opened = [server], lambda family: server.socket(family, socket.SOCK_STREAM)
    else:
        ends, opened = targets.sandbox(server).endpoints(), lambda family: server.socket(family, socket.SOCK_STREAM)
    near = {each.network_id for each in client.endpoints()}
    ends.sort(key=lambda each: each.network_id not in near)
    for endpoint in ends:
        for address in endpoint.addresses:
            return address, opened
    raise InvalidParameter(f"{server!r} has no address to measure to", code="no_address")


@contextmanager
def _sink(opened: Callable[[int], socket.socket], address: IPAddress) -> Iterator[int]:
    """Swallow what comes, on a free port."""
    listener = opened(_family(address))
    listener.bind((str(address), 0))
    listener.listen(256)
    threads: list[threading.Thread] = []

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                thread = threading.Thread(target=_swallow, args=(connection,), daemon=True)
                threads.append(thread)
                thread.start()

    acceptor = threading.Thread(target=accept, name="libnetwork-sink", daemon=True)
    acceptor.start()
    try:
        yield listener.getsockname()[1]
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)  # closing alone wakes nobody
        listener.close()
        acceptor.join(5)
        for each in threads:
            each.join(5)


def _swallow(connection: socket.socket) -> None:
    buffer = bytearray(_CHUNK)
    connection.settimeout(30)
    with connection, suppress(OSError):
        while connection.recv_into(buffer):
            pass


@contextmanager
def _connected(
    client: Sandbox, address: IPAddress, port: int, flows: int, congestion: str | None
) -> Iterator[list[socket.socket]]:
    senders: list[socket.socket] = []
    try:
        for _ in range(flows):
            sender = client.socket(_family(address), socket.SOCK_STREAM)
            senders.append(sender)
            sender.settimeout(_HELLO)
            try:
                if congestion:
                    sender.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, congestion.encode())
                sender.connect((str(address), port))
            except OSError as error:
                raise Unavailable(
                    f"{client.name} cannot measure to {address}: {error}; explain() says where a packet is lost",
                    code="no_connection",
                ) from error
        yield senders
    finally:
        for each in senders:
            with suppress(OSError):
                each.setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("=ii", 1, 0)
                )  # what still waits is dropped
            each.close()


def _load(senders: Sequence[socket.socket], number: int, seconds: float, interval: float) -> Iterator[Sample]:
    stop = threading.Event()
    threads = [threading.Thread(target=_send, args=(each, stop), daemon=True) for each in senders]
    start, before_time, before = time.monotonic(), 0.0, sum(_look(each)[4] for each in senders)
    base = before
    for each in threads:
        each.start()
    try:
        while before_time < seconds:
            time.sleep(min(interval, max(seconds - before_time, 0.001)))
            looks = [_look(each) for each in senders]
            now, acked = time.monotonic() - start, sum(each[4] for each in looks)
            yield Sample(
                number, now, (acked - before) * 8 / (now - before_time),
                statistics.fmean(each[0] for each in looks), statistics.fmean(each[1] for each in looks),
                sum(each[2] for each in looks), sum(each[3] for each in looks), acked - base,
            )  # fmt: skip
            before_time, before = now, acked
    finally:
        stop.set()
        for each in threads:
            each.join(5)


def _send(sender: socket.socket, stop: threading.Event) -> None:
    data = bytes(_CHUNK)
    sender.settimeout(0.1)
    while not stop.is_set():
        try:
            sender.send(data)
        except TimeoutError:
            continue
        except OSError:
            return


def _look(sender: socket.socket) -> tuple[float, float, int, int, int]:
    """Round trip and its variation in seconds, window, retransmits, bytes acknowledged."""
    info = sender.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO)
    rtt, variation, window, again = (struct.unpack_from("=I", info, at)[0] for at in (_RTT, _RTTVAR, _CWND, _RETRANS))
    return rtt / 1e6, variation / 1e6, window, again, struct.unpack_from("=Q", info, _ACKED)[0]


def _family(address: IPAddress) -> int:
    return socket.AF_INET if ip_address(str(address)).version == 4 else socket.AF_INET6
