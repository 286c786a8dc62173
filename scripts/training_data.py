"""Lay out the pairs that the shipped weights are trained on: training_data.py ivf|mif DATA OUT.

DATA has the folders roadscene, msrs, llvip and m3svd, or mri_ct, mri_pet and mri_spect. OUT
receives one folder for each source of pairs, and `val`, whose scenes and patients occur in no
other. Only what has to be resized or taken out of a video is copied; all else are links.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

CROP = 256  # sides of all pairs are at least that
MSRS_HELD = {"00633D", "00881N", "01023N"}
CLIP_HELD = "0111_1716"
CASES_HELD = {"2", "11", "30"}  # the last three digits of a name number the slices of a case


def infrared(data: Path, out: Path) -> None:
    """Visible and infrared; `halved` has whole scenes of MSRS, LLVIP and M3SVD at about half size.

    In these, bodies near the camera and what surrounds them fit into a crop. `squares` has whole
    images of all sets, for students of networks whose attention spans the image.
    """
    for side in ("vi", "ir"):
        _roadscene(data / "roadscene/train" / side, out, side)
        _msrs(data / "msrs/train" / side, out, side)
        _llvip(data / "llvip/train" / side, out, side)
        for clip in sorted((data / "m3svd" / side).glob("*.mp4")):
            _m3svd(clip, out, side)
        for name in ("roadscene", "msrs", "llvip", "m3svd"):
            for path in sorted((out / name / side).iterdir()):
                square = cv2.resize(_read(path), (CROP, CROP), interpolation=cv2.INTER_AREA)
                _write(square, out / "squares" / side / f"{name}_{path.stem}.png")


def _roadscene(folder: Path, out: Path, side: str) -> None:
    for number, path in enumerate(sorted(folder.iterdir())):
        image = _read(path)
        enlarge = (CROP + 1) / min(image.shape[:2])
        name = f"rs_{path.name}"
        if number % 17 == 0:
            _link(path, out / "val" / side / name)
        elif enlarge > 1:
            large = cv2.resize(image, None, fx=enlarge, fy=enlarge, interpolation=cv2.INTER_CUBIC)
            _write(large, out / "roadscene" / side / f"rs_{path.stem}.png")
        else:
            _link(path, out / "roadscene" / side / name)


def _msrs(folder: Path, out: Path, side: str) -> None:
    for path in sorted(folder.iterdir()):
        if path.stem in MSRS_HELD:
            _link(path, out / "val" / side / f"msrs_{path.name}")
        else:
            _link(path, out / "msrs" / side / path.name)
            _write(_reduced(_read(path), 0.54), out / "halved" / side / f"msrs_{path.stem}.png")


def _llvip(folder: Path, out: Path, side: str) -> None:
    for path in sorted(folder.glob("*.jpg")):
        half = _reduced(_read(path), 0.5)
        name = f"{path.stem}.png"
        if path.stem.startswith("0101"):  # another scene than 0100
            _write(half, out / "val" / side / f"llvip_{name}")
        else:
            _write(half, out / "llvip" / side / name)
            if int(path.stem) % 2:
                _write(_reduced(half, 0.54), out / "halved" / side / f"llvip_{name}")


def _m3svd(clip: Path, out: Path, side: str) -> None:
    """One frame of twenty, so that frames differ; of the clip for validation one of a hundred."""
    film, number = cv2.VideoCapture(str(clip)), 0
    while True:
        there, frame = film.read()
        if not there:
            break
        name = f"{clip.stem}_{number:04}.png"
        if clip.stem == CLIP_HELD:
            if number % 100 == 10:
                _write(frame, out / "val" / side / f"m3svd_{name}")
        elif number % 20 == 0:
            _write(frame, out / "m3svd" / side / name)
            if number % 40 == 0:
                _write(_reduced(frame, 0.54), out / "halved" / side / f"m3svd_{name}")
        number += 1


def medical(data: Path, out: Path) -> None:
    """CT, PET or SPECT, and MRI. Validation has one slice of three."""
    for kind in ("ct", "pet", "spect"):
        folder = data / f"mri_{kind}/train"
        for path in sorted((folder / kind).iterdir()):
            held = path.stem[:-3] in CASES_HELD
            if held and int(path.stem[-3:]) % 3:
                continue
            place = out / ("val" if held else kind)
            name = f"mri_{kind}_{path.name}" if held else path.name
            _link(path, place / ("ct" if held else kind) / name)
            _link(folder / "mri" / path.name, place / "mri" / name)


def _read(path: Path) -> np.ndarray:
    image = cv2.imread(str(path))
    if image is None:
        raise SystemExit(f"{path} cannot be read.")
    return image


def _reduced(image: np.ndarray, share: float) -> np.ndarray:
    return cv2.resize(image, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)


def _write(image: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image)


def _link(source: Path, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_symlink():
        path.symlink_to(source.resolve())


if __name__ == "__main__":
    tasks: dict[str, Callable[[Path, Path], None]] = {"ivf": infrared, "mif": medical}
    if len(sys.argv) != 4 or sys.argv[1] not in tasks:
        raise SystemExit(__doc__)
    tasks[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))
