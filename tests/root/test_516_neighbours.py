"""Other firewalls on the host: what is flushed comes back, what they do to us is said, and nothing of theirs is touched."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from libnetwork_py import Endpoint, Network, NetworkController, Sandbox
from tests.dockerd.lab import TREE, Dockerd, missing
from tests.root import machine, world
from tests.root.api_lab import GRACE, PATIENCE, asks, at, of, pings, serving
from tests.root.machine import Outside
from tests.root.test_500_reachability import show_bridged_packets

THEIRS = """
table inet theirs {
    set friends { type ipv4_addr; elements = { 192.0.2.1, 192.0.2.2 } }
    chain input { type filter hook input priority 0; policy accept; ip saddr @friends counter accept; }
    chain forward { type filter hook forward priority 5; policy accept; counter; }
}
"""


@frozen
class Site:
    """A host with a published web server on it."""

    controller: NetworkController
    host: str
    outside: Outside
    network: Network
    web: Sandbox
    client: Sandbox
    endpoint: Endpoint

    @property
    def bridge(self) -> str:
        """The network's bridge."""
        return f"br-{self.network.id[:12]}"

    def answers(self, *, within: float = PATIENCE) -> bool:
        """Whether the published port answers the outside, and the outside a sandbox."""
        with serving(of(self.web), 80):
            reached = asks(at(self.outside.namespace), self.outside.host_ipv4.ip, 8080, within=within) is not None
        return reached and pings(self.client, self.outside.ipv4.ip, within=within)

    def neighbours_answer(self, *, within: float = PATIENCE) -> bool:
        """Whether sandboxes of one network reach each other."""
        return pings(self.client, self.endpoint.addresses[0], within=within)

    def run(self, text: str) -> None:
        """Run a command of the administrator in the host's namespace."""
        machine.run_in(self.host, shlex.split(text))

    def warnings(self) -> str:
        """What `info` warns of."""
        return "\n".join(self.controller.info().warnings)


def build(controller: NetworkController, host: str, outside: Outside) -> Site:
    """Make a network with two sandboxes and a published port."""
    network = controller.create_network("front")
    web, client = controller.create_sandbox("web"), controller.create_sandbox("client")
    endpoint = web.connect(network, ports="8080:80")
    client.connect(network)
    return Site(controller, host, outside, network, web, client, endpoint)


@pytest.fixture
def site(controller: NetworkController, host: str, outside: Outside) -> Site:
    """A site on a host whose packet filter does not see bridged packets."""
    show_bridged_packets(host, on=False)
    return build(controller, host, outside)


def foreign(host: str) -> list[Any]:
    """Everything in the host's packet filter that is not ours, counters left out."""
    shown = [each for each in machine.nft(host) if not _table(each).startswith("libnetwork_py_")]
    return [json.loads(json.dumps(each), object_hook=_uncounted) for each in shown]


def _table(shown: dict[str, Any]) -> str:
    ((kind, each),) = shown.items()
    return str(each["name"] if kind == "table" else each["table"])


def _uncounted(value: dict[str, Any]) -> dict[str, Any]:
    return {"counter": None} if "counter" in value else value


def load(host: str, text: str) -> None:
    """Load rules as somebody else would."""
    machine.run_in(host, ["nft", "-f", "-"], input=text)


# What is flushed


@pytest.mark.parametrize(
    "how", ["flush ruleset", "delete table inet {}", "flush table inet {}", "delete chain inet {} into"]
)
def test_what_is_flushed_comes_back(site: Site, how: str) -> None:
    """Whatever somebody did to our table, reconcile says it and puts it back: published ports, way out, isolation."""
    load(site.host, THEIRS)
    (table,) = (
        name for each in machine.nft(site.host) if (name := each.get("table", {}).get("name", "")) != "theirs" and name
    )
    if how.startswith("delete chain"):
        machine.run_in(site.host, ["nft", "flush", "chain", "inet", table, "forward"])
    machine.run_in(site.host, ["nft", *how.format(table).split()])
    if how == "flush ruleset":
        load(site.host, THEIRS)
    before = foreign(site.host)
    assert site.controller.reconcile(repair=False).missing or site.controller.reconcile(repair=False).changed
    assert site.controller.reconcile().repaired
    assert not site.controller.reconcile()
    assert site.answers()
    assert foreign(site.host) == before


def test_nothing_of_others_is_changed(host: str, outside: Outside) -> None:
    """From the first network to the last, through repairs and warnings, others' rules stay as they were."""
    load(host, THEIRS)
    before = foreign(host)
    with NetworkController.temporary(host=host) as controller:
        show_bridged_packets(host, on=False)
        site = build(controller, host, outside)
        assert site.answers()
        assert site.warnings() == "" or "theirs" in site.warnings()
        machine.run_in(host, ["ip", "link", "del", site.bridge])
        controller.reconcile()
        assert foreign(host) == before
    assert foreign(host) == before


# What is said


def test_no_neighbours_no_warning(site: Site) -> None:
    """A host without other firewalls has nothing to warn of."""
    assert site.warnings() == ""


@pytest.mark.parametrize("rule", ["policy drop;", "policy accept; ct state established accept; reject;"])
def test_a_table_that_drops_what_is_forwarded(site: Site, rule: str) -> None:
    """A table that drops forwarded packets is named with the remedy, and the remedy is one."""
    load(site.host, f"table inet strict {{ chain pass {{ type filter hook forward priority 10; {rule} }}; }}")
    assert not site.answers(within=GRACE)
    (warning,) = (each for each in site.controller.info().warnings if "drops forwarded packets" in each)
    assert "table inet strict (chain pass)" in warning
    for remedy in _remedies(warning):
        site.run(remedy)
    assert site.answers()
    assert "drops forwarded packets" not in site.warnings()


def _remedies(warning: str) -> list[str]:
    """The commands in a warning."""
    return warning.split("`")[1::2]


@pytest.mark.parametrize("tool", ["iptables", "ip6tables"])
def test_the_iptables_policy(controller: NetworkController, host: str, outside: Outside, tool: str) -> None:
    """The policy that Docker gives the FORWARD chain is seen, and the remedy is one."""
    if shutil.which(tool) is None:
        pytest.skip(f"no {tool}")
    show_bridged_packets(host, on=False)
    network = controller.create_network("front", ipv6=True)
    box = controller.create_sandbox("box")
    box.connect(network)
    machine.run_in(host, [tool, "-P", "FORWARD", "DROP"])
    target = outside.ipv4.ip if tool == "iptables" else outside.ipv6.ip
    machine.run_in(host, [tool, "-A", "FORWARD", "-m", "conntrack", "--ctstate", "ESTABLISHED", "-j", "ACCEPT"])
    assert not pings(box, target, within=GRACE)
    (warning,) = (each for each in controller.info().warnings if "drops forwarded packets" in each)
    assert f"table {'ip' if tool == 'iptables' else 'ip6'} filter (chain FORWARD)" in warning
    for remedy in _remedies(warning):
        machine.run_in(host, shlex.split(remedy))
    assert pings(box, target)
    assert "drops forwarded packets" not in "\n".join(controller.info().warnings)


@pytest.mark.parametrize(
    "rule", ["tcp dport 8080 dnat to 192.0.2.1:80", "meta l4proto tcp th dport 8080 redirect to :81"]
)
def test_a_table_that_takes_a_port(site: Site, rule: str) -> None:
    """A table that sends a published port elsewhere is named with the port."""
    load(site.host, f"table ip thief {{ chain pre {{ type nat hook prerouting priority -110; {rule}; }}; }}")
    (warning,) = (each for each in site.controller.info().warnings if "elsewhere" in each)
    assert "table ip thief (chain pre) sends port 8080/tcp elsewhere" in warning
    load(site.host, "flush table ip thief")
    assert "elsewhere" not in site.warnings()


# Real ones


@frozen
class Ufw:
    """ufw over a host's namespace, with settings of its own."""

    host: str
    directory: Path

    def __call__(self, *arguments: str) -> str:
        """Run ``ufw`` where it sees its settings and no others'."""
        mounts = [f"mount --bind {self.directory}/{name} /etc/{name}" for name in ("ufw", "default")]
        script = " && ".join([*mounts, shlex.join(["ufw", *arguments])])
        return machine.run_in(self.host, ["unshare", "--mount", "sh", "-c", script]).stdout


@pytest.fixture
def ufw(host: str, tmp_path: Path) -> Ufw:
    """ufw, not enabled yet."""
    if shutil.which("ufw") is None:
        pytest.skip("no ufw: scripts/install-packages installs it")
    for name in ("ufw", "default"):
        shutil.copytree(f"/etc/{name}", tmp_path / name)
    return Ufw(host, tmp_path)


@pytest.mark.parametrize("br_netfilter", [False, True], ids=["", "br_netfilter"])
def test_beside_ufw(site: Site, ufw: Ufw, br_netfilter: bool) -> None:
    """Beside ufw what it drops is said; with the remedy everything passes, also after its reload, and its rules stay its own."""
    show_bridged_packets(site.host, on=br_netfilter)
    ufw("--force", "enable")
    assert not site.answers(within=GRACE)
    assert site.neighbours_answer(within=GRACE) or br_netfilter
    (warning,) = (
        each
        for each in site.controller.info().warnings
        if each.startswith("table ip filter (chain FORWARD) drops forwarded packets")
    )
    for remedy in _remedies(warning):
        ufw(*shlex.split(remedy)[1:])
    assert site.answers()
    assert site.neighbours_answer()
    assert "drops forwarded packets" not in site.warnings()
    ufw("reload")
    before = foreign(site.host)
    site.controller.reconcile()
    assert site.answers()
    assert foreign(site.host) == before


BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path={}</listen><policy context="default">
<allow user="*"/><allow own="*"/><allow send_type="method_call"/><allow send_type="signal"/>
<allow send_requested_reply="true" send_type="method_return"/><allow send_requested_reply="true" send_type="error"/>
<allow receive_type="method_call"/><allow receive_type="method_return"/><allow receive_type="error"/><allow receive_type="signal"/>
</policy></busconfig>"""
"""A message bus on which everything is allowed."""


@frozen
class Firewalld:
    """firewalld over a host's namespace, on a bus of its own, with settings of its own."""

    host: str
    environment: dict[str, str]

    def __call__(self, *arguments: str, check: bool = True) -> str:
        """Run ``firewall-cmd``."""
        argv = ["firewall-cmd", *arguments]
        return machine.run_in(self.host, argv, env=self.environment, check=check).stdout.strip()


@pytest.fixture
def firewalld(host: str, tmp_path: Path) -> Iterator[Firewalld]:
    """A running firewalld."""
    for program in ("firewalld", "dbus-daemon"):
        if shutil.which(program) is None:
            pytest.skip(f"no {program}: scripts/install-packages installs it")
    socket, config, settings = (tmp_path / name for name in ("bus", "bus.conf", "firewalld"))
    config.write_text(BUS.format(socket))
    settings.mkdir()
    environment = {**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={socket}"}
    daemon = [
        "firewalld",
        "--nofork",
        "--nopid",
        "--log-target=file",
        f"--log-file={tmp_path / 'log'}",  # it changes the mode of what it logs to
        f"--system-config={settings}",
    ]
    carrier = ["dbus-daemon", "--nofork", f"--config-file={config}"]
    with subprocess.Popen([*world.entering(host), *carrier], stderr=subprocess.DEVNULL) as bus:
        machine.wait_until(socket.exists, "the message bus")
        with subprocess.Popen([*world.entering(host), *daemon], env=environment) as process:
            try:
                made = Firewalld(host, environment)
                machine.wait_until(lambda: made("--state", check=False) == "running", "firewalld", seconds=40)
                yield made
            finally:
                process.terminate()
                process.wait(10)
                bus.terminate()


def test_beside_firewalld(site: Site, firewalld: Firewalld) -> None:
    """Beside firewalld what it drops is said; with the remedy everything passes, also after its reloads, and its rules stay its own."""
    assert not site.answers(within=GRACE)
    (warning,) = (each for each in site.controller.info().warnings if "drops forwarded packets" in each)
    assert warning.startswith("table inet firewalld (chain filter_FORWARD)")
    for remedy in _remedies(warning):
        firewalld(*shlex.split(remedy)[1:])
    assert site.answers()
    assert site.neighbours_answer()
    assert "drops forwarded packets" not in site.warnings()
    firewalld("--complete-reload")
    before = foreign(site.host)
    assert not site.controller.reconcile()
    site.endpoint.publish("8081:80")
    assert site.answers()
    assert foreign(site.host) == before


@pytest.fixture
def dockerd(tmp_path: Path) -> Iterator[str]:
    """The namespace of a real dockerd."""
    if missing():
        pytest.skip(f"needs {missing()}")
    docker = Dockerd(TREE, tmp_path, lambda _: None, forwarding=False)
    try:
        docker.start()
        yield docker.host
    finally:
        docker.stop()
        docker.remove()


def test_beside_dockerd(dockerd: str) -> None:
    """Beside a dockerd our sandboxes work as soon as its administrator did what the warning says, and its rules stay its own."""
    outside = machine.new_outside(dockerd)
    try:
        with NetworkController.temporary(host=dockerd) as controller:
            show_bridged_packets(dockerd, on=True)
            rules = foreign(dockerd)
            site = build(controller, dockerd, outside)
            assert foreign(dockerd) == rules
            warnings = [each for each in controller.info().warnings if "drops forwarded packets" in each]
            assert warnings
            assert all("DOCKER-USER" in each for each in warnings)
            for remedy in (remedy for each in warnings for remedy in _remedies(each)):
                site.run(remedy)
            before = foreign(dockerd)
            assert site.answers()
            assert site.neighbours_answer()
            machine.run_in(dockerd, ["nft", "delete", "table", *_own_table(dockerd)])
            assert controller.reconcile().repaired
            assert site.answers()
            assert foreign(dockerd) == before
        assert foreign(dockerd) == before
    finally:
        machine.drop_namespace(outside.namespace)


def _own_table(host: str) -> tuple[str, str]:
    (found,) = (each["table"]["name"] for each in machine.nft(host) if each.get("table", {}).get("family") == "inet")
    return "inet", found
