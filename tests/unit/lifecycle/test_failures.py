"""Where the kernel or the store fails at any step, the operation is undone: kernel, records, addresses and ports are as before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import pytest

from libnetwork_py import LibnetworkError, NetworkController, Unavailable
from libnetwork_py.desired import Bridge, Namespace, Route, Veth, Word
from libnetwork_py.store.api import Write
from libnetwork_py.store.memory import MemoryStore
from libnetwork_py.testing import FakeKernel
from tests.unit.lifecycle.fake import controller, everything

Verb = Callable[[NetworkController], object]


def _batch(some: NetworkController) -> None:
    with some.batch():
        back = some.create_network("back", ipv6=True)
        for number in range(3):
            some.create_sandbox(f"b{number}").connect(back, ports="0:80")
        some.sandbox("web").connect(back, priority=9)
        some.sandbox("idle").delete()


VERBS: dict[str, Verb] = {
    "create a network": lambda some: some.create_network("new", subnets=["10.9.0.0/24", "fd00:9::/64"]),
    "create a sandbox": lambda some: some.create_sandbox("new", sysctls={"net.ipv4.ip_forward": 1}),
    "connect": lambda some: some.sandbox("idle").connect(some.network("front"), ports="8081:80"),
    "connect to a second network": lambda some: some.sandbox("web").connect(some.network("alpha"), ports="8081:80"),
    "publish": lambda some: some.sandbox("web").endpoints()[0].publish("8081:80"),
    "unpublish": lambda some: some.sandbox("web").endpoints()[0].unpublish("8080:80"),
    "leave": lambda some: some.sandbox("web").endpoints()[0].leave(),
    "disconnect": lambda some: some.sandbox("web").disconnect(some.network("front")),
    "delete a sandbox": lambda some: some.sandbox("web").delete(),
    "delete a network": lambda some: some.network("front").delete(force=True),
    "refresh": lambda some: some.sandbox("web").refresh(sysctls={"net.ipv4.ip_forward": "1"}),
    "a batch": _batch,
}


def scene(kernel: FakeKernel, store: MemoryStore | None = None) -> NetworkController:
    """Two networks, a sandbox with a published port on one of them, and one on none."""
    some = controller(kernel, store)
    front = some.create_network("front", subnets="10.7.0.0/24")
    some.create_network("alpha", subnets="10.8.0.0/24")
    some.create_sandbox("web").connect(front, ports="8080:80")
    some.create_sandbox("idle")
    return some


def steps(verb: Verb) -> int:
    """How many words a verb makes and removes."""
    kernel = FakeKernel()
    some = scene(kernel)
    taken: list[str] = []
    kernel.checkpoint = taken.append
    verb(some)
    return len(taken)


@pytest.mark.parametrize("name", VERBS)
def test_the_kernel_fails_at_any_step(name: str) -> None:
    """Whichever step the kernel refuses, nothing of the operation remains, and the same call succeeds afterwards."""
    verb = VERBS[name]
    count = steps(verb)
    assert count
    for step in range(1, count + 1):
        kernel = FakeKernel()
        some = scene(kernel)
        before = everything(some, kernel)
        kernel.fail_at(step)
        with pytest.raises(Unavailable) as caught:
            verb(some)
        assert caught.value.code == "injected"
        assert everything(some, kernel) == before
        assert not some.reconcile(repair=False)
        verb(some)
        assert not some.reconcile(repair=False)


class FailingStore(MemoryStore):
    """A store that refuses a commit when it is told to."""

    countdown = 0

    def commit(self, writes: Sequence[Write], events: Sequence[bytes] = ()) -> int:
        """Commit, or refuse."""
        self.countdown -= 1
        if self.countdown == 0:
            raise Unavailable("no space left on the device", code="store_full")
        return super().commit(writes, events)


@pytest.mark.parametrize("name", VERBS)
@pytest.mark.parametrize("commit", [1, 2, 3])
def test_the_store_fails(name: str, commit: int) -> None:
    """Whichever commit the store refuses, the operation is undone, or done if it needed no further one; kernel and records agree."""
    kernel, store = FakeKernel(), FailingStore()
    some = scene(kernel, store)
    before = everything(some, kernel)
    store.countdown = commit
    try:
        VERBS[name](some)
    except LibnetworkError as error:
        assert error.code == "store_full"  # noqa: PT017 (the call may succeed too)
        assert everything(some, kernel) == before
    store.countdown = 0
    assert not some.reconcile(repair=False)
    later = NetworkController.over(store, kernel)
    assert not later.reconcile(repair=False)
    assert everything(later, kernel) == everything(some, kernel)


class FailingTwice(FailingStore):
    """A store whose refusal finds the kernel unable to take back what was done."""

    kernel: FakeKernel

    def commit(self, writes: Sequence[Write], events: Sequence[bytes] = ()) -> int:
        """Commit, or refuse and have the kernel refuse once as well."""
        if self.countdown == 1:
            self.kernel.fail_on(lambda word: isinstance(word, Veth))
        return super().commit(writes, events)


@pytest.mark.parametrize("name", ["disconnect", "leave", "delete a sandbox", "delete a network"])
@pytest.mark.parametrize("successor", [False, True])
def test_what_could_not_be_undone_is_undone_later(name: str, successor: bool) -> None:
    """A removal that failed and could not be undone at once is undone by whoever comes next, never finished."""
    kernel, store = FakeKernel(), FailingTwice()
    some, store.kernel = scene(kernel, store), kernel
    before = everything(some, kernel)
    store.countdown = 2
    with pytest.raises(Unavailable) as caught:
        VERBS[name](some)
    assert "not everything could be undone" in "".join(caught.value.__notes__)
    later = NetworkController.over(store, kernel) if successor else some
    assert not later.reconcile(repair=False)
    assert everything(later, kernel) == before


def _is(kind: type[Word], word: Word) -> bool:
    return isinstance(word, kind)


def test_the_error_names_what_failed() -> None:
    """A kernel's refusal arrives as it was raised, whatever was undone for it."""
    kernel = FakeKernel()
    some = scene(kernel)
    kinds: tuple[type[Word], ...] = (Namespace, Bridge, Veth, Route)
    for kind in kinds:
        kernel.fail_on(partial(_is, kind), Unavailable(f"no {kind.__name__}", code="why"))
        with pytest.raises(Unavailable, match=kind.__name__), some.batch():
            some.create_sandbox("new").connect(some.create_network("new"))
    kernel.heal()
    assert [each.name for each in some.networks()] == ["alpha", "front"]


def test_a_kernel_without_a_feature() -> None:
    """Where the kernel cannot do what is asked the error says so, and nothing remains."""
    from libnetwork_py import NotSupported

    kernel = FakeKernel()
    some = controller(kernel)
    kernel.fail_on(
        lambda word: isinstance(word, Bridge), NotSupported("this kernel has no bridge", code="not_supported")
    )
    with pytest.raises(NotSupported, match="no bridge"):
        some.create_network("front")
    assert not kernel.state()
    assert some.networks() == []
