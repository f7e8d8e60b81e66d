"""Static routes that users give to a network or an endpoint.

Division of labour: a value here checks its own form; whether its gateway can be reached, and whether it collides with others, is decided
in `lifecycle.routing`.

May import: types, errors.
"""

from __future__ import annotations

import re

from attrs import field, frozen

from .errors import InvalidParameter
from .types import Family, IPAddress, IPNetwork, parse_address, parse_network

METRIC_MAX = 2**32 - 1
METRIC_DEFAULTS: dict[Family, int] = {4: 0, 6: 1024}
"""The metric that the kernel gives a route that names none (``IP6_RT_PRIO_USER`` in include/uapi/linux/ipv6_route.h)."""

METRIC_CONNECTED: dict[Family, int] = {4: 0, 6: 256}
"""The metric of the route that comes with an interface's address (``IP6_RT_PRIO_ADDRCONF``)."""

_TEXT = re.compile(
    r"(?P<destination>\S+)(?:\s+via\s+(?P<gateway>\S+)|\s+dev|\s+onlink)?(?:\s+metric\s+(?P<metric>\d+))?", re.ASCII
)


def _destination(value: str | IPNetwork) -> IPNetwork:
    text = str(value)
    if text == "default":
        raise _no_default(text)
    return parse_network(
        text if "/" in text else f"{parse_address(text, 'destination')}/{'128' if ':' in text else '32'}"
    )


def _gateway(value: str | IPAddress | None) -> IPAddress | None:
    return None if value is None else parse_address(value, "gateway of a route")


@frozen
class StaticRoute:
    """A route in the sandboxes of a network or an endpoint, over the interface there.

    Text forms (``parse``), as ``ip route`` writes them: ``10.9.0.0/16 via 172.18.0.5``, ``10.9.0.0/16 via 172.18.0.5 metric 100``,
    ``10.9.0.0/16`` or ``10.9.0.0/16 dev`` for what is on the link itself.

    Attributes:
        destination: Where to: a subnet, or one address.
        gateway: Who passes it on; ``None``: the destination is on the link.
        metric: The lower one wins; 0: the kernel's own (IPv4 0, IPv6 1024).

    Raises:
        InvalidParameter: malformed; a default route, which is elected; a destination that is multicast, loopback or link-local; gateway and
            destination of different families; a metric outside 0 to 4,294,967,295.
    """

    destination: IPNetwork = field(converter=_destination)
    gateway: IPAddress | None = field(default=None, converter=_gateway)
    metric: int = 0

    def __attrs_post_init__(self) -> None:
        if not self.destination.prefixlen:
            raise _no_default(str(self))
        why = self._fault()
        if why:
            raise InvalidParameter(f"invalid route '{self}': {why}", code="invalid_route", route=str(self))

    def _fault(self) -> str:
        if type(self.metric) is not int or not 0 <= self.metric <= METRIC_MAX:
            return f"the metric is a number from 0 to {METRIC_MAX}"
        if self.destination.is_multicast or self.destination.is_loopback:
            return "the destination is multicast or loopback, where no route leads"
        if self.family == 6 and self.destination.is_link_local:
            return "link-local addresses are on every link already"
        if self.gateway is None:
            return ""
        if self.gateway.version != self.family:
            return "gateway and destination are of different families"
        if (
            self.gateway.is_unspecified
            or self.gateway.is_multicast
            or self.gateway.is_loopback
            or "%" in str(self.gateway)
        ):
            return f"{self.gateway} is no gateway"
        return ""

    @property
    def family(self) -> Family:
        """4 or 6."""
        return 4 if self.destination.version == 4 else 6

    @property
    def place(self) -> tuple[IPNetwork, int]:
        """What no two routes of one sandbox share: the destination, and the metric as the kernel has it."""
        return self.destination, self.metric or METRIC_DEFAULTS[self.family]

    @classmethod
    def parse(cls, value: str | StaticRoute) -> StaticRoute:
        """Return the route that ``value`` writes.

        Raises:
            InvalidParameter: see the class.
        """
        if isinstance(value, StaticRoute):
            return value
        match = _TEXT.fullmatch(str(value).strip())
        if not match:
            raise InvalidParameter(
                f"invalid route {str(value)!r}: write DESTINATION [via GATEWAY] [metric NUMBER], like"
                " '10.9.0.0/16 via 172.18.0.5 metric 100'",
                code="invalid_route", route=str(value),
            )  # fmt: skip
        return cls(match["destination"], match["gateway"], int(match["metric"] or 0))

    def __str__(self) -> str:
        via = f" via {self.gateway}" if self.gateway else ""
        return f"{self.destination}{via}{f' metric {self.metric}' if self.metric else ''}"


def _no_default(text: str) -> InvalidParameter:
    return InvalidParameter(
        f"invalid route '{text}': the default route is elected among a sandbox's networks; name another gateway with the auxiliary address"
        " DefaultGatewayIPv4 or DefaultGatewayIPv6, or prefer a network with priority=",
        code="default_route", route=text,
    )  # fmt: skip
