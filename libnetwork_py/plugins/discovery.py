"""Where Docker's plug-ins are: sockets and specification files in the documented directories.

``NAME.sock`` in a socket directory wins; else ``NAME.spec``, one line with a URL, or ``NAME.json``, in a specification directory; each
also as ``NAME/NAME.…``. Format: Docker's "plugin discovery".

May import: config, errors.
"""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from attrs import field, frozen

from ..config import PLUGIN_SOCKETS, PLUGIN_SPECS
from ..errors import InvalidParameter, NotFound

SPEC_MAX = 1 << 16
"""Bytes of a specification file that are read."""


@frozen
class TlsFiles:
    """How to speak TLS: paths of PEM files. Without ``ca`` the server's certificate is not verified, as Docker does."""

    ca: str = ""
    certificate: str = ""
    key: str = ""
    verify: bool = True


@frozen
class PluginAddress:
    """Where a plug-in listens: ``path`` of a Unix socket, or ``host`` and ``port``. ``source``: the file that says so."""

    source: str
    path: str = ""
    host: str = ""
    port: int = 0
    tls: TlsFiles | None = None

    def __str__(self) -> str:
        return f"unix://{self.path}" if self.path else f"{'https' if self.tls else 'http'}://{self.host}:{self.port}"


@frozen
class Discovery:
    """Looks for plug-ins by name.

    Args:
        sockets: Directories of sockets.
        specs: Directories of specification files, the first has priority.
    """

    sockets: Sequence[Path] = field(default=PLUGIN_SOCKETS)
    specs: Sequence[Path] = field(default=PLUGIN_SPECS)

    def find(self, name: str) -> PluginAddress:
        """Return where the plug-in of a name listens.

        Raises:
            NotFound: there is no such file. InvalidParameter: the name or the file's content is malformed.
        """
        for path in self._candidates(_checked(name)):
            if path.suffix == ".sock":
                if _is_socket(path):
                    return PluginAddress(str(path), path=str(path))
            elif _is_file(path):
                return _from_spec(path) if path.suffix == ".spec" else _from_json(path)
        places = ", ".join(map(str, (*self.sockets, *self.specs)))
        raise NotFound(f"plug-in {name!r} not found in {places}", code="plugin_not_found", name=name)

    def has(self, name: str) -> bool:
        """Return whether there is a file for a plug-in of that name, whatever is in it."""
        try:
            return any(_is_socket(each) or _is_file(each) for each in self._candidates(_checked(name)))
        except InvalidParameter:
            return False

    def names(self) -> list[str]:
        """Return the names of the plug-ins there are; nobody is asked."""
        found: set[str] = set()
        for directory, suffixes in (
            *((each, (".sock",)) for each in self.sockets),
            *((each, (".spec", ".json")) for each in self.specs),
        ):
            found |= {
                each.stem
                for each in _entries(directory)
                if each.suffix in suffixes and each.parent.name in {directory.name, each.stem}
            }
        return sorted(found)

    def _candidates(self, name: str) -> Iterator[Path]:
        for directory in self.sockets:
            yield from (directory / f"{name}.sock", directory / name / f"{name}.sock")
        for directory in self.specs:
            for suffix in (".spec", ".json"):
                yield from (directory / f"{name}{suffix}", directory / name / f"{name}{suffix}")


def _checked(name: str) -> str:
    if not name or name in {".", ".."} or "/" in name or "\0" in name:
        raise InvalidParameter(
            f"invalid plug-in name {name!r}: it is the name of a file", code="invalid_name", name=name
        )
    return name


# Who may not look into a directory sees no plug-ins there: that is nobody else's trouble.


def _entries(directory: Path) -> list[Path]:
    try:
        return [*directory.glob("*.*"), *directory.glob("*/*.*")]
    except OSError:
        return []


def _is_socket(path: Path) -> bool:
    return stat.S_ISSOCK(_mode(path))


def _is_file(path: Path) -> bool:
    return stat.S_ISREG(_mode(path))


def _mode(path: Path) -> int:
    try:
        return path.stat().st_mode
    except (OSError, ValueError):  # ValueError: the name cannot be one of a file
        return 0


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(SPEC_MAX).decode(errors="replace")
    except OSError as error:
        raise InvalidParameter(
            f"{path} cannot be read: {error.strerror}", code="invalid_plugin_spec", path=str(path)
        ) from error


def _from_spec(path: Path) -> PluginAddress:
    return _address(_text(path).strip(), path, None)


def _from_json(path: Path) -> PluginAddress:
    try:
        document = json.loads(_text(path))
        config = document.get("TLSConfig")
        tls = _tls(config) if config else None
        url = document["Addr"]
        if not isinstance(url, str):
            raise TypeError(f"Addr is {url!r}")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InvalidParameter(
            f'{path} describes no plug-in ({type(error).__name__}: {error}): it is {{"Name": …, "Addr": URL, "TLSConfig": {{…}}}}',
            code="invalid_plugin_spec", path=str(path),
        ) from error  # fmt: skip
    return _address(url, path, tls)


def _tls(config: Mapping[str, object]) -> TlsFiles:
    ca = str(config.get("CAFile") or "")
    certificate, key = (str(config.get(name) or "") for name in ("CertFile", "KeyFile"))
    return TlsFiles(ca, certificate, key, verify=bool(ca) and not config.get("InsecureSkipVerify"))


def _address(url: str, path: Path, tls: TlsFiles | None) -> PluginAddress:
    try:
        parts = urlsplit(url)
        if parts.scheme == "unix" and parts.path:
            return PluginAddress(str(path), path=parts.netloc + parts.path)
        if parts.scheme in {"tcp", "http", "https"} and parts.hostname:
            secure = parts.scheme == "https"
            port = parts.port or (443 if secure else 80)
            return PluginAddress(str(path), host=parts.hostname, port=port, tls=tls or (TlsFiles() if secure else None))
    except ValueError:
        pass
    raise InvalidParameter(
        f"{path} has the address {url!r}: unknown protocol, write unix:///path, tcp://host:port or http(s)://host:port",
        code="invalid_plugin_spec", path=str(path),
    )  # fmt: skip
