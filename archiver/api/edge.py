"""The outermost layer of ours around each request: a limit to its body, headers, one log line, and no exception passes.

Law: an address is logged without its query, which may hold a sign-in's code or what somebody looked for.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping

from fastapi import Request
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger("archiver.requests")

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Edge:
    """ASGI middleware. `respond(request, error)` answers what nobody caught; `headers` are added where the answer has none of that name."""

    def __init__(self, app: ASGIApp, respond: Callable[[Request, Exception], Response], headers: Mapping[str, str], body_bytes: int) -> None:
        self._app = app
        self._respond = respond
        self._body_bytes = body_bytes
        self._headers = {**HEADERS, **headers}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.monotonic()
        status = received = 0

        async def receiving() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            # Nothing reads the body of a GET but what listens, while an answer streams, for the client's going away.
            if received > self._body_bytes and scope["method"] not in {"GET", "HEAD"}:
                raise HTTPException(413)
            return message

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self._app(scope, receiving, sending)
        except Exception as error:
            log.exception("%s %s failed by a fault of ours", scope["method"], scope["path"])
            if status:
                raise  # the answer has begun: only breaking it off tells the client
            await self._respond(Request(scope), error)(scope, receive, sending)
        finally:
            log.info("%s %s %d %.0f ms", scope["method"], scope["path"], status, (time.monotonic() - began) * 1000)
