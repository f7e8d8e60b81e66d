"""SIGKILL of either side of the plug-in protocol, between calls and in the middle of one: what stays, what comes back, what is left."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dockerd.lab import WEB, Dockerd
from tests.plugin_process import Server

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]
PORT = 18081


@pytest.fixture
def server(docker: Dockerd, tmp_path: Path) -> Iterator[Server]:
    """A server of our drivers, on the daemon's host."""
    server = Server(docker.plugins / "lnw.sock", tmp_path / "state", docker.host)
    server.start()
    yield server
    server.stop()


def test_the_daemon_is_killed(docker: Dockerd, server: Server) -> None:
    """Killed with its containers while others come and go, dockerd starts again on the same network; its end takes everything along."""
    before = docker.links()
    docker.create("front", "default")
    docker.run("web", "front", *WEB, ports={str(PORT): "80"})
    coming = threading.Thread(target=_come_and_go, args=(docker,))
    coming.start()
    time.sleep(1.5)
    docker.stop(hard=True)
    coming.join()
    docker.start()
    docker("POST", "/containers/web/start")
    docker.run("client", "front")
    assert docker.reaches("client", docker.address("web", "front"))
    assert docker.answers(PORT)
    remove(docker)
    assert docker.settles(before)


def _come_and_go(docker: Dockerd) -> None:
    try:
        for number in range(1000):
            docker.run(f"guest-{number}", "front")
            docker("DELETE", f"/containers/guest-{number}?force=1")
    except (AssertionError, OSError):
        return  # the daemon is gone


def test_the_server_is_killed(docker: Dockerd, server: Server) -> None:
    """Killed in the middle of calls, the server leaves what runs as it is, and the next one goes on; nothing is left at the end."""
    before = docker.links()
    docker.create("front", "default")
    docker.run("web", "front", *WEB, ports={str(PORT): "80"})
    for number in range(3):
        name, answers = f"guest-{number}", list[tuple[int, str]]()
        docker("POST", f"/containers/create?name={name}", docker.container("front"))
        coming = threading.Thread(target=lambda name=name, said=answers: said.append(_start(docker, name)))
        coming.start()
        time.sleep(0.05 + 0.15 * number)
        server.stop(hard=True)
        assert docker.answers(PORT)
        server.start()
        coming.join(90)
        ((status, message),) = answers
        if status != 204:  # Docker repeated a call without its body, and says so to its user, who asks again
            assert "the request is empty" in message
            docker("POST", f"/containers/{name}/start")
        assert docker.reaches(name, docker.address("web", "front"))
    remove(docker)
    assert docker.settles(before)


def _start(docker: Dockerd, name: str) -> tuple[int, str]:
    status, answer = docker.ask("POST", f"/containers/{name}/start")
    return status, str(answer)


def remove(docker: Dockerd) -> None:
    """Remove all containers and their network, as a user does."""
    for each in docker("GET", "/containers/json?all=1"):
        docker("DELETE", f"/containers/{each['Id']}?force=1")
    docker("DELETE", "/networks/front")
