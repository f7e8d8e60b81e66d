"""What a controller takes in of records that another one wrote, or left half done: they come one by one, in any order."""

# ruff: noqa: PT012 (an error that leaves a whole block is what is tested)

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence

import pytest

from libnetwork_py import Conflict
from libnetwork_py.store.api import Write
from libnetwork_py.store.memory import MemoryStore
from libnetwork_py.testing import FakeKernel
from tests.unit.lifecycle.fake import controller


def test_exchanged_names(fake_kernel: FakeKernel) -> None:
    """Sandboxes, and with them their endpoints, that exchange their names in one batch are found by them in both controllers."""
    store = MemoryStore()
    one, other = controller(fake_kernel, store), controller(fake_kernel, store)
    front = one.create_network("front")
    a, b = one.create_sandbox("a"), one.create_sandbox("b")
    a.connect(front)
    b.connect(front)
    for first, second in ((a, b), (b, a)):  # the order is that of random ids
        assert len(other.sandboxes()) == 2
        with one.batch():
            first.rename("between")
            second.rename("a" if second.name == "b" else "b")
            first.rename("b" if second.name == "a" else "a")
        for some in (one, other):
            assert [some.sandbox(each.name).id for each in (a, b)] == [a.id, b.id]
            held = some.network("front")
            assert [held.endpoint(each.name).sandbox_id for each in (a, b)] == [a.id, b.id]
    other.sandbox(a.id).delete()
    other.sandbox(b.id).delete()
    assert not one.network("front").endpoints()


def test_exchanged_ports(fake_kernel: FakeKernel) -> None:
    """A port that goes from one endpoint to another in one batch is known to be the other's, in both controllers."""
    store = MemoryStore()
    one, other = controller(fake_kernel, store), controller(fake_kernel, store)
    front = one.create_network("front")
    a, b, c = (one.create_sandbox(name).connect(front) for name in "abc")
    a.publish("8080:80")
    for giver, taker in ((a, b), (b, a)):  # likewise
        assert len(other.sandboxes()) == 3
        with one.batch():
            giver.unpublish("8080:80")
            taker.publish("8080:80")
        for some in (one, other):
            with pytest.raises(Conflict, match=f"already published by {taker.name}"):
                some.endpoint(c.id).publish("8080:81")


def test_the_owner_of_a_port_is_renamed(fake_kernel: FakeKernel) -> None:
    """Who has a port is told by the name that the endpoint has now, in both controllers; not by one that a failed batch gave it."""
    store = MemoryStore()
    one, other = controller(fake_kernel, store), controller(fake_kernel, store)
    box, front = one.create_sandbox("first"), one.create_network("front")
    box.connect(front, ports="8080-8081:80-81")
    taker = one.create_sandbox("taker").connect(front)
    assert len(other.sandboxes()) == 2
    box.rename("second")
    for some in (one, other):
        with pytest.raises(Conflict, match="already published by second"):
            some.endpoint(taker.id).publish("8081:80")
    with pytest.raises(ZeroDivisionError), one.batch():
        box.rename("third")
        _ = 1 // 0
    with pytest.raises(Conflict, match="already published by second"):
        taker.publish("8081:80")


class _Stopping(MemoryStore):
    """A store of which a copy is kept, as a process would leave it that is killed right after it wrote its intent."""

    left: MemoryStore | None = None

    def commit(self, writes: Sequence[Write], events: Sequence[bytes] = ()) -> int:
        """Commit."""
        revision = super().commit(writes, events)
        if any(each.key.startswith("journal/") and each.document for each in writes) and self.left is None:
            self.left = MemoryStore()
            self.left.commit([Write(each.key, each.document) for each in self.items()])
        return revision


def test_a_name_in_a_batch_that_was_not_finished() -> None:
    """A batch that deletes and makes objects of one name, and is undone after its process died, leaves the old ones found by it."""
    store = _Stopping()
    some = controller(FakeKernel(), store)
    front = some.create_network("front")
    web = some.create_sandbox("web")
    web.connect(front)
    store.left = None
    with some.batch():
        web.delete()
        front.delete()
        some.create_sandbox("web").connect(some.create_network("front"))
    assert store.left is not None
    later = controller(FakeKernel(), store.left)
    assert later.sandbox("web").id == web.id
    assert later.network("front").id == front.id
    assert later.network("front").endpoint("web").sandbox_id == web.id
    later.sandbox("web").delete()
    later.network("front").delete()
    assert not later.sandboxes()


def test_hosts_added_at_once(fake_kernel: FakeKernel) -> None:
    """Of hosts that several threads add at the same time none is lost."""
    box = controller(fake_kernel).create_sandbox("box")

    def add(thread: int) -> None:
        for number in range(10):
            box.add_host(f"h{thread}-{number}", f"192.0.{thread}.{number}")

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    threads = [threading.Thread(target=add, args=(each,)) for each in range(4)]
    try:
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    finally:
        sys.setswitchinterval(interval)
    assert box.hosts.count("192.0.") == 40


def test_a_name_that_is_free_again_before_its_namespace_is_made(fake_kernel: FakeKernel) -> None:
    """A sandbox renamed in the batch that makes it, and the one that takes its name there, have a namespace each."""
    some = controller(fake_kernel)
    with some.batch():
        first = some.create_sandbox("web")
        first.rename("former")
        second = some.create_sandbox("web")
    assert first.key != second.key
    assert not some.reconcile(repair=False)
