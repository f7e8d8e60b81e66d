"""Records to JSON documents and back: the only place in the package that does.

Division of labour: `forms.py` writes and reads values; here is a table per kind of record; `encode` leaves out what has its default;
`decode` refuses whatever it does not understand, because a field it dropped would be lost at the next write. An operation's
write-ahead intent is a `Journal`: a line of JSON that gives the length of each document, then the documents as they are.

Every document carries the number of its schema. A newer release that changes a record raises `SCHEMA` and puts a function into
`UPGRADES` that turns the older document into the newer one.

May import: store.forms, network, endpoint, sandbox, errors.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from attrs import frozen

from ..condition import Condition
from ..endpoint import EndpointRecord
from ..errors import Unavailable
from ..network import NetworkRecord, Subnet
from ..sandbox import SandboxRecord
from .forms import (
    ADDRESS,
    ADDRESSES,
    ADDRESSES_BY_NAME,
    BINDINGS,
    FLAG,
    INTEGER,
    INTEGERS,
    INTERFACES,
    MAC,
    MAPPING,
    NETWORK,
    NUMBER,
    OPTIONAL_INTEGER,
    ROUTES,
    SCOPE,
    TEXT,
    TEXTS,
    Document,
    Table,
    integer,
    text,
)

Record: TypeAlias = NetworkRecord | EndpointRecord | SandboxRecord

SCHEMA = 1
"""Number of the schema that `encode` writes."""

UPGRADES: dict[tuple[str, int], Callable[[Document], Document]] = {}
"""By kind and schema number: what turns a document of that schema into one of the next. Kinds that did not change have none."""

_FAULTS = (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError)


@frozen
class Journal:
    """The write-ahead intent of one operation.

    Attributes:
        id: Of the operation.
        why: What it is, for people: ``create network front``.
        changes: Key, document before and document after of each item it changes; ``None`` where there was or will be none.
        done: The operation is committed; only what it leaves behind is to be cleared away.
        failed: Its caller was told that it failed, but not everything could be undone yet: it must not be finished.
        bare: Ids of the sandboxes that had no files and get them.
    """

    id: str
    why: str
    changes: tuple[tuple[str, bytes | None, bytes | None], ...]
    done: bool = False
    failed: bool = False
    bare: tuple[str, ...] = ()


def key_of(record: Record | Journal) -> str:
    """Return the key under which a record is stored: ``network/…``, ``endpoint/…``, ``sandbox/…`` or ``journal/…``, and its id."""
    return f"{_KINDS[type(record)]}/{record.id}"


def encode(record: Record | Journal) -> bytes:
    """Return the document of a record: compact JSON in ASCII, without the fields that have their default."""
    if isinstance(record, Journal):
        return _encode_journal(record)
    return _to_json(_TABLES[_KINDS[type(record)]].dump(record, {"schema": SCHEMA})).encode("ascii")


def decode(key: str, document: bytes, where: str = "the store") -> Record:
    """Return the record of a document; its mappings are read-only.

    Args:
        key: The key it is stored under, or the kind alone.
        document: What `encode` returned, in this release or an older one.
        where: Names the file in errors.

    Raises:
        Unavailable: ``store_damaged``: not JSON, an unknown or missing field, a bad value, another record's id.
            ``schema_newer``: written by a newer release.
    """
    kind, _, record_id = key.partition("/")
    table = _TABLES.get(kind)
    if table is None:
        raise _newer(key, where, f"is of kind {kind!r}")
    try:
        record: Record = table.load(_upgraded(key, kind, json.loads(document), where))
    except _FAULTS as error:
        raise _damaged(key, where, error) from error
    if record_id and record.id != record_id:
        raise _damaged(key, where, ValueError(f"it is the record {record.id}"))
    return record


def decode_journal(key: str, document: bytes, where: str = "the store") -> Journal:
    """Return the journal of a document; the documents in it are the bytes that were put in.

    Raises:
        Unavailable: as `decode`.
    """
    try:
        line, _, body = document.partition(b"\n")
        head = _upgraded(key, "journal", json.loads(line), where)
        journal = Journal(
            text(head["id"]),
            text(head["why"]),
            tuple(_cut(head["changes"], body)),
            done=bool(head.get("done")),
            failed=bool(head.get("failed")),
            bare=tuple(map(text, head.get("bare", ()))),
        )
    except _FAULTS as error:
        raise _damaged(key, where, error) from error
    if key not in {"journal", key_of(journal)}:
        raise _damaged(key, where, ValueError(f"it is the journal {journal.id}"))
    return journal


def _encode_journal(journal: Journal) -> bytes:
    """Join the documents as they are: an operation may change thousands of records."""
    sizes = [[key, _size(before), _size(after)] for key, before, after in journal.changes]
    head = {"schema": SCHEMA, "id": journal.id, "why": journal.why, "changes": sizes}
    head |= {name: getattr(journal, name) for name in ("done", "failed", "bare") if getattr(journal, name)}
    body = [document for _, *both in journal.changes for document in both if document]
    return b"".join([_to_json(head).encode("ascii"), b"\n", *body])


def _size(document: bytes | None) -> int | None:
    return None if document is None else len(document)


def _cut(sizes: list[list[Any]], body: bytes) -> Iterable[tuple[str, bytes | None, bytes | None]]:
    at = 0
    for key, *both in sizes:
        cut: list[bytes | None] = []
        for size in both:
            cut.append(None if size is None else body[at : at + size])
            at += size or 0
        before, after = cut
        yield text(key), before, after
    if at != len(body):
        raise ValueError(f"it has {len(body)} bytes of documents instead of {at}")


def _upgraded(key: str, kind: str, document: Document, where: str) -> Document:
    """Return ``document`` in today's schema, without its number."""
    schema = integer(document.pop("schema"))
    if schema == SCHEMA:
        return document
    if schema > SCHEMA:
        raise _newer(key, where, f"has schema {schema}")
    if schema < 1:
        raise ValueError(f"there is no schema {schema}")
    for number in range(schema, SCHEMA):
        upgrade = UPGRADES.get((kind, number))
        document = upgrade(document) if upgrade else document
    return document


def _damaged(key: str, where: str, error: Exception) -> Unavailable:
    why = f"unknown field {error}" if isinstance(error, KeyError) else str(error)
    return Unavailable(
        f"{key} in {where} is damaged: {why}; put a copy of the state directory back, or move it away to begin anew",
        code="store_damaged",
        key=key,
        path=where,
    )


def _newer(key: str, where: str, what: str) -> Unavailable:
    return Unavailable(
        f"{key} in {where} {what}, which only a newer release of libnetwork_py knows: use that release, or another state directory",
        code="schema_newer",
        key=key,
        path=where,
    )


_SUBNET = Table(
    Subnet,
    {
        "pool_id": TEXT,
        "subnet": NETWORK,
        "gateway": ADDRESS,
        "gateway_reserved": FLAG,
        "ip_range": NETWORK,
        "aux_addresses": ADDRESSES_BY_NAME,
        "chosen": FLAG,
    },
)

_CONDITION = Table(
    Condition,
    {
        "rate": INTEGER,
        "delay": INTEGER,
        "jitter": INTEGER,
        "loss": INTEGER,
        "seed": OPTIONAL_INTEGER,
        "queue": INTEGER,
        "down": FLAG,
        "apart": ADDRESSES,
        "netem": FLAG,
    },
)

_TABLES: Mapping[str, Table[Any]] = {
    "network": Table(
        NetworkRecord,
        {
            "id": TEXT,
            "name": TEXT,
            "driver": TEXT,
            "scope": SCOPE,
            "subnets": _SUBNET.as_form(),
            "ipv4": FLAG,
            "ipv6": FLAG,
            "internal": FLAG,
            "attachable": FLAG,
            "options": MAPPING,
            "labels": MAPPING,
            "ipam": TEXT,
            "ipam_options": MAPPING,
            "config_only": FLAG,
            "config_from": TEXT,
            "decided": MAPPING,
            "routes": ROUTES,
            "created": NUMBER,
            "host": TEXT,
            "temporary": FLAG,
            "vnis": INTEGERS,
        },
    ),
    "endpoint": Table(
        EndpointRecord,
        {
            "id": TEXT,
            "name": TEXT,
            "network_id": TEXT,
            "sandbox_id": TEXT,
            "addresses": INTERFACES,
            "mac": MAC,
            "ports": BINDINGS,
            "bindings": BINDINGS,
            "expose": TEXTS,
            "aliases": TEXTS,
            "dns_names": TEXTS,
            "sysctls": MAPPING,
            "sysctls_before": MAPPING,
            "interface": TEXT,
            "ifname": TEXT,
            "priority": INTEGER,
            "segment": INTEGER,
            "decided": MAPPING,
            "external": TEXT,
            "options": MAPPING,
            "labels": MAPPING,
            "routes": ROUTES,
            "created": NUMBER,
            "host": TEXT,
            "vtep": ADDRESS,
            "condition": _CONDITION.as_optional_form(),
        },
    ),
    "sandbox": Table(
        SandboxRecord,
        {
            "id": TEXT,
            "name": TEXT,
            "key": TEXT,
            "owned": FLAG,
            "identity": TEXT,
            "hostname": TEXT,
            "domainname": TEXT,
            "dns": TEXTS,
            "dns_search": TEXTS,
            "dns_options": TEXTS,
            "extra_hosts": MAPPING,
            "aliases": MAPPING,
            "sysctls": MAPPING,
            "sysctls_before": MAPPING,
            "labels": MAPPING,
            "created": NUMBER,
        },
    ),
}
_KINDS: Mapping[type[object], str] = {
    NetworkRecord: "network",
    EndpointRecord: "endpoint",
    SandboxRecord: "sandbox",
    Journal: "journal",
}
_to_json = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
