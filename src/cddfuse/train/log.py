"""What a run leaves behind to look at: a table, curves, TensorBoard events, a progress bar."""

import csv
from collections import defaultdict
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from cddfuse.errors import InputError, trouble
from cddfuse.io.files import replacing
from cddfuse.train.events import Events

TABLE, CURVES = "log.csv", "curves.png"
_FIRST_COLUMNS = ("step", "stage")
_ROWS = 2000  # of a whole run, about; each is the mean over the steps since the one before


class TrainingLog:
    """Collects numbers step by step, and writes them when told to.

    Args:
        folder: where everything goes.
        total: steps of the run.
        step: steps already done; later rows of an older table are dropped.
        quiet: no progress bar.
    """

    def __init__(self, folder: Path, *, total: int, step: int, quiet: bool) -> None:
        self._folder = folder
        self._every = max(1, total // _ROWS)
        self._rows = _read(folder / TABLE, step)
        self._sums: dict[str, float] = defaultdict(float)
        self._count = 0
        with trouble(f"write {folder / 'tensorboard'}"):
            self._events = Events(folder / "tensorboard", step=step + 1)
        self._console = Console(quiet=quiet)
        self._bar = Progress(
            TextColumn("{task.description:8}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[loss]}"),
            console=self._console,
            disable=quiet or not self._console.is_terminal,
        )
        self._task = self._bar.add_task("", total=total, completed=step, rate="", loss="")

    def __enter__(self) -> "TrainingLog":
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()
        with suppress(OSError) if error else nullcontext():  # one failure is told, the first
            self._events.close()

    def add(self, step: int, stage: str, values: Mapping[str, float], seconds: float) -> None:
        """Take the numbers of a step, which took so many seconds."""
        self._bar.update(
            self._task,
            completed=step,
            description=stage,
            rate=f"{1 / seconds:.1f} steps/s" if seconds < 1 else f"{seconds:.1f} s/step",
            loss=f"loss {values['total']:.4f}",
        )
        for name, value in values.items():
            self._sums[name] += value
        self._count += 1
        if step % self._every == 0:
            means = {name: value / self._count for name, value in self._sums.items()}
            self._row(step, stage, means)
            self._sums.clear()
            self._count = 0

    def add_validation(self, step: int, stage: str, values: Mapping[str, float]) -> None:
        """Take the numbers of a look at the validation pairs, in place of those of that step."""
        self._rows = [row for row in self._rows if not _looked_at(row, step)]
        self._row(step, stage, {f"validation_{name}": value for name, value in values.items()})
        shown = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        self.say(f"step {step}, {stage}, validation: {shown}")

    def say(self, sentence: str) -> None:
        """Print a line above the progress bar."""
        self._bar.console.print(sentence, highlight=False, soft_wrap=True)

    def write(self) -> None:
        """Bring the table on disk up to date."""
        columns = dict.fromkeys((*_FIRST_COLUMNS, *(name for row in self._rows for name in row)))
        with (
            replacing(self._folder / TABLE) as temporary,
            temporary.open("w", newline="") as file,
        ):
            table = csv.DictWriter(file, columns, restval="")
            table.writeheader()
            table.writerows(self._rows)
        self._events.flush()

    def draw(self) -> Path:
        """Draw the curves of the whole run; returns the picture's path."""
        path = self._folder / CURVES
        panels = {
            "loss": ("total", "validation_total"),
            "correlation of the features": ("correlation_base", "correlation_detail"),
            "terms": _terms(self._rows),
            "learning rate": ("learning_rate",),
        }
        figure = Figure(figsize=(11, 7), layout="constrained")
        for axes, (title, names) in zip(figure.subplots(2, 2).flat, panels.items(), strict=True):
            for name in names:
                points = [
                    (int(row["step"]), float(row[name])) for row in self._rows if row.get(name)
                ]
                if points:
                    style = "o-" if name.startswith("validation") else "-"
                    axes.plot(
                        *zip(*points, strict=True), style, label=name, linewidth=1, markersize=3
                    )
            axes.set_title(title)
            axes.set_xlabel("step")
            if axes.lines:
                axes.legend(fontsize=7, loc="upper right")
            values = [y for line in axes.lines for y in np.asarray(line.get_ydata()).tolist()]
            if title in ("loss", "terms") and min(values, default=0) > 0:
                axes.set_yscale("log")
        with replacing(path) as temporary:
            figure.savefig(temporary, dpi=110)
        return path

    def _row(self, step: int, stage: str, values: Mapping[str, float]) -> None:
        self._rows.append({"step": step, "stage": stage, **values})
        for name, value in values.items():
            self._events.add(f"{stage}/{name}", value, step)


def _looked_at(row: Mapping[str, Any], step: int) -> bool:
    return int(row["step"]) == step and "validation_total" in row


def _terms(rows: list[dict[str, Any]]) -> tuple[str, ...]:
    """Columns that are terms of the loss, of all stages."""
    others = ("total", "learning_rate", "correlation", "norm_", "validation_", *_FIRST_COLUMNS)
    names = (name for row in rows for name in row if not name.startswith(others))
    return tuple(dict.fromkeys(names))


def _read(path: Path, step: int) -> list[dict[str, Any]]:
    """Rows up to a step, of a table that other programs may have saved in their own way."""
    if not path.is_file():
        return []
    try:
        with path.open(newline="") as file:
            table = [
                {name: value for name, value in row.items() if value}
                for row in csv.DictReader(file)
            ]
        for row in table:
            for name in row.keys() - {"stage"}:
                float(row[name])
        return [row for row in table if int(row["step"]) <= step]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} is not the table of a run as it was written: put it back, or move it away."
        ) from error
