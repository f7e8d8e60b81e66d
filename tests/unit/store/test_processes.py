"""Several real processes on one state directory."""

from __future__ import annotations

import os
import signal
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from libnetwork_py.errors import Unavailable
from libnetwork_py.store.api import Write
from libnetwork_py.store.sqlite import SqliteStore
from tests.unit.store.process import ended, finished, heard, started

COUNT = """
store = SqliteStore(path)
say("ready")
sys.stdin.read()
done = 0
while done < 500:
    (item,) = store.items("n")
    try:
        store.commit([Write("n", str(int(item.document) + 1).encode(), item.revision)], [b"step"])
        done += 1
    except Conflict:
        pass
"""

DIE = """
store = SqliteStore(path)
store.commit([Write("old", b"old"), Write("gone", b"old")])
def die(now):
    if now == "WHERE":
        os.kill(os.getpid(), signal.SIGKILL)
sqlite.checkpoint = die
store.commit([Write("old", b"new"), Write("gone", None), *(Write(f"n{i}", b"x" * 500) for i in range(500))], [b"event"])
"""

WRITE_PAIRS = """
store = SqliteStore(path)
say("ready")
number = 0
while True:
    number += 1
    document = str(number).encode()
    store.commit([Write(f"k{i}", document) for i in range(40)], [document])
"""

MAKE = """
calls = 0
def count(frame, event, argument):
    global calls
    if event == "c_call" and frame.f_code.co_filename == sqlite.database.__file__:
        calls += 1
        if calls == STEP:
            os.kill(os.getpid(), signal.SIGKILL)
sys.setprofile(count)
SqliteStore(path)
"""

HOLD = """
store = SqliteStore(path)
with store.exclusive(5):
    say("held")
    sys.stdin.read()
"""


class TestContention:
    def test_no_update_is_lost(self, tmp_path: Path) -> None:
        """Four processes that each add 500 to one number, by expected revision and again after a `Conflict`, make 2,000."""
        store = SqliteStore(tmp_path)
        store.commit([Write("n", b"0")])
        with ExitStack() as stack:
            processes = [stack.enter_context(started(COUNT, tmp_path)) for _ in range(4)]
            assert [heard(process) for process in processes] == ["ready"] * 4
            assert ended(processes) == [0] * 4
        assert store.items()[0].document == b"2000"
        assert len(store.events(0, limit=5000)) == 2000
        assert store.revision() == 2001
        store.close()

    def test_processes_that_make_the_store_at_once(self, tmp_path: Path) -> None:
        """Several processes that open an empty directory at the same time all get the same store."""
        script = "say('ready')\nsys.stdin.read()\nstore = SqliteStore(path)\nstore.commit([Write(str(os.getpid()), b'here')])\n"
        with ExitStack() as stack:
            processes = [stack.enter_context(started(script, tmp_path)) for _ in range(4)]
            assert [heard(process) for process in processes] == ["ready"] * 4
            assert ended(processes) == [0] * 4
            pids = {str(process.pid) for process in processes}
        store = SqliteStore(tmp_path)
        assert {item.key for item in store.items()} == pids
        store.close()

    def test_the_message_names_the_holder(self, tmp_path: Path) -> None:
        """Who cannot get the store is told the process id of its holder; once that process is killed the store is free."""
        store = SqliteStore(tmp_path)
        with started(HOLD, tmp_path) as process:
            assert heard(process) == "held"
            with pytest.raises(Unavailable, match=f"process {process.pid}") as caught, store.exclusive(0.05):
                pass
            assert (caught.value.code, caught.value.holder) == ("locked", process.pid)
            process.kill()
            with store.exclusive(10):
                pass
        store.close()


class TestDeath:
    @pytest.mark.parametrize("where", ["before commit", "after commit"])
    def test_a_process_killed_at_a_commit(self, tmp_path: Path, where: str) -> None:
        """A process killed right before its commit has changed nothing, right after it everything."""
        status, _ = finished(DIE.replace("WHERE", where), tmp_path)
        assert status == -signal.SIGKILL
        store = SqliteStore(tmp_path)
        keys = {item.key: item.document for item in store.items()}
        if where == "before commit":
            assert keys == {"old": b"old", "gone": b"old"}
            assert (store.revision(), store.events(0)) == (1, ())
        else:
            assert len(keys) == 501
            assert keys["old"] == b"new"
            assert (store.revision(), len(store.events(0))) == (2, 1)
        store.commit([Write("more", b"1")])
        store.close()

    def test_a_process_killed_anywhere(self, tmp_path: Path) -> None:
        """However a writing process is killed, the items of its last commit agree with each other and with the events."""
        for pause in range(8):
            directory = tmp_path / str(pause)
            directory.mkdir()
            with started(WRITE_PAIRS, directory) as process:
                assert heard(process) == "ready"
                time.sleep(pause / 200)
                process.kill()
            store = SqliteStore(directory)
            items = store.items()
            events = store.events(max(store.revision() - 1, 0))
            assert len(items) in {0, 40}
            assert {item.document for item in items} == {document for _, document in events}
            assert {item.revision for item in items} <= {store.revision()}
            store.close()

    def test_a_process_killed_while_it_makes_the_store(self, tmp_path: Path) -> None:
        """A process killed at any system or library call of making the file leaves a directory that the next one opens."""
        status, step = -signal.SIGKILL, 1
        while status == -signal.SIGKILL:
            directory = tmp_path / str(step)
            directory.mkdir()
            status, _ = finished(MAKE.replace("STEP", str(step)), directory)
            store = SqliteStore(directory)
            store.commit([Write("a", b"1")])
            store.close()
            step += 1
        assert status == 0
        assert step > 20


class TestFork:
    def test_parent_and_child_use_the_store(self, tmp_path: Path) -> None:
        """After a fork both processes commit to the store they have, see each other's commits, and neither closes the other's."""
        script = """
store = SqliteStore(path)
store.commit([Write("before", b"1")])
ready, go = os.pipe(), os.pipe()
child = os.fork()
if not child:
    assert store.revision() == 1
    store.commit([Write("child", b"1")])
    os.write(ready[1], b"x")
    os.read(go[0], 1)
    assert {item.key for item in store.items()} == {"before", "child", "parent"}
    store.close()
    sys.exit(7)
os.read(ready[0], 1)
assert {item.key for item in store.items()} == {"before", "child"}
store.commit([Write("parent", b"1")])
os.write(go[1], b"x")
_, status = os.waitpid(child, 0)
store.commit([Write("after", b"1")])
say(os.waitstatus_to_exitcode(status), len(store.items()), store.revision())
"""
        assert finished(script, tmp_path) == (0, "7 4 4\n")

    def test_a_child_outlives_its_parents_store(self, tmp_path: Path) -> None:
        """What a child commits is kept although its parent closed the store in the meantime."""
        script = """
store = SqliteStore(path)
store.commit([Write("before", b"1")])
closed = os.pipe()
child = os.fork()
if not child:
    store.commit([Write("early", b"1")])
    os.read(closed[0], 1)
    store.commit([Write("late", b"1")])
    os._exit(0)
while not store.items("early"):
    time.sleep(0.001)
store.close()
os.write(closed[1], b"x")
os.waitpid(child, 0)
"""
        assert finished(script, tmp_path) == (0, "")
        store = SqliteStore(tmp_path)
        assert [item.key for item in store.items()] == ["before", "early", "late"]
        store.close()

    def test_a_child_does_not_keep_its_parents_lock(self, tmp_path: Path) -> None:
        """A parent that dies inside `exclusive` frees the store although a forked child of it lives on."""
        script = """
store = SqliteStore(path)
running = os.pipe()
with store.exclusive(5):
    child = os.fork()
    if child:
        os.read(running[0], 1)
        say(child)
        os.kill(os.getpid(), signal.SIGKILL)
    os.write(running[1], b"x")
    time.sleep(30)
"""
        store = SqliteStore(tmp_path)
        with started(script, tmp_path) as process:
            child = int(heard(process))
            process.wait(10)
            try:
                with store.exclusive(0):
                    pass
            finally:
                os.kill(child, signal.SIGKILL)
        store.close()

    def test_a_child_waits_for_its_parents_lock(self, tmp_path: Path) -> None:
        """A child forked inside `exclusive` does not hold the store, and leaving the block in the child does not free it."""
        script = """
store = SqliteStore(path)
with store.exclusive(5):
    child = os.fork()
    if child:
        os.waitpid(child, 0)
if not child:
    try:
        with store.exclusive(0.01):
            say("entered")
    except Unavailable as error:
        say(error.holder == os.getppid())
"""
        assert finished(script, tmp_path) == (0, "True\n")

    def test_a_fork_waits_for_a_commit_of_another_thread(self, tmp_path: Path) -> None:
        """Children forked while other threads commit have a sound store each time."""
        script = """
import threading
store = SqliteStore(path)
stop = threading.Event()
def write():
    while not stop.is_set():
        store.commit([Write("thread", b"1")])
thread = threading.Thread(target=write)
thread.start()
for number in range(20):
    child = os.fork()
    if not child:
        store.commit([Write(f"child{number}", b"1")])
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
stop.set()
thread.join()
say(len(store.items("child")))
"""
        assert finished(script, tmp_path) == (0, "20\n")

    def test_a_child_forked_in_the_middle_of_a_commit(self, tmp_path: Path) -> None:
        """A fork from inside a commit leaves the parent's commit whole; the child is told that it cannot use that store."""
        script = """
store = SqliteStore(path)
def fork(now):
    if now == "before commit":
        sqlite.checkpoint = lambda now: None
        if not os.fork():
            try:
                store.items()
            except Unavailable as error:
                os._exit(11 if error.code == "store_closed" else 12)
        say(os.waitstatus_to_exitcode(os.wait()[1]))
sqlite.checkpoint = fork
store.commit([Write("a", b"1")])
say(len(store.items()))
"""
        assert finished(script, tmp_path) == (0, "11\n1\n")
