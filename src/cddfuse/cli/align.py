"""The verb `align`."""

import json as json_format
import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
from cyclopts import Parameter
from rich.console import Console
from torch import Tensor

from cddfuse.cli.common import Flag, Words, stderr
from cddfuse.errors import InputError, exists_already, trouble
from cddfuse.io import PairedPaths, Ranges, expanded, load_pair, output_format, resolve, write_image
from cddfuse.io.thermal.reading import pair_in
from cddfuse.io.transforms import write_transform
from cddfuse.io.video.settings import names_clip
from cddfuse.pair import ImagePair
from cddfuse.registration import (
    Kind,
    Transform,
    checkerboard,
    draw,
    from_points,
)
from cddfuse.registration import align as find

_MISSED = 5.0  # pixels by which a point may be missed without a word


def align(
    first: Path,
    second: Path | None = None,
    /,
    *,
    output: Annotated[Path, Parameter(alias="-o")],
    kind: Kind = "similarity",
    scale: float | None = None,
    points: Words = (),
    check: Path | None = None,
    force: Flag = False,
    range: Words = (),
    overwrite: Flag = False,
    json: Flag = False,
    quiet: Flag = False,
) -> int:
    """Find where the second image of an unregistered pair lies in the first.

    Writes a small file for `fuse --transform`, which also serves all other pairs of the same two
    cameras. Rotations up to 6 degrees, scales within 12 % of the nominal one and shifts up to 13 %
    of the longer side are found. If the result cannot be trusted, nothing is written and the exit
    code is 2.

    Args:
        first: Visible image (PET, SPECT, CT), or a clip, of which a frame in the middle is taken.
        second: Infrared image (MRI) of the same scene, of any size, or a clip. Not needed for
            radiometric files of FLIR that hold a visible photo.
        output: File of the transform (.json).
        kind: What the transform may be: similarity (shift, rotation, scale), affine or homography.
        scale: Pixels of the first image per pixel of the second; by default both images show the
            same width of the scene.
        points: Points that correspond, instead of a search: X,Y,X2,Y2 each, in pixels of the first
            and of the second image, or a file with one per line. 2, 3 or 4 at least, by kind.
        check: Write a checkerboard of both images to this file (PNG): edges run on from square to
            square where they are aligned.
        force: Write a result that cannot be trusted.
        range: Values that become black and white, as in `fuse`.
        overwrite: Replace files that exist.
        json: Print the transform and its confidence as JSON.
        quiet: Print nothing but errors.
    """
    first, output = expanded(first), expanded(output)
    second = expanded(second) if second else _itself(first)
    check = expanded(check) if check else None
    _refuse_places(first, second, output, check, overwrite)
    pair = _read(first, second, range)
    console, facts = stderr(quiet), dict[str, object]()
    if points:
        transform, missed = _by_points(pair, points, kind, console)
        facts["missed"] = [round(value, 3) for value in missed.tolist()]
    else:
        transform, doubt, gap = _by_search(pair, first, second, kind, scale, force)
        facts.update(gap=round(gap, 4), trusted=not doubt)
        if doubt:
            console.print(f"warning: {doubt}")
        if transform.kind != kind:
            console.print(f"a similarity fits as well as any {kind}, so it is one")
    drawn = draw(transform, pair)
    if check:
        board = checkerboard(pair._replace(second=drawn.image), drawn.covered)
        write_image(check, board, overwrite=overwrite)
    write_transform(output, transform, overwrite=overwrite)
    share = 1.0 if drawn.covered is None else float((drawn.covered > 0).float().mean())
    sure = "" if transform.confidence is None else f", confidence {transform.confidence:.2f}"
    both = f"both images of {first}" if second == first else f"{second} with {first}"
    console.print(
        f"aligned {both}: moved by {transform.shift:.1f} px, covers {share:.0%}"
        f"{sure}: {output}{f', {check}' if check else ''}"
    )
    if json:
        print(_as_json(transform, output, share, facts))
    return 0


def _itself(path: Path) -> Path:
    """A file that holds both images."""
    if path.is_file() and (names_clip(path) or pair_in(path) is None):
        noun = "clip" if names_clip(path) else "image"
        raise InputError(f"{path} is one {noun}: give the second one too.")
    return path


def _refuse_places(
    first: Path, second: Path, output: Path, check: Path | None, overwrite: bool
) -> None:
    for source in (first, second):
        if os.path.isdir(source):
            raise InputError(f"{source} is a folder: give one pair of images of these cameras.")
        if not os.path.exists(source):
            raise InputError(f"there is no file {source}: check the name.")
    places = [("output", output)] + ([("check", check)] if check else [])
    for setting, place in places:
        if os.path.isdir(place):
            raise InputError(f"{place} is a folder: give the name of a file.", setting=setting)
        if place.resolve() in (first.resolve(), second.resolve()):
            raise InputError(f"{place} is a source: choose another name.", setting=setting)
        if os.path.lexists(place) and not overwrite:
            raise exists_already(place)
    if output.suffix.lower() != ".json":
        raise InputError(f"{output} is no JSON file: choose a name that ends with .json.", "output")
    if check:
        output_format(check, 8)


def _read(first: Path, second: Path, texts: tuple[str, ...]) -> ImagePair:
    if names_clip(first) or names_clip(second):
        from cddfuse.io.video.opening import middle_pair

        return middle_pair(first, second, Ranges.parse(texts))
    ranges, _ = resolve(Ranges.parse(texts), [PairedPaths(first.stem, first, second)])
    with trouble(f"read {first} and {second}", Exception):
        return load_pair(first, second, name="", ranges=ranges, any_size=True)[0]


def _by_search(
    pair: ImagePair, first: Path, second: Path, kind: Kind, scale: float | None, force: bool
) -> tuple[Transform, str, float]:
    """The transform, why it cannot be trusted, and its lead over others."""
    with trouble(f"align {first} and {second}"):
        found = find(pair, kind, scale)
    if found.doubt and not force:
        raise InputError(
            f"{second} could not be aligned with {first}, for {found.doubt}: check that they show "
            "one scene, give the scale or points, or write the result all the same.",
            setting=("scale", "points", "force"),
        )
    return found.transform, found.doubt, found.gap


def _by_points(
    pair: ImagePair, texts: tuple[str, ...], kind: Kind, console: Console
) -> tuple[Transform, Tensor]:
    sizes = [(image.shape[-2], image.shape[-1]) for image in pair[:2]]
    transform, missed = from_points(_points(texts), sizes[0], sizes[1], kind)
    worst = int(missed.argmax())
    if missed[worst] > _MISSED:
        console.print(f"warning: point {worst + 1} is missed by {missed[worst]:.1f} px: check it")
    return replace(transform, method="points"), missed


def _points(texts: tuple[str, ...]) -> Tensor:
    """Points (N, 4) of the words of a flag, or of the lines of a file."""
    lines = texts
    if len(texts) == 1 and os.path.isfile(expanded(Path(texts[0]))):
        with trouble(f"read {texts[0]}", Exception):
            content = expanded(Path(texts[0])).read_text(encoding="utf-8")
        lines = tuple(line for line in content.splitlines() if line.strip())
    points = []
    for line in lines:
        try:
            values = [float(word) for word in line.replace(",", " ").split()]
        except ValueError:
            values = []
        if len(values) != 4:
            raise InputError(
                f"{line[:40]} is no point: write X,Y,X2,Y2, in pixels of both images.",
                setting="points",
            )
        points.append(values)
    return torch.tensor(points, dtype=torch.float64).reshape(-1, 4)


def _as_json(transform: Transform, output: Path, share: float, facts: dict[str, object]) -> str:
    return json_format.dumps(
        {
            "path": str(output),
            "kind": transform.kind,
            "first_to_second": transform.matrix,
            "confidence": transform.confidence,
            "moved": round(transform.shift, 3),
            "covered": round(share, 4),
            **facts,
        },
        indent=2,
    )
