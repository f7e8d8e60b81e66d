"""What this host knows of the cluster: the store's documents as they were last told, and what they mean for the records.

Division of labour: keys are named here and nowhere else; `claims` says what is written under them, `cluster` when.

==================================  =====================================================  ==================================
key                                 document                                               lives
==================================  =====================================================  ==================================
``host/ID``                         name and underlay address of a host                    as long as the host's lease
``network/NAME``                    a network's record                                     until it is deleted
``vni/NUMBER``                      id of the network that has the number                  as long as the network
``pools``                           name of the network that was created last              for ever
``fence/NETWORK``                   id of the host that is deleting the network            at most as long as its lease
``endpoint/NETWORK/NAME``           an endpoint's record, as other hosts need it           as long as its host has it
``address/IPAM/ADDRESS``            host, and key of the endpoint that has the address     as long as the endpoint
==================================  =====================================================  ==================================

Only the host's own key hangs on its lease. Everything of a host counts for nothing while that key is absent, and whoever wants a
dead host's name or address takes it in a commit that is conditional on the absence: so a lease's end frees ten thousand addresses
by the deletion of one key, and a host that comes back in time, or before anybody wanted what it had, writes one key as well.

May import: lifecycle.state, store.api, store.cluster, store.codec, network, endpoint, sandbox, types.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from sys import intern

from attrs import evolve

from ..endpoint import EndpointRecord
from ..network import NetworkRecord
from ..sandbox import SandboxRecord
from ..store.api import Item
from ..store.cluster import Update
from ..store.codec import decode
from ..types import IPAddress
from .state import State

POOLS = "pools"
"""Written by whoever creates a network: subnets are compared with those of every other network, so one is created at a time."""


def host_key(host: str) -> str:
    """Return the key of a host."""
    return f"host/{host}"


def network_key(name: str) -> str:
    """Return the key of a network's name."""
    return f"network/{name}"


def endpoint_key(network_id: str, name: str) -> str:
    """Return the key of an endpoint's name in its network."""
    return f"endpoint/{network_id}/{name}"


def address_key(ipam: str, address: IPAddress) -> str:
    """Return the key of an address; global networks share one address space for each IPAM driver."""
    return f"address/{ipam}/{address}"


def vni_key(number: int) -> str:
    """Return the key of a number."""
    return f"vni/{number}"


def fence_key(network_id: str) -> str:
    """Return the key whose presence keeps endpoints out of a network."""
    return f"fence/{network_id}"


class Mirror:
    """The cluster's documents by key. The engine's lock guards it.

    Args:
        host: This host's own id.

    Attributes:
        dirty: Keys whose meaning for the records may have changed.
        heard: How many updates were taken in.
    """

    def __init__(self, host: str) -> None:
        self.host = host
        self.items: dict[str, Item] = {}
        self.dirty: dict[str, None] = {}
        self.heard = 0
        self._gone: dict[str, int] = {}
        """Keys that are gone of which the watch may still tell how they were."""
        self._owner: dict[str, str] = {}
        self._of_host: dict[str, dict[str, None]] = {}
        self._of_network: dict[str, dict[str, None]] = {}
        self._held: dict[str, tuple[str, ...]] = {}
        """Addresses' keys, by the key of the endpoint that has them."""

    # Taking in

    def take(self, update: Update, known: Iterable[str]) -> None:
        """Take in what a watch told; ``known``: the keys that the records stand for, of which a whole update may lack some."""
        self.heard += 1
        if update.whole:
            kept = {item.key for item in update.items}
            for key in [each for each in self.items if each not in kept]:
                self.drop(key, update.revision)
            self.dirty.update(dict.fromkeys(known))
        for key in update.gone:
            self.drop(key, update.revision)
        for item in update.items:
            self.put(item)
        self._gone = {key: revision for key, revision in self._gone.items() if revision > update.revision}

    def put(self, item: Item) -> None:
        """Hold an item, unless a newer one is held."""
        held = self.items.get(item.key)
        newest = held.revision if held is not None else self._gone.get(item.key, 0)
        if newest < item.revision:
            self._unlink(item.key)
            self.items[intern(item.key)] = item
            self._link(item)
            self._mark(item.key)

    def drop(self, key: str, revision: int) -> None:
        """Forget an item that was gone at ``revision``, unless a newer one is held."""
        held = self.items.get(key)
        if held is not None and held.revision <= revision:
            self._gone[key] = revision
            self._mark(key)
            self._unlink(key)
            del self.items[key]

    def _link(self, item: Item) -> None:
        """Note whose an item is. A host may hold a hundred thousand that it never uses: what they have in common is held once."""
        key, owner = intern(item.key), ""
        kind, _, rest = key.partition("/")
        if kind == "address":
            owner, endpoint = _holder(item.document)
            self._held[endpoint] = (*self._held.get(endpoint, ()), key)
            self.dirty[endpoint] = None
        elif kind == "endpoint":
            owner = _host_of(item.document)
            self._of_network.setdefault(rest.partition("/")[0], {})[key] = None
        if owner:
            self._owner[key] = owner
            self._of_host.setdefault(owner, {})[key] = None

    def _unlink(self, key: str) -> None:
        owner = self._owner.pop(key, "")
        self._of_host.get(owner, {}).pop(key, None)
        kind, _, rest = key.partition("/")
        if kind == "endpoint":
            self._of_network.get(rest.partition("/")[0], {}).pop(key, None)
        elif kind == "address" and key in self.items:
            _, endpoint = _holder(self.items[key].document)
            held = tuple(each for each in self._held.pop(endpoint, ()) if each != key)
            if held:
                self._held[endpoint] = held
            self.dirty[endpoint] = None

    def _mark(self, key: str) -> None:
        kind, _, rest = key.partition("/")
        if kind in {"network", "endpoint"}:
            self.dirty[key] = None
        elif kind == "host":
            self.dirty.update({each: None for each in self._of_host.get(rest, ()) if each.startswith("endpoint/")})

    def mark_network(self, network_id: str) -> None:
        """Say that a network's endpoints may mean something else now."""
        self.dirty.update(self._of_network.get(network_id, {}))

    def endpoints(self, network_id: str) -> list[str]:
        """Return the keys of a network's endpoints."""
        return list(self._of_network.get(network_id, ()))

    def used(self, network_id: str) -> bool:
        """Whether a network has an endpoint on a host that lives, this one included."""
        return any(self.live(self._owner.get(key, "")) for key in self._of_network.get(network_id, ()))

    def networks_with(self, endpoint_id: str) -> set[str]:
        """Return the networks that have an endpoint whose id begins so."""
        begin = f'"id":"{endpoint_id}'.encode()
        keys = [key for keys in self._of_network.values() for key in keys if begin in self.items[key].document]
        return {key.split("/", 2)[1] for key in keys}

    # Asking

    def revision(self, key: str) -> int:
        """Return the revision of an item; 0 if there is none."""
        held = self.items.get(key)
        return held.revision if held else 0

    def live(self, host: str) -> bool:
        """Whether a host's lease holds, as far as is known; this host does not ask itself."""
        return host == self.host or host_key(host) in self.items

    @property
    def live_here(self) -> bool:
        """Whether the cluster says that this host lives."""
        return host_key(self.host) in self.items

    def owner(self, key: str) -> str:
        """Return the host that has an address or an endpoint's name; empty if nobody has."""
        return self._owner.get(key, "")

    def own(self) -> list[str]:
        """Return the keys of this host's endpoints and addresses."""
        return list(self._of_host.get(self.host, ()))

    def of_dead(self) -> dict[str, list[str]]:
        """Return the keys of hosts whose lease has ended, by host."""
        return {host: list(keys) for host, keys in self._of_host.items() if keys and not self.live(host)}

    def hosts(self) -> dict[str, dict[str, str]]:
        """Return what the living hosts say of themselves, by id."""
        found = {}
        for key, item in self.items.items():
            if key.startswith("host/"):
                found[key.removeprefix("host/")] = dict(json.loads(item.document))
        return found

    def vnis(self) -> set[int]:
        """Return the numbers that networks have."""
        return {int(key.removeprefix("vni/")) for key in self.items if key.startswith("vni/")}

    def record(self, key: str) -> NetworkRecord | EndpointRecord | None:
        """Return the record that a network's or endpoint's key stands for.

        ``None`` if it is gone, its host is dead, or this one, or an address of it went to somebody else while its host counted as dead.

        Raises:
            Unavailable: the document is damaged, or of a newer release.
        """
        item = self.items.get(key)
        if item is None:
            return None
        kind = key.partition("/")[0]
        if kind == "endpoint" and (self._owner.get(key) == self.host or not self.live(self._owner.get(key, ""))):
            return None
        record = decode(kind, item.document, "the cluster's store")
        assert isinstance(record, (NetworkRecord, EndpointRecord))
        if isinstance(record, EndpointRecord):
            held = {each.rpartition("/")[2] for each in self._held.get(key, ())}
            return record if held.issuperset(str(each.ip) for each in record.addresses) else None
        return record


def known_keys(state: State) -> Iterable[str]:
    """Return the keys that the records of other hosts, and of networks of global scope, stand for."""
    yield from (network_key(each.name) for each in state.networks.values() if each.host)
    yield from (endpoint_key(each.network_id, each.name) for each in state.endpoints.values() if each.host)


def published(
    endpoint: EndpointRecord, host: str, vtep: IPAddress | None, sandbox: SandboxRecord | None
) -> EndpointRecord:
    """Return what other hosts need to know of an endpoint: where it is and what it is called; the rest is nobody's business.

    Other hosts do not know its sandbox: the names that it has by it are among ``dns_names``.
    """
    own = (sandbox.name, sandbox.hostname) if sandbox is not None else ()
    names = tuple(dict.fromkeys((*endpoint.dns_names, *filter(None, own))))
    bare = EndpointRecord(endpoint.id, endpoint.name, endpoint.network_id, created=endpoint.created)
    return evolve(
        bare, sandbox_id=endpoint.sandbox_id, addresses=endpoint.addresses, mac=endpoint.mac, aliases=endpoint.aliases,
        dns_names=names, expose=endpoint.expose, host=host, vtep=vtep,
    )  # fmt: skip


def _holder(document: bytes) -> tuple[str, str]:
    """Return the host and the endpoint's key that an address's document names."""
    host, _, endpoint = document.decode(errors="replace").partition(" ")
    return intern(host), intern(endpoint)


def _host_of(document: bytes) -> str:
    """Return the host that an endpoint's document names, without reading the rest: most are of networks that this host does not use.

    `encode` writes no space between them, and no text of a user's can look like it: its quotation marks are escaped.
    """
    host = document.partition(b'"host":"')[2].partition(b'"')[0]
    return intern(host.decode(errors="replace"))
