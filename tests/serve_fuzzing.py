"""Mutated files and forms through a running service: no answer of 500, and memory that stays flat.

    PYTHONPATH=src:tests python tests/serve_fuzzing.py --files 10000 --seed 1

    PYTHONPATH=src:tests python tests/serve_fuzzing.py --files 1000 --clips

`tests/serve/test_fuzzed.py` runs a share of it with a fixed seed.
"""

import argparse
import random
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from typing import Any

import httpx
import numpy as np
import psutil
import tifffile
from image_bytes import encoded, exif, noise
from PIL import Image
from serving import served
from thermal_bytes import (
    Overlay,
    camera_record,
    dji_jpeg,
    flir_jpeg,
    photo_records,
    raw_record,
    scene,
)

Ask = Callable[[httpx.Client, random.Random], httpx.Response]

EXPECTED = {200, 408, 413, 415, 422}
SIZE = (24, 32)
_VALUES = (0, 1, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1)
_BOUNDARY = b"a-line-between"


def seeds() -> list[bytes]:
    """Small files of every format and layout that is taken."""
    grey, colour, deep = noise(*SIZE), noise(*SIZE, 3), noise(*SIZE, bits=16)
    palette = Image.fromarray(colour).convert("P")
    photo = photo_records(encoded(noise(48, 64, 3), "JPEG"), Overlay(1.0))
    jpegs: list[dict[str, Any]] = [{}, {"progressive": True}]
    tiffs: list[dict[str, Any]] = [
        {"compression": "lzw", "predictor": True},
        {"compression": "zlib", "tile": (16, 16)},
        {"compression": "packbits", "byteorder": ">"},
        {"bigtiff": True},
        {"rowsperstrip": 5},
    ]
    return [
        *(encoded(x, "PNG") for x in (grey, colour, deep, palette)),
        encoded(colour, "PNG", exif=exif(tag274=6), icc_profile=b"none"),
        *(encoded(x, "JPEG", **y) for x in (grey, colour) for y in jpegs),
        encoded(colour, "JPEG", exif=exif(tag274=8), dpi=(72, 72)),
        *(encoded(colour, "WEBP", lossless=x, exif=exif()) for x in (True, False)),
        *(encoded(x, "BMP") for x in (grey, colour)),
        *(_tiff(x, **y) for x in (grey, colour, deep) for y in tiffs),
        _tiff((grey / 255).astype(np.float32)),
        flir_jpeg({1: raw_record(scene(*SIZE)), 0x20: camera_record(), **photo}),
        dji_jpeg(scene(*SIZE)),
    ]


def _tiff(array: np.ndarray, **options: Any) -> bytes:
    stream = BytesIO()
    tifffile.imwrite(stream, array, **options)
    return stream.getvalue()


def mutated(data: bytes, chance: random.Random) -> bytes:
    """Data with bytes changed, and parts removed, repeated or cut off."""
    out = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        if not out:
            break
        # Headers are at the start of most formats.
        end = min(len(out), 200) if chance.random() < 0.5 else len(out)
        at, length = chance.randrange(end), chance.randint(1, 40)
        kind = chance.randrange(6)
        if kind == 0:
            out[at] = chance.randrange(256)
        elif kind == 1:
            out[at] ^= 1 << chance.randrange(8)
        elif kind == 2:
            form = chance.choice(("<I", ">I", "<H", ">H"))
            value = chance.choice(_VALUES) % 2 ** (8 * struct.calcsize(form))
            out[at : at + struct.calcsize(form)] = struct.pack(form, value)
        elif kind == 3:
            del out[at : at + length]
        elif kind == 4:
            out[at:at] = out[at : at + length]
        else:
            del out[at + length :]
    return bytes(out)


@dataclass
class Outcome:
    """What became of the requests."""

    statuses: Counter[int] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    """Requests with an answer that is none of those expected, by number."""

    slowest: float = 0.0
    grown: int = 0
    """Bytes by which the process has grown since a tenth of the requests were done."""


def campaign(client: httpx.Client, count: int, seed: int, ask: Ask | None = None) -> Outcome:
    """Send so many mutated requests; number n depends on the seed and n alone.

    Args:
        client: of the service.
        count: of requests.
        seed: of the mutations.
        ask: sends one; by default one with images.
    """
    ask, found = ask or asking_for_images(), Outcome()
    process, before = psutil.Process(), 0
    for number in range(count):
        if number == count // 10:
            before = process.memory_info().rss
        chance = random.Random(f"{seed}/{number}")
        started = time.monotonic()
        answer = ask(client, chance)
        found.slowest = max(found.slowest, time.monotonic() - started)
        found.statuses[answer.status_code] += 1
        said = answer.status_code == 200 or answer.json()["detail"].endswith(".")
        if answer.status_code not in EXPECTED or not said:
            found.faults.append(f"{number}: {answer.status_code} {answer.text[:200]}")
    found.grown = process.memory_info().rss - before
    return found


def asking_for_images() -> Ask:
    """Sends images."""
    return partial(_sent, seeds(), encoded(noise(*SIZE), "PNG"))


def asking_for_clips() -> Ask:
    """Sends clips of every container."""
    from clip_bytes import clip, moving

    images = moving(3, (32, 40))
    forms = [
        ("mp4", "libx264", "yuv420p"),
        ("mov", "mjpeg", "yuvj420p"),
        ("avi", "mpeg4", "yuv420p"),
        ("webm", "libvpx", "yuv420p"),
        ("matroska", "ffv1", "gray"),
    ]
    files = [clip(images, *form) for form in forms]
    files.append(clip(images, *forms[0], movflags="frag_keyframe+empty_moov"))

    def ask(client: httpx.Client, chance: random.Random) -> httpx.Response:
        sent = {"first": mutated(chance.choice(files), chance), "second": files[-2]}
        fields = {"network": "max", "resize": "true"}
        if chance.random() < 0.2:
            del sent["second"]
            fields["layout"] = chance.choice(("side-by-side", "stacked-swapped"))
        return client.post("/v1/fuse/clip", files=sent, data=fields)

    return ask


def _sent(
    files: list[bytes], good: bytes, client: httpx.Client, chance: random.Random
) -> httpx.Response:
    file = chance.choice(files)
    fields = {"network": chance.choice(("mean", "max")), "resize": chance.choice(("true", "false"))}
    if chance.random() < 0.1:  # the form itself
        body = mutated(_form({"first": file, "second": good}, fields), chance)
        kind = b"multipart/form-data; boundary=" + _BOUNDARY
        return client.post("/v1/fuse", content=body, headers={b"content-type": kind})
    sent = {"first": mutated(file, chance)}
    if chance.random() < 0.8:
        sent["second"] = mutated(good, chance) if chance.random() < 0.1 else good
    return client.post("/v1/fuse", files=sent, data=fields)


def _form(files: dict[str, bytes], fields: dict[str, str]) -> bytes:
    parts = b""
    for name, data in files.items():
        head = f'content-disposition: form-data; name="{name}"; filename="a.png"'.encode()
        parts += b"--" + _BOUNDARY + b"\r\n" + head + b"\r\n\r\n" + data + b"\r\n"
    for name, value in fields.items():
        head = f'content-disposition: form-data; name="{name}"'.encode()
        parts += b"--" + _BOUNDARY + b"\r\n" + head + b"\r\n\r\n" + value.encode() + b"\r\n"
    return parts + b"--" + _BOUNDARY + b"--\r\n"


def main() -> int:
    """Run a campaign, and print what became of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--clips", action="store_true", help="clips instead of images")
    arguments = parser.parse_args()
    with served() as client:
        ask = asking_for_clips() if arguments.clips else asking_for_images()
        found = campaign(client, arguments.files, arguments.seed, ask)
    print(f"{arguments.files} requests: {dict(sorted(found.statuses.items()))}")
    print(f"slowest {found.slowest:.2f} s, memory grown by {found.grown / 1e6:.1f} MB")
    print(*found.faults, sep="\n")
    return 1 if found.faults else 0


if __name__ == "__main__":
    sys.exit(main())
