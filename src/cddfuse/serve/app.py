"""The routes: a page, an API, and what watches over the service."""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from cddfuse import __version__
from cddfuse.serve import assets
from cddfuse.serve.forms import FeatureForm, FileForm, FuseForm, ScoreForm
from cddfuse.serve.guard import Guard
from cddfuse.serve.monitor import CONTENT_TYPE, Monitor
from cddfuse.serve.networks import Networks
from cddfuse.serve.queue import Job, Queue
from cddfuse.serve.refusal import LeftError, RefusedError
from cddfuse.serve.settings import Settings
from cddfuse.serve.uploads import FORM_BYTES, Upload, checked, read_form
from cddfuse.serve.work import Worker

Form = TypeVar("Form", bound=BaseModel)
Result = TypeVar("Result")
Handler = TypeVar("Handler", bound=Callable[..., Any])

_log = logging.getLogger("cddfuse.serve")

_TYPES = {"png": "image/png", "tiff": "image/tiff", "jpeg": "image/jpeg"}
_NOT_STORED = {"Cache-Control": "no-store"}
_EVERY = 0.25  # seconds between looks at the progress
_SILENT = 20  # looks without news, after which the old ones show that the service is there
_ABOUT = """Fuse two registered images of one scene. Images are forms (multipart/form-data), results
are files or JSON, and errors are `{"detail": sentence}`, with the `field` that cures them where
there is one. Nothing is written to disk."""
_REFUSALS: dict[int | str, dict[str, Any]] = {
    408: {"description": "The upload takes too long."},
    411: {"description": "The request does not say its length."},
    413: {"description": "A file, an image or the request is too large."},
    415: {"description": "A file is no image that can be read."},
    422: {"description": "Images or fields do not fit."},
    503: {"description": "Too many requests: see Retry-After."},
    504: {"description": "The work takes too long."},
}


def application(settings: Settings, networks: Networks) -> FastAPI:
    """The application; see `cddfuse.serve.create_app`."""

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        queue = Queue(settings.jobs, settings.waiting, settings.seconds)
        monitor.watch(queue, lambda: networks.ready)
        app.state.desk = _Desk(settings, queue)
        if not networks.ready:
            loading = asyncio.create_task(_prepared(networks))
            app.state.loading = loading  # else it may be collected
        yield
        queue.close()

    app = FastAPI(
        title="cddfuse",
        version=__version__,
        description=_ABOUT,
        lifespan=life,
        docs_url=None,  # pages that take their scripts from another host
        redoc_url=None,
    )
    monitor = Monitor()
    app.add_exception_handler(RefusedError, _refused)
    app.add_exception_handler(LeftError, _left)
    app.add_exception_handler(HTTPException, _not_offered)
    app.add_middleware(
        Guard,
        hosts=settings.hosts,
        body=3 * settings.file_bytes + FORM_BYTES,
        seconds=settings.upload_seconds,
        monitor=monitor,
    )
    _add_images(app, Worker(networks, settings.pixels))
    _add_state(app, settings, networks, monitor)
    _add_pages(app)
    return app


async def _prepared(networks: Networks) -> None:
    try:
        await asyncio.to_thread(networks.prepare)
    except Exception:
        _log.exception("the default network cannot be loaded: the service will not be ready")


class _Desk:
    """Takes forms, and has work done on them."""

    def __init__(self, settings: Settings, queue: Queue) -> None:
        self._settings, self.queue = settings, queue

    async def form(self, request: Request, files: tuple[str, ...]) -> Upload:
        """The form of a request."""
        kind, limits = request.headers.get("content-type", ""), self._settings
        most, time = limits.file_bytes, limits.upload_seconds
        return await read_form(kind, request.stream(), files, most, time)

    async def done(
        self,
        request: Request,
        files: tuple[str, ...],
        form: type[Form],
        work: Callable[[Mapping[str, bytes], Form, Job], Result],
    ) -> tuple[Form, Result]:
        """What work makes of the form of a request, as long as its client is there."""
        with self.queue.place():
            upload = await self.form(request, files)
            fields = checked(form, upload.texts)
            task = self.queue.run(partial(work, upload.files, fields), Job())
            return fields, await _while_connected(request, task)


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


def _add_images(app: FastAPI, worker: Worker) -> None:
    pair, three = ("first", "second"), ("first", "second", "fused")

    def post(
        path: str, form: type[BaseModel], files: tuple[str, ...], **facts: Any
    ) -> Callable[[Handler], Handler]:
        extra = {"requestBody": _body(form, files)}
        return app.post(
            path, openapi_extra=extra, responses=_REFUSALS | facts.pop("gives"), **facts
        )

    @post(
        "/v1/fuse",
        *(FileForm, pair),
        summary="Fuse two images",
        response_class=Response,
        gives={200: {"description": "The image.", "content": {x: {} for x in _TYPES.values()}}},
    )
    async def fuse(request: Request) -> Response:
        """Fuse two images of one size, or one radiometric photo of FLIR, into an image file."""
        desk: _Desk = request.app.state.desk
        form, data = await desk.done(request, pair, FileForm, worker.fused_file)
        name = {"tiff": "tif", "jpeg": "jpg"}.get(form.format, form.format)
        headers = {"Content-Disposition": f'inline; filename="fused.{name}"', **_NOT_STORED}
        return Response(data, media_type=_TYPES[form.format], headers=headers)

    @post(
        "/v1/fuse/events",
        *(FuseForm, pair),
        summary="Fuse two images and watch",
        response_class=Response,
        gives={200: {"description": "Lines.", "content": {"application/x-ndjson": {}}}},
    )
    async def events(request: Request) -> Response:
        """Fuse two images, and report the progress: lines of JSON, the last one with the images.

        `state` is waiting (with `ahead`), working (with `share`), failed (with `status` and
        `detail`) or done, with `first` and `second` (JPEG) and `fused` (PNG) in base64.
        """
        desk: _Desk = request.app.state.desk
        desk.queue.enter()
        try:
            upload = await desk.form(request, pair)
            form = checked(FuseForm, upload.texts)
        except BaseException:
            desk.queue.leave()
            raise
        lines = _events(desk.queue, partial(worker.shown, upload.files, form))
        return _Stream(lines, desk.queue.leave)

    @post(
        "/v1/score",
        *(ScoreForm, three),
        summary="Score a fused image",
        gives={200: {"description": "Rows of scores: fused, first, second, mean, max."}},
    )
    async def score(request: Request) -> JSONResponse:
        """Score a fused image, or the one that a network makes, beside trivial ones."""
        desk: _Desk = request.app.state.desk
        _, found = await desk.done(request, three, ScoreForm, worker.scores)
        return JSONResponse(found, headers=_NOT_STORED)

    @post(
        "/v1/features",
        *(FeatureForm, pair),
        summary="Show the features",
        gives={200: {"description": "Maps of each part as PNG in base64, and correlations."}},
    )
    async def features(request: Request) -> JSONResponse:
        """Show the parts, such as base and detail, that a network takes the images apart into."""
        desk: _Desk = request.app.state.desk
        _, found = await desk.done(request, pair, FeatureForm, worker.features)
        return JSONResponse(found, headers=_NOT_STORED)


def _body(form: type[BaseModel], files: tuple[str, ...]) -> dict[str, Any]:
    """The form of a request, for OpenAPI."""
    about = {
        "first": "Visible (PET, SPECT, CT) image: PNG, JPEG, TIFF, WebP or BMP.",
        "second": "Infrared (MRI) image of the same size; not needed beside a FLIR photo of both.",
        "fused": "The fused image; without it, the network makes one.",
    }
    binary = {
        name: {"type": "string", "format": "binary", "description": about[name]} for name in files
    }
    properties = {**binary, **form.model_json_schema()["properties"]}
    schema = {"type": "object", "required": ["first"], "properties": properties}
    return {"required": True, "content": {"multipart/form-data": {"schema": schema}}}


async def _events(queue: Queue, work: Callable[[Job], dict[str, Any]]) -> AsyncIterator[bytes]:
    job, said, silent = Job(), b"", 0
    task = asyncio.create_task(queue.run(work, job))
    try:
        while not task.done():
            working = {"state": "working", "share": round(job.share, 3)}
            waiting = {"state": "waiting", "ahead": queue.ahead(job)}
            line = _line(**(working if job.started else waiting))
            silent += 1
            if line != said or silent > _SILENT:
                said, silent = line, 0
                yield line
            await asyncio.wait({task}, timeout=_EVERY)
        try:
            yield _line(state="done", **task.result())
        except RefusedError as error:
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
        super().__init__(lines, media_type="application/x-ndjson", headers=_NOT_STORED)
        self._after = after

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._after()


def _add_state(app: FastAPI, settings: Settings, networks: Networks, monitor: Monitor) -> None:
    @app.get("/v1/networks", summary="List the networks")
    async def listed() -> dict[str, Any]:
        """The networks that are offered, the default first, and the limits of uploads."""
        return {
            "networks": [offer.facts() for offer in networks.offers.values()],
            "max_file_bytes": settings.file_bytes,
            "max_pixels": settings.pixels,
        }

    @app.get("/healthz", summary="Alive")
    async def healthz() -> dict[str, str]:
        """Whether the process answers."""
        return {"status": "ok"}

    @app.get("/readyz", summary="Ready", responses={503: {"description": "Not yet."}})
    async def readyz() -> JSONResponse:
        """Whether the default network is loaded."""
        if networks.ready:
            return JSONResponse({"status": "ready"})
        return JSONResponse({"detail": "the network is being loaded."}, 503)

    @app.get("/metrics", summary="Numbers for Prometheus", response_class=Response)
    async def metrics() -> Response:
        """Requests, seconds, the queue, memory."""
        return Response(monitor.text(), media_type=CONTENT_TYPE)


def _add_pages(app: FastAPI) -> None:
    """Files are found by their name in a table; no path of a request reaches the file system."""
    files = assets.server_files()

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return _asset(files["index.html"], "index.html")

    @app.get("/{name:path}", include_in_schema=False)
    async def asset(name: str) -> Response:
        if name not in files:
            raise RefusedError(404, "there is nothing of this name here.")
        return _asset(files[name], name)


def _asset(content: bytes, name: str) -> Response:
    kind = assets.media_type(name)
    return Response(content, media_type=kind, headers={"Cache-Control": "no-cache"})


async def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RefusedError)
    return JSONResponse(error.content(), error.status, headers=dict(error.headers))


async def _not_offered(request: Request, error: Exception) -> JSONResponse:
    """What the framework refuses itself, in a sentence of ours."""
    assert isinstance(error, HTTPException)
    text = f"the request is refused: {error.detail}."
    if error.status_code in (404, 405):
        text = "this is not offered here: see /openapi.json for what is."
    return JSONResponse({"detail": text}, error.status_code, headers=error.headers)


async def _left(request: Request, error: Exception) -> Response:
    return Response(status_code=499)  # nobody reads it; the log has it
