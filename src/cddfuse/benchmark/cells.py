"""A cell: one method on one data set, scored by `evaluate`, and kept under a key."""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote

from cddfuse.benchmark.plan import DataSet, Method, columns
from cddfuse.errors import InputError, some_of
from cddfuse.evaluate import BASELINES, Images, evaluate
from cddfuse.evaluate.matching import match_fused
from cddfuse.evaluate.plain import plain
from cddfuse.evaluate.provenance import (
    hash_code,
    hash_facts,
    hash_files,
    hash_pairs,
    hash_weights,
    own_sources,
)
from cddfuse.evaluate.sources import listed
from cddfuse.io import PairedPaths, replacing, write_image
from cddfuse.io.formats import Reading, open_source
from cddfuse.io.image_files import ImagePairs
from cddfuse.io.listing import list_images
from cddfuse.io.source import Loaded, Source
from cddfuse.io.volumes.finding import dicom_files
from cddfuse.models import MODELS
from cddfuse.models.base import FusionModel, Task
from cddfuse.models.load import default_weights, load_network
from cddfuse.models.weights import constructor_options
from cddfuse.runtime import Limits

BASELINE = Method("baselines", model="mean")
"""Scored with its rows `first`, `second`, `mean` and `max`, once for each data set."""

TABLES = ("stretched", "plain")
_SHARED_CODE: tuple[str, ...] = (
    "fuse.py",
    "pipeline.py",
    "colour.py",
    "filters.py",
    "history.py",
    "pair.py",
    "threads.py",
    "layers",
    "io",
    "metrics",
    "evaluate",
    "runtime",
    "benchmark/cells.py",
)

Table = dict[str, dict[str, list[float]]]
"""Row, metric, value per image; NaN where undefined."""


@dataclass(frozen=True)
class Settings:
    """What all cells have in common."""

    metrics: tuple[str, ...] = ()
    """Names, see `plan.columns`; empty is the eight and target contrast."""

    profile: str = "paper"
    limit: int | None = None
    resize: bool = False
    recursive: bool = False
    device: str = "auto"
    limits: Limits = field(default_factory=Limits)


@dataclass
class Record:
    """The scores of a cell."""

    method: str
    data: str
    key: str
    facts: dict[str, Any]
    """Hashes, options, versions: what the key is made of, and what the report says."""

    images: list[str]
    tables: dict[str, Table]
    failed: dict[str, str]
    notes: list[str]

    transient: bool = False
    """Whether what failed may succeed the next time; then it is not kept."""

    def write(self, path: Path) -> None:
        """Keep it as JSON; undefined values are null."""
        text = json.dumps(plain(asdict(self)), allow_nan=False)
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8", errors="backslashreplace")

    @classmethod
    def read(cls, path: Path) -> "Record | None":
        """A record that was kept; None if there is none, or it is damaged."""
        try:
            record = cls(**json.loads(path.read_text(encoding="utf-8")))
            for table in record.tables.values():
                for values in table.values():
                    values.update({m: [_number(x) for x in xs] for m, xs in values.items()})
        except (OSError, ValueError, TypeError, AttributeError):
            return None
        return record


def _number(value: float | str | None) -> float:
    return math.nan if value is None else float(value)


def open_pairs(data: DataSet, settings: Settings) -> Source[Loaded]:
    """The pairs of a data set."""
    reading = Reading(resize=settings.resize, recursive=settings.recursive)
    return open_source(data.first, data.second, reading)


def pair_names(data: DataSet, settings: Settings) -> list[PairedPaths]:
    """The pairs that are scored."""
    return _all_pairs(data, settings)[: settings.limit]


def _all_pairs(data: DataSet, settings: Settings) -> list[PairedPaths]:
    return list(listed(open_pairs(data, settings)))


def results_of(method: Method, data: DataSet, alone: bool) -> Path:
    """Where another tool's results for a data set are: in its folder, or right there."""
    assert method.results is not None
    place = method.results / data.name
    if place.is_dir():
        return place
    if alone or not method.results.is_dir():
        return method.results
    raise InputError(
        f"{method.results} has no folder {data.name}: with several data sets, the results for each "
        "are in a folder of its name.",
        setting="fused",
    )


def require_complete(method: Method, data: DataSet, settings: Settings, folder: Path) -> None:
    """Refuse results that lack some pairs: means over other images cannot be compared."""
    pairs = _all_pairs(data, settings)
    files, scored = _results(folder, pairs), pairs[: settings.limit]
    missing = [pair.name for pair in scored if pair.name not in files]
    if missing:
        names = some_of(missing)
        raise InputError(
            f"{folder} lacks {len(missing)} of {len(scored)} pairs of {data.name} ({names}), "
            f"so the means of {method.label} would be over other images: complete it, or leave it "
            "out.",
            setting="fused",
        )


def _results(folder: Path, pairs: Sequence[PairedPaths]) -> dict[str, Path]:
    """Files of results by pair, as `evaluate` finds them: by the names of all pairs.

    By those of the first pairs alone, another affix may fit better.
    """
    return match_fused(folder, pairs).files


def load(method: Method, data: DataSet, device: str = "auto") -> FusionModel:
    """The network of a cell."""
    weights, task = weights_for(method, data)
    return load_network(method.model, task, weights, method.options, device)


def weights_for(method: Method, data: DataSet) -> tuple[str | None, Task | None]:
    """Name of the weights for a data set, and the task that they are loaded for.

    Those for the task of the data set; where there are none, those that the network has.
    """
    if method.weights:
        return method.weights, data.task
    assert method.model is not None
    card = MODELS[method.model].card
    if not card.parameters:
        return None, None
    try:
        return default_weights(method.model, data.task), data.task
    except InputError:
        shipped = next(iter(card.weights), None)
        if shipped is None:
            raise
        return shipped, card.weights[shipped].task


def trained_for(method: Method, data: DataSet) -> str:
    """The task that the weights of a cell were trained for; empty where it is not known."""
    if method.model is None or method.model not in MODELS:
        return ""
    shipped = MODELS[method.model].card.weights.get(weights_for(method, data)[0] or "")
    return shipped.task if shipped else ""


def describe(
    method: Method,
    data: DataSet,
    settings: Settings,
    folder: Path | None,
    network: FusionModel | None,
) -> dict[str, Any]:
    """All that the scores of a cell depend on."""
    chosen = columns(settings.metrics, settings.profile, data.task)
    facts: dict[str, Any] = {
        "metrics": [f"{metric.name}@{profile}" for metric, profile in chosen],
        "limit": settings.limit,
        "resize": settings.resize,
        "data": _hash_data(data, settings),
        "torch": version("torch"),
    }
    if network is None:
        assert folder is not None
        pairs = _all_pairs(data, settings)
        files = _results(folder, pairs)
        facts["results"] = hash_files(files[pair.name] for pair in pairs[: settings.limit])
        facts["code"] = code_version()
        return facts
    weights = weights_for(method, data)[0]
    device = next((str(x.device.type) for x in network.parameters()), "cpu")
    return {
        **facts,
        "model": network.card.name,
        "weights": weights or "",
        "weights_sha256": hash_weights(network, weights),
        "options": {k: repr(v) for k, v in constructor_options(network).items()},
        "device": device,
        "limits": repr(settings.limits),
        "code": code_version(type(network)),
    }


def _hash_data(data: DataSet, settings: Settings) -> str:
    """A hash of names and content of what is scored; of the whole clip or volume, if it is one."""
    source = open_pairs(data, settings)
    pairs = list(listed(source))[: settings.limit]
    if isinstance(source, ImagePairs):
        return hash_pairs(pairs)
    files = [file for place in (data.first, data.second) if place for file in _files_in(place)]
    return hash_facts([[pair.name for pair in pairs], hash_files(files)])


def _files_in(place: Path) -> list[Path]:
    """A file, or those of a DICOM series or of numbered frames."""
    if not place.is_dir():
        return [place]
    slices = dicom_files(place).found
    return slices or [image.path for image in list_images(place, recursive=False)[0]]


def key_of(facts: Mapping[str, Any], method: Method, data: DataSet) -> str:
    """The name under which a cell is kept."""
    return hash_facts([method.label, data.name, data.task, dict(facts)])[:24]


def code_version(kind: type[FusionModel] | None = None) -> str:
    """A hash of the code that scores depend on: fusing, reading, scoring, and the network's own."""
    return _hash_code(own_sources(kind) if kind else ())


def _hash_code(own: tuple[str, ...]) -> str:
    return hash_code(_SHARED_CODE, own)


def picture_path(out: Path, data: str, method: str, image: str, key: str) -> Path:
    """Where the fused image of a pair is kept for the report, in 8 bits without the stretch.

    Under the key of its cell, so that a report never shows images of other weights or settings.
    """
    folder = f"{_file_name(method)} {key[:8]}"
    return out / "images" / _file_name(data) / folder / f"{_file_name(image)}.png"


def has_pictures(record: "Record", out: Path) -> bool:
    """Whether all fused images of a cell are there; baselines have none."""
    return record.method == BASELINE.label or all(
        picture_path(out, record.data, record.method, name, record.key).is_file()
        for name in record.images
    )


def _file_name(text: str) -> str:
    name = quote(text, safe=" ()[],+=@~", errors="replace").removeprefix(".")
    return name if 0 < len(name) < 200 else hashlib.sha256(name.encode()).hexdigest()


def run_cell(
    method: Method,
    data: DataSet,
    settings: Settings,
    out: Path,
    facts: dict[str, Any],
    scored: FusionModel | Path,
    after: Callable[[str], None] = lambda name: None,
) -> Record:
    """Fuse, or read results, and score."""
    chosen = [metric for metric, _ in columns(settings.metrics, settings.profile, data.task)]
    key = key_of(facts, method, data)

    def keep(images: Images) -> None:
        assert images.fused is not None
        path = picture_path(out, data.name, method.label, images.pair.name, key)
        write_image(path, images.fused, overwrite=True)

    baseline = method.label == BASELINE.label
    scores = evaluate(
        scored,
        open_pairs(data, settings),
        chosen,
        settings.profile,
        resize=settings.resize,
        limit=settings.limit,
        limits=settings.limits,
        baselines=baseline,
        stretch=True,
        results=(lambda images: None) if baseline else keep,
        after=lambda name, total: after(name),
    )
    tables = {("plain" if name == "saved" else name): rows for name, rows in scores.tables.items()}
    if baseline:
        tables = {table: {row: rows[row] for row in BASELINES} for table, rows in tables.items()}
    return Record(
        method.label,
        data.name,
        key,
        facts | {"trained": trained_for(method, data), "as_saved": isinstance(scored, Path)},
        scores.images,
        tables,
        {name: str(error) for name, error in scores.failed.items()},
        [*scores.notes, *(f"{skipped.reason}: {skipped.path}" for skipped in scores.skipped)],
        any(map(_is_transient, scores.failed.values())),
    )


def _is_transient(error: BaseException | None) -> bool:
    """Whether a failure is of the machine, such as a full disk, and not of a damaged image."""
    while error is not None:
        system = isinstance(error, OSError) and error.errno is not None
        if system or isinstance(error, MemoryError) or "memory" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False
