"""Which host ports are chosen and which are refused: the table alone, on a host that has no sockets to guard them with."""

from __future__ import annotations

import errno
import json
import os
import re
import socket
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any, ClassVar

import pytest

from libnetwork_py.errors import Conflict, Forbidden, InvalidParameter, NotSupported, Unavailable
from libnetwork_py.ports.ranges import ALL_PORTS, DYNAMIC_PORTS, parse_port_range, parse_reserved_ports
from libnetwork_py.ports.reservations import Reservations
from libnetwork_py.types import PortBinding

VECTORS = Path(__file__).parents[4] / "shared/vectors/portallocator"
BEGIN = DYNAMIC_PORTS.start


def no_sockets(family: int, kind: int, protocol: int, count: int) -> list[socket.socket]:
    """A host that has no such sockets."""
    raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))


def reservations(ephemeral: range = DYNAMIC_PORTS, excluded: frozenset[int] = frozenset()) -> Reservations:
    """The ports of such a host."""
    return Reservations(no_sockets, ephemeral, excluded)


def ports(binding: PortBinding) -> list[int]:
    """The host ports of a binding."""
    return list(range(binding.host_port, binding.host_port_end + 1))


# the reference's scenarios


def scenarios() -> list[Any]:
    """The reference's sequences of requests and releases."""
    if not VECTORS.exists():
        return [pytest.param({}, marks=pytest.mark.skip(reason=f"the reference's vectors are not in {VECTORS}"))]
    found = json.loads((VECTORS / "scenarios.json").read_text())["scenarios"]
    return [pytest.param(each, id=each["name"]) for each in found]


class Scenario:
    """Plays the steps of one scenario."""

    codes: ClassVar = {
        "already": "port_taken",
        "all": "ports_exhausted",
        "range": "invalid_port",
        "proto": "invalid_port",
    }

    def __init__(self, reserved: Any) -> None:
        excluded = frozenset(DYNAMIC_PORTS if reserved == "ALL_EPHEMERAL" else map(self.value, reserved or ()))
        self.ports = reservations(excluded=excluded)
        self.saved: dict[str, int] = {}

    def value(self, text: str | int) -> int:
        """A port: a number, ``BEGIN+n`` or ``$name+n``."""
        match = re.fullmatch(r"(BEGIN|\$(\w+))(?:\+(\d+))?", str(text))
        if match is None:
            return int(text)
        return (self.saved[match[2]] if match[2] else BEGIN) + int(match[3] or 0)

    def play(self, step: dict[str, Any]) -> None:
        if step["op"] == "release":
            binding = PortBinding(80, step["proto"], ip_address(step["ip"]), self.value(step["port"]))
            self.ports.release(binding)
        elif step["op"] == "request_all_ephemeral_in_order":
            for port in DYNAMIC_PORTS:
                assert self.request([step["ip"]], step["proto"], 0, 0) == port
        elif step["ok"]:
            self.check(self.request(step["ips"], step["proto"], step["start"], step["end"]), step)
        else:
            self.refused(step)

    def request(self, addresses: list[str], protocol: Any, start: int | str, end: int | str) -> int:
        low, high = self.value(start), self.value(end)
        bindings = [PortBinding(80, protocol, ip_address(each), low, high) for each in addresses]
        (port,) = {each.host_port for each in self.ports.reserve_all(bindings)}
        return port

    def refused(self, step: dict[str, Any]) -> None:
        if step["start"] and not step["end"]:
            return  # a `PortBinding` cannot say that: its end is its start unless given
        with pytest.raises((Conflict, InvalidParameter, Unavailable)) as caught:
            self.request(step["ips"], step["proto"], step["start"], step["end"])
        if "error" in step:
            assert caught.value.code == self.codes[step["error"]]
        if "error_text" in step:
            assert f"Bind for {caught.value.address}:{caught.value.port} failed" in step["error_text"]

    def check(self, port: int, step: dict[str, Any]) -> None:
        if "save" in step:
            self.saved[step["save"]] = port
        assert port == self.value(step.get("expect", port))
        assert "expect_not" not in step or port != self.value(step["expect_not"])
        assert port in step.get("expect_in", [port])
        assert port >= self.value(step.get("expect_ge", 0))


@pytest.mark.parametrize("scenario", scenarios())
def test_the_reference_scenario_holds(scenario: dict[str, Any]) -> None:
    """Ports are chosen and refused as in the reference's own tests."""
    play = Scenario(scenario.get("reserved"))
    for step in scenario["steps"]:
        play.play(step)


def reserved_port_lists() -> list[Any]:
    """The reference's lists of reserved ports."""
    if not VECTORS.exists():
        return [pytest.param({}, marks=pytest.mark.skip(reason=f"the reference's vectors are not in {VECTORS}"))]
    (table,) = json.loads((VECTORS / "tables/moby__portallocator_portallocator_linux_test.json").read_text())["tables"]
    return [pytest.param(each, id=each["name"]) for each in table["cases"]]


@pytest.mark.parametrize("case", reserved_port_lists())
def test_the_reference_reads_the_same_ports(case: dict[str, Any]) -> None:
    """The kernel's list of reserved ports is read, and refused, as in the reference's own table."""
    within = range(case["begin"], case["end"] + 1) if "begin" in case else ALL_PORTS
    if "expectedErr" in case:
        with pytest.raises(InvalidParameter, match=re.escape(case["expectedErr"])):
            parse_reserved_ports(case["list"], within)
    else:
        assert parse_reserved_ports(case["list"], within) == {int(port) for port in case.get("expected", ())}


# free choice


def test_free_ports_are_given_in_turn() -> None:
    """Host port 0 goes on from the last port given, also when an earlier one has become free, and wraps at the end."""
    some = reservations(range(40000, 40004))
    first = some.reserve(PortBinding(80))
    assert ports(first) == [40000]
    assert ports(some.reserve(PortBinding(80))) == [40001]
    some.release(first)
    assert [some.reserve(PortBinding(80)).host_port for _ in range(3)] == [40002, 40003, 40000]


def test_a_free_run_lies_in_a_row() -> None:
    """A run of container ports with host port 0 gets as many consecutive host ports, past excluded and taken ones."""
    some = reservations(range(40000, 40010), frozenset({40001}))
    some.reserve(PortBinding.parse("40004:80"))
    run = some.reserve(PortBinding.parse("80-82"))
    assert str(run) == "40005-40007:80-82/tcp"
    with pytest.raises(Unavailable, match="3 free ports in a row") as caught:
        some.reserve(PortBinding.parse("80-82"))
    assert caught.value.code == "ports_exhausted"


def test_protocols_do_not_know_each_other() -> None:
    """The same number may be published for TCP, UDP and SCTP."""
    some = reservations()
    for protocol in ("tcp", "udp", "sctp"):
        some.reserve(PortBinding.parse(f"80:80/{protocol}"))
    assert len(some.held()) == 6


# certain ports


def test_a_port_of_ours_names_its_owner() -> None:
    """A port that is ours already is refused with the name of whoever publishes it."""
    some = reservations()
    some.reserve(PortBinding.parse("127.0.0.1:8080:80"), owner="web")
    with pytest.raises(Conflict, match=r"127\.0\.0\.1:8080/tcp is already published by web") as caught:
        some.reserve(PortBinding.parse("8080:80"), owner="other")
    assert (caught.value.code, caught.value.owner, caught.value.port) == ("port_taken", "web", 8080)


@pytest.mark.parametrize(
    ("first", "second", "together"),
    [
        ("0.0.0.0:80:80", "127.0.0.1:80:80", False),
        ("127.0.0.1:80:80", "0.0.0.0:80:80", False),
        ("[::]:80:80", "[::1]:80:80", False),
        ("[::1]:80:80", "80:80", False),
        ("127.0.0.1:80:80", "127.0.0.2:80:80", True),
        ("0.0.0.0:80:80", "[::]:80:80", True),
        ("127.0.0.1:80:80", "[::]:80:80", True),
    ],
)
def test_an_unspecified_address_means_all_of_its_family(first: str, second: str, together: bool) -> None:
    """0.0.0.0 conflicts with every IPv4 address and :: with every IPv6 address; the families are independent."""
    some = reservations()
    some.reserve(PortBinding.parse(first))
    if together:
        some.reserve(PortBinding.parse(second))
        return
    with pytest.raises(Conflict):
        some.reserve(PortBinding.parse(second))


def test_a_run_is_all_or_nothing() -> None:
    """Where one port of a run is taken, none of the run is kept."""
    some = reservations()
    some.reserve(PortBinding.parse("8005:80"), owner="web")
    with pytest.raises(Conflict) as caught:
        some.reserve(PortBinding.parse("8000-8010:80-90"))
    assert caught.value.port == 8005
    assert {each.port for each in some.held()} == {8005}


def test_several_bindings_are_all_or_nothing() -> None:
    """Where one of several bindings is refused, none of them is kept."""
    some = reservations()
    some.reserve(PortBinding.parse("8005:80"))
    with pytest.raises(Conflict):
        some.reserve_all([PortBinding.parse(text) for text in ("0:80", "8004:80", "8005:81")])
    assert {each.port for each in some.held()} == {8005}


def test_certain_ports_are_served_first() -> None:
    """Of several bindings the one that can only have one port gets it, wherever it stands."""
    some = reservations(range(8000, 8003))
    asked = [PortBinding.parse(text) for text in ("80", "8000-8001:81", "8000:82", "8001:83/udp")]
    assert [each.host_port for each in some.reserve_all(asked)] == [8002, 8001, 8000, 8001]


def test_bindings_that_differ_in_their_address_share_a_port() -> None:
    """A container port published on several addresses with host port 0 gets one number that is free on all of them."""
    some = reservations(range(40000, 40010))
    some.reserve(PortBinding.parse("[::1]:40000:80"))
    asked = [PortBinding.parse("127.0.0.1:0:80"), PortBinding.parse("[::1]:0:80")]
    assert [each.host_port for each in some.reserve_all(asked)] == [40001, 40001]


def test_bindings_of_one_port_are_released_one_by_one() -> None:
    """Asked for together at the unspecified address of each family, a port is given back by each family alone."""
    some = reservations()
    four, six = some.reserve_all([PortBinding.parse("0.0.0.0:80:80"), PortBinding.parse("[::]:80:80")])
    some.release(four)
    assert list(map(str, some.held())) == ["[::]:80/tcp"]
    some.release(six)
    assert some.held() == ()


@pytest.mark.parametrize("narrow", ["0.0.0.0", "127.0.0.1", "[::1]"])
def test_an_address_within_another_is_the_same_port(narrow: str) -> None:
    """Two bindings of one call, one at all addresses and one at some, cannot have one port; any free one is two ports."""
    some = reservations()
    with pytest.raises(Conflict):
        some.reserve_all([PortBinding.parse("80:80"), PortBinding.parse(f"{narrow}:80:80")])
    assert some.held() == ()
    first, second = some.reserve_all([PortBinding.parse("80"), PortBinding.parse(f"{narrow}::80")])
    assert first.host_port != second.host_port


def test_the_same_binding_twice_is_refused() -> None:
    """One request cannot have the same port twice."""
    some = reservations()
    with pytest.raises(Conflict):
        some.reserve_all([PortBinding.parse("80:80"), PortBinding.parse("80:80")], owner="web")
    assert some.held() == ()


def test_a_range_without_beginning_is_refused() -> None:
    """A host range that ends but does not begin is malformed."""
    with pytest.raises(InvalidParameter):
        reservations().reserve(PortBinding(80, host_port=0, host_port_end=90))


def test_an_exhausted_range_says_so() -> None:
    """A host range of which every port is taken names the range, and its cause the last port's owner."""
    some = reservations()
    for _ in range(2):
        some.reserve(PortBinding.parse("8000-8001:80"), owner="web")
    with pytest.raises(Unavailable, match=r"8000-8001/tcp") as caught:
        some.reserve(PortBinding.parse("8000-8001:80"))
    assert isinstance(caught.value.__cause__, Conflict)


# giving back


def test_release_gives_back_what_reserve_took() -> None:
    """After its release a run is free again, and releasing it twice does nothing."""
    some = reservations()
    got = some.reserve(PortBinding.parse("8000-8010:80-90"))
    for _ in range(2):
        some.release(got)
    assert some.held() == ()
    some.reserve(PortBinding.parse("8010:80"))


def test_release_leaves_another_family_alone() -> None:
    """Giving back a binding of one family leaves the same number of the other family with its owner."""
    some = reservations()
    some.reserve(PortBinding.parse("80:80"), [4], "four")
    six = some.reserve(PortBinding.parse("80:80"), [6], "six")
    some.release(six, [6])
    assert [(str(each), each.owner) for each in some.held()] == [("0.0.0.0:80/tcp", "four")]


def test_adopted_ports_are_ours() -> None:
    """A binding that the records say is published is taken like a reserved one, and adopting it again changes nothing."""
    some = reservations()
    for _ in range(2):
        assert not some.adopt(PortBinding.parse("8080:80"), "web")
    assert [(str(each), each.owner, each.guarded) for each in some.held()] == [
        ("0.0.0.0:8080/tcp", "web", False),
        ("[::]:8080/tcp", "web", False),
    ]
    with pytest.raises(Conflict):
        some.reserve(PortBinding.parse("127.0.0.1:8080:80"))


# what the host says


@pytest.mark.parametrize(
    ("number", "category", "code"),
    [
        (errno.EADDRINUSE, Conflict, "port_in_use"),
        (errno.EADDRNOTAVAIL, InvalidParameter, "no_such_host_address"),
        (errno.EACCES, Forbidden, "privileged_port"),
        (errno.EMFILE, Unavailable, "too_many_open_files"),
        (errno.ENOMEM, Unavailable, "port_not_reserved"),
    ],
)
def test_the_host_s_refusal_is_translated(number: int, category: type[Exception], code: str) -> None:
    """What the kernel says to opening or binding becomes an error that says which port, and nothing is kept."""

    def refuse(family: int, kind: int, protocol: int, count: int) -> list[socket.socket]:
        raise OSError(number, os.strerror(number))

    some = Reservations(refuse)
    with pytest.raises(category, match=r"10\.9\.8\.7:80/tcp") as caught:
        some.reserve(PortBinding.parse("10.9.8.7:80:80"))
    assert vars(caught.value)["code"] == code
    assert some.held() == ()


def test_an_error_of_ours_with_an_errno_is_understood() -> None:
    """Who opens sockets may have translated the kernel's word already: a protocol that the host lacks still guards itself."""

    def refuse(family: int, kind: int, protocol: int, count: int) -> list[socket.socket]:
        raise NotSupported("no such protocol", errno=errno.EPROTONOSUPPORT)

    some = Reservations(refuse)
    some.reserve(PortBinding.parse("80:80/sctp"))
    assert [each.guarded for each in some.held()] == [False, False]


@pytest.mark.parametrize("text", ["", "32768", "60999 32768", "a b", "1 65536", "1 2 3"])
def test_a_malformed_port_range_is_refused(text: str) -> None:
    """Only two ports in order are a port range."""
    with pytest.raises(InvalidParameter):
        parse_port_range(text)


def test_the_kernel_s_port_range_is_read() -> None:
    """The range includes both of its ends."""
    assert parse_port_range("32768\t60999\n") == range(32768, 61000)


# how often the host is asked


class Host:
    """Sockets of this process, and how many journeys it took to open them."""

    def __init__(self) -> None:
        self.journeys: list[int] = []

    def __call__(self, family: int, kind: int, protocol: int, count: int) -> list[socket.socket]:
        self.journeys.append(count)
        return [socket.socket(family, kind, protocol) for _ in range(count)]


def open_files() -> int:
    """How many files this process has open."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_the_sockets_of_a_run_are_opened_together() -> None:
    """A run of ports takes one journey into the host's namespace for each family, whatever its length."""
    host = Host()
    some = Reservations(host)
    binding = PortBinding.parse("127.0.0.1:0:1000-1099")
    got = some.reserve(binding)
    assert host.journeys == [100]
    assert all(each.guarded for each in some.held())
    some.release(got)


def test_many_single_ports_share_journeys() -> None:
    """Inside ``bulk`` a thousand single reservations take a dozen journeys, and nothing opened ahead stays open afterwards."""
    host, before = Host(), open_files()
    some = Reservations(host)
    with some.bulk():
        got = [some.reserve(PortBinding.parse(f"127.0.0.1:0:{port}")) for port in range(1, 1001)]
    assert len(host.journeys) < 15
    assert open_files() == before + 1000
    for each in got:
        some.release(each)
    assert open_files() == before


def test_a_refused_run_leaves_no_socket() -> None:
    """When one port of a run is taken, the sockets opened for it are closed, used or not."""
    with socket.socket() as theirs:
        theirs.bind(("127.0.0.1", 0))
        taken, before = theirs.getsockname()[1], open_files()
        some = Reservations(Host())
        with pytest.raises(Conflict):
            some.reserve(PortBinding.parse(f"127.0.0.1:{taken}-{taken + 20}:100-120"))
        assert open_files() == before
        assert some.held() == ()


def test_what_is_released_is_found_until_it_is_given_back() -> None:
    """Within an operation the socket of a released port is still at hand, for whoever undoes it; afterwards the port is anybody's."""
    some = Reservations(Host())
    got = some.reserve(PortBinding.parse("127.0.0.1::80"))
    found = partial(some.socket, "tcp", ip_address("127.0.0.1"), got.host_port)
    with some.keeping():
        some.release(got)
        kept = found()
        assert kept is not None
        assert kept.getsockname() == ("127.0.0.1", got.host_port)
        assert some.adopt(got)
        assert found() is kept
        some.release(got)
    assert found() is None
    with socket.socket() as theirs:
        theirs.bind(("127.0.0.1", got.host_port))


def test_one_port_asked_twice_is_two() -> None:
    """Any free port, asked for twice in one call, is two ports; a certain one is refused."""
    some = reservations()
    first, second = some.reserve_all([PortBinding(80), PortBinding(80)])
    assert first.host_port != second.host_port
    with pytest.raises(Conflict):
        some.reserve_all([PortBinding.parse("80:80"), PortBinding.parse("80:80")])
    assert len(some.held()) == 4
