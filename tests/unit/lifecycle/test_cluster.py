from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from attrs import evolve

from libnetwork_py.errors import Conflict, InvalidParameter, LibnetworkError, NotFound, NotSupported
from libnetwork_py.store.api import Write
from libnetwork_py.testing import FakeKernel
from tests.cluster_lab import Host, documents, hosts, install, until
from tests.unit.lifecycle.fake import controller


@pytest.fixture(autouse=True)
def mesh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Install the driver."""
    install(monkeypatch)


@pytest.fixture
def two() -> Iterator[tuple[Host, Host]]:
    """Two hosts."""
    with hosts(2) as (first, second):
        yield first, second


def test_a_network_is_usable_by_name_everywhere(two: tuple[Host, Host]) -> None:
    """A network created on one host is there by name and id on the other at once, with its subnets and numbers."""
    first, second = two
    made = first.controller.create_network("front", "mesh")
    found = second.controller.network("front")
    assert (found.id, found.scope, found.subnets) == (made.id, "global", made.subnets)
    assert second.controller.network(made.id[:12]).id == made.id
    assert second.controller._engine.state.networks[made.id].vnis == (4096,)


def test_endpoints_are_known_everywhere(two: tuple[Host, Host]) -> None:
    """An endpoint is listed on the other host, where nobody can change it; addresses are different on both."""
    first, second = two
    a = first.controller.create_sandbox("a").connect(first.controller.create_network("front", "mesh"), aliases=["x"])
    b = second.controller.create_sandbox("b").connect(second.controller.network("front"))
    assert a.addresses != b.addresses
    until(lambda: len(first.controller.network("front").endpoints()) == 2)
    seen = first.controller.network("front").endpoint("b")
    assert (seen.id, seen.addresses, seen.state) == (b.id, b.addresses, "joined")
    for change in (seen.leave, lambda: seen.delete(force=True), lambda: seen.publish("80:80")):
        with pytest.raises(Conflict) as caught:
            change()
        assert caught.value.code == "endpoint_elsewhere"
    record = first.controller._engine.state.endpoints[b.id]
    assert (record.dns_names, str(record.vtep)) == (("b",), "192.0.2.2")


def test_only_hosts_with_endpoints_know_the_way(two: tuple[Host, Host]) -> None:
    """The kernel of a host knows remote endpoints while one of its own is joined, and follows what comes, leaves and goes."""
    first, second = two
    front = first.controller.create_network("front", "mesh")
    a = first.controller.create_sandbox("a")
    a.connect(front)
    second.controller.network("front")
    until(lambda: len(second.controller.network("front").endpoints()) == 1)
    assert (first.routes, second.routes) == ([], [])
    b = second.controller.create_sandbox("b").connect(second.controller.network("front"))
    assert second.routes == ["10.0.0.2"]
    until(lambda: first.routes == ["10.0.0.3"])
    b.leave()
    assert second.routes == []
    until(lambda: first.routes == [])
    b.join(second.controller.sandbox("b"))
    until(lambda: first.routes == ["10.0.0.3"])
    a.disconnect(front)
    assert first.routes == []
    until(lambda: second.routes == [])


def test_names_are_unique_across_hosts(two: tuple[Host, Host]) -> None:
    """A second network or endpoint of a name is `Conflict`, on whatever host it is asked for."""
    first, second = two
    front = first.controller.create_network("front", "mesh")
    with pytest.raises(Conflict) as caught:
        second.controller.create_network("front", "mesh")
    assert caught.value.code == "name_taken"
    front.create_endpoint("web")
    with pytest.raises(Conflict) as caught:
        second.controller.network("front").create_endpoint("web")
    assert caught.value.code == "name_taken"
    with pytest.raises(Conflict):
        second.controller.network("front").create_endpoint("other", addresses=["10.0.0.2"])


def test_numbers(two: tuple[Host, Host]) -> None:
    """Numbers are those asked for, or the lowest free from 4096 on; nobody else gets them before their network is deleted."""
    first, second = two
    state = first.controller._engine.state
    one = first.controller.create_network("one", "mesh", subnets=["10.1.0.0/24", "10.2.0.0/24"], options={"vni": "77"})
    assert state.networks[one.id].vnis == (77, 4096)
    with pytest.raises(Conflict) as caught:
        second.controller.create_network("two", "mesh", options={"vni": "77"})
    assert caught.value.code in {"vni_taken", "cluster_moved"}
    for wrong in ("0", "16777216", "1,2", "5,5"):
        with pytest.raises(LibnetworkError) as error:
            second.controller.create_network("two", "mesh", options={"vni": wrong})
        assert error.value.code == "invalid_vni"
    one.delete()
    assert second.controller.create_network("two", "mesh", options={"vni": "77"}).name == "two"


def test_deleting_what_another_host_uses(two: tuple[Host, Host]) -> None:
    """A network with endpoints on another host is not deleted, by force neither; without them it is, everywhere."""
    first, second = two
    front = first.controller.create_network("front", "mesh")
    b = second.controller.network("front").create_endpoint("b")
    for force in (False, True):
        with pytest.raises(Conflict) as caught:
            front.delete(force=force)
        assert (caught.value.code, caught.value.hosts) == ("network_in_use", [second.controller.info().id])
    b.delete()
    front.create_endpoint("a")
    with pytest.raises(Conflict):
        front.delete()
    front.delete(force=True)
    until(lambda: not second.controller.networks())
    assert {key.partition("/")[0] for key in documents(first)} == {"host", "pools"}


def test_a_new_endpoint_against_a_deletion(two: tuple[Host, Host]) -> None:
    """Of one host that deletes a network and another that uses it at the same instant, one wins; nothing is half-made."""
    first, second = two
    for number in range(10):
        first.controller.create_network("front", "mesh")
        network = second.controller.network("front")
        lost = _together(first.controller.network("front").delete, lambda: network.create_endpoint(f"e{number}"))  # noqa: B023
        assert len(lost) == 1
        if lost[0].code == "network_in_use":
            second.controller.network("front").delete(force=True)
        until(lambda: not first.controller.networks() and not second.controller.networks())
        assert {key.partition("/")[0] for key in documents(first)} == {"host", "pools"}


@pytest.mark.parametrize(
    ("contested", "code"), [("name", "name_taken"), ("subnet", "pool_overlap"), ("vni", "vni_taken")]
)
def test_two_hosts_create_the_same_at_once(two: tuple[Host, Host], contested: str, code: str) -> None:
    """Of two hosts that create a network of one name, subnet or number at the same instant, one gets it and the other `Conflict`."""
    first, second = two
    names = ("same", "same") if contested == "name" else ("left", "right")
    subnets = ["10.9.0.0/24"] if contested == "subnet" else []
    options = {"vni": "77"} if contested == "vni" else {}
    for _ in range(5):
        lost = _together(
            lambda: first.controller.create_network(names[0], "mesh", subnets=subnets, options=options),
            lambda: second.controller.create_network(names[1], "mesh", subnets=subnets, options=options),
        )
        assert [each.code for each in lost] == [code]
        until(lambda: len(first.controller.networks()) == len(second.controller.networks()) == 1)
        first.controller.networks()[0].delete()
        until(lambda: not second.controller.networks())


@pytest.mark.parametrize("contested", ["name", "address", "nothing"])
def test_two_hosts_connect_at_once(two: tuple[Host, Host], contested: str) -> None:
    """Of two hosts that take one name or address at the same instant one gets it; two that ask for neither both get what is their own."""
    first, _ = two
    first.controller.create_network("front", "mesh")
    names = ["same", "same"] if contested == "name" else ["one", "two"]
    for number in range(5):
        addresses = [f"10.0.0.{100 + number}"] if contested == "address" else []
        lost = _together(
            *(
                lambda host=host, name=name: host.controller.network("front").create_endpoint(name, addresses=addresses)  # noqa: B023
                for host, name in zip(two, names, strict=True)
            )
        )
        assert len(lost) == (contested != "nothing")
        networks = [host.controller.network("front") for host in two]
        until(lambda: all(len(each.endpoints()) == 2 - len(lost) for each in networks))  # noqa: B023
        taken = [str(address) for each in networks[0].endpoints() for address in each.addresses]
        assert len(taken) == len(set(taken)) == 2 - len(lost)
        for host in two:
            for endpoint in host.controller.network("front").endpoints():
                if not endpoint._record.host:
                    endpoint.delete()
        until(lambda: not networks[0].endpoints() and not networks[1].endpoints())  # noqa: B023
        assert [key for key in documents(first) if key.startswith("address/")] == []


def test_many_allocate_at_once(two: tuple[Host, Host]) -> None:
    """Threads on two hosts that create endpoints at the same time never get the same address."""
    first, second = two
    first.controller.create_network("front", "mesh")
    got: list[str] = []

    def fill(host: Host) -> None:
        network = host.controller.network("front")
        for number in range(20):
            got.extend(map(str, network.create_endpoint(f"e{host.number}-{number}").addresses))

    _together(lambda: fill(first), lambda: fill(second))
    assert len(got) == len(set(got)) == 40


def test_a_dead_hosts_address_comes_back_after_its_lease_and_not_before() -> None:
    """The address and name of a host that died are refused while its lease holds, free afterwards, and its endpoints are gone."""
    with hosts(2, ttl=0.8) as (first, second):
        first.controller.create_sandbox("a").connect(first.controller.create_network("front", "mesh"))
        second.controller.create_sandbox("b").connect(second.controller.network("front"))
        assert second.routes == ["10.0.0.2"]
        first.die()
        network = second.controller.network("front")
        with pytest.raises(Conflict):
            network.create_endpoint("again", addresses=["10.0.0.2"])
        until(lambda: len(network.endpoints()) == 1)
        assert second.routes == []
        again = network.create_endpoint("a", addresses=["10.0.0.2"])
        assert str(again.addresses[0]) == "10.0.0.2"


def test_a_host_that_comes_back_in_time_keeps_everything() -> None:
    """A controller that starts again before its lease has run out has its endpoints as before; nobody else saw it go."""
    with hosts(2) as (first, second):
        first.controller.create_sandbox("a").connect(first.controller.create_network("front", "mesh"))
        second.controller.create_sandbox("b").connect(second.controller.network("front"))
        before = documents(second)
        first.die()
        first.open()
        until(lambda: first.routes == ["10.0.0.3"])
        assert {key for key in documents(second) if not key.startswith("host/")} == {
            key for key in before if not key.startswith("host/")
        }
        assert second.routes == ["10.0.0.2"]


def test_a_host_that_comes_back_too_late_loses_what_others_have_got() -> None:
    """A host that returns after its lease keeps what nobody wanted, and gives up the endpoints whose address another host has."""
    with hosts(2, ttl=0.6) as (first, second):
        front = first.controller.create_network("front", "mesh")
        sandbox = first.controller.create_sandbox("a")
        sandbox.connect(front)
        kept = sandbox.connect(front, name="kept")
        network = second.controller.network("front")
        until(lambda: len(network.endpoints()) == 2)
        first.die()
        until(lambda: not network.endpoints())
        network.create_endpoint("b", addresses=["10.0.0.2"]).join(second.controller.create_sandbox("b"))
        first.open()
        until(lambda: [each.name for each in first.controller.sandbox("a").endpoints()] == ["kept"])
        until(lambda: second.routes == [str(kept.addresses[0])])
        until(lambda: first.routes == ["10.0.0.2"])
        taken = {str(each.addresses[0]) for each in first.controller.network("front").endpoints()}
        assert str(first.controller.network("front").create_endpoint("new").addresses[0]) not in taken
        told = [each for _, each in first.store.events(0) if b"went to another host" in each]
        assert len(told) == 1


@pytest.mark.parametrize("what", ["taken", "gone"])
def test_a_host_that_returns_before_it_has_heard_what_others_did(
    two: tuple[Host, Host], monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """A host whose lease is taken anew before its watch tells what was done meanwhile puts itself right when it is told."""
    first, second = two
    front = first.controller.create_network("front", "mesh")
    first.controller.create_sandbox("a").connect(front)
    network = second.controller.network("front")
    until(lambda: len(network.endpoints()) == 1)
    deaf = threading.Event()

    def heard() -> list[object]:
        deaf.set()
        time.sleep(0.01)
        return []

    monkeypatch.setattr(first.cluster, "_heard", heard)
    deaf.wait()
    store = second.cluster._membership
    keys = [f"host/{first.cluster.host}"]
    if what == "gone":
        keys += [f"endpoint/{front.id}/a", "address/default/10.0.0.2"]
    store.call(lambda each: each.commit([Write(key, None) for key in keys]))
    until(lambda: not network.endpoints())
    if what == "taken":
        network.create_endpoint("b", addresses=["10.0.0.2"])
    first.cluster._membership.register()
    until(lambda: not first.cluster._again.is_set())
    monkeypatch.undo()
    install(monkeypatch)
    if what == "taken":
        until(lambda: not first.controller.sandbox("a").endpoints())
    until(lambda: [each.name for each in network.endpoints()] == ["b" if what == "taken" else "a"])


def test_a_failure_in_the_kernel_takes_the_claim_back(two: tuple[Host, Host]) -> None:
    """An endpoint whose kernel objects cannot be made is nowhere, and its name and address are free."""
    first, second = two
    front = first.controller.create_network("front", "mesh")
    sandbox = first.controller.create_sandbox("a")
    before = documents(first)
    for step in range(1, 4):
        first.kernel.fail_at(step)
        with pytest.raises(LibnetworkError):
            sandbox.connect(front)
        first.kernel.heal()
        assert documents(first) == before
    second.controller.network("front").create_endpoint("a", addresses=["10.0.0.2"])


def test_what_a_process_left_that_died_is_put_right(two: tuple[Host, Host]) -> None:
    """Keys of an endpoint that its host has no record of, and lacking keys of one that it has, are put right by the next start."""
    first, second = two
    front = first.controller.create_network("front", "mesh")
    kept, gone = front.create_endpoint("kept"), front.create_endpoint("gone")
    first.controller._env.store.commit([_delete(gone.id)])
    store = first.cluster._membership
    key = f"address/default/{kept.addresses[0]}"
    store.call(lambda each: each.commit([Write(key, None)]))
    first.die()
    first.open()
    until(lambda: key in documents(second))
    until(lambda: f"endpoint/{front.id}/gone" not in documents(second))
    assert {each for each in documents(second) if each.startswith("address")} == {key}


def test_a_temporary_controllers_end_frees_everything(two: tuple[Host, Host]) -> None:
    """Closing gives up the lease at once where nothing is left in the cluster."""
    first, second = two
    front = first.controller.create_network("front", "mesh")
    front.delete()
    first.controller.close()
    assert [each for each in documents(second) if each.startswith("host/")] == [f"host/{second.cluster.host}"]


def test_a_dead_temporary_controllers_networks_go_when_nobody_is_on_them() -> None:
    """What a temporary controller left that died goes after its lease; what another host is on goes when that has left it."""
    with hosts(3, ttl=0.5) as (gone, kept, user):
        for host in (gone, user):
            host.cluster._burying._patience = 0.3
        gone.controller._engine.env = evolve(gone.controller._engine.env, temporary=True)
        for name in ("lonely", "used"):
            gone.controller.create_network(name, "mesh")
        kept.controller.create_network("lasting", "mesh")
        gone.controller.create_sandbox("a").connect(gone.controller.network("lonely"))
        gone.controller.create_sandbox("b").connect(gone.controller.network("used"))
        endpoint = user.controller.network("used").create_endpoint("c")
        for host in (gone, kept):
            host.die()
        until(lambda: [each.name for each in user.controller.networks()] == ["lasting", "used"])
        until(lambda: [each.name for each in user.controller.network("used").endpoints()] == ["c"])
        endpoint.delete()
        until(lambda: [each.name for each in user.controller.networks()] == ["lasting"])
        until(lambda: {key.partition("/")[0] for key in documents(user)} == {"host", "pools", "network", "vni"})


def test_a_host_reads_only_the_networks_that_it_uses(two: tuple[Host, Host]) -> None:
    """Endpoints of a network are no records of a host that has none on it and asked for none; then they are, and stay."""
    first, second = two
    front, back = (first.controller.create_network(name, "mesh") for name in ("front", "back"))
    a, b = front.create_endpoint("a"), back.create_endpoint("b")
    until(lambda: f"endpoint/{back.id}/b" in second.cluster.mirror.items)
    until(lambda: not second.cluster.mirror.dirty)
    assert second.controller._engine.state.endpoints == {}
    second.controller.network("front").create_endpoint("c")
    assert {each.name for each in second.controller._engine.state.endpoints.values()} == {"a", "c"}
    a.delete()
    until(lambda: {each.name for each in second.controller._engine.state.endpoints.values()} == {"c"})
    assert second.controller.endpoint(b.id[:20]).name == "b"
    late = back.create_endpoint("late")
    until(lambda: late.id in second.controller._engine.state.endpoints)
    with pytest.raises(NotFound):
        second.controller.endpoint("nobody")


def test_a_batch_and_a_plan_see_who_is_there(two: tuple[Host, Host]) -> None:
    """In a batch and in a plan a host's first endpoint on a network avoids the others' addresses and names, undone with it."""
    first, second = two
    front = first.controller.create_network("front", "mesh")
    first.controller.create_sandbox("a").connect(front)
    until(lambda: f"endpoint/{front.id}/a" in second.cluster.mirror.items)
    with second.controller.plan() as plan:
        second.controller.create_sandbox("b").connect(second.controller.network("front"))
    assert "10.0.0.2" in plan.text, "the plan tells the kernel of the other"
    assert second.controller._engine.state.endpoints == {}
    with second.controller.batch():
        endpoint = second.controller.create_sandbox("b").connect(second.controller.network("front"))
        assert str(endpoint.addresses[0]) == "10.0.0.3"
        with pytest.raises(Conflict):
            second.controller.network("front").create_endpoint("a")
    until(lambda: (first.routes, second.routes) == (["10.0.0.3"], ["10.0.0.2"]))


def test_a_batch_is_claimed_whole(two: tuple[Host, Host]) -> None:
    """A batch of more endpoints than one transaction takes is claimed in several, and all of it is taken back if it fails."""
    first, _ = two
    front = first.controller.create_network("front", "mesh", subnets=["10.8.0.0/16"])
    before = documents(first)
    first.kernel.fail_at(40)
    with pytest.raises(LibnetworkError), first.controller.batch():
        _fill(first, 100)
    first.kernel.heal()
    assert documents(first) == before
    with first.controller.batch():
        _fill(first, 100)
    assert len([key for key in documents(first) if key.startswith("address/")]) == 100
    assert len(front.endpoints()) == 100


def test_two_hosts_fill_a_network_in_batches(two: tuple[Host, Host]) -> None:
    """Batches of two hosts at the same time get addresses of their own, although both choose the lowest; a plan claims nothing."""
    first, second = two
    first.controller.create_network("front", "mesh")

    def fill(host: Host) -> None:
        network = host.controller.network("front")
        with host.controller.batch():
            for number in range(40):
                host.controller.create_sandbox(f"s{number}").connect(network, name=f"h{host.number}-{number}")

    assert _together(lambda: fill(first), lambda: fill(second)) == []
    until(lambda: all(len(host.controller.network("front").endpoints()) == 80 for host in two))
    assert len({str(each.addresses[0]) for each in first.controller.network("front").endpoints()}) == 80
    before = documents(first)
    with first.controller.plan() as plan:
        first.controller.create_sandbox("more").connect(first.controller.network("front"))
    assert "ip link add" in plan.text
    assert documents(first) == before


@pytest.mark.parametrize("seed", range(4))
def test_what_is_applied_as_the_difference_is_the_whole(two: tuple[Host, Host], seed: int) -> None:
    """Whatever two hosts do, joined or not, alone or in batches, each kernel ends up as the whole description says."""
    draw = random.Random(seed)
    first, second = two
    first.controller.create_network("front", "mesh")
    for host in two:
        host.controller.network("front")
        for number in range(4):
            host.controller.create_sandbox(f"s{number}")
    for step in range(60):
        host = draw.choice(two)
        with host.controller.batch() if draw.random() < 0.3 else contextlib.nullcontext():
            for _ in range(draw.randint(1, 3)):
                _walk(host, draw, f"{host.number}-{step}")
    until(lambda: _same(first, second))
    for host in two:
        assert not host.controller.reconcile(repair=False)


def _walk(host: Host, draw: random.Random, name: str) -> None:
    """Connect, leave, join, rename or disconnect at random; same MAC addresses are no exception."""
    sandbox = draw.choice(host.controller.sandboxes())
    held = [each for each in host.controller.network("front").endpoints() if not each._record.host]
    with contextlib.suppress(Conflict):
        if not held or draw.random() < 0.4:
            mac = "02:42:00:00:99:99" if draw.random() < 0.3 else None
            sandbox.connect(host.controller.network("front"), name=f"{name}-{draw.randrange(9)}", mac=mac)
        elif (endpoint := draw.choice(held)).state == "created":
            endpoint.join(sandbox) if draw.random() < 0.7 else endpoint.delete()
        else:
            endpoint.leave() if draw.random() < 0.6 else endpoint.delete(force=True)


def _same(first: Host, second: Host) -> bool:
    """Whether both know the same endpoints in the same state."""
    told = [
        {(each.id, each.state) for each in host.controller.network("front").endpoints()} for host in (first, second)
    ]
    return told[0] == told[1]


def test_without_a_cluster(two: tuple[Host, Host]) -> None:
    """A network that needs a number in the cluster is not made by a controller that is in none."""
    with controller(FakeKernel()) as alone, pytest.raises(NotSupported) as caught:
        alone.create_network("front", "mesh")
    assert caught.value.code == "no_cluster"


def test_local_networks_stay_local(two: tuple[Host, Host]) -> None:
    """A network of local scope is nobody else's business, and its name hides a cluster's network of the same name."""
    first, second = two
    first.controller.create_network("front")
    second.controller.create_network("front", "mesh")
    second.controller.create_network("end", "mesh")
    until(lambda: first.controller.networks(name="end"))
    assert first.controller.network("front").driver == "bridge"
    assert first.controller.prune().networks == ("front",)


@pytest.mark.parametrize("scheme", ["etcd", "consul", "zookeeper"])
@pytest.mark.parametrize("what", ["ca=/nowhere", "ca=EMPTY", "cert=EMPTY&key=EMPTY", "cert=/nowhere"])
def test_files_that_are_none(tmp_path: Path, scheme: str, what: str) -> None:
    """A certificate or key that is missing or is none is refused before an engine is asked."""
    (tmp_path / "empty").touch()
    url = f"{scheme}+tls://127.0.0.1:1?{what.replace('EMPTY', str(tmp_path / 'empty'))}"
    with pytest.raises(InvalidParameter) as caught, hosts(1, url=url):
        pass
    assert caught.value.code == "invalid_cluster"


def test_what_info_says(two: tuple[Host, Host]) -> None:
    """`info` names the store, its hosts and this one's address; `inspect` the hosts that use a network."""
    first, second = two
    until(lambda: "2 hosts" in first.controller.info().cluster)
    assert first.controller.info().cluster.startswith("memory://")
    assert "192.0.2.1" in first.controller.info().cluster
    first.controller.create_network("front", "mesh")
    second.controller.create_sandbox("b").connect(second.controller.network("front"))
    until(lambda: first.controller.network("front").inspect()["Peers"])
    assert first.controller.network("front").inspect()["Peers"][0]["IP"] == "192.0.2.2"


def _fill(host: Host, count: int) -> None:
    network = host.controller.network("front")
    for number in range(count):
        host.controller.create_sandbox(f"s{number}").connect(network)


def _delete(endpoint_id: str) -> Write:
    return Write(f"endpoint/{endpoint_id}", None)


def _together(*functions: Callable[[], object]) -> list[Conflict | NotFound]:
    """Run functions at the same time; return how those failed that lost."""
    lost: list[Conflict | NotFound] = []
    failures: list[BaseException] = []

    def run(function: Callable[[], object]) -> None:
        try:
            function()
        except (Conflict, NotFound) as error:
            lost.append(error)
        except BaseException as error:  # noqa: BLE001 (raised again below)
            failures.append(error)

    threads = [threading.Thread(target=run, args=[function]) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return lost


def test_names_across_hosts(two: tuple[Host, Host]) -> None:
    """A sandbox finds an endpoint on another host by its name, its aliases and its sandbox's name, until it leaves."""
    first, second = two
    first.controller.create_sandbox("a").connect(first.controller.create_network("front", "mesh"))
    second.controller.create_sandbox("b").connect(second.controller.network("front"), name="db", aliases=["store"])
    until(lambda: first.routes == ["10.0.0.3"])
    for name in ("db", "store", "b"):
        assert [str(each) for each in first.controller.sandbox("a").resolve(name)] == ["10.0.0.3"]
    second.controller.network("front").endpoint("db").leave()
    until(lambda: first.routes == [])
    assert first.controller.sandbox("a").resolve("db") == []
