"""What results depend on, as hashes: files, weights, code; and the commit that ran."""

import hashlib
import json
import subprocess
from collections.abc import Iterable, Sequence
from functools import cache
from inspect import getsourcefile
from pathlib import Path
from typing import Any

from cddfuse.errors import trouble
from cddfuse.io import PairedPaths
from cddfuse.models.base import FusionModel
from cddfuse.models.exported import files_of, is_exported

_PACKAGE = Path(__file__).parents[1]


def hash_pairs(pairs: Iterable[PairedPaths]) -> str:
    """A hash of names and content of all files."""
    every = list(pairs)
    names = hashlib.sha256("\n".join(pair.name for pair in every).encode(errors="replace"))
    files = [path for pair in every for path in (pair.first, pair.second)]
    return hashlib.sha256(f"{names.hexdigest()} {hash_files(files)}".encode()).hexdigest()


def hash_files(paths: Iterable[Path]) -> str:
    """A hash of the content of files, in their order."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(_hash_file(path, path.stat().st_mtime_ns if path.exists() else 0))
    return digest.hexdigest()


@cache
def _hash_file(path: Path, changed: int) -> bytes:
    digest = hashlib.sha256()
    with trouble(f"read {path}"), path.open("rb") as file:
        while block := file.read(2**20):  # clips need not fit in memory
            digest.update(block)
    return digest.digest()


def hash_facts(facts: Any) -> str:
    """A hash of what JSON holds."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode(errors="replace")).hexdigest()


def hash_weights(network: FusionModel, weights: str | None) -> str:
    """A hash of all parameters of a network, or of the exported files that it runs."""
    if weights and is_exported(weights):
        return hash_files(files_of(Path(weights)))
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def own_sources(kind: type[FusionModel]) -> tuple[str, ...]:
    """The files of this package that a network's class is written in."""
    files = {getsourcefile(base) for base in kind.__mro__[:-1]}
    return tuple(sorted(path for path in files if path and _PACKAGE in Path(path).parents))


@cache
def hash_code(parts: tuple[str, ...], more: tuple[str, ...] = ()) -> str:
    """A hash of source files.

    Args:
        parts: files and folders of the package.
        more: paths of further files.
    """
    files = [path for part in parts for path in _sources(_PACKAGE / part)]
    digest = hashlib.sha256()
    for path in (*files, *map(Path, more)):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _sources(path: Path) -> Sequence[Path]:
    return [path] if path.is_file() else sorted(path.rglob("*.py"))


def commit() -> str:
    """Commit of the checkout that runs, marked if files differ; empty for an installed package."""
    git = ("git", "-C", str(Path(__file__).parent))
    try:
        inside = subprocess.run(
            (*git, "ls-files", "--error-unmatch", Path(__file__).name),
            capture_output=True,
            check=False,
        )
        if inside.returncode:
            return ""
        found = subprocess.run(
            (*git, "rev-parse", "HEAD"), capture_output=True, text=True, check=True
        )
        changed = subprocess.run(
            (*git, "status", "--porcelain", "-uno"), capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return found.stdout.strip() + (" with changes" if changed.stdout.strip() else "")
