"""Host ports that are published: chosen, remembered, and really taken.

Division of labour: the table here says which ports are ours and whose they are, and chooses; `guards` keeps a port from every other
process of the host (and tells us when one has it).

Rule 1: an unspecified address (0.0.0.0, ::) conflicts with every address of its family, and the families do not know each other.
Rule 2: what is asked for in one call is reserved whole or not at all.

A port costs one open file: one socket keeps the unspecified addresses of both families. Not thread-safe: whoever calls holds a lock.

May import: guards, ranges, types, errors.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from ipaddress import IPv4Address, IPv6Address
from itertools import chain
from socket import socket as Socket  # noqa: N812 (the name of a method here)
from typing import TypeAlias

from attrs import define, frozen

from ..errors import Conflict, InvalidParameter, LibnetworkError, Unavailable
from ..types import FAMILIES, PROTOCOLS, Family, IPAddress, PortBinding, Protocol
from .guards import Guards, OpenSockets, where
from .ranges import DYNAMIC_PORTS

_ANY: dict[Family, IPAddress] = {4: IPv4Address(0), 6: IPv6Address(0)}
_BOTH = frozenset(_ANY.values())


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


_Kept: TypeAlias = dict[tuple[Protocol, int], dict[IPAddress | None, Socket]]
"""Protocol and port → address → the socket that kept it; ``None`` as in a hold."""


class Reservations:
    """The published ports of one host.

    Args:
        open_sockets: Opens sockets in the host's namespace: one for each port and family, those of one binding together.
        ephemeral: What "any free port" is chosen from: the host's ``ip_local_port_range``.
        excluded: Ports never chosen freely, though given when asked for: the host's ``ip_local_reserved_ports``.
    """

    def __init__(
        self, open_sockets: OpenSockets, ephemeral: range = DYNAMIC_PORTS, excluded: Collection[int] = frozenset()
    ) -> None:
        self._guards = Guards(open_sockets)
        self._ephemeral = ephemeral
        self._excluded = frozenset(excluded)
        self._next = dict.fromkeys(PROTOCOLS, ephemeral.start)
        self._held: dict[tuple[Protocol, int], list[_Hold]] = {}
        self._kept: _Kept | None = None
        self._waiting: list[tuple[Protocol, int, _Hold]] = []

    def bulk(self) -> AbstractContextManager[None]:
        """Enter it around many single reservations: they then share journeys into the host's namespace."""
        return self._guards.bulk()

    @contextmanager
    def keeping(self) -> Iterator[None]:
        """While it is entered, sockets of what is released stay open, so that it can be taken back; afterwards they are closed."""
        self._kept = {}
        try:
            yield
        finally:
            kept, self._kept = self._kept or {}, None
            for sockets in kept.values():
                for each in sockets.values():
                    each.close()
            for protocol, port, hold in self._waiting:
                assert hold.address is not None, "it was narrower"
                with suppress(LibnetworkError):
                    hold.socket = self._guards.guard(protocol, hold.address, port)
                hold.guarded = hold.socket is not None
            self._waiting.clear()

    def socket(self, protocol: Protocol, address: IPAddress, port: int) -> Socket | None:
        """Return the socket of this process that keeps a port at an address, if there is one.

        What was released and may still be taken back (see `keeping`) counts: undoing an operation takes it up before the table does.
        """
        holds = self._held.get((protocol, port), ())
        kept = self._kept.get((protocol, port), {}) if self._kept else {}
        found = [(hold.address, hold.socket) for hold in holds] or kept.items()
        return next((each for place, each in found if place is None or place == address), None)

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
        return binding.at(self._choose(binding, _addresses(binding, families), owner))

    def reserve_all(
        self, bindings: Sequence[PortBinding], families: Collection[Family] = FAMILIES, owner: str = ""
    ) -> tuple[PortBinding, ...]:
        """Take the host ports of several bindings, or none; return them in the order given.

        As in the reference, who asks for a certain port is served before who takes any of a range, before who takes any at all, and
        bindings that differ only in their host address get the same port.

        Raises:
            LibnetworkError: as `reserve`.
        """
        if len(bindings) == 1:
            return (self.reserve(bindings[0], families, owner),)
        groups: dict[tuple[PortBinding, int], list[int]] = {}
        seen: Counter[PortBinding] = Counter()
        for place, binding in enumerate(bindings):
            _check(binding)
            groups.setdefault((_anywhere(binding), seen[binding]), []).append(place)  # one asked twice is two
            seen[binding] += 1
        got: dict[int, PortBinding] = {}
        try:
            with self.bulk():
                for group, turn in sorted(groups, key=lambda each: _freedom(each[0])):
                    places = groups[group, turn]
                    addresses = list(chain.from_iterable(_addresses(bindings[each], families) for each in places))
                    first = self._choose(group, addresses, owner)
                    got.update({each: bindings[each].at(first) for each in places})
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
        places = _places(_addresses(binding, families))
        ports = range(binding.host_port, binding.host_port_end + 1)
        guarded = [self._adopt(binding.protocol, place, port, owner) for port in ports for place in places]
        return all(guarded)

    def release(self, binding: PortBinding, families: Collection[Family] = FAMILIES) -> None:
        """Give back a concrete binding's host ports. What is not held is passed over."""
        addresses = _addresses(binding, families)
        places = {*addresses, None} if len(addresses) > 1 else {*addresses}
        for port in range(binding.host_port, binding.host_port_end + 1):
            self._drop(binding.protocol, places, port)

    def held(self) -> tuple[Reservation, ...]:
        """Return what is reserved, by protocol, family, port and address."""
        found = [
            Reservation(protocol, address, port, hold.owner, hold.guarded)
            for (protocol, port), holds in self._held.items()
            for hold in holds
            for address in (_ANY.values() if hold.address is None else (hold.address,))
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

    def _choose(self, binding: PortBinding, addresses: Sequence[IPAddress], owner: str) -> int:
        """Take the first candidate that is free and return its first port."""
        refused: Conflict | None = None
        for first in self._candidates(binding):
            try:
                self._claim(binding.protocol, addresses, range(first, first + binding.count), owner)
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

    def _claim(self, protocol: Protocol, addresses: Sequence[IPAddress], ports: range, owner: str) -> None:
        """Take every port at every address, or none."""
        places = _places(addresses)
        for port in ports:
            if (protocol, port) in self._held:
                for place in places:
                    self._check_ours(protocol, place, port)
        taken: list[int] = []
        try:
            for more, port in zip(range(len(ports) - 1, -1, -1), ports, strict=True):
                taken.append(port)
                for place in places:
                    if len(places) > 1:  # of the binding itself: 0.0.0.0 and 127.0.0.1
                        self._check_ours(protocol, place, port)
                    self._take(protocol, place, port, owner, more)
        except BaseException:
            for port in taken:
                self._drop(protocol, {*places, *addresses}, port, owner)
            self._guards.settle()
            raise

    def _take(self, protocol: Protocol, place: IPAddress | None, port: int, owner: str, more: int = 0) -> None:
        """Hold a port at a place, guarded if anybody could take it; by one socket for both families where that can be."""
        holds = self._held.setdefault((protocol, port), [])
        if place is not None:
            holds.append(self._guarded(protocol, place, port, owner, more))
            return
        kept = self._kept.get((protocol, port)) if self._kept else None
        guard = (kept.pop(None, None) if kept else None) or self._guards.guard_both(protocol, port, more)
        if guard is not None:
            holds.append(_Hold(owner, None, guard, guarded=True))
            return
        for address in _ANY.values():
            holds.append(self._guarded(protocol, address, port, owner, more))

    def _guarded(self, protocol: Protocol, address: IPAddress, port: int, owner: str, more: int) -> _Hold:
        kept = self._kept.get((protocol, port)) if self._kept else None
        if kept and None in kept and address.version == 4:  # a relay may have a copy of it until the operation is done
            hold = _Hold(owner, address, None, guarded=True)
            self._waiting.append((protocol, port, hold))
            return hold
        guard = kept.pop(address, None) if kept else None
        for each in kept.values() if kept and guard is None else ():
            each.close()
        guard = guard or self._guards.guard(protocol, address, port, more)
        return _Hold(owner, address, guard, guard is not None)

    def _adopt(self, protocol: Protocol, place: IPAddress | None, port: int, owner: str) -> bool:
        """Whether the port is guarded there now."""
        wanted = [*_ANY.values()] if place is None else [place]
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
            shared = _shared(hold.address, place)
            if shared is not None:
                raise Conflict(
                    f"host port {where(protocol, shared, port)} is already published{' by ' + hold.owner if hold.owner else ''}: "
                    "choose another host port, or 0 for any free one",
                    code="port_taken",
                    port=port,
                    address=place or _ANY[4],
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


def _places(addresses: Sequence[IPAddress]) -> list[IPAddress | None]:
    """The addresses, with ``None`` for both of the unspecified ones."""
    if not _BOTH.issubset(addresses):
        return list(addresses)
    return [None, *(each for each in addresses if each not in _BOTH)]


def _shared(held: IPAddress | None, place: IPAddress | None) -> IPAddress | None:
    """The held address that stands in the way of a place; ``None`` if none does."""
    if held is None:
        return _ANY[6 if place is not None and place.version == 6 else 4]
    if place is None or held == place:
        return held
    return held if held.version == place.version and (held.is_unspecified or place.is_unspecified) else None


def _check(binding: PortBinding) -> None:
    if not binding.host_port and binding.host_port_end:
        raise InvalidParameter(
            f"invalid port {binding}: a host range needs its first port", code="invalid_port", binding=str(binding)
        )


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


def _addresses(binding: PortBinding, families: Collection[Family]) -> list[IPAddress]:
    if binding.host_ip is not None:
        return [binding.host_ip]
    return [_ANY[family] for family in FAMILIES if family in families]


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
