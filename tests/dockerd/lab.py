"""A real dockerd in namespaces of its own, and its API.

It runs in a Debian tree (`scripts/fetch-dockerd`), with a network, mount and process namespace that end with it. Its network namespace
has a name and a link to the outside, a second namespace with a server in it. Nothing of the machine's own network is touched.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

START = """
set -e
root=$1 work=$2 group=$3
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount --rbind /sys/fs/cgroup "$root/sys/fs/cgroup"
mkdir -p "$root/run/docker/plugins" "$root/run/api" "$root/var/lib/docker" "$root/etc/docker/plugins"
mount --bind "$work/specs" "$root/etc/docker/plugins"
mount --bind "$work/plugins" "$root/run/docker/plugins"
mount --bind "$work/api" "$root/run/api"
mount --bind "$work/data" "$root/var/lib/docker"
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root chroot "$root" dockerd -H unix:///run/api/docker.sock \
    --data-root /var/lib/docker --exec-opt native.cgroupdriver=cgroupfs --cgroup-parent "/$group" \
    --userland-proxy=false --shutdown-timeout 1 --log-level warn --default-address-pool base=172.16.0.0/12,size=16
"""
TREE = Path(os.environ.get("LIBNETWORK_PY_DOCKERD") or Path(__file__).parents[2] / "build/dockerd")
CONTROL_GROUPS = Path("/sys/fs/cgroup")
WEB = ("sh", "-c", "mkdir -p /www && echo hello >/www/hello && exec httpd -f -p 80 -h /www")
"""A web server, as a container's program."""
OUTSIDE, GATE = "198.51.100.2", "198.51.100.1"


class Dockerd:
    """One daemon.

    Args:
        tree: The Debian tree.
        work: A directory of its own.
        record: Called with each call of its API and what came of it.
        forwarding: Whether its host forwards packets before it starts: a dockerd that has to switch that on drops everybody else's.
    """

    def __init__(
        self, tree: Path, work: Path, record: Callable[[dict[str, Any]], object], *, forwarding: bool = True
    ) -> None:
        self._tree, self._work, self._record = tree, work, record
        self._process: subprocess.Popen[bytes] | None = None
        name = self._group = f"dockerd-{secrets.token_hex(3)}"
        self.host, self.outside = f"/run/netns/{name}", f"/run/netns/{name}-out"
        for each in ("plugins", "specs", "api", "data"):
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
        _run("ip", "netns", "exec", name, "sysctl", "-qw", f"net.ipv4.ip_forward={int(forwarding)}")

    @property
    def plugins(self) -> Path:
        """Where it looks for plug-ins' sockets."""
        return self._work / "plugins"

    @property
    def specs(self) -> Path:
        """Where it looks for their specifications: its ``/etc/docker/plugins``."""
        return self._work / "specs"

    def start(self) -> None:
        """Start it, and return when it answers."""
        argv = ["nsenter", f"--net={self.host}", "unshare", "--mount", "--pid", "--fork", "--kill-child", "--ipc", "--uts",
                "--propagation", "private", "sh", "-c", START, "sh", str(self._tree), str(self._work), self._group]  # fmt: skip
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

    def stop(self, *, hard: bool = False) -> None:
        """End it as its init system does, containers with it; ``hard``: by SIGKILL, containers too, whatever they were doing."""
        if self._process is None:
            return
        for pid in _below(self._process.pid):
            if Path(f"/proc/{pid}/comm").read_text().strip() == "dockerd":
                os.kill(pid, signal.SIGKILL if hard else signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(30)
        self._process.kill()
        self._process.wait()
        self._process = None

    def remove(self) -> None:
        """Remove what was made for it."""
        for path in (self.host, self.outside):
            _run("ip", "netns", "del", Path(path).name)
        for each in (CONTROL_GROUPS / self._group, *CONTROL_GROUPS.glob(f"*/{self._group}")):
            with contextlib.suppress(OSError):
                for inner in sorted(each.rglob("*/"), reverse=True):
                    inner.rmdir()
                each.rmdir()

    # Its API

    def __call__(self, method: str, path: str, body: object = None, *, refused: bool = False) -> Any:
        """Make a call and return its answer; ``refused``: it must fail, and its message is returned."""
        status, answer = self.ask(method, path, body)
        assert (status >= 400) == refused, (method, path, status, answer)
        return answer["message"] if refused else answer

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Make a call and return status and answer."""
        status, answer = self._call(method, path, json.dumps(body).encode() if body is not None else b"")
        self._record({"call": f"{method} {path}", "request": body, "status": status, "answer": answer})
        return status, answer

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
        self("POST", f"/containers/create?name={name}", self.container(network, *argv, ports=ports))
        self("POST", f"/containers/{name}/start")

    def container(self, network: str, *argv: str, ports: dict[str, str] | None = None) -> dict[str, Any]:
        """Return what a container is made of; it ends a second after it was asked to."""
        bindings = {f"{inner}/tcp": [{"HostPort": outer}] for outer, inner in (ports or {}).items()}
        return {
            "Image": "box:1", "Cmd": list(argv or ("sleep", "100000")), "StopTimeout": 1,
            "HostConfig": {"NetworkMode": network, "PortBindings": bindings},
            "ExposedPorts": {key: {} for key in bindings},
        }  # fmt: skip

    def inside(self, name: str, *argv: str) -> int:
        """Run a program in a container and return its exit status."""
        started = self("POST", f"/containers/{name}/exec", {"Cmd": list(argv), "AttachStdout": True})
        self._call("POST", f"/exec/{started['Id']}/start", b'{"Detach":false}')
        return int(self("GET", f"/exec/{started['Id']}/json")["ExitCode"])

    def address(self, name: str, network: str) -> str:
        """A container's address on a network."""
        return str(self("GET", f"/containers/{name}/json")["NetworkSettings"]["Networks"][network]["IPAddress"])

    def create(self, name: str, ipam: str) -> None:
        """Create a network of the plug-in ``lnw``, with its IPAM if it has one."""
        body: dict[str, Any] = {"Name": name, "Driver": "lnw"}
        self("POST", "/networks/create", body | ({"IPAM": {"Driver": "lnw"}} if ipam else {}))

    # What others see

    def links(self) -> set[str]:
        """The interfaces on the daemon's host."""
        done = subprocess.run(["ip", "-n", Path(self.host).name, "-j", "link"], capture_output=True, check=True)
        return {each["ifname"] for each in json.loads(done.stdout)} - {"docker0"}

    def settles(self, links: set[str]) -> bool:
        """Whether the daemon's host has these interfaces and no others, as soon as the kernel is done."""
        deadline = time.monotonic() + 15
        while self.links() != links and time.monotonic() < deadline:
            time.sleep(0.1)
        return self.links() == links

    def reaches(self, name: str, address: str) -> bool:
        """Whether a container's ping arrives."""
        return self.inside(name, "ping", "-c", "1", "-W", "2", address) == 0

    def answers(self, port: int) -> bool:
        """Whether a published web server answers somebody outside."""
        argv = ["nsenter", f"--net={self.outside}", "curl", "-s", "--max-time", "3", f"http://{GATE}:{port}/hello"]
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            if subprocess.run(argv, capture_output=True, check=False).stdout == b"hello\n":
                return True
            time.sleep(0.2)
        return False


def _below(pid: int) -> Iterator[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:  # it has ended
        return
    for child in children:
        yield int(child)
        yield from _below(int(child))


def _run(*argv: str) -> None:
    subprocess.run(argv, check=True)


@cache
def missing() -> str:
    """What is missing for these tests; empty: nothing."""
    if os.geteuid() != 0:
        return "root"
    if not any((TREE / each / "dockerd").exists() for each in ("usr/sbin", "usr/bin")):
        return f"a dockerd in {TREE}: scripts/fetch-dockerd fetches one, LIBNETWORK_PY_DOCKERD names another"
    absent = [name for name in ("nsenter", "unshare", "ip", "curl", "sysctl") if not shutil.which(name)]
    return f"the programs {', '.join(absent)}" if absent else _no_containers()


def _no_containers() -> str:
    """Why this machine cannot run a container that has no network: nothing of ours is in that."""
    with tempfile.TemporaryDirectory() as place:
        docker = Dockerd(TREE, Path(place), lambda _: None)
        try:
            docker.start()
            docker.image()
            docker.run("probe", "none")
            docker("DELETE", "/containers/probe?force=1")
        except AssertionError as error:
            return f"a machine where dockerd runs containers: {error}"
        finally:
            docker.stop()
            docker.remove()
    return ""
