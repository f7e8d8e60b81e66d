"""Threads that work in namespaces, so that the caller's own never moves.

Division of labour: a `Job` is a call to be made elsewhere; a `Worker` is a thread that makes calls one by one and is at home between
them; `Workers` has one for the library's own jobs and spare ones for everything else. What happens inside a call is `opener`'s business.

A worker that cannot come home dies and is replaced. The library's jobs queue for one worker: the kernel serialises them anyway (rtnl).
What a user gave us runs on a spare one, since it may block or call us again. After a fork there are no threads: all begins anew.

May import: namespaces, errors.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, Generic, TypeVar, cast

from ..errors import Forbidden, Internal, LibnetworkError
from .namespaces import enter

T = TypeVar("T")

_SPARE_WORKERS = 4
"""How many idle ones are kept."""


class Job(Generic[T]):
    """A call to be made on another thread. `wait` may be interrupted; the job goes on all the same.

    Args:
        function: The call.
        parts: Jobs that the call runs: they fail with it, if it does not come to that.

    Attributes:
        finished: The call has ended. failed: It has raised.
    """

    __slots__ = ("_done", "_error", "_function", "_parts", "_result", "failed", "finished")

    def __init__(self, function: Callable[[], T], parts: Sequence[Job[Any]] = ()) -> None:
        self._function, self._parts = function, parts
        self._done = threading.Lock()
        self._done.acquire()
        self._error: BaseException | None = None
        self._result: T | None = None
        self.finished = self.failed = False

    def run(self, refusal: BaseException | None = None) -> None:
        """Make the call, or fail with ``refusal`` instead."""
        try:
            if refusal is not None:
                raise refusal
            self._result = self._function()
        except BaseException as error:  # noqa: BLE001 (handed to the waiting thread)
            self._error, self.failed = error, True
            for each in self._parts:
                if not each.finished:
                    each.run(error)
        finally:
            self.finished = True
            self._done.release()

    def wait(self) -> None:
        """Wait for the end."""
        if not self.finished:
            self._done.acquire()
            self._done.release()

    def settle(self) -> None:
        """Wait for the end through any number of interrupts, which may leave the lock in any state."""
        while not self.finished:
            with suppress(BaseException):
                self._done.acquire(timeout=0.01)

    def settled(self) -> T:
        """Wait likewise and return what the call returned, or raise what it raised; an interrupt meanwhile is raised at the end."""
        interrupt: BaseException | None = None
        while not self.finished:
            try:
                self._done.acquire(timeout=0.01)
            except BaseException as error:  # noqa: BLE001 (out of a signal handler)
                interrupt = error
        if interrupt is not None:
            raise interrupt
        return self.result()

    def cancel(self, dispose: Callable[[T], object]) -> None:
        """Wait likewise for a job whose result nobody wants any more, and have ``dispose`` get rid of it."""
        self.settle()
        if not self.failed:
            dispose(cast("T", self._result))

    def result(self) -> T:
        """Wait and return what the call returned, or raise what it raised."""
        self.wait()
        error, self._error = self._error, None
        if error is not None:
            try:
                raise error
            finally:
                del error  # a frame that holds its own exception lives until the next collection
        return cast("T", self._result)


class Worker:
    """A daemon thread that makes calls one by one, at home in the namespace of ``home`` (-1: it stays where its maker is)."""

    def __init__(self, home: int) -> None:
        self._home = home
        self._jobs: SimpleQueue[Job[Any] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._loop, name="libnetwork-kernel", daemon=True)
        self.lost = False
        self._thread.start()

    @property
    def here(self) -> bool:
        """Whether the calling thread is this worker."""
        return threading.get_ident() == self._thread.ident

    def start(self, job: Job[Any]) -> None:
        """Queue a job."""
        self._jobs.put(job)

    def stop(self) -> None:
        """End the thread after what is queued, and wait for it, unless it is the caller."""
        self._jobs.put(None)
        if not self.here:
            self._thread.join()

    def go_home(self) -> None:
        """Return to the home namespace; a thread that cannot is lost and takes no further job."""
        try:
            enter(self._home)
        except OSError:
            self.lost = True
            raise

    def _loop(self) -> None:
        refusal = self._arrive()
        while (job := self._jobs.get()) is not None:
            job.run(refusal)
            del job
            if self.lost:
                return

    def _arrive(self) -> LibnetworkError | None:
        """A new thread is where its maker was."""
        if self._home < 0:
            return None
        try:
            enter(self._home)
        except OSError as error:
            self.lost = True
            return Forbidden(
                f"cannot enter the host's network namespace: it needs CAP_SYS_ADMIN over it (kernel: {error.strerror})",
                code="no_privilege",
                errno=error.errno,
            )
        return None


class Workers:
    """The threads of one opener, at home in the namespace behind ``home``, which they own.

    Args:
        home: Descriptor of the namespace.
        moving: Whether they may enter namespaces; else they stay where their makers are.
    """

    def __init__(self, home: int, *, moving: bool = True) -> None:
        self.home, self._moving = home, moving
        self._pid = -1
        self._fresh()

    def _fresh(self) -> None:
        """Start again with nothing after a fork: threads stay with the parent."""
        if self._pid == os.getpid():
            return
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._worker: Worker | None = None
        self._spares: list[Worker] = []
        self._aside: set[Worker] = set()

    def start(self, job: Job[Any]) -> None:
        """Queue one of the library's own jobs."""
        self._fresh()
        with self._lock:
            if self._worker is None or self._worker.lost:
                self._worker = self._new()
            self._worker.start(job)

    def here(self, function: Callable[[Worker], T]) -> T:
        """On the spot inside one of the library's jobs, else on a spare worker: a short question does not wait for a long job."""
        for worker in (self._worker, *self._aside):
            if worker is not None and worker.here and not worker.lost:
                return function(worker)
        return self.spare(function)

    def aside(self, function: Callable[[], T], then: Job[Any] | None = None) -> Job[T]:
        """Begin one of the library's jobs on a spare worker, which goes on with ``then``: to wake another one takes 50 µs."""
        first = Job(function)

        def work(worker: Worker) -> None:
            self._aside.add(worker)
            try:
                first.run()
                if then is not None:
                    then.run()
            finally:
                self._aside.discard(worker)

        self.begin(work, (first, then) if then is not None else (first,))
        return first

    def spare(self, function: Callable[[Worker], T]) -> T:
        """On a worker that has nothing else to do."""
        return self.begin(function).result()

    def begin(self, function: Callable[[Worker], T], parts: Sequence[Job[Any]] = ()) -> Job[T]:
        """On such a worker, while the caller goes on; ``parts``: jobs that the function runs."""
        self._fresh()
        with self._lock:
            worker = self._spares.pop() if self._spares else self._new()

        def work() -> T:
            try:
                return function(worker)
            finally:
                self._give_back(worker)

        job = Job(work, parts)
        worker.start(job)
        return job

    def close(self) -> None:
        """End the threads, each after what it is doing, and forget the home."""
        self._fresh()
        with self._lock:
            workers = [*self._spares, *([self._worker] if self._worker else [])]
            self._spares, self._worker = [], None
            home, self.home = self.home, -1
        for worker in workers:
            worker.stop()
        if home >= 0:
            os.close(home)

    def _new(self) -> Worker:
        if self.home < 0:
            raise Internal("the kernel layer is closed", code="closed")
        return Worker(self.home if self._moving else -1)

    def _give_back(self, worker: Worker) -> None:
        with self._lock:
            if self.home >= 0 and not worker.lost and len(self._spares) < _SPARE_WORKERS:
                self._spares.append(worker)
                return
        worker.stop()
