"""Answers that are ready, so that what was asked before is answered without thought; sandboxes that see the same names share them.

Runs in the service's own process.

May import: book.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import cycle

from .book import Box

READY_MAX = 64 << 20
"""Bytes of answers that are kept ready, for all sandboxes together (about 300 of an ordinary one)."""
_ENTRY = 200
"""Bytes that keeping an answer costs beside itself."""
_QUESTION_MAX = 300
"""Bytes of the longest question whose answer is kept ready: a name, and EDNS without options; more is padding."""


class View:
    """Answers that are ready for all sandboxes that see the same names, by the bytes of the question behind its number."""

    __slots__ = ("networks", "orders", "ready")

    def __init__(self, networks: frozenset[str]) -> None:
        self.networks = networks
        self.ready: dict[bytes, bytes] = {}
        self.orders: dict[bytes, cycle[bytes]] = {}

    def clear(self) -> None:
        """Forget all of them."""
        self.ready.clear()
        self.orders.clear()


class Ready:
    """All views, bounded together."""

    def __init__(self) -> None:
        self._views: dict[object, View] = {}
        self._kept = 0

    def view(self, box: Box, count: int, used: Iterable[View]) -> View:
        """Return a sandbox's view; those that ``count`` sandboxes use are kept, of others not too many."""
        if len(self._views) > 2 * count + 16:
            needed = {id(each) for each in used}
            self._views = {key: view for key, view in self._views.items() if id(view) in needed}
        return self._views.setdefault(box.view, View(frozenset(box.networks)))

    def keep(self, view: View, question: bytes, messages: tuple[bytes, ...]) -> None:
        """Keep equally good answers, handed out in turn, to a question without its number."""
        if len(question) > _QUESTION_MAX:
            return
        if self._kept >= READY_MAX:
            self._kept = 0
            for each in self._views.values():
                each.clear()
        self._kept += len(question) + sum(_ENTRY + len(each) for each in messages)
        if len(messages) == 1:
            view.ready[question] = messages[0][2:]
        else:
            view.orders[question] = cycle([each[2:] for each in messages])

    def clear(self, networks: Collection[str]) -> None:
        """Forget what names of networks decide."""
        for view in self._views.values():
            if not view.networks.isdisjoint(networks):
                view.clear()
