"""Split an image into brightness and colour, and join them again.

Full-range BT.601, the weights of the field (0.299, 0.587, 0.114): networks fuse the brightness, the
colour is taken over from the colour source.
"""

import torch
from torch import Tensor

_WEIGHTS = (0.299, 0.587, 0.114)
_TINT = 4 / 255


def luma(image: Tensor) -> Tensor:
    """Brightness (..., 1, H, W) of an image (..., C, H, W), C being 1 or 3."""
    if image.shape[-3] == 1:
        return image
    weights = torch.tensor(_WEIGHTS, dtype=image.dtype, device=image.device)
    return (image * weights[:, None, None]).sum(-3, keepdim=True)


def present(image: Tensor) -> bool:
    """Whether an image (..., C, H, W) in [0, 1] shows colour, more than a grey JPEG may."""
    return bool((image.amax(-3) - image.amin(-3)).max() > _TINT)


def split(image: Tensor) -> tuple[Tensor, Tensor | None]:
    """Brightness (..., 1, H, W), and what each channel adds (..., 3, H, W) or None if grey."""
    brightness = luma(image)
    return brightness, None if image.shape[-3] == 1 else image - brightness


def join(brightness: Tensor, chroma: Tensor | None) -> Tensor:
    """Undo `split`, with a new brightness in [0, 1].

    Where a colour would leave [0, 1] it is made paler until it fits: brightness and hue stay as
    they are, which clipping the channels one by one would not do.
    """
    if chroma is None:
        return brightness
    room = torch.where(chroma > 0, 1 - brightness, brightness)
    fits = room / chroma.abs().clamp(min=torch.finfo(chroma.dtype).tiny)
    paler = fits.amin(-3, keepdim=True).clamp(max=1)
    return (brightness + paler * chroma).clamp(0, 1)
