"""Who opens namespaces and sockets and starts processes in them: the one seam between privileged and unprivileged.

Division of labour: an `Opener` makes, removes and enters namespaces; everyone else works with the file descriptors and sockets that
it hands out, which stay in their namespace on whatever thread they are used. `RootOpener` enters them on `workers`, by the system
calls of `namespaces`; `user.UserOpener` has a helper process enter them, for callers without privilege.

May import: workers, namespaces, transport, desired, errors.
"""

from __future__ import annotations

import functools
import os
import socket
import subprocess
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, TypeVar

from attrs import frozen

from ..desired import HOST
from ..errors import Conflict, LibnetworkError
from . import transport
from .namespaces import (
    HERE,
    RUN_DIRECTORY,
    bind,
    enter,
    enter_new,
    netlink_here,
    open_here,
    open_namespace,
    read_file,
    read_sysctl,
    require_privilege,
    share,
    unbind,
    write_sysctls,
)
from .transport import failed
from .workers import Job, Worker, Workers

T = TypeVar("T")

_MANY, _AT_A_TIME = 16, 4
"""From so many names on, so many threads take them away."""


Socket: TypeAlias = socket.socket
SocketKind: TypeAlias = tuple[int, int, int]
"""Family, type and protocol of a socket."""


@frozen
class Made:
    """A namespace just made: a descriptor of it, rtnetlink's socket inside, the packet filter's too if asked for. Close them."""

    fd: int
    socket: socket.socket
    filter: Socket | None = None

    def close(self) -> None:
        """Let go of it: they keep it alive."""
        self.socket.close()
        if self.filter is not None:
            self.filter.close()
        os.close(self.fd)


_Wanted: TypeAlias = tuple[Sequence[tuple[str, str]], bool]
"""Settings of a namespace, and whether the packet filter's socket is needed too."""


@frozen
class _Begun:
    """A namespace in the making: by which process, with which settings and sockets."""

    pid: int
    wanted: _Wanted
    job: Job[Made]

    def drop(self) -> None:
        """Let go of it. What was not finished when the process forked never is in the child."""
        if self.pid == os.getpid() or self.job.finished:
            self.job.cancel(Made.close)


class Opener(Protocol):
    """Opens namespaces and sockets. Paths are those of namespaces; `HOST` is the one that plays the host."""

    mode: Literal["root", "user"]

    @property
    def alive(self) -> bool:
        """Whether it can still open anything."""
        ...

    def outside(self) -> str:
        """Return how the host reaches the outside; see `Kernel.outside`."""
        ...

    def outer(self, path: str) -> str:
        """Return the path by which every other program has the namespace: the caller's ``/run`` may not be where its name is."""
        ...

    def make(self, path: str, sysctls: Sequence[tuple[str, str]] = (), *, filter: bool = False) -> Made:  # noqa: A002
        """Make a namespace bound at ``path``, write ``sysctls`` (path below ``/proc/sys/net``, value) inside.

        ``filter``: the packet filter's socket will be needed, too.

        Raises:
            Conflict: ``path`` exists.
        """
        ...

    def foresee(self) -> None:
        """Begin to make a namespace like the one before, for the next `make` to take; the caller goes on meanwhile."""
        ...

    def forgo(self) -> None:
        """Let go of a namespace that was begun and that nobody took."""
        ...

    def remove(self, path: str) -> None:
        """Take the name away; the namespace dies with its last process and descriptor. Gone is fine."""
        ...

    def namespace_fd(self, path: str) -> int:
        """Open the namespace; the caller closes the descriptor."""
        ...

    def sockets(self, path: str, family: int, kind: int, protocol: int, count: int) -> list[socket.socket]:
        """Open ``count`` sockets of one kind inside, or none: entering a namespace takes longer than opening ten."""
        ...

    def sockets_in_each(
        self, wanted: Sequence[tuple[str, Sequence[SocketKind]]]
    ) -> list[list[socket.socket] | LibnetworkError]:
        """Open sockets in one namespace after the other on one journey; see `Kernel.sockets_in_each`."""
        ...

    def socket(self, path: str, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """Open a socket inside."""
        ...

    def write(self, path: str, settings: Sequence[tuple[str, str]]) -> None:
        """Write sysctls (path below ``/proc/sys/net``, value) inside, in order, up to the first that fails: the error's ``index``."""
        ...

    def read(self, path: str, names: Sequence[str]) -> list[str | None]:
        """Read sysctls (paths below ``/proc/sys/net``) inside; ``None`` for one that is not there."""
        ...

    def files(self, path: str, names: Sequence[str]) -> list[str | None]:
        """Read small files that show the namespace of who reads them, fields one space apart; ``None`` for one that is not there."""
        ...

    def call(self, path: str, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Run a function inside, where it may block or, by ``root``, call the opener again."""
        ...

    def popen(self, path: str, argv: Sequence[str] | str, **options: Any) -> subprocess.Popen[Any]:
        """Start a process inside; ``options`` are those of `subprocess.Popen`."""
        ...

    def prepare(self) -> None:
        """Make the directory of namespace names, if namespaces have names here."""
        ...

    def start(self, job: Job[Any]) -> None:
        """Queue one of the library's own jobs; inside it every method of the opener runs on the spot."""
        ...

    def aside(self, function: Callable[[], T], then: Job[Any] | None = None) -> Job[T]:
        """Begin to call a function on a spare thread, and then to do ``then``; likewise on the spot. The caller goes on."""
        ...

    def bequeath(self, directory: Path) -> None:
        """Have a directory removed if the caller dies before `close`, where there is who outlives it."""
        ...

    def close(self) -> None:
        """Give back threads and descriptors."""
        ...


class RootOpener:
    """Opens everything itself, with the privileges of this process (``CAP_NET_ADMIN`` and ``CAP_SYS_ADMIN``).

    Args:
        host: Path of the namespace that plays the host; ``None``: the calling thread's.

    Raises:
        Forbidden: the process lacks a capability; it is named.
        NotFound: there is no such path.
        InvalidParameter: the path is no network namespace.
    """

    mode: Literal["root", "user"] = "root"

    def __init__(self, host: str | None = None) -> None:
        require_privilege()
        self._shown = f"/proc/{os.getpid()}/ns/net" if host is None else host
        self._workers = Workers(open_namespace(HERE if host is None else host))
        self._prepared: set[str] = set()
        self._begun: list[_Begun] = []
        self._usual: _Wanted = ((), False)
        try:
            self._inside(HOST, os.getpid)
        except BaseException:
            self.close()
            raise

    @property
    def alive(self) -> bool:
        """It always is; see `Opener.alive`."""
        return True

    def outside(self) -> str:
        """The host is the machine, or what somebody made for it; see `Opener.outside`."""
        return "host"

    def outer(self, path: str) -> str:
        """Return the path itself, and what the host was given as; see `Opener.outer`."""
        return path or self._shown

    # namespaces

    def make(self, path: str, sysctls: Sequence[tuple[str, str]] = (), *, filter: bool = False) -> Made:  # noqa: A002
        """Make a namespace; see `Opener.make`."""
        directory = path.rpartition("/")[0]
        self.prepare(directory)
        transport.checkpoint("make namespace")
        try:
            os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444))
        except FileExistsError as error:
            raise Conflict(
                f"cannot make namespace {path}: the name is taken", code="exists", path=path, errno=error.errno
            ) from None
        except OSError as error:
            raise failed(error, f"make namespace {path}") from error
        try:
            return self._named(path, (sysctls, filter))
        except BaseException:
            unbind(path)
            raise

    def _named(self, path: str, wanted: _Wanted) -> Made:
        """Name a namespace: the one that was begun, if it is as wanted, else one made now."""
        begun = taken(self._begun)
        if begun is None or begun.wanted != wanted or begun.pid != os.getpid():
            if begun is not None:
                begun.drop()
            begun = self._begin(wanted)
        try:
            made = begun.job.result()
            bind(made.fd, path)
        except BaseException as error:
            begun.drop()
            if isinstance(error, OSError):
                raise failed(error, f"make namespace {path}") from error
            raise
        self._usual = wanted
        return made

    def _begin(self, wanted: _Wanted) -> _Begun:
        return _Begun(os.getpid(), wanted, self._workers.begin(lambda worker: _make(worker, wanted)))

    def foresee(self) -> None:
        """Begin to make a namespace; see `Opener.foresee`. It has no name yet: if this process dies it is gone."""
        if not self._begun:
            self._begun.append(self._begin(self._usual))

    def forgo(self) -> None:
        """Let go of it; see `Opener.forgo`."""
        while (begun := taken(self._begun)) is not None:
            begun.drop()

    def remove(self, path: str) -> None:
        """Take a name away; see `Opener.remove`."""
        transport.checkpoint("remove namespace")
        try:
            unbind(path)
        except OSError as error:
            raise failed(error, f"remove namespace {path}") from error

    def namespace_fd(self, path: str) -> int:
        """Open a namespace; see `Opener.namespace_fd`."""
        return os.dup(self._workers.home) if path == HOST else open_namespace(path)

    def prepare(self, directory: str = RUN_DIRECTORY) -> None:
        """Make the directory of names a shared mount, once while it is there; see `Opener.prepare`."""
        if directory in self._prepared and os.path.isdir(directory):  # noqa: PTH112 (before every new name)
            return
        try:
            share(directory)
        except OSError as error:
            raise failed(error, f"prepare {directory} for namespaces") from error
        self._prepared.add(directory)

    # inside them

    def sockets_in_each(
        self, wanted: Sequence[tuple[str, Sequence[SocketKind]]]
    ) -> list[list[socket.socket] | LibnetworkError]:
        """Open sockets in several namespaces, on one journey; see `Opener.sockets_in_each`."""
        return self._workers.here(lambda worker: _tour(worker, wanted))

    def sockets(self, path: str, family: int, kind: int, protocol: int, count: int) -> list[socket.socket]:
        """Open several sockets inside; see `Opener.sockets`."""
        try:
            return self._inside(path, lambda: _open([(family, kind, protocol)] * count))
        except OSError as error:
            raise failed(error, f"open a socket in {path or 'the host namespace'}") from error

    def socket(self, path: str, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """Open a socket inside; see `Opener.socket`."""
        (opened,) = self.sockets(path, family, kind, protocol, 1)
        return opened

    def write(self, path: str, settings: Sequence[tuple[str, str]]) -> None:
        """Write sysctls inside; see `Opener.write`."""
        self._inside(path, lambda: write_sysctls(settings))

    def read(self, path: str, names: Sequence[str]) -> list[str | None]:
        """Read sysctls inside; see `Opener.read`."""
        return self._inside(path, lambda: [read_sysctl(name) for name in names])

    def files(self, path: str, names: Sequence[str]) -> list[str | None]:
        """Read files inside; see `Opener.files`."""
        return self._inside(path, lambda: [read_file(name) for name in names])

    def call(self, path: str, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Run a function inside on a spare thread; see `Opener.call`."""
        return self._workers.spare(lambda worker: _enter(worker, path, lambda: function(*args, **kwargs)))

    def popen(self, path: str, argv: Sequence[str] | str, **options: Any) -> subprocess.Popen[Any]:
        """Start a process inside; see `Opener.popen`."""
        return self.call(path, lambda: subprocess.Popen(argv, **options))

    # threads

    def start(self, job: Job[Any]) -> None:
        """Queue one of the library's own jobs; see `Opener.start`."""
        self._workers.start(job)

    def aside(self, function: Callable[[], T], then: Job[Any] | None = None) -> Job[T]:
        """Begin to call a function on a spare thread; see `Opener.aside`."""
        return self._workers.aside(function, then)

    def bequeath(self, directory: Path) -> None:
        """Leave it: what a dead caller left is found by the next one; see `Opener.bequeath`."""

    def close(self) -> None:
        """Stop the threads and forget the host namespace."""
        self.forgo()
        self._workers.close()

    def _inside(self, path: str, function: Callable[[], T]) -> T:
        return self._workers.here(lambda worker: _enter(worker, path, function))


def taken(begun: list[T]) -> T | None:
    """Take what was begun, if there is any: one thread may take what another one has begun, or let go of it."""
    with suppress(IndexError):
        return begun.pop()
    return None


def remove_all(opener: Opener, paths: Sequence[str]) -> dict[str, LibnetworkError]:
    """Take names away, and return those that could not be. Each waits 0.3 ms for the kernel, several at a time for the same."""
    if len(paths) < _MANY:
        return _remove_each(opener, paths)
    jobs = [
        opener.aside(functools.partial(_remove_each, opener, paths[number::_AT_A_TIME])) for number in range(_AT_A_TIME)
    ]
    return {path: error for job in jobs for path, error in job.settled().items()}


def _remove_each(opener: Opener, paths: Iterable[str]) -> dict[str, LibnetworkError]:
    failures: dict[str, LibnetworkError] = {}
    for path in paths:
        try:
            opener.remove(path)
        except LibnetworkError as error:
            failures[path] = error
    return failures


def _enter(worker: Worker, path: str, function: Callable[[], T]) -> T:
    """Call a function with the worker inside a namespace."""
    if path == HOST:
        return function()
    fd = open_namespace(path)
    try:
        enter(fd)
    except OSError as error:
        raise failed(error, f"enter namespace {path}") from error
    finally:
        os.close(fd)
    try:
        return function()
    finally:
        worker.go_home()


def _tour(
    worker: Worker, wanted: Sequence[tuple[str, Sequence[SocketKind]]]
) -> list[list[socket.socket] | LibnetworkError]:
    """Open sockets in one namespace after the other and come home."""
    found: list[list[socket.socket] | LibnetworkError] = []
    try:
        for path, kinds in wanted:
            try:
                _go_into(worker, path)
                found.append(_open(kinds))
            except LibnetworkError as error:
                found.append(error)
            except OSError as error:
                found.append(failed(error, f"open a socket in {path or 'the host namespace'}"))
    finally:
        worker.go_home()
    return found


def _go_into(worker: Worker, path: str) -> None:
    if path == HOST:
        worker.go_home()
        return
    fd = open_namespace(path)
    try:
        enter(fd)
    finally:
        os.close(fd)


def _open(kinds: Iterable[SocketKind]) -> list[socket.socket]:
    opened: list[socket.socket] = []
    try:
        for kind in kinds:
            opened.append(socket.socket(*kind))  # noqa: PERF401 (those opened must be closed on failure)
    except BaseException:
        for each in opened:
            each.close()
        raise
    return opened


def _make(worker: Worker, wanted: _Wanted) -> Made:
    """Make a namespace without a name around the worker and come home."""
    fd = -1
    try:
        enter_new()
        try:
            write_sysctls(wanted[0], lasting=False)
            fd = open_here()
            return Made(fd, netlink_here(), netlink_here(transport.NETLINK_NETFILTER) if wanted[1] else None)
        finally:
            worker.go_home()
    except OSError:
        if fd >= 0:
            os.close(fd)
        raise
