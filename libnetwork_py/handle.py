"""What `Network`, `Endpoint` and `Sandbox` have in common: an id, and a record that is read again whenever it is asked.

May import: display, errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, Protocol, TypeVar

from .display import Displayed
from .errors import InvalidParameter


class _Record(Protocol):
    @property
    def id(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def labels(self) -> Mapping[str, str]: ...


R = TypeVar("R", bound=_Record)
R_co = TypeVar("R_co", bound=_Record, covariant=True)


class Reads(Protocol[R_co]):
    """Where a handle reads its record."""

    def record(self, object_id: str, /) -> R_co | None: ...
    def scene(self) -> object: ...


class Handle(Displayed, Generic[R]):
    """An object of a controller.

    Properties say what the controller's records hold at the moment; after the object was deleted, what they held last. Two handles
    of one object are equal.
    """

    __slots__ = ("_reads", "_record")

    def __init__(self, reads: Reads[R], record: R) -> None:
        self._reads: Reads[R] = reads
        self._record: R = record

    def _scene(self) -> object:
        return self._reads.scene()

    def _now(self) -> R:
        self._record = self._reads.record(self._record.id) or self._record
        return self._record

    @property
    def id(self) -> str:
        """64 hexadecimal digits."""
        return self._record.id

    @property
    def name(self) -> str:
        """A sandbox's or a network's is unique in its controller, an endpoint's in its network."""
        return self._now().name

    @property
    def labels(self) -> Mapping[str, str]:
        """The labels it was given."""
        return self._now().labels

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)


H = TypeVar("H", bound="Handle[Any]")


def given(value: object, kind: type[H]) -> H:
    """Return an object that a caller gave.

    Raises:
        InvalidParameter: it is something else, a name for example.
    """
    if isinstance(value, kind):
        return value
    what = kind.__name__.lower()
    raise InvalidParameter(
        f"{value!r} is no {kind.__name__}: give what create_{what}() or {what}() returns",
        code="not_an_object",
        kind=what,
    )
