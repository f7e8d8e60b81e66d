"""A model of the Container Network Model, walked at random over the public API.

Division of labour: `Walk` has the rules and the invariants; a subclass says what store and kernel it walks on, how its kernel is made to
fail, and what to compare. Several controllers are open on one store, as several processes would have them: each step is
taken by any of them, and they must agree.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_network
from itertools import combinations
from typing import Any

from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from libnetwork_py import Endpoint, Network, NetworkController, Sandbox
from libnetwork_py.errors import Conflict, InvalidParameter, LibnetworkError, NotFound, Unavailable

ANY = st.integers(0, 11)
"""Which of the objects that there are."""
NETWORKS = st.sampled_from(["alpha", "beta", "gamma"])
SANDBOXES = st.sampled_from(["box", "crate", "tin"])
ENDPOINTS = st.sampled_from(["one", "two"])
SUBNETS = st.sampled_from(
    [(), ("10.1.0.0/24",), ("10.1.0.128/25",), ("10.2.0.0/29",), ("10.3.0.0/24", "fd00:3::/64"), ("fd00:4::/64",)]
)
ADDRESSES = st.sampled_from(
    [(), ("10.1.0.9",), ("10.2.0.1",), ("10.2.0.2",), ("fd00:3::9",), ("10.3.0.9", "10.3.0.10")]
)
PORTS = st.sampled_from(
    [(), ("8080:80",), ("8080:81/udp",), ("127.0.0.1:8080:80",), ("8080-8082:80",), ("8080-8081:90-91",)]
)


class GiveUp(Exception):
    """The caller's own error, in the middle of a batch."""


class Walk(RuleBasedStateMachine):
    """Networks, endpoints and sandboxes made and unmade in any order."""

    prefix = ""
    """What the names of sandboxes begin with."""

    def __init__(self) -> None:
        super().__init__()
        self.controllers = [self.opened()]
        self.turn = 0

    # what a subclass says

    @abstractmethod
    def opened(self) -> NetworkController:
        """Open one more controller on the same store and kernel."""

    @abstractmethod
    def failing(self, step: int) -> Any:
        """Return a context manager that makes the kernel fail once, at its ``step``-th action."""

    @abstractmethod
    def machine(self) -> Any:
        """Return what is in the kernel, comparable."""

    # the world

    @property
    def controller(self) -> NetworkController:
        """The controller whose turn it is."""
        return self.controllers[self.turn % len(self.controllers)]

    def told(self, controller: NetworkController) -> Any:
        """Return everything that a controller says of its objects."""
        networks = [
            (
                each.id,
                each.name,
                each.subnets,
                each.gateways,
                each.internal,
                [_endpoint(one) for one in each.endpoints()],
            )
            for each in controller.networks()
        ]
        sandboxes = [
            (each.id, each.name, each.key, each.gateway(4), each.gateway(6), [one.id for one in each.endpoints()])
            for each in controller.sandboxes()
        ]
        return networks, sandboxes

    def world(self) -> Any:
        """Return records and kernel, comparable."""
        return self.told(self.controller), self.machine()

    @contextmanager
    def trying(self, *expected: type[LibnetworkError]) -> Iterator[None]:
        """Allow the library to refuse, for one of these reasons, and check that nothing has changed then."""
        before = self.world()
        try:
            yield
        except expected as error:
            note(f"refused: {error}")
            assert self.world() == before
            self._check_reason(error)

    def _check_reason(self, error: LibnetworkError) -> None:
        """What is said to be taken is taken: whatever was given up has been given back."""
        endpoints = [each for network in self.controller.networks() for each in network.endpoints()]
        if error.code == "port_taken":
            counts = [(each, len(_at(each, error.data["port"]))) for each in endpoints]
            assert any(count and (each.sandbox_id or count > 1) for each, count in counts), "or it would take one twice"
        elif error.code == "address_in_use":
            mine = {str(address) for each in endpoints for address in each.addresses}
            gateways = {str(address) for network in self.controller.networks() for address in network.gateways}
            assert error.data["address"] in mine | gateways
        elif error.code == "addresses_exhausted":
            assert len(endpoints) >= 5, "the smallest subnet has room for five"

    # rules

    @initialize(ipv6=st.booleans(), ports=PORTS)
    def begin(self, ipv6: bool, ports: tuple[str, ...]) -> None:
        """A walk begins with a sandbox on two networks."""
        sandbox = self.controller.create_sandbox(f"{self.prefix}box")
        for name in ("alpha", "beta"):
            network = self.controller.create_network(name, ipv6=ipv6 and name == "alpha")
            sandbox.connect(network, ports=ports if name == "alpha" else ())

    @rule(turn=st.integers(0, 5))
    def somebody_elses_turn(self, turn: int) -> None:
        """Let any of the controllers take the next steps."""
        self.turn = turn

    @rule(name=NETWORKS, subnets=SUBNETS, ipv6=st.booleans(), internal=st.booleans())
    def create_network(self, name: str, subnets: tuple[str, ...], ipv6: bool, internal: bool) -> None:
        """A network is made unless its name or a subnet is taken."""
        taken = self.has_network(name) or any(
            ip_network(new).overlaps(old)
            for new in subnets
            for each in self.controller.networks()
            for old in each.subnets
            if old.version == ip_network(new).version
        )
        ipv4 = not subnets or any(ip_network(each).version == 4 for each in subnets)
        with self.trying(Conflict):
            self.controller.create_network(name, subnets=subnets, ipv4=ipv4, ipv6=ipv6, internal=internal)
            assert not taken

    @rule(name=SANDBOXES)
    def create_sandbox(self, name: str) -> None:
        """A sandbox is made unless its name is taken."""
        taken = self.has_sandbox(name)
        with self.trying(Conflict):
            self.controller.create_sandbox(self.prefix + name)
            assert not taken

    @precondition(lambda self: self.has_networks)
    @rule(network=ANY, name=ENDPOINTS, addresses=ADDRESSES, ports=PORTS)
    def create_endpoint(self, network: int, name: str, addresses: tuple[str, ...], ports: tuple[str, ...]) -> None:
        """An endpoint is made unless its name or an address is taken, or does not fit."""
        with self.trying(Conflict, InvalidParameter, Unavailable):
            found = self.a_network(network)
            taken = name in [each.name for each in found.endpoints()]
            made = found.create_endpoint(name, addresses=addresses, ports=ports)
            assert not taken
            assert {*addresses} <= {*map(str, made.addresses)}

    @precondition(lambda self: self.has_endpoints and self.has_sandboxes)
    @rule(endpoint=ANY, sandbox=ANY, priority=st.integers(0, 2))
    def join(self, endpoint: int, sandbox: int, priority: int) -> None:
        """An endpoint that is in no sandbox joins one."""
        with self.trying(Conflict, Unavailable):
            found = self.an_endpoint(endpoint)
            was = found.sandbox_id
            found.join(self.a_sandbox(sandbox), priority=priority)
            assert was is None

    @precondition(lambda self: self.has_endpoints)
    @rule(endpoint=ANY)
    def leave(self, endpoint: int) -> None:
        """An endpoint that is in a sandbox leaves it and keeps its addresses."""
        with self.trying(Conflict):
            found = self.an_endpoint(endpoint)
            was, addresses = found.sandbox_id, found.addresses
            found.leave()
            assert was is not None
            assert found.addresses == addresses

    @precondition(lambda self: self.has_both)
    @rule(network=ANY, sandbox=ANY, ports=PORTS, priority=st.integers(0, 2))
    def connect(self, network: int, sandbox: int, ports: tuple[str, ...], priority: int) -> None:
        """Connecting makes an endpoint and joins it, or neither."""
        with self.trying(Conflict, InvalidParameter, Unavailable):
            made = self.a_sandbox(sandbox).connect(self.a_network(network), ports=ports, priority=priority)
            assert made.state == "joined"

    @precondition(lambda self: self.has_both)
    @rule(network=ANY, sandbox=ANY)
    def disconnect(self, network: int, sandbox: int) -> None:
        """Disconnecting takes away the one endpoint that is on that network."""
        with self.trying(Conflict):
            found, target = self.a_sandbox(sandbox), self.a_network(network)
            count = [each.network_id for each in found.endpoints()].count(target.id)
            found.disconnect(target)
            assert count == 1

    @precondition(lambda self: self.has_endpoints)
    @rule(endpoint=ANY, ports=PORTS)
    def publish(self, endpoint: int, ports: tuple[str, ...]) -> None:
        """A port is published and taken back: then everything is as it was."""
        with self.trying(Conflict, InvalidParameter, Unavailable):
            found = self.an_endpoint(endpoint)
            for port in ports[:1]:
                before = self.world()
                found.unpublish(found.publish(port))
                assert self.world() == before
                found.publish(port)

    @precondition(lambda self: self.has_endpoints)
    @rule(endpoint=ANY, force=st.booleans())
    def delete_endpoint(self, endpoint: int, force: bool) -> None:
        """An endpoint that is joined goes by force alone."""
        with self.trying(Conflict):
            found = self.an_endpoint(endpoint)
            joined = found.sandbox_id is not None
            found.delete(force=force)
            assert force or not joined
            assert found.state == "deleted"

    @precondition(lambda self: self.has_sandboxes)
    @rule(sandbox=ANY)
    def delete_sandbox(self, sandbox: int) -> None:
        """A sandbox goes with its endpoints."""
        found = self.a_sandbox(sandbox)
        endpoints = found.endpoints()
        found.delete()
        assert [each.state for each in endpoints] == ["deleted"] * len(endpoints)

    @precondition(lambda self: self.has_networks)
    @rule(network=ANY, force=st.booleans())
    def delete_network(self, network: int, force: bool) -> None:
        """A network with endpoints goes by force alone."""
        with self.trying(Conflict):
            found = self.a_network(network)
            used = bool(found.endpoints())
            found.delete(force=force)
            assert force or not used
            assert not self.has_network(found.name)

    @precondition(lambda self: self.has_sandboxes)
    @rule(sandbox=ANY, new=SANDBOXES)
    def rename(self, sandbox: int, new: str) -> None:
        """A sandbox takes a name that nobody has."""
        with self.trying(Conflict):
            found = self.a_sandbox(sandbox)
            taken = found.name != self.prefix + new and self.has_sandbox(new)
            found.rename(self.prefix + new)
            assert not taken

    # many at once, and what goes wrong

    @rule(data=st.data(), count=st.integers(1, 4))
    def batch_that_fails(self, data: st.DataObject, count: int) -> None:
        """A batch in which the caller fails changes nothing."""
        before = self.world()
        try:
            with self.controller.batch():
                self._steps(data, count)
                raise GiveUp
        except GiveUp:
            pass
        assert self.world() == before

    @rule(data=st.data(), count=st.integers(1, 4))
    def plan(self, data: st.DataObject, count: int) -> None:
        """A plan changes nothing, and says something where a batch would do something."""
        before = self.world()
        with self.controller.plan() as plan:
            self._steps(data, count)
        assert self.world() == before
        assert bool(plan.text.strip()) == bool(plan.change or plan.effects)

    @rule(data=st.data(), count=st.integers(1, 4), step=st.integers(1, 12))
    def batch_that_the_kernel_refuses(self, data: st.DataObject, count: int, step: int) -> None:
        """A batch that fails in the kernel changes nothing; one that does not is made whole."""
        before = self.world()
        with self.failing(step):
            try:
                with self.controller.batch():
                    self._steps(data, count)
            except LibnetworkError as error:
                assert error.code == "injected", error  # noqa: PT017 (a batch that is not refused is fine too)
            else:
                return
        assert self.world() == before

    def _steps(self, data: st.DataObject, count: int) -> None:
        """A few steps of a batch, each of which may be refused by itself."""
        names, box = data.draw(NETWORKS), self.prefix + data.draw(SANDBOXES)
        steps: list[Callable[[], object]] = [
            lambda: self.controller.create_network(names),
            lambda: self.controller.create_sandbox(box),
            lambda: self.controller.sandbox(box).connect(self.controller.network(names), ports=["8090:80"]),
            lambda: self.controller.sandbox(box).disconnect(self.controller.network(names)),
            lambda: self.controller.sandbox(box).delete(),
            lambda: self.controller.network(names).delete(force=True),
        ]
        for number in data.draw(st.lists(st.integers(0, len(steps) - 1), min_size=count, max_size=count)):
            try:
                steps[number]()
            except (Conflict, NotFound, InvalidParameter) as error:
                note(f"step {number} refused: {error}")

    # time passes

    @precondition(lambda self: len(self.controllers) < 3)
    @rule()
    def open_again(self) -> None:
        """A controller opened anew has the same objects, and changes nothing by being opened."""
        before = self.world()
        self.controllers.append(self.opened())
        self.turn = len(self.controllers) - 1
        assert self.told(self.controllers[-1]) == before[0]
        assert self.machine() == before[1]

    @rule()
    def repair(self) -> None:
        """Where nothing is wrong there is nothing to repair, however often."""
        before = self.machine()
        assert not self.controller.reconcile()
        assert self.machine() == before

    # what always holds

    @invariant()
    def controllers_agree(self) -> None:
        """Every controller on the store says the same."""
        first, *others = [self.told(each) for each in self.controllers]
        for other in others:
            assert other == first

    @invariant()
    def kernel_is_as_recorded(self) -> None:
        """Records and kernel agree."""
        report = self.controller.reconcile(repair=False)
        assert not report, str(report)

    @invariant()
    def networks_are_apart(self) -> None:
        """Names are unique, subnets do not overlap."""
        networks = self.controller.networks()
        assert len({each.name for each in networks}) == len({each.id for each in networks}) == len(networks)
        for one, other in combinations(networks, 2):
            pairs = [(a, b) for a in one.subnets for b in other.subnets if a.version == b.version]
            assert not any(a.overlaps(b) for a, b in pairs)

    @invariant()
    def addresses_are_unique(self) -> None:
        """Endpoints of a network have their own names and addresses, inside its subnets, none of them the gateway's."""
        for network in self.controller.networks():
            endpoints = network.endpoints()
            addresses = [address for each in endpoints for address in each.addresses]
            assert len({each.name for each in endpoints}) == len(endpoints)
            assert len(set(addresses)) == len(addresses)
            assert not {*addresses} & {*network.gateways}
            assert all(any(address in subnet for subnet in network.subnets) for address in addresses)
            assert all(each.network_id == network.id for each in endpoints)

    @invariant()
    def endpoints_are_in_one_sandbox(self) -> None:
        """A joined endpoint is in exactly one sandbox, under an interface name of its own; another is in none."""
        where = [(each.id, sandbox.id) for sandbox in self.controller.sandboxes() for each in sandbox.endpoints()]
        assert dict(where) == {
            each.id: each.sandbox_id
            for network in self.controller.networks()
            for each in network.endpoints()
            if each.sandbox_id
        }
        assert len(dict(where)) == len(where)
        for sandbox in self.controller.sandboxes():
            names = [each.interface for each in sandbox.endpoints()]
            assert len(set(names)) == len(names)
            assert all(names)

    @invariant()
    def gateways_are_elected(self) -> None:
        """The way out is that of the first endpoint that has one, by the reference's rule, told here a second time."""
        networks = {each.id: each for each in self.controller.networks()}
        for sandbox in self.controller.sandboxes():
            endpoints = sandbox.endpoints()
            ranks = [self._rank(each, networks[each.network_id]) for each in endpoints]
            assert ranks == sorted(ranks)
            for family in (4, 6):
                offers = [gateway for each in endpoints for gateway in _offer(networks[each.network_id], family)]
                assert sandbox.gateway(family) == next(iter(offers), None)

    def _rank(self, endpoint: Endpoint, network: Network) -> Any:
        priority = self.controller._engine.state.endpoints[endpoint.id].priority
        families = sum(bool(_offer(network, family)) for family in (4, 6))
        return -priority, network.internal, -families, network.name

    @invariant()
    def host_ports_are_unique(self) -> None:
        """No two endpoints have one port of one address of the host."""
        taken: dict[Any, str] = {}
        for network in self.controller.networks():
            for endpoint in network.endpoints():
                for port in endpoint.ports if endpoint.sandbox_id else ():
                    families = {each.version for each in endpoint.addresses}
                    places = [port.host_ip.version] if port.host_ip else sorted(families)
                    for key in [
                        (port.protocol, v, n) for v in places for n in range(port.host_port, port.host_port_end + 1)
                    ]:
                        assert key not in taken, "in this walk every address of the host overlaps with every other"
                        taken[key] = endpoint.id

    # objects

    def a_network(self, which: int) -> Network:
        """Return one of the networks."""
        found = self.controller.networks()
        return found[which % len(found)]

    def a_sandbox(self, which: int) -> Sandbox:
        """Return one of the sandboxes."""
        found = self.controller.sandboxes()
        return found[which % len(found)]

    def an_endpoint(self, which: int) -> Endpoint:
        """Return one of the endpoints."""
        found = [each for network in self.controller.networks() for each in network.endpoints()]
        return found[which % len(found)]

    @property
    def has_networks(self) -> bool:
        """Whether there is a network."""
        return bool(self.controller.networks())

    @property
    def has_sandboxes(self) -> bool:
        """Whether there is a sandbox."""
        return bool(self.controller.sandboxes())

    @property
    def has_both(self) -> bool:
        """Whether there is something to connect with something."""
        return self.has_networks and self.has_sandboxes

    @property
    def has_endpoints(self) -> bool:
        """Whether there is an endpoint."""
        return any(network.endpoints() for network in self.controller.networks())

    def has_network(self, name: str) -> bool:
        """Return whether there is a network of that name."""
        return bool(self.controller.networks(name=name))

    def has_sandbox(self, name: str) -> bool:
        """Return whether there is a sandbox of that name."""
        return bool(self.controller.sandboxes(name=self.prefix + name))


def _endpoint(endpoint: Endpoint) -> Any:
    return (
        endpoint.id, endpoint.name, endpoint.state, endpoint.sandbox_id, endpoint.interface, endpoint.addresses,
        endpoint.mac, endpoint.ports,
    )  # fmt: skip


def _at(endpoint: Endpoint, port: Any) -> list[Any]:
    return [each for each in endpoint.ports if each.host_port <= port <= each.host_port_end]


def _offer(network: Network, family: int) -> list[Any]:
    return [] if network.internal else [each for each in network.gateways if each.version == family][:1]
