"""Comparison sheets: every image and region in its place; what cannot be shown is said."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cddfuse import write_image
from cddfuse.cli import run
from cddfuse.errors import InputError
from cddfuse.io.regions import Region, parse_regions
from cddfuse.io.sheet import contact_sheet, zoomed

Say = pytest.CaptureFixture[str]


def test_regions_as_users_write_them() -> None:
    found = parse_regions(["01:1,2,3,4", "msrs/a:b=5,6,7,8", "01:0,0,9,9"])
    assert found == {
        "01": [Region(1, 2, 3, 4), Region(0, 0, 9, 9)],
        "msrs/a:b": [Region(5, 6, 7, 8)],
    }


@pytest.mark.parametrize("word", ["01", "01:1,2,3", "01:1,2,3,0", ":1,2,3,4", "01:-1,2,3,4", ""])
def test_what_is_no_region(word: str) -> None:
    with pytest.raises(InputError, match="no region of an image") as error:
        parse_regions([word])
    assert error.value.setting == "crops"


def test_regions_are_framed_and_enlarged() -> None:
    image = torch.zeros(1, 40, 80)
    image[:, 10:20, 20:40] = 1
    picture = zoomed(image, [Region(20, 10, 20, 10), Region(0, 0, 10, 10)], width=160)
    pixels = np.asarray(picture)
    assert picture.size == (160, 80 + 4 + 78)
    red, yellow = (235, 50, 40), (250, 200, 30)
    framed = np.argwhere((pixels[:80, :, :3] == red).all(-1))
    assert framed.min(0).tolist() == [20, 40]
    assert framed.max(0).tolist() == [39, 79]
    assert tuple(pixels[84, 0, :3]) == red
    assert tuple(pixels[84, 82, :3]) == yellow
    assert (pixels[90:115, 10:70, :3] == 255).all()  # the first region holds nothing but white
    assert pixels[84 + 39 :, :78, 3].max() == 0  # below a lower crop there is nothing
    paper = np.asarray(contact_sheet([[picture]], headings=["x"], width=160, paper=True))
    assert (paper[-9] == 255).any()


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    random = torch.Generator().manual_seed(0)
    for side in ("vi", "ir", "tool"):
        for name in ("1", "2", "3"):
            write_image(tmp_path / side / f"{name}.png", torch.rand(1, 24, 32, generator=random))
    return tmp_path


def drawn(folders: Path, *more: str, output: str = "figure") -> int:
    given = ("sheet", str(folders / "vi"), str(folders / "ir"), "-o", str(folders / output))
    return run([*given, "--fused", f"ours={folders / 'tool'}", "--models", "max", *more])


def test_png_and_pdf(folders: Path, capsys: Say) -> None:
    assert drawn(folders, "--crops", "2:4,4,8,8", "--width", "64") == 0
    assert "showing 1 of 3 pairs" in capsys.readouterr().err
    with Image.open(folders / "figure.png") as figure:
        assert figure.width == 8 + 4 * (64 + 8)
    pdf = (folders / "figure.pdf").read_bytes()
    assert pdf.startswith(b"%PDF")
    assert pdf.count(b"/Subtype /Image") - pdf.count(b"/SMask") == 4  # masks are images too
    assert drawn(folders) == 2
    assert "exists already" in capsys.readouterr().err
    assert drawn(folders, "--overwrite", "--limit", "2", "--no-sources") == 0
    assert "showing 2 of 3 pairs" in capsys.readouterr().err


def test_the_images_of_a_row_are_those_of_its_columns(folders: Path) -> None:
    for side, level in (("vi", 0.2), ("ir", 0.4), ("tool", 0.6)):
        image = torch.full((1, 64, 64), level)
        write_image(folders / side / "1.png", image, overwrite=True)
    assert drawn(folders, "--scenes", "1", "--width", "64") == 0
    with Image.open(folders / "figure.png") as figure:
        row = np.asarray(figure.convert("L"))[-20, 40::72]
    assert row.tolist() == [51, 102, 153, 102]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--scenes", "9"], "no pair 9: there are 1, 2, 3"),
        (["--crops", "1:20,0,20,4"], "leaves the image, which is 32x24"),
        (["--fused", "nowhere"], "no heading"),
        (["--fused", "max=tool"], "two columns are called max"),
        (["--models", "nothing"], "no network nothing"),
        (["--width", "4"], "too narrow"),
        (["--limit", "0"], "0 scenes"),
    ],
)
def test_what_cannot_be_shown(folders: Path, capsys: Say, more: list[str], message: str) -> None:
    assert drawn(folders, *more) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not (folders / "figure.png").exists()


def test_other_formats_are_refused(folders: Path, capsys: Say) -> None:
    assert drawn(folders, output="figure.svg") == 2
    assert "end its name in .png or .pdf" in capsys.readouterr().err


def test_results_that_lack_a_scene_or_differ_in_size(folders: Path, capsys: Say) -> None:
    (folders / "tool" / "2.png").unlink()
    assert drawn(folders) == 2
    assert "ours has no result of 2" in capsys.readouterr().err
    write_image(folders / "tool" / "2.png", torch.rand(1, 12, 16))
    assert drawn(folders) == 2
    assert "so regions differ" in capsys.readouterr().err
