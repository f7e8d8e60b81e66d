"""Runs a Python function inside an ordinary user's sandbox: in a forked child, for the caller's own process can never go there.

A process with several threads cannot enter a user namespace (setns(2): ``EINVAL``). So the caller is forked: the child has one thread, all
that the function refers to is there, and nothing has to be carried in. What it returns or raises is pickled and carried out;
sockets among it come out as descriptors. What it changes in memory stays in the child.

May import: transport, errors.
"""

from __future__ import annotations

import ctypes
import errno
import io
import os
import pickle
import signal
import socket
import struct
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from ..errors import InvalidParameter, Unavailable
from .transport import failed

T = TypeVar("T")

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_LENGTH = struct.Struct("=QH")
"""Of what an answer begins with: how many bytes follow, and how many descriptors come with them."""
_MOST_DESCRIPTORS = 250
"""How many descriptors the kernel passes in one message, a few less (``SCM_MAX_FD``)."""

_libc = ctypes.CDLL(None, use_errno=True)


def visit(user: int, network: int, function: Callable[[], T]) -> T:
    """Call a function inside.

    Args:
        user: Descriptor of the user namespace.
        network: Descriptor of the network namespace.
        function: What to call. It may block, open sockets and return them; it finds no other thread of the caller's.

    Raises:
        InvalidParameter: ``cannot_leave``: what it returned or raised cannot be pickled.
        Unavailable: ``visitor_died``: the child has ended without an answer.
    """
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            _flush()  # else the child would print it again
            child = _fork()
            if not child:
                _stay(user, network, function, theirs)
        with _reaped(child):
            answer, sockets = _receive(ours)
    returned, value = _Unpickler(io.BytesIO(answer), sockets).load()
    if returned:
        result: T = value
        return result
    raise value


def _fork() -> int:
    with warnings.catch_warnings():
        # Python 3.12 on: other threads' locks stay locked in the child. It enters a namespace, calls the function and ends.
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # closed, or none
            stream.flush()


@contextmanager
def _reaped(child: int) -> Iterator[None]:
    """Wait for the child's end; kill it if the answer is not waited for."""
    try:
        yield
    except BaseException:
        os.kill(child, signal.SIGKILL)
        raise
    finally:
        with suppress(ChildProcessError):  # somebody reaps everything
            os.waitpid(child, 0)


def _stay(user: int, network: int, function: Callable[[], object], answer: socket.socket) -> None:
    """Be the child: never returns."""
    try:
        try:
            for fd, kind in ((user, _CLONE_NEWUSER), (network, _CLONE_NEWNET)):
                if _libc.setns(fd, kind):
                    raise failed(OSError(ctypes.get_errno(), ""), "enter the sandbox")
            outcome = True, function()
        except BaseException as error:  # noqa: BLE001 (carried to the caller)
            error.add_note(f"in the sandbox:\n{traceback.format_exc()}")
            outcome = False, error
        _flush()
        _send(answer, *_pickled(outcome))
    finally:
        os._exit(0)


# carrying things out


def _pickled(outcome: tuple[bool, object]) -> tuple[bytes, list[int]]:
    try:
        return _pickle(outcome)
    except BaseException as error:  # noqa: BLE001 (any object may refuse in any way)
        what = "returned" if outcome[0] else "raised"
        refusal = InvalidParameter(
            f"what the function {what}, {outcome[1]!r:.200}, cannot be carried out of the sandbox: without root it runs in a "
            f"process of its own, so let it return plain values or sockets ({error})",
            code="cannot_leave",
        )
        return _pickle((False, refusal))


def _pickle(outcome: object) -> tuple[bytes, list[int]]:
    buffer = io.BytesIO()
    pickler = _Pickler(buffer)
    pickler.dump(outcome)
    return buffer.getvalue(), pickler.descriptors


class _Pickler(pickle.Pickler):
    """Leaves sockets out and notes their descriptors."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self.descriptors: list[int] = []

    def persistent_id(self, obj: object) -> tuple[int, int, int, int, float | None] | None:
        if not isinstance(obj, socket.socket):
            return None
        self.descriptors.append(obj.fileno())
        return len(self.descriptors) - 1, obj.family, obj.type, obj.proto, obj.gettimeout()


class _Unpickler(pickle.Unpickler):
    """Puts sockets in."""

    def __init__(self, file: io.BytesIO, descriptors: Sequence[int]) -> None:
        super().__init__(file)
        self._descriptors = descriptors

    def persistent_load(self, pid: Any) -> socket.socket:
        place, family, kind, protocol, timeout = pid
        found = socket.socket(family, kind, protocol, self._descriptors[place])
        found.settimeout(timeout)
        return found


def _send(answer: socket.socket, data: bytes, descriptors: Sequence[int]) -> None:
    answer.sendall(_LENGTH.pack(len(data), len(descriptors)))
    for first in range(0, len(descriptors), _MOST_DESCRIPTORS):
        socket.send_fds(answer, [b"\0"], descriptors[first : first + _MOST_DESCRIPTORS])
    answer.sendall(data)


def _receive(answer: socket.socket) -> tuple[bytes, list[int]]:
    head = answer.recv(_LENGTH.size)
    length, count = _LENGTH.unpack(head) if len(head) == _LENGTH.size else (0, 0)
    descriptors: list[int] = []
    for _ in range(0, count, _MOST_DESCRIPTORS):
        descriptors += socket.recv_fds(answer, 1, _MOST_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC)[1]
    if len(descriptors) < count:
        for each in descriptors:
            os.close(each)
        raise failed(
            OSError(errno.EMFILE, os.strerror(errno.EMFILE)), f"take the {count} sockets that the function returned"
        )
    data = bytearray()
    while len(data) < length and (more := answer.recv(min(length - len(data), 1 << 20))):
        data += more
    if not data or len(data) < length:
        raise Unavailable(
            "the process in which the function ran inside the sandbox has ended without an answer", code="visitor_died"
        )
    return bytes(data), descriptors
