"""From records to the description of what should exist for them.

Division of labour: a driver describes its part; what is the same for every driver (the namespace, addresses, sysctls, elected
default routes) is said here. Nothing here touches the machine.

May import: lifecycle.routing, drivers.api, network, endpoint, sandbox, desired, types.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence

from attrs import evolve

from ..desired import HOST, Address, Description, Namespace, Route, Sysctl, Table, Veth, Word
from ..drivers.api import Attachment, Context, NetworkDriver, Peer
from ..endpoint import EndpointRecord
from ..errors import LibnetworkError
from ..firewall import resolver
from ..network import NetworkRecord
from ..plugins.registry import Registry
from ..sandbox import Candidate, SandboxRecord, elect, order
from ..types import Family, IPAddress, IPNetwork
from . import settings
from .conditions import on_link
from .handing import on_the_host
from .outlets import PRIORITY, is_outlet
from .routing import routes_of
from .state import State

DEFAULT_ROUTES: Mapping[Family, IPNetwork] = {4: ipaddress.IPv4Network("0.0.0.0/0"), 6: ipaddress.IPv6Network("::/0")}


class Describer:
    """Describes networks and sandboxes out of the state.

    Args:
        state: The records.
        drivers: The drivers to ask.
        table: The controller's firewall table.
        baseline: What the host's sysctls were before the controller changed them, by name.
        controller: The controller's id.
    """

    def __init__(
        self,
        state: State,
        drivers: Registry[NetworkDriver],
        table: Table,
        baseline: Mapping[str, str],
        controller: str = "",
        *,
        localhost: bool = False,
    ) -> None:
        self._state = state
        self._drivers = drivers
        self._context = Context(table, baseline, controller=controller, localhost=localhost)

    @property
    def vtep(self) -> IPAddress | None:
        """This host's address in the underlay."""
        return self._context.vtep

    def at(self, vtep: IPAddress) -> None:
        """Say what this host's address in the underlay is."""
        self._context = evolve(self._context, vtep=vtep)

    def network(self, network_id: str, peers: Sequence[Peer] | None = None) -> Description:
        """Return what exists for a network without its endpoints; nothing for one that is not in the state.

        ``peers``: these in place of all of those that the state has.
        """
        network = self._state.networks.get(network_id)
        if network is None or network.config_only:
            return ()
        joined = self._state.segments(network_id)
        if network.scope == "global" and not joined:
            return ()
        segments = sorted(number for number in joined if number)
        context = evolve(self._context, segments=segments) if segments else self._context
        if network.scope == "global":
            context = evolve(context, peers=self.peers(network_id) if peers is None else peers)
        driver = self._drivers.recall(network.driver)
        return driver.describe_network(network, context) if driver else ()

    def missing(self) -> list[str]:
        """Return the drivers that cannot be had now: what they described is known to nobody."""
        names = {each.driver for each in self._state.networks.values() if not each.config_only}
        return sorted(name for name in names if self._drivers.recall(name) is None)

    def peers(self, network_id: str) -> list[Peer]:
        """Return the endpoints of a network that are joined on other hosts."""
        return [peer for each in self._state.in_network(network_id) if (peer := peer_of(each)) is not None]

    def sandbox(self, sandbox_id: str) -> Description:
        """Return what exists for a sandbox and its endpoints; nothing for one that is not in the state."""
        sandbox = self._state.sandboxes.get(sandbox_id)
        if sandbox is None:
            return ()
        words: list[Word] = list(_own(sandbox))
        joined = self._attachments(sandbox)
        for endpoint, attachment in joined:
            words += on_link(attachment.words, endpoint, sandbox.key) if endpoint.condition else attachment.words
            words += _interface(endpoint, sandbox, attachment)
        words += self._static_routes(sandbox, joined)
        words += self._default_routes(sandbox, joined)
        if self.has_names(sandbox):
            words.append(resolver.table(sandbox.key))
        return on_the_host(words, sandbox) if sandbox.handed else tuple(words)

    def has_names(self, sandbox: SandboxRecord, endpoint: EndpointRecord | None = None) -> bool:
        """Return whether a sandbox has a name service, on account of one endpoint or of any: all networks with addresses have names."""
        if sandbox.key == HOST or sandbox.handed:
            return False
        networks = self._state.networks
        for each in [endpoint] if endpoint else self._state.in_sandbox(sandbox.id):  # asked often: `any` takes longer
            if self._has_addresses(networks[each.network_id]):
                return True
        return False

    def _has_addresses(self, network: NetworkRecord) -> bool:
        """Whether a network's driver gives addresses; of a driver that is not there now, whether it has."""
        try:
            return self._drivers.get(network.driver).capability.addresses
        except LibnetworkError:
            return bool(network.subnets)

    def _attachments(self, sandbox: SandboxRecord) -> list[tuple[EndpointRecord, Attachment]]:
        """Return the drivers' part of every endpoint; those with ports are asked again when the way out is known."""
        endpoints = self._published(self._state.in_sandbox(sandbox.id))
        joined = [(endpoint, self.attachment(endpoint, sandbox)) for endpoint in endpoints]
        if not any(endpoint.bindings for endpoint in endpoints):
            return joined
        winners = elect(self._candidate(*each) for each in joined)
        context = evolve(
            self._context,
            networks=[self._state.networks[each.network_id] for each in endpoints],
            gateways={family: winner.endpoint_id for family, winner in winners.items()},
        )
        return [
            (endpoint, self._ask(endpoint, sandbox, context) if endpoint.bindings else attachment)
            for endpoint, attachment in joined
        ]

    def _published(self, endpoints: list[EndpointRecord]) -> list[EndpointRecord]:
        """Return endpoints with their published ports where they are reached: those of networks without a way out, at the outlet."""
        outlet = next((each for each in endpoints if each.priority == PRIORITY and is_outlet(each)), None)
        if outlet is None:
            return endpoints
        others = {each.id for each in endpoints if each.bindings and self._leads_nowhere(each)}
        moved = tuple(binding for each in endpoints if each.id in others for binding in each.bindings)
        return [
            evolve(each, bindings=()) if each.id in others
            else evolve(each, bindings=(*each.bindings, *moved)) if each is outlet
            else each
            for each in endpoints
        ]  # fmt: skip

    def _leads_nowhere(self, endpoint: EndpointRecord) -> bool:
        network = self._state.networks[endpoint.network_id]
        return self._drivers.get(network.driver).capability.outlet

    def attachment(self, endpoint: EndpointRecord, sandbox: SandboxRecord) -> Attachment:
        """Return a driver's part of an endpoint in a sandbox, without what its published ports need."""
        return self._ask(evolve(endpoint, bindings=()) if endpoint.bindings else endpoint, sandbox, self._context)

    def _ask(self, endpoint: EndpointRecord, sandbox: SandboxRecord, context: Context) -> Attachment:
        network = self._state.networks[endpoint.network_id]
        driver = self._drivers.recall(network.driver)
        return driver.describe_endpoint(network, endpoint, sandbox, context) if driver else Attachment()

    def candidates(self, sandbox_id: str) -> list[Candidate]:
        """Return a sandbox's endpoints as the election sees them, the leading one first."""
        sandbox = self._state.sandboxes[sandbox_id]
        joined = self._state.in_sandbox(sandbox_id)
        return order(self._candidate(endpoint, self.attachment(endpoint, sandbox)) for endpoint in joined)

    def gateways(self, sandbox_id: str) -> Mapping[Family, Candidate]:
        """Return the elected way out per family."""
        if sandbox_id not in self._state.sandboxes:
            return {}
        return elect(self.candidates(sandbox_id))

    def _candidate(self, endpoint: EndpointRecord, attachment: Attachment) -> Candidate:
        network = self._state.networks[endpoint.network_id]
        gateways = attachment.gateways if endpoint.ifname else ()  # without an interface there is no way out by it
        return Candidate(endpoint.id, network.name, endpoint.priority, network.internal, gateways)

    def _static_routes(
        self, sandbox: SandboxRecord, joined: list[tuple[EndpointRecord, Attachment]]
    ) -> Iterator[Route]:
        """What users gave endpoints and their networks. A network joined twice brings its routes once, over the first interface."""
        taken: set[tuple[IPNetwork, int]] = set()
        for endpoint, _ in joined:
            network = self._state.networks[endpoint.network_id]
            if endpoint.routes or network.routes:
                for route in routes_of(endpoint, network):
                    if route.place not in taken:
                        taken.add(route.place)
                        yield Route(sandbox.key, route.destination, endpoint.ifname, route.gateway, route.metric)

    def _default_routes(
        self, sandbox: SandboxRecord, joined: list[tuple[EndpointRecord, Attachment]]
    ) -> Iterator[Route]:
        names = {endpoint.id: endpoint.ifname for endpoint, _ in joined}
        for family, winner in elect(self._candidate(*each) for each in joined).items():
            yield Route(sandbox.key, DEFAULT_ROUTES[family], names[winner.endpoint_id], winner.gateway(family))


def peer_of(endpoint: EndpointRecord | None) -> Peer | None:
    """Return an endpoint as drivers see one that is joined on another host."""
    if endpoint is None or not (endpoint.host and endpoint.sandbox_id and endpoint.mac and endpoint.vtep):
        return None
    return Peer(endpoint.id, endpoint.addresses, endpoint.mac, endpoint.vtep)


def _own(sandbox: SandboxRecord) -> Iterator[Word]:
    if sandbox.owned:
        yield Namespace(sandbox.key)
        # IPv6 stays off on every interface that is made here later, until an endpoint with IPv6 turns its own on: router
        # solicitations and multicast reports of hundreds of idle interfaces cost more than all the rest.
        yield Sysctl(sandbox.key, "ipv6.conf.default.disable_ipv6", "1")
    for name, value in sandbox.sysctls.items():
        yield Sysctl(sandbox.key, name.removeprefix("net."), value, restore=sandbox.sysctls_before.get(name))


MTU_MIN_IPV6 = 1280
"""The least MTU of IPv6 (RFC 8200, section 5): below it the kernel gives an interface none, nor its settings."""


def _too_small(attachment: Attachment) -> bool:
    return any(isinstance(word, Veth) and 0 < word.mtu < MTU_MIN_IPV6 for word in attachment.words)


def _interface(endpoint: EndpointRecord, sandbox: SandboxRecord, attachment: Attachment) -> Iterator[Word]:
    if not endpoint.ifname or sandbox.key == HOST:
        return
    ipv6 = any(address.version == 6 for address in endpoint.addresses)
    if ipv6 or not (sandbox.owned or _too_small(attachment)):
        yield Sysctl(sandbox.key, "ipv6.conf.{}.disable_ipv6", "0" if ipv6 else "1", link=endpoint.ifname)
    for name, value in endpoint.sysctls.items():
        yield settings.of_interface(name, value, endpoint, sandbox.key)
    for address in endpoint.addresses:
        yield Address(sandbox.key, endpoint.ifname, address)
