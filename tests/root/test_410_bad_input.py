"""Bad input gets a typed error that says what is wrong and what to do, and nothing is touched: not the kernel, not the records."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from libnetwork_py import (
    Conflict,
    Endpoint,
    Forbidden,
    InvalidParameter,
    LibnetworkError,
    Network,
    NetworkController,
    NotFound,
    NotSupported,
    Sandbox,
    labels,
)
from tests.root import machine
from tests.root.api_lab import difference, picture, python, socket_in


@frozen
class Scene:
    """A host with an outside; two networks; a sandbox on the first, which publishes a port; one on none."""

    controller: NetworkController
    host: str
    front: Network
    back: Network
    web: Sandbox
    idle: Sandbox
    endpoint: Endpoint


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    """One scene for every case: no case changes it, or it fails."""
    host = machine.new_namespace("host")
    outside = machine.new_outside(host)
    with NetworkController.temporary(host=host) as controller:
        front = controller.create_network("front", subnets="10.7.0.0/24")
        back = controller.create_network("back", subnets="10.8.0.0/24", options={labels.BRIDGE_NAME: "br-back"})
        controller.create_network("only", config_only=True, subnets="10.9.0.0/24")
        web, idle = controller.create_sandbox("bad-web"), controller.create_sandbox("bad-idle")
        yield Scene(controller, host, front, back, web, idle, web.connect(front, ports="8080:80"))
    machine.drop_namespace(outside.namespace)
    machine.drop_namespace(host)


def create(name: str = "new", driver: str = "bridge", **options: object) -> Callable[[Scene], object]:
    """Ask for a network."""
    return lambda scene: scene.controller.create_network(name, driver, **options)  # type: ignore[arg-type]


def sandbox(name: str = "bad-new", **options: object) -> Callable[[Scene], object]:
    """Ask for a sandbox."""
    return lambda scene: scene.controller.create_sandbox(name, **options)  # type: ignore[arg-type]


def endpoint(name: str | None = "new", **options: object) -> Callable[[Scene], object]:
    """Ask for an endpoint on the first network."""
    return lambda scene: scene.front.create_endpoint(name, **options)  # type: ignore[arg-type]


def connect(**options: Any) -> Callable[[Scene], object]:
    """Ask to connect the idle sandbox to the second network."""
    return lambda scene: scene.idle.connect(scene.back, **options)


def dead_process() -> int:
    """The pid of a process that has ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def two_hosts(scene: Scene) -> None:
    """Create one network of the host driver, then another; take the first away again."""
    first = scene.controller.create_network("host-one", "host")
    try:
        scene.controller.create_network("host-two", "host")
    finally:
        first.delete()


CASES: list[tuple[str, Callable[[Scene], object], type[LibnetworkError], str, str]] = [
    # (what, call, category, code, what the message must say)
    ("a driver that is not installed", create(driver="brige"), NotFound, "unknown_driver", "did you mean 'bridge'"),
    ("a driver like no other", create(driver="zzz"), NotFound, "unknown_driver", "installed are bridge, host, null"),
    ("an IPAM driver that is not installed", create(ipam="defalt"), NotFound, "unknown_ipam_driver", "'default'"),
    ("a network's name that is taken", create("front"), Conflict, "name_taken", "front already exists"),
    ("a network's name with a slash", create("a/b"), InvalidParameter, "invalid_name", "beginning with a letter"),
    ("an empty name", create(""), InvalidParameter, "invalid_name", "1 to 128"),
    ("a name of 129 characters", create("a" * 129), InvalidParameter, "invalid_name", "1 to 128"),
    ("text that is no subnet", create(subnets="foo"), InvalidParameter, "invalid_subnet", "10.1.0.0/16"),
    ("a prefix that is too long", create(subnets="10.0.0.0/33"), InvalidParameter, "invalid_subnet", "10.0.0.0/33"),
    ("an address without a prefix", create(subnets="10.0.0.0"), InvalidParameter, "invalid_subnet", "prefix length"),
    ("a subnet inside another network's", create(subnets="10.7.0.0/28"), Conflict, "pool_overlap", "10.7.0.0/24"),
    ("a subnet around another network's", create(subnets="10.7.0.0/16"), Conflict, "pool_overlap", "10.7.0.0/24"),
    ("another network's subnet", create(subnets="10.7.0.0/24"), Conflict, "pool_overlap", "choose another"),
    (
        "subnets that overlap each other",
        create(subnets=["10.10.0.0/16", "10.10.1.0/24"]), InvalidParameter, "subnets_overlap", "overlap",
    ),
    (
        "two IPv4 subnets on a bridge",
        create(subnets=["10.10.0.0/16", "10.11.0.0/16"]), Forbidden, "too_many_subnets", "at most one IPv4",
    ),
    (
        "a gateway outside the subnet",
        create(subnets="10.10.0.0/24", gateways="10.11.0.1"), InvalidParameter, "outside_subnet", "10.10.0.0/24",
    ),
    (
        "a gateway that is the subnet's own address",
        create(subnets="10.10.0.0/24", gateways="10.10.0.0"), Conflict, "address_reserved", "choose another",
    ),
    (
        "two gateways in one subnet",
        create(subnets="10.10.0.0/24", gateways=["10.10.0.1", "10.10.0.2"]), InvalidParameter, "two_gateways", "one gateway",
    ),
    (
        "an ip range outside the subnet",
        create(subnets="10.10.0.0/24", ip_ranges="10.11.0.0/25"), InvalidParameter, "outside_subnet", "ip range",
    ),
    (
        "an ip range larger than the subnet",
        create(subnets="10.10.0.0/24", ip_ranges="10.10.0.0/16"), InvalidParameter, "outside_subnet", "ip range",
    ),
    (
        "an auxiliary address that is the gateway",
        create(subnets="10.10.0.0/24", gateways="10.10.0.5", aux_addresses={"router": "10.10.0.5"}),
        Conflict, "address_in_use", "10.10.0.5",
    ),
    (
        "auxiliary addresses without names",
        create(aux_addresses=["10.1.0.5"]), InvalidParameter, "invalid_mapping", "mapping",
    ),
    ("neither IPv4 nor IPv6", create(ipv4=False), InvalidParameter, "no_family", "IPv4 or IPv6"),
    (
        "an option with a misspelt key",
        create(options={"com.docker.network.bridge.enable_ic": "true"}),
        InvalidParameter, "unknown_option", "did you mean 'com.docker.network.bridge.enable_icc'",
    ),
    ("an option of nobody", create(options={"zzz": 1}), InvalidParameter, "unknown_option", "it knows"),
    ("an option of IPAM's that is unknown", create(ipam_options={"zzz": 1}), InvalidParameter, "unknown_option", "zzz"),
    (
        "a boolean that is none",
        create(options={labels.BRIDGE_ENABLE_ICC: "maybe"}), InvalidParameter, "invalid_option", "true or false",
    ),
    ("options that are a list", create(options=["a=b"]), InvalidParameter, "invalid_mapping", "mapping"),
    ("an MTU that is too large", create(options={labels.DRIVER_MTU: 99999}), InvalidParameter, "invalid_mtu", "65535"),
    (
        "an MTU that is too small for IPv6",
        create(ipv6=True, options={labels.DRIVER_MTU: 1000}), InvalidParameter, "invalid_mtu", "1280",
    ),
    ("an MTU below zero", create(options={labels.DRIVER_MTU: -1}), InvalidParameter, "invalid_option", "not negative"),
    (
        "a bridge name that is a veth link",
        create(options={labels.BRIDGE_NAME: "uplink0"}), Conflict, "link_exists", "a veth link",
    ),
    (
        "a bridge name that is loopback",
        create(options={labels.BRIDGE_NAME: "lo"}), Conflict, "link_exists", "choose another",
    ),
    (
        "a bridge name that is another network's",
        create(options={labels.BRIDGE_NAME: "br-back"}), Conflict, "bridge_taken", "'back'",
    ),
    (
        "a bridge name of 16 characters",
        create(options={labels.BRIDGE_NAME: "b" * 16}), InvalidParameter, "invalid_option", "15 bytes",
    ),
    ("a configuration that does not exist", create(config_from="nope"), NotFound, "no_such_network", "nope"),
    (
        "a configuration that is a real network",
        create(config_from="front"), Forbidden, "not_config_only", "config_only=True",
    ),
    (
        "a subnet beside a configuration",
        create(config_from="only", subnets="10.12.0.0/24"), Forbidden, "config_from_conflict", "subnets",
    ),
    (
        "a subnet for the null driver",
        create(driver="null", subnets="10.10.0.0/24"), InvalidParameter, "no_subnets", "null",
    ),
    ("a second network of the host driver", two_hosts, Forbidden, "singleton", "only one"),
    ("a network in use, deleted", lambda scene: scene.front.delete(), Conflict, "network_in_use", "force"),
    (
        "a fixed option, updated",
        lambda scene: scene.back.update(options={labels.BRIDGE_NAME: "br-x"}), NotSupported, "option_fixed", "delete and create",
    ),
    (
        "a network that is not there",
        lambda scene: scene.controller.network("nope"), NotFound, "no_such_network", "nope",
    ),
    (
        "a sandbox that is not there",
        lambda scene: scene.controller.sandbox("nope"), NotFound, "no_such_sandbox", "nope",
    ),
    (
        "an endpoint that is not there",
        lambda scene: scene.controller.endpoint("nope"), NotFound, "no_such_endpoint", "nope",
    ),
    (
        "an endpoint that the network lacks",
        lambda scene: scene.back.endpoint("bad-web"), NotFound, "no_such_endpoint", "bad-web",
    ),
    (
        "an unknown filter",
        lambda scene: scene.controller.networks(colour="red"), InvalidParameter, "unknown_filter", "colour",
    ),
    ("a sandbox's name that is taken", sandbox("bad-web"), Conflict, "name_taken", "already exists"),
    ("a sandbox's name with a space", sandbox("bad web"), InvalidParameter, "invalid_name", "letters"),
    (
        "a path where nothing is",
        sandbox(netns="/run/netns/no-such"), NotFound, "namespace_not_found", "/run/netns/no-such",
    ),
    (
        "a path that is an ordinary file",
        sandbox(netns="/etc/hostname"), InvalidParameter, "not_a_namespace", "/run/netns/NAME",
    ),
    ("an empty path", sandbox(netns=""), InvalidParameter, "not_a_namespace", "/run/netns/NAME"),
    ("a path that is a directory", sandbox(netns="/etc"), InvalidParameter, "not_a_namespace", "/etc"),
    (
        "a namespace of another kind",
        sandbox(netns="/proc/self/ns/mnt"), InvalidParameter, "not_a_namespace", "/proc/PID/ns/net",
    ),
    (
        "a pid that is gone",
        lambda scene: scene.controller.create_sandbox("bad-new", netns=dead_process()), NotFound, "process_not_found", "no process",
    ),
    (
        "a sandbox's namespace, adopted",
        lambda scene: scene.controller.create_sandbox("bad-new", netns=scene.web.key), Conflict, "namespace_taken", "bad-web",
    ),
    ("a setting outside net.", sandbox(sysctls={"kernel.hostname": "x"}), InvalidParameter, "invalid_sysctl", "net."),
    ("a setting that the kernel lacks", sandbox(sysctls={"net.ipv4.nope": "1"}), NotFound, "gone", "net/ipv4/nope"),
    (
        "a value that the kernel refuses",
        sandbox(sysctls={"net.ipv4.ip_forward": "x"}), InvalidParameter, "refused", "ip_forward",
    ),
    ("a name server that is no address", sandbox(dns="foo"), InvalidParameter, "invalid_address", "name server"),
    (
        "a search domain with a line break",
        sandbox(dns_search="a\nnameserver 192.0.2.1"), InvalidParameter, "invalid_resolver_word", "white space",
    ),
    ("a host that is no address", sandbox(extra_hosts={"a": "foo"}), InvalidParameter, "invalid_address", "foo"),
    ("hosts without names", sandbox(extra_hosts=["a:10.0.0.1"]), InvalidParameter, "invalid_mapping", "mapping"),
    (
        "a rename to a name that is taken",
        lambda scene: scene.idle.rename("bad-web"), Conflict, "name_taken", "already exists",
    ),
    (
        "an option that refresh cannot change",
        lambda scene: scene.idle.refresh(netns="x"), InvalidParameter, "unknown_option", "hostname",  # type: ignore[call-arg]
    ),
    (
        "a family that is neither 4 nor 6",
        lambda scene: scene.web.gateway(5), InvalidParameter, "invalid_family", "4 or 6",  # type: ignore[arg-type]
    ),
    ("an address outside the pool", endpoint(addresses="10.9.9.9"), InvalidParameter, "outside_subnet", "10.7.0.0/24"),
    (
        "an address of a family that is off",
        endpoint(addresses="fd00::9"), InvalidParameter, "outside_subnet", "10.7.0.0/24",
    ),
    ("an address in use", endpoint(addresses="10.7.0.2"), Conflict, "address_in_use", "choose another"),
    ("the gateway's address", endpoint(addresses="10.7.0.1"), Conflict, "address_in_use", "choose another"),
    ("the broadcast address", endpoint(addresses="10.7.0.255"), Conflict, "address_reserved", "choose another"),
    ("text that is no address", endpoint(addresses="10.7.0"), InvalidParameter, "invalid_address", "10.7.0"),
    ("an address twice", endpoint(addresses=["10.7.0.9", "10.7.0.9"]), InvalidParameter, "duplicate_address", "twice"),
    ("an endpoint's name that is taken", endpoint("bad-web"), Conflict, "name_taken", "already exists"),
    ("a multicast MAC address", endpoint(mac="01:00:5e:00:00:01"), InvalidParameter, "invalid_mac", "unicast"),
    ("text that is no MAC address", endpoint(mac="foo"), InvalidParameter, "invalid_mac", "02:42"),
    ("text that is no port", endpoint(ports="http"), InvalidParameter, "invalid_port", "HOST_PORT"),
    ("port 70000", endpoint(ports="70000:80"), InvalidParameter, "invalid_port", "65535"),
    ("port 0 of a container", endpoint(ports="80:0"), InvalidParameter, "invalid_port", "between 1"),
    (
        "a range of another length",
        endpoint(ports="8000-8005:80-81"), InvalidParameter, "invalid_port", "differ in length",
    ),
    ("an unknown protocol", endpoint(ports="80/icmp"), InvalidParameter, "invalid_port", "tcp, udp or sctp"),
    ("an exposed port that is none", endpoint(expose="http"), InvalidParameter, "invalid_port", "http"),
    ("an exposed port with a host port", endpoint(expose="80:80"), InvalidParameter, "invalid_port", "ports="),
    (
        "an interface name of 16 characters",
        endpoint(interface="i" * 16), InvalidParameter, "interface_name_too_long", "15 bytes",
    ),
    ("an interface name with a slash", endpoint(interface="a/b"), InvalidParameter, "invalid_interface_name", "'/'"),
    ("an unknown endpoint option", endpoint(options={"zzz": "1"}), InvalidParameter, "unknown_option", "zzz"),
    (
        "an endpoint setting without IFNAME",
        endpoint(sysctls={"net.ipv4.conf.eth0.forwarding": "1"}), InvalidParameter, "invalid_sysctl", "IFNAME",
    ),
    (
        "an endpoint on a configuration",
        lambda scene: scene.controller.network("only").create_endpoint("new"), Forbidden, "config_only", "no endpoints",
    ),
    ("a second join", lambda scene: scene.endpoint.join(scene.idle), Conflict, "already_joined", "leave it first"),
    (
        "a join to the same sandbox again",
        lambda scene: scene.endpoint.join(scene.web), Conflict, "already_joined", "leave it first",
    ),
    ("a joined endpoint, deleted", lambda scene: scene.endpoint.delete(), Conflict, "endpoint_in_use", "leave first"),
    (
        "a network that the sandbox is not on",
        lambda scene: scene.idle.disconnect(scene.front), Conflict, "not_connected", "not connected",
    ),
    ("a connect with a misspelt option", connect(adresses="10.8.0.9"), InvalidParameter, "unknown_option", "adresses"),
    (
        "an interface that the sandbox has",
        lambda scene: scene.web.connect(scene.back, interface="eth0"), Conflict, "interface_taken", "eth0",
    ),
    ("loopback as an interface", connect(interface="lo"), Conflict, "interface_taken", "lo"),
    (
        "an interface setting that the kernel lacks",
        connect(sysctls={"net.ipv4.conf.IFNAME.nope": "1"}), NotFound, "gone", "nope",
    ),
    (
        "an interface setting that the kernel refuses",
        connect(sysctls={"net.ipv4.conf.IFNAME.forwarding": "x"}), InvalidParameter, "refused", "forwarding",
    ),
    (
        "a network's name instead of a network",
        lambda scene: scene.idle.connect("back"), InvalidParameter, "not_an_object", "network()",  # type: ignore[arg-type]
    ),
    (
        "nothing instead of a network",
        lambda scene: scene.web.disconnect(None), InvalidParameter, "not_an_object", "None",  # type: ignore[arg-type]
    ),
    (
        "a sandbox's name instead of a sandbox",
        lambda scene: scene.endpoint.join("bad-idle"), InvalidParameter, "not_an_object", "sandbox()",  # type: ignore[arg-type]
    ),
    ("a priority that is text", connect(priority="high"), InvalidParameter, "invalid_priority", "whole number"),
    (
        "events since a word",
        lambda scene: scene.controller.events(since="now"), InvalidParameter, "invalid_since", "datetime",  # type: ignore[arg-type]
    ),
    ("a port that another endpoint has", connect(ports="8080:80"), Conflict, "port_taken", "bad-web"),
    ("a second port that another endpoint has", connect(ports=["8081:80", "8080:81"]), Conflict, "port_taken", "8080"),
    (
        "a published port, published again",
        lambda scene: scene.endpoint.publish("8080:81"), Conflict, "port_taken", "8080",
    ),
    (
        "a port that is not published",
        lambda scene: scene.endpoint.unpublish("9090:80"), NotFound, "not_published", "8080:80",
    ),
    ("a host's address that it does not have", connect(ports="192.0.2.7:8082:80"), LibnetworkError, "", "192.0.2.7"),
    (
        "a cluster of an unknown store",
        lambda scene: NetworkController.temporary(host=scene.host, cluster="etc://127.0.0.1"),
        NotFound, "unknown_cluster_store", "did you mean 'etcd'",
    ),
    (
        "a cluster that is no URL",
        lambda scene: NetworkController.temporary(host=scene.host, cluster="x"), InvalidParameter, "invalid_cluster", "etcd://host",
    ),
    (
        "a configuration that cannot be read",
        lambda _: NetworkController.temporary(config={"address_pools": ["x"]}), InvalidParameter, "invalid_configuration", "address_pools",
    ),
    (
        "an unknown configuration",
        lambda _: NetworkController.temporary(config={"colour": 1}), InvalidParameter, "unknown_configuration", "address_pools",
    ),
    (
        "a host that is no namespace",
        lambda _: NetworkController.temporary(host="/etc/hostname"), InvalidParameter, "not_a_namespace", "/etc/hostname",
    ),
    (
        "a host that is not there",
        lambda _: NetworkController.temporary(host="/run/netns/no-such"), NotFound, "namespace_not_found", "no-such",
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("call", "category", "code", "words"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_bad_input(
    scene: Scene, call: Callable[[Scene], object], category: type[LibnetworkError], code: str, words: str
) -> None:
    """The error has its category and code, its message says what to do, and neither kernel nor records have changed."""
    before = picture(scene.controller, scene.host, "bad-")
    with pytest.raises(category) as caught:
        call(scene)
    assert caught.value.code == code or not code
    assert words in str(caught.value)
    assert not difference(before, picture(scene.controller, scene.host, "bad-"))


def test_the_next_address_is_still_the_lowest(scene: Scene) -> None:
    """Nothing that was refused has kept an address: the next endpoint gets the lowest free one."""
    free = scene.front.create_endpoint("free")
    assert str(free.addresses[0]) == "10.7.0.3"
    free.delete()


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_a_port_of_another_process(scene: Scene, protocol: str) -> None:
    """A port that another process of the host listens on is refused with that reason, and nothing is touched."""
    with socket_in(scene.host, 4, protocol) as theirs:
        theirs.bind(("0.0.0.0", 8090))
        if protocol == "tcp":
            theirs.listen()
        before = picture(scene.controller, scene.host, "bad-")
        with pytest.raises(Conflict, match="8090") as caught:
            scene.idle.connect(scene.back, ports=f"8090:80/{protocol}")
        assert caught.value.code == "port_in_use"
        assert not difference(before, picture(scene.controller, scene.host, "bad-"))
    scene.idle.connect(scene.back, ports=f"8090:80/{protocol}")
    scene.idle.disconnect(scene.back)


def test_leaving_what_is_not_joined(scene: Scene) -> None:
    """An endpoint that is in no sandbox cannot leave one."""
    alone = scene.back.create_endpoint("alone")
    with pytest.raises(Conflict, match="join it first") as caught:
        alone.leave()
    assert caught.value.code == "not_joined"
    with pytest.raises(Conflict):
        alone.statistics()
    alone.delete()


def test_verbs_of_what_is_deleted(scene: Scene) -> None:
    """Every verb of a deleted network, endpoint or sandbox is refused: it is not found."""
    network = scene.controller.create_network("gone")
    endpoint = network.create_endpoint("gone")
    box = scene.controller.create_sandbox("bad-gone")
    box.delete()
    network.delete(force=True)
    verbs: list[Callable[[], object]] = [
        network.delete, network.create_endpoint, network.inspect, lambda: scene.idle.connect(network),
        endpoint.delete, endpoint.leave, lambda: endpoint.join(scene.idle), lambda: endpoint.publish("80"), endpoint.statistics,
        lambda: endpoint.update(aliases=["x"]), lambda: endpoint.gateways,
        box.delete, box.interfaces, box.routes, box.statistics, lambda: box.run(["true"]), lambda: box.connect(scene.back),
        lambda: box.rename("x"), box.refresh, lambda: box.call(int), box.socket, lambda: scene.endpoint.join(box),
    ]  # fmt: skip
    kinds = [_raised(verb) for verb in verbs]
    assert kinds == [NotFound] * len(verbs)
    assert (network.name, endpoint.state, box.name) == ("gone", "deleted", "bad-gone")


def _raised(verb: Callable[[], object]) -> type[BaseException] | None:
    try:
        verb()
    except Exception as error:  # noqa: BLE001 (its type is what is asked for)
        return type(error)
    return None


def test_no_privilege(tmp_path: Path) -> None:
    """Without capabilities, and where root's are demanded, the first call says so, names the remedy, and makes no directory."""
    program = """
import sys
from libnetwork_py import NetworkController, Forbidden
try:
    config = {"privilege": "root"}
    NetworkController(sys.argv[1], config=config) if sys.argv[1:] else NetworkController.temporary(config=config)
except Forbidden as error:
    print(error.code, "|", error)
"""
    for arguments in ([tmp_path / "state"], []):
        powerless = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", sys.executable, "-c", program]
        out = machine.run(*powerless, *arguments).stdout
        assert out.startswith("no_privilege |")
        assert "root" in out
    assert not (tmp_path / "state").exists()


def test_state_directories_that_are_not_ours_or_unsafe(host: str, tmp_path: Path) -> None:
    """A directory with other files, or that others can write to, is refused and left alone."""
    foreign, unsafe = tmp_path / "foreign", tmp_path / "unsafe"
    foreign.mkdir(mode=0o700)
    (foreign / "letter.txt").write_text("dear")
    unsafe.mkdir()
    unsafe.chmod(0o777)
    with pytest.raises(Conflict, match="give an empty one") as caught:
        NetworkController(foreign, host=host)
    assert caught.value.code == "not_our_state_directory"
    with pytest.raises(Forbidden, match="chmod go-w") as refused:
        NetworkController(unsafe, host=host)
    assert refused.value.code == "unsafe_state_directory"
    assert [each.name for each in foreign.iterdir()] == ["letter.txt"]
    assert not list(unsafe.iterdir())


def test_a_state_directory_of_another_host(host: str, tmp_path: Path) -> None:
    """A state directory is one host's: another host is refused."""
    NetworkController(tmp_path / "state", host=host).close()
    other = machine.new_namespace("other")
    try:
        with pytest.raises(Conflict, match="another directory") as caught:
            NetworkController(tmp_path / "state", host=other)
        assert caught.value.code == "other_host"
    finally:
        machine.drop_namespace(other)


def test_a_damaged_database(host: str, tmp_path: Path) -> None:
    """A damaged database is a clear error and stays as it is."""
    directory = tmp_path / "state"
    NetworkController(directory, host=host).close()
    (database,) = directory.glob("*.db")
    for extra in directory.glob("*.db-*"):
        extra.unlink()
    database.write_bytes(b"no database at all" * 1000)
    with pytest.raises(LibnetworkError, match=str(database)):
        NetworkController(directory, host=host)
    assert database.read_bytes() == b"no database at all" * 1000


def test_ctrl_c_in_the_middle(scene: Scene) -> None:
    """A Ctrl-C at any moment leaves each sandbox and network made whole or not at all, and is not swallowed."""
    program = """
import os, signal, sys, threading, time, random
from libnetwork_py import NetworkController
interrupted = 0
with NetworkController.temporary(host=sys.argv[1]) as controller:
    front = controller.create_network("front")
    stop = threading.Event()
    def shoot():
        while not stop.wait(random.uniform(0.001, 0.02)):
            os.kill(os.getpid(), signal.SIGINT)
    thread = threading.Thread(target=shoot)
    thread.start()
    end = time.monotonic() + 2
    number = 0
    while time.monotonic() < end:
        try:
            number += 1
            box = controller.create_sandbox(f"ctrlc-{os.getpid()}-{number}")
            box.connect(front)
            if number % 8:
                box.delete()
        except KeyboardInterrupt:
            interrupted += 1
    while signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        try:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        except KeyboardInterrupt:
            pass
    stop.set()
    thread.join()
    report = controller.reconcile(repair=False)
    halves = [str(each) for each in controller.sandboxes() if len(each.interfaces()) != 1 + len(each.endpoints())]
    print(interrupted > 0, not report, halves, report)
"""
    done = python(program, scene.host, timeout=120)
    assert done.stdout.startswith("True True []"), done.stdout + done.stderr
    assert "Error" not in done.stderr
