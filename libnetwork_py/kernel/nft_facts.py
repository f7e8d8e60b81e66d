"""Tables of the packet filter as the kernel has them.

Division of labour: asks the kernel for lists and turns them into `TableFact`; elements come back as the very atoms that a
description says, so that `facts.compare` can compare them.

May import: nft_atoms, nft_rules, transport, desired, facts, nftables, types, errors.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence

from attrs import frozen

from ..desired import Table
from ..errors import NotFound
from ..facts import TableFact
from ..nftables import Atom, KeyType
from . import nft_atoms, nft_rules
from .nft_atoms import (
    GETCHAIN,
    GETRULE,
    GETSET,
    GETSETELEM,
    GETTABLE,
    INET,
    NFT,
    attributes,
    decode,
    kinds,
    text,
    verdict_name,
)
from .transport import Transport

NLM_F_REQUEST, NLM_F_DUMP = 0x1, 0x300

_TABLE_NAME, _CHAIN_TABLE, _CHAIN_NAME, _RULE_TABLE, _RULE_CHAIN = 1, 1, 3, 1, 2
_SET_TABLE, _SET_NAME, _SET_FLAGS, _SET_KEY_TYPE, _SET_DATA_TYPE = 1, 2, 3, 4, 6
_LIST_TABLE, _LIST_SET, _LIST_ELEMENTS = 1, 2, 3
TABLE_FAMILIES = {1: "inet", 2: "ip", 3: "arp", 5: "netdev", 7: "bridge", 10: "ip6"}
_FLAG_INTERVAL = 0x4


def message(kind: int, flags: int, body: bytes, family: int = INET, resource: int = 0) -> bytes:
    """A netlink message with the header of nfnetlink; its sequence number is the transport's business."""
    length = 20 + len(body)
    return (
        struct.pack("=IHHII", length, kind, flags | NLM_F_REQUEST, 0, 0)
        + struct.pack(">BBH", family, 0, resource)
        + body
    )


def tables(transport: Transport) -> list[tuple[str, str]]:
    """Return (family, name) of every table, whoever's it is."""
    found = []
    for family, payload in _dump(transport, GETTABLE, family=0):
        found.append((TABLE_FAMILIES.get(family, str(family)), _text(payload, _TABLE_NAME)))
    return found


def snapshot(transport: Transport, wanted: Mapping[str, Table | None]) -> dict[str, TableFact]:
    """Return what is in the ``inet`` tables of these names, and what is strange in it where a description is given.

    A table that is not there is absent.
    """
    present = {name for family, name in tables(transport) if family == "inet"}
    facts: dict[str, TableFact] = {}
    for name, table in wanted.items():
        if name not in present:
            continue
        try:
            sets = {found.name: _elements(transport, name, found) for found in _sets(transport, name)}
            rules = _rules(transport, name)
            counts = {chain: len(shown) for chain, shown in rules.items()}
            facts[name] = TableFact(counts, sets, _strange(table, rules) if table else {})
        except NotFound:  # gone since the list was read
            continue
    return facts


@frozen
class _Set:
    name: str
    key: tuple[KeyType, ...]
    value: tuple[KeyType, ...]
    interval: bool


def _dump(transport: Transport, get: int, body: bytes = b"", family: int = INET) -> Iterator[tuple[int, bytes]]:
    """Family and attributes of each answer."""
    request = message(NFT | get, NLM_F_DUMP, body, family)
    for _, payload in transport.dump(request, "read the packet filter"):
        yield payload[0], payload[4:]


def _payload(data: bytes, wanted: int) -> bytes:
    """The first attribute with this number; empty where there is none."""
    return next((data[start:end] for number, start, end in attributes(data) if number == wanted), b"")


def _text(data: bytes, wanted: int) -> str:
    return _payload(data, wanted).rstrip(b"\0").decode()


def _number(data: bytes, wanted: int) -> int:
    return int.from_bytes(_payload(data, wanted), "big")


def _rules(transport: Transport, table: str) -> dict[str, list[bytes]]:
    """The attributes of each rule by chain, in order."""
    chains: dict[str, list[bytes]] = {}
    for _, payload in _dump(transport, GETCHAIN, text(_CHAIN_TABLE, table)):
        if _text(payload, _CHAIN_TABLE) == table:
            chains[_text(payload, _CHAIN_NAME)] = []
    for _, payload in _dump(transport, GETRULE, text(_RULE_TABLE, table)):
        if _text(payload, _RULE_TABLE) == table and _text(payload, _RULE_CHAIN) in chains:
            chains[_text(payload, _RULE_CHAIN)].append(payload)
    return chains


def _strange(table: Table, shown: Mapping[str, Sequence[bytes]]) -> dict[str, int]:
    """The first rule of each chain that is another than described, where there are as many as described."""
    found = {
        chain.name: nft_rules.strange(chain.rules, shown.get(chain.name, ()))
        for chain in table.chains
        if len(chain.rules) == len(shown.get(chain.name, ()))
    }
    return {chain: place for chain, place in found.items() if place}


def _sets(transport: Transport, table: str) -> list[_Set]:
    found = []
    for _, payload in _dump(transport, GETSET, text(_SET_TABLE, table)):
        if _text(payload, _SET_TABLE) == table:
            data_type = _number(payload, _SET_DATA_TYPE)
            value = () if data_type == nft_atoms.DATA_VERDICT else kinds(data_type)
            interval = bool(_number(payload, _SET_FLAGS) & _FLAG_INTERVAL)
            found.append(_Set(_text(payload, _SET_NAME), kinds(_number(payload, _SET_KEY_TYPE)), value, interval))
    return found


def _elements(transport: Transport, table: str, of: _Set) -> dict[tuple[object, ...], object]:
    """The elements of a set: fields to value, ``None`` where it is no map. Raw bytes where the types are none of ours."""
    body = text(_LIST_TABLE, table) + text(_LIST_SET, of.name)
    raw = []
    for _, payload in _dump(transport, GETSETELEM, body):
        for number, start, end in attributes(payload):
            if number == _LIST_ELEMENTS:
                raw += [_parts(payload, *bounds) for _, *bounds in attributes(payload, start, end)]
    if of.interval and len(of.key) == 1:
        return dict(_paired(raw, of))
    found: dict[tuple[object, ...], object] = {}
    for low, high, data, _ in raw:
        found[_fields(of.key, low, high)] = _leads_to(of, data)
    return found


def _parts(data: bytes, start: int, end: int) -> tuple[bytes, bytes | None, bytes | int | None, int]:
    """Of one element: lower key, upper key, value or verdict, flags."""
    low, high, value, flags = b"", None, None, 0
    for number, first, last in attributes(data, start, end):
        if number == nft_atoms.ELEM_KEY:
            low = data[first + 4 : last]
            low = low[: struct.unpack_from("=H", data, first)[0] - 4]
        elif number == nft_atoms.ELEM_KEY_END:
            high = data[first + 4 : first + struct.unpack_from("=H", data, first)[0]]
        elif number == nft_atoms.ELEM_DATA:
            value = _value(data, first, last)
        elif number == nft_atoms.ELEM_FLAGS:
            flags = int.from_bytes(data[first:last], "big")
    return low, high, value, flags


def _value(data: bytes, start: int, end: int) -> bytes | int | None:
    for number, first, last in attributes(data, start, end):
        if number == nft_atoms.NFTA_DATA_VALUE:
            return data[first:last]
        for inner, at, until in attributes(data, first, last):
            if inner == nft_atoms.NFTA_VERDICT_CODE:
                return int.from_bytes(data[at:until], "big")
    return None


def _fields(types: tuple[KeyType, ...], low: bytes, high: bytes | None) -> tuple[object, ...]:
    return decode(types, low, high) if types else (low,)


def _leads_to(of: _Set, data: bytes | int | None) -> tuple[Atom, ...] | str | bytes | None:
    if isinstance(data, int):
        return verdict_name(data)
    return data if data is None or not of.value else decode(of.value, data)


def _paired(
    raw: list[tuple[bytes, bytes | None, bytes | int | None, int]], of: _Set
) -> Iterator[tuple[tuple[object, ...], object]]:
    """Join the beginnings and ends of a plain interval set; an end at the next one's beginning sorts before it."""
    begun: tuple[bytes, bytes | int | None] | None = None
    for low, _, data, flags in sorted(raw, key=lambda each: (each[0], not each[3] & nft_atoms.INTERVAL_END)):
        if begun is not None:
            last = (int.from_bytes(low, "big") - 1).to_bytes(len(low), "big")
            yield _fields(of.key, begun[0], last), _leads_to(of, begun[1])
        begun = None if flags & nft_atoms.INTERVAL_END else (low, data)
    if begun is not None:
        yield _fields(of.key, begun[0], b"\xff" * len(begun[0])), _leads_to(of, begun[1])
