"""How nf_tables lays out attributes, keys and values: bytes from atoms, and atoms from bytes.

Division of labour: this module knows formats and nothing of sockets; `nft` writes messages with it, `nft_facts` reads them. The
constants are those of ``linux/netfilter/nf_tables.h``, written out so that elements and snapshots do not wait for pyroute2's
import (0.1 s); a test compares them with pyroute2's.

A key's fields stand side by side, each padded to four bytes. In a concatenation with intervals an element has a lower and an upper
key. A plain interval set has two elements instead: one where the interval begins, one, flagged, where it has ended.

May import: nftables, types, errors.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import cast

from ..errors import InvalidParameter
from ..nftables import Atom, KeyType, SetDecl
from ..types import IPNetwork

NFT = 10 << 8
"""``NFNL_SUBSYS_NFTABLES``, which goes before the number of a message."""
NEWTABLE, GETTABLE, DELTABLE, NEWCHAIN, GETCHAIN, NEWRULE, GETRULE = 0, 1, 2, 3, 4, 6, 7
NEWSET, GETSET, NEWSETELEM, GETSETELEM, DELSETELEM = 9, 10, 12, 13, 14
INET = 1
"""``NFPROTO_INET``."""

NLA_F_NESTED, NLA_TYPE_MASK = 0x8000, 0x3FFF
NFTA_DATA_VALUE, NFTA_DATA_VERDICT = 1, 2
NFTA_VERDICT_CODE, NFTA_VERDICT_CHAIN = 1, 2
ELEM_KEY, ELEM_DATA, ELEM_FLAGS, ELEM_KEY_END = 1, 2, 3, 10
INTERVAL_END = 1
DATA_VERDICT = 0xFFFFFF00
"""``NFT_DATA_VERDICT``: the map's values are verdicts."""

PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "ipv6-icmp": 58, "sctp": 132}
_PROTOCOL_NAMES = {number: name for name, number in PROTOCOLS.items()}
VERDICTS = {"drop": 0, "accept": 1, "return": -5}
_VERDICT_NAMES = {code: name for name, code in VERDICTS.items()}

_FAMILIES = {"ipv4": 2, "ipv6": 10}

SIZES: dict[KeyType, int] = {
    "ifname": 16,
    "nf_proto": 1,
    "ipv4_addr": 4,
    "ipv6_addr": 16,
    "inet_proto": 1,
    "inet_service": 2,
}
_TYPES: dict[KeyType, int] = {
    "nf_proto": 2,
    "ipv4_addr": 7,
    "ipv6_addr": 8,
    "inet_proto": 12,
    "inet_service": 13,
    "ifname": 41,
}
_KINDS: dict[int, KeyType] = {number: kind for kind, number in _TYPES.items()}

_HEADER, _PORT = struct.Struct("=HH"), struct.Struct(">H")


def attribute(number: int, payload: bytes) -> bytes:
    """One netlink attribute, padded."""
    return _HEADER.pack(len(payload) + 4, number) + payload + bytes(-len(payload) % 4)


def nested(number: int, *attributes: bytes) -> bytes:
    """An attribute made of attributes."""
    return attribute(number | NLA_F_NESTED, b"".join(attributes))


def be32(number: int, value: int) -> bytes:
    """A 32-bit number in network order; negative ones as the kernel writes verdicts and priorities."""
    return attribute(number, struct.pack(">I", value & 0xFFFFFFFF))


def text(number: int, value: str) -> bytes:
    """A string with its zero byte."""
    return attribute(number, value.encode() + b"\0")


def verdict(number: int, code: int, chain: str = "") -> bytes:
    """An ``NFTA_DATA`` attribute that holds a verdict."""
    parts = [be32(NFTA_VERDICT_CODE, code)]
    if chain:
        parts.append(text(NFTA_VERDICT_CHAIN, chain))
    return nested(number, nested(NFTA_DATA_VERDICT, *parts))


def attributes(data: bytes, start: int = 0, end: int | None = None) -> Iterator[tuple[int, int, int]]:
    """Walk attributes in place: number without flags, and where the payload starts and ends."""
    end = len(data) if end is None else end
    while start + 4 <= end:
        length, number = _HEADER.unpack_from(data, start)
        if length < 4:
            return
        yield number & NLA_TYPE_MASK, start + 4, start + length
        start += (length + 3) & ~3


def set_type(types: Iterable[KeyType]) -> int:
    """The number that tells ``nft`` how to print a key: six bits for each field."""
    number = 0
    for kind in types:
        number = number << 6 | _TYPES[kind]
    return number


def kinds(number: int) -> tuple[KeyType, ...]:
    """The fields that such a number stands for; empty where one of them is none of ours."""
    found: list[KeyType] = []
    while number:
        kind = _KINDS.get(number & 0x3F)
        if kind is None:
            return ()
        found.insert(0, kind)
        number >>= 6
    return tuple(found)


def key_size(types: tuple[KeyType, ...]) -> int:
    """Bytes of a key or value."""
    return SIZES[types[0]] if len(types) == 1 else sum((SIZES[kind] + 3) & ~3 for kind in types)


def element(
    decl: SetDecl, fields: tuple[Atom, ...], value: tuple[Atom, ...] | str | None, count: int = 1
) -> list[bytes]:
    """The ``NFTA_LIST_ELEM`` attributes of one element: one, or two in a plain interval set; or those of a run.

    Raises:
        InvalidParameter: the fields or the value do not fit the declaration.
    """
    try:
        low = _encode(decl.key, fields)
        data = b"" if value is None else _data(decl, value)
        if not decl.interval:
            single = _element(_value(ELEM_KEY, low) + data)
            return [single] if count == 1 else _run(single, fields, value, count)
        high = _encode(decl.key, [_last(field) for field in fields])
    except (KeyError, ValueError, TypeError, AttributeError, struct.error) as error:
        raise InvalidParameter(
            f"{fields!r} → {value!r} is no element of the set {decl.name}: {error}", code="bad_element", set=decl.name
        ) from error
    if len(decl.key) > 1:
        return [_element(_value(ELEM_KEY, low) + _value(ELEM_KEY_END, high) + data)]
    begin = _element(_value(ELEM_KEY, low) + data)
    after = (int.from_bytes(high, "big") + 1).to_bytes(len(high) + 1, "big")
    if after[0]:  # it ends where addresses end
        return [begin]
    return [begin, _element(be32(ELEM_FLAGS, INTERVAL_END) + _value(ELEM_KEY, after[1:]))]


class Like:
    """Elements of a set that differ in their ports alone, made from one of them: a thousand published ports of one address.

    Args:
        decl: The set.
        fields: The key of the first.
        value: Its value.
    """

    def __init__(self, decl: SetDecl, fields: tuple[Atom, ...], value: tuple[Atom, ...] | str | None) -> None:
        self._first, self._made = (fields, value), element(decl, fields, value)
        self._rest = fields[:-1], value[:-1] if isinstance(value, tuple) else value
        kinds = [decl.key[-1], *(decl.value[-1:] if isinstance(value, tuple) and isinstance(decl.value, tuple) else ())]
        ports = not decl.interval and {*kinds} == {"inet_service"}
        cuts = _port_places(self._made[0], value) if ports else []
        self._parts = [
            self._made[0][start:end] for start, end in zip((0, *(cut + 2 for cut in cuts)), (*cuts, None), strict=True)
        ]

    def fits(self, fields: tuple[Atom, ...], value: tuple[Atom, ...] | str | None) -> bool:
        """Return whether an element differs from the first in its ports alone, if at all."""
        if len(self._parts) == 1:
            return (fields, value) == self._first
        return (fields[:-1], value[:-1] if isinstance(value, tuple) else value) == self._rest

    def elements(self, fields: tuple[Atom, ...], value: tuple[Atom, ...] | str | None) -> list[bytes]:
        """Return the attributes of one that fits; as `element`, whatever its ports are."""
        match self._parts:
            case [head, tail]:
                return [head + _PORT.pack(fields[-1]) + tail]
            case [head, middle, tail] if isinstance(value, tuple):
                return [head + _PORT.pack(fields[-1]) + middle + _PORT.pack(value[-1]) + tail]
            case _:
                return self._made


def _run(single: bytes, fields: tuple[Atom, ...], value: tuple[Atom, ...] | str | None, count: int) -> list[bytes]:
    """The elements of a run, made from the first: a port is the last field of its key, and of its value if that has fields."""
    firsts = (fields[-1], value[-1]) if isinstance(value, tuple) else fields[-1:]
    numbers = [
        (place, first)
        for place, first in zip(_port_places(single, value), firsts, strict=True)
        if isinstance(first, int)
    ]
    made = bytearray(single)
    found = []
    for number in range(count):
        for place, first in numbers:
            _PORT.pack_into(made, place, first + number)
        found.append(bytes(made))
    return found


def _port_places(single: bytes, value: tuple[Atom, ...] | str | None) -> list[int]:
    """Where the last field of an element's key, and of its value if that has fields, stands.

    Behind the headers of the element, the key and the data around it, that is in the last four bytes.
    """
    key_end = 4 + _HEADER.unpack_from(single, 4)[0]
    return [key_end - 4, len(single) - 4] if isinstance(value, tuple) else [key_end - 4]


@cache
def _wrap(size: int) -> struct.Struct:
    """Three headers and a payload of ``size`` bytes with its padding."""
    return struct.Struct(f"=HHHH{size}s{-size % 4}x")


def _value(number: int, payload: bytes) -> bytes:
    size = len(payload)
    padded = (size + 3) & ~3
    return _wrap(size).pack(padded + 8, number | NLA_F_NESTED, size + 4, NFTA_DATA_VALUE, payload)


def _element(content: bytes) -> bytes:
    return _HEADER.pack(len(content) + 4, 1 | NLA_F_NESTED) + content


def _data(decl: SetDecl, value: tuple[Atom, ...] | str) -> bytes:
    if isinstance(value, str):
        return verdict(ELEM_DATA, VERDICTS[value])
    if decl.value is None or isinstance(decl.value, str):
        raise ValueError("the declaration has no such value")
    return _value(ELEM_DATA, _encode(decl.value, value))


def _encode(types: tuple[KeyType, ...], atoms: Iterable[Atom]) -> bytes:
    encoded = [_ENCODE[kind](atom) for kind, atom in zip(types, atoms, strict=True)]
    return encoded[0] if len(encoded) == 1 else b"".join(part + bytes(-len(part) % 4) for part in encoded)


def _name(atom: Atom) -> bytes:
    name = str(atom).encode()
    if not 0 < len(name) < 16:
        raise ValueError(f"{atom!r} is no interface name")
    return name.ljust(16, b"\0")


def _packed(kind: type[IPv4Address | IPv6Address]) -> Callable[[Atom], bytes]:
    def pack(atom: Atom) -> bytes:
        address = atom.network_address if isinstance(atom, (IPv4Network, IPv6Network)) else atom
        if not isinstance(address, kind):
            raise TypeError(f"{atom!r} is no {kind.__name__}")
        return address.packed

    return pack


def _protocol(atom: Atom) -> bytes:
    return bytes((PROTOCOLS[atom] if isinstance(atom, str) else cast("int", atom),))


_ENCODE: dict[KeyType, Callable[[Atom], bytes]] = {
    "ifname": _name,
    "nf_proto": lambda atom: bytes((_FAMILIES[str(atom)],)),
    "ipv4_addr": _packed(IPv4Address),
    "ipv6_addr": _packed(IPv6Address),
    "inet_proto": _protocol,
    "inet_service": struct.Struct(">H").pack,
}


def _last(atom: Atom) -> Atom:
    return atom.broadcast_address if isinstance(atom, (IPv4Network, IPv6Network)) else atom


def decode(types: tuple[KeyType, ...], low: bytes, high: bytes | None = None) -> tuple[Atom, ...]:
    """The atoms of a key or value; ``high`` is the upper key of an interval."""
    atoms: list[Atom] = []
    offset = 0
    for kind in types:
        size = SIZES[kind]
        part = low[offset : offset + size]
        atoms.append(_DECODE[kind](part) if high is None else _span(kind, part, high[offset : offset + size]))
        offset += (size + 3) & ~3
    return tuple(atoms)


def verdict_name(code: int) -> str:
    """The verdict that a map's value is."""
    code = code - (1 << 32) if code >= 1 << 31 else code
    return _VERDICT_NAMES.get(code, str(code))


_DECODE: dict[KeyType, Callable[[bytes], Atom]] = {
    "ifname": lambda part: part.rstrip(b"\0").decode(),
    "nf_proto": lambda part: next((name for name, number in _FAMILIES.items() if number == part[0]), part[0]),
    "ipv4_addr": IPv4Address,
    "ipv6_addr": IPv6Address,
    "inet_proto": lambda part: _PROTOCOL_NAMES.get(part[0], part[0]),
    "inet_service": lambda part: int.from_bytes(part, "big"),
}


def _span(kind: KeyType, low: bytes, high: bytes) -> Atom:
    first = _DECODE[kind](low)
    if low == high:
        return first
    last = _DECODE[kind](high)
    if isinstance(first, IPv4Address) and isinstance(last, IPv4Address):
        networks: list[IPNetwork] = list(ipaddress.summarize_address_range(first, last))
    elif isinstance(first, IPv6Address) and isinstance(last, IPv6Address):
        networks = list(ipaddress.summarize_address_range(first, last))
    else:
        networks = []
    return networks[0] if len(networks) == 1 else f"{first}-{last}"


def byte_order(types: Sequence[KeyType]) -> bytes:
    """``enum byteorder`` of nftables in a set's user data, from which ``nft list`` takes it.

    0 for a concatenation, 1 for the host's, 2 for the network's.
    """
    order = 0 if len(types) > 1 else 1 if types[0] == "ifname" else 2
    return struct.pack("=I", order)
