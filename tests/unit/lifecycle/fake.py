"""A controller over a kernel and a store in memory, and what both hold as text."""

from __future__ import annotations

import hashlib
import itertools
import re

import pytest

from libnetwork_py import NetworkController
from libnetwork_py.store.memory import MemoryStore
from libnetwork_py.testing import FakeKernel


def controller(kernel: FakeKernel, store: MemoryStore | None = None) -> NetworkController:
    """A controller over `kernel`."""
    return NetworkController.over(store or MemoryStore(), kernel)


def stable_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ids, and what is made of them, be the same in every run."""
    numbers = itertools.count(1)

    def token_hex(size: int = 32) -> str:
        return hashlib.sha256(str(next(numbers)).encode()).hexdigest()[: 2 * size]

    monkeypatch.setattr("secrets.token_hex", token_hex)


def without_table(text: str) -> str:
    """Leave out the constant rules of our table, which have goldens of their own."""
    return re.sub(r"nft -f - <<'?EOF'?\n.*?\nEOF", "nft -f - # our table", text, flags=re.DOTALL)


def everything(some: NetworkController, kernel: FakeKernel) -> tuple[object, ...]:
    """What kernel and records hold."""
    networks = [
        (each.inspect(), [(it.id, it.state, it.addresses, it.ports, it.interface) for it in each.endpoints()])
        for each in some.networks()
    ]
    sandboxes = [(each.name, each.id, each.key, [it.id for it in each.endpoints()]) for each in some.sandboxes()]
    return kernel.state(), networks, sandboxes
