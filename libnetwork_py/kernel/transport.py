"""Netlink requests and answers over a blocking socket, and the one place where the kernel's refusals become our errors.

Division of labour: `messages` and `nft` write requests, `Transport` numbers them, sends several in one ``sendmsg``, collects what the
kernel says and retries an interrupted dump; `refused` translates an errno and the kernel's words. Nothing here knows what a
message means. No event loop, no thread: usable from anywhere, by one thread at a time.

The kernel handles a request inside the ``sendmsg`` that carries it, so when the call returns every answer is queued already
(Documentation/userspace-api/netlink/intro.rst). It goes on with the next message after a refused one: a batch that failed was half done.

May import: errors.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Self, TypeAlias

from attrs import frozen

from ..errors import (
    Conflict,
    Forbidden,
    Internal,
    InvalidParameter,
    LibnetworkError,
    NotFound,
    NotSupported,
    Unavailable,
)

Buffer: TypeAlias = bytes | bytearray


def _nothing(label: str) -> None:
    pass


checkpoint: Callable[[str], None] = _nothing
"""Called before every action that changes the kernel, with what it is (``netlink``, ``make namespace``, ``sysctl``, …).

Tests put a function here that ends the process at the n-th call. Call it through the module, so that they reach it.
"""

NETLINK_NETFILTER = 12
"""Netlink protocol of the packet filter (``linux/netlink.h``)."""
NLM_F_ACK = 0x04
_NLM_F_DUMP_INTR = 0x10
_NLM_F_CAPPED, _NLM_F_ACK_TLVS = 0x100, 0x200
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_SOL_NETLINK, _NETLINK_CAP_ACK, _NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK = 270, 10, 11, 12
_NLMSGERR_ATTR_MSG = 1
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33
_SIOCGIFINDEX = 0x8933

_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence number, port
_NUMBER = struct.Struct("=I")
_FLAGS = struct.Struct("=H")
_ERRNO = struct.Struct("=i")
_IFREQ = struct.Struct("=16si20x")

_BUFFER = 1 << 20  # what `roomy` asks for in both directions
_READ = 1 << 16  # the kernel builds dump answers of at most 32 KiB
_CHUNK_MESSAGES, _CHUNK_BYTES = (
    256,
    1 << 16,
)  # in flight at once: neither these nor as many refusals overflow a default socket buffer
_CHUNK_FEW = 32  # so few messages are never too much
_DUMP_TRIES = 20


@frozen
class Refusal:
    """What the kernel said to one message of a batch: which one, why, and its own words (extended ack), if it had any."""

    index: int
    errno: int
    text: str


class Transport:
    """A netlink socket that asks and waits for the answer.

    Args:
        sock: A netlink socket of any family, opened in the namespace that it shall work on.
        roomy: Ask for large buffers: for sockets that dump a whole namespace or load a firewall.
    """

    def __init__(self, sock: socket.socket, *, roomy: bool = False) -> None:
        self._socket = sock
        self._sequence = 0
        self._room = 0
        for option in (_NETLINK_CAP_ACK, _NETLINK_EXT_ACK):
            sock.setsockopt(_SOL_NETLINK, option, 1)
        if roomy:
            self._enlarge(_BUFFER)

    def send(self, messages: Sequence[Buffer]) -> list[Refusal]:
        """Send requests, in as few calls as the buffers allow, and return the refusals in order; empty: all done.

        Only the last of each call is asked to be acknowledged: a refusal is always answered.
        """
        refusals: list[Refusal] = []
        for start, chunk in _chunks(messages):
            request, first = self._numbered(chunk)
            last = len(request) - len(chunk[-1]) + 6
            _FLAGS.pack_into(request, last, _FLAGS.unpack_from(request, last)[0] | NLM_F_ACK)
            refusals += self._exchange(request, first, len(chunk), start)
        return refusals

    def batch(self, messages: Sequence[Buffer], doing: str = "change the packet filter") -> None:
        """Send requests, flags as they are, in exactly one call, so that the kernel takes them as one transaction.

        Raises:
            LibnetworkError: the first refusal, as `refused` puts it; ``doing`` names the attempt, ``index`` the message.
        """
        request, first = self._numbered(messages)
        if len(request) > self._room:
            self._enlarge(max(_BUFFER, 2 * len(request)))
        for refusal in self._exchange(request, first, len(messages), acknowledged=False):
            raise refused(refusal, doing)

    def dump(
        self, message: Buffer, doing: str = "read from the kernel", among: Callable[[bytes], bool] | None = None
    ) -> list[tuple[int, bytes]]:
        """Send a dump request and return the answers as (message type, payload), taken again if it changed meanwhile.

        Args:
            message: The request.
            doing: What is tried, for errors.
            among: Says of a datagram of many answers whether a wanted one can be among them.
        """
        for _ in range(_DUMP_TRIES):
            answers = self._dump(message, doing, among)
            if answers is not None:
                return answers
        raise Unavailable(f"cannot {doing}: it changed each time while being read; try again", code="dump_interrupted")

    def index(self, name: str) -> int:
        """Return the index of the interface ``name`` in this socket's namespace (``SIOCGIFINDEX``).

        Raises:
            NotFound: there is none.
        """
        try:
            answer = fcntl.ioctl(self._socket, _SIOCGIFINDEX, _IFREQ.pack(name.encode(), 0))
        except OSError as error:
            raise refused(Refusal(0, error.errno or 0, ""), f"find interface {name}") from error
        found: int = _IFREQ.unpack(answer)[1]
        return found

    def find(self, name: str) -> int:
        """Return the index of the interface ``name``; 0 if there is none."""
        try:
            return self.index(name)
        except NotFound:
            return 0

    def strict(self) -> Self:
        """Let the kernel filter dumps by what the request says instead of ignoring it; kernels before 4.20 cannot."""
        with suppress(OSError):
            self._socket.setsockopt(_SOL_NETLINK, _NETLINK_GET_STRICT_CHK, 1)
        return self

    def close(self) -> None:
        """Close the socket, which otherwise keeps its namespace alive."""
        self._socket.close()

    def _numbered(self, messages: Sequence[Buffer]) -> tuple[bytearray, int]:
        """One request out of several, each with its own sequence number; the first number."""
        request = bytearray().join(messages)
        first = self._sequence + 1
        self._sequence = first + len(messages) - 1
        if self._sequence > 0xFFFF0000:
            first, self._sequence = 1, len(messages)
        offset = 0
        for number, message in enumerate(messages, first):
            _NUMBER.pack_into(request, offset + 8, number)
            offset += len(message)
        return request, first

    def _exchange(
        self, request: bytearray, first: int, count: int, start: int = 0, *, acknowledged: bool = True
    ) -> list[Refusal]:
        """Send, and return the refusals; the first message is number ``start`` of its batch."""
        checkpoint("netlink")
        self._socket.send(request)
        refusals: list[Refusal] = []
        last = first + count - 1
        while data := self._queued():
            for kind, flags, sequence, offset, end in _walk(data):
                if kind != _NLMSG_ERROR or not first <= sequence <= last:
                    continue
                if _ERRNO.unpack_from(data, offset)[0]:
                    refusals.append(_refusal(data, flags, offset, end, start + sequence - first))
                if acknowledged and sequence == last:  # answers come in the order of the messages
                    return refusals
        if acknowledged:
            raise Unavailable("the kernel's answer was lost: its netlink buffer is full", code="answer_lost")
        return refusals

    def _queued(self) -> bytes:
        """The next datagram that is here already; empty: none."""
        while True:
            try:
                return self._socket.recv(_READ, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return b""
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise

    def _dump(
        self, message: Buffer, doing: str, among: Callable[[bytes], bool] | None
    ) -> list[tuple[int, bytes]] | None:
        """One attempt; ``None``: interrupted by a change, or the buffer overflowed."""
        request, sequence = self._numbered((message,))
        self._socket.send(request)
        answers: list[tuple[int, bytes]] = []
        interrupted = False
        while True:
            try:
                data = self._socket.recv(_READ)
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                interrupted = True
                continue
            wanted = among is None or among(data)
            for kind, flags, number, offset, end in _walk(data):
                if number != sequence:
                    continue
                interrupted |= bool(flags & _NLM_F_DUMP_INTR)
                if kind in {_NLMSG_ERROR, _NLMSG_DONE}:
                    if end - offset >= _ERRNO.size and _ERRNO.unpack_from(data, offset)[0] < 0:
                        raise refused(_refusal(data, flags, offset, end, 0), doing)
                    return None if interrupted else answers
                if wanted:
                    answers.append((kind, data[offset:end]))

    def _enlarge(self, size: int) -> None:
        for force, plain in ((_SO_SNDBUFFORCE, socket.SO_SNDBUF), (_SO_RCVBUFFORCE, socket.SO_RCVBUF)):
            try:
                self._socket.setsockopt(socket.SOL_SOCKET, force, size)
            except PermissionError:  # in a user namespace: as far as net.core.*mem_max allows
                self._socket.setsockopt(socket.SOL_SOCKET, plain, size)
        self._room = size // 2


def _chunks(messages: Sequence[Buffer]) -> Iterator[tuple[int, Sequence[Buffer]]]:
    """Runs of messages with the place of their first."""
    if len(messages) <= _CHUNK_FEW:
        if messages:
            yield 0, messages
        return
    start = size = 0
    for place, message in enumerate(messages):
        size += len(message)
        if place > start and (size > _CHUNK_BYTES or place - start >= _CHUNK_MESSAGES):
            yield start, messages[start:place]
            start, size = place, len(message)
    yield start, messages[start:]


def _walk(data: bytes) -> Iterator[tuple[int, int, int, int, int]]:
    """Type, flags, sequence number, and payload bounds of each message of a datagram."""
    offset, size = 0, len(data)
    while offset + 16 <= size:
        length, kind, flags, sequence, _ = _HEADER.unpack_from(data, offset)
        if length < 16:
            return
        yield kind, flags, sequence, offset + 16, min(offset + length, size)
        offset += (length + 3) & ~3


def _refusal(data: bytes, flags: int, offset: int, end: int, index: int) -> Refusal:
    """Decode ``struct nlmsgerr`` or the status of a finished dump, both followed by attributes if the flags say so."""
    number = -_ERRNO.unpack_from(data, offset)[0]
    kind = struct.unpack_from("=H", data, offset - 12)[0]
    at = offset + 4
    if kind == _NLMSG_ERROR:
        at += 16 if flags & _NLM_F_CAPPED else (_NUMBER.unpack_from(data, offset + 4)[0] + 3) & ~3
    text = ""
    while flags & _NLM_F_ACK_TLVS and at + 4 <= end:
        length, attribute = struct.unpack_from("=HH", data, at)
        if attribute & 0x3FFF == _NLMSGERR_ATTR_MSG:
            text = data[at + 4 : at + length].rstrip(b"\0").decode(errors="replace")
        at += max((length + 3) & ~3, 4)
    return Refusal(index, number, text)


_PRIVILEGE = "needs CAP_NET_ADMIN over the network namespace: run as root"

_CATEGORIES: dict[int, tuple[type[LibnetworkError], str, str]] = {
    errno.EEXIST: (Conflict, "exists", "it exists already"),
    errno.EADDRINUSE: (Conflict, "address_in_use", "the address is in use"),
    errno.EBUSY: (Conflict, "busy", "it is in use"),
    errno.EPERM: (Forbidden, "no_privilege", _PRIVILEGE),
    errno.EACCES: (Forbidden, "no_privilege", _PRIVILEGE),
    errno.EOPNOTSUPP: (NotSupported, "not_supported", "this kernel cannot do it"),
    errno.EAFNOSUPPORT: (NotSupported, "not_supported", "this kernel lacks the protocol family"),
    errno.EPROTONOSUPPORT: (NotSupported, "not_supported", "this kernel lacks the protocol"),
    errno.ENOSYS: (NotSupported, "not_supported", "this kernel cannot do it"),
    errno.EXFULL: (Unavailable, "bridge_full", "the bridge is full: it takes 1,023 ports"),
    errno.ENODEV: (NotFound, "no_device", "no such interface"),
    errno.ENXIO: (NotFound, "no_device", "no such interface"),
    errno.ENOENT: (NotFound, "gone", "no such object"),
    errno.ESRCH: (NotFound, "gone", "no such object"),
    errno.EADDRNOTAVAIL: (NotFound, "gone", "no such address"),
    errno.ENETUNREACH: (InvalidParameter, "unreachable", "the gateway is not reachable over that interface"),
    errno.EHOSTUNREACH: (InvalidParameter, "unreachable", "the gateway is not reachable over that interface"),
    errno.EINVAL: (InvalidParameter, "refused", "the kernel calls it invalid"),
    errno.ERANGE: (InvalidParameter, "refused", "a value is out of range"),
    errno.E2BIG: (InvalidParameter, "refused", "a value is too large"),
    errno.EMSGSIZE: (InvalidParameter, "refused", "a value is too large"),
    errno.ENOTDIR: (InvalidParameter, "refused", "part of the path is no directory"),
    errno.ENETDOWN: (Unavailable, "link_down", "the interface is down"),
    errno.EINTR: (Unavailable, "interrupted", "it was interrupted; try again"),
    errno.EAGAIN: (Unavailable, "exhausted", "the kernel is short of something; try again"),
    errno.ENOBUFS: (Unavailable, "exhausted", "the kernel is short of buffers"),
    errno.ENOMEM: (Unavailable, "exhausted", "the kernel is short of memory"),
    errno.ENOSPC: (Unavailable, "exhausted", "a limit of the kernel or of this user is reached"),
    errno.EMFILE: (Unavailable, "exhausted", "this process has too many open files: raise its limit (ulimit -n)"),
    errno.ENFILE: (Unavailable, "exhausted", "the machine has too many open files"),
}


def refused(refusal: Refusal, doing: str) -> LibnetworkError:
    """Return the error for an errno: category by errno, ``doing`` and the kernel's own words in its message, ``errno`` as data."""
    kind, code, meaning = _CATEGORIES.get(
        refusal.errno, (Internal, "kernel_error", "the kernel gave an unexpected error")
    )
    words = refusal.text or os.strerror(refusal.errno)
    return kind(
        f"cannot {doing}: {meaning} (kernel: {words.rstrip('.')})",
        code=code,
        errno=refusal.errno,
        kernel=refusal.text,
        index=refusal.index,
    )


def failed(error: OSError, doing: str) -> LibnetworkError:
    """Return the error for a system call that failed while ``doing``."""
    return refused(Refusal(0, error.errno or 0, ""), doing)
