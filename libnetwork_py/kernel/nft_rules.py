"""Rules of the packet filter: instructions to bytes, and whether the bytes that the kernel shows are the same instructions.

Division of labour: `nft` sends what is encoded here, `nft_facts` asks whether it is still there. Attribute numbers are those of
``linux/netfilter/nf_tables.h``, written out so that neither waits for pyroute2's import (0.1 s); a test compares them with pyroute2's.

May import: nft_atoms, nftables.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping, Sequence

from ..nftables import Expression, Rule
from .nft_atoms import NFTA_DATA_VALUE, NLA_F_NESTED, attribute, attributes, be32, nested, text, verdict

NUMBERS: Mapping[str, Mapping[str, int]] = {
    "bitwise": {"sreg": 1, "dreg": 2, "len": 3, "mask": 4, "xor": 5},
    "cmp": {"sreg": 1, "op": 2, "data": 3},
    "ct": {"dreg": 1, "key": 2},
    "fib": {"dreg": 1, "result": 2, "flags": 3},
    "immediate": {"dreg": 1, "data": 2},
    "lookup": {"set": 1, "sreg": 2, "dreg": 3, "flags": 5},
    "masq": {},
    "meta": {"dreg": 1, "key": 2},
    "nat": {"type": 1, "family": 2, "reg_addr_min": 3, "reg_proto_min": 5},
    "notrack": {},
    "numgen": {"dreg": 1, "modulus": 2, "type": 3, "offset": 4},
    "hash": {"sreg": 1, "dreg": 2, "len": 3, "modulus": 4, "seed": 5, "type": 7},
    "byteorder": {"sreg": 1, "dreg": 2, "op": 3, "len": 4, "size": 5},
    "payload": {
        "dreg": 1,
        "base": 2,
        "offset": 3,
        "len": 4,
        "sreg": 5,
        "csum_type": 6,
        "csum_offset": 7,
        "csum_flags": 8,
    },
    "redir": {"reg_proto_min": 1},
}
"""Instruction → attribute in lower case, without prefix → its number."""

_RULE_EXPRESSIONS = 4


def expressions(rule: Rule) -> bytes:
    """Return a rule's instructions as ``NFTA_RULE_EXPRESSIONS``."""
    return nested(_RULE_EXPRESSIONS, *(_expression(each) for each in rule.expressions))


def _expression(expression: Expression) -> bytes:
    numbers = NUMBERS[expression.name]
    values = dict(expression.attributes)
    body = []
    if (code := values.pop("verdict", None)) is not None:
        body.append(verdict(numbers["data"], int(code), str(values.pop("chain", ""))))
    for name, value in values.items():
        if isinstance(value, bytes):
            body.append(nested(numbers[name], attribute(NFTA_DATA_VALUE, value)))
        else:
            body.append(be32(numbers[name], value) if isinstance(value, int) else text(numbers[name], value))
    return nested(1, text(1, expression.name), nested(2, *body))


def strange(rules: Sequence[Rule], shown: Sequence[bytes]) -> int:
    """Return the place, from 1, of the first rule that the kernel does not show as described; 0: there is none.

    Args:
        rules: As described. shown: The attributes of each rule in the kernel, as many.
    """
    for place, (rule, its) in enumerate(zip(rules, shown, strict=True), 1):
        if not _is(rule, _instructions(its)):
            return place
    return 0


def _instructions(shown: bytes) -> bytes:
    """The attribute of a rule that holds its instructions; the others are its number and its place."""
    return next(
        (shown[start - 4 : end] for number, start, end in attributes(shown) if number == _RULE_EXPRESSIONS), b""
    )


@functools.lru_cache(maxsize=512)  # every sandbox shows the same rules
def _is(rule: Rule, shown: bytes) -> bool:
    return _holds(shown, expressions(rule))


def _holds(shown: bytes, described: bytes) -> bool:
    """Whether all that is described is shown. The kernel adds defaults to an instruction, but no instruction to a rule."""
    found: dict[int, list[bytes]] = {}
    for number, start, end in attributes(shown):
        found.setdefault(number, []).append(shown[start:end])
    wanted: dict[int, list[tuple[bool, bytes]]] = {}
    for number, start, end in attributes(described):
        if (
            start == end
        ):  # an instruction without attributes: whether the kernel shows that it has none depends on the instruction
            continue
        nesting = bool(int.from_bytes(described[start - 2 : start], sys.byteorder) & NLA_F_NESTED)
        wanted.setdefault(number, []).append((nesting, described[start:end]))
    return all(
        len(parts) == len(found.get(number, ()))
        and all(
            _holds(its, part) if nesting else its == part
            for (nesting, part), its in zip(parts, found[number], strict=True)
        )
        for number, parts in wanted.items()
    )
