"""Numbers and records as the few words that fit into a box.

May import: network, endpoint, sandbox, facts, types.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from html import escape

from ..endpoint import EndpointRecord
from ..facts import LinkStatistics
from ..network import NetworkRecord

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
_GAP = "\u00a0"
"""Between a number and its unit: no line is broken there."""
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def safe(value: object) -> str:
    """Return text for HTML and XML: escaped, quotes too, and without the characters that XML forbids."""
    return escape(_UNPRINTABLE.sub("\ufffd", str(value)))


def size(count: float) -> str:
    """Return a number of bytes with three digits and a decimal unit."""
    for unit in _UNITS[:-1]:
        if count < 1000:
            return f"{count:.3g}{_GAP}{unit}" if unit != "B" else f"{count:.0f}{_GAP}B"
        count /= 1000
    return f"{count:.3g}{_GAP}{_UNITS[-1]}"


def traffic(counters: LinkStatistics) -> str:
    """Return what an interface received and sent, and what it dropped if it did."""
    dropped = counters.rx_dropped + counters.tx_dropped + counters.rx_errors + counters.tx_errors
    text = f"↓{size(counters.rx_bytes)} ↑{size(counters.tx_bytes)}"
    return f"{text} ✕{dropped}" if dropped else text


def network(record: NetworkRecord) -> str:
    """Return what kind of network it is: driver, subnets, gateways, whether it is cut off."""
    parts = [record.driver, *(str(each.subnet) for each in record.subnets)]
    gateways = [str(each.gateway) for each in record.subnets if each.gateway]
    parts += [f"gateway {', '.join(gateways)}"] if gateways and not record.internal else []
    parts += ["internal"] if record.internal else []
    parts += ["configuration only"] if record.config_only else []
    return " · ".join(parts)


def ports(record: EndpointRecord) -> list[str]:
    """Return the published ports as ``host → container``."""
    shown = []
    for binding in record.bindings or record.ports:
        address = f"{binding.host_ip}:" if binding.host_ip else ""
        first, last = binding.host_port, binding.host_port + binding.count - 1
        host = f"{first or 'any'}" if first == last or not first else f"{first}-{last}"
        inner = binding.container_port, binding.container_port + binding.count - 1
        own = f"{inner[0]}" if inner[0] == inner[1] else f"{inner[0]}-{inner[1]}"
        shown.append(f"{address}{host} → {own}/{binding.protocol}")
    return shown


def moment(seconds: float) -> str:
    """Return a time in UTC, to the second."""
    return datetime.fromtimestamp(seconds, tz=UTC).strftime("%Y-%m-%d %H:%M:%S") if seconds else ""
