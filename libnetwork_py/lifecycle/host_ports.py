"""Reservations of the host's ports follow the records.

May import: lifecycle.state, ports, endpoint.
"""

from __future__ import annotations

from ..endpoint import EndpointRecord
from ..ports.reservations import Reservations
from .state import Record


def follow(ports: Reservations, before: Record | None, after: Record | None) -> None:
    """Keep the reservations in step with records that another process, or an earlier one, wrote."""
    if isinstance(before, EndpointRecord):
        for binding in before.bindings:
            if not isinstance(after, EndpointRecord) or binding not in after.bindings:
                ports.release(binding, before.port_families)
    if isinstance(after, EndpointRecord):
        for binding in after.bindings:
            if not isinstance(before, EndpointRecord) or binding not in before.bindings:
                ports.adopt(binding, after.name, after.port_families)
