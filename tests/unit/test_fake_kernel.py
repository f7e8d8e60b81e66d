from __future__ import annotations

import gc
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Interface, IPv6Network
from pathlib import Path

import pytest

from libnetwork_py import NetworkController
from libnetwork_py.desired import (
    HOST,
    Address,
    Bridge,
    Change,
    Description,
    Element,
    Namespace,
    Relay,
    Route,
    Sysctl,
    Table,
    Veth,
    Word,
)
from libnetwork_py.errors import (
    Conflict,
    Internal,
    InvalidParameter,
    LibnetworkError,
    NotFound,
    NotSupported,
    Unavailable,
)
from libnetwork_py.facts import LinkFact, RouteFact, compare
from libnetwork_py.kernel.api import Kernel
from libnetwork_py.lifecycle import files
from libnetwork_py.render import render
from libnetwork_py.store.memory import MemoryStore
from libnetwork_py.testing import FakeKernel, Killed
from libnetwork_py.types import MacAddress
from tests.sample import BRIDGE_MAC, MAC, NETWORKS, PAIRS, PORTS, TABLE, WEB, description

EVERYTHING = description(WEB)
BRIDGE = Bridge(HOST, "br0", BRIDGE_MAC)
GROUND: Description = (Namespace(WEB), BRIDGE, TABLE, Veth(HOST, "veth1", WEB, "eth0", MAC, "br0"))
ADDRESS = Address(WEB, "eth0", IPv4Interface("172.18.0.2/16"))
DEFAULT, DEFAULT_V6 = IPv4Network("0.0.0.0/0"), IPv6Network("::/0")
UP = Route(WEB, DEFAULT, "eth0", IPv4Address("172.18.0.1"))
LONE = MacAddress("02:00:00:00:00:01")


@pytest.fixture
def ground() -> FakeKernel:
    """A machine with a bridge, a table and one sandbox on the bridge."""
    kernel = FakeKernel()
    kernel.apply(Change(make=GROUND))
    kernel.take_text()
    return kernel


def refused(kernel: FakeKernel, *words: Word) -> LibnetworkError:
    """The error that making words gives; fails if it gives none or leaves anything."""
    before = kernel.state()
    with pytest.raises(LibnetworkError) as caught:
        kernel.apply(Change(make=words))
    assert kernel.state() == before
    return caught.value


# the text and the state


def test_it_is_a_kernel() -> None:
    """The type checker takes it for the contract that the real one keeps."""
    kernel: Kernel = FakeKernel()
    kernel.close()
    assert isinstance(kernel, FakeKernel)
    assert kernel.closed


def test_its_text_is_what_was_done(fake_kernel: FakeKernel) -> None:
    """The text is the rendered changes, one after the other; taking it begins anew."""
    one, two = Change(make=GROUND, why="make the ground"), Change(make=(ADDRESS,), why="add an address")
    fake_kernel.apply(one)
    fake_kernel.apply(two)
    assert fake_kernel.text == f"{render(one)}\n{render(two)}"
    assert fake_kernel.take_text()
    assert fake_kernel.text == ""


def test_it_prints_itself(fake_kernel: FakeKernel) -> None:
    """As a string it is the lines that would make what exists now, whatever led there."""
    fake_kernel.apply(Change(make=EVERYTHING))
    fake_kernel.apply(
        Change(remove=tuple(word for word in EVERYTHING if word not in GROUND and word.key != BRIDGE.key))
    )
    again = FakeKernel()
    again.apply(Change(make=tuple(fake_kernel.state())))
    assert str(again) == str(fake_kernel)
    assert "ip link add br0" in str(again)


def test_making_and_removing_everything(fake_kernel: FakeKernel) -> None:
    """After a change all its words are there as described; after its reverse none, and settings are as they were."""
    change = Change(make=EVERYTHING)
    fake_kernel.apply(change)
    assert fake_kernel.state() == set(EVERYTHING)
    assert not compare(EVERYTHING, fake_kernel.facts([WEB], words=EVERYTHING))
    fake_kernel.apply(change.reverse)
    assert fake_kernel.state() == set()
    assert fake_kernel.facts(words=EVERYTHING).sysctls == {("sysctl", HOST, "ipv4.ip_forward", ""): "0"}


# what it refuses, as a kernel does


@pytest.mark.parametrize("word", [*GROUND, *EVERYTHING], ids=lambda word: "-".join(filter(None, word.key)))
def test_making_is_exclusive(fake_kernel: FakeKernel, word: Word) -> None:
    """What exists cannot be made again, except that a setting is just written."""
    fake_kernel.apply(Change(make=EVERYTHING))
    if isinstance(word, Sysctl):
        fake_kernel.apply(Change(make=(word,)))
    else:
        assert isinstance(refused(fake_kernel, word), Conflict)


@pytest.mark.parametrize(
    "word", [each for each in EVERYTHING if not isinstance(each, (Namespace, Bridge, Relay, Table))]
)
def test_nothing_stands_on_nothing(fake_kernel: FakeKernel, word: Word) -> None:
    """A word whose namespace, link or table is missing is refused; a setting of the host stands on nothing."""
    if word.namespace == HOST and isinstance(word, Sysctl):  # type: ignore[union-attr]
        fake_kernel.apply(Change(make=(word,)))
    else:
        assert isinstance(refused(fake_kernel, word), NotFound)


@pytest.mark.parametrize(
    "veth",
    [
        Veth(HOST, "br0", WEB, "eth1", LONE),
        Veth(HOST, "veth2", WEB, "eth0", LONE),
        Veth(HOST, "veth2", WEB, "lo", LONE),
        Veth(HOST, "same", HOST, "same", LONE),
        Veth(WEB, "veth2", HOST, "veth1", LONE),
    ],
)
def test_one_name_one_link(ground: FakeKernel, veth: Veth) -> None:
    """Neither end of a pair may have the name of a link in its namespace."""
    assert isinstance(refused(ground, veth), Conflict)


def test_names_that_no_kernel_takes(ground: FakeKernel) -> None:
    """A name of more than 15 bytes is refused at either end."""
    for word in (
        Bridge(HOST, "b" * 16, LONE),
        Veth(HOST, "v" * 16, WEB, "eth1", LONE),
        Veth(HOST, "v", WEB, "e" * 16, LONE),
    ):
        assert isinstance(refused(ground, word), InvalidParameter)


def test_a_port_needs_a_bridge() -> None:
    """A port of what is missing or no bridge is refused; a bridge that the host had before will do."""
    uplink = LinkFact("shared0", 3, "bridge", "02:00:00:00:00:09", 1500, up=True)
    kernel = FakeKernel(host_links=["eth9", uplink])
    kernel.apply(Change(make=(Namespace(WEB),)))
    assert isinstance(refused(kernel, Veth(HOST, "veth1", WEB, "eth0", MAC, "br0")), NotFound)
    assert isinstance(refused(kernel, Veth(HOST, "veth1", WEB, "eth0", MAC, "eth9")), NotSupported)
    kernel.apply(Change(make=(Veth(HOST, "veth1", WEB, "eth0", MAC, "shared0"),)))


def test_a_bridge_takes_so_many_ports(ground: FakeKernel) -> None:
    """The 1,024th port of a bridge is refused as the kernel does."""
    more = tuple(Veth(HOST, f"v{number}", WEB, f"e{number}", LONE, "br0") for number in range(1022))
    ground.apply(Change(make=more))
    assert refused(ground, Veth(HOST, "last", WEB, "last", LONE, "br0")).code == "bridge_full"
    ground.apply(Change(remove=more[:1], make=(Veth(HOST, "last", WEB, "last", LONE, "br0"),)))


def test_a_gateway_must_be_near(ground: FakeKernel) -> None:
    """A gateway is taken if a network of the interface has it, by an address or by an on-link route of the same change."""
    error = refused(ground, UP)
    assert isinstance(error, InvalidParameter)
    assert "Nexthop has invalid gateway" in str(error)
    assert isinstance(refused(ground, Address(WEB, "eth0", IPv4Interface("172.18.0.2/32")), UP), InvalidParameter)
    ground.apply(Change(make=(UP, ADDRESS)))
    ground.apply(Change(remove=(UP, ADDRESS)))
    ground.apply(Change(make=(UP, Route(WEB, IPv4Network("172.18.0.1/32"), "eth0"))))


def test_one_route_per_destination_and_metric(ground: FakeKernel) -> None:
    """A second route to a destination needs another metric; an IPv4 connected route counts, as in the kernel."""
    ground.apply(Change(make=(ADDRESS, UP)))
    assert isinstance(refused(ground, Route(WEB, IPv4Network("172.18.0.0/16"), "eth0")), Conflict)
    ground.apply(Change(make=(Route(WEB, DEFAULT, "eth0", UP.gateway, 5), Route(WEB, DEFAULT_V6, "eth0"))))
    assert isinstance(refused(ground, Route(WEB, DEFAULT_V6, "eth0", metric=1024)), Conflict)


def test_elements_fit_their_set(ground: FakeKernel) -> None:
    """An element for a set that the table lacks, or of another shape, is refused."""
    lacking = Element(HOST, "lnw", PAIRS, ("a", "b"))
    ground.apply(Change(remove=(TABLE,), make=(Table(HOST, "lnw", (PORTS, NETWORKS), ()),)))
    assert isinstance(refused(ground, lacking), NotFound)
    assert isinstance(refused(ground, Element(HOST, "lnw", PORTS, ("tcp", 80))), InvalidParameter)
    assert isinstance(refused(ground, Element(HOST, "lnw", NETWORKS, ("a", "b"), "drop")), InvalidParameter)


# what goes with what


def test_a_namespace_takes_everything_along(fake_kernel: FakeKernel) -> None:
    """With a namespace go its words, the pairs that reach into it, and what was on their outer ends."""
    outer = Address(HOST, "back", IPv4Interface("192.0.2.1/24"))
    fake_kernel.apply(Change(make=(*EVERYTHING, outer)))
    fake_kernel.apply(Change(remove=(Namespace(WEB),)))
    left = [word for word in EVERYTHING if not isinstance(word, Namespace) and word.namespace == HOST]
    assert fake_kernel.state() == {
        word for word in left if not isinstance(word, Veth) or WEB not in {word.namespace, word.peer_namespace}
    }
    assert set(fake_kernel.facts([WEB]).namespaces) == {HOST}
    assert set(fake_kernel.facts().host.links) == {"lo", "br0", "br1", "up1", "down1"}


def test_a_bridge_leaves_its_ports_behind(ground: FakeKernel) -> None:
    """A bridge that goes takes its addresses along; its ports stay, without a bridge."""
    ground.apply(Change(make=(Address(HOST, "br0", IPv4Interface("172.18.0.1/16")), ADDRESS, UP)))
    ground.apply(Change(remove=(BRIDGE,)))
    assert {word.key for word in ground.state()} == {
        GROUND[0].key,
        TABLE.key,
        ("link", HOST, "veth1"),
        ADDRESS.key,
        UP.key,
    }
    assert ground.facts().host.links["veth1"].master == ""


def test_a_link_takes_both_ends_along(ground: FakeKernel) -> None:
    """A pair that goes takes along what was on either end, its settings too, and its names are free again."""
    setting = Sysctl(WEB, "ipv4.conf.{}.rp_filter", "2", link="eth0")
    ground.apply(Change(make=(ADDRESS, UP, setting)))
    ground.apply(Change(remove=GROUND[3:]))
    assert ground.state() == set(GROUND[:3])
    assert ground.facts(words=[setting]).sysctls == {}
    ground.apply(Change(make=GROUND[3:]))
    assert ground.facts(words=[setting]).sysctls == {setting.key: "0"}


def test_the_last_address_takes_its_routes_along(ground: FakeKernel) -> None:
    """Without its last IPv4 address an interface has no IPv4 routes, and keeps those of IPv6."""
    other = Address(WEB, "eth0", IPv4Interface("172.19.0.2/16"))
    route = Route(WEB, DEFAULT_V6, "eth0")
    ground.apply(Change(make=(ADDRESS, other, UP, route)))
    ground.apply(Change(remove=(other,)))
    assert UP in ground.state()
    ground.apply(Change(remove=(ADDRESS,)))
    assert ground.state() == {*GROUND, route}


def test_a_table_takes_its_elements_along(ground: FakeKernel) -> None:
    """A table that goes leaves no element."""
    ground.apply(Change(make=(Element(HOST, "lnw", PAIRS, ("a", "b")),)))
    ground.apply(Change(remove=(TABLE,)))
    assert ground.state() == {*GROUND} - {TABLE}


def test_what_is_gone_is_gone(ground: FakeKernel) -> None:
    """Removing what is not there is no error and no text."""
    ground.apply(Change(remove=(UP, ADDRESS, Namespace("/run/netns/db"), Element(HOST, "no", PAIRS, ("a", "b")))))
    assert ground.text == ""


# snapshots


def test_a_snapshot_of_links(ground: FakeKernel) -> None:
    """Links have the kind, MTU, bridge and MAC they were made with, and different numbers."""
    host, inside = ground.facts([WEB]).host.links, ground.facts([WEB]).namespaces[WEB].links
    assert (host["veth1"].kind, host["veth1"].master, host["br0"].kind, host["br0"].mac) == (
        "veth",
        "br0",
        "bridge",
        BRIDGE_MAC,
    )
    assert (inside["eth0"].mac, inside["eth0"].mtu, inside["eth0"].up) == (MAC, 1500, True)
    assert [link.index for link in host.values()] == [1, 2, 3]
    assert [link.index for link in inside.values()] == [1, 2]


def test_a_snapshot_of_routes(ground: FakeKernel) -> None:
    """An address brings the kernel's own route; a /32 does not, a /128 does."""
    single = IPv4Interface("10.0.0.1/32"), IPv6Interface("fd00::1/128")
    ground.apply(Change(make=(ADDRESS, UP, *(Address(WEB, "eth0", each) for each in single))))
    assert ground.facts([WEB]).namespaces[WEB].routes == {
        RouteFact(IPv4Network("172.18.0.0/16"), "eth0", None, 0, connected=True),
        RouteFact(IPv6Network("fd00::1/128"), "eth0", None, 256, connected=True),
        RouteFact(DEFAULT, "eth0", UP.gateway, 0),
    }


def test_a_host_that_had_something() -> None:
    """Presets are in every snapshot, in the way of what would collide with them, and stay."""
    kernel = FakeKernel(
        host_links=["ens3"],
        host_addresses={"ens3": ["192.0.2.2/24", "2001:db8::2/64"]},
        host_routes=["10.0.0.0/8", RouteFact(DEFAULT, "ens3", IPv4Address("192.0.2.1"), 0)],
        sysctls={"ipv4.ip_forward": "1"},
        namespaces=["/run/netns/theirs"],
    )
    host = kernel.facts().host
    assert set(host.links) == {"lo", "ens3"}
    assert {str(route.destination) for route in host.routes} == {
        "10.0.0.0/8",
        "192.0.2.0/24",
        "2001:db8::/64",
        "0.0.0.0/0",
    }
    assert isinstance(refused(kernel, Bridge(HOST, "ens3", LONE)), Conflict)
    assert isinstance(refused(kernel, Address(HOST, "ens3", IPv4Interface("192.0.2.2/24"))), Conflict)
    assert isinstance(refused(kernel, Route(HOST, IPv4Network("10.0.0.0/8"), "ens3")), Conflict)
    assert isinstance(refused(kernel, Namespace("/run/netns/theirs")), Conflict)
    forwarding = Sysctl(HOST, "ipv4.ip_forward", "1")
    assert kernel.facts(words=[forwarding]).sysctls == {forwarding.key: "1"}
    kernel.apply(Change(remove=(Bridge(HOST, "ens3", LONE),)))
    assert kernel.facts().host == host


def test_an_interface_inherits_settings(ground: FakeKernel) -> None:
    """A setting of an interface that nobody wrote has the value of `default`."""
    word = Sysctl(WEB, "ipv6.conf.{}.disable_ipv6", "0", link="eth0")
    ground.apply(Change(make=(Sysctl(WEB, "ipv6.conf.default.disable_ipv6", "1"),)))
    assert ground.facts(words=[word]).sysctls == {word.key: "1"}
    ground.apply(Change(make=(word,)))
    assert ground.facts(words=[word]).sysctls == {word.key: "0"}


# failing


@pytest.mark.parametrize("step", range(1, len(EVERYTHING) + 1))
def test_a_failure_undoes_everything(step: int) -> None:
    """Whatever step fails, nothing of the change remains, the text says nothing of it, and the next try succeeds."""
    kernel = FakeKernel()
    kernel.fail_at(step)
    with pytest.raises(Unavailable, match="told to fail"):
        kernel.apply(Change(make=EVERYTHING))
    assert kernel.state() == set()
    assert kernel.text == ""
    kernel.apply(Change(make=EVERYTHING))
    assert kernel.state() == set(EVERYTHING)


def test_a_failure_brings_back_what_went(ground: FakeKernel) -> None:
    """A change that fails while making has removed nothing either."""
    ground.apply(Change(make=(ADDRESS, UP)))
    before = ground.state()
    ground.fail_on(lambda word: isinstance(word, Bridge), KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        ground.apply(Change(remove=(Namespace(WEB), TABLE), make=(Bridge(HOST, "br1", LONE),)))
    assert ground.state() == before


def test_failing_where_told(ground: FakeKernel) -> None:
    """A failure waits for its word, comes once, may let some pass, and may be called off."""
    ground.fail_on(lambda word: isinstance(word, Address), Conflict("no"), skip=1)
    ground.apply(Change(make=(ADDRESS,)))
    with pytest.raises(Conflict, match="no"):
        ground.apply(Change(remove=(ADDRESS,)))
    ground.apply(Change(remove=(ADDRESS,)))
    ground.fail_at(1)
    ground.heal()
    ground.apply(Change(make=(ADDRESS,)))


@pytest.mark.parametrize("step", range(1, len(EVERYTHING) + 1))
def test_a_killed_process_undoes_nothing(step: int) -> None:
    """What was done before the end is there and in the text; enforcing the change makes the rest, or removes it all."""
    kernel = FakeKernel()
    kernel.fail_at(step, Killed())
    with pytest.raises(Killed):
        kernel.apply(Change(make=EVERYTHING))
    assert len(kernel.state()) == step - 1
    assert bool(kernel.text) == (step > 1)
    kernel.enforce(Change(make=EVERYTHING))
    assert kernel.state() == set(EVERYTHING)
    kernel.enforce(Change(make=EVERYTHING).reverse)
    assert kernel.state() == set()


def test_a_checkpoint_before_each_step() -> None:
    """A checkpoint hears what is about to be done, word by word, and may stop it."""
    heard: list[str] = []
    kernel = FakeKernel(checkpoint=heard.append)
    kernel.apply(Change(make=GROUND))
    kernel.apply(Change(remove=(TABLE,)))
    assert heard == [
        f"make namespace {WEB}",
        "make table lnw",
        "make link br0",
        "make link veth1",
        "remove table lnw",
    ]


# enforcing


def test_enforcing_makes_mends_and_removes(ground: FakeKernel) -> None:
    """On a machine in an unknown state what is missing is made, what differs mended in place, what is there removed."""
    veth = GROUND[3]
    ground.apply(Change(make=(ADDRESS, UP)))
    ground.disturb(remove=[UP, TABLE], make=[Route(WEB, DEFAULT, "eth0")])
    wanted = (*GROUND, Bridge(HOST, "br0", BRIDGE_MAC, 1400), ADDRESS, UP, TABLE)
    ground.enforce(Change(make=wanted[:1] + wanted[3:]))
    assert ground.state() == {GROUND[0], TABLE, veth, wanted[4], ADDRESS, UP}
    ground.take_text()
    ground.enforce(Change(make=(ADDRESS, UP)))
    assert ground.text == ""
    ground.enforce(Change(remove=(UP, Namespace("/run/netns/db"))))
    assert ground.text == "ip -n web route del default via 172.18.0.1 dev eth0\n"


def test_enforcing_a_setting(fake_kernel: FakeKernel) -> None:
    """A setting is written where it has another value, whoever wrote that, and left alone where it has not."""
    word = Sysctl(HOST, "ipv4.ip_forward", "1", restore="0")
    fake_kernel.apply(Change(make=(word,)))
    fake_kernel.disturb(make=[Sysctl(HOST, "ipv4.ip_forward", "0")])
    fake_kernel.take_text()
    for _ in range(2):
        fake_kernel.enforce(Change(make=(word,)))
    assert fake_kernel.text == "sysctl -w net.ipv4.ip_forward=1\n"


def test_enforcing_goes_on_past_errors(ground: FakeKernel) -> None:
    """What cannot be made does not keep the rest from being made; every error is told at the end."""
    bad = (Address(WEB, "eth7", IPv4Interface("10.0.0.1/8")), Address(WEB, "eth8", IPv4Interface("10.0.0.1/8")))
    with pytest.raises(ExceptionGroup) as caught:
        ground.enforce(Change(make=(*bad, UP, ADDRESS), why="recover"))
    assert [type(error) for error in caught.value.exceptions] == [NotFound, NotFound]
    assert ground.state() == {*GROUND, ADDRESS, UP}


def test_somebody_else_leaves_no_text(ground: FakeKernel) -> None:
    """What is changed behind the library's back is in the state and not in the text."""
    ground.disturb(remove=[TABLE], make=[ADDRESS])
    assert ground.state() == {*GROUND, ADDRESS} - {TABLE}
    assert ground.text == ""


# the rest of the contract


def test_names_for_namespaces(ground: FakeKernel) -> None:
    """A namespace gets the name it should have, or one with a suffix where somebody has that."""
    with ground.naming():
        assert ground.free_namespace("db", "1a2b") == "/run/netns/db"
        assert ground.free_namespace("web", "1a2b") == "/run/netns/web-1a2b"


def test_the_lock_of_names_is_not_given_twice(fake_kernel: FakeKernel) -> None:
    """A thread that asks for the lock it holds is told so, where the real kernel would wait for ever."""
    with fake_kernel.naming(), pytest.raises(Internal, match="not given twice"), fake_kernel.naming():
        pytest.fail("given twice")
    with fake_kernel.naming():
        pass


def test_finding_a_namespace() -> None:
    """An existing namespace is found by path and by the pid of a process; anything else is told apart."""
    kernel = FakeKernel(namespaces=["/run/netns/theirs"], processes={7: "/proc/7/ns/net"})
    assert kernel.find_namespace("/run/netns/theirs") == "/run/netns/theirs"
    assert kernel.find_namespace(7) == "/proc/7/ns/net"
    kernel.apply(Change(make=(Sysctl("/proc/7/ns/net", "ipv4.ip_forward", "1"),)))
    for missing in (8, "/run/netns/nowhere"):
        with pytest.raises(NotFound):
            kernel.find_namespace(missing)
    with pytest.raises(InvalidParameter, match="no network namespace"):
        kernel.find_namespace(str(Path(__file__)))


def test_what_it_cannot_do(ground: FakeKernel) -> None:
    """There is no inside: whatever would need one says so, or that the namespace is missing."""
    attempts: list[Callable[[str], object]] = [
        lambda path: ground.call(path, print),
        lambda path: ground.socket(path, 2, 1),
        lambda path: ground.popen(path, ["true"], {}),
        ground.entered,
    ]
    for attempt in attempts:
        with pytest.raises(NotSupported, match="fake kernel"):
            attempt(WEB)
        with pytest.raises(NotFound):
            attempt("/run/netns/nowhere")


def test_statistics_are_zeros(ground: FakeKernel) -> None:
    """Every interface has counters, and nothing ever passes."""
    counters = ground.statistics(WEB)
    assert set(counters) == {"lo", "eth0"}
    assert counters["eth0"].rx_bytes == 0
    with pytest.raises(NotFound):
        ground.statistics("/run/netns/nowhere")


def test_features() -> None:
    """Every feature works unless a test says which do not."""
    assert all(FakeKernel().features().values())
    assert FakeKernel(features={"veth": False}).features() == {"veth": False}


def test_files_are_apart_from_the_machine() -> None:
    """Sandboxes' files are in a folder of the kernel's own, which goes with it; the machine's gets none."""
    kernel = FakeKernel()
    folder = kernel.files
    with NetworkController.over(MemoryStore(), kernel) as controller:
        controller.create_sandbox("web").connect(controller.create_network("front"))
        assert (folder / "web" / "hosts").exists()
        assert not files.DIRECTORY.exists()
    del controller, kernel
    gc.collect()
    assert not folder.exists()
