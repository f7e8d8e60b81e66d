"""Answers of other servers, kept for as long as they say: bounded, TTLs counted down (RFC 1035, 2308, 2181).

Bytes to bytes, without I/O. Runs in the service's own process.

May import: wire.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import NamedTuple

from . import wire
from .wire import Malformed

ENTRIES, ENTRY_MAX = 4096, 4096
"""How many answers are kept, and the longest, in bytes."""
POSITIVE_MAX, NEGATIVE_MAX = 3600, 300
"""Seconds for which an answer is kept at most, one that says that there is nothing."""


class _Kept(NamedTuple):
    message: bytes
    since: float
    until: float
    ttls: tuple[tuple[int, int], ...]


class Cache:
    """Answers by what was asked of whom."""

    def __init__(self, entries: int = ENTRIES) -> None:
        self._entries = entries
        self._kept: dict[Hashable, _Kept] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: Hashable, now: float) -> bytes | None:
        """Return an answer with its TTLs counted down, if it is still good."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        if now >= kept.until:
            del self._kept[key]
            return None
        message = bytearray(kept.message)
        age = int(now - kept.since)
        for place, ttl in kept.ttls:
            message[place : place + 4] = max(ttl - age, 0).to_bytes(4, "big")
        return bytes(message)

    def put(self, key: Hashable, message: bytes, now: float) -> None:
        """Keep an answer for as long as it allows, if it does; the longest kept makes room."""
        try:
            seconds, ttls = lifetime(message)
        except Malformed:
            return
        if not seconds or len(message) > ENTRY_MAX:
            return
        self._kept.pop(key, None)
        if len(self._kept) >= self._entries:
            del self._kept[next(iter(self._kept))]
        self._kept[key] = _Kept(message, now, now + seconds, ttls)


def lifetime(message: bytes) -> tuple[int, tuple[tuple[int, int], ...]]:
    """Return for how many seconds a message may be kept, 0 for not at all, and where its TTLs stand.

    Nothing is kept that is cut off, that reports a failure, or that says "nothing" without the SOA record that says for how long.

    Raises:
        Malformed: it breaks the format.
    """
    _, flags, questions, answers, authorities, additional = wire.HEADER.unpack_from(message)
    place = wire.HEADER.size
    for _ in range(questions):
        place = wire.skip_name(message, place) + 4
    ttls: list[tuple[int, int]] = []
    negative: int | None = None
    for number in range(answers + authorities + additional):
        found = wire.read_record(message, place)
        place = found.end
        if found.type == wire.OPT:
            continue
        ttl = found.ttl if found.ttl < 1 << 31 else 0
        ttls.append((found.ttl_at, ttl))
        if found.type == wire.SOA and answers <= number < answers + authorities and found.end - found.data >= 22:
            negative = min(ttl, int.from_bytes(message[found.end - 4 : found.end], "big"))
    return _seconds(flags, answers, ttls, negative), tuple(ttls)


def _seconds(flags: int, answers: int, ttls: list[tuple[int, int]], negative: int | None) -> int:
    code = flags & 0xF
    if flags & wire.TC or code not in {wire.NOERROR, wire.NXDOMAIN}:
        return 0
    if code == wire.NOERROR and answers:
        return min(POSITIVE_MAX, *(ttl for _, ttl in ttls))
    return min(NEGATIVE_MAX, negative) if negative is not None else 0
