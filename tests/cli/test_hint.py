"""Where fusing takes long, users hear of the small network, once."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cddfuse.cli import hint as hints
from cddfuse.cli import run
from cddfuse.cli.common import NetworkFlags
from cddfuse.cli.hint import Hint, share_of_time
from cddfuse.models import MODELS, Weights, create_model


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def hint(pairs: int | None, share: float | None = 0.01) -> tuple[Hint, Clock, list[str]]:
    clock, said = Clock(), list[str]()
    return Hint(pairs, lambda: share, said.append, clock), clock, said


def pairs_of(hint: Hint, clock: Clock, *seconds: float) -> None:
    for each in seconds:
        clock.now += each
        hint.after_pair()


def test_many_pairs() -> None:
    """995 are left after five; the first one also compiles."""
    one, clock, said = hint(1000)
    pairs_of(one, clock, 30, 4, 4, 4, 4)
    assert said == ["this takes about 66 minutes more: --model cddfuse_small would take about 40 s"]


@pytest.mark.parametrize(
    ("pairs", "seconds"),
    [
        (103, (30, 6, 6)),  # 100 of 6 s are ten minutes, not more
        (1000, (30, 4, 0.5, 4, 0.5, 4)),  # now and then one takes longer
        (1000, (0.01,) * 900),  # kept, or a fast network
        (None, (30, 40, 40, 40)),  # a camera
    ],
)
def test_no_hint(pairs: int | None, seconds: tuple[float, ...]) -> None:
    one, clock, said = hint(pairs)
    pairs_of(one, clock, *seconds)
    assert said == []


def test_results_that_exist_are_not_counted() -> None:
    one, clock, said = hint(1000)
    pairs_of(one, clock, *[0.01] * 500, 5, 5)
    assert said == ["this takes about 42 minutes more: --model cddfuse_small would take about 25 s"]


def test_one_large_pair() -> None:
    """An hour and a half; what comes before the first share is not counted."""
    one, clock, said = hint(1)
    clock.now += 500
    for share in (0.02, 0.12, 0.22, 0.32):
        one.after_part(share)
        clock.now += 600
    assert said == ["this takes about 1.7 hours more: --model cddfuse_small would take about 60 s"]


@pytest.mark.parametrize("share", [None, 0.2])
def test_no_alternative(share: float | None) -> None:
    one, clock, said = hint(1000, share)
    pairs_of(one, clock, 30, 4, 4)
    assert said == []


Trained = Callable[[str], None]


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> Trained:
    """The small network as if there were weights for a task."""

    def train(task: str) -> None:
        kind = MODELS[hints.SMALL]
        weights = {task: Weights("a.safetensors", "", "", "", task=task)}  # type: ignore[arg-type]
        monkeypatch.setattr(kind, "card", replace(kind.card, weights=weights))

    return train


def test_share_of_the_time(trained: Trained) -> None:
    model = create_model("cddfuse")
    trained("ivf")
    share = share_of_time(model, "ivf")
    assert share is not None
    assert 1 / 300 < share < 1 / 50
    assert share_of_time(model, "mif") is None
    assert share_of_time(model, None) is None
    assert share_of_time(create_model("mean"), "ivf") is None
    small = share_of_time(create_model(hints.SMALL), "ivf")
    assert small is not None
    assert small > 0.1  # not worth a hint
    with torch.device("meta"):
        assert share_of_time(type(model)(), "ivf") is None  # as on a GPU


def test_task_of_the_weights() -> None:
    assert NetworkFlags().trained_for() == "ivf"
    assert NetworkFlags(task="mif").trained_for() == "mif"
    assert NetworkFlags(weights="mif").trained_for() == "mif"
    assert NetworkFlags(weights="mine.safetensors").trained_for() is None
    assert NetworkFlags(model="no such network").trained_for() is None


@pytest.mark.parametrize("quiet", [False, True])
def test_the_command_gives_the_hint(
    trained: Trained,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *,
    quiet: bool,
) -> None:
    trained("ivf")
    monkeypatch.setattr(hints, "_LONG", -1)
    for name in ("vi.png", "ir.png"):
        Image.fromarray(np.full((32, 48), len(name), np.uint8)).save(tmp_path / name)
    files = [str(tmp_path / name) for name in ("vi.png", "ir.png")]
    assert run(["fuse", *files, "-o", str(tmp_path / "f.png"), *["--quiet"] * quiet]) == 0
    said = capsys.readouterr().err
    assert said.count("--model cddfuse_small would take about 1 s") == (not quiet)
