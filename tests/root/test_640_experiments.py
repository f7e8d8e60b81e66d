"""Experiments on the real kernel: partitions and cables as packets see them, captures, measurements, explanations, routers."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import define

from libnetwork_py import Conflict, NetworkController, Sandbox, Unavailable, experiments, topology
from tests.root import machine


def reaches(one: Sandbox, other: Sandbox, tries: int = 2) -> bool:
    """Whether one of some pings is answered; one that the kernel knows no neighbour for ends early."""
    ping = ["ping", "-c1", "-W1", str(other.endpoints()[0].addresses[0])]
    return any(one.run(ping, capture_output=True, check=False).returncode == 0 for _ in range(tries))


@define
class Lab:
    """Three sandboxes on one network, a fourth on another."""

    controller: NetworkController
    a: Sandbox
    b: Sandbox
    c: Sandbox
    far: Sandbox


@pytest.fixture
def lab(host: str) -> Iterator[Lab]:
    """A fresh one."""
    with NetworkController.temporary(host=host) as controller:
        front, back = controller.create_network("front", ipv6=True), controller.create_network("back")
        with controller.batch():
            boxes = [controller.create_sandbox(f"lab-{name}") for name in ("a", "b", "c", "far")]
            for box in boxes:
                box.connect(back if box is boxes[3] else front)
        yield Lab(controller, *boxes)


def test_a_partition_as_packets_see_it(lab: Lab) -> None:
    """Groups do not reach each other, by IPv4 and by IPv6; members of one group do; healed, all do."""
    experiments.partition([lab.a], [lab.b, lab.c])
    assert [reaches(lab.a, lab.b), reaches(lab.c, lab.a), reaches(lab.b, lab.c)] == [False, False, True]
    six = str(lab.b.endpoints()[0].addresses[1])
    assert lab.a.run(["ping", "-6", "-c1", "-W1", six], capture_output=True).returncode == 1
    assert "partition" in experiments.explain(lab.a, lab.b).why
    assert not lab.controller.reconcile()
    experiments.heal(lab.a, lab.b, lab.c)
    assert reaches(lab.a, lab.b, 15)
    assert reaches(lab.c, lab.a, 15)
    assert lab.a.run(["ping", "-6", "-c1", "-W5", six], capture_output=True).returncode == 0


def test_a_connection_outlives_a_partition(lab: Lab) -> None:
    """What was sent during a partition arrives after it, over the same connection."""
    server = lab.b.socket()
    server.bind(("0.0.0.0", 7000))
    server.listen()
    client = lab.a.socket()
    client.settimeout(10)
    client.connect((str(lab.b.endpoints()[0].addresses[0]), 7000))
    peer, _ = server.accept()
    peer.settimeout(20)
    experiments.partition([lab.a], [lab.b])
    client.sendall(b"hello")
    peer.setblocking(False)
    with pytest.raises(BlockingIOError):
        peer.recv(16)
    peer.settimeout(20)
    experiments.heal(lab.a, lab.b)
    assert peer.recv(16) == b"hello"
    for each in (server, client, peer):
        each.close()


def test_a_pulled_cable_is_seen_inside(lab: Lab) -> None:
    """The interface has no carrier, the address stays, and it works again once plugged in."""
    experiments.pull(lab.a)
    state = ["cat", "/sys/class/net/eth0/carrier"]
    assert lab.a.run(state, capture_output=True, text=True).stdout == "0\n"
    assert not reaches(lab.b, lab.a)
    assert "pulled" in experiments.explain(lab.b, lab.a).why
    assert not lab.controller.reconcile()
    experiments.plug(lab.a)
    assert lab.a.run(state, capture_output=True, text=True).stdout == "1\n"
    assert reaches(lab.b, lab.a, 15)


def test_a_capture_is_what_tcpdump_reads(lab: Lab, tmp_path: Path) -> None:
    """Echo requests and replies are captured with direction, and tcpdump reads the file: the same packets at the same times."""
    with experiments.capture(lab.a.endpoints()[0]) as got:
        assert reaches(lab.a, lab.b, 15)
    icmp = [(packet.outgoing, said.info) for packet, said in got if said.protocol == "ICMP"]
    assert icmp == [(True, "echo request 1"), (False, "echo reply 1")]
    assert got.lost == 0
    path = got.save(tmp_path / "ping.pcapng")
    read = subprocess.run(
        ["tcpdump", "-nn", "--nano", "-tt", "-r", path], capture_output=True, text=True, check=True
    ).stdout
    assert len(read.splitlines()) == len(got)
    assert "ICMP echo request" in read
    first = got.packets[0].time
    assert read.startswith(f"{first // 10**9}.{first % 10**9:09d}")


def test_a_capture_as_a_frame(lab: Lab) -> None:
    """The DataFrame has a TCP connection's beginning, ports and payload."""
    pandas = pytest.importorskip("pandas", reason="pandas, the extra `frames`")
    with experiments.capture(lab.a.endpoints()[0]) as got:
        experiments.measure(lab.a, lab.b, seconds=0.2, repeats=1)
    frame = got.frame()
    tcp = frame[frame.protocol == "TCP"]
    assert list(tcp["flags"][:2]) == ["S", "S."]
    assert tcp.payload.sum() > 100_000
    assert isinstance(frame.time.dtype, pandas.DatetimeTZDtype)
    assert tcp.time.is_monotonic_increasing


def test_capturing_what_is_not_joined(lab: Lab) -> None:
    """An endpoint without an interface has nothing to capture."""
    endpoint = lab.controller.network("front").create_endpoint("idle")
    with pytest.raises(Conflict):
        experiments.capture(endpoint)


def test_an_endpoints_socket_is_its_own(lab: Lab) -> None:
    """A socket of an endpoint goes out by that interface alone."""
    second = lab.a.connect(lab.controller.network("back"))
    with second.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect((str(lab.far.endpoints()[0].addresses[0]), 9))
        assert sock.getsockname()[0] == str(second.addresses[0])


def test_a_measurement_knows_the_rate(lab: Lab) -> None:
    """On a shaped link the throughput is the link's rate, and the round trip grows with the queue."""
    lab.b.endpoints()[0].shape(rate="40mbit", queue=200_000)
    found = experiments.measure(lab.a, lab.b, seconds=0.7, repeats=3, flows=2)
    spread = found.spread()
    assert 0.5 * 40e6 < spread["throughput"][0] < 1.1 * 40e6
    assert spread["rtt"][0] > spread["rtt_idle"][0]
    assert spread["throughput"][4] == 3
    assert all(
        one.acked <= other.acked
        for one, other in zip(found.samples, found.samples[1:], strict=False)
        if one.repeat == other.repeat
    )
    assert "throughput" in str(found)


def test_measuring_over_a_cut(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no connection comes about, that is said, with what to do."""
    monkeypatch.setattr("libnetwork_py.experiments.measuring._HELLO", 0.5)
    experiments.partition([lab.a], [lab.b])
    with pytest.raises(Unavailable, match="explain"):
        experiments.measure(lab.a, lab.b)


def test_explanations_agree_with_ping(lab: Lab) -> None:
    """What is explained to arrive is answered, and what is explained to die is not, for every pair."""
    boxes = [lab.a, lab.b, lab.far]
    for one in boxes:
        for other in boxes:
            assert experiments.explain(one, other).answered == reaches(one, other), (one, other)


@pytest.mark.parametrize("broken", ["address", "forwarding", "link", "port"])
def test_what_somebody_broke_is_found(host: str, broken: str) -> None:
    """An address, forwarding, a link or a bridge's port taken away by hand is where the packet dies."""
    with NetworkController.temporary(host=host) as controller:
        made = topology.chain(controller, 2, prefix="broken-")
        one, other = made.hosts
        assert reaches(one, other, 15)
        assert experiments.explain(one, other).answered
        veth = next(each for each in machine.links(host) if each.startswith("veth"))
        programs = {
            "address": (other.key, ["ip", "addr", "flush", "dev", "eth0"], "missing"),
            "forwarding": (made.routers[1].key, ["sysctl", "-w", "net.ipv4.ip_forward=0"], "no router"),
            "link": (other.key, ["ip", "link", "set", "eth0", "down"], "down"),
            "port": (host, ["ip", "link", "set", veth, "nomaster"], "no port of the bridge"),
        }
        namespace, argv, why = programs[broken]
        machine.run_in(namespace, argv)
        found = experiments.explain(one, other)
        assert not found.answered
        assert why in found.why or "no route" in found.why
        assert not reaches(one, other)


def test_a_ring_routes_the_shorter_way(host: str) -> None:
    """Every host of a ring reaches every other, over as many routers as are explained."""
    with NetworkController.temporary(host=host) as controller:
        made = topology.ring(controller, 5, prefix="ring-")
        for target in made.hosts[1:]:
            found = experiments.explain(made.hosts[0], target)
            hops = sum("forwards" in each.what for each in found.steps)
            said = (
                made.hosts[0]
                .run(
                    ["ping", "-c1", "-W5", str(target.endpoints()[0].addresses[0])],
                    capture_output=True,
                    text=True,
                    check=True,
                )
                .stdout
            )
            assert f"ttl={64 - hops}" in said
        start = time.monotonic()
        assert "ring-r1" in str(controller.draw())
        assert time.monotonic() - start < 30
