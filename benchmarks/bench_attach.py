"""Sandboxes attached to a bridge and taken away again, against the same netlink messages sent from C.

Everything runs in a network and a mount namespace of its own. The floor is a small C program that reads commands (``FLOOR``, or
``../shared/bench/floor/attach.c`` compiled on the spot); rounds of both are interleaved in one run, and what is printed are
medians and their ratios. The store is the one that users get: SQLite on disk.

    bench_attach.py [--count 200] [--batch 1000]
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2] / "shared" / "bench" / "floor" / "attach.c"


class Floor:
    """The C program, one attach or drop at a time."""

    def __init__(self, binary: str) -> None:
        subprocess.run(
            "ip link add brf type bridge && ip link set brf up && ip addr add 10.9.0.1/16 dev brf",
            shell=True,
            check=True,
        )
        answer = subprocess.run(["ip", "-j", "link", "show", "brf"], capture_output=True, check=True)
        self.index = json.loads(answer.stdout)[0]["ifindex"]
        self.worker = subprocess.Popen(
            [binary],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            env={**os.environ, "V6OFF": "1"},
        )

    def _ask(self, line: str) -> float:
        assert self.worker.stdin
        assert self.worker.stdout
        started = time.perf_counter()
        self.worker.stdin.write(line + "\n")
        self.worker.stdin.flush()
        self.worker.stdout.readline()
        return time.perf_counter() - started

    def attach(self, number: int) -> float:
        """Seconds for one namespace, veth pair, address, route."""
        return self._ask(f"a 1 {number} {self.index}")

    def drop(self, number: int) -> float:
        """Seconds until the caller is free again."""
        return self._ask(f"d {number} 1")


def settle() -> None:
    """Wait until the kernel has destroyed what was dropped, so that no round pays for the one before."""
    gc.collect()
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
        if "veth" not in links and "vc" not in links:
            time.sleep(0.2)
            return
        time.sleep(0.05)


def single(floor: Floor, count: int) -> dict[str, list[float]]:
    """One at a time: floor attach, library sandbox+connect, connect alone, and the drops; interleaved."""
    from libnetwork_py import NetworkController

    figures: dict[str, list[float]] = {
        name: [] for name in ("floor attach", "attach", "connect", "floor drop", "delete")
    }
    with (
        tempfile.TemporaryDirectory(dir="/var/tmp") as directory,
        NetworkController(Path(directory) / "state") as controller,
    ):
        network = controller.create_network("bench", subnets="10.77.0.0/16")
        for number in range(count):
            figures["floor attach"].append(floor.attach(number + 1))
            started = time.perf_counter()
            sandbox = controller.create_sandbox(f"one{number}")
            between = time.perf_counter()
            sandbox.connect(network)
            ended = time.perf_counter()
            figures["attach"].append(ended - started)
            figures["connect"].append(ended - between)
        settled = [controller.sandbox(f"one{number}") for number in range(count)]
        for number, sandbox in enumerate(settled):
            figures["floor drop"].append(floor.drop(number + 1))
            started = time.perf_counter()
            sandbox.delete()
            figures["delete"].append(time.perf_counter() - started)
        network.delete()
    return figures


def many(floor: Floor, count: int) -> dict[str, float]:
    """A batch of many on one network, and all of it gone again, against the floor's total."""
    from libnetwork_py import NetworkController

    settle()
    figures: dict[str, float] = {}
    started = time.perf_counter()
    for number in range(count):
        floor.attach(number + 1)
    figures["floor attach"] = time.perf_counter() - started
    started = time.perf_counter()
    for number in range(count):
        floor.drop(number + 1)
    figures["floor drop"] = time.perf_counter() - started
    settle()
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        state = Path(directory) / "state"
        controller = NetworkController(state)
        network = controller.create_network("bench", subnets="10.77.0.0/16")
        gc.collect()
        started = time.perf_counter()
        with controller.batch():
            for number in range(count):
                controller.create_sandbox(f"many{number}").connect(network)
        figures["attach"] = time.perf_counter() - started
        controller.close()
        started = time.perf_counter()
        controller = NetworkController(state)
        figures["open"] = time.perf_counter() - started
        network = controller.network("bench")
        sandboxes = controller.sandboxes()
        started = time.perf_counter()
        with controller.batch():
            for sandbox in sandboxes:
                sandbox.delete()
            network.delete()
        figures["drop"] = time.perf_counter() - started
        controller.close()
    settle()
    return figures


def imports(repeats: int = 15) -> tuple[float, float]:
    """Milliseconds of a bare interpreter and of one that imports the library."""

    def run(code: str) -> float:
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return time.perf_counter() - started

    pairs = [(run("pass"), run("import libnetwork_py")) for _ in range(repeats)]
    bare, ours = zip(*pairs, strict=True)
    return statistics.median(bare) * 1e3, statistics.median(ours) * 1e3


def report(count: int, batch: int) -> None:
    """Run everything and print the table."""
    binary = os.environ.get("FLOOR", "")
    floor = Floor(binary)
    one = {name: statistics.median(values) for name, values in single(floor, count).items()}
    rounds = [many(floor, batch) for _ in range(3)]
    all_ = {name: statistics.median(each[name] for each in rounds) for name in rounds[0]}
    bare, ours = imports()
    print(f"{'what':58} {'floor':>10} {'library':>10} {'ratio':>7}")
    rows = [
        (f"sandbox made and attached, ms (median of {count})", one["floor attach"] * 1e3, one["attach"] * 1e3),
        ("connect of an existing sandbox, ms (floor: whole attach)", one["floor attach"] * 1e3, one["connect"] * 1e3),
        ("attached sandbox deleted, ms (floor: drop)", one["floor drop"] * 1e3, one["delete"] * 1e3),
        (f"{batch} in one batch, s", all_["floor attach"], all_["attach"]),
        (f"{batch} and their network gone, s", all_["floor drop"], all_["drop"]),
        ("import libnetwork_py, ms (floor: bare interpreter)", bare, ours),
    ]
    for what, theirs, mine in rows:
        print(f"{what:58} {theirs:10.3f} {mine:10.3f} {mine / theirs:7.2f}")
    print(f"{f'controller opened on {batch} attached sandboxes, s':58} {'':10} {all_['open']:10.3f}")


def main() -> None:
    """Enter namespaces of our own and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--batch", type=int, default=1000)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        report(options.count, options.batch)
        return
    binary = os.environ.get("FLOOR") or str(Path(tempfile.gettempdir()) / f"libnetwork-floor-{os.getuid()}")
    if "FLOOR" not in os.environ:
        if not SOURCE.exists():
            sys.exit(f"no floor to compare with: set FLOOR to the compiled program ({SOURCE} is absent)")
        subprocess.run(["gcc", "-O2", "-w", "-o", binary, str(SOURCE)], check=True)
    # both in memory: ext4 looks through every inode deleted in the last five minutes to make one, those of the run before among them
    mounts = " && ".join(f"mkdir -p {path} && mount -t tmpfs none {path}" for path in ("/run/netns", "/etc/netns"))
    script = f'{mounts} && ip link set lo up && exec "$@"'
    words = [sys.executable, __file__, "--inside", "--count", str(options.count), "--batch", str(options.batch)]
    os.execvpe(  # noqa: S606
        "unshare",
        ["unshare", "-m", "-n", "--propagation", "private", "sh", "-c", script, "sh", *words],
        {**os.environ, "FLOOR": binary},
    )


if __name__ == "__main__":
    main()
