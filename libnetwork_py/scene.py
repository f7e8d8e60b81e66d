"""A picture's subject: the records of a topology and the counters of its interfaces, at one moment.

Division of labour: `lifecycle.survey` takes it, without ever waiting long; `show/` draws it. A value: nothing here looks at anything.

May import: network, endpoint, sandbox, facts, types.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import evolve, field, frozen

from .endpoint import EndpointRecord
from .facts import LinkStatistics
from .network import NetworkRecord
from .sandbox import SandboxRecord

ROUTING = ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding")
"""The settings that make a sandbox a router."""


@frozen
class Scene:
    """Networks, sandboxes and endpoints, each by name.

    Attributes:
        title: Of the whole.
        counters: By endpoint id; absent for one that is not joined, or that could not be asked in time.
        note: Why the scene may be older than the moment, empty if it is not.
    """

    title: str
    networks: tuple[NetworkRecord, ...] = ()
    sandboxes: tuple[SandboxRecord, ...] = ()
    endpoints: tuple[EndpointRecord, ...] = ()
    counters: Mapping[str, LinkStatistics] = field(factory=dict)
    note: str = ""

    def around(self, record_id: str) -> Scene:
        """Return the part that a network, sandbox or endpoint is in: what hangs on it directly, and on what."""
        near = [each for each in self.endpoints if record_id in {each.id, each.network_id, each.sandbox_id}]
        networks = {record_id, *(each.network_id for each in near)}
        sandboxes = {record_id, *(each.sandbox_id for each in near)}
        return evolve(
            self,
            networks=tuple(each for each in self.networks if each.id in networks),
            sandboxes=tuple(each for each in self.sandboxes if each.id in sandboxes),
            endpoints=tuple(near),
        )


def is_router(sandbox: SandboxRecord) -> bool:
    """Whether a sandbox was told to forward packets between its networks."""
    return any(sandbox.sysctls.get(name) == "1" for name in ROUTING)
