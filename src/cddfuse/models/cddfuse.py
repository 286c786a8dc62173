"""CDDFuse: correlation-driven dual-branch feature decomposition.

Paper: Zhao et al., "CDDFuse: Correlation-Driven Dual-Branch Feature Decomposition for
Multi-Modality Image Fusion", CVPR 2023, https://arxiv.org/abs/2211.14461.

A shared encoder decomposes each image into *base* features (low-frequency, shared by both
modalities) and *detail* features (high-frequency, modality-specific); each kind has a fusion layer
of its own, and one decoder reconstructs the image. Where paper and released implementation differ,
the graph is that of the release, so that its checkpoints load.
"""

import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cddfuse.errors import InputError
from cddfuse.filters import full, unmixed
from cddfuse.layers.attention import channel_attention, composed_kernel
from cddfuse.models.base import Card, Decomposed, FusionModel, Part, Published
from cddfuse.models.shipped import harvard, streets

Residual = Literal["first", "sum", "none"]
Branch = Literal["transformer", "invertible"]


class PixelLinear(nn.Conv2d):
    """A 1x1 convolution, computed as a matrix product.

    In the channels-last memory format this needs no copies, and on CPUs it is faster.
    """

    def __init__(self, inputs: int, outputs: int, *, bias: bool = False) -> None:
        super().__init__(inputs, outputs, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H, W)."""
        x = F.linear(x.permute(0, 2, 3, 1), self.weight[:, :, 0, 0], self.bias)
        return x.permute(0, 3, 1, 2)


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels at every pixel."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ChannelAttention(nn.Module):
    """Attention between channels, over all pixels: a head has C / heads channels, here 8 of 64.

    `dense=False` is the MDTA of Restormer (1x1, then depthwise 3x3); `dense=True` the one of the
    base branch (1x1, then full 3x3).
    """

    def __init__(self, channels: int, heads: int, *, dense: bool) -> None:
        super().__init__()
        self.heads = heads
        self.dense = dense
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.expand = PixelLinear(channels, 3 * channels)
        groups = 1 if dense else 3 * channels
        self.mix = nn.Conv2d(3 * channels, 3 * channels, 3, padding=1, groups=groups, bias=False)
        self.project = PixelLinear(channels, channels)

    def definition(self, x: Tensor) -> Tensor:
        """What `forward` computes, step by step: (B, C, H, W) to the same."""
        mixed = self.mix(self.expand(x))  # (B, 3C, H, W)
        # Three of (B, heads, C / heads, H * W): a channel is a vector over all pixels.
        query, key, value = (
            part.flatten(2).unflatten(1, (self.heads, -1)) for part in mixed.chunk(3, dim=1)
        )
        query, key = F.normalize(query, dim=-1), F.normalize(key, dim=-1)
        # (B, heads, C / heads, C / heads), whatever the size of the image
        attention = (query @ key.transpose(-2, -1) * self.temperature).softmax(dim=-1)
        fused = attention @ value  # (B, heads, C / heads, H * W)
        return self.project(fused.flatten(1, 2).unflatten(2, x.shape[2:]))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same: `definition` in fewer and larger products."""
        mixed = F.conv2d(x, self.kernel(), padding=1) if self.dense else self.mix(self.expand(x))
        return channel_attention(mixed, self.temperature, self.project.weight[:, :, 0, 0])

    def kernel(self) -> Tensor:
        """Both convolutions of the dense form in one, (3C, C, 3, 3): a third of the work."""
        return composed_kernel(self.expand.weight, self.mix.weight)


class GatedFeedForward(nn.Module):
    """Gated feed-forward network: 1x1, grouped 3x3, GELU gate, 1x1.

    `per_group` input channels reach each output channel of the 3x3 convolution.
    """

    def __init__(self, channels: int, hidden: int, *, per_group: int) -> None:
        super().__init__()
        groups = 2 * hidden // per_group
        self.expand = PixelLinear(channels, 2 * hidden)
        self.mix = nn.Conv2d(2 * hidden, 2 * hidden, 3, padding=1, groups=groups, bias=False)
        self.project = PixelLinear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        gate, x = self.mix(self.expand(x)).chunk(2, dim=1)
        return self.project(F.gelu(gate) * x)


class TransformerBlock(nn.Module):
    """Attention and feed-forward, each with pre-norm and a residual connection."""

    def __init__(self, channels: int, attention: nn.Module, feed_forward: nn.Module) -> None:
        super().__init__()
        self.norm1 = ChannelNorm(channels)
        self.attention = attention
        self.norm2 = ChannelNorm(channels)
        self.feed_forward = feed_forward

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        x = x + self.attention(self.norm1(x))
        return x + self.feed_forward(self.norm2(x))


def restormer_block(channels: int, heads: int) -> TransformerBlock:
    """The block of encoder and decoder (Restormer: MDTA and GDFN)."""
    return TransformerBlock(
        channels,
        ChannelAttention(channels, heads, dense=False),
        GatedFeedForward(channels, 2 * channels, per_group=1),
    )


def base_block(channels: int, heads: int) -> TransformerBlock:
    """The block of the base branch, in the paper the "Lite Transformer"."""
    return TransformerBlock(
        channels,
        ChannelAttention(channels, heads, dense=True),
        GatedFeedForward(channels, channels, per_group=2),
    )


def bottleneck(channels: int) -> nn.Sequential:
    """Inverted residual of the detail branch: 1x1, depthwise 3x3, 1x1."""
    hidden = 2 * channels
    return nn.Sequential(
        PixelLinear(channels, hidden),
        nn.ReLU6(),
        nn.ReflectionPad2d(1),
        nn.Conv2d(hidden, hidden, 3, groups=hidden, bias=False),
        nn.ReLU6(),
        PixelLinear(hidden, channels),
    )


class DetailNode(nn.Module):
    """Affine coupling layer, invertible so that no detail is lost."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.shuffle = PixelLinear(channels, channels, bias=True)
        self.phi = bottleneck(half)
        self.rho = bottleneck(half)
        self.eta = bottleneck(half)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        one, two = self.shuffle(x).chunk(2, dim=1)
        two = two + self.phi(one)
        one = one * full(self.rho(two)).exp() + self.eta(two)
        return torch.cat([one, two], dim=1)


class Features(NamedTuple):
    """Features of an image, or of the fused image; each (B, C, H, W)."""

    base: Tensor
    """Low-frequency features that both modalities share."""

    detail: Tensor
    """High-frequency features that are specific to a modality."""


class Decomposition(NamedTuple):
    """Features of both sources and of the fused image."""

    first: Features
    second: Features
    fused: Features


class Encoder(nn.Module):
    """Embedding, shallow blocks, and the two branches. One encoder serves both modalities."""

    def __init__(self, channels: int, heads: int, base: nn.Module, detail: nn.Module) -> None:
        super().__init__()
        self.embedding = nn.Conv2d(1, channels, 3, padding=1, bias=False)
        self.blocks = nn.Sequential(*(restormer_block(channels, heads) for _ in range(4)))
        self.base = base
        self.detail = detail

    def forward(self, image: Tensor) -> Features:
        """(B, 1, H, W) to features."""
        # In mixed-precision runs the residual stream stays in single precision.
        shallow = full(self.embedding(image)).contiguous(memory_format=torch.channels_last)
        shallow = self.blocks(shallow)
        return Features(self.base(shallow), self.detail(shallow))


class Decoder(nn.Module):
    """Features to an image, which is added to a residual image."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.reduce = PixelLinear(2 * channels, channels)
        self.blocks = nn.Sequential(*(restormer_block(channels, heads) for _ in range(4)))
        self.output = nn.Sequential(
            nn.Conv2d(channels, channels // 2, 3, padding=1, bias=False),
            nn.LeakyReLU(0.01),
            nn.Conv2d(channels // 2, 1, 3, padding=1, bias=False),
        )

    def forward(self, features: Features, residual: Tensor | None) -> Tensor:
        """Features and a residual image (B, 1, H, W), or none, to an image (B, 1, H, W)."""
        x = self.blocks(full(self.reduce(torch.cat(features, dim=1))))
        with unmixed(x):
            image = self.output(x)
        return (image if residual is None else image + residual).sigmoid()


class CDDFuse(FusionModel):
    """The network of the released implementation: 1,188,272 parameters.

    Args:
        residual: the image that the decoder's output is added to when fusing. The weights decide:
            "first" for infrared + visible, where `first` is the visible image; "sum" when such
            weights fuse medical pairs; "none" for weights trained on medical pairs.
        base: what the base branches are made of. The release: "transformer".
        detail: what the detail branches are made of. The release: "invertible". Exchanging or
            doubling the two are ablations of the paper (Table 5).
    """

    card = Card(
        name="cddfuse",
        paper="https://arxiv.org/abs/2211.14461",
        parameters=1_188_272,
        smallest=8,
        bf16=True,
        published=Published(
            values="[0, 1]",
            order="first; either with residual sum or none",
            colour="of the colour source, YCrCb of OpenCV",
            saved="stretched",
            licence="none: all rights reserved",
            weights="CDDFuse_IVF.pth and CDDFuse_MIF.pth",
            norms="layer",
        ),
        weights={
            "ivf": streets(
                "cddfuse-ivf-9.safetensors",
                "a328f13ce95a902179adfba67c1d5a60a18ad10e124afd7c51c2a341e2a8e9f2",
                "fine-tuned for targets by recipes/shipped/ivf.yaml: docs/weights.md",
                residual="first",
            ),
            "mif": harvard(
                "cddfuse-mif-8.safetensors",
                "4b689657bcaf3f8fa13104e43326f120b4132aa4886e7633089eb92b142d6c2f",
                "fine-tuned for hot spots by recipes/shipped/mif.yaml: docs/weights.md",
                residual="none",
            ),
        },
    )

    def __init__(
        self,
        residual: Residual = "first",
        base: Branch = "transformer",
        detail: Branch = "invertible",
    ) -> None:
        super().__init__()
        if residual not in get_args(Residual) or not {base, detail} <= set(get_args(Branch)):
            raise InputError(f"no CDDFuse has {residual=}, {base=}, {detail=}: see its help.")
        channels, heads = 64, 8
        self.residual = residual

        def branch(kind: str, nodes: int) -> nn.Module:
            if kind == "transformer":
                return base_block(channels, heads)
            return nn.Sequential(*(DetailNode(channels) for _ in range(nodes)))

        self.encoder = Encoder(channels, heads, branch(base, 3), branch(detail, 3))
        self.base_fusion = branch(base, 1)
        self.detail_fusion = branch(detail, 1)
        self.decoder = Decoder(channels, heads)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Fuse: (B, 1, H, W) and (B, 1, H, W) to (B, 1, H, W)."""
        fused = self.decompose(first, second).fused
        return self.decoder(fused, self.residual_image(first, second))

    def decompose(self, first: Tensor, second: Tensor) -> Decomposition:
        """Base and detail features of both sources and of their fusion."""
        one, two = self.encode(first, second)
        fused = Features(
            self.base_fusion(one.base + two.base), self.detail_fusion(one.detail + two.detail)
        )
        return Decomposition(one, two, fused)

    def decomposed(self, first: Tensor, second: Tensor) -> Decomposed:
        """Base and detail features, and the residual image."""
        features = self.decompose(first, second)
        parts = {kind: Part(*(getattr(x, kind) for x in features)) for kind in Features._fields}

        def join(fused: Mapping[str, Tensor], residual: Tensor | None) -> Tensor:
            return self.decoder(Features(**fused), residual)

        return Decomposed(parts, join, self.residual_image(first, second))

    def encode(self, first: Tensor, second: Tensor) -> tuple[Features, Features]:
        """Features of both sources, in one pass."""
        base, detail = self.encoder(torch.cat([first, second]))
        (base1, base2), (detail1, detail2) = base.chunk(2), detail.chunk(2)
        return Features(base1, detail1), Features(base2, detail2)

    def reconstruct(self, features: Features, image: Tensor) -> Tensor:
        """A source from its own features: the reconstruction of training stage one."""
        return self.decoder(features, image)

    def reconstruct_both(
        self, one: Features, two: Features, first: Tensor, second: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Both sources, each from its own features, in one pass."""
        features = Features(*(torch.cat(parts) for parts in zip(one, two, strict=True)))
        one_again, two_again = self.reconstruct(features, torch.cat([first, second])).chunk(2)
        return one_again, two_again

    def residual_image(self, first: Tensor, second: Tensor) -> Tensor | None:
        """The image that the decoder's output is added to, (B, 1, H, W), or none."""
        return residual_image(self.residual, first, second)

    @classmethod
    def convert_checkpoint(cls, checkpoint: Mapping[str, Any]) -> dict[str, Tensor] | None:
        """State dict from the released layout: four state dicts with `module.` before each key."""
        if not _PARTS.keys() <= checkpoint.keys():
            return None
        return {
            f"{ours}.{_translate(name.removeprefix('module.'))}": tensor
            for theirs, ours in _PARTS.items()
            for name, tensor in checkpoint[theirs].items()
        }


def residual_image(residual: Residual, first: Tensor, second: Tensor) -> Tensor | None:
    """The image that is added to the decoder's output before the sigmoid, or none."""
    if residual == "none":
        return None
    return first + second if residual == "sum" else first


_PARTS = {
    "DIDF_Encoder": "encoder",
    "DIDF_Decoder": "decoder",
    "BaseFuseLayer": "base_fusion",
    "DetailFuseLayer": "detail_fusion",
}

# Names of the release and of this file; applied one after another.
_NAMES = (
    (r"^patch_embed\.proj", "embedding"),
    (r"^reduce_channel", "reduce"),
    (r"^encoder_level[12]", "blocks"),
    (r"^baseFeature", "base"),
    (r"^(detailFeature\.)?net\.", lambda match: "detail." if match[1] else ""),
    (r"theta_(phi|rho|eta)\.bottleneckBlock", r"\1"),
    (r"shffleconv", "shuffle"),
    (r"\.body\.", "."),
    (r"attn\.scale", "attention.temperature"),
    (r"attn\.(qkv1|qkv)\.", "attention.expand."),
    (r"attn\.(qkv2|qkv_dwconv)\.", "attention.mix."),
    (r"attn\.(proj|project_out)\.", "attention.project."),
    (r"attn\.", "attention."),
    (r"(ffn|mlp)\.", "feed_forward."),
    (r"project_in", "expand"),
    (r"dwconv", "mix"),
    (r"project_out", "project"),
)


def _translate(name: str) -> str:
    for pattern, replacement in _NAMES:
        name = re.sub(pattern, replacement, name)
    return name
