"""How far long work has come: a line in a notebook or on a terminal, nothing elsewhere.

May import: wording.
"""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any, Self

from .wording import safe

_PATIENCE = 0.5
"""Seconds that work may take before anything is shown."""
_EVERY = 0.1
"""Seconds between two renewals."""
_CELLS = 24


class Progress:
    """Shows how many of ``total`` steps are done; as a context manager it takes its line away at the end.

    Args:
        total: Steps.
        what: What is being done, for people.
    """

    def __init__(self, total: int, what: str) -> None:
        self._total, self._what = max(total, 1), what
        self._done = 0
        self._shown_at = time.monotonic() + _PATIENCE - _EVERY
        self._handle: Any = None
        self._visible = False

    def step(self, count: int = 1) -> None:
        """Say that so many more steps are done."""
        self._done += count
        now = time.monotonic()
        if now - self._shown_at >= _EVERY:
            self._shown_at = now
            self._show()

    @property
    def text(self) -> str:
        """The line."""
        filled = min(round(_CELLS * self._done / self._total), _CELLS)
        return f"{self._what} {'█' * filled}{'░' * (_CELLS - filled)} {self._done}/{self._total}"

    def _show(self) -> None:
        if _in_notebook():
            self._show_in_notebook({"text/plain": self.text, "text/html": f"<code>{safe(self.text)}</code>"})
        elif sys.stderr is not None and sys.stderr.isatty():
            sys.stderr.write(f"\r{self.text}")
            sys.stderr.flush()
            self._visible = True

    def _show_in_notebook(self, bundle: dict[str, str]) -> None:
        from IPython.display import display  # noqa: PLC0415 (there in a notebook only)

        if self._handle is None:
            self._handle = display(bundle, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._handle.update(bundle, raw=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._handle is not None:
            self._handle.update({"text/plain": ""}, raw=True)
        elif self._visible:
            sys.stderr.write("\r\x1b[K")


def _in_notebook() -> bool:
    """Whether IPython runs here as a notebook's kernel."""
    shell = sys.modules.get("IPython") and sys.modules["IPython"].get_ipython()
    return bool(shell) and hasattr(shell, "kernel")
