"""Formats of labels: what is read, and one sentence for all that would make a score wrong."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cddfuse.datasets.labels import (
    IGNORED,
    Box,
    Classes,
    read_class_map,
    read_coco,
    read_voc,
    read_yolo,
    write_yolo,
)
from cddfuse.errors import InputError

SIZE = (20, 40)
TWO = Classes(("person", "car"))


def voc(*corners: int, name: str = "car", size: tuple[int, int] = (40, 20), rest: str = "") -> str:
    left, top, right, bottom = corners
    return (
        f"<annotation><size><width>{size[0]}</width><height>{size[1]}</height></size><object>"
        f"<name>{name}</name>{rest}<bndbox><xmin>{left}</xmin><ymin>{top}</ymin>"
        f"<xmax>{right}</xmax><ymax>{bottom}</ymax></bndbox></object></annotation>"
    )


def coco(**changes: Any) -> dict[str, Any]:
    content = {
        "images": [{"id": 7, "file_name": "x/a.jpg", "width": 40, "height": 20}],
        "categories": [{"id": 3, "name": "car"}, {"id": 9, "name": "person"}],
        "annotations": [
            {"image_id": 7, "category_id": 3, "bbox": [4, 2, 8, 6], "iscrowd": 0},
            {"image_id": 7, "category_id": 9, "bbox": [0, 0, 40, 20], "iscrowd": 1},
        ],
    }
    return {**content, **changes}


def written(path: Path, content: str | dict[str, Any]) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_all_formats_agree_on_one_box(tmp_path: Path) -> None:
    """Pixels 4 to 11 across and 2 to 7 down."""
    expected = Box(1, (4.0, 2.0, 12.0, 8.0))
    yolo = written(tmp_path / "a.txt", "1 0.2 0.25 0.2 0.3\n\n")
    (found,) = read_yolo(yolo, SIZE, TWO)
    assert found.label == 1
    assert found.corners == pytest.approx(expected.corners)
    file = written(tmp_path / "a.xml", voc(5, 3, 12, 8))
    assert read_voc(file, SIZE, TWO) == [expected]
    assert read_voc(written(tmp_path / "0.xml", voc(4, 2, 11, 7)), SIZE, TWO, origin=0) == [
        expected
    ]
    images = read_coco(written(tmp_path / "a.json", coco()), TWO, {"a": SIZE}.get)
    assert images == {"a": [expected, Box(0, (0, 0, 40, 20), ignored=True)]}


def test_written_boxes_are_read_again(tmp_path: Path) -> None:
    boxes = [Box(0, (0.0, 0.0, 40.0, 20.0)), Box(1, (3.0, 1.0, 4.0, 19.0))]
    write_yolo(tmp_path / "a.txt", boxes, SIZE)
    for mine, theirs in zip(read_yolo(tmp_path / "a.txt", SIZE, TWO), boxes, strict=True):
        assert mine.label == theirs.label
        assert mine.corners == pytest.approx(theirs.corners, abs=1e-5)
    write_yolo(tmp_path / "empty.txt", [], SIZE)
    assert read_yolo(tmp_path / "empty.txt", SIZE, TWO) == []


def test_classes_are_merged_renamed_and_left_out(tmp_path: Path) -> None:
    classes = Classes(("bus", "car", "tree"), {"Bus": "vehicle", "car": "vehicle", "tree": ""})
    assert classes.kept == ("vehicle",)
    file = written(tmp_path / "a.txt", "".join(f"{n} 0.5 0.5 0.5 0.5\n" for n in (0, 1, 2)))
    assert [box.label for box in read_yolo(file, SIZE, classes)] == [0, 0]
    Image.fromarray(np.array([[0, 1, 2, 255]], np.uint8)).save(tmp_path / "a.png")
    assert read_class_map(tmp_path / "a.png", (1, 4), classes).tolist() == [
        [0, 0, IGNORED, IGNORED]
    ]


def test_numbers_may_start_at_one(tmp_path: Path) -> None:
    file = written(tmp_path / "a.txt", "2 0.5 0.5 0.5 0.5\n")
    assert read_yolo(file, SIZE, Classes(("person", "car"), first=1))[0].label == 1


def test_difficult_objects_are_ignored_and_names_may_differ_in_case(tmp_path: Path) -> None:
    file = written(tmp_path / "a.xml", voc(1, 1, 4, 4, name="CAR", rest="<difficult>1</difficult>"))
    assert read_voc(file, SIZE, TWO) == [Box(1, (0.0, 0.0, 4.0, 4.0), ignored=True)]


def test_boxes_that_are_rounded_over_the_edge_are_clipped(tmp_path: Path) -> None:
    file = written(tmp_path / "a.txt", "0 0.5 0.5 1.04 1.04\n")
    assert read_yolo(file, SIZE, TWO)[0].corners == (0, 0, 40, 20)


@pytest.mark.parametrize(
    ("line", "message", "setting"),
    [
        ("2 0.5 0.5 0.1 0.1", "class number 2, but 2 classes .* 0 to 1: say which", "first_class"),
        ("-1 0.5 0.5 0.1 0.1", "class number -1.*say which number the first", "first_class"),
        ("7 0.5 0.5 0.1 0.1", "class number 7.*name all classes", "classes"),
        ("0 0.5 0.5 0 0.1", "box without area", None),
        ("0 0.5 0.5 0.1 -0.1", "box without area", None),
        ("0 nan 0.5 0.1 0.1", "box without area", None),
        ("0 0.95 0.5 0.5 0.1", "ends 8 pixels outside of the image of 40x20", None),
        ("0 12 9 4 4", "counts in pixels", None),
        ("0 0.5 0.5 0.1", "is no box", None),
        ("car 0.5 0.5 0.1 0.1", "is no box", None),
        ("\xff\xfe", "is no box", None),
    ],
)
def test_slips_in_yolo_text_are_named(
    line: str, message: str, setting: str | None, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_yolo(written(tmp_path / "a.txt", line), SIZE, TWO)
    assert caught.value.setting == setting
    assert "a.txt" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message", "setting"),
    [
        (voc(0, 3, 9, 9), "begins at pixel 0.*counted from 0", "voc_origin"),
        (voc(9, 3, 5, 9), "box without area", None),
        (voc(1, 1, 60, 9), "ends 20 pixels outside", None),
        (voc(1, 1, 5, 9, name="boat"), "class boat, but known are", ("classes", "map")),
        (voc(1, 1, 5, 9, size=(20, 40)), "labels an image of 20x40, but the image is 40x20", None),
        (voc(1, 1, 5, 9).replace("<xmin>1</xmin>", ""), "no file of Pascal VOC", None),
        (voc(1, 1, 5, 9).replace("<xmin>1<", "<xmin>one<"), "a number that is none", None),
        ("<annotation>", "no file of Pascal VOC", None),
    ],
)
def test_slips_in_voc_are_named(text: str, message: str, setting: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_voc(written(tmp_path / "a.xml", text), SIZE, TWO)
    assert caught.value.setting == setting


def other_size(content: dict[str, Any]) -> None:
    content["images"][0]["width"] = 41


def other_class(content: dict[str, Any]) -> None:
    content["categories"][0]["name"] = "boat"


def unknown_image(content: dict[str, Any]) -> None:
    content["annotations"][0]["image_id"] = 8


def empty_box(content: dict[str, Any]) -> None:
    content["annotations"][0]["bbox"] = [1, 1, 0, 3]


def one_number(content: dict[str, Any]) -> None:
    content["categories"][1]["id"] = 3


def endless(content: dict[str, Any]) -> None:
    content["images"][0]["width"] = float("inf")


def two_images(content: dict[str, Any]) -> None:
    content["images"].append({**content["images"][0], "id": 8, "file_name": "y/a.png"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (other_size, "labels an image of a of 41x20"),
        (other_class, "class boat"),
        (unknown_image, "no file of COCO"),
        (empty_box, "image a, has a box without area"),
        (two_images, "two images of one name"),
        (one_number, "two categories of one id"),
        (endless, "no file of COCO"),
    ],
)
def test_slips_in_coco_are_named(
    change: Callable[[dict[str, Any]], None], message: str, tmp_path: Path
) -> None:
    content = coco()
    change(content)
    with pytest.raises(InputError, match=message):
        read_coco(written(tmp_path / "a.json", content), TWO, {"a": SIZE}.get)
    with pytest.raises(InputError, match="is no JSON"):
        read_coco(written(tmp_path / "b.json", "{"), TWO, {"a": SIZE}.get)
    with pytest.raises(InputError, match="is no JSON"):
        read_coco(written(tmp_path / "b.json", "[" * 100_000), TWO, {"a": SIZE}.get)


def test_class_maps_may_have_a_palette_or_16_bits(tmp_path: Path) -> None:
    values = np.array([[0, 1], [1, 255]], np.uint8)
    grey, deep, paletted = (tmp_path / f"{name}.png" for name in ("grey", "deep", "paletted"))
    Image.fromarray(values).save(grey)
    Image.fromarray(values.astype(np.uint16)).save(deep)
    picture = Image.new("P", (2, 2))
    picture.putpalette([number for n in range(256) for number in (255 - n, n, 7)])
    picture.putdata(values.ravel().tolist())
    picture.save(paletted)
    for path in (grey, deep, paletted):
        assert (read_class_map(path, (2, 2), TWO) == values).all(), path
    Image.fromarray(values == 1).save(grey)  # one bit
    assert read_class_map(grey, (2, 2), TWO).tolist() == [[0, 1], [1, 0]]


def test_slips_in_class_maps_are_named(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    colours, large, text = (tmp_path / name for name in ("colours.png", "large.png", "text.png"))
    Image.fromarray(rng.integers(0, 256, (20, 40, 3), np.uint8)).save(colours)
    with pytest.raises(InputError, match=r"colours\.png shows classes as colours"):
        read_class_map(colours, SIZE, TWO)
    Image.fromarray(np.full(SIZE, 300, np.uint16)).save(large)
    with pytest.raises(InputError, match="class number 300"):
        read_class_map(large, SIZE, TWO)
    with pytest.raises(InputError, match="labels an image of 40x20, but the image is 20x40"):
        read_class_map(large, (40, 20), TWO)
    text.write_text("no image")
    with pytest.raises(InputError, match="cannot be read as a label image"):
        read_class_map(text, SIZE, TWO)


def test_names_of_classes_must_be_unique_and_known() -> None:
    with pytest.raises(InputError, match="two classes have one name"):
        Classes(("car", "Car"))
    with pytest.raises(InputError, match="no class bus to rename"):
        Classes(("car",), {"bus": "car"})
    with pytest.raises(InputError, match="all classes are left out"):
        Classes(("car", "bus"), {"bus": "", "car": ""})
