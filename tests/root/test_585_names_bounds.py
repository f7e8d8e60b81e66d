"""What the name service bears: many questions at once, few open files, clients that mean ill."""

from __future__ import annotations

import resource
import socket
import struct
import time
from pathlib import Path

import dns.message
import pytest

from libnetwork_py import Network, NetworkController, Sandbox
from libnetwork_py.firewall import resolver
from tests.root.machine import wait_until
from tests.root.names_lab import dig, processes, upstream


@pytest.fixture
def front(controller: NetworkController) -> Network:
    """A network."""
    return controller.create_network("front", subnets="10.7.0.0/24")


@pytest.fixture
def client(controller: NetworkController, front: Network) -> Sandbox:
    """A sandbox that asks, with a server of its own, and one to be asked for."""
    controller.create_sandbox("web").connect(front)
    box = controller.create_sandbox("client", dns=["127.0.0.5"])
    box.connect(front)
    return box


def _directory(controller: NetworkController) -> Path:
    return Path(controller.info().store.split()[-1])


def test_more_questions_than_sockets(client: Sandbox) -> None:
    """Questions to a sandbox's own servers that come at once are all answered, however slow the server is."""
    with (
        upstream(client.call, "127.0.0.5") as server,
        client.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
    ):
        at_once = server.reply

        def reply(packet: bytes) -> bytes:
            time.sleep(0.01)
            return at_once(packet)

        server.reply = reply  # type: ignore[method-assign]
        sock.settimeout(10)
        sock.connect(("127.0.0.11", 53))
        for number in range(40):
            sock.send(dns.message.make_query(f"n{number}.example", "A", id=number).to_wire())
        answers = [dns.message.from_wire(sock.recv(4096)) for _ in range(40)]
    assert {(each.id, each.rcode()) for each in answers} == {(number, 0) for number in range(40)}


def test_few_open_files(controller: NetworkController, front: Network) -> None:
    """A batch whose sandboxes have more sockets than the caller may have open files gives names to all of them."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, most[1]))
    try:
        with controller.batch():
            for number in range(40):
                controller.create_sandbox(f"box{number}", dns=["127.0.0.5"]).connect(front)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, most)
    assert not any("name service" in each for each in controller.info().warnings)
    assert dig(controller.sandbox("box39"), "box0", "A") == [
        str(controller.sandbox("box0").endpoints()[0].addresses[0])
    ]


def test_a_taken_port_is_told(controller: NetworkController, front: Network, client: Sandbox) -> None:
    """A sandbox where somebody has the service's port is named by `info()` until the port is free and `reconcile` was called."""
    assert dig(client, "web", "A")
    late = controller.create_sandbox("late")
    with late.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("0.0.0.0", resolver.PORT))
        late.connect(front)
        controller.create_sandbox("later").connect(front)
        (warning,) = [each for each in controller.info().warnings if "name service" in each]
        assert late.key in warning
    controller.reconcile()
    assert not [each for each in controller.info().warnings if "name service" in each]
    assert dig(late, "web", "A") == dig(client, "web", "A")


# Hostile clients


def test_padded_questions(controller: NetworkController, client: Sandbox) -> None:
    """Thousands of different questions of four thousand bytes each are answered and not kept."""
    wait_until(lambda: len(processes(_directory(controller))) == 2, "two processes")
    process = processes(_directory(controller))[1]
    plain = dns.message.make_query("web", "A").to_wire()
    before = _resident(process)
    with client.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.connect(("127.0.0.11", 53))
        for number in range(4000):
            padding = number.to_bytes(4, "big") + bytes(3900)
            record = b"\0" + struct.pack("!HHIH", 16, 1, 0, len(padding)) + padding
            sock.send(plain[:10] + b"\0\1" + plain[12:] + record)
            assert sock.recv(512)[3] & 15 == 0
    assert _resident(process) < before + (4 << 20)


def _resident(process: int) -> int:
    """Return the bytes of memory that a process has."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * resource.getpagesize()


def test_slow_and_silent_streams(client: Sandbox) -> None:
    """Hundreds of connections that say nothing, or one byte at a time, keep nobody from being answered, and are hung up on."""
    socks = []
    for _ in range(300):
        sock = client.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.settimeout(10)
        sock.connect(("127.0.0.11", 53))
        sock.send(b"\0")
        socks.append(sock)
    assert dig(client, "web", "A", "+tcp") == dig(client, "web", "A") == ["10.7.0.2"]
    ended = [sock.recv(1) for sock in socks[:100]]
    assert set(ended) == {b""}
    for sock in socks:
        sock.close()
    with client.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.settimeout(10)
        sock.connect(("127.0.0.11", 53))
        sock.send(b"\xff\xff" + bytes(60000))
        assert _hung_up(sock)


def _hung_up(sock: socket.socket) -> bool:
    try:
        return sock.recv(1) == b""
    except ConnectionResetError:
        return True


# A sandbox with names as a host


def test_a_sandbox_with_names_as_a_host(client: Sandbox) -> None:
    """A controller whose host is a sandbox with a name service makes networks there."""
    with NetworkController.temporary(host=client) as second:
        inner = second.create_sandbox("inner")
        inner.connect(second.create_network("back", subnets="10.9.0.0/24"))
        assert dig(inner, "inner", "A") == ["10.9.0.2"]
    assert dig(client, "web", "A")
