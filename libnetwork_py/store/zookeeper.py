"""The cluster's store in ZooKeeper 3.5 or newer: ``zookeeper://[USER:PASSWORD@]host:2181,host:2181``.

Division of labour: `kazoo` speaks the protocol, and goes from one server to the next; `znodes` says how a key lies in the tree; here are
transactions, leases and the watch.

Revisions are ZooKeeper's transaction numbers (``mzxid``). A lease is a session of its own, which its client keeps alive by itself. Every
commit appends the keys that it wrote to a log, of which a watch reads what is new, and everything if it was cut off meanwhile.

May import: store.api, store.checks, store.cluster, store.feed, store.ring, store.znodes, errors; kazoo.
"""

from __future__ import annotations

import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from kazoo.client import KazooClient, KazooState, TransactionRequest
from kazoo.exceptions import (
    AuthFailedError,
    BadVersionError,
    ConnectionClosedError,
    ConnectionLoss,
    KazooException,
    NoAuthError,
    NodeExistsError,
    NoNodeError,
    RolledBackError,
    SessionExpiredError,
)  # fmt: skip
from kazoo.handlers.threading import SequentialThreadingHandler
from kazoo.security import make_digest_acl

from ..errors import Conflict, Forbidden, Unavailable
from .api import Write
from .checks import check_distinct, check_expected
from .cluster import Check, ClusterUrl, Snapshot, check_size, unreachable
from .feed import Feed
from .ring import made
from .znodes import Tree, Watching

T = TypeVar("T")

PORT = 2181
LIMIT = 128
SESSION = 10.0
"""Seconds of the session that does everything but hold leases."""

RETRY = {"max_tries": -1, "delay": 0.1, "max_delay": 1.0}
"""Seconds between a client's attempts to connect again: kazoo's own grow to an hour."""

_AWAY = (ConnectionLoss, ConnectionClosedError, SessionExpiredError)
_CHANGED = (BadVersionError, NoNodeError, NodeExistsError, RolledBackError)
_ABANDON_SECONDS, _ABANDON_PAUSE = 15.0, 0.05
"""How long a client's thread, which may be in the middle of connecting, is given to end, and between two looks."""

logger = logging.getLogger(__name__)
logger.addHandler(logging.NullHandler())
logger.propagate = False  # what it says of broken connections is said by our own errors


class ZooKeeper:
    """The back end of ``zookeeper://`` and ``zookeeper+tls://``."""

    def open(self, url: ClusterUrl) -> ZooKeeperStore:
        """Return a store over a ZooKeeper ensemble."""
        return ZooKeeperStore(url)


class ZooKeeperStore:
    """Documents in ZooKeeper; the contract is `ClusterStore`'s."""

    limit = LIMIT

    def __init__(self, url: ClusterUrl) -> None:
        self.where = url.where
        self._url = url
        self._client = _client(url, SESSION)
        self.tree = Tree(url.prefix, self._client)
        self._leases: dict[str, KazooClient] = {}
        self._watches: list[Feed] = []
        self._guard = threading.Lock()
        self._connected: threading.Event | None = None
        self._ready = False
        self._closed = False

    def commit(self, writes: Sequence[Write], checks: Sequence[Check] = (), *, lease: str = "") -> int:
        """Make all writes in one transaction, or nothing; see `ClusterStore.commit`."""
        check_distinct(writes)
        check_size(len(writes) + len(checks), LIMIT)
        self._check_open()
        if lease and not self._holds(lease):
            raise Conflict(
                f"lease {lease} has ended, or is another client's: take a new one", code="lease_over", lease=lease
            )
        owner = self._leases[lease] if lease else self._client
        unsure: list[bool] = []

        def attempt() -> int:
            found = self.tree.find([write.key for write in writes] + [check.key for check in checks])
            transaction: TransactionRequest = owner.transaction()
            for check in checks:
                check_expected(Write(check.key, None, check.expected), found[check.key].revision)
                self.tree.add_check(transaction, found[check.key])
            for write in writes:
                check_expected(write, found[write.key].revision)
                self.tree.add_write(transaction, found[write.key], write, leased=bool(lease))
            try:
                return self.tree.end(transaction, [write.key for write in writes], self._url.timeout)
            except (*_AWAY, self._client.handler.timeout_exception):
                unsure.append(True)
                raise

        try:
            return self._ask(lambda: self._repeated(attempt, writes, checks))
        except Conflict:  # perhaps with our own commit, whose answer was lost with the connection
            revision = made(writes, self.get(*(write.key for write in writes))) if unsure else None
            if revision is None:
                raise
            return revision

    def _repeated(self, attempt: Callable[[], int], writes: Sequence[Write], checks: Sequence[Check]) -> int:
        """Try again where the tree changed between looking and writing; who expected something hears so when it looks again."""
        for _ in range(20):
            try:
                return attempt()
            except _CHANGED:
                continue
        keys = ", ".join([*(write.key for write in writes), *(check.key for check in checks)])
        raise Conflict(f"{keys} never stood still: try again", code="revision")

    def get(self, *keys: str) -> Snapshot:
        """Return the items of these keys."""

        def look() -> Snapshot:
            self.tree.sync()
            found = self.tree.find(keys)
            items = [found[key].item for key in sorted(found)]
            return Snapshot(self.tree.revision(), tuple(item for item in items if item is not None))

        return self._ask(look)

    def items(self, prefix: str = "") -> Snapshot:
        """Return every item whose key begins with ``prefix``."""

        def look() -> Snapshot:
            self.tree.sync()
            revision = self.tree.revision()
            return Snapshot(revision, tuple(each for each in self.tree.walk() if each.key.startswith(prefix)))

        return self._ask(look)

    def watch(self) -> Feed:
        """Return a watch over all keys."""
        self._check_open()
        watching = Watching(self.tree, self._ask)
        feed = Feed(watching.follow, watching.wake)
        self._client.add_listener(watching.reconnected)
        self._watches.append(feed)
        return feed

    def grant(self, ttl: float) -> str:
        """Return a new session; ZooKeeper gives it at least two of its ticks."""
        self._ask(lambda: None)
        client = _client(self._url, ttl)
        client.start_async().wait(self._url.timeout)
        if not client.connected:
            _end(client)
            raise unreachable(self.where, "no session was given")
        lease = _session(client)
        self._leases[lease] = client
        return lease

    def keep_alive(self, lease: str) -> bool:
        """Return whether a session lives; its client keeps it alive by itself."""
        client = self._leases.get(lease)
        end = time.monotonic() + self._url.timeout
        while (
            client is not None and client.state == KazooState.SUSPENDED
        ):  # until another server has it, or it has ended
            self._check_open()
            if time.monotonic() >= end:
                raise unreachable(self.where, "the connection broke")
            time.sleep(0.05)
        self._check_open()
        if client is None or self._holds(lease):
            return client is not None
        _end(self._leases.pop(lease))
        return False

    def _holds(self, lease: str) -> bool:
        client = self._leases.get(lease)
        if client is None or client.state != KazooState.CONNECTED:
            return False
        return _session(client) == lease

    def revoke(self, lease: str) -> None:
        """End a session at once."""
        self._check_open()
        client = self._leases.pop(lease, None)
        if client is not None:
            _end(client)

    def close(self) -> None:
        """Close connections and watches; leases run out by themselves. Repeatable."""
        if self._closed:
            return
        self._closed = True
        for feed in self._watches:
            feed.close()
        for client in self._leases.values():
            _abandon(client)
        _end(self._client)

    # Below

    def _check_open(self) -> None:
        if self._closed:
            raise Unavailable("the cluster's store was closed: open another one", code="store_closed")

    def _ask(self, function: Callable[[], T]) -> T:
        """Ask until there is an answer, or the time is up."""
        end = time.monotonic() + self._url.timeout
        while True:
            self._check_open()
            try:
                self._connect(end)
                return function()
            except (*_AWAY, self._client.handler.timeout_exception) as error:
                if time.monotonic() >= end:
                    raise unreachable(self.where, repr(error)) from error
                time.sleep(0.1)
            except (AuthFailedError, NoAuthError) as error:
                raise Forbidden(
                    f"the cluster's store {self.where} refuses: {error!r}; put user and password into its URL",
                    code="cluster_refused",
                ) from error
            except KazooException as error:
                raise unreachable(self.where, repr(error)) from error

    def _connect(self, end: float) -> None:
        with self._guard:
            # started once: later it connects again by itself, with the same session if that lives
            connected: threading.Event = self._connected or self._client.start_async()
            self._connected = connected
        connected.wait(max(end - time.monotonic(), 0.05))
        if not self._client.connected:
            raise ConnectionLoss
        with self._guard:
            if not self._ready:
                self.tree.prepare()
                self._ready = True


def _client(url: ClusterUrl, timeout: float) -> Any:
    hosts = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in url.at(PORT))
    given: dict[str, Any] = {}
    if url.username:
        given["auth_data"] = [("digest", f"{url.username}:{url.password}")]
        given["default_acl"] = [make_digest_acl(url.username, url.password, all=True)]
    if url.tls:
        given |= {"use_ssl": True, "handler": _Encrypted(url)}
    return KazooClient(hosts, timeout, logger=logger, connection_retry=RETRY, **given)


class _Encrypted(SequentialThreadingHandler):  # type: ignore[misc]  # kazoo has no types
    """Connects with TLS. kazoo's own trusts the machine's authorities beside the one given, and leaves a failed handshake's socket open."""

    def __init__(self, url: ClusterUrl) -> None:
        super().__init__()
        self._context = ssl.create_default_context(cafile=url.ca or None)
        if url.cert:
            self._context.load_cert_chain(url.cert, url.key or None)

    def create_connection(self, address: tuple[str, int], hostname: str, timeout: float, **_: object) -> ssl.SSLSocket:
        """Return a connection to a server whose certificate is good for its name."""
        plain = socket.create_connection(address, timeout)
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return self._context.wrap_socket(plain, server_hostname=hostname)
        except BaseException:
            plain.close()
            raise


def _session(client: Any) -> str:
    return f"{client.client_id[0]:x}"


def _end(client: Any) -> None:
    client.stop()
    client.close()


def _abandon(client: Any) -> None:
    """Leave a session to run out: end the client's threads without the word that would end it at once."""
    # kazoo has no call for it: it is told to stop, and finds its connection broken; more than once, if it was just connecting anew
    client._stopped.set()  # noqa: SLF001
    connection, end = client._connection, time.monotonic() + _ABANDON_SECONDS  # noqa: SLF001
    while time.monotonic() < end:
        sock = connection._socket  # noqa: SLF001
        if sock is not None:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        if connection.connection_stopped.wait(_ABANDON_PAUSE):
            client._safe_close()  # noqa: SLF001
            client.close()
            return
