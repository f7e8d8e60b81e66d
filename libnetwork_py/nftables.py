"""Words for a packet filter: one nftables table whose rules never change, and the elements that do.

Division of labour: these values say *what* a table holds. `firewall/` decides it, `kernel/` encodes it for netlink, `render` writes
it as `nft` text. A rule carries both forms, made together from the same clauses, so the two cannot drift apart.

May import: types, errors.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from attrs import frozen

from .types import IPAddress, IPNetwork

KeyType: TypeAlias = Literal["ifname", "ipv4_addr", "ipv6_addr", "inet_proto", "inet_service"]
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


@frozen
class Expression:
    """One instruction of the kernel's rule machine (``nft --debug=netlink`` prints the same): its name and its attributes.

    Attribute names are those of ``linux/netfilter/nf_tables.h`` in lower case without their prefix: ``("dreg", 1)``.
    """

    name: str
    attributes: tuple[tuple[str, int | str | bytes], ...] = ()


@frozen
class Rule:
    """A rule: its ``nft`` text and the same as instructions."""

    text: str
    expressions: tuple[Expression, ...]


@frozen
class Hook:
    """Where a base chain hangs. ``priority`` is the kernel's number; policy is always accept: others' traffic is not ours."""

    type: Literal["filter", "nat"]
    hook: Literal["prerouting", "input", "forward", "output", "postrouting"]
    priority: int


@frozen
class Chain:
    """A chain and its rules; a base chain where ``hook`` is given."""

    name: str
    rules: tuple[Rule, ...]
    hook: Hook | None = None
