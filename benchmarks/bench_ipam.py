"""Addresses and subnets per second, and the memory they take.

Run it as ``python benchmarks/bench_ipam.py``. Each row fills a pool to a given degree, then gives out addresses (the lowest free one each
time) and takes them back in random order. ``set`` is the set of numbers alone, ``driver`` the default IPAM driver with its
``ipaddress`` objects. Memory is what the pool holds when filled, as ``tracemalloc`` sees it in a run of its own.
"""

from __future__ import annotations

import argparse
import random
import time
import tracemalloc
from collections.abc import Callable
from ipaddress import ip_network
from itertools import accumulate, pairwise

from libnetwork_py.ipam.addresses import AddressSet
from libnetwork_py.ipam.api import PoolRequest
from libnetwork_py.ipam.default import DefaultIpam
from libnetwork_py.types import IPAddress, IPNetwork

SEED = 1
SCATTERED = (1 << 24) // 100
"""How many lone addresses or lone holes a scattered fill has: 1 % of a /8. More numbers than that a /64 cannot be given one by one."""

Fill = Callable[[AddressSet], None]


def dice() -> random.Random:
    """Return the same chances each time."""
    return random.Random(SEED)  # noqa: S311  (figures, not secrets)


def contiguous(share: float) -> Fill:
    """Return a fill that takes the lowest ``share`` of the pool."""

    def fill(taken: AddressSet) -> None:
        taken.add_range(0, int((taken.last + 1) * share) - 1)

    return fill


def scattered(taken: AddressSet) -> None:
    """Take lone addresses at random."""
    chance = dice()
    for _ in range(SCATTERED):
        taken.add(chance.randrange(taken.last + 1))


def holes(taken: AddressSet) -> None:
    """Take all but lone addresses at random."""
    taken.add_range(0, taken.last)
    chance = dice()
    for _ in range(SCATTERED):
        taken.discard(chance.randrange(taken.last + 1))


def ranges(taken: AddressSet) -> None:
    """Take 1,000 ranges of random lengths, with gaps of a hundredth of that between them."""
    chance = dice()
    cuts = list(accumulate(chance.random() for _ in range(1001)))
    step = (taken.last + 1) / cuts[-1]
    for low, high in pairwise(cuts):
        taken.add_range(int((high - (high - low) * 0.99) * step), int(high * step) - 1)


FILLS: tuple[tuple[str, str, Fill], ...] = (
    ("/8", "1 % contiguous", contiguous(0.01)),
    ("/8", "1 % scattered", scattered),
    ("/8", "99 % contiguous", contiguous(0.99)),
    ("/8", "99 % scattered", holes),
    ("/8", "99 % in 1,000 ranges", ranges),
    ("/64", "1 % contiguous", contiguous(0.01)),
    ("/64", "167,772 scattered", scattered),
    ("/64", "99 % contiguous", contiguous(0.99)),
    ("/64", "99 % in 1,000 ranges", ranges),
    ("/64", "all but 167,772", holes),
)


def timed(step: Callable[[], object], count: int) -> float:
    """Return steps per second."""
    start = time.perf_counter()
    for _ in range(count):
        step()
    return count / (time.perf_counter() - start)


def bench_set(bits: int, fill: Fill, count: int) -> tuple[float, float]:
    """Return allocations and releases per second of a filled set."""
    taken = AddressSet(bits)
    fill(taken)
    got: list[int] = []

    def allocate() -> None:
        found = taken.first_free(0, taken.last)
        assert found is not None
        taken.add(found)
        got.append(found)

    out = timed(allocate, count)
    dice().shuffle(got)
    return out, timed(lambda: taken.discard(got.pop()), count)


def bench_driver(subnet: IPNetwork, fill: Fill, count: int) -> tuple[float, float]:
    """Return allocations and releases per second of the driver on a filled pool."""
    ipam = DefaultIpam()
    pool = ipam.request_pool(PoolRequest(4 if subnet.version == 4 else 6, subnet=subnet))
    fill(ipam._subnets[pool.id].taken)  # noqa: SLF001  (a caller could not fill a /64)
    got: list[IPAddress] = []
    out = timed(lambda: got.append(ipam.request_address(pool.id).ip), count)
    dice().shuffle(got)
    return out, timed(lambda: ipam.release_address(pool.id, got.pop()), count)


def memory(bits: int, fill: Fill) -> tuple[int, int]:
    """Return bytes and nodes of a filled set."""
    tracemalloc.start()
    taken = AddressSet(bits)
    fill(taken)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return held, taken.nodes()


def bench_pools(count: int) -> tuple[float, float, float]:
    """Return per second: global /24s chosen, half of them taken back at random, and as many chosen again in the gaps."""
    ipam = DefaultIpam()
    request = PoolRequest(4, "global")
    pools: list[str] = []

    def choose() -> None:
        pools.append(ipam.request_pool(request).id)

    first = timed(choose, count)
    dice().shuffle(pools)
    back = timed(lambda: ipam.release_pool(pools.pop()), count // 2)
    return first, back, timed(choose, count // 2)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000, help="addresses to give out and take back in each row")
    count: int = parser.parse_args().count
    subnets = {"/8": ip_network("10.0.0.0/8"), "/64": ip_network("fd00::/64")}
    titles = ("set: give", "take back", "driver: give", "take back", "KiB", "nodes")
    print(f"{'pool':5}{'fill':21}" + "".join(f"{title:>14}" for title in titles))
    for name, title, fill in FILLS:
        subnet = subnets[name]
        bits = subnet.max_prefixlen - subnet.prefixlen
        held, nodes = memory(bits, fill)
        figures = (*bench_set(bits, fill, count), *bench_driver(subnet, fill, count), held / 1024, nodes)
        print(f"{name:5}{title:21}" + "".join(f"{figure:14,.0f}" for figure in figures), flush=True)
    first, back, again = bench_pools(65_536)
    print(f"\n65,536 subnets of /24 from 10.0.0.0/8: {65_536 / first:.2f} s ({first:,.0f}/s)")
    print(f"half of them taken back at random: {back:,.0f}/s; chosen again: {again:,.0f}/s")


if __name__ == "__main__":
    main()
