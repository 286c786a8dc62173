"""Our scores of a network on the published test sets, beside the rows that others arrived at.

`python -m benchmarks.published didfuse --weights FILE --sets tno roadscene`; the sets are looked
for in ../shared/data. The protocol is that of `cddfuse evaluate --model`, which does the work.
"""

import argparse
from pathlib import Path

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

# In the order of PAPER_EIGHT. "paper" is from the tables of CDDFuse (CVPR 2023), of its model for
# infrared and visible ("ivf") or for medical images ("mif"). "re-derived" was made for this project
# with the evaluator of that paper in the versions it asks for: for didfuse from the weights that
# its authors released, by the rule "sum" and with the stretch; for sdnet and u2fusion from fused
# images that Linfeng Tang publishes, which for u2fusion are those of another run than the paper's.
ROWS: dict[tuple[str, str], dict[str, tuple[float, ...]]] = {
    ("cddfuse", "tno"): {"paper": (7.12, 46.00, 13.15, 2.19, 1.76, 0.77, 0.54, 1.03)},
    ("cddfuse", "roadscene"): {"paper": (7.44, 54.67, 16.36, 2.30, 1.81, 0.69, 0.52, 0.98)},
    ("cddfuse", "mri_ct"): {
        "paper, ivf": (4.83, 88.59, 33.83, 2.24, 1.74, 0.50, 0.59, 1.31),
        "paper, mif": (4.88, 79.17, 38.14, 2.61, 1.41, 0.61, 0.68, 1.34),
    },
    ("cddfuse", "mri_pet"): {
        "paper, ivf": (4.24, 81.72, 28.04, 1.87, 1.82, 0.66, 0.65, 1.46),
        "paper, mif": (4.23, 70.73, 29.57, 2.03, 1.69, 0.71, 0.71, 1.49),
    },
    ("cddfuse", "mri_spect"): {
        "paper, ivf": (3.91, 71.82, 20.68, 1.89, 1.92, 0.66, 0.69, 1.44),
        "paper, mif": (3.90, 58.31, 20.87, 2.49, 1.35, 0.97, 0.78, 1.48),
    },
    ("didfuse", "tno"): {
        "paper": (6.97, 45.12, 12.59, 1.70, 1.71, 0.60, 0.40, 0.81),
        "re-derived": (6.973, 50.122, 12.588, 1.704, 1.714, 0.604, 0.400, 0.814),
    },
    ("didfuse", "roadscene"): {
        "paper": (7.43, 51.58, 14.66, 2.11, 1.70, 0.58, 0.48, 0.86),
        "re-derived": (7.426, 56.581, 14.663, 2.115, 1.841, 0.631, 0.484, 0.857),
    },
    ("sdnet", "tno"): {
        "paper": (6.64, 32.66, 12.05, 1.52, 1.49, 0.56, 0.44, 1.00),
        "re-derived": (6.640, 32.651, 12.056, 1.516, 1.492, 0.557, 0.437, 0.997),
    },
    ("u2fusion", "tno"): {
        "paper": (6.83, 34.55, 11.52, 1.37, 1.71, 0.58, 0.44, 0.99),
        "re-derived": (6.879, 35.716, 11.708, 1.440, 1.719, 0.592, 0.446, 0.984),
    },
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
