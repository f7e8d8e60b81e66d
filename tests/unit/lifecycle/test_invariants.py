"""The model's rules over the public API, without a kernel: names, addresses, configurations, updates, filters, batches."""

# ruff: noqa: PT012 (an error that leaves a whole block is what is tested)

from __future__ import annotations

import subprocess
import sys

import pytest

from libnetwork_py import (
    Conflict,
    Forbidden,
    InvalidParameter,
    LibnetworkError,
    NetworkController,
    NotFound,
    NotSupported,
    Unavailable,
    labels,
)
from libnetwork_py.desired import Bridge
from libnetwork_py.store.memory import MemoryStore
from libnetwork_py.testing import FakeKernel
from tests.unit.lifecycle.fake import controller, everything


@pytest.fixture
def some(fake_kernel: FakeKernel) -> NetworkController:
    """A controller over `fake_kernel`."""
    return controller(fake_kernel)


# networks


def test_subnets_are_chosen_apart(some: NetworkController) -> None:
    """Networks without a subnet get the predefined ones in order, those given back first; exhaustion is `Unavailable`."""
    networks = [some.create_network(f"n{number}") for number in range(3)]
    assert [str(each.subnets[0]) for each in networks] == ["172.17.0.0/16", "172.18.0.0/16", "172.19.0.0/16"]
    networks[1].delete()
    assert str(some.create_network("again").subnets[0]) == "172.18.0.0/16"
    with pytest.raises(Unavailable):
        for number in range(40):
            some.create_network(f"more{number}")


def test_configured_pools(fake_kernel: FakeKernel) -> None:
    """The configuration's pools replace the predefined ones."""
    some = NetworkController.over(MemoryStore(), fake_kernel, config={"address_pools": [("10.20.0.0/23", 24)]})
    assert [str(some.create_network(name).subnets[0]) for name in "ab"] == ["10.20.0.0/24", "10.20.1.0/24"]
    with pytest.raises(Unavailable):
        some.create_network("c")


def test_the_hosts_networks_are_avoided() -> None:
    """A chosen subnet avoids what the host is connected to."""
    some = controller(FakeKernel(host_links=["ens3"], host_addresses={"ens3": "172.17.5.6/16"}))
    assert str(some.create_network("a").subnets[0]) == "172.18.0.0/16"


def test_config_only_and_config_from(some: NetworkController, fake_kernel: FakeKernel) -> None:
    """A configuration is taken by any number of networks at a time that its subnets allow, and cannot go while one uses it."""
    config = some.create_network(
        "config",
        config_only=True,
        subnets="10.9.0.0/24",
        gateways="10.9.0.9",
        options={labels.DRIVER_MTU: 1400},
        labels={"a": "b"},
    )
    assert not fake_kernel.state()
    network = some.create_network("real", config_from="config")
    assert (str(network.subnets[0]), str(network.gateways[0]), network.options, network.labels) == (
        "10.9.0.0/24",
        "10.9.0.9",
        {labels.DRIVER_MTU: "1400"},
        {"a": "b"},
    )
    assert network.inspect()["ConfigFrom"] == {"Network": "config"}
    assert config.inspect()["ConfigOnly"] is True
    with pytest.raises(Conflict) as caught:
        config.delete()
    assert caught.value.code == "network_in_use"
    network.delete()
    config.delete()


def test_update(some: NetworkController) -> None:
    """Labels are replaced; an option that is fixed is refused and nothing changes."""
    network = some.create_network("front", labels={"a": "1"})
    network.update(labels={"b": 2})
    assert network.labels == {"b": "2"}
    with pytest.raises(NotSupported):
        network.update(labels={"c": "3"}, options={labels.BRIDGE_NAME: "br-x"})
    with pytest.raises(InvalidParameter):
        network.update(options={"nope": "1"})
    assert network.labels == {"b": "2"}


def test_label_and_option_values_become_text(some: NetworkController) -> None:
    """Numbers and booleans in labels and options are kept as Docker writes them."""
    network = some.create_network("front", labels={"n": 1, "t": True}, options={labels.BRIDGE_ENABLE_ICC: False})
    assert (network.labels, network.options) == ({"n": "1", "t": "true"}, {labels.BRIDGE_ENABLE_ICC: "false"})


# endpoints


def test_addresses(some: NetworkController) -> None:
    """Lowest free first, what was given back again, what was asked for, and never twice; a full subnet is `Unavailable`."""
    network = some.create_network("front", subnets="10.7.0.0/29")
    found = [network.create_endpoint() for _ in range(3)]
    assert [str(each.addresses[0]) for each in found] == ["10.7.0.2", "10.7.0.3", "10.7.0.4"]
    assert str(network.create_endpoint("asked", addresses="10.7.0.6").addresses[0]) == "10.7.0.6"
    found[0].delete()
    assert str(network.create_endpoint().addresses[0]) == "10.7.0.2"
    network.create_endpoint()
    with pytest.raises(Unavailable) as caught:
        network.create_endpoint()
    assert caught.value.code == "addresses_exhausted"


@pytest.mark.parametrize(
    ("subnet", "usable"),
    [("10.7.0.0/30", 1), ("10.7.0.0/31", 1), ("10.7.0.0/32", 0), ("10.7.0.0/29", 5), ("fd00::/126", 2)],
)
def test_small_subnets(some: NetworkController, subnet: str, usable: int) -> None:
    """The smallest subnets give as many addresses as they have beside the gateway and what is reserved."""
    network = some.create_network("small", subnets=subnet, ipv4=":" not in subnet)
    made = 0
    with pytest.raises(Unavailable):
        while True:
            network.create_endpoint()
            made += 1
    assert made == usable


def test_the_endpoints_of_a_full_operation_give_everything_back(
    some: NetworkController, fake_kernel: FakeKernel
) -> None:
    """A dual-stack endpoint whose IPv6 address is refused keeps no IPv4 address."""
    network = some.create_network("front", subnets=["10.7.0.0/24", "fd00:7::/64"])
    before = everything(some, fake_kernel)
    with pytest.raises(LibnetworkError):
        network.create_endpoint(addresses=["fd00:8::9"])
    with pytest.raises(Conflict):
        network.create_endpoint(addresses=[network.gateways[1]])
    assert everything(some, fake_kernel) == before
    assert str(network.create_endpoint().addresses[0]) == "10.7.0.2"


def test_states(some: NetworkController) -> None:
    """A verb that an endpoint's state does not allow is a `Conflict` with a code of its own."""
    network, box, other = some.create_network("front"), some.create_sandbox("a"), some.create_sandbox("b")
    endpoint = network.create_endpoint("e")
    assert str(endpoint.state) == "created"
    with pytest.raises(Conflict, match="join it first"):
        endpoint.leave()
    endpoint.join(box)
    assert endpoint.state == "joined"
    for again in (box, other):
        with pytest.raises(Conflict) as caught:
            endpoint.join(again)
        assert caught.value.code == "already_joined"
    with pytest.raises(Conflict):
        endpoint.delete()
    endpoint.update(aliases=["x", "y"])
    assert endpoint.aliases == ("x", "y")
    endpoint.delete(force=True)
    assert str(endpoint.state) == "deleted"
    for verb in (endpoint.leave, endpoint.delete, lambda: endpoint.join(box), lambda: endpoint.update(aliases=())):
        with pytest.raises(NotFound):
            verb()


def test_ports_before_joining(some: NetworkController) -> None:
    """Ports of an endpoint that is not joined are only asked for: they collide with nobody until it joins."""
    network, box = some.create_network("front"), some.create_sandbox("a")
    one, two = (network.create_endpoint(name, ports="0:80") for name in ("one", "two"))
    assert one.publish("8080:80").host_port == two.publish("8080:80").host_port == 8080
    one.join(box)
    assert all(each.host_port for each in one.ports)
    with pytest.raises(Conflict):
        two.join(some.create_sandbox("b"))
    two.unpublish("8080:80")
    two.join(some.sandbox("b"))
    one.leave()
    assert [str(each) for each in one.ports] == ["0:80/tcp", "8080:80/tcp"]
    one.unpublish(one.publish("0:80"))  # asked for twice: the last one goes
    assert [str(each) for each in one.ports] == ["0:80/tcp", "8080:80/tcp"]


# one controller after another


def test_a_later_controller_has_the_same(fake_kernel: FakeKernel) -> None:
    """A controller over the same store and kernel has everything again and changes nothing in the kernel."""
    store = MemoryStore()
    first = controller(fake_kernel, store)
    front = first.create_network("front", ipv6=True)
    first.create_sandbox("web").connect(front, ports="0:80")
    front.create_endpoint("unjoined")
    before = everything(first, fake_kernel)
    fake_kernel.take_text()
    second = controller(fake_kernel, store)
    assert everything(second, fake_kernel) == before
    assert fake_kernel.text == ""
    assert second.network("front").create_endpoint().addresses[0] == front.subnets[0].network_address + 4


def test_two_controllers_on_one_store(fake_kernel: FakeKernel) -> None:
    """Each sees the other's work before its own next step."""
    store = MemoryStore()
    one, two = controller(fake_kernel, store), controller(fake_kernel, store)
    front = one.create_network("front")
    two.create_sandbox("web").connect(two.network("front"))
    assert str(front.create_endpoint().addresses[0]).endswith(".3")
    with pytest.raises(Conflict):
        one.create_sandbox("web")
    with pytest.raises(Conflict):
        one.network("front").delete()


# plans and batches


def test_a_plan_is_what_is_done(
    some: NetworkController, fake_kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lines of a plan are the lines that the same calls print when they are made."""
    from tests.unit.lifecycle.fake import stable_ids

    def work() -> None:
        front = some.create_network("front", ipv6=True)
        some.create_sandbox("web").connect(front, ports="8080:80")

    stable_ids(monkeypatch)
    with some.plan() as plan:
        work()
    assert not fake_kernel.state()
    stable_ids(monkeypatch)
    with some.batch():
        work()
    assert plan.text.replace("# plan", "# batch").splitlines() == fake_kernel.text.splitlines()


def test_a_plan_takes_nothing(some: NetworkController, fake_kernel: FakeKernel) -> None:
    """After a plan names, subnets, addresses and ports are as free as before, also after one that failed."""
    front = some.create_network("front", subnets="10.7.0.0/24")
    before = everything(some, fake_kernel)
    for fail in (False, True):
        with pytest.raises(Conflict) if fail else some.plan():
            if fail:
                with some.plan():
                    some.create_sandbox("web").connect(front, ports="8080:80")
                    some.create_network("front")
            else:
                some.create_sandbox("web").connect(front, ports="8080:80")
                some.create_network("back")
                front.create_endpoint()
        assert everything(some, fake_kernel) == before
    assert str(some.create_sandbox("web").connect(front, ports="8080:80").addresses[0]) == "10.7.0.2"


def test_a_bridge_deleted_and_made_in_one_batch(some: NetworkController, fake_kernel: FakeKernel) -> None:
    """A bridge that goes with its network in the same batch is not taken for somebody else's, nor its subnet for one in use."""
    old = some.create_network("old", options={labels.BRIDGE_NAME: "br7"})
    with some.batch():
        old.delete()
        new = some.create_network("new", options={labels.BRIDGE_NAME: "br7"})
        some.create_sandbox("a").connect(new)
    assert new.subnets == old.subnets
    assert not some.reconcile(repair=False)
    new.delete(force=True)
    assert not any(isinstance(word, Bridge) for word in fake_kernel.state())


def test_a_caught_error_in_a_batch(some: NetworkController, fake_kernel: FakeKernel) -> None:
    """A refused step inside a batch takes back its own part only."""
    with some.batch():
        front = some.create_network("front", subnets="10.7.0.0/24")
        for _ in range(3):
            with pytest.raises(Forbidden):
                some.create_network("two", subnets=["10.8.0.0/24", "10.9.0.0/24"])
            with pytest.raises(Conflict):
                some.create_sandbox("web").connect(front, addresses="10.7.0.1")
            some.sandbox("web").delete()
        endpoint = some.create_sandbox("web").connect(front)
    assert str(endpoint.addresses[0]) == "10.7.0.2"
    assert not some.reconcile(repair=False)


# the package


def test_import_is_light() -> None:
    """``import libnetwork_py`` loads neither pyroute2 nor a driver, nor does looking at its public names."""
    program = (
        "import sys, libnetwork_py; libnetwork_py.NetworkController, libnetwork_py.Sandbox, libnetwork_py.errors\n"
        "heavy = ('pyroute2', 'libnetwork_py.drivers.bridge', 'libnetwork_py.drivers.null', 'sqlite3')\n"
        "print([name for name in sys.modules if name.startswith(heavy)])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout == "[]\n"


# finding


def test_the_beginning_of_an_endpoints_id(some: NetworkController) -> None:
    """An endpoint is found by the beginning of its id that only it has; one that several have, or none, says which of the two it is."""
    network = some.create_network("front")
    made = [network.create_endpoint(f"e{number}") for number in range(17)]  # of 16 first digits one comes twice
    digits = [each.id[0] for each in made]
    assert some.endpoint(made[0].id) == made[0]
    with pytest.raises(InvalidParameter, match="is ambiguous") as caught:
        some.endpoint(next(digit for digit in digits if digits.count(digit) > 1))
    assert caught.value.code == "ambiguous_id"
    with pytest.raises(InvalidParameter, match="empty"):
        some.endpoint("")
    with pytest.raises(NotFound, match="'nope' not found"):
        some.endpoint("nope")
