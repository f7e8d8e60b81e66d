"""A program in a sandbox sees the sandbox's interfaces, ``/sys`` and files, and nobody else sees them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Thread, main_thread
from typing import Any

import pytest

from libnetwork_py.errors import InvalidParameter, NotFound
from libnetwork_py.kernel.opener import Opener
from libnetwork_py.kernel.processes import popen
from tests.root import kernel_lab, machine, world

Start = Callable[..., "subprocess.Popen[Any]"]


@pytest.fixture
def opener() -> Iterator[Opener]:
    """Starts processes, its host being the machine's own namespace."""
    with kernel_lab.opener() as some:
        yield some


@pytest.fixture
def box() -> Iterator[str]:
    """A namespace with a bridge in it."""
    path = machine.new_namespace("box")
    machine.ip("link", "add", "inside0", "type", "bridge", namespace=path)
    yield path
    machine.drop_namespace(path)


@pytest.fixture
def files(tmp_path: Path) -> Mapping[str, str]:
    """An ``/etc/hosts`` of its own."""
    (tmp_path / "hosts").write_text("192.0.2.1 own\n")
    return {"/etc/hosts": str(tmp_path / "hosts")}


def here() -> list[Path]:
    """The namespaces of the calling thread."""
    return [Path(f"/proc/thread-self/ns/{kind}").readlink() for kind in ("net", "mnt")]


def entries(directory: str) -> list[str]:
    """The names in a directory, as ``ls`` sorts them."""
    return sorted(path.name for path in Path(directory).iterdir())


def output(process: subprocess.Popen[Any]) -> str:
    """What a process prints, once it has ended well."""
    text: str = process.communicate(timeout=120)[0]
    assert process.returncode == 0, text
    return text


def shell(opener: Opener, path: str, command: str, files: Mapping[str, str], **options: Any) -> str:
    """What a shell prints inside."""
    options = {"stdout": subprocess.PIPE, "text": True, **options}
    return output(popen(opener, path, ["sh", "-c", command], files, **options))


def test_a_program_sees_its_namespace_everywhere(opener: Opener, box: str, files: Mapping[str, str]) -> None:
    """``/sys/class/net``, ``/proc/net`` and ``/proc/sys/net`` show the interfaces of the namespace and no others."""
    expected = sorted(machine.links(box))
    assert shell(opener, box, "ls /sys/class/net", files).split() == expected
    assert sorted(shell(opener, box, "tail -n +3 /proc/net/dev | cut -d: -f1", files).split()) == expected
    assert "inside0" in shell(opener, box, "ls /proc/sys/net/ipv4/conf", files).split()


def test_files_are_its_own(opener: Opener, box: str, files: Mapping[str, str]) -> None:
    """The program and its children read the given file; this machine's file and mounts are as before."""
    hosts, mounts = Path("/etc/hosts").read_bytes(), Path("/proc/self/mountinfo").read_bytes()
    with popen(opener, box, ["sh", "-c", "sh -c 'cat /etc/hosts'; read end"], files, stdin=-1, stdout=-1) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"192.0.2.1 own\n"
        assert Path("/etc/hosts").read_bytes() == hosts
        assert Path("/proc/self/mountinfo").read_bytes() == mounts
        process.communicate(b"\n")


def test_a_running_program_sees_what_is_written_into_a_source(
    opener: Opener, box: str, files: Mapping[str, str]
) -> None:
    """A source that is rewritten in place is seen anew; one that is replaced keeps its old content for who runs already."""
    source = Path(files["/etc/hosts"])
    script = "while read line; do x=$(cat /etc/hosts); echo $x; done"
    with popen(opener, box, ["sh", "-c", script], files, stdin=-1, stdout=-1, text=True, bufsize=1) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        process.stdin.write("\n")
        assert process.stdout.readline() == "192.0.2.1 own\n"
        source.write_text("192.0.2.2 written\n")
        process.stdin.write("\n")
        assert process.stdout.readline() == "192.0.2.2 written\n"
        source.with_name("new").write_text("192.0.2.3 replaced\n")
        source.with_name("new").rename(source)
        process.stdin.write("\n")
        assert process.stdout.readline() == "192.0.2.2 written\n"
    assert shell(opener, box, "cat /etc/hosts", files) == "192.0.2.3 replaced\n"


def test_what_does_not_exist_is_passed_over(opener: Opener, box: str, files: Mapping[str, str]) -> None:
    """A missing source leaves the machine's file, a missing target is no error."""
    more = {**files, "/etc/passwd": "/nonexistent/source", "/nonexistent/target": files["/etc/hosts"]}
    assert shell(opener, box, "cat /etc/passwd /etc/hosts", more) == f"{Path('/etc/passwd').read_text()}192.0.2.1 own\n"


def test_what_cannot_be_mounted_is_an_error(opener: Opener, box: str, files: Mapping[str, str]) -> None:
    """A file over a directory is refused by name, and no process is started."""
    with pytest.raises(InvalidParameter, match=r"hosts on /etc\b"):
        popen(opener, box, ["true"], {"/etc": files["/etc/hosts"]})


def test_the_cgroups_stay_in_sight(opener: Opener, box: str, files: Mapping[str, str]) -> None:
    """The new ``/sys`` still has the control groups, where the machine has them."""
    assert shell(opener, box, "ls /sys/fs/cgroup", files).split() == entries("/sys/fs/cgroup")


@pytest.mark.parametrize("own_files", [True, False])
def test_the_host_s_own_namespace(opener: Opener, files: Mapping[str, str], own_files: bool) -> None:
    """A program in the host's namespace, when that is ours, sees the machine's interfaces, with or without files of its own."""
    given = files if own_files else {}
    host = "/proc/thread-self/ns/net" if world.ROOT else f"/proc/{world.PID}/ns/net"
    assert shell(opener, "", "readlink /proc/self/ns/net", given).strip() == str(Path(host).readlink())
    assert shell(opener, "", "ls /sys/class/net", given).split() == sorted(machine.links(host))
    assert (shell(opener, "", "cat /etc/hosts", given) == "192.0.2.1 own\n") == own_files


def test_the_host_s_namespace_may_be_another(box: str, files: Mapping[str, str]) -> None:
    """Where another namespace plays the host, a program there sees that one's interfaces and ``/sys``."""
    with kernel_lab.opener(box) as some:
        assert shell(some, "", "ls /sys/class/net", {}).split() == sorted(machine.links(box))


# options


@pytest.mark.parametrize(
    ("command", "options", "printed"),
    [
        ("pwd", {"cwd": "/var"}, "/var"),
        ("umask", {"umask": 0o27}, "0027"),
        ("echo $COLOUR", {"env": {"COLOUR": "red"}}, "red"),
        ("id -u; id -g", {"user": 65534, "group": 65534}, "65534\n65534"),
        ("[ $(ps -o sid= -p $$) = $$ ] && echo leader", {"start_new_session": True}, "leader"),
        ("[ $(ps -o pgid= -p $$) = $$ ] && echo leader", {"process_group": 0}, "leader"),
        ("echo wrong >&2", {"stderr": subprocess.STDOUT}, "wrong"),
    ],
)
def test_options_are_those_of_popen(
    opener: Opener, box: str, files: Mapping[str, str], command: str, options: dict[str, Any], printed: str
) -> None:
    """Working directory, umask, environment, user, session and streams are as `subprocess.Popen` has them."""
    assert shell(opener, box, command, files, **options).strip() == printed


def test_the_working_directory_is_the_caller_s(
    opener: Opener, box: str, files: Mapping[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without ``cwd`` a program starts where the caller is, and the caller stays there."""
    monkeypatch.chdir(tmp_path)
    assert shell(opener, box, "pwd; cat hosts", files) == f"{tmp_path}\n192.0.2.1 own\n"
    assert Path.cwd() == tmp_path


def test_text_and_pipes_and_shell(opener: Opener, box: str, files: Mapping[str, str]) -> None:
    """A shell line with pipes in text mode gets its input and gives its output."""
    with popen(opener, box, "tr a-z A-Z", files, shell=True, text=True, stdin=-1, stdout=-1) as process:  # noqa: S604
        assert process.communicate("quiet\n") == ("QUIET\n", None)


def test_descriptors_are_passed_on_and_no_others(opener: Opener, box: str, files: Mapping[str, str]) -> None:
    """A program has its three streams and what ``pass_fds`` names, and none of ours."""
    reader, writer = os.pipe()
    printed = shell(opener, box, f"echo hello >/proc/$$/fd/{writer}; ls /proc/$$/fd", files, pass_fds=[writer])
    assert os.read(reader, 100) == b"hello\n"
    assert set(printed.split()) <= {"0", "1", "2", str(writer)}
    os.close(reader)
    os.close(writer)


def test_preexec_fn_is_refused(opener: Opener, box: str) -> None:
    """``preexec_fn`` is refused with what to use instead."""
    with pytest.raises(InvalidParameter, match="start_new_session"):
        popen(opener, box, ["true"], {}, preexec_fn=os.getpid)


# failure


@pytest.mark.parametrize(
    ("argv", "options"),
    [(["/nonexistent"], {}), (["/etc/passwd"], {}), (["true"], {"cwd": "/nonexistent"}), (["true"], {"bufsize": "no"})],
)
def test_failures_are_those_of_popen(
    opener: Opener, box: str, files: Mapping[str, str], argv: list[str], options: dict[str, Any]
) -> None:
    """A program that cannot be started raises what `subprocess.Popen` raises, and no descriptor stays open."""
    with pytest.raises((OSError, TypeError)) as plain:
        subprocess.Popen(argv, **options)
    before = entries("/proc/self/fd")
    with pytest.raises(type(plain.value)) as ours:
        popen(opener, box, argv, files, **options)
    assert ours.value.args == plain.value.args
    assert getattr(ours.value, "filename", None) == getattr(plain.value, "filename", None)
    assert entries("/proc/self/fd") == before


def test_a_namespace_that_is_gone(opener: Opener) -> None:
    """A path where no namespace is gives `NotFound`."""
    with pytest.raises(NotFound):
        popen(opener, "/run/netns/nonexistent", ["true"], {})


# life and death


def test_it_is_a_child_like_any_other(opener: Opener, box: str, files: Mapping[str, str]) -> None:
    """It can be signalled, polled and waited for, its parent is this process, and nothing is left of it."""
    process = popen(opener, box, ["sleep", "100"], files)
    stat = Path(f"/proc/{process.pid}/status").read_text()
    assert f"PPid:\t{os.getpid()}\n" in stat
    assert process.poll() is None
    process.terminate()
    assert process.wait(10) == -signal.SIGTERM
    assert not Path(f"/proc/{process.pid}").exists()


def test_a_running_program_holds_no_other_namespace(opener: Opener, box: str, files: Mapping[str, str]) -> None:
    """A namespace deleted while a program runs in another one disappears from that program's mounts too."""
    other = machine.new_namespace("other")
    with popen(opener, box, ["sh", "-c", "echo; read end"], files, stdin=-1, stdout=-1) as process:
        mounts = Path(f"/proc/{process.pid}/mountinfo")
        assert process.stdout is not None
        process.stdout.readline()
        assert (other in mounts.read_text()) == world.ROOT  # without root it never had it: its mounts are the caller's
        machine.drop_namespace(other)
        assert other not in mounts.read_text()
        process.communicate(b"\n")


def test_many_at_once_from_many_threads(opener: Opener, files: Mapping[str, str]) -> None:
    """Two hundred programs started by eight threads, beside a busy one, are each in the namespace they were meant for."""
    boxes = [machine.new_namespace(f"box{number}") for number in range(4)]
    inode = {path: Path(path).stat().st_ino for path in boxes}
    stop = Event()

    def busy() -> None:
        while not stop.is_set():
            sum(range(1000))

    def start(number: int) -> bool:
        path = boxes[number % 4]
        printed = shell(opener, path, "readlink /proc/self/ns/net; cat /etc/hosts", files)
        return printed == f"net:[{inode[path]}]\n192.0.2.1 own\n"

    thread = Thread(target=busy)
    thread.start()
    try:
        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(start, range(200)))
    finally:
        stop.set()
        thread.join()
        for path in boxes:
            machine.drop_namespace(path)


def test_the_calling_thread_stays_where_it_is(opener: Opener, box: str, files: Mapping[str, str]) -> None:
    """The caller's network and mount namespaces are the same afterwards."""
    where = here()
    shell(opener, box, "true", files)
    assert here() == where


@pytest.mark.parametrize("before", [True, False])
def test_an_interrupted_start_leaves_no_process(opener: Opener, box: str, before: bool) -> None:
    """Ctrl-C while a program is being started kills and reaps it, whether it had begun yet or not."""
    from libnetwork_py.kernel.processes import _Start

    given_up = Event()
    started: list[subprocess.Popen[bytes]] = []

    def interrupt() -> None:
        signal.pthread_kill(main_thread().ident or 0, signal.SIGINT)
        given_up.wait(10)

    def start() -> subprocess.Popen[bytes]:
        if before:
            interrupt()
        started.append(popen(opener, box, [sys.executable, "-c", "import time; time.sleep(100)"], {}))
        if not before:
            interrupt()
        return started[0]

    with pytest.raises(KeyboardInterrupt):
        _Start(start).wait()
    given_up.set()
    machine.wait_until(lambda: started and started[0].returncode is not None, "the process to be reaped")
    assert started[0].returncode == -signal.SIGKILL
