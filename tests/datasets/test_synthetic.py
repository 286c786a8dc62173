"""Made-up streets: what their labels promise, and that fusing them is worth it."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from cddfuse.colour import luma
from cddfuse.datasets.synthetic import CLASSES, LABELS, Object, Scene, night_street
from cddfuse.datasets.synthetic import __main__ as program
from cddfuse.errors import InputError

EXAMPLES = Path(__file__).parents[2] / "examples"
SEEDS = range(6)


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [night_street(seed, (240, 320)) for seed in SEEDS]


def persons(scene: Scene) -> list[Object]:
    """Those large enough that blur does not mix them with what is behind them."""
    return [item for item in scene.objects if item.label == "person" and item.mask.sum() > 150]


def surroundings(mask: Tensor, reach: int = 7) -> Tensor:
    """A ring around the mask, its blurred rim left out."""
    wide, narrow = (
        cv2.dilate(mask.numpy().astype(np.uint8), np.ones((size, size), np.uint8)) > 0
        for size in (2 * reach + 1, 3)
    )
    return torch.from_numpy(wide & ~narrow)


def excess(image: Tensor, mask: Tensor) -> float:
    """How much brighter the mask is than what is around it."""
    return float(image[0, mask].mean() - image[0, surroundings(mask)].mean())


@pytest.mark.parametrize("size", [(32, 32), (37, 61), (120, 33), (48, 200), (96, 128)])
def test_any_size(size: tuple[int, int]) -> None:
    pair, objects, classes = night_street(3, size)
    assert pair.first.shape == (3, *size)
    assert pair.second.shape == (1, *size)
    assert classes.shape == size
    assert all(item.mask.shape == size for item in objects)
    assert all(image.is_contiguous() for image in pair[:2])


def test_types_ranges_and_name(scenes: list[Scene]) -> None:
    for seed, (pair, objects, classes) in zip(SEEDS, scenes, strict=True):
        for image in pair[:2]:
            assert image.dtype == torch.float32
            assert 0 <= image.min() < 0.1
            assert 0.9 < image.max() <= 1
        assert pair.name == f"scene-{seed:04d}"
        assert classes.dtype == torch.int64
        assert all(item.mask.dtype == torch.bool for item in objects)


def test_too_small_a_size_is_named() -> None:
    with pytest.raises(InputError, match=r"\(31, 64\).*32"):
        night_street(0, (31, 64))


def test_the_seed_decides() -> None:
    one, again, other = (night_street(seed, (96, 128)) for seed in (5, 5, 6))
    assert torch.equal(one.pair.first, again.pair.first)
    assert torch.equal(one.pair.second, again.pair.second)
    assert torch.equal(one.classes, again.classes)
    assert [item.box for item in one.objects] == [item.box for item in again.objects]
    assert (one.classes != other.classes).float().mean() > 0.1


def test_size_does_not_change_what_is_there() -> None:
    small, large = (persons(night_street(5, size)) for size in ((240, 320), (480, 640)))
    assert small
    for item in small:
        twice = [2 * edge for edge in item.box]
        assert any(np.abs(np.subtract(twice, other.box)).max() <= 6 for other in large)


def test_global_generators_are_left_alone() -> None:
    torch.manual_seed(0)
    np.random.seed(0)
    expected = torch.rand(()), np.random.rand()
    torch.manual_seed(0)
    np.random.seed(0)
    night_street(1, (32, 32))
    assert (torch.rand(()), np.random.rand()) == expected


def test_layouts_differ(scenes: list[Scene]) -> None:
    count = [
        tuple(sum(item.label == label for item in s.objects) for label in LABELS) for s in scenes
    ]
    assert len(set(count)) > len(scenes) // 2


def test_boxes_bound_masks_tightly(scenes: list[Scene]) -> None:
    for item in (item for scene in scenes for item in scene.objects):
        left, top, right, bottom = item.box
        assert item.mask.sum() == item.mask[top:bottom, left:right].sum() >= 8
        for edge in (
            item.mask[top],
            item.mask[bottom - 1],
            item.mask[:, left],
            item.mask[:, right - 1],
        ):
            assert edge.any()


def test_masks_are_disjoint_and_agree_with_the_classes(scenes: list[Scene]) -> None:
    for _, objects, classes in scenes:
        assert torch.stack([item.mask for item in objects]).sum(0).max() == 1
        for item in objects:
            assert item.label in LABELS
            assert (classes[item.mask] == CLASSES.index(item.label)).all()


def test_every_class_occurs(scenes: list[Scene]) -> None:
    counts = sum(
        torch.bincount(scene.classes.flatten(), minlength=len(CLASSES)) for scene in scenes
    )
    assert isinstance(counts, Tensor)
    assert len(counts) == len(CLASSES)
    assert (counts > 100).all()


def test_sky_is_above_road(scenes: list[Scene]) -> None:
    for _, _, classes in scenes:
        rows = torch.arange(classes.shape[0])[:, None].expand_as(classes)
        assert rows[classes == CLASSES.index("sky")].max() < classes.shape[0] * 0.55
        assert rows[classes == CLASSES.index("road")].min() > classes.shape[0] * 0.4


def test_persons_are_bright_in_infrared(scenes: list[Scene]) -> None:
    found = [(scene, item) for scene in scenes for item in persons(scene)]
    assert len(found) >= 12
    assert min(excess(scene.pair.second, item.mask) for scene, item in found) > 0.08


def test_persons_in_the_dark_hardly_show_in_the_visible_image(scenes: list[Scene]) -> None:
    hidden = [
        item
        for scene in scenes
        for item in persons(scene)
        if abs(excess(luma(scene.pair.first), item.mask)) < 0.05
    ]
    assert len(hidden) >= 4


def test_signs_are_read_in_the_visible_image_only(scenes: list[Scene]) -> None:
    for scene in scenes:
        board = max(
            (item for item in scene.objects if item.label == "sign"),
            key=lambda item: int(item.mask.sum()),
        )
        visible, infrared = (image[0, board.mask].std() for image in scene.pair[:2])
        assert visible > 2 * infrared


def test_heat_of_the_classes(scenes: list[Scene]) -> None:
    for pair, _, classes in scenes:
        heat = {
            name: float(pair.second[0, classes == index].mean())
            for index, name in enumerate(CLASSES)
            if (classes == index).any()
        }
        assert min(heat, key=heat.__getitem__) == "sky"
        assert heat["person"] > max(heat[name] for name in ("road", "pavement", "building")) + 0.1


def test_both_images_show_things_where_the_labels_say(scenes: list[Scene]) -> None:
    def off_by(pixels: int) -> tuple[float, float]:
        heat = [
            excess(scene.pair.second, item.mask.roll(pixels, 1))
            for scene in scenes
            for item in persons(scene)
        ]
        # A board on its post stands out from whatever is behind it.
        print_ = [
            excess(luma(scene.pair.first), item.mask.roll(pixels, 1))
            for scene in scenes
            for item in scene.objects
            if item.label == "sign" and item.mask.sum() > 60
        ]
        return float(np.mean(heat)), float(np.mean(print_))

    heat, brightness = off_by(0)
    for pixels in (-2, 2):
        assert heat > off_by(pixels)[0] + 0.03
        assert brightness > off_by(pixels)[1] + 0.02


def test_the_examples_are_what_the_program_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["synthetic", str(tmp_path)])
    program.main()
    for name, shape in (("night_visible.png", (480, 640, 3)), ("night_infrared.png", (480, 640))):
        kept, made = (
            np.asarray(Image.open(folder / name), float) for folder in (EXAMPLES, tmp_path)
        )
        assert kept.shape == made.shape == shape
        assert np.abs(kept - made).mean() < 1
