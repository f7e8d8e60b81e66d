"""The sentences that rules are made of, each as ``nft`` text and as instructions for the kernel's rule machine.

Division of labour: a `Clause` is one match or one statement in both forms; `rule` joins clauses. The instructions are those that
``nft --debug=netlink`` prints for the same text, so a table loaded by us lists like one loaded by ``nft``. What the rules
should say is decided in `table`.

May import: nftables, types, errors.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network
from typing import Literal, TypeAlias

from attrs import frozen

from ..nftables import Expression, Rule, SetDecl
from ..types import Family, IPNetwork

Field: TypeAlias = Literal[
    "iifname", "oifname", "meta nfproto", "meta l4proto", "th dport", "ip saddr", "ip daddr", "ip6 saddr", "ip6 daddr"
]
Protocol: TypeAlias = Literal["tcp", "udp"]
Terminal: TypeAlias = Literal["accept", "drop", "return"]

_META = {"iifname": (6, 16), "oifname": (7, 16), "meta nfproto": (15, 1), "meta l4proto": (16, 1)}
"""Field → ``enum nft_meta_keys``, bytes."""
_NETWORK_HEADER, _TRANSPORT_HEADER = 1, 2
_PAYLOAD = {
    "ip saddr": (_NETWORK_HEADER, 12, 4),
    "ip daddr": (_NETWORK_HEADER, 16, 4),
    "ip6 saddr": (_NETWORK_HEADER, 8, 16),
    "ip6 daddr": (_NETWORK_HEADER, 24, 16),
    "th dport": (_TRANSPORT_HEADER, 2, 2),
}
"""Field → base, offset, bytes."""
_PORTS = {"sport": 0, "dport": 2}
"""Field → offset in the transport header."""
_PROTOCOLS = {"tcp": (6, 16), "udp": (17, 6)}
"""Protocol → its number, offset of its checksum."""
_GROUPS = {"iifgroup": 21, "oifgroup": 22}
_NFPROTO = {4: 2, 6: 10}
_VERDICT = {"drop": 0, "accept": 1, "return": -5}
_JUMP = -3
_EQ, _NEQ = 0, 1
_RTN_LOCAL = 2
_CT_STATE, _CT_STATUS = 0, 2
_FIB_ADDRTYPE, _FIB_SADDR, _FIB_DADDR = 3, 1, 2


@frozen
class Clause:
    """A part of a rule. ``family``: it reads a header of that family, so the rule must have checked the family before."""

    text: str
    expressions: tuple[Expression, ...]
    family: Family | None = None


def rule(*clauses: Clause) -> Rule:
    """Join clauses; where one reads an IPv4 or IPv6 header, the check that the packet has it goes before the first such one."""
    expressions: list[Expression] = []
    checked: Family | None = None
    for clause in clauses:
        if clause.family and checked is None:
            checked = clause.family
            if clause != nfproto(checked):
                expressions += nfproto(checked).expressions
        expressions += clause.expressions
    return Rule(" ".join(clause.text for clause in clauses), tuple(expressions))


def nfproto(family: Family) -> Clause:
    """The packet is of this family."""
    proto = _NFPROTO[family]
    check = (_expression("meta", dreg=1, key=15), _compare(bytes((proto,))))
    return Clause(f"meta nfproto ipv{family}", check, family)


def member(fields: Iterable[Field], decl: SetDecl, *, inside: bool = True) -> Clause:
    """The fields, concatenated, are (or are not) in a set."""
    loads, text, family = _load(tuple(fields))
    flags = {} if inside else {"flags": 1}
    lookup = _expression("lookup", set=decl.name, sreg=1, **flags)
    return Clause(f"{text} {'' if inside else '!= '}@{decl.name}", (*loads, lookup), family)


def grouped(field: Literal["iifgroup", "oifgroup"], mask: int, mark: int, *, inside: bool = True) -> Clause:
    """The interface's group (``IFLA_GROUP``) has (or has not) this mark under the mask."""
    load = _expression("meta", dreg=1, key=_GROUPS[field])
    bits, value = (each.to_bytes(4, sys.byteorder) for each in (mask, mark))
    text = f"{field} & {mask:#x} {'==' if inside else '!='} {mark:#x}"
    return Clause(text, (load, _mask(bits), _compare(value, _EQ if inside else _NEQ)))


def vmap(fields: Iterable[Field], decl: SetDecl) -> Clause:
    """Do what the verdict map says for the fields, if it says anything."""
    loads, text, family = _load(tuple(fields))
    return Clause(f"{text} vmap @{decl.name}", (*loads, _expression("lookup", set=decl.name, sreg=1, dreg=0)), family)


def dnat(family: Family, fields: Iterable[Field], decl: SetDecl) -> Clause:
    """Send on to the address and port that the map gives for the fields; without an entry the rule ends here."""
    loads, text, read = _load(tuple(fields))
    proto_min = _registers((4 if family == 4 else 16, 2))[1]
    nat = _expression("nat", type=1, family=_NFPROTO[family], reg_addr_min=1, reg_proto_min=proto_min)
    steps = (*loads, _expression("lookup", set=decl.name, sreg=1, dreg=1), nat)
    return Clause(f"dnat {_ip(family)} to {text} map @{decl.name}", steps, read)


def snat(family: Family, fields: Iterable[Field], decl: SetDecl) -> Clause:
    """Change the source to the address that the map gives for the fields; without an entry the rule ends here."""
    loads, text, read = _load(tuple(fields))
    nat = _expression("nat", type=0, family=_NFPROTO[family], reg_addr_min=1)
    steps = (*loads, _expression("lookup", set=decl.name, sreg=1, dreg=1), nat)
    return Clause(f"snat {_ip(family)} to {text} map @{decl.name}", steps, read)


def within(field: Field, network: IPNetwork) -> Clause:
    """An address lies in a constant network. Whole bytes of prefix are compared alone, others masked, as ``nft`` does."""
    base, offset, size = _PAYLOAD[field]
    prefix, family = network.prefixlen, _family(network)
    value = network.network_address.packed
    text = f"{field} {network if prefix < size * 8 else network.network_address}"
    if prefix % 8 == 0:
        size = prefix // 8
        load = _expression("payload", dreg=1, base=base, offset=offset, len=size)
        return Clause(text, (load, _compare(value[:size])), family)
    load = _expression("payload", dreg=1, base=base, offset=offset, len=size)
    return Clause(text, (load, _mask(network.netmask.packed), _compare(value)), family)


def port(protocol: Protocol, field: Literal["sport", "dport"], number: int) -> Clause:
    """The packet is of this protocol and from (or to) this port."""
    value = number.to_bytes(2, "big")
    load = _expression("payload", dreg=1, base=_TRANSPORT_HEADER, offset=_PORTS[field], len=2)
    check = (_expression("meta", dreg=1, key=16), _compare(bytes((_PROTOCOLS[protocol][0],))), load, _compare(value))
    return Clause(f"{protocol} {field} {number}", check)


def rewrite(protocol: Protocol, field: Literal["sport", "dport"], number: int) -> Clause:
    """Write another port into the packet, whose protocol was checked before. No connection is tracked for that."""
    value = _expression("immediate", dreg=1, data=number.to_bytes(2, "big"))
    where = {"base": _TRANSPORT_HEADER, "offset": _PORTS[field], "len": 2}
    checksum = {"csum_type": 1, "csum_offset": _PROTOCOLS[protocol][1], "csum_flags": 0}
    return Clause(f"{protocol} {field} set {number}", (value, _expression("payload", sreg=1, **where, **checksum)))


def icmp(family: Family) -> Clause:
    """The packet is ICMP of its family."""
    if family == 6:
        return Clause("meta l4proto ipv6-icmp", (_expression("meta", dreg=1, key=16), _compare(b"\x3a")))
    protocol = _expression("payload", dreg=1, base=_NETWORK_HEADER, offset=9, len=1)
    return Clause("ip protocol icmp", (protocol, _compare(b"\x01")), 4)


def local(direction: Literal["saddr", "daddr"], *, it_is: bool = True) -> Clause:
    """The source or destination is (or is not) an address of this machine (loopback included)."""
    flags = _FIB_SADDR if direction == "saddr" else _FIB_DADDR
    load = _expression("fib", dreg=1, result=_FIB_ADDRTYPE, flags=flags)
    compare = _compare(_RTN_LOCAL.to_bytes(4, sys.byteorder), _EQ if it_is else _NEQ)
    return Clause(f"fib {direction} type {'' if it_is else '!= '}local", (load, compare))


def established() -> Clause:
    """The packet belongs to a connection that was let through before, or is an error about one."""
    return Clause("ct state established,related", _ct_bits(_CT_STATE, 0x2 | 0x4))


def dnatted() -> Clause:
    """The connection's destination was translated."""
    return Clause("ct status dnat", _ct_bits(_CT_STATUS, 0x20))


def masquerade() -> Clause:
    """Change the source to the address of the interface that the packet leaves by."""
    return Clause("masquerade", (_expression("masq"),))


def untracked() -> Clause:
    """Let the packet pass without connection tracking, and so without translation."""
    return Clause("notrack", (_expression("notrack"),))


def verdict(what: Terminal) -> Clause:
    """End here."""
    return Clause(what, (_expression("immediate", dreg=0, verdict=_VERDICT[what]),))


def jump(chain: str) -> Clause:
    """Go on in another chain, and come back."""
    return Clause(f"jump {chain}", (_expression("immediate", dreg=0, verdict=_JUMP, chain=chain),))


def _expression(name: str, **attributes: int | str | bytes) -> Expression:
    return Expression(name, tuple(attributes.items()))


def _compare(data: bytes, op: int = _EQ) -> Expression:
    return _expression("cmp", sreg=1, op=op, data=data)


def _mask(mask: bytes) -> Expression:
    return _expression("bitwise", sreg=1, dreg=1, len=len(mask), mask=mask, xor=bytes(len(mask)))


def _ct_bits(key: int, bits: int) -> tuple[Expression, ...]:
    load = _expression("ct", dreg=1, key=key)
    return (load, _mask(bits.to_bytes(4, sys.byteorder)), _compare(bytes(4), _NEQ))


def _load(fields: tuple[Field, ...]) -> tuple[tuple[Expression, ...], str, Family | None]:
    """Load fields side by side from register 1: instructions, text, and the family whose header is read."""
    sizes = tuple(_META[field][1] if field in _META else _PAYLOAD[field][2] for field in fields)
    loads = []
    for field, register in zip(fields, _registers(sizes), strict=True):
        if field in _META:
            loads.append(_expression("meta", dreg=register, key=_META[field][0]))
        else:
            base, offset, size = _PAYLOAD[field]
            loads.append(_expression("payload", dreg=register, base=base, offset=offset, len=size))
    family: Family | None = None
    if any(field.startswith("ip ") for field in fields):
        family = 4
    elif any(field.startswith("ip6 ") for field in fields):
        family = 6
    return tuple(loads), " . ".join(fields), family


def _registers(sizes: Iterable[int]) -> tuple[int, ...]:
    """Number the registers that hold values side by side: 1 to 4 name 16 bytes, 8 to 23 the same bytes by fours."""
    numbers, offset = [], 0
    for size in sizes:
        numbers.append(1 + offset // 16 if offset % 16 == 0 else 8 + offset // 4)
        offset += -(-size // 4) * 4
    return tuple(numbers)


def _ip(family: Family) -> str:
    return "ip" if family == 4 else "ip6"


def _family(network: IPv4Network | IPv6Network) -> Family:
    return 4 if network.version == 4 else 6
