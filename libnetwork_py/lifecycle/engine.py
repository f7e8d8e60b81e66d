"""Runs operations: one at a time, all of each or nothing, whoever dies in the middle.

An operation goes: lock, catch up with other processes, finish or undo what a dead process left, change the records in memory
(checking as it goes), write the intent to the store (the journal), change the kernel, write the records and drop the intent in
one commit. A process that dies before the journal has done nothing; one that dies after it leaves a journal, and the next
to hold the lock undoes what it names (finishes it where it only removed), because the journal has the records before and after.

May import: lifecycle, store, kernel.api, drivers.api, desired, network, endpoint, sandbox, types, errors.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, TypeVar

from attrs import evolve

from ..desired import Change
from ..errors import Conflict, LibnetworkError, Unavailable
from ..sandbox import SandboxRecord
from ..store.api import Changes, Item, Write
from ..store.codec import Journal, decode, decode_journal, encode, key_of
from ..types import parse_address
from . import events, neighbours
from .addressing import Addressing
from .deeds import Deeds, departing
from .describe import Describer
from .env import Env
from .files import Files
from .host_ports import follow
from .interrupts import allowed, check, deferred, held
from .journal import BASELINE, UNDERLAY, Touched, by_kind, intent, is_record, outcome, pairs
from .names import KEY as NAMES
from .names import Names
from .naming import Naming
from .state import Record, State
from .work import Work

if TYPE_CHECKING:
    from .cluster import Cluster

T = TypeVar("T")

SLICE = 0.5
"""Seconds of a wait for another thread or process between two looks whether Ctrl-C was pressed."""

TAKEN_BACK = b""
"""Stands for a journal whose operation was undone, but which the store would not drop."""


class Engine:
    """The state of one controller and the operations on it.

    Args:
        env: What it works with.
    """

    def __init__(self, env: Env) -> None:
        self.env = env
        self.state = State()
        self.committed = threading.Condition()
        self.warnings: list[str] = []
        self.baseline: dict[str, str] = {}
        self.describer = Describer(
            self.state, env.drivers, env.table, self.baseline, env.id, localhost=env.kernel.localhost
        )
        naming = Naming(self.state, self.describer, env.resolv_conf, env.kernel.reach)
        self.files = Files(env.files, naming.files, env.behind)
        self.names = Names(naming, self.files, env.kernel, env.summons, self.reading)
        self.addressing = Addressing(env.ipams, env.kernel)
        self.addressing.warn(self.warnings)
        self.cluster: Cluster | None = None
        self._lock = threading.RLock()
        self._pid = os.getpid()
        self._work: Work | None = None
        self._revision = 0
        self._journals: dict[str, bytes] = {}
        self._finished: list[str] = []

    # Reading

    @contextmanager
    def reading(self) -> Iterator[State]:
        """Hold the state still, up to date with every process, for a look at it."""
        with deferred(), self._thread_lock():
            if self._work is None:
                self._catch_up()
            else:
                self._work.settle()
            yield self.state

    @property
    def staged(self) -> Work | None:
        """The batch or plan that the calling thread is in, if it is in one."""
        with deferred():
            if not self._lock.acquire(blocking=False):
                return None
            try:
                if self._work is not None:
                    self._work.settle()
                return self._work
            finally:
                self._lock.release()

    # Changing

    @contextmanager
    def operation(self, why: str, *, listing: bool = False) -> Iterator[Work]:
        """Run one operation; inside a batch or plan, as a step of it; ``listing``: one that uses `Work.lists`.

        Raises:
            LibnetworkError: from the body, the kernel or the store; nothing of the operation remains.
        """
        with deferred(), self._thread_lock():
            if (batch := self._work) is not None:
                if not listing:
                    batch.settle()
                mark = batch.mark()
                try:
                    yield batch
                except BaseException:
                    batch.rollback(mark)
                    raise
                return
            with self._transaction(why) as work:
                work.alone = True
                yield work

    @contextmanager
    def transaction(self, why: str, *, dry: bool = False) -> Iterator[Work]:
        """Run a body as one operation; with ``dry``, take it back at the end instead of doing it.

        Raises:
            Conflict: the thread is inside another one already.
        """
        with deferred(), self._thread_lock():
            if self._work is not None:
                raise Conflict("a batch or plan is open in this thread already: they do not nest", code="nested_batch")
            with self._transaction(why, dry=dry) as work, allowed():
                yield work

    @contextmanager
    def _transaction(self, why: str, *, dry: bool = False) -> Iterator[Work]:
        with self._directory(), self.env.ports.keeping():
            self._catch_up()
            self._recover()
            work = self._work = Work(self.state, self.describer, why)
            work.dry = dry
            try:
                yield work
                if not dry:
                    self._commit(work)
            except BaseException:
                work.rollback()
                self.names.restore(self.state.records())
                raise
            else:
                work.rollback() if dry else work.finish()
            finally:
                self._work = None
                work.release()

    @contextmanager
    def exclusive(self) -> Iterator[State]:
        """Keep every other operation out, of this process and others, for work on the kernel alone."""
        with deferred(), self._thread_lock():
            if self._work is not None:
                raise Conflict("this cannot be done inside a batch or plan", code="nested_batch")
            with self._directory():
                self._catch_up()
                self._recover()
                yield self.state

    def _after_fork(self) -> None:
        """Drop, in a forked child, what belongs to the parent: its lock, its open batch, its reserved ports."""
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self.committed = threading.Condition()
        if self._work is not None:
            self._work.rollback()
            self._work = None
        self.env.ports.forget()
        if self.cluster is not None:
            self.cluster.forked()

    def _thread_lock(self) -> held:
        """Take the lock, and return what gives it back; call it where Ctrl-C waits."""
        if os.getpid() != self._pid:
            self._after_fork()
        deadline = time.monotonic() + self.env.config.lock_timeout
        while not self._lock.acquire(timeout=min(SLICE, self.env.config.lock_timeout)):
            check()
            if time.monotonic() >= deadline:
                raise Unavailable(
                    f"another thread kept the controller busy for {self.env.config.lock_timeout:g} s: is a batch open there?",
                    code="locked",
                )
        return held(self._lock)

    @contextmanager
    def _directory(self) -> Iterator[None]:
        """Keep other processes out, waiting for them in slices."""
        deadline = time.monotonic() + self.env.config.lock_timeout
        with ExitStack() as stack:
            while True:
                left = max(deadline - time.monotonic(), 0)
                try:
                    stack.enter_context(self.env.store.exclusive(min(left, SLICE)))
                    break
                except Unavailable as error:
                    if error.code != "locked" or left <= SLICE:
                        raise
                check()
            yield

    # Committing

    def _commit(self, work: Work) -> None:
        touched = list(work.touched())
        if not touched:
            return
        change = work.change()
        if work.scopes("network") and self._note_baseline(change):
            change = work.change()
        change = self._but_for_others(change)
        if self.cluster is None or work.mirrored:
            self._make(work, change, touched)
            return
        claimed = self.cluster.claim(touched)
        try:
            self._make(work, change, touched)
        except BaseException:
            claimed.withdraw()
            raise
        claimed.release()

    def _make(self, work: Work, change: Change, touched: Sequence[Touched]) -> None:
        deeds = Deeds(self.env, self.state, self.describer, touched)
        acts = not work.mirrored and deeds.needed(work)
        left = [each for each in touched if each[1] is None and self.files.left(each[0])]
        left += departing(touched) if acts else []
        writes, happened = outcome(touched, work.told)
        named = self.names.draft(touched)
        if not change and not left and not acts:
            self._store([*writes, *named.writes], happened)
            self.names.commit(named, touched)
            return
        journal = f"journal/{secrets.token_hex(8)}"
        document = intent(journal, work.why, touched, writes, bare=self.names.bare(named))
        self._store([Write(journal, document)])
        self._journals[journal] = document
        rest = intent(journal, work.why, left, done=True) if left else None
        begun = made = False
        try:
            self.names.withdraw(named)
            if acts:
                deeds.arrive(work)
                change = self._but_for_others(work.change())
            begun = True
            self.env.kernel.apply(change, self.names.beside(named))
            made = True
            if acts:
                deeds.connect(work)
                touched = list(work.touched())
                writes, happened = outcome(touched, work.told)
                named = self.names.revise(named, touched)
            self._store([*writes, *named.writes, Write(journal, rest)], happened)
        except BaseException as error:
            # The kernel layer notes what it could not undo.
            half_done = made or (begun and bool(getattr(error, "__notes__", None)))
            undone = not half_done or self._undone(change, error)
            deeds.undo(error)
            if undone:
                self._failed(work, journal, error)
            else:
                self._keep_failed(journal, document)
            raise
        self._journals.pop(journal)
        self.names.commit(named, touched)
        if rest:
            self._clear(journal, rest, left, deeds if acts else None, work.why)

    def _undone(self, change: Change, error: BaseException) -> bool:
        """Take back what the kernel has done; what cannot be is said in ``error``, and the journal waits for the next operation."""
        try:
            self.env.kernel.enforce(change.reverse)  # not `apply`: a veth pair goes some time after its namespace
        except Exception as problem:  # noqa: BLE001 (``error`` is what the caller must hear of)
            error.add_note(f"and not everything could be undone yet: {problem}")
            return False
        return True

    def _clear(self, journal: str, rest: bytes, left: Sequence[Touched], deeds: Deeds | None, why: str) -> None:
        """Clear away what is sure to stay deleted, sandboxes' files and what drivers hold, and the journal that remembers it."""
        for record, after in left:
            if after is None:
                self.files.remove(record)
        if deeds is None:  # whoever finds it once more has nothing to do: it goes with the next commit
            self._finished.append(journal)
            return
        self._journals[journal] = rest  # until that is done
        try:
            self.warnings += [f"{why}: {problem}" for problem in deeds.depart()]
        except KeyboardInterrupt:  # the rest is the next operation's; this one is done, so Ctrl-C waits for its end
            signal.raise_signal(signal.SIGINT)
            return
        with suppress(LibnetworkError):  # all is done; the next operation tries again
            self._store([Write(journal, None)])
            del self._journals[journal]

    def _failed(self, work: Work, journal: str, error: BaseException) -> None:
        event = events.Event("failed", "controller", self.env.id, work.why, time.time(), detail=str(error))
        self._journals[journal] = TAKEN_BACK
        with suppress(LibnetworkError):  # the store may be what failed; then the next operation drops the journal
            self._store([Write(journal, None)], [events.encode(event)])
            del self._journals[journal]

    def _keep_failed(self, journal: str, document: bytes) -> None:
        """Have the next operation undo what could not be undone now, never finish it: the caller hears that it failed."""
        document = encode(evolve(decode_journal(journal, document), failed=True))
        self._journals[journal] = document
        with suppress(LibnetworkError):  # the store may be what failed
            self._store([Write(journal, document)])

    def _store(self, writes: Sequence[Write], happened: Sequence[bytes] = ()) -> None:
        finished = [Write(journal, None) for journal in self._finished]
        self._revision = self.env.store.commit([*writes, *finished], happened)
        self._finished.clear()
        with self.committed:
            self.committed.notify_all()

    def announce(self, *happened: events.Event, writes: Sequence[Write] = ()) -> None:
        """Record events that no record changed for, and documents that are no records."""
        self._store(writes, [events.encode(each) for each in happened])

    def preview(self, work: Work) -> Change:
        """Return what the kernel would be asked to do for an operation."""
        kept = dict(self.baseline)
        if work.scopes("network"):
            self.baseline.update(neighbours.baseline(work.change(), self.env.kernel, self.env.table.name))
        try:
            return self._but_for_others(work.change())
        finally:
            self.baseline.clear()
            self.baseline.update(kept)

    def _note_baseline(self, change: Change) -> bool:
        """Keep what the host's sysctls are before a first network changes them: removal of the last one writes them back."""
        now = neighbours.baseline(change, self.env.kernel, self.env.table.name)
        if not now.items() - self.baseline.items():
            return False
        self.baseline.update(now)
        self._store([Write(BASELINE, json.dumps(self.baseline).encode())])
        return True

    def _but_for_others(self, change: Change) -> Change:
        """Leave the host's forwarding on while another controller is there."""
        return neighbours.but_for_others(change, self.env.kernel, self.env.table.name)

    def close(self) -> None:
        """Commit what is left to be, and hang up on the name service."""
        with suppress(LibnetworkError):  # else the next to open it does
            if self._finished:
                self._store(())
        self.names.close()

    # Catching up and recovering

    def load(self) -> None:
        """Read everything from the store; recover what a dead process left; take back ports and addresses that are out."""
        with deferred(), self._thread_lock(), self._directory():
            self._catch_up()
            self._recover()
            self.names.write_files([(None, each) for each in self.state.sandboxes.values()])

    def _catch_up(self) -> None:
        revision = self.env.store.revision()
        if revision == self._revision:
            return
        changes = self.env.store.changes(self._revision)
        if not changes.complete or self._revision == 0:
            items = self.env.store.items()
            keys = {item.key for item in items}
            gone = tuple(key for key in map(key_of, self.state.records()) if key not in keys)
            changes = Changes(changes.revision, items, gone)
        self._take_in(changes)
        self._revision = changes.revision

    def _take_in(self, changes: Changes) -> None:
        seen: list[Touched] = []
        for key in changes.deleted:
            self._journals.pop(key, None)
            seen += self._forget(key)
        for item in sorted(changes.items, key=by_kind):
            seen += self._learn(item)
        follow(self.env.ports, seen)
        self.names.learn(seen)

    def _learn(self, item: Item) -> list[Touched]:
        if item.key.startswith("journal/"):
            self._journals[item.key] = item.document
        elif item.key == BASELINE:
            self.baseline.update(json.loads(item.document))
        elif item.key == NAMES:
            self.names.follow(item.document.decode())
        elif item.key == UNDERLAY:
            self.describer.at(parse_address(item.document.decode()))
        elif is_record(item.key):
            record = decode(item.key, item.document)
            previous = self.state.put(record)
            if isinstance(record, SandboxRecord) and record.identity:
                self.env.kernel.expect(record.key, record.identity)
            self.addressing.learn(previous, record, self.state)
            return [(previous, record)]
        return []

    def _forget(self, key: str) -> list[Touched]:
        kind, _, record_id = key.partition("/")
        records: Mapping[str, Mapping[str, Record]] = {
            "network": self.state.networks,
            "endpoint": self.state.endpoints,
            "sandbox": self.state.sandboxes,
        }
        record = records.get(kind, {}).get(record_id)
        if record is not None:
            self.addressing.learn(record, None, self.state)
            self.state.remove(record)
            return [(record, None)]
        return []

    def _recover(self) -> None:
        for key, document in sorted(self._journals.items()):
            if document == TAKEN_BACK:
                self._store([Write(key, None)])
            else:
                self._recover_one(key, decode_journal(key, document))
            del self._journals[key]
            if self.cluster is not None:
                self.cluster.resync()

    def again(self, function: Callable[[], T], *prefixes: str) -> T:
        """Run an operation that the cluster may refuse because another host was faster; then again, from the start.

        Inside a batch or plan it is a step. ``prefixes``: see `Cluster.again`.
        """
        if self.cluster is None:
            return function()
        return self.cluster.step(function) if self.staged is not None else self.cluster.again(function, prefixes)

    def _recover_one(self, key: str, journal: Journal) -> None:
        """Undo what the journal's writer had begun, or finish it where it only took things away."""
        changes = pairs(journal)
        if journal.done:
            self._depart(journal.why, changes)
            self._store([Write(key, None)])
            return
        work = Work(self.state, self.describer, f"recover: {journal.why}")
        for _, after in changes:
            if after is not None:
                work.put(after)
        gone = [before for before, after in reversed(changes) if after is None and before is not None]
        for record in gone:
            if self.state.get(type(record), record.id) is not None:  # else only what it left is left
                work.delete(record)
        change = work.change()
        forward = not journal.failed and all(after is None for _, after in changes)
        touched = list(work.touched())
        if not forward:
            work.rollback()
            change = change.reverse
        change = self._but_for_others(change)
        try:
            self.env.kernel.enforce(Change(change.remove, change.make, work.why))
        except ExceptionGroup as group:  # what cannot be mended now must not stop everything else; reconcile lists it
            self.warnings += [f"{work.why}: {error}" for error in group.exceptions]
        writes, happened = outcome(touched) if forward else ([], [])
        for was, is_ in touched if forward else ():
            self.addressing.learn(was, is_, self.state)
        follow(self.env.ports, touched if forward else ())
        self._depart(work.why, changes if forward else [(after, before) for before, after in changes])
        named = self.names.draft(touched if forward else ())
        writes += named.writes
        self._store([*writes, Write(key, None)], happened)
        self.names.commit(named, touched, () if forward else journal.bare)  # files are written while the kernel is busy

    def _depart(self, why: str, changes: Sequence[Touched]) -> None:
        """Do what a dead process had left to do, or had begun and not finished: how far it came nobody knows."""
        for record, after in changes:
            if after is None:
                self.files.remove(record)
        deeds = Deeds(self.env, self.state, self.describer, changes)
        self.warnings += [f"{why}: {problem}" for problem in deeds.depart(thorough=True)]
