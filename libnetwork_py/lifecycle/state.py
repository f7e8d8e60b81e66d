"""The records in memory, with the indices that make look-ups cost the same at any size.

May import: network, endpoint, sandbox, types, errors.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import attrgetter
from typing import TypeAlias, TypeVar

from ..endpoint import EndpointRecord
from ..errors import InvalidParameter, NotFound
from ..network import NetworkRecord
from ..sandbox import SandboxRecord

GONE_MAX = 1000
"""Names of deleted objects that are remembered, for errors."""

Record: TypeAlias = NetworkRecord | EndpointRecord | SandboxRecord
R = TypeVar("R", NetworkRecord, EndpointRecord, SandboxRecord)


class State:
    """Networks, endpoints and sandboxes by id and by name. Not thread-safe: the engine's lock guards it."""

    def __init__(self) -> None:
        self.networks: dict[str, NetworkRecord] = {}
        self.endpoints: dict[str, EndpointRecord] = {}
        self.sandboxes: dict[str, SandboxRecord] = {}
        self._network_names: dict[str, str] = {}
        self._sandbox_names: dict[str, str] = {}
        self._sandbox_keys: dict[str, str] = {}
        self._in_network: dict[str, dict[str, str]] = {}
        self._in_sandbox: dict[str, dict[str, None]] = {}
        self._segments: dict[str, dict[int, int]] = {}
        self._macs: dict[tuple[str, str], dict[str, None]] = {}
        self._gone: dict[str, str] = {}

    def put(self, record: Record) -> Record | None:
        """Hold ``record`` and return the one of the same id that it replaces."""
        previous = self.get(type(record), record.id)
        if previous is not None:
            if isinstance(record, EndpointRecord) and _indexed(record) == _indexed(previous):
                self.endpoints[record.id] = record
                return previous
            self._drop(previous)
        match record:
            case NetworkRecord():
                self.networks[record.id] = record
                self._network_names[record.name] = record.id
            case SandboxRecord():
                self.sandboxes[record.id] = record
                self._sandbox_names[record.name] = record.id
                self._sandbox_keys[record.key] = record.id
            case EndpointRecord():
                self.endpoints[record.id] = record
                self._in_network.setdefault(record.network_id, {})[record.name] = record.id
                if record.host:
                    self._macs.setdefault((record.network_id, record.mac or ""), {})[record.id] = None
                if record.sandbox_id and not record.host:
                    self._in_sandbox.setdefault(record.sandbox_id, {})[record.id] = None
                    taken = self._segments.setdefault(record.network_id, {})
                    taken[record.segment] = taken.get(record.segment, 0) + 1
        return previous

    def remove(self, record: Record) -> None:
        """Forget the record of that id, but for its name: see `deleted`."""
        self._drop(record)
        self._gone[record.id] = record.name
        if len(self._gone) > GONE_MAX:
            del self._gone[next(iter(self._gone))]

    def deleted(self, kind: str, record_id: str) -> NotFound:
        """Return the error for an object that is deleted, by its name, if that was not long ago."""
        name = self._gone.get(record_id)
        what = f"{kind} {name!r} ({record_id[:12]})" if name else f"{kind} {record_id[:12]}"
        return NotFound(f"{what} is deleted", code=f"no_such_{kind}", kind=kind, id=record_id, name=name or record_id)

    def _drop(self, record: Record) -> None:
        match record:
            case NetworkRecord():
                _unname(self._network_names, self.networks.pop(record.id))
            case SandboxRecord():
                gone = self.sandboxes.pop(record.id)
                _unname(self._sandbox_names, gone)
                if self._sandbox_keys.get(gone.key) == gone.id:
                    del self._sandbox_keys[gone.key]
            case EndpointRecord():
                held = self.endpoints.pop(record.id)
                _unname(self._in_network[held.network_id], held)
                if held.host:
                    del self._macs[held.network_id, held.mac or ""][held.id]
                if held.sandbox_id and not held.host:
                    del self._in_sandbox[held.sandbox_id][held.id]
                    self._vacate(held)

    def _vacate(self, endpoint: EndpointRecord) -> None:
        taken = self._segments[endpoint.network_id]
        taken[endpoint.segment] -= 1
        if not taken[endpoint.segment]:
            del taken[endpoint.segment]

    def get(self, kind: type[Record], record_id: str) -> Record | None:
        """Return the record of a kind and id."""
        if kind is NetworkRecord:
            return self.networks.get(record_id)
        if kind is SandboxRecord:
            return self.sandboxes.get(record_id)
        return self.endpoints.get(record_id)

    def network(self, name_or_id: str) -> NetworkRecord:
        """Return a network by name, id, or the beginning of an id.

        Raises:
            NotFound: there is none. InvalidParameter: several ids begin so.
        """
        try:
            return _find("network", name_or_id, self._network_names, self.networks)
        except NotFound:
            if name_or_id in self._gone:  # a handle asks by its id
                raise self.deleted("network", name_or_id) from None
            raise

    def sandbox(self, name_or_id: str) -> SandboxRecord:
        """Return a sandbox, likewise."""
        return _find("sandbox", name_or_id, self._sandbox_names, self.sandboxes)

    def endpoint(self, network_id: str, name_or_id: str) -> EndpointRecord:
        """Return an endpoint of a network, likewise."""
        names = self._in_network.get(network_id, {})
        return _find("endpoint", name_or_id, names, {each: self.endpoints[each] for each in names.values()})

    def any_endpoint(self, endpoint_id: str) -> EndpointRecord:
        """Return an endpoint of any network by id, or the beginning of one; names are unique in one network only."""
        return _find("endpoint", endpoint_id, {}, self.endpoints)

    def network_named(self, name: str) -> NetworkRecord | None:
        """Return the network of exactly that name."""
        return self.networks.get(self._network_names.get(name, ""))

    def sandbox_named(self, name: str) -> SandboxRecord | None:
        """Return the sandbox of exactly that name."""
        return self.sandboxes.get(self._sandbox_names.get(name, ""))

    def sandbox_at(self, key: str) -> SandboxRecord | None:
        """Return the sandbox of a namespace."""
        return self.sandboxes.get(self._sandbox_keys.get(key, ""))

    def endpoint_named(self, network_id: str, name: str) -> EndpointRecord | None:
        """Return the endpoint of exactly that name in a network."""
        return self.endpoints.get(self._in_network.get(network_id, {}).get(name, ""))

    def in_network(self, network_id: str) -> list[EndpointRecord]:
        """Return the endpoints of a network, by name."""
        return [self.endpoints[each] for _, each in sorted(self._in_network.get(network_id, {}).items())]

    def inhabited(self) -> list[NetworkRecord]:
        """Return the networks that have endpoints."""
        return [self.networks[each] for each, names in self._in_network.items() if names and each in self.networks]

    def in_sandbox(self, sandbox_id: str) -> list[EndpointRecord]:
        """Return the endpoints joined to a sandbox, by interface: an order that every process and the next start see as well."""
        found = [self.endpoints[each] for each in self._in_sandbox.get(sandbox_id, ())]
        if len(found) > 1:
            found.sort(key=_by_interface)
        return found

    def like(self, endpoint: EndpointRecord) -> list[EndpointRecord]:
        """Return the endpoints on other hosts that have the MAC address of one in its network, and it."""
        return [self.endpoints[each] for each in self._macs.get((endpoint.network_id, endpoint.mac or ""), ())]

    def segments(self, network_id: str) -> Mapping[int, int]:
        """Return how many endpoints are joined to each segment of a network, without the empty ones."""
        return self._segments.get(network_id, {})

    def records(self) -> Iterable[Record]:
        """Return every record."""
        return [*self.networks.values(), *self.sandboxes.values(), *self.endpoints.values()]


def _unname(names: dict[str, str], held: Record) -> None:
    """Free a record's name, unless another one has it already: of an exchange, records come one by one."""
    if names.get(held.name) == held.id:
        del names[held.name]


_indexed = attrgetter("network_id", "name", "host", "mac", "sandbox_id", "segment")
"""What an endpoint is found by."""


def _by_interface(endpoint: EndpointRecord) -> tuple[int, str, float, str]:
    """``eth2`` before ``eth10``; those without an interface by age."""
    return len(endpoint.ifname), endpoint.ifname, endpoint.created, endpoint.id


def _find(kind: str, name_or_id: str, names: Mapping[str, str], records: Mapping[str, R]) -> R:
    if not isinstance(name_or_id, str) or not name_or_id:  # type: ignore[redundant-expr] # not every caller is checked
        why = "it is empty" if isinstance(name_or_id, str) else "it is no text"  # type: ignore[redundant-expr] # same
        raise InvalidParameter(f"invalid {kind} name or id {name_or_id!r}: {why}", code="invalid_name", kind=kind)
    found = records.get(names.get(name_or_id, name_or_id))
    if found is not None:
        return found
    matches = [record for record_id, record in records.items() if record_id.startswith(name_or_id)]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise InvalidParameter(
            f"{kind} id {name_or_id!r} is ambiguous: {len(matches)} ids begin so",
            code="ambiguous_id",
            kind=kind,
            name=name_or_id,
        )
    raise NotFound(f"{kind} {name_or_id!r} not found", code=f"no_such_{kind}", kind=kind, name=name_or_id)
