"""The driver contract as tests: whoever writes a network driver subclasses `DriverContract` and gives it one fixture.

Division of labour: what must hold of *every* driver is here, seen through a controller; what one driver promises beyond it is tested beside
that driver. A driver that only describes is tested in memory, without root. One that acts needs the kernel that it acts on, and overrides
`kernel` too.

.. code-block:: python

    class TestMyDriver(DriverContract):
        @pytest.fixture
        def driver(self) -> NetworkDriver:
            return MyDriver()

May import: controller, drivers, kernel.api, store, testing.fake_kernel, errors, pytest.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import pytest

from ..controller import NetworkController
from ..desired import Description, Word
from ..drivers.acting import ActingDriver
from ..drivers.api import API_VERSION, Capability, NetworkDriver, Option
from ..endpoint import Endpoint
from ..errors import LibnetworkError, Unavailable
from ..facts import NamespaceFacts
from ..kernel.api import Kernel
from ..network import Network
from ..sandbox import Sandbox
from ..store.api import Write
from ..store.codec import decode, encode, key_of
from ..store.memory import MemoryStore
from .fake_kernel import FakeKernel

NAME = "under-test"
IO_EVENTS = ("open", "socket.", "subprocess.", "os.")


class Lab:
    """A controller that has the driver, its store and its kernel."""

    def __init__(self, driver: NetworkDriver, kernel: Kernel, options: Mapping[str, str]) -> None:
        self.driver, self.kernel, self.options = driver, kernel, options
        self.store = MemoryStore()
        self.controller = self.again()

    def again(self) -> NetworkController:
        """Return another controller on the same store and kernel, as after a restart."""
        return NetworkController.over(self.store, self.kernel, config={"drivers": {NAME: self.driver}})

    def network(self, name: str = "front", **options: Any) -> Network:
        """Create a network of the driver."""
        return self.controller.create_network(name, NAME, options=self.options, **options)

    def sandbox(self, name: str = "web") -> Sandbox:
        """Create a sandbox that the driver's networks can be joined to."""
        if self.driver.capability.host_only:
            return self.controller.create_sandbox(name, netns="host")
        return self.controller.create_sandbox(name)

    def connected(self, name: str = "web", network: Network | None = None) -> Endpoint:
        """Create a sandbox on a network."""
        return self.sandbox(name).connect(network or self.network())

    def seen(self) -> tuple[object, ...]:
        """What is on the host and in the records, for comparison."""
        host = self.kernel.facts().host
        return (
            _stable(host),
            sorted(each.id for each in self.controller.networks()),
            sorted(each.id for each in self.controller.sandboxes()),
        )

    def agrees(self) -> bool:
        """Whether records and kernel say the same."""
        report = self.controller.reconcile(repair=False)
        assert not report, str(report)
        return True

    def descriptions(self) -> list[Description]:
        """What the driver says of everything there is."""
        state, describer = self.controller._engine.state, self.controller._engine.describer  # noqa: SLF001 (one of our own)
        return [*map(describer.network, state.networks), *map(describer.sandbox, state.sandboxes)]


class DriverContract:
    """Tests of `NetworkDriver`; a subclass has a fixture ``driver``: a new one for each test.

    Attributes:
        options: Options that a network of it needs.
        sandboxes: How many sandboxes its networks take at least; 1 for a driver whose endpoints are all the same sandbox's.
    """

    options: ClassVar[Mapping[str, str]] = {}
    sandboxes: ClassVar[int] = 2

    @pytest.fixture
    def kernel(self) -> Kernel:
        """The kernel that it is tested on; in memory, unless overridden."""
        return FakeKernel(host_links=["ens3"], host_addresses={"ens3": "192.0.2.10/24"})

    @pytest.fixture
    def lab(self, driver: NetworkDriver, kernel: Kernel) -> Iterator[Lab]:
        """A controller that has the driver; what is left at the end is removed."""
        lab = Lab(driver, kernel, self.options)
        yield lab
        for sandbox in lab.controller.sandboxes():
            sandbox.delete(force=True)
        for network in lab.controller.networks():
            network.delete(force=True)

    # What it is

    def test_it_keeps_the_contract(self, driver: NetworkDriver) -> None:
        """It has the contract's methods, a capability, and states no newer version of the contract than this library has."""
        assert isinstance(driver, NetworkDriver)
        assert isinstance(driver.capability, Capability)
        assert int(getattr(driver, "api_version", API_VERSION)) <= API_VERSION

    def test_its_options_are_documented(self, driver: NetworkDriver) -> None:
        """Each option has a key of its own, a sentence, and a default among its choices."""
        options = list(driver.options)
        assert {type(each) for each in options} <= {Option}
        assert all(each.doc.strip() for each in options)
        assert len({(each.where, each.key) for each in options}) == len(options)
        assert all(each.default in each.choices for each in options if each.choices and each.default)

    # What it says

    def test_it_describes_the_same_each_time(self, lab: Lab) -> None:
        """Asked twice, it says the same, in words that can be told apart by their keys."""
        lab.connected()
        first, second = lab.descriptions(), lab.descriptions()
        assert first == second
        for words in first:
            assert all(isinstance(each, Word) for each in words)
            assert len({each.key for each in words}) == len(set(words))

    def test_describing_is_no_io(self, lab: Lab) -> None:
        """It opens no file, no socket and no program while it describes."""
        lab.connected()
        lab.descriptions()  # what it imports it has imported
        assert _io(lab.descriptions) == []

    def test_its_records_are_stored(self, lab: Lab) -> None:
        """What it completes in a record is there after the record was written and read."""
        lab.connected()
        for record in lab.controller._engine.state.records():  # noqa: SLF001 (one of our own)
            assert decode(key_of(record), encode(record)) == record

    # What comes of it

    def test_a_network_comes_and_goes(self, lab: Lab) -> None:
        """A network that is deleted leaves the host as it was."""
        before = lab.seen()
        network = lab.network()
        assert lab.agrees()
        network.delete()
        assert lab.seen() == before

    def test_an_endpoint_comes_and_goes(self, lab: Lab) -> None:
        """A sandbox that is connected, disconnected and deleted leaves the host as it was with the network alone."""
        network = lab.network()
        before = lab.seen()
        endpoint = lab.connected(network=network)
        assert lab.agrees()
        endpoint.leave()
        assert lab.agrees()
        endpoint.delete()
        lab.controller.sandbox("web").delete()
        assert lab.seen() == before

    def test_several_endpoints(self, lab: Lab) -> None:
        """Several sandboxes on a network do not get into each other's way, and each may leave alone."""
        network = lab.network()
        endpoints = [lab.connected(f"web{number}", network) for number in range(self.sandboxes)]
        assert lab.agrees()
        endpoints[0].delete(force=True)
        assert lab.agrees()

    def test_two_networks(self, lab: Lab) -> None:
        """Two networks of it do not get into each other's way, unless it allows one alone."""
        lab.network("front")
        if lab.driver.capability.singleton:
            with pytest.raises(LibnetworkError):
                lab.network("back")
        else:
            lab.network("back").delete()
        assert lab.agrees()

    def test_all_in_one_batch(self, lab: Lab) -> None:
        """Network, sandbox and endpoint may come in one batch and go in one."""
        before = lab.seen()
        with lab.controller.batch():
            lab.connected()
        assert lab.agrees()
        with lab.controller.batch():
            lab.controller.sandbox("web").delete()
            lab.controller.network("front").delete()
        assert lab.seen() == before

    def test_a_plan_touches_nothing(self, lab: Lab) -> None:
        """A plan of everything leaves the host as it was."""
        before = lab.seen()
        with lab.controller.plan():
            lab.connected()
        assert lab.seen() == before

    def test_it_is_the_same_after_a_restart(self, lab: Lab) -> None:
        """Another controller on the same records finds everything as described, and can remove it."""
        before = lab.seen()
        lab.connected()
        lab.controller = lab.again()
        assert lab.agrees()
        lab.controller.sandbox("web").delete()
        lab.controller.network("front").delete()
        assert lab.seen() == before

    def test_what_fails_is_undone(self, lab: Lab) -> None:
        """Where the operation fails at its very end, host and records are as they were, and it succeeds the next time."""
        before = lab.seen()
        lab.store.commit = _refusing(lab.store.commit)  # type: ignore[method-assign]  # the intent is written, the outcome is not
        with pytest.raises(Unavailable), lab.controller.batch():
            lab.connected()
        assert lab.seen() == before
        lab.connected()
        assert lab.agrees()

    def test_the_kernel_refuses_any_step(self, lab: Lab, kernel: Kernel) -> None:
        """Whichever step of a connection the kernel in memory refuses, nothing of it remains."""
        if not isinstance(kernel, FakeKernel):
            pytest.skip("only the kernel in memory refuses when it is told to")
        network, sandbox = lab.network(), lab.sandbox()
        before, step = lab.seen(), 0
        while True:
            step += 1
            kernel.fail_at(step)
            try:
                endpoint = sandbox.connect(network)
            except Unavailable:
                assert lab.seen() == before
            else:
                kernel.heal()
                endpoint.delete(force=True)
                return

    def test_drift_is_repaired(self, lab: Lab, kernel: Kernel) -> None:
        """Whatever somebody removes of what it described is found missing and made again."""
        if not isinstance(kernel, FakeKernel):
            pytest.skip("only in the kernel in memory is anything removed by somebody else")
        lab.connected()
        described = dict.fromkeys(word for words in lab.descriptions() for word in words)
        for word in described:
            if word in kernel.state() and word.key[0] != "sysctl":
                kernel.disturb(remove=[word])
                assert lab.controller.reconcile(repair=True)
                assert lab.agrees()

    def test_it_acts_again_where_nobody_knows(self, lab: Lab) -> None:
        """A driver that acts takes a departure for what is gone already."""
        if not isinstance(lab.driver, ActingDriver):
            pytest.skip("it does not act")
        endpoint = lab.connected()
        state = lab.controller._engine.state  # noqa: SLF001 (one of our own)
        network, record = state.networks[endpoint.network_id], state.endpoints[endpoint.id]
        endpoint.delete(force=True)
        lab.driver.revoke_external(network, record)
        lab.driver.leave(network, record)
        lab.driver.delete_endpoint(network, record)
        lab.controller.network(network.id).delete()
        lab.driver.delete_network(network)


def _stable(host: NamespaceFacts) -> tuple[object, ...]:
    """Interfaces without their numbers, addresses without those that the kernel makes by itself."""
    addresses = {each for each in host.addresses if not each[1].is_link_local}
    routes = {each for each in host.routes if not each.destination.is_link_local and not each.connected}
    return {(name, link.kind, link.master) for name, link in host.links.items()}, addresses, routes


def _refusing(commit: Callable[..., int]) -> Callable[..., int]:
    """Return a commit that refuses the first outcome: what writes an endpoint's record."""
    left = [True]

    def refuse(writes: Sequence[Write], *events: Any) -> int:
        if left and any(each.key.startswith("endpoint/") for each in writes):
            left.clear()
            raise Unavailable("no space left on the device", code="store_full")
        return commit(writes, *events)

    return refuse


_watching: list[list[str]] = []


def _hook(event: str, _args: tuple[Any, ...]) -> None:
    for each in _watching:
        if event.startswith(IO_EVENTS):
            each.append(event)


_hooked = False


def _io(function: Callable[[], object]) -> list[str]:
    """Return the audit events of I/O while a function runs; the interpreter's hook stays, as it cannot be taken out."""
    global _hooked  # noqa: PLW0603 (an interpreter has one hook)
    if not _hooked:
        sys.addaudithook(_hook)
        _hooked = True
    found: list[str] = []
    _watching.append(found)
    try:
        function()
    finally:
        _watching.remove(found)
    return found
