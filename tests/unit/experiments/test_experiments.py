"""Partitions, pulled cables, explanations and shapes of topologies: on the fake kernel."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from libnetwork_py import InvalidParameter, NetworkController, NotSupported, Sandbox, Unavailable, experiments, topology
from libnetwork_py.condition import Condition
from libnetwork_py.desired import Bridge, Element, Sysctl, Table, Veth, Word
from libnetwork_py.experiments.packets import headers
from libnetwork_py.lifecycle.explaining import best
from libnetwork_py.show.progress import Progress
from libnetwork_py.store.memory import MemoryStore
from libnetwork_py.testing import FakeKernel
from libnetwork_py.testing.fake_kernel import FEATURES

explain = experiments.explain


class Lab:
    """Three sandboxes on ``front``, one on ``back``, one on ``closed``, which is internal."""

    def __init__(self, features: dict[str, bool] | None = None) -> None:
        self.kernel = FakeKernel(features=features, host_links=["up0"], host_addresses={"up0": "192.0.2.1/24"})
        self.controller = NetworkController.over(MemoryStore(), self.kernel)
        front = self.controller.create_network("front", subnets="10.1.0.0/24", ipv6=True)
        back = self.controller.create_network("back", subnets="10.2.0.0/24")
        closed = self.controller.create_network("closed", subnets="10.3.0.0/24", internal=True)
        self.a, self.b, self.c, self.far, self.shut = (
            self.controller.create_sandbox(name) for name in ("a", "b", "c", "far", "shut")
        )
        for sandbox, network in (
            (self.a, front),
            (self.b, front),
            (self.c, front),
            (self.far, back),
            (self.shut, closed),
        ):
            sandbox.connect(network)

    def cut(self) -> set[tuple[str, str]]:
        """Which elements partitions have made: table and address."""
        return {
            (word.table, str(word.fields[0]))
            for word in self.kernel.state()
            if isinstance(word, Element) and "apart" in word.set.name
        }

    def word(self, applies: Callable[[Word], bool]) -> Word:
        """The first word that exists and that a function says yes to."""
        return next(word for word in self.kernel.state() if applies(word))


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A fresh one."""
    made = Lab()
    yield made
    made.controller.close()


def test_a_partition_cuts_both_ways_and_heals(lab: Lab) -> None:
    """Each member loses what it sends to the other groups' addresses of both families, and nothing else; healed, all is as before."""
    before = lab.kernel.state()
    experiments.partition([lab.a], [lab.b, lab.c])
    tables = {f"link-{each.endpoints()[0].id[:12]}": each for each in (lab.a, lab.b, lab.c)}
    addresses = {str(address): each for each in tables.values() for address in each.endpoints()[0].addresses}
    pairs = [(tables[table].name, addresses[address].name) for table, address in lab.cut()]
    assert sorted(pairs) == sorted([("a", "b"), ("a", "c"), ("b", "a"), ("c", "a")] * 2)
    experiments.heal(lab.a, lab.b, lab.c)
    assert lab.kernel.state() == before


def test_partitions_add_up(lab: Lab) -> None:
    """A second partition keeps the first; healing one side leaves what the others lose."""
    experiments.partition([lab.a], [lab.b])
    experiments.partition([lab.c], [lab.b])
    assert len(lab.b.endpoints()[0].condition.apart) == 4
    experiments.heal(lab.b)
    assert lab.b.endpoints()[0].condition == Condition()
    assert lab.a.endpoints()[0].condition.apart


def test_a_partition_is_whole_or_not_at_all(lab: Lab) -> None:
    """If the last element fails, no endpoint is cut off, in the kernel and in the records."""
    before = lab.kernel.state()
    lab.kernel.fail_on(lambda word: isinstance(word, Element), skip=5)
    with pytest.raises(Unavailable):
        experiments.partition([lab.a], [lab.b, lab.c])
    assert lab.kernel.state() == before
    assert not any(each.endpoints()[0].condition.apart for each in (lab.a, lab.b, lab.c))


def test_a_partition_in_a_batch(lab: Lab) -> None:
    """A partition may be one step of a batch, and goes with it."""
    before = lab.kernel.state()
    with suppress(RuntimeError), lab.controller.batch():
        experiments.partition([lab.a], [lab.b])
        raise RuntimeError
    assert lab.kernel.state() == before


@pytest.mark.parametrize("groups", [0, 1, 2, 3, 4])
def test_bad_partitions(lab: Lab, groups: int) -> None:
    """One group, an empty one, one member twice, something else: refused before anything is touched."""
    bad: list[list[list[Sandbox]]] = [[], [[lab.a]], [[lab.a], []], [[lab.a], [lab.a]], [["a"], [lab.b]]]  # type: ignore[list-item]
    before = lab.kernel.state()
    with pytest.raises(InvalidParameter):
        experiments.partition(*bad[groups])
    assert lab.kernel.state() == before


def test_endpoints_of_two_controllers_are_not_parted(lab: Lab) -> None:
    """One step is one controller's."""
    other = Lab()
    with pytest.raises(InvalidParameter, match="several controllers"):
        experiments.partition([lab.a], [other.a])


def test_a_kernel_without_the_hook_parts_nobody() -> None:
    """Where the packet filter has no ingress hook, its name is said."""
    lab = Lab({name: name != "nftables_ingress" for name in FEATURES})
    with pytest.raises(NotSupported, match="ingress hook"):
        experiments.partition([lab.a], [lab.b])


def test_a_pulled_cable(lab: Lab) -> None:
    """The outer end goes down in place and comes up again; the inner end keeps its addresses and routes."""
    before = lab.kernel.state()
    lab.kernel.take_text()
    experiments.pull(lab.a)
    text = lab.kernel.take_text()
    assert " down" in text
    assert "addr" not in text
    assert not lab.controller.reconcile()
    experiments.plug(lab.a)
    assert lab.kernel.state() == before


# explanations


def test_neighbours_reach_each_other(lab: Lab) -> None:
    """On one network a packet goes straight, and its answer comes back."""
    found = explain(lab.a, lab.b)
    assert found.answered
    assert [each.where for each in found.steps] == ["a", "network front", "b"]
    assert explain(lab.a, "b").steps == explain(lab.a, lab.b.endpoints()[0]).steps == found.steps
    assert explain(lab.a, lab.b.endpoints()[0].addresses[1]).answered


@pytest.mark.parametrize(
    ("target", "where", "why"),
    [
        ("far", "host", "keeps networks front and back apart"),
        ("10.1.0.99", "network front", "nobody has 10.1.0.99"),
        ("8.8.8.8", "host", "no route to 8.8.8.8"),
        ("fd99::1", "host", "no route to fd99::1"),
    ],
)
def test_where_it_dies(lab: Lab, target: str, where: str, why: str) -> None:
    """The last step names the place and the reason."""
    found = explain(lab.a, target)
    assert not found
    assert (found.steps[-1].where, found.steps[-1].fine) == (where, False)
    assert why in found.why
    assert why in str(found)


def test_out_of_an_internal_network(lab: Lab) -> None:
    """An internal network's sandboxes have no way out: already the route is missing."""
    assert "no route" in explain(lab.shut, "192.0.2.9").why


def test_it_leaves_the_host(lab: Lab) -> None:
    """What has a route on the host leaves it, and what is there is not claimed to be known."""
    found = explain(lab.a, "192.0.2.9")
    assert found
    assert "up0" in found.steps[-1].what
    assert explain(lab.a, "192.0.2.1")


def _drop(kind: type, **values: str) -> Callable[[Word], bool]:
    return lambda word: isinstance(word, kind) and all(getattr(word, name) == value for name, value in values.items())


@pytest.mark.parametrize(
    ("break_it", "why"),
    [
        (lambda lab: experiments.partition([lab.a], [lab.b]), "a partition keeps it apart"),
        (lambda lab: experiments.pull(lab.a), "the cable is pulled"),
        (lambda lab: experiments.pull(lab.b), "the cable is pulled"),
        (lambda lab: lab.b.endpoints()[0].shape(loss=1), "loses every packet"),
        (lambda lab: lab.kernel.disturb(remove=[lab.word(lambda word: "10.1.0.3/24" in word.key)]), "missing"),
        (lambda lab: lab.kernel.disturb(remove=[lab.word(_drop(Veth, peer_namespace=lab.a.key))]), "missing"),
        (lambda lab: lab.kernel.disturb(remove=[lab.word(lambda word: isinstance(word, Bridge))]), "no port of the bridge"),
        (lambda lab: lab.b.endpoints()[0].leave(), "joined to no sandbox"),
    ],
)  # fmt: skip
def test_what_broke_is_found(break_it: Callable[[Lab], object], why: str) -> None:
    """A partition, a pulled cable, total loss, a missing address, link or bridge, an endpoint that left: each is named."""
    lab = Lab()
    if why == "missing" or "bridge" in why:
        lab.controller.network("back").delete(force=True)
        lab.controller.network("closed").delete(force=True)
    target = lab.b.endpoints()[0].addresses[0]
    break_it(lab)
    found = explain(lab.a, str(target))
    assert not found.answered
    assert why in found.why


def test_endpoints_that_must_not_reach_each_other() -> None:
    """With ICC off the isolated ports are the reason."""
    lab = Lab()
    quiet = lab.controller.create_network("quiet", options={"com.docker.network.bridge.enable_icc": "false"})
    lab.a.connect(quiet)
    other = lab.b.connect(quiet)
    assert "ICC is off" in explain(lab.a, str(other.addresses[0])).why


def test_the_longest_prefix_wins() -> None:
    """Of two routes that fit, the kernel takes the narrower, then the cheaper."""
    lab = Lab()
    routes = lab.kernel.facts([lab.a.key]).namespaces[lab.a.key].routes
    address = lab.b.endpoints()[0].addresses[0]
    found = best(routes, address)
    assert found is not None
    assert str(found.destination) == "10.1.0.0/24"


# topologies


def build(
    shape: Callable[[NetworkController], topology.Topology],
) -> tuple[FakeKernel, NetworkController, topology.Topology]:
    """A topology on a fresh fake kernel."""
    kernel = FakeKernel()
    controller = NetworkController.over(MemoryStore(), kernel)
    return kernel, controller, shape(controller)


@pytest.mark.parametrize(
    ("shape", "hosts", "routers", "cables"),
    [
        (lambda c: topology.chain(c, 1), 2, 1, 2),
        (lambda c: topology.chain(c, 5, prefix="x-"), 2, 5, 6),
        (lambda c: topology.ring(c, 5), 5, 5, 10),
        (lambda c: topology.tree(c, 2, 3), 9, 4, 12),
        (lambda c: topology.fat_tree(c, 4), 16, 20, 48),
        (lambda c: topology.fat_tree(c, 2), 2, 5, 6),
    ],
)
def test_every_host_reaches_every_other(
    shape: Callable[[NetworkController], topology.Topology], hosts: int, routers: int, cables: int
) -> None:
    """A packet from each host to each other arrives, and so does its answer; the numbers are those of the shape."""
    _, controller, made = build(shape)
    assert (len(made.hosts), len(made.routers), len(made.cables)) == (hosts, routers, cables)
    for target in made.hosts:
        found = explain(made.hosts[0], target)
        assert found.answered, str(found)
    assert explain(made.hosts[-1], made.routers[0]).answered
    assert len(controller.draw().svg) > 1000
    made.delete()
    assert controller.networks() == []


def test_a_fat_tree_uses_all_its_cores() -> None:
    """Between equal ways the destination chooses: the cores share the hosts."""
    _, _, made = build(lambda c: topology.fat_tree(c, 4))
    ways = {
        each.where
        for host in made.hosts[4:]
        for each in explain(made.hosts[0], host).steps
        if each.where.startswith("core")
    }
    assert len(ways) == 4


def test_a_router_that_does_not_forward_is_named() -> None:
    """Forwarding switched off behind the library's back is where the packet dies."""
    kernel, _, made = build(lambda c: topology.chain(c, 2))
    router = made.routers[1]
    kernel.disturb(make=[Sysctl(router.key, "ipv4.ip_forward", "0")])
    assert (
        explain(made.hosts[0], made.hosts[1]).why
        == "r2: it is no router: net.ipv4.ip_forward is 0, and the packet is not for it"
    )


@pytest.mark.parametrize(
    "shape",
    [
        lambda c: topology.chain(c, 0),
        lambda c: topology.ring(c, 2),
        lambda c: topology.tree(c, 0, 2),
        lambda c: topology.tree(c, 10, 256),
        lambda c: topology.fat_tree(c, 3),
        lambda c: topology.fat_tree(c, 10),
        lambda c: topology.chain(c, 3, pool="fd00::/64"),
        lambda c: topology.chain(c, 3, pool="10.0.0.0/30"),
        lambda c: topology.chain(c, 3, pool="10.0.0.0/28"),
    ],
)
def test_bad_shapes(shape: Callable[[NetworkController], topology.Topology]) -> None:
    """Shapes that do not exist, or have no addresses, are refused, and leave nothing."""
    kernel = FakeKernel()
    controller = NetworkController.over(MemoryStore(), kernel)
    before = kernel.state()
    with pytest.raises(InvalidParameter):
        shape(controller)
    assert kernel.state() == before
    assert controller.sandboxes() == []


# the rest


@pytest.mark.parametrize(
    ("frame", "protocol", "info"),
    [
        ("", "malformed", ""),
        ("ff" * 14, "0xffff", ""),
        ("00" * 12 + "0800" + "45" + "00" * 8, "malformed", ""),
        (
            "00" * 12 + "0806" + "0001080006040001024200000001" + "0a010002" + "000000000000" + "0a010003",
            "ARP",
            "who has 10.1.0.3? tell 10.1.0.2",
        ),
    ],
)
def test_frames_are_read_as_far_as_they_go(frame: str, protocol: str, info: str) -> None:
    """What is cut short or strange never raises."""
    found = headers(bytes.fromhex(frame))
    assert (found.protocol, found.info) == (protocol, info)


def test_progress_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work that takes long shows a line that is renewed and taken away; short work shows nothing."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    with Progress(4, "working") as progress:
        progress.step()
        assert terminal.getvalue() == ""
        now[0] = 1.0
        progress.step()
        assert "working" in terminal.getvalue()
        assert "2/4" in terminal.getvalue()
    assert terminal.getvalue().endswith("\r\x1b[K")


def test_tables_of_links_belong_to_no_other_endpoint(lab: Lab) -> None:
    """Each table of a partition hangs on the outer end of its own endpoint."""
    experiments.partition([lab.a], [lab.b])
    tables = [word for word in lab.kernel.state() if isinstance(word, Table) and word.devices]
    outers = {(word.namespace, word.name) for word in lab.kernel.state() if isinstance(word, Veth)}
    assert {(word.namespace, *word.devices) for word in tables} <= outers
    assert len(tables) == 2


NO_TARGETS: dict[str, Callable[[Lab], object]] = {
    "explain from a name": lambda lab: explain("a", lab.b),  # type: ignore[arg-type]
    "explain to nothing": lambda lab: explain(lab.a, None),  # type: ignore[arg-type]
    "partition of no lists": lambda lab: experiments.partition(lab.a, lab.b),  # type: ignore[arg-type]
    "partition of names": lambda _: experiments.partition(["a"], ["b"]),  # type: ignore[list-item]
    "partition of a name": lambda lab: experiments.partition("a", [lab.b]),  # type: ignore[arg-type]
    "heal a controller": lambda lab: experiments.heal(lab.controller),  # type: ignore[arg-type]
    "capture a sandbox": lambda lab: experiments.capture(lab.a),  # type: ignore[arg-type]
    "measure from a name": lambda lab: experiments.measure("a", lab.b),  # type: ignore[arg-type]
    "measure to a name": lambda lab: experiments.measure(lab.a, "b"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("what", NO_TARGETS)
def test_what_is_no_target(what: str) -> None:
    """Whatever is neither a sandbox nor an endpoint where one is wanted is named in an error, before anything is done."""
    lab = Lab()
    with pytest.raises(InvalidParameter) as caught:
        NO_TARGETS[what](lab)
    assert caught.value.code == "invalid_target"


@pytest.mark.parametrize("target", ["0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255"])
def test_the_way_to_many_machines(target: str) -> None:
    """The way to an address that is not one machine's is not explained."""
    with pytest.raises(InvalidParameter, match="not the address of one machine"):
        explain(Lab().a, target)


def test_the_way_to_a_sandbox_without_address() -> None:
    """A sandbox on no network is named."""
    lab = Lab()
    with pytest.raises(InvalidParameter, match="sandbox 'alone' has no address"):
        explain(lab.a, lab.controller.create_sandbox("alone"))
