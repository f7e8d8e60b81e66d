"""The ``null`` driver: endpoints without an interface. It carries configuration-only networks too.

May import: drivers.api.
"""

from __future__ import annotations

from ..network import NetworkRecord
from ..types import Family
from .api import Capability, Driver


class NullDriver(Driver):
    """Makes nothing: a sandbox joined to such a network has its loopback and no more."""

    capability = Capability(addresses=False)

    def interface_prefix(self, network: NetworkRecord) -> str:
        """Return nothing: there is no interface."""
        return ""

    def gateway_families(self, network: NetworkRecord) -> tuple[Family, ...]:
        """Return nothing: there is no gateway."""
        return ()
