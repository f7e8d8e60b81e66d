"""How an object shows itself in a notebook, without knowing who draws it.

Division of labour: `Displayed` is what an object of the public API inherits; `show/` draws; `controller` brings the two together with
`drawn_by` when it is loaded, and no object exists without a controller. Plain text, ``repr``, is there in any case.

May import: nothing of this package.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TypeAlias

Bundle: TypeAlias = Mapping[str, str]
"""MIME type → content, as IPython's display protocol wants it."""

_drawers: list[Callable[[object], Bundle]] = []


def drawn_by(drawer: Callable[[object], Bundle]) -> None:
    """Have ``drawer`` make the bundles from now on; it may load what it needs when it is called."""
    _drawers[:] = [drawer]


class Displayed:
    """An object that a notebook shows as tables and drawings."""

    __slots__ = ()

    def _repr_mimebundle_(
        self, include: Collection[str] | None = None, exclude: Collection[str] | None = None
    ) -> dict[str, str]:
        """Return what IPython's display protocol asks for; what cannot be drawn is shown as plain text."""
        bundle = {"text/plain": repr(self), **(_drawers[0](self) if _drawers else {})}
        return {
            kind: content
            for kind, content in bundle.items()
            if (not include or kind in include) and kind not in (exclude or ())
        }
