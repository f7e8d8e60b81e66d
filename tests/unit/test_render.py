from __future__ import annotations

import random
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network

import pytest

from libnetwork_py.desired import HOST, Address, Bridge, Change, Moved, Namespace, Route, Sysctl, Veth, Word
from libnetwork_py.render import in_order, make_lines, remove_lines, render
from libnetwork_py.types import MacAddress
from tests.sample import BRIDGE_MAC, MAC, WEB, description

EVERYTHING = description(WEB)
PROCESS = "/proc/7/ns/net"
V4, V6 = IPv4Interface("172.18.0.2/16"), IPv6Interface("fd00::2/64")
DEFAULT, DEFAULT_V6 = IPv4Network("0.0.0.0/0"), IPv6Network("::/0")


def test_everything_as_text(golden: Callable[[str, str], None]) -> None:
    """A change that makes every kind of word reads as a person would type it."""
    golden("render/everything.txt", render(Change(make=EVERYTHING, why="make everything")))


def test_undoing_everything_as_text(golden: Callable[[str, str], None]) -> None:
    """Undoing it names only what does not go by itself."""
    golden("render/nothing.txt", render(Change(make=EVERYTHING, why="make everything").reverse))


@pytest.mark.parametrize(
    ("word", "made", "removed"),
    [
        (Address(HOST, "br0", V4), "ip addr add 172.18.0.2/16 brd + dev br0", "ip addr del 172.18.0.2/16 dev br0"),
        (
            Address(WEB, "eth0", V6),
            "ip -n web addr add fd00::2/64 dev eth0 nodad",
            "ip -n web addr del fd00::2/64 dev eth0",
        ),
        (
            Address(HOST, "br0", IPv4Interface("10.0.0.1/31")),
            "ip addr add 10.0.0.1/31 dev br0",
            "ip addr del 10.0.0.1/31 dev br0",
        ),
        (
            Address(PROCESS, "eth0", V4),
            "nsenter --net=/proc/7/ns/net ip addr add 172.18.0.2/16 brd + dev eth0",
            "nsenter --net=/proc/7/ns/net ip addr del 172.18.0.2/16 dev eth0",
        ),
        (
            Route(WEB, DEFAULT, "eth0", IPv4Address("172.18.0.1")),
            "ip -n web route add default via 172.18.0.1 dev eth0",
            "ip -n web route del default via 172.18.0.1 dev eth0",
        ),
        (
            Route(WEB, DEFAULT_V6, "eth0", IPv6Address("fe80::1"), 5),
            "ip -n web -6 route add default via fe80::1 dev eth0 metric 5",
            "ip -n web -6 route del default via fe80::1 dev eth0 metric 5",
        ),
        (
            Route(HOST, IPv4Network("10.0.0.0/8"), "br0"),
            "ip route add 10.0.0.0/8 dev br0",
            "ip route del 10.0.0.0/8 dev br0",
        ),
        (
            Sysctl(HOST, "ipv4.ip_forward", "1", restore="0"),
            "sysctl -w net.ipv4.ip_forward=1",
            "sysctl -w net.ipv4.ip_forward=0",
        ),
        (
            Sysctl(WEB, "ipv4.conf.{}.rp_filter", "2", link="eth0.5", restore="1"),
            "ip netns exec web sysctl -w net/ipv4/conf/eth0.5/rp_filter=2",
            "ip netns exec web sysctl -w net/ipv4/conf/eth0.5/rp_filter=1",
        ),
        (
            Sysctl(HOST, "ipv4.ip_local_port_range", "1 2", restore="3 4"),
            "sysctl -w 'net.ipv4.ip_local_port_range=1 2'",
            "sysctl -w 'net.ipv4.ip_local_port_range=3 4'",
        ),
    ],
)
def test_words_of_one_line(word: Word, made: str, removed: str) -> None:
    """Each of these words is one line, and one to take it back."""
    assert (make_lines(word), remove_lines(word)) == ([made], [removed])


def test_a_moved_link_as_text() -> None:
    """A link of the host is moved and renamed in one line, raised in another, and goes back under its own name."""
    moved = Moved(WEB, "eth0", "vethabc", MAC)
    assert make_lines(moved) == [
        "ip link set vethabc netns web name eth0",
        f"ip -n web link set eth0 address {MAC} up",
    ]
    assert remove_lines(moved) == ["ip -n web link set eth0 name vethabc netns /proc/$$/ns/net"]


def test_a_setting_that_stays_has_no_line() -> None:
    """A setting whose former value is not known keeps its value."""
    assert remove_lines(Sysctl(HOST, "ipv4.ip_forward", "1")) == []


def test_a_bridge() -> None:
    """A bridge is added with all it needs and then raised; what is left to the kernel is not written."""
    assert make_lines(Bridge(HOST, "br0", BRIDGE_MAC)) == [
        "ip link add br0 address 02:42:ac:12:00:01 type bridge stp_state 0 forward_delay 0",
        "ip link set br0 up",
    ]


def test_a_pair_into_a_namespace() -> None:
    """The inner end of a pair is made where it belongs, under its name and with its address."""
    assert make_lines(Veth(HOST, "veth1", WEB, "eth0", MAC, "br0", 1400, 7)) == [
        "ip link add veth1 group 7 mtu 1400 type veth peer name eth0 mtu 1400 address 02:42:ac:12:00:02 netns web",
        "ip link set veth1 master br0 addrgenmode none",
        "ip link set veth1 up",
        "ip -n web link set eth0 up",
    ]


@pytest.mark.parametrize(
    ("namespace", "peer", "end"),
    [
        (HOST, HOST, ""),
        (HOST, PROCESS, " netns /proc/7/ns/net"),
        (WEB, HOST, " netns /proc/$$/ns/net"),
        (WEB, WEB, ""),
        (WEB, "/run/netns/db", " netns db"),
    ],
)
def test_where_the_other_end_goes(namespace: str, peer: str, end: str) -> None:
    """The namespace of the other end is named so that it is found from where the line works; none if it is the same."""
    first = make_lines(Veth(namespace, "a", peer, "b", MAC))[0]
    assert first.partition("address 02:42:ac:12:00:02")[2] == end


def test_a_namespace_by_name_and_by_path() -> None:
    """A namespace where `ip netns` looks is its business, another is bound by hand."""
    assert make_lines(Namespace(WEB)) == ["ip netns add web", "ip -n web link set lo up"]
    assert remove_lines(Namespace(WEB)) == ["ip netns del web"]
    assert make_lines(Namespace("/tmp/x y")) == [  # noqa: S108
        "touch '/tmp/x y'",
        "unshare '--net=/tmp/x y' true",
        "nsenter '--net=/tmp/x y' ip link set lo up",
    ]
    assert remove_lines(Namespace("/tmp/x y")) == ["umount '/tmp/x y'", "rm '/tmp/x y'"]  # noqa: S108


def test_names_for_namespaces() -> None:
    """A namespace may be shown under another name than its path's."""
    word = Address(PROCESS, "eth0", V4)
    assert make_lines(word, {PROCESS: "shop"}) == ["ip -n shop addr add 172.18.0.2/16 brd + dev eth0"]
    assert render(Change(make=(word,)), {PROCESS: "shop"}).startswith("ip -n shop ")


def test_order_does_not_depend_on_the_speaker() -> None:
    """However the words come, a namespace is made before its settings and an on-link route before one that leads over it."""
    for seed in range(20):
        words = list(EVERYTHING)
        random.Random(seed).shuffle(words)
        ordered = in_order(words)
        assert isinstance(ordered[0], Namespace)
        routes = [word.gateway is not None for word in ordered if isinstance(word, Route)]
        assert routes == sorted(routes)


def test_a_gateway_that_moves() -> None:
    """What goes is written before what comes."""
    old = Route(WEB, DEFAULT, "eth0", IPv4Address("172.18.0.1"))
    new = Route(WEB, DEFAULT, "eth1", IPv4Address("172.19.0.1"))
    assert render(Change((old,), (new,), "leave front")).splitlines() == [
        "# leave front",
        "ip -n web route del default via 172.18.0.1 dev eth0",
        "ip -n web route add default via 172.19.0.1 dev eth1",
    ]


def test_a_setting_that_changes_is_written_once() -> None:
    """The value to restore is not written where another value follows."""
    old, new = (Sysctl(HOST, "ipv4.ip_forward", value, restore="0") for value in "12")
    assert render(Change((old,), (new,))) == "sysctl -w net.ipv4.ip_forward=2\n"


def test_what_goes_with_a_link() -> None:
    """Removing one link takes its addresses, routes and settings along, those of its other end too, and nothing of another."""
    veth = Veth(HOST, "veth1", WEB, "eth0", MAC)
    along = (
        Address(WEB, "eth0", V4),
        Route(WEB, DEFAULT, "eth0"),
        Sysctl(WEB, "ipv4.conf.{}.rp_filter", "1", "veth1", "0"),
        Sysctl(HOST, "ipv4.conf.{}.rp_filter", "1", "veth1", "0"),
    )
    lines = render(Change(remove=(veth, *along, Address(WEB, "eth1", V4)))).splitlines()
    assert lines == [
        "ip -n web addr del 172.18.0.2/16 dev eth1",
        "ip netns exec web sysctl -w net.ipv4.conf.veth1.rp_filter=0",
        "ip link del veth1",
    ]


def test_nothing_is_an_empty_text() -> None:
    """A change that changes nothing has no lines."""
    assert render(Change()) == ""


def test_awkward_names_are_quoted() -> None:
    """A name that a shell would read as something else is quoted."""
    (line, *_) = make_lines(Bridge(HOST, "a;b$c", MacAddress("02:00:00:00:00:01")))
    assert line.startswith("ip link add 'a;b$c' ")


def test_a_link_in_another_shape_is_set_in_place() -> None:
    """A change of MTU, bridge or port flags is written as what sets them, at both ends; nothing is deleted."""
    old = Veth(HOST, "veth1", WEB, "eth0", MAC, "br0", 1400)
    new = Veth(HOST, "veth1", WEB, "eth0", MAC, "br1", 9000, isolated=True)
    assert render(Change((old,), (new,))).splitlines() == [
        "ip link set veth1 mtu 9000",
        "ip -n web link set eth0 mtu 9000",
        "ip link set veth1 master br1",
        "ip link set veth1 type bridge_slave hairpin off isolated on",
    ]
    assert (
        render(Change((new,), (old,))).splitlines()[-1]
        == "ip link set veth1 type bridge_slave hairpin off isolated off"
    )
