"""Changes: made whole or undone, or enforced as far as they go.

Division of labour: `Application` is one `apply`: it keeps a journal of the words that were made and removed, and undoes them. `enforce`
compares, makes what is missing, mends what differs, and goes on past failures; it runs on the opener's worker, where no interrupt
reaches it. An `Application` runs on the caller's thread, which is faster by two switches of threads (100 µs); what an interrupt left
of it between any two instructions, `enforce` takes back.

May import: making, removing, snapshot, stack, messages, tunnels, desired, facts, errors.
"""

from __future__ import annotations

import errno
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from ..desired import (
    HOST,
    Bridge,
    Change,
    Description,
    Element,
    Entry,
    Forwarding,
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
    replaced,
    reshaped,
)
from ..errors import Conflict, LibnetworkError, NotFound
from ..facts import Facts, compare, kind_of, tunnel_of
from . import messages, snapshot, tunnels
from .making import Maker, has_ipv6
from .messages import meaning
from .opener import Opener
from .removing import Remover
from .room import nothing_ahead
from .stack import Effort, Sockets

_ROUNDS = 3
"""A mended link loses its addresses, they lose their routes: each round mends what the one before took along."""

E = TypeVar("E", bound=Effort)


class Application:
    """One change, all or nothing."""

    def __init__(self, sockets: Sockets, change: Change) -> None:
        self._sockets = sockets
        self._change = change
        self._made: dict[int, Word] = {}  # by identity: hashing words takes longer than sending them
        self._gone: dict[int, Word] = {}
        self._altered = reshaped(change)
        self._replaced = replaced(change)
        self._altering = False
        self._begun: dict[int, Word] = {}

    def run(self) -> None:
        """Make the change, or undo what was done of it and raise."""
        try:
            self._run()
        except BaseException as error:
            problems = self.undo()
            for problem in problems:
                error.add_note(f"and not everything could be undone: {problem}")
            raise

    def _run(self) -> None:
        change = self._change
        remover = Remover(self._sockets, self._removed, self._fail, self._begin)
        maker = Maker(self._sockets, self._made_it, self._fail, self._begin)
        filter_goes, filter_comes = _filter(change.remove), _filter(change.make)
        tables = _tables(filter_comes, filter_goes)
        if tables:
            filter_comes = [word for word in filter_comes if word.namespace not in tables]
        relays_go, relays_come = _relays(change.remove), _relays(change.make)
        if relays_go and not relays_come:
            self._relay([], relays_go)
        if filter_goes and not filter_comes:
            self._load(remover, [], filter_goes)
        if not change.make:
            remover.clear(self._leaving())
            return
        if change.remove:
            remover.remove(self._leaving(), free={word.key for word in change.make})
            remover.drop([word.path for word in change.make if isinstance(word, Namespace)])
        coming = self._but_altered(change.make)
        first, later = _in_turn(self._altered, coming)
        self._alter(first)
        self._write_over()
        ahead = remover.ahead if change.remove else nothing_ahead
        maker.make(coming, over=self._replaced, tables=tables, ahead=ahead)
        self._alter(later)
        if filter_comes:  # after the links: a published port opens when the endpoint is there
            self._load(maker, filter_comes, filter_goes)
        if relays_come:
            self._relay(relays_come, relays_go)
        if change.remove:
            remover.drop()

    def _relay(self, make: Sequence[Relay], remove: Sequence[Relay]) -> None:
        self._begin(make)
        self._gone.update({id(word): word for word in remove})  # before: who is interrupted here does not know
        self._sockets.relays.load(make, remove)
        self._made.update({id(word): word for word in make})

    def _alter(self, links: Sequence[tuple[Link, Link]]) -> None:
        if links:
            self._altering = True
            Maker(self._sockets, _ignore, self._fail, self._begin).reshape(links)

    def _leaving(self) -> Description:
        staying = self._but_altered(self._change.remove)
        return tuple(word for word in staying if word.key not in self._replaced) if self._replaced else staying

    def _write_over(self) -> None:
        """Note that entries in their old shape are gone, before the first of them is written over: undoing writes it back."""
        if self._replaced:
            self._gone |= {id(word): word for word in self._change.remove if word.key in self._replaced}

    def _but_altered(self, words: Description) -> Description:
        altered = {old.key for old, _ in self._altered}
        return tuple(word for word in words if word.key not in altered) if altered else words

    def _load(self, effort: Effort, make: Sequence[Table | Element], remove: Sequence[Table | Element]) -> None:
        dropped = {word.path for word in self._change.remove if isinstance(word, Namespace)}
        going = [word for word in remove if word.namespace not in dropped]
        for path in dict.fromkeys(word.namespace for word in (*make, *going)):
            comes, goes = _inside(path, make), _inside(path, going)
            try:
                effort.load(path, comes, goes)
            except NotFound:
                if comes:
                    raise
            self._made.update({id(word): word for word in comes})
            self._gone.update({id(word): word for word in goes})

    def undo(self) -> list[LibnetworkError]:
        """Undo what the journal says; return what could not be."""
        problems: list[LibnetworkError] = []

        def fail(_: Word, error: LibnetworkError) -> None:
            if error.data.get("errno") != errno.EEXIST:
                problems.append(error)

        made, gone = list(self._made.values()), list(self._gone.values())
        self._made, self._gone = {}, {}
        remover = Remover(self._sockets, _ignore, fail, _ignore)
        maker = Maker(self._sockets, _ignore, fail, _ignore)
        self._undo_relays(_relays(gone), _relays(made), fail)
        _undo_filter(remover, _filter(gone), _filter(made), fail)
        remover.remove(made)
        remover.drop()
        remover.vanished()
        first, later = _in_turn(reshaped(self._change.reverse) if self._altering else (), gone)
        Maker(self._sockets, _ignore, fail, _ignore).reshape(first)
        maker.make(gone, over=self._replaced)
        torn_off = self._torn_off(gone)
        if torn_off:
            Maker(self._sockets, _ignore, fail, _ignore).reshape([(word, word) for word in torn_off])
        Maker(self._sockets, _ignore, fail, _ignore).reshape(later)
        return problems

    def _undo_relays(
        self, make: Sequence[Relay], remove: Sequence[Relay], fail: Callable[[Word, LibnetworkError], None]
    ) -> None:
        if make or remove:
            try:
                self._sockets.relays.load(make, remove)
            except LibnetworkError as error:
                fail((make or remove)[0], error)

    def _torn_off(self, gone: Iterable[Word]) -> list[Veth]:
        """The pairs that would have gone with their namespace, and lost their bridge before it came to that."""
        went = {word.key for word in gone}
        doomed = [word for word in self._change.remove if isinstance(word, Veth) and word.key not in went]
        return [word for word in doomed if ("link", word.namespace, word.master) in went]

    def _made_it(self, word: Word) -> None:
        self._made[id(word)] = word

    def _removed(self, word: Word) -> None:
        self._gone[id(word)] = word

    def _fail(self, word: Word, error: LibnetworkError) -> None:
        raise error

    def _begin(self, words: Iterable[Word]) -> None:
        for word in words:
            self._begun[id(word)] = word

    @property
    def reverse(self) -> Change:
        """What leads back from wherever it was interrupted: what was never begun may be somebody else's."""
        made = tuple(word for word in self._change.make if id(word) in self._begun)
        return Change(remove=made, make=self._change.remove, why=f"undo {self._change.why}")


def enforce(sockets: Sockets, change: Change) -> None:
    """Make a change on a machine in an unknown state; see `Kernel.enforce`."""
    problems: list[LibnetworkError] = []
    for _ in range(_ROUNDS):
        enforcement = Enforcement(sockets, change)
        agreed = not enforcement.run()
        problems = enforcement.problems
        if agreed:
            break
    if problems:
        raise ExceptionGroup(change.why or "what was described could not be enforced", problems)


class Enforcement:
    """One round: look, then do what differs."""

    def __init__(self, sockets: Sockets, change: Change) -> None:
        self._sockets = sockets
        self.errors: dict[Word, LibnetworkError] = {}
        coming = {word.key for word in change.make}
        self._remove = [word for word in change.remove if word.key not in coming]
        altered = {new.key: new for _, new in reshaped(change)}
        self._make = [altered.get(word.key, word) for word in change.make] if altered else list(change.make)

    @property
    def problems(self) -> list[LibnetworkError]:
        """What went wrong, each error once."""
        return list({id(error): error for error in self.errors.values()}.values())

    def run(self) -> bool:
        """Return whether there was anything to do."""
        words = [*self._remove, *self._make]
        facts = snapshot.take(self._sockets, {path for word in words for path in _places(word)}, words)
        going = [word for word in self._remove if _is_there(word, facts, self._sockets.opener)]
        difference = compare(self._make, facts)
        changed = [word for word, _ in difference.changed]
        if not going and not difference:
            return False
        self._take_away(going, difference.missing)
        self._mend([word for word in changed if isinstance(word, Namespace | Link | Moved)], facts)
        self._put(difference.missing, changed)
        self._filter(going, difference.missing, changed)
        self._relay(_relays(going), _relays([*difference.missing, *changed]))
        return True

    def _relay(self, goes: Sequence[Relay], comes: Sequence[Relay]) -> None:
        if goes:
            self._sockets.relays.load([], goes)
        for word in comes:
            self._effort(Maker).attempt([word], lambda word=word: self._sockets.relays.load([word], []))  # type: ignore[misc]

    def _effort(self, kind: type[E]) -> E:
        return kind(self._sockets, _ignore, self._fail, _ignore)

    def _fail(self, word: Word, error: LibnetworkError) -> None:
        self.errors.setdefault(word, error)

    def _take_away(self, going: Sequence[Word], missing: Sequence[Word]) -> None:
        """Also a name without a namespace, which a process that died half-way left behind."""
        left = [word for word in missing if isinstance(word, Namespace)]
        remover = self._effort(Remover)
        remover.remove([*going, *left])
        remover.drop()
        remover.vanished()

    def _mend(self, changed: Sequence[Namespace | Link | Moved], facts: Facts) -> None:
        maker = self._effort(Maker)
        try:
            for word in sorted(changed, key=phase):  # a bridge before its ports, as in `reshaped`
                if isinstance(word, Namespace):
                    maker.attempt([word], lambda word=word: maker.raise_loopback(word))  # type: ignore[misc]
                elif isinstance(word, Moved):
                    maker.attempt([word], lambda word=word: self._mend_moved(maker, word))  # type: ignore[misc]
                else:
                    maker.attempt([word], lambda word=word: self._mend_link(maker, word, facts))  # type: ignore[misc]
        finally:
            maker.close()

    def _mend_moved(self, effort: Maker, word: Moved) -> None:
        effort.send(effort.stack(word.namespace).transport, [(word, messages.mend_moved(word))], "mend")

    def _mend_link(self, effort: Maker, word: Link, facts: Facts) -> None:
        link = facts.namespaces[word.namespace].links[word.name]
        if link.kind != kind_of(word):
            raise Conflict(
                f"cannot make {meaning(word)}: {word.name} is a {link.kind or 'physical'} link; remove or rename it",
                code="foreign_link",
                errno=errno.EEXIST,
            )
        if isinstance(word, Veth):
            _mend_pair(effort, word, facts)
            return
        transport = effort.stack(word.namespace).transport
        if isinstance(word, Bridge):
            effort.send(transport, [(word, messages.mend_bridge(word))], "mend")
        elif link.tunnel != tunnel_of(word):
            effort.send(transport, [(word, messages.delete_link(word.name))], "replace", messages.GONE)
        else:
            master = effort.index(effort.stack(word.namespace), word, word.master) if word.master else 0
            steps = [(word, message) for message in tunnels.vxlan_port(word, master, has_ipv6())]
            effort.send(transport, steps, "mend")

    def _put(self, missing: Sequence[Word], changed: Sequence[Word]) -> None:
        again = [word for word in changed if isinstance(word, Route | Sysctl | Entry | Qdisc)]
        self._effort(Maker).make([*missing, *again], replace=True)

    def _filter(self, going: Sequence[Word], missing: Sequence[Word], changed: Sequence[Word]) -> None:
        effort = self._effort(Maker)
        comes, goes = _filter([*missing, *changed]), _filter([*going, *changed])
        for path in dict.fromkeys(word.namespace for word in (*comes, *goes)):
            some = _inside(path, comes), _inside(path, goes)
            effort.attempt([*some[0], *some[1]], lambda path=path, some=some: effort.load(path, *some))  # type: ignore[misc]


def _mend_pair(effort: Maker, word: Veth, facts: Facts) -> None:
    outer = effort.stack(word.namespace)
    peer = facts.namespaces.get(word.peer_namespace)
    if not word.handed and (peer is None or word.peer_name not in peer.links):
        effort.send(outer.transport, [(word, messages.delete_link(word.name))], "replace", messages.GONE)
        return  # made again in the next round
    master = effort.index(outer, word, word.master) if word.master else 0
    steps = [(word, message) for message in messages.mend_veth(word, master, has_ipv6())]
    effort.send(outer.transport, steps, "mend")
    if word.handed:
        return
    inner = effort.stack(word.peer_namespace)
    mends = [messages.mend_peer(word)]
    if word.peer_master:
        mends.append(messages.join(word.peer_name, effort.index(inner, word, word.peer_master)))
    effort.send(inner.transport, [(word, message) for message in mends], "mend")


def _is_there(word: Word, facts: Facts, opener: Opener) -> bool:
    """Whether a word that shall go is there, in whatever shape, and is ours to remove."""
    difference = compare([word], facts)
    if difference.present:
        return not isinstance(word, Sysctl) or word.restore not in {None, word.value}
    match word:
        case Namespace():
            return os.path.lexists(opener.outer(word.path))
        case Bridge() | Veth() | Vxlan():
            inside = facts.namespaces.get(word.namespace)
            link = inside.links.get(word.name) if inside else None
            return link is not None and link.kind == kind_of(word)
        case Moved() | Qdisc() | Table() | Element() | Relay() | Neighbour() | Forwarding():
            return bool(difference.changed)
        case _:
            return False


def _in_turn(
    links: Sequence[tuple[Link, Link]], coming: Iterable[Word]
) -> tuple[list[tuple[Link, Link]], list[tuple[Link, Link]]]:
    """Return which links are altered before other words are made, and which after, because they become ports of a bridge that is made.

    Before, where possible: a larger MTU may give an interface the IPv6 settings that other words write.
    """
    new = (
        {(word.namespace, word.name) for word in coming if isinstance(word, Bridge)}
        if links
        else set[tuple[str, str]]()
    )
    turns: tuple[list[tuple[Link, Link]], list[tuple[Link, Link]]] = [], []
    for pair in links:
        turns[isinstance(pair[1], Veth) and (pair[1].namespace, pair[1].master) in new].append(pair)
    return turns


def _places(word: Word) -> tuple[str, ...]:
    match word:
        case Namespace():
            return (word.path,)
        case Veth():
            return word.namespace, word.peer_namespace
        case _:
            return (word.namespace,)


def _filter(words: Iterable[Word]) -> list[Table | Element]:
    return [word for word in words if isinstance(word, Table | Element)]


def _tables(comes: Iterable[Table | Element], goes: Iterable[Table | Element]) -> dict[str, list[Table | Element]]:
    """What comes into the packet filters of sandboxes in which nothing of it goes, by their paths."""
    found: dict[str, list[Table | Element]] = defaultdict(list)
    leaving = {HOST, *(word.namespace for word in goes)}
    for word in comes:
        if word.namespace not in leaving:
            found[word.namespace].append(word)
    return found


def _relays(words: Iterable[Word]) -> list[Relay]:
    return [word for word in words if isinstance(word, Relay)]


def _inside(path: str, words: Iterable[Table | Element]) -> list[Table | Element]:
    return [word for word in words if word.namespace == path]


def _undo_filter(
    effort: Effort,
    make: list[Table | Element],
    remove: list[Table | Element],
    fail: Callable[[Word, LibnetworkError], None],
) -> None:
    for path in dict.fromkeys(word.namespace for word in (*make, *remove)):
        try:
            effort.load(path, _inside(path, make), _inside(path, remove))
        except LibnetworkError as error:
            fail((make or remove)[0], error)


def _ignore(word: object) -> None:
    pass
