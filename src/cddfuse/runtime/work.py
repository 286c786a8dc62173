"""How much arithmetic a network does for an image."""

from copy import deepcopy
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from cddfuse.models.base import FusionModel


def multiply_adds(model: FusionModel, height: int = 480, width: int = 640) -> int:
    """Multiply-adds for one pair, counted on a copy without data."""
    memo: dict[int, Any] = {}  # given to the copy in place of the weights
    for weight in model.parameters():
        memo[id(weight)] = nn.Parameter(weight.detach().to("meta"), requires_grad=False)
    for buffer in model.buffers():
        memo[id(buffer)] = buffer.to("meta")
    pair = torch.empty(2, 1, 1, height, width, device="meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        deepcopy(model, memo)(pair[0], pair[1])
    return counter.get_total_flops() // 2
