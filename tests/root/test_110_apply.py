"""Changes on the real kernel: what is described is there, seen with ``ip``; what fails leaves nothing."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from pathlib import Path

import pytest
from attrs import evolve

from libnetwork_py.desired import HOST, Address, Bridge, Change, Namespace, Route, Sysctl, Veth, Word
from libnetwork_py.errors import Conflict, InvalidParameter, LibnetworkError, NotFound, NotSupported, Unavailable
from libnetwork_py.kernel import transport
from libnetwork_py.kernel.linux import LinuxKernel
from libnetwork_py.types import MacAddress
from tests.root import machine
from tests.root.kernel_lab import BRIDGE, NETWORK, kernel, making, names, path, removing, sandbox

MAC = MacAddress("02:42:0a:09:ff:03")


@pytest.fixture
def ours(host: str) -> Iterator[LinuxKernel]:
    """A kernel over a host of its own."""
    with kernel(host) as opened:
        yield opened


@pytest.fixture
def where() -> Iterator[str]:
    """A path for a sandbox, taken away afterwards."""
    where = path()
    with names(where):
        yield where


def gone(host: str, *links: str) -> None:
    """Wait until links are gone."""
    machine.wait_until(lambda: not set(links) & set(machine.links(host)), f"{links} to go")


def test_a_sandbox_on_a_bridge(ours: LinuxKernel, host: str, where: str) -> None:
    """One change makes bridge, namespace, pair, addresses and route as described, and packets flow."""
    ours.apply(making(*NETWORK, *sandbox(1, where, isolated=True, hairpin=True)))
    bridge, port = machine.links(host)["br0"], machine.links(host)["veth1"]
    inner = machine.links(where)["eth0"]
    assert (bridge["address"], bridge["mtu"], bridge["group"]) == (str(BRIDGE.mac), 1400, "77")
    assert "UP" in bridge["flags"]
    assert bridge["linkinfo"]["info_data"]["stp_state"] == 0
    assert bridge["linkinfo"]["info_data"]["forward_delay"] == 0
    assert (port["master"], port["mtu"], port["group"], port["operstate"]) == ("br0", 1400, "77", "UP")
    assert port["linkinfo"]["info_slave_data"]["isolated"] is True
    assert port["linkinfo"]["info_slave_data"]["hairpin"] is True
    assert (inner["address"], inner["mtu"], inner["operstate"]) == ("02:42:0a:09:00:02", 1400, "UP")
    assert "UP" in machine.links(where)["lo"]["flags"]
    assert machine.addresses("eth0", where) == {"10.9.1.1/16"}
    assert machine.routes(where) == {("default", "10.9.0.1", "eth0"), ("10.9.0.0/16", "", "eth0")}
    machine.run_in(where, ["ping", "-c", "1", "-W", "2", "10.9.0.1"])


def test_the_outer_end_has_no_ipv6_address(ours: LinuxKernel, host: str, where: str) -> None:
    """The end of a pair on the host never gets an IPv6 address, nor does the sandbox where IPv6 is off."""
    ours.apply(making(*NETWORK, *sandbox(1, where)))
    (port,) = [each for each in machine.ip("addr", "show", "dev", "veth1", namespace=host) if each]
    (inner,) = [each for each in machine.ip("addr", "show", "dev", "eth0", namespace=where) if each]
    assert machine.links(host)["veth1"]["inet6_addr_gen_mode"] == "none"
    assert port["addr_info"] == []
    assert {each["family"] for each in inner["addr_info"]} == {"inet"}


def test_ipv6_addresses_are_usable_at_once(ours: LinuxKernel, host: str, where: str) -> None:
    """An IPv6 address is not tentative, and IPv6 can be off in a namespace but on for one interface."""
    words: tuple[Word, ...] = (
        Namespace(where),
        Sysctl(where, "ipv6.conf.default.disable_ipv6", "1"),
        Veth(HOST, "veth1", where, "eth0", MAC),
        Sysctl(where, "ipv6.conf.{}.disable_ipv6", "0", link="eth0"),
        Address(where, "eth0", IPv6Interface("fd00:9::2/64")),
        Route(where, IPv6Network("::/0"), "eth0", IPv6Address("fd00:9::1")),
        Address(HOST, "veth1", IPv6Interface("fd00:9::1/64")),
    )
    ours.apply(making(*words))
    (shown,) = [each for each in machine.ip("-6", "addr", "show", "dev", "eth0", namespace=where) if each]
    (address,) = [each for each in shown["addr_info"] if each["scope"] == "global"]
    assert not address.get("tentative")
    assert ("default", "fd00:9::1", "eth0") in machine.routes(where, 6)
    machine.run_in(where, ["ping", "-c", "1", "-W", "2", "fd00:9::1"])


def test_an_interface_name_with_dots_has_settings(ours: LinuxKernel, where: str) -> None:
    """A setting of an interface is found although its name has a dot."""
    ours.apply(
        making(
            Namespace(where),
            Veth(HOST, "veth1", where, "eth0.5", MAC),
            Sysctl(where, "ipv4.conf.{}.rp_filter", "2", link="eth0.5"),
        )
    )
    assert machine.sysctl("ipv4/conf/eth0.5/rp_filter", where) == "2"


def test_an_existing_sandbox_gets_a_second_interface(ours: LinuxKernel, where: str) -> None:
    """Words in a namespace that exists already are made there, in a later change."""
    ours.apply(making(*NETWORK, *sandbox(1, where)))
    later = (
        Veth(HOST, "veth2", where, "eth1", MAC, "br0"),
        Address(where, "eth1", IPv4Interface("10.9.2.2/16")),
        Route(where, IPv4Network("192.0.2.0/24"), "eth1", metric=5),
    )
    ours.apply(making(*later))
    assert machine.addresses("eth1", where) == {"10.9.2.2/16"}
    assert ("192.0.2.0/24", "", "eth1") in machine.routes(where)
    ours.apply(removing(*reversed(later)))
    assert set(machine.links(where)) == {"lo", "eth0"}


def test_removing_undoes_making(ours: LinuxKernel, host: str, where: str) -> None:
    """What a change made, its reverse removes, settings of the host included."""
    machine.run_in(host, ["sysctl", "-qw", "net.ipv4.ip_forward=0"])
    before = set(machine.links(host))
    change = making(*NETWORK, *sandbox(1, where), Sysctl(HOST, "ipv4.ip_forward", "1", restore="0"))
    ours.apply(change)
    assert machine.sysctl("ipv4/ip_forward", host) == "1"
    ours.apply(change.reverse)
    assert not Path(ours.reach(where)).exists()
    assert machine.sysctl("ipv4/ip_forward", host) == "0"
    machine.wait_until(lambda: set(machine.links(host)) == before, "the pair to go")


def test_removing_what_is_gone_is_no_error(ours: LinuxKernel, where: str) -> None:
    """Removing twice, or what never was, does nothing."""
    words = (*NETWORK, *sandbox(1, where))
    ours.apply(removing(*words))
    ours.apply(making(*words))
    for word in reversed(words):
        ours.apply(removing(word))
        ours.apply(removing(word))


@pytest.mark.parametrize("there", [True, False], ids=["there", "gone before"])
def test_a_late_deletion_hits_no_other_link(ours: LinuxKernel, host: str, where: str, there: bool) -> None:
    """The thread that deletes may come late, when the links are gone already and others have their names."""
    words = (*NETWORK, *sandbox(1, where))
    links = [word for word in words if isinstance(word, Bridge | Veth)]
    ours.apply(making(*words))
    begun, go_on, sent = threading.Event(), threading.Event(), threading.Event()
    send = transport.Transport.send

    def late(self: transport.Transport, messages: Sequence[transport.Buffer]) -> list[transport.Refusal]:
        if threading.current_thread() is threading.main_thread():
            return send(self, messages)
        begun.set()
        assert go_on.wait(120)
        try:
            return send(self, messages)
        finally:
            sent.set()

    def take_away() -> None:
        assert not there or begun.wait(120)
        for each in links:
            machine.ip("link", "del", each.name, namespace=host)

    stranger = threading.Thread(target=take_away)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transport.Transport, "send", late)
        stranger.start()
        if not there:
            stranger.join(120)
        ours.apply(removing(*links))
        stranger.join(120)
        ours.apply(making(*links))
        made = {name: link["ifindex"] for name, link in machine.links(host).items()}
        go_on.set()
        assert sent.wait(120) if there else not begun.is_set()
    assert {name: link["ifindex"] for name, link in machine.links(host).items()} == made


def test_a_deleted_link_is_gone_and_its_name_free(ours: LinuxKernel, host: str, where: str) -> None:
    """Nobody finds it when the change returns, and another of the same name can be made, though the kernel is not through with it."""
    words = (*NETWORK, *sandbox(1, where))
    pair = [word for word in words if isinstance(word, Veth)]
    ours.apply(making(*words))
    before = set(machine.links(host))
    for going in (pair, pair, [BRIDGE], [BRIDGE]):
        ours.apply(removing(*going))
        assert before - set(machine.links(host)) == {word.name for word in going}
        ours.apply(making(*going))
        assert set(machine.links(host)) == before


def test_a_link_that_cannot_be_deleted(ours: LinuxKernel) -> None:
    """The kernel's refusal arrives, though nobody waits for the end of a deletion."""
    with pytest.raises(NotSupported, match="cannot remove bridge lo: this kernel cannot do it"):
        ours.apply(removing(Bridge(HOST, "lo", MAC)))


def test_many_links_go_together_and_take_no_stranger(ours: LinuxKernel, host: str, where: str) -> None:
    """Several pairs are removed in one change; a link of the same group that was not named stays."""
    ours.apply(making(*NETWORK, Namespace(where)))
    pairs = [Veth(HOST, f"veth{n}", where, f"eth{n}", MAC, "br0", group=77) for n in range(20)]
    ours.apply(making(*pairs))
    machine.run_in(host, ["ip", "link", "add", "stranger", "type", "veth", "peer", "name", "other"])
    machine.run_in(host, ["ip", "link", "set", "stranger", "group", "77"])
    ours.apply(removing(*pairs[:-1]))
    assert set(machine.links(host)) == {"lo", "br0", "veth19", "stranger", "other"}
    assert set(machine.links(where)) == {"lo", "eth19"}


def test_a_changed_shape_replaces_the_old_one(ours: LinuxKernel, host: str, where: str) -> None:
    """A word in both lists, with one key, goes in its old shape and comes in its new one."""
    old = sandbox(1, where)
    ours.apply(making(*NETWORK, *old))
    new = sandbox(1, where, isolated=True)
    ours.apply(Change(remove=old[3:], make=new[3:]))
    assert machine.links(host)["veth1"]["linkinfo"]["info_slave_data"]["isolated"] is True
    assert machine.addresses("eth0", where) == {"10.9.1.1/16"}
    ours.apply(Change(remove=new, make=old))
    assert machine.links(host)["veth1"]["linkinfo"]["info_slave_data"]["isolated"] is False
    assert ("default", "10.9.0.1", "eth0") in machine.routes(where)


FAILURES: dict[str, tuple[type[LibnetworkError], str]] = {
    "veth": (Conflict, "File exists"),
    "master": (NotFound, "no interface br9"),
    "route": (InvalidParameter, "Nexthop has invalid gateway"),
    "address": (NotFound, "no interface eth9"),
    "setting": (InvalidParameter, "ip_default_ttl"),
}


@pytest.mark.parametrize("what", FAILURES)
def test_a_failure_leaves_nothing(ours: LinuxKernel, host: str, where: str, what: str) -> None:
    """Whatever fails, everything the change had done is undone when the error arrives, and it quotes the kernel."""
    other = path("other")
    machine.run_in(host, ["ip", "link", "add", "taken", "type", "veth", "peer", "name", "taken-peer"])
    before = (set(machine.links(host)), machine.routes(host), machine.quick_traces().namespaces)
    bad: dict[str, Word] = {
        "veth": Veth(HOST, "taken", other, "eth0", MAC),
        "master": Veth(HOST, "veth9", other, "eth0", MAC, "br9"),
        "route": Route(where, IPv4Network("192.0.2.0/24"), "eth0", IPv4Interface("203.0.113.1").ip),
        "address": Address(where, "eth9", IPv4Interface("10.1.1.1/24")),
        "setting": Sysctl(where, "ipv4.ip_default_ttl", "9999"),
    }
    category, words = FAILURES[what]
    with names(other), pytest.raises(category, match=words):
        ours.apply(making(*NETWORK, *sandbox(1, where), Namespace(other), bad[what]))
    assert (set(machine.links(host)), machine.routes(host), machine.quick_traces().namespaces) == before


def test_a_failure_brings_back_what_was_removed(ours: LinuxKernel, host: str, where: str) -> None:
    """A change that removes and then fails to make puts the removed words back."""
    ours.apply(making(*NETWORK, *sandbox(1, where)))
    namespace, *_, address, route = sandbox(1, where)
    assert isinstance(namespace, Namespace)
    with pytest.raises(NotFound):
        ours.apply(Change(remove=(route, address), make=(Veth(HOST, "veth9", where, "eth9", MAC, "br9"),)))
    assert machine.addresses("eth0", where) == {"10.9.1.1/16"}
    assert ("default", "10.9.0.1", "eth0") in machine.routes(where)


def test_a_failure_brings_back_a_setting(ours: LinuxKernel, where: str) -> None:
    """A setting that a failed change gave another value has its old one again, on an interface and in the namespace."""
    old = tuple(
        Sysctl(where, name, "1", link=link)
        for name, link in (("ipv4.conf.{}.log_martians", "eth0"), ("ipv4.conf.all.log_martians", None))
    )
    new = tuple(evolve(word, value="0") for word in old)
    ours.apply(making(*NETWORK, *sandbox(1, where), *old))
    with pytest.raises(LibnetworkError):
        ours.apply(Change(remove=old, make=(*new, Address(where, "eth9", IPv4Interface("10.9.3.3/16"))), why="test"))
    assert {machine.sysctl(f"ipv4/conf/{link}/log_martians", where) for link in ("eth0", "all")} == {"1"}


def test_a_foreign_link_is_left_as_it_is(ours: LinuxKernel, host: str, where: str) -> None:
    """A link with the name of one to be made is neither changed nor removed by the failure."""
    machine.run_in(host, ["ip", "link", "add", "br0", "type", "veth", "peer", "name", "theirs"])
    before = machine.links(host)["br0"]
    with pytest.raises(Conflict, match="br0"):
        ours.apply(making(*NETWORK, *sandbox(1, where)))
    assert machine.links(host)["br0"] == before


def test_a_full_bridge_is_said_to_be_full(ours: LinuxKernel, host: str) -> None:
    """The 1,024th port of a bridge is `Unavailable` with the limit, and the pair is not left behind."""
    machine.run_in(host, ["ip", "link", "add", "br0", "type", "bridge"])
    lines = "".join(f"link add p{n} type veth peer name q{n}\nlink set p{n} master br0\n" for n in range(1, 512))
    lines += "".join(f"link set q{n} master br0\n" for n in range(1, 512)) + "link add r type veth peer name s\n"
    machine.run_in(host, ["ip", "-batch", "-"], input=lines + "link set r master br0\n", timeout=120)
    with pytest.raises(Unavailable, match="1,023 ports"):
        ours.apply(making(Veth(HOST, "veth1", HOST, "peer1", MAC, "br0")))
    assert not {"veth1", "peer1"} & set(machine.links(host))


@pytest.mark.parametrize("at", range(1, 9))
def test_an_interrupt_leaves_nothing(
    ours: LinuxKernel, host: str, where: str, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C before any send of a change: everything is undone when `KeyboardInterrupt` arrives."""
    calls = 0
    main = threading.main_thread().ident
    assert main is not None

    def interrupt(_: str) -> None:
        nonlocal calls
        calls += 1
        if calls == at:
            signal.pthread_kill(main, signal.SIGINT)

    before = set(machine.links(host))
    monkeypatch.setattr(transport, "checkpoint", interrupt)
    with pytest.raises(KeyboardInterrupt):
        ours.apply(making(*NETWORK, *sandbox(1, where)))
    monkeypatch.undo()
    assert calls >= at
    assert set(machine.links(host)) == before
    assert not Path(ours.reach(where)).exists()


def test_an_error_at_any_send_leaves_nothing(
    ours: LinuxKernel, host: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change that dies at its n-th action is undone, for every n."""
    before = set(machine.links(host))
    failures = at = 0
    for at in range(1, 50):
        calls = 0

        def fail(_: str, at: int = at) -> None:
            nonlocal calls
            calls += 1
            if calls == at:
                raise MemoryError

        monkeypatch.setattr(transport, "checkpoint", fail)
        try:
            ours.apply(making(*NETWORK, *sandbox(1, where)))
        except MemoryError:
            failures += 1
        monkeypatch.undo()
        if calls < at:
            break
        assert set(machine.links(host)) == before
        assert not Path(ours.reach(where)).exists()
    assert failures == at - 1 > 5


def test_a_thousand_descriptors_are_not_needed(ours: LinuxKernel, host: str) -> None:
    """A change of many sandboxes keeps only a few descriptors open at a time."""
    import resource

    paths = [path(f"many{number}") for number in range(60)]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    words = [*NETWORK, *(word for number, where in enumerate(paths) for word in sandbox(number, where))]
    with names(*paths):
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 20, hard))  # noqa: PTH208
        try:
            ours.apply(making(*words))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert len(machine.links(host)) == 62
        ours.apply(removing(*words))
    gone(host, *(f"veth{number}" for number in range(60)))


def test_every_word_of_a_bridge_is_exclusive(ours: LinuxKernel) -> None:
    """Making what is there already is a conflict for each kind of word."""
    route = Route(HOST, IPv4Network("192.0.2.0/24"), "br0", IPv4Interface("10.9.0.9/16").ip)
    words: tuple[Word, ...] = (*NETWORK, route)
    ours.apply(making(*words))
    for word in words:
        with pytest.raises(Conflict):
            ours.apply(making(word))
    assert isinstance(words[0], Bridge)
