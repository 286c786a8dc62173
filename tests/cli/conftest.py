"""Networks for the command line: one that is checked by hand, and weights of the real one."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from cddfuse.models import MODELS, Card, FusionModel, create_model, save_weights


class Mean(FusionModel):
    """The mean of both images."""

    card = Card(name="mean", paper="https://example.org")

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Average."""
        return (first + second) / 2


class Untrained(Mean):
    """It learns, but nobody has trained it."""

    card = Card(name="untrained", paper="https://example.org")

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))


@pytest.fixture(autouse=True)
def larger_zoo(monkeypatch: pytest.MonkeyPatch) -> None:
    """`--model mean` is a network."""
    zoo = cast(dict[str, Any], MODELS)
    monkeypatch.setitem(zoo, "mean", Mean)
    monkeypatch.setitem(zoo, "untrained", Untrained)


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights file of the real network, which nobody has trained."""
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    torch.manual_seed(0)
    save_weights(create_model("cddfuse"), path)
    return path


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """Images of a few pixels are slower on more, and very much so where the cores are busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
