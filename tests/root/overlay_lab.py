"""Hosts on an underlay, in one machine: each a namespace with a kernel layer of its own, told by hand what a cluster would tell it.

The underlay is a bridge in a further namespace, where every packet between hosts can be seen.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from typing import Any

from attrs import define, evolve, field

from libnetwork_py.desired import HOST, Address, Description, Namespace, Sysctl, Word, between
from libnetwork_py.drivers.api import Context, Peer, Surroundings
from libnetwork_py.drivers.overlay.driver import OverlayDriver
from libnetwork_py.endpoint import EndpointRecord
from libnetwork_py.firewall.table import table
from libnetwork_py.kernel.linux import LinuxKernel
from libnetwork_py.kernel.namespaces import RUN_DIRECTORY
from libnetwork_py.network import NetworkRecord, Subnet
from libnetwork_py.sandbox import SandboxRecord
from libnetwork_py.types import EMPTY, IPAddress
from tests.engines.servers import Server, free_ports, program
from tests.root import machine, world

DRIVER = OverlayDriver()
_ETH_P_ALL = 0x0003


@define
class Place:
    """An endpoint in a sandbox of its own on a host; ``path`` is where other programs have the sandbox."""

    endpoint: EndpointRecord
    sandbox: SandboxRecord
    path: str


@define
class Host:
    """One host: its namespace, its kernel, its addresses in the underlay, what is on it."""

    number: int
    path: str
    kernel: LinuxKernel
    family: int = 4
    places: dict[str, list[Place]] = field(factory=dict)
    now: Description = ()

    @property
    def vtep(self) -> IPAddress:
        """Its address in the underlay."""
        return ip_address(f"10.99.0.{self.number}" if self.family == 4 else f"fd99::{self.number:x}")

    @property
    def controller(self) -> str:
        """The id that a controller of this host would have."""
        return f"{os.getpid():06x}{self.number:02x}".rjust(32, "0")[-8:] * 4


@define
class Lab:
    """The hosts, and the networks across them."""

    underlay: str
    hosts: list[Host]
    networks: dict[str, NetworkRecord] = field(factory=dict)
    paths: list[str] = field(factory=list)

    def network(self, name: str, *subnets: str, vni: int = 4096, options: Mapping[str, str] = EMPTY) -> NetworkRecord:
        """Add a network."""
        given = tuple(Subnet(text, ip_network(text), ip_network(text)[1]) for text in subnets)
        ipv6 = any(each.family == 6 for each in given)
        number = (len(self.networks) + 1 << 24) + os.getpid()
        record = NetworkRecord(
            f"{number:012x}".ljust(64, "a"), name, "overlay", "global", given, ipv6=ipv6, options=options
        )
        record = evolve(record, vnis=tuple(range(vni, vni + len(given))))
        host = self.hosts[0]
        record = DRIVER.check_network(record, Surroundings(host.kernel.facts(), vtep=host.vtep))
        self.networks[record.id] = record
        return record

    def place(self, host: Host, network: NetworkRecord, name: str, *addresses: str, **fields: Any) -> Place:
        """Put an endpoint in a sandbox of its own on a host; nobody is told before `sync`."""
        path = f"{RUN_DIRECTORY}/t{os.getpid()}-{host.number}-{name}"
        self.paths.append(host.kernel.reach(path))
        sandbox = SandboxRecord(name.ljust(64, "0"), name, path)
        given = tuple(map(ip_interface, addresses))
        endpoint = EndpointRecord(
            f"{name}{host.number}".encode().hex().ljust(64, "0"),
            name,
            network.id,
            sandbox.id,
            given,
            ifname="eth0",
            **fields,
        )
        place = Place(DRIVER.check_endpoint(network, endpoint), sandbox, host.kernel.reach(path))
        host.places.setdefault(network.id, []).append(place)
        return place

    def sync(self, *hosts: Host) -> None:
        """Tell hosts (all) what they should have, and let each make the difference."""
        for host in hosts or self.hosts:
            words = self.describe(host)
            host.kernel.apply(between(host.now, words, f"host {host.number}"))
            host.now = words

    def describe(self, host: Host) -> Description:
        """What exists on a host."""
        words: list[Word] = []
        for network_id, places in host.places.items():
            if places:
                words += DRIVER.describe_network(self.networks[network_id], self.context(host, network_id))
            for place in places:
                words += self._sandbox(host, network_id, place)
        return tuple(words)

    def context(self, host: Host, network_id: str) -> Context:
        """What a host knows of a network."""
        peers = [
            Peer(place.endpoint.id, place.endpoint.addresses, place.endpoint.mac, other.vtep)
            for other in self.hosts
            if other is not host
            for place in other.places.get(network_id, ())
            if place.endpoint.mac
        ]
        return Context(table(HOST, "lnw"), {}, peers=peers, vtep=host.vtep, controller=host.controller)

    def _sandbox(self, host: Host, network_id: str, place: Place) -> Iterator[Word]:
        path, endpoint = place.sandbox.key, place.endpoint
        context = self.context(host, network_id)
        yield Namespace(path)
        yield Sysctl(path, "ipv6.conf.default.disable_ipv6", "1")
        yield Sysctl(path, "ipv6.conf.{}.disable_ipv6", "0", link="eth0")
        yield from DRIVER.describe_endpoint(self.networks[network_id], endpoint, place.sandbox, context).words
        for address in endpoint.addresses:
            yield Address(path, "eth0", address)

    def close(self) -> None:
        """Take everything away."""
        for host in self.hosts:
            host.places.clear()
        self.sync()


@contextmanager
def lab(count: int = 2, family: int = 4, mtu: int = 1500) -> Iterator[Lab]:
    """Hosts on an underlay, with nothing on them; everything is gone afterwards."""
    with ExitStack() as stack:
        underlay = _namespace(stack, "underlay")
        machine.ip("link", "add", "br0", "type", "bridge", namespace=underlay)
        machine.run_in(underlay, ["ip", "link", "set", "br0", "up"])
        hosts = [_host(stack, underlay, number, family, mtu) for number in range(1, count + 1)]
        made = Lab(underlay, hosts)
        try:
            yield made
            made.close()
        finally:
            for path in [
                *made.paths,
                *(host.kernel.reach(word.path) for host in hosts for word in host.now if isinstance(word, Namespace)),
            ]:
                machine.drop_namespace(path)


def _namespace(stack: ExitStack, name: str) -> str:
    path = machine.new_namespace(name)
    stack.callback(machine.drop_namespace, path)
    return path


def _host(stack: ExitStack, underlay: str, number: int, family: int, mtu: int) -> Host:
    path = _namespace(stack, f"host{number}")
    peer = ["peer", "name", "eth0", "mtu", mtu, "netns", path]
    machine.run_in(underlay, ["ip", "link", "add", f"to{number}", "mtu", mtu, "type", "veth", *peer])
    machine.run_in(underlay, ["ip", "link", "set", f"to{number}", "master", "br0", "up"])
    machine.run_in(path, ["ip", "addr", "add", f"10.99.0.{number}/24", "dev", "eth0"])
    machine.run_in(path, ["ip", "addr", "add", f"fd99::{number:x}/64", "dev", "eth0", "nodad"])
    machine.run_in(path, ["ip", "link", "set", "eth0", "up"])
    kernel = LinuxKernel(path)
    stack.callback(kernel.close)
    return Host(number, path, kernel, family)


@contextmanager
def etcd(path: str, address: str, directory: Path) -> Iterator[Server]:
    """An etcd in a namespace (empty: the caller's), reached at one of its addresses; the next one on the same directory has what it had."""
    ports = (2379, 2380) if path else free_ports(2)
    client, peer = (f"http://{address}:{port}" for port in ports)
    options = ["--listen-client-urls", client, "--advertise-client-urls", client, "--listen-peer-urls", peer]
    first = ["--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}", "--log-level=error"]
    argv = [*world.entering(path), program("etcd"), "--data-dir", str(directory / "data")]
    server = Server([*argv, *options, *first], ports[0], directory, address)
    health = [
        sys.executable,
        "-c",
        f"import urllib.request as u; print(u.urlopen('{client}/health', timeout=2).read())",
    ]
    server.start()
    try:
        server.until(lambda: "true" in machine.run_in(path, health, check=False).stdout)
        yield server
    finally:
        server.kill()


@contextmanager
def tunnelled(lab: Lab) -> Iterator[list[bytes]]:
    """Collect the frames with UDP port 4789 that the first host sends and gets meanwhile, from the Ethernet header on."""
    frames: list[bytes] = []
    with lab.hosts[0].kernel.socket(lab.underlay, socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL)) as raw:
        raw.bind(("to1", _ETH_P_ALL))
        raw.settimeout(0.05)
        yield frames
        while True:
            try:
                frame = raw.recv(65535)
            except TimeoutError:
                break
            if _is_vxlan(frame):
                frames.append(frame)


def _is_vxlan(frame: bytes) -> bool:
    header = {0x0800: (23, 14 + 20), 0x86DD: (20, 14 + 40)}.get(int.from_bytes(frame[12:14], "big"))
    if header is None or frame[header[0]] != socket.IPPROTO_UDP:
        return False
    return int.from_bytes(frame[header[1] + 2 : header[1] + 4], "big") == 4789


def ping(place: Place, address: str, *options: str, check: bool = True) -> bool:
    """Send one packet and say whether its answer came."""
    done = machine.run_in(place.path, ["ping", "-c1", "-W1", *options, address], check=False)
    assert done.returncode == 0 or not check, done.stdout + done.stderr
    return done.returncode == 0
