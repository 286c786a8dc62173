"""What a fused image inherits: camera, time, place, resolution and grid of the first image."""

import struct
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import tifffile
import torch
from image_bytes import chunk, encoded, exif, noise, png, tensor, tiff
from PIL import Image

from cddfuse.io import Metadata, load_pair, read_image, write_image
from cddfuse.io.encode import encoded as encode
from cddfuse.io.images import quantize

GEO: list[tuple[int, int, int, Any]] = [
    (33550, 12, 3, (0.5, 0.5, 0.0)),
    (33922, 12, 6, (0.0, 0.0, 0.0, 500000.0, 5300000.0, 0.0)),
    (34735, 3, 8, (1, 1, 0, 1, 3072, 0, 1, 32633)),
    (34736, 12, 1, (6378137.0,)),
    (34737, 2, 0, "WGS 84|"),
]
SUFFIXES = [".png", ".jpg", ".webp", ".tif"]
WRITTEN = [(suffix, 8) for suffix in [*SUFFIXES, ".bmp"]] + [(".png", 16), (".tif", 16)]


def load(path: Path) -> Metadata:
    return load_pair(path, path)[1]


def as_pillow_reads(path: Path) -> Image.Exif:
    """The tags by a reader that is not ours."""
    with Image.open(path) as picture:
        picture.load()
        return picture.getexif()


def require_time_and_place(path: Path) -> None:
    tags = as_pillow_reads(path)
    assert tags[271] == "FLIR"
    assert tags[306] == "2024:06:01 22:10:00"
    assert tags.get_ifd(34665)[36867] == "2024:06:01 22:09:59"
    assert tags.get_ifd(34853)[1] == "N"
    assert tags.get_ifd(34853)[4] == (16.0, 22.0, 0.0)
    assert tags.get(274, 1) == 1
    for stale in (37500, 40962):  # a maker note, and the width of another image
        assert stale not in tags.get_ifd(34665)


@pytest.mark.parametrize("source", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize(("target", "bits"), [each for each in WRITTEN if each[0] != ".bmp"])
@pytest.mark.parametrize("channels", [1, 3])
def test_time_and_place_are_carried(
    tmp_path: Path, source: str, target: str, bits: Literal[8, 16], channels: int
) -> None:
    (tmp_path / "a").write_bytes(encoded(noise(5, 7, 3), source, exif=exif(tag274=6).tobytes()))
    image = tensor(noise(7, 5, bits=bits)).expand(channels, -1, -1)
    metadata = load(tmp_path / "a")
    write_image(tmp_path / f"b{target}", image, bits=bits, metadata=metadata)
    require_time_and_place(tmp_path / f"b{target}")
    back = read_image(tmp_path / f"b{target}")
    assert (back - image).abs().max() < (0.1 if target == ".jpg" else 1e-7)
    assert load(tmp_path / f"b{target}").exif == metadata.exif


@pytest.mark.parametrize(("target", "bits"), [each for each in WRITTEN if each[0] != ".webp"])
@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF"])
def test_resolution_is_carried(
    tmp_path: Path, form: str, target: str, bits: Literal[8, 16]
) -> None:
    (tmp_path / "a").write_bytes(encoded(noise(5, 7, 3), form, dpi=(300, 150)))
    metadata = load(tmp_path / "a")
    write_image(tmp_path / f"b{target}", torch.zeros(3, 5, 7), bits=bits, metadata=metadata)
    if target == ".tif" and bits == 16:
        with tifffile.TiffFile(tmp_path / f"b{target}") as file:
            assert file.pages.first.get_resolution("inch") == pytest.approx((300, 150), rel=1e-3)
    else:
        with Image.open(tmp_path / f"b{target}") as picture:
            assert picture.info["dpi"] == pytest.approx((300, 150), rel=1e-3)


def test_resolution_turns_with_the_image(tmp_path: Path) -> None:
    data = encoded(noise(5, 7, 3), "JPEG", dpi=(300, 150), exif=exif(tag274=6))
    (tmp_path / "a.jpg").write_bytes(data)
    assert load(tmp_path / "a.jpg").dpi == (150, 300)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("order", ["<", ">"])
def test_grid_is_carried(tmp_path: Path, bits: Literal[8, 16], channels: int, order: str) -> None:
    """From a GeoTIFF of either byte order to the result, as tifffile reads both."""
    tags = [(*tag, True) for tag in GEO]
    nodata = (42113, 2, 0, "-9999", True)
    options: dict[str, Any] = {"byteorder": order, "extratags": [*tags, nodata]}
    tifffile.imwrite(tmp_path / "a.tif", noise(5, 7, bits=16), **options)
    metadata = load(tmp_path / "a.tif")
    image = torch.rand(channels, 5, 7)
    write_image(tmp_path / "b.tif", image, bits=bits, metadata=metadata)
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        assert len(file.pages) == 1
        found = file.pages.first.tags
        for code, _, _, value in GEO:
            assert found[code].value == value
        assert 42113 not in found  # levels of the result are measured everywhere
        levels = quantize(image, bits)
        assert np.array_equal(file.pages.first.asarray(), levels)
        assert (file.geotiff_metadata or {})["ProjectedCSTypeGeoKey"] == 32633
    assert torch.equal(read_image(tmp_path / "b.tif"), tensor(levels))
    write_image(tmp_path / "c.png", image, metadata=metadata)
    assert torch.equal(read_image(tmp_path / "c.png"), tensor(quantize(image)))


def test_grid_of_a_turned_image_is_left_out(tmp_path: Path) -> None:
    tags = [(*tag, True) for tag in GEO] + [(274, 3, 1, 3, True)]
    tifffile.imwrite(tmp_path / "a.tif", noise(5, 7), extratags=tags)
    assert not load(tmp_path / "a.tif").geo


@pytest.mark.parametrize("target", [*SUFFIXES, ".bmp"])
@pytest.mark.parametrize("channels", [1, 3])
def test_without_metadata_files_are_those_of_pillow(
    tmp_path: Path, target: str, channels: int
) -> None:
    array = noise(5, 7, 3) if channels == 3 else noise(5, 7)
    form = {".png": "PNG", ".jpg": "JPEG", ".webp": "WEBP", ".tif": "TIFF", ".bmp": "BMP"}[target]
    options: dict[str, Any] = {"quality": 95, "subsampling": 0} if form == "JPEG" else {}
    options = {"lossless": True} if form == "WEBP" else options
    write_image(tmp_path / f"a{target}", tensor(array), metadata=Metadata(16))
    write_image(tmp_path / f"b{target}", tensor(array))
    for name in "ab":
        assert (tmp_path / f"{name}{target}").read_bytes() == encoded(array, form, **options)


def test_files_without_metadata_have_none(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(noise(5, 7), 0))
    assert load(tmp_path / "a.png") == Metadata(8)
    (tmp_path / "a.png").write_bytes(png(noise(5, 7, bits=16), 0))
    assert load(tmp_path / "a.png") == Metadata(16)


@pytest.mark.parametrize(
    "block",
    [
        b"rubbish",
        b"II*\0",
        b"II*\0\xff\xff\xff\xff",
        b"II*\0\x08\0\0\0\3\0\x0f\1\2\0\xff\xff\xff\xff\0\0\0\0",
        b"II*\0\x08\0\0\0\1\0\x0f\1\x63\0\1\0\0\0\0\0\0\0" + bytes(4),
        b"II*\0\x08\0\0\0\2\0\x69\x87\4\0\1\0\0\0\x08\0\0\0\x25\x88\4\0\1\0\0\0\xff\xff\0\0"
        + bytes(4),
    ],
)
def test_bad_exif_is_dropped(tmp_path: Path, block: bytes) -> None:
    (tmp_path / "a.png").write_bytes(png(noise(5, 7), 0, chunk(b"eXIf", block)))
    metadata = load(tmp_path / "a.png")
    for target in SUFFIXES:
        write_image(tmp_path / f"b{target}", torch.zeros(1, 5, 7), metadata=metadata)
        assert as_pillow_reads(tmp_path / f"b{target}").get(274, 1) == 1


def test_large_entries_are_left_out(tmp_path: Path) -> None:
    """A JPEG holds 64 KB of EXIF; a comment of a megabyte must not cost the time."""
    tags = exif()
    tags.get_ifd(34665)[37510] = b"c" * 10**6
    (tmp_path / "a.webp").write_bytes(encoded(noise(5, 7, 3), "WEBP", exif=tags))
    write_image(tmp_path / "b.jpg", torch.zeros(1, 5, 7), metadata=load(tmp_path / "a.webp"))
    require_time_and_place(tmp_path / "b.jpg")
    assert 37510 not in as_pillow_reads(tmp_path / "b.jpg").get_ifd(34665)


@pytest.mark.parametrize("order", ["<", ">"])
def test_byte_order_of_exif(tmp_path: Path, order: str) -> None:
    tags = exif()
    tags.endian = order
    (tmp_path / "a.jpg").write_bytes(encoded(noise(5, 7, 3), "JPEG", exif=tags.tobytes()))
    assert (b"MM\0*" if order == ">" else b"II*\0") in (tmp_path / "a.jpg").read_bytes()
    write_image(tmp_path / "b.png", torch.zeros(1, 5, 7), metadata=load(tmp_path / "a.jpg"))
    require_time_and_place(tmp_path / "b.png")


def test_deep_colour_as_png_has_valid_chunks(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(encoded(noise(5, 7), "TIFF", exif=exif(), dpi=(300, 300)))
    image = torch.rand(3, 5, 7)
    write_image(tmp_path / "b.png", image, bits=16, metadata=load(tmp_path / "a.tif"))
    data = (tmp_path / "b.png").read_bytes()
    at, kinds = 8, []
    while at < len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        body = data[at + 8 : at + 8 + length]
        assert chunk(kind, body) == data[at : at + 12 + length]
        kinds.append(kind)
        at += 12 + length
    assert kinds == [b"IHDR", b"eXIf", b"pHYs", b"IDAT", b"IEND"]


def test_metadata_of_the_first_image_with_the_depth_of_the_deeper(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(encoded(noise(5, 7, 3), "JPEG", exif=exif()))
    (tmp_path / "b.tif").write_bytes(tiff(noise(5, 7, bits=16)))
    metadata = load_pair(tmp_path / "a.jpg", tmp_path / "b.tif")[1]
    assert metadata.bits == 16
    assert metadata.exif.gps
    assert not load_pair(tmp_path / "b.tif", tmp_path / "a.jpg")[1].exif.gps


def test_resolutions_that_are_nonsense_are_dropped(tmp_path: Path) -> None:
    for body in (bytes(9), b"\xff" * 8 + b"\1", struct.pack(">IIB", 3000, 3000, 0)):
        (tmp_path / "a.png").write_bytes(png(noise(5, 7), 0, chunk(b"pHYs", body)))
        assert load(tmp_path / "a.png").dpi is None
    assert encode(noise(5, 7), "TIFF", tmp_path, Metadata()) == encoded(noise(5, 7), "TIFF")
