"""Reserved host ports are really kept: another process of the host cannot have them, whatever it tries."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from libnetwork_py.errors import Conflict, InvalidParameter
from libnetwork_py.kernel.opener import Opener
from libnetwork_py.ports.ranges import parse_port_range, parse_reserved_ports
from libnetwork_py.ports.reservations import Reservations
from libnetwork_py.types import PortBinding
from tests.root import kernel_lab, machine

TRY = """
import socket, sys
address, port, kind, option = sys.argv[1:]
sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, getattr(socket, kind))
if option:
    sock.setsockopt(socket.SOL_SOCKET, getattr(socket, option), 1)
sock.bind((address, int(port)))
if kind == "SOCK_STREAM":
    sock.listen()
"""
HOLD = TRY + "print('bound', flush=True); sys.stdin.read()"
PORT = 18080


@pytest.fixture
def opener(host: str) -> Iterator[Opener]:
    """Opens sockets in a namespace that plays the host."""
    with kernel_lab.opener(host) as some:
        yield some


@pytest.fixture
def reservations(opener: Opener) -> Iterator[Reservations]:
    """The host's ports."""
    some = Reservations(lambda *kind: opener.sockets("", *kind), range(20000, 20100))
    yield some
    some.close()


def open_files() -> int:
    """How many files this process has open."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def binds(host: str, address: str, kind: str = "SOCK_STREAM", option: str = "", port: int = PORT) -> bool:
    """Whether another process of the host gets the port."""
    argv = [sys.executable, "-IS", "-c", TRY, address, port, kind, option]
    done = machine.run_in(host, argv, check=False)
    assert done.returncode == 0 or "Address already in use" in done.stderr, done.stderr
    return done.returncode == 0


@pytest.mark.parametrize("option", ["", "SO_REUSEADDR", "SO_REUSEPORT"])
@pytest.mark.parametrize(("protocol", "kind"), [("tcp", "SOCK_STREAM"), ("udp", "SOCK_DGRAM")])
def test_nobody_else_gets_a_reserved_port(
    host: str, reservations: Reservations, protocol: str, kind: str, option: str
) -> None:
    """While a port is reserved, another process cannot bind it on any address of either family, until it is released."""
    got = reservations.reserve(PortBinding.parse(f"{PORT}:80/{protocol}"))
    for address in ("0.0.0.0", "127.0.0.1", "::", "::1"):
        assert not binds(host, address, kind, option)
    reservations.release(got)
    assert binds(host, "0.0.0.0", kind, option)
    assert binds(host, "::1", kind, option)


@pytest.mark.parametrize(("protocol", "kind"), [("tcp", "SOCK_STREAM"), ("udp", "SOCK_DGRAM")])
def test_an_address_of_its_own_is_reserved_alone(
    host: str, reservations: Reservations, protocol: str, kind: str
) -> None:
    """A port reserved on one address is taken there and on the wildcard, and free on other addresses and in the other family."""
    reservations.reserve(PortBinding.parse(f"127.0.0.1:{PORT}:80/{protocol}"))
    assert not binds(host, "127.0.0.1", kind)
    assert not binds(host, "0.0.0.0", kind)
    assert binds(host, "127.0.0.2", kind)
    assert binds(host, "::1", kind)


@pytest.mark.parametrize("theirs", ["127.0.0.1", "0.0.0.0", "::1"])
def test_another_process_has_the_port(host: str, opener: Opener, reservations: Reservations, theirs: str) -> None:
    """A port that another process has is refused with its number and protocol, and nothing stays reserved; a range goes past it."""
    argv = [sys.executable, "-IS", "-c", HOLD, theirs, str(PORT), "SOCK_STREAM", ""]
    with opener.popen(host, argv, stdin=-1, stdout=-1, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "bound\n"
        with pytest.raises(Conflict, match=f":{PORT}/tcp is in use by another process") as caught:
            reservations.reserve(PortBinding.parse(f"{PORT}:80"))
        assert caught.value.code == "port_in_use"
        with pytest.raises(Conflict):
            reservations.reserve(PortBinding.parse(f"{PORT - 2}-{PORT + 2}:80-84"))
        assert reservations.held() == ()
        assert binds(host, "0.0.0.0", port=PORT - 2)
        assert reservations.reserve(PortBinding.parse(f"{PORT}-{PORT + 9}:80")).host_port == PORT + 1
        other.communicate()


def test_a_port_adopted_while_another_has_it_is_guarded_later(
    host: str, opener: Opener, reservations: Reservations
) -> None:
    """A published port whose sockets another process holds is ours in the table, and guarded by the next adoption after it ended."""
    binding = PortBinding.parse(f"{PORT}:80")
    argv = [sys.executable, "-IS", "-c", HOLD, "0.0.0.0", str(PORT), "SOCK_STREAM", ""]
    with opener.popen(host, argv, stdin=-1, stdout=-1, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "bound\n"
        assert not reservations.adopt(binding, "web")
        other.communicate()
    assert reservations.adopt(binding, "web")
    assert not binds(host, "127.0.0.1")


def test_an_address_that_the_host_lacks_is_named(reservations: Reservations) -> None:
    """A host address that is not there is refused by its name."""
    with pytest.raises(InvalidParameter, match=r"no address 192\.0\.2\.7"):
        reservations.reserve(PortBinding.parse("192.0.2.7:80:80"))
    assert reservations.held() == ()


def test_any_free_port_avoids_what_others_have(host: str, opener: Opener, reservations: Reservations) -> None:
    """Host port 0 passes over ports that other sockets of the host have, in either family."""
    with opener.socket("", 2, 1) as four, opener.socket("", 10, 1) as six:
        four.bind(("127.0.0.1", 20000))
        six.bind(("::1", 20001))
        assert reservations.reserve(PortBinding(80)).host_port == 20002


def test_the_host_s_own_settings_are_kept(host: str, opener: Opener) -> None:
    """With the host's port range and reserved ports read from it, free ports lie inside the one and outside the other."""
    machine.run_in(host, ["sh", "-c", "echo 30000 30005 > /proc/sys/net/ipv4/ip_local_port_range"])
    machine.run_in(host, ["sh", "-c", "echo 30000-30002,30004 > /proc/sys/net/ipv4/ip_local_reserved_ports"])
    ephemeral = parse_port_range(machine.sysctl("ipv4/ip_local_port_range", host))
    excluded = parse_reserved_ports(machine.sysctl("ipv4/ip_local_reserved_ports", host), ephemeral)
    some = Reservations(lambda *kind: opener.sockets("", *kind), ephemeral, excluded)
    assert [some.reserve(PortBinding(80)).host_port for _ in range(2)] == [30003, 30005]
    some.close()


def test_a_host_without_ipv6_reserves_ipv4(host: str, reservations: Reservations) -> None:
    """Where IPv6 is switched off in the host, a port of both families is reserved all the same."""
    machine.run_in(host, ["sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6"])
    reservations.reserve(PortBinding.parse(f"{PORT}:80"))
    assert not binds(host, "127.0.0.1")


def test_a_long_run_is_reserved_and_given_back(host: str, opener: Opener) -> None:
    """A run of 400 ports in both families takes one socket for each, and returns every one."""
    opener.socket("", 2, 2).close()  # without root the first one opens a line to the helper
    before = open_files()
    some = Reservations(lambda *kind: opener.sockets("", *kind))
    got = some.reserve(PortBinding.parse("20000-20399:1000-1399"))
    assert open_files() == before + 400
    assert all(each.guarded for each in some.held())
    some.release(got)
    assert open_files() == before


def test_a_forked_child_lets_go(host: str, reservations: Reservations) -> None:
    """After a fork the child's copies, once forgotten, do not keep a port that the parent gives back."""
    got = reservations.reserve(PortBinding.parse(f"{PORT}:80"))
    told, tell = os.pipe()
    child = os.fork()
    if not child:
        reservations.forget()
        os.write(tell, b"x")
        signal.pause()
        os._exit(0)
    try:
        assert os.read(told, 1) == b"x"
        assert not binds(host, "0.0.0.0")
        reservations.release(got)
        assert binds(host, "0.0.0.0")
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(told)
        os.close(tell)


def test_what_arrives_at_a_reserved_udp_port_is_not_kept(host: str, opener: Opener, reservations: Reservations) -> None:
    """Datagrams to a reserved port that nothing leads elsewhere fill no memory beyond the kernel's least."""
    reservations.reserve(PortBinding.parse(f"127.0.0.1:{PORT}:80/udp"))
    with opener.socket("", 2, 2) as sender:
        for _ in range(200):
            sender.sendto(bytes(1000), ("127.0.0.1", PORT))
    shown = machine.run_in(host, ["ss", "-Hluan", f"sport = :{PORT}"]).stdout.split()
    assert int(shown[1]) <= 5000
