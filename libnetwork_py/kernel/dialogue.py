"""Conversation with the helper process that owns an ordinary user's namespaces: start it or find it, ask, get descriptors back.

Division of labour: this is one end, `keeper` the other; what is asked for is the business of `user`. A question goes over a line of its
own, a Unix socket of message boundaries; lines are dialled when needed and kept. So several threads ask at the same time, and a
forked child dials its own. When every line is closed, by whatever death, the helper process ends.

May import: forbidden, joining, errors.
"""

from __future__ import annotations

import array
import fcntl
import marshal
import os
import select
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from ..errors import Unavailable
from . import keeper
from .forbidden import no_user_namespace
from .joining import aside

Answer: TypeAlias = tuple[Any, list[int]]
"""What was answered, and descriptors that the caller owns."""

_MOST_BYTES, _MOST_DESCRIPTORS = 1 << 20, 253
_IDLE_LINES = 4
_END_SECONDS = 2.0


class Dialogue:
    """A helper process of ours.

    Args:
        control: The first line to it. Nothing is answered there, so a forked child may use it at the same time.
        private: Whether the process is this caller's alone and ends with it.

    Attributes:
        pid: The process's number.
    """

    def __init__(self, control: socket.socket, *, private: bool) -> None:
        self._control, self._private = control, private
        self._owner = self._pid = os.getpid()
        self._lines: list[socket.socket] = []
        try:
            self.pid: int = _answer(control)[0]
        except BaseException:
            control.close()
            raise

    def ask(self, operation: str, *arguments: object, descriptors: Sequence[int] = ()) -> Answer:
        """Ask and wait for the answer.

        Raises:
            OSError: as the system call that failed; for a setting, ``filename`` is its place in the list.
            Unavailable: ``helper_gone``: the process has ended.
        """
        return self.begin(operation, *arguments, descriptors=descriptors)()

    def begin(self, operation: str, *arguments: object, descriptors: Sequence[int] = ()) -> Callable[[], Answer]:
        """Ask; the caller goes on, and gets the answer by calling what is returned, once."""
        line = self._line()
        try:
            _say(line, (operation, *arguments), descriptors)
        except OSError as error:
            line.close()
            raise _gone() from error
        return partial(self._finish, line)

    def close(self) -> None:
        """Hang up. The process that opened it takes its leave first, so that programs inside outlive it, and waits for the end."""
        end = -1
        if os.getpid() == self._owner:
            with suppress(OSError, Unavailable):
                end = os.pidfd_open(self.pid)
                others = self.ask("release")[0] - len(self._lines) - 1
                if others > 0 or not self._private:
                    os.close(end)
                    end = -1
        self._fresh()
        for line in (*self._lines, self._control):
            line.close()
        self._lines.clear()
        if end >= 0:
            select.select([end], [], [], _END_SECONDS)
            os.close(end)

    def _fresh(self) -> None:
        """After a fork, leave the parent's lines to the parent: answers must not be stolen."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            for line in self._lines:
                line.close()
            self._lines = []

    def _line(self) -> socket.socket:
        self._fresh()
        with suppress(IndexError):
            return self._lines.pop()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                _say(self._control, ("dial",), [theirs.fileno()])
            except OSError as error:
                ours.close()
                raise _gone() from error
        return ours

    def _finish(self, line: socket.socket) -> Answer:
        try:
            answer = _answer(line)
        except OSError:
            self._keep(line)
            raise
        except BaseException:  # interrupted, or gone: an answer that comes later must not be taken for another one's
            line.close()
            raise
        self._keep(line)
        return answer

    def _keep(self, line: socket.socket) -> None:
        if len(self._lines) < _IDLE_LINES and self._pid == os.getpid():
            self._lines.append(line)
        else:
            line.close()


def private(host: int, pasta: str) -> Dialogue:
    """Start a helper process that lives no longer than its caller.

    Args:
        host: A descriptor of the namespace that plays the host; -1: a new one.
        pasta: Path of the program that leads outside; empty: none.

    Raises:
        Forbidden: user namespaces are not to be had here, or the host's namespace is not this user's.
    """
    return _started(host, None, pasta)


def shared(host: int, directory: Path, pasta: str) -> Dialogue:
    """Return the helper process of a state directory: all its controllers have one, which stays while anything has a name.

    Args:
        host: See `private`; where the process is there already, it has its host's namespace.
        pasta: See `private`.
        directory: The state directory. Files ``keeper`` (a socket) and ``keeper.lock`` are made in it.
    """
    lock = os.open(directory / "keeper.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        place = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            return _found(place) or _listening(host, place, pasta)
        finally:
            os.close(place)
    finally:
        os.close(lock)


def _found(place: int) -> Dialogue | None:
    line = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        line.connect(f"/proc/self/fd/{place}/keeper")  # a socket's path takes 107 bytes
        return Dialogue(line, private=False)
    except (OSError, Unavailable):
        line.close()
        return None


def _listening(host: int, place: int, pasta: str) -> Dialogue:
    with suppress(FileNotFoundError):
        os.unlink("keeper", dir_fd=place)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(f"/proc/self/fd/{place}/keeper")
        listener.listen(64)
        return _started(host, listener, pasta)


def _started(host: int, listener: socket.socket | None, pasta: str) -> Dialogue:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    wanted = (theirs.fileno(), listener.fileno() if listener is not None else -1, host)
    with theirs, aside([fd for fd in wanted if fd >= 0]) as given:
        moved = iter(given)
        places = [*(str(next(moved) if fd >= 0 else -1) for fd in wanted), pasta]
        try:
            subprocess.run(
                [sys.executable, "-I", "-S", keeper.__file__, *places], pass_fds=given, start_new_session=True, check=True,
                cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
        except (OSError, subprocess.CalledProcessError) as error:
            ours.close()
            raise Unavailable(
                f"cannot start {sys.executable or 'Python'} for the process that owns the namespaces: {error}",
                code="no_helper",
            ) from error
    try:
        return Dialogue(ours, private=listener is None)
    except OSError as error:
        raise no_user_namespace(error.errno or 0, of_host=host >= 0) from error


def _say(line: socket.socket, what: Any, descriptors: Sequence[int]) -> None:
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
    line.sendmsg([marshal.dumps(what, 2)], rights)


def _answer(line: socket.socket) -> Answer:
    """Read one answer.

    Raises:
        OSError: it says that the operation failed.
        Unavailable: there is none, because there is nobody.
    """
    try:
        data, descriptors, _, _ = socket.recv_fds(line, _MOST_BYTES, _MOST_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC)
    except ConnectionError as error:
        raise _gone() from error
    if not data:
        raise _gone()
    number, value = marshal.loads(data)  # noqa: S302 (from a process of our own)
    if number:
        raise OSError(number, os.strerror(number), value)
    return value, descriptors


def _gone() -> Unavailable:
    return Unavailable(
        "the helper process that owned the namespaces has ended, and they with it: close this controller and open another",
        code="helper_gone",
    )
