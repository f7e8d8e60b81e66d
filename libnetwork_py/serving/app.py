"""Between bytes and calls: an ASGI application for the plug-in protocol.

May import: serving.body, plugins.client, errors.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from ..errors import LibnetworkError
from ..plugins.client import ERROR_KEYS
from ..plugins.http import CONTENT_TYPE
from .body import Body

Call: TypeAlias = Callable[[Body], Mapping[str, Any]]
Message: TypeAlias = Mapping[str, Any]
MAX_REQUEST = 1 << 20
"""Bytes of a request's body."""
REQUEST_SECONDS = 5.0
"""How long a request's body may take to come: who sends half of one must not keep the server from ending."""
TEXT_MAX = 4000
"""Characters of an error, which may repeat what was asked."""

_log = logging.getLogger("libnetwork_py.serving")


class Application:
    """Answers ``POST /Subsystem.Method``.

    Args:
        subsystems: ``NetworkDriver``, ``IpamDriver`` → method → what answers it. Calls run on threads, several at a time.
    """

    def __init__(self, subsystems: Mapping[str, Mapping[str, Call]]) -> None:
        self._subsystems = subsystems

    async def __call__(
        self,
        scope: Mapping[str, Any],
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[dict[str, Any]], Awaitable[None]],
    ) -> None:
        """Serve one request, as ASGI asks for it."""
        if scope["type"] != "http":
            return
        try:
            status, document = await self._served(scope, receive)
        except ConnectionError:  # nobody is there to answer
            return
        body = json.dumps(document).encode()
        headers = [(b"content-type", CONTENT_TYPE.encode()), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _served(
        self, scope: Mapping[str, Any], receive: Callable[[], Awaitable[Message]]
    ) -> tuple[int, Mapping[str, Any]]:
        if scope["method"] != "POST":
            return 405, {"Err": "the plug-in protocol is POST alone"}
        try:
            raw = await asyncio.wait_for(_read(receive), REQUEST_SECONDS)
        except TimeoutError:
            return 408, {"Err": f"the request is not whole after {REQUEST_SECONDS:g} s"}
        if raw is None:
            return 413, {"Err": f"the request has more than {MAX_REQUEST} bytes"}
        return await asyncio.to_thread(self.answer, scope["path"].lstrip("/"), raw)

    def answer(self, path: str, raw: bytes) -> tuple[int, Mapping[str, Any]]:
        """Return status and document for a call. An error is a document too, with status 200, as the protocol has it."""
        if path == "Plugin.Activate":
            return 200, {"Implements": sorted(self._subsystems)}
        subsystem, _, method = path.partition(".")
        call = self._subsystems.get(subsystem, {}).get(method)
        if call is None:
            return 404, {"Err": f"there is no method {path}"}
        key = ERROR_KEYS[subsystem]
        try:
            document = json.loads(raw) if raw else {}
            json.dumps(
                document, ensure_ascii=False
            ).encode()  # half a surrogate pair is no text, and nothing could keep it
            if not isinstance(document, dict):
                raise TypeError(f"it is a {type(document).__name__}")
        except (ValueError, TypeError, RecursionError) as error:
            return 400, {"Err": f"the request is no JSON object: {error}"}
        try:
            return 200, call(Body(document))
        except LibnetworkError as error:
            return 200, {key: str(error)[:TEXT_MAX]}
        except Exception as error:  # noqa: BLE001 (whatever a stranger's driver raises is an answer)
            _log.exception("%s failed", path)
            return 200, {key: f"{type(error).__name__}: {error}"[:TEXT_MAX]}


async def _read(receive: Callable[[], Awaitable[Message]]) -> bytes | None:
    raw, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionError("the caller is gone")
        raw += message.get("body", b"")
        more = bool(message.get("more_body"))
        if len(raw) > MAX_REQUEST:
            return None
    return raw
