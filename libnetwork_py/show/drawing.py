"""A drawing that a notebook shows and a file keeps.

May import: svg, scene, display.
"""

from __future__ import annotations

import os
from pathlib import Path

from ..scene import Scene
from .svg import svg
from .text import outline


class Drawing:
    """A topology as a picture. A notebook shows it; ``str`` is the same in plain text."""

    __slots__ = ("_scene",)

    def __init__(self, scene: Scene) -> None:
        self._scene = scene

    @property
    def svg(self) -> str:
        """The picture, one ``<svg>`` element."""
        return svg(self._scene)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the picture to a file, as SVG, and return its path."""
        target = Path(path)
        target.write_text(f'<?xml version="1.0" encoding="UTF-8"?>\n{self.svg}\n', encoding="utf-8")
        return target

    def _repr_svg_(self) -> str:
        return self.svg

    def __str__(self) -> str:
        return outline(self._scene)

    def __repr__(self) -> str:
        return f"<Drawing of {self._scene.title}>"
