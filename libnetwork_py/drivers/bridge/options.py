"""Docker's bridge options, with the reference's defaults.

May import: drivers.api, drivers.options, firewall.elements, labels, types, errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address
from typing import cast, get_args

from attrs import frozen

from ... import labels
from ...errors import InvalidParameter
from ...firewall.elements import GatewayMode
from ...types import Family, IPAddress, check_interface_name
from ..api import Option
from ..options import Options

MTU_MIN, MTU_MIN_IPV6, MTU_MAX = 68, 1280, 65535
"""What a veth takes (``ETH_MIN_MTU`` to ``ETH_MAX_MTU``); IPv6 needs 1280 (RFC 8200, section 5)."""

OPTIONS = (
    Option(labels.BRIDGE_NAME, "interface", "", "Name of the Linux bridge; default `br-` and the network's id."),
    Option(
        labels.BRIDGE_ENABLE_IP_MASQUERADE,
        "boolean",
        "true",
        "Traffic to the outside leaves with the host's address.",
        changeable=True,
    ),
    Option(
        labels.BRIDGE_ENABLE_ICC,
        "boolean",
        "true",
        "Endpoints of the network may talk to each other.",
        changeable=True,
    ),
    Option(
        labels.BRIDGE_GATEWAY_MODE_IPV4,
        "text",
        "nat",
        "How IPv4 meets the outside: `nat`; `nat-unprotected`, whose unpublished ports are open too; `routed`, without"
        " translation; `isolated`, for internal networks: the bridge has no address.",
        choices=("", *get_args(GatewayMode)),
    ),
    Option(
        labels.BRIDGE_GATEWAY_MODE_IPV6,
        "text",
        "nat",
        "The same for IPv6.",
        choices=("", *get_args(GatewayMode)),
    ),
    Option(
        labels.BRIDGE_INHIBIT_IPV4,
        "boolean",
        "false",
        "The bridge gets no IPv4 address; its gateway is somebody else's.",
    ),
    Option(
        labels.BRIDGE_TRUSTED_HOST_INTERFACES,
        "text",
        "",
        "Interfaces of the host, with colons between them, from which published ports may be reached by the endpoint's own address.",
        changeable=True,
    ),
    Option(
        labels.HOST_IPV4,
        "address",
        "",
        "Source address of IPv4 traffic to the outside, instead of the interface's.",
        changeable=True,
    ),
    Option(labels.HOST_IPV6, "address", "", "The same for IPv6.", changeable=True),
    Option(
        labels.BRIDGE_HOST_BINDING_IPV4,
        "address",
        "",
        "Host address of published ports that name none, IPv4 or IPv6; `0.0.0.0` means all, as none does. A change counts for"
        " endpoints created, and ports published, after it.",
        changeable=True,
    ),
    Option(
        labels.DRIVER_MTU,
        "integer",
        "0",
        "MTU in bytes of bridge and interfaces, 68 to 65535, with IPv6 from 1280; 0 leaves the kernel's 1500.",
        changeable=True,
    ),
    Option(labels.CONTAINER_IFACE_PREFIX, "text", "eth", "Prefix of interface names inside sandboxes."),
    Option(labels.ENABLE_IPV4, "boolean", "", "The argument `ipv4`, for those who give it as Docker's option."),
    Option(labels.ENABLE_IPV6, "boolean", "", "The argument `ipv6`, likewise."),
    Option(labels.INTERNAL, "boolean", "", "The argument `internal`, likewise."),
    Option(
        labels.BRIDGE_DEFAULT,
        "boolean",
        "false",
        "Docker's mark of its default network, of which there is none here: only `false` is taken.",
    ),
)


@frozen
class BridgeOptions:
    """The options of a bridge network, read."""

    name: str
    masquerade: bool
    icc: bool
    modes: Mapping[Family, GatewayMode]
    inhibit_ipv4: bool
    trusted: tuple[str, ...]
    snat: Mapping[Family, IPAddress]
    host_binding: IPAddress | None
    mtu: int
    prefix: str
    flags: Mapping[str, bool]
    default_bridge: bool


_FLAGS = {"ipv4": labels.ENABLE_IPV4, "ipv6": labels.ENABLE_IPV6, "internal": labels.INTERNAL}
_ALL_IPV4 = IPv4Address(0)
_KNOWN_MAX = 1024
_known: dict[str, tuple[Mapping[str, str], BridgeOptions]] = {}


def read(given: Mapping[str, str], network_id: str) -> BridgeOptions:
    """Return the options that a network was given.

    Raises:
        InvalidParameter: an unknown key or a bad value.
    """
    known = _known.get(network_id)
    if known is not None and known[0] is given:
        return known[1]
    if len(_known) >= _KNOWN_MAX:
        _known.clear()
    found = _read(given, network_id)
    _known[network_id] = given, found
    return found


def _read(given: Mapping[str, str], network_id: str) -> BridgeOptions:
    options = Options("bridge", OPTIONS, given)
    _check_names(options)
    binding = options.address(labels.BRIDGE_HOST_BINDING_IPV4)
    return BridgeOptions(
        name=options.text(labels.BRIDGE_NAME) or f"br-{network_id[:12]}",
        masquerade=options.boolean(labels.BRIDGE_ENABLE_IP_MASQUERADE),
        icc=options.boolean(labels.BRIDGE_ENABLE_ICC),
        modes={4: _mode(options, labels.BRIDGE_GATEWAY_MODE_IPV4), 6: _mode(options, labels.BRIDGE_GATEWAY_MODE_IPV6)},
        inhibit_ipv4=options.boolean(labels.BRIDGE_INHIBIT_IPV4),
        trusted=tuple(each for each in options.text(labels.BRIDGE_TRUSTED_HOST_INTERFACES).split(":") if each),
        snat=_sources(options),
        host_binding=None if binding == _ALL_IPV4 else binding,
        mtu=options.integer(labels.DRIVER_MTU),
        prefix=options.text(labels.CONTAINER_IFACE_PREFIX) or "eth",
        flags={name: options.boolean(key) for name, key in _FLAGS.items() if options.text(key)},
        default_bridge=options.boolean(labels.BRIDGE_DEFAULT),
    )


def _mode(options: Options, key: str) -> GatewayMode:
    return cast("GatewayMode", options.text(key) or "nat")


def _check_names(options: Options) -> None:
    """Check options that hold names of interfaces: the trusted ones, and the beginning of those inside sandboxes.

    Raises:
        InvalidParameter: the kernel would take no such name.
    """
    trusted, prefix = labels.BRIDGE_TRUSTED_HOST_INTERFACES, labels.CONTAINER_IFACE_PREFIX
    names = [(trusted, name, name) for name in options.text(trusted).split(":") if name]
    names += [(prefix, text, f"{text}0") for text in (options.text(prefix),) if text]
    for key, text, name in names:
        try:
            check_interface_name(name)
        except InvalidParameter as error:
            raise InvalidParameter(
                f"failed to parse {key} value: {text!r} ({error})", code="invalid_option", option=key, value=text
            ) from None


def _sources(options: Options) -> Mapping[Family, IPAddress]:
    """Return the source address to use per family.

    Raises:
        InvalidParameter: an address of the other family.
    """
    keys: Mapping[Family, str] = {4: labels.HOST_IPV4, 6: labels.HOST_IPV6}
    found: dict[Family, IPAddress] = {}
    for family, key in keys.items():
        address = options.address(key)
        if address is None:
            continue
        found[family] = address
        if address.version != family:
            raise InvalidParameter(
                f"failed to parse {key} value: {address} is no IPv{family} address",
                code="invalid_option",
                option=key,
            )
    return found
