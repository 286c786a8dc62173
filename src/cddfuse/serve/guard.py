"""What stands before every request: sizes, hosts, headers, numbers and the log."""

import asyncio
import json
import logging
import re
import time
from collections.abc import Mapping
from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cddfuse.serve.monitor import Monitor
from cddfuse.serve.refusal import RefusedError

_log = logging.getLogger("cddfuse.serve")

HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob:; media-src 'self' blob:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Of every answer."""

OUTCOME = "cddfuse.outcome"
"""In the scope of a request: the status of work that has failed after the answer has begun."""

_METHODS = ("GET", "HEAD", "POST", "OPTIONS", "PUT", "PATCH", "DELETE")


class Guard:
    """Refuses requests before they are read, and completes answers.

    The log has method, route and status of a request, and nothing that a client has sent beside.

    Args:
        app: what it stands before.
        hosts: names by which it may be called; none are all.
        bodies: bytes of the largest request, by path; the empty one is that of all others.
        seconds: that the rest of an upload is waited for when the answer is there already, for
            clients that read it only then.
        monitor: takes up the numbers.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        hosts: tuple[str, ...],
        bodies: Mapping[str, int],
        seconds: float,
        monitor: Monitor,
    ) -> None:
        self._app, self._monitor = app, monitor
        self._hosts, self._bodies, self._seconds = hosts, bodies, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, exchange = time.monotonic(), _Exchange(receive, send, self._seconds)
        refusal = self._refusal(scope)
        # Those who only ask for headers get those of GET; the server leaves the content out.
        inner = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
        try:
            if refusal:
                exchange.drains = refusal.status not in (411, 413)
                await exchange.refuse(refusal)
            else:
                await self._app(inner, exchange.receive, exchange.send)
        except asyncio.CancelledError:  # the program ends, and has waited for a while
            if not exchange.status:
                exchange.drains = False
                text = "the service is being ended: try again later."
                await exchange.refuse(RefusedError(503, text))
        except Exception:
            _log.exception("a request has failed")
            if not exchange.status:
                text = "the service has failed here, which is a fault of it: see its log."
                await exchange.refuse(RefusedError(500, text))
            exchange.status = inner[OUTCOME] = 500
        finally:
            path = getattr(inner.get("route"), "path", "other")
            took = time.monotonic() - started
            method = scope["method"] if scope["method"] in _METHODS else "other"
            # 499 are clients that leave before the answer.
            status = inner.get(OUTCOME) or exchange.status or 499
            self._monitor.answered(method, path, status, took)
            _log.info("%s %s %d %.3f s", method, path, status, took)

    def _refusal(self, scope: Scope) -> RefusedError | None:
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        host = re.sub(r":\d+$", "", headers.get(b"host", "")).lower()
        if self._hosts and host not in self._hosts:
            return RefusedError(421, "the service is not known by this name: allow the host.")
        if scope["method"] in ("GET", "HEAD"):
            return None
        # Another port of this computer is the same site, but another service.
        if headers.get(b"sec-fetch-site") in ("cross-site", "same-site"):
            return RefusedError(403, "pages of other sites may not use this service.")
        length = headers.get(b"content-length")
        if length is None or b"transfer-encoding" in headers:
            return RefusedError(411, "the request has no length: send the header Content-Length.")
        most = self._bodies.get(scope["path"], self._bodies[""])
        if not length.isdecimal() or int(length[:20]) > most:
            return RefusedError(413, f"the request is larger than {most / 1e6:.0f} MB: send less.")
        return None


class _Exchange:
    """A request and its answer, seen from between client and application."""

    def __init__(self, receive: Receive, send: Send, seconds: float) -> None:
        self._receive, self._send, self._seconds = receive, send, seconds
        self.status = 0
        """Of the answer; 0 before it."""

        self.drains = True
        """Whether the rest of the request is read before the answer."""

        self._complete = False  # the request

    async def receive(self) -> Message:
        """What the client sends."""
        message = await self._receive()
        if message["type"] != "http.request" or not message.get("more_body"):
            self._complete = True
        return message

    async def send(self, message: Message) -> None:
        """What the client is sent."""
        if message["type"] == "http.response.start":
            await self._drain()
            self.status = message["status"]
            given = message["headers"]
            names = {name.lower() for name, _ in given}
            lines = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
            message = {**message, "headers": [*given, *(x for x in lines if x[0] not in names)]}
        await self._send(message)

    async def refuse(self, refusal: RefusedError) -> None:
        """Answer with a refusal."""
        body = json.dumps(refusal.content()).encode()
        headers = {"content-type": "application/json", "content-length": str(len(body))}
        lines = [(name.encode(), value.encode()) for name, value in headers.items()]
        start = {"type": "http.response.start", "status": refusal.status, "headers": lines}
        await self.send(start)
        await self.send({"type": "http.response.body", "body": body})

    async def _drain(self) -> None:
        """Let the client finish: many read no answer before they have sent all."""

        async def rest() -> None:
            while not self._complete:
                await self.receive()

        if self.drains and not self._complete:
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(rest(), self._seconds)
