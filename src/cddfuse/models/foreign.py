"""Convert checkpoints of other implementations: parameter names and TensorFlow's kernel layout."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

Names = Sequence[tuple[str, str | None]]
"""Pattern of a whole foreign name, and the name here; None drops the tensor."""


def translated(
    checkpoint: Mapping[str, Any], names: Names, *, tensorflow: bool = False
) -> dict[str, Tensor] | None:
    """State dict of a network here from a foreign one; None if no name matches.

    Names without an entry in the table are kept, and refused later as unknown.

    Args:
        checkpoint: tensors by name.
        names: tried one after another.
        tensorflow: kernels are (height, width, inputs, outputs), and become (outputs, inputs,
            height, width).
    """
    state, recognised = {}, False
    for name, tensor in checkpoint.items():
        found = _translation(str(name), names)
        recognised |= found is not None
        ours = name if found is None else found[0]
        if ours is not None:
            kernel = tensorflow and tensor.ndim == 4
            state[ours] = tensor.permute(3, 2, 0, 1) if kernel else tensor
    return state if recognised else None


def inner(checkpoint: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """The state dict under a key of a training checkpoint; the checkpoint itself if it has none."""
    return checkpoint.get(key, checkpoint)


def _translation(name: str, names: Names) -> tuple[str | None] | None:
    for pattern, replacement in names:
        if match := re.fullmatch(pattern, name):
            return (None if replacement is None else match.expand(replacement),)
    return None
