"""Queueing disciplines: words to ``RTM_NEWQDISC`` and back.

Division of labour: this knows the layouts of ``linux/pkt_sched.h``; `messages` has the other words, `snapshot` asks. By struct, not by
pyroute2: these attributes begin with C structures, and pyroute2 computes them from ``/proc/net/psched`` of the wrong namespace.

May import: desired.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from ..desired import Qdisc

RTM_NEWQDISC, RTM_DELQDISC, RTM_GETQDISC = 36, 37, 38
_REQUEST, _REPLACE, _EXCL, _CREATE, _DUMP = 0x1, 0x100, 0x200, 0x400, 0x300
_ROOT, _HANDLE = 0xFFFFFFFF, 0x10000
_TC = struct.Struct("=BxxxiIII")  # struct tcmsg: family, interface, handle, parent, info
_ATTRIBUTE = struct.Struct("=HH")
_TCA_KIND, _TCA_OPTIONS = 1, 2
_NESTED = 0x3FFF

_RATESPEC = struct.Struct("=BBHhHI")  # cell_log, linklayer, overhead, cell_align, mpu, rate
_ETHERNET = 1
_TBF = struct.Struct("=12s12sIII")  # rate, peak rate, limit, buffer (ticks), mtu
_TBF_PARMS, _TBF_RATE64, _TBF_BURST = 1, 4, 6
_TICK = 64e-9
"""Seconds of a tick (``PSCHED_SHIFT`` 6), in which the kernel tells a bucket's size."""

_NETEM = struct.Struct("=IIIIII")  # latency, limit, loss, gap, duplicate, jitter
_NETEM_RATE, _NETEM_RATE64, _NETEM_LATENCY64, _NETEM_JITTER64, _NETEM_SEED = 6, 8, 10, 11, 14
_RATE = struct.Struct("=IiIi")  # rate, packet overhead, cell size, cell overhead
_ALWAYS = 0xFFFFFFFF
_MILLION = 1_000_000


def add(word: Qdisc, index: int, *, replace: bool = False) -> bytes:
    """Make it the root of the interface with ``index``; ``replace``: in place of whatever is there."""
    flags = _CREATE | (_REPLACE if replace else _EXCL)
    options = _tbf(word) if word.kind == "tbf" else _netem(word)
    body = _attribute(_TCA_KIND, word.kind.encode() + b"\0") + _attribute(_TCA_OPTIONS, options)
    return _message(RTM_NEWQDISC, flags, index, body, handle=_HANDLE)


def delete(index: int) -> bytes:
    """Remove the root of the interface with ``index``; the kernel's default takes its place."""
    return _message(RTM_DELQDISC, 0, index, b"")


def dump() -> bytes:
    """Ask for every one of a namespace."""
    return struct.pack("=IHHII", 16 + _TC.size, RTM_GETQDISC, _REQUEST | _DUMP, 0, 0) + _TC.pack(0, 0, 0, 0, 0)


def decode(data: bytes, namespace: str, link: str) -> Qdisc | None:
    """Return a root that `add` could have made; ``None`` for any other."""
    _, _, handle, parent, _ = _TC.unpack_from(data)
    attributes = dict(_attributes(data[_TC.size :]))
    kind = attributes.get(_TCA_KIND, b"").rstrip(b"\0")
    options = attributes.get(_TCA_OPTIONS, b"")
    if parent != _ROOT or not handle:
        return None
    if kind == b"tbf":
        return _read_tbf(options, namespace, link)
    return _read_netem(options, namespace, link) if kind == b"netem" else None


def interface_of(data: bytes) -> int:
    """Return the index of the interface that an answer is about."""
    return int(_TC.unpack_from(data)[1])


def _tbf(word: Qdisc) -> bytes:
    rate = word.rate // 8
    spec = _RATESPEC.pack(0, _ETHERNET, 0, 0, 0, min(rate, _ALWAYS))
    ticks = min(int(word.burst / rate / _TICK), _ALWAYS)
    options = _attribute(_TBF_PARMS, _TBF.pack(spec, bytes(12), word.limit, ticks, 0))
    options += _attribute(_TBF_BURST, struct.pack("=I", word.burst))
    return options + (_attribute(_TBF_RATE64, struct.pack("=Q", rate)) if rate > _ALWAYS else b"")


def _read_tbf(options: bytes, namespace: str, link: str) -> Qdisc:
    inner = dict(_attributes(options))
    spec, _, limit, ticks, _ = _TBF.unpack_from(inner[_TBF_PARMS])
    rate = _RATESPEC.unpack(spec)[5]
    if _TBF_RATE64 in inner:
        (rate,) = struct.unpack_from("=Q", inner[_TBF_RATE64])
    return Qdisc(namespace, link, "tbf", rate=rate * 8, burst=round(ticks * _TICK * rate), limit=limit)


def _netem(word: Qdisc) -> bytes:
    loss = round(word.loss * _ALWAYS / _MILLION)
    options = _NETEM.pack(0, word.limit, loss, 0, 0, 0)
    options += _attribute(_NETEM_LATENCY64, struct.pack("=q", word.delay))
    options += _attribute(_NETEM_JITTER64, struct.pack("=q", word.jitter))
    if word.rate:
        rate = word.rate // 8
        options += _attribute(_NETEM_RATE, _RATE.pack(min(rate, _ALWAYS), 0, 0, 0))
        options += _attribute(_NETEM_RATE64, struct.pack("=Q", rate)) if rate > _ALWAYS else b""
    return options + (_attribute(_NETEM_SEED, struct.pack("=Q", word.seed)) if word.seed is not None else b"")


def _read_netem(options: bytes, namespace: str, link: str) -> Qdisc:
    _, limit, loss, *_ = _NETEM.unpack_from(options)
    inner = dict(_attributes(options[_NETEM.size :]))

    def number(kind: int, form: str) -> int:
        return int(struct.unpack_from(form, inner[kind])[0]) if kind in inner else 0

    rate = number(_NETEM_RATE64, "=Q") or number(_NETEM_RATE, "=I")
    return Qdisc(
        namespace, link, "netem", rate=rate * 8, limit=limit,
        delay=number(_NETEM_LATENCY64, "=q"), jitter=number(_NETEM_JITTER64, "=q"),
        loss=round(loss * _MILLION / _ALWAYS), seed=number(_NETEM_SEED, "=Q") if _NETEM_SEED in inner else None,
    )  # fmt: skip


def _message(kind: int, flags: int, index: int, body: bytes, handle: int = 0) -> bytes:
    head = _TC.pack(0, index, handle, _ROOT, 0)
    return struct.pack("=IHHII", 16 + len(head) + len(body), kind, flags | _REQUEST, 0, 0) + head + body


def _attribute(kind: int, payload: bytes) -> bytes:
    return _ATTRIBUTE.pack(4 + len(payload), kind) + payload + bytes(-len(payload) % 4)


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    start = 0
    while start + 4 <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, start)
        if length < 4:
            return
        yield kind & _NESTED, data[start + 4 : start + length]
        start += (length + 3) & ~3
