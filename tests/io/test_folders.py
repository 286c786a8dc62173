"""Files of one or two folders find their partners."""

from pathlib import Path

import pytest

from cddfuse.errors import InputError
from cddfuse.io import Pairing, match_folder, match_folders, pair_folders


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
    first = fill(tmp_path / "a", "x.png", ".y.png", "x.txt", "folder.png/z")
    second = fill(tmp_path / "b", "x.png", ".y.png", "Thumbs.db", "folder.png/z")
    pairing = match_folders(first, second)
    assert names(pairing) == [("x", "x.png", "x.png")]
    assert not pairing.unpaired


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
    ],
)
def test_words_for_modalities_are_left_out(
    tmp_path: Path, first: str, second: str, name: str
) -> None:
    pairing = match_folders(fill(tmp_path / "a", first), fill(tmp_path / "b", second))
    assert names(pairing) == [(name, first, second)]


@pytest.mark.parametrize(
    ("first", "second"), [("chavi.png", "chair.png"), ("virus.png", "irrus.png")]
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
    assert f"{folder / files[0]} and {folder / files[1]} could both be" in str(caught.value)


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
    with pytest.raises(InputError, match=f"holds {', '.join(found)}: .*vi/vis/.*ir/inf/"):
        match_folder(tmp_path)


def test_two_subfolders_for_one_side(tmp_path: Path) -> None:
    fill(tmp_path, "vi/1.png", "visible/1.png", "ir/1.png")
    with pytest.raises(InputError, match=r"vi and .*visible could both be one side"):
        match_folder(tmp_path)


def test_one_folder_or_two(tmp_path: Path) -> None:
    fill(tmp_path, "vi/1.png", "ir/1.png")
    assert pair_folders(tmp_path) == pair_folders(tmp_path / "vi", tmp_path / "ir")
    assert len(pair_folders(tmp_path).pairs) == 1
