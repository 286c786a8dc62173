"""Damaged files and requests through the application of `cddfuse serve`, in this process."""

import json
from functools import cache
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import quote

from fastapi.testclient import TestClient
from fuzz.promises import require, require_whole

from cddfuse.errors import InputError
from cddfuse.serve import Settings, create_app
from cddfuse.serve.networks import Networks

_HOST = "http://127.0.0.1"
_STATUSES = {200, 404, 405, 408, 411, 413, 415, 422}
_SUFFIXES = {"image/png": ".png", "image/tiff": ".tif", "image/jpeg": ".jpg"}
_NETWORKS = ("mean", "max", "laplacian")
_RANGES = ("", "full", "minmax", "percentile:2", "10:200", "second=0:300", "10:40C", "first=auto")


@cache
def _application() -> Any:
    settings = Settings(networks=_NETWORKS, max_megabytes=1, max_megapixels=0.25)
    networks = Networks(settings.networks, "cpu")
    networks.prepare()
    return create_app(settings, networks)


def send_file(path: Path, sound: bytes, random: Random) -> None:
    """Send a damaged image in a sound request; raises what the service says if it refuses.

    Args:
        path: of the damaged image; results go to its folder.
        sound: image that is sent beside it.
        random: chooses route and fields.
    """
    route = random.choice(("fuse", "fuse", "fuse/events", "score", "features"))
    names = ["first", "second", *(["fused"] if route == "score" else [])]
    files = {name: sound for name in names if random.random() < 0.9}
    files[random.choice(names)] = path.read_bytes()
    with TestClient(_application(), base_url=_HOST) as client:
        _take(client.post(f"/v1/{route}", files=files, data=_fields(route, random)), path.parent)


def _fields(route: str, random: Random) -> dict[str, str]:
    networks = ("laplacian",) if route == "features" else _NETWORKS
    found = {
        "network": random.choice(networks),
        "range": random.choice(_RANGES),
        "resize": random.choice(("true", "false")),
    }
    if route == "score":
        found["metrics"] = "EN SD MI"
    if route != "features":
        found["colour"] = random.choice(("ycbcr", "lab", "per-channel", "grey"))
    if route == "fuse":
        found |= {"format": random.choice(("png", "tiff", "jpeg")), "bits": random.choice("8a")}
        found["bits"] = {"a": "auto"}.get(found["bits"], found["bits"])
    return found


def send_request(path: Path) -> None:
    """Send a damaged request, whose first lines are its method and path and its type."""
    first, kind, body = (*path.read_bytes().split(b"\n", 2), b"", b"")[:3]
    method, _, place = first.decode("latin-1").partition(" ")
    method = method if method.isascii() and method.isalpha() else "POST"
    url = f"/{quote(place.lstrip('/'))}"
    headers = {b"content-type": kind.replace(b"\r", b"").replace(b"\0", b"")}
    with TestClient(_application(), base_url=_HOST) as client:
        _take(client.request(method, url, content=body, headers=headers), path.parent)


def _take(answer: Any, room: Path) -> None:
    """Check an answer; raises what the service says if it refuses."""
    require(answer.status_code in _STATUSES, f"answers {answer.status_code}: {answer.text[:200]}")
    if answer.status_code != 200:
        raise InputError(answer.json()["detail"])
    kind = answer.headers["content-type"]
    if kind == "application/x-ndjson":
        last = json.loads(answer.text.splitlines()[-1])
        require(last["state"] in ("done", "failed"), f"the last line is {last['state']}")
        if last["state"] == "failed":
            require(last["status"] in _STATUSES, f"a line says {last['status']}")
            raise InputError(last["detail"])
    elif kind in _SUFFIXES:
        (room / "out").mkdir()
        (room / "out" / f"fused{_SUFFIXES[kind]}").write_bytes(answer.content)
        require_whole(room / "out")


def requests(image: bytes) -> dict[str, bytes]:
    """Sound requests for all routes."""
    forms = {
        "fuse": (("first", "second"), {"network": "mean", "range": "10:200", "format": "tiff"}),
        "fuse/events": (("first", "second"), {"resize": "true", "colour": "lab"}),
        "score": (("first", "second", "fused"), {"metrics": "EN SD", "profile": "paper"}),
        "features": (("first", "second"), {"network": "laplacian", "size": "64"}),
    }
    found = {"list.http": b"GET /v1/networks\n\n", "page.http": b"GET /app.js\n\n"}
    for route, (files, fields) in forms.items():
        parts = [(f'{name}"; filename="a.png', image) for name in files]
        parts += [(name, value.encode()) for name, value in fields.items()]
        head = f"POST /v1/{route}\nmultipart/form-data; boundary=line\n".encode()
        found[f"{route.replace('/', '_')}.http"] = head + _multipart(parts)
    return found


def _multipart(parts: list[tuple[str, bytes]]) -> bytes:
    begin = b'--line\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
    return b"".join(begin % (name.encode(), data) for name, data in parts) + b"--line--\r\n"
