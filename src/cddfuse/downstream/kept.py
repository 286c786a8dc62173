"""Read what earlier runs have kept; what is damaged is named, with the cure."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cddfuse.errors import InputError, trouble


def arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of an NPZ file.

    Raises:
        InputError: it is damaged, or cannot be read.
    """
    # Opened here: of a damaged file, NumPy leaves that open.
    with reading(path), path.open("rb") as file, np.load(file) as content:
        return dict(content)


def record(path: Path) -> dict[str, Any]:
    """The facts in a JSON file.

    Raises:
        InputError: it is damaged, or cannot be read.
    """
    with reading(path):
        return dict(json.loads(path.read_text(encoding="utf-8")))


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Name a file that cannot be read; what is damaged can be made again, the rest may be back."""
    try:
        with trouble(f"read {path}"):
            yield
    except InputError:
        raise
    except Exception as error:  # NumPy's reader of headers raises whatever Python's does
        raise InputError(
            f"{path} is damaged: delete it; the same command makes it again."
        ) from error
