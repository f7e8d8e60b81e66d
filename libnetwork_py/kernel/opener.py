"""Who opens namespaces and sockets and starts processes in them: the one seam between privileged and unprivileged.

Division of labour: an `Opener` makes, removes and enters namespaces; everyone else works with the file descriptors and sockets that
it hands out, which stay in their namespace on whatever thread they are used. `RootOpener` enters them on `workers`, by the system
calls of `namespaces`.

May import: workers, namespaces, transport, desired, errors.
"""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol, TypeVar

from attrs import frozen

from ..desired import HOST
from ..errors import Conflict
from . import transport
from .namespaces import (
    HERE,
    RUN_DIRECTORY,
    bind,
    enter,
    enter_new,
    open_namespace,
    read_sysctl,
    require_privilege,
    share,
    unbind,
    write_sysctls,
)
from .transport import failed
from .workers import Job, Worker, Workers

T = TypeVar("T")


@frozen
class Made:
    """A namespace just made: a descriptor of it and an rtnetlink socket inside. Both keep it alive: close them."""

    fd: int
    socket: socket.socket


class Opener(Protocol):
    """Opens namespaces and sockets. Paths are those of namespaces; `HOST` is the one that plays the host."""

    mode: Literal["root", "user"]

    def make(self, path: str, sysctls: Sequence[tuple[str, str]] = ()) -> Made:
        """Make a namespace bound at ``path``, write ``sysctls`` (path below ``/proc/sys/net``, value) inside.

        Raises:
            Conflict: ``path`` exists.
        """
        ...

    def remove(self, path: str) -> None:
        """Take the name away; the namespace dies with its last process and descriptor. Gone is fine."""
        ...

    def namespace_fd(self, path: str) -> int:
        """Open the namespace; the caller closes the descriptor."""
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

    def call(self, path: str, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Run a function inside, on a thread where it may block or call the opener again."""
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
        self._workers = Workers(open_namespace(HERE if host is None else host))
        self._prepared: set[str] = set()
        try:
            self._inside(HOST, os.getpid)
        except BaseException:
            self.close()
            raise

    # namespaces

    def make(self, path: str, sysctls: Sequence[tuple[str, str]] = ()) -> Made:
        """Make a namespace; see `Opener.make`."""
        directory = path.rpartition("/")[0]
        if directory not in self._prepared:
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
            return self._workers.here(lambda worker: _make(worker, path, sysctls))
        except BaseException:
            unbind(path)
            raise

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
        """Make the directory of names a shared mount; see `Opener.prepare`."""
        try:
            share(directory)
        except OSError as error:
            raise failed(error, f"prepare {directory} for namespaces") from error
        self._prepared.add(directory)

    # inside them

    def socket(self, path: str, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """Open a socket inside; see `Opener.socket`."""
        try:
            return self._inside(path, lambda: socket.socket(family, kind, protocol))
        except OSError as error:
            raise failed(error, f"open a socket in {path or 'the host namespace'}") from error

    def write(self, path: str, settings: Sequence[tuple[str, str]]) -> None:
        """Write sysctls inside; see `Opener.write`."""
        self._inside(path, lambda: write_sysctls(settings))

    def read(self, path: str, names: Sequence[str]) -> list[str | None]:
        """Read sysctls inside; see `Opener.read`."""
        return self._inside(path, lambda: [read_sysctl(name) for name in names])

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

    def close(self) -> None:
        """Stop the threads and forget the host namespace."""
        self._workers.close()

    def _inside(self, path: str, function: Callable[[], T]) -> T:
        return self._workers.here(lambda worker: _enter(worker, path, function))


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


def _make(worker: Worker, path: str, sysctls: Sequence[tuple[str, str]]) -> Made:
    """Make a namespace around the worker, bind it to ``path`` and come home."""
    fd = -1
    try:
        enter_new()
        try:
            bind(path)
            write_sysctls(sysctls)
            fd = os.open(HERE, os.O_RDONLY | os.O_CLOEXEC)
            return Made(fd, socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0))
        finally:
            worker.go_home()
    except OSError as error:
        if fd >= 0:
            os.close(fd)
        raise failed(error, f"make namespace {path}") from error
