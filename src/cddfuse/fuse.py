"""Fuse one pair. Everything else in the package leads to this function or away from it."""

import torch
from torch import Tensor

from cddfuse import colour as colours
from cddfuse import runtime
from cddfuse.colour import Colour
from cddfuse.errors import InputError
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
    colour: Colour = "ycbcr",
) -> Tensor:
    """Fuse a pair, or a batch of pairs, of any size and colour.

    Args:
        model: any `FusionModel`, of the zoo or your own, in evaluation mode. Its device is used.
        pair: images (C, H, W) or (B, C, H, W) in [0, 1], C being 1 or 3.
        grey: leave the colour out of the result, short for `colour="grey"`.
        stretch: bring each result to the full range, as published tables have it.
        limits: tiles, memory and precision, if they are not to be chosen.
        colour: where the colour comes from: the chroma of the colour source in YCbCr or CIELAB, or
            the fusion of each channel, which takes three times as long.

    Returns:
        An image like `pair.first`, on its device: same size, in colour if that was, or in that of
        `pair.second` if only that has any. Where both have, the colour is that of `pair.first`, for
        the colours of a second image are as a rule a palette; `per-channel` mixes both.
    """
    _check(pair)
    if grey:
        colour = "grey"
    source = _colour_source(pair)
    if source is None or colour == "grey":
        fused = _fused(model, pair.first, pair.second, limits)
        return colours.join(_ranged(fused, stretch), None)
    if colour == "per-channel":
        return _by_channel(model, pair, stretch, limits)
    fused = _ranged(_fused(model, pair.first, pair.second, limits), stretch)
    if colour == "lab":
        return colours.in_lab(fused, source.to(fused))
    chroma = colours.split(source)[1]
    return colours.join(fused, None if chroma is None else chroma.to(fused))


def _colour_source(pair: ImagePair) -> Tensor | None:
    """The image that gives the colour, of three channels."""
    if colours.present(pair.second) and not colours.present(pair.first):
        return pair.second
    return pair.first if pair.first.shape[-3] == 3 else None


def _fused(
    model: FusionModel, first: Tensor, second: Tensor, limits: runtime.Limits | None
) -> Tensor:
    """The fused luma (..., 1, H, W) of two images, on the device of the first."""
    device = next((weight.device for weight in model.parameters()), first.device)
    lumas = (colours.luma(first), colours.luma(second))
    one, other = (x.reshape(-1, *x.shape[-3:]).to(device) for x in lumas)
    fused = runtime.run(model, one, other, limits).clamp(0, 1)
    if not torch.isfinite(fused).all():
        raise InputError("the network gives values that are not numbers: use other weights.")
    return fused.reshape(lumas[0].shape).to(first.device)


def _by_channel(
    model: FusionModel, pair: ImagePair, stretch: bool, limits: runtime.Limits | None
) -> Tensor:
    """Fuse red, green and blue one by one; an image of one channel meets all of the other."""
    channels = [
        _fused(model, _channel(pair.first, index), _channel(pair.second, index), limits)
        for index in range(3)
    ]
    return _ranged(torch.cat(channels, -3), stretch)


def _channel(image: Tensor, index: int) -> Tensor:
    return image if image.shape[-3] == 1 else image[..., index : index + 1, :, :]


def _ranged(image: Tensor, stretch: bool) -> Tensor:
    """The image, stretched if asked for: its channels alike, which keeps the hue."""
    if not stretch or image.shape[-3] == 1:
        return full_range(image) if stretch else image
    rows = image.flatten(-3, -2)
    return full_range(rows).reshape(image.shape)


def full_range(image: Tensor, white: float = 1) -> Tensor:
    """Stretch each image (..., H, W) to 0 to `white`; one of a single level becomes black."""
    low = image.amin((-2, -1), keepdim=True)
    span = image.amax((-2, -1), keepdim=True) - low
    return (image - low) * white / span.clamp(min=torch.finfo(image.dtype).eps)


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
