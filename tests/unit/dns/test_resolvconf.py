"""`resolv.conf` of a sandbox: read, override, turn into one of two kinds."""

from __future__ import annotations

import pytest

from libnetwork_py.dns.resolvconf import ResolvConf, Server, parse


def test_the_last_search_counts_and_options_add_up() -> None:
    """Of several `search` and `domain` lines the last one counts; `options` of all lines add up; comments are left out."""
    found = parse(
        "# top\nnameserver 10.0.0.1 # not 4.3.2.1\n;x\nsearch a.example b.example\n domain c.example\noptions x\noptions y:2\n"
    )
    assert (found.nameservers, found.search, found.options) == (("10.0.0.1",), ("c.example",), ("x", "y:2"))


def test_unknown_lines_and_invalid_servers() -> None:
    """Lines that nobody knows are kept, and what is no address is named in a comment; a zone of IPv6 stays."""
    found = parse(
        "nameserver 1.2.3.4.5\nnameserver\nnameserver fe80::1%eth0\nsomething unexpected\n", "/etc/resolv.conf"
    )
    assert found.text() == (
        "nameserver fe80::1%eth0\nsomething unexpected\n\n# Based on host file: '/etc/resolv.conf'\n"
        "# Invalid nameservers: [1.2.3.4.5]\n# Overrides: []\n"
    )


def test_overrides_take_the_place_of_what_was_there() -> None:
    """What the user gives replaces the host's; a search of `.` means none; who said ndots is told."""
    host = parse("nameserver 1.2.3.4\nsearch invalid\noptions ndots:0\n")
    assert host.override(["2.3.4.5"], ["."], ["ndots:1", "edns0"]).text() == (
        "nameserver 2.3.4.5\noptions ndots:1 edns0\n\n# Based on host file: ''\n"
        "# Overrides: [nameservers search options]\n# Option ndots from: override\n"
    )
    assert host.override().text(comments=False) == "nameserver 1.2.3.4\nsearch invalid\noptions ndots:0\n"


@pytest.mark.parametrize(
    ("servers", "ipv6", "expected"),
    [
        (["10.0.0.1", "fd00::1"], True, ("10.0.0.1", "fd00::1")),
        (["10.0.0.1", "fd00::1"], False, ("10.0.0.1",)),
        (["127.0.0.53", "fd00::1"], True, ("fd00::1",)),
        (["127.0.0.53", "::1"], False, ("8.8.8.8", "8.8.4.4")),
        ([], True, ("8.8.8.8", "8.8.4.4", "2001:4860:4860::8888", "2001:4860:4860::8844")),
    ],
)
def test_without_a_service(servers: list[str], ipv6: bool, expected: tuple[str, ...]) -> None:
    """A sandbox that asks its servers itself gets none that only the host reaches, and defaults if none is left."""
    host = parse("".join(f"nameserver {each}\n" for each in servers))
    assert host.direct(ipv6=ipv6).nameservers == expected


def test_servers_of_the_user_are_left_as_they_are() -> None:
    """Servers that the user gave are not filtered."""
    assert parse("").override(["127.0.0.1"]).direct(ipv6=False).nameservers == ("127.0.0.1",)


def test_with_a_service() -> None:
    """A sandbox with a name service asks that alone; who stands behind it, and where it is asked from, is told."""
    host = parse("nameserver 127.0.0.53\noptions trust-ad\n", "/etc/resolv.conf")
    inside = host.internal("127.0.0.11", ["ndots:0"])
    assert inside.behind == (Server("127.0.0.53", host=True),)
    assert inside.text() == (
        "nameserver 127.0.0.11\noptions trust-ad ndots:0\n\n# Based on host file: '/etc/resolv.conf' (internal resolver)\n"
        "# ExtServers: [host(127.0.0.53)]\n# Overrides: []\n# Option ndots from: internal\n"
    )
    assert host.override(["10.0.0.1"]).internal("127.0.0.11").behind == (Server("10.0.0.1", host=False),)
    assert "# NO EXTERNAL NAMESERVERS DEFINED" in parse("").internal("127.0.0.11").text()


@pytest.mark.parametrize(
    ("options", "expected", "ndots"),
    [
        ("ndots:-1 foo:bar ndots ndots:", ("foo:bar", "ndots:2"), 2),
        ("ndots:1 foo:bar ndots:", ("ndots:1", "foo:bar"), 1),
    ],
)
def test_invalid_ndots_are_replaced(options: str, expected: tuple[str, ...], ndots: int) -> None:
    """A valid ndots stays; invalid ones go, and the required one comes where none is left."""
    inside = parse(f"options {options}\n").internal("127.0.0.11", ["ndots:2"])
    assert (inside.options, inside.ndots) == (expected, ndots)


def test_an_option_is_found_by_its_last_value() -> None:
    """Of several options of one name the last one counts."""
    found = ResolvConf(options=("ndots:0", "edns0", "ndots:1"))
    assert (found.option("ndots"), found.option("edns0"), found.option("trust-ad")) == ("1", "", None)
