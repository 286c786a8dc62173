"""What an instrument sees: a source, both as channels, or fused images, made once and kept."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cddfuse import colour
from cddfuse.downstream.frames import Frames
from cddfuse.downstream.kept import reading
from cddfuse.errors import InputError, some_of, trouble
from cddfuse.evaluate.matching import match_fused
from cddfuse.evaluate.provenance import (
    hash_code,
    hash_facts,
    hash_files,
    hash_pairs,
    hash_weights,
    own_sources,
)
from cddfuse.io import PairedPaths, expanded, load_pair, read_image, replacing, write_image
from cddfuse.io.image_files import ImageFiles, ImagePairs
from cddfuse.io.ranges import Ranges
from cddfuse.models import MODELS
from cddfuse.models.base import FusionModel
from cddfuse.models.load import load_network
from cddfuse.models.weights import constructor_options
from cddfuse.pipeline import fuse_all
from cddfuse.runtime import Limits

SOURCES = ("vi", "ir", "early")
"""The visible image, the infrared image, and both as the channels of one."""

_CODE = ("fuse.py", "pipeline.py", "colour.py", "filters.py", "layers", "io", "runtime")
_CODE_HERE = ("downstream/inputs.py", "downstream/frames.py", "io")

Arrays = NDArray[np.uint8]
"""(images, C, H, W)"""


@dataclass(frozen=True)
class Input:
    """One row of a table."""

    label: str
    kind: Literal["source", "network", "folder"]
    model: str = ""
    weights: str | None = None
    folder: Path | None = None

    @property
    def channels(self) -> int:
        """Of its images."""
        return 4 if self.label == "early" else 3


def parse_inputs(words: Sequence[str]) -> list[Input]:
    """Inputs of words: vi, ir, early, names of networks, NAME=WEIGHTS and NAME=FOLDER."""
    found = [_parsed(word) for word in words]
    labels = [each.label for each in found]
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice:
        raise InputError(f"two inputs are called {twice}: rename one, or leave it out.", "inputs")
    if not found:
        raise InputError("there are no inputs: name some, such as vi ir mean cddfuse.", "inputs")
    return found


def _parsed(word: str) -> Input:
    name, given, place = word.partition("=")
    if not given:
        if name in SOURCES:
            return Input(name, "source")
        if name in MODELS:
            return Input(name, "network", name)
        known = ", ".join((*SOURCES, *MODELS))
        raise InputError(
            f"there is no input {name}: use {known}, or NAME=FOLDER for results of a tool.",
            setting="inputs",
        )
    if not name or not place or name in SOURCES:
        raise InputError(f"{word} is no input: write NAME=FOLDER, with another name.", "inputs")
    folder = expanded(Path(place))
    if folder.is_dir():
        return Input(name, "folder", folder=folder)
    if name in MODELS:
        return Input(
            f"{name} ({Path(place).stem if '.' in place else place})", "network", name, place
        )
    raise InputError(f"there is no folder {folder}, nor a network {name}: check both.", "inputs")


@dataclass(frozen=True)
class Prepared:
    """An input whose images are ready."""

    label: str
    channels: int
    key: str
    """Changes with anything that its images depend on."""

    arrays: Path
    """File of the images at the size of the instruments, (images, C, H, W) in 8 bits."""

    pictures: Mapping[str, Path]
    """Files of the images as they are; the visible ones for `early`."""

    facts: Mapping[str, Any]

    def open(self) -> Arrays:
        """The images, read from disk when they are used."""
        with reading(self.arrays):
            found: Arrays = np.load(self.arrays, mmap_mode="r")
            return found


class Preparation:
    """Makes the images of inputs, once, and keeps them.

    Args:
        frames: the data set at the size of the instruments.
        ranges: how the values of both sides become [0, 1].
        out: folder of what is kept.
        device: of the networks.
        limits: of the networks.
    """

    def __init__(
        self,
        frames: Frames,
        ranges: Ranges,
        out: Path,
        device: str = "auto",
        limits: Limits | None = None,
    ) -> None:
        self.frames, self.ranges, self.out = frames, ranges, out
        self.device, self.limits = device, limits
        self.pairs = [frames.labelled.pairs[name] for name in frames.names]
        self._data = hash_pairs(self.pairs)

    def make(self, given: Input, after: Callable[[str], None] = lambda name: None) -> Prepared:
        """The images of an input; those that exist are kept.

        Args:
            given: what to make.
            after: called with the name of each image.
        """
        facts: dict[str, Any] = {"data": self._data, "ranges": list(self.ranges.texts)}
        network = None
        if given.kind == "network":
            network = load_network(given.model, "ivf", given.weights, {}, self.device)
            facts |= {
                "model": given.model,
                "weights": given.weights or "",
                "weights_sha256": hash_weights(network, given.weights),
                "options": {k: repr(v) for k, v in constructor_options(network).items()},
                "code": hash_code(_CODE, own_sources(type(network))),
                **_running(network, self.limits or Limits()),
            }
        files: dict[str, Path] = {}
        if given.kind == "folder":
            assert given.folder is not None
            files = self._matched(given.label, given.folder)
            facts["results"] = hash_files(files.values())
        facts["kind"] = given.label if given.kind == "source" else given.kind
        key = hash_facts(facts)
        place = self.out / "inputs" / f"{_safe(given.label)}-{key[:12]}"
        if network is not None:
            files = self._fused(network, given.label, place, after)
        elif given.kind == "source":
            files = {p.name: p.second if given.label == "ir" else p.first for p in self.pairs}
        geometry = [self.frames.side, self.frames.names, self.frames.canvas, hash_code(_CODE_HERE)]
        arrays = place / f"images-{hash_facts([facts, geometry])[:12]}.npy"
        if not arrays.is_file():
            self._pack(given, files, arrays)
        return Prepared(given.label, given.channels, key, arrays, files, facts)

    def _matched(self, label: str, folder: Path) -> dict[str, Path]:
        found = match_fused(folder, self.pairs)
        if found.missing:
            shown = some_of(found.missing)
            raise InputError(
                f"{folder} lacks {len(found.missing)} of {len(self.pairs)} images ({shown}), so "
                f"{label} would be trained on others: complete it, or leave it out.",
                setting="inputs",
            )
        return found.files

    def _fused(
        self, network: Any, label: str, place: Path, after: Callable[[str], None]
    ) -> dict[str, Path]:
        """Fuse all pairs in colour, as files of 8 bits."""

        def path(name: str) -> Path:
            return place / "fused" / f"{name}.png"

        from cddfuse.pipeline import Options

        source = ImagePairs(self.pairs, ranges=self.ranges)
        sink = ImageFiles(path, bits=8, strip=True)
        summary = fuse_all(network, source, sink, Options(limits=self.limits), after=after)
        if summary.failed:
            name, reason = next(iter(summary.failed.items()))
            count = f"{len(summary.failed)} of {len(self.pairs)} pairs"
            raise InputError(f"{label} could not fuse {count}, such as {name}: {reason}")
        return {pair.name: path(pair.name) for pair in self.pairs}

    def _pack(self, given: Input, files: Mapping[str, Path], path: Path) -> None:
        height, width = self.frames.canvas
        shape = (len(self.pairs), given.channels, height, width)
        with replacing(path) as temporary:
            out = np.lib.format.open_memmap(temporary, "w+", np.uint8, shape)
            for place, pair in enumerate(self.pairs):
                with trouble(f"read the images of {pair.name}"):
                    if given.kind == "source":
                        image = source_image(given.label, pair, self.ranges)
                    else:
                        image = _coloured(read_image(files[pair.name]))
                self._require_size(given, pair, image)
                out[place] = self.frames.fitted(pair.name, image)
            out.flush()
            del out

    def _require_size(self, given: Input, pair: PairedPaths, image: Tensor) -> None:
        height, width = self.frames.labelled.sizes[pair.name]
        if image.shape[-2:] != (height, width):
            size = f"{image.shape[-1]}x{image.shape[-2]}"
            raise InputError(
                f"{pair.name} of {given.label} is {size}, but its labels are for {width}x{height}: "
                "give images of the size of their sources.",
                setting="inputs",
            )


def _running(network: FusionModel, limits: Limits) -> dict[str, Any]:
    """Where and within which limits a network fuses, as far as that changes its images.

    Nothing for the defaults on a CPU, so that what older versions kept stays valid there.
    """
    chosen = {
        each.name: getattr(limits, each.name)
        for each in fields(limits)
        if each.name not in ("progress", "graphs") and getattr(limits, each.name) != each.default
    }
    device = next((x.device.type for x in network.parameters()), "cpu")
    return ({"limits": chosen} if chosen else {}) | ({"device": device} if device != "cpu" else {})


def source_image(label: str, pair: PairedPaths, ranges: Ranges) -> Tensor:
    """A source as instruments see it, (C, H, W) in [0, 1]."""
    images, _ = load_pair(pair.first, pair.second, name=pair.name, ranges=ranges)
    if label == "vi":
        return _coloured(images.first)
    if label == "ir":
        return _coloured(images.second)
    return torch.cat([_coloured(images.first), colour.luma(images.second)])


def as_files(
    prepared: Prepared, pairs: Sequence[PairedPaths], ranges: Ranges, out: Path
) -> dict[str, Path]:
    """Images of an input as files that others read, by name: those of sources are written.

    Args:
        prepared: the input; `early` has no images that others could read.
        pairs: whose images.
        ranges: how the values of both sides become [0, 1].
        out: folder of what is kept.
    """
    if prepared.facts["kind"] not in SOURCES:
        return {pair.name: prepared.pictures[pair.name] for pair in pairs}
    folder = out / "images" / f"{prepared.label}-{prepared.key[:12]}"
    files = {pair.name: folder / f"{pair.name}.png" for pair in pairs}
    for pair in pairs:
        if not files[pair.name].is_file():
            write_image(files[pair.name], source_image(prepared.label, pair, ranges))
    return files


def _coloured(image: Tensor) -> Tensor:
    return image.expand(3, -1, -1) if image.shape[0] == 1 else image


def _safe(label: str) -> str:
    return "".join(sign if sign.isalnum() or sign in "-_.()" else "_" for sign in label)[:80]
