"""Which subnets of a scope and family are out, and what a new one would overlap.

Division of labour: this knows subnets and nothing of the addresses in them (`pools`) or of what may be asked (`default`); it keeps the
predefined pools' marks (`predefined`) up to date.

May import: ipam.predefined, types, errors.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterable, Sequence

from ..errors import InvalidParameter, Unavailable
from ..types import IPNetwork
from .predefined import Cut, PredefinedPool, span


class SubnetTable:
    """The subnets of one scope and family that are out, and the predefined pools to choose from.

    Args:
        pools: The predefined pools, in any order; one that lies inside another is dropped.
        where: What the pools are, for messages: ``"local IPv4"``.
    """

    def __init__(self, pools: Iterable[PredefinedPool], where: str) -> None:
        self._where = where
        self._pools: list[PredefinedPool] = []
        for pool in sorted(pools, key=lambda each: _key(each.base)):
            if not self._pools or not self._pools[-1].base.overlaps(pool.base):
                self._pools.append(pool)
        self._out: dict[int, IPNetwork] = {}
        self._order: list[int] = []
        self._lengths: Counter[int] = Counter()
        self._cuts: dict[int | None, list[Cut]] = {}

    def add(self, subnet: IPNetwork) -> None:
        """Note that ``subnet`` is out. Whether it overlaps another is for the caller to ask first, or to know better."""
        key = _key(subnet)
        self._out[key] = subnet
        insort(self._order, key)
        self._lengths[subnet.prefixlen] += 1
        for cuts in self._cuts.values():
            for cut in cuts:
                cut.occupy(*span(subnet))

    def remove(self, subnet: IPNetwork) -> None:
        """Note that ``subnet`` is back."""
        key = _key(subnet)
        del self._out[key]
        del self._order[bisect_left(self._order, key)]
        self._lengths[subnet.prefixlen] -= 1
        if not self._lengths[subnet.prefixlen]:
            del self._lengths[subnet.prefixlen]
        for size in list(self._cuts):
            self._vacate(size, *span(subnet))

    def overlapping(self, subnet: IPNetwork) -> IPNetwork | None:
        """Return a subnet that is out and overlaps ``subnet``, or ``None``.

        Two prefixes overlap only if one contains the other: the larger ones are found by their prefix lengths, few of which are in
        use, the smaller ones by the order of their first addresses.
        """
        first, last = span(subnet)
        bits = subnet.max_prefixlen
        for length in self._lengths:
            if length <= subnet.prefixlen:
                found = self._out.get(first >> bits - length << bits - length + 8 | length)
                if found is not None:
                    return found
        place = bisect_left(self._order, first << 8)
        if place < len(self._order) and self._order[place] >> 8 <= last:
            return self._out[self._order[place]]
        return None

    def choose(self, size: int | None, exclude: Sequence[IPNetwork]) -> IPNetwork:
        """Return the first predefined subnet that is free and overlaps nothing in ``exclude``.

        Args:
            size: Prefix length instead of the one that each pool has, or ``None``.
            exclude: Networks to avoid; those of the other family do not matter.

        Raises:
            InvalidParameter: there are no predefined pools, or none is as large as ``size``.
            Unavailable: all are in use or excluded.
        """
        cuts = self._cut(size)
        if not cuts:
            raise self._nothing_fits(size)
        version = cuts[0].pool.base.version
        avoid = sorted(span(each) for each in exclude if each.version == version)
        for cut in cuts:
            found = cut.first_outside(avoid)
            if found is not None:
                return found
        tried = ", ".join(str(cut.pool) for cut in cuts)
        raise Unavailable(
            f"every predefined {self._where} subnet ({tried}) is in use or overlaps what the host routes: "
            "delete unused networks, give a subnet, or configure more address_pools",
            code="pools_exhausted",
            size=size,
        )

    def _nothing_fits(self, size: int | None) -> InvalidParameter:
        if not self._pools:
            return InvalidParameter(
                f"there are no predefined {self._where} pools to choose a subnet from: give a subnet",
                code="no_predefined_pools",
            )
        return InvalidParameter(
            f"no predefined {self._where} pool ({', '.join(map(str, self._pools))}) is large enough for a /{size}: "
            "ask for a longer prefix length, give a subnet, or configure larger address_pools",
            code="invalid_pool",
            size=size,
        )

    def _cut(self, size: int | None) -> list[Cut]:
        """Return the pools cut to a size, with what is out marked; kept up to date once it was asked for."""
        cuts = self._cuts.get(size)
        if cuts is None:
            pools = [
                pool for pool in self._pools if size is None or pool.base.prefixlen <= size <= pool.base.max_prefixlen
            ]
            cuts = self._cuts[size] = [Cut(PredefinedPool(pool.base, size or pool.size)) for pool in pools]
            for cut in cuts:
                for subnet in self._out.values():
                    cut.occupy(*span(subnet))
        return cuts

    def _vacate(self, size: int | None, first: int, last: int) -> None:
        """Unmark what a subnet that is back touched alone."""
        for cut in self._cuts[size]:
            if not cut.touches(first, last):
                continue
            slot = cut.slot_around(first, last)
            if slot is None:
                del self._cuts[size]  # many slots at once are rare: they are marked anew when next asked for
                return
            if self.overlapping(slot) is None:
                cut.vacate(slot)


def _key(subnet: IPNetwork) -> int:
    """Return a number that sorts subnets by first address, the larger one first."""
    return int(subnet.network_address) << 8 | subnet.prefixlen


__all__ = ["SubnetTable"]
