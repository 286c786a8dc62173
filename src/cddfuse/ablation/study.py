"""Score the trained variants and write the table."""

from collections.abc import Callable, Sequence
from pathlib import Path

from cddfuse.ablation.runs import Trained
from cddfuse.ablation.table import as_json_text, as_latex, as_markdown
from cddfuse.ablation.variants import FULL
from cddfuse.benchmark.cells import Settings
from cddfuse.benchmark.plan import DataSet, Method, Plan, Published
from cddfuse.benchmark.report import about, write_report
from cddfuse.benchmark.suite import Progress, Results, run_plan
from cddfuse.io import replacing


def score(
    trained: Sequence[Trained],
    sets: Sequence[DataSet],
    settings: Settings,
    out: Path,
    *,
    published: Published,
    turns: int = 0,
    after: Callable[[Progress], None] = lambda progress: None,
) -> Results:
    """Benchmark the variants. What is finished is kept under `out` and not computed again.

    Args:
        trained: the variants.
        sets: pairs that none of them was trained on (see `runs.require_unseen`).
        settings: metrics, profile, limits.
        out: folder of the benchmark.
        published: more figures of others.
        turns: runs to measure the cost of each network; 0 leaves it out.
        after: called after each pair.
    """
    methods = [
        Method(
            run.prepared.variant.title, "cddfuse", str(run.prepared.weights.resolve()), unseen=True
        )
        for run in trained
    ]
    plan = Plan(tuple(methods), tuple(sets), published)
    return run_plan(plan, settings, out, turns=turns, after=after)


def write(results: Results, trained: Sequence[Trained], out: Path) -> list[Path]:
    """Write the table as Markdown, LaTeX and JSON, and the report of the benchmark."""
    labels = [method.label for method in results.plan.methods]
    reference = FULL.title if FULL.title in labels else None
    texts = {
        "ablation.md": as_markdown(results, trained),
        "ablation.tex": as_latex(results, trained),
        "ablation.json": as_json_text(results, trained, about(results, reference)),
    }
    for name, text in texts.items():
        with replacing(out / name) as temporary:
            temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
    report = write_report(results, out / "benchmark", reference=reference, shown=4)
    return [*(out / name for name in texts), report[-1]]
