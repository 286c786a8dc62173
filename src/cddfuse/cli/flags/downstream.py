"""Flags that both commands of `downstream` have."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cyclopts import Parameter

from cddfuse.cli.common import Flag, Words
from cddfuse.datasets.labelled import LabelRequest
from cddfuse.errors import InputError
from cddfuse.io import Ranges, expanded


@Parameter(name="*", group="Data")
@dataclass(frozen=True)
class LabelFlags:
    """Where labels are, and what they mean."""

    name: str | None = None
    """Which data set of `cddfuse data list` it is; by default the one whose name is in the path."""

    labels: Path | None = None
    """Folder of the labels, or a COCO file; by default it is looked for."""

    classes: Words = ()
    """Names of the classes in the order of their numbers; by default those of the data set, or of
    its file box_classes.txt or map_classes.txt."""

    map: Words = ()
    """Classes to rename, merge or leave out: bus=car truck=car tree= ."""

    first_class: int = 0
    """Number of the first class in YOLO text and label images."""

    voc_origin: Literal["0", "1"] = "1"
    """Number of the first pixel in files of Pascal VOC."""

    unlabelled: Literal["refuse", "skip", "background"] = "refuse"
    """Images without a file of labels: refuse the data set, skip them, or take them as images
    without objects."""

    split: Path | None = None
    """File of an earlier run (split.txt), or a folder with train.txt and test.txt; by default the
    folders train and test of the data set, or else our own split by scene."""

    shares: str = "8:1:1"
    """Shares of train, validation and test of our own split."""

    scene: str | None = None
    """Pattern whose first group in a name says the scene, such as (\\\\d+)_ , or a text file with a
    name and its scene on each line; by default the pattern of the data set, or blocks of
    consecutive names."""

    duplicates: Literal["refuse", "drop"] = "refuse"
    """Copies of one image on two sides of a given split: refuse it, or drop them from training."""

    range: Words = ()
    """Values of the sources that become black and white, as for fuse; automatic by default, one
    mapping for all pairs."""

    def request(self, path: Path) -> LabelRequest:
        """What the library takes."""
        renamed = {}
        for word in self.map:
            name, given, other = word.partition("=")
            if not name or not given:
                raise InputError(f"{word} renames no class: write NAME=OTHER, or NAME= .", "map")
            renamed[name] = other
        if not re.fullmatch(r"\d+:\d+:\d+", self.shares):
            text = f"the shares are {self.shares}: give three numbers, such as 8:1:1."
            raise InputError(text, "shares")
        return LabelRequest(
            expanded(path),
            self.name,
            self.labels and expanded(self.labels),
            tuple(self.classes),
            renamed,
            self.first_class,
            1 if self.voc_origin == "1" else 0,
            self.unlabelled,
            self.split and expanded(self.split),
            tuple(map(int, self.shares.split(":"))),
            _file_or_pattern(self.scene),
            self.duplicates,
        )

    def ranges(self) -> Ranges:
        """How values become [0, 1]."""
        return Ranges.parse(self.range)


@Parameter(name="*", group="Training")
@dataclass(frozen=True)
class TrainingFlags:
    """How the instrument is trained."""

    protocol: Literal["retrain", "frozen"] = "retrain"
    """retrain: an instrument for each input and seed. frozen: one for each seed, trained on
    --train-on, that all inputs are shown to."""

    train_on: Words = ("vi", "ir")
    """Inputs that a frozen instrument is trained on, together; vi ir by default."""

    seeds: int = 5
    """Trainings of each row."""

    steps: int | None = None
    """Steps of each training; by default as many as fit into the budget, the same for all rows."""

    budget: str = "3min"
    """Processor time of each training: 90s, 3min, 1h."""

    batch: int = 4
    """Images of a step."""

    rate: float = 2e-3
    """Peak learning rate."""

    size: int = 320
    """Longer side of the images that the instrument sees, in pixels; never enlarged."""

    backbone: Path | None = None
    """A file of a pretrained ResNet-18 or 34 (names of torchvision), in place of the small backbone
    from scratch; segformer takes none."""

    jobs: int = 0
    """Trainings at a time, each in a process of its own; by default one for each core."""


@Parameter(name="*", group="Report")
@dataclass(frozen=True)
class ShownFlags:
    """What is written and printed."""

    pictures: int = 4
    """Test images on the sheet; 0 makes none."""

    correlate: str | None = None
    """A class, or `mean`: correlate the eight scores of the published tables, and target contrast,
    with the result for it over the rows (four or more); writes correlation.md and .png."""

    json: Flag = False
    """Print downstream.json instead of the tables."""

    quiet: Flag = False
    """Print nothing but errors."""


def _file_or_pattern(text: str | None) -> Path | str | None:
    """A path if there is such a file, which no sensible pattern is the name of."""
    path = expanded(Path(text)) if text else None
    return path if path and path.is_file() else text


def seconds(text: str) -> float:
    """Seconds in a text such as 90s, 3min or 1h."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|min|h)", text.strip())
    if not match or not float(match[1]):
        raise InputError(f"{text} is no time: write 90s, 3min or 1h.", setting="budget")
    return float(match[1]) * {"s": 1, "min": 60, "h": 3600}[match[2]]
