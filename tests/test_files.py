"""Many files at once: reading, fusing and writing overlap; trouble with one is its own."""

import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cddfuse.errors import InputError
from cddfuse.files import Job, Options, fuse_files
from cddfuse.io import bit_depth, read_image, read_pair, write_image
from cddfuse.models import Card, FusionModel

PATIENCE = 20  # seconds until what should have happened counts as not happening


class Mean(FusionModel):
    """The mean of both images."""

    card = Card(name="mean", paper="https://example.org")

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Average, after what a test wants to happen."""
        self.happens(round(first.max().item() * 255))
        return (first + second) / 2

    def happens(self, level: int) -> None:
        """Told the level of the first image."""


@pytest.fixture
def jobs(tmp_path: Path) -> list[Job]:
    """Four; the first image of job n has the level 2 * n."""
    jobs = []
    for number in (1, 2, 3, 4):
        first, second = tmp_path / f"{number}_vi.png", tmp_path / f"{number}_ir.png"
        write_image(first, torch.full((1, 4, 5), 2 * number / 255))
        write_image(second, torch.zeros(1, 4, 5))
        jobs.append(Job(str(number), first, second, tmp_path / "out" / f"{number}.png"))
    return jobs


def outputs(jobs: list[Job]) -> list[str]:
    return sorted(path.name for path in jobs[0].output.parent.glob("*"))


def test_results_come_in_order(jobs: list[Job]) -> None:
    out_of_the_way: list[str] = []
    summary = fuse_files(Mean(), jobs, after=lambda job: out_of_the_way.append(job.name))
    assert summary.done == [job.output for job in jobs]
    assert not summary.kept
    assert not summary.failed
    assert out_of_the_way == ["1", "2", "3", "4"]
    levels = [(read_image(job.output) * 255).round().mean().item() for job in jobs]
    assert levels == [1, 2, 3, 4]


def test_no_jobs() -> None:
    assert fuse_files(Mean(), []).done == []


def test_every_job_is_reported_once(jobs: list[Job]) -> None:
    jobs[0].second.write_text("no image")
    jobs[3].first.unlink()
    jobs[1].output.parent.mkdir()
    write_image(jobs[1].output, torch.zeros(1, 4, 5))
    after: list[str] = []
    summary = fuse_files(Mean(), jobs, after=lambda job: after.append(job.name))
    assert sorted(after) == ["1", "2", "3", "4"]
    assert summary.kept == [jobs[1].output]
    assert summary.done == [jobs[2].output]
    assert list(summary.failed) == ["1", "4"]
    assert summary.seconds > 0


def test_options_reach_the_network_and_the_file(jobs: list[Job]) -> None:
    colour = torch.rand(3, 4, 5, generator=torch.manual_seed(0))
    write_image(jobs[0].first, colour, overwrite=True)
    options = Options(grey=True, stretch=True, bits=16)
    fuse_files(Mean(), jobs[:1], options)
    fused = read_image(jobs[0].output)
    assert fused.shape == (1, 4, 5)
    assert [bound.item() for bound in fused.aminmax()] == [0, 1]
    assert bit_depth(jobs[0].output) == 16


def test_next_pair_is_read_while_the_network_works(
    jobs: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = {job.name: threading.Event() for job in jobs}

    def noted(*arguments: Any, name: str, **options: Any) -> Any:
        pair = read_pair(*arguments, name=name, **options)
        read[name].set()
        return pair

    class Waiting(Mean):
        def happens(self, level: int) -> None:
            seen.append(level == 8 or read[str(level // 2 + 1)].wait(PATIENCE))

    seen: list[bool] = []
    monkeypatch.setattr("cddfuse.files.read_pair", noted)
    fuse_files(Waiting(), jobs)
    assert seen == [True] * 4


def test_last_image_is_written_while_the_network_works(
    jobs: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    written = {job.output: threading.Event() for job in jobs}

    def noted(path: Path, *arguments: Any, **options: Any) -> None:
        write_image(path, *arguments, **options)
        written[path].set()

    class Waiting(Mean):
        def happens(self, level: int) -> None:
            seen.append(level == 2 or written[jobs[level // 2 - 2].output].wait(PATIENCE))

    seen: list[bool] = []
    monkeypatch.setattr("cddfuse.files.write_image", noted)
    fuse_files(Waiting(), jobs)
    assert seen == [True] * 4


def test_network_does_not_wait_for_the_writer(
    jobs: list[Job], monkeypatch: pytest.MonkeyPatch
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
    monkeypatch.setattr("cddfuse.files.write_image", waiting)
    fuse_files(Telling(), jobs)
    assert seen == [True] * 4


def test_few_pairs_are_read_ahead(
    tmp_path: Path, jobs: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    many = [jobs[0]._replace(name=str(i), output=tmp_path / "out" / f"{i}.png") for i in range(30)]
    reads: list[str] = []

    def noted(*arguments: Any, name: str, **options: Any) -> Any:
        reads.append(name)
        return read_pair(*arguments, name=name, **options)

    class Counting(Mean):
        def happens(self, level: int) -> None:
            ahead.append(len(reads) - len(ahead))

    ahead: list[int] = []
    monkeypatch.setattr("cddfuse.files.read_pair", noted)
    fuse_files(Counting(), many)
    assert len(ahead) == 30
    assert max(ahead) <= 4


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MemoryError(), ": the memory is too small; use smaller images."),
        (OSError(5, "Broken"), " ([Errno 5] Broken): check the files and the disk."),
        (AttributeError("of a decoder"), " (of a decoder): check the files and the disk."),
    ],
    ids=repr,
)
def test_trouble_in_the_reader_is_that_of_one_pair(
    jobs: list[Job], monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    def failing(*arguments: Any, name: str, **options: Any) -> Any:
        if name == "2":
            raise error
        return read_pair(*arguments, name=name, **options)

    monkeypatch.setattr("cddfuse.files.read_pair", failing)
    summary = fuse_files(Mean(), jobs)
    assert outputs(jobs) == ["1.png", "3.png", "4.png"]
    assert summary.failed == {"2": f"cannot read {jobs[1].first} and {jobs[1].second}{reason}"}


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: not enough memory"),
    ],
    ids=repr,
)
def test_image_that_does_not_fit_into_memory(jobs: list[Job], error: Exception) -> None:
    class Failing(Mean):
        def happens(self, level: int) -> None:
            if level == 4:
                raise error

    summary = fuse_files(Failing(), jobs)
    assert outputs(jobs) == ["1.png", "3.png", "4.png"]
    assert summary.failed == {
        "2": f"cannot fuse {jobs[1].first} and {jobs[1].second}: the memory is too small; "
        "use smaller images."
    }


def test_trouble_in_the_writer_is_that_of_one_pair(
    jobs: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(path: Path, *arguments: Any, **options: Any) -> None:
        if path == jobs[1].output:
            raise OSError(5, "Input/output error")
        write_image(path, *arguments, **options)

    monkeypatch.setattr("cddfuse.files.write_image", failing)
    summary = fuse_files(Mean(), jobs)
    assert outputs(jobs) == ["1.png", "3.png", "4.png"]
    assert summary.failed["2"].startswith(f"cannot write {jobs[1].output} ([Errno 5] Input/output")


def test_bug_is_not_swallowed(jobs: list[Job]) -> None:
    class Broken(Mean):
        def happens(self, level: int) -> None:
            if level == 4:
                raise ZeroDivisionError("a bug")

    with pytest.raises(ZeroDivisionError, match="a bug"):
        fuse_files(Broken(), jobs)
    assert outputs(jobs) == ["1.png"]


def test_bug_in_the_writer_is_not_swallowed(
    jobs: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object, **options: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("cddfuse.files.write_image", broken)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        fuse_files(Mean(), jobs)


def test_relative_names_of_outputs(
    jobs: list[Job], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    fuse_files(Mean(), [jobs[0]._replace(output=Path("o.png"))])
    assert (tmp_path / "o.png").is_file()
    with pytest.raises(InputError, match=r"^1_vi\.png is a source: choose another folder"):
        fuse_files(Mean(), [jobs[0]._replace(output=Path("1_vi.png"))], Options(overwrite=True))
