"""The programs under ``examples/``, each run as a user would, in a namespace that plays the machine."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.engines.servers import program
from tests.root import world
from tests.root.machine import run_in

EXAMPLES = Path(__file__).parents[2] / "examples"
SAID = {
    "adopt_namespace.py": "the guest still runs: True",
    "batch_thousand.py": "50 sandboxes in",
    "demo.py": "all gone again",
    "dry_run.py": "networks afterwards: []",
    "in_event_loop.py": "pinged 2 ways",
    "overlay_three_hosts.py": "host 3 has it: True; web reaches it there: True",
    "publish_port.py": "and was told: hello",
    "reconcile.py": "repaired; routes: 2",
    "two_networks.py": "gateway after leaving back: 10.1.0.1",
    "two_sandboxes.py": "1 received",
    "watch_events.py": "network front deleted",
}
ARGUMENTS = {"batch_thousand.py": ["50"]}


def test_every_example_is_run() -> None:
    """There is no program under ``examples/`` that these tests do not run."""
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(SAID)


@pytest.mark.parametrize("name", sorted(SAID))
def test_example_runs_and_says_what_it_promises(name: str, host: str) -> None:
    """The example ends with status 0, prints what it is for, and leaves no interface in the machine's namespace."""
    if name == "overlay_three_hosts.py":
        program("etcd")  # skips without
    place = host if world.ROOT else ""  # without root the machine may be anybody's
    before = run_in(place, ["ip", "-brief", "link"]).stdout
    done = run_in(place, [sys.executable, EXAMPLES / name, *ARGUMENTS.get(name, [])])
    assert SAID[name] in done.stdout
    assert done.stderr == ""
    assert run_in(place, ["ip", "-brief", "link"]).stdout == before


@pytest.mark.parametrize("name", sorted(set(SAID) - {"demo.py", "overlay_three_hosts.py"}))
def test_example_is_short(name: str) -> None:
    """An example is at most sixty lines."""
    assert len((EXAMPLES / name).read_text().splitlines()) <= 60
