"""The process that owns an ordinary user's namespaces; run as a script by a bare interpreter: ``python -I -S keeper.py …``.

It is root in a user namespace, its own or the one that the host's namespace belongs to, has a ``/run`` of its own in which namespaces
have their names, and does for its clients what takes privilege there: it makes and names namespaces, opens sockets inside, writes
settings. Descriptors go to and fro over Unix sockets (``SCM_RIGHTS``); a netlink socket that was opened here may be driven by its
client, who has the same uid. When its last client is gone it ends, and with it everything that it owned; a shared one stays as
long as something has a name.

Division of labour: this is one end of the conversation, `dialogue` the other. A request is a marshalled tuple, the operation's name first;
an answer is (errno, value), errno 0 for success. One client, one request at a time; a client for each of a caller's threads.

May import: nothing but modules that a bare interpreter has at hand. It starts in 15 ms; `json` and `socket` would double that.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import marshal
import os
import select
import signal
import sys
import time
from _socket import (
    AF_INET,
    AF_NETLINK,
    CMSG_SPACE,
    MSG_CMSG_CLOEXEC,
    SCM_RIGHTS,
    SO_PEERCRED,
    SOCK_CLOEXEC,
    SOCK_DGRAM,
    SOCK_RAW,
    SOL_SOCKET,
    socket,
)

TYPE_CHECKING = False  # the one of `typing` takes 5 ms to load
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, NoReturn, TypeAlias

    Answer: TypeAlias = "tuple[object, list[int]]"

RUN = "/run"
NAMES = "/run/netns"
PROBE = "libnetwork-probe-"
"""How names begin of namespaces that somebody needs for a moment; see `probe`."""
_HERE = "/proc/self/ns/net"
_CLONE_NEWNS, _CLONE_NEWUSER, _CLONE_NEWNET = 0x20000, 0x10000000, 0x40000000
_NS_GET_USERNS = 0xB701
_MS_BIND, _MNT_DETACH = 4096, 2
_PR_SET_PDEATHSIG = 1
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1
_MOST_BYTES, _MOST_DESCRIPTORS = 1 << 20, 8
_ROUNDS = 200

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_void_p)


def _call(name: str, *arguments: object) -> None:
    if getattr(_libc, name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


class _SysctlError(Exception):
    """A setting was refused: errno, and which one."""


# where it lives


def _settle(host: int, uid: int, gid: int) -> None:
    """Become root in a user namespace with a ``/run`` of our own, at home in the host's network namespace (-1: a new one)."""
    if host < 0:
        _call("unshare", _CLONE_NEWUSER)
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"0 {uid} 1")
        _write("/proc/self/gid_map", f"0 {gid} 1")
        _call("unshare", _CLONE_NEWNS | _CLONE_NEWNET)
        _raise_loopback()
    else:
        owner = fcntl.ioctl(host, _NS_GET_USERNS)
        _call("setns", owner, _CLONE_NEWUSER)
        os.close(owner)
        _call("unshare", _CLONE_NEWNS)
        _call("setns", host, _CLONE_NEWNET)
        os.close(host)
    _call("mount", b"none", RUN.encode(), b"tmpfs", 0, b"mode=755")
    os.mkdir(NAMES, 0o755)  # noqa: PTH102 (pathlib takes 5 ms to load)


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def _raise_loopback() -> None:
    ask = socket(AF_INET, SOCK_DGRAM)
    fcntl.ioctl(ask.fileno(), _SIOCSIFFLAGS, b"lo".ljust(16, b"\0") + _IFF_UP.to_bytes(2, sys.byteorder) + bytes(22))
    ask.close()


def _identity(path: str) -> tuple[int, int]:
    status = os.stat(path)  # noqa: PTH116 (as above)
    return status.st_dev, status.st_ino


# what it does


class Keeper:
    """Owns namespaces and answers clients, until the last one is gone.

    Args:
        listener: Where further clients come from; ``None``: a keeper of one caller.
        owns_host: Whether the host's namespace is its own making.
    """

    def __init__(self, listener: socket | None, *, owns_host: bool) -> None:
        self._listener, self._owns_host = listener, owns_host
        self._home = os.open(_HERE, os.O_RDONLY | os.O_CLOEXEC)
        self._user = _identity("/proc/self/ns/user")
        self._made: set[tuple[int, int]] = {_identity(_HERE)} if owns_host else set()
        self._clients: dict[int, socket] = {}
        self._poll = select.poll()
        self.outside: str | None = None
        self._released = False
        self._estate: tuple[int, str] | None = None
        if listener is not None:
            self._poll.register(listener.fileno(), select.POLLIN)

    def serve(self, first: socket) -> None:
        """Answer until there is nobody left to answer."""
        self._add(first)
        while self._clients or self._is_kept():
            for fd, _ in self._poll.poll():
                if self._listener is not None and fd == self._listener.fileno():
                    self._accept(self._listener)
                elif fd in self._clients:
                    self._attend(self._clients[fd])

    def end(self) -> None:
        """End what still runs in our namespaces, unless the caller has taken its leave: whoever started it is dead."""
        if self._released or self._listener is not None:
            return
        for _ in range(_ROUNDS):
            if not [pid for pid in os.listdir("/proc") if pid.isdigit() and self._kill(int(pid))]:  # noqa: PTH208 (as above)
                break
            time.sleep(0.005)
        if self._estate is not None:
            above, name = self._estate
            _remove(f"/proc/self/fd/{above}/{name}")

    def _kill(self, pid: int) -> bool:
        try:
            inside = _identity(f"/proc/{pid}/ns/net") in self._made and _identity(f"/proc/{pid}/ns/user") == self._user
            if not inside or pid == os.getpid():
                return False
            os.kill(pid, signal.SIGKILL)
        except OSError:
            return False
        return True

    def _is_kept(self) -> bool:
        """Whether a shared keeper still has something: a named namespace, or a link beside the host's loopback."""
        if self._listener is None:
            return False
        with open("/proc/self/net/dev", encoding="ascii") as file:  # noqa: PTH123 (as above)
            links = len(file.readlines()) - 2
        ours = links > (2 if self.outside == "" else 1)
        names = os.listdir(NAMES)  # noqa: PTH208 (as above)
        for name in names:
            if name.startswith(PROBE):  # whoever was trying the kernel's features there is dead
                self.do_remove([], f"{NAMES}/{name}")
        return not all(name.startswith(PROBE) for name in names) or (ours and self._owns_host)

    def _accept(self, listener: socket) -> None:
        fd, _ = listener._accept()  # type: ignore[attr-defined]  # noqa: SLF001 (all there is without `socket`)
        client = socket(fileno=fd)
        os.set_inheritable(fd, False)
        theirs = client.getsockopt(SOL_SOCKET, SO_PEERCRED, 12)[4:8]
        if theirs == os.getuid().to_bytes(4, sys.byteorder):
            self._add(client)
            _send(client, (0, os.getpid()), [])
        else:
            client.close()

    def _add(self, client: socket) -> None:
        self._clients[client.fileno()] = client
        self._poll.register(client.fileno(), select.POLLIN)

    def _drop(self, client: socket) -> None:
        self._poll.unregister(client.fileno())
        del self._clients[client.fileno()]
        client.close()

    def _attend(self, client: socket) -> None:
        try:
            data, given = _receive(client)
        except OSError:
            data, given = b"", []
        if not data:
            self._drop(client)
            return
        try:
            operation, *arguments = marshal.loads(data)  # noqa: S302 (only our own uid can send)
            if operation == "dial":
                self._add(socket(fileno=given.pop()))
                return
            answer, taken = self._answer(operation, arguments, given)
            try:
                _send(client, answer, taken)
            except OSError:
                self._drop(client)
            for fd in taken:
                os.close(fd)
        finally:
            for fd in given:
                os.close(fd)

    def _answer(self, operation: str, arguments: Sequence[object], given: list[int]) -> tuple[object, list[int]]:
        try:
            function: Callable[..., Answer] = getattr(self, f"do_{operation}")
            value, taken = function(given, *arguments)
        except _SysctlError as error:
            number, index = error.args
            return (number, index), []
        except OSError as error:
            return (error.errno or errno.EIO, None), []
        return (0, value), taken

    # the operations: descriptors given and arguments → a value and descriptors, which are closed when they are sent

    def do_make(self, given: list[int], path: str, sysctls: Sequence[tuple[str, str]]) -> Answer:
        """Make a namespace; give it a name unless ``path`` is empty. Returns a descriptor and a netlink socket inside."""
        if path:
            os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444))
        try:
            fd, sock = self._new(sysctls)
            if path:
                self._name(fd, path)
        except BaseException:
            if path:
                os.unlink(path)  # noqa: PTH108 (as above)
            raise
        return None, [fd, sock]

    def do_name(self, given: list[int], path: str) -> Answer:
        """Give the namespace behind a descriptor a name."""
        os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444))
        self._name(given[0], path)
        return None, []

    def do_remove(self, given: list[int], path: str) -> Answer:
        """Take a name away; what is gone is gone."""
        try:
            _call("umount2", path.encode(), _MNT_DETACH)
        except OSError as error:
            if error.errno not in {errno.EINVAL, errno.ENOENT}:
                raise
        try:  # noqa: SIM105 (contextlib takes 3 ms to load)
            os.unlink(path)  # noqa: PTH108 (as above)
        except FileNotFoundError:
            pass
        return None, []

    def do_sockets(self, given: list[int], family: int, kind: int, protocol: int, count: int) -> Answer:
        """Open sockets in the namespace behind a descriptor (none: the host's)."""
        opened: list[socket] = []

        def work() -> None:
            for _ in range(count):
                opened.append(socket(family, kind | SOCK_CLOEXEC, protocol))  # noqa: PERF401 (kept on failure, to be closed)

        self._inside(given, work)
        return None, [each.detach() for each in opened]

    def do_write(self, given: list[int], settings: Sequence[tuple[str, str]]) -> Answer:
        """Write settings below ``/proc/sys/net``, in order, up to the first that fails."""
        self._inside(given, lambda: _write_sysctls(settings))
        return None, []

    def do_read(self, given: list[int], paths: Sequence[str]) -> Answer:
        """Read small files that show the network namespace of who reads them; ``None`` for one that cannot be read."""
        found: list[bytes | None] = []
        self._inside(given, lambda: found.extend(_read(path) for path in paths))
        return found, []

    def do_outside(self, given: list[int]) -> Answer:
        """Return what keeps pasta from leading outside: empty for nothing; ``None`` where it was not asked to."""
        return self.outside, []

    def do_inherit(self, given: list[int], name: str) -> Answer:
        """Remove a directory, ``name`` below the one that a descriptor is of, if the caller dies."""
        self._estate = os.dup(given[0]), name
        return None, []

    def do_release(self, given: list[int]) -> Answer:
        """Let what runs in our namespaces live when the caller goes. Returns how many clients there are."""
        self._released = True
        return len(self._clients), []

    def _new(self, sysctls: Sequence[tuple[str, str]]) -> tuple[int, int]:
        _call("unshare", _CLONE_NEWNET)
        fd = -1
        try:
            _write_sysctls(sysctls)
            fd = os.open(_HERE, os.O_RDONLY | os.O_CLOEXEC)
            sock = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0).detach()
            self._made.add(_identity(_HERE))
        except BaseException:
            if fd >= 0:
                os.close(fd)
            raise
        finally:
            self._go_home()
        return fd, sock

    def _name(self, fd: int, path: str) -> None:
        _call("mount", b"/proc/self/fd/%d" % fd, path.encode(), b"none", _MS_BIND, None)

    def _inside(self, given: list[int], work: Callable[[], object]) -> None:
        if given:
            _call("setns", given[0], _CLONE_NEWNET)
        try:
            work()
        finally:
            if given:
                self._go_home()

    def _go_home(self) -> None:
        try:
            _call("setns", self._home, _CLONE_NEWNET)
        except OSError:  # nobody must be served from the wrong namespace
            os._exit(1)


def _write_sysctls(settings: Sequence[tuple[str, str]]) -> None:
    for index, (name, value) in enumerate(settings):
        try:
            _write(f"/proc/sys/net/{name}", value)
        except OSError as error:
            raise _SysctlError(error.errno, index) from None


def _read(path: str) -> bytes | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return os.read(fd, 1 << 16)
    except OSError:
        return None
    finally:
        os.close(fd)


def _remove(path: str) -> None:
    """Remove a directory and what is in it; what cannot be removed stays."""
    try:
        for entry in list(os.scandir(path)):
            if entry.is_dir(follow_symlinks=False):
                _remove(entry.path)
            else:
                os.unlink(entry.path)  # noqa: PTH108 (as above)
        os.rmdir(path)  # noqa: PTH106 (as above)
    except OSError:
        return


# descriptors over sockets


def _send(client: socket, answer: Any, descriptors: Sequence[int]) -> None:
    packed = b"".join(fd.to_bytes(4, sys.byteorder) for fd in descriptors)
    client.sendmsg([marshal.dumps(answer, 2)], [(SOL_SOCKET, SCM_RIGHTS, packed)] if packed else [])


def _receive(client: socket) -> tuple[bytes, list[int]]:
    room = CMSG_SPACE(4 * _MOST_DESCRIPTORS)
    data, ancillary, _, _ = client.recvmsg(_MOST_BYTES, room, MSG_CMSG_CLOEXEC)
    found: list[int] = []
    for level, kind, packed in ancillary:
        if (level, kind) == (SOL_SOCKET, SCM_RIGHTS):
            found += [int.from_bytes(packed[at : at + 4], sys.byteorder) for at in range(0, len(packed) & ~3, 4)]
    return data, found


# the outside


class Outside:
    """``pasta``, which leads the host's namespace to the network where the caller is; it ends with the keeper.

    It has to start out there, where the keeper was before it moved. So it is forked early and executed when the namespaces are there.

    Args:
        program: Path of pasta.
    """

    def __init__(self, program: str) -> None:
        waiting, self._go = os.pipe()
        self._ready, ready = os.pipe()
        self._said, said = os.pipe()
        keeper = os.getpid()
        self._pid = os.fork()
        if not self._pid:
            _follow(keeper)
            os.close(self._go)
            os.read(waiting, 1)
            os.dup2(said, 2)
            os.set_inheritable(ready, True)
            places = ["--userns", f"/proc/{keeper}/ns/user", "--netns", f"/proc/{keeper}/ns/net"]
            closed = [word for option in "tuTU" for word in (f"-{option}", "none")]
            runas = ["--runas", "0:0"] if not os.getuid() else []
            words = ["-f", "-q", "--config-net", "--no-map-gw", *closed, *runas, "-P", f"/proc/self/fd/{ready}"]
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # some versions take it for an error that it is ignored
            os.execv(program, ["pasta", *words, *places])  # noqa: S606 (what it is for)
        for fd in (waiting, ready, said):
            os.close(fd)
        self.state = ""

    def lead(self) -> None:
        """Let it begin, and wait until it leads outside or has given up; ``state`` is what it said then, empty if it works."""
        os.write(self._go, b"!")
        if os.read(self._ready, 32):
            return
        said = os.read(self._said, 4096).decode(errors="replace").split("\n")
        self.state = "; ".join(line for line in said if line and "syslog" not in line) or "pasta ended"

    def end(self) -> None:
        """End it."""
        try:
            os.kill(self._pid, signal.SIGKILL)
        except OSError:
            return


def _follow(parent: int) -> None:
    """Die when the parent dies."""
    _call("prctl", _PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def main(control: str, listener: str, host: str, program: str = "") -> NoReturn:
    """Serve the client behind the descriptor ``control``, and those that come to ``listener``, over the host's namespace.

    Args:
        control: Number of a descriptor; a socket.
        listener: Likewise; -1 for a keeper of one caller.
        host: Likewise; a network namespace, or -1 for a new one.
        program: Path of pasta, if it shall lead outside.
    """
    if os.fork():  # nobody's child: no caller has to reap it, and none that reaps all its children meets it
        os._exit(0)
    client = socket(fileno=int(control))
    uid, gid = os.geteuid(), os.getegid()
    os.chdir("/")
    for fd in map(int, (control, listener, host)):
        if fd >= 0:
            os.set_inheritable(fd, False)
    outside = Outside(program) if program else None
    try:
        _settle(int(host), uid, gid)
        keeper = Keeper(socket(fileno=int(listener)) if int(listener) >= 0 else None, owns_host=int(host) < 0)
    except OSError as error:
        _send(client, (error.errno, None), [])
        os._exit(1)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    try:
        _send(client, (0, os.getpid()), [])
        if outside is not None:
            outside.lead()
            keeper.outside = outside.state
        keeper.serve(client)
    finally:
        keeper.end()
        if outside is not None:
            outside.end()
    sys.exit()


if __name__ == "__main__":
    main(*sys.argv[1:])
