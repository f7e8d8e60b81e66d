"""The cluster store's contract as tests: whoever writes a back end subclasses `ClusterContract` and gives it one fixture.

.. code-block:: python

    class TestMyEngine(ClusterContract):
        @pytest.fixture
        def connect(self) -> Iterator[Callable[[], ClusterStore]]:
            yield lambda: MyEngine().open(ClusterUrl.parse("myengine://127.0.0.1:1234/" + secrets.token_hex(4)))

May import: store.api, store.cluster, errors, pytest.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import pytest

from ..errors import Conflict, InvalidParameter, Unavailable
from ..store.api import Item, Write
from ..store.cluster import Check, ClusterStore, Update, Watch

PATIENCE = 10.0
"""Seconds that an engine is given to tell what has happened."""


class Mirror:
    """What a watch has told, put together as every user of one does."""

    def __init__(self, watch: Watch) -> None:
        self.items: dict[str, Item] = {}
        self.told: list[tuple[str, int]] = []
        self.wholes = 0
        self._watch = watch

    def until(self, done: Callable[[Mapping[str, bytes]], bool]) -> Mapping[str, bytes]:
        """Take updates in until the documents are as wished; return them."""
        end = time.monotonic() + PATIENCE
        while not done(self.documents):
            update = self._watch.next(0.1)
            if update is not None:
                self._take(update)
            assert time.monotonic() < end, f"the watch never told: {self.documents}"
        return self.documents

    @property
    def documents(self) -> Mapping[str, bytes]:
        """Key → document, as far as was told."""
        return {key: item.document for key, item in self.items.items()}

    def _take(self, update: Update) -> None:
        self.wholes += update.whole
        if update.whole:
            kept = {item.key for item in update.items}
            gone = [key for key, item in self.items.items() if key not in kept and item.revision <= update.revision]
        else:
            gone = [key for key in update.gone if key in self.items and self.items[key].revision <= update.revision]
        for key in gone:
            del self.items[key]
        for item in update.items:
            held = self.items.get(item.key)
            if held is None or held.revision < item.revision:
                self.items[item.key] = item
                self.told.append((item.key, item.revision))


class ClusterContract:
    """Tests of `ClusterStore`; a subclass has a fixture ``connect``: a function that returns one more user of the same, empty, keys."""

    ttl = 1.0
    """A time to live that the engine takes."""
    latest = 4.0
    """Seconds after which a lease of that time is sure to have ended."""

    @pytest.fixture
    def store(self, connect: Callable[[], ClusterStore]) -> Iterator[ClusterStore]:
        """One user."""
        store = connect()
        yield store
        store.close()

    @pytest.fixture
    def other(self, connect: Callable[[], ClusterStore]) -> Iterator[ClusterStore]:
        """Another one."""
        store = connect()
        yield store
        store.close()

    def test_what_one_commits_another_reads(self, store: ClusterStore, other: ClusterStore) -> None:
        """Documents are read back byte for byte by every user, sorted by key, with the revision that the commit returned."""
        document = bytes(range(256))
        revision = store.commit([Write("network/b", document), Write("network/a", b""), Write("networks", b"x")])
        assert other.items("network/").items == (
            Item("network/a", b"", revision),
            Item("network/b", document, revision),
        )
        assert other.get("network/b", "none").items == (Item("network/b", document, revision),)
        assert other.items().revision >= revision

    def test_odd_keys(self, store: ClusterStore) -> None:
        """A key may have any printable character of an address or a name in it."""
        keys = ["address/default/fd00::1%eth0", "endpoint/ab/web.1_x-y", "x/é y"]
        revision = store.commit([Write(key, b"1") for key in keys])
        assert store.items().items == tuple(Item(key, b"1", revision) for key in keys)
        store.commit([Write(key, None) for key in keys])
        assert store.items().items == ()

    def test_created_if_absent(self, store: ClusterStore, other: ClusterStore) -> None:
        """Of two that create one key, the second hears `Conflict` and changes nothing; once it is deleted, it can be created again."""
        first = store.commit([Write("address/10.0.0.2", b"one", expected=0)])
        with pytest.raises(Conflict) as caught:
            other.commit([Write("address/10.0.0.2", b"two", expected=0), Write("more", b"x")])
        assert caught.value.code == "revision"
        assert other.items().items == (Item("address/10.0.0.2", b"one", first),)
        other.commit([Write("address/10.0.0.2", None, expected=first)])
        second = other.commit([Write("address/10.0.0.2", b"two", expected=0)])
        assert store.items().items == (Item("address/10.0.0.2", b"two", second),)
        assert second > first

    def test_expected_revisions(self, store: ClusterStore) -> None:
        """A write that expects a revision is made if it is the item's own, and refused if the item has changed or is gone."""
        first = store.commit([Write("a", b"1"), Write("b", b"1")])
        store.commit([Write("b", b"2")])
        second = store.commit([Write("a", b"2", expected=first)])
        for stale in (
            Write("a", b"3", expected=first),
            Write("a", None, expected=first),
            Write("c", b"", expected=first),
        ):
            with pytest.raises(Conflict):
                store.commit([stale])
        store.commit([Write("a", None, expected=second)])
        with pytest.raises(Conflict):
            store.commit([Write("a", b"4", expected=second)])
        assert [item.key for item in store.items().items] == ["b"]

    def test_deleting_what_is_not_there(self, store: ClusterStore) -> None:
        """Deleting an absent key is no error."""
        store.commit([Write("never", None), Write("a", b"1")])
        assert [item.key for item in store.items().items] == ["a"]

    def test_checks(self, store: ClusterStore) -> None:
        """A commit depends on keys that it does not write: on their revision, or on their absence."""
        held = store.commit([Write("host/a", b"")])
        store.commit([Write("x", b"1")], [Check("host/a", held), Check("host/b", 0)])
        for check in (Check("host/a", 0), Check("host/a", held + 1000), Check("host/b", held)):
            with pytest.raises(Conflict):
                store.commit([Write("x", b"2")], [check])
        assert store.get("x").items[0].document == b"1"

    def test_one_write_per_key(self, store: ClusterStore) -> None:
        """Two writes of one key are refused, and so is a commit beyond the engine's limit."""
        with pytest.raises(InvalidParameter) as caught:
            store.commit([Write("a", b"1"), Write("a", None)])
        assert caught.value.code == "duplicate_key"
        with pytest.raises(InvalidParameter) as caught:
            store.commit([Write(f"k{number}", b"") for number in range(store.limit + 1)])
        assert caught.value.code == "commit_too_large"
        assert store.items().items == ()

    def test_a_commit_of_the_limit(self, store: ClusterStore) -> None:
        """A commit of as many writes as the engine takes is made as one, and undone as one."""
        revision = store.commit([Write(f"k{number:03}", b"x" * 500, expected=0) for number in range(store.limit)])
        assert {item.revision for item in store.items().items} == {revision}
        store.commit([Write(item.key, None, expected=item.revision) for item in store.items().items])
        assert store.items().items == ()

    def test_many_count(self, connect: Callable[[], ClusterStore]) -> None:
        """Four users that each add 10 to one number, by expected revision and again after a `Conflict`, make 40."""
        stores = [connect() for _ in range(4)]
        stores[0].commit([Write("n", b"0")])
        threads = [threading.Thread(target=_count, args=[store, 10]) for store in stores]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert stores[0].get("n").items[0].document == b"40"
        for store in stores:
            store.close()

    # Watching

    def test_a_watch_begins_with_everything(self, store: ClusterStore, other: ClusterStore) -> None:
        """The first update of a watch is whole; after it come changes and deletions by anybody."""
        store.commit([Write("a", b"1"), Write("b", b"1")])
        with _watching(other) as mirror:
            assert mirror.until(lambda found: len(found) == 2) == {"a": b"1", "b": b"1"}
            store.commit([Write("a", b"2"), Write("b", None), Write("c/d", b"3")])
            assert mirror.until(lambda found: "c/d" in found and "b" not in found) == {"a": b"2", "c/d": b"3"}
            assert mirror.wholes == 1

    def test_a_watch_misses_and_repeats_nothing(self, store: ClusterStore, other: ClusterStore) -> None:
        """Whoever follows a watch through many quick changes has what is there in the end, and was told no revision twice."""
        with _watching(other) as mirror:
            for step in range(60):
                keep = Write(f"k{step % 7}", str(step).encode())
                store.commit([keep, Write(f"k{(step + 3) % 7}", None)] if step % 2 else [keep])
            store.commit([Write("end", b"")])
            mirror.until(lambda found: "end" in found)
            assert mirror.documents == {item.key: item.document for item in store.items().items}
            assert len(mirror.told) == len(set(mirror.told))

    def test_a_closed_watch(self, store: ClusterStore) -> None:
        """A watch that is closed, by itself or with its store, wakes its reader."""
        for close in ("watch", "store"):
            watch = store.watch()
            assert watch.next(PATIENCE) is not None
            closer = threading.Timer(0.05, watch.close if close == "watch" else store.close)
            closer.start()
            began = time.monotonic()
            assert watch.next(30) is None
            assert time.monotonic() - began < 15
            closer.join()

    # Leases

    def test_what_hangs_on_a_lease_goes_with_it(self, store: ClusterStore, other: ClusterStore) -> None:
        """A revoked lease takes its keys along, and no others; a watch tells."""
        lease = store.grant(self.ttl)
        store.commit([Write("free", b"")])
        store.commit([Write("host/a", b"")], lease=lease)
        with _watching(other) as mirror:
            mirror.until(lambda found: len(found) == 2)
            store.revoke(lease)
            assert mirror.until(lambda found: "host/a" not in found) == {"free": b""}
        assert not store.keep_alive(lease)
        store.revoke(lease)

    def test_a_lease_that_is_kept_alive(self, store: ClusterStore, other: ClusterStore) -> None:
        """A lease lives while it is kept alive, beyond its own time."""
        lease = store.grant(self.ttl)
        store.commit([Write("host/a", b"")], lease=lease)
        end = time.monotonic() + 1.5 * self.ttl
        while time.monotonic() < end:
            assert store.keep_alive(lease)
            time.sleep(self.ttl / 4)
        assert other.get("host/a").items

    def test_a_lease_runs_out(self, connect: Callable[[], ClusterStore], store: ClusterStore) -> None:
        """What hangs on the lease of a user that has gone is there for the lease's time, and is not afterwards."""
        gone = connect()
        lease = gone.grant(self.ttl)
        began = time.monotonic()
        gone.commit([Write("host/a", b"")], lease=lease)
        self.kill(gone)
        lived = 0.0
        while store.get("host/a").items:
            lived = time.monotonic() - began
            assert lived < self.latest
            time.sleep(0.05)
        assert lived > 0.7 * self.ttl
        with pytest.raises(Conflict) as caught:
            store.commit([Write("host/b", b"")], lease=lease)
        assert caught.value.code == "lease_over"

    def kill(self, store: ClusterStore) -> None:
        """Have a user die: nothing of its own is done any more. For engines whose clients keep leases alive by themselves."""

    def test_closing(self, store: ClusterStore) -> None:
        """A store is closed any number of times, and then says so instead of working."""
        store.close()
        store.close()
        uses: list[Callable[[], object]] = [
            store.items, store.watch, lambda: store.get("a"), lambda: store.commit([Write("a", b"")]), lambda: store.grant(self.ttl),
        ]  # fmt: skip
        for use in uses:
            with pytest.raises(Unavailable) as caught:
                use()
            assert caught.value.code == "store_closed"


@contextmanager
def _watching(store: ClusterStore) -> Iterator[Mirror]:
    watch = store.watch()
    try:
        yield Mirror(watch)
    finally:
        watch.close()


def _count(store: ClusterStore, times: int) -> None:
    for _ in range(times):
        while True:
            (item,) = store.get("n").items
            try:
                store.commit([Write("n", str(int(item.document) + 1).encode(), expected=item.revision)])
                break
            except Conflict:
                continue
