"""Ports as the plug-in protocol writes them: ``com.docker.network.portmap`` and ``com.docker.network.endpoint.exposedports``.

May import: types, errors.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import InvalidParameter
from ..types import PortBinding, Protocol

_NUMBERS: Mapping[Protocol, int] = {"tcp": 6, "udp": 17, "sctp": 132}
"""IANA's protocol numbers."""
_NAMES: Mapping[int, Protocol] = {number: name for name, number in _NUMBERS.items()}


def portmap(bindings: Iterable[PortBinding]) -> list[dict[str, Any]]:
    """Return port bindings, one entry for each container port. A range of host ports for one container port stays one."""
    return [
        {
            "Proto": _NUMBERS[each.protocol],
            "IP": "",
            "Port": each.container_port + number,
            "HostIP": str(each.host_ip or ""),
            "HostPort": each.host_port + number if each.host_port else 0,
            "HostPortEnd": each.host_port + number if each.count > 1 and each.host_port else each.host_port_end,
        }
        for each in bindings
        for number in range(each.count)
    ]


def exposed(ports: Iterable[PortBinding]) -> list[dict[str, int]]:
    """Return container ports."""
    return [
        {"Proto": _NUMBERS[each.protocol], "Port": port}
        for each in ports
        for port in range(each.container_port, each.container_port_end + 1)
    ]


def parse_portmap(value: object) -> tuple[PortBinding, ...]:
    """Return the bindings that a portmap asks for.

    Raises:
        InvalidParameter: it is none.
    """
    return tuple(_binding(each) for each in _entries(value))


def parse_exposed(value: object) -> tuple[str, ...]:
    """Return exposed ports as text, ``80/tcp``.

    Raises:
        InvalidParameter: they are none.
    """
    return tuple(f"{_number(each, 'Port')}/{_protocol(each)}" for each in _entries(value))


def _binding(entry: Mapping[str, Any]) -> PortBinding:
    start, end = _number(entry, "HostPort"), _number(entry, "HostPortEnd")
    return PortBinding(
        _number(entry, "Port"), _protocol(entry), entry.get("HostIP") or None, start, end if start else 0
    )


def _entries(value: object) -> list[Mapping[str, Any]]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise InvalidParameter(f"ports are a list of objects, not {value!r}", code="invalid_port", binding=str(value))
    return value


def _number(entry: Mapping[str, Any], key: str) -> int:
    value = entry.get(key) or 0
    if type(value) is not int:
        raise InvalidParameter(f"{key} is a number, not {value!r}", code="invalid_port", binding=str(entry))
    return value


def _protocol(entry: Mapping[str, Any]) -> Protocol:
    number = _number(entry, "Proto")
    if number not in _NAMES:
        raise InvalidParameter(
            f"protocol number {number} is none of 6, 17, 132", code="invalid_port", binding=str(entry)
        )
    return _NAMES[number]
