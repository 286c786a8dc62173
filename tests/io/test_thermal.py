"""Radiometric files: their counts and temperatures, the pairs in them, and damaged ones."""

import math
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from image_bytes import Array, encoded, png, segment
from PIL import Image
from released import shared, shared_cases
from thermal_bytes import (
    CAMERA,
    Overlay,
    camera_record,
    dji_jpeg,
    fff,
    flir_jpeg,
    flir_segments,
    photo_records,
    raw_record,
    scene,
    swapped_png,
    with_segments,
)

from cddfuse.errors import InputError
from cddfuse.io import Ranges, load_pair, read_image, resolve
from cddfuse.io.decode import Decoded, decode, decode_both, decode_content, image_size
from cddfuse.io.folders import PairedPaths
from cddfuse.io.thermal.planck import Calibration

COUNTS = scene()
PICTURE = encoded(Image.new("RGB", (32, 24), "red"), "JPEG")


def read(data: bytes) -> Decoded:
    return decode_content(data, "a.jpg")


def test_an_ideal_body_worked_by_hand() -> None:
    """Emissivity 1, no air and no window: the inverse of Planck's law alone."""
    ideal = {"emissivity": 1.0, "distance": 0.0, "transmission": 1.0}
    camera = Calibration(**(CAMERA | ideal | {"x": 1.0}))
    counts = np.array([[17000, 18000]], np.uint16)
    by_hand = [
        1395.7 / math.log(14866.5 / (0.0110865 * (s - 5859)) + 1) - 273.15 for s in counts[0]
    ]
    assert camera.celsius(counts)[0] == pytest.approx(by_hand, abs=1e-4)


def measured(celsius: Array, c: dict[str, float]) -> Array:
    """Counts of a scene, by the formula of the docstring."""

    def signal(kelvin: Array | float) -> Array:
        return c["r1"] / (c["r2"] * (np.exp(c["b"] / kelvin) - c["f"])) - c["o"]

    air, root = c["air"] - 273.15, math.sqrt(c["distance"] / 2)
    water = math.exp(1.5587 + 0.06939 * air - 2.7816e-4 * air**2 + 6.8455e-7 * air**3)
    moist = math.sqrt(c["humidity"] * water)
    near, far = (math.exp(-root * (c[f"a{i}"] + c[f"b{i}"] * moist)) for i in (1, 2))
    tau, e, t = c["x"] * near + (1 - c["x"]) * far, c["emissivity"], c["transmission"]
    body = e * signal(celsius + 273.15) + (1 - e) * signal(c["reflected"])
    return (
        tau * t * tau * body
        + (1 - tau) * t * tau * signal(c["air"])
        + (1 - t) * tau * signal(c["window"])
        + (1 - tau) * signal(c["air"])
    )


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"emissivity": 0.5, "reflected": 310.0},
        {"distance": 200.0, "humidity": 0.9},
        {"transmission": 0.6, "window": 320.0},
        {"f": 1.5, "b": 1450.0},
    ],
    ids=str,
)
def test_temperatures_come_back_from_their_counts(changes: dict[str, float]) -> None:
    truth = np.linspace(-10, 120, 400).reshape(20, 20)
    constants = CAMERA | changes
    counts = measured(truth, constants)
    found = Calibration(**constants).celsius(counts.round().astype(np.uint16))
    step = np.abs(np.gradient(truth.ravel()) / np.gradient(counts.ravel())).max()
    assert np.abs(found - truth).max() < 0.6 * step
    percent = Calibration(**(constants | {"humidity": constants["humidity"] * 100}))
    np.testing.assert_allclose(percent.celsius(COUNTS), Calibration(**constants).celsius(COUNTS))


def test_warmer_counts_are_never_colder() -> None:
    everything = np.arange(2**16, dtype=np.uint16)[None]
    celsius = Calibration(**CAMERA).celsius(everything)[0]
    assert celsius[0] == pytest.approx(-273.15)
    assert (np.diff(celsius) >= 0).all()
    assert np.isfinite(celsius).all()


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("inner", "<>")
def test_both_byte_orders_of_each_part(order: str, inner: str) -> None:
    found = read(fff({1: raw_record(COUNTS, inner), 0x20: camera_record(inner)}, order))
    assert found.unit == "C"
    np.testing.assert_array_equal(found.pixels, Calibration(**rounded()).celsius(COUNTS))


def rounded() -> dict[str, float]:
    """The constants as 32-bit floats hold them."""
    return {name: float(np.float32(value)) for name, value in CAMERA.items()}


@pytest.mark.parametrize("body", [None, swapped_png(COUNTS), png(COUNTS, 0)])
def test_forms_of_counts(tmp_path: Path, body: bytes | None) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(flir_jpeg({0x20: bytes(0x340), 1: raw_record(COUNTS, body=body)}, size=700))
    found = decode(path)
    assert (found.unit, found.deep, found.full) == ("", True, (0, 65535))
    np.testing.assert_array_equal(found.pixels, COUNTS)
    assert image_size(path) == COUNTS.shape


def test_jpeg_ls_counts() -> None:
    import imagecodecs

    body = bytes(imagecodecs.jpegls_encode(COUNTS))
    np.testing.assert_array_equal(read(fff({1: raw_record(COUNTS, body=body)})).pixels, COUNTS)


def test_jpeg_ls_of_a_size_that_the_record_does_not_say_takes_no_memory() -> None:
    import imagecodecs

    frame = b"\xff\xf7\0\x0b\x10" + struct.pack(">HH", *COUNTS.shape)
    body = bytes(imagecodecs.jpegls_encode(COUNTS))
    assert frame in body
    huge = body.replace(frame, frame[:5] + struct.pack(">HH", 65500, 65500))
    with pytest.raises(InputError, match="another size than its record says"):
        read(fff({1: raw_record(COUNTS, body=huge)}))


def test_parts_may_come_in_any_order_and_none_may_lack() -> None:
    parts = flir_segments(fff({1: raw_record(COUNTS)}), 300)
    assert len(parts) > 3
    np.testing.assert_array_equal(
        read(with_segments(PICTURE, b"".join(parts[::-1]))).pixels, COUNTS
    )
    with pytest.raises(InputError, match="5 of the 6 parts of its FLIR data are there"):
        read(with_segments(PICTURE, b"".join(parts[1:])))


def test_photos_of_thermal_cameras_are_photos() -> None:
    found = read(flir_jpeg({0x20: camera_record()}))
    assert (found.pixels.shape, found.deep) == ((24, 32, 3), False)


@pytest.mark.parametrize("constants", [{"r1": 0.0}, {"emissivity": 0.0}, {"b": math.nan}])
def test_without_a_calibration_there_are_counts(constants: dict[str, float]) -> None:
    found = read(fff({1: raw_record(COUNTS), 0x20: camera_record("<", **constants)}))
    np.testing.assert_array_equal(found.pixels, COUNTS)


@pytest.mark.parametrize("marker", [0xE3, 0xE4])
@pytest.mark.parametrize("make", ["DJI", ""])
def test_counts_of_dji(marker: int, make: str) -> None:
    found = read(dji_jpeg(COUNTS, marker, make))
    assert (found.unit, found.deep) == ("", True)
    np.testing.assert_array_equal(found.pixels, COUNTS)


def test_other_segments_are_no_counts() -> None:
    plain = with_segments(PICTURE, segment(0xE3, bytes(2 * 24 * 32 - 2)))
    assert read(plain).pixels.shape == (24, 32, 3)
    whole = dji_jpeg(COUNTS)
    cut = whole.replace(segment(0xE3, COUNTS.tobytes()[1000:]), b"")
    assert len(cut) < len(whole)
    with pytest.raises(InputError, match="holds thermal counts in a layout that is not known"):
        read(cut)


def pattern(height: int, width: int) -> Array:
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 // width, y * 255 // height, (x + y) % 2 * 60], -1).astype(np.uint8)


def as_png_of_ycbcr(image: Array) -> bytes:
    return png(np.asarray(Image.fromarray(image).convert("YCbCr")), 2)


def radiometric(path: Path, overlay: Overlay, photo: Array, **options: Any) -> Path:
    records = {1: raw_record(COUNTS), 0x20: camera_record()}
    records |= photo_records(as_png_of_ycbcr(photo), overlay)
    path.write_bytes(flir_jpeg(records, **options))
    return path


def test_the_photo_in_a_file_is_cropped_to_what_the_thermal_camera_sees(tmp_path: Path) -> None:
    photo = pattern(96, 128)
    path = radiometric(tmp_path / "a.jpg", Overlay(2.0, 10, -6), photo)
    one, other = decode_both(path)
    # Half of the photo around its centre plus the offsets.
    expected = photo[48 - 6 - 24 : 48 - 6 + 24, 64 + 10 - 32 : 64 + 10 + 32]
    assert np.abs(one.pixels.astype(int) - expected).max() <= 3  # of YCbCr in 8 bits
    assert other.pixels.shape == (24, 32)
    pair, metadata = load_pair(path, path, ranges=Ranges.parse(["auto"]))
    assert pair.first.shape == (3, 48, 64)
    assert pair.second.shape == (1, 48, 64)
    assert metadata.bits == 16


def test_what_lies_outside_of_the_photo_is_left_out_of_both(tmp_path: Path) -> None:
    photo = pattern(96, 128)
    one, other = decode_both(radiometric(tmp_path / "a.jpg", Overlay(1.0, 32, 0), photo))
    assert one.pixels.shape == (96, 96, 3)
    assert np.abs(one.pixels.astype(int) - photo[:, 32:]).max() <= 3
    np.testing.assert_array_equal(other.pixels, decode(tmp_path / "a.jpg").pixels[:, :24])
    with pytest.raises(InputError, match="show different parts of the scene"):
        decode_both(radiometric(tmp_path / "b.jpg", Overlay(1.0, 500, 0), photo))


def test_both_images_of_a_file_are_turned_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    overlay = Overlay(2.0, 10, -6)
    turned = decode_both(radiometric(tmp_path / "a.jpg", overlay, pattern(96, 128), exif=exif))
    level = decode_both(radiometric(tmp_path / "b.jpg", overlay, pattern(96, 128)))
    for one, other in zip(turned, level, strict=True):
        np.testing.assert_array_equal(one.pixels, np.rot90(other.pixels, -1))


def test_a_photo_with_fewer_pixels_is_enlarged(tmp_path: Path) -> None:
    path = radiometric(tmp_path / "a.jpg", Overlay(1.0), pattern(12, 16))
    pair, _ = load_pair(path, path, ranges=Ranges.parse(["auto"]))
    assert pair.first.shape[-2:] == pair.second.shape[-2:] == COUNTS.shape


def test_a_file_without_a_photo_is_no_pair(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(dji_jpeg(COUNTS))
    with pytest.raises(InputError, match="holds no visible photo: give the visible image too"):
        decode_both(tmp_path / "a.jpg")


def flir(celsius: bool = True) -> bytes:
    records = {1: raw_record(COUNTS)} | ({0x20: camera_record()} if celsius else {})
    return flir_jpeg(records)


def degrees(path: Path, text: str, kelvin_per_count: float | None = None) -> Array:
    """A file as the second of a pair, by a range."""
    other = path.with_name("vi.png")
    Image.new("L", (32, 24), 90).save(other)
    pair, _ = load_pair(other, path, ranges=Ranges.parse([text], kelvin_per_count=kelvin_per_count))
    assert pair.first.unique().numel() == 1  # 8 bits stay as they are
    return pair.second[0].numpy()


def test_ranges_in_degrees(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(flir())
    celsius = decode(path).pixels
    expected = ((celsius - 15) / 10).clip(0, 1)
    for text in ("15:25C", "288.15:298.15K", "second=15:25c"):
        np.testing.assert_allclose(degrees(path, text), expected, atol=1e-5)
    tifffile.imwrite(tmp_path / "b.tif", celsius)
    np.testing.assert_allclose(degrees(tmp_path / "b.tif", "15:25C"), expected, atol=1e-5)
    centikelvin = ((celsius + 273.15) * 100).round().astype(np.uint16)
    tifffile.imwrite(tmp_path / "c.tif", centikelvin)
    found = degrees(tmp_path / "c.tif", "15:25C", kelvin_per_count=0.01)
    np.testing.assert_allclose(found, expected, atol=6e-4)


def test_counts_have_no_range_in_degrees(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(dji_jpeg(COUNTS))
    with pytest.raises(InputError, match=r"a\.jpg holds counts and does not say") as error:
        degrees(tmp_path / "a.jpg", "15:25C")
    assert error.value.setting == ("range", "kelvin_per_count")
    with pytest.raises(InputError, match="one count cannot be -1 kelvin"):
        Ranges.parse([], kelvin_per_count=-1)


def test_a_folder_has_one_range_in_degrees(tmp_path: Path) -> None:
    """Whatever the cameras were told: the same temperature is the same grey."""
    Image.new("L", (32, 24), 90).save(tmp_path / "vi.png")
    for name, e in {"a": 0.95, "b": 0.7}.items():
        records = {1: raw_record(COUNTS), 0x20: camera_record(emissivity=e)}
        (tmp_path / f"{name}.jpg").write_bytes(flir_jpeg(records))
    pairs = [PairedPaths(x, tmp_path / "vi.png", tmp_path / f"{x}.jpg") for x in "ab"]
    found = resolve(Ranges(), pairs)
    assert found.sentence.startswith("value range: second=auto:")
    assert "C from 2 files" in found.sentence
    assert Ranges.parse(found.ranges.texts) == found.ranges
    one, other = (decode(pair.second).pixels for pair in pairs)
    assert found.ranges.second.given is not None
    low, high = found.ranges.second.given
    assert low == pytest.approx(min(one.min(), other.min()), abs=0.3)
    assert high == pytest.approx(max(one.max(), other.max()), abs=0.3)
    (tmp_path / "b.jpg").write_bytes(dji_jpeg(COUNTS))
    with pytest.raises(InputError, match="the second images hold values of different types"):
        resolve(Ranges.parse(["minmax"]), pairs)


def test_temperatures_are_handed_on(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(flir())
    Image.new("L", (32, 24), 90).save(tmp_path / "vi.png")
    Image.new("L", (64, 48), 90).save(tmp_path / "large.png")
    celsius = decode(tmp_path / "a.jpg").pixels
    auto = Ranges()
    exact = load_pair(tmp_path / "vi.png", tmp_path / "a.jpg", ranges=auto, celsius=True)[1]
    np.testing.assert_array_equal(exact.celsius, celsius)
    large = load_pair(
        *(tmp_path / "large.png", tmp_path / "a.jpg"), resize=True, ranges=auto, celsius=True
    )[1].celsius
    assert large is not None
    assert large.shape == (48, 64)
    assert celsius.min() <= large.min() <= large.max() <= celsius.max()
    (tmp_path / "d.jpg").write_bytes(dji_jpeg(COUNTS))
    with pytest.raises(InputError, match="says what it holds in degrees") as error:
        load_pair(tmp_path / "vi.png", tmp_path / "d.jpg", ranges=auto, celsius=True)
    assert error.value.setting == ("celsius", "kelvin_per_count")


SMALL = scene(6, 8)
WHOLE = {
    "fff": fff({1: raw_record(SMALL), 0x20: camera_record()}),
    "jpeg": flir_jpeg(
        {
            **photo_records(as_png_of_ycbcr(pattern(12, 16)), Overlay(1.5, 1, 1)),
            1: raw_record(SMALL, body=swapped_png(SMALL)),
            0x20: camera_record(),
        }
    ),
    "dji": dji_jpeg(SMALL, size=40),
}


def survives(data: bytes, parse: Callable[[bytes], object]) -> bool:
    """Whether it is read; anything but an `InputError` fails the test."""
    try:
        parse(data)
    except InputError:
        return False
    return True


@pytest.fixture
def both(tmp_path: Path) -> Callable[[bytes], object]:
    def parse(data: bytes) -> object:
        (tmp_path / "a").write_bytes(data)
        return decode_both(tmp_path / "a")

    return parse


@pytest.mark.parametrize("form", WHOLE)
def test_files_cut_short_anywhere(form: str, both: Callable[[bytes], object]) -> None:
    data = WHOLE[form]
    ends = [end for end in range(1, len(data)) if survives(data[:end], read)]
    if form == "fff":
        assert not ends
    else:  # the pixels of the shown picture may be missing
        assert all(end > data.rindex(b"\xff\xc0") for end in ends)
    for end in range(1, len(data), 23):
        assert not survives(data[:end], both) or end in ends


@pytest.mark.parametrize("form", WHOLE)
def test_mutated_files(form: str, both: Callable[[bytes], object]) -> None:
    chance = random.Random(form)
    wrong = (b"\xff", b"\0", b"\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff")
    for round in range(600):
        data = bytearray(WHOLE[form])
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(min(len(data), 600))
            piece = chance.choice((*wrong, chance.randbytes(4)))
            data[at : at + len(piece)] = piece
        survives(bytes(data), read)
        if round % 10 == 0:
            survives(bytes(data), both)


@pytest.mark.parametrize(
    ("at", "value", "said"),
    [
        (0x1C, 2**31, "its FLIR directory is cut short"),
        (0x18, 2**32 - 32, "its FLIR directory is cut short"),
        (0x14, 7, "its FLIR data is of an unknown version"),
        (0x40 + 16, 2**32 - 1, "a FLIR record is cut short"),
        (0x40 + 12, 2**32 - 1, "a FLIR record is cut short"),
    ],
)
def test_huge_numbers(at: int, value: int, said: str) -> None:
    data = bytearray(WHOLE["fff"])
    struct.pack_into(">I", data, at, value)
    with pytest.raises(InputError, match=said):
        read(bytes(data))


@pytest.mark.parametrize("size", [(0, 5), (65535, 65535), (8, 7)])
def test_wrong_sizes(size: tuple[int, int]) -> None:
    record = bytearray(raw_record(SMALL))
    struct.pack_into("<HH", record, 2, *size)
    with pytest.raises(InputError):
        read(fff({1: bytes(record)}))


REAL = {
    "E40": ("FLIR_E40.jpg", (120, 160), 17.876, 24.700),
    "b60": ("FLIR_B60.jpg", (180, 180), -68.079, -0.228),
    "little-endian": ("frame_000000_le.fff", (240, 320), 22.943, 29.497),
    "AX8": ("FLIR_AX8.jpg", (60, 80), 24.360, 25.469),
    "M2EA": ("M2EA_1.jpg", (512, 640), 17228, 20036),
    "XT S": ("DJI_XTS.jpg", (512, 640), 5217, 5518),
}


@pytest.mark.parametrize(("name", "shape", "low", "high"), shared_cases(REAL))
def test_real_files(name: str, shape: tuple[int, int], low: float, high: float) -> None:
    pixels = decode(shared("data", "thermal", name)).pixels
    assert pixels.shape == shape
    assert (pixels.min(), pixels.max()) == pytest.approx((low, high), abs=6e-4)


def test_read_image_asks_for_a_range(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(flir())
    with pytest.raises(InputError, match="or give their range"):
        read_image(tmp_path / "a.jpg")
