"""Links changed in place on the real kernel: the interface stays the same one, and so does everything on it."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Interface
from typing import Any

import pytest
from attrs import evolve

from libnetwork_py.desired import HOST, Address, Bridge, Description, Veth, Word, between
from libnetwork_py.errors import LibnetworkError
from libnetwork_py.kernel import transport
from libnetwork_py.kernel.linux import LinuxKernel
from tests.root import machine
from tests.root.kernel_lab import BRIDGE, NETWORK, kernel, making, names, path, sandbox

OTHER = Bridge(HOST, "br1", BRIDGE.mac, group=77)


@pytest.fixture
def ours(host: str) -> Iterator[LinuxKernel]:
    """A kernel over a host of its own."""
    with kernel(host) as opened:
        yield opened


@pytest.fixture
def where() -> Iterator[str]:
    """A path for a sandbox, taken away afterwards."""
    where = path()
    with names(where):
        yield where


def altered(words: Description, **shape: Any) -> Description:
    """The description with its pairs, and for the MTU its bridge, in another shape."""

    def other(word: Word) -> Word:
        if isinstance(word, Veth):
            return evolve(word, **shape)
        return evolve(word, mtu=shape["mtu"]) if isinstance(word, Bridge) and "mtu" in shape else word

    return tuple(other(word) for word in words)


def looks(host: str, where: str) -> tuple[object, ...]:
    """Index, MTU, bridge, isolated and hairpin of the outer end; MTU and addresses of the inner one; MTU of the bridge."""
    links, inner = machine.links(host), machine.links(where)["eth0"]
    outer = links["veth1"]
    port = outer["linkinfo"].get("info_slave_data", {})
    flags = (port.get("isolated"), port.get("hairpin"))
    return (
        outer["ifindex"], outer["mtu"], outer.get("master"), *flags,
        inner["ifindex"], inner["mtu"], machine.addresses("eth0", where), machine.routes(where), links["br0"]["mtu"],
    )  # fmt: skip


def test_a_link_stays_the_same_one(host: str, ours: LinuxKernel, where: str) -> None:
    """Another MTU, bridge and other port flags are set on the link that is there, and set back by the reverse."""
    one = (*NETWORK, OTHER, *sandbox(1, where))
    ours.apply(making(*one))
    before = looks(host, where)
    other = altered(one, mtu=1300, isolated=True, hairpin=True, master="br1")
    change = between(one, other)
    ours.apply(change)
    after = looks(host, where)
    assert after == (before[0], 1300, "br1", True, True, before[5], 1300, before[7], before[8], 1300)
    ours.apply(change.reverse)
    assert looks(host, where) == before


def test_no_mtu_after_one_is_1500(host: str, ours: LinuxKernel, where: str) -> None:
    """A link that is to have no MTU of its own any more has the kernel's, at both ends."""
    one = (*NETWORK, *sandbox(1, where))
    ours.apply(making(*one))
    ours.apply(between(one, altered(one, mtu=0)))
    after = looks(host, where)
    assert (after[1], after[6], after[9]) == (1500, 1500, 1500)


def test_a_refused_shape_leaves_the_old_one(host: str, ours: LinuxKernel, where: str) -> None:
    """Where the kernel refuses the new shape of one link, all have their old one."""
    one = (*NETWORK, *sandbox(1, where))
    ours.apply(making(*one))
    before = looks(host, where)
    for other in (altered(one, mtu=70_000), altered(one, isolated=True, master="br9")):
        with pytest.raises(LibnetworkError):
            ours.apply(between(one, other))
        assert looks(host, where) == before


def test_what_fails_afterwards_sets_back(
    host: str, ours: LinuxKernel, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At whatever step of the change it fails, the links have their old shape again."""
    one = (*NETWORK, *sandbox(1, where))
    ours.apply(making(*one))
    before = looks(host, where)
    change = between(one, altered(one, mtu=1300, isolated=True))
    steps: list[str] = []
    monkeypatch.setattr(transport, "checkpoint", steps.append)
    ours.apply(change)
    count = len(steps)
    ours.apply(change.reverse)
    assert count > 1
    for number in range(count):
        left = [number]

        def fail(_: str, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] == -1:
                raise RuntimeError("injected")

        monkeypatch.setattr(transport, "checkpoint", fail)
        with pytest.raises(RuntimeError):
            ours.apply(change)
        monkeypatch.undo()
        assert looks(host, where) == before, f"step {number}"


def test_an_interrupted_change_is_enforced_either_way(host: str, ours: LinuxKernel, where: str) -> None:
    """From a mixed state, as a killed process leaves it, enforcing leads to the new shape or back to the old one."""
    one = altered((*NETWORK, *sandbox(1, where)), mtu=0)
    ours.apply(making(*one))
    before = looks(host, where)
    change = between(one, altered(one, mtu=9000, isolated=True))
    machine.run_in(where, ["ip", "link", "set", "eth0", "mtu", "9000"])
    ours.enforce(change)
    assert looks(host, where)[1:5] == (9000, "br0", True, False)
    machine.run_in(host, ["ip", "link", "set", "veth1", "type", "bridge_slave", "isolated", "off"])
    ours.enforce(change.reverse)
    assert looks(host, where) == before


def test_an_address_beside_it_changes_too(host: str, ours: LinuxKernel, where: str) -> None:
    """A link may be altered in a change that takes and gives other things on it."""
    one = (*NETWORK, *sandbox(1, where))
    ours.apply(making(*one))
    more = Address(HOST, "br0", IPv4Interface("10.19.0.1/16"))
    ours.apply(between(one, (*altered(one, isolated=True), more)))
    assert machine.addresses("br0", host) == {"10.9.0.1/16", "10.19.0.1/16"}
    assert looks(host, where)[3] is True
