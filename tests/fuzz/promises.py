"""What holds whatever the input is."""

from pathlib import Path

from cddfuse.errors import InputError
from cddfuse.io.decode import decode


class PromiseError(AssertionError):
    """A promise is broken without an exception."""


def require(holds: bool, promise: str) -> None:
    """Fail if a promise does not hold."""
    if not holds:
        raise PromiseError(promise)


def require_whole(output: Path) -> None:
    """Whatever lies in a folder of results is complete."""
    for file in output.rglob("*") if output.is_dir() else ():
        require(not file.name.startswith(".cddfuse"), f"nothing unfinished is left: {file.name}")
        if file.suffix in (".png", ".tif", ".jpg"):
            try:
                decode(file)
            except InputError as error:
                raise PromiseError(f"results are complete: {error}") from error
