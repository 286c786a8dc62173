"""Split an image into luma and chroma, and join them again.

Full-range BT.601, the luma of this field (0.299, 0.587, 0.114): networks fuse the luma, and the
result takes the chroma of the colour source.
"""

import torch
from torch import Tensor

_WEIGHTS = (0.299, 0.587, 0.114)
_TINT = 4 / 255  # largest difference of channels that compression leaves in a grey JPEG


def luma(image: Tensor) -> Tensor:
    """Luma (..., 1, H, W) of an image (..., C, H, W), C being 1 or 3."""
    if image.shape[-3] == 1:
        return image
    weights = torch.tensor(_WEIGHTS, dtype=image.dtype, device=image.device)
    return (image * weights[:, None, None]).sum(-3, keepdim=True)


def present(image: Tensor) -> bool:
    """Whether an image (..., C, H, W) in [0, 1] has more colour than a grey JPEG may show."""
    return bool((image.amax(-3) - image.amin(-3)).max() > _TINT)


def split(image: Tensor) -> tuple[Tensor, Tensor | None]:
    """Luma (..., 1, H, W), and the difference of each channel (..., 3, H, W) or None if grey."""
    grey = luma(image)
    return grey, None if image.shape[-3] == 1 else image - grey


def join(grey: Tensor, chroma: Tensor | None) -> Tensor:
    """Inverse of `split`, with a new luma in [0, 1].

    A colour outside [0, 1] is desaturated until it fits, which keeps luma and hue; clipping the
    channels one by one would change both.
    """
    if chroma is None:
        return grey
    room = torch.where(chroma > 0, 1 - grey, grey)
    fits = room / chroma.abs().clamp(min=torch.finfo(chroma.dtype).tiny)
    saturation = fits.amin(-3, keepdim=True).clamp(max=1)
    return (grey + saturation * chroma).clamp(0, 1)
