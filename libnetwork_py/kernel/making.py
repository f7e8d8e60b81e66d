"""Makes words: namespaces, then links into them, then what is inside.

Division of labour: `Maker` orders words and gathers them into as few messages as possible. A sandbox is made, linked, configured in
one send and closed before the next one is begun: an open socket keeps its namespace alive, and a process may have fewer
descriptors than a change has sandboxes. A bridge that gets ports in the same change is raised last: until then nothing
that they send at birth is flooded to all the others (1.8 instead of 2.5 ms a sandbox for 1,000 with IPv6).

May import: stack, messages, tunnels, room, snapshot, transport, desired, errors.
"""

from __future__ import annotations

import errno
import functools
from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from ..desired import (
    HOST,
    Address,
    Bridge,
    Element,
    Forwarding,
    Key,
    Link,
    Moved,
    Namespace,
    Neighbour,
    Qdisc,
    Relay,
    Route,
    Sysctl,
    Table,
    Veth,
    Vxlan,
    Word,
    phase,
)
from ..errors import NotFound
from . import messages, qdiscs, tunnels
from .messages import meaning
from .room import Ahead, Room, nothing_ahead
from .snapshot import links_by_name
from .stack import Effort, Stack, Step
from .transport import Refusal, refused

_LOOPBACK = 1
"""The loopback interface is the first of every namespace."""

Inner: TypeAlias = Sysctl | Address | Route | Neighbour | Forwarding | Qdisc
"""What is on an interface."""


class Maker(Effort):
    """Makes words of every kind, but of the packet filter's only those that it is told. Use once."""

    def make(
        self,
        words: Iterable[Word],
        *,
        replace: bool = False,
        over: Container[Key] = (),
        tables: Mapping[str, Sequence[Table | Element]] | None = None,
        ahead: Ahead = nothing_ahead,
    ) -> None:
        """Make words.

        Args:
            words: What to make.
            replace: A route takes the place of one to the same destination, an entry that of one for the same address.
            over: Keys of the entries that do so in any case.
            tables: What is to come into the packet filters of sandboxes, by their paths, while their sockets are open.
            ahead: Makes room on a full bridge by deleting what would go later.
        """
        self._replace, self._over, self._tables = replace, over, tables or {}
        self._room = Room(ahead, self.sockets.hurry)
        ordered = sorted([word for word in words if not isinstance(word, (Element, Relay))], key=phase)
        self._sort(ordered)
        try:
            self._prepare()
            for word in ordered:
                if isinstance(word, Veth | Vxlan):
                    self._join(word)
                elif isinstance(word, Moved):
                    self._moved(word)
            for path in list(self._waiting):
                self._finish(path)
            self._settle()
        finally:
            self.close()

    def reshape(self, links: Iterable[tuple[Link, Link]]) -> None:
        """Lead links that exist from one shape to another, in one send for each namespace; what is on them stays."""
        steps: dict[str, list[Step]] = defaultdict(list)
        try:
            for old, new in links:
                steps[new.namespace] += self._outer_steps(new)
                if isinstance(new, Veth) and new.mtu != old.mtu:
                    steps[new.peer_namespace].append((new, messages.resize(new.peer_name, new.mtu)))
            for path, some in steps.items():
                self.attempt([word for word, _ in some], lambda path=path, some=some: self._send_to(path, some))  # type: ignore[misc]
        finally:
            self.close()

    def raise_loopback(self, word: Namespace) -> None:
        """Raise the loopback of a namespace that exists: whoever made it may have died before that."""
        self._send_to(word.path, [(word, messages.link_up(_LOOPBACK))])

    def _outer_steps(self, word: Link) -> list[Step]:
        if not isinstance(word, Veth):
            return [(word, messages.mtu(word))]
        outer = self.stack(word.namespace)
        master = self.index(outer, word, word.master) if word.master else 0
        return [(word, message) for message in messages.mend_veth(word, master, has_ipv6())]

    def _send_to(self, path: str, steps: list[Step]) -> None:
        stack = self.stack(path)
        self.send(stack.transport, steps, "change")
        stack.close()

    def _sort(self, ordered: Sequence[Word]) -> None:
        """Lay the words out by namespace."""
        self._new = {word.path: word for word in ordered if isinstance(word, Namespace)}
        self._own: dict[str, list[Sysctl]] = defaultdict(list)
        self._bridges: dict[str, list[Bridge]] = defaultdict(list)
        self._inner: dict[str, list[Inner]] = defaultdict(list)
        self._to_raise: dict[str, list[tuple[Word, str]]] = defaultdict(list)
        self._links_to_come: Counter[str] = Counter()
        self._unsettled: dict[str, list[Veth]] = defaultdict(list)
        self._masters: set[tuple[str, str]] = set()
        for word in ordered:
            match word:
                case Sysctl(link=None):
                    self._own[word.namespace].append(word)
                case Sysctl() | Address() | Route() | Neighbour() | Forwarding() | Qdisc():
                    self._inner[word.namespace].append(word)
                case Bridge():
                    self._bridges[word.namespace].append(word)
                case Vxlan():
                    self._links_to_come.update(_ends(word))
                    self._masters.add((word.namespace, word.master))
                case Veth():
                    self._links_to_come.update(_ends(word))
                    self._masters |= {(word.namespace, word.master), (word.peer_namespace, word.peer_master)}
                case Moved():
                    self._links_to_come.update({word.namespace})
                case _:
                    pass
        places = (self._new, self._bridges, self._links_to_come, self._inner, self._tables)
        self._waiting: dict[str, None] = dict.fromkeys(path for place in places for path in place)
        self._made: set[str] = set()
        self._broken: set[str] = set()

    def _prepare(self) -> None:
        """What existing namespaces need before links: their settings and their bridges."""
        for path in [each for each in self._own if each not in self._new]:
            self.write(path, [(word, word.value) for word in self._own[path]])
        for path in [each for each in self._bridges if each not in self._new]:
            self._make_bridges(self.stack(path))

    def _ready(self, path: str) -> Stack:
        """The stack for a namespace, made now if it is to be made."""
        stack = self.stack(path)
        word = self._new.get(path)
        if word is not None and path not in self._made:
            self._made.add(path)
            settings = self._own.get(path, [])
            self.begin([word])
            values, filtered = [(each.path, each.value) for each in settings], path in self._tables
            if not self.attempt([word], lambda: stack.make(values, filter=filtered)):
                self._broken.add(path)
            else:
                made: list[Word] = [word, *settings]
                for each in made:
                    self.done(each)
                if len(self._made) < len(self._new):
                    self.opener.foresee()  # another thread makes the next one while this thread furnishes this one
                self._make_bridges(stack)
        return stack

    def _make_bridges(self, stack: Stack) -> None:
        steps: list[Step] = []
        for word in self._bridges.get(stack.path, ()):
            later = (word.namespace, word.name) in self._masters
            steps.append((word, messages.bridge(word, up=not later)))
            if later:
                self._to_raise[stack.path].append((word, word.name))
        if steps:
            self.attempt([word for word, _ in steps], lambda: self._send_bridges(stack, steps))

    def _send_bridges(self, stack: Stack, steps: list[Step]) -> None:
        if self._send(stack, steps):
            sized = [word for word, _ in steps if isinstance(word, Bridge) and word.mtu]
            self._send(stack, [(word, messages.mtu(word)) for word in sized])

    def _send(self, stack: Stack, steps: list[Step]) -> bool:
        return self.send(stack.transport, steps, "make")

    def _join(self, word: Veth | Vxlan) -> None:
        """Make a link that stands with one foot in each of two namespaces."""
        ends = _ends(word)
        stacks = {path: self._ready(path) for path in ends}
        if not ends & self._broken:
            self.attempt([word], lambda: self._make_link(word, stacks))
        self._arrived(ends)

    def _arrived(self, paths: set[str]) -> None:
        for path in paths:
            self._links_to_come[path] -= 1
            if not self._links_to_come[path]:
                self._finish(path)

    def _moved(self, word: Moved) -> None:
        inner = self._ready(word.namespace)
        if inner.path not in self._broken:
            self.attempt([word], lambda: self._move(word, inner))
        self._arrived({inner.path})

    def _move(self, word: Moved, inner: Stack) -> None:
        if inner.has(word.name):  # the kernel would move it all the same, and refuse the name then
            raise refused(Refusal(0, errno.EEXIST, ""), f"make {meaning(word)}")
        outer = self.stack(HOST)
        message = messages.move(self.index(outer, word, word.source), inner.fd, word.name, str(word.mac or ""))
        if self._send(outer, [(word, message)]):
            self._to_raise[inner.path].append((word, word.name))

    def _make_link(self, word: Veth | Vxlan, stacks: Mapping[str, Stack]) -> None:
        if isinstance(word, Veth):
            self._make_veth(word, stacks[word.namespace], stacks[word.peer_namespace])
            return
        inner = stacks[word.namespace]
        master = self.index(inner, word, word.master) if word.master else 0
        create = tunnels.vxlan(word, inner.fd if word.namespace != HOST else -1, master)
        if self._send(stacks[HOST], [(word, create)]):
            self._send(inner, [(word, message) for message in tunnels.vxlan_port(word, master, has_ipv6())])

    def _make_veth(self, word: Veth, outer: Stack, inner: Stack) -> None:
        master = self.index(outer, word, word.master) if word.master else 0
        message = messages.veth(word, master, inner.fd)
        inner.anticipate(
            filter=inner.path in self._tables
        )  # only now: the other thread and this one would wait for each other's use of the interpreter
        if not self._create(word, outer, inner, message):
            return  # the name may be somebody else's link: no second message to it
        self._to_raise[inner.path].append((word, word.peer_name))
        self._unsettled[outer.path].append(word)
        settings = messages.port(word, has_ipv6())
        if settings is not None:
            self._send(outer, [(word, settings)])
        if word.down:
            self._send(outer, [(word, messages.pull(word.name))])
        if word.peer_master:
            self._send(inner, [(word, messages.join(word.peer_name, self.index(inner, word, word.peer_master)))])

    def _create(self, word: Veth, outer: Stack, inner: Stack, message: bytes | bytearray) -> bool:
        """Make a pair; on a bridge that is full of ports which are about to go, or in place of such a one, once there is room."""
        self.begin([word])
        while refusals := outer.transport.send([message]):
            if not (self._room.made(outer, word.master, refusals) or self._cleared(word, outer, inner, refusals[0])):
                self.failed(word, refused(refusals[0], f"make {meaning(word)}"))
                return False
        self.done(word)
        return True

    def _cleared(self, word: Veth, outer: Stack, inner: Stack, refusal: Refusal) -> bool:
        """Whether what had a pair's name is gone now: the same endpoint's pair of before, whose namespace nobody can name any more.

        The kernel takes that apart in its own time. It is known by its network's group, and by not being where this one is to be.
        """
        if refusal.errno != errno.EEXIST or not word.group or inner.has(word.peer_name):
            return False
        found = links_by_name(outer.transport).get(word.name)
        if found is not None and (found.kind, found.group) == ("veth", word.group):
            outer.transport.send([messages.delete_numbered(found.index)])
        return not outer.has(word.name)

    def _settle(self) -> None:
        """Have the pairs carry packets when this returns: the kernel would otherwise see to it in its own time."""
        for path, words in self._unsettled.items():
            if path not in self._broken:
                transport = self.stack(path).transport
                self.send(transport, [(word, messages.settle(word.name)) for word in words], "make", messages.GONE)

    def _finish(self, path: str) -> None:
        """Configure a namespace whose links are all there, in one send, and let go of it."""
        if path not in self._waiting:
            return
        del self._waiting[path]
        stack = self._ready(path)
        if path not in self._broken:
            inner = self._inner.get(path, [])
            settings = [(word, word.value) for word in inner if isinstance(word, Sysctl)]
            if settings:
                self.write(path, settings)
            steps = self._steps(stack, inner)
            if steps:
                self.attempt([word for word, _ in steps], lambda: self._send(stack, steps))
            table = self._tables.get(path)
            if table and self.attempt(table, lambda: self.load(path, table, ())):
                for word in table:
                    self.done(word)
        stack.close()

    def _steps(self, stack: Stack, inner: list[Inner]) -> list[Step]:
        """The messages for one namespace: addresses, links up, routes, entries."""
        steps: list[Step] = []
        if stack.path in self._new:
            steps.append((self._new[stack.path], messages.link_up(_LOOPBACK)))
        addresses = [(word, word.link) for word in inner if isinstance(word, Address)]
        routes = [(word, word.link) for word in inner if isinstance(word, Route)]
        routes.sort(key=lambda each: each[0].gateway is not None)  # a gateway may be behind a route on the link
        entries = [(word, word.link) for word in inner if isinstance(word, Neighbour | Forwarding)]
        queues = [(word, word.link) for word in inner if isinstance(word, Qdisc)]
        for word, link in (*addresses, *self._to_raise.get(stack.path, ()), *routes, *entries, *queues):
            try:
                index = self.index(stack, word, link)
                steps += [(word, message) for message in self._messages(word, index)]
            except NotFound as error:
                self.failed(word, error)
        return steps

    def index(self, stack: Stack, word: Word, link: str) -> int:
        """The index of an interface that a word needs."""
        try:
            return stack.index(link)
        except NotFound as error:
            where = f"in {stack.path}" if stack.path else "on the host"
            raise NotFound(
                f"cannot make {meaning(word)}: there is no interface {link} {where}",
                code=error.code,
                link=link,
                **error.data,
            ) from None

    def _messages(self, word: Word, index: int) -> list[bytearray] | list[bytes]:
        match word:
            case Address():
                return [messages.add_address(word, index)]
            case Route():
                return [messages.add_route(word, index, replace=self._replace)]
            case Qdisc():
                return [qdiscs.add(word, index, replace=self._replace)]
            case Neighbour():
                return [tunnels.add_neighbour(word, index, replace=self._replaces(word))]
            case Forwarding():
                return tunnels.add_forwarding(word, index, replace=self._replaces(word))
            case _:
                return [messages.link_up(index)]

    def _replaces(self, word: Neighbour | Forwarding) -> bool:
        return self._replace or word.key in self._over


def _ends(word: Veth | Vxlan) -> set[str]:
    """The namespaces that a link has to do with."""
    return {word.namespace, word.peer_namespace if isinstance(word, Veth) else HOST}


@functools.cache
def has_ipv6() -> bool:
    """Whether this kernel speaks IPv6 at all (it does not with ``ipv6.disable=1``)."""
    return Path("/proc/sys/net/ipv6").is_dir()
