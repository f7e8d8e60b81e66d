"""Reservations of the host's ports follow the records.

May import: lifecycle.state, ports, endpoint, types.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..endpoint import EndpointRecord
from ..ports.reservations import Reservations
from ..types import PortBinding
from .state import Record


def follow(ports: Reservations, changes: Iterable[tuple[Record | None, Record | None]]) -> None:
    """Keep the reservations in step with records that another process, or an earlier one, wrote, as they were and as they are.

    All of them at once: a port may have gone from one to another.
    """
    known = list(changes)
    for before, after in known:
        if isinstance(before, EndpointRecord):
            for binding in _only(before, after):
                ports.release(binding, before.port_families)
    for before, after in known:
        if isinstance(after, EndpointRecord):
            if isinstance(before, EndpointRecord) and before.name != after.name:
                ports.rename(before.name, after.name, after.bindings)
            for binding in _only(after, before):
                ports.adopt(binding, after.name, after.port_families)


def _only(one: EndpointRecord, other: Record | None) -> list[PortBinding]:
    """What one has and the other lacks."""
    held = other.bindings if isinstance(other, EndpointRecord) else ()
    return [each for each in one.bindings if each not in held]
