"""Folders as lists of grey pairs, and what is held out of them."""

from pathlib import Path
from time import sleep
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cddfuse.datasets.base import PairFolder, Reader, held_out
from cddfuse.datasets.crops import Crops
from cddfuse.errors import InputError
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


class Decodes:
    """Counts what is decoded."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: list[str] = []
        decoded = Reader.decoded

        def watched(reader: Reader, paths: PairedPaths) -> Any:
            self.names.append(paths.name)
            return decoded(reader, paths)

        monkeypatch.setattr(Reader, "decoded", watched)


@pytest.fixture
def decodes(monkeypatch: pytest.MonkeyPatch) -> Decodes:
    return Decodes(monkeypatch)


def many(root: Path, count: int = 4) -> list[PairedPaths]:
    for name in range(count):
        write(root / "vi" / f"{name}.png", LEVELS + name)
        write(root / "ir" / f"{name}.png", LEVELS)
    return pair_folders(root / "vi", root / "ir").pairs


BYTES = 2 * 2 * LEVELS.size  # of a pair in memory


def test_pairs_used_last_stay_in_memory_up_to_a_limit(tmp_path: Path, decodes: Decodes) -> None:
    pairs = PairFolder(many(tmp_path), Reader(2 * BYTES + 1))
    for index in (0, 1, 0, 2, 0, 1):
        pairs[index]
    assert decodes.names == ["0", "1", "2", "1"]
    nothing = PairFolder(pairs.paths, Reader(BYTES - 1))
    for _ in range(2):
        assert torch.equal(nothing[3].first, pairs[3].first)
    assert decodes.names[4:] == ["3"] * 3


@pytest.mark.parametrize(("limit", "again"), [(4 * BYTES, 0), (4 * BYTES - 1, 4)])
def test_pairs_that_are_checked_stay_in_memory_if_all_fit(
    tmp_path: Path, decodes: Decodes, limit: int, again: int
) -> None:
    pairs = PairFolder(many(tmp_path), Reader(limit))
    steps: list[None] = []
    found = pairs.checked(lambda paths, pair: pair.name, lambda: steps.append(None)).found
    assert found == ["0", "1", "2", "3"]
    assert len(steps) == 4
    list(pairs)
    assert len(decodes.names) == 4 + again


def test_pairs_are_decoded_ahead(tmp_path: Path, decodes: Decodes) -> None:
    pairs = PairFolder(many(tmp_path), Reader(BYTES))
    pairs.request([2, 3])
    while len(decodes.names) < 2:
        sleep(0.01)
    assert [pairs[index].name for index in (2, 3)] == ["2", "3"]
    assert sorted(decodes.names) == ["2", "3"]
    (tmp_path / "ir" / "1.png").write_text("no image")
    pairs.request([1])
    with pytest.raises(InputError, match=r"1\.png"):
        pairs[1]


def test_crops_of_the_next_batch_are_decoded_ahead(tmp_path: Path, decodes: Decodes) -> None:
    pairs = PairFolder(many(tmp_path), Reader(BYTES), sizes=[(8, 32)] * 4)
    crops = Crops(pairs, size=8, batch=2)
    assert decodes.names == []  # sizes are known
    now = crops.batch(0)
    while len(decodes.names) < 4:
        sleep(0.01)
    assert set(decodes.names[:2]) == set(now.name)
    assert set(decodes.names[2:]) == set(crops.batch(1).name)


def test_sizes_are_those_of_the_pictures(root: Path) -> None:
    assert [folder(root).size(index) for index in (0, 1)] == [(8, 32), (8, 9)]


def test_crops_are_cut_from_what_is_in_memory(root: Path) -> None:
    pairs = folder(root)
    crop, whole = pairs.cutter(0)((2, 5), (4, 4)), pairs[0]
    assert torch.equal(crop.first, whole.first[:, 2:6, 5:9])
    assert torch.equal(crop.second, whole.second[:, 2:6, 5:9])
    assert crop.name == "1"


def test_second_images_are_resized_if_asked_for(root: Path) -> None:
    write(root / "ir" / "1.png", LEVELS[::2, ::2])
    with pytest.raises(InputError, match="resize"):
        folder(root)[0]
    pair = PairFolder(folder(root).paths, Reader(resize=True))[0]
    assert pair.second.shape == pair.first.shape == (1, 8, 32)


def test_pairs_that_cannot_be_read_are_told_apart(root: Path) -> None:
    (root / "ir" / "1.png").write_text("no image")
    checked = folder(root).checked(lambda paths, pair: (paths.name, pair.second))
    ((name, second),) = checked.found
    assert [paths.name for paths in checked.paths] == [name] == ["2"]
    (failure,) = checked.failures
    assert "1.png" in str(failure)
    assert torch.equal(second, folder(root)[1].second)


def paths(*names: str) -> list[PairedPaths]:
    return [PairedPaths(name, Path("vi") / name, Path("ir") / name) for name in names]


@pytest.mark.parametrize(
    ("count", "share", "held"),
    [
        (10, 0.2, ["2", "7"]),  # the middles of both halves
        (10, 0.0, []),
        (10, 0.01, ["5"]),  # at least one
        (3, 0.99, ["0", "2"]),  # never all
        (1, 0.5, []),
    ],
)
def test_held_out_worked_by_hand(count: int, share: float, held: list[str]) -> None:
    every = paths(*map(str, range(count)))
    learn, test = held_out(every, share)
    assert [path.name for path in test] == held
    assert learn == [path for path in every if path not in test]


@pytest.mark.parametrize("share", [-0.1, 1.0, 1.5, float("nan"), float("inf")])
def test_a_share_is_at_least_0_and_below_1(share: float) -> None:
    with pytest.raises(InputError) as caught:
        held_out(paths("a", "b", "c"), share)
    assert caught.value.setting == "val_share"
    with pytest.raises(InputError) as caught:
        held_out(paths("a", "b", "c"), 0.1, -1)
    assert caught.value.setting == "val_group"


def test_images_of_a_case_are_held_out_together() -> None:
    every = paths("a01", "a02", "b01", "c01", "c02", "c03")
    learn, test = held_out(every, 0.34, group=2)
    assert [path.name for path in test] == ["b01"]
    assert [path.name for path in learn] == ["a01", "a02", "c01", "c02", "c03"]
