"""Threads that work aside: what they give back, where their calls run, and what an interrupt of the waiting thread does."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from libnetwork_py.errors import Forbidden
from libnetwork_py.kernel.workers import Job, Workers


@pytest.fixture
def workers() -> Iterator[Workers]:
    """Workers that stay where they are."""
    found = Workers(0, moving=False)
    yield found
    found.home = -1  # it is nobody's to close
    found.close()


@pytest.fixture
def interrupting() -> Iterator[None]:
    """Ctrl-C raises, also where it is ignored: in a job of a shell's background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_what_is_begun_aside_is_given_back_when_asked_for(workers: Workers) -> None:
    """The caller goes on meanwhile."""
    gate = threading.Event()
    job = workers.aside(lambda: gate.wait(20) and threading.get_ident())
    gate.set()
    assert job.settled() not in {False, threading.get_ident()}


def test_what_is_raised_aside_is_raised_when_asked_for(workers: Workers) -> None:
    """An error is the result too."""
    job: Job[object] = workers.aside(lambda: int("none"))
    with pytest.raises(ValueError, match="none"):
        job.settled()


def test_what_comes_then_is_done_by_the_same_thread(workers: Workers) -> None:
    """The first job is over before the second begins, and an error in it changes nothing for that."""
    second = Job(threading.get_ident)
    first: Job[object] = workers.aside(lambda: int("none"), second)
    with pytest.raises(ValueError, match="none"):
        first.settled()
    assert second.settled() != threading.get_ident()


def test_what_comes_then_fails_with_a_worker_that_cannot_begin() -> None:
    """Nobody waits for ever for what a lost thread was to do."""
    with open(os.devnull) as file:  # noqa: PTH123 (a descriptor that is no namespace's)
        workers = Workers(os.dup(file.fileno()))
    second = Job(threading.get_ident)
    first = workers.aside(threading.get_ident, second)
    for each in (first, second):
        with pytest.raises(Forbidden, match="cannot enter the host's network namespace"):
            each.settled()
    workers.close()


def test_the_library_goes_on_the_same_journey_aside(workers: Workers) -> None:
    """Inside what is done aside, the next question is answered on the spot; inside what is a user's, elsewhere."""
    aside = workers.aside(lambda: (threading.get_ident(), workers.here(lambda _: threading.get_ident()))).settled()
    users = workers.spare(lambda _: (threading.get_ident(), workers.here(lambda _: threading.get_ident())))
    assert aside[0] == aside[1]
    assert users[0] != users[1]


@pytest.mark.usefixtures("interrupting")
def test_an_interrupt_is_raised_when_the_job_has_ended(workers: Workers) -> None:
    """It is neither lost nor does it leave the job alone."""
    gate = threading.Event()
    job = workers.aside(lambda: gate.wait(20))
    threading.Timer(0.2, gate.set).start()
    main = threading.main_thread().ident
    assert main is not None
    threading.Timer(0.05, lambda: signal.pthread_kill(main, signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        job.settled()
    assert job.finished
    assert gate.is_set()
