"""DeFusion: take apart two spoiled copies of one image, then put the image together again.

Paper: Liang et al., ECCV 2022, with masks and losses of the authors' program, on the graph of their
test programs (that for training cannot run). Other than there: the images are those of the pairs,
one by one and grey, where they have COCO in colour; losses are means over a batch, not sums; and
what changes with the number of steps there comes in three stages, with the values that it ends at:
first each part counts only where it should be, then a little elsewhere too, then the fused image
counts as well.

The preset `quick` starts with residual branches that add nothing. Without a norm anywhere the
authors' initial values make the first images a hundred times too bright.
"""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cddfuse.errors import InputError
from cddfuse.layers import convolutions
from cddfuse.models.base import FusionModel
from cddfuse.models.defusion import Bottleneck, DeFusion
from cddfuse.pair import ImagePair
from cddfuse.recipes.base import Recipe, Stage, Term, batch_generator, setting

_COARSE, _FINE = 13, (26, 27)  # cells of the grids that masks are made of


@dataclass(frozen=True)
class DeFusionRecipe(Recipe):
    """Settings of DeFusion."""

    network = DeFusion

    parts: float = 1.0
    """Weight of the absolute error of the three parts."""

    whole: float = 1.0
    """Weight of the absolute error of the joined image, last stage."""

    elsewhere: float = 0.15
    """How much a part counts where it should be black, from stage two on."""

    branches: float = setting(1.0, "Network")
    """Factor of the initial kernels that end a residual branch; 0 starts with shortcuts alone."""

    blocks: tuple[int, ...] = (2, 2, 2, 2)
    """Blocks at each scale of the decoder for what both images have in common."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.epochs) != 3:
            raise InputError(
                f"epochs is {self.epochs}: DeFusion has three stages.", setting="epochs"
            )

    def create_model(self) -> FusionModel:
        """The network, untrained, with the authors' initial values (but see `branches`)."""
        model = super().create_model()
        for layer in convolutions(model):
            height, width = layer.kernel_size
            nn.init.normal_(layer.weight, std=(2 / (height * width * layer.out_channels)) ** 0.5)
        for block in model.modules():
            if isinstance(block, Bottleneck):
                block.widen.weight.data *= self.branches
        return model

    def stages(self) -> tuple[Stage, ...]:
        """Parts where they are, parts everywhere, and the whole."""

        def inside(model: FusionModel, pair: ImagePair) -> dict[str, Term]:
            return decomposition(model, pair, 0.0)

        def everywhere(model: FusionModel, pair: ImagePair) -> dict[str, Term]:
            return decomposition(model, pair, self.elsewhere)

        def joined(model: FusionModel, pair: ImagePair) -> dict[str, Term]:
            return decomposition(model, pair, self.elsewhere, whole=True)

        parts = ("encoder", "common_encoder", "common", "own", "projection")
        weights = dict.fromkeys(("common", "first", "second"), self.parts)
        one, two, three = self.epochs
        return (
            Stage("inside", one, parts, inside, weights),
            Stage("everywhere", two, parts, everywhere, weights),
            Stage("whole", three, (*parts, "fusion"), joined, {**weights, "whole": self.whole}),
        )


class Masks(NamedTuple):
    """What two copies of an image show, 1 or 0. Each (B, 1, H, W); together they show all."""

    first: Tensor
    second: Tensor


def decomposition(
    model: FusionModel, pair: ImagePair, elsewhere: float, *, whole: bool = False
) -> dict[str, Term]:
    """Terms of all stages."""
    model = cast(DeFusion, model)
    random = batch_generator(pair)
    image = torch.cat([pair.first, pair.second]).expand(-1, 3, -1, -1)
    masks = draw_masks(len(image), image.shape[-2:], random)
    masks = Masks(*(mask.to(image) for mask in masks))
    copies = []
    for mask in masks:
        noise = torch.randn(image.shape, generator=random).abs().clamp(max=1).to(image)
        copies.append(image * mask + noise * (1 - mask))
    parts = model.decompose(*copies)
    common = masks.first * masks.second
    places = (common, masks.first - common, masks.second - common)

    def part(embedding: Tensor, place: Tensor) -> Tensor:
        counts = elsewhere + (1 - elsewhere) * place
        return F.l1_loss(model.project(embedding) * counts, image * place)

    terms: dict[str, Term] = {
        name: partial(part, embedding, place)
        for name, embedding, place in zip(parts._fields, parts, places, strict=True)
    }
    if whole:
        terms["whole"] = lambda: F.l1_loss(model.join(parts), image)
    return terms


def draw_masks(count: int, size: tuple[int, int] | torch.Size, random: torch.Generator) -> Masks:
    """Two masks for each of so many images."""
    drawn = [_pair_of_masks((size[0], size[1]), random) for _ in range(count)]
    return Masks(*(torch.cat(masks) for masks in zip(*drawn, strict=True)))


def _pair_of_masks(size: tuple[int, int], random: torch.Generator) -> Masks:
    share = 0.1 + float(torch.rand((), generator=random)) / 1.12

    def chance(count: int) -> int:
        return int(torch.randint(count, (), generator=random))

    def grid(cells: int) -> Tensor:
        shown = torch.rand(1, 1, cells, cells, generator=random) < share
        return F.interpolate(shown.float(), size, mode="nearest")

    one, two = (grid(_COARSE) * grid(_FINE[chance(2)]) for _ in range(2))
    filling, nowhere = grid((_COARSE, *_FINE)[chance(3)]), (1 - one) * (1 - two)
    one, two = one + nowhere * filling, two + nowhere * (1 - filling)
    return Masks(two, one) if chance(2) else Masks(one, two)


PRESETS = {
    "released": DeFusionRecipe(
        crop=256,
        sampling="random",
        min_contrast=0,
        batch=4,
        epochs=(0.24, 1.12, 49.64),
        learning_rate=1e-3,
        lr_step=10,
        clip_norm=0,
        seed=1,
    ),
    "quick": DeFusionRecipe(
        crop=64,
        sampling="random",
        flips=True,
        batch=4,
        epochs=(1, 2, 4),
        minutes=30,
        learning_rate=1e-3,
        warmup=5,
        schedule="cosine",
        min_lr=1e-5,
        clip_norm=1.0,
        branches=0,
    ),
}
