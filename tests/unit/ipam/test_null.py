"""The IPAM driver that gives nothing."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest

from libnetwork_py.errors import InvalidParameter, NotFound, NotSupported
from libnetwork_py.ipam.api import IpamDriver, Pool, PoolRequest
from libnetwork_py.ipam.null import NullIpam
from libnetwork_py.types import FAMILIES

EVERYTHING = {4: "0.0.0.0/0", 6: "::/0"}


def test_it_is_an_ipam_driver() -> None:
    """The driver has the contract's methods, and is made without arguments."""
    assert isinstance(NullIpam(), IpamDriver)


@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_has_one_pool_for_all(family: int) -> None:
    """Whoever asks gets the same pool, any number of times, and may give it back as often."""
    ipam = NullIpam()
    request = PoolRequest(4 if family == 4 else 6)
    pools = [ipam.request_pool(request) for _ in range(3)]
    assert {(pool.id, str(pool.subnet)) for pool in pools} == {(f"null/{EVERYTHING[family]}", EVERYTHING[family])}
    for pool in pools:
        ipam.release_pool(pool.id)


@pytest.mark.parametrize(
    "request_",
    [PoolRequest(4, subnet=IPv4Network("10.0.0.0/8")), PoolRequest(4, ip_range=IPv4Network("10.0.0.0/8"))],
)
def test_subnet_is_refused(request_: PoolRequest) -> None:
    """A subnet or range that would be ignored is an error instead."""
    with pytest.raises(InvalidParameter, match=r"takes no subnet or range, not 10\.0\.0\.0/8"):
        NullIpam().request_pool(request_)


def test_there_are_no_addresses() -> None:
    """Asking for an address is not supported, whether a certain one or any; releasing one changes nothing."""
    ipam = NullIpam()
    pool = ipam.request_pool(PoolRequest(4))
    for address in (None, IPv4Address("10.0.0.1")):
        with pytest.raises(NotSupported, match="use the default IPAM driver"):
            ipam.request_address(pool.id, address)
    ipam.release_address(pool.id, IPv4Address("10.0.0.1"))


def test_unknown_pool_is_refused() -> None:
    """Every use of another pool's id is an error that names the two there are."""
    ipam = NullIpam()
    other = Pool("LocalDefault/10.0.0.0/8", IPv4Network("10.0.0.0/8"))
    for use in (
        lambda: ipam.release_pool(other.id),
        lambda: ipam.request_address(other.id),
        lambda: ipam.release_address(other.id, IPv4Address("10.0.0.1")),
        lambda: ipam.reserve(other, PoolRequest(4), []),
    ):
        with pytest.raises(NotFound, match=r"null/0\.0\.0\.0/0 and null/::/0"):
            use()


def test_replay_changes_nothing() -> None:
    """A recorded pool is taken as known; a recorded address cannot be one of this driver's."""
    ipam = NullIpam()
    pool = ipam.request_pool(PoolRequest(6))
    ipam.reserve(pool, PoolRequest(6), [])
    with pytest.raises(NotSupported):
        ipam.reserve(pool, PoolRequest(6), [IPv4Address("10.0.0.1")])
