"""Where a packet goes, and where it dies.

May import: targets, lifecycle.explaining, endpoint, sandbox, types.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import cast

from ..endpoint import Endpoint
from ..errors import InvalidParameter
from ..lifecycle.explaining import Explanation
from ..sandbox import Sandbox
from ..types import IPAddress
from . import targets

__all__ = ["Explanation", "explain"]


def explain(sandbox: Sandbox, target: Sandbox | Endpoint | IPAddress | str) -> Explanation:
    """Say where a packet from a sandbox to a target goes: over which routes, neighbours, links and rules, and where it dies.

    Nothing is sent: the records, a snapshot of the machine's links, addresses, routes and settings, and the rules that the firewall
    always has say it. The answer's way back is walked as well. What others do (a foreign firewall, a router outside) is not known.

    Args:
        sandbox: Where the packet comes from.
        target: An address, an endpoint, a sandbox or the name of one; of a sandbox, the address on a network that both are on, else its
            first.

    Raises:
        InvalidParameter: the target has no address, or is no single machine's. NotFound: there is no sandbox of that name.
    """
    if not isinstance(target, Sandbox | Endpoint | IPv4Address | IPv6Address | str):
        raise InvalidParameter(f"{target!r} is no address, endpoint or sandbox", code="invalid_target")
    if isinstance(target, Endpoint):
        if not target.addresses:
            raise InvalidParameter(f"endpoint {target.name!r} has no address to walk to", code="no_address")
        wanted = str(target.addresses[0])
    else:
        wanted = target.id if isinstance(target, Sandbox) else str(target)
    return cast("Explanation", targets.sandbox(sandbox)._explain(wanted))  # noqa: SLF001 (what the handle has for this module)
