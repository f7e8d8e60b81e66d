"""Ports that cannot be published, and why: one table for the kernel in memory and the real one.

The scene has the networks ``front`` (10.7.0.0/24 alone), ``dual`` (10.8.0.0/24 and fd00:8::/64), ``inner`` (internal), and a joined
endpoint ``web`` on ``front`` that publishes what `TAKEN` says.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from attrs import frozen

from libnetwork_py import Conflict, Endpoint, InvalidParameter, LibnetworkError, NetworkController, PortBinding

TAKEN = ("8002:80", "127.0.0.1:8010:80", "127.0.0.1:8011:80/udp", "8020:80/sctp")


@frozen
class Refused:
    """A port, the network on which it is asked for, and the error: category, code, and what its message says."""

    what: str
    port: Any
    category: type[LibnetworkError]
    code: str
    says: str
    network: str = "front"


MALFORMED = (
    Refused("container port 0", "80:0", InvalidParameter, "invalid_port", "0 is not between 1 and 65535"),
    Refused("container port 65536", "80:65536", InvalidParameter, "invalid_port", "65536 is not between 1 and 65535"),
    Refused("host port 65536", "65536:80", InvalidParameter, "invalid_port", "65536 is not between 0 and 65535"),
    Refused("a negative host port", "-1:80", InvalidParameter, "invalid_port", "HOST_PORT"),
    Refused("a negative number", -80, InvalidParameter, "invalid_port", "HOST_PORT"),
    Refused("a port of twenty digits", "9" * 20 + ":80", InvalidParameter, "invalid_port", "is not between"),
    Refused("digits that are not ASCII", "٨٠", InvalidParameter, "invalid_port", "HOST_PORT"),
    Refused("no port", "", InvalidParameter, "invalid_port", "HOST_PORT"),
    Refused("nothing", None, InvalidParameter, "invalid_port", "HOST_PORT"),
    Refused("a reversed container range", "8090-8080:90-80", InvalidParameter, "invalid_port", "reversed"),
    Refused("a reversed host range", "8090-8080:80", InvalidParameter, "invalid_port", "reversed"),
    Refused("a longer host range", "8000-8005:80-81", InvalidParameter, "invalid_port", "differ in length"),
    Refused("a shorter host range", "8000:80-81-82", InvalidParameter, "invalid_port", "HOST_PORT"),
    Refused("a run beyond the last host port", "65535:80-81", InvalidParameter, "invalid_port", "differ in length"),
    Refused("a host range from 0", "0-5:80", InvalidParameter, "invalid_port", "begins at 1 or higher"),
    Refused("an unknown protocol", "8080:80/icmp", InvalidParameter, "invalid_port", "tcp, udp or sctp"),
    Refused("text that is no address", "1.2.3:8080:80", InvalidParameter, "invalid_address", "1.2.3"),
    Refused("a host address with a zone", "[fe80::1%eth0]:8080:80", InvalidParameter, "invalid_port", "no zone"),
    Refused("a group's address", "224.0.0.1:8080:80/udp", InvalidParameter, "invalid_port", "no single host"),
    Refused("the broadcast address", "255.255.255.255:80:80/udp", InvalidParameter, "invalid_port", "no single host"),
    Refused("IPv4 as IPv6", "[::ffff:127.0.0.1]:80:80", InvalidParameter, "invalid_port", "write 127.0.0.1"),
)
FORBIDDEN = (
    Refused("an internal network", "8080:80", InvalidParameter, "internal_ports", "internal", "inner"),
    Refused("a port on all addresses twice", "8002:81", Conflict, "port_taken", "already published by web"),
    Refused("one address of a port of all", "127.0.0.1:8002:80", Conflict, "port_taken", "0.0.0.0:8002/tcp"),
    Refused("the same, written 0.0.0.0", "0.0.0.0:8002:80", Conflict, "port_taken", "0.0.0.0:8002/tcp"),
    Refused("an IPv6 address of a port of all", "[::1]:8002:80", Conflict, "port_taken", "[::]:8002/tcp"),
    Refused("all addresses of a port of one", "8010:80", Conflict, "port_taken", "127.0.0.1:8010/tcp"),
    Refused("the same for UDP", "0.0.0.0:8011:80/udp", Conflict, "port_taken", "127.0.0.1:8011/udp"),
    Refused("SCTP twice", "8020:81/sctp", Conflict, "port_taken", "0.0.0.0:8020/sctp"),
    Refused("a taken port inside a range", "8000-8004:90-94", Conflict, "port_taken", "8002"),
    Refused("a range that ends in a taken port", "8000-8002:90-92", Conflict, "port_taken", "8002"),
    Refused("a range for both families", "8000-8004:90-94", Conflict, "port_taken", "8002", "dual"),
)
BY_NUMBER = (
    {"container_port": True},
    {"container_port": "80"},
    {"container_port": 80.0},
    {"container_port": 80, "host_port": -1},
    {"container_port": 80, "host_port": 90, "host_port_end": 80},
    {"container_port": 80, "host_port": 80, "host_port_end": 70000},
    {"container_port": 80, "protocol": "TCP"},
    {"container_port": 80, "protocol": None},
)


def build(controller: NetworkController) -> Endpoint:
    """Build the scene; return the endpoint."""
    front = controller.create_network("front", subnets="10.7.0.0/24")
    controller.create_network("dual", subnets=["10.8.0.0/24", "fd00:8::/64"])
    controller.create_network("inner", internal=True, subnets="10.9.0.0/24")
    for name in ("inputs-web", "inputs-idle"):
        controller.create_sandbox(name)
    return controller.sandbox("inputs-web").connect(front, name="web", ports=TAKEN)


def ask_for(controller: NetworkController, case: Refused) -> None:
    """Ask for the port at once with an endpoint, in a connected sandbox."""
    controller.sandbox("inputs-idle").connect(controller.network(case.network), ports=[case.port])


def publish(endpoint: Endpoint, case: Refused) -> None:
    """Ask for the port on the endpoint that is joined."""
    endpoint.publish(case.port)


def neighbours(controller: NetworkController) -> None:
    """Publish what lies around the taken ports: it is all still free. Then take it back."""
    endpoint = controller.network("front").endpoint("web")
    got = [
        endpoint.publish(each) for each in ("8000-8001:90-91", "8003-8004:93-94", "8010:80/udp", "127.0.0.2:8010:80")
    ]
    assert got[3] == PortBinding(80, host_ip=ip_address("127.0.0.2"), host_port=8010)
    for each in got:
        endpoint.unpublish(each)
