"""A machine in memory: words that were made, and what was there before.

Division of labour: `Machine` makes and removes words and refuses what a kernel would refuse, with the errors that the kernel layer makes
of a kernel's refusals; `standing` says what is there. It knows no order, no undoing and no failure injection, which are `fake_kernel`'s.

What it leaves out: traffic, carrier, link-local addresses, secondary addresses that go with their primary.

May import: standing, inside, views, kernel.transport, kernel.messages, desired, facts, types, errors.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable

from attrs import define, evolve

from ..desired import (
    HOST,
    Address,
    Bridge,
    Element,
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
)
from ..errors import InvalidParameter, LibnetworkError
from ..facts import tunnel_of
from ..kernel.messages import meaning
from ..kernel.transport import Refusal, refused
from ..types import check_interface_name
from .inside import Inside
from .standing import AnyLink, Standing, home
from .views import metric_of

BRIDGE_PORTS = 1023
"""As many ports as a bridge takes (``BR_MAX_PORTS`` less one)."""


@define
class Machine(Standing):
    """The words that exist now, over presets, and what becomes of them."""

    def copy(self) -> Machine:
        """Return a machine in the same state that goes its own way."""
        twin = Machine(self.presets)
        twin._inside = {path: inside.copy() for path, inside in self._inside.items()}
        return twin

    # making

    def make(self, word: Word) -> None:
        """Add a word.

        Raises:
            Conflict: it exists. NotFound: what it stands on does not. InvalidParameter: no kernel would take it.
        """
        inside = self._enter(word)
        if not isinstance(word, Sysctl) and word.key in inside.words:
            raise refuse(word, errno.EEXIST)
        match word:
            case Sysctl():
                if self.setting(word) is None:
                    raise refuse(word, errno.ENOENT)
                inside.settings[word.key] = word.value
            case Bridge() | Veth() | Vxlan() | Moved():
                self._make_link(word, inside)
            case Namespace() | Relay():
                pass
            case _:
                self._check_inner(word)
        inside.words[word.key] = word

    def _make_link(self, word: Link | Moved, inside: Inside) -> None:
        match word:
            case Veth():
                self._make_veth(word, inside)
            case Moved():
                self._move(word, inside)
            case Bridge() | Vxlan():
                self._check_link(word)
                inside.number(word.name)

    def _enter(self, word: Word) -> Inside:
        if isinstance(word, Namespace):
            if word.path in self._inside:
                raise refuse(word, errno.EEXIST)
            self._inside[word.path] = Inside()
        return self._need_namespace(home(word))

    def _need_link(self, word: Word, namespace: str, name: str) -> AnyLink:
        link = self._link(namespace, name)
        if link is None:
            raise refuse(word, errno.ENODEV)
        return link

    def _check_name(self, word: Word, namespace: str, name: str) -> None:
        check_interface_name(name)
        if self._link(namespace, name) is not None:
            raise refuse(word, errno.EEXIST)

    def _make_veth(self, word: Veth, inside: Inside) -> None:
        self._check_name(word, word.namespace, word.name)
        self._check_name(word, word.peer_namespace, word.peer_name)
        if (word.namespace, word.name) == (word.peer_namespace, word.peer_name):
            raise refuse(word, errno.EEXIST)
        for namespace, master in ((word.namespace, word.master), (word.peer_namespace, word.peer_master)):
            if master:
                self._check_master(word, namespace, master)
        inside.number(word.name)
        there = self._inside[word.peer_namespace]
        there.number(word.peer_name)
        there.peers[word.peer_name] = word

    def _move(self, word: Moved, inside: Inside) -> None:
        self._check_name(word, word.namespace, word.name)
        if self._link(HOST, word.source) is None:
            raise refuse(word, errno.ENODEV)
        self._inside[HOST].away[word.source] = word
        self._inside[HOST].back.pop(word.source, None)
        inside.number(word.name)

    def _check_link(self, word: Bridge | Vxlan) -> None:
        self._check_name(word, word.namespace, word.name)
        if isinstance(word, Bridge):
            return
        others = (each for inside in self._inside.values() for each in inside.words.values())
        if any(isinstance(each, Vxlan) and (each.vni, each.port) == (word.vni, word.port) for each in others):
            raise refuse(word, errno.EEXIST, "A VXLAN device with the specified VNI already exists")
        if word.master:
            self._check_master(word, word.namespace, word.master)

    def _check_inner(self, word: Address | Route | Element | Neighbour | Forwarding | Qdisc | Table) -> None:
        if isinstance(word, Qdisc):
            self._need_link(word, word.namespace, word.link)
        elif isinstance(word, Table):
            for device in word.devices:
                self._need_link(word, word.namespace, device)
        elif isinstance(word, Address):
            self._check_address(word)
        elif isinstance(word, Route):
            self._check_route(word)
        elif isinstance(word, Element):
            self._check_element(word)
        else:
            self._check_entry(word)

    def _check_entry(self, word: Neighbour | Forwarding) -> None:
        link = self._need_link(word, word.namespace, word.link)
        if isinstance(word, Forwarding) and not (isinstance(link, Vxlan) and link.master):
            raise refuse(word, errno.EOPNOTSUPP)
        if isinstance(word, Forwarding) and isinstance(link, Vxlan) and link.local.version != word.vtep.version:
            raise refuse(word, errno.EAFNOSUPPORT)

    def _check_address(self, word: Address) -> None:
        self._need_link(word, word.namespace, word.link)
        if (word.link, word.address) in self.addresses(word.namespace):
            raise refuse(word, errno.EEXIST)

    def _check_master(self, word: Veth | Vxlan, namespace: str, name: str) -> None:
        master = self._need_link(word, namespace, name)
        if not isinstance(master, Bridge) and getattr(master, "kind", "") != "bridge":
            raise refuse(word, errno.EOPNOTSUPP)
        inside = self._inside[namespace]
        ports = sum(getattr(each, "master", "") == name for each in inside.words.values())
        if ports + sum(each.peer_master == name for each in inside.peers.values()) >= BRIDGE_PORTS:
            raise refuse(word, errno.EXFULL)

    def _check_route(self, word: Route) -> None:
        self._need_link(word, word.namespace, word.link)
        routes = self.routes(word.namespace)
        if (word.destination, metric_of(word)) in {(each.destination, each.metric) for each in routes}:
            raise refuse(word, errno.EEXIST)
        near = [each.destination for each in routes if each.gateway is None and each.link == word.link]
        if word.gateway and not word.gateway.is_link_local and not any(word.gateway in network for network in near):
            raise refuse(word, errno.ENETUNREACH, "Nexthop has invalid gateway")

    def _check_element(self, word: Element) -> None:
        table = self._inside[word.namespace].words.get(("table", word.namespace, word.table))
        if not isinstance(table, Table) or word.set.name not in {decl.name for decl in table.sets}:
            raise refuse(word, errno.ENOENT)
        fits = len(word.fields) == len(word.set.key) and (word.value is None) == (word.set.value is None)
        if word.set not in table.sets or not fits:
            raise InvalidParameter(
                f"{word.fields!r} → {word.value!r} is no element of the set {word.set.name}",
                code="bad_element", set=word.set.name,
            )  # fmt: skip

    def mend(self, word: Word) -> None:
        """Give a word that exists another shape; a link keeps what is on it, unless its other end would be another one."""
        there = self.find(word)
        simple = isinstance(word, Bridge | Neighbour | Forwarding) and type(word) is type(there)
        if isinstance(word, Vxlan) and isinstance(there, Vxlan):
            simple = tunnel_of(word) == tunnel_of(there)
        if simple:
            self._inside[home(word)].words[word.key] = word
        elif isinstance(word, Veth) and isinstance(there, Veth) and _far_end(word) == _far_end(there):
            self._inside[word.namespace].words[word.key] = word
            self._inside[word.peer_namespace].peers[word.peer_name] = word
        else:
            self.remove(there or word)
            self.make(word)

    # removing, where what is gone already is no error

    def remove(self, word: Word) -> None:
        """Remove a word and what goes with it; nothing happens if it is not there."""
        there = self.find(word)
        if there is None:
            return
        inside = self._inside[home(there)]
        del inside.words[there.key]
        match there:
            case Namespace():
                self._remove_namespace(there)
            case Sysctl():
                if there.restore is not None:
                    inside.settings[there.key] = there.restore
            case Bridge() | Veth() | Vxlan() | Moved():
                self._remove_link(there)
            case Address():
                self._remove_address(there)
            case Table():
                elements = [
                    each for each in inside.words.values() if isinstance(each, Element) and each.table == there.name
                ]
                _drop(inside, elements)
            case Route() | Element() | Neighbour() | Forwarding() | Relay() | Qdisc():
                pass

    def _remove_link(self, word: Link | Moved) -> None:
        match word:
            case Veth():
                self._remove_veth(word)
            case Bridge() | Vxlan():
                self._free_ports(word)
                self._sweep(word.namespace, word.name)
            case Moved():
                host = self._inside[HOST]
                host.back[word.source] = host.away.pop(word.source)
                self._sweep(word.namespace, word.name)

    def _remove_namespace(self, word: Namespace) -> None:
        for veth in list(self._inside[word.path].peers.values()):
            self.remove(veth)
        for link in [each for each in self._inside[word.path].words.values() if isinstance(each, Veth | Moved)]:
            self.remove(link)
        del self._inside[word.path]

    def _remove_veth(self, word: Veth) -> None:
        del self._inside[word.peer_namespace].peers[word.peer_name]
        for name in {name for namespace, name in _both_ends(word) if namespace == HOST}:
            moved = self._inside[HOST].away.get(name)
            if moved is not None:  # a pair goes wherever its ends are
                self.remove(moved)
        self._sweep(word.namespace, word.name)
        self._sweep(word.peer_namespace, word.peer_name)

    def _sweep(self, namespace: str, name: str) -> None:
        """Drop what was on an interface."""
        inside = self._inside[namespace]
        _drop(inside, [each for each in inside.words.values() if getattr(each, "link", None) == name])
        for key in [key for key in inside.settings if key[-1] == name]:
            del inside.settings[key]
        del inside.indexes[name]

    def _free_ports(self, bridge: Bridge | Vxlan) -> None:
        for name, veth in self._inside[bridge.namespace].peers.items():
            if veth.peer_master == bridge.name:
                freed = evolve(veth, peer_master="")
                self._inside[bridge.namespace].peers[name] = self._inside[veth.namespace].words[veth.key] = freed
        words = self._inside[bridge.namespace].words
        for key, word in words.items():
            if isinstance(word, Veth) and word.master == bridge.name:
                words[key] = self._inside[word.peer_namespace].peers[word.peer_name] = evolve(
                    word, master="", hairpin=False, isolated=False
                )
            elif isinstance(word, Vxlan) and word.master == bridge.name:
                words[key] = evolve(word, master="")

    def _remove_address(self, word: Address) -> None:
        family = word.address.version
        if not any(link == word.link and each.version == family for link, each in self.addresses(word.namespace)):
            # fib_inetaddr_event in net/ipv4/fib_frontend.c: the last IPv4 address takes the routes of its interface along
            words = self._inside[word.namespace].words.values()
            routes = (each for each in words if isinstance(each, Route) and each.link == word.link)
            _drop(self._inside[word.namespace], [each for each in routes if each.destination.version == family == 4])


def _both_ends(word: Veth) -> tuple[tuple[str, str], tuple[str, str]]:
    return (word.namespace, word.name), _far_end(word)


def _far_end(word: Veth) -> tuple[str, str]:
    return word.peer_namespace, word.peer_name


def _drop(inside: Inside, words: Iterable[Word]) -> None:
    for word in words:
        del inside.words[word.key]


def refuse(word: Word, number: int, says: str = "") -> LibnetworkError:
    """Return the error that the kernel layer makes when the kernel refuses to make a word."""
    return refused(Refusal(0, number, says), f"make {meaning(word)}")
