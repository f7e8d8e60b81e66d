"""What there is, for a picture: taken within a fraction of a second, or as far as it got.

Showing an object must never hang, whatever another thread, another process or the kernel is at. So a thread of its own looks; who
asked waits for it `PATIENCE` seconds and then takes what is in memory.

May import: lifecycle.engine, scene, desired, facts, errors.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress

from attrs import evolve

from ..facts import LinkStatistics
from ..scene import Scene
from .engine import Engine
from .state import Record, State

PATIENCE = 0.5
"""Seconds that a look may take."""
COUNTED_MAX = 200
"""Sandboxes whose counters are read: more than a picture shows."""


def survey(engine: Engine, title: str = "") -> Scene:
    """Return the topology as it is now; after `PATIENCE`, as this process last knew it, with a note that says so."""
    if engine.staged is not None:  # the caller's own batch: nothing to wait for, and the kernel has none of it yet
        return _scene(engine.state, title, {}, "inside a batch: not made yet")
    found: list[Scene] = []
    counters: dict[str, LinkStatistics] = {}

    def look() -> None:
        with engine.reading() as state:
            scene = _scene(state, title, {}, "")
        found.append(scene)
        _count(engine, scene, counters)

    thread = threading.Thread(target=_quietly, args=(look,), name="libnetwork-survey", daemon=True)
    thread.start()
    thread.join(PATIENCE)
    if found:
        return evolve(found[0], counters=counters.copy())  # the thread may still be counting
    return _scene(engine.state, title, {}, "as last seen: the controller is busy or closed")


def _quietly(look: Callable[[], None]) -> None:
    with suppress(Exception):  # closed, or the machine is out of order: the picture shows what is known
        look()


def _count(engine: Engine, scene: Scene, counters: dict[str, LinkStatistics]) -> None:
    keys = {each.id: each.key for each in scene.sandboxes[:COUNTED_MAX]}
    for sandbox_id, key in keys.items():
        joined = [each for each in scene.endpoints if each.sandbox_id == sandbox_id and each.ifname]
        if joined:
            found = engine.env.kernel.statistics(key)
            counters.update({each.id: found[each.ifname] for each in joined if each.ifname in found})


def _scene(state: State, title: str, counters: Mapping[str, LinkStatistics], note: str) -> Scene:
    return Scene(
        title,
        tuple(sorted(list(state.networks.values()), key=_age)),  # noqa: C414 (the list is made at once, the sorting is not)
        tuple(sorted(list(state.sandboxes.values()), key=_age)),  # noqa: C414
        tuple(sorted(list(state.endpoints.values()), key=_age)),  # noqa: C414
        counters,
        note,
    )


def _age(record: Record) -> tuple[float, str]:
    return record.created, record.name
