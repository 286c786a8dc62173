"""Third-party metrics, and metrics that are undefined for small images."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from cddfuse.errors import InputError
from cddfuse.evaluate import evaluate, report
from cddfuse.metrics import METRICS, Metric, score
from cddfuse.models import Card, FusionModel
from cddfuse.pair import ImagePair

SPREAD = Metric("spread", "Spread of the levels", lambda x: x.amax((1, 2, 3)), over="fused")
FAR = Metric(
    "far",
    "Mean squared difference to the sources",
    lambda x, sources: (x - sources).square().mean((-3, -2, -1)),
    over="each",
    combine="sum",
    better="lower",
)


class First(FusionModel):
    card = Card(name="copy", paper="https://example.org")

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return first


def pair(height: int = 4, width: int = 5) -> ImagePair:
    first, second = torch.zeros(2, 1, height, width)
    first[0, 0, 0], first[0, 1, 1] = 200 / 255, 20 / 255
    second[0, 1, 1] = 50 / 255
    return ImagePair(first, second, f"{height}x{width}")


def test_own_metrics_beside_names() -> None:
    scores = evaluate(First(), [pair()], [SPREAD, "SD", FAR])
    assert list(scores.values) == ["spread", "SD", "far"]
    plain = scores.tables["plain"]
    assert plain["fused"]["spread"] == [200]
    assert plain["second"]["spread"] == [50]
    assert plain["fused"]["far"] == [0 + (200**2 + 30**2) / 20]  # to the first, to the second
    assert scores.own == ["spread", "far"]
    assert report.profile(scores).endswith(" Not of this profile: spread, far.")
    assert json.loads(report.as_json(scores))["better"]["far"] == "lower"
    assert scores.beats("plain", "mean", FAR)


def test_an_own_metric_may_replace_one_of_the_profile() -> None:
    mine = Metric("EN", "Mine", lambda x: x.mean((1, 2, 3)), over="fused")
    scores = evaluate(First(), [pair()], [mine])
    assert scores.tables["plain"]["fused"]["EN"] == pytest.approx([220 / 20])
    assert scores.own == ["EN"]
    with pytest.raises(InputError, match="two metrics are called EN: rename one of them"):
        evaluate(First(), [pair()], [mine, "EN"])


@pytest.mark.parametrize(
    ("formula", "got"),
    [
        (lambda x: x.mean(), r"\(\) for 1 images"),
        (lambda x: x.amax((0, 1, 2)), r"\(5,\) for 1 images"),
        (lambda x: 1.0, "float for 1 images"),
    ],
    ids=["mean of all", "wrong dimensions", "no tensor"],
)
def test_formulas_of_another_shape_are_refused(formula: object, got: str) -> None:
    metric = Metric("odd", "Odd", formula, over="fused")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=rf"the formula of odd gives {got}, where one value"):
        evaluate(First(), [pair()], [metric])


def test_what_is_no_metric_is_refused() -> None:
    with pytest.raises(InputError, match="a function is no metric: use a name, or a cddfuse"):
        evaluate(First(), [pair()], [lambda x: x])  # type: ignore[list-item]
    with pytest.raises(InputError, match="there is no metric to compute: use EN, SD"):
        evaluate(First(), [pair()], [])


# Small images


@pytest.mark.parametrize("name", [name for name, record in METRICS.items() if record.smallest > 1])
def test_a_metric_that_is_undefined_leaves_the_others_alone(name: str) -> None:
    side = METRICS[name].smallest
    fused, first, second = torch.rand(3, 2, 1, side - 1, side + 1, generator=torch.manual_seed(0))
    values = score(fused, first, second, [name, "EN"])
    assert values[name].isnan().tolist() == [True, True]
    assert torch.equal(values["EN"], METRICS["EN"](fused, first, second))
    with pytest.raises(InputError, match=f"{name} needs images of at least {side} x {side}"):
        METRICS[name](fused, first, second)


def test_small_images_are_counted_in_the_table() -> None:
    scores = evaluate(First(), [pair(), pair(41, 45), pair(40, 90)], ["VIF", "EN"])
    assert not scores.failed
    assert scores.summaries["plain"]["fused"]["VIF"].undefined == 2
    assert scores.summaries["plain"]["fused"]["EN"].undefined == 0
    (vif, en) = report.lines(scores, "plain")
    assert vif[1].endswith(" (2 undef.)")
    assert "undef." not in en[1]
    note = "VIF is over 1 of 3 images, for it needs at least 41 x 41 pixels."
    assert report.notes(scores) == [note]
    assert json.loads(report.as_json(scores))["notes"] == [note]
    assert note in report.as_markdown(scores)


# Results that show nothing


def results(root: Path, images: dict[str, Tensor]) -> list[str]:
    from cddfuse.io import write_image

    for name, image in images.items():
        write_image(root / f"{name}.png", image)
    sources = [pair()._replace(name=name) for name in images]
    return report.notes(evaluate(root, sources, ["EN"]))


def test_black_results_get_a_hint(tmp_path: Path) -> None:
    """Black, and nearly black, as values in [0, 1] are when they are saved as 8 bits."""
    unscaled = pair().first.round() / 255
    assert unscaled.max() > 0
    flat = torch.full((1, 4, 5), 90 / 255)
    black = torch.zeros(1, 4, 5)
    images = {"a": pair().first, "b": black, "c": unscaled, "d": flat}
    assert results(tmp_path, images) == [
        "2 results (b, c) are black: were values in [0, 1] saved without scaling them to 0..255?",
        "1 result (d) is of a single grey level: did the tool fail?",
    ]


def test_many_names_are_cut_short(tmp_path: Path) -> None:
    (note,) = results(tmp_path, {f"r{n}": torch.zeros(1, 4, 5) for n in range(7)})
    assert note.startswith("7 results (r0, r1, r2, r3, r4, ...) are black: ")


def test_black_results_of_a_network() -> None:
    class Black(First):
        def forward(self, first: Tensor, second: Tensor) -> Tensor:
            return first * 0

    scores = evaluate(Black(), [pair()], ["EN"])
    hint = "1 result (4x5) is black: do the weights suit the sources?"
    assert report.notes(scores) == [hint]


def test_sources_that_show_nothing_get_no_hint() -> None:
    black = ImagePair(torch.zeros(1, 4, 5), torch.zeros(1, 4, 5), "black")
    flat = ImagePair(torch.full((1, 4, 5), 0.2), torch.full((1, 4, 5), 0.6), "flat")
    assert report.notes(evaluate(First(), [black, flat], ["EN"])) == []
