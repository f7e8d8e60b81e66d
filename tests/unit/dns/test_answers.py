"""Answers of the name service, read back by dnspython."""

from __future__ import annotations

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import dns.reversename
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libnetwork_py.dns import wire
from libnetwork_py.dns.answers import Answers
from libnetwork_py.dns.book import Book, Note, end_note

FRONT = "front-id"


def _box(**changed: object) -> Note:
    told = {
        "networks": [FRONT, "back-id"],
        "records": [],
        "aliases": [],
        "servers": [],
        "ndots": None,
        "where": "/run/netns/client",
    }
    return ["box", "client", {**told, **changed}]


def _book(*more: Note) -> Book:
    found = Book()
    found.take(
        [
            ["net", FRONT, "front"],
            ["net", "back-id", "back"],
            ["end", FRONT, "w", ["web", "www"], ["10.1.0.2", "fd00::2"], [[80, "tcp", ["http"]]]],
            ["end", FRONT, "d1", ["db1", "db"], ["10.1.0.3"], [[5432, "tcp", []]]],
            ["end", FRONT, "d2", ["db2", "db"], ["10.1.0.4"], [[5432, "tcp", []]]],
            ["end", "back-id", "w2", ["web", "a.b"], ["10.2.0.2"], []],
            _box(),
            *more,
        ]
    )
    return found


def _ask(question: dns.message.Message, found: Book | None = None, *, stream: bool = False) -> dns.message.Message:
    answers = Answers(found or _book())
    reply = answers.reply(answers.book.boxes["client"], question.to_wire(), stream=stream)
    answer = dns.message.from_wire(reply.messages[0])
    assert question.is_response(answer)
    return answer


def lookup(name: str, kind: str = "A", found: Book | None = None) -> tuple[str, set[str]]:
    """Return the code, and the data of the records of the kind asked for."""
    answer = _ask(dns.message.make_query(name, kind), found)
    data = {str(item) for rrset in answer.answer for item in rrset}
    return dns.rcode.to_text(answer.rcode()), data


@pytest.mark.parametrize(
    ("name", "kind", "code", "data"),
    [
        ("web", "A", "NOERROR", {"10.1.0.2"}),
        ("web", "AAAA", "NOERROR", {"fd00::2"}),
        ("WwW", "A", "NOERROR", {"10.1.0.2"}),
        ("web.front", "A", "NOERROR", {"10.1.0.2"}),
        ("web.back", "A", "NOERROR", {"10.2.0.2"}),
        ("a.b", "A", "NOERROR", {"10.2.0.2"}),
        ("a.b.back", "A", "NOERROR", {"10.2.0.2"}),
        ("web.back", "AAAA", "NOERROR", set()),
        ("web", "MX", "NOERROR", set()),
        ("web", "HTTPS", "NOERROR", set()),
        ("web", "ANY", "NOERROR", {"10.1.0.2", "fd00::2"}),
        ("db", "A", "NOERROR", {"10.1.0.3", "10.1.0.4"}),
        ("nobody", "A", "SERVFAIL", set()),
        ("web.nowhere", "A", "SERVFAIL", set()),
        ("2.0.1.10.in-addr.arpa", "PTR", "NOERROR", {"web.front."}),
        (str(dns.reversename.from_address("fd00::2")), "PTR", "NOERROR", {"web.front."}),
        ("9.9.9.9.in-addr.arpa", "PTR", "SERVFAIL", set()),
        ("_http._tcp.web", "SRV", "NOERROR", {"0 0 80 web.front."}),
        ("_80._tcp.www.front", "SRV", "NOERROR", {"0 0 80 web.front."}),
        ("_5432._tcp.db", "SRV", "NOERROR", {"0 0 5432 db1.front.", "0 0 5432 db2.front."}),
        ("_81._tcp.web", "SRV", "NOERROR", set()),
        ("_http._tcp.web", "A", "NOERROR", set()),
        ("_http._tcp.nobody", "SRV", "SERVFAIL", set()),
    ],
)
def test_what_is_asked_and_answered(name: str, kind: str, code: str, data: set[str]) -> None:
    """Each name and type gets the code and the records of the first network that has it."""
    assert lookup(name, kind) == (code, data)


def test_the_users_records_come_first() -> None:
    """A sandbox's own records and aliases go before the names of its networks."""
    found = _book(_box(records=[["web", ["192.0.2.1"]], ["host", ["10.1.0.1", "fd00::1"]]], aliases=[["data", "db1"]]))
    assert lookup("web", found=found) == ("NOERROR", {"192.0.2.1"})
    assert lookup("host", "AAAA", found) == ("NOERROR", {"fd00::1"})
    assert lookup("data", found=found) == ("NOERROR", {"10.1.0.3"})


def test_names_come_and_go_with_their_endpoint() -> None:
    """A name is known from the note of its endpoint until the note that takes it away; another endpoint of the name stays."""
    found = _book()
    found.take([["no-end", FRONT, "d1"]])
    assert lookup("db", found=found) == ("NOERROR", {"10.1.0.4"})
    assert lookup("db1", found=found) == ("SERVFAIL", set())
    found.take([["end", FRONT, "d1", ["db3"], ["10.1.0.9"], []]])
    assert lookup("db3", found=found) == ("NOERROR", {"10.1.0.9"})


def test_the_case_of_the_question_is_kept() -> None:
    """An answer repeats the name as it was asked, letter by letter."""
    question = dns.message.make_query("wEb.FRONT", "A", use_edns=False)
    packet = Answers(found := _book()).reply(found.boxes["client"], question.to_wire()).messages[0]
    assert packet.count(b"\x03wEb\x05FRONT\x00") == 1
    assert dns.message.from_wire(packet).answer[0].name.to_text() == "wEb.FRONT."


def test_several_addresses_are_shuffled() -> None:
    """Addresses of one name come in every order."""
    reply = Answers(found := _book()).reply(found.boxes["client"], dns.message.make_query("db", "A").to_wire())
    orders = {
        tuple(str(item) for item in dns.message.from_wire(each).answer[0].processing_order()) for each in reply.messages
    }
    firsts = {dns.message.from_wire(each).answer[0].to_text().splitlines()[0].split()[-1] for each in reply.messages}
    assert orders
    assert firsts == {"10.1.0.3", "10.1.0.4"}


def test_a_service_brings_its_addresses() -> None:
    """An answer about a service has the addresses of its hosts as well."""
    answer = _ask(dns.message.make_query("_http._tcp.web", "SRV"))
    assert {item.to_text() for rrset in answer.additional for item in rrset} == {"10.1.0.2", "fd00::2"}


def _large() -> Book:
    return _book(*(["end", FRONT, f"e{n}", ["many"], [f"10.1.{n // 200}.{n % 200 + 10}"], []] for n in range(300)))


@pytest.mark.parametrize(("payload", "size"), [(None, 512), (1232, 1232), (4096, 4096), (65535, 4096), (100, 512)])
def test_an_answer_that_is_too_long_is_cut_and_says_so(payload: int | None, size: int) -> None:
    """By UDP an answer has at most the bytes that the client takes, 4096 in any case, 512 without EDNS; TC tells it to come by TCP."""
    question = dns.message.make_query("many", "A", use_edns=payload is not None, payload=payload or 0)
    answer = _ask(question, _large())
    assert answer.flags & dns.flags.TC
    assert size - 16 <= len(answer.to_wire()) <= size
    whole = _ask(question, _large(), stream=True)
    assert not whole.flags & dns.flags.TC
    assert len(whole.answer[0]) == 300


def test_edns() -> None:
    """EDNS is answered with EDNS, the DO bit repeated, an unknown version refused with the code for that; without, without."""
    answer = _ask(dns.message.make_query("web", "A", want_dnssec=True))
    assert (answer.edns, answer.payload, bool(answer.ednsflags & dns.flags.DO)) == (0, wire.UDP_OURS, True)
    assert _ask(dns.message.make_query("web", "A", use_edns=1)).rcode() == dns.rcode.BADVERS
    assert _ask(dns.message.make_query("web", "A", use_edns=False)).edns == -1


def test_flags() -> None:
    """An answer about a name of ours has authority, offers recursion and repeats whether it was wished."""
    answer = _ask(dns.message.make_query("web", "A"))
    assert answer.flags & (dns.flags.QR | dns.flags.AA | dns.flags.RA | dns.flags.RD) == 0x8580
    assert not _ask(dns.message.make_query("nobody", "A")).flags & dns.flags.AA


def test_other_names_are_somebody_elses() -> None:
    """With servers behind the service an unknown name is handed on, but for one without dots if the user said `ndots`."""
    servers = [["192.0.2.53", False]]
    found = _book(_box(servers=servers))
    packet = dns.message.make_query("example.com", "A").to_wire()
    reply = Answers(found).reply(found.boxes["client"], packet)
    assert (reply.messages, reply.query and reply.query.name) == ((), wire.name_of("example.com"))
    found = _book(_box(servers=servers, ndots=1))
    assert lookup("printer", found=found) == ("NOERROR", set())
    assert Answers(found).reply(found.boxes["client"], packet).query


def test_questions_with_options_are_not_kept_ready() -> None:
    """Bytes that do not come again, such as a cookie, do not fill the store of ready answers."""
    answers = Answers(found := _book())
    plain = dns.message.make_query("web", "A", use_edns=0)
    options: list[dns.edns.Option] = [dns.edns.GenericOption("COOKIE", b"12345678")]
    cookie = dns.message.make_query("web", "A", use_edns=0, options=options)
    assert answers.reply(found.boxes["client"], plain.to_wire()).ready
    assert not answers.reply(found.boxes["client"], cookie.to_wire()).ready


def test_a_name_that_no_message_can_hold() -> None:
    """An endpoint whose name is longer than a label breaks nothing: its other names work, its address has no name."""
    found = _book(["end", FRONT, "x", ["x" * 64, "fine"], ["10.1.0.77"], []])
    assert lookup("fine", found=found) == ("NOERROR", {"10.1.0.77"})
    assert lookup("77.0.1.10.in-addr.arpa", "PTR", found) == ("SERVFAIL", set())


def test_a_book_is_told_whole() -> None:
    """The notes of a book make an equal one."""
    first = _book(
        _box(records=[["web", ["192.0.2.1"]]], aliases=[["data", "db1"]], servers=[["192.0.2.53", True]], ndots=2)
    )
    second = Book()
    second.take(first.notes())
    assert list(second.notes()) == list(first.notes())
    assert second.boxes == first.boxes
    assert end_note(FRONT, "w", second.networks[FRONT].endpoints["w"])[3] == ["web", "www"]


# Hostile messages


ANSWERS = Answers(_large())


@given(st.binary(max_size=600), st.booleans())
def test_any_bytes_cost_little_and_break_nothing(packet: bytes, stream: bool) -> None:
    """Whatever bytes come, there is at most one kind of answer: well formed, to that question, never longer than allowed."""
    reply = ANSWERS.reply(ANSWERS.book.boxes["client"], packet, stream=stream)
    for each in reply.messages:
        answer = dns.message.from_wire(each)
        assert answer.id == int.from_bytes(packet[:2], "big")
        assert answer.flags & dns.flags.QR


KINDS = ["A", "AAAA", "PTR", "SRV", "MX", "TXT", "ANY", "SOA", "HTTPS"]
LABELS = st.lists(
    st.sampled_from(["web", "DB", "many", "front", "back", "_http", "_tcp", "in-addr", "arpa", "x", "1"]),
    min_size=1,
    max_size=6,
)


@given(LABELS, st.sampled_from(KINDS), st.one_of(st.none(), st.integers(0, 65535)), st.binary(max_size=40), st.data())
def test_damaged_questions(labels: list[str], kind: str, payload: int | None, tail: bytes, data: st.DataObject) -> None:
    """A good question gets a good answer within its limit; the same cut off, or with bytes changed, gets one or none."""
    question = dns.message.make_query(".".join(labels), kind, use_edns=payload is not None, payload=payload or 0)
    packet = question.to_wire()
    client = ANSWERS.book.boxes["client"]
    (answer, *_) = ANSWERS.reply(client, packet).messages
    assert question.is_response(dns.message.from_wire(answer))
    assert len(answer) <= max(512, payload or 0)
    place = data.draw(st.integers(0, len(packet)))
    for broken in (packet[:place], packet[:place] + tail, packet[:place] + tail + packet[place:]):
        for each in ANSWERS.reply(client, broken).messages:
            dns.message.from_wire(each)


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"\0" * 11,
        b"\x12\x34\x81\x00" + b"\0\1" + bytes(6) + b"\3web\0\0\1\0\1",
    ],
    ids=["nothing", "less than a header", "an answer"],
)
def test_what_gets_no_answer(packet: bytes) -> None:
    """What is no question gets no answer: two services cannot be made to answer each other for ever."""
    assert ANSWERS.reply(ANSWERS.book.boxes["client"], packet).messages == ()


HEAD = b"\x12\x34\x01\x00\0\1" + bytes(6)


@pytest.mark.parametrize(
    ("packet", "code"),
    [
        (b"\x12\x34\x11\x00\0\1" + bytes(6) + b"\3web\0\0\1\0\1", wire.NOTIMP),
        (HEAD + b"\xc0\x0c\0\1\0\1", wire.FORMERR),
        (HEAD + b"\3we", wire.FORMERR),
        (HEAD + b"\x40web\0\0\1\0\1", wire.FORMERR),
        (HEAD + b"\x3f" + b"x" * 63 + b"\0", wire.FORMERR),
        (HEAD + (b"\x3f" + b"x" * 63) * 4 + b"\0\0\1\0\1", wire.FORMERR),
        (HEAD + b"\3web\0\0\1\0\1" + b"junk", wire.FORMERR),
        (HEAD + b"\3web\0\0\1\0\1" + bytes(65000), wire.FORMERR),
        (b"\x12\x34\x01\x00\0\2" + bytes(6) + b"\3web\0\0\1\0\1" * 2, wire.FORMERR),
        (b"\x12\x34\x01\x00\0\0" + bytes(6), wire.FORMERR),
        (HEAD + b"\3web\0\0\1\0\3", wire.REFUSED),
    ],
    ids=[
        "another operation", "a pointer to itself", "cut off name", "unknown label", "no type", "name of 257 bytes", "junk behind",
        "65,000 bytes behind", "two questions", "no question", "class of Chaos",
    ],
)  # fmt: skip
def test_what_is_refused(packet: bytes, code: int) -> None:
    """A broken or strange question gets the code that says so, and no records."""
    (message,) = ANSWERS.reply(ANSWERS.book.boxes["client"], packet).messages
    assert (message[:2], message[3] & 15, message[6:8]) == (b"\x12\x34", code, b"\0\0")
