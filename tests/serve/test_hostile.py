"""What hostile clients send: refused with a sentence, quickly, and the service goes on."""

import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tifffile
from image_bytes import chunk, encoded, noise, pages
from PIL import Image
from serving import Slow, served, wait_for
from thermal_bytes import Overlay, flir_jpeg, photo_records, raw_record, scene

from cddfuse.runtime.peak import peak_bytes, reset_peak
from cddfuse.serve.networks import Networks

GREY = encoded(noise(48, 64), "PNG")


def fused(client: httpx.Client, first: bytes, second: bytes = GREY, **data: str) -> httpx.Response:
    return client.post("/v1/fuse", files={"first": first, "second": second}, data=data)


def bomb(width: int, height: int) -> bytes:
    """A PNG of any size in a few kilobytes."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = zlib.compress(bytes(10**6), 9)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def tiff_of(width: int, height: int, data: bytes, **tags: int) -> bytes:
    full = {256: width, 257: height, 258: 8, 259: 1, 262: 1, 277: 1, 278: height, 279: len(data)}
    full |= {int(name[3:]): value for name, value in tags.items()}
    return pages([({tag: [value] for tag, value in full.items()}, data)])


def float_tiff(value: float) -> bytes:
    stream = BytesIO()
    image = np.full((48, 64), 0.5, np.float32)
    image[3, 4] = value
    tifffile.imwrite(stream, image)
    return stream.getvalue()


def frames(form: str, **options: object) -> bytes:
    stream = BytesIO()
    first, *rest = (Image.fromarray(noise(48, 64 + 0 * n)) for n in range(3))
    rest = [picture.transpose(Image.Transpose.FLIP_TOP_BOTTOM) for picture in rest]
    first.save(stream, form, save_all=True, append_images=rest, **options)
    return stream.getvalue()


def deep_jpeg() -> bytes:
    import imagecodecs

    return bytes(imagecodecs.jpeg_encode(noise(48, 64, bits=16) >> 4, bitspersample=12))


CASES: dict[str, tuple[Callable[[], bytes], int]] = {
    "text": (lambda: b"hello", 415),
    "empty": (lambda: b"", 415),
    "one byte": (lambda: b"\x89", 415),
    "truncated PNG": (lambda: GREY[:60], 415),
    "truncated JPEG": (lambda: encoded(noise(48, 64), "JPEG")[:300], 415),
    "truncated TIFF": (lambda: encoded(noise(48, 64), "TIFF")[:3000], 415),
    "SVG": (lambda: b'<svg xmlns="http://www.w3.org/2000/svg"/>', 415),
    "HTML": (lambda: b"<html><script>alert(1)</script></html>", 415),
    "EPS": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", 415),
    "PDF": (lambda: b"%PDF-1.4\n", 415),
    "GIF, which is not on the list": (lambda: encoded(noise(48, 64), "GIF"), 415),
    "JPEG 2000, which is not on the list": (lambda: encoded(noise(48, 64), "JPEG2000"), 415),
    "DICOM": (lambda: bytes(128) + b"DICM" + bytes(100), 415),
    "zip": (lambda: b"PK\3\4" + bytes(100), 415),
    "bomb that no decoder takes": (lambda: bomb(60000, 60000), 415),
    "bomb": (lambda: bomb(20000, 20000), 413),
    "just too many pixels": (lambda: bomb(501, 500), 413),
    "no width": (lambda: bomb(0, 500), 415),
    "JPEG of 12 bits": (deep_jpeg, 415),
    "several pages": (lambda: frames("TIFF"), 415),
    "animated PNG": (lambda: frames("PNG"), 415),
    "animated WebP": (lambda: frames("WEBP"), 415),
    "huge tiles": (lambda: tiff_of(64, 48, bytes(9), tag322=65536, tag323=65536), 413),
    "many channels": (lambda: tiff_of(64, 48, bytes(64 * 48), tag277=60000), 415),
    "rare compression": (lambda: tiff_of(64, 48, bytes(64 * 48), tag259=50001), 415),
    "loop of directories": (lambda: b"II*\0\x08\0\0\0" + struct.pack("<HI", 0, 8), 415),
    "NaN": (lambda: float_tiff(float("nan")), 422),
    "infinite": (lambda: float_tiff(float("inf")), 422),
    "other size": (lambda: encoded(noise(48, 65), "PNG"), 422),
    "one pixel": (lambda: encoded(noise(1, 1), "PNG"), 422),
}


@pytest.mark.parametrize("name", CASES)
def test_files_are_refused_with_a_sentence(client: httpx.Client, name: str) -> None:
    make, status = CASES[name]
    started = time.monotonic()
    answer = fused(client, make())
    assert answer.status_code == status, answer.text
    detail = answer.json()["detail"]
    assert detail.endswith(".")
    assert "first image" in detail
    assert "/" not in detail.replace("1/", "")
    assert time.monotonic() - started < 30  # not a measurement: decoding a bomb takes minutes


def test_every_size_is_fused(client: httpx.Client) -> None:
    for height, width in ((1, 1), (2, 2), (1, 300), (500, 500)):
        image = encoded(noise(height, width), "PNG")
        answer = fused(client, image, image, network="laplacian")
        assert Image.open(BytesIO(answer.content)).size == (width, height)


def test_a_strip_that_inflates_takes_no_memory(client: httpx.Client) -> None:
    """100 MB of zeros where 3 kB are meant."""
    body = zlib.compress(bytes(10**8), 9)
    reset_peak()
    before = peak_bytes()
    answer = fused(client, tiff_of(64, 48, body, tag259=8))
    assert answer.status_code in (200, 415)
    assert peak_bytes() - before < 60e6


def test_photo_in_a_photo_is_limited_too(client: httpx.Client) -> None:
    photo = photo_records(bomb(20000, 20000), Overlay(1.0))
    file = flir_jpeg({1: raw_record(scene()), **photo})
    assert client.post("/v1/fuse", files={"first": file}).status_code == 413


def test_names_are_not_looked_at(client: httpx.Client, tmp_path: Path) -> None:
    for name in ("../../etc/passwd", "a\0b.exe", "x" * 3000, "CON", "<script>.png", "a.svg"):
        given: dict[str, Any] = {"first": (name, GREY, "text/html"), "second": (name, GREY)}
        answer = client.post("/v1/fuse", files=given)
        assert answer.status_code == 200
        assert answer.headers["content-disposition"] == 'inline; filename="fused.png"'


def test_no_path_of_a_request_reaches_the_disk(client: httpx.Client) -> None:
    port = client.base_url.port
    assert port is not None
    for path in ("/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "//etc/passwd", "/page.js%00"):
        answer = raw(port, f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert b" 404 " in answer.split(b"\r\n")[0]


def raw(port: int, data: bytes, wait: float = 20) -> bytes:
    """What is answered to bytes, up to the end of the headers."""
    with socket.create_connection(("127.0.0.1", port), timeout=wait) as connection:
        connection.sendall(data)
        answer = b""
        while b"\r\n\r\n" not in answer and (more := connection.recv(4096)):
            answer += more
    return answer


def test_requests_that_are_too_large(client: httpx.Client) -> None:
    assert fused(client, b"x" * 1_000_001).status_code == 413  # one file
    assert fused(client, b"x" * 4_000_000).status_code == 413  # before it is read


def test_requests_without_a_length(client: httpx.Client) -> None:
    kind = {"content-type": "multipart/form-data; boundary=a"}
    chunks = (b"x" for _ in range(3))
    assert client.post("/v1/fuse", content=chunks, headers=kind).status_code == 411
    port = client.base_url.port
    assert port is not None
    both = b"Content-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n"  # chunks would count
    answer = raw(port, b"POST /v1/fuse HTTP/1.1\r\nHost: localhost\r\n" + both)
    assert b" 411 " in answer.split(b"\r\n")[0]


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"{}", "application/json", 415),
        (b"first=1", "application/x-www-form-urlencoded", 415),
        (b"", "multipart/form-data", 415),
        (b"", "multipart/form-data; boundary=a", 422),
        (b"nonsense", "multipart/form-data; boundary=a", 422),
        (b"--a\r\nno colon here\r\n\r\n", "multipart/form-data; boundary=a", 422),
        (b"--a\r\n\r\nno name\r\n--a--\r\n", "multipart/form-data; boundary=a", 422),
        (
            b'--a\r\ncontent-disposition: form-data; name="first"\r\n\r\nx',
            "multipart/form-data; boundary=a",
            422,
        ),
        (b"--a\r\n" + b"x" * 9000 + b": y\r\n", "multipart/form-data; boundary=a", 422),
        (b"nonsense", "multipart/form-data; boundary=" + "a" * 300, 422),
        (b"\xff\xfe" * 50, "multipart/form-data; boundary=\xe4".encode("latin-1"), 422),
    ],
)
def test_forms_that_are_none(
    client: httpx.Client, content: bytes, kind: str | bytes, status: int
) -> None:
    header = kind if isinstance(kind, bytes) else kind.encode()
    answer = client.post("/v1/fuse", content=content, headers={b"content-type": header})
    assert answer.status_code == status
    assert answer.json()["detail"].endswith(".")


def test_fields_that_are_wrong(client: httpx.Client) -> None:
    both = {"first": GREY, "second": GREY}
    post = client.post
    assert post("/v1/fuse", files={"second": GREY}).json()["field"] == "first"
    assert post("/v1/fuse", files={"first": GREY}).json()["field"] == "second"
    for field, value in (
        ("colour", "red"),
        ("stretch", "perhaps"),
        ("format", "exe"),
        ("bits", "12"),
        ("range", "9:1"),
        ("range", "x" * 300),
        ("network", "../cddfuse"),
        ("network", "cddfuse=/etc/passwd"),
    ):
        answer = post("/v1/fuse", files=both, data={field: value})
        assert (answer.status_code, answer.json()["field"]) == (422, field)
        assert "passwd" not in answer.text
    unknown = post("/v1/fuse", files=both, data={"url": "http://169.254.169.254/"})
    assert unknown.status_code == 422
    assert "there is no field url" in unknown.json()["detail"]
    twice = [("first", GREY), ("first", GREY), ("second", GREY)]
    assert "twice" in post("/v1/fuse", files=twice).json()["detail"]
    assert post("/v1/fuse", files=both, data={"range": "x" * 5000}).status_code == 413
    many = {f"field{n}": "1" for n in range(50)}
    assert "more than" in post("/v1/fuse", files=both, data=many).json()["detail"]
    assert post("/v1/features", files=both, data={"size": "100000"}).json()["field"] == "size"


def test_headers_of_every_answer(client: httpx.Client) -> None:
    answers = [client.get("/"), client.get("/nothing"), client.get("/healthz"), fused(client, b"x")]
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'")
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert "server" not in answer.headers


def test_other_hosts_and_sites_are_refused(client: httpx.Client) -> None:
    assert client.get("/", headers={"host": "evil.example"}).status_code == 421
    assert client.get("/", headers={"host": "localhost:80"}).status_code == 200
    site = {"sec-fetch-site": "cross-site"}
    both = {"first": GREY, "second": GREY}
    assert client.post("/v1/fuse", files=both, headers=site).status_code == 403
    assert client.post("/v1/fuse", files=both, headers={"sec-fetch-site": "same-origin"}).is_success
    neighbour = {"sec-fetch-site": "same-site"}  # another port of this computer
    assert client.post("/v1/fuse", files=both, headers=neighbour).status_code == 403
    for refused in (client.put("/v1/fuse", content=b"x"), client.get("/v1/fuse")):
        assert refused.status_code == 405
        assert refused.json()["detail"].startswith("this is not offered here")


def test_slow_uploads_are_ended(client: httpx.Client) -> None:
    port = client.base_url.port
    assert port is not None
    head = b"POST /v1/fuse HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n"
    answer = raw(port, head + b"Content-Type: multipart/form-data; boundary=a\r\n\r\n--a\r\n")
    assert b" 408 " in answer.split(b"\r\n")[0]


def test_a_client_that_leaves_while_it_uploads_is_no_fault(
    client: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="cddfuse.serve")
    assert client.base_url.port is not None
    with socket.create_connection(("127.0.0.1", client.base_url.port)) as connection:
        kind = b"Content-Type: multipart/form-data; boundary=a\r\nContent-Length: 5000\r\n\r\n--a"
        connection.sendall(b"POST /v1/score HTTP/1.1\r\nHost: localhost\r\n" + kind)
        wait_for(lambda: "cddfuse_present 1.0" in client.get("/metrics").text)
    wait_for(lambda: "cddfuse_present 0.0" in client.get("/metrics").text)
    assert 'path="/v1/score",status="499"' in client.get("/metrics").text
    assert "failed" not in caplog.text


def test_requests_beyond_the_queue_are_told_when_to_come_again(
    slow: tuple[Slow, Networks],
) -> None:
    model, networks = slow
    with served(networks, waiting=2, jobs=1) as client:
        answers: list[httpx.Response] = []
        threads = [
            threading.Thread(target=lambda: answers.append(fused(client, GREY))) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        wait_for(lambda: len(answers) == 5)
        assert client.get("/healthz").status_code == 200
        assert "cddfuse_present 3.0" in client.get("/metrics").text
        model.go.set()
        for thread in threads:
            thread.join()
        assert sorted(x.status_code for x in answers) == [200] * 3 + [503] * 5
        assert all(int(x.headers["retry-after"]) >= 1 for x in answers if x.status_code == 503)
        assert fused(client, GREY).status_code == 200
        assert model.runs == 4


@pytest.mark.parametrize("path", ["/v1/fuse", "/v1/fuse/events"])
def test_work_ends_when_the_client_leaves(slow: tuple[Slow, Networks], path: str) -> None:
    model, networks = slow
    with served(networks) as client:
        with (
            pytest.raises(httpx.ReadTimeout),
            client.stream(
                "POST", path, files={"first": GREY, "second": GREY}, timeout=0.7
            ) as answer,
        ):
            answer.read()
        wait_for(lambda: "cddfuse_running 0.0" in client.get("/metrics").text)
        assert model.steps > 0
        assert f'path="{path}",status="499"' in client.get("/metrics").text
        model.go.set()
        assert fused(client, GREY).status_code == 200
        assert "cddfuse_present 0.0" in client.get("/metrics").text


def test_work_ends_when_its_time_is_up(slow: tuple[Slow, Networks]) -> None:
    model, networks = slow
    with served(networks, seconds=0.3) as client:
        assert fused(client, GREY).status_code == 504
        wait_for(lambda: "cddfuse_running 0.0" in client.get("/metrics").text)
        model.go.set()
        assert fused(client, GREY).status_code == 200


def test_work_that_the_end_of_the_program_ends_is_told(
    slow: tuple[Slow, Networks], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("cddfuse.serve.running._LAST_SECONDS", 1)
    model, networks = slow
    answers: list[httpx.Response] = []
    with httpx.Client(timeout=60) as other:
        with served(networks) as client:
            other.base_url = client.base_url
            thread = threading.Thread(target=lambda: answers.append(fused(other, GREY)))
            thread.start()
            wait_for(lambda: model.runs == 1)
        thread.join()
    assert answers[0].status_code == 503
    assert answers[0].json()["detail"].startswith("the service is being ended")
    assert "Traceback" not in caplog.text


def test_a_fault_of_ours_is_500_without_details(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*arguments: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr("cddfuse.serve.work.Worker.fused_file", fail)
    with served() as client:
        answer = fused(client, GREY)
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert answer.headers["x-frame-options"] == "DENY"
    assert "secret" in caplog.text  # the log has it


def test_the_log_says_nothing_of_what_was_sent(
    client: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    caplog.set_level("INFO", logger="cddfuse.serve")
    given = {"first": ("Doe^John.png", GREY), "second": ("b.png", b"Doe^John")}
    client.post("/v1/fuse?patient=Doe^John", files=given, headers={"referer": "http://a/Doe^John"})
    client.get("/Doe^John")
    ours = [x for x in caplog.records if not x.name.startswith(("httpx", "httpcore"))]
    assert any("/v1/fuse 415" in x.getMessage() for x in ours)
    assert not [x for x in ours if "Doe" in x.getMessage()]


def test_nothing_is_written(
    client: httpx.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Larger than what form parsers keep in memory."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))  # writing there fails
    large = encoded(noise(500, 500, 3), "BMP")
    assert len(large) > 700_000
    assert fused(client, large, large).status_code == 200
