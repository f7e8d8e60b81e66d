"""Keeps the name service in step with the records.

Division of labour: `naming` says what records mean; `Names` holds it in a book of its own, out of which the caller is answered, and
tells the service's process what changed; `doors` opens the sockets that it gets. That process is told which state of the records it
has, by a token that is committed with them: whoever finds it with another one, or without a sandbox's sockets, tells it everything.

What goes is told before the kernel is changed, and what comes after the commit: a name never leads to what is not there. Nobody waits
for the process to have heard it: it hears everything that was said before it answers a question that was asked after that. Only
where another controller may have told it something meanwhile, its answer is waited for; else that is read before the next thing is said.
The names are nobody's precondition: a service that cannot be reached is a warning, and is tried again with the next operation.

May import: lifecycle.doors, lifecycle.naming, lifecycle.state, kernel.api, store.api, dns, sandbox, errors.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, suppress
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any, TypeAlias

from attrs import define, frozen

from .. import dns
from ..dns.book import Book, Box, Note, box_of
from ..dns.holdings import DESCRIPTORS_MAX
from ..dns.wire import address_of, name_of
from ..errors import LibnetworkError, Unavailable
from ..kernel.api import Companion, Kernel, Line
from ..sandbox import SandboxRecord
from ..store.api import Write
from ..types import IPAddress, parse_address
from .doors import EACH, Doors, Opened, place
from .files import Files
from .journal import Touched
from .naming import Naming
from .state import Record

Summons: TypeAlias = Callable[[Callable[[], object]], Companion]
"""Gives the service's process, not started yet, for what is to be called on a thread of its own when it has died."""

KEY = "names"
"""Key of the token."""
PACKAGE = Path(dns.__file__).parent
_CHUNK = 60_000
"""Characters of notes in one message, which is less than a socket takes, with all their quotes escaped too."""
_FEW = 8
"""Notes of a change that is so small that its sockets are opened while the kernel is busy with it."""


@frozen
class Draft:
    """What the service is to be told of an operation: what goes, what comes, and the token after it."""

    gone: tuple[Note, ...] = ()
    come: tuple[Note, ...] = ()
    token: str = ""

    def __bool__(self) -> bool:
        return bool(self.token)

    @property
    def writes(self) -> list[Write]:
        """What is committed with the records."""
        return [Write(KEY, self.token.encode())] if self else []


_Opener: TypeAlias = Callable[[Iterable[str]], Iterable[Opened]]
_Message: TypeAlias = tuple[dict[str, Any], list[socket.socket]]


@define
class _Told:
    """What the service is told at once, with the sandboxes that it gets doors of; ``whole``: it is everything."""

    notes: Sequence[Note]
    token: str
    doors: Sequence[str] = ()
    base: str = ""
    whole: bool = False

    def messages(self, open_doors: _Opener) -> Generator[_Message, None, None]:
        """Cut it into messages, with their sockets: those of one message are open at a time, as a program may have few open files."""
        head = {"whole": True} if self.whole else {"base": self.base}
        each_time = DESCRIPTORS_MAX // EACH
        with_notes = list(_cut(self.notes))
        parts = range(max(len(with_notes), -(-len(self.doors) // each_time), 1))
        for number in parts:
            doors = list(open_doors(self.doors[number * each_time : (number + 1) * each_time]))
            told: dict[str, Any] = {"doors": [[each.box_id, each.place, len(each.sockets)] for each in doors]}
            for some in with_notes[number : number + 1]:
                told.update(some)
            more = {"more": True} if number < parts[-1] else {}
            try:
                yield {**head, **more, **told, "token": self.token}, [sock for each in doors for sock in each.sockets]
            finally:
                for each in doors:
                    each.close()


def _cut(notes: Iterable[Note]) -> Iterator[dict[str, Any]]:
    """Cut notes into what messages may hold: many small ones together, a long one in pieces of its text."""
    together: list[Note] = []
    size = 0
    for note in notes:
        text = json.dumps(note)
        if together and size + len(text) > _CHUNK:
            yield {"notes": together}
            together, size = [], 0
        if len(text) > _CHUNK:
            for start in range(0, len(text), _CHUNK):
                yield {"text": text[start : start + _CHUNK], "ends": start + _CHUNK >= len(text)}
            continue
        together.append(note)
        size += len(text)
    if together:
        yield {"notes": together}


class Names:
    """The names of one controller.

    Args:
        naming: What records mean.
        files: The two files of each sandbox: they change with names.
        kernel: Opens sockets.
        summons: Gives the service's process; ``None``: there is none, and only the caller is answered.
        still: Holds the records still, for a look at them from another thread.
    """

    def __init__(
        self,
        naming: Naming,
        files: Files,
        kernel: Kernel,
        summons: Summons | None,
        still: Callable[[], AbstractContextManager[object]],
    ) -> None:
        self.book = Book()
        self.token = ""
        self.warning = ""
        self._naming = naming
        self._files = files
        self._companion = summons(self._died) if summons else None
        self._still = still
        self._kernel = kernel
        self._doors = Doors(kernel)
        self._opened: dict[str, Opened] = {}
        self._ahead: dict[str, tuple[SandboxRecord, bool]] = {}
        """Whose files were written before the operation was committed, and whether they had any before."""
        self._told = ""
        self._started = False
        self._starts = 0
        self._withdrawn = False
        self._owed: tuple[Line | None, int] = (None, 0)
        self._sure = False

    @property
    def warnings(self) -> list[str]:
        """What is wrong now: with the service, and with single sandboxes."""
        without = [why for box_id, why in self._doors.without.copy().items() if box_id in self.book.boxes]
        return [each for each in (self.warning, self._naming.warning, *without) if each]

    def refusals(self) -> list[str]:
        """Ask the service which sandboxes' questions it had to refuse."""
        if self._companion is None or not self._serving:
            return []
        with suppress(OSError, ValueError, LibnetworkError), self._still():
            line = self._companion.find()
            refused: Mapping[str, int] = self._ask(line).get("refused", {}) if line is not None else {}
            boxes = self.book.boxes
            return [
                f"{count} questions of {boxes[box_id].where} about other names were refused: too many at a time for its servers"
                for box_id, count in refused.items()
                if box_id in boxes
            ]
        return []

    # Asking

    def resolve(self, sandbox_id: str, name: str) -> list[Any]:
        """Return the addresses of a name for a sandbox; the names of an address."""
        box = self.book.boxes.get(sandbox_id)
        if box is None:
            return []
        with suppress(LibnetworkError):
            found = self.book.reverse(box, parse_address(name).packed)
            return [found] if found else []
        key = name_of(name)
        reverse = address_of(key) if key else None
        if reverse is not None:
            found = self.book.reverse(box, reverse)
            return [found] if found else []
        packed = self.book.addresses(box, key) if key else None
        return [_unpacked(each) for each in packed or ()]

    # Following the records

    def draft(self, touched: Iterable[Touched]) -> Draft:
        """Return what an operation changes of names."""
        gone, come = self._naming.notes(self.book, touched)
        return Draft(tuple(gone), tuple(come), os.urandom(8).hex()) if gone or come else Draft()

    def revise(self, draft: Draft, touched: Iterable[Touched]) -> Draft:
        """Return it again, now that it is known better what comes."""
        gone, come = self._naming.notes(self.book, touched)
        gone = [*draft.gone, *(each for each in gone if each not in draft.gone)]
        return Draft(tuple(gone), tuple(come), draft.token or os.urandom(8).hex()) if gone or come else Draft()

    def learn(self, touched: Sequence[Touched]) -> None:
        """Take in what other processes committed, and told."""
        gone, come = self._naming.notes(self.book, touched)
        self.book.take((*gone, *come))

    def withdraw(self, draft: Draft) -> None:
        """Say what goes, before it does."""
        if draft.gone and self._serving:
            self._withdrawn = True
            self.book.take(draft.gone)
            self._tell(draft.gone, (), draft.token if not draft.come else f"{draft.token}-")

    def beside(self, draft: Draft) -> Callable[[], None] | None:
        """Return what can be done for sandboxes that come while the kernel is busy with them; ``None``: nothing."""
        new = self._new(draft)
        few = self._serving and len(draft.come) <= _FEW
        boxes = {box_id: box_of(text) for box_id, text in new.items()} if few else {}
        there = {box_id: box for box_id, box in boxes.items() if place(box.where)}
        return partial(self._prepare, new, there) if new else None

    def bare(self, draft: Draft) -> list[str]:
        """Return the sandboxes that come and have no files yet."""
        new = map(self._naming.sandbox, self._new(draft))
        return [record.id for record in new if record is not None and not self._files.left(record)]

    def _new(self, draft: Draft) -> dict[str, Any]:
        return {note[1]: note[2] for note in draft.come if note[0] == "box" and note[1] not in self.book.boxes}

    def _prepare(self, new: Iterable[str], there: Mapping[str, Box]) -> None:
        """Open the sockets of sandboxes whose namespaces are there, and write the files of all of them."""
        with suppress(LibnetworkError):  # whoever wants them tries again, and says why not
            self._opened.update({doors.box_id: doors for doors in self._doors.open(there)})
        for record in filter(None, map(self._naming.sandbox, new)):
            self._ahead[record.id] = record, self._files.left(record)
            self._write(record)

    def _close_opened(self) -> None:
        opened, self._opened = self._opened, {}
        for doors in opened.values():
            doors.close()

    def restore(self, records: Iterable[Record]) -> None:
        """Say that it stays after all; ``records``: all there are."""
        self._close_opened()
        ahead, self._ahead = self._ahead, {}
        for record, had in ahead.values():
            now = self._naming.sandbox(record.id) if had else None
            self._files.remove(record) if now is None else self._write(now)
        if self._withdrawn:
            self._withdrawn = False
            self.learn([(None, each) for each in records])
            self.renew(self.token)

    def follow(self, token: str) -> None:
        """Take note of the token of another process: it has told the service."""
        self.token = self._told = token
        self._sure = False

    def commit(self, draft: Draft, touched: Iterable[Touched], bare: Iterable[str] = ()) -> None:
        """Let the service and the sandboxes' files follow, now that it is committed; ``bare``: who is to have none, but for names."""
        if draft:
            self._say(draft)
        self._close_opened()
        self.write_files(touched)
        for record in filter(None, map(self._naming.sandbox, bare)):
            if not self._naming.serves(record):
                self._files.remove(record)

    def write_files(self, touched: Iterable[Touched]) -> None:
        """Have the files of sandboxes say what the records do; of a process that died after its commit they may not."""
        ahead, self._ahead = self._ahead, {}
        for record in self._naming.sandboxes(touched):
            if record.id not in ahead:
                self._write(record)

    def _write(self, record: SandboxRecord) -> None:
        try:
            self._files.renew(record, make=self._naming.serves(record))
        except OSError as error:
            self.warning = f"cannot write hosts and resolv.conf of sandbox {record.name!r}: {error}"

    def _say(self, draft: Draft) -> None:
        """Say what comes."""
        self._withdrawn = False
        before = dict(self.book.boxes)
        self.book.take((*draft.gone, *draft.come))
        self.token = draft.token
        if draft.come and self._companion is not None and (self.book.boxes or self._started):
            self._started = True
            boxes = {note[1]: self.book.boxes[note[1]] for note in draft.come if note[0] == "box"}
            self._tell(draft.come, [each for each in boxes if each not in before], draft.token)

    @property
    def _serving(self) -> bool:
        return self._companion is not None and self._started

    # The process

    def start(self, *, anew: bool = True) -> None:
        """Find the process, or start it, and see to it that it has all that it should have; ``anew``: only find it."""
        if self._companion is None or not (self.book.boxes or self._started):
            return
        self._started = True
        if self.token == "" and anew:
            self.token = os.urandom(8).hex()
        self.renew(self.token, start=anew)

    def _died(self) -> None:
        """Start the process again; called on a thread of its own."""
        with suppress(LibnetworkError), self._still():
            self.start()

    def leave(self, namespaces: Iterable[str]) -> None:
        """Have the process let go of namespaces that have lost their names: they live as long as its sockets in them."""
        paths = {self._naming.reach(each) for each in namespaces}
        lost: list[Note] = [["no-box", box_id] for box_id, box in self.book.boxes.items() if box.where in paths]
        if lost and self._companion is not None:
            self._started = True
            with suppress(OSError, LibnetworkError, ValueError):
                line = self._companion.find()
                if line is not None:
                    self._send(line, _Told(lost, f"{self.token}-", base=self._ask(line)["token"]))

    def close(self) -> None:
        """Hang up."""
        if self._companion is not None:
            self._companion.close()

    def renew(self, token: str, *, start: bool = True) -> None:
        """Tell the process everything that it does not have."""
        assert self._companion is not None
        for _ in range(2):
            try:
                line = self._companion.reach() if start and self.book.boxes else self._companion.find()
                if line is not None:
                    self._renew(line, token)
                self.warning = ""
            except (OSError, ValueError, LibnetworkError) as error:
                self._failed(error)
            else:
                return

    def _renew(self, line: Line, token: str) -> None:
        if self._is_new():
            self._send(
                line,
                _Told(list(self.book.notes()), token, list(self.book.boxes), whole=True),
                wait=False,
            )
            return
        known = self._ask(line, token)
        places: Mapping[str, int] = known["doors"]
        wanting = [each for each, box in self.book.boxes.items() if places.get(each, -1) != place(box.where)]
        if not wanting and known["token"] == token and places.keys() == self.book.boxes.keys():
            self._told = token
            return
        notes = list(self.book.notes())
        self._send(line, _Told(notes, token, wanting, whole=True))

    def _is_new(self) -> bool:
        """Whether the process was started since this was last asked: it waits for being told, and nobody waits for it."""
        assert self._companion is not None
        before, self._starts = self._starts, self._companion.starts
        return self._starts != before

    def _tell(self, notes: Sequence[Note], doors: Sequence[str], token: str) -> None:
        """Tell the process what changed; everything, if that is not what it needs to hear."""
        assert self._companion is not None
        try:
            line = self._companion.reach() if self.book.boxes else self._companion.find()
            if line is None:
                return
            if self._companion.starts != self._starts or self._has_refused(line):
                self._renew(line, token)
                return
            told = _Told(notes, token, doors, base=self._told)
            if self._send(line, told, wait=not self._sure).get("stale"):
                self._renew(line, token)
            self._sure, self.warning = True, ""
        except (OSError, ValueError, LibnetworkError) as error:
            self._failed(error)
            self.renew(token)

    def _failed(self, error: Exception) -> None:
        assert self._companion is not None
        self.warning = f"the name service cannot be reached: {error}"
        self._told, self._sure = "", False
        if not isinstance(error, LibnetworkError):
            self._companion.lost()

    def _send(self, line: Line, told: _Told, *, wait: bool = True) -> dict[str, Any]:
        """Send a change in as many messages as it takes, and return the answer to the last."""
        with closing(told.messages(self._open)) as messages:
            for message, sockets in messages:
                line.say(json.dumps(message).encode(), [each.fileno() for each in sockets])
        if not wait or self._is_busy(line):
            self._owed = line, self._owed[1] + 1 if self._owed[0] is line else 1
            self._told = told.token
            return {}
        answer = self._hear(line)
        if not answer.get("stale"):
            self._told = told.token
        return answer

    def _is_busy(self, line: Line) -> bool:
        """Whether it has not yet answered what it was told before: it takes in all of it before it answers anybody."""
        owing, count = self._owed
        return owing is line and bool(count) and not line.heard()

    def _has_refused(self, line: Line) -> bool:
        """Read what it has answered by now to what nobody waited for: whether it had another state than we thought."""
        owing, count = self._owed
        if owing is not line:
            return False
        refused = False
        while count and line.heard():
            refused |= b'"stale"' in line.hear()
            count -= 1
        self._owed = line, count
        return refused

    def _hear(self, line: Line) -> dict[str, Any]:
        """Return the answer to what was said last."""
        owing, count = self._owed
        self._owed = None, 0
        for _ in range(count if owing is line else 0):
            line.hear()
        answer: dict[str, Any] = json.loads(line.hear())
        return answer

    def _open(self, box_ids: Iterable[str]) -> Iterator[Opened]:
        wanted = list(box_ids)
        yield from self._doors.open({each: self.book.boxes[each] for each in wanted if each not in self._opened})
        yield from [self._opened.pop(each) for each in wanted if each in self._opened]

    def _ask(self, line: Line, token: str = "") -> dict[str, Any]:
        """Return what the process has; ``token``: with that one it has all that there is."""
        line.say(json.dumps({"hello": 1, "token": token}).encode())
        answer = self._hear(line)
        while answer.get("more"):
            last = json.loads(line.hear())
            answer = {**last, "doors": {**answer["doors"], **last["doors"]}}
        if "doors" not in answer:
            raise Unavailable("the name service answered something else", code="names_protocol")
        return answer


def _unpacked(packed: bytes) -> IPAddress:
    return ip_address(packed)
