"""Small valid files of every format, made here: what the campaign damages."""

import io
import json
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import imagecodecs
import numpy as np
import tifffile
import torch
from fuzz import service
from image_bytes import Array, encoded, exif, noise, png, tiff
from PIL import Image
from thermal_bytes import (
    Overlay,
    camera_record,
    dji_jpeg,
    fff,
    flir_jpeg,
    photo_records,
    raw_record,
    scene,
)

from cddfuse.io.transforms import write_transform
from cddfuse.models import create_model, save_weights
from cddfuse.recipes.choice import Request, resolved
from cddfuse.registration import Transform

Seeds = dict[str, bytes]
"""Contents by file name."""

SIZE = (24, 32)


def picture(*, bits: int = 8, channels: int = 1) -> Array:
    """A smooth picture with some noise."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    levels = (x + y) * (2**bits // 80) + noise(*SIZE, bits=8) // 8
    array = levels.astype(np.uint8 if bits == 8 else np.uint16)
    return array if channels == 1 else np.stack([array] * channels, -1)


def _tiff(array: Array, **options: Any) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, array, **options)
    return stream.getvalue()


@cache
def images() -> Seeds:
    """Single images of all formats that are read."""
    grey, deep, colour = picture(), picture(bits=16), picture(channels=3)
    values = (grey / 255).astype(np.float32)
    square = np.zeros((32, 32), np.float32) + 20.5
    pillow = Image.fromarray(colour)
    apng = {"save_all": True, "append_images": [pillow], "duration": 40}
    return {
        "grey.png": encoded(grey, "PNG"),
        "deep.png": png(deep, 0),
        "alpha.png": png(picture(bits=16, channels=4), 6),
        "palette.png": encoded(pillow.quantize(16), "PNG", exif=exif(tag274=6)),
        "moving.png": encoded(pillow, "PNG", **apng),
        "grey.jpg": encoded(grey, "JPEG", exif=exif(tag274=3)),
        "colour.jpg": encoded(colour, "JPEG", progressive=True, dpi=(72, 72)),
        "cmyk.jpg": encoded(pillow.convert("CMYK"), "JPEG"),
        "strip.tif": tiff(deep),
        "order.tif": tiff(picture(bits=16, channels=3), ">"),
        "float.tif": _tiff(values, compression="zlib", predictor=3),
        "tiled.tif": _tiff(square, tile=(16, 16), compression="lzw"),
        "packed.tif": _tiff(colour, compression="jpeg", photometric="rgb"),
        "planes.tif": _tiff(deep, compression="deflate", bigtiff=True, predictor=2),
        "pages.tif": _tiff(np.stack([deep] * 3), photometric="minisblack"),
        "grey.bmp": encoded(grey, "BMP"),
        "palette.bmp": encoded(pillow.quantize(16), "BMP"),
        "loss.webp": encoded(colour, "WEBP", quality=80),
        "whole.webp": encoded(colour, "WEBP", lossless=True),
        "moving.webp": encoded(pillow, "WEBP", **apng),
        "still.gif": encoded(pillow.quantize(16), "GIF"),
        "deep.pgm": b"P5\n32 24\n65535\n" + deep.astype(">u2").tobytes(),
        "text.pgm": b"P2\n# words\n4 2\n255\n0 1 2 3\n4 5 6 7\n",
        "bits.pbm": b"P4\n32 24\n" + bytes(4 * 24),
        "colour.ppm": b"P6 32 24 255 " + colour.tobytes(),
        "float.pfm": b"Pf\n32 24\n-1.0\n" + values.tobytes(),
        "deep.jp2": bytes(imagecodecs.jpeg2k_encode(deep, codecformat="jp2", reversible=True)),
        "colour.j2k": bytes(imagecodecs.jpeg2k_encode(colour, codecformat="j2k", level=60)),
        "colour.avif": encoded(colour, "AVIF", quality=50),
    }


@cache
def thermal() -> Seeds:
    """Radiometric files."""
    counts = scene(*SIZE)
    photo = encoded(picture(channels=3), "JPEG")
    records = {1: raw_record(counts), 0x20: camera_record()}
    both = {**records, **photo_records(photo, Overlay(1.2))}
    packed = {1: raw_record(counts, body=png(counts.byteswap(), 0)), 0x20: camera_record()}
    return {
        "flir.jpg": flir_jpeg(both),
        "parts.jpg": flir_jpeg(packed, size=500),
        "counts.fff": fff(records),
        "little.fff": fff({1: raw_record(counts), 0x20: camera_record("<")}, "<"),
        "dji.jpg": dji_jpeg(counts),
    }


def _written(write: Callable[[Path], object], name: str) -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder) / name
        write(path)
        return path.read_bytes()


@cache
def clips() -> Seeds:
    """Three frames each."""
    import video_clips as video

    frames = [np.roll(picture(), step, 1) for step in range(3)]
    colour = [np.stack([frame] * 3, -1) for frame in frames]

    def clip(name: str, images: list[Array], **options: Any) -> bytes:
        return _written(partial(video.write_clip, images=images, **options), name)

    moving = [Image.fromarray(frame) for frame in frames]
    gif = encoded(moving[0], "GIF", save_all=True, append_images=moving[1:], duration=40)
    return {
        "h264.mp4": clip("a.mp4", colour, codec="libx264", form="yuv420p"),
        "sound.mp4": clip("a.mp4", colour, codec="mpeg4", form="yuv420p", tones=1),
        "lossless.mkv": clip("a.mkv", frames),
        "vp9.webm": clip("a.webm", colour, codec="libvpx-vp9", form="yuv420p"),
        "moving.gif": gif,
    }


@cache
def volumes() -> Seeds:
    """NIfTI files."""
    from dicom_series import grid, scene, write_nifti

    affine = grid((2, 2, 3), (-10, -10, -5))
    values = scene((12, 10, 3), affine)
    plain = _written(partial(write_nifti, values=values.astype(np.int16), affine=affine), "a.nii")
    real = values.astype(np.float32)
    packed = _written(partial(write_nifti, values=real, affine=affine), "a.nii.gz")
    return {"plain.nii": plain, "packed.nii.gz": packed}


@cache
def series() -> Seeds:
    """DICOM files of one series each, one slice of which is damaged."""
    from dicom_series import grid, scene, write_series
    from pydicom.uid import JPEGLSLossless, RLELossless

    affine = grid((2, 2, 3), (-10, -10, -5))
    values = scene((12, 10, 3), affine)
    found: Seeds = {}
    for kind, syntax in (("plain", None), ("rle", RLELossless), ("jls", JPEGLSLossless)):
        with TemporaryDirectory() as folder:
            paths = write_series(Path(folder) / "mr", values, affine, compress=syntax)
            found |= {f"{kind}{place}.dcm": path.read_bytes() for place, path in enumerate(paths)}
    return found


@cache
def weights() -> Seeds:
    """Weights of the smallest network, in three layouts."""
    torch.manual_seed(0)
    model = create_model("reconet")
    state = model.state_dict()

    def pickled(**options: Any) -> bytes:
        stream = io.BytesIO()
        torch.save({"state_dict": state, "epoch": 3}, stream, **options)
        return stream.getvalue()

    return {
        "a.safetensors": _written(partial(save_weights, model), "a.safetensors"),
        "zip.pth": pickled(),
        "old.pth": pickled(_use_new_zipfile_serialization=False),
    }


@cache
def recipes() -> Seeds:
    """Resolved recipes as runs leave them, and one as users write it."""
    own = b"method: cddfuse\npreset: quick\nbatch: 4\nloss: {ssim: 5, vif: 2}\nepochs: [1, 2.5]\n"
    found = {"own.yaml": own}
    for method in ("cddfuse", "reconet", "tardal"):
        write = resolved(Request(method)).write
        found[f"{method}.yaml"] = _written(write, "a.yaml")
    return found


@cache
def transforms() -> Seeds:
    """The file of `align`."""
    height, width = SIZE
    matrix = ((1.0, 0.01, 2.0), (-0.01, 1.0, -1.5), (0.0, 0.0, 1.0))
    found = Transform("similarity", matrix, (width, height), (width, height), "mind", 0.9)
    return {"a.json": _written(lambda path: write_transform(path, found), "a.json")}


@cache
def labels() -> Seeds:
    """Boxes."""
    voc = (
        "<annotation><size><width>32</width><height>24</height></size>"
        "<object><name>person</name><bndbox><xmin>3</xmin><ymin>4</ymin><xmax>9</xmax>"
        "<ymax>20</ymax></bndbox></object></annotation>"
    )
    return {"a.txt": b"0 0.5 0.5 0.25 0.5\n1 0.1 0.2 0.1 0.1\n", "a.xml": voc.encode()}


@cache
def records() -> Seeds:
    """What runs of `fuse` leave about the values of images."""
    plain = {"range": ["first=auto:10:200", "second=29300:31000C"], "kelvin_per_count": 0.04}
    curve = {"range": ["auto:1:9"], "agc": "plateau", "curves": [[0.1, 0.5, 1.0], []]}
    return {
        "plain.json": json.dumps(plain).encode(),
        "curve.json": json.dumps(curve).encode(),
    }


@cache
def requests() -> Seeds:
    """Requests to the service."""
    return service.requests(images()["grey.png"])


@cache
def words() -> Seeds:
    """Flags of `fuse` with their values, one a line."""
    flags = (
        "--range first=10:200 second=auto",
        "--range percentile:3",
        "--range 10.5:40C --kelvin-per-count 0.04",
        "--memory 2GB --tile 32",
        "--shard 1/3 --suffix _x",
        "--option rule=average --precision fp32",
        "--agc plateau --bits 16 --format tif",
        "--colour lab --resize --strip",
        "--codec h264 --crf 20 --offset 0.5",
        "--device cpu --json --stretch",
    )
    return {f"{number}.txt": flag.encode() for number, flag in enumerate(flags)}
