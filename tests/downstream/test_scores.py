"""AP against pycocotools as a whole, IoU against a plain transcription, and intervals."""

import contextlib
import io
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from cddfuse.datasets.labels import IGNORED, Box
from cddfuse.downstream.average_precision import Found, average_precision, match, scores
from cddfuse.downstream.intersection import confusion, intersection_over_union, resampled
from cddfuse.downstream.statistics import Scored, better_source, estimate, image_weights

CLASSES = ("person", "car")


def scene(seed: int, images: int = 12) -> tuple[Found, list[list[Box]]]:
    """Objects, and detections that are near them or anywhere, with scores that repeat."""
    rng = np.random.default_rng(seed)
    boxes: list[list[Box]] = []
    rows = []
    for image in range(images):
        here = []
        for _ in range(rng.integers(0, 4)):
            left, top = rng.uniform(0, 60, 2)
            right, bottom = np.array((left, top)) + rng.uniform(4, 30, 2)
            box = Box(int(rng.integers(2)), (left, top, right, bottom), bool(rng.random() < 0.2))
            here.append(box)
            if rng.random() < 0.8:
                moved = np.array(box.corners) + rng.normal(0, 1.5, 4)
                rows.append((image, box.label, rng.integers(1, 9) / 9, moved))
        for _ in range(2):
            corner = rng.uniform(0, 60, 2)
            size = rng.uniform(3, 30, 2)
            wrong = np.concatenate([corner, corner + size])
            rows.append((image, int(rng.integers(2)), rng.integers(1, 9) / 9, wrong))
        boxes.append(here)
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    return Found(columns[0], columns[1], columns[2], columns[3]), boxes


def by_pycocotools(found: Found, boxes: list[list[Box]], order: list[int]) -> tuple[Any, Any]:
    """Everything by pycocotools, over images in any number: (AP@0.5, AP) by class."""
    rows: list[dict[str, Any]] = []
    predictions: list[dict[str, Any]] = []
    for new, old in enumerate(order, start=1):
        for box in boxes[old]:
            left, top, right, bottom = box.corners
            rows.append(
                {
                    "id": len(rows) + 1,
                    "image_id": new,
                    "category_id": box.label + 1,
                    "bbox": [left, top, right - left, bottom - top],
                    "area": (right - left) * (bottom - top),
                    "iscrowd": int(box.ignored),
                }
            )
        for image, index, score, corners in zip(*found, strict=True):
            if image == old:
                left, top, right, bottom = corners
                size = [left, top, right - left, bottom - top]
                place = {"image_id": new, "category_id": int(index) + 1}
                predictions.append({**place, "bbox": size, "score": float(score)})
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "info": {},
            "images": [{"id": n + 1} for n in range(len(order))],
            "categories": [{"id": n + 1, "name": name} for n, name in enumerate(CLASSES)],
            "annotations": rows,
        }
        truth.createIndex()
        judge = COCOeval(truth, truth.loadRes(predictions), "bbox")
        judge.evaluate()
        judge.accumulate()
    precision = judge.eval["precision"][:, :, :, 0, 2]
    return precision[0].mean(0), precision.mean((0, 1))


@pytest.mark.parametrize("seed", range(4))
def test_precision_is_that_of_pycocotools(seed: int) -> None:
    found, boxes = scene(seed)
    whole = scores(found, boxes, CLASSES)
    half, mean = by_pycocotools(found, boxes, list(range(len(boxes))))
    np.testing.assert_allclose(whole["AP@0.5"][0], half, atol=1e-12)
    np.testing.assert_allclose(whole["AP@[.5:.95]"][0], mean, atol=1e-12)
    assert 0.1 < whole["AP@0.5"][0].min() < whole["AP@0.5"][0].max() < 1


def test_a_resample_is_pycocotools_on_the_images_drawn() -> None:
    found, boxes = scene(5)
    # Copies of an image tie with one another, so nothing else may.
    found = found._replace(scores=found.scores + np.arange(len(found.scores)) / 1e4)
    weights = image_weights([str(n) for n in range(len(boxes))], 3)
    mine = scores(found, boxes, CLASSES, weights)
    for row, counts in enumerate(weights.astype(int)):
        order = [image for image, count in enumerate(counts) for _ in range(count)]
        half, mean = by_pycocotools(found, boxes, order)
        np.testing.assert_allclose(mine["AP@0.5"][row], half, atol=1e-12)
        np.testing.assert_allclose(mine["AP@[.5:.95]"][row], mean, atol=1e-12)


def truth_as_found(boxes: list[list[Box]]) -> Found:
    rows = [(n, b.label, 0.9, np.array(b.corners)) for n, of in enumerate(boxes) for b in of]
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    return Found(columns[0], columns[1], columns[2], columns[3])


def test_perfect_detections_score_one_and_others_nothing() -> None:
    _, boxes = scene(1)
    perfect = truth_as_found(boxes)
    assert scores(perfect, boxes, CLASSES)["AP@[.5:.95]"] == pytest.approx(1)
    swapped = perfect._replace(classes=1 - perfect.classes)
    assert (scores(swapped, boxes, CLASSES)["AP@0.5"] == 0).mean() >= 0.5
    nothing = Found(
        perfect.images[:0], perfect.classes[:0], perfect.scores[:0], perfect.corners[:0]
    )
    assert (scores(nothing, boxes, CLASSES)["AP@0.5"] == 0).all()
    absent = [[box for box in of if box.label] for of in boxes]
    assert np.isnan(scores(nothing, absent, CLASSES)["AP@0.5"][0, 0])


def test_small_objects_do_not_count() -> None:
    boxes = [[Box(0, (0, 0, 10, 10)), Box(0, (20, 20, 22, 22))]]
    found = Found(np.array([0]), np.array([0]), np.array([0.5]), np.array([[0.0, 0, 10, 10]]))
    assert average_precision(match(found, boxes, 1)[0])[0][0] == pytest.approx(51 / 101)
    small = match(found, boxes, 1, least_area=5)[0]
    assert average_precision(small)[0][0] == pytest.approx(1)
    dots = Found(
        np.array([0, 0]),
        np.array([0, 0]),
        np.array([0.9, 0.5]),
        np.array([[40.0, 40, 42, 42], [0, 0, 10, 10]]),
    )
    assert average_precision(match(dots, boxes, 1, least_area=5)[0])[0][0] == pytest.approx(1)
    assert average_precision(match(dots, boxes, 1)[0])[0][0] < 0.5


def plain_iou(labels: Any, predicted: Any, classes: int) -> list[float]:
    """Pixel by pixel."""
    values = []
    for index in range(classes):
        both = either = 0
        for label, guess in zip(labels.ravel().tolist(), predicted.ravel().tolist(), strict=True):
            if label == IGNORED:
                continue
            both += label == index and guess == index
            either += label == index or guess == index
        values.append(both / either if either else float("nan"))
    return values


def test_iou_is_that_of_a_plain_transcription() -> None:
    rng = np.random.default_rng(0)
    labels = rng.choice([0, 1, 2, IGNORED], (3, 7, 9)).astype(np.uint8)
    predicted = rng.integers(0, 4, (3, 7, 9), dtype=np.uint8)
    matrices = np.stack([confusion(a, b, 5) for a, b in zip(labels, predicted, strict=True)])
    np.testing.assert_allclose(resampled(matrices)[0], plain_iou(labels, predicted, 5))
    weights = np.array([[2.0, 0.0, 1.0]])
    drawn = [0, 0, 2]
    expected = plain_iou(labels[drawn], predicted[drawn], 5)
    np.testing.assert_allclose(resampled(matrices, weights)[0], expected)
    np.testing.assert_allclose(
        intersection_over_union(confusion(labels[0] % 3, labels[0] % 3, 3)), 1
    )


def test_scenes_are_drawn_whole() -> None:
    weights = image_weights(["a", "b", "a", "c"], 500)
    assert (weights[:, 0] == weights[:, 2]).all()
    assert (weights[:, [0, 1, 3]].sum(1) == 3).all()
    assert weights[:, 0].mean() == pytest.approx(1, abs=0.1)


def test_one_scene_says_nothing_of_other_images() -> None:
    found, boxes = scene(1)
    weights = image_weights(["a"] * len(boxes))
    drawn = scores(found, boxes, CLASSES, weights)["AP@0.5"]
    assert drawn.shape == resampled(np.ones((len(boxes), 2, 2), np.int64), weights).shape == (0, 2)
    whole = scores(found, boxes, CLASSES)["AP@0.5"]
    better = Scored(whole.repeat(2, 0), np.stack([drawn] * 2)).estimate()
    assert better.seeds.known
    assert not better.images.known


def test_seeds_and_images_are_separate_intervals() -> None:
    steady = np.array([0.5, 0.5, 0.5])
    noisy_images = np.random.default_rng(0).normal(0.5, 0.1, (1, 1000)).repeat(3, 0)
    found = estimate(steady, noisy_images)
    assert (found.seeds.low, found.seeds.high) == (0.5, 0.5)
    assert found.images.high - found.images.low == pytest.approx(0.39, abs=0.04)
    noisy = estimate(np.array([0.4, 0.5, 0.6]), np.full((3, 1000), 0.5))
    # Student's t of two degrees, times 0.1 / sqrt(3).
    assert noisy.seeds.high - noisy.mean == pytest.approx(4.3027 * 0.1 / 3**0.5, abs=1e-4)
    assert noisy.images.low == noisy.images.high == 0.5
    assert not estimate(np.array([0.5]), noisy_images[:1]).seeds.known


def test_what_is_above_the_better_source() -> None:
    def row(*values: float) -> Scored:
        column = np.array(values)[:, None]
        return Scored(column, column[:, None].repeat(50, 1))

    rows = {"vi": row(0.3, 0.31), "ir": row(0.5, 0.52), "mean": row(0.6, 0.62)}
    assert better_source(rows) == "ir"
    assert rows["mean"].less(rows["ir"]).mean == pytest.approx(0.1)
    assert rows["mean"].less(rows["ir"]).positive
    assert not rows["ir"].less(rows["ir"]).positive
    assert not row(0.4, 0.9).less(rows["ir"]).positive
    assert better_source({"vi": row(0.5), "mean": row(0.6)}) is None
    # Images that are hard for both rows: the difference is steady where the scores are not.
    hard = np.linspace(0.2, 0.8, 50)[None, :, None]
    low, high = (Scored(np.array([[x]]), hard + x) for x in (0.0, 0.1))
    gain = high.less(low)
    assert [gain.images.low, gain.images.high] == pytest.approx([0.1, 0.1])
    assert high.estimate().images.high - high.estimate().images.low > 0.5


def test_a_class_that_a_resample_lacks_is_left_out_of_its_mean() -> None:
    values = np.array([[0.2, np.nan]])
    assert Scored(values, values[:, None]).estimate().mean == pytest.approx(0.2)
