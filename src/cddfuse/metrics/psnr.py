"""Peak signal-to-noise ratio (PSNR), with the mean squared error over both sources.

Unit: dB. Higher is better. Infinite where the fused image and both sources are equal.
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
    """10 log10(peak^2 / MSE), MSE being the mean over both sources: (B,), in dB.

    Args:
        fused: (B, 1, H, W), grey levels.
        first: like fused.
        second: like fused.
        peak: the peak value; None for the highest level of the fused image.
    """
    mse = (mean_squared_error(fused, first) + mean_squared_error(fused, second)) / 2
    r = fused.amax((-3, -2, -1)).double() if peak is None else torch.full_like(mse, peak)
    return 10 * (r.square() / mse).log10()


def _root_over_pixels(fused: Tensor, first: Tensor, second: Tensor) -> Tensor:
    pixels = fused.shape[-2] * fused.shape[-1]
    errors = [mean_squared_error(fused, source) / pixels for source in (first, second)]
    rmse = (errors[0].sqrt() + errors[1].sqrt()) / 2
    return 10 * (255**2 / rmse).log10()


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
    note="The peak is the highest level of the fused image; NaN where all images are black.",
    latex=r"10\log_{10}\frac{\left(\max F\right)^2}{\tfrac{1}{2}\left(\mathrm{MSE}(F,A)+\mathrm"
    r"{MSE}(F,B)\right)}",
)

PSNR_255 = replace(
    PSNR,
    formula=partial(peak_signal_to_noise, peak=255),
    note="The peak is 255.",
    latex=r"10\log_{10}\frac{255^2}{\tfrac{1}{2}\left(\mathrm{MSE}(F,A)+\mathrm{MSE}(F,B)\right)}",
)

PSNR_65025 = replace(
    PSNR,
    formula=partial(peak_signal_to_noise, peak=255**2),
    note="A peak of 255 with the MSE of images in [0, 1]: 48.13 dB too high.",
    latex=r"10\log_{10}\frac{65025^2}{\tfrac{1}{2}\left(\mathrm{MSE}(F,A)+\mathrm{MSE}(F,B)\right)}",
)

PSNR_ROOT = replace(
    PSNR,
    formula=_root_over_pixels,
    note="sqrt(sum of squares) / (H W) instead of the MSE: values around 58 dB.",
    latex=r"10\log_{10}\frac{255^2}{\tfrac{1}{2}\left(\sqrt{\mathrm{MSE}(F,A)/HW}+\sqrt{\mathrm"
    r"{MSE}(F,B)/HW}\right)}",
)
