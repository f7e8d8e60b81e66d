"""The description's words: what should exist, as frozen values.

Division of labour: drivers *say* these words, `kernel/` *makes* them so, `render` *writes* them as ``ip``/``nft`` lines, `facts`
*compares* them with a machine. A word is identified by its ``key``; two words with one key and different fields are the same
object in two shapes. ``namespace`` is the path of a network namespace, or `HOST` for the one that plays the host.

Rule 1: a word is complete. Making it needs nothing but the word and the words that it names.
Rule 2: order is not the speaker's business. Everyone who orders words orders them by `PHASES`, and undoes in reverse.

May import: published, types.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypeAlias

from attrs import evolve, field, frozen

from .published import CALLER, Element, Key, Relay, Table
from .types import IPAddress, IPInterface, IPNetwork, MacAddress

__all__ = [
    "CALLER", "HOST", "MTU_DEFAULT", "PHASES", "VXLAN_PORT", "Address", "Bridge", "Change", "Description", "Element", "Entry", "Forwarding",
    "Key", "Link", "Moved", "Namespace", "Neighbour", "Qdisc", "Relay", "Route", "Sysctl", "Table", "Veth", "Vxlan", "Word", "between",
    "phase", "replaced", "reshaped",
]  # fmt: skip

VXLAN_PORT = 4789
"""The UDP port that IANA gave VXLAN (RFC 7348, section 8)."""

NAMESPACES = "/run/netns"
"""Where named namespaces are bound."""

HOST = ""
"""The namespace that plays the host, whatever its path."""


@frozen
class Namespace:
    """A network namespace of ours, bind-mounted at ``path``, its loopback up."""

    path: str

    @property
    def key(self) -> Key:
        """What tells it from every other object of a machine."""
        return ("namespace", self.path)


@frozen
class Sysctl:
    """A kernel setting of a namespace.

    ``name`` is dotted below ``net.`` with the interface, where there is one, given apart: ``Sysctl(ns, "ipv6.conf.{}.disable_ipv6",
    "0", link="eth0")``. ``restore`` is the value that undoing writes; ``None`` leaves the setting.
    """

    namespace: str
    name: str
    value: str
    link: str | None = None
    restore: str | None = field(default=None, eq=False)

    @property
    def key(self) -> Key:
        """What tells it from every other object of a machine."""
        return ("sysctl", self.namespace, self.name, self.link or "")

    @property
    def path(self) -> str:
        """Below ``/proc/sys/net``; an interface name with dots stays one directory."""
        return "/".join((self.link or "") if part == "{}" else part for part in self.name.split("."))


@frozen
class Bridge:
    """A Linux bridge, up; no STP, no forwarding delay. ``group`` tags it as ours (``IFLA_GROUP``); ``mtu`` 0 leaves the kernel's."""

    namespace: str
    name: str
    mac: MacAddress
    mtu: int = 0
    group: int = 0

    @property
    def key(self) -> Key:
        """What tells it from every other object of a machine."""
        return ("link", self.namespace, self.name)


@frozen
class Veth:
    """A veth pair, both ends up: ``name`` in ``namespace``, a port of ``master``; ``peer_name`` made directly in ``peer_namespace``.

    ``isolated``: the port reaches the bridge itself and no other isolated port. ``hairpin``: frames may leave by the port they came.
    The outer end never gets an IPv6 address. ``peer_master``: the bridge that the other end is a port of, if it joins two bridges.
    ``down``: the outer end is down, so that the other one has no carrier, as with a cable pulled out. ``handed``: the other end is handed
    over once it is made; whoever takes it may have put it anywhere since, under another name.
    """

    namespace: str
    name: str
    peer_namespace: str
    peer_name: str
    peer_mac: MacAddress
    master: str = ""
    mtu: int = 0
    group: int = 0
    hairpin: bool = False
    isolated: bool = False
    peer_master: str = ""
    down: bool = False
    handed: bool = False

    @property
    def key(self) -> Key:
        """What tells it from every other object of a machine."""
        return ("link", self.namespace, self.name)


@frozen
class Moved:
    """A link of the host that somebody else made, ``source``, moved into a namespace, named ``name`` there, and up.

    Undone by moving it back under its old name; it is neither made nor deleted. ``mac``: the address it is given, if any.
    """

    namespace: str
    name: str
    source: str
    mac: MacAddress | None = None

    @property
    def key(self) -> Key:
        """What tells it from every other object of a machine."""
        return ("link", self.namespace, self.name)


@frozen
class Vxlan:
    """A VXLAN device (RFC 7348) in ``namespace``, up, a port of the bridge ``master`` there; its packets go through the host's namespace.

    It knows what it is told by `Forwarding` and `Neighbour` and nothing else: it learns nothing, and what is for nobody it knows is
    dropped, not flooded; nothing passes from one tunnel to another. ``proxy``: it answers ARP requests and neighbour solicitations itself.
    It never gets an IPv6 address.

    Args:
        vni: Number of the segment, 24 bits.
        local: The host's address that tunnels begin at; its family is the tunnels'.
        port: UDP port, here and at every other end.
    """

    namespace: str
    name: str
    vni: int
    local: IPAddress
    port: int = VXLAN_PORT
    master: str = ""
    mtu: int = 0
    group: int = 0
    proxy: bool = True

    @property
    def key(self) -> Key:
        """What tells it from every other object of a machine."""
        return ("link", self.namespace, self.name)


@frozen
class Address:
    """An address with its prefix length on a link."""

    namespace: str
    link: str
    address: IPInterface

    @property
    def key(self) -> Key:
        """What tells it from every other object of a machine."""
        return ("address", self.namespace, self.link, str(self.address))


@frozen
class Route:
    """A unicast route in the main table. ``gateway`` ``None``: on-link. ``metric`` 0: the kernel's default for the family."""

    namespace: str
    destination: IPNetwork
    link: str
    gateway: IPAddress | None = None
    metric: int = 0

    @property
    def key(self) -> Key:
        """What tells it from every other object of a machine."""
        return ("route", self.namespace, str(self.destination), str(self.metric))


@frozen(cache_hash=True)  # there are thousands of them
class Neighbour:
    """A permanent entry of the neighbour table: who has an address of the other side of ``link``."""

    namespace: str
    link: str
    address: IPAddress
    mac: MacAddress = field(hash=False)

    @property
    def key(self) -> Key:
        """What tells it from every other object of a machine."""
        return ("neighbour", self.namespace, self.link, str(self.address))


@frozen(cache_hash=True)  # likewise
class Forwarding:
    """Where frames for ``mac`` go: through the VXLAN device ``link`` to the host with the address ``vtep``.

    The device is a port of a bridge, which sends them to that port and no other, whatever else claims to be ``mac``.
    """

    namespace: str
    link: str
    mac: MacAddress
    vtep: IPAddress = field(hash=False)

    @property
    def key(self) -> Key:
        """What tells it from every other object of a machine."""
        return ("forwarding", self.namespace, self.link, str(self.mac))


@frozen
class Qdisc:
    """How packets that leave a link queue (its root queueing discipline): rate, delay and loss, each way of its own.

    ``kind``: ``tbf`` (a token bucket: ``rate``, ``burst``, ``limit`` in bytes) or ``netem`` (``rate``, ``delay``, ``jitter``, ``loss``,
    ``seed``, ``limit`` in packets). ``rate`` is in bit/s, ``delay`` and ``jitter`` are in nanoseconds, ``loss`` in millionths.
    """

    namespace: str
    link: str
    kind: Literal["tbf", "netem"]
    rate: int = 0
    burst: int = 0
    limit: int = 0
    delay: int = 0
    jitter: int = 0
    loss: int = 0
    seed: int | None = None

    @property
    def key(self) -> Key:
        """What tells it from every other object of a machine."""
        return ("qdisc", self.namespace, self.link)


Link: TypeAlias = Bridge | Veth | Vxlan
Entry: TypeAlias = Neighbour | Forwarding
Word: TypeAlias = (
    Namespace
    | Sysctl
    | Bridge
    | Veth
    | Vxlan
    | Moved
    | Address
    | Route
    | Neighbour
    | Forwarding
    | Qdisc
    | Table
    | Element
    | Relay
)
Description: TypeAlias = tuple[Word, ...]

PHASES: tuple[type[Word], ...] = (
    Namespace,
    Table,
    Bridge,
    Vxlan,
    Veth,
    Moved,
    Sysctl,
    Address,
    Route,
    Neighbour,
    Forwarding,
    Qdisc,
    Element,
    Relay,
)
"""The order in which words are made (a namespace's own sysctls, without a link, go with the namespace)."""

_PHASE = {kind: number for number, kind in enumerate(PHASES)}


def phase(word: Word) -> int:
    """Return the place of ``word`` in the order of making."""
    kind = type(word)
    if kind is Sysctl and word.link is None:  # type: ignore[union-attr]  # asked of thousands: `isinstance` takes longer
        return 0
    if kind is Table and word.devices:  # type: ignore[union-attr]  # likewise
        return _PHASE[Qdisc]
    return _PHASE[kind]


@frozen
class Change:
    """From one description to another: what goes and what comes. ``why`` is for logs and errors (``join web to front``).

    A word in a new shape stands in both: its old shape goes, its new shape comes. `reshaped` says for which links that means a change
    in place, which leaves everything on them as it is.
    """

    remove: Description = ()
    make: Description = ()
    why: str = ""

    def __bool__(self) -> bool:
        return bool(self.remove or self.make)

    @property
    def reverse(self) -> Change:
        """The change that undoes this one."""
        return Change(remove=self.make, make=self.remove, why=f"undo {self.why}")


def between(before: Iterable[Word], after: Iterable[Word], why: str = "") -> Change:
    """Return the change that leads from one description to another.

    Words equal in both are left alone, but for those that would go with what they stand on, such as the addresses of a link in a new
    shape: they go and come again.
    """
    old, new = dict.fromkeys(before), dict.fromkeys(after)
    gone = dict.fromkeys(word for word in old if word not in new)
    if not gone:
        return Change(make=tuple(sorted((word for word in new if word not in old), key=phase)), why=why)
    staying = [word for word in old if word in new]
    while shaken := _shaken(staying, _leaving((word for word in gone if not isinstance(word, (Element, Relay))), new)):
        gone.update(dict.fromkeys(shaken))
        staying = [word for word in staying if word not in gone]
    return Change(
        remove=tuple(sorted(gone, key=phase, reverse=True)),
        make=tuple(sorted((word for word in new if word not in old or word in gone), key=phase)),
        why=why,
    )


MTU_DEFAULT = 1500
"""What the kernel gives a bridge and a veth pair that ask for no other (``ETH_DATA_LEN``)."""


def reshaped(change: Change) -> tuple[tuple[Link, Link], ...]:
    """Return the links that a change alters in place, in their old shape and in their new one: MTU, bridge, what the port may do.

    Bridges come first: one that is not given an MTU of its own has the least of its ports', which would go with the last of them.

    A new shape that names no MTU has the kernel's own where the old one had another: the kernel would keep the old one.
    """
    comes = {word.key: word for word in change.make if isinstance(word, Link)} if change.remove else {}
    if not comes:
        return ()
    namespaces = {word.path for word in change.remove if isinstance(word, Namespace)}
    staying = sorted([word for word in change.remove if isinstance(word, Link) and word.key in comes], key=phase)
    pairs = ((word, comes[word.key]) for word in staying)
    return tuple(
        (old, evolve(new, mtu=MTU_DEFAULT) if old.mtu and not new.mtu else new)
        for old, new in pairs
        if _alterable(old, new) and not namespaces & {place for place, _ in _ends(old)}
    )


def replaced(change: Change) -> frozenset[Key]:
    """Return the keys of the entries that a change writes over with their new shape: at no moment is there none."""
    comes = {word.key for word in change.make if isinstance(word, Entry)} if change.remove else set[Key]()
    if not comes:
        return frozenset()
    going = [word for word in change.remove if not isinstance(word, Entry)]
    kept = [word for word in change.remove if isinstance(word, Entry) and word.key in comes]
    lost = {word.key for word in _shaken(kept, _leaving(going, change.make))} if kept and going else set[Key]()
    return frozenset(word.key for word in kept if word.key not in lost)


def _alterable(old: Link, new: Link) -> bool:
    if not isinstance(old, Veth) or not isinstance(new, Veth):
        return type(old) is type(new) and old != new == evolve(old, mtu=new.mtu)
    like = evolve(old, master=new.master, mtu=new.mtu, hairpin=new.hairpin, isolated=new.isolated, down=new.down)
    return old != new == like


def _leaving(gone: Iterable[Word], new: Iterable[Word]) -> tuple[Word, ...]:
    """Return the words that go, without the links that stay in another shape."""
    leaving = tuple(gone)
    if not any(isinstance(word, Link) for word in leaving):
        return leaving
    altered = {old.key for old, _ in reshaped(Change(leaving, tuple(new)))}
    return tuple(word for word in leaving if word.key not in altered)


def _shaken(staying: Iterable[Word], gone: Iterable[Word]) -> list[Word]:
    """Return the words that would go although they stay in the description, because of others that go."""
    namespaces = {word.path for word in gone if isinstance(word, Namespace)}
    tables = {(word.namespace, word.name) for word in gone if isinstance(word, Table)}
    links = {end for word in gone if isinstance(word, Link | Moved) for end in _ends(word)}
    # fib_inetaddr_event in net/ipv4/fib_frontend.c: the last IPv4 address takes the routes of its interface along
    bare = _with_ipv4(gone) - _with_ipv4(staying)

    def goes_along(word: Word) -> bool:
        match word:
            case Namespace():
                return False
            case Route() if word.destination.version == 4 and (word.namespace, word.link) in bare:
                return True
            case Sysctl() | Address() | Route() | Neighbour() | Forwarding() | Qdisc():
                return word.namespace in namespaces or (word.namespace, word.link) in links
            case Moved():
                return word.namespace in namespaces or (HOST, word.source) in links
            case Veth():
                masters = {(word.namespace, word.master), (word.peer_namespace, word.peer_master)}
                return bool(namespaces & {word.namespace, word.peer_namespace} or masters & links)
            case Vxlan():
                return word.namespace in namespaces or (word.namespace, word.master) in links
            case Element():
                return word.namespace in namespaces or (word.namespace, word.table) in tables
            case Bridge() | Table() | Relay():
                hooked = word.devices if isinstance(word, Table) else frozenset[str]()
                return word.namespace in namespaces or any((word.namespace, each) in links for each in hooked)

    return [word for word in staying if goes_along(word)] if namespaces or tables or links or bare else []


def _ends(link: Link | Moved) -> set[tuple[str, str]]:
    other = {(link.peer_namespace, link.peer_name)} if isinstance(link, Veth) else set[tuple[str, str]]()
    return {(link.namespace, link.name), *other}


def _with_ipv4(words: Iterable[Word]) -> set[tuple[str, str]]:
    addresses = (word for word in words if isinstance(word, Address))
    return {(word.namespace, word.link) for word in addresses if word.address.version == 4}
