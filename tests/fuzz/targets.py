"""What is done with damaged files. All that may come of it is a result or an `InputError`."""

import contextlib
import io
import os
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random

import torch
from fuzz import seeds
from fuzz.promises import require, require_whole
from fuzz.service import send_file, send_request

from cddfuse.cli import run
from cddfuse.cli.record import Asked, ranges_for
from cddfuse.colour import Colour
from cddfuse.errors import InputError
from cddfuse.evaluate import evaluate
from cddfuse.io import PairedPaths, Ranges, read_image
from cddfuse.io.boxes import read_boxes
from cddfuse.io.decode import bit_depth, holds_photo, image_size, is_thermal
from cddfuse.io.formats import Reading, Writing, open_sink, open_source
from cddfuse.io.transforms import read_transform
from cddfuse.models import MODELS, FusionModel, create_model, load_weights
from cddfuse.models.weights import load_converted
from cddfuse.pair import ImagePair
from cddfuse.pipeline import Options, Summary, fuse_all
from cddfuse.recipes.choice import Request, resolved
from cddfuse.registration import draw

Act = Callable[[Path, Random], None]
"""Uses a damaged file; the rest of its folder is free. The generator chooses among settings."""


@dataclass(frozen=True)
class Target:
    """One way in."""

    files: Callable[[], Mapping[str, bytes]]
    act: Act
    share: int
    """Of the inputs, in proportion."""


def _read(path: Path, random: Random) -> None:
    """Every way to look at one image. What reads it says how large it is; the rest never fails."""
    holds_photo(path)
    is_thermal(path)
    with contextlib.suppress(InputError):
        image_size(path)
        bit_depth(path)
    image = read_image(path)
    require(bool(image.isfinite().all()), "an image is finite")
    require(0 <= float(image.min()) <= float(image.max()) <= 1, "an image is in [0, 1]")
    require(tuple(image.shape[-2:]) == image_size(path), "the size is that of the header")


def _fuse(path: Path, random: Random) -> None:
    """A folder of two pairs, one of which is damaged: the other is done."""
    room = path.parent
    first, second = room / "vi", room / "ir"
    for side in (first, second):
        side.mkdir()
        _sound(side / "sound.png")
    damaged, whole = random.sample((first, second), 2)
    _sound(whole / "bad.png")
    path.rename(damaged / f"bad{path.suffix}")
    rules = random.choice(([], ["minmax"], ["percentile:2"], ["second=0:300"], ["10:40C"]))
    reading = Reading(
        resize=random.random() < 0.7,
        ranges=Ranges.parse(rules, agc=random.choice(("none", "none", "plateau", "clahe"))),
        leave_out=(room / "out",),
    )
    form = random.choice(("png", "tif", "jpg"))
    colour: Colour = random.choice(("ycbcr", "lab", "per-channel", "grey"))
    summary = _fused(first, second, reading, room / "out", form, Options(colour=colour))
    taken = {*summary.done, *summary.failed}
    require("sound" in taken and "bad" in taken, "every pair is done or has failed")
    if not rules:
        require("sound" in summary.done, "one bad file does not stop a folder")


def _fused(
    first: Path,
    second: Path | None,
    reading: Reading,
    output: Path,
    form: str = "png",
    options: Options | None = None,
) -> Summary:
    source = open_source(first, second, reading)
    sink = open_sink(source, Writing(output, form=form))
    try:
        return fuse_all(_mean(), source, sink, options)
    finally:
        require_whole(output)


def _sound(path: Path) -> None:
    path.write_bytes(seeds.images()["grey.png"])


@cache
def _mean() -> FusionModel:
    return create_model("mean").eval()


def _evaluate(path: Path, random: Random) -> None:
    """Scores of a result that is damaged."""
    room = path.parent
    for side in ("vi", "ir", "fused"):
        (room / side).mkdir()
        for name in ("bad", "sound"):
            _sound(room / side / f"{name}.png")
    (room / "fused" / "bad.png").unlink()
    path.rename(room / "fused" / f"bad{path.suffix}")
    pairs = [
        PairedPaths(name, room / "vi" / f"{name}.png", room / "ir" / f"{name}.png")
        for name in ("bad", "sound")
    ]
    fit = {random.choice(("resize", "crop")): random.random() < 0.5}
    evaluate(room / "fused", pairs, ("EN", "SD"), **fit)  # type: ignore[arg-type]


def _clip(path: Path, random: Random) -> None:
    """Two clips, one of which is damaged, to numbered frames."""
    whole = path.with_name("whole.mkv")
    whole.write_bytes(seeds.clips()["lossless.mkv"])
    both = random.sample((path, whole), 2)
    _fused(both[0], both[1], Reading(resize=True), path.parent / "out")


def _volume(path: Path, random: Random) -> None:
    """Two volumes, one of which is damaged, to slices."""
    whole = path.with_name("whole.nii")
    whole.write_bytes(seeds.volumes()["plain.nii"])
    both = random.sample((path, whole), 2)
    _fused(both[0], both[1], Reading(), path.parent / "out")


def _series(path: Path, random: Random) -> None:
    """A DICOM series of which one slice is damaged."""
    room = path.parent / "series"
    room.mkdir()
    kind = path.stem[:-1]
    for name, data in seeds.series().items():
        if name.startswith(kind) and name != path.name:
            (room / name).write_bytes(data)
    path.rename(room / path.name)
    whole = path.parent / "whole.nii"
    whole.write_bytes(seeds.volumes()["plain.nii"])
    both = random.sample((room, whole), 2)
    _fused(both[0], both[1], Reading(), path.parent / "out")


def _weights(path: Path, random: Random) -> None:
    """Weights for the network they are of, for another one, and for import."""
    kind = MODELS[random.choice(("reconet", "reconet", "cddfuse"))]
    if random.random() < 0.2:
        load_converted(kind, [path], {})
    else:
        model = load_weights(kind, path)
        require(isinstance(model, FusionModel), "weights make a network")


def _recipe(path: Path, random: Random) -> None:
    """Settings of training."""
    if random.random() < 0.2:
        _command("train", path.parent, path.parent, "-o", path.parent / "run", "--config", path)
    else:
        resolved(Request().over(path))


def _transform(path: Path, random: Random) -> None:
    """A transform, applied."""
    found = read_transform(path)
    one, other = torch.rand(2, 1, *seeds.SIZE)
    draw(found, ImagePair(one, other, "a"))


def _labels(path: Path, random: Random) -> None:
    """Boxes lie in the image."""
    for left, top, right, bottom in read_boxes(path, 24, 32):
        require(0 <= left <= 32 and 0 <= right <= 32, "boxes lie in the image")
        require(0 <= top <= 24 and 0 <= bottom <= 24, "boxes lie in the image")


def _record(path: Path, random: Random) -> None:
    """The value range that is stored beside results."""
    path.rename(path.with_name("fuse.json"))
    asked = random.choice((Asked(), Asked(), Asked(mapping=path.parent), Asked(agc="plateau")))
    ranges_for(path.parent, asked, overwrite=False)


def _words(path: Path, random: Random) -> None:
    """Flags of the command line."""
    room = path.parent
    for side in ("vi", "ir"):
        (room / side).mkdir()
        _sound(room / side / "a.png")
    text = path.read_bytes().decode("utf-8", "surrogateescape").replace("\0", "")
    try:
        flags = shlex.split(text)
    except ValueError:
        flags = text.split()
    if any(flag.startswith("-") and "".join(flag.split("=")[:1]) not in _FLAGS for flag in flags):
        flags = [flag for flag in flags if not flag.startswith("-")]  # such as --output elsewhere
    model = ("--model", "mean")
    _command("fuse", room / "vi", room / "ir", "-o", room / "out", *model, *flags)
    require_whole(room / "out")


_FLAGS = {
    *("--range", "--kelvin-per-count", "--memory", "--tile", "--shard", "--suffix", "--option"),
    *("--precision", "--agc", "--bits", "--format", "--colour", "--resize", "--strip", "--codec"),
    *("--crf", "--offset", "--device", "--json", "--stretch"),
}


def _command(*arguments: object) -> None:
    """A command ends with one of its exit codes, and says so in sentences."""
    said = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
        code = run([os.fspath(each) if isinstance(each, Path) else str(each) for each in arguments])
    require(code in (0, 1, 2), f"the exit code is 0, 1 or 2, not {code}")
    require("Traceback" not in said.getvalue(), "nobody is shown a traceback")


def _serve(path: Path, random: Random) -> None:
    """An image in a request."""
    send_file(path, seeds.images()["grey.png"], random)


def _request(path: Path, random: Random) -> None:
    """A whole request."""
    send_request(path)


TARGETS: Mapping[str, Target] = {
    "read": Target(seeds.images, _read, 36),
    "thermal": Target(seeds.thermal, _read, 12),
    "fuse": Target(seeds.images, _fuse, 10),
    "fuse_thermal": Target(seeds.thermal, _fuse, 4),
    "evaluate": Target(seeds.images, _evaluate, 4),
    "clip": Target(seeds.clips, _clip, 5),
    "volume": Target(seeds.volumes, _volume, 6),
    "series": Target(seeds.series, _series, 4),
    "weights": Target(seeds.weights, _weights, 6),
    "recipe": Target(seeds.recipes, _recipe, 4),
    "transform": Target(seeds.transforms, _transform, 3),
    "labels": Target(seeds.labels, _labels, 3),
    "record": Target(seeds.records, _record, 2),
    "words": Target(seeds.words, _words, 1),
    "serve": Target(seeds.images, _serve, 8),
    "serve_thermal": Target(seeds.thermal, _serve, 3),
    "request": Target(seeds.requests, _request, 5),
}
