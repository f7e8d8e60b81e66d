"""The relay: what it carries, how many processes it takes, and what becomes of it when a controller or it itself dies."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from libnetwork_py import Endpoint, NetworkController, Sandbox, labels
from tests.root import machine
from tests.root.api_lab import asks, at, of, serving, socket_in, started
from tests.root.machine import Outside

GATEWAY = "10.7.0.1"
PROGRAM = """
import sys
from libnetwork_py import NetworkController
controller = NetworkController.temporary(host=sys.argv[1])
controller.create_sandbox("mortal").connect(controller.create_network("front"), ports="8080:80")
print(controller._directory, flush=True)
sys.stdin.readline()
"""


def relays(directory: object) -> list[int]:
    """The processes whose command line names a state directory."""
    found = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if f"for {directory}".encode() in each.read_bytes().split(b"\0"):
                found.append(int(each.parent.name))
        except OSError:
            continue
    return found


def the_relay(directory: object) -> int:
    """The one process: the one that is started leads a session, forks at once, and ends."""
    machine.wait_until(lambda: [os.getsid(pid) != pid for pid in relays(directory)] == [True], "one relay")
    return relays(directory)[0]


def directory(controller: NetworkController) -> Path:
    """The state directory."""
    return Path(controller.info().store.split()[-1])


def mine(controller: NetworkController) -> list[int]:
    """The relays of a controller."""
    return relays(directory(controller))


@pytest.fixture
def web(controller: NetworkController) -> Sandbox:
    """A sandbox on a network without IPv6."""
    controller.create_network("front", subnets="10.7.0.0/24")
    return controller.create_sandbox("relayed-web")


@pytest.fixture
def endpoint(controller: NetworkController, web: Sandbox) -> Endpoint:
    """Its endpoint."""
    return web.connect(controller.network("front"))


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_it_is_reached(host: str, web: Sandbox, endpoint: Endpoint, outside: Outside, protocol: str) -> None:
    """A port of all addresses is reached at ::1, at the host's IPv6 addresses and from outside by them, until it is unpublished."""
    got = endpoint.publish(f"8080:80/{protocol}")
    with serving(of(web), 80):
        for place, address in ((host, "::1"), (host, outside.host_ipv6.ip), (outside.namespace, outside.host_ipv6.ip)):
            assert asks(at(place), address, 8080, protocol) == GATEWAY
        endpoint.unpublish(got)
        assert asks(at(host), "::1", 8080, protocol, within=0.5) is None


@pytest.mark.parametrize("port", ["[::1]:8080:80", "[::]:8080:80"])
def test_only_at_its_address(host: str, web: Sandbox, endpoint: Endpoint, outside: Outside, port: str) -> None:
    """A port of one IPv6 address is reached at that one and not by IPv4."""
    endpoint.publish(port)
    with serving(of(web), 80):
        assert asks(at(host), "::1", 8080) == GATEWAY
        assert (asks(at(host), outside.host_ipv6.ip, 8080, within=0.5) == GATEWAY) == ("[::]" in port)
        assert asks(at(host), "127.0.0.1", 8080, within=0.5) is None


def test_no_process_without_need(controller: NetworkController, web: Sandbox, endpoint: Endpoint) -> None:
    """There is no relay until a port needs one; then one for all ports, whose sockets are the very ones that keep the ports."""
    endpoint.publish("127.0.0.1:8080:80")
    assert mine(controller) == []
    endpoint.publish("9000-9299:1000-1299")
    endpoint.publish("9000:80/udp")
    other = controller.create_sandbox("relayed-other").connect(controller.network("front"), ports="9500:80")
    pid = the_relay(directory(controller))
    own = sockets(os.getpid())
    machine.wait_until(lambda: len(own & sockets(pid)) == 302, "every port's socket in the relay")
    endpoint.leave()
    other.leave()
    assert not sockets(pid) & own


def sockets(pid: int) -> set[str]:
    """The sockets that a process has open."""
    links = []
    for each in Path(f"/proc/{pid}/fd").iterdir():
        try:
            links.append(str(each.readlink()))
        except OSError:
            continue
    return {each for each in links if each.startswith("socket:")}


def test_every_byte_arrives(host: str, web: Sandbox, endpoint: Endpoint) -> None:
    """Twenty megabytes go through in both directions at once, to a reader that is slow at first, and each end is carried over."""
    endpoint.publish("8080:80")
    data = os.urandom(1 << 20) * 20
    listener = web.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind(("", 80))
    listener.listen()
    got = []

    def server() -> None:
        connection, _ = listener.accept()
        with connection:
            sender = threading.Thread(target=connection.sendall, args=(data,))
            sender.start()
            got.append(digest(connection))
            sender.join()

    thread = threading.Thread(target=server)
    thread.start()
    with listener, socket_in(host, 6) as client:
        client.settimeout(20)
        client.connect(("::1", 8080))
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        assert digest(client) == hashlib.sha256(data).digest()
        thread.join(20)
    assert got == [hashlib.sha256(data).digest()]


def digest(connection: socket.socket) -> bytes:
    """The digest of what comes until the end."""
    digest = hashlib.sha256()
    while part := connection.recv(1 << 16):
        digest.update(part)
    return digest.digest()


@pytest.mark.parametrize("again", [False, True], ids=["at once", "after connections"])
def test_nobody_else_gets_the_port(host: str, web: Sandbox, endpoint: Endpoint, again: bool) -> None:
    """A port that a relay serves is refused to every other socket, whatever that allows; also when it was given back and taken again."""
    got = endpoint.publish("8080:80")
    with serving(of(web), 80):
        for _ in range(3):
            assert asks(at(host), "::1", 8080) == GATEWAY
        if again:
            endpoint.unpublish(got)
            endpoint.publish("8080:80")
        for family, address in ((4, "127.0.0.1"), (4, "0.0.0.0"), (6, "::1"), (6, "::")):
            with socket_in(host, family) as thief:
                thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                with pytest.raises(OSError, match="in use"):
                    thief.bind((address, 8080))
        assert asks(at(host), "::1", 8080) == GATEWAY


def test_nobody_listens(host: str, endpoint: Endpoint) -> None:
    """Where nobody listens inside, the client's connection is reset, as the kernel's translation would have it refused."""
    endpoint.publish("8080:80")
    with socket_in(host, 6) as client:
        client.settimeout(5)
        with pytest.raises(ConnectionResetError):  # noqa: PT012 (it may come before the client looks whether it is connected)
            client.connect(("::1", 8080))
            client.recv(1)


def test_unpublished_under_a_connection(host: str, web: Sandbox, endpoint: Endpoint) -> None:
    """A connection through a port ends with the port, and that of another port goes on."""
    with web.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind(("", 80))
        listener.listen()
        ports = [endpoint.publish(f"{number}:80") for number in (8080, 8081)]
        clients = [socket_in(host, 6) for _ in ports]
        served = []
        for client, port in zip(clients, ports, strict=True):
            client.settimeout(5)
            client.connect(("::1", port.host_port))
            served.append(listener.accept()[0])
        endpoint.unpublish(ports[0])
        with pytest.raises(ConnectionResetError):
            clients[0].recv(1)
        served[1].send(b"y")
        assert clients[1].recv(1) == b"y"
        for each in (*clients, *served):
            each.close()


def test_moved_at_once(host: str, controller: NetworkController, web: Sandbox, endpoint: Endpoint) -> None:
    """A batch gives a port to another sandbox; an operation that fails leaves it where it was."""
    got = endpoint.publish("8080:80")
    other = controller.create_sandbox("relayed-other")
    there = other.connect(controller.network("front"))
    with serving(of(web), 80), serving(of(other), 81):
        with pytest.raises(ZeroDivisionError), controller.batch():  # noqa: PT012 (the batch is what fails)
            endpoint.unpublish(got)
            there.publish("8080:81")
            _ = 1 // 0
        assert asks(at(host), "::1", 8080) == GATEWAY
        with controller.batch():
            endpoint.unpublish(got)
            there.publish("8080:81")
        endpoint.leave()
        assert asks(at(host), "::1", 8080) == GATEWAY
        assert not controller.reconcile(repair=False)


def test_narrowed_at_once(host: str, controller: NetworkController, web: Sandbox, endpoint: Endpoint) -> None:
    """A batch takes a port of all addresses back and publishes it for 127.0.0.1 alone, which others still cannot have."""
    got = endpoint.publish("8080:80")
    with controller.batch():
        endpoint.unpublish(got)
        endpoint.publish("127.0.0.1:8080:80")
    with serving(of(web), 80):
        assert asks(at(host), "::1", 8080, within=0.5) is None
        assert asks(at(host), "127.0.0.1", 8080) == GATEWAY
    with socket_in(host) as thief, pytest.raises(OSError, match="in use"):
        thief.bind(("127.0.0.1", 8080))


def test_a_relay_that_dies(host: str, controller: NetworkController, web: Sandbox, endpoint: Endpoint) -> None:
    """A killed relay is replaced without being asked; who comes meanwhile waits, and is served."""
    endpoint.publish("8080:80")
    endpoint.publish("8080:80/udp")
    with serving(of(web), 80):
        assert asks(at(host), "::1", 8080) == GATEWAY
        pid = the_relay(directory(controller))
        os.kill(pid, signal.SIGKILL)
        assert asks(at(host), "::1", 8080) == GATEWAY
        assert asks(at(host), "::1", 8080, "udp") == GATEWAY
    assert pid not in mine(controller)
    assert not controller.reconcile(repair=False)


def test_a_relay_that_hangs(host: str, controller: NetworkController, web: Sandbox, endpoint: Endpoint) -> None:
    """A stopped relay is replaced as if it had died; who comes meanwhile waits, and is served."""
    endpoint.publish("8080:80")
    with serving(of(web), 80):
        assert asks(at(host), "::1", 8080) == GATEWAY
        pid = the_relay(directory(controller))
        os.kill(pid, signal.SIGSTOP)
        assert asks(at(host), "::1", 8080, within=20) == GATEWAY
        machine.wait_until(lambda: pid not in mine(controller), "the end of the stopped one")
        os.kill(the_relay(directory(controller)), signal.SIGSTOP)
        endpoint.publish("8081:80")
        assert asks(at(host), "::1", 8081, within=20) == GATEWAY


def test_what_it_forgot_comes_again(host: str, controller: NetworkController, web: Sandbox, endpoint: Endpoint) -> None:
    """`reconcile` says what a relay does not carry, makes it so, and takes from it what is in no record; a plan names it."""
    endpoint.publish("8080:80")
    kernel = controller._kernel
    (word,) = kernel._relays.carried().values()  # type: ignore[attr-defined]
    kernel._relays._drop([word])  # type: ignore[attr-defined]
    (finding,) = controller.reconcile(repair=False).missing
    assert finding.what == "# relay [::]:8080 to 10.7.0.2:80/tcp"
    assert controller.reconcile().repaired
    with serving(of(web), 80):
        assert asks(at(host), "::1", 8080) == GATEWAY
    with controller.plan() as plan:
        endpoint.publish("[::1]:8000-8001:90-91/udp")
    assert "# relay [::1]:8000-8001 to 10.7.0.2:90-91/udp" in plan.text.splitlines()


@pytest.fixture
def state(host: str, tmp_path: Path) -> Iterator[Path]:
    """A state directory; what its controller made is removed afterwards, and the relay goes."""
    yield tmp_path / "state"
    with NetworkController(tmp_path / "state", host=host) as controller:
        for box in controller.sandboxes():
            box.delete()
        for network in controller.networks():
            network.delete(force=True)
    machine.wait_until(lambda: not relays(tmp_path / "state"), "the relay to end")


def test_it_outlives_a_persistent_controller(host: str, state: Path) -> None:
    """A closed controller's relay goes on; the next one finds it, uses it, and ends it with the last port."""
    with NetworkController(state, host=host) as first:
        front = first.create_network("front", subnets="10.7.0.0/24")
        box = first.create_sandbox("relayed-web")
        box.connect(front, ports="8080:80")
        key = box.key
    pid = the_relay(state)
    with serving(at(key), 80):
        assert asks(at(host), "::1", 8080) == GATEWAY
        with NetworkController(state, host=host) as second:
            assert not second.reconcile(repair=False)
            (endpoint,) = second.sandbox("relayed-web").endpoints()
            endpoint.publish("8081:80")
            assert asks(at(host), "::1", 8081) == GATEWAY
            endpoint.unpublish("8080:80")
            assert asks(at(host), "::1", 8080, within=0.5) is None
            endpoint.publish("8080:80")
            assert asks(at(host), "::1", 8080) == GATEWAY
            assert the_relay(state) == pid
            os.kill(pid, signal.SIGKILL)
            for port in (8080, 8081):
                assert asks(at(host), "::1", port) == GATEWAY


def test_it_comes_again_after_a_reboot(host: str, state: Path) -> None:
    """A controller that opens where the relay has gone starts it with what the records say."""
    with NetworkController(state, host=host) as first:
        box = first.create_sandbox("relayed-web")
        box.connect(first.create_network("front", subnets="10.7.0.0/24"), ports="8080:80")
        key = box.key
    pid = the_relay(state)
    os.kill(pid, signal.SIGKILL)
    machine.wait_until(lambda: not relays(state), "the relay's end")
    with NetworkController(state, host=host), serving(at(key), 80):
        assert asks(at(host), "::1", 8080) == GATEWAY


def test_two_controllers_of_one_directory(host: str, state: Path) -> None:
    """They share one relay, which carries what either publishes, and each takes back what the other published."""
    with NetworkController(state, host=host) as one, NetworkController(state, host=host) as two:
        box = one.create_sandbox("relayed-web")
        box.connect(one.create_network("front", subnets="10.7.0.0/24"), ports="8080:80")
        (endpoint,) = two.sandbox("relayed-web").endpoints()
        endpoint.publish("8081:80")
        the_relay(state)
        with serving(at(box.key), 80):
            for port in (8080, 8081):
                assert asks(at(host), "::1", port) == GATEWAY
            endpoint.unpublish("8080:80")
            assert asks(at(host), "::1", 8080, within=0.5) is None
            assert asks(at(host), "::1", 8081) == GATEWAY


def test_a_temporary_controller_ends_it(host: str) -> None:
    """`close` leaves no relay, and neither does the end of a killed process."""
    with NetworkController.temporary(host=host) as controller:
        controller.create_sandbox("relayed").connect(controller.create_network("front"), ports="8080:80")
        where = directory(controller)
        machine.wait_until(lambda: relays(where), "the relay")
    machine.wait_until(lambda: not relays(where), "the relay's end")
    with started(PROGRAM, host) as process:
        assert process.stdout is not None
        where = Path(process.stdout.readline().strip())
        machine.wait_until(lambda: relays(where), "the relay")
        process.kill()
    machine.wait_until(lambda: not relays(where), "the relay's end")

    def is_swept() -> bool:
        """Whether the next controller finds nothing any more; without root the dead one's helper may be at it meanwhile."""
        NetworkController.temporary(host=host).close()
        return not where.exists()

    machine.wait_until(is_swept, "its directory to go")


@pytest.mark.parametrize("theirs", [False, True], ids=["own bridge", "somebody's bridge"])
def test_an_internal_network_does_not_get_out(
    host: str, controller: NetworkController, web: Sandbox, theirs: bool
) -> None:
    """A sandbox of an internal network reaches the host's own services by IPv6, and nobody through the relay."""
    web.connect(controller.network("front"), ports=["8080:80", "8080:80/udp"])
    if theirs:
        machine.ip("link", "add", "br7", "up", "type", "bridge", namespace=host)
    inner = controller.create_network("inner", internal=True, ipv6=True, options={labels.BRIDGE_NAME: "br7"})
    prisoner = controller.create_sandbox("relayed-prisoner")
    prisoner.connect(inner)
    gateway = next(each for each in inner.gateways if each.version == 6)
    with serving(of(web), 80), serving(at(host), 9090, 6):
        assert asks(of(prisoner), gateway, 9090) is not None
        for protocol in ("tcp", "udp"):
            assert asks(of(prisoner), gateway, 8080, protocol, within=0.5) is None
            assert asks(at(host), gateway, 8080, protocol) == GATEWAY


def test_datagrams_answer_from_where_they_were_sent(
    host: str, web: Sandbox, endpoint: Endpoint, outside: Outside
) -> None:
    """Each client of a UDP port gets its own answers, from the address that it asked, however many ask at once."""
    endpoint.publish("8080:80/udp")
    addresses = ["::1", str(outside.host_ipv6.ip)]
    with web.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("", 80))
        server.settimeout(5)
        clients = [(socket_in(host, 6, "udp"), address) for address in addresses for _ in range(50)]
        for number, (client, address) in enumerate(clients):
            client.settimeout(5)
            client.sendto(str(number).encode(), (address, 8080))
        for _ in clients:
            data, peer = server.recvfrom(100)
            server.sendto(data, peer)
        for number, (client, address) in enumerate(clients):
            data, peer = client.recvfrom(100)
            assert (data, peer[0], peer[1]) == (str(number).encode(), address, 8080)
            client.close()
