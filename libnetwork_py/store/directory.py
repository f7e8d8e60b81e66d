"""State directories: where they are, whether they are safe to trust, and which temporary ones have lost their owner.

Division of labour: a directory is opened or made here before a store puts files into it. A temporary directory lives as long as its
process: it holds a file ``alive``, locked by the process until the operating system frees it.

Whoever can write to a state directory, or can replace it, decides what a privileged process does to the network: so it must
belong to us, be writable by nobody else, and so must every directory above it (root's will do, and sticky ones like ``/tmp``).

May import: store.filelock, store.owners, errors.
"""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from ..errors import Conflict, Forbidden, LibnetworkError, Unavailable
from .filelock import FileLock
from .owners import is_root, is_trusted

NAME = "libnetwork_py"
DATABASE = "state.db"
LOCK = "lock"
ALIVE = "alive"

_OURS = {DATABASE, DATABASE + "-wal", DATABASE + ".new", LOCK, ALIVE, "keeper", "keeper.lock"}
_ID_LENGTH = 16
_LOCK_TIMEOUT = 30.0


def default_directory() -> Path:
    """Return the user's state directory, made or not.

    ``/var/lib/libnetwork_py`` for root, else ``$XDG_STATE_HOME/libnetwork_py``, by default ``~/.local/state/libnetwork_py`` (XDG Base
    Directory Specification 0.8).
    """
    if is_root("/var/lib"):
        return Path("/var/lib") / NAME
    base = os.environ.get("XDG_STATE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".local/state") / NAME


def open_directory(path: Path | str | None = None) -> Path:
    """Return the absolute path of a state directory; it is made with mode 0700 if there is none.

    Args:
        path: The directory; `default_directory` by default.

    Raises:
        Forbidden: ``unsafe_state_directory``: somebody else could change or replace it; the message says what to run.
        Conflict: ``not_our_state_directory``: it holds something else's files.
        Unavailable: ``store_unwritable``: it cannot be made.
    """
    directory = _made(Path(path).absolute() if path is not None else default_directory())
    names = set(_names(directory))
    if names and not names & _OURS:
        raise Conflict(
            f"{directory} is not our state directory: it holds {', '.join(sorted(names)[:3])} and no {DATABASE}; give an empty one",
            code="not_our_state_directory", path=str(directory),
        )  # fmt: skip
    return directory


class TemporaryDirectory:
    """A directory that counts as alive while this process lives and has not removed it; as a context manager it gives its path.

    Attributes:
        path: The directory.
    """

    def __init__(self, path: Path, alive: FileLock) -> None:
        self.path = path
        self._alive = alive

    @property
    def name(self) -> str:
        """Its id: the last part of the path."""
        return self.path.name

    def remove(self) -> None:
        """Remove it with all it holds; repeatable, and without effect in a forked child.

        Raises:
            Unavailable: ``store_unwritable``: something in it cannot be removed.
        """
        if self._alive.held:
            with _base_lock(self.path.parent):
                try:
                    shutil.rmtree(self.path)
                except FileNotFoundError:
                    pass
                except OSError as error:
                    raise _unwritable(self.path, error) from error
                self._alive.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


def temporary_directory() -> TemporaryDirectory:
    """Make a directory that lives as long as this process, at most.

    It is in ``/run/libnetwork_py`` for root, else in ``$XDG_RUNTIME_DIR/libnetwork_py``, else in ``libnetwork_py-UID`` beside the
    system's temporary files.

    Raises:
        Forbidden: ``unsafe_state_directory``. Unavailable: ``store_unwritable``.
    """
    base = _base()
    with _base_lock(base):
        path = base / secrets.token_hex(_ID_LENGTH // 2)
        path.mkdir(mode=0o700)
        made = _claim(path)
    assert made is not None, "nobody else knew its name"
    return made


def dead_temporaries() -> list[Path]:
    """Return the temporary directories of this user whose process has died, oldest first.

    One that is being made or removed at this moment by another process is not among them: both happen under a lock on the directory above.
    """
    return [path for base in _existing_bases() for path in _dead(base)]


def adopt(path: Path) -> TemporaryDirectory | None:
    """Take over a dead temporary directory, to undo what its process did; ``None`` if it is gone, or another process has taken it."""
    with _base_lock(path.parent):
        return _claim(path) if path.is_dir() else None


def _claim(path: Path) -> TemporaryDirectory | None:
    alive = FileLock(path / ALIVE)
    if alive.try_acquire():
        return TemporaryDirectory(path, alive)
    alive.close()
    return None


def _dead(base: Path) -> list[Path]:
    """Try each lock. Under the base's lock, a directory without the file is what a process left that died making or removing it."""
    dead: dict[Path, float] = {}
    with _base_lock(base):
        for name in _names(base):
            path = base / name
            if len(name) == _ID_LENGTH and path.is_dir():
                claimed = _claim(path)
                if claimed is not None:
                    claimed._alive.close()  # noqa: SLF001 (its own module)
                    dead[path] = path.stat().st_mtime
    return sorted(dead, key=lambda path: dead[path])


class _base_lock:  # noqa: N801 (used as a function)
    """Hold the directory of temporary directories."""

    def __init__(self, base: Path) -> None:
        self._lock = FileLock(base / LOCK)

    def __enter__(self) -> None:
        self._lock.acquire(_LOCK_TIMEOUT)

    def __exit__(self, *_: object) -> None:
        self._lock.close()


def _bases() -> Iterator[Path]:
    """Name the places for temporary directories, the best first."""
    uid = os.geteuid()
    runtime = "/run" if is_root("/run") else os.environ.get("XDG_RUNTIME_DIR", "")
    if runtime.startswith("/"):
        yield Path(runtime) / NAME
    yield Path(tempfile.gettempdir()) / f"{NAME}-{uid}"


def _base() -> Path:
    *better, last = _bases()
    for base in better:
        try:
            return _made(base)
        except LibnetworkError:  # no such place, or not for us: the last one is always there
            continue
    return _made(last)


def _existing_bases() -> Iterator[Path]:
    for base in _bases():
        try:
            _check(base)
        except LibnetworkError:  # absent, or somebody else's: then nothing of ours is in it
            continue
        yield base


def _made(path: Path) -> Path:
    """Make a directory and those above it that are missing, for us alone, and check them all."""
    try:
        missing = [path] if not path.exists() else []
        while missing and not missing[-1].parent.exists():
            missing.append(missing[-1].parent)
        for each in reversed(missing):
            each.mkdir(mode=0o700, exist_ok=True)
    except FileExistsError:
        raise _unsafe(path, path, "is not a directory", "") from None
    except OSError as error:
        raise _unwritable(path, error) from error
    return _check(path)


def _check(path: Path) -> Path:
    """Return ``path`` if nobody but us and root can change it or what it leads to.

    Raises:
        Forbidden: ``unsafe_state_directory``. Unavailable: ``store_unwritable``: it is not there.
    """
    try:
        _check_links(path, path)
        real = path.resolve(strict=True)
        _check_own(path, real)
        for parent in real.parents:
            _check_parent(path, parent)
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle, until Python 3.13
        raise _unwritable(path, error) from error
    return path


def _check_links(path: Path, part: Path) -> None:
    """Check who made the symbolic links on the way, and those that they lead through."""
    for each in (part, *part.parents):
        status = each.lstat()
        if stat.S_ISLNK(status.st_mode):
            if not is_trusted(status.st_uid):
                why = f"is a symbolic link of user {status.st_uid}, who may point it elsewhere"
                raise _unsafe(path, each, why, f"rm {shlex.quote(str(each))}")
            _check_links(path, Path(os.path.normpath(each.parent.resolve() / each.readlink())))


def _check_own(path: Path, real: Path) -> None:
    status = real.stat()
    quoted = shlex.quote(str(real))
    if not stat.S_ISDIR(status.st_mode):
        raise _unsafe(path, real, "is not a directory", "")
    if status.st_uid != os.geteuid():
        raise _unsafe(path, real, f"belongs to user {status.st_uid}", f"chown {os.geteuid()} {quoted}")
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise _unsafe(path, real, "can be written by others", f"chmod go-w {quoted}")


def _check_parent(path: Path, parent: Path) -> None:
    status = parent.stat()
    quoted = shlex.quote(str(parent))
    if not is_trusted(status.st_uid):
        raise _unsafe(
            path, parent, f"belongs to user {status.st_uid}, who may replace what is in it", f"chown root {quoted}"
        )
    others = stat.S_IWOTH | (stat.S_IWGRP if status.st_gid else 0)
    if status.st_mode & others and not status.st_mode & stat.S_ISVTX:
        raise _unsafe(path, parent, "can be written by others, who may replace what is in it", f"chmod go-w {quoted}")


def _names(path: Path) -> list[str]:
    try:
        return [each.name for each in path.iterdir()]
    except OSError as error:
        raise _unwritable(path, error) from error


def _unsafe(path: Path, where: Path, why: str, command: str) -> Forbidden:
    what = (
        f"state directory {path} is not safe to use"
        if where == path
        else f"state directory {path} is not safe: {where}"
    )
    cure = f"run `{command}`, or give another directory" if command else "give another directory"
    return Forbidden(
        f"{what if where != path else what + ': it'} {why}; {cure}",
        code="unsafe_state_directory", path=str(path), part=str(where), why=why, command=command,
    )  # fmt: skip


def _unwritable(path: Path, error: Exception) -> Unavailable:
    why = getattr(error, "strerror", None) or str(error)
    return Unavailable(
        f"cannot use {path}: {why}; give a directory that this user may write to",
        code="store_unwritable",
        path=str(path),
    )
