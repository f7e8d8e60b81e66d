"""What networks and ports put into the sets."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address, ip_network

import pytest

from libnetwork_py.desired import Element
from libnetwork_py.errors import InvalidParameter
from libnetwork_py.firewall.elements import GatewayMode, apart, network_elements, port_elements
from libnetwork_py.firewall.table import table
from libnetwork_py.nftables import element_text
from libnetwork_py.types import PortBinding

TABLE = table("", "t")
NET4, NET6 = ip_network("10.1.0.0/24"), ip_network("fd00:1::/64")
WEB4, WEB6 = ip_address("10.1.0.2"), ip_address("fd00:1::2")


def lines(elements: Iterable[Element]) -> list[str]:
    """Elements as nft writes them, without the table."""
    texts = (element_text(each.table, each.set, each.fields, each.value) for each in elements)
    return sorted(text.removeprefix("inet t ") for text in texts)


def test_network_says_its_bridge_and_subnets() -> None:
    """A plain network is known by its bridge and, per subnet, as home and as masqueraded."""
    assert lines(network_elements(TABLE, "br0", [NET4, NET6])) == [
        'bridges { "br0" }',
        'home4 { 10.1.0.0/24 . "br0" }',
        'home6 { fd00:1::/64 . "br0" }',
        'masquerade4 { 10.1.0.0/24 . "br0" }',
        'masquerade6 { fd00:1::/64 . "br0" }',
        'within { "br0" . "br0" : accept }',
    ]


def test_internal_network_is_only_internal() -> None:
    """Nothing but the bridge's name and whether its members reach each other: every other option is moot."""
    made = network_elements(TABLE, "br0", [NET4], internal=True, icc=False, trusted=["eth0"], modes={4: "isolated"})
    assert lines(made) == ['internal { "br0" }', 'within { "br0" . "br0" : drop }']


@pytest.mark.parametrize(
    ("mode", "masquerade", "expected"),
    [
        ("nat", True, {"masquerade4"}),
        ("nat", False, set[str]()),
        ("nat-unprotected", True, {"masquerade4", "unprotected4"}),
        ("nat-unprotected", False, {"unprotected4"}),
        ("routed", True, {"routed4"}),
        ("routed", False, {"routed4"}),
    ],
)
def test_mode_is_a_matter_of_sets(mode: GatewayMode, masquerade: bool, expected: set[str]) -> None:
    """A gateway mode changes which sets a network is in, never a rule."""
    made = network_elements(TABLE, "br0", [NET4], modes={4: mode}, masquerade=masquerade)
    assert {each.set.name for each in made} == {"bridges", "within", "home4"} | expected


def test_isolated_needs_an_internal_network() -> None:
    """The isolated mode is refused on a network that is not internal."""
    with pytest.raises(InvalidParameter) as caught:
        network_elements(TABLE, "br0", [NET4], modes={4: "isolated"})
    assert caught.value.code == "isolated_not_internal"


def test_options_of_a_network() -> None:
    """Source address and trusted interfaces are elements too."""
    made = network_elements(TABLE, "br0", [NET4], snat={4: ip_address("192.0.2.1")}, trusted=["eth0", "eth1"])
    found = [line for line in lines(made) if line.startswith(("snat", "trusted"))]
    assert found == [
        'snat4 { 10.1.0.0/24 . "br0" : 192.0.2.1 }',
        'trusted { "eth0" . "br0" }',
        'trusted { "eth1" . "br0" }',
    ]


def test_port_of_all_addresses_goes_to_the_family_of_the_container_address() -> None:
    """Without a host address, or with an unspecified one, the port is any local address's, once per container address."""
    for text in ("8080:80", "0.0.0.0:8080:80"):
        assert lines(port_elements(TABLE, PortBinding.parse(text), WEB4)) == [
            "ports4_any { tcp . 8080 : 10.1.0.2 . 80 }",
            "published4 { 10.1.0.2 . tcp . 80 }",
        ]
    assert lines(port_elements(TABLE, PortBinding.parse("[::]:53:53/udp"), WEB6)) == [
        "ports6_any { udp . 53 : fd00:1::2 . 53 }",
        "published6 { fd00:1::2 . udp . 53 }",
    ]


def test_range_is_a_run_of_elements() -> None:
    """A run of ports is one word for each set, which stands for an element of each port."""
    made = port_elements(TABLE, PortBinding.parse("127.0.0.1:8000-8001:80-81"), WEB4)
    assert [each.count for each in made] == [2, 2]
    assert lines(single for each in made for single in each.singles) == [
        "ports4 { 127.0.0.1 . tcp . 8000 : 10.1.0.2 . 80 }",
        "ports4 { 127.0.0.1 . tcp . 8001 : 10.1.0.2 . 81 }",
        "published4 { 10.1.0.2 . tcp . 80 }",
        "published4 { 10.1.0.2 . tcp . 81 }",
    ]


def test_runs_with_a_port_in_common_come_apart() -> None:
    """Two bindings of one container port share its element, which is a word of its own then and stays while either needs it."""
    for ports, words in (
        (["8000-8002:80-82", "9000:83"], 4),
        (["8000-8002:80-82", "9000:82"], 7),
        (["8000-8002:80-82", "9000:82/udp"], 4),
        (["8000-8009:80-89", "9000-9001:81-82", "9100:200"], 24),
        (["8000:80", "9000:80"], 3),
    ):
        bindings = [PortBinding.parse(each) for each in ports]
        elements = [word for each in bindings for word in port_elements(TABLE, each, WEB4)]
        assert len(dict.fromkeys(apart(bindings, elements))) == words


def test_other_family_gives_nothing() -> None:
    """The kernel cannot translate from one family to the other."""
    assert port_elements(TABLE, PortBinding.parse("127.0.0.1:8080:80"), WEB6) == ()
    assert port_elements(TABLE, PortBinding.parse("[::1]:8080:80"), WEB4) == ()


def test_routed_port_is_the_containers_own() -> None:
    """In routed mode nothing is translated and the host port counts for nothing, so it need not be concrete."""
    assert lines(port_elements(TABLE, PortBinding.parse("80"), WEB4, mode="routed")) == [
        "open4 { 10.1.0.2 . tcp . 80 }"
    ]


def test_shared_networks_of_the_same_family_are_detours() -> None:
    """A client on another network of the server's would be answered past the host."""
    made = port_elements(TABLE, PortBinding.parse("8080:80"), WEB4, shared=[ip_network("10.2.0.0/24"), NET6])
    assert [line for line in lines(made) if line.startswith("detour")] == ["detour4 { 10.2.0.0/24 . 10.1.0.2 }"]


@pytest.mark.parametrize(("mode", "code"), [("nat", "no_host_port"), ("isolated", "isolated_port")])
def test_port_that_cannot_be_published(mode: GatewayMode, code: str) -> None:
    """No concrete host port, or an isolated network: refused before the kernel is asked."""
    with pytest.raises(InvalidParameter) as caught:
        port_elements(TABLE, PortBinding.parse("80"), WEB4, mode=mode)
    assert caught.value.code == code


def test_subnet_of_one_address_is_that_address() -> None:
    """The kernel reports a range of one as one address, so the description says it so too."""
    made = network_elements(TABLE, "br0", [ip_network("10.1.0.0/32")])
    assert 'home4 { 10.1.0.0 . "br0" }' in lines(made)
