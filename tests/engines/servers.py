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
import ssl
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from attrs import field, frozen

ROOT = Path(os.environ.get("LIBNETWORK_PY_ENGINES") or Path(__file__).parents[2] / "build/engines")
PATIENCE = 60.0
JARS = (
    "zookeeper", "zookeeper-jute", "slf4j-api", "slf4j-nop", "netty-all", "netty-buffer", "netty-codec", "netty-common", "netty-handler",
    "netty-resolver", "netty-transport", "netty-transport-native-epoll", "netty-transport-native-unix-common", "jackson-core",
    "jackson-databind", "jackson-annotations", "commons-cli", "commons-io", "snappy-java", "metrics-core", "log4j-1.2",
)  # fmt: skip


class Server:
    """One engine's process: ``address`` is where clients reach it."""

    def __init__(
        self, argv: Sequence[str], port: int, directory: Path, host: str = "127.0.0.1",
        *, secrets: Secrets | None = None, health: int = 0,
    ) -> None:  # fmt: skip
        self.argv, self.port, self.directory, self.host = list(argv), port, directory, host
        self.secrets, self.health = secrets, health
        self.headers: dict[str, str] = {}
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
        answer = json.loads(self._request("POST", path, json.dumps(body), 30)[1])
        assert isinstance(answer, dict)
        return answer

    def get(self, path: str) -> bytes:
        """Return what an HTTP server answers; nothing if that is an error."""
        status, body = self._request("GET", path, None, 2)
        return body if status == 200 else b""

    def said(self, word: bytes) -> bytes:
        """Return what ZooKeeper says to one of its four-letter words."""
        with socket.create_connection((self.host, self.health), timeout=2) as connection:
            connection.sendall(word)
            return b"".join(iter(lambda: connection.recv(4096), b""))

    def _request(self, method: str, path: str, body: str | None, seconds: float) -> tuple[int, bytes]:
        connection = (
            http.client.HTTPSConnection(self.address, timeout=seconds, context=self.secrets.context)
            if self.secrets
            else http.client.HTTPConnection(self.address, timeout=seconds)
        )
        try:
            connection.request(method, path, body, self.headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

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


@frozen
class Secrets:
    """What a cluster that trusts nobody is started with: certificates of its own, and one credential."""

    cert: Path
    key: Path
    user: str = "labs"
    password: str = field(factory=lambda: f"{uuid4().hex} @/:of ours")
    token: str = field(factory=lambda: str(uuid4()))

    @classmethod
    def make(cls, directory: Path) -> Secrets:
        """Make a certificate that is its own authority, for servers on loopback and for their clients.

        It has no common name: etcd's gateway refuses a client that has one as soon as users have passwords.
        """
        if shutil.which("openssl") is None:
            pytest.skip("no openssl to make certificates with")
        made = cls(directory / "cert.pem", directory / "key.pem")
        subject = ["-subj", "/O=labs", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
        curve = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        subprocess.run(
            ["openssl", *curve, *subject, "-keyout", made.key, "-out", made.cert], check=True, capture_output=True
        )
        return made

    @property
    def context(self) -> ssl.SSLContext:
        """What a client connects with."""
        context = ssl.create_default_context(cafile=str(self.cert))
        context.load_cert_chain(self.cert, self.key)
        return context


@contextmanager
def etcd(members: int = 1, *options: str, secrets: Secrets | None = None) -> Iterator[list[Server]]:
    """Start an etcd cluster; with ``secrets``, one that takes encrypted connections of clients with a certificate, and no password yet."""
    binary, ports = program("etcd"), free_ports(2 * members)
    clients, peers = ports[:members], ports[members:]
    scheme = "https" if secrets else "http"
    if secrets:
        files = [f"--cert-file={secrets.cert}", f"--key-file={secrets.key}", f"--trusted-ca-file={secrets.cert}"]
        options = (*options, *files, "--client-cert-auth")
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
                client, directory, secrets=secrets,
            )
            for number, (client, peer, directory) in enumerate(zip(clients, peers, directories, strict=True))
        ]  # fmt: skip
        with _running(servers):
            for server in servers:
                server.until(lambda server=server: b"true" in server.get("/health"))  # type: ignore[misc]
            yield servers


@contextmanager
def consul(members: int = 1, *, secrets: Secrets | None = None) -> Iterator[list[Server]]:
    """Start Consul servers whose sessions may be short; with ``secrets``, ones that take encrypted connections and one token."""
    binary, names = program("consul"), ("https" if secrets else "http", "server", "serf_lan", "serf_wan", "dns")
    ports = free_ports(len(names) * members)
    shares = [dict(zip(names, ports[number::members], strict=True)) for number in range(members)]
    common: dict[str, object] = {
        "server": True, "bootstrap_expect": members, "bind_addr": "127.0.0.1", "session_ttl_min": "1s", "log_level": "err",
        "performance": {"raft_multiplier": 1}, "retry_join": [f"127.0.0.1:{each['serf_lan']}" for each in shares],
        "retry_interval": "1s",
    }  # fmt: skip
    if secrets:
        files = {"ca_file": str(secrets.cert), "cert_file": str(secrets.cert), "key_file": str(secrets.key)}
        acl = {"enabled": True, "default_policy": "deny", "tokens": {"master": secrets.token, "agent": secrets.token}}
        common |= {**files, "verify_incoming_https": True, "acl": acl}
    with _directories(members) as directories:
        servers = []
        for number, (share, directory) in enumerate(zip(shares, directories, strict=True)):
            own = {"node_name": f"m{number}", "data_dir": str(directory / "data")}
            closed = {"grpc": -1, **({"http": -1} if secrets else {})}
            (directory / "config.json").write_text(json.dumps({**common, **own, "ports": {**share, **closed}}))
            argv = [binary, "agent", f"-config-file={directory / 'config.json'}"]
            servers.append(Server(argv, share[names[0]], directory, secrets=secrets))
        with _running(servers):
            for server in servers:
                server.headers = {"X-Consul-Token": secrets.token} if secrets else {}
                known = "/v1/acl/token/self" if secrets else "/v1/status/leader"
                server.until(lambda server=server, known=known: len(server.get(known)) > 4)  # type: ignore[misc]
            yield servers


@contextmanager
def zookeeper(members: int = 1, *, secrets: Secrets | None = None) -> Iterator[list[Server]]:
    """Start ZooKeeper servers with a short tick, so that sessions may be short; with ``secrets``, clients have an encrypted port.

    Without encryption they are asked for their health alone.
    """
    java = shutil.which("java")
    if java is None:
        pytest.skip("no java: install default-jre-headless")
    if not (ROOT / "usr/share/java/zookeeper.jar").exists():
        pytest.skip(f"no ZooKeeper in {ROOT}: run scripts/fetch-engines")
    ports = free_ports(4 * members)
    shares = [ports[4 * number : 4 * number + 4] for number in range(members)]
    jars = ":".join(str(ROOT / f"usr/share/java/{name}.jar") for name in JARS)
    ensemble = "".join(f"server.{number}=127.0.0.1:{each[2]}:{each[3]}\n" for number, each in enumerate(shares, 1))
    with _directories(members) as directories:
        servers = []
        for number, (share, directory) in enumerate(zip(shares, directories, strict=True), 1):
            lines = _zoo_cfg(directory, share, secrets) + (ensemble if members > 1 else "")
            (directory / "zoo.cfg").write_text(lines)
            (directory / "data").mkdir()
            (directory / "data/myid").write_text(str(number))
            flags = ["-Xmx128m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", jars]
            main = ["org.apache.zookeeper.server.quorum.QuorumPeerMain", str(directory / "zoo.cfg")]
            servers.append(Server([java, *flags, *main], share[1 if secrets else 0], directory, health=share[0]))
        with _running(servers):
            for server in servers:
                server.until(lambda server=server: b"Mode: " in server.said(b"srvr"))  # type: ignore[misc]
            yield servers


def _zoo_cfg(directory: Path, share: Sequence[int], secrets: Secrets | None) -> str:
    lines = (
        f"tickTime=200\ninitLimit=50\nsyncLimit=25\ndataDir={directory}/data\nclientPort={share[0]}\nclientPortAddress=127.0.0.1\n"
        "admin.enableServer=false\nmaxClientCnxns=0\n4lw.commands.whitelist=*\n"
    )
    if secrets is None:
        return lines
    (directory / "both.pem").write_text(secrets.key.read_text() + secrets.cert.read_text())
    return lines + (
        f"secureClientPort={share[1]}\nserverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory\n"
        f"ssl.keyStore.location={directory}/both.pem\nssl.keyStore.type=PEM\nssl.trustStore.location={secrets.cert}\n"
        "ssl.trustStore.type=PEM\nssl.clientAuth=need\n"
    )


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
