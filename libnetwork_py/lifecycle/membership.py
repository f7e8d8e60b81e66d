"""This host in the cluster: its lease, and whether the store can be reached at the moment.

Division of labour: one thread keeps the lease alive, takes a new one when it has ended, and finds out when a store that was away is
back; `cluster` does what is to be done then. While the store is away nobody waits for it: whoever needs it hears so at once.

May import: lifecycle.mirror, store.api, store.cluster, types, errors.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import TypeVar

from ..errors import Conflict, LibnetworkError, Unavailable
from ..store.api import Write
from ..store.cluster import Check, ClusterStore
from ..types import IPAddress
from .mirror import host_key

T = TypeVar("T")

RETRY = 1.0
"""Seconds between attempts to reach a store that is away."""


class Membership:
    """A host's lease in a cluster.

    Args:
        store: The cluster's store.
        host: The host's id.
        name: Its name, for people.
        vtep: Its address in the underlay.
        ttl: Seconds for which the lease holds without a word from this host.
        inside: Enters the namespace that plays the host, which the store's connections are made from.

    Attributes:
        revision: Of the host's own document.
        vtep: The host's address in the underlay.
        away: Why the store cannot be reached; empty if it can.
    """

    def __init__(
        self, store: ClusterStore, host: str, name: str, vtep: IPAddress | None, ttl: float,
        *, inside: Callable[[], AbstractContextManager[None]],
    ) -> None:  # fmt: skip
        self.revision = 0
        self.vtep = vtep
        self.away = ""
        self.limit = store.limit
        self.where = store.where
        self.registrations = 0
        self._store = store
        self._host, self._ttl, self._inside = host, ttl, inside
        self._document = json.dumps({"name": name, "vtep": str(vtep or "")}).encode()
        self._lease = ""
        self._guard = threading.Lock()
        self._wake = threading.Event()
        self._over = self._forked = False
        self._gone = False
        self._returned: Callable[[], None] = lambda: None
        self._thread = threading.Thread(target=self._keep, name="libnetwork_py lease", daemon=True)

    def start(self, returned: Callable[[], None]) -> None:
        """Join the cluster, now if its store answers, else when it does; ``returned`` is called after every time that it was away.

        Raises:
            Forbidden: the store refuses this host.
        """
        self._returned = returned
        with suppress(Unavailable):
            self.register()
        self._thread.start()

    def forked(self) -> None:
        """Let go, in a forked child, of what belongs to the parent: its lease and its connections."""
        self._over = self._forked = True
        self.away = "this process was forked from the controller's: open a controller of its own"

    def call(self, function: Callable[[ClusterStore], T]) -> T:
        """Ask the store.

        Raises:
            Unavailable: ``cluster_unreachable``: it does not answer, or did not a moment ago.
        """
        if self.away:
            raise Unavailable(self.away, code="cluster_unreachable", cluster=self.where)
        return self._ask(function)

    def _ask(self, function: Callable[[ClusterStore], T]) -> T:
        try:
            with self._inside():
                return function(self._store)
        except Unavailable as error:
            self._lost(error)
            raise

    def register(self) -> None:
        """Take a new lease and say that this host is here.

        Raises:
            Unavailable: the store cannot be reached.
        """
        with self._guard:
            lease = self._ask(lambda store: store.grant(self._ttl))
            write = Write(host_key(self._host), self._document)
            self.revision = self._ask(lambda store: store.commit([write], lease=lease))
            self._lease = lease
            self.registrations += 1
        self.away = ""
        self._returned()

    def leased(self, write: Write, *checks: Check) -> int:
        """Commit a write that ends with this host's lease."""
        lease = self._lease
        return self.call(lambda store: store.commit([write], checks, lease=lease))

    def vanished(self) -> None:
        """Say that the host's document is not there although its lease may hold: another controller of this host had it, and has gone."""
        self._gone = True
        self._wake.set()

    def leave(self, *, revoke: bool) -> None:
        """End the thread; with ``revoke`` the lease too, at once, else it runs out."""
        if self._forked:
            return
        self._over = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout=2 * self._ttl)
        if revoke and self._lease and not self.away:
            with suppress(LibnetworkError):
                self.call(lambda store: store.revoke(self._lease))
        with self._inside():
            self._store.close()

    def _keep(self) -> None:
        while not self._over:
            self._wake.wait(RETRY if self.away else self._ttl / 3)
            self._wake.clear()
            if not self._over:
                with suppress(LibnetworkError, Conflict):
                    self._look()

    def _look(self) -> None:
        was_away = self.away  # and stays so for everybody else until the store has answered
        try:
            if self._gone or not self._lease or not self._ask(lambda store: store.keep_alive(self._lease)):
                self._gone = False
                self.register()
        except LibnetworkError as error:
            self.away = self.away or str(error)
            raise
        self.away = ""
        if was_away:
            self._returned()

    def _lost(self, error: Unavailable) -> None:
        if error.code == "cluster_unreachable" and not self._over:
            if not self.away:
                self._wake.set()
            self.away = str(error)
