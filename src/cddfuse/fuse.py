"""Fuse one pair. Everything else in the package leads to this function or away from it."""

import torch
from torch import Tensor

from cddfuse import colour, runtime
from cddfuse.errors import InputError
from cddfuse.layers.history import History, current
from cddfuse.models.base import FusionModel
from cddfuse.pair import ImagePair


@torch.inference_mode()
def fuse(
    model: FusionModel,
    pair: ImagePair,
    *,
    grey: bool = False,
    stretch: bool = False,
    limits: runtime.Limits | None = None,
    covered: Tensor | None = None,
) -> Tensor:
    """Fuse a pair, or a batch of pairs, of any size and colour.

    Args:
        model: any `FusionModel`, of the zoo or your own, in evaluation mode. Its device is used.
        pair: images (C, H, W) or (B, C, H, W) in [0, 1], C being 1 or 3.
        grey: leave the colour out of the result.
        stretch: bring each result to the full range, as published tables have it.
        limits: tiles, memory and precision, if they are not to be chosen.
        covered: the share of the second image in the result, (1, H, W) or (B, 1, H, W) in [0, 1],
            from `cddfuse.registration.draw`; where it is 0, the result is the first image.

    Returns:
        An image like `pair.first`, on its device: same size, in colour if that was, or in that of
        `pair.second` if only that has any.
    """
    _check(pair)
    device = next((weight.device for weight in model.parameters()), pair.first.device)
    brightness, chroma = colour.split(pair.first)
    other, of_other = colour.split(pair.second)
    if colour.present(pair.second) and not colour.present(pair.first):
        chroma = of_other
    sources = (brightness, other)
    first, second = (x.reshape(-1, *x.shape[-3:]).to(device) for x in sources)
    history = current()
    if history:
        history.begin(first, second)
    fused = runtime.run(model, first, second, limits).clamp(0, 1)
    if not torch.isfinite(fused).all():
        raise InputError("the network gives values that are not numbers: use other weights.")
    if history:
        fused = history.settled(first, second, fused)
    fused = fused.reshape(brightness.shape).to(pair.first.device)
    if covered is not None:
        fused = torch.lerp(brightness.to(fused), fused, covered.to(fused))
        if chroma is of_other and chroma is not None:
            chroma = chroma * covered.to(chroma)
    if stretch:
        fused = full_range(fused) if history is None else _slowly_stretched(fused, history)
    return colour.join(fused, None if grey or chroma is None else chroma.to(fused))


def full_range(image: Tensor, white: float = 1) -> Tensor:
    """Stretch each image (..., H, W) to 0 to `white`; one of a single level becomes black."""
    low = image.amin((-2, -1), keepdim=True)
    span = image.amax((-2, -1), keepdim=True) - low
    return (image - low) * white / span.clamp(min=torch.finfo(image.dtype).eps)


def _slowly_stretched(image: Tensor, history: History) -> Tensor:
    """`full_range` for a frame of a clip, by a range that moves slowly."""
    low, high = history.limited(
        image.amin((-2, -1), keepdim=True), image.amax((-2, -1), keepdim=True)
    )
    return ((image - low) / (high - low).clamp(min=torch.finfo(image.dtype).eps)).clamp(0, 1)


def _check(pair: ImagePair) -> None:
    label = f"pair {pair.name}: " if isinstance(pair.name, str) and pair.name else ""
    for image in (pair.first, pair.second):
        if image.ndim not in (3, 4) or image.shape[-3] not in (1, 3) or not image.numel():
            raise InputError(
                f"{label}an image has the shape {tuple(image.shape)}, "
                "where (C, H, W) or (B, C, H, W) with 1 or 3 channels is needed."
            )
        if not image.is_floating_point():
            raise InputError(
                f"{label}an image is {image.dtype}, where float32 in [0, 1] is needed."
            )
        if not torch.isfinite(image).all():
            raise InputError(f"{label}an image has values that are not numbers (NaN or infinite).")
    # Width x height; of a batch, number x width x height.
    shapes = [(*image.shape[:-3], image.shape[-1], image.shape[-2]) for image in pair[:2]]
    sizes = ["x".join(map(str, shape)) for shape in shapes]
    if sizes[0] != sizes[1]:
        raise InputError(f"{label}the images differ in size: {sizes[0]} and {sizes[1]}.")
