"""Deletes links, and lets the caller go on as soon as they are off the list of links.

The kernel answers a deletion when it has taken the link apart, 14 to 35 ms later: it waits until nobody can be using it any more
(``rcu_barrier`` in ``netdev_run_todo``). By then the link has long been closed, nobody finds it, and its name and numbers are free:
whoever changes anything waits for rtnl's lock, which the deletion holds until then. So a thread of its own waits for the answer.

May import: opener, stack, workers, transport, errors.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from ..errors import NotFound
from .stack import Sockets, Stack
from .transport import Buffer, Refusal, Transport

PAUSE = 0.0002
"""Seconds between looks: a veth pair is off the list after 0.5 ms, a bridge after 3 ms."""


def depart(sockets: Sockets, stack: Stack, names: Sequence[str], messages: Sequence[Buffer]) -> list[Refusal]:
    """Send messages that delete the links ``names``; return what was refused, by the time they are gone or all is answered.

    Raises:
        LibnetworkError: the messages could not be sent.
    """

    def send() -> list[Refusal]:
        transport = sockets.inside(stack.path)  # the caller goes on with the other one
        try:
            return transport.send(messages)
        finally:
            transport.close()

    looking = stack.transport
    job = sockets.opener.aside(send)
    left = list(names)
    try:
        while left and not job.finished:
            if _is_there(looking, left[-1]):
                time.sleep(PAUSE)
            else:
                left.pop()
    except BaseException:
        job.settle()  # an interrupt: whoever undoes this must see what became of it
        raise
    return job.settled() if left else []


def _is_there(transport: Transport, name: str) -> bool:
    try:
        transport.index(name)
    except NotFound:
        return False
    return True
