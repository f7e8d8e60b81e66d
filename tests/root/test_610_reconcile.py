"""Drift: whatever somebody changes in the kernel is listed, mended, and then gone from the list."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from attrs import frozen

from libnetwork_py import NetworkController, Sandbox, labels
from tests.root import machine
from tests.root.api_lab import asks, at, difference, of, picture, pings, serving
from tests.root.machine import Outside
from tests.root.names_lab import dig


@frozen
class Home:
    """A sandbox with a published port on a bridge of known name, and what it looked like."""

    controller: NetworkController
    host: str
    box: Sandbox
    veth: str
    table: str


@pytest.fixture
def home(controller: NetworkController, host: str, outside: Outside) -> Home:
    """A home in order."""
    front = controller.create_network(
        "front", subnets=["10.7.0.0/24", "fd00:7::/64"], options={labels.BRIDGE_NAME: "mybr0", labels.DRIVER_MTU: 1400}
    )
    box = controller.create_sandbox(f"drift-{os.getpid()}", sysctls={"net.ipv4.ip_unprivileged_port_start": "80"})
    box.connect(front, ports="8080:80", sysctls={"net.ipv4.conf.IFNAME.log_martians": "1"})
    veth = next(name for name, link in machine.links(host).items() if link.get("master") == "mybr0")
    table = next(each["table"]["name"] for each in machine.nft(host) if "table" in each)
    return Home(controller, host, box, veth, table)


def on_host(*argv: str) -> Callable[[Home], None]:
    """Run a program on the host; HOME's names are filled in."""
    return lambda home: _run(home.host, argv, home)


def inside(*argv: str) -> Callable[[Home], None]:
    """Run a program in the sandbox."""
    return lambda home: _run(home.box.key, argv, home)


def _run(namespace: str, argv: tuple[str, ...], home: Home) -> None:
    machine.run_in(namespace, [each.format(veth=home.veth, table=home.table) for each in argv])


def setting(where: Callable[..., Callable[[Home], None]], name: str, value: str) -> Callable[[Home], None]:
    """Change a setting."""
    return where("sh", "-c", f"echo {value} > /proc/sys/net/{name}")


def drop_namespace(home: Home) -> None:
    """Take the sandbox's namespace away."""
    machine.drop_namespace(home.box.key)
    machine.wait_until(lambda: home.veth not in machine.links(home.host), "its links to go")


def replace_rule(home: Home) -> None:
    """Put another rule in the place of one of ours that drops, so that their number stays."""
    rules = [each["rule"] for each in machine.nft(home.host) if "rule" in each]
    one = next(each for each in rules if each["chain"] == "forward" and any("drop" in part for part in each["expr"]))
    line = f"replace rule inet {home.table} forward handle {one['handle']} accept"
    machine.run_in(home.host, ["nft", line])


DRIFT: dict[str, tuple[Callable[[Home], None], str]] = {
    "a veth pair deleted": (on_host("ip", "link", "del", "{veth}"), "missing"),
    "a veth pair deleted from inside": (inside("ip", "link", "del", "eth0"), "missing"),
    "a veth pair down": (on_host("ip", "link", "set", "{veth}", "down"), "changed"),
    "an interface down": (inside("ip", "link", "set", "eth0", "down"), "changed"),
    "another MAC address": (inside("ip", "link", "set", "eth0", "address", "02:00:00:00:00:01"), "changed"),
    "the addresses flushed": (inside("ip", "addr", "flush", "dev", "eth0"), "missing"),
    "the default route deleted": (inside("ip", "route", "del", "default"), "missing"),
    "another default route": (inside("ip", "route", "replace", "default", "via", "10.7.0.99"), "changed"),
    "the IPv6 default route deleted": (inside("ip", "-6", "route", "del", "default"), "missing"),
    "the namespace deleted": (drop_namespace, "missing"),
    "the bridge deleted": (on_host("ip", "link", "del", "mybr0"), "missing"),
    "the bridge down": (on_host("ip", "link", "set", "mybr0", "down"), "changed"),
    "the gateway's address deleted": (on_host("ip", "addr", "del", "10.7.0.1/24", "dev", "mybr0"), "missing"),
    "the port off its bridge": (on_host("ip", "link", "set", "{veth}", "nomaster"), "changed"),
    "another MTU": (on_host("ip", "link", "set", "{veth}", "mtu", "1300"), "changed"),
    "another MTU inside": (inside("ip", "link", "set", "eth0", "mtu", "1300"), "changed"),
    "another MTU of the bridge": (on_host("ip", "link", "set", "mybr0", "mtu", "1300"), "changed"),
    "hairpin off": (on_host("bridge", "link", "set", "dev", "{veth}", "hairpin", "off"), "changed"),
    "forwarding off": (setting(on_host, "ipv4/ip_forward", "0"), "changed"),
    "a setting of the sandbox": (setting(inside, "ipv4/ip_unprivileged_port_start", "1024"), "changed"),
    "a setting of the interface": (setting(inside, "ipv4/conf/eth0/log_martians", "0"), "changed"),
    "the ruleset flushed": (on_host("nft", "flush", "ruleset"), "missing"),
    "our table deleted": (on_host("nft", "delete", "table", "inet", "{table}"), "missing"),
    "our rules flushed": (on_host("nft", "flush", "table", "inet", "{table}"), "changed"),
    "a chain flushed": (on_host("nft", "flush", "chain", "inet", "{table}", "forward"), "changed"),
    "a rule added to our chain": (on_host("nft", "insert", "rule", "inet", "{table}", "forward", "drop"), "changed"),
    "a rule replaced by another": (replace_rule, "changed"),
    "a set emptied": (on_host("nft", "flush", "set", "inet", "{table}", "bridges"), "missing"),
    "a published port elsewhere": (
        on_host(
            "nft",
            "delete element inet {table} ports4_any {{ tcp . 8080 }}; add element inet {table} ports4_any {{ tcp . 8080 : 10.7.0.9 . 80 }}",
        ),
        "changed",
    ),
    "a foreign element": (
        on_host("nft", "add", "element", "inet", "{table}", "ports4_any", "{{ tcp . 99 : 10.7.0.9 . 80 }}"),
        "foreign",
    ),
    "a foreign bridge name": (on_host("nft", "add", "element", "inet", "{table}", "bridges", "{{ evil0 }}"), "foreign"),
}


@pytest.mark.parametrize(("disturb", "kind"), DRIFT.values(), ids=DRIFT)
def test_drift(home: Home, disturb: Callable[[Home], None], kind: str) -> None:
    """What differs is listed and left alone without repair; with repair it is as before, to the last line, and traffic flows."""
    before = picture(home.controller, home.host)
    inside_before = (
        machine.addresses("eth0", home.box.key),
        machine.routes(home.box.key),
        machine.routes(home.box.key, 6),
    )
    assert not home.controller.reconcile(repair=False)
    disturb(home)
    disturbed = picture(home.controller, home.host)
    listed = home.controller.reconcile(repair=False)
    assert {"missing": listed.missing, "changed": listed.changed, "foreign": listed.foreign}[kind], str(listed)
    assert not listed.repaired
    assert not difference(disturbed, picture(home.controller, home.host))
    mended = home.controller.reconcile()
    assert mended.repaired, str(mended)
    assert {each.what for each in mended.findings} == {each.what for each in listed.findings}
    after = home.controller.reconcile(repair=False)
    assert not after, str(after)
    changed = difference(before, picture(home.controller, home.host))
    assert not {kind for kind in changed if kind not in {"links", "filter"}}, changed
    assert {name: link[:4] for name, link in picture(home.controller, home.host).links.items()} == {
        name: link[:4] for name, link in before.links.items()
    }
    assert (
        machine.addresses("eth0", home.box.key),
        machine.routes(home.box.key),
        machine.routes(home.box.key, 6),
    ) == inside_before
    assert _elements(before.filter) == _elements(picture(home.controller, home.host).filter)
    with serving(of(home.box), 80):
        assert pings(home.box, "10.7.0.1")
        assert asks(at(home.host), "10.7.0.1", 8080) is not None


def _elements(ruleset: str) -> set[str]:
    """The words of a ruleset: the order of elements and of tables does not matter."""
    return set(ruleset.replace(",", " ").split())


def test_a_foreign_table_is_not_ours_to_mend(home: Home) -> None:
    """Another's table, link or route is neither listed nor touched."""
    machine.run_in(home.host, ["nft", "add table ip theirs; add set ip theirs bridges { type ipv4_addr; }"])
    machine.ip("link", "add", "theirs0", "type", "bridge", namespace=home.host)
    machine.ip("route", "add", "198.51.100.0/24", "dev", "uplink0", namespace=home.host)
    machine.ip("route", "add", "198.51.100.0/24", "dev", "eth0", namespace=home.box.key)
    before = picture(home.controller, home.host)
    assert not home.controller.reconcile()
    assert not difference(before, picture(home.controller, home.host))


def test_everything_at_once(home: Home, controller: NetworkController) -> None:
    """Namespace, bridge and ruleset all gone at once are all made again."""
    drop_namespace(home)
    machine.ip("link", "del", "mybr0", namespace=home.host)
    machine.run_in(home.host, ["nft", "flush", "ruleset"])
    assert controller.reconcile().repaired
    assert not controller.reconcile(repair=False)
    assert pings(home.box, "10.7.0.1")


def test_a_table_of_names_without_names(controller: NetworkController, home: Home) -> None:
    """The name service's table in a sandbox that has no network is listed and taken away; it would keep the sandbox from any."""
    bare = controller.create_sandbox("bare")
    ruleset = machine.run_in(home.box.key, ["nft", "list", "table", "inet", "libnetwork_py_names"]).stdout
    machine.run_in(bare.key, ["nft", "-f", "-"], input=ruleset)
    machine.ip("link", "del", home.veth, namespace=home.host)  # links are looked at more than once
    listed = controller.reconcile(repair=False)
    assert [each.what for each in listed.foreign] == ["nft table inet libnetwork_py_names"]
    assert controller.reconcile().repaired
    assert not machine.nft(bare.key)
    assert not controller.reconcile(repair=False)
    bare.connect(controller.network("front"))


def test_names_of_another_controller(controller: NetworkController, host: str, tmp_path: Path) -> None:
    """Another controller has adopted a sandbox, and serves names there: that is its own business."""
    bare = controller.create_sandbox("bare")
    with NetworkController(tmp_path, host=host) as other:
        adopted = other.create_sandbox("theirs", netns=bare.key)
        adopted.connect(other.create_network("other", subnets="10.8.0.0/24"))
        machine.wait_until(lambda: dig(adopted, "theirs", "A") == ["10.8.0.2"], "its names")
        assert not controller.reconcile()
        assert not other.reconcile(repair=False)
        adopted.delete()
        other.network("other").delete()


def test_what_cannot_be_mended_is_said(controller: NetworkController, home: Home) -> None:
    """An adopted namespace that is gone cannot be made again: the report says so, and the rest is mended."""
    theirs = machine.new_namespace("theirs")
    controller.create_sandbox("adopted", netns=theirs).connect(controller.network("front"))
    machine.drop_namespace(theirs)
    machine.wait_until(
        lambda: len([1 for name in machine.links(home.host) if name.startswith("veth")]) == 1, "its link to go"
    )
    machine.ip("route", "del", "default", namespace=home.box.key)
    report = controller.reconcile()
    assert not report.repaired
    assert "the adopted namespace is gone" in str(report)
    assert ("default", "10.7.0.1", "eth0") in machine.routes(home.box.key)
    controller.sandbox("adopted").delete()
    assert not controller.reconcile(repair=False)
