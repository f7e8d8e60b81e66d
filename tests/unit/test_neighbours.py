"""What others' packet filters mean for us: each warning names the table and the remedy, and says nothing where nothing is the matter."""

from __future__ import annotations

import pytest
from attrs import evolve

from libnetwork_py import NetworkController
from libnetwork_py.desired import HOST, Change, Sysctl
from libnetwork_py.facts import ChainFact, Facts, FilterFacts, TableFact
from libnetwork_py.lifecycle.neighbours import (
    Ours,
    closing,
    leave_forwarding,
    other_controllers,
    stops_forwarding,
    warnings,
)
from libnetwork_py.store.memory import MemoryStore
from libnetwork_py.testing import FakeKernel
from libnetwork_py.types import FAMILIES, Family, PortBinding

BOTH: frozenset[Family] = frozenset(FAMILIES)
IPV4: frozenset[Family] = frozenset(FAMILIES[:1])
OURS = Ours("libnetwork_py_1", {"br-a": BOTH}, ((PortBinding(80, host_port=8080), BOTH),))
DROPS = ChainFact("ip", "filter", "FORWARD", "filter", "forward", 0, drops=True)


def said(*chains: ChainFact, ours: Ours = OURS, **legacy: tuple[str, ...]) -> str:
    """The warnings, as one text."""
    tables = {4 if name == "ipv4" else 6: found for name, found in legacy.items()}
    return "\n".join(warnings(FilterFacts(chains, tables), ours))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("chains", "remedy"),
    [
        ((DROPS,), "iptables -I FORWARD -i br-a -j ACCEPT"),
        ((evolve(DROPS, family="ip6"),), "ip6tables -I FORWARD -o br-a -j ACCEPT"),
        ((DROPS, ChainFact("ip", "filter", "DOCKER-USER")), "iptables -I DOCKER-USER -i br-a -j ACCEPT"),
        ((DROPS, ChainFact("ip", "filter", "ufw-before-forward")), "ufw route allow in on br-a"),
        (
            (ChainFact("inet", "firewalld", "filter_FORWARD", "filter", "forward", 10, drops=True),),
            "firewall-cmd --permanent --zone=trusted --add-interface=br-a",
        ),
        (
            (ChainFact("inet", "mine", "fwd", "filter", "forward", 10, drops=True),),
            "nft insert rule inet mine fwd iifname br-a accept",
        ),
    ],
)
def test_the_remedy_is_that_of_the_tables_owner(chains: tuple[ChainFact, ...], remedy: str) -> None:
    """Whoever made the table, its name and the command that its owner would give are said."""
    text = said(*chains)
    assert f"table {chains[0].family} {chains[0].table} (chain {chains[0].name}) drops" in text
    assert f"`{remedy}`" in text


@pytest.mark.parametrize(
    "chain",
    [
        evolve(DROPS, drops=False),
        evolve(DROPS, hook="input"),
        evolve(DROPS, table="libnetwork_py_2", family="inet"),
        evolve(DROPS, links=frozenset({"br-*"})),
        evolve(DROPS, links=frozenset({"br-a"})),
    ],
)
def test_no_warning_where_nothing_is_the_matter(chain: ChainFact) -> None:
    """A chain that accepts, hangs elsewhere, is another controller's or knows our bridge is nobody's trouble."""
    assert said(chain) == ""


def test_only_the_family_that_is_forwarded() -> None:
    """An IPv6 table is no matter for a network without IPv6."""
    assert said(evolve(DROPS, family="ip6"), ours=evolve(OURS, bridges={"br-a": IPV4})) == ""


@pytest.mark.parametrize(("port", "warned"), [(("tcp", 8080), True), (("udp", 8080), False), (("tcp", 8081), False)])
def test_a_port_that_another_table_takes(port: tuple[str, int], warned: bool) -> None:
    """A published port that another table sends elsewhere is said with the table; other ports are not."""
    text = said(ChainFact("ip", "nat", "DOCKER", "", ports=frozenset({port})))
    assert ("table ip nat (chain DOCKER) sends port 8080/tcp elsewhere" in text) is warned


def test_legacy_iptables() -> None:
    """The older iptables is invisible to nf_tables: that it is there is said, with how to look."""
    assert "iptables-legacy -S FORWARD" in said(ipv4=("filter",))
    assert said(ipv4=("nat",)) == ""


def test_closed_to_others_who_forward() -> None:
    """Where the host forwards only for us and somebody else filters what is forwarded, that others' packets stop is said."""
    text = said(evolve(DROPS, drops=False), ours=evolve(OURS, closed=IPV4))
    assert "sysctl -w net.ipv4.ip_forward=1" in text
    assert said(ours=evolve(OURS, closed=BOTH)) == ""


def test_who_only_drops_does_not_forward() -> None:
    """A chain that drops what is forwarded and lets no links but ours pass, as ufw's, does not forward too; one that names others does."""
    ours, loopback = evolve(OURS, closed=IPV4), ChainFact("ip", "filter", "ufw-before-input", links=frozenset({"lo"}))
    bridge = ChainFact("ip", "filter", "ufw-user-forward", links=frozenset(OURS.bridges))
    assert "forwards too" not in said(DROPS, loopback, bridge, ours=ours)
    assert "forwards too" in said(DROPS, ChainFact("ip", "filter", "more", links=frozenset({"virbr0"})), ours=ours)


def test_info_says_it() -> None:
    """`info` warns of neighbours while there is a network that they could hurt."""
    kernel = FakeKernel()
    kernel.neighbours = FilterFacts((DROPS,))
    with NetworkController.over(MemoryStore(), kernel) as controller:
        assert controller.info().warnings == ()
        controller.create_network("front")
        (warning,) = (each for each in controller.info().warnings if "drops forwarded packets" in each)
        assert "table ip filter (chain FORWARD)" in warning


def test_other_controllers_are_known_by_their_tables() -> None:
    """A table of the library that is not ours is another controller's."""
    chains = [ChainFact("inet", f"libnetwork_py_{number}", "forward") for number in (1, 2)]
    assert other_controllers(FilterFacts((*chains, DROPS)), "libnetwork_py_1") == ["libnetwork_py_2"]


def test_what_another_controller_closed() -> None:
    """Its table says which settings were off before it."""
    facts = Facts(tables={(HOST, "libnetwork_py_2"): TableFact({}, {"closed": {("ipv6",): None}})})
    assert closing(facts, ["libnetwork_py_2", "libnetwork_py_3"]) == {"ipv6.conf.all.forwarding"}


def test_forwarding_is_left_on() -> None:
    """A change that would switch forwarding off can be had without that."""
    change = Change(remove=(Sysctl(HOST, "ipv4.ip_forward", "1", restore="0"),))
    assert stops_forwarding(change)
    assert not stops_forwarding(leave_forwarding(change))
    assert not stops_forwarding(Change(remove=(Sysctl(HOST, "ipv4.ip_forward", "1", restore="1"),)))
