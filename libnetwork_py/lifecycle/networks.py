"""Networks: create, update, inspect, delete.

May import: lifecycle, drivers.api, network, endpoint, sandbox, types, errors.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import evolve

from ..desired import Key, Sysctl
from ..drivers.api import NetworkDriver, Surroundings
from ..endpoint import Endpoint, EndpointRecord
from ..errors import Conflict, Forbidden, InvalidParameter, NotFound, NotSupported
from ..facts import Facts, without
from ..network import EndpointSpec, Network, NetworkRecord, NetworkSpec, Subnet
from ..scene import Scene
from ..types import as_tuple, check_flag, check_name, freeze, parse_address, parse_network
from . import numbering, routing
from .addressing import AddressPlan, with_subnets
from .endpoints import Endpoints
from .engine import Engine
from .inspection import inspect_network
from .outlets import Outlets
from .survey import survey
from .work import Work


class Networks:
    """The use cases of networks; `Network` handles call it.

    Args:
        engine: Runs the operations.
        endpoints: The use cases of endpoints.
    """

    def __init__(self, engine: Engine, endpoints: Endpoints) -> None:
        self._engine = engine
        self._endpoints = endpoints
        endpoints.outlets = Outlets(engine, self.create, endpoints)
        endpoints.fits = self._check_here

    def handle(self, record: NetworkRecord) -> Network:
        """Return the handle of a record."""
        return Network(self, record)

    def scene(self) -> Scene:
        """Return the whole topology, for a picture of what an object is part of; never waits long."""
        return survey(self._engine)

    def record(self, network_id: str) -> NetworkRecord | None:
        """Return the record as it is now."""
        with self._engine.reading() as state:
            return state.networks.get(network_id)

    def find(self, name_or_id: str) -> Network:
        """Return a network by name, id, or the beginning of an id; one that another host has just created is asked for.

        Raises:
            NotFound: there is none.
        """
        cluster = self._engine.cluster
        try:
            with self._engine.reading() as state:
                return self.handle(state.network(name_or_id))
        except NotFound:
            if cluster is None or self._engine.staged is not None or not cluster.missing(name_or_id):
                raise
        with self._engine.reading() as state:
            return self.handle(state.network(name_or_id))

    def endpoints(self, network_id: str) -> list[Endpoint]:
        """Return the endpoints of a network, by name."""
        self._follow(network_id)
        with self._engine.reading() as state:
            return [self._endpoints.handle(each) for each in state.in_network(network_id)]

    def endpoint(self, network_id: str, name_or_id: str) -> Endpoint:
        """Return one endpoint of a network."""
        self._follow(network_id)
        with self._engine.reading() as state:
            return self._endpoints.handle(state.endpoint(network_id, name_or_id))

    def create_endpoint(self, network_id: str, spec: EndpointSpec) -> Endpoint:
        """Create an endpoint."""
        return self._endpoints.create(network_id, spec)

    def inspect(self, network_id: str) -> dict[str, Any]:
        """Return what ``docker network inspect`` returns."""
        self._follow(network_id)
        with self._engine.reading() as state:
            return inspect_network(state, state.network(network_id))

    def _follow(self, network_id: str) -> None:
        """Have the endpoints on other hosts in the records, of which somebody asks."""
        if self._engine.cluster is not None:
            self._engine.cluster.follow(network_id)

    # Create

    def create(self, spec: NetworkSpec) -> Network:
        """Create a network; see `NetworkController.create_network`."""
        check_name("network", spec.name)
        return self._engine.again(lambda: self._create(spec), "network/", "vni/")

    def _create(self, spec: NetworkSpec) -> Network:
        with self._engine.operation(f"create network {spec.name}") as work:
            state = self._engine.state
            if state.network_named(spec.name):
                raise Conflict(f"network with name {spec.name} already exists", code="name_taken", name=spec.name)
            record, plan = _parse(self._configured(spec))
            if not record.config_only:
                record = self._complete(record, plan, work)
                routing.check_network(record, self._engine.env.drivers.get(record.driver))
            work.put(record)
            return self.handle(record)

    def _configured(self, spec: NetworkSpec) -> NetworkSpec:
        """Return the spec with what ``config_from`` names filled in."""
        if spec.config_from is None:
            return spec
        source = self._engine.state.network(spec.config_from)
        if not source.config_only:
            raise Forbidden(
                f"network {source.name!r} is no configuration-only network: create it with config_only=True",
                code="not_config_only", name=source.name,
            )  # fmt: skip
        given = [
            name
            for name in (
                "subnets",
                "ip_ranges",
                "aux_addresses",
                "options",
                "labels",
                "ipam_options",
                "gateways",
                "routes",
            )
            if getattr(spec, name)
        ]
        if given or spec.ipv6 or not spec.ipv4 or spec.config_only:
            what = ", ".join(given) or "ipv4, ipv6 or config_only"
            raise Forbidden(
                f"with config_from only name, driver, internal and attachable may be given, not {what}",
                code="config_from_conflict",
            )  # fmt: skip
        return evolve(
            spec,
            subnets=[each.subnet for each in source.subnets],
            gateways=[each.gateway for each in source.subnets if each.gateway],
            ip_ranges=[each.ip_range for each in source.subnets if each.ip_range],
            aux_addresses={name: each for subnet in source.subnets for name, each in subnet.aux_addresses.items()},
            ipv4=source.ipv4, ipv6=source.ipv6, options=source.options, labels=source.labels,
            ipam=source.ipam, ipam_options=source.ipam_options, routes=source.routes,
        )  # fmt: skip

    def _complete(self, record: NetworkRecord, plan: AddressPlan, work: Work) -> NetworkRecord:
        """Have the driver check the record and IPAM fill in its subnets, nothing of either before all that was asked parses."""
        engine = self._engine
        driver = engine.env.drivers.get(record.driver)
        host = self._creator(record.name, driver)
        temporary = bool(host) and engine.env.temporary
        record = evolve(record, scope=driver.capability.scope, host=host, temporary=temporary)
        others = [
            each for each in engine.state.networks.values() if each.driver == record.driver and not each.config_only
        ]
        if driver.capability.singleton and others:
            raise Forbidden(
                f'only one instance of "{record.driver}" network is allowed: {others[0].name!r} is there',
                code="singleton", name=others[0].name,
            )  # fmt: skip
        facts = without(engine.env.kernel.facts(), work.leaving())
        surroundings = self._surroundings(facts, others)
        if not driver.capability.addresses:
            if plan.subnets:
                raise InvalidParameter(
                    f"driver {record.driver!r} has no subnets", code="no_subnets", driver=record.driver
                )
            return driver.check_network(evolve(record, ipam="null", ipv4=False, ipv6=False), surroundings)
        record = driver.check_network(record, surroundings)
        subnets = engine.addressing.subnets(record, plan, driver.gateway_families(record), facts, work)
        record = driver.check_network(with_subnets(record, subnets), surroundings)
        return (
            numbering.numbered(record, engine.cluster, again=engine.addressing.spread)
            if driver.capability.vni
            else record
        )

    def _creator(self, name: str, driver: NetworkDriver) -> str:
        """Return this host's id for a network that the cluster shall know."""
        cluster = self._engine.cluster
        if driver.capability.scope != "global" or cluster is None:
            if driver.capability.vni:
                raise NotSupported(
                    f'network {name!r} is to be of several hosts: open the controller with cluster="etcd://…"',
                    code="no_cluster",
                )
            return ""
        return cluster.host

    def _check_here(self, network: NetworkRecord) -> None:
        """Have the driver check on this host a network that was created on another: its first endpoint here is about to join."""
        engine = self._engine
        driver = engine.env.drivers.get(network.driver)
        driver.check_network(network, self._surroundings(engine.env.kernel.facts(), ()))

    def _surroundings(self, facts: Facts, others: Sequence[NetworkRecord]) -> Surroundings:
        cluster = self._engine.cluster
        return Surroundings(facts, others, self._settings, cluster.vtep if cluster else None)

    def _settings(self, words: Sequence[Sysctl]) -> Mapping[Key, str]:
        return self._engine.env.kernel.facts(words=words).sysctls

    # Update and delete

    def update(
        self,
        network_id: str,
        labels: Mapping[str, object] | None,
        options: Mapping[str, object] | None,
        routes: object | None,
    ) -> None:
        """Replace labels, routes, or options that may change in use."""
        self._engine.again(lambda: self._update(network_id, labels, options, routes))

    def _update(
        self,
        network_id: str,
        labels: Mapping[str, object] | None,
        options: Mapping[str, object] | None,
        routes: object | None,
    ) -> None:
        with self._engine.operation("update network") as work:
            state = self._engine.state
            record = state.network(network_id)
            work.step(f"update network {record.name}")
            if labels is not None:
                record = evolve(record, labels=freeze(labels, "labels"))
            if options is not None:
                record = self._with_options(record, freeze(options, "options"))
            if routes is not None:
                record = evolve(record, routes=routing.parse(routes))
                if not record.config_only:
                    routing.check_network(record, self._engine.env.drivers.get(record.driver))
            work.put(record)
            if routes is not None:
                here = [each for each in state.in_network(network_id) if not each.host]
                for sandbox_id in {each.sandbox_id for each in here if each.sandbox_id}:
                    routing.check_sandbox(sandbox_id, state)

    def _with_options(self, record: NetworkRecord, options: Mapping[str, str]) -> NetworkRecord:
        driver = self._engine.env.drivers.get(record.driver)
        known = {option.key: option for option in driver.options if option.where == "network"}
        fixed = sorted(
            key
            for key in known.keys() & options.keys()
            if not known[key].changeable and options[key] != record.options.get(key, known[key].default)
        )
        if fixed:
            raise NotSupported(
                f"driver {record.driver!r} cannot change {', '.join(fixed)} of a network that exists: delete and create it",
                code="option_fixed", options=fixed,
            )  # fmt: skip
        changed = evolve(record, options=freeze({**record.options, **options}, "options"))
        others = [
            each
            for each in self._engine.state.networks.values()
            if each.driver == record.driver and each.id != record.id and not each.config_only
        ]
        facts = self._engine.env.kernel.facts()
        return driver.check_network(changed, self._surroundings(facts, others))

    def delete(self, network_id: str, *, force: bool) -> None:
        """Delete a network, with ``force`` its endpoints before it."""
        self._engine.again(lambda: self._delete(network_id, force=force), f"endpoint/{network_id}/")

    def _delete(self, network_id: str, *, force: bool) -> None:
        with self._engine.operation("delete network") as work:
            state = self._engine.state
            record = state.network(network_id)
            work.step(f"delete network {record.name}")
            users = [each.name for each in state.networks.values() if each.config_from == record.name]
            if users:
                raise Conflict(
                    f"network {record.name!r} gives its configuration to {', '.join(users)}: delete those first",
                    code="network_in_use", network_id=record.id,
                )  # fmt: skip
            if not force and not record.config_only:
                self._engine.env.drivers.get(record.driver)  # without it nobody knows what was made for the network
            self._delete_endpoints(record, state.in_network(record.id), force, work)
            self._engine.addressing.give_back_network(record, work)
            work.delete(record)

    def _delete_endpoints(
        self, record: NetworkRecord, endpoints: Sequence[EndpointRecord], force: bool, work: Work
    ) -> None:
        elsewhere = [each for each in endpoints if each.host]
        if elsewhere:
            names = ", ".join(f"name:{each.name} host:{each.host[:12]}" for each in elsewhere[:5])
            raise Conflict(
                f"network {record.name} has endpoints on other hosts ({names}): delete them there first",
                code="network_in_use", network_id=record.id, hosts=sorted({each.host for each in elsewhere}),
            )  # fmt: skip
        if endpoints and not force:
            names = ", ".join(f"name:{each.name} id:{each.id[:12]}" for each in endpoints[:5])
            more = f" and {len(endpoints) - 5} more" if len(endpoints) > 5 else ""
            raise Conflict(
                f"network {record.name} has active endpoints ({names}{more}): delete them, or use force",
                code="network_in_use", network_id=record.id, endpoints=[each.id for each in endpoints],
            )  # fmt: skip
        for endpoint in endpoints:
            self._endpoints.remove(endpoint, work)


def _parse(spec: NetworkSpec) -> tuple[NetworkRecord, AddressPlan]:
    for flag in ("ipv4", "ipv6", "internal", "attachable", "config_only"):
        check_flag(flag, getattr(spec, flag))
    plan = AddressPlan(
        subnets=tuple(parse_network(each) for each in as_tuple(spec.subnets)),
        gateways=tuple(parse_address(each, "gateway") for each in as_tuple(spec.gateways)),
        ip_ranges=tuple(parse_network(each, "ip range") for each in as_tuple(spec.ip_ranges)),
        aux_addresses={
            name: parse_address(each, f"auxiliary address {name!r}")
            for name, each in freeze(spec.aux_addresses, "aux_addresses").items()
        },
    )
    families = {subnet.version for subnet in plan.subnets}
    if 4 in families and not spec.ipv4:
        raise InvalidParameter("an IPv4 subnet was given and ipv4=False: leave one of them out", code="family_conflict")
    if spec.config_only and (spec.internal or spec.attachable):
        raise Forbidden(
            "a configuration-only network can be neither internal nor attachable", code="config_only_conflict"
        )
    record = NetworkRecord(
        id=secrets.token_hex(32),
        name=spec.name,
        driver="null" if spec.config_only else spec.driver,
        ipv4=spec.ipv4,
        ipv6=spec.ipv6 or 6 in families,
        internal=spec.internal,
        attachable=spec.attachable,
        config_only=spec.config_only,
        options=freeze(spec.options, "options"),
        labels=freeze(spec.labels, "labels"),
        ipam=spec.ipam,
        ipam_options=freeze(spec.ipam_options, "ipam_options"),
        config_from=spec.config_from,
        routes=routing.parse(spec.routes),
        created=time.time(),
    )
    return (_configuration(record, plan) if spec.config_only else record), plan


def _configuration(record: NetworkRecord, plan: AddressPlan) -> NetworkRecord:
    """Return a configuration-only network: its subnets are noted, not requested."""
    plan.check()
    subnets = []
    for subnet in plan.subnets:
        gateway, ip_range, aux = plan.inside(subnet)
        subnets.append(Subnet("", subnet, gateway, False, ip_range, aux))
    return evolve(record, subnets=tuple(subnets))
