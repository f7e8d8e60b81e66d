"""The laws of changes on the real kernel: fewer cases than in tests/property, on machines that are real."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, given, settings

from libnetwork_py.desired import HOST, Change, Description, Sysctl, between
from libnetwork_py.facts import compare
from libnetwork_py.kernel.linux import LinuxKernel
from tests.property.strategies import descriptions
from tests.root import kernel_lab, machine

PLACES = tuple(f"/run/netns/t{os.getpid()}-box{number}" for number in range(3))
QUIET = Sysctl(HOST, "ipv6.conf.default.disable_ipv6", "1")
few = settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
"""Always the same cases: what fails here is looked for with the fake kernel, in milliseconds."""


@few
@given(descriptions(PLACES), descriptions(PLACES))
def test_a_change_leads_there_and_back(host: str, before: Description, after: Description) -> None:
    """From one description to another and back: the machine is as described each time, with nothing besides."""
    change = between(before, after)
    with kernel_lab.kernel(host) as kernel:
        try:
            kernel.apply(Change(make=(QUIET, *before)))
            kernel.apply(change)
            check(kernel, after)
            kernel.apply(change.reverse)
            check(kernel, before)
            kernel.enforce(change)
            check(kernel, after)
        finally:
            kernel.enforce(Change(remove=(*before, *after)))
        check(kernel, ())


def check(kernel: LinuxKernel, description: Description) -> None:
    """Fail unless the machine is as described; what went with a namespace may take a moment."""
    expected = {name for word in description if word.key[:2] == ("link", HOST) for name in [word.key[2]]}
    facts = kernel.facts(PLACES, words=description)
    assert not compare(description, facts)
    assert {path for path in PLACES if os.path.lexists(kernel.reach(path))} == {
        word.key[1] for word in description if word.key[0] == "namespace"
    }
    machine.wait_until(lambda: set(kernel.facts().host.links) == {"lo", *expected}, f"the links {expected}")
