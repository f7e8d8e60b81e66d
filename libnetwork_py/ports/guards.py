"""A socket that keeps one port of one address from every other process, and what the kernel's refusal of it means.

Division of labour: `Guards` asks the kernel for one port after the other; `reservations` decides which to ask for. The sockets do not
listen, unless a relay takes what the kernel cannot lead elsewhere before. They are opened many at a time where many are needed, for it
takes a journey into the host's namespace, and are then bound one by one, which does not.

Neither ``SO_REUSEADDR`` nor ``SO_REUSEPORT`` is set: both work only where every socket involved has them, so their absence here
refuses even those who set them (socket(7)). Only where connections that ended a minute ago still have the port, ``SO_REUSEADDR``
is, and the socket listens: that refuses everybody too.

May import: types, errors.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import IPv6Address
from typing import TypeAlias

from ..errors import Conflict, Forbidden, InvalidParameter, LibnetworkError, Unavailable
from ..types import IPAddress, Protocol

OpenSockets: TypeAlias = Callable[[int, int, int, int], list[socket.socket]]
"""Family, type, protocol, count → new sockets in the host's namespace. Its errors carry ``errno``: `OSError`, or one of ours."""

_KINDS: dict[Protocol, tuple[int, int]] = {
    "tcp": (socket.SOCK_STREAM, socket.IPPROTO_TCP),
    "udp": (socket.SOCK_DGRAM, socket.IPPROTO_UDP),
    "sctp": (socket.SOCK_STREAM, socket.IPPROTO_SCTP),
}

_NOBODY_HAS = (errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT)
"""No such sockets on this host (no IPv6, no SCTP): nobody can take the port, so nothing needs to guard it."""


_AHEAD = 256
"""How many sockets are opened ahead at most while many ports are reserved one by one."""


class Guards:
    """Makes guards.

    Args:
        open_sockets: Opens sockets in the host's namespace.
    """

    def __init__(self, open_sockets: OpenSockets) -> None:
        self._open_sockets = open_sockets
        self._stock: dict[tuple[int, Protocol], list[socket.socket]] = {}
        self._ahead: dict[tuple[int, Protocol], int] = {}
        self._nobody_has: set[tuple[int, Protocol]] = set()
        self._bulk = False

    @contextmanager
    def bulk(self) -> Iterator[None]:
        """While it is entered, open sockets ahead of their need; afterwards close what was not needed. It nests."""
        if self._bulk:
            yield
            return
        self._bulk = True
        try:
            yield
        finally:
            self._bulk = False
            self._ahead.clear()
            self._nobody_has.clear()
            self.settle()

    def guard_both(self, protocol: Protocol, port: int, more: int = 0) -> socket.socket | None:
        """Return a bound socket that keeps the port at every address of both families; ``None`` where it takes one for each.

        Raises:
            LibnetworkError: as `guard`.
        """
        if (6, protocol) in self._nobody_has:
            return None
        try:
            guard = self._take(6, protocol, more + 1)
        except (OSError, LibnetworkError):
            return None
        try:
            guard.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            _bind(guard, "::", port)
        except OSError as error:
            guard.close()
            if error.errno == errno.EADDRINUSE:
                return None  # the single ones say which family has it
            raise _refusal(error.errno, protocol, IPv6Address(0), port) from error
        return guard

    def guard(self, protocol: Protocol, address: IPAddress, port: int, more: int = 0) -> socket.socket | None:
        """Return a bound socket that keeps the port from everybody else; ``None`` where nobody could take it anyway.

        Args:
            protocol: Of the port. address: Of the host.
            address: See ``protocol``.
            port: Its number.
            more: How many others of this protocol and family will be asked for at once.

        Raises:
            Conflict: another process has the port. InvalidParameter: the host does not have the address.
            Forbidden: a privileged port. Unavailable: too many open files.
        """
        kind = address.version, protocol
        if kind in self._nobody_has:
            return None
        try:
            guard = self._take(address.version, protocol, more + 1)
        except (OSError, LibnetworkError) as error:
            number: int | None = getattr(error, "errno", None)
            if number in _NOBODY_HAS:
                if self._bulk:
                    self._nobody_has.add(kind)
                return None
            raise _refusal(number, protocol, address, port) from error
        try:
            if address.version == 6:
                guard.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            _bind(guard, str(address), port)
        except OSError as error:
            guard.close()
            raise _refusal(error.errno, protocol, address, port) from error
        return guard

    def settle(self) -> None:
        """Close what was opened and is not needed, unless more is to come."""
        if not self._bulk:
            self.close()

    def close(self) -> None:
        """Close what was opened and not given out."""
        for stock in self._stock.values():
            for each in stock:
                each.close()
        self._stock.clear()

    def _take(self, version: int, protocol: Protocol, wanted: int) -> socket.socket:
        stock = self._stock.setdefault((version, protocol), [])
        if not stock:
            if self._bulk:
                wanted = max(wanted, self._ahead.get((version, protocol), 1))
                self._ahead[version, protocol] = min(wanted * 4, _AHEAD)
            stock += self._open(version, protocol, wanted)
        guard = stock.pop()
        if protocol == "udp":  # nobody reads what arrives: keep as little of it as the kernel allows
            guard.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 0)
        return guard

    def _open(self, version: int, protocol: Protocol, count: int) -> list[socket.socket]:
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        try:
            return self._open_sockets(family, *_KINDS[protocol], count)
        except (OSError, LibnetworkError):
            if count == 1:
                raise
            # perhaps fewer can be opened than would be good to have
            return self._open_sockets(family, *_KINDS[protocol], 1)


def _bind(guard: socket.socket, address: str, port: int) -> None:
    """Bind, also where only the remains of a relay's connections have the port (``TIME-WAIT``).

    Raises:
        OSError: as bind(2).
    """
    try:
        guard.bind((address, port))
    except OSError as error:
        if error.errno != errno.EADDRINUSE or guard.proto != socket.IPPROTO_TCP:
            raise
        guard.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        guard.bind((address, port))
        guard.listen(0)


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
