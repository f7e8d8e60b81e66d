"""Tables and elements of the packet filter: loaded in one atomic batch each, as netlink, without ``nft``.

Division of labour: here words become messages and a change becomes one batch; `nft_atoms` knows how one key or value is laid out,
`nft_rules` how a rule is; `nft_facts` reads tables back. All is encoded by hand, because so a thousand ports are loaded in the time
that pyroute2's message classes need for a hundred.

May import: nft_atoms, nft_facts, nft_rules, transport, desired, nftables, types, errors.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence

from ..desired import Element, Table
from ..errors import NotFound
from ..nftables import Atom, Chain, Rule, SetDecl
from .nft_atoms import (
    DATA_VERDICT,
    DELSETELEM,
    DELTABLE,
    NEWCHAIN,
    NEWRULE,
    NEWSET,
    NEWSETELEM,
    NEWTABLE,
    NFT,
    SIZES,
    Like,
    attribute,
    be32,
    byte_order,
    element,
    key_size,
    nested,
    set_type,
    text,
)
from .nft_facts import message, snapshot, tables
from .nft_rules import expressions
from .transport import Transport

__all__ = ["load", "snapshot", "tables"]

_NLM_F_EXCL, _NLM_F_CREATE, _NLM_F_APPEND = 0x200, 0x400, 0x800
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_ELEMENTS_MAX = 60_000
"""Bytes of elements in one message: the length of the attribute around them has 16 bits."""
_HOOKS = {"prerouting": 0, "input": 1, "forward": 2, "output": 3, "postrouting": 4, "ingress": 5}
_SET_INTERVAL, _SET_MAP, _SET_CONCAT = 0x4, 0x8, 0x80
_ACCEPT = 1
_TRIES = 5


def load(transport: Transport, make: Sequence[Table | Element], remove: Sequence[Table | Element]) -> None:
    """Remove and make tables and elements in one transaction: either all of it happens or none.

    Making is exclusive: an element or table that exists already is refused. What is to be removed and is gone is no error. An element
    whose table is removed too goes with it. One element in both lists changes its value.

    Raises:
        Conflict: something to be made exists. NotFound: an element's table does not. InvalidParameter: an element does not fit
            its set. Otherwise as `Transport.batch`.
    """
    old_tables = [word for word in remove if isinstance(word, Table)]
    going = {word.name for word in old_tables}
    old = [word for word in remove if isinstance(word, Element) and word.table not in going]
    making = [*_made_tables(make), *_made_elements(make)]
    doing = f"change the packet filter ({', '.join(sorted({_table_of(word) for word in (*make, *remove)}))})"
    for attempt in range(_TRIES):
        removing = [*_removed_elements(old), *_removed_tables(old_tables)]
        if not removing and not making:
            return
        try:
            transport.batch([_mark(_BATCH_BEGIN), *removing, *making, _mark(_BATCH_END)], doing)
        except NotFound as error:
            index = error.data.get("index")
            if not isinstance(index, int) or not 1 <= index <= len(removing) or attempt == _TRIES - 1:
                raise
            old = _present(transport, old)
        else:
            return


def _table_of(word: Table | Element) -> str:
    return f"table {word.name if isinstance(word, Table) else word.table}"


def _present(transport: Transport, elements: Iterable[Element]) -> list[Element]:
    """Those of the elements that the kernel still has. Asked only after a removal was refused, which undid the whole batch."""
    words = [single for word in elements for single in word.singles]
    facts = snapshot(transport, {word.table: None for word in words})
    return [
        word for word in words if word.table in facts and word.fields in facts[word.table].sets.get(word.set.name, {})
    ]


def _mark(kind: int) -> bytes:
    return message(kind, 0, b"", family=0, resource=NFT >> 8)


def _removed_tables(words: Iterable[Table]) -> Iterator[bytes]:
    """A table is added, which changes nothing if it is there, and then deleted: so it may be gone already, on any kernel."""
    for word in words:
        yield message(NFT | NEWTABLE, _NLM_F_CREATE, text(1, word.name))
        yield message(NFT | DELTABLE, 0, text(1, word.name))


def _removed_elements(words: Iterable[Element]) -> Iterator[bytes]:
    yield from _elements(DELSETELEM, 0, words)


def _made_elements(words: Iterable[Table | Element]) -> Iterator[bytes]:
    elements = (word for word in words if isinstance(word, Element))
    yield from _elements(NEWSETELEM, _NLM_F_CREATE | _NLM_F_EXCL, elements)


def _made_tables(words: Iterable[Table | Element]) -> Iterator[bytes]:
    for word in words:
        if isinstance(word, Table):
            yield from _table(word)


_TABLES: dict[tuple[str, int], tuple[Table, tuple[bytes, ...]]] = {}
"""Tables as they were sent: every sandbox has the same one, and encoding it takes longer than loading it."""
_TABLES_MAX = 16


def _table(word: Table) -> tuple[bytes, ...]:
    known = _TABLES.get((word.name, id(word.chains)))
    if known is None or known[0].chains is not word.chains or known[0].sets is not word.sets:
        if len(_TABLES) >= _TABLES_MAX:
            _TABLES.clear()
        known = _TABLES[word.name, id(word.chains)] = word, tuple(_encoded_table(word))
    return known[1]


def _encoded_table(word: Table) -> Iterator[bytes]:
    yield message(NFT | NEWTABLE, _NLM_F_CREATE | _NLM_F_EXCL, text(1, word.name) + be32(2, 0))
    yield from (_set(word.name, number, decl) for number, decl in enumerate(word.sets, 1))
    yield from (_chain(word.name, chain) for chain in word.chains)
    yield from (_rule(word.name, chain, rule) for chain in word.chains for rule in chain.rules)


def _elements(kind: int, flags: int, words: Iterable[Element]) -> Iterator[bytes]:
    """Elements grouped by set, in as few messages as fit; one said twice is sent once."""
    grouped: dict[tuple[str, SetDecl], dict[bytes, None]] = {}
    group: dict[bytes, None] = {}
    before: tuple[str, SetDecl | None] = ("", None)
    likes: dict[int, Like] = {}
    for word in words:
        if word.set is not before[1] or word.table != before[0]:
            before = word.table, word.set
            group = grouped.setdefault((word.table, word.set), {})
        value = None if kind == DELSETELEM else word.value
        group.update(dict.fromkeys(_encoded(word, value, likes)))
    for (table, decl), encoded_elements in grouped.items():
        head = text(1, table) + text(2, decl.name)
        for chunk in _chunks(encoded_elements):
            yield message(NFT | kind, flags, head + nested(3, *chunk))


def _encoded(word: Element, value: tuple[Atom, ...] | str | None, likes: dict[int, Like]) -> list[bytes]:
    """The attributes of a word, made from those of one like it of the same set where there was one."""
    like = likes.get(id(word.set))
    try:
        if word.count == 1 and like is not None and like.fits(word.fields, value):
            return like.elements(word.fields, value)
    except (struct.error, TypeError):  # no port: told below
        pass
    if word.count == 1:
        likes[id(word.set)] = like = Like(word.set, word.fields, value)
        return like.elements(word.fields, value)
    return element(word.set, word.fields, value, word.count)


def _chunks(elements: Iterable[bytes]) -> Iterator[list[bytes]]:
    chunk: list[bytes] = []
    size = 0
    for each in elements:
        if size + len(each) > _ELEMENTS_MAX:
            yield chunk
            chunk, size = [], 0
        chunk.append(each)
        size += len(each)
    yield chunk


def _set(table: str, number: int, decl: SetDecl) -> bytes:
    """A set as ``nft`` declares it; the user data is what ``nft list`` needs to print it alike."""
    flags = _SET_INTERVAL * decl.interval | _SET_MAP * (decl.value is not None)
    concatenated = decl.interval and len(decl.key) > 1
    body = [text(1, table), text(2, decl.name), be32(3, flags | _SET_CONCAT * concatenated)]
    body += [be32(4, set_type(decl.key)), be32(5, key_size(decl.key))]
    order = bytes((0, 4)) + byte_order(decl.key)
    if decl.value == "verdict":
        body += [be32(6, DATA_VERDICT), be32(7, 0)]
    elif decl.value is not None:
        body += [be32(6, set_type(decl.value)), be32(7, key_size(decl.value))]
        order += bytes((1, 4)) + byte_order(decl.value)
    body.append(be32(10, number))
    if concatenated:
        body.append(nested(9, nested(2, *(nested(1, be32(1, SIZES[kind])) for kind in decl.key))))
    body.append(attribute(13, order))
    return message(NFT | NEWSET, _NLM_F_CREATE, b"".join(body))


def _chain(table: str, chain: Chain) -> bytes:
    body = text(1, table) + text(3, chain.name)
    if chain.hook:
        device = text(3, chain.hook.device) if chain.hook.device else b""
        hook = nested(4, be32(1, _HOOKS[chain.hook.hook]), be32(2, chain.hook.priority), device)
        body += hook + be32(5, _ACCEPT) + text(7, chain.hook.type)
    return message(NFT | NEWCHAIN, _NLM_F_CREATE, body)


def _rule(table: str, chain: Chain, rule: Rule) -> bytes:
    body = text(1, table) + text(2, chain.name) + expressions(rule)
    return message(NFT | NEWRULE, _NLM_F_CREATE | _NLM_F_APPEND, body)
