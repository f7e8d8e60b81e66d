from __future__ import annotations

import random
from ipaddress import IPv4Interface, IPv4Network, IPv6Network

import pytest
from attrs import evolve

from libnetwork_py.desired import (
    HOST,
    PHASES,
    Address,
    Bridge,
    Change,
    Element,
    Moved,
    Namespace,
    Route,
    Sysctl,
    Table,
    Veth,
    between,
    phase,
    reshaped,
)
from libnetwork_py.types import MacAddress, parse_address
from tests.sample import MAC, TABLE, WEB, description

EVERYTHING = description(WEB)
OTHER = Address(HOST, "br0", IPv4Interface("172.19.0.1/16"))


def test_every_word_has_a_key_of_its_own() -> None:
    """Different objects have different keys, so that a key names one object of one machine."""
    assert len({word.key for word in EVERYTHING}) == len(EVERYTHING)


def test_a_key_is_what_an_object_is_called() -> None:
    """Two shapes of one object have one key: a link its name, a route its destination and metric."""
    bridge = Bridge(HOST, "a", MacAddress("02:00:00:00:00:01"))
    assert bridge.key == Veth(HOST, "a", WEB, "eth0", MAC).key
    default = IPv4Network("0.0.0.0/0")
    assert Route(WEB, default, "eth0", parse_address("10.0.0.1")).key == Route(WEB, default, "eth1").key
    assert Route(WEB, default, "eth0").key != Route(WEB, default, "eth0", metric=5).key


@pytest.mark.parametrize(
    ("word", "path"),
    [
        (Sysctl(HOST, "ipv4.ip_forward", "1"), "ipv4/ip_forward"),
        (Sysctl(WEB, "ipv6.conf.{}.disable_ipv6", "0", link="eth0"), "ipv6/conf/eth0/disable_ipv6"),
        (Sysctl(WEB, "ipv6.conf.{}.disable_ipv6", "0", link="eth0.1"), "ipv6/conf/eth0.1/disable_ipv6"),
    ],
)
def test_where_a_setting_is(word: Sysctl, path: str) -> None:
    """A setting is a file below /proc/sys/net; a dot in the name of an interface is no slash."""
    assert word.path == path


def test_what_a_setting_was_is_not_part_of_it() -> None:
    """Two descriptions that differ only in the value to restore ask for the same."""
    one, other = Sysctl(HOST, "ipv4.ip_forward", "1", restore="0"), Sysctl(HOST, "ipv4.ip_forward", "1")
    assert one == other
    assert not between([one], [other])


def test_words_are_made_in_the_order_of_phases() -> None:
    """A change names what it makes by phases, and what it removes the other way round, however they were said."""
    said = list(EVERYTHING)
    random.Random(7).shuffle(said)
    coming, going = between([], said), between(said, [])
    assert [phase(word) for word in coming.make] == sorted(phase(word) for word in said)
    assert [phase(word) for word in going.remove] == sorted((phase(word) for word in said), reverse=True)
    assert set(coming.make) == set(going.remove) == set(said)
    assert coming.remove == going.make == ()


def test_every_kind_of_word_has_a_phase() -> None:
    """The sample has every kind that a bare machine takes, and each has its place; a namespace's own setting goes with the namespace."""
    assert {type(word) for word in EVERYTHING} | {Moved} == set(PHASES)
    assert phase(Sysctl(WEB, "ipv4.ip_forward", "1")) == phase(Namespace(WEB))
    assert phase(Sysctl(WEB, "ipv4.conf.{}.rp_filter", "1", link="eth0")) > phase(Veth(HOST, "a", WEB, "eth0", MAC))


def test_what_stays_is_left_alone() -> None:
    """A word in both descriptions is in neither half of the change, and one said twice comes once."""
    assert not between(EVERYTHING, reversed(EVERYTHING))
    change = between(EVERYTHING, [*EVERYTHING[1:], OTHER, OTHER], "why")
    assert change == Change(remove=(EVERYTHING[0],), make=(OTHER,), why="why")


def test_a_new_shape_goes_and_comes() -> None:
    """A word of the same key in another shape stands in both halves."""
    old, new = (Route(WEB, IPv4Network("0.0.0.0/0"), link) for link in ("eth0", "eth1"))
    assert between([old], [new]) == Change(remove=(old,), make=(new,))


def test_the_reverse_undoes() -> None:
    """The reverse of a change has its halves swapped, says so, and its reverse has them back."""
    change = between([EVERYTHING[0]], [OTHER], "join web to front")
    assert (change.reverse.remove, change.reverse.make) == (change.make, change.remove)
    assert change.reverse.why == "undo join web to front"
    assert change.reverse.reverse.make == change.make


def test_what_stands_on_a_link_goes_and_comes_with_it() -> None:
    """A pair that is made anew takes along what stays on it, on both ends; a bridge its ports, and what is on them."""
    bridge = Bridge(HOST, "br0", MacAddress("02:00:00:00:00:01"))
    wide = Bridge(HOST, "br0", MacAddress("02:00:00:00:00:02"), 9000)
    pair = Veth(HOST, "veth1", WEB, "eth0", MAC, "br0")
    on_it = (
        Address(WEB, "eth0", IPv4Interface("172.18.0.2/16")),
        Route(WEB, IPv4Network("0.0.0.0/0"), "eth0"),
        Sysctl(HOST, "ipv4.conf.{}.rp_filter", "2", link="veth1"),
    )
    apart = (Namespace(WEB), Address(WEB, "eth1", IPv4Interface("172.19.0.2/16")), Sysctl(WEB, "ipv4.ip_forward", "1"))
    change = between([bridge, pair, *on_it, *apart], [wide, pair, *on_it, *apart])
    assert set(change.remove) == {bridge, pair, *on_it}
    assert set(change.make) == {wide, pair, *on_it}


def test_a_link_is_altered_in_place() -> None:
    """Another MTU, bridge or right of a port takes nothing along: both shapes are in the change, and nothing on the link is."""
    bridge = Bridge(HOST, "br0", MacAddress("02:00:00:00:00:01"), 9000)
    pair = Veth(HOST, "veth1", WEB, "eth0", MAC, "br0", 9000)
    on_it = (Namespace(WEB), Address(WEB, "eth0", IPv4Interface("172.18.0.2/16")))
    low, apart = evolve(bridge, mtu=1400), evolve(pair, mtu=1400, master="br1", hairpin=True, isolated=True)
    change = between([bridge, pair, *on_it], [low, apart, *on_it])
    assert set(change.remove) == {bridge, pair}
    assert set(change.make) == {low, apart}
    assert set(reshaped(change)) == {(bridge, low), (pair, apart)}
    assert set(reshaped(change.reverse)) == {(low, bridge), (apart, pair)}


@pytest.mark.parametrize(
    "other",
    [
        Veth(HOST, "veth1", WEB, "eth0", MacAddress("02:42:ac:12:00:09"), "br0", 9000),
        Veth(HOST, "veth1", WEB, "eth1", MAC, "br0", 9000),
        Veth(HOST, "veth1", "/run/netns/db", "eth0", MAC, "br0", 9000),
        Bridge(HOST, "veth1", MAC),
    ],
)
def test_what_cannot_be_altered_in_place(other: Veth | Bridge) -> None:
    """A pair with another far end, another address or another kind of link is made anew."""
    pair = Veth(HOST, "veth1", WEB, "eth0", MAC, "br0", 9000)
    assert reshaped(between([pair], [other])) == ()


def test_no_mtu_after_one_is_the_kernels_own() -> None:
    """A link whose new shape names no MTU gets the kernel's default: left alone, it would keep the old one."""
    pair = Veth(HOST, "veth1", WEB, "eth0", MAC, "br0", 9000)
    ((_, new),) = reshaped(between([pair], [evolve(pair, mtu=0)]))
    assert new.mtu == 1500


def test_a_link_whose_namespace_goes_is_not_altered() -> None:
    """A pair of a namespace that is removed goes with it, whatever else becomes of it."""
    pair = Veth(HOST, "veth1", WEB, "eth0", MAC, "br0")
    assert reshaped(Change((Namespace(WEB), pair), (evolve(pair, isolated=True),))) == ()


def test_routes_go_and_come_with_the_last_address() -> None:
    """IPv4 routes of an interface go with its last IPv4 address, so they come again with the next; with another left they stay."""
    old, new, other = (Address(WEB, "eth0", IPv4Interface(f"172.18.0.{number}/16")) for number in (2, 3, 4))
    route = Route(WEB, IPv4Network("0.0.0.0/0"), "eth0", parse_address("172.18.0.1"))
    over_ipv6 = Route(WEB, IPv6Network("::/0"), "eth0", parse_address("fd00::1"))
    assert set(between([old, route, over_ipv6], [new, route, over_ipv6]).make) == {new, route}
    assert between([old, other, route], [new, other, route]).make == (new,)


def test_elements_go_and_come_with_their_table() -> None:
    """A table in a new shape takes its elements along."""
    elements = {word for word in EVERYTHING if isinstance(word, Element) and word.table == TABLE.name}
    other = Table(HOST, TABLE.name, TABLE.sets, ())
    change = between([TABLE, *elements], [other, *elements])
    assert set(change.remove) == {TABLE, *elements}
    assert set(change.make) == {other, *elements}


def test_a_moved_link_takes_what_is_on_it_along() -> None:
    """A link that goes back to the host, and one whose namespace goes, takes its address with it; the two come again with it."""
    moved, address = Moved(WEB, "eth0", "vethabc"), Address(WEB, "eth0", IPv4Interface("172.18.0.2/16"))
    other = Moved(WEB, "eth0", "vethabc", MAC)
    assert between([moved, address], [other, address]) == Change(remove=(address, moved), make=(other, address))
