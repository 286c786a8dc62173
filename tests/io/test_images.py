"""Images survive the way to a file and back; what cannot be read says so in one sentence."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import pytest
import torch
from image_bytes import Array, chunk, noise, png, tensor, tiff
from PIL import Image
from torch import Tensor

from cddfuse.errors import InputError
from cddfuse.io import bit_depth, read_image, read_pair, write_image


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3)], ids=["grey", "colour"])
@pytest.mark.parametrize(
    ("suffix", "bits"),
    [
        (".png", 8),
        (".png", 16),
        (".tif", 8),
        (".TIFF", 16),
        (".bmp", 8),
        (".webp", 8),
    ],
)
def test_round_trip_is_exact(
    tmp_path: Path, suffix: str, bits: Literal[8, 16], shape: tuple[int, ...]
) -> None:
    image = tensor(noise(*shape, bits=bits))
    path = tmp_path / f"a{suffix}"
    write_image(path, image, bits=bits)
    back = read_image(path)
    assert back.dtype == torch.float32
    assert back.is_contiguous()
    assert torch.equal(back, image.expand(3, -1, -1) if suffix == ".webp" else image)
    assert bit_depth(path) == bits


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_close_even_in_fine_colour(tmp_path: Path, channels: int) -> None:
    """Stripes of pure colours one pixel wide would be smeared by chroma subsampling."""
    stripes = torch.zeros(3, 16, 16)
    stripes[0, :, ::2] = stripes[2, :, 1::2] = 1
    image = stripes[:channels]
    write_image(tmp_path / "a.jpg", image)
    assert (read_image(tmp_path / "a.jpg") - image).abs().max() < 0.05


@pytest.mark.parametrize("bits", [8, 16])
def test_files_of_others_have_the_same_channels_and_levels(tmp_path: Path, bits: int) -> None:
    """OpenCV writes blue first; what we read must not depend on who decodes."""
    array = noise(5, 7, 3, bits=bits)
    for suffix in ("png", "tiff", "ppm"):
        path = tmp_path / f"a.{suffix}"
        cv2.imwrite(str(path), array[..., ::-1])
        assert torch.equal(read_image(path), tensor(array))
        assert bit_depth(path) == bits


@pytest.mark.parametrize("bits", [8, 16])
def test_what_we_write_others_read(tmp_path: Path, bits: Literal[8, 16]) -> None:
    array = noise(5, 7, 3, bits=bits)
    for suffix in ("png", "tif"):
        path = tmp_path / f"a.{suffix}"
        write_image(path, tensor(array), bits=bits)
        written = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert written is not None
        assert np.array_equal(written[..., ::-1], array)


def test_values_are_rounded_once_half_to_even(tmp_path: Path) -> None:
    halves = torch.arange(10, dtype=torch.float64) + 0.5
    for bits, white in ((8, 255), (16, 65535)):
        exact = halves[halves / white * white == halves]
        assert len(exact) > 4
        path = tmp_path / f"{bits}.png"
        write_image(path, (exact / white)[None, None], bits=8 if bits == 8 else 16)
        levels = (read_image(path) * white).round().flatten().tolist()
        assert levels == [int(half) + int(half) % 2 for half in exact.tolist()]


def modes() -> dict[str, tuple[Image.Image, Array]]:
    """Images of rare modes, and the levels they stand for."""
    grey, colour = noise(5, 7), noise(5, 7, 3)
    alpha = Image.fromarray(noise(7, 5).T.copy())
    plain = Image.fromarray(grey)
    palette = Image.fromarray(colour // 64 * 64).quantize(64)
    levels = np.asarray(palette.convert("RGB"))
    see_through = palette.copy()
    see_through.info["transparency"] = bytes(range(64))
    cmyk = Image.fromarray(colour).convert("CMYK")
    return {
        "grey with alpha": (Image.merge("LA", [plain, alpha]), grey),
        "colour with alpha": (
            Image.merge("RGBA", [*Image.fromarray(colour).split(), alpha]),
            colour,
        ),
        "palette": (palette, levels),
        "palette with transparency": (see_through, levels),
        "one bit": (
            plain.point(lambda level: 255 * (level > 99), "1"),
            (grey > 99).astype(np.uint8) * 255,
        ),
        "CMYK": (cmyk, np.asarray(cmyk.convert("RGB"))),
    }


@pytest.mark.parametrize("name", modes())
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_rare_modes(tmp_path: Path, name: str, suffix: str) -> None:
    picture, levels = modes()[name]
    path = tmp_path / f"a.{'jpg' if picture.mode == 'CMYK' else suffix}"
    picture.save(path, quality=100, subsampling=0)
    difference = (read_image(path) - tensor(levels)).abs().max()
    assert difference <= (0.1 if path.suffix == ".jpg" else 0)
    assert bit_depth(path) == 8


@pytest.mark.parametrize("name", modes())
def test_rare_modes_in_memory(name: str) -> None:
    picture, levels = modes()[name]
    assert torch.equal(read_image(picture), tensor(levels))


@pytest.mark.parametrize(("kind", "channels"), [(4, 2), (6, 4)], ids=["grey", "colour"])
def test_16_bits_with_alpha(tmp_path: Path, kind: int, channels: int) -> None:
    array = noise(5, 7, channels, bits=16)
    (tmp_path / "a.png").write_bytes(png(array, kind))
    assert torch.equal(read_image(tmp_path / "a.png"), tensor(array[..., : channels - 1]))


@pytest.mark.parametrize("head", [b"P5 2 1 300 ", b"P5 2 1 70000 ", b"P2 2 1 300 "])
def test_levels_above_the_white_of_a_pgm_are_damage(tmp_path: Path, head: bytes) -> None:
    path = tmp_path / "a.pgm"
    path.write_bytes(head + (b"301 2" if head[1:2] == b"2" else b"\x01\x2d\x00\x02"))
    with pytest.raises(InputError, match=r"a\.pgm"):
        read_image(path)
    if b" 300 " in head:
        path.write_bytes(head + (b"300 0" if head[1:2] == b"2" else b"\x01\x2c\x00\x00"))
        assert read_image(path).flatten().tolist() == [1, 0]


def test_grey_16_bit_pgm(tmp_path: Path) -> None:
    array = noise(5, 7, bits=16)
    cv2.imwrite(str(tmp_path / "a.pgm"), array)
    assert torch.equal(read_image(tmp_path / "a.pgm"), tensor(array))


def test_ppm_with_its_own_white(tmp_path: Path) -> None:
    array = noise(5, 7, 3, bits=16) // 64
    (tmp_path / "a.ppm").write_bytes(b"P6 7 5 1023\n" + array.astype(">u2").tobytes())
    expected = torch.from_numpy(array / 1023).permute(2, 0, 1).float()
    assert torch.equal(read_image(tmp_path / "a.ppm"), expected)


def test_tiff_that_counts_from_white_to_black(tmp_path: Path) -> None:
    for bits in (8, 16):
        array = noise(5, 7, bits=bits)
        (tmp_path / "a.tif").write_bytes(tiff(array, tag262=0))
        assert torch.equal(
            read_image(tmp_path / "a.tif"), tensor(np.iinfo(array.dtype).max - array)
        )


def test_float_tiff(tmp_path: Path) -> None:
    values = noise(5, 7).astype(np.float32) / 300
    Image.fromarray(values).save(tmp_path / "a.tif")
    assert torch.equal(read_image(tmp_path / "a.tif"), torch.from_numpy(values)[None])
    assert bit_depth(tmp_path / "a.tif") == 16


def test_phone_photograph_with_a_preview(tmp_path: Path) -> None:
    photograph, preview = Image.new("RGB", (7, 9)), Image.new("RGB", (3, 4))
    photograph.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[preview])
    assert read_image(tmp_path / "a.jpg").shape == (3, 9, 7)


@pytest.mark.parametrize("suffix", ["tif", "webp", "png"])
def test_several_images_in_a_file(tmp_path: Path, suffix: str) -> None:
    one, other = Image.new("RGB", (7, 9)), Image.new("RGB", (7, 9), "red")
    one.save(tmp_path / f"a.{suffix}", save_all=True, append_images=[other])
    with pytest.raises(InputError, match=rf"a\.{suffix} holds 2 images: save the one you mean"):
        read_image(tmp_path / f"a.{suffix}")


UPRIGHT: dict[int, Callable[[Array], Array]] = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: stored[::-1, ::-1].swapaxes(0, 1),
    8: lambda stored: np.rot90(stored),
}
"""What the EXIF standard means: 6, for one, is a camera turned so that row 0 is the right side."""


def exif(turn: int) -> Image.Exif:
    tags = Image.Exif()
    tags[274] = turn
    return tags


@pytest.mark.parametrize("turn", UPRIGHT)
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3)], ids=["grey", "colour"])
def test_orientation_of_tiff(tmp_path: Path, shape: tuple[int, ...], bits: int, turn: int) -> None:
    array = noise(*shape, bits=bits)
    (tmp_path / "a.tif").write_bytes(tiff(array, tag274=turn))
    assert torch.equal(read_image(tmp_path / "a.tif"), tensor(UPRIGHT[turn](array).copy()))


@pytest.mark.parametrize("turn", UPRIGHT)
@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3)], ids=["grey", "colour"])
def test_orientation_of_16_bit_png(tmp_path: Path, shape: tuple[int, ...], turn: int) -> None:
    array = noise(*shape, bits=16)
    tags = chunk(b"eXIf", exif(turn).tobytes().removeprefix(b"Exif\0\0"))
    (tmp_path / "a.png").write_bytes(png(array, 0 if len(shape) == 2 else 2, tags))
    assert torch.equal(read_image(tmp_path / "a.png"), tensor(UPRIGHT[turn](array).copy()))


@pytest.mark.parametrize("turn", UPRIGHT)
@pytest.mark.parametrize("suffix", ["png", "webp", "tif"])
def test_orientation_as_pillow_writes_it(tmp_path: Path, suffix: str, turn: int) -> None:
    array = noise(5, 7, 3)
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(array).save(path, exif=exif(turn), lossless=True)
    expected = tensor(UPRIGHT[turn](array).copy())
    assert torch.equal(read_image(path), expected)
    with Image.open(path) as picture:
        assert torch.equal(read_image(picture), expected)


@pytest.mark.parametrize("turn", UPRIGHT)
def test_orientation_of_jpeg(tmp_path: Path, turn: int) -> None:
    block = np.kron(noise(2, 3), np.ones((16, 16), np.uint8)).astype(np.uint8)
    Image.fromarray(block).save(tmp_path / "a.jpg", exif=exif(turn), quality=100)
    difference = read_image(tmp_path / "a.jpg") - tensor(UPRIGHT[turn](block).copy())
    assert difference.abs().max() < 0.02


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (noise(5, 7), tensor(noise(5, 7))),
        (noise(5, 7, 1), tensor(noise(5, 7, 1))),
        (noise(5, 7, 3)[::-1, ::-1], tensor(noise(5, 7, 3)[::-1, ::-1].copy())),
        (noise(5, 7, 4), tensor(noise(5, 7, 4)[..., :3])),
        (noise(5, 7, 3, bits=16).astype(">u2"), tensor(noise(5, 7, 3, bits=16))),
        (np.array([[0, 0.25, 1]]), torch.tensor([[[0, 0.25, 1]]])),
        (np.array([[[0, 0.5, 1]]], np.float16), torch.tensor([[[0.0]], [[0.5]], [[1.0]]])),
    ],
)
def test_arrays(array: Array, expected: Tensor) -> None:
    assert torch.equal(read_image(array), expected)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (torch.tensor([[0, 255]], dtype=torch.uint8), torch.tensor([[[0.0, 1.0]]])),
        (torch.tensor([[[0, 51]]], dtype=torch.uint8), torch.tensor([[[0.0, 0.2]]])),
        (torch.tensor([[[0.5]]] * 3, dtype=torch.float64), torch.full((3, 1, 1), 0.5)),
        (torch.tensor([[0.5]], requires_grad=True), torch.tensor([[[0.5]]])),
    ],
)
def test_tensors(image: Tensor, expected: Tensor) -> None:
    back = read_image(image)
    assert torch.equal(back, expected)
    assert back.dtype == torch.float32
    assert not back.requires_grad


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (np.zeros(3), r"the array has shape \(3,\): use \(H, W\) or \(H, W, C\), C 1, 3 or 4"),
        (np.zeros((3, 5, 2)), r"the array has shape \(3, 5, 2\)"),
        (np.zeros((1, 3, 5, 3)), r"the array has shape \(1, 3, 5, 3\)"),
        (np.zeros((0, 5)), r"the array has no pixels, its shape is"),
        (np.zeros((2, 2), np.int64), "the array holds int64 values: use uint8, uint16 or float"),
        (np.zeros((2, 2), np.uint32), "the array holds uint32 values"),
        (np.zeros((2, 2), bool), "the array holds bool values"),
        (np.full((2, 2), np.nan), "the array holds NaN or infinite values: replace them"),
        (np.full((2, 2), np.inf), "the array holds NaN or infinite values"),
        (np.full((2, 2), 1e300), r"the array holds values from 1e\+300 to 1e\+300: scale them"),
        (np.array([[0.0, 255.0]]), r"the array holds values from 0 to 255: scale them to \[0, 1\]"),
        (torch.tensor([[-0.5, 0.5]]), r"the tensor holds values from -0.5 to 0.5"),
        (torch.zeros(2, 5, 5), r"the tensor has shape \(2, 5, 5\): use \(H, W\) or \(C, H, W\)"),
        (torch.zeros(1, 3, 5, 5), r"the tensor has shape \(1, 3, 5, 5\)"),
        (torch.zeros(3, 0, 5), "the tensor has no pixels"),
        (torch.zeros(2, 2, dtype=torch.int64), "the tensor holds int64 values"),
        (Image.new("I", (2, 2)), "the Pillow image holds int32 values: use uint8, uint16 or"),
        (Image.new("LAB", (2, 2)), "the Pillow image holds LAB pixels: save it as RGB or grey"),
        (7, "the int is not an image: use a path, a Pillow image, an array or a tensor"),
    ],
)
def test_bad_pixels(source: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_image(source)


def test_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.png does not exist: check the name"):
        read_image(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"a\.png does not exist"):
        bit_depth(tmp_path / "a.png")


def test_folder_instead_of_a_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder, not a file: name an image in it"):
        read_image(str(tmp_path))


@pytest.mark.skipif(
    sys.platform == "win32" or os.geteuid() == 0, reason="everything is permitted to root"
)
def test_file_that_may_not_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch(mode=0)
    with pytest.raises(InputError, match=r"cannot open .*a\.png \(Permission denied\)"):
        read_image(tmp_path / "a.png")


def test_name_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot open .* \(File name too long\): check the name"):
        read_image(tmp_path / ("a" * 300))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"a\.png is empty: make or copy it again"),
        (b"hello", r"a\.png is not an image that can be read: use one of png, jpg"),
        (tiff(noise(5, 7), tag256=10**5, tag257=10**5), "more than 1,000,000,000 pixels: cut it"),
        (tiff(noise(5, 7), tag256=40_000, tag257=40_000), "more than 1,000,000,000 pixels"),
        (tiff(np.zeros((5, 7), np.int32)), r"a\.png holds int32 values: use uint8, uint16 or"),
        (tiff(np.zeros((5, 7, 4), np.uint16), tag262=5), "holds 16-bit CMYK pixels: save it as"),
        (tiff(np.full((5, 7), 2, np.float32)), r"a\.png holds values from 2 to 2: scale"),
        (tiff(np.full((5, 7), np.nan, np.float32)), r"a\.png holds NaN or infinite"),
    ],
)
def test_bad_files(
    tmp_path: Path, data: bytes, message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(InputError, match=message):
        read_image(tmp_path / "a.png")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("share", [0.5, 0.9])
@pytest.mark.parametrize(
    ("suffix", "bits"),
    [("png", 8), ("png", 16), ("jpg", 8), ("tif", 8), ("tif", 16), ("bmp", 8), ("webp", 8)],
)
def test_file_cut_short(
    tmp_path: Path,
    suffix: str,
    bits: Literal[8, 16],
    share: float,
    capfd: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / f"a.{suffix}"
    write_image(path, tensor(noise(40, 50, 3, bits=bits)), bits=bits)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(InputError, match=rf"a\.{suffix} is (damaged or cut short|not an image)"):
        read_image(path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("name", "bits", "image", "message"),
    [
        ("a.gif", 8, torch.zeros(1, 2, 2), r"a\.gif: end its name with one of \.png, \.jpg, "),
        ("a", 8, torch.zeros(1, 2, 2), r"end its name with one of"),
        ("a.jpg", 16, torch.zeros(1, 2, 2), r"16 bits: use \.png or \.tif, JPEG holds 8 only"),
        ("a.webp", 16, torch.zeros(1, 2, 2), "WEBP holds 8 only"),
        ("a.bmp", 16, torch.zeros(1, 2, 2), "BMP holds 8 only"),
        ("a.png", 12, torch.zeros(1, 2, 2), "with 12 bits: use 8 or 16"),
        ("a.png", 8, torch.full((1, 2, 2), torch.nan), r"the image for .*a\.png holds NaN"),
        ("a.png", 8, torch.full((1, 2, 2), 1.5), r"a\.png holds values from 1\.5 to 1\.5"),
        ("a.png", 8, torch.zeros(2, 2, 2), r"a\.png has shape \(2, 2, 2\)"),
        ("a.webp", 8, torch.zeros(1, 1, 16400), r"a\.webp as WEBP \(.*\): use \.png or \.tif"),
    ],
)
def test_images_that_cannot_be_written(
    tmp_path: Path, name: str, bits: Any, image: Tensor, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        write_image(tmp_path / name, image, bits=bits)
    assert not list(tmp_path.iterdir())


def test_older_files_are_safe(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    write_image(path, torch.zeros(1, 2, 2))
    with pytest.raises(InputError, match=r"a\.png exists already: .* or overwrite it"):
        write_image(path, torch.ones(1, 2, 2))
    assert read_image(path).max() == 0
    write_image(path, torch.ones(1, 2, 2), overwrite=True)
    assert read_image(path).min() == 1


def test_pair_of_files(tmp_path: Path) -> None:
    first, second = tensor(noise(5, 7, 3)), tensor(noise(5, 7))
    write_image(tmp_path / "scene.png", first)
    write_image(tmp_path / "other.png", second)
    pair = read_pair(tmp_path / "scene.png", str(tmp_path / "other.png"))
    assert torch.equal(pair.first, first)
    assert torch.equal(pair.second, second)
    assert pair.name == "scene"
    assert read_pair(tmp_path / "scene.png", second, name="7").name == "7"
    assert read_pair(first, tmp_path / "other.png").name == ""


def test_pair_of_different_sizes(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", torch.zeros(1, 4, 6))
    write_image(tmp_path / "b.png", torch.zeros(1, 2, 3))
    message = r"a\.png is 6x4 and .*b\.png is 3x2: .*or resize the second"
    with pytest.raises(InputError, match=message):
        read_pair(tmp_path / "a.png", tmp_path / "b.png")


def test_resize_brings_the_second_to_the_first() -> None:
    """A slope stays a slope, and no value leaves the range, where bicubic would overshoot."""
    slope = torch.linspace(0, 1, 32).expand(1, 8, 32)
    first = torch.zeros(3, 4, 16)
    pair = read_pair(first, slope, resize=True)
    assert torch.equal(pair.first, first)
    expected = slope[:, :4].unflatten(-1, (16, 2)).mean(-1)
    torch.testing.assert_close(pair.second[..., 2:-2], expected[..., 2:-2])
    edge = (torch.arange(8) < 4).float().expand(1, 8, 8)
    larger = read_pair(torch.zeros(1, 32, 32), edge, resize=True).second
    assert larger.min() == 0
    assert larger.max() == 1


def test_resize_does_not_alias() -> None:
    """Stripes of one pixel become grey when made smaller, not black or white."""
    stripes = (torch.arange(64) % 2).float().expand(1, 64, 64)
    smaller = read_pair(torch.zeros(1, 21, 21), stripes, resize=True).second
    assert (smaller[..., 2:-2] - 0.5).abs().max() < 0.1
