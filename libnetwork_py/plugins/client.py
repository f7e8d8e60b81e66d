"""Speaks to one of Docker's plug-ins: finds it, activates it, calls its methods, and says in words of ours what went wrong.

Protocol: ``POST /Subsystem.Method`` with a JSON object, answered by one; ``/Plugin.Activate`` says which subsystems there are. An error
is under the key ``Err``, of IPAM plug-ins ``Error``. 404 means that the plug-in lacks a method. A plug-in that cannot be connected to is
tried again after 1, 2, 4 … seconds until the limit; one that got the request and did not answer is not asked again.

May import: plugins.discovery, plugins.http, errors.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeAlias, TypeVar

from ..errors import Forbidden, Internal, LibnetworkError, NotFound, NotSupported, Unavailable
from .discovery import Discovery
from .http import Answer, NoAnswer, NoConnection, exchange

Object: TypeAlias = Mapping[str, Any]
"""A JSON object, at the edge."""

T = TypeVar("T")

ERROR_KEYS = {"NetworkDriver": "Err", "IpamDriver": "Error"}
PROTOCOL = 1
"""Major version of the protocol."""
TEXT_MAX = 1000
"""Characters of what a plug-in said that an error repeats."""


class Plugin:
    """One plug-in, whatever subsystems it has.

    Args:
        name: Its name, which is that of its file.
        discovery: Where to look for it.
        limit: Seconds for a connection to come about, trying again, and for each answer.
    """

    def __init__(self, name: str, discovery: Discovery, limit: float = 30.0) -> None:
        self.name, self._discovery, self._limit = name, discovery, limit
        self._implements: frozenset[str] | None = None
        self._given_up = 0.0
        self._lock = threading.Lock()

    def subsystem(self, kind: str) -> Subsystem:
        """Return one of its subsystems, ``NetworkDriver`` or ``IpamDriver``; it is not asked yet whether it has it."""
        return Subsystem(self, kind)

    def activate(self) -> frozenset[str]:
        """Return which subsystems it has; asked once.

        Raises:
            LibnetworkError: as `Subsystem.call`.
        """
        with self._lock:
            if self._implements is None:
                answer = self.post("Plugin.Activate", None, "Err")
                found = answer.get("Implements")
                if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
                    raise self.nonsense("Plugin.Activate", f"Implements is {found!r}")
                self._implements = frozenset(found)
            return self._implements

    def post(self, method: str, body: Object | None, error_key: str) -> Object:
        """Make one call.

        Raises:
            LibnetworkError: as `Subsystem.call`.
        """
        data = b"" if body is None else json.dumps(body, separators=(",", ":")).encode()
        return self._read(method, self._exchange(method, data), error_key)

    def _exchange(self, method: str, data: bytes) -> Answer:
        pause, start = 1.0, time.monotonic()
        patience = self._limit if start - self._given_up >= self._limit or not self._given_up else 0.0
        while True:
            try:
                return self._ask(method, data)
            except NotFound as error:
                if self._implements is None:  # it was never there
                    raise
                problem: Exception = error
            except NoConnection as error:
                problem = error
            if time.monotonic() + pause >= start + patience:
                self._given_up = time.monotonic()  # who calls again soon need not wait as long again
                raise self._unreachable(problem) from problem
            time.sleep(pause)
            pause *= 2

    def _ask(self, method: str, data: bytes) -> Answer:
        address = self._discovery.find(self.name)
        try:
            return exchange(address, f"/{method}", data, self._limit)
        except NoAnswer as error:
            raise Unavailable(
                f"plug-in {self.name!r} at {address} gave no answer to {method}: {error}",
                code="plugin_silent", name=self.name, method=method,
            ) from error  # fmt: skip

    def _unreachable(self, error: Exception) -> LibnetworkError:
        if isinstance(error, NotFound):
            return error
        address = self._discovery.find(self.name)
        return Unavailable(
            f"plug-in {self.name!r} at {address} cannot be reached: {error}; tried for {self._limit:g} s: is it running?",
            code="plugin_unreachable", name=self.name,
        )  # fmt: skip

    def _read(self, method: str, answer: Answer, error_key: str) -> Object:
        self._check_version(answer)
        if answer.status == 404:
            raise NotSupported(
                f"plug-in {self.name!r} has no method {method}", code="plugin_method", name=self.name, method=method
            )
        document = _object(answer.body)
        refusal = document.get("Err" if answer.status != 200 else error_key) if document is not None else None
        if answer.status != 200 and not refusal:
            refusal = answer.body[:TEXT_MAX].decode(errors="replace").strip() or f"HTTP status {answer.status}"
        if refusal:
            refusal = str(refusal)[:TEXT_MAX]
            raise Forbidden(
                f"plug-in {self.name!r} refused {method}: remote: {refusal}",
                code="plugin_refused", name=self.name, method=method, remote=refusal,
            )  # fmt: skip
        if document is None:
            raise self.nonsense(method, f"{answer.body[:60]!r} is no JSON object")
        return document

    def _check_version(self, answer: Answer) -> None:
        stated = re.fullmatch(r"application/vnd\.docker\.plugins\.v(\d{1,9})(?:\.\d+)?\+json", answer.content_type)
        if stated and int(stated[1]) != PROTOCOL:
            raise NotSupported(
                f"plug-in {self.name!r} speaks version {stated[1]} of the plug-in protocol, not {PROTOCOL}",
                code="plugin_version", name=self.name, version=int(stated[1]),
            )  # fmt: skip

    def nonsense(self, method: str, what: str) -> Internal:
        """Return the error for an answer that does not keep the protocol."""
        return Internal(
            f"plug-in {self.name!r} answered nonsense to {method}: {what[:TEXT_MAX]}",
            code="plugin_nonsense",
            name=self.name,
            method=method,
        )


class Found(Generic[T]):
    """Plug-ins as a place where a `Registry` looks for what no entry point names.

    Args:
        discovery: Where their files are.
        limit: See `Plugin`.
        kind: The subsystem that is wanted.
        make: Makes a driver of it.
    """

    def __init__(self, discovery: Discovery, limit: float, kind: str, make: Callable[[Subsystem], T]) -> None:
        self._discovery, self._limit, self._kind, self._make = discovery, limit, kind, make

    def has(self, name: str) -> bool:
        """Return whether there is a plug-in of that name; it is not asked what it is."""
        return self._discovery.has(name)

    def get(self, name: str) -> T:
        """Return the driver that a plug-in is; it is asked for nothing yet."""
        return self._make(Plugin(name, self._discovery, self._limit).subsystem(self._kind))

    def names(self) -> list[str]:
        """Return the names of the plug-ins there are, whatever they are."""
        return self._discovery.names()

    def origin(self, name: str) -> str:
        """Return where a plug-in listens, or why that is not known."""
        try:
            return f"plug-in at {self._discovery.find(name)}"
        except LibnetworkError as error:
            return f"plug-in: {error}"


class Subsystem:
    """A plug-in's network driver or IPAM driver."""

    def __init__(self, plugin: Plugin, kind: str) -> None:
        self._plugin, self._kind = plugin, kind

    @property
    def name(self) -> str:
        """The plug-in's name."""
        return self._plugin.name

    def call(self, method: str, body: Object | None = None, *, optional: bool = False) -> Answered:
        """Call a method and return its answer.

        Args:
            method: Without the subsystem: ``Join``.
            body: The request; ``None`` sends an empty body.
            optional: A plug-in without the method has answered an empty object.

        Raises:
            NotFound: there is no such plug-in. NotSupported: it lacks the subsystem or the method, or speaks another version.
            Unavailable: it cannot be reached, or did not answer in time. Forbidden: it answered an error.
            Internal: it answered nonsense.
        """
        if self._kind not in self._plugin.activate():
            kinds = ", ".join(sorted(self._plugin.activate())) or "nothing"
            raise NotSupported(
                f"plug-in {self.name!r} is no {self._kind}: it implements {kinds}",
                code="plugin_kind",
                name=self.name,
                kind=self._kind,
            )
        full = f"{self._kind}.{method}"
        try:
            document = self._plugin.post(full, body, ERROR_KEYS[self._kind])
        except NotSupported as error:
            if not optional or error.code != "plugin_method":
                raise
            document = {}
        return Answered(document, lambda what: self._plugin.nonsense(full, what))


class Answered:
    """An answer, read field by field: what is not of the type that the protocol says is nonsense; an absent field is empty."""

    def __init__(self, document: Object, nonsense: Callable[[str], LibnetworkError]) -> None:
        self._document, self.nonsense = document, nonsense

    def text(self, key: str) -> str:
        """Return a text."""
        return self._field(key, str, "")

    def flag(self, key: str) -> bool:
        """Return a truth value."""
        return self._field(key, bool, False)

    def integer(self, key: str) -> int:
        """Return a whole number."""
        return self._field(key, int, 0)

    def object(self, key: str) -> Answered:
        """Return an object."""
        return Answered(self._field(key, dict, {}), self.nonsense)

    def objects(self, key: str) -> list[Answered]:
        """Return a list of objects."""
        found = self._field(key, list, [])
        if not all(isinstance(each, dict) for each in found):
            raise self.nonsense(f"{key} is {found!r}")
        return [Answered(each, self.nonsense) for each in found]

    def texts(self) -> dict[str, str]:
        """Return all of it as texts."""
        return {key: value if isinstance(value, str) else json.dumps(value) for key, value in self._document.items()}

    def parsed(self, key: str, parse: Callable[[str], T]) -> T | None:
        """Return a text as what ``parse`` makes of it; ``None`` where it is empty."""
        value = self.text(key)
        try:
            return parse(value) if value else None
        except ValueError as error:
            raise self.nonsense(f"{key} is {value!r}: {error}") from error

    def _field(self, key: str, kind: type[T], empty: T) -> T:
        value = self._document.get(key)
        if value is None:
            return empty
        if type(value) is not kind:
            raise self.nonsense(f"{key} is {value!r}, not of type {kind.__name__}")
        return value


def _object(body: bytes) -> Object | None:
    try:
        document = json.loads(body)
        json.dumps(document, ensure_ascii=False).encode()  # half a surrogate pair is no text, and nothing could keep it
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None
