"""What is certain: persons at night show in the infrared image, and labels matter.

Streets of the generator, small and few; no ranking of methods follows from so little.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cddfuse.datasets.labelled import LabelledSet, LabelRequest, open_labelled
from cddfuse.datasets.synthetic.__main__ import write_folders
from cddfuse.downstream.average_precision import Found
from cddfuse.downstream.frames import Frames
from cddfuse.downstream.inputs import parse_inputs
from cddfuse.downstream.prints import kept_prints
from cddfuse.downstream.suite import Plan, run_plan
from cddfuse.downstream.tasks import Detection, Segmentation
from cddfuse.io import Ranges

PLAN = Plan("detect", "centernet", seeds=1, steps=70, rate=4e-3, side=192, jobs=1, least_area=60)


@pytest.fixture(scope="module")
def streets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("streets")
    write_folders(folder, range(300, 332), (144, 192), labels=True)
    return folder


def opened(streets: Path, out: Path, kind: str = "boxes", **names: str) -> LabelledSet:
    request = LabelRequest(streets, map=names, shares=(6, 0, 2))
    return open_labelled(request, kind, kept_prints(out, Ranges()))  # type: ignore[arg-type]


def persons(streets: Path, out: Path) -> LabelledSet:
    return opened(streets, out, car="", lamp="", sign="", tree="")


@pytest.mark.slow
def test_infrared_finds_persons_that_the_visible_image_does_not(
    streets: Path, tmp_path: Path
) -> None:
    found = persons(streets, tmp_path)
    results = run_plan(PLAN, parse_inputs(["vi", "ir"]), found, tmp_path)
    visible, infrared = (results.rows[label]["AP@0.5"].estimate().mean for label in ("vi", "ir"))
    assert infrared > visible + 0.1
    # The control: boxes of other images, which say where persons tend to be and no more.
    train = found.partition.train
    moved = dict(zip(train, [found.boxes[name] for name in (*train[5:], *train[:5])], strict=True))
    shuffled = replace(found, boxes={**found.boxes, **moved})
    control = run_plan(PLAN, parse_inputs(["ir"]), shuffled, tmp_path)
    assert control.rows["ir"]["AP@0.5"].estimate().mean < infrared / 3


def test_perfect_predictions_score_one(streets: Path, tmp_path: Path) -> None:
    found = persons(streets, tmp_path)
    boxes = [found.boxes[name] for name in found.partition.test]
    rows = [(n, b.label, 0.9, b.corners) for n, of in enumerate(boxes) for b in of]
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    perfect = Found(columns[0], columns[1], columns[2], columns[3])
    scores = Detection(Frames(found, 192)).score(perfect)
    assert scores["AP@[.5:.95]"].tolist() == [[pytest.approx(1)]]
    maps = opened(streets, tmp_path, "maps")
    frames = Frames(maps, 192)
    task = Segmentation(frames)
    labels = [frames.labels(name) for name in maps.partition.test]
    assert (task.score(task.compared(labels))["IoU"] == 1).all()
