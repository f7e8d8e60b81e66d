"""What it costs to do without root: a controller, sandboxes, work inside and closing, in a user namespace and as root.

Both run in one process, round by round in turns, in a network and a mount namespace of its own; what is printed are medians in
milliseconds and their ratio. Run by an ordinary user it measures the user namespace alone.

    bench_without_root.py [--rounds 15] [--sandboxes 20]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Times = dict[tuple[str, str], list[float]]
STEPS = ("open", "network", "attach", "socket", "call", "run", "close")
WHAT = {
    "open": "open a controller",
    "network": "the first network",
    "attach": "a sandbox, connected",
    "socket": "a socket of a sandbox",
    "call": "a function inside",
    "run": "a program inside",
    "close": "close, all removed",
}


@contextmanager
def timed(times: Times, privilege: str, step: str, count: int = 1) -> Iterator[None]:
    started = time.perf_counter()
    yield
    times[privilege, step].append((time.perf_counter() - started) * 1000 / count)


def nothing() -> None:
    pass


def measure(privilege: str, sandboxes: int, times: Times) -> None:
    from libnetwork_py import NetworkController

    with timed(times, privilege, "open"):
        controller = NetworkController.temporary(config={"privilege": privilege, "outside": "none"})
    with timed(times, privilege, "network"):
        network = controller.create_network("front")
    with timed(times, privilege, "attach", sandboxes):
        for number in range(sandboxes):
            controller.create_sandbox(f"box{number}").connect(network)
    box = controller.sandbox("box0")
    work: dict[str, Callable[[], object]] = {
        "socket": lambda: box.socket().close(),
        "call": lambda: box.call(nothing),
        "run": lambda: box.run(["true"]),
    }
    for step, function in work.items():
        with timed(times, privilege, step, 10):
            for _ in range(10):
                function()
    with timed(times, privilege, "close"):
        controller.close()


def isolate() -> None:
    if os.geteuid() == 0 and "BENCH_ISOLATED" not in os.environ:
        script = 'mount -t tmpfs tmpfs /run && ip link set lo up && exec "$@"'
        argv = ["unshare", "--net", "--mount", "sh", "-c", script, "sh", sys.executable, *sys.argv]
        os.execvpe("unshare", argv, {**os.environ, "BENCH_ISOLATED": "1"})  # noqa: S606


def started() -> float:
    """Seconds until a new interpreter has the library loaded."""
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import libnetwork_py.kernel.linux, libnetwork_py.controller"], check=True)
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--sandboxes", type=int, default=20)
    arguments = parser.parse_args()
    isolate()
    modes = ["root", "user"] if os.geteuid() == 0 else ["user"]
    times: Times = defaultdict(list)
    for number in range(arguments.rounds + 1):
        for mode in modes if number % 2 else reversed(modes):
            measure(mode, arguments.sandboxes, times if number else defaultdict(list))  # the first one loads modules
            time.sleep(0.1)
    print(f"{'ms, medians of ' + str(arguments.rounds):28}{'root':>10}{'user':>10}{'ratio':>8}")
    for step in STEPS:
        medians = {mode: statistics.median(times[mode, step]) for mode in modes}
        root = f"{medians['root']:10.2f}" if "root" in medians else f"{'':10}"
        ratio = f"{medians['user'] / medians['root']:8.2f}" if "root" in medians else ""
        print(f"{WHAT[step]:28}{root}{medians['user']:10.2f}{ratio}")
    print(f"\nan interpreter with the library loaded: {statistics.median(started() for _ in range(5)) * 1000:.0f} ms")


if __name__ == "__main__":
    main()
