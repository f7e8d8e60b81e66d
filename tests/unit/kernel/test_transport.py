"""What the kernel says becomes an error of the right category, whatever the batch."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libnetwork_py.errors import (
    Conflict,
    Forbidden,
    Internal,
    InvalidParameter,
    LibnetworkError,
    NotFound,
    NotSupported,
    Unavailable,
)
from libnetwork_py.kernel import messages
from libnetwork_py.kernel.transport import Refusal, Transport, _chunks, _refusal, refused

CATEGORIES = {
    errno.EEXIST: Conflict,
    errno.EBUSY: Conflict,
    errno.EPERM: Forbidden,
    errno.EACCES: Forbidden,
    errno.EOPNOTSUPP: NotSupported,
    errno.EXFULL: Unavailable,
    errno.EMFILE: Unavailable,
    errno.ENODEV: NotFound,
    errno.ENOENT: NotFound,
    errno.ESRCH: NotFound,
    errno.EINVAL: InvalidParameter,
    errno.ERANGE: InvalidParameter,
    errno.ELOOP: Internal,
}


@pytest.mark.parametrize(("number", "category"), CATEGORIES.items(), ids=errno.errorcode.get)
def test_an_errno_has_a_category(number: int, category: type[LibnetworkError]) -> None:
    """Each errno becomes the category of whose fault it is, and stays readable as data."""
    error = refused(Refusal(3, number, ""), "make bridge br0")
    assert type(error) is category
    assert error.errno == number
    assert error.index == 3
    assert str(error).startswith("cannot make bridge br0: ")


def test_the_kernels_own_words_reach_the_message() -> None:
    """The extended acknowledgement's text is quoted."""
    error = refused(Refusal(0, errno.ENETUNREACH, "Nexthop has invalid gateway."), "make route default via 10.0.0.1")
    assert "kernel: Nexthop has invalid gateway)" in str(error)
    assert error.kernel == "Nexthop has invalid gateway."


def test_a_full_bridge_says_so() -> None:
    """EXFULL is the limit of ports on a bridge, and the message says how many."""
    assert "1,023 ports" in str(refused(Refusal(0, errno.EXFULL, ""), "make veth v1"))


@given(st.lists(st.integers(16, 4000), max_size=1500))
def test_a_batch_is_cut_without_loss(sizes: list[int]) -> None:
    """Cutting a batch keeps every message, in order, and no piece of many messages is large."""
    batch = [bytes(size) for size in sizes]
    pieces = list(_chunks(batch))
    assert [message for _, piece in pieces for message in piece] == batch
    assert all(list(batch[start : start + len(piece)]) == list(piece) for start, piece in pieces)
    assert all(len(piece) <= 256 for _, piece in pieces)


def test_an_uncapped_answer_is_decoded() -> None:
    """The text is found behind the whole request too, where the kernel repeats it."""
    request = struct.pack("=IHHII", 24, 16, 5, 1, 0) + bytes(8)
    words = b"no such thing\0"
    attribute = struct.pack("=HH", 4 + len(words), 1) + words
    body = struct.pack("=i", -errno.EINVAL) + request + attribute
    data = struct.pack("=IHHII", 16 + len(body), 2, 0x200, 1, 0) + body
    assert _refusal(data, 0x200, 16, len(data), 0) == Refusal(0, errno.EINVAL, "no such thing")


@pytest.fixture
def transport() -> Iterator[Transport]:
    """An rtnetlink socket in this test's namespace: asking needs no privilege, and nothing here can be changed by what is sent."""
    opened = Transport(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0))
    yield opened
    opened.close()


def test_refusals_name_their_messages(transport: Transport) -> None:
    """Of many messages in one call, those refused are told by their place, in order."""
    nothing = [messages.delete_link("no-such-link") for _ in range(600)]
    assert [each.index for each in transport.send(nothing)] == list(range(600))


def test_the_loopback_has_an_index(transport: Transport) -> None:
    """An interface's index is found by name; a missing interface is `NotFound`."""
    assert transport.index("lo") == socket.if_nametoindex("lo")
    with pytest.raises(NotFound, match="no-such-link"):
        transport.index("no-such-link")


def test_a_dump_has_every_link(transport: Transport) -> None:
    """A dump answers with one message per interface."""
    assert len(transport.dump(messages.dump_links())) == len(socket.if_nameindex())


def test_a_refused_dump_is_an_error(transport: Transport) -> None:
    """A dump that the kernel refuses raises with its words instead of answering nothing."""
    question = bytearray(messages.dump_routes(socket.AF_INET))
    question[16 + 3] = 1  # a type of service, by which nothing can be filtered
    with pytest.raises(LibnetworkError, match="read the routes"):
        transport.strict().dump(question, "read the routes")
