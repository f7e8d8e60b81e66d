"""The system calls of namespaces, on the calling thread: make, bind to a name, enter, tell one from another file.

Division of labour: each function here is one or two system calls and the translation of their errors; `opener` decides who calls them,
where, and in which order. Python 3.12 has ``setns`` and ``unshare``; before, and for ``mount``, the C library is called.

``/proc/thread-self`` is the thread's own place: ``/proc/self`` is the main thread's.

May import: transport, procfs, errors.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import re
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import Forbidden, InvalidParameter, NotFound
from . import transport
from .procfs import settings
from .transport import Refusal, failed, refused

RUN_DIRECTORY = "/run/netns"
"""Where ``ip netns`` keeps its names."""

HERE = "/proc/thread-self/ns/net"
"""The namespace of the thread that opens it."""

_OF_PROCESS = re.compile(r"/proc/(\d+)/(?:task/\d+/)?ns/net")
_expected: dict[str, str] = {}
"""Path of a process's namespace → its identity when it was adopted. Numbers of processes are used again."""

_CLONE_NEWNET = 0x40000000
_NS_GET_USERNS, _NS_GET_NSTYPE = 0xB701, 0xB703
_MS_BIND, _MS_REC, _MS_SHARED, _MNT_DETACH = 4096, 16384, 1 << 20, 2
_CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_SYS_ADMIN": 21}

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_void_p)
_libc.umount2.argtypes = (ctypes.c_char_p, ctypes.c_int)
_brief = ctypes.PyDLL(None, use_errno=True)
"""For calls of a few microseconds on a worker: the interpreter's lock, once given away, comes back when the caller next waits."""


def _called(name: str, library: ctypes.CDLL = _libc) -> Callable[..., int]:
    function = getattr(library, name)

    def call(*args: object) -> int:
        result: int = function(*args)
        if result < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return result

    return call


_unshare: Callable[[int], object] = getattr(os, "unshare", None) or _called("unshare")
_mount, _umount = _called("mount"), _called("umount2")
_setns, _open, _socket = _called("setns", _brief), _called("open", _brief), _called("socket", _brief)
_openat = _called("openat", _brief)


def enter_new() -> None:
    """Move the calling thread into a network namespace made for it.

    Raises:
        OSError: as unshare(2).
    """
    _unshare(_CLONE_NEWNET)


def enter(fd: int) -> None:
    """Move the calling thread into the network namespace behind a descriptor.

    Raises:
        OSError: as setns(2).
    """
    _setns(fd, _CLONE_NEWNET)


def open_here() -> int:
    """Return a descriptor of the calling thread's namespace.

    Raises:
        OSError: as open(2).
    """
    return _open(HERE.encode(), os.O_RDONLY | os.O_CLOEXEC)


def netlink_here(protocol: int = 0) -> socket.socket:
    """Return a netlink socket in the calling thread's namespace, rtnetlink's by default.

    Raises:
        OSError: as socket(2).
    """
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol, _socket(socket.AF_NETLINK, kind, protocol))


def bind(fd: int, path: str) -> None:
    """Give the namespace behind a descriptor a name: an existing file, on which it is mounted.

    Raises:
        OSError: as mount(2).
    """
    transport.checkpoint("name namespace")
    _mount(b"/proc/self/fd/%d" % fd, path.encode(), b"none", _MS_BIND, None)


def unbind(path: str) -> None:
    """Take a name away, file and all. A file on which nothing is mounted goes too; what is gone is gone.

    Raises:
        OSError: as umount2(2) and unlink(2).
    """
    try:
        _umount(path.encode(), _MNT_DETACH)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.ENOENT}:
            raise
    transport.checkpoint("unlink namespace")
    with suppress(FileNotFoundError):
        os.unlink(path)  # noqa: PTH108 (a thousand in a row)


def share(directory: str) -> None:
    """Make a directory of names as ``ip netns add`` does: a shared mount, so that removals reach other mount namespaces.

    Raises:
        OSError: as mkdir(2) and mount(2).
    """
    Path(directory).mkdir(mode=0o755, parents=True, exist_ok=True)
    place = directory.encode()
    with locked(directory):
        try:
            _mount(b"", place, b"none", _MS_SHARED | _MS_REC, None)
        except OSError as error:
            if error.errno != errno.EINVAL:  # no mount point yet
                raise
            _mount(place, place, b"none", _MS_BIND | _MS_REC, None)
            _mount(b"", place, b"none", _MS_SHARED | _MS_REC, None)


@contextmanager
def locked(directory: str) -> Iterator[None]:
    """Hold the lock of a directory of names, the one that ``ip netns`` takes while it prepares it."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        fcntl.flock(fd, fcntl.LOCK_UN)  # closing is not enough: a child forked meanwhile has the descriptor too
        os.close(fd)


def expect(path: str, identity: str = "") -> str:
    """From now on open the namespace of a process only if it is the one of that identity; by default, the one that it has now.

    Returns:
        The identity; empty for any other path, which needs none, and where the process is gone.
    """
    identity = identity or _identify(path)
    if identity:
        _expected[path] = identity
    return identity


def _identify(path: str) -> str:
    """Return ``DEVICE:INODE@START``, the start of the process in ticks since boot; empty where there is no process."""
    found = _OF_PROCESS.fullmatch(path)
    if found is None:
        return ""
    try:
        status = os.stat(path)  # noqa: PTH116 (a path is text throughout)
        started = Path(f"/proc/{found[1]}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return f"{status.st_dev}:{status.st_ino}@{started.rpartition(')')[2].split()[19]}"


def open_namespace(path: str) -> int:
    """Return a descriptor of the network namespace at ``path``.

    Raises:
        NotFound: there is nothing, or not what is expected. InvalidParameter: it is something else. Forbidden: not permitted.
    """
    fd = open_any_namespace(path)
    if path in _expected and _identify(path) != _expected[path]:
        os.close(fd)
        raise NotFound(
            f"{path} is not the namespace that was adopted any more: its process has ended, or has gone elsewhere; delete the sandbox, "
            "and adopt a namespace by a name that stays (`ip netns attach NAME PID`)",
            code="namespace_replaced",
            path=path,
            errno=errno.ENOENT,
        )
    return fd


def open_any_namespace(path: str) -> int:
    """As `open_namespace`, whatever is expected."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, ProcessLookupError) as error:
        raise NotFound(
            f"no network namespace at {path}", code="namespace_not_found", path=path, errno=error.errno
        ) from None
    except OSError as error:
        raise failed(error, f"open namespace {path}") from error
    try:
        kind = fcntl.ioctl(fd, _NS_GET_NSTYPE)
    except OSError:
        kind = 0
    if kind == _CLONE_NEWNET:
        return fd
    os.close(fd)
    raise InvalidParameter(
        f"{path} is no network namespace: give a path like {RUN_DIRECTORY}/NAME or /proc/PID/ns/net",
        code="not_a_namespace",
        path=path,
    )


def write_sysctls(wanted: Sequence[tuple[str, str]], *, lasting: bool = True) -> None:
    """Write settings (path below ``/proc/sys/net``, value) of the calling thread's namespace, up to the first that fails.

    Not ``lasting``: the namespace has no name yet and goes with this process, so this is no action that changes the kernel for anybody.

    Raises:
        NotFound: this kernel, or this interface, has no such setting; ``index`` says which.
        InvalidParameter: the value is refused.
    """
    for index, (name, value) in enumerate(wanted):
        if lasting:
            transport.checkpoint("sysctl")
        try:
            place = settings()
            fd = _openat(place.directory, f"sys/net/{name}".encode(), os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(fd, value.encode())
            finally:
                os.close(fd)
        except OSError as error:
            raise refused(Refusal(index, error.errno or 0, ""), f"set net/{name} to {value!r}") from error


def read_sysctl(name: str) -> str | None:
    """Return a setting of the calling thread's namespace, its fields one space apart; ``None`` if there is none."""
    place = settings()
    return read_file(f"/proc/self/fd/{place.directory}/sys/net/{name}")


def read_file(path: str) -> str | None:
    """Return the text of a small file, its fields one space apart; ``None`` if there is none."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # a third of what `open` takes
    except OSError:
        return None
    try:
        text = b"".join(iter(lambda: os.read(fd, 1 << 16), b""))
    except OSError:
        return None
    finally:
        os.close(fd)
    return " ".join(text.decode(errors="replace").split())


def lacking_privilege() -> list[str]:
    """Return which of the capabilities that it takes to manage networks the calling thread has not, by name."""
    status = Path("/proc/thread-self/status").read_text(encoding="ascii", errors="replace").splitlines()
    effective = next((int(line.split()[1], 16) for line in status if line.startswith("CapEff:")), 0)
    return [name for name, bit in _CAPABILITIES.items() if not effective >> bit & 1]


def has_its_own_machine() -> bool:
    """Return whether the capabilities of the calling thread are over its mounts and its network, and names can be made.

    In a user namespace (``unshare --map-root-user``) one may have every capability, over things that belong to others.
    """
    for kind in ("mnt", "net"):
        try:
            with open(f"/proc/thread-self/ns/{kind}", "rb") as file:  # noqa: PTH123 (as the others here)
                os.close(fcntl.ioctl(file, _NS_GET_USERNS))
        except OSError:  # it belongs to a user namespace that is not ours, nor within ours (ioctl_nsfs(2))
            return False
    return os.access(next(each for each in (RUN_DIRECTORY, "/run", "/") if os.path.isdir(each)), os.W_OK)  # noqa: PTH112


def require_privilege() -> None:
    """Check the effective capabilities of the calling thread.

    Raises:
        Forbidden: one that is needed is lacking; it is named.
    """
    lacking = lacking_privilege()
    if lacking:
        raise Forbidden(
            f"managing networks as root needs {' and '.join(lacking)}: run as root, give the process these capabilities, or choose the "
            "privilege 'user'",
            code="no_privilege",
            lacking=tuple(lacking),
        )
