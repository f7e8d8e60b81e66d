"""What the default IPAM driver gives, refuses and says."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Interface, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import cast, get_args

import pytest

from libnetwork_py import labels
from libnetwork_py.errors import Conflict, InvalidParameter, NotFound, Unavailable
from libnetwork_py.ipam import default
from libnetwork_py.ipam.api import IpamDriver, Pool, PoolRequest
from libnetwork_py.ipam.default import DefaultIpam, PoolStatus
from libnetwork_py.types import EMPTY, Family, IPAddress, IPNetwork, Scope

SERIAL = {labels.IPAM_SERIAL: "true"}
GATEWAY = {labels.IPAM_REQUEST_ADDRESS_TYPE: labels.IPAM_GATEWAY}


@pytest.fixture
def ipam() -> DefaultIpam:
    """A driver with the reference's pools and a known host."""
    return DefaultIpam(ula_seed=b"host")


def wanted(
    subnet: str | None,
    ip_range: str | None = None,
    scope: Scope = "local",
    family: Family | None = None,
    exclude: Sequence[str] = (),
) -> PoolRequest:
    """Return a request, of the subnet's family unless told."""
    network = None if subnet is None else ip_network(subnet)
    found: Family = 6 if network is not None and network.version == 6 else 4
    return PoolRequest(
        family or found,
        scope,
        network,
        None if ip_range is None else ip_network(ip_range),
        [ip_network(each) for each in exclude],
    )


def take(ipam: DefaultIpam, pool: Pool, address: str | None = None, **options: str) -> str:
    """Return an address as text."""
    return str(
        ipam.request_address(pool.id, None if address is None else ip_address(address), options=options or EMPTY)
    )


def drain(ipam: DefaultIpam, pool: Pool) -> list[str]:
    """Take all that is left, at most a thousand."""
    got: list[str] = []
    for _ in range(1000):
        try:
            got.append(str(ipam.request_address(pool.id).ip))
        except Unavailable:
            return got
    raise AssertionError("the pool has no end")


def test_it_is_an_ipam_driver(ipam: DefaultIpam) -> None:
    """The driver has the contract's methods, and is made without arguments."""
    assert isinstance(ipam, IpamDriver)
    assert isinstance(DefaultIpam(), IpamDriver)


# Predefined pools


def test_local_pools_are_the_31_of_the_reference(ipam: DefaultIpam) -> None:
    """172.17/16 to 172.31/16, then 192.168.0/20 to 192.168.240/20, in that order and no more."""
    got = [str(ipam.request_pool(wanted(None)).subnet) for _ in range(31)]
    expected = [f"172.{n}.0.0/16" for n in range(17, 32)] + [f"192.168.{n}.0/20" for n in range(0, 256, 16)]
    assert got == expected
    with pytest.raises(Unavailable, match="delete unused networks, give a subnet, or configure") as error:
        ipam.request_pool(wanted(None))
    assert error.value.code == "pools_exhausted"


def test_global_pools_are_65536_of_24(ipam: DefaultIpam) -> None:
    """A cluster has every /24 of 10.0.0.0/8, each once."""
    got = {ipam.request_pool(wanted(None, scope="global")).subnet for _ in range(65_536)}
    assert len(got) == 65_536
    assert all(subnet.prefixlen == 24 for subnet in got)
    with pytest.raises(Unavailable, match="global IPv4"):
        ipam.request_pool(wanted(None, scope="global"))


def test_returned_subnet_is_chosen_again(ipam: DefaultIpam) -> None:
    """A subnet that was given back is the next one to be chosen."""
    pools = [ipam.request_pool(wanted(None)) for _ in range(5)]
    ipam.release_pool(pools[3].id)
    ipam.release_pool(pools[1].id)
    assert ipam.request_pool(wanted(None)).subnet == pools[1].subnet
    assert ipam.request_pool(wanted(None)).subnet == pools[3].subnet


def test_ipv6_pools_are_64s_of_the_hosts_unique_local_48(ipam: DefaultIpam) -> None:
    """The /48 is fd00::/8 and the low 40 bits of the first eight bytes of SHA-256 of the host's id."""
    number = int.from_bytes(hashlib.sha256(b"host").digest()[:8], "big") & (1 << 40) - 1
    first = int(IPv6Address("fd00::")) + (number << 80)
    got = [ipam.request_pool(wanted(None, family=6)).subnet for _ in range(3)]
    assert got == [IPv6Network((first + (n << 64), 64)) for n in range(3)]


def test_two_hosts_have_different_unique_local_prefixes() -> None:
    """The prefix follows the host's id, and stays the same for the same id."""
    first, again, other = (
        DefaultIpam(ula_seed=seed).request_pool(wanted(None, family=6)).subnet for seed in (b"a", b"a", b"b")
    )
    assert first == again
    assert first != other


def test_machine_id_tells_the_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a seed the machine id is it; a machine id that is not set yet gives way to the host's name."""
    path = tmp_path / "machine-id"
    monkeypatch.setattr(default, "MACHINE_ID", path)

    def subnet() -> IPNetwork:
        return DefaultIpam().request_pool(wanted(None, family=6)).subnet

    by_name = subnet()
    path.write_text("uninitialized\n")
    assert subnet() == by_name
    path.write_text("0123456789abcdef0123456789abcdef\n")
    seeded = DefaultIpam(ula_seed=b"0123456789abcdef0123456789abcdef")
    assert subnet() == seeded.request_pool(wanted(None, family=6)).subnet != by_name


def test_configured_pools_replace_a_familys_own() -> None:
    """A configured IPv4 pool replaces the predefined IPv4 ones and leaves IPv6 as it was; the other way round too."""
    four = DefaultIpam([(IPv4Network("10.9.0.0/16"), 24)], ula_seed=b"host")
    assert str(four.request_pool(wanted(None)).subnet) == "10.9.0.0/24"
    assert four.request_pool(wanted(None, family=6)).subnet.subnet_of(IPv6Network("fd00::/8"))  # type: ignore[arg-type]
    six = DefaultIpam([(IPv6Network("fd12::/48"), 64)])
    assert str(six.request_pool(wanted(None, family=6)).subnet) == "fd12::/64"
    assert str(six.request_pool(wanted(None)).subnet) == "172.17.0.0/16"


@pytest.mark.parametrize(
    ("base", "size"), [("10.0.0.0/16", 15), ("0.0.0.0/0", 0), ("10.0.0.0/8", 33), ("fd00::/48", 129)]
)
def test_pool_that_cannot_be_cut_is_refused(base: str, size: int) -> None:
    """A size of zero, shorter than the base's prefix or longer than an address is an error that names the range allowed."""
    with pytest.raises(
        InvalidParameter, match=f"cannot be cut into subnets of /{size}: the size is a prefix length from"
    ):
        DefaultIpam([(ip_network(base), size)])


def test_pool_inside_another_is_dropped() -> None:
    """Of configured pools that overlap the larger counts, in whatever order they are given."""
    ipam = DefaultIpam([(IPv4Network("10.1.0.0/16"), 24), (IPv4Network("10.0.0.0/15"), 16)])
    assert [str(ipam.request_pool(wanted(None)).subnet) for _ in range(2)] == ["10.0.0.0/16", "10.1.0.0/16"]
    with pytest.raises(Unavailable):
        ipam.request_pool(wanted(None))


def test_chosen_subnet_avoids_what_is_excluded(ipam: DefaultIpam) -> None:
    """Whatever part of a predefined subnet the host routes, the subnet is passed over; the other family's routes do not matter."""
    exclude = ["172.17.5.1/32", "172.18.0.0/15", "::/0", "172.20.0.0/14", "172.21.0.0/16", "10.0.0.0/8"]
    assert str(ipam.request_pool(wanted(None, exclude=exclude)).subnet) == "172.24.0.0/16"
    assert str(ipam.request_pool(wanted(None)).subnet) == "172.17.0.0/16"


@pytest.mark.parametrize("edge", ["172.17.0.0/32", "172.17.255.255/32"])
def test_first_and_last_address_count_as_overlap(ipam: DefaultIpam, edge: str) -> None:
    """A host route to a subnet's very first or last address excludes it, and one that is out there is an overlap."""
    assert str(ipam.request_pool(wanted(None, exclude=[edge])).subnet) == "172.18.0.0/16"
    ipam.request_pool(wanted(edge))
    with pytest.raises(Conflict, match=f"overlaps {edge}"):
        ipam.request_pool(wanted("172.17.0.0/16"))


def test_excluding_everything_is_exhaustion(ipam: DefaultIpam) -> None:
    """Where the host routes all of the predefined pools, the error says so."""
    with pytest.raises(Unavailable, match="overlaps what the host routes"):
        ipam.request_pool(wanted(None, exclude=["172.0.0.0/8", "192.168.0.0/16"]))


def test_subnet_that_was_asked_for_may_be_excluded(ipam: DefaultIpam) -> None:
    """Exclusion guides IPAM's own choice, not the caller's."""
    assert ipam.request_pool(wanted("10.1.0.0/16", exclude=["10.0.0.0/8"])).subnet == IPv4Network("10.1.0.0/16")


def test_chosen_subnet_avoids_what_callers_took(ipam: DefaultIpam) -> None:
    """A subnet of the caller's own inside, or around, predefined ones keeps them from being chosen until it is back."""
    inside = ipam.request_pool(wanted("172.17.7.0/30"))
    around = ipam.request_pool(wanted("172.18.0.0/15"))
    first = ipam.request_pool(wanted(None))
    assert str(first.subnet) == "172.20.0.0/16"
    ipam.release_pool(around.id)
    assert str(ipam.request_pool(wanted(None)).subnet) == "172.18.0.0/16"
    ipam.release_pool(inside.id)
    assert str(ipam.request_pool(wanted(None)).subnet) == "172.17.0.0/16"


def test_slot_stays_taken_while_anything_in_it_is(ipam: DefaultIpam) -> None:
    """A predefined subnet with two callers' subnets in it is free only when both are back."""
    one, two = (ipam.request_pool(wanted(subnet)) for subnet in ("172.17.7.0/30", "172.17.9.0/30"))
    ipam.release_pool(ipam.request_pool(wanted(None)).id)
    ipam.release_pool(one.id)
    assert str(ipam.request_pool(wanted(None)).subnet) == "172.18.0.0/16"
    ipam.release_pool(two.id)
    assert str(ipam.request_pool(wanted(None)).subnet) == "172.17.0.0/16"


def test_size_only_request(ipam: DefaultIpam) -> None:
    """``0.0.0.0/N`` and ``::/N`` mean any predefined subnet of that size, smaller or larger than the usual; /0 means the usual."""
    assert str(ipam.request_pool(wanted("0.0.0.0/24")).subnet) == "172.17.0.0/24"
    assert str(ipam.request_pool(wanted("0.0.0.0/24")).subnet) == "172.17.1.0/24"
    assert str(ipam.request_pool(wanted("0.0.0.0/15")).subnet) == "172.20.0.0/15"
    assert str(ipam.request_pool(wanted("0.0.0.0/0")).subnet) == "172.18.0.0/16"
    assert ipam.request_pool(wanted("::/80")).subnet.prefixlen == 80
    with pytest.raises(InvalidParameter, match=r"no predefined local IPv4 pool .* is large enough for a /12"):
        ipam.request_pool(wanted("0.0.0.0/12"))


def test_cluster_has_no_ipv6_pool_of_its_own(ipam: DefaultIpam) -> None:
    """Two hosts would derive different ones, so a global IPv6 subnet has to be given."""
    with pytest.raises(InvalidParameter, match="give a subnet") as error:
        ipam.request_pool(wanted(None, scope="global", family=6))
    assert error.value.code == "no_predefined_pools"
    assert ipam.request_pool(wanted("fd01::/64", scope="global")).id == "GlobalDefault/fd01::/64"


# Pools of the caller's own


@pytest.mark.parametrize("other", ["10.1.0.0/16", "10.0.0.0/8", "10.1.2.0/24", "10.1.255.255/32", "10.0.0.0/15"])
def test_overlap_names_the_other_subnet(ipam: DefaultIpam, other: str) -> None:
    """A subnet that equals, holds or lies in one that is out is a conflict that names it."""
    ipam.request_pool(wanted("10.1.0.0/16"))
    with pytest.raises(Conflict, match=r"10\.1\.0\.0/16") as error:
        ipam.request_pool(wanted(other))
    assert (error.value.code, error.value.other) == ("pool_overlap", "10.1.0.0/16")


def test_neighbours_do_not_overlap(ipam: DefaultIpam) -> None:
    """Subnets that only touch, the other scope and the other family are no conflict."""
    for subnet in ("10.1.0.0/16", "10.0.0.0/16", "10.2.0.0/15"):
        ipam.request_pool(wanted(subnet))
    assert ipam.request_pool(wanted("10.1.0.0/16", scope="global")).id == "GlobalDefault/10.1.0.0/16"
    ipam.request_pool(wanted("fd00::/8"))


def test_range_does_not_hide_an_overlap(ipam: DefaultIpam) -> None:
    """A different subnet that overlaps is refused with a range as without one (the reference lets it pass: moby#46756)."""
    ipam.request_pool(wanted("10.0.0.0/8"))
    with pytest.raises(Conflict, match=r"overlaps 10\.0\.0\.0/8"):
        ipam.request_pool(wanted("10.0.0.0/16", "10.0.0.0/24"))


def test_ranges_of_one_subnet_share_its_addresses(ipam: DefaultIpam) -> None:
    """Networks with ranges of one subnet, overlapping even, never get the same address."""
    one = ipam.request_pool(wanted("10.0.0.0/24", "10.0.0.0/29"))
    two = ipam.request_pool(wanted("10.0.0.0/24", "10.0.0.0/28"))
    got = drain(ipam, one) + drain(ipam, two)
    assert got == [f"10.0.0.{n}" for n in range(1, 16)]
    assert (one.id, two.id) == ("LocalDefault/10.0.0.0/24/10.0.0.0/29", "LocalDefault/10.0.0.0/24/10.0.0.0/28")


def test_same_range_twice_is_a_conflict(ipam: DefaultIpam) -> None:
    """One range belongs to one network."""
    ipam.request_pool(wanted("10.0.0.0/24", "10.0.0.0/29"))
    with pytest.raises(Conflict, match="choose another range"):
        ipam.request_pool(wanted("10.0.0.0/24", "10.0.0.0/29"))


def test_whole_subnet_is_not_shared_unasked(ipam: DefaultIpam) -> None:
    """A request for a subnet that is out is told how to share it; with a range it may."""
    ipam.request_pool(wanted("10.0.0.0/24"))
    with pytest.raises(Conflict, match="share it by an ip_range"):
        ipam.request_pool(wanted("10.0.0.0/24"))
    assert ipam.request_pool(wanted("10.0.0.0/24", "10.0.0.128/25")).ip_range == IPv4Network("10.0.0.128/25")


def test_subnet_lives_until_its_last_pool_is_back(ipam: DefaultIpam) -> None:
    """While a range of it is out a subnet keeps its addresses, and is no more to be had."""
    whole = ipam.request_pool(wanted("10.0.0.0/24"))
    part = ipam.request_pool(wanted("10.0.0.0/24", "10.0.0.0/25"))
    take(ipam, whole, "10.0.0.9")
    ipam.release_pool(whole.id)
    with pytest.raises(Conflict):
        ipam.request_pool(wanted("10.0.0.0/24"))
    with pytest.raises(Conflict, match="in use"):
        take(ipam, part, "10.0.0.9")
    ipam.release_pool(part.id)
    assert take(ipam, ipam.request_pool(wanted("10.0.0.0/24")), "10.0.0.9") == "10.0.0.9/24"


def test_larger_range_counts_as_the_subnet(ipam: DefaultIpam) -> None:
    """A range that holds the subnet is cut down to it, as in the reference."""
    assert ipam.request_pool(wanted("10.0.0.0/24", "10.0.0.0/8")).ip_range == IPv4Network("10.0.0.0/24")


@pytest.mark.parametrize("ip_range", ["10.0.1.0/25", "fd00::/64"])
def test_range_outside_the_subnet_is_refused(ipam: DefaultIpam, ip_range: str) -> None:
    """A range elsewhere, or of the other family, is an error; the subnet stays free."""
    with pytest.raises(InvalidParameter, match="does not lie in subnet") as error:
        ipam.request_pool(wanted("10.0.0.0/24", ip_range))
    assert error.value.code == "range_outside_subnet"
    ipam.request_pool(wanted("10.0.0.0/24"))


@pytest.mark.parametrize("subnet", [None, "0.0.0.0/24"])
def test_range_needs_its_subnet(ipam: DefaultIpam, subnet: str | None) -> None:
    """A range without the subnet it belongs to is an error."""
    with pytest.raises(InvalidParameter, match="give a subnet too"):
        ipam.request_pool(wanted(subnet, "10.0.0.0/25"))


def test_families_must_agree(ipam: DefaultIpam) -> None:
    """An IPv6 subnet is no answer to an IPv4 request."""
    with pytest.raises(InvalidParameter, match="is not an IPv4 network"):
        ipam.request_pool(wanted("fd00::/64", family=4))


def test_unknown_scope_is_refused(ipam: DefaultIpam) -> None:
    """There are two address spaces."""
    assert set(default.SPACES) == set(get_args(Scope))
    with pytest.raises(InvalidParameter, match="cannot find address space 'swarm'"):
        ipam.request_pool(wanted(None, scope=cast("Scope", "swarm")))


def test_unknown_option_is_refused(ipam: DefaultIpam) -> None:
    """A misspelt option gets a suggestion, another one the list, a bad value the good ones; nothing is out afterwards."""
    for options, text in (
        ({"com.docker.network.ipam.seriel": "true"}, f"did you mean '{labels.IPAM_SERIAL}'"),
        ({"colour": "blue"}, f"it knows '{labels.IPAM_SERIAL}'"),
        ({labels.IPAM_SERIAL: "yes"}, "must be 'true' or 'false'"),
    ):
        with pytest.raises(InvalidParameter, match=text):
            ipam.request_pool(PoolRequest(4, subnet=IPv4Network("10.0.0.0/24"), options=options))
    ipam.request_pool(PoolRequest(4, subnet=IPv4Network("10.0.0.0/24"), options=SERIAL))


def test_released_pool_is_unknown(ipam: DefaultIpam) -> None:
    """After its release every use of a pool's id is an error that names it."""
    pool = ipam.request_pool(wanted("10.0.0.0/24"))
    ipam.release_pool(pool.id)
    for use in (
        lambda: ipam.release_pool(pool.id),
        lambda: ipam.request_address(pool.id),
        lambda: ipam.release_address(pool.id, IPv4Address("10.0.0.1")),
        lambda: ipam.status(pool.id),
    ):
        with pytest.raises(NotFound, match=pool.id):
            use()


# Addresses


@pytest.mark.parametrize(
    ("subnet", "expected"),
    [
        ("10.0.0.0/29", [f"10.0.0.{n}" for n in range(1, 7)]),
        ("10.0.0.0/30", ["10.0.0.1", "10.0.0.2"]),
        ("10.0.0.2/31", ["10.0.0.2", "10.0.0.3"]),
        ("10.0.0.9/32", ["10.0.0.9"]),
        ("fd00::/125", [f"fd00::{n}" for n in range(1, 8)]),
        ("fd00::/126", ["fd00::1", "fd00::2", "fd00::3"]),
        ("fd00::2/127", ["fd00::2", "fd00::3"]),
        ("fd00::9/128", ["fd00::9"]),
    ],
)
def test_every_usable_address_is_given_once(ipam: DefaultIpam, subnet: str, expected: list[str]) -> None:
    """All but network and broadcast address, lowest first; a /31, /32, /127 and /128 have neither; IPv6 has no broadcast."""
    pool = ipam.request_pool(wanted(subnet))
    assert drain(ipam, pool) == expected
    assert ipam.status(pool.id).available == 0


def test_address_has_the_subnets_prefix_length(ipam: DefaultIpam) -> None:
    """An address comes with the subnet's prefix length, not the range's."""
    assert take(ipam, ipam.request_pool(wanted("10.0.0.0/16", "10.0.5.0/24"))) == "10.0.5.0/16"
    assert ipam.request_address(ipam.request_pool(wanted("fd00::/64")).id) == IPv6Interface("fd00::1/64")


def test_lowest_free_address_comes_first(ipam: DefaultIpam) -> None:
    """A released address is the next to be given."""
    pool = ipam.request_pool(wanted("10.0.0.0/24"))
    for _ in range(9):
        take(ipam, pool)
    for last in (7, 3):
        ipam.release_address(pool.id, IPv4Address(f"10.0.0.{last}"))
    assert [take(ipam, pool) for _ in range(3)] == ["10.0.0.3/24", "10.0.0.7/24", "10.0.0.10/24"]


def test_serial_order_goes_on_after_the_last(ipam: DefaultIpam) -> None:
    """In serial order a released address waits until the range has been gone through; then it starts over."""
    pool = ipam.request_pool(wanted("10.0.0.0/29"))
    got: list[str] = []
    for _ in range(8):
        address = ipam.request_address(pool.id, options=SERIAL)
        got.append(str(address.ip))
        ipam.release_address(pool.id, address.ip)
    assert got == [f"10.0.0.{n}" for n in (1, 2, 3, 4, 5, 6, 1, 2)]


def test_gateway_is_the_lowest_even_in_serial_order(ipam: DefaultIpam) -> None:
    """A gateway is asked for with an option of its own and gets the lowest free address."""
    pool = ipam.request_pool(wanted("10.0.0.0/24"))
    for _ in range(3):
        ipam.request_address(pool.id, options=SERIAL)
    ipam.release_address(pool.id, IPv4Address("10.0.0.1"))
    assert str(ipam.request_address(pool.id, options={**SERIAL, **GATEWAY}).ip) == "10.0.0.1"
    assert str(ipam.request_address(pool.id, options=SERIAL).ip) == "10.0.0.4"


def test_address_in_use_is_a_conflict(ipam: DefaultIpam) -> None:
    """An address is given to one at a time."""
    pool = ipam.request_pool(wanted("10.0.0.0/24"))
    take(ipam, pool, "10.0.0.9")
    with pytest.raises(Conflict, match=r"10\.0\.0\.9 of 10\.0\.0\.0/24 is in use") as error:
        take(ipam, pool, "10.0.0.9")
    assert error.value.code == "address_in_use"
    ipam.release_address(pool.id, IPv4Address("10.0.0.9"))
    assert take(ipam, pool, "10.0.0.9") == "10.0.0.9/24"


@pytest.mark.parametrize(
    ("subnet", "address", "kind"),
    [
        ("10.0.0.0/24", "10.0.0.0", "network"),
        ("10.0.0.0/24", "10.0.0.255", "broadcast"),
        ("fd00::/64", "fd00::", "subnet-router anycast"),
    ],
)
def test_reserved_address_is_never_given_nor_freed(ipam: DefaultIpam, subnet: str, address: str, kind: str) -> None:
    """Asking for a reserved address is a conflict that says which it is, also after somebody released it."""
    pool = ipam.request_pool(wanted(subnet))
    ipam.release_address(pool.id, ip_address(address))
    with pytest.raises(Conflict, match=f"is the {kind} address"):
        take(ipam, pool, address)
    assert ipam.status(pool.id).in_use == (2 if subnet.startswith("10") else 1)


@pytest.mark.parametrize("address", ["10.0.1.0", "9.255.255.255", "fd00::1"])
def test_address_outside_the_subnet_is_refused(ipam: DefaultIpam, address: str) -> None:
    """An address elsewhere can neither be had nor given back."""
    pool = ipam.request_pool(wanted("10.0.0.0/24", "10.0.0.0/25"))
    with pytest.raises(InvalidParameter, match=r"does not lie in 10\.0\.0\.0/24"):
        take(ipam, pool, address)
    with pytest.raises(InvalidParameter, match=r"does not lie in 10\.0\.0\.0/24"):
        ipam.release_address(pool.id, ip_address(address))


def test_address_outside_the_range_may_be_asked_for(ipam: DefaultIpam) -> None:
    """The range limits IPAM's choice; the rest of the subnet can be asked for by name."""
    pool = ipam.request_pool(wanted("10.0.0.0/24", "10.0.0.0/30"))
    assert take(ipam, pool, "10.0.0.200") == "10.0.0.200/24"
    assert drain(ipam, pool) == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]


def test_exhaustion_says_what_to_do(ipam: DefaultIpam) -> None:
    """A full pool says what is full and what helps, and has an address again after a release."""
    whole, part = ipam.request_pool(wanted("10.0.0.0/29")), ipam.request_pool(wanted("10.1.0.0/24", "10.1.0.8/29"))
    drain(ipam, whole)
    drain(ipam, part)
    with pytest.raises(
        Unavailable, match=r"10\.0\.0\.0/29: delete endpoints that are not needed, or use a .*larger subnet"
    ):
        take(ipam, whole)
    with pytest.raises(Unavailable, match=r"range 10\.1\.0\.8/29 of 10\.1\.0\.0/24: delete endpoints") as error:
        take(ipam, part)
    assert error.value.code == "addresses_exhausted"
    ipam.release_address(whole.id, IPv4Address("10.0.0.4"))
    assert take(ipam, whole) == "10.0.0.4/29"


def test_exhausted_in_serial_order_too(ipam: DefaultIpam) -> None:
    """Serial order ends when the range is full, and finds the one that was freed wherever it stands."""
    pool = ipam.request_pool(wanted("10.0.0.0/29"))
    for _ in range(6):
        ipam.request_address(pool.id, options=SERIAL)
    with pytest.raises(Unavailable):
        ipam.request_address(pool.id, options=SERIAL)
    ipam.release_address(pool.id, IPv4Address("10.0.0.2"))
    assert str(ipam.request_address(pool.id, options=SERIAL).ip) == "10.0.0.2"


def test_releasing_what_is_not_out_is_no_error(ipam: DefaultIpam) -> None:
    """An address may be released twice."""
    pool = ipam.request_pool(wanted("10.0.0.0/24"))
    for _ in range(2):
        ipam.release_address(pool.id, IPv4Address("10.0.0.9"))
    assert ipam.status(pool.id) == PoolStatus(2, 254)


def test_status_counts_the_subnet_and_what_the_range_has_left(ipam: DefaultIpam) -> None:
    """In use is what is taken of the subnet, reserved addresses included; available is what the range has left."""
    whole = ipam.request_pool(wanted("10.0.0.0/24"))
    part = ipam.request_pool(wanted("10.0.0.0/24", "10.0.0.0/28"))
    take(ipam, part)
    take(ipam, part, "10.0.0.100")
    assert ipam.status(whole.id) == PoolStatus(in_use=4, available=252)
    assert ipam.status(part.id) == PoolStatus(in_use=4, available=14)
    huge = ipam.request_pool(wanted("fd00::/8"))
    assert ipam.status(huge.id) == PoolStatus(1, (1 << 120) - 1)


# Replay


def addresses(*text: str) -> list[IPAddress]:
    """Return addresses."""
    return [ip_address(each) for each in text]


def test_replay_restores_pools_and_addresses(ipam: DefaultIpam) -> None:
    """A new driver that is told what was out goes on as the old one would have; telling twice changes nothing."""
    requests = [wanted(None), wanted("10.0.0.0/24", "10.0.0.0/28"), wanted(None, family=6)]
    pools = [ipam.request_pool(request) for request in requests]
    given = [[ipam.request_address(pool.id).ip for _ in range(3)] for pool in pools]
    later = DefaultIpam(ula_seed=b"host")
    for _ in range(2):
        for pool, request, those in zip(pools, requests, given, strict=True):
            later.reserve(pool, request, those[:1])
            later.reserve(pool, request, those)
    for pool in pools:
        assert later.status(pool.id) == ipam.status(pool.id)
        assert later.request_address(pool.id) == ipam.request_address(pool.id)
        later.release_pool(pool.id)
        with pytest.raises(NotFound):
            later.release_pool(pool.id)


def test_replayed_pool_is_not_chosen_again(ipam: DefaultIpam) -> None:
    """What is out after a replay is neither chosen nor to be had, until it is released."""
    pool = Pool("LocalDefault/172.17.0.0/16", IPv4Network("172.17.0.0/16"))
    ipam.reserve(pool, wanted("172.17.0.0/16"), addresses("172.17.0.1", "172.17.0.0"))
    assert str(ipam.request_pool(wanted(None)).subnet) == "172.18.0.0/16"
    with pytest.raises(Conflict):
        ipam.request_pool(wanted("172.17.0.0/16"))
    assert take(ipam, pool) == "172.17.0.2/16"
    ipam.release_pool(pool.id)
    assert str(ipam.request_pool(wanted(None)).subnet) == "172.17.0.0/16"


def test_replay_believes_records_that_overlap(ipam: DefaultIpam) -> None:
    """Two recorded subnets that overlap are both taken as they are, and each goes back alone."""
    outer, inner = (Pool(f"LocalDefault/{text}", ip_network(text)) for text in ("172.16.0.0/12", "172.17.0.0/16"))
    for pool in (outer, inner):
        ipam.reserve(pool, wanted(str(pool.subnet)), [])
    assert str(ipam.request_pool(wanted(None)).subnet) == "192.168.0.0/20"
    ipam.release_pool(outer.id)
    assert str(ipam.request_pool(wanted(None)).subnet) == "172.18.0.0/16"
    ipam.release_pool(inner.id)
    assert str(ipam.request_pool(wanted(None)).subnet) == "172.17.0.0/16"


def test_replay_of_an_address_elsewhere_is_refused(ipam: DefaultIpam) -> None:
    """A record whose address does not fit its subnet is an error, and none of its addresses is noted."""
    pool = Pool("LocalDefault/10.0.0.0/24", IPv4Network("10.0.0.0/24"))
    with pytest.raises(InvalidParameter, match="does not lie in"):
        ipam.reserve(pool, wanted("10.0.0.0/24"), addresses("10.0.0.5", "10.0.1.5"))
    assert take(ipam, pool, "10.0.0.5") == "10.0.0.5/24"
