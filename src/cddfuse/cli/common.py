"""What verbs share: flags, progress bars, consoles."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from cddfuse.errors import InputError
from cddfuse.export import run_by
from cddfuse.export.writers import quiet_exporters
from cddfuse.io.source import Source
from cddfuse.models import MODELS, FusionModel
from cddfuse.models.base import Task
from cddfuse.models.load import DEFAULT, load_network
from cddfuse.pipeline import Summary
from cddfuse.runtime import Limits
from cddfuse.runtime.limits import Kernels

_WIDE = 10_000  # columns of a table that goes to a file: no more than it needs are written

Flag = Annotated[bool, Parameter(negative=())]
Words = Annotated[
    tuple[str, ...], Parameter(consume_multiple=True, negative=(), show_default=False)
]


@Parameter(name="*", group="Network")
@dataclass(frozen=True)
class WeightFlags:
    """Which trained state of a network."""

    task: Literal["ivf", "mif"] | None = None
    """Choose weights by task: ivf for infrared and visible pairs, mif for medical ones; by default
    the task that the network was published for."""

    weights: str | None = None
    """Name of shipped or imported weights, a weights file, a checkpoint, a repository of the
    Hugging Face hub (user/name), or a file of `cddfuse export` (.onnx, .xml)."""

    option: Words = ()
    """Options of the network, NAME=VALUE, over those that the weights come with: residual=sum for
    cddfuse, rule=average for didfuse. A name that does not exist lists those that do."""

    def options(self) -> dict[str, str]:
        """Options by name, as text."""
        for text in self.option:
            if not text.partition("=")[0] or "=" not in text:
                raise InputError(f"{text} is no option: write NAME=VALUE.", setting="option")
        return dict(text.split("=", 1) for text in self.option)


@Parameter(name="*", group="Network")
@dataclass(frozen=True)
class NetworkFlags(WeightFlags):
    """Which network, and where it runs."""

    model: str | None = None
    """Name of the network (see `cddfuse models`); by default cddfuse, or what an exported file
    holds."""

    device: str = "auto"
    """cpu, cuda, cuda:1 or mps; auto is an accelerator if there is one."""

    backend: Literal["torch", "onnxruntime", "openvino"] | None = None
    """Runtime: torch by default, or by the suffix of an exported file. For the other two the
    network is exported once, to the user's cache."""

    def preferring(self, task: Task) -> "NetworkFlags":
        """The same with a task, if none is named and the network has weights for it."""
        known = MODELS.get(self.model or DEFAULT)
        if self.task or self.weights or known is None:
            return self
        fits = any(weights.task == task for weights in known.card.weights.values())
        return replace(self, task=task) if fits else self

    def trained_for(self) -> Task | None:
        """The task of the weights; None for files, of which nobody knows."""
        card = MODELS[self.model or DEFAULT].card if (self.model or DEFAULT) in MODELS else None
        if card is None or (self.weights and self.weights not in card.weights):
            return None
        return card.weights[self.weights].task if self.weights else self.task or card.tasks[0]

    def load(self) -> FusionModel:
        """The network, ready to fuse."""
        if self.backend:
            quiet_exporters()
        given = self.model, self.task, self.weights, self.options(), self.device, self.backend
        return load_network(*given, run_by=run_by)


@Parameter(name="*", group="Resources")
@dataclass(frozen=True)
class LimitFlags:
    """Resource limits; automatic by default."""

    tile: int = 0
    """Side of tiles in pixels; by default an image is fused in one piece if it fits into memory."""

    memory: str = "auto"
    """Memory budget for feature maps, such as 2GB; auto is 70 % of what is free. Images that need
    more are fused in tiles."""

    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic: auto is bf16 for cddfuse on GPUs that have it, fp32 elsewhere."""

    kernels: Kernels = "auto"
    """What computes cddfuse over whole images: eager, compile and triton are made for GPUs, where
    they have not been measured yet (see `cddfuse doctor`); auto is what was measured to be best."""

    band: int = 0
    """Rows that chosen kernels compute at a time, such as 60, so that the widest feature maps stay
    in the cache of a GPU (not measured yet); by default all."""

    graphs: Flag = False
    """Capture a GPU's work in CUDA graphs and replay it, in folders and clips of one size (not
    measured yet)."""

    def limits(self) -> Limits:
        """The limits, as the library takes them."""
        return Limits(
            self.tile,
            byte_count(self.memory),
            self.precision,
            kernels=self.kernels,
            band=self.band,
            graphs=self.graphs,
        )


def stderr(quiet: bool) -> Console:
    """The console for messages, one per line, without markup; results go to stdout."""
    return Console(stderr=True, soft_wrap=True, highlight=False, markup=False, quiet=quiet)


def report_end(console: Console, written: Iterable[Path], failed: Iterable[str]) -> int:
    """Say what was written and what failed; returns the exit code."""
    for path in written:
        console.print(Text(f"written: {path}"))
    lines = [Text(f"failed: {line}") for line in failed]
    for line in lines:
        stderr(quiet=False).print(line)
    return 1 if lines else 0


def exit_code(summary: Summary, source: Source[Any]) -> int:
    """What became of a source: 0 all is done, 1 a part failed or was left out, 2 all failed."""
    if summary.failed and not (summary.done or summary.kept):
        return 2
    return 1 if summary.failed or source.skipped else 0


def kept(count: int, noun: str) -> str:
    """A line about what was there already."""
    if count == 1:
        return f"kept 1 {noun} that exists (--overwrite replaces it)"
    return f"kept {count} {noun}s that exist (--overwrite replaces them)"


def print_table(console: Console, table: Table) -> None:
    """Print a table of which nothing is cut: in a file no cell is wrapped, on terminals all are."""
    for column in table.columns:
        column.overflow = "fold"
    if not console.is_terminal:
        console.width = max(console.width, _WIDE)
    console.print(table)


def progress(console: Console) -> Progress:
    """A bar with rate (the task's field `rate`) and time left, on terminals only."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )


def byte_count(text: str) -> int:
    """Bytes in a text such as 2GB or 500MB; 0 for `auto`."""
    if text == "auto":
        return 0
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)I?B?", text.strip().upper())
    if not match or not float(match[1]):
        raise InputError(
            f"{text} is no amount of memory: write 2GB, for example.", setting="memory"
        )
    return int(float(match[1]) * 1000 ** " KMGT".index(match[2] or " "))
