"""The body of a call, read field by field: what is not as the protocol says is the caller's fault, and is said.

May import: types, errors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from ..errors import InvalidParameter

T = TypeVar("T")


class Body:
    """A JSON object."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document

    def text(self, key: str, *, needed: bool = False) -> str:
        """Return a text, empty where it is absent."""
        value = self._field(key, str, "")
        if needed and not value:
            # dockerd repeats a call whose connection broke, but without its body, which is sent already
            why = (
                "" if self._document else ": the request is empty, as that of a call is which Docker repeats; ask again"
            )
            raise InvalidParameter(f"{key} is missing{why}", code="plugin_request", key=key)
        return value

    def flag(self, key: str) -> bool:
        """Return a truth value, also one that is written as text, as labels are."""
        value = self._document.get(key)
        if isinstance(value, str):
            value = value.lower() in {"1", "t", "true", "yes"}
        return bool(value)

    def inner(self, key: str) -> Body:
        """Return an object, empty where it is absent."""
        return Body(self._field(key, dict, {}))

    def inners(self, key: str) -> list[Body]:
        """Return a list of objects."""
        found = self._field(key, list, [])
        if not all(isinstance(each, dict) for each in found):
            raise InvalidParameter(f"{key} is {found!r}, not a list of objects", code="plugin_request", key=key)
        return [Body(each) for each in found]

    def parsed(self, key: str, parse: Callable[[str], T]) -> T | None:
        """Return a text as what ``parse`` makes of it, ``None`` where it is empty."""
        value = self.text(key)
        try:
            return parse(value) if value else None
        except ValueError as error:
            raise InvalidParameter(f"{key} is {value!r}: {error}", code="plugin_request", key=key) from error

    def raw(self, key: str) -> object:
        """Return whatever is there."""
        return self._document.get(key)

    def texts(self) -> dict[str, str]:
        """Return all that is text, number or truth value as text."""
        return {
            key: str(value).lower() if isinstance(value, bool) else str(value)
            for key, value in self._document.items()
            if isinstance(value, str | int | float)
        }

    def __contains__(self, key: str) -> bool:
        return key in self._document

    def _field(self, key: str, kind: type[T], empty: T) -> T:
        value = self._document.get(key)
        if value is None:
            return empty
        if not isinstance(value, kind):
            raise InvalidParameter(f"{key} is {value!r}, not of type {kind.__name__}", code="plugin_request", key=key)
        return value
