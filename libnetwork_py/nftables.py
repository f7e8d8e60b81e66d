"""Words for a packet filter: one nftables table whose rules never change, and the elements that do.

Division of labour: these values say *what* a table holds. `firewall/` decides it, `kernel/` encodes it for netlink, `render` writes
it as `nft` text. A rule carries both forms, made together from the same clauses, so the two cannot drift apart.
`table_text` and `element_text` put those texts together into what ``nft -f`` reads.

May import: types, errors.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypeAlias

from attrs import frozen

from .types import IPAddress, IPNetwork

KeyType: TypeAlias = Literal["ifname", "nf_proto", "ipv4_addr", "ipv6_addr", "inet_proto", "inet_service"]
Atom: TypeAlias = str | int | IPAddress | IPNetwork
"""One field of a key or value: an interface name, a protocol (``"tcp"``), a port, an address, or a network in an interval set."""
Verdict: TypeAlias = Literal["accept", "drop", "return"]


@frozen
class SetDecl:
    """A named set, or a map where ``value`` says what a key leads to.

    ``interval``: a key field may be a network, not only an address.
    """

    name: str
    key: tuple[KeyType, ...]
    value: tuple[KeyType, ...] | Literal["verdict"] | None = None
    interval: bool = False


@frozen(cache_hash=True)  # every sandbox's table has the same ones
class Expression:
    """One instruction of the kernel's rule machine (``nft --debug=netlink`` prints the same): its name and its attributes.

    Attribute names are those of ``linux/netfilter/nf_tables.h`` in lower case without their prefix: ``("dreg", 1)``.
    """

    name: str
    attributes: tuple[tuple[str, int | str | bytes], ...] = ()


@frozen(cache_hash=True)
class Rule:
    """A rule: its ``nft`` text and the same as instructions."""

    text: str
    expressions: tuple[Expression, ...]


@frozen
class Hook:
    """Where a base chain hangs. ``priority`` is the kernel's number; policy is always accept: others' traffic is not ours.

    ``device``: the interface of an ``ingress`` hook, where packets are seen as they come in, bridged ones too.
    """

    type: Literal["filter", "nat"]
    hook: Literal["prerouting", "input", "forward", "output", "postrouting", "ingress"]
    priority: int
    device: str = ""


@frozen(cache_hash=True)
class Chain:
    """A chain and its rules; a base chain where ``hook`` is given."""

    name: str
    rules: tuple[Rule, ...]
    hook: Hook | None = None


def table_text(name: str, sets: Iterable[SetDecl], chains: Iterable[Chain]) -> str:
    """Return an ``inet`` table as ``nft -f`` reads it: sets empty, chains with their rules; ends with a newline."""
    blocks = [_set_text(decl) for decl in sets] + [_chain_text(chain) for chain in chains]
    return f"table inet {name} {{\n" + "\n".join(blocks) + "}\n"


def element_text(
    table: str, decl: SetDecl, fields: Iterable[Atom], value: Iterable[Atom] | Verdict | None = None
) -> str:
    """Return an element of a set or map as nft's commands write it: ``inet TABLE SET { KEY : VALUE }``.

    Put ``add element`` or ``delete element`` before it. Interface names are quoted.
    """
    key = _concatenation(decl.key, fields)
    if value is None or decl.value is None:
        return f"inet {table} {decl.name} {{ {key} }}"
    leads_to = value if isinstance(value, str) else _concatenation(decl.value, value)
    return f"inet {table} {decl.name} {{ {key} : {leads_to} }}"


def _concatenation(types: Iterable[str], fields: Iterable[Atom]) -> str:
    return " . ".join(
        f'"{field}"' if kind == "ifname" else str(field) for kind, field in zip(types, fields, strict=True)
    )


def _set_text(decl: SetDecl) -> str:
    kind, key = "set", " . ".join(decl.key)
    if decl.value is not None:
        kind = "map"
        key += " : " + (decl.value if isinstance(decl.value, str) else " . ".join(decl.value))
    flags = "\t\tflags interval\n" if decl.interval else ""
    return f"\t{kind} {decl.name} {{\n\t\ttype {key}\n{flags}\t}}\n"


def _chain_text(chain: Chain) -> str:
    lines = [rule.text for rule in chain.rules]
    if chain.hook:
        hook = chain.hook
        device = f' device "{hook.device}"' if hook.device else ""
        lines.insert(0, f"type {hook.type} hook {hook.hook}{device} priority {hook.priority}; policy accept;")
    return f"\tchain {chain.name} {{\n" + "".join(f"\t\t{line}\n" for line in lines) + "\t}\n"
