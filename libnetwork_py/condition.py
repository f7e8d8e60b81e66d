"""What an endpoint's link is like: its rate, delay, jitter and loss, whether it is up, and whom it is cut off from.

Division of labour: a `Condition` is a value in the kernel's units, read from what users write; `lifecycle.conditions` turns it into words.
It holds for each direction of the link on its own: 50 ms of delay make 100 ms of round trip.

May import: types, errors.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from attrs import evolve, frozen

from .errors import InvalidParameter
from .types import IPAddress

_NUMBER = re.compile(r"\s*([0-9]*\.?[0-9]+)\s*([A-Za-zµ%/]*)\s*")
_RATES: Mapping[str, float] = {"": 1, "bit": 1, "kbit": 1e3, "mbit": 1e6, "gbit": 1e9, "tbit": 1e12}
_TIMES: Mapping[str, float] = {"": 1e9, "s": 1e9, "ms": 1e6, "us": 1e3, "µs": 1e3, "ns": 1}
_SHARES: Mapping[str, float] = {"": 1e6, "%": 1e4}

RATE_LEAST, RATE_MOST = 1_000, 10**13
TIME_MOST = 300 * 10**9
QUEUE_TIME = 0.1
"""Seconds that a full queue takes to drain, unless a size is given."""
PACKET = 1514
"""Bytes of a full Ethernet frame."""


@frozen
class Condition:
    """A link's condition, each way.

    Attributes:
        rate: Bits per second; 0: as fast as it goes.
        delay: Nanoseconds that a packet is on its way; ``jitter``: how far that varies, to either side.
        jitter: See ``delay``.
        loss: Millionths of packets that do not arrive.
        seed: Makes the same packets of a sequence be lost in every run; ``None``: other ones each time.
        queue: Bytes that may wait where the rate is limited; 0: what drains in a tenth of a second.
        down: The cable is pulled out.
        apart: Addresses that what the endpoint sends does not reach.
        netem: The kernel's network emulator makes rate, delay and loss; else a token bucket and the packet filter do.
    """

    rate: int = 0
    delay: int = 0
    jitter: int = 0
    loss: int = 0
    seed: int | None = None
    queue: int = 0
    down: bool = False
    apart: tuple[IPAddress, ...] = ()
    netem: bool = False

    def __str__(self) -> str:
        parts = ["down"] if self.down else []
        parts += [_rate_text(self.rate)] if self.rate else []
        jitter = f" ± {_time_text(self.jitter)}" if self.jitter else ""
        parts += [f"{_time_text(self.delay)}{jitter}"] if self.delay or self.jitter else []
        parts += [f"{self.loss / 1e4:g} % loss"] if self.loss else []
        parts += [f"apart from {len(self.apart)}"] if self.apart else []
        return ", ".join(parts) or "as it comes"

    @property
    def bytes_waiting(self) -> int:
        """The size of the queue before a limited rate: at least ten full frames."""
        return self.queue or max(int(self.rate / 8 * QUEUE_TIME), 10 * PACKET)


def shaped(
    before: Condition,
    *,
    rate: float | str | None = None,
    delay: float | str | None = None,
    jitter: float | str | None = None,
    loss: float | str | None = None,
    seed: int | None = None,
    queue: int | None = None,
) -> Condition:
    """Return a condition with what was given for the link's shape, and nothing of the shape before.

    Raises:
        InvalidParameter: malformed, or beyond what the kernel takes.
    """
    shape = Condition(
        rate=_read("rate", rate, _RATES, RATE_MOST, "10mbit, 1.5gbit or bits per second"),
        delay=_read("delay", delay, _TIMES, TIME_MOST, "50ms, 200us or seconds"),
        jitter=_read("jitter", jitter, _TIMES, TIME_MOST, "5ms, 200us or seconds"),
        loss=_read("loss", loss, _SHARES, 10**6, "1% or 0.01"),
        seed=_whole("seed", seed, 2**32 - 1),
        queue=_whole("queue", queue, 2**31 - 1) or 0,
        down=before.down,
        apart=before.apart,
    )
    if shape.rate and shape.rate < RATE_LEAST:
        raise _invalid("rate", rate, f"at least {RATE_LEAST} bit/s")
    if shape.jitter > shape.delay:
        raise _invalid("jitter", jitter, "at most the delay: nothing arrives before it was sent")
    if shape.queue and not shape.rate:
        raise _invalid("queue", queue, "given together with a rate: without one nothing waits")
    return shape


def apart_from(before: Condition, addresses: tuple[IPAddress, ...]) -> Condition:
    """Return a condition that is cut off from these addresses and from those before, each once."""
    return evolve(before, apart=tuple(dict.fromkeys((*before.apart, *addresses))))


def _read(what: str, given: float | str | None, units: Mapping[str, float], most: int, example: str) -> int:
    if given is None:
        return 0
    match = _NUMBER.fullmatch(str(given)) if not isinstance(given, bool) else None
    factor = units.get(match[2].lower()) if match else None
    if match is None or factor is None:
        raise _invalid(what, given, f"written as {example}")
    value = float(match[1]) * factor
    if not math.isfinite(value) or value > most:
        raise _invalid(what, given, f"at most {most / units['']:g}")
    return round(value)


def _whole(what: str, given: object, most: int) -> int | None:
    if given is None:
        return None
    if not isinstance(given, int) or isinstance(given, bool) or not 0 <= given <= most:
        raise _invalid(what, given, f"a whole number up to {most}")
    return given


def _invalid(what: str, given: object, rule: str) -> InvalidParameter:
    return InvalidParameter(
        f"invalid {what} {given!r} of a link: it must be {rule}", code="invalid_condition", field=what
    )


def _rate_text(rate: int) -> str:
    for unit, factor in (("Gbit/s", 1e9), ("Mbit/s", 1e6), ("kbit/s", 1e3)):
        if rate >= factor:
            return f"{rate / factor:g} {unit}"
    return f"{rate} bit/s"


def _time_text(time: int) -> str:
    for unit, factor in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if time >= factor:
            return f"{time / factor:g} {unit}"
    return f"{time} ns"
