"""What happened, as typed values: made from the records before and after, kept by the store, read by an iterator.

May import: store.api, network, endpoint, sandbox, types, errors.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Literal, Self, TypeAlias

from attrs import frozen

from ..display import Displayed
from ..endpoint import EndpointRecord
from ..errors import InvalidParameter
from ..network import NetworkRecord
from ..store.api import Store
from .state import Record

EventKind: TypeAlias = Literal["created", "deleted", "joined", "left", "updated", "failed", "drifted", "repaired"]
ObjectKind: TypeAlias = Literal["network", "sandbox", "endpoint", "controller"]

_to_json = json.JSONEncoder(check_circular=False).encode
"""Made once: `json.dumps` with an option makes an encoder for each call."""

POLL = 0.05
"""Seconds between looks at the store for events of other processes; those of this process arrive at once."""


@frozen
class Event(Displayed):
    """Something that happened.

    Attributes:
        kind: What: ``created``, ``joined``, …
        object: To what kind of object; ``id`` and ``name``: to which.
        time: Seconds since the epoch.
        detail: For people: the error of ``failed``, the sandbox of ``joined``.
        number: Its place in the order of events; give it to ``events(since=…)`` to go on after it.
    """

    kind: EventKind
    object: ObjectKind
    id: str
    name: str
    time: float
    detail: str = ""
    number: int = 0

    @property
    def when(self) -> datetime:
        """The time, in UTC."""
        return datetime.fromtimestamp(self.time, tz=UTC)


def encode(event: Event) -> bytes:
    """Return the stored form of an event."""
    document = {
        "kind": event.kind,
        "object": event.object,
        "id": event.id,
        "name": event.name,
        "time": event.time,
        "detail": event.detail,
    }
    return _to_json(document).encode()


def decode(number: int, document: bytes) -> Event:
    """Return a stored event."""
    return Event(**json.loads(document), number=number)


def of_changes(changes: Iterable[tuple[Record | None, Record | None]]) -> list[Event]:
    """Return the events of an operation: one for each record, two where an endpoint was created and joined at once."""
    now = time.time()
    return [event for before, after in changes for event in _of_change(before, after, now)]


def _of_change(before: Record | None, after: Record | None, now: float) -> Iterator[Event]:
    record = after or before
    if record is None:
        return
    kind: ObjectKind = (
        "network"
        if isinstance(record, NetworkRecord)
        else "endpoint"
        if isinstance(record, EndpointRecord)
        else "sandbox"
    )
    old, new = _sandbox_of(before), _sandbox_of(after)
    if before is None:
        yield Event("created", kind, record.id, record.name, now)
    if old and old != new:
        yield Event("left", kind, record.id, record.name, now, detail=old)
    if new and old != new:
        yield Event("joined", kind, record.id, record.name, now, detail=new)
    if after is None:
        yield Event("deleted", kind, record.id, record.name, now)
    elif before is not None and old == new:
        yield Event("updated", kind, record.id, record.name, now)


def _sandbox_of(record: Record | None) -> str | None:
    return record.sandbox_id if isinstance(record, EndpointRecord) else None


class Events(Displayed):
    """An iterator of events that waits for the next one; `close` ends it, from any thread.

    Args:
        store: Where events are kept.
        since: Number of the last event already seen.
        signal: Notified when this process commits something.
    """

    def __init__(self, store: Store, since: int, signal: threading.Condition) -> None:
        self._store = store
        self._since = since
        self._signal = signal
        self._closed = False
        self._waiting: list[Event] = []

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        while not self._waiting:
            if self._closed:
                raise StopIteration
            self._waiting = [decode(*each) for each in self._store.events(self._since)]
            if not self._waiting:
                with self._signal:
                    if not self._closed:
                        self._signal.wait(POLL)
        event = self._waiting.pop(0)
        self._since = event.number
        return event

    def peek(self) -> list[Event]:
        """Return the events that wait to be read, and leave them: the iteration goes on with the first of them."""
        with self._signal:
            if self._closed:
                return []
            return [*self._waiting, *(decode(*each) for each in self._store.events(self._last))]

    @property
    def _last(self) -> int:
        return self._waiting[-1].number if self._waiting else self._since

    def close(self) -> None:
        """End the iteration: a waiting reader stops at once."""
        with self._signal:
            self._closed = True
            self._waiting = []
            self._signal.notify_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def begin(store: Store, since: float | datetime | None) -> int:
    """Return the number after which events begin that happened since a number, or a time."""
    if isinstance(since, int) and not isinstance(since, bool):
        return since
    if not (since is None or isinstance(since, (float, datetime))):
        raise InvalidParameter(
            f"since is an event's number, a time in seconds or a datetime, not {since!r}", code="invalid_since"
        )
    moment = since.timestamp() if isinstance(since, datetime) else since
    last = 0
    while batch := store.events(last):
        for number, document in batch:
            if moment is not None and json.loads(document)["time"] > moment:
                return last
            last = number
    return last
