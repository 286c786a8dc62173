"""Colour maps for scalar results: the palettes of DICOM (PS3.6 Annex B), and two of OpenCV."""

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cddfuse.io.volumes.options import ColourMap

_UIDS = {
    "hot_iron": "1.2.840.10008.1.5.1",
    "pet": "1.2.840.10008.1.5.2",
    "hot_metal_blue": "1.2.840.10008.1.5.3",
}


def coloured(image: Tensor, name: ColourMap) -> Tensor:
    """Look up an image (1, H, W) in [0, 1]: (3, H, W), or itself for grey."""
    if name == "grey":
        return image
    levels = (image[0].clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    return torch.from_numpy(_table(name)[levels]).permute(2, 0, 1).contiguous()


@cache
def _table(name: ColourMap) -> NDArray[np.float32]:
    """(256, 3) in [0, 1]."""
    ramp = np.arange(256, dtype=np.uint8)[None]
    if name in _UIDS:
        from pydicom.pixels.processing import apply_color_lut

        table = apply_color_lut(ramp, palette=_UIDS[name])[0]
    else:
        import cv2

        kinds = {"inferno": cv2.COLORMAP_INFERNO, "magma": cv2.COLORMAP_MAGMA}
        table = cv2.applyColorMap(ramp, kinds[name])[0, :, ::-1]
    return table.astype(np.float32) / np.float32(255)
