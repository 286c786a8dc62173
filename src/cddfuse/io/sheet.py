"""Show images side by side: one row per scene, one column per image."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from cddfuse.io.images import quantize

_DARK, _LIGHT = (24, 24, 24), (232, 232, 232)
_MARGIN = 8


def contact_sheet(
    rows: Sequence[Sequence[Tensor]],
    *,
    headings: Sequence[str],
    names: Sequence[str] = (),
    width: int = 320,
) -> Image.Image:
    """Draw a comparison sheet.

    Args:
        rows: images (C, H, W) in [0, 1] of any size, C being 1 or 3; as many in each as headings.
        headings: above the columns.
        names: above the rows; none or one for each.
        width: of a column, in pixels; images are scaled to it.
    """
    _require_table(rows, headings, names)
    cells = [[_scaled(image, width) for image in row] for row in rows]
    caption = max(12, width // 18) + _MARGIN
    gap = caption if names else 0
    heights = [max(cell.height for cell in row) + gap + _MARGIN for row in cells]
    size = (_MARGIN + len(headings) * (width + _MARGIN), _MARGIN + caption + sum(heights))
    sheet = Image.new("RGB", size, _DARK)
    columns = [_MARGIN + index * (width + _MARGIN) for index in range(len(headings))]
    for left, heading in zip(columns, headings, strict=True):
        _write(sheet, heading, (left, _MARGIN), caption - _MARGIN, width)
    top = _MARGIN + caption
    for index, (row, height) in enumerate(zip(cells, heights, strict=True)):
        if names:
            _write(sheet, names[index], (_MARGIN, top), caption - _MARGIN, size[0] - 2 * _MARGIN)
        for left, cell in zip(columns, row, strict=True):
            sheet.paste(cell, (left, top + gap))
        top += height
    return sheet


def stacked(*sheets: Image.Image) -> Image.Image:
    """Sheets one above the other."""
    size = max(sheet.width for sheet in sheets), sum(sheet.height for sheet in sheets)
    whole = Image.new("RGB", size, _DARK)
    top = 0
    for sheet in sheets:
        whole.paste(sheet, (0, top))
        top += sheet.height
    return whole


def _require_table(
    rows: Sequence[Sequence[Tensor]], headings: Sequence[str], names: Sequence[str]
) -> None:
    if not rows or any(len(row) != len(headings) for row in rows):
        lengths = [len(row) for row in rows]
        raise ValueError(f"rows of {lengths} images, {len(headings)} headings: one for each image.")
    if names and len(names) != len(rows):
        raise ValueError(f"{len(names)} names for {len(rows)} rows: give one for each, or none.")


def _scaled(image: Tensor, width: int) -> Image.Image:
    picture = Image.fromarray(quantize(image)).convert("RGB")
    height = max(1, round(picture.height * width / picture.width))
    return picture.resize((width, height), Image.Resampling.LANCZOS)


def _write(sheet: Image.Image, text: str, at: tuple[int, int], size: int, room: int) -> None:
    """Write one line; what does not fit is cut and ends in dots."""
    font = ImageFont.load_default(size)
    shown = text
    while font.getlength(shown) > room and text:
        text = text[:-1]
        shown = f"{text}..."
    ImageDraw.Draw(sheet).text(at, shown, _LIGHT, font)
