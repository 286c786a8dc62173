"""Histograms of the correlation between the modalities."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from cddfuse.io.sheet import require_matplotlib

_BINS = 40  # of [-1, 1]


_Values = Mapping[str, Sequence[float]]


def draw_histogram(path: Path, inside: _Values, whole: _Values, counted: str) -> None:
    """Write a histogram of correlations, one colour for each kind of features.

    Args:
        path: of the file; its suffix is the format that matplotlib writes.
        inside: correlations in [-1, 1] without the border, by kind: areas.
        whole: those of whole maps: outlines.
        counted: what is counted: "pairs", or "channels".
    """
    require_matplotlib()
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.add_subplot()
    edges = [2 * index / _BINS - 1 for index in range(_BINS + 1)]
    colours = (f"C{number}" for number in range(10))
    for kind, numbers in whole.items():
        colour = "0.55" if kind == "images" else next(colours)
        label = f"{kind}, whole maps: mean {fmean(numbers):.2f}"
        if kind in inside and kind != "images":
            text = f"{kind}, without the border: mean {fmean(inside[kind]):.2f}"
            axes.hist(inside[kind], edges, alpha=0.6, label=text, color=colour)
        elif kind == "images":
            label = f"source images: mean {fmean(numbers):.2f}"
        axes.hist(numbers, edges, histtype="step", linewidth=1.5, label=label, color=colour)
    axes.set_xlabel("correlation between the modalities")
    axes.set_ylabel(f"number of {counted}")
    axes.set_xlim(-1, 1)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(fontsize="small", loc="upper left")
    metadata = {"CreationDate": None} if path.suffix == ".pdf" else None
    figure.savefig(path, dpi=150, metadata=metadata)
