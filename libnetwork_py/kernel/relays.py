"""What the kernel cannot translate, handed to one process per controller, the relay.

Division of labour: `Relays` makes `Relay` words so: it finds the sockets that keep the ports, lets them listen and hands them over;
`children` finds, starts and supervises the process, `relay` is its program.

The relay belongs to the state directory. That of a temporary controller ends with it, however it ends. That of a persistent one stays
while it has something to carry, so that what is published is reached while no controller runs; the next controller finds it, and
removes from it what is gone. A relay that dies is started again at once and told everything anew; no client is refused meanwhile,
for the sockets listen on in the controller.

May import: opener, children, transport, desired, types, errors.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from attrs import define

from ..desired import CALLER, HOST, Key, Relay
from ..errors import Conflict, Forbidden, LibnetworkError, Unavailable
from ..types import IPAddress, Protocol
from .children import DESCRIPTORS_MAX, Child, Line, Program
from .transport import failed

if TYPE_CHECKING:
    from .opener import Opener

PACKAGE = Path(__file__).with_name("relay")

FindGuard: TypeAlias = Callable[[Protocol, IPAddress, int], socket.socket | None]
"""Protocol, host address, port → the socket that keeps the port, if this process has one."""

_KINDS: dict[str, tuple[int, int]] = {
    "tcp": (socket.SOCK_STREAM, socket.IPPROTO_TCP),
    "udp": (socket.SOCK_DGRAM, socket.IPPROTO_UDP),
    "sctp": (socket.SOCK_STREAM, socket.IPPROTO_SCTP),
}
_BACKLOG = 512
_ROOM = 1 << 18
"""Bytes of datagrams that wait in a socket; the socket that only keeps a port has none to spare."""
_NONE_HERE = (errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT)
"""No IPv6, or no such protocol: nobody could come."""
_TRIES = 3


@define
class _Carried:
    """``own``: those of the sockets that were opened here, and are closed here."""

    word: Relay
    sockets: Sequence[socket.socket] = ()
    own: Sequence[socket.socket] = ()

    def close(self) -> None:
        for each in self.own:
            each.close()


class Relays:
    """The relay of one controller.

    Args:
        opener: Starts it, and opens sockets in the host's namespace.
    """

    def __init__(self, opener: Opener) -> None:
        self._opener = opener
        self._directory: Path | None = None
        self._own_directory: Path | None = None
        self._lasting = False
        self._guard: FindGuard = lambda *_: None
        self._child: Child | None = None
        self._lock = threading.RLock()
        self._pid = os.getpid()
        self._carried: dict[Key, _Carried] = {}
        self._starts = 0
        self._closed = False

    def attend(self, directory: Path | None, guard: FindGuard, *, lasting: bool) -> None:
        """Say where the relay is found; see `Kernel.attend`."""
        self._directory, self._guard, self._lasting = directory, guard, lasting

    def load(self, make: Sequence[Relay], remove: Sequence[Relay]) -> None:
        """Stop carrying and begin to carry; a word in both changes where it leads, and keeps its sockets.

        Raises:
            LibnetworkError: a port of ``make`` cannot be opened, or the relay cannot be started; nothing of ``make`` is carried.
        """
        with self._alone():
            coming = {word.key for word in make} if remove else set[Key]()
            self._drop([word for word in remove if word.key not in coming])
            if not make:
                return
            before = {word.key: self._carried.get(word.key) for word in make}
            staying = {word.key for word in remove} & coming
            try:
                for word in make:
                    self._carried[word.key] = self._ready(word, renewing=word.key in staying)
                self._tell([word.key for word in make])
            except BaseException:
                self._take_back(before)
                raise

    def renew(self, protocol: Protocol, address: IPAddress, port: int) -> None:
        """Exchange the sockets of what is carried at a port; see `Kernel.renew`."""
        with self._alone():
            found = [
                word
                for word in self.carried().values()
                if (word.protocol, word.host_ip) == (protocol, address) and port in word.ports
            ]
            self._drop(found)
            for word in found:
                self._carried[word.key] = self._open(word)
            if found:
                self._tell([word.key for word in found])

    def carried(self) -> dict[Key, Relay]:
        """Return what a running relay carries, by key; a relay is not started for that."""
        with self._alone():
            for _ in range(_TRIES):
                line = self._the_child().find() if self._directory or self._child else None
                if line is None:
                    return {}
                try:
                    found = {word.key: word for word in _listed(line)}
                except OSError:
                    self._the_child().lost()
                else:
                    self._remember(found)
                    return found
        return {}

    def _remember(self, found: Mapping[Key, Relay]) -> None:
        """Keep in mind what the relay carries for others, or since an earlier controller, in case it must be told again."""
        for key in [key for key, each in self._carried.items() if not each.sockets and key not in found]:
            del self._carried[key]
        for key, word in found.items():
            self._carried.setdefault(key, _Carried(word))

    def close(self) -> None:
        """Hang up; what that means to the relay, see the module."""
        with self._alone():
            self._closed = True
            if self._child is not None:
                self._child.close()
            for each in self._carried.values():
                each.close()
            self._carried.clear()
            if self._own_directory is not None:
                import shutil  # noqa: PLC0415 (needed by few)

                shutil.rmtree(self._own_directory, ignore_errors=True)

    def _alone(self) -> threading.RLock:
        if self._pid != os.getpid():  # whoever held it stayed with the parent
            self._pid, self._lock, self._child = os.getpid(), threading.RLock(), None
        return self._lock

    def _the_child(self) -> Child:
        if self._child is None:
            directory = self._directory
            if directory is None:  # a controller over a store of somebody else's
                import tempfile  # noqa: PLC0415 (needed by few)

                directory = self._own_directory = Path(tempfile.mkdtemp(prefix="libnetwork_py-"))
            program = Program(PACKAGE, ("stay" if self._lasting else "go", f"for {directory}"))
            self._child = Child(self._opener, directory, program, self._again)
        return self._child

    def _again(self) -> None:
        """Start a relay in place of one that died, and tell it everything."""
        with self._alone():
            if not self._carried or self._closed:
                return
            for key, each in self._carried.items():
                if not each.own:
                    with suppress(LibnetworkError):  # reconcile says what is not carried
                        self._carried[key] = self._open(each.word)
            with suppress(LibnetworkError):
                self._tell([])

    # sockets

    def _ready(self, word: Relay, *, renewing: bool) -> _Carried:
        """Return a run with listening sockets for its ports; with those it has, or none where the relay has them already.

        ``renewing``: the relay has the run. Where its sockets are in the way of those that keep the ports now, it lets go of them first.
        """
        before = self._carried.get(word.key)
        try:
            guards = self._guards(word)
        except Conflict:
            if not renewing:
                raise
            self._drop([word])
            return self._open(word)
        if None in guards and before and before.own and before.word.count == word.count:
            return _Carried(word, before.sockets, before.own)
        if None in guards and word.key in self.carried():
            return _Carried(word)
        return self._open(word, guards)

    def _guards(self, word: Relay) -> list[socket.socket | None]:
        if word.host_ip == CALLER:  # nothing keeps it: it is on another machine, as it were
            return [None for _ in word.ports]
        return [self._guard(word.protocol, word.host_ip, port) for port in word.ports]

    def _open(self, word: Relay, guards: Sequence[socket.socket | None] = ()) -> _Carried:
        """Let the sockets that keep the ports listen, and open those that are missing; none where nobody can come by such an address."""
        guards = guards or self._guards(word)
        sockets, own = [each for each in guards if each is not None], list[socket.socket]()
        if len(sockets) < word.count:
            own = self._bound(word, [port for port, guard in zip(word.ports, guards, strict=True) if guard is None])
            opened = iter(own)
            sockets = [each for guard in guards if (each := guard or next(opened, None)) is not None]
        if len(sockets) < word.count:
            return _Carried(word)
        for each in sockets:
            if word.protocol == "udp":
                each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _ROOM)
            else:
                # what connections leave behind when they have ended does not keep a later socket of ours from the port
                each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                each.listen(_BACKLOG)
        return _Carried(word, sockets, own)

    def _bound(self, word: Relay, ports: Sequence[int]) -> list[socket.socket]:
        """Open and bind, in the host's namespace; nothing where there is no such kind of address or protocol."""
        opened: list[socket.socket] = []
        port = 0
        try:
            for port in ports:
                opened.append(self._new(word))
                opened[-1].setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, word.host_ip != CALLER)
                opened[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, word.protocol == "tcp")
                opened[-1].bind((str(word.host_ip), port))
        except (OSError, LibnetworkError) as error:
            for each in opened:
                each.close()
            number = error.errno if isinstance(error, OSError) else error.data.get("errno")
            if number in _NONE_HERE:
                return []
            if isinstance(error, LibnetworkError):
                raise
            if word.host_ip == CALLER:
                raise _not_at_the_caller(error, word, port) from error
            raise failed(error, f"relay {word.protocol} port {port} of {word.host_ip}") from error
        return opened

    def _new(self, word: Relay) -> socket.socket:
        if word.host_ip == CALLER:
            return socket.socket(socket.AF_INET6, *_KINDS[word.protocol])
        # not the library's own worker: it may be waiting for whoever asks
        return self._opener.aside(lambda: self._opener.socket(HOST, socket.AF_INET6, *_KINDS[word.protocol])).settled()

    # what is said

    def _tell(self, keys: Sequence[Key]) -> None:
        """Tell the relay of some words; of all, if it was started just now."""
        for attempt in range(_TRIES):
            child = self._the_child()
            line = child.reach()
            fresh, self._starts = child.starts != self._starts, child.starts
            try:
                for message, sockets in _messages(
                    [self._carried[key] for key in (self._carried if fresh or attempt else keys)]
                ):
                    line.say(message, sockets)
            except OSError:
                child.lost()
            else:
                return
        raise Unavailable("the relay does not take what it is told", code="relay_unreachable")

    def _drop(self, words: Sequence[Relay]) -> None:
        for word in words:
            if (carried := self._carried.pop(word.key, None)) is not None:
                carried.close()
        keys = [[*word.key[2:4], word.port] for word in words]
        child = self._the_child() if words and (self._directory or self._child) else None
        line = child.find() if child else None
        if child is None or line is None:
            return
        try:
            for start in range(0, len(keys), 1000):
                line.say(json.dumps({"drop": keys[start : start + 1000]}).encode())
                line.hear()
        except OSError:  # dead, and what it carried with it
            child.lost()
            self._again()

    def _take_back(self, before: dict[Key, _Carried | None]) -> None:
        self._drop([each.word for key in before if (each := self._carried.get(key)) is not None])
        restored = [key for key, carried in before.items() if carried is not None]
        with suppress(LibnetworkError):
            self._carried.update(
                {key: self._open(carried.word) for key, carried in before.items() if carried is not None}
            )
            self._tell(restored)


def _not_at_the_caller(error: OSError, word: Relay, port: int) -> LibnetworkError:
    place = f"127.0.0.1:{port}/{word.protocol}"
    if error.errno == errno.EADDRINUSE:
        text = f"port {place} of your machine is in use by another process: stop it, or choose another host port"
        return Conflict(text, code="port_in_use", port=port, protocol=word.protocol, errno=error.errno)
    if error.errno in {errno.EACCES, errno.EPERM}:
        text = f"port {place} of your machine takes privilege: choose one from 1024 on, or open the controller without `localhost`"
        return Forbidden(text, code="privileged_port", port=port, protocol=word.protocol, errno=error.errno)
    return failed(error, f"publish at {place} of your machine")


def _messages(carried: Iterable[_Carried]) -> Iterator[tuple[bytes, list[int]]]:
    """What is said of words, in messages that carry as many descriptors as go into one."""
    runs: list[list[object]] = []
    fds: list[int] = []
    texts: dict[int, str] = {}
    for each in carried:
        word = each.word
        to = texts.get(id(word.to)) or texts.setdefault(id(word.to), str(word.to))
        head = [*word.key[2:4], word.port, word.count, to, word.to_port]
        sockets = [sock.fileno() for sock in each.sockets]
        if -1 in sockets:  # given back meanwhile
            sockets = []
        first = 0
        while True:
            some = sockets[first : first + DESCRIPTORS_MAX - len(fds)]
            runs.append([*head, first, len(some)])
            fds += some
            first += len(some)
            if len(fds) == DESCRIPTORS_MAX or len(runs) == DESCRIPTORS_MAX:
                yield _message(runs), fds
                runs, fds = [], []
            if first >= len(sockets):
                break
    if runs:
        yield _message(runs), fds


def _message(runs: list[list[object]]) -> bytes:
    return json.dumps({"set": runs}, separators=(",", ":")).encode()


def _listed(line: Line) -> Iterator[Relay]:
    line.say(b'{"list":0}')
    more = True
    while more:
        answer = json.loads(line.hear())
        for protocol, address, port, count, to, to_port, _ in answer["runs"]:
            yield Relay(HOST, protocol, ip_address(address), port, ip_address(to), to_port, count)
        more = answer["more"]
