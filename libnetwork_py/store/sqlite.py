"""The embedded store: one SQLite file in write-ahead-log mode, shared by any number of threads and processes.

Division of labour: `database.py` opens the file; `filelock.py` is the lock of `exclusive`; here are the reads and writes. One
connection, guarded by a lock, serves all threads of a process: a commit takes some tens of microseconds.

``items`` holds the documents; ``log`` has a row per commit, whose number is the store's revision, with the keys it wrote.

Forks: SQLite keeps a table of locks per process, which a child inherits although the kernel's locks stay with its parent, so a
connection must not outlive a fork, and a second one to the same file in the child would trust the stale table. All connections
are therefore closed before ``os.fork`` and opened again, by parent and child, when next used.

May import: store.api, store.checks, store.database, store.directory, store.filelock, errors.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from sqlite3 import Connection
from typing import TypeVar
from weakref import WeakSet

from ..errors import Unavailable
from . import database
from .api import Changes, Item, Write
from .checks import check_distinct, check_expected
from .directory import DATABASE, LOCK
from .filelock import FileLock

T = TypeVar("T")

EVENTS_KEPT = 10_000
"""How many events are kept at least."""

LOG_KEPT = 20_000
"""How many commits and changed keys are remembered at least; who is further behind reads everything again."""

_PUT = (
    "INSERT INTO items (key, document, revision) VALUES (?, ?, ?)"
    " ON CONFLICT (key) DO UPDATE SET document = excluded.document, revision = excluded.revision"
)
_DELETE = "DELETE FROM items WHERE key = ?"
_TELL = "INSERT INTO events (document) VALUES (?)"

_PRUNE_EVERY = 256
_CREATE_TIMEOUT = 30.0


def _pass(where: str) -> None:
    pass


checkpoint: Callable[[str], None] = _pass
"""Called with ``before commit`` and ``after commit``: tests put a function here that ends the process."""


class SqliteStore:
    """The documents of a state directory, in ``state.db``.

    Args:
        directory: An existing directory, checked by `directory.open_directory`.

    Raises:
        Unavailable: ``store_damaged``, ``schema_newer``, ``store_unwritable``, ``store_full``, ``locked``; the file is left as it is.
    """

    def __init__(self, directory: Path) -> None:
        self.path = directory.absolute() / DATABASE
        self._file_lock = FileLock(self.path.with_name(LOCK))
        self._guard = threading.RLock()
        self._connection: Connection | None = None
        self._unusable = ""
        self._seen = -1
        self._revision = 0
        self._create()
        self._connection = database.connect(self.path)
        _stores.add(self)

    @contextmanager
    def exclusive(self, timeout: float) -> Generator[None]:
        """Hold the directory; see `Store.exclusive`. A thread that holds it must not ask again.

        Raises:
            Unavailable: ``locked``, with the process that holds it as ``holder``; ``store_closed``.
        """
        self._check_open()
        self._file_lock.acquire(timeout)
        try:
            yield
        finally:
            self._file_lock.release()

    def commit(self, writes: Sequence[Write], events: Sequence[bytes] = ()) -> int:
        """Make all ``writes`` and append ``events``, or nothing; see `Store.commit`.

        Raises:
            Conflict: ``revision``: an item's revision is not the expected one.
            InvalidParameter: ``duplicate_key``: two writes of the same item.
            Unavailable: ``store_damaged``, ``store_full``, ``store_unwritable``, ``locked``, ``store_closed``.
        """
        check_distinct(writes)
        if not writes and not events:
            return self.revision()
        return self._run(lambda connection: self._commit(connection, writes, events))

    def items(self, prefix: str = "") -> tuple[Item, ...]:
        """Return every item whose key starts with ``prefix``, by key."""
        query = "SELECT key, document, revision FROM items WHERE key >= ? AND key < ? ORDER BY key"
        rows = self._run(lambda connection: connection.execute(query, (prefix, prefix + "\U0010ffff")).fetchall())
        return tuple([Item(*row) for row in rows])

    def revision(self) -> int:
        """Return the newest revision; 2 µs while nobody else commits."""
        return self._run(self._newest)

    def changes(self, since: int) -> Changes:
        """Return what was committed after revision ``since``."""
        return self._run(lambda connection: _changes(connection, since))

    def events(self, since: int, limit: int = 1000) -> tuple[tuple[int, bytes], ...]:
        """Return up to ``limit`` events with a number above ``since``; the last 10,000 are kept."""
        query = "SELECT number, document FROM events WHERE number > ? ORDER BY number LIMIT ?"
        return tuple(self._run(lambda connection: connection.execute(query, (since, limit)).fetchall()))

    def close(self) -> None:
        """Close the file and free the lock; repeatable."""
        with self._guard:
            self._unusable = self._unusable or "was closed"
            self._disconnect()
        self._file_lock.close()

    def _create(self) -> None:
        """Make the file if there is none yet; the lock keeps others from making it too."""
        if not self.path.exists():
            with self.exclusive(_CREATE_TIMEOUT):
                if not self.path.exists():
                    database.create(self.path)

    def _run(self, work: Callable[[Connection], T]) -> T:
        with self._guard:
            connection = self._connection or self._reconnect()
            try:
                return work(connection)
            except sqlite3.Error as error:
                raise database.failure(self.path, error) from error

    def _reconnect(self) -> Connection:
        self._check_open()
        self._connection = database.connect(self.path, check=False)
        self._seen = -1
        return self._connection

    def _check_open(self) -> None:
        if self._unusable:
            raise Unavailable(
                f"the store of {self.path.parent} {self._unusable}: open the state directory again", code="store_closed"
            )

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _pause(self) -> None:
        """Close the connection until it is next used."""
        if self._connection is not None and not self._connection.in_transaction:
            with suppress(sqlite3.Error):
                self._disconnect()

    def _inherit(self) -> None:
        """Begin anew in a forked child; SQLite forbids it even to close a connection of its parent, so one left open stays so."""
        self._guard = threading.RLock()
        if self._connection is not None:
            import ctypes  # noqa: PLC0415 (all but never needed)

            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._connection))
            self._connection = None
            self._unusable = "was in use while this process was forked"

    def _newest(self, connection: Connection) -> int:
        """Ask the file only if another connection has changed it (SQLite's ``data_version`` says so); ours are known."""
        (seen,) = connection.execute("PRAGMA data_version").fetchone()
        if seen != self._seen:
            self._revision = connection.execute("SELECT max(revision) FROM log").fetchone()[0] or 0
            self._seen = seen
        return self._revision

    def _commit(self, connection: Connection, writes: Sequence[Write], events: Sequence[bytes]) -> int:
        try:
            connection.execute("BEGIN IMMEDIATE")
            revision = _write(connection, writes, events)
            checkpoint("before commit")
            connection.execute("COMMIT")
            self._revision = revision
            checkpoint("after commit")
        except BaseException:
            self._seen = -1  # it may have been committed
            with suppress(sqlite3.Error):
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
            raise
        return revision


def _write(connection: Connection, writes: Sequence[Write], events: Sequence[bytes]) -> int:
    for write in writes:
        if write.expected is not None:
            row = connection.execute("SELECT revision FROM items WHERE key = ?", (write.key,)).fetchone()
            check_expected(write, row[0] if row else 0)
    keys = json.dumps([write.key for write in writes])
    revision = connection.execute(
        "INSERT INTO log (keys, total) VALUES (?, ? + coalesce((SELECT total FROM log ORDER BY revision DESC LIMIT 1), 0))",
        (keys, len(writes) + 1),
    ).lastrowid
    assert revision is not None
    kept = [(write.key, write.document, revision) for write in writes if write.document is not None]
    gone = [(write.key,) for write in writes if write.document is None]
    for statement, rows in ((_PUT, kept), (_DELETE, gone), (_TELL, [(event,) for event in events])):
        if rows:  # a statement without rows costs half as much as one with a row
            connection.executemany(statement, rows)
    if revision % _PRUNE_EVERY == 0 or len(writes) + len(events) > _PRUNE_EVERY:
        _prune(connection)
    return revision


def _prune(connection: Connection) -> None:
    """Forget old events and old commits; never the newest, from which the numbers go on."""
    connection.execute("DELETE FROM events WHERE number <= (SELECT max(number) FROM events) - ?", (EVENTS_KEPT,))
    connection.execute(
        "DELETE FROM log WHERE revision < (SELECT revision FROM log"
        " WHERE total > (SELECT total FROM log ORDER BY revision DESC LIMIT 1) - ? ORDER BY revision LIMIT 1)",
        (LOG_KEPT,),
    )


def _changes(connection: Connection, since: int) -> Changes:
    connection.execute("BEGIN")  # everything below sees one moment
    try:
        oldest, newest = connection.execute(
            "SELECT (SELECT min(revision) FROM log), (SELECT max(revision) FROM log)"
        ).fetchone()
        if not (oldest or 1) - 1 <= since <= (newest or 0):
            return Changes(newest or 0, (), (), complete=False)
        rows = connection.execute("SELECT keys FROM log WHERE revision > ?", (since,)).fetchall()
        keys = sorted({key for (each,) in rows for key in json.loads(each)})
        query = "SELECT key, document, revision FROM items WHERE key = ?"
        found = [(key, connection.execute(query, (key,)).fetchone()) for key in keys]
    finally:
        connection.execute("COMMIT")
    return Changes(
        newest or 0, tuple(Item(*row) for _, row in found if row), tuple(key for key, row in found if not row)
    )


_stores: WeakSet[SqliteStore] = WeakSet()
_forking = threading.Lock()
_held: list[SqliteStore] = []


def _before_fork() -> None:
    """Close every connection, but one in the middle of a commit by this very thread, and let nobody open it again."""
    _forking.acquire()
    for store in list(_stores):
        store._guard.acquire()  # noqa: SLF001 (its own module)
        _held.append(store)
        store._pause()  # noqa: SLF001


def _after_fork_in_parent() -> None:
    while _held:
        _held.pop()._guard.release()  # noqa: SLF001
    _forking.release()


def _after_fork_in_child() -> None:
    global _forking  # noqa: PLW0603 (a lock that another thread may have held)
    _forking = threading.Lock()
    _held.clear()
    for store in _stores:
        store._inherit()  # noqa: SLF001


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
