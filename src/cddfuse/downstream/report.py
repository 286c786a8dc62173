"""Files of a run: tables as Markdown, LaTeX and JSON, and pictures."""

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from cddfuse.downstream import correlation, pictures, tables
from cddfuse.downstream.suite import Results
from cddfuse.downstream.tasks import TASKS
from cddfuse.errors import InputError, trouble
from cddfuse.evaluate.provenance import commit
from cddfuse.io import replacing

_PACKAGES = ("cddfuse", "torch", "numpy", "scipy", "pycocotools")


def require_extra() -> None:
    """Check, before hours of work, that the packages of the extra are there."""
    try:
        import scipy  # noqa: F401
    except ImportError as error:
        text = f"this needs {error.name}: pip install 'cddfuse[downstream]' first."
        raise InputError(text) from error


def about() -> dict[str, Any]:
    """Versions and commit."""
    versions = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return {"versions": versions, "commit": commit(), "system": platform.platform()}


def write_correlation(results: Results, out: Path, name: str) -> list[Path]:
    """Write how the scores of fusion go with the result for a class, as a table and a figure.

    Args:
        results: of `suite.run_plan`.
        out: the folder of the run.
        name: of the class; `mean` is over all.
    """
    measure = tables.tables(results)[0].measure
    found = correlation.of_class(results, out, measure, None if name == "mean" else name)
    what = f"{measure} of {name}" if name != "mean" else f"mean {measure}"
    paths = _correlation_files(out)
    with replacing(paths[0]) as temporary:
        temporary.write_text(correlation.as_markdown(found, what), encoding="utf-8")
    correlation.figure(found, f"{what}, percent", paths[1])
    return paths


def _correlation_files(out: Path) -> list[Path]:
    return [out / "correlation.md", out / "correlation.png"]


def write_report(results: Results, out: Path, *, shown: int = 4) -> list[Path]:
    """Write all files, each atomically, over those of an earlier run.

    Pictures and correlations of an earlier run, which other rows or data may be in, are removed.

    Args:
        results: of `suite.run_plan`.
        out: the folder of the run.
        shown: test images in the pictures; 0 makes none.
    """
    sheets = {task: out / f"{task}.png" for task in TASKS}
    sheet = sheets[results.plan.task] if shown else None
    for path in {*sheets.values(), *_correlation_files(out)} - {sheet}:
        with trouble(f"remove {path}"):
            path.unlink(missing_ok=True)
    texts = {
        "tables.md": tables.as_markdown(results),
        "tables.tex": tables.as_latex(results),
        "downstream.json": tables.as_json(results, about()),
    }
    for name, text in texts.items():
        with replacing(out / name) as temporary:
            temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
    written = [out / name for name in (*texts, "split.txt")]
    if sheet:
        with replacing(sheet) as temporary:
            pictures.sheet(results, shown).save(temporary)
        written.append(sheet)
    return written
