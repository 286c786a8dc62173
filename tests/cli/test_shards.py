"""`cddfuse fuse --shard`: jobs that do not know of each other do all of a folder once."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import tifffile

from cddfuse.cli import run

COUNT = 9
Say = pytest.CaptureFixture[str]


@pytest.fixture
def folders(tmp_path: Path) -> list[str]:
    """Thermal counts whose range differs from file to file, and one image without a partner."""
    for side in ("vi", "ir"):
        (tmp_path / side).mkdir()
        for number in range(COUNT):
            counts = np.linspace(20000, 20100 + 50 * number, 256).reshape(16, 16)
            tifffile.imwrite(tmp_path / side / f"{number}.tif", counts.astype(np.uint16))
    tifffile.imwrite(tmp_path / "vi" / "lone.tif", np.zeros((16, 16), np.uint16))
    return [str(tmp_path / "vi"), str(tmp_path / "ir")]


def fuse(folders: list[str], output: Path, *flags: str) -> int:
    model = () if any(flag.startswith("--model") for flag in flags) else ("--model", "mean")
    return run(["fuse", *folders, "-o", str(output), *model, *flags])


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_shards_together_are_the_whole(folders: list[str], tmp_path: Path, capsys: Say) -> None:
    assert fuse(folders, tmp_path / "whole") == 1  # for the image without a partner
    codes, done, lone = [], [], 0
    for number in (3, 1, 4, 2):
        capsys.readouterr()
        codes.append(fuse(folders, tmp_path / "parts", f"--shard={number}/4", "--json"))
        said = capsys.readouterr()
        summary = json.loads(said.out)
        done += summary["done"]
        lone += len(summary["unpaired"])
    assert len(done) == len(set(done)) == COUNT
    assert sorted(codes) == [0, 0, 0, 1]
    assert lone == 1
    parts = contents(tmp_path / "parts")
    del parts["fuse.key.json"]
    assert parts == contents(tmp_path / "whole")
    assert "fuse.json" in parts


def test_each_shard_alone_has_the_range_of_the_folder(folders: list[str], tmp_path: Path) -> None:
    ranges = []
    for number in range(1, 4):
        output = tmp_path / str(number)
        fuse(folders, output, f"--shard={number}/3")
        ranges.append((output / "fuse.json").read_text())
    assert len(set(ranges)) == 1


def test_shards_of_other_weights_or_settings_are_refused(
    folders: list[str], tmp_path: Path, capsys: Say
) -> None:
    fuse(folders, tmp_path / "out", "--shard=1/2")
    for flags, other in (
        ("--model=max", "network"),
        ("--stretch", "stretch"),
        ("--strip", "strip"),
        ("--kernels=eager", "kernels"),
    ):
        capsys.readouterr()
        assert fuse(folders, tmp_path / "out", "--shard=2/2", flags) == 2
        assert f"were made with another {other}: use the same" in capsys.readouterr().err
    assert fuse(folders, tmp_path / "out", "--shard=2/2") in (0, 1)
    assert fuse(folders, tmp_path / "out", "--shard=2/2", "--stretch", "--overwrite") in (0, 1)


def test_a_shard_may_be_empty(folders: list[str], tmp_path: Path) -> None:
    codes = [fuse(folders, tmp_path / "out", f"--shard={number}/200") for number in range(1, 9)]
    assert set(codes) <= {0, 1}


def test_no_shard_replaces_a_source_of_another(folders: list[str], tmp_path: Path) -> None:
    for number in range(1, 4):
        flags = ("--format", "tif", "--overwrite", f"--shard={number}/3")
        assert fuse(folders, Path(folders[0]), *flags) == 2
    assert len(os.listdir(folders[0])) == COUNT + 1


@pytest.mark.parametrize(
    ("sources", "output", "sentence"),
    [
        (["vi/1.tif", "ir/1.tif"], "out.png", "only folders of images can (--shard)."),
        (["vi", "ir"], "out.mp4", "a clip needs all frames: leave out the shard (--shard)."),
    ],
)
def test_what_has_no_shards_is_refused(
    folders: list[str], tmp_path: Path, capsys: Say, sources: list[str], output: str, sentence: str
) -> None:
    places = [str(tmp_path / source) for source in sources]
    assert fuse(places, tmp_path / output, "--shard=1/2") == 2
    assert capsys.readouterr().err.endswith(sentence + "\n")
