"""The file of the SQLite store: how it is made, recognised, checked and brought up to date, and what its errors mean.

Division of labour: `sqlite.py` reads and writes; nothing here is called once a file is open, but `failure`.

The file is built under another name and then renamed, so that a file called ``state.db`` is complete, whoever died when: whatever
is wrong with it later is damage, and damage is reported and left alone.

May import: store.filelock, errors.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from sqlite3 import Connection

from ..errors import Unavailable

APPLICATION_ID = 0x4C6E7079
"""``Lnpy``: what ``file(1)`` and SQLite find in the header."""

VERSION = 1
"""Version of the tables below, kept as SQLite's ``user_version``."""

UPGRADES: dict[int, Callable[[Connection], object]] = {}
"""By version: what turns a file of that version into one of the next."""

BUSY_TIMEOUT = 10.0
"""Seconds that SQLite waits for another process's commit."""

_TABLES = """
CREATE TABLE items (key TEXT PRIMARY KEY, document BLOB NOT NULL, revision INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE log (revision INTEGER PRIMARY KEY, keys TEXT NOT NULL, total INTEGER NOT NULL);
CREATE TABLE events (number INTEGER PRIMARY KEY, document BLOB NOT NULL);
"""
# No AUTOINCREMENT: the newest row of `log` and of `events` is never deleted, so a number never comes twice, and a page less is written.


def create(path: Path) -> None:
    """Make a new, empty file; the caller holds the directory's lock.

    Raises:
        Unavailable: ``store_damaged``: its write-ahead log is there without it. ``store_unwritable``.
    """
    log = path.with_name(path.name + "-wal")
    if log.exists():
        raise Unavailable(
            f"{path} is missing but its log {log} is there: put {path.name} back, or move the directory away to begin anew",
            code="store_damaged", path=str(path),
        )  # fmt: skip
    new = path.with_name(path.name + ".new")
    try:
        new.unlink(missing_ok=True)
        os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        _fill(new)
        new.rename(path)
    except sqlite3.Error as error:
        raise failure(path, error) from error
    except OSError as error:
        raise unwritable(path, error) from error


def _fill(path: Path) -> None:
    """Write the tables; nobody else knows the file, so only its last state needs to reach the disk, before the rename does."""
    connection = _connect(path)
    try:
        connection.execute("PRAGMA journal_mode = MEMORY")
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.executescript(_TABLES)
    finally:
        connection.close()
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def connect(path: Path, *, check: bool = True) -> Connection:
    """Open an existing file, upgrade it if it is older, and, with ``check``, read all of it for damage (1 ms for 2,000 items).

    Raises:
        Unavailable: ``store_damaged``, ``schema_newer``, ``store_unwritable``, ``store_full``, ``locked``.
    """
    try:
        if path.stat().st_size == 0:  # SQLite would take it for a new one
            raise _damaged(path, "it is empty")
        connection = _connect(path)
    except OSError as error:
        raise unwritable(path, error) from error
    except sqlite3.Error as error:
        raise failure(path, error) from error
    try:
        _prepare(path, connection, check=check)
    except BaseException as error:
        connection.close()
        if isinstance(error, sqlite3.Error):
            raise failure(path, error) from error
        raise
    return connection


def _connect(path: Path) -> Connection:
    """Open without ever creating: ``mode=rw``."""
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False
    )  # fmt: skip


def _prepare(path: Path, connection: Connection, *, check: bool) -> None:
    if _pragma(connection, "application_id") != APPLICATION_ID:
        raise _damaged(path, "it is a database of another program")
    _upgrade(path, connection)
    if check:
        (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise _damaged(path, str(found))
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA cache_size = -512")  # KiB; 2,000 by default: every record is in memory as it is
    connection.execute(
        "PRAGMA synchronous = NORMAL"
    )  # a killed process loses nothing; a power cut takes the kernel's state as well


def _upgrade(path: Path, connection: Connection) -> None:
    """Bring the file to `VERSION` in one transaction; others that open it at the same time wait for its end."""
    if _version(path, connection) == VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        for number in range(_version(path, connection), VERSION):
            UPGRADES[number](connection)
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
    except KeyError as error:
        raise _damaged(path, f"there is no version {error}") from None
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _version(path: Path, connection: Connection) -> int:
    version = _pragma(connection, "user_version")
    if version > VERSION:
        raise Unavailable(
            f"{path} was written by a newer release of libnetwork_py (version {version} of its tables, this release knows {VERSION}): "
            "use that release, or another state directory",
            code="schema_newer", path=str(path), version=version,
        )  # fmt: skip
    return version


def _pragma(connection: Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def failure(path: Path, error: sqlite3.Error) -> Unavailable:
    """Return our error for one of SQLite's (https://www.sqlite.org/rescode.html)."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the low byte is the kind, the rest says where
    if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
        return _damaged(path, str(error))
    if code == sqlite3.SQLITE_FULL:
        return Unavailable(
            f"cannot write {path}: {error}; free space on its file system, then try again",
            code="store_full",
            path=str(path),
        )
    if code in {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_IOERR}:
        return Unavailable(
            f"cannot write {path}: {error}; its directory must exist, belong to this user and be on a writable, healthy file system",
            code="store_unwritable", path=str(path),
        )  # fmt: skip
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return Unavailable(
            f"{path} is being written by another process, and still was after {BUSY_TIMEOUT:g} s: try again",
            code="locked", path=str(path), holder=None, timeout=BUSY_TIMEOUT,
        )  # fmt: skip
    return Unavailable(f"{path} cannot be used: {error}", code="store_failed", path=str(path))


def unwritable(path: Path, error: OSError) -> Unavailable:
    """Return our error for one of the operating system's."""
    return Unavailable(
        f"cannot open or make {path}: {error.strerror}; its directory must exist, belong to this user and be writable",
        code="store_unwritable",
        path=str(path),
    )


def _damaged(path: Path, why: str) -> Unavailable:
    return Unavailable(
        f"{path} is damaged: {why}; it was left as it is: put a copy back, or move the directory away to begin anew",
        code="store_damaged",
        path=str(path),
        why=why,
    )
