"""The packet filter as others have filled it: every table's chains, and what matters in their rules.

Division of labour: `nft_facts` reads our own tables, whose types are known; this reads anybody's, and understands of a rule only what
a neighbour must know: the interfaces it names, the port it sends elsewhere, and whether it lets nothing pass.

May import: nft_atoms, nft_facts, transport, facts, types.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from attrs import evolve, frozen

from ..facts import ChainFact
from ..types import Family
from .nft_atoms import GETCHAIN, GETRULE, NFT, attributes
from .nft_facts import NLM_F_DUMP, TABLE_FAMILIES, message
from .transport import Transport

_CHAIN_TABLE, _CHAIN_NAME, _CHAIN_HOOK, _CHAIN_POLICY, _CHAIN_TYPE = 1, 3, 4, 5, 7
_HOOK_NUMBER, _HOOK_PRIORITY = 1, 2
_RULE_TABLE, _RULE_CHAIN, _RULE_EXPRESSIONS = 1, 2, 4
_EXPR_NAME, _EXPR_DATA = 1, 2
_HOOKS = ("prerouting", "input", "forward", "output", "postrouting")
_BY_HOOK = frozenset({"ip", "ip6", "inet"})
_IFNAMES = frozenset({6, 7})
_L4PROTO = 16
_PROTOCOLS = {6: "tcp", 17: "udp", 132: "sctp"}
_DROP = 0
_PASSIVE = frozenset({"counter", "log", "comment"})


def chains(transport: Transport) -> tuple[ChainFact, ...]:
    """Return every chain of the IPv4, IPv6 and inet tables."""
    found: dict[tuple[str, str, str], ChainFact] = {}
    for family, data in _dump(transport, GETCHAIN):
        if family in _BY_HOOK:
            chain = _chain(family, data)
            found[family, chain.table, chain.name] = chain
    for key, rules in _rules(transport).items():
        if key in found:
            found[key] = _with_rules(found[key], rules)
    return tuple(found.values())


LEGACY_TABLES: Mapping[Family, str] = {
    4: "/proc/thread-self/net/ip_tables_names",
    6: "/proc/thread-self/net/ip6_tables_names",
}
"""Where the tables of the older iptables are named, which nf_tables does not show, by family."""


@frozen
class _Rule:
    """What one rule says: interfaces named, (protocol, port) sent elsewhere, and whether everything that gets to it is dropped."""

    links: frozenset[str]
    port: tuple[str, int] | None
    drops: bool


def _dump(transport: Transport, get: int, body: bytes = b"") -> Iterator[tuple[str, bytes]]:
    request = message(NFT | get, NLM_F_DUMP, body, family=0)
    for _, payload in transport.dump(request, "read the packet filter"):
        yield TABLE_FAMILIES.get(payload[0], ""), payload[4:]


def _parts(data: bytes) -> dict[int, bytes]:
    return {number: data[start:end] for number, start, end in attributes(data)}


def _name(data: bytes) -> str:
    return data.rstrip(b"\0").decode(errors="replace")


def _signed(data: bytes) -> int:
    return int.from_bytes(data, "big", signed=True)


def _chain(family: str, data: bytes) -> ChainFact:
    parts = _parts(data)
    hook = _parts(parts.get(_CHAIN_HOOK, b""))
    number = _signed(hook[_HOOK_NUMBER]) if _HOOK_NUMBER in hook else -1
    policy = _signed(parts.get(_CHAIN_POLICY, b"\0\0\0\1"))
    return ChainFact(
        family=family,
        table=_name(parts[_CHAIN_TABLE]),
        name=_name(parts[_CHAIN_NAME]),
        kind=_name(parts.get(_CHAIN_TYPE, b"")),
        hook=_HOOKS[number] if 0 <= number < len(_HOOKS) else "",
        priority=_signed(hook.get(_HOOK_PRIORITY, b"\0")),
        drops=bool(hook) and policy == _DROP,
    )


def _rules(transport: Transport) -> dict[tuple[str, str, str], list[_Rule]]:
    found: dict[tuple[str, str, str], list[_Rule]] = {}
    for family, data in _dump(transport, GETRULE):
        parts = _parts(data)
        key = family, _name(parts[_RULE_TABLE]), _name(parts[_RULE_CHAIN])
        found.setdefault(key, []).append(_rule(parts.get(_RULE_EXPRESSIONS, b"")))
    return found


def _with_rules(chain: ChainFact, rules: list[_Rule]) -> ChainFact:
    links = frozenset[str]().union(*(rule.links for rule in rules))
    ports = frozenset(rule.port for rule in rules if rule.port)
    return evolve(chain, links=links, ports=ports, drops=chain.drops or rules[-1].drops)


def _rule(data: bytes) -> _Rule:
    reader = _Reader()
    for _, start, end in attributes(data):
        parts = _parts(data[start:end])
        reader.read(_name(parts.get(_EXPR_NAME, b"")), _parts(parts.get(_EXPR_DATA, b"")))
    port = (reader.protocol, reader.port) if reader.translates and reader.port and reader.protocol else None
    return _Rule(frozenset(reader.links), port, reader.stops and not reader.matches)


class _Reader:
    """Follows the instructions of one rule: what register 1 holds when it is compared."""

    def __init__(self) -> None:
        self.links: set[str] = set()
        self.protocol, self.port = "", 0
        self.translates = self.stops = self.matches = False
        self._loaded: tuple[str, int] = ("", 0)

    def read(self, name: str, parts: dict[int, bytes]) -> None:
        match name:
            case "meta" if 2 in parts:
                self._loaded = ("meta", _signed(parts[2]))
                self.matches = True
            case "payload" if {2, 3, 4} <= parts.keys():
                place = tuple(_signed(parts[number]) for number in (2, 3, 4))
                self._loaded = ("dport", 0) if place == (2, 2, 2) else ("", 0)
                self.matches = True
            case "cmp":
                self._compare(parts)
            case "nat":
                self.translates = _signed(parts.get(1, b"\0")) == 1
            case "redir":
                self.translates = True
            case "target":
                self._target(_name(parts.get(1, b"")))
            case "reject":
                self.stops = True
            case "immediate":
                self.stops = _verdict(parts) == _DROP
            case _:
                self.matches = self.matches or name not in _PASSIVE

    def _compare(self, parts: dict[int, bytes]) -> None:
        value = _parts(parts.get(3, b"")).get(1, b"")
        equal = _signed(parts.get(2, b"\0")) == 0
        kind, key = self._loaded
        if not equal or not value:
            return
        if kind == "meta" and key in _IFNAMES:
            whole = len(value) == 16 or value.endswith(b"\0")
            self.links.add(_name(value) if whole else f"{_name(value)}*")
        elif kind == "meta" and key == _L4PROTO:
            self.protocol = _PROTOCOLS.get(value[0], "")
        elif kind == "dport" and len(value) == 2:
            self.port = int.from_bytes(value, "big")

    def _target(self, name: str) -> None:
        self.translates = self.translates or name in {"DNAT", "REDIRECT"}
        self.stops = self.stops or name in {"DROP", "REJECT"}


def _verdict(parts: dict[int, bytes]) -> int | None:
    verdict = _parts(_parts(parts.get(2, b"")).get(2, b""))
    return _signed(verdict[1]) if 1 in verdict else None
