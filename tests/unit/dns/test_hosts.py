"""`hosts` of a sandbox."""

from __future__ import annotations

from ipaddress import ip_address

from libnetwork_py.dns.hosts import own_names, text


def test_loopback_users_records_own_addresses() -> None:
    """Loopback names come first, then the user's records, then the sandbox's own addresses, separated by a tab."""
    own = [ip_address("10.1.0.2"), ip_address("fd00::2")]
    assert text({"db": "10.9.9.9"}, own, own_names("web", "example.com")) == (
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\nff00::\tip6-mcastprefix\n"
        "ff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n10.9.9.9\tdb\n10.1.0.2\tweb.example.com web\nfd00::2\tweb.example.com web\n"
    )


def test_without_ipv6() -> None:
    """Where there is no IPv6 loopback nothing of IPv6 is listed."""
    assert text({"a": "fd00::9", "b": "10.0.0.9"}, [], "web", ipv6=False) == "127.0.0.1\tlocalhost\n10.0.0.9\tb\n"


def test_a_hostname_with_dots_has_a_short_form() -> None:
    """A full name is followed by its first part; a short one stands alone."""
    assert own_names("web.example.com", "") == "web.example.com web"
    assert own_names("web", "") == "web"
