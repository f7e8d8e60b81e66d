"""A sandbox's ``hosts`` and ``resolv.conf``, where ``ip netns exec`` looks for them: ``/etc/netns/NAME/``.

Without root they are kept with the controller's records.

What is there under the name of an adopted namespace belongs to whoever made that: its sandbox has a folder of its own.

They are written when a process is first started inside, and removed with the sandbox. A file that somebody changed is left alone.

May import: lifecycle.state, desired, sandbox.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from ..desired import HOST
from ..sandbox import SandboxRecord
from .state import Record

DIRECTORY = Path("/etc/netns")
HOST_RESOLV_CONF = Path("/etc/resolv.conf")
NAMES = ("hosts", "resolv.conf")


class Files:
    """Writes the two files of each sandbox.

    Args:
        directory: Where each sandbox has a folder.
    """

    def __init__(self, directory: Path = DIRECTORY) -> None:
        self._directory = directory
        self._written: dict[str, str] = {}

    def texts(self, record: SandboxRecord) -> tuple[str, str]:
        """Return what ``hosts`` and ``resolv.conf`` hold, written or not."""
        folder = self._folder(record)
        wanted = (_hosts(record), _resolv_conf(record))
        found = []
        for name, text in zip(NAMES, wanted, strict=True):
            try:
                found.append((folder / name).read_text())
            except OSError:
                found.append(text)
        return found[0], found[1]

    def write(self, record: SandboxRecord) -> Mapping[str, str]:
        """Write what is missing and return target path → source path for the process to be started."""
        folder = self._folder(record)
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in zip(NAMES, (_hosts(record), _resolv_conf(record)), strict=True):
            if not (folder / name).exists():
                self._put(folder / name, text)
        return {f"/etc/{name}": str(folder / name) for name in NAMES}

    def renew(self, record: SandboxRecord) -> None:
        """Write the files again after the sandbox's options changed; those that nobody else changed."""
        folder = self._folder(record)
        for name, text in zip(NAMES, (_hosts(record), _resolv_conf(record)), strict=True):
            with suppress(OSError):
                if _digest((folder / name).read_text()) == self._written.get(str(folder / name)):
                    self._put(folder / name, text)

    def left(self, record: Record | None) -> bool:
        """Return whether a record has files."""
        return isinstance(record, SandboxRecord) and record.key != HOST and self._folder(record).is_dir()

    def remove(self, record: Record | None) -> None:
        """Remove a sandbox's files."""
        if not isinstance(record, SandboxRecord) or record.key == HOST:
            return
        folder = self._folder(record)
        for name in NAMES:
            with suppress(OSError):
                (folder / name).unlink()
                self._written.pop(str(folder / name), None)
        with suppress(OSError):
            folder.rmdir()

    def _folder(self, record: SandboxRecord) -> Path:
        return self._directory / (Path(record.key).name if record.owned else f"sandbox-{record.id[:12]}")

    def _put(self, path: Path, text: str) -> None:
        path.write_text(text)
        self._written[str(path)] = _digest(text)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _hosts(record: SandboxRecord) -> str:
    full = f"{record.hostname}.{record.domainname} {record.hostname}" if record.domainname else record.hostname
    lines = ["127.0.0.1\tlocalhost", "::1\tlocalhost ip6-localhost ip6-loopback"]
    lines += [f"{address}\t{name}" for name, address in record.extra_hosts.items()]
    return "\n".join([*lines, f"127.0.1.1\t{full}"]) + "\n"


def _resolv_conf(record: SandboxRecord) -> str:
    if not (record.dns or record.dns_search or record.dns_options):
        try:
            return HOST_RESOLV_CONF.read_text()
        except OSError:
            return ""
    lines = [f"nameserver {each}" for each in record.dns]
    lines += [f"search {' '.join(record.dns_search)}"] if record.dns_search else []
    lines += [f"options {' '.join(record.dns_options)}"] if record.dns_options else []
    return "\n".join(lines) + "\n"
