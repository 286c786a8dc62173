"""The pages of the documentation site: those of docs/, and those made from the package itself.

    python scripts/docs_pages.py FOLDER

writes FOLDER/mkdocs.yml and FOLDER/pages. `scripts/docs` then builds the site from them.
"""

import importlib
import inspect
import re
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from cyclopts import App

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"

# Pages by section. Pages of docs/ that are not here follow in GUIDES, so that none is lost.
START = ("index.md", "concepts.md")
GUIDES = ("training.md", "evaluation.md", "explain.md", "sheet.md", "runtime.md", "performance.md")
MODELS = ("zoo.md", "weights.md", "small.md")
REFERENCE = ("metrics.md", "api.md", "architecture.md", "extend.md", "citation.md")


def main(folder: Path) -> None:
    """Write all pages and the configuration of the site."""
    shutil.rmtree(folder, ignore_errors=True)
    pages = folder / "pages"
    for source in sorted(path for path in DOCS.rglob("*") if path.is_file()):
        _copied(source, pages)
    verbs = verb_pages()
    for name, text in verbs.items():
        _written(pages / "verbs" / f"{name}.md", text)
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    settings |= {"docs_dir": "pages", "site_dir": "site", "nav": navigation(pages, list(verbs))}
    _written(folder / "mkdocs.yml", yaml.safe_dump(settings, sort_keys=False))


def navigation(pages: Path, verbs: Sequence[str]) -> list[dict[str, Any]]:
    """The sections of the site. Pages that nobody has put into one are among the guides."""
    placed = {*START, *GUIDES, *MODELS, *REFERENCE}
    others = sorted(path.name for path in pages.glob("*.md") if path.name not in placed)
    results = sorted(
        (path.relative_to(pages).as_posix() for path in (pages / "results").rglob("*.md")),
        key=lambda name: (name.count("/"), not name.endswith("/index.md"), name),
    )
    sections = {
        "Start": START,
        "Guides": (*GUIDES, *others),
        "Commands": [f"verbs/{name}.md" for name in verbs],
        "Networks and weights": MODELS,
        "Results": results,
        "Reference": REFERENCE,
    }
    listed = {
        title: [{_title(pages / name): name} for name in names if (pages / name).is_file()]
        for title, names in sections.items()
    }
    return [{title: entries} for title, entries in listed.items() if entries]


def verb_pages() -> dict[str, str]:
    """A page for each verb, from its own help."""
    from cddfuse.cli import VERBS

    return {name: _verb_page(name, verb.summary) for name, verb in VERBS.items()}


def zoo_table() -> str:
    """The networks, from their cards."""
    from cddfuse.cli.models import facts
    from cddfuse.models import MODELS as NETWORKS

    rows = []
    for row in (facts(kind) for kind in NETWORKS.values()):
        work = row["multiply_adds"]
        shipped = NETWORKS[row["model"]].card.weights
        rows.append((
            f"[`{row['model']}`]({row['paper']})" if row["paper"] else f"`{row['model']}`",
            ", ".join(row["tasks"]),
            f"{row['parameters']:,}" if row["parameters"] else "",
            "" if work is None else f"{work / 1e9:.1f}",
            ", ".join(f"`{name}`" for name in shipped)
            or ("import" if row["parameters"] else "none needed"),
            "whole image" if row["tiles_overlap"] is None else str(row["tiles_overlap"]),
            row["licence"],
        ))  # fmt: skip
    return _table(
        (
            "network",
            "tasks",
            "parameters",
            "GMAC",
            "weights",
            "receptive radius",
            "authors' licence",
        ),
        rows,
    )


def conventions_table() -> str:
    """What the programs of the authors do, from the cards."""
    from cddfuse.models import MODELS as NETWORKS

    cards = [kind.card for kind in NETWORKS.values()]
    rows = [
        (f"`{card.name}`", p.values, p.order, p.colour, p.saved, p.norms, p.weights)
        for card in cards
        if (p := card.published) is not None
    ]
    headings = ("network", "takes", "first input", "colour", "saved", "norms", "published weights")
    return _table(headings, rows)


def metrics_table() -> str:
    """The metrics, from their records."""
    rows = []
    for name, metric in _metrics().items():
        low, high = metric.range
        rows.append((
            f"[`{name}`](#{name.lower()})",
            metric.title,
            _COMPARES[metric.over],
            f"{low:g} to {high:g}",
            metric.unit,
            metric.better,
        ))  # fmt: skip
    return _table(("metric", "title", "compares", "range", "unit", "better"), rows)


def definitions() -> str:
    """For each metric: what it computes, its formula, its source, and the profiles it is in."""
    from cddfuse.metrics import PROFILES

    paragraphs = []
    for name, metric in _metrics().items():
        profiles = ", ".join(f"`{profile}`" for profile, known in PROFILES.items() if name in known)
        size = (
            f" At least {metric.smallest} x {metric.smallest} pixels."
            if metric.smallest > 1
            else ""
        )
        paragraphs.append(
            f"### `{name}` {{#{name.lower()}}}\n\n{_described(metric.formula)}{size}\n\n"
            f"{formula(name, metric)}\n\n"
            f"Source: {metric.source or 'none'}. Profiles: {profiles}."
        )
    return "\n\n".join(paragraphs)


def formula(name: str, metric: Any) -> str:
    """The formula of a metric as MathML, which browsers draw without a script."""
    from latex2mathml.converter import convert

    base, _, index = name.partition("_")
    left = rf"\text{{{base}}}" + (rf"_{{\text{{{index.replace('_', ' ')}}}}}" if index else "")
    lines = [f"{left}={metric.latex}"]
    if metric.over == "each":
        lines[0] = f"{left}(F,X)={metric.latex}"
        both = f"{left}(F,A)+{left}(F,B)"
        mean = rf"\frac{{1}}{{2}}\left({both}\right)"
        lines.append(f"{left}={both if metric.combine == 'sum' else mean}")
    # Long formulas scroll on narrow screens.
    shown = "\n".join(
        f'<div style="overflow-x: auto; padding: 0.4em 0">{convert(line, display="block")}</div>'
        for line in lines
    )
    return f'<div class="formula">\n{shown}\n</div>'


_COMPARES = {
    "fused": "the result",
    "each": "the result and each source",
    "both": "the result and both sources",
}


def _metrics() -> dict[str, Any]:
    """Records by name: those of the first profile that has the name."""
    from cddfuse.metrics import PROFILES

    found: dict[str, Any] = {}
    for known in PROFILES.values():
        for name, metric in known.items():
            found.setdefault(name, metric)
    return found


def _described(formula: Callable[..., Any]) -> str:
    """What a formula says about itself, without the shapes of its arguments."""
    while isinstance(formula, partial):
        formula = formula.func
    text = (inspect.getdoc(formula) or "").split("\n\n")[0].replace("\n", " ")
    text = re.sub(r"( to|:)? \((\.{3}, |2, )?B\b[^)]*\)", "", text)
    text = re.sub(r",? of images(?: and)?(?=[,.])|, at least \d+ x \d+", "", text)
    return re.sub(r",+\.", ".", text)


def profiles_table() -> str:
    """How the metrics of each profile differ from their papers and from each other."""
    from cddfuse.metrics import PROFILES

    rows = [
        (f"`{profile}`", f"`{name}`", metric.note)
        for profile, known in PROFILES.items()
        for name, metric in known.items()
        if metric.note
    ]
    return _table(("profile", "metric", "note"), rows)


TABLES: Mapping[str, Callable[[], str]] = {
    "zoo": zoo_table,
    "conventions": conventions_table,
    "metrics": metrics_table,
    "definitions": definitions,
    "profiles": profiles_table,
}


def with_tables(text: str) -> str:
    """A page with the tables that it asks for by lines such as `<!-- table: zoo -->`."""

    def table(match: re.Match[str]) -> str:
        return TABLES[match[1]]()

    return re.sub(r"^<!-- table: (\w+) -->$", table, text, flags=re.MULTILINE)


def _copied(source: Path, pages: Path) -> None:
    """Copy a file of docs/; files of the repository that a page links to come along."""
    place = pages / source.relative_to(DOCS)
    place.parent.mkdir(parents=True, exist_ok=True)
    if source.suffix != ".md":
        shutil.copyfile(source, place)
        return

    def linked(match: re.Match[str]) -> str:
        target = (source.parent / match[1]).resolve()
        if not target.is_file() or target.is_relative_to(DOCS):
            return match[0]
        copy = pages / "files" / target.name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(target, copy)
        up = "../" * len(source.relative_to(DOCS).parent.parts)
        return f"]({up}files/{target.name})"

    text = re.sub(r"\]\((\.\./[^)#]+)\)", linked, source.read_text(encoding="utf-8"))
    _written(place, with_tables(text))


def _verb_page(name: str, summary: str) -> str:
    module, _, function = _target(name).partition(":")
    target = getattr(importlib.import_module(module), function)
    if name == "train":
        target = importlib.import_module(module).verb_for(("--help",))
    app = target if isinstance(target, App) else _app(name, target)
    text = app.generate_docs(output_format="markdown")
    _, _, rest = text.partition("```console")
    usage, _, rest = rest.partition("```")
    words = [word for word in usage.split() if word not in ("cddfuse", name)]
    rest = re.sub(r"\n {5,}", "\n    ", rest)
    usage = " ".join(["cddfuse", name, *words])
    return f"# cddfuse {name}\n\n{summary}\n\n```text\n{usage}\n```\n{rest}"


def _target(name: str) -> str:
    from cddfuse.cli import VERBS

    return VERBS[name].function


def _app(name: str, function: Callable[..., Any]) -> App:
    app = App(name=name, version_flags=[])
    app.default(function)
    return app


def _title(page: Path) -> str:
    """The heading of a page."""
    text = re.sub(r"\A---\n.*?\n---\n", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    match = re.search(r"^# (.+)$", text, re.MULTILINE)
    return match[1].replace("`", "") if match else page.stem


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    cells = [[str(cell).replace("|", "\\|").replace("\n", " ") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def _written(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
