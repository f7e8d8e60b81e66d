"""What may be an overlay network, and how large its packets are.

Division of labour: every function checks one thing and raises, before anything is touched.

May import: drivers.api, drivers.overlay.options, desired, network, labels, types, errors.
"""

from __future__ import annotations

from collections.abc import Iterable

from ... import labels
from ...desired import MTU_DEFAULT
from ...errors import Conflict, InvalidParameter
from ...network import NetworkRecord
from ...types import IPAddress
from ..api import Surroundings
from .options import OverlayOptions

OVERHEAD = {4: 50, 6: 70}
"""What a tunnel adds to a packet in bytes, by the underlay's family: Ethernet 14, VXLAN 8, UDP 8, and 20 for IPv4 or 40 for IPv6."""

MTU_MIN, MTU_MIN_IPV6 = 68, 1280
"""The least MTU of a veth (``ETH_MIN_MTU``), and of IPv6 (RFC 8200, section 5)."""


def underlay(surroundings: Surroundings) -> tuple[IPAddress, int]:
    """Return this host's address in the underlay and the MTU of the interface that has it.

    Raises:
        InvalidParameter: there is no such address.
    """
    vtep, host = surroundings.vtep, surroundings.facts.host
    if vtep is None:
        raise InvalidParameter(
            "an overlay network needs the host's address in the underlay: give the controller cluster=…",
            code="no_underlay",
        )
    for link, address in host.addresses:
        if address.ip == vtep and link in host.links:
            return vtep, host.links[link].mtu
    raise InvalidParameter(
        f"no interface of the host has the underlay address {vtep}: its tunnels would begin nowhere",
        code="no_underlay", address=str(vtep),
    )  # fmt: skip


def mtu(network: NetworkRecord, options: OverlayOptions, decided: int, surroundings: Surroundings) -> int:
    """Return the MTU of the endpoints; the one that was decided when the network was created counts on every host.

    Raises:
        InvalidParameter: what was asked for, or decided on another host, does not fit this host's underlay.
    """
    vtep, largest = underlay(surroundings)
    overhead = OVERHEAD[vtep.version]
    inner = decided or (options.mtu or min(MTU_DEFAULT, largest)) - overhead
    if inner + overhead > largest:
        raise InvalidParameter(
            f"the underlay takes packets of {largest} bytes and those of network {network.name!r} have up to {inner + overhead},"
            f" {overhead} of them the tunnel's: give {labels.DRIVER_MTU}={largest} or less when it is created, or raise the"
            " MTU of the interface",
            code="underlay_mtu", mtu=inner, underlay=largest,
        )  # fmt: skip
    least = MTU_MIN_IPV6 if network.ipv6 or 6 in network.families else MTU_MIN
    if inner < least:
        raise InvalidParameter(
            f"MTU {inner + overhead} is too small: less the tunnel's {overhead} bytes it leaves {inner}, and"
            f" {'IPv6' if least == MTU_MIN_IPV6 else 'an interface'} needs {least}",
            code="invalid_mtu", mtu=inner,
        )  # fmt: skip
    return inner


def check_subnets(network: NetworkRecord, options: OverlayOptions, others: Iterable[NetworkRecord]) -> None:
    """Check subnets against each other, and what was asked for against other networks.

    Raises:
        InvalidParameter: more numbers than subnets. Conflict: a subnet or number is another network's.
    """
    if network.subnets and len(options.vnis) > len(network.subnets):
        raise InvalidParameter(
            f"{labels.OVERLAY_VXLAN_IDS} has {len(options.vnis)} numbers for {len(network.subnets)} subnets",
            code="invalid_option", option=labels.OVERLAY_VXLAN_IDS,
        )  # fmt: skip
    for other in others:
        if other.id == network.id:
            continue
        taken = sorted(set(options.vnis) & set(other.vnis))
        if taken:
            raise Conflict(
                f"VXLAN number {taken[0]} is network {other.name!r}'s: choose another", code="vni_taken", vni=taken[0]
            )
