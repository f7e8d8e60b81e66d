"""A dry run: what a block of calls would do, as text.

May import: lifecycle.engine, display, desired, render, sandbox.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..desired import HOST, Change, Route
from ..display import Displayed
from ..render import render
from .describe import DEFAULT_ROUTES
from .engine import Engine
from .interrupts import deferred


class Plan(Displayed):
    """What the calls inside ``with controller.plan() as plan:`` would do; known once the block has ended.

    Attributes:
        change: The words that would be removed and made.
        effects: What would change for objects that exist already, a sentence each: another gateway, a lost one.
        text: Both as ``ip``, ``sysctl`` and ``nft`` lines in the order of their doing, effects first as comments.
    """

    def __init__(self) -> None:
        self.change = Change()
        self.effects: tuple[str, ...] = ()
        self.text = ""

    def __str__(self) -> str:
        return self.text

    def __bool__(self) -> bool:
        return bool(self.change)


@contextmanager
def planning(engine: Engine) -> Iterator[Plan]:
    """Run a block as an operation that is taken back at its end, and say what it would have done."""
    plan = Plan()
    with engine.transaction("plan", dry=True) as work:
        names = {each.key: each.name for each in engine.state.sandboxes.values() if each.key != HOST}
        yield plan
        with deferred():  # the engine's baseline is another one during the preview
            plan.change = engine.preview(work)
        plan.effects = tuple(_effects(plan.change, names))
    comments = "".join(f"# {each}\n" for each in plan.effects)
    plan.text = comments + (render(plan.change) if plan.change else "")


def _effects(change: Change, names: dict[str, str]) -> Iterator[str]:
    """Say which sandboxes that exist would go another way out."""
    old, new = (
        {(word.namespace, word.destination): word for word in words if isinstance(word, Route)}
        for words in (change.remove, change.make)
    )
    families = {destination: family for family, destination in DEFAULT_ROUTES.items()}
    for (namespace, destination), route in old.items():
        if namespace not in names or destination not in families:
            continue
        after = new.get((namespace, destination))
        goes = f"moves from {route.gateway} ({route.link}) to {after.gateway} ({after.link})" if after else "goes"
        yield f"sandbox {names[namespace]}: its IPv{families[destination]} gateway {goes}"
