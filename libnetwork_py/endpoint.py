"""An endpoint: a sandbox's foot in a network. Its record, its states as a table, and the handle that users hold.

Division of labour: `EndpointRecord` is what is stored; `TRANSITIONS` says which verb is allowed when; `Endpoint` is a handle: an id
and a narrow port (`EndpointOps`) that `lifecycle/` implements. References upward (network, sandbox) are ids.

Rule: an endpoint belongs to one network for life and is joined to at most one sandbox at a time.

May import: sandbox, types, errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol

from attrs import frozen

from .types import EMPTY, IPInterface, MacAddress, PortBinding

State = Literal["created", "joined", "deleted"]
Verb = Literal["join", "leave", "delete", "publish", "unpublish", "update"]

TRANSITIONS: Mapping[tuple[State, Verb], State] = {
    ("created", "join"): "joined",
    ("created", "delete"): "deleted",
    ("created", "publish"): "created",
    ("created", "unpublish"): "created",
    ("created", "update"): "created",
    ("joined", "leave"): "created",
    ("joined", "publish"): "joined",
    ("joined", "unpublish"): "joined",
    ("joined", "update"): "joined",
}
"""Every verb that an endpoint in a state allows, and the state after it. What is not here is a `Conflict`."""


@frozen
class EndpointRecord:
    """What is stored of an endpoint.

    Attributes:
        sandbox_id: The sandbox it is joined to, or ``None``.
        addresses: With the prefix length of their subnet.
        ports: What was asked to be published; ``bindings``: the same with concrete host ports, while joined.
        interface: The name asked for; ``ifname``: the one it has while joined.
        created: Seconds since the epoch.
    """

    id: str
    name: str
    network_id: str
    sandbox_id: str | None = None
    addresses: tuple[IPInterface, ...] = ()
    mac: MacAddress | None = None
    ports: tuple[PortBinding, ...] = ()
    bindings: tuple[PortBinding, ...] = ()
    expose: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    dns_names: tuple[str, ...] = ()
    sysctls: Mapping[str, str] = EMPTY
    interface: str | None = None
    ifname: str = ""
    priority: int = 0
    options: Mapping[str, str] = EMPTY
    labels: Mapping[str, str] = EMPTY
    created: float = 0.0

    @property
    def state(self) -> State:
        """``joined`` while it is in a sandbox, else ``created``."""
        return "created" if self.sandbox_id is None else "joined"
