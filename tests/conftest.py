"""What every test may ask for, and the guard that nothing is left behind.

Options: ``--update-golden`` writes the texts under ``tests/golden`` anew; ``--shared-machine`` says that others make namespaces and
links on this machine meanwhile, so what is found afterwards is reported and no failure.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

from libnetwork_py.lifecycle import files
from libnetwork_py.testing import FakeKernel
from tests.root import machine, without_root

if TYPE_CHECKING:
    from tests.root.machine import Outside, Traces

TESTS = Path(__file__).parent
GOLDEN = TESTS / "golden"
PATIENCE = 10
"""Seconds that the kernel is given to finish what it does asynchronously: the end of a namespace takes its links along."""

_before: dict[str, Traces] = {}
_left_by_workers: list[str] = []
_numbers = itertools.count()

hypothesis.settings.register_profile("no-deadline", deadline=None)
hypothesis.settings.load_profile("no-deadline")
"""How long an example takes depends on what else the machine does, so it is no test."""


@pytest.fixture(scope="session", autouse=True)
def ctrl_c_is_heard() -> Iterator[None]:
    """Have SIGINT raise KeyboardInterrupt: a shell's job in the background is started with it ignored, and so is what it starts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    parser.addoption("--update-golden", action="store_true", help="write the golden texts anew instead of comparing")
    parser.addoption(
        "--shared-machine", action="store_true", help="others work on this machine: report remains, do not fail"
    )
    if not parser_knows_timeout():
        parser.addini("timeout", "seconds a test may take; kept by pytest-timeout, ignored without it")


def pytest_configure(config: pytest.Config) -> None:
    """Have temporary files of the run, its workers' and its programs' in one folder, which goes with it; `tmp_path` stays where it was."""
    if not hasattr(config, "workerinput"):
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
        folder = tempfile.mkdtemp(prefix="lnpy-")  # short: paths of sockets are at most 107 bytes
        Path(folder).chmod(0o1777)  # tests are run by others in it, too
        os.environ["TMPDIR"], tempfile.tempdir = folder, None
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


def parser_knows_timeout() -> bool:
    """Return whether pytest-timeout is installed, which declares the setting itself."""
    from importlib.util import find_spec

    return find_spec("pytest_timeout") is not None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is in tests/root, and skip it where it cannot work."""
    for item in items:
        if (TESTS / "root") in item.path.parents:
            item.add_marker("root")
        if item.get_closest_marker("root") and os.geteuid() != 0:
            reason = without_root.why_not(item.nodeid)
            if reason:
                item.add_marker(pytest.mark.skip(reason=reason))


# the guard: a session with root tests leaves the machine as it found it


def _guarded(config: pytest.Config) -> bool:
    # a worker of pytest-xdist sees what its siblings do at the same time, unless it is by itself (scripts/isolated)
    return os.geteuid() == 0 and (not hasattr(config, "workerinput") or "TESTS_ISOLATED" in os.environ)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Look at the machine before the first test."""
    if _guarded(session.config) and any(item.get_closest_marker("root") for item in session.items):
        _before["session"] = machine.traces()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run if it left anything, or one of its workers did."""
    before = _before.pop("session", None)
    left = _left(machine.traces, before) if before else {}
    output: dict[str, object] | None = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["left"] = str(dict(left)) if left else ""
    found = [*_left_by_workers, *([str(dict(left))] if left else [])]
    if found:
        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            reporter.write_line(f"\nleft behind on this machine: {'; '.join(found)}", red=True)
        if not session.config.getoption("--shared-machine"):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Hear from a worker of pytest-xdist what it left."""
    left = getattr(node, "workeroutput", {}).get("left", "")
    if left:
        _left_by_workers.append(f"{left} ({node.gateway.id})")


@pytest.fixture(autouse=True)
def leaves_nothing(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a root test that leaves a link or a named namespace."""
    if not (_guarded(request.config) and request.node.get_closest_marker("root")):
        yield
        return
    before = machine.quick_traces()
    yield
    if not request.config.getoption("--shared-machine"):
        assert not _left(machine.quick_traces, before)


def _left(look: Callable[[], Traces], before: Traces) -> Mapping[str, list[str]]:
    end = time.monotonic() + PATIENCE
    while True:
        left = look().added(before)
        if not left or time.monotonic() > end:
            return left
        time.sleep(0.05)


# fixtures


@pytest.fixture(autouse=True)
def files_of_its_own(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Let a test on the fake kernel neither see nor write the machine's ``/etc/netns``."""
    if not request.node.get_closest_marker("root"):
        own = tmp_path_factory.getbasetemp() / f"netns-{next(_numbers)}"
        monkeypatch.setattr(files, "DIRECTORY", own)


@pytest.fixture
def fake_kernel() -> FakeKernel:
    """A kernel in memory."""
    return FakeKernel()


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compare a text with ``tests/golden/NAME``, or write it there with ``--update-golden``: ``golden(name, text)``."""

    def compare(name: str, text: str) -> None:
        path = GOLDEN / name
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        assert path.exists(), f"no golden {path}: write it with --update-golden and read it"
        assert text == path.read_text(), f"differs from {path}; if the new text is right: --update-golden"

    return compare


@pytest.fixture
def host() -> Iterator[str]:
    """The path of a fresh network namespace to play the host, its loopback up; removed afterwards."""
    path = machine.new_namespace("host")
    yield path
    machine.drop_namespace(path)


@pytest.fixture
def outside(host: str) -> Iterator[Outside]:
    """A namespace beyond `host`, joined to it: the host's way out, with no way back to anything but the host itself."""
    found = machine.new_outside(host)
    yield found
    machine.drop_namespace(found.namespace)
