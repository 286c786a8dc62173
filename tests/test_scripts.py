"""The chain of runs behind the shipped weights, without the training."""

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from cddfuse import write_image
from cddfuse.cli import app

ROOT = Path(__file__).parents[1]
# Splits the data; instead of training or blending, notes the command and makes the result.
STAND_IN = f"""#!/usr/bin/env bash
set -e
if [ "$1" = -m ]; then
  printf '%q ' "$@" >> "$NOTES"; echo >> "$NOTES"
  while [ $# -gt 0 ]; do
    if [ "$1" = --weights ]; then test -f "$2"; fi
    if [ "$1" = -o ]; then place=$2; fi
    shift
  done
  mkdir -p "$place"; touch "$place/weights.safetensors"
elif [ "$4" = data ]; then exec "{sys.executable}" "$@"
else
  kind=$2 name=$3; shift 3
  for part; do test -f "$kind-${{part%=*}}/weights.safetensors"; done
  mkdir -p "$kind-$name"; touch "$kind-$name/weights.safetensors"
fi
"""


@pytest.mark.parametrize("kind", ["ivf", "mif"])
def test_every_run_of_the_chain_is_understood_and_starts_from_one_before(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script, python = tmp_path / "scripts/weights", tmp_path / ".venv/bin/python"
    for path in (script, python):
        path.parent.mkdir(parents=True)
    shutil.copy(ROOT / "scripts/weights", script)
    python.write_text(STAND_IN)
    python.chmod(0o755)
    data, runs = tmp_path / "data of mine", tmp_path / "runs of mine"
    _images(data / "roadscene/train", ("vi", "ir"), [str(n) for n in range(18)])
    for other in ("ct", "pet", "spect"):
        slices = [f"{case}{number:03}" for case in (2, 3, 30) for number in (7, 8)]
        _images(data / f"mri_{other}/train", (other, "mri"), slices)
    notes = tmp_path / "notes"
    monkeypatch.setenv("NOTES", str(notes))

    command = ["bash", str(script), kind, str(data), str(runs)]
    result = subprocess.run(command, capture_output=True, text=True)

    assert result.returncode == 0, result.stderr
    shipped = Path(result.stdout.strip())
    assert shipped == runs / kind / "weights.safetensors"
    assert shipped.is_file()
    commands = notes.read_text().splitlines()
    assert len(commands) > 10
    for line in commands:
        app.parse_args(shlex.split(line)[2:], exit_on_error=False, print_error=False)

    learned, validated = _targets(runs / "data", "train"), _targets(runs / "data", "val")
    assert len(validated) == {"ivf": 2 * 2, "mif": 3 * 4 * 2}[kind]
    assert len(learned) == {"ivf": 16 * 2, "mif": 3 * 2 * 2}[kind]
    assert not learned & validated

    subprocess.run(command, check=True, capture_output=True)
    assert notes.read_text().splitlines() == commands, "what is done is not done again"


def _images(folder: Path, sides: tuple[str, str], names: list[str]) -> None:
    for side in sides:
        (folder / side).mkdir(parents=True)
        for name in names:
            write_image(folder / side / f"{name}.png", torch.rand(1, 4, 4))


def _targets(folder: Path, part: str) -> set[Path]:
    return {path.resolve() for path in folder.glob(f"{part}*/*/*")}
