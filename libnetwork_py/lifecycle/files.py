"""A sandbox's ``hosts`` and ``resolv.conf``, where ``ip netns exec`` looks for them: ``/etc/netns/NAME/``.

Where that is the machine's, ``NAME`` is a link to a folder in memory: on a disk where files come and go all the time (ext4 looks
through all that went in the last minutes), making a folder and two files took longer than the kernel does for the sandbox's interface,
and none of it need outlast the machine's next start.
Without root they are kept with the controller's records.

What is there under the name of an adopted namespace belongs to whoever made that: its sandbox has a folder of its own.

They are written when the sandbox gets a name service, or when a process is first started inside, follow the records from then on, and are
removed with the sandbox. A file that somebody changed is left alone: ours carry a digest of what we wrote, as an extended attribute;
on a file system that has none, what differs from all that this process wrote counts as somebody else's.

May import: lifecycle.state, desired, sandbox.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from ..desired import HOST
from ..sandbox import SandboxRecord
from .state import Record

DIRECTORY = Path("/etc/netns")
BEHIND = Path("/run/libnetwork_py-netns"), Path("/dev/shm/libnetwork_py-netns")  # noqa: S108 (`_is_ours` looks whose it is)
"""Where folders are in memory: the first that is, and that is nobody else's; ``/run`` is on the disk on some machines."""
NAMES = ("hosts", "resolv.conf")
ATTRIBUTES = ("user.libnetwork_py", "trusted.libnetwork_py")
"""Extended attribute with the digest of what was written; file systems in memory have none of users' before Linux 6.6, but root's."""


def can_be_written() -> bool:
    """Return whether files can be made in `DIRECTORY`; not so on a system that is read only, or that is somebody else's."""
    there = next(each for each in (DIRECTORY, *DIRECTORY.parents) if each.exists())
    return os.access(there, os.W_OK)


def in_memory() -> Path | None:
    """Return which of `BEHIND` can be used, making it if it is not there; ``None``: neither."""
    return next((each for each in BEHIND if _is_in_memory(each.parent) and _is_ours(each)), None)


def _is_in_memory(directory: Path) -> bool:
    try:
        device = directory.stat().st_dev
        number = f"{os.major(device)}:{os.minor(device)}"
        with Path("/proc/self/mountinfo").open() as mounts:  # proc(5); every sandbox has lines in it, but after these
            kinds = (line.partition(" - ")[2] for line in mounts if line.split(" ", 3)[2] == number)
            return next(kinds, "").split(" ", 1)[0] in {"tmpfs", "ramfs"}
    except OSError:
        return False


def _is_ours(directory: Path) -> bool:
    """Anybody may make things in ``/dev/shm``, but not in a directory of ours there."""
    try:
        with suppress(FileExistsError):
            directory.mkdir(mode=0o755)
        found = directory.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o022


class Files:
    """Writes the two files of each sandbox.

    Args:
        directory: Where each sandbox has a folder.
        contents: Says what they hold: hosts, resolv.conf.
        behind: Where the folders are, if ``directory`` is to have links to them alone.
    """

    def __init__(
        self, directory: Path, contents: Callable[[SandboxRecord], tuple[str, str]], behind: Path | None = None
    ) -> None:
        self._directory = str(directory)
        self._behind = behind and str(behind)
        self._contents = contents
        self._written: dict[str, int] = {}

    def texts(self, record: SandboxRecord) -> tuple[str, str]:
        """Return what ``hosts`` and ``resolv.conf`` hold, written or not."""
        folder = Path(self._folder(record))
        found = []
        for name, text in zip(NAMES, self._contents(record), strict=True):
            try:
                found.append((folder / name).read_text())
            except OSError:
                found.append(text)
        return found[0], found[1]

    def write(self, record: SandboxRecord) -> Mapping[str, str]:
        """Write what is missing and return target path → source path for the process to be started."""
        folder = self._folder(record)
        if not all(os.path.exists(f"{folder}/{name}") for name in NAMES):  # noqa: PTH110 (before every process)
            self.renew(record, make=True)
        return {f"/etc/{name}": f"{folder}/{name}" for name in NAMES}

    def renew(self, record: SandboxRecord, *, make: bool) -> None:
        """Write the files again after records changed, those that nobody else changed.

        Args:
            record: The sandbox.
            make: Write also those that are not there.
        """
        folder = self._folder(record)
        made = make and self._make(folder)
        if not make and not os.path.isdir(folder):  # noqa: PTH112 (with every operation)
            return
        for name, text in zip(NAMES, self._contents(record), strict=True):
            path, wanted = f"{folder}/{name}", text.encode()
            if not made or not self._create(path, wanted):
                self._renew(path, wanted, make=make)

    def left(self, record: Record | None) -> bool:
        """Return whether a record has files."""
        return isinstance(record, SandboxRecord) and record.key != HOST and os.path.lexists(self._folder(record))

    def remove(self, record: Record | None) -> None:
        """Remove a sandbox's files."""
        if not isinstance(record, SandboxRecord) or record.key == HOST:
            return
        folder = self._folder(record)
        for name in NAMES:
            with suppress(OSError):
                os.unlink(f"{folder}/{name}")  # noqa: PTH108 (a thousand in a row)
                self._written.pop(f"{folder}/{name}", None)
        with suppress(OSError):
            if self._behind and self._is_link(folder):
                with suppress(FileNotFoundError):
                    os.rmdir(self._target(folder))  # noqa: PTH106
                os.unlink(folder)  # noqa: PTH108 (last: whoever finds no link has nothing left to remove)
            else:
                os.rmdir(folder)  # noqa: PTH106

    def _make(self, folder: str) -> bool:
        """Make a folder if it is not there; return whether it was made."""
        try:
            if self._behind:
                os.symlink(self._target(folder), folder)  # noqa: PTH211
            else:
                os.mkdir(folder)  # noqa: PTH102 (with every first join)
        except FileExistsError:
            if not self._behind or not self._is_link(folder):
                return False
        except FileNotFoundError:
            os.makedirs(self._directory, exist_ok=True)  # noqa: PTH103
            return self._make(folder)
        return not self._behind or _made(self._target(folder))

    def _is_link(self, folder: str) -> bool:
        """Return whether a folder is a link of ours."""
        try:
            return os.readlink(folder) == self._target(folder)  # noqa: PTH115
        except OSError:
            return False

    def _target(self, folder: str) -> str:
        return f"{self._behind}/{folder.rpartition('/')[2]}"

    def _folder(self, record: SandboxRecord) -> str:
        """Text: with every operation, and a `Path` takes ten times as long."""
        return f"{self._directory}/{record.key.rpartition('/')[2] if record.owned else f'sandbox-{record.id[:12]}'}"

    def _create(self, path: str, wanted: bytes) -> bool:
        """Write a file that is not there yet."""
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        except FileExistsError:
            return False
        try:
            os.write(fd, wanted)
            self._mark(fd, path, wanted)
        finally:
            os.close(fd)
        return True

    def _renew(self, path: str, wanted: bytes, *, make: bool) -> None:
        """Write in place, not beside and over it: programs that run see the file that they started with."""
        flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            fd = os.open(path, flags | os.O_CREAT if make else flags, 0o644)
        except OSError:  # not there; or a link or worse that somebody put in its place
            return
        with open(fd, "r+b") as file:  # noqa: PTH123 (a descriptor)
            found = file.read()
            if found == wanted and found:
                self._mark(fd, path, wanted)
            elif not found or self._is_ours(fd, path, found):
                file.seek(0)
                file.write(wanted)
                file.truncate()
                file.flush()
                self._mark(fd, path, wanted)

    def _is_ours(self, fd: int, path: str, found: bytes) -> bool:
        digest = _digest(found)
        if self._written.get(path) == _short(digest):
            return True
        return any(_attribute(fd, name) == digest.encode() for name in ATTRIBUTES)

    def _mark(self, fd: int, path: str, text: bytes) -> None:
        digest = _digest(text)
        self._written[path] = _short(digest)
        for name in ATTRIBUTES:
            with suppress(OSError):  # not every file system has them
                os.setxattr(fd, name, digest.encode())
                return


def _made(folder: str) -> bool:
    """Make a folder in memory, or return ``False``."""
    try:
        os.mkdir(folder)  # noqa: PTH102 (with every first join)
    except FileExistsError:
        return False
    except FileNotFoundError:
        os.makedirs(folder, exist_ok=True)  # noqa: PTH103
    return True


def _attribute(fd: int, name: str) -> bytes:
    try:
        return os.getxattr(fd, name)
    except OSError:
        return b""


def _short(digest: str) -> int:
    """What is kept of a digest, of thousands: 64 bits."""
    return int(digest[:16], 16)


def _digest(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()
