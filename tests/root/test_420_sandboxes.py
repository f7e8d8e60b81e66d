"""Sandboxes: named, adopted and the host's own; what interfaces, addresses, MAC addresses and settings they have."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from pathlib import Path

import pytest

from libnetwork_py import Conflict, Forbidden, NetworkController, NotFound
from tests.root import machine, world
from tests.root.api_lab import pings, sleeper


@pytest.fixture
def theirs() -> Iterator[str]:
    """A namespace that somebody else made, with an interface of theirs."""
    path = machine.new_namespace("theirs")
    machine.ip("link", "add", "eth0", "type", "bridge", namespace=path)
    machine.ip("addr", "add", "192.0.2.1/24", "dev", "eth0", namespace=path)
    yield path
    machine.drop_namespace(path)


# namespaces


def test_a_sandbox_is_a_namespace_of_ip_netns(controller: NetworkController) -> None:
    """`ip netns` lists a sandbox under its name and runs programs in it; its loopback is up."""
    box = controller.create_sandbox("t-named-sandbox")
    name = Path(box.key).name
    assert name.startswith("t-named-sandbox")
    before = world.entering_names(box.key)

    def names() -> set[str]:
        return {line.split()[0] for line in machine.run(*before, "ip", "netns").stdout.splitlines()}

    assert name in names()
    shown = machine.run(*before, "ip", "netns", "exec", name, "ip", "-br", "addr", "show", "lo").stdout
    assert "127.0.0.1/8" in shown
    box.delete()
    assert name not in names()


def test_what_was_begun_and_not_needed(controller: NetworkController) -> None:
    """Threads that make sandboxes, half of which are refused, have what they made and leave no descriptor behind."""

    def make(thread: int) -> int:
        refused = 0
        for number in range(10):
            for _ in range(2):
                try:
                    controller.create_sandbox(f"t{thread}-{number}")
                except Conflict:
                    refused += 1
        return refused

    controller.create_sandbox("first").delete()
    before = len(list(Path("/proc/self/fd").iterdir()))
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(make, range(4))) == [10] * 4
    boxes = controller.sandboxes()
    assert len({os.stat(box.key).st_ino for box in boxes}) == len(boxes) == 40  # noqa: PTH116
    kept = 0 if world.ROOT else 4  # lines to the helper process, one for each that asked at the same time
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + kept
    with controller.batch():
        for box in boxes:
            box.delete()


def test_a_name_that_somebody_has_under_run_netns(controller: NetworkController) -> None:
    """A sandbox whose name is somebody's namespace gets a path of its own, and theirs stays when it is deleted."""
    theirs = machine.new_namespace("shared")
    try:
        box = controller.create_sandbox(Path(theirs).name)
        assert box.key != theirs
        assert box.name == Path(theirs).name
        box.delete()
        assert Path(theirs).exists()
        assert set(machine.links(theirs)) == {"lo"}
    finally:
        machine.drop_namespace(theirs)


def test_one_namespace_each_whatever_the_names_were(controller: NetworkController) -> None:
    """A sandbox renamed before its namespace is made, or whose namespace is lost, does not share one with who takes the name."""
    with controller.batch():
        former = controller.create_sandbox("web")
        former.rename("former")
        web = controller.create_sandbox("web")
    found = controller.create_sandbox("lost")
    found.rename("found")
    machine.drop_namespace(found.key)
    lost = controller.create_sandbox("lost")
    controller.reconcile()
    assert len({Path(world.place(each.key)).stat().st_ino for each in (former, web, found, lost)}) == 4


def test_an_endpoint_outlives_its_sandbox(controller: NetworkController, host: str) -> None:
    """Who leaves while the sandbox is deleted joins another at once, though the kernel has not taken the first one apart."""
    front = controller.create_network("front")
    for _ in range(3):
        first, second = controller.create_sandbox("first"), controller.create_sandbox("second")
        endpoint = first.connect(front)
        pair = set(machine.links(host))
        with controller.batch():
            endpoint.leave()
            first.delete()
        endpoint.join(second)
        assert set(machine.links(host)) == pair
        assert pings(second, front.gateways[0])
        second.delete()
        machine.wait_until(lambda: len(machine.links(host)) == 2, "the pair to go")
    assert not controller.reconcile(repair=False)


def test_adopted_by_path(controller: NetworkController, theirs: str) -> None:
    """An adopted namespace keeps what it had, gets the next interface name, and stays as it was when the sandbox is deleted."""
    before = machine.ip("addr", namespace=theirs), machine.routes(theirs)
    front = controller.create_network("front")
    other = controller.create_sandbox("neighbour")
    address = other.connect(front).addresses[0]
    box = controller.create_sandbox("adopted", netns=theirs)
    assert box.key == theirs
    endpoint = box.connect(front)
    assert endpoint.interface == "eth1"
    assert pings(box, address)
    box.delete()
    machine.wait_until(lambda: set(machine.links(theirs)) == {"lo", "eth0"}, "our interface to go")
    assert machine.routes(theirs) == before[1]
    assert not Path("/etc/netns", Path(theirs).name).exists()
    assert Path(theirs).exists()


def test_adopted_by_pid(controller: NetworkController, theirs: str) -> None:
    """A sandbox by the pid of a process is that process's namespace, under the name that it has where our own have theirs, if any."""
    process = sleeper(theirs)
    try:
        box = controller.create_sandbox("by-pid", netns=process.pid)
        assert box.key == (theirs if world.ROOT else f"/proc/{process.pid}/ns/net")
        with pytest.raises(Conflict) as caught:
            controller.create_sandbox("again", netns=box.key)
        assert caught.value.code == "namespace_taken"
    finally:
        process.kill()
        process.wait()


def test_adopted_by_the_pid_of_a_process_in_a_nameless_namespace(controller: NetworkController) -> None:
    """A namespace that only a process holds is adopted; when the process has ended, the sandbox says so and can still be deleted."""
    front = controller.create_network("front")
    process = nameless()
    try:
        box = controller.create_sandbox("nameless", netns=process.pid)
        endpoint = box.connect(front)
        assert f"{endpoint.addresses[0]}/16" in machine.addresses("eth0", f"/proc/{process.pid}/ns/net")
    finally:
        process.kill()
        process.wait()
    with pytest.raises(NotFound):
        box.interfaces()
    box.delete()
    assert front.endpoints() == []


LAST_PID = Path("/proc/sys/kernel/ns_last_pid")


def _namespace(pid: int) -> str:
    return str(Path(f"/proc/{pid}/ns/net").readlink())


def nameless(pid: int = 0) -> subprocess.Popen[bytes]:
    """Start a process in a namespace that only it holds; with a certain number, if one is given."""
    others = {_namespace(os.getpid()), _namespace(world.PID or os.getpid())}
    for _ in range(50):
        if pid:
            LAST_PID.write_text(str(pid - 1))
        process = subprocess.Popen([*world.entering_names(), "unshare", "--net", "sleep", "60"])
        if pid in {0, process.pid}:
            machine.wait_until(lambda: _namespace(process.pid) not in others, "a namespace of its own")  # noqa: B023
            return process
        process.kill()
        process.wait()
    raise AssertionError(f"others took the number {pid} each time")


@pytest.mark.skipif(
    not os.access(LAST_PID, os.W_OK), reason="choosing a process's number takes root and CONFIG_CHECKPOINT_RESTORE"
)
def test_a_later_process_of_the_same_number_is_a_stranger(host: str, tmp_path: Path) -> None:
    """Where another process has the number of the one whose namespace was adopted, nothing is done in its namespace, by no controller."""
    with NetworkController(tmp_path, host=host) as first, nameless() as process:
        front = first.create_network("front")
        box = first.create_sandbox("adopted", netns=process.pid)
        box.connect(front)
        process.kill()
        process.wait()
        with nameless(process.pid) as stranger:
            try:
                before = machine.ip("addr", namespace=box.key)
                with NetworkController(tmp_path, host=host) as second:
                    for each in (box, second.sandbox("adopted")):
                        with pytest.raises(NotFound) as caught:
                            each.run(["true"])
                        assert caught.value.code == "namespace_replaced"
                        with pytest.raises(NotFound):
                            each.connect(first.create_network("more"))
                        first.network("more").delete()
                    second.reconcile()
                    box.delete()
                    assert machine.ip("addr", namespace=box.key) == before
                    assert (
                        second.create_sandbox("anew", netns=stranger.pid).connect(second.network("front")).interface
                        == "eth0"
                    )
                    second.sandbox("anew").delete()
                    first.network("front").delete()
            finally:
                stranger.kill()


def test_one_namespace_is_one_sandbox_by_whichever_path(controller: NetworkController) -> None:
    """A sandbox's namespace cannot be adopted under another path, nor by the pid of a process in it."""
    box = controller.create_sandbox("once")
    process = sleeper(box.key)
    try:
        for where in (box.key, process.pid, f"/proc/{process.pid}/ns/net"):
            with pytest.raises(Conflict) as caught:
                controller.create_sandbox("twice", netns=where)
            assert caught.value.code == "namespace_taken"
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("by", ["name", "path"])
def test_the_hosts_own_sandbox(controller: NetworkController, host: str, by: str) -> None:
    """The host's own namespace is a sandbox too: it runs programs there, joins no bridge, and stays when it is deleted."""
    front = controller.create_network("front")
    box = controller.create_sandbox("the-host", netns="host" if by == "name" else host)
    assert {each.name for each in box.interfaces()} == set(machine.links(host))
    inside = box.run(["readlink", "/proc/self/ns/net"], capture_output=True, text=True, timeout=120).stdout.strip()
    assert inside == f"net:[{os.stat(host).st_ino}]"  # noqa: PTH116
    with pytest.raises(Forbidden) as caught:
        box.connect(front)
    assert caught.value.code == "host_sandbox"
    with pytest.raises(Conflict):
        controller.create_sandbox("the-host-again", netns="host")
    box.delete()
    assert Path(host).exists()


# interfaces


def test_interface_names(controller: NetworkController) -> None:
    """Interfaces are eth0, eth1 … in the order of joining, the lowest free number first, or as asked."""
    networks = [controller.create_network(f"net{number}") for number in range(4)]
    box = controller.create_sandbox("names")
    endpoints = [box.connect(network) for network in networks[:3]]
    assert [each.interface for each in endpoints] == ["eth0", "eth1", "eth2"]
    endpoints[1].leave()
    assert box.connect(networks[3], interface="wan0").interface == "wan0"
    endpoints[1].join(box)
    assert endpoints[1].interface == "eth1"
    assert set(machine.links(box.key)) == {"lo", "eth0", "eth1", "eth2", "wan0"}


def test_interface_prefix(controller: NetworkController) -> None:
    """A network may say how its interfaces are called."""
    network = controller.create_network("front", options={"com.docker.network.container_iface_prefix": "net"})
    box = controller.create_sandbox("prefix")
    assert box.connect(network).interface == "net0"
    assert "net0" in machine.links(box.key)


def test_mac_addresses(controller: NetworkController) -> None:
    """A MAC address is as given, or 02:42 and the octets of the IPv4 address; IPv6 alone gets a local unicast one, kept when it rejoins."""
    front = controller.create_network("front", subnets="10.7.0.0/24")
    six = controller.create_network("six", ipv4=False, ipv6=True)
    box = controller.create_sandbox("macs")
    given = box.connect(front, name="given", mac="02:00:00:00:00:AA")
    derived = box.connect(front, name="derived", addresses="10.7.0.200")
    other = box.connect(six)
    shown = {name: link["address"] for name, link in machine.links(box.key).items()}
    assert shown["eth0"] == given.mac == "02:00:00:00:00:aa"
    assert shown["eth1"] == derived.mac == "02:42:0a:07:00:c8"
    assert shown["eth2"] == other.mac
    assert int(shown["eth2"][:2], 16) & 3 == 2
    other.leave()
    other.join(box)
    assert machine.links(box.key)["eth2"]["address"] == shown["eth2"]


def test_several_addresses(controller: NetworkController) -> None:
    """An endpoint may have several addresses of both families, all on its interface with the subnet's prefix length."""
    front = controller.create_network("front", subnets=["10.7.0.0/24", "fd00:7::/64"])
    box, peer = controller.create_sandbox("several"), controller.create_sandbox("several-peer")
    wanted = ["10.7.0.50", "10.7.0.51", "fd00:7::50", "fd00:7::51"]
    endpoint = box.connect(front, addresses=wanted)
    peer.connect(front)
    assert endpoint.addresses == tuple(map(ip_address, wanted))
    assert machine.addresses("eth0", box.key) == {"10.7.0.50/24", "10.7.0.51/24", "fd00:7::50/64", "fd00:7::51/64"}
    assert all(pings(peer, address) for address in wanted)


def test_ipv6_is_off_without_an_ipv6_address(controller: NetworkController) -> None:
    """An interface has IPv6, with a link-local address, if its endpoint has an IPv6 address, and none at all otherwise."""
    four = controller.create_network("four")
    six = controller.create_network("six", ipv6=True)
    box = controller.create_sandbox("families")
    box.connect(four)
    box.connect(six)
    assert machine.sysctl("ipv6/conf/eth0/disable_ipv6", box.key) == "1"
    assert machine.sysctl("ipv6/conf/eth1/disable_ipv6", box.key) == "0"
    shown = {each["ifname"]: each["addr_info"] for each in machine.ip("-6", "addr", namespace=box.key) if each}
    assert "eth0" not in shown
    assert {each["scope"] for each in shown["eth1"]} == {"global", "link"}


def test_an_ipv6_address_is_usable_at_once(controller: NetworkController) -> None:
    """No duplicate address detection makes the first packet wait."""
    six = controller.create_network("six", ipv6=True)
    box = controller.create_sandbox("instant")
    endpoint = box.connect(six)
    (shown,) = (each for each in machine.ip("-6", "addr", "show", "dev", "eth0", namespace=box.key) if each)
    assert not [each for each in shown["addr_info"] if each["scope"] == "global" and each.get("tentative")]
    with box.socket(10, 2) as sock:
        sock.bind((str(endpoint.addresses[-1]), 5353))


def test_settings_of_sandboxes_and_endpoints(controller: NetworkController) -> None:
    """Settings of a sandbox hold inside it, those of an endpoint on its interface, also after it joined again under another name."""
    front, back = controller.create_network("front"), controller.create_network("back")
    box = controller.create_sandbox(
        "settings", sysctls={"net.ipv4.ip_unprivileged_port_start": 80, "net.ipv4.ip_forward": "1"}
    )
    endpoint = box.connect(front, sysctls={"net.ipv4.conf.IFNAME.log_martians": "1"})
    assert machine.sysctl("ipv4/ip_unprivileged_port_start", box.key) == "80"
    assert machine.sysctl("ipv4/ip_forward", box.key) == "1"
    assert machine.sysctl("ipv4/conf/eth0/log_martians", box.key) == "1"
    endpoint.leave()
    box.connect(back)
    endpoint.join(box)
    assert (endpoint.interface, machine.sysctl("ipv4/conf/eth1/log_martians", box.key)) == ("eth1", "1")
    assert machine.sysctl("ipv4/conf/eth0/log_martians", box.key) == "0"


def test_interfaces_routes_and_statistics_say_what_the_kernel_has(controller: NetworkController) -> None:
    """`interfaces`, `routes` and `statistics` agree with ``ip``."""
    front = controller.create_network("front", ipv6=True)
    box, peer = controller.create_sandbox("shown"), controller.create_sandbox("shown-peer")
    endpoint = box.connect(front)
    assert pings(box, peer.connect(front).addresses[0])
    for interface in box.interfaces():
        link = machine.links(box.key)[interface.name]
        assert (interface.index, interface.mtu, interface.up) == (link["ifindex"], link["mtu"], "UP" in link["flags"])
        assert machine.addresses(interface.name, box.key) <= set(map(str, interface.addresses))
    shown = {(str(each.destination), str(each.gateway or ""), each.link) for each in box.routes()}
    wanted = machine.routes(box.key, 4) | machine.routes(box.key, 6)
    wanted = {
        ("0.0.0.0/0" if ":" not in gateway else "::/0", gateway, link) if dst == "default" else (dst, gateway, link)
        for dst, gateway, link in wanted
    }
    assert wanted <= shown
    statistics, received = (
        box.statistics()["eth0"],
        endpoint.statistics().rx_bytes,
    )  # before the witness: counters only grow
    (counted,) = (each["stats64"] for each in machine.ip("-s", "link", "show", "dev", "eth0", namespace=box.key))
    assert 0 < statistics.tx_packets <= counted["tx"]["packets"]
    assert 0 < received <= counted["rx"]["bytes"]
