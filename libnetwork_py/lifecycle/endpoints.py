"""Endpoints: create, join, publish, leave, delete.

May import: lifecycle, drivers.api, network, endpoint, sandbox, types, errors.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Iterable, Sequence
from functools import partial

from attrs import evolve

from ..drivers.api import NetworkDriver
from ..endpoint import TRANSITIONS, Endpoint, EndpointRecord, Verb
from ..errors import Conflict, Forbidden, InvalidParameter, NotFound, NotSupported
from ..facts import LinkStatistics
from ..network import EndpointSpec, NetworkRecord
from ..sandbox import Sandbox, SandboxRecord
from ..types import (
    IPAddress,
    MacAddress,
    PortBinding,
    as_tuple,
    check_interface_name,
    check_name,
    freeze,
    parse_address,
)
from .engine import Engine
from .work import Work

_ENDPOINT_SYSCTL = re.compile(r"net\.[\w-]+\.[\w-]+\.IFNAME\.[\w-]+")


class Endpoints:
    """The use cases of endpoints; `Endpoint` handles call it.

    Args:
        engine: Runs the operations.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def handle(self, record: EndpointRecord) -> Endpoint:
        """Return the handle of a record."""
        return Endpoint(self, record)

    def record(self, endpoint_id: str) -> EndpointRecord | None:
        """Return the record as it is now."""
        with self._engine.reading() as state:
            return state.endpoints.get(endpoint_id)

    def gateways(self, endpoint_id: str) -> tuple[IPAddress, ...]:
        """Return the gateways that the endpoint's network offers it."""
        with self._engine.reading() as state:
            network = state.networks[self._get(endpoint_id).network_id]
            found = (network.gateway(family) for family in (4, 6))
            return () if network.internal else tuple(each for each in found if each)

    def statistics(self, endpoint_id: str) -> LinkStatistics:
        """Return the counters of the endpoint's interface."""
        with self._engine.reading() as state:
            endpoint = self._get(endpoint_id)
            if endpoint.sandbox_id is None or not endpoint.ifname:
                raise Conflict(f"endpoint {endpoint.name!r} has no interface: it is not joined", code="not_joined")
            key = state.sandboxes[endpoint.sandbox_id].key
        return self._engine.env.kernel.statistics(key)[endpoint.ifname]

    # Create and delete

    def create(self, network_id: str, spec: EndpointSpec) -> Endpoint:
        """Create an endpoint; see `Network.create_endpoint`."""
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
        work.put(record)
        return record

    def delete(self, endpoint_id: str, *, force: bool) -> None:
        """Delete an endpoint, with ``force`` after leaving."""
        with self._engine.operation("delete endpoint") as work:
            endpoint = self._get(endpoint_id)
            if endpoint.sandbox_id and not force:
                _allowed(endpoint, "delete", self._engine.state.sandboxes.get(endpoint.sandbox_id))
            self.remove(endpoint, work)

    def remove(self, endpoint: EndpointRecord, work: Work) -> None:
        """Leave, if joined, and delete an endpoint as a step of an operation."""
        network = self._engine.state.networks[endpoint.network_id]
        self._release_ports(endpoint.bindings, endpoint, work)
        self._engine.addressing.give_back_endpoint(network, endpoint, work)
        work.delete(endpoint)

    # Join and leave

    def join(self, endpoint_id: str, sandbox: Sandbox, priority: int) -> None:
        """Join an endpoint to a sandbox."""
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
        ifname = self._interface_name(endpoint, sandbox, driver.interface_prefix(network))
        bindings = tuple(self._reserve(binding, endpoint, work) for binding in endpoint.ports)
        joined = evolve(endpoint, sandbox_id=sandbox.id, ifname=ifname, bindings=bindings, priority=int(priority))
        work.put(joined)
        return joined

    def leave(self, endpoint_id: str) -> None:
        """Take an endpoint out of its sandbox."""
        with self._engine.operation("leave") as work:
            endpoint = self._get(endpoint_id)
            _allowed(endpoint, "leave", None)
            self._release_ports(endpoint.bindings, endpoint, work)
            work.put(evolve(endpoint, sandbox_id=None, ifname="", bindings=(), priority=0))

    def _interface_name(self, endpoint: EndpointRecord, sandbox: SandboxRecord, prefix: str) -> str:
        if not prefix:
            return ""
        state = self._engine.state
        taken = {each.ifname for each in state.in_sandbox(sandbox.id)}
        if not sandbox.owned:
            facts = self._engine.env.kernel.facts([sandbox.key])
            if sandbox.key not in facts.namespaces:
                raise NotFound(
                    f"sandbox {sandbox.name!r}'s namespace {sandbox.key} is gone",
                    code="namespace_gone",
                    path=sandbox.key,
                )
            taken |= set(facts.namespaces[sandbox.key].links)
        if endpoint.interface is None:
            return next_interface_name(prefix, taken)
        if endpoint.interface in taken | {"lo"}:
            raise Conflict(
                f"interface {endpoint.interface!r} exists in sandbox {sandbox.name!r} already",
                code="interface_taken",
                name=endpoint.interface,
            )
        return endpoint.interface

    # Ports

    def publish(self, endpoint_id: str, binding: PortBinding) -> PortBinding:
        """Publish one more port."""
        with self._engine.operation(f"publish {binding}") as work:
            endpoint = self._get(endpoint_id)
            state = TRANSITIONS[endpoint.state, "publish"]
            network = self._engine.state.networks[endpoint.network_id]
            driver = self._engine.env.drivers.get(network.driver)
            _check_ports(network, driver, [*endpoint.ports, binding])
            evolved = driver.check_endpoint(network, evolve(endpoint, ports=(*endpoint.ports, binding)))
            asked = evolved.ports[-1]
            if state == "created":
                work.put(evolved)
                return asked
            got = self._reserve(asked, endpoint, work)
            work.put(evolve(evolved, bindings=(*endpoint.bindings, got)))
            return got

    def unpublish(self, endpoint_id: str, binding: PortBinding) -> None:
        """Take back a published port, named as it was asked for or as it became."""
        with self._engine.operation(f"unpublish {binding}") as work:
            endpoint = self._get(endpoint_id)
            named = [index for index, (asked, got) in enumerate(_pairs(endpoint)) if binding in (asked, got)]
            if not named:
                published = ", ".join(map(str, endpoint.bindings or endpoint.ports)) or "none"
                raise NotFound(
                    f"port {binding} of endpoint {endpoint.name!r} is not published; published: {published}",
                    code="not_published",
                )
            index = named[0]
            if endpoint.bindings:
                self._release_ports(endpoint.bindings[index : index + 1], endpoint, work)
            kept = [each for each in range(len(endpoint.ports)) if each != index]
            ports = tuple(endpoint.ports[each] for each in kept)
            bindings = tuple(endpoint.bindings[each] for each in kept) if endpoint.bindings else ()
            work.put(evolve(endpoint, ports=ports, bindings=bindings))

    def _reserve(self, binding: PortBinding, endpoint: EndpointRecord, work: Work) -> PortBinding:
        families = endpoint.families
        got = self._engine.env.ports.reserve(binding, families, endpoint.name)
        work.on_undo(lambda: self._engine.env.ports.release(got, families))
        return got

    def _release_ports(self, bindings: Iterable[PortBinding], endpoint: EndpointRecord, work: Work) -> None:
        ports = self._engine.env.ports
        for binding in bindings:
            ports.release(binding, endpoint.families)
            work.on_undo(partial(ports.adopt, binding, endpoint.name, endpoint.families))

    # Update

    def update(self, endpoint_id: str, aliases: Sequence[str] | None) -> None:
        """Replace the aliases."""
        with self._engine.operation("update endpoint") as work:
            endpoint = self._get(endpoint_id)
            if aliases is not None:
                work.put(evolve(endpoint, aliases=tuple(check_name("alias", each) for each in as_tuple(aliases))))

    def _get(self, endpoint_id: str) -> EndpointRecord:
        found = self._engine.state.endpoints.get(endpoint_id)
        if found is None:
            raise NotFound(f"endpoint {endpoint_id[:12]} is deleted", code="no_such_endpoint", id=endpoint_id)
        return found


def _exposed(value: str | int) -> str:
    """Return an exposed port's text: no host port, no host address."""
    binding = PortBinding.parse(value)
    if binding.host_ip or binding.host_port:
        raise InvalidParameter(
            f"invalid exposed port {value!r}: write a port or range and a protocol, 80 or 53/udp; ports= publishes",
            code="invalid_port", binding=str(value),
        )  # fmt: skip
    return str(value)


def next_interface_name(prefix: str, taken: set[str]) -> str:
    """Return ``prefix`` and the lowest number that gives a name not taken (the reference's ``GenerateIfaceName``)."""
    number = 0
    while f"{prefix}{number}" in taken:
        number += 1
    return check_interface_name(f"{prefix}{number}")


def _pairs(endpoint: EndpointRecord) -> list[tuple[PortBinding, PortBinding | None]]:
    got: Sequence[PortBinding | None] = endpoint.bindings or [None] * len(endpoint.ports)
    return list(zip(endpoint.ports, got, strict=True))


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


def _check_ports(network: NetworkRecord, driver: NetworkDriver, ports: Sequence[PortBinding]) -> None:
    if ports and not driver.capability.ports:
        raise NotSupported(f"driver {network.driver!r} publishes no ports", code="no_ports", driver=network.driver)
    if ports and network.internal:
        raise InvalidParameter(
            f"network {network.name!r} is internal: nothing of it can be published",
            code="internal_ports",
            network_id=network.id,
        )


def _parse(network: NetworkRecord, driver: NetworkDriver, spec: EndpointSpec) -> EndpointRecord:
    endpoint_id = secrets.token_hex(32)
    ports = tuple(PortBinding.parse(each) for each in as_tuple(spec.ports))
    _check_ports(network, driver, ports)
    if spec.interface is not None:
        check_interface_name(spec.interface)
    sysctls = freeze(spec.sysctls, "sysctls")
    for name in sysctls:
        if not _ENDPOINT_SYSCTL.fullmatch(name):
            raise InvalidParameter(
                f"invalid endpoint sysctl {name!r}: write net.X.Y.IFNAME.Z, with IFNAME in place of the interface's name",
                code="invalid_sysctl", name=name,
            )  # fmt: skip
    return EndpointRecord(
        id=endpoint_id,
        name=check_name("endpoint", spec.name) if spec.name is not None else f"ep-{endpoint_id[:12]}",
        network_id=network.id,
        mac=MacAddress(spec.mac) if spec.mac is not None else None,
        ports=ports,
        expose=tuple(_exposed(each) for each in as_tuple(spec.expose)),
        aliases=tuple(check_name("alias", each) for each in as_tuple(spec.aliases)),
        dns_names=tuple(check_name("DNS name", each) for each in as_tuple(spec.dns_names)),
        sysctls=sysctls,
        interface=spec.interface,
        options=freeze(spec.options, "options"),
        labels=freeze(spec.labels, "labels"),
        created=time.time(),
    )
