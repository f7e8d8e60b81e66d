"""Docker's bridge options, with the reference's defaults.

May import: drivers.api, drivers.options, labels, types.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from ... import labels
from ...types import IPAddress
from ..api import Option
from ..options import Options

MTU_MIN, MTU_MAX = 68, 65535
"""What a veth takes (``ETH_MIN_MTU`` to ``ETH_MAX_MTU``); IPv6 needs 1280 (RFC 8200, section 5)."""

OPTIONS = (
    Option(labels.BRIDGE_NAME, "interface", "", "Name of the Linux bridge; default `br-` and the network's id."),
    Option(
        labels.BRIDGE_ENABLE_IP_MASQUERADE, "boolean", "true", "Traffic to the outside leaves with the host's address."
    ),
    Option(labels.BRIDGE_ENABLE_ICC, "boolean", "true", "Endpoints of the network may talk to each other."),
    Option(labels.BRIDGE_HOST_BINDING_IPV4, "address", "", "Host address of published ports that name none."),
    Option(labels.DRIVER_MTU, "integer", "0", "MTU in bytes of bridge and interfaces; 0 leaves the kernel's 1500."),
    Option(labels.CONTAINER_IFACE_PREFIX, "text", "eth", "Prefix of interface names inside sandboxes."),
)


@frozen
class BridgeOptions:
    """The options of a bridge network, read."""

    name: str
    masquerade: bool
    icc: bool
    host_binding: IPAddress | None
    mtu: int
    prefix: str


def read(given: Mapping[str, str], network_id: str) -> BridgeOptions:
    """Return the options that a network was given.

    Raises:
        InvalidParameter: an unknown key or a bad value.
    """
    options = Options("bridge", OPTIONS, given)
    return BridgeOptions(
        name=options.text(labels.BRIDGE_NAME) or f"br-{network_id[:12]}",
        masquerade=options.boolean(labels.BRIDGE_ENABLE_IP_MASQUERADE),
        icc=options.boolean(labels.BRIDGE_ENABLE_ICC),
        host_binding=options.address(labels.BRIDGE_HOST_BINDING_IPV4),
        mtu=options.integer(labels.DRIVER_MTU),
        prefix=options.text(labels.CONTAINER_IFACE_PREFIX),
    )
