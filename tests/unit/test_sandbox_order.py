from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libnetwork_py.sandbox import Candidate, elect, order
from libnetwork_py.types import parse_address

VECTORS = Path(__file__).parents[3] / "shared/vectors/core/sandbox_ordering.json"
V4, V6 = "172.30.0.1", "fd00::1"


def candidate(name: str, *gateways: str, priority: int = 0, internal: bool = False) -> Candidate:
    """An endpoint on the network ``name``, and named like it."""
    return Candidate(name, name, priority, internal, tuple(parse_address(each) for each in gateways))


def names(candidates: Iterable[Candidate]) -> list[str]:
    """The order of candidates, by name."""
    return [each.endpoint_id for each in order(candidates)]


def test_priority_comes_first() -> None:
    """A higher priority beats internal, gateways and name."""
    assert names([candidate("a", V4, V6), candidate("b", priority=1, internal=True)]) == ["b", "a"]


def test_priority_may_be_negative() -> None:
    """An endpoint may be put behind those that say nothing."""
    assert names([candidate("a", V4, priority=-1), candidate("b", V4)]) == ["b", "a"]


def test_internal_networks_come_last() -> None:
    """Among equals in priority a network that leads outside comes before one that does not."""
    assert names([candidate("a", V4, V6, internal=True), candidate("b")]) == ["b", "a"]


def test_both_families_before_one_before_none() -> None:
    """Then the number of families with a gateway counts, not the number of gateways."""
    assert names([candidate("none"), candidate("one", V6), candidate("both", V4, V6)]) == ["both", "one", "none"]
    assert names([candidate("b", V4, "172.30.0.9"), candidate("a", V4)]) == ["a", "b"]


def test_the_name_decides_at_last() -> None:
    """Everything else equal, network names are ordered as text."""
    assert names([candidate("b", V4), candidate("a", V4), candidate("B", V4)]) == ["B", "a", "b"]


def test_a_way_out_for_each_family() -> None:
    """The IPv4 and the IPv6 gateway may belong to different endpoints: the first in order that offers one."""
    chosen = elect([candidate("a", "172.30.0.1", V6), candidate("b", "172.31.0.1", priority=1000)])
    assert {family: each.endpoint_id for family, each in chosen.items()} == {4: "b", 6: "a"}
    assert chosen[4].gateway(4) == parse_address("172.31.0.1")


def test_no_gateway_no_way_out() -> None:
    """A family that nobody offers a gateway for has none."""
    assert elect([]) == {}
    assert elect([candidate("a", priority=9), candidate("b", V6)]).keys() == {6}


candidates = st.builds(
    candidate,
    st.text("ab", min_size=1, max_size=2),
    *[st.sampled_from([V4, V6])] * 1,
    priority=st.integers(-1, 1),
    internal=st.booleans(),
)


@given(st.lists(candidates, unique_by=lambda each: each.network_name), st.randoms())
def test_the_order_of_joining_does_not_matter(joined: list[Candidate], random: Any) -> None:
    """With different networks, order and election are the same however the endpoints came."""
    shuffled = list(joined)
    random.shuffle(shuffled)
    assert order(shuffled) == order(joined)
    assert elect(shuffled) == elect(joined)


def _scenarios() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(VECTORS.read_text())["scenarios"] if VECTORS.exists() else []
    return found


def _reference_candidate(number: int, network: dict[str, Any], priority: int) -> Candidate:
    internal = network.get("internal", False)
    gateways = [] if internal else [address for family, address in (("ipv4", V4), ("ipv6", V6)) if network.get(family)]
    return candidate(f"test_nw_{number}", *gateways, priority=priority, internal=internal)


@pytest.mark.skipif(not VECTORS.exists(), reason=f"the reference's scenarios are not here: {VECTORS}")
@pytest.mark.parametrize("scenario", _scenarios(), ids=lambda scenario: scenario["name"])
def test_the_reference_orders_alike(scenario: dict[str, Any]) -> None:
    """After each join and leave of the reference's scenarios, order and gateways are the reference's."""
    joined: dict[int, Candidate] = {}
    expectations = 0
    for verb, what, *options in scenario["steps"]:
        ordered = [int(name.removeprefix("test_nw_")) for name in names(joined.values())]
        match verb:
            case "join":
                priority = options[0]["priority"] if options else 0
                joined[what] = _reference_candidate(what, scenario["networks"][what], priority)
            case "leave":
                del joined[what]
            case "expect_first":
                assert ordered[0] == what
            case "expect_order":
                assert ordered == what
            case "expect_gateway_endpoint":
                chosen = {f"ipv{family}": each.endpoint_id for family, each in elect(joined.values()).items()}
                assert chosen == {family: f"test_nw_{number}" for family, number in what.items()}
            case _:
                pytest.fail(f"a step that this test does not know: {verb}")
        expectations += verb.startswith("expect")
    assert expectations
