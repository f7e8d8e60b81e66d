"""Removes words: what is gone is gone, and what goes with something else costs nothing.

Division of labour: `Remover` finds what needs a message of its own. A namespace takes everything inside with it, and every pair that
ends in it; a link takes its addresses, routes, entries and settings. A VXLAN device is always removed itself: the kernel takes dropped
namespaces apart in its own time, and until then nobody else could have the device's number; likewise a pair of which only the outer end
is in one. One link is deleted by name; several are
put into a group of their own and deleted together, because the kernel waits for each deletion (25 ms) but only once for a group; the
caller is not made to wait for that, see `departing`.

May import: stack, transport, departing, messages, qdiscs, tunnels, desired, errors.
"""

from __future__ import annotations

import os
import secrets
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence

from ..desired import (
    HOST,
    Address,
    Element,
    Entry,
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
from ..errors import LibnetworkError, NotFound
from . import messages, qdiscs, tunnels
from .departing import depart
from .making import Inner
from .messages import GONE
from .opener import remove_all
from .stack import Effort, Step
from .transport import Refusal

_MANY = 16
"""So many namespaces that it pays to delete links meanwhile."""
_VANISH_SECONDS = 10.0
_POLL_SECONDS = 0.002


class Remover(Effort):
    """Removes words of every kind but the packet filter's. Use once: `remove`, then `drop`; or `clear`, which is both."""

    def clear(self, words: Iterable[Word]) -> None:
        """Remove everything: the links while the namespaces are dropped, as each waits for the kernel most of the time."""
        links = self._but_links(words)
        if len(self._pending) < _MANY or any(self._dropped & set(_ends(word)) for word in links):
            self._remove_links(links)
            self.drop()
            return
        job = self.opener.aside(lambda: self._remove_links(links))
        try:
            self.drop()
        finally:
            job.settled()

    def remove(self, words: Iterable[Word], *, free: Iterable[Key] = ()) -> None:
        """Remove what is not inside a namespace that is to be dropped; keys in ``free`` must be free when this returns."""
        self._remove_links(self._but_links(words, free))

    def _but_links(self, words: Iterable[Word], free: Iterable[Key] = ()) -> list[Link]:
        """Remove what is no link, and return the links."""
        # thousands of published ports are nothing for anybody here
        ours = [word for word in words if not (isinstance(word, (Element, Relay)) and word.namespace == HOST)]
        ordered = sorted(ours, key=phase, reverse=True)
        self._pending = [word for word in ordered if isinstance(word, Namespace)]
        self._dropped = {word.path for word in self._pending}
        self._along: list[Word] = []
        at_once = set(free)
        devices = {(word.namespace, word.name) for word in ordered if isinstance(word, Vxlan)}
        links: list[Link] = []
        moved: list[Moved] = []
        rest: list[Word] = []
        for word in ordered:
            on_tunnel = (_ends(word)[0], getattr(word, "link", None)) in devices
            if isinstance(word, Moved):
                moved.append(word)
            elif self._goes_along(word) and not on_tunnel and word.key not in at_once:
                self._along.append(word)
            elif isinstance(word, Link):
                links.append(word)
            elif not isinstance(word, Namespace | Table | Element):
                rest.append(word)
        try:
            self._inner(rest, [*links, *moved])
            self._give_back(moved)
        finally:
            self.close()
        return links

    def drop(self, paths: Iterable[str] | None = None) -> None:
        """Drop the namespaces among the words, or those of ``paths``; the kernel takes them apart in its own time."""
        chosen = self._dropped if paths is None else self._dropped & set(paths)
        now = [word for word in self._pending if word.path in chosen]
        self._pending = [word for word in self._pending if word.path not in chosen]
        self.begin(now)
        failures = remove_all(self.opener, [word.path for word in now])
        for word in now:
            if word.path not in failures:
                self.done(word)
        gone = chosen - failures.keys()
        for each in self._along:
            if gone & set(_ends(each)):
                self.done(each)
        for word in now:
            if word.path in failures:
                self.failed(word, self._half_dropped(word, failures[word.path]))

    def _half_dropped(self, word: Namespace, error: LibnetworkError) -> LibnetworkError:
        """Return the error, with a note where the namespace went and its name stayed: undoing must look, and make it anew."""
        try:
            os.close(self.opener.namespace_fd(word.path))
        except LibnetworkError:
            error.add_note(f"{word.path} is no namespace any more")
        return error

    def ahead(self, namespace: str, master: str) -> bool:
        """Delete now the pairs that are ports of a bridge and would go with a namespace; return whether there were any."""
        doomed = [
            word
            for word in self._along
            if isinstance(word, Veth) and (word.namespace, word.master) == (namespace, master)
        ]
        inside = {(word.peer_namespace, word.peer_name) for word in doomed}
        on_them = [word for word in self._along if (_ends(word)[0], getattr(word, "link", None)) in inside]
        gone = {id(word) for word in (*doomed, *on_them)}
        self._along = [word for word in self._along if id(word) not in gone]
        try:
            self._links(doomed, on_them)
        finally:
            self.close()
        return bool(doomed)

    def vanished(self) -> None:
        """Wait until the outer ends of the pairs that went with a namespace are gone too (1 ms each, in the background)."""
        names = [word for word in self._along if isinstance(word, Veth) and word.namespace not in self._dropped]
        deadline = time.monotonic() + _VANISH_SECONDS
        try:
            for word in names:
                while self._exists(word) and time.monotonic() < deadline:
                    time.sleep(_POLL_SECONDS)
        finally:
            self.close()

    def _exists(self, word: Veth) -> bool:
        try:
            return self.stack(word.namespace).has(word.name)
        except LibnetworkError:
            return False

    def _goes_along(self, word: Word) -> bool:
        """Whether a namespace takes a word along; a pair only where its inner end goes: the sandbox would keep that for a while."""
        if isinstance(word, Veth):
            return word.peer_namespace in self._dropped
        return not isinstance(word, Namespace | Vxlan) and bool(self._dropped & set(_ends(word)))

    def _inner(self, words: list[Word], links: list[Link | Moved]) -> None:
        """Addresses, routes, entries and settings, less those that go with a link."""
        doomed = {(word.namespace, word.name) for word in links}
        doomed |= {(word.peer_namespace, word.peer_name) for word in links if isinstance(word, Veth)}
        self._with_links: list[Word] = []
        inside: dict[str, list[Inner]] = defaultdict(list)
        for word in words:
            if isinstance(word, Address | Route | Sysctl | Entry | Qdisc):
                alone = (word.namespace, word.link) not in doomed
                (inside[word.namespace] if alone else self._with_links).append(word)
        for path, some in inside.items():
            self._messages(path, some)
            self._settings(path, [word for word in some if isinstance(word, Sysctl)])
            self.stack(path).close()

    def _messages(self, path: str, words: list[Inner]) -> None:
        stack = self.stack(path)
        steps: list[Step] = []
        for word in words:
            try:
                if not isinstance(word, Sysctl):
                    steps += [(word, message) for message in _deletions(word, stack.index(word.link))]
            except NotFound:
                self.done(word)
        if steps:
            self.attempt(words, lambda: self._send(path, steps))

    def _settings(self, path: str, words: list[Sysctl]) -> None:
        restored = [(word, word.restore) for word in words if word.restore is not None]
        if restored:
            self.write(path, restored)
        for word in words:
            if word.restore is None:  # it stays as it is, unless another value comes: undoing must write this one again
                self.done(word)

    def _give_back(self, moved: list[Moved]) -> None:
        """Move links of others back to the host, before their namespace is dropped: it would take a virtual one with it."""
        for word in moved:
            self.attempt([word], lambda word=word: self._move_back(word))  # type: ignore[misc]

    def _move_back(self, word: Moved) -> None:
        try:
            index = self.stack(word.namespace).index(word.name)
        except NotFound:
            self.done(word)
        else:
            self._send(word.namespace, [(word, messages.move(index, self.stack(HOST).fd, word.source))])

    def _remove_links(self, links: Sequence[Link]) -> None:
        try:
            self._links(links, self._with_links)
        finally:
            self.close()

    def _links(self, links: Sequence[Link], on_them: Iterable[Word]) -> None:
        by_namespace: dict[str, list[Link]] = defaultdict(list)
        for word in links:
            by_namespace[word.namespace].append(word)
        for path, some in by_namespace.items():
            self.attempt(some, lambda path=path, some=some: self._delete(path, some))  # type: ignore[misc]
        for each in on_them:
            self.done(each)

    def _delete(self, path: str, words: list[Link]) -> None:
        """Delete links by their indices: by its name, the thread that sends could hit one that is made meanwhile."""
        self.begin(words)
        steps: list[Step] = []
        refusals: list[Refusal] = []
        gone: list[Link] = []
        try:
            looking = self.stack(path).transport
            indices = [(word, looking.find(word.name)) for word in words]
            gone = [word for word, index in indices if not index]
            there = [(word, index) for word, index in indices if index]
            steps = _deletion(there)
            links = [(word.name, index) for word, index in there]
            refusals = depart(self.sockets, path, looking, links, [message for _, message in steps])
        except NotFound:  # the namespace went, with all that was in it
            gone = words
        self.answered(steps, refusals, "remove", GONE)
        for word in gone:
            self.done(word)

    def _send(self, path: str, steps: list[Step]) -> None:
        try:
            transport = self.stack(path).transport
        except NotFound:
            for word, _ in steps:
                self.done(word)
            return
        self.send(transport, steps, "remove", GONE)


def _deletion(links: Sequence[tuple[Link, int]]) -> list[Step]:
    """What deletes links that have these indices."""
    if len(links) <= 1:
        return [(word, messages.delete_numbered(index)) for word, index in links]
    group = secrets.randbits(31) | 1
    steps: list[Step] = [(word, messages.regroup_numbered(index, group)) for word, index in links]
    return [*steps, (links[-1][0], messages.delete_group(group))]


def _deletions(word: Address | Route | Neighbour | Forwarding | Qdisc, index: int) -> Sequence[bytes | bytearray]:
    match word:
        case Address():
            return [messages.delete_address(word, index)]
        case Route():
            return [messages.delete_route(word, index)]
        case Neighbour():
            return [tunnels.delete_neighbour(word, index)]
        case Qdisc():
            return [qdiscs.delete(index)]
        case Forwarding():
            return tunnels.delete_forwarding(word, index)


def _ends(word: Word) -> tuple[str, ...]:
    """The namespaces with which a word goes."""
    if isinstance(word, Veth):
        return word.namespace, word.peer_namespace
    return (word.path,) if isinstance(word, Namespace) else (word.namespace,)
