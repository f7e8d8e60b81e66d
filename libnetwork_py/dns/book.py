"""What names mean: networks with their endpoints, and sandboxes with what they see of them.

One `Book` is in the controller and one in the service's process; the second is told of changes by *notes*, lists that JSON can carry,
in the order in which they happened. Runs in the service's own process.

May import: wire.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

from . import wire

Note: TypeAlias = list[Any]
"""A change: a verb and what it is about; see `Book.take`."""
Packed: TypeAlias = tuple[bytes, ...]
Ids: TypeAlias = str | dict[str, None]
"""Of endpoints: mostly one, for which a dict would take five times the room, of thousands."""
_NONE: Mapping[bytes, bytes] = {}


class Endpoint(NamedTuple):
    """A joined endpoint: its names, the first of which is told who asks for its address; addresses; ports with their names."""

    names: tuple[str, ...]
    addresses: Packed
    ports: tuple[tuple[int, str, tuple[str, ...]], ...]


class Network:
    """A network's endpoints, by name and by address."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.endpoints: dict[str, Endpoint] = {}
        self.named: dict[bytes, Ids] = {}
        self.at: dict[bytes, str] = {}

    def put(self, endpoint_id: str, endpoint: Endpoint) -> None:
        """Add an endpoint, or put it in the place of what it was."""
        self.drop(endpoint_id)
        self.endpoints[endpoint_id] = endpoint
        for name in map(wire.name_of, endpoint.names):
            if name is not None:
                ids = self.named.setdefault(name, endpoint_id)
                if isinstance(ids, dict):
                    ids[endpoint_id] = None
                elif ids != endpoint_id:
                    self.named[name] = {ids: None, endpoint_id: None}
        self.at.update(dict.fromkeys(endpoint.addresses, endpoint_id))

    def drop(self, endpoint_id: str) -> None:
        """Forget an endpoint."""
        endpoint = self.endpoints.pop(endpoint_id, None)
        for name in map(wire.name_of, endpoint.names if endpoint else ()):
            ids = self.named.get(name or b"", "")
            if isinstance(ids, dict):
                ids.pop(endpoint_id, None)
            if ids in ({}, endpoint_id):
                self.named.pop(name or b"", None)
        for address in endpoint.addresses if endpoint else ():
            if self.at.get(address) == endpoint_id:
                del self.at[address]

    def called(self, name: bytes) -> list[Endpoint]:
        """Return the endpoints of a name."""
        ids = self.named.get(name, {})
        return [self.endpoints[each] for each in ((ids,) if isinstance(ids, str) else ids)]


class Box(NamedTuple):
    """What a sandbox sees.

    Attributes:
        networks: Ids, in the order in which names are looked for.
        records: Names of its own → addresses: the user's records and those of the host.
        aliases: Names of its own → the names that they stand for.
        servers: Who is asked about other names: address, and whether from the host's namespace.
        ndots: The number that the user gave, if any.
        where: Its network namespace's path, as every process has it.
    """

    networks: tuple[str, ...]
    records: Mapping[bytes, Packed]
    aliases: Mapping[bytes, bytes]
    servers: tuple[tuple[str, bool], ...]
    ndots: int | None
    where: str

    @property
    def view(self) -> tuple[object, ...]:
        """What decides its answers: sandboxes with equal ones get equal answers."""
        records, aliases = tuple(sorted(self.records.items())), tuple(sorted(self.aliases.items()))
        return self.networks, records, aliases, self.ndots is None


class Book:
    """All names of one controller."""

    def __init__(self) -> None:
        self.networks: dict[str, Network] = {}
        self.boxes: dict[str, Box] = {}

    def take(self, notes: Iterable[Note]) -> None:
        """Apply changes: ``net ID NAME``, ``end NET ID NAMES ADDRESSES PORTS``, ``box ID {…}``, each with its ``no-…`` and id."""
        for verb, *rest in notes:
            match verb:
                case "net":
                    self.networks.setdefault(rest[0], Network(rest[1])).name = rest[1]
                case "no-net":
                    self.networks.pop(rest[0], None)
                case "end":
                    if rest[0] in self.networks:
                        self.networks[rest[0]].put(rest[1], _endpoint(*rest[2:]))
                case "no-end":
                    if rest[0] in self.networks:
                        self.networks[rest[0]].drop(rest[1])
                case "box":
                    self.boxes[rest[0]] = box_of(rest[1])
                case "no-box":
                    self.boxes.pop(rest[0], None)
                case _:
                    raise ValueError(f"unknown note {verb!r}")

    def addresses(self, box: Box, name: bytes) -> Packed | None:
        """Return a name's addresses for a sandbox, of both families and without repetition; ``None`` for an unknown name."""
        name = box.aliases.get(name, name)
        if name in box.records:
            return box.records[name]
        found = self._first(box, name)
        if found is None:
            return None
        return tuple(dict.fromkeys(address for endpoint in found for address in endpoint.addresses))

    def _first(self, box: Box, name: bytes) -> list[Endpoint] | None:
        """The endpoints of a name in the first network that has it, for each family that it has there."""
        families: dict[int, list[Endpoint]] = {}
        known = False
        for network, short in self._readings(box, name):
            called = network.called(short)
            known = known or bool(called)
            for size in {len(address) for endpoint in called for address in endpoint.addresses}:
                families.setdefault(
                    size,
                    [
                        each._replace(addresses=tuple(address for address in each.addresses if len(address) == size))
                        for each in called
                    ],
                )
        return [each for _, found in sorted(families.items()) for each in found] if known else None

    def _readings(self, box: Box, name: bytes) -> Iterator[tuple[Network, bytes]]:
        """Ways to read a name: as it is on every network, then its end as a network's name, the shortest first."""
        networks = [self.networks[each] for each in box.networks if each in self.networks]
        for network in networks:
            yield network, name
        labels = wire.labels_of(name)
        for cut in range(len(labels) - 1, 0, -1):
            end = b".".join(labels[cut:])
            for network in networks:
                if network.name.lower().encode() == end:
                    yield network, b"".join(bytes((len(each),)) + each for each in labels[:cut]) + b"\0"

    def reverse(self, box: Box, address: bytes) -> str | None:
        """Return who has an address: ``NAME.NETWORK``."""
        for network_id in box.networks:
            network = self.networks.get(network_id)
            endpoint_id = network.at.get(address) if network else None
            if network and endpoint_id:
                return f"{network.endpoints[endpoint_id].names[0]}.{network.name}"
        return None

    def services(self, box: Box, name: bytes) -> list[tuple[int, str, Packed]] | None:
        """Return what ``_PORT._PROTOCOL.NAME`` offers: port, host, addresses; ``None`` if that is no name of a service here."""
        labels = wire.labels_of(name)
        if len(labels) < 3 or labels[0][:1] != b"_" or labels[1][:1] != b"_":
            return None
        rest = name[len(labels[0]) + len(labels[1]) + 2 :]
        wanted, protocol = labels[0][1:].decode("latin-1"), labels[1][1:].decode("latin-1")
        for network, short in self._readings(box, box.aliases.get(rest, rest)):
            called = network.called(short)
            if called:
                return [
                    (number, f"{each.names[0]}.{network.name}", each.addresses)
                    for each in called
                    for number, its, names in each.ports
                    if its == protocol and (wanted in names or wanted == str(number))
                ]
        return None

    def notes(self) -> Iterator[Note]:
        """Return the notes that make an empty book equal to this one."""
        for network_id, network in self.networks.items():
            yield ["net", network_id, network.name]
            for endpoint_id, endpoint in network.endpoints.items():
                yield end_note(network_id, endpoint_id, endpoint)
        for box_id, box in self.boxes.items():
            yield box_note(box_id, box)


def end_note(network_id: str, endpoint_id: str, endpoint: Endpoint) -> Note:
    """Return the note of an endpoint."""
    addresses = [_text(each) for each in endpoint.addresses]
    ports = [[number, protocol, list(names)] for number, protocol, names in endpoint.ports]
    return ["end", network_id, endpoint_id, list(endpoint.names), addresses, ports]


def box_note(box_id: str, box: Box) -> Note:
    """Return the note of a sandbox."""
    records = [[wire.text_of(name), [_text(each) for each in found]] for name, found in box.records.items()]
    aliases = [[wire.text_of(name), wire.text_of(other)] for name, other in box.aliases.items()]
    told = {
        "networks": list(box.networks),
        "records": records,
        "aliases": aliases,
        "servers": list(map(list, box.servers)),
    }
    return ["box", box_id, {**told, "ndots": box.ndots, "where": box.where}]


def _text(packed: bytes) -> str:
    """A packed address as text: with every join, and `ipaddress` takes ten times as long."""
    return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)


def _packed(text: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)


def named(pairs: Iterable[tuple[str, str]]) -> Mapping[bytes, Packed]:
    """Return names with their addresses, out of pairs of which several may be of one name; impossible names are left out."""
    return _named(tuple(pairs))


@lru_cache(maxsize=256)  # a network's sandboxes have the same ones
def _named(pairs: tuple[tuple[str, str], ...]) -> Mapping[bytes, Packed]:
    found: dict[bytes, Packed] = {}
    for name, address in pairs:
        key = wire.name_of(name)
        if key is not None:
            found[key] = (*found.get(key, ()), _packed(address))
    return found


def _endpoint(names: Sequence[str], addresses: Sequence[str], ports: Sequence[Sequence[Any]]) -> Endpoint:
    return Endpoint(
        tuple(names),
        tuple(map(_packed, addresses)),
        tuple((number, protocol, tuple(called)) for number, protocol, called in ports),
    )


def box_of(told: Mapping[str, Any]) -> Box:
    """Return the sandbox of a note."""
    aliases = {wire.name_of(name): wire.name_of(other) for name, other in told["aliases"]}
    return Box(
        tuple(told["networks"]),
        named((name, address) for name, addresses in told["records"] for address in addresses),
        {name: other for name, other in aliases.items() if name and other} or _NONE,
        tuple((address, bool(host)) for address, host in told["servers"]),
        told["ndots"],
        told["where"],
    )
