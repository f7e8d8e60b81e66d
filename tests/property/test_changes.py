"""Laws of changes: they lead from any description to any other, undo themselves, and are made whole or not at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libnetwork_py.desired import Change, Description, Namespace, between
from libnetwork_py.errors import Unavailable
from libnetwork_py.facts import compare
from libnetwork_py.render import make_lines, remove_lines, render
from libnetwork_py.testing import FakeKernel, Killed
from tests.property.strategies import descriptions, paths


def kernel_with(description: Description) -> FakeKernel:
    """A machine that is as described."""
    kernel = FakeKernel()
    kernel.apply(Change(make=description))
    kernel.take_text()
    return kernel


@given(descriptions(), descriptions())
def test_a_change_leads_there(before: Description, after: Description) -> None:
    """From one description to any other the change between them leads exactly there, and the machine is as described."""
    kernel = kernel_with(before)
    kernel.apply(between(before, after))
    assert kernel.state() == set(after)
    assert not compare(after, kernel.facts(paths(), words=after))


@given(descriptions(), descriptions())
def test_apply_then_undo_is_identity(before: Description, after: Description) -> None:
    """A change and its reverse leave the machine as it was, in words and in what it shows."""
    kernel = kernel_with(before)
    change = between(before, after)
    shown = _shown(kernel, before + after)
    kernel.apply(change)
    kernel.apply(change.reverse)
    assert kernel.state() == set(before)
    assert _shown(kernel, before + after) == shown


@given(descriptions(), descriptions())
def test_enforcing_twice_changes_nothing(before: Description, after: Description) -> None:
    """Enforced on a machine in any state a description comes true, and enforced again it does nothing."""
    kernel = kernel_with(before)
    change = between(before, after)
    kernel.enforce(change)
    assert kernel.state() == set(after)
    kernel.take_text()
    kernel.enforce(change)
    kernel.enforce(Change(make=after))
    assert kernel.text == ""


@given(descriptions(), descriptions(), st.data())
def test_a_change_is_whole_or_nothing(before: Description, after: Description, data: st.DataObject) -> None:
    """Wherever a change fails, the machine is as before; wherever its process dies, enforcing either side mends it."""
    change = between(before, after)
    steps = len(change.make) + sum(isinstance(word, Namespace) for word in change.remove)
    if not steps:
        return
    step = data.draw(st.integers(1, steps))
    kernel = kernel_with(before)
    kernel.fail_at(step)
    with pytest.raises(Unavailable):
        kernel.apply(change)
    assert kernel.state() == set(before)
    kernel.fail_at(step, Killed())
    with pytest.raises(Killed):
        kernel.apply(change)
    wanted, way = data.draw(st.sampled_from([(after, change), (before, change.reverse)]))
    kernel.enforce(Change(remove=way.remove, make=wanted))
    assert kernel.state() == set(wanted)


@given(descriptions())
def test_the_text_says_all_and_depends_on_no_order(description: Description) -> None:
    """Every word's lines are in the text of the change that makes it, and removing names no more than each word's own lines."""
    change = Change(make=description)
    lines = render(change).splitlines()
    for word in description:
        assert set("\n".join(make_lines(word)).splitlines()) <= set(lines)
    own = {line for word in description for line in remove_lines(word)}
    assert set(render(Change(remove=description)).splitlines()) <= own


def _shown(kernel: FakeKernel, words: Description) -> object:
    facts = kernel.facts(paths(), words=words)
    links = {
        path: {name: (link.kind, link.mac, link.master) for name, link in inside.links.items()}
        for path, inside in facts.namespaces.items()
    }
    inside = {path: (each.addresses, each.routes) for path, each in facts.namespaces.items()}
    return links, inside, facts.tables, facts.sysctls
