"""A plug-in of Docker's as a driver.

May import: drivers.api, drivers.acting, drivers.remote, plugins, desired, network, endpoint, sandbox, labels, types.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any, cast

from attrs import frozen

from ... import labels
from ...desired import Moved, Route, Word
from ...endpoint import EndpointRecord
from ...network import NetworkRecord
from ...plugins.client import Answered, Subsystem
from ...sandbox import SandboxRecord
from ...types import Family, Scope
from ..acting import ActingDriver, Joined
from ..api import Attachment, Capability, Context
from . import messages
from .messages import JoinAnswer


@frozen
class Capabilities:
    """What a plug-in says of itself. ``connectivity``: how far its networks reach. ``checks_gateways``: it knows who needs none."""

    scope: Scope
    connectivity: Scope
    checks_gateways: bool = False


class RemoteDriver(ActingDriver):
    """Calls a plug-in when things come and go; describes what it answered.

    It is not asked for anything before something needs it, so one that is not there hurts nobody.

    Args:
        plugin: The plug-in's network driver.
    """

    def __init__(self, plugin: Subsystem) -> None:
        self._plugin = plugin
        self._capabilities: Capabilities | None = None
        self._lock = threading.Lock()

    # What it is like

    @property
    def capabilities(self) -> Capabilities:
        """What the plug-in says of itself; asked once."""
        with self._lock:
            if self._capabilities is None:
                answer = self._plugin.call("GetCapabilities")
                scope = _scope(answer, "Scope", "")
                connectivity = _scope(answer, "ConnectivityScope", scope)
                self._capabilities = Capabilities(scope, connectivity, answer.flag("GwAllocChecker"))
            return self._capabilities

    @property
    def capability(self) -> Capability:  # type: ignore[override]  # the contract reads it; here it is known when asked
        """What the library asks a driver for; it may publish ports, as far as the plug-in does."""
        return Capability(scope=self.capabilities.scope, ports=True, reserves_ports=False)

    def gateway_families(self, network: NetworkRecord) -> tuple[Family, ...]:
        """Ask the plug-in which gateways it does not need, if it knows."""
        if not self.capabilities.checks_gateways:
            return (4, 6)
        answer = self._plugin.call("GwAllocCheck", {"Options": dict(network.options)})
        skip: Mapping[Family, bool] = {4: answer.flag("SkipIPv4"), 6: answer.flag("SkipIPv6")}
        return tuple(family for family in skip if not skip[family])

    # Arrivals and departures

    def create_network(self, network: NetworkRecord) -> None:
        """Call ``CreateNetwork``."""
        self._plugin.call("CreateNetwork", messages.create_network(network))

    def delete_network(self, network: NetworkRecord) -> None:
        """Call ``DeleteNetwork``."""
        self._plugin.call("DeleteNetwork", {"NetworkID": network.id})

    def create_endpoint(self, network: NetworkRecord, endpoint: EndpointRecord) -> EndpointRecord:
        """Call ``CreateEndpoint``; what the plug-in answers completes the record."""
        answer = self._plugin.call("CreateEndpoint", messages.create_endpoint(endpoint))
        return messages.with_interface(endpoint, answer)

    def delete_endpoint(self, network: NetworkRecord, endpoint: EndpointRecord) -> None:
        """Call ``DeleteEndpoint``."""
        self._plugin.call("DeleteEndpoint", messages.ids(endpoint))

    def join(self, network: NetworkRecord, endpoint: EndpointRecord, sandbox: SandboxRecord) -> Joined:
        """Call ``Join``; the interface that the plug-in names is moved into the sandbox."""
        body = {**messages.ids(endpoint), "SandboxKey": sandbox.key, "Options": messages.ports_of(endpoint)}
        found = JoinAnswer.read(self._plugin.call("Join", body))
        return Joined((found.prefix or "eth") if found.source else "", found.decided())

    def leave(self, network: NetworkRecord, endpoint: EndpointRecord) -> None:
        """Call ``Leave``."""
        self._plugin.call("Leave", messages.ids(endpoint))

    def program_external(self, network: NetworkRecord, endpoint: EndpointRecord, families: Sequence[Family]) -> None:
        """Call ``ProgramExternalConnectivity``, which a plug-in may lack."""
        options = {labels.NO_PROXY_6TO4: 6 not in families and 6 in endpoint.families, **messages.ports_of(endpoint)}
        body = {**messages.ids(endpoint), "Options": options}
        self._plugin.call("ProgramExternalConnectivity", body, optional=True)

    def revoke_external(self, network: NetworkRecord, endpoint: EndpointRecord) -> None:
        """Call ``RevokeExternalConnectivity``, which a plug-in may lack."""
        self._plugin.call("RevokeExternalConnectivity", messages.ids(endpoint), optional=True)

    def operational(self, network: NetworkRecord, endpoint: EndpointRecord) -> Mapping[str, Any]:
        """Call ``EndpointOperInfo``: whatever the plug-in wants to tell of a joined endpoint."""
        return self._plugin.call("EndpointOperInfo", messages.ids(endpoint)).object("Value").texts()

    def discover(self, address: str, *, bind: str = "", own: bool = False, gone: bool = False) -> None:
        """Call ``DiscoverNew`` or, where it is ``gone``, ``DiscoverDelete`` for a host of the cluster; a plug-in may lack both."""
        data = {"Address": address, "BindAddress": bind, "Self": own}
        method = "DiscoverDelete" if gone else "DiscoverNew"
        self._plugin.call(method, {"DiscoveryType": 1, "DiscoveryData": data}, optional=True)

    # Description

    def describe_endpoint(
        self, network: NetworkRecord, endpoint: EndpointRecord, sandbox: SandboxRecord, context: Context
    ) -> Attachment:
        """The plug-in's interface, moved into the sandbox, its static routes and its gateways, as its answer to ``Join`` was."""
        found = JoinAnswer.of(endpoint)
        if not found.source or not endpoint.ifname:
            return Attachment((), found.gateways)
        words: list[Word] = [Moved(sandbox.key, endpoint.ifname, found.source, endpoint.mac)]
        words += [Route(sandbox.key, where, endpoint.ifname, hop) for where, hop in found.routes]
        return Attachment(tuple(words), found.gateways)


def _scope(answer: Answered, key: str, default: str) -> Scope:
    value = answer.text(key) or default
    if value not in {"local", "global"}:
        raise answer.nonsense(f"{key} is {value!r}, not local or global")
    return cast("Scope", value)
