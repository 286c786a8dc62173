"""What docs/evaluation.md promises is run."""

import re
from pathlib import Path

import pytest
import torch

from cddfuse import write_image
from cddfuse.cli import app
from cddfuse.metrics import PROFILES

TEXT = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text("utf-8")


def test_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for seed, folder in enumerate(("visible", "infrared", "fused")):
        Path(folder).mkdir()
        rng = torch.Generator().manual_seed(seed)
        image = torch.rand(1, 42, 45, generator=rng)
        image[0, 0, :2] = torch.tensor([0.0, 1.0])
        write_image(Path(folder, "1.png"), image)
    (block,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    exec(block, {})
    vif, spread = capsys.readouterr().out.split()
    assert 0 < float(vif) < 1
    assert spread == "[255.0]"


def test_commands() -> None:
    commands = re.findall(r"^(cddfuse [^#\n]*)", TEXT, re.MULTILINE)
    assert len(commands) == 5
    for command in commands:
        app.parse_args(command.split()[1:], exit_on_error=False, print_error=False)


def test_every_profile_is_listed() -> None:
    assert re.findall(r"^\| `(\w+)` \|", TEXT, re.MULTILINE) == list(PROFILES)
