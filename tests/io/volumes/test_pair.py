"""Two volumes as slices of one grid: geometry, mappings, colours, refusals."""

from pathlib import Path
from typing import Any

import nibabel
import nibabel.processing
import numpy as np
import pydicom
import pytest
import torch
from dicom_series import IDENTIFIER, Values, grid, inject, scene, write_nifti, write_series
from released import shared

from cddfuse import colour
from cddfuse.errors import InputError
from cddfuse.io import Ranges
from cddfuse.io.volumes.colour_maps import coloured
from cddfuse.io.volumes.options import VolumeReading, VolumeWriting
from cddfuse.io.volumes.pair import VolumePair, open_volumes
from cddfuse.io.volumes.planes import numbers_of, plane_of

FINE = grid((1.5, 1.5, 2.0), (18, 20, -10), turn=5)
COARSE = grid((3.0, 3.0, 4.0), (24, 26, -16), turn=-9)
SHAPE = (16, 18, 8)
WIDE = (20, 22, 10)
FULL = "0:1000"


def ramp(shape: tuple[int, ...], affine: Values) -> Values:
    """A linear function of the place in millimetres, which interpolation gives back."""
    numbers = np.indices(shape).reshape(3, -1)
    places = affine[:3, :3] @ numbers + affine[:3, 3:]
    return np.asarray((np.array([3, -7, 11]) @ places + 500).reshape(shape), np.float32)


def nifti(folder: Path, first: tuple[Values, Any], second: tuple[Values, Any]) -> list[Path]:
    sides = zip(("first", "second"), (first, second), strict=True)
    return [write_nifti(folder / f"{name}.nii.gz", *side) for name, side in sides]


def opened(paths: list[Path], range: str = FULL, **settings: Any) -> VolumePair:
    second = paths[1] if len(paths) > 1 else None
    ranges = Ranges.parse([range] if range else [])
    return open_volumes(paths[0], second, VolumeReading(**settings), ranges)


@pytest.mark.parametrize("onto", ["first", "second"])
@pytest.mark.parametrize("axis", [None, "sagittal", "coronal"])
def test_ramp_in_space_comes_back(tmp_path: Path, onto: Any, axis: Any) -> None:
    paths = nifti(tmp_path, (ramp(SHAPE, FINE), FINE), (ramp(WIDE, COARSE), COARSE))
    pair = opened(paths, "-1000:2000", onto=onto, axis=axis)
    other = pair.volumes[1 - pair.fixed]
    to_voxels = np.linalg.inv(other.affine) @ pair.affine
    rows, columns = np.indices(pair.shape)
    compared = 0
    for number in pair.numbers:
        first, second, _ = pair.slices(number)
        points = np.stack([columns, rows, np.full_like(rows, number)], -1)
        there = points @ to_voxels[:3, :3].T + to_voxels[:3, 3]
        core = ((there >= 0) & (there <= np.array(other.values.shape) - 1)).all(-1)
        compared += int(core.sum())
        assert not core.any() or (first - second)[0][torch.from_numpy(core)].abs().max() < 2e-5
    assert compared > 100


def test_series_and_file_of_one_scene_agree(tmp_path: Path) -> None:
    write_series(tmp_path / "pet", scene(WIDE, COARSE), COARSE, "PT", slopes=True)
    path = write_nifti(tmp_path / "mr.nii", scene(SHAPE, FINE), FINE)
    pair = opened([tmp_path / "pet", path], onto="second")
    first, second, _ = pair.slices(4)
    assert (first - second).abs().mean() < 0.01  # of the interpolation
    assert "resampled onto the grid of the second" in " ".join(pair.notes)


def test_native_sample_agrees_with_nibabel() -> None:
    paths = [shared("data", "volumes", "native", f"{name}.nii.gz") for name in ("t1c", "flair")]
    pair = opened(paths, "0:600")
    images = [nibabel.load(path) for path in paths]
    moved = nibabel.processing.resample_from_to(images[1], images[0], order=1)  # type: ignore[no-untyped-call]
    _, second, inside = pair.slices(12)
    want = pair.plane.view(moved.get_fdata(), 12) / 600
    differs = np.abs(want.clip(0, 1) - second[0].numpy())
    assert inside is not None
    assert np.quantile(differs[inside[0].numpy()], 0.99) < 0.01  # all but the borders


def test_slices_show_anterior_on_top_and_the_left_at_the_right() -> None:
    affine = np.diag([2.0, 1.0, 3.0, 1.0])  # RAS
    values = np.indices((4, 5, 6)).transpose(1, 2, 3, 0)
    axial = plane_of(affine, "axial").view(values, 2)
    assert axial.shape == (5, 4, 3)
    assert axial[0, 0].tolist() == [3, 4, 2]  # the right and front corner
    assert plane_of(affine, "coronal").view(values, 2)[0, 0].tolist() == [3, 2, 5]
    assert plane_of(affine, "sagittal").view(values, 2)[0, 0].tolist() == [2, 4, 5]


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR", "SLA"])
@pytest.mark.parametrize("axis", [None, "axial", "coronal", "sagittal"])
def test_placement_says_where_pixels_of_a_view_lie(codes: str, axis: Any) -> None:
    from nibabel.orientations import axcodes2ornt, inv_ornt_aff

    affine = inv_ornt_aff(axcodes2ornt(codes), (4, 5, 6))  # type: ignore[no-untyped-call]
    plane = plane_of(affine, axis)
    values = np.indices((4, 5, 6)).transpose(1, 2, 3, 0)
    place = plane.placement((4, 5, 6)) @ [2, 1, 3, 1]
    assert place[:3].tolist() == plane.view(values, 3)[1, 2].tolist()


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("", range(9)),
        ("4", [4]),
        ("-1", [8]),
        ("2:8:3", [2, 5]),
        (":3", [0, 1, 2]),
        ("-2:", [7, 8]),
    ],
)
def test_slices_by_text(text: str, numbers: Any) -> None:
    assert list(numbers_of(text, 9)) == list(numbers)


@pytest.mark.parametrize("text", ["9", "-10", "5:2", "::0", "a", "1:2:3:4", "2:5:-1", "1.5"])
def test_slices_that_do_not_exist(text: str) -> None:
    with pytest.raises(InputError, match=f"no slices {text}: .* 0 to 8"):
        numbers_of(text, 9)


def test_what_the_other_volume_does_not_cover_is_the_grid_alone(tmp_path: Path) -> None:
    half = (5, *SHAPE[1:])
    paths = nifti(tmp_path, (scene(SHAPE, FINE), FINE), (scene(half, FINE), FINE))
    pair = opened(paths)
    assert "covers 3" in " ".join(pair.notes)
    for entry in pair:
        first, second, _ = entry.read().pair
        torch.testing.assert_close(first, second, atol=1e-4, rtol=0)  # no edge for the network
    result = pair.finished(3, torch.zeros(1, *pair.shape), VolumeWriting())
    first, _, inside = pair.slices(3)
    assert inside is not None
    assert torch.equal(result[~inside], first[~inside])
    assert not result[inside].any()


def test_monochrome1_is_inverted_after_rescaling(tmp_path: Path) -> None:
    def edit(dataset: pydicom.Dataset, place: int) -> None:
        dataset.PhotometricInterpretation = "MONOCHROME1"

    write_series(tmp_path / "a", scene(SHAPE, FINE), FINE, edit=edit)
    write_series(tmp_path / "b", scene(SHAPE, FINE), FINE)
    first, second, _ = opened([tmp_path / "a", tmp_path / "b"]).slices(2)
    torch.testing.assert_close(first, 1 - second)


def test_padding_is_darkest(tmp_path: Path) -> None:
    values = scene(SHAPE, FINE)
    values[3] = -2000

    def edit(dataset: pydicom.Dataset, place: int) -> None:
        dataset.PixelPaddingValue, dataset.PhotometricInterpretation = -2000, "MONOCHROME1"

    write_series(tmp_path / "a", values, FINE, edit=edit)
    write_series(tmp_path / "b", scene(SHAPE, FINE), FINE)
    pair = opened([tmp_path / "a", tmp_path / "b"], "")
    assert not pair.slices(2)[0][0][:, 3].any()
    assert pair.mappings[0].range.low > -100


def mapped(folder: Path, **settings: Any) -> VolumePair:
    """A CT and a PET."""
    write_series(folder / "ct", scene(SHAPE, FINE) - 500, FINE, "CT")
    write_series(folder / "pet", scene(SHAPE, FINE), FINE, "PT", edit=inject, number=2)
    return opened([folder / "ct", folder / "pet"], "", **settings)


def test_window_is_of_the_ct_and_suv_of_the_pet(tmp_path: Path) -> None:
    pair = mapped(tmp_path, window=("brain",), suv="0.05:0.2")
    assert pair.mappings[0].range == (0, 80)
    low, high = (bound * 2.94348781e-4 for bound in pair.mappings[1].range)
    assert (low, high) == pytest.approx((0.05, 0.2))
    assert "first=0:80 (window), second=0.05:0.2 SUV" in pair.notes[-1]


def test_one_mapping_for_all_slices(tmp_path: Path) -> None:
    pair = mapped(tmp_path, window=("0:1000",))
    values = pair.volumes[0].values
    for number in pair.numbers:
        want = ((pair.plane.view(values, number) + 500) / 1000).clip(0, 1)
        np.testing.assert_allclose(pair.slices(number)[0][0], want, atol=1e-6)


def test_suv_that_cannot_be_had_is_said_and_percentiles_used(tmp_path: Path) -> None:
    def edit(dataset: pydicom.Dataset, place: int) -> None:
        inject(dataset, place)
        del dataset.PatientWeight

    write_series(tmp_path / "pet", scene(SHAPE, FINE), FINE, "PT", edit=edit)
    write_series(tmp_path / "mr", scene(SHAPE, FINE), FINE)
    pair = opened([tmp_path / "pet", tmp_path / "mr"], "", suv="10")
    assert "no SUV, for the weight of the patient is missing" in " ".join(pair.notes)
    assert pair.mappings[0].range == pair.mappings[1].range


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"suv": "5:2"}, "no SUV range 5:2"),
        ({"suv": "high"}, "no SUV range high"),
        ({"window": ("40",)}, "no window 40"),
        ({"window": ("40:0",)}, "no window 40:0"),
        ({"window": ("file",)}, "proposes no window"),
        ({"window": ("third=40:80",)}, "no side third"),
        ({"window": ("40:80", "bone")}, "given twice"),
        ({"suv": "5", "window": ("second=1:2",)}, "a window and SUV"),
        ({"series": ("7",)}, "holds the series 1 .CT, 8 slices.: choose one"),
        ({"slices": "8:9"}, "no slices 8:9"),
    ],
)
def test_settings_that_cannot_be(tmp_path: Path, settings: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        mapped(tmp_path, **settings)


def test_window_and_suv_need_their_modality(tmp_path: Path) -> None:
    paths = nifti(tmp_path, (scene(SHAPE, FINE), FINE), (scene(SHAPE, FINE), FINE))
    with pytest.raises(InputError, match="say which side"):
        opened(paths, window=("40:80",))
    with pytest.raises(InputError, match="neither volume is a PET"):
        opened(paths, suv="10")
    assert opened(paths, "", window=("first=40:80",)).mappings[0].range == (0, 80)


def test_range_and_window_exclude_each_other(tmp_path: Path) -> None:
    paths = nifti(tmp_path, (scene(SHAPE, FINE), FINE), (scene(SHAPE, FINE), FINE))
    with pytest.raises(InputError, match="another by window"):
        opened(paths, "1:2", window=("first=40:80",))


def test_two_series_of_one_folder(tmp_path: Path) -> None:
    write_series(tmp_path / "a", scene(SHAPE, FINE), FINE, "MR", number=1)
    write_series(tmp_path / "b", scene(WIDE, COARSE), COARSE, "PT", number=2)
    assert [volume.modality for volume in opened([tmp_path]).volumes] == ["PT", "MR"]
    write_series(tmp_path / "c", scene(SHAPE, FINE), FINE, "CT", number=3)
    with pytest.raises(InputError, match="choose two, as in first=2") as error:
        opened([tmp_path])
    assert "1 (MR, 8 slices), 2 (PT, 10 slices), 3 (CT, 8 slices)" in str(error.value)
    chosen = opened([tmp_path], series=("first=3", "second=1"))
    assert [volume.modality for volume in chosen.volumes] == ["CT", "MR"]


@pytest.mark.parametrize(("number", "called"), [(3, "3"), (None, "none")])
def test_series_of_one_number_are_told_apart(tmp_path: Path, number: Any, called: str) -> None:
    def edit(dataset: pydicom.Dataset, place: int) -> None:
        dataset.SeriesNumber = number

    for name, step in {"a": 0, "b": 100, "c": 300}.items():
        write_series(tmp_path / name, scene(SHAPE, FINE) + step, FINE, "MR", edit=edit)
    listed = rf"{called}\.1 \(MR, 8 slices\), {called}\.2 \(MR, .*{called}\.3 \(MR, .*choose"
    with pytest.raises(InputError, match=listed):
        opened([tmp_path])
    with pytest.raises(InputError, match=listed):
        opened([tmp_path, tmp_path / "a"], series=(f"first={called}",))
    chosen = opened([tmp_path], series=(f"first={called}.3", f"second={called}.2"))
    one, other = (volume.values for volume in chosen.volumes)
    np.testing.assert_allclose(one - other, 200)
    chosen = opened([tmp_path, tmp_path / "a"], series=(f"first={called}.2",))
    np.testing.assert_allclose(chosen.volumes[0].values - chosen.volumes[1].values, 100)


def test_two_patients_are_refused_unless_the_result_has_none(tmp_path: Path) -> None:
    def edit(dataset: pydicom.Dataset, place: int) -> None:
        dataset.PatientID = "OTHER-99"

    write_series(tmp_path / "a", scene(SHAPE, FINE), FINE)
    write_series(tmp_path / "b", scene(SHAPE, FINE), FINE, edit=edit)
    paths = [tmp_path / "a", tmp_path / "b"]
    with pytest.raises(InputError, match="of two patients") as error:
        opened(paths)
    assert IDENTIFIER not in str(error.value)
    assert "OTHER" not in str(error.value)
    assert opened(paths, anonymous=True).same


def test_other_frame_of_reference_is_said(tmp_path: Path) -> None:
    def edit(dataset: pydicom.Dataset, place: int) -> None:
        dataset.FrameOfReferenceUID = "1.2.3"

    write_series(tmp_path / "a", scene(SHAPE, FINE), FINE)
    write_series(tmp_path / "b", scene(SHAPE, FINE), FINE, edit=edit)
    notes = " ".join(opened([tmp_path / "a", tmp_path / "b"]).notes)
    assert "different frames of reference" in notes
    assert "1.2.3" not in notes


def test_volumes_that_do_not_overlap(tmp_path: Path) -> None:
    far = FINE.copy()
    far[2, 3] += 500
    with pytest.raises(InputError, match="no part of space in common"):
        opened(nifti(tmp_path, (scene(SHAPE, FINE), FINE), (scene(SHAPE, FINE), far)))


def test_files_without_a_place(tmp_path: Path) -> None:
    values = scene(SHAPE, FINE).astype(np.int16)
    placed = np.diag([1.0, 1.0, 1.0, 1.0])
    pair = opened(nifti(tmp_path, (values, None), (values, placed)))
    first, second, _ = pair.slices(1)
    assert torch.equal(first, second)
    assert "does not say where it lies" in pair.notes[0]
    with pytest.raises(InputError, match="the grids of the volumes differ"):
        opened(nifti(tmp_path, (values, None), (values[1:], placed)))


@pytest.mark.parametrize(("unit", "scale"), [("micron", 1000), ("meter", 0.001), ("unknown", 1)])
@pytest.mark.parametrize("codes", [(1, 0), (0, 1)])
def test_units_of_nifti(tmp_path: Path, unit: str, scale: float, codes: tuple[int, int]) -> None:
    values = scene(SHAPE, FINE).astype(np.int16)
    paths = nifti(tmp_path, (values, FINE), (values, FINE))
    affine = np.diag([scale, scale, scale, 1]) @ FINE
    changed: Any = nibabel.Nifti1Image(values, affine)  # type: ignore[no-untyped-call]
    changed.set_sform(affine, codes[0])
    changed.set_qform(affine, codes[1])
    changed.header.set_xyzt_units(unit, "sec")
    nibabel.save(changed, paths[0])
    pair = opened(paths)
    assert pair.same
    np.testing.assert_allclose(pair.affine, opened([paths[1], paths[1]]).affine, atol=1e-4)
    assert any("metres, as its header says" in note for note in pair.notes) == (scale != 1)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "damaged, cut short"),
        (b"text", "damaged, cut short"),
        ("cut", "damaged, cut short"),
        (np.zeros((4, 4, 4, 3), np.int16), "holds 3 volumes"),
        (np.zeros((4, 4, 4), np.complex64), "values of the type complex64"),
        (np.full((4, 4, 4), np.nan, np.float32), "no values at all"),
        (np.zeros((4, 4, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")]), "holds colours"),
    ],
)
def test_nifti_that_cannot_be_used(tmp_path: Path, content: Any, said: str) -> None:
    path = tmp_path / "a.nii.gz"
    good = write_nifti(tmp_path / "b.nii.gz", scene(SHAPE, FINE), FINE)
    if isinstance(content, np.ndarray):
        write_nifti(path, content, np.eye(4))
    else:
        whole = good.read_bytes()
        path.write_bytes(whole[: len(whole) // 2] if content == "cut" else content)
    with pytest.raises(InputError, match=said):
        opened([path, good], "")


def test_colour_shows_the_first_volume_over_the_fused_brightness(tmp_path: Path) -> None:
    pair = opened(nifti(tmp_path, (scene(SHAPE, FINE), FINE), (scene(SHAPE, FINE), FINE)))
    fused = torch.rand(1, *pair.shape, generator=torch.manual_seed(0))
    result = pair.finished(2, fused, VolumeWriting("hot_iron"))
    assert result.shape == (3, *pair.shape)
    torch.testing.assert_close(colour.luma(result), fused, atol=1e-5, rtol=0)
    assert torch.equal(
        pair.finished(2, fused, VolumeWriting("hot_iron", "fused")), coloured(fused, "hot_iron")
    )
    assert torch.equal(pair.finished(2, fused, VolumeWriting()), fused)


@pytest.mark.parametrize("name", ["hot_iron", "hot_metal_blue", "inferno", "magma"])
def test_colour_maps_keep_the_order_of_values(name: Any) -> None:
    ramp = torch.linspace(0, 1, 256).reshape(1, 1, -1)
    assert (colour.luma(coloured(ramp, name)).diff() > -1e-3).all()
    assert coloured(ramp, name)[:, 0, 0].max() < 0.02
