"""Loss terms. Images are (B, 1, H, W) in [0, 1]; every term is a scalar. `LOSSES` is the index."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torch.distributed.nn.functional import all_reduce

from cddfuse.filters import convolve, full, gaussian_window, sobel
from cddfuse.losses_target import overshoot, target_contrast
from cddfuse.metrics.histograms import nats

_C1, _C2 = 0.01**2, 0.03**2

# SSIM


def ssim_map(image: Tensor, reference: Tensor) -> Tensor:
    """SSIM at every pixel, (B, 1, H, W).

    Wang et al. 2004 with a Gaussian window (11, sigma 1.5) and a reflected border.
    """
    luminance, contrast = _ssim_factors(image, reference)
    return luminance * contrast


def valid_ssim(image: Tensor, reference: Tensor) -> Tensor:
    """Mean SSIM of each image (B,), over the pixels whose window lies inside."""
    return ssim_map(image, reference)[..., 5:-5, 5:-5].mean((1, 2, 3))


def valid_ssim_and_contrast(image: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
    """Means of SSIM and of its contrast factor over the pixels whose window lies inside."""
    luminance, contrast = (x[..., 5:-5, 5:-5] for x in _ssim_factors(image, reference))
    return (luminance * contrast).mean(), contrast.mean()


def _ssim_factors(image: Tensor, reference: Tensor, c2: float = _C2) -> tuple[Tensor, Tensor]:
    image, reference = full(image), full(reference)  # rounded squares would leave no variance
    channels = torch.cat(
        [image, reference, image * image, reference * reference, image * reference]
    )
    mean_x, mean_y, xx, yy, xy = _blur(channels).chunk(5)
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
    contrast = (2 * (xy - mean_x * mean_y) + c2) / ((xx - mean_x**2) + (yy - mean_y**2) + c2)
    return luminance, contrast


def _blur(image: Tensor) -> Tensor:
    # The window in single precision and in two dimensions, as the release has it: its sum is off by
    # 1e-7, and the variances of flat regions, compared with C2, show that.
    line = torch.exp(-(torch.arange(-5, 6, device=image.device).float() ** 2) / 4.5)
    line = line / line.sum()
    window = torch.outer(line, line)
    return convolve(F.pad(image, (5, 5, 5, 5), mode="reflect"), window[None, None])


# Reconstructions: (image, reference)


def reconstruction_ssim(image: Tensor, reference: Tensor) -> Tensor:
    """Half of 1 - SSIM, clamped to [0, 1] at every pixel: 0 is a perfect reconstruction."""
    return (1 - ssim_map(image, reference)).clamp(0, 1).mean() / 2


def reconstruction_mse(image: Tensor, reference: Tensor) -> Tensor:
    """Mean squared error."""
    return F.mse_loss(image, reference)


def reconstruction_gradient(image: Tensor, reference: Tensor) -> Tensor:
    """Mean absolute difference of the Sobel gradients, both directions (kernel / 8)."""
    return F.l1_loss(sobel(image, "replicate") / 8, sobel(reference, "replicate") / 8)


# Fused images: (fused, first, second)


def intensity(fused: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Mean absolute difference to the brighter source at each pixel (paper, eq. 9)."""
    return F.l1_loss(fused, torch.maximum(first, second))


def intensity_l2(fused: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """`intensity` with squared errors: regions that are far too dark count most."""
    return F.mse_loss(fused, torch.maximum(first, second))


def gradient(fused: Tensor, first: Tensor, second: Tensor, gradient_gain: float = 1.0) -> Tensor:
    """Mean absolute difference to the larger of the sources' gradient magnitudes (paper, eq. 10).

    The target is multiplied by `gradient_gain`: where other terms pull the other way, networks
    fall short of it.
    """
    strongest = torch.maximum(_strength(first), _strength(second))
    return F.l1_loss(_strength(fused), gradient_gain * strongest)


def signed_gradient(
    fused: Tensor, first: Tensor, second: Tensor, gradient_gain: float = 1.0
) -> Tensor:
    """Mean absolute difference to the gradient of the source with the larger one, signs included.

    `gradient` is content with a slope in the wrong direction, which is what halos are made of.
    `gradient_gain` is as there.
    """
    wanted = gradient_gain * _stronger(first, second)
    return (sobel(fused, "zero") - wanted).abs().sum(1).mean()


def edge_weighted_gradient(
    fused: Tensor, first: Tensor, second: Tensor, gradient_gain: float = 1.0
) -> Tensor:
    """`signed_gradient` with each pixel weighted by its target's magnitude: strong edges dominate.

    0 if the gradients are as asked for, 1 if there are none; the mean over the images. Squared
    errors would also favour strong edges, but they cost mutual information with the sources.
    """
    stronger = _stronger(first, second)
    errors = (sobel(fused, "zero") - gradient_gain * stronger).abs().sum(1)
    strengths = stronger.abs().sum(1)
    asked = gradient_gain * strengths.square().sum((1, 2))
    return ((strengths * errors).sum((1, 2)) / asked.clamp_min(1e-6)).mean()


def _stronger(first: Tensor, second: Tensor) -> Tensor:
    """At each pixel the gradient (B, 2, H, W) of the source which has the larger one."""
    one, two = sobel(first, "zero"), sobel(second, "zero")
    stronger = one.abs().sum(1, keepdim=True) >= two.abs().sum(1, keepdim=True)
    return torch.where(stronger, one, two)


def _strength(image: Tensor) -> Tensor:
    return sobel(image, "zero").abs().sum(1, keepdim=True)


def ssim(fused: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """2 minus the sum of the mean SSIM with each source, in [0, 4].

    C2 is 1e-4, a third of the usual standard deviation, since infrared images have low contrast.
    """
    sources = torch.cat([first, second])
    luminance, contrast = _ssim_factors(torch.cat([fused, fused]), sources, c2=1e-4)
    return 2 - 2 * (luminance * contrast).mean()


def vif(fused: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """2 minus the sum of the VIF with each source.

    Visual information fidelity as in `cddfuse.metrics`, in the precision of the images and without
    its special cases for flat windows. Below 41 pixels, scales for which the image is too small are
    left out.
    """
    seen = shown = fused.new_zeros(2 * len(fused))
    planes = torch.cat([fused, first, second]) * 255
    for size in (17, 9, 5, 3):
        if size < 17 and min(planes.shape[-2:]) >= size:
            planes = _smooth(planes, size)[..., ::2, ::2]
        if min(planes.shape[-2:]) < size:
            break
        sources = planes[len(fused) :]
        image = planes[: len(fused)].repeat(2, 1, 1, 1)
        channels = (image, sources, image * image, sources * sources, image * sources)
        mean_x, mean_y, xx, yy, xy = _smooth(torch.cat(channels), size).chunk(5)
        covariance = (xy - mean_x * mean_y).clamp(min=0)
        variance = (yy - mean_y**2).clamp(min=0)
        gain = covariance / (variance + 1e-4)
        noise = ((xx - mean_x**2) - gain * covariance).clamp(min=0) + 2
        seen = seen + torch.log1p(gain**2 * variance / noise).sum((1, 2, 3))
        shown = shown + torch.log1p(variance / 2).sum((1, 2, 3))
    return 2 - 2 * (seen / (shown + 1e-3)).mean()


def _smooth(image: Tensor, size: int) -> Tensor:
    """Gaussian of `size` taps and sigma `size / 5`, where the window lies inside."""
    line = gaussian_window(size, size / 5).to(image.device)
    return convolve(convolve(image, line.view(1, 1, -1, 1)), line.view(1, 1, 1, -1))


def qabf(fused: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """1 minus Qabf, the share of the sources' edges that is preserved.

    As in `cddfuse.metrics`, except that an edge of opposite sign counts as lost.
    """
    slopes = sobel(torch.cat([fused, first, second]) * 255, "zero").unflatten(0, (3, -1))
    strengths = (slopes.square().sum(2) + 1e-6).sqrt()
    (shown, sources), (strength, there) = ((x[:1], x[1:]) for x in (slopes, strengths))
    ratio = torch.minimum(strength, there) / torch.maximum(strength, there)
    along = (sources * shown).sum(2)
    across = (sources[:, :, 0] * shown[:, :, 1] - sources[:, :, 1] * shown[:, :, 0]).abs()
    aligned = 1 - torch.atan2(across + 1e-6, along) * (2 / math.pi)
    share = torch.sigmoid(15 * (ratio - 0.5)) * torch.sigmoid(22 * (aligned - 0.8))
    kept = (there * share).sum((0, 2, 3)) / there.sum((0, 2, 3))
    return 1 - 0.9994 * 0.9879 * kept.mean()


def mi(fused: Tensor, first: Tensor, second: Tensor, mi_bins: int = 64) -> Tensor:
    """2 minus the sum of the normalised mutual information with each source, in [0, 2].

    Mutual information is divided by the source's entropy, in histograms of `mi_bins` levels. Pixels
    of the fused image are spread over four bins by a cubic spline (Mattes et al. 2003), which makes
    the term differentiable and gives hardly any reward for quantising the image. A source of one
    level has no information, and contributes 1.
    """
    sources = torch.stack([first, second]).flatten(2)
    levels = (sources.clamp(0, 1) * (mi_bins - 1)).round().long()  # (2, B, N)
    place = full(fused).flatten(1).clamp(0, 1) * (mi_bins - 1)
    below = place.detach().nan_to_num().floor()  # NaN is no place, and stays NaN below
    t = place - below
    shares = ((1 - t) ** 3, 4 - 6 * t**2 + 3 * t**3, 1 + 3 * t + 3 * t**2 - 3 * t**3, t**3)
    share = torch.stack(shares, -1) / (6 * t.shape[-1])  # (B, N, 4): of levels -1 to mi_bins + 1
    offsets = torch.arange(4, device=t.device)
    cells = (below.long()[..., None] + offsets) * mi_bins + levels[..., None]
    # Empty cells hold next to nothing: at 0 the logarithm has no derivative.
    joint = share.new_full((*sources.shape[:2], (mi_bins + 3) * mi_bins), 1e-20)
    joint = joint.scatter_add(-1, cells.flatten(2), share.flatten(1).expand(2, -1, -1))
    pairs = joint.unflatten(-1, (mi_bins + 3, mi_bins))
    entropy = nats(pairs.detach().sum(-2))
    mutual = nats(pairs.sum(-1)) + entropy - nats(joint)
    # Both are rounding errors for a flat source, and their ratio could be anything.
    return 2 - (mutual / entropy.clamp(min=1e-3)).sum(0).mean()


def scd(fused: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """2 minus SCD, the sum of the correlations of differences, in [0, 4].

    What the fused image adds to one source must be the other source.
    """
    left = torch.cat([fused - second, fused - first], 1)
    return 2 - 2 * correlation(left, torch.cat([first, second], 1))


# Features


def correlation(one: Tensor, two: Tensor) -> Tensor:
    """Pearson correlation over the pixels of two feature maps (B, C, H, W).

    Mean over channels and over the batch, in [-1, 1]. In a distributed run the batch is the global
    one, so that functions of it (a ratio) do not depend on the number of processes.
    """
    one, two = (x.flatten(2).float() for x in (one, two))
    one, two = (x - x.mean(-1, keepdim=True) for x in (one, two))
    covariance = (one * two).sum(-1)
    spread = one.square().sum(-1) * two.square().sum(-1)
    # The clamp keeps flat maps (0/0) and their gradients at 0.
    mean = (covariance / spread.clamp(min=1e-30).sqrt()).clamp(-1, 1).mean()
    if dist.is_available() and dist.is_initialized():
        return all_reduce(mean) / dist.get_world_size()
    return mean


def decomposition(base: Tensor, detail: Tensor) -> Tensor:
    """Squared correlation of the detail features over that of the base features (paper, eq. 8).

    Args:
        base: `correlation` of the base features of both sources.
        detail: `correlation` of their detail features.
    """
    return detail**2 / (base + 1.01)


def base_correlation(base: Tensor, detail: Tensor) -> Tensor:
    """1 minus the correlation of the base features, in [0, 2].

    `decomposition`, a ratio, hardly asks for it once the detail features do not correlate.
    """
    return 1 - base


# Saliency


def saliency(image: Tensor) -> Tensor:
    """How far a pixel's level is from those of the whole image, (B, 1, H, W) in [0, 1].

    Zhai and Shah 2006: the mean absolute difference of levels over all pixels, each image stretched
    to the full range. No gradient flows through it.
    """
    levels = (image.detach().clamp(0, 1) * 255).round().long().flatten(1)
    counts = torch.zeros(len(levels), 256, device=image.device)
    counts.scatter_add_(1, levels, torch.ones(levels.shape, device=image.device))
    scale = torch.arange(256.0, device=image.device)
    far = counts @ (scale[:, None] - scale).abs()
    found = far.gather(1, levels).view(image.shape)
    low, high = found.amin((1, 2, 3), True), found.amax((1, 2, 3), True)
    return (found - low) / (high - low).clamp(min=1e-6)


def saliency_share(first: Tensor, second: Tensor) -> Tensor:
    """Weight of the first source at each pixel, by its saliency against the second's."""
    return (1 + saliency(first) - saliency(second)) / 2


def saliency_weighted_ssim(fused: Tensor, first: Tensor, second: Tensor, share: Tensor) -> Tensor:
    """Mean of (1 - SSIM) / 2 with both sources, weighted by `saliency_share`."""
    unlike = [(1 - ssim_map(fused, source)) / 2 for source in (first, second)]
    return (share * unlike[0] + (1 - share) * unlike[1]).mean()


def saliency_weighted_intensity(
    fused: Tensor, first: Tensor, second: Tensor, share: Tensor
) -> Tensor:
    """Mean absolute difference to both sources, weighted by `saliency_share`."""
    far = [(fused - source).abs() for source in (first, second)]
    return (share * far[0] + (1 - share) * far[1]).mean()


# The index


@dataclass(frozen=True)
class Loss:
    """A row of `LOSSES`."""

    function: Callable[..., Tensor]

    stage: Literal["separate", "fuse", "both"]
    """Stage of CDDFuse's training it belongs to, which decides its arguments: separate takes
    (image, reference); fuse takes (fused, first, second); both takes the correlation of the base
    features and that of the detail features."""

    source: str
    """Paper it is from, or metric whose complement it is."""

    settings: tuple[str, ...] = ()
    """Settings of the recipe that it takes as keywords."""


_PAPER = "Zhao et al., CVPR 2023"
_GAIN = ("gradient_gain",)

LOSSES: Mapping[str, Loss] = {
    "reconstruction_ssim": Loss(reconstruction_ssim, "separate", _PAPER),
    "reconstruction_mse": Loss(reconstruction_mse, "separate", _PAPER),
    "reconstruction_gradient": Loss(
        reconstruction_gradient, "separate", f"the program of {_PAPER}"
    ),
    "intensity": Loss(intensity, "fuse", f"{_PAPER}, eq. 9"),
    "gradient": Loss(gradient, "fuse", f"{_PAPER}, eq. 10", _GAIN),
    "intensity_l2": Loss(intensity_l2, "fuse", "intensity with squared errors"),
    "signed_gradient": Loss(signed_gradient, "fuse", "gradient with its sign", _GAIN),
    "edge_weighted_gradient": Loss(
        edge_weighted_gradient, "fuse", "signed_gradient weighted by edge strength", _GAIN
    ),
    "ssim": Loss(ssim, "fuse", "metric SSIM, Wang et al. 2004"),
    "vif": Loss(vif, "fuse", "metric VIF, Sheikh and Bovik 2006"),
    "qabf": Loss(qabf, "fuse", "metric Qabf, Xydeas and Petrovic 2000"),
    "mi": Loss(
        mi, "fuse", "metric MI, Qu et al. 2002; estimator of Mattes et al. 2003", ("mi_bins",)
    ),
    "scd": Loss(scd, "fuse", "metric SCD, Aslantas and Bendes 2015"),
    "target_contrast": Loss(
        target_contrast,
        "fuse",
        "saliency-weighted, as in STDFusionNet, Ma et al. 2021; metric TC",
        ("target_source", "target_gain", "target_prominence"),
    ),
    "overshoot": Loss(overshoot, "fuse", "what is beyond both sources"),
    "decomposition": Loss(decomposition, "both", f"{_PAPER}, eq. 8"),
    "base_correlation": Loss(base_correlation, "both", "the base half of decomposition"),
}
