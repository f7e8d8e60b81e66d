"""The cluster's store for examples and tests: ``memory://name``, shared by the controllers of one process, gone with it.

May import: store.api, store.checks, store.cluster, store.feed, errors.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager

from attrs import define, field

from ..errors import Conflict, Unavailable
from .api import Item, Write
from .checks import check_distinct, check_expected
from .cluster import Check, ClusterUrl, Snapshot, Update, check_size
from .feed import Feed

LIMIT = 128
_TICK = 0.05

_spaces: dict[str, _Space] = {}
_spaces_guard = threading.Lock()


@define
class _Space:
    """The documents of one name, and their leases: id → time to live, end, keys."""

    items: dict[str, Item] = field(factory=dict)
    revision: int = 0
    log: list[tuple[int, str]] = field(factory=list)
    leases: dict[str, tuple[float, float, set[str]]] = field(factory=dict)
    changed: threading.Condition = field(factory=threading.Condition)

    def expire(self) -> None:
        """Drop what hung on leases that have ended."""
        now = time.monotonic()
        for lease in [each for each, (_, end, _) in self.leases.items() if end <= now]:
            self.drop(lease)

    def drop(self, lease: str) -> None:
        """End a lease."""
        _, _, keys = self.leases.pop(lease)
        if keys:
            self.write([Write(key, None) for key in sorted(keys)], "")

    def write(self, writes: Sequence[Write], lease: str) -> int:
        """Make checked writes."""
        self.revision += 1
        for write in writes:
            for _, _, keys in self.leases.values():
                keys.discard(write.key)
            if write.document is None:
                self.items.pop(write.key, None)
            else:
                self.items[write.key] = Item(write.key, write.document, self.revision)
                if lease:
                    self.leases[lease][2].add(write.key)
            self.log.append((self.revision, write.key))
        self.changed.notify_all()
        return self.revision


class SharedMemory:
    """The back end of ``memory://``."""

    def open(self, url: ClusterUrl) -> SharedStore:
        """Return a store over the documents of the URL's name."""
        name = f"{url.endpoints[0][0]}/{url.prefix}"
        with _spaces_guard:
            return SharedStore(_spaces.setdefault(name, _Space()), url.where)


class SharedStore:
    """One user of a name's documents; the contract is `ClusterStore`'s."""

    limit = LIMIT

    def __init__(self, space: _Space, where: str) -> None:
        self.where = where
        self._space = space
        self._closed = False
        self._watches: list[Feed] = []

    def commit(self, writes: Sequence[Write], checks: Sequence[Check] = (), *, lease: str = "") -> int:
        """Make all writes, or nothing; see `ClusterStore.commit`."""
        check_distinct(writes)
        check_size(len(writes) + len(checks), LIMIT)
        with self._open() as space:
            for each in (*writes, *(Write(check.key, None, check.expected) for check in checks)):
                held = space.items.get(each.key)
                check_expected(each, held.revision if held else 0)
            if lease and lease not in space.leases:
                raise Conflict(f"lease {lease} has ended: take a new one", code="lease_over", lease=lease)
            return space.write(writes, lease) if writes else space.revision

    def get(self, *keys: str) -> Snapshot:
        """Return the items of these keys."""
        with self._open() as space:
            found = [space.items[key] for key in sorted(set(keys)) if key in space.items]
            return Snapshot(space.revision, tuple(found))

    def items(self, prefix: str = "") -> Snapshot:
        """Return every item whose key begins with ``prefix``."""
        with self._open() as space:
            found = [space.items[key] for key in sorted(space.items) if key.startswith(prefix)]
            return Snapshot(space.revision, tuple(found))

    def watch(self) -> Feed:
        """Return a watch over all keys."""
        with self._open():
            feed = Feed(self._follow)
            self._watches.append(feed)
            return feed

    def grant(self, ttl: float) -> str:
        """Return a new lease."""
        with self._open() as space:
            lease = secrets.token_hex(8)
            space.leases[lease] = (ttl, time.monotonic() + ttl, set())
            return lease

    def keep_alive(self, lease: str) -> bool:
        """Give a lease its full time again."""
        with self._open() as space:
            if lease not in space.leases:
                return False
            ttl, _, keys = space.leases[lease]
            space.leases[lease] = (ttl, time.monotonic() + ttl, keys)
            return True

    def revoke(self, lease: str) -> None:
        """End a lease at once."""
        with self._open() as space:
            if lease in space.leases:
                space.drop(lease)

    def close(self) -> None:
        """Refuse every later call; repeatable."""
        self._closed = True
        for each in self._watches:
            each.close()

    @contextmanager
    def _open(self) -> Generator[_Space]:
        with self._space.changed:
            if self._closed:
                raise Unavailable("the cluster's store was closed: open another one", code="store_closed")
            self._space.expire()
            yield self._space

    def _follow(self, feed: Feed) -> None:
        space = self._space
        with space.changed:
            space.expire()
            seen, place = space.revision, len(space.log)
            feed.put(Update(seen, tuple([space.items[key] for key in sorted(space.items)]), whole=True))
            while not feed.closed:
                space.expire()
                if len(space.log) == place:
                    space.changed.wait(_TICK)
                    continue
                keys = sorted({key for _, key in space.log[place:]})
                place = len(space.log)
                items = tuple([space.items[key] for key in keys if key in space.items])
                feed.put(Update(space.revision, items, tuple([key for key in keys if key not in space.items])))
