"""Names, `hosts` and `resolv.conf` by the reference's own cases, run where its tables are beside the checkout."""

from __future__ import annotations

import json
import select
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from ipaddress import ip_address, ip_interface
from pathlib import Path
from typing import Any

import attrs
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

from libnetwork_py.dns import forward, hosts, resolvconf, wire
from libnetwork_py.dns.answers import Answers
from libnetwork_py.dns.book import Book, Box, named
from libnetwork_py.dns.forward import Behind, Forwarder

VECTORS = Path(__file__).parents[4] / "shared/vectors"
CONF = "moby__internal_resolvconf_resolvconf_test"
OLD_CONF = "libnetwork__resolvconf_resolvconf_test"


def _read(name: str) -> Any:
    path = VECTORS / name
    return json.loads(path.read_text()) if path.exists() else None


def cases(found: Sequence[Any] | None, name: Callable[[Any], str] = lambda case: str(case["name"])) -> list[Any]:
    """The cases of a file; one that is skipped where the file is not there."""
    if found is None:
        return [pytest.param({}, marks=pytest.mark.skip(reason=f"the reference's vectors are not in {VECTORS}"))]
    return [pytest.param(each, id=name(each)) for each in found]


def table(area: str, file: str, test: str) -> Any:
    """The cases of one of the reference's tests, or nothing where there are none."""
    found = _read(f"{area}/tables/{file}.json")
    return found and next(each["cases"] for each in found["tables"] if each["test"] == test)


# The resolver


@contextmanager
def upstream(reply: Callable[[bytes], bytes]) -> Iterator[tuple[int, list[bytes]]]:
    """Answer questions at a port of 127.0.0.1: the port, and what was asked."""
    asked: list[bytes] = []

    def serve() -> None:
        while (packet := sock.recvfrom(65535))[0]:
            asked.append(packet[0])
            sock.sendto(reply(packet[0]), packet[1])

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield sock.getsockname()[1], asked
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
                last.sendto(b"", sock.getsockname())
            thread.join()


class Poller:
    """Waits for sockets with `select.epoll`."""

    def __init__(self) -> None:
        self.epoll = select.epoll()
        self.handlers: dict[int, Callable[[int], object]] = {}

    def watch(self, sock: socket.socket, events: int, handler: Callable[[int], object]) -> None:
        self.handlers[sock.fileno()] = handler
        self.epoll.register(sock, events)

    def change(self, sock: socket.socket, events: int) -> None:
        self.epoll.modify(sock, events)

    def forget(self, sock: socket.socket) -> None:
        del self.handlers[sock.fileno()]
        self.epoll.unregister(sock)


def ask_others(box: Box, packet: bytes) -> bytes:
    """Have a forwarder ask until it answers."""
    poller, answers = Poller(), list[bytes]()
    with socket.socket() as own:  # never asked from: the servers are the host's
        behind = Behind("box", box.servers, "", own, "")
        Forwarder(poller).ask(wire.read_query(packet), packet, behind, answers.append, stream=False)
        while not answers:
            for fd, events in poller.epoll.poll(5):
                poller.handlers[fd](events)
    poller.epoll.close()
    return answers[0]


def ask(book: Book, name: str, kind: str) -> dns.message.Message:
    """Ask as a client does."""
    packet = dns.message.make_query(name, kind).to_wire()
    box = book.boxes["box"]
    reply = Answers(book).reply(box, packet)
    return dns.message.from_wire(reply.messages[0] if reply.query is None else ask_others(box, packet))


def book_of(scenario: Any) -> Book:
    """The book of a scenario: a network with its records and addresses, and servers where it asks others."""
    servers = (
        ["127.0.0.1"] * 2
        if {"upstream_reply", "upstream_reply_hex"} & scenario.keys() or scenario.get("upstreams")
        else []
    )
    book = Book()
    book.take([["net", "n1", "net"]])
    for number, record in enumerate(scenario.get("records", ())):
        book.take([["end", "n1", str(number), [record["name"]], [record["ipv4"]], []]])
    for name, host in scenario.get("ptr", {}).items():
        book.take([["end", "n1", name, [host], [".".join(reversed(name.split(".")))], []]])
    book.boxes["box"] = Box(("n1",), named([]), {}, tuple((each, True) for each in servers), None, "")
    return book


def reply_of(scenario: Any) -> Callable[[bytes], bytes]:
    """What the scenario's upstream says."""
    failures = [True] if "fails first" in "".join(scenario.get("upstreams", ())) else []

    def reply(packet: bytes) -> bytes:
        response = dns.message.make_response(dns.message.from_wire(packet))
        if "upstream_reply_hex" in scenario:
            return packet[:2] + bytes.fromhex(scenario["upstream_reply_hex"])[2:]
        if "upstream_reply" in scenario:
            told = scenario["upstream_reply"]
            name, ttl, *rest = told["authority"].split(" ", 4)
            response.set_rcode(dns.rcode.from_text(told["rcode"]))
            response.authority.append(dns.rrset.from_text(name, int(ttl), *rest))
        elif failures:
            failures.pop()
            response.set_rcode(dns.rcode.SERVFAIL)
        return response.to_wire()

    return reply


@pytest.mark.parametrize("scenario", cases((_read("resolver/scenarios.json") or {}).get("scenarios")))
def test_resolver(scenario: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every scenario of the reference's resolver, with a real server behind it where it has one."""
    if "backend" in scenario:
        pytest.skip("a service without addresses cannot be: its targets and their addresses are one record here")
    with upstream(reply_of(scenario)) as (port, asked):
        monkeypatch.setattr(forward, "PORT", port)
        book = book_of(scenario)
        for query in scenario["queries"]:
            answer = ask(book, *query["q"])
            assert answer.rcode() == dns.rcode.from_text(query.get("rcode", "NOERROR"))
            records = [(dns.rdatatype.to_text(each.rdtype), item.to_text()) for each in answer.answer for item in each]
            if "answers" in query:
                assert records == [tuple(each) for each in query["answers"]]
            assert len(records) >= query.get("min_answers", 0)
            if "first_answer_type" in query:
                assert records[0][0] == query["first_answer_type"]
            if "authority_count" in query:
                assert len(answer.authority) == query["authority_count"]
        assert len(asked) == scenario.get("expect_upstream_queries", len(asked))


@pytest.mark.parametrize("file", ["moby__resolver_unix_test", "libnetwork__resolver_test"])
def test_names_in_any_case(file: str) -> None:
    """The names of the reference's tables are found, whatever their case, and the answer has the question's."""
    names = table("resolver", file, "TestDNSIPQuery")
    if names is None:
        pytest.skip(f"the reference's vectors are not in {VECTORS}")
    for name in names:
        answer = ask(book_of({"records": [{"name": "name1", "ipv4": "192.168.0.1"}]}), name, "A")
        (found,) = answer.answer
        assert [each.to_text() for each in found] == ["192.168.0.1"]
        assert found.name.to_text().rstrip(".") == name.rstrip(".")


@pytest.mark.parametrize("case", cases(table("resolver", "moby__resolver_test", "TestReplySERVFAIL")))
def test_servfail(case: Any) -> None:
    """A question that nobody can be asked is answered SERVFAIL."""
    if case["name"] == "InternalError":
        pytest.skip("nothing behind the answers can fail: they come from memory")
    name, kind = case["q"]["args"]
    assert ask(book_of({}), name, kind["_id"].removeprefix("dns.Type")).rcode() == dns.rcode.SERVFAIL


def test_constants() -> None:
    """TTL, number of servers, time-out and number of questions that are out are the reference's."""
    told = (_read("resolver/scenarios.json") or {}).get("constants")
    if told is None:
        pytest.skip(f"the reference's vectors are not in {VECTORS}")
    ours = Answers(Book()).ttl, forward.SERVERS, forward.TIMEOUT, forward.AT_ONCE
    keys = "ttl", "max_external_servers", "external_io_timeout_s", "max_concurrent_external"
    assert ours == tuple(told[key] for key in keys)


# hosts


def hosts_of(records: Sequence[Any], *, ipv6: bool = True) -> str:
    """The file with these records; those of one name are a sandbox's own addresses, others are the user's."""
    names = {each["hosts"] for each in records}
    if len(records) > 1 and len(names) == 1:
        return hosts.text({}, [ip_address(each["ip"]) for each in records], names.pop(), ipv6=ipv6)
    return hosts.text({each["hosts"]: each["ip"] for each in records}, [], "", ipv6=ipv6)


@pytest.mark.parametrize("scenario", cases((_read("etchosts/scenarios.json") or {}).get("scenarios")))
def test_hosts(scenario: Any) -> None:
    """Every scenario of the reference's hosts file; it is written whole here, from the records as they are then."""
    if "concurrent" in scenario or "initial" in scenario:
        pytest.skip(
            "lines are not added to and removed from a file here: it is written whole, under a lock, from records"
        )
    if "network" in scenario:
        pools = (scenario["network"][family]["pool"] for family in ("ipv4", "ipv6"))
        own = [ip_interface(each).network[2] for each in pools]
        assert hosts.text({}, own, hosts.own_names(scenario["sandbox"]["hostname"], "")) == scenario["expect_file"]
        return
    records: list[Any] = []
    written = ""
    for step in scenario["steps"]:
        match step["op"]:
            case "update":
                records = [
                    {**each, "ip": step["ip"]} if each["hosts"].split(" ")[-1] == step["hostname"] else each
                    for each in records
                ]
            case "delete":
                records = [each for each in records if each not in step["records"]]
            case "expect_contains":
                assert step["text"] in written
            case _:
                records += step["records"]
        written = hosts_of(records, ipv6=step["op"] != "build_no_ipv6")
    assert written == scenario.get("expect_file", written)


@pytest.mark.parametrize(
    "case", cases(table("etchosts", "moby__integration_networking_etchosts_test", "TestEtcHostsIpv6"))
)
def test_hosts_by_ipv6(case: Any) -> None:
    """The loopback lines follow whether there is IPv6."""
    assert hosts.text({}, [], "", ipv6=case["expIPv6Enabled"]) == case["expEtcHosts"]


# resolv.conf

HOST_FILE = "/etc/resolv.conf"


def golden(test: str, name: str = "") -> str:
    """The file that the reference writes."""
    path = f"{test}/{name.replace(' ', '_')}" if name else test
    return (VECTORS / f"resolvconf/golden/{path}.golden").read_text()


def optional(case: Any, key: str) -> list[str] | None:
    """What a case overrides, if it does."""
    found: list[str] | None = case.get(key)
    return found


@pytest.mark.parametrize("case", cases(table("resolvconf", CONF, "TestRCOption")))
def test_option(case: Any) -> None:
    """An option is found by its last value."""
    value = resolvconf.parse(f"options {case['options']}").option(case["search"])
    assert (value is not None) == case.get("expFound", False)
    assert (value or "") == case.get("expValue", "")


@pytest.mark.parametrize("case", cases(table("resolvconf", CONF, "TestRCModify")))
def test_modify(case: Any) -> None:
    """What is given takes the place of what was there, and the file says so."""
    lines = [f"nameserver {each}" for each in case["inputNS"]]
    lines += [
        f"{word} {' '.join(case[key])}"
        for word, key in (("search", "inputSearch"), ("options", "inputOptions"))
        if key in case
    ]
    conf = resolvconf.parse("\n".join(lines))
    if not case.get("noOverrides"):
        conf = conf.override(*(case.get(f"override{key}", []) for key in ("NS", "Search", "Options")))
    if "addOption" in case:
        conf = attrs.evolve(conf, options=(*conf.options, case["addOption"]))
    assert conf.text() == golden("TestRCModify", case["name"])


@pytest.mark.parametrize("case", cases(table("resolvconf", CONF, "TestRCTransformForLegacyNw")))
def test_direct(case: Any) -> None:
    """A sandbox that asks its servers itself has those of the host that it can reach."""
    conf = resolvconf.parse(case["input"], HOST_FILE).override(optional(case, "overrideNS"))
    assert conf.direct(ipv6=case.get("ipv6", False)).text() == golden("TestRCTransformForLegacyNw", case["name"])


@pytest.mark.parametrize("case", cases(table("resolvconf", CONF, "TestRCTransformForIntNS")))
def test_internal(case: Any) -> None:
    """A sandbox with a name service has that alone, and the servers behind it are told in a comment."""
    conf = resolvconf.parse(case["input"], HOST_FILE)
    conf = conf.override(optional(case, "overrideNS"), None, optional(case, "overrideOptions"))
    found = conf.internal("127.0.0.11", case.get("reqdOptions", ()))
    assert found.text() == golden("TestRCTransformForIntNS", case["name"])
    expected = [tuple(each["args"]) for each in case.get("expExtServers", ())]
    assert [(each.address, each.host) for each in found.behind or ()] == expected


@pytest.mark.parametrize("case", cases(table("resolvconf", CONF, "TestRCTransformForIntNSInvalidNdots")))
def test_invalid_ndots(case: Any) -> None:
    """An invalid ``ndots`` gives way to a required one."""
    found = resolvconf.parse(case["options"]).internal("127.0.0.11", case.get("reqdOptions", ()))
    assert (list(found.options), found.option("ndots"), found.ndots_from) == (
        case["expOptions"],
        case["expVal"],
        case["expNDotsFrom"],
    )


def test_unknown_lines_and_invalid_servers() -> None:
    """Unknown lines are copied, and what is no address is told in a comment."""
    if not (VECTORS / "resolvconf").is_dir():
        pytest.skip(f"the reference's vectors are not in {VECTORS}")
    assert resolvconf.parse("nameserver 1.2.3.4.5").text() == golden("TestRCInvalidNS")
    unknown = "something unexpected\nnameserver 127.0.0.53\noptions ndots:1\nunrecognised thing\n"
    assert resolvconf.parse(unknown, HOST_FILE).text() == golden("TestRCUnknownDirectives")


@pytest.mark.parametrize(
    ("test", "attribute"),
    [("TestGetNameservers", "nameservers"), ("TestGetSearchDomains", "search"), ("TestGetOptions", "options")],
)
def test_parse(test: str, attribute: str) -> None:
    """Every file of the older reference is read as it reads it, but that options add up, as in the newer one."""
    found = table("resolvconf", OLD_CONF, test)
    if found is None:
        pytest.skip(f"the reference's vectors are not in {VECTORS}")
    for text, expected in found.items():
        wanted = ["opt1", "opt2", *expected] if text.count("options") > 1 else expected
        assert list(getattr(resolvconf.parse(text), attribute)) == wanted, text
