from __future__ import annotations

import contextlib
import copy
import ipaddress
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libnetwork_py.errors import InvalidParameter
from libnetwork_py.types import (
    EMPTY,
    PROTOCOLS,
    IPAddress,
    MacAddress,
    PortBinding,
    as_tuple,
    check_interface_name,
    check_name,
    freeze,
    parse_address,
    parse_network,
)

VECTORS = Path(__file__).parents[3] / "shared/vectors/types/tables/moby__api_types_network_port_test.json"


# names


@pytest.mark.parametrize("name", ["a", "0", "web-1", "My.Net_2", "x" * 128])
def test_names_that_docker_takes(name: str) -> None:
    """A name is a letter or digit, then letters, digits, '_', '.', '-', at most 128 in all."""
    assert check_name("network", name) == name


@pytest.mark.parametrize("name", ["", "-a", ".a", "_a", "a b", "a/b", "é", "x" * 129, "a\n", None, 7])
def test_names_that_docker_refuses(name: Any) -> None:
    """Any other name is refused, and the error carries what was named and its name."""
    with pytest.raises(InvalidParameter) as caught:
        check_name("network", name)
    assert (caught.value.code, caught.value.kind, caught.value.name) == ("invalid_name", "network", name)


@pytest.mark.parametrize("name", ["eth0", "a", "x" * 15, "eth0.100", "br-é"])
def test_interface_names_that_the_kernel_takes(name: str) -> None:
    """An interface name has 1 to 15 bytes without '/', ':' and white space."""
    assert check_interface_name(name) == name


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("", "invalid_interface_name"),
        (".", "invalid_interface_name"),
        ("..", "invalid_interface_name"),
        ("a/b", "invalid_interface_name"),
        ("a:b", "invalid_interface_name"),
        ("a b", "invalid_interface_name"),
        ("a\0", "invalid_interface_name"),
        ("eth%d", "invalid_interface_name"),
        ("x" * 16, "interface_name_too_long"),
        ("é" * 8, "interface_name_too_long"),
    ],
)
def test_interface_names_that_the_kernel_refuses(name: str, code: str) -> None:
    """What the kernel would refuse or read as a pattern is refused with a code of its own; length counts in bytes."""
    with pytest.raises(InvalidParameter) as caught:
        check_interface_name(name)
    assert caught.value.code == code


# Ethernet addresses


@pytest.mark.parametrize(
    "text", ["02:42:AC:11:00:02", "02-42-ac-11-00-02", "0242ac110002", b"\x02\x42\xac\x11\x00\x02"]
)
def test_mac_has_one_spelling(text: str | bytes) -> None:
    """However an Ethernet address is written, it reads as lower case with colons."""
    assert MacAddress(text) == "02:42:ac:11:00:02"
    assert MacAddress(text).packed == b"\x02\x42\xac\x11\x00\x02"


@pytest.mark.parametrize(
    "text",
    ["", "02:42", "xx:xx:xx:xx:xx:xx", "02:42-ac:11:00:02", "02 42 ac 11 00 02", "02:42:ac:11:00:02:03", b"123", 5],
)
def test_mac_needs_six_octets(text: Any) -> None:
    """What is not six octets is no Ethernet address."""
    with pytest.raises(InvalidParameter, match="six octets"):
        MacAddress(text)


@pytest.mark.parametrize("text", ["01:00:5e:00:00:01", "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00"])
def test_mac_is_unicast(text: str) -> None:
    """Group addresses and zero cannot be an interface's."""
    with pytest.raises(InvalidParameter, match="unicast"):
        MacAddress(text)


def test_mac_survives_copies() -> None:
    """A copy or a pickle of an Ethernet address is one again."""
    mac = MacAddress("02:42:ac:11:00:02")
    for twin in (copy.deepcopy(mac), pickle.loads(pickle.dumps(mac))):  # noqa: S301 (our own bytes)
        assert (type(twin), twin) == (MacAddress, mac)


# addresses and networks


@pytest.mark.parametrize("value", ["10.0.0.1", "fd00::1", ipaddress.ip_address("10.0.0.1")])
def test_addresses_are_taken_as_text_or_object(value: str | IPAddress) -> None:
    """An address may be given as text or as an object."""
    assert str(parse_address(value)) == str(value)


@pytest.mark.parametrize("value", ["", "10.0.0", "10.0.0.1/24", "web", "10.0.0.01", 5, None, b"\n\0\0\x01"])
def test_what_is_no_address(value: Any) -> None:
    """Anything else is refused, numbers and bytes included, and the message says what it was meant to be."""
    with pytest.raises(InvalidParameter, match="invalid gateway") as caught:
        parse_address(value, "gateway")
    assert caught.value.code == "invalid_address"


def test_host_bits_of_a_subnet_are_dropped() -> None:
    """A subnet may be written with any of its addresses, as in the reference."""
    assert str(parse_network("192.168.22.44/16")) == "192.168.0.0/16"
    assert str(parse_network("10.0.0.100/17")) == "10.0.0.0/17"
    assert str(parse_network("fd00:1::5/64")) == "fd00:1::/64"


@pytest.mark.parametrize("value", ["", "10.0.0.0", "10.0.0.0/33", "fd00::/129", "10.0.0.0/x", "/24", 5, None])
def test_what_is_no_subnet(value: Any) -> None:
    """A subnet needs an address and a prefix length that fits."""
    with pytest.raises(InvalidParameter) as caught:
        parse_network(value)
    assert caught.value.code == "invalid_subnet"


# one or many, mappings


def test_one_thing_counts_as_one() -> None:
    """Text, an address, a subnet or a binding given bare means one of them; a collection means its items."""
    binding = PortBinding(80)
    for one in ("10.0.0.0/24", 80, binding, parse_address("10.0.0.1"), parse_network("10.0.0.0/30")):
        assert as_tuple(one) == (one,)
    assert as_tuple(["a", "b"]) == as_tuple(each for each in "ab") == ("a", "b")
    assert as_tuple(()) == ()


def test_a_frozen_mapping_is_text_and_stays() -> None:
    """Values become text as Docker writes them, and neither side can change the mapping afterwards."""
    given_mapping: dict[str, object] = {"a": True, "b": False, "c": 5}
    frozen = freeze(given_mapping, "labels")
    given_mapping["d"] = 1
    assert dict(frozen) == {"a": "true", "b": "false", "c": "5"}
    with pytest.raises(TypeError):
        frozen["a"] = "x"  # type: ignore[index]
    assert freeze({}, "labels") is EMPTY


@pytest.mark.parametrize("mapping", [["a"], "a=b", {1: "x"}, None])
def test_what_is_no_mapping_of_text(mapping: Any) -> None:
    """A list, a text or a key that is no text is refused by the name of the argument."""
    with pytest.raises(InvalidParameter, match="labels"):
        freeze(mapping, "labels")


# ports


@pytest.mark.parametrize(
    ("text", "binding"),
    [
        ("80", PortBinding(80)),
        (80, PortBinding(80)),
        (" 80 ", PortBinding(80)),
        ("80/", PortBinding(80)),
        ("80/UDP", PortBinding(80, "udp")),
        ("8080:80", PortBinding(80, host_port=8080)),
        ("0:80", PortBinding(80)),
        (":80", PortBinding(80)),
        ("127.0.0.1:8080:80/udp", PortBinding(80, "udp", "127.0.0.1", 8080)),
        ("127.0.0.1::80", PortBinding(80, host_ip="127.0.0.1")),
        ("[::1]:8080:80/sctp", PortBinding(80, "sctp", "::1", 8080)),
        ("8000-8010:80-90/tcp", PortBinding(80, "tcp", None, 8000, 8010, 90)),
        ("8000-8010:80", PortBinding(80, "tcp", None, 8000, 8010)),
        ("80-90", PortBinding(80, container_port_end=90)),
    ],
)
def test_port_texts(text: str | int, binding: PortBinding) -> None:
    """Every text form of a published port means the binding that its parts say."""
    assert PortBinding.parse(text) == binding


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "/",
        "/tcp",
        "0",
        "-1",
        "65536",
        "foo",
        "asd1234/tcp",
        "1234--1",
        "1234-1000",
        "80/icmp",
        "80/tcp:ipv6only",
        "8080:",
        "-5:80",
        "0-5:80-85",
        "8000-8001:80-90",
        "65530:80-90",
        "127.0.0.1:80",
        "::1:8080:80",
        "[10.0.0]:80:80",
        "300.0.0.1:80:80",
        "[fe80::1%eth0]:80:80",
        "\N{FULLWIDTH DIGIT EIGHT}0",
        "1:2:3:4",
        None,
        True,
        8080.0,
    ],
)
def test_what_is_no_port(text: Any) -> None:
    """Anything else is refused with the text in the error."""
    with pytest.raises(InvalidParameter) as caught:
        PortBinding.parse(text)
    assert caught.value.code in {"invalid_port", "invalid_address"}


def test_ports_are_numbers() -> None:
    """A binding made from parts refuses a port that is text, instead of failing later."""
    with pytest.raises(InvalidParameter, match="numbers"):
        PortBinding("80")  # type: ignore[arg-type]


def test_family_of_a_binding() -> None:
    """A host address pins the family; without one the binding is for both."""
    families = [PortBinding.parse(text).family for text in ("1.2.3.4:80:80", "[::]:80:80", "80:80")]
    assert families == [4, 6, None]


def test_fixing_the_host_port() -> None:
    """A binding at a host port has one host port for each container port from there on."""
    fixed = PortBinding.parse("80-82").at(9000)
    assert (fixed.host_port, fixed.host_port_end, fixed.count) == (9000, 9002, 3)
    assert PortBinding.parse("8000-8010:80").at(8004) == PortBinding.parse("8004:80")


ports = st.integers(1, 65535)


def _of_one_host(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        return False
    return not address.is_multicast and str(address) != "255.255.255.255"


HOST_ADDRESSES = st.ip_addresses().filter(_of_one_host)


@st.composite
def bindings(draw: st.DrawFn) -> PortBinding:
    """Any valid binding."""
    start = draw(ports)
    end = draw(st.integers(start, min(start + 100, 65535)))
    count = end - start + 1
    host = draw(st.one_of(st.just(0), st.integers(1, 65535 - count + 1)))
    host_end = draw(st.integers(host, 65535)) if host and count == 1 else 0
    return PortBinding(
        start, draw(st.sampled_from(PROTOCOLS)), draw(st.one_of(st.none(), HOST_ADDRESSES)), host, host_end, end
    )


@given(bindings())
def test_a_binding_reads_back_from_its_text(binding: PortBinding) -> None:
    """The text of a binding means that binding."""
    assert PortBinding.parse(str(binding)) == binding


@given(st.text(alphabet="0123456789.:-/[]tcpud fe"))
def test_no_text_breaks_the_parser(text: str) -> None:
    """Whatever the text, it is a binding or a typed error."""
    with contextlib.suppress(InvalidParameter):
        assert PortBinding.parse(text).count >= 1


@pytest.mark.skipif(not VECTORS.exists(), reason=f"the reference's tables are not here: {VECTORS}")
def test_the_reference_reads_container_ports_alike() -> None:
    """Ports and ranges of the reference's tables are read as it reads them, but for port 0 and its IPv6-only protocol."""
    for text, expected in _reference_ports():
        first, last, protocol = expected
        if not first or ":" in protocol:
            with pytest.raises(InvalidParameter):
                PortBinding.parse(text)
            continue
        binding = PortBinding.parse(text)
        assert (binding.container_port, binding.container_port_end, binding.protocol) == expected, text
        assert last >= first


@pytest.mark.skipif(not VECTORS.exists(), reason=f"the reference's tables are not here: {VECTORS}")
def test_the_reference_refuses_container_ports_alike() -> None:
    """What is neither port nor range in the reference's tables is refused."""
    tables = json.loads(VECTORS.read_text())["tables"]
    (ranges,) = [table["cases"] for table in tables if (table["var"], table["line"]) == ("negativeTests", 468)]
    (single,) = [table["cases"] for table in tables if (table["var"], table["line"]) == ("negativeTests", 225)]
    good_as_range = {"1234-1240/udp", "1234-1240"}
    for text in {*ranges, *single} - good_as_range:
        with pytest.raises(InvalidParameter):
            PortBinding.parse(text)


def _reference_ports() -> list[tuple[str, tuple[int, int, str]]]:
    cases = [case for table in json.loads(VECTORS.read_text())["tables"] for case in table["cases"]]
    found = []
    for case in cases:
        if isinstance(case, dict) and "portRange" in case:
            first, last, protocol = case["portRange"]["args"]
            name = protocol if isinstance(protocol, str) else protocol["_id"].removeprefix("network.").lower()
            found.append((case["in"], (first, last, name)))
    assert len(found) == 17
    return found
