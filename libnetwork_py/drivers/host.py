"""The ``host`` driver: endpoints that are the host itself.

May import: drivers.api.
"""

from __future__ import annotations

from .api import Capability
from .null import NullDriver


class HostDriver(NullDriver):
    """Makes nothing: what joins such a network is the sandbox of the host's own namespace.

    There is one such network per controller, as in the reference.
    """

    capability = Capability(addresses=False, host_only=True, singleton=True)
