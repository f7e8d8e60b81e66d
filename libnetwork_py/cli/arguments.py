"""What was parsed, and how repeated texts become mappings.

May import: controller (its type), errors.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from ..errors import InvalidParameter
from .output import Output

if TYPE_CHECKING:
    from ..controller import NetworkController

T = TypeVar("T")

SWITCHES = frozenset({"attachable", "config_only", "internal", "ipv4", "ipv6", "owned"})
"""Filters whose value is true or false."""


class Arguments(argparse.Namespace):
    """The options that every command has; the command's own are attributes too."""

    state_dir: str | None = None
    host: str | None = None
    cluster: str | None = None
    json: bool = False
    command: Command
    alone: Alone | None = None

    @property
    def host_path(self) -> str | None:
        """The path of ``--host``; a bare name is one of ``ip netns``."""
        return self.host if self.host is None or "/" in self.host else f"/run/netns/{self.host}"


Command: TypeAlias = "Callable[[NetworkController, Arguments, Output], int]"
"""One command: calls the API, writes the result, returns the exit status."""
Alone: TypeAlias = "Callable[[Arguments, Output], int]"
"""One that opens no controller of the caller's."""


def pairs(texts: Sequence[str], what: str, *, separators: str = "=", bare: str | None = None) -> dict[str, str]:
    """Return ``KEY=VALUE`` texts as a mapping; a bare ``KEY`` means ``bare`` where that is given.

    Raises:
        InvalidParameter: no separator, or no key.
    """
    found: dict[str, str] = {}
    for text in texts:
        parts = re.split(f"[{separators}]", text, maxsplit=1)
        if not parts[0] or (len(parts) == 1 and bare is None):
            raise InvalidParameter(f"{what}: write KEY{separators[0]}VALUE, not {text!r}", code="usage", value=text)
        found[parts[0]] = parts[1] if len(parts) == 2 else str(bare)
    return found


def labels(texts: Sequence[str]) -> dict[str, str]:
    """Return ``KEY[=VALUE]`` texts as labels; a bare key has an empty value, as in Docker."""
    return pairs(texts, "--label", bare="")


def chosen(find: Callable[..., list[T]], texts: Sequence[str]) -> list[T]:
    """Return what meets every ``KEY=VALUE`` filter, asking the library for each; a key may be given several times.

    Raises:
        InvalidParameter: no ``=``, or an unknown key.
    """
    found = find()
    for text in texts:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise InvalidParameter(f"--filter: write KEY=VALUE, not {text!r}", code="usage", value=text)
        field = key.replace("-", "_")
        meeting = find(**{field: value.lower() == "true" if field in SWITCHES else value})
        found = [each for each in found if each in meeting]
    return found
