"""A message copied from a template is byte for byte what pyroute2 encodes."""

from __future__ import annotations

import string
import struct
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libnetwork_py.desired import HOST, Address, Route, Veth
from libnetwork_py.errors import InvalidParameter
from libnetwork_py.kernel import messages
from libnetwork_py.types import MacAddress

NAMES = st.text(string.ascii_letters + string.digits + "-_.", min_size=1, max_size=15)
MACS = st.binary(min_size=5, max_size=5).map(lambda tail: MacAddress(b"\x02" + tail))
NUMBERS = st.integers(1, 2**31 - 1)
MTUS = st.sampled_from([0, 68, 1400, 65535])
IPV4 = st.integers(1, 2**32 - 1).map(IPv4Address)
IPV6 = st.integers(1, 2**128 - 1).map(IPv6Address)


def veths() -> st.SearchStrategy[Veth]:
    """Pairs of every shape."""
    return st.builds(
        Veth,
        namespace=st.just(HOST),
        name=NAMES,
        peer_namespace=st.just("/run/netns/x"),
        peer_name=NAMES,
        peer_mac=MACS,
        master=st.sampled_from(["", "br0"]),
        mtu=MTUS,
        group=st.one_of(st.just(0), NUMBERS),
        hairpin=st.booleans(),
        isolated=st.booleans(),
    )


@given(veths(), NUMBERS, NUMBERS)
def test_a_pair_is_encoded_as_by_pyroute2(word: Veth, master: int, namespace: int) -> None:
    """A veth pair from the template equals a fresh encoding, whatever its names, group, MTU and master."""
    index = master if word.master else 0
    fresh = messages.encode_veth(
        name=word.name,
        peer=word.peer_name,
        mac=str(word.peer_mac),
        namespace=namespace,
        master=index,
        group=word.group,
        mtu=word.mtu,
        peer_mtu=word.mtu,
    )
    assert messages.veth(word, index, namespace) == fresh


@given(veths(), st.booleans())
def test_a_port_is_encoded_as_by_pyroute2(word: Veth, ipv6: bool) -> None:
    """The settings of an outer end equal a fresh encoding; there is no message where there is nothing to set."""
    is_port = bool(word.master) and (word.hairpin or word.isolated)
    made = messages.port(word, ipv6)
    ipv6 = ipv6 and not 0 < word.mtu < 1280  # below it the kernel gives an interface no IPv6
    if made is None:
        assert not ipv6
        assert not is_port
    else:
        assert bytes(made) == messages.encode_port(
            word.name, ipv6=ipv6, is_port=is_port, hairpin=word.hairpin, isolated=word.isolated
        )


@given(IPV4, st.integers(0, 32), NUMBERS)
def test_an_ipv4_address_is_encoded_as_by_pyroute2(address: IPv4Address, length: int, index: int) -> None:
    """An IPv4 address equals a fresh encoding, with the broadcast address of its network up to /30."""
    interface = IPv4Interface((address, length))
    broadcast = str(interface.network.broadcast_address) if length <= 30 else ""
    fresh = messages.encode_address(
        length=length, index=index, address=str(address), local=str(address), broadcast=broadcast
    )
    assert messages.add_address(Address(HOST, "x", interface), index) == fresh


@given(IPV6, st.integers(0, 128), NUMBERS)
def test_an_ipv6_address_is_encoded_as_by_pyroute2(address: IPv6Address, length: int, index: int) -> None:
    """An IPv6 address equals a fresh encoding."""
    word = Address(HOST, "x", IPv6Interface((address, length)))
    assert messages.add_address(word, index) == messages.encode_address(
        length=length, index=index, address=str(address)
    )


@given(IPV4, st.integers(0, 32), st.one_of(st.none(), IPV4, IPV6), st.one_of(st.just(0), NUMBERS), NUMBERS)
def test_an_ipv4_route_is_encoded_as_by_pyroute2(
    address: IPv4Address, length: int, gateway: IPv4Address | IPv6Address | None, metric: int, index: int
) -> None:
    """An IPv4 route equals a fresh encoding: to a network or to everywhere, on the link, by a gateway of either family."""
    destination = IPv4Network((address, length), strict=False)
    word = Route(HOST, destination, "x", gateway, metric)
    fresh = messages.encode_route(
        4,
        index=index,
        length=length,
        destination=str(destination.network_address) if length else "",
        gateway=str(gateway or ""),
        metric=metric,
    )
    assert messages.add_route(word, index) == fresh


@given(IPV6, st.integers(0, 128), st.one_of(st.none(), IPV6), st.one_of(st.just(0), NUMBERS), NUMBERS)
def test_an_ipv6_route_is_encoded_as_by_pyroute2(
    address: IPv6Address, length: int, gateway: IPv6Address | None, metric: int, index: int
) -> None:
    """An IPv6 route equals a fresh encoding."""
    destination = IPv6Network((address, length), strict=False)
    word = Route(HOST, destination, "x", gateway, metric)
    fresh = messages.encode_route(
        6,
        index=index,
        length=length,
        destination=str(destination.network_address) if length else "",
        gateway=str(gateway or ""),
        metric=metric,
    )
    assert messages.add_route(word, index) == fresh


def test_an_ipv6_route_by_an_ipv4_gateway_is_refused_before_the_kernel_sees_it() -> None:
    """The kernel has no such route, so it is not sent."""
    word = Route(HOST, IPv6Network("::/0"), "eth0", IPv4Address("10.0.0.1"))
    with pytest.raises(InvalidParameter, match="IPv4 gateway"):
        messages.add_route(word, 2)


@given(NAMES, NUMBERS)
def test_links_are_named_and_numbered_in_the_message(name: str, number: int) -> None:
    """Raising, deleting and regrouping carry exactly the interface's name, padded with zeros to 16 bytes, or its index."""
    padded = name.encode().ljust(16, b"\0")
    assert padded in messages.delete_link(name)
    assert padded in messages.regroup(name, number)
    assert messages.regroup(name, number).endswith(struct.pack("=I", number))
    assert struct.unpack_from("=iII", messages.link_up(number), 20) == (number, 1, 1)
    assert struct.unpack_from("=i", messages.delete_numbered(number), 20) == (number,)
    assert struct.unpack_from("=i", messages.regroup_numbered(number, 7), 20) == (number,)
    assert messages.regroup_numbered(number, 7).endswith(struct.pack("=I", 7))


def test_a_message_says_how_long_it_is() -> None:
    """The length in a message's header is the message's own."""
    word = Veth(HOST, "a", "/run/netns/x", "b", MacAddress("02:00:00:00:00:01"), "br0", 1400, 7, hairpin=True)
    port = messages.port(word, ipv6=True)
    assert port is not None
    questions = [messages.dump_links(), messages.dump_links(statistics=True), messages.dump_addresses()]
    commands = [bytes(messages.veth(word, 2, 3)), bytes(port), messages.delete_group(7)]
    for message in (*commands, messages.dump_routes(2), *questions):
        assert struct.unpack_from("=I", message)[0] == len(message)
