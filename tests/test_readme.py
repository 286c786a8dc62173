"""What the README promises is run."""

import re
from pathlib import Path

import pytest
import torch

from cddfuse import write_image

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_python_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rng = torch.Generator().manual_seed(0)
    write_image("visible.png", torch.rand(3, 16, 24, generator=rng))
    write_image("infrared.png", torch.rand(1, 16, 24, generator=rng))
    (block,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(block, {})
    assert (tmp_path / "fused.png").is_file()


def test_files_that_the_readme_names_are_there() -> None:
    links = re.findall(r"\]\(([\w/.-]+)\)", README)
    named = re.findall(r"(?:examples|scripts|docs)/[\w.]+", README)
    assert len(links) >= 4
    assert all((ROOT / path).exists() for path in [*links, *named])


def test_commands_of_the_readme_are_understood() -> None:
    from cddfuse.cli import app

    commands = re.findall(r"^(?:.*&& \.venv/bin/)?(cddfuse [^#\n]*)", README, re.MULTILINE)
    assert len(commands) >= 9
    for command in commands:
        if "--help" not in command:
            app.parse_args(command.split()[1:], exit_on_error=False, print_error=False)
