"""The files of the page, as they lie in the package."""

from importlib.resources import files
from pathlib import PurePosixPath

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".webp": "image/webp",
}
SHARED = ("index.html", "style.css", "page.js", "clips.js", "film.js", "compare.js", "icon.svg")
"""Of the page with a server, and of the one without."""

EXAMPLES = tuple(
    f"examples/{number}_{side}.webp" for number in (1, 2, 3) for side in ("visible", "infrared")
)
"""Streets of `cddfuse.datasets.synthetic`; docs/serve.md says how they were made."""


def content(name: str) -> bytes:
    """A file of the page."""
    return files("cddfuse.serve").joinpath("page", *PurePosixPath(name).parts).read_bytes()


def server_files() -> dict[str, bytes]:
    """All files of the page with a server, by the path under which they are asked for."""
    found = {name: content(name) for name in (*SHARED, *EXAMPLES, "api.html", "api.js")}
    return {**found, "engine.js": content("server.js")}


def media_type(name: str) -> str:
    """What a file is, by its suffix."""
    return _TYPES[PurePosixPath(name).suffix]
