"""The set of numbers, against a plain Python set and at sizes that no plain set can have."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from libnetwork_py.ipam.addresses import BIT, FULL, LAST, WIDTH, AddressSet


def check_rules(numbers: AddressSet) -> None:
    """Check the tree's own rules: no empty node, no full one but the root, none below a full block."""
    levels = numbers._levels
    for level, nodes in enumerate(levels):
        for key, node in nodes.items():
            assert 0 < node <= FULL
            assert node < FULL or level == len(levels) - 1
            block = key
            for above in levels[level + 1 :]:
                assert not above.get(block >> WIDTH, 0) & BIT[block & LAST]
                block >>= WIDTH


class AgainstSet(RuleBasedStateMachine):
    """Every operation answers as a Python set does."""

    @initialize(bits=st.sampled_from([0, 1, 3, 7, 8, 9, 12, 16, 17]))
    def start(self, bits: int) -> None:
        self.numbers = AddressSet(bits)
        self.model: set[int] = set()
        self.size = 1 << bits

    def number(self, wish: int) -> int:
        return wish % self.size

    def span(self, wish: int, length: int) -> tuple[int, int]:
        low = self.number(wish)
        return low, min(self.size - 1, low + length)

    def first(self, low: int, high: int) -> int | None:
        return next((number for number in range(low, high + 1) if number not in self.model), None)

    wishes = st.one_of(st.integers(0, 600), st.integers(0, 1 << 17), st.integers(0, 600).map(lambda n: n << WIDTH))
    lengths = st.one_of(st.integers(0, 5), st.integers(0, 1500), st.sampled_from([255, 256, 65535, 65536]))

    @rule(wish=wishes)
    def add(self, wish: int) -> None:
        number = self.number(wish)
        assert self.numbers.add(number) is (number not in self.model)
        self.model.add(number)

    @rule(wish=wishes)
    def discard(self, wish: int) -> None:
        number = self.number(wish)
        assert self.numbers.discard(number) is (number in self.model)
        self.model.discard(number)

    @rule(wish=wishes, length=lengths)
    def add_range(self, wish: int, length: int) -> None:
        low, high = self.span(wish, length)
        before = len(self.model)
        self.model.update(range(low, high + 1))
        assert self.numbers.add_range(low, high) == len(self.model) - before

    @rule(wish=wishes, length=lengths)
    def take_lowest(self, wish: int, length: int) -> None:
        low, high = self.span(wish, length)
        found = self.numbers.first_free(low, high)
        assert found == self.first(low, high)
        if found is not None:
            self.numbers.add(found)
            self.model.add(found)

    @rule(wish=wishes, length=lengths, start=st.integers(0, 1 << 17))
    def next_in_turn(self, wish: int, length: int, start: int) -> None:
        low, high = self.span(wish, length)
        number = low + start % (high - low + 2)
        expected = self.first(number, high)
        expected = self.first(low, high) if expected is None else expected
        assert self.numbers.next_free(number, low, high) == expected

    @rule(wish=wishes, length=lengths)
    def count(self, wish: int, length: int) -> None:
        low, high = self.span(wish, length)
        assert self.numbers.count(low, high) == sum(low <= number <= high for number in self.model)

    @rule(wish=wishes)
    def contains(self, wish: int) -> None:
        number = self.number(wish)
        assert (number in self.numbers) is (number in self.model)

    @invariant()
    def holds(self) -> None:
        assert self.numbers.count() == len(self.model)
        check_rules(self.numbers)


TestAgainstSet = AgainstSet.TestCase
TestAgainstSet.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@given(bits=st.integers(1, 128), data=st.data())
@settings(max_examples=100, deadline=None)
def test_holes_of_a_full_pool_are_found_in_order(bits: int, data: st.DataObject) -> None:
    """In a full pool of any size the holes are found lowest first, and filling them makes it full again."""
    numbers = AddressSet(bits)
    numbers.add_range(0, numbers.last)
    holes = data.draw(st.sets(st.integers(0, numbers.last), max_size=20))
    for hole in holes:
        assert numbers.discard(hole)
    assert numbers.count() == numbers.last + 1 - len(holes)
    found: list[int] = []
    while (free := numbers.first_free(0, numbers.last)) is not None:
        assert numbers.add(free)
        found.append(free)
    assert found == sorted(holes)
    assert numbers.nodes() == 1
    check_rules(numbers)


@given(bits=st.integers(1, 128), data=st.data())
@settings(max_examples=100, deadline=None)
def test_allocate_then_release_is_identity(bits: int, data: st.DataObject) -> None:
    """Taking the lowest free numbers of a range and giving them back leaves the set exactly as it was."""
    numbers = AddressSet(bits)
    inside = st.integers(0, numbers.last)
    for low, high in data.draw(st.lists(st.tuples(inside, inside), max_size=5)):
        numbers.add_range(min(low, high), max(low, high))
    before = [dict(nodes) for nodes in numbers._levels]
    low, high = sorted((data.draw(inside), data.draw(inside)))
    got: list[int] = []
    while len(got) < 300 and (free := numbers.first_free(low, high)) is not None:
        numbers.add(free)
        got.append(free)
    for number in data.draw(st.permutations(got)) if len(got) < 20 else reversed(got):
        assert numbers.discard(number)
    assert [dict(nodes) for nodes in numbers._levels] == before


@given(bits=st.integers(0, 128), data=st.data())
@settings(max_examples=200, deadline=None)
def test_lowest_free_is_the_lowest(bits: int, data: st.DataObject) -> None:
    """Below the number found, everything of the range is taken; the number itself is free."""
    numbers = AddressSet(bits)
    inside = st.integers(0, numbers.last)
    for first, last in data.draw(st.lists(st.tuples(inside, inside), max_size=6)):
        numbers.add_range(min(first, last), max(first, last))
    low, high = sorted((data.draw(inside), data.draw(inside)))
    found = numbers.first_free(low, high)
    if found is None:
        assert numbers.count(low, high) == high - low + 1
        return
    assert low <= found <= high
    assert found not in numbers
    assert found == low or numbers.count(low, found - 1) == found - low


@given(bits=st.integers(0, 70), data=st.data())
@settings(max_examples=100, deadline=None)
def test_counts_of_the_parts_add_up(bits: int, data: st.DataObject) -> None:
    """A range cut in two anywhere holds as many as its halves."""
    numbers = AddressSet(bits)
    inside = st.integers(0, numbers.last)
    for first, last in data.draw(st.lists(st.tuples(inside, inside), max_size=6)):
        numbers.add_range(min(first, last), max(first, last))
    cut = data.draw(inside)
    rest = numbers.count(cut + 1, numbers.last) if cut < numbers.last else 0
    assert numbers.count(0, cut) + rest == numbers.count()


@pytest.mark.parametrize("bits", [64, 120, 128])
def test_huge_pool_needs_no_more_than_a_node_a_level(bits: int) -> None:
    """A pool of 2^64 and more holds one node for a level, however many of its numbers are taken from the bottom."""
    numbers = AddressSet(bits)
    for share in (100, 3, 2):
        numbers.add_range(0, numbers.last // share)
        assert numbers.nodes() <= -(-bits // WIDTH)
        assert numbers.first_free(0, numbers.last) == numbers.last // share + 1


def test_lone_number_costs_one_node() -> None:
    """A number far from all others is stored without a path to it."""
    numbers = AddressSet(128)
    numbers.add(3 << 100)
    assert numbers.nodes() == 1


def test_contiguous_fill_is_compact() -> None:
    """One by one filled from below, a /8 holds a few nodes: full subtrees have become bits."""
    numbers = AddressSet(24)
    for number in range(70_000):
        assert numbers.first_free(0, numbers.last) == number
        numbers.add(number)
    assert numbers.nodes() <= 3


def test_memory_is_bounded_by_the_boundaries_of_runs() -> None:
    """A thousand runs in a /64 hold at most a node a level for each end, whatever their lengths."""
    numbers = AddressSet(64)
    step = numbers.last // 1000
    for run in range(1000):
        numbers.add_range(run * step, run * step + step * (run % 9 + 1) // 10)
    assert numbers.nodes() <= 1000 * 2 * 8
    assert numbers.add_range(0, numbers.last) > 0
    assert numbers.nodes() == 1


@pytest.mark.parametrize("number", [-1, 256, 1 << 70])
def test_number_outside_the_pool_is_refused(number: int) -> None:
    """A number outside is an error and changes nothing."""
    numbers = AddressSet(8)
    with pytest.raises(ValueError, match="does not lie in 0 to 255"):
        numbers.add(number)
    with pytest.raises(ValueError, match="does not lie in 0 to 255"):
        numbers.discard(number)
    assert numbers.count() == 0


@pytest.mark.parametrize(("low", "high"), [(5, 4), (-1, 4), (0, 256)])
def test_bad_range_is_refused(low: int, high: int) -> None:
    """A reversed range, or one that reaches outside, is an error and changes nothing."""
    numbers = AddressSet(8)
    with pytest.raises(ValueError, match="does not lie in 0 to 255"):
        numbers.add_range(low, high)
    with pytest.raises(ValueError, match="does not lie in 0 to 255"):
        numbers.count(low, high)
    assert numbers.nodes() == 0


def test_negative_size_is_refused() -> None:
    """There is no pool of less than one address."""
    with pytest.raises(ValueError, match="cannot be"):
        AddressSet(-1)
