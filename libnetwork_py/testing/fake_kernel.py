"""A kernel in memory that prints itself as ``ip``/``nft`` lines: tests without root, in microseconds.

    kernel = FakeKernel()
    kernel.apply(Change(make=description, why="create network front"))
    assert kernel.text == golden

Division of labour: `FakeKernel` keeps the contract of `kernel.api.Kernel` (order, exclusiveness, undoing) and fails where a test
tells it to; `machine` holds what exists and refuses what a kernel would refuse; `render` writes the text.

May import: kernel.api, render, desired, facts, types, errors.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import shutil
import tempfile
import threading
import weakref
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from socket import socket as Socket  # noqa: N812 (the name of a method here)
from subprocess import Popen
from typing import Any, Literal, NoReturn, TypeVar

from attrs import define

from ..desired import HOST, Change, Description, Key, Word, replaced, reshaped
from ..errors import Internal, InvalidParameter, LibnetworkError, NotFound, NotSupported, Unavailable
from ..facts import Facts, FilterFacts, LinkFact, LinkStatistics, RouteFact, compare
from ..kernel.api import PortFlow
from ..render import explicit, in_order, render
from ..types import EMPTY, IPAddress, IPInterface, IPNetwork, Protocol, parse_network
from .inside import Presets
from .machine import Machine
from .standing import facts, home, no_namespace

T = TypeVar("T")

FEATURES: tuple[str, ...] = (
    "br_netfilter",
    "bridge",
    "bridge_port_isolation",
    "bridge_vlan_filtering",
    "conntrack",
    "dummy",
    "htb",
    "ingress",
    "ipv6",
    "ipvlan",
    "ipvs",
    "macvlan",
    "netem",
    "netem_seed",
    "nftables",
    "nftables_concat_intervals",
    "nftables_ingress",
    "nftables_nat_inet",
    "tbf",
    "veth",
    "vlan",
    "vxlan",
    "wireguard",
    "xfrm",
)
"""What `kernel.probe` looks for."""


class Killed(BaseException):
    """Stands for the death of the process in the middle of a change: nothing is undone, as nobody is left to undo it."""


@define
class _Fault:
    """An error that is due: at the ``countdown``-th word that ``applies``."""

    applies: Callable[[Word], bool]
    error: BaseException
    countdown: int


class FakeKernel:
    """Keeps the contract of `kernel.api.Kernel` in memory.

    It refuses what a kernel refuses (an interface that exists, a route over a missing one, a gateway that is not on-link …), undoes
    a change that failed half way, removes with a namespace what is in it, and gives snapshots with the connected routes.

    Args:
        host_links: Interfaces that the host has besides loopback: `LinkFact`, or just names of physical ones.
        host_addresses: Addresses that the host has, by interface name; one or several.
        host_routes: Routes that the host has besides the connected ones: `RouteFact`, or just a destination, on-link over the
            first of ``host_links``.
        sysctls: Settings that the host has, by dotted name below ``net.``; every other is ``"0"``.
        namespaces: Paths of namespaces that somebody else made.
        processes: Paths of the namespaces of processes, by pid.
        features: What `features` returns; by default everything works.
        checkpoint: Called before each step with what it is (``"make link veth1"``), as `kernel.transport.checkpoint` is; may raise.
    """

    def __init__(
        self,
        *,
        host_links: Iterable[LinkFact | str] = (),
        host_addresses: Mapping[str, str | Sequence[str]] = EMPTY,
        host_routes: Iterable[RouteFact | IPNetwork | str] = (),
        sysctls: Mapping[str, str] = EMPTY,
        namespaces: Iterable[str] = (),
        processes: Mapping[int, str] | None = None,
        features: Mapping[str, bool] | None = None,
        checkpoint: Callable[[str], None] | None = None,
    ) -> None:
        links = tuple(_link(each, number) for number, each in enumerate(host_links, start=2))
        routes = tuple(_route(each, links[0].name if links else "lo") for each in host_routes)
        paths = frozenset((*namespaces, *(processes or {}).values()))
        presets = Presets(links, tuple(_addresses(host_addresses)), routes, sysctls, paths, processes or {})
        self.checkpoint: Callable[[str], None] | None = checkpoint
        self.closed = False
        self.announced: list[tuple[str, str, IPAddress]] = []
        self.forgotten: list[tuple[str, IPAddress | PortFlow]] = []
        self.neighbours = FilterFacts()
        self._machine = Machine(presets)
        self._features = dict.fromkeys(FEATURES, True) if features is None else dict(features)
        self._files: Path | None = None
        self._log: list[str] = []
        self._faults: list[_Fault] = []
        self._lock = threading.RLock()
        self._names = threading.Lock()
        self._namer = 0

    # what tests look at

    @property
    def text(self) -> str:
        """Everything done so far as ``ip``, ``nft`` and ``sysctl`` lines; a change that was undone is not in it."""
        return "\n".join(self._log)

    def take_text(self) -> str:
        """Return `text` and begin it anew."""
        with self._lock:
            text, self._log = self.text, []
        return text

    def state(self) -> frozenset[Word]:
        """Return every word that was made and is still there."""
        with self._lock:
            return frozenset(self._machine)

    def __str__(self) -> str:
        """What exists now, as the lines that would make it."""
        return render(Change(make=tuple(sorted(self.state(), key=lambda word: word.key))))

    # how tests break things

    def fail_at(self, step: int, error: BaseException | None = None) -> None:
        """Fail once at the ``step``-th word made or removed from now on, the first being 1.

        Args:
            step: Counted over every change from now on.
            error: What is raised, by default `Unavailable`; `Killed` leaves what was done so far as it is.
        """
        self.fail_on(lambda _: True, error, skip=step - 1)

    def fail_on(self, applies: Callable[[Word], bool], error: BaseException | None = None, *, skip: int = 0) -> None:
        """Fail once at the first word made or removed that ``applies`` to, after letting ``skip`` of them pass."""
        default = Unavailable("the fake kernel was told to fail here", code="injected")
        self._faults.append(_Fault(applies, error or default, skip + 1))

    def heal(self) -> None:
        """Forget every failure that is due."""
        self._faults.clear()

    def disturb(self, *, remove: Iterable[Word] = (), make: Iterable[Word] = ()) -> None:
        """Change the machine as somebody else would, behind the library's back: nothing of it is in `text`."""
        with self._lock:
            for word in reversed(in_order(remove)):
                self._machine.remove(word)
            for word in in_order(make):
                self._machine.make(word)

    # the contract

    def attend(self, directory: Path | None, guard: Callable[..., Socket | None], *, lasting: bool) -> None:
        """Take no notice: no process runs beside this kernel."""

    def renew(self, protocol: Protocol, address: IPAddress, port: int) -> None:
        """Do nothing: no port is relayed here."""

    def apply(self, change: Change, beside: Callable[[], object] | None = None) -> None:
        """Remove and make what ``change`` says, or nothing: see `kernel.api.Kernel.apply`."""
        with self._lock:
            before = self._machine.copy()
            removed = tuple(word for word in explicit(change) if before.find(word))
            altered: dict[Key, Word] = {new.key: old for old, new in reshaped(change)}
            over = replaced(change)
            altered |= {word.key: word for word in change.remove if word.key in over}
            done: list[tuple[str, Word]] = []
            try:
                for word in reversed(in_order(removed)):
                    self._remove(word)
                    done.append(("remove", word))
                for word in in_order(change.make):
                    self._make(word, altered.get(word.key))
                    done.append(("make", word))
            except Killed:
                made = _words("make", done)
                reached = tuple(altered[word.key] for word in made if word.key in altered)
                self._note((*_words("remove", done), *reached), made, change.why)
                raise
            except BaseException:
                self._machine = before
                raise
            self._note((*removed, *altered.values()), change.make, change.why)
        if beside is not None:
            with suppress(Exception):
                beside()

    def enforce(self, change: Change) -> None:
        """Make what is missing, mend what differs, remove what is there: see `kernel.api.Kernel.enforce`."""
        errors: list[Exception] = []
        made = {word.key for word in change.make}
        altered = {new.key: new for _, new in reshaped(change)}
        with self._lock:
            for word in reversed(in_order(word for word in explicit(change) if word.key not in made)):
                self._try(errors, self._enforce_gone, word, change.why)
            for word in in_order(change.make):
                self._try(errors, self._enforce_there, altered.get(word.key, word), change.why)
        if errors:
            raise ExceptionGroup(f"{change.why or 'repair'}: {len(errors)} failed", errors)

    def facts(self, namespaces: Iterable[str] = (), *, words: Iterable[Word] = ()) -> Facts:
        """Return a snapshot of the host, of ``namespaces``, and of the tables and settings that ``words`` name."""
        with self._lock:
            return facts(self._machine, namespaces, words)

    def packet_filter(self) -> FilterFacts:
        """Return what ``neighbours`` says; the words made here are not in it."""
        return self.neighbours

    def features(self) -> Mapping[str, bool]:
        """Return what was given to the constructor, else that everything works."""
        return self._features

    def free_namespace(self, name: str, suffix: str) -> str:
        """Return ``/run/netns/NAME``, or ``/run/netns/NAME-SUFFIX`` where somebody has that."""
        path = f"/run/netns/{name}"
        with self._lock:
            return f"{path}-{suffix}" if self._machine.has_namespace(path) else path

    def foreseeing(self) -> AbstractContextManager[None]:
        """Do nothing: a namespace takes no time here."""
        return nullcontext()

    @contextmanager
    def naming(self) -> Generator[None, None, None]:
        """Hold a lock of this kernel alone.

        Raises:
            Internal: the thread holds it already; the real lock would never be given.
        """
        if self._namer == threading.get_ident():
            raise Internal(
                "this thread holds the lock of names already: the real one is not given twice", code="deadlock"
            )
        with self._names:
            self._namer = threading.get_ident()
            try:
                yield
            finally:
                self._namer = 0

    @property
    def privilege(self) -> Literal["root", "user"]:
        """``root``: a machine in memory forbids nothing."""
        return "root"

    @property
    def files(self) -> Path:
        """A folder of its own, which goes with it: the real machine has none of these sandboxes."""
        with self._lock:
            if self._files is None:
                self._files = Path(tempfile.mkdtemp(prefix="libnetwork_py-fake-"))
                weakref.finalize(self, _remove, self._files, os.getpid())
            return self._files

    @property
    def localhost(self) -> bool:
        """There is no caller's machine beside this one."""
        return False

    @property
    def alive(self) -> bool:
        """It always is."""
        return True

    def outside(self) -> str:
        """Return ``host``: there is nothing beyond."""
        return "host"

    def reach(self, path: str) -> str:
        """Return the path itself, and the host's below ``/proc``."""
        return path or f"/proc/{os.getpid()}/ns/net"

    def find_namespace(self, where: str | int) -> str:
        """Return the path of a namespace by path, or by the pid of one of the preset processes.

        Raises:
            NotFound: no such path or process. InvalidParameter: the path is that of a real file, which is no namespace here.
        """
        if isinstance(where, int):
            path = self._machine.presets.processes.get(where)
            if path is None:
                raise NotFound(f"no process {where}", code="process_not_found", pid=where)
            return path
        if self._machine.has_namespace(where):
            return where
        if os.path.exists(where):  # noqa: PTH110 (a path is text throughout)
            raise InvalidParameter(f"{where} is no network namespace", code="not_a_namespace", path=where)
        raise no_namespace(where)

    def expect(self, path: str, identity: str = "") -> str:
        """Return ``identity``: processes here are preset, and their numbers never used again."""
        return identity

    def statistics(self, namespace: str) -> Mapping[str, LinkStatistics]:
        """Return zeros for every interface of ``namespace``."""
        with self._lock:
            return {name: LinkStatistics(0, 0, 0, 0, 0, 0, 0, 0) for name in self._machine.links(namespace)}

    def call(self, namespace: str, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Refuse: there is no inside to be in."""
        self._refuse(namespace, "run a function")

    def sockets(self, namespace: str, family: int, kind: int, protocol: int, count: int) -> list[Socket]:
        """Refuse: nothing could be sent."""
        self._refuse(namespace, "open sockets")

    def sockets_in_each(
        self, wanted: Sequence[tuple[str, Sequence[tuple[int, int, int]]]]
    ) -> list[list[Socket] | LibnetworkError]:
        """Refuse, likewise."""
        self._refuse(wanted[0][0], "open sockets")

    def socket(self, namespace: str, family: int, kind: int, protocol: int = 0) -> Socket:
        """Refuse, likewise."""
        self._refuse(namespace, "open a socket")

    def popen(self, namespace: str, argv: Sequence[str] | str, files: Mapping[str, str], **options: Any) -> Popen[Any]:
        """Refuse: there is no inside to be in."""
        self._refuse(namespace, "start a program")

    def entered(self, namespace: str) -> AbstractContextManager[None]:
        """Refuse: there is no inside to be in."""
        self._refuse(namespace, "enter")

    def forget_flows(
        self,
        addresses: Iterable[IPAddress] = (),
        *,
        closed: Iterable[PortFlow] = (),
        opened: Iterable[PortFlow] = (),
    ) -> None:
        """Note it in ``forgotten``."""
        self.forgotten += [("gone", each) for each in addresses]
        self.forgotten += [("closed", each) for each in closed]
        self.forgotten += [("opened", each) for each in opened]

    def keep_flows(self, addresses: Iterable[IPAddress]) -> None:
        """Take it out of ``forgotten``."""
        kept = set(addresses)
        self.forgotten = [each for each in self.forgotten if each[1] not in kept]

    def announce(self, namespace: str, link: str, addresses: Iterable[IPAddress]) -> None:
        """Note it in ``announced``."""
        self.announced += [(namespace, link, each) for each in addresses]

    def bequeath(self, directory: Path) -> None:
        """Leave it."""

    def close(self) -> None:
        """Note it in ``closed``; what was made stays."""
        self.closed = True

    # steps

    def _step(self, verb: str, word: Word) -> None:
        if self.checkpoint:
            self.checkpoint(" ".join(filter(None, (verb, *word.key))))
        for fault in [fault for fault in self._faults if fault.applies(word)]:
            fault.countdown -= 1
            if fault.countdown == 0:
                self._faults.remove(fault)
                raise fault.error

    def _make(self, word: Word, old: Word | None) -> None:
        self._step("make", word)
        if old is not None and self._machine.find(old):
            self._machine.mend(word)
        else:
            self._machine.make(word)

    def _remove(self, word: Word) -> None:
        self._step("remove", word)
        self._machine.remove(word)

    def _enforce_gone(self, word: Word, why: str) -> None:
        if self._machine.find(word):
            self._remove(word)
            self._note((word,), (), why)

    def _enforce_there(self, word: Word, why: str) -> None:
        there = self._machine.find(word)
        snapshot = facts(self._machine, [home(word), getattr(word, "peer_namespace", HOST)], [word])
        if not compare([word], snapshot):
            if there is None:  # a setting that has the value already
                self._machine.make(word)
            return
        self._step("make", word)
        self._machine.mend(word)
        self._note((there,) if there else (), (word,), why)

    def _try(self, errors: list[Exception], step: Callable[[Word, str], None], word: Word, why: str) -> None:
        before = self._machine.copy()
        try:
            step(word, why)
        except LibnetworkError as error:
            self._machine = before
            errors.append(error)

    def _note(self, removed: Description, made: Description, why: str) -> None:
        if removed or made:
            self._log.append(render(Change(removed, made, why)))

    def _refuse(self, namespace: str, what: str) -> NoReturn:
        if not self._machine.has_namespace(namespace):
            raise no_namespace(namespace)
        raise NotSupported(
            f"the fake kernel cannot {what} in {namespace or 'the host'}: test that on the real one",
            code="fake_kernel", what=what, namespace=namespace, errno=errno.EAFNOSUPPORT,
        )  # fmt: skip


def _remove(folder: Path, pid: int) -> None:
    """Remove a folder, but not in a child that was forked and ends first."""
    if pid == os.getpid():
        shutil.rmtree(folder, ignore_errors=True)


def _words(verb: str, done: Iterable[tuple[str, Word]]) -> Description:
    return tuple(word for which, word in done if which == verb)


def _link(link: LinkFact | str, number: int) -> LinkFact:
    if isinstance(link, LinkFact):
        return link
    return LinkFact(link, number, "", f"52:54:00:00:00:{number:02x}", 1500, up=True)


def _route(route: RouteFact | IPNetwork | str, link: str) -> RouteFact:
    if isinstance(route, RouteFact):
        return route
    return RouteFact(parse_network(route), link, None, 0)


def _addresses(given: Mapping[str, str | Sequence[str]]) -> Iterable[tuple[str, IPInterface]]:
    for link, texts in given.items():
        for text in (texts,) if isinstance(texts, str) else texts:
            yield link, ipaddress.ip_interface(text)
