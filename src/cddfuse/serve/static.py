"""The page without a server: the small network runs in the browser, and images never leave it."""

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from cddfuse.errors import InputError, exists_already
from cddfuse.export import export
from cddfuse.io.files import replacing_folder
from cddfuse.models import MODELS
from cddfuse.models.load import load_network
from cddfuse.models.weights import cache_folder
from cddfuse.serve import assets
from cddfuse.serve.networks import Offer

NETWORK = "cddfuse_small"
RUNTIME = "onnxruntime-web@1.30.0"
_SHA512 = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
"""Of the archive on the npm registry, which calls it `dist.integrity`."""

_FILES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
_OWN = ("headers.js", "pixels.js", "padding.js", "scores.js", "worker.js")
_MOST_PIXELS = 8_000_000  # of WebAssembly, which has 4 GB

POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; "
    "img-src 'self' blob:; connect-src 'self'; worker-src 'self'; form-action 'none'; "
    "base-uri 'none'"
)
"""What the page may do; it is in the page, for web servers send no headers of their own."""

_LICENCE = """The files of this folder are those of onnxruntime-web, https://onnxruntime.ai.

MIT License

Copyright (c) Microsoft Corporation

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and
associated documentation files (the "Software"), to deal in the Software without restriction,
including without limitation the rights to use, copy, modify, merge, publish, distribute,
sublicense, and/or sell copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial
portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT
NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND
NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES
OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN
CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""


@dataclass(frozen=True)
class Page:
    """What was written."""

    folder: Path
    size: int
    """Of all files, in bytes."""


def write_page(
    folder: Path,
    weights: str | None = None,
    runtime: Path | None = None,
    *,
    overwrite: bool = False,
) -> Page:
    """Write the page to a folder, for any web server.

    Args:
        folder: appears whole or not at all.
        weights: of `cddfuse_small`; by default all of the package, and the page asks which.
        runtime: folder with the files of onnxruntime-web (its `dist`); by default they are fetched
            by npm, once, and kept in the user's cache.
        overwrite: replace the folder if it exists, and holds nothing but a page.
    """
    folder = Path(os.path.abspath(folder))
    if os.path.lexists(folder) and not overwrite:
        raise exists_already(folder)
    if os.path.lexists(folder) and not folder.is_dir():
        raise InputError(f"{folder} is a file: choose a folder for the page.", "static")
    _require_page(folder)
    names = [weights] if weights else list(MODELS[NETWORK].card.weights)
    networks = {
        Offer(NETWORK, name): load_network(NETWORK, None, name, device="cpu") for name in names
    }
    parts = runtime_files(runtime)
    with replacing_folder(folder) as place:
        _write_assets(place)
        facts = []
        for number, (offer, model) in enumerate(networks.items()):
            file = f"network{number}.onnx"
            export(model, place / file)
            facts.append({**offer.facts(), "features": False, "file": file})
        (place / "network.json").write_text(json.dumps(_facts(facts), indent=2), encoding="utf-8")
        (place / "runtime").mkdir()
        for part in parts:
            shutil.copyfile(part, place / "runtime" / part.name)
        (place / "runtime" / "LICENSE.txt").write_text(_LICENCE, encoding="utf-8")
        size = sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
    return Page(folder, size)


def _require_page(folder: Path) -> None:
    """Refuse to replace a folder that holds anything else."""
    names = {*assets.SHARED, *_OWN, "engine.js", "network.json", "examples", "runtime"}
    for path in sorted(folder.glob("*")):
        if path.name not in names and not re.fullmatch(r"network\d+\.onnx", path.name):
            text = f"{folder} holds {path.name}, which is of no page: choose another folder."
            raise InputError(text, "static")


def _write_assets(place: Path) -> None:
    (place / "examples").mkdir()
    for name in (*assets.SHARED, *assets.EXAMPLES, *_OWN):
        (place / name).write_bytes(assets.content(name))
    (place / "engine.js").write_bytes(assets.content("browser.js"))
    page = place / "index.html"
    policy = f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    text = page.read_text(encoding="utf-8").replace("<!-- policy -->", policy)
    page.write_text(text, encoding="utf-8")


def _facts(networks: Sequence[Mapping[str, object]]) -> dict[str, object]:
    """What the page has to know of the networks."""
    card = MODELS[NETWORK].card
    return {
        "networks": networks,
        "max_pixels": _MOST_PIXELS,
        "multiple_of": card.multiple_of,
        "smallest": card.smallest,
    }


def runtime_files(folder: Path | None = None) -> list[Path]:
    """The files of onnxruntime-web that the page needs: in a folder, or fetched by npm."""
    if folder is None:
        folder = cache_folder(RUNTIME)
        if not all((folder / name).is_file() for name in _FILES):
            _fetch(folder)
    for place in (folder, folder / "dist", folder / "package" / "dist"):
        found = [place / name for name in _FILES]
        if all(path.is_file() for path in found):
            return found
    raise InputError(
        f"{folder} lacks files of {RUNTIME}, such as {_FILES[0]}: name the folder dist of its npm "
        "package.",
        setting="runtime",
    )


def _fetch(folder: Path) -> None:
    """Have npm fetch the package, check it, and keep what is needed."""
    npm = shutil.which("npm")
    if npm is None:
        raise InputError(
            f"npm is not here, which fetches {RUNTIME}: install Node.js, or run npm pack {RUNTIME} "
            "elsewhere, unpack it, and name its folder dist.",
            setting="runtime",
        )
    with TemporaryDirectory() as temporary:
        command = [npm, "pack", RUNTIME, "--silent", "--pack-destination", temporary]
        done = subprocess.run(command, cwd=temporary, capture_output=True, text=True, check=False)
        archive = next(Path(temporary).glob("*.tgz"), None)
        if done.returncode or archive is None:
            said = " ".join(done.stderr.split())[-200:] or f"exit code {done.returncode}"
            raise InputError(
                f"npm could not fetch {RUNTIME} ({said}): check the connection, or name a folder "
                "with its files.",
                setting="runtime",
            )
        digest = hashlib.sha512(archive.read_bytes()).digest()
        if base64.b64encode(digest).decode() != _SHA512:
            text = f"what npm gave for {RUNTIME} is not what was published: try another registry."
            raise InputError(text, setting="runtime")
        with tarfile.open(archive) as content, replacing_folder(folder) as place:
            for name in _FILES:
                member = content.extractfile(f"package/dist/{name}")
                assert member is not None
                (place / name).write_bytes(member.read())
