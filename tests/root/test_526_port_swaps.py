"""Ports that change their host address, their endpoint or both in one batch: the relay's sockets and those that keep the ports make way."""

from __future__ import annotations

import socket
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from libnetwork_py import Endpoint, NetworkController, Sandbox, Unavailable
from libnetwork_py.store import sqlite
from tests.root.api_lab import PATIENCE, asks, at, of, serving, socket_in

GATEWAY = "10.7.0.1"
SWAPS = [
    ("[::1]:8080:80", "8080:80"),
    ("8080:80", "[::1]:8080:80"),
    ("[::1]:8080:80", "[::]:8080:80"),
    ("[::]:8080:80", "[::1]:8080:80"),
    ("127.0.0.1:8080:80", "8080:80"),
    ("[::1]:8080:80", "0.0.0.0:8080:80"),
    ("8080:80", "[::]:8080:80"),
    ("[::]:8080:80", "8080:80"),
    ("8080:80", "0.0.0.0:8080:80"),
    ("0.0.0.0:8080:80", "8080:80"),
]
LOOPBACKS = {4: "127.0.0.1", 6: "::1"}


@pytest.fixture
def web(controller: NetworkController) -> Sandbox:
    """A sandbox."""
    return controller.create_sandbox("relayed-web")


@pytest.fixture
def endpoint(controller: NetworkController, web: Sandbox) -> Endpoint:
    """Its endpoint on a network without IPv6."""
    return web.connect(controller.create_network("front", subnets="10.7.0.0/24"))


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
@pytest.mark.parametrize(("old", "new"), SWAPS, ids=[" to ".join(each) for each in SWAPS])
def test_exchanged_at_once(
    host: str, controller: NetworkController, web: Sandbox, endpoint: Endpoint, old: str, new: str, protocol: str
) -> None:
    """A batch exchanges a port's addresses for others that overlap; where its last commit fails all is as it was."""
    old, new = f"{old}/{protocol}", f"{new}/{protocol}"
    endpoint.publish(old)

    def exchange() -> None:
        with controller.batch():
            endpoint.unpublish(old)
            endpoint.publish(new)

    def take(place: str, family: int) -> None:
        with socket_in(host, family, protocol) as anybody:
            if protocol == "tcp":  # ended connections keep nobody out who says so
                anybody.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            anybody.bind((place, 8080))

    def look(port: str) -> tuple[set[int], set[int]]:
        """The families in which a port is reached at the loopback address, and in which a stranger can have it."""
        reached, stolen = set(), set()
        for family, place in LOOPBACKS.items():
            within = PATIENCE if _serves(port, family) else 0.3
            if asks(at(host), place, 8080, protocol, within=within) is not None:
                reached.add(family)
            with suppress(OSError):
                take(place, family)
                stolen.add(family)
        return reached, stolen

    with serving(of(web), 80):
        for port in (old, new):
            served = {family for family in LOOPBACKS if _serves(port, family)}
            assert look(port) == (served, {4, 6} - served)
            assert not controller.reconcile(repair=False)
            if port == old:
                with failing_commit(2), pytest.raises(Unavailable):
                    exchange()
                assert look(old) == (served, {4, 6} - served)
                exchange()
    endpoint.unpublish(new)
    for family, place in LOOPBACKS.items():
        take(place, family)


def _serves(port: str, family: int) -> bool:
    return port.startswith(("8080", "0.0.0.0" if family == 4 else "[", "127" if family == 4 else "["))


@contextmanager
def failing_commit(number: int) -> Iterator[None]:
    """One commit fails: an operation's intent is the first, its end the second."""
    commits: list[str] = []

    def fail(label: str) -> None:
        commits.append(label)
        if label == "before commit" and commits.count(label) == number:
            raise sqlite3.OperationalError("disk I/O error")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite, "checkpoint", fail)
        yield


@pytest.mark.parametrize("fails", [False, True], ids=["made", "undone before"])
def test_a_relayed_port_of_one_family_alone(
    host: str, controller: NetworkController, web: Sandbox, endpoint: Endpoint, fails: bool
) -> None:
    """A port of both families goes, for IPv6 alone, to another endpoint without IPv6; the other family's is free, at once."""
    other = controller.create_sandbox("relayed-other")
    there = other.connect(controller.network("front"))
    endpoint.publish("8080:80")

    def exchange() -> None:
        with controller.batch():
            endpoint.unpublish("8080:80")
            there.publish("[::]:8080:81")

    with serving(of(web), 80), serving(of(other), 81):
        if fails:
            with failing_commit(2), pytest.raises(Unavailable):
                exchange()
            assert asks(at(host), "::1", 8080) == asks(at(host), "127.0.0.1", 8080) == GATEWAY
            assert not controller.reconcile(repair=False)
        exchange()
        assert asks(at(host), "::1", 8080) == GATEWAY
        assert asks(at(host), "127.0.0.1", 8080, within=0.3) is None
        assert not controller.reconcile(repair=False)
        web.endpoints()[0].publish("0.0.0.0:8080:80")
        assert asks(at(host), "127.0.0.1", 8080) == GATEWAY


def test_exchanged_between_endpoints(
    host: str, controller: NetworkController, web: Sandbox, endpoint: Endpoint
) -> None:
    """A port goes from one endpoint to another, and from one host address to another, in one batch and back."""
    other = controller.create_sandbox("relayed-other")
    there = other.connect(controller.network("front"))
    with serving(of(web), 80), serving(of(other), 81):
        endpoint.publish("[::1]:8080:80")
        for _ in range(2):
            with controller.batch():
                endpoint.unpublish("[::1]:8080:80")
                there.publish("8080:81")
            assert asks(at(host), "::1", 8080) == asks(at(host), "127.0.0.1", 8080) == GATEWAY
            with controller.batch():
                there.unpublish("8080:81")
                endpoint.publish("[::1]:8080:80")
            assert asks(at(host), "::1", 8080) == GATEWAY
            assert asks(at(host), "127.0.0.1", 8080, within=0.3) is None
    assert not controller.reconcile(repair=False)
