"""What is there in a machine in memory, as a snapshot shows it.

Division of labour: `Standing` holds the words that were made and answers questions; `machine` makes and removes them.

May import: inside, views, desired, facts, types, errors.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TypeAlias

from attrs import Factory, define, evolve, field

from ..desired import HOST, Address, Element, Link, Moved, Namespace, Qdisc, Relay, Route, Sysctl, Table, Word
from ..errors import NotFound
from ..facts import Facts, LinkFact, NamespaceFacts, RouteFact, TableFact
from ..types import EMPTY, IPInterface
from .inside import Inside, Presets
from .views import LOOPBACK, LOOPBACK_ADDRESSES, connected, entries, link_fact, metric_of

AnyLink: TypeAlias = Link | Moved | LinkFact


@define
class Standing:
    """The words that exist now, over presets."""

    presets: Presets = field(factory=Presets)
    _inside: dict[str, Inside] = field(init=False, default=Factory(lambda self: _empty(self.presets), takes_self=True))

    def __iter__(self) -> Iterator[Word]:
        for inside in self._inside.values():
            yield from inside.words.values()

    def find(self, word: Word) -> Word | None:
        """Return the word of the same key, in whatever shape it exists."""
        inside = self._inside.get(home(word))
        return inside.words.get(word.key) if inside else None

    def has_namespace(self, path: str) -> bool:
        """Return whether there is such a namespace."""
        return path in self._inside

    def _need_namespace(self, path: str) -> Inside:
        inside = self._inside.get(path)
        if inside is None:
            raise no_namespace(path)
        return inside

    def _link(self, namespace: str, name: str) -> AnyLink | None:
        inside = self._need_namespace(namespace)
        if name in inside.away:
            return None
        word = inside.words.get(("link", namespace, name))
        preset = (link for link in (LOOPBACK, *self._preset_links(namespace)) if link.name == name)
        return word if isinstance(word, Link | Moved) else inside.peers.get(name) or next(preset, None)

    def _preset_links(self, namespace: str) -> tuple[LinkFact, ...]:
        return self.presets.links if namespace == HOST else ()

    def addresses(self, namespace: str) -> frozenset[tuple[str, IPInterface]]:
        """Return the addresses in a namespace with their interfaces, loopback included."""
        words = self._need_namespace(namespace).words.values()
        made = {(each.link, each.address) for each in words if isinstance(each, Address)}
        preset = self.presets.addresses if namespace == HOST else ()
        return frozenset({*made, *preset, *((LOOPBACK.name, address) for address in LOOPBACK_ADDRESSES)})

    def words(self, namespace: str) -> Collection[Word]:
        """Return the words in a namespace."""
        return self._need_namespace(namespace).words.values()

    def routes(self, namespace: str) -> frozenset[RouteFact]:
        """Return the routes of a namespace's main table, the connected ones of its addresses included."""
        words = self._need_namespace(namespace).words.values()
        made = (
            RouteFact(each.destination, each.link, each.gateway, metric_of(each))
            for each in words
            if isinstance(each, Route)
        )
        preset = self.presets.routes if namespace == HOST else ()
        return frozenset({*made, *preset, *connected(self.addresses(namespace))})

    def links(self, namespace: str) -> Mapping[str, LinkFact]:
        """Return the interfaces of a namespace by name, loopback first."""
        inside = self._need_namespace(namespace)
        found = self._stationary(namespace)
        for word in inside.words.values():
            if isinstance(word, Moved):
                found[word.name] = self._fact_moved(word, inside.indexes[word.name])
        for name, word in inside.back.items():
            if name in found:
                found[name] = evolve(found[name], up=False, mac=str(word.mac or found[name].mac))
        return {name: link for name, link in found.items() if name not in inside.away}

    def _stationary(self, namespace: str) -> dict[str, LinkFact]:
        """The interfaces as if none had been moved."""
        inside = self._need_namespace(namespace)
        found = {link.name: link for link in (LOOPBACK, *self._preset_links(namespace))}
        for word in inside.words.values():
            if isinstance(word, Link):
                found[word.name] = link_fact(word, inside.indexes[word.name])
        for name, veth in inside.peers.items():
            found[name] = LinkFact(
                name, inside.indexes[name], "veth", veth.peer_mac, veth.mtu or 1500, up=True, master=veth.peer_master
            )
        return found

    def _fact_moved(self, word: Moved, index: int) -> LinkFact:
        was = self._stationary(HOST)[word.source]
        return evolve(was, name=word.name, index=index, mac=str(word.mac or was.mac), group=0, master="", up=True)

    def setting(self, word: Sysctl) -> str | None:
        """Return the value that a setting has, whoever wrote it; ``None`` if its namespace or interface is not there.

        One of an interface that nobody wrote has the value of ``default``.
        """
        inside = self._inside.get(word.namespace)
        pseudo = word.link in {None, "all", "default"}
        if inside is None or not (pseudo or self._link(word.namespace, word.link or "")):
            return None
        preset = self.presets.sysctls if word.namespace == HOST else EMPTY
        inherited = "0" if pseudo else self.setting(evolve(word, name=word.name.replace("{}", "default"), link=None))
        return inside.settings.get(word.key, preset.get(word.name.replace("{}", word.link or ""), inherited))

    def table(self, namespace: str, name: str) -> TableFact | None:
        """Return a table of the packet filter."""
        inside = self._inside.get(namespace)
        table = inside.words.get(("table", namespace, name)) if inside else None
        if inside is None or not isinstance(table, Table):
            return None
        sets: dict[str, dict[tuple[object, ...], object]] = {decl.name: {} for decl in table.sets}
        for word in inside.words.values():
            if isinstance(word, Element) and word.table == name:
                sets[word.set.name].update({each.fields: each.value for each in word.singles})
        return TableFact({chain.name: len(chain.rules) for chain in table.chains}, sets)


def facts(machine: Standing, namespaces: Iterable[str], words: Iterable[Word]) -> Facts:
    """Return a snapshot: the host, those of ``namespaces`` that exist, and the tables and settings that ``words`` name."""
    wanted = tuple(words)
    paths = dict.fromkeys(path for path in (HOST, *namespaces) if machine.has_namespace(path))
    inside = {
        path: NamespaceFacts(
            machine.links(path), machine.addresses(path), machine.routes(path), *entries(machine.words(path))
        )
        for path in paths
    }
    tables = dict.fromkeys((word.namespace, word.name) for word in wanted if isinstance(word, Table))
    tables |= dict.fromkeys((word.namespace, word.table) for word in wanted if isinstance(word, Element))
    found = {key: machine.table(*key) for key in tables}
    settings = {word.key: machine.setting(word) for word in wanted if isinstance(word, Sysctl)}
    return Facts(
        inside,
        {key: table for key, table in found.items() if table is not None},
        {key: value for key, value in settings.items() if value is not None},
        {each.key: each for each in machine if isinstance(each, Relay)},
        {
            word.key: there
            for word in wanted
            if isinstance(word, Qdisc) and isinstance(there := machine.find(word), Qdisc)
        },
    )


def home(word: Word) -> str:
    """Return the namespace that a word is kept with: a namespace's own, for the namespace itself."""
    return word.path if isinstance(word, Namespace) else word.namespace


def _empty(presets: Presets) -> dict[str, Inside]:
    inside = {path: Inside() for path in (HOST, *presets.namespaces)}
    for link in presets.links:
        inside[HOST].number(link.name)
    return inside


def no_namespace(path: str) -> NotFound:
    """Return the error for a namespace that is not there."""
    return NotFound(f"no network namespace at {path}", code="namespace_not_found", path=path)
