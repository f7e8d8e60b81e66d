"""Checks what an experiment is done to, before anything is touched.

May import: endpoint, sandbox, errors.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from ..endpoint import Endpoint
from ..errors import InvalidParameter
from ..sandbox import Sandbox

T = TypeVar("T")


def sandbox(thing: object) -> Sandbox:
    """Return a sandbox as it is.

    Raises:
        InvalidParameter: ``invalid_target``: it is something else.
    """
    return _kind(thing, Sandbox, "a sandbox")


def endpoint(thing: object) -> Endpoint:
    """Return an endpoint as it is; see `sandbox`."""
    return _kind(thing, Endpoint, "an endpoint")


def endpoints(things: Iterable[object]) -> list[Endpoint]:
    """Return endpoints and those of sandboxes, each once; see `sandbox`."""
    if isinstance(things, str) or not isinstance(things, Iterable):
        raise InvalidParameter(f"{things!r} is no list of sandboxes and endpoints", code="invalid_target")
    found: dict[Endpoint, None] = {}
    for thing in things:
        if not isinstance(thing, Sandbox | Endpoint):
            raise InvalidParameter(f"{thing!r} is neither a sandbox nor an endpoint", code="invalid_target")
        found.update(dict.fromkeys(thing.endpoints() if isinstance(thing, Sandbox) else [thing]))
    return list(found)


def _kind(thing: object, kind: type[T], what: str) -> T:
    if not isinstance(thing, kind):
        raise InvalidParameter(f"{thing!r} is not {what}", code="invalid_target")
    return thing
