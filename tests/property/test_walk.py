"""The Container Network Model's invariants hold on every walk over the public API: see `machine`."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from hypothesis import HealthCheck, settings

from libnetwork_py import NetworkController
from libnetwork_py.store.memory import MemoryStore
from libnetwork_py.testing import FakeKernel
from tests.property.machine import Walk


class FakeWalk(Walk):
    """On the fake kernel."""

    def __init__(self) -> None:
        self.store, self.kernel = MemoryStore(), FakeKernel()
        super().__init__()

    def opened(self) -> NetworkController:
        return NetworkController.over(self.store, self.kernel)

    @contextmanager
    def failing(self, step: int) -> Generator[None]:
        self.kernel.fail_at(step)
        try:
            yield
        finally:
            self.kernel.heal()

    def machine(self) -> Any:
        return {word.key: word for word in self.kernel._machine}  # `state` is a set: hashing the table takes long

    def teardown(self) -> None:
        """When everything is deleted, nothing is left."""
        for sandbox in self.controller.sandboxes():
            sandbox.delete()
        for network in self.controller.networks():
            network.delete(force=True)
        assert not [word for word in self.kernel.state() if type(word).__name__ != "Sysctl"]


TestWalk = FakeWalk.TestCase
TestWalk.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
