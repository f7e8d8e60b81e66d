"""Operations that are ended at every point: what they do, the process that is killed in the middle of them, and what witnesses see after.

Division of labour: `OPERATIONS` says what is prepared and what is done; `Crasher` is a process that has loaded everything and forks
a child for each point, which prepares, operates and dies there; `Scene` is the state directory and the host namespace of one
operation; `seen` is what ``ip``, ``nft`` and the file system show, with what is random in it left out. Run as a program, this module
is the process of `Crasher`.

A point is a checkpoint of the kernel layer (before each action that changes the kernel) or of the store (before and after each commit).
"""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias

from attrs import frozen

from libnetwork_py import NetworkController
from libnetwork_py.kernel import transport
from libnetwork_py.store import directory, sqlite
from tests.root.machine import FILES, NAMESPACES, run_in, wait_until

ROOT = Path(__file__).parents[2]
HOST_SYSCTLS = ("ipv4/ip_forward", "ipv6/conf/all/forwarding")
SANDBOX_SYSCTLS = ("ipv4/ip_default_ttl", "ipv6/conf/default/disable_ipv6")
TOOLS = f"""
ip -j -d addr; echo; ip -j route; echo; ip -j -6 route; echo
cd /proc/sys/net; cat {" ".join((*HOST_SYSCTLS, *SANDBOX_SYSCTLS))}; cat ipv6/conf/[be]*/disable_ipv6 ipv4/conf/[be]*/arp_ignore 2>&-; true
"""

KERNEL_POINTS = ("netlink", "sysctl", "make namespace", "name namespace", "remove namespace", "unlink namespace")
"""Points where the kernel might refuse: all of the kernel layer's."""

Doing: TypeAlias = "Callable[[Lab], object]"


class Lab:
    """A controller, with names of sandboxes that nobody else on this machine has."""

    def __init__(self, controller: NetworkController, tag: str) -> None:
        self.controller = controller
        self.tag = tag

    def network(self, number: int = 1, **options: Any) -> Any:
        """Create a network, or return it if it is there."""
        name = f"net{number}"
        for network in self.controller.networks(name=name):
            return network
        subnets = [f"10.9{number}.0.0/24", f"fd00:9{number}::/64"]
        bridge = {"com.docker.network.bridge.name": f"bridge{number}"}
        return self.controller.create_network(
            name, subnets=subnets, options=bridge | options.pop("options", {}), **options
        )

    def sandbox(self, name: str = "web", **options: Any) -> Any:
        """Create a sandbox, or return it if it is there."""
        for sandbox in self.controller.sandboxes(name=f"{self.tag}-{name}"):
            return sandbox
        return self.controller.create_sandbox(f"{self.tag}-{name}", **options)

    def endpoint(self, name: str = "web", number: int = 1, **options: Any) -> Any:
        """Create an endpoint, or return it if it is there."""
        for endpoint in self.network(number).endpoints():
            if endpoint.name == name:
                return endpoint
        return self.network(number).create_endpoint(name, **options)

    def connect(self, name: str = "web", number: int = 1, **options: Any) -> Any:
        """Connect a sandbox to a network, both made if they are not there."""
        return self.sandbox(name).connect(self.network(number), name=name, **options)


def _two_networks(lab: Lab) -> None:
    lab.connect(number=1, ports=["18080:80", "18081:81/udp"])
    lab.connect(number=2, ports=["[::]:18082:82"], priority=7)


def _with_files(lab: Lab) -> None:
    _two_networks(lab)
    lab.sandbox().run(["true"], check=True)


def _endpoint(lab: Lab) -> None:
    lab.network()
    lab.sandbox()
    lab.endpoint(
        ports=["18080:80"], addresses=["10.91.0.7", "10.91.0.8"], sysctls={"net.ipv4.conf.IFNAME.arp_ignore": 1}
    )


def _batch(lab: Lab) -> None:
    with lab.controller.batch():
        lab.connect("one", ports=["18080:80"])
        lab.connect("two", ports=["18081:80/udp"])
        lab.connect("two", number=2)


def _exchange(lab: Lab) -> None:
    with lab.controller.batch():
        lab.sandbox().delete()
        lab.network(2).delete()
        lab.connect("new", ports=["18080:80"])
        lab.network(3, internal=True)


def _update_network(lab: Lab) -> None:
    options = {"com.docker.network.driver.mtu": 1400, "com.docker.network.bridge.enable_icc": False}
    lab.network().update(options=options, labels={"stage": "two"}, routes=["192.0.2.0/24 via 10.91.0.9"])


def _update_endpoint(lab: Lab) -> None:
    lab.endpoint().update(
        aliases=["shop"],
        labels={"stage": "two"},
        routes=["198.51.100.0/24 via 10.91.0.9", "2001:db8::/64 via fd00:91::9"],
        sysctls={"net.ipv4.conf.IFNAME.arp_ignore": 1},
    )


def delete_everything(controller: NetworkController) -> None:
    """Delete every sandbox and network, as one operation."""
    with controller.batch():
        for sandbox in controller.sandboxes():
            sandbox.delete()
        for network in controller.networks():
            network.delete(force=True)


def _harmed(lab: Lab) -> None:
    """Do what somebody else could do to a host."""
    _two_networks(lab)
    host = os.environ["CRASH_HOST"]
    run_in(host, ["ip", "link", "del", "bridge1"])
    run_in(host, ["sysctl", "-qw", "net.ipv4.ip_forward=0"])


def _joined(lab: Lab) -> None:
    _endpoint(lab)
    lab.connect("other")
    lab.endpoint().join(lab.sandbox())


@frozen
class Operation:
    """What is prepared, acknowledged, and then done. ``temporary``: by a temporary controller."""

    prepare: Doing
    operate: Doing
    temporary: bool = False


def _nothing(lab: Lab) -> None:
    pass


OPERATIONS: Mapping[str, Operation] = {
    "create network": Operation(_nothing, Lab.network),
    "create second network": Operation(Lab.connect, lambda lab: lab.network(2)),
    "create isolated network": Operation(Lab.network, lambda lab: lab.network(2, internal=True)),
    "create sandbox": Operation(Lab.network, lambda lab: lab.sandbox(sysctls={"net.ipv4.ip_default_ttl": 33})),
    "connect": Operation(
        lambda lab: (lab.network(), lab.sandbox()), lambda lab: lab.connect(ports=["18080:80", "18100-18110:53/udp"])
    ),
    "connect to second network": Operation(
        lambda lab: (lab.connect(), lab.network(2)), lambda lab: lab.connect(number=2, ports=["18080:80"], priority=1)
    ),
    "create endpoint": Operation(Lab.network, lambda lab: lab.endpoint(ports=["18080:80"])),
    "join": Operation(_endpoint, lambda lab: lab.endpoint().join(lab.sandbox())),
    "publish": Operation(Lab.connect, lambda lab: lab.endpoint().publish("18080-18085:80-85")),
    "unpublish": Operation(_two_networks, lambda lab: lab.endpoint().unpublish("18080:80")),
    "leave": Operation(_joined, lambda lab: lab.endpoint().leave()),
    "disconnect": Operation(_two_networks, lambda lab: lab.sandbox().disconnect(lab.network(2))),
    "delete endpoint": Operation(_endpoint, lambda lab: lab.endpoint().delete()),
    "delete sandbox": Operation(_with_files, lambda lab: lab.sandbox().delete()),
    "delete network": Operation(Lab.network, lambda lab: lab.network().delete()),
    "delete network by force": Operation(_two_networks, lambda lab: lab.network().delete(force=True)),
    "prune": Operation(lambda lab: (lab.connect(), lab.network(2)), lambda lab: lab.controller.prune()),
    "refresh": Operation(Lab.sandbox, lambda lab: lab.sandbox().refresh(sysctls={"net.ipv4.ip_default_ttl": 33})),
    "update network": Operation(_two_networks, _update_network),
    "update endpoint": Operation(_two_networks, _update_endpoint),
    "rename": Operation(Lab.connect, lambda lab: lab.sandbox().rename(f"{lab.tag}-other")),
    "repair": Operation(_harmed, lambda lab: lab.controller.reconcile()),
    "batch": Operation(_nothing, _batch),
    "batch that takes and makes": Operation(_with_files, _exchange),
    "batch that deletes everything": Operation(_with_files, lambda lab: delete_everything(lab.controller)),
    "temporary batch": Operation(Lab.connect, _batch, temporary=True),
    "close temporary": Operation(_with_files, lambda lab: lab.controller.close(), temporary=True),
}


_numbers = itertools.count(1)


def new_tag() -> str:
    """Return what the names of a test's sandboxes begin with."""
    return f"k{os.getpid()}x{next(_numbers)}"


def remove_remains(tag: str) -> None:
    """Remove what a failed test left outside its host, so that the next one stumbles over nothing."""
    for path in list(NAMESPACES.glob(f"{tag}-*")):
        with suppress(AssertionError):
            run_in("", ["ip", "netns", "del", path.name])
    for path in (each for place in FILES for each in place.glob(f"{tag}-*")):
        path.unlink() if path.is_symlink() else shutil.rmtree(path)


# what witnesses see


def seen(host: str, tag: str) -> dict[str, Any]:
    """Return what is in the host, in the sandboxes and beside them, as tools and the file system show it."""
    names = sorted(path.name for path in NAMESPACES.iterdir() if path.name.startswith(f"{tag}-"))
    ours = [each for place in FILES for each in place.glob(f"{tag}-*")]  # what others have beside it may go meanwhile
    files = [str(path) for top in ours for path in (top, *top.rglob("*"))]
    found = {name.removeprefix(f"{tag}-"): _inside(str(NAMESPACES / name), tag) for name in names}
    return found | {
        "": _inside(host, tag, "nft -j list ruleset") | {"files": sorted(_plain(each, tag) for each in files)}
    }


def _plain(text: str, tag: str) -> str:
    """Take out what differs between two runs of the same: ids in names of interfaces and tables."""
    text = re.sub(r"br-[0-9a-f]{12}", "bridge", re.sub(r"veth[0-9a-f]{11}", "veth", text))
    return re.sub(r"libnetwork_py_[0-9a-f]{8}", "table", text).replace(f"{tag}-", "")


def _inside(namespace: str, tag: str, more: str = "true") -> dict[str, Any]:
    try:
        said = run_in(namespace, ["sh", "-c", f"{more}; echo; {TOOLS}"]).stdout
    except AssertionError as error:  # a name without a namespace
        return {"broken": str(error)}
    listed, rest = _plain(said, tag).split("\n", 1)
    addresses, rest = _first(rest)
    ipv4, rest = _first(rest)
    ipv6, rest = _first(rest)
    return {
        "links": sorted(map(_link, filter(None, addresses)), key=str),
        "routes": sorted(_route(each) for each in (*ipv4, *ipv6) if not each["dst"].startswith("fe80:")),
        "sysctls": rest.split(),
        "filter": sorted(_ruleset(json.loads(listed)["nftables"]) if listed else []),
    }


def _first(text: str) -> tuple[Any, str]:
    text = text.lstrip("\n")
    if text[:1] not in {"[", "{"}:
        return [], text
    value, end = json.JSONDecoder().raw_decode(text)
    return value, text[end:]


def _link(shown: Mapping[str, Any]) -> dict[str, Any]:
    info = shown.get("linkinfo", {})
    kind = info.get("info_kind", "")
    port = {name: info.get("info_slave_data", {}).get(name) for name in ("hairpin", "isolated")}
    addresses = sorted(f"{each['local']}/{each['prefixlen']}" for each in shown["addr_info"] if each["scope"] != "link")
    mac = shown["address"] if re.fullmatch("eth[0-9]+", shown["ifname"]) else ""  # those of the others come from ids
    plain = {name: shown.get(name) for name in ("ifname", "mtu", "master")}
    return plain | port | {"kind": kind, "mac": mac, "up": "UP" in shown["flags"], "addresses": addresses}


def _route(shown: Mapping[str, Any]) -> str:
    return f"{shown['dst']} via {shown.get('gateway')} dev {shown.get('dev')} metric {shown.get('metric')}"


def _ruleset(listed: list[dict[str, Any]]) -> Iterator[str]:
    for each in listed:
        for kind, value in each.items():
            if kind == "metainfo":
                continue
            for element in value.pop("elem", ()) if kind in {"set", "map"} else ():
                yield f"{value['name']}: {json.dumps(element, sort_keys=True)}"
            yield f"{kind} {json.dumps({name: value[name] for name in value if name != 'handle'}, sort_keys=True)}"


def becomes(look: Callable[[], Any], wanted: Any, when: str) -> None:
    """Wait until a look shows what is wanted: the kernel takes a dropped namespace apart, links and all, a little later."""
    found: list[Any] = []

    def there() -> bool:
        found[:] = [look()]
        return bool(found[0] == wanted)

    try:
        wait_until(there, when)
    except AssertionError:
        raise AssertionError(f"{when}:\n{apart(found[0], wanted)}") from None


def quiet(look: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Look until every veth pair has both its ends, or five seconds: those of a dropped namespace go a little later."""
    end = time.monotonic() + 5
    while True:
        found = look()
        pairs = [each["kind"] for inside in found.values() for each in inside.get("links", ())].count("veth")
        outer = [each["kind"] for each in found[""]["links"]].count("veth")
        if pairs == 2 * outer or time.monotonic() > end:
            return found
        time.sleep(0.01)


def neither(found: Mapping[str, Any], before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Say why it is neither how it was before nor how it should be after."""
    return f"against before:\n{apart(found, before)}\nagainst after:\n{apart(found, after)}"


def apart(one: Mapping[str, Any], other: Mapping[str, Any], path: str = "") -> str:
    """Say where two nested mappings differ."""
    lines = []
    for key in sorted({*one, *other}):
        left, right = one.get(key), other.get(key)
        if isinstance(left, dict) and isinstance(right, dict):
            lines += [apart(left, right, f"{path}/{key}")]
        elif isinstance(left, list) and isinstance(right, list):
            more, less = [each for each in left if each not in right], [each for each in right if each not in left]
            lines += [f"{path}/{key}: has {more}, lacks {less}"] if left != right else []
        elif left != right:
            lines += [f"{path}/{key}: is {left}, not {right}"]
    return "\n".join(filter(None, lines))


# what the records say


def told(controller: NetworkController, tag: str) -> dict[str, Any]:
    """Return what a controller tells of its objects, ids left out."""
    names = {sandbox.id: sandbox.name for sandbox in controller.sandboxes()}
    networks = {
        network.name: {
            "subnets": [*map(str, network.subnets)],
            "gateways": [*map(str, network.gateways)],
            "internal": network.internal,
            "options": dict(network.options),
            "labels": dict(network.labels),
            "routes": [*map(str, network.routes)],
            "endpoints": [_told_endpoint(each, names) for each in network.endpoints()],
        }
        for network in controller.networks()
    }
    sandboxes = {
        sandbox.name: {
            "key": sandbox.key,
            "gateways": [str(sandbox.gateway(4)), str(sandbox.gateway(6))],
            "endpoints": [each.name for each in sandbox.endpoints()],
            "sysctls": dict(controller._engine.state.sandboxes[sandbox.id].sysctls),
        }
        for sandbox in controller.sandboxes()
    }
    found: dict[str, Any] = json.loads(_plain(json.dumps({"networks": networks, "sandboxes": sandboxes}), tag))
    return found


def _told_endpoint(endpoint: Any, names: Mapping[str, str]) -> list[Any]:
    where = names.get(endpoint.sandbox_id, "on another host") if endpoint.sandbox_id else None
    more = (*endpoint.addresses, endpoint.mac, *endpoint.ports, *endpoint.routes, *endpoint.aliases)
    return [endpoint.name, where, endpoint.interface, dict(endpoint.labels), *map(str, more)]


# points


class Points:
    """Counts the checkpoints of kernel and store while `armed`, and does something at one of them.

    Args:
        which: The number of the point, from 1; 0: none.
        act: What is done there, on the thread that came by, given the point's name.
        note: Called with the name of every point before that.
        kinds: Beginnings of the names of the points that count; all by default.
        lasting: Do it at every later point as well.
    """

    def __init__(
        self,
        which: int,
        act: Callable[[str], object],
        note: Callable[[str], object] = lambda _: None,
        *,
        kinds: tuple[str, ...] = (),
        lasting: bool = False,
    ) -> None:
        self.count = 0
        self._which, self._act, self._note = which, act, note
        self._kinds, self._lasting = kinds or ("",), lasting

    def __call__(self, label: str) -> None:
        if label.startswith(self._kinds):
            self._note(label)
            self.count += 1
            if self.count == self._which or (self._lasting and self.count > self._which):
                self._act(label)

    @contextmanager
    def armed(self) -> Iterator[None]:
        """Be called at every checkpoint."""
        before = transport.checkpoint, sqlite.checkpoint
        transport.checkpoint = sqlite.checkpoint = self
        try:
            yield
        finally:
            transport.checkpoint, sqlite.checkpoint = before


def die(label: str) -> None:
    """End this process as ``kill -9`` does."""
    os.kill(os.getpid(), signal.SIGKILL)


# the process that dies


class Crasher:
    """A process that has loaded the library and forks a child for each point."""

    def __init__(self, operation: str, host: str, base: Path, tag: str) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "CRASH_HOST": host}
        argv = [sys.executable, "-m", "tests.root.crash_lab", operation, host, str(base), tag]
        self._process = subprocess.Popen(
            argv, cwd=ROOT, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def crash(self, point: int, *, recovering: str = "") -> tuple[int, list[str]]:
        """Have a child prepare and operate on the directory of that number.

        Args:
            point: Where it dies, from 1. 0: nowhere, it ends without closing its controller; -1: it does not operate at all.
            recovering: Name of a directory that the child only opens, dying at that point of what opening does.

        Returns:
            Its exit status (-9: it died as told), and the points that it passed.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{point} {recovering}\n")
        self._process.stdin.flush()
        status, passed = json.loads(self._process.stdout.readline())
        return status, passed

    def close(self) -> None:
        """End the process, and its child if it hangs."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


def _main(name: str, host: str, base: str, tag: str) -> None:
    _warm()
    keep_temporaries(Path(base))
    for line in sys.stdin:
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reader)
            point, recovering = line.rstrip("\n").split(" ")
            lab_of = partial(_opened, Path(base), host, tag, OPERATIONS[name].temporary)
            _child(OPERATIONS[name], int(point), recovering, lab_of, writer)
        os.close(writer)
        with open(reader, encoding="utf-8") as pipe:  # noqa: PTH123 (a descriptor)
            passed = pipe.read().splitlines()
        _, status = os.waitpid(pid, 0)
        sys.stdout.write(json.dumps([os.waitstatus_to_exitcode(status), passed]) + "\n")
        sys.stdout.flush()


def _warm() -> None:
    """Load what is loaded late."""
    for name in ("drivers.bridge.driver", "kernel.linux", "kernel.nft", "kernel.processes"):
        import_module(f"libnetwork_py.{name}")


def _child(operation: Operation, point: int, recovering: str, lab_of: Callable[[str], Lab], pipe: int) -> None:
    status = 1
    points = Points(point, die, lambda label: os.write(pipe, f"{label}\n".encode()))
    try:
        if recovering:
            with points.armed():
                lab_of(recovering)
        else:
            lab = lab_of(str(point))
            operation.prepare(lab)
            if point >= 0:
                with points.armed():
                    operation.operate(lab)
        status = 0
    except BaseException:  # noqa: BLE001 (nobody else would see it)
        traceback.print_exc()
    finally:
        os._exit(status)  # nothing is closed: so ends a process that was killed between two operations


def _opened(base: Path, host: str, tag: str, temporary: bool, name: str) -> Lab:
    return Lab(NetworkController.temporary(host=host) if temporary else NetworkController(base / name, host=host), tag)


def keep_temporaries(base: Path) -> Callable[[], None]:
    """Keep the directories of temporary controllers, and look for dead ones, below ``base`` alone; return what ends it.

    Whoever else starts a controller on this machine would sweep ours, and we theirs.
    """
    before = directory._bases
    directory._bases = lambda: iter([base / "temporary"])
    return lambda: setattr(directory, "_bases", before)


# one operation's surroundings


class Scene:
    """The host, the directories and the crashing process of one operation."""

    def __init__(self, operation: str, host: str, base: Path) -> None:
        self.operation = OPERATIONS[operation]
        self.host, self.base = host, base
        self.tag = new_tag()
        self.pristine = self.seen()
        self.crasher = Crasher(operation, host, base, self.tag)

    def seen(self) -> dict[str, Any]:
        """What witnesses see now."""
        return seen(self.host, self.tag)

    def reopened(self, name: int | str, *, repair_on_open: bool = True) -> NetworkController:
        """A new controller where the crashed one was; for a temporary one, just the next to start on that host."""
        return NetworkController(self.base / str(name), host=self.host, config={"repair_on_open": repair_on_open})

    def close(self) -> None:
        """End the process and remove whatever a failed test left."""
        self.crasher.close()
        remove_remains(self.tag)


@contextmanager
def scene(operation: str, host: str, base: Path) -> Iterator[Scene]:
    """The surroundings of one operation, removed at the end."""
    restore = keep_temporaries(base)
    found = Scene(operation, host, base)
    try:
        yield found
    finally:
        found.close()
        restore()


if __name__ == "__main__":
    _main(*sys.argv[1:])
