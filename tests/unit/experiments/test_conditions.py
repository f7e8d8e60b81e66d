"""Conditions of links: what users write, the words it becomes, and what happens to them; on the fake kernel."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

import pytest
from attrs import evolve

from libnetwork_py import Endpoint, InvalidParameter, NetworkController, NotFound, NotSupported, Unavailable
from libnetwork_py.condition import Condition, shaped
from libnetwork_py.desired import HOST, Qdisc, Table, Veth
from libnetwork_py.endpoint import EndpointRecord
from libnetwork_py.facts import Facts, compare
from libnetwork_py.kernel import qdiscs
from libnetwork_py.store.codec import decode, encode
from libnetwork_py.store.memory import MemoryStore
from libnetwork_py.testing import FakeKernel
from libnetwork_py.testing.fake_kernel import FEATURES

PLAIN = {name: not name.startswith("netem") for name in FEATURES}
"""A kernel without the network emulator."""


@pytest.mark.parametrize(
    ("given", "is_"),
    [
        ({"rate": "10mbit"}, Condition(rate=10_000_000)),
        ({"rate": 2e6}, Condition(rate=2_000_000)),
        ({"delay": "50ms", "jitter": "500us"}, Condition(delay=50_000_000, jitter=500_000)),
        ({"delay": 0.05}, Condition(delay=50_000_000)),
        ({"loss": "1.5%"}, Condition(loss=15_000)),
        ({"loss": 0.25, "seed": 3}, Condition(loss=250_000, seed=3)),
        ({"rate": "1gbit", "queue": 9000}, Condition(rate=10**9, queue=9000)),
        ({}, Condition()),
    ],
)
def test_what_users_write(given: dict[str, float | str], is_: Condition) -> None:
    """Units are read as `tc` writes them; plain numbers are bit/s, seconds and shares of one."""
    assert shaped(Condition(), **given) == is_  # type: ignore[arg-type]  # a table of arguments


@pytest.mark.parametrize(
    "given",
    [
        {"rate": "fast"}, {"rate": "10mb"}, {"rate": -1}, {"rate": 10}, {"rate": 1e14}, {"rate": True},
        {"delay": "1h"}, {"delay": 301}, {"delay": "-5ms"}, {"jitter": "5ms"}, {"delay": "1ms", "jitter": "2ms"},
        {"loss": "101%"}, {"loss": 1.01}, {"loss": "nan"}, {"seed": -1, "loss": 0.1}, {"seed": 1.5}, {"queue": 100},
        {"rate": "1mbit", "queue": 2**31},
    ],
)  # fmt: skip
def test_bad_conditions(given: dict[str, object]) -> None:
    """What no kernel would take is refused, and the field is named."""
    with pytest.raises(InvalidParameter) as caught:
        shaped(Condition(), **given)  # type: ignore[arg-type]
    assert caught.value.code == "invalid_condition"
    assert caught.value.data["field"] in given


@pytest.mark.parametrize(
    "word",
    [
        Qdisc(HOST, "eth0", "tbf", rate=10_000_000, burst=5000, limit=125_000),
        Qdisc(HOST, "eth0", "tbf", rate=80_000_000_000, burst=40_000_000, limit=2**31),
        Qdisc(HOST, "eth0", "netem", limit=1000, delay=50_000_000, jitter=1_000_001, loss=12_345, seed=2**32 - 1),
        Qdisc(HOST, "eth0", "netem", rate=80_000_000_000, limit=1, loss=1_000_000),
        Qdisc(HOST, "eth0", "netem", limit=7),
    ],
)
def test_a_qdisc_survives_the_wire(word: Qdisc) -> None:
    """What is encoded for the kernel is decoded to the same word; a bucket's size to within two in a hundred."""
    read = qdiscs.decode(qdiscs.add(word, 5)[16:], HOST, "eth0")
    assert read is not None
    assert abs(read.burst - word.burst) * 50 <= word.burst
    assert evolve(read, burst=word.burst) == word


def test_what_the_kernel_adds_is_no_drift() -> None:
    """A seed that the kernel drew itself, and a bucket that comes back a little off, are as described; another rate is not."""
    word = Qdisc(HOST, "eth0", "netem", limit=9, loss=5)
    tbf = Qdisc(HOST, "eth0", "tbf", rate=8000, burst=5000, limit=9)
    assert not compare([word], Facts(qdiscs={word.key: evolve(word, seed=77)}))
    assert not compare([tbf], Facts(qdiscs={tbf.key: evolve(tbf, burst=4990)}))
    assert compare([tbf], Facts(qdiscs={tbf.key: evolve(tbf, rate=16000)})).changed
    assert compare([evolve(word, seed=1)], Facts(qdiscs={word.key: evolve(word, seed=2)})).changed


def test_a_condition_survives_the_store() -> None:
    """A record with a condition is read as it was written."""
    apart = (ip_address("10.0.0.1"), ip_address("fd00::1"))
    condition = Condition(10, 20, 30, 40, 50, 60, down=True, apart=apart, netem=True)
    record = EndpointRecord("e", "web", "n", condition=condition)
    assert decode("endpoint/e", encode(record)) == record


class Lab:
    """Two sandboxes on a bridge over a fake kernel."""

    def __init__(self, features: dict[str, bool] = PLAIN) -> None:
        self.kernel, self.store = FakeKernel(features=features), MemoryStore()
        self.controller = NetworkController.over(self.store, self.kernel)
        network = self.controller.create_network("front", ipv6=True)
        self.web, self.client = (self.controller.create_sandbox(name).connect(network) for name in ("web", "client"))

    def words(self, kind: type) -> list[object]:
        """The words of a kind that are there because of a condition."""
        found = [word for word in self.kernel.state() if isinstance(word, kind)]
        return [word for word in found if not isinstance(word, Table) or word.devices]


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A kernel without the network emulator."""
    made = Lab()
    yield made
    made.controller.close()


def test_without_the_emulator_a_bucket_and_the_filter_do_it(lab: Lab) -> None:
    """Both directions get a token bucket and a rule on the ingress hook of where the packets come out."""
    lab.web.shape(rate="10mbit", loss="1%")
    places = {(word.namespace, word.link) for word in lab.words(Qdisc) if isinstance(word, Qdisc)}
    hooks = {(word.namespace, *word.devices) for word in lab.words(Table) if isinstance(word, Table)}
    assert len(places) == 2
    assert places == hooks
    assert "tbf rate 10000000bit burst 5000 limit 125000" in lab.kernel.text
    assert "numgen random mod 1000000 < 10000 drop" in lab.kernel.text


def test_the_emulator_does_it_alone() -> None:
    """Where the kernel has netem, it makes rate, delay and loss, and no table is made."""
    lab = Lab(dict.fromkeys(FEATURES, True))
    assert lab.web.shape(rate="10mbit", delay="50ms", jitter="5ms", loss="1%", seed=9).netem
    assert "netem limit 124 delay 50000us 5000us loss 1% rate 10000000bit seed 9" in lab.kernel.text
    assert not lab.words(Table)


def test_an_emulator_without_seeds_is_done_without() -> None:
    """Where netem takes no seed, a seeded loss is the packet filter's and a rate with it a token bucket's, as where there is no netem."""
    lab = Lab({name: name != "netem_seed" for name in FEATURES})
    assert not lab.web.shape(rate="10mbit", loss="1%", seed=9).netem
    assert "tbf rate" in lab.kernel.text
    assert lab.words(Table)
    assert lab.web.shape(rate="10mbit", loss="1%").netem


@pytest.mark.parametrize(
    ("lacking", "given", "named"),
    [
        ({"netem"}, {"delay": "1ms"}, "sch_netem"),
        ({"netem", "tbf"}, {"rate": "1mbit"}, "sch_tbf"),
        ({"netem", "nftables_ingress"}, {"loss": "1%"}, "ingress hook"),
        ({"netem_seed"}, {"loss": "1%", "seed": 1, "delay": "1ms"}, "seed"),
    ],
)
def test_what_the_kernel_lacks_is_named(lacking: set[str], given: dict[str, object], named: str) -> None:
    """A condition that this kernel has no means for is refused by the name of the feature, and nothing has changed."""
    lab = Lab({name: name not in lacking for name in FEATURES})
    before = lab.kernel.state()
    with pytest.raises(NotSupported, match=named) as caught:
        lab.web.shape(**given)  # type: ignore[arg-type]
    assert caught.value.data["feature"] in lacking
    assert lab.kernel.state() == before
    assert lab.web.condition == Condition()


def test_shaping_anew_and_not_at_all(lab: Lab) -> None:
    """The last shape holds; without arguments all is as it was before the first."""
    before = lab.kernel.state()
    lab.web.shape(rate="10mbit", loss="1%")
    lab.web.shape(rate="20mbit")
    assert {word.rate for word in lab.words(Qdisc) if isinstance(word, Qdisc)} == {20_000_000}
    assert not lab.words(Table)
    lab.web.shape()
    assert lab.kernel.state() == before


def test_a_condition_waits_for_the_link(lab: Lab) -> None:
    """It may be set before joining, goes with the link and comes with it again."""
    web = lab.controller.sandbox("web")
    lab.web.shape(loss="1%", seed=4)
    lab.web.leave()
    assert not lab.words(Table)
    lab.web.join(web)
    assert len(lab.words(Table)) == 2
    assert "jhash numgen inc mod 4294967295 mod 1000000 seed 0x4 < 10000 drop" in lab.kernel.text


def test_a_failure_leaves_the_old_condition(lab: Lab) -> None:
    """If one word of a condition fails, link and record are as they were."""
    lab.web.shape(rate="10mbit", loss="2%")
    before = lab.kernel.state()
    lab.kernel.fail_on(lambda word: isinstance(word, Qdisc), skip=3)
    with pytest.raises(Unavailable):
        lab.web.shape(rate="20mbit")
    assert lab.kernel.state() == before
    assert lab.web.condition.rate == 10_000_000


def test_a_plan_shows_the_condition(lab: Lab) -> None:
    """A dry run prints the lines and changes nothing."""
    before = lab.kernel.state()
    with lab.controller.plan() as plan:
        lab.web.shape(rate="10mbit")
    assert "tc -n web qdisc add dev eth0 root tbf rate 10000000bit" in plan.text
    assert lab.kernel.state() == before


def test_drift_is_found_and_mended(lab: Lab) -> None:
    """A bucket and a table that somebody removed are missing, and made again."""
    lab.web.shape(rate="10mbit", loss="1%")
    before = lab.kernel.state()
    lab.kernel.disturb(
        remove=[word for word in before if isinstance(word, Qdisc) or (isinstance(word, Table) and word.devices)]
    )
    report = lab.controller.reconcile()
    assert len(report.missing) == 4
    assert report.repaired
    assert lab.kernel.state() == before


def test_a_restart_has_it_again(lab: Lab) -> None:
    """A later controller over the same records finds nothing missing, and the condition in the handle."""
    lab.web.shape(rate="10mbit", loss="1%")
    again = NetworkController.over(lab.store, lab.kernel)
    assert not again.reconcile()
    assert again.endpoint(lab.web.id).condition == Condition(rate=10_000_000, loss=10_000)


def test_a_driver_without_a_pair_is_refused(lab: Lab) -> None:
    """An endpoint that has no veth pair has no condition, and joins without."""
    void = lab.controller.create_network("void", "null")
    endpoint: Endpoint = lab.controller.create_sandbox("lone").connect(void)
    with pytest.raises(NotSupported, match="null"):
        endpoint.shape(rate="1mbit")
    assert endpoint.condition == Condition()


def test_deleting_takes_the_condition_along(lab: Lab) -> None:
    """Nothing of a condition outlives its sandbox."""
    lab.web.shape(rate="10mbit", loss="1%")
    lab.controller.sandbox("web").delete()
    assert not lab.words(Qdisc)
    assert not lab.words(Table)


def test_a_deleted_endpoint_has_no_condition(lab: Lab) -> None:
    """Shaping an endpoint that is gone says so."""
    lab.controller.sandbox("web").delete()
    with pytest.raises(NotFound):
        lab.web.shape(rate="1mbit")


def test_other_words_stay(lab: Lab) -> None:
    """A condition touches no link, address or route."""
    links = set(lab.words(Veth))
    lab.kernel.take_text()
    lab.web.shape(rate="10mbit")
    assert set(lab.words(Veth)) == links
    assert "ip " not in lab.kernel.take_text()
