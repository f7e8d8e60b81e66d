"""The store's contract as tests: whoever writes a store subclasses `StoreContract` and gives it one fixture.

Division of labour: what must hold of *every* store is here; what one kind of store promises beyond it (files, processes, servers)
is tested beside that store.

.. code-block:: python

    class TestMyStore(StoreContract):
        @pytest.fixture
        def store(self) -> Iterator[Store]:
            store = MyStore()
            yield store
            store.close()

May import: store.api, errors, pytest.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from ..errors import Conflict, InvalidParameter, Unavailable
from ..store.api import Item, Store, Write


def _put(store: Store, *keys: str, document: bytes = b"{}") -> int:
    return store.commit([Write(key, document) for key in keys])


class StoreContract:
    """Tests of `Store`; a subclass has a fixture ``store``: a new, empty store for each test."""

    def test_a_new_store_is_empty(self, store: Store) -> None:
        """A new store has no items and no events."""
        assert store.items() == ()
        assert store.events(0) == ()

    def test_a_commit_is_read_back(self, store: Store) -> None:
        """A committed document is read back byte for byte, with the revision that its commit returned."""
        document = bytes(range(256))
        revision = store.commit([Write("network/a", document)])
        assert store.items() == (Item("network/a", document, revision),)

    def test_revisions_grow(self, store: Store) -> None:
        """Every commit has a higher revision than the one before it, and `revision` returns the newest."""
        revisions = [
            store.revision(),
            _put(store, "a"),
            _put(store, "a"),
            _put(store, "b"),
            store.commit([Write("a", None)]),
        ]
        assert revisions == sorted(set(revisions))
        assert store.revision() == revisions[-1]

    def test_a_commit_of_nothing_is_no_commit(self, store: Store) -> None:
        """A commit without writes and events changes no revision."""
        before = _put(store, "a")
        assert store.commit([]) == before == store.revision()

    def test_items_are_selected_by_prefix_in_order(self, store: Store) -> None:
        """Items come sorted by key, and only those whose key begins with the prefix, taken literally."""
        _put(store, "network/b", "sandbox/x", "network/a", "networks", "net%", "net_", "network/é")
        assert [item.key for item in store.items("network/")] == ["network/a", "network/b", "network/é"]
        assert [item.key for item in store.items("net%")] == ["net%"]
        assert [item.key for item in store.items("net_")] == ["net_"]
        assert len(store.items()) == 7

    def test_deleting(self, store: Store) -> None:
        """A deleted item is gone; deleting what is not there is no error."""
        _put(store, "a", "b")
        store.commit([Write("a", None), Write("never", None)])
        assert [item.key for item in store.items()] == ["b"]

    def test_only_written_items_get_the_new_revision(self, store: Store) -> None:
        """An item keeps the revision of its own last change."""
        first = _put(store, "a", "b")
        second = _put(store, "b")
        assert {item.key: item.revision for item in store.items()} == {"a": first, "b": second}

    def test_an_expected_revision_that_is_met(self, store: Store) -> None:
        """A write that expects the item's revision, or 0 for an item that does not exist, is made."""
        first = store.commit([Write("a", b"1", expected=0)])
        second = store.commit([Write("a", b"2", expected=first)])
        store.commit([Write("a", None, expected=second)])
        assert store.items() == ()

    @pytest.mark.parametrize("expected", [0, 10**6])
    def test_an_expected_revision_that_is_not_met(self, store: Store, expected: int) -> None:
        """A write that expects another revision is a `Conflict` that names the item, and nothing of its commit is made."""
        revision = _put(store, "a")
        with pytest.raises(Conflict, match="a was changed") as caught:
            store.commit([Write("other", b"x"), Write("a", b"y", expected=expected)], [b"event"])
        assert caught.value.code == "revision"
        assert (caught.value.key, caught.value.expected) == ("a", expected)
        assert store.items() == (Item("a", b"{}", revision),)
        assert store.events(0) == ()
        assert store.revision() == revision

    def test_expecting_an_item_that_does_not_exist(self, store: Store) -> None:
        """Expecting a revision of an item that does not exist, or no longer exists, is a `Conflict`."""
        revision = _put(store, "a")
        store.commit([Write("a", None)])
        with pytest.raises(Conflict):
            store.commit([Write("a", b"x", expected=revision)])

    def test_one_write_per_item(self, store: Store) -> None:
        """Two writes of one item in a commit are refused, because engines do not agree on their order."""
        with pytest.raises(InvalidParameter) as caught:
            store.commit([Write("a", b"1"), Write("a", None)])
        assert caught.value.code == "duplicate_key"
        assert store.items() == ()

    def test_changes_since_a_revision(self, store: Store) -> None:
        """`changes` gives the items as they are now, each once, and what was deleted, by key."""
        _put(store, "kept", "dropped", "changed")
        since = store.revision()
        _put(store, "changed", document=b"1")
        store.commit([Write("dropped", None), Write("changed", b"2"), Write("born", b"3")])
        changes = store.changes(since)
        assert changes.complete
        assert changes.revision == store.revision()
        assert [(item.key, item.document) for item in changes.items] == [("born", b"3"), ("changed", b"2")]
        assert changes.deleted == ("dropped",)

    def test_no_changes(self, store: Store) -> None:
        """Since the newest revision nothing has changed; since a revision that is still to come, who knows."""
        revision = _put(store, "a")
        nothing = store.changes(revision)
        assert (nothing.revision, nothing.items, nothing.deleted, nothing.complete) == (revision, (), (), True)
        assert not store.changes(revision + 1).complete

    def test_an_item_made_and_deleted_counts_as_deleted(self, store: Store) -> None:
        """An item that came and went since the revision is among the deleted ones."""
        since = _put(store, "a")
        _put(store, "brief")
        store.commit([Write("brief", None)])
        assert store.changes(since).deleted == ("brief",)

    def test_following_changes_gives_the_same_as_reading_everything(self, store: Store) -> None:
        """Whoever applies every `changes` to what he read has what `items` returns; where it is incomplete, he reads again."""
        _put(store, *(f"k{number}" for number in range(10)))
        since, mirror = store.revision(), {item.key: item for item in store.items()}
        for step in range(30):
            store.commit([Write(f"k{step % 7}", None), Write(f"k{step % 5 + 7}", str(step).encode())])
            if step % 3 == 0:
                changes = store.changes(since)
                mirror = {item.key: item for item in store.items()} if not changes.complete else mirror
                mirror.update({item.key: item for item in changes.items})
                for key in changes.deleted:
                    mirror.pop(key, None)
                since = changes.revision
                assert tuple(sorted(mirror.values(), key=lambda item: item.key)) == store.items()

    def test_events_are_numbered_in_order(self, store: Store) -> None:
        """Events come back in the order in which they were committed, with numbers that grow, from any of them on."""
        store.commit([Write("a", b"1")], [b"first", b"second"])
        store.commit([], [b"third"])
        events = store.events(0)
        assert [document for _, document in events] == [b"first", b"second", b"third"]
        assert [number for number, _ in events] == sorted({number for number, _ in events})
        assert store.events(events[0][0]) == events[1:]
        assert store.events(events[-1][0]) == ()
        assert store.events(0, limit=2) == events[:2]

    def test_old_events_are_dropped_and_new_ones_are_not(self, store: Store) -> None:
        """Of 25,000 events the newest 10,000 are there, their numbers go on, and a commit of events alone is a commit."""
        for start in range(0, 25_000, 250):
            store.commit([], [str(start + number).encode() for number in range(250)])
        last = store.events(0, limit=30_000)[-10_000:]
        assert [document for _, document in last] == [str(number).encode() for number in range(15_000, 25_000)]
        newest = last[-1][0]
        store.commit([], [b"next"])
        assert store.events(newest) == ((newest + 1, b"next"),)

    def test_a_large_commit(self, store: Store) -> None:
        """2,000 items go in one commit, are followed as one change, and are deleted in one."""
        since = store.revision()
        keys = [f"endpoint/{number:05}" for number in range(2000)]
        revision = _put(store, *keys, document=b"x" * 500)
        assert [item.key for item in store.items("endpoint/")] == keys
        assert {item.revision for item in store.items()} == {revision}
        changes = store.changes(since)
        assert not changes.complete or len(changes.items) == 2000
        store.commit([Write(key, None) for key in keys])
        assert store.items() == ()

    def test_threads_that_count_lose_no_step(self, store: Store) -> None:
        """Eight threads that each add 25 to one number, by expected revision and again after a `Conflict`, make 200."""
        store.commit([Write("n", b"0")])

        def count() -> None:
            for _ in range(25):
                while not _add_one(store):
                    pass

        self._together([count] * 8)
        assert store.items()[0].document == b"200"

    def test_exclusive_keeps_other_threads_out(self, store: Store) -> None:
        """Threads that hold the store are alone in what they do."""
        inside: list[int] = []
        most: list[int] = []

        def enter() -> None:
            for _ in range(20):
                with store.exclusive(timeout=30):
                    inside.append(1)
                    most.append(len(inside))
                    store.revision()
                    inside.pop()

        self._together([enter] * 4)
        assert max(most) == 1
        assert len(most) == 80

    def test_exclusive_gives_up_after_its_timeout(self, store: Store) -> None:
        """Who does not get the store in time gets `Unavailable`, code ``locked``; afterwards it is free again."""
        errors: list[Unavailable] = []

        def enter() -> None:
            with pytest.raises(Unavailable) as caught, store.exclusive(timeout=0.05):
                pass
            errors.append(caught.value)

        with store.exclusive(timeout=1):
            self._together([enter])
        assert [error.code for error in errors] == ["locked"]
        with store.exclusive(timeout=0):
            pass

    def test_exclusive_is_freed_by_an_exception(self, store: Store) -> None:
        """An exception inside passes through and frees the store."""
        with pytest.raises(ZeroDivisionError), store.exclusive(timeout=1):
            raise ZeroDivisionError
        with store.exclusive(timeout=0):
            pass

    def test_a_holder_reads_and_commits(self, store: Store) -> None:
        """The thread that holds the store reads and writes it as before."""
        with store.exclusive(timeout=1):
            _put(store, "a")
            assert len(store.items()) == 1

    def test_closing(self, store: Store) -> None:
        """A store is closed any number of times, and then says so instead of working."""
        store.close()
        store.close()
        for use in (
            store.items,
            store.revision,
            lambda: store.events(0),
            lambda: store.changes(0),
            lambda: _put(store, "a"),
        ):
            with pytest.raises(Unavailable) as caught:
                use()
            assert caught.value.code == "store_closed"

    def _together(self, functions: Sequence[object]) -> None:
        """Run functions on threads of their own and raise what one of them raised."""
        failures: list[BaseException] = []

        def run(function: object) -> None:
            try:
                assert callable(function)
                function()
            except BaseException as error:  # noqa: BLE001 (raised again below)
                failures.append(error)

        threads = [threading.Thread(target=run, args=[function]) for function in functions]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]


def _add_one(store: Store) -> bool:
    (item,) = store.items("n")
    try:
        store.commit([Write("n", str(int(item.document) + 1).encode(), expected=item.revision)])
    except Conflict:
        return False
    return True
