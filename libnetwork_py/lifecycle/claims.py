"""What an operation writes to the cluster's store: claims before the kernel is touched, releases after it.

Whatever is new or changed is written first, so that nobody else can have it; whatever goes is written last, so that nobody else can
have it while it is still in this host's kernel. What belongs together (an endpoint with its addresses) is in one transaction.

May import: lifecycle.mirror, lifecycle.state, store.api, store.cluster, store.codec, network, endpoint, sandbox, errors.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

from attrs import define, evolve, field, frozen

from ..endpoint import EndpointRecord
from ..errors import Conflict
from ..network import NetworkRecord
from ..sandbox import SandboxRecord
from ..store.api import Write
from ..store.cluster import Check
from ..store.codec import encode
from ..types import IPAddress
from .mirror import POOLS, Mirror, address_key, endpoint_key, fence_key, host_key, network_key, published, vni_key
from .state import Record, State

Touched: TypeAlias = tuple[Record | None, Record | None]


class Moved(Conflict):
    """Raised when another host was faster: what is known of ``keys`` is old, so look again, then try again."""

    default_code = "cluster_moved"


def moved(keys: Iterable[str]) -> Moved:
    """Return the error that says which keys to look at again."""
    return Moved("another host changed the same at this moment: try again", keys=tuple(keys))


@frozen
class Group:
    """Writes that are made together, and what they depend on."""

    writes: tuple[Write, ...]
    checks: tuple[Check, ...] = ()


@define
class Plan:
    """What an operation does in the cluster: networks that go are fenced first; ``claims``; and, after the kernel, ``releases``."""

    fences: list[NetworkRecord] = field(factory=list)
    claims: list[Group] = field(factory=list)
    releases: list[Group] = field(factory=list)

    def __bool__(self) -> bool:
        return bool(self.fences or self.claims or self.releases)


class Planner:
    """Plans what an operation, or a return to the cluster, writes.

    Args:
        mirror: What is known of the cluster.
        state: The records.
    """

    def __init__(self, mirror: Mirror, state: State) -> None:
        self._mirror = mirror
        self._state = state
        self.vtep: IPAddress | None = None

    def plan(self, touched: Sequence[Touched]) -> Plan:
        """Return what the changes of an operation mean for the cluster."""
        plan = Plan()
        created = {after.id for before, after in touched if before is None and isinstance(after, NetworkRecord)}
        networks = {each.id: each for pair in touched for each in pair if isinstance(each, NetworkRecord)}
        for before, after in touched:
            if isinstance(before or after, NetworkRecord):
                self._network(before, after, plan)
        for before, after in touched:
            if isinstance(before or after, EndpointRecord):
                self._endpoint(before, after, networks, created, plan)
            elif isinstance(after, SandboxRecord) and isinstance(before, SandboxRecord) and _renamed(before, after):
                for endpoint in self._state.in_sandbox(after.id):
                    self._endpoint(endpoint, endpoint, networks, created, plan)
        return plan

    # Networks

    def _network(self, before: Record | None, after: Record | None, plan: Plan) -> None:
        if isinstance(after, NetworkRecord) and before is None:
            if after.host:
                plan.claims.append(self._creation(after))
        elif isinstance(before, NetworkRecord) and before.host and after is None:
            plan.fences.append(before)
            plan.claims.append(self.deletion(before))
        elif isinstance(after, NetworkRecord) and after.host:
            key = network_key(after.name)
            plan.claims.append(Group((Write(key, encode(after), self._mirror.revision(key)),)))

    def _creation(self, network: NetworkRecord) -> Group:
        writes = [Write(network_key(network.name), encode(network), 0)]
        writes += [Write(vni_key(number), network.id.encode(), 0) for number in network.vnis]
        writes.append(Write(POOLS, network.name.encode(), self._mirror.revision(POOLS)))
        return Group(tuple(writes))

    def deletion(self, network: NetworkRecord) -> Group:
        """Return what ends a network that is fenced."""
        key = network_key(network.name)
        numbers = [Write(vni_key(number), None) for number in network.vnis]
        return Group((Write(key, None, self._mirror.revision(key)), Write(fence_key(network.id), None), *numbers))

    # Endpoints

    def _endpoint(
        self,
        before: Record | None,
        after: Record | None,
        networks: dict[str, NetworkRecord],
        created: set[str],
        plan: Plan,
    ) -> None:
        endpoint = after or before
        assert isinstance(endpoint, EndpointRecord)
        network = self._state.networks.get(endpoint.network_id) or networks.get(endpoint.network_id)
        if endpoint.host or network is None or not network.host:
            return
        if after is None:
            plan.releases += self.release(self.held(endpoint, network))
        elif not self.standing(endpoint, network):
            plan.claims.append(self.claim(endpoint, network, new=network.id in created))
        else:
            update = self.update(endpoint, network)
            leaves = (
                isinstance(before, EndpointRecord) and before.sandbox_id is not None and endpoint.sandbox_id is None
            )
            (plan.releases if leaves else plan.claims).extend(update)

    def claim(self, endpoint: EndpointRecord, network: NetworkRecord, *, new: bool = False) -> Group:
        """Return what takes an endpoint's name and addresses, of nobody or of a dead host.

        Args:
            endpoint: The endpoint.
            network: Its network.
            new: The network is created by the same operation.
        """
        key = endpoint_key(network.id, endpoint.name)
        documents = {key: self._document(endpoint)}
        owner = f"{self._mirror.host} {key}".encode()
        for address in endpoint.addresses:
            documents[address_key(network.ipam, address.ip)] = owner
        dead = {self._mirror.owner(each) for each in documents} - {"", self._mirror.host}
        checks = [Check(host_key(each), 0) for each in sorted(dead) if not self._mirror.live(each)]
        if not new:
            name = network_key(network.name)
            checks += [Check(name, self._mirror.revision(name)), Check(fence_key(network.id), 0)]
        return Group(tuple(Write(each, text, self._free(each)) for each, text in documents.items()), tuple(checks))

    def update(self, endpoint: EndpointRecord, network: NetworkRecord) -> list[Group]:
        """Return what tells others what an endpoint of this host has become; nothing if it is told already."""
        key = endpoint_key(network.id, endpoint.name)
        document, held = self._document(endpoint), self._mirror.items.get(key)
        if held is not None and held.document == document:
            return []
        return [Group((Write(key, document, held.revision if held else 0),))]

    def release(self, keys: Iterable[str]) -> list[Group]:
        """Return what gives up keys that this host has."""
        ours = [key for key in keys if self._mirror.owner(key) == self._mirror.host]
        return [Group(tuple(Write(key, None, self._mirror.revision(key)) for key in ours))] if ours else []

    def _free(self, key: str) -> int:
        """Return the revision at which a key can be taken: 0 if nobody has it, or somebody who is known to live."""
        owner = self._mirror.owner(key)
        return (
            self._mirror.revision(key) if owner and (owner == self._mirror.host or not self._mirror.live(owner)) else 0
        )

    def _document(self, endpoint: EndpointRecord) -> bytes:
        sandbox = self._state.sandboxes.get(endpoint.sandbox_id or "")
        return encode(published(endpoint, self._mirror.host, self.vtep, sandbox))

    @staticmethod
    def _keys(endpoint: EndpointRecord, network: NetworkRecord) -> list[str]:
        return [
            endpoint_key(network.id, endpoint.name),
            *(address_key(network.ipam, each.ip) for each in endpoint.addresses),
        ]

    def held(self, endpoint: EndpointRecord, network: NetworkRecord) -> list[str]:
        """Return the keys that are this very endpoint's: another one of this host may have got its name or address meanwhile."""
        name, *addresses = self._keys(endpoint, network)
        item = self._mirror.items.get(name)
        found = [name] if item is not None and f'"id":"{endpoint.id}"'.encode() in item.document else []
        owner = f"{self._mirror.host} {name}".encode()
        heir = self._state.endpoint_named(network.id, endpoint.name)
        kept = self._keys(heir, network) if heir is not None else []
        documents = self._mirror.items
        gone = [
            each for each in addresses if each not in kept and each in documents and documents[each].document == owner
        ]
        return found + gone

    def fences(self) -> list[Group]:
        """Return what takes down the fences of this host: none of its operations is under way, so whoever put them up has died."""
        own = self._mirror.host.encode()
        items = [item for key, item in self._mirror.items.items() if key.startswith("fence/") and item.document == own]
        return [Group((Write(item.key, None, item.revision),)) for item in items]

    # Own endpoints against what the cluster has of them

    def standing(self, endpoint: EndpointRecord, network: NetworkRecord) -> bool:
        """Whether the cluster says of a name and its addresses that they are this endpoint's."""
        key = endpoint_key(network.id, endpoint.name)
        held = self._mirror.items.get(key)
        owner = f"{self._mirror.host} {key}".encode()
        addresses = [self._mirror.items.get(address_key(network.ipam, each.ip)) for each in endpoint.addresses]
        return (
            held is not None
            and self._mirror.owner(key) == self._mirror.host
            and f'"id":"{endpoint.id}"'.encode() in held.document
            and all(each is not None and each.document == owner for each in addresses)
        )

    def lost(self, endpoint: EndpointRecord, network: NetworkRecord) -> bool:
        """Whether a living host has the name or an address of an endpoint of this one."""
        owners = {self._mirror.owner(key) for key in self._keys(endpoint, network)} - {"", self._mirror.host}
        return any(self._mirror.live(owner) for owner in owners)

    def leftover(self) -> list[str]:
        """Return the keys that this host has in the cluster and for no endpoint: what a process left that died."""
        wanted: set[str] = set()
        for endpoint in self._state.endpoints.values():
            network = self._state.networks.get(endpoint.network_id)
            if not endpoint.host and network is not None and network.host:
                wanted.update(self._keys(endpoint, network))
        return [key for key in self._mirror.own() if key not in wanted]


def _renamed(before: SandboxRecord, after: SandboxRecord) -> bool:
    return (before.name, before.hostname) != (after.name, after.hostname)


def transactions(groups: Sequence[Group], own: Sequence[Check], limit: int) -> Iterator[Group]:
    """Pack groups into as few transactions as a store's limit allows; ``own`` is checked in each."""
    packed = Group(())
    for group in groups:
        joined = _joined(packed, group)
        if len(joined.writes) + len(joined.checks) + len(own) > limit and packed.writes:
            yield evolve(packed, checks=(*packed.checks, *own))
            joined = group
        packed = joined
    if packed.writes:
        yield evolve(packed, checks=(*packed.checks, *own))


def _joined(first: Group, second: Group) -> Group:
    """Return both as one: a write of the same key is the later one, and a check of a key that is written is no check."""
    writes = {write.key: write for write in (*first.writes, *second.writes)}
    checks = {check.key: check for check in (*first.checks, *second.checks) if check.key not in writes}
    return Group(tuple(writes.values()), tuple(checks.values()))
