"""Stored values of DICOM frames, whatever their compression.

pydicom decodes most syntaxes. The JPEG processes of old CTs and MRs (lossless, and 12-bit extended)
are decoded by imagecodecs, which the package needs anyway.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cddfuse.errors import InputError

_LOSSLESS = ("1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70")
_EXTENDED = "1.2.840.10008.1.2.4.51"


def stored_frames(path: Path, indices: Sequence[int], name: str) -> Iterator[NDArray[Any]]:
    """The stored integers (H, W) of frames of a file, without bits that belong to overlays.

    Args:
        path: the file.
        indices: numbers of the frames, ascending.
        name: what errors call the slice.
    """
    import pydicom

    dataset = pydicom.dcmread(path, force=True)
    syntax = _syntax(dataset)
    try:
        decode = _jpeg if syntax in (*_LOSSLESS, _EXTENDED) else _plain
        for frame in decode(dataset, indices):
            yield _masked(frame, dataset)
    except InputError:
        raise
    except Exception as error:
        # What pydicom and codecs raise may quote values of the header, so it is not passed on.
        text = str(error)
        if "missing dependencies" in text or "plugins" in text:
            raise InputError(
                f"{name} is compressed as {syntax.name}, which cannot be decoded here: "
                "decompress the series first, by dcmdjpeg or gdcmconv."
            ) from None
        raise InputError(f"{name} is damaged or cut short: export the series again.") from None


def _syntax(dataset: Any) -> Any:
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    found = dataset.file_meta.get("TransferSyntaxUID", None)
    if found is None:
        implicit, little = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        found = ImplicitVRLittleEndian if implicit else explicit
        dataset.file_meta.TransferSyntaxUID = found
    return found


def _plain(dataset: Any, indices: Sequence[int]) -> Iterator[NDArray[Any]]:
    from pydicom.pixels.utils import iter_pixels

    yield from iter_pixels(dataset, indices=list(indices))


def _jpeg(dataset: Any, indices: Sequence[int]) -> Iterator[NDArray[Any]]:
    import imagecodecs
    from pydicom.encaps import get_frame

    count = int(dataset.get("NumberOfFrames", 1) or 1)
    extended = dataset.file_meta.TransferSyntaxUID == _EXTENDED
    for index in indices:
        data = get_frame(dataset.PixelData, index, number_of_frames=count)
        decode = imagecodecs.jpeg8_decode if extended else imagecodecs.ljpeg_decode
        frame = np.asarray(decode(data))
        if frame.shape != (dataset.Rows, dataset.Columns):
            raise ValueError("size")
        yield frame


def _masked(frame: NDArray[Any], dataset: Any) -> NDArray[Any]:
    """Keep the bits that are stored, and give them their sign."""
    stored, allocated = int(dataset.BitsStored), 8 * frame.dtype.itemsize
    if frame.dtype.kind not in "ui" or not 0 < stored <= allocated:
        return frame
    spare = allocated - stored
    signed = int(dataset.PixelRepresentation) == 1
    whole = frame.astype(np.dtype(f"{'i' if signed else 'u'}{frame.dtype.itemsize}"))
    return whole << spare >> spare if spare else whole
