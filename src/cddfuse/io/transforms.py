"""Files that hold the transform between two images, small JSON of a versioned schema; its use."""

import json
import math
import os
from pathlib import Path
from typing import Any, get_args

from cddfuse.errors import InputError, exists_already, trouble
from cddfuse.io.files import replacing
from cddfuse.io.source import Loaded
from cddfuse.registration import Kind, Transform, draw

SCHEMA, VERSION = "cddfuse.transform", 1
_LARGEST = 2**16  # bytes of a file
_LONGEST = 2**31 - 1  # pixels of a side


def located(loaded: Loaded, transform: Transform | None) -> Loaded:
    """A pair whose second image, of any size, is drawn in the frame of the first."""
    if transform is None:
        return loaded
    second, covered = draw(transform, loaded.pair)
    return loaded._replace(pair=loaded.pair._replace(second=second), covered=covered)


def write_transform(path: Path, transform: Transform, *, overwrite: bool = False) -> None:
    """Write a transform, atomically."""
    if os.path.lexists(path) and not overwrite:
        raise exists_already(path)
    content = {
        "schema": SCHEMA,
        "version": VERSION,
        "kind": transform.kind,
        "method": transform.method,
        "confidence": transform.confidence,
        "first": {"width": transform.first[0], "height": transform.first[1]},
        "second": {"width": transform.second[0], "height": transform.second[1]},
        "first_to_second": transform.matrix,
    }
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def read_transform(path: Path) -> Transform:
    """Read what `write_transform` wrote.

    Raises:
        InputError: it is not such a file, or would not draw an image.
    """
    if not os.path.isfile(path):
        raise InputError(f"there is no file {path}: check the name.", setting="transform")
    with trouble(f"read {path}"), path.open("rb") as file:
        data = file.read(_LARGEST + 1)
    try:
        if len(data) > _LARGEST:
            raise ValueError("it is too large")
        return _transform(json.loads(data.decode("utf-8"), parse_constant=_refused))
    except (ValueError, RecursionError) as error:
        why = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise InputError(
            f"{path} is not the file of a transform ({why.removesuffix('.')}): write one by "
            "aligning a pair.",
            setting="transform",
        ) from error


def _transform(content: object) -> Transform:
    facts = _known(content, "schema", "version", "kind", "method", "confidence", "first", "second")
    if facts["schema"] != SCHEMA:
        raise ValueError(f"its schema is not {SCHEMA}")
    if facts["version"] != VERSION or isinstance(facts["version"], bool):
        raise ValueError(f"its version is not {VERSION}")
    if facts["kind"] not in get_args(Kind) or facts["method"] not in ("mind", "points"):
        raise ValueError("its kind or method is unknown")
    sure = facts["confidence"]
    rows = _known(content, "first_to_second")["first_to_second"]
    if not isinstance(rows, list) or len(rows) != 3:
        raise ValueError("its matrix has not 3 rows")
    if not all(isinstance(row, list) and len(row) == 3 for row in rows):
        raise ValueError("its matrix has not 3 columns")
    matrix = tuple((_number(a), _number(b), _number(c)) for a, b, c in rows)
    return Transform(
        facts["kind"],
        matrix,
        _size(facts["first"]),
        _size(facts["second"]),
        facts["method"],
        None if sure is None else _number(sure),
    )


def _known(content: object, *names: str) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise ValueError("a table is missing")
    missing = [name for name in names if name not in content]
    if missing:
        raise ValueError(f"{missing[0]} is missing")
    return content


def _size(content: object) -> tuple[int, int]:
    sides = _known(content, "width", "height")
    width, height = sides["width"], sides["height"]
    for side in (width, height):
        if type(side) is not int or not 1 <= side <= _LONGEST:
            raise ValueError("the size of an image is not in whole pixels")
    return width, height


def _number(value: object) -> float:
    if type(value) not in (int, float):
        raise ValueError("a number is missing")
    try:
        number = float(value)  # type: ignore[arg-type]
    except OverflowError:
        number = math.inf
    if not math.isfinite(number) or abs(number) > 1e9:
        raise ValueError("a number is out of range")
    return number


def _refused(word: str) -> float:
    raise ValueError(f"it holds {word}")
