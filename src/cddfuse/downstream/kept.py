"""Read what earlier runs have kept; what is damaged is named, with the cure."""

import json
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from cddfuse.errors import InputError


def arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of an NPZ file.

    Raises:
        InputError: it is damaged.
    """
    try:
        # Opened here: of a damaged file, NumPy leaves that open.
        with path.open("rb") as file, np.load(file) as content:
            return dict(content)
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise damaged(path) from error


def record(path: Path) -> dict[str, Any]:
    """The facts in a JSON file.

    Raises:
        InputError: it is damaged.
    """
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise damaged(path) from error


def damaged(path: Path) -> InputError:
    """The error for a file that cannot be read."""
    return InputError(f"{path} is damaged: delete it; the same command makes it again.")
