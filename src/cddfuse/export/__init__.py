"""Write a network to a file for other runtimes, once it gives there what `fuse` gives here."""

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

from cddfuse.errors import InputError
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
SIZES = ((48, 64), (37, 51), (81, 32))
"""Heights and widths at which a file is compared."""


@dataclass(frozen=True)
class Report:
    """What became of an export."""

    path: Path
    form: str
    version: str
    """Of the format, in words."""

    size: int
    """Bytes of all files."""

    differences: Mapping[tuple[int, int], float]
    """Largest difference to `fuse` by height and width, of values in [0, 1]."""


class ParityError(InputError):
    """A file does not give what `fuse` gives, so it was not written."""


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

    All three are (1, 1, H, W), float32 in [0, 1], of any height and width that the network takes
    (the file says which). The file appears only if it gives what `fuse` gives, at three sizes.

    Args:
        model: any `FusionModel`, in evaluation mode.
        path: of the file. The format `openvino` puts a `.bin` beside it.
        form: see `FORMATS`; None goes by the suffix.
        facts: more for the file to say, such as which weights these are.
        tolerance: largest difference that is passed.
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
            raise InputError(
                f"{place} exists already: choose another name, or overwrite it.",
                setting="overwrite",
            )
    said = {
        **facts_of(model),
        **_memory_of(model),
        "cddfuse.version": version("cddfuse"),
        **(facts or {}),
    }
    with TemporaryDirectory() as folder, ExitStack() as places:
        last = [places.enter_context(replacing(path.with_suffix(x))) for x in suffixes]
        for place in last:
            place.touch()  # better refused now than in a minute
        draft = Path(folder) / f"network{chosen.suffix}"
        of_format = chosen.write(model, draft, said)
        drafts = [draft.with_suffix(x) for x in suffixes]
        differences = _differences(model, chosen.read(draft, model.card))
        if not all(difference <= tolerance for difference in differences.values()):
            raise ParityError(
                f"{form} gives other values than fuse (largest difference {listed(differences)}, "
                f"where {tolerance:g} is allowed): nothing was written."
            )
        size = sum(x.stat().st_size for x in drafts)
        for source, place in zip(drafts, last, strict=True):
            shutil.copyfile(source, place)
    return Report(path, form, of_format, size, differences)


def run_by(model: FusionModel, backend: Backend) -> Exported:
    """The same network, run by another runtime. It is exported once, to the user's cache."""
    path = _cached(model)
    if path.is_file():
        with suppress(InputError):  # damaged: written anew
            return load_exported(path, backend)
    package(backend, backend)
    _log.warning("exporting %s for %s, once: this takes a minute or so", model.card.name, backend)
    export(model, path, overwrite=True)
    return load_exported(path, backend)


def listed(differences: Mapping[tuple[int, int], float]) -> str:
    """Differences by size, width x height, in words."""
    return ", ".join(f"{x:.1e} at {w}x{h}" for (h, w), x in differences.items())


def _memory_of(model: FusionModel) -> dict[str, str]:
    """Peak memory per pixel, which other runtimes do not tell."""
    side = 256 // model.card.multiple_of * model.card.multiple_of or model.card.multiple_of
    try:
        counted = tensor_bytes(Graph(model), 1, side, side)
    except Exception:  # what cannot be followed here is refused elsewhere
        return {}
    return {"cddfuse.bytes_per_pixel": str(round(_RUNTIMES_TAKE * counted / side**2))}


def _cached(model: FusionModel) -> Path:
    """Where a network with these very weights is kept, as written by these very versions."""
    digest = hashlib.sha256()
    for said in (*facts_of(model).items(), version("cddfuse"), torch.__version__):
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
    raise InputError(f"{path} names no format: end it in one of {known}, or name one.")


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
