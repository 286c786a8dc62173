"""Drawing the second image, its coverage, points, and files of transforms."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from scenes import SIZE, similarity

from cddfuse import fuse
from cddfuse.errors import InputError
from cddfuse.io.transforms import read_transform, write_transform
from cddfuse.models import create_model
from cddfuse.pair import ImagePair
from cddfuse.registration import Kind, Transform, draw, from_points, geometry


def transform(matrix: torch.Tensor, size: tuple[int, int] = SIZE) -> Transform:
    return Transform.of("similarity", matrix, size, size)


@pytest.fixture
def pair() -> ImagePair:
    first, second = torch.rand(2, 1, *SIZE, generator=torch.Generator().manual_seed(0))
    return ImagePair(first, second)


def test_no_motion_changes_nothing(pair: ImagePair) -> None:
    drawn = draw(transform(geometry.translation(0, 0)), pair)
    torch.testing.assert_close(drawn.image, pair.second, atol=1e-4, rtol=0)
    assert drawn.covered is None


def test_a_shift_of_whole_pixels_moves_them(pair: ImagePair) -> None:
    drawn = draw(transform(geometry.translation(30, -20)), pair)
    torch.testing.assert_close(
        drawn.image[:, 20:, :-30], pair.second[:, :-20, 30:], atol=1e-4, rtol=0
    )
    assert drawn.covered is not None
    assert not drawn.covered[:, :20].any()
    assert not drawn.covered[:, :, -30:].any()
    assert drawn.covered[0, 21:, :-31].all()
    assert drawn.covered[0, -1, 0] == 1


def test_large_images_are_drawn_in_bands(monkeypatch: pytest.MonkeyPatch, pair: ImagePair) -> None:
    turned = transform(similarity(3, 1.02, 5, 5))
    whole = draw(turned, pair)
    monkeypatch.setattr("cddfuse.registration.transform._BAND", 7 * SIZE[1])
    parts = draw(turned, pair)
    torch.testing.assert_close(parts.image, whole.image, atol=1e-4, rtol=0)
    assert whole.covered is not None
    assert parts.covered is not None
    assert torch.equal(parts.covered, whole.covered)


def test_a_finer_second_image_does_not_alias() -> None:
    """Stripes of one pixel become grey at a quarter of their resolution."""
    fine = torch.zeros(1, 160, 160)
    fine[..., ::2] = 1
    matrix = geometry.scaling(4, 4)
    small = Transform.of("similarity", matrix, (40, 40), (160, 160))
    drawn = draw(small, ImagePair(torch.zeros(1, 40, 40), fine))
    torch.testing.assert_close(drawn.image, torch.full((1, 40, 40), 0.5), atol=0.05, rtol=0)
    assert drawn.covered is None


def test_other_sizes_are_refused(pair: ImagePair) -> None:
    with pytest.raises(InputError, match="is for 90x90") as caught:
        draw(transform(geometry.translation(0, 0), (90, 90)), pair)
    assert caught.value.setting == "transform"


def test_the_first_image_alone_without_a_visible_edge() -> None:
    """A dark first and a bright second image: the result changes by 4 of 255 levels a pixel."""
    dark, bright = (torch.full((1, *SIZE), level) for level in (0.2, 0.6))
    drawn = draw(transform(geometry.translation(60, 0)), ImagePair(dark, bright))
    fused = fuse(create_model("max"), ImagePair(dark, drawn.image), covered=drawn.covered)
    assert torch.equal(fused[..., -60:], dark[..., -60:])
    assert fused[0, 0, 0] == pytest.approx(0.6)
    steps = fused.diff(dim=-1).abs().max()
    assert 0 < steps < 0.04


def test_colour_of_the_second_ends_where_it_does() -> None:
    grey, red = torch.full((1, *SIZE), 0.3), torch.full((3, *SIZE), 0.3)
    red[0] = 0.9
    drawn = draw(transform(geometry.translation(60, 0)), ImagePair(grey, red))
    fused = fuse(create_model("mean"), ImagePair(grey, drawn.image), covered=drawn.covered)
    torch.testing.assert_close(fused[..., -60:], grey.expand(3, -1, -1)[..., -60:])
    assert fused[0, 0, 0] > fused[1, 0, 0] + 0.2


KINDS: dict[Kind, list[list[float]]] = {
    "similarity": [[0.9, -0.1, 4], [0.1, 0.9, -3], [0, 0, 1]],
    "affine": [[0.9, -0.2, 4], [0.1, 1.1, -3], [0, 0, 1]],
    "homography": [[0.9, -0.2, 40], [0.1, 1.1, 3], [2e-4, -1e-4, 1]],
}
PLACES = torch.tensor([[60, 40], [150, 50], [140, 120], [70, 130.0]], dtype=torch.float64)


@pytest.mark.parametrize("kind", KINDS)
def test_points_give_back_their_transform(kind: Kind) -> None:
    matrix = geometry.matrix(KINDS[kind])
    points = torch.cat((PLACES, geometry.mapped(matrix, PLACES)), 1)
    found, missed = from_points(points, SIZE, SIZE, kind)
    torch.testing.assert_close(found.tensor, matrix, atol=1e-6, rtol=0)
    assert missed.max() < 1e-6
    assert (found.method, found.confidence) == ("points", None)


@pytest.mark.parametrize(
    ("points", "says"),
    [
        ([[1, 1, 1, 1]], "1 points were given, and 3 are needed"),
        ([[9, 9, 9, 9], [19, 19, 19, 19], [29, 29, 29, 29]], "do not lie on one line"),
        ([[9, 9, 9, 9], [19, 9, 999, 9], [29, 29, 29, 29]], "outside of the second image"),
        ([[9, 9, 9, 9], [99, 9, 9, 9], [9, 99, 9, 99]], "folds, mirrors or collapses"),
        ([[9, 9, 99, 9], [99, 9, 9, 9], [9, 99, 99, 99]], "folds, mirrors or collapses"),
    ],
)
def test_points_that_say_too_little(points: list[list[float]], says: str) -> None:
    with pytest.raises(InputError, match=says):
        from_points(torch.tensor(points, dtype=torch.float64), SIZE, SIZE, "affine")


def test_files_are_exact(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    kept = Transform.of("affine", geometry.matrix(KINDS["affine"]) / 3, (20, 30), (40, 50))
    write_transform(path, kept)
    assert read_transform(path) == kept
    assert (kept.first, kept.second) == ((30, 20), (50, 40))
    with pytest.raises(InputError, match="exists already"):
        write_transform(path, kept)


GOOD: dict[str, Any] = {
    "schema": "cddfuse.transform",
    "version": 1,
    "kind": "similarity",
    "method": "mind",
    "confidence": 0.3,
    "first": {"width": 30, "height": 20},
    "second": {"width": 30, "height": 20},
    "first_to_second": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
}
BAD: dict[str, Any] = {
    "schema": "other",
    "version": 2,
    "kind": "spline",
    "method": ["mind"],
    "confidence": "high",
    "first": {"width": 3.5, "height": 20},
    "second": {"width": 30, "height": -20},
    "first_to_second": [[1, 0, 0], [0, 1, 0]],
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("missing", [False, True], ids=["bad", "missing"])
def test_every_entry_matters(tmp_path: Path, name: str, missing: bool) -> None:
    path = tmp_path / "t.json"
    path.write_text(json.dumps(GOOD))
    read_transform(path)
    content = {k: v for k, v in GOOD.items() if k != name} | ({} if missing else {name: BAD[name]})
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="is not the file of a transform") as caught:
        read_transform(path)
    assert caught.value.setting == "transform"


def rows(text: str) -> bytes:
    return json.dumps(GOOD).replace("[[1, 0, 0], [0, 1, 0], [0, 0, 1]]", text).encode()


@pytest.mark.parametrize(
    "content",
    {
        "empty": b"",
        "no JSON": b"\x89PNG\r\n",
        "no text": b"\xff\xfe{",
        "a list": b"[]",
        "deep": b"[" * 60000,
        "large": b" " * 70000,
        "NaN": rows("[[NaN, 0, 0], [0, 1, 0], [0, 0, 1]]"),
        "infinite": rows("[[1e999, 0, 0], [0, 1, 0], [0, 0, 1]]"),
        "huge": rows("[[1" + "0" * 400 + ", 0, 0], [0, 1, 0], [0, 0, 1]]"),
        "many digits": rows("[[1" + "0" * 5000 + ", 0, 0], [0, 1, 0], [0, 0, 1]]"),
        "true": rows("[[true, 0, 0], [0, 1, 0], [0, 0, 1]]"),
        "text": rows('[["1", 0, 0], [0, 1, 0], [0, 0, 1]]'),
        "collapsed": rows("[[0, 0, 0], [0, 0, 0], [0, 0, 1]]"),
        "mirrored": rows("[[-1, 0, 29], [0, 1, 0], [0, 0, 1]]"),
        "folded": rows("[[1, 0, 0], [0, 1, 0], [0.1, 0, -1]]"),
        "no scale": rows("[[1, 0, 0], [0, 1, 0], [0, 0, 0]]"),
    }.values(),
)
def test_hostile_files(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "t.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match="is not the file of a transform"):
        read_transform(path)


def test_no_file(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.json"):
        with pytest.raises(InputError, match="there is no file"):
            read_transform(path)
