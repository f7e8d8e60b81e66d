"""Records by filter, for ``networks(driver="bridge")`` and its like.

May import: network, sandbox, types, errors.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

from ..errors import InvalidParameter
from ..network import NetworkRecord
from ..sandbox import SandboxRecord

R = TypeVar("R", NetworkRecord, SandboxRecord)

FIELDS = {
    NetworkRecord: ("id", "name", "driver", "scope", "internal", "attachable", "ipv4", "ipv6", "config_only", "ipam"),
    SandboxRecord: ("id", "name", "key", "owned", "hostname"),
}


def select(records: Iterable[R], filters: Mapping[str, object]) -> list[R]:
    """Return the records that meet every filter, by name.

    A filter is a field and its value; ``id`` also matches a beginning, ``label`` is ``key`` or ``key=value``.

    Raises:
        InvalidParameter: unknown field.
    """
    found = [record for record in records if all(_meets(record, name, value) for name, value in filters.items())]
    if not found and filters:
        _check(filters)
    return sorted(found, key=lambda each: each.name)


def _meets(record: NetworkRecord | SandboxRecord, name: str, value: object) -> bool:
    if name == "label":
        key, equals, wanted = str(value).partition("=")
        return key in record.labels and (not equals or record.labels[key] == wanted)
    if name not in FIELDS[type(record)]:
        raise _unknown(name, FIELDS[type(record)])
    return record.id.startswith(str(value)) if name == "id" else getattr(record, name) == value


def _check(filters: Mapping[str, object]) -> None:
    known = {name for fields in FIELDS.values() for name in fields} | {"label"}
    for name in filters:
        if name not in known:
            raise _unknown(name, known)


def _unknown(name: str, known: Iterable[str]) -> InvalidParameter:
    return InvalidParameter(
        f"unknown filter {name!r}: use {', '.join(sorted(known))} or label", code="unknown_filter", filter=name
    )
