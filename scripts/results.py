"""The results that are kept: every network with weights, and methods without, on all test sets.

    scripts/results --list                            # what is kept, what is to be computed
    scripts/results --only tno --methods classical    # a part; pages hold all that is kept
    scripts/results --turns 3                         # everything, and what each network costs
    scripts/results --methods cddfuse_small --rest    # the other rows as they stand in docs/results
    scripts/results --pages                           # only the overview, from docs/results/data

A result is kept under --cells by the content of the images and the weights, and the code that it
depends on (see docs/benchmark.md), so a run that was stopped goes on, and parts add up. A page is
written for each data set that was named; those of other data sets stay as they are.
"""

import argparse
import csv
import json
import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "scripts")]

import results_pages as pages  # noqa: E402

from cddfuse import io, runtime  # noqa: E402
from cddfuse.benchmark.cells import (  # noqa: E402
    BASELINE,
    TABLES,
    Record,
    Settings,
    code_version,
    pair_names,
)
from cddfuse.benchmark.plan import DataSet, Method, Plan  # noqa: E402
from cddfuse.benchmark.report import about  # noqa: E402
from cddfuse.benchmark.suite import Progress, Results, kept_results, run_plan  # noqa: E402
from cddfuse.benchmark.timing import Cost, measure  # noqa: E402
from cddfuse.datasets.catalog import CATALOG, locate  # noqa: E402
from cddfuse.errors import InputError  # noqa: E402
from cddfuse.evaluate import BASELINES  # noqa: E402
from cddfuse.models import MODELS  # noqa: E402
from cddfuse.models.base import Task  # noqa: E402

Group = Literal["classical", "shipped", "authors"]
SETTINGS = Settings(device="cpu")


@dataclass(frozen=True)
class Released:
    """Weights of a method's authors."""

    model: str
    label: str
    sets: tuple[str, ...]
    """Tasks or data sets that they are scored on."""


AUTHORS: Mapping[str, Released] = {
    "didfuse": Released("didfuse", "didfuse, authors' weights", ("ivf",)),
    "u2fusion": Released("u2fusion", "u2fusion, authors' weights", ("ivf", "mif")),
    "sdnet_irvis": Released("sdnet", "sdnet, authors' weights", ("ivf",)),
    "sdnet_medical": Released("sdnet", "sdnet, authors' weights", ("mif",)),
    "tardal_v0_dt": Released("tardal", "tardal DT, authors' weights", ("ivf",)),
    "tardal_v0_tt": Released("tardal", "tardal TT, authors' weights", ("ivf",)),
    "tardal_v0_ct": Released("tardal", "tardal CT, authors' weights", ("ivf",)),
    "reconet_v0": Released("reconet", "reconet, authors' weights", ("ivf",)),
    "emfusion_ctmri": Released("emfusion", "emfusion, authors' weights for CT", ("mif",)),
}
"""By file in official_weights. The others there are for registration and for other tasks."""


def methods_for(data: DataSet, official: Path) -> Iterator[tuple[Group, Method]]:
    """All methods for a data set: those without learning, shipped weights, the authors' weights."""
    for name, kind in MODELS.items():
        if not kind.card.parameters and name not in BASELINES:
            yield "classical", Method(name, name)
        for weights, facts in kind.card.weights.items():
            if facts.task == data.task:
                yield "shipped", Method(name, name, weights)
    if data.task == "mif":  # as in the published tables, with both sources as the residual
        yield "shipped", Method("cddfuse (ivf)", "cddfuse", "ivf", {"residual": "sum"})
    for file, known in AUTHORS.items():
        path = official / f"{file}.safetensors"
        if path.is_file() and {data.name, data.task} & set(known.sets):
            yield "authors", Method(known.label, known.model, str(path))


def test_sets(data: Path) -> list[DataSet]:
    """The data sets of the catalogue that have a folder `test`."""
    found = []
    for name, card in CATALOG.items():
        if (data / name / "test").is_dir():
            found.append(DataSet(name, *locate(card, data / name / "test"), card.task, card))
    return found


def plan_for(data: DataSet, official: Path, words: Sequence[str] = ()) -> Plan:
    """The plan of a data set, or of the methods whose group, network or label is among `words`."""
    chosen = [
        method
        for group, method in methods_for(data, official)
        if not words or {group, method.model, method.label} & set(words)
    ]
    return Plan(tuple(chosen), (data,))


def to_do(plan: Plan, results: Results) -> list[str]:
    """Labels of a plan that have no result."""
    labels = [BASELINE.label, *(method.label for method in plan.methods)]
    return [label for label in labels if (plan.data[0].name, label) not in results.records]


def standing(out: Path, name: str) -> dict[str, Record]:
    """The results of a data set as its page has them, with six digits, by label."""
    try:
        content = json.loads((out / "data" / f"{name}.json").read_text(encoding="utf-8"))
        with (out / "data" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            lines = list(csv.DictReader(file))
    except OSError:
        return {}
    found = {}
    for facts in content["cells"]:
        label = facts["method"]
        rows = BASELINES if label == BASELINE.label else (label,)
        mine = [line for line in lines if line["method"] in rows]
        images = list(dict.fromkeys(line["image"] for line in mine))
        tables = {
            table: {
                row: _columns([x for x in mine if (x["variant"], x["method"]) == (table, row)])
                for row in rows
            }
            for table in TABLES
        }
        facts = {**facts, "data": facts.get("data_sha256", facts["data"])}
        found[label] = Record(label, name, facts["key"], facts, images, tables, {}, [])
    return found


def _columns(lines: Sequence[Mapping[str, str]]) -> dict[str, list[float]]:
    metrics = list(lines[0])[4:]
    return {name: [float(line[name] or math.nan) for line in lines] for name in metrics}


def say_progress(state: Progress, begun: float, said: list[str]) -> None:
    """A line for each method that begins, with rate and time left."""
    if state.doing in said:
        return
    said.append(state.doing)
    rate = state.done / max(time.monotonic() - begun, 1e-9)
    left = (
        f", {rate:.2f} pairs/s, {(state.total - state.done) / rate / 60:.0f} min left"
        if rate
        else ""
    )
    print(f"{state.done} of {state.total} pairs: {state.doing}{left}", file=sys.stderr, flush=True)


def costs(cells: Path, official: Path, turns: int, words: Sequence[str] = ()) -> dict[str, Cost]:
    """What each network costs, or each of those named, by its name. Weights do not change that."""
    networks, keys = {}, {}
    for name, kind in MODELS.items():
        if name in BASELINES or (words and name not in words):
            continue
        shipped = next(iter(kind.card.weights), None)
        file = next((f for f, known in AUTHORS.items() if known.model == name), "")
        theirs = official / f"{file}.safetensors"
        weights = shipped or (str(theirs) if theirs.is_file() else None)
        if weights or not kind.card.parameters:
            task: Task = kind.card.weights[weights].task if shipped else kind.card.tasks[0]
            networks[name] = (name, task, weights, {}, "cpu")
            keys[name] = f"{name} {code_version(kind)}"
    found, failed = measure(
        networks,
        keys,
        cells / "costs",
        turns=turns,
        after=lambda name: print(f"cost of {name}", file=sys.stderr, flush=True) if turns else None,
    )
    for name, reason in failed.items():
        print(f"cost of {name} failed: {reason}", file=sys.stderr)
    return found


def run(arguments: argparse.Namespace) -> int:
    """Compute what is missing, then write the pages."""
    data, cells, out = (path.resolve() for path in (arguments.data, arguments.cells, arguments.out))
    official = arguments.weights.resolve()
    sets = test_sets(data)
    unknown = set(arguments.only) - {each.name for each in sets}
    if unknown or not sets:
        known = ", ".join(each.name for each in sets) or "none"
        print(f"there is no {', '.join(unknown) or 'test set'} in {data}: {known}", file=sys.stderr)
        return 2
    if arguments.rest and arguments.limit:
        print("--rest: the pages hold all pairs, not --limit of them", file=sys.stderr)
        return 2
    sets = [each for each in sets if not arguments.only or each.name in arguments.only]
    failures = 0
    for each in sets:
        if arguments.list or arguments.pages:
            break
        begun, said = time.monotonic(), ["start"]
        found = run_plan(
            plan_for(each, official, arguments.methods),
            replace(SETTINGS, limit=arguments.limit),
            cells,
            after=lambda state, begun=begun, said=said: say_progress(state, begun, said),  # type: ignore[misc]
        )
        for failure in found.failures:
            print(f"failed: {failure.data}, {failure.method}: {failure.reason}", file=sys.stderr)
        failures += len(found.failures)
    if arguments.list:
        return listed(sets, official, cells, arguments)
    if not arguments.pages:
        rest = arguments.rest
        spent = costs(cells, official, arguments.turns, arguments.methods if rest else ())
        spent = {**pages.standing_costs(out), **spent} if rest else spent
        for each in sets:
            whole = plan_for(each, official)
            found = kept_results(whole, replace(SETTINGS, limit=arguments.limit), cells)
            labels = {BASELINE.label, *(method.label for method in whole.methods)}
            for label, record in standing(out, each.name).items() if rest else ():
                if label in labels:
                    found.records.setdefault((each.name, label), record)
            if (each.name, BASELINE.label) not in found.records:
                print(f"{each.name}: no results of this code are kept, page left as it is")
                continue
            found.costs = {m.label: spent[m.model] for m in whole.methods if m.model in spent}
            pages.write_set(found, to_do(whole, found), out, about(found, "cddfuse"))
        pages.write_costs(spent, out)
    for path in pages.write_overview(
        out, arguments.readme.resolve(), arguments.performance.resolve()
    ):
        print(f"written: {path}")
    return 1 if failures else 0


def listed(
    sets: Sequence[DataSet], official: Path, cells: Path, arguments: argparse.Namespace
) -> int:
    """Print what is kept and what is missing."""
    for each in sets:
        plan = plan_for(each, official, arguments.methods)
        settings = replace(SETTINGS, limit=arguments.limit)
        missing = to_do(plan, kept_results(plan, settings, cells))
        total, pairs = len(plan.methods) + 1, len(pair_names(each, settings))
        print(
            f"{each.name}: {total - len(missing)} of {total} kept, {pairs} pairs each; to do: "
            f"{'; '.join(missing) or 'nothing'}"
        )
    return 0


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").partition("\n\n")[0],
        epilog=(__doc__ or "").partition("\n\n")[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    shared = ROOT.parent / "shared"
    parser.add_argument(
        "data", nargs="?", type=Path, default=shared / "data", help="folder of the data sets"
    )
    parser.add_argument(
        "--weights",
        type=Path,
        default=shared / "official_weights",
        help="folder of the authors' weights",
    )
    parser.add_argument(
        "--cells", type=Path, default=ROOT / "build" / "results", help="where results are kept"
    )
    parser.add_argument(
        "--out", type=Path, default=ROOT / "docs" / "results", help="where pages are written"
    )
    parser.add_argument(
        "--readme", type=Path, default=ROOT / "README.md", help="file with the markers of the table"
    )
    parser.add_argument(
        "--performance",
        type=Path,
        default=ROOT / "docs" / "performance.md",
        help="likewise, of costs",
    )
    parser.add_argument("--only", nargs="+", default=[], metavar="SET", help="data sets")
    parser.add_argument(
        "--methods",
        nargs="+",
        default=[],
        metavar="WORD",
        help="classical, shipped, authors, networks or labels",
    )
    parser.add_argument(
        "--rest", action="store_true", help="what is not kept is taken from the pages as they are"
    )
    parser.add_argument("--turns", type=int, default=0, help="measure costs so many times")
    parser.add_argument("--limit", type=int, default=None, help="pairs of each set, to try it out")
    parser.add_argument("--list", action="store_true", help="say what is kept and what is missing")
    parser.add_argument(
        "--pages", action="store_true", help="only write the overview, README and performance page"
    )
    io.prepare_process()
    runtime.prepare_process()
    try:
        return run(parser.parse_args())
    except InputError as error:
        print(f"results: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
