"""How keys lie in ZooKeeper's tree, and how what happens to them is told.

* ``/PREFIX/network/front``: a key's own node. Its data is a mark and the document; a deleted key's node stays, empty, so that its
  version goes on and a key that was deleted and created again cannot be taken for the one that was there before.
* ``/PREFIX.live/network%2Ffront``: a key that hangs on a lease: an ephemeral node of its session. Its own node is written with it, so
  that who expects a key to be absent can check that.
* ``/PREFIX.log/c0000000042``: the keys of one commit. Cut off at the old end from time to time.

May import: store.api, store.cluster, store.feed; kazoo.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote, unquote

from attrs import frozen
from kazoo.exceptions import NodeExistsError, NoNodeError, RolledBackError

from .api import Item, Write
from .cluster import Update
from .feed import Feed

MARK = b"+"
LOG_KEPT = 1000
"""How many commits a watch may be behind before it must read everything."""
CUT_EVERY = 100
IDLE = 10.0
"""Seconds after which a watch looks although nobody told it to."""


@frozen
class Found:
    """A key as it is in the tree: data and version of its own node, and of its ephemeral one; version -1: there is none."""

    key: str
    own: tuple[bytes, int, int] = (b"", -1, 0)
    live: tuple[bytes, int, int] = (b"", -1, 0)

    @property
    def item(self) -> Item | None:
        """What is stored under the key."""
        if self.live[1] >= 0:
            return Item(self.key, self.live[0].removeprefix(MARK), self.live[2])
        return Item(self.key, self.own[0].removeprefix(MARK), self.own[2]) if self.own[0] else None

    @property
    def revision(self) -> int:
        """The item's revision; 0 if there is none."""
        item = self.item
        return item.revision if item else 0


class Tree:
    """The nodes of one prefix.

    Args:
        prefix: What all keys begin with.
        client: A kazoo client.
    """

    def __init__(self, prefix: str, client: Any) -> None:
        self.base = "/" + "/".join(quote(part, safe="") for part in prefix.split("/"))
        self.live, self.log = f"{self.base}.live", f"{self.base}.log"
        self.client = client
        self._made: set[str] = set()

    def prepare(self) -> None:
        """Make the directories."""
        for path in (self.base, self.live, self.log):
            self.client.ensure_path(path)

    def sync(self) -> None:
        """Have the server catch up with every commit that has returned anywhere."""
        self.client.sync(self.base)

    def revision(self) -> int:
        """Return the revision of the last commit."""
        return int(self.client.exists(self.base).mzxid)

    def own_path(self, key: str) -> str:
        """Return the path of a key's own node."""
        return self.base + "/" + "/".join(quote(part, safe="") for part in key.split("/"))

    def live_path(self, key: str) -> str:
        """Return the path of a key's ephemeral node."""
        return f"{self.live}/{quote(key, safe='')}"

    # Looking

    def find(self, keys: Iterable[str]) -> Mapping[str, Found]:
        """Return keys as they are, asked for all at once; the own node first, so that an ephemeral one made since shows in its version."""
        distinct = sorted(set(keys))
        owns = [self.client.get_async(self.own_path(key)) for key in distinct]
        lives = [self.client.get_async(self.live_path(key)) for key in distinct]
        answers = zip(distinct, map(_got, owns), map(_got, lives), strict=True)
        return {key: Found(key, own, live) for key, own, live in answers}

    def walk(self) -> list[Item]:
        """Return every item, by key."""
        keys = [unquote(name) for name in self.client.get_children(self.live)]
        level = [self.base]
        while level:
            asked = [(path, self.client.get_children_async(path)) for path in level]
            level = [f"{path}/{name}" for path, answer in asked for name in _children(answer)]
            keys += ["/".join(map(unquote, path[len(self.base) + 1 :].split("/"))) for path in level]
        found = self.find(keys)
        return [item for key in sorted(found) if (item := found[key].item) is not None]

    # Writing

    def add_check(self, transaction: Any, found: Found) -> None:
        """Add the condition that a key is still as it was found."""
        if found.live[1] >= 0:
            transaction.check(self.live_path(found.key), found.live[1])
        else:
            transaction.check(self.own_path(found.key), self._version(found))

    def add_write(self, transaction: Any, found: Found, write: Write, *, leased: bool) -> None:
        """Add a write; its key must still be as it was found, whether that was expected or not."""
        own, live = self.own_path(found.key), self.live_path(found.key)
        data = b"" if write.document is None or leased else MARK + write.document
        if data or leased or found.own[0] or found.live[1] >= 0 or write.expected is not None:
            transaction.set_data(own, data, self._version(found))
        if found.live[1] >= 0:
            transaction.delete(live, found.live[1])
        if leased and write.document is not None:
            transaction.create(live, MARK + write.document, ephemeral=True)

    def end(self, transaction: Any, keys: Sequence[str], timeout: float) -> int:
        """Commit a transaction and return its revision.

        Raises:
            KazooException: of the operation that failed.
        """
        transaction.create(f"{self.log}/c", json.dumps(list(keys)).encode(), sequence=True)
        transaction.set_data(self.base, b"")
        results = transaction.commit_async().get(timeout=timeout)
        failures = [each for each in results if isinstance(each, Exception)]
        if failures:
            raise next((each for each in failures if not isinstance(each, RolledBackError)), failures[0])
        number = int(results[-2][-10:])
        if number % CUT_EVERY == 0:
            self._cut(number - LOG_KEPT)
        return int(results[-1].mzxid)

    def _version(self, found: Found) -> int:
        """Return the version of a key's own node; one that is not there is made, empty, so that it has one."""
        if found.own[1] >= 0:
            return found.own[1]
        path = self.own_path(found.key)
        parent = path.rpartition("/")[0]
        if parent not in self._made:
            self.client.ensure_path(parent)
            self._made.add(parent)
        try:
            self.client.create(path, b"")
        except NodeExistsError:
            return -2  # somebody else made it just now: the transaction fails, and is put together again
        return 0

    def _cut(self, before: int) -> None:
        for name in self.client.get_children(self.log):
            if int(name[1:]) < before:
                self.client.delete_async(f"{self.log}/{name}")


class Watching:
    """One watch: how far it has read the log, and what it has told.

    Args:
        tree: The nodes.
        ask: Asks the ensemble until it answers.
    """

    def __init__(self, tree: Tree, ask: Callable[[Callable[[], None]], None]) -> None:
        self._tree = tree
        self._ask = ask
        self._woken = threading.Event()
        self._read = -1
        self._told: dict[str, int] = {}
        self._live: frozenset[str] = frozenset()

    def wake(self, _: object = None) -> None:
        """Look now: something happened, or the watch is closed."""
        self._woken.set()

    def reconnected(self, _: object) -> None:
        """Look now: whatever was watched is not any more, after a connection broke."""
        self._woken.set()

    def follow(self, feed: Feed) -> None:
        """Tell what happens."""
        while not feed.closed:
            self._ask(lambda: self._look(feed))
            self._woken.wait(IDLE)
            self._woken.clear()

    def _look(self, feed: Feed) -> None:
        """Read what is new, after asking to be woken by what is newer."""
        client, tree = self._tree.client, self._tree
        tree.sync()
        numbers = {int(name[1:]): name for name in client.get_children(tree.log, watch=self.wake)}
        live = frozenset(unquote(name) for name in client.get_children(tree.live, watch=self.wake))
        newest = max(numbers, default=self._read)
        if self._read < 0 or min(numbers, default=newest) > self._read + 1 or newest < self._read:
            self._whole(feed)
        else:
            keys = self._keys([numbers[number] for number in sorted(numbers) if number > self._read])
            self._some({*keys, *(live ^ self._live)}, feed)
        self._read, self._live = max(newest, 0), live

    def _whole(self, feed: Feed) -> None:
        revision = self._tree.revision()
        items = tuple(self._tree.walk())
        self._told = {item.key: item.revision for item in items}
        feed.put(Update(revision, items, whole=True))

    def _some(self, keys: Iterable[str], feed: Feed) -> None:
        """Tell how keys are now, in the order of their changes; each by itself, because it is gone since a revision of its own."""
        for key, found in sorted(self._tree.find(keys).items(), key=lambda each: max(each[1].revision, each[1].own[2])):
            item = found.item
            if item is not None and self._told.get(key) != item.revision:
                self._told[key] = item.revision
                feed.put(Update(item.revision, (item,)))
            elif item is None and key in self._told:
                feed.put(Update(max(found.own[2], self._told.pop(key)), (), (key,)))

    def _keys(self, names: Sequence[str]) -> Iterator[str]:
        asked = [self._tree.client.get_async(f"{self._tree.log}/{name}") for name in names]
        for answer in asked:
            data, version, _ = _got(answer)
            if version >= 0:
                yield from json.loads(data)


def _got(answer: Any) -> tuple[bytes, int, int]:
    """Return data, version and revision of a node; version -1 if there is none."""
    try:
        data, stat = answer.get(timeout=10)
    except NoNodeError:
        return b"", -1, 0
    return data, stat.version, stat.mzxid


def _children(answer: Any) -> list[str]:
    try:
        return list(answer.get(timeout=10))
    except NoNodeError:
        return []
