"""A snapshot of the machine, and the comparison of a description with it.

Division of labour: `kernel/` takes snapshots; drivers, IPAM and the firewall read them to decide; `compare` finds drift. A
snapshot is a value: nothing here looks at the machine.

May import: desired, nftables, routes, types, errors.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from attrs import field, frozen

from .desired import (
    HOST,
    Address,
    Bridge,
    Description,
    Element,
    Key,
    Moved,
    Namespace,
    Relay,
    Route,
    Sysctl,
    Table,
    Veth,
    Word,
)
from .routes import METRIC_DEFAULTS
from .types import Family, IPAddress, IPInterface, IPNetwork


@frozen
class LinkFact:
    """A network interface as the kernel has it. ``kind``: ``veth``, ``bridge``, …, empty for a physical one."""

    name: str
    index: int
    kind: str
    mac: str
    mtu: int
    up: bool
    group: int = 0
    master: str = ""
    hairpin: bool = False
    isolated: bool = False


@frozen
class LinkStatistics:
    """Counters of one interface since it was made (``struct rtnl_link_stats64``)."""

    rx_bytes: int
    rx_packets: int
    rx_errors: int
    rx_dropped: int
    tx_bytes: int
    tx_packets: int
    tx_errors: int
    tx_dropped: int


@frozen
class RouteFact:
    """A unicast route of the main table. ``connected``: made by the kernel for an address (protocol ``kernel``)."""

    destination: IPNetwork
    link: str
    gateway: IPAddress | None
    metric: int
    connected: bool = False


@frozen
class NamespaceFacts:
    """What is in one namespace."""

    links: Mapping[str, LinkFact]
    addresses: frozenset[tuple[str, IPInterface]]
    routes: frozenset[RouteFact]


@frozen
class TableFact:
    """One table of the packet filter: how many rules each chain has, and the keys (and values) of each set.

    ``strange``: chain → place, from 1, of the first of as many rules that is not as the table was described when it was looked for.
    """

    chains: Mapping[str, int]
    sets: Mapping[str, Mapping[tuple[object, ...], object]]
    strange: Mapping[str, int] = field(factory=dict)


@frozen
class ChainFact:
    """A chain of the packet filter, whoever made it.

    ``family``: the table's, ``ip``, ``ip6`` or ``inet``. ``hook``: empty for one that hangs on none. ``drops``: what reaches its end is
    dropped, by policy or by its last rule. ``links``: interfaces that its rules name, with ``*`` for the rest of a name. ``ports``:
    protocol and destination port that its rules send elsewhere.
    """

    family: str
    table: str
    name: str
    kind: str = ""
    hook: str = ""
    priority: int = 0
    drops: bool = False
    links: frozenset[str] = frozenset()
    ports: frozenset[tuple[str, int]] = frozenset()


@frozen
class FilterFacts:
    """The host's packet filter, ours and others': its chains, and the tables of the older iptables (``filter``), per IP version."""

    chains: tuple[ChainFact, ...] = ()
    legacy: Mapping[Family, tuple[str, ...]] = field(factory=dict)

    @property
    def tables(self) -> frozenset[tuple[str, str]]:
        """Family and name of every table that has a chain."""
        return frozenset((chain.family, chain.table) for chain in self.chains)


@frozen
class Facts:
    """What the machine has. A namespace, table or setting that was looked for and is not there is absent from its mapping.

    ``relays``: what the controller's relay carries, where it was asked.
    """

    namespaces: Mapping[str, NamespaceFacts] = field(factory=dict)
    tables: Mapping[tuple[str, str], TableFact] = field(factory=dict)
    sysctls: Mapping[Key, str] = field(factory=dict)
    relays: Mapping[Key, Relay] = field(factory=dict)

    @property
    def host(self) -> NamespaceFacts:
        """The host's namespace."""
        return self.namespaces[HOST]


@frozen
class Difference:
    """What a description and a machine disagree about: words ``missing``, words ``changed`` (with how), and words present."""

    missing: Description
    changed: tuple[tuple[Word, str], ...]
    present: Description

    def __bool__(self) -> bool:
        return bool(self.missing or self.changed)


def compare(description: Iterable[Word], facts: Facts) -> Difference:
    """Return where the machine differs from the description.

    A word whose namespace, link or table is missing is missing too.
    """
    missing: list[Word] = []
    changed: list[tuple[Word, str]] = []
    present: list[Word] = []
    for word in description:
        how = _difference(word, facts)
        if how is None:
            present.append(word)
        elif how == "":
            missing.append(word)
        else:
            changed.append((word, how))
    return Difference(tuple(missing), tuple(changed), tuple(present))


def _difference(word: Word, facts: Facts) -> str | None:
    """``None``: as described. Empty: missing. Else how it differs."""
    match word:
        case Namespace():
            there = facts.namespaces.get(word.path)
            loopback = there.links.get("lo") if there else None
            return "" if there is None else "its loopback is down" if loopback and not loopback.up else None
        case Sysctl():
            value = facts.sysctls.get(word.key)
            return "" if value is None else None if value == word.value else f"is {value}"
        case Table():
            return _table_difference(word, facts)
        case Element():
            return _element_difference(word, facts)
        case Relay():
            return _relay_difference(word, facts)
        case _:
            pass
    inside = facts.namespaces.get(word.namespace)
    if inside is None:
        return ""
    match word:
        case Address():
            return None if (word.link, word.address) in inside.addresses else ""
        case Route():
            return _route_difference(word, inside)
        case Bridge() | Veth() | Moved():
            return _link_difference(word, inside, facts)


def _element_difference(word: Element, facts: Facts) -> str | None:
    table = facts.tables.get((word.namespace, word.table))
    elements = table.sets.get(word.set.name) if table else None
    if elements is None or word.fields not in elements:
        return ""
    leads_to = elements[word.fields]
    return None if leads_to == word.value else f"leads to {leads_to}"


def _relay_difference(word: Relay, facts: Facts) -> str | None:
    carried = facts.relays.get(word.key)
    return "" if carried is None else None if carried == word else f"leads to {carried.to}"


def _table_difference(word: Table, facts: Facts) -> str | None:
    table = facts.tables.get((word.namespace, word.name))
    if table is None:
        return ""
    for chain in word.chains:
        if table.chains.get(chain.name) != len(chain.rules):
            return f"chain {chain.name} has {table.chains.get(chain.name, 'no')} rules instead of {len(chain.rules)}"
        if chain.name in table.strange:
            place = table.strange[chain.name]
            return f"rule {place} of chain {chain.name} is another than `{chain.rules[place - 1].text}`"
    gone = [decl.name for decl in word.sets if decl.name not in table.sets]
    return f"lacks the sets {', '.join(gone)}" if gone else None


def _route_difference(word: Route, inside: NamespaceFacts) -> str | None:
    candidates = [route for route in inside.routes if route.destination == word.destination and not route.connected]
    metric = word.metric or METRIC_DEFAULTS[4 if word.destination.version == 4 else 6]
    candidates = [route for route in candidates if route.metric == metric]
    if any((route.link, route.gateway) == (word.link, word.gateway) for route in candidates):
        return None
    return f"goes via {candidates[0].gateway} dev {candidates[0].link}" if candidates else ""


def _moved_difference(word: Moved, link: LinkFact) -> str | None:
    if word.mac is not None and link.mac != str(word.mac):
        return f"mac is {link.mac}"
    return None if link.up else "up is False"


def _link_difference(word: Bridge | Veth | Moved, inside: NamespaceFacts, facts: Facts) -> str | None:
    link = inside.links.get(word.name)
    if link is None:
        return ""
    if isinstance(word, Moved):
        return _moved_difference(word, link)
    kind = "bridge" if isinstance(word, Bridge) else "veth"
    if link.kind != kind:
        return f"is a {link.kind or 'physical'} link"
    wanted: list[tuple[str, object, object]] = [("up", link.up, True)]
    if word.mtu:
        wanted.append(("mtu", link.mtu, word.mtu))
    if isinstance(word, Bridge):
        wanted.append(("mac", link.mac, str(word.mac)))
    else:
        wanted += [
            ("master", link.master, word.master),
            ("hairpin", link.hairpin, word.hairpin),
            ("isolated", link.isolated, word.isolated),
        ]
        peer_inside = facts.namespaces.get(word.peer_namespace)
        peer = peer_inside.links.get(word.peer_name) if peer_inside else None
        if peer is None:
            return f"lacks its other end {word.peer_name}"
        wanted += [("mac", peer.mac, str(word.peer_mac)), ("peer up", peer.up, True)]
        if word.peer_master:
            wanted.append(("peer master", peer.master, word.peer_master))
        if word.mtu:
            wanted.append(("peer mtu", peer.mtu, word.mtu))
    return next((f"{what} is {is_}" for what, is_, should in wanted if is_ != should), None)
