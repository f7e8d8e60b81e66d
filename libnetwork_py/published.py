"""The description's words for the packet filter, and for what a relay carries past it.

Division of labour: `desired` has all other words, and these among them; what a table holds is said in `nftables`.

May import: nftables, types.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from ipaddress import IPv6Address
from typing import TypeAlias

from attrs import Factory, field, frozen

from .nftables import Atom, Chain, SetDecl, Verdict
from .types import IPAddress, Protocol

Key: TypeAlias = tuple[str, ...]


@frozen(cache_hash=True)
class Table:
    """One ``inet`` table of the packet filter, whole: sets (empty), chains, rules. Its contents never change."""

    namespace: str
    name: str
    sets: tuple[SetDecl, ...]
    chains: tuple[Chain, ...]

    @property
    def key(self) -> Key:
        """What tells it from every other object of a machine."""
        return ("table", self.namespace, self.name)

    @property
    def devices(self) -> frozenset[str]:
        """The links that its chains hang on: it is made after them, and goes with them."""
        return frozenset(chain.hook.device for chain in self.chains if chain.hook and chain.hook.device)


@frozen(cache_hash=True)  # there are thousands of them
class Element:
    """One element of a set or map of a `Table`, or a run of them. ``set`` is the declaration, so that the word is complete.

    ``count``: so many elements, of which each has the last field of its key, and of its value, one higher than the one before.
    """

    namespace: str
    table: str
    set: SetDecl = field(hash=False)
    fields: tuple[Atom, ...]
    value: tuple[Atom, ...] | Verdict | None = field(default=None, hash=False)
    count: int = 1

    @property
    def singles(self) -> Iterator[Element]:
        """The elements of a run, each as a word of its own."""
        if self.count == 1:
            yield self
            return
        value = self.value if isinstance(self.value, tuple) else None
        for number in range(self.count):
            leads_to = self.value if value is None else _counted(value, number)
            yield Element(self.namespace, self.table, self.set, _counted(self.fields, number), leads_to)

    @property
    def key(self) -> Key:
        """What tells it from every other object of a machine."""
        return ("element", self.namespace, self.table, self.set.name, *map(str, self.fields))


@cache
def _text(address: IPAddress) -> str:
    """An address as text: there are thousands of words of few addresses."""
    return str(address)


def _counted(fields: tuple[Atom, ...], number: int) -> tuple[Atom, ...]:
    last = fields[-1]
    assert isinstance(last, int), "what counts is a number"
    return (*fields[:-1], last + number)


CALLER = IPv6Address("::ffff:127.0.0.1")
"""The address of the caller's own machine, for a `Relay`: no address of the host is written so."""


@frozen(cache_hash=True)
class Relay:
    """A run of ``count`` ports of a host's address, from ``port`` on, carried to as many of ``to`` by a process: the kernel cannot.

    ``host_ip`` ``::`` is every IPv6 address of the host; `CALLER` is 127.0.0.1 where the caller is, which for a user's host is somewhere
    else. The namespace is the host's.
    """

    namespace: str
    protocol: Protocol
    host_ip: IPAddress
    port: int
    to: IPAddress
    to_port: int
    count: int = 1
    key: Key = field(
        init=False,
        eq=False,
        repr=False,
        default=Factory(
            lambda self: ("relay", self.namespace, self.protocol, _text(self.host_ip), str(self.port)), takes_self=True
        ),
    )
    """What tells it from every other object of a machine; asked a dozen times of each of thousands."""

    @property
    def ports(self) -> range:
        """The host's."""
        return range(self.port, self.port + self.count)
