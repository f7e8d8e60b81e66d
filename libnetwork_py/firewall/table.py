"""The one constant table of a controller: its sets, and the rules that read them.

Division of labour: here stands what must hold, once, for every network there will ever be; `elements` says which network and
port is what. A packet is somebody else's unless it enters or leaves by one of our bridges, so every chain accepts at its end and
nothing is said about others' traffic.

What holds, in the order in which a packet meets it (numbers as in the reference, moby's nftables back-end):

- ``raw_prerouting``: nothing with a loopback address comes in from a bridge. Our bridges have ``route_localnet``, so the kernel
  itself would let it. What passes a leaf, a further bridge of a large network, is not tracked there (br_netfilter would track it
  twice, and translate it before its network's own bridge can), unless it is for one of the machine's own addresses.
- ``nat_prerouting``, ``nat_output``: what goes to one of the machine's own addresses and a published port goes on to the
  container. Loopback destinations are translated only where they begin, on this machine, and only IPv4: a port bound to
  127.0.0.1 or ::1 cannot be reached from anywhere else.
- ``forward``: answers pass, and what one network's or several networks' sandboxes send to each other's published ports by way of
  the host, for publishing is meant. Else inside one bridge: as the network says (ICC). Internal networks: nothing else in or
  out. Into another network only what ``into`` lists; out of a network to elsewhere: free.
- Last, where the host forwarded nothing before us: what is of none of our bridges goes nowhere (``closed``), so that
  switching forwarding on has not made a router of it. Bridges of other controllers are known by the mark in their group.
- ``into``: published ports, and only through the published address: a translated connection, or a trusted interface of the host.
  This is also what keeps direct access to a container's address away. Then what the routed and unprotected modes open; the latter
  not to other networks.
- ``nat_postrouting``: the source is changed where the answer would otherwise not find back: the machine's own addresses (they
  may be loopback), a connection turned back into its own network or into one that the server shares with the client, and
  everything that leaves a masqueraded network. Published ports see other clients' own addresses, those of our other networks
  included.

Chains see bridged frames as well where br_netfilter is on; nothing here depends on it.

May import: clauses, desired, nftables, types, errors.
"""

from __future__ import annotations

import hashlib
from functools import cache
from ipaddress import ip_network

from ..desired import Table
from ..nftables import Chain, Hook, KeyType, Rule, SetDecl, table_text
from ..types import FAMILIES, Family
from .clauses import (
    Clause,
    Field,
    dnat,
    dnatted,
    established,
    grouped,
    icmp,
    jump,
    local,
    masquerade,
    member,
    nfproto,
    rule,
    snat,
    untracked,
    verdict,
    vmap,
    within,
)

_ADDRESS: dict[Family, KeyType] = {4: "ipv4_addr", 6: "ipv6_addr"}
_SOURCE: dict[Family, Field] = {4: "ip saddr", 6: "ip6 saddr"}
_DESTINATION: dict[Family, Field] = {4: "ip daddr", 6: "ip6 daddr"}
_SERVICE: tuple[Field, Field] = ("meta l4proto", "th dport")

BRIDGES = SetDecl("bridges", ("ifname",))
"""Bridges of networks that are not internal."""
INTERNAL = SetDecl("internal", ("ifname",))
"""Bridges that nothing enters or leaves."""
WITHIN = SetDecl("within", ("ifname", "ifname"), "verdict")
"""Bridge and the same bridge again → may its endpoints reach each other (ICC)?"""
TRUSTED = SetDecl("trusted", ("ifname", "ifname"))
"""Interface of the host and bridge: it may reach published ports by the container's own address."""


CLOSED = SetDecl("closed", ("nf_proto",))
"""Families that the host did not forward before the controller switched it on."""

GROUP_MASK, GROUP_MARK = 0xD0000000, 0x40000000
"""What the group of every bridge of ours has in common (``IFLA_GROUP``), whichever controller made it."""
GROUP_INTERNAL, GROUP_ID = 0x08000000, 0x07FFFFFF
"""The bit that marks those of internal networks, for who is not asked by a rule; and those that tell one network from another."""
LEAF_MASK, LEAF_MARK = 0xF0000000, 0x60000000
"""And that of the further bridges of a network that is too large for one."""


def _per_family(
    name: str, *key: KeyType, value: tuple[KeyType, ...] | None = None, interval: bool = False
) -> dict[Family, SetDecl]:
    """One declaration per family; ``ipv4_addr`` in the types given stands for the family's own."""

    def types(kinds: tuple[KeyType, ...], family: Family) -> tuple[KeyType, ...]:
        return tuple(_ADDRESS[family] if kind == "ipv4_addr" else kind for kind in kinds)

    return {
        family: SetDecl(name.format(family), types(key, family), value and types(value, family), interval)
        for family in FAMILIES
    }


HOME = _per_family("home{}", "ipv4_addr", "ifname", interval=True)
"""Subnet and its bridge."""
MASQUERADE = _per_family("masquerade{}", "ipv4_addr", "ifname", interval=True)
"""Subnet and its bridge, where the network's sources are changed on their way out."""
SNAT = _per_family("snat{}", "ipv4_addr", "ifname", value=("ipv4_addr",), interval=True)
"""Subnet and its bridge → the source address to use instead of the outgoing interface's."""
UNPROTECTED = _per_family("unprotected{}", "ifname")
"""Bridges that anything may enter (mode nat-unprotected)."""
ROUTED = _per_family("routed{}", "ifname")
"""Bridges that ICMP may enter (mode routed)."""
PORTS = _per_family("ports{}", "ipv4_addr", "inet_proto", "inet_service", value=("ipv4_addr", "inet_service"))
"""Host address, protocol and port → container's address and port."""
PORTS_ANY = _per_family("ports{}_any", "inet_proto", "inet_service", value=("ipv4_addr", "inet_service"))
"""The same for a port of all the host's addresses."""
PUBLISHED = _per_family("published{}", "ipv4_addr", "inet_proto", "inet_service")
"""Container's address, protocol and port, reachable through a translated connection or from a trusted interface."""
OPEN = _per_family("open{}", "ipv4_addr", "inet_proto", "inet_service")
"""Container's address, protocol and port, reachable directly (mode routed)."""
DETOUR = _per_family("detour{}", "ipv4_addr", "ipv4_addr", interval=True)
"""Client's subnet and container's address, where the container would answer past the host."""


TABLE_PREFIX = "libnetwork_py_"
"""How the name of every controller's table begins; the controller's id goes on."""


@cache
def table(namespace: str, name: str) -> Table:
    """Return the table: the same rules in every version's life, only its name and namespace differ."""
    sets, chains = _sets(), (*_filter_chains(), *_destination_chains(), *_source_chains())
    return Table(namespace, name, sets, (*chains, Chain(f"rules_{_digest(name, sets, chains)}", ())))


def _digest(name: str, sets: tuple[SetDecl, ...], chains: tuple[Chain, ...]) -> str:
    """Name the rules by their content, so that a table which another version of the library made is seen to differ."""
    text = table_text(name, sets, chains).partition("\n")[2]
    return hashlib.blake2s(text.encode(), digest_size=4).hexdigest()


def _sets() -> tuple[SetDecl, ...]:
    families = (HOME, MASQUERADE, SNAT, UNPROTECTED, ROUTED, PORTS, PORTS_ANY, PUBLISHED, OPEN, DETOUR)
    return (BRIDGES, INTERNAL, WITHIN, TRUSTED, CLOSED, *(decls[family] for decls in families for family in FAMILIES))


def _filter_chains() -> tuple[Chain, ...]:
    loopback = ip_network("127.0.0.0/8")
    leaf = rule(grouped("iifgroup", LEAF_MASK, LEAF_MARK), local("daddr", it_is=False), untracked())
    raw = (*(rule(within(field, loopback), jump("loopback")) for field in (_SOURCE[4], _DESTINATION[4])), leaf)
    drops = tuple(rule(member(["iifname"], bridges), verdict("drop")) for bridges in (BRIDGES, INTERNAL))
    forward = (
        rule(established(), verdict("accept")),
        rule(dnatted(), member(["iifname"], BRIDGES), member(["oifname"], BRIDGES), jump("translated")),
        rule(vmap(["iifname", "oifname"], WITHIN)),
        rule(member(["iifname"], INTERNAL), verdict("drop")),
        rule(member(["oifname"], INTERNAL), verdict("drop")),
        rule(member(["oifname"], BRIDGES), jump("into")),
        rule(
            member(["meta nfproto"], CLOSED),
            *_FROM_ELSEWHERE,
            grouped("oifgroup", GROUP_MASK, GROUP_MARK, inside=False),
            verdict("drop"),
        ),
    )
    return (
        Chain("raw_prerouting", raw, Hook("filter", "prerouting", -300)),
        Chain("loopback", drops),
        Chain("forward", forward, Hook("filter", "forward", 0)),
        Chain("translated", _services(decls=PUBLISHED)),
        Chain("into", _into()),
    )


_FROM_ELSEWHERE = (
    member(["iifname"], BRIDGES, inside=False),
    grouped("iifgroup", GROUP_MASK, GROUP_MARK, inside=False),
)
"""From no network of this controller or of another."""


def _services(*before: Clause, decls: dict[Family, SetDecl]) -> tuple[Rule, ...]:
    """Accept what goes to an address, protocol and port of a set."""
    accept = verdict("accept")
    return tuple(rule(*before, member([_DESTINATION[f], *_SERVICE], decls[f]), accept) for f in FAMILIES)


def _into() -> tuple[Rule, ...]:
    modes = [
        rule(nfproto(f), member(["oifname"], UNPROTECTED[f]), *_FROM_ELSEWHERE, verdict("accept")) for f in FAMILIES
    ]
    modes += [rule(icmp(f), member(["oifname"], ROUTED[f]), verdict("accept")) for f in FAMILIES]
    return (
        *_services(dnatted(), decls=PUBLISHED),
        *_services(decls=OPEN),
        *_services(member(["iifname", "oifname"], TRUSTED), decls=PUBLISHED),
        *modes,
        rule(verdict("drop")),
    )


def _destination_chains() -> tuple[Chain, ...]:
    own = rule(local("daddr"), jump("published"))
    loopback6 = rule(within("ip6 daddr", ip_network("::1")), verdict("return"))
    published = (
        rule(within("ip6 saddr", ip_network("fe80::/10")), verdict("return")),
        *(
            entry
            for family in FAMILIES
            for entry in (
                rule(dnat(family, [_DESTINATION[family], *_SERVICE], PORTS[family])),
                rule(dnat(family, _SERVICE, PORTS_ANY[family])),
            )
        ),
    )
    loopback4 = rule(within("ip daddr", ip_network("127.0.0.0/8")), verdict("return"))
    return (
        Chain("nat_prerouting", (loopback4, loopback6, own), Hook("nat", "prerouting", -100)),
        Chain("nat_output", (loopback6, own), Hook("nat", "output", -100)),
        Chain("published", published),
    )


def _source_chains() -> tuple[Chain, ...]:
    postrouting = (
        rule(local("saddr"), member(["oifname"], BRIDGES), jump("from_host")),
        rule(dnatted(), member(["oifname"], BRIDGES), jump("to_published")),
        *(
            rule(
                member([_SOURCE[family], "iifname"], MASQUERADE[family]),
                member([_SOURCE[family], "oifname"], MASQUERADE[family], inside=False),
                jump("leaving"),
            )
            for family in FAMILIES
        ),
    )
    to_published = (
        *(rule(member([_SOURCE[f], "oifname"], HOME[f]), masquerade()) for f in FAMILIES),
        *(rule(member([_SOURCE[f], _DESTINATION[f]], DETOUR[f]), masquerade()) for f in FAMILIES),
        rule(verdict("accept")),
    )
    from_host = [rule(snat(f, [_DESTINATION[f], "oifname"], SNAT[f])) for f in FAMILIES]
    leaving = [rule(snat(f, [_SOURCE[f], "iifname"], SNAT[f])) for f in FAMILIES]
    return (
        Chain("nat_postrouting", postrouting, Hook("nat", "postrouting", 100)),
        Chain("from_host", (*from_host, rule(masquerade()))),
        Chain("to_published", to_published),
        Chain("leaving", (*leaving, rule(masquerade()))),
    )
