"""Counts in radiometric JPEGs of DJI.

The application segments of one kind, joined, are the counts of all pixels of the shown picture,
16 bits, little-endian: APP3 of H20T, H20N, M2EA, M30T, M3T, M3TD, M4T and H30T, APP4 of XT S. What
makes degrees of them is known to a library of DJI alone, but counts are enough to fuse.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cddfuse.io.decoders.base import UnreadableError

_MARKERS = (0xE3, 0xE4)


def counts_of(
    segments: Sequence[tuple[int, bytes]], width: int, height: int, make: bytes
) -> NDArray[np.uint16] | None:
    """The counts (H, W) of a JPEG; None if it holds none.

    Args:
        segments: marker and body of each segment.
        width: of the shown picture, as is that of the counts.
        height: likewise.
        make: of the camera, as EXIF says.
    """
    sizes = {
        marker: sum(len(body) for found, body in segments if found == marker) for marker in _MARKERS
    }
    for marker, size in sizes.items():
        if size == 2 * width * height > 0:
            whole = b"".join(body for found, body in segments if found == marker)
            return np.frombuffer(whole, "<u2").reshape(height, width).astype(np.uint16)
    if make.upper().startswith(b"DJI") and max(sizes.values()) >= width * height > 0:
        raise UnreadableError(
            "holds thermal counts in a layout that is not known: convert it to TIFF with the "
            "software of the camera."
        )
    return None
