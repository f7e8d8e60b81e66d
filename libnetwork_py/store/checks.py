"""What every store checks of a commit, and says in the same words.

May import: store.api, errors.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import Conflict, InvalidParameter
from .api import Write


def check_distinct(writes: Sequence[Write]) -> None:
    """Refuse two writes of one item, whose order would matter; engines for clusters refuse them too.

    Raises:
        InvalidParameter: ``duplicate_key``.
    """
    if len({write.key for write in writes}) != len(writes):
        raise InvalidParameter("a commit may write each item only once", code="duplicate_key")


def check_expected(write: Write, found: int) -> None:
    """Refuse a write whose expected revision is not ``found``; 0 where there is no such item.

    Raises:
        Conflict: ``revision``.
    """
    if write.expected not in {None, found}:
        raise Conflict(
            f"{write.key} was changed by somebody else: its revision is {found} instead of {write.expected}; "
            "read it again, then try again",
            code="revision", key=write.key, expected=write.expected, found=found,
        )  # fmt: skip
