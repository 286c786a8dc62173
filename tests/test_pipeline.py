"""The loop: reading, fusing and writing overlap; an entry that fails does not stop the others."""

import os
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from cddfuse.errors import InputError
from cddfuse.io import PairedPaths, bit_depth, read_image, write_image
from cddfuse.io.image_files import ImageFiles, ImagePairs
from cddfuse.io.images import load_pair
from cddfuse.io.metadata import Metadata
from cddfuse.io.source import Entry, Kind, Loaded
from cddfuse.models import Card, FusionModel
from cddfuse.pair import ImagePair
from cddfuse.pipeline import Options, Summary, fuse_all

PATIENCE = 20  # seconds until what should have happened counts as not happening


class Mean(FusionModel):
    """The mean of both images."""

    card = Card(name="mean", paper="https://example.org", bytes_per_pixel=12)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Average, after what a test wants to happen."""
        self.happens(round(first.max().item() * 255))
        return (first + second) / 2

    def happens(self, level: int) -> None:
        """Told the level of the first image."""


@pytest.fixture
def pairs(tmp_path: Path) -> list[PairedPaths]:
    """Four; the first image of pair n has the level 2 * n."""
    pairs = []
    for number in (1, 2, 3, 4):
        first, second = tmp_path / f"{number}_vi.png", tmp_path / f"{number}_ir.png"
        write_image(first, torch.full((1, 4, 5), 2 * number / 255))
        write_image(second, torch.zeros(1, 4, 5))
        pairs.append(PairedPaths(str(number), first, second))
    return pairs


def result(pair: PairedPaths) -> Path:
    """Where its result goes."""
    return pair.first.parent / "out" / f"{pair.name}.png"


def fuse(
    model: FusionModel,
    pairs: list[PairedPaths],
    options: Options | None = None,
    after: Callable[[str], None] = lambda name: None,
    **writing: Any,
) -> Summary:
    folder = pairs[0].first.parent / "out"
    sink = ImageFiles(lambda name: folder / f"{name}.png", **writing)
    sink.prepare(pairs)
    return fuse_all(model, ImagePairs(pairs), sink, options, after=after)


def reasons(summary: Summary) -> dict[str, str]:
    return {name: str(error) for name, error in summary.failed.items()}


def outputs(pairs: list[PairedPaths]) -> list[str]:
    return sorted(path.name for path in (pairs[0].first.parent / "out").glob("*"))


def test_results_come_in_order(pairs: list[PairedPaths]) -> None:
    out_of_the_way: list[str] = []
    summary = fuse(Mean(), pairs, after=out_of_the_way.append)
    assert summary.done == ["1", "2", "3", "4"]
    assert not summary.kept
    assert not summary.failed
    assert out_of_the_way == ["1", "2", "3", "4"]
    levels = [(read_image(result(pair)) * 255).round().mean().item() for pair in pairs]
    assert levels == [1, 2, 3, 4]


def test_no_pairs(pairs: list[PairedPaths]) -> None:
    sink = ImageFiles(lambda name: Path(name))
    assert fuse_all(Mean(), ImagePairs([]), sink).done == []


def test_every_job_is_reported_once(pairs: list[PairedPaths]) -> None:
    pairs[0].second.write_text("no image")
    pairs[3].first.unlink()
    result(pairs[1]).parent.mkdir()
    write_image(result(pairs[1]), torch.zeros(1, 4, 5))
    after: list[str] = []
    summary = fuse(Mean(), pairs, after=after.append)
    assert sorted(after) == ["1", "2", "3", "4"]
    assert summary.kept == ["2"]
    assert summary.done == ["3"]
    assert list(summary.failed) == ["1", "4"]
    assert summary.seconds > 0


def test_entries_are_reported_in_their_order(pairs: list[PairedPaths]) -> None:
    """One that cannot be read does not overtake one whose result is still being written."""
    pairs[1].second.write_text("no image")
    after: list[str] = []
    fuse(Mean(), pairs, after=after.append)
    assert after == ["1", "2", "3", "4"]


def test_options_reach_the_network_and_the_file(pairs: list[PairedPaths]) -> None:
    colour = torch.rand(3, 4, 5, generator=torch.manual_seed(0))
    write_image(pairs[0].first, colour, overwrite=True)
    options = Options(grey=True, stretch=True)
    fuse(Mean(), pairs[:1], options, bits=16)
    fused = read_image(result(pairs[0]))
    assert fused.shape == (1, 4, 5)
    assert [bound.item() for bound in fused.aminmax()] == [0, 1]
    assert bit_depth(result(pairs[0])) == 16


def test_next_pair_is_read_while_the_network_works(
    pairs: list[PairedPaths], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = {pair.name: threading.Event() for pair in pairs}

    def noted(*arguments: Any, name: str, **options: Any) -> Any:
        pair = load_pair(*arguments, name=name, **options)
        read[name].set()
        return pair

    class Waiting(Mean):
        def happens(self, level: int) -> None:
            seen.append(level == 8 or read[str(level // 2 + 1)].wait(PATIENCE))

    seen: list[bool] = []
    monkeypatch.setattr("cddfuse.io.image_files.load_pair", noted)
    fuse(Waiting(), pairs)
    assert seen == [True] * 4


def test_last_image_is_written_while_the_network_works(
    pairs: list[PairedPaths], monkeypatch: pytest.MonkeyPatch
) -> None:
    written = {result(pair): threading.Event() for pair in pairs}

    def noted(path: Path, *arguments: Any, **options: Any) -> None:
        write_image(path, *arguments, **options)
        written[path].set()

    class Waiting(Mean):
        def happens(self, level: int) -> None:
            seen.append(level == 2 or written[result(pairs[level // 2 - 2])].wait(PATIENCE))

    seen: list[bool] = []
    monkeypatch.setattr("cddfuse.io.image_files.write_image", noted)
    fuse(Waiting(), pairs)
    assert seen == [True] * 4


def test_network_does_not_wait_for_the_writer(
    pairs: list[PairedPaths], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first image is not written before the network has got to the second pair."""
    second = threading.Event()

    def waiting(*arguments: Any, **options: Any) -> None:
        seen.append(second.wait(PATIENCE))
        write_image(*arguments, **options)

    class Telling(Mean):
        def happens(self, level: int) -> None:
            if level == 4:
                second.set()

    seen: list[bool] = []
    monkeypatch.setattr("cddfuse.io.image_files.write_image", waiting)
    fuse(Telling(), pairs)
    assert seen == [True] * 4


def test_few_pairs_are_read_ahead(
    tmp_path: Path, pairs: list[PairedPaths], monkeypatch: pytest.MonkeyPatch
) -> None:
    many = [pairs[0]._replace(name=str(i)) for i in range(30)]
    reads: list[str] = []

    def noted(*arguments: Any, name: str, **options: Any) -> Any:
        reads.append(name)
        return load_pair(*arguments, name=name, **options)

    class Counting(Mean):
        def happens(self, level: int) -> None:
            ahead.append(len(reads) - len(ahead))

    ahead: list[int] = []
    monkeypatch.setattr("cddfuse.io.image_files.load_pair", noted)
    fuse(Counting(), many)
    assert len(ahead) == 30
    assert max(ahead) <= 4


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MemoryError(), ": out of memory; use smaller images."),
        (OSError(5, "Broken"), " ([Errno 5] Broken): check the files and the disk."),
        (AttributeError("of a decoder"), " (of a decoder): check the files and the disk."),
    ],
    ids=repr,
)
def test_trouble_in_the_reader_is_that_of_one_pair(
    pairs: list[PairedPaths], monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    def failing(*arguments: Any, name: str, **options: Any) -> Any:
        if name == "2":
            raise error
        return load_pair(*arguments, name=name, **options)

    monkeypatch.setattr("cddfuse.io.image_files.load_pair", failing)
    summary = fuse(Mean(), pairs)
    assert outputs(pairs) == ["1.png", "3.png", "4.png"]
    assert reasons(summary) == {"2": f"cannot read {pairs[1].first} and {pairs[1].second}{reason}"}


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: not enough memory"),
    ],
    ids=repr,
)
def test_image_that_does_not_fit_into_memory(pairs: list[PairedPaths], error: Exception) -> None:
    class Failing(Mean):
        def happens(self, level: int) -> None:
            if level == 4:
                raise error

    summary = fuse(Failing(), pairs)
    assert outputs(pairs) == ["1.png", "3.png", "4.png"]
    assert reasons(summary) == {
        "2": f"cannot fuse {pairs[1].first} and {pairs[1].second}: out of memory; "
        "use smaller images."
    }


def test_trouble_in_the_writer_is_that_of_one_pair(
    pairs: list[PairedPaths], monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(path: Path, *arguments: Any, **options: Any) -> None:
        if path == result(pairs[1]):
            raise OSError(5, "Input/output error")
        write_image(path, *arguments, **options)

    monkeypatch.setattr("cddfuse.io.image_files.write_image", failing)
    summary = fuse(Mean(), pairs)
    assert outputs(pairs) == ["1.png", "3.png", "4.png"]
    assert reasons(summary)["2"].startswith("cannot write the result of ")
    assert "([Errno 5] Input/output error)" in reasons(summary)["2"]


def test_bug_is_not_swallowed(pairs: list[PairedPaths]) -> None:
    class Broken(Mean):
        def happens(self, level: int) -> None:
            if level == 4:
                raise ZeroDivisionError("a bug")

    with pytest.raises(ZeroDivisionError, match="a bug"):
        fuse(Broken(), pairs)
    assert outputs(pairs) == ["1.png"]


def test_bug_in_the_writer_is_not_swallowed(
    pairs: list[PairedPaths], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object, **options: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("cddfuse.io.image_files.write_image", broken)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        fuse(Mean(), pairs)


def _at(place: str) -> Callable[[str], Path]:
    return lambda name: Path(place)


def test_relative_names_of_outputs(
    pairs: list[PairedPaths], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    sink = ImageFiles(Path("o.png").with_stem)
    fuse_all(Mean(), ImagePairs(pairs[:1]), sink)
    assert (tmp_path / "1.png").is_file()
    with pytest.raises(InputError, match=r"^1_vi\.png is a source: choose another folder"):
        ImageFiles(lambda name: Path("1_vi.png"), overwrite=True).prepare(pairs)
    os.symlink(tmp_path / "1_vi.png", tmp_path / "link.png")
    (tmp_path / "inner").mkdir()
    os.symlink(tmp_path, tmp_path / "inner" / "folder")
    for name in ("link.png", "inner/folder/1_vi.png", "inner/../1_vi.png"):
        with pytest.raises(InputError, match="is a source: choose another folder"):
            ImageFiles(_at(name), overwrite=True).prepare(pairs)


def test_what_another_program_has_written_meanwhile_is_kept(pairs: list[PairedPaths]) -> None:
    """A second worker in the same folder finishes pair 2 while the network works on it."""

    class Slow(Mean):
        def happens(self, level: int) -> None:
            if level == 4:
                write_image(result(pairs[1]), torch.ones(1, 4, 5))

    summary = fuse(Slow(), pairs)
    assert (summary.done, summary.kept) == (["1", "3", "4"], ["2"])
    assert not summary.failed
    assert read_image(result(pairs[1])).min() == 1


def test_two_programs_in_one_folder_share_the_work(pairs: list[PairedPaths]) -> None:
    summaries: list[Summary] = []

    def work() -> None:
        summaries.append(fuse(Mean(), pairs))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [not summary.failed for summary in summaries] == [True, True]
    assert outputs(pairs) == ["1.png", "2.png", "3.png", "4.png"]
    assert {name for summary in summaries for name in summary.done} == {"1", "2", "3", "4"}


def test_series_that_breaks_off_keeps_what_came_before(pairs: list[PairedPaths]) -> None:
    """A clip whose end is damaged, say: the frames before it are written."""

    class Broken(ImagePairs):
        def __iter__(self) -> Any:
            yield from list(super().__iter__())[:3]
            raise InputError("the clip is cut short.")

    sink = ImageFiles(lambda name: result(pairs[0]).with_stem(name))
    with pytest.raises(InputError, match="cut short"):
        fuse_all(Mean(), Broken(pairs), sink)
    assert outputs(pairs) == ["1.png", "2.png", "3.png"]


def test_sink_is_closed_at_the_end_and_any_source_will_do() -> None:
    closed: list[int] = []

    class Memory:
        kind: ClassVar[Kind] = "images"
        images: ClassVar[dict[str, Tensor]] = {}
        notes = ()

        def path(self, name: str) -> Path:
            return Path(name)

        def has(self, name: str) -> bool:
            return False

        def write(self, name: str, image: Tensor, metadata: object) -> bool:
            self.images[name] = image
            return True

        def close(self) -> None:
            closed.append(len(self.images))

        def abandon(self) -> None:
            closed.append(-1)

    class Frames:
        kind: ClassVar[Kind] = "clip"
        notes, skipped, ranges, length = (), (), None, None

        def __iter__(self) -> Any:
            for level in (0.25, 0.75):
                pair = ImagePair(torch.full((1, 4, 5), level), torch.zeros(1, 4, 5), str(level))
                yield Entry(str(level), "a frame", partial(Loaded, pair, Metadata()))

    summary = fuse_all(Mean(), Frames(), Memory())
    assert summary.done == ["0.25", "0.75"]
    assert closed == [2]
    assert Memory.images["0.75"].mean().item() == pytest.approx(0.375)
