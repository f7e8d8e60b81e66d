"""What a machine in memory has before anything is made, and what is in one of its namespaces.

May import: desired, facts, types.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from attrs import define, evolve, field, frozen

from ..desired import Key, Moved, Veth, Word
from ..facts import LinkFact, RouteFact
from ..types import EMPTY, IPInterface


@frozen
class Presets:
    """What the machine has before anything is made: nothing of it is ever removed.

    Attributes:
        links: Interfaces of the host, besides loopback.
        addresses: Addresses of the host: interface name and address.
        routes: Routes of the host, besides the connected ones of its addresses.
        sysctls: Settings of the host by dotted name below ``net.``; every other setting is ``0``.
        namespaces: Paths of namespaces that somebody else made.
        processes: Paths of the namespaces of processes, by pid.
    """

    links: tuple[LinkFact, ...] = ()
    addresses: tuple[tuple[str, IPInterface], ...] = ()
    routes: tuple[RouteFact, ...] = ()
    sysctls: Mapping[str, str] = EMPTY
    namespaces: frozenset[str] = frozenset()
    processes: Mapping[int, str] = MappingProxyType({})


@define
class Inside:
    """One namespace: the words in it, the ends that veth pairs of other namespaces have in it, interface numbers and settings.

    ``away``: links that were moved elsewhere; ``back``: those that came back, which leaves them down.
    """

    words: dict[Key, Word] = field(factory=dict)
    peers: dict[str, Veth] = field(factory=dict)
    indexes: dict[str, int] = field(factory=dict)
    last_index: int = 1
    settings: dict[Key, str] = field(factory=dict)
    away: dict[str, Moved] = field(factory=dict)
    back: dict[str, Moved] = field(factory=dict)

    def copy(self) -> Inside:
        """Return one in the same state that goes its own way."""
        return evolve(
            self,
            words=dict(self.words), peers=dict(self.peers), indexes=dict(self.indexes),
            settings=dict(self.settings), away=dict(self.away), back=dict(self.back),
        )  # fmt: skip

    def number(self, name: str) -> None:
        """Give an interface the next number."""
        self.last_index += 1
        self.indexes[name] = self.last_index
