"""TIFF files of the field: the right page, the right values, one true sentence for the rest."""

import struct
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
import torch
from image_bytes import Array, Order, encoded, noise, pages, tensor, tiff

from cddfuse.errors import InputError
from cddfuse.io import Range, bit_depth, image_size, read_image

REDUCED, MASK = 1, 4


def page(array: Array, kind: int = 0, **changed: int) -> tuple[dict[int, list[int]], bytes]:
    """Tags and strip of one page; `kind` is its NewSubfileType."""
    height, width, channels = (*array.shape, 1)[:3]
    tags = {254: [kind], 256: [width], 257: [height], 258: [array.itemsize * 8], 259: [1]}
    tags |= {262: [2 if channels == 3 else 1], 277: [channels], 278: [height]}
    tags |= {279: [array.nbytes]} | {int(name[3:]): [value] for name, value in changed.items()}
    return tags, array.tobytes()


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("kind", [REDUCED, MASK, REDUCED | MASK])
@pytest.mark.parametrize("order", [(0, 1, 1), (1, 0), (0, 1)])
def test_overviews_and_masks_are_no_images(
    tmp_path: Path, bits: int, kind: int, order: tuple[int, ...]
) -> None:
    """The main image is read wherever it lies, before its overviews or after a thumbnail."""
    main, overview = noise(6, 8, bits=bits), noise(3, 4, bits=bits)
    content = [page(overview, kind) if other else page(main) for other in order]
    (tmp_path / "a.tif").write_bytes(pages(content))
    assert torch.equal(read_image(tmp_path / "a.tif"), tensor(main))
    assert image_size(tmp_path / "a.tif") == (6, 8)
    assert bit_depth(tmp_path / "a.tif") == bits


def test_thumbnail_in_the_old_way(tmp_path: Path) -> None:
    content = [page(noise(6, 8)), page(noise(3, 4), tag255=2)]
    (tmp_path / "a.tif").write_bytes(pages(content))
    assert torch.equal(read_image(tmp_path / "a.tif"), tensor(noise(6, 8)))


def test_a_reduced_image_alone_is_the_image(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(pages([page(noise(6, 8), REDUCED)]))
    assert torch.equal(read_image(tmp_path / "a.tif"), tensor(noise(6, 8)))


@pytest.mark.parametrize("kind", [0, 2])
def test_several_images_are_refused(tmp_path: Path, kind: int) -> None:
    (tmp_path / "a.tif").write_bytes(pages([page(noise(6, 8), kind)] * 3))
    with pytest.raises(InputError, match=r"a\.tif holds 3 images: save the one you mean to its"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize(
    "changed",
    [{"tag259": 65000}, {"tag256": 0}, {"tag258": 8, "tag259": 9}],
    ids=["compression", "width", "obscure compression"],
)
def test_page_that_cannot_be_decoded_is_no_second_image(
    tmp_path: Path, changed: dict[str, int]
) -> None:
    main = noise(6, 8, 3)
    (tmp_path / "a.tif").write_bytes(pages([page(main), page(noise(6, 8), **changed)]))
    assert torch.equal(read_image(tmp_path / "a.tif"), tensor(main))


def test_link_to_nowhere_is_no_second_image(tmp_path: Path) -> None:
    data = bytearray(pages([page(noise(6, 8))]))
    start = struct.unpack_from("<I", data, 4)[0]
    end = start + 2 + 12 * struct.unpack_from("<H", data, start)[0]
    for link in (3, start):
        data[end : end + 4] = struct.pack("<I", link)
        (tmp_path / "a.tif").write_bytes(data)
        assert torch.equal(read_image(tmp_path / "a.tif"), tensor(noise(6, 8)))


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("first", ["pixels", "directories"])
def test_no_page_is_lost_where_a_file_is_cut_short(tmp_path: Path, first: str, big: bool) -> None:
    """Wherever it ends, all pages are counted or it is refused: never the first one alone."""
    path, images = tmp_path / "a.tif", noise(3, 6, 8, bits=16)
    if first == "pixels" and not big:
        data = pages([page(image) for image in images])
    else:
        with tifffile.TiffWriter(path, bigtiff=big) as file:
            for image in images if first == "pixels" else [images]:
                file.write(image, photometric="minisblack", metadata=None)
        data = path.read_bytes()
    for end in range(16, len(data), 7):
        path.write_bytes(data[:end])
        with pytest.raises(InputError, match=r"holds [23] images|cut short|no TIFF|no image"):
            read_image(path)
    path.write_bytes(data)
    with pytest.raises(InputError, match="holds 3 images"):
        read_image(path)


def test_main_image_in_a_subdirectory(tmp_path: Path) -> None:
    """As raw files of cameras have it, whose first page is a thumbnail."""
    deep = noise(6, 8, 3, bits=16)
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(noise(3, 4, 3), photometric="rgb", subifds=1, subfiletype=1)
        file.write(deep, photometric="rgb")
    assert torch.equal(read_image(tmp_path / "a.tif"), tensor(deep))


@pytest.mark.parametrize("dtype", ["i1", "i2", "i4"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_signed_integers_are_signed(tmp_path: Path, dtype: str, order: Order) -> None:
    values = np.array([[-100, -1, 0, 100]], dtype)
    (tmp_path / "a.tif").write_bytes(tiff(values, order))
    with pytest.raises(
        InputError, match=r"a\.tif holds int.* values: .*or give the range"
    ) as error:
        read_image(tmp_path / "a.tif")
    assert error.value.setting == "range"
    image = read_image(tmp_path / "a.tif", range=Range(-100, 100))
    torch.testing.assert_close(image, torch.tensor([[[0, 0.495, 0.5, 1]]]))
    assert bit_depth(tmp_path / "a.tif") == 16


@pytest.mark.parametrize("colours", [1, 3])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("order", ["<", ">"])
def test_premultiplied_alpha_is_undone(
    tmp_path: Path, colours: int, bits: int, order: Order
) -> None:
    white = 2**bits - 1
    pixel = [white // 4] * colours + [white // 2]
    kind = np.uint8 if bits == 8 else np.uint16
    array = np.full((2, 3, colours + 1), pixel, kind)
    array[0, 0] = 0
    data = tiff(array, order, tag338=1, tag262=2 if colours == 3 else 1)
    (tmp_path / "a.tif").write_bytes(data)
    image = read_image(tmp_path / "a.tif")
    assert image.shape == (colours, 2, 3)
    assert (image[:, 1] - 0.5).abs().max() < 2 / white
    assert (image[:, 0, 0] == 0).all()


def test_floats_with_premultiplied_alpha(tmp_path: Path) -> None:
    array = np.tile(np.array([0.125, 0.25, 0.5, 0.5], np.float32), (2, 3, 1))
    (tmp_path / "a.tif").write_bytes(tiff(array, tag338=1))
    assert torch.equal(read_image(tmp_path / "a.tif")[:, 0, 0], torch.tensor([0.25, 0.5, 1]))


@pytest.mark.parametrize("compression", ["zstd", "lzma", "lzw", "deflate", "packbits", "lerc"])
@pytest.mark.parametrize("shape", [(33, 40), (33, 40, 3), (33, 40, 4)])
@pytest.mark.parametrize("bits", [8, 16])
def test_compressions(tmp_path: Path, compression: str, shape: tuple[int, ...], bits: int) -> None:
    array = noise(*shape, bits=bits)
    options: dict[str, Any] = {"compression": compression}
    if len(shape) == 3:
        options["photometric"] = "rgb"
    for tile in (None, (16, 16)):
        tifffile.imwrite(tmp_path / "a.tif", array, tile=tile, **options)
        colours = array[..., :3] if len(shape) == 3 else array
        assert torch.equal(read_image(tmp_path / "a.tif"), tensor(colours))


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "u4", "i2"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_colour_of_any_type(tmp_path: Path, dtype: str, order: Order) -> None:
    array = (noise(5, 7, 3) / 2).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="rgb", byteorder=order)
    image = read_image(tmp_path / "a.tif", range=Range(0, 127.5))
    torch.testing.assert_close(
        image, torch.tensor(array.astype(float) / 127.5).permute(2, 0, 1).float()
    )
    (tmp_path / "b.tif").write_bytes(tiff(array, order))
    assert torch.equal(read_image(tmp_path / "b.tif", range=Range(0, 127.5)), image)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("extra", [0, 2])
def test_grey_with_alpha(tmp_path: Path, bits: int, extra: int) -> None:
    array = noise(5, 7, 2, bits=bits)
    (tmp_path / "a.tif").write_bytes(tiff(array, tag338=extra))
    assert torch.equal(read_image(tmp_path / "a.tif"), tensor(array[..., 0]))


@pytest.mark.parametrize("bits", [3, 6, 10, 12, 14])
def test_packed_bits(tmp_path: Path, bits: int) -> None:
    """Thermal cameras and scanners pack values of any depth; each row starts at a byte."""
    values = (noise(5, 8, bits=16) % 2**bits).astype(np.uint8 if bits < 8 else np.uint16)
    packed = imagecodecs.packints_encode(values, bits)
    tags = page(values, tag258=bits, tag279=len(packed))[0]
    (tmp_path / "a.tif").write_bytes(pages([(tags, bytes(packed))], ">"))
    expected = torch.tensor(values / (2**bits - 1)).float()[None]
    torch.testing.assert_close(read_image(tmp_path / "a.tif"), expected, atol=1e-7, rtol=0)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
def test_counting_from_white_to_black(tmp_path: Path, order: Order, dtype: str) -> None:
    levels = noise(5, 7)
    values = levels.astype(dtype) if dtype != "f4" else (levels / 255).astype(dtype)
    (tmp_path / "a.tif").write_bytes(tiff(values, order, tag262=0))
    white = {"u1": 255, "u2": 65535, "f4": 1}[dtype]
    expected = torch.tensor((white - values.astype(float)) / white)[None].float()
    torch.testing.assert_close(read_image(tmp_path / "a.tif"), expected)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", [2, 3, 4])
@pytest.mark.parametrize("order", ["<", ">"])
def test_planes_one_by_one(tmp_path: Path, bits: int, channels: int, order: Order) -> None:
    array = noise(5, 7, channels, bits=bits)
    photometric = "minisblack" if channels == 2 else "rgb"
    options: dict[str, Any] = {"photometric": photometric, "planarconfig": "separate"}
    extra = [] if channels == 3 else ["unassalpha"]
    planes = np.moveaxis(array, -1, 0)
    tifffile.imwrite(tmp_path / "a.tif", planes, byteorder=order, extrasamples=extra, **options)
    colours = array[..., 0] if channels == 2 else array[..., :3]
    assert torch.equal(read_image(tmp_path / "a.tif"), tensor(colours))


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("order", ["<", ">"])
def test_bigtiff(tmp_path: Path, bits: int, order: Order) -> None:
    array = noise(5, 7, 3, bits=bits)
    options: dict[str, Any] = {"byteorder": order, "bigtiff": True}
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="rgb", **options)
    assert torch.equal(read_image(tmp_path / "a.tif"), tensor(array))
    tifffile.imwrite(tmp_path / "b.tif", array[..., 0] > 99, **options)
    expected = torch.tensor(array[..., 0] <= 99)[None].float()  # it writes ink: 1 is black
    assert torch.equal(read_image(tmp_path / "b.tif"), expected)


def test_three_bands_without_a_word_about_colour(tmp_path: Path) -> None:
    """As GDAL writes colour of more than 8 bits."""
    array = noise(5, 7, 3, bits=16)
    (tmp_path / "a.tif").write_bytes(tiff(array, tag262=1))
    assert torch.equal(read_image(tmp_path / "a.tif"), tensor(array))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (tiff(noise(5, 7, bits=16), tag262=32803), "holds raw sensor data: develop it to"),
        (tiff(noise(5, 7, 4, bits=16), tag262=5), "holds 16-bit CMYK pixels: save it as RGB or"),
        (tiff(noise(5, 7, 3, bits=16), tag262=8), "holds 16-bit Lab pixels: save it as RGB or"),
        (tiff(noise(5, 7, 3), tag262=8), "holds LAB pixels: save it as RGB or grey"),
        (tiff(noise(5, 7, bits=16), tag262=3), "holds 16-bit palette pixels"),
        (tiff(np.zeros((5, 7), np.float32), tag339=6), "holds complex values: save their magn"),
        (tiff(noise(5, 7, 5, bits=16)), "has 5 channels: save it as RGB or grey"),
        (tiff(noise(6, 8, 3), tag262=6, tag530=2), "holds YCbCr pixels with less colour than"),
        (tiff(noise(6, 8, 3), tag278=2), "some of its strips or tiles are missing"),
        (tiff(noise(6, 8, 3, bits=16), tag278=2), "some of its strips or tiles are missing"),
        (tiff(noise(6, 8, bits=16), tag259=65000), "is damaged or cut short"),
    ],
)
def test_the_rest_has_one_true_sentence(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "a.tif").write_bytes(data)
    with pytest.raises(InputError, match=rf"a\.tif .*{message}"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits"])
@pytest.mark.parametrize("turn", [1, 3, 6])
def test_compressed_files_turn_once(tmp_path: Path, compression: str, turn: int) -> None:
    block = np.kron(noise(2, 3), np.ones((16, 16), np.uint8)).astype(np.uint8)
    options = {"compression": compression, "quality": 100} if compression == "jpeg" else {}
    data = encoded(block, "TIFF", tiffinfo={274: turn}, **options or {"compression": compression})
    (tmp_path / "a.tif").write_bytes(data)
    upright = np.rot90(block, {1: 0, 3: 2, 6: -1}[turn])
    assert (read_image(tmp_path / "a.tif") - tensor(upright.copy())).abs().max() < 0.02
