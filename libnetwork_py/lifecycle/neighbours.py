"""Others who filter packets on the same host: what they mean for us, and what we owe to other controllers.

Division of labour: `kernel/` reads the packet filter into facts; here they are judged. Nothing of others is ever changed: a warning
names the table and what its owner can do.

May import: firewall.table, kernel.api, desired, facts, types.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase

from attrs import evolve, frozen

from ..desired import HOST, Change, Sysctl, Table, Word
from ..facts import ChainFact, Facts, FilterFacts
from ..firewall.table import CLOSED, TABLE_PREFIX, table
from ..kernel.api import Kernel
from ..types import FAMILIES, Family, PortBinding

FORWARDING: Mapping[str, Family] = {"ipv4.ip_forward": 4, "ipv6.conf.all.forwarding": 6}
_SEES: Mapping[str, frozenset[Family]] = {
    "ip": frozenset({4}),
    "ip6": frozenset({6}),
    "inet": frozenset({4, 6}),
}


@frozen
class Ours:
    """What others could be in the way of.

    Attributes:
        table: The name of the controller's table.
        bridges: Bridge → the families that it forwards.
        ports: Published ports with the families that they are published in.
        closed: Families that the host forwards for our sake alone.
    """

    table: str
    bridges: Mapping[str, frozenset[Family]]
    ports: tuple[tuple[PortBinding, frozenset[Family]], ...] = ()
    closed: frozenset[Family] = frozenset()


# Other controllers


def other_controllers(filters: FilterFacts, own: str) -> list[str]:
    """Return the names of other controllers' tables on the host."""
    return sorted(
        name for family, name in filters.tables if family == "inet" and name.startswith(TABLE_PREFIX) and name != own
    )


def closing(facts: Facts, tables: Iterable[str]) -> frozenset[str]:
    """Return the forwarding settings that were ``0`` before other controllers changed them."""
    found = [facts.tables[HOST, name].sets.get(CLOSED.name, {}) for name in tables if (HOST, name) in facts.tables]
    return frozenset(
        name for name, family in FORWARDING.items() if any((f"ipv{family}",) in elements for elements in found)
    )


def tables_of(names: Iterable[str]) -> list[Table]:
    """Return the words that ask for a snapshot of tables."""
    return [table(HOST, name) for name in names]


def leave_forwarding(change: Change) -> Change:
    """Return a change that leaves the host's forwarding on: somebody else needs it."""
    return evolve(change, remove=tuple(_kept(word) for word in change.remove))


def stops_forwarding(change: Change) -> bool:
    """Whether a change would switch the host's forwarding off."""
    return any(_kept(word) is not word for word in change.remove)


def _kept(word: Word) -> Word:
    if isinstance(word, Sysctl) and word.namespace == HOST and word.name in FORWARDING and word.restore == "0":
        return evolve(word, restore=None)
    return word


# Warnings


def warnings(filters: FilterFacts, ours: Ours) -> Iterator[str]:
    """Say what others do to our packets, and what can be done about it."""
    others = [chain for chain in filters.chains if not chain.table.startswith(TABLE_PREFIX)]
    for chain in others:
        if chain.hook == "forward" and chain.drops:
            yield from _dropping(chain, others, ours)
    yield from _taking(others, ours)
    yield from _legacy(filters, ours)
    yield from _closed(others, ours)


def _dropping(chain: ChainFact, others: list[ChainFact], ours: Ours) -> Iterator[str]:
    named = frozenset[str]().union(*(each.links for each in _of_table(chain, others)))
    sees = _SEES[chain.family]
    bridges = [
        bridge
        for bridge, families in ours.bridges.items()
        if families & sees and not any(fnmatchcase(bridge, name) for name in named)
    ]
    if bridges:
        few = ", ".join(bridges[:3]) + (f" and {len(bridges) - 3} more" if len(bridges) > 3 else "")
        remedy = _remedy(chain, {each.name for each in _of_table(chain, others)}, bridges[0])
        yield (
            f"{_named(chain)} drops forwarded packets and names none of {few}: sandboxes there reach no other network, "
            f"nor each other where br_netfilter is on; {remedy}"
        )


def _remedy(chain: ChainFact, names: set[str], bridge: str) -> str:
    tool = "ip6tables" if chain.family == "ip6" else "iptables"
    if chain.table == "firewalld":
        return f"run `firewall-cmd --permanent --zone=trusted --add-interface={bridge}` and `firewall-cmd --reload`"
    if names & {"ufw-before-forward", "ufw6-before-forward"}:
        return f"run `ufw route allow in on {bridge}` and `ufw route allow out on {bridge}`"
    if "DOCKER-USER" in names:
        return _both(f"{tool} -I DOCKER-USER", bridge, "ACCEPT")
    if (chain.table, chain.name) == ("filter", "FORWARD"):
        return _both(f"{tool} -I FORWARD", bridge, "ACCEPT")
    start = f"nft insert rule {chain.family} {chain.table} {chain.name}"
    return f"run `{start} iifname {bridge} accept` and `{start} oifname {bridge} accept`"


def _both(start: str, bridge: str, verdict: str) -> str:
    return f"run `{start} -i {bridge} -j {verdict}` and `{start} -o {bridge} -j {verdict}`"


def _taking(others: list[ChainFact], ours: Ours) -> Iterator[str]:
    for chain in others:
        for binding, families in ours.ports:
            numbers = range(binding.host_port, binding.host_port + binding.count)
            taken = sorted(port for protocol, port in chain.ports if protocol == binding.protocol and port in numbers)
            if taken and families & _SEES[chain.family]:
                yield (
                    f"{_named(chain)} sends port {taken[0]}/{binding.protocol} elsewhere, which is published here as {binding}: "
                    "publish another host port, or take that rule out where it was made"
                )


def _legacy(filters: FilterFacts, ours: Ours) -> Iterator[str]:
    forwarded = frozenset[Family]().union(*ours.bridges.values())
    for family, names in filters.legacy.items():
        tool = "iptables-legacy" if family == 4 else "ip6tables-legacy"
        if "filter" in names and family in forwarded:
            yield (
                f"legacy {tool.partition('-')[0]} table filter is in use, which cannot be read from here: "
                f"if `{tool} -S FORWARD` shows a DROP, {_both(f'{tool} -I FORWARD', next(iter(ours.bridges)), 'ACCEPT')}"
            )


def _closed(others: list[ChainFact], ours: Ours) -> Iterator[str]:
    for family in FAMILIES:
        routers = {_named(each) for each in others if family in _SEES[each.family] and _forwards(each, others, ours)}
        if family in ours.closed and routers:
            setting = next(name for name, each in FORWARDING.items() if each == family)
            yield (
                f"the host did not forward IPv{family} before the first network, so table inet {ours.table} drops what is of none of "
                f"its networks, and {', '.join(sorted(routers))} forwards too: if others' packets shall pass, run "
                f"`sysctl -w net.{setting}=1` before the first network is made"
            )


def _forwards(chain: ChainFact, others: list[ChainFact], ours: Ours) -> bool:
    """Whether somebody seems to need forwarding: not who drops what is forwarded, as ufw does by itself, and names no other links."""
    if chain.hook != "forward":
        return False
    named = frozenset[str]().union(*(each.links for each in _of_table(chain, others)))
    return not chain.drops or any(each != "lo" and each not in ours.bridges for each in named)


def _of_table(chain: ChainFact, others: Iterable[ChainFact]) -> list[ChainFact]:
    return [each for each in others if (each.family, each.table) == (chain.family, chain.table)]


def _named(chain: ChainFact) -> str:
    return f"table {chain.family} {chain.table} (chain {chain.name})"


def closed_by_others(kernel: Kernel, table: str) -> frozenset[str]:
    """Return the settings that another controller changed and answers for: we go on for it when it has gone."""
    names = other_controllers(kernel.packet_filter(), table)
    return closing(kernel.facts(words=tables_of(names)), names) if names else frozenset()


def baseline(change: Change, kernel: Kernel, table: str) -> Mapping[str, str]:
    """Return what the host's sysctls that a change writes are before it, or were before another controller wrote them."""
    wanted = [word for word in change.make if isinstance(word, Sysctl) and word.namespace == HOST and not word.link]
    if not wanted:
        return {}
    found = kernel.facts(words=wanted).sysctls
    now = {word.name: found[word.key] for word in wanted if word.key in found}
    return now | dict.fromkeys(closed_by_others(kernel, table) & now.keys(), "0")


def but_for_others(change: Change, kernel: Kernel, table: str) -> Change:
    """Return a change that leaves the host's forwarding on while another controller is there."""
    if not stops_forwarding(change):
        return change
    return leave_forwarding(change) if other_controllers(kernel.packet_filter(), table) else change
