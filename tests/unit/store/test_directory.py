from __future__ import annotations

import os
import shlex
import signal
import stat
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from libnetwork_py.errors import Conflict, Forbidden, Unavailable
from libnetwork_py.store import directory, owners
from libnetwork_py.store.directory import (
    adopt,
    dead_temporaries,
    default_directory,
    open_directory,
    temporary_directory,
)
from libnetwork_py.store.sqlite import SqliteStore
from tests.unit.store.process import ended, finished, heard, started

NOBODY = 65534
needs_chown = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")

needs_user_namespaces = pytest.mark.skipif(
    subprocess.run(["unshare", "--user", "true"], capture_output=True, check=False).returncode != 0,
    reason="this machine gives no user namespaces",
)


def refused(path: Path, part: Path | None = None) -> Forbidden:
    """Return the error for an unsafe directory; it names the part that makes it so."""
    with pytest.raises(Forbidden) as caught:
        open_directory(path)
    assert caught.value.code == "unsafe_state_directory"
    assert caught.value.part == str(part or path)
    return caught.value


def obey(error: Forbidden) -> None:
    """Run the command that a message recommends."""
    assert error.command in str(error)
    subprocess.run(shlex.split(error.command), check=True)


class TestDefault:
    def test_root(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Root's state is where the system's variable state is."""
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        assert default_directory() == Path("/var/lib/libnetwork_py")

    def test_users(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Another user's is where the XDG specification puts it; a relative ``XDG_STATE_HOME`` does not count."""
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        monkeypatch.setenv("HOME", "/home/ann")
        monkeypatch.delenv("XDG_STATE_HOME", raising=False)
        assert default_directory() == Path("/home/ann/.local/state/libnetwork_py")
        monkeypatch.setenv("XDG_STATE_HOME", "/srv/state")
        assert default_directory() == Path("/srv/state/libnetwork_py")
        monkeypatch.setenv("XDG_STATE_HOME", "state")
        assert default_directory() == Path("/home/ann/.local/state/libnetwork_py")


class TestOpening:
    def test_a_missing_directory_is_made_for_us_alone(self, tmp_path: Path) -> None:
        """A directory that is not there is made with all above it, for nobody but us, even under a permissive umask."""
        previous = os.umask(0)
        try:
            assert open_directory(tmp_path / "a/b") == tmp_path / "a/b"
        finally:
            os.umask(previous)
        assert [stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "a", tmp_path / "a/b")] == [0o700, 0o700]

    def test_text_and_relative_paths(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A path may be text, and relative; the result is absolute."""
        monkeypatch.chdir(tmp_path)
        assert open_directory("state") == tmp_path / "state"

    def test_our_directory_is_opened_again(self, tmp_path: Path) -> None:
        """A directory with a store in it is opened, also with other files beside it."""
        SqliteStore(open_directory(tmp_path / "state")).close()
        (tmp_path / "state/notes.txt").write_text("mine")
        assert open_directory(tmp_path / "state") == tmp_path / "state"

    def test_something_elses_directory(self, tmp_path: Path) -> None:
        """A directory that holds files, and none of ours, is not taken over."""
        (tmp_path / "thesis.tex").write_text("...")
        with pytest.raises(Conflict, match=r"not our state directory: it holds thesis\.tex") as caught:
            open_directory(tmp_path)
        assert caught.value.code == "not_our_state_directory"

    def test_a_file(self, tmp_path: Path) -> None:
        """A file is no directory, and neither is what is below one."""
        (tmp_path / "file").touch()
        assert "is not a directory" in str(refused(tmp_path / "file"))
        with pytest.raises((Forbidden, Unavailable)):
            open_directory(tmp_path / "file/below")

    def test_a_link_in_a_circle(self, tmp_path: Path) -> None:
        """Links that lead nowhere are an error of ours."""
        (tmp_path / "a").symlink_to(tmp_path / "a")
        (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
        for name in ("a", "dangling"):
            with pytest.raises((Forbidden, Unavailable)):
                open_directory(tmp_path / name)


class TestSafety:
    @pytest.mark.parametrize("mode", [0o770, 0o702, 0o777, 0o1777])
    def test_others_may_write(self, tmp_path: Path, mode: int) -> None:
        """A directory that others can write to is refused, and what the message recommends makes it good."""
        path = tmp_path / "my state"
        path.mkdir()
        path.chmod(mode)
        obey(refused(path))
        assert open_directory(path) == path

    def test_others_may_read(self, tmp_path: Path) -> None:
        """That others can look into the directory is no reason to refuse it; the files in it are closed to them."""
        tmp_path.chmod(0o755)
        assert open_directory(tmp_path) == tmp_path

    @needs_chown
    def test_it_belongs_to_somebody_else(self, tmp_path: Path) -> None:
        """Another user's directory is refused, and what the message recommends makes it good."""
        path = tmp_path / "state"
        path.mkdir(0o700)
        os.chown(path, NOBODY, NOBODY)
        error = refused(path)
        assert f"belongs to user {NOBODY}" in str(error)
        obey(error)
        assert open_directory(path) == path

    def test_others_may_replace_it(self, tmp_path: Path) -> None:
        """A directory above it that others can write to is refused, unless it is sticky like ``/tmp``."""
        above = tmp_path / "above"
        (above / "state").mkdir(parents=True, mode=0o700)
        above.chmod(0o777)
        error = refused(above / "state", above)
        above.chmod(0o1777)
        assert open_directory(above / "state") == above / "state"
        above.chmod(0o777)
        obey(error)
        assert open_directory(above / "state") == above / "state"

    @needs_chown
    def test_somebody_elses_directory_above_it(self, tmp_path: Path) -> None:
        """A directory above it that belongs to neither us nor root is refused."""
        above = tmp_path / "above"
        (above / "state").mkdir(parents=True, mode=0o700)
        os.chown(above, NOBODY, NOBODY)
        obey(refused(above / "state", above))
        assert open_directory(above / "state") == above / "state"

    def test_our_own_link(self, tmp_path: Path) -> None:
        """A symbolic link of ours to a safe directory will do, and to an unsafe one will not."""
        target, link = tmp_path / "target", tmp_path / "link"
        target.mkdir(mode=0o700)
        link.symlink_to(target)
        assert open_directory(link) == link
        target.chmod(0o777)
        refused(link, target)

    @needs_chown
    def test_somebody_elses_link(self, tmp_path: Path) -> None:
        """A symbolic link that another user made is refused, wherever it points and however it is reached."""
        (tmp_path / "target/state").mkdir(parents=True, mode=0o700)
        theirs, ours = tmp_path / "theirs", tmp_path / "ours"
        theirs.symlink_to(tmp_path / "target")
        os.chown(theirs, NOBODY, NOBODY, follow_symlinks=False)
        ours.symlink_to(theirs)
        for path in (theirs, theirs / "state", ours, ours / "state"):
            refused(path, theirs)


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put temporary directories below this test's, where the scripts put theirs too."""
    monkeypatch.setattr(directory, "_bases", lambda: iter([tmp_path / "libnetwork_py"]))
    return tmp_path / "libnetwork_py"


BASE = "directory._bases = lambda: iter([path / 'libnetwork_py'])\n"
LIVE = BASE + "made = directory.temporary_directory()\nsay(made.path)\nsys.stdin.read()\n"


@pytest.fixture
def dead(base: Path) -> Path:
    """Return the temporary directory of a process that was killed."""
    with started(LIVE, base.parent) as process:
        return Path(heard(process))


class TestBases:
    def test_places(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Root's temporary directories are in ``/run``, a user's in the runtime directory, or else beside the temporary files."""
        monkeypatch.setattr("tempfile.tempdir", "/t")
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        assert next(directory._bases()) == Path("/run/libnetwork_py")
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1000")
        assert list(directory._bases()) == [Path("/run/user/1000/libnetwork_py"), Path("/t/libnetwork_py-1000")]
        monkeypatch.delenv("XDG_RUNTIME_DIR")
        assert list(directory._bases()) == [Path("/t/libnetwork_py-1000")]

    def test_an_unsafe_place_is_passed_over(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """If the better place is not safe, the next one is taken; if none is, that is an error."""
        better, last = tmp_path / "better", tmp_path / "last"
        better.mkdir()
        better.chmod(0o777)
        monkeypatch.setattr(directory, "_bases", lambda: iter([better, last]))
        with temporary_directory() as made:
            assert made.path.parent == last
        assert dead_temporaries() == []
        last.chmod(0o777)
        with pytest.raises(Forbidden):
            temporary_directory()


class TestTemporary:
    def test_it_is_there_and_then_gone(self, base: Path) -> None:
        """A temporary directory is empty but for its lock, for us alone, takes a store, and goes with all that is in it."""
        with temporary_directory() as made:
            assert made.path == base / made.name
            assert stat.S_IMODE(made.path.stat().st_mode) == 0o700
            SqliteStore(open_directory(made.path)).close()
            assert dead_temporaries() == []
        assert not made.path.exists()
        made.remove()

    def test_two_are_two(self, base: Path) -> None:
        """Each call makes another one."""
        with temporary_directory() as one, temporary_directory() as other:
            assert one.path != other.path

    def test_a_living_process(self, base: Path) -> None:
        """Another process's directory is not dead while that process lives, and is when it was killed."""
        with started(LIVE, base.parent) as process:
            path = Path(heard(process))
            assert dead_temporaries() == []
            assert adopt(path) is None
            process.kill()
            process.wait()
            assert dead_temporaries() == [path]

    def test_a_dead_one_is_taken_over_once(self, dead: Path) -> None:
        """Who takes over a dead directory has it for himself, finds what was in it, and removes it."""
        assert dead_temporaries() == [dead]
        heir = adopt(dead)
        assert heir is not None
        assert heir.path == dead
        assert adopt(dead) is None
        assert dead_temporaries() == []
        heir.remove()
        assert not dead.exists()
        assert adopt(dead) is None

    def test_processes_that_take_over_at_once(self, base: Path, dead: Path) -> None:
        """Of several processes that take over at the same time one gets the directory."""
        script = BASE + (
            "say('ready')\nsys.stdin.readline()\n"
            f"made = directory.adopt(Path({str(dead)!r}))\nsay(made is not None)\nsys.stdin.read()\n"
        )
        with ExitStack() as stack:
            processes = [stack.enter_context(started(script, base.parent)) for _ in range(4)]
            assert [heard(process) for process in processes] == ["ready"] * 4
            for process in processes:
                assert process.stdin is not None
                process.stdin.write("\n")
                process.stdin.flush()
            assert sorted(heard(process) for process in processes) == ["False", "False", "False", "True"]

    def test_a_process_that_died_while_making_or_removing_one(self, base: Path, dead: Path) -> None:
        """A directory without its lock file is dead too: nobody is making or removing it any more."""
        (dead / "alive").unlink()
        assert dead_temporaries() == [dead]

    def test_what_is_not_ours_is_left_alone(self, base: Path, dead: Path) -> None:
        """Other names in the same place are not temporary directories."""
        (base / "netns").mkdir()
        (base / "0123456789abcdef").touch()
        assert dead_temporaries() == [dead]

    def test_nothing_dead_where_nothing_is(self, base: Path) -> None:
        """Before the first temporary directory there is none to be dead, and looking makes nothing."""
        assert dead_temporaries() == []
        assert not base.exists()

    def test_never_dead_while_being_made_or_removed(self, base: Path) -> None:
        """Processes that make and remove directories all the time are never seen dead by one that looks all the time."""
        script = BASE + (
            "say('ready')\nsys.stdin.read()\nfor _ in range(100):\n    with directory.temporary_directory():\n        pass\n"
        )
        watch = BASE + (
            "say('ready')\nseen = 0\nwhile seen < 300 and not (path / 'stop').exists():\n"
            "    assert directory.dead_temporaries() == []\n    seen += 1\nsay(seen)\n"
        )
        with ExitStack() as stack:
            makers = [stack.enter_context(started(script, base.parent)) for _ in range(2)]
            watcher = stack.enter_context(started(watch, base.parent))
            assert [heard(process) for process in (*makers, watcher)] == ["ready"] * 3
            assert ended(makers) == [0, 0]
            (base.parent / "stop").touch()
            assert int(heard(watcher)) > 0
            assert watcher.wait(50) == 0
        assert [path.name for path in base.iterdir()] == ["lock"]

    def test_a_forked_child(self, base: Path) -> None:
        """A child that outlives its parent does not keep the parent's directory alive, and does not remove it either."""
        script = BASE + (
            "made = directory.temporary_directory()\n"
            "running = os.pipe()\n"
            "child = os.fork()\n"
            "if child:\n    os.read(running[0], 1)\n    say(child, made.path)\n"
            "    sys.stdin.read()\n    os.kill(os.getpid(), signal.SIGKILL)\n"
            "made.remove()\nos.write(running[1], b'x')\ntime.sleep(30)\n"
        )
        with started(script, base.parent) as process:
            child, path = heard(process).split()
            try:
                assert dead_temporaries() == []
                ended([process])
                assert dead_temporaries() == [Path(path)]
            finally:
                os.kill(int(child), signal.SIGKILL)

    def test_a_program_that_was_started(self, base: Path) -> None:
        """A program that outlives the process that started it does not keep its directory alive."""
        script = BASE + (
            "import subprocess\nmade = directory.temporary_directory()\n"
            "child = subprocess.Popen(['sleep', '30'], stdout=subprocess.DEVNULL, close_fds=False)\n"
            "say(child.pid, made.path)\nos.kill(os.getpid(), signal.SIGKILL)\n"
        )
        status, said = finished(script, base.parent)
        child, path = said.split()
        try:
            assert status == -signal.SIGKILL
            assert dead_temporaries() == [Path(path)]
        finally:
            os.kill(int(child), signal.SIGKILL)


class TestUserNamespaces:
    @pytest.mark.parametrize(
        ("uid", "ranges", "trusted"),
        [
            (65534, "0 1000 1", True),
            (65534, "0 1000 1\n1 100000 65536", False),
            (65534, "0 0 4294967295", False),
            (1001, "0 1000 1", False),
            (0, "0 1000 1", True),
        ],
    )
    def test_who_has_no_number_counts_as_root(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uid: int, ranges: str, trusted: bool
    ) -> None:
        """The owner that stands for all who have no number is trusted where that number is nobody's, as the machine's root has it."""
        (tmp_path / "uid_map").write_text(f"{ranges}\n")
        monkeypatch.setattr(owners, "_MAP", tmp_path / "uid_map")
        assert owners.is_trusted(uid) == trusted

    @needs_user_namespaces
    def test_in_a_user_namespace(self, tmp_path: Path) -> None:
        """Whoever is root in a user namespace alone has a state directory of its own, below its home, and may use one below ``/tmp``."""
        program = (
            "import sys; from libnetwork_py.store.directory import default_directory, open_directory;"
            "print(default_directory(), open_directory(sys.argv[1]))"
        )
        argv = ["unshare", "--user", "--map-root-user", sys.executable, "-c", program, str(tmp_path / "state")]
        environment = {**os.environ, "XDG_STATE_HOME": "/somewhere"}
        said = subprocess.run(argv, check=True, capture_output=True, text=True, env=environment).stdout
        expected = "/var/lib" if os.geteuid() == 0 else "/somewhere"  # root's only number is root's own
        assert said == f"{expected}/libnetwork_py {tmp_path / 'state'}\n"
