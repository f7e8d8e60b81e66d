"""Clauses carry the instructions that nft prints for their text."""

from __future__ import annotations

from ipaddress import ip_network

from libnetwork_py.firewall.clauses import Clause, dnat, established, member, nfproto, rule, verdict, within
from libnetwork_py.firewall.table import PORTS, PUBLISHED, UNPROTECTED
from libnetwork_py.nftables import Expression


def registers(clause: Clause) -> list[object]:
    """The registers that a clause loads into."""
    return [dict(each.attributes)["dreg"] for each in clause.expressions if each.name in {"meta", "payload"}]


def test_fields_stand_side_by_side_in_registers() -> None:
    """A 4-byte address, a protocol and a port take 32-bit registers in a row; 16 bytes end at a whole register."""
    assert registers(member(["ip daddr", "meta l4proto", "th dport"], PUBLISHED[4])) == [1, 9, 10]
    assert registers(member(["ip6 daddr", "meta l4proto", "th dport"], PUBLISHED[6])) == [1, 2, 13]


def test_family_is_checked_once_before_the_first_header_is_read() -> None:
    """A rule that reads an IPv4 header twice asks for the family once, and after what needs no header."""
    made = rule(
        established(), within("ip saddr", ip_network("10.0.0.0/8")), within("ip daddr", ip_network("10.0.0.0/8"))
    )
    checks = [n for n, each in enumerate(made.expressions) if each == Expression("meta", (("dreg", 1), ("key", 15)))]
    assert checks == [len(established().expressions)]


def test_family_said_is_not_checked_again() -> None:
    """Where the rule says the family itself, that is the check."""
    made = rule(nfproto(4), member(["oifname"], UNPROTECTED[4]), verdict("accept"))
    assert [each.name for each in made.expressions] == ["meta", "cmp", "meta", "lookup", "immediate"]


def test_translation_takes_address_and_port_from_the_map() -> None:
    """The map's value lies from register 1; the port follows the address."""
    found = {f: dict(dnat(f, ["meta l4proto", "th dport"], PORTS[f]).expressions[-1].attributes) for f in (4, 6)}
    assert (found[4]["reg_addr_min"], found[4]["reg_proto_min"]) == (1, 9)
    assert (found[6]["reg_addr_min"], found[6]["reg_proto_min"]) == (1, 2)


def test_network_is_compared_by_whole_bytes_or_masked() -> None:
    """As nft does it: 127.0.0.0/8 is one byte, fe80::/10 needs a mask."""
    assert [each.name for each in within("ip daddr", ip_network("127.0.0.0/8")).expressions] == ["payload", "cmp"]
    names = [each.name for each in within("ip6 saddr", ip_network("fe80::/10")).expressions]
    assert names == ["payload", "bitwise", "cmp"]
