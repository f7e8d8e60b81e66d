"""A socket that keeps one port of one address from every other process, and what the kernel's refusal of it means.

Division of labour: this module asks the kernel for one port; `reservations` decides which to ask for. The sockets do not listen:
traffic is led elsewhere before it gets to them.

Neither ``SO_REUSEADDR`` nor ``SO_REUSEPORT`` is set: both work only where every socket involved has them, so their absence here
refuses even those who set them (socket(7)).

May import: types, errors.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from typing import TypeAlias

from ..errors import Conflict, Forbidden, InvalidParameter, LibnetworkError, Unavailable
from ..types import IPAddress, Protocol

OpenSocket: TypeAlias = Callable[[int, int, int], socket.socket]
"""Family, type, protocol → a new socket in the host's namespace. Its errors carry ``errno``: `OSError`, or one of ours."""

_KINDS: dict[Protocol, tuple[int, int]] = {
    "tcp": (socket.SOCK_STREAM, socket.IPPROTO_TCP),
    "udp": (socket.SOCK_DGRAM, socket.IPPROTO_UDP),
    "sctp": (socket.SOCK_STREAM, socket.IPPROTO_SCTP),
}

_NOBODY_HAS = (errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT)
"""No such sockets on this host (no IPv6, no SCTP): nobody can take the port, so nothing needs to guard it."""


def guard(open_socket: OpenSocket, protocol: Protocol, address: IPAddress, port: int) -> socket.socket | None:
    """Return a bound socket that keeps the port from everybody else; ``None`` where nobody could take it anyway.

    Raises:
        Conflict: another process has the port. InvalidParameter: the host does not have the address.
        Forbidden: a privileged port. Unavailable: too many open files.
    """
    try:
        bound = open_socket(socket.AF_INET if address.version == 4 else socket.AF_INET6, *_KINDS[protocol])
    except (OSError, LibnetworkError) as error:
        number: int | None = getattr(error, "errno", None)
        if number in _NOBODY_HAS:
            return None
        raise _refusal(number, protocol, address, port) from error
    try:
        if address.version == 6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if protocol == "udp":  # nobody reads what arrives: keep as little of it as the kernel allows
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 0)
        bound.bind((str(address), port))
    except OSError as error:
        bound.close()
        raise _refusal(error.errno, protocol, address, port) from error
    return bound


def where(protocol: Protocol, address: IPAddress, port: int) -> str:
    """Return the place as people write it: ``127.0.0.1:80/tcp``, ``[::1]:80/tcp``."""
    return f"{f'[{address}]' if address.version == 6 else address}:{port}/{protocol}"


def _refusal(number: int | None, protocol: Protocol, address: IPAddress, port: int) -> LibnetworkError:
    """The error for an errno of socket(2) or bind(2)."""
    place = where(protocol, address, port)
    data: dict[str, object] = {"port": port, "address": address, "protocol": protocol, "errno": number}
    match number:
        case errno.EADDRINUSE:
            text = f"host port {place} is in use by another process: stop it, or choose another host port"
            return Conflict(text, code="port_in_use", **data)
        case errno.EADDRNOTAVAIL | errno.EINVAL:
            text = f"cannot publish on {place}: the host has no address {address}; name one that `ip address` lists, or none for all"
            return InvalidParameter(text, code="no_such_host_address", **data)
        case errno.EACCES | errno.EPERM:
            text = f"host port {place} takes privilege: run as root, or choose one from net.ipv4.ip_unprivileged_port_start (1024) on"
            return Forbidden(text, code="privileged_port", **data)
        case errno.EMFILE | errno.ENFILE:
            text = f"cannot reserve host port {place}: too many open files; a port takes one for each family, raise `ulimit -n`"
            return Unavailable(text, code="too_many_open_files", **data)
        case _:
            why = os.strerror(number) if number else "no socket"
            return Unavailable(f"cannot reserve host port {place}: {why}", code="port_not_reserved", **data)
