from __future__ import annotations

from collections.abc import Iterator

import pytest

from libnetwork_py.store.api import Store, Write
from libnetwork_py.store.memory import COMMITS_KEPT, MemoryStore
from libnetwork_py.testing.store_suite import StoreContract


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store(self) -> Iterator[Store]:
        store = MemoryStore()
        yield store
        store.close()

    def test_two_stores_share_nothing(self) -> None:
        """What is written to one store is not in another."""
        one, other = MemoryStore(), MemoryStore()
        one.commit([Write("a", b"1")])
        assert other.items() == ()

    def test_changes_of_long_ago_are_forgotten(self) -> None:
        """Who is more commits behind than are kept is told to read everything again."""
        store = MemoryStore()
        for _ in range(COMMITS_KEPT + 2):
            store.commit([Write("a", b"1")])
        assert not store.changes(1).complete
        assert store.changes(2).complete
