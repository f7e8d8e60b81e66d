"""Words as the ``ip``, ``nft`` and ``sysctl`` lines that a person would type.

Division of labour: `desired` says what should exist, this writes it for people: plans, goldens, logs, error reports. The library
itself runs none of these programs. The lines are real: a shell that runs them as root, one after the other, in the namespace that
plays the host, makes what the words say. Comments in them follow ``#``; what the library's own relay carries is one, for no program
of the system does the same.

Namespaces are written as people know them: the host's by nothing (``ip …``), those below ``/run/netns`` by name (``ip -n web …``),
any other by its path (``nsenter --net=/proc/7/ns/net ip …``).

May import: desired, nftables, types.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import TypeAlias

from .desired import (
    HOST,
    Address,
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
from .nftables import Atom, Verdict, element_text, table_text
from .types import EMPTY, IPAddress, IPNetwork

NAMESPACES = PurePosixPath("/run/netns")
"""Where ``ip netns`` keeps named namespaces."""

Names: TypeAlias = Mapping[str, str]


def in_order(words: Iterable[Word]) -> Description:
    """Return words in the order of making: by `PHASES`, a namespace before its sysctls, on-link routes before those that need them."""

    def place(word: Word) -> tuple[int, bool]:
        return phase(word), isinstance(word, Sysctl) or (isinstance(word, Route) and word.gateway is not None)

    return tuple(sorted(words, key=place))


def render(change: Change, names: Names | None = None) -> str:
    """Return a change as lines of text: what goes, in reverse order of making, then what comes.

    What goes by itself is not written: the inside of a namespace, the addresses and routes of a link, the elements of a table.

    Args:
        change: What goes and what comes; ``why`` becomes a comment on top.
        names: How to call a namespace instead of its name below ``/run/netns``, by path.
    """
    lines = [f"# {line}" for line in change.why.splitlines()]
    altered = {new.key: (old, new) for old, new in reshaped(change)}
    over = replaced(change)
    for word in reversed(in_order(explicit(change))):
        lines += remove_lines(word, names)
    for word in in_order(change.make):
        if word.key in altered:
            lines += _alter(*altered[word.key], _Shell(names))
        elif isinstance(word, Entry) and word.key in over:
            lines += _entry_lines(word, "replace", _Shell(names))
        else:
            lines += make_lines(word, names)
    return "".join(f"{line}\n" for line in lines)


def explicit(change: Change) -> Description:
    """Return the words whose removal must be asked for, because nothing else of the change takes them away."""
    namespaces = {word.path for word in change.remove if isinstance(word, Namespace)}
    altered = {old.key for old, _ in reshaped(change)}
    links = set(_ends(w for w in change.remove if isinstance(w, Link | Moved) and w.key not in altered))
    tables = {(word.namespace, word.name) for word in change.remove if isinstance(word, Table)}
    rewritten = {word.key for word in change.make if isinstance(word, Sysctl)} | replaced(change)

    def goes_by_itself(word: Word) -> bool:
        match word:
            # a namespace would take a foreign link with it, and a VXLAN device's number is taken until its namespace is taken apart
            case Namespace() | Moved() | Vxlan():
                return False
            case Sysctl() | Neighbour() | Forwarding() if word.key in rewritten:
                return True
            case Sysctl() | Address() | Route() | Neighbour() | Forwarding() | Qdisc() if (
                word.namespace,
                word.link,
            ) in links:
                return True
            case Element() if (word.namespace, word.table) in tables:
                return True
            case _:
                return word.namespace in namespaces

    return tuple(word for word in change.remove if word.key not in altered and not goes_by_itself(word))


def make_lines(word: Word, names: Names | None = None) -> list[str]:
    """Return the lines that make a word."""
    return list(_MAKE[type(word)](word, _Shell(names)))


def remove_lines(word: Word, names: Names | None = None) -> list[str]:
    """Return the lines that remove a word; none for a setting that keeps its value."""
    return list(_REMOVE[type(word)](word, _Shell(names)))


class _Shell:
    """How programs are started in a namespace."""

    def __init__(self, names: Names | None) -> None:
        self._names = names or EMPTY

    def name(self, namespace: str) -> str:
        """The name of a namespace, empty if it has none."""
        path = PurePosixPath(namespace)
        return self._names.get(namespace) or (path.name if path.parent == NAMESPACES else "")

    def ip(self, namespace: str, *arguments: object) -> str:
        if namespace == HOST:
            return _line("ip", *arguments)
        name = self.name(namespace)
        return _line("ip", "-n", name, *arguments) if name else self.run(namespace, "ip", *arguments)

    def tc(self, namespace: str, *arguments: object) -> str:
        name = self.name(namespace)
        if namespace == HOST or not name:
            return self.run(namespace, "tc", *arguments)
        return _line("tc", "-n", name, *arguments)

    def run(self, namespace: str, *argv: object) -> str:
        if namespace == HOST:
            return _line(*argv)
        name = self.name(namespace)
        return _line("ip", "netns", "exec", name, *argv) if name else _line("nsenter", f"--net={namespace}", *argv)

    def reference(self, namespace: str) -> str:
        """What ``ip link … netns`` takes, from whatever namespace it is run in."""
        return "/proc/$$/ns/net" if namespace == HOST else shlex.quote(self.name(namespace) or namespace)


def _line(*argv: object) -> str:
    return shlex.join(map(str, argv))


def _ends(links: Iterable[Link | Moved]) -> Iterator[tuple[str, str]]:
    for link in links:
        yield link.namespace, link.name
        if isinstance(link, Veth):
            yield link.peer_namespace, link.peer_name


def _make_namespace(word: Namespace, shell: _Shell) -> Iterator[str]:
    name = shell.name(word.path)
    if name:
        yield _line("ip", "netns", "add", name)
    else:
        yield _line("touch", word.path)
        yield _line("unshare", f"--net={word.path}", "true")
    yield shell.ip(word.path, "link", "set", "lo", "up")


def _remove_namespace(word: Namespace, shell: _Shell) -> Iterator[str]:
    name = shell.name(word.path)
    if name:
        yield _line("ip", "netns", "del", name)
    else:
        yield _line("umount", word.path)
        yield _line("rm", word.path)


def _make_sysctl(word: Sysctl, shell: _Shell) -> Iterator[str]:
    yield shell.run(word.namespace, "sysctl", "-w", f"{_sysctl_name(word)}={word.value}")


def _remove_sysctl(word: Sysctl, shell: _Shell) -> Iterator[str]:
    if word.restore is not None:
        yield shell.run(word.namespace, "sysctl", "-w", f"{_sysctl_name(word)}={word.restore}")


def _sysctl_name(word: Sysctl) -> str:
    # sysctl(8) takes slashes too; then a dot in the name of an interface is just a dot
    path = f"net/{word.path}"
    return path if "." in (word.link or "") else path.replace("/", ".")


def _make_bridge(word: Bridge, shell: _Shell) -> Iterator[str]:
    options = [*_common(word), "address", word.mac, "type", "bridge", "stp_state", 0, "forward_delay", 0]
    yield shell.ip(word.namespace, "link", "add", word.name, *options)
    yield shell.ip(word.namespace, "link", "set", word.name, "up")


def _make_veth(word: Veth, shell: _Shell) -> Iterator[str]:
    def set_outer(*what: object) -> str:
        return shell.ip(word.namespace, "link", "set", word.name, *what)

    peer = ["peer", "name", word.peer_name, *_mtu(word), "address", word.peer_mac]
    add = shell.ip(word.namespace, "link", "add", word.name, *_common(word), "type", "veth", *peer)
    same = word.peer_namespace == word.namespace
    yield add if same else f"{add} netns {shell.reference(word.peer_namespace)}"
    yield set_outer(*(["master", word.master] if word.master else []), "addrgenmode", "none")
    flags = [(name, "on") for name in ("hairpin", "isolated") if getattr(word, name)]
    if flags:
        yield set_outer("type", "bridge_slave", *(text for flag in flags for text in flag))
    yield set_outer("down" if word.down else "up")
    master = ["master", word.peer_master] if word.peer_master else []
    yield shell.ip(word.peer_namespace, "link", "set", word.peer_name, *master, "up")


def _make_vxlan(word: Vxlan, shell: _Shell) -> Iterator[str]:
    def set_it(*what: object) -> str:
        return shell.ip(word.namespace, "link", "set", word.name, *what)

    place = [] if word.namespace == HOST else ["netns", shell.name(word.namespace) or word.namespace]
    tunnel = ["id", word.vni, "local", word.local, "dstport", word.port, "nolearning", *["proxy"] * word.proxy]
    yield shell.ip(HOST, "link", "add", word.name, *_common(word), *place, "type", "vxlan", *tunnel)
    yield set_it(*(["master", word.master] if word.master else []), "addrgenmode", "none")
    if word.master:
        yield set_it("type", "bridge_slave", "learning", "off", "flood", "off", "isolated", "on")
    yield set_it("up")


def _entry_lines(word: Neighbour | Forwarding, verb: str, shell: _Shell) -> Iterator[str]:
    if isinstance(word, Neighbour):
        what = [word.address, "lladdr", word.mac, "dev", word.link, "nud", "permanent"]
        yield shell.ip(word.namespace, "neigh", verb, *what)
    else:
        entry = ("bridge", "fdb", verb, word.mac, "dev", word.link)
        yield shell.run(word.namespace, "bridge", "fdb", "replace", *entry[3:], "master", "static", "sticky")
        yield shell.run(word.namespace, *entry, "dst", word.vtep, "self", "permanent")


def _make_entry(word: Neighbour | Forwarding, shell: _Shell) -> Iterator[str]:
    return _entry_lines(word, "add", shell)


def _remove_entry(word: Neighbour | Forwarding, shell: _Shell) -> Iterator[str]:
    if isinstance(word, Neighbour):
        yield shell.ip(word.namespace, "neigh", "del", word.address, "dev", word.link)
    else:
        entry = ("bridge", "fdb", "del", word.mac, "dev", word.link)
        yield shell.run(word.namespace, *entry, "master")
        yield shell.run(word.namespace, *entry, "dst", word.vtep, "self")


def _alter(old: Link, new: Link, shell: _Shell) -> Iterator[str]:
    """The lines that lead a link from one shape to another, in place."""
    if new.mtu != old.mtu:
        for place, name in _ends([new]):
            yield shell.ip(place, "link", "set", name, *_mtu(new))
    if isinstance(old, Veth) and isinstance(new, Veth):
        if new.master != old.master:
            yield shell.ip(
                new.namespace, "link", "set", new.name, *(["master", new.master] if new.master else ["nomaster"])
            )
        if new.down != old.down:
            yield shell.ip(new.namespace, "link", "set", new.name, "down" if new.down else "up")
        flags = ("hairpin", "isolated")
        says = [text for flag in flags for text in (flag, "on" if getattr(new, flag) else "off")]
        if new.master and any(getattr(new, flag) != getattr(old, flag) for flag in (*flags, "master")):
            yield shell.ip(new.namespace, "link", "set", new.name, "type", "bridge_slave", *says)


def _remove_link(word: Link, shell: _Shell) -> Iterator[str]:
    yield shell.ip(word.namespace, "link", "del", word.name)


def _make_moved(word: Moved, shell: _Shell) -> Iterator[str]:
    yield shell.ip(
        HOST, "link", "set", word.source, "netns", shell.name(word.namespace) or word.namespace, "name", word.name
    )
    yield shell.ip(word.namespace, "link", "set", word.name, *(["address", word.mac] if word.mac else []), "up")


def _remove_moved(word: Moved, shell: _Shell) -> Iterator[str]:
    # 1 is a process of the machine's own namespace; another host's is reached by its path
    yield f"{shell.ip(word.namespace, 'link', 'set', word.name, 'name', word.source)} netns {shell.reference(HOST)}"


def _common(word: Link) -> list[object]:
    return [*(["group", word.group] if word.group else []), *_mtu(word)]


def _mtu(word: Link) -> list[object]:
    return ["mtu", word.mtu] if word.mtu else []


def _make_address(word: Address, shell: _Shell) -> Iterator[str]:
    # IPAM has seen to it that nothing else has the address: duplicate address detection would only delay the first packet
    nodad = ["nodad"] if word.address.version == 6 else []
    broadcast = ["brd", "+"] if word.address.version == 4 and word.address.network.prefixlen <= 30 else []
    yield shell.ip(word.namespace, "addr", "add", word.address, *broadcast, "dev", word.link, *nodad)


def _remove_address(word: Address, shell: _Shell) -> Iterator[str]:
    yield shell.ip(word.namespace, "addr", "del", word.address, "dev", word.link)


def _make_route(word: Route, shell: _Shell) -> Iterator[str]:
    yield shell.ip(word.namespace, *_route("add", word))


def _remove_route(word: Route, shell: _Shell) -> Iterator[str]:
    yield shell.ip(word.namespace, *_route("del", word))


def _route(verb: str, word: Route) -> Iterator[object]:
    yield from ["-6"] if word.destination.version == 6 else []
    yield from ("route", verb, _destination(word.destination))
    yield from _via(word.gateway, word.destination)
    yield from ("dev", word.link)
    yield from ["metric", word.metric] if word.metric else []


def _destination(network: IPNetwork) -> str:
    return "default" if network.prefixlen == 0 else str(network)


def _via(gateway: IPAddress | None, destination: IPNetwork) -> list[object]:
    if gateway is None:
        return []
    # RFC 5549: an IPv4 destination behind an IPv6 gateway, and the other way round
    other = [] if gateway.version == destination.version else ["inet6" if gateway.version == 6 else "inet"]
    return ["via", *other, gateway]


def _make_qdisc(word: Qdisc, shell: _Shell) -> Iterator[str]:
    rate = ["rate", f"{word.rate}bit"] if word.rate else []
    if word.kind == "tbf":
        says: list[object] = [*rate, "burst", word.burst, "limit", word.limit]
    else:
        delay = ["delay", f"{word.delay / 1000:g}us", *([f"{word.jitter / 1000:g}us"] if word.jitter else [])]
        loss = ["loss", f"{word.loss / 10_000:g}%"] if word.loss else []
        seed = ["seed", word.seed] if word.seed is not None else []
        says = ["limit", word.limit, *(delay if word.delay or word.jitter else []), *loss, *rate, *seed]
    yield shell.tc(word.namespace, "qdisc", "add", "dev", word.link, "root", word.kind, *says)


def _remove_qdisc(word: Qdisc, shell: _Shell) -> Iterator[str]:
    yield shell.tc(word.namespace, "qdisc", "del", "dev", word.link, "root")


def _make_table(word: Table, shell: _Shell) -> Iterator[str]:
    yield f"{shell.run(word.namespace, 'nft', '-f', '-')} <<'EOF'\n{table_text(word.name, word.sets, word.chains).rstrip()}\nEOF"


def _remove_table(word: Table, shell: _Shell) -> Iterator[str]:
    yield shell.run(word.namespace, "nft", "delete", "table", "inet", word.name)


def _make_element(word: Element, shell: _Shell) -> Iterator[str]:
    yield from (_element("add", each, shell, each.value) for each in word.singles)


def _remove_element(word: Element, shell: _Shell) -> Iterator[str]:
    yield from (_element("delete", each, shell, None) for each in word.singles)


def _element(verb: str, word: Element, shell: _Shell, value: tuple[Atom, ...] | Verdict | None) -> str:
    text = element_text(word.table, word.set, word.fields, value)
    return shell.run(word.namespace, "nft", f"{verb} element {text}")


def _make_relay(word: Relay, _: _Shell) -> Iterator[str]:
    yield f"# relay {_carried(word)}"


def _remove_relay(word: Relay, _: _Shell) -> Iterator[str]:
    yield f"# no longer relay {_carried(word)}"


def _carried(word: Relay) -> str:
    here, there = (_run_of_ports(port, word.count) for port in (word.port, word.to_port))
    return f"{_bracketed(word.host_ip)}:{here} to {_bracketed(word.to)}:{there}/{word.protocol}"


def _run_of_ports(first: int, count: int) -> str:
    return str(first) if count == 1 else f"{first}-{first + count - 1}"


def _bracketed(address: IPAddress) -> str:
    return f"[{address}]" if address.version == 6 else str(address)


_MAKE: Mapping[type[Word], Callable[..., Iterator[str]]] = {
    Namespace: _make_namespace,
    Sysctl: _make_sysctl,
    Bridge: _make_bridge,
    Veth: _make_veth,
    Moved: _make_moved,
    Vxlan: _make_vxlan,
    Neighbour: _make_entry,
    Forwarding: _make_entry,
    Address: _make_address,
    Route: _make_route,
    Qdisc: _make_qdisc,
    Table: _make_table,
    Element: _make_element,
    Relay: _make_relay,
}
_REMOVE: Mapping[type[Word], Callable[..., Iterator[str]]] = {
    Namespace: _remove_namespace,
    Sysctl: _remove_sysctl,
    Bridge: _remove_link,
    Veth: _remove_link,
    Moved: _remove_moved,
    Vxlan: _remove_link,
    Neighbour: _remove_entry,
    Forwarding: _remove_entry,
    Address: _remove_address,
    Route: _remove_route,
    Qdisc: _remove_qdisc,
    Table: _remove_table,
    Element: _remove_element,
    Relay: _remove_relay,
}
