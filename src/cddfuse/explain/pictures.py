"""Explanations as pictures: single maps, and a sheet of all of them."""

from collections.abc import Iterator

import torch
from PIL import Image
from torch import Tensor

from cddfuse.explain import Explanation, PartView
from cddfuse.explain.features import MARGIN, displayed
from cddfuse.explain.report import change, mean_share, mean_without_nan
from cddfuse.io.sheet import contact_sheet, stacked

_BLUE, _WHITE, _ORANGE = (0.10, 0.35, 0.80), (0.96, 0.96, 0.96), (0.90, 0.45, 0.05)
_UNKNOWN = 0.35  # grey level of pixels without a share
_EMPTY = 24 / 255  # the background of the sheet
_NARROWEST = 240  # column of a sheet, in pixels


def maps(found: Explanation) -> dict[str, Tensor]:
    """All maps as images (C, H, W) in [0, 1], by the name of their file."""
    return dict(_maps(found))


def sheet(found: Explanation, model: str) -> Image.Image:
    """One picture of all: sources, result and shares above, then a row for each part.

    Args:
        found: what to show.
        model: name of the network.
    """
    images = maps(found)
    empty = torch.full_like(found.fused, _EMPTY)
    width = max(_NARROWEST, found.fused.shape[-1])
    shared = [images.get(name, empty) for name in ("share", "share_over_fused")]
    above = _table(
        [[found.pair.first, found.pair.second, found.fused, *shared]],
        ["first", "second", f"fused by {model}", "share by gradient", "on the result"],
        [_shares(found)],
        width,
        empty,
    )
    rows, names = [], []
    for kind, part in found.parts.items():
        kinds = (f"{file_name(kind)}_{side}" for side in ("first", "second", "fused"))
        off = (f"{what}_{file_name(kind)}" for what in ("without", "difference"))
        rows.append([images.get(name, empty) for name in (*kinds, *off)])
        names.append(_about(kind, part, found.fused))
    if found.residual is not None and found.without_residual is not None:
        off = (f"{what}_residual" for what in ("without", "difference"))
        rows.append([images["residual"], empty, empty, *(images[name] for name in off)])
        moved = change(found.fused, found.without_residual)
        names.append(f"residual: switched off, the result changes by {moved:.1f} grey levels")
    white = 255 * _reach(found)
    headings = ["first", "second", "after fusion", "switched off", f"added, +-{white:.0f} levels"]
    return stacked(above, _table(rows, headings, names, width, empty))


def _table(
    rows: list[list[Tensor]], headings: list[str], names: list[str], width: int, empty: Tensor
) -> Image.Image:
    """Rows of images, without the columns in which there is none."""
    columns = zip(headings, *rows, strict=True)
    used = [column for column in columns if any(image is not empty for image in column[1:])]
    headings, *rows = map(list, zip(*used, strict=True))
    return contact_sheet(rows, headings=headings, names=names, width=width)


def file_name(kind: str) -> str:
    """The kind of a part as part of a file's name."""
    return kind.replace(" ", "_").replace("/", "_")


def _maps(found: Explanation) -> Iterator[tuple[str, Tensor]]:
    yield "first", found.pair.first
    yield "second", found.pair.second
    yield "fused", found.fused
    reach = _reach(found)
    for kind, part in found.parts.items():
        name = file_name(kind)
        if part.first is not None and part.second is not None:
            one, two = displayed(part.first, part.second)
            yield f"{name}_first", one
            yield f"{name}_second", two
        yield f"{name}_fused", displayed(part.fused)[0]
        yield f"without_{name}", part.without
        yield f"difference_{name}", _diverging((found.fused - part.without) / reach)
    if found.residual is not None and found.without_residual is not None:
        yield "residual", found.residual.clamp(0, 1)
        yield "without_residual", found.without_residual
        difference = (found.fused - found.without_residual) / reach
        yield "difference_residual", _diverging(difference)
    if found.share is not None:
        hue = _diverging(1 - 2 * found.share)
        yield "share", hue
        yield "share_over_fused", hue * (0.15 + 0.85 * found.fused)


def _reach(found: Explanation) -> float:
    """The change that is shown in full colour: percentile 99 over all parts, a level at least."""
    results = [part.without for part in found.parts.values()]
    if found.without_residual is not None:
        results.append(found.without_residual)
    changes = torch.cat([(found.fused - x).abs().flatten() for x in results]).sort().values
    return max(float(changes[round(0.99 * (len(changes) - 1))]), 1 / 255)


def _diverging(values: Tensor) -> Tensor:
    """-1 to blue, 0 to white, 1 to orange, NaN to grey: (1, H, W) to (3, H, W)."""
    blue, white, orange = (
        torch.tensor(colour)[:, None, None] for colour in (_BLUE, _WHITE, _ORANGE)
    )
    strength = values.nan_to_num(0).abs().clamp(max=1).float()
    end = torch.where(values < 0, blue, orange)
    return torch.where(values.isnan(), _UNKNOWN, white + strength * (end - white))


def _shares(found: Explanation) -> str:
    name = found.pair.name or "pair"
    if found.share is None:
        return f"{name}: no shares by gradient"
    text = f"{name}: blue follows the first source, orange the second"
    mean = mean_share(found)
    return text if mean is None else f"{text}; {100 * mean:.0f} % the first, on average"


def _about(kind: str, part: PartView, fused: Tensor) -> str:
    moved = f"switched off, the result changes by {change(fused, part.without):.1f} grey levels"
    alike, inside = map(mean_without_nan, (part.correlation, part.correlation_inside))
    if alike is None:
        return f"{kind}: {moved}"
    text = f"{kind}: correlation of the modalities {alike:.2f}"
    if inside is not None:
        text += f", {inside:.2f} without {MARGIN} pixels at the border"
    return f"{text}; {moved}"
