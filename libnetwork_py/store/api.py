"""The store's contract: documents under keys, changed together or not at all, and seen by every process that shares the store.

Division of labour: `store/codec.py` turns records into documents; a `Store` keeps documents and understands none of them;
`lifecycle/` decides what is written when.

May import: types, errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from attrs import frozen


@frozen
class Item:
    """A stored document. ``revision`` grows with every commit to the store; an item has the one of its last change."""

    key: str
    document: bytes
    revision: int


@frozen
class Write:
    """One change in a commit: ``document`` ``None`` deletes.

    ``expected``: the item's revision must be this one; 0: it must not exist; ``None``: whatever it is.
    """

    key: str
    document: bytes | None
    expected: int | None = None


@frozen
class Changes:
    """What was committed after a revision. ``complete`` false: too long ago, so read everything again."""

    revision: int
    items: tuple[Item, ...]
    deleted: tuple[str, ...]
    complete: bool = True


class Store(Protocol):
    """Documents under keys such as ``network/3f9c…``."""

    def exclusive(self, timeout: float) -> AbstractContextManager[None]:
        """Hold the store for one writer, across threads and processes; freed by the operating system if the holder dies.

        Raises:
            Unavailable: another holder kept it for ``timeout`` seconds; the message names its process where it is known.
        """
        ...

    def commit(self, writes: Sequence[Write], events: Sequence[bytes] = ()) -> int:
        """Make all ``writes`` and append ``events``, or nothing; return the new revision.

        Raises:
            Conflict: an ``expected`` revision was not met.
            InvalidParameter: two writes of one key.
            Unavailable: the store is damaged, full or unreachable.
        """
        ...

    def items(self, prefix: str = "") -> tuple[Item, ...]:
        """Return every item whose key starts with ``prefix``, by key."""
        ...

    def revision(self) -> int:
        """Return the newest revision; cheap enough to ask before every call."""
        ...

    def changes(self, since: int) -> Changes:
        """Return what was committed after revision ``since``."""
        ...

    def events(self, since: int, limit: int = 1000) -> tuple[tuple[int, bytes], ...]:
        """Return up to ``limit`` events with a number above ``since``, in order. Old events are dropped in the end."""
        ...

    def close(self) -> None:
        """Release files and connections; repeatable. Every later call is `Unavailable`, code ``store_closed``."""
        ...
