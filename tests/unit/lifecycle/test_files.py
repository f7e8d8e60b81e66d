"""The two files of a sandbox, on the file system: folders that are links into memory, and what others have done to them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from libnetwork_py.lifecycle import files
from libnetwork_py.lifecycle.files import NAMES, Files
from libnetwork_py.sandbox import SandboxRecord

WEB = SandboxRecord("0123456789abcdef", "web", "/run/netns/web")


class Place:
    """Files whose contents are chosen, below a temporary directory."""

    def __init__(self, below: Path) -> None:
        self.directory, self.behind = below / "netns", below / "memory"
        self.contents: tuple[str, str] = "127.0.0.1 localhost\n", "nameserver 127.0.0.11\n"
        self.files = self.again()

    def again(self) -> Files:
        """Return what the next process has: it remembers nothing of what was written."""
        return Files(self.directory, lambda _: self.contents, self.behind)

    @property
    def folder(self) -> Path:
        """Where `ip netns exec` looks."""
        return self.directory / "web"

    def read(self) -> tuple[str, ...]:
        """Return what the files say."""
        return tuple((self.folder / name).read_text() for name in NAMES)

    def everything(self) -> list[Path]:
        """Return all that is there, links not followed."""
        return [each for top in (self.directory, self.behind) for each in top.rglob("*")]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Directories that do not exist yet."""
    return Place(tmp_path)


def test_the_folder_is_a_link_into_memory(place: Place) -> None:
    """Files are where they are looked for and really elsewhere, follow what is said in place, and all of it goes with the sandbox."""
    place.files.renew(WEB, make=True)
    assert place.read() == place.contents
    assert place.folder.readlink() == place.behind / "web"
    inode = (place.folder / "hosts").stat().st_ino
    place.contents = "10.1.0.2 web\n", "nameserver 127.0.0.11\n"
    place.again().renew(WEB, make=False)
    assert (place.read(), (place.folder / "hosts").stat().st_ino) == (place.contents, inode)
    assert place.files.left(WEB)
    place.files.remove(WEB)
    assert not place.files.left(WEB)
    assert place.everything() == []


def test_after_the_machine_was_started_again(place: Place) -> None:
    """What was in memory is gone: a link that leads nowhere is filled again, or removed."""
    place.files.renew(WEB, make=True)
    shutil.rmtree(place.behind)
    place.again().renew(WEB, make=False)
    assert place.everything() == [place.folder], "nobody asked for files"
    place.again().renew(WEB, make=True)
    assert place.read() == place.contents
    shutil.rmtree(place.behind)
    assert place.files.left(WEB)
    place.again().remove(WEB)
    assert place.everything() == []


@pytest.mark.parametrize("link", [True, False], ids=["into memory", "a folder"])
def test_what_somebody_changed(place: Place, link: bool) -> None:
    """A file that somebody wrote is left alone by the next process too, what is beside it stays with its folder, ours goes."""
    if not link:
        place.folder.mkdir(parents=True)
    place.files.renew(WEB, make=True)
    (place.folder / "hosts").write_text("192.0.2.1 mine\n")
    (place.folder / "nsswitch.conf").write_text("hosts: files\n")
    place.contents = "10.1.0.2 web\n", "nameserver 192.0.2.53\n"
    place.again().renew(WEB, make=True)
    assert place.read() == ("192.0.2.1 mine\n", "nameserver 192.0.2.53\n")
    assert place.folder.is_symlink() == link
    place.files.remove(WEB)
    assert [each.name for each in place.folder.iterdir()] == ["nsswitch.conf"]


def test_a_link_that_somebody_made(place: Place, tmp_path: Path) -> None:
    """A link of the user's is used and not removed."""
    own = tmp_path / "own"
    own.mkdir()
    place.directory.mkdir()
    place.folder.symlink_to(own)
    place.files.renew(WEB, make=True)
    assert sorted(each.name for each in own.iterdir()) == sorted(NAMES)
    place.files.remove(WEB)
    assert (place.folder.readlink(), list(own.iterdir())) == (own, [])


@pytest.fixture
def memory() -> Iterator[Path]:
    """A directory on a file system in memory."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        yield Path(directory)


@pytest.mark.parametrize("there", ["nothing", "ours", "writable by others", "a link", "a file"])
def test_a_place_in_memory(memory: Path, monkeypatch: pytest.MonkeyPatch, there: str) -> None:
    """The first place that is in memory is used, made if it is not there, unless somebody else could change what is in it."""
    place = memory / "netns"
    match there:
        case "ours" | "writable by others":
            place.mkdir()
            place.chmod(0o755 if there == "ours" else 0o777)
        case "a link":
            place.symlink_to(memory)
        case "a file":
            place.touch()
        case _:
            pass
    monkeypatch.setattr(files, "BEHIND", (Path("/proc/libnetwork_py-netns"), Path("/nowhere/at/all"), place))
    assert files.in_memory() == (place if there in {"nothing", "ours"} else None)
