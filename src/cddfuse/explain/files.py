"""Explanations of all pairs of a source as folders, and what they have in common."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cddfuse.errors import InputError
from cddfuse.evaluate.provenance import hash_files
from cddfuse.explain import Explanation, Settings, explain, report, require_decomposing
from cddfuse.explain.histogram import draw_histogram
from cddfuse.explain.pictures import maps, sheet
from cddfuse.io.files import replacing, replacing_folder
from cddfuse.io.image_files import ImagePairs
from cddfuse.io.images import write_image
from cddfuse.io.sheet import require_matplotlib
from cddfuse.io.source import Loaded, Source
from cddfuse.models.base import FusionModel
from cddfuse.pipeline import Summary, process

RECORD = "explanation.json"
SUMMARY, TABLE, HISTOGRAM = "summary.json", "pairs.csv", "correlation"
_FIGURES = (".png", ".pdf")
_WHICH = ("correlation_inside", "correlation")


def explain_all(
    model: FusionModel,
    source: Source[Loaded],
    output: Path,
    settings: Settings | None = None,
    *,
    overwrite: bool = False,
    after: Callable[[str], None] = lambda name: None,
) -> Summary:
    """Explain all pairs of a source, each in a folder of its own. Finished ones are kept.

    Args:
        model: see `cddfuse.explain.explain`.
        source: see `cddfuse.io.formats.open_source`.
        output: the folder that the folders of the pairs are in.
        settings: size, and accuracy of the shares.
        overwrite: replace explanations that exist.
        after: called with the name of each pair that is done, kept or failed.
    """
    settings = settings or Settings()
    require_decomposing(model)
    require_matplotlib()
    files = {name: paths for name, *paths in source.pairs} if isinstance(source, ImagePairs) else {}
    folders = PairFolders(output, report.origin(model, settings), overwrite, files)

    def work(loaded: Loaded) -> Explanation:
        return explain(model, loaded.pair, settings)

    return process(source, work, folders.write, "explain", keep=folders.has, after=after)


@dataclass(frozen=True)
class PairFolders:
    """Folders of explanations, one for each pair."""

    output: Path
    origin: Mapping[str, Any]
    """What all explanations here were made by: see `report.origin`."""

    overwrite: bool = False

    files: Mapping[str, Sequence[Path]] = field(default_factory=dict)
    """Sources by name of the pair, where they are files."""

    def path(self, name: str) -> Path:
        """The folder of a pair."""
        return self.output / name

    def has(self, name: str) -> bool:
        """Whether the explanation of a pair is there and is to be kept.

        Raises:
            InputError: what is there is something else, or was made by other settings.
        """
        folder = self.path(name)
        if not os.path.lexists(folder):
            return False
        found = read_record(folder)
        if found is None:
            raise InputError(
                f"{folder} is there and is no explanation: choose another folder.",
                setting="output",
            )
        if self.overwrite:
            self._require_ours(folder, found)
            return False
        if found["origin"] != self.origin:
            raise InputError(
                f"{folder} was made by another network, other weights or other settings: choose "
                "another folder, or overwrite it.",
                setting=("output", "overwrite"),
            )
        if found.get("sources_sha256", "") != self.sources(name):
            raise InputError(
                f"{folder} is of other images than {name} is now: choose another folder, or "
                "overwrite it.",
                setting=("output", "overwrite"),
            )
        return True

    def sources(self, name: str) -> str:
        """A hash of the content of a pair's files; empty where there are none."""
        return hash_files(self.files[name]) if name in self.files else ""

    @staticmethod
    def _require_ours(folder: Path, found: Mapping[str, Any]) -> None:
        """Refuse to replace a folder to which files of somebody else were added."""
        others = {path.name for path in folder.iterdir()} - set(found.get("files", ()))
        if others:
            raise InputError(
                f"{folder} holds {min(others)}, which is not of an explanation: move it, or choose "
                "another folder.",
                setting="output",
            )

    def write(self, name: str, found: Explanation) -> bool:
        """Write the folder of a pair, whole or not at all; False if it is there by now."""
        if self.has(name):
            return False
        with replacing_folder(self.path(name)) as folder:
            write_explanation(folder, found, self.origin, self.sources(name))
        return True


def write_explanation(
    folder: Path, found: Explanation, origin: Mapping[str, Any], sources: str = ""
) -> None:
    """Fill a folder: sheet, single maps, their values, histogram over channels, numbers.

    Args:
        folder: an empty one.
        found: what to write.
        origin: see `report.origin`.
        sources: a hash of the images, by which it is known when they change.
    """
    sheet(found, str(origin["model"])).save(folder / "sheet.png")
    images = maps(found)
    for name, image in images.items():
        write_image(folder / f"{name}.png", image)
    np.savez_compressed(folder / "values.npz", **_values(found))
    inside, whole = (_channels(found, which) for which in _WHICH)
    if any(len(values) > 1 for values in whole.values()):
        for suffix in _FIGURES:
            draw_histogram(folder / f"{HISTOGRAM}{suffix}", inside, whole, "channels")
    files = sorted([RECORD, *(path.name for path in folder.iterdir())])
    known = {"origin": dict(origin), "sources_sha256": sources}
    content = {**known, **report.facts(found), "files": files}
    (folder / RECORD).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def write_summary(output: Path, names: list[str]) -> dict[str, Any]:
    """Write what the explanations of a data set have in common, and return it.

    Summary, table and histograms are replaced: they follow from the explanations that are there.

    Args:
        output: the folder that the folders of the pairs are in.
        names: of the pairs to count, in order.
    """
    rows = [row for row in (read_record(output / name) for name in names) if row is not None]
    if not rows:
        raise InputError(f"no pair of {output} has been explained: see what failed.")
    content = {"origin": rows[0]["origin"], **report.summary(rows)}
    _write(output / SUMMARY, json.dumps(content, indent=2) + "\n")
    _write(output / TABLE, report.as_csv(rows))
    inside, whole = (report.correlations(rows, which) for which in _WHICH)
    for suffix in _FIGURES:
        with replacing(output / f"{HISTOGRAM}{suffix}") as temporary:
            draw_histogram(temporary, inside, whole, "pairs")
    return content


def require_place(output: Path, *, overwrite: bool = False) -> None:
    """Refuse files in the way of a summary that no run of ours has written."""
    ours = [SUMMARY, TABLE, *(f"{HISTOGRAM}{suffix}" for suffix in _FIGURES)]
    there = [output / name for name in ours if os.path.lexists(output / name)]
    if there and not overwrite and not _is_summary(output / SUMMARY):
        raise InputError(
            f"{there[0]} exists already: choose another folder, or overwrite it.",
            setting=("output", "overwrite"),
        )


def read_record(folder: Path) -> dict[str, Any] | None:
    """The numbers of an explanation; None if the folder holds none."""
    try:
        content = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) and "origin" in content else None


def _is_summary(path: Path) -> bool:
    try:
        return "origin" in json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False


def _write(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _channels(found: Explanation, which: str) -> dict[str, list[float]]:
    """Correlations of all channels that are not constant, by part."""
    maps_of = {kind: getattr(part, which) for kind, part in found.parts.items()}
    values = {kind: x[~x.isnan()].tolist() for kind, x in maps_of.items() if x is not None}
    return {kind: numbers for kind, numbers in values.items() if numbers}


def _values(found: Explanation) -> dict[str, Any]:
    """What the maps show, unscaled: (H, W) each."""
    values = {"fused": found.fused}
    for kind, part in found.parts.items():
        sides = {"first": part.first, "second": part.second, "fused": part.fused}
        values |= {f"{kind}_{side}": x for side, x in sides.items() if x is not None}
        values[f"without_{kind}"] = part.without
    for name in ("residual", "without_residual", "share"):
        if (image := getattr(found, name)) is not None:
            values[name] = image
    return {name: image[0].float().numpy() for name, image in values.items()}
