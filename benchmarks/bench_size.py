"""Many sandboxes on one network: what each costs in ``batch()``, what it takes of memory, and how far the farthest two are apart.

``make_ms``, ``drop_ms``: per sandbox, with its endpoint. ``held_kib``: what is held of memory afterwards, measured with 500 sandboxes.
``kib``: by how much the process grew, per sandbox, what the one batch needed while it ran included, for the allocator gives back whole
arenas only; ``by_100_kib``: the same where they come in batches of 100. ``near_ms``, ``far_ms``, ``farthest_ms``: round
trip on the first bridge, from it to the last, and from one in the middle to the last. ``one_more_ms``: one more sandbox, alone.

``cpu_ms``: what the process took of a processor for each, user and kernel together. ``floor_ms``, ``floor_cpu_ms``: the same for the
small C program that sends the same messages for each sandbox (``FLOOR``, or ``../shared/bench/floor/attach.c`` compiled on the spot;
left out where there is neither), to bridges of as many ports. Of a busy machine the times say little, the processor's share much.

Everything runs in a network and a mount namespace of its own. Each size is made in a fresh process, with the store that users get:
SQLite on disk. A Linux bridge takes 1,023 ports; beyond 959 endpoints a network is made of several.

    bench_size.py [100 4000]
"""

from __future__ import annotations

import gc
import json
import os
import re
import resource
import shlex
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PINGS = 200
PORTS = 959
"""As many endpoints as the library puts on one bridge."""
SOURCE = Path(__file__).resolve().parents[2] / "shared" / "bench" / "floor" / "attach.c"


def memory() -> int:
    """Bytes that the process has in memory now."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def round_trip(box: object, address: object) -> float:
    """Median-like round trip in milliseconds: the mean without the first, which asks who has the address."""
    run = box.run  # type: ignore[attr-defined]
    run(["ping", "-n", "-c", "1", str(address)], capture_output=True, check=True)
    done = run(
        ["ping", "-n", "-q", "-c", str(PINGS), "-i", "0.002", str(address)], capture_output=True, text=True, check=True
    )
    return float(re.search(r"= [\d.]+/([\d.]+)/", done.stdout).group(1))  # type: ignore[union-attr]


def links() -> list[dict[str, object]]:
    """The bridges of the host."""
    listed = subprocess.run(["ip", "-j", "link", "show", "type", "bridge"], capture_output=True, check=True)
    return json.loads(listed.stdout)  # type: ignore[no-any-return]


def floor(count: int, binary: str) -> dict[str, float]:
    """What the kernel takes for each of as many namespaces with a pair into a bridge, an address and a route."""
    indices = []
    for number in range((count - 1) // PORTS + 1):
        subprocess.run(["ip", "link", "add", f"brf{number}", "type", "bridge"], check=True)
        indices.append(socket.if_nametoindex(f"brf{number}"))
    pipe = subprocess.PIPE
    started = time.perf_counter()
    with subprocess.Popen(
        [binary], stdin=pipe, stdout=pipe, text=True, bufsize=1, env={**os.environ, "V6OFF": "1"}
    ) as worker:
        assert worker.stdin
        assert worker.stdout
        for number in range(count):
            worker.stdin.write(f"a 1 {number + 1} {indices[number // PORTS]}\n")
            worker.stdout.readline()
        spent = time.perf_counter() - started
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"floor_ms": spent * 1000 / count, "floor_cpu_ms": (used.ru_utime + used.ru_stime) * 1000 / count}


def processor() -> float:
    """Seconds that this process has taken of a processor."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def one_size(count: int) -> dict[str, float]:
    """Make a network of ``count`` sandboxes and take it down."""
    from libnetwork_py import NetworkController

    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as state, NetworkController(state) as controller:
        network = controller.create_network("large", subnets="10.40.0.0/16")
        with controller.batch():  # what is imported and cached once is no sandbox's cost
            controller.create_sandbox("warm").connect(network)
        controller.sandbox("warm").delete()
        before, used = memory(), processor()
        started = time.perf_counter()
        with controller.batch():
            for number in range(count):
                controller.create_sandbox(f"s{number}").connect(network)
        figures["make_ms"] = (time.perf_counter() - started) * 1000 / count
        figures["cpu_ms"] = (processor() - used) * 1000 / count
        figures["kib"] = (memory() - before) / 1024 / count
        figures["bridges"] = len(links())
        boxes = controller.sandboxes()
        by_name = {each.name: each for each in boxes}
        first, second, last = by_name["s0"], by_name["s1"], by_name[f"s{count - 1}"]
        figures["near_ms"] = round_trip(first, second.endpoints()[0].addresses[0])
        figures["far_ms"] = round_trip(first, last.endpoints()[0].addresses[0])
        middle = by_name[f"s{max(count // 3, 1)}"]
        figures["farthest_ms"] = round_trip(middle, last.endpoints()[0].addresses[0])
        started = time.perf_counter()
        box = controller.create_sandbox("one-more")
        box.connect(network)
        figures["one_more_ms"] = (time.perf_counter() - started) * 1000
        box.delete()
        started = time.perf_counter()
        with controller.batch():
            for each in boxes:
                each.delete()
        figures["drop_ms"] = (time.perf_counter() - started) * 1000 / count
        network.delete(force=True)
    return figures


def held(count: int = 500) -> float:
    """KiB that a sandbox and its endpoint hold of the controller's memory once they are made."""
    import tracemalloc

    from libnetwork_py import NetworkController

    with tempfile.TemporaryDirectory() as state, NetworkController(state) as controller:
        network = controller.create_network("held", subnets="10.41.0.0/16")
        with controller.batch():
            controller.create_sandbox("warm").connect(network)
        tracemalloc.start()
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        with controller.batch():
            for number in range(count):
                controller.create_sandbox(f"h{number}").connect(network)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        with controller.batch():
            for each in controller.sandboxes():
                each.delete()
        network.delete(force=True)
    return grown / 1024 / count


def grown(count: int, by: int = 100) -> float:
    """KiB by which the process grows for each of many sandboxes that come in batches."""
    from libnetwork_py import NetworkController

    with tempfile.TemporaryDirectory() as state, NetworkController(state) as controller:
        network = controller.create_network("large", subnets="10.42.0.0/16")

        def make(name: str, first: int) -> None:
            with controller.batch():
                for number in range(first, min(first + by, count)):
                    controller.create_sandbox(f"{name}{number}").connect(network)

        def drop() -> None:
            with controller.batch():
                for each in controller.sandboxes():
                    each.delete()

        make("warm", 0)
        drop()
        before = memory()
        for first in range(0, count, by):
            make("s", first)
        after = memory()
        drop()
        network.delete(force=True)
    return (after - before) / 1024 / count


def main() -> None:
    """Measure each size in a process of its own, within namespaces of their own."""
    if len(sys.argv) == 3 and sys.argv[1] == "--size":
        print(json.dumps(one_size(int(sys.argv[2])) | {"held_kib": held()}))
        return
    if len(sys.argv) == 3 and sys.argv[1] == "--grown":
        print(json.dumps({"by_100_kib": grown(int(sys.argv[2]))}))
        return
    if len(sys.argv) == 4 and sys.argv[1] == "--floor":
        print(json.dumps(floor(int(sys.argv[2]), sys.argv[3])))
        return
    with tempfile.TemporaryDirectory() as where:
        compare(floor_binary(where))


def floor_binary(where: str) -> str:
    """The path of the C program, compiled if need be; empty where there is none."""
    if "FLOOR" in os.environ or not SOURCE.exists():
        return os.environ.get("FLOOR", "")
    subprocess.run(["gcc", "-O2", "-o", f"{where}/floor", str(SOURCE)], check=True, stderr=subprocess.DEVNULL)
    return f"{where}/floor"


def apart(*arguments: object) -> dict[str, float]:
    """Run this file with arguments in namespaces of its own and return its figures."""
    argv = shlex.join([sys.executable, __file__, *map(str, arguments)])
    inner = f"ip link set lo up; mkdir -p /run/netns; mount -t tmpfs none /run/netns; exec {argv}"
    done = subprocess.run(
        ["unshare", "--net", "--mount", "--propagation", "private", "sh", "-c", inner],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def compare(binary: str) -> None:
    """Measure every size, and print what each costs against the smallest and against the floor."""
    sizes = [int(each) for each in sys.argv[1:]] or [100, 4000]
    shown: dict[int, dict[str, float]] = {}
    for size in sizes:
        shown[size] = apart("--size", size) | apart("--grown", size)
        shown[size] |= apart("--floor", size, binary) if binary else {}
    names = list(next(iter(shown.values())))
    print("sandboxes".ljust(12), *(name.rjust(12) for name in names))
    for size, figures in shown.items():
        print(str(size).ljust(12), *(f"{figures[name]:12.3f}" for name in names))
    if len(sizes) > 1:
        low, high = shown[sizes[0]], shown[sizes[-1]]
        for name in [each for each in ("make_ms", "cpu_ms", "floor_ms", "floor_cpu_ms") if each in low]:
            print(f"{name} per sandbox, {sizes[-1]} against {sizes[0]}: {high[name] / low[name]:.2f}")
    for size, figures in shown.items() if binary else ():
        ratio = figures["cpu_ms"] / figures["floor_cpu_ms"]
        print(f"{size} sandboxes: {ratio:.2f} times the floor's processor time")


if __name__ == "__main__":
    main()
