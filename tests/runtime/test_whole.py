"""CDDFuse over whole images, as it is made for GPUs: computed here on the CPU."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from released import released_model
from torch import Tensor

from benchmarks.plain import plain
from cddfuse import create_model, read_pair
from cddfuse.colour import luma
from cddfuse.errors import InputError
from cddfuse.history import History
from cddfuse.models.cddfuse import CDDFuse, Residual
from cddfuse.runtime import Limits, run
from cddfuse.runtime.cddfuse import engine
from cddfuse.runtime.cddfuse.bands import in_bands
from cddfuse.runtime.cddfuse.exact import Fast
from cddfuse.runtime.cddfuse.whole import EAGER, HalfBlocks, Whole

EAGERLY = Limits(kernels="eager")
EXAMPLES = Path(__file__).parents[2] / "examples"


def images(batch: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(height * width)
    first, second = torch.rand(2, batch, 1, height, width, generator=generator)
    return first, (second + first.roll(3, -1)) / 2


def expected(model: CDDFuse, first: Tensor, second: Tensor) -> Tensor:
    with torch.inference_mode():
        return plain(model)(first, second)


@pytest.mark.parametrize("size", [(1, 8, 8), (2, 8, 61), (3, 33, 17)], ids=str)
def test_every_size_equals_the_plain_graph(size: tuple[int, int, int]) -> None:
    model, pair = released_model(), images(*size)
    fused = Whole(model, torch.float32)(*pair)
    torch.testing.assert_close(fused, expected(model, *pair), atol=1e-5, rtol=0)


@pytest.mark.parametrize("residual", ["sum", "none"])
def test_every_residual_equals_the_plain_graph(residual: Residual) -> None:
    model, pair = released_model(residual), images(1, 12, 15)
    fused = run(model, *pair, EAGERLY)
    torch.testing.assert_close(fused, expected(model, *pair), atol=1e-5, rtol=0)


def test_flat_images_give_numbers() -> None:
    model, pair = released_model(), (torch.zeros(1, 1, 9, 9), torch.zeros(1, 1, 9, 9))
    fused = Whole(model, torch.float32)(*pair)
    torch.testing.assert_close(fused, expected(model, *pair), atol=1e-5, rtol=0)


@pytest.mark.parametrize("weights", ["ivf", "mif"])
def test_bf16_is_no_further_off_than_mixed_precision(weights: str) -> None:
    model = create_model("cddfuse", weights)
    pair = read_pair(EXAMPLES / "night_visible.png", EXAMPLES / "night_infrared.png")
    first, second = (luma(x)[None, :, 250:330, 20:120].contiguous() for x in pair[:2])
    with torch.inference_mode():
        exact = model(first, second)
        with torch.autocast("cpu", torch.bfloat16):
            mixed = model(first, second).float()
    fused = run(model, first, second, Limits(kernels="eager", precision="bf16"))
    assert fused.dtype == torch.float32
    off, allowed = ((x - exact).square().mean().sqrt().item() for x in (fused, mixed))
    assert 0 < off < 1.1 * allowed


def test_maps_stay_in_one_layout() -> None:
    """A convolution that gave another one would make the next layer copy its input."""
    seen: list[Tensor] = []

    def watched(work: Any) -> Any:
        def call(x: Tensor, *others: Any) -> Any:
            result = work(x, *others)
            seen.extend([x, result] if isinstance(result, Tensor) else [x])
            return result

        return call

    form = Whole(released_model(), torch.float32, HalfBlocks(*map(watched, EAGER)))
    form(*images(2, 16, 20))
    assert len(seen) > 60
    assert all(x.dim() == 4 and x.is_contiguous() for x in seen)


@pytest.mark.parametrize("band", [1, 5, 16, 17, 40])
def test_bands_of_rows_change_nothing(band: int) -> None:
    model, pair = released_model(), images(2, 17, 20)
    fused = run(model, *pair, Limits(kernels="eager", band=band))
    torch.testing.assert_close(fused, run(model, *pair, EAGERLY), atol=1e-6, rtol=0)


def test_bands_are_as_high_as_asked() -> None:
    heights = []

    def look(x: Tensor, _: Any) -> Tensor:
        heights.append(x.shape[1])
        assert x.is_contiguous()
        return x

    functions = in_bands(EAGER._replace(feed_forward=look), 6)
    x = torch.rand(2, 15, 4, 3)
    assert torch.equal(functions.feed_forward(x, None), x)  # type: ignore[arg-type]
    assert heights == 2 * [7, 8, 4]  # with a row above and below


def test_frames_of_a_clip_are_smoothed() -> None:
    model, pair = released_model(), images(1, 16, 20)
    ours, theirs = History(), History()
    for frame in (pair, pair[::-1]):
        with ours.frame():
            fused = run(model, *frame, EAGERLY)
        with theirs.frame():
            torch.testing.assert_close(fused, run(model, *frame), atol=1e-5, rtol=0)
    assert (run(model, *pair[::-1], EAGERLY) - fused).abs().max() > 1e-4


def test_changed_weights_count_at_once() -> None:
    model, pair = released_model(), images(1, 12, 10)
    before = run(model, *pair, EAGERLY)
    model.decoder.reduce.weight.data.mul_(0.9)  # of which no version counter knows
    after = run(model, *pair, EAGERLY)
    assert (after - before).abs().max() > 1e-5
    torch.testing.assert_close(after, expected(model, *pair), atol=1e-5, rtol=0)
    model.residual = "sum"
    assert (run(model, *pair, EAGERLY) - after).abs().max() > 1e-5


def test_chosen_kernels_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Fast, "__init__", None)  # the default on a CPU: not even built
    model, pair = released_model(), images(1, 9, 9)
    torch.testing.assert_close(
        run(model, *pair, EAGERLY), expected(model, *pair), atol=1e-5, rtol=0
    )


def test_full_memory_falls_back_to_patches(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: Any) -> Tensor:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(Whole, "__call__", full)
    model, pair = released_model(), images(1, 20, 24)
    fused = run(model, *pair, EAGERLY)
    torch.testing.assert_close(fused, expected(model, *pair), atol=1e-5, rtol=0)
    assert "out of memory: going on patch by patch" in caplog.messages


def test_little_memory_is_told(caplog: pytest.LogCaptureFixture) -> None:
    model, pair = released_model(), images(1, 64, 80)
    fused = run(model, *pair, Limits(memory=8_000_000, kernels="eager"))
    torch.testing.assert_close(fused, run(model, *pair), atol=1e-5, rtol=0)
    assert "not by eager kernels: the whole image needs too much memory" in caplog.messages
    assert all(record.levelno <= logging.WARNING for record in caplog.records)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"kernels": "fast"}, "kernels are 'fast': use auto, eager, compile, triton."),
        ({"kernels": "eager", "tile": 64}, "eager computes whole images"),
        ({"kernels": "eager", "band": -1}, "a band of -1 rows: use 0 or more"),
        ({"band": 60}, "bands of rows are for chosen kernels"),
    ],
    ids=["unknown", "tiles", "negative", "auto"],
)
def test_limits_must_make_sense(limits: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Limits(**limits)


@pytest.mark.parametrize(
    "model", [create_model("mean"), CDDFuse(base="invertible")], ids=["mean", "ablation"]
)
def test_other_networks_have_none(model: Any) -> None:
    with pytest.raises(InputError, match="has no eager kernels"):
        run(model, *images(1, 9, 9), EAGERLY)


def test_what_kernels_lack_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(InputError, match="Triton needs a CUDA GPU, and this is cpu"):
        run(released_model(), *images(1, 9, 9), Limits(kernels="triton"))
    assert "is used on CUDA GPUs and CPUs, not on mps" in engine.lacking(
        "compile", torch.device("mps")
    )
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert "no C++ compiler (no-such-compiler; CXX names" in engine.lacking("compile", cpu)
    monkeypatch.setattr(engine, "find_spec", lambda _: None)
    gpu = torch.device("cuda")
    assert "Triton is not installed" in engine.lacking("triton", gpu)
    monkeypatch.setattr(engine, "find_spec", lambda _: True)
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda _: (7, 5))
    assert engine.lacking("compile", gpu) == "the GPU is older than sm_80"
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda _: (8, 0))
    monkeypatch.setenv("CC", "no-such-compiler")
    assert "no C compiler" in engine.lacking("triton", gpu)
    assert engine.lacking("eager", gpu) == ""
