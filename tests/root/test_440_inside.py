"""Working inside a sandbox: processes, functions, sockets; what they see; names, hosts and options that change."""

# ruff: noqa: PT012 (an error that leaves a whole block is what is tested)

from __future__ import annotations

import os
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from libnetwork_py import InvalidParameter, NetworkController, Sandbox
from tests.root import machine
from tests.root.api_lab import of, pings, serving


@pytest.fixture
def box(controller: NetworkController) -> Sandbox:
    """A sandbox on a network, with hosts and name servers of its own."""
    some = controller.create_sandbox(
        "inside", hostname="me", domainname="example", dns=["192.0.2.53"], dns_search=["example"], dns_options=["ndots:2"],
        extra_hosts={"printer": "192.0.2.9"},
    )  # fmt: skip
    some.connect(controller.create_network("front"))
    return some


def namespace() -> int:
    """The caller's network namespace."""
    return os.stat("/proc/thread-self/ns/net").st_ino  # noqa: PTH116


def output(box: Sandbox, *argv: str) -> str:
    """What a program inside prints."""
    done: subprocess.CompletedProcess[str] = box.run(
        list(argv), capture_output=True, text=True, check=True, timeout=120
    )
    return done.stdout


# processes


def test_a_process_sees_the_sandbox(box: Sandbox) -> None:
    """A process inside sees the sandbox's interfaces, its own /sys, its resolv.conf and its hosts."""
    assert sorted(output(box, "ls", "/sys/class/net").split()) == sorted(machine.links(box.key))
    conf = output(box, "cat", "/etc/resolv.conf")
    assert conf == box.resolv_conf
    assert conf.startswith("nameserver 127.0.0.11\nsearch example\noptions ndots:2\n")
    assert "# ExtServers: [192.0.2.53]" in conf
    hosts = output(box, "cat", "/etc/hosts")
    assert hosts == box.hosts
    assert "192.0.2.9\tprinter" in hosts
    assert "me.example me" in hosts
    assert output(box, "readlink", "/proc/self/ns/net").strip() == f"net:[{os.stat(box.key).st_ino}]"  # noqa: PTH116


def test_ip_netns_exec_sees_the_same_files(box: Sandbox) -> None:
    """After a process was started inside, `ip netns exec` shows the same resolv.conf and hosts; they go with the sandbox."""
    output(box, "true")
    name = Path(box.key).name
    assert (
        machine.run("ip", "netns", "exec", name, "cat", "/etc/resolv.conf", "/etc/hosts").stdout
        == box.resolv_conf + box.hosts
    )
    place = Path("/etc/netns", name).readlink()
    assert place.is_dir()
    box.delete()
    assert not Path("/etc/netns", name).is_symlink()
    assert not place.exists()


def test_the_caller_stays_where_it_is(box: Sandbox) -> None:
    """Whatever is run inside, the calling thread's namespace and its view of /sys and /etc are as before."""

    def view() -> tuple[object, ...]:
        mounts = (line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines())
        return (
            namespace(),
            sorted(each for each in mounts if each.startswith(("/sys", "/etc"))),
            Path("/etc/resolv.conf").read_text(),
        )

    before = view()
    output(box, "true")
    box.call(namespace)
    box.socket().close()
    with box.entered():
        assert namespace() == os.stat(box.key).st_ino  # noqa: PTH116
    assert view() == before


def test_run_is_subprocess_run(box: Sandbox) -> None:
    """Input, output, status, environment, directory, shell and time limit are as `subprocess.run` has them."""
    assert box.run(["cat"], input=b"text", capture_output=True, timeout=120).stdout == b"text"
    assert box.run("exit 3", shell=True, timeout=120).returncode == 3  # noqa: S604 (the option is what is tested)
    assert box.run(["pwd"], cwd="/usr", text=True, stdout=subprocess.PIPE, timeout=120).stdout == "/usr\n"
    assert output(box, "sh", "-c", "echo $0") == "sh\n"
    assert box.run(["env"], env={"A": "1"}, capture_output=True, text=True, timeout=120).stdout == "A=1\n"
    with pytest.raises(subprocess.CalledProcessError) as failed:
        box.run(["sh", "-c", "echo why >&2; exit 4"], check=True, capture_output=True, text=True, timeout=120)
    assert (failed.value.returncode, failed.value.stderr) == (4, "why\n")
    with pytest.raises(subprocess.TimeoutExpired):
        box.run(["sleep", "30"], timeout=0.05)
    with pytest.raises(FileNotFoundError):
        box.run(["no-such-program"])
    with pytest.raises(ValueError, match="capture_output"):
        box.run(["true"], capture_output=True, stdout=subprocess.PIPE)


def test_popen_is_subprocess_popen(box: Sandbox) -> None:
    """A process inside is an ordinary child: streams, poll, signals, wait; ``preexec_fn`` is refused."""
    with box.popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.poll() is None
        assert os.stat(f"/proc/{process.pid}/ns/net").st_ino == os.stat(box.key).st_ino  # noqa: PTH116
        process.terminate()
        assert process.wait(10) == -15
    with pytest.raises(InvalidParameter):
        box.popen(["true"], preexec_fn=os.getpid)


def test_a_sandbox_with_a_process_in_it_can_be_deleted(controller: NetworkController, box: Sandbox) -> None:
    """A process that still runs inside does not keep the sandbox's name, endpoint or address."""
    with box.popen(["sleep", "60"]) as process:
        box.delete()
        assert not Path(box.key).exists()
        assert controller.network("front").endpoints() == []
        again = controller.create_sandbox("inside")
        assert again.key == box.key
        assert str(again.connect(controller.network("front")).addresses[0]).endswith(".2")
        assert pings(again, controller.network("front").gateways[0])
        process.kill()


# functions and sockets


def test_call_and_entered(box: Sandbox) -> None:
    """A function runs inside with its arguments and result, its error comes back; a thread moves inside and home again, also by error."""
    assert box.call(lambda a, b=0: (a + b, namespace()), 1, b=2) == (3, os.stat(box.key).st_ino)  # noqa: PTH116
    with pytest.raises(ZeroDivisionError):
        box.call(lambda: 1 // 0)
    home = namespace()
    with pytest.raises(KeyError), box.entered():
        assert sorted(name for _, name in socket.if_nameindex()) == ["eth0", "lo"]
        raise KeyError
    assert namespace() == home
    assert box.call(box.call, lambda: 7) == 7


def test_entered_moves_one_thread_only(box: Sandbox) -> None:
    """While one thread is inside, another is not."""
    home, go, seen = namespace(), threading.Event(), list[int]()

    def look() -> None:
        go.wait(10)
        seen.append(namespace())

    other = threading.Thread(target=look)
    other.start()
    with box.entered():
        go.set()
        other.join(120)
    assert seen == [home] == [namespace()]


def test_sockets(controller: NetworkController, box: Sandbox) -> None:
    """A socket of the sandbox works from any thread, and one opened in a function or inside belongs to it too."""
    address = box.endpoints()[0].addresses[0]
    peer = controller.create_sandbox("peer")
    own = peer.connect(controller.network("front")).addresses[0]
    with serving(of(box), 80):
        makers: list[Callable[[], socket.socket]] = [
            peer.socket,
            lambda: peer.call(socket.socket),
            lambda: _entered(peer),
        ]
        for make in makers:
            with make() as sock:
                sock.settimeout(5)
                sock.connect((str(address), 80))
                assert sock.recv(99).decode() == str(own)
    with box.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw:
        assert raw.proto == socket.IPPROTO_ICMP


def _entered(box: Sandbox) -> socket.socket:
    with box.entered():
        return socket.socket()


# changes


def test_rename(controller: NetworkController, box: Sandbox) -> None:
    """A renamed sandbox is found by its new name alone; namespace, traffic and processes go on."""
    key = box.key
    with box.popen(["sleep", "60"]) as process:
        box.rename("renamed")
        assert (controller.sandbox("renamed"), box.name, box.key) == (box, "renamed", key)
        assert process.poll() is None
        process.kill()
    assert [each.name for each in controller.sandboxes()] == ["renamed"]
    controller.create_sandbox("inside")
    assert pings(box, box.gateway(4))


def test_refresh_and_add_host(box: Sandbox) -> None:
    """Changed options and added hosts are seen by the next process and by the ones that run."""
    with box.popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        box.add_host("scanner", "192.0.2.10")
        box.refresh(dns=["192.0.2.54"], sysctls={"net.ipv4.ip_unprivileged_port_start": "81"})
        inside = f"/proc/{running.pid}/root/etc"
        assert "192.0.2.10\tscanner" in Path(inside, "hosts").read_text()
        assert "# ExtServers: [192.0.2.54]" in Path(inside, "resolv.conf").read_text()
        running.kill()
    assert "192.0.2.9\tprinter" in output(box, "cat", "/etc/hosts")
    assert output(box, "cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start") == "81\n"
    assert "scanner" in box.hosts


def test_a_file_that_somebody_changed_is_left_alone(box: Sandbox) -> None:
    """What a user wrote into the sandbox's resolv.conf stays."""
    output(box, "true")
    path = Path("/etc/netns", Path(box.key).name, "resolv.conf")
    path.write_text("nameserver 192.0.2.99\n")
    box.refresh(dns=["192.0.2.54"])
    assert output(box, "cat", "/etc/resolv.conf") == "nameserver 192.0.2.99\n"


def test_many_at_once_inside(box: Sandbox) -> None:
    """Processes and functions run inside from many threads at once, each in the sandbox."""
    results: list[object] = []

    def work() -> None:
        results.append(box.call(namespace))
        results.append(int(output(box, "stat", "-Lc", "%i", "/proc/self/ns/net")))

    threads = [threading.Thread(target=work) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert results == [os.stat(box.key).st_ino] * 24  # noqa: PTH116
