"""Short walks of `tests.property.machine` on the real kernel and the embedded store, in a host namespace of their own."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, settings

from libnetwork_py import NetworkController
from libnetwork_py.errors import Unavailable
from tests.property.machine import Walk
from tests.root.crash_lab import KERNEL_POINTS, Points, becomes, delete_everything, new_tag, quiet, remove_remains, seen
from tests.root.machine import drop_namespace, new_namespace


class LinuxWalk(Walk):
    """On the real kernel; what ``ip`` and ``nft`` show is compared."""

    def __init__(self) -> None:
        self.host = new_namespace()
        self.directory = Path(tempfile.mkdtemp())
        self.tag = new_tag()
        self.prefix = f"{self.tag}-"
        self.pristine = seen(self.host, self.tag)
        super().__init__()

    def opened(self) -> NetworkController:
        return NetworkController(self.directory / "state", host=self.host)

    @contextmanager
    def failing(self, step: int) -> Generator[None]:
        def fail(label: str) -> None:
            raise Unavailable(f"the test fails the kernel at {label}", code="injected")

        with Points(step, fail, kinds=KERNEL_POINTS).armed():
            yield

    def machine(self) -> Any:
        return quiet(lambda: seen(self.host, self.tag))

    def teardown(self) -> None:
        """When everything is deleted, nothing is left."""
        try:
            delete_everything(self.controller)
            becomes(lambda: seen(self.host, self.tag), self.pristine, "everything deleted")
        finally:
            for controller in self.controllers:
                controller.close()
            remove_remains(self.tag)
            drop_namespace(self.host)
            shutil.rmtree(self.directory)


TestWalk = LinuxWalk.TestCase
TestWalk.settings = settings(
    max_examples=4,
    stateful_step_count=25,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],  # to shrink a failure here takes minutes: find it on the fake kernel
    suppress_health_check=[HealthCheck.too_slow],
)
