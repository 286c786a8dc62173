"""The program `yolo` of Ultralytics as a detector, where a user has installed it.

It is licensed under AGPL-3.0, so it is neither a dependency nor ever imported: a data set is
written in its layout, the program is run, and what it finds is scored here. Its boxes are read as
text, in which classes are numbered as in the data set; the numbers of its JSON begin at 0 or at 1,
depending on its version.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cddfuse.datasets.labels import Box, Size, write_yolo
from cddfuse.downstream.average_precision import Found
from cddfuse.errors import InputError
from cddfuse.evaluate.provenance import hash_files

PROGRAM = "yolo"
MAJOR = "8"
"""Version of the command line that is known here; YOLOv5 to YOLO11 are models of it."""

_TIMEOUT = 120  # seconds for its version
_LEAST_SCORE = 0.001
_SHOWN = 300  # characters of its last words


@dataclass(frozen=True)
class Yolo:
    """A program that was found."""

    path: str
    version: str
    model: str
    """Description of a network, such as yolov5nu.yaml; a file ending in .pt has been trained."""

    size: int
    """Longer side of the images, in pixels."""

    batch: int
    device: str

    @property
    def description(self) -> str:
        """What its results depend on; a model may be a file of the user's."""
        own = Path(self.model)
        content = f" ({hash_files([own])[:12]})" if own.is_file() else ""
        return f"{PROGRAM} {self.version}, {self.model}{content}"

    def train(self, data: Path, project: Path, seed: int, epochs: int) -> Path:
        """Train on a data set, from scratch, and return the file of the weights."""
        run = project / "train"
        self._run(
            f"train with seed {seed}",
            [
                "train",
                f"data={data / 'data.yaml'}",
                f"model={self.model}",
                f"epochs={epochs}",
                f"patience={epochs}",
                f"seed={seed}",
                "deterministic=True",
                "pretrained=False",
                "val=False",
                "name=train",
                *self._common(project),
            ],
        )
        weights = run / "weights" / "last.pt"
        if not weights.is_file():
            raise InputError(
                f"{PROGRAM} {self.version} left no {weights}: this version is not known here; "
                "install another, or use centernet.",
                setting="detector",
            )
        return weights

    def predict(
        self, weights: Path, data: Path, project: Path, names: Sequence[str], sizes: Sequence[Size]
    ) -> Found:
        """Boxes in the test images of a data set.

        Args:
            weights: of `train`.
            data: folder of the data set.
            project: folder of the run.
            names: files of the test images, without suffix, in order.
            sizes: of those images.
        """
        run = project / "test"
        shutil.rmtree(run, ignore_errors=True)
        self._run(
            "find boxes",
            [
                "val",
                f"model={weights}",
                f"data={data / 'data.yaml'}",
                "split=test",
                "save_txt=True",
                "save_conf=True",
                f"conf={_LEAST_SCORE}",
                "name=test",
                *self._common(project),
            ],
        )
        if not (run / "labels").is_dir():
            raise InputError(
                f"{PROGRAM} {self.version} left no folder {run / 'labels'}: this version is not "
                "known here; install another, or use centernet.",
                setting="detector",
            )
        rows = [
            (place, *row)
            for place, (name, size) in enumerate(zip(names, sizes, strict=True))
            for row in _read(run / "labels" / f"{name}.txt", size)
        ]
        table = np.array(rows, np.float64).reshape(-1, 7)
        whole = table[:, :2].astype(np.int64)
        return Found(whole[:, 0], whole[:, 1], table[:, 2], table[:, 3:])

    def _common(self, project: Path) -> list[str]:
        words = [f"imgsz={self.size}", f"batch={self.batch}", f"project={project}"]
        return [*words, f"device={self.device}", "exist_ok=True", "plots=False"]

    def _run(self, doing: str, words: Sequence[str]) -> None:
        command = [self.path, "detect", *words]
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", check=False
        )
        if done.returncode:
            said = " ".join((done.stderr.strip() or done.stdout.strip()).split())[-_SHOWN:]
            raise InputError(
                f"{PROGRAM} {self.version} could not {doing} (exit code {done.returncode}: {said})"
                f": mend that, or use centernet.",
                setting="detector",
            )


def find(model: str, size: int, batch: int, device: str) -> Yolo:
    """The program on the path, with its version."""
    path = shutil.which(PROGRAM)
    if path is None:
        raise InputError(
            f"there is no program {PROGRAM}: install one yourself (that of Ultralytics is under "
            "AGPL-3.0 and no part of this package), or use centernet.",
            setting="detector",
        )
    try:
        done = subprocess.run(
            [path, "version"], capture_output=True, text=True, timeout=_TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InputError(f"{path} cannot be run ({error}): mend it.", "detector") from error
    found = re.search(r"(\d+)\.\d+(?:\.\d+)?", done.stdout)
    if done.returncode or found is None:
        raise InputError(
            f"{path} does not say its version, so it is not the program of Ultralytics: install "
            "that, or use centernet.",
            setting="detector",
        )
    if found[1] != MAJOR:
        raise InputError(
            f"{path} is version {found[0]}, but {MAJOR}.x is known here: install one, or use "
            "centernet.",
            setting="detector",
        )
    return Yolo(path, found[0], model, size, batch, device)


def write_data_set(
    folder: Path,
    parts: Mapping[str, Sequence[tuple[str, Path, Sequence[Box], Size]]],
    classes: Sequence[str],
) -> None:
    """Write a data set in the layout of the program; images are links.

    Args:
        folder: of the data set.
        parts: name, file, objects and size of the images of train, val and test.
        classes: their names.
    """
    for part, images in parts.items():
        for side in ("images", "labels"):
            (folder / side / part).mkdir(parents=True, exist_ok=True)
        for name, path, boxes, size in images:
            link = folder / "images" / part / f"{name}{path.suffix.lower()}"
            if not link.is_file():
                link.unlink(missing_ok=True)  # to where the images once were
                _link(path.resolve(), link)
            counted = [box for box in boxes if not box.ignored]
            write_yolo(folder / "labels" / part / f"{name}.txt", counted, size)
    content = {
        "path": str(folder.resolve()),
        **{part: f"images/{part}" for part in ("train", "val", "test")},
        "names": dict(enumerate(classes)),
    }
    (folder / "data.yaml").write_text(json.dumps(content), encoding="utf-8")  # JSON is YAML


def _link(source: Path, link: Path) -> None:
    try:
        link.symlink_to(source)
    except OSError:  # Windows without the right to
        shutil.copyfile(source, link)


def _read(path: Path, size: Size) -> list[tuple[float, ...]]:
    """Class, score and corners of the boxes of an image, which has no file if it has none."""
    if not path.is_file():
        return []
    height, width = size
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            index, x, y, across, down, score = map(float, line.split())
            if not np.isfinite((index, x, y, across, down, score)).all():
                raise ValueError
        except ValueError as error:
            text = f"{path} is not what {PROGRAM} writes: class, x, y, width, height, score."
            raise InputError(text, "detector") from error
        corners = (x - across / 2, y - down / 2, x + across / 2, y + down / 2)
        scaled = (c * s for c, s in zip(corners, (width, height, width, height), strict=True))
        rows.append((index, score, *scaled))
    return rows
