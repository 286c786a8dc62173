"""DeFusion: decompose two images into common and unique features, and fuse those.

Paper: Liang et al., "Fusion from Decomposition: A Self-Supervised Decomposition Approach for Image
Fusion", ECCV 2022, https://doi.org/10.1007/978-3-031-19797-0_41. The graph is that of the authors'
test programs, which their weights are for: ResNeSt blocks without any norm. Both images go through
the same modules.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cddfuse import colour
from cddfuse.layers import conv
from cddfuse.models.base import Card, Decomposed, FusionModel, Part, Published
from cddfuse.models.foreign import inner, translated

_BORDER = 16  # reflection padding of the authors' test program, cropped from the result


class SplitAttention(nn.Module):
    """Split attention of radix 2: two convolutions, weighted per channel and image."""

    def __init__(self, width: int, stride: int) -> None:
        super().__init__()
        hidden = max(width // 2, 32)
        self.conv = nn.Conv2d(width, 2 * width, 3, stride=stride, padding=1, groups=2, bias=False)
        self.reduce = nn.Conv2d(width, hidden, 1)
        self.expand = nn.Conv2d(hidden, 2 * width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, H, W) to the same, smaller by the stride."""
        splits = F.relu(self.conv(x)).unflatten(1, (2, -1))
        pooled = splits.sum(1).mean((2, 3), keepdim=True)
        weights = self.expand(F.relu(self.reduce(pooled))).unflatten(1, (2, -1)).softmax(1)
        return (weights * splits).sum(1)


class Bottleneck(nn.Module):
    """Bottleneck with split attention and a shortcut.

    Args:
        inputs: channels.
        width: a quarter of the channels of the output.
        stride: of the block.
        pooled: whether a mean over 3x3 pixels takes the stride, in place of the convolution.
        shortcut: for the input; None keeps it as it is.
    """

    def __init__(
        self, inputs: int, width: int, stride: int, *, pooled: bool, shortcut: nn.Module | None
    ) -> None:
        super().__init__()
        self.narrow = nn.Conv2d(inputs, width, 1, bias=False)
        self.attention = SplitAttention(width, 1 if pooled else stride)
        self.pool = nn.AvgPool2d(3, stride, padding=1) if pooled else nn.Identity()
        self.widen = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.shortcut = shortcut or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, 4 * width, H / stride, W / stride)."""
        new = self.pool(self.attention(F.relu(self.narrow(x))))
        return F.relu(self.widen(new) + self.shortcut(x))


def down(
    inputs: int, width: int, blocks: int, stride: int = 1, *, first: bool = True
) -> nn.Sequential:
    """Blocks of the encoder; the first has the `stride`, and with `first` pools at stride 1 too."""
    outputs = 4 * width
    shortcut = None
    if stride != 1 or inputs != outputs:
        pool = nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False)
        shortcut = nn.Sequential(pool, nn.Conv2d(inputs, outputs, 1, bias=False))
    pooled = first or stride > 1
    return _blocks(Bottleneck(inputs, width, stride, pooled=pooled, shortcut=shortcut), blocks)


def up(inputs: int, width: int, blocks: int) -> nn.Sequential:
    """Blocks of a decoder."""
    shortcut = None
    if inputs != 4 * width:
        shortcut = nn.Sequential(nn.Conv2d(inputs, 4 * width, 1, bias=False))
    return _blocks(Bottleneck(inputs, width, 1, pooled=False, shortcut=shortcut), blocks)


def _blocks(first: Bottleneck, count: int) -> nn.Sequential:
    width = first.narrow.out_channels
    rest = (Bottleneck(4 * width, width, 1, pooled=False, shortcut=None) for _ in range(count - 1))
    return nn.Sequential(first, *rest)


class Encoder(nn.Module):
    """Multi-scale encoder: an image to features at four scales."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 16, nn.ReLU())
        self.layers = nn.ModuleList([
            down(16, 8, 6),
            down(32, 16, 6, first=False),
            down(64, 32, 4, stride=2),
            down(128, 64, 4, stride=2),
        ])  # fmt: skip

    def forward(self, image: Tensor) -> list[Tensor]:
        """(B, 3, H, W) to 32, 64, 128 and 256 channels, each at half the size of the one before."""
        features = [self.layers[0](self.stem(image))]
        pooled = F.max_pool2d(features[0], 3, stride=2, padding=1)
        for layer in list(self.layers)[1:]:
            features.append(layer(pooled if len(features) == 1 else features[-1]))
        return features


class Decoder(nn.Module):
    """Deep features to the size of the image, with skip connections from the encoder.

    Args:
        skips: channels of all encoder features that join, at the sizes 1/8, 1/4 and 1/2.
        widths: of the four layers.
        blocks: of the four layers.
    """

    def __init__(self, skips: Sequence[int], widths: Sequence[int], blocks: Sequence[int]) -> None:
        super().__init__()
        inputs = (1024, *(4 * width for width in widths))
        self.layers = nn.ModuleList(
            up(channels + skip, width, count)
            for channels, skip, width, count in zip(
                inputs[:4], (*skips, 0), widths, blocks, strict=True
            )
        )

    def forward(self, deep: Tensor, *encoded: Sequence[Tensor]) -> Tensor:
        """(B, 1024, H / 8, W / 8) and features of one or two images to (B, 16, H, W)."""
        x = self.layers[0](torch.cat([deep, *(features[3] for features in encoded)], dim=1))
        for layer, level in zip(list(self.layers)[1:], (2, 1, 0), strict=True):
            skips = [features[level] for features in encoded] if level else []
            x = layer(torch.cat([_like(x, encoded[0][level]), *skips], dim=1))
        return x


class Parts(NamedTuple):
    """Embeddings of the common and the unique content of two images; each (B, 16, H, W)."""

    common: Tensor
    first: Tensor
    second: Tensor


class DeFusion(FusionModel):
    """The network of the released test programs, whose weights are no longer available.

    Args:
        blocks: of the four layers of the decoder for what is common. The authors' larger variant
            has (4, 4, 6, 6).
    """

    card = Card(
        name="defusion",
        paper="https://doi.org/10.1007/978-3-031-19797-0_41",
        tasks=("ivf",),
        parameters=7_874_038,
        training_only=("projection",),
        smallest=_BORDER + 1,
        published=Published(
            values="[0, 1], three channels",
            order="second (infrared)",
            colour="grey images in three channels",
            saved="truncated",
            licence="MIT, with a foreign name in it",
            weights="a training checkpoint with state_dict",
        ),
        bytes_per_pixel=1600,
    )

    def __init__(self, blocks: Sequence[int] = (2, 2, 2, 2)) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.common_encoder = down(512, 256, 4, first=False)
        self.common = Decoder((512, 256, 128), (64, 16, 4, 4), blocks)
        self.own = Decoder((256, 128, 64), (96, 32, 16, 4), (4, 4, 6, 6))
        self.projection = conv(16, 3, nn.ReLU())
        self.fusion = conv(16, 3, nn.ReLU())

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Fuse: (B, 1, H, W) and (B, 1, H, W) to (B, 1, H, W)."""
        return _finished(self.join(self.decompose(*map(_bordered, (first, second)))))

    def decomposed(self, first: Tensor, second: Tensor) -> Decomposed:
        """Embeddings of the common and the unique content, which are added up."""
        common, one, two = self.decompose(*map(_bordered, (first, second)))
        parts = {"common": Part(None, None, common), "unique": Part(one, two, one + two)}

        def join(fused: Mapping[str, Tensor], _: Tensor | None) -> Tensor:
            return _finished(self.fusion(fused["common"] + fused["unique"]))

        return Decomposed(parts, join, border=_BORDER)

    def decompose(self, first: Tensor, second: Tensor) -> Parts:
        """Images (B, 3, H, W) to embeddings of their common and their unique content."""
        one, two = self.encoder(first), self.encoder(second)
        deep = self.common_encoder(torch.cat([two[3], one[3]], dim=1))
        return Parts(self.common(deep, two, one), self.own(deep, one), self.own(deep, two))

    def project(self, embedding: Tensor) -> Tensor:
        """An embedding as an image (B, 3, H, W), which the training losses compare."""
        return self.projection(embedding)

    def join(self, parts: Parts) -> Tensor:
        """All embeddings to the fused image (B, 3, H, W), which is non-negative."""
        return self.fusion(parts.common + parts.first + parts.second)

    @classmethod
    def convert_checkpoint(cls, checkpoint: Mapping[str, Any]) -> dict[str, Tensor] | None:
        """State dict from the authors' layout, which has shared modules twice."""
        state = inner(checkpoint, "state_dict")
        first = translated(state, _NAMES)
        return first if first is None else {_block_name(name): x for name, x in first.items()}

    @classmethod
    def implied_options(cls, checkpoint: Mapping[str, Any]) -> dict[str, Any]:
        """Numbers of blocks, from the names of the parameters."""
        names = [str(name) for name in inner(checkpoint, "state_dict")]
        counts = [
            sum(
                name.startswith(f"{layer}.layer.") and name.endswith(".conv1.weight")
                for name in names
            )
            for layer in (
                *(f"decoder_common_layer{n}" for n in (1, 2, 3)),
                "decoder_common_layer4.0",
            )
        ]
        return {"blocks": tuple(counts)}


def _bordered(image: Tensor) -> Tensor:
    """(B, 1, H, W) to three channels with a border."""
    return F.pad(image.expand(-1, 3, -1, -1), (_BORDER,) * 4, mode="reflect")


def _finished(fused: Tensor) -> Tensor:
    """What `join` gives, without the border, as a grey image in [0, 1]."""
    return colour.luma(fused[..., _BORDER:-_BORDER, _BORDER:-_BORDER].clamp(0, 1))


def _like(x: Tensor, target: Tensor) -> Tensor:
    """Upsample by 2, then to the size of `target`, which differs at odd sides."""
    x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    return F.interpolate(x, size=target.shape[-2:], mode="nearest")


def _block_name(name: str) -> str:
    for theirs, ours in _BLOCK:
        name = name.replace(theirs, ours)
    return name


_BLOCK = (
    (".conv1.", ".narrow."),
    (".conv2.conv.", ".attention.conv."),
    (".conv2.fc1.", ".attention.reduce."),
    (".conv2.fc2.", ".attention.expand."),
    (".conv3.", ".widen."),
    (".downsample.", ".shortcut."),
)
_NAMES: tuple[tuple[str, str | None], ...] = (
    (r"encoder_upper\.0\.(.+)", r"encoder.stem.0.\1"),
    (r"encoder_upper\.2\.layer\.(.+)", r"encoder.layers.0.\1"),
    (r"upper_encoder_layer(\d)\.layer\.(.+)", r"encoder.layers.\1.\2"),
    (r"common_encoder\.0\.layer\.(.+)", r"common_encoder.\1"),
    *(
        (rf"decoder_{theirs}_layer{n + 1}\.(?:0\.)?layer\.(.+)", rf"{ours}.layers.{n}.\1")
        for theirs, ours in (("common", "common"), ("upper", "own"))
        for n in range(4)
    ),
    (r"decoder_upper_projection_layer\.0\.(.+)", r"projection.0.\1"),
    (r"fusion_rule\.0\.(.+)", r"fusion.0.\1"),
    # Copies of shared tensors, and a layer that no test program uses.
    (r"(?:encoder_lower|lower_encoder|decoder_lower|decoder_common_projection).*", None),
)
