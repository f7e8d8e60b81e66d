"""Questions by TCP: who is hung up on, and who is waited for."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import pytest

from libnetwork_py.dns import streams
from libnetwork_py.dns.streams import Stream, Streams

QUESTION = b"\0\3abc"


class Poller:
    """Keeps who wants to know what."""

    def __init__(self) -> None:
        self.handlers: dict[socket.socket, Callable[[int], object]] = {}

    def watch(self, sock: socket.socket, events: int, handler: Callable[[int], object]) -> None:
        self.handlers[sock] = handler

    def change(self, sock: socket.socket, events: int) -> None:
        assert sock in self.handlers

    def forget(self, sock: socket.socket) -> None:
        del self.handlers[sock]


class Lab:
    """A listener, one client of it, and the questions that arrived."""

    def __init__(self) -> None:
        self.poller = Poller()
        self.asked: list[Stream] = []
        self.says = True
        self.streams = Streams(self.poller, self._ask)
        listener = socket.create_server(("127.0.0.1", 0))
        with listener:
            self.client = socket.create_connection(listener.getsockname(), 5)
            listener.setblocking(False)
            self.streams.accept("box", listener)
        self.client.sendall(QUESTION)
        (handler,) = self.poller.handlers.values()
        handler(1)

    def _ask(self, stream: Stream, _: bytes) -> bool:
        self.asked.append(stream)
        return self.says


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """A client whose question is out, and no patience."""
    monkeypatch.setattr(streams, "PATIENCE", 0.0)
    some = Lab()
    yield some
    some.client.close()
    some.streams.leave("box")


def test_a_client_whose_question_is_out_is_waited_for(lab: Lab) -> None:
    """Silence of a client that waits for an answer is no reason to hang up; after the answer it is."""
    assert len(lab.asked) == 1
    assert lab.streams.tidy() is not None
    lab.streams.answer(lab.asked[0], b"yes")
    assert lab.client.recv(5) == b"\0\3yes"
    assert lab.streams.tidy() is None
    assert lab.client.recv(1) == b""


def test_a_message_that_gets_no_answer_is_not_waited_for(lab: Lab) -> None:
    """A client to whom there is nothing to say is a silent one."""
    lab.streams.answer(lab.asked[0], b"yes")
    lab.says = False
    lab.client.sendall(QUESTION)
    (handler,) = lab.poller.handlers.values()
    handler(1)
    assert len(lab.asked) == 2
    assert lab.streams.tidy() is None
    assert not lab.asked[1].open
