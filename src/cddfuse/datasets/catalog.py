"""Cards of the data sets of the field: source, terms, layouts in the wild, splits, expected counts.

Nothing is downloaded and no image is kept: splits are lists of names, with fingerprints where the
images were at hand. Only the standard library is needed here.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Literal, NamedTuple

from cddfuse.errors import InputError

_SPLITS = files("cddfuse.datasets") / "splits"

Sides = tuple[str, str]
"""Folders of the first and the second images, relative to that of the data set."""


class Fingerprint(NamedTuple):
    """What a pair looks like, 256 bits an image: see `cddfuse.datasets.fingerprints`."""

    first: int
    second: int


@dataclass(frozen=True)
class Split:
    """A part of a data set."""

    pairs: int
    """Expected number."""

    listed: str = ""
    """Name of the text file in `datasets/splits`; empty where the list is not at hand."""

    folder: str = ""
    """Folder of the split in the data set."""

    note: str = ""

    def fingerprints(self) -> dict[str, Fingerprint | None]:
        """The pairs by name, with their fingerprints where those are known; empty if not listed."""
        if not self.listed:
            return {}
        text = (_SPLITS / f"{self.listed}.txt").read_text(encoding="utf-8")
        found: dict[str, Fingerprint | None] = {}
        for line in text.splitlines():
            name, *prints = line.split()
            found[name] = Fingerprint(*(int(bits, 16) for bits in prints)) if prints else None
        return found


@dataclass(frozen=True)
class Labelling:
    """Where the labels of a data set are, and what they mean."""

    boxes: tuple[str, ...] = ()
    """Names of the classes of boxes, in the order of their numbers."""

    maps: tuple[str, ...] = ()
    """Likewise of the pixels of class maps."""

    box_folders: tuple[str, ...] = ()
    """Folders that occur, beside those of the images."""

    map_folders: tuple[str, ...] = ()
    ignored: tuple[int, ...] = ()
    """Numbers of class maps that do not count, beside 255."""


@dataclass(frozen=True)
class Card:
    """Facts about a data set."""

    name: str
    """The only name: on the command line, in tables and in file names."""

    title: str
    task: Literal["ivf", "mif"]
    source: str
    """URL of the authors."""

    terms: str
    """Licence or terms, as far as they are stated."""

    size: str
    """Width x height in pixels."""

    layouts: tuple[Sides, ...]
    """Folders of first and second images that occur, below the data set or below a split."""

    splits: Mapping[str, Split] = field(default_factory=dict)
    """The first of them is what published tables of image fusion are made of."""

    scene: str = ""
    """Pattern whose first group in a name says which scene, clip or patient a pair is of; pairs of
    one are not independent. Empty where every pair counts as a scene of its own."""

    note: str = ""
    labels: Labelling = Labelling()

    unverified: tuple[str, ...] = ()
    """Fields that were written down without the authors' page or images at hand. They are marked as
    unverified wherever they are shown."""

    def marked(self, name: str, text: str) -> str:
        """A text about a field, marked where the field is unverified."""
        return f"{text} (unverified)" if name in self.unverified else text

    def scene_of(self, name: str) -> str:
        """The scene, clip or patient that a pair is of."""
        found = re.match(self.scene, name.rpartition("/")[2]) if self.scene else None
        return found[1] if found else name


_VI_IR: tuple[Sides, ...] = (
    ("vi", "ir"),
    ("Vis", "Ir"),
    ("VIS", "IR"),
    ("vis", "ir"),
    ("visible", "infrared"),
    ("Visible", "Infrared"),
    ("VI", "IR"),
)
_ASK = "none stated: research use, ask the authors"
_AANLIB = "https://www.med.harvard.edu/AANLIB/home.html"
_ATLAS = "its authors' (K. A. Johnson, J. A. Becker): ask them"
_CASE = r"(\d+)\d{3}$"


def _aanlib(kind: str, test: int, train: int, val: int) -> Card:
    low = kind.lower()
    sides = ((low, "mri"), (kind, "MRI"))
    return Card(
        f"mri_{low}",
        f"Harvard AANLIB, MRI-{kind}",
        "mif",
        _AANLIB,
        _ATLAS,
        "256x256",
        sides,
        {
            "test": Split(test, f"mri_{low}_test", "test", "the pairs of published tables"),
            "train": Split(train, f"mri_{low}_train", "train", "training of the shipped weights"),
            "val": Split(val, f"mri_{low}_val", "train", "validation of the shipped weights"),
        },
        unverified=("terms",),
        scene=_CASE,
        note="Slices of a patient are alike. All but the last three digits of a training pair's "
        "name number the patient.",
    )


LAYOUTS = _VI_IR
"""Folders of both sides that occur in data sets of infrared and visible images."""

CATALOG: Mapping[str, Card] = {
    card.name: card
    for card in (
        Card(
            "msrs",
            "MSRS",
            "ivf",
            "https://github.com/Linfeng-Tang/MSRS",
            f"{_ASK}; derived from MFNet",
            "640x480",
            _VI_IR,
            {
                "test": Split(361, folder="test"),
                "train": Split(1083, folder="train"),
                "sample": Split(34, "msrs_sample", "train", "training pairs used in this project"),
            },
            unverified=("terms",),
            note="Names end in D (day) or N (night). Labels of nine classes, boxes of some.",
            labels=Labelling(
                ("person", "bicycle", "car"),
                (
                    "unlabelled",
                    "car",
                    "person",
                    "bike",
                    "curve",
                    "car_stop",
                    "guardrail",
                    "color_cone",
                    "bump",
                ),
                ("boxes", "labels"),
                ("Segmentation_labels", "label", "labels"),
            ),
        ),
        Card(
            "tno",
            "TNO",
            "ivf",
            "https://figshare.com/articles/dataset/TNO_Image_Fusion_Dataset/1008029",
            "stated on its figshare page",
            "256x256 to 768x576",
            _VI_IR,
            {"test": Split(25, "tno_test", "test", "the pairs of published tables")},
            unverified=("terms", "note"),
            note="The whole set has some 60 scenes, with frames of three sequences 261 pairs; "
            "papers choose 10, 20, 21, 25, 37, 40 or 42 of them. Several are misregistered.",
        ),
        Card(
            "roadscene",
            "RoadScene",
            "ivf",
            "https://github.com/hanna-xu/RoadScene",
            f"{_ASK}; derived from FLIR's set",
            "about 500x300",
            (*_VI_IR, ("crop_LR_visible", "cropinfrared")),
            {
                "test": Split(50, "roadscene_test", "test", "the pairs of published tables"),
                "train": Split(160, "roadscene_train", "train", "training of the shipped weights"),
                "val": Split(11, "roadscene_val", "train", "validation of the shipped weights"),
            },
            unverified=("terms",),
            note="221 pairs. Methods trained on FLIR's set may have seen its scenes.",
        ),
        Card(
            "m3fd",
            "M3FD",
            "ivf",
            "https://github.com/JinyuanLiu-CV/TarDAL",
            _ASK,
            "1024x768",
            _VI_IR,
            {
                "fusion": Split(300, folder="M3FD_Fusion"),
                "detection": Split(4200, folder="M3FD_Detection", note="YOLO or VOC boxes"),
            },
            unverified=("terms", "splits", "size", "note"),
            note="Classes People, Car, Bus, Lamp, Motorcycle, Truck. The 8:1:1 split of the paper "
            "was not published.",
            labels=Labelling(
                ("People", "Car", "Bus", "Lamp", "Motorcycle", "Truck"),
                box_folders=("labels", "Annotation", "Annotations"),
            ),
        ),
        Card(
            "llvip",
            "LLVIP",
            "ivf",
            "https://bupt-ai-cz.github.io/LLVIP/",
            "non-commercial use, by the terms in its repository",
            "1280x1024",
            (("visible", "infrared"), *_VI_IR),
            {
                "test": Split(3463, note="visible/test and infrared/test"),
                "train": Split(12025, note="visible/train and infrared/train"),
                "sample": Split(32, "llvip_sample", "train", "training pairs used in this project"),
            },
            scene=r"(\d{2})\d{4}$",
            note="Streets at night; frames of few scenes, which the first two digits number. "
            "Boxes of persons (VOC).",
            labels=Labelling(("person",), box_folders=("Annotations", "Annotation", "boxes")),
        ),
        Card(
            "fmb",
            "FMB",
            "ivf",
            "https://github.com/JinyuanLiu-CV/SegMiF",
            _ASK,
            "800x600",
            (("Visible", "Infrared"), *_VI_IR),
            {"test": Split(280, folder="test"), "train": Split(1220, folder="train")},
            unverified=("terms", "splits", "size", "note"),
            note="Labels of fourteen classes.",
            labels=Labelling(
                maps=(
                    "background",
                    "road",
                    "sidewalk",
                    "building",
                    "lamp",
                    "sign",
                    "vegetation",
                    "sky",
                    "person",
                    "car",
                    "truck",
                    "bus",
                    "motorcycle",
                    "bicycle",
                    "pole",
                ),
                map_folders=("Label", "label", "labels"),
                ignored=(0,),
            ),
        ),
        Card(
            "vifb",
            "VIFB",
            "ivf",
            "https://github.com/xingchenzhang/VIFB",
            _ASK,
            "320x240 to 630x460",
            (("VI", "IR"), *_VI_IR),
            {"test": Split(21)},
            unverified=("terms", "size", "note"),
            note="Collected from other sets: some of its scenes are in TNO too. Its published "
            "scores have the metric profile vifb.",
        ),
        Card(
            "m3svd",
            "M3SVD",
            "ivf",
            "https://github.com/Linfeng-Tang/VideoFusion",
            _ASK,
            "640x480",
            _VI_IR,
            {"clips": Split(220, note="clips of 30 frames a second, not pairs")},
            unverified=("terms",),
            scene=r"(\d{4}_\d{4})",
            note="Registered clips: neighbouring frames are alike, split by clip.",
        ),
        _aanlib("CT", 21, 130, 19),
        _aanlib("PET", 42, 187, 82),
        _aanlib("SPECT", 73, 279, 14),
    )
}

_ROADSCENE = ("roadscene/train", "roadscene/val")
_PATIENTS = tuple(
    f"mri_{kind}/{split}" for kind in ("ct", "pet", "spect") for split in ("train", "val")
)

TRAINED_ON: Mapping[str, tuple[str, ...]] = {
    "cddfuse/ivf": (*_ROADSCENE, "msrs/sample", "llvip/sample"),
    "cddfuse/mif": _PATIENTS,
    "cddfuse_small/ivf": (*_ROADSCENE, "msrs/sample", "llvip/sample"),
    "cddfuse_small/mif": _PATIENTS,
    "didfuse/ivf": _ROADSCENE,
    "u2fusion/ivf": _ROADSCENE,
    "u2fusion/mif": _PATIENTS,
    "sdnet/ivf": _ROADSCENE,
    "sdnet/mif": _PATIENTS,
    "tardal/ivf": _ROADSCENE,
    "reconet/ivf": _ROADSCENE,
    "emfusion/mif": _PATIENTS,
}
"""Splits that shipped weights were trained or selected on, by network and name of the weights."""


def find_card(name: str) -> Card | None:
    """The card of a data set, if it has one."""
    return CATALOG.get(name.lower().replace("-", "_"))


def split_of(path: str) -> Split:
    """The split of a path such as roadscene/train."""
    name, _, split = path.partition("/")
    return CATALOG[name].splits[split]


def locate(card: Card, path: Path, split: str | None = None) -> tuple[Path, Path]:
    """The folders of first and second images of a data set that lies at a path.

    Args:
        card: of the data set.
        path: the folder of the data set, or that of one of its splits.
        split: which one to look for; None is the first of those that are there.
    """
    if not path.is_dir():
        raise InputError(f"there is no folder {path}: give that of {card.title}.", setting="data")
    wanted = [card.splits[split]] if split else list(card.splits.values())
    names = [split] if split else list(card.splits)
    below = dict.fromkeys(["", *(part.folder for part in wanted if part.folder), *names])
    for part in below:
        for first, second in card.layouts:
            for sides in (
                (path / part / first, path / part / second),
                (path / first / part, path / second / part),
            ):
                if all(_has_files(side) for side in sides):
                    return sides
    known = ", ".join(f"{first}/ and {second}/" for first, second in card.layouts)
    raise InputError(
        f"{path} has no folders of {card.title} ({known}): name the folders of both sides.",
        setting="data",
    )


def _has_files(folder: Path) -> bool:
    return folder.is_dir() and any(path.is_file() for path in folder.iterdir())
