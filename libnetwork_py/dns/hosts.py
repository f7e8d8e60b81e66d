"""A sandbox's ``hosts``: loopback, the user's records, its own addresses; one line each, by the reference's rules.

May import: types.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..types import IPAddress, parse_address

_LOOPBACK4 = ("127.0.0.1\tlocalhost",)
_LOOPBACK6 = (
    "::1\tlocalhost ip6-localhost ip6-loopback",
    "fe00::\tip6-localnet",
    "ff00::\tip6-mcastprefix",
    "ff02::1\tip6-allnodes",
    "ff02::2\tip6-allrouters",
)


def text(extra: Mapping[str, str], own: Iterable[IPAddress], names: str, *, ipv6: bool = True) -> str:
    """Return the file.

    Args:
        extra: The user's records, name → address.
        own: The sandbox's addresses, in the order of its interfaces.
        names: What its own addresses are called; see `own_names`.
        ipv6: Whether the sandbox has an IPv6 loopback; without, nothing of IPv6 is listed.
    """
    records = [(address, name) for name, address in extra.items()]
    records += [(str(address), names) for address in own]
    lines = [f"{address}\t{name}" for address, name in records if ipv6 or parse_address(address).version == 4]
    return "".join(f"{line}\n" for line in (*_LOOPBACK4, *(_LOOPBACK6 if ipv6 else ()), *lines))


def own_names(hostname: str, domainname: str) -> str:
    """Return what a sandbox's own addresses are called: the full name and the short one, or the short one alone."""
    full = f"{hostname}.{domainname}" if domainname else hostname
    short = full.partition(".")[0]
    return full if full == short else f"{full} {short}"
