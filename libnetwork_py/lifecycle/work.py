"""One operation in the making: what it changes in the records, what that means for the kernel, and the way back.

A `Work` changes the state at once, so that later steps of the same operation see earlier ones, and remembers how to take each
step back. Nothing here touches store or kernel: the engine does, with what `change` and `touched` say.

May import: lifecycle.state, lifecycle.describe, lifecycle.portlists, store.codec, desired, network, endpoint, sandbox, types.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from typing import Literal, TypeAlias

from attrs import evolve

from ..desired import HOST, Change, Description, Element, Sysctl, Table, Word, between
from ..drivers.api import Peer
from ..endpoint import EndpointRecord
from ..firewall.table import CLOSED
from ..network import NetworkRecord
from .describe import Describer, peer_of
from .events import Event
from .portlists import Lists
from .state import Record, State

Scope: TypeAlias = tuple[Literal["network", "sandbox"], str]
"""A thing whose description may change as a whole."""


class Work:
    """The changes of one operation, or of a whole batch.

    Args:
        state: The records, changed in place.
        describer: Describes them.
        why: What the operation is, for errors and events: ``create network front``.

    Attributes:
        dry: It is taken back in the end.
        mirrored: It takes in what the cluster says already.
        told: Events besides those of the changed records.
    """

    def __init__(self, state: State, describer: Describer, why: str) -> None:
        self.why = why
        self.alone = False
        self.dry = False
        self.mirrored = False
        self.told: list[Event] = []
        self._state = state
        self._describer = describer
        self._before: dict[tuple[type[Record], str], Record | None] = {}
        self._described: dict[Scope, Description] = {}
        self._peers: dict[str, dict[str, Peer | None]] = {}
        """Of networks that change only in who their peers are: the peers in question, as they were."""
        self._undo: list[Callable[[], object]] = []
        self._done: list[Callable[[], object]] = []
        self._held = ExitStack()
        self._names: set[str] = set()
        self._lists: dict[str, Lists] = {}

    def step(self, why: str, *named: object) -> None:
        """Say what the operation does, now that the names are known (they fill the braces); a batch keeps its own name."""
        if self.alone:
            self.why = why.format(*named) if named else why

    def put(self, record: Record) -> None:
        """Add or replace a record."""
        self._touch(record)
        previous = self._state.put(record)
        self._remember(record, previous)
        self._undo.append(lambda: self._state.put(previous) if previous else self._state.remove(record))

    def delete(self, record: Record) -> None:
        """Remove a record."""
        self._touch(record)
        self._state.remove(record)
        self._remember(record, record)
        self._undo.append(lambda: self._state.put(record))

    def touch(self, kind: Literal["network", "sandbox"], record_id: str) -> None:
        """Say that the description of a network or sandbox may change although its own record does not."""
        scope: Scope = (kind, record_id)
        if scope not in self._described:
            self._described[scope] = self._describe_before(scope)

    def tell(self, event: Event) -> None:
        """Have an event told if the operation succeeds."""
        self.told.append(event)

    def on_undo(self, function: Callable[[], object]) -> None:
        """Call ``function`` if the operation fails."""
        self._undo.append(function)

    def on_done(self, function: Callable[[], object]) -> None:
        """Call ``function`` once the operation has succeeded."""
        self._done.append(function)

    def hold(self, name: str, enter: Callable[[], AbstractContextManager[object]]) -> None:
        """Enter a context, once for each name, and leave it when the operation has ended, whatever its end."""
        if name not in self._names:
            self._held.enter_context(enter())
            self._names.add(name)

    def lists(self, endpoint: EndpointRecord) -> Lists:
        """Return an endpoint's ports for changes one by one; `settle` makes its record of them."""
        found = self._lists.get(endpoint.id)
        if found is None:
            found = self._lists[endpoint.id] = Lists(endpoint)
        return found

    def settle(self) -> None:
        """Put the records of the endpoints whose ports have changed; before anybody looks at them."""
        if self._lists:
            changed, self._lists = self._lists, {}
            for endpoint_id, lists in changed.items():
                self.put(lists.record(self._state.endpoints[endpoint_id]))

    def mark(self) -> tuple[int, int]:
        """Return a place to roll back to."""
        return len(self._undo), len(self._done)

    def rollback(self, mark: tuple[int, int] | None = None) -> None:
        """Take back every step since ``mark``, or all, last first."""
        if mark is None:
            self._lists.clear()
        undone, done = mark or (0, 0)
        while len(self._undo) > undone:
            self._undo.pop()()
        del self._done[done:]

    def finish(self) -> None:
        """Do what was to be done after success."""
        for function in self._done:
            function()

    def release(self) -> None:
        """Let go of what `hold` holds."""
        self._held.close()

    def touched(self) -> Iterator[tuple[Record | None, Record | None]]:
        """Return each changed record as it was and as it is; ``None`` where it was or is not there."""
        self.settle()
        for (kind, record_id), before in self._before.items():
            after = self._state.get(kind, record_id)
            if before != after:
                yield before, after

    def change(self) -> Change:
        """Return what the kernel must do for it."""
        self.settle()
        before = [word for words in self._described.values() for word in words]
        after = [word for scope in self._described for word in self._describe(scope)]
        for network_id, held in self._peers.items():
            before += self._describer.network(network_id, [each for each in held.values() if each])
            now = (peer_of(self._state.endpoints.get(each)) for each in held)
            after += self._describer.network(network_id, [each for each in now if each])
        change = between(before, after, self.why)
        return Change(self._unshared(change.remove), self._unshared(change.make), self.why)

    def scopes(self, kind: Literal["network", "sandbox"]) -> list[str]:
        """Return the ids of the networks or sandboxes whose description may change."""
        self.settle()
        return [record_id for each, record_id in self._described if each == kind]

    def leaving(self) -> Description:
        """Return what goes with networks deleted so far: it is there until the operation ends."""
        gone = [scope for scope in self._described if scope[0] == "network" and scope[1] not in self._state.networks]
        return tuple(word for scope in gone for word in self._described[scope])

    def _unshared(self, words: Description) -> Description:
        """Leave out what other networks describe too: the firewall table, the host's forwarding."""
        return tuple(word for word in words if not (_may_be_shared(word) and self._elsewhere(word)))

    def _elsewhere(self, word: Word) -> bool:
        others = (each for each in self._state.networks if ("network", each) not in self._described)
        return any(word in self._describer.network(each) for each in others)

    def _touch(self, record: Record) -> None:
        if isinstance(record, EndpointRecord):
            self._touch_cluster(record)
            held = self._state.endpoints.get(record.id)
            for sandbox_id in {record.sandbox_id, held.sandbox_id if held else None} - {None}:
                self.touch("sandbox", sandbox_id or "")
            for each in (record, held):
                if each is not None and each.segment:
                    self._touch_segment(each)
        else:
            self.touch("network" if isinstance(record, NetworkRecord) else "sandbox", record.id)
            if isinstance(record, NetworkRecord):
                self._touch_inside(record)

    def _touch_inside(self, network: NetworkRecord) -> None:
        """What is in a network's sandboxes changes with it, but for its labels."""
        held = self._state.networks.get(network.id)
        if held is not None and evolve(held, labels=network.labels) != network:
            for endpoint in self._state.in_network(network.id):
                if endpoint.sandbox_id:
                    self.touch("sandbox", endpoint.sandbox_id)

    def _touch_cluster(self, endpoint: EndpointRecord) -> None:
        """A network of global scope is described on the hosts that have one of its endpoints joined, with those on other hosts."""
        network = self._state.networks.get(endpoint.network_id)
        if network is not None and network.scope == "global":
            joined = sum(self._state.segments(network.id).values())
            if endpoint.host and joined:
                self._touch_peers(endpoint)
            elif not endpoint.host and joined <= 1:
                self.touch("network", network.id)

    def _touch_peers(self, endpoint: EndpointRecord) -> None:
        """Of thousands of peers a few change: those alone are described, with those that share words with them."""
        if ("network", endpoint.network_id) in self._described:
            return
        held = self._peers.setdefault(endpoint.network_id, {})
        before = self._state.endpoints.get(endpoint.id)
        for each in (*self._state.like(endpoint), *(self._state.like(before) if before else ())):
            held.setdefault(each.id, peer_of(each))
        held.setdefault(endpoint.id, peer_of(before))

    def _describe_before(self, scope: Scope) -> Description:
        """Describe a network as a whole, with the peers as they were before they changed."""
        held = self._peers.pop(scope[1], {}) if scope[0] == "network" else {}
        if not held:
            return self._describe(scope)
        others = [each for each in self._describer.peers(scope[1]) if each.endpoint_id not in held]
        return self._describer.network(scope[1], [*others, *(each for each in held.values() if each)])

    def _touch_segment(self, endpoint: EndpointRecord) -> None:
        """A network has a segment, besides the first, from its first endpoint to its last."""
        if self._state.segments(endpoint.network_id).get(endpoint.segment, 0) <= 1:
            self.touch("network", endpoint.network_id)

    def _describe(self, scope: Scope) -> Description:
        kind, record_id = scope
        return self._describer.network(record_id) if kind == "network" else self._describer.sandbox(record_id)

    def _remember(self, record: Record, previous: Record | None) -> None:
        self._before.setdefault((type(record), record.id), previous)


def _may_be_shared(word: Word) -> bool:
    match word:
        case Table():
            return word.namespace == HOST and not word.devices  # those on a link are the endpoint's own
        case Sysctl():
            return word.namespace == HOST and word.link is None
        case Element():
            return word.set is CLOSED
        case _:
            return False
