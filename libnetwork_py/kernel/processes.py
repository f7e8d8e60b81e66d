"""A program inside a sandbox: its network namespace, that namespace's ``/sys``, and files of its own, in a mount namespace of its own.

Division of labour: `opener` says what a namespace is and who may enter it; this module prepares the mounts and starts the program.
What it does is what ``ip netns exec`` does, on a thread instead of in a forked child.

A mount namespace belongs to a task, so a thread that ends with its one job can have one: the rest of the process sees nothing of it,
and the program inherits it through `subprocess.Popen`'s ordinary ``vfork``. ``preexec_fn`` would need a real ``fork`` of a threaded
process, which copies page tables (28 ms with a heap of 500 MiB) and may deadlock.

May import: opener, transport, errors.
"""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Any

from ..errors import InvalidParameter
from .transport import failed

if TYPE_CHECKING:
    from .opener import Opener

# PyDLL keeps the interpreter lock: each of these calls takes microseconds, and giving the lock away at each of a dozen of them
# would cost a busy interpreter's switch interval (5 ms) every time.
_libc = ctypes.PyDLL(None, use_errno=True)
_libc.mount.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_void_p]

_CLONE_NEWNS, _CLONE_NEWNET = 0x20000, 0x40000000
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_BIND, _MS_REC, _MS_SLAVE = 1, 2, 4, 8, 0x1000, 0x4000, 1 << 19

_KEPT = ("/sys/fs/cgroup", "/sys/fs/bpf")
"""File systems below ``/sys`` that have nothing to do with the network namespace and that programs look for."""


def popen(
    opener: Opener, path: str, argv: Sequence[str] | str, files: Mapping[str, str], **options: Any
) -> subprocess.Popen[Any]:
    """Start a program inside the network namespace at ``path``, as ``ip netns exec`` does.

    It sees that namespace's ``/sys``, and ``files`` in place of this machine's: each target is covered by its source, in a mount
    namespace that only this program and its children have. It is a child of this process like any other.

    A file is bound, not copied: the program sees what is later written into the source. It does not see a source that is *replaced*
    (renamed over): it keeps the one it started with. A source or a target that does not exist is passed over.

    Args:
        opener: Who may enter namespaces. An unprivileged one prepares the mounts itself (`joiner`).
        path: Path of the namespace; empty for the host's.
        argv: As for `subprocess.Popen`, whose every option works but ``preexec_fn``.
        files: Target path → source path.
        **options: `subprocess.Popen`'s; the working directory is the caller's unless ``cwd`` says otherwise.

    Raises:
        InvalidParameter: ``preexec_fn`` was given, or a source or target is not a file.
        Forbidden: no privilege to enter the namespace or to mount. Unavailable: the machine has no mount to spare.
        OSError: from `subprocess.Popen`: no such program, not executable, no such working directory.
    """
    if options.pop("preexec_fn", None) is not None:
        raise InvalidParameter(
            "preexec_fn is not possible for a process in a sandbox: use start_new_session, process_group, user, group, umask, or a "
            "wrapper program",
            code="preexec_fn",
        )
    if opener.mode == "user":
        return opener.popen(path, argv, files=files, **options)
    if not files and _is_own(opener, path):
        return opener.popen(path, argv, **options)

    def start() -> subprocess.Popen[Any]:
        with _namespace(opener, path) as namespace:
            _check(_libc.setns(namespace, _CLONE_NEWNET), f"enter the network namespace {path!r}")
        _cover(files)
        return subprocess.Popen(argv, **options)

    return _Start(start).wait()


@contextmanager
def _namespace(opener: Opener, path: str) -> Generator[int, None, None]:
    descriptor = opener.namespace_fd(path)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _is_own(opener: Opener, path: str) -> bool:
    """Whether ``path`` is the host's namespace and that is this process's own, so that its ``/sys`` is the right one already."""
    if path:
        return False
    with _namespace(opener, path) as namespace:
        return os.path.samestat(os.fstat(namespace), Path("/proc/self/ns/net").stat())


def _cover(files: Mapping[str, str]) -> None:
    """Give the calling thread a mount namespace of its own with the network namespace's ``/sys`` and with ``files``.

    Slave, not private: what the machine unmounts later (a sandbox's namespace, when it is deleted) goes here too, instead of being
    held by every program that runs.
    """
    _check(_libc.unshare(_CLONE_NEWNS), "make a mount namespace")
    _mount(None, "/", None, _MS_REC | _MS_SLAVE)
    _mount_sysfs()
    for target, source in files.items():
        _mount(source, target, None, _MS_BIND, passing=(errno.ENOENT,))


def _mount_sysfs() -> None:
    """Mount the network namespace's sysfs over ``/sys``; which namespace it shows is settled by the thread that mounts it.

    The kernel says ``EBUSY`` where that very sysfs is there already.
    """
    kept = {target: _libc.open(target.encode(), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) for target in _KEPT}
    try:
        read_only = _MS_RDONLY if os.statvfs("/sys").f_flag & os.ST_RDONLY else 0
        flags = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC | read_only
        if not _mount("sysfs", "/sys", "sysfs", flags, passing=(errno.ENOENT, errno.EBUSY)):
            return
        for target, descriptor in kept.items():
            if descriptor >= 0:
                _mount(f"/proc/thread-self/fd/{descriptor}", target, None, _MS_BIND | _MS_REC, passing=(errno.ENOENT,))
    finally:
        for descriptor in kept.values():
            if descriptor >= 0:
                _libc.close(descriptor)


def _mount(source: str | None, target: str, kind: str | None, flags: int, passing: Sequence[int] = ()) -> bool:
    """Mount; return false where it failed in a way that is to be passed over."""
    result = _libc.mount(source and os.fsencode(source), os.fsencode(target), kind and kind.encode(), flags, None)
    if result and ctypes.get_errno() in passing:
        return False
    _check(result, f"mount {source} on {target}" if source else "separate the mounts")
    return True


def _check(result: int, doing: str) -> None:
    """Raise the error that a failed system call left."""
    if result:
        raise failed(OSError(ctypes.get_errno(), ""), doing)


class _Start:
    """One start of a process on a thread of its own.

    Whichever side comes last cleans up: if the waiting side was interrupted, the process is killed and reaped wherever it is found.
    """

    def __init__(self, start: Callable[[], subprocess.Popen[Any]]) -> None:
        self._start = start
        self._lock = Lock()
        self._done = Event()
        self._given_up = False
        self._process: subprocess.Popen[Any] | None = None
        self._error: BaseException | None = None

    def wait(self) -> subprocess.Popen[Any]:
        """Run it and return the process, or raise what `subprocess.Popen` raised."""
        try:
            Thread(target=self._run, name="libnetwork-process", daemon=True).start()
            self._done.wait()
            return self._result()
        except BaseException:
            with self._lock:
                self._given_up, process = True, self._process
            _discard(process)
            raise
        finally:
            self._error = None  # its traceback holds this frame

    def _result(self) -> subprocess.Popen[Any]:
        if self._error is not None:
            raise self._error
        assert self._process is not None
        return self._process

    def _run(self) -> None:
        try:
            process = self._start()
        except BaseException as error:  # noqa: BLE001 (handed to the waiting thread)
            self._error = error
        else:
            with self._lock:
                self._process, given_up = process, self._given_up
            if given_up:
                _discard(process)
        finally:
            self._done.set()


def _discard(process: subprocess.Popen[Any] | None) -> None:
    if process is not None:
        with process:  # closes its pipes and reaps it
            process.kill()
