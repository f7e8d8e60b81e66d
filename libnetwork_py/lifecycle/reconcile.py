"""The records against the machine: what is missing, what was changed, what is there and of ours and in no record.

May import: lifecycle, kernel.api, firewall.resolver, desired, facts, render, types, errors.
"""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Container, Iterable, Iterator, Sequence

from attrs import frozen

from ..desired import (
    HOST,
    Change,
    Description,
    Element,
    Forwarding,
    Key,
    Namespace,
    Neighbour,
    Table,
    Veth,
    Vxlan,
    Word,
)
from ..display import Displayed
from ..errors import LibnetworkError
from ..facts import Difference, Facts, compare
from ..firewall import resolver
from ..render import make_lines
from ..types import MacAddress
from . import events
from .engine import Engine
from .state import State

VANISH = 1.0
"""Seconds that a link of a dropped namespace is given to go."""


@frozen
class Finding:
    """One disagreement between the records and the machine.

    Attributes:
        kind: ``missing``, ``changed`` or ``foreign``.
        what: The object, as the ``ip`` or ``nft`` line that makes it, or its name where we did not describe it.
        how: For ``changed``: how it differs. For ``foreign``: why it is taken for ours.
        repaired: It was mended.
        error: Why it could not be.
    """

    kind: str
    what: str
    how: str = ""
    repaired: bool = False
    error: str = ""


@frozen
class Report(Displayed):
    """What `NetworkController.reconcile` found. False if nothing."""

    findings: tuple[Finding, ...]
    checked: int

    def __bool__(self) -> bool:
        return bool(self.findings)

    @property
    def missing(self) -> tuple[Finding, ...]:
        """Described and not there."""
        return tuple(each for each in self.findings if each.kind == "missing")

    @property
    def changed(self) -> tuple[Finding, ...]:
        """There in another shape."""
        return tuple(each for each in self.findings if each.kind == "changed")

    @property
    def foreign(self) -> tuple[Finding, ...]:
        """There, marked as ours, and in no record."""
        return tuple(each for each in self.findings if each.kind == "foreign")

    @property
    def repaired(self) -> bool:
        """Whether everything that was found was mended."""
        return all(each.repaired for each in self.findings)

    def __str__(self) -> str:
        lines = [
            f"{each.kind}{' (repaired)' if each.repaired else ''}: {each.what} {each.how} {each.error}".rstrip()
            for each in self.findings
        ]
        return "\n".join(lines) or f"as described: {self.checked} objects checked"


def reconcile(engine: Engine, *, repair: bool) -> Report:
    """Compare everything that should exist with the kernel, and mend it if asked."""
    with engine.exclusive() as state:
        description = describe_all(engine, state)
        adopted = {each.key for each in state.sandboxes.values() if not each.owned}
        ours = _tables(engine, description)
        facts = engine.env.kernel.facts(_namespaces(state, description), words=[*description, *ours])
        difference = compare(description, facts)
        lost = {key for key in adopted if key != HOST and key not in facts.namespaces}
        foreign = _lasting(engine, description, ours, tuple(_foreign(engine, description, facts)))
        gone = [word.path for word in difference.missing if isinstance(word, Namespace)]
        if repair and gone:
            engine.names.leave(gone)
        errors = _repair(engine, difference, foreign, lost) if repair and (difference or foreign) else {}
        findings = tuple(_findings(difference, foreign, errors, repair))
        if findings:
            _announce(engine, findings)
        if repair:
            engine.names.start()
        return Report(findings, len(description))


def describe_all(engine: Engine, state: State) -> Description:
    """Return everything that should exist for every record."""
    words: dict[Word, None] = {}
    for network_id in state.networks:
        words.update(dict.fromkeys(engine.describer.network(network_id)))
    for sandbox_id in state.sandboxes:
        words.update(dict.fromkeys(engine.describer.sandbox(sandbox_id)))
    return tuple(words)


def _namespaces(state: State, description: Iterable[Word]) -> list[str]:
    """The sandboxes', and those that drivers make for themselves."""
    paths = [each.key for each in state.sandboxes.values()]
    paths += [word.path for word in description if isinstance(word, Namespace)]
    return [path for path in dict.fromkeys(paths) if path != HOST]


def _tables(engine: Engine, description: Description) -> list[Table]:
    """The tables in which everything is ours: the host's, and one of names in a sandbox where there should be none."""
    boxes = [each.key for each in engine.state.sandboxes.values() if each.owned]
    served = {word.namespace for word in description if isinstance(word, Table)}
    return [engine.env.table, *(resolver.table(key) for key in boxes if key not in served)]


def _in(word: Word) -> set[str]:
    """The namespaces that a word needs."""
    if isinstance(word, Namespace):
        return {word.path}
    return {word.namespace, word.peer_namespace} if isinstance(word, Veth) else {word.namespace}


def _repair(
    engine: Engine, difference: Difference, foreign: Iterable[tuple[Word, str]], lost: set[str]
) -> dict[Word, str]:
    """Mend what can be; return an error text for each word that could not."""
    changed = [word for word, _ in difference.changed]
    if any(isinstance(word, Table) for word in changed):  # it is made anew, empty
        changed += [word for word in difference.present if isinstance(word, Element)]
    make = [word for word in (*difference.missing, *changed) if not _in(word) & lost]
    errors = {word: "the adopted namespace is gone" for word in (*difference.missing,) if _in(word) & lost}
    remove = tuple(word for word, _ in foreign)
    try:
        engine.env.kernel.enforce(Change(remove=remove, make=tuple(make), why="reconcile"))
    except ExceptionGroup as group:
        text = "; ".join(map(str, group.exceptions))
        after = engine.env.kernel.facts(_namespaces(engine.state, make), words=[*make, engine.env.table])
        left = compare(make, after)
        errors |= dict.fromkeys((*left.missing, *(word for word, _ in left.changed)), text)
    return errors


def _findings(
    difference: Difference, foreign: Iterable[tuple[Word, str]], errors: dict[Word, str], repair: bool
) -> Iterator[Finding]:
    def finding(kind: str, word: Word, how: str) -> Finding:
        return Finding(kind, _what(word), how, repair and word not in errors, errors.get(word, ""))

    yield from (finding("missing", word, "") for word in difference.missing)
    yield from (finding("changed", word, how) for word, how in difference.changed)
    yield from (finding("foreign", word, how) for word, how in foreign)


def _lasting(
    engine: Engine, description: Description, ours: Sequence[Table], found: tuple[tuple[Word, str], ...]
) -> tuple[tuple[Word, str], ...]:
    """Leave out links that are only on their way out: the kernel destroys a dropped namespace some milliseconds later."""
    deadline = time.monotonic() + VANISH
    while any(isinstance(word, Veth) for word, _ in found) and time.monotonic() < deadline:
        time.sleep(0.01)
        facts = engine.env.kernel.facts(words=ours)
        still = {word.key for word, _ in _foreign(engine, description, facts)}
        found = tuple((word, how) for word, how in found if word.key in still)
    return found


def _what(word: Word) -> str:
    return f"nft table inet {word.name}" if isinstance(word, Table) else make_lines(word)[0]


def _foreign(engine: Engine, description: Description, facts: Facts) -> Iterator[tuple[Word, str]]:
    """What carries our mark and is in no record: elements of our table, links of our networks' groups, a sandbox's table of names.

    Nothing while a driver is missing: what it described would be taken for foreign.
    """
    described = {each.key for word in description for each in (word.singles if isinstance(word, Element) else (word,))}
    if engine.describer.missing():
        return
    table = facts.tables.get((HOST, engine.env.table.name))
    for decl in engine.env.table.sets if table else ():
        for fields, value in (table.sets.get(decl.name, {}) if table else {}).items():
            element = Element(HOST, engine.env.table.name, decl, fields, value)  # type: ignore[arg-type]  # as the snapshot decodes
            if element.key not in described:
                yield element, "is in our table and in no record"
    for path, name in facts.tables:
        if name == resolver.NAME and ("table", path, name) not in described and not _answered(engine, path):
            yield resolver.table(path), "is in a sandbox that has no name service"
    yield from _foreign_entries(description, described, facts)
    groups = {word.group: word for word in description if isinstance(word, Veth) and word.group}
    for link in facts.host.links.values():
        if link.kind == "veth" and link.group in groups and ("link", HOST, link.name) not in described:
            like = groups[link.group]
            yield (
                Veth(HOST, link.name, HOST, "", like.peer_mac, group=link.group),
                "is in a network's group and in no record",
            )


def _answered(engine: Engine, path: str) -> bool:
    """Whether a name service listens in a namespace: another controller may have adopted it, and the table is its own then."""
    try:
        (sock,) = engine.env.kernel.sockets(path, socket.AF_INET, socket.SOCK_DGRAM, 0, 1)
    except LibnetworkError:  # the namespace went meanwhile
        return False
    with sock:
        try:
            sock.bind((resolver.ADDRESS, resolver.PORT))
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return False


def _foreign_entries(description: Description, described: Container[Key], facts: Facts) -> Iterator[tuple[Word, str]]:
    """What tunnels of ours were told by somebody else: packets for another host would leave for it."""
    for tunnel in [word for word in description if isinstance(word, Vxlan)]:
        inside, found = facts.namespaces.get(tunnel.namespace), list[Word]()
        if inside is None:
            continue
        found += [
            Neighbour(tunnel.namespace, link, address, MacAddress(mac))
            for (link, address), mac in inside.neighbours.items()
            if link == tunnel.name and mac
        ]
        found += [
            Forwarding(tunnel.namespace, link, MacAddress(mac), vtep)
            for (link, mac), vtep in inside.forwarding.items()
            if link == tunnel.name and vtep is not None
        ]
        yield from (
            (word, "is told to a tunnel of ours and in no record") for word in found if word.key not in described
        )


def _announce(engine: Engine, findings: tuple[Finding, ...]) -> None:
    now = time.time()
    kind: events.EventKind = "repaired" if all(each.repaired for each in findings) else "drifted"
    try:
        engine.announce(
            *(
                events.Event(
                    kind, "controller", engine.env.id, each.what, now, detail=f"{each.kind} {each.how}".strip()
                )
                for each in findings[:100]
            )
        )
    except LibnetworkError as error:
        engine.warnings.append(str(error))
