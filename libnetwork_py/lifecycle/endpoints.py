"""Endpoints: create, join, publish, leave, delete.

May import: lifecycle, drivers.api, kernel.api, network, endpoint, sandbox, types, errors.
"""

from __future__ import annotations

import re
import secrets
import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from attrs import evolve

from ..condition import Condition
from ..drivers.api import NetworkDriver
from ..endpoint import TRANSITIONS, Endpoint, EndpointRecord, Verb
from ..errors import Conflict, Forbidden, InvalidParameter, NotFound, Unavailable
from ..facts import LinkStatistics
from ..handle import given
from ..kernel.api import PortFlow
from ..network import EndpointSpec, NetworkRecord
from ..sandbox import HANDED, Handover, Sandbox, SandboxRecord
from ..scene import Scene
from ..types import (
    EMPTY,
    IPAddress,
    MacAddress,
    PortBinding,
    as_tuple,
    check_dns_names,
    check_exposed,
    check_interface_name,
    check_name,
    freeze,
    parse_address,
)
from . import conditions, routing, settings
from .engine import Engine
from .handing import handover
from .interfaces import interface_name
from .outlets import Outlets, is_outlet, reached
from .portlists import check_ports, flows_of, with_ports
from .survey import survey
from .work import Work

_ENDPOINT_SYSCTL = re.compile(r"net\.[\w-]+\.[\w-]+\.IFNAME\.[\w-]+")


class Endpoints:
    """The use cases of endpoints; `Endpoint` handles call it.

    Args:
        engine: Runs the operations.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.outlets: Outlets | None = None
        self.fits: Callable[[NetworkRecord], object] = lambda _: None
        """Checks a network of the cluster on this host, which another one has created; `networks` sets it."""
        self._last: dict[str, dict[IPAddress, tuple[str, MacAddress]]] = {}
        """Addresses' last owners and where they had them, by network: an address at another MAC address is announced."""

    def handle(self, record: EndpointRecord) -> Endpoint:
        """Return the handle of a record."""
        return Endpoint(self, record)

    def find(self, endpoint_id: str) -> Endpoint:
        """Return an endpoint by id or the beginning of one; one on another host is asked for.

        Raises:
            NotFound: there is none.
        """
        try:
            with self._engine.reading() as state:
                return self.handle(state.any_endpoint(endpoint_id))
        except NotFound:
            if self._engine.cluster is None:
                raise
        self._engine.cluster.find(endpoint_id)
        with self._engine.reading() as state:
            return self.handle(state.any_endpoint(endpoint_id))

    def scene(self) -> Scene:
        """Return the whole topology, for a picture of what an object is part of; never waits long."""
        return survey(self._engine)

    def record(self, endpoint_id: str) -> EndpointRecord | None:
        """Return the record as it is now."""
        with self._engine.reading() as state:
            return state.endpoints.get(endpoint_id)

    def gateways(self, endpoint_id: str) -> tuple[IPAddress, ...]:
        """Return the gateways that the endpoint's network offers it."""
        with self._engine.reading() as state:
            endpoint = self._get(endpoint_id, elsewhere=True)
            if endpoint.host:
                return ()
            sandbox = state.sandboxes.get(endpoint.sandbox_id or "") or SandboxRecord("", "", "")
            return self._engine.describer.attachment(endpoint, sandbox).gateways

    def statistics(self, endpoint_id: str) -> LinkStatistics:
        """Return the counters of the endpoint's interface."""
        key, ifname = self._interface(endpoint_id)
        return self._engine.env.kernel.statistics(key)[ifname]

    def socket(self, endpoint_id: str, family: int, kind: int, protocol: int) -> socket.socket:
        """Open a socket that is bound to the endpoint's interface."""
        key, ifname = self._interface(endpoint_id)
        opened = self._engine.env.kernel.socket(key, family, kind, protocol)
        try:
            if family == socket.AF_PACKET:
                opened.bind((ifname, socket.ntohs(protocol)))
            else:
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, ifname.encode() + b"\0")
        except OSError as error:
            opened.close()
            raise Unavailable(
                f"cannot bind a socket to {ifname}: {error.strerror}", code="cannot_bind", link=ifname
            ) from error
        return opened

    def _interface(self, endpoint_id: str) -> tuple[str, str]:
        """The namespace and name of the endpoint's interface."""
        with self._engine.reading() as state:
            endpoint = self._get(endpoint_id)
            if endpoint.sandbox_id is None or not endpoint.ifname:
                raise Conflict(f"endpoint {endpoint.name!r} has no interface: it is not joined", code="not_joined")
            return state.sandboxes[endpoint.sandbox_id].key, endpoint.ifname

    def handover(self, endpoint_id: str) -> Handover:
        """Return what whoever takes the endpoint's interface needs to know."""
        with self._engine.reading() as state:
            endpoint = self._get(endpoint_id)
            sandbox = state.sandboxes.get(endpoint.sandbox_id or "")
            if sandbox is None or not sandbox.handed:
                raise Conflict(
                    f"endpoint {endpoint.name!r} is not joined to a sandbox of somebody else's (netns={HANDED!r})",
                    code="not_handed",
                )
            network = state.networks[endpoint.network_id]
            prefix = self._engine.env.drivers.get(network.driver).interface_prefix(network)
            found = handover(sandbox, self._engine.describer.attachment(endpoint, sandbox), prefix)
            given = tuple((route.destination, route.gateway) for route in routing.routes_of(endpoint, network))
            return evolve(found, routes=(*found.routes, *given))

    # Create and delete

    def create(self, network_id: str, spec: EndpointSpec) -> Endpoint:
        """Create an endpoint; see `Network.create_endpoint`."""
        return self._engine.again(lambda: self._create(network_id, spec), f"endpoint/{network_id}/")

    def _create(self, network_id: str, spec: EndpointSpec) -> Endpoint:
        with self._engine.operation(f"create endpoint {spec.name or ''}".rstrip()) as work:
            return self.handle(self.add(self._engine.state.network(network_id), spec, work))

    def add(self, network: NetworkRecord, spec: EndpointSpec, work: Work) -> EndpointRecord:
        """Create an endpoint as a step of an operation."""
        if network.config_only:
            raise Forbidden(
                f"network {network.name!r} is for configuration only: it has no endpoints", code="config_only"
            )
        driver = self._engine.env.drivers.get(network.driver)
        record = _parse(network, driver, spec)
        if network.host and self._engine.cluster is not None:
            self._engine.cluster.include(network, work)
        if self._engine.state.endpoint_named(network.id, record.name):
            raise Conflict(
                f"endpoint with name {record.name} already exists in network {network.name}",
                code="name_taken",
                name=record.name,
            )
        wanted = [parse_address(each) for each in as_tuple(spec.addresses)]
        addresses = (
            self._engine.addressing.addresses(network, wanted, record.mac, work) if network.subnets or wanted else ()
        )
        record = driver.check_endpoint(network, evolve(record, addresses=addresses))
        routing.check_endpoint(record, network, driver)
        work.put(record)
        if network.host and not work.alone and not work.dry and self._engine.cluster is not None:
            self._engine.cluster.claim_now(record, network, work)
        return record

    def delete(self, endpoint_id: str, *, force: bool) -> None:
        """Delete an endpoint, with ``force`` after leaving."""
        with self._engine.operation("delete endpoint") as work:
            endpoint = self._get(endpoint_id)
            if not force:
                self._driver(endpoint)
            if endpoint.sandbox_id and not force:
                _allowed(endpoint, "delete", self._engine.state.sandboxes.get(endpoint.sandbox_id))
            self.remove(endpoint, work)

    def remove(self, endpoint: EndpointRecord, work: Work) -> None:
        """Leave, if joined, and delete an endpoint as a step of an operation."""
        network = self._engine.state.networks[endpoint.network_id]
        self._release_ports(endpoint.bindings, endpoint, work)
        self._forget(endpoint, work)
        self._engine.addressing.give_back_endpoint(network, endpoint, work)
        work.delete(endpoint)
        self._settle(endpoint, work)

    # Join and leave

    def join(self, endpoint_id: str, sandbox: Sandbox, priority: int) -> None:
        """Join an endpoint to a sandbox."""
        given(sandbox, Sandbox)
        self._engine.again(lambda: self._join(endpoint_id, sandbox, priority))

    def _join(self, endpoint_id: str, sandbox: Sandbox, priority: int) -> None:
        with self._engine.operation("join") as work:
            endpoint = self._get(endpoint_id)
            self.attach(endpoint, self._engine.state.sandbox(sandbox.id), priority, work)

    def attach(self, endpoint: EndpointRecord, sandbox: SandboxRecord, priority: int, work: Work) -> EndpointRecord:
        """Join an endpoint to a sandbox as a step of an operation."""
        state = self._engine.state
        _allowed(endpoint, "join", state.sandboxes.get(endpoint.sandbox_id or ""))
        network = state.networks[endpoint.network_id]
        driver = self._engine.env.drivers.get(network.driver)
        _check_host(network, driver, sandbox)
        if driver.capability.vni and not state.segments(network.id):
            self.fits(network)
        kernel = self._engine.env.kernel
        ifname = interface_name(state, kernel, endpoint, sandbox, driver.interface_prefix(network))
        bindings = self._reserve(endpoint.ports, endpoint, work) if driver.capability.reserves_ports else ()
        joined = evolve(
            endpoint, sandbox_id=sandbox.id, ifname=ifname, bindings=bindings, priority=_whole(priority),
            segment=driver.segment(network, state.segments(network.id)),
        )  # fmt: skip
        work.put(joined)
        self._check_link(joined, sandbox)
        self._announce(joined, sandbox, work)
        routing.check_sandbox(sandbox.id, state)
        self._settle(joined, work)
        return joined

    def _settle(self, endpoint: EndpointRecord, work: Work) -> None:
        """Give the endpoint's sandbox a way out, or take it away, now that the endpoint has come or gone."""
        sandbox = self._engine.state.sandboxes.get(endpoint.sandbox_id or "")
        if sandbox is not None and self.outlets is not None and not is_outlet(endpoint):
            self.outlets.settle(sandbox, work)

    def leave(self, endpoint_id: str) -> None:
        """Take an endpoint out of its sandbox."""
        with self._engine.operation("leave") as work:
            endpoint = self._get(endpoint_id)
            _allowed(endpoint, "leave", None)
            self._driver(endpoint)
            self._release_ports(endpoint.bindings, endpoint, work)
            self._forget(endpoint, work)
            work.put(_outside(endpoint))
            self._settle(endpoint, work)

    # Ports

    def publish(self, endpoint_id: str, binding: PortBinding) -> PortBinding:
        """Publish one more port."""
        with self._engine.operation("publish", listing=True) as work:
            work.step("publish {}", binding)
            endpoint = self._get(endpoint_id)
            state = TRANSITIONS[endpoint.state, "publish"]
            network = self._engine.state.networks[endpoint.network_id]
            driver = self._engine.env.drivers.get(network.driver)
            check_ports(network, driver, [binding])
            (asked,) = driver.check_endpoint(network, with_ports(endpoint, (binding,), endpoint.bindings)).ports
            lists = work.lists(endpoint)
            if state == "created" or not driver.capability.reserves_ports:
                lists.ports.append(asked)
                return asked
            (got,) = self._reserve([asked], endpoint, work)
            lists.ports.append(asked)
            lists.bindings.append(got)
            return got

    def unpublish(self, endpoint_id: str, binding: PortBinding) -> None:
        """Take back a published port, named as it was asked for or as it became."""
        with self._engine.operation("unpublish", listing=True) as work:
            work.step("unpublish {}", binding)
            endpoint = self._get(endpoint_id)
            lists = work.lists(endpoint)
            place = lists.place(binding)
            if place is None:
                published = ", ".join(map(str, lists.bindings or lists.ports)) or "none"
                raise NotFound(
                    f"port {binding} of endpoint {endpoint.name!r} is not published; published: {published}",
                    code="not_published",
                )
            if lists.bindings:
                got = lists.bindings[place]
                self._release_ports([got], endpoint, work)
                work.on_done(partial(self._engine.env.kernel.forget_flows, closed=self._flows(endpoint, [got])))
            lists.remove(place)

    def _reserve(
        self, bindings: Sequence[PortBinding], endpoint: EndpointRecord, work: Work
    ) -> tuple[PortBinding, ...]:
        if not bindings:
            return ()
        ports, families = self._engine.env.ports, endpoint.port_families
        if not work.alone:
            work.hold("ports", ports.bulk)
        got = ports.reserve_all(bindings, families, endpoint.name)
        udp = [each for each in got if each.protocol == "udp"]
        if udp:  # where they lead is known when the sandbox has its way out
            work.on_done(lambda: self._engine.env.kernel.forget_flows(opened=self._flows(endpoint, udp)))
        for each in got:
            work.on_undo(partial(ports.release, each, families))
        return got

    def _release_ports(self, bindings: Iterable[PortBinding], endpoint: EndpointRecord, work: Work) -> None:
        ports = self._engine.env.ports
        for binding in bindings:
            ports.release(binding, endpoint.port_families)
            work.on_undo(partial(ports.adopt, binding, endpoint.name, endpoint.port_families))

    def _forget(self, endpoint: EndpointRecord, work: Work) -> None:
        """Forget the connections of an endpoint that leaves."""
        if endpoint.sandbox_id and endpoint.addresses:
            addresses = [each.ip for each in endpoint.addresses]
            target = reached(endpoint, self._engine.state, self._engine.env.drivers)
            closed = self._flows(endpoint, endpoint.bindings) if target.id != endpoint.id else ()  # a way out may stay
            work.on_done(partial(self._engine.env.kernel.forget_flows, addresses, closed=closed))
            if endpoint.mac:
                last = self._last.setdefault(endpoint.network_id, {})
                last.update(dict.fromkeys(addresses, (endpoint.id, endpoint.mac)))

    def _flows(self, endpoint: EndpointRecord, bindings: Iterable[PortBinding]) -> list[PortFlow]:
        """Return what bindings lead to now."""
        target = reached(endpoint, self._engine.state, self._engine.env.drivers)
        return [flow for each in bindings for flow in flows_of(target, each)]

    def _announce(self, endpoint: EndpointRecord, sandbox: SandboxRecord, work: Work) -> None:
        """Announce the addresses that the neighbours may remember with another MAC address; keep the flows of the rest."""
        last = self._last.get(endpoint.network_id)
        if not last or not endpoint.ifname:
            return
        known = {each.ip: last[each.ip] for each in endpoint.addresses if each.ip in last}
        self._engine.env.kernel.keep_flows([address for address, (owner, _) in known.items() if owner == endpoint.id])
        moved = [address for address, (_, mac) in known.items() if mac != endpoint.mac]
        if moved:
            work.on_done(partial(self._engine.env.kernel.announce, sandbox.key, endpoint.ifname, moved))

    # Update

    def update(
        self,
        endpoint_id: str,
        aliases: Sequence[str] | None,
        routes: object | None,
        sysctls: Mapping[str, object] | None,
        labels: Mapping[str, object] | None,
    ) -> None:
        """Replace what is given."""
        self._engine.again(lambda: self._update(endpoint_id, aliases, routes, sysctls, labels))

    def _update(
        self,
        endpoint_id: str,
        aliases: Sequence[str] | None,
        routes: object | None,
        sysctls: Mapping[str, object] | None,
        labels: Mapping[str, object] | None,
    ) -> None:
        with self._engine.operation("update endpoint") as work:
            endpoint = self._get(endpoint_id)
            work.step(f"update endpoint {endpoint.name}")
            if aliases is not None:
                endpoint = evolve(endpoint, aliases=check_dns_names("alias", aliases))
            if sysctls is not None:
                endpoint = settings.changed(endpoint, _sysctls(sysctls), self._engine.state, self._engine.env.kernel)
            if labels is not None:
                endpoint = evolve(endpoint, labels=freeze(labels, "labels"))
            if routes is not None:
                endpoint = evolve(endpoint, routes=routing.parse(routes))
                network = self._engine.state.networks[endpoint.network_id]
                routing.check_endpoint(endpoint, network, self._engine.env.drivers.get(network.driver))
            work.put(endpoint)
            if routes is not None and endpoint.sandbox_id:
                routing.check_sandbox(endpoint.sandbox_id, self._engine.state)

    def impose(self, changes: Mapping[str, Condition]) -> Mapping[str, Condition]:
        """Give the links of several endpoints conditions, all of them or none; return what they became."""
        with self._engine.operation("change the condition of links") as work:
            settled: dict[str, Condition] = {}
            for endpoint_id, wanted in changes.items():
                endpoint = self._get(endpoint_id)
                got = conditions.settle(wanted, self._engine.env.kernel)
                settled[endpoint_id] = got
                endpoint = evolve(endpoint, condition=None if got == Condition() else got)
                work.put(endpoint)
                if endpoint.sandbox_id:
                    self._check_link(endpoint, self._engine.state.sandboxes[endpoint.sandbox_id])
            return settled

    def _check_link(self, endpoint: EndpointRecord, sandbox: SandboxRecord) -> None:
        if endpoint.condition:
            words = self._engine.describer.attachment(endpoint, sandbox).words
            driver = self._engine.state.networks[endpoint.network_id].driver
            conditions.check_link(words, endpoint, sandbox.key, driver)

    def _driver(self, endpoint: EndpointRecord) -> NetworkDriver:
        """The endpoint's driver; without it nobody knows what was made for the endpoint."""
        return self._engine.env.drivers.get(self._engine.state.networks[endpoint.network_id].driver)

    def _get(self, endpoint_id: str, *, elsewhere: bool = False) -> EndpointRecord:
        found = self._engine.state.endpoints.get(endpoint_id)
        if found is None:
            raise self._engine.state.deleted("endpoint", endpoint_id)
        if found.host and not elsewhere:
            raise Conflict(
                f"endpoint {found.name!r} is on another host, {found.host[:12]}: only that one can change it",
                code="endpoint_elsewhere", endpoint_id=found.id, host=found.host,
            )  # fmt: skip
        return found


def _whole(priority: object) -> int:
    if isinstance(priority, int):
        return int(priority)
    raise InvalidParameter(f"invalid priority {priority!r}: it is a whole number", code="invalid_priority")


def _allowed(endpoint: EndpointRecord, verb: Verb, sandbox: SandboxRecord | None) -> None:
    """Check a verb against the table of states."""
    if (endpoint.state, verb) in TRANSITIONS:
        return
    where = f" to sandbox {sandbox.name!r}" if sandbox else ""
    remedy = {"join": "leave it first", "leave": "join it first", "delete": "leave first, or use force"}.get(verb, "")
    state = f"joined{where}" if endpoint.state == "joined" else "not joined"
    raise Conflict(
        f"endpoint {endpoint.name!r} cannot {verb}: it is {state}; {remedy}",
        code="already_joined" if verb == "join" else "not_joined" if verb == "leave" else "endpoint_in_use",
        endpoint_id=endpoint.id, state=endpoint.state,
    )  # fmt: skip


def _check_host(network: NetworkRecord, driver: NetworkDriver, sandbox: SandboxRecord) -> None:
    is_host = sandbox.key == ""
    if driver.capability.host_only and not is_host:
        raise Forbidden(
            f"network {network.name!r} is the host itself: only a sandbox of the host's namespace joins it (netns=\"host\")",
            code="host_only", network_id=network.id,
        )  # fmt: skip
    if is_host and driver.capability.addresses:
        raise Forbidden(
            f"sandbox {sandbox.name!r} is the host itself, which reaches network {network.name!r} by its bridge: it cannot join it",
            code="host_sandbox", sandbox_id=sandbox.id,
        )  # fmt: skip


def _outside(endpoint: EndpointRecord) -> EndpointRecord:
    """The record without what it has in a sandbox alone."""
    plain = evolve(endpoint, sandbox_id=None, ifname="", bindings=(), priority=0, segment=0)
    return evolve(plain, decided=EMPTY, external="", sysctls_before=EMPTY)


def _sysctls(given: Mapping[str, object]) -> Mapping[str, str]:
    sysctls = settings.given(given)
    for name in sysctls:
        if not _ENDPOINT_SYSCTL.fullmatch(name):
            raise InvalidParameter(
                f"invalid endpoint sysctl {name!r}: write net.X.Y.IFNAME.Z, with IFNAME in place of the interface's name",
                code="invalid_sysctl", name=name,
            )  # fmt: skip
    return sysctls


def _parse(network: NetworkRecord, driver: NetworkDriver, spec: EndpointSpec) -> EndpointRecord:
    endpoint_id = secrets.token_hex(32)
    ports = tuple(PortBinding.parse(each) for each in as_tuple(spec.ports))
    check_ports(network, driver, ports)
    if spec.interface is not None:
        check_interface_name(spec.interface)
    return EndpointRecord(
        id=endpoint_id,
        name=check_name("endpoint", spec.name) if spec.name is not None else f"ep-{endpoint_id[:12]}",
        network_id=network.id,
        mac=MacAddress(spec.mac) if spec.mac is not None else None,
        ports=ports,
        expose=tuple(check_exposed(each) for each in as_tuple(spec.expose)),
        aliases=check_dns_names("alias", spec.aliases),
        dns_names=check_dns_names("DNS name", spec.dns_names),
        sysctls=_sysctls(spec.sysctls),
        interface=spec.interface,
        options=freeze(spec.options, "options"),
        labels=freeze(spec.labels, "labels"),
        routes=routing.parse(spec.routes),
        created=time.time(),
    )
