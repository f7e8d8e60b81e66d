"""For tests, ours and anybody's: a kernel in memory, and contracts as tests.

Division of labour: `fake_kernel` keeps the contract of `kernel.api.Kernel`, prints itself as ``ip``/``nft`` lines and fails when told
to; `machine` is what it remembers, and refuses what a kernel would refuse; `store_suite` is what must hold of every store,
`cluster_suite` of every cluster's store.

May import: everything of this package; nothing of it imports this.
"""

from .fake_kernel import FakeKernel, Killed

__all__ = ["FakeKernel", "Killed"]
