"""What dead hosts have left in a cluster, and when it goes.

A host that died may come back, so what it had is kept for it a while, unless somebody wants it before. Then the living host with the
lowest id takes it away: the keys of its endpoints, and the networks that it created as a temporary controller, which nobody else has a
reason to delete. Networks of other controllers are the cluster's, and stay.

May import: lifecycle, network, store.api, store.cluster, errors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from ..errors import LibnetworkError
from ..network import NetworkRecord
from ..store.api import Write
from ..store.cluster import Check
from .claims import Group
from .mirror import Mirror, host_key

if TYPE_CHECKING:
    from .engine import Engine
    from .networks import Networks

LEFT_FOR = 10.0
"""For how many times its lease a dead host's keys are kept for it, unless somebody wants them before."""
EACH = 0.2
"""Seconds between two looks."""


class Burying:
    """Takes away what dead hosts have left.

    Args:
        engine: Runs the operations.
        networks: Deletes networks.
        mirror: What the cluster says; it outlives no lease.
        ttl: Seconds of a lease.
        write: Writes to the cluster.
    """

    def __init__(
        self, engine: Engine, networks: Networks, mirror: Mirror, ttl: float, write: Callable[[Sequence[Group]], object]
    ) -> None:
        self._engine, self._networks, self._mirror, self._write = engine, networks, mirror, write
        self._patience = LEFT_FOR * ttl
        self._dead: dict[str, float] = {}
        self._again = 0.0

    def look(self, now: float) -> None:
        """Take away what is due at a time of the monotonic clock, if it is this host's turn.

        Raises:
            LibnetworkError: the cluster cannot be told.
        """
        if now < self._again:
            return
        self._again = now + EACH
        with self._engine.reading():
            keys = self._mirror.of_dead()
            left = list(self._abandoned())
        dead = keys.keys() | {each.host for each in left}
        self._dead = {host: self._dead.get(host, now) for host in dead}
        due = {host for host, since in self._dead.items() if now - since > self._patience}
        if due and self._mirror.host == min({*self._mirror.hosts(), self._mirror.host}):
            with self._engine.exclusive():
                self._write(list(self._leftovers({host: keys[host] for host in due & keys.keys()})))
            for network in left:
                if network.host in due:
                    with suppress(LibnetworkError):  # somebody has begun to use it
                        self._networks.delete(network.id, force=False)

    def _leftovers(self, keys: dict[str, list[str]]) -> Iterator[Group]:
        for host, each in keys.items():
            for key in each:
                yield Group((Write(key, None, self._mirror.revision(key)),), (Check(host_key(host), 0),))

    def _abandoned(self) -> Iterator[NetworkRecord]:
        """The networks of temporary controllers that have left the cluster, unless a host that lives has an endpoint on them."""
        for network in self._engine.state.networks.values():
            if network.temporary and not self._mirror.live(network.host) and not self._mirror.used(network.id):
                yield network
