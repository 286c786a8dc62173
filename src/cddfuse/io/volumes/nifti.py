"""NIfTI files, by nibabel."""

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cddfuse.errors import InputError
from cddfuse.io.files import replacing
from cddfuse.io.volumes.volume import Affine, Volume, extra, places, require_memory

SUFFIXES = (".nii", ".nii.gz")
_UNITS = {1: ("metres", 1e3), 3: ("micrometres", 1e-3)}  # others are millimetres
_RGB = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])


def read_nifti(path: Path) -> Volume:
    """A volume of a file, as float32; values of infinite size count as not measured."""
    with extra():
        import nibabel
    try:
        image: Any = nibabel.load(path)
        shape = _shape(image.shape, path)
        kind = image.get_data_dtype()
        if kind.kind not in "uif":
            raise InputError(f"{path} holds {_named(kind)}: fuse scalar values, before colouring.")
        require_memory(shape, str(path))
        values = image.get_fdata(dtype=np.float32, caching="unchanged").reshape(shape, order="F")
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"there is no file {path}: check the name.") from error
    except Exception as error:  # of gzip, zlib and three modules of nibabel
        raise InputError(
            f"{path} is damaged, cut short or no NIfTI file: make or copy it again."
        ) from error
    if not values.flags.writeable:
        values = values.copy(order="K")
    values[~np.isfinite(values)] = np.nan
    affine = np.asarray(image.affine, np.float64)
    unit, scale = _UNITS.get(int(image.header["xyzt_units"]) & 7, ("", 1.0))
    affine[:3] *= scale
    if not places(affine):
        raise InputError(f"{path} has no usable affine: its voxels lie nowhere. Mend its header.")
    codes = int(image.header["sform_code"]), int(image.header["qform_code"])
    plain = tuple(image.header.get_slope_inter()) in ((None, None), (1.0, 0.0))
    return Volume(
        values,
        affine,
        str(path),
        full=(0.0, 255.0) if kind == np.uint8 and plain else None,
        placed=any(codes),
        space=codes[0] or codes[1],
        files=(path,),
        notes=(f"{path} is in {unit}, as its header says",) if unit else (),
    )


def write_nifti(path: Path, values: NDArray[Any], affine: Affine, *, space: int = 1) -> None:
    """Write a volume atomically.

    Args:
        path: ends with .nii or .nii.gz.
        values: (I, J, K) scalars, or (I, J, K, 3) uint8 colours.
        affine: of the voxels. One with shear, as of a tilted gantry, fits the sform only.
        space: code of the coordinate system.
    """
    with extra():
        import nibabel
    if values.ndim == 4:
        values = np.ascontiguousarray(values).view(_RGB)[..., 0]
    image: Any = nibabel.Nifti1Image(values, affine)  # type: ignore[no-untyped-call]
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, space or 1)
    image.set_qform(affine, space or 1)
    if not np.allclose(image.get_qform(), affine, atol=1e-3):
        image.set_qform(None, 0)
    image.set_sform(affine, space or 1)
    with replacing(path) as temporary:
        nibabel.save(image, temporary)


def _shape(shape: tuple[int, ...], path: Path) -> tuple[int, int, int]:
    """Three sizes; further ones have to be 1."""
    if len(shape) < 2 or 0 in shape:
        raise InputError(f"{path} holds no volume: its shape is {shape}.")
    more = math.prod(shape[3:])
    if more > 1:
        raise InputError(
            f"{path} holds {more} volumes (points in time, or directions): save the one you mean "
            "to its own file."
        )
    rows = (*shape, 1)[:3]
    return rows[0], rows[1], rows[2]


def _named(kind: np.dtype[Any]) -> str:
    return "colours" if kind.names else f"values of the type {kind}"
