"""What is drawn: boxes, bars, wires, and how many boxes. `layout` gives them their places.

May import: wording, scene, condition, network, endpoint, sandbox.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from attrs import define, evolve, field, frozen

from ..condition import Condition
from ..endpoint import EndpointRecord
from ..network import NetworkRecord
from ..sandbox import SandboxRecord
from ..scene import Scene, is_router
from . import wording

TIER = "libnetwork_py.tier"
"""Label of a sandbox: its tier in drawings, 0 on top."""
LEAVES, ROOM = 10, 14
"""Sandboxes of one network alone that are shown at most, and of all networks together; the rest is a number."""

GAP, ROW_GAP, BAR_HEIGHT, BAR_GAP, LINE, PAD = 22.0, 34.0, 38.0, 14.0, 16.0, 11.0
_WIDE, _BOLD = 6.75, 7.6
"""Pixels that a character takes at most: 11 px monospaced, 13 px bold."""


@define
class Box:
    """A sandbox, an endpoint without one, or the rest of many. ``lines``: style and text."""

    id: str
    title: str
    lines: list[tuple[str, str]]
    kind: str = "sandbox"
    tier: int = 0
    wires: list[str] = field(factory=list)
    """Ids of the networks that it hangs on, in the order of its sockets."""
    x: float = 0.0
    y: float = 0.0
    width: float = 0.0
    height: float = 0.0
    tip: str = ""

    @property
    def middle(self) -> float:
        """Its centre, horizontally."""
        return self.x + self.width / 2

    def socket(self, network_id: str) -> float:
        """Where the wire to a network enters."""
        return self.x + self.width * (self.wires.index(network_id) + 1) / (len(self.wires) + 1)


@define
class Bar:
    """A network with more than two ends, or with a way out."""

    record: NetworkRecord
    subtitle: str
    colour: int
    tier: int = 0
    x: float = 0.0
    y: float = 0.0
    width: float = 0.0
    lane: int = 0

    @property
    def has_way_out(self) -> bool:
        """Whether the host is its gateway."""
        return has_way_out(self.record)

    @property
    def least(self) -> float:
        """The width that its text needs."""
        return max(len(self.record.name) * _BOLD, len(self.subtitle) * _WIDE) + 2 * PAD + 14


@frozen
class Wire:
    """A line between two places. ``state``: ``joined``, ``free`` (no sandbox yet), ``out`` (to the host) or ``down``."""

    start: tuple[float, float]
    end: tuple[float, float]
    colour: int
    state: str
    label: str = ""
    tip: str = ""
    bend: float = 0.0


@frozen
class Layout:
    """Everything with its place. ``outside``: the host, a bar on top, where something has a way out."""

    width: float
    height: float
    outside: float
    boxes: tuple[Box, ...]
    bars: tuple[Bar, ...]
    wires: tuple[Wire, ...]


def boxes(scene: Scene) -> Iterable[Box]:
    """Boxes for sandboxes and for endpoints that are in none; of many alike, the first and a number."""
    joined: dict[str, list[EndpointRecord]] = defaultdict(list)
    for endpoint in scene.endpoints:
        if endpoint.sandbox_id:
            joined[endpoint.sandbox_id].append(endpoint)
    alone: dict[str, list[SandboxRecord]] = defaultdict(list)
    for sandbox in scene.sandboxes:
        ends = joined[sandbox.id]
        if len({each.network_id for each in ends}) == 1 and TIER not in sandbox.labels:
            alone[ends[0].network_id].append(sandbox)
    shown = LEAVES if sum(map(len, alone.values())) <= ROOM else min(LEAVES, max(ROOM // len(alone), 3))
    cut = {each.id for some in alone.values() for each in some[shown:] if len(some) > shown + 1}
    yield from (_box(each, joined[each.id], scene) for each in scene.sandboxes if each.id not in cut)
    for network_id, some in alone.items():
        left = [each for each in some if each.id in cut]
        if left:
            names = f"{left[0].name} … {left[-1].name}"
            yield Box(f"rest/{network_id}", f"{len(left)} more", [("address", names)], "rest", 0, [network_id])
    for endpoint in scene.endpoints:
        if not endpoint.sandbox_id:
            lines = [("address", str(each.ip)) for each in endpoint.addresses] + [("quiet", "not joined")]
            yield Box(endpoint.id, endpoint.name, lines, "endpoint", 0, [endpoint.network_id], tip=tip_of(endpoint))


def _box(sandbox: SandboxRecord, joined: Sequence[EndpointRecord], scene: Scene) -> Box:
    lines: list[tuple[str, str]] = []
    for endpoint in joined:
        first, *more = [str(each.ip) for each in endpoint.addresses] or [""]
        lines.append(("address", f"{endpoint.ifname} {first}".strip()))
        lines += [("address", f"{'':{len(endpoint.ifname)}} {each}") for each in more]
        lines += _condition(endpoint)
        if endpoint.id in scene.counters:
            lines.append(("quiet", wording.traffic(scene.counters[endpoint.id])))
        lines += [("port", each) for each in wording.ports(endpoint)]
    kind = "router" if is_router(sandbox) else "sandbox"
    lines = lines or [("quiet", "no network")]
    tier = sandbox.labels.get(TIER, "")
    wires = list(dict.fromkeys(each.network_id for each in joined))
    tip = f"sandbox {sandbox.name}: {sandbox.key or 'of the host'}"
    return Box(
        sandbox.id, sandbox.name, lines, kind, int(tier) if tier.isdecimal() and len(tier) < 4 else -1, wires, tip=tip
    )


def _condition(endpoint: EndpointRecord) -> Iterable[tuple[str, str]]:
    """What its link is like, where that is not as it comes."""
    condition = endpoint.condition
    if condition is None:
        return
    shape = evolve(condition, down=False, apart=())
    if shape != Condition(netem=shape.netem):
        yield "condition", str(shape)
    if condition.down:
        yield "alarm", "cable pulled"
    if condition.apart:
        yield "alarm", f"apart from {len(condition.apart)} address{'es' if len(condition.apart) > 1 else ''}"


def measure(box: Box) -> None:
    """Give a box the size that its text needs."""
    widest = max((len(text) * _WIDE for _, text in box.lines), default=0.0)
    box.width = max(widest, len(box.title) * _BOLD + (52 if box.kind == "router" else 14), 84.0) + 2 * PAD
    box.height = 27 + len(box.lines) * LINE + 5


def has_way_out(record: NetworkRecord) -> bool:
    """Whether the host is a network's gateway."""
    return not record.internal and any(each.gateway for each in record.subnets)


def tip_of(endpoint: EndpointRecord) -> str:
    """Return what is said where the pointer rests on an endpoint."""
    addresses = ", ".join(map(str, endpoint.addresses))
    return f"endpoint {endpoint.name}: {addresses} {endpoint.mac or ''} {endpoint.state}".replace("  ", " ")
