"""Namespaces: made, named, found, entered, from any thread, loop and process."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from libnetwork_py.desired import HOST, Bridge, Namespace, Sysctl
from libnetwork_py.errors import Conflict, InvalidParameter, NotFound
from libnetwork_py.kernel import procfs
from libnetwork_py.kernel.linux import LinuxKernel
from libnetwork_py.kernel.namespaces import read_sysctl, write_sysctls
from libnetwork_py.types import MacAddress
from tests.root import machine
from tests.root.firewall_lab import inside
from tests.root.kernel_lab import kernel, making, names, path, removing

MAC = MacAddress("02:42:0a:09:ff:02")


@pytest.fixture
def ours(host: str) -> Iterator[LinuxKernel]:
    """A kernel over a host of its own."""
    with kernel(host) as opened:
        yield opened


@pytest.fixture
def where(ours: LinuxKernel) -> Iterator[str]:
    """A namespace made by the kernel layer."""
    where = path()
    with names(where):
        ours.apply(making(Namespace(where)))
        yield where


def inode(where: str) -> int:
    """What tells a namespace from another."""
    return Path(where).stat().st_ino


def my_namespace() -> int:
    """The calling thread's."""
    return inode("/proc/thread-self/ns/net")


def test_ip_netns_knows_it(where: str) -> None:
    """A namespace of ours is listed by ``ip netns`` and entered by ``ip netns exec``, its loopback up."""
    name = Path(where).name
    assert name in machine.run("ip", "netns", "list").stdout
    (lo,) = [link for link in machine.run("ip", "netns", "exec", name, "ip", "-o", "link").stdout.splitlines() if link]
    assert "LOOPBACK,UP" in lo


def test_its_own_settings_are_set_from_birth(ours: LinuxKernel, host: str) -> None:
    """Settings without an interface are written inside the new namespace and nowhere else."""
    where = path()
    with names(where):
        ours.apply(making(Namespace(where), Sysctl(where, "ipv4.ip_default_ttl", "33")))
        assert machine.sysctl("ipv4/ip_default_ttl", where) == "33"
        assert machine.sysctl("ipv4/ip_default_ttl", host) != "33"


def test_a_taken_name_is_a_conflict_and_stays(ours: LinuxKernel, where: str) -> None:
    """Making a namespace whose name exists fails, and the one that was there is untouched."""
    before = inode(where)
    with pytest.raises(Conflict, match=where):
        ours.apply(making(Namespace(where)))
    assert inode(where) == before


def test_a_setting_that_does_not_exist_undoes_the_namespace(ours: LinuxKernel) -> None:
    """If a setting cannot be written, no namespace is left."""
    where = path()
    with pytest.raises(NotFound, match="no_such_setting"):
        ours.apply(making(Namespace(where), Sysctl(where, "ipv4.no_such_setting", "1")))
    assert not Path(where).exists()


def test_it_is_removed_with_its_name(ours: LinuxKernel, where: str) -> None:
    """Removing a namespace removes its name; doing it again is no error."""
    ours.apply(removing(Namespace(where)))
    assert not Path(where).exists()
    ours.apply(removing(Namespace(where)))


def test_no_socket_keeps_it_alive(ours: LinuxKernel, where: str) -> None:
    """After a change the process holds no descriptor of the sandbox."""
    ours.facts([where])
    held = [str(each.readlink()) for each in Path("/proc/self/fd").iterdir() if each.is_symlink()]
    assert f"net:[{inode(where)}]" not in held


def test_a_function_is_called_inside(ours: LinuxKernel, where: str, host: str) -> None:
    """`call` runs inside on another thread, passes arguments and the result, and the caller stays where it is."""
    before = my_namespace()
    assert ours.call(where, my_namespace) == inode(where)
    assert ours.call(HOST, my_namespace) == inode(host)
    assert ours.call(where, "{0}-{a}".format, 1, a=2) == "1-2"
    assert my_namespace() == before


def test_its_error_is_the_callers(ours: LinuxKernel, where: str) -> None:
    """What the function raises reaches the caller, and the next call works."""
    with pytest.raises(ZeroDivisionError):
        ours.call(where, lambda: 1 / 0)
    assert ours.call(where, my_namespace) == inode(where)


def test_a_function_may_call_the_kernel_again(ours: LinuxKernel, where: str, host: str) -> None:
    """A function called inside may use the same kernel, even change things, without a deadlock."""

    def work() -> tuple[int, int]:
        ours.apply(making(Bridge(HOST, "again", MAC)))
        return ours.call(HOST, my_namespace), my_namespace()

    assert ours.call(where, work) == (inode(host), inode(where))
    assert "again" in machine.links(host)


def test_a_blocking_function_holds_up_nobody(ours: LinuxKernel, where: str) -> None:
    """While one function waits inside, others run inside too."""
    release = threading.Event()
    waiting = threading.Thread(target=lambda: ours.call(where, release.wait))
    waiting.start()
    try:
        assert ours.call(where, my_namespace) == inode(where)
        assert ours.facts([where]).namespaces[where].links["lo"].up
    finally:
        release.set()
        waiting.join()


def test_a_socket_belongs_to_the_namespace(ours: LinuxKernel, where: str) -> None:
    """A socket opened inside sees the namespace's interfaces from any thread: what listens there is not heard here."""
    with ours.socket(where, socket.AF_INET, socket.SOCK_STREAM) as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        with ours.socket(where, socket.AF_INET, socket.SOCK_STREAM) as client:
            client.connect(server.getsockname())
        with socket.socket() as stranger:
            assert stranger.connect_ex(server.getsockname()) != 0


def test_a_thread_enters_and_comes_back(ours: LinuxKernel, where: str) -> None:
    """`entered` moves the calling thread only, and back even after an error."""
    before = my_namespace()
    seen = 0

    def enter() -> None:
        nonlocal seen
        with ours.entered(where):
            seen = my_namespace()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        enter()
    assert seen == inode(where)
    assert my_namespace() == before


def test_it_works_in_a_running_event_loop(ours: LinuxKernel, host: str) -> None:
    """A change can be made from a coroutine and from `asyncio.to_thread`."""

    async def main() -> None:
        ours.apply(making(Bridge(HOST, "loop0", MAC)))
        await asyncio.to_thread(ours.apply, making(Bridge(HOST, "loop1", MAC)))

    asyncio.run(main())
    assert {"loop0", "loop1"} <= set(machine.links(host))


def test_many_threads_use_one_kernel(ours: LinuxKernel, host: str) -> None:
    """Changes from eight threads at once are all made."""
    changes = [making(Bridge(HOST, f"many{number}", MAC)) for number in range(8)]
    threads = [threading.Thread(target=ours.apply, args=(change,)) for change in changes]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert {f"many{number}" for number in range(8)} <= set(machine.links(host))


def test_it_works_in_a_child_process(ours: LinuxKernel, where: str, host: str) -> None:
    """After a fork both parent and child go on using the same object."""
    ours.apply(making(Bridge(HOST, "parent0", MAC)))
    child = os.fork()
    if not child:
        status = 1
        try:
            ours.apply(making(Bridge(HOST, "child0", MAC)))
            status = 0 if ours.call(where, my_namespace) == inode(where) else 2
        finally:
            os._exit(status)
    ours.apply(making(Bridge(HOST, "parent1", MAC)))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert {"parent0", "child0", "parent1"} <= set(machine.links(host))


def test_a_namespace_is_found_by_path(ours: LinuxKernel, where: str) -> None:
    """A path of a namespace is returned as it is; what is something else or nothing is refused."""
    assert ours.find_namespace(where) == where
    with pytest.raises(InvalidParameter, match="no network namespace"):
        ours.find_namespace("/proc/self/ns/mnt")
    with pytest.raises(InvalidParameter, match="no network namespace"):
        ours.find_namespace("/etc/hostname")
    with pytest.raises(NotFound, match="no-such-namespace"):
        ours.find_namespace("/run/netns/no-such-namespace")


def test_a_namespace_is_found_by_pid(ours: LinuxKernel, where: str) -> None:
    """A process's namespace is found under its name if it has one, else through the process; a pid that is gone is `NotFound`."""
    inside = subprocess.Popen(["nsenter", f"--net={where}", "sleep", "60"])
    alone = subprocess.Popen(["unshare", "-n", "sleep", "60"])
    try:
        machine.wait_until(lambda: inode(f"/proc/{inside.pid}/ns/net") == inode(where), "nsenter")
        machine.wait_until(lambda: inode(f"/proc/{alone.pid}/ns/net") != my_namespace(), "unshare")
        assert ours.find_namespace(inside.pid) == where
        found = ours.find_namespace(alone.pid)
        assert inode(found) == inode(f"/proc/{alone.pid}/ns/net")
    finally:
        for each in (inside, alone):
            each.kill()
            each.wait()
    with pytest.raises(NotFound, match=str(alone.pid)):
        ours.find_namespace(alone.pid)


def test_a_free_name_is_chosen(ours: LinuxKernel, where: str) -> None:
    """The plain name if nobody has it, else the one with the suffix."""
    name = Path(where).name
    assert ours.free_namespace(f"{name}-free", "id") == f"{where}-free"
    assert ours.free_namespace(name, "id") == f"{where}-id"


def test_names_are_chosen_one_at_a_time(ours: LinuxKernel, host: str) -> None:
    """While one holds the lock of names, another kernel waits for it; the holder may make namespaces."""
    entered = threading.Event()

    def other() -> None:
        with kernel(host) as second, second.naming():
            entered.set()

    where = path()
    thread = threading.Thread(target=other)
    with names(where):
        with ours.naming():
            thread.start()
            ours.apply(making(Namespace(where)))
            time.sleep(0.1)
            assert not entered.is_set()
        thread.join()
    assert entered.is_set()


def test_a_host_that_is_no_namespace_is_refused() -> None:
    """The path of the host's namespace is checked at once."""
    with pytest.raises(InvalidParameter):
        LinuxKernel("/etc/hostname")
    with pytest.raises(NotFound):
        LinuxKernel("/run/netns/no-such-namespace")


def test_without_privilege_it_says_what_is_needed() -> None:
    """A process without the capabilities that demands root's privilege is refused at once, with their names."""
    program = (
        "import sys; from libnetwork_py.kernel.linux import LinuxKernel\n"
        "from libnetwork_py.errors import Forbidden\n"
        "try: LinuxKernel(privilege='root')\n"
        "except Forbidden as error: print(error)\n"
    )
    done = machine.run("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin", sys.executable, "-c", program)
    assert "CAP_NET_ADMIN" in done.stdout


def test_closing_gives_everything_back(host: str) -> None:
    """After `close` neither threads nor descriptors of the kernel are left."""
    threads, descriptors = threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        with kernel(host) as opened:
            opened.facts()
            opened.call(HOST, my_namespace)
    machine.wait_until(lambda: threading.active_count() <= threads, "threads to end")
    assert len(list(Path("/proc/self/fd").iterdir())) <= descriptors


@pytest.mark.parametrize("allowed", [True, False], ids=["instances", "no instances"])
def test_settings_after_many(host: str, allowed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The setting written is that of the calling thread's namespace, however many were written before, and no descriptor stays open."""

    def refuse() -> int:
        raise PermissionError

    monkeypatch.setattr(procfs, "_works", True)
    if not allowed:
        monkeypatch.setattr(procfs, "_mounted", refuse)
    before, own = len([*Path("/proc/self/fd").iterdir()]), machine.sysctl("ipv4/ip_default_ttl")
    for number in range(1, 3 * procfs.USES):
        inside(host, lambda value=str(number): write_sysctls([("ipv4/ip_default_ttl", value)]))  # type: ignore[misc]
        if number % procfs.USES in {0, 1}:
            assert machine.sysctl("ipv4/ip_default_ttl", host) == str(number)
            assert inside(host, lambda: read_sysctl("ipv4/ip_default_ttl")) == str(number)
    assert machine.sysctl("ipv4/ip_default_ttl") == own
    assert len([*Path("/proc/self/fd").iterdir()]) <= before + 1
