"""Geometry: labels at the size of the instrument, and results at the size of the labels."""

from pathlib import Path

import numpy as np
import pytest
import torch

from cddfuse.datasets.labelled import LabelledSet
from cddfuse.datasets.labels import IGNORED, Box, Classes
from cddfuse.datasets.partition import Partition
from cddfuse.downstream.frames import Frames
from cddfuse.downstream.networks import centernet
from cddfuse.downstream.tasks import Detection, Segmentation, mirrored
from cddfuse.io import PairedPaths

SIZES = {"a": (100, 210), "b": (90, 60)}
BOX = Box(1, (20.0, 30.0, 60.0, 90.0))


@pytest.fixture
def frames(tmp_path: Path) -> Frames:
    """Two images of other shapes, scaled to 64 pixels; the second has twice the scale."""
    from PIL import Image

    for name, (height, width) in SIZES.items():
        values = np.zeros((height, width), np.uint8)
        values[30:90, 20:60] = 1
        Image.fromarray(values).save(tmp_path / f"{name}.png")
    pairs = {name: PairedPaths(name, Path(name), Path(name)) for name in SIZES}
    boxes = {name: [BOX, Box(0, (1.0, 1.0, 3.0, 3.0))] for name in SIZES}
    maps = {name: tmp_path / f"{name}.png" for name in SIZES}
    classes, scenes = Classes(("lamp", "person")), {name: name for name in SIZES}
    parts = Partition("mine", ("a",), (), ("b",))
    found = LabelledSet("mine", None, "boxes", classes, pairs, SIZES, boxes, maps, scenes, parts)
    return Frames(found, 64, least_area=10)


def test_all_images_share_a_canvas_whose_sides_divide(frames: Frames) -> None:
    assert frames.scaled("a") == (30, 64)
    assert frames.scaled("b") == (64, 43)
    assert frames.canvas == (64, 64)
    image = frames.fitted("a", torch.ones(3, 100, 210))
    assert image.shape == (3, 64, 64)
    assert (image[:, :30] == 255).all()
    assert (image[:, 30:] == 0).all()


@pytest.mark.parametrize("name", SIZES)
def test_boxes_come_back_to_where_they_were(name: str, frames: Frames) -> None:
    box, small = frames.boxes(name)
    assert small.ignored
    assert not box.ignored
    back = frames.original(name, np.array([box.corners]))
    np.testing.assert_allclose(back[0], BOX.corners)
    height, width = SIZES[name]
    outside = frames.original(name, np.array([[-5.0, -5.0, 500.0, 500.0]]))
    np.testing.assert_allclose(outside[0], [0, 0, width, height])


@pytest.mark.parametrize("name", SIZES)
def test_class_maps_lie_where_the_boxes_do(name: str, frames: Frames) -> None:
    values = frames.class_map(name)
    left, top, right, bottom = frames.boxes(name)[0].corners
    rows, columns = np.nonzero(values == 1)
    np.testing.assert_allclose(
        [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1],
        [left, top, right, bottom],
        atol=1,
    )
    height, width = frames.scaled(name)
    assert (values[height:] == IGNORED).all()
    assert (values[:, width:] == IGNORED).all()
    logits = torch.from_numpy(np.stack([values == 0, values == 1]).astype(np.float32))
    whole = frames.enlarged(name, logits)
    assert whole.shape == SIZES[name]
    assert (whole == frames.labels(name)).mean() > 0.95


def test_mirrored_images_have_mirrored_targets(frames: Frames) -> None:
    assert mirrored(BOX, 64).corners == (4, 30, 44, 90)
    task = Detection(frames)
    plain, flipped = (task.targets([0], [flip]) for flip in (False, True))
    expected = centernet.targets(
        [[mirrored(box, 64) for box in frames.boxes("a")]], 2, *frames.canvas
    )
    for mine, theirs in zip(flipped, expected, strict=True):
        assert torch.equal(mine, theirs)
    # Heat falls off around the cell of the centre, which the mirror may move by one.
    difference = (flipped.heat - plain.heat.flip(-1)).abs().mean()
    assert difference < 0.01
    segmentation = Segmentation(frames)
    plain_map, flipped_map = (segmentation.targets([0], [flip]) for flip in (False, True))
    assert torch.equal(flipped_map, plain_map.flip(-1))
