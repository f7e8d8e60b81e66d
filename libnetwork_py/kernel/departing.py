"""Deletes links, and lets the caller go on as soon as they are off the list of links.

The kernel answers a deletion when it has taken the link apart, 14 to 35 ms later: it waits until nobody can be using it any more
(``rcu_barrier`` in ``netdev_run_todo``). By then the link has long been closed, nobody finds it, and its name and numbers are free:
whoever changes anything waits for rtnl's lock, which the deletion holds until then. So a thread of its own waits for the answer.

May import: stack, transport.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from .stack import Sockets
from .transport import Buffer, Refusal, Transport

PAUSE = 0.0002
"""Seconds between looks: a veth pair is off the list after 0.5 ms, a bridge after 3 ms."""


def depart(
    sockets: Sockets, path: str, looking: Transport, links: Sequence[tuple[str, int]], messages: Sequence[Buffer]
) -> list[Refusal]:
    """Send messages that delete links; return what was refused, by the time the links are gone or all is answered.

    Args:
        sockets: Opens the socket that sends.
        path: The namespace.
        looking: A socket inside.
        links: The links' names and indices.
        messages: What deletes them. It must name them by their indices: others may have the names before all is sent.

    Raises:
        LibnetworkError: the messages could not be sent.
    """
    if not links:
        return []

    def send() -> list[Refusal]:
        transport = sockets.inside(path)  # the caller goes on with the other one
        try:
            return transport.send(messages)
        finally:
            transport.close()

    job = sockets.opener.aside(send)
    left = list(links)
    try:
        while left and not job.finished:
            name, index = left[-1]
            if looking.find(name) == index:
                time.sleep(PAUSE)
            else:
                left.pop()
    except BaseException:
        job.settle()  # an interrupt: whoever undoes this must see what became of it
        raise
    return job.settled() if left else []
