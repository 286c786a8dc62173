"""Data sets with labels on disk: where labels are found, and splits."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cddfuse.datasets.catalog import Fingerprint
from cddfuse.datasets.labelled import Kind, LabelledSet, LabelRequest, open_labelled
from cddfuse.datasets.partition import (
    Partition,
    blocks,
    by_scene,
    copies,
    joined,
    read_partition,
    without_copies,
)
from cddfuse.errors import InputError
from cddfuse.io import PairedPaths

BOX = "0 0.5 0.5 0.5 0.5\n1 0.5 0.5 0.25 0.25\n"


def images(folder: Path, sides: tuple[str, str], names: Sequence[str]) -> None:
    rng = np.random.default_rng(len(names))
    for side in sides:
        (folder / side).mkdir(parents=True, exist_ok=True)
        for name in names:
            picture = Image.fromarray(rng.integers(0, 256, (16, 24, 3), np.uint8))
            picture.save(folder / side / f"{name}.png")


def boxes(folder: Path, names: Sequence[str], text: str = BOX) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / f"{name}.txt").write_text(text)


def maps(folder: Path, names: Sequence[str], top: int = 8) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        values = np.arange(16 * 24, dtype=np.uint8).reshape(16, 24) % (top + 1)
        Image.fromarray(values).save(folder / f"{name}.png")


def different(pairs: Sequence[PairedPaths]) -> Mapping[str, Fingerprint]:
    rng = np.random.default_rng(0)
    return {
        pair.name: Fingerprint(*(int.from_bytes(rng.bytes(32), "big") for _ in range(2)))
        for pair in pairs
    }


def opened(path: Path, kind: Kind = "boxes", **rest: object) -> LabelledSet:
    return open_labelled(LabelRequest(path, **rest), kind, different)  # type: ignore[arg-type]


MAP, SHARES = ("map", "split", "shares"), ("split", "shares")
NAMES = tuple(f"{n:03}" for n in range(20))


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Twenty pairs with boxes of two classes."""
    root = tmp_path / "own"
    images(root, ("vi", "ir"), NAMES)
    boxes(root / "labels", NAMES)
    (root / "box_classes.txt").write_text("person\ncar\n", encoding="utf-8-sig")
    return root


def test_a_folder_of_ones_own_needs_no_setting(own: Path) -> None:
    found = opened(own)
    assert found.classes.kept == ("person", "car")
    assert set(found.pairs) == set(NAMES) == set(found.boxes)
    assert found.sizes["000"] == (16, 24)
    parts = found.partition
    assert [len(part) for part in (parts.train, parts.val, parts.test)] == [16, 2, 2]
    assert parts == opened(own).partition
    assert parts.name == "cddfuse, by scene, 8:1:1"


def test_layouts_of_the_catalog(tmp_path: Path) -> None:
    half = NAMES[:10], NAMES[10:]
    m3fd = tmp_path / "m3fd"
    images(m3fd, ("vi", "ir"), NAMES)
    boxes(m3fd / "labels", NAMES, "".join(f"{n} 0.5 0.5 0.5 0.5\n" for n in range(6)))
    assert opened(m3fd).classes.kept == ("People", "Car", "Bus", "Lamp", "Motorcycle", "Truck")
    msrs = tmp_path / "MSRS"
    for part, names in zip(("train", "test"), half, strict=True):
        images(msrs / part, ("vi", "ir"), names)
        maps(msrs / part / "Segmentation_labels", names)
    found = opened(msrs, "maps")
    assert found.partition.train == half[0]
    assert found.partition.test == half[1]
    assert found.partition.name == "folders of the data set"
    assert len(found.classes.kept) == 9
    llvip = tmp_path / "LLVIP"
    size = "<annotation><size><width>24</width><height>16</height></size>"
    corners = "<xmin>3</xmin><ymin>3</ymin><xmax>9</xmax><ymax>9</ymax>"
    text = f"{size}<object><name>person</name><bndbox>{corners}</bndbox></object></annotation>"
    (llvip / "Annotations").mkdir(parents=True)
    for part, scene in (("train", "01"), ("test", "19")):
        frames = [f"{scene}{n:04}" for n in range(3)]
        for side in ("visible", "infrared"):
            images(llvip / side, (part, part), frames)
        for name in frames:
            (llvip / "Annotations" / f"{name}.xml").write_text(text)
    found = opened(llvip)
    assert found.scenes["010001"] == "01"
    assert len(found.partition.test) == 3
    fmb = tmp_path / "FMB"
    for part, names in zip(("train", "test"), half, strict=True):
        images(fmb / part, ("Visible", "Infrared"), names)
        maps(fmb / part / "Label", names, top=14)
    with pytest.raises(InputError, match="class background does not occur"):
        opened(fmb, "maps")
    found = opened(fmb, "maps", map={"background": ""})
    assert len(found.classes.kept) == 14


def test_a_coco_file_holds_all_labels(own: Path) -> None:
    import json

    content = {
        "categories": [{"id": 1, "name": "boat"}],
        "images": [
            {"id": n, "file_name": f"{name}.png", "width": 24, "height": 16}
            for n, name in enumerate(NAMES)
        ],
        "annotations": [
            {"image_id": n, "category_id": 1, "bbox": [1, 1, 5, 5]} for n in range(len(NAMES))
        ],
    }
    (own / "box_classes.txt").unlink()
    (own / "all.json").write_text(json.dumps(content))
    found = opened(own, labels=own / "all.json")
    assert found.classes.kept == ("boat",)
    assert found.boxes["007"][0].corners == (1, 1, 6, 6)


def no_classes(own: Path) -> dict[str, object]:
    (own / "box_classes.txt").unlink()
    return {}


def one_unlabelled(own: Path) -> dict[str, object]:
    (own / "labels" / "003.txt").unlink()
    return {}


def one_class_only_in_training(own: Path) -> dict[str, object]:
    for name in opened(own).partition.test:
        (own / "labels" / f"{name}.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    return {}


def absent_name_in_split(own: Path) -> dict[str, object]:
    (own / "split.txt").write_text("[train]\n000\n[test]\n999\n")
    return {"split": own / "split.txt"}


def name_on_two_sides(own: Path) -> dict[str, object]:
    (own / "split.txt").write_text("[train]\n000\n001\n[test]\n001\n")
    return {"split": own / "split.txt"}


def empty_test_list(own: Path) -> dict[str, object]:
    (own / "train.txt").write_text("vi/000.png\n")
    return {"split": own}


def scene_file(own: Path, lines: Sequence[str]) -> dict[str, Any]:
    (own / "scenes.txt").write_text("\n".join(["# by eye", *lines]), encoding="utf-8")
    return {"scene": own / "scenes.txt"}


def one_without_scene(own: Path) -> dict[str, Path]:
    return scene_file(own, [f"{n:03} street" for n in range(20) if n != 3])


def two_scenes(own: Path) -> dict[str, Path]:
    return scene_file(own, ["000 street", "000 yard"])


def two_formats(own: Path) -> dict[str, Path]:
    (own / "labels" / "000.xml").write_text("<annotation/>")
    return {}


def bytes_for_names(own: Path) -> dict[str, Path]:
    (own / "box_classes.txt").write_bytes(b"pers\xf6n\ncar\n")
    return {}


def line_without_scene(own: Path) -> dict[str, Path]:
    return scene_file(own, ["000"])


@pytest.mark.parametrize(
    ("change", "message", "setting"),
    [
        (no_classes, "names of the classes of .* are not known", "classes"),
        (one_unlabelled, r"1 of 20 images have no labels in .* \(003, ...\)", "unlabelled"),
        (one_class_only_in_training, "class car does not occur in the test", MAP),
        (absent_name_in_split, "has 999 in test, of which there is no pair", "split"),
        (name_on_two_sides, "has 001 twice", "split"),
        (empty_test_list, "has no pairs in the part test", SHARES),
        (lambda own: {"name": "nothing"}, "no data set nothing", "name"),
        (lambda own: {"labels": own / "none"}, "there is no .*none", "labels"),
        (lambda own: {"labels": own / "vi" / "000.png"}, "is no place of labels", "labels"),
        (lambda own: {"scene": "("}, "is no pattern", "scene"),
        (lambda own: {"scene": "x(y)"}, "fits no name", "scene"),
        (one_without_scene, "lacks the scene of 003 .1 of 20 pairs.", "scene"),
        (two_scenes, "has two scenes of 000", "scene"),
        (two_formats, r"has 000\.txt and 000\.xml", "labels"),
        (bytes_for_names, r"box_classes\.txt cannot be read as text", None),
        (line_without_scene, "line 2 of .* is no name and scene", "scene"),
        (lambda own: {"shares": (1, 0, 0)}, "the shares are 1:0:0", "shares"),
        (lambda own: {"shares": (50, 0, 1), "scene": "(0)"}, "no pairs in the part test", SHARES),
    ],
)  # fmt: skip
def test_slips_are_named(own: Path, change: object, message: str, setting: object) -> None:
    rest = change(own)  # type: ignore[operator]
    with pytest.raises(InputError, match=message) as caught:
        opened(own, **rest)
    assert caught.value.setting == setting


def test_scenes_are_those_of_a_file(own: Path) -> None:
    lines = [f"{n:03} {'yard' if n % 2 else 'street'}" for n in range(20)]
    found = opened(own, shares=(1, 0, 1), **scene_file(own, lines))
    assert found.scenes["003"] == "yard"
    sides = [{found.scenes[n] for n in getattr(found.partition, p)} for p in ("train", "test")]
    assert sides[0] != sides[1]
    assert all(len(side) == 1 for side in sides)


def test_images_without_labels_are_skipped_or_background(own: Path) -> None:
    one_unlabelled(own)
    found = opened(own, unlabelled="skip")
    assert "003" not in found.pairs
    assert found.notes == ["1 of 20 images have no labels: left out."]
    assert opened(own, unlabelled="background").boxes["003"] == []


def test_a_split_is_a_file_with_a_hash(tmp_path: Path) -> None:
    made = Partition("mine", ("b", "a"), (), ("c",))
    made.write(tmp_path / "split.txt")
    assert read_partition(tmp_path / "split.txt", ["a", "b", "c", "d"]) == made
    assert made.digest == Partition("x", ("a", "b"), (), ("c",)).digest
    assert made.digest != Partition("mine", ("a",), ("b",), ("c",)).digest
    text = (tmp_path / "split.txt").read_text()
    (tmp_path / "split.txt").write_text(text.replace("\nb\n", "\nd\n"))
    with pytest.raises(InputError, match="was changed, for its hash is another"):
        read_partition(tmp_path / "split.txt", ["a", "b", "c", "d"])


def test_names_of_a_split_are_those_of_pairs_or_none(tmp_path: Path) -> None:
    names = ["img.v1", "img.v2", "a/1", "b/1", "7"]

    def read(first: str) -> tuple[str, ...]:
        text = f"[train]\r\n{first}\r\n[test]\r\nvi/7.jpg\r\n"
        (tmp_path / "split.txt").write_text(text, encoding="utf-8-sig", newline="")
        return read_partition(tmp_path / "split.txt", names).train

    assert read("img.v1") == read("ir/img.v1.png") == ("img.v1",)
    assert read("a/1") == read("./a/1.png") == ("a/1",)
    for absent in ("img.v3", "img", "1", "c/1.png", "."):
        with pytest.raises(InputError, match="of which there is no pair"):
            read(absent)


def test_scenes_on_two_sides_of_a_given_split_are_told(own: Path) -> None:
    lines = ["[train]", *NAMES[:10], "[test]", *NAMES[10:]]
    (own / "split.txt").write_text("\n".join(lines))
    (note,) = opened(own, split=own / "split.txt", scene="0[01](8)?").notes
    assert note.startswith("1 of 10 test images (018, ...) are of scenes that are trained on")
    assert opened(own, split=own / "split.txt").notes == []  # of blocks of names nothing is known


def test_scenes_stay_whole_and_shares_are_near() -> None:
    scenes = {f"{n:04}": f"s{n // 7}" for n in range(210)}
    made = by_scene(scenes)
    sides = [{scenes[name] for name in part} for part in (made.train, made.val, made.test)]
    assert not sides[0] & sides[1]
    assert not sides[0] & sides[2]
    assert not sides[1] & sides[2]
    assert [len(part) for part in (made.train, made.val, made.test)] == [168, 21, 21]


def test_unknown_scenes_are_blocks_of_names() -> None:
    found = blocks([str(n) for n in range(125)])
    assert found["0"] == found["2"] == "0"
    assert found["3"] == "3"
    assert len(set(found.values())) == 42


def marks() -> dict[str, Fingerprint]:
    """`a` and `b` differ in FARTHEST bits, `c` in one more."""
    base = 2**256 - 1
    return {
        "a": Fingerprint(base, 0),
        "b": Fingerprint(base ^ (2**20 - 1), 2**10 - 1),
        "c": Fingerprint(base ^ ((2**21 - 1) << 100), (2**10 - 1) << 100),
    }


def test_copies_are_found_and_never_on_two_sides() -> None:
    same = copies(marks())
    assert same == [("b", "a")]
    scenes = joined({"a": "1", "b": "2", "c": "3", "d": "2"}, same)
    assert scenes["a"] == scenes["b"] == scenes["d"] != scenes["c"]
    given = Partition("given", ("a", "c"), (), ("b",))
    with pytest.raises(InputError, match=r"b \(test\) and a \(train\) are copies"):
        without_copies(given, same)
    assert without_copies(given, same, "drop")[0].train == ("c",)
    assert without_copies(Partition("x", ("a", "b"), (), ("c",)), same)[1] == 0
