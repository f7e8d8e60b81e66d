"""The opener of an ordinary user: a helper process owns a user namespace and does in it what `opener.RootOpener` does on a thread.

Division of labour: this module keeps the contract of `opener.Opener`; `dialogue` speaks with the helper process (`keeper`), `joining`
starts programs, `visiting` runs functions. Sockets and descriptors that come back are driven by the caller as if it were root: they belong
to a namespace over which the uid that made it has every capability (user_namespaces(7)).

Namespaces have the names that root's have, ``/run/netns/NAME``, in the helper's own ``/run``, which everybody else sees as
``/proc/PID/root/run/netns/NAME``.

May import: dialogue, joining, visiting, opener, workers, namespaces, transport, desired, errors.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

from ..desired import HOST
from ..errors import Conflict, LibnetworkError, NotFound, NotSupported, Unavailable
from . import dialogue, joining, transport, visiting
from .dialogue import Answer
from .namespaces import RUN_DIRECTORY, open_namespace
from .opener import Made, SocketKind, taken
from .transport import Refusal, failed, refused
from .workers import Job, Workers

T = TypeVar("T")
Outside: TypeAlias = Literal["auto", "pasta", "none"]

_MOST_AT_ONCE = 250
"""How many descriptors the kernel passes in one message, a few less (``SCM_MAX_FD``)."""


class UserOpener:
    """Opens namespaces for a caller without privilege.

    Args:
        host: Path of the namespace that plays the host, one of this user's; ``None``: a new one.
        directory: The state directory whose controllers share one helper process; ``None``: one that ends with its caller.
        outside: Whether pasta shall lead a new host's namespace outside: ``auto``: if it is installed.

    Raises:
        Forbidden: no user namespaces here, or the host's namespace is not this user's; the message says what can be done.
        NotFound: there is no such path. InvalidParameter: the path is no network namespace.
    """

    mode: Literal["root", "user"] = "user"

    def __init__(self, host: str | None = None, directory: Path | None = None, outside: Outside = "auto") -> None:
        pasta = _pasta(outside) if host is None else ""
        fd = open_namespace(host) if host is not None else -1
        try:
            if directory is not None:
                self._keeper = dialogue.shared(fd, directory, pasta)
            else:
                self._keeper = dialogue.private(fd, pasta)
        finally:
            if fd >= 0:
                os.close(fd)
        self._begun: list[_Begun] = []
        self._usual: Sequence[tuple[str, str]] = ()
        self._user = self._home = -1
        try:
            self._user = os.open(f"/proc/{self._keeper.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
            self._home = open_namespace(self.outer(HOST))
        except BaseException:
            self._keeper.close()
            if self._user >= 0:
                os.close(self._user)
            raise
        self._workers = Workers(self._home, moving=False)

    @property
    def alive(self) -> bool:
        """Whether the helper process answers; see `Opener.alive`."""
        try:
            self._keeper.ask("read", ())
        except (OSError, Unavailable):
            return False
        return True

    def outside(self) -> str:
        """Return how the host reaches the outside; see `Opener.outside`."""
        said = self._keeper.ask("outside")[0]
        return "none" if said is None else f"pasta: {said}" if said else "pasta"

    def outer(self, path: str) -> str:
        """Return the path by which everybody else has a namespace; see `Opener.outer`."""
        if path == HOST:
            return f"/proc/{self._keeper.pid}/ns/net"
        return f"/proc/{self._keeper.pid}/root{path}" if path.startswith(RUN_DIRECTORY) else path

    # namespaces

    def make(self, path: str, sysctls: Sequence[tuple[str, str]] = (), *, filter: bool = False) -> Made:  # noqa: A002
        """Make a namespace; see `Opener.make`. The packet filter's socket is opened when it is needed."""
        transport.checkpoint("make namespace")
        begun = taken(self._begun)
        try:
            if begun is not None and begun.sysctls == sysctls and begun.pid == os.getpid():
                made = begun.take()
                try:
                    self._keeper.ask("name", path, descriptors=[made.fd])
                except BaseException:
                    made.close()
                    raise
            else:
                if begun is not None:
                    begun.drop()
                made = _made(self._keeper.ask("make", path, tuple(sysctls)))
        except FileExistsError as error:
            raise Conflict(
                f"cannot make namespace {path}: the name is taken", code="exists", path=path, errno=error.errno
            ) from None
        except OSError as error:
            raise _refused(error, sysctls, f"make namespace {path}") from error
        self._usual = sysctls
        return made

    def foresee(self) -> None:
        """Have the helper begin to make a namespace; see `Opener.foresee`. It has no name yet."""
        if not self._begun:
            pending = self._keeper.begin("make", "", tuple(self._usual))
            self._begun.append(_Begun(os.getpid(), self._usual, pending))

    def forgo(self) -> None:
        """Let go of it; see `Opener.forgo`."""
        while (begun := taken(self._begun)) is not None:
            begun.drop()

    def remove(self, path: str) -> None:
        """Take a name away; see `Opener.remove`."""
        transport.checkpoint("remove namespace")
        self._ask(f"remove namespace {path}", "remove", path)

    def namespace_fd(self, path: str) -> int:
        """Open a namespace; see `Opener.namespace_fd`."""
        if path == HOST:
            return os.dup(self._home)
        try:
            return open_namespace(self.outer(path))
        except NotFound:
            self._keeper.ask("read", ())  # is it the name that is gone, or the process that owned all of them?
            raise

    def prepare(self) -> None:
        """The helper made the directory of names when it started; see `Opener.prepare`."""

    # inside them

    def sockets_in_each(
        self, wanted: Sequence[tuple[str, Sequence[SocketKind]]]
    ) -> list[list[socket.socket] | LibnetworkError]:
        """Open sockets in several namespaces; see `Opener.sockets_in_each`."""
        return [self._opened_or_not(path, kinds) for path, kinds in wanted]

    def _opened_or_not(self, path: str, kinds: Sequence[SocketKind]) -> list[socket.socket] | LibnetworkError:
        groups = [(kind, len(list(some))) for kind, some in groupby(kinds)]
        try:
            pending = [(kind, self._begin(path, "sockets", *map(int, kind), count)) for kind, count in groups]
            return _all_opened(pending, _opening(path))
        except LibnetworkError as error:
            return error

    def sockets(self, path: str, family: int, kind: int, protocol: int, count: int) -> list[socket.socket]:
        """Open several sockets inside; see `Opener.sockets`."""
        opened: list[int] = []
        try:
            while len(opened) < count:
                some = min(count - len(opened), _MOST_AT_ONCE)
                opened += _checked(
                    self._begin(path, "sockets", int(family), int(kind), protocol, some), _opening(path)
                )[1]
        except BaseException:
            for fd in opened:
                os.close(fd)
            raise
        return [socket.socket(family, kind, protocol, fd) for fd in opened]

    def socket(self, path: str, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """Open a socket inside; see `Opener.socket`."""
        (opened,) = self.sockets(path, family, kind, protocol, 1)
        return opened

    def write(self, path: str, settings: Sequence[tuple[str, str]]) -> None:
        """Write sysctls inside; see `Opener.write`."""
        if settings:
            transport.checkpoint("sysctl")
        try:
            self._begin(path, "write", tuple(settings))()
        except OSError as error:
            raise _refused(error, settings, "set") from error

    def read(self, path: str, names: Sequence[str]) -> list[str | None]:
        """Read sysctls inside; see `Opener.read`."""
        return self.files(path, [f"/proc/sys/net/{name}" for name in names])

    def files(self, path: str, names: Sequence[str]) -> list[str | None]:
        """Read small files inside; see `Opener.files`."""
        found = _checked(self._begin(path, "read", tuple(names)), "read")[0]
        return [None if each is None else " ".join(each.decode(errors="replace").split()) for each in found]

    def call(self, path: str, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Run a function inside, in a forked child; see `Opener.call` and `visiting`."""
        network = self.namespace_fd(path)
        try:
            return visiting.visit(self._user, network, partial(function, *args, **kwargs))
        finally:
            os.close(network)

    def popen(self, path: str, argv: Sequence[str] | str, **options: Any) -> subprocess.Popen[Any]:
        """Start a process inside; see `Opener.popen`. ``files``: target path → source path, covered for it."""
        files = options.pop("files", {})
        network = self.namespace_fd(path)
        try:
            return joining.popen(self._user, network, argv, files, options)
        finally:
            os.close(network)

    # threads

    def start(self, job: Job[Any]) -> None:
        """Queue one of the library's own jobs; see `Opener.start`."""
        self._workers.start(job)

    def aside(self, function: Callable[[], T], then: Job[Any] | None = None) -> Job[T]:
        """Begin to call a function on a spare thread; see `Opener.aside`."""
        return self._workers.aside(function, then)

    def bequeath(self, directory: Path) -> None:
        """Have the helper remove a directory if the caller dies; see `Opener.bequeath`."""
        above = os.open(directory.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _checked(self._keeper.begin("inherit", directory.name, descriptors=[above]), "bequeath a directory")
        finally:
            os.close(above)

    def close(self) -> None:
        """Stop the threads and hang up: the namespaces go when nobody else speaks with the helper."""
        self.forgo()
        self._workers.close()
        if self._user >= 0:
            os.close(self._user)
            self._user = self._home = -1
            self._keeper.close()

    def _begin(self, path: str, operation: str, *arguments: object) -> Callable[[], Answer]:
        if path == HOST:
            return self._keeper.begin(operation, *arguments)
        network = self.namespace_fd(path)
        try:
            return self._keeper.begin(operation, *arguments, descriptors=[network])
        finally:
            os.close(network)

    def _ask(self, doing: str, operation: str, *arguments: object) -> Answer:
        return _checked(lambda: self._keeper.ask(operation, *arguments), doing)


def _pasta(wanted: Outside) -> str:
    found = shutil.which("pasta") if wanted != "none" else None
    if found is None and wanted == "pasta":
        raise NotSupported(
            "there is no program pasta to lead outside without root: install it (Debian and Ubuntu: apt install passt), or leave "
            "`outside` at 'auto'",
            code="no_pasta",
        )
    return found or ""


class _Begun:
    """A namespace in the making: by which process, with which settings."""

    def __init__(self, pid: int, sysctls: Sequence[tuple[str, str]], answer: Callable[[], Answer]) -> None:
        self.pid, self.sysctls, self._answer = pid, sysctls, answer

    def take(self) -> Made:
        """Wait for it."""
        return _made(self._answer())

    def drop(self) -> None:
        """Let go of it. In a child forked meanwhile it never comes."""
        if self.pid == os.getpid():
            try:
                self.take().close()
            except OSError:  # it could not be made, and nobody wants it
                return


def _made(answer: Answer) -> Made:
    _, (fd, sock) = answer
    return Made(fd, socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0, sock))


def _checked(answer: Callable[[], Answer], doing: str) -> Answer:
    try:
        return answer()
    except OSError as error:
        raise failed(error, doing) from error


def _refused(error: OSError, settings: Sequence[tuple[str, str]], doing: str) -> Exception:
    """The error for a namespace or a setting; which setting, the helper says in ``filename``."""
    if not isinstance(error.filename, int):
        return failed(error, doing)
    name, value = settings[error.filename]
    return refused(Refusal(error.filename, error.errno or 0, ""), f"set net/{name} to {value!r}")


def _all_opened(pending: Iterable[tuple[SocketKind, Callable[[], Answer]]], doing: str) -> list[socket.socket]:
    """Collect every answer, also after one that says no, and close what is not given back."""
    opened: list[socket.socket] = []
    problem: LibnetworkError | None = None
    for kind, answer in pending:
        try:
            opened += [socket.socket(*kind, fd) for fd in _checked(answer, doing)[1]]
        except LibnetworkError as error:
            problem = problem or error
    if problem is None:
        return opened
    for each in opened:
        each.close()
    raise problem


def _opening(path: str) -> str:
    return f"open a socket in {path or 'the host namespace'}"
