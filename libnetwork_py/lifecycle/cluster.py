"""A controller in a cluster: what other hosts do arrives here, what this one does is claimed before it is done.

Division of labour: `membership` holds the lease, `mirror` what the store was last heard to say, `claims` says what to write; here is
when. One thread follows the store and takes changes into the records as ordinary operations of the engine, so that they are kept,
undone, told as events and applied to the kernel as the difference, like any other.

* The cluster is the truth about networks of global scope, and about endpoints of other hosts: the records follow it.
* The records are the truth about this host's own endpoints: the cluster follows them, whatever a process that died in between left.

May import: lifecycle, store.api, store.cluster, network, endpoint, types, errors.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from attrs import frozen

from ..endpoint import EndpointRecord
from ..errors import Conflict, LibnetworkError, Unavailable
from ..network import NetworkRecord
from ..store.api import Item, Write
from ..store.cluster import Check, Update, Watch
from .burying import Burying
from .claims import Group, Moved, Planner, Touched, moved, transactions
from .following import Following
from .journal import UNDERLAY
from .membership import Membership
from .mirror import Mirror, endpoint_key, fence_key, host_key, known_keys, network_key

if TYPE_CHECKING:
    from .endpoints import Endpoints
    from .engine import Engine
    from .networks import Networks
    from .work import Work

T = TypeVar("T")

ATTEMPTS = 30
"""How often an operation is tried that another host was faster at."""
SETTLE = 2.0
"""Seconds that the watch is given to tell what a commit has met; then everything is read again."""
TICK = 0.2
"""Seconds between two looks of the following thread at what else there is to do."""
BACKOFF = 1.0
"""Seconds after which changes are tried again that could not be applied."""


@frozen
class Done:
    """A write that was made: what was there before, and the revision that is there since."""

    key: str
    before: bytes | None
    revision: int


class Claimed:
    """What an operation has written to the cluster, and what it will give up."""

    def __init__(
        self, cluster: Cluster | None = None, done: Sequence[Done] = (), releases: Sequence[Group] = ()
    ) -> None:
        self._cluster, self._done, self._releases = cluster, tuple(done), tuple(releases)

    def withdraw(self) -> None:
        """Take back what was written."""
        if self._cluster is not None:
            self._cluster.undo(self._done)

    def release(self) -> None:
        """Give up what the operation has given up."""
        if self._cluster is not None and self._releases:
            self._cluster.give_up(self._releases)


class Cluster:
    """The cluster as a controller sees it.

    Args:
        engine: Runs the operations.
        endpoints: Removes endpoints of this host that it has lost.
        networks: Deletes networks that a temporary controller has left.
        membership: Its lease.
        ttl: Seconds of the lease.
    """

    def __init__(
        self, engine: Engine, endpoints: Endpoints, networks: Networks, membership: Membership,
        ttl: float,
    ) -> None:  # fmt: skip
        self.host = engine.env.id
        self.vtep = vtep = membership.vtep
        self.mirror = Mirror(self.host)
        self._engine = engine
        self._membership = membership
        self._planner = Planner(self.mirror, engine.state)
        self._planner.vtep = vtep
        self._again = threading.Event()
        self._following = Following(engine, endpoints, self.mirror, self._planner, self.resync)
        self._burying = Burying(engine, networks, self.mirror, ttl, self._write)
        self._watch: Watch | None = None
        self._over = False
        self._pid = os.getpid()
        self._thread = threading.Thread(target=self._follow, name="libnetwork_py cluster", daemon=True)
        if vtep is not None and vtep != engine.describer.vtep:
            with engine.exclusive():  # later starts must know it too: they may have to take away what hangs on it
                engine.describer.at(vtep)
                engine.announce(writes=[Write(UNDERLAY, str(vtep).encode())])

    # Life

    def start(self, timeout: float) -> None:
        """Join the cluster, take in what it says if it answers within ``timeout`` seconds, and follow it from now on."""
        self._membership.start(self._again.set)
        if not self._membership.away:
            self._watch = self._membership.call(lambda store: store.watch())
            first = self._watch.next(timeout)
            if first is not None:
                self._take_in([first])
        self._thread.start()

    def close(self) -> None:
        """Leave the cluster: at once if this host has no endpoints in it, else when its lease has run out."""
        if self._over or os.getpid() != self._pid:
            return
        self._over = True
        if self._watch is not None:
            self._watch.close()
        if self._thread.is_alive():
            self._thread.join(timeout=10)
        self._membership.leave(revoke=self.idle)

    def forked(self) -> None:
        """Be no member any more in a forked child."""
        self._over = True
        self._membership.forked()

    def resync(self) -> None:
        """Compare this host's own endpoints with the cluster soon."""
        self._again.set()

    @property
    def idle(self) -> bool:
        """Whether this host has nothing in the cluster that should outlive its controller."""
        return not any(True for _ in self._following.own())

    def describe(self) -> tuple[str, list[str]]:
        """Return the store and the hosts in a line, and what is wrong."""
        with self._engine.reading():
            hosts = self.mirror.hosts()
        line = f"{self._membership.where}, {len(hosts)} host{'s' if len(hosts) != 1 else ''}, this one at {self.vtep or 'no address'}"
        return line, [self._membership.away] if self._membership.away else []

    # What this host does

    def again(self, function: Callable[[], T], prefixes: Sequence[str]) -> T:
        """Run an operation, again from the start each time that another host was faster.

        Args:
            function: The operation.
            prefixes: Of the keys that decide whether a `Conflict` of its own is one: if they have changed, unheard yet, it is tried again.

        Raises:
            Conflict: it is one, or it never got through.
        """
        last = Conflict("it was not tried")
        for attempt in range(ATTEMPTS):
            self._engine.addressing.spread = attempt > 1
            heard = self.mirror.heard
            try:
                return function()
            except Moved as error:
                last = error
                keys = error.keys
            except Conflict as error:
                last = error
                keys = self._unheard(prefixes)
                if not keys and heard == self.mirror.heard:
                    raise
            finally:
                self._engine.addressing.spread = False
            self._settle(keys)
            time.sleep(random.uniform(0, 0.005 * min(attempt, 20)))  # noqa: S311 (no secret: two that collided must not meet again)
        raise last

    def step(self, function: Callable[[], T]) -> T:
        """Run a step of a batch, again each time that another host was faster.

        Raises:
            Conflict: it never got through.
        """
        last = Conflict("it was not tried")
        for attempt in range(ATTEMPTS):
            self._engine.addressing.spread = attempt > 0
            try:
                return function()
            except Moved as error:
                last = error
            finally:
                self._engine.addressing.spread = False
            keys = last.keys
            for item in self._membership.call(lambda store, keys=keys: store.get(*keys)).items:  # type: ignore[misc]
                self.mirror.put(item)
        raise last

    def claim_now(self, endpoint: EndpointRecord, network: NetworkRecord, work: Work) -> None:
        """Claim an endpoint of a batch whose addresses are final before the batch ends; given up if it fails.

        Raises:
            Moved: another host was faster.
        """
        if network_key(network.name) not in self.mirror.items:
            return  # the batch creates it: nobody else can know it yet
        group = self._planner.claim(endpoint, network)
        done = self._write([group])
        work.on_undo(lambda: self.undo(done))
        work.on_done(lambda: self._abandoned(endpoint, network))

    def _abandoned(self, endpoint: EndpointRecord, network: NetworkRecord) -> None:
        """Give up an endpoint that its batch has deleted again."""
        if endpoint.id not in self._engine.state.endpoints:
            self.give_up(self._planner.release(self._planner.held(endpoint, network)))

    def follow(self, network_id: str) -> None:
        """Have the endpoints of a network on other hosts in the records from now on."""
        self._following.want(network_id)

    def include(self, network: NetworkRecord, work: Work) -> None:
        """Follow a network as a step of an operation."""
        self._following.include(network, work)

    def find(self, endpoint_id: str) -> None:
        """Follow the networks that have an endpoint whose id begins so."""
        with self._engine.reading():
            networks = self.mirror.networks_with(endpoint_id)
        for each in networks:
            self._following.want(each)

    def missing(self, name: str) -> bool:
        """Whether the cluster has a network of that name that the records lack; they have it when this returns true."""
        key = network_key(name)
        try:
            found = self._membership.call(lambda store: store.get(key)).items
        except LibnetworkError:
            return False
        if found:
            self._settle([key])
        return bool(found)

    def claim(self, touched: Sequence[Touched]) -> Claimed:
        """Write what an operation makes or changes.

        Raises:
            Moved: another host was faster. Conflict: another host uses a network that is to be deleted. Unavailable: no store.
        """
        plan = self._planner.plan(touched)
        if not plan:
            return Claimed()
        fences: list[Done] = []
        try:
            for network in plan.fences:
                fences.append(self._fence(network))
                self._check_unused(network)
            return Claimed(self, self._write(plan.claims), plan.releases)
        except BaseException:
            self.undo(fences)
            raise

    def undo(self, done: Sequence[Done]) -> None:
        """Take back writes, as far as nobody has changed them since; what cannot be taken back now is when the store is there again."""
        for each in reversed(done):
            ours = self.mirror.owner(each.key) == self.host  # then whatever it has become since is this host's doing
            expected = self.mirror.revision(each.key) if ours else each.revision
            try:
                self._commit(Group((Write(each.key, each.before, expected),)))
            except LibnetworkError:
                self.resync()

    def give_up(self, groups: Sequence[Group]) -> None:
        """Write what this host has no more; if the store is away, when it is there again."""
        try:
            self._write(groups)
        except LibnetworkError:
            self.resync()

    def _fence(self, network: NetworkRecord) -> Done:
        """Keep new endpoints out of a network that is to be deleted, as long as this host lives."""
        key, name = fence_key(network.id), network_key(network.name)
        held = self.mirror.items.get(key)
        ours = held is not None and held.document == self.host.encode()
        write = Write(key, self.host.encode(), held.revision if held is not None and ours else 0)
        try:
            revision = self._membership.leased(write, Check(name, self.mirror.revision(name)))
        except Conflict as error:
            raise moved([key, name]) from error
        self.mirror.put(Item(key, self.host.encode(), revision))
        return Done(key, None, revision)

    def _check_unused(self, network: NetworkRecord) -> None:
        """Look for endpoints of living hosts: whatever was created before the fence is seen, and nothing is after it."""
        prefix = endpoint_key(network.id, "")
        for item in self._membership.call(lambda store: store.items(prefix)).items:
            self.mirror.put(item)
        names = [key.removeprefix(prefix) for key in self.mirror.items if key.startswith(prefix)]
        owners = {self.mirror.owner(endpoint_key(network.id, name)) for name in names} - {self.host, ""}
        keys = [host_key(each) for each in owners]
        living = self._membership.call(lambda store: store.get(*keys)).items if keys else ()
        users = {item.key.removeprefix("host/") for item in living}
        if users:
            used = sorted(name for name in names if self.mirror.owner(endpoint_key(network.id, name)) in users)
            raise Conflict(
                f"network {network.name} has endpoints on other hosts ({', '.join(used[:5])}): delete them there first",
                code="network_in_use", network_id=network.id, hosts=sorted(users),
            )  # fmt: skip

    def _write(self, groups: Sequence[Group]) -> list[Done]:
        """Write groups in as few transactions as may be, all of them or none."""
        done: list[Done] = []
        own = [Check(host_key(self.host), max(self.mirror.revision(host_key(self.host)), self._membership.revision))]
        for part in transactions(groups, own, self._membership.limit):
            try:
                done += self._commit(part)
            except LibnetworkError as error:
                self.undo(done)
                if isinstance(error, Conflict) and error.code == "revision":
                    keys = {write.key for write in part.writes} | {check.key for check in part.checks}
                    raise moved(sorted(keys)) from error
                raise
        return done

    def _commit(self, part: Group) -> list[Done]:
        before = [self.mirror.items.get(write.key) for write in part.writes]
        revision = self._membership.call(lambda store: store.commit(part.writes, part.checks))
        for write in part.writes:
            if write.document is None:
                self.mirror.drop(write.key, revision)
            else:
                self.mirror.put(Item(write.key, write.document, revision))
        return [
            Done(write.key, held.document if held else None, revision if write.document is not None else 0)
            for write, held in zip(part.writes, before, strict=True)
        ]

    # What others do

    def _unheard(self, prefixes: Sequence[str]) -> list[str]:
        """Return the keys of which the mirror is not what the store is."""
        found: dict[str, int] = {}
        for prefix in prefixes:
            try:
                items = self._membership.call(lambda store, prefix=prefix: store.items(prefix)).items  # type: ignore[misc]
            except LibnetworkError:
                return []
            found.update({item.key: item.revision for item in items})
        with self._engine.reading():
            held = {key: item.revision for key, item in self.mirror.items.items() if key.startswith(tuple(prefixes))}
        return sorted(key for key in {*found, *held} if found.get(key) != held.get(key))

    def _settle(self, keys: Sequence[str]) -> None:
        """Wait until the records say of some keys what the store says, which the watch is about to tell."""
        found = {item.key: item.revision for item in self._membership.call(lambda store: store.get(*keys)).items}
        own = host_key(self.host)
        if own in keys and own not in found:
            self._membership.register()
            return
        end = time.monotonic() + SETTLE
        while time.monotonic() < end:
            with self._engine.reading():
                if not self.mirror.dirty and all(self._agrees(key, found.get(key, 0)) for key in keys):
                    return
            time.sleep(0.002)
        snapshot = self._membership.call(lambda store: store.items())
        self._take_in([Update(snapshot.revision, snapshot.items, whole=True)])

    def _agrees(self, key: str, revision: int) -> bool:
        held = self.mirror.revision(key)
        return held >= revision if revision else not held

    def _follow(self) -> None:
        pause = 0.0
        while not self._over:
            updates = self._heard()
            try:
                if updates or (self.mirror.dirty and time.monotonic() > pause):
                    self._take_in(updates)
                if self._again.is_set() and not self._membership.away and self._watch is not None:
                    self._again.clear()
                    self._return()
                self._burying.look(time.monotonic())
            except Exception as error:  # noqa: BLE001 (said in `info`, and tried again: the thread must go on)
                self._warn(error)
                pause = time.monotonic() + BACKOFF

    def _heard(self) -> list[Update]:
        """Return what the watch has told by now; wait a little for it."""
        if self._watch is None:
            try:
                self._watch = self._membership.call(lambda store: store.watch())
            except LibnetworkError:
                time.sleep(TICK)
                return []
        first = self._watch.next(TICK)
        updates = [] if first is None else [first]
        while first is not None and (more := self._watch.next(0)) is not None:
            updates.append(more)
        return updates

    def _take_in(self, updates: Sequence[Update]) -> None:
        with self._engine.reading() as state:
            for update in updates:
                self.mirror.take(update, known_keys(state))
        if not self.mirror.live_here and self._membership.registrations and not self._membership.away:
            self._membership.vanished()
        self._following.apply()

    def _return(self) -> None:
        """Make the cluster say of this host's own endpoints what the records say; drop those that others have got meanwhile."""
        self._following.lose()
        with self._engine.exclusive():
            try:
                self._write(list(self._following.differences()))
            except Moved:
                self._again.set()
            except Unavailable:
                self._again.set()
                raise

    def _warn(self, error: Exception) -> None:
        text = f"following the cluster: {error}"
        if text not in self._engine.warnings[-5:]:
            self._engine.warnings.append(text)
