"""The default IPAM driver against plain sets of addresses and lists of subnets."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, ip_network

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from libnetwork_py import labels
from libnetwork_py.errors import Conflict, NotFound, Unavailable
from libnetwork_py.ipam.api import Pool, PoolRequest
from libnetwork_py.ipam.default import DefaultIpam
from libnetwork_py.types import IPAddress

BASES = ((IPv4Network("10.0.0.0/26"), 28), (IPv4Network("10.0.1.0/28"), 30))
SERIAL = {labels.IPAM_SERIAL: "true"}

subnets = st.builds(
    lambda place, length: IPv4Network((int(IPv4Address("10.0.0.0")) + place, length), strict=False),
    st.integers(0, 511),
    st.integers(23, 32),
)
ranges = st.builds(lambda place, length: (place, length), st.integers(0, 511), st.integers(0, 5))


class AgainstModel(RuleBasedStateMachine):
    """Small pools in one corner of 10.0.0.0/8, where everything meets everything."""

    def __init__(self) -> None:
        super().__init__()
        self.ipam = DefaultIpam(BASES, ula_seed=b"")
        self.pools: dict[str, Pool] = {}
        self.taken: dict[IPv4Network, set[int]] = {}
        self.requests: dict[str, PoolRequest] = {}

    out = Bundle("out")

    # What the model knows

    @staticmethod
    def network(pool: Pool) -> IPv4Network:
        assert isinstance(pool.subnet, IPv4Network)
        return pool.subnet

    @staticmethod
    def reserved(subnet: IPv4Network) -> set[int]:
        first, last = int(subnet[0]), int(subnet[-1])
        return {first, last} if subnet.prefixlen < 31 else set()

    def free(self, pool: Pool) -> list[int]:
        taken = self.taken[self.network(pool)] | self.reserved(self.network(pool))
        return [int(address) for address in (pool.ip_range or pool.subnet) if int(address) not in taken]

    def opened(self, pool: Pool, request: PoolRequest) -> Pool:
        assert pool.id not in self.pools
        self.pools[pool.id] = pool
        self.requests[pool.id] = request
        self.taken.setdefault(self.network(pool), set())
        return pool

    # What is done

    @rule(target=out, subnet=subnets)
    def request_subnet(self, subnet: IPv4Network) -> object:
        request = PoolRequest(4, subnet=subnet)
        if any(subnet.overlaps(other) for other in self.taken):
            with pytest.raises(Conflict):
                self.ipam.request_pool(request)
            return multiple()
        return self.opened(self.ipam.request_pool(request), request)

    @rule(target=out, pool=out, part=ranges)
    def request_range(self, pool: Pool, part: tuple[int, int]) -> object:
        subnet = self.network(pool)
        length = min(32, subnet.prefixlen + part[1])
        ip_range = ip_network((int(subnet[part[0] % subnet.num_addresses]), length), strict=False)
        request = PoolRequest(4, subnet=subnet, ip_range=ip_range)
        clash = any((each.subnet, each.ip_range) == (subnet, ip_range) for each in self.pools.values())
        if clash or (subnet not in self.taken and any(subnet.overlaps(other) for other in self.taken)):
            with pytest.raises(Conflict):
                self.ipam.request_pool(request)
            return multiple()
        return self.opened(self.ipam.request_pool(request), request)

    @rule(target=out, size=st.sampled_from([None, 27, 29, 32]), exclude=st.lists(subnets, max_size=3))
    def request_any(self, size: int | None, exclude: list[IPv4Network]) -> object:
        request = PoolRequest(4, subnet=IPv4Network((0, size)) if size else None, exclude=exclude)
        avoid = [*self.taken, *exclude]
        slots = (
            slot
            for base, usual in BASES
            if (size or usual) >= base.prefixlen
            for slot in base.subnets(new_prefix=size or usual)
        )
        expected = next((slot for slot in slots if not any(slot.overlaps(each) for each in avoid)), None)
        if expected is None:
            with pytest.raises(Unavailable):
                self.ipam.request_pool(request)
            return multiple()
        pool = self.ipam.request_pool(request)
        assert pool.subnet == expected
        return self.opened(pool, PoolRequest(4, subnet=pool.subnet))

    @rule(pool=consumes(out))
    def release_pool(self, pool: Pool) -> None:
        self.ipam.release_pool(pool.id)
        del self.pools[pool.id]
        if all(other.subnet != pool.subnet for other in self.pools.values()):
            del self.taken[self.network(pool)]
        with pytest.raises(NotFound):
            self.ipam.release_pool(pool.id)

    @rule(pool=out, times=st.integers(1, 20))
    def take_lowest(self, pool: Pool, times: int) -> None:
        for _ in range(times):
            free = self.free(pool)
            if not free:
                with pytest.raises(Unavailable):
                    self.ipam.request_address(pool.id)
                return
            got = self.ipam.request_address(pool.id)
            assert (int(got.ip), got.network) == (free[0], pool.subnet)
            self.taken[self.network(pool)].add(free[0])

    @rule(pool=out)
    def take_serial(self, pool: Pool) -> None:
        free = self.free(pool)
        if not free:
            with pytest.raises(Unavailable):
                self.ipam.request_address(pool.id, options=SERIAL)
            return
        got = int(self.ipam.request_address(pool.id, options=SERIAL).ip)
        assert got in free
        self.taken[self.network(pool)].add(got)

    @rule(pool=out, place=st.integers(0, 511))
    def take_named(self, pool: Pool, place: int) -> None:
        subnet = self.network(pool)
        address = subnet[place % subnet.num_addresses]
        if int(address) in self.taken[subnet] | self.reserved(subnet):
            with pytest.raises(Conflict):
                self.ipam.request_address(pool.id, address)
            return
        assert self.ipam.request_address(pool.id, address).ip == address
        self.taken[subnet].add(int(address))

    @rule(pool=out, place=st.integers(0, 511))
    def release(self, pool: Pool, place: int) -> None:
        subnet = self.network(pool)
        address = subnet[place % subnet.num_addresses]
        self.ipam.release_address(pool.id, address)
        self.taken[subnet].discard(int(address))

    @rule()
    def restart(self) -> None:
        """A new driver is told what is out, twice, and is not to be told from the old one."""
        self.ipam = DefaultIpam(BASES, ula_seed=b"")
        for _ in range(2):
            for pool in self.pools.values():
                said: list[IPAddress] = [IPv4Address(number) for number in self.taken[self.network(pool)]]
                self.ipam.reserve(pool, self.requests[pool.id], said)

    @invariant()
    def counts(self) -> None:
        for pool in self.pools.values():
            subnet = self.network(pool)
            assert self.ipam.status(pool.id) == (len(self.taken[subnet] | self.reserved(subnet)), len(self.free(pool)))


TestAgainstModel = AgainstModel.TestCase
TestAgainstModel.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
