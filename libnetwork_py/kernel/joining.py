"""A program inside an ordinary user's sandbox: starts `joiner`, which enters it and becomes the program.

The caller's process can never enter a user namespace, for it may have several threads (setns(2)). A child with one thread can, and what
it becomes is a child of the caller's like any other: every option of `subprocess.Popen` works but ``preexec_fn``.

May import: joiner, transport.
"""

from __future__ import annotations

import fcntl
import marshal
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import FileIO
from typing import Any

from . import joiner
from .transport import failed


def popen(
    user: int, network: int, argv: Sequence[Any] | str, files: Mapping[str, str], options: Mapping[str, Any]
) -> subprocess.Popen[Any]:
    """Start a program.

    Args:
        user: Descriptor of the user namespace.
        network: Descriptor of the network namespace.
        argv: As for `subprocess.Popen`.
        files: Target path → source path.
        options: `subprocess.Popen`'s.

    Raises:
        OSError: as `subprocess.Popen`: no such program, not executable, no such working directory.
    """
    given = dict(options)
    program, words = _program(argv, shell=given.pop("shell", False), executable=given.pop("executable", None))
    covered = [part for pair in files.items() for part in pair]
    reading, report = os.pipe2(os.O_CLOEXEC)
    with os.fdopen(reading, "rb", buffering=0) as answer:
        with os.fdopen(report, "wb", buffering=0), aside([report, user, network]) as passed:
            signals = "1" if given.get("restore_signals", True) else "0"
            locale = (os.environ if given.get("env") is None else given["env"]).get("LC_CTYPE")
            how = [signals, "" if locale is None else f"={locale}", str(len(files)), *covered]
            head = [sys.executable, "-I", "-S", joiner.__file__, *map(str, passed), *how]
            given["pass_fds"] = (*given.get("pass_fds", ()), *passed)
            process = subprocess.Popen([*head, program, *words], **given)
        process.args = argv
        _check(process, answer, program)
    return process


@contextmanager
def aside(descriptors: Sequence[int]) -> Iterator[list[int]]:
    """Give copies that are none of the three standard streams, which a child gets anew: a caller may have closed its own."""
    copies: list[int] = []
    try:
        for fd in descriptors:
            copies.append(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3))  # noqa: PERF401 (those made must be closed on failure)
        yield copies
    finally:
        for fd in copies:
            os.close(fd)


def _program(argv: Sequence[Any] | str, *, shell: bool, executable: Any) -> tuple[Any, list[Any]]:
    """What is executed, and its arguments, the name that it is called by among them; as `subprocess.Popen` has it."""
    words = [argv] if isinstance(argv, str | bytes | os.PathLike) else list(argv)
    if shell:
        words = [executable or "/bin/sh", "-c", *words]
    return executable or words[0], words


def _check(process: subprocess.Popen[Any], answer: FileIO, program: Any) -> None:
    """Wait until the program is executed; raise if it is not."""
    try:
        said = answer.read(4096)
    except BaseException:
        _discard(process)
        raise
    if not said:
        return
    _discard(process)
    doing, number = marshal.loads(said)  # noqa: S302 (from a process of our own)
    error = OSError(number, os.strerror(number), program)
    raise failed(error, doing) if doing else error


def _discard(process: subprocess.Popen[Any]) -> None:
    with process:  # closes its pipes and reaps it
        process.kill()
