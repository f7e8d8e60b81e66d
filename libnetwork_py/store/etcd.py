"""The cluster's store in etcd 3.4 or newer, over its JSON gateway: ``etcd://host:2379,host:2379``.

Division of labour: `etcd3gw` speaks HTTP, TLS and the gateway's paths; `ring` goes from one member to the next; transactions, and a
watch that goes on where it was, are here (etcd3gw's own neither resumes nor says that history was compacted).

Revisions are etcd's own: one number for the whole engine, which every transaction that changes something raises by one.

May import: store.api, store.checks, store.cluster, store.feed, store.ring, store.web, errors; etcd3gw.
"""

from __future__ import annotations

import json
import math
from base64 import b64encode
from binascii import a2b_base64
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import requests
from etcd3gw.client import Etcd3Client
from etcd3gw.exceptions import ConnectionFailedError, ConnectionTimeoutError, Etcd3Exception, InternalServerError
from urllib3.exceptions import HTTPError

from ..errors import Conflict, Forbidden, LibnetworkError, Unavailable
from .api import Item, Write
from .checks import check_distinct, check_expected
from .cluster import Check, ClusterUrl, Snapshot, Update, check_size, unreachable
from .feed import Feed
from .ring import Away, Ring
from .web import refused

PORT = 2379
LIMIT = 128
"""etcd's ``--max-txn-ops``."""

IDLE = 5.0
"""Seconds without news after which a watch is asked for anew: a connection that broke without a word looks no different."""

_ATTEMPT = 2.0
"""Seconds that one member is given."""

_AWAY = (ConnectionFailedError, ConnectionTimeoutError, InternalServerError)


class Etcd:
    """The back end of ``etcd://`` and ``etcd+tls://``."""

    def open(self, url: ClusterUrl) -> EtcdStore:
        """Return a store over an etcd cluster."""
        return EtcdStore(url)


class EtcdStore:
    """Documents in etcd; the contract is `ClusterStore`'s."""

    limit = LIMIT

    def __init__(self, url: ClusterUrl) -> None:
        self.where = url.where
        self._url = url
        self._prefix = f"{url.prefix}/"
        members = [_member(url, host, port) for host, port in url.at(PORT)]
        self._ring = Ring(members, url.where, url.timeout)
        self._members = members
        self._watches: list[_Watch] = []
        self._closed = False

    def commit(self, writes: Sequence[Write], checks: Sequence[Check] = (), *, lease: str = "") -> int:
        """Make all writes in one transaction, or nothing; see `ClusterStore.commit`."""
        check_distinct(writes)
        check_size(len(writes) + len(checks), LIMIT)
        expected = [write for write in writes if write.expected is not None]
        expected += [Write(check.key, None, check.expected) for check in checks]
        transaction = {
            "compare": [self._compare(each) for each in expected],
            "success": [self._operation(write, lease) for write in writes],
            "failure": [{"request_range": {"key": self._key(each.key)}} for each in expected],
        }

        def send(member: Etcd3Client) -> int:
            answer = self._post(member, "/kv/txn", transaction)
            if not answer.get("succeeded"):
                self._refuse(expected, answer)
            return int(answer["header"]["revision"])

        return self._ring.commit(send, writes, lambda keys: self.get(*keys))

    def get(self, *keys: str) -> Snapshot:
        """Return the items of these keys, in one transaction for each hundred."""
        distinct = sorted(set(keys))
        found: list[Item] = []
        revision = 0
        for start in range(0, len(distinct) or 1, LIMIT):
            part = [{"request_range": {"key": self._key(key)}} for key in distinct[start : start + LIMIT]]
            answer = self._ask("/kv/txn", {"success": part})
            found += [item for each in answer.get("responses", ()) for item in self._items(each["response_range"])]
            revision = int(answer["header"]["revision"])
        return Snapshot(revision, tuple(found))

    def items(self, prefix: str = "") -> Snapshot:
        """Return every item whose key begins with ``prefix``."""
        key, end = _range(self._prefix + prefix)
        answer = self._ask("/kv/range", {"key": key, "range_end": end})
        return Snapshot(
            int(answer["header"]["revision"]), tuple(sorted(self._items(answer), key=lambda each: each.key))
        )

    def watch(self) -> Feed:
        """Return a watch over all keys."""
        self._check_open()
        watch = _Watch(self)
        self._watches.append(watch)
        return watch.feed

    def grant(self, ttl: float) -> str:
        """Return a new lease; etcd counts whole seconds, and at least two or so."""
        return str(self._ask("/lease/grant", {"TTL": math.ceil(ttl), "ID": 0})["ID"])

    def keep_alive(self, lease: str) -> bool:
        """Give a lease its full time again."""
        return int(self._ask("/lease/keepalive", {"ID": lease}).get("result", {}).get("TTL", 0)) > 0

    def revoke(self, lease: str) -> None:
        """End a lease at once."""
        with suppress(Conflict):  # it had ended
            self._ask("/lease/revoke", {"ID": lease})

    def close(self) -> None:
        """Close connections and watches; repeatable."""
        self._closed = True
        for watch in self._watches:
            watch.feed.close()
        for member in self._members:
            member.session.close()

    # Below

    def _check_open(self) -> None:
        if self._closed:
            raise Unavailable("the cluster's store was closed: open another one", code="store_closed")

    def _ask(self, path: str, body: Mapping[str, object]) -> Any:
        return self._ring.ask(lambda member: self._post(member, path, body))

    def _post(self, member: Etcd3Client, path: str, body: Mapping[str, object], *, again: bool = True) -> Any:
        self._check_open()
        try:
            if self._url.username and "Authorization" not in member.session.headers:
                self._authenticate(member)
            return member.post(member.get_url(path), json=body)
        except _AWAY as error:
            raise Away(error.detail_text or error, refused=refused(error.__context__)) from error
        except (requests.RequestException, HTTPError, ValueError) as error:
            raise Away(error, refused=False) from error
        except Etcd3Exception as error:
            if again and "invalid auth token" in str(error.detail_text):
                member.session.headers.pop("Authorization", None)
                return self._post(member, path, body, again=False)
            raise self._translated(error) from error

    def _authenticate(self, member: Etcd3Client) -> None:
        body = {"name": self._url.username, "password": self._url.password}
        answer = member.post(member.get_url("/auth/authenticate"), json=body)
        member.session.headers["Authorization"] = answer["token"]

    def _translated(self, error: Etcd3Exception) -> LibnetworkError:
        text = str(error.detail_text or error)
        try:
            said = str(json.loads(text).get("error", text))
        except (ValueError, AttributeError):
            said = text
        if "lease not found" in said:
            return Conflict("the lease has ended: take a new one", code="lease_over")
        if "CommonName" in said:
            return Forbidden(
                f"the cluster's store {self.where} refuses: {said}; etcd's gateway takes user and password only with a client certificate"
                " that has no common name: make one with names in subjectAltName alone",
                code="cluster_refused",
            )
        if "auth" in said or "permission" in said or "user name is empty" in said:
            return Forbidden(
                f"the cluster's store {self.where} refuses: {said}; put user and password into its URL",
                code="cluster_refused",
            )
        return unreachable(self.where, said)

    def _refuse(self, expected: Sequence[Write], answer: Mapping[str, Any]) -> None:
        for write, response in zip(expected, answer["responses"], strict=True):
            found = self._items(response["response_range"])
            check_expected(write, found[0].revision if found else 0)
        raise Conflict("somebody else changed the same at this moment: read again, then try again", code="revision")

    def _key(self, key: str) -> str:
        return _encoded(self._prefix + key)

    def _compare(self, write: Write) -> dict[str, object]:
        return {"key": self._key(write.key), "target": "MOD", "result": "EQUAL", "mod_revision": write.expected}

    def _operation(self, write: Write, lease: str) -> dict[str, object]:
        if write.document is None:
            return {"request_delete_range": {"key": self._key(write.key)}}
        value = b64encode(write.document).decode()
        return {"request_put": {"key": self._key(write.key), "value": value, "lease": lease or "0"}}

    def _items(self, answer: Mapping[str, Any]) -> list[Item]:
        return [self.item(each) for each in answer.get("kvs", ())]

    def item(self, pair: Mapping[str, Any]) -> Item:
        """Return an item as the gateway writes it."""
        return Item(self.plain(pair["key"]), a2b_base64(pair.get("value", "")), int(pair["mod_revision"]))

    def plain(self, key: str) -> str:
        """Return a key as the gateway writes it, without the prefix."""
        return a2b_base64(key).decode().removeprefix(self._prefix)

    def stream(self, since: int) -> requests.Response:
        """Ask a member to tell what happens after a revision."""
        key, end = _range(self._prefix)
        body = {"create_request": {"key": key, "range_end": end, "start_revision": since + 1}}

        def ask(member: Etcd3Client) -> requests.Response:
            self._check_open()
            try:
                # a member that lost its leader must say so rather than be silent
                return member.session.post(
                    member.get_url("/watch"), json=body, stream=True, timeout=(_ATTEMPT, IDLE),
                    headers={"Grpc-Metadata-hasleader": "true"},
                )  # fmt: skip
            except (Etcd3Exception, requests.RequestException) as error:
                raise Away(error, refused=False) from error

        return self._ring.ask(ask)


class _Watch:
    """One watch: where it is, and the connection that it waits on."""

    def __init__(self, store: EtcdStore) -> None:
        self._store = store
        self._seen = 0
        self._response: requests.Response | None = None
        self.feed = Feed(self._follow, self._interrupt)

    def _follow(self, feed: Feed) -> None:
        if not self._seen:
            snapshot = self._store.items()
            feed.put(Update(snapshot.revision, snapshot.items, whole=True))
            self._seen = snapshot.revision
        self._response = self._store.stream(self._seen)
        with self._response as response:
            for result in _results(response):
                if feed.closed or not self._take(result, feed):
                    return

    def _take(self, result: Mapping[str, Any], feed: Feed) -> bool:
        """Hand on what a member says; false: the watch must be asked for again."""
        if result.get("canceled"):
            if int(result.get("compact_revision", 0)):
                self._seen = 0  # what happened is forgotten: begin with everything
            return False
        events = result.get("events", ())
        if events:
            last = {event["kv"]["key"]: event for event in events}
            self._seen = max(int(event["kv"]["mod_revision"]) for event in events)
            items = [self._store.item(event["kv"]) for event in last.values() if event.get("type") != "DELETE"]
            gone = [self._store.plain(key) for key, event in last.items() if event.get("type") == "DELETE"]
            feed.put(Update(self._seen, tuple(items), tuple(gone)))
        return True

    def _interrupt(self) -> None:
        if self._response is not None:
            with suppress(OSError, ValueError, HTTPError, AttributeError):  # it may have ended by itself
                self._response.raw.shutdown()


def _results(response: requests.Response) -> Iterator[Mapping[str, Any]]:
    """Return the lines of a stream; it ends when the connection does."""
    try:
        for line in response.iter_lines(chunk_size=None):
            if line.strip():
                said = json.loads(line)
                if "result" not in said:
                    return
                yield said["result"]
    except (requests.RequestException, HTTPError, ValueError, AttributeError):
        return


def _member(url: ClusterUrl, host: str, port: int) -> Etcd3Client:
    timeout = min(_ATTEMPT, url.timeout)
    member = Etcd3Client(
        host, port, "https" if url.tls else "http", ca_cert=url.ca or None, cert_key=url.key or None,
        cert_cert=url.cert or None, timeout=timeout, api_path="/v3/",
    )  # fmt: skip
    member.session.trust_env = False  # neither a proxy nor another authority of the environment's comes between
    return member


def _encoded(text: str) -> str:
    return b64encode(text.encode()).decode()


def _range(prefix: str) -> tuple[str, str]:
    """Return the bounds of all keys with a prefix: the second is the prefix with its last byte raised."""
    raw = prefix.encode()
    return b64encode(raw).decode(), b64encode(raw[:-1] + bytes([raw[-1] + 1])).decode()
