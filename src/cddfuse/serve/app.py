"""The routes: a page, an API, and what watches over the service."""

import asyncio
import base64
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from cddfuse import __version__
from cddfuse.serve import assets
from cddfuse.serve.clips import ClipWorker, FusedClip, available, require_available
from cddfuse.serve.desk import NOT_STORED, Desk
from cddfuse.serve.forms import ClipForm, FeatureForm, FileForm, FuseForm, ScoreForm
from cddfuse.serve.guard import Guard
from cddfuse.serve.monitor import CONTENT_TYPE, Monitor
from cddfuse.serve.networks import Networks
from cddfuse.serve.queue import Job, Queue
from cddfuse.serve.refusal import LeftError, RefusedError
from cddfuse.serve.settings import Settings
from cddfuse.serve.uploads import FORM_BYTES
from cddfuse.serve.work import Worker

Handler = TypeVar("Handler", bound=Callable[..., Any])

_log = logging.getLogger("cddfuse.serve")

_CLIPS = "/v1/fuse/clip", "/v1/fuse/clip/events"
_ABOUT_IMAGES = {
    "first": "Visible (PET, SPECT, CT) image: PNG, JPEG, TIFF, WebP or BMP.",
    "second": "Infrared (MRI) image of the same size; not needed beside a FLIR photo of both.",
    "fused": "The fused image; without it, the network makes one.",
}
_ABOUT_CLIPS = {
    "first": "Visible clip, or the one that holds both sides: MP4, MOV, MKV, WebM or AVI.",
    "second": "Infrared clip of the same size; not needed beside one that holds both sides.",
}
_NO_CLIPS: dict[int | str, dict[str, Any]] = {501: {"description": "No clips are taken here."}}
_TYPES = {"png": "image/png", "tiff": "image/tiff", "jpeg": "image/jpeg"}
_ABOUT = """Fuse two registered images of one scene. Images are forms (multipart/form-data), results
are files or JSON, and errors are `{"detail": sentence}`, with the `field` that cures them where
there is one. Nothing is written to disk."""
_TEXT = {"type": "string"}
_ERROR = {"type": "object", "required": ["detail"], "properties": {"detail": _TEXT, "field": _TEXT}}
_REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"description": text, "content": {"application/json": {"schema": _ERROR}}}
    for status, text in {
        403: "The request comes from a page of another site.",
        408: "The upload takes too long.",
        411: "The request does not say its length.",
        413: "A file, what it holds, or the request is too large.",
        415: "A file is none that can be read.",
        421: "The service is not known by the name that it is called by.",
        422: "Files or fields do not fit.",
        503: "Too many requests: see Retry-After.",
        504: "The work takes too long.",
    }.items()
}


def application(settings: Settings, networks: Networks) -> FastAPI:
    """The application; see `cddfuse.serve.create_app`."""

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        queue = Queue(settings.jobs, settings.waiting, settings.seconds)
        monitor.watch(queue, lambda: networks.ready)
        limits = settings.file_bytes, settings.seconds, settings.upload_seconds
        app.state.desk = Desk(queue, *limits)
        limits = settings.clip_bytes, settings.clip_seconds, settings.upload_seconds
        app.state.clips = Desk(queue, *limits)
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
        redirect_slashes=False,
    )
    monitor = Monitor()
    app.add_exception_handler(RefusedError, _refused)
    app.add_exception_handler(LeftError, _left)
    app.add_exception_handler(ClientDisconnect, _left)
    app.add_exception_handler(HTTPException, _not_offered)
    app.add_middleware(
        Guard,
        hosts=settings.hosts,
        bodies={
            "": 3 * settings.file_bytes + FORM_BYTES,
            **dict.fromkeys(_CLIPS, 2 * settings.clip_bytes + FORM_BYTES),
        },
        seconds=settings.upload_seconds,
        monitor=monitor,
    )
    _add_images(app, Worker(networks, settings.pixels))
    clips = settings.clip_bytes, settings.max_clip_frames, settings.clip_pixels
    _add_clips(app, ClipWorker(networks, *clips))
    _add_state(app, settings, networks, monitor)
    _add_pages(app)
    return app


async def _prepared(networks: Networks) -> None:
    try:
        await asyncio.to_thread(networks.prepare)
    except Exception:
        _log.exception("the default network cannot be loaded: the service will not be ready")


def _add_images(app: FastAPI, worker: Worker) -> None:
    pair, three = ("first", "second"), ("first", "second", "fused")
    post = partial(_post, app, _ABOUT_IMAGES)

    @post(
        "/v1/fuse",
        *(FileForm, pair),
        summary="Fuse two images",
        response_class=Response,
        gives={200: {"description": "The image.", "content": {x: {} for x in _TYPES.values()}}},
    )
    async def fuse(request: Request) -> Response:
        """Fuse two images of one size, or one radiometric photo of FLIR, into an image file."""
        desk: Desk = request.app.state.desk
        form, data = await desk.done(request, pair, FileForm, worker.fused_file)
        name = {"tiff": "tif", "jpeg": "jpg"}.get(form.format, form.format)
        headers = {"Content-Disposition": f'inline; filename="fused.{name}"', **NOT_STORED}
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
        desk: Desk = request.app.state.desk
        return await desk.events(request, pair, FuseForm, worker.shown)

    @post(
        "/v1/score",
        *(ScoreForm, three),
        summary="Score a fused image",
        gives={200: {"description": "Rows of scores: fused, first, second, mean, max."}},
    )
    async def score(request: Request) -> JSONResponse:
        """Score a fused image, or the one that a network makes, beside trivial ones."""
        desk: Desk = request.app.state.desk
        _, found = await desk.done(request, three, ScoreForm, worker.scores)
        return JSONResponse(found, headers=NOT_STORED)

    @post(
        "/v1/features",
        *(FeatureForm, pair),
        summary="Show the features",
        gives={200: {"description": "Maps of each part as PNG in base64, and correlations."}},
    )
    async def features(request: Request) -> JSONResponse:
        """Show the parts, such as base and detail, that a network takes the images apart into."""
        desk: Desk = request.app.state.desk
        _, found = await desk.done(request, pair, FeatureForm, worker.features)
        return JSONResponse(found, headers=NOT_STORED)


def _add_clips(app: FastAPI, worker: ClipWorker) -> None:
    pair = ("first", "second")
    post = partial(_post, app, _ABOUT_CLIPS)

    def shown(files: Mapping[str, bytes], form: ClipForm, job: Job) -> dict[str, Any]:
        made = worker.fused(files, form, job)
        return {**made.facts, "fused": base64.b64encode(made.data).decode("ascii")}

    @post(
        _CLIPS[0],
        *(ClipForm, pair),
        summary="Fuse two clips",
        response_class=Response,
        gives={200: {"description": "The clip.", "content": {"video/mp4": {}}}, **_NO_CLIPS},
    )
    async def fuse_clip(request: Request) -> Response:
        """Fuse two clips, or one that holds both sides, into MP4 with H.264, without sound.

        The header `Cddfuse-Notes` says what was left out, if anything was.
        """
        require_available()
        desk: Desk = request.app.state.clips
        made: FusedClip
        _, made = await desk.done(request, pair, ClipForm, worker.fused)
        headers = {"Content-Disposition": 'inline; filename="fused.mp4"', **NOT_STORED}
        if notes := " ".join(made.facts["notes"]):
            headers["Cddfuse-Notes"] = notes.encode("ascii", "replace").decode()
        return Response(made.data, media_type="video/mp4", headers=headers)

    @post(
        _CLIPS[1],
        *(ClipForm, pair),
        summary="Fuse two clips and watch",
        response_class=Response,
        gives={
            200: {"description": "Lines.", "content": {"application/x-ndjson": {}}},
            **_NO_CLIPS,
        },
    )
    async def clip_events(request: Request) -> Response:
        """Fuse two clips, and report the progress: lines of JSON, the last one with the clip.

        `state` is as for images; working has `frame` and `frames` too, and done has `fused` (MP4)
        in base64 and `notes` of what was left out.
        """
        require_available()
        desk: Desk = request.app.state.clips
        return await desk.events(request, pair, ClipForm, shown)


def _post(
    app: FastAPI,
    about: Mapping[str, str],
    path: str,
    form: type[BaseModel],
    files: tuple[str, ...],
    **facts: Any,
) -> Callable[[Handler], Handler]:
    """A route that takes a form with files."""
    extra = {"requestBody": _body(form, {name: about[name] for name in files})}
    return app.post(path, openapi_extra=extra, responses=_REFUSALS | facts.pop("gives"), **facts)


def _body(form: type[BaseModel], about: Mapping[str, str]) -> dict[str, Any]:
    """The form of a request, for OpenAPI."""
    binary = {
        name: {"type": "string", "format": "binary", "description": text}
        for name, text in about.items()
    }
    properties = {**binary, **form.model_json_schema()["properties"]}
    schema = {"type": "object", "required": ["first"], "properties": properties}
    return {"required": True, "content": {"multipart/form-data": {"schema": schema}}}


def _add_state(app: FastAPI, settings: Settings, networks: Networks, monitor: Monitor) -> None:
    clips = {
        "network": networks.for_clips,
        "max_file_bytes": settings.clip_bytes,
        "max_frames": settings.max_clip_frames,
        "max_pixels": settings.clip_pixels,
        "seconds": settings.clip_seconds,
    }

    @app.get("/v1/networks", summary="List the networks")
    async def listed() -> dict[str, Any]:
        """The networks that are offered, the default first, and the limits of uploads.

        `clips` is null where clips are not taken; its `network` is the one that is fast enough for
        them. `seconds_per_megapixel` is what a network took here last, null if it was not used.
        """
        return {
            "networks": [
                {**offer.facts(), "seconds_per_megapixel": _megapixel(networks.pace.get(label))}
                for label, offer in networks.offers.items()
            ],
            "max_file_bytes": settings.file_bytes,
            "max_pixels": settings.pixels,
            "clips": clips if available() else None,
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

    @app.get(
        "/metrics",
        summary="Numbers for Prometheus",
        response_class=Response,
        responses={200: {"content": {CONTENT_TYPE: {}}}},
    )
    async def metrics() -> Response:
        """Requests, seconds, the queue, memory."""
        return Response(monitor.text(), media_type=CONTENT_TYPE)


def _megapixel(pace: float | None) -> float | None:
    return pace and round(1e6 * pace, 3)


def _add_pages(app: FastAPI) -> None:
    """Files are found by their name in a table; no path of a request reaches the file system."""
    files = assets.server_files()
    for path, name in {"/": "index.html", **{f"/{name}": name for name in files}}.items():
        app.add_api_route(path, _asset(files[name], name), include_in_schema=False)


def _asset(content: bytes, name: str) -> Callable[[], Awaitable[Response]]:
    kind = assets.media_type(name)

    async def given() -> Response:
        return Response(content, media_type=kind, headers={"Cache-Control": "no-cache"})

    return given


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
