"""The IPAM contract as tests: whoever writes an IPAM driver subclasses `IpamContract` and gives it one fixture.

.. code-block:: python

    class TestMyIpam(IpamContract):
        @pytest.fixture
        def ipam(self) -> IpamDriver:
            return MyIpam()

May import: ipam.api, types, errors, pytest.
"""

from __future__ import annotations

import ipaddress
from typing import ClassVar

import pytest

from ..errors import Conflict, InvalidParameter, NotFound, Unavailable
from ..ipam.api import IpamDriver, Pool, PoolRequest
from ..types import Family, IPAddress, IPNetwork, parse_network


class IpamContract:
    """Tests of `IpamDriver`; a subclass has a fixture ``ipam``: a new one for each test.

    Attributes:
        subnet: A small pool that it can give out, with three addresses at least.
        families: The families that it has pools of its own choice for.
        addresses: Whether it has addresses at all.
    """

    subnet: ClassVar[str] = "10.99.0.0/29"
    families: ClassVar[tuple[Family, ...]] = (4, 6)
    addresses: ClassVar[bool] = True

    def test_it_keeps_the_contract(self, ipam: IpamDriver) -> None:
        """It has the contract's methods."""
        assert isinstance(ipam, IpamDriver)

    def test_pools_of_its_choice(self, ipam: IpamDriver) -> None:
        """Asked for any pool of a family, it gives one of that family, each time another one that does not overlap the others."""
        for family in self.families:
            pools = [ipam.request_pool(PoolRequest(family)) for _ in range(3)]
            assert {pool.subnet.version for pool in pools} == {family}
            if self.addresses:
                assert not any(
                    one.subnet.overlaps(other.subnet) for one in pools for other in pools if one is not other
                )
            for pool in pools:
                ipam.release_pool(pool.id)

    def test_what_the_host_has_is_avoided(self, ipam: IpamDriver) -> None:
        """A pool of its choice overlaps nothing of what it is told to exclude."""
        if not self.addresses or not self.families:
            pytest.skip("it has no pools of its own choice")
        first = ipam.request_pool(PoolRequest(self.families[0]))
        ipam.release_pool(first.id)
        second = ipam.request_pool(PoolRequest(self.families[0], exclude=(first.subnet,)))
        assert not second.subnet.overlaps(first.subnet)

    def test_the_pool_that_is_asked_for(self, ipam: IpamDriver) -> None:
        """Asked for a pool, it gives that one, refuses one that overlaps it, and gives it again when it is back."""
        if not self.addresses:
            pytest.skip("it takes no subnet")
        pool = self._pool(ipam)
        assert pool.subnet == self._subnet
        with pytest.raises(Conflict):
            ipam.request_pool(PoolRequest(self._family, subnet=self._subnet))
        ipam.release_pool(pool.id)
        assert self._pool(ipam).subnet == self._subnet

    def test_an_unknown_pool(self, ipam: IpamDriver) -> None:
        """A pool that is not out cannot be given back, and has no addresses."""
        with pytest.raises(NotFound):
            ipam.release_pool("no such pool")
        with pytest.raises(NotFound):
            ipam.request_address("no such pool")

    def test_addresses_differ(self, ipam: IpamDriver) -> None:
        """Every address that it gives is of the pool, has its prefix length, and is no other's."""
        pool = self._pool(ipam)
        given = self._drain(ipam, pool)
        assert len(given) >= 3
        assert len(set(given)) == len(given)
        assert all(each in pool.subnet for each in given)
        with pytest.raises(Unavailable):
            ipam.request_address(pool.id)

    def test_an_address_comes_back(self, ipam: IpamDriver) -> None:
        """An address that came back can be given again; one that is not out may be given back all the same."""
        pool = self._pool(ipam)
        given = self._drain(ipam, pool)
        ipam.release_address(pool.id, given[1])
        assert ipam.request_address(pool.id).ip == given[1]
        ipam.release_address(pool.id, given[0])
        ipam.release_address(pool.id, given[0])

    def test_the_address_that_is_asked_for(self, ipam: IpamDriver) -> None:
        """Asked for an address, it gives that one, once; one outside the pool is refused."""
        pool = self._pool(ipam)
        wanted = self._drain(ipam, pool)[-1]
        ipam.release_address(pool.id, wanted)
        assert ipam.request_address(pool.id, wanted).ip == wanted
        with pytest.raises(Conflict):
            ipam.request_address(pool.id, wanted)
        with pytest.raises(InvalidParameter):
            ipam.request_address(
                pool.id, ipaddress.ip_address("203.0.113.7" if self._family == 4 else "2001:db8:ffff::7")
            )

    def test_it_can_be_told_again(self, ipam: IpamDriver) -> None:
        """Told what is out, once or twice, it gives none of that to anybody else."""
        pool = self._pool(ipam)
        given = [ipam.request_address(pool.id).ip for _ in range(2)]
        request = PoolRequest(self._family, subnet=self._subnet)
        for _ in range(2):
            ipam.reserve(pool, request, given)
        assert not set(self._drain(ipam, pool)) & set(given)

    @property
    def _subnet(self) -> IPNetwork:
        return parse_network(self.subnet)

    @property
    def _family(self) -> Family:
        return 6 if self._subnet.version == 6 else 4

    def _pool(self, ipam: IpamDriver) -> Pool:
        if not self.addresses:
            pytest.skip("it has no addresses")
        return ipam.request_pool(PoolRequest(self._family, subnet=self._subnet))

    def _drain(self, ipam: IpamDriver, pool: Pool) -> list[IPAddress]:
        given: list[IPAddress] = []
        try:
            while len(given) < 1000:
                got = ipam.request_address(pool.id)
                assert got.network == pool.subnet
                given.append(got.ip)
        except Unavailable:
            pass
        return given
