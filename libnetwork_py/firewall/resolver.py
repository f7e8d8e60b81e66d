"""The small table of a sandbox with a name service: who asks 127.0.0.11 on port 53 reaches the port where it listens.

Division of labour: here stands how a question gets there and the answer back; what is answered is the business of `dns`.

The service listens on a port that nobody wants, so that port 53 stays free on every other address and on all of them. Only the
port in the packet is changed, on its way in and on its way out: nothing is translated, so no connection is tracked, in a sandbox that
may answer a hundred thousand questions a second. Where somebody else's rules track connections, they see one on port 53: questions
are changed after they were seen, answers before.

May import: clauses, desired, nftables, types.
"""

from __future__ import annotations

import hashlib
from functools import cache
from ipaddress import ip_network
from typing import Literal

from ..desired import Table
from ..nftables import Chain, Hook, Rule
from .clauses import Protocol, port, rewrite, rule, within

NAME = "libnetwork_py_names"
"""Name of the table."""
ADDRESS = "127.0.0.11"
"""Where the name service of every sandbox answers (the reference's address)."""
PORT = 53053
"""Where it listens. In the range that the kernel gives to connections, where no service is."""

_DNS = 53
_BEFORE_TRACKING, _LAST = -300, 300
_HERE = ip_network(ADDRESS)
_PROTOCOLS: tuple[Protocol, ...] = ("udp", "tcp")


def table(namespace: str) -> Table:
    """Return the table for a sandbox."""
    return Table(namespace, NAME, (), _chains())


@cache
def _chains() -> tuple[Chain, ...]:
    """Named by their content, so that a table which another version of the library made is seen to differ."""
    queries = tuple(_rule("dport", each, _DNS, PORT) for each in _PROTOCOLS)
    replies = tuple(_rule("sport", each, PORT, _DNS) for each in _PROTOCOLS)
    digest = hashlib.blake2s(repr((queries, replies)).encode(), digest_size=4).hexdigest()
    return (
        Chain(f"queries_{digest}", queries, Hook("filter", "input", _LAST)),
        Chain(f"replies_{digest}", replies, Hook("filter", "output", _BEFORE_TRACKING)),
    )


def _rule(field: Literal["sport", "dport"], protocol: Protocol, old: int, new: int) -> Rule:
    address = within("ip daddr" if field == "dport" else "ip saddr", _HERE)
    return rule(address, port(protocol, field, old), rewrite(protocol, field, new))
