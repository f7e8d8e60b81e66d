"""For tests, ours and anybody's: a kernel in memory, and contracts as tests.

Division of labour: `fake_kernel` keeps the contract of `kernel.api.Kernel`, prints itself as ``ip``/``nft`` lines and fails when told
to; `machine` is what it remembers, and refuses what a kernel would refuse; `store_suite` is what must hold of every store,
`cluster_suite` of every cluster's store. `pytest_plugin` is loaded by every pytest on the machine, so names here are loaded when used.

May import: everything of this package; nothing of it imports this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .fake_kernel import FakeKernel, Killed

__all__ = ["FakeKernel", "Killed"]


def __getattr__(name: str) -> object:
    if name in __all__:
        from . import fake_kernel  # noqa: PLC0415 (loaded when used)

        return getattr(fake_kernel, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
