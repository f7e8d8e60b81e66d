"""What may be asked of the driver, checked."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from libnetwork_py.drivers.api import Option
from libnetwork_py.drivers.options import Options
from libnetwork_py.errors import InvalidParameter

VLAN, RATE, BRIDGE, DATAPATH = "ovs.vlan", "ovs.rate", "ovs.bridge", "ovs.datapath"

OPTIONS = (
    Option(BRIDGE, "interface", "", "Name of the bridge; made of the network's id by default."),
    Option(
        DATAPATH, "text", "netdev", "netdev forwards in user space, system in the kernel.", choices=("netdev", "system")
    ),
    Option(VLAN, "integer", "0", "VLAN that endpoints are in; 0: none."),
    Option(VLAN, "integer", "", "VLAN of this endpoint instead of the network's; 0: none.", where="endpoint"),
    Option(RATE, "integer", "0", "What the endpoint may send, in kbit/s; 0: as much as it can.", where="endpoint"),
)


@frozen
class NetworkOptions:
    """Of a network."""

    bridge: str
    datapath: str
    vlan: int

    @classmethod
    def read(cls, network_id: str, given: Mapping[str, str]) -> NetworkOptions:
        """Read them.

        Raises:
            InvalidParameter: unknown or malformed.
        """
        options = Options("ovs", OPTIONS, given)
        return cls(
            options.text(BRIDGE) or f"ovs-{network_id[:10]}", options.text(DATAPATH), _vlan(options.integer(VLAN))
        )


@frozen
class EndpointOptions:
    """Of an endpoint. ``rate``: kbit/s, 0 for no limit."""

    vlan: int
    rate: int

    @classmethod
    def read(cls, network: NetworkOptions, given: Mapping[str, str]) -> EndpointOptions:
        """Read them.

        Raises:
            InvalidParameter: unknown or malformed.
        """
        options = Options("ovs", OPTIONS, given, "endpoint")
        return cls(_vlan(options.integer(VLAN)) if options.text(VLAN) else network.vlan, options.integer(RATE))


def _vlan(number: int) -> int:
    if number > 4094:
        raise InvalidParameter(
            f"invalid {VLAN} {number}: a VLAN is 1 to 4094, or 0 for none", code="invalid_option", option=VLAN
        )
    return number
