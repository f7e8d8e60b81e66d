"""Tools for tests on the real kernel: iproute2 and nftables as witnesses, namespaces that play hosts, and what a run left behind.

Division of labour: nothing here uses the library, so that what it says about the kernel is a second opinion. For an ordinary user the
machine is `tests.root.world`'s: everything here enters it by itself.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv4Interface, IPv6Interface
from pathlib import Path
from typing import Any

from attrs import asdict, field, frozen

from libnetwork_py.lifecycle import files
from tests.root import world

NAMESPACES = world.NAMESPACES
FILES = Path("/etc/netns"), *files.BEHIND
"""Where sandboxes' files are: links, and the folders behind them."""
SYSCTLS = (
    "ipv4/conf/all/forwarding",
    "ipv4/conf/all/route_localnet",
    "ipv4/conf/all/rp_filter",
    "ipv4/conf/default/rp_filter",
    "ipv4/ip_forward",
    "ipv4/ip_local_port_range",
    "ipv4/ip_local_reserved_ports",
    "ipv4/ip_unprivileged_port_start",
    "ipv6/conf/all/disable_ipv6",
    "ipv6/conf/all/forwarding",
    "ipv6/conf/default/accept_ra",
    "ipv6/conf/default/disable_ipv6",
    "netfilter/nf_conntrack_max",
)

_numbers = itertools.count(1)


def run(*argv: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a program in the caller's namespace; a failure is an error that shows what it printed."""
    return run_in("", argv, **options)


def run_in(namespace: str, argv: Sequence[object], **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a program in the network namespace at a path (empty: the caller's) and return it finished, its output as text.

    Options are `subprocess.run`'s; ``check`` is on unless given.
    """
    inside = [*world.entering(namespace), *map(str, argv)]
    check = options.pop("check", True)
    options = {"text": True, "capture_output": True, "timeout": 120} | options
    done: subprocess.CompletedProcess[str] = subprocess.run(inside, check=False, **options)
    assert not check or done.returncode == 0, (
        f"{' '.join(inside)}: status {done.returncode}\n{done.stdout}{done.stderr}"
    )
    return done


def run_beside(path: str, host: str, argv: Sequence[object]) -> subprocess.CompletedProcess[str]:
    """Run a program in a host's namespace, where ``ip netns`` knows the namespace at ``path`` by its name."""
    return run_in(host, argv) if world.ROOT else run(*world.entering_names(path), *argv)


def ip(*arguments: object, namespace: str = "") -> Any:
    """Run ``ip -j -d …`` in a namespace and return what it printed, parsed; an empty list where it prints nothing."""
    return json.loads(run_in(namespace, ["ip", "-j", "-d", *arguments]).stdout or "[]")


def links(namespace: str = "") -> dict[str, Any]:
    """Return ``ip -j -d link`` by interface name."""
    return {link["ifname"]: link for link in ip("link", namespace=namespace) if link}


def addresses(link: str, namespace: str = "") -> set[str]:
    """Return the addresses of an interface with their prefix lengths, link-local ones left out."""
    (shown,) = [each for each in ip("addr", "show", "dev", link, namespace=namespace) if each]
    return {f"{each['local']}/{each['prefixlen']}" for each in shown["addr_info"] if each["scope"] != "link"}


def routes(namespace: str = "", family: int = 4) -> set[tuple[str, str, str]]:
    """Return the routes of the main table as (destination, gateway or empty, interface), link-local ones left out."""
    shown = ip(f"-{family}", "route", namespace=namespace)
    found = {(each["dst"], each.get("gateway", ""), each.get("dev", "")) for each in shown}
    return {each for each in found if not each[0].startswith(("fe80:", "multicast", "ff00:"))}


def nft(namespace: str = "") -> list[dict[str, Any]]:
    """Return everything that ``nft -j list ruleset`` shows in a namespace, without its own version."""
    listed = json.loads(run_in(namespace, ["nft", "-j", "list", "ruleset"]).stdout)["nftables"]
    return [each for each in listed if "metainfo" not in each]


def sysctl(name: str, namespace: str = "") -> str:
    """Return a setting, by its path below ``/proc/sys/net``."""
    return run_in(namespace, ["cat", f"/proc/sys/net/{name}"]).stdout.strip()


def wait_until(condition: Callable[[], object], what: str, seconds: float = 20) -> None:
    """Return as soon as ``condition()`` is true; fail after ``seconds``, naming ``what`` was waited for."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds} s for {what}"
        time.sleep(0.02)


def new_namespace(name: str = "host") -> str:
    """Make a network namespace with a name of its own, its loopback up, and return its path.

    It forwards nothing, whatever this machine does: new namespaces take that after the first one.
    """
    name = f"t{os.getpid()}-{next(_numbers)}-{name}"
    run(*world.entering_names(), "ip", "netns", "add", name)
    run_in(str(NAMESPACES / name), ["ip", "link", "set", "lo", "up"])
    run_in(str(NAMESPACES / name), ["sysctl", "-qw", "net.ipv4.ip_forward=0", "net.ipv6.conf.all.forwarding=0"])
    return str(NAMESPACES / name)


def drop_namespace(path: str) -> None:
    """Remove a namespace by name, one made by `new_namespace` or a sandbox's; one that is gone is no error."""
    if os.path.exists(world.place(path)):  # noqa: PTH110 (paths of namespaces are text)
        run(*world.entering_names(path), "ip", "netns", "del", Path(path).name)


@frozen
class Outside:
    """The world beyond a host: a namespace joined to the host's by a veth pair. It knows no way back to any other network."""

    namespace: str
    link: str = "eth0"
    ipv4: IPv4Interface = field(factory=lambda: IPv4Interface("10.255.0.2/24"))
    ipv6: IPv6Interface = field(factory=lambda: IPv6Interface("fd00:255::2/64"))
    host_link: str = "uplink0"
    host_ipv4: IPv4Interface = field(factory=lambda: IPv4Interface("10.255.0.1/24"))
    host_ipv6: IPv6Interface = field(factory=lambda: IPv6Interface("fd00:255::1/64"))


def new_outside(host: str) -> Outside:
    """Make an outside for a host; it is the host's default gateway."""
    outside = Outside(new_namespace("outside"))
    there, here = outside.namespace, host
    pair = ["type", "veth", "peer", "name", outside.link, "netns", Path(there).name]
    ip("link", "add", outside.host_link, *pair, namespace=here)
    for namespace, link in ((here, outside.host_link), (there, outside.link)):
        # else neighbours are asked for, on behalf of others, only when duplicate detection of the link-local address has ended
        run_in(namespace, ["sysctl", "-qw", f"net.ipv6.conf.{link}.accept_dad=0"])
    for namespace, link, *own in (
        (here, outside.host_link, outside.host_ipv4, outside.host_ipv6),
        (there, outside.link, outside.ipv4, outside.ipv6),
    ):
        ip("link", "set", link, "up", namespace=namespace)
        for address in own:
            ip("addr", "add", address, "dev", link, *(["nodad"] if address.version == 6 else []), namespace=namespace)
    ip("route", "add", "default", "via", outside.ipv4.ip, namespace=here)
    ip("-6", "route", "add", "default", "via", outside.ipv6.ip, namespace=here)
    return outside


@frozen
class Traces:
    """What a run could leave on the machine: names and texts, by kind."""

    links: frozenset[str]
    namespaces: frozenset[str]
    tables: frozenset[str] = frozenset()
    routes: frozenset[str] = frozenset()
    rules: frozenset[str] = frozenset()
    sysctls: frozenset[str] = frozenset()
    mounts: frozenset[str] = frozenset()
    processes: frozenset[str] = frozenset()
    files: frozenset[str] = frozenset()

    def added(self, before: Traces) -> Mapping[str, list[str]]:
        """Return what is here and was not ``before``, by kind.

        A changed setting counts with its new value; one that came with a module of the kernel's does not.
        """
        mine: dict[str, frozenset[str]] = asdict(self, recurse=False)
        theirs: dict[str, frozenset[str]] = asdict(before, recurse=False)
        known = {each.partition(" = ")[0] for each in before.sysctls}
        mine["sysctls"] = frozenset(each for each in self.sysctls if each.partition(" = ")[0] in known)
        new = {kind: sorted(mine[kind] - theirs[kind]) for kind in mine}
        return {kind: names for kind, names in new.items() if names}


def quick_traces() -> Traces:
    """Look at links and named namespaces only: a few system calls."""
    names = (path.name for path in NAMESPACES.iterdir()) if NAMESPACES.exists() else ()
    return Traces(frozenset(name for _, name in socket.if_nameindex()), frozenset(names))


def traces() -> Traces:
    """Look at everything that a run could leave in the caller's own namespaces."""
    quick = quick_traces()
    tables = run("nft", "list", "tables", check=False).stdout if shutil.which("nft") else ""
    return Traces(
        quick.links,
        quick.namespaces,
        frozenset(tables.splitlines()),
        frozenset(_stable(each) for each in ip("route", "show", "table", "all")),
        frozenset(_stable(each) for family in ("-4", "-6") for each in ip(family, "rule")),
        frozenset(f"{name} = {path.read_text().strip()}" for name, path in _settings().items()),
        frozenset(_mounts()),
        frozenset(_children()),
        frozenset(str(path) for place in FILES if place.is_dir() for path in place.iterdir()),
    )


def _stable(shown: Mapping[str, object]) -> str:
    keys = ("type", "dst", "gateway", "dev", "table", "priority", "src", "fwmark")
    return " ".join(f"{key} {shown[key]}" for key in keys if key in shown)


def _settings() -> Mapping[str, Path]:
    paths = {name: Path("/proc/sys/net") / name for name in SYSCTLS}
    return {name: path for name, path in paths.items() if path.exists()}


def _mounts() -> set[str]:
    # `ip netns` binds /run/netns on itself the first time and leaves it so
    points = (line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines())
    return {point for point in points if point != str(NAMESPACES)}


def _children() -> set[str]:
    found: set[str] = set()
    for task in Path("/proc/self/task").iterdir():
        for pid in (task / "children").read_text().split():
            command = Path("/proc", pid, "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            found.add(f"{pid} {command.strip() or '(ended, not waited for)'}")
    return found
