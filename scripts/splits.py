"""Write the lists of `datasets/splits` from the images beside the repository: splits.py DATA.

DATA has the folders of `shared/data`. A line is a name and the fingerprints of both images.
"""

import sys
from pathlib import Path

from training_data import CASES_HELD

from cddfuse.datasets.fingerprints import fingerprint
from cddfuse.evaluate import published_grey
from cddfuse.io import PairedPaths, load_pair, pair_folders
from cddfuse.pair import ImagePair

OUT = Path(__file__).parents[1] / "src/cddfuse/datasets/splits"


def line(pair: PairedPaths) -> str:
    """Name and fingerprints of a pair."""
    first, second, name = load_pair(pair.first, pair.second, name=pair.name)[0]
    marks = fingerprint(ImagePair(published_grey(first), published_grey(second), name))
    return f"{name} {marks.first:064x} {marks.second:064x}"


def write(name: str, pairs: list[PairedPaths]) -> None:
    """Write one list."""
    text = "".join(f"{line(pair)}\n" for pair in sorted(pairs, key=lambda pair: pair.name))
    (OUT / f"{name}.txt").write_text(text, encoding="utf-8")
    print(name, len(pairs))


def main(data: Path) -> None:
    """All lists."""
    OUT.mkdir(exist_ok=True)
    for name, split in (("tno", "test"), ("roadscene", "test")):
        write(
            f"{name}_{split}",
            pair_folders(data / name / split / "vi", data / name / split / "ir").pairs,
        )
    pairs = sorted(
        pair_folders(data / "roadscene/train/vi", data / "roadscene/train/ir").pairs,
        key=lambda p: p.first,
    )
    write("roadscene_train", [p for i, p in enumerate(pairs) if i % 17])
    write("roadscene_val", pairs[::17])
    for name in ("msrs", "llvip"):
        write(
            f"{name}_sample", pair_folders(data / name / "train/vi", data / name / "train/ir").pairs
        )
    for kind in ("ct", "pet", "spect"):
        folder = data / f"mri_{kind}"
        write(f"mri_{kind}_test", pair_folders(folder / "test" / kind, folder / "test/mri").pairs)
        pairs = pair_folders(folder / "train" / kind, folder / "train/mri").pairs
        held = [pair for pair in pairs if pair.name[:-3] in CASES_HELD]
        write(f"mri_{kind}_train", [pair for pair in pairs if pair not in held])
        write(f"mri_{kind}_val", held)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
