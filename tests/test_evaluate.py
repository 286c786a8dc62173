"""Scores of a method: the protocol, the rows beside it, statistics, and trouble of one pair."""

import hashlib
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cddfuse.errors import InputError
from cddfuse.evaluate import Scores, evaluate, published_grey, report
from cddfuse.evaluate.matching import match_fused
from cddfuse.evaluate.scores import summarise
from cddfuse.fuse import full_range, fuse
from cddfuse.io import PairedPaths, pair_folders, write_image
from cddfuse.io.image_files import ImageFiles, ImagePairs
from cddfuse.metrics import METRICS, PAPER_EIGHT, PROFILES, score
from cddfuse.models import Card, FusionModel
from cddfuse.pair import ImagePair
from cddfuse.pipeline import Options, fuse_all

SIZE = (42, 45)  # VIF wants 41


class Blend(FusionModel):
    """Not quite the mean: no baseline equals it, and it does not span the range."""

    card = Card(name="blend", paper="https://example.org")

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Weigh, and tell what came."""
        self.came = (first, second)
        return 0.1 + 0.5 * first + 0.3 * second


def noise(seed: int, channels: int = 1, size: tuple[int, int] = SIZE) -> Tensor:
    """Whole levels from 0 to 255, smooth enough to be correlated."""
    rng = torch.Generator().manual_seed(seed)
    image = torch.rand(channels, *size, generator=rng).cumsum(-1).remainder(1)
    return (image * 255).round() / 255


def pairs(count: int = 3, channels: int = 1) -> list[ImagePair]:
    return [ImagePair(noise(n, channels), noise(n + 50), f"p{n}") for n in range(count)]


def saved(root: Path, count: int = 3, channels: int = 1) -> list[PairedPaths]:
    """The same pairs as files in `vi` and `ir`."""
    for pair in pairs(count, channels):
        for folder, image in (("vi", pair.first), ("ir", pair.second)):
            (root / folder).mkdir(parents=True, exist_ok=True)
            write_image(root / folder / f"{pair.name}.png", image)
    return pair_folders(root / "vi", root / "ir").pairs


def flat(path: Path, level: int, size: tuple[int, int] = (4, 5)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, torch.full((1, *size), level / 255))
    return path


def direct(fused: Tensor, pair: ImagePair) -> dict[str, float]:
    """The eight scores of one image, without the code under test."""
    values = score(fused[None], pair.first[None], pair.second[None])
    return {name: value.item() for name, value in values.items()}


# The protocol


def test_published_grey_by_hand() -> None:
    """Colours (r, g, b); grey stays as it is, in one channel or three."""
    colours = {(0, 0, 0): 0, (255, 255, 255): 255, (10, 20, 30): 18, (200, 100, 50): 124}
    for colour, grey in colours.items():
        image = torch.tensor(colour)[:, None, None].float() / 255
        assert (published_grey(image) * 255).round().item() == grey
    assert torch.equal(published_grey(noise(0)), noise(0))
    every = (torch.arange(256.0) / 255).expand(3, 1, 256)
    assert torch.equal(published_grey(every), every[:1])


def test_published_grey_rounds_ties_as_the_reference_does() -> None:
    """Exact halves, of which float32 sums in another order or without fma miss one or another."""
    ties = [
        (1, 123, 0, 73),
        (39, 175, 1, 114),
        (70, 110, 0, 86),
        (187, 1, 0, 56),
        (188, 2, 1, 58),
        (194, 118, 2, 127),
        (248, 4, 0, 76),
        (249, 5, 1, 78),
    ]
    image = torch.tensor([colour[:3] for colour in ties]).T[:, None].float() / 255
    assert (published_grey(image) * 255).round().flatten().tolist() == [tie[3] for tie in ties]


def test_published_grey_of_all_colours_is_that_of_the_reference_program() -> None:
    # OpenCV 4.5.3 and 5.0.0 for x86: BGR2GRAY in float32, then numpy.round, of all 2^24 colours.
    # The hash is of the 8-bit table with index [blue, green, red].
    levels = torch.arange(256)
    green, red = torch.meshgrid(levels, levels, indexing="ij")
    table = hashlib.sha256()
    for blue in levels:
        image = torch.stack([red, green, blue.expand(256, 256)]).float() / 255
        table.update((published_grey(image) * 255).round().byte().numpy().tobytes())
    expected = "eb8015fd85f7c84bccfd65dc40c53bfdec8f9c7d7c885b69b5b07311f1af9c77"
    assert table.hexdigest() == expected


def test_published_grey_cuts_16_bits() -> None:
    deep = torch.tensor([0, 255, 256, 511, 65279, 65280, 65535])[None, None].float() / 65535
    assert (published_grey(deep) * 255).round().flatten().tolist() == [0, 0, 1, 1, 254, 255, 255]


def test_network_sees_rounded_grey_of_full_size() -> None:
    (pair,) = pairs(1, channels=3)
    model = Blend()
    evaluate(model, [pair], ["EN"])
    assert torch.equal(model.came[0][0], published_grey(pair.first))
    assert torch.equal(model.came[1][0], pair.second)


@pytest.mark.parametrize("stretch", [True, False])
def test_in_memory_equals_files_on_disk(tmp_path: Path, stretch: bool) -> None:
    paths = saved(tmp_path)
    sink = ImageFiles(lambda name: tmp_path / "out" / f"{name}.png")
    fuse_all(Blend(), ImagePairs(paths), sink, Options(grey=True, stretch=stretch))
    by_hand = evaluate(tmp_path / "out", paths)
    at_once = evaluate(Blend(), paths)
    table = at_once.tables["stretched" if stretch else "plain"]
    assert list(table["fused"]) == list(PAPER_EIGHT)
    for name, values in by_hand.values.items():
        assert table["fused"][name] == pytest.approx(values, rel=0, abs=1e-12)
    plain = at_once.tables["plain"]
    for row in ("first", "second", "mean", "max"):
        for name, values in by_hand.tables["saved"][row].items():
            assert plain[row][name] == pytest.approx(values, rel=0, abs=1e-12, nan_ok=True)


def test_colour_files_by_hand(tmp_path: Path) -> None:
    """A tool's colour result is turned to grey like the sources."""
    paths = saved(tmp_path, 1, channels=3)
    (tmp_path / "out").mkdir()
    write_image(tmp_path / "out" / "p0.png", noise(9, 3))
    scores = evaluate(tmp_path / "out", paths)
    (pair,) = pairs(1, channels=3)
    grey = ImagePair(published_grey(pair.first), pair.second)
    expected = direct(published_grey(noise(9, 3)), grey)
    assert {name: values[0] for name, values in scores.values.items()} == expected


def test_first_table_is_the_published_protocol() -> None:
    (pair,) = pairs(1)
    scores = evaluate(Blend(), [pair])
    assert list(scores.tables) == ["stretched", "plain"]
    fused = fuse(Blend(), pair)
    assert {n: v[0] for n, v in scores.values.items()} == direct(full_range(fused), pair)
    plain = scores.tables["plain"]["fused"]
    assert {n: v[0] for n, v in plain.items()} == direct(fused, pair)


def test_rows_equal_direct_computation() -> None:
    sources = [
        ImagePair(pair.first, ((pair.second * 255 * 0.5).round() + 30) / 255, pair.name)
        for pair in pairs(2)
    ]
    scores = evaluate(Blend(), sources)
    for index, pair in enumerate(sources):
        one, other = ((image.double() * 255).round() for image in pair[:2])
        baselines = {
            "first": pair.first,
            "second": pair.second,
            "mean": ((one + other) / 2).round() / 255,
            "max": torch.maximum(one, other) / 255,
        }
        for row, image in baselines.items():
            found = {n: v[index] for n, v in scores.tables["plain"][row].items()}
            assert found == pytest.approx(direct(image, pair), rel=1e-12, nan_ok=True)
        for row in ("second", "max"):
            low, high = baselines[row].min(), baselines[row].max()
            full = (baselines[row].double() - low) / (high - low)
            found = {n: v[index] for n, v in scores.tables["stretched"][row].items()}
            assert found == pytest.approx(direct(full, pair), rel=1e-3)
            assert found["EN"] != pytest.approx(0)
        span = scores.tables["stretched"]["second"]["SD"][index]
        assert span > 1.5 * scores.tables["plain"]["second"]["SD"][index]


def test_stretched_rows_on_levels(tmp_path: Path) -> None:
    """Levels 10, 20, 30 become 0, 128 (127.5 to even), 255."""
    first = torch.tensor([[[10.0, 20, 30, 10]]]) / 255
    pair = ImagePair(first, torch.zeros_like(first), "a")
    scores = evaluate(Blend(), [pair], ["SD", "MSE"])
    found = scores.tables["stretched"]["first"]
    assert found["SD"][0] == pytest.approx(np.std([0, 128, 255, 0]))
    error = ((np.array([0, 128, 255, 0]) - [10, 20, 30, 10]) ** 2).mean()
    other = (np.array([0, 128, 255, 0]) ** 2).mean()
    assert found["MSE"][0] == pytest.approx((error + other) / 2)


# Numbers


def test_known_means_of_a_folder(tmp_path: Path) -> None:
    """Fused 10, 20, 60 against 0 and 20: MSE is the mean of both squares."""
    for name, level in (("a", 10), ("b", 20), ("c", 60)):
        flat(tmp_path / "vi" / f"{name}.png", 0)
        flat(tmp_path / "ir" / f"{name}.png", 20)
        flat(tmp_path / "out" / f"{name}_fused.png", level)
    paths = pair_folders(tmp_path / "vi", tmp_path / "ir").pairs
    scores = evaluate(tmp_path / "out", paths, ["MSE", "SD"])
    assert scores.images == ["a", "b", "c"]
    assert scores.values == {"MSE": [100, 200, 2600], "SD": [0, 0, 0]}
    summary = scores.summaries["saved"]["fused"]["MSE"]
    assert summary.mean == pytest.approx(2900 / 3)
    assert summary.deviation == pytest.approx(np.std([100, 200, 2600], ddof=1))
    assert summary.undefined == 0
    assert scores.tables["saved"]["mean"]["MSE"] == [100, 100, 100]
    assert scores.tables["saved"]["max"]["MSE"] == [200, 200, 200]
    assert (scores.method, scores.profile) == (str(tmp_path / "out"), "paper")
    assert scores.compares == PROFILES["paper"].compares


def test_undefined_values_are_counted(tmp_path: Path) -> None:
    """A constant fused image has no CC; a fused image that is a source has no SCD."""
    paths = saved(tmp_path, 3)
    flat(tmp_path / "out" / "p0.png", 9, SIZE)
    for name in ("p1", "p2"):
        write_image(tmp_path / "out" / f"{name}.png", noise(int(name[1]) + 7))
    scores = evaluate(tmp_path / "out", paths, ["CC", "SCD"])
    summary = scores.summaries["saved"]
    assert math.isnan(scores.values["CC"][0])
    assert summary["fused"]["CC"].undefined == 1
    assert summary["fused"]["CC"].mean == pytest.approx(np.mean(scores.values["CC"][1:]))
    assert summary["fused"]["SCD"].undefined == 0
    assert summary["first"]["SCD"].undefined == 3
    assert math.isnan(summary["first"]["SCD"].mean)
    assert not scores.beats("saved", "first", METRICS["SCD"])


def test_bootstrap_interval() -> None:
    values = np.random.default_rng(1).normal(5, 2, 200).tolist()
    summary = summarise(values)
    error = 2 / math.sqrt(200)
    assert summary.low == pytest.approx(summary.mean - 1.96 * error, abs=0.15 * error * 1.96)
    assert summary.high == pytest.approx(summary.mean + 1.96 * error, abs=0.15 * error * 1.96)
    assert summarise(values) == summary
    with_holes = summarise([*values, math.nan])
    assert (with_holes.low, with_holes.mean) == (summary.low, summary.mean)
    assert with_holes.undefined == 1


def test_many_values_are_resampled_in_parts() -> None:
    summary = summarise([0.0, 1.0] * 1500)
    assert summary.low == pytest.approx(0.5 - 1.96 * 0.5 / math.sqrt(3000), abs=0.003)


def test_statistics_of_few_values() -> None:
    one, none = summarise([3.0]), summarise([math.nan])
    assert (one.mean, one.undefined) == (3, 0)
    assert all(math.isnan(x) for x in (one.deviation, one.low, one.high, none.mean, none.low))
    assert none.undefined == 1
    assert summarise([1.0, math.inf]).mean == math.inf


def test_mark_follows_the_direction() -> None:
    table: Any = {
        "fused": {"EN": [2.0, 2.0], "MSE": [5.0, 5.0]},
        "first": {"EN": [2.5, 2.0], "MSE": [6.0, 5.0]},
        "second": {"EN": [1.0, 2.0], "MSE": [4.0, 5.0]},
        "mean": {"EN": [2.0, 2.0 + 1e-12], "MSE": [5.0, 5.0 - 1e-12]},  # the same but for rounding
        "max": {"EN": [math.nan, 3.0], "MSE": [math.nan, math.nan]},
    }
    scores = Scores("m", "paper", [METRICS["EN"], METRICS["MSE"]], ["a", "b"], {"saved": table})
    beats = {row: [scores.beats("saved", row, m) for m in scores.metrics] for row in table}
    assert beats["first"] == [True, False]
    assert beats["second"] == [False, True]
    assert beats["mean"] == [False, False]
    assert beats["max"] == [True, False]


def test_mark_compares_the_same_images() -> None:
    """The row is better only where the method has no value."""
    table = {"fused": {"CC": [math.nan, 0.5]}, "first": {"CC": [0.9, 0.4]}}
    scores = Scores("m", "paper", [METRICS["CC"]], ["a", "b"], {"saved": table})
    assert not scores.beats("saved", "first", METRICS["CC"])


def test_mark_of_infinite_values_is_silent() -> None:
    """Neither values of both signs, which have no mean, nor those of copies, which are equal."""
    table = {
        "fused": {"SCD": [1.5, 1.5], "PSNR": [math.inf, math.inf]},
        "second": {"SCD": [math.inf, -math.inf], "PSNR": [math.inf, math.inf]},
    }
    metrics = [METRICS["SCD"], METRICS["PSNR"]]
    scores = Scores("m", "paper", metrics, ["a", "b"], {"saved": table})
    assert not any(scores.beats("saved", "second", metric) for metric in metrics)


def test_profile_and_metrics() -> None:
    (pair,) = pairs(1)
    paper = evaluate(Blend(), [pair], ["MI", "EN", "MI"])
    corrected = evaluate(Blend(), [pair], ["MI"], "corrected")
    assert list(paper.values) == ["MI", "EN"]
    assert corrected.values["MI"][0] == pytest.approx(paper.values["MI"][0] / math.log(2))


def test_order_and_limit() -> None:
    told: list[tuple[str, int | None]] = []
    scores = evaluate(
        Blend(), pairs(12), ["EN"], limit=11, after=lambda name, total: told.append((name, total))
    )
    assert scores.images == [f"p{n}" for n in range(11)]
    assert told == [(f"p{n}", 11) for n in range(11)]
    assert scores.tables["plain"]["first"]["EN"] == [
        direct(noise(n), pairs(12)[n])["EN"] for n in range(11)
    ]


def test_pairs_without_names_are_numbered() -> None:
    scores = evaluate(Blend(), [pair._replace(name="") for pair in pairs(2)], ["EN"])
    assert scores.images == ["1", "2"]


# Trouble


def test_trouble_of_one_pair_is_its_own(tmp_path: Path) -> None:
    paths = saved(tmp_path, 5)
    for number in range(5):
        flat(tmp_path / "out" / f"p{number}.png", number, SIZE)
    (tmp_path / "out" / "p1.png").write_text("no image")
    flat(tmp_path / "small" / "x.png", 3, (7, 9)).replace(tmp_path / "out" / "p2.png")
    paths[3].second.write_bytes(b"")
    told: list[str] = []
    scores = evaluate(tmp_path / "out", paths, ["EN"], after=lambda name, total: told.append(name))
    assert scores.images == ["p0", "p4"]
    assert told == [f"p{n}" for n in range(5)]
    assert list(scores.failed) == ["p1", "p2", "p3"]
    assert f"{tmp_path / 'out' / 'p1.png'} is not an image" in str(scores.failed["p1"])
    assert str(scores.failed["p2"]) == (
        f"{tmp_path / 'out' / 'p2.png'} is 9x7 and its sources are 45x42: "
        "use results of the same size, resize them, or crop the sources."
    )
    assert scores.failed["p2"].setting == ("resize", "crop")
    assert f"{paths[3].second} is empty" in str(scores.failed["p3"])


def test_image_too_small_for_one_metric() -> None:
    """The others are computed as if it had not been asked for."""
    good, small = pairs(1)[0], ImagePair(noise(1, size=(6, 9)), noise(2, size=(6, 9)), "small")
    scores = evaluate(Blend(), [good, small], ["SSIM", "EN"])
    assert scores.images == ["p0", "small"]
    assert not scores.failed
    alone = evaluate(Blend(), [good, small], ["EN"])
    assert scores.values["EN"] == alone.values["EN"]
    assert scores.values["SSIM"][0] == pytest.approx(evaluate(Blend(), [good]).values["SSIM"][0])
    assert math.isnan(scores.values["SSIM"][1])
    assert scores.summaries["plain"]["fused"]["SSIM"].undefined == 1
    assert report.notes(scores) == [
        "SSIM is over 1 of 2 images, for it needs at least 7 x 7 pixels."
    ]


def test_memory_that_runs_out_is_trouble_of_one_pair() -> None:
    class Greedy(Blend):
        def forward(self, first: Tensor, second: Tensor) -> Tensor:
            if first.shape[-1] > SIZE[1]:
                raise MemoryError
            return super().forward(first, second)

    large = ImagePair(noise(1, size=(42, 60)), noise(2, size=(42, 60)), "large")
    scores = evaluate(Greedy(), [large, *pairs(1)], ["EN"])
    assert list(scores.failed) == ["large"]
    reason = "cannot fuse large: out of memory; use smaller images."
    assert str(scores.failed["large"]) == reason


def test_bug_is_not_swallowed() -> None:
    class Broken(Blend):
        def forward(self, first: Tensor, second: Tensor) -> Tensor:
            raise ZeroDivisionError("a bug")

    with pytest.raises(ZeroDivisionError, match="a bug"):
        evaluate(Broken(), pairs(2), ["EN"])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"metrics": ["XX"]}, "profile paper has no metric 'XX': use EN"),
        ({"profile": "xx"}, "there is no profile 'xx': use paper"),
        ({"limit": 0}, "cannot stop after 0 pairs: use 1 or more."),
        ({"pairs": []}, "none of 0 pairs could be scored: there are no pairs"),
        (
            {"pairs": [ImagePair(noise(0), noise(1)[..., :9], "a")]},
            "none of 1 pairs could be scored: the first image of a is 45x42 and the second 9x42: "
            "use images of one size, or resize the second.",
        ),
    ],
)
def test_nothing_to_score(arguments: dict[str, Any], expected: str) -> None:
    with pytest.raises(InputError) as error:
        evaluate(Blend(), **{"pairs": pairs(1), **arguments})
    assert str(error.value).startswith(expected)


# Which file is the result of which pair


def matched(root: Path, names: list[str], pair_names: list[str]) -> tuple[dict[str, str], Any, Any]:
    root.mkdir()
    for name in names:
        (root / name).touch()
    paths = [
        PairedPaths(name, Path("v") / f"{name}_vi.png", Path("i") / f"{name}_ir.png")
        for name in pair_names
    ]
    files, missing, unmatched, _ = match_fused(root, paths)
    return {n: path.name for n, path in files.items()}, missing, [p.name for p in unmatched]


@pytest.mark.parametrize(
    ("names", "expected", "missing", "unmatched"),
    [
        (["1.png", "2.png"], ["1.png", "2.png"], [], []),
        (["1.png", "2.JPG", "n.txt"], ["1.png", "2.JPG"], [], []),
        (["1_fused.png", "2_fused.png"], ["1_fused.png", "2_fused.png"], [], []),
        (["fused-1.png", "fused-2.png"], ["fused-1.png", "fused-2.png"], [], []),
        (["a_1_b.png", "a_2_b.png"], ["a_1_b.png", "a_2_b.png"], [], []),
        (["1_vi.png", "2_vi.png"], ["1_vi.png", "2_vi.png"], [], []),
        (["1_ir_x.png", "2_ir_x.png"], ["1_ir_x.png", "2_ir_x.png"], [], []),
        (["1.png", "3.png"], ["1.png"], ["2"], ["3.png"]),
        (["1.png", "2_fused.png"], ["1.png"], ["2"], ["2_fused.png"]),
        (["1.png", "12.png", "2.png"], ["1.png", "2.png"], [], ["12.png"]),
        (["1_rain.png", "1.png", "2.png"], ["1.png", "2.png"], [], ["1_rain.png"]),
    ],
    ids=lambda value: "+".join(value),
)
def test_results_are_found(
    tmp_path: Path,
    names: list[str],
    expected: list[str],
    missing: list[str],
    unmatched: list[str],
) -> None:
    files, absent, others = matched(tmp_path / "out", names, ["1", "2"])
    assert list(files.values()) == expected
    assert list(files) == [name for name in ("1", "2") if name not in missing]
    assert (absent, others) == (missing, unmatched)


def test_longer_names_are_not_taken_for_shorter_ones(tmp_path: Path) -> None:
    files, _, _ = matched(
        tmp_path / "out", ["day_x.png", "day_rain_x.png"], ["day", "day_rain", "rain"]
    )
    assert files == {"day": "day_x.png", "day_rain": "day_rain_x.png"}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["1_a.png", "1_b.png"], r"1_a\.png and .*1_b\.png could both be the result"),
        (["1.png", "1.jpg"], r"1\.jpg and .*1\.png could both be the result"),
        (["z.png"], r"no image of .* \(z\.png, \.\.\.\) has the name of a pair \(1, \.\.\.\)"),
        (["z.txt"], "holds no images: they end with one of"),
        ([], "holds no images: they end with one of"),
    ],
    ids=str,
)
def test_results_that_cannot_be_told(tmp_path: Path, names: list[str], expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        matched(tmp_path / "out", names, ["1", "2"])


def test_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot open the folder .*nowhere"):
        match_fused(tmp_path / "nowhere", [PairedPaths("1", Path("1.png"), Path("1.png"))])
