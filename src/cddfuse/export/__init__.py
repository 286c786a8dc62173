"""Export networks to files for other runtimes, with the same results as `fuse`."""

import hashlib
import logging
import math
import os
import shutil
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from cddfuse.errors import InputError, exists_already
from cddfuse.export.graphs import Graph
from cddfuse.export.writers import FORMATS
from cddfuse.fuse import fuse
from cddfuse.io.files import replacing
from cddfuse.models.base import FusionModel
from cddfuse.models.exported import Backend, Exported, facts_of, load_exported, package
from cddfuse.models.weights import cache_folder
from cddfuse.pair import ImagePair
from cddfuse.runtime import Limits
from cddfuse.runtime.memory import tensor_bytes

_log = logging.getLogger(__name__)

TOLERANCE = 1e-4
_RUNTIMES_TAKE = 2  # times the memory of the tensors; ONNX Runtime 0.8 to 1.8 (docs/runtime.md)
_CODE = ("export", "layers", "colour.py", "filters.py", "history.py")
SIZES = ((48, 64), (37, 51), (81, 32))
"""Heights and widths at which results are compared."""


@dataclass(frozen=True)
class Report:
    """Result of an export."""

    path: Path
    form: str
    version: str
    """Version of the format, in words."""

    size: int
    """Size of all files in bytes."""

    differences: Mapping[tuple[int, int], float]
    """Largest difference from `fuse` by height and width, of values in [0, 1]."""


class ParityError(InputError):
    """Results differ from those of `fuse`, so nothing was written."""


def export(
    model: FusionModel,
    path: str | Path,
    form: str | None = None,
    *,
    facts: Mapping[str, str] | None = None,
    tolerance: float = TOLERANCE,
    overwrite: bool = False,
) -> Report:
    """Write a network to a file that takes `first` and `second` and gives `fused`.

    All three are (1, 1, H, W), float32 in [0, 1], of any height and width that the network takes,
    which the file states. The file is written only if its results equal those of `fuse` at three
    sizes.

    Args:
        model: any `FusionModel`, in evaluation mode.
        path: of the file. The format `openvino` puts a `.bin` beside it.
        form: see `FORMATS`; None takes the suffix.
        facts: further metadata, such as the name of the weights.
        tolerance: largest difference that is accepted.
        overwrite: replace a file that exists.
    """
    path = Path(path)
    form = form or _by_suffix(path)
    if form not in FORMATS:
        raise InputError(f"there is no format {form}: known are {', '.join(FORMATS)}.")
    chosen = FORMATS[form]
    if path.suffix != chosen.suffix:
        raise InputError(f"{path} cannot hold {form}: choose a name that ends in {chosen.suffix}.")
    suffixes = (chosen.suffix, *chosen.beside)  # the last one moves to its place first
    for place in map(path.with_suffix, suffixes):
        if os.path.lexists(place) and not overwrite:
            raise exists_already(place)
    said = {
        **facts_of(model),
        **_memory_of(model),
        "cddfuse.version": version("cddfuse"),
        **(facts or {}),
    }
    with TemporaryDirectory() as folder, ExitStack() as places:
        last = [places.enter_context(replacing(path.with_suffix(x))) for x in suffixes]
        for place in last:
            place.touch()  # fails early
        draft = Path(folder) / f"network{chosen.suffix}"
        of_format = chosen.write(model, draft, said)
        drafts = [draft.with_suffix(x) for x in suffixes]
        differences = _differences(model, _read(model, form, draft))
        if not all(difference <= tolerance for difference in differences.values()):
            raise ParityError(
                f"{form} gives other values than fuse (largest difference {listed(differences)}, "
                f"where {tolerance:g} is accepted): nothing was written."
            )
        size = sum(x.stat().st_size for x in drafts)
        for source, place in zip(drafts, last, strict=True):
            shutil.copyfile(source, place)
    return Report(path, form, of_format, size, differences)


def _read(model: FusionModel, form: str, path: Path) -> FusionModel:
    try:
        return FORMATS[form].read(path, model.card)
    except InputError as error:
        if isinstance(error.__cause__, ImportError):
            raise
        text = f"{model.card.name} cannot be exported to {form}: its runtime refuses the file."
        raise InputError(text) from error


def run_by(model: FusionModel, backend: Backend) -> Exported:
    """The same network in another runtime. It is exported once, to the user's cache."""
    path = _cached(model)
    if path.is_file():
        with suppress(InputError):  # damaged: written anew
            return load_exported(path, backend)
    package(backend, backend)
    _log.warning("exporting %s for %s, once: this takes a minute or so", model.card.name, backend)
    export(model, path, overwrite=True)
    return load_exported(path, backend)


def listed(differences: Mapping[tuple[int, int], float]) -> str:
    """Differences by size, width x height, as text."""
    return ", ".join(f"{x:.1e} at {w}x{h}" for (h, w), x in differences.items())


def _memory_of(model: FusionModel) -> dict[str, str]:
    """Estimated peak memory per pixel, which cannot be counted in other runtimes."""
    side = 256 // model.card.multiple_of * model.card.multiple_of or model.card.multiple_of
    try:
        counted = tensor_bytes(Graph(model), 1, side, side)
    except Exception:  # networks that cannot be traced are refused elsewhere
        return {}
    return {"cddfuse.bytes_per_pixel": str(round(_RUNTIMES_TAKE * counted / side**2))}


def _cached(model: FusionModel) -> Path:
    """File in the cache for a network with these weights, exported by this code."""
    from cddfuse.evaluate.provenance import hash_code, own_sources  # imports all metrics

    digest, code = hashlib.sha256(), hash_code(_CODE, own_sources(type(model)))
    for said in (*facts_of(model).items(), version("cddfuse"), torch.__version__, code):
        digest.update(repr(said).encode())
    for name, tensor in model.weights().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return cache_folder("exported") / f"{model.card.name}-{digest.hexdigest()[:16]}.onnx"


def _by_suffix(path: Path) -> str:
    for name, form in FORMATS.items():
        if path.suffix == form.suffix:
            return name
    known = ", ".join(form.suffix for form in FORMATS.values())
    text = f"{path} has none of the suffixes {known}: choose one, or name the format."
    raise InputError(text, setting="format")


def _differences(model: FusionModel, other: FusionModel) -> dict[tuple[int, int], float]:
    limits = Limits(precision="fp32")
    random = torch.Generator().manual_seed(0)
    differences = {}
    for height, width in SIZES:
        first, second = torch.rand(2, 1, height, width, generator=random).unbind()
        pair = ImagePair(first, second)
        differences[height, width] = math.inf  # where the file fails
        expected = fuse(model, pair, limits=limits)
        with suppress(InputError):
            given = fuse(other, pair, limits=limits)
            differences[height, width] = float((given - expected).abs().max())
    return differences
