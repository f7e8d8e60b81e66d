"""The pytest plug-in as far as no privilege is needed: fixtures over a kernel in memory, marker, report, what it loads."""

from __future__ import annotations

import pytest

FAILING = """
def test_that_fails(fake_network_controller):
    front = fake_network_controller.create_network("front")
    fake_network_controller.create_sandbox("web").connect(front, ports=["8080:80"])
    assert False, "on purpose"
"""


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """The inner sessions have nothing of the outer one's."""
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)


def test_a_failure_shows_topology_and_plan(pytester: pytest.Pytester) -> None:
    """The report of a test that fails has the drawing in plain text and the lines that make it."""
    pytester.makepyfile(FAILING)
    done = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(
        [
            "*libnetwork_py: topology*",
            "*network front*",
            "*web*8080 → 80/tcp*",
            "*libnetwork_py: plan*",
            "*ip netns add web*",
        ]
    )
    done.stdout.no_fnmatch_line("*what the kernel has instead*")


def test_a_failure_shows_drift(pytester: pytest.Pytester) -> None:
    """What somebody took away before the failure is in the report."""
    pytester.makepyfile(
        """
        def test_that_fails(fake_network_controller):
            front = fake_network_controller.create_network("front")
            fake_network_controller.create_sandbox("web").connect(front)
            kernel = fake_network_controller._kernel
            kernel.disturb(remove=[word for word in kernel.state() if word.key[0] == "address"])
            assert False
        """
    )
    done = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    done.stdout.fnmatch_lines(["*what the kernel has instead*", "missing: ip*addr add*"])


def test_success_shows_nothing(pytester: pytest.Pytester) -> None:
    """A test that passes leaves no section, and each test has a controller of its own."""
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.parametrize("number", [1, 2])
        def test_that_passes(fake_network_controller, number):
            assert fake_network_controller.networks() == []
            fake_network_controller.create_network("front")
        """
    )
    done = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-rA")
    done.assert_outcomes(passed=2)
    done.stdout.no_fnmatch_line("*libnetwork_py: topology*")


def test_workers_report_too(pytester: pytest.Pytester) -> None:
    """Under pytest-xdist the sections come back from the worker."""
    pytest.importorskip("xdist", reason="pytest-xdist")
    pytester.makepyfile(FAILING)
    done = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-n", "1")
    done.stdout.fnmatch_lines(["*libnetwork_py: topology*", "*libnetwork_py: plan*"])


def test_the_marker_is_declared(pytester: pytest.Pytester) -> None:
    """``--markers`` explains it, so ``--strict-markers`` takes it."""
    pytester.runpytest_subprocess("--markers").stdout.fnmatch_lines(
        ["*network_features(*skip the test where the kernel lacks*"]
    )


def test_it_loads_nothing_until_it_is_asked(pytester: pytest.Pytester) -> None:
    """A session that uses nothing of it loads neither controller nor kernel nor pyroute2, and makes no namespace."""
    pytester.makepyfile(
        """
        import sys

        def test_nothing_is_loaded():
            heavy = ("libnetwork_py.controller", "libnetwork_py.kernel", "libnetwork_py.testing.fake_kernel", "pyroute2")
            assert [name for name in sys.modules if name.startswith(heavy)] == []
        """
    )
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)


def test_it_can_be_switched_off(pytester: pytest.Pytester) -> None:
    """``-p no:libnetwork_py`` leaves no fixture."""
    pytester.makepyfile(FAILING)
    done = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-p", "no:libnetwork_py")
    done.assert_outcomes(errors=1)
    done.stdout.fnmatch_lines(["*fixture 'fake_network_controller' not found*"])
