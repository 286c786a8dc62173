"""Reading DICOM: exact, whatever the layout and the compression; refusals without patient data."""

import errno
import logging
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from dicom_series import (
    FRAME,
    IDENTIFIER,
    SECRET,
    Edit,
    enhanced,
    grid,
    inject,
    scene,
    write_series,
)
from pydicom.encaps import encapsulate
from pydicom.uid import UID, BasicTextSRStorage

from cddfuse.errors import InputError
from cddfuse.io import Ranges
from cddfuse.io.volumes import finding
from cddfuse.io.volumes.dicom import find_series, read_series
from cddfuse.io.volumes.finding import holds_dicom
from cddfuse.io.volumes.options import VolumeReading
from cddfuse.io.volumes.pair import open_volumes
from cddfuse.io.volumes.suv import uptake_of
from cddfuse.io.volumes.volume import Volume

GRID = grid((2.0, 1.5, 3.0), (20, 30, -12), turn=8)
SHAPE = (9, 11, 6)
VALUES = scene(SHAPE, GRID)


def read(path: Path) -> Volume:
    (series,) = find_series(path).series
    return read_series(series, path)


def in_space(volume: Volume) -> None:
    """The volume shows VALUES where GRID has them, in whatever order of slices."""
    order = np.linalg.inv(volume.affine) @ GRID
    numbers = np.indices(SHAPE).reshape(3, -1)
    there = order[:3, :3] @ numbers + order[:3, 3:]
    assert np.abs(there - there.round()).max() < 1e-6
    found = volume.values[tuple(there.round().astype(int))].reshape(SHAPE)
    np.testing.assert_allclose(found, VALUES, atol=0.02)


@pytest.mark.parametrize("modality", ["MR", "CT", "PT"])
def test_series_is_sorted_by_position_and_scaled(tmp_path: Path, modality: str) -> None:
    write_series(tmp_path, VALUES, GRID, modality, slopes=modality == "PT")
    in_space(read(tmp_path))


def test_slices_of_feet_first_lie_right(tmp_path: Path) -> None:
    down = GRID.copy()
    down[:3, 3] += 5 * GRID[:3, 2]
    down[:3, 2] *= -1
    write_series(tmp_path, VALUES[:, :, ::-1], down)
    in_space(read(tmp_path))


def test_enhanced_file_is_one_volume(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "slices", VALUES, GRID, "PT", slopes=True)
    in_space(read(enhanced(paths, tmp_path / "enhanced.dcm")))


def test_spect_lies_by_its_first_frame(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "slices", VALUES, GRID, "PT")
    slices = sorted(map(pydicom.dcmread, paths), key=lambda d: d.ImagePositionPatient[2])
    whole = slices[0]
    detector = pydicom.Dataset()
    detector.ImagePositionPatient = whole.ImagePositionPatient
    detector.ImageOrientationPatient = whole.ImageOrientationPatient
    del whole.ImagePositionPatient, whole.ImageOrientationPatient
    whole.DetectorInformationSequence = pydicom.Sequence([detector])
    whole.SOPClassUID, whole.Modality = UID("1.2.840.10008.5.1.4.1.1.20"), "NM"
    whole.SpacingBetweenSlices, whole.NumberOfFrames = 3.0, len(slices)
    whole.PixelData = b"".join(each.PixelData for each in slices)
    whole.save_as(tmp_path / "spect.dcm", enforce_file_format=True)
    in_space(read(tmp_path / "spect.dcm"))


RLE, JPEG_LS, JPEG_2000 = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90"


@pytest.mark.parametrize("syntax", [RLE, JPEG_LS])
def test_compressed_series_is_exact(tmp_path: Path, syntax: str) -> None:
    write_series(tmp_path, VALUES, GRID, compress=syntax)
    in_space(read(tmp_path))


def encode(syntax: str, encoder: Callable[[Any], bytes], offset: int = 0) -> Edit:
    def edit(dataset: pydicom.Dataset, place: int) -> None:
        stored = np.ascontiguousarray((VALUES[:, :, place].T + offset).astype("<u2"))
        dataset.PixelRepresentation, dataset.RescaleIntercept = 0, -offset
        dataset.BitsStored, dataset.HighBit = 12, 11
        dataset.PixelData = encapsulate([encoder(stored)])
        dataset["PixelData"].is_undefined_length = True
        dataset.file_meta.TransferSyntaxUID = UID(syntax)

    return edit


@pytest.mark.parametrize(
    ("syntax", "encoder"),
    [
        ("1.2.840.10008.1.2.4.70", lambda a: imagecodecs.ljpeg_encode(a, bitspersample=12)),
        ("1.2.840.10008.1.2.4.57", lambda a: imagecodecs.ljpeg_encode(a, bitspersample=12)),
        (JPEG_2000, lambda a: imagecodecs.jpeg2k_encode(a, codecformat="j2k", bitspersample=12)),
    ],
    ids=["first-order prediction", "process 14", "JPEG 2000"],
)
def test_lossless_jpeg_is_exact(
    tmp_path: Path, syntax: str, encoder: Callable[[Any], bytes]
) -> None:
    write_series(tmp_path, VALUES, GRID, "CT", edit=encode(syntax, encoder, offset=1024))
    in_space(read(tmp_path))


def test_extended_jpeg_of_12_bits_is_near(tmp_path: Path) -> None:
    edit = encode(
        "1.2.840.10008.1.2.4.51",
        lambda a: bytes(imagecodecs.jpeg8_encode(a, level=98, bitspersample=12)),
    )
    write_series(tmp_path, VALUES, GRID, "CT", edit=edit)
    assert np.abs(read(tmp_path).values - VALUES).max() < 40


def test_overlays_in_spare_bits_are_no_values(tmp_path: Path) -> None:
    def edit(dataset: pydicom.Dataset, place: int) -> None:
        dataset.PixelRepresentation, dataset.BitsStored, dataset.HighBit = 0, 12, 11
        stored = VALUES[:, :, place].T.astype("<u2") | 0x3000
        dataset.PixelData = stored.tobytes()

    write_series(tmp_path, VALUES, GRID, edit=edit)
    in_space(read(tmp_path))


def test_padding_is_not_measured(tmp_path: Path) -> None:
    values = VALUES.copy()
    values[0] = -2000

    def edit(dataset: pydicom.Dataset, place: int) -> None:
        dataset.PixelPaddingValue = -2000

    write_series(tmp_path, values, GRID, "CT", edit=edit)
    found = read(tmp_path).values
    assert np.isnan(found[0]).all()
    assert np.isfinite(found[1:]).all()


def test_tilt_of_the_gantry_stays_in_the_affine(tmp_path: Path) -> None:
    tilted = GRID.copy()
    tilted[:3, 2] += [0, 0.9, 0]
    write_series(tmp_path, VALUES, tilted, "CT")
    volume = read(tmp_path)
    np.testing.assert_allclose(volume.affine, tilted, atol=1e-6)
    assert "tilted by 16.7 degrees" in volume.notes[0]


def turned(dataset: pydicom.Dataset, place: int) -> None:
    if place == 3:
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]


def wide(dataset: pydicom.Dataset, place: int) -> None:
    if place == 3:
        dataset.PixelSpacing = [9, 9]


def nowhere(dataset: pydicom.Dataset, place: int) -> None:
    del dataset.ImagePositionPatient


def small(dataset: pydicom.Dataset, place: int) -> None:
    if place == 3:
        dataset.Rows = 5


def scattered(dataset: pydicom.Dataset, place: int) -> None:
    dataset.ImagePositionPatient[0] += 7 * (place % 2)


def short(dataset: pydicom.Dataset, place: int) -> None:
    if place == 3:
        dataset.PixelData = dataset.PixelData[:20]


def infinite(dataset: pydicom.Dataset, place: int) -> None:
    dataset.RescaleSlope = "0"


def pictures(dataset: pydicom.Dataset, place: int) -> None:
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 3, "RGB"


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (turned, "several orientations"),
        (wide, "several pixel spacings"),
        (nowhere, "does not say where its slices lie"),
        (small, "slices of 2 sizes"),
        (scattered, "do not lie on one line"),
        (short, "slice 3 of series 1 .* damaged or cut short"),
        (infinite, "does not say where|scale"),
        (pictures, "holds colour pictures"),
    ],
)
def test_refusals_name_the_series_and_no_patient(tmp_path: Path, edit: Edit, said: str) -> None:
    write_series(tmp_path, VALUES, GRID, edit=edit)
    with pytest.raises(InputError, match=said) as error:
        read(tmp_path)
    assert "series 1 (MR)" in str(error.value)
    assert not any(secret in str(error.value) for secret in (SECRET, IDENTIFIER, str(FRAME)))


def test_missing_slice_is_counted(tmp_path: Path) -> None:
    write_series(tmp_path, VALUES, GRID)[2].unlink()
    with pytest.raises(InputError, match=r"uneven gaps 3\.00\.\.6\.00 mm .*: 1 missing"):
        read(tmp_path)


def test_slice_twice_is_refused(tmp_path: Path) -> None:
    path = write_series(tmp_path, VALUES, GRID)[2]
    path.with_name("again").write_bytes(path.read_bytes())
    with pytest.raises(InputError, match="1 slice twice"):
        read(tmp_path)


def test_localizers_are_left_out_and_said(tmp_path: Path) -> None:
    def edit(dataset: pydicom.Dataset, place: int) -> None:
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER" if place == 5 else "AXIAL"]

    write_series(tmp_path, VALUES, GRID, edit=edit)
    volume = read(tmp_path)
    assert volume.values.shape == (9, 11, 5)
    assert "1 localizer" in volume.notes[0]


def test_damaged_files_are_counted(tmp_path: Path) -> None:
    write_series(tmp_path, VALUES, GRID)
    (tmp_path / "notes.txt").write_text("not DICOM")
    (tmp_path / "cut").write_bytes(b"\0" * 128 + b"DICM" + b"\x02\0")
    assert find_series(tmp_path).damaged == 1


def test_subfolders_that_cannot_be_opened_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_series(tmp_path / "open", VALUES, GRID)
    write_series(tmp_path / "closed", VALUES, GRID)
    scan = os.scandir

    def scandir(path: str) -> Any:
        if Path(path).name == "closed":
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    found = find_series(tmp_path)
    assert (len(found.series), found.damaged, found.closed) == (1, 0, 1)
    source = open_volumes(tmp_path, tmp_path / "open", VolumeReading(), Ranges())
    assert [x.reason for x in source.skipped] == ["1 subfolder that cannot be opened left out"]


def test_what_is_named_as_dicom_and_is_not_is_counted(tmp_path: Path) -> None:
    slices = write_series(tmp_path, VALUES, GRID)
    slices[5].write_bytes(slices[5].read_bytes()[:100])
    slices[4].unlink()
    slices[4].symlink_to(tmp_path / "nowhere")
    (tmp_path / "empty.dcm").touch()
    (tmp_path / "IM9.IMA").write_text("<html>" + 50 * "not found ")
    for name in ("1.2.840.113", "notes.txt", "DICOMDIR", "README", "a.png", ".hidden"):
        (tmp_path / name).write_text("")
    found = find_series(tmp_path)
    assert ([series.length for series in found.series], found.damaged) == ([4], 5)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.dcm").touch()
    with pytest.raises(InputError, match="holds no DICOM images"):
        find_series(tmp_path / "other")


def test_a_slice_cut_anywhere_is_said(tmp_path: Path) -> None:
    path = write_series(tmp_path, VALUES, GRID)[5]
    data = path.read_bytes()
    for end in range(0, len(data), 31):
        path.write_bytes(data[:end])
        if not find_series(tmp_path).damaged:
            with pytest.raises(InputError, match=r"cut short|does not say where"):
                read(tmp_path)


def test_reports_are_no_damaged_slices(tmp_path: Path) -> None:
    path = write_series(tmp_path, VALUES, GRID)[5]
    report = pydicom.dcmread(path)
    report.SOPClassUID = UID("1.3.12.2.1107.5.9.1")  # private, as Siemens has it
    del report.Rows, report.Columns, report.PixelData
    report.save_as(tmp_path / "report")
    report.SOPClassUID = BasicTextSRStorage
    report.save_as(tmp_path / "another")
    assert find_series(tmp_path).damaged == 0


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param(b"\x02\0\x02\0UI", b"\x02\0\x02\0UM", id="unknown type of value"),
        pytest.param(b"\x20\0\x11\0IS", b"\x20\0\x11\0QX", id="number of the series"),
        pytest.param(b"\x08\0\x60\0CS", b"\x08\0\x60\0ZZ", id="modality"),
    ],
)
def test_values_that_cannot_be_decoded_damage_one_file(
    tmp_path: Path, old: bytes, new: bytes
) -> None:
    path = write_series(tmp_path, VALUES, GRID)[0]
    assert path.read_bytes().count(old) == 1
    path.write_bytes(path.read_bytes().replace(old, new))
    found = find_series(tmp_path)
    assert [series.number for series in found.series] == ["1"]
    assert len(found.series[0].files) + found.damaged == VALUES.shape[2]


def test_malformed_values_are_counted_not_shown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def edit(dataset: pydicom.Dataset, place: int) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset.StudyInstanceUID = "1.2.secret"

    write_series(tmp_path, VALUES, GRID, edit=edit)
    caplog.clear()
    with caplog.at_level(logging.DEBUG), warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        volume = read(tmp_path)
    assert not shown
    assert "secret" not in caplog.text
    assert any("irregular entry in its files (VR UI)" in note for note in volume.notes)
    assert "secret" not in f"{volume} {volume.notes}".lower()


def test_folder_of_dicom_is_told_from_images(tmp_path: Path) -> None:
    write_series(tmp_path / "study" / "series", VALUES, GRID)
    (tmp_path / "study" / "preview.png").write_bytes(b"\x89PNG")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(b"\x89PNG")
    assert holds_dicom(tmp_path / "study")
    assert not holds_dicom(tmp_path / "images")
    assert not holds_dicom(tmp_path / "nowhere")


@pytest.mark.parametrize("previews", ["a", "z"])  # before and after the slices
def test_many_previews_hide_no_series(tmp_path: Path, previews: str) -> None:
    (tmp_path / previews).mkdir()
    for number in range(80):
        (tmp_path / previews / f"{number}.png").touch()
        (tmp_path / f"m{number}").write_bytes(bytes(128) + b"DICM")
    assert not holds_dicom(tmp_path)
    (tmp_path / "more").write_bytes(bytes(128) + b"DICM")
    assert holds_dicom(tmp_path)


def test_files_beside_images_are_hardly_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Path] = []

    def no_dicom(path: Path) -> bool:
        opened.append(path)
        return False

    monkeypatch.setattr(finding, "is_dicom", no_dicom)
    for number in range(200):
        (tmp_path / f"{number}.png").touch()
        (tmp_path / f"{number}.txt").touch()
    assert not holds_dicom(tmp_path)
    assert not opened
    for number in range(200):
        (tmp_path / f"{number}.json").touch()
    assert not holds_dicom(tmp_path)
    assert len(opened) <= 64


# Standardised uptake values


def factor(*edits: Callable[[pydicom.Dataset], Any], times: int = 3) -> tuple[float, str]:
    headers = []
    for place in range(times):
        header = pydicom.Dataset()
        header.Modality, header.PatientWeight = "PT", 70
        inject(header, place)
        for edit in edits:
            edit(header)
        headers.append(header)
    uptake = uptake_of(headers[-1], headers)
    return uptake.factor, uptake.refusal


def test_factor_of_suv_is_that_of_the_worked_case() -> None:
    assert factor()[0] == pytest.approx(2.94348781e-4, rel=1e-8)


def test_series_time_after_the_scan_is_not_used() -> None:
    late = factor(lambda header: setattr(header, "SeriesTime", "180000"))
    assert late[0] == pytest.approx(2.94348781e-4, rel=1e-8)


def test_injection_before_midnight() -> None:
    def night(header: pydicom.Dataset) -> None:
        dose = header.RadiopharmaceuticalInformationSequence[0]
        dose.RadiopharmaceuticalStartTime = "233000"
        header.SeriesTime = header.AcquisitionTime = "004000"

    assert factor(night)[0] == pytest.approx(2.94348781e-4, rel=1e-8)


def test_decay_to_the_injection_is_not_applied_twice() -> None:
    admin = factor(lambda header: setattr(header, "DecayCorrection", "ADMIN"))
    assert admin[0] == pytest.approx(70_000 / 370e6)


def test_values_that_are_suv_stay() -> None:
    assert factor(lambda header: setattr(header, "Units", "GML"))[0] == 1


def test_counts_of_philips_have_a_private_factor() -> None:
    def philips(header: pydicom.Dataset) -> None:
        header.Units = "CNTS"
        block = header.private_block(0x7053, "Philips PET Private Group", create=True)
        block.add_new(0x00, "DS", "0.0005")
        block.add_new(0x09, "DS", "2.0")

    assert factor(philips)[0] == 0.0005


def dosed(keyword: str, value: Any) -> Callable[[pydicom.Dataset], None]:
    return lambda header: setattr(header.RadiopharmaceuticalInformationSequence[0], keyword, value)


def without(keyword: str) -> Callable[[pydicom.Dataset], None]:
    return lambda header: delattr(header, keyword)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (without("PatientWeight"), "weight of the patient is missing"),
        (without("RadiopharmaceuticalInformationSequence"), "radiopharmaceutical is missing"),
        (lambda header: setattr(header, "DecayCorrection", "NONE"), "not START or ADMIN"),
        (lambda header: setattr(header, "CorrectedImage", ["DECY"]), "for attenuation"),
        (lambda header: setattr(header, "CorrectedImage", "ATTN"), "for decay"),
        (lambda header: setattr(header, "Units", "CNTS"), "counts without a calibration"),
        (lambda header: setattr(header, "Units", "PROPCPS"), "not Bq/ml"),
        (dosed("RadionuclideTotalDose", 370.0), "below 1 MBq"),
        (dosed("RadionuclideHalfLife", None), "half-life is missing"),
        (dosed("RadiopharmaceuticalStartTime", ""), "time of the injection is missing"),
        (dosed("RadiopharmaceuticalStartDateTime", "20250103090000"), "later than the scan"),
        (dosed("RadiopharmaceuticalStartDateTime", "20250102"), "malformed"),
    ],
)
def test_suv_is_refused_rather_than_guessed(
    edit: Callable[[pydicom.Dataset], None], said: str
) -> None:
    found, refusal = factor(edit)
    assert found == 0
    assert said in refusal
    assert "370" not in refusal


def test_other_modalities_have_no_suv() -> None:
    header = pydicom.Dataset()
    header.Modality = "MR"
    assert uptake_of(header, [header]).factor == 0
