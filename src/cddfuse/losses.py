"""Terms that recipes add up. Images (B, 1, H, W) in [0, 1]; every term is a scalar."""

import math

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torch.distributed.nn.functional import all_reduce

from cddfuse.filters import convolve, full, gaussian_window, sobel
from cddfuse.metrics.histograms import nats

_C1, _C2 = 0.01**2, 0.03**2


def structural(image: Tensor, reference: Tensor) -> Tensor:
    """Half of 1 - SSIM, clamped to [0, 1] at every pixel: 0 is a perfect reconstruction."""
    return (1 - similarity(image, reference)).clamp(0, 1).mean() / 2


def similarity(image: Tensor, reference: Tensor) -> Tensor:
    """SSIM at every pixel, (B, 1, H, W).

    Wang et al. 2004 with a Gaussian window (11, sigma 1.5) and a reflected border.
    """
    luminance, contrast = _similarities(image, reference)
    return luminance * contrast


def inner_similarity(image: Tensor, reference: Tensor) -> Tensor:
    """Mean SSIM of each image (B,), over the pixels whose window lies inside."""
    return similarity(image, reference)[..., 5:-5, 5:-5].mean((1, 2, 3))


def inner_similarities(image: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
    """Means of SSIM and of its contrast term over the pixels whose window lies inside: scalars."""
    luminance, contrast = (x[..., 5:-5, 5:-5] for x in _similarities(image, reference))
    return (luminance * contrast).mean(), contrast.mean()


def _similarities(image: Tensor, reference: Tensor, c2: float = _C2) -> tuple[Tensor, Tensor]:
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


def edges(image: Tensor, reference: Tensor) -> Tensor:
    """Mean absolute difference of the Sobel gradients, both directions (kernel / 8)."""
    return F.l1_loss(sobel(image, "replicate") / 8, sobel(reference, "replicate") / 8)


def intensity(fused: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """The fused image must be as bright as the brighter source (paper, eq. 9)."""
    return F.l1_loss(fused, torch.maximum(first, second))


def brightness(fused: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """`intensity` with squared errors: regions that are far too dark count most."""
    return F.mse_loss(fused, torch.maximum(first, second))


def gradient(fused: Tensor, first: Tensor, second: Tensor, sharpness: float = 1.0) -> Tensor:
    """The fused image must have the stronger of the sources' gradients (paper, eq. 10).

    They are first multiplied by `sharpness`: where other terms pull in other directions, networks
    fall short of what they are asked for.
    """
    strongest = torch.maximum(_strength(first), _strength(second))
    return F.l1_loss(_strength(fused), sharpness * strongest)


def directed(fused: Tensor, first: Tensor, second: Tensor, sharpness: float = 1.0) -> Tensor:
    """The fused image must have the gradient of that source which has the stronger one, both signs.

    `gradient` is content with a slope in the wrong direction, which is what halos are made of.
    `sharpness` is as there.
    """
    wanted = sharpness * _stronger(first, second)
    return (sobel(fused, "zero") - wanted).abs().sum(1).mean()


def contours(fused: Tensor, first: Tensor, second: Tensor, sharpness: float = 1.0) -> Tensor:
    """`directed`, where each pixel counts by the strength of its gradient: strong edges do most.

    0 if the gradients are what is asked for, 1 if there are none, the mean over the images. Not
    squared errors, which mind strong edges too: they cost mutual information with the sources.
    """
    stronger = _stronger(first, second)
    errors = (sobel(fused, "zero") - sharpness * stronger).abs().sum(1)
    strengths = stronger.abs().sum(1)
    asked = sharpness * strengths.square().sum((1, 2))
    return ((strengths * errors).sum((1, 2)) / asked.clamp_min(1e-6)).mean()


def _stronger(first: Tensor, second: Tensor) -> Tensor:
    """At each pixel the gradient (B, 2, H, W) of the source which has the stronger one."""
    one, two = sobel(first, "zero"), sobel(second, "zero")
    stronger = one.abs().sum(1, keepdim=True) >= two.abs().sum(1, keepdim=True)
    return torch.where(stronger, one, two)


def likeness(fused: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """The fused image must be like both sources: 2 less the mean SSIM with each, in [0, 4].

    Contrasts count from a standard deviation of 0.01 on, a third of what SSIM usually has, since
    infrared images are pale.
    """
    sources = torch.cat([first, second])
    luminance, contrast = _similarities(torch.cat([fused, fused]), sources, c2=1e-4)
    return 2 - 2 * (luminance * contrast).mean()


def fidelity(fused: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """What the fused image keeps of what can be seen in each source: 2 less the sum of both VIF.

    Visual information fidelity as in `cddfuse.metrics`, in the precision of the images and without
    its cases of flat windows. Below 41 pixels, scales for which the image is too small are left
    out.
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
    """Gaussian of `size` taps and a fifth of that as sigma, where the window lies inside."""
    line = gaussian_window(size, size / 5).to(image.device)
    return convolve(convolve(image, line.view(1, 1, -1, 1)), line.view(1, 1, 1, -1))


def preservation(fused: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """What the fused image loses of both sources' edges: 1 less Qabf.

    Edge preservation as in `cddfuse.metrics`, but that an edge turned round counts as lost.
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


def information(fused: Tensor, first: Tensor, second: Tensor, bins: int = 64) -> Tensor:
    """How much of what is to be known of each source the fused image does not tell, in [0, 2].

    2 less the sum over both sources of mutual information divided by the source's entropy, in
    histograms of `bins` levels. Pixels of the fused image are spread over four of them by a cubic
    spline (Mattes et al. 2003), for the derivative and to give hardly a reward for drawing its
    levels together. Of a source of one level, which has nothing to tell, 1 is missing.
    """
    sources = torch.stack([first, second]).flatten(2)
    levels = (sources.clamp(0, 1) * (bins - 1)).round().long()  # (2, B, N)
    place = full(fused).flatten(1).clamp(0, 1) * (bins - 1)
    below = place.detach().nan_to_num().floor()  # NaN is no place, and stays NaN below
    t = place - below
    shares = ((1 - t) ** 3, 4 - 6 * t**2 + 3 * t**3, 1 + 3 * t + 3 * t**2 - 3 * t**3, t**3)
    share = torch.stack(shares, -1) / (6 * t.shape[-1])  # (B, N, 4): of levels -1 to bins + 1
    cells = (below.long()[..., None] + torch.arange(4, device=t.device)) * bins + levels[..., None]
    # Empty cells hold next to nothing: at 0 the logarithm has no derivative.
    joint = share.new_full((*sources.shape[:2], (bins + 3) * bins), 1e-20)
    joint = joint.scatter_add(-1, cells.flatten(2), share.flatten(1).expand(2, -1, -1))
    pairs = joint.unflatten(-1, (bins + 3, bins))
    entropy = nats(pairs.detach().sum(-2))
    mutual = nats(pairs.sum(-1)) + entropy - nats(joint)
    # Of a flat source both are rounding, whose ratio could be anything.
    return 2 - (mutual / entropy.clamp(min=1e-3)).sum(0).mean()


def difference(fused: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """What one source adds to the other must be the other source: 2 less SCD, in [0, 4]."""
    left = torch.cat([fused - second, fused - first], 1)
    return 2 - 2 * correlation(left, torch.cat([first, second], 1))


def _strength(image: Tensor) -> Tensor:
    return sobel(image, "zero").abs().sum(1, keepdim=True)


def correlation(one: Tensor, two: Tensor) -> Tensor:
    """Pearson correlation over the pixels of two feature maps (B, C, H, W).

    Mean over channels and over the batch, in [-1, 1]. In a distributed run the batch is the global
    one, so that what is made of it (a ratio) does not depend on the number of processes.
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
    """Detail features must not correlate, base features should (paper, eq. 8).

    Takes the correlation of the base and that of the detail features.
    """
    return detail**2 / (base + 1.01)


def saliency(image: Tensor) -> Tensor:
    """How far a pixel's level is from those of the whole image, (B, 1, H, W) in [0, 1].

    Zhai and Shah 2006: the mean absolute difference of levels over all pixels, each image brought
    to the full range. Nothing is learned through it.
    """
    levels = (image.detach().clamp(0, 1) * 255).round().long().flatten(1)
    counts = torch.zeros(len(levels), 256, device=image.device)
    counts.scatter_add_(1, levels, torch.ones(levels.shape, device=image.device))
    scale = torch.arange(256.0, device=image.device)
    far = counts @ (scale[:, None] - scale).abs()
    found = far.gather(1, levels).view(image.shape)
    low, high = found.amin((1, 2, 3), True), found.amax((1, 2, 3), True)
    return (found - low) / (high - low).clamp(min=1e-6)


def salient(fused: Tensor, first: Tensor, second: Tensor) -> dict[str, Tensor]:
    """How unlike the sources the fused image is, each weighted by how much more it stands out.

    `structural` by (1 - SSIM) / 2, `intensity` by the absolute difference; weights of both sources
    sum to 1 at every pixel.
    """
    share = (1 + saliency(first) - saliency(second)) / 2
    unlike = [(1 - similarity(fused, source)) / 2 for source in (first, second)]
    far = [(fused - source).abs() for source in (first, second)]
    return {
        "structural": (share * unlike[0] + (1 - share) * unlike[1]).mean(),
        "intensity": (share * far[0] + (1 - share) * far[1]).mean(),
    }
