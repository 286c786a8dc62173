"""A data set that is larger than the memory it may take."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from cddfuse.datasets.synthetic import night_street
from cddfuse.io import write_image

SIZE = (1024, 1280)
# A child inherits the peak of the program that starts it, which therefore has to be a small one.
MEASURE = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=sys.stderr)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
PAIRS = 300  # 1.6 GB as 16-bit levels


@pytest.fixture
def folders(tmp_path: Path) -> list[str]:
    """Two folders of links to the files of one pair."""
    pair = night_street(1, SIZE).pair
    for kind, image in (("vi", pair.first), ("ir", pair.second)):
        write_image(tmp_path / f"{kind}.png", image)
        (tmp_path / kind).mkdir()
        for number in range(PAIRS):
            (tmp_path / kind / f"{number:03}.png").symlink_to(tmp_path / f"{kind}.png")
    with Image.open(tmp_path / "vi.png") as written:
        assert written.size == SIZE[::-1]
    return [str(tmp_path / kind) for kind in ("vi", "ir")]


if sys.platform != "win32":  # memory of a child is not known there

    @pytest.mark.slow
    def test_training_takes_less_memory_than_its_data(folders: list[str], tmp_path: Path) -> None:
        recipe = ["--preset", "released", "--crop", "32", "--batch", "2", "--epochs", "1", "1"]
        flags = [*recipe, "--steps", "3", "--val-share", "0", "--cache", "200MB", "--quiet"]
        command = [sys.executable, "-m", "cddfuse", "train", *folders, "-o", str(tmp_path / "run")]
        program = subprocess.run(
            [sys.executable, "-c", MEASURE, *command, *flags],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=True,
        )
        peak = int(program.stdout) * (1 if sys.platform == "darwin" else 1024)
        assert peak < 1.3e9
