"""What a benchmark runs: methods and data sets, from words or from a YAML file."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import yaml

from cddfuse.datasets.catalog import Card, find_card, locate
from cddfuse.errors import InputError, trouble
from cddfuse.evaluate import BASELINES
from cddfuse.io import expanded
from cddfuse.io.files import require_there
from cddfuse.metrics import PAPER_EIGHT, PROFILES, Metric
from cddfuse.models.base import Task

TARGETS: Mapping[Task, str] = {"ivf": "TC", "mif": "TC_first"}
"""The target contrast that stands beside the eight: targets of the infrared or of the CT, PET or
SPECT image."""


Published = Mapping[str, Mapping[str, Sequence[float]]]
"""By data set and label: the eight scores in the order of `PAPER_EIGHT`, profile `paper`, with the
stretch, means over all pairs of the published set."""


@dataclass(frozen=True)
class Method:
    """A network, or the folder of a tool's results."""

    label: str
    """What tables call it."""

    model: str | None = None
    """Name of the network; None for results, and for files of `cddfuse.export`."""

    weights: str | None = None
    """As for `cddfuse.models.load.load_network`; None is chosen by the task of the data set."""

    options: Mapping[str, Any] = field(default_factory=dict)

    results: Path | None = None
    """Results of another tool: images, or a folder with those of each data set."""

    unseen: bool = False
    """Whether the caller knows that the weights were not trained on the images."""


@dataclass(frozen=True)
class DataSet:
    """Pairs to score on."""

    name: str
    first: Path
    second: Path | None
    task: Task
    card: Card | None = None

    @property
    def title(self) -> str:
        """What headings call it."""
        return self.card.title if self.card else self.name

    def scene_of(self, pair: str) -> str:
        """The scene, clip or patient that a pair is of."""
        return self.card.scene_of(pair) if self.card else pair


@dataclass(frozen=True)
class Plan:
    """All that is scored."""

    methods: tuple[Method, ...]
    data: tuple[DataSet, ...]

    published: Published = field(default_factory=dict)
    """Figures of others that stand beside those of `benchmark.published`."""


def columns(names: Sequence[str], profile: str, task: Task) -> list[tuple[Metric, str]]:
    """Metrics with their profiles. Without names: the eight, and target contrast.

    A name is one of the profile, or NAME@PROFILE; target contrast exists in `corrected` only, which
    is taken for it. A metric of another profile is called NAME@PROFILE if both are asked for.
    """
    if profile not in PROFILES:
        raise InputError(f"there is no profile {profile}: use {', '.join(PROFILES)}.", "profile")
    found: dict[str, tuple[Metric, str]] = {}
    for text in names or (*_eight(profile), TARGETS[task]):
        name, _, named = text.partition("@")
        where = named or (profile if name in PROFILES[profile] else "corrected")
        if where not in PROFILES or name not in PROFILES[where]:
            known = ", ".join(dict.fromkeys((*PROFILES[profile], *PROFILES["corrected"])))
            raise InputError(f"there is no metric {text}: use {known}.", setting="metrics")
        metric = PROFILES[where][name]
        if name in found and found[name][1] != where:
            metric = _renamed(metric, f"{name}@{where}")
        found[metric.name] = metric, where
    return list(found.values())


def _eight(profile: str) -> list[str]:
    return [name for name in PAPER_EIGHT if name in PROFILES[profile]]


def _renamed(metric: Metric, name: str) -> Metric:
    from dataclasses import replace

    return replace(metric, name=name)


def parse(
    models: Sequence[str], data: Sequence[str], fused: Sequence[str], file: Path | None = None
) -> Plan:
    """The plan of words such as tardal=FILE and tno=PATH, after that of a YAML file."""
    content = _read(file) if file else {}
    base = file.parent if file else Path()
    methods = [_method(entry, base) for entry in _entries(content, "models")]
    methods += [_method(word, Path()) for word in models]
    results = [*_pairs(content, "fused", base), *(_split(word, "fused") for word in fused)]
    methods += [Method(name, results=expanded(Path(path))) for name, path in results]
    methods = [method for method in methods if not _is_baseline(method)]
    named = dict(content.get("data") or {})
    sets = [_data_set(str(name), entry, base) for name, entry in named.items()]
    sets += [_data_set(*_split(word, "data"), Path()) for word in data]
    if not sets:
        raise InputError("there are no data sets: name one, such as tno=PATH.", setting="data")
    _require_unique([method.label for method in methods], "methods", "models")
    _require_unique([place.name for place in sets], "data sets", "data")
    published = _published(content.get("published") or {}, file)
    if unknown := set(published) - {place.name for place in sets}:
        raise InputError(
            f"published in {file} names {min(unknown)}, which is no data set here: rename it, or "
            "leave it out.",
            setting="published",
        )
    return Plan(tuple(methods), tuple(sets), published)


def _is_baseline(method: Method) -> bool:
    """Whether a method is one of the baselines, which are scored anyway."""
    if method.label not in (*BASELINES, "baselines"):
        return False
    if method.label != method.model or method.weights or method.label == "baselines":
        raise InputError(
            f"a method cannot be called {method.label}, which is a row of its own: rename it.",
            setting="models",
        )
    return True


def _yaml(file: Path) -> Any:
    require_there(file)
    with trouble(f"read {file}"):
        content = file.read_bytes()
    try:
        text = content.decode()
        return yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{file} is no YAML: {' '.join(str(error).split())}.") from error


def _read(file: Path) -> dict[str, Any]:
    content = _yaml(file)
    known = {"models", "data", "fused", "published"}
    if not isinstance(content, dict) or set(content) - known:
        raise InputError(f"{file} must be a table with the keys models, data, fused, published.")
    if not isinstance(content.get("data") or {}, dict):
        raise InputError(f"data in {file} must be a table from names to folders.")
    return content


def read_published(file: Path) -> Published:
    """The figures of others in a YAML file: a table from data sets to rows of eight scores."""
    content = _yaml(file)
    if isinstance(content, dict) and set(content) == {"published"}:
        content = content["published"]
    return _published(content, file)


def _published(content: Any, file: Path | None) -> Published:
    expected = InputError(
        f"published in {file} must be a table from data sets to labels to the eight scores "
        f"{', '.join(PAPER_EIGHT)}.",
        setting="published",
    )
    if not isinstance(content, dict):
        raise expected
    found: dict[str, dict[str, list[float]]] = {}
    for data, rows in content.items():
        if not isinstance(rows, dict):
            raise expected
        for label, values in rows.items():
            numbers = isinstance(values, list) and all(
                isinstance(x, int | float) and math.isfinite(x) for x in values
            )
            if not numbers or len(values) != len(PAPER_EIGHT):
                raise expected
            found.setdefault(str(data), {})[str(label)] = [float(x) for x in values]
    return found


def _entries(content: Mapping[str, Any], key: str) -> list[Any]:
    found = content.get(key) or []
    if not isinstance(found, list):
        raise InputError(f"{key} in the file must be a list.")
    return found


def _pairs(content: Mapping[str, Any], key: str, base: Path) -> list[tuple[str, str]]:
    found = content.get(key) or {}
    if not isinstance(found, dict):
        raise InputError(f"{key} in the file must be a table from names to folders.")
    return [(str(name), str(base / expanded(Path(str(path))))) for name, path in found.items()]


def _split(word: str, setting: str) -> tuple[str, str]:
    name, _, path = word.partition("=")
    if not name or not path:
        raise InputError(f"{word} names no path: write NAME=PATH.", setting=setting)
    return name, path


def _method(entry: Any, base: Path) -> Method:
    if isinstance(entry, str):
        name, _, weights = entry.partition("=")
        weights = _beside(weights, base)
        return Method(_label(name, weights), name, weights or None)
    known = {"model", "weights", "label", "options"}
    if not isinstance(entry, dict) or "model" not in entry or set(entry) - known:
        raise InputError(
            f"{entry} is no model: give a name, or a table with model, weights, label, options."
        )
    if not isinstance(entry.get("options") or {}, dict):
        raise InputError(f"options of {entry['model']} must be a table from names to values.")
    name, weights = str(entry["model"]), _beside(str(entry.get("weights") or ""), base)
    label = str(entry.get("label") or _label(name, weights))
    return Method(label, name, weights or None, dict(entry.get("options") or {}))


def _beside(weights: str, base: Path) -> str:
    """A weights file relative to the YAML file, where there is one."""
    path = base / weights
    return str(path) if weights and path.is_file() else weights


def _label(name: str, weights: str) -> str:
    return f"{name} ({Path(weights).stem if '.' in weights else weights})" if weights else name


def _data_set(name: str, entry: Any, base: Path) -> DataSet:
    card = find_card(name)
    task: Task = card.task if card else "ivf"
    if isinstance(entry, dict):
        if "first" not in entry or set(entry) - {"first", "second", "task"}:
            raise InputError(f"data set {name} needs first and second, and may have a task.")
        second = entry.get("second")
        if entry.get("task", task) not in ("ivf", "mif"):
            raise InputError(f"the task of data set {name} is ivf or mif.")
        task = cast(Literal["ivf", "mif"], entry.get("task", task))
        first = base / expanded(Path(str(entry["first"])))
        return DataSet(
            name, first, base / expanded(Path(str(second))) if second else None, task, card
        )
    if not isinstance(entry, str) or not entry:
        raise InputError(
            f"data set {name} is {entry}: write its folder, two folders with a comma between them, "
            "or a table with first and second."
        )
    first_text, _, second_text = entry.partition(",")
    first = base / expanded(Path(first_text))
    if second_text:
        return DataSet(name, first, base / expanded(Path(second_text)), task, card)
    if card:
        return DataSet(name, *locate(card, first), task, card)
    return DataSet(name, first, None, task)


def _require_unique(names: Iterable[str], what: str, setting: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InputError(f"two {what} are called {name}: rename one.", setting=setting)
        seen.add(name)
