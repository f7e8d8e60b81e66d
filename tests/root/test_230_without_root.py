"""The library without privilege: one user namespace for each controller, owned by a helper process that goes with it.

Root may ask for it too, so these tests run as root as well as by an ordinary user.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from libnetwork_py import NetworkController, Sandbox
from libnetwork_py.errors import Conflict, Forbidden, InvalidParameter, NotSupported, Unavailable
from tests.root import machine, world
from tests.root.api_lab import asks, at, of, pings, python, serving, started

os.environ["LIBNETWORK_PY_TESTS"] = str(os.getpid())
MARK = f"LIBNETWORK_PY_TESTS={os.getpid()}\0".encode()
USER = {"privilege": "user"}


@pytest.fixture
def controller() -> Iterator[NetworkController]:
    """A temporary controller over a host of its own."""
    with NetworkController.temporary(config=USER) as some:
        yield some


@pytest.fixture
def pair(controller: NetworkController) -> tuple[Sandbox, Sandbox]:
    """Two sandboxes on a network."""
    network = controller.create_network("front")
    one, two = (controller.create_sandbox(name) for name in ("one", "two"))
    for box in (one, two):
        box.connect(network)
    return one, two


def helper(controller: NetworkController) -> int:
    """The process that owns a controller's namespaces."""
    return int(controller.create_sandbox("host", netns="host").key.split("/")[2])


def keepers() -> set[int]:
    """All such processes that these tests have caused: other tests may run at the same time."""
    found: set[int] = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if b"kernel/keeper.py" in path.read_bytes() and MARK in (path.parent / "environ").read_bytes():
                found.add(int(path.parent.name))
    return found


def address(box: Sandbox) -> str:
    """The address of a sandbox."""
    return str(box.endpoints()[0].addresses[0])


def beside(box: Sandbox) -> list[str]:
    """The words before a program that is to run where a sandbox has its name."""
    return ["nsenter", "-t", box.key.split("/")[2], "--user", "--mount", "--net", "--preserve-credentials"]


# what it is


def test_the_machine_s_own_network_is_not_touched() -> None:
    """Networks, sandboxes and published ports change nothing in the caller's namespace, and the helper process ends with the controller."""
    before, running = machine.traces(), keepers()
    with NetworkController.temporary(config=USER) as controller:
        box = controller.create_sandbox("web")
        box.connect(controller.create_network("front"), ports=["8080:80"])
        assert len(keepers() - running) == 1
        assert not {kind for kind in machine.traces().added(before) if kind != "processes"}  # those are ours to have
        assert controller.info().privilege == "user"
    assert keepers() == running


def test_a_sandbox_s_key_works_for_other_programs(pair: tuple[Sandbox, Sandbox]) -> None:
    """`nsenter` with the helper's user namespace enters a sandbox by its key, and `ip netns` knows its name in the helper's mounts."""
    one, _ = pair
    pid = one.key.split("/")[2]
    shown = machine.run(
        "nsenter", f"--user=/proc/{pid}/ns/user", f"--net={one.key}", "--preserve-credentials", "ip", "-br", "addr"
    )
    assert f"{address(one)}/16" in shown.stdout
    names = machine.run(*beside(one), "ip", "netns")
    assert {line.split()[0] for line in names.stdout.splitlines()} == {"one", "two"}


def test_names_are_free_on_the_machine(controller: NetworkController) -> None:
    """Two controllers have sandboxes of one name, each under that name."""
    with NetworkController.temporary(config=USER) as other:
        keys = {each.create_sandbox("same").key for each in (controller, other)}
    assert {Path(key).name for key in keys} == {"same"}
    assert len(keys) == 2


def test_a_sandbox_may_play_the_host(controller: NetworkController) -> None:
    """A controller over another one's sandbox makes its networks in there, and its sandboxes reach that one's outside."""
    network = controller.create_network("wan", subnets="10.50.0.0/24")
    hosts = [controller.create_sandbox(f"host{number}") for number in range(2)]
    for each in hosts:
        each.connect(network)
    with NetworkController.temporary(host=hosts[0], config=USER) as inner:
        box = inner.create_sandbox("inner")
        box.connect(inner.create_network("lan"))
        assert any(name.startswith("br-") for name in machine.links(hosts[0].key))
        assert pings(box, address(hosts[1]))


NESTED = """
from libnetwork_py import NetworkController
with NetworkController.temporary() as controller:
    network = controller.create_network("front")
    one, two = (controller.create_sandbox(name) for name in ("one", "two"))
    target = one.connect(network).addresses[0]
    two.connect(network)
    print(controller.info().privilege, two.run(["ping", "-c1", "-W5", str(target)], capture_output=True).returncode)
"""


@pytest.mark.parametrize("given", [["--net"], ["--net", "--mount"], []], ids=["net", "net and mounts", "nothing more"])
def test_inside_a_user_namespace(given: list[str]) -> None:
    """Who is root in a user namespace, but not of the machine's mounts or network, gets a helper as anybody does."""
    argv = ["unshare", "--user", "--map-root-user", *given, sys.executable, "-c", NESTED]
    # a mount namespace of its own still has the machine's /run, which is root's alone
    expected = "root 0\n" if world.ROOT and given == ["--net", "--mount"] else "user 0\n"
    assert machine.run(*argv).stdout == expected


def test_inside_a_sandbox(pair: tuple[Sandbox, Sandbox]) -> None:
    """A program in a sandbox may use the library itself."""
    done = pair[0].run([sys.executable, "-c", NESTED], capture_output=True, text=True)
    assert (done.stdout[4:], done.stderr) == (" 0\n", "")


def test_a_namespace_of_another_user_is_refused() -> None:
    """A host's namespace that belongs to somebody else is `Forbidden`, and the message says what to give instead."""
    with pytest.raises(Forbidden, match="not this user's") as caught:
        NetworkController.temporary(host="/proc/self/ns/net", config=USER)
    assert caught.value.code == "not_our_namespace"


def test_user_namespaces_forbidden() -> None:
    """Where the machine gives no user namespace the error is `Forbidden`, and names the setting that an administrator would change."""
    program = (
        "from libnetwork_py import NetworkController, errors\n"
        "try: NetworkController.temporary(config={'privilege': 'user'})\n"
        "except errors.Forbidden as error: print(error.code, error)\n"
    )
    limit = "echo 0 >/proc/sys/user/max_user_namespaces && exec "
    shown = machine.run(
        "unshare", "--user", "--map-root-user", "sh", "-c", limit + '"$@"', "sh", sys.executable, "-c", program
    ).stdout
    assert shown.startswith("no_user_namespace without root")
    assert "sysctl -w user.max_user_namespaces=" in shown


def test_a_namespace_that_was_taken_away_goes(controller: NetworkController, pair: tuple[Sandbox, Sandbox]) -> None:
    """When a sandbox's namespace is removed by its name, the name service lets go of it: its links go."""
    before = set(machine.links(controller.create_sandbox("host", netns="host").key))
    machine.run(*beside(pair[0]), "ip", "netns", "del", "one")
    host = controller.sandbox("host").key
    machine.wait_until(lambda: set(machine.links(host)) < before, "the links to go")
    assert controller.reconcile().repaired
    assert pings(pair[0], address(pair[1]))


# inside


def test_a_function_runs_inside(pair: tuple[Sandbox, Sandbox]) -> None:
    """A closure runs in the sandbox and returns what it made there: values, and a listening socket that answers the other sandbox."""
    one, two = pair
    text = "closed over"

    def work(number: int) -> tuple[str, list[str], socket.socket]:
        return f"{text} {number}", sorted(name for _, name in socket.if_nameindex()), socket.create_server(("", 80))

    said, links, server = one.call(work, 7)
    assert (said, links) == ("closed over 7", ["eth0", "lo"])
    with server, two.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
        client.connect((address(one), 80))
        connection, peer = server.accept()
        connection.close()
    assert peer[0] == address(two)


def test_many_sockets_come_out(pair: tuple[Sandbox, Sandbox]) -> None:
    """A function returns more sockets than the kernel passes in one message."""
    found = pair[0].call(lambda: [socket.socket() for _ in range(600)])
    assert len({each.fileno() for each in found}) == 600
    for each in found:
        each.close()


def test_what_a_function_raises_is_raised(pair: tuple[Sandbox, Sandbox]) -> None:
    """An exception comes out with its type, its arguments and a note of where it was raised."""

    def fail() -> None:
        raise LookupError("inside", 3)

    with pytest.raises(LookupError) as caught:
        pair[0].call(fail)
    assert caught.value.args == ("inside", 3)
    assert "in fail" in caught.value.__notes__[0]


def test_what_cannot_leave_is_said(pair: tuple[Sandbox, Sandbox]) -> None:
    """A result that cannot be pickled, and a function that ends its process, are errors that say so."""
    with pytest.raises(InvalidParameter, match="cannot be carried out") as caught:
        pair[0].call(lambda: (each for each in "abc"))
    assert caught.value.code == "cannot_leave"
    with pytest.raises(Unavailable, match="ended without an answer"):
        pair[0].call(lambda: os._exit(3))


def test_entering_is_not_to_be_had(pair: tuple[Sandbox, Sandbox]) -> None:
    """`entered` is `NotSupported` and names what there is instead; the thread has not moved."""
    before = Path("/proc/thread-self/ns/net").readlink()
    with (
        pytest.raises(NotSupported, match=r"sandbox\.socket\(\).*sandbox\.call\(\).*sandbox\.run\(\)"),
        pair[0].entered(),
    ):
        pass
    assert Path("/proc/thread-self/ns/net").readlink() == before


def test_the_kernel_s_reason(pair: tuple[Sandbox, Sandbox]) -> None:
    """A process with a second thread gets ``EINVAL`` from the kernel when it tries to enter the user namespace."""
    program = (
        "import ctypes, os, sys, threading, time\n"
        "threading.Thread(target=time.sleep, args=(5,), daemon=True).start()\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "print(libc.setns(os.open(sys.argv[1], os.O_RDONLY), 0x10000000), ctypes.get_errno())\n"
    )
    assert python(program, f"/proc/{pair[0].key.split('/')[2]}/ns/user").stdout == "-1 22\n"


def test_a_program_sees_its_sandbox(
    pair: tuple[Sandbox, Sandbox], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program has the sandbox's ``/sys`` and files, the caller's directory and environment, and is root there."""
    monkeypatch.chdir(tmp_path)
    shown = pair[0].run(
        ["sh", "-c", 'ls /sys/class/net; tail -1 /etc/hosts; pwd; id -u; echo "$0 $KEY"; env | wc -l'],
        env={"PATH": os.environ["PATH"], "KEY": "value"}, capture_output=True, text=True, check=True,
    ).stdout.split("\n")  # fmt: skip
    address = pair[0].endpoints()[0].addresses[0]
    assert shown[:5] == ["eth0", "lo", f"{address}\tone", str(tmp_path), "0"]
    assert shown[5] == "sh value"
    assert int(shown[6]) <= 4  # the shell adds some of its own


@pytest.mark.parametrize(
    ("argv", "options", "error"),
    [
        (["no-such-program"], {}, FileNotFoundError),
        (["/etc/passwd"], {}, PermissionError),
        (["true"], {"cwd": "/no/such/directory"}, FileNotFoundError),
        (["true"], {"preexec_fn": print}, InvalidParameter),
    ],
)
def test_a_program_that_cannot_start(
    pair: tuple[Sandbox, Sandbox], argv: list[str], options: dict[str, Any], error: type[Exception]
) -> None:
    """The errors of starting a program are those of `subprocess.Popen`."""
    with pytest.raises(error):
        pair[0].popen(argv, **options)


def test_popen_s_options(pair: tuple[Sandbox, Sandbox]) -> None:
    """Pipes, text, a shell's command line, another name for the program and the meaning of SIGPIPE are as `subprocess.Popen` has them."""
    with pair[0].popen("tr a-z A-Z", shell=True, stdin=-1, stdout=-1, text=True) as process:  # noqa: S604
        assert process.communicate("hello")[0] == "HELLO"
        assert process.args == "tr a-z A-Z"
    named = pair[0].run(["other", "-c", "echo $0"], executable="/bin/sh", capture_output=True, text=True)
    assert named.stdout == "other\n"
    ended = pair[0].run(["sh", "-c", "yes | head -1"], capture_output=True, text=True)
    assert (ended.stdout, ended.stderr) == ("y\n", "")
    with pair[0].popen(["sleep", "60"]) as process:
        process.terminate()
        assert process.wait(10) == -signal.SIGTERM


# the outside

ASKS = """
import sys
from libnetwork_py import NetworkController
with NetworkController.temporary(config={"privilege": "user"}) as controller:
    box = controller.create_sandbox("box")
    box.connect(controller.create_network("front"))
    with box.socket() as sock:
        sock.settimeout(5)
        sock.connect((sys.argv[1], 9000))
        print(controller.info().outside, sock.recv(100).decode())
"""


@pytest.mark.skipif(shutil.which("pasta") is None, reason="no pasta: scripts/install-packages installs it")
@pytest.mark.skipif(
    not os.access("/dev/net/tun", os.R_OK | os.W_OK), reason="/dev/net/tun is root's alone: udev opens it"
)
def test_pasta_leads_outside(host: str, outside: machine.Outside) -> None:
    """Where pasta is installed a sandbox reaches the outside of the machine, which sees the machine's own address."""
    with serving(at(outside.namespace), 9000):
        shown = machine.run_in(host, [sys.executable, "-c", ASKS, outside.ipv4.ip]).stdout
    assert shown == f"pasta {outside.host_ipv4.ip}\n"


@pytest.mark.skipif(shutil.which("pasta") is None, reason="no pasta: scripts/install-packages installs it")
def test_pasta_where_there_is_no_outside(host: str) -> None:
    """Where the machine itself has no way out, `info` says that pasta found none, and all else works."""
    program = (
        "from libnetwork_py import NetworkController\n"
        "with NetworkController.temporary(config={'privilege': 'user'}) as controller:\n"
        "    controller.create_sandbox('box').connect(controller.create_network('front'))\n"
        "    print(controller.info().outside)\n"
    )
    assert machine.run_in(host, [sys.executable, "-c", program]).stdout.startswith("pasta: ")


def test_without_pasta(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without pasta, or where it is not wanted, the host is alone; who demands it is told which package has it."""
    with NetworkController.temporary(config={**USER, "outside": "none"}) as controller:
        assert controller.info().outside == "none"
    monkeypatch.setenv("PATH", "/nonexistent")
    with NetworkController.temporary(config=USER) as controller:
        assert controller.info().outside == "none"
    with pytest.raises(NotSupported, match="apt install passt"):
        NetworkController.temporary(config={**USER, "outside": "pasta"})


def test_localhost(controller: NetworkController) -> None:
    """With ``localhost`` a published port answers at 127.0.0.1 where the caller is, by TCP and UDP, until it is published no more."""
    assert not controller.info().localhost
    with NetworkController.temporary(config={**USER, "localhost": True}) as published:
        assert published.info().localhost
        box = published.create_sandbox("web")
        with socket.create_server(("127.0.0.1", 0)) as found:
            port = found.getsockname()[1]
        endpoint = box.connect(published.create_network("front"), ports=[f"{port}:80", f"{port}:80/udp"])
        gateway = str(published.network("front").gateways[0])
        with serving(of(box), 80):
            assert asks(at(""), "127.0.0.1", port) == gateway
            assert asks(at(""), "127.0.0.1", port, "udp") == gateway
            assert not published.reconcile(repair=False)
            for each in endpoint.ports:
                endpoint.unpublish(each)
            assert asks(at(""), "127.0.0.1", port, within=1) is None


def test_localhost_is_taken() -> None:
    """A port of the caller's machine that another process has is `Conflict`, and nothing is published."""
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        NetworkController.temporary(config={**USER, "localhost": True}) as controller,
    ):
        endpoint = controller.create_network("front").create_endpoint(ports=[f"{taken.getsockname()[1]}:80"])
        with pytest.raises(Conflict, match="of your machine") as caught:
            endpoint.join(controller.create_sandbox("web"))
        assert caught.value.code == "port_in_use"
        assert endpoint.state == "created"


# callers


def test_from_many_threads(controller: NetworkController) -> None:
    """Eight threads make and connect sandboxes at the same time."""
    network = controller.create_network("front")

    def work(number: int) -> str:
        box = controller.create_sandbox(f"box{number}")
        box.connect(network)
        with box.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind((address(box), 0))
        return address(box)

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(work, range(24)))) == 24


def test_from_a_running_event_loop() -> None:
    """A coroutine may make a controller and work in a sandbox."""

    async def work() -> int:
        with NetworkController.temporary(config=USER) as controller:
            box = await asyncio.to_thread(controller.create_sandbox, "box")
            box.connect(controller.create_network("front"))
            return box.run(["true"]).returncode + box.call(lambda: 0)

    assert asyncio.run(work()) == 0


def test_in_a_forked_child(controller: NetworkController, pair: tuple[Sandbox, Sandbox]) -> None:
    """A forked child uses the parent's controller while the parent does; its end ends nothing."""
    network = controller.network("front")

    def work() -> None:
        box = controller.create_sandbox("child")
        box.connect(network)
        os._exit(0 if pings(box, address(pair[0])) else 1)

    child = multiprocessing.get_context("fork").Process(target=work)
    child.start()
    for number in range(5):
        controller.create_sandbox(f"parent{number}").connect(network)
    child.join(30)
    assert child.exitcode == 0
    assert pings(controller.sandbox("child"), address(pair[1]))


# death


KILLED = """
import os, sys, time
from libnetwork_py import NetworkController
controller = NetworkController.temporary(config={"privilege": "user"})
network = controller.create_network("front")
box = controller.create_sandbox("box")
box.connect(network, ports=["8080:80"])
process = box.popen(["sleep", "1000"])
host = controller.create_sandbox("host", netns="host")
daemon = host.popen(["setsid", "sleep", "1000"])
print(host.key.split("/")[2], process.pid, daemon.pid, controller.info().store.split()[-1], flush=True)
time.sleep(1000)
"""


def test_a_killed_caller_leaves_nothing() -> None:
    """After SIGKILL the helper process ends, and with it namespaces, the programs that ran inside, and the records."""
    before = machine.traces()
    with started(KILLED) as process:
        assert process.stdout is not None
        *pids, directory = process.stdout.readline().split()
        assert Path(directory).is_dir()
        process.kill()
    gone = [Path("/proc", pid) for pid in pids] + [Path(directory)]
    machine.wait_until(lambda: not [each for each in gone if _lives(each)], "the helper to end with all it owned")
    assert not machine.traces().added(before)


def _lives(path: Path) -> bool:
    """Whether a directory is there; for one of a process, whether it is no zombie that waits for its parent."""
    try:
        return path.is_dir() and (path.parent != Path("/proc") or ") Z " not in (path / "stat").read_text())
    except OSError:
        return False


def test_a_killed_helper_is_a_typed_error(controller: NetworkController, pair: tuple[Sandbox, Sandbox]) -> None:
    """When the helper process is killed the next call says so, and closing does not fail for it."""
    os.kill(helper(controller), signal.SIGKILL)
    with pytest.raises(Unavailable) as caught:
        pair[0].socket(socket.AF_INET, socket.SOCK_STREAM)
    assert caught.value.code == "helper_gone"


def test_programs_outlive_an_orderly_close() -> None:
    """What runs in a sandbox when its controller is closed goes on, as it does for root."""
    with NetworkController.temporary(config=USER) as controller:
        process = controller.create_sandbox("box").popen(["sleep", "60"])
    with process:
        assert process.poll() is None
        process.kill()


# a state directory


def test_a_persistent_controller_s_networks_stay(tmp_path: Path) -> None:
    """Networks and sandboxes outlive their controller and its process, and the next one has the same; the helper ends with the last."""
    program = (
        "import sys\nfrom libnetwork_py import NetworkController\n"
        "with NetworkController(sys.argv[1], config={'privilege': 'user'}) as controller:\n"
        "    box = controller.create_sandbox('web')\n"
        "    box.connect(controller.create_network('front'))\n"
        "    print(box.key)\n"
    )
    running = keepers()
    key = python(program, tmp_path / "state").stdout.strip()
    (left,) = keepers() - running
    assert key == f"/proc/{left}/root/run/netns/web"
    with NetworkController(tmp_path / "state", config=USER) as controller:
        assert controller.sandbox("web").key == key
        assert not controller.reconcile(repair=False)
        assert pings(controller.sandbox("web"), controller.network("front").gateways[0])
        controller.sandbox("web").delete()
        controller.network("front").delete()
    machine.wait_until(lambda: not keepers() - running, "the helper to end")


def test_two_processes_share_a_state_directory(tmp_path: Path) -> None:
    """Two processes with one state directory have one host: what one made, the other reaches."""
    program = (
        "import sys\nfrom libnetwork_py import NetworkController\n"
        "with NetworkController(sys.argv[1], config={'privilege': 'user'}) as controller:\n"
        "    controller.create_sandbox('theirs').connect(controller.network('front'))\n"
    )
    with NetworkController(tmp_path / "state", config=USER) as controller:
        box = controller.create_sandbox("ours")
        box.connect(controller.create_network("front"))
        python(program, tmp_path / "state")
        theirs = controller.sandbox("theirs")
        with serving(of(theirs), 80):
            assert pings(box, address(theirs))
        for each in (box, theirs):
            each.delete()
        controller.network("front").delete()


def test_after_the_helper_was_killed_all_is_made_again(tmp_path: Path) -> None:
    """A persistent controller whose helper process was killed has its networks and sandboxes made again by the next start."""
    running = keepers()
    with NetworkController(tmp_path / "state", config=USER) as controller:
        box = controller.create_sandbox("web")
        box.connect(controller.create_network("front"))
        was = address(box)
    (left,) = keepers() - running
    os.kill(left, signal.SIGKILL)
    machine.wait_until(lambda: not keepers() - running, "the helper to be gone")
    with NetworkController(tmp_path / "state", config=USER) as controller:
        box = controller.sandbox("web")
        assert address(box) == was
        assert pings(box, controller.network("front").gateways[0])
        box.delete()
        controller.network("front").delete()
    machine.wait_until(lambda: not keepers() - running, "the helper to end")


def test_killed_while_it_tries_the_features(tmp_path: Path) -> None:
    """What a process that was killed had made for a moment does not keep the helper of a persistent controller for ever."""
    program = """
import sys, time
from libnetwork_py import ControllerConfig, NetworkController
from libnetwork_py.kernel import probe

def stop(*_):
    print("there", flush=True)
    time.sleep(60)

probe._open = stop
NetworkController(sys.argv[1], config=ControllerConfig(privilege="user")).info()
"""
    running = keepers()
    with started(program, str(tmp_path / "state")) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "there\n"
        process.kill()
    machine.wait_until(lambda: not keepers() - running, "the helper to end")


def test_many_controllers_leave_nothing_behind() -> None:
    """Ten controllers one after the other leave no process, descriptor or thread."""
    running, descriptors = keepers(), len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(10):
        with NetworkController.temporary(config=USER) as controller:
            controller.create_sandbox("box").connect(controller.create_network("front"))
    time.sleep(0.1)
    assert keepers() == running
    assert len(list(Path("/proc/self/fd").iterdir())) <= descriptors + 1


def test_the_helper_is_nobody_s_child(controller: NetworkController) -> None:
    """The helper process is no child of the caller's, so whoever reaps all children meets none of ours."""
    stat = Path(f"/proc/{helper(controller)}/stat").read_text()
    assert int(stat.rpartition(")")[2].split()[1]) != os.getpid()


@pytest.mark.skipif(not world.ROOT, reason="only root may choose between two privileges")
def test_root_s_own_privilege_is_the_default_for_root(host: str) -> None:
    """Root works with its own privilege unless it asks for a user namespace."""
    with NetworkController.temporary(host=host) as controller:
        assert controller.info().privilege == "root"
    with pytest.raises(InvalidParameter, match="auto, root or user"):
        NetworkController.temporary(host=host, config={"privilege": "none"})


@pytest.mark.skipif(world.ROOT, reason="root has the privilege")
def test_root_s_privilege_demanded_by_an_ordinary_user() -> None:
    """Who demands root's privilege and has not got it is told which capabilities are lacking."""
    with pytest.raises(Forbidden, match="CAP_NET_ADMIN and CAP_SYS_ADMIN") as caught:
        NetworkController.temporary(config={"privilege": "root"})
    assert caught.value.code == "no_privilege"


def test_a_program_of_its_own_reaches_published_ports(controller: NetworkController) -> None:
    """A published port answers from the controller's host, by its loopback and by TCP."""
    box = controller.create_sandbox("web")
    box.connect(controller.create_network("front"), ports=["8080:80"])
    host = controller.create_sandbox("host", netns="host")
    with serving(of(box), 80), host.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
        client.settimeout(5)
        client.connect(("127.0.0.1", 8080))
        assert client.recv(100)


def test_strange_environments(pair: tuple[Sandbox, Sandbox]) -> None:
    """A program gets exactly the environment that it is given, whatever that of the caller is."""
    given = {"A": "1"}
    shown = pair[0].run(["/usr/bin/env"], env=given, capture_output=True, text=True, check=True).stdout
    assert shown == "A=1\n"


def test_it_starts_as_a_subprocess_of_anything() -> None:
    """A caller without standard streams, in a directory that is gone, can open a controller."""
    program = (
        "import os, sys\n"
        "os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone')\n"
        "for fd in (0, 1, 2): os.close(fd)\n"
        "from libnetwork_py import NetworkController\n"
        "with NetworkController.temporary(config={'privilege': 'user'}) as controller:\n"
        "    code = controller.create_sandbox('box').run(['true'], cwd='/').returncode\n"
        "os._exit(code)\n"
    )
    where = os.environ.get("TMPDIR", "/tmp")  # noqa: S108 (the directory is made in there and gone)
    subprocess.run([sys.executable, "-c", program], cwd=where, check=True, timeout=30)
