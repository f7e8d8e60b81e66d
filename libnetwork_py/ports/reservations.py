"""Host ports that are published: chosen, remembered, and really taken.

Division of labour: the table here says which ports are ours and whose they are, and chooses; `guards` keeps a port from every other
process of the host (and tells us when one has it); `places` says which addresses stand in each other's way.

What is asked for in one call is reserved whole or not at all. A port costs one open file: one socket keeps the unspecified addresses of
both families. Not thread-safe: whoever calls holds a lock.

May import: guards, places, ranges, types, errors.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from itertools import chain
from socket import socket as Socket  # noqa: N812 (the name of a method here)
from typing import TypeAlias

from attrs import define, frozen

from ..errors import Conflict, InvalidParameter, LibnetworkError, Unavailable
from ..types import FAMILIES, PROTOCOLS, Family, IPAddress, PortBinding, Protocol
from .guards import Guards, OpenSockets, where
from .places import ANY, addresses_of, places_of, shared
from .ranges import DYNAMIC_PORTS


@frozen
class Reservation:
    """One port of one address that is ours. ``guarded``: a socket of this process keeps other processes out."""

    protocol: Protocol
    address: IPAddress
    port: int
    owner: str
    guarded: bool

    def __str__(self) -> str:
        return where(self.protocol, self.address, self.port)


@define
class _Hold:
    """``address`` ``None``: one socket keeps the unspecified addresses of both families."""

    owner: str
    address: IPAddress | None
    socket: Socket | None
    guarded: bool


_Place: TypeAlias = tuple[Protocol, int]
_Kept: TypeAlias = dict[_Place, dict[IPAddress | None, Socket | None]]
"""Protocol and port → address, ``None`` as in a hold → the socket that kept it; ``None`` once it made way for one of a hold that waits."""


class Reservations:
    """The published ports of one host.

    Args:
        open_sockets: Opens sockets in the host's namespace: one for each port and family, those of one binding together.
        ephemeral: What "any free port" is chosen from: the host's ``ip_local_port_range``.
        excluded: Ports never chosen freely, though given when asked for: the host's ``ip_local_reserved_ports``.
        renew: Has whoever got copies of a port's sockets give them up and ask for the new one (see `socket`).
    """

    def __init__(
        self,
        open_sockets: OpenSockets,
        ephemeral: range = DYNAMIC_PORTS,
        excluded: Collection[int] = frozenset(),
        renew: Callable[[Protocol, IPAddress, int], object] = lambda *_: None,
    ) -> None:
        self._guards = Guards(open_sockets)
        self._ephemeral = ephemeral
        self._excluded = frozenset(excluded)
        self._renew = renew
        self._next = dict.fromkeys(PROTOCOLS, ephemeral.start)
        self._held: dict[tuple[Protocol, int], list[_Hold]] = {}
        self._kept: _Kept | None = None
        self._waiting: dict[_Place, list[_Hold]] = {}

    def bulk(self) -> AbstractContextManager[None]:
        """Enter it around many single reservations: they then share journeys into the host's namespace."""
        return self._guards.bulk()

    @contextmanager
    def keeping(self) -> Iterator[None]:
        """While it is entered, sockets of what is released stay open, so that it can be taken back; afterwards they are closed.

        A relay may have copies of them until the operation is done. Where one is in the way of another address of its port, the new
        hold waits for its own socket: until a relay asks for that (see `socket`), or the end.
        """
        self._kept = {}
        try:
            yield
        finally:
            kept, self._kept = self._kept or {}, None
            for sockets in kept.values():
                for each in sockets.values():
                    if each is not None:
                        each.close()
            for (protocol, port), holds in self._waiting.items():
                for hold in holds:
                    self._end_waiting(protocol, port, hold)
            self._waiting.clear()

    def socket(self, protocol: Protocol, address: IPAddress, port: int) -> Socket | None:
        """Return the socket of this process that keeps a port at an address, if there is one.

        What was released and may still be taken back (see `keeping`) counts: undoing an operation takes it up before the table does.
        Of two that are in each other's way the one that is asked for is bound, and the other makes way.

        Raises:
            LibnetworkError: such a one cannot be bound.
        """
        for hold in self._held.get((protocol, port), ()):
            if hold.address is None or hold.address == address:
                if hold.socket is None and hold in self._waiting.get((protocol, port), ()):
                    self._make_way(protocol, port, hold)
                return hold.socket
        kept = self._kept.get((protocol, port), {}) if self._kept else {}
        place = next((each for each in kept if each in {None, address}), address)
        if place in kept and kept[place] is None:
            kept[place] = self._take_back(protocol, port, place)
        return kept.get(place)

    def _make_way(self, protocol: Protocol, port: int, hold: _Hold) -> None:
        """Bind the socket of a hold that waits, in place of those that were kept."""
        kept = self._kept.get((protocol, port), {}) if self._kept else {}
        for place, sock in kept.items():
            if sock is not None and shared(place, hold.address) is not None:
                sock.close()
                kept[place] = None
        assert hold.address is not None, "who waits has one address"
        hold.socket = self._guards.guard(protocol, hold.address, port)

    def _take_back(self, protocol: Protocol, port: int, place: IPAddress | None) -> Socket | None:
        """Bind again what was kept, in place of those that waited."""
        for hold in self._waiting.get((protocol, port), ()):
            if hold.socket is not None and shared(place, hold.address) is not None:
                hold.socket.close()
                hold.socket = None
        if place is None:
            return self._guards.guard_both(protocol, port)
        return self._guards.guard(protocol, place, port)

    def _end_waiting(self, protocol: Protocol, port: int, hold: _Hold) -> None:
        if not any(each is hold for each in self._held.get((protocol, port), ())):
            return  # given back meanwhile
        if hold.socket is None:
            try:
                self._make_way(protocol, port, hold)
            except LibnetworkError:  # a relay still has what was in the way: nothing that it carries has changed
                assert hold.address is not None, "who waits has one address"
                with suppress(LibnetworkError):
                    self._renew(protocol, hold.address, port)
        hold.guarded = hold.socket is not None

    def reserve(self, binding: PortBinding, families: Collection[Family] = FAMILIES, owner: str = "") -> PortBinding:
        """Take the host ports that ``binding`` asks for, and return it with the ones it got.

        Host port 0: any free one, going on from the last one given, in turn. A host range for one container port: the lowest free
        one. A binding without host address takes the same port of every family in ``families``.

        Raises:
            Conflict: ``port_taken``: ours already, published by ``error.owner``; ``port_in_use``: another process has it.
            InvalidParameter: the host does not have the address. Forbidden: a port below
                ``net.ipv4.ip_unprivileged_port_start`` without privilege. Unavailable: every port that would do is taken, or the
                process may open no more files.
        """
        _check(binding)
        return binding.at(self._choose(binding, places_of(addresses_of(binding, families)), owner))

    def reserve_all(
        self, bindings: Sequence[PortBinding], families: Collection[Family] = FAMILIES, owner: str = ""
    ) -> tuple[PortBinding, ...]:
        """Take the host ports of several bindings, or none; return them in the order given.

        As in the reference, who asks for a certain port is served before who takes any of a range, before who takes any at all, and
        bindings that differ only in their host address get the same port, unless one address is part of the other.

        Raises:
            LibnetworkError: as `reserve`.
        """
        if len(bindings) == 1:
            return (self.reserve(bindings[0], families, owner),)
        groups: dict[tuple[PortBinding, int], list[tuple[int, list[IPAddress | None]]]] = {}
        seen: Counter[PortBinding] = Counter()
        for place, binding in enumerate(bindings):
            _check(binding)
            held, group, turn = places_of(addresses_of(binding, families)), _anywhere(binding), seen[binding]
            while any(_overlap(held, theirs) for _, theirs in groups.get((group, turn), ())):
                turn += 1  # one asked twice is two
            groups.setdefault((group, turn), []).append((place, held))
            seen[binding] = turn + 1
        got: dict[int, PortBinding] = {}
        try:
            with self.bulk():
                for group, turn in sorted(groups, key=lambda each: _freedom(each[0])):
                    members = groups[group, turn]  # each has holds of its own, for it may be released alone
                    first = self._choose(group, list(chain.from_iterable(held for _, held in members)), owner)
                    got.update({each: bindings[each].at(first) for each, _ in members})
        except BaseException:
            for each in got.values():
                self.release(each, families)
            raise
        return tuple(got[each] for each in range(len(bindings)))

    def adopt(self, binding: PortBinding, owner: str = "", families: Collection[Family] = FAMILIES) -> bool:
        """Take over a concrete binding that the records say is published, whoever holds its sockets now; never raises.

        A port that another process has (a controller on the same state directory, or a stranger) is ours in the table only. A second
        call tries again.

        Returns:
            Whether sockets of this process guard every one of its ports.
        """
        places = places_of(addresses_of(binding, families))
        ports = range(binding.host_port, binding.host_port_end + 1)
        guarded = [self._adopt(binding.protocol, place, port, owner) for port in ports for place in places]
        return all(guarded)

    def rename(self, owner: str, name: str, bindings: Iterable[PortBinding]) -> None:
        """Call the owner of concrete bindings by another name from now on, of those that it still has."""
        for binding in bindings:
            for port in range(binding.host_port, binding.host_port_end + 1):
                for hold in self._held.get((binding.protocol, port), ()):
                    if hold.owner == owner:
                        hold.owner = name

    def release(self, binding: PortBinding, families: Collection[Family] = FAMILIES) -> None:
        """Give back a concrete binding's host ports. What is not held is passed over."""
        addresses = addresses_of(binding, families)
        places = {*addresses, None} if len(addresses) > 1 else {*addresses}
        for port in range(binding.host_port, binding.host_port_end + 1):
            self._drop(binding.protocol, places, port)

    def held(self) -> tuple[Reservation, ...]:
        """Return what is reserved, by protocol, family, port and address."""
        found = [
            Reservation(protocol, address, port, hold.owner, hold.guarded)
            for (protocol, port), holds in self._held.items()
            for hold in holds
            for address in (ANY.values() if hold.address is None else (hold.address,))
        ]
        return tuple(
            sorted(found, key=lambda each: (each.protocol, each.address.version, each.port, int(each.address)))
        )

    def forget(self) -> None:
        """Close the sockets and keep the table: for a forked child, whose copies would keep a port that the parent gave back."""
        self._guards.close()
        for holds in self._held.values():
            for hold in holds:
                if hold.socket is not None:
                    hold.socket.close()
                hold.socket, hold.guarded = None, False

    def close(self) -> None:
        """Give everything back."""
        self.forget()
        self._held.clear()

    def _choose(self, binding: PortBinding, places: Sequence[IPAddress | None], owner: str) -> int:
        """Take the first candidate that is free and return its first port."""
        refused: Conflict | None = None
        for first in self._candidates(binding):
            try:
                self._claim(binding.protocol, places, range(first, first + binding.count), owner)
            except Conflict as error:
                refused = error
                continue
            if not binding.host_port:
                self._next[binding.protocol] = first + binding.count
            return first
        if refused is not None and _freedom(binding) == 0:
            raise refused
        raise _exhausted(binding, self._ephemeral) from refused

    def _candidates(self, binding: PortBinding) -> Iterable[int]:
        """First ports to try, in order."""
        if binding.count > 1 and binding.host_port:
            return (binding.host_port,)
        if binding.host_port:
            return range(binding.host_port, binding.host_port_end + 1)
        return self._free_choice(binding)

    def _free_choice(self, binding: PortBinding) -> Iterator[int]:
        starts = range(self._ephemeral.start, self._ephemeral.stop - binding.count + 1)
        turn = self._next[binding.protocol]
        for first in chain(range(turn, starts.stop), range(starts.start, min(turn, starts.stop))):
            if self._excluded.isdisjoint(range(first, first + binding.count)):
                yield first

    def _claim(self, protocol: Protocol, places: Sequence[IPAddress | None], ports: range, owner: str) -> None:
        """Take every port at every place, or none."""
        for port in ports:
            if (protocol, port) in self._held:
                for place in places:
                    self._check_ours(protocol, place, port)
        taken: list[int] = []
        try:
            for more, port in zip(range(len(ports) - 1, -1, -1), ports, strict=True):
                taken.append(port)
                for place in places:
                    self._take(protocol, place, port, owner, more)
        except BaseException:
            for port in taken:
                self._drop(protocol, {*places, *(ANY.values() if None in places else ())}, port, owner)
            self._guards.settle()
            raise

    def _take(self, protocol: Protocol, place: IPAddress | None, port: int, owner: str, more: int = 0) -> None:
        """Hold a port at a place, guarded if anybody could take it; by one socket for both families where that can be."""
        holds = self._held.setdefault((protocol, port), [])
        if place is not None:
            holds.append(self._guarded(protocol, place, port, owner, more))
            return
        kept = self._kept.get((protocol, port)) if self._kept else None
        guard = kept.pop(None, None) if kept else None
        if guard is None and not self._in_the_way(protocol, port, None):
            guard = self._guards.guard_both(protocol, port, more)
        if guard is not None:
            holds.append(_Hold(owner, None, guard, guarded=True))
            return
        for address in ANY.values():
            holds.append(self._guarded(protocol, address, port, owner, more))

    def _guarded(self, protocol: Protocol, address: IPAddress, port: int, owner: str, more: int) -> _Hold:
        kept = self._kept.get((protocol, port)) if self._kept else None
        guard = kept.pop(address, None) if kept else None
        if guard is None and self._in_the_way(protocol, port, address):
            hold = _Hold(owner, address, None, guarded=True)
            self._waiting.setdefault((protocol, port), []).append(hold)
            return hold
        guard = guard or self._guards.guard(protocol, address, port, more)
        return _Hold(owner, address, guard, guard is not None)

    def _in_the_way(self, protocol: Protocol, port: int, place: IPAddress | None) -> bool:
        """Whether a place cannot be bound for what may be taken back and a relay may have; what none can have makes way."""
        kept = self._kept.get((protocol, port), {}) if self._kept else {}
        for rival, sock in kept.items():
            if sock is None or shared(rival, place) is None:
                continue
            if rival is None or rival.version == 6:
                return True
            sock.close()
            kept[rival] = None
        return False

    def _adopt(self, protocol: Protocol, place: IPAddress | None, port: int, owner: str) -> bool:
        """Whether the port is guarded there now."""
        wanted = [*ANY.values()] if place is None else [place]
        holds = [
            each for each in self._held.get((protocol, port), ()) if each.address is None or each.address in wanted
        ]
        if holds and all(each.guarded for each in holds):
            return True
        self._drop(protocol, {None, *wanted} if place is None else {place}, port)
        try:
            self._take(protocol, place, port, owner)
        except LibnetworkError:
            known = [each.address for each in self._held[protocol, port]]
            self._held[protocol, port] += [
                _Hold(owner, each, None, guarded=False) for each in wanted if each not in known
            ]
            return False
        return all(
            each.guarded for each in self._held[protocol, port] if each.address is None or each.address in wanted
        )

    def _check_ours(self, protocol: Protocol, place: IPAddress | None, port: int) -> None:
        for hold in self._held.get((protocol, port), ()):
            common = shared(hold.address, place)
            if common is not None:
                raise Conflict(
                    f"host port {where(protocol, common, port)} is already published{' by ' + hold.owner if hold.owner else ''}: "
                    "choose another host port, or 0 for any free one",
                    code="port_taken",
                    port=port,
                    address=place or ANY[4],
                    protocol=protocol,
                    owner=hold.owner,
                )

    def _drop(
        self, protocol: Protocol, places: Collection[IPAddress | None], port: int, owner: str | None = None
    ) -> None:
        holds = self._held.get((protocol, port), [])
        for hold in [each for each in holds if each.address in places and owner in {None, each.owner}]:
            holds.remove(hold)
            if hold.socket is None:
                continue
            if self._kept is None:
                hold.socket.close()
            else:
                self._kept.setdefault((protocol, port), {})[hold.address] = hold.socket
        if not holds:
            self._held.pop((protocol, port), None)


def _check(binding: PortBinding) -> None:
    if not binding.host_port and binding.host_port_end:
        raise InvalidParameter(
            f"invalid port {binding}: a host range needs its first port", code="invalid_port", binding=str(binding)
        )


def _overlap(some: Sequence[IPAddress | None], others: Sequence[IPAddress | None]) -> bool:
    return any(shared(one, other) is not None for one in some for other in others)


def _anywhere(binding: PortBinding) -> PortBinding:
    """The binding without its host address: what bindings that get the same port have in common."""
    return PortBinding(
        binding.container_port,
        binding.protocol,
        None,
        binding.host_port,
        binding.host_port_end,
        binding.container_port_end,
    )


def _freedom(binding: PortBinding) -> int:
    """0: certain ports; 1: any of a range; 2: any."""
    if not binding.host_port:
        return 2
    return int(binding.host_port_end - binding.host_port + 1 != binding.count)


def _exhausted(binding: PortBinding, ephemeral: range) -> Unavailable:
    low, high = (
        (binding.host_port, binding.host_port_end) if binding.host_port else (ephemeral.start, ephemeral.stop - 1)
    )
    what = f"{binding.count} free ports in a row" if binding.count > 1 else "a free port"
    return Unavailable(
        f"there is not {what} of {low}-{high}/{binding.protocol} on the host for {binding}: unpublish some, or name others",
        code="ports_exhausted",
        binding=str(binding),
    )
