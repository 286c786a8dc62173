"""Where pairs come from, and results of another size than their sources."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from cddfuse.errors import InputError
from cddfuse.evaluate import evaluate, published_grey, report
from cddfuse.evaluate.sources import as_source
from cddfuse.io import PairedPaths, Ranges, Skipped, read_pair, write_image
from cddfuse.io.formats import Reading, open_source
from cddfuse.io.metadata import Metadata
from cddfuse.io.source import Entry, Kind, Loaded
from cddfuse.metrics import PAPER_EIGHT, score
from cddfuse.models import Card, FusionModel
from cddfuse.pair import ImagePair

SIZE = (46, 51)


class Mean(FusionModel):
    card = Card(name="mean", paper="https://example.org")

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return (first + second) / 2


@dataclass
class Clip:
    """A source that is no list: it tells neither its length nor names of files."""

    kind: ClassVar[Kind] = "clip"
    pairs: Sequence[ImagePair]
    length: int | None = None
    skipped: Sequence[Skipped] = ()
    ranges: Ranges | None = None
    notes: Sequence[str] = ("first and second: 0..4095 as 0..1",)

    def __iter__(self) -> Iterator[Entry[Loaded]]:
        for pair in self.pairs:
            yield Entry(pair.name, f"frame {pair.name}", partial(Loaded, pair, Metadata()))


def smooth(seed: int, size: tuple[int, int] = SIZE) -> Tensor:
    """Whole levels that resizing does not turn to noise."""
    rng = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 1, 6, 6, generator=rng)
    image = torch.nn.functional.interpolate(coarse, size, mode="bicubic")[0].clamp(0, 1)
    return (image * 255).round() / 255


def pairs(count: int = 2) -> list[ImagePair]:
    return [ImagePair(smooth(n), smooth(n + 50), f"p{n}") for n in range(count)]


def save(path: Path, image: Tensor) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, image)
    return path


def saved(root: Path, count: int = 2) -> list[PairedPaths]:
    return [
        PairedPaths(
            pair.name,
            save(root / "vi" / f"{pair.name}.png", pair.first),
            save(root / "ir" / f"{pair.name}.png", pair.second),
        )
        for pair in pairs(count)
    ]


def direct(fused: Tensor, first: Tensor, second: Tensor) -> dict[str, float]:
    values = score(fused[None], first[None], second[None])
    return {name: value.item() for name, value in values.items()}


# Kinds of sources


def test_all_kinds_of_pairs_give_the_same(tmp_path: Path) -> None:
    files = saved(tmp_path)
    opened = open_source(tmp_path / "vi", tmp_path / "ir", Reading())
    found = [evaluate(Mean(), kind) for kind in (files, opened, pairs(), Clip(pairs()))]
    assert found[0].images == ["p0", "p1"]
    for scores in found[1:]:
        assert scores.images == found[0].images
        assert report.as_csv(scores) == report.as_csv(found[0])


def test_source_without_a_length_and_its_notes(tmp_path: Path) -> None:
    told: list[tuple[str, int | None]] = []
    clip = Clip(pairs(3), skipped=[Skipped(Path("lone.png"), "no partner")])
    scores = evaluate(
        Mean(), clip, ["EN"], limit=2, after=lambda name, total: told.append((name, total))
    )
    assert told == [("p0", None), ("p1", None)]
    assert report.notes(scores) == ["first and second: 0..4095 as 0..1"]
    assert report.left_out(scores) == ["no partner: lone.png"]


def test_results_of_a_source_that_is_no_list(tmp_path: Path) -> None:
    for pair in pairs():
        save(tmp_path / "out" / f"{pair.name}_fused.png", pair.first)
    scores = evaluate(tmp_path / "out", Clip(pairs(3)), ["EN"])
    assert scores.images == ["p0", "p1"]
    assert scores.missing == ["p2"]


def test_one_result_of_one_pair(tmp_path: Path) -> None:
    files, result = saved(tmp_path, 1), save(tmp_path / "anything.png", smooth(9))
    scores = evaluate(result, files)
    found = {name: values[0] for name, values in scores.values.items()}
    assert found == direct(smooth(9), smooth(0), smooth(50))


def test_pairs_need_names_of_their_own() -> None:
    with pytest.raises(InputError, match="2 pairs are called p0: give each a name"):
        as_source([*pairs(1), *pairs(1)])


def test_lists_of_something_else_are_refused() -> None:
    with pytest.raises(InputError, match="a list of PairedPaths or one of ImagePair"):
        evaluate(Mean(), ["a.png"])  # type: ignore[arg-type]


# Sizes


def test_results_of_another_size_are_refused_with_both_cures(tmp_path: Path) -> None:
    files, result = saved(tmp_path, 1), save(tmp_path / "r.png", smooth(9, (44, 45)))
    with pytest.raises(InputError, match=r"r\.png is 45x44 and its sources are 51x46") as error:
        evaluate(result, files)
    assert error.value.setting == ("resize", "crop")


@pytest.mark.parametrize("size", [(42, 43), (92, 102), (46, 60)])
def test_results_are_resized(tmp_path: Path, size: tuple[int, int]) -> None:
    files = saved(tmp_path)
    save(tmp_path / "out" / "p0.png", smooth(9))
    save(tmp_path / "out" / "p1.png", smooth(9, size))
    scores = evaluate(tmp_path / "out", files, resize=True)
    resized = read_pair(smooth(1), smooth(9, size), resize=True).second
    assert {n: v[0] for n, v in scores.values.items()} == direct(smooth(9), smooth(0), smooth(50))
    assert {n: v[1] for n, v in scores.values.items()} == direct(resized, smooth(1), smooth(51))
    (note,) = report.notes(scores)
    assert note.startswith("1 result (p1) was resized to the size of the sources")


@pytest.mark.parametrize(("size", "top", "left"), [((42, 45), 2, 3), ((43, 50), 1, 0)])
def test_sources_are_cropped_centrally(
    tmp_path: Path, size: tuple[int, int], top: int, left: int
) -> None:
    files, result = saved(tmp_path, 1), save(tmp_path / "r.png", smooth(9, size))
    scores = evaluate(result, files, crop=True)
    window = (..., slice(top, top + size[0]), slice(left, left + size[1]))
    expected = direct(smooth(9, size), smooth(0)[window], smooth(50)[window])
    assert {name: values[0] for name, values in scores.values.items()} == expected
    (note,) = report.notes(scores)
    assert note.startswith("1 result (p0) was scored against the centre of the sources")


def test_a_larger_result_cannot_be_cropped_to(tmp_path: Path) -> None:
    files, result = saved(tmp_path, 1), save(tmp_path / "r.png", smooth(9, (40, 60)))
    with pytest.raises(InputError, match=r"60x40 .* cannot be cropped to it: resize") as error:
        evaluate(result, files, crop=True)
    assert error.value.setting == "resize"


def test_results_of_networks_are_not_cropped() -> None:
    with pytest.raises(InputError, match="do not crop") as error:
        evaluate(Mean(), pairs(), crop=True)
    assert error.value.setting == "crop"


def test_second_source_is_resized_and_rounded(tmp_path: Path) -> None:
    """To the nearest level, from files; those in memory are truncated as 16-bit files are."""
    first, second = smooth(1), smooth(2, (23, 25))
    files = [PairedPaths("a", save(tmp_path / "vi.png", first), save(tmp_path / "ir.png", second))]
    with pytest.raises(InputError, match=r"51x46.* resize the second") as error:
        evaluate(Mean(), files, ["EN"])
    assert error.value.setting == "resize"
    scores = evaluate(Mean(), files, resize=True)
    resized = (read_pair(first, second, resize=True).second * 255).round() / 255
    expected = evaluate(Mean(), [ImagePair(first, resized, "a")])
    assert report.as_csv(scores) == report.as_csv(expected)
    in_memory = evaluate(Mean(), [ImagePair(first, second, "a")], ["EN"], resize=True)
    cut = published_grey(read_pair(first, second, resize=True).second)
    expected = evaluate(Mean(), [ImagePair(first, cut, "a")], ["EN"])
    assert in_memory.tables == expected.tables


def test_every_metric_is_computed() -> None:
    """The sizes above are large enough for all eight."""
    assert list(evaluate(Mean(), pairs(1)).values) == list(PAPER_EIGHT)
