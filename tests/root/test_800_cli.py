"""The command line as a program, on the real kernel: each command a process of its own over one state directory."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.root import machine
from tests.root.machine import run_in

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state directory."""
    return tmp_path / "state"


@pytest.fixture
def run(host: str, state: Path) -> Iterator[Run]:
    """Run a command with `host` as the host and a state directory of its own; what it made is removed afterwards."""

    def call(*argv: str, check: bool = True, **options: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "libnetwork_py", "--state-dir", str(state), "--host", host, *argv]
        return run_in("", command, check=check, **options)

    yield call
    names = [each["name"] for each in json.loads(call("sandbox", "ls", "--json").stdout)]
    networks = [each["name"] for each in json.loads(call("network", "ls", "--json").stdout)]
    if names:
        call("sandbox", "rm", *names)
    if networks:
        call("network", "rm", "--disconnect", *networks)


@pytest.fixture
def web(run: Run) -> str:
    """A sandbox ``web`` at 10.1.0.2 on a network ``front``; its name."""
    run("network", "create", "--subnet", "10.1.0.0/24", "-o", "com.docker.network.bridge.name=br-front", "front")
    run("sandbox", "create", "web")
    run("network", "connect", "-p", "8080:80", "front", "web")
    return "web"


def test_what_one_process_made_the_next_one_has(run: Run, web: str, host: str) -> None:
    """A network, a sandbox and a connection made by three processes are in the kernel and in a fourth one's lists."""
    assert machine.addresses("br-front", host) == {"10.1.0.1/24"}
    shown = json.loads(run("sandbox", "ls", "--json").stdout)
    assert [(each["name"], each["endpoints"][0]["addresses"]) for each in shown] == [(web, ["10.1.0.2"])]
    assert machine.addresses("eth0", shown[0]["key"]) == {"10.1.0.2/24"}


def test_exec_passes_output_and_exit_status(run: Run, web: str) -> None:
    """A program inside writes to our standard output, and its exit status is ours."""
    done = run("sandbox", "exec", web, "--", "sh", "-c", "ip -brief address show eth0; exit 42", check=False)
    assert done.returncode == 42
    assert "10.1.0.2/24" in done.stdout


def test_exec_passes_input_environment_and_directory(run: Run, web: str, tmp_path: Path) -> None:
    """A program inside reads our standard input, and has the variables and the directory that it was given."""
    argv = [
        "sandbox",
        "exec",
        "-e",
        "GREETING=hello",
        "-w",
        str(tmp_path),
        web,
        "sh",
        "-c",
        'cat; echo "$GREETING"; pwd',
    ]
    assert run(*argv, input="from outside\n").stdout.splitlines() == ["from outside", "hello", str(tmp_path)]


def test_exec_of_nothing_runnable(run: Run, web: str, tmp_path: Path) -> None:
    """A program that does not exist is 127, one that is not executable 126, as in a shell."""
    script = tmp_path / "script"
    script.write_text("")
    assert run("sandbox", "exec", web, "/nonexistent/program", check=False).returncode == 127
    assert run("sandbox", "exec", web, str(script), check=False).returncode == 126


def test_exec_reports_a_signal_as_a_shell_does(run: Run, web: str) -> None:
    """A program that a signal ended is 128 and its number."""
    assert run("sandbox", "exec", web, "sh", "-c", "kill -TERM $$", check=False).returncode == 128 + signal.SIGTERM


def test_reconcile_mends_what_somebody_changed(run: Run, web: str) -> None:
    """A default route that somebody deleted is back after ``reconcile``, and then all is as described."""
    (shown,) = json.loads(run("sandbox", "ls", "--json").stdout)
    machine.ip("route", "delete", "default", namespace=shown["key"])
    assert "missing (repaired): ip -n" in run("reconcile").stdout
    assert ("default", "10.1.0.1", "eth0") in machine.routes(shown["key"])
    assert run("reconcile", "--dry-run").stdout.startswith("as described")


def test_errors_end_with_their_categorys_status(run: Run, web: str) -> None:
    """A name that is taken is a conflict, status 4; one that is none is not found, status 3."""
    taken = run("network", "create", "front", check=False)
    assert (taken.returncode, taken.stdout) == (4, "")
    assert taken.stderr.startswith("libnetwork-py: ")
    assert run("network", "inspect", "none", check=False).returncode == 3
    assert run("sandbox", "exec", web, check=False).returncode == 2


def test_a_reader_that_goes_away_is_no_traceback(run: Run, web: str, host: str, state: Path) -> None:
    """``events | head`` ends quietly when its reader has read enough."""
    command = f"{sys.executable} -m libnetwork_py --state-dir {state} --host {host} events --since 0 -n 4 | head -n 1"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.split()[1:3] == ["network", "created"]
    assert done.stderr == ""
