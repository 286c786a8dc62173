"""The comparison sheet: every image in its place, captions above."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from cddfuse.io import contact_sheet

RED, GREEN, BLUE = (torch.eye(3)[index][:, None, None] for index in range(3))


def area(colour: Tensor, height: int = 20, width: int = 40) -> Tensor:
    return colour.expand(-1, height, width)


def box(sheet: Image.Image, colour: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of what has exactly one colour, which must fill its box."""
    rows, columns = np.nonzero((np.asarray(sheet) == colour).all(-1))
    left, top, right, bottom = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    assert len(rows) == (right - left) * (bottom - top)
    return int(left), int(top), int(right), int(bottom)


def test_rows_are_scenes_and_columns_are_images() -> None:
    grey = torch.full((1, 20, 40), 0.5)
    rows = [[area(RED), area(GREEN, 10)], [area(BLUE), grey]]
    sheet = contact_sheet(rows, headings=["", ""], width=80)
    red, green = box(sheet, (255, 0, 0)), box(sheet, (0, 255, 0))
    blue, middle = box(sheet, (0, 0, 255)), box(sheet, (128, 128, 128))
    sizes = [(right - left, low - top) for left, top, right, low in (red, green, blue, middle)]
    assert sizes == [(80, 40), (80, 20), (80, 40), (80, 40)]
    assert red[0] == blue[0]
    assert green[0] == middle[0] > red[2]
    assert red[1] == green[1]
    assert blue[1] == middle[1] > red[3]


def lit_rows(sheet: Image.Image) -> list[int]:
    """Lines of the sheet where there is writing: its background and these pictures are dark."""
    bright = np.asarray(sheet.convert("L")) > 100
    return [int(row) for row in np.nonzero(bright.any(1))[0]]


def test_captions_stand_above_what_they_name() -> None:
    black = torch.zeros(1, 100, 100)
    plain = contact_sheet([[black]], headings=[""], width=100)
    headed = contact_sheet([[black]], headings=["fused"], width=100)
    named = contact_sheet([[black], [black]], headings=[""], names=["", "tree"], width=100)
    assert not lit_rows(plain)
    assert 0 < lit_rows(headed)[0] <= lit_rows(headed)[-1] < headed.height - 100
    assert 100 < lit_rows(named)[0] <= lit_rows(named)[-1] < named.height - 100


def test_long_captions_stay_in_their_column() -> None:
    black = torch.zeros(1, 10, 10)
    sheet = contact_sheet([[black, black]], headings=["long " * 99, ""], width=100)
    bright = np.asarray(sheet.convert("L")) > 100
    assert bright[:, :108].any()
    assert not bright[:, 109:].any()


@pytest.mark.parametrize(
    ("rows", "headings", "names", "message"),
    [
        ([], ["a"], [], "one for each image"),
        ([[RED], [RED, RED]], ["a"], [], r"rows of \[1, 2\] images, 1 headings"),
        ([[RED]], ["a"], ["x", "y"], "2 names for 1 rows"),
    ],
)
def test_tables_that_do_not_add_up(
    rows: list[list[Tensor]], headings: list[str], names: list[str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        contact_sheet(rows, headings=headings, names=names)
