"""Why a user may have no user namespace on this machine, and what its administrator can do about it.

May import: errors.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

from ..errors import Forbidden

_SYSCTLS = Path("/proc/sys")
_CHROOT = "a chroot(2) or a container's seccomp profile may also be in the way: run on the machine itself, or as root"


def no_user_namespace(number: int, *, of_host: bool = False) -> Forbidden:
    """Return the error for the errno with which making or entering a user namespace failed.

    Args:
        number: The errno.
        of_host: It was to be the one that a given host's namespace belongs to.
    """
    why = os.strerror(number)
    if of_host and number in {errno.EPERM, errno.EACCES, errno.EINVAL}:
        return Forbidden(
            f"the namespace that shall play the host is not this user's (kernel: {why}): give a sandbox, the path of one, or None "
            "for a host of the controller's own",
            code="not_our_namespace", errno=number,
        )  # fmt: skip
    remedies = "; ".join(_remedies(number)) or _CHROOT
    return Forbidden(
        f"without root the library needs a user namespace, and this machine gives none (kernel: {why}): {remedies}",
        code="no_user_namespace", errno=number,
    )  # fmt: skip


def _remedies(number: int) -> Iterator[str]:
    """What the machine's settings say."""
    if not _setting("../self/uid_map"):
        yield "this user has no number in the user namespace that it is in: run `unshare --map-root-user` instead of `unshare --user`"
    if _setting("user/max_user_namespaces") == "0" or number == errno.ENOSPC:
        yield "run `sysctl -w user.max_user_namespaces=15000` as root"
    if _setting("kernel/unprivileged_userns_clone") == "0":
        yield "run `sysctl -w kernel.unprivileged_userns_clone=1` as root"
    if _setting("kernel/apparmor_restrict_unprivileged_userns") == "1":
        yield (
            "AppArmor forbids it: run `sysctl -w kernel.apparmor_restrict_unprivileged_userns=0` as root, or give this Python an "
            "AppArmor profile with `userns,`"
        )


def _setting(name: str) -> str:
    try:
        return (_SYSCTLS / name).read_text(encoding="ascii").strip()
    except OSError:
        return ""
