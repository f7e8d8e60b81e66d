"""One process beside the controllers of a state directory: found where it runs, started where it does not, started again when it dies.

Division of labour: `Child` knows processes and Unix sockets and nothing of what is said over them; who uses one gives it a program and
tells it everything again when `on_death` is called.

The program is a package that needs only the standard library and itself, so that it starts in 15 ms: its module ``process`` has a function
``main``, called with the arguments, which forks at once and ends in the parent. The socket that it listens on (``SOCK_SEQPACKET``) is
descriptor 0. Whoever starts it connects at once: what is said to it before it
is up waits in the socket, and so nobody waits for it. It belongs to the directory, not to who started it: controllers that
share the directory share the process, and it is told by the end of its last line that nobody is left.

One that is stopped takes connections and answers nobody; it is killed within two seconds, as if it had died.

May import: opener, stopped, transport, errors.
"""

from __future__ import annotations

import fcntl
import os
import select
import shlex
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from ..desired import HOST
from ..errors import Unavailable
from .stopped import Processes
from .transport import failed

if TYPE_CHECKING:
    from .opener import Opener

DESCRIPTORS_MAX = 250
"""How many descriptors one message carries (``SCM_MAX_FD`` is 253)."""
_MESSAGE_MAX = 1 << 18
_DEATHS, _PERIOD = 5, 10.0
"""So many deaths within so many seconds, and it is started again only after as many."""
_PATIENCE = 10.0
"""Seconds that an answer may take; a program that is only starting is given them too."""
_LOOK = 1.0
"""Seconds between two looks whether the process is stopped: seen twice in a row, it is killed."""


class Line:
    """A connection to a child."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        sock.settimeout(_PATIENCE)

    def fileno(self) -> int:
        """The descriptor, to wait for."""
        return self._sock.fileno()

    def say(self, message: bytes, descriptors: Sequence[int] = ()) -> None:
        """Send one message; the other side gets copies of the descriptors.

        Raises:
            OSError: the child is dead, or does not read.
        """
        if descriptors:
            socket.send_fds(self._sock, [message], list(descriptors))
        else:
            self._sock.send(message)

    def heard(self) -> bool:
        """Whether a message waits, or the end."""
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        return bool(poll.poll(0))

    def hear(self) -> bytes:
        """Return the next message.

        Raises:
            OSError: the child is dead, or does not answer.
        """
        message = self._sock.recv(_MESSAGE_MAX)
        if not message:
            raise ConnectionResetError("the process ended")
        return message

    def close(self, *, patience: float = 2.0) -> bool:
        """Say that no more will come, and wait until the child has taken notice, or has ended if it was the last line.

        Returns:
            Whether it has.
        """
        try:
            self._sock.settimeout(patience)
            self._sock.shutdown(socket.SHUT_WR)
            while self._sock.recv(_MESSAGE_MAX):
                pass
        except OSError as error:
            return not isinstance(error, TimeoutError)
        else:
            return True
        finally:
            self._sock.close()


_RUN = "import sys; sys.path.append(sys.argv[1]); __import__(sys.argv[2] + '.process', fromlist=['main']).main(sys.argv[3:])"


@frozen
class Program:
    """What a child runs: a package, by its folder, with arguments. Its name is that of its socket in the state directory too."""

    package: Path
    arguments: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The folder's."""
        return self.package.name

    @property
    def argv(self) -> list[str]:
        """The command line."""
        return [sys.executable, "-I", "-S", "-c", _RUN, str(self.package.parent), self.name, *self.arguments]


class Child:
    """The process of one program for one state directory.

    Args:
        opener: Starts it in the host's namespace.
        directory: The state directory: its socket is there.
        program: What it runs.
        on_death: Called on a thread of its own when the process has ended although nobody closed the line; where it was not started
            again, for it had died too often, once more after a while.

    Attributes:
        starts: How often it was started from here: one that was is to be told everything.
    """

    def __init__(self, opener: Opener, directory: Path, program: Program, on_death: Callable[[], object]) -> None:
        self._opener, self._directory, self._program, self._name = opener, directory, program, program.name
        self._on_death = on_death
        self._processes = Processes([self._name, *(each for each in program.arguments if str(directory) in each)])
        self._line: Line | None = None
        self._pid = os.getpid()
        self._deaths: list[float] = []
        self._closed = threading.Event()
        self.starts = 0

    def find(self) -> Line | None:
        """Return the line to the process if it runs."""
        line = self._held()
        if line is None:
            with self._place() as place:
                sock = _connected(place)
            line = self._attach(sock) if sock else None
        return line

    def reach(self) -> Line:
        """Return the line to the process, started if it does not run.

        Raises:
            Unavailable: it has died too often, or cannot be started.
        """
        line = self._held()
        if line is not None:
            return line
        with self._place() as place:
            sock = _connected(place)
            started = None
            if sock is None:
                sock, started = self._start(place)
        return self._attach(sock, started)

    def lost(self) -> None:
        """Say that the line has failed: the next to ask gets a new one."""
        line, self._line = self._line, None
        if line is not None and self._pid == os.getpid():
            line.close(patience=0)

    def close(self) -> None:
        """Hang up. The process decides itself what that means."""
        self._closed.set()
        line, self._line = self._line, None
        if line is not None and self._pid == os.getpid() and not line.close():
            self._processes.kill_if_stopped()

    def _held(self) -> Line | None:
        if self._pid != os.getpid():  # the line is the parent's
            self._pid, self._line = os.getpid(), None
        return self._line

    @contextmanager
    def _place(self) -> Iterator[str]:
        """The socket's path while nobody else starts the process, by way of ``/proc``: a path of a socket has 107 bytes at most."""
        fd = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield f"/proc/self/fd/{fd}/{self._name}"
        finally:
            fcntl.flock(fd, fcntl.LOCK_UN)
            os.close(fd)

    def _start(self, place: str) -> tuple[socket.socket, subprocess.Popen[bytes]]:
        self._deaths = [each for each in self._deaths if each > time.monotonic() - _PERIOD]
        if len(self._deaths) >= _DEATHS:
            raise Unavailable(
                f"the {self._name} process died {_DEATHS} times in {_PERIOD:g} s: try `{shlex.join(self._program.argv)}`",
                code="child_dies", name=self._name,
            )  # fmt: skip
        with suppress(FileNotFoundError):
            os.unlink(place)  # noqa: PTH108 (a path by way of a descriptor)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(place)
            listener.listen()
            try:
                process = self._opener.popen(
                    HOST, self._program.argv, stdin=listener, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                    start_new_session=True, cwd="/", env={},
                )  # fmt: skip
            except OSError as error:
                raise failed(error, f"start the {self._name} process") from error
            sock = _connected(place)
        assert sock is not None, "it listens"
        self.starts += 1
        return sock, process

    def _attach(self, sock: socket.socket, started: subprocess.Popen[bytes] | None = None) -> Line:
        self._closed.clear()
        line = self._line = Line(sock)
        arguments = (line, os.dup(line.fileno()), started)
        threading.Thread(target=self._watch, args=arguments, name=f"libnetwork-{self._name}", daemon=True).start()
        return line

    def _watch(self, line: Line, fd: int, started: subprocess.Popen[bytes] | None) -> None:
        """Wait for the end of the line, on a descriptor of our own, and say so if we did not end it."""
        try:
            if started is not None:
                started.wait()  # it forks at once: the process itself is nobody's child, and outlives this one
            poll = select.poll()
            poll.register(fd, select.POLLRDHUP)
            stopped = False
            while not poll.poll(_LOOK * 1000):
                before, stopped = stopped, self._processes.are_stopped()
                if before and stopped:
                    self._processes.kill_if_stopped()
        finally:
            os.close(fd)
        if self._line is line:
            self._deaths.append(time.monotonic())
            self.lost()
            self._on_death()
            often = self._line is None and len(self._deaths) >= _DEATHS
            if often and not self._closed.wait(_PERIOD) and self._line is None:  # nobody has started it meanwhile
                self._on_death()


def _connected(place: str) -> socket.socket | None:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        sock.connect(place)
    except (FileNotFoundError, ConnectionRefusedError):
        sock.close()
        return None
    except BaseException:
        sock.close()
        raise
    return sock
