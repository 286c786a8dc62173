"""Differences between the Triton kernels and PyTorch, as JSON: a program for `test_triton.py`.

Triton's interpreter is chosen for a whole process, by TRITON_INTERPRET=1.
"""

import json
import sys
from collections.abc import Iterator
from typing import Any

import torch
from released import released_model
from torch import Tensor

from cddfuse.models.cddfuse import CDDFuse, TransformerBlock
from cddfuse.runtime import Limits, run
from cddfuse.runtime.cddfuse import half_blocks, triton_layers
from cddfuse.runtime.cddfuse.whole import EAGER

DTYPES = {"fp32": torch.float32, "fp16": torch.float16}


def differences(model: CDDFuse) -> Iterator[tuple[str, float]]:
    """Name and largest difference of each case, both computed from the same weights."""
    restormer, base = model.decoder.blocks[0], model.base_fusion
    assert isinstance(restormer, TransformerBlock)
    assert isinstance(base, TransformerBlock)
    for name, dtype in DTYPES.items():
        for size in ((2, 5, 7), (1, 1, 70), (1, 13, 3), (1, 9, 30)):  # the last in three shares
            x = torch.randn(*size, 64, generator=torch.Generator().manual_seed(size[1]))
            label = f"{name} {size[0]}x{size[1]}x{size[2]}"
            for stream in {torch.float32, dtype}:
                note = label if stream == dtype else f"{label} onto fp32"
                yield f"feed_forward {note}", feed_forward(restormer, x, dtype, stream)
            yield f"attention {label}", attention(restormer, x, dtype)
        yield f"groups {name}", feed_forward(base, x, dtype, dtype)


def feed_forward(
    block: TransformerBlock, x: Tensor, dtype: torch.dtype, stream: torch.dtype
) -> float:
    """Of a feed-forward half block."""
    weights, x = half_blocks.feed_forward_of(block, dtype, stream), x.to(stream)
    exact = half_blocks.feed_forward_of(block, torch.float32, torch.float32)
    ours = triton_layers.feed_forward(x, weights)
    assert ours.dtype == stream
    return _off(ours, EAGER.feed_forward(x.float(), _as_stored(exact, dtype)))


def attention(block: TransformerBlock, x: Tensor, dtype: torch.dtype) -> float:
    """Of an attention half block, sums included."""
    weights, x = half_blocks.attention_of(block, dtype, dtype), x.to(dtype)
    exact = _as_stored(half_blocks.attention_of(block, torch.float32, torch.float32), dtype)
    matrix = torch.randn(len(x), 64, 64, generator=torch.Generator().manual_seed(1)) / 8
    wide = triton_layers.queries_keys_values(x, weights)
    mixed = EAGER.queries_keys_values(x.float(), exact)
    ours = triton_layers.attend(x, wide, matrix.to(dtype), weights)
    theirs = EAGER.attend(x.float(), mixed, matrix.to(dtype).float(), exact)
    pairs = zip(triton_layers.sums(wide, weights), EAGER.sums(mixed, exact), strict=True)
    relative = [_off(one, two) / float(two.abs().max()) for one, two in pairs]
    return max(_off(ours, theirs), *relative)


def _as_stored(weights: Any, dtype: torch.dtype) -> Any:
    """Weights rounded to a precision, in single precision again."""
    if isinstance(weights, Tensor):
        return weights.to(dtype).float()
    return weights and type(weights)(*(_as_stored(x, dtype) for x in weights))


def _off(one: Tensor, two: Tensor) -> float:
    return float((one.float() - two).abs().max())


if __name__ == "__main__":
    torch.set_num_threads(1)
    model = released_model()
    with torch.inference_mode():
        found = dict(differences(model))
        if "whole" in sys.argv:
            pair = torch.rand(2, 1, 1, 9, 15, generator=torch.Generator().manual_seed(0)).unbind()
            expected = model(*pair)
            for name, band in (("whole", 0), ("whole, in bands", 4)):
                fused = run(model, pair[0], pair[1], Limits(kernels="triton", band=band))
                found[name] = _off(fused, expected)
    print(json.dumps(found))
