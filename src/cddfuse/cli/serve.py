"""The verb `serve`."""

import logging
from pathlib import Path

from cddfuse.cli.common import Flag, Words, stderr
from cddfuse.cli.flags.serving import ServingFlags
from cddfuse.errors import InputError
from cddfuse.io import expanded
from cddfuse.serve import create_app, require_extra

_HOST, _PORT = "127.0.0.1", 8000
_LOCAL = (_HOST, "localhost", "::1")
_ALL = ("0.0.0.0", "::")


def serve(
    *,
    host: str = _HOST,
    port: int = _PORT,
    models: Words = (),
    device: str = "auto",
    limits: ServingFlags = ServingFlags(),  # noqa: B008
    static: Path | None = None,
    weights: str | None = None,
    runtime: Path | None = None,
    overwrite: Flag = False,
    quiet: Flag = False,
) -> int:
    """Serve a page and an API that fuse images, or write a page that needs no server.

    The page is at http://127.0.0.1:8000, its API is listed at /api.html. Only this computer can
    reach it, unless --host says otherwise. Nothing is written to disk, and uploads are limited in
    size, number and time.

    With --static, the page is written to a folder for any web server: the small network runs in the
    browser, and images never leave it.

    Args:
        host: Address to listen at; 0.0.0.0 are all of this computer. There is no password: put a
            proxy in front that asks for one.
        port: Port to listen at.
        models: Networks that are offered, NAME or NAME=WEIGHTS, the first being the default; by
            default all that have weights. Those named here are loaded before it serves.
        device: cpu, cuda, cuda:1 or mps; auto is an accelerator if there is one.
        static: Write the page that needs no server to this folder.
        weights: Weights of cddfuse_small for --static; by default those of the package.
        runtime: Folder with the files of onnxruntime-web for --static; by default they are fetched
            by npm once.
        overwrite: Replace the page in the folder of --static, if there is one.
        quiet: Print nothing but errors.
    """
    console = stderr(quiet)
    if static is not None:
        _require_no_service(host, port, models, device, limits)
        from cddfuse.export.writers import quiet_exporters
        from cddfuse.serve.static import write_page

        quiet_exporters()
        page = write_page(
            expanded(static), weights, runtime and expanded(runtime), overwrite=overwrite
        )
        console.print(f"page of {page.size / 1e6:.1f} MB written: {page.folder}")
        console.print(f"to see it: python -m http.server --directory {page.folder}")
        return 0
    for name, value in (("weights", weights), ("runtime", runtime), ("overwrite", overwrite)):
        if value:
            raise InputError(f"{name} is for a page without a server: give static too.", "static")
    require_extra()
    settings = limits.settings(models, device, host)
    from cddfuse.serve.networks import Networks
    from cddfuse.serve.running import require_free, run

    networks = Networks(settings.networks, settings.device)
    require_free(host, port)
    console.print(f"loading {networks.default}")
    networks.prepare()
    app = create_app(settings, networks)
    logging.getLogger("cddfuse.serve").setLevel(logging.WARNING if quiet else logging.INFO)
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # says it of each broken form
    logging.basicConfig(format="%(asctime)s %(message)s")
    shown = f"[{host}]" if ":" in host else host
    console.print(f"serving at http://{shown}:{port} (Ctrl-C ends it)")
    if host not in _LOCAL:
        console.print("whoever reaches this address can use the service: see docs/serve.md")
        if host in _ALL and not limits.allow_host:
            console.print("other computers are refused until --allow-host says how they call it")
    run(app, host, port)
    return 0


def _require_no_service(
    host: str, port: int, models: tuple[str, ...], device: str, limits: ServingFlags
) -> None:
    """Refuse flags that a page without a server leaves unused."""
    given = {"host": host, "port": port, "models": models, "device": device, **vars(limits)}
    usual = {"host": _HOST, "port": _PORT, "models": (), "device": "auto", **vars(ServingFlags())}
    for name, value in given.items():
        if value != usual[name]:
            raise InputError(f"{name} is for a server, and static is a page without one.", name)
