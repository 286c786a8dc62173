"""Show images side by side: one row per scene, one column per image."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from cddfuse.errors import InputError
from cddfuse.io.images import quantize
from cddfuse.io.regions import Region

_DARK, _LIGHT = (24, 24, 24), (232, 232, 232)
_PAPER, _INK = (255, 255, 255), (0, 0, 0)
_MARGIN = 8
_FRAMES = ((235, 50, 40), (250, 200, 30), (40, 190, 250), (90, 210, 80))
_DPI = 100  # pixels of a sheet to an inch of a PDF

Cell = Tensor | Image.Image
"""An image (C, H, W) in [0, 1], C being 1 or 3, or a picture."""


class Caption(NamedTuple):
    """A line of text on a sheet, in pixels."""

    text: str
    left: int
    top: int
    size: int
    room: int
    """How wide it can be."""


class Sheet(NamedTuple):
    """Where everything is on a sheet, in pixels."""

    width: int
    height: int
    pictures: list[tuple[Image.Image, int, int]]
    """With left and top."""

    captions: list[Caption]


def contact_sheet(
    rows: Sequence[Sequence[Cell]],
    *,
    headings: Sequence[str],
    names: Sequence[str] = (),
    width: int = 320,
    paper: bool = False,
) -> Image.Image:
    """Draw a comparison sheet.

    Args:
        rows: images or pictures of any size; as many in each as headings.
        headings: above the columns.
        names: above the rows; none or one for each.
        width: of a column, in pixels; images are scaled to it.
        paper: black on white.
    """
    return drawn(arranged(rows, headings=headings, names=names, width=width), paper=paper)


def arranged(
    rows: Sequence[Sequence[Cell]],
    *,
    headings: Sequence[str],
    names: Sequence[str] = (),
    width: int = 320,
) -> Sheet:
    """Arrange what `contact_sheet` draws; arguments are the same."""
    _require_table(rows, headings, names)
    cells = [[_scaled(image, width) for image in row] for row in rows]
    size = max(12, width // 18)
    caption = size + _MARGIN
    gap = caption if names else 0
    heights = [max(cell.height for cell in row) + gap + _MARGIN for row in cells]
    sheet = Sheet(
        _MARGIN + len(headings) * (width + _MARGIN), _MARGIN + caption + sum(heights), [], []
    )
    columns = [_MARGIN + index * (width + _MARGIN) for index in range(len(headings))]
    for left, heading in zip(columns, headings, strict=True):
        sheet.captions.append(Caption(heading, left, _MARGIN, size, width))
    top = _MARGIN + caption
    for index, (row, height) in enumerate(zip(cells, heights, strict=True)):
        if names:
            room = sheet.width - 2 * _MARGIN
            sheet.captions.append(Caption(names[index], _MARGIN, top, size, room))
        for left, cell in zip(columns, row, strict=True):
            sheet.pictures.append((cell, left, top + gap))
        top += height
    return sheet


def drawn(sheet: Sheet, *, paper: bool = False) -> Image.Image:
    """A sheet as a picture."""
    ground, ink = (_PAPER, _INK) if paper else (_DARK, _LIGHT)
    whole = Image.new("RGB", (sheet.width, sheet.height), ground)
    for picture, left, top in sheet.pictures:
        whole.paste(picture, (left, top), picture if picture.mode == "RGBA" else None)
    for caption in sheet.captions:
        font = ImageFont.load_default(caption.size)
        at = (caption.left, caption.top)
        ImageDraw.Draw(whole).text(at, _shortened(caption), ink, font)
    return whole


def legend(entries: Sequence[tuple[str, tuple[int, int, int]]], width: int) -> Image.Image:
    """What colours mean: a square of each and its name, in as many lines as the width needs."""
    size = 14
    font, step = ImageFont.load_default(size), size + _MARGIN
    places, left, top = [], _MARGIN, _MARGIN
    for name, _ in entries:
        room = size + _MARGIN + round(font.getlength(name))
        if left + room + _MARGIN > width and left > _MARGIN:
            left, top = _MARGIN, top + step
        places.append((left, top))
        left += room + 2 * _MARGIN
    whole = Image.new("RGB", (width, top + step), _DARK)
    painter = ImageDraw.Draw(whole)
    for (name, colour), (left, top) in zip(entries, places, strict=True):
        painter.rectangle((left, top, left + size - 1, top + size - 1), colour)
        painter.text((left + size + _MARGIN, top - 1), name, _LIGHT, font)
    return whole


def require_matplotlib() -> None:
    """Refuse early where no PDF can be written."""
    if find_spec("matplotlib") is None:
        raise InputError("figures need one more package: pip install 'cddfuse[figures]'.")


def write_pdf(path: Path, sheet: Sheet) -> None:
    """Write a sheet for a paper: text as text, pictures without loss, black on white."""
    require_matplotlib()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(sheet.width / _DPI, sheet.height / _DPI), dpi=_DPI)
    for picture, left, top in sheet.pictures:
        place = (
            left / sheet.width,
            1 - (top + picture.height) / sheet.height,
            picture.width / sheet.width,
            picture.height / sheet.height,
        )
        axes = figure.add_axes(place)
        axes.imshow(np.asarray(picture), interpolation="none", aspect="auto")
        axes.set_axis_off()
    for caption in sheet.captions:
        figure.text(
            caption.left / sheet.width,
            1 - caption.top / sheet.height,
            _shortened(caption).replace("$", r"\$"),  # not as a formula
            fontsize=caption.size * 72 / _DPI,
            verticalalignment="top",
        )
    figure.savefig(path, format="pdf", metadata={"CreationDate": None})


def zoomed(image: Tensor, regions: Sequence[Region], width: int) -> Image.Image:
    """An image with framed regions, and below it each of them enlarged, in a frame of its colour.

    Args:
        image: (C, H, W) in [0, 1], C being 1 or 3.
        regions: inside the image; none leaves the image alone.
        width: of the picture, in pixels.
    """
    picture = _scaled(image, width)
    if not regions:
        return picture
    scale, line = width / image.shape[-1], max(2, width // 120)
    original = Image.fromarray(quantize(image)).convert("RGB")
    side = (width - _MARGIN // 2 * (len(regions) - 1)) // len(regions)
    crops = [_enlarged(original, region, side) for region in regions]
    height = picture.height + _MARGIN // 2 + max(crop.height for crop in crops)
    whole = Image.new("RGBA", (width, height))
    for index, (region, crop) in enumerate(zip(regions, crops, strict=True)):
        colour = _FRAMES[index % len(_FRAMES)]
        left, top = round(region.left * scale), round(region.top * scale)
        right = max(left + 2 * line, round((region.left + region.width) * scale))
        bottom = max(top + 2 * line, round((region.top + region.height) * scale))
        ImageDraw.Draw(picture).rectangle((left, top, right - 1, bottom - 1), None, colour, line)
        ends = (0, 0, crop.width - 1, crop.height - 1)
        ImageDraw.Draw(crop).rectangle(ends, None, colour, line)
        place = (index * (side + _MARGIN // 2), picture.height + _MARGIN // 2)
        whole.paste(crop, place)
    whole.paste(picture, (0, 0))
    return whole


def stacked(*sheets: Image.Image) -> Image.Image:
    """Sheets one above the other."""
    size = max(sheet.width for sheet in sheets), sum(sheet.height for sheet in sheets)
    whole = Image.new("RGB", size, _DARK)
    top = 0
    for sheet in sheets:
        whole.paste(sheet, (0, top))
        top += sheet.height
    return whole


def _enlarged(original: Image.Image, region: Region, width: int) -> Image.Image:
    left, top = region.left, region.top
    crop = original.crop((left, top, left + region.width, top + region.height))
    height = max(1, round(region.height * width / region.width))
    return crop.resize((width, height), Image.Resampling.BICUBIC)


def _require_table(
    rows: Sequence[Sequence[Cell]], headings: Sequence[str], names: Sequence[str]
) -> None:
    if not rows or any(len(row) != len(headings) for row in rows):
        lengths = [len(row) for row in rows]
        raise ValueError(f"rows of {lengths} images, {len(headings)} headings: one for each image.")
    if names and len(names) != len(rows):
        raise ValueError(f"{len(names)} names for {len(rows)} rows: give one for each, or none.")


def _scaled(image: Cell, width: int) -> Image.Image:
    if isinstance(image, Image.Image):
        if image.width == width:
            return image
        picture = image
    else:
        picture = Image.fromarray(quantize(image)).convert("RGB")
    height = max(1, round(picture.height * width / picture.width))
    return picture.resize((width, height), Image.Resampling.LANCZOS)


def _shortened(caption: Caption) -> str:
    """One line; what does not fit is cut and ends in dots."""
    font = ImageFont.load_default(caption.size)
    text = shown = caption.text
    while font.getlength(shown) > caption.room and text:
        text = text[:-1]
        shown = f"{text}..."
    return shown
