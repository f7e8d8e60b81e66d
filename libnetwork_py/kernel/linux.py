"""The kernel layer on the real kernel.

Division of labour: `LinuxKernel` keeps the contract of `api` and does nothing itself: `applying` changes, `snapshot` looks, the opener
enters namespaces, `processes` starts programs and `probe` finds out what works. Here is only what is about namespace *names*.

May import: the rest of this room, desired, facts, errors.
"""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from ..desired import HOST, Change, Word
from ..errors import Forbidden, Internal, NotFound
from ..facts import Facts, LinkStatistics
from . import snapshot
from .applying import Application, enforce
from .namespaces import HERE, RUN_DIRECTORY, enter, locked, open_namespace
from .opener import Opener, RootOpener
from .reaper import Reaper
from .stack import Sockets
from .transport import failed
from .workers import Job

T = TypeVar("T")


class LinuxKernel:
    """`kernel.api.Kernel` on this machine.

    May be used from any thread, inside a running event loop, and in a child process after a fork. Changes are made one after the
    other, on a thread that no signal interrupts: Ctrl-C waits until what was begun is undone.

    Args:
        host: Path of the namespace that plays the host; ``None``: the calling thread's.

    Raises:
        Forbidden: the process lacks ``CAP_NET_ADMIN`` or ``CAP_SYS_ADMIN``.
        InvalidParameter: ``host`` is no network namespace. NotFound: there is no such path.
    """

    def __init__(self, host: str | None = None) -> None:
        self._opener: Opener = RootOpener(host)
        self._sockets = Sockets(self._opener)
        self._reaper = Reaper(self._sockets, self._do)

    def apply(self, change: Change) -> None:
        """Make a change whole or undo it; see `Kernel.apply`."""
        if not change:
            return
        application = Application(self._sockets, change)
        job = Job(application.run)
        try:
            self._opener.start(job)
            job.result()
        except BaseException as error:
            if not job.failed:
                self._settle(application, job, error)
            raise
        self._reaper.watch(change)

    def _settle(self, application: Application, job: Job[None], interrupt: BaseException) -> None:
        """Undo an interrupted change, even one that ended well just before the interrupt came."""
        application.interrupted = True
        last = Job(lambda: [] if job.failed else application.undo())
        self._opener.start(last)  # after the job, if that was queued at all
        last.settle()
        for problem in last.result():
            interrupt.add_note(f"and not everything could be undone: {problem}")

    def enforce(self, change: Change) -> None:
        """Make a change as far as it goes; see `Kernel.enforce`."""
        self._do(lambda: enforce(self._sockets, change))
        self._reaper.watch(change)

    def facts(self, namespaces: Iterable[str] = (), *, words: Iterable[Word] = ()) -> Facts:
        """Take a snapshot; see `Kernel.facts`."""
        paths, listed = tuple(namespaces), tuple(words)
        return self._do(lambda: snapshot.take(self._sockets, paths, listed))

    def statistics(self, namespace: str) -> Mapping[str, LinkStatistics]:
        """Return the counters of every interface; see `Kernel.statistics`."""

        def look() -> Mapping[str, LinkStatistics]:
            transport = self._sockets.inside(namespace)
            try:
                return snapshot.statistics(transport)
            finally:
                transport.close()

        return self._do(look)

    def features(self) -> Mapping[str, bool]:
        """Return what this kernel can do; see `Kernel.features`."""
        from .probe import probe  # noqa: PLC0415 (needed by few)

        return probe(self._opener)

    # names

    def free_namespace(self, name: str, suffix: str) -> str:
        """Return a path that nobody has; see `Kernel.free_namespace`. Names follow ``ip netns``: no slash, not ``.`` or ``..``."""
        for candidate in (name, f"{name}-{suffix}"):
            path = f"{RUN_DIRECTORY}/{candidate}"
            if not os.path.lexists(path):
                return path
        raise Internal(f"both {name} and {name}-{suffix} are taken in {RUN_DIRECTORY}", code="names_taken")

    @contextmanager
    def naming(self) -> Iterator[None]:
        """Hold the lock of names; see `Kernel.naming`. It is the one on ``/run/netns`` that ``ip netns add`` takes as well."""
        self._opener.prepare()
        with locked(RUN_DIRECTORY):
            yield

    def find_namespace(self, where: str | int) -> str:
        """Return the path that adopts a namespace; see `Kernel.find_namespace`.

        One namespace has one path, whichever way it was named: `HOST` for the host's own, else the name that it has under
        ``/run/netns`` (as ``ip netns identify``), else the path given. That of a process, ``/proc/PID/ns/net``, lasts as long as the
        process: nothing is mounted that somebody would have to remove.
        """
        if isinstance(where, int):
            return self._of_process(where)
        path = str(Path(where).absolute())
        os.close(open_namespace(path))
        return self._canonical(path, _identity(path))

    def _canonical(self, path: str, identity: tuple[int, int] | None) -> str:
        host = self._opener.namespace_fd(HOST)
        try:
            status = os.fstat(host)
        finally:
            os.close(host)
        if identity == (status.st_dev, status.st_ino):
            return HOST
        if identity is None or Path(path).parent == Path(RUN_DIRECTORY):
            return path
        return next((name for name in _names() if _identity(name) == identity), path)

    def _of_process(self, pid: int) -> str:
        path = f"/proc/{pid}/ns/net"
        try:
            os.close(open_namespace(path))
            identity = _identity(path)
        except (FileNotFoundError, ProcessLookupError, NotFound):
            raise NotFound(f"no process with pid {pid}", code="process_not_found", pid=pid) from None
        except PermissionError:
            raise Forbidden(
                f"not permitted to enter the namespace of process {pid}: run as root", code="no_privilege", pid=pid
            ) from None
        return self._canonical(path, identity)

    # inside

    def call(self, namespace: str, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Run a function inside; see `Kernel.call`."""
        return self._opener.call(namespace, function, *args, **kwargs)

    def socket(self, namespace: str, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """Open a socket inside; see `Kernel.socket`."""
        return self._opener.socket(namespace, family, kind, protocol)

    def popen(
        self, namespace: str, argv: Sequence[str] | str, files: Mapping[str, str], **options: Any
    ) -> subprocess.Popen[Any]:
        """Start a process inside; see `Kernel.popen`."""
        from .processes import popen  # noqa: PLC0415 (needed by few)

        return popen(self._opener, namespace, argv, files, **options)

    @contextmanager
    def entered(self, namespace: str) -> Iterator[None]:
        """Move the calling thread for a while; see `Kernel.entered`."""
        home = open_namespace(HERE)
        try:
            target = self._opener.namespace_fd(namespace)
            try:
                enter(target)
            except OSError as error:
                raise failed(error, f"enter namespace {namespace or 'of the host'}") from error
            finally:
                os.close(target)
            try:
                yield
            finally:
                enter(home)
        finally:
            os.close(home)

    def close(self) -> None:
        """Give back threads and sockets, once what was dropped is gone; see `Kernel.close`."""
        self._reaper.drain()
        self._sockets.close()
        self._opener.close()

    def _do(self, function: Callable[[], T]) -> T:
        job = Job(function)
        self._opener.start(job)
        return job.result()


def _names() -> list[str]:
    try:
        return [entry.path for entry in os.scandir(RUN_DIRECTORY)]
    except FileNotFoundError:
        return []


def _identity(path: str) -> tuple[int, int] | None:
    """Return what tells one namespace from another; ``None`` where there is nothing (any more)."""
    try:
        status = Path(path).stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino
