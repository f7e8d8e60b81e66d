"""What the packet filter does to one link: packets that are lost by chance, and addresses that are not reached.

A table of its own on the ``ingress`` hook of one interface, where every packet that comes out of the link is seen, bridged or not, before
anything else. Dropped there, a packet is lost as on a wire: nobody is told, unlike in the output hooks, where the sender gets an error.

Loss is the kernel's random number, or with a seed a hash of the packet's number in the sequence: then every run loses the same ones.
A super-packet of segmentation offload is one packet here.

May import: clauses, desired, nftables, types.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import starmap

from ..desired import Element, Table
from ..nftables import Chain, Expression, Hook, Rule, SetDecl
from ..types import FAMILIES, Family, IPAddress
from .clauses import Clause, member, rule, verdict

PREFIX = "link-"
"""What the names of these tables begin with; the controller's own table begins otherwise."""
MILLION = 1_000_000
_EVERY = 2**32 - 1
_PRIORITY = -10
_TYPES: dict[Family, SetDecl] = {4: SetDecl("apart4", ("ipv4_addr",)), 6: SetDecl("apart6", ("ipv6_addr",))}


def words(
    namespace: str, device: str, name: str, *, loss: int = 0, seed: int | None = None, apart: Iterable[IPAddress] = ()
) -> Iterator[Table | Element]:
    """Return the table of one interface and its elements; nothing where nothing happens to packets.

    Args:
        namespace: Where the interface is.
        device: The interface whose incoming packets are meant.
        name: Tells the table from others'.
        loss: Millionths.
        seed: Of the loss.
        apart: Destinations that packets do not reach.
    """
    cut = list(apart)
    families: list[Family] = [family for family in FAMILIES if any(each.version == family for each in cut)]
    rules = [
        rule(member(["ip daddr" if family == 4 else "ip6 daddr"], _TYPES[family]), verdict("drop"))
        for family in families
    ]
    rules += [chance(loss, seed)] if loss else []
    if not rules:
        return
    hook = Hook("filter", "ingress", _PRIORITY, device)
    table = Table(
        namespace, f"{PREFIX}{name}", tuple(_TYPES[family] for family in families), (Chain("in", tuple(rules), hook),)
    )
    yield table
    yield from (Element(namespace, table.name, _TYPES[_family(each)], (each,)) for each in cut)


def _family(address: IPAddress) -> Family:
    return 4 if address.version == 4 else 6


def chance(loss: int, seed: int | None) -> Rule:
    """Return the rule that drops so many millionths of what it sees."""
    if loss >= MILLION:
        return rule(verdict("drop"))
    return rule(_lot(loss, seed), verdict("drop"))


def _lot(loss: int, seed: int | None) -> Clause:
    if seed is None:
        text = f"numgen random mod {MILLION} < {loss}"
        draw = [("numgen", {"dreg": 1, "modulus": MILLION, "type": 1, "offset": 0})]
    else:
        text = f"jhash numgen inc mod {_EVERY} mod {MILLION} seed {seed:#x} < {loss}"
        number = {"dreg": 2, "modulus": _EVERY, "type": 0, "offset": 0}
        hashed = {"sreg": 2, "dreg": 1, "len": 4, "modulus": MILLION, "seed": seed, "type": 0}
        draw = [("numgen", number), ("hash", hashed)]
    compare: list[tuple[str, dict[str, int | str | bytes]]] = [
        ("byteorder", {"sreg": 1, "dreg": 1, "op": 1, "len": 4, "size": 4}),
        ("cmp", {"sreg": 1, "op": 2, "data": loss.to_bytes(4, "big")}),
    ]
    steps = [*((name, dict[str, int | str | bytes](values)) for name, values in draw), *compare]
    return Clause(text, tuple(starmap(_expression, steps)))


def _expression(name: str, values: dict[str, int | str | bytes]) -> Expression:
    return Expression(name, tuple(values.items()))
