"""A real dockerd for each test, and where its calls are written down."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.dockerd.lab import TREE, Dockerd, missing


@pytest.fixture(scope="session", autouse=True)
def possible() -> None:
    """Leave the tests out where no dockerd can run."""
    if missing():
        pytest.skip(f"needs {missing()}")


@pytest.fixture
def record() -> Iterator[Callable[[dict[str, Any]], object]]:
    """Where calls are written down: the file that ``LIBNETWORK_PY_TRANSCRIPT`` names."""
    place = os.environ.get("LIBNETWORK_PY_TRANSCRIPT", os.devnull)
    with Path(place).open("a") as file:
        yield lambda entry: file.write(json.dumps(entry) + "\n")


@pytest.fixture
def docker(tmp_path: Path, record: Callable[[dict[str, Any]], object]) -> Iterator[Dockerd]:
    """A daemon with an image."""
    daemon = Dockerd(TREE, tmp_path, record)
    try:
        daemon.start()
        daemon.image()
        yield daemon
    finally:
        daemon.stop()
        daemon.remove()
