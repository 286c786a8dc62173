"""Folders as lists of grey pairs, and what is held out of them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cddfuse.datasets.base import PairFolder, held_out
from cddfuse.io import pair_folders
from cddfuse.io.folders import PairedPaths

LEVELS = np.arange(256, dtype=np.uint8).reshape(8, 32)


def write(path: Path, levels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(levels).save(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two pairs: `1` in grey and colour, `2` of another size."""
    colour = np.stack([LEVELS, np.zeros_like(LEVELS), 255 - LEVELS], axis=-1)
    write(tmp_path / "vi" / "1.png", colour)
    write(tmp_path / "ir" / "1.png", LEVELS)
    write(tmp_path / "vi" / "2.png", LEVELS[:, :9])
    write(tmp_path / "ir" / "2.png", LEVELS[:, 9:18])
    return tmp_path


def folder(root: Path) -> PairFolder:
    return PairFolder(pair_folders(root / "vi", root / "ir").pairs)


def test_pairs_are_grey_in_order_and_named(root: Path) -> None:
    pairs = list(folder(root))
    assert len(folder(root)) == len(pairs) == 2
    assert [pair.name for pair in pairs] == ["1", "2"]
    assert [tuple(pair.first.shape) for pair in pairs] == [(1, 8, 32), (1, 8, 9)]
    assert {image.dtype for pair in pairs for image in pair[:2]} == {torch.float32}


def test_levels_are_those_of_the_files(root: Path) -> None:
    pair = folder(root)[0]
    torch.testing.assert_close(pair.second[0], torch.from_numpy(LEVELS / 255).float())
    assert torch.equal((pair.second[0] * 255).round().to(torch.uint8), torch.from_numpy(LEVELS))
    luma = 0.299 * (LEVELS / 255) + 0.114 * (1 - LEVELS / 255)
    torch.testing.assert_close(
        pair.first[0], torch.from_numpy(luma).float(), rtol=0, atol=0.51 / 65535
    )


def test_a_pair_is_read_once(root: Path) -> None:
    pairs = folder(root)
    before = pairs[0]
    for path in root.rglob("1.png"):
        path.unlink()
    again = pairs[0]
    assert torch.equal(again.first, before.first)
    again.first.zero_()
    assert torch.equal(pairs[0].first, before.first)
    with pytest.raises(IndexError):
        pairs[2]


def test_pairs_that_cannot_be_read_are_told_apart(root: Path) -> None:
    (root / "ir" / "1.png").write_text("no image")
    good, failures = folder(root).readable()
    assert [pair.name for pair in good] == ["2"]
    assert len(failures) == 1
    assert "1.png" in failures[0]
    assert torch.equal(good[0].second, folder(root)[1].second)


def paths(*names: str) -> list[PairedPaths]:
    return [PairedPaths(name, Path("vi") / name, Path("ir") / name) for name in names]


@pytest.mark.parametrize(
    ("count", "share", "held"),
    [
        (10, 0.2, ["2", "7"]),  # the middles of both halves
        (10, 0.0, []),
        (10, 0.01, ["5"]),  # at least one
        (3, 1.0, ["0", "2"]),  # never all
        (1, 0.5, []),
    ],
)
def test_held_out_worked_by_hand(count: int, share: float, held: list[str]) -> None:
    every = paths(*map(str, range(count)))
    learn, test = held_out(every, share)
    assert [path.name for path in test] == held
    assert learn == [path for path in every if path not in test]


def test_images_of_a_case_are_held_out_together() -> None:
    every = paths("a01", "a02", "b01", "c01", "c02", "c03")
    learn, test = held_out(every, 0.34, group=2)
    assert [path.name for path in test] == ["b01"]
    assert [path.name for path in learn] == ["a01", "a02", "c01", "c02", "c03"]
