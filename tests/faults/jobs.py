"""Small jobs whose results are the same every time, to be disturbed."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file


@dataclass(frozen=True)
class Job:
    """A command that leaves results in a folder."""

    prepare: Callable[[Path], None]
    """Makes its sources in a folder."""

    command: Callable[[Path, Path], Sequence[object]]
    """Arguments of `cddfuse`, from the folders of the sources and of the results. Run again, it
    does what is left."""

    ignored: tuple[str, ...] = ()
    """Endings of results that hold times or versions."""

    again: tuple[str, ...] = ()
    """Flags that a second run needs."""

    grows: bool = False
    """Whether files are replaced by later versions as it goes on."""

    partial: bool = False
    """Whether results that are removed are made again."""


def results(job: Job, folder: Path) -> dict[str, str]:
    """Hashes of all results by name; unfinished ones too."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_file() and not name.endswith(job.ignored or ("\0",)):
            found[name] = hashed(path)
    return found


def hashed(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def sizes(folder: Path) -> int:
    """Pages of 4 KiB that the files of a folder take."""
    return sum(-(-path.stat().st_size // 4096) for path in folder.rglob("*") if path.is_file())


def unreadable(path: Path) -> str:
    """Why a file of a run is not whole; empty if it is."""
    read = _READERS.get(path.suffix)
    try:
        if read:
            read(path)
    except Exception as error:
        return repr(error)
    return ""


def _picture(path: Path) -> None:
    with Image.open(path) as found:
        found.load()


_READERS: Mapping[str, Callable[[Path], object]] = {
    ".json": lambda path: json.loads(path.read_bytes()),
    ".yaml": lambda path: yaml.safe_load(path.read_bytes()),
    ".safetensors": lambda path: load_file(path),
    ".pt": lambda path: torch.load(path, weights_only=True),
    ".png": _picture,
}


def _counts(folder: Path) -> None:
    for side in ("vi", "ir"):
        (folder / side).mkdir()
        for number in range(6):
            counts = np.random.default_rng(number).integers(20000, 20400, (48, 64))
            tifffile.imwrite(folder / side / f"{number}.tif", counts.astype(np.uint16))


def _clips(folder: Path) -> None:
    from video_clips import noise, write_clip

    for name in ("vi.mkv", "ir.mkv"):
        write_clip(folder / name, noise(6))


def _volumes(folder: Path) -> None:
    from dicom_series import grid, scene, write_nifti

    affine = grid((2, 2, 3), (-10, -10, -5))
    for name in ("pet.nii", "mr.nii"):
        write_nifti(folder / name, scene((24, 20, 5), affine).astype(np.int16), affine)


def _pairs(folder: Path) -> None:
    from training import write_pairs

    write_pairs(folder, count=3, side=32)


def _fuse(
    first: str, second: str, result: str = "", *flags: str
) -> Callable[..., Sequence[object]]:
    def command(sources: Path, output: Path) -> Sequence[object]:
        paths = (sources / first, sources / second, "-o", output / result)
        return ["fuse", *paths, "--model", "mean", *flags]

    return command


def _train(sources: Path, output: Path) -> Sequence[object]:
    settings = ("--recipe", "reconet", "--crop", 16, "--batch", 1, "--steps", 4)
    often = ("--save-every", 1e-9, "--val-share", 0, "--quiet", "--resume")
    return ["train", sources / "vi", sources / "ir", "-o", output / "run", *settings, *often]


def _benchmark(sources: Path, output: Path) -> Sequence[object]:
    data = f"mine={sources / 'vi'},{sources / 'ir'}"
    method = ("--models", "mean", "max", "--metrics", "EN", "SD", "--pictures", "1")
    return ["benchmark", *method, "--data", data, "-o", output]


JOBS = {
    "folder": Job(_counts, _fuse("vi", "ir"), partial=True),
    "frames": Job(_clips, _fuse("vi.mkv", "ir.mkv"), partial=True),
    "clip": Job(
        _clips, _fuse("vi.mkv", "ir.mkv", "out.mkv", "--codec", "ffv1"), again=("--overwrite",)
    ),
    "slices": Job(_volumes, _fuse("pet.nii", "mr.nii"), partial=True),
    "volume": Job(_volumes, _fuse("pet.nii", "mr.nii", "out.nii.gz"), again=("--overwrite",)),
    "train": Job(_pairs, _train, (".csv", "state.pt", ".scalars", ".svg", ".png"), grows=True),
    "benchmark": Job(_pairs, _benchmark, grows=True, partial=True),
}
