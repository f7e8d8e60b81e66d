"""Overlay networks on the real kernel: several hosts in one machine, told by hand who is where."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from attrs import evolve

from libnetwork_py import labels
from libnetwork_py.desired import Change, Namespace, Vxlan
from libnetwork_py.drivers.api import Surroundings
from libnetwork_py.errors import InvalidParameter
from libnetwork_py.facts import compare
from libnetwork_py.types import MacAddress
from tests.root import machine, overlay_lab
from tests.root.overlay_lab import DRIVER, Lab, ping, tunnelled


@pytest.fixture
def lab() -> Iterator[Lab]:
    """Two hosts."""
    with overlay_lab.lab() as made:
        yield made


@pytest.mark.parametrize("family", [4, 6])
def test_endpoints_reach_each_other(family: int) -> None:
    """IPv4 and IPv6 cross the underlay, over IPv4 and over IPv6, to every host and within one."""
    with overlay_lab.lab(3, family) as lab:
        net = lab.network("net", "10.7.0.0/24", "fd00:7::/64")
        places = [
            lab.place(host, net, f"web{number}", f"10.7.0.{number}/24", f"fd00:7::{number:x}/64")
            for number, host in enumerate((*lab.hosts, lab.hosts[0]), start=10)
        ]
        lab.sync()
        for other in (11, 12, 13):
            ping(places[0], f"10.7.0.{other}")
            ping(places[0], f"fd00:7::{other:x}")
        ping(places[2], "10.7.0.11")


def test_the_gateway_is_on_every_host(lab: Lab) -> None:
    """The gateway answers where the endpoint is, without a packet in the underlay."""
    net = lab.network("net", "10.7.0.0/24", "fd00:7::/64")
    places = [
        lab.place(host, net, "web", f"10.7.0.1{host.number}/24", f"fd00:7::1{host.number}/64") for host in lab.hosts
    ]
    lab.sync()
    with tunnelled(lab) as frames:
        for place in places:
            ping(place, "10.7.0.1")
            ping(place, "fd00:7::1")
    assert frames == []


def test_subnets_of_a_network_reach_each_other(lab: Lab) -> None:
    """Endpoints of different subnets talk, on one host and across, and each subnet's packets have its own number."""
    net = lab.network("net", "10.7.0.0/24", "10.8.0.0/24", vni=70)
    one = lab.place(lab.hosts[0], net, "one", "10.7.0.11/24")
    lab.place(lab.hosts[0], net, "two", "10.8.0.12/24")
    lab.place(lab.hosts[1], net, "three", "10.8.0.13/24")
    lab.sync()
    ping(one, "10.8.0.12")
    with tunnelled(lab) as frames:
        ping(one, "10.8.0.13")
    assert [int.from_bytes(frame[46:49], "big") for frame in frames] == [71, 70]


def test_nothing_unknown_crosses(lab: Lab) -> None:
    """Questions for nobody, frames for nobody, broadcasts and multicasts end on the host: the underlay sees none of them."""
    net = lab.network("net", "10.7.0.0/24", "fd00:7::/64")
    web = lab.place(lab.hosts[0], net, "web", "10.7.0.11/24", "fd00:7::11/64")
    lab.place(lab.hosts[1], net, "api", "10.7.0.12/24", "fd00:7::12/64")
    lab.sync()
    machine.run_in(web.path, ["ip", "neigh", "add", "10.7.0.98", "lladdr", "02:42:0a:07:00:62", "dev", "eth0"])
    with tunnelled(lab) as frames:
        for address in ("10.7.0.99", "fd00:7::99", "10.7.0.98"):
            assert not ping(web, address, check=False)
        ping(web, "10.7.0.255", "-b", check=False)
        ping(web, "ff02::1%eth0", check=False)
    assert frames == []
    with tunnelled(lab) as frames:
        ping(web, "10.7.0.12")
        ping(web, "fd00:7::12")
    assert len(frames) == 4, "the pings and their answers, and no question who has an address"


def test_a_forged_address_takes_nothing_away(lab: Lab) -> None:
    """A local endpoint that claims a remote one's MAC address does not get its packets."""
    net = lab.network("net", "10.7.0.0/24")
    web = lab.place(lab.hosts[0], net, "web", "10.7.0.11/24")
    api = lab.place(lab.hosts[1], net, "api", "10.7.0.12/24")
    bad = lab.place(lab.hosts[0], net, "bad", "10.7.0.13/24")
    lab.sync()
    machine.run_in(bad.path, ["ip", "link", "set", "eth0", "address", api.endpoint.mac])
    ping(bad, "10.7.0.11", check=False)
    ping(web, "10.7.0.12")


def test_a_moved_address_is_followed_at_once() -> None:
    """The first packet after a move arrives: an endpoint that goes to another host, to the asker's own, and away from it."""
    with overlay_lab.lab(3) as lab:
        net = lab.network("net", "10.7.0.0/24")
        web = lab.place(lab.hosts[0], net, "web", "10.7.0.11/24")
        lab.place(lab.hosts[1], net, "api", "10.7.0.12/24")
        lab.sync()
        ping(web, "10.7.0.12")
        for before, after in ((1, 2), (2, 0), (0, 1)):
            lab.hosts[before].places[net.id].pop()
            lab.place(lab.hosts[after], net, "api", "10.7.0.12/24")
            lab.sync()
            ping(web, "10.7.0.12")


def test_networks_do_not_know_each_other(lab: Lab) -> None:
    """Two networks with the same subnet, which is the underlay's as well, are apart from each other and from the host."""
    one, two = (lab.network(name, "10.99.0.0/24", vni=vni) for name, vni in (("one", 100), ("two", 200)))
    first = lab.place(lab.hosts[0], one, "first", "10.99.0.11/24")
    lab.place(lab.hosts[1], one, "second", "10.99.0.12/24")
    third = lab.place(lab.hosts[1], two, "third", "10.99.0.13/24")
    lab.sync()
    ping(first, "10.99.0.12")
    assert not ping(first, "10.99.0.13", check=False)
    assert not ping(third, "10.99.0.12", check=False)
    assert not ping(first, "10.99.0.2", check=False)


@pytest.mark.parametrize(("family", "largest"), [(4, 1450), (6, 1430)])
def test_the_largest_packet_fits(family: int, largest: int) -> None:
    """What an endpoint's interface takes crosses the underlay in one piece, and fills it."""
    with overlay_lab.lab(2, family) as lab:
        net = lab.network("net", "10.7.0.0/24")
        web = lab.place(lab.hosts[0], net, "web", "10.7.0.11/24")
        lab.place(lab.hosts[1], net, "api", "10.7.0.12/24")
        lab.sync()
        assert machine.links(web.path)["eth0"]["mtu"] == largest
        with tunnelled(lab) as frames:
            ping(web, "10.7.0.12", "-M", "do", "-s", str(largest - 28))
        assert [len(frame) for frame in frames] == [1514, 1514]
        assert not ping(web, "10.7.0.12", "-M", "do", "-s", str(largest - 27), check=False)


def test_a_jumbo_underlay() -> None:
    """Where the underlay takes more, and it is asked for, endpoints have more; a host that takes less refuses the network."""
    with overlay_lab.lab(2, mtu=9000) as lab:
        net = lab.network("net", "10.7.0.0/24", options={labels.DRIVER_MTU: "9000"})
        web = lab.place(lab.hosts[0], net, "web", "10.7.0.11/24")
        lab.place(lab.hosts[1], net, "api", "10.7.0.12/24")
        lab.sync()
        ping(web, "10.7.0.12", "-M", "do", "-s", str(8950 - 28))
        machine.run_in(lab.hosts[1].path, ["ip", "link", "set", "eth0", "mtu", "1500"])
        host = lab.hosts[1]
        with pytest.raises(InvalidParameter, match="takes packets of 1500 bytes"):
            DRIVER.check_network(net, Surroundings(host.kernel.facts(), vtep=host.vtep))


def test_a_firewall_that_forwards_nothing(lab: Lab) -> None:
    """Another program's rules that drop whatever the host would forward do not concern what a network's endpoints send each other."""
    drop = "table inet other { chain c { type filter hook forward priority 0; policy drop; }; }"
    for host in lab.hosts:
        machine.run_in(host.path, ["nft", drop])
    net = lab.network("net", "10.7.0.0/24")
    web = lab.place(lab.hosts[0], net, "web", "10.7.0.11/24")
    lab.place(lab.hosts[0], net, "near", "10.7.0.13/24")
    lab.place(lab.hosts[1], net, "api", "10.7.0.12/24")
    lab.sync()
    ping(web, "10.7.0.12")
    ping(web, "10.7.0.13")


def test_a_port_that_is_taken(lab: Lab) -> None:
    """If another program has the tunnels' port, the endpoint does not come up, the error says so, and nothing is left."""
    net = lab.network("net", "10.7.0.0/24")
    host = lab.hosts[0]
    lab.place(host, net, "web", "10.7.0.11/24")
    with host.kernel.socket(host.path, 2, 2) as taken:  # AF_INET, SOCK_DGRAM
        taken.bind(("0.0.0.0", 4789))
        with pytest.raises(Exception, match="address is in use"):
            lab.sync(host)
    assert host.now == ()
    assert not compare(
        [word for word in lab.describe(host) if isinstance(word, Namespace)], host.kernel.facts()
    ).present
    lab.sync(host)


def test_many_peers_come_and_go(lab: Lab) -> None:
    """A thousand peers are told in one change; one more, and one less, are a change of that one."""
    net = lab.network("net", "10.7.0.0/16")
    web = lab.place(lab.hosts[0], net, "web", "10.7.200.11/16")
    far = lab.hosts[1]
    for number in range(1000):
        lab.place(far, net, f"p{number}", f"10.7.{number >> 8}.{number & 255}/16")
    words = lab.describe(lab.hosts[0])
    lab.hosts[0].kernel.apply(Change(make=words))
    lab.hosts[0].now = words
    assert not compare(
        words, lab.hosts[0].kernel.facts([word.path for word in words if isinstance(word, Namespace)], words=words)
    )
    del far.places[net.id][3:]
    far.places[net.id][2] = evolve_mac(lab, far.places[net.id][2])
    lab.sync()
    ping(web, "10.7.0.1")
    ping(web, "10.7.0.2")


def evolve_mac(lab: Lab, place: overlay_lab.Place) -> overlay_lab.Place:
    """The same place with another MAC address."""
    return evolve(place, endpoint=evolve(place.endpoint, mac=MacAddress("02:42:ff:ff:ff:02")))


def test_the_device_belongs_to_the_hosts_underlay(lab: Lab) -> None:
    """The tunnel's packets go through the host's namespace although the device is in the network's, and the host sees no link of it."""
    net = lab.network("net", "10.7.0.0/24")
    web = lab.place(lab.hosts[0], net, "web", "10.7.0.11/24")
    lab.place(lab.hosts[1], net, "api", "10.7.0.12/24")
    lab.sync()
    ping(web, "10.7.0.12")
    (tunnel,) = [word for word in lab.hosts[0].now if isinstance(word, Vxlan)]
    assert machine.links(lab.hosts[0].kernel.reach(tunnel.namespace))["vxlan0"]["linkinfo"]["info_kind"] == "vxlan"
    assert set(machine.links(lab.hosts[0].path)) == {"lo", "eth0"}
