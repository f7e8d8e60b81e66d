"""What the overlay driver takes, refuses and describes, without root and without a cluster (goldens under ``tests/golden/overlay``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest
from attrs import evolve

from libnetwork_py import labels
from libnetwork_py.desired import HOST, Change, Description, Forwarding, Neighbour, between
from libnetwork_py.drivers.api import Context, Peer, Surroundings
from libnetwork_py.drivers.overlay.driver import OverlayDriver
from libnetwork_py.endpoint import EndpointRecord
from libnetwork_py.errors import Conflict, InvalidParameter, LibnetworkError, NotSupported
from libnetwork_py.facts import LinkFact
from libnetwork_py.firewall.table import table
from libnetwork_py.network import NetworkRecord, Subnet
from libnetwork_py.render import render
from libnetwork_py.sandbox import SandboxRecord
from libnetwork_py.testing import FakeKernel
from libnetwork_py.types import IPAddress, MacAddress

DRIVER = OverlayDriver()
HERE, HERE_IPV6 = ip_address("192.0.2.1"), ip_address("2001:db8::1")
WEB = SandboxRecord("5" * 64, "web", "/run/netns/web")


def network(*subnets: str, vnis: tuple[int, ...] = (4096, 4097), **fields: Any) -> NetworkRecord:
    """A network with these subnets, the first address of each its gateway."""
    given = tuple(Subnet(text, ip_network(text), ip_network(text)[1]) for text in subnets)
    fields = {"ipv6": any(each.family == 6 for each in given)} | fields
    record = NetworkRecord("a1" * 32, "net", "overlay", "global", subnets=given, vnis=vnis[: len(given)], **fields)
    return DRIVER.check_network(record, surroundings())


def surroundings(vtep: IPAddress | None = HERE, mtu: int = 1500, **fields: Any) -> Surroundings:
    """A host with two addresses in the underlay."""
    uplink = LinkFact("ens3", 2, "", "52:54:00:00:00:02", mtu, up=True)
    kernel = FakeKernel(host_links=[uplink], host_addresses={"ens3": [f"{HERE}/24", f"{HERE_IPV6}/64"]})
    return Surroundings(kernel.facts(), vtep=vtep, **fields)


def context(*peers: Peer, vtep: IPAddress | None = HERE) -> Context:
    """What the library tells the driver on this host."""
    return Context(table(HOST, "lnw"), {}, peers=peers, vtep=vtep, controller="c0" * 16)


def peer(number: int, *addresses: str, vtep: str = "192.0.2.2") -> Peer:
    """An endpoint on another host."""
    mac = MacAddress(b"\x02\x42\x0a\x07\x00" + bytes([number]))
    return Peer(f"{number:064x}", tuple(map(ip_interface, addresses)), mac, ip_address(vtep))


def endpoint(*addresses: str) -> EndpointRecord:
    """An endpoint of this host, joined."""
    record = EndpointRecord("e0" * 32, "web", "a1" * 32, "5" * 64, tuple(map(ip_interface, addresses)), ifname="eth0")
    return DRIVER.check_endpoint(network("10.7.0.0/24"), record)


def lines(words: Description) -> str:
    """The words as lines that make them."""
    return render(Change(make=words))


SHAPES: Mapping[str, tuple[tuple[str, ...], tuple[Peer, ...]]] = {
    "alone": (("10.7.0.0/24",), ()),
    "peers": (("10.7.0.0/24",), (peer(2, "10.7.0.2/24"), peer(3, "10.7.0.3/24", vtep="192.0.2.3"))),
    "dual_stack": (("10.7.0.0/24", "fd00:7::/64"), (peer(2, "10.7.0.2/24", "fd00:7::2/64"),)),
    "two_subnets": (("10.7.0.0/24", "10.8.0.0/24"), (peer(2, "10.7.0.2/24"), peer(3, "10.8.0.3/24"))),
    "ipv6_alone": (("fd00:7::/64",), (peer(2, "fd00:7::2/64"),)),
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_network_on_a_host(golden: Callable[[str, str], None], name: str) -> None:
    """A network and an endpoint on it are described like this on a host."""
    subnets, peers = SHAPES[name]
    made = network(*subnets)
    first = {each.family: each.subnet for each in reversed(made.subnets)}
    joined = endpoint(*(f"{each[9]}/{each.prefixlen}" for _, each in sorted(first.items())))
    described = DRIVER.describe_endpoint(made, joined, WEB, context()).words
    golden(f"overlay/{name}.txt", lines(DRIVER.describe_network(made, context(*peers))) + "\n" + lines(described))


def test_a_network_over_ipv6(golden: Callable[[str, str], None]) -> None:
    """Over an IPv6 underlay the tunnels have that family, and endpoints 20 bytes less."""
    record = evolve(network("10.7.0.0/24"), decided={})
    made = DRIVER.check_network(record, surroundings(HERE_IPV6))
    words = DRIVER.describe_network(made, context(peer(2, "10.7.0.2/24", vtep="2001:db8::2"), vtep=HERE_IPV6))
    golden("overlay/ipv6_underlay.txt", lines(words))


def test_a_peer_that_moves_is_one_line(golden: Callable[[str, str], None]) -> None:
    """When a peer moves to another host, one comes and one goes, only what is new about them is said."""
    made = network("10.7.0.0/24")
    stays = peer(2, "10.7.0.2/24")
    before = context(stays, peer(3, "10.7.0.3/24"), peer(4, "10.7.0.4/24"))
    after = context(stays, peer(3, "10.7.0.3/24", vtep="192.0.2.3"), peer(5, "10.7.0.5/24"))
    change = between(DRIVER.describe_network(made, before), DRIVER.describe_network(made, after), "peers of net")
    golden("overlay/change.txt", render(change))


def test_a_host_without_underlay_has_nothing() -> None:
    """Where the library names no address of the host, or no numbers, nothing is described."""
    made = network("10.7.0.0/24")
    assert DRIVER.describe_network(made, context(vtep=None)) == ()
    assert DRIVER.describe_network(evolve(made, vnis=()), context()) == ()


def test_who_cannot_be_reached_is_left_out() -> None:
    """A peer behind an address of the other family, or in no subnet of the network, has no entry, and harms no other."""
    made = network("10.7.0.0/24")
    good = peer(2, "10.7.0.2/24")
    strange = (peer(3, "10.7.0.3/24", vtep="2001:db8::3"), peer(4, "10.9.0.4/24"), peer(5))
    words = DRIVER.describe_network(made, context(*strange, good))
    assert [word for word in words if isinstance(word, Neighbour | Forwarding)] == [
        word for word in DRIVER.describe_network(made, context(good)) if isinstance(word, Neighbour | Forwarding)
    ]


def test_two_peers_with_one_mac_address() -> None:
    """Of two peers with the same MAC address the one with the lower id is believed, in whatever order they come."""
    made = network("10.7.0.0/24")
    one, other = peer(2, "10.7.0.2/24"), evolve(peer(3, "10.7.0.3/24", vtep="192.0.2.3"), mac=peer(2).mac)
    words = [DRIVER.describe_network(made, context(*pair)) for pair in ((one, other), (other, one))]
    assert words[0] == words[1]
    assert [word.vtep for word in words[0] if isinstance(word, Forwarding)] == [one.vtep]


@pytest.mark.parametrize(
    ("given", "underlay", "inner"),
    [("0", 1500, "1450"), ("0", 9000, "1450"), ("0", 1400, "1350"), ("9000", 9000, "8950"), ("1300", 1500, "1250")],
)
def test_the_mtu(given: str, underlay: int, inner: str) -> None:
    """Endpoints have what the option, or else the underlay up to 1500 bytes, leaves after the tunnel's 50 bytes."""
    record = NetworkRecord("a" * 64, "net", "overlay", options={labels.DRIVER_MTU: given})
    assert DRIVER.check_network(record, surroundings(mtu=underlay)).decided["overlay.mtu"] == inner


def test_the_mtu_counts_on_every_host() -> None:
    """What was decided where a network was created stays, and a host whose underlay does not take it refuses the network."""
    made = network("10.7.0.0/24")
    assert DRIVER.check_network(made, surroundings(mtu=9000)).decided == made.decided
    with pytest.raises(InvalidParameter, match="takes packets of 1400 bytes") as caught:
        DRIVER.check_network(made, surroundings(mtu=1400))
    assert caught.value.code == "underlay_mtu"


BAD: Mapping[str, tuple[dict[str, str], type[LibnetworkError], str]] = {
    "encrypted": ({labels.OVERLAY_ENCRYPTED: ""}, NotSupported, "not sent in clear"),
    "encrypted=false": ({labels.OVERLAY_ENCRYPTED: "false"}, NotSupported, "not supported yet"),
    "number 0": ({labels.OVERLAY_VXLAN_IDS: "0"}, InvalidParameter, "'0' is no number between 1 and 16777215"),
    "number too large": ({labels.OVERLAY_VXLAN_IDS: "16777216"}, InvalidParameter, "no number between"),
    "no number": ({labels.OVERLAY_VXLAN_IDS: "5,x"}, InvalidParameter, "'x' is no number"),
    "number twice": ({labels.OVERLAY_VXLAN_IDS: "5,5"}, InvalidParameter, "5 is in it twice"),
    "more numbers than subnets": ({labels.OVERLAY_VXLAN_IDS: "5,6"}, InvalidParameter, "2 numbers for 1 subnets"),
    "number of another network": ({labels.OVERLAY_VXLAN_IDS: "77"}, Conflict, "77 is network .other.*choose another"),
    "port": ({labels.OVERLAY_PORT: "80"}, InvalidParameter, "between 1024 and 49151"),
    "MTU too large": ({labels.DRIVER_MTU: "1501"}, InvalidParameter, "up to 1501, 50 of them the tunnel's"),
    "MTU too small": ({labels.DRIVER_MTU: "100"}, InvalidParameter, "it leaves 50, and an interface needs 68"),
    "prefix": ({labels.CONTAINER_IFACE_PREFIX: "much-too-long-prefix"}, InvalidParameter, "failed to parse"),
    "unknown": ({f"{labels.PREFIX}.driver.overlay.vxlan_list": "5"}, InvalidParameter, "did you mean"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_options(what: str) -> None:
    """What cannot be is refused with what was wrong, before anything is made."""
    options, kind, text = BAD[what]
    other = NetworkRecord("b" * 64, "other", "overlay", vnis=(77,))
    record = NetworkRecord(
        "a" * 64, "net", "overlay", subnets=(Subnet("", ip_network("10.7.0.0/24")),), options=options
    )
    with pytest.raises(kind, match=text):
        DRIVER.check_network(record, surroundings(networks=[other]))


def test_ipv6_needs_room() -> None:
    """A network with IPv6 is refused where less than IPv6's least MTU would be left."""
    record = NetworkRecord("a" * 64, "net", "overlay", ipv6=True, options={labels.DRIVER_MTU: "1320"})
    with pytest.raises(InvalidParameter, match="leaves 1270, and IPv6 needs 1280"):
        DRIVER.check_network(record, surroundings())


@pytest.mark.parametrize(
    ("vtep", "text"), [(None, "cluster="), (ip_address("192.0.2.77"), "no interface of the host has")]
)
def test_no_underlay(vtep: IPAddress | None, text: str) -> None:
    """Without an address of the host for tunnels to begin at there is no overlay network."""
    with pytest.raises(InvalidParameter, match=text) as caught:
        DRIVER.check_network(NetworkRecord("a" * 64, "net", "overlay"), surroundings(vtep))
    assert caught.value.code == "no_underlay"


def test_numbers_that_were_asked_for() -> None:
    """Numbers by option are in the record before the library claims them, and those that it has claimed stay."""
    record = NetworkRecord("a" * 64, "net", "overlay", options={labels.OVERLAY_VXLAN_IDS: "5, 6"})
    checked = DRIVER.check_network(record, surroundings())
    assert checked.vnis == (5, 6)
    assert DRIVER.check_network(evolve(checked, vnis=(5, 6, 9)), surroundings()).vnis == (5, 6, 9)


def test_ten_thousand_peers_are_said_again_quickly() -> None:
    """Describing a network again says the very same words of peers that did not change: nothing is built anew for them."""
    made = network("10.0.0.0/16")
    peers = [
        evolve(
            peer(1, f"10.0.{number >> 8}.{number & 255}/16"),
            endpoint_id=f"{number:064x}",
            mac=MacAddress(number.to_bytes(6, "big")),
        )
        for number in range(256, 10_256)
        if not number >> 40 & 1
    ]
    first, again = (DRIVER.describe_network(made, context(*peers)) for _ in range(2))
    assert len(first) == len(again) > 20_000
    assert all(one is other for one, other in zip(first, again, strict=True) if isinstance(one, Neighbour | Forwarding))
