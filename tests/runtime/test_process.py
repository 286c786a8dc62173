"""Settings of the process are made by programs, and by nothing else."""

import sys
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from cddfuse import ImagePair, fuse
from cddfuse.cli import run
from cddfuse.models import Card, FusionModel
from cddfuse.runtime import prepare_process
from cddfuse.runtime.allocator import keep_memory, keeps_memory, kept_memory


@pytest.fixture
def tf32() -> Iterator[None]:
    """The default of PyTorch."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = True
    yield
    torch.backends.cudnn.allow_tf32 = before


class Watched(FusionModel):
    """Keeps the setting that it saw."""

    card = Card(name="watched", paper="")

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Fuse."""
        self.seen = torch.backends.cudnn.allow_tf32
        return first


@pytest.mark.usefixtures("tf32")
def test_fusing_leaves_the_process_alone_and_programs_do_not() -> None:
    model = Watched()
    fuse(model, ImagePair(torch.rand(1, 9, 9), torch.rand(1, 9, 9)))
    assert model.seen
    prepare_process()
    fuse(model, ImagePair(torch.rand(1, 9, 9), torch.rand(1, 9, 9)))
    assert not model.seen


@pytest.mark.usefixtures("tf32")
def test_the_command_line_prepares_its_process(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["fuse", "nowhere.png", "nor-here.png", "-o", "x.png"]) == 2
    assert not torch.backends.cudnn.allow_tf32


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_freed_memory_is_kept_and_counted() -> None:
    if not keep_memory():
        pytest.skip("another C library")
    assert keeps_memory()
    large = torch.ones(20_000_000)
    before = kept_memory()
    del large
    assert kept_memory() - before > 70_000_000
