from __future__ import annotations

import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from libnetwork_py.errors import Unavailable
from libnetwork_py.store import database
from libnetwork_py.store import sqlite as module
from libnetwork_py.store.api import Item, Store, Write
from libnetwork_py.store.sqlite import SqliteStore
from libnetwork_py.testing.store_suite import StoreContract


class TestSqliteStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store]:
        store = SqliteStore(tmp_path)
        yield store
        store.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return the file of a store that was closed and holds enough items for several pages."""
    store = SqliteStore(tmp_path)
    store.commit([Write(f"network/{number:04}", b"x" * 300) for number in range(200)], [b"event"])
    store.close()
    return tmp_path / "state.db"


def refused(directory: Path) -> Unavailable:
    """Return the error that opening a directory raises, after checking that the file was left alone."""
    path = directory / "state.db"
    before = path.read_bytes()
    with pytest.raises(Unavailable, match=r"state\.db") as caught:
        SqliteStore(directory)
    assert path.read_bytes() == before
    return caught.value


class TestSeveralStores:
    def test_another_store_sees_what_was_committed(self, tmp_path: Path) -> None:
        """Two stores of one directory see each other's commits, revisions and events at once."""
        one, other = SqliteStore(tmp_path), SqliteStore(tmp_path)
        revision = one.commit([Write("a", b"1")], [b"event"])
        assert other.revision() == revision
        assert other.items() == (Item("a", b"1", revision),)
        assert [document for _, document in other.events(0)] == [b"event"]
        later = other.commit([Write("a", None)])
        assert one.revision() == later
        assert one.changes(revision).deleted == ("a",)
        one.close()
        other.close()

    def test_a_later_store_has_everything(self, file: Path) -> None:
        """What was committed is there when the directory is opened again."""
        store = SqliteStore(file.parent)
        assert len(store.items()) == 200
        assert store.revision() == 1
        store.close()

    def test_two_stores_of_a_process_exclude_each_other(self, tmp_path: Path) -> None:
        """A second store of the same process waits for the first one's holder, and the message says who it is."""
        one, other = SqliteStore(tmp_path), SqliteStore(tmp_path)
        with (
            one.exclusive(1),
            pytest.raises(Unavailable, match="another thread of this process"),
            other.exclusive(0.01),
        ):
            pass
        with other.exclusive(0):
            pass
        one.close()
        other.close()

    def test_a_removed_lock_file_excludes_nobody_twice(self, tmp_path: Path) -> None:
        """If somebody removes the lock file, the next holders agree on the new one."""
        one, other = SqliteStore(tmp_path), SqliteStore(tmp_path)
        with one.exclusive(0), other._file_lock.path.open():
            pass
        (tmp_path / "lock").unlink()
        with one.exclusive(0), pytest.raises(Unavailable), other.exclusive(0):
            pass
        one.close()
        other.close()


class TestFiles:
    def test_files_are_for_their_owner_only(self, tmp_path: Path) -> None:
        """Every file of a store has mode 0600."""
        store = SqliteStore(tmp_path)
        with store.exclusive(1):
            store.commit([Write("a", b"1")])
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
        store.close()
        assert modes == dict.fromkeys(("state.db", "state.db-wal", "state.db-shm", "lock"), 0o600)

    def test_a_closed_store_leaves_no_log(self, file: Path) -> None:
        """After the last store was closed everything is in the one file."""
        assert {path.name for path in file.parent.iterdir()} == {"state.db", "lock"}

    def test_the_file_says_what_it_is(self, file: Path) -> None:
        """Application id and version are in SQLite's header, where other programs look for them."""
        assert file.read_bytes()[68:72] == database.APPLICATION_ID.to_bytes(4, "big")
        assert file.read_bytes()[60:64] == database.VERSION.to_bytes(4, "big")

    def test_what_a_dead_maker_left(self, tmp_path: Path) -> None:
        """The half-made file of a process that died while it made it is replaced."""
        (tmp_path / "state.db.new").write_bytes(b"SQLite form")
        store = SqliteStore(tmp_path)
        assert store.items() == ()
        store.close()
        assert not (tmp_path / "state.db.new").exists()

    def test_old_commits_are_forgotten(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The list of changed keys stays short; who is further behind is told to read everything again, others are not."""
        monkeypatch.setattr(module, "LOG_KEPT", 100)
        store = SqliteStore(tmp_path)
        for _ in range(600):
            store.commit([Write("a", b"1")])
        newest = store.revision()
        kept = store._run(lambda connection: connection.execute("SELECT count(*) FROM log").fetchone()[0])
        assert 50 <= kept <= 50 + 256
        assert not store.changes(1).complete
        assert store.changes(newest - 50).complete
        store.commit([Write(f"k{number}", b"1") for number in range(300)])
        assert store.changes(newest).complete
        assert not store.changes(newest - 1).complete
        store.close()


class TestDamage:
    @pytest.mark.parametrize(
        ("content", "why"),
        [
            (b"", "is empty"),
            (b"Dear diary, today I learnt about networks. " * 200, "not a database"),
            (b"SQLite format 3\0", "not a database"),
        ],
    )
    def test_a_file_that_is_no_database(self, tmp_path: Path, content: bytes, why: str) -> None:
        """A file that SQLite does not take, or would take for a new one, is an error and stays as it is."""
        (tmp_path / "state.db").write_bytes(content)
        error = refused(tmp_path)
        assert error.code == "store_damaged"
        assert why in str(error)

    def test_a_database_of_another_program(self, tmp_path: Path) -> None:
        """A sound database that is not ours is refused."""
        with sqlite3.connect(tmp_path / "state.db") as connection:
            connection.execute("CREATE TABLE cookies (name TEXT)")
        connection.close()
        error = refused(tmp_path)
        assert error.code == "store_damaged"
        assert "another program" in str(error)

    @pytest.mark.parametrize("size", [50, 100, 4096, 10_000, 40_960])
    def test_a_truncated_file(self, file: Path, size: int) -> None:
        """A file cut off anywhere is found when it is opened."""
        file.write_bytes(file.read_bytes()[:size])
        assert refused(file.parent).code == "store_damaged"

    def test_every_overwritten_page_is_found(self, file: Path) -> None:
        """A page full of rubbish is found when the file is opened, whichever page it is."""
        sound = file.read_bytes()
        for start in range(0, len(sound), 4096):
            file.write_bytes(sound[:start] + b"\xaa" * 4096 + sound[start + 4096 :])
            assert refused(file.parent).code == "store_damaged", f"page at {start}"

    def test_damage_while_it_is_open(self, file: Path) -> None:
        """Damage that happens to an open file is reported as such when it is read."""
        store = SqliteStore(file.parent)
        sound = file.read_bytes()
        file.write_bytes(sound[:4096] + b"\xaa" * (len(sound) - 4096))
        store._disconnect()
        with pytest.raises(Unavailable) as caught:
            store.items()
        assert caught.value.code == "store_damaged"
        store.close()

    def test_a_log_without_its_file(self, file: Path) -> None:
        """Where only the write-ahead log is left nothing is made over it."""
        log = file.with_name("state.db-wal")
        log.write_bytes(b"precious")
        file.unlink()
        with pytest.raises(Unavailable, match="missing") as caught:
            SqliteStore(file.parent)
        assert caught.value.code == "store_damaged"
        assert log.read_bytes() == b"precious"
        assert not file.exists()


class TestVersions:
    def test_a_newer_version(self, file: Path) -> None:
        """A file of a newer release is refused and left alone."""
        with sqlite3.connect(file) as connection:
            connection.execute(f"PRAGMA user_version = {database.VERSION + 1}")
        connection.close()
        error = refused(file.parent)
        assert (error.code, error.version) == ("schema_newer", database.VERSION + 1)

    def test_an_older_version_is_upgraded(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A file two versions older passes through both upgrades, keeps its items, and is of the current version afterwards."""
        monkeypatch.setattr(database, "VERSION", 3)
        monkeypatch.setitem(
            database.UPGRADES, 1, lambda connection: connection.execute("ALTER TABLE items ADD COLUMN one")
        )
        monkeypatch.setitem(
            database.UPGRADES, 2, lambda connection: connection.execute("ALTER TABLE items ADD COLUMN two")
        )
        store = SqliteStore(file.parent)
        assert len(store.items()) == 200
        columns = store._run(lambda connection: connection.execute("SELECT * FROM items LIMIT 0").description)
        assert [name for name, *_ in columns] == ["key", "document", "revision", "one", "two"]
        store.close()
        SqliteStore(file.parent).close()

    def test_an_upgrade_that_fails_changes_nothing(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """If a later upgrade fails, the earlier one is taken back too, and the release that made the file still reads it."""

        def fail(connection: sqlite3.Connection) -> None:
            connection.execute("DROP TABLE items")
            connection.execute("SELECT * FROM nowhere")

        with monkeypatch.context() as patch:
            patch.setattr(database, "VERSION", 3)
            patch.setitem(database.UPGRADES, 1, lambda connection: connection.execute("DELETE FROM items"))
            patch.setitem(database.UPGRADES, 2, fail)
            with pytest.raises(Unavailable):
                SqliteStore(file.parent)
        store = SqliteStore(file.parent)
        assert len(store.items()) == 200
        store.close()

    def test_a_version_that_never_was(self, file: Path) -> None:
        """A file of a version from which no upgrade leads is damaged."""
        with sqlite3.connect(file) as connection:
            connection.execute("PRAGMA user_version = -7")
        connection.close()
        assert refused(file.parent).code == "store_damaged"


class TestFailures:
    def test_a_full_file_system(self, tmp_path: Path) -> None:
        """When no page can be added, a commit says so, leaves nothing behind, and works again once there is room."""
        store = SqliteStore(tmp_path)
        store._run(lambda connection: connection.execute("PRAGMA max_page_count = 10"))
        with pytest.raises(Unavailable, match="free space") as caught:
            store.commit([Write("small", b"1"), Write("large", b"x" * 100_000)])
        assert caught.value.code == "store_full"
        assert store.items() == ()
        store._run(lambda connection: connection.execute("PRAGMA max_page_count = 1000"))
        store.commit([Write("large", b"x" * 100_000)])
        store.close()

    def test_a_read_only_store(self, tmp_path: Path) -> None:
        """A store that cannot be written says so, and still reads."""
        store = SqliteStore(tmp_path)
        store.commit([Write("a", b"1")])
        store._run(lambda connection: connection.execute("PRAGMA query_only = 1"))
        with pytest.raises(Unavailable, match="writable") as caught:
            store.commit([Write("a", b"2")])
        assert caught.value.code == "store_unwritable"
        assert len(store.items()) == 1
        store.close()

    def test_a_directory_that_is_not_there(self, tmp_path: Path) -> None:
        """A missing directory is an error, not made."""
        with pytest.raises(Unavailable) as caught:
            SqliteStore(tmp_path / "absent")
        assert caught.value.code == "store_unwritable"
        assert not (tmp_path / "absent").exists()

    @pytest.mark.parametrize("where", ["before commit", "after commit"])
    def test_an_interrupted_commit(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
        """Ctrl-C before the commit takes everything back, after it nothing; revision and items say which in both cases."""
        store = SqliteStore(tmp_path)
        store.commit([Write("a", b"1")])

        def interrupt(now: str) -> None:
            if now == where:
                raise KeyboardInterrupt

        monkeypatch.setattr(module, "checkpoint", interrupt)
        with pytest.raises(KeyboardInterrupt):
            store.commit([Write("b", b"1")])
        done = where == "after commit"
        assert len(store.items()) == (2 if done else 1)
        assert store.revision() == (2 if done else 1)
        monkeypatch.undo()
        assert store.commit([Write("c", b"1")]) == store.revision()
        store.close()
