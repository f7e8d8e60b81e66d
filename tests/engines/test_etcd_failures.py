from __future__ import annotations

import base64
import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from libnetwork_py.errors import Conflict, Unavailable
from tests.cluster_lab import Host, install, until
from tests.engines import servers
from tests.engines.wire import Wire, wires

TTL = 2.0


@pytest.fixture(autouse=True)
def mesh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Install the driver."""
    install(monkeypatch)


@pytest.fixture(scope="module")
def server() -> Iterator[servers.Server]:
    """One etcd for all tests here but those that kill it."""
    with servers.etcd() as (server,):
        yield server


@contextmanager
def _wired(port: int, count: int = 2, ttl: float = 30.0) -> Iterator[list[tuple[Host, Wire]]]:
    """Hosts that each reach etcd over a wire of their own."""
    name = secrets.token_hex(4)
    with wires(port, count) as laid, ExitStack() as stack:
        found = []
        for number, wire in enumerate(laid, start=1):
            host = Host(number, f"etcd://127.0.0.1:{wire.port}/{name}?timeout=1.5", ttl)
            stack.callback(lambda host=host: host.controller.close())  # type: ignore[misc]
            found.append((host, wire))
        yield found


def _meet(first: Host, second: Host) -> None:
    """Have both connect a sandbox to one network, and know of each other."""
    first.controller.create_sandbox("a").connect(first.controller.create_network("front", "mesh"))
    second.controller.create_sandbox("b").connect(second.controller.network("front"))
    until(lambda: first.routes == ["10.0.0.3"] and second.routes == ["10.0.0.2"])


@pytest.mark.parametrize("how", ["cut", "silence"])
def test_a_store_that_is_away(server: servers.Server, how: str) -> None:
    """While the store is away the kernel stays as it is, local work goes on, new global work fails at once, and leaving works;
    when it is back, everything catches up.
    """
    with _wired(server.port) as ((first, wire), (second, _)):
        _meet(first, second)
        before = first.kernel.state()
        getattr(wire, how)()
        with pytest.raises(Unavailable) as caught:
            first.controller.network("front").create_endpoint("c")
        assert caught.value.code == "cluster_unreachable"
        began = time.monotonic()
        for _ in range(5):
            with pytest.raises(Unavailable):
                first.controller.network("front").create_endpoint("c")
        assert time.monotonic() - began < 5 * 1.5  # the time of five that wait; one may be the first to ask again
        assert first.kernel.state() == before
        assert any("cannot be reached" in each for each in first.controller.info().warnings)
        first.controller.create_sandbox("local").connect(first.controller.create_network("here"))
        second.controller.create_sandbox("c").connect(second.controller.network("front"))
        first.controller.network("front").endpoint("a").leave()
        assert second.routes == ["10.0.0.2"]
        wire.heal()
        until(lambda: second.routes == [])
        until(lambda: len(first.controller.network("front").endpoints()) == 3)
        assert len(first.controller.network("front").create_endpoint("d").addresses) == 1


def test_a_start_without_the_store(server: servers.Server) -> None:
    """A controller that starts while the store is away has what it knew, in the kernel too, and joins when the store is there."""
    with _wired(server.port) as ((first, wire), (second, _)):
        _meet(first, second)
        wire.cut()
        first.die()
        first.open()
        assert first.routes == ["10.0.0.3"]
        wire.heal()
        second.controller.network("front").endpoint("b").leave()
        until(lambda: first.routes == [])


def test_a_partition_longer_than_the_lease(server: servers.Server) -> None:
    """A host that is cut off goes on forwarding; after its lease its address is another's, and when it returns it gives it up."""
    with _wired(server.port, ttl=TTL) as ((first, wire), (second, _)):
        _meet(first, second)
        wire.silence()
        began = time.monotonic()
        with pytest.raises(Conflict):
            second.controller.network("front").create_endpoint("thief", addresses=["10.0.0.2"])
        until(lambda: second.routes == [], 20)
        assert time.monotonic() - began > TTL * 0.6
        second.controller.network("front").create_endpoint("thief", addresses=["10.0.0.2"]).join(
            second.controller.create_sandbox("t")
        )
        assert first.routes == ["10.0.0.3"]
        wire.heal()
        until(lambda: not first.controller.sandbox("a").endpoints(), 20)
        assert first.routes == []
        first.controller.sandbox("a").connect(first.controller.network("front"))
        until(lambda: len(second.routes) == 1)
        assert second.routes[0] not in {"10.0.0.2", "10.0.0.3"}


def test_a_watch_across_a_compaction(server: servers.Server) -> None:
    """A host whose watch was cut while history was compacted reads everything anew, and has what happened meanwhile."""
    with _wired(server.port) as ((first, wire), (second, _)):
        _meet(first, second)
        wire.cut()
        second.controller.network("front").endpoint("b").leave()
        second.controller.sandbox("b").connect(
            second.controller.network("front"), name="moved", addresses=["10.0.0.77"]
        )
        for number in range(5):
            second.controller.network("front").create_endpoint(f"e{number}").delete()
        _compact(server)
        wire.heal()
        until(lambda: first.routes == ["10.0.0.77"])
        assert {each.name for each in first.controller.network("front").endpoints()} == {"a", "b", "moved"}


def test_etcd_killed_and_started_again(server: servers.Server) -> None:
    """A host whose only etcd died and came back within its lease has lost nothing, and nobody has lost sight of it."""
    with servers.etcd() as (own,), _wired(own.port, ttl=20.0) as ((first, _), (second, _)):
        _meet(first, second)
        own.kill()
        with pytest.raises(Unavailable):
            first.controller.create_network("more", "mesh")
        own.start()
        until(lambda: _creates(first, "more"), 20)
        until(lambda: second.controller.networks(name="more"), 20)
        assert (first.routes, second.routes) == (["10.0.0.3"], ["10.0.0.2"])


def _creates(host: Host, name: str) -> bool:
    try:
        host.controller.create_network(name, "mesh")
    except Unavailable:
        return False
    return True


def _compact(server: servers.Server) -> None:
    body = {"key": base64.b64encode(b"x").decode()}
    revision = server.ask("/v3/kv/range", body)["header"]["revision"]
    server.ask("/v3/kv/compaction", {"revision": revision, "physical": True})
