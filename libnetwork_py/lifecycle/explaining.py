"""Where a packet goes, and where it dies: the records and a snapshot of the machine, walked as the kernel would.

From sandbox to sandbox: is the target here? May this one forward? Which route, over which interface, to which neighbour? Is the link up,
and has it a condition? Who has the neighbour's address on that network, do bridge and address exist? At the host: what the firewall's
rules say about this network. Nothing is sent. What others do to packets (a foreign firewall, a router outside) is not known.

May import: lifecycle, kernel.api, facts, desired, network, endpoint, sandbox, types, errors.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, ip_address

from attrs import field, frozen

from ..desired import HOST, Neighbour, Sysctl, Veth
from ..display import Displayed
from ..endpoint import EndpointRecord
from ..errors import InvalidParameter
from ..facts import Facts, NamespaceFacts, RouteFact
from ..network import NetworkRecord
from ..sandbox import SandboxRecord
from ..types import IPAddress, MacAddress
from .engine import Engine
from .state import State

_HOPS = 64
_EVERYBODY = IPv4Address("255.255.255.255")
_NOBODY = MacAddress("02:00:00:00:00:01")
_FORWARDING = {4: "ipv4.ip_forward", 6: "ipv6.conf.all.forwarding"}


@frozen
class Step:
    """One thing that was looked at. ``where``: a sandbox, network or the host; ``fine``: the packet goes on."""

    where: str
    what: str
    fine: bool = True


@frozen
class Explanation(Displayed):
    """The way of a packet. True if it arrives, as far as can be known here.

    Attributes:
        title: From whom to whom.
        steps: What was looked at, in the packet's order; the last one says where it dies, if it does.
        reached: It arrives, or leaves the host for elsewhere.
        answer: The steps of the answer's way back; empty where the packet itself does not arrive or leaves the host.
    """

    title: str
    steps: tuple[Step, ...]
    reached: bool
    answer: tuple[Step, ...] = field(default=())

    def __bool__(self) -> bool:
        return self.reached

    @property
    def answered(self) -> bool:
        """Whether the answer arrives as well."""
        return self.reached and all(each.fine for each in self.answer)

    @property
    def why(self) -> str:
        """Where the packet, or its answer, dies and why; empty if neither does."""
        return next((f"{each.where}: {each.what}" for each in (*self.steps, *self.answer) if not each.fine), "")

    def __str__(self) -> str:
        lines = [f"{'  ' if each.fine else '✗ '}{each.where}: {each.what}" for each in self.steps]
        back = [f"{'  ' if each.fine else '✗ '}{each.where}: {each.what}" for each in self.answer]
        return "\n".join([self.title, *lines, *(["and back", *back] if back else [])])


class _Dies(Exception):
    pass


def explain(engine: Engine, sandbox_id: str, target: str) -> Explanation:
    """Walk from a sandbox to an address, or to a sandbox by name or id.

    Raises:
        InvalidParameter: the sandbox that is named has no address. NotFound: there is no such sandbox.
    """
    with engine.reading() as state:
        sandbox = state.sandbox(sandbox_id)
        address = _address(engine, sandbox, target)
        there = _Walk(engine, address)
        last = there.run(sandbox)
        back: tuple[Step, ...] = ()
        source = there.source
        if last is not None and source is not None and last.id != sandbox.id:
            returning = _Walk(engine, source)
            returning.run(last)
            back = tuple(returning.steps)
        title = f"{sandbox.name}{f' ({source})' if source else ''} → {address}"
        return Explanation(title, tuple(there.steps), all(each.fine for each in there.steps), back)


def _address(engine: Engine, sandbox: SandboxRecord, target: str) -> IPAddress:
    try:
        address = ip_address(target)
    except ValueError:
        return _of_sandbox(engine.state, sandbox, engine.state.sandbox(target))
    if address.is_multicast or address.is_unspecified or address == _EVERYBODY:
        raise InvalidParameter(
            f"{address} is not the address of one machine: give that of the one which is to be reached",
            code="no_address",
        )
    return address


def _of_sandbox(state: State, sandbox: SandboxRecord, target: SandboxRecord) -> IPAddress:
    """Return an address of the target's, on a network of the sandbox's if there is one."""
    near = {each.network_id for each in state.in_sandbox(sandbox.id)}
    ends = sorted(state.in_sandbox(target.id), key=lambda each: each.network_id not in near)
    for endpoint in ends:
        for interface in endpoint.addresses:
            return interface.ip
    raise InvalidParameter(f"sandbox {target.name!r} has no address to walk to", code="no_address")


class _Walk:
    """One packet. ``source``: the address that it leaves with."""

    def __init__(self, engine: Engine, target: IPAddress) -> None:
        self.steps: list[Step] = []
        self.source: IPAddress | None = None
        self._engine, self._state = engine, engine.state
        self._target = target
        self._facts: dict[str, Facts] = {}

    def run(self, sandbox: SandboxRecord) -> SandboxRecord | None:
        """Go on until the packet arrives, leaves or dies; return the sandbox where it arrives."""
        here: SandboxRecord | None = sandbox
        try:
            for hop in range(_HOPS):
                assert here is not None
                if self._arrives(here):
                    return here
                if hop:
                    self._may_forward(here)
                here = self._leave(here)
                if here is None:
                    return None
            self._die(sandbox.name, f"it goes round: {_HOPS} hops are used up")
        except _Dies:
            pass
        return None

    def _say(self, where: str, what: str) -> None:
        self.steps.append(Step(where, what))

    def _die(self, where: str, what: str) -> None:
        self.steps.append(Step(where, what, fine=False))
        raise _Dies

    def _inside(self, key: str, name: str) -> NamespaceFacts:
        if key not in self._facts:
            asked = Neighbour(key, "lo", self._target, _NOBODY)
            setting = Sysctl(key, _FORWARDING[self._target.version], "1")
            self._facts[key] = self._engine.env.kernel.facts([key], words=[asked, setting])
        found = self._facts[key].namespaces.get(key)
        if found is None:
            self._die(name, f"its namespace {key} is gone: reconcile() makes it again")
        assert found is not None
        return found

    def _arrives(self, here: SandboxRecord) -> bool:
        own = {interface.ip for _, interface in self._inside(here.key, here.name).addresses}
        if self._target in own:
            self._say(here.name, f"{self._target} is its own address: delivered")
        return self._target in own

    def _may_forward(self, here: SandboxRecord) -> None:
        name = _FORWARDING[self._target.version]
        if self._facts[here.key].sysctls.get(Sysctl(here.key, name, "1").key) != "1":
            self._die(here.name, f"it is no router: net.{name} is 0, and the packet is not for it")
        self._say(here.name, "forwards")

    def _leave(self, here: SandboxRecord) -> SandboxRecord | None:
        inside = self._inside(here.key, here.name)
        route = best(inside.routes, self._target)
        if route is None:
            gone = [each.ifname for each in self._state.in_sandbox(here.id) if each.ifname not in inside.links]
            reason = f": {', '.join(gone)} is missing, and reconcile() makes it again" if gone else ""
            self._die(here.name, f"no route to {self._target}{reason}")
        assert route is not None
        via = f" via {route.gateway}" if route.gateway else ""
        self._say(here.name, f"route {route.destination}{via} dev {route.link}")
        endpoint = next((each for each in self._state.in_sandbox(here.id) if each.ifname == route.link), None)
        if endpoint is None:
            self._die(here.name, f"{route.link} is no endpoint's interface: what is behind it is not known")
        assert endpoint is not None
        network = self._state.networks[endpoint.network_id]
        if self.source is None:
            self.source = next((each.ip for each in endpoint.addresses if each.version == self._target.version), None)
        self._link(here, endpoint, inside, sending=True)
        return self._hand_over(here, endpoint, network, route.gateway or self._target, inside)

    def _link(self, here: SandboxRecord, endpoint: EndpointRecord, inside: NamespaceFacts, *, sending: bool) -> None:
        """The cable between a sandbox and its network: there, up, and what its condition does."""
        place = f"{here.name} {endpoint.ifname}"
        link = inside.links.get(endpoint.ifname)
        if link is None:
            self._die(place, "the interface is missing: reconcile() makes it again")
        elif not link.up:
            self._die(place, "the interface is down")
        condition = endpoint.condition
        if condition and condition.down:
            self._die(place, "the cable is pulled (experiments.pull)")
        word = self._veth(here, endpoint)
        outer = self._facts[here.key].host.links.get(word.name) if word and word.namespace == HOST else None
        if word and word.namespace == HOST and outer is None:
            self._die(place, f"its other end {word.name} is missing on the host: reconcile() makes it again")
        elif word and outer and not outer.up:
            self._die(place, f"its other end {word.name} is down on the host")
        elif word and outer and outer.master != word.master:
            self._die(place, f"its other end {word.name} is no port of the bridge {word.master}: reconcile() mends it")
        if condition and sending and self._target in condition.apart:
            self._die(place, f"a partition keeps it apart from {self._target} (experiments.heal mends it)")
        if condition and condition.loss >= 1_000_000:
            self._die(place, "its condition loses every packet")
        if condition and (condition.loss or condition.rate or condition.delay):
            self._say(place, f"the link's condition: {condition}")

    def _veth(self, here: SandboxRecord, endpoint: EndpointRecord) -> Veth | None:
        words = self._engine.describer.attachment(endpoint, here).words
        return next((each for each in words if isinstance(each, Veth) and each.peer_name == endpoint.ifname), None)

    def _hand_over(
        self,
        here: SandboxRecord,
        endpoint: EndpointRecord,
        network: NetworkRecord,
        neighbour: IPAddress,
        inside: NamespaceFacts,
    ) -> SandboxRecord | None:
        """From one member of a network to the next hop, which is another member or the host."""
        owner = next(
            (each for each in self._state.in_network(network.id) if neighbour in {it.ip for it in each.addresses}), None
        )
        fixed = inside.neighbours.get((endpoint.ifname, neighbour))
        if owner is not None and fixed and owner.mac and fixed != str(owner.mac):
            self._die(here.name, f"its neighbour table says {neighbour} is at {fixed}, and it is at {owner.mac}")
        if owner is None and any(each.gateway == neighbour for each in network.subnets):
            self._at_host(network, neighbour)
            return None
        if owner is None:
            self._die(f"network {network.name}", f"nobody has {neighbour}: no answer to ARP or neighbour discovery")
        assert owner is not None
        there = self._state.sandboxes.get(owner.sandbox_id or "")
        if there is None:
            self._die(f"network {network.name}", f"endpoint {owner.name!r} has {neighbour} and is joined to no sandbox")
        assert there is not None
        mine, its = self._veth(here, endpoint), self._veth(there, owner)
        if mine and its and mine.isolated and its.isolated:
            self._die(
                f"network {network.name}",
                "its endpoints do not reach each other (ICC is off): bridge ports are isolated",
            )
        self._say(f"network {network.name}", f"{neighbour} is {owner.name}")
        beyond = self._inside(there.key, there.name)
        self._link(there, owner, beyond, sending=False)
        if neighbour not in {interface.ip for _, interface in beyond.addresses}:
            self._die(there.name, f"its address {neighbour} is missing: reconcile() adds it again")
        return there

    def _at_host(self, network: NetworkRecord, gateway: IPAddress) -> None:
        """What the host does with a packet of one of its networks."""
        host = self._inside(HOST, "host")
        own = {interface.ip for _, interface in host.addresses}
        if gateway not in own:
            self._die("host", f"it lacks the gateway's address {gateway}: reconcile() adds it again")
        self._say(f"network {network.name}", f"{gateway} is the host")
        if self._target in own:
            self._say(
                "host", f"{self._target} is its own address: delivered to the host, or to a published port's sandbox"
            )
            return
        if network.internal:
            self._die("host", f"network {network.name} is internal: the firewall lets nothing in or out")
        name = _FORWARDING[self._target.version]
        if self._facts[HOST].sysctls.get(Sysctl(HOST, name, "1").key) != "1":
            self._die("host", f"it does not forward: net.{name} is 0")
        other = next((each for each in self._state.networks.values() if self._is_in(each)), None)
        if other is not None:
            self._die(
                "host", f"the firewall keeps networks {network.name} and {other.name} apart, but for published ports"
            )
        route = best(host.routes, self._target)
        if route is None:
            self._die("host", f"no route to {self._target}")
        assert route is not None
        via = f" via {route.gateway}" if route.gateway else ""
        self._say("host", f"leaves by route {route.destination}{via} dev {route.link}; what is there is not known")

    def _is_in(self, network: NetworkRecord) -> bool:
        return any(
            self._target.version == each.subnet.version and self._target in each.subnet for each in network.subnets
        )


def best(routes: Iterable[RouteFact], target: IPAddress) -> RouteFact | None:
    """Return the route that the kernel takes: the longest prefix, then the least metric."""
    fitting = [each for each in routes if each.destination.version == target.version and target in each.destination]
    return min(fitting, key=lambda each: (-each.destination.prefixlen, each.metric), default=None)
