"""Sandboxes: create, connect, work inside, rename, refresh, delete.

May import: lifecycle, kernel.api, network, endpoint, sandbox, types, errors.
"""

from __future__ import annotations

import secrets
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from socket import socket as Socket  # noqa: N812 (the name of a method here)
from typing import Any, TypeVar

from attrs import evolve, fields

from ..desired import HOST
from ..endpoint import Endpoint, EndpointRecord
from ..errors import Conflict, InvalidParameter, NotFound
from ..facts import LinkStatistics, NamespaceFacts, RouteFact
from ..handle import given
from ..network import EndpointSpec, Network
from ..sandbox import HANDED, HOST_GATEWAY, Interface, Sandbox, SandboxRecord, SandboxSpec
from ..scene import Scene
from ..types import Family, IPAddress, MacAddress, as_tuple, check_dns_name, check_name, freeze, parse_address
from . import settings
from .endpoints import Endpoints
from .engine import Engine
from .explaining import Explanation, explain
from .interrupts import deferred
from .survey import survey
from .work import Work

T = TypeVar("T")

REFRESHABLE = (
    "hostname",
    "domainname",
    "dns",
    "dns_search",
    "dns_options",
    "extra_hosts",
    "sysctls",
    "labels",
    "aliases",
)


class Sandboxes:
    """The use cases of sandboxes; `Sandbox` handles call it.

    Args:
        engine: Runs the operations.
        endpoints: The use cases of endpoints.
    """

    def __init__(self, engine: Engine, endpoints: Endpoints) -> None:
        self._engine = engine
        self._endpoints = endpoints
        self._files = engine.files

    def handle(self, record: SandboxRecord) -> Sandbox:
        """Return the handle of a record."""
        return Sandbox(self, record)

    # Looking

    def explain(self, sandbox_id: str, target: str) -> Explanation:
        """Walk a packet's way; see `experiments.explain`."""
        return explain(self._engine, sandbox_id, target)

    def scene(self) -> Scene:
        """Return the whole topology, for a picture of what an object is part of; never waits long."""
        return survey(self._engine)

    def record(self, sandbox_id: str) -> SandboxRecord | None:
        """Return the record as it is now."""
        with self._engine.reading() as state:
            return state.sandboxes.get(sandbox_id)

    def key(self, path: str) -> str:
        """Return the path by which other programs have a namespace that the records know by ``path``."""
        return self._engine.env.kernel.reach(path)

    def endpoints(self, sandbox_id: str) -> list[Endpoint]:
        """Return the joined endpoints, the leading one first."""
        with self._engine.reading() as state:
            if sandbox_id not in state.sandboxes:
                return []
            ordered = self._engine.describer.candidates(sandbox_id)
            return [self._endpoints.handle(state.endpoints[each.endpoint_id]) for each in ordered]

    def interfaces(self, sandbox_id: str) -> list[Interface]:
        """Return what the kernel has."""
        inside = self._facts(sandbox_id)
        addresses: dict[str, list[Any]] = {name: [] for name in inside.links}
        for name, address in sorted(inside.addresses, key=lambda each: (each[1].version, each[1])):
            addresses.setdefault(name, []).append(address)
        found = [
            Interface(
                link.name, link.index, _mac(link.mac), link.mtu, link.up, tuple(addresses[link.name])
            ) for link in inside.links.values()
        ]  # fmt: skip
        return sorted(found, key=lambda each: each.index)

    def routes(self, sandbox_id: str) -> list[RouteFact]:
        """Return what the kernel has."""
        routes = self._facts(sandbox_id).routes
        return sorted(
            routes, key=lambda each: (each.destination.version, each.destination.prefixlen, str(each.destination))
        )

    def gateway(self, sandbox_id: str, family: Family) -> IPAddress | None:
        """Return the elected gateway."""
        if family not in (4, 6):
            raise InvalidParameter(f"family is 4 or 6, not {family!r}", code="invalid_family")
        with self._engine.reading():
            winner = self._engine.describer.gateways(sandbox_id).get(family)
            return winner.gateway(family) if winner else None

    def statistics(self, sandbox_id: str) -> Mapping[str, LinkStatistics]:
        """Return the counters of every interface."""
        return self._engine.env.kernel.statistics(self._made(sandbox_id).key)

    def files(self, sandbox_id: str) -> tuple[str, str]:
        """Return the texts of hosts and resolv.conf."""
        return self._files.texts(self._get(sandbox_id))

    def _facts(self, sandbox_id: str) -> NamespaceFacts:
        record = self._made(sandbox_id)
        facts = self._engine.env.kernel.facts([record.key])
        if record.key not in facts.namespaces:
            cure = "reconcile() makes it again" if record.owned else "delete the sandbox"
            raise NotFound(
                f"sandbox {record.name!r}'s namespace {record.key} is gone: {cure}",
                code="namespace_gone",
                path=record.key,
            )
        return facts.namespaces[record.key]

    # Create and delete

    def create(self, spec: SandboxSpec) -> Sandbox:
        """Create a sandbox; see `NetworkController.create_sandbox`."""
        check_name("sandbox", spec.name)
        with deferred(), self._ahead(spec.netns), self._engine.operation(f"create sandbox {spec.name}") as work:
            if self._engine.state.sandbox_named(spec.name):
                raise Conflict(f"sandbox with name {spec.name} already exists", code="name_taken", name=spec.name)
            record = self._placed(_parse(spec), spec.netns, work)
            work.put(record)
            return self.handle(record)

    def _ahead(self, netns: str | int | None) -> AbstractContextManager[None]:
        """Have a namespace begun if one is made now: it takes longer than all that comes before it is needed."""
        now = netns is None and self._engine.staged is None
        return self._engine.env.kernel.foreseeing() if now else nullcontext()

    def _placed(self, record: SandboxRecord, netns: str | int | None, work: Work) -> SandboxRecord:
        kernel = self._engine.env.kernel
        if netns is None:
            work.hold("naming", kernel.naming)
            key = kernel.free_namespace(record.name, record.id[:6])
            if self._engine.state.sandbox_at(key):  # renamed since; and lost, or not made yet: of the same batch
                key = kernel.free_namespace(f"{record.name}-{record.id[:6]}", record.id[6:12])
            return evolve(record, key=key)
        if netns == HANDED:
            return evolve(record, key=f"{HANDED}:{record.id[:12]}", owned=False)
        key = HOST if netns == "host" else kernel.find_namespace(netns)
        users = [each.name for each in self._engine.state.sandboxes.values() if each.key == key]
        if users:
            raise Conflict(
                f"sandbox {users[0]!r} has the namespace {key or 'of the host'} already",
                code="namespace_taken",
                path=key,
                name=users[0],
            )
        return settings.of_sandbox(evolve(record, key=key, owned=False, identity=kernel.expect(key)), {}, kernel)

    def delete(self, sandbox_id: str, *, force: bool) -> None:
        """Delete a sandbox with its endpoints."""
        with self._engine.operation("delete sandbox") as work:
            record = self._get(sandbox_id)
            work.step(f"delete sandbox {record.name}")
            self.remove(record, work)

    def remove(self, record: SandboxRecord, work: Work) -> None:
        """Delete a sandbox with its endpoints as a step of an operation."""
        for endpoint in self._engine.state.in_sandbox(record.id):
            if endpoint.id in self._engine.state.endpoints:  # its way out goes with the last that needs it
                self._endpoints.remove(endpoint, work)
        work.delete(record)

    # Connect and disconnect

    def connect(self, sandbox_id: str, network: Network, priority: int, options: Mapping[str, Any]) -> Endpoint:
        """Create an endpoint and join it, as one operation."""
        unknown = sorted(set(options) - {each.name for each in fields(EndpointSpec)})
        if unknown:
            raise InvalidParameter(
                f"connect() got unknown options {', '.join(unknown)}", code="unknown_option", options=unknown
            )
        given(network, Network)
        return self._engine.again(
            lambda: self._connect(sandbox_id, network, priority, options), f"endpoint/{network.id}/"
        )

    def _connect(self, sandbox_id: str, network: Network, priority: int, options: Mapping[str, Any]) -> Endpoint:
        with self._engine.operation("connect") as work:
            state = self._engine.state
            record = self._get(sandbox_id)
            target = state.network(network.id)
            work.step(f"connect {record.name} to {target.name}")
            asked: dict[str, Any] = {**options, "name": options.get("name") or record.name}
            spec = EndpointSpec(**asked)
            endpoint = self._endpoints.add(target, spec, work)
            return self._endpoints.handle(self._endpoints.attach(endpoint, record, priority, work))

    def disconnect(self, sandbox_id: str, network: Network) -> None:
        """Leave a network and delete the endpoint, as one operation."""
        given(network, Network)
        with self._engine.operation("disconnect") as work:
            record = self._get(sandbox_id)
            found = [each for each in self._engine.state.in_sandbox(sandbox_id) if each.network_id == network.id]
            if len(found) != 1:
                raise Conflict(
                    _not_one(record, network, found),
                    code="not_connected" if not found else "ambiguous",
                    sandbox_id=sandbox_id,
                )
            work.step(f"disconnect {record.name} from {network.name}")
            self._endpoints.remove(found[0], work)

    # Working inside

    def popen(self, sandbox_id: str, argv: Sequence[str] | str, options: Mapping[str, Any]) -> subprocess.Popen[Any]:
        """Start a process inside."""
        record = self._made(sandbox_id)
        files = self._files.write(record) if record.key != HOST else {}
        return self._engine.env.kernel.popen(record.key, argv, files, **options)

    def run(
        self, sandbox_id: str, argv: Sequence[str] | str, options: Mapping[str, Any]
    ) -> subprocess.CompletedProcess[Any]:
        """Run a process inside, with `subprocess.run`'s options."""
        rest = dict(options)
        data, timeout, check = rest.pop("input", None), rest.pop("timeout", None), rest.pop("check", False)
        if rest.pop("capture_output", False):
            if rest.get("stdout") is not None or rest.get("stderr") is not None:
                raise ValueError("stdout and stderr arguments may not be used with capture_output.")
            rest["stdout"] = rest["stderr"] = subprocess.PIPE
        if data is not None:
            if rest.get("stdin") is not None:
                raise ValueError("stdin and input arguments may not both be used.")
            rest["stdin"] = subprocess.PIPE
        with self.popen(sandbox_id, argv, rest) as process:
            try:
                stdout, stderr = process.communicate(data, timeout=timeout)
            except BaseException:
                process.kill()
                process.wait()
                raise
        completed = subprocess.CompletedProcess(argv, process.returncode, stdout, stderr)
        if check:
            completed.check_returncode()
        return completed

    def call(self, sandbox_id: str, function: Callable[..., T], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> T:
        """Run a function inside."""
        return self._engine.env.kernel.call(self._made(sandbox_id).key, function, *args, **kwargs)

    def resolve(self, sandbox_id: str, name: str) -> list[Any]:
        """Return what the sandbox's name service answers, without asking it."""
        record = self._get(sandbox_id)
        with self._engine.reading():
            return self._engine.names.resolve(record.id, name)

    def entered(self, sandbox_id: str) -> AbstractContextManager[None]:
        """Move the calling thread inside."""
        return self._engine.env.kernel.entered(self._made(sandbox_id).key)

    def socket(self, sandbox_id: str, family: int, kind: int, protocol: int) -> Socket:
        """Open a socket inside."""
        return self._engine.env.kernel.socket(self._made(sandbox_id).key, family, kind, protocol)

    # Changing

    def rename(self, sandbox_id: str, name: str) -> None:
        """Change the name."""
        check_name("sandbox", name)
        with self._engine.operation(f"rename sandbox to {name}") as work:
            record = self._get(sandbox_id)
            other = self._engine.state.sandbox_named(name)
            if other and other.id != sandbox_id:
                raise Conflict(f"sandbox with name {name} already exists", code="name_taken", name=name)
            hostname = name if record.hostname == record.name else record.hostname
            work.put(evolve(record, name=name, hostname=hostname))
            for endpoint in self._engine.state.in_sandbox(sandbox_id):
                if endpoint.name == record.name and self._may_be_called(endpoint, name):
                    work.put(evolve(endpoint, name=name))
                    work.on_done(partial(self._engine.env.ports.rename, endpoint.name, name, endpoint.bindings))

    def _may_be_called(self, endpoint: EndpointRecord, name: str) -> bool:
        """Whether an endpoint may follow its sandbox's new name: not where the name is taken, nor where other hosts know the old one."""
        state = self._engine.state
        return state.networks[endpoint.network_id].scope == "local" and not state.endpoint_named(
            endpoint.network_id, name
        )

    def add_host(self, sandbox_id: str, name: str, address: str) -> None:
        """Add one more name to those that it has when nobody else adds one."""
        with self._engine.operation("add host"):
            held = self._get(sandbox_id).extra_hosts
            self.refresh(sandbox_id, {"extra_hosts": {**held, name: address}})

    def refresh(self, sandbox_id: str, options: Mapping[str, Any]) -> None:
        """Change what may change of the options it was created with."""
        unknown = sorted(set(options) - set(REFRESHABLE))
        if unknown:
            raise InvalidParameter(
                f"refresh() cannot change {', '.join(unknown)}: it changes {', '.join(REFRESHABLE)}",
                code="unknown_option",
                options=unknown,
            )
        with self._engine.operation("refresh sandbox") as work:
            record = self._get(sandbox_id)
            parsed = _parse(SandboxSpec(record.name, **options))
            changed = evolve(record, **{name: getattr(parsed, name) for name in options})
            if "sysctls" in options:
                changed = settings.of_sandbox(changed, record.sysctls, self._engine.env.kernel)
            work.put(changed)

    def _get(self, sandbox_id: str) -> SandboxRecord:
        with self._engine.reading() as state:
            found = state.sandboxes.get(sandbox_id)
            if found is None:
                raise state.deleted("sandbox", sandbox_id)
        return found

    def _made(self, sandbox_id: str) -> SandboxRecord:
        """Return the record of a sandbox that exists in the kernel, not only in a batch."""
        record = self._get(sandbox_id)
        staged = self._engine.staged
        if staged is not None and any(after is record and before is None for before, after in staged.touched()):
            raise Conflict(
                f"sandbox {record.name!r} is made when the batch or plan ends: work inside it after that",
                code="not_made_yet",
                name=record.name,
            )
        return record


def _parse(spec: SandboxSpec) -> SandboxRecord:
    sysctls = settings.given(spec.sysctls)
    for name in sysctls:
        if not name.startswith("net.") or ".." in name or "/" in name:
            raise InvalidParameter(
                f"invalid sysctl {name!r}: a sandbox has the settings below net.", code="invalid_sysctl", name=name
            )
    hosts = {
        check_dns_name("host", name): address if address == HOST_GATEWAY else str(parse_address(address))
        for name, address in freeze(spec.extra_hosts, "extra_hosts").items()
    }
    aliases = {
        check_dns_name("alias", alias): check_dns_name("name", name)
        for alias, name in freeze(spec.aliases, "aliases").items()
    }
    return SandboxRecord(
        id=secrets.token_hex(32),
        name=spec.name,
        key="",
        hostname=check_dns_name("host", spec.hostname) if spec.hostname is not None else spec.name,
        domainname=check_dns_name("domain", spec.domainname) if spec.domainname else "",
        dns=tuple(str(parse_address(each, "name server")) for each in as_tuple(spec.dns)),
        dns_search=tuple(_word("search domain", each) for each in as_tuple(spec.dns_search)),
        dns_options=tuple(_word("resolver option", each) for each in as_tuple(spec.dns_options)),
        extra_hosts=freeze(hosts, "extra_hosts"),
        aliases=freeze(aliases, "aliases"),
        sysctls=sysctls,
        labels=freeze(spec.labels, "labels"),
        created=time.time(),
    )


def _word(what: str, text: str) -> str:
    """Return a word of ``resolv.conf`` if it is one: a line break in it would be a line of its own."""
    if not isinstance(text, str) or not text.isprintable() or len(text.split()) != 1:  # type: ignore[redundant-expr] # not every caller is checked
        raise InvalidParameter(
            f"invalid {what} {text!r}: write one word without white space", code="invalid_resolver_word", what=what
        )
    return text


def _mac(text: str) -> MacAddress | None:
    return MacAddress(text) if text.strip("0:") else None


def _not_one(record: SandboxRecord, network: Network, found: Sequence[EndpointRecord]) -> str:
    if not found:
        return f"sandbox {record.name!r} is not connected to network {network.name!r}"
    names = ", ".join(each.name for each in found)
    return f"sandbox {record.name!r} is connected to network {network.name!r} {len(found)} times ({names}): delete the endpoint you mean"
