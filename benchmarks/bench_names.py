"""The name service under a flood of questions, from inside a sandbox, beside other resolvers in the same run.

``dnsperf`` (Debian) asks for local names: with one client socket and with twenty, a hundred questions out at a time; and one
question at a time by a small client, the same for everybody, for median latency, alone and beside a load that is the same for everybody.
Everybody takes turns, round after round; printed are medians
over the rounds, processor time of the serving process per question, and ratios to the best of the others. dnsperf shares the
machine with the server: questions a second are a joint figure.

    bench_names.py [--names 3] [--boxes 3] [--seconds 3] [--rounds 3] [--load 10000] [--peer LABEL,NETNS,SERVER,PID,NAME+NAME …]

``--peer`` names a resolver that is up already: its label, the path of a namespace that reaches it, its address, its process, and
names that it has.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from attrs import define, field, frozen

TICKS = os.sysconf("SC_CLK_TCK")
CLIENTS = (1, 20)
SEQUENTIAL = r"""
import socket, struct, sys, time
server, seconds = sys.argv[1], float(sys.argv[2])
names = [b"".join(bytes((len(p),)) + p.encode() for p in n.rstrip(".").split(".")) + b"\0\0\1\0\1" for n in sys.argv[3:]]
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); sock.connect((server, 53)); sock.settimeout(5)
took, number, end = [], 0, time.perf_counter() + seconds
while time.perf_counter() < end:
    question = struct.pack("!HHHHHH", number & 65535, 0x100, 1, 0, 0, 0) + names[number % len(names)]
    begun = time.perf_counter(); sock.send(question); sock.recv(2048); took.append(time.perf_counter() - begun); number += 1
took.sort(); print(took[len(took) // 2] * 1e6)
"""


@frozen
class Resolver:
    """Somebody who answers: where it is asked, and which process it is."""

    label: str
    namespace: str
    address: str
    pid: int
    names: tuple[str, ...]

    def processor(self) -> float:
        """Return the processor time that it has used, in seconds."""
        words = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / TICKS


@define
class Figures:
    """What was measured of one resolver in one way, round by round."""

    rate: list[float] = field(factory=list)
    processor: list[float] = field(factory=list)
    latency: list[float] = field(factory=list)
    lost: int = 0


def flood(who: Resolver, clients: int, seconds: float, figures: Figures) -> None:
    """Ask with dnsperf for a while."""
    with tempfile.NamedTemporaryFile("w", suffix=".questions") as file:
        file.write("".join(f"{name} A\n" for name in who.names))
        file.flush()
        command = ["dnsperf", "-s", who.address, "-d", file.name, "-l", str(seconds), "-c", str(clients), "-q", "100"]
        before, begun = who.processor(), time.perf_counter()
        done = subprocess.run(
            ["nsenter", f"--net={who.namespace}", *command], capture_output=True, text=True, check=True
        )
        used, took = who.processor() - before, time.perf_counter() - begun
    found = {
        key: float(value)
        for key, value in re.findall(r"(Queries [\w ]+|Average Latency \(s\)):\s+([\d.]+)", done.stdout)
    }
    codes = re.findall(r"Response codes:\s+(.*)", done.stdout)
    assert codes, f"{who.label}: {done.stdout}{done.stderr}"
    assert codes[0].startswith("NOERROR"), f"{who.label} does not know the names: {codes}"
    figures.rate.append(found["Queries per second"])
    figures.processor.append(used * 1e6 / (found["Queries per second"] * min(took, seconds)))
    figures.latency.append(found["Average Latency (s)"] * 1e6)
    figures.lost += int(found["Queries lost"])


def one_by_one(who: Resolver, seconds: float) -> float:
    """Return the median latency of one question at a time, in microseconds."""
    command = [
        "nsenter",
        f"--net={who.namespace}",
        sys.executable,
        "-c",
        SEQUENTIAL,
        who.address,
        str(seconds),
        *who.names[:100],
    ]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def busy(who: Resolver, load: int, seconds: float) -> float:
    """Return the median latency of one question at a time while dnsperf asks so many a second."""
    with tempfile.NamedTemporaryFile("w", suffix=".questions") as file:
        file.write("".join(f"{name} A\n" for name in who.names))
        file.flush()
        command = ["dnsperf", "-s", who.address, "-d", file.name, "-l", str(seconds + 1), "-c", "1", "-Q", str(load)]
        with subprocess.Popen(["nsenter", f"--net={who.namespace}", *command], stdout=subprocess.DEVNULL) as others:
            time.sleep(0.5)
            found = one_by_one(who, seconds)
            others.wait()
    return found


def measure(everybody: list[Resolver], seconds: float, rounds: int, load: int) -> None:
    """Let everybody take turns, and print the tables."""
    floods = {(who.label, clients): Figures() for who in everybody for clients in CLIENTS}
    alone, loaded = ({who.label: list[float]() for who in everybody} for _ in range(2))
    for _ in range(rounds):
        for who in everybody:
            for clients in CLIENTS:
                flood(who, clients, seconds, floods[who.label, clients])
            alone[who.label].append(one_by_one(who, 1))
            loaded[who.label].append(busy(who, load, 1))
    print(f"{'resolver':32} {'sockets':>7} {'questions/s':>12} {'µs of CPU each':>15} {'latency µs':>11} {'lost':>5}")
    middle = statistics.median
    for (label, clients), each in floods.items():
        print(
            f"{label:32} {clients:7} {middle(each.rate):12,.0f} {middle(each.processor):15.1f} {middle(each.latency):11.0f} {each.lost:5}"
        )
    for label, took in alone.items():
        print(f"{label:32} {'one question at a time':36} {middle(took):11.1f}")
    for label, took in loaded.items():
        print(f"{label:32} {f'the same beside {load:,} others a second':36} {middle(took):11.1f}")
    ours, *others = everybody
    for clients in CLIENTS if others else ():
        mine = floods[ours.label, clients]
        best = max(others, key=lambda who: middle(floods[who.label, clients].rate))
        theirs = floods[best.label, clients]
        print(
            f"{clients} sockets: {middle(mine.rate) / middle(theirs.rate):.2f} times {best.label}'s questions, "
            f"{middle(mine.processor) / middle(theirs.processor):.2f} of its processor time, "
            f"{middle(mine.latency) / middle(theirs.latency):.2f} of its latency"
        )


def serving_process(directory: Path) -> int:
    """Return the process that answers for a state directory."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        for entry in Path("/proc").iterdir():
            try:
                if not entry.name.isdigit() or (entry / "comm").read_text() != "names\n":
                    continue
                if str(directory).encode() in (entry / "cmdline").read_bytes():
                    return int(entry.name)
            except OSError:
                continue
        time.sleep(0.05)
    raise TimeoutError("no name service")


def report(options: argparse.Namespace) -> None:
    """Build a network of our own and measure it beside the peers."""
    from libnetwork_py import NetworkController

    peers = [each.split(",") for each in options.peer]
    others = [
        Resolver(label, path, address, int(pid), tuple(names.split("+"))) for label, path, address, pid, names in peers
    ]
    with NetworkController.temporary() as controller:
        network = controller.create_network("front", subnets="10.96.0.0/14")
        with controller.batch():
            boxes = [controller.create_sandbox(f"box{number}") for number in range(options.boxes)]
            for box in boxes:
                box.connect(network)
            names = [box.name for box in boxes]
        more = options.names - len(names)
        if more > 0:
            boxes[1].endpoints()[0].update(aliases=[f"name{number}" for number in range(more)])
            names += [f"name{number}" for number in range(more)]
        directory = Path(controller.info().store.split()[-1])
        box = boxes[0]
        deadline = time.monotonic() + 30
        while not box.run(["dig", "+short", names[1]], capture_output=True).stdout and time.monotonic() < deadline:
            time.sleep(0.1)
        label = f"libnetwork_py, {len(names)} names, {len(boxes)} sandboxes"
        ours = Resolver(label, box.key, "127.0.0.11", serving_process(directory), tuple(names[: options.names]))
        measure([ours, *others], options.seconds, options.rounds, options.load)


def main() -> None:
    """Enter namespaces of our own and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", type=int, default=3)
    parser.add_argument("--boxes", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--load", type=int, default=10_000, help="questions a second beside which latency is taken")
    parser.add_argument("--peer", action="append", default=[])
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if shutil.which("dnsperf") is None:
        sys.exit("no dnsperf: apt install dnsperf")
    if options.inside:
        report(options)
        return
    script = 'mkdir -p /run/netns && mount -t tmpfs none /run/netns && ip link set lo up && exec "$@"'
    words = [sys.executable, __file__, "--inside", *sys.argv[1:]]
    os.execvp("unshare", ["unshare", "-m", "-n", "--propagation", "private", "sh", "-c", script, "sh", *words])  # noqa: S606


if __name__ == "__main__":
    main()
