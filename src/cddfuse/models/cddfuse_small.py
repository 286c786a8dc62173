"""CDDFuseSmall: the picture of CDDFuse for a three-hundredth of the arithmetic.

A student of this package, not of a paper: plain 3x3 convolutions at half resolution decide for
every pixel how much of each source to take, and what to add. What CDDFuse gets from attention over
the whole image, the student gets from *tokens*: mean and standard deviation of its features over
the whole image decide how each block's channels are scaled and shifted, together with covariances
that describe the scene if the option `scene` asks for them. It is trained by distillation
(`recipes/cddfuse_small.py`), from any network of the zoo.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cddfuse.filters import full, unmixed
from cddfuse.history import steady
from cddfuse.models.base import Card, FusionModel
from cddfuse.models.shipped import harvard, streets

_UNSHUFFLE = 2  # features are at half resolution
_LEVELS = 255  # one of them, of 8 bits, is no longer black
_BINS, _OCTAVES = 6, 3  # of what decides on a tone
_SCALES = (*[64] * _OCTAVES, 16)  # of deviations in octaves, and of what is below
_LENGTHS = (5, 4, 3, 2, 1)  # powers of the second image beside each power of the first
_POWERS = [(i, j) for i, length in enumerate(_LENGTHS) for j in range(length)]
_TINY = 1e-7
_FLAT = 1e-6  # mean square of what 8 bits round away
_RARE = 1e-2  # share of an image that tells little


class Scene(nn.Module):
    """What a pair looks like as a whole: means and covariances of features over the image.

    Attention over channels, as in CDDFuse, is a function of such covariances.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        rows, columns = torch.triu_indices(channels, channels)
        self.register_buffer("_upper", rows * channels + columns, persistent=False)
        self._upper: Tensor
        self.squeeze = nn.Linear(channels + len(self._upper), width)

    def forward(self, features: Tensor) -> Tensor:
        """(B, width) for features (B, C, H, W)."""
        columns = features.flatten(2)
        mean = columns.mean(2)
        square = columns @ columns.transpose(1, 2) / columns.shape[2]
        covariance = (square - mean[:, :, None] * mean[:, None]).flatten(1)
        seen = torch.cat([mean, covariance[:, self._upper]], 1)
        return F.relu(self.squeeze(steady(seen)))


class Token(nn.Module):
    """Scale and shift of features, by their statistics over the whole image and by its scene."""

    def __init__(self, channels: int, scene: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(2 * channels + scene, channels)
        self.excite = nn.Linear(channels, 2 * channels)
        nn.init.normal_(self.excite.weight, std=1e-3)  # at first, features stay as they are
        nn.init.zeros_(self.excite.bias)

    def forward(self, features: Tensor, scene: Tensor) -> tuple[Tensor, Tensor]:
        """Scale and shift, (B, C, 1, 1) each, for features (B, C, H, W) and a scene (B, S)."""
        mean = features.mean((2, 3))
        square = features.square().mean((2, 3))  # a norm takes three times as long
        deviation = (square - mean.square()).clamp_min(1e-8).sqrt()
        seen = torch.cat([steady(torch.cat([mean, deviation], 1)), scene], 1)
        token = F.relu(self.squeeze(seen))
        scale, shift = self.excite(token)[:, :, None, None].chunk(2, 1)
        return 1 + scale, shift


class Tone(nn.Module):
    """What the two values of a pixel alone make of it, by one polynomial for the whole image.

    CDDFuse's image is almost that: the polynomial of degree 4 that fits it best is 38 to 39 dB from
    it (`benchmarks/tone.py`). Which one it is depends on what the pair looks like as a whole: the
    histogram of each image, the fine contrast of both where an image has a certain level, their
    contrasts in three octaves, and how these correlate.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        # From black, -1, to white, 1: coefficients are a thirtieth as large as from 0 to 1.
        values = torch.linspace(-1, 1, 33, dtype=torch.float64, device="cpu")
        grid = torch.cartesian_prod(values, values).unbind(1)
        powers = torch.stack([grid[0] ** i * grid[1] ** j for i, j in _POWERS], 1)
        # Of polynomials that are orthogonal on the square, each can be learned alone.
        whiten = torch.linalg.inv(torch.linalg.qr(powers)[1] / len(powers) ** 0.5)
        self.register_buffer("_whiten", whiten.t().float(), persistent=False)
        self.register_buffer("_bins", torch.arange(_BINS)[None, None, :, None], persistent=False)
        mean = torch.tensor([{0: 0.5, 1: 0.25}.get(i + j, 0.0) for i, j in _POWERS])
        self.register_buffer("_mean", mean, persistent=False)
        self._whiten: Tensor
        self._mean: Tensor
        self._bins: Tensor
        self.polynomials = len(_POWERS)
        self.statistics = 6 * _BINS + 3 * _OCTAVES + 5
        layers: list[nn.Module] = []
        for given in (self.statistics, width, width):
            layers += [nn.Linear(given, width), nn.ReLU(inplace=True)]
        self.decide = nn.Sequential(*layers, nn.Linear(width, self.polynomials))
        last = self.decide[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.bias)
        nn.init.normal_(last.weight, std=1e-2)  # at first, the mean of both

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """(B, 1, H, W) and (B, 1, H, W) to (B, 1, H, W); H and W are at least 8."""
        with unmixed(first):  # coefficients are large and cancel
            seen = steady(self.seen(full(first), full(second)))
            coefficients = self.decide(seen) @ self._whiten + self._mean
        first, second = 2 * first - 1, 2 * second - 1
        columns = coefficients[:, :, None, None, None]
        rows = [row.unbind(1) for row in columns.split(_LENGTHS, 1)]
        fused = _polynomial(rows[-1], second)
        for row in rows[-2::-1]:
            fused = torch.addcmul(_polynomial(row, second), fused, first)
        return fused

    def parts(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Terms of the tone: the mean of both, (B, H * W), and polynomials, (B, 15, H * W)."""
        powers = []
        for image in (first, second):
            values = 2 * image.flatten(1) - 1
            powers.append([torch.ones_like(values), values])
            while len(powers[-1]) < len(_LENGTHS):
                powers[-1].append(powers[-1][-1] * values)
        products = torch.stack([powers[0][i] * powers[1][j] for i, j in _POWERS], 1)
        return self._mean @ products, self._whiten @ products

    def seen(self, first: Tensor, second: Tensor) -> Tensor:
        """What decides: (B, statistics), each of a deviation of about 1 over pairs of all kinds."""
        images = torch.cat([first, second], 1)
        mean = images.mean((2, 3), keepdim=True)
        octaves = [images - mean]  # or deviations of flat images would drown in rounding
        for _ in range(_OCTAVES):
            octaves.append(F.avg_pool2d(octaves[-1], 2))
        moments = [_moments(levels) for levels in octaves]
        moments.append(torch.zeros_like(moments[0]))  # of the mean alone
        bands = [
            _contrasts(fine - coarse, scale)
            for (fine, coarse), scale in zip(pairwise(moments), _SCALES, strict=True)
        ]
        fine = F.avg_pool2d(octaves[0].square(), 4) - F.avg_pool2d(octaves[1].square(), 2)
        blocks = (octaves[2] + mean).flatten(2)[:, :, None] * (_BINS - 1)
        shares = (1 - (blocks - self._bins).abs()).clamp_min(0)  # of each block in each bin
        histograms = shares.mean(3)
        contrasts = shares @ fine.flatten(2).transpose(1, 2)[:, None] / shares.shape[3]
        contrasts = contrasts / (histograms[..., None] + _RARE)
        seen = [
            5 * mean.flatten(1),
            *bands,
            4 * histograms.clamp_min(_TINY).sqrt().flatten(1),
            56 * contrasts.clamp_min(_FLAT).sqrt().flatten(1),
        ]
        return torch.cat(seen, 1)


def _moments(images: Tensor) -> Tensor:
    """Mean squares of both and mean product: (B, 3) for (B, 2, H, W)."""
    # By rows first: norms, and ONNX Runtime's means, of millions of pixels at once are not exact.
    first, second = images.unbind(1)
    squares = images.square().mean(3).mean(2)
    product = (first * second).mean(2).mean(1, keepdim=True)
    return torch.cat([squares, product], 1)


def _contrasts(moments: Tensor, scale: float) -> Tensor:
    """Deviations of both, scaled, and their correlation: (B, 3) for differences of moments."""
    deviations = moments[:, :2].clamp_min(_TINY).sqrt()
    correlation = moments[:, 2:] / deviations[:, :1] / deviations[:, 1:]
    return torch.cat([scale * deviations, 4 * correlation.clamp(-1, 1)], 1)


def _polynomial(coefficients: Sequence[Tensor], values: Tensor) -> Tensor:
    """Of the lowest power first."""
    result = coefficients[-1]
    for coefficient in coefficients[-2::-1]:
        result = torch.addcmul(coefficient, result, values)
    return result


def _shuffled(features: Tensor) -> Tensor:
    """`pixel_shuffle`, which takes four times as long where channels are last."""
    batch, _, height, width = features.shape
    split = features.view(batch, -1, _UNSHUFFLE, _UNSHUFFLE, height, width)
    joined = split.permute(0, 1, 4, 2, 5, 3)
    return joined.reshape(batch, -1, _UNSHUFFLE * height, _UNSHUFFLE * width)


class Block(nn.Module):
    """A residual 3x3 convolution whose result is scaled and shifted by a token."""

    def __init__(self, channels: int, scene: int, dilation: int = 1) -> None:
        super().__init__()
        self.mix = nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation)
        self.token = Token(channels, scene)

    def forward(self, features: Tensor, scene: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        change = F.relu(self.mix(features), inplace=True)
        scale, shift = self.token(change, scene)
        return torch.addcmul(features, change, scale).add_(shift)


class Context(nn.Module):
    """What surrounds a pixel, over some hundred pixels, at an eighth of the resolution."""

    def __init__(self, channels: int, width: int, depth: int, scene: int) -> None:
        super().__init__()
        self.reduce = nn.Sequential(
            nn.Conv2d(channels, width, 3, stride=2, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, stride=2, padding=1),
            nn.ReLU(inplace=True),
        )
        self.scene = Scene(width, scene) if scene else None
        self.blocks = nn.ModuleList(Block(width, scene, 2**number) for number in range(depth))
        self.project = nn.Conv2d(width, channels, 1)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, H, W) to the same, and the scene (B, S); H and W are multiples of 4."""
        found = self.reduce(features)
        scene = self.scene(found) if self.scene else found.new_zeros(found.shape[0], 0)
        for block in self.blocks:
            found = block(found, scene)
        found = self.project(found)
        return F.interpolate(found, scale_factor=4, mode="bilinear", align_corners=False), scene


def _parts(checkpoint: Mapping[str, Any]) -> set[str]:
    return {str(name).partition(".")[0] for name in checkpoint}


class CDDFuseSmall(FusionModel):
    """The student.

    Args:
        width: channels at half resolution.
        depth: residual blocks there.
        context_width: channels at an eighth of the resolution.
        context_depth: residual blocks there, the dilation doubling from one to the next.
        scene: numbers that describe the whole pair to each token; 0 is none.
        tone: hidden numbers of what decides on the tone of the whole image (`Tone`); 0 is no tone.
        keep_black: what is black in both images is black in the result. A level or two above black
            is not seen, yet halves SSIM there, and half of a medical image is background.
        keep_bright: with a tone, a pixel above 0.75 in both images is never darker than the lower
            of both; from 0.5 on, this limit rises from 0. A polynomial may fall where few pixels
            are, such as in hot lamps. CDDFuse keeps to that limit; `sdnet` and `u2fusion` do not.
    """

    card = Card(
        name="cddfuse_small",
        paper="",
        tasks=("ivf", "mif"),
        parameters=57_831,
        multiple_of=8,
        smallest=8,
        bytes_per_pixel=88,
        weights={
            "ivf": streets(
                "cddfuse_small-ivf-5.safetensors",
                "b1247648649a394907b1ecbec0558bb41659c26a4a949cce365192431292a98f",
                "distilled from cddfuse, ivf 9, in 14,000 steps: docs/small.md",
                scene=0,
                tone=56,
            ),
            "mif": harvard(
                "cddfuse_small-mif-4.safetensors",
                "e90aec6c849ffdc9d33aac8b6fd7db6197180cae42e692deacef9864d4ab311a",
                "distilled from cddfuse, mif 8, in 14,000 steps: docs/small.md",
                scene=24,
                tone=0,
                keep_black=True,
            ),
        },
    )

    def __init__(
        self,
        width: int = 16,
        depth: int = 4,
        context_width: int = 24,
        context_depth: int = 3,
        scene: int = 0,
        tone: int = 56,
        keep_black: bool = False,
        keep_bright: bool = True,
    ) -> None:
        super().__init__()
        if (width, context_width) != (16, 24):
            self.card = replace(self.card, bytes_per_pixel=None)  # it is counted
        self.keep_black = keep_black
        self.keep_bright = keep_bright
        pixels = _UNSHUFFLE**2
        self.tone = Tone(tone) if tone else None
        self.embed = nn.Conv2d(2 * pixels, width, 3, padding=1)
        self.context = Context(width, context_width, context_depth, scene)
        self.blocks = nn.ModuleList(Block(width, scene) for _ in range(depth))
        self.project = nn.Conv2d(width, 2 * pixels, 3, padding=1)
        for parameter in self.project.parameters():
            nn.init.normal_(parameter, std=1e-3)  # at first, the tone, or the mean of both

    @classmethod
    def convert_checkpoint(cls, checkpoint: Mapping[str, Any]) -> dict[str, Tensor] | None:
        """Weights of a time when there was no tone, or when sources were from 0 to 1.

        The latter differ at the borders, beyond which they saw black and now see grey.
        """
        converted = {str(name): value for name, value in checkpoint.items()}
        weight, bias = (converted.pop(f"lift.{name}", None) for name in ("weight", "bias"))
        if weight is None or bias is None:
            return converted if _parts(checkpoint) & {"embed", "tone"} == {"embed"} else None
        converted["embed.weight"] = weight / 2
        converted["embed.bias"] = bias + weight.sum((1, 2, 3)) / 2
        return converted

    @classmethod
    def implied_options(cls, checkpoint: Mapping[str, Any]) -> dict[str, Any]:
        """No tone, if there is none."""
        return {} if "tone" in _parts(checkpoint) else {"tone": 0}

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Fuse: (B, 1, H, W) and (B, 1, H, W) to (B, 1, H, W); H and W are multiples of 8."""
        # From -1 to 1: of values that are all positive, units of `embed` would soon be dead.
        sources = F.pixel_unshuffle(torch.cat([first, second], 1).mul_(2).sub_(1), _UNSHUFFLE)
        # With channels last, a CPU takes half the time for what is not a convolution.
        sources = sources.contiguous(memory_format=torch.channels_last)
        features = F.relu(self.embed(sources), inplace=True)
        context, scene = self.context(features)
        features = context.add_(features)
        for block in self.blocks:
            features = block(features, scene)
        share, detail = _shuffled(self.project(features)).chunk(2, 1)
        if self.tone:
            fused = torch.addcmul(self.tone(first, second) + detail, share, second - first)
        else:
            fused = torch.addcmul(first + detail, torch.sigmoid(share), second - first)
        if self.keep_black:
            fused = fused * (_LEVELS * torch.maximum(first, second)).clamp(0, 1)
        if self.training:  # beyond these limits, nothing would be learned
            return fused
        if self.tone and self.keep_bright:
            lower = torch.minimum(first, second)
            fused = torch.maximum(fused, torch.minimum(lower, 3 * lower - 1.5))
        return fused.clamp(0, 1)
