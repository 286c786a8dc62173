"""What the package brings along: licences against an allow-list, a bill of materials, a lock.

scripts/supply licences [--extra NAME ...]   all dependencies; 1 if a licence is not allowed
scripts/supply sbom FILE                     CycloneDX 1.6 (JSON) of this environment
scripts/supply lock FILE [--extra NAME ...]  all versions with SHA-256 hashes, by pip-tools
scripts/supply weights                       the shipped weights against their hashes
"""

import argparse
import hashlib
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import tomllib
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PACKAGE = "cddfuse"
EXTRAS = (
    *("benchmark", "classical", "downstream", "export", "figures", "medical", "metrics"),
    *("onnxruntime", "ray", "serve", "train", "video"),
)
"""Extras of users that are checked by default."""

ALLOWED = frozenset(
    (
        *("0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "ISC"),
        *("HPND", "MIT", "MIT-CMU", "MPL-2.0", "PSF-2.0", "Python-2.0", "Unlicense", "Zlib"),
    )
)
"""SPDX identifiers. MPL-2.0 is weak copyleft by file: it binds changes to its own files only."""

EXCEPTIONS = frozenset({"LLVM-exception"})
_WORDS = {
    **dict.fromkeys(("apache 2.0", "apache software license", "apache license 2.0"), "Apache-2.0"),
    **dict.fromkeys(("mit license", "mit licence", "mit"), "MIT"),
    **dict.fromkeys(("bsd", "bsd license", "bsd 3-clause license"), "BSD-3-Clause"),
    **dict.fromkeys(("3-clause bsd license", "new bsd license"), "BSD-3-Clause"),
    **dict.fromkeys(("bsd 2-clause license", "2-clause bsd", "freebsd"), "BSD-2-Clause"),
    **dict.fromkeys(("psfl", "python software foundation license"), "PSF-2.0"),
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "isc license (iscl)": "ISC",
}
"""What older packages write, in lower case."""


class Part(NamedTuple):
    """An installed dependency."""

    name: str
    version: str
    licence: str
    """SPDX expression; what the package says itself if that is none."""

    allowed: bool


def parts(extras: Iterable[str]) -> list[Part]:
    """All dependencies of the package with some extras, as they are installed here."""
    found = {canonicalize_name(each.metadata["Name"]): each for each in _closure(extras)}
    return [_part(found[name]) for name in sorted(found)]


def _closure(extras: Iterable[str]) -> Iterator[Distribution]:
    seen: set[tuple[str, str]] = set()
    stack = [(PACKAGE, extra) for extra in ("", *extras)]
    while stack:
        name, extra = stack.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        if name == PACKAGE:
            required = _own(extra)
        else:
            try:
                found = distribution(name)
            except PackageNotFoundError:
                raise SystemExit(f"{name} is not installed: scripts/setup dev.") from None
            yield found
            required = found.requires or []
        for text in required:
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                own = canonicalize_name(needed.name)
                stack += [(own, more) for more in ("", *needed.extras)]


def _own(extra: str) -> list[str]:
    """What the package needs itself, or for an extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project["optional-dependencies"][extra] if extra else project["dependencies"]


def _part(found: Distribution) -> Part:
    licence = licence_of(found)
    return Part(found.metadata["Name"], found.version, licence, is_allowed(licence))


def licence_of(found: Distribution) -> str:
    """The SPDX expression of a package, from its fields or its classifiers."""
    facts = found.metadata
    if facts.get("License-Expression"):
        return facts["License-Expression"]
    listed = facts.get_all("Classifier") or ()
    said = [
        facts.get("License") or "",
        *(each.split("::")[-1] for each in listed if "License ::" in each),
    ]
    known = [_WORDS.get(text.strip().lower()) for text in said]
    plain = (text.strip() for text in said if re.fullmatch(r"[\w.+ -]{3,40}", text.strip()))
    return next(filter(None, known), None) or next(plain, "unknown")


def is_allowed(expression: str) -> bool:
    """Whether a licence, or one of a choice, and all of what comes together, is on the list."""
    choices = re.split(r"\s+OR\s+", expression.replace("(", " ").replace(")", " ").strip())
    return any(all(map(_known, re.split(r"\s+AND\s+", choice))) for choice in choices)


def _known(term: str) -> bool:
    licence, _, exception = term.strip().partition(" WITH ")
    return licence.strip() in ALLOWED and (not exception or exception.strip() in EXCEPTIONS)


def licences(extras: Sequence[str]) -> int:
    """Print all; 1 if one is not allowed."""
    found = parts(extras)
    for part in found:
        print(f"{'' if part.allowed else 'NOT ALLOWED '}{part.name} {part.version}: {part.licence}")
    refused = [part.name for part in found if not part.allowed]
    print(f"{len(found)} packages, {len(refused)} not allowed", *refused)
    return 1 if refused else 0


def sbom(path: Path) -> int:
    """Write the bill of materials; the same environment gives the same file."""
    options = ("--output-reproducible", "--spec-version", "1.6", "--output-format", "JSON")
    project = ("--pyproject", str(ROOT / "pyproject.toml"), "--output-file", str(path))
    command = [sys.executable, "-m", "cyclonedx_py", "environment", sys.executable, *options]
    return subprocess.run([*command, *project], check=False).returncode


def lock(path: Path, extras: Sequence[str]) -> int:
    """Write all versions with their hashes; `pip install --require-hashes -r FILE` checks them.

    The file names no package index: indexes are settings of the machine that installs.
    """
    options = ("--generate-hashes", "--allow-unsafe", "--strip-extras", "--quiet", "--no-header")
    places = ("--no-emit-index-url", "--no-emit-find-links", "--no-annotate")
    command = [sys.executable, "-m", "piptools", "compile", *options, *places]
    limits = ("--constraint", "constraints.txt", "--output-file", str(path), "-")
    wanted = "\n".join(needed(extras)).encode()
    return subprocess.run([*command, *limits], cwd=ROOT, input=wanted, check=False).returncode


def needed(extras: Iterable[str]) -> list[str]:
    """What the package with some extras needs directly, without the package itself."""
    found: dict[str, None] = {}
    left = ["", *extras]
    while left:
        for text in _own(left.pop(0)):
            requirement = Requirement(text)
            if canonicalize_name(requirement.name) == PACKAGE:
                left += sorted(requirement.extras)
            else:
                found[text] = None
    return list(found)


def weights() -> int:
    """Compare every shipped file with the hash on its card."""
    from cddfuse.models import MODELS

    place, wrong = files("cddfuse.models") / "pretrained", 0
    for kind in MODELS.values():
        for name, card in kind.card.weights.items():
            found = hashlib.sha256((place / card.location).read_bytes()).hexdigest()
            print(f"{'' if found == card.sha256 else 'WRONG '}{kind.card.name} {name} {found}")
            wrong += found != card.sha256
    return 1 if wrong else 0


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="scripts/supply",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", choices=("licences", "sbom", "lock", "weights"))
    parser.add_argument("file", nargs="?", type=Path)
    parser.add_argument("--extra", nargs="+", default=list(EXTRAS))
    given = parser.parse_args()
    if given.what in ("sbom", "lock") and given.file is None:
        parser.error(f"{given.what} needs the file to write.")
    if given.what == "licences":
        return licences(given.extra)
    if given.what == "weights":
        return weights()
    place = given.file.resolve()
    return sbom(place) if given.what == "sbom" else lock(place, given.extra)


if __name__ == "__main__":
    sys.exit(main())
