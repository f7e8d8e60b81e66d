"""What each operation may cost, counted and not timed: sends and messages to the kernel, settings, namespaces, dumps and commits.

The budgets stand in ``budget.json``; ``--update-golden`` writes what is spent now. Who makes an operation cheaper lowers its line; who
makes it dearer says why in the change that raises it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from libnetwork_py import Endpoint, Network, NetworkController, Sandbox
from libnetwork_py.kernel import transport
from libnetwork_py.kernel.opener import RootOpener
from libnetwork_py.kernel.transport import Transport
from libnetwork_py.store import sqlite

BUDGET: dict[str, dict[str, int]] = json.loads((Path(__file__).parent / "budget.json").read_text())


@contextmanager
def counted(patch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """Count what the library does to the kernel and to the store while the body runs."""
    counts: Counter[str] = Counter()
    exchange, dump, sockets = Transport._exchange, Transport._dump, RootOpener.sockets

    def count_exchange(self: Transport, request: bytearray, first: int, count: int, *rest: Any, **options: Any) -> Any:
        counts["messages"] += count
        return exchange(self, request, first, count, *rest, **options)

    def count_dump(self: Transport, *arguments: Any) -> Any:
        counts["dumps"] += 1
        return dump(self, *arguments)

    def count_sockets(self: RootOpener, *arguments: Any) -> Any:
        counts["journeys for sockets"] += 1
        return sockets(self, *arguments)

    def step(what: str) -> None:
        counts["sends" if what == "netlink" else what] += 1

    def commit(what: str) -> None:
        counts["commits"] += what == "after commit"

    with patch.context() as context:
        context.setattr(Transport, "_exchange", count_exchange)
        context.setattr(Transport, "_dump", count_dump)
        context.setattr(RootOpener, "sockets", count_sockets)
        context.setattr(transport, "checkpoint", step)
        context.setattr(sqlite, "checkpoint", commit)
        yield counts


class Scene:
    """A network of one family with a sandbox joined to it before the counting begins, so that nothing is done for the first time."""

    def __init__(self, controller: NetworkController) -> None:
        self.controller = controller
        self.network: Network = controller.create_network("front", subnets="10.7.0.0/24")
        self.first: Sandbox = controller.create_sandbox("budget-first")
        self.first.connect(self.network, ports="7999:80")
        self.endpoints: dict[str, Endpoint] = {}

    def sandbox(self) -> None:
        self.web = self.controller.create_sandbox("budget-web")

    def endpoint(self) -> None:
        self.one = self.network.create_endpoint("web")

    def many(self) -> None:
        with self.controller.batch():
            for number in range(10):
                self.controller.create_sandbox(f"budget-{number}").connect(self.network)

    def none(self) -> None:
        with self.controller.batch():
            for number in range(10):
                self.controller.sandbox(f"budget-{number}").delete()

    def hundred(self) -> None:
        with self.controller.batch():
            for number in range(100):
                self.one.publish(f"{8100 + number}:{8100 + number}")

    def hundred_back(self) -> None:
        with self.controller.batch():
            for binding in self.one.ports:
                self.one.unpublish(binding)


STEPS: list[tuple[str, Callable[[Scene], object]]] = [
    ("create a sandbox", Scene.sandbox),
    ("create an endpoint", Scene.endpoint),
    ("join", lambda scene: scene.one.join(scene.web)),
    ("publish a port", lambda scene: scene.one.publish("8080:80")),
    ("unpublish a port", lambda scene: scene.one.unpublish("8080:80")),
    ("publish a range of 100 ports", lambda scene: scene.one.publish("8100-8199:8100-8199")),
    ("unpublish a range of 100 ports", lambda scene: scene.one.unpublish("8100-8199:8100-8199")),
    ("publish 100 ports in a batch", Scene.hundred),
    ("unpublish 100 ports in a batch", Scene.hundred_back),
    ("leave", lambda scene: scene.one.leave()),
    ("delete an endpoint", lambda scene: scene.one.delete()),
    ("connect", lambda scene: scene.web.connect(scene.network)),
    ("disconnect", lambda scene: scene.web.disconnect(scene.network)),
    ("connect with a port", lambda scene: scene.web.connect(scene.network, ports="8080:80")),
    ("delete a connected sandbox", lambda scene: scene.web.delete()),
    ("create and connect 10 sandboxes in a batch", Scene.many),
    ("delete 10 connected sandboxes in a batch", Scene.none),
]


def test_operations_cost_what_the_budget_says(
    controller: NetworkController, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """No operation sends more messages, writes more settings or makes more commits than its line in the budget allows."""
    # what is done behind the caller's back, and depends on the traffic there was, is not the caller's cost
    monkeypatch.setattr("libnetwork_py.kernel.flows.Flows.forget", lambda *_: None)
    monkeypatch.setattr("libnetwork_py.kernel.reaper.PAUSE", 0.5)
    scene = Scene(controller)
    spent: dict[str, dict[str, int]] = {}
    for what, step in STEPS:
        with counted(monkeypatch) as counts:
            step(scene)
        spent[what] = dict(sorted(counts.items()))
    if request.config.getoption("--update-golden"):
        (Path(__file__).parent / "budget.json").write_text(json.dumps(spent, indent=2) + "\n")
    assert spent.keys() == BUDGET.keys()
    over = {what: counts for what, counts in spent.items() if not Counter(counts) <= Counter(BUDGET[what])}
    assert not over, {what: (counts, BUDGET[what]) for what, counts in over.items()}
