"""From the form of a request to the result: upload, place in the queue, work, progress."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from typing import Any, TypeVar

from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from starlette.types import Receive, Scope, Send

from cddfuse.serve.guard import OUTCOME
from cddfuse.serve.queue import Job, Queue
from cddfuse.serve.refusal import LeftError, RefusedError
from cddfuse.serve.uploads import Upload, checked, read_form

Form = TypeVar("Form", bound=BaseModel)
Result = TypeVar("Result")

NOT_STORED = {"Cache-Control": "no-store"}
_EVERY = 0.25  # seconds between looks at the progress
_SILENT = 20  # looks without news, after which the old ones show that the service is there


class Desk:
    """Takes forms of one kind, and has work done on them.

    Args:
        queue: that the work waits in.
        most: bytes of a file.
        seconds: time limit of the work.
        upload_seconds: time limit of an upload.
    """

    def __init__(self, queue: Queue, most: int, seconds: float, upload_seconds: float) -> None:
        self._queue, self._most = queue, most
        self._seconds, self._upload_seconds = seconds, upload_seconds

    async def done(
        self,
        request: Request,
        files: tuple[str, ...],
        form: type[Form],
        work: Callable[[Mapping[str, bytes], Form, Job], Result],
    ) -> tuple[Form, Result]:
        """What work makes of the form of a request, as long as its client is there."""
        with self._queue.place():
            upload = await self._form(request, files)
            fields = checked(form, upload.texts)
            task = self._queue.run(partial(work, upload.files, fields), Job(), self._seconds)
            return fields, await _while_connected(request, task)

    async def events(
        self,
        request: Request,
        files: tuple[str, ...],
        form: type[Form],
        work: Callable[[Mapping[str, bytes], Form, Job], dict[str, Any]],
    ) -> Response:
        """Lines of JSON about the work on the form of a request, the last one with the result."""
        self._queue.enter()
        try:
            upload = await self._form(request, files)
            fields = checked(form, upload.texts)
        except BaseException:
            self._queue.leave()
            raise
        doing = partial(work, upload.files, fields)
        lines = _events(self._queue, doing, self._seconds, request.scope)
        return _Stream(lines, self._queue.leave)

    async def _form(self, request: Request, files: tuple[str, ...]) -> Upload:
        kind = request.headers.get("content-type", "")
        return await read_form(kind, request.stream(), files, self._most, self._upload_seconds)


async def _while_connected(request: Request, work: Any) -> Any:
    """The result of work, which is cancelled when the client leaves."""
    task = asyncio.ensure_future(work)
    watch = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise LeftError
        return task.result()
    finally:
        for other in (task, watch):
            other.cancel()
        await asyncio.gather(task, watch, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _events(
    queue: Queue, work: Callable[[Job], dict[str, Any]], seconds: float, scope: Scope
) -> AsyncIterator[bytes]:
    job, said, silent = Job(), b"", 0
    scope[OUTCOME] = 499  # of clients that leave before the last line
    task = asyncio.create_task(queue.run(work, job, seconds))
    try:
        while not task.done():
            working: dict[str, Any] = {"state": "working", "share": round(job.share, 3)}
            if job.frames:
                working |= {"frame": job.frame, "frames": job.frames}
            waiting = {"state": "waiting", "ahead": queue.ahead(job)}
            line = _line(**(working if job.started else waiting))
            silent += 1
            if line != said or silent > _SILENT:
                said, silent = line, 0
                yield line
            await asyncio.wait({task}, timeout=_EVERY)
        try:
            result = task.result()
            scope[OUTCOME] = 200
            yield _line(state="done", **result)
        except RefusedError as error:
            scope[OUTCOME] = error.status
            yield _line(state="failed", status=error.status, **error.content())
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await task


def _line(**content: Any) -> bytes:
    return json.dumps(content).encode() + b"\n"


class _Stream(StreamingResponse):
    """Lines, after which something is done, even if the client left before the first."""

    def __init__(self, lines: AsyncIterator[bytes], after: Callable[[], None]) -> None:
        super().__init__(lines, media_type="application/x-ndjson", headers=NOT_STORED)
        self._after = after

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._after()
