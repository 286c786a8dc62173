"""Files decode to their pixels whatever else is in them, side by side in threads."""

import logging
import random
import struct
import threading
import warnings
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import numpy as np
import pytest
import tifffile
import torch
from image_bytes import Array, chunk, encoded, exif, noise, png, segment, tensor, tiff
from PIL import Image, ImageCms, PngImagePlugin, features
from thermal_bytes import fff, raw_record

from cddfuse.errors import InputError
from cddfuse.io import (
    SUFFIXES,
    Ranges,
    bit_depth,
    image_size,
    load_pair,
    prepare_process,
    read_image,
)

COLOUR = noise(5, 7, 3)
GREY = noise(5, 7)


def text(keyword: bytes, body: bytes) -> bytes:
    return chunk(b"tEXt", keyword + b"\0" + body)


HARMLESS = {
    "eXIf that is not one": chunk(b"eXIf", b"rubbish"),
    "eXIf cut short": chunk(b"eXIf", b"II*\0\x08\0\0\0\xff\xff\x12\x01\3\0"),
    "eXIf in a loop": chunk(
        b"eXIf", b"II*\0\x08\0\0\0\1\0\x69\x87\4\0\1\0\0\0\x08\0\0\0\x08\0\0\0"
    ),
    "raw profile that is not hexadecimal": text(b"Raw profile type exif", b"\nexif\n 9\nzz"),
    "raw profile of odd length": text(b"Raw profile type exif", b"\nexif\n 9\nabc"),
    "2 MB of text": text(b"Comment", b"a" * 2_000_000),
    "2 MB of compressed text": chunk(b"zTXt", b"a\0\0" + zlib.compress(b"a" * 2_000_000)),
    "2 MB of XMP": chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + b" " * 2_000_000),
    "text that does not inflate": chunk(b"zTXt", b"a\0\0rubbish"),
    "text without end": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1"),
    "short pHYs": chunk(b"pHYs", b"\0\0"),
    "short gAMA": chunk(b"gAMA", b"\0"),
    "short cHRM": chunk(b"cHRM", b"\0"),
    "short sRGB": chunk(b"sRGB", b""),
    "short tIME": chunk(b"tIME", b"\0"),
    "animation control of no frames": chunk(b"acTL", struct.pack(">II", 5, 0)),
    "short animation control": chunk(b"acTL", b"\0"),
    "profile that is not one": chunk(b"iCCP", b"a\0\0" + zlib.compress(b"rubbish")),
    "profile that does not inflate": chunk(b"iCCP", b"a\0\0rubbish"),
    "profile without method": chunk(b"iCCP", b"a"),
    "wrong checksum": text(b"a", b"b")[:-1] + b"!",
    "unknown": chunk(b"prVt", b"\0" * 9),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_ancillary_chunks_never_fail_a_png(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.png"
    for bits in (8, 16):
        array = noise(5, 7, 3, bits=bits)
        for place in ({"extra": HARMLESS[name]}, {"tail": HARMLESS[name]}):
            path.write_bytes(png(array, 2, **place))
            assert torch.equal(read_image(path), tensor(array))
            assert image_size(path) == (5, 7)


@pytest.mark.parametrize(
    "extra",
    [
        segment(0xE1, b"Exif\0\0rubbish"),
        segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01"),
        segment(0xE0, b"JFIF\0"),
        segment(0xE0, b""),
        segment(0xE2, b"ICC_PROFILE\0\1\1rubbish"),
        segment(0xE2, b"ICC_PROFILE\0"),
        segment(0xE2, b"MPF\0II*\0\x08\0\0\0\xff\xff"),
        segment(0xEE, b"Adobe"),
        segment(0xED, b"Photoshop 3.0\x008BIM\4\4"),
        segment(0xFE, b"a" * 65000),
    ],
)
def test_application_segments_never_fail_a_jpeg(tmp_path: Path, extra: bytes) -> None:
    data = encoded(COLOUR, "JPEG", quality=95)
    (tmp_path / "a.jpg").write_bytes(data)
    (tmp_path / "b.jpg").write_bytes(data[:2] + extra + data[2:])
    assert torch.equal(read_image(tmp_path / "a.jpg"), read_image(tmp_path / "b.jpg"))


@pytest.mark.parametrize("form", ["WEBP", "AVIF", "TIFF"])
@pytest.mark.parametrize("block", [b"rubbish", b"II*\0\x08\0\0\0\xff\xff\x12\x01"])
def test_bad_exif_never_fails_other_formats(tmp_path: Path, form: str, block: bytes) -> None:
    path = tmp_path / "a"
    if form == "TIFF":
        path.write_bytes(tiff(COLOUR, tag34665=10**6, tag34853=2, tag700=0, tag34675=7))
    else:
        options = {"lossless": True} if form == "WEBP" else {"subsampling": "4:4:4"}
        good = exif().tobytes()[6:]
        data = encoded(COLOUR, form, exif=exif(), icc_profile=b"rubbish", **options)
        assert good in data
        path.write_bytes(data.replace(good, block.ljust(len(good), b"\xff")))
    assert (read_image(path) - tensor(COLOUR)).abs().max() <= (0.2 if form == "AVIF" else 0)


@pytest.mark.parametrize("block", [b"rubbish", b"Exif\0\0II*\0\x08\0\0\0\1\0"])
def test_bad_exif_never_fails_a_picture_of_pillow(block: bytes) -> None:
    picture = Image.fromarray(COLOUR)
    picture.info["exif"] = block
    assert torch.equal(read_image(picture), tensor(COLOUR))


def test_orientation_of_xmp(tmp_path: Path) -> None:
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    path = tmp_path / "a.png"
    path.write_bytes(png(COLOUR, 2, chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp)))
    assert torch.equal(read_image(path), tensor(np.rot90(COLOUR, -1).copy()))


def test_orientation_of_a_raw_profile(tmp_path: Path) -> None:
    block = Image.Exif()
    block[274] = 6
    digits = block.tobytes().hex().encode()
    path = tmp_path / "a.png"
    path.write_bytes(png(COLOUR, 2, text(b"Raw profile type exif", b"\nexif\n  9\n" + digits)))
    assert torch.equal(read_image(path), tensor(np.rot90(COLOUR, -1).copy()))


@pytest.mark.parametrize("turn", range(1, 9))
def test_one_row_turns(tmp_path: Path, turn: int) -> None:
    row = noise(1, 7, 3)
    (tmp_path / "a.tif").write_bytes(tiff(row, tag274=turn))
    assert read_image(tmp_path / "a.tif").shape == ((3, 7, 1) if turn > 4 else (3, 1, 7))


FORMATS: dict[str, bytes] = {
    "jfif": encoded(COLOUR, "JPEG"),
    "jpe": encoded(COLOUR, "JPEG", progressive=True),
    "jp2": encoded(COLOUR, "JPEG2000"),
    "j2k": encoded(COLOUR, "JPEG2000", no_jp2=True),
    "gif": encoded(Image.fromarray(COLOUR).quantize(200), "GIF"),
    "avif": encoded(COLOUR, "AVIF", quality=100),
    "pnm": encoded(COLOUR, "PPM"),
    "pgm": b"P2 7 5 255 " + b" ".join(b"%d" % level for level in GREY.flat),
    "pbm": b"P1\n# bits\n7 5\n" + b"\n".join(b"0 1 0 1 0 1 0" for _ in range(5)),
    "apng": png(COLOUR, 2),
    "btf": b"",
    "fff": fff({1: raw_record(noise(5, 7, bits=16))}),
}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_suffixes_name_what_can_be_read(tmp_path: Path, suffix: str) -> None:
    data = FORMATS.get(suffix[1:])
    path = tmp_path / f"a{suffix}"
    if suffix == ".btf":
        tifffile.imwrite(path, GREY, bigtiff=True)
    elif suffix == ".avif" and not features.check("avif"):
        pytest.skip("this Pillow was built without AVIF")
    elif data is None:
        Image.fromarray(GREY.astype(np.float32) / 255 if suffix == ".pfm" else GREY).save(path)
    else:
        path.write_bytes(data)
    assert read_image(path).shape[1:] == (5, 7)
    assert image_size(path) == (5, 7)


@pytest.mark.parametrize(
    ("data", "expected", "bits"),
    [
        (b"P5 2 1\n#\n1023\n" + bytes((0, 5, 3, 255)), [[[5 / 1023, 1]]], 16),
        (b"P2 2 1 1023 5 1023", [[[5 / 1023, 1]]], 16),
        (b"P3 1 1 1023 0 1023 5", [[[0]], [[1]], [[5 / 1023]]], 16),
        (b"Pf 1 2\n-1\n" + struct.pack("<2f", 0.25, 0.5), [[[0.5], [0.25]]], 16),
        (b"PF 1 1\n1\n" + struct.pack(">3f", 0.25, 0.5, 1), [[[0.25]], [[0.5]], [[1]]], 16),
        (b"P1 2 1 0 1", [[[1, 0]]], 8),
    ],
)
def test_portable_anymaps(tmp_path: Path, data: bytes, expected: list[Any], bits: int) -> None:
    (tmp_path / "a.pnm").write_bytes(data)
    torch.testing.assert_close(read_image(tmp_path / "a.pnm"), torch.tensor(expected).float())
    assert bit_depth(tmp_path / "a.pnm") == bits


def deep_files() -> dict[str, tuple[bytes, Array, int]]:
    """Files of more than 8 bits, their values, and the value of white."""
    grey, colour = noise(5, 7, bits=16), noise(5, 7, 3, bits=16)
    flat = np.full((8, 16), 3000, np.uint16)
    return {
        "JPEG 2000, grey": (bytes(imagecodecs.jpeg2k_encode(grey, level=0)), grey, 65535),
        "JPEG 2000, colour": (bytes(imagecodecs.jpeg2k_encode(colour, level=0)), colour, 65535),
        "JPEG of 12 bits": (bytes(imagecodecs.jpeg8_encode(flat, bitspersample=12)), flat, 4095),
        "lossless JPEG": (bytes(imagecodecs.ljpeg_encode(grey)), grey, 65535),
    }


@pytest.mark.parametrize("name", deep_files())
def test_formats_of_medical_devices_keep_their_depth(tmp_path: Path, name: str) -> None:
    data, array, white = deep_files()[name]
    (tmp_path / "a").write_bytes(data)
    expected = tensor(array) * 65535 / white
    torch.testing.assert_close(read_image(tmp_path / "a"), expected, atol=1e-3, rtol=0)
    assert bit_depth(tmp_path / "a") == 16


def test_signed_jpeg_2000_needs_a_range(tmp_path: Path) -> None:
    array = noise(5, 7, bits=16).astype(np.int16)
    (tmp_path / "a.jp2").write_bytes(imagecodecs.jpeg2k_encode(array, level=0))
    with pytest.raises(
        InputError, match=r"a\.jp2 holds int16 values: .*or give the range"
    ) as error:
        read_image(tmp_path / "a.jp2")
    assert error.value.setting == "range"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\0\0\0\x18ftypheic", r"a\.png is a HEIC photograph: convert it to PNG or TIFF first"),
        (b"\0\0\0\x0cJXL \r\n", "is a JPEG XL image: convert"),
        (bytes(128) + b"DICM", "is a DICOM image"),
        (b"\0\0\0\x18ftypisom", "is a video: save its frames"),
        (b"%PDF-1.7", "is a document"),
        (b"<!doctype html><html>", "is a web page, not an image: download the image again"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a pointer of Git LFS: fetch"),
        (b"hello", "is not an image that can be read: use one of png, jpg"),
        (b"P6 0 0 255\n", "is damaged or cut short|has no pixels"),
        (b"P5 4 4 1023\n12", "is damaged or cut short"),
        (b"P5 4", "is damaged or cut short"),
        (b"\x89PNG\r\n\x1a\n", "is damaged or cut short"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "is damaged or cut short"),
        (b"II*\0\x08\0\0\0", "is damaged or cut short"),
    ],
)
def test_files_that_are_no_images(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(InputError, match=message):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize(("images", "counted"), [(1, None), (3, 3)])
def test_images_of_a_gif_are_counted(tmp_path: Path, images: int, counted: int | None) -> None:
    frames = [Image.fromarray(noise(5, 7 + n)).resize((7, 5)).convert("P") for n in range(images)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], comment=b"c" * 300)
    if counted is None:
        assert read_image(tmp_path / "a.gif").shape[1:] == (5, 7)
    else:
        with pytest.raises(InputError, match=r"a\.gif holds 3 images: save the one you mean"):
            read_image(tmp_path / "a.gif")


SIZED: dict[str, Callable[[], bytes]] = {
    "png": lambda: encoded(COLOUR, "PNG", exif=exif(tag274=6)),
    "jpg": lambda: encoded(COLOUR, "JPEG", exif=exif(tag274=6)),
    "webp": lambda: encoded(COLOUR, "WEBP", exif=exif(tag274=6)),
    "tif": lambda: tiff(COLOUR, tag274=6),
}


@pytest.mark.parametrize("suffix", SIZED)
def test_size_is_that_of_the_upright_image(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(SIZED[suffix]())
    assert image_size(path) == (7, 5) == read_image(path).shape[1:]


def test_size_of_a_png_is_read_from_its_header(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png(noise(50, 70), 0)[:200])
    assert image_size(path) == (50, 70)


def test_threads_decode_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads can only meet within the decoder if none waits for the other to leave it."""
    meeting, load = threading.Barrier(2, timeout=20), PngImagePlugin.PngImageFile.load
    met = threading.local()

    def meet(picture: PngImagePlugin.PngImageFile) -> Any:
        if not hasattr(met, "yet"):
            met.yet = True
            meeting.wait()
        return load(picture)

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", meet)
    for name in "ab":
        (tmp_path / name).write_bytes(png(COLOUR, 2))
    with ThreadPoolExecutor(2) as pool:
        for image in pool.map(read_image, [tmp_path / "a", tmp_path / "b"]):
            assert torch.equal(image, tensor(COLOUR))


def test_each_source_is_opened_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.png").write_bytes(png(noise(5, 7, 3, bits=16), 2, chunk(b"eXIf", b"rubbish")))
    (tmp_path / "b.tif").write_bytes(tiff(noise(5, 7, bits=16)))
    opened, open_path = [], Path.open

    def count(path: Path, *arguments: Any, **named: Any) -> Any:
        opened.append(path.name)
        return open_path(path, *arguments, **named)

    monkeypatch.setattr(Path, "open", count)
    load_pair(tmp_path / "a.png", tmp_path / "b.tif", ranges=Ranges())
    assert sorted(opened) == ["a.png", "b.tif"]


def test_reading_leaves_the_process_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another thread that looks while pixels are decoded sees the settings of its own program."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 12345)
    filters = list(warnings.filters)
    seen = []
    load = PngImagePlugin.PngImageFile.load

    def look(picture: PngImagePlugin.PngImageFile) -> Any:
        seen.append((Image.MAX_IMAGE_PIXELS, list(warnings.filters) == filters))
        return load(picture)

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", look)
    (tmp_path / "a.png").write_bytes(png(COLOUR, 2))
    read_image(tmp_path / "a.png")
    assert set(seen) == {(12345, True)}


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process as the command line sets it up; everything is put back after the test."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    logger = logging.getLogger("tifffile")
    monkeypatch.setattr(logger, "level", logger.level)
    prepare_process()


@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP", "JPEG"])
def test_large_images_are_no_bombs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    """Pillow refuses a panorama; here its limit is lowered so that a small file is one."""
    path = tmp_path / "a"
    path.write_bytes(encoded(noise(20, 30), form))
    with monkeypatch.context() as patch:
        patch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
        if form in ("TIFF", "WEBP"):
            with pytest.raises(InputError, match="a has more than 200 pixels: cut it into small"):
                read_image(path)
        prepare_process()
        assert read_image(path).shape[1:] == (20, 30)


def profile(matrix: list[list[float]], gamma: float | Array) -> bytes:
    """A colour profile of three primaries (columns: XYZ of red, green, blue at D50).

    Args:
        gamma: of its curve, or 1024 points of that.
    """

    def xyz(values: list[float]) -> bytes:
        return b"XYZ " + struct.pack(">I3i", 0, *(round(value * 65536) for value in values))

    points = np.array([gamma * 256]) if isinstance(gamma, float) else gamma * 65535
    curve = b"curv" + struct.pack(">II", 0, len(points)) + points.round().astype(">u2").tobytes()
    curve += bytes(len(curve) % 4)
    columns = [list(column) for column in zip(*matrix, strict=True)]
    tags = {b"wtpt": xyz([0.9642, 1, 0.8249])}
    for letter, column in zip((b"r", b"g", b"b"), columns, strict=True):
        tags |= {letter + b"XYZ": xyz(column), letter + b"TRC": curve}
    return icc_bytes(b"mntr", b"RGB ", b"XYZ ", tags)


def icc_bytes(device: bytes, space: bytes, connection: bytes, tags: dict[bytes, bytes]) -> bytes:
    at = 128 + 4 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        table += name + struct.pack(">II", at + len(body), len(data))
        body += data
    head = struct.pack(">I4sI", at + len(body), b"lcms", 0x02400000) + device + space + connection
    head += bytes(12) + b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + table + body


ADOBE = [
    [0.60974, 0.20528, 0.14919],
    [0.31111, 0.62567, 0.06322],
    [0.01947, 0.06087, 0.74457],
]
SRGB = [
    [0.43607, 0.38515, 0.14307],
    [0.22249, 0.71687, 0.06061],
    [0.01392, 0.09708, 0.71410],
]
"""Columns are the primaries, adapted to D50, as in the specifications of both spaces."""


def converted(colour: Array) -> Array:
    """Adobe RGB as sRGB, both in [0, 1], by the formulas of the specifications."""
    linear = np.linalg.solve(SRGB, np.array(ADOBE) @ (colour**2.19921875))
    linear = linear.clip(0, 1)
    curve = 1.055 * linear ** (1 / 2.4) - 0.055
    return np.where(linear <= 0.0031308, 12.92 * linear, curve)


@pytest.mark.parametrize("colour", [(100, 150, 100), (200, 120, 90), (128, 128, 128), (0, 0, 255)])
@pytest.mark.parametrize("bits", [8, 16])
def test_adobe_rgb_becomes_srgb(tmp_path: Path, colour: tuple[int, int, int], bits: int) -> None:
    scale = 1 if bits == 8 else 257
    levels = np.full((5, 7, 3), colour, np.uint8 if bits == 8 else np.uint16) * scale
    levels = levels.astype(np.uint8 if bits == 8 else np.uint16)
    body = chunk(b"iCCP", b"a\0\0" + zlib.compress(profile(ADOBE, 2.19921875)))
    path = tmp_path / "a.png"
    path.write_bytes(png(levels, 2, body))
    expected = converted(np.array(colour) / 255)
    found = read_image(path)[:, 2, 3].numpy()
    assert np.abs(found - expected).max() < 1.5 / 255
    with Image.open(path) as picture:
        assert np.abs(read_image(picture)[:, 2, 3].numpy() - expected).max() < 2.5 / 255
    if colour == (100, 150, 100):
        assert abs(found[0] - 100 / 255) > 20 / 255  # dropping the profile would show


STEPS = np.linspace(0, 1, 1024)
CURVE = np.where(STEPS <= 0.04045, STEPS / 12.92, ((STEPS + 0.055) / 1.055) ** 2.4)
BY_HAND = profile([[1.006 * value for value in row] for row in SRGB], CURVE)


def test_slightly_different_profiles_count(tmp_path: Path) -> None:
    """The primaries of sRGB with the gamma of old Macintoshes: 20 levels brighter in the middle."""
    grey = np.full((5, 7, 3), 128, np.uint8)
    (tmp_path / "a.png").write_bytes(encoded(grey, "PNG", icc_profile=profile(SRGB, 1.8)))
    expected = 1.055 * (128 / 255) ** (1.8 / 2.4) - 0.055
    assert (read_image(tmp_path / "a.png") - expected).abs().max() < 1.5 / 255


@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF", "WEBP"])
@pytest.mark.parametrize(
    "icc",
    [BY_HAND, ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(), b"rubbish", b""],
    ids=["sRGB by hand", "sRGB", "malformed", "none"],
)
def test_colours_of_srgb_stay_as_they_are(tmp_path: Path, form: str, icc: bytes) -> None:
    for name, options in (("a", {"icc_profile": icc} if icc else {}), ("b", {})):
        (tmp_path / name).write_bytes(encoded(COLOUR, form, **options))
    assert torch.equal(read_image(tmp_path / "a"), read_image(tmp_path / "b"))


def test_profile_of_another_kind_of_colour_is_not_for_the_image(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded(GREY, "PNG", icc_profile=profile(ADOBE, 1.0)))
    assert torch.equal(read_image(tmp_path / "a.png"), tensor(GREY))
    cyan = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    (tmp_path / "a.jpg").write_bytes(encoded(cyan, "JPEG", icc_profile=profile(ADOBE, 1.0)))
    (tmp_path / "b.jpg").write_bytes(encoded(cyan, "JPEG"))
    assert torch.equal(read_image(tmp_path / "a.jpg"), read_image(tmp_path / "b.jpg"))


def test_cmyk_goes_through_its_profile(tmp_path: Path) -> None:
    """A printer whose every ink is black, which no formula without its profile could know."""
    ramp = bytes(range(256))
    nodes = b"\xff\x80\x80" + b"\0\x80\x80" * 15  # L, a, b of paper and of any full ink
    table = b"mft1" + struct.pack(">I4B", 0, 4, 3, 2, 0)
    table += struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    icc = icc_bytes(b"prtr", b"CMYK", b"Lab ", {b"A2B0": table + ramp * 4 + nodes + ramp * 3})
    cyan = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    for name, options in (("a.jpg", {"icc_profile": icc}), ("b.jpg", {})):
        (tmp_path / name).write_bytes(encoded(cyan, "JPEG", quality=100, **options))
    assert read_image(tmp_path / "a.jpg").max() < 0.1
    assert read_image(tmp_path / "b.jpg").max() > 0.9


def mutated(data: bytes, chance: random.Random) -> bytes:
    """The file with a few bytes changed, removed, or its end cut off."""
    bytes_ = bytearray(data)
    if chance.random() < 0.15:
        return bytes(bytes_[: chance.randrange(1, len(bytes_))])
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        at = chance.randrange(min(len(bytes_), chance.choice((120, len(bytes_)))))
        length = chance.choice((1, 1, 1, 4))
        bytes_[at : at + length] = chance.choice(
            (chance.randbytes(length), b"\0" * length, b"\xff" * length, b"")
        )
        bytes_ = bytes_ or bytearray(b"a")
    return bytes(bytes_)


def seeds() -> list[bytes]:
    deep, colour = noise(12, 17, bits=16), noise(12, 17, 3, bits=16)
    grey, shown = noise(12, 17), noise(12, 17, 3)
    icc = profile(ADOBE, 2.2)
    return [
        encoded(shown, "PNG", exif=exif(tag274=6), icc_profile=icc, dpi=(72, 72)),
        png(colour, 2),
        png(deep, 0),
        encoded(shown, "JPEG", exif=exif(tag274=6), icc_profile=icc),
        encoded(grey, "JPEG", progressive=True),
        bytes(imagecodecs.ljpeg_encode(deep)),
        encoded(shown, "TIFF", exif=exif()),
        tiff(deep, ">"),
        tiff(colour),
        tiff(deep.astype(np.float32), tag42113=7),
        encoded(shown, "WEBP", exif=exif(), icc_profile=icc),
        encoded(Image.fromarray(shown).quantize(9), "GIF"),
        encoded(shown, "BMP"),
        b"P6 17 12 65535\n" + colour.astype(">u2").tobytes(),
        b"Pf\n17 12\n-1\n" + grey.astype("<f4").tobytes(),
        bytes(imagecodecs.jpeg2k_encode(colour, level=0)),
        encoded(shown, "JPEG2000"),
    ]


@pytest.mark.usefixtures("prepared")
def test_damaged_files_are_read_or_one_sentence(tmp_path: Path) -> None:
    chance, path, messages = random.Random(23), tmp_path / "a", []
    for data in seeds():
        for _ in range(25):
            path.write_bytes(mutated(data, chance))
            for read in (image_size, lambda path: load_pair(path, path, ranges=Ranges())):
                try:
                    read(path)
                except InputError as error:
                    messages.append(str(error))
    assert len(messages) > 100
    assert all(message.endswith(".") and "\n" not in message for message in messages)


def test_opencv_agrees_on_deep_colour(tmp_path: Path) -> None:
    array = noise(50, 70, 3, bits=16)
    cv2.imwrite(str(tmp_path / "a.png"), array[..., ::-1])
    assert torch.equal(read_image(tmp_path / "a.png"), tensor(array))
