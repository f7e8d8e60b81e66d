"""The pytest plug-in on the real kernel: a pair that talks, features that are missing, several at once, nothing left."""

from __future__ import annotations

import pytest

from libnetwork_py import NetworkController

PAIR = """
import pytest

@pytest.mark.parametrize("number", range(4))
def test_a_pair(network_pair, number):
    address = str(network_pair.server.endpoints()[0].addresses[0])
    network_pair.client.run(["ping", "-c1", "-W5", address], check=True, capture_output=True)
    network_pair.server.endpoints()[0].publish("8080:80")     # every test has a host of its own
"""


@pytest.mark.parametrize("workers", [(), ("-n", "2")])
def test_pairs_side_by_side(pytester: pytest.Pytester, workers: tuple[str, ...]) -> None:
    """Each test's sandboxes reach each other, one after the other and in workers at once, all on one host port."""
    if workers:
        pytest.importorskip("xdist", reason="pytest-xdist")
    pytester.makepyfile(PAIR)
    pytester.runpytest_subprocess("-p", "no:cacheprovider", *workers).assert_outcomes(passed=4)


def test_features(pytester: pytest.Pytester) -> None:
    """A test runs where its features are, is skipped by the missing one's name where they are not, and fails for an unknown one."""
    with NetworkController.temporary() as controller:
        features = controller.info().features
    missing = sorted(name for name, works in features.items() if not works)
    pytester.makepyfile(
        f"""
        import pytest

        @pytest.mark.network_features("bridge", "veth")
        def test_there(network_pair): pass

        @pytest.mark.network_features()
        def test_anything(): pass

        @pytest.mark.network_features("bridge", {", ".join(map(repr, missing[:1]))})
        def test_missing(): pass

        @pytest.mark.network_features("teleportation")
        def test_unknown(): pass
        """
    )
    done = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-rs")
    skipped = min(len(missing), 1)
    done.assert_outcomes(passed=3 - skipped, skipped=skipped, errors=1)
    done.stdout.fnmatch_lines(["*unknown teleportation; known are*bridge*"])
    if missing:
        done.stdout.fnmatch_lines([f"*SKIPPED*this kernel lacks {missing[0]}*"])


def test_a_failure_on_the_real_kernel(pytester: pytest.Pytester) -> None:
    """The report has addresses and counters, and what somebody else took away."""
    pytester.makepyfile(
        """
        def test_that_fails(network_pair):
            network_pair.server.run(["ip", "addr", "flush", "dev", "eth0"], check=True)
            assert network_pair.client.run(["ping", "-c1", "-W1", "192.0.2.1"], capture_output=True).returncode == 0
        """
    )
    done = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(
        ["*libnetwork_py: topology*", "*client*eth0*", "*libnetwork_py: plan*", "*instead*", "missing: ip*addr add*"]
    )
