"""Images of a report: which ones to show, and how they are embedded."""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from torch import Tensor

from cddfuse.benchmark.cells import Settings, open_pairs, pair_names, picture_path
from cddfuse.benchmark.plan import Plan
from cddfuse.benchmark.tables import Table
from cddfuse.errors import InputError
from cddfuse.evaluate import BASELINES
from cddfuse.evaluate.protocol import rows
from cddfuse.evaluate.sources import GreyImages
from cddfuse.io import read_image
from cddfuse.io.images import quantize
from cddfuse.metrics.tc import SMALL, Box, targets
from cddfuse.pair import ImagePair

_WIDTH = 480  # of an embedded image, pixels
_CROP = 144
_CROPS = 2  # of an image, where none are given
_LEAST = 40  # side of a crop, pixels

Crops = Mapping[tuple[str, str], Sequence[Box]]
"""Regions by data set and image."""


class Picture(NamedTuple):
    """One pair with all results, as data URIs by row."""

    name: str
    size: str
    images: dict[str, str]
    crops: list[tuple[str, dict[str, str]]]
    """What a region is, and how it looks in each row."""


def parse_crops(words: Sequence[str]) -> dict[tuple[str, str], list[Box]]:
    """Regions of words DATA/IMAGE=LEFT,TOP,WIDTH,HEIGHT."""
    found: dict[tuple[str, str], list[Box]] = {}
    for word in words:
        place, _, numbers = word.rpartition("=")
        data, _, image = place.partition("/")
        try:
            left, top, width, height = (int(number) for number in numbers.split(","))
            valid = bool(image) and min(left, top) >= 0 and min(width, height) > 0
        except ValueError:
            valid = False
        if not valid:
            raise InputError(
                f"{word} is no region: write DATA/IMAGE=LEFT,TOP,WIDTH,HEIGHT.", setting="crops"
            )
        found.setdefault((data, image), []).append(Box(left, top, left + width, top + height))
    return found


def require_regions(plan: Plan, settings: Settings, crops: Crops) -> None:
    """Refuse regions of data sets or images that are not in the plan, and those outside."""
    known = {data.name: data for data in plan.data}
    for (data, image), boxes in crops.items():
        if data not in known:
            raise InputError(
                f"the region of {data}/{image} is of no data set here: use {', '.join(known)}.",
                setting="crops",
            )
        names = [pair.name for pair in pair_names(known[data], settings)]
        if image not in names:
            raise InputError(
                f"the region of {data}/{image} is of no pair that is scored: name one, such as "
                f"{next(iter(names), 'none')}.",
                setting="crops",
            )
        entries = GreyImages(open_pairs(known[data], settings), limit=settings.limit)
        found = next(entry for entry in entries if entry.name == image)
        height, width = found.read().pair.first.shape[-2:]
        for box in boxes:
            if box.right > width or box.bottom > height:
                raise InputError(
                    f"the region {box.left},{box.top},{box.right - box.left},"
                    f"{box.bottom - box.top} of {data}/{image} is not within its {width}x{height} "
                    "pixels: choose another.",
                    setting="crops",
                )


def worst_images(table: Table) -> dict[str, list[int]]:
    """Images of a table for each method, the worst first.

    By the mean over the metrics of the standardised values (better is higher), so that no unit
    counts more than another.
    """
    found = {}
    for label in table.methods:
        scores = []
        for column in table.columns:
            values = np.array(table.values[label][column.name])
            finite = np.where(np.isfinite(values), values, np.nan)
            if np.isfinite(finite).sum() < 2 or not np.nanstd(finite):
                continue
            score = (finite - np.nanmean(finite)) / np.nanstd(finite)
            scores.append(score if column.metric.better == "higher" else -score)
        if scores:
            every = np.nan_to_num(np.array(scores)).mean(0)
            found[label] = np.argsort(every, kind="stable").tolist()
    return found


def choose(table: Table, count: int, crops: Crops) -> list[int]:
    """Images to show: those with regions, the worst of each method, then evenly spaced ones."""
    total = len(table.images)
    wanted = [i for i, name in enumerate(table.images) if (table.data.name, name) in crops]
    worst = list(worst_images(table).values())
    even = np.linspace(0, total - 1, min(count, total)).round().astype(int).tolist()
    half = max(count // 2, 1)
    order = [
        *wanted,
        *list(dict.fromkeys(order[0] for order in worst))[:half],
        *even,
        *range(total),
    ]
    return sorted(list(dict.fromkeys(order))[:count])


def pictures(
    table: Table, settings: Settings, out: Path, count: int, crops: Crops
) -> list[Picture]:
    """Images of a table with their results; those that cannot be read are left out."""
    if count < 1:
        return []
    names = {table.images[index] for index in choose(table, count, crops)}
    found = []
    for entry in GreyImages(open_pairs(table.data, settings), limit=settings.limit):
        if entry.name in names:
            try:
                pair = entry.read().pair
            except Exception:  # it may have gone since it was scored
                continue
            regions = crops.get((table.data.name, entry.name)) or _warm(table, pair)
            found.append(_picture(table, pair, out, regions))
    return found


def _warm(table: Table, pair: ImagePair) -> list[Box]:
    """The regions of the targets of the infrared, or functional, image with most contrast."""
    source = pair.second if table.data.task == "ivf" else pair.first
    levels = (source[0] * 255).round().numpy()
    ordered = sorted(targets(levels, SMALL), key=lambda target: -target.contrast(levels))
    height, width = levels.shape
    return [_region(target.window, height, width) for target in ordered[:_CROPS]]


def _region(window: tuple[slice, slice], height: int, width: int) -> Box:
    """A square around a window, within the image."""
    rows_, columns = window
    side = max(rows_.stop - rows_.start, columns.stop - columns.start) * 5 // 4
    side = min(max(side, _LEAST), height, width)
    top = (rows_.start + rows_.stop - side) // 2
    left = (columns.start + columns.stop - side) // 2
    top, left = min(max(top, 0), height - side), min(max(left, 0), width - side)
    return Box(left, top, left + side, top + side)


def _picture(table: Table, pair: ImagePair, out: Path, regions: Sequence[Box]) -> Picture:
    baselines = rows(pair.first, pair.first, pair.second)
    images = {"first": baselines["first"], "second": baselines["second"]}
    for label in table.methods:
        path = picture_path(out, table.data.name, label, pair.name, table.records[label].key)
        if path.is_file():
            images[label] = read_image(path)
    images |= {name: baselines[name] for name in BASELINES if name not in images}
    height, width = pair.first.shape[-2:]
    crops = []
    for box in regions:
        shown = {
            label: _embedded(_cut(image, box), _CROP, enlarge=True)
            for label, image in images.items()
            if _cut(image, box).numel()
        }
        text = f"{box.right - box.left} x {box.bottom - box.top} pixels at {box.left}, {box.top}"
        crops.append((text, shown))
    shown = {label: _embedded(image, _WIDTH) for label, image in images.items()}
    return Picture(pair.name, f"{width} x {height}", shown, crops)


def _cut(image: Tensor, box: Box) -> Tensor:
    return image[..., box.window[0], box.window[1]]


def _embedded(image: Tensor, width: int, *, enlarge: bool = False) -> str:
    """A data URI of an image, not wider than `width`."""
    picture = Image.fromarray(quantize(image)).convert("L")
    if picture.width > width or enlarge:
        height = max(1, math.ceil(picture.height * width / picture.width))
        how = Image.Resampling.BICUBIC if enlarge else Image.Resampling.LANCZOS
        picture = picture.resize((width, height), how)
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=82, method=4)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"
