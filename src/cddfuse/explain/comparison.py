"""Comparison sheets: rows of scenes, columns of sources and methods, enlarged regions below."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image
from torch import Tensor

from cddfuse.errors import InputError, exists_already, trouble
from cddfuse.evaluate.matching import match_fused
from cddfuse.evaluate.sources import listed
from cddfuse.fuse import fuse
from cddfuse.io.files import replacing, require_there
from cddfuse.io.images import read_image
from cddfuse.io.regions import Region, require_inside
from cddfuse.io.sheet import Sheet, arranged, drawn, require_matplotlib, write_pdf, zoomed
from cddfuse.io.source import Entry, Loaded, Source
from cddfuse.models.base import FusionModel
from cddfuse.pair import ImagePair
from cddfuse.runtime import Limits

SUFFIXES = (".png", ".pdf")


@dataclass(frozen=True)
class Columns:
    """What is compared, in the order of the columns."""

    sources: bool = True
    """Begin with the first and the second image."""

    fused: Mapping[str, Path] = field(default_factory=dict)
    """Folders of results of any tool, or a file where there is one scene, by heading."""

    models: Mapping[str, FusionModel] = field(default_factory=dict)
    """Networks, by heading."""

    @property
    def headings(self) -> list[str]:
        """Above the columns."""
        sources = ["first", "second"] if self.sources else []
        return [*sources, *self.fused, *self.models]


@dataclass(frozen=True)
class Look:
    """How a sheet looks."""

    width: int = 320
    """Of a column, in pixels."""

    grey: bool = False
    """Leave the colour out of what networks give."""

    stretch: bool = False
    """Stretch what networks give to the full range, as in published tables."""

    limits: Limits | None = None

    def __post_init__(self) -> None:
        if self.width < 32:
            text = f"columns of {self.width} pixels are too narrow: 32 or more."
            raise InputError(text, setting="width")


def chosen_scenes(
    source: Source[Loaded], scenes: Sequence[str], regions: Mapping[str, object], limit: int
) -> list[Entry[Loaded]]:
    """The pairs to show: those that are named, or have regions, or some that are evenly spaced.

    Args:
        source: all pairs.
        scenes: names of pairs, in the order of the rows.
        regions: by the name of the pair.
        limit: how many to show where none are named.
    """
    entries = {entry.name: entry for entry in source}
    for name, setting in [*((x, "scenes") for x in scenes), *((x, "crops") for x in regions)]:
        if name not in entries:
            known = ", ".join(list(entries)[:6]) + (", ..." if len(entries) > 6 else "")
            raise InputError(f"there is no pair {name}: there are {known}.", setting=setting)
    wanted = list(scenes) or [name for name in entries if name in regions]
    if not wanted:
        names, count = list(entries), min(limit, len(entries))
        wanted = [names[index * len(names) // count] for index in range(count)]
    return [entries[name] for name in dict.fromkeys(wanted)]


def comparison(
    source: Source[Loaded],
    entries: Sequence[Entry[Loaded]],
    columns: Columns,
    regions: Mapping[str, Sequence[Region]],
    look: Look | None = None,
    *,
    after: Callable[[str], None] = lambda name: None,
) -> Sheet:
    """Read, fuse and arrange. A scene that cannot be shown in full is an error.

    Args:
        source: all pairs, by whose names results are found.
        entries: the pairs to show: `chosen_scenes`.
        columns: what is compared.
        regions: what to enlarge, by the name of the pair.
        look: width, grey, stretch.
        after: called with the name of each pair that is done.
    """
    look = look or Look()
    if not columns.headings:
        raise InputError("there is nothing to show: name networks or results.", setting="models")
    files = {name: _results(source, place) for name, place in columns.fused.items()}
    rows: list[list[Image.Image]] = []
    for entry in entries:
        with trouble(f"read {entry.origin}", Exception):
            pair = entry.read().pair
        shown = regions.get(entry.name, ())
        for region in shown:
            require_inside(region, entry.name, pair.first.shape[-2], pair.first.shape[-1])
        images = [*(pair[:2] if columns.sources else ())]
        for name, place in files.items():
            images.append(_result(name, place, entry.name, pair))
        for model in columns.models.values():
            images.append(
                fuse(model, pair, grey=look.grey, stretch=look.stretch, limits=look.limits)
            )
        rows.append([zoomed(image, shown, look.width) for image in images])
        after(entry.name)
    names = [entry.name for entry in entries] if len(entries) > 1 else []
    return arranged(rows, headings=columns.headings, names=names, width=look.width)


def outputs(path: Path, *, overwrite: bool = False) -> list[Path]:
    """The files to write: one of `SUFFIXES`, or both where there is no suffix.

    Raises:
        InputError: another suffix, or a file that exists.
    """
    if path.suffix and path.suffix.lower() not in SUFFIXES:
        raise InputError(
            f"{path} cannot hold a sheet: end its name in .png or .pdf, or in neither for both.",
            setting="output",
        )
    paths = [path] if path.suffix else [path.with_name(path.name + suffix) for suffix in SUFFIXES]
    for place in paths:
        if place.exists() and not overwrite:
            raise exists_already(place)
    if any(place.suffix.lower() == ".pdf" for place in paths):
        require_matplotlib()
    return paths


def write_sheet(path: Path, sheet: Sheet) -> None:
    """Write a sheet, black on white, by the suffix of its name."""
    with replacing(path) as temporary:
        if path.suffix.lower() == ".pdf":
            write_pdf(temporary, sheet)
        else:
            drawn(sheet, paper=True).save(temporary)


def _results(source: Source[Loaded], place: Path) -> Mapping[str, Path]:
    """Files of results by the name of their pair."""
    if place.is_dir():
        return match_fused(place, listed(source)).files
    require_there(place, "fused")
    if source.length != 1:
        raise InputError(
            f"{place} is one image, and there are several pairs: give a folder.", setting="fused"
        )
    return {entry.name: place for entry in source}


def _result(name: str, files: Mapping[str, Path], scene: str, pair: ImagePair) -> Tensor:
    if scene not in files:
        raise InputError(f"{name} has no result of {scene}: leave out one of them.", "scenes")
    with trouble(f"read {files[scene]}", Exception):
        image = read_image(files[scene])
    if image.shape[-2:] != pair.first.shape[-2:]:
        sizes = [f"{x.shape[-1]}x{x.shape[-2]}" for x in (image, pair.first)]
        raise InputError(
            f"{files[scene]} is {sizes[0]} and its sources are {sizes[1]}, so regions differ: "
            "use results of the same size."
        )
    return image
