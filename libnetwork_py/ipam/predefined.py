"""Predefined pools: networks to choose subnets from.

Division of labour: what the pools are, and which subnet of one is the first that nothing touches, is here; what is out is noted by
`subnets`.

May import: ipam.addresses, types, errors.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network
from typing import Final

from attrs import frozen

from ..errors import InvalidParameter
from ..types import IPNetwork
from .addresses import AddressSet


@frozen
class PredefinedPool:
    """A network to choose subnets from: ``base`` cut into subnets of prefix length ``size``.

    Raises:
        InvalidParameter: ``size`` is zero, less than the base's prefix length, or more than the family has bits.
    """

    base: IPNetwork
    size: int

    def __attrs_post_init__(self) -> None:
        if not max(1, self.base.prefixlen) <= self.size <= self.base.max_prefixlen:
            raise InvalidParameter(
                f"address pool {self.base} cannot be cut into subnets of /{self.size}: "
                f"the size is a prefix length from {max(1, self.base.prefixlen)} to {self.base.max_prefixlen}",
                code="invalid_pool",
                pool=str(self.base),
                size=self.size,
            )

    def __str__(self) -> str:
        return f"{self.base} in /{self.size}s"


def _predefined(*pools: tuple[str, int]) -> tuple[PredefinedPool, ...]:
    return tuple(PredefinedPool(IPv4Network(base), size) for base, size in pools)


LOCAL_POOLS: Final = _predefined(
    ("172.17.0.0/16", 16),
    ("172.18.0.0/16", 16),
    ("172.19.0.0/16", 16),
    ("172.20.0.0/14", 16),
    ("172.24.0.0/14", 16),
    ("172.28.0.0/14", 16),
    ("192.168.0.0/16", 20),
)
"""The reference's predefined IPv4 pools of a host: 31 subnets. 172.16.0.0/16 is left out there too."""

GLOBAL_POOLS: Final = _predefined(("10.0.0.0/8", 24))
"""The reference's predefined IPv4 pools of a cluster: 65,536 subnets."""


def unique_local_pool(seed: bytes) -> PredefinedPool:
    """Return a host's IPv6 pool: a unique local /48 cut into /64s.

    RFC 4193 wants 40 bits of the prefix to be random, so that two sites that are joined later do not collide. The reference takes
    the low 40 bits of the first eight bytes of SHA-256 of the host's id, which stays the same from one start to the next.
    """
    global_id = hashlib.sha256(seed).digest()[3:8]
    return PredefinedPool(IPv6Network((b"\xfd" + global_id + bytes(10), 48)), 64)


class Cut:
    """A predefined pool cut into subnets of one size, its slots, and which of them are touched by a subnet that is out.

    Spans are first and last addresses as numbers.
    """

    def __init__(self, pool: PredefinedPool) -> None:
        self.pool = pool
        self._first, self._last = span(pool.base)
        self._shift = pool.base.max_prefixlen - pool.size
        self._touched = AddressSet(pool.size - pool.base.prefixlen)

    def occupy(self, first: int, last: int) -> None:
        """Mark the slots that a span touches."""
        if not self.touches(first, last):
            return
        low = max(first, self._first) - self._first >> self._shift
        high = min(last, self._last) - self._first >> self._shift
        if low == high:
            self._touched.add(low)
        else:
            self._touched.add_range(low, high)

    def vacate(self, slot: IPNetwork) -> None:
        """Unmark a slot."""
        self._touched.discard(int(slot.network_address) - self._first >> self._shift)

    def touches(self, first: int, last: int) -> bool:
        """Whether a span lies in the pool, at least in part."""
        return first <= self._last and self._first <= last

    def slot_around(self, first: int, last: int) -> IPNetwork | None:
        """Return the one slot that a span in the pool lies in; ``None`` if it touches several."""
        number = first - self._first >> self._shift
        return self._subnet(number) if number == last - self._first >> self._shift else None

    def first_outside(self, avoid: Sequence[tuple[int, int]]) -> IPNetwork | None:
        """Return the first slot that no subnet and no span of ``avoid``, which is sorted, touches; ``None`` if there is none."""
        touched, index = self._touched, 0
        slot = touched.first_free(0, touched.last)
        while slot is not None:
            first = self._first + (slot << self._shift)
            while index < len(avoid) and avoid[index][1] < first:
                index += 1
            if index == len(avoid) or avoid[index][0] >= first + (1 << self._shift):
                return self._subnet(slot)
            after = (avoid[index][1] - self._first >> self._shift) + 1
            slot = touched.first_free(after, touched.last) if after <= touched.last else None
        return None

    def _subnet(self, number: int) -> IPNetwork:
        kind = IPv4Network if self.pool.base.version == 4 else IPv6Network
        return kind((self._first + (number << self._shift), self.pool.size))


def span(subnet: IPNetwork) -> tuple[int, int]:
    """Return the first and the last address as numbers."""
    first = int(subnet.network_address)
    return first, first | (1 << subnet.max_prefixlen - subnet.prefixlen) - 1


__all__ = ["GLOBAL_POOLS", "LOCAL_POOLS", "Cut", "PredefinedPool", "span", "unique_local_pool"]
