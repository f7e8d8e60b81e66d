"""Answers of a sandbox's name service, bytes to bytes.

Division of labour: `Answers` decides what to say to a question of our own names and says of any other that somebody else must be asked.
Nothing here waits for anything. Runs in the service's own process.

Differences from the reference, each on purpose: a question of a type that we do not have, of a name that we have, is answered (there is
nothing of that type) instead of being sent to servers that do not know the name.

May import: book, wire.
"""

from __future__ import annotations

import random
from typing import NamedTuple

from . import wire
from .book import Book, Box, Packed
from .wire import Malformed, Query

TTL = 600
"""Seconds for which a client may keep an answer (the reference's)."""
ORDERS = 16
"""In how many orders several addresses are handed out, one after the other."""


class Reply(NamedTuple):
    """What to send back.

    Attributes:
        messages: Equally good answers, more than one where addresses are shuffled; none: say nothing.
        ready: It may be given to whoever asks the same bytes, until names change.
        query: Set where somebody else must be asked.
    """

    messages: tuple[bytes, ...] = ()
    ready: bool = False
    query: Query | None = None


class Answers:
    """Answers questions out of a book.

    Args:
        book: Names and addresses.
        ttl: Seconds that clients may keep an answer.
    """

    def __init__(self, book: Book, ttl: int = TTL) -> None:
        self.book = book
        self.ttl = ttl

    def reply(self, box: Box, packet: bytes, *, stream: bool = False) -> Reply:
        """Answer a message of a client in a sandbox.

        Args:
            box: The sandbox.
            packet: The message.
            stream: It came by TCP: answers may be long.
        """
        if len(packet) < wire.HEADER.size or packet[2] & 0x80:
            return Reply()  # nothing to answer to; an answer must not be answered
        if packet[2] & 0x78:
            return Reply((wire.failure(packet, wire.NOTIMP),))
        try:
            query = wire.read_query(packet)
        except Malformed:
            return Reply((wire.failure(packet, wire.FORMERR),))
        limit = wire.limit_of(query, stream=stream)
        if query.edns is not None and query.edns.version:
            return Reply((wire.response(query, wire.BADVERS, [], [], limit, ours=False),))
        if query.kind not in {wire.IN, wire.ANY}:
            return Reply((wire.response(query, wire.REFUSED, [], [], limit, ours=False),))
        orders = self._known(box, query)
        if orders is None:
            return self._unknown(box, query, limit)
        code = wire.NOERROR
        messages = tuple(wire.response(query, code, answers, extra, limit) for answers, extra in orders)
        return Reply(messages or (wire.response(query, wire.SERVFAIL, [], [], limit),), _plain(query))

    def _known(self, box: Box, query: Query) -> list[tuple[list[bytes], list[bytes]]] | None:
        """Answers and further records, in several orders; empty: it cannot be said; ``None``: it is no name of ours."""
        if query.type == wire.PTR:
            address = wire.address_of(query.name)
            who = self.book.reverse(box, address) if address else None
            if who is not None:
                name = wire.name_of(who)
                return [([wire.record(wire.QUESTION, wire.PTR, self.ttl, name)], [])] if name else []
        services = self.book.services(box, query.name)
        if services is not None:
            return [self._services(services if query.type in {wire.SRV, wire.ANY} else [])]
        addresses = self.book.addresses(box, query.name)
        return None if addresses is None else self._addresses(query.type, addresses)

    def _addresses(self, kind: int, addresses: Packed) -> list[tuple[list[bytes], list[bytes]]]:
        wanted = {wire.A: {4}, wire.AAAA: {16}, wire.ANY: {4, 16}}.get(kind, set[int]())
        records = [self._address(wire.QUESTION, each) for each in addresses if len(each) in wanted]
        if len(records) < 2:
            return [(records, [])]
        return [(random.sample(records, len(records)), []) for _ in range(ORDERS)]

    def _services(self, services: list[tuple[int, str, Packed]]) -> tuple[list[bytes], list[bytes]]:
        answers, extra = [], []
        for port, host, addresses in random.sample(services, len(services)):
            name = wire.name_of(host)
            if name is not None:
                data = bytes(4) + port.to_bytes(2, "big") + name
                answers.append(wire.record(wire.QUESTION, wire.SRV, self.ttl, data))
                extra += [self._address(name, each) for each in addresses]
        return answers, extra

    def _address(self, name: bytes, packed: bytes) -> bytes:
        return wire.record(name, wire.A if len(packed) == 4 else wire.AAAA, self.ttl, packed)

    def _unknown(self, box: Box, query: Query, limit: int) -> Reply:
        """A name of somebody else: one without dots stays here where the user said what number of dots a name has."""
        single = len(wire.labels_of(query.name)) == 1
        if box.ndots is not None and single and query.type in {wire.A, wire.AAAA}:
            return Reply((wire.response(query, wire.NOERROR, [], [], limit),), _plain(query))
        if not box.servers:
            return Reply((wire.response(query, wire.SERVFAIL, [], [], limit, ours=False),))
        return Reply(query=query)


def _plain(query: Query) -> bool:
    """Whether the same bytes may come again: options of EDNS differ from question to question."""
    return query.edns is None or not query.edns.options
