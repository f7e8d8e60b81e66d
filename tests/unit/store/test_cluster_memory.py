from __future__ import annotations

import secrets
from collections.abc import Callable

import pytest

from libnetwork_py.store.cluster import ClusterStore, ClusterUrl
from libnetwork_py.store.shared import SharedMemory
from libnetwork_py.testing.cluster_suite import ClusterContract


class TestSharedMemory(ClusterContract):
    ttl = 0.4

    @pytest.fixture
    def connect(self) -> Callable[[], ClusterStore]:
        """Return a function that returns one more user of the same documents."""
        url = ClusterUrl.parse(f"memory://{secrets.token_hex(4)}")
        return lambda: SharedMemory().open(url)
