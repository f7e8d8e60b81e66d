"""The front door; with `composition`, the one place that picks implementations.

Division of labour: `NetworkController` turns calls into the use cases of `lifecycle/`, for which `composition` chooses store, kernel,
drivers and IPAM. It decides nothing else.

May import: everything below; implementations inside functions, when they are needed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from attrs import evolve

from .composition import compose, host_path, linux, name_service, namespace_place, persistent, undone_on_failure
from .config import ControllerConfig
from .endpoint import Endpoint
from .errors import LibnetworkError
from .lifecycle.endpoints import Endpoints
from .lifecycle.engine import Engine
from .lifecycle.events import Events, begin
from .lifecycle.identity import identify, identity_in, known_host
from .lifecycle.information import Info, gather
from .lifecycle.joining import join
from .lifecycle.naming import host_resolv_conf
from .lifecycle.networks import Networks
from .lifecycle.plan import Plan, planning
from .lifecycle.reconcile import Report, reconcile
from .lifecycle.removal import Pruned, prune_networks, remove_everything
from .lifecycle.sandboxes import Sandboxes
from .lifecycle.selection import select
from .network import Network, NetworkSpec
from .notebook import InNotebook
from .routes import StaticRoute
from .sandbox import Sandbox, SandboxSpec
from .store.api import Store
from .store.cluster import ClusterUrl
from .types import EMPTY, IPAddress, IPNetwork, check_path

if TYPE_CHECKING:
    from .drivers.api import NetworkDriver
    from .ipam.api import IpamDriver
    from .kernel.api import Kernel
    from .lifecycle.names import Summons
    from .plugins.registry import Registry
    from .store.directory import TemporaryDirectory


class NetworkController(InNotebook):
    """Makes networks and sandboxes, and keeps them.

    Args:
        state_dir: Directory of its records; made if absent. Default: ``/var/lib/libnetwork_py`` for root, else
            ``$XDG_STATE_HOME/libnetwork_py``. Several controllers, also of several processes, may share one.
        host: The namespace that plays the host: a `Sandbox`, the path of a namespace, or ``None`` for the caller's own.
        cluster: URL of a cluster's store, for networks of global scope: ``etcd://host:2379,host:2379``; see `ClusterUrl`.
        config: A `ControllerConfig` or a mapping of its fields.

    What the records describe and the kernel lacks, after a reboot for example, is made again before the constructor returns.

    Raises:
        Forbidden: privilege is missing, or the directory is unsafe. Unavailable: the directory's database is damaged or newer.
        InvalidParameter: ``host`` is no network namespace. Conflict: the directory belongs to another host.
    """

    _temporary: TemporaryDirectory | None = None

    def __init__(
        self,
        state_dir: str | os.PathLike[str] | None = None,
        *,
        host: Sandbox | str | os.PathLike[str] | None = None,
        cluster: str | None = None,
        config: ControllerConfig | Mapping[str, object] | None = None,
    ) -> None:
        from .store.directory import open_directory

        settings, path, url = ControllerConfig.of(config), host_path(host), ClusterUrl.of(cluster)
        place = Path(check_path("state_dir", state_dir)) if state_dir is not None else None
        kernel = linux(path, settings, partial(open_directory, place))
        with undone_on_failure(kernel.close) as undo:
            store, directory = persistent(place)
            undo.callback(store.close)
            names = name_service(kernel, directory, "lasting", settings)
            self._open(store, directory, kernel, path, settings, url=url, names=names)
        _sweep()

    @classmethod
    def temporary(
        cls,
        *,
        host: Sandbox | str | os.PathLike[str] | None = None,
        cluster: str | None = None,
        config: ControllerConfig | Mapping[str, object] | None = None,
    ) -> Self:
        """Return a controller whose networks and sandboxes go when it is closed.

        If its process dies first, the next controller to start, or `prune`, removes them. Arguments and errors are the
        constructor's.
        """
        from .store.directory import temporary_directory
        from .store.sqlite import SqliteStore

        settings, path, url = ControllerConfig.of(config), host_path(host), ClusterUrl.of(cluster)
        kernel = linux(path, settings)
        with undone_on_failure(kernel.close) as undo:
            _sweep()
            directory = temporary_directory()
            undo.callback(directory.remove)
            store = SqliteStore(directory.path)
            undo.callback(store.close)
            if host is None:  # else something is left to remove
                kernel.bequeath(directory.path)
            self = cls.__new__(cls)
            self._temporary = directory
            names = name_service(kernel, directory.path, "temporary", settings)
            self._open(store, directory.path, kernel, path, settings, url=url, names=names)
        return self

    @classmethod
    def over(
        cls,
        store: Store,
        kernel: Kernel,
        *,
        cluster: str | None = None,
        config: ControllerConfig | Mapping[str, object] | None = None,
    ) -> Self:
        """Return a controller over a given store and kernel, such as those of `libnetwork_py.testing`."""
        self = cls.__new__(cls)
        self._open(store, None, kernel, "", ControllerConfig.of(config), url=ClusterUrl.of(cluster))
        return self

    def _open(
        self, store: Store, directory: Path | None, kernel: Kernel, host: str, config: ControllerConfig,
        *, url: ClusterUrl | None = None, names: Summons | None = None,
    ) -> None:  # fmt: skip
        self._closed = False
        self._pid = os.getpid()
        self._directory = directory
        self._store, self._kernel = store, kernel
        self._events: list[Events] = []
        identity = identify(store, known_host(host, kernel.privilege), config)
        env = compose(identity.id, store, kernel, config, directory)
        temporary = self._temporary is not None
        self._env = evolve(env, summons=names, resolv_conf=host_resolv_conf(host), temporary=temporary)
        kernel.attend(directory, self._env.ports.socket, lasting=not temporary)
        self._engine = Engine(self._env)
        self._endpoints = Endpoints(self._engine)
        self._networks = Networks(self._engine, self._endpoints)
        self._sandboxes = Sandboxes(self._engine, self._endpoints)
        self._engine.load()
        self._cluster = join(url, self._engine, self._endpoints, self._networks, host) if url else None
        with undone_on_failure(self._cluster.close if self._cluster else lambda: None):
            if config.repair_on_open and (self._engine.state.networks or self._engine.state.sandboxes):
                reconcile(self._engine, repair=True)
            else:
                self._engine.names.start(anew=False)

    # Networks and sandboxes

    def create_network(
        self,
        name: str,
        driver: str = "bridge",
        *,
        subnets: Sequence[str | IPNetwork] | str | IPNetwork = (),
        gateways: Sequence[str | IPAddress] | str | IPAddress = (),
        ip_ranges: Sequence[str | IPNetwork] | str | IPNetwork = (),
        aux_addresses: Mapping[str, str | IPAddress] = EMPTY,
        ipv4: bool = True,
        ipv6: bool = False,
        internal: bool = False,
        attachable: bool = False,
        options: Mapping[str, object] = EMPTY,
        labels: Mapping[str, object] = EMPTY,
        ipam: str = "default",
        ipam_options: Mapping[str, object] = EMPTY,
        config_from: str | None = None,
        config_only: bool = False,
        routes: Iterable[str | StaticRoute] | str | StaticRoute = (),
    ) -> Network:
        """Create a network.

        Args:
            name: Unique among the controller's networks.
            driver: Name of a driver.
            subnets: ``10.1.0.0/16``, ``fd00:1::/64``; for a family without one, IPAM chooses. An IPv6 subnet turns IPv6 on.
            gateways: The network's own address in a subnet; the first free one by default.
            ip_ranges: Part of a subnet that endpoints' addresses are chosen from.
            aux_addresses: Name → address, kept back.
            ipv4: Whether it has IPv4; ``ipv6``: likewise.
            ipv6: See ``ipv4``.
            internal: Cut off from the outside and from other networks.
            attachable: Kept for Docker's sake; any sandbox may join.
            options: The driver's, by Docker's keys.
            labels: Yours, kept as text.
            ipam: Name of an IPAM driver; ``ipam_options``: its options.
            ipam_options: See ``ipam``.
            config_from: Name of a configuration-only network to take all of the above from.
            config_only: Only a configuration for others to take.
            routes: Routes that every sandbox on it gets: ``10.9.0.0/16 via 172.18.0.5 metric 100`` or `StaticRoute`. The endpoint
                that is the gateway of one does not get that one.

        Raises:
            Conflict: the name, a subnet or the bridge's name is taken. InvalidParameter: malformed or unknown.
            NotFound: no such driver. Unavailable: no subnet is left. Forbidden: what the driver or Docker's model excludes.
        """
        spec = NetworkSpec(
            name, driver, subnets, gateways, ip_ranges, aux_addresses, ipv4, ipv6, internal, attachable,
            options, labels, ipam, ipam_options, config_from, config_only, routes,
        )  # fmt: skip
        return self._networks.create(spec)

    def create_sandbox(
        self,
        name: str,
        *,
        netns: str | os.PathLike[str] | int | None = None,
        hostname: str | None = None,
        domainname: str | None = None,
        dns: Sequence[str | IPAddress] | str | IPAddress = (),
        dns_search: Sequence[str] | str = (),
        dns_options: Sequence[str] | str = (),
        extra_hosts: Mapping[str, str | IPAddress] = EMPTY,
        sysctls: Mapping[str, object] = EMPTY,
        labels: Mapping[str, object] = EMPTY,
        aliases: Mapping[str, str] = EMPTY,
    ) -> Sandbox:
        """Create a sandbox: a named network namespace, its loopback up.

        Args:
            name: Unique among the controller's sandboxes; also its name for ``ip netns``, unless somebody has that.
            netns: Adopt an existing namespace instead: its path, the pid of a process in it, or ``"host"`` for the host's own.
                ``"handed"``: somebody else has one, and takes the interfaces, which are made on the host: see `Endpoint.handover`.
            hostname: The sandbox's own name; ``name`` by default. ``domainname``: appended to it.
            domainname: See ``hostname``.
            dns: Addresses of name servers; ``dns_search``, ``dns_options``: the other lines of ``resolv.conf``.
            dns_search: See ``dns``.
            dns_options: See ``dns``.
            extra_hosts: Name → address, for ``/etc/hosts`` and the name service; ``host-gateway`` is the host's address.
            sysctls: ``net.…`` → value, set inside.
            aliases: Name → another name that it stands for, in this sandbox alone (Docker's links).
            labels: Yours, kept as text.

        Raises:
            Conflict: the name or the namespace is another sandbox's. NotFound: no such path or process.
            InvalidParameter: malformed, or the path is no network namespace.
        """
        spec = SandboxSpec(
            name,
            namespace_place(netns),
            hostname,
            domainname,
            dns,
            dns_search,
            dns_options,
            extra_hosts,
            sysctls,
            labels,
            aliases,
        )
        return self._sandboxes.create(spec)

    def network(self, name_or_id: str) -> Network:
        """Return a network by name, id, or the beginning of an id that only one has.

        Raises:
            NotFound: there is none.
        """
        return self._networks.find(name_or_id)

    def networks(self, **filters: object) -> list[Network]:
        """Return the networks, by name.

        Args:
            **filters: Field → value (``driver="bridge"``, ``internal=True``), and ``label="key"`` or ``label="key=value"``.

        Raises:
            InvalidParameter: unknown field.
        """
        with self._engine.reading() as state:
            return [self._networks.handle(each) for each in select(state.networks.values(), filters)]

    def sandbox(self, name_or_id: str) -> Sandbox:
        """Return a sandbox, likewise.

        Raises:
            NotFound: there is none.
        """
        with self._engine.reading() as state:
            return self._sandboxes.handle(state.sandbox(name_or_id))

    def sandboxes(self, **filters: object) -> list[Sandbox]:
        """Return the sandboxes, by name; filters as for `networks`."""
        with self._engine.reading() as state:
            return [self._sandboxes.handle(each) for each in select(state.sandboxes.values(), filters)]

    def endpoint(self, id: str) -> Endpoint:  # noqa: A002 (the public name)
        """Return an endpoint by id, or the beginning of an id that only one has.

        Raises:
            NotFound: there is none. InvalidParameter: several ids begin so, or it is empty.
        """
        return self._endpoints.find(id)

    # Many at once

    @contextmanager
    def batch(self) -> Iterator[Self]:
        """Return a context manager: what is asked for inside is made when it ends, together, or not at all.

        Handles made inside are complete but for the kernel's part: names, ids and addresses are final.

        Raises:
            Conflict: another batch or plan is open in this thread.
        """
        with self._engine.transaction("batch"):
            yield self

    @contextmanager
    def plan(self) -> Iterator[Plan]:
        """Return a context manager like `batch` that touches nothing: afterwards ``plan.text`` says what would be done."""
        with planning(self._engine) as plan:
            yield plan

    # Upkeep

    def reconcile(self, *, repair: bool = True) -> Report:
        """Compare what should exist with the kernel, and mend it.

        Args:
            repair: False: only list.
        """
        return reconcile(self._engine, repair=repair)

    def prune(self) -> Pruned:
        """Remove networks without endpoints, and what temporary controllers whose process died have left; in a plan, only the former."""
        networks, staged = prune_networks(self._engine), self._engine.staged
        return Pruned(networks, () if staged is not None and staged.dry else _sweep())

    def events(self, *, since: float | datetime | None = None) -> Events:
        """Return an iterator of what happens from now on, in every process that shares the state directory.

        Args:
            since: Number of an event, to go on after it; or a time (a ``datetime``, or seconds since the epoch as a float).
        """
        events = Events(self._store, begin(self._store, since), self._engine.committed)
        self._events.append(events)
        return events

    @property
    def drivers(self) -> Registry[NetworkDriver]:
        """The network drivers by name; ``ipams``: the IPAM drivers."""
        return self._env.drivers

    @property
    def ipams(self) -> Registry[IpamDriver]:
        """The IPAM drivers by name."""
        return self._env.ipams

    def info(self) -> Info:
        """Return versions, kernel features, drivers with their distributions, backends, privilege mode and warnings."""
        return gather(self._engine, self._directory)

    def close(self) -> None:
        """Give back threads and files; what a temporary controller made goes, what another made stays."""
        if self._closed:
            return
        self._closed = True
        for events in self._events:
            events.close()
        try:
            if self._temporary is not None and os.getpid() == self._pid and self._kernel.alive:
                remove_everything(self._engine, self._sandboxes, self._endpoints, self._networks)
        finally:
            self._engine.close()
            if self._cluster is not None:
                self._cluster.close()
            self._env.ports.close()
            self._store.close()
            self._kernel.close()
        if self._temporary is not None and os.getpid() == self._pid:
            self._temporary.remove()

    @classmethod
    def _remove(cls, store: Store, directory: Path, kernel: Kernel, host: str) -> None:
        """Remove everything that a dead controller made."""
        self = cls.__new__(cls)
        self._open(store, directory, kernel, host, ControllerConfig())
        try:
            remove_everything(self._engine, self._sandboxes, self._endpoints, self._networks)
        finally:
            self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        where = "temporary" if self._temporary is not None else str(self._directory or "in memory")
        return f"<NetworkController {self._env.id[:12]} {where}>"


def _sweep() -> tuple[str, ...]:
    """Remove what temporary controllers whose process died have left; return their directories."""
    from .store.directory import adopt, dead_temporaries

    swept = []
    for directory in dead_temporaries():
        heir = adopt(directory)
        if heir is None:  # another process is at it
            continue
        with suppress(LibnetworkError, OSError, ExceptionGroup):
            _remove_dead(directory)
            heir.remove()
            swept.append(str(directory))
    return tuple(swept)


def _remove_dead(directory: Path) -> None:
    from .store.sqlite import SqliteStore

    store = SqliteStore(directory)
    identity = identity_in(store)
    if identity is not None and identity.died_with_it:
        store.close()
        return
    host, settings = (
        (identity.path, ControllerConfig(privilege=identity.privilege)) if identity else ("", ControllerConfig())
    )
    try:
        kernel = linux(host, settings)
    except LibnetworkError:  # the host's namespace is gone with everything in it; root's sandboxes are not
        if settings.privilege == "user":
            store.close()
            return
        kernel = linux("", settings)
    NetworkController._remove(store, directory, kernel, host)
