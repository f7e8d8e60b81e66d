"""How keys and values are laid out, and that our constants are pyroute2's."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libnetwork_py.errors import InvalidParameter
from libnetwork_py.firewall.table import HOME, PORTS, WITHIN
from libnetwork_py.kernel import nft_atoms, nft_facts, nft_rules
from libnetwork_py.nftables import Atom, SetDecl

ADDRESSES4, ADDRESSES6 = st.ip_addresses(v=4), st.ip_addresses(v=6)
NAMES = st.text("abcdefghijklmnop0123456789.-", min_size=1, max_size=15)


def test_constants_are_pyroute2s() -> None:
    """The numbers written out here are those of the library that knows the protocol."""
    nftsocket = pytest.importorskip("pyroute2.netlink.nfnetlink.nftsocket")
    messages = ("NEWTABLE", "GETTABLE", "DELTABLE", "NEWCHAIN", "GETCHAIN", "NEWRULE", "GETRULE")
    for name in (*messages, "NEWSET", "GETSET", "NEWSETELEM", "GETSETELEM", "DELSETELEM"):
        assert getattr(nft_atoms, name) == getattr(nftsocket, f"NFT_MSG_{name}")
    types = {"ifname": "IFNAME", "nf_proto": "NFPROTO", "ipv4_addr": "IPADDR", "ipv6_addr": "IP6ADDR"}
    types |= {"inet_proto": "INET_PROTOCOL", "inet_service": "INET_SERVICE"}
    assert {kind: getattr(nftsocket, f"DATA_TYPE_{name}") for kind, name in types.items()} == nft_atoms._TYPES
    for name, numbers in nft_rules.NUMBERS.items():
        declared: Sequence[tuple[str, str]] = (
            getattr(nftsocket.nft_rule_msg.nft_expr, f"nft_{name}").nla_map if numbers else ()
        )
        prefix = "NFTA_NG_" if name == "numgen" else f"NFTA_{name.upper()}_"
        known = {full.removeprefix(prefix).lower(): number for number, (full, _) in enumerate(declared)}
        assert numbers.items() <= known.items(), name
    assert (nft_atoms.INET, nft_atoms.NFT) == (nftsocket.NFPROTO_INET, nftsocket.NFNL_SUBSYS_NFTABLES << 8)


def fields(decl: SetDecl, *atoms: Atom) -> tuple[Atom, ...]:
    """Through the kernel's form and back."""
    (encoded,) = nft_atoms.element(decl, atoms, None)
    low, high, _, _ = nft_facts._parts(encoded, 4, len(encoded))
    return nft_atoms.decode(decl.key, low, high)


@given(ADDRESSES4, st.sampled_from(["tcp", "udp", "sctp"]), st.integers(0, 65535))
def test_key_comes_back(address: Atom, protocol: str, port: int) -> None:
    """Address, protocol and port survive."""
    assert fields(PORTS[4], address, protocol, port) == (address, protocol, port)


@given(NAMES, NAMES)
def test_names_come_back(first: str, second: str) -> None:
    """Interface names survive side by side."""
    assert fields(WITHIN, first, second) == (first, second)


@given(ADDRESSES6, st.integers(0, 128), NAMES)
def test_networks_come_back(address: Atom, prefix: int, name: str) -> None:
    """A network survives in a concatenation with intervals; one of one address comes back as the address."""
    network = ip_network(f"{address}/{prefix}", strict=False)
    expected = address if prefix == 128 else network
    assert fields(HOME[6], network, name) == (expected, name)


def test_concatenation_pads_each_field() -> None:
    """A protocol takes four bytes, a port four, an address its own."""
    (encoded,) = nft_atoms.element(PORTS[4], (ip_address("10.1.0.2"), "tcp", 80), (ip_address("10.9.0.1"), 8080))
    assert bytes((10, 1, 0, 2, 6, 0, 0, 0, 0, 80, 0, 0)) in encoded
    assert encoded.endswith(bytes((10, 9, 0, 1)) + struct.pack(">H", 8080) + bytes(2))


@pytest.mark.parametrize(
    ("atoms", "value"),
    [
        ((ip_address("fd00::1"), "tcp", 80), None),
        ((ip_address("10.0.0.1"), "tcp"), None),
        ((ip_address("10.0.0.1"), "gre", 80), None),
        ((ip_address("10.0.0.1"), "tcp", 65536), None),
        ((ip_address("10.0.0.1"), "tcp", 80), (80,)),
        (("10.0.0.1", "tcp", 80), None),
    ],
)
def test_what_does_not_fit_is_refused(atoms: tuple[Atom, ...], value: tuple[Atom, ...] | None) -> None:
    """The wrong family, a field too few, an unknown protocol, a port out of range, a value of the wrong kind: all name the set."""
    with pytest.raises(InvalidParameter) as caught:
        nft_atoms.element(PORTS[4], atoms, value)
    assert (caught.value.code, caught.value.set) == ("bad_element", "ports4")
