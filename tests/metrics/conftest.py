"""Triples of grey levels, fused image first, that need no files."""

import pytest
import torch
from torch import Tensor


def made(height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Ramps, stripes, a disc, a flat patch and a little grain, in whole numbers only."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    grain = (x * 37 + y * 91 + x * y * 13) % 23
    first = 2 * (x % 64 - 32).abs() + 70 * ((y // 20) % 2) + grain
    second = 3 * (y % 48 - 24).abs() + 90 * ((x - 60) ** 2 + (y - 50) ** 2 < 900) + grain // 4
    first[: height // 4, : width // 4] = 40
    fused = (torch.maximum(first, second) * 3 + first + second) // 5 + 10
    fused, first, second = (
        image.clamp(0, 255).double()[None, None] for image in (fused, first, second)
    )
    return fused, first, second


@pytest.fixture(scope="session")
def scene() -> tuple[Tensor, Tensor, Tensor]:
    """Three of (1, 1, 164, 177)."""
    return made(164, 177)


@pytest.fixture(scope="session")
def batch() -> tuple[Tensor, Tensor, Tensor]:
    """Three of (3, 1, 64, 57), in [0, 1]: parts of one scene."""
    parts = [
        torch.cat([image[..., y : y + 64, x : x + 57] for y, x in ((0, 0), (60, 40), (99, 118))])
        for image in made(164, 177)
    ]
    return parts[0] / 255, parts[1] / 255, parts[2] / 255
