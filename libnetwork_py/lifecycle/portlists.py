"""The published ports of an endpoint as lists: what was asked for, and what it became, side by side.

May import: lifecycle.state, endpoint, types.
"""

from __future__ import annotations

from attrs import evolve

from ..endpoint import EndpointRecord
from ..types import PortBinding
from .state import Record


def place(endpoint: EndpointRecord, binding: PortBinding) -> int | None:
    """Return which of the endpoint's ports is meant: as it became, else as it was asked for."""
    for listed in (endpoint.bindings, endpoint.ports):
        if listed and listed[-1] == binding:
            return len(listed) - 1
        if binding in listed:
            return listed.index(binding)
    return None


def without_last(record: Record) -> Record:
    """Return an endpoint without the port that it got last."""
    assert isinstance(record, EndpointRecord)
    return evolve(record, ports=record.ports[:-1], bindings=record.bindings[:-1])


def with_again(index: int, asked: PortBinding, got: PortBinding | None, record: Record) -> Record:
    """Return an endpoint with a port in its old place again."""
    assert isinstance(record, EndpointRecord)
    ports = (*record.ports[:index], asked, *record.ports[index:])
    bindings = () if got is None else (*record.bindings[:index], got, *record.bindings[index:])
    return evolve(record, ports=ports, bindings=bindings)


def without(ports: tuple[PortBinding, ...], index: int) -> tuple[PortBinding, ...]:
    """Return ports without one of them."""
    return (*ports[:index], *ports[index + 1 :])
