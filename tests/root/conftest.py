"""A controller over a host of its own, for the tests of the public API on the real kernel."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from libnetwork_py import NetworkController


@pytest.fixture
def controller(host: str) -> Iterator[NetworkController]:
    """A temporary controller over `host`; what it made is gone when the test has ended."""
    with NetworkController.temporary(host=host) as some:
        yield some
