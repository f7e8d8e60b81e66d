"""The kernel's settings for freely chosen ports, from their text.

Both belong to a network namespace: ``net.ipv4.ip_local_port_range`` and ``net.ipv4.ip_local_reserved_ports``
(Documentation/networking/ip-sysctl.rst); they hold for IPv6 and every protocol too.

May import: errors.
"""

from __future__ import annotations

from ..errors import InvalidParameter

ALL_PORTS = range(1, 65536)

DYNAMIC_PORTS = range(49153, 65536)
"""What the reference takes where the kernel's range cannot be read."""


def parse_port_range(text: str) -> range:
    """Return the ports that ``ip_local_port_range`` (``"32768 60999"``, any white space) spans.

    Raises:
        InvalidParameter: it is not two ports in order.
    """
    words = text.split()
    if len(words) != 2 or not all(map(_is_port, words)) or int(words[0]) > int(words[1]):
        raise InvalidParameter(
            f"invalid port range {text.strip()!r}: write two ports, low and high", code="invalid_port"
        )
    return range(int(words[0]), int(words[1]) + 1)


def parse_reserved_ports(text: str, within: range = ALL_PORTS) -> frozenset[int]:
    """Return the ports of ``ip_local_reserved_ports`` (``"8080,9148,30000-30002"``) that lie ``within`` a range.

    Raises:
        InvalidParameter: an item is neither a port nor a range of ports in order.
    """
    ports: set[int] = set()
    for item in text.strip().split(","):
        if not item:
            continue
        low, dash, high = item.partition("-")
        if not _is_port(low) or (dash and not _is_port(high)) or (dash and int(low) > int(high)):
            raise InvalidParameter(f'invalid port{" range" if dash else ""} "{item}"', code="invalid_port", item=item)
        ports.update(range(max(int(low), within.start), min(int(high or low) + 1, within.stop)))
    return frozenset(ports)


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and 0 <= int(text) <= 65535
