"""What the tests of the name service share: clients that are not ours, servers behind the service, its processes.

Division of labour: `dig` asks, `Upstream` is a server of other people's names made of dnspython, `processes` finds who answers.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeAlias

import dns.message
import dns.rcode
import dns.rrset

from libnetwork_py import Sandbox
from tests.root.machine import run_in

PORT = 53


def dig(box: Sandbox | str, *arguments: str) -> list[str]:
    """Return what ``dig +short`` prints in a sandbox, or in the namespace at a path, sorted."""
    done = run_in(
        box if isinstance(box, str) else box.key, ["dig", "@127.0.0.11", "+short", "+time=5", "+tries=1", *arguments]
    )
    return sorted(done.stdout.split("\n"))[1:]


def status(box: Sandbox, *arguments: str) -> str:
    """Return the code of the answer that ``dig`` gets in a sandbox; ``none``: it got none."""
    done = run_in(box.key, ["dig", "@127.0.0.11", "+time=6", "+tries=1", *arguments], check=False)
    return done.stdout.partition("status: ")[2].partition(",")[0] or "none"


def processes(directory: Path) -> list[int]:
    """Return the processes of a state directory's name service: the keeper, then the one that answers."""
    found: dict[str, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if f"{directory}/dns".encode() in words:
                    found[(entry / "comm").read_text().strip()] = int(entry.name)
    return [found[name] for name in ("names-keeper", "names") if name in found]


def kill(pid: int) -> None:
    """Kill a process as the kernel does when memory is short."""
    os.kill(pid, signal.SIGKILL)


class Asker:
    """Asks one name again and again by UDP, each time from another port, until it is told to stop.

    Attributes:
        asked: How often. lost: How often nobody answered. refused: How often the port was closed. codes: Of the answers.
    """

    def __init__(self, box: Sandbox, name: str = "web") -> None:
        self.asked = self.lost = self.refused = 0
        self.codes: set[int] = set()
        self._box = box
        self._packet = dns.message.make_query(name, "A").to_wire()
        self._stop = threading.Event()

    def _ask(self) -> None:
        while not self._stop.is_set():
            with self._box.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.settimeout(3)
                sock.connect(("127.0.0.11", PORT))
                self.asked += 1
                try:
                    sock.send(self._packet)
                    self.codes.add(sock.recv(512)[3] & 15)
                except ConnectionRefusedError:
                    self.refused += 1
                except OSError:
                    self.lost += 1

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Ask meanwhile."""
        thread = threading.Thread(target=self._ask, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()


Sockets: TypeAlias = tuple[socket.socket, socket.socket]


class Upstream:
    """A server of other people's names on one address of a sandbox.

    Attributes:
        asked: Names that it was asked for, in order. client: Who asked last by UDP.
    """

    def __init__(self, udp: socket.socket, tcp: socket.socket, answer: Callable[[dns.message.Message], None]) -> None:
        self.asked: list[str] = []
        self.client = ("", 0)
        self._answer = answer
        self.udp, self.tcp = udp, tcp

    def reply(self, packet: bytes) -> bytes:
        """Answer one message."""
        query = dns.message.from_wire(packet)
        self.asked.append(query.question[0].name.to_text())
        response = dns.message.make_response(query, recursion_available=True)
        self._answer(response)
        return response.to_wire()

    def serve(self) -> None:
        """Answer datagrams until the socket is shut."""
        with suppress(OSError):
            while True:
                packet, self.client = self.udp.recvfrom(65535)
                if not packet:  # it was shut
                    return
                answer = self.reply(packet)
                if answer:  # else it keeps silent
                    self.udp.sendto(answer, self.client)

    def serve_streams(self) -> None:
        """Answer one question of each connection."""
        with suppress(OSError):
            while True:
                connection, _ = self.tcp.accept()
                with connection:
                    size = int.from_bytes(connection.recv(2), "big")
                    answer = self.reply(connection.recv(size))
                    connection.sendall(len(answer).to_bytes(2, "big") + answer)

    def close(self) -> None:
        """Stop."""
        for each in (self.udp, self.tcp):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


@contextmanager
def upstream(
    where: Callable[[Callable[[], Sockets]], Sockets],
    address: str,
    answer: Callable[[dns.message.Message], None] | None = None,
) -> Iterator[Upstream]:
    """Serve names at an address: ``where`` calls a function in the namespace that has it."""

    def bound() -> Sockets:
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind((address, PORT))
        return udp, socket.create_server((address, PORT))

    server = Upstream(*where(bound), answer or known)
    threads = [threading.Thread(target=each, daemon=True) for each in (server.serve, server.serve_streams)]
    for each in threads:
        each.start()
    try:
        yield server
    finally:
        server.close()
        for each in threads:
            each.join(2)


def known(response: dns.message.Message) -> None:
    """Answer: ``*.example`` is 192.0.2.80 for a minute, ``zero.example`` for no time; anything else there is not."""
    name = response.question[0].name.to_text()
    if name.endswith(".example."):
        ttl = 0 if name.startswith("zero.") else 60
        response.answer.append(dns.rrset.from_text(response.question[0].name, ttl, "IN", "A", "192.0.2.80"))
    else:
        response.set_rcode(dns.rcode.NXDOMAIN)
        soa = "ns.example. root.example. 1 3600 600 86400 30"
        response.authority.append(dns.rrset.from_text("example.", 60, "IN", "SOA", soa))


def failing(response: dns.message.Message) -> None:
    """Answer SERVFAIL."""
    response.set_rcode(dns.rcode.SERVFAIL)
