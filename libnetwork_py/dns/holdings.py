"""What the service holds: the names it was told, and the sockets of each sandbox.

Two processes hold the same: the one that answers and its keeper, which does nothing but hold, and starts another one when the first dies.
A message is a JSON object, with the sockets that it names as descriptors beside it. One that is part of several waits for
the last: what they say is taken in at once, so that nobody is answered out of half of it. Runs in the service's own process.

May import: book.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from .book import Book, Note

MESSAGE_MAX, DESCRIPTORS_MAX = 1 << 18, 250
"""The longest message, and how many descriptors one carries (``SCM_MAX_FD`` is 253)."""


class Doors(NamedTuple):
    """A sandbox's sockets, where it is asked by UDP and by TCP; ``place`` tells its namespace from one that takes its name later."""

    place: int
    udp: socket.socket
    tcp: socket.socket

    def close(self) -> None:
        """Close them: an open socket keeps its namespace alive."""
        for each in (self.udp, self.tcp):
            each.close()


class Change(NamedTuple):
    """What a message changed: doors that came and doors that are to be closed, by their sandboxes; the notes."""

    opened: dict[str, Doors]
    gone: dict[str, Doors]
    notes: list[Note]


class Holdings:
    """Names, sockets, and a token that says which state of the records they are; and how many controllers were there last."""

    def __init__(self) -> None:
        self.book = Book()
        self.doors: dict[str, Doors] = {}
        self.token = ""
        self.controllers = 0
        self._notes: list[Note] = []
        self._text = ""
        self._opened: dict[str, Doors] = {}

    def take(self, message: dict[str, Any], descriptors: Sequence[int]) -> Change | None:
        """Take in what is told.

        Its fields: ``notes``, see `Book.take`; ``text``, a piece of a long one, and ``ends`` with its last piece; ``doors``, a sandbox,
        its place and a count of sockets for each that came; ``whole``: it is everything, and what is not named is gone; ``more``: it goes
        on; ``token``: what to call the state after it.

        Returns:
            What changed; ``None`` while more is to come.
        """
        self._notes += message.get("notes", ())
        self._text += message.get("text", "")
        if message.get("ends"):
            text, self._text = self._text, ""
            self._notes.append(json.loads(text))
        left = list(descriptors)
        for box_id, place, count in message.get("doors", ()):
            udp, tcp = _sockets(left, count)
            self._opened[box_id] = Doors(place, udp, tcp)
        if message.get("more"):
            return None
        return self._apply(message)

    def _apply(self, message: dict[str, Any]) -> Change:
        notes, self._notes = self._notes, []
        opened, self._opened = self._opened, {}
        whole = bool(message.get("whole"))
        if whole:
            self.book = Book()
        self.book.take(notes)
        self.token = message["token"]
        closing = list(self.doors) if whole else [rest[0] for verb, *rest in notes if verb == "no-box"]
        gone = self.lose(each for each in (*closing, *opened) if each in opened or each not in self.book.boxes)
        self.doors.update(opened)
        return Change(opened, gone, notes)

    def lost(self) -> list[str]:
        """Return the sandboxes whose namespaces have lost their names to nobody or to another: somebody removed them."""
        return [
            box_id
            for box_id, doors in self.doors.items()
            if doors.place and _place(self.book.boxes[box_id].where) != doors.place
        ]

    def lose(self, box_ids: Iterable[str]) -> dict[str, Doors]:
        """Give up the doors of sandboxes, and return them to be closed: they keep their namespaces alive."""
        return {each: self.doors.pop(each) for each in box_ids if each in self.doors}

    def forget_halves(self) -> None:
        """Drop what came of a message whose rest will not come."""
        for doors in self._opened.values():
            doors.close()
        self._notes, self._text, self._opened = [], "", {}


def _place(path: str) -> int:
    try:
        return os.stat(path).st_ino  # noqa: PTH116 (pathlib takes 5 ms to load)
    except OSError:
        return 0


def _sockets(descriptors: list[int], count: int) -> tuple[socket.socket, ...]:
    """Take sockets off a list of descriptors."""
    taken, descriptors[:count] = descriptors[:count], []
    sockets = tuple([socket.socket(fileno=each) for each in taken])
    for each in sockets:
        each.setblocking(False)
    return sockets


def receive(line: socket.socket) -> tuple[dict[str, Any] | None, list[int], bytes]:
    """Return the next message, its descriptors and its bytes; ``None`` at the end of the line.

    Raises:
        BlockingIOError: there is none yet.
    """
    data, descriptors, _, _ = socket.recv_fds(line, MESSAGE_MAX, DESCRIPTORS_MAX)
    return (json.loads(data) if data else None), descriptors, data
