"""Becomes a program inside an ordinary user's sandbox; run as a script by a bare interpreter: ``python -I -S joiner.py …``.

It is a child of the caller's and has one thread, so it can enter the user namespace; there it may enter the network namespace,
cover files in a mount namespace of its own, and execute the program, which is then the caller's child like any other.

May import: nothing but modules that a bare interpreter has at hand: it runs before every program, in 15 ms.
"""

from __future__ import annotations

import ctypes
import errno
import marshal
import os
import signal
import sys

TYPE_CHECKING = False  # the one of `typing` takes 5 ms to load
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

_CLONE_NEWNS, _CLONE_NEWUSER, _CLONE_NEWNET = 0x20000, 0x10000000, 0x40000000
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_BIND, _MS_REC, _MS_SLAVE = 2, 4, 8, 0x1000, 0x4000, 1 << 19
_KEPT = ("/sys/fs/cgroup", "/sys/fs/bpf")

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_void_p)


def _call(name: str, *arguments: object) -> None:
    if getattr(_libc, name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _mount(source: str | None, target: str, kind: str | None, flags: int, passing: Sequence[int] = ()) -> bool:
    try:
        _call("mount", source and os.fsencode(source), os.fsencode(target), kind and kind.encode(), flags, None)
    except OSError as error:
        if error.errno in passing:
            return False
        raise
    return True


def _show_interfaces() -> None:
    """See the network namespace's ``/sys``, in a mount namespace of our own.

    Where a container shows a part of ``/sys`` only, the kernel lets nobody mount another one: then that stays (``EPERM``).
    """
    _call("unshare", _CLONE_NEWNS)
    _mount(None, "/", None, _MS_REC | _MS_SLAVE)
    kept = {target: os.open(target, os.O_PATH | os.O_CLOEXEC) for target in _KEPT if os.path.isdir(target)}  # noqa: PTH112
    flags = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
    if _mount("sysfs", "/sys", "sysfs", flags, (errno.ENOENT, errno.EBUSY, errno.EPERM)):
        for target, fd in kept.items():
            _mount(f"/proc/self/fd/{fd}", target, None, _MS_BIND | _MS_REC, (errno.ENOENT,))


def main(report: str, user: str, network: str, *how: str) -> NoReturn:
    """Enter, cover, execute.

    Args:
        report: Number of a descriptor that takes why it failed: what was tried (empty: the execution itself) and the errno.
        user: Likewise, of the user namespace. network: Of the network namespace.
        network: See ``user``.
        how: ``1`` to give the signals that Python ignores back their meaning; what ``LC_CTYPE`` was before this interpreter
            thought better of it, ``=`` and its value, or empty for none; how many files to cover; targets and sources; the
            program; its arguments, from the name on.
    """
    signals, locale, count, *rest = how
    files, (program, *argv) = rest[: 2 * int(count)], rest[2 * int(count) :]
    doing = "enter the sandbox"
    try:
        for fd in map(int, (report, user, network)):
            os.set_inheritable(fd, False)
        _call("setns", int(user), _CLONE_NEWUSER)
        _call("setns", int(network), _CLONE_NEWNET)
        doing = "show its interfaces below /sys"
        _show_interfaces()
        for target, source in zip(files[::2], files[1::2], strict=True):
            doing = f"mount {source} on {target}"
            _mount(source, target, None, _MS_BIND, (errno.ENOENT,))
        doing = ""
        if signals == "1":
            for each in (signal.SIGPIPE, signal.SIGXFSZ):
                signal.signal(each, signal.SIG_DFL)
        environment = {name: value for name, value in os.environ.items() if name != "LC_CTYPE"}
        environment |= {"LC_CTYPE": locale[1:]} if locale else {}
        os.execvpe(program, argv, environment)  # noqa: S606 (what it is for)
    except OSError as error:
        os.write(int(report), marshal.dumps((doing, error.errno), 2))
    os._exit(127)


if __name__ == "__main__":
    main(*sys.argv[1:])
