"""Docker's overlay options, with the reference's defaults.

May import: drivers.api, drivers.options, desired, labels, types, errors.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from ... import labels
from ...desired import VXLAN_PORT
from ...errors import InvalidParameter, NotSupported
from ...types import check_interface_name
from ..api import Option
from ..options import Options

VNI_MAX = (1 << 24) - 1
"""VXLAN numbers have 24 bits (RFC 7348, section 5); 0 is nobody's."""

PORT_MIN, PORT_MAX = 1024, 49151
"""What the reference takes for the data path's port (``ConfigVXLANUDPPort``)."""

OPTIONS = (
    Option(
        labels.OVERLAY_VXLAN_IDS,
        "text",
        "",
        "VXLAN numbers of the subnets, 1 to 16777215, with commas between them, in the order of the subnets; those not given are chosen.",
    ),
    Option(
        labels.OVERLAY_PORT,
        "integer",
        str(VXLAN_PORT),
        "UDP port of the tunnels, 1024 to 49151, the same on every host.",
    ),
    Option(
        labels.DRIVER_MTU,
        "integer",
        "0",
        "Largest packet in bytes that the underlay takes; endpoints get it less what a tunnel adds, 50 over IPv4 and 70 over IPv6. 0:"
        " 1500, or the MTU of the underlay's interface where that is smaller.",
    ),
    Option(labels.CONTAINER_IFACE_PREFIX, "text", "eth", "Prefix of interface names inside sandboxes."),
    Option(
        labels.OVERLAY_ENCRYPTED,
        "text",
        "",
        "Encrypt what goes between hosts. Not supported yet: a network that asks for it is refused, whatever the value.",
    ),
)


@frozen
class OverlayOptions:
    """The options of an overlay network, read. ``mtu``: of the underlay, 0 where it was not given."""

    vnis: tuple[int, ...]
    port: int
    mtu: int
    prefix: str


def read(given: Mapping[str, str]) -> OverlayOptions:
    """Return the options that a network was given.

    Raises:
        InvalidParameter: an unknown key or a bad value. NotSupported: encryption.
    """
    options = Options("overlay", OPTIONS, given)
    if labels.OVERLAY_ENCRYPTED in given:
        raise NotSupported(
            "encrypted overlay networks are not supported yet, and what was to be encrypted is not sent in clear:"
            f" leave out the option {labels.OVERLAY_ENCRYPTED!r}, and encrypt in the underlay if it must be",
            code="encryption", option=labels.OVERLAY_ENCRYPTED,
        )  # fmt: skip
    port = options.integer(labels.OVERLAY_PORT) or VXLAN_PORT
    if not PORT_MIN <= port <= PORT_MAX:
        raise _bad(labels.OVERLAY_PORT, str(port), f"use a port between {PORT_MIN} and {PORT_MAX}")
    prefix = options.text(labels.CONTAINER_IFACE_PREFIX) or "eth"
    try:
        check_interface_name(f"{prefix}0")
    except InvalidParameter as error:
        raise _bad(labels.CONTAINER_IFACE_PREFIX, prefix, str(error)) from None
    return OverlayOptions(
        _numbers(options.text(labels.OVERLAY_VXLAN_IDS)), port, options.integer(labels.DRIVER_MTU), prefix
    )


def _numbers(text: str) -> tuple[int, ...]:
    numbers: list[int] = []
    for part in text.split(",") if text else ():
        number = int(part) if part.strip().isascii() and part.strip().isdigit() else 0
        if not 1 <= number <= VNI_MAX:
            raise _bad(labels.OVERLAY_VXLAN_IDS, text, f"{part.strip()!r} is no number between 1 and {VNI_MAX}")
        if number in numbers:
            raise _bad(labels.OVERLAY_VXLAN_IDS, text, f"{number} is in it twice")
        numbers.append(number)
    return tuple(numbers)


def _bad(key: str, value: str, why: str) -> InvalidParameter:
    return InvalidParameter(
        f"failed to parse {key} value: {value!r} ({why})", code="invalid_option", option=key, value=value
    )
