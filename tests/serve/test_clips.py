"""Clips through the API: what `fuse` gives, within limits, whatever is sent."""

import base64
import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest

av = pytest.importorskip("av")

from clip_bytes import clip, decoded_here, moving, shown, sound  # noqa: E402
from serving import Slow, served, wait_for  # noqa: E402

from cddfuse.history import History  # noqa: E402
from cddfuse.io.formats import Reading, Writing, open_sink, open_source  # noqa: E402
from cddfuse.io.video import sealed_reader  # noqa: E402
from cddfuse.io.video.settings import ClipReading  # noqa: E402
from cddfuse.io.video.writer import CODECS  # noqa: E402
from cddfuse.models import create_model  # noqa: E402
from cddfuse.pipeline import Options, fuse_all  # noqa: E402
from cddfuse.serve.networks import Networks  # noqa: E402

LIMITS: dict[str, Any] = {
    "max_clip_frames": 40,
    "max_clip_megapixels": 0.01,
    "max_clip_megabytes": 5.0,
}
VISIBLE, INFRARED = clip(moving(8, colour=True)), clip(moving(8))


@pytest.fixture(scope="module")
def confined() -> Iterator[httpx.Client]:
    """The service, with processes that decode.

    Its H.264, and that of these tests, is written without x264's assembly, with which the lookahead
    of x264 chooses otherwise for the same frames, in one of seven runs.
    """
    h264 = CODECS["h264"]._replace(options={"x264-params": "no-asm=1"})
    with pytest.MonkeyPatch.context() as patch, served(**LIMITS) as client:
        patch.setitem(CODECS, "h264", h264)
        yield client


@pytest.fixture
def service(confined: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> httpx.Client:
    """The service without them, which is faster."""
    monkeypatch.setattr("cddfuse.io.video.sealed_stream._messages", decoded_here)
    return confined


def fused(
    client: httpx.Client, first: bytes, second: bytes | None = INFRARED, **data: Any
) -> httpx.Response:
    files = {"first": first, **({} if second is None else {"second": second})}
    return client.post("/v1/fuse/clip", files=files, data=data)


def by_library(folder: Path, network: str, layout: Any = None, **options: Any) -> bytes:
    """What `cddfuse fuse` makes of the files a.mkv and b.mkv, or of the first alone."""
    paths = [folder / name for name in ("a.mkv", "b.mkv")]
    reading = Reading(clip=ClipReading(layout=layout))
    source = open_source(paths[0], None if layout else paths[1], reading)
    sink = open_sink(source, Writing(folder / "fused.mp4"))
    how = Options(history=History(), **options)
    fuse_all(create_model(network), source, sink, how)
    return (folder / "fused.mp4").read_bytes()


@pytest.mark.parametrize(
    ("network", "fields"), [("mean", {}), ("laplacian", {"stretch": "true", "colour": "grey"})]
)
def test_fused_is_what_fuse_gives(
    confined: httpx.Client, tmp_path: Path, network: str, fields: dict[str, Any]
) -> None:
    """Byte for byte, which includes that it does not flicker."""
    (tmp_path / "a.mkv").write_bytes(VISIBLE)
    (tmp_path / "b.mkv").write_bytes(INFRARED)
    answer = fused(confined, VISIBLE, network=network, **fields)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "video/mp4")
    options = {"stretch": "stretch" in fields, "colour": fields.get("colour", "ycbcr")}
    assert answer.content == by_library(tmp_path, network, **options)
    assert "cddfuse-notes" not in answer.headers
    with av.open(BytesIO(answer.content)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (stream.frames, stream.width, stream.height) == (8, 64, 48)
    assert answer.content.index(b"moov") < answer.content.index(b"mdat")


@pytest.mark.parametrize("layout", ["side-by-side", "stacked-swapped"])
def test_one_clip_holds_both_sides(service: httpx.Client, tmp_path: Path, layout: str) -> None:
    axis = 1 if layout.startswith("side") else 0
    sides = (moving(4), [255 - image for image in moving(4)])
    both = clip([np.concatenate(pair, axis) for pair in zip(*sides, strict=True)])
    (tmp_path / "a.mkv").write_bytes(both)
    answer = fused(service, both, None, layout=layout, network="max")
    assert answer.content == by_library(tmp_path, "max", layout)
    alone = fused(service, both, None)
    assert (alone.status_code, alone.json()["field"]) == (422, "second")
    twice = fused(service, both, both, layout=layout)
    assert (twice.status_code, twice.json()["field"]) == (422, "layout")


def test_every_container_and_codec_of_the_list(service: httpx.Client) -> None:
    images = moving(3)
    for container, codec in (("mp4", "libx264"), ("webm", "libvpx"), ("avi", "mpeg4")):
        sent = clip(images, container, codec, "yuv420p")
        answer = fused(service, sent, sent)
        assert answer.status_code == 200, answer.text
        middle = shown(answer.content)[1].mean(2)
        assert np.abs(middle - images[1]).mean() < 12, codec


def test_events_follow_the_frames(service: httpx.Client) -> None:
    sent = {"first": VISIBLE, "second": INFRARED}
    answer = service.post("/v1/fuse/clip/events", files=sent, data={"network": "max"})
    *before, last = map(json.loads, answer.text.splitlines())
    assert last["state"] == "done"
    assert (last["frames"], last["width"], last["network"]) == (8, 64, "max")
    assert last["notes"] == []
    assert len(shown(base64.b64decode(last["fused"]))) == 8
    assert {event["state"] for event in before} <= {"waiting", "working"}
    other = {"first": VISIBLE, "second": clip(moving(2, (32, 64)))}
    last = json.loads(service.post("/v1/fuse/clip/events", files=other).text.splitlines()[-1])
    assert (last["state"], last["status"], last["field"]) == ("failed", 422, "resize")
    assert "the first clip is 64x48 and the second clip is 64x32" in last["detail"]


def test_share_grows_with_frames() -> None:
    from cddfuse.serve.clips import _Watch
    from cddfuse.serve.queue import Job
    from cddfuse.serve.refusal import RefusedError

    job = Job()
    watch = _Watch(job, 4, 10)
    watch.after_frame("0")
    watch.within_frame(0.5)
    assert (job.share, job.frame, job.frames) == (0.375, 1, 4)
    watch.written.write(bytes(11))
    with pytest.raises(RefusedError, match="cut the clips"):
        watch.after_frame("1")


def playlist(*lines: str) -> Callable[[], bytes]:
    return lambda: "\n".join(lines).encode()


def reference() -> bytes:
    """A MOV whose frames lie in another file."""
    data = clip(moving(2), "mov", "mjpeg", "yuvj420p")
    inside = b"url \0\0\0\1"
    assert data.count(inside) == 1
    return data.replace(inside, b"url \0\0\0\0")


HOSTILE: dict[str, tuple[Callable[[], bytes], int]] = {
    "text": (lambda: b"hello", 415),
    "empty": (lambda: b"", 415),
    "an image": (lambda: b"\x89PNG\r\n\x1a\n" + bytes(50), 415),
    "AVIF": (lambda: b"\0\0\0\x1cftypavif" + bytes(50), 415),
    "list of a file": (playlist("ffconcat version 1.0", "file /etc/passwd"), 415),
    "list of an address": (playlist("#EXTM3U", "#EXTINF:1,", "http://127.0.0.1:9/a.ts"), 415),
    "session description": (playlist("v=0", "c=IN IP4 127.0.0.1", "m=video 9 RTP/AVP 96"), 415),
    "a list with the start of MP4": (lambda: b"\0\0\0\x18ftypmp42#EXTM3U\nfile:///etc/passwd", 415),
    "no index": (lambda: clip(moving(8), "mp4", "libx264", "yuv420p")[:3000], 415),
    "no video": (sound, 415),
    "codec that is not on the list": (lambda: clip(moving(2), "avi", "rawvideo"), 415),
    "container that is not on the list": (lambda: clip(moving(2), "flv", "flv", "yuv420p"), 415),
    "frames of other sizes": (
        lambda: clip(
            moving(4),
            "avi",
            "mjpeg",
            "yuvj420p",
            more=clip(moving(4, (32, 32)), "avi", "mjpeg", "yuvj420p"),
        ),
        415,
    ),
    "100,000 frames": (
        lambda: clip(moving(2, (16, 32)), "avi", "mpeg4", "yuv420p", copies=100_000),
        413,
    ),
    "one frame too many": (lambda: clip(moving(41)), 413),
    "too many pixels": (lambda: clip(moving(2, (100, 102))), 413),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_clips_are_refused(service: httpx.Client, name: str) -> None:
    make, status = HOSTILE[name]
    answer = fused(service, make(), network="mean")
    assert answer.status_code == status, answer.text
    detail = answer.json()["detail"]
    assert detail.startswith("the first clip")
    assert detail.endswith(".")
    assert "/" not in detail
    assert "passwd" not in detail


def test_files_that_a_clip_refers_to_are_not_opened(service: httpx.Client) -> None:
    """The reference is left out, or the clip refused; what is not here is never asked for."""
    answer = fused(service, reference(), clip(moving(2)))
    assert answer.status_code in (200, 415)


def test_what_is_too_large_and_which_clip_is_wrong(service: httpx.Client) -> None:
    assert fused(service, bytes(5_000_001)).status_code == 413
    assert fused(service, bytes(12_000_000)).status_code == 413  # before it is read
    second = fused(service, INFRARED, b"#EXTM3U")
    assert second.json()["detail"].startswith("the second clip is none of MP4")
    image = {"first": bytes(4_000_000), "second": b"x"}
    assert service.post("/v1/fuse", files=image).status_code == 413  # images have their own limit


def test_what_a_cut_clip_holds_is_fused_and_the_rest_is_said(service: httpx.Client) -> None:
    whole = clip(moving(40))
    answer = fused(service, whole[: len(whole) // 2], whole)
    assert answer.status_code == 200
    assert 10 < len(shown(answer.content)) < 30
    assert "the first clip: it ends after" in answer.headers["cddfuse-notes"]


def test_clips_of_different_lengths(service: httpx.Client) -> None:
    answer = fused(service, clip(moving(40)), INFRARED)
    assert answer.status_code == 200
    count = len(shown(answer.content))
    assert 8 <= count < 40
    assert f"{40 - count} of 40 frames have no partner" in answer.headers["cddfuse-notes"]
    apart = fused(service, VISIBLE, offset="100")
    assert (apart.status_code, apart.json()["field"]) == (422, "offset")
    assert "/" not in apart.json()["detail"]


def test_fields_that_are_wrong(service: httpx.Client) -> None:
    wrong: dict[str, Any] = {
        "layout": "round",
        "offset": "nan",
        "network": "../a",
        "range": "9:1",
        "colour": "red",
    }
    for field, value in wrong.items():
        answer = fused(service, VISIBLE, **{field: value})
        assert (answer.status_code, answer.json()["field"]) == (422, field)


def test_the_process_that_decodes_opens_nothing() -> None:
    """No file and no connection; run as it is, without the package."""
    program = """
import runpy, socket, sys
from types import SimpleNamespace
reader = runpy.run_path(sys.argv[1])
reader["_confine"](SimpleNamespace(data=b"", pixels=1))
for attempt in (lambda: open("/etc/passwd"), socket.socket, lambda: bytearray(2**33)):
    try:
        attempt()
    except (OSError, MemoryError) as error:
        print(type(error).__name__)
"""
    pytest.importorskip("resource")
    command = [sys.executable, "-c", program, sealed_reader.__file__]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["OSError", "OSError", "MemoryError"], done.stderr


@pytest.mark.parametrize("program", ["raise SystemExit", "print('{}')", "import os; os.abort()"])
def test_a_decoder_that_fails_ends_no_service(
    confined: httpx.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    (tmp_path / "reader.py").write_text(program)
    monkeypatch.setattr(sealed_reader, "__file__", str(tmp_path / "reader.py"))
    answer = fused(confined, VISIBLE)
    assert answer.status_code == 415
    assert "its decoder has ended" in answer.json()["detail"]


@pytest.mark.parametrize("path", ["/v1/fuse/clip", "/v1/fuse/clip/events"])
def test_work_ends_when_the_client_leaves(slow: tuple[Slow, Networks], path: str) -> None:
    model, networks = slow
    with served(networks, **LIMITS) as client:
        sent = {"first": VISIBLE, "second": INFRARED}
        leave_when(lambda: model.steps > 0, client, path, sent)
        wait_for(lambda: "cddfuse_running 0.0" in client.get("/metrics").text)
        assert model.runs == 1
        wait_for(lambda: "cddfuse_present 0.0" in client.get("/metrics").text)
        model.go.set()


def test_decoding_ends_when_the_client_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "reader.py").write_text("import time; time.sleep(600)")
    with served(**LIMITS) as client:
        with monkeypatch.context() as patch:
            patch.setattr(sealed_reader, "__file__", str(tmp_path / "reader.py"))
            leave_when(decoding, client, "/v1/fuse/clip", {"first": VISIBLE, "second": INFRARED})
            wait_for(lambda: "cddfuse_running 0.0" in client.get("/metrics").text)
        assert not decoding()
        assert fused(client, VISIBLE).status_code == 200


def decoding() -> bool:
    """Whether this process has one that decodes."""
    children = psutil.Process().children()
    return any("reader.py" in " ".join(child.cmdline()) for child in children)


def leave_when(
    condition: Callable[[], bool], client: httpx.Client, path: str, files: dict[str, bytes]
) -> None:
    """Ask for something, and close the connection when something is so."""
    request = client.build_request("POST", path, files=files)
    body = request.read()
    lines = [
        f"POST {path} HTTP/1.1",
        *(f"{name}: {value}" for name, value in request.headers.items()),
    ]
    with socket.create_connection((client.base_url.host, client.base_url.port)) as connection:
        connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        wait_for(condition)


def test_time_limit_is_that_of_clips(slow: tuple[Slow, Networks]) -> None:
    model, networks = slow
    with served(networks, **LIMITS, seconds=0.01, clip_seconds=2.0) as client:
        late = fused(client, VISIBLE)
        assert (late.status_code, "2 s" in late.json()["detail"]) == (504, True)
        model.go.set()


def test_nothing_is_written_and_no_name_is_used(
    confined: httpx.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))  # writing there fails
    monkeypatch.chdir(tmp_path)
    named: dict[str, Any] = {
        "first": ("../../etc/passwd.m3u8", VISIBLE, "text/html"),
        "second": ("http://a/b.mp4", INFRARED),
    }
    answer = confined.post("/v1/fuse/clip", files=named)
    assert answer.status_code == 200
    assert answer.headers["content-disposition"] == 'inline; filename="fused.mp4"'
    assert list(tmp_path.iterdir()) == []


def test_what_is_offered(service: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    fused(service, clip(moving(2, (98, 102))), clip(moving(2, (98, 102))))
    clips = service.get("/v1/networks").json()["clips"]
    assert clips == {
        "network": None,
        "max_file_bytes": 5_000_000,
        "max_frames": 40,
        "max_pixels": 10_000,
        "seconds": 600,
    }
    monkeypatch.setattr("cddfuse.serve.clips.find_spec", lambda name: None)
    assert service.get("/v1/networks").json()["clips"] is None
    refused = fused(service, VISIBLE)
    assert refused.status_code == 501
    assert "cddfuse[video]" in refused.json()["detail"]


def test_the_small_network_is_for_clips(monkeypatch: pytest.MonkeyPatch) -> None:
    model = create_model("cddfuse_small")  # at random: weights are no matter here
    monkeypatch.setattr("cddfuse.serve.networks.load_network", lambda *a, **k: model)
    networks = Networks(["mean", "cddfuse_small=ivf"])
    assert networks.for_clips == "cddfuse_small=ivf"
    networks.prepare()
    assert set(networks.pace) == {"mean", "cddfuse_small=ivf"}
    assert all(0 < 1e6 * pace < 1000 for pace in networks.pace.values())
    assert Networks(["mean"]).for_clips is None
