"""Results and errors as text: columns for people, JSON for programs.

May import: errors.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import Any

import attrs

from ..errors import LibnetworkError, Unavailable

PROGRAM = "libnetwork-py"
SHORT = 12
"""Digits of an id that people are shown, as Docker does."""


def table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return columns under headings, each as wide as its longest cell, three spaces apart."""
    lines = [tuple(headings), *(tuple(str(cell) for cell in row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("   ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def plain(value: object) -> Any:
    """Return ``value`` in words that JSON has: attrs values and mappings as objects, addresses and paths as text."""
    kind = type(value)
    if attrs.has(kind):
        return {field.name: plain(getattr(value, field.name)) for field in attrs.fields(kind)}
    if isinstance(value, Mapping):
        return {_key(key): plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, AbstractSet):
        return sorted(map(plain, value), key=str)
    if isinstance(value, datetime):
        return value.isoformat()
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def _key(key: object) -> str:
    return " ".join(map(str, key)) if isinstance(key, tuple) else str(key)


def outline(value: object, indent: str = "") -> list[str]:
    """Return a plain value as indented ``name: value`` lines."""
    if isinstance(value, dict):
        return [line for key, each in value.items() for line in _entry(f"{indent}{key}:", each, indent)]
    if isinstance(value, list):
        return [line for each in value for line in _entry(f"{indent}-", each, indent)]
    return [f"{indent}{_scalar(value)}"]


def _entry(head: str, value: object, indent: str) -> list[str]:
    if isinstance(value, (dict, list)) and value:
        return [head, *outline(value, f"{indent}  ")]
    return [f"{head} {_scalar(value)}"]


def _scalar(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None or value in ([], {}) else str(value)


def silence() -> None:
    """Let what is still to be written to standard output go nowhere: the interpreter tries it once more when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Output:
    """Where one command writes."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json

    def text(self, text: str) -> None:
        """Write text for people.

        Raises:
            Unavailable: it cannot be written, for want of room for example.
        """
        try:
            print(text, flush=True)  # noqa: T201 (this is the command's output)
        except BrokenPipeError:
            raise
        except OSError as error:
            silence()
            raise Unavailable(f"cannot write the result: {error.strerror}", code="output_failed") from error

    def json(self, value: object, *, indent: int | None = 2) -> None:
        """Write a value as JSON; ``indent`` ``None``: on one line."""
        self.text(json.dumps(plain(value), indent=indent))

    def result(self, value: object, text: str) -> None:
        """Write ``value`` where JSON was asked for, else ``text``."""
        if self.as_json:
            self.json(value)
        else:
            self.text(text)

    def note(self, text: str) -> None:
        """Write something that is no result, on standard error."""
        print(text, file=sys.stderr, flush=True)  # noqa: T201 (same)

    def error(self, error: LibnetworkError) -> int:
        """Write an error on standard error and return the exit status of its category."""
        message = str(error)
        if self.as_json:
            told = {"category": type(error).__name__, "code": error.code, "message": message, "data": plain(error.data)}
            self.note(json.dumps({"error": told}))
        else:
            self.note("\n".join([f"{PROGRAM}: {message} [{error.code}]", *getattr(error, "__notes__", ())]))
        return error.exit_status
