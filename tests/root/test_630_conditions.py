"""Conditions of links on the real kernel: what `tc` and `nft` say, and which packets arrive."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import Any

import pytest
from attrs import define

from libnetwork_py import Endpoint, NetworkController, NotSupported, Sandbox
from tests.root.machine import run_in

PACKETS = 3000
_SO_RCVBUFFORCE = 33  # asm-generic/socket.h; `socket` has no name for it


@define
class Lab:
    """Two sandboxes on one network."""

    host: str
    controller: NetworkController
    web: Sandbox
    client: Sandbox
    link: Endpoint
    """The endpoint of ``web``."""

    @property
    def emulated(self) -> bool:
        """Whether the kernel has a network emulator, which then does all that it can."""
        return self.controller.info().features["netem"]

    def tc(self, namespace: str) -> list[dict[str, Any]]:
        """The qdiscs of a namespace that are not the kernel's default."""
        found: list[dict[str, Any]] = json.loads(run_in(namespace, ["tc", "-j", "qdisc"]).stdout)
        return [each for each in found if each["kind"] not in {"noqueue", "ingress"}]

    def rules(self, namespace: str) -> str:
        """The filter's tables on links."""
        tables = run_in(namespace, ["nft", "list", "tables"]).stdout.splitlines()
        names = [each.split()[-1] for each in tables if " link-" in each]
        return "".join(run_in(namespace, ["nft", "list", "table", "inet", name]).stdout for name in names)

    def arrived(self, sender: Sandbox, receiver: Sandbox, address: IPv4Address) -> list[int]:
        """Which of `PACKETS` numbered datagrams arrive, in the order of their coming."""
        with (
            receiver.socket(socket.AF_INET, socket.SOCK_DGRAM) as got,
            sender.socket(socket.AF_INET, socket.SOCK_DGRAM) as sent,
        ):
            got.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 1 << 24)
            got.bind((str(address), 5000))
            got.settimeout(1)
            numbers: list[int] = []
            for number in range(PACKETS):
                sent.sendto(number.to_bytes(4, "big"), (str(address), 5000))
            while True:
                try:
                    numbers.append(int.from_bytes(got.recv(16), "big"))
                except TimeoutError:
                    return numbers


@pytest.fixture
def lab(host: str) -> Iterator[Lab]:
    """Two sandboxes that know each other's MAC address, so that no packet waits for that."""
    with NetworkController.temporary(host=host) as controller:
        front = controller.create_network("front", subnets="10.1.0.0/24")
        web, client = (controller.create_sandbox(f"shaped-{name}") for name in ("web", "client"))
        link, own = web.connect(front), client.connect(front)
        client.run(["ping", "-c1", "-W5", str(link.addresses[0])], check=True, capture_output=True)
        web.run(["ping", "-c1", "-W5", str(own.addresses[0])], check=True, capture_output=True)
        for asker, asked in ((web, own), (client, link)):  # what is asked again would be counted with the packets
            told = [
                "ip",
                "neigh",
                "replace",
                str(asked.addresses[0]),
                "lladdr",
                str(asked.mac),
                "dev",
                "eth0",
                "nud",
                "permanent",
            ]
            asker.run(told, check=True)
        yield Lab(host, controller, web, client, link)


def address(endpoint: Endpoint) -> IPv4Address:
    """Its IPv4 address."""
    first = endpoint.addresses[0]
    assert isinstance(first, IPv4Address)
    return first


def test_a_rate_is_a_token_bucket_on_both_ends(lab: Lab) -> None:
    """`tc` shows the rate that was asked for, on each end, by the emulator where there is one, and nothing after it is taken back."""
    lab.link.shape(rate="80mbit", queue=90_000)
    for namespace in (lab.host, lab.web.key):
        (bucket,) = lab.tc(namespace)
        if lab.emulated:
            assert (bucket["kind"], bucket["options"]["rate"]["rate"]) == ("netem", 10_000_000)  # bytes
        else:
            assert (bucket["kind"], bucket["options"]["rate"]) == ("tbf", 10_000_000)
            assert bucket["options"]["limit" if "limit" in bucket["options"] else "lat"]
    assert not lab.controller.reconcile()
    lab.link.shape()
    assert lab.tc(lab.host) == lab.tc(lab.web.key) == []


@pytest.mark.parametrize("direction", ["to", "from"])
def test_a_seeded_loss_loses_the_same_packets(lab: Lab, direction: str) -> None:
    """With a seed the same numbers are lost in each run, another seed loses others; about as many as asked for."""
    pair = (lab.client, lab.web) if direction == "to" else (lab.web, lab.client)
    target = address(pair[1].endpoints()[0])
    runs = []
    for seed in (1, 1, 2):
        lab.link.shape()
        lab.link.shape(loss="10%", seed=seed)
        runs.append(lab.arrived(*pair, target))
    assert runs[0] == runs[1] != runs[2]
    assert runs[0] == sorted(runs[0])
    for run in runs:
        assert PACKETS * 0.87 < len(run) < PACKETS * 0.93  # six standard deviations


def test_a_random_loss(lab: Lab) -> None:
    """Without a seed other packets are lost each time, by the emulator where there is one, else by a rule as `nft` would have made it."""
    lab.link.shape(loss="10%")
    first, second = (lab.arrived(lab.client, lab.web, address(lab.link)) for _ in range(2))
    assert first != second
    assert PACKETS * 0.87 < len(first) < PACKETS * 0.93
    if lab.emulated:
        (emulator,) = lab.tc(lab.host)
        assert (emulator["kind"], emulator["options"]["loss-random"]["loss"]) == ("netem", pytest.approx(0.1))
    else:
        assert "numgen random mod 1000000 < 100000 drop" in lab.rules(lab.host)
        assert "hook ingress device" in lab.rules(lab.host)
    assert not lab.controller.reconcile()


def test_everything_is_lost_and_found_again(lab: Lab) -> None:
    """A loss of 1 lets nothing through; the shape taken back lets everything through, and leaves no table."""
    ping = ["ping", "-c1", "-W1", str(address(lab.link))]
    lab.link.shape(loss=1)
    assert lab.client.run(ping, capture_output=True).returncode == 1
    lab.link.shape()
    assert lab.client.run(ping, capture_output=True).returncode == 0
    assert lab.rules(lab.host) == lab.rules(lab.web.key) == ""


def test_what_is_missing_here_is_named(lab: Lab) -> None:
    """Where the kernel has no network emulator a delay is refused by its name; where it has, a ping takes the time."""
    if lab.emulated:
        lab.link.shape(delay="40ms")
        said = lab.client.run(
            ["ping", "-c2", "-W5", str(address(lab.link))], capture_output=True, text=True, check=True
        ).stdout
        assert float(said.rsplit("=", 1)[1].split("/")[0]) > 80
        assert not lab.controller.reconcile()
    else:
        with pytest.raises(NotSupported, match="sch_netem"):
            lab.link.shape(delay="40ms")
        assert lab.tc(lab.host) == []


def test_drift_is_mended(lab: Lab) -> None:
    """What `tc` removed comes back, and so does a table that `nft` deleted."""
    lab.link.shape(rate="80mbit", loss="10%")
    before = lab.rules(lab.host)
    run_in(lab.web.key, ["tc", "qdisc", "del", "dev", "eth0", "root"])
    if not lab.emulated:
        run_in(lab.host, ["nft", "delete", "table", *before.split("{")[0].split()[1:]])
    report = lab.controller.reconcile()
    assert {each.what.split()[0] for each in report.missing} == ({"tc"} if lab.emulated else {"nft", "tc"})
    assert report.repaired
    assert lab.rules(lab.host) == before
    assert len(lab.tc(lab.web.key)) == 1


def test_leaving_and_coming_back(lab: Lab) -> None:
    """A condition goes with the interface and comes with it, on both ends."""
    lab.link.shape(rate="80mbit", loss="10%")
    lab.link.leave()
    assert lab.tc(lab.host) == []
    assert lab.rules(lab.host) == ""
    lab.link.join(lab.web)
    assert len(lab.tc(lab.host)) == len(lab.tc(lab.web.key)) == 1
    assert bool(lab.rules(lab.host)) != lab.emulated
