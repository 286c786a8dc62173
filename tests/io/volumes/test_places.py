"""Volumes whose voxels lie nowhere are refused when they are read."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_series import write_nifti

from cddfuse.errors import InputError
from cddfuse.io.volumes.nifti import read_nifti
from cddfuse.io.volumes.volume import places

SHEARED = np.array([[-2.0, 0, 0, 0], [0, -2, -2e21, 0], [0, 0, 3, 0], [0, 0, 0, 1]])


@pytest.mark.parametrize(
    ("affine", "usable"),
    [
        (np.diag([2.0, 2, 3, 1]), True),
        (np.diag([1e-4, 1e-4, 1e-4, 1.0]), True),  # of a microscope
        (np.array([[1.0, 0.5, 0, 9], [0, 1, 0, 9], [0, 0.5, 3, 9], [0, 0, 0, 1]]), True),
        (np.diag([2.0, 0, 3, 1]), False),
        (np.array([[1.0, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), False),
        (np.diag([2.0, np.nan, 3, 1]), False),
        (SHEARED, False),  # its determinant is 12, and two axes are the same in double precision
    ],
)
def test_affines(affine: Any, usable: bool) -> None:
    assert places(affine) == usable


def test_a_file_of_such_an_affine_is_refused(tmp_path: Path) -> None:
    write_nifti(tmp_path / "a.nii", np.zeros((4, 3, 2), np.int16), SHEARED)
    with pytest.raises(InputError, match="its voxels lie nowhere"):
        read_nifti(tmp_path / "a.nii")
