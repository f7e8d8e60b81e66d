"""What a driver says of an endpoint whose interface somebody else puts into a sandbox: the plug-in server's part.

The driver describes as always, for a namespace that is none. Here that becomes what is made on the host, and what the other one is told.

May import: drivers.api, desired, sandbox, types.
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import evolve

from ..desired import HOST, Description, Moved, Route, Veth, Word
from ..drivers.api import Attachment
from ..sandbox import Handover, SandboxRecord


def on_the_host(words: Iterable[Word], sandbox: SandboxRecord) -> Description:
    """Return what is made for an endpoint of a sandbox that is somebody else's: interfaces stay on the host, and nothing is in them."""
    return tuple(found for word in words for found in _here(word, sandbox.key))


def _here(word: Word, key: str) -> Iterable[Word]:
    if isinstance(word, Veth) and word.peer_namespace == key:
        return (evolve(word, peer_namespace=HOST, handed=True),)
    return () if getattr(word, "namespace", HOST) == key else (word,)


def handover(sandbox: SandboxRecord, attachment: Attachment, prefix: str) -> Handover:
    """Return what whoever takes the interface is told."""
    sources = [word.source for word in attachment.words if isinstance(word, Moved) and word.namespace == sandbox.key]
    made = [
        word.peer_name for word in attachment.words if isinstance(word, Veth) and word.peer_namespace == sandbox.key
    ]
    routes = tuple(
        (word.destination, word.gateway)
        for word in attachment.words
        if isinstance(word, Route) and word.namespace == sandbox.key
    )
    return Handover(next(iter((*sources, *made)), ""), prefix, attachment.gateways, routes)
