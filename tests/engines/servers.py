"""Starts etcd, Consul and ZooKeeper on loopback ports, as their users would, and ends them.

They are looked for below ``LIBNETWORK_PY_ENGINES``, by default ``build/engines``, where ``scripts/fetch-engines`` unpacks them.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(os.environ.get("LIBNETWORK_PY_ENGINES") or Path(__file__).parents[2] / "build/engines")
PATIENCE = 60.0
JARS = (
    "zookeeper", "zookeeper-jute", "slf4j-api", "slf4j-nop", "netty-all", "netty-buffer", "netty-codec", "netty-common", "netty-handler",
    "netty-resolver", "netty-transport", "netty-transport-native-epoll", "netty-transport-native-unix-common", "jackson-core",
    "jackson-databind", "jackson-annotations", "commons-cli", "commons-io", "snappy-java", "metrics-core", "log4j-1.2",
)  # fmt: skip


class Server:
    """One engine's process: ``address`` is where clients reach it."""

    def __init__(self, argv: Sequence[str], port: int, directory: Path, host: str = "127.0.0.1") -> None:
        self.argv, self.port, self.directory, self.host = list(argv), port, directory, host
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Host and port."""
        return f"{self.host}:{self.port}"

    def start(self) -> None:
        """Start it, again on the same data."""
        log = (self.directory / "log").open("ab")
        with log:
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *self.argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
            )

    def ask(self, path: str, body: Mapping[str, object]) -> dict[str, Any]:
        """Return what etcd's gateway answers."""
        connection = http.client.HTTPConnection(self.address, timeout=30)
        try:
            connection.request("POST", path, json.dumps(body))
            answer = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        assert isinstance(answer, dict)
        return answer

    def kill(self) -> None:
        """End it at once, without a word."""
        self.signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait()

    def signal(self, number: int) -> None:
        """Send it a signal: SIGSTOP is what a partition looks like."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    def until(self, ready: Callable[[], bool]) -> None:
        """Wait until it answers."""
        end = time.monotonic() + PATIENCE
        while True:
            with suppress(OSError):
                if ready():
                    return
            assert self.process is not None
            assert self.process.poll() is None, f"{self.argv[0]} ended: {self.log()}"
            assert time.monotonic() < end, f"{self.argv[0]} does not answer: {self.log()}"
            time.sleep(0.05)

    def log(self) -> str:
        """Return the end of what it said."""
        return (self.directory / "log").read_text(errors="replace")[-2000:]


def program(name: str) -> str:
    """Return the path of an engine's program; skip the test if there is none."""
    path = ROOT / "usr/bin" / name
    if not path.exists():
        pytest.skip(f"no {name} in {ROOT}: run scripts/fetch-engines")
    return str(path)


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on."""
    with ExitStack() as stack:
        found = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in found:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in found]


def get(address: str, path: str) -> bytes:
    """Return what an HTTP server answers."""
    connection = http.client.HTTPConnection(address, timeout=2)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
        return body if answer.status == 200 else b""
    finally:
        connection.close()


@contextmanager
def etcd(members: int = 1, *options: str) -> Iterator[list[Server]]:
    """Start an etcd cluster."""
    binary, ports = program("etcd"), free_ports(2 * members)
    clients, peers = ports[:members], ports[members:]
    scheme = "https" if any("--cert-file" in each for each in options) else "http"
    cluster = ",".join(f"m{number}=http://127.0.0.1:{port}" for number, port in enumerate(peers))
    with _directories(members) as directories:
        servers = [
            Server(
                [
                    binary, "--name", f"m{number}", "--data-dir", str(directory / "data"), "--log-level=error",
                    "--listen-client-urls", f"{scheme}://127.0.0.1:{client}", "--advertise-client-urls", f"{scheme}://127.0.0.1:{client}",
                    "--listen-peer-urls", f"http://127.0.0.1:{peer}", "--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}",
                    "--initial-cluster", cluster, "--heartbeat-interval=50", "--election-timeout=500", *options,
                ],
                client, directory,
            )
            for number, (client, peer, directory) in enumerate(zip(clients, peers, directories, strict=True))
        ]  # fmt: skip
        with _running(servers):
            for server in servers:
                server.until(lambda server=server: _healthy(server, scheme))  # type: ignore[misc]
            yield servers


def _healthy(server: Server, scheme: str) -> bool:
    if scheme == "https":  # it is asked for a certificate: that it listens must do
        socket.create_connection((server.host, server.port), timeout=2).close()
        return True
    return b"true" in get(server.address, "/health")


@contextmanager
def consul() -> Iterator[Server]:
    """Start a Consul agent whose sessions may be short."""
    binary, ports = program("consul"), free_ports(5)
    names = ("http", "server", "serf_lan", "serf_wan", "dns")
    config = json.dumps({"session_ttl_min": "1s", "ports": {**dict(zip(names, ports, strict=True)), "grpc": -1}})
    with _directories(1) as (directory,):
        (directory / "config.json").write_text(config)
        server = Server(
            [binary, "agent", "-dev", "-bind=127.0.0.1", "-log-level=err", f"-config-file={directory / 'config.json'}"],
            ports[0],
            directory,
        )
        with _running([server]):
            server.until(lambda: len(get(server.address, "/v1/status/leader")) > 4)
            yield server


@contextmanager
def zookeeper() -> Iterator[Server]:
    """Start a ZooKeeper server with a short tick, so that sessions may be short."""
    java = shutil.which("java")
    if java is None:
        pytest.skip("no java: install default-jre-headless")
    if not (ROOT / "usr/share/java/zookeeper.jar").exists():
        pytest.skip(f"no ZooKeeper in {ROOT}: run scripts/fetch-engines")
    (port,) = free_ports(1)
    jars = ":".join(str(ROOT / f"usr/share/java/{name}.jar") for name in JARS)
    with _directories(1) as (directory,):
        (directory / "zoo.cfg").write_text(
            f"tickTime=200\ndataDir={directory}/data\nclientPort={port}\nclientPortAddress=127.0.0.1\nadmin.enableServer=false\n"
            "maxClientCnxns=0\n4lw.commands.whitelist=*\n"
        )
        main = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
        server = Server(
            [
                java,
                "-Xmx128m",
                "-XX:TieredStopAtLevel=1",
                "-XX:+UseSerialGC",
                "-cp",
                jars,
                main,
                str(directory / "zoo.cfg"),
            ],
            port,
            directory,
        )
        with _running([server]):
            server.until(lambda: _asked(port))
            yield server


def _asked(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
        connection.sendall(b"ruok")
        return connection.recv(16) == b"imok"


@contextmanager
def _directories(count: int) -> Iterator[list[Path]]:
    with tempfile.TemporaryDirectory(prefix="engine-") as directory:
        found = [Path(directory, str(number)) for number in range(count)]
        for each in found:
            each.mkdir()
        yield found


@contextmanager
def _running(servers: Sequence[Server]) -> Iterator[None]:
    try:
        for server in servers:
            server.start()
        yield
    finally:
        for server in servers:
            server.kill()
