"""Namespaces being worked on, and what making and removing have in common.

Division of labour: `Sockets` keeps the host's netlink sockets; a `Stack` is one namespace during one change: its socket, a descriptor,
the interfaces already looked up; `Effort` sends messages for words and says, word by word, what was done and what failed. What a
failure means is decided by whoever listens: `applying` stops at the first or goes on.

May import: opener, relays, workers, transport, messages, desired, errors. (`nft` when the packet filter is first touched.)
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import TypeAlias

from ..desired import HOST, Element, Sysctl, Table, Word
from ..errors import LibnetworkError
from .messages import meaning
from .opener import Opener
from .relays import Relays
from .transport import NETLINK_NETFILTER, Refusal, Transport, refused
from .workers import Job

Step: TypeAlias = tuple[Word, bytes | bytearray]
"""A message and the word that it is sent for."""

_NETLINK = (socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC)
_BOTH = (*_NETLINK, socket.NETLINK_ROUTE), (*_NETLINK, NETLINK_NETFILTER)


class Sockets:
    """The sockets of the host namespace, opened when first needed and kept: every change uses them; and the relay beside them."""

    def __init__(self, opener: Opener, relays: Relays) -> None:
        self.opener, self.relays = opener, relays
        self.hurry: Callable[[], bool] = lambda: False
        """Deletes what outlives a dropped namespace; returns whether there was any. The reaper's, where there is one."""
        self.beside: Job[object] | None = None
        """What the first thread that works beside the caller's shall do besides."""
        self._pid = os.getpid()
        self._host: dict[int, Transport] = {}

    def host(self, protocol: int = socket.NETLINK_ROUTE) -> Transport:
        """The host's socket for a netlink protocol. After a fork each process has its own: answers must not be stolen."""
        if self._pid != os.getpid():
            self.close()
            self._pid = os.getpid()
        transport = self._host.get(protocol)
        if transport is None:
            transport = self._host[protocol] = self.inside(HOST, protocol)
        return transport

    def inside(self, path: str, protocol: int = socket.NETLINK_ROUTE) -> Transport:
        """A new socket in a namespace, for the caller to close."""
        return Transport(self.opener.socket(path, *_NETLINK, protocol), roomy=path == HOST).strict()

    def inside_soon(self, path: str, *, filter: bool) -> Callable[[], list[Transport]]:  # noqa: A002 (the packet filter)
        """Begin to open rtnetlink's socket, and the packet filter's; the caller goes on, and calls what is returned, once."""
        then, self.beside = self.beside, None
        job = self.opener.aside(lambda: self.opener.sockets_in_each([(path, _BOTH if filter else _BOTH[:1])]), then)
        return lambda: _transports(*job.settled())

    def go_on_beside(self) -> None:
        """Have another thread begin what is to be done besides, now that this one will be in the kernel for a while."""
        job, self.beside = self.beside, None
        if job is not None:
            self.opener.aside(job.run)

    def close(self) -> None:
        """Close them."""
        for transport in self._host.values():
            transport.close()
        self._host.clear()


def _transports(opened: list[socket.socket] | LibnetworkError) -> list[Transport]:
    if isinstance(opened, LibnetworkError):
        raise opened
    return [Transport(each) for each in opened]


class Stack:
    """One namespace during one change."""

    def __init__(self, path: str, sockets: Sockets) -> None:
        self.path = path
        self._sockets = sockets
        self._transport: Transport | None = None
        self._filter: Transport | None = None
        self._soon: Callable[[], list[Transport]] | None = None
        self._fd = -1
        self._indices: dict[str, int] = {}

    def make(self, sysctls: Sequence[tuple[str, str]], *, filter: bool = False) -> None:  # noqa: A002 (the packet filter)
        """Make the namespace and stay connected to it; ``filter``: to its packet filter too."""
        made = self._sockets.opener.make(self.path, sysctls, filter=filter)
        self._fd, self._transport = made.fd, Transport(made.socket)
        if made.filter is not None:
            self._filter = Transport(made.filter)

    def anticipate(self, *, filter: bool = False) -> None:  # noqa: A002 (the packet filter)
        """Begin to open the sockets inside: another thread does so while this one makes the link (60 µs less to wait)."""
        if self._transport is not None or self.path == HOST:
            self._sockets.go_on_beside()
        elif self._soon is None:
            self._soon = self._sockets.inside_soon(self.path, filter=filter)

    def _arrive(self) -> None:
        soon, self._soon = self._soon, None
        if soon is not None:
            self._transport, *filters = soon()
            self._filter = filters[0] if filters else self._filter

    @property
    def transport(self) -> Transport:
        """The rtnetlink socket inside."""
        if self._transport is None:
            self._arrive()
        if self._transport is None:
            self._transport = self._sockets.host() if self.path == HOST else self._sockets.inside(self.path)
        return self._transport

    @property
    def filter(self) -> Transport:
        """The packet filter's socket inside."""
        self._arrive()
        if self._filter is None:
            host = self.path == HOST
            self._filter = (self._sockets.host if host else partial(self._sockets.inside, self.path))(NETLINK_NETFILTER)
        return self._filter

    @property
    def fd(self) -> int:
        """A descriptor of the namespace."""
        if self._fd < 0:
            self._fd = self._sockets.opener.namespace_fd(self.path)
        return self._fd

    def index(self, name: str) -> int:
        """The index of an interface."""
        found = self._indices.get(name)
        if found is None:
            found = self._indices[name] = self.transport.index(name)
        return found

    def has(self, name: str) -> bool:
        """Whether there is an interface of that name."""
        return bool(self.transport.find(name))

    def close(self) -> None:
        """Let go of the namespace."""
        soon, self._soon = self._soon, None
        if soon is not None:  # an error came before it was needed
            with suppress(LibnetworkError):
                for each in soon():
                    each.close()
        for transport in (self._transport, self._filter):
            if transport is not None and self.path != HOST:
                transport.close()
        if self._fd >= 0:
            os.close(self._fd)
        self._transport, self._filter, self._fd = None, None, -1
        self._indices.clear()


class Effort:
    """Sends messages for words, and tells how each word fared.

    Args:
        sockets: The host's sockets, and through them the opener.
        done: Called with each word that was done, even in part; more than once for some.
        failed: Called with a word that was not done, and why. It may raise, which stops everything.
        begin: Called with words before anything is done for them.
    """

    def __init__(
        self,
        sockets: Sockets,
        done: Callable[[Word], None],
        failed: Callable[[Word, LibnetworkError], None],
        begin: Callable[[Iterable[Word]], None],
    ) -> None:
        self.sockets, self.opener = sockets, sockets.opener
        self.done, self.failed, self.begin = done, failed, begin
        self._stacks: dict[str, Stack] = {}

    def stack(self, path: str) -> Stack:
        """The stack for a namespace."""
        found = self._stacks.get(path)
        if found is None:
            found = self._stacks[path] = Stack(path, self.sockets)
        return found

    def close(self) -> None:
        """Let go of every namespace."""
        for each in self._stacks.values():
            each.close()

    def attempt(self, words: Iterable[Word], function: Callable[[], object]) -> bool:
        """Call a function on which all of ``words`` depend; return whether it went well."""
        try:
            function()
        except LibnetworkError as error:
            for word in words:
                self.failed(word, error)
            return False
        return True

    def send(self, transport: Transport, steps: Sequence[Step], doing: str, tolerated: Iterable[int] = ()) -> bool:
        """Send one message per step; a refusal counts as done if its errno is tolerated. Return whether all were done."""
        self.begin([word for word, _ in steps])
        return self.answered(steps, transport.send([message for _, message in steps]), doing, tolerated)

    def answered(
        self, steps: Sequence[Step], refusals: Sequence[Refusal], doing: str, tolerated: Iterable[int] = ()
    ) -> bool:
        """Say what became of messages that were sent; see `send`."""
        bad = [each for each in refusals if each.errno not in tolerated]
        undone = {each.index for each in bad}
        for index, (word, _) in enumerate(steps):
            if index not in undone:
                self.done(word)
        for each in bad:
            word = steps[each.index][0]
            self.failed(word, refused(each, f"{doing} {meaning(word)}"))
        return not bad

    def write(self, path: str, words: Sequence[tuple[Sysctl, str]]) -> None:
        """Write settings of a namespace, each with its value."""
        todo = list(words)
        self.begin([word for word, _ in todo])
        while todo:
            try:
                self.opener.write(path, [(word.path, value) for word, value in todo])
            except LibnetworkError as error:
                place = error.data.get("index")
                if not isinstance(place, int):  # nobody knows how far it came: any of them may have been written
                    for word, _ in todo:
                        self.done(word)
                    self.failed(todo[0][0], error)
                    return
                for word, _ in todo[:place]:
                    self.done(word)
                self.failed(todo[place][0], error)
                todo = todo[place + 1 :]
            else:
                for word, _ in todo:
                    self.done(word)
                return

    def load(self, path: str, make: Sequence[Table | Element], remove: Sequence[Table | Element]) -> None:
        """Change a namespace's packet filter in one transaction."""
        from . import nft  # noqa: PLC0415 (imports pyroute2)

        self.begin([*make, *remove])
        known = self._stacks.get(path)
        stack = known or Stack(path, self.sockets)
        try:
            nft.load(stack.filter, make, remove)
        finally:
            if stack is not known:
                stack.close()
