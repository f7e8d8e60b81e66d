"""The contract of a cluster's store: documents under keys that many hosts see, changed together or not at all.

Division of labour: an engine (etcd, Consul, ZooKeeper) keeps documents and understands none of them; `lifecycle/cluster.py` decides
what is written when. Beside `store/api.py`'s `Store`: there is no lock between writers, so a commit says what it expects of the keys
that it depends on; keys may hang on a lease, which ends when nobody keeps it alive; and a watch tells what others do.

A back end is a class found through the entry-point group ``libnetwork_py.stores`` under its URL's scheme, made without arguments.

May import: store.api, types, errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from attrs import field, frozen

from ..errors import InvalidParameter, Unavailable
from .api import Item, Write

TIMEOUT = 5.0
"""Seconds that a request may take, over all endpoints, before the cluster counts as unreachable."""

PREFIX = "libnetwork_py"
"""What all keys in an engine begin with unless the URL's path says otherwise."""


@frozen
class Check:
    """A condition of a commit on a key that it does not write: the item's revision; 0: there must be none."""

    key: str
    expected: int


@frozen
class Snapshot:
    """Items as they were at a revision, by key."""

    revision: int
    items: tuple[Item, ...]


@frozen
class Update:
    """What a watch tells: items as they are at ``revision``, and keys that are gone by then.

    ``whole``: these are all there are, and whatever else was known is gone, if its revision is not above this one. The first update
    of a watch is whole, and so is one after the engine has forgotten what happened meanwhile.
    """

    revision: int
    items: tuple[Item, ...]
    gone: tuple[str, ...] = ()
    whole: bool = False


class Watch(Protocol):
    """Tells every change once, in order, across broken connections and dead servers; several changes of a key may come as the last."""

    def next(self, timeout: float) -> Update | None:
        """Return the next update; ``None`` if there was none for ``timeout`` seconds, or the watch is closed."""
        ...

    def close(self) -> None:
        """End it, from any thread; repeatable."""
        ...


class ClusterStore(Protocol):
    """Documents under keys such as ``network/front``, in an engine that many hosts share. Safe to call from several threads.

    Attributes:
        limit: How many writes and checks one commit may have.
        where: The engine and its endpoints, for people; no credentials.
    """

    limit: int
    where: str

    def commit(self, writes: Sequence[Write], checks: Sequence[Check] = (), *, lease: str = "") -> int:
        """Make all ``writes`` if every expectation of theirs and of ``checks`` holds, else nothing; return their revision.

        Args:
            writes: As in `Store.commit`; an expected revision is the last that was read.
            checks: Conditions on other keys.
            lease: What is written goes when this lease ends.

        Raises:
            Conflict: ``revision``: an expectation does not hold. ``lease_over``: there is no such lease.
            InvalidParameter: ``duplicate_key``, ``commit_too_large``.
            Unavailable: ``cluster_unreachable``: no endpoint answered in time; what was asked may yet have been done.
        """
        ...

    def get(self, *keys: str) -> Snapshot:
        """Return the items of these keys that exist, as they are after every commit that has returned anywhere.

        Raises:
            Unavailable: ``cluster_unreachable``, ``store_closed``.
        """
        ...

    def items(self, prefix: str = "") -> Snapshot:
        """Return every item whose key begins with ``prefix``, up to date likewise."""
        ...

    def watch(self) -> Watch:
        """Return a watch over all keys."""
        ...

    def grant(self, ttl: float) -> str:
        """Return a new lease: it ends when it is not kept alive for ``ttl`` seconds, or up to twice that, never earlier."""
        ...

    def keep_alive(self, lease: str) -> bool:
        """Give a lease its full time again; false: it has ended, and what hung on it is going.

        Raises:
            Unavailable: ``cluster_unreachable``.
        """
        ...

    def revoke(self, lease: str) -> None:
        """End a lease at once, and what hangs on it; one that has ended is no error."""
        ...

    def close(self) -> None:
        """Release connections and threads; repeatable. Every later call is `Unavailable`, code ``store_closed``."""
        ...


@frozen
class ClusterUrl:
    """A cluster's URL, taken apart.

    ``etcd://[USER:PASSWORD@]HOST[:PORT][,HOST[:PORT]…][/PREFIX][?OPTION=VALUE&…]``; ``etcd+tls://…`` for TLS.

    Attributes:
        endpoints: Host and port of each server, 0 where none was given; an IPv6 address is written in brackets.
        prefix: What all keys in the engine begin with.
        username: With ``password``: credentials; for Consul the password is the token.
        tls: Whether connections are encrypted; ``ca``, ``cert``, ``key``: paths of PEM files.
        timeout: Seconds that a request may take, over all endpoints.
    """

    scheme: str
    endpoints: tuple[tuple[str, int], ...]
    prefix: str = PREFIX
    username: str = ""
    password: str = field(default="", repr=False)
    tls: bool = False
    ca: str = ""
    cert: str = ""
    key: str = ""
    timeout: float = TIMEOUT

    @classmethod
    def parse(cls, text: str) -> ClusterUrl:
        """Return the parts of a URL.

        Raises:
            InvalidParameter: ``invalid_cluster``.
        """
        try:
            split = urlsplit(text)
        except (ValueError, AttributeError) as error:
            raise _invalid(text, str(error)) from None
        scheme, _, security = split.scheme.partition("+")
        if not scheme or not split.netloc:
            raise _invalid(text, "a scheme or a host is missing")
        if security not in {"", "tls"}:
            raise _invalid(text, f"unknown security {security!r}")
        credentials, _, hosts = split.netloc.rpartition("@")
        username, _, password = credentials.partition(":")
        return cls(
            scheme, tuple(_endpoint(each, text) for each in hosts.split(",")), split.path.strip("/") or PREFIX,
            unquote(username), unquote(password), security == "tls", **_options(split, text),
        )  # fmt: skip

    @classmethod
    def of(cls, text: str | None) -> ClusterUrl | None:
        """Return the parts of a URL, if there is one.

        Raises:
            InvalidParameter: ``invalid_cluster``.
        """
        return None if text is None else cls.parse(str(text))  # not every caller is checked

    def at(self, port: int) -> tuple[tuple[str, int], ...]:
        """Return the endpoints with a default port filled in."""
        return tuple((host, given or port) for host, given in self.endpoints)

    @property
    def where(self) -> str:
        """The URL without credentials."""
        hosts = ",".join(f"{_bracketed(host)}:{port}" if port else _bracketed(host) for host, port in self.endpoints)
        return f"{self.scheme}{'+tls' if self.tls else ''}://{hosts}"


@runtime_checkable
class ClusterBackend(Protocol):
    """What the entry-point group ``libnetwork_py.stores`` names: opens a cluster's store."""

    def open(self, url: ClusterUrl) -> ClusterStore:
        """Return the store; nothing is asked of the engine yet.

        Raises:
            NotSupported: ``missing_extra``: its client is not installed. InvalidParameter: the URL lacks something.
        """
        ...


def unreachable(where: str, why: object) -> Unavailable:
    """Return the error of an engine that does not answer."""
    return Unavailable(
        f"the cluster's store {where} cannot be reached: {why}; networks that exist go on, try again when it is back",
        code="cluster_unreachable", cluster=where,
    )  # fmt: skip


def check_size(count: int, limit: int) -> None:
    """Refuse a commit that an engine would refuse.

    Raises:
        InvalidParameter: ``commit_too_large``.
    """
    if count > limit:
        raise InvalidParameter(
            f"a commit may have {limit} writes and checks, not {count}: make several",
            code="commit_too_large",
            limit=limit,
        )


def _options(split: SplitResult, text: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in parse_qsl(split.query, keep_blank_values=True):
        if name not in {"ca", "cert", "key", "timeout"}:
            raise _invalid(text, f"unknown option {name!r}, it knows ca, cert, key and timeout")
        found[name] = _seconds(value, text) if name == "timeout" else value
    if split.fragment:
        raise _invalid(text, "it has a fragment")
    return found


def _seconds(value: str, text: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = 0
    if not 0 < seconds < 3600:
        raise _invalid(text, f"timeout {value!r} is no number of seconds")
    return seconds


def _endpoint(text: str, whole: str) -> tuple[str, int]:
    try:
        split = urlsplit(f"//{text}")
        host, port = split.hostname, split.port
    except ValueError as error:
        raise _invalid(whole, str(error)) from None
    if not host:
        raise _invalid(whole, "an endpoint is empty")
    return host, port or 0


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _invalid(text: str, why: str) -> InvalidParameter:
    shown = str(text).rpartition("@")[2] if "@" in str(text) else str(text)
    return InvalidParameter(
        f"invalid cluster {shown!r}: {why}; write etcd://host:2379,host:2379, consul://host:8500, zookeeper://host:2181 or memory://name",
        code="invalid_cluster",
    )
