"""An endpoint's condition: which words make it so, and whether this kernel can.

Its link is a veth pair. What the sandbox sends comes out of the outer end, and what it gets comes out of the inner one: packets are lost,
or cut off, where they come out; they are delayed and slowed down where they go in.

May import: kernel.api, firewall.links, condition, desired, endpoint, drivers.api, errors.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from attrs import evolve

from ..condition import PACKET, Condition
from ..desired import Qdisc, Veth, Word
from ..endpoint import EndpointRecord
from ..errors import NotSupported
from ..firewall import links
from ..kernel.api import Kernel

_BURST_TIME = 0.004
"""Seconds' worth of a rate that a token bucket lets through at once: longer than any timer is late."""
_IN_FLIGHT = 10_000
"""Packets that the emulator holds at most where no rate says how many come."""

_KERNEL_NAMES = {
    "netem": "sch_netem",
    "tbf": "sch_tbf",
    "nftables_ingress": "the packet filter's ingress hook (nf_tables)",
}


def on_link(words: Iterable[Word], endpoint: EndpointRecord, namespace: str) -> Iterator[Word]:
    """Return a driver's words for an endpoint with its condition put upon its link."""
    condition = endpoint.condition
    for word in words:
        link = _link(word, endpoint, namespace)
        if link is None or condition is None:
            yield word
            continue
        yield evolve(link, down=condition.down)
        yield from _qdiscs(condition, link)
        name = endpoint.id[:12]
        loss = 0 if condition.netem else condition.loss
        yield from links.words(link.namespace, link.name, name, loss=loss, seed=condition.seed, apart=condition.apart)
        yield from links.words(link.peer_namespace, link.peer_name, name, loss=loss, seed=condition.seed)


def _link(word: Word, endpoint: EndpointRecord, namespace: str) -> Veth | None:
    if isinstance(word, Veth) and (word.peer_namespace, word.peer_name) == (namespace, endpoint.ifname):
        return word
    return None


def _qdiscs(condition: Condition, link: Veth) -> Iterator[Qdisc]:
    shape = _netem(condition) if condition.netem else _tbf(condition)
    if shape is not None:
        yield evolve(shape, namespace=link.namespace, link=link.name)
        yield evolve(shape, namespace=link.peer_namespace, link=link.peer_name)


def _tbf(condition: Condition) -> Qdisc | None:
    if not condition.rate:
        return None
    burst = max(int(condition.rate / 8 * _BURST_TIME), 2 * PACKET)
    return Qdisc("", "", "tbf", rate=condition.rate // 8 * 8, burst=burst, limit=condition.bytes_waiting)


def _netem(condition: Condition) -> Qdisc | None:
    if not (condition.rate or condition.delay or condition.loss):
        return None
    flying = condition.rate / 8 * condition.delay / 1e9
    limit = int((condition.bytes_waiting + flying) / PACKET) + 1 if condition.rate else _IN_FLIGHT
    return Qdisc(
        "", "", "netem", rate=condition.rate // 8 * 8, limit=limit,
        delay=condition.delay, jitter=condition.jitter, loss=condition.loss, seed=condition.seed,
    )  # fmt: skip


def settle(condition: Condition, kernel: Kernel) -> Condition:
    """Return a condition with the means that this kernel has for it.

    Raises:
        NotSupported: it has none; names the feature.
    """
    shape = bool(condition.rate or condition.delay or condition.loss)
    if not (shape or condition.apart):
        return evolve(condition, netem=False)
    features = kernel.features()
    seeded = bool(condition.loss) and condition.seed is not None and not features.get("netem_seed", False)
    # an emulator without seeds (until Linux 6.7) is done without where the packet filter's loss will do, which has them
    netem = shape and features.get("netem", False) and not (seeded and not condition.delay)
    needed = {
        "netem": bool(condition.delay),
        "netem_seed": netem and seeded,
        "tbf": bool(condition.rate) and not netem,
        "nftables_ingress": bool(condition.apart) or (bool(condition.loss) and not netem),
    }
    for feature, is_needed in needed.items():
        if is_needed and not features.get(feature, False):
            raise _lacking(feature, condition)
    return evolve(condition, netem=netem)


def _lacking(feature: str, condition: Condition) -> NotSupported:
    what = {
        "netem": "delay and jitter need",
        "netem_seed": "a seeded loss needs",
        "tbf": "a rate needs",
        "nftables_ingress": "loss without the network emulator, and a partition, need",
    }[feature]
    name = {**_KERNEL_NAMES, "netem_seed": "sch_netem with a seed (Linux 6.7)"}[feature]
    return NotSupported(
        f"{what} {name}, which this kernel lacks: {condition} cannot be had here",
        code="feature_missing",
        feature=feature,
    )


def check_link(words: Iterable[Word], endpoint: EndpointRecord, namespace: str, driver: str) -> None:
    """Refuse a condition on an endpoint whose driver gives it no veth pair.

    Raises:
        NotSupported: it has another kind of link, or none.
    """
    if endpoint.condition and not any(_link(word, endpoint, namespace) for word in words):
        raise NotSupported(
            f"endpoint {endpoint.name!r} has no link that a condition could be put upon: driver {driver!r} gives it no veth pair",
            code="no_link", driver=driver,
        )  # fmt: skip
