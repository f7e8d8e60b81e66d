"""The documents of an operation: its records as writes, and its intent as a journal; and the keys of what is neither.

May import: lifecycle.state, lifecycle.events, store, endpoint, types.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from ..store.api import Item, Write
from ..store.codec import Journal, decode, encode, key_of
from . import events
from .state import Record

Touched: TypeAlias = tuple[Record | None, Record | None]
"""A record before and after an operation."""

BASELINE = "baseline"
"""Key of the host's sysctls as they were before the controller changed them."""
UNDERLAY = "underlay"
"""Key of the host's address in the underlay of the cluster that it was in last: without it nobody knows what tunnels there are."""
KINDS = ("network", "sandbox", "endpoint")


def intent(
    key: str,
    why: str,
    touched: Sequence[Touched],
    writes: Sequence[Write] | None = None,
    *,
    done: bool = False,
    bare: Sequence[str] = (),
) -> bytes:
    """Return the document of a journal; ``writes``, where they are at hand, are not encoded again."""
    writes = writes or [write(*each) for each in touched]
    changes = tuple(
        [
            (write.key, encode(before) if before else None, write.document)
            for (before, _), write in zip(touched, writes, strict=True)
        ]
    )
    return encode(Journal(key.partition("/")[2], why, changes, done, bare=tuple(bare)))


def is_record(key: str) -> bool:
    """Return whether a key is that of a network, sandbox or endpoint."""
    return key.partition("/")[0] in KINDS


def by_kind(item: Item) -> int:
    """Networks and sandboxes before the endpoints that refer to them."""
    return 1 if item.key.startswith("endpoint/") else 0


def write(before: Record | None, after: Record | None) -> Write:
    """Return what puts a record into the store, or takes it out."""
    if after is not None:
        return Write(key_of(after), encode(after))
    assert before is not None
    return Write(key_of(before), None)


def outcome(touched: Sequence[Touched], told: Sequence[events.Event] = ()) -> tuple[list[Write], list[bytes]]:
    """Return what an operation's end writes: its records, and what happened, ``told`` besides what the records say."""
    happened = [events.encode(each) for each in (*events.of_changes(touched), *told)]
    return [write(before, after) for before, after in touched], happened


def pairs(journal: Journal) -> list[Touched]:
    """Return the records of a journal before and after its operation, networks first, endpoints last."""
    ordered = sorted(journal.changes, key=lambda each: KINDS.index(each[0].partition("/")[0]))
    return [
        (decode(key, before) if before is not None else None, decode(key, after) if after is not None else None)
        for key, before, after in ordered
    ]
