"""The kernel layer on the real kernel.

Division of labour: `LinuxKernel` keeps the contract of `api` and does nothing itself: `applying` changes, `snapshot` looks, the opener
enters namespaces, `processes` starts programs and `probe` finds out what works. Here is only what is about namespace *names*, and the
choice of the opener: the caller's own privilege, or a user namespace.

May import: the rest of this room, desired, facts, errors.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeVar

from ..desired import HOST, Change, Word
from ..errors import Forbidden, Internal, InvalidParameter, LibnetworkError, NotFound, NotSupported
from ..facts import Facts, FilterFacts, LinkStatistics
from ..types import IPAddress, Protocol
from . import snapshot
from .api import PortFlow
from .applying import Application, enforce
from .flows import Flows
from .namespaces import (
    HERE,
    RUN_DIRECTORY,
    enter,
    expect,
    has_its_own_machine,
    lacking_privilege,
    locked,
    open_any_namespace,
    open_namespace,
)
from .opener import Opener, RootOpener, SocketKind
from .reaper import Reaper
from .relays import FindGuard, Relays
from .stack import Sockets
from .transport import NETLINK_NETFILTER, failed
from .workers import Job

T = TypeVar("T")


class LinuxKernel:
    """`kernel.api.Kernel` on this machine.

    May be used from any thread, inside a running event loop, and in a child process after a fork. Changes are made one after the
    other; an exception out of a signal handler, such as Ctrl-C, leaves when what was begun is undone.

    Args:
        host: Path of the namespace that plays the host; ``None``: the calling thread's, and without privilege a new one.
        privilege: ``root``: the caller's own; ``user``: that of a user namespace; ``auto``: the caller's own if that is enough.
        directory: Gives the state directory whose controllers share one user namespace; ``None``: one for this caller alone.
        outside: Whether a new host's namespace is led outside by ``pasta``; ``auto``: where that is installed.
        localhost: Whether ports published on such a host are reached at the caller's 127.0.0.1 too.

    Attributes:
        opener: Who opens namespaces and starts processes.

    Raises:
        Forbidden: the process lacks ``CAP_NET_ADMIN`` or ``CAP_SYS_ADMIN``, or may not have a user namespace.
        InvalidParameter: ``host`` is no network namespace. NotFound: there is no such path.
    """

    def __init__(
        self,
        host: str | None = None,
        *,
        privilege: Literal["auto", "root", "user"] = "auto",
        directory: Callable[[], Path] | None = None,
        outside: Literal["auto", "pasta", "none"] = "auto",
        localhost: bool = False,
    ) -> None:
        self.opener = _opener(host, privilege, directory, outside)
        self._localhost = localhost and self.opener.mode == "user" and host is None
        self._relays = Relays(self.opener)
        self._sockets = Sockets(self.opener, self._relays)
        self._reaper = Reaper(self._sockets, self._do)
        self._flows = Flows(self._sockets)
        self._lock = threading.RLock()
        self._pid = os.getpid()

    @property
    def privilege(self) -> Literal["root", "user"]:
        """Whose privilege is used; see `Kernel.privilege`."""
        return self.opener.mode

    @property
    def files(self) -> Path | None:
        """This is the machine that ``ip netns`` works on; see `Kernel.files`."""
        return None

    @property
    def localhost(self) -> bool:
        """Whether ports are published to the caller's machine too; see `Kernel.localhost`."""
        return self._localhost

    @property
    def alive(self) -> bool:
        """Whether it can still do anything; see `Kernel.alive`."""
        return self.opener.alive

    def attend(self, directory: Path | None, guard: FindGuard, *, lasting: bool) -> None:
        """Say where the processes beside the controller are found; see `Kernel.attend`."""
        self._relays.attend(directory, guard, lasting=lasting)

    def renew(self, protocol: Protocol, address: IPAddress, port: int) -> None:
        """Have a relayed port's socket exchanged; see `Kernel.renew`."""
        self._relays.renew(protocol, address, port)

    def apply(self, change: Change, beside: Callable[[], object] | None = None) -> None:
        """Make a change whole or undo it; see `Kernel.apply`."""
        job = Job(beside) if beside is not None else None
        if change:
            self._flows.settle(change)
            with self._turn():
                self._reaper.spare(change)
                self._apply(Application(self._sockets, change), job)
                self._reaper.watch(change)
        if job is not None and not job.finished:  # nothing took so long that it would have been begun
            job.run()

    def _apply(self, application: Application, job: Job[object] | None) -> None:
        self._sockets.beside = job
        try:
            application.run()
        except LibnetworkError:
            raise
        except BaseException as interrupt:
            self._settle(application, interrupt)
            raise
        finally:
            waiting, self._sockets.beside = self._sockets.beside, None
            if job is not None and waiting is None:
                job.settle()

    def _settle(self, application: Application, interrupt: BaseException) -> None:
        """Undo an interrupted change, by what the machine looks like: nobody knows where it was interrupted, or its undoing."""
        self._reaper.spare(application.reverse)
        last = Job(lambda: enforce(self._sockets, application.reverse))
        self.opener.start(last)
        last.settle()
        try:
            last.result()
        except ExceptionGroup as group:
            for problem in group.exceptions:
                interrupt.add_note(f"and not everything could be undone: {problem}")

    def _turn(self) -> threading.RLock:
        """The lock of the host's sockets: one change or look at a time."""
        if self._pid != os.getpid():  # whoever held it stayed with the parent
            self._pid, self._lock = os.getpid(), threading.RLock()
        return self._lock

    def enforce(self, change: Change) -> None:
        """Make a change as far as it goes; see `Kernel.enforce`."""
        with self._turn():
            self._reaper.spare(change)
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

    def packet_filter(self) -> FilterFacts:
        """Return what is in the host's packet filter; see `Kernel.packet_filter`."""
        from . import nft_others  # noqa: PLC0415 (needed by few)

        chains = self._do(lambda: nft_others.chains(self._sockets.host(NETLINK_NETFILTER)))
        tables = self.opener.files(HOST, list(nft_others.LEGACY_TABLES.values()))
        named = [tuple((each or "").split()) for each in tables]
        return FilterFacts(chains, dict(zip(nft_others.LEGACY_TABLES, named, strict=True)))

    def features(self) -> Mapping[str, bool]:
        """Return what this kernel can do; see `Kernel.features`."""
        from .probe import probe  # noqa: PLC0415 (needed by few)

        return probe(self.opener)

    # names

    def free_namespace(self, name: str, suffix: str) -> str:
        """Return a path that nobody has; see `Kernel.free_namespace`. Names follow ``ip netns``: no slash, not ``.`` or ``..``."""
        for candidate in (name, f"{name}-{suffix}"):
            path = f"{RUN_DIRECTORY}/{candidate}"
            if not os.path.lexists(self.opener.outer(path)):
                return path
        raise Internal(f"both {name} and {name}-{suffix} are taken in {RUN_DIRECTORY}", code="names_taken")

    @contextmanager
    def naming(self) -> Iterator[None]:
        """Hold the lock of names; see `Kernel.naming`. It is the one on ``/run/netns`` that ``ip netns add`` takes as well."""
        with (
            self.foreseeing()
        ):  # who asks for the lock is about to make a namespace: one is made while that is written down
            self.opener.prepare()
            with locked(self.opener.outer(RUN_DIRECTORY)):
                yield

    @contextmanager
    def foreseeing(self) -> Iterator[None]:
        """Have a namespace begun; see `Kernel.foreseeing`. Another thread waits for the kernel, and this one goes on."""
        self.opener.foresee()
        try:
            yield
        finally:
            self.opener.forgo()

    def outside(self) -> str:
        """Return how the host reaches the outside; see `Kernel.outside`."""
        return self.opener.outside()

    def reach(self, path: str) -> str:
        """Return the path for other programs; see `Kernel.reach`."""
        return self.opener.outer(path)

    def find_namespace(self, where: str | int) -> str:
        """Return the path that adopts a namespace; see `Kernel.find_namespace`.

        One namespace has one path, whichever way it was named: `HOST` for the host's own, else the name that it has under
        ``/run/netns`` (as ``ip netns identify``), else the path given. That of a process, ``/proc/PID/ns/net``, lasts as long as the
        process: nothing is mounted that somebody would have to remove. `expect` tells it from that of a later process.
        """
        if isinstance(where, int):
            return self._of_process(where)
        if not where:
            raise InvalidParameter(
                f"the path of a namespace is empty: give one like {RUN_DIRECTORY}/NAME",
                code="not_a_namespace",
                path=where,
            )
        path = re.sub("^/proc/(self|thread-self)/", f"/proc/{os.getpid()}/", str(Path(where).absolute()))
        outer = self.opener.outer(path)
        os.close(open_any_namespace(outer))
        return self._canonical(path, _identity(outer))

    def expect(self, path: str, identity: str = "") -> str:
        """Tell the namespace of a process from a later one; see `Kernel.expect`."""
        return expect(path, identity)

    def _canonical(self, path: str, identity: tuple[int, int] | None) -> str:
        host = self.opener.namespace_fd(HOST)
        try:
            status = os.fstat(host)
        finally:
            os.close(host)
        if identity == (status.st_dev, status.st_ino):
            return HOST
        if identity is None or Path(path).parent == Path(RUN_DIRECTORY):
            return path
        names = (f"{RUN_DIRECTORY}/{name}" for name in _names(self.opener.outer(RUN_DIRECTORY)))
        return next((name for name in names if _identity(self.opener.outer(name)) == identity), path)

    def _of_process(self, pid: int) -> str:
        path = f"/proc/{pid}/ns/net"
        try:
            os.close(open_any_namespace(path))
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
        return self.opener.call(namespace, function, *args, **kwargs)

    def sockets(self, namespace: str, family: int, kind: int, protocol: int, count: int) -> list[socket.socket]:
        """Open several sockets inside; see `Kernel.sockets`."""
        return self.opener.sockets(namespace, family, kind, protocol, count)

    def sockets_in_each(
        self, wanted: Sequence[tuple[str, Sequence[SocketKind]]]
    ) -> list[list[socket.socket] | LibnetworkError]:
        """Open sockets in several namespaces; see `Kernel.sockets_in_each`."""
        return self.opener.sockets_in_each(wanted)

    def socket(self, namespace: str, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """Open a socket inside; see `Kernel.socket`."""
        return self.opener.socket(namespace, family, kind, protocol)

    def popen(
        self, namespace: str, argv: Sequence[str] | str, files: Mapping[str, str], **options: Any
    ) -> subprocess.Popen[Any]:
        """Start a process inside; see `Kernel.popen`."""
        from .processes import popen  # noqa: PLC0415 (needed by few)

        return popen(self.opener, namespace, argv, files, **options)

    @contextmanager
    def entered(self, namespace: str) -> Iterator[None]:
        """Move the calling thread for a while; see `Kernel.entered`."""
        if self.opener.mode == "user":
            raise NotSupported(
                "without root this process cannot enter a sandbox: Linux lets no process with threads into a user namespace "
                "(setns(2)). Use sandbox.socket() for sockets, sandbox.call() for a function, sandbox.run() for a program",
                code="cannot_enter",
            )
        home = open_namespace(HERE)
        try:
            target = self.opener.namespace_fd(namespace)
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

    def forget_flows(
        self,
        addresses: Iterable[IPAddress] = (),
        *,
        closed: Iterable[PortFlow] = (),
        opened: Iterable[PortFlow] = (),
    ) -> None:
        """Forget connections soon; see `Kernel.forget_flows`."""
        self._flows.forget(addresses, closed, opened)

    def keep_flows(self, addresses: Iterable[IPAddress]) -> None:
        """Forget nothing of addresses; see `Kernel.keep_flows`."""
        self._flows.keep(addresses)

    def announce(self, namespace: str, link: str, addresses: Iterable[IPAddress]) -> None:
        """Tell the neighbours; see `Kernel.announce`."""
        from .announcing import announce  # noqa: PLC0415 (needed by few)

        announce(self.opener, namespace, link, addresses)

    def bequeath(self, directory: Path) -> None:
        """Say what shall go if this process dies; see `Kernel.bequeath`."""
        self.opener.bequeath(directory)

    def close(self) -> None:
        """Give back threads and sockets, once what was dropped is gone; see `Kernel.close`."""
        self._reaper.drain()
        self._flows.close()
        self._relays.close()
        self._sockets.close()
        self.opener.close()

    def _do(self, function: Callable[[], T]) -> T:
        """Call a function on the library's own worker."""
        job = Job(function)
        with self._turn():
            try:
                self.opener.start(job)
                return job.result()
            except BaseException:
                # Interrupted: nobody may use the sockets before the job has ended, if it was queued at all.
                if not job.finished:
                    last = Job(int)
                    self.opener.start(last)
                    last.settle()
                raise


def _opener(
    host: str | None,
    privilege: Literal["auto", "root", "user"],
    directory: Callable[[], Path] | None,
    outside: Literal["auto", "pasta", "none"],
) -> Opener:
    if privilege == "root" or (privilege == "auto" and not lacking_privilege() and has_its_own_machine()):
        return RootOpener(host)
    from .user import UserOpener  # noqa: PLC0415 (root needs it not)

    return UserOpener(host, directory() if directory is not None else None, outside)


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)  # noqa: PTH208 (names)
    except FileNotFoundError:
        return []


def _identity(path: str) -> tuple[int, int] | None:
    """Return what tells one namespace from another; ``None`` where there is nothing (any more)."""
    try:
        status = Path(path).stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino
