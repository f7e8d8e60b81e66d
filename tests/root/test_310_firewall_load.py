"""Tables and elements in the kernel: what we load by netlink is what `nft` would load, all of it or nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import ip_address, ip_network

import pytest

from libnetwork_py.desired import Element, Table
from libnetwork_py.errors import Conflict, InvalidParameter, NotFound
from libnetwork_py.facts import Difference, Facts, compare
from libnetwork_py.firewall.elements import network_elements, port_elements
from libnetwork_py.firewall.table import BRIDGES, HOME, PORTS_ANY, table
from libnetwork_py.kernel import nft
from libnetwork_py.kernel.transport import Transport
from libnetwork_py.nftables import SetDecl, element_text, table_text
from libnetwork_py.types import Family, IPAddress, PortBinding
from tests.root import machine
from tests.root.firewall_lab import netfilter

TABLE = table("", "ours")
BRIDGE = Element("", "ours", BRIDGES, ("br0",))


def some() -> tuple[Element, ...]:
    """Elements of nearly every set."""
    nets = [ip_network("10.1.0.0/24"), ip_network("fd00:1::/64")]
    snat: dict[Family, IPAddress] = {4: ip_address("192.0.2.9"), 6: ip_address("2001:db8::9")}
    words = list(network_elements(TABLE, "br0", nets, trusted=["eth1"], snat=snat))
    words += network_elements(TABLE, "br1", [ip_network("10.2.0.0/32")], modes={4: "routed"}, icc=False)
    words += network_elements(TABLE, "br2", [ip_network("10.3.0.0/16")], modes={4: "nat-unprotected"})
    words += network_elements(TABLE, "br3", [], internal=True)
    for text in ("127.0.0.1:8000-8009:80-89/udp", "8080:80", "[2001:db8::1]:9000:90/sctp"):
        for address in ("10.1.0.2", "fd00:1::2"):
            shared = [ip_network("10.9.0.0/16"), ip_network("fd00:9::/64")]
            words += port_elements(TABLE, PortBinding.parse(text), ip_address(address), shared=shared)
    words += port_elements(TABLE, PortBinding.parse("80"), ip_address("10.2.0.0"), mode="routed")
    return tuple(dict.fromkeys(words))


def many(count: int) -> list[Element]:
    """As many published ports, each of its own container: two elements each."""
    binding = PortBinding.parse("1:80")
    first = int(ip_address("10.0.0.0"))
    return [
        word
        for number in range(count)
        for word in port_elements(TABLE, binding.at(number + 1), ip_address(first + number))
    ]


@pytest.fixture
def transport(host: str) -> Iterator[Transport]:
    """A way to the packet filter of a fresh namespace."""
    with netfilter(host) as sock:
        yield Transport(sock)


def listed(namespace: str) -> str:
    """What nft lists."""
    return machine.run_in(namespace, ["nft", "list", "ruleset"]).stdout


def differences(transport: Transport, words: Iterable[Table | Element]) -> bool:
    """Whether a snapshot differs from what should be."""
    found = nft.snapshot(transport, {"ours": TABLE})
    return bool(compare(words, Facts(tables={("", name): fact for name, fact in found.items()})))


def test_netlink_and_text_load_the_same_table(transport: Transport, host: str) -> None:
    """Loaded by our messages and loaded by nft from our text, the table lists alike: instructions and text agree."""
    words = some()
    nft.load(transport, [TABLE, *words], [])
    ours = listed(host)
    text = table_text(TABLE.name, TABLE.sets, TABLE.chains)
    singles = [single for each in words for single in each.singles]
    text += "".join(f"add element {element_text(each.table, each.set, each.fields, each.value)}\n" for each in singles)
    machine.run_in(host, ["nft", "flush", "ruleset"])
    machine.run_in(host, ["nft", "-f", "-"], input=text)
    assert listed(host).splitlines() == ours.splitlines()
    assert ours.count("br0") > 5


def test_snapshot_returns_what_was_loaded(transport: Transport) -> None:
    """Every table and element comes back as it was described; an element gone, added or changed is seen."""
    words = some()
    nft.load(transport, [TABLE, *words], [])
    assert not differences(transport, [TABLE, *words])
    found = nft.snapshot(transport, {"ours": TABLE, "nobody's": None})
    assert set(found) == {"ours"}
    assert sum(len(elements) for elements in found["ours"].sets.values()) == sum(each.count for each in words)
    nft.load(transport, [], [words[0]])
    assert differences(transport, words)


def test_a_run_that_lost_some(transport: Transport) -> None:
    """A run of elements of which some are gone counts as changed, and one of which all are gone as missing; it can be removed."""
    run = next(each for each in some() if each.count > 1 and each.value)
    nft.load(transport, [TABLE, run], [])
    nft.load(transport, [], list(run.singles)[2:5])

    def found() -> Difference:
        return compare([run], Facts(tables={("", "ours"): nft.snapshot(transport, {"ours": TABLE})["ours"]}))

    assert found().changed == ((run, "lacks 3 of 10"),)
    nft.load(transport, [run], [run])
    assert not found()
    nft.load(transport, [], [run])
    assert found().missing == (run,)


def test_plain_interval_sets_come_back_as_networks(transport: Transport) -> None:
    """Networks, a single address and the end of the address space survive a set of one interval field, neighbours apart."""
    decl = SetDecl("nets", ("ipv4_addr",), ("ipv4_addr",), interval=True)
    texts = ("10.0.0.0/24", "10.0.1.0/24", "10.0.2.1", "255.255.255.0/24")
    keys = [ip_address(text) if "/" not in text else ip_network(text) for text in texts]
    words = [Element("", "plain", decl, (key,), (ip_address("192.0.2.1"),)) for key in keys]
    nft.load(transport, [Table("", "plain", (decl,), ()), *words], [])
    assert set(nft.snapshot(transport, {"plain": None})["plain"].sets["nets"]) == {(key,) for key in keys}
    nft.load(transport, [], words[:2])
    assert set(nft.snapshot(transport, {"plain": None})["plain"].sets["nets"]) == {(key,) for key in keys[2:]}


def test_one_bad_word_and_nothing_happens(transport: Transport, host: str) -> None:
    """A batch with an element that exists already changes nothing, wherever in the batch it stands."""
    nft.load(transport, [TABLE, BRIDGE], [])
    before = listed(host)
    words = some()
    with pytest.raises(Conflict):
        nft.load(transport, words, [])  # br0 is among them
    assert listed(host) == before
    with pytest.raises(Conflict):
        nft.load(transport, [TABLE], [BRIDGE])
    assert listed(host) == before


def test_element_that_does_not_fit_is_refused_before_sending(transport: Transport) -> None:
    """An address of the other family, a name too long, a field too few: the error names the set."""
    nft.load(transport, [TABLE], [])
    for fields in ((ip_address("fd00::1"), "br0"), (ip_address("10.0.0.1"), "b" * 16), (ip_address("10.0.0.1"),)):
        with pytest.raises(InvalidParameter) as caught:
            nft.load(transport, [Element("", "ours", HOME[4], fields)], [])
        assert caught.value.set == "home4"


def test_element_without_its_table_is_not_found(transport: Transport) -> None:
    """Somebody removed our table: making an element says so."""
    with pytest.raises(NotFound):
        nft.load(transport, [BRIDGE], [])


def test_removing_what_is_gone_is_no_error(transport: Transport, host: str) -> None:
    """Elements partly gone, wholly gone, in a table that is gone, and the table itself: the rest is removed and made all the same."""
    words = some()
    nft.load(transport, [TABLE, *words], [])
    nft.load(transport, [], words[:7])
    extra = Element("", "ours", BRIDGES, ("br9",))
    nft.load(transport, [extra], words)
    assert nft.snapshot(transport, {"ours": None})["ours"].sets["bridges"] == {("br9",): None}
    nft.load(transport, [], [TABLE, extra])
    nft.load(transport, [], [TABLE])
    nft.load(transport, [], words)
    assert listed(host) == ""


def test_one_batch_changes_the_value_of_an_element(transport: Transport) -> None:
    """The old shape goes and the new one comes in one transaction; a whole table likewise."""
    old = Element("", "ours", PORTS_ANY[4], ("tcp", 80), (ip_address("10.0.0.1"), 80))
    new = Element("", "ours", PORTS_ANY[4], ("tcp", 80), (ip_address("10.0.0.2"), 80))
    nft.load(transport, [TABLE, old], [])
    nft.load(transport, [new], [old])
    assert not differences(transport, [TABLE, new])
    nft.load(transport, [TABLE, old], [TABLE])
    assert not differences(transport, [TABLE, old])


def test_other_tables_are_left_alone(transport: Transport, host: str) -> None:
    """Loading, changing and removing ours touches nobody's table, not even one of our name in another family."""
    foreign = "table ip ours {\n\tset s {\n\t\ttype ipv4_addr\n\t\telements = { 10.0.0.1 }\n\t}\n}\ntable inet firewalld { }\n"
    machine.run_in(host, ["nft", "-f", "-"], input=foreign)
    before = listed(host)
    nft.load(transport, [TABLE, *some()], [])
    assert sorted(nft.tables(transport)) == [("inet", "firewalld"), ("inet", "ours"), ("ip", "ours")]
    nft.load(transport, [], [*some(), TABLE])
    assert listed(host) == before


def test_two_controllers_have_two_tables(transport: Transport, host: str) -> None:
    """Two tables of ours live side by side with the same elements."""
    other = table("", "theirs")
    nft.load(transport, [TABLE, other, BRIDGE, Element("", "theirs", BRIDGES, ("br0",))], [])
    assert listed(host).count('elements = { "br0" }') == 2
    with pytest.raises(Conflict):
        nft.load(transport, [other], [])


def test_ten_thousand_elements_at_once(transport: Transport, host: str) -> None:
    """Ten thousand elements are one transaction, listed by nft as they are, and removed in one."""
    words = many(5000)
    nft.load(transport, [TABLE, *words], [])
    assert listed(host).count("tcp . 80 ") + listed(host).count("tcp . 80,") >= 5000
    assert not differences(transport, words)
    nft.load(transport, [], words)
    assert "elements" not in listed(host)


def test_changed_rules_are_seen(transport: Transport, host: str) -> None:
    """A rule flushed or added by hand is a difference."""
    nft.load(transport, [TABLE], [])
    machine.run_in(host, ["nft", "flush", "chain", "inet", "ours", "into"])
    assert differences(transport, [TABLE])


def test_empty_change_sends_nothing(transport: Transport) -> None:
    """Nothing to do is done without asking the kernel."""
    nft.load(transport, [], [])
    assert nft.tables(transport) == []


def test_jump_to_a_chain_that_comes_later(transport: Transport, host: str) -> None:
    """Chains may stand in any order: all are made before the first rule."""
    swapped = Table("", "ours", TABLE.sets, tuple(reversed(TABLE.chains)))
    nft.load(transport, [swapped], [])
    assert all(f"chain {chain.name} " in listed(host) for chain in TABLE.chains)
