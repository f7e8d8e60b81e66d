"""Ctrl-C before any line that the library runs: the operation is finished or was never begun, and no lock stays held.

Where `tests/root` interrupts at the actions on the kernel, here it comes between any two lines, on the fake kernel.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import libnetwork_py
from libnetwork_py import NetworkController
from libnetwork_py.store.memory import MemoryStore
from libnetwork_py.testing import FakeKernel

PACKAGE = Path(libnetwork_py.__file__).parent
PLACES = [str(PACKAGE / place) for place in ("controller.py", "lifecycle/", "ports/", "ipam/", "store/memory.py")]
"""Where something is changed. What only describes and compares has nothing to leave half done."""

Line = tuple[str, int]


def _connected(controller: NetworkController) -> None:
    controller.create_sandbox("box").connect(controller.create_network("front"), ports=["8080:80"])


def _batch(controller: NetworkController) -> None:
    with controller.batch():
        controller.sandbox("box").delete()
        controller.create_sandbox("tin").connect(controller.network("front"), ports=["8080:80"])


def _plan(controller: NetworkController) -> None:
    with controller.plan():
        controller.sandbox("box").delete()


OPERATIONS: Mapping[str, Callable[[NetworkController], object]] = {
    "create network": lambda controller: controller.create_network("back"),
    "publish": lambda controller: controller.network("front").endpoint("box").publish("8081:81"),
    "delete sandbox": lambda controller: controller.sandbox("box").delete(),
    "batch": _batch,
    "plan": _plan,
}


class Tracer:
    """Calls a function before lines run that are in files whose path begins so."""

    def __init__(self, on_line: Callable[[Line], object], *begins: str) -> None:
        self._on_line, self._begins = on_line, begins

    def __call__(self, frame: FrameType, event: str, argument: Any) -> Tracer | None:
        path = frame.f_code.co_filename
        if not path.startswith(self._begins):
            return None
        if event == "line":
            self._on_line((path, frame.f_lineno))
        return self

    def run(self, function: Callable[[], object]) -> None:
        """Run a function, traced."""
        before = sys.gettrace()
        sys.settrace(self)
        try:
            function()
        finally:
            sys.settrace(before)


@pytest.mark.parametrize("name", OPERATIONS)
def test_interrupted_before_any_line_an_operation_is_finished_or_undone(name: str) -> None:
    """SIGINT before each line in turn, the first time it runs: records and kernel are as before or as after, and all goes on."""
    operate = OPERATIONS[name]
    lines: dict[Line, None] = {}
    before, after = _run(lambda _: None), _run(operate)
    _run(lambda controller: Tracer(lines.setdefault, *PLACES).run(lambda: operate(controller)))
    assert len(lines) > 50
    for wanted in lines:
        world = _run(lambda controller, wanted=wanted: _interrupted(controller, operate, wanted))  # type: ignore[misc]
        assert world in (before, after), f"interrupted before {wanted}"


def _interrupted(controller: NetworkController, operate: Callable[[NetworkController], object], wanted: Line) -> None:
    todo = [wanted]

    def interrupt(line: Line) -> None:
        if line in todo:
            todo.clear()
            sys.settrace(None)
            signal.raise_signal(signal.SIGINT)

    try:
        Tracer(interrupt, wanted[0]).run(lambda: operate(controller))
    except KeyboardInterrupt:
        return
    raise AssertionError(f"the interrupt before {wanted} was lost")


def _run(operate: Callable[[NetworkController], object]) -> Any:
    """Prepare, operate, and return how it is then; another thread looks, so that a lock left held would show."""
    kernel = FakeKernel()
    controller = NetworkController.over(MemoryStore(), kernel, config={"lock_timeout": 5})
    _connected(controller)
    operate(controller)
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(_world(controller, kernel)))
    thread.start()
    thread.join(120)
    assert found, "another thread could not look"
    return found[0]


def _world(controller: NetworkController, kernel: FakeKernel) -> Any:
    report = controller.reconcile(repair=False)
    assert not report, report
    networks = [
        (each.name, [(one.name, one.addresses, one.ports) for one in each.endpoints()])
        for each in controller.networks()
    ]
    sandboxes = [(each.name, each.key, [one.name for one in each.endpoints()]) for each in controller.sandboxes()]
    ports = [str(each) for each in controller._env.ports.held()]
    return networks, sandboxes, ports, sorted(type(word).__name__ for word in kernel._machine)
