"""What `torch.compile` makes of the half blocks: the same, compiled once for all sizes."""

import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from released import released_model
from torch import Tensor

from cddfuse.errors import InputError
from cddfuse.models.cddfuse import TransformerBlock
from cddfuse.models.weights import cache_folder
from cddfuse.runtime import prepare_process, process
from cddfuse.runtime.cddfuse import engine, half_blocks, inductor
from cddfuse.runtime.cddfuse.whole import EAGER, Whole

LACKING = engine.lacking("compile", torch.device("cpu"))
FP32 = torch.float32


class Graphs:
    """A backend that runs what was traced, and counts it."""

    count = 0

    def __call__(self, graph: torch.fx.GraphModule, _: list[Any]) -> Callable[..., Any]:
        self.count += 1
        return graph.forward


@torch.inference_mode()
def test_one_compilation_serves_all_blocks_and_sizes() -> None:
    model, graphs = released_model(), Graphs()
    names = [name for name in EAGER._fields if getattr(inductor.compiled(FP32), name) not in EAGER]
    assert names == ["queries_keys_values", "feed_forward", "couple"]
    made = {name: inductor.when_called(getattr(EAGER, name), graphs) for name in names}
    eager, traced = Whole(model, FP32), Whole(model, FP32, EAGER._replace(**made))
    counts = []
    for size in ((1, 12, 20), (2, 15, 9), (1, 20, 12)):
        first, second = torch.rand(2, size[0], 1, *size[1:], generator=torch.Generator())
        assert torch.equal(traced(first, second), eager(first, second))
        counts.append(graphs.count)
    # Restormer's and base blocks, of both images and of one; detail nodes likewise.
    assert counts == [10, 10, 10]


@torch.inference_mode()
def test_any_number_of_threads() -> None:
    """PyTorch compiles anew for each, and by default not more than eight times."""
    fast = inductor.when_called(EAGER.feed_forward, Graphs())
    blocks = [released_model().decoder.blocks[0], released_model().encoder.base]
    weights = [
        half_blocks.feed_forward_of(block, FP32, FP32)
        for block in blocks
        if isinstance(block, TransformerBlock)
    ]
    assert len(weights) == 2
    before = torch.get_num_threads()
    try:
        for threads in range(1, 6):
            torch.set_num_threads(threads)
            for batch, given in itertools.product((1, 2), weights):
                x = torch.rand(batch, 6, 5, 64)
                torch.testing.assert_close(fast(x, given), EAGER.feed_forward(x, given))
    finally:
        torch.set_num_threads(before)


@pytest.mark.filterwarnings("ignore:.*script_method:DeprecationWarning")  # of PyTorch's own
@pytest.mark.skipif(bool(LACKING), reason=LACKING)
@torch.inference_mode()
def test_compiled_for_this_processor_it_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    block = released_model().decoder.blocks[0]
    assert isinstance(block, TransformerBlock)
    weights = half_blocks.feed_forward_of(block, FP32, FP32)
    for height, width in ((9, 14), (6, 5)):
        x = torch.randn(1, height, width, 64, generator=torch.Generator().manual_seed(width))
        fast = inductor.compiled(FP32).feed_forward(x, weights)
        torch.testing.assert_close(fast, EAGER.feed_forward(x, weights), atol=1e-5, rtol=0)
    assert list(tmp_path.rglob("*.so"))


def test_a_compiler_that_fails_is_told_in_a_sentence() -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("no luck\nat all")

    def double(x: Tensor) -> Tensor:
        return 2 * x

    with pytest.raises(InputError, match=r"failed on this machine \(.*no luck.*\): leave the k"):
        inductor.when_called(double, broken)(torch.ones(2))


def test_compiled_kernels_are_kept_in_our_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "keep_memory", lambda: None)
    monkeypatch.setattr("torch.backends.cudnn.allow_tf32", torch.backends.cudnn.allow_tf32)
    monkeypatch.setattr(os, "environ", {"TRITON_CACHE_DIR": "mine", "XDG_CACHE_HOME": "cache"})
    prepare_process()
    assert Path(os.environ["TORCHINDUCTOR_CACHE_DIR"]) == cache_folder("inductor")
    assert os.environ["TRITON_CACHE_DIR"] == "mine"
