"""The program `yolo`, played by a script: it is never installed here."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from warm_objects import write

from cddfuse import write_image
from cddfuse.datasets.labelled import LabelRequest, open_labelled
from cddfuse.datasets.labels import Box
from cddfuse.datasets.partition import blocks, by_scene
from cddfuse.downstream import yolo
from cddfuse.downstream.inputs import parse_inputs
from cddfuse.downstream.prints import kept_prints
from cddfuse.downstream.suite import Plan, Results, run_plan
from cddfuse.downstream.yolo import Yolo, find, write_data_set
from cddfuse.errors import InputError
from cddfuse.io import Ranges

PLAYED = """#!{python}
import json, pathlib, sys
words = sys.argv[1:]
if words == ["version"]:
    print({version!r}); sys.exit()
given = dict(word.split("=", 1) for word in words[2:])
data = json.loads(pathlib.Path(given["data"]).read_text())
run = pathlib.Path(given["project"]) / given["name"]
(pathlib.Path(__file__).parent / "said.txt").open("a").write(" ".join(words) + chr(10))
if {mode!r} == "crash":
    sys.exit("CUDA error: no kernel image")
if words[1] == "train" and {mode!r} != "other":
    (run / "weights").mkdir(parents=True)
    (run / "weights" / "last.pt").write_bytes(b"")
if words[1] == "val" and {mode!r} != "unseen":
    (run / "labels").mkdir(parents=True)
    for path in sorted((pathlib.Path(data["path"]) / data["test"]).iterdir()):
        label = pathlib.Path(data["path"]) / "labels" / "test" / (path.stem + ".txt")
        score = " 0.9" if {mode!r} != "odd" else ""
        lines = [line + score for line in label.read_text().splitlines()]
        if lines:
            (run / "labels" / (path.stem + ".txt")).write_text(chr(10).join(lines))
"""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the played program is a script")
SIZE = (20, 40)


def play(
    folder: Path, monkeypatch: pytest.MonkeyPatch, version: str = "8.3.9", mode: str = ""
) -> Path:
    program = folder / "bin" / "yolo"
    program.parent.mkdir(exist_ok=True)
    program.write_text(PLAYED.format(python=sys.executable, version=version, mode=mode))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return program


def data_set(folder: Path) -> None:
    image = folder / "a.png"
    Image.fromarray(np.zeros((*SIZE, 3), np.uint8)).save(image)
    boxes = [Box(1, (4.0, 2.0, 12.0, 8.0)), Box(0, (0.0, 0.0, 9.0, 9.0), ignored=True)]
    rows = [("0_000000", image, boxes, SIZE)]
    no_boxes: list[Box] = []
    parts = {"train": rows, "val": rows, "test": [*rows, ("0_000001", image, no_boxes, SIZE)]}
    write_data_set(folder / "set", parts, ("person", "car"))


def test_a_data_set_in_its_layout(tmp_path: Path) -> None:
    data_set(tmp_path)
    content = json.loads((tmp_path / "set" / "data.yaml").read_text())
    assert content["names"] == {"0": "person", "1": "car"}
    assert content["test"] == "images/test"
    text = (tmp_path / "set" / "labels" / "train" / "0_000000.txt").read_text()
    assert text == "1 0.20000000 0.25000000 0.20000000 0.30000000\n"
    assert (tmp_path / "set" / "labels" / "test" / "0_000001.txt").read_text() == ""
    assert (tmp_path / "set" / "images" / "test" / "0_000000.png").is_file()


def test_it_is_run_and_its_boxes_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = play(tmp_path, monkeypatch)
    data_set(tmp_path)
    found = find("yolov5nu.yaml", 640, 16, "cpu")
    assert found == Yolo(str(program), "8.3.9", "yolov5nu.yaml", 640, 16, "cpu")
    weights = found.train(tmp_path / "set", tmp_path / "run", 4, 7)
    names, sizes = ["0_000000", "0_000001"], [SIZE, SIZE]
    boxes = found.predict(weights, tmp_path / "set", tmp_path / "run", names, sizes)
    assert (boxes.images.tolist(), boxes.classes.tolist(), boxes.scores.tolist()) == (
        [0],
        [1],
        [0.9],
    )
    np.testing.assert_allclose(boxes.corners, [[4, 2, 12, 8]], atol=1e-5)
    said = (program.parent / "said.txt").read_text().splitlines()
    assert said[0].startswith("detect train ")
    assert {"seed=4", "epochs=7", "pretrained=False", "deterministic=True"} <= set(said[0].split())
    assert {"split=test", "save_txt=True", "save_conf=True", "conf=0.001"} <= set(said[1].split())


def test_it_is_shown_what_other_detectors_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = play(tmp_path, monkeypatch)
    data, out = write(tmp_path / "own"), tmp_path / "out"
    name = by_scene(blocks([path.stem for path in (data / "vi").iterdir()]), (8, 0, 4)).train[0]
    (data / "labels" / f"{name}.txt").write_text("0 0.5 0.5 0.1 0.1\n")  # 31 pixels
    plan = Plan("detect", "yolo", "frozen", seeds=1, steps=9, least_area=40, device="cpu")

    def ran() -> Results:
        prints = kept_prints(out, Ranges())
        found = open_labelled(LabelRequest(data, shares=(8, 0, 4)), "boxes", prints)
        return run_plan(plan, parse_inputs(["vi", "ir"]), found, out)

    results = ran()
    assert [row["AP@0.5"].values.tolist() for row in results.rows.values()] == [[[1, 1]]] * 2
    said = (program.parent / "said.txt").read_text()
    assert "epochs=3" in said.split()  # 9 steps of 4 are 2.25 times both images of 8 pairs
    (network,) = (out / "networks").glob("*/data")
    assert (network / "labels" / "train" / "1_000000.txt").read_text() == ""
    assert (network / "images" / "train" / "1_000000.png").is_file()
    write_image(data / "ir" / f"{name}.png", torch.ones(1, 48, 64), overwrite=True)
    ran()
    (changed,) = set((out / "networks").glob("*/data")) - {network}
    for folder, white in ((network, False), (changed, True)):
        with Image.open(folder / "images" / "train" / "1_000000.png") as picture:
            assert (np.asarray(picture) == 255).all() == white


def test_one_that_is_missing_or_another_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match=r"no program yolo: install one yourself .*AGPL"):
        find("yolov5nu.yaml", 640, 16, "cpu")
    for version, message in (
        ("9.0.1", "is version 9.0.1, but 8.x"),
        ("hello", "not say its version"),
    ):
        play(tmp_path, monkeypatch, version)
        with pytest.raises(InputError, match=message):
            find("yolov5nu.yaml", 640, 16, "cpu")


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("crash", r"could not train with seed 0 \(exit code 1: .*no kernel image\)"),
        ("other", r"left no .*last\.pt: this version is not known"),
        ("unseen", r"left no folder .*labels"),
        ("odd", r"is not what yolo writes"),
    ],
)
def test_one_that_crashes_or_does_something_else_is_named(
    mode: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    play(tmp_path, monkeypatch, mode=mode)
    data_set(tmp_path)
    found = find("yolov5nu.yaml", 640, 16, "cpu")

    def both() -> None:
        weights = found.train(tmp_path / "set", tmp_path / "run", 0, 1)
        found.predict(weights, tmp_path / "set", tmp_path / "run", ["0_000000"], [SIZE])

    with pytest.raises(InputError, match=message) as caught:
        both()
    assert caught.value.setting == "detector"


def test_it_is_never_imported() -> None:
    text = Path(yolo.__file__).read_text()
    assert "import ultralytics" not in text
    assert "from ultralytics" not in text
