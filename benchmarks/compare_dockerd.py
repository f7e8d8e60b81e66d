"""Ask a real dockerd every question of the reachability table, and print the cells in which it answers otherwise.

Usage, as root, from the repository's root::

    python benchmarks/compare_dockerd.py --peers ../shared/bench/peers [--variant noproxy] [--variant proxy]

``--peers`` is a directory with ``dockerd.sh``, which starts dockerd in namespaces of its own and ends it; nothing of the machine's own
network is touched. The exit status is 1 where a cell of ours is open that no variant of
dockerd opens. Without that directory nothing is asked.

Division of labour: topology, questions and probes are those of ``tests/root``; here is only how dockerd is told to build the same.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import frozen

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.root import machine
from tests.root.machine import Outside
from tests.root.places import GATEWAYS, MEMBERS, SUBNETS, complete, published
from tests.root.probing import ask, servers
from tests.root.reachability import HOST_PORTS, MODES, Row, Topology, cells, listening, rows

TAG = "-reach"
VARIED = ("front", "plain")
"""The networks whose mode and ICC vary."""
RUN = Path(f"/opt/peers/run{TAG}")
MODE_KEYS = tuple(f"com.docker.network.bridge.gateway_mode_ipv{family}" for family in (4, 6))
ICC_KEY = "com.docker.network.bridge.enable_icc"


class _Connection(http.client.HTTPConnection):
    """HTTP over dockerd's socket."""

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(str(RUN / "docker.sock"))


@frozen
class Dockerd:
    """A running daemon: its API, and the namespace that is its host."""

    host: str

    def __call__(self, method: str, path: str, body: object = None) -> Any:
        """Call the API; an error status is an error."""
        connection = _Connection("docker")
        headers = {"Content-Type": "application/json"}
        connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        if answer.status >= 400:
            raise RuntimeError(f"{method} {path}: {answer.status} {data.decode()}")
        return json.loads(data) if data.strip() else None

    def path(self, inside: str) -> str:
        """Return a path of dockerd's own file tree as it is seen from here."""
        return f"/proc/{(RUN / 'docker.pid').read_text().strip()}/root{inside.removeprefix('/var')}"  # a link, out of there


@contextmanager
def daemon(peers: Path, variant: str) -> Iterator[Dockerd]:
    """Start dockerd, with its userland proxy or without."""
    script, environment = str(peers / "dockerd.sh"), {**os.environ, "PEER_TAG": TAG}
    subprocess.run([script, "up", variant], env=environment, check=True, stdout=subprocess.DEVNULL, timeout=120)
    try:
        yield Dockerd(str(machine.NAMESPACES / f"peer-docker{TAG}"))
    finally:
        subprocess.run([script, "down"], env=environment, check=True, stdout=subprocess.DEVNULL, timeout=60)


@contextmanager
def topology(docker: Dockerd, outside: Outside, mode: str, *, icc: bool) -> Iterator[Topology]:
    """The table's topology, built by dockerd; gone afterwards."""
    made: list[str] = []
    try:
        _networks(docker, mode, icc=icc)
        places: dict[str, str] = {}
        addresses: dict[tuple[str, int], str] = {}
        for name, network in MEMBERS.items():
            made.append(
                docker("POST", f"/containers/create?name={name}", _container(network, name, mode, outside))["Id"]
            )
            docker("POST", f"/containers/{name}/start")
            settings = docker("GET", f"/containers/{name}/json")["NetworkSettings"]
            places[name] = docker.path(settings["SandboxKey"])
            found = settings["Networks"][network]
            had = {4: found["IPAddress"], 6: found["GlobalIPv6Address"]}
            addresses |= {(name, family): address for family, address in had.items() if address}
        yield complete(docker.host, outside, places, {**addresses, **_gateways(docker)})
    finally:
        for each in made:
            docker("DELETE", f"/containers/{each}?force=true")
        for network in SUBNETS:
            docker("DELETE", f"/networks/{network}")


def _networks(docker: Dockerd, mode: str, *, icc: bool) -> None:
    options = dict.fromkeys(MODE_KEYS, mode) | {ICC_KEY: str(icc).lower()}
    for name, subnets in SUBNETS.items():
        body: dict[str, object] = {
            "Name": name, "Driver": "bridge", "EnableIPv6": len(subnets) > 1,
            "Internal": name == "inner" or (name in VARIED and mode == "isolated"),
            "IPAM": {"Config": [{"Subnet": each} for each in subnets]},
            "Options": options if name in VARIED else {},
        }  # fmt: skip
        docker("POST", "/networks/create", body)


def _container(network: str, name: str, mode: str, outside: Outside) -> Mapping[str, object]:
    bindings: dict[str, list[dict[str, str]]] = {}
    if name in HOST_PORTS and mode != "isolated":
        for host, there, here, protocol in published(outside, name):
            bindings.setdefault(f"{here}/{protocol}", []).append({"HostIp": host, "HostPort": str(there)})
    return {
        "Image": "bb:1", "Cmd": ["sleep", "3600"], "ExposedPorts": {port: {} for port in bindings},
        "HostConfig": {"NetworkMode": network, "PortBindings": bindings},
    }  # fmt: skip


def _gateways(docker: Dockerd) -> dict[tuple[str, int], str]:
    found: dict[tuple[str, int], str] = {}
    for name, network in GATEWAYS.items():
        details = docker("GET", f"/networks/{network}")
        bridge = f"br-{details['Id'][:12]}"
        here = machine.addresses(bridge, docker.host)
        for each in here:
            found[name, 6 if ":" in each else 4] = each.partition("/")[0]
    return found


def asked(docker: Dockerd, outside: Outside, mode: str, *, icc: bool) -> dict[str, tuple[Row, int, str]]:
    """Ask everything in one topology: question → its row, its family, and the cell as dockerd has it."""
    with topology(docker, outside, mode, icc=icc) as places:
        questions = cells(places)
        with servers(listening(places)) as opened:
            answers = {
                each.question.name
                for each in questions
                if each.row.expected(mode, each.question.family, icc=icc) != "-"
            }
            seen = ask(opened, [each.question for each in questions], expected=answers, patience=3, grace=1)
        return {
            each.question.name: (
                each.row,
                each.question.family,
                places.name(each.row.client, each.question.family, seen[each.question.name]),
            )
            for each in questions
        }


@frozen
class Difference:
    """One cell: what ours is and what dockerd's is, in which modes."""

    question: str
    ours: str
    theirs: str
    where: str

    @property
    def more_open(self) -> bool:
        """Ours lets in what dockerd's does not."""
        return self.ours not in "-." and self.theirs == "-"


def differences(docker: Dockerd, outside: Outside) -> list[Difference]:
    """Return every cell in which the two differ."""
    found: list[Difference] = []
    for mode in MODES:
        for icc in (True, False):
            where = f"{mode}{'' if icc else ', no ICC'}"
            for name, (row, family, theirs) in asked(docker, outside, mode, icc=icc).items():
                ours = row.expected(mode, family, icc=icc)
                if ours != theirs:
                    found.append(Difference(name, ours, theirs, where))
            print(f"asked: {where}", file=sys.stderr)
    return found


def merged(found: list[Difference]) -> dict[tuple[str, str, str, str], set[str]]:
    """Gather cells that differ alike: (line, families and protocols, ours, dockerd's) → modes."""
    per_line: dict[tuple[str, str, str, str], set[str]] = {}
    for each in found:
        *words, protocol, family = each.question.split()
        per_line.setdefault((" ".join(words), each.ours, each.theirs, each.where), set()).add(f"{protocol} {family}")
    gathered: dict[tuple[str, str, str, str], set[str]] = {}
    for (line, ours, theirs, where), how in per_line.items():
        gathered.setdefault((line, _how(how), ours, theirs), set()).add(where)
    return gathered


def _how(how: set[str]) -> str:
    families = sorted({each.split()[1] for each in how})
    protocols = sorted({each.split()[0] for each in how})
    both = {f"{protocol} {family}" for protocol in protocols for family in families}
    if both != how:
        return ", ".join(sorted(how))
    return f"{'/'.join(protocols)}{'' if len(families) == 2 else f' {families[0]}'}"


def main() -> int:
    """Compare, print, and return the exit status."""
    parser = argparse.ArgumentParser(description="Compare the reachability table with a real dockerd.")
    parser.add_argument("--peers", type=Path, default=Path(os.environ.get("PEERS", "../shared/bench/peers")))
    parser.add_argument("--variant", action="append", choices=["noproxy", "proxy"])
    options = parser.parse_args()
    if not (options.peers / "dockerd.sh").exists() or not Path("/opt/peers/sid/.done").exists():
        print(f"no dockerd here: {options.peers / '00-setup.sh'} fetches one", file=sys.stderr)
        return 0
    closed: list[set[tuple[str, str]]] = []
    for variant in options.variant or ["noproxy", "proxy"]:
        with daemon(options.peers.resolve(), variant) as docker:
            outside = machine.new_outside(docker.host)
            try:
                found = differences(docker, outside)
            finally:
                machine.drop_namespace(outside.namespace)
        print(f"\n### dockerd, {variant}: {len(found)} cells differ, of {len(rows())} lines\n")
        for (line, how, ours, theirs), where in merged(found).items():
            print(f"| {line} | {how} | {ours} | {theirs} | {'; '.join(sorted(where))} |")
        closed.append({(each.question, each.where) for each in found if each.more_open})
    more_open = set.intersection(*closed)
    for question, mode in sorted(more_open):
        print(f"MORE OPEN than any dockerd: {question} ({mode})")
    return int(bool(more_open))


if __name__ == "__main__":
    sys.exit(main())
