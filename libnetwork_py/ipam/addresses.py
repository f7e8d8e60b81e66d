"""A set of whole numbers, for pools of any size: which of 2^n addresses are taken.

Division of labour: numbers here are offsets into a pool; what they mean as addresses, and which are never given out, is `pools`' business.

The set is a radix tree of 256-ary nodes in which a full subtree is one bit of its parent. A node is an ``int`` used as a bit mask of
its *full* children and lives in one dictionary per level under its number, not below its parent; so a lone address costs one leaf
and no path to it, and the usual look-up goes straight to the leaf. Three rules hold between operations:

1. a node is stored only if some but not all of its bits are set (the root alone may be full);
2. hence, where a node is stored, no ancestor's bit covers it;
3. and a number is in the set exactly if the lowest stored node over it has the bit over it set.

Cost: `add`, `discard`, ``in`` and the searches take a number of steps that grows with the bits of the pool (at most 16 levels for 128
bits), whatever the fill. Memory grows with the boundaries between runs of taken and free numbers, at most a node a level for each.

May import: nothing of this package.
"""

from __future__ import annotations

from typing import Final

WIDTH: Final = 8
"""Bits of a number that one level of the tree resolves."""
FAN: Final = 1 << WIDTH
LAST: Final = FAN - 1
FULL: Final = (1 << FAN) - 1
BIT: Final = tuple(1 << place for place in range(FAN))
HOLE: Final = tuple(FULL ^ bit for bit in BIT)


class AddressSet:
    """A set of numbers from 0 to ``2**bits - 1``.

    Args:
        bits: Size of the pool as a power of two: 32 minus the prefix length for IPv4, 128 minus it for IPv6.
    """

    __slots__ = ("_count", "_levels", "last")

    def __init__(self, bits: int) -> None:
        if bits < 0:
            raise ValueError(f"a set of 2**{bits} numbers cannot be")
        self.last: Final = (1 << bits) - 1
        self._count = 0
        self._levels: tuple[dict[int, int], ...] = tuple({} for _ in range(max(1, -(-bits // WIDTH))))

    def __contains__(self, number: int) -> bool:
        return self._covered(number, 0)

    def add(self, number: int) -> bool:
        """Take ``number``; return whether it was free.

        Raises:
            ValueError: outside the pool.
        """
        if not 0 <= number <= self.last:
            raise self._outside(number)
        leaves = self._levels[0]
        key = number >> WIDTH
        leaf = leaves.get(key)
        bit = BIT[number & LAST]
        if leaf is None:
            if self._covered(number, 0):
                return False
            leaf = 0
        elif leaf & bit:
            return False
        leaf |= bit
        self._count += 1
        if leaf == FULL:
            self._mark(0, key, bit)
        else:
            leaves[key] = leaf
        return True

    def discard(self, number: int) -> bool:
        """Free ``number``; return whether it was taken.

        Raises:
            ValueError: outside the pool.
        """
        if not 0 <= number <= self.last:
            raise self._outside(number)
        block = number
        for level, nodes in enumerate(self._levels):
            key = block >> WIDTH
            node = nodes.get(key)
            if node is not None:
                if not node & BIT[block & LAST]:
                    return False
                self._clear(number, level, key, node & HOLE[block & LAST])
                return True
            block = key
        return False

    def add_range(self, low: int, high: int) -> int:
        """Take every number from ``low`` to ``high``; return how many were free.

        Costs a few steps a level, and one for each node held inside the range, at worst for each node of the set.

        Raises:
            ValueError: reversed, or outside the pool.
        """
        added = high - low + 1 - self.count(low, high)
        self._forget(low, high)
        start, end = low, high + 1
        for level in range(len(self._levels)):
            if start >> WIDTH == end >> WIDTH or level == len(self._levels) - 1:
                self._mark_run(level, start, end)
                break
            aligned = -(-start >> WIDTH) << WIDTH
            self._mark_run(level, start, aligned)
            self._mark_run(level, end & ~LAST, end)
            start, end = aligned >> WIDTH, end >> WIDTH
        self._count += added
        return added

    def count(self, low: int = 0, high: int | None = None) -> int:
        """Return how many numbers from ``low`` to ``high`` are taken.

        At once for the whole pool; else it costs a step for each node held inside the range, at worst for each node of the set.

        Raises:
            ValueError: reversed, or outside the pool.
        """
        high = self.last if high is None else high
        if not 0 <= low <= high <= self.last:
            raise self._outside(low, high)
        if low == 0 and high == self.last:
            return self._count
        return sum(self._count_level(level, low, high) for level in range(len(self._levels)))

    def first_free(self, low: int, high: int) -> int | None:
        """Return the lowest free number from ``low`` to ``high``, or ``None``."""
        leaf = self._levels[0].get(low >> WIDTH)
        if leaf is not None:
            free = (leaf ^ FULL) >> (low & LAST)
            if free:
                found = low + (free & -free).bit_length() - 1
                return found if found <= high else None
        found = self._seek(low)
        return found if found <= high else None

    def next_free(self, number: int, low: int, high: int) -> int | None:
        """Return the first free number at or after ``number``, going on from ``low`` after ``high``; ``None`` if all are taken."""
        found = self.first_free(number, high) if number <= high else None
        return self.first_free(low, high) if found is None else found

    def nodes(self) -> int:
        """Return how many nodes are held: what the set's memory is proportional to."""
        return sum(map(len, self._levels))

    # Searching

    def _covered(self, number: int, level: int) -> bool:
        """Whether ``number`` lies in a block that is full, at ``level`` or above: rule 3."""
        block = number >> level * WIDTH
        for nodes in self._levels[level:]:
            node = nodes.get(block >> WIDTH)
            if node is not None:
                return bool(node & BIT[block & LAST])
            block >>= WIDTH
        return False

    def _seek(self, number: int) -> int:
        """Return the first free number at or after ``number``; one beyond the pool if there is none.

        Goes up while all that follows in a node is full, then down into the first block that is not.
        """
        levels = self._levels
        block, below = number, 0
        for level, nodes in enumerate(levels):
            key = block >> WIDTH
            node = nodes.get(key)
            if node is not None:
                free = (node ^ FULL) >> (block & LAST)
                if free & 1:
                    break
                if free:
                    number = block + (free & -free).bit_length() - 1 << level * WIDTH
                    below = level
                    break
                key += 1
                below = level + 1
                number = key << below * WIDTH
            block = key
        return self._descend(number >> below * WIDTH, below) if below else number

    def _descend(self, block: int, level: int) -> int:
        """Return the lowest free number of a block that is not full."""
        for nodes in reversed(self._levels[:level]):
            node = nodes.get(block)
            block <<= WIDTH
            if node is not None:
                free = node ^ FULL
                block += (free & -free).bit_length() - 1
        return block

    # Changing

    def _mark(self, level: int, key: int, bits: int) -> None:
        """Set bits of a node that no ancestor covers; a node that gets full becomes a bit of its parent."""
        for nodes in self._levels[level:-1]:
            node = nodes.get(key, 0) | bits
            if node != FULL:
                nodes[key] = node
                return
            nodes.pop(key, None)
            key, bits = key >> WIDTH, BIT[key & LAST]
        root = self._levels[-1]
        root[key] = root.get(key, 0) | bits

    def _mark_run(self, level: int, start: int, end: int) -> None:
        """Set the blocks of one node from ``start`` up to, not including, ``end``."""
        if start < end and not self._covered(start << level * WIDTH, level + 1):
            place = start & LAST
            self._mark(level, start >> WIDTH, (1 << end - start) - 1 << place)

    def _clear(self, number: int, level: int, key: int, node: int) -> None:
        """Store what is left of a node whose full block lost ``number``, and the nodes below that the block had stood for."""
        self._count -= 1
        if node:
            self._levels[level][key] = node
        else:
            del self._levels[level][key]
        for nodes in self._levels[:level]:
            nodes[number >> WIDTH] = HOLE[number & LAST]
            number >>= WIDTH

    def _forget(self, low: int, high: int) -> None:
        """Drop every node that lies whole inside the range."""
        for level, nodes in enumerate(self._levels):
            shift = (level + 1) * WIDTH
            for key in self._keys(level, -(-low >> shift), (high + 1 >> shift) - 1):
                nodes.pop(key, None)

    # Counting

    def _count_level(self, level: int, low: int, high: int) -> int:
        """Count the numbers of a range that full blocks of one level hold."""
        shift = level * WIDTH
        first, last = low >> shift, high >> shift
        nodes = self._levels[level]
        total = 0
        for key in self._keys(level, first >> WIDTH, last >> WIDTH):
            node = nodes.get(key, 0)
            if key == last >> WIDTH:
                node &= (BIT[last & LAST] << 1) - 1
            if key == first >> WIDTH:
                node >>= first & LAST
                total -= (node & 1) * (low - (first << shift))
            total += node.bit_count() << shift
        if nodes.get(last >> WIDTH, 0) & BIT[last & LAST]:
            total -= ((last + 1) << shift) - 1 - high
        return total

    def _keys(self, level: int, first: int, last: int) -> range | list[int]:
        """Return the numbers of the nodes to look at from ``first`` to ``last``: all in between, or those held, if fewer."""
        nodes = self._levels[level]
        if last - first < len(nodes):
            return range(first, last + 1)
        return [key for key in nodes if first <= key <= last]

    def _outside(self, *numbers: int) -> ValueError:
        return ValueError(f"{' to '.join(map(str, numbers))} does not lie in 0 to {self.last}")


__all__ = ["AddressSet"]
