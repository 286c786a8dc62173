"""Fuse one pair. Everything else in the package leads to this function or away from it."""

from collections.abc import Iterator

import torch
from torch import Tensor

from cddfuse import colour as colours
from cddfuse import runtime
from cddfuse.colour import Colour
from cddfuse.errors import InputError
from cddfuse.history import History, current
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
    covered: Tensor | None = None,
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
        covered: the share of the second image in the result, (1, H, W) or (B, 1, H, W) in [0, 1],
            from `cddfuse.registration.draw`; where it is 0, the result is the first image.

    Returns:
        An image like `pair.first`, on its device: same size, in colour if that was, or in that of
        `pair.second` if only that has any. Where both have, the colour is that of `pair.first`, for
        the colours of a second image are as a rule a palette; `per-channel` mixes both.
    """
    _check(pair)
    source = None if grey or colour == "grey" else _colour_source(pair, covered)
    by_channel = source is not None and colour == "per-channel"
    first, second = (_given(model, image) for image in pair[:2])
    history = current()
    if history:
        history.begin(first, second)
    if by_channel:
        fused = torch.cat([_fused(model, *given, limits) for given in _channels(model, pair)], -3)
    else:
        fused = _fused(model, first, second, limits)
    if history:
        fused = history.settled(first, second, fused)
    fused = fused.reshape(*pair.first.shape[:-3], *fused.shape[-3:]).to(pair.first.device)
    if covered is not None:
        alone = pair.first if by_channel else colours.luma(pair.first)
        fused = torch.lerp(alone.to(fused).expand_as(fused), fused, covered.to(fused))
    if stretch:
        fused = _stretched(fused, history)
    if source is None or by_channel:
        return fused
    if colour == "lab":
        return colours.in_lab(fused, source.to(fused))
    chroma = colours.split(source)[1]
    return colours.join(fused, None if chroma is None else chroma.to(fused))


def _colour_source(pair: ImagePair, covered: Tensor | None) -> Tensor | None:
    """The image that gives the colour, of three channels."""
    if colours.present(pair.second) and not colours.present(pair.first):
        if covered is None:
            return pair.second
        return torch.lerp(colours.luma(pair.second), pair.second, covered.to(pair.second))
    return pair.first if pair.first.shape[-3] == 3 else None


def _given(model: FusionModel, image: Tensor) -> Tensor:
    """The luma of an image as the network takes it: (B, 1, H, W), on its device."""
    device = next((weight.device for weight in model.parameters()), image.device)
    grey = colours.luma(image)
    return grey.reshape(-1, *grey.shape[-3:]).to(device)


def _channels(model: FusionModel, pair: ImagePair) -> Iterator[tuple[Tensor, Tensor]]:
    """Red, green and blue of both images; one of a single channel meets all of the other."""
    for index in range(3):
        first, second = (
            image if image.shape[-3] == 1 else image[..., index : index + 1, :, :]
            for image in pair[:2]
        )
        yield _given(model, first), _given(model, second)


def _fused(
    model: FusionModel, first: Tensor, second: Tensor, limits: runtime.Limits | None
) -> Tensor:
    """What the network makes of two images (B, 1, H, W)."""
    fused = runtime.run(model, first, second, limits).clamp(0, 1)
    if not _finite(fused):
        raise InputError("the network gives values that are not numbers: use other weights.")
    return fused


def _finite(values: Tensor) -> bool:
    """Whether all values are finite. A sum tells it in a tenth of the time, unless it overflows."""
    return bool(values.sum().isfinite()) or bool(values.isfinite().all())


def _stretched(image: Tensor, history: History | None) -> Tensor:
    """The image at its full range, in a clip by one that moves slowly; channels alike."""
    rows = image.flatten(-3, -2)
    rows = full_range(rows) if history is None else _slowly_stretched(rows, history)
    return rows.reshape(image.shape)


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
        if not _finite(image):
            raise InputError(f"{label}an image has values that are not numbers (NaN or infinite).")
    # Width x height; of a batch, number x width x height.
    shapes = [(*image.shape[:-3], image.shape[-1], image.shape[-2]) for image in pair[:2]]
    sizes = ["x".join(map(str, shape)) for shape in shapes]
    if sizes[0] != sizes[1]:
        raise InputError(f"{label}the images differ in size: {sizes[0]} and {sizes[1]}.")
