"""Many things at once, all or nothing; and plans, which touch nothing."""

# ruff: noqa: PT012 (an error that leaves a whole block is what is tested)

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from libnetwork_py import Conflict, LibnetworkError, NetworkController, NotFound, labels
from tests.root import machine
from tests.root.api_lab import difference, picture, pings

# batches


def test_a_batch_is_made_together(controller: NetworkController, host: str) -> None:
    """What is asked for in a batch is in the kernel when it ends and not before; names and addresses are known at once."""
    before = machine.links(host)
    with controller.batch():
        front = controller.create_network("front")
        boxes = [controller.create_sandbox(f"batch{number}") for number in range(10)]
        addresses = [box.connect(front).addresses[0] for box in boxes]
        assert machine.links(host) == before
        assert not any(Path(box.key).exists() for box in boxes)
        assert [each.name for each in controller.networks()] == ["front"]
    assert len({*addresses}) == 10
    assert all(pings(boxes[0], address) for address in addresses)


def test_a_batch_that_fails_in_validation(controller: NetworkController, host: str) -> None:
    """Where one step is refused and the error leaves the batch, nothing of it remains."""
    controller.create_network("front", subnets="10.7.0.0/24")
    before = picture(controller, host, "batch-v")
    with pytest.raises(Conflict), controller.batch():
        controller.create_network("back")
        controller.create_sandbox("batch-v").connect(controller.network("front"), ports="8080:80")
        controller.create_network("front")
    assert not difference(before, picture(controller, host, "batch-v"))
    assert str(controller.network("front").create_endpoint().addresses[0]) == "10.7.0.2"


def test_a_batch_that_fails_in_the_kernel(controller: NetworkController, host: str) -> None:
    """Where the kernel refuses one step at the end, everything that was made before it is undone."""
    front = controller.create_network("front", subnets="10.7.0.0/24")
    one = controller.create_sandbox("batch-k-one")
    one.connect(front)
    before = picture(controller, host, "batch-k"), machine.ip("addr", namespace=one.key)
    with pytest.raises(LibnetworkError, match="nope") as caught, controller.batch():
        back = controller.create_network("back", ipv6=True)
        one.connect(back)
        for number in range(5):
            controller.create_sandbox(f"batch-k-{number}").connect(front, ports=f"{8080 + number}:80")
        controller.create_sandbox("batch-k-bad", sysctls={"net.ipv4.nope": "1"}).connect(back)
    assert caught.value.code == "gone"
    assert not difference(before[0], picture(controller, host, "batch-k"))
    assert machine.ip("addr", namespace=one.key) == before[1]
    assert not controller.reconcile(repair=False)
    assert one.connect(front, name="after", ports="8080:80").state == "joined"


def test_an_error_caught_in_a_batch(controller: NetworkController) -> None:
    """A step whose error is caught inside takes nothing with it: the rest is made."""
    with controller.batch():
        front = controller.create_network("front", subnets="10.7.0.0/29")
        box = controller.create_sandbox("caught")
        with pytest.raises(Conflict):
            controller.create_network("front")
        with pytest.raises(LibnetworkError):
            box.connect(front, addresses="10.9.9.9")
        with pytest.raises(Conflict):
            box.connect(front, ports=["8080:80", "8080:81"])
        endpoint = box.connect(front, ports="8080:80")
    assert str(endpoint.addresses[0]) == "10.7.0.2"
    assert machine.addresses("eth0", box.key) == {"10.7.0.2/29"}
    assert [str(each) for each in endpoint.ports] == ["8080:80/tcp"]
    assert not controller.reconcile(repair=False)


def test_an_exception_of_the_callers_own(controller: NetworkController, host: str) -> None:
    """Any exception that leaves the body undoes the batch, and arrives as it was."""
    before = picture(controller, host, "own-error")
    with pytest.raises(ZeroDivisionError), controller.batch():
        controller.create_sandbox("own-error").connect(controller.create_network("front"))
        _ = 1 // 0
    assert not difference(before, picture(controller, host, "own-error"))


def test_make_and_unmake_in_a_batch(controller: NetworkController, host: str) -> None:
    """What is made and deleted in one batch never was; what is deleted and made again is there, anew."""
    front = controller.create_network("front")
    box = controller.create_sandbox("again")
    box.connect(front)
    before = picture(controller, host)
    with controller.batch():
        other = controller.create_sandbox("never")
        other.connect(front)
        other.delete()
    assert not difference(before, picture(controller, host))
    with controller.batch():
        box.delete()
        box = controller.create_sandbox("again")
        box.connect(front)
    assert pings(box, front.gateways[0])
    assert not controller.reconcile(repair=False)


def test_deleting_in_a_batch(controller: NetworkController, host: str) -> None:
    """Networks and sandboxes deleted in one batch are gone together."""
    networks = [controller.create_network(f"n{number}") for number in range(3)]
    boxes = [controller.create_sandbox(f"gone{number}") for number in range(5)]
    for box in boxes:
        for network in networks:
            box.connect(network)
    with controller.batch():
        for box in boxes:
            box.delete()
        for network in networks:
            network.delete()
    assert not any(Path(box.key).exists() for box in boxes)
    machine.wait_until(lambda: set(machine.links(host)) == {"lo"}, "the links to go")
    assert not machine.nft(host)


def test_what_goes_beside_what_comes(controller: NetworkController, host: str) -> None:
    """A batch that only removes from the host's packet filter, and from one sandbox's, while another sandbox gets its first table."""
    front, back = controller.create_network("front"), controller.create_network("back")
    leaving, coming = controller.create_sandbox("leaving"), controller.create_sandbox("coming")
    endpoint = leaving.connect(front, ports="8080:80")
    with controller.batch():
        coming.connect(front)
        endpoint.unpublish("8080:80")
        back.delete()
    assert not controller.reconcile(repair=False)
    assert not any("8080" in str(each) for each in machine.nft(host))
    leaving.disconnect(front)
    leaving.connect(front)
    other = controller.create_sandbox("other")
    with controller.batch():
        other.connect(front)
        leaving.disconnect(front)
    assert not controller.reconcile(repair=False)
    assert not machine.nft(leaving.key)
    assert leaving.connect(front).state == "joined"
    assert pings(leaving, other.endpoints()[0].addresses[0])


def test_batches_do_not_nest(controller: NetworkController) -> None:
    """A batch in a batch is refused at once; the outer one goes on. So is work inside a sandbox that is not made yet."""
    with controller.batch():
        box = controller.create_sandbox("nested")
        with pytest.raises(Conflict) as caught, controller.batch():
            pass
        assert caught.value.code == "nested_batch"
        with pytest.raises(Conflict), controller.plan():
            pass
        with pytest.raises(Conflict):
            controller.reconcile()
        with pytest.raises(Conflict) as early:
            box.run(["true"])
        assert early.value.code == "not_made_yet"
    assert box.run(["true"], timeout=120).returncode == 0


def test_another_thread_waits_for_a_batch(controller: NetworkController) -> None:
    """A call of another thread waits until the batch has ended, and is no part of it."""
    made: list[str] = []
    other = threading.Thread(target=lambda: made.append(controller.create_network("other").name))
    with pytest.raises(ZeroDivisionError), controller.batch():
        controller.create_network("front")
        other.start()
        _ = 1 // 0
    other.join(120)
    assert made == ["other"] == [each.name for each in controller.networks()]


# plans


def test_a_plan_touches_nothing(controller: NetworkController, host: str) -> None:
    """A plan changes neither kernel nor records, and takes no name, address, subnet or port."""
    front = controller.create_network("front", subnets="10.7.0.0/24")
    before = picture(controller, host, "planned")
    with controller.plan() as plan:
        back = controller.create_network("back")
        box = controller.create_sandbox("planned")
        endpoint = box.connect(front, ports="8080:80")
        box.connect(back)
        assert str(endpoint.addresses[0]) == "10.7.0.2"
    assert not difference(before, picture(controller, host, "planned"))
    assert plan
    for stranger in (box.interfaces, back.inspect, endpoint.leave):
        with pytest.raises(NotFound):
            stranger()
    box = controller.create_sandbox("planned")
    assert str(box.connect(front, ports="8080:80").addresses[0]) == "10.7.0.2"
    assert controller.create_network("back").subnets == back.subnets


def test_the_text_of_a_plan(controller: NetworkController) -> None:
    """A plan's text are lines of ip, sysctl and nft, in order: namespace, bridge, veth pair, addresses, route, elements."""
    with controller.plan() as plan:
        front = controller.create_network("front", subnets="10.7.0.0/24", options={labels.BRIDGE_NAME: "mybr0"})
        controller.create_sandbox("texted").connect(front, ports="8080:80")
    lines = plan.text.splitlines()
    wanted = [
        "ip netns add texted", "ip link add mybr0 ", "ip link add veth", "ip addr add 10.7.0.1/24 ",
        "ip -n texted addr add 10.7.0.2/24 ", "ip -n texted route add default via 10.7.0.1 dev eth0",
    ]  # fmt: skip
    places = [next(place for place, line in enumerate(lines) if line.startswith(start)) for start in wanted]
    assert places == sorted(places)
    assert any("add element" in line and "8080" in line and "10.7.0.2" in line for line in lines)
    assert str(plan) == plan.text


def test_the_text_of_a_plan_can_be_run(controller: NetworkController, host: str) -> None:
    """The lines of a plan, run by a shell with `ip`, `nft` and `sysctl`, make a sandbox that reaches its gateway."""
    with controller.plan() as plan:
        front = controller.create_network("front", subnets="10.7.0.0/24")
        controller.create_sandbox("by-hand").connect(front)
    try:
        machine.run_in(host, ["sh", "-e"], input=plan.text)
        machine.run("ip", "netns", "exec", "by-hand", "ping", "-c", "1", "-W", "5", "10.7.0.1")
    finally:
        machine.drop_namespace("/run/netns/by-hand")


def test_effects_on_others(controller: NetworkController) -> None:
    """A plan says which sandbox would go another way out, and to where."""
    front, alpha = controller.create_network("front"), controller.create_network("alpha")
    box = controller.create_sandbox("affected")
    box.connect(front)
    with controller.plan() as plan:
        box.connect(alpha)
    (effect,) = plan.effects
    assert "affected" in effect
    assert f"{front.gateways[0]} (eth0) to {alpha.gateways[0]} (eth1)" in effect
    assert f"# {effect}" in plan.text.splitlines()
    with controller.plan() as leaving:
        box.disconnect(front)
    assert leaving.effects == ("sandbox affected: its IPv4 gateway goes",)


def test_a_plan_that_is_refused(controller: NetworkController, host: str) -> None:
    """A call that would fail fails in a plan too; the controller is as before."""
    controller.create_network("front")
    before = picture(controller, host)
    with pytest.raises(Conflict), controller.plan():
        controller.create_network("back")
        controller.create_network("front")
    assert not difference(before, picture(controller, host))
    assert controller.create_network("back").name == "back"


def test_an_empty_plan(controller: NetworkController) -> None:
    """A plan of nothing, or of what changes no kernel object, is empty and false."""
    box = controller.create_sandbox("unchanged")
    with controller.plan() as plan:
        box.rename("other")
    assert not plan
    assert plan.text == ""
    assert box.name == "unchanged"
