from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Network
from typing import Any

import pytest
from attrs import evolve

from libnetwork_py.desired import HOST, Bridge, Element, Namespace, Route, Sysctl, Table, Veth, Word
from libnetwork_py.facts import Facts, LinkFact, NamespaceFacts, RouteFact, TableFact, compare
from libnetwork_py.testing import FakeKernel
from libnetwork_py.types import MacAddress
from tests.sample import PORTS, TABLE, WEB, description

EVERYTHING = description(WEB)
VETH = next(word for word in EVERYTHING if isinstance(word, Veth) and word.master)
BRIDGE = next(word for word in EVERYTHING if isinstance(word, Bridge))
DEFAULT = IPv4Network("0.0.0.0/0")


def machine(*words: Word) -> Facts:
    """A snapshot of a machine that has these words, and looks for all of the sample."""
    kernel = FakeKernel()
    kernel.disturb(make=words or EVERYTHING)
    return kernel.facts([WEB], words=EVERYTHING)


def how(word: Word, facts: Facts) -> str:
    """How one word differs; fails if it is missing or as described."""
    difference = compare([word], facts)
    assert difference
    ((found, text),) = difference.changed
    assert found == word
    return text


def test_a_machine_as_described() -> None:
    """Where everything is as described the difference is false and names every word as present."""
    difference = compare(EVERYTHING, machine())
    assert not difference
    assert difference.present == EVERYTHING


def test_an_empty_machine_lacks_everything() -> None:
    """On a machine without any of it every word is missing, also those whose namespace is; but a setting of the host is."""
    difference = compare(EVERYTHING, FakeKernel().facts([WEB], words=EVERYTHING))
    (forwarding,) = [word for word in EVERYTHING if isinstance(word, Sysctl) and word.namespace == HOST]
    assert difference.missing == tuple(word for word in EVERYTHING if word != forwarding)
    assert difference.changed == ((forwarding, "is 0"),)


@pytest.mark.parametrize("word", EVERYTHING, ids=lambda word: "-".join(filter(None, word.key)))
def test_each_word_is_missed(word: Word) -> None:
    """A machine that lacks one word, and what goes with it, is found lacking it."""
    kernel = FakeKernel()
    kernel.disturb(make=EVERYTHING)
    kernel.disturb(remove=[word])
    difference = compare(EVERYTHING, kernel.facts([WEB], words=EVERYTHING))
    if isinstance(word, Sysctl):  # nothing removes a setting; it has the value that undoing writes, if any
        assert (word in dict(difference.changed)) == (word.restore is not None)
    else:
        assert word in difference.missing


def test_nothing_looked_for_nothing_found() -> None:
    """A namespace, table or setting that the snapshot did not look for counts as missing."""
    (inside,) = [word for word in EVERYTHING if isinstance(word, Namespace)]
    assert compare(EVERYTHING, Facts({HOST: NamespaceFacts({}, frozenset(), frozenset())})).missing == EVERYTHING
    assert compare([inside], Facts()).missing == (inside,)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"up": False}, "up is False"),
        ({"mtu": 1500}, "mtu is 1500"),
        ({"mac": "02:00:00:00:00:99"}, "mac is 02:00:00:00:00:99"),
        ({"kind": "dummy"}, "is a dummy link"),
        ({"kind": ""}, "is a physical link"),
    ],
)
def test_a_bridge_in_another_shape(change: dict[str, object], text: str) -> None:
    """What differs about a bridge is named with the value it has."""
    assert how(BRIDGE, _with_link(BRIDGE.name, **change)) == text


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"master": ""}, "master is "),
        ({"hairpin": False}, "hairpin is False"),
        ({"isolated": False}, "isolated is False"),
        ({"kind": "bridge"}, "is a bridge link"),
    ],
)
def test_a_port_in_another_shape(change: dict[str, object], text: str) -> None:
    """What differs about the outer end of a pair is named with the value it has."""
    assert how(VETH, _with_link(VETH.name, **change)) == text


def test_a_pair_without_its_other_end() -> None:
    """A pair whose inner end is elsewhere, down or has another address differs."""
    facts = machine()
    inside = facts.namespaces[WEB]
    gone = evolve(inside, links={name: link for name, link in inside.links.items() if name != "eth0"})
    down = evolve(inside, links={**inside.links, "eth0": evolve(inside.links["eth0"], up=False)})
    other = evolve(inside, links={**inside.links, "eth0": evolve(inside.links["eth0"], mac="02:00:00:00:00:99")})
    texts = [how(VETH, evolve(facts, namespaces={**facts.namespaces, WEB: each})) for each in (gone, down, other)]
    assert texts == ["lacks its other end eth0", "peer up is False", "mac is 02:00:00:00:00:99"]


def test_an_mtu_left_to_the_kernel() -> None:
    """A bridge that asks for no MTU is as described with any."""
    bridge = Bridge(HOST, "br1", MacAddress("02:00:00:00:00:01"))
    link = LinkFact("br1", 9, "bridge", bridge.mac, 9000, up=True)
    assert not compare([bridge], Facts({HOST: NamespaceFacts({"br1": link}, frozenset(), frozenset())}))


def test_a_route_another_way() -> None:
    """A route over another gateway or interface differs; the kernel's own connected routes are not taken for it."""
    word = Route(WEB, DEFAULT, "eth0", IPv4Address("10.0.0.1"))
    there = RouteFact(DEFAULT, "eth1", IPv4Address("10.1.0.1"), 0)
    assert how(word, _with_routes(there)) == "goes via 10.1.0.1 dev eth1"
    assert compare([word], _with_routes(evolve(there, connected=True))).missing == (word,)
    assert not compare([word], _with_routes(there, RouteFact(DEFAULT, "eth0", word.gateway, 0)))


def test_a_metric_counts_where_it_is_said() -> None:
    """A route that names a metric is not the one with another; one that names none takes the kernel's."""
    there = RouteFact(DEFAULT, "eth0", None, 100)
    assert compare([Route(WEB, DEFAULT, "eth0", metric=5)], _with_routes(there)).missing
    assert compare([Route(WEB, DEFAULT, "eth0")], _with_routes(there)).missing
    assert not compare([Route(WEB, DEFAULT, "eth0")], _with_routes(RouteFact(DEFAULT, "eth0", None, 0)))
    destination = IPv6Network("fd09::/64")
    there = RouteFact(destination, "eth0", None, 1024)
    assert not compare([Route(WEB, destination, "eth0")], _with_routes(there))


def test_a_setting_with_another_value() -> None:
    """A setting that somebody changed differs by its value."""
    word = Sysctl(HOST, "ipv4.ip_forward", "1")
    assert how(word, Facts(sysctls={word.key: "0"})) == "is 0"
    assert compare([word], Facts()).missing == (word,)


def test_a_table_in_another_shape() -> None:
    """A table that lacks a chain, a rule or a set differs, and says which."""
    sets: dict[str, dict[tuple[object, ...], object]] = {decl.name: {} for decl in TABLE.sets}
    key = (HOST, TABLE.name)
    whole = TableFact({"prerouting": 1}, sets)
    assert not compare([TABLE], Facts(tables={key: whole}))
    texts = [
        how(TABLE, Facts(tables={key: each}))
        for each in (
            evolve(whole, chains={}),
            evolve(whole, chains={"prerouting": 2}),
            evolve(whole, sets={"ports": {}}),
        )
    ]
    assert texts == [
        "chain prerouting has no rules instead of 1",
        "chain prerouting has 2 rules instead of 1",
        "lacks the sets pairs, networks",
    ]
    assert compare([TABLE], Facts()).missing == (TABLE,)


def test_an_element_that_leads_elsewhere() -> None:
    """An element with another value differs; one without its table or set is missing."""
    word = Element(HOST, TABLE.name, PORTS, ("tcp", 80), (IPv4Address("10.0.0.2"), 80))
    key = (HOST, TABLE.name)
    elsewhere = TableFact({}, {"ports": {("tcp", 80): (IPv4Address("10.0.0.3"), 80)}})
    assert how(word, Facts(tables={key: elsewhere})) == "leads to (IPv4Address('10.0.0.3'), 80)"
    for facts in (Facts(), Facts(tables={key: TableFact({}, {})}), Facts(tables={key: TableFact({}, {"ports": {}})})):
        assert compare([word], facts).missing == (word,)


def test_the_host_has_a_name() -> None:
    """The host's namespace of a snapshot is at hand."""
    assert machine().host.addresses >= {("br0", IPv4Interface("172.18.0.1/16"))}


def _with_link(name: str, **change: Any) -> Facts:
    facts = machine()
    links = {**facts.host.links, name: evolve(facts.host.links[name], **change)}
    return evolve(facts, namespaces={**facts.namespaces, HOST: evolve(facts.host, links=links)})


def _with_routes(*routes: RouteFact) -> Facts:
    return Facts({WEB: NamespaceFacts({}, frozenset(), frozenset(routes))})


def test_tables_of_other_namespaces_are_others() -> None:
    """A table of the same name in another namespace is not the one described."""
    word = Table(WEB, TABLE.name, TABLE.sets, TABLE.chains)
    assert compare([word], machine()).missing == (word,)
