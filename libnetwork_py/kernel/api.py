"""The kernel layer's contract: make a change so, look at the machine, work inside namespaces.

Two things implement it: `kernel.linux.LinuxKernel` on the real one, `testing.fake_kernel.FakeKernel` in memory.

May import: desired, facts, types, errors.
"""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal, TypeVar
from typing import Protocol as Contract

from attrs import frozen

from ..desired import Change, Word
from ..errors import LibnetworkError
from ..facts import Facts, FilterFacts, LinkStatistics
from ..types import IPAddress, PortBinding, Protocol

T = TypeVar("T")


@frozen
class PortFlow:
    """A published port: the binding, concrete, and the container's address that it leads to."""

    binding: PortBinding
    address: IPAddress

    @property
    def ways(self) -> Iterator[tuple[int, int]]:
        """Host port and container port of each."""
        first = self.binding.host_port
        return ((first + number, self.binding.container_port + number) for number in range(self.binding.count))


class Line(Contract):
    """A connection to a companion."""

    def say(self, message: bytes, descriptors: Sequence[int] = ()) -> None:
        """Send one message; the other side gets copies of the descriptors. ``OSError``: it is dead, or does not read."""
        ...

    def heard(self) -> bool:
        """Whether a message waits, or the end."""
        ...

    def hear(self) -> bytes:
        """Return the next message. ``OSError``: it is dead, or does not answer."""
        ...


class Companion(Contract):
    """A process beside the controllers of a state directory.

    Attributes:
        starts: How often it was started from here: one that was is to be told everything.
    """

    starts: int

    def find(self) -> Line | None:
        """Return the line to it if it runs."""
        ...

    def reach(self) -> Line:
        """Return the line to it, started if it does not run. ``Unavailable``: it dies again and again, or cannot be started."""
        ...

    def lost(self) -> None:
        """Say that the line has failed."""
        ...

    def close(self) -> None:
        """Hang up; it decides itself what that means."""
        ...


class Kernel(Contract):
    """One machine's network stack, its host side being one namespace."""

    @property
    def privilege(self) -> Literal["root", "user"]:
        """``root``: the caller's own privilege is used; ``user``: that of a user namespace."""
        ...

    @property
    def files(self) -> Path | None:
        """Where sandboxes' ``hosts`` and ``resolv.conf`` are kept; ``None``: where ``ip netns`` looks for them."""
        ...

    @property
    def localhost(self) -> bool:
        """Whether published ports shall be reached at the caller's 127.0.0.1 too (`desired.CALLER`)."""
        ...

    @property
    def alive(self) -> bool:
        """Whether there is still somebody to change anything: the process that owned a user's namespaces may have been killed."""
        ...

    def attend(
        self,
        directory: Path | None,
        guard: Callable[[Protocol, IPAddress, int], socket.socket | None],
        *,
        lasting: bool,
    ) -> None:
        """Say, before anything else, whose kernel this is: where processes beside the controller are found and started.

        Args:
            directory: The controller's state directory; ``None``: it has none.
            guard: Protocol, host address, port → the socket of this process that keeps the port from others, if there is one.
            lasting: What was made stays when the controller is closed, and so do they while they are needed.
        """
        ...

    def renew(self, protocol: Protocol, address: IPAddress, port: int) -> None:
        """Have whoever relays a port let go of its socket and take the one that keeps the port from now on, if anybody relays it.

        Raises:
            LibnetworkError: there is none; the port is not relayed any more.
        """
        ...

    def apply(self, change: Change, beside: Callable[[], object] | None = None) -> None:
        """Remove and make what ``change`` says, in as few kernel messages as possible.

        Args:
            change: What goes and what comes.
            beside: Is called meanwhile, on a thread where it may open sockets; it has ended when this returns or raises. What it
                raises is lost.

        Making is exclusive: what exists already is an error (`Conflict`). Removing is not: what is gone is gone. On any failure,
        `KeyboardInterrupt` included, everything done is undone before the error leaves.

        Words inside a namespace that is removed need not be named, and cost nothing if they are.

        Raises:
            LibnetworkError: by category, with the kernel's own words (extended ack) in the message.
        """
        ...

    def enforce(self, change: Change) -> None:
        """Like `apply` for a machine in an unknown state: make what is missing, mend what differs, remove what is there.

        Never undone; goes on past an error and raises an ``ExceptionGroup`` at the end. Used by recovery and repair.
        """
        ...

    def facts(self, namespaces: Iterable[str] = (), *, words: Iterable[Word] = ()) -> Facts:
        """Take a snapshot of the host and of ``namespaces``, and of the tables and sysctls that ``words`` name."""
        ...

    def packet_filter(self) -> FilterFacts:
        """Return what is in the host's packet filter, whoever put it there."""
        ...

    def features(self) -> Mapping[str, bool]:
        """Return which kernel features work here, found by trying them (``bridge``, ``veth``, ``nftables_nat_inet``, …)."""
        ...

    def free_namespace(self, name: str, suffix: str) -> str:
        """Return a path for a new namespace: ``name``'s if nobody has it, else that of ``name-suffix``."""
        ...

    def naming(self) -> AbstractContextManager[None]:
        """Hold the machine-wide lock under which namespace paths are chosen and made."""
        ...

    def foreseeing(self) -> AbstractContextManager[None]:
        """Have a namespace without a name begun, for the next one that is made, and let go of it in the end if none was."""
        ...

    def outside(self) -> str:
        """Return how the host reaches the outside: ``host``, ``pasta``, ``pasta: `` and why it does not, or ``none``."""
        ...

    def reach(self, path: str) -> str:
        """Return the path by which other programs find the namespace that is known here by ``path``; `HOST` for the host's."""
        ...

    def find_namespace(self, where: str | int) -> str:
        """Return the path that adopts an existing namespace: a path, or that of a process by pid.

        Raises:
            InvalidParameter: the path is no network namespace. NotFound: no such path or process. Forbidden: not permitted.
        """
        ...

    def expect(self, path: str, identity: str = "") -> str:
        """Take the namespace of a process, ``/proc/PID/ns/net``, for the one of that identity alone; by default, the one it is now.

        Later another process may have the number, or the process another namespace: whatever is done in it is then `NotFound`, code
        ``namespace_replaced``.

        Returns:
            The identity, for a later `expect`; empty for other paths.
        """
        ...

    def call(self, namespace: str, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Run ``function`` on a thread inside ``namespace`` and return what it returns."""
        ...

    def sockets(self, namespace: str, family: int, kind: int, protocol: int, count: int) -> list[socket.socket]:
        """Open ``count`` sockets of one kind inside ``namespace``, or none."""
        ...

    def sockets_in_each(
        self, wanted: Sequence[tuple[str, Sequence[tuple[int, int, int]]]]
    ) -> list[list[socket.socket] | LibnetworkError]:
        """Open sockets (family, type, protocol) in one namespace after the other, on one journey: all of one, or the error."""
        ...

    def socket(self, namespace: str, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """Open a socket inside ``namespace``."""
        ...

    def popen(
        self, namespace: str, argv: Sequence[str] | str, files: Mapping[str, str], **options: Any
    ) -> subprocess.Popen[Any]:
        """Start a process inside ``namespace`` that sees that namespace's ``/sys`` and ``files`` (target path → source path)."""
        ...

    def entered(self, namespace: str) -> AbstractContextManager[None]:
        """Move the calling thread into ``namespace`` for a while."""
        ...

    def statistics(self, namespace: str) -> Mapping[str, LinkStatistics]:
        """Return the counters of every interface of ``namespace``."""
        ...

    def forget_flows(
        self,
        addresses: Iterable[IPAddress] = (),
        *,
        closed: Iterable[PortFlow] = (),
        opened: Iterable[PortFlow] = (),
    ) -> None:
        """Forget, soon, the host's memory of connections that would lead packets to a former owner; never raises.

        Who brings an address or port back by `apply` finds it forgotten. Connections of others stay.

        Args:
            addresses: Containers' addresses that are gone.
            closed: Ports that are no longer published.
            opened: Ports that are published from now on: what the host remembers of UDP to them goes.
        """
        ...

    def keep_flows(self, addresses: Iterable[IPAddress]) -> None:
        """Forget nothing of addresses that come back to the owner they had: connections to them go on."""
        ...

    def announce(self, namespace: str, link: str, addresses: Iterable[IPAddress]) -> None:
        """Tell the neighbours of an interface that addresses are here now; never raises."""
        ...

    def bequeath(self, directory: Path) -> None:
        """Have a directory removed if this process dies before `close`, where there is who outlives it."""
        ...

    def close(self) -> None:
        """Give back threads and sockets, after the kernel has let go of everything that was removed. What was made stays."""
        ...
