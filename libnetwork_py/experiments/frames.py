"""Rows to a pandas ``DataFrame``; pandas is an extra (``pip install libnetwork_py[frames]``).

May import: errors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ..errors import NotSupported

if TYPE_CHECKING:
    from pandas import DataFrame


def frame(columns: Mapping[str, Sequence[object]]) -> DataFrame:
    """Return a table of columns.

    Raises:
        NotSupported: pandas is not installed.
    """
    try:
        from pandas import DataFrame  # noqa: PLC0415 (an extra)
    except ImportError as error:
        raise NotSupported(
            "pandas is not installed: pip install 'libnetwork_py[frames]'", code="extra_missing", extra="frames"
        ) from error
    return DataFrame(dict(columns))
