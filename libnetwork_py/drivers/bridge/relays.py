"""Published ports that the kernel's translation does not reach, and so a relay carries.

Division of labour: `relay_words` says which; the kernel layer has the process. Two things are left to it, and a third without root:

* ``::1``. IPv6 has no ``route_localnet``: a packet with a loopback address never leaves by another interface, translated or not.
* 127.0.0.1 of the caller's own machine, where the host is a namespace that only the caller's user knows.
* The host's IPv6 addresses, for an endpoint that has IPv4 alone: the kernel's NAT does not lead from one family to the other.

Also clients with link-local addresses, whose packets are not translated since the answer could not find back. Everything else is the
kernel's: IPv4, 127.0.0.1 included, and IPv6 to IPv6. A relay's connection comes from the gateway's address.

May import: drivers.bridge.options, desired, endpoint, types, errors.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import IPv6Address

from ...desired import CALLER, HOST, Relay
from ...endpoint import EndpointRecord
from ...errors import InvalidParameter
from ...types import Family, IPAddress, PortBinding
from .options import BridgeOptions

_ANY = IPv6Address(0)


def published(endpoint: EndpointRecord) -> list[IPAddress]:
    """Return the first address of each family: a host port leads to one."""
    first: dict[int, IPAddress] = {}
    for interface in endpoint.addresses:
        first.setdefault(interface.version, interface.ip)
    return list(first.values())


def relay_words(endpoint: EndpointRecord, options: BridgeOptions, *, localhost: bool = False) -> Iterator[Relay]:
    """Return what a relay carries for an endpoint with concrete host ports; ``localhost``: to the caller's own machine too."""
    to: dict[Family, IPAddress] = {each.version: each for each in published(endpoint)}
    if localhost:
        for binding in endpoint.bindings:
            yield from _to_the_caller(binding, published(endpoint), options)
    target = to.get(6) or to.get(4)
    if target is None or not _translated(6 if target.version == 6 else 4, options):
        return
    for binding in endpoint.bindings:
        address = binding.host_ip if binding.host_ip is not None else _ANY
        if address.version == 6 and (target.version == 4 or address.is_unspecified or address.is_loopback):
            yield Relay(
                HOST, binding.protocol, address, binding.host_port, target, binding.container_port, binding.count
            )


def _to_the_caller(binding: PortBinding, to: Sequence[IPAddress], options: BridgeOptions) -> Iterator[Relay]:
    """A port of all the host's addresses, or of its loopback, for the caller's machine. SCTP is not for users."""
    target = next((each for each in to if each.version == 4), to[0] if to else None)
    everywhere = binding.host_ip is None or binding.host_ip.is_unspecified or binding.host_ip.is_loopback
    if target is None or not everywhere or binding.protocol == "sctp":
        return
    if _translated(4 if target.version == 4 else 6, options):
        yield Relay(HOST, binding.protocol, CALLER, binding.host_port, target, binding.container_port, binding.count)


def check_port(port: PortBinding, endpoint: EndpointRecord, options: BridgeOptions) -> None:
    """Check that a port's host address leads somewhere.

    Raises:
        InvalidParameter: the endpoint has no address of its family, and none that a relay could carry it to.
    """
    if port.host_ip is None or port.family in endpoint.families:
        return
    if port.family == 6 and endpoint.families and _translated(4, options):
        return
    raise InvalidParameter(
        f"port {port} is bound to an IPv{port.family} address of the host and endpoint {endpoint.name!r} has none of that family",
        code="port_family", binding=str(port),
    )  # fmt: skip


def _translated(family: Family, options: BridgeOptions) -> bool:
    return options.modes[family] in {"nat", "nat-unprotected"}
