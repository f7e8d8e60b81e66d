"""What is refused of ports on the real kernel: a typed error, and nothing half-made of records, packet filter or sockets."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from libnetwork_py import Conflict, Endpoint, InvalidParameter, NetworkController, NotFound
from tests import port_input
from tests.port_input import FORBIDDEN, MALFORMED, Refused
from tests.root import machine
from tests.root.api_lab import Picture, difference, picture, socket_in

CASES = [pytest.param(each, id=each.what) for each in (*MALFORMED, *FORBIDDEN)]
PROTOCOLS = ("tcp", "udp")


@pytest.fixture(scope="module")
def scene() -> Iterator[tuple[NetworkController, str, Endpoint]]:
    """One scene for every case: none changes it, or it fails."""
    host = machine.new_namespace("host")
    with NetworkController.temporary(host=host) as controller:
        yield controller, host, port_input.build(controller)
    machine.drop_namespace(host)


def look(controller: NetworkController, host: str) -> tuple[Picture, str]:
    """Everything that a refused port could leave: the picture, and the host's sockets."""
    sockets = machine.run_in(host, ["ss", "-Htuan"]).stdout
    return picture(controller, host, "inputs-"), "\n".join(sorted(sockets.splitlines()))


@pytest.mark.parametrize("case", CASES)
def test_it_is_refused_and_nothing_is_touched(scene: tuple[NetworkController, str, Endpoint], case: Refused) -> None:
    """A port that cannot be published is refused with its reason; no record, rule, interface or socket of it stays."""
    controller, host, endpoint = scene
    before, sockets = look(controller, host)
    with pytest.raises(case.category, match=case.says.replace("[", r"\[")) as caught:
        port_input.ask_for(controller, case)
    assert caught.value.code == case.code
    if case.network == "front":
        with pytest.raises(case.category) as caught:
            port_input.publish(endpoint, case)
        assert caught.value.code == case.code
    after, sockets_after = look(controller, host)
    assert not difference(before, after)
    assert sockets_after == sockets


def test_what_lies_around_is_free(scene: tuple[NetworkController, str, Endpoint]) -> None:
    """After all those refusals every port that nobody has can be published."""
    port_input.neighbours(scene[0])


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_stranger_has_one_port_of_a_range(scene: tuple[NetworkController, str, Endpoint], protocol: str) -> None:
    """Where another process has one port in the middle of a range, the range is refused by that port and the others stay free."""
    controller, host, endpoint = scene
    with socket_in(host, 4, protocol) as stranger:
        stranger.bind(("127.0.0.1", 9050))
        before, sockets = look(controller, host)
        with pytest.raises(Conflict, match=rf":9050/{protocol} is in use by another process") as caught:
            endpoint.publish(f"9000-9099:9000-9099/{protocol}")
        assert caught.value.code == "port_in_use"
        after, sockets_after = look(controller, host)
        assert not difference(before, after)
        assert sockets_after == sockets
        for port in (9000, 9049, 9051, 9099):
            with socket_in(host, 4, protocol) as free:
                free.bind(("0.0.0.0", port))
    endpoint.unpublish(endpoint.publish(f"9000-9099:9000-9099/{protocol}"))


def test_a_host_address_that_is_not_there(scene: tuple[NetworkController, str, Endpoint]) -> None:
    """A port of an address that the host lacks is refused by the address, in both families."""
    controller, _, endpoint = scene
    for network, port in (("front", "192.0.2.7:8080:80"), ("dual", "[2001:db8::7]:8080:80")):
        with pytest.raises(InvalidParameter, match="the host has no address") as caught:
            controller.sandbox("inputs-idle").connect(controller.network(network), ports=port)
        assert caught.value.code == "no_such_host_address"
    with pytest.raises(NotFound):
        endpoint.unpublish(endpoint.ports[0].at(9999))


def test_sctp_is_led_on(scene: tuple[NetworkController, str, Endpoint]) -> None:
    """A published SCTP port stands in the packet filter's map, whether or not this kernel has SCTP sockets, and goes again."""
    _, host, endpoint = scene

    def maps() -> str:
        return machine.run_in(host, ["nft", "list", "ruleset"]).stdout

    got = endpoint.publish("8030-8031:90-91/sctp")
    try:
        for port in (0, 1):
            assert f"sctp . {8030 + port} : 10.7.0.2 . {90 + port}" in maps()
    finally:
        endpoint.unpublish(got)
    assert "8030" not in maps()
