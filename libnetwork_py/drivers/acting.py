"""The contract's second screen: a driver that acts itself, besides describing or instead of it.

Most drivers need none of this. Derive from `ActingDriver` where something that is not this library makes the network: a plug-in in
another process, a switch with a control program of its own. Its methods are called at these moments, and never for a plan:

====================  ==========================================================================================
arrivals              after the intent is stored and before the kernel is changed: ``create_network``, then
                      ``create_endpoint``, then ``join``. What they return completes the records, which are then
                      described: `Moved` takes an interface that the driver has made into the sandbox.
``program_external``  after the kernel is changed: the endpoint is its sandbox's way out from now on, or its ports changed
departures            after everything else is done and stored: ``revoke_external``, ``leave``, ``delete_endpoint``,
                      ``delete_network``. The operation stands whatever they raise; it becomes a warning.
====================  ==========================================================================================

An arrival that raises undoes the operation: departures are called for the arrivals before it, in reverse, and for itself too unless
it was refused: with any of our errors but `Unavailable` and `Internal`, which leave open how far it came. A process may die at any
moment, so a departure may be for what never arrived or left already, which is no error.

May import: drivers.api, network, endpoint, sandbox, types.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import frozen

from ..endpoint import EndpointRecord
from ..network import NetworkRecord
from ..sandbox import SandboxRecord
from ..types import EMPTY, Family
from .api import Driver


@frozen
class Joined:
    """What a join brought.

    Attributes:
        prefix: Of the interface's name in the sandbox; ``None``: what `Driver.interface_prefix` says; empty: it has no interface.
        decided: What the driver needs to know to describe the endpoint: it is ``endpoint.decided`` while joined.
    """

    prefix: str | None = None
    decided: Mapping[str, str] = EMPTY


class ActingDriver(Driver):
    """A driver whose methods do something; those that are not overridden do nothing."""

    def create_network(self, network: NetworkRecord) -> None:
        """Make a network."""

    def delete_network(self, network: NetworkRecord) -> None:
        """Remove it."""

    def create_endpoint(self, network: NetworkRecord, endpoint: EndpointRecord) -> EndpointRecord:
        """Make an endpoint, and return its record with the MAC address, or the addresses, that it got where it had none."""
        return endpoint

    def delete_endpoint(self, network: NetworkRecord, endpoint: EndpointRecord) -> None:
        """Remove it."""

    def join(self, network: NetworkRecord, endpoint: EndpointRecord, sandbox: SandboxRecord) -> Joined:
        """Make ready for the endpoint to be in the sandbox: its interface may be there when this returns, on the host."""
        return Joined()

    def leave(self, network: NetworkRecord, endpoint: EndpointRecord) -> None:
        """Take back what `join` did; what was moved into the sandbox is on the host again, unless it went with the sandbox."""

    def program_external(self, network: NetworkRecord, endpoint: EndpointRecord, families: Sequence[Family]) -> None:
        """Connect an endpoint to the outside, its ports published: it is its sandbox's way out for these families."""

    def revoke_external(self, network: NetworkRecord, endpoint: EndpointRecord) -> None:
        """Take that back."""
