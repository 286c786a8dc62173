"""Peak signal-to-noise ratio (PSNR): the mean squared error on a logarithmic scale.

Unit: dB. Higher is better. Infinite where fused image and sources are all the same.
Source: Jagalingam and Hegde, "A review of quality metrics for fused image", 2015.
"""

import math
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from cddfuse.metrics.base import Metric
from cddfuse.metrics.mse import mean_squared_error


def peak_signal_to_noise(
    fused: Tensor, first: Tensor, second: Tensor, *, peak: float | None = None
) -> Tensor:
    """Ratio of the squared peak to the mean squared error over both sources: (B,), in dB.

    Args:
        fused: (B, 1, H, W), grey levels.
        first: like fused.
        second: like fused.
        peak: the highest possible level; None for the highest that this fused image has.
    """
    error = (mean_squared_error(fused, first) + mean_squared_error(fused, second)) / 2
    top = fused.amax((-3, -2, -1)).double() if peak is None else torch.full_like(error, peak)
    return 10 * (top.square() / error).log10()


def _root_over_pixels(fused: Tensor, first: Tensor, second: Tensor) -> Tensor:
    pixels = fused.shape[-2] * fused.shape[-1]
    errors = [mean_squared_error(fused, source) / pixels for source in (first, second)]
    error = (errors[0].sqrt() + errors[1].sqrt()) / 2
    return 10 * (255**2 / error).log10()


PSNR = Metric(
    "PSNR",
    "Peak signal-to-noise ratio",
    peak_signal_to_noise,
    over="both",
    combine=None,
    unit="dB",
    range=(-math.inf, math.inf),
    better="higher",
    source="Jagalingam and Hegde, Aquatic Procedia 4, 133 (2015)",
    note="The peak is the brightest level of this fused image; NaN where all is black.",
)

PSNR_255 = replace(PSNR, formula=partial(peak_signal_to_noise, peak=255), note="The peak is 255.")

PSNR_65025 = replace(
    PSNR,
    formula=partial(peak_signal_to_noise, peak=255**2),
    note="A peak of 255 for an error of images in [0, 1]: 48.13 dB too high.",
)

PSNR_ROOT = replace(
    PSNR,
    formula=_root_over_pixels,
    note="Of sqrt(sum of squares) / (H W) instead of the mean square: 58 dB is ordinary there.",
)
