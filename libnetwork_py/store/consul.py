"""The cluster's store in Consul: ``consul://[:TOKEN@]host:8500``.

Division of labour: `consul` (py-consul) speaks HTTP and TLS; `ring` goes from one server to the next; transactions, leases and a watch
out of blocking queries are here.

Revisions are Raft's index. A lease is a session whose end deletes the keys that it holds. Consul has no history: a blocking query
returns everything there is, of which the watch tells what is new. It grants no session less than its agents' ``session_ttl_min``
(10 s unless they are told otherwise), and ends one up to twice its time after the last renewal.

May import: store.api, store.checks, store.cluster, store.feed, store.ring, store.web, errors; consul.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from typing import Any

import consul.std
import requests
from attrs import frozen

from ..errors import Conflict, Forbidden, Unavailable
from .api import Item, Write
from .checks import check_distinct
from .cluster import Check, ClusterUrl, Snapshot, Update, check_size, unreachable
from .feed import Feed
from .ring import Away, Ring
from .web import refused

PORT = 8500
LIMIT = 63
"""Consul's 64 operations in a transaction, but for one that says when it was."""

WAIT = 10
"""Seconds that a blocking query waits for news."""

TTL_MIN = 10
"""The least time of a session, unless the agents are configured otherwise."""

_ATTEMPT = 2.0


class Consul:
    """The back end of ``consul://`` and ``consul+tls://``."""

    def open(self, url: ClusterUrl) -> ConsulStore:
        """Return a store over Consul servers or agents."""
        return ConsulStore(url)


@frozen
class _Answer:
    """What a server said."""

    status: int
    headers: Mapping[str, str]
    body: str

    @property
    def index(self) -> int:
        return int(self.headers.get("X-Consul-Index", 0))


class ConsulStore:
    """Documents in Consul; the contract is `ClusterStore`'s."""

    limit = LIMIT

    def __init__(self, url: ClusterUrl) -> None:
        self.where = url.where
        self._prefix = f"{url.prefix}/"
        self._clock = f"{url.prefix}.clock"
        self._headers = {"X-Consul-Token": url.password} if url.password else {}
        self._servers = [_server(url, host, port, min(_ATTEMPT, url.timeout)) for host, port in url.at(PORT)]
        self._watchers = [_server(url, host, port, min(_ATTEMPT, url.timeout)) for host, port in url.at(PORT)]
        self._ring = Ring(self._servers, url.where, url.timeout)
        self._watching = Ring(self._watchers, url.where, url.timeout)
        self._watches: list[Feed] = []
        self._closed = False

    def commit(self, writes: Sequence[Write], checks: Sequence[Check] = (), *, lease: str = "") -> int:
        """Make all writes in one transaction, or nothing; see `ClusterStore.commit`."""
        check_distinct(writes)
        check_size(len(writes) + len(checks), LIMIT)
        operations = [self._check(each.key, each.expected) for each in checks]
        for write in writes:
            operations += self._operations(write, lease)
        clock = {"Verb": "set", "Key": self._clock, "Value": ""}
        body = json.dumps([{"KV": each} for each in (*operations, clock)])

        def send(server: consul.std.Consul) -> int:
            answer = self._send(server, "PUT", "/v1/txn", data=body)
            if answer.status == 409:
                raise _refusal(answer, lease)
            return max(int(each["KV"]["ModifyIndex"]) for each in json.loads(answer.body)["Results"])

        return self._ring.commit(send, writes, lambda keys: self.get(*keys))

    def get(self, *keys: str) -> Snapshot:
        """Return the items of these keys."""
        distinct = sorted(set(keys))
        found: list[Item] = []
        for start in range(0, len(distinct), LIMIT):
            part = distinct[start : start + LIMIT]
            body = json.dumps([{"KV": {"Verb": "get-tree", "Key": self._prefix + key}} for key in part])
            answer = self._ask("PUT", "/v1/txn", data=body)
            items = [self._item(each["KV"]) for each in json.loads(answer.body)["Results"] or ()]
            found += sorted({item for item in items if item.key in part}, key=lambda item: item.key)
        return Snapshot(max((item.revision for item in found), default=0), tuple(found))

    def items(self, prefix: str = "") -> Snapshot:
        """Return every item whose key begins with ``prefix``."""
        return self._listed(self._ask("GET", self._path(prefix), [("recurse", "1"), ("consistent", "1")]))

    def watch(self) -> Feed:
        """Return a watch over all keys."""
        self._check_open()
        watch = _Watch(self)
        self._watches.append(watch.feed)
        return watch.feed

    def wait(self, index: int) -> Snapshot:
        """Return everything, when it has changed since ``index`` or after some seconds."""
        more = [("index", str(index)), ("wait", f"{WAIT}s")] if index else []
        return self._listed(
            self._watching.ask(
                lambda server: self._send(server, "GET", self._path(""), [("recurse", "1"), ("consistent", "1"), *more])
            )
        )

    def grant(self, ttl: float) -> str:
        """Return a new session; Consul counts whole seconds, at least its ``session_ttl_min``."""
        seconds, said = max(round(ttl), 1), ""
        for time in dict.fromkeys((seconds, max(seconds, TTL_MIN))):
            # no health check of the agent's node: its failure would end the session before its time
            wish = {"TTL": f"{time}s", "Behavior": "delete", "LockDelay": "0s", "Checks": []}
            answer = self._ask("PUT", "/v1/session/create", data=json.dumps(wish))
            if answer.status == 200:
                return str(json.loads(answer.body)["ID"])
            said = answer.body
        raise unreachable(self.where, said)

    def keep_alive(self, lease: str) -> bool:
        """Renew a session."""
        return self._ask("PUT", f"/v1/session/renew/{lease}").status == 200

    def revoke(self, lease: str) -> None:
        """End a session at once."""
        self._ask("PUT", f"/v1/session/destroy/{lease}")

    def close(self) -> None:
        """Close connections and watches; repeatable."""
        self._closed = True
        for feed in self._watches:
            feed.close()
        for server in (*self._servers, *self._watchers):
            http: Any = server.http
            http.session.close()

    # Below

    def _check_open(self) -> None:
        if self._closed:
            raise Unavailable("the cluster's store was closed: open another one", code="store_closed")

    def _ask(self, method: str, path: str, params: Sequence[tuple[str, str]] = (), data: str = "") -> _Answer:
        return self._ring.ask(lambda server: self._send(server, method, path, params, data))

    def _send(
        self, server: consul.std.Consul, method: str, path: str, params: Sequence[tuple[str, str]] = (), data: str = ""
    ) -> _Answer:
        self._check_open()
        http: Any = server.http
        try:
            if method == "GET":
                said = http.get(_as_it_is, path, list(params), headers=self._headers)
            else:
                said = http.put(_as_it_is, path, list(params), data=data, headers=self._headers)
        except requests.RequestException as error:
            raise Away(error, refused=refused(error)) from error
        answer = _Answer(said.code, said.headers, said.body)
        if answer.status == 403:
            raise Forbidden(
                f"the cluster's store {self.where} refuses: {answer.body}; put a token into its URL: consul://:TOKEN@host",
                code="cluster_refused",
            )
        if answer.status >= 500 and "Invalid Session TTL" not in answer.body:
            raise Away(answer.body, refused=False)
        return answer

    def _path(self, prefix: str) -> str:
        return f"/v1/kv/{self._prefix}{prefix}"

    def _check(self, key: str, expected: int) -> dict[str, object]:
        if expected == 0:
            return {"Verb": "check-not-exists", "Key": self._prefix + key}
        return {"Verb": "check-index", "Key": self._prefix + key, "Index": expected}

    def _operations(self, write: Write, lease: str) -> list[dict[str, object]]:
        named: dict[str, object] = {"Key": self._prefix + write.key}
        if write.document is None:
            if write.expected == 0:
                return [self._check(write.key, 0)]
            verb = {"Verb": "delete"} if write.expected is None else {"Verb": "delete-cas", "Index": write.expected}
            return [named | verb]
        named["Value"] = b64encode(write.document).decode()
        if not lease:
            verb = {"Verb": "set"} if write.expected is None else {"Verb": "cas", "Index": write.expected}
            return [named | verb]
        checks = [] if write.expected is None else [self._check(write.key, write.expected)]
        # deleted first: whoever's session held it does not any more
        return [*checks, {"Verb": "delete", "Key": named["Key"]}, named | {"Verb": "lock", "Session": lease}]

    def _listed(self, answer: _Answer) -> Snapshot:
        pairs = json.loads(answer.body) if answer.status == 200 else []
        items = tuple(sorted((self._item(each) for each in pairs), key=lambda item: item.key))
        return Snapshot(answer.index, items)

    def _item(self, pair: Mapping[str, Any]) -> Item:
        key = str(pair["Key"]).removeprefix(self._prefix)
        return Item(key, b64decode(pair["Value"] or ""), int(pair["ModifyIndex"]))


class _Watch:
    """One watch: what it has told, and the index that it waits at."""

    def __init__(self, store: ConsulStore) -> None:
        self._store = store
        self._told: dict[str, int] = {}
        self._index = 0
        self.feed = Feed(self._follow, patience=0.1)

    def _follow(self, feed: Feed) -> None:
        while not feed.closed:
            before, first = self._index, not self._index
            snapshot = self._store.wait(before)
            # an index that goes back has been forgotten: ask without one next time (HashiCorp's advice for blocking queries)
            self._index = snapshot.revision if snapshot.revision >= before else 0
            items = tuple(item for item in snapshot.items if self._told.get(item.key) != item.revision)
            gone = tuple(self._told.keys() - {item.key for item in snapshot.items})
            self._told = {item.key: item.revision for item in snapshot.items}
            if first and not before and not feed.told:
                feed.put(Update(snapshot.revision, snapshot.items, whole=True))
            elif items or gone:
                feed.put(Update(snapshot.revision, items, gone))


def _as_it_is(response: Any) -> Any:
    return response


def _refusal(answer: _Answer, lease: str) -> Conflict:
    """Return what a transaction that was rolled back means."""
    errors = json.loads(answer.body).get("Errors") or [{"What": answer.body}]
    said = "; ".join(str(each["What"]) for each in errors)
    if lease and "session" in said:
        return Conflict("the lease has ended: take a new one", code="lease_over", lease=lease)
    return Conflict(f"somebody else changed the same: {said}; read it again, then try again", code="revision")


def _server(url: ClusterUrl, host: str, port: int, timeout: float) -> consul.std.Consul:
    server = consul.std.Consul(
        host=f"[{host}]" if ":" in host else host, port=port, scheme="https" if url.tls else "http", verify=url.ca or True,
        cert=(url.cert, url.key) if url.cert else None, connections_timeout=timeout,
    )  # fmt: skip
    http: Any = server.http
    http.session.trust_env = False  # neither a proxy nor another authority of the environment's comes between
    return server
