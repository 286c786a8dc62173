"""`fuse` on medical volumes: results, resuming, refusals, and that no patient is ever shown."""

import json
import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
import torch
from dicom_series import (
    FRAME,
    IDENTIFIER,
    SECRET,
    STUDY,
    enhanced,
    grid,
    inject,
    scene,
    write_nifti,
    write_series,
)
from PIL import Image
from torch import Tensor

from cddfuse.cli import run
from cddfuse.cli.common import NetworkFlags
from cddfuse.errors import InputError
from cddfuse.io import read_image
from cddfuse.models import MODELS, Card, FusionModel

FINE = grid((1.5, 1.5, 2.0), (18, 20, -10))
COARSE = grid((3.0, 3.0, 4.0), (24, 26, -16), turn=-9)
SHAPE = (15, 13, 6)
VALUES = scene(SHAPE, FINE)
RANGE = ["--range", "0:1000"]
Say = pytest.CaptureFixture[str]


def mean(*arguments: object) -> int:
    """Fuse with the network that anybody can check by hand."""
    return run(["fuse", *map(str, arguments), "--model", "mean"])


@pytest.fixture
def pair(tmp_path: Path) -> list[Path]:
    """Two NIfTI files on one grid: the mean of both is VALUES."""
    return [
        write_nifti(tmp_path / "a.nii.gz", (VALUES - 50).astype(np.int16), FINE),
        write_nifti(tmp_path / "b.nii", (VALUES + 50).astype(np.int16), FINE),
    ]


@pytest.fixture
def study(tmp_path: Path) -> list[Path]:
    """A PET and an MR of one patient, as DICOM."""
    write_series(
        tmp_path / "pet", scene((9, 9, 5), COARSE), COARSE, "PT", slopes=True, edit=inject, number=2
    )
    write_series(tmp_path / "mr", VALUES, FINE, "MR", number=3)
    return [tmp_path / "pet", tmp_path / "mr"]


def voxels(path: Path) -> Any:
    image: Any = nibabel.load(path)
    return np.asarray(image.dataobj)


@pytest.mark.parametrize("axis", ["axial", "coronal", "sagittal"])
def test_nifti_to_nifti_is_exact(tmp_path: Path, pair: list[Path], axis: str) -> None:
    output = tmp_path / "out" / "fused.nii.gz"
    assert mean(*pair, "-o", output, *RANGE, "--axis", axis) == 0
    np.testing.assert_allclose(voxels(output), VALUES / 1000, atol=1e-6)
    image: Any = nibabel.load(output)
    np.testing.assert_allclose(image.affine, FINE, atol=1e-5)
    assert (int(image.header["sform_code"]), bytes(image.header["descrip"]).strip(b"\0")) == (
        2,
        b"",
    )


@pytest.mark.parametrize(("bits", "white", "kind"), [(8, 255, np.uint8), (16, 65535, np.uint16)])
def test_bits_of_nifti(tmp_path: Path, pair: list[Path], bits: int, white: int, kind: Any) -> None:
    output = tmp_path / "fused.nii"
    assert mean(*pair, "-o", output, *RANGE, "--bits", bits) == 0
    found = voxels(output)
    assert found.dtype == kind
    np.testing.assert_allclose(found, VALUES / 1000 * white, atol=0.51)


def test_some_slices_keep_their_place(tmp_path: Path, pair: list[Path]) -> None:
    output = tmp_path / "fused.nii"
    assert mean(*pair, "-o", output, *RANGE, "--slices", "1:6:2") == 0
    image: Any = nibabel.load(output)
    np.testing.assert_allclose(voxels(output), VALUES[:, :, 1:6:2] / 1000, atol=1e-6)
    np.testing.assert_allclose(image.affine @ [2, 3, 1, 1], FINE @ [2, 3, 3, 1], atol=1e-5)


def test_shear_of_a_gantry_is_in_the_sform(tmp_path: Path) -> None:
    tilted = FINE.copy()
    tilted[:3, 2] += [0, 0.6, 0]
    for name in ("ct", "mr"):
        write_series(tmp_path / name, VALUES, tilted, "CT")
    output = tmp_path / "fused.nii.gz"
    assert mean(tmp_path / "ct", tmp_path / "mr", "-o", output) == 0
    header: Any = nibabel.load(output).header
    np.testing.assert_allclose(header.get_sform(), tilted, atol=1e-5)
    assert (int(header["sform_code"]), int(header["qform_code"])) == (1, 0)


def test_colour_in_nifti_is_rgb_unless_grey(tmp_path: Path, study: list[Path]) -> None:
    assert mean(*study, "-o", tmp_path / "colour.nii.gz", "--onto", "second") == 0
    found = voxels(tmp_path / "colour.nii.gz")
    assert found.dtype.names == ("R", "G", "B")
    assert found.shape == SHAPE
    assert (found["R"].astype(int) - found["B"]).max() > 40
    assert mean(*study, "-o", tmp_path / "grey.nii.gz", "--onto", "second", "--grey") == 0
    assert voxels(tmp_path / "grey.nii.gz").dtype == np.float32


def test_montage_has_true_proportions(tmp_path: Path, pair: list[Path]) -> None:
    assert mean(*pair, "-o", tmp_path / "m.png", "--axis", "coronal", "--slices", "3:9:3") == 0
    with Image.open(tmp_path / "m.png") as picture:
        assert picture.size == (8 + 3 * 328, 25 + 8 + 2 * (round(320 * 8 / 15) + 25 + 8))


def test_montage_of_too_many_slices_says_which(
    tmp_path: Path, pair: list[Path], capsys: Say
) -> None:
    many = np.zeros((5, 5, 50), np.int16)
    paths = [write_nifti(tmp_path / name, many + 1, FINE) for name in ("c.nii", "d.nii")]
    assert mean(*paths, "-o", tmp_path / "m.png") == 2
    assert "such as 0:50:3 (--slices)." in capsys.readouterr().err


def test_slices_as_images_resume(tmp_path: Path, pair: list[Path], capsys: Say) -> None:
    folder = tmp_path / "slices"
    assert mean(*pair, "-o", folder, *RANGE) == 0
    want = folder / "0004.png"
    levels = read_image(want)[0] * 1000
    assert np.abs(levels.numpy() - VALUES[:, :, 4].T).max() < 0.01
    kept = want.stat().st_mtime_ns
    (folder / "0002.png").unlink()
    assert mean(*pair, "-o", folder) == 0  # the range is that of the results
    said = capsys.readouterr().err
    assert "fused 1 slice in" in said
    assert "kept 5 results" in said
    assert want.stat().st_mtime_ns == kept
    assert mean(*pair, "-o", folder, "--window", "first=1:2") == 2


def captures(folder: Path) -> list[pydicom.Dataset]:
    return [pydicom.dcmread(path) for path in sorted(folder.glob("*.dcm"))]


def test_secondary_capture_is_a_new_series_of_the_study(tmp_path: Path, study: list[Path]) -> None:
    folder = tmp_path / "fused"
    assert mean(*study, "-o", folder, "--format", "dcm", "--onto", "second") == 0
    files = captures(folder)
    assert len(files) == SHAPE[2]
    assert len({file.SOPInstanceUID for file in files}) == SHAPE[2]
    (series,) = {file.SeriesInstanceUID for file in files}
    sources = [pydicom.dcmread(path) for path in sorted(study[1].iterdir())]
    assert series not in {source.SeriesInstanceUID for source in sources}
    for number, file in enumerate(files):
        assert file.SOPClassUID.name == "Secondary Capture Image Storage"
        assert (file.StudyInstanceUID, file.FrameOfReferenceUID) == (STUDY, FRAME)
        assert (file.PatientName, file.PatientID) == (SECRET, IDENTIFIER)
        assert (file.Modality, file.ConversionType, file.BurnedInAnnotation) == ("OT", "WSD", "NO")
        assert "Research use, not for diagnosis" in file.SeriesDescription
        assert "Research use, not for diagnosis" in file.DerivationDescription
        assert "InstitutionName" not in file
        assert file.PatientOrientation == ["L", "P"]
        assert file.pixel_array.shape == (SHAPE[1], SHAPE[0], 3)
        place = np.array(file.ImagePositionPatient) * [-1, -1, 1]
        np.testing.assert_allclose(place, (FINE @ [0, 0, number, 1])[:3], atol=1e-6)
        (reference,) = file.SourceImageSequence
        (source,) = [s for s in sources if s.SOPInstanceUID == reference.ReferencedSOPInstanceUID]
        assert source.ImagePositionPatient == file.ImagePositionPatient


def test_secondary_capture_of_grey_values_reads_back(tmp_path: Path, pair: list[Path]) -> None:
    from cddfuse.io.volumes.dicom import find_series, read_series

    folder = tmp_path / "fused"
    assert mean(*pair, "-o", folder, *RANGE, "--format", "dcm") == 0
    (series,) = find_series(folder).series
    volume = read_series(series, folder)
    np.testing.assert_allclose(volume.affine, FINE, atol=1e-5)
    np.testing.assert_allclose(volume.values, VALUES / 1000 * 255, atol=0.51)


def test_secondary_captures_resume_as_one_series(
    tmp_path: Path, study: list[Path], capsys: Say
) -> None:
    folder = tmp_path / "fused"
    command = [*study, "-o", folder, "--format", "dcm", "--onto", "second"]
    assert mean(*command) == 0
    before = captures(folder)
    (folder / "0003.dcm").unlink()
    assert mean(*command) == 0
    after = captures(folder)
    assert len({file.SeriesInstanceUID for file in after}) == 1
    changed = [a.SOPInstanceUID != b.SOPInstanceUID for a, b in zip(before, after, strict=True)]
    assert changed == [False, False, False, True, False, False]
    assert mean(*command, "--colour-map", "inferno") == 2
    assert "results with other settings" in capsys.readouterr().err
    assert mean(*command, "--overwrite") == 0
    assert not {f.SeriesInstanceUID for f in after} & {
        f.SeriesInstanceUID for f in captures(folder)
    }


def test_dicom_files_of_others_are_not_mixed(tmp_path: Path, pair: list[Path]) -> None:
    write_series(tmp_path / "fused", VALUES, FINE)[0].rename(tmp_path / "fused" / "0000.dcm")
    before = (tmp_path / "fused" / "0000.dcm").read_bytes()
    assert mean(*pair, "-o", tmp_path / "fused", "--format", "dcm") == 2
    assert (tmp_path / "fused" / "0000.dcm").read_bytes() == before


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("flags", [["--format", "dcm"], ["--format", "dcm", "--overwrite"], []])
def test_folders_of_sources_are_no_folders_of_results(
    tmp_path: Path, study: list[Path], capsys: Say, named: bool, flags: list[str]
) -> None:
    """Slices may be named as results are, or have no suffix: neither is replaced or mixed."""
    for number, path in enumerate(sorted(study[1].iterdir())):
        path.rename(path.with_name(f"{number:04d}.dcm" if named else f"IM{number}"))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    (tmp_path / "link").symlink_to(study[1])
    for output in (study[1], tmp_path / "link", tmp_path):
        assert mean(*study, "-o", output, "--onto", "second", *flags) == 2
        assert f"{output} holds a source: choose another" in capsys.readouterr().err
    assert mean(tmp_path, "-o", tmp_path, "--onto", "second", *flags) == 2
    assert {path: path.read_bytes() for path in before} == before
    assert mean(*study, "-o", study[1] / "fused.nii", "--grey") == 0
    assert mean(*study, "-o", study[1] / "fused", "--format", "dcm") == 0
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize("named", ["0000.dcm", "0000"])
def test_dicom_files_of_others_are_never_replaced(
    tmp_path: Path, pair: list[Path], named: str
) -> None:
    folder = tmp_path / "fused"
    other = write_series(folder, VALUES[:, :, :1], FINE)[0].rename(folder / named)
    before = other.read_bytes()
    assert mean(*pair, "-o", folder, "--format", "dcm", "--overwrite") == 2
    assert other.read_bytes() == before
    assert list(folder.iterdir()) == [other]


def test_slanted_pixels_are_no_dicom(tmp_path: Path, capsys: Say) -> None:
    tilted = FINE.copy()
    tilted[:3, 2] += [0, 0.6, 0]
    for name in ("ct", "mr"):
        write_series(tmp_path / name, VALUES, tilted, "CT")
    command = [tmp_path / "ct", tmp_path / "mr", "-o", tmp_path / "out", "--format", "dcm"]
    assert mean(*command, "--axis", "sagittal") == 2
    assert "slanted pixels" in capsys.readouterr().err
    assert mean(*command, "--axis", "axial") == 0


def test_anonymous_result_names_nobody(tmp_path: Path, study: list[Path]) -> None:
    folder = tmp_path / "fused"
    assert mean(*study, "-o", folder, "--format", "dcm", "--anonymous") == 0
    content = b"".join(path.read_bytes() for path in folder.glob("*.dcm"))
    for value in (SECRET, IDENTIFIER, STUDY, FRAME, "19600101", "Hospital"):
        assert value.encode() not in content


def test_nothing_that_is_printed_is_of_the_patient(
    tmp_path: Path, study: list[Path], capsys: Say, caplog: pytest.LogCaptureFixture
) -> None:
    (study[1] / "cut").write_bytes(b"\0" * 128 + b"DICM" + b"\x02\0")
    assert mean(*study, "-o", tmp_path / "a.nii", "--suv", "5", "--json") == 1
    damaged = next(path for path in study[1].iterdir() if SECRET in path.name)
    damaged.write_bytes(damaged.read_bytes()[:-50])
    assert mean(*study, "-o", tmp_path / "b.nii") == 2
    output = capsys.readouterr()
    shown = output.out + output.err + caplog.text
    assert "1 damaged DICOM file left out" in shown
    assert "series 3 (MR)" in shown
    for value in (SECRET, "Secret", IDENTIFIER, STUDY, FRAME, "19600101"):
        assert value not in shown
    assert json.loads(output.out)["done"] == [str(tmp_path / "a.nii")]


def test_one_file_of_many_frames_and_one_folder_of_two_series(
    tmp_path: Path, study: list[Path]
) -> None:
    paths = sorted(study[0].iterdir())
    whole = enhanced(paths, tmp_path / "enhanced.dcm")
    assert mean(whole, study[1], "-o", tmp_path / "a.nii", "--onto", "second", "--grey") == 0
    whole.unlink()
    (tmp_path / "a.nii").rename(tmp_path / "b.nii")
    assert mean(tmp_path, "-o", tmp_path / "c.nii", "--onto", "second", "--grey") == 0
    np.testing.assert_allclose(voxels(tmp_path / "b.nii"), voxels(tmp_path / "c.nii"), atol=1e-4)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["-o", "out.dcm"], "choose the format dcm (--format)"),
        (["-o", "a.nii.gz", "--overwrite"], "is a source"),
        (["-o", "taken.nii"], "exists already"),
        (["-o", "x.nii", "--stretch"], "(--stretch)"),
        (["-o", "x.nii", "--resize"], "(--resize)"),
        (["-o", "x.nii", "--strip"], "(--anonymous)"),
        (["-o", "x.nii", "--bits", "16", "--colour-map", "pet"], "(--bits)"),
        (["-o", "x.nii", "--grey", "--colour-map", "pet"], "(--grey, --colour-map)"),
        (["-o", "x.png", "--bits", "16"], "(--bits)"),
        (["-o", "x", "--format", "dcm", "--bits", "16"], "(--bits)"),
        (["-o", "x.nii", "--range", "full"], "(--range)"),
        (["-o", "x.nii", "--slices", "7"], "(--slices)"),
        (["-o", "x.xyz"], "cannot write x.xyz"),
    ],
)
def test_refusals_come_before_any_work(
    tmp_path: Path, pair: list[Path], capsys: Say, monkeypatch: Any, flags: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken.nii").write_text("mine")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert mean("a.nii.gz", "b.nii", *flags) == 2
    assert said in capsys.readouterr().err
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_settings_of_volumes_are_refused_for_images(tmp_path: Path, capsys: Say) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    paths = [tmp_path / "a.png", tmp_path / "a.png"]
    assert mean(*paths, "-o", tmp_path / "b.png", "--axis", "axial") == 2
    assert "no medical volume" in capsys.readouterr().err
    assert mean(*paths, "-o", tmp_path / "b.nii") == 2
    assert mean(*paths, "-o", tmp_path / "b.png", "--colour-map", "pet") == 2
    assert mean(*paths, "-o", tmp_path / "b.png", "--anonymous") == 2


def test_volume_with_an_image_is_refused(tmp_path: Path, pair: list[Path], capsys: Say) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    assert mean(pair[0], tmp_path / "a.png", "-o", tmp_path / "c.nii") == 2
    assert "is no volume" in capsys.readouterr().err
    assert mean(tmp_path / "a.png", pair[0], "-o", tmp_path / "c.png") == 2
    assert mean(pair[0], "-o", tmp_path / "c.nii") == 2
    assert mean(pair[0], tmp_path / "none.nii", "-o", tmp_path / "c.nii") == 2


def test_result_that_lacks_a_slice_is_not_written(
    tmp_path: Path, pair: list[Path], capsys: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    class Failing(FusionModel):
        card = Card(name="failing", paper="https://example.org")

        def forward(self, first: Tensor, second: Tensor) -> Tensor:
            calls.append(1)
            return torch.full_like(first, torch.nan) if len(calls) == 3 else first

    monkeypatch.setitem(MODELS, "failing", Failing)
    command = ["fuse", *map(str, pair), "-o", str(tmp_path / "c.nii"), "--model", "failing"]
    assert run([*command, *RANGE]) == 2
    assert "1 of 6 slices could not be fused" in capsys.readouterr().err
    assert not (tmp_path / "c.nii").exists()


def test_medical_weights_are_the_default_for_volumes() -> None:
    assert NetworkFlags().preferring("mif").task == "mif"
    assert NetworkFlags(task="ivf").preferring("mif").task == "ivf"
    assert NetworkFlags(weights="ivf").preferring("mif").task is None
    assert NetworkFlags(model="max").preferring("mif").task is None


def test_missing_library_names_the_extra(pair: list[Path], monkeypatch: Any) -> None:
    from cddfuse.io import Ranges
    from cddfuse.io.volumes.options import VolumeReading
    from cddfuse.io.volumes.pair import open_volumes

    monkeypatch.setitem(sys.modules, "nibabel", None)
    with pytest.raises(InputError, match=r"need nibabel: pip install 'cddfuse\[medical\]'"):
        open_volumes(pair[0], pair[1], VolumeReading(), Ranges())


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--celsius"], "leave them out (--celsius)"),
        (["--agc", "plateau"], "leave out the gain control of cameras (--agc)"),
        (["--kelvin-per-count", "0.01"], "leave their kelvin out (--kelvin-per-count)"),
        (["--offset", "1"], "leave the offset out (--offset)"),
        (["--codec", "h264"], "leave out its codec (--codec)"),
    ],
)
def test_settings_of_cameras_are_refused(
    tmp_path: Path, pair: list[Path], capsys: Say, flags: list[str], said: str
) -> None:
    assert mean(*pair, "-o", tmp_path / "o.nii.gz", *flags) == 2
    assert said in capsys.readouterr().err
