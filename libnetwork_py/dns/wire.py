"""Messages of the DNS, as bytes (RFC 1035; EDNS of RFC 6891).

Names are kept as they stand in a message, in lower case: lengths are below 64 and letters are not, so ``bytes.lower`` never touches a
length. Runs in the service's own process.

May import: the standard library.
"""

from __future__ import annotations

from ipaddress import ip_address
from struct import Struct
from typing import NamedTuple

HEADER = Struct("!HHHHHH")
_FOUR = Struct("!HH")
_RECORD = Struct("!HHIH")

A, PTR, MX, SOA, AAAA, SRV, OPT, ANY = 1, 12, 15, 6, 28, 33, 41, 255
IN = 1
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED, BADVERS = 0, 1, 2, 3, 4, 5, 16
QR, OPCODE, AA, TC, RD, RA, AD, CD = 0x8000, 0x7800, 0x0400, 0x0200, 0x0100, 0x0080, 0x0020, 0x0010

NAME_MAX, LABEL_MAX = 255, 63
"""Bytes of a name in a message with its lengths, of one label (RFC 1035, 2.3.4)."""
UDP_MIN, UDP_OURS, STREAM_MAX = 512, 4096, 65535
"""What every client takes by UDP, what we take and say so, and the most that TCP carries."""
QUESTION = b"\xc0\x0c"
"""A pointer to the name of the question, which is always at the same place."""


class Malformed(ValueError):
    """A message that breaks the format."""


class Edns(NamedTuple):
    """What a client says of itself: bytes that it takes by UDP, version, whether it asks for signatures, whether it says more."""

    size: int
    version: int
    signed: bool
    options: bool


class Query(NamedTuple):
    """A question: ``name`` in lower case, ``asked`` as it stands in the message with type and class."""

    number: int
    flags: int
    name: bytes
    type: int
    kind: int
    asked: bytes
    edns: Edns | None


def read_query(packet: bytes) -> Query:
    """Read a message with one question.

    Raises:
        Malformed: it has none or several, is cut off, compresses a name that nothing stands before, or says EDNS twice.
    """
    if len(packet) < HEADER.size:
        raise Malformed("shorter than a header")
    number, flags, questions, answers, authorities, additional = HEADER.unpack_from(packet)
    if questions != 1 or answers or authorities:
        raise Malformed("not exactly one question")
    end = _end_of_plain_name(packet, HEADER.size)
    if end + 4 > len(packet):
        raise Malformed("question is cut off")
    kind, class_ = _FOUR.unpack_from(packet, end)
    asked = packet[HEADER.size : end + 4]
    edns = _read_additional(packet, end + 4, additional)
    return Query(number, flags, packet[HEADER.size : end].lower(), kind, class_, asked, edns)


def _end_of_plain_name(packet: bytes, start: int) -> int:
    place = start
    while True:
        if place >= len(packet):
            raise Malformed("name is cut off")
        length = packet[place]
        if length > LABEL_MAX:
            raise Malformed("name is compressed, or of an unknown kind")
        place += length + 1
        if place - start > NAME_MAX:
            raise Malformed("name is too long")
        if not length:
            return place


def skip_name(packet: bytes, place: int) -> int:
    """Return where a name that may be compressed ends; the pointer itself is not followed, so there is no loop.

    Raises:
        Malformed: it is cut off.
    """
    while place < len(packet):
        length = packet[place]
        if length >= 0xC0:
            if place + 2 > len(packet):
                break
            return place + 2
        if length > LABEL_MAX:
            raise Malformed("label of an unknown kind")
        place += length + 1
        if not length:
            return place
    raise Malformed("name is cut off")


class Found(NamedTuple):
    """A record in a message: what it is and where its data is."""

    type: int
    kind: int
    ttl: int
    ttl_at: int
    data: int
    end: int


def read_record(packet: bytes, place: int) -> Found:
    """Read one record.

    Raises:
        Malformed: it is cut off.
    """
    place = skip_name(packet, place)
    if place + 10 > len(packet):
        raise Malformed("record is cut off")
    kind, class_, ttl, size = _RECORD.unpack_from(packet, place)
    if place + 10 + size > len(packet):
        raise Malformed("data is cut off")
    return Found(kind, class_, ttl, place + 4, place + 10, place + 10 + size)


def _read_additional(packet: bytes, place: int, count: int) -> Edns | None:
    edns: Edns | None = None
    for _ in range(count):
        root = packet[place : place + 1] == b"\0"
        found = read_record(packet, place)
        place = found.end
        if found.type == OPT:
            if edns is not None or not root:
                raise Malformed("EDNS is said twice, or of a name")
            edns = Edns(found.kind, found.ttl >> 16 & 0xFF, bool(found.ttl & 0x8000), found.end > found.data)
    if place != len(packet):
        raise Malformed("something follows the message")
    return edns


def name_of(text: str) -> bytes | None:
    """Return a name as it stands in a message, in lower case; ``None`` for one that no message can hold."""
    labels = text.rstrip(".").lower().split(".") if text.rstrip(".") else []
    try:
        encoded = [each.encode("ascii") for each in labels]
    except UnicodeEncodeError:
        return None
    if any(not 0 < len(each) <= LABEL_MAX for each in encoded):
        return None
    name = b"".join(bytes((len(each),)) + each for each in encoded) + b"\0"
    return name if len(name) <= NAME_MAX else None


def labels_of(name: bytes) -> list[bytes]:
    """Return the labels of a whole name, without the root."""
    labels, place = [], 0
    while length := name[place]:
        labels.append(name[place + 1 : place + 1 + length])
        place += length + 1
    return labels


def text_of(name: bytes) -> str:
    """Return a name as people write it, without the last dot."""
    return ".".join(each.decode("latin-1") for each in labels_of(name))


def address_of(name: bytes) -> bytes | None:
    """Return the address that a name of a reverse zone stands for, packed; ``None`` for any other name."""
    labels = [each.decode("latin-1") for each in labels_of(name)]
    try:
        if labels[4:] == ["in-addr", "arpa"]:
            return ip_address(".".join(reversed(labels[:4]))).packed
        if labels[32:] == ["ip6", "arpa"] and all(len(each) == 1 for each in labels[:32]):
            return bytes.fromhex("".join(reversed(labels[:32])))
    except ValueError:
        pass
    return None


def limit_of(query: Query, *, stream: bool) -> int:
    """Return how many bytes an answer of ours may have: by UDP what the client takes, but never more than we take ourselves."""
    if stream:
        return STREAM_MAX
    return min(max(UDP_MIN, query.edns.size if query.edns else 0), UDP_OURS)


def record(name: bytes, kind: int, ttl: int, data: bytes) -> bytes:
    """Return a record of the Internet's class."""
    return name + _RECORD.pack(kind, IN, ttl, len(data)) + data


def response(
    query: Query, code: int, answers: list[bytes], extra: list[bytes], limit: int, *, ours: bool = True
) -> bytes:
    """Return an answer to a query that fits into ``limit`` bytes: what does not fit is left out, and if answers are, that is said.

    Args:
        query: The question.
        code: RCODE, with EDNS up to 12 bits.
        answers: Records that answer.
        extra: Records that spare the client another question.
        limit: Bytes.
        ours: The names are our own: the answer has authority.
    """
    flags = QR | query.flags & (OPCODE | RD | CD) | RA | (AA if ours else 0) | code & 0xF
    edns = b"" if query.edns is None else _our_edns(code, signed=query.edns.signed)
    left = limit - HEADER.size - len(query.asked) - len(edns)
    kept, left = _fitting(answers, left)
    if len(kept) < len(answers):
        flags |= TC
        extra = []
    further, _ = _fitting(extra, left)
    head = HEADER.pack(query.number, flags, 1, len(kept), 0, len(further) + bool(edns))
    return b"".join((head, query.asked, *kept, *further, edns))


def _fitting(records: list[bytes], room: int) -> tuple[list[bytes], int]:
    for place, each in enumerate(records):
        if len(each) > room:
            return records[:place], room
        room -= len(each)
    return records, room


def _our_edns(code: int, *, signed: bool) -> bytes:
    return b"\0" + _RECORD.pack(OPT, UDP_OURS, code >> 4 << 24 | (0x8000 if signed else 0), 0)


def failure(packet: bytes, code: int) -> bytes:
    """Return an answer to a message that could not be read beyond its header."""
    number, flags = _FOUR.unpack_from(packet)
    return HEADER.pack(number, QR | flags & (OPCODE | RD) | RA | code, 0, 0, 0, 0)
