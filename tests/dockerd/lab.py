"""A real dockerd in namespaces of its own, and its API.

It runs in a Debian tree (`scripts/make-dockerd-tree`), with a network, mount and process namespace that end with it. Its network namespace
has a name and a link to the outside, a second namespace with a server in it. Nothing of the machine's own network is touched.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

START = """
set -e
root=$1 work=$2
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount --rbind /sys/fs/cgroup "$root/sys/fs/cgroup"
mkdir -p "$root/run/docker/plugins" "$root/run/api" "$root/var/lib/docker"
mount --bind "$work/plugins" "$root/run/docker/plugins"
mount --bind "$work/api" "$root/run/api"
mount --bind "$work/data" "$root/var/lib/docker"
exec chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root dockerd -H unix:///run/api/docker.sock \
    --data-root /var/lib/docker --exec-opt native.cgroupdriver=cgroupfs --cgroup-parent /libnetwork-py-test \
    --userland-proxy=false --ip-forward-no-drop --log-level warn --default-address-pool base=172.16.0.0/12,size=16
"""
OUTSIDE, GATE = "198.51.100.2", "198.51.100.1"


class Dockerd:
    """One daemon.

    Args:
        tree: The Debian tree.
        work: A directory of its own.
        record: Called with each call of its API and what came of it.
    """

    def __init__(self, tree: Path, work: Path, record: Callable[[dict[str, Any]], object]) -> None:
        self._tree, self._work, self._record = tree, work, record
        self._process: subprocess.Popen[bytes] | None = None
        name = f"dockerd-{os.getpid()}"
        self.host, self.outside = f"/run/netns/{name}", f"/run/netns/{name}-out"
        for each in ("plugins", "api", "data"):
            (work / each).mkdir(mode=0o700)
        for path in (self.host, self.outside):
            _run("ip", "netns", "add", Path(path).name)
            _run("ip", "-n", Path(path).name, "link", "set", "lo", "up")
        for line in (
            f"-n {name} link add up0 type veth peer name eth0 netns {name}-out",
            f"-n {name} addr add {GATE}/24 dev up0",
            f"-n {name} link set up0 up",
            f"-n {name}-out addr add {OUTSIDE}/24 dev eth0",
            f"-n {name}-out link set eth0 up",
        ):
            _run("ip", *line.split())

    @property
    def plugins(self) -> Path:
        """Where it looks for plug-ins' sockets."""
        return self._work / "plugins"

    def start(self) -> None:
        """Start it, and return when it answers."""
        argv = ["nsenter", f"--net={self.host}", "unshare", "--mount", "--pid", "--fork", "--kill-child", "--ipc", "--uts",
                "--propagation", "private", "sh", "-c", START, "sh", str(self._tree), str(self._work)]  # fmt: skip
        with (self._work / "log").open("ab") as log:
            self._process = subprocess.Popen(argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError):
                if self._call("GET", "/_ping")[0] == 200:
                    return
            assert self._process.poll() is None, (self._work / "log").read_text()[-2000:]
            assert time.monotonic() < deadline, "dockerd does not come up"
            time.sleep(0.1)

    def stop(self) -> None:
        """End it as its init system does, containers with it."""
        if self._process is None:
            return
        for pid in _below(self._process.pid):
            if Path(f"/proc/{pid}/comm").read_text().strip() == "dockerd":
                os.kill(pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(30)
        self._process.kill()
        self._process.wait()
        self._process = None

    def remove(self) -> None:
        """Remove what was made for it."""
        for path in (self.host, self.outside):
            _run("ip", "netns", "del", Path(path).name)
        for each in Path("/sys/fs/cgroup").glob("*/libnetwork-py-test"):
            with contextlib.suppress(OSError):
                for inner in sorted(each.rglob("*/"), reverse=True):
                    inner.rmdir()
                each.rmdir()

    # Its API

    def __call__(self, method: str, path: str, body: object = None, *, refused: bool = False) -> Any:
        """Make a call and return its answer; ``refused``: it must fail, and its message is returned."""
        status, answer = self._call(method, path, json.dumps(body).encode() if body is not None else b"")
        self._record({"call": f"{method} {path}", "request": body, "status": status, "answer": answer})
        assert (status >= 400) == refused, (method, path, status, answer)
        return answer["message"] if refused else answer

    def _call(self, method: str, path: str, body: bytes = b"", kind: str = "application/json") -> tuple[int, Any]:
        connection = http.client.HTTPConnection("docker")
        connection.sock = socket.socket(socket.AF_UNIX)
        try:
            connection.sock.settimeout(120)
            connection.sock.connect(str(self._work / "api/docker.sock"))
            connection.request(method, path, body, {"Content-Type": kind})
            response = connection.getresponse()
            raw = response.read()
        finally:
            connection.close()
        with contextlib.suppress(ValueError):
            return response.status, json.loads(raw)
        return response.status, raw.decode(errors="replace")

    def image(self) -> None:
        """Have an image ``box`` of one static program."""
        busybox = next(path for path in (self._tree / "usr/bin/busybox", self._tree / "bin/busybox") if path.exists())
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w") as tar:
            tar.add(busybox.resolve(), "bin/busybox")
            for name in ("sh", "sleep", "ping", "nc", "httpd", "wget", "ip"):
                link = tarfile.TarInfo(f"bin/{name}")
                link.type, link.linkname = tarfile.SYMTYPE, "busybox"
                tar.addfile(link)
        status, answer = self._call(
            "POST", "/images/create?fromSrc=-&repo=box&tag=1", data.getvalue(), "application/x-tar"
        )
        assert status == 200, answer

    def run(self, name: str, network: str, *argv: str, ports: dict[str, str] | None = None) -> None:
        """Create and start a container."""
        bindings = {f"{inner}/tcp": [{"HostPort": outer}] for outer, inner in (ports or {}).items()}
        body = {
            "Image": "box:1", "Cmd": list(argv or ("sleep", "100000")), "HostConfig": {"NetworkMode": network, "PortBindings": bindings},
            "ExposedPorts": {key: {} for key in bindings},
        }  # fmt: skip
        self("POST", f"/containers/create?name={name}", body)
        self("POST", f"/containers/{name}/start")

    def inside(self, name: str, *argv: str) -> int:
        """Run a program in a container and return its exit status."""
        started = self("POST", f"/containers/{name}/exec", {"Cmd": list(argv), "AttachStdout": True})
        self._call("POST", f"/exec/{started['Id']}/start", b'{"Detach":false}')
        return int(self("GET", f"/exec/{started['Id']}/json")["ExitCode"])

    def address(self, name: str, network: str) -> str:
        """A container's address on a network."""
        return str(self("GET", f"/containers/{name}/json")["NetworkSettings"]["Networks"][network]["IPAddress"])


def fetch(namespace: str, address: str, port: int) -> bytes:
    """What an HTTP server says to somebody in a namespace; empty if nothing."""
    url = f"http://{address}:{port}/hello"
    argv = ["nsenter", f"--net={namespace}", "curl", "-s", "--max-time", "3", url]
    done = subprocess.run(argv, capture_output=True, check=False)
    return done.stdout


def _below(pid: int) -> Iterator[int]:
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        yield int(child)
        yield from _below(int(child))


def _run(*argv: str) -> None:
    subprocess.run(argv, check=True)


def missing() -> str:
    """What is missing for these tests; empty: nothing."""
    if os.geteuid() != 0:
        return "root"
    tree = os.environ.get("LIBNETWORK_PY_DOCKERD", "")
    if not tree:
        return "LIBNETWORK_PY_DOCKERD does not name a tree with dockerd: scripts/make-dockerd-tree makes one"
    if not any((Path(tree) / each / "dockerd").exists() for each in ("usr/sbin", "usr/bin")):
        return f"there is no dockerd in {tree}"
    absent = [name for name in ("nsenter", "unshare", "ip", "curl") if not shutil.which(name)]
    return f"the programs {', '.join(absent)}" if absent else ""
