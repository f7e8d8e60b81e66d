"""A snapshot of the machine, and the comparison of a description with it.

Division of labour: `kernel/` takes snapshots; drivers, IPAM and the firewall read them to decide; `compare` finds drift. A
snapshot is a value: nothing here looks at the machine.

May import: desired, nftables, routes, types, errors.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from attrs import evolve, field, frozen

from .desired import (
    HOST,
    Address,
    Bridge,
    Description,
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
)
from .routes import METRIC_DEFAULTS
from .types import Family, IPAddress, IPInterface, IPNetwork


@frozen
class TunnelFact:
    """What a VXLAN device is like."""

    vni: int
    local: IPAddress | None
    port: int
    learning: bool = False
    proxy: bool = False


@frozen
class LinkFact:
    """A network interface as the kernel has it. ``kind``: ``veth``, ``bridge``, …, empty for a physical one.

    ``learning`` and ``flood``: as a port of its bridge it learns addresses, and gets frames for unknown ones.
    """

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
    learning: bool = True
    flood: bool = True
    tunnel: TunnelFact | None = None


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
    """What is in one namespace.

    ``neighbours``: link and address → MAC address of permanent entries. ``forwarding``: link and MAC address → where a VXLAN device
    sends its frames, `None` for no other host. ``bridged``: port and MAC address of a bridge's static entries. These three are looked at
    where words name entries.
    """

    links: Mapping[str, LinkFact]
    addresses: frozenset[tuple[str, IPInterface]]
    routes: frozenset[RouteFact]
    neighbours: Mapping[tuple[str, IPAddress], str] = field(factory=dict)
    forwarding: Mapping[tuple[str, str], IPAddress | None] = field(factory=dict)
    bridged: frozenset[tuple[str, str]] = frozenset()


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
    """What the machine has. A namespace, table, setting or qdisc that was looked for and is not there is absent from its mapping.

    ``relays``: what the controller's relay carries, where it was asked.
    """

    namespaces: Mapping[str, NamespaceFacts] = field(factory=dict)
    tables: Mapping[tuple[str, str], TableFact] = field(factory=dict)
    sysctls: Mapping[Key, str] = field(factory=dict)
    relays: Mapping[Key, Relay] = field(factory=dict)
    qdiscs: Mapping[Key, Qdisc] = field(factory=dict)

    @property
    def host(self) -> NamespaceFacts:
        """The host's namespace."""
        return self.namespaces[HOST]


def without(facts: Facts, words: Description) -> Facts:
    """Return facts as if the links and addresses among some words were gone from the host, with what is on the links."""
    links = {word.name for word in words if isinstance(word, Link) and word.namespace == HOST}
    addresses = {(word.link, word.address) for word in words if isinstance(word, Address) and word.namespace == HOST}
    if not links and not addresses:
        return facts
    host = evolve(
        facts.host,
        links={name: link for name, link in facts.host.links.items() if name not in links},
        addresses=frozenset(each for each in facts.host.addresses - addresses if each[0] not in links),
        routes=frozenset(each for each in facts.host.routes if each.link not in links),
    )
    return evolve(facts, namespaces={**facts.namespaces, HOST: host})


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
        case Sysctl() | Qdisc():
            return _setting_difference(word, facts)
        case Table():
            return _table_difference(word, facts)
        case Element():
            return _element_difference(word, facts)
        case Relay():
            return _relay_difference(word, facts)
        case _:
            inside = facts.namespaces.get(word.namespace)
            return "" if inside is None else _inside_difference(word, inside, facts)


def _inside_difference(
    word: Link | Moved | Address | Route | Neighbour | Forwarding, inside: NamespaceFacts, facts: Facts
) -> str | None:
    match word:
        case Address():
            return None if (word.link, word.address) in inside.addresses else ""
        case Route():
            return _route_difference(word, inside)
        case Neighbour():
            mac = inside.neighbours.get((word.link, word.address))
            return "" if mac is None else None if mac == word.mac else f"is {mac}"
        case Forwarding():
            return _forwarding_difference(word, inside)
        case Bridge() | Veth() | Vxlan() | Moved():
            return _link_difference(word, inside, facts)


def _element_difference(word: Element, facts: Facts) -> str | None:
    table = facts.tables.get((word.namespace, word.table))
    elements = table.sets.get(word.set.name) if table else None
    if elements is None:
        return ""
    found = [each for each in word.singles if each.fields in elements]
    if len(found) < word.count:
        return f"lacks {word.count - len(found)} of {word.count}" if found else ""
    others = (elements[each.fields] for each in found if elements[each.fields] != each.value)
    return next((f"leads to {leads_to}" for leads_to in others), None)


def _relay_difference(word: Relay, facts: Facts) -> str | None:
    carried = facts.relays.get(word.key)
    return "" if carried is None else None if carried == word else f"leads to {carried.to}"


def _setting_difference(word: Sysctl | Qdisc, facts: Facts) -> str | None:
    if isinstance(word, Sysctl):
        value = facts.sysctls.get(word.key)
        return "" if value is None else None if value == word.value else f"is {value}"
    found = facts.qdiscs.get(word.key)
    if found is None:
        return ""
    near = abs(found.burst - word.burst) * 50 <= word.burst  # kept as a time: it comes back a little off
    seed = None if word.seed is None else found.seed  # the kernel draws one where none is given
    return None if word == evolve(found, burst=word.burst if near else found.burst, seed=seed) else f"is {found}"


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


def _forwarding_difference(word: Forwarding, inside: NamespaceFacts) -> str | None:
    place = word.link, str(word.mac)
    if place not in inside.forwarding:
        return ""
    if inside.forwarding[place] != word.vtep:
        return f"leads to {inside.forwarding[place]}"
    link = inside.links.get(word.link)
    return "the bridge does not know it" if link and link.master and place not in inside.bridged else None


_KINDS: Mapping[type[Link], str] = {Bridge: "bridge", Veth: "veth", Vxlan: "vxlan"}


def kind_of(word: Link) -> str:
    """Return what the kernel calls links of this sort."""
    return _KINDS[type(word)]


def _link_difference(word: Link | Moved, inside: NamespaceFacts, facts: Facts) -> str | None:
    link = inside.links.get(word.name)
    if link is None:
        return ""
    if isinstance(word, Moved):
        return _moved_difference(word, link)
    if link.kind != kind_of(word):
        return f"is a {link.kind or 'physical'} link"
    wanted: list[tuple[str, object, object]] = [("up", link.up, not getattr(word, "down", False))]
    if word.mtu:
        wanted.append(("mtu", link.mtu, word.mtu))
    match word:
        case Bridge():
            wanted.append(("mac", link.mac, str(word.mac)))
        case Vxlan():
            wanted += _tunnel_wanted(word, link)
        case Veth():
            peer_inside = facts.namespaces.get(word.peer_namespace)
            peer = peer_inside.links.get(word.peer_name) if peer_inside else None
            wanted += _pair_wanted(word, link, peer)
    return next((f"{what} is {is_}" if what else str(is_) for what, is_, should in wanted if is_ != should), None)


def _pair_wanted(word: Veth, link: LinkFact, peer: LinkFact | None) -> Iterator[tuple[str, object, object]]:
    yield "master", link.master, word.master
    yield "hairpin", link.hairpin, word.hairpin
    yield "isolated", link.isolated, word.isolated
    if word.handed:
        return
    if peer is None:
        yield "", f"lacks its other end {word.peer_name}", None
        return
    yield "mac", peer.mac, str(word.peer_mac)
    yield "peer up", peer.up, True
    if word.peer_master:
        yield "peer master", peer.master, word.peer_master
    if word.mtu:
        yield "peer mtu", peer.mtu, word.mtu


def _tunnel_wanted(word: Vxlan, link: LinkFact) -> Iterator[tuple[str, object, object]]:
    yield "tunnel", link.tunnel, tunnel_of(word)
    yield "master", link.master, word.master
    if word.master:
        yield "learning", link.learning, False
        yield "flood", link.flood, False
        yield "isolated", link.isolated, True


def tunnel_of(word: Vxlan) -> TunnelFact:
    """Return what a VXLAN device that is as described is like."""
    return TunnelFact(word.vni, word.local, word.port, proxy=word.proxy)
