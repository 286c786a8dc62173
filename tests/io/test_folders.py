"""Files of one or two folders find their partners, and nothing is passed over in silence."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cddfuse.errors import InputError
from cddfuse.io import SUFFIXES, Pairing, match_folder, match_folders, pair_folders


def fill(root: Path, *names: str) -> Path:
    root.mkdir(exist_ok=True)
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def names(pairing: Pairing) -> list[tuple[str, str, str]]:
    return [(name, first.name, second.name) for name, first, second in pairing.pairs]


def test_pairs_by_stem_whatever_the_suffix(tmp_path: Path) -> None:
    first = fill(tmp_path / "a", "x.png", "y.JPG")
    second = fill(tmp_path / "b", "x.TIF", "y.webp")
    pairing = match_folders(first, second)
    assert names(pairing) == [("x", "x.png", "x.TIF"), ("y", "y.JPG", "y.webp")]
    assert pairing.pairs[0].first.parent == first
    assert pairing.pairs[0].second.parent == second


def test_order_is_that_of_numbers(tmp_path: Path) -> None:
    files = ["s10.png", "s2.png", "S3.png", "s02.png"]
    pairing = match_folders(fill(tmp_path / "a", *files), fill(tmp_path / "b", *files))
    assert [pair.name for pair in pairing.pairs] == ["s02", "s2", "S3", "s10"]


def test_hidden_files_and_other_kinds_are_ignored(tmp_path: Path) -> None:
    others = [".y.png", "notes.txt", "coco.json", "1.xml", "Thumbs.db", ".cache/1.png"]
    others += ["folder.png/z", "@eaDir/1.png", "README"]
    pairing = match_folders(
        fill(tmp_path / "a", "x.png", *others), fill(tmp_path / "b", "x.png", *others)
    )
    assert names(pairing) == [("x", "x.png", "x.png")]
    assert not pairing.left_out


def test_files_without_a_partner_are_listed(tmp_path: Path) -> None:
    first = fill(tmp_path / "a", "1.png", "2.png", "12.png")
    second = fill(tmp_path / "b", "2.png", "3.png")
    assert match_folders(first, second).unpaired == [
        first / "1.png",
        first / "12.png",
        second / "3.png",
    ]


@pytest.mark.parametrize(
    ("first", "second", "name"),
    [
        ("01_vi.png", "01_ir.png", "01"),
        ("FLIR_0001_visible.jpg", "FLIR_0001_infrared.jpg", "FLIR_0001"),
        ("VIS1.bmp", "IR1.bmp", "1"),
        ("01VI.bmp", "01IR.bmp", "01"),
        ("rgb-tree.png", "Thermal tree.png", "tree"),
        ("a_pet.png", "a_MRI.png", "a"),
        ("07.png", "07_lwir.png", "07"),
        ("vi.png", "ir.png", "vi"),
        ("scene_vis_01.png", "scene_ir_01.png", "scene_01"),
        ("scene-rgb.01.png", "scene-TIR.01.png", "scene-01"),
        ("a1vi_2.png", "a1ir_2.png", "a1_2"),
        ("x_optical.png", "x_LWIR.png", "x"),
        ("f_rgb_3.jpg", "f_thermal_8_bit_3.jpeg", "f_3"),
        ("f_visible.png", "f_thermal16bit.tiff", "f"),
        ("first_vis_01.png", "first_ir_01.png", "first_01"),
        ("DJI_0001_W.JPG", "DJI_0001_T.JPG", "DJI_0001"),
        ("DJI_0001_V.JPG", "dji_0001_t.jpg", "DJI_0001"),
        (
            "DJI_20240101120000_0007_W_Point2.JPG",
            "DJI_20240101120000_0007_T_Point2.JPG",
            "DJI_20240101120000_0007_Point2",
        ),
    ],
)
def test_words_for_modalities_are_left_out(
    tmp_path: Path, first: str, second: str, name: str
) -> None:
    pairing = match_folders(fill(tmp_path / "a", first), fill(tmp_path / "b", second))
    assert names(pairing) == [(name, first, second)]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("chavi.png", "chair.png"),
        ("virus.png", "irrus.png"),
        ("1_w.png", "1_t.png"),
        ("DJI_0001_W2.png", "DJI_0001_T2.png"),
    ],
)
def test_words_within_words_are_no_modalities(tmp_path: Path, first: str, second: str) -> None:
    with pytest.raises(InputError):
        match_folders(fill(tmp_path / "a", first), fill(tmp_path / "b", second))


def test_stems_as_they_are_go_first(tmp_path: Path) -> None:
    first = fill(tmp_path / "a", "1.png", "1_vi.png", "2_vi.png")
    second = fill(tmp_path / "b", "1.png", "1_ir.png", "2_ir.png")
    assert names(match_folders(first, second)) == [
        ("1", "1.png", "1.png"),
        ("1_vi", "1_vi.png", "1_ir.png"),
        ("2", "2_vi.png", "2_ir.png"),
    ]


@pytest.mark.parametrize("files", [["x.jpg", "x.png"], ["x_rgb.png", "x_vi.png"]])
def test_two_files_for_one_side(tmp_path: Path, files: list[str]) -> None:
    folder = fill(tmp_path / "a", *files)
    with pytest.raises(InputError) as caught:
        match_folders(folder, fill(tmp_path / "b", "x_ir.png"))
    paths = f"{folder / files[0]}, {folder / files[1]} and {tmp_path / 'b' / 'x_ir.png'}"
    assert f"{paths} could all belong to one pair: rename them" in str(caught.value)


def test_no_pair_shows_an_example_of_each(tmp_path: Path) -> None:
    first, second = fill(tmp_path / "a", "cat.png", "cow.png"), fill(tmp_path / "b", "dog.png")
    with pytest.raises(InputError, match=r"\(cat.png, ...\) has a partner in .*\(dog.png, ...\)"):
        match_folders(first, second)


def test_folder_without_images(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"b holds no images: .*\.png, \.jpg"):
        match_folders(fill(tmp_path / "a", "x.png"), fill(tmp_path / "b", "x.txt"))


def test_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot open the folder .*nowhere"):
        match_folder(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("vi", "ir"),
        ("VIS", "IR"),
        ("visible_images", "Infrared-images"),
        ("RGB", "thermal"),
        ("PET", "MRI"),
        ("SPECT", "MR"),
        ("CT", "MRI"),
        ("colour", "NIR"),
        ("functional", "structural"),
        ("first", "second"),
        ("test_vi", "test_ir"),
        ("VISimages", "ir"),
        ("PET", "CT"),
        ("spect_img", "ct_img"),
        ("images_rgb_train", "images_thermal_train"),
        ("RGB", "thermal_8_bit"),
        ("Visible", "FIR"),
        ("optical", "tir"),
    ],
)
def test_two_subfolders_named_after_modalities(tmp_path: Path, first: str, second: str) -> None:
    fill(tmp_path, f"{first}/1.png", f"{second}/1.png", "labels/1.png", "readme.txt")
    pair = match_folder(tmp_path).pairs[0]
    assert pair == ("1", tmp_path / first / "1.png", tmp_path / second / "1.png")


def test_one_folder_with_tagged_files(tmp_path: Path) -> None:
    fill(tmp_path, "10_vi.png", "10_ir.png", "2_ir.png", "2_vi.png", "3_vi.png", "chair.png")
    pairing = match_folder(tmp_path)
    assert names(pairing) == [("2", "2_vi.png", "2_ir.png"), ("10", "10_vi.png", "10_ir.png")]
    assert pairing.unpaired == [tmp_path / "3_vi.png", tmp_path / "chair.png"]


def test_ct_is_first_or_second_after_its_partner(tmp_path: Path) -> None:
    fill(tmp_path, "1_ct.png", "1_pet.png", "2_mri.png", "2_ct.png", "3_SPECT.png", "3_CT.png")
    assert names(match_folder(tmp_path)) == [
        ("1", "1_pet.png", "1_ct.png"),
        ("2", "2_ct.png", "2_mri.png"),
        ("3", "3_SPECT.png", "3_CT.png"),
    ]


def test_three_modalities_of_one_scene_are_ambiguous(tmp_path: Path) -> None:
    fill(tmp_path, "1_ct.png", "1_pet.png", "1_mri.png")
    with pytest.raises(InputError, match=r"1_ct.png, .*1_mri.png and .*1_pet.png could all belong"):
        match_folder(tmp_path)


def test_of_two_words_the_last_counts(tmp_path: Path) -> None:
    fill(tmp_path, "first_floor_ir.png", "first_floor_vi.png")
    assert names(match_folder(tmp_path)) == [
        ("first_floor", "first_floor_vi.png", "first_floor_ir.png")
    ]


@pytest.mark.parametrize(
    "files",
    [
        ["1.png", "2.png"],
        ["vi/1.png", "1_ir.png"],
        ["a_vi/1.png", "a_ir/1.png", "b_vi/1.png", "b_ir/1.png", "c_vi.png", "c_ir.png"],
    ],
)
def test_one_folder_that_cannot_be_told_apart(tmp_path: Path, files: list[str]) -> None:
    fill(tmp_path, *files)
    found = sorted({name.split("/")[0] for name in files})
    with pytest.raises(InputError, match=f"holds {', '.join(found)}: .*vi and ir, rgb and"):
        match_folder(tmp_path)


def test_two_subfolders_for_one_side(tmp_path: Path) -> None:
    fill(tmp_path, "vi/1.png", "visible/1.png", "ir/1.png")
    with pytest.raises(InputError, match=r"ir, .*vi and .*visible could all belong to one pair"):
        match_folder(tmp_path)


def test_one_folder_or_two(tmp_path: Path) -> None:
    fill(tmp_path, "vi/1.png", "ir/1.png")
    assert pair_folders(tmp_path) == pair_folders(tmp_path / "vi", tmp_path / "ir")
    assert len(pair_folders(tmp_path).pairs) == 1


# Names that look equal


@pytest.mark.parametrize(
    ("first", "second", "name"),
    [
        ("caf\u00e9.png", "cafe\u0301.png", "caf\u00e9"),
        ("A.PNG", "a.png", "A"),
        ("Stra\u00dfe.png", "STRASSE.png", "Stra\u00dfe"),
        ("1.png", "0001.png", "1"),
        ("frame_007_vi.png", "Frame_7_IR.png", "frame_007"),
        ("scene 01.png", "scene-1.png", "scene 01"),
        ("DJI_20240101120000_0001_W.JPG", "DJI_20240101120001_0001_T.JPG", None),
        ("DJI_20240101115959_0001.JPG", "DJI_20240101120000_0001.JPG", None),
    ],
)
def test_names_that_look_equal(tmp_path: Path, first: str, second: str, name: str | None) -> None:
    pairing = match_folders(fill(tmp_path / "a", first), fill(tmp_path / "b", second))
    expected = name or first[: len("DJI_20240101120000_0001")]
    assert names(pairing) == [(expected, first, second)]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("1.05.png", "1.5.png"),
        ("1_1.png", "11.png"),
        ("10.png", "1.png"),
        ("e.png", "\u00e9.png"),
        ("\u0915\u093f_vi.png", "\u0915\u093e_ir.png"),  # two syllables of Devanagari
        ("DJI_20240101120000_0001_W.JPG", "DJI_20240101120010_0001_T.JPG"),
        ("DJI_20240101120000_0001_W.JPG", "DJI_20240101120001_0002_T.JPG"),
        ("DJI_20249901120000_0001_W.JPG", "DJI_20249901120001_0001_T.JPG"),
    ],
)
def test_names_that_differ(tmp_path: Path, first: str, second: str) -> None:
    with pytest.raises(InputError, match="has a partner in"):
        match_folders(fill(tmp_path / "a", first), fill(tmp_path / "b", second))


def test_stricter_matches_go_first(tmp_path: Path) -> None:
    first = fill(tmp_path / "a", "1.png", "01.png", "A.png", "a.png")
    second = fill(tmp_path / "b", "1.png", "001.png", "a.png", "A_ir.png")
    assert names(match_folders(first, second)) == [
        ("01", "01.png", "001.png"),
        ("1", "1.png", "1.png"),
        ("A", "A.png", "A_ir.png"),
        ("a", "a.png", "a.png"),
    ]


def test_numbers_count_before_their_padding(tmp_path: Path) -> None:
    fill(tmp_path, "1_vi.png", "01_vi.png", "01_ir.png", "1_ir.png")
    assert [pair.name for pair in match_folder(tmp_path).pairs] == ["01", "1"]


def test_order_words_in_folders_stand_alone(tmp_path: Path) -> None:
    fill(tmp_path, "first_run/1.png", "second_run/1.png")
    with pytest.raises(InputError, match="cannot tell the two sides"):
        match_folder(tmp_path)


def test_drone_images_of_two_flights(tmp_path: Path) -> None:
    """Both flights number from 1, and thermal images may be a second late."""
    fill(tmp_path, "DJI_20240101120000_0001_W.JPG", "DJI_20240101120001_0001_T.JPG")
    fill(tmp_path, "DJI_20240102120000_0001_W.JPG", "DJI_20240102120000_0001_T.JPG")
    fill(tmp_path, "DJI_20240103120000_0001_Z.JPG")
    pairing = match_folder(tmp_path)
    assert [pair.name for pair in pairing.pairs] == [
        "DJI_20240101120000_0001",
        "DJI_20240102120000_0001",
    ]
    assert [path.name for path in pairing.unpaired] == ["DJI_20240103120000_0001_Z.JPG"]


def test_many_candidates_are_not_all_named(tmp_path: Path) -> None:
    first = fill(tmp_path / "a", *(f"{'0' * count}1.png" for count in range(1, 10)))
    with pytest.raises(InputError) as caught:
        match_folders(first, fill(tmp_path / "b", "1.png"))
    assert str(caught.value).count(".png") == 5
    assert " and 5 more could all belong to one pair" in str(caught.value)


def test_two_files_of_one_stem_would_give_one_result(tmp_path: Path) -> None:
    first = fill(tmp_path / "a", "a.jpg", "a.png")
    with pytest.raises(InputError, match=r"a\.jpg, .*a\.png and .*a\.png could all belong"):
        match_folders(first, fill(tmp_path / "b", "a.png", "b.png"))


def test_names_are_unique(tmp_path: Path) -> None:
    """Of the words in front only one is left out, and two short names may be the same."""
    first = fill(tmp_path / "a", "1.png", "1_vi.png", "A_vi.png", "a.png")
    second = fill(tmp_path / "b", "1.png", "1_ir.png", "A_ir.png", "a.png")
    found = [pair.name for pair in match_folders(first, second).pairs]
    assert found == ["1", "1_vi", "a", "A_vi"]


# What is not taken is listed


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("y.heic", "heic files cannot be read, convert to PNG or TIFF"),
        ("y.DNG", "dng files cannot be read, convert to PNG or TIFF"),
        ("y.raw", "raw files cannot be read, convert to PNG or TIFF"),
        ("y.nii.gz", "nii.gz files cannot be read, convert to PNG or TIFF"),
        ("y/deep/1.png", "subfolder with images"),
        ("y/1.heic", "subfolder with images"),
    ],
)
def test_what_looks_like_an_image_is_listed(tmp_path: Path, name: str, reason: str) -> None:
    first, second = fill(tmp_path / "a", "x.png", name), fill(tmp_path / "b", "x.png")
    pairing = match_folders(first, second)
    assert names(pairing) == [("x", "x.png", "x.png")]
    [(path, why, setting)] = pairing.skipped
    assert (path, why) == (first / name.split("/")[0], reason)
    assert setting == ("recursive" if "/" in name else None)
    assert pairing.left_out == pairing.skipped


def test_links_are_followed_or_listed(tmp_path: Path) -> None:
    first = fill(tmp_path / "a", "x.png")
    second = fill(tmp_path / "b", "x.png")
    for name, target in [
        ("good.png", "x.png"),
        ("lost.png", "nowhere.png"),
        ("lost", "nowhere"),
        ("lost.txt", "nowhere.txt"),
        ("circle.png", "circle.png"),
        ("bare", "x.png"),
    ]:
        (first / name).symlink_to(target)
    pairing = match_folders(first, second)
    assert [path.name for path in pairing.unpaired] == ["good.png"]
    assert [(path.name, reason) for path, reason, _ in pairing.skipped] == [
        ("bare", "link to x.png without the suffix of an image"),
        ("circle.png", "broken link to circle.png"),
        ("lost", "broken link to nowhere"),
        ("lost.png", "broken link to nowhere.png"),
    ]


def test_pipes_are_listed(tmp_path: Path) -> None:
    if sys.platform == "win32":
        pytest.skip("this system has no named pipes")
    first, second = fill(tmp_path / "a", "x.png"), fill(tmp_path / "b", "x.png")
    os.mkfifo(first / "pipe.png")
    assert match_folders(first, second).skipped == [
        (first / "pipe.png", "not a regular file", None)
    ]


def test_every_readable_suffix_is_taken(tmp_path: Path) -> None:
    files = [f"{number}{suffix.upper()}" for number, suffix in enumerate(SUFFIXES)]
    pairing = match_folders(fill(tmp_path / "a", *files), fill(tmp_path / "b", *files))
    assert len(pairing.pairs) == len(SUFFIXES)
    assert not pairing.left_out


def test_folder_that_cannot_be_opened_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = fill(tmp_path / "a", "x.png", "shut/1.png"), fill(tmp_path / "b", "x.png")
    scandir: Any = os.scandir

    def refused(path: Path) -> Any:
        if path == first / "shut":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    for recursive in (False, True):
        skipped = match_folders(first, second, recursive=recursive).skipped
        assert skipped == [(first / "shut", "folder that cannot be opened", None)]


@pytest.mark.parametrize(
    ("files", "expected", "setting"),
    [
        (["s/1.png"], "holds images only in subfolders, such as s: include", "recursive"),
        (["1.heic"], r"holds no image that can be read \(heic files cannot be read", None),
    ],
)
def test_folder_without_images_of_its_own(
    tmp_path: Path, files: list[str], expected: str, setting: str | None
) -> None:
    with pytest.raises(InputError, match=f"a {expected}") as caught:
        match_folders(fill(tmp_path / "a", *files), fill(tmp_path / "b", "1.png"))
    assert caught.value.setting == setting


def test_beside_the_folders_of_the_sides(tmp_path: Path) -> None:
    """Stray images are listed; labels and the like are mentioned, but are no failure."""
    fill(tmp_path, "vi/1.png", "ir/1.png", "x.png", "y.heic", "labels/1.png", "notes/1.txt")
    pairing = match_folder(tmp_path)
    assert [path.name for path, *_ in pairing.left_out] == ["x.png", "y.heic"]
    labels = tmp_path / "labels"
    assert pairing.notes == [f"{labels} holds images too, but is named like neither side."]


# Subfolders


def test_subfolders_are_paired_if_asked(tmp_path: Path) -> None:
    files = ["0001.png", "s2/0001.png", "s10/deep/0001.png"]
    first, second = fill(tmp_path / "a", *files), fill(tmp_path / "b", *files)
    pairing = pair_folders(first, second, recursive=True)
    assert [pair.name for pair in pairing.pairs] == ["0001", "s2/0001", "s10/deep/0001"]
    assert pairing.pairs[1] == ("s2/0001", first / files[1], second / files[1])
    assert not pairing.left_out
    assert [pair.name for pair in pair_folders(first, second).pairs] == ["0001"]


def test_subfolders_pair_as_files_do(tmp_path: Path) -> None:
    first = fill(tmp_path / "a", "Scene1/vis/1_rgb.png", "scene02_vi/1.png", "lone/1.png")
    second = fill(tmp_path / "b", "scene1/ir/1_rgb.png", "scene2_ir/001.png")
    pairing = pair_folders(first, second, recursive=True)
    assert [pair.name for pair in pairing.pairs] == ["Scene1/1_rgb", "scene02/1"]
    assert pairing.unpaired == [first / "lone/1.png"]


def test_one_folder_with_sides_at_any_depth(tmp_path: Path) -> None:
    fill(tmp_path, "vi/a/1.png", "ir/a/1.png", "s1/RGB/01.png", "s1/thermal_8_bit/1.png")
    fill(tmp_path, "s2/1_vi.png", "s2/1_ir.png", "s3/vi/1_color.png", "s3/ir/1_color.png")
    fill(tmp_path, "rgb_and_thermal/x_ir.png", "rgb_and_thermal/x_vi.png", "s1/labels/01.png")
    pairing = pair_folders(tmp_path, recursive=True)
    assert {pair.name for pair in pairing.pairs} == {
        *("a/1", "s1/01", "s2/1", "s3/1_color", "rgb_and_thermal/x"),
    }
    assert all("ir" in str(pair.second) or "thermal" in str(pair.second) for pair in pairing.pairs)
    assert not pairing.left_out
    labels = tmp_path / "s1/labels"
    assert pairing.notes == [f"{labels} holds images too, but is named like neither side."]


def test_one_folder_whose_sides_are_deeper(tmp_path: Path) -> None:
    fill(tmp_path, "test/vi/1.png", "test/ir/1.png")
    with pytest.raises(InputError, match="cannot tell the two sides") as caught:
        match_folder(tmp_path)
    assert caught.value.setting == "recursive"


def test_folders_of_results_are_no_sources(tmp_path: Path) -> None:
    fill(tmp_path, "1_vi.png", "1_ir.png", "out/1.png")
    for recursive in (False, True):
        pairing = pair_folders(tmp_path, recursive=recursive, leave_out=[tmp_path / "out"])
        assert len(pairing.pairs) == 1
        assert not pairing.left_out


def test_results_may_go_to_the_folder_of_a_side(tmp_path: Path) -> None:
    fill(tmp_path, "vi/1.png", "ir/1.png")
    assert len(pair_folders(tmp_path, leave_out=[tmp_path / "vi"]).pairs) == 1


def test_one_side_within_the_other(tmp_path: Path) -> None:
    root = fill(tmp_path / "a", "1.png", "ir/1.png")
    for recursive in (False, True):
        pairing = pair_folders(root, root / "ir", recursive=recursive)
        assert pairing.pairs == [("1", root / "1.png", root / "ir/1.png")]
        assert not pairing.left_out


def test_links_that_lead_back_are_listed(tmp_path: Path) -> None:
    first, second = fill(tmp_path / "a", "s/1.png"), fill(tmp_path / "b", "s/1.png")
    (first / "t").symlink_to("s")
    (first / "s" / "up").symlink_to("..")
    (first / "z").symlink_to(second)
    pairing = pair_folders(first, second, recursive=True)
    assert [pair.name for pair in pairing.pairs] == ["s/1"]
    assert pairing.skipped == [(first / "t", f"link to {first / 's'}, already listed", None)]


# Sides that are swapped


@pytest.mark.parametrize(
    ("first", "second", "noted"),
    [
        ("ir/1.png", "vi/1.png", True),
        ("vi/1.png", "ir/1.png", False),
        ("thermal/data/1.png", "VISimages/data/1.png", True),
        ("mri/1.png", "ct/1.png", True),
        ("ct/1.png", "pet/1.png", True),
        ("pet/1.png", "ct/1.png", False),
        ("a/1_ir.png", "b/1_vi.png", True),
        ("a/1_vi.png", "b/1_ir.png", False),
        ("a/1.png", "vi/1.png", False),
        ("ir/1_x.png", "nir/1_x.png", False),
    ],
)
def test_swapped_sides_are_noted(tmp_path: Path, first: str, second: str, noted: bool) -> None:
    fill(tmp_path, first, second)
    one, other = (tmp_path / name for name in (first, second))
    pairing = match_folders(one.parent, other.parent)
    assert len(pairing.pairs) == 1
    assert len(pairing.notes) == noted
    assert all("swap them if the colours are wrong." in note for note in pairing.notes)


# Laws

STEMS = st.builds(
    "{}{}{}".format,
    st.sampled_from(["", "a", "A", "\u00e9", "e\u0301", "scene "]),
    st.sampled_from(["", "1", "01", "_2", "-2"]),
    st.sampled_from(["", "", "_vi", "_ir", "_CT", "_x"]),
).filter(bool)
FILES = st.lists(
    st.builds(
        "{}{}{}".format,
        st.sampled_from(["", "", "s1/", "s01/"]),
        STEMS,
        st.sampled_from([".png", ".png", ".TIF", ".heic", ".txt"]),
    ),
    max_size=8,
    unique=True,
)


def sorted_out(*sides: Sequence[str]) -> Any:
    """Pairs, images without a partner and the rest as names, or None where that is an error."""
    with TemporaryDirectory() as place:
        root = Path(place)
        folders = [fill(root / str(number), *side) for number, side in enumerate(sides)]
        try:
            pairing = pair_folders(*folders, recursive=True)
        except InputError:
            return None

        def name(path: Path) -> str:
            return str(path.relative_to(root))

        assert len({pair.name for pair in pairing.pairs}) == len(pairing.pairs)
        return (
            {(name(first), name(second)) for _, first, second in pairing.pairs},
            [name(path) for path in pairing.unpaired],
            [name(path) for path, *_ in pairing.skipped],
        )


@settings(max_examples=100, deadline=None)
@given(st.lists(FILES, min_size=1, max_size=2))
def test_every_image_is_in_one_list(sides: list[list[str]]) -> None:
    if found := sorted_out(*sides):
        pairs, unpaired, skipped = found
        listed = [*(path for pair in pairs for path in pair), *unpaired, *skipped]
        files = [f"{number}/{name}" for number, side in enumerate(sides) for name in side]
        assert sorted(listed) == sorted(name for name in files if not name.endswith(".txt"))


@settings(max_examples=50, deadline=None)
@given(FILES, FILES)
def test_swapped_folders_have_the_same_pairs(first: list[str], second: list[str]) -> None:
    there, back = sorted_out(first, second), sorted_out(second, first)
    assert (there is None) == (back is None)
    if there:
        assert {(f"0{two[1:]}", f"1{one[1:]}") for one, two in there[0]} == back[0]


@settings(max_examples=50, deadline=None)
@given(FILES, FILES)
def test_the_same_prefix_on_both_sides_changes_no_pair(first: list[str], second: list[str]) -> None:
    def longer(path: str) -> str:
        folder, slash, name = path.rpartition("/")
        return f"{folder}{slash}new_{name}"

    before = sorted_out(first, second)
    after = sorted_out([*map(longer, first)], [*map(longer, second)])
    assert (before is None) == (after is None)
    if before:
        assert {tuple(map(longer, pair)) for pair in before[0]} == after[0]
