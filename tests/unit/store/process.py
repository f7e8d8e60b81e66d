"""Real processes for the tests of the store: a script of Python that finds the package where this process found it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import libnetwork_py

_PROLOGUE = """
import os, signal, sys, time
from pathlib import Path
from libnetwork_py.errors import Conflict, LibnetworkError, Unavailable
from libnetwork_py.store import directory, filelock, sqlite
from libnetwork_py.store.api import Write
from libnetwork_py.store.sqlite import SqliteStore
path = Path(sys.argv[1])
def say(*words):
    print(*words, flush=True)
"""


@contextmanager
def started(script: str, path: Path) -> Generator[subprocess.Popen[str]]:
    """Start a script whose ``path`` is the one given; at the end of the block it is killed if it still runs."""
    environment = {**os.environ, "PYTHONPATH": str(Path(libnetwork_py.__file__).parents[1])}
    with subprocess.Popen(
        [sys.executable, "-c", _PROLOGUE + script, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def heard(process: subprocess.Popen[str]) -> str:
    """Return the next line that a script says."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def ended(processes: Sequence[subprocess.Popen[str]]) -> list[int]:
    """Let scripts that wait for the end of their input go on, all at once, and return their exit statuses."""
    for process in processes:
        assert process.stdin is not None
        process.stdin.close()
    return [process.wait(50) for process in processes]


def finished(script: str, path: Path) -> tuple[int, str]:
    """Run a script to its end and return its exit status and what it said."""
    with started(script, path) as process:
        said, _ = process.communicate(timeout=120)
        return process.returncode, said
