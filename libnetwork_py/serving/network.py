"""A network driver's calls, answered with the networks and endpoints of a controller.

Docker's ids are names here: a network is named by its id, an endpoint by its own, and so is the sandbox that hands its interface over.
Docker repeats calls, and tears down what never came to be: what exists is not made again, and what is gone is no error.

May import: controller, network, endpoint, plugins.wire, labels, types, errors.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from .. import labels
from ..controller import NetworkController
from ..endpoint import Endpoint
from ..errors import Conflict, NotFound
from ..network import Network, NetworkRecord
from ..plugins.wire import parse_exposed, parse_portmap
from ..sandbox import HANDED
from ..types import IPInterface, MacAddress
from .body import Body

IPAM = "docker"
"""Name under which `GivenIpam` is known to the controller."""

_TOLD = (labels.ENABLE_IPV4, labels.ENABLE_IPV6, labels.GENERIC, labels.INTERNAL)


class NetworkService:
    """The calls of one driver.

    Args:
        controller: Makes what is asked for. It knows `GivenIpam` as ``docker``.
        driver: Name of the driver.
    """

    def __init__(self, controller: NetworkController, driver: str) -> None:
        self._controller, self._driver = controller, driver

    def calls(self) -> Mapping[str, Any]:
        """Return each method of the protocol with what answers it."""
        return {
            "GetCapabilities": self.capabilities,
            "GwAllocCheck": self.gateways_needed,
            "AllocateNetwork": self.allocate,
            "FreeNetwork": self.delete_network,
            "CreateNetwork": self.create_network,
            "DeleteNetwork": self.delete_network,
            "CreateEndpoint": self.create_endpoint,
            "DeleteEndpoint": self.delete_endpoint,
            "EndpointOperInfo": self.operational,
            "Join": self.join,
            "Leave": self.leave,
            "ProgramExternalConnectivity": self.program,
            "RevokeExternalConnectivity": self.revoke,
            "DiscoverNew": self.nothing,
            "DiscoverDelete": self.nothing,
        }

    def capabilities(self, _body: Body) -> Mapping[str, Any]:
        """How far the driver's networks reach, and that it knows which gateways they need."""
        scope = self._controller.drivers.get(self._driver).capability.scope
        return {"Scope": scope, "ConnectivityScope": scope, "GwAllocChecker": True}

    def gateways_needed(self, body: Body) -> Mapping[str, Any]:
        """For which families a network with these options needs no gateway address."""
        network = NetworkRecord("", "", self._driver, **_options(body.inner("Options")))
        wanted = self._controller.drivers.get(self._driver).gateway_families(network)
        return {"SkipIPv4": 4 not in wanted, "SkipIPv6": 6 not in wanted}

    def allocate(self, body: Body) -> Mapping[str, Any]:
        """Options go back as they came: what else a network across hosts needs, the cluster's store chooses when it is made."""
        return {"Options": body.inner("Options").texts()}

    def nothing(self, _body: Body) -> Mapping[str, Any]:
        """There is nothing to do."""
        return {}

    # Networks

    def create_network(self, body: Body) -> Mapping[str, Any]:
        """Make a network with the pools and gateways that were chosen."""
        name = body.text("NetworkID", needed=True)
        pools = [*body.inners("IPv4Data"), *body.inners("IPv6Data")]
        if self._network(name) is None:
            self._controller.create_network(
                name, self._driver, ipam=IPAM, subnets=[pool.text("Pool", needed=True) for pool in pools],
                gateways=[str(each.ip) for each in (pool.parsed("Gateway", _interface) for pool in pools) if each],
                aux_addresses=dict(each for pool in pools for each in _kept_back(pool)),
                **_options(body.inner("Options")),
            )  # fmt: skip
        return {}

    def delete_network(self, body: Body) -> Mapping[str, Any]:
        """Remove it; where other hosts of a cluster have endpoints on it, this host's alone: the last host removes it."""
        network = self._network(body.text("NetworkID", needed=True))
        if network is None:
            return {}
        try:
            network.delete(force=True)
        except Conflict as error:
            if error.code != "network_in_use":
                raise
            for endpoint in network.endpoints():
                with suppress(Conflict):  # another host's
                    self._take_back(endpoint)
                    endpoint.delete(force=True)
        return {}

    # Endpoints

    def create_endpoint(self, body: Body) -> Mapping[str, Any]:
        """Make an endpoint with the addresses that were chosen; the answer has what was not."""
        name, interface = body.text("EndpointID", needed=True), body.inner("Interface")
        options = body.inner("Options")
        given = [interface.parsed(key, _interface) for key in ("Address", "AddressIPv6")]
        mac = interface.parsed("MacAddress", MacAddress)
        network = self._controller.network(body.text("NetworkID", needed=True))
        endpoint = self._endpoint(body) or network.create_endpoint(
            name, addresses=[each.ip for each in given if each], mac=mac,
            expose=parse_exposed(options.raw(labels.EXPOSED_PORTS)),
            options={key: value for key, value in options.texts().items() if not key.startswith(labels.PREFIX)},
        )  # fmt: skip
        return {"Interface": {} if mac or endpoint.mac is None else {"MacAddress": str(endpoint.mac)}}

    def delete_endpoint(self, body: Body) -> Mapping[str, Any]:
        """Remove it."""
        endpoint = self._endpoint(body)
        if endpoint is not None:
            self._take_back(endpoint)
            endpoint.delete(force=True)
        return {}

    def operational(self, body: Body) -> Mapping[str, Any]:
        """What there is to tell of an endpoint."""
        endpoint = self._existing(body)
        return {"Value": {labels.ENDPOINT_MACADDRESS: str(endpoint.mac or "")}}

    # Join and leave

    def join(self, body: Body) -> Mapping[str, Any]:
        """Make the interface, on the host, and say what becomes of it in the sandbox."""
        endpoint = self._existing(body)
        self._take_back(endpoint)
        with self._controller.batch():
            endpoint.join(self._controller.create_sandbox(f"{HANDED}-{endpoint.name}", netns=HANDED))
        found = endpoint.handover()
        gateways = {each.version: str(each) for each in found.gateways}
        return {
            "InterfaceName": {"SrcName": found.source, "DstPrefix": found.prefix},
            "Gateway": gateways.get(4, ""),
            "GatewayIPv6": gateways.get(6, ""),
            "StaticRoutes": [
                {"Destination": str(where), "RouteType": 0 if hop else 1, "NextHop": str(hop or "")}
                for where, hop in found.routes
            ],
            "DisableGatewayService": True,
        }

    def leave(self, body: Body) -> Mapping[str, Any]:
        """Remove the interface."""
        endpoint = self._endpoint(body)
        if endpoint is not None:
            self._take_back(endpoint)
        return {}

    def _take_back(self, endpoint: Endpoint) -> None:
        with suppress(NotFound), self._controller.batch():
            sandbox = self._controller.sandbox(f"{HANDED}-{endpoint.name}")
            if endpoint.state == "joined":
                endpoint.leave()
            sandbox.delete()

    # The way out

    def program(self, body: Body) -> Mapping[str, Any]:
        """Publish the endpoint's ports: these and no others."""
        endpoint = self._existing(body)
        wanted = parse_portmap(body.inner("Options").raw(labels.PORTMAP))
        with self._controller.batch():
            self._unpublish(endpoint)
            for binding in wanted:
                endpoint.publish(binding)
        return {}

    def revoke(self, body: Body) -> Mapping[str, Any]:
        """Publish none."""
        endpoint = self._endpoint(body)
        if endpoint is not None:
            with self._controller.batch():
                self._unpublish(endpoint)
        return {}

    def _unpublish(self, endpoint: Endpoint) -> None:
        for binding in endpoint.ports:
            endpoint.unpublish(binding)

    # Looking up

    def _network(self, name: str) -> Network | None:
        try:
            return self._controller.network(name)
        except NotFound:
            return None

    def _endpoint(self, body: Body) -> Endpoint | None:
        network = self._network(body.text("NetworkID", needed=True))
        try:
            return network.endpoint(body.text("EndpointID", needed=True)) if network is not None else None
        except NotFound:
            return None

    def _existing(self, body: Body) -> Endpoint:
        return self._controller.network(body.text("NetworkID", needed=True)).endpoint(
            body.text("EndpointID", needed=True)
        )


def _options(options: Body) -> dict[str, Any]:
    """Return what a network's options say, as arguments of `create_network`."""
    generic = options.inner(labels.GENERIC).texts()
    others = {key: value for key, value in options.texts().items() if key not in _TOLD}
    return {
        "ipv4": options.flag(labels.ENABLE_IPV4) if labels.ENABLE_IPV4 in options else True,
        "ipv6": options.flag(labels.ENABLE_IPV6),
        "internal": options.flag(labels.INTERNAL),
        "options": {**others, **generic},
    }


def _interface(text: str) -> IPInterface:
    return ipaddress.ip_interface(text)


def _kept_back(pool: Body) -> Iterator[tuple[str, str]]:
    for name, address in pool.inner("AuxAddresses").texts().items():
        yield name, address.partition("/")[0]
