from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator

import pytest

from libnetwork_py.store.cluster import ClusterStore, ClusterUrl
from libnetwork_py.store.consul import Consul
from libnetwork_py.testing.cluster_suite import ClusterContract
from tests.cluster_lab import install, walk
from tests.engines import servers


@pytest.fixture(scope="module")
def server() -> Iterator[servers.Server]:
    """One Consul for all tests here."""
    with servers.consul() as (server,):
        yield server


class TestConsul(ClusterContract):
    ttl = 1.0
    latest = 8.0

    @pytest.fixture
    def connect(self, server: servers.Server) -> Callable[[], ClusterStore]:
        """Return a function that returns one more user of the same documents."""
        url = ClusterUrl.parse(f"consul://{server.address}/{secrets.token_hex(4)}")
        return lambda: Consul().open(url)


def test_a_networks_life(server: servers.Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network is created, used, refused, left by a host that dies and deleted on two hosts of a cluster."""
    install(monkeypatch)
    walk(f"consul://{server.address}/{secrets.token_hex(4)}", 1.0)
