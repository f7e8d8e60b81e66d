"""A group of entry points, by name: found without loading, loaded when asked for, checked then.

A broken plug-in is an error that names it and its distribution, raised to whoever asks for it and to nobody else.

May import: errors.
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Collection
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, Protocol, TypeVar, cast

from attrs import frozen

from ..errors import Forbidden, Internal, LibnetworkError, NotFound, NotSupported

API_VERSION = 1
"""Version of the contracts of plug-ins; one may state the version it was written for as ``api_version``."""

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@frozen
class PluginInfo:
    """One plug-in: its name, the distribution it came with, and what is wrong with it, if it was tried and failed."""

    name: str
    distribution: str
    version: str
    error: str = ""


class Elsewhere(Protocol[T_co]):
    """Where plug-ins are that no entry point names."""

    def has(self, name: str) -> bool: ...
    def get(self, name: str) -> T_co: ...
    def names(self) -> list[str]: ...
    def origin(self, name: str) -> str: ...


class Registry(Generic[T]):
    """The plug-ins of one entry-point group.

    Args:
        group: The entry-point group, ``libnetwork_py.drivers``.
        kind: What the plug-ins are, for messages: ``driver``.
        contract: A runtime-checkable protocol that an instance must meet.
        blocked: Names that must not be loaded.
        elsewhere: Where to look for a name that no entry point has.
    """

    def __init__(
        self,
        group: str,
        kind: str,
        contract: type[T],
        blocked: Collection[str] = (),
        elsewhere: Elsewhere[T] | None = None,
    ) -> None:
        self._group, self._kind, self._contract, self._blocked = group, kind, contract, frozenset(blocked)
        self._elsewhere = elsewhere
        self._loaded: dict[str, T] = {}
        self._found: dict[str, EntryPoint] | None = None
        self._errors: dict[str, str] = {}

    def register(self, name: str, plugin: object) -> None:
        """Use ``plugin`` under ``name`` without an entry point, before any entry point of that name.

        Raises:
            Internal: it does not keep the contract.
        """
        self._loaded[name] = self._checked(name, plugin, ("the program", ""))

    def names(self) -> list[str]:
        """Return every name that can be asked for."""
        elsewhere = self._elsewhere.names() if self._elsewhere else ()
        return sorted({*self._entry_points(), *self._loaded, *elsewhere} - self._blocked)

    def get(self, name: str) -> T:
        """Return the plug-in of a name, made once.

        Raises:
            NotFound: no such plug-in; the message lists those installed.
            Forbidden: it is blocked by configuration.
            Internal: it cannot be loaded or does not keep the contract; the message names its distribution.
        """
        if not isinstance(name, str):  # not every caller is checked
            raise self._unknown(str(name))
        if name in self._blocked:
            raise Forbidden(f"{self._kind} {name!r} is blocked by configuration", code="plugin_blocked", name=name)
        if name not in self._loaded:
            entry_point = self._entry_points().get(name)
            if entry_point is None:
                if self._elsewhere is None or not self._elsewhere.has(name):
                    raise self._unknown(name)
                self._loaded[name] = self._elsewhere.get(name)
            else:
                self._loaded[name] = self._load(entry_point)
        return self._loaded[name]

    def recall(self, name: str) -> T | None:
        """Return the plug-in of a name that a record holds; ``None`` if it cannot be had any more, which is no error yet."""
        try:
            return self.get(name)
        except NotFound:  # a plug-in of another process describes what is in the record, whether it runs or not
            return self._elsewhere.get(name) if self._elsewhere is not None else None
        except LibnetworkError:
            return None

    def origin(self, name: str) -> str:
        """Return the distribution that a plug-in came with, and its version, for messages."""
        return " ".join(filter(None, self._origin(name)))

    def _origin(self, name: str) -> tuple[str, str]:
        if name not in self._entry_points() and self._elsewhere is not None and self._elsewhere.has(name):
            return self._elsewhere.origin(name), ""
        return _distribution(self._entry_points().get(name))

    def info(self) -> list[PluginInfo]:
        """Return every plug-in with its distribution; nothing is loaded for it."""
        return [self._info(name) for name in self.names()]

    def _info(self, name: str) -> PluginInfo:
        distribution, version = self._origin(name)
        return PluginInfo(name, distribution, version, self._errors.get(name, ""))

    def _entry_points(self) -> dict[str, EntryPoint]:
        if self._found is None:
            self._found = {entry_point.name: entry_point for entry_point in _installed(self._group)}
        return self._found

    def _load(self, entry_point: EntryPoint) -> T:
        name, (distribution, version) = entry_point.name, _distribution(entry_point)
        try:
            plugin = entry_point.load()()
        except LibnetworkError:
            raise
        except Exception as error:  # whatever a stranger's code raises while it is loaded
            self._errors[name] = f"{type(error).__name__}: {error}"
            raise Internal(
                f"{self._kind} {name!r} of {distribution} {version} cannot be loaded: {self._errors[name]}",
                code="plugin_broken", name=name, distribution=distribution,
            ) from error  # fmt: skip
        return self._checked(name, plugin, (distribution, version))

    def _checked(self, name: str, plugin: object, origin: tuple[str, str]) -> T:
        distribution, version = origin
        wanted = getattr(plugin, "api_version", 1)
        if isinstance(wanted, int) and wanted > API_VERSION:
            self._errors[name] = f"needs version {wanted} of the contract"
            raise NotSupported(
                f"{self._kind} {name!r} of {distribution} {version} needs version {wanted} of the contract, not {API_VERSION}: "
                "use a newer libnetwork_py, or an older one of it",
                code="plugin_version", name=name, distribution=distribution, version=wanted,
            )  # fmt: skip
        if not isinstance(plugin, self._contract):
            missing = [part for part in _members(self._contract) if not hasattr(plugin, part)]
            self._errors[name] = f"lacks {', '.join(missing)}"
            raise Internal(
                f"{self._kind} {name!r} of {distribution} {version} does not keep the contract "
                f"{self._contract.__module__}.{self._contract.__name__}: it {self._errors[name]}",
                code="plugin_broken", name=name, distribution=distribution,
            )  # fmt: skip
        return plugin

    def _unknown(self, name: str) -> NotFound:
        near = difflib.get_close_matches(str(name), self.names(), n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        return NotFound(
            f"no {self._kind} {name!r}{hint}: installed are {', '.join(self.names())}; others come with the packages that provide them",
            code=f"unknown_{self._kind.lower().replace(' ', '_')}", name=name, installed=self.names(),
        )  # fmt: skip


_seen: dict[tuple[object, ...], tuple[EntryPoint, ...]] = {}
_SEEN_MAX = 32


def _installed(group: str) -> tuple[EntryPoint, ...]:
    """Return a group's entry points. All distributions are read for it (10 ms for a hundred), so again only after an installation."""
    key = (entry_points, group, *((place, _modified(place)) for place in sys.path))
    if key not in _seen:
        if len(_seen) >= _SEEN_MAX:
            _seen.clear()
        _seen[key] = tuple(entry_points(group=group))
    return _seen[key]


def _modified(place: str) -> int:
    """Return when something was last put into or taken out of a directory; 0 where there is none."""
    try:
        return os.stat(place or ".").st_mtime_ns  # noqa: PTH116 (one for each entry of ``sys.path``)
    except OSError:
        return 0


def _members(contract: type[object]) -> list[str]:
    return sorted(cast("frozenset[str]", getattr(contract, "__protocol_attrs__", None) or _annotations(contract)))


def _annotations(contract: type[object]) -> frozenset[str]:
    own = {name for name in vars(contract) if not name.startswith("_")}
    return frozenset(own | set(getattr(contract, "__annotations__", {})))


def _distribution(entry_point: EntryPoint | None) -> tuple[str, str]:
    distribution = entry_point.dist if entry_point else None
    return (distribution.name, distribution.version) if distribution else ("(registered by the program)", "")
