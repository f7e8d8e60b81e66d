"""What the name service bears: many questions at once, few open files, clients that mean ill."""

from __future__ import annotations

import resource
import select
import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import pairwise
from pathlib import Path

import dns.message
import pytest

from libnetwork_py import Network, NetworkController, Sandbox
from libnetwork_py.firewall import resolver
from tests.root.machine import wait_until
from tests.root.names_lab import Upstream, dig, processes, status, upstream


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


def _slow(server: Upstream) -> None:
    """Have a server answer nothing about names that begin with "slow"."""
    at_once = server.reply
    server.reply = lambda packet: b"" if b"slow" in packet else at_once(packet)  # type: ignore[method-assign]


def test_slow_questions_keep_nobody_waiting(client: Sandbox) -> None:
    """Hundreds of questions that a sandbox's own server does not answer keep no other one from being asked, by UDP or by TCP."""
    with (
        upstream(client.call, "127.0.0.5") as server,
        client.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
    ):
        _slow(server)
        sock.connect(("127.0.0.11", 53))
        sock.settimeout(30)
        answers: list[bytes] = []  # read as they come: more than fits a socket comes at once
        reader = threading.Thread(target=lambda: answers.extend(sock.recv(4096) for _ in range(900)))
        reader.start()
        for number in range(900):
            sock.send(dns.message.make_query(f"slow{number}.example", "A", id=number).to_wire())
        assert dig(client, "quick.example", "A") == dig(client, "another.example", "A", "+tcp") == ["192.0.2.80"]
        wait_until(lambda: len(server.asked) == 2, "both questions")
        assert dig(client, "web", "A")
        reader.join()
    assert [each[3] & 15 for each in answers] == [2] * 900


def test_too_many_questions_are_refused(controller: NetworkController, client: Sandbox) -> None:
    """More questions than may be out and wait are refused at once, and `info()` says how many of which sandbox."""
    with (
        upstream(client.call, "127.0.0.5") as server,
        client.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
    ):
        _slow(server)
        sock.connect(("127.0.0.11", 53))
        sock.settimeout(10)
        for number in range(2100):
            sock.send(dns.message.make_query(f"slow{number}.example", "A", id=number).to_wire())
        assert sock.recv(4096)[3] & 15 == 5
        assert dig(client, "web", "A")
    (warning,) = [each for each in controller.info().warnings if "refused" in each]
    assert client.key in warning


def test_every_question_has_a_port_and_a_number_of_its_own(client: Sandbox) -> None:
    """A sandbox's own server is asked by another port with another number each time, neither of which follows from the one before."""
    seen = []
    with upstream(client.call, "127.0.0.5") as server:
        at_once = server.reply

        def reply(packet: bytes) -> bytes:
            seen.append((server.client[1], int.from_bytes(packet[:2], "big")))
            return at_once(packet)

        server.reply = reply  # type: ignore[method-assign]
        for number in range(40):
            assert dig(client, f"n{number}.example", "A")
    for values in zip(*seen, strict=True):
        steps = {after - before for before, after in pairwise(values)}
        assert len(set(values)) > 35
        assert len(steps) > 35


def test_a_client_that_has_said_all(client: Sandbox) -> None:
    """A client that ends its half of a connection after the question gets the answer that comes later from another server."""
    with (
        upstream(client.call, "127.0.0.5") as server,
        client.socket(socket.AF_INET, socket.SOCK_STREAM) as sock,
    ):
        at_once = server.reply

        def reply(packet: bytes) -> bytes:
            time.sleep(0.3)
            return at_once(packet)

        server.reply = reply  # type: ignore[method-assign]
        sock.settimeout(10)
        sock.connect(("127.0.0.11", 53))
        question = dns.message.make_query("one.example", "A").to_wire()
        sock.sendall(len(question).to_bytes(2, "big") + question)
        sock.shutdown(socket.SHUT_WR)
        with sock.makefile("rb") as stream:
            answer = stream.read()
    (found,) = dns.message.from_wire(answer[2:]).answer
    assert [each.to_text() for each in found] == ["192.0.2.80"]


def test_very_many_names_of_one(controller: NetworkController, front: Network, client: Sandbox) -> None:
    """An endpoint with thousands of aliases and a sandbox with thousands of records are told in as many messages as it takes."""
    names = [f"{number}-a-rather-long-name-of-an-endpoint" for number in range(8000)]
    controller.sandbox("web").endpoints()[0].update(aliases=names)
    records = {f"{number}-a-rather-long-name-of-a-record": "192.0.2.9" for number in range(8000)}
    late = controller.create_sandbox("late", extra_hosts=records)
    late.connect(front)
    assert dig(client, names[-1], "A") == [str(controller.sandbox("web").endpoints()[0].addresses[0])]
    assert dig(late, "7999-a-rather-long-name-of-a-record", "A") == ["192.0.2.9"]
    assert not controller.info().warnings


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


def test_a_file_of_the_host_that_cannot_be_read(host: str) -> None:
    """A host's `resolv.conf` that cannot be read is a warning; names of sandboxes are answered, and others are SERVFAIL."""
    folder = Path("/etc/netns", Path(host).name)
    (folder / "resolv.conf").mkdir(parents=True)
    try:
        with NetworkController.temporary(host=host) as controller:
            box = controller.create_sandbox("box")
            box.connect(controller.create_network("back"))
            (warning,) = controller.info().warnings
            assert f"{folder}/resolv.conf" in warning
            assert (status(box, "box", "A"), status(box, "one.example", "A")) == ("NOERROR", "SERVFAIL")
    finally:
        (folder / "resolv.conf").rmdir()
        folder.rmdir()


def test_servers_that_are_not_reached(controller: NetworkController) -> None:
    """A question whose servers there is no way to is answered SERVFAIL at once, not after their time."""
    box = controller.create_sandbox("box", dns=["192.0.2.1", "2001:db8::1", "127.0.0.77"])
    box.connect(controller.create_network("back", internal=True))
    assert status(box, "one.example", "A", "+time=2") == "SERVFAIL"


def test_search_domains(controller: NetworkController, front: Network) -> None:
    """A short name is completed by a search domain where nobody has it as it is."""
    box = controller.create_sandbox("box", dns=["127.0.0.5"], dns_search=["example"])
    box.connect(front)
    with upstream(box.call, "127.0.0.5"):
        found = box.run(["getent", "ahostsv4", "short"], capture_output=True, text=True).stdout
    assert found.split()[0] == "192.0.2.80"


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


def test_a_caller_that_blocks_signals(host: str) -> None:
    """A thread that blocks every signal starts a service that blocks none, so that it hears at once what it is told."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        with NetworkController.temporary(host=host) as controller:
            controller.create_sandbox("web").connect(controller.create_network("front"))
            directory = _directory(controller)
            wait_until(lambda: len(processes(directory)) == 2, "both processes")
            told = [Path(f"/proc/{each}/status").read_text() for each in processes(directory)]
            assert [each.partition("SigBlk:")[2].split()[0].strip("0") for each in told] == ["", ""]
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def test_slow_and_silent_streams(controller: NetworkController, client: Sandbox) -> None:
    """Thousands of connections that say nothing, or one byte of a question, keep nobody from being answered, and are hung up on."""
    process = processes(_directory(controller))[1]
    before = _resident(process), len(list(Path(f"/proc/{process}/fd").iterdir()))
    with ExitStack() as stack, _more_files(4000):
        socks = client.call(lambda: [socket.socket(socket.AF_INET, socket.SOCK_STREAM) for _ in range(3200)])
        for number, sock in enumerate(socks):
            stack.enter_context(sock)
            sock.settimeout(20)
            sock.connect(("127.0.0.11", 53))
            if number % 2:
                sock.send(b"\0")
            if number % 1600 == 1599:
                assert dig(client, "web", "A", "+tcp") == dig(client, "web", "A") == ["10.7.0.2"]
        assert len(list(Path(f"/proc/{process}/fd").iterdir())) < before[1] + 200
        assert _resident(process) < before[0] + (4 << 20)
        assert all(_hung_up(sock) for sock in socks)
    with client.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.settimeout(10)
        sock.connect(("127.0.0.11", 53))
        sock.send(b"\xff\xff" + bytes(60000))
        assert _hung_up(sock)


def test_a_slow_writer_and_a_slow_reader(client: Sandbox) -> None:
    """Who sends one byte at a time, or asks and never reads, is hung up on after a few seconds, and others are answered meanwhile."""
    question = dns.message.make_query("web", "A").to_wire()
    whole = len(question).to_bytes(2, "big") + question
    with (
        client.socket(socket.AF_INET, socket.SOCK_STREAM) as writer,
        client.socket(socket.AF_INET, socket.SOCK_STREAM) as reader,
    ):
        for each in (writer, reader):
            each.connect(("127.0.0.11", 53))
        reader.settimeout(0.2)
        with suppress(OSError):  # no more room, or hung up on
            while True:
                reader.sendall(whole * 100)
        writer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with pytest.raises((BrokenPipeError, ConnectionResetError)):  # noqa: PT012 (it is one sending)
            for byte in whole[:-1]:
                writer.send(bytes((byte,)))
                time.sleep(0.4)
        assert dig(client, "web", "A") == ["10.7.0.2"]
        poll = select.poll()
        poll.register(reader, select.POLLRDHUP)
        wait_until(lambda: poll.poll(0), "the end of the connection of who reads nothing")


@contextmanager
def _more_files(count: int) -> Iterator[None]:
    """Let this process have so many more open files meanwhile."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, soft + count), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


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
