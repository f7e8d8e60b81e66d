"""Where everything goes: a scene becomes boxes, bars and wires with coordinates.

A network is a bar, as on a whiteboard; a sandbox is a box below it; an endpoint is the wire between them. A network that only joins two
sandboxes and has no way out is a cable: one wire, no bar. Sandboxes stand in tiers: the number in their label `TIER`, else all in
one, unless all networks are cables: then by their distance from the one in the middle. Within a tier boxes are ordered so that
neighbours are near. What is alike is cut short (`shapes`).

May import: shapes, wording, scene, network, endpoint.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

from attrs import evolve

from ..endpoint import EndpointRecord
from ..network import NetworkRecord
from ..scene import Scene
from . import wording
from .shapes import BAR_GAP, BAR_HEIGHT, GAP, PAD, ROW_GAP, Bar, Box, Layout, Wire, boxes, has_way_out, measure, tip_of

CABLES_NAMED = 12
"""More cables than these go without their names."""


def lay_out(scene: Scene) -> Layout:
    """Return a scene with coordinates, in pixels from the upper left corner."""
    return _Plan(scene).layout()


class _Plan:
    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._ends: dict[str, list[EndpointRecord]] = defaultdict(list)
        for endpoint in scene.endpoints:
            self._ends[endpoint.network_id].append(endpoint)
        networks = [each for each in scene.networks if not each.config_only]
        self._cables = {each.id: each for each in networks if _is_cable(each, self._ends[each.id])}
        self._bars = {
            each.id: Bar(each, wording.network(each), number)
            for number, each in enumerate(networks)
            if each.id not in self._cables
        }
        self._colours = {each.id: number for number, each in enumerate(networks)}
        self._boxes = {box.id: box for box in boxes(scene)}
        self._rows: dict[int, list[Box]] = defaultdict(list)

    def layout(self) -> Layout:
        """Tiers, then order, then places."""
        for box in self._boxes.values():
            measure(box)
        self._tier()
        self._order()
        for row in self._rows.values():
            _spread(row)
        self._centre()
        self._pull()
        width = self._shift()
        outside, height = self._stack()
        wires = [*self._drops(), *self._runs(), *self._ways_out(outside)]
        return Layout(width, height, outside, tuple(self._boxes.values()), tuple(self._bars.values()), tuple(wires))

    # tiers and order

    def _tier(self) -> None:
        distance = {} if self._bars else self._distances()
        for box in self._boxes.values():
            box.tier = box.tier if box.tier >= 0 else distance.get(box.id, 0)
            self._rows[box.tier].append(box)
        for bar in self._bars.values():
            bar.tier = min((each.tier for each in self._hanging(bar)), default=0)

    def _hanging(self, bar: Bar) -> list[Box]:
        return [box for box in self._boxes.values() if bar.record.id in box.wires]

    def _pairs(self) -> list[tuple[str, Box, Box]]:
        """The two ends of every cable."""
        ends = {cable: [each.sandbox_id or "" for each in self._ends[cable]] for cable in self._cables}
        return [(cable, self._boxes[one], self._boxes[other]) for cable, (one, other) in ends.items()]

    def _distances(self) -> Mapping[str, int]:
        near: dict[str, list[str]] = defaultdict(list)
        for _, one, other in self._pairs():
            near[one.id].append(other.id)
            near[other.id].append(one.id)
        found: dict[str, int] = {}
        while left := [each for each in near if each not in found]:
            ring = [min(left, key=lambda each: (_reach(each, near), -len(near[each])))]
            found[ring[0]] = 0
            while ring:
                ring = [each for parent in ring for each in _new(near[parent], found, found[parent] + 1)]
        return found

    def _order(self) -> None:
        """Barycentres: a network is where its boxes are, a box is where its networks and the other ends of its cables are."""
        places = {box.id: float(number) for row in self._rows.values() for number, box in enumerate(row)}
        for _ in range(6):
            for tier in sorted(self._rows):
                row = self._rows[tier]
                wanted = {box.id: self._wanted(box, places) for box in row}
                row.sort(key=lambda box: wanted[box.id])
                places.update({box.id: float(number) for number, box in enumerate(row)})
        order = {each.record.id: self._middle_place(each, places) for each in self._bars.values()}
        for box in self._boxes.values():
            box.wires.sort(key=lambda each: order.get(each, 0.0))

    def _wanted(self, box: Box, places: Mapping[str, float]) -> float:
        near = [
            places[other.id] for each in box.wires if each in self._bars for other in self._hanging(self._bars[each])
        ]
        for _, one, other in self._pairs():
            if one.tier != other.tier and (
                box is one or box is other
            ):  # within a tier, the order of making is the chain's
                near.append(places[(other if box is one else one).id])
        return fmean([places[box.id], *near])

    def _middle_place(self, bar: Bar, places: Mapping[str, float]) -> float:
        return fmean([places[box.id] for box in self._hanging(bar)] or [0.0])

    # places

    def _centre(self) -> None:
        widest = max((row[-1].x + row[-1].width for row in self._rows.values()), default=0.0)
        for row in self._rows.values():
            indent = (widest - row[-1].x - row[-1].width) / 2
            for box in row:
                box.x += indent

    def _pull(self) -> None:
        """Move boxes above the middle of what hangs on them by cables."""
        below: dict[str, list[Box]] = defaultdict(list)
        for _, one, other in self._pairs():
            if one.tier != other.tier:
                upper, lower = (one, other) if one.tier < other.tier else (other, one)
                below[upper.id].append(lower)
        for tier in sorted(self._rows, reverse=True):
            row = self._rows[tier]
            wanted = [fmean([each.middle for each in below[box.id]]) if below[box.id] else box.middle for box in row]
            _place(row, wanted)

    def _shift(self) -> float:
        """Give bars their widths, and move everything into the picture; return its width."""
        for bar in self._bars.values():
            hanging = self._hanging(bar)
            left = min((box.x for box in hanging), default=0.0)
            right = max((box.x + box.width for box in hanging), default=0.0)
            bar.width = max(right - left, bar.least)
            bar.x = max((left + right - bar.width) / 2, min(left, 0.0)) if hanging else self._edge() + GAP
        things = self._things()
        least = min((each.x for each in things), default=0.0) - PAD
        for each in things:
            each.x -= least
        return max((each.x + each.width for each in things), default=220.0) + PAD

    def _things(self) -> list[Box | Bar]:
        return [*self._boxes.values(), *self._bars.values()]

    def _edge(self) -> float:
        return max((each.x + each.width for each in self._things()), default=-GAP)

    def _stack(self) -> tuple[float, float]:
        """Give everything its height; return where the host's bar is (negative: none) and the height of the picture."""
        has_outside = any(bar.has_way_out for bar in self._bars.values())
        y = PAD
        outside = y if has_outside else -1.0
        y += 24 + 20 if has_outside else 0
        for tier in sorted({*self._rows, *(bar.tier for bar in self._bars.values())}):
            bars = [bar for bar in self._bars.values() if bar.tier == tier]
            lanes = _lanes(bars)
            for bar in bars:
                bar.y = y + bar.lane * (BAR_HEIGHT + BAR_GAP)
            y += lanes * (BAR_HEIGHT + BAR_GAP) + (ROW_GAP - BAR_GAP if lanes else 0)
            for box in self._rows.get(tier, ()):
                box.y = y
            row = self._rows.get(tier)
            y += max(box.height for box in row) + ROW_GAP + self._slack(row) if row else 0
        return outside, max(y - ROW_GAP + PAD, 60.0)

    def _slack(self, row: Sequence[Box]) -> float:
        """Room below a row for cables that bend under it, and for slanting ones to be told apart."""
        places = {box.id: number for number, box in enumerate(row)}
        near = (
            abs(places[one.id] - places[other.id])
            for _, one, other in self._pairs()
            if {one.id, other.id} <= places.keys()
        )
        return 26.0 if any(distance > 1 for distance in near) else 0.0

    # wires

    def _drops(self) -> Iterable[Wire]:
        """Endpoints between bars and boxes."""
        for box in self._boxes.values():
            for network_id in box.wires:
                bar = self._bars.get(network_id)
                if bar is not None:
                    x = box.socket(network_id)
                    ends = [each for each in self._ends[network_id] if box.id in {each.sandbox_id, each.id}]
                    state = "free" if box.kind == "endpoint" else _state(ends)
                    tip = "; ".join(tip_of(each) for each in ends)
                    yield Wire((x, bar.y + BAR_HEIGHT), (x, box.y), bar.colour, state, tip=tip)

    def _runs(self) -> Iterable[Wire]:
        """Cables."""
        named = len(self._cables) <= CABLES_NAMED
        for cable, one, other in self._pairs():
            record, state = self._cables[cable], _state(self._ends[cable])
            label, tip = record.name if named else "", "; ".join(tip_of(each) for each in self._ends[cable][:2])
            colour = self._colours[cable]
            if one.tier != other.tier:
                upper, lower = (one, other) if one.tier < other.tier else (other, one)
                start = upper.socket(cable), upper.y + upper.height
                yield Wire(start, (lower.socket(cable), lower.y), colour, state, label, tip)
            else:
                left, right = sorted((one, other), key=lambda box: box.x)
                yield self._sideways(left, right, Wire((0, 0), (0, 0), colour, state, label, tip))

    def _sideways(self, left: Box, right: Box, wire: Wire) -> Wire:
        row = self._rows[left.tier]
        if row.index(right) - row.index(left) == 1:
            y = min(left.y + left.height, right.y + right.height) - 12
            return evolve(wire, start=(left.x + left.width, y), end=(right.x, y), label="")
        low = max(box.y + box.height for box in row) + 26 - left.y - left.height
        ends = (left.middle, left.y + left.height), (right.middle, right.y + right.height)
        return evolve(wire, start=ends[0], end=ends[1], bend=low)

    def _ways_out(self, outside: float) -> Iterable[Wire]:
        taken: set[int] = set()
        for bar in self._bars.values():
            if bar.has_way_out:
                x = bar.x + 16
                while int(x) // 8 in taken:
                    x += 12
                taken.add(int(x) // 8)
                yield Wire((x, outside + 24), (x, bar.y), bar.colour, "out", tip=f"{bar.record.name}: its gateway")


def _spread(row: Sequence[Box]) -> None:
    x = 0.0
    for box in row:
        box.x = x
        x += box.width + GAP


def _place(row: Sequence[Box], wanted: Sequence[float]) -> None:
    """Put boxes as near to the wanted middles as their order and widths allow."""
    edge = float("-inf")
    for box, middle in zip(row, wanted, strict=True):
        box.x = max(middle - box.width / 2, edge)
        edge = box.x + box.width + GAP
    drift = fmean(box.middle - middle for box, middle in zip(row, wanted, strict=True))
    for box in row:
        box.x -= drift


def _lanes(bars: Iterable[Bar]) -> int:
    """Give bars that would overlap lanes of their own, those with a way out above; return how many lanes there are."""
    lanes: list[list[Bar]] = []
    for bar in sorted(bars, key=lambda each: (not each.has_way_out, -each.width, each.x)):
        free = next((lane for lane in lanes if all(_apart(bar, other) for other in lane)), None)
        if free is None:
            free = []
            lanes.append(free)
        bar.lane = lanes.index(free)
        free.append(bar)
    return len(lanes)


def _state(ends: Iterable[EndpointRecord]) -> str:
    """How the wire of endpoints is drawn: ``down`` where a cable is pulled."""
    return "down" if any(each.condition and each.condition.down for each in ends) else "joined"


def _apart(one: Bar, other: Bar) -> bool:
    return one.x + one.width + GAP / 2 <= other.x or other.x + other.width + GAP / 2 <= one.x


def _is_cable(record: NetworkRecord, ends: Sequence[EndpointRecord]) -> bool:
    sandboxes = {each.sandbox_id for each in ends}
    return not has_way_out(record) and len(ends) == 2 and len(sandboxes) == 2 and None not in sandboxes


def _reach(start: str, near: Mapping[str, Sequence[str]]) -> int:
    """How many steps the farthest is away."""
    found, ring = {start: 0}, [start]
    while ring:
        ring = [each for parent in ring for each in _new(near[parent], found, found[parent] + 1)]
    return max(found.values())


def _new(names: Iterable[str], found: dict[str, int], distance: int) -> list[str]:
    fresh = [each for each in names if each not in found]
    found.update(dict.fromkeys(fresh, distance))
    return fresh
