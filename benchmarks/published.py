"""Our scores of a network on the published test sets, beside the rows that others arrived at.

`python -m benchmarks.published didfuse --weights FILE --sets tno roadscene`; the sets are looked
for in ../shared/data. The protocol is that of `cddfuse evaluate --model`, which does the work.
"""

import argparse
from pathlib import Path

from cddfuse.benchmark.published import ROWS
from cddfuse.evaluate import evaluate
from cddfuse.io import pair_folders
from cddfuse.metrics import PAPER_EIGHT
from cddfuse.models.load import load_network
from cddfuse.runtime import prepare_process

FOLDERS = {
    "tno": ("vi", "ir"),
    "roadscene": ("vi", "ir"),
    "mri_ct": ("ct", "mri"),
    "mri_pet": ("pet", "mri"),
    "mri_spect": ("spect", "mri"),
}


def compared(model: str, place: str, ours: tuple[float, ...]) -> list[str]:
    """Lines of a table: our row, then each known one and what ours is more."""
    lines = [_line("", PAPER_EIGHT), _line("ours", [f"{value:.3f}" for value in ours])]
    for who, row in ROWS.get((model, place), {}).items():
        more = [f"{mine - theirs:+.3f}" for mine, theirs in zip(ours, row, strict=True)]
        lines += [_line(who, [f"{value:.3f}" for value in row]), _line("  ours more by", more)]
    return lines


def _line(name: str, cells: "list[str] | tuple[str, ...]") -> str:
    return f"{name:16}" + "".join(f"{cell:>9}" for cell in cells)


def main() -> None:
    prepare_process()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--weights")
    parser.add_argument("--task", choices=("ivf", "mif"), default="ivf")
    parser.add_argument("--sets", nargs="+", choices=FOLDERS, default=("tno", "roadscene"))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--limit", type=int)
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    network = load_network(
        arguments.model, arguments.task, arguments.weights, device=arguments.device
    )
    for place in arguments.sets:
        first, second = (arguments.data / place / "test" / side for side in FOLDERS[place])
        pairs = pair_folders(first, second).pairs
        scores = evaluate(network, pairs, limit=arguments.limit)
        for table, rows in scores.summaries.items():
            print(f"{arguments.model}, {place}, {len(scores.images)} pairs, {table}")
            ours = tuple(rows["fused"][name].mean for name in PAPER_EIGHT)
            print(*compared(arguments.model, place, ours), sep="\n")
        for name, reason in scores.failed.items():
            print(f"failed: {name}: {reason}")


if __name__ == "__main__":
    main()
