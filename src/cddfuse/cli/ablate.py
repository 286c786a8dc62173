"""The verb `ablate`."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.text import Text

from cddfuse.cli.common import Flag, Words, byte_count, progress, report_end, stderr
from cddfuse.cli.messages import sentence
from cddfuse.errors import InputError
from cddfuse.io import expanded

_Paths = Annotated[
    tuple[Path, ...], Parameter(consume_multiple=True, negative=(), show_default=False)
]


@Parameter(name="*", group="Training")
@dataclass(frozen=True)
class BudgetFlags:
    """What all variants have in common."""

    steps: int | None = None
    """Steps of each variant, over both stages; the same number for all."""

    minutes: float | None = None
    """Minutes of each variant instead; slower variants take fewer steps then."""

    seed: int | None = None
    """Seed of the initial weights and of the crops; 0 by default."""

    preset: str | None = None
    """Preset of the recipe of CDDFuse: quick by default, released, paper."""

    config: Path | None = None
    """YAML file of settings of `cddfuse train`, for all variants."""

    extra_data: _Paths = ()
    """More folders of training pairs, each of which holds both kinds."""

    val: _Paths = ()
    """One or two folders of validation pairs; by default a share of the pairs is held out."""

    val_share: float | None = None
    """Share of the pairs that is held out, 0.06 by default."""

    accelerator: str = "auto"
    """Device to train on: cpu, cuda, mps; auto takes the fastest there is."""

    cache: str = "auto"
    """Memory for decoded pictures, such as 2GB."""

    def settings(self) -> dict[str, Any]:
        """Those that were given."""
        if self.steps is not None and self.minutes is not None:
            raise InputError("a budget is a number of steps or of minutes, not both.", "minutes")
        given = {"steps": self.steps, "minutes": self.minutes, "seed": self.seed}
        return {name: value for name, value in given.items() if value is not None}


def ablate(
    first: Path,
    second: Path | None = None,
    /,
    *,
    data: Words,
    output: Annotated[Path, Parameter(alias="-o")],
    variants: Words = (),
    budget: BudgetFlags = BudgetFlags(),
    metrics: Words = (),
    profile: str = "paper",
    limit: int | None = None,
    device: str = "auto",
    turns: int = 0,
    published: Path | None = None,
    json: Flag = False,
    quiet: Flag = False,
) -> int:
    """Train the ablations of CDDFuse on one budget, and score them: the table of the paper.

    Variants: no decomposition loss, one kind of block in both branches, branches exchanged, one
    training stage, and the full recipe; all with the same seed and the same pairs. The folder
    receives ablation.md, ablation.tex, ablation.json, the run of each variant and the report of the
    benchmark. Run it again after an interruption: what is finished is kept.

    Args:
        first: Folder of visible (PET, SPECT, CT) images to train on; or one that holds both kinds.
        second: Folder of infrared (MRI) images.
        data: Data sets to score on, NAME=PATH or NAME=FIRST,SECOND, as for `cddfuse benchmark`.
            Pairs that are trained on are refused.
        output: A folder for the table and the runs.
        variants: Some of no_decomposition, invertible, transformers, exchanged, single_stage, full;
            all by default.
        metrics: Names of metrics, NAME or NAME@PROFILE; by default the eight of the published
            tables, and target contrast.
        profile: Named implementation variants of the metrics, as for evaluate.
        limit: Score so many pairs of each data set.
        device: Device to score on: cpu, cuda, cuda:1 or mps.
        turns: Measure the cost of each variant so many times.
        published: YAML file of published figures to stand beside: data set, label, eight scores.
        json: Print ablation.json instead of the table.
        quiet: Print nothing but errors.
    """
    _require_extras()
    from cddfuse.ablation.runs import prepare_all, require_unseen, train_all
    from cddfuse.ablation.study import score, write
    from cddfuse.ablation.variants import chosen
    from cddfuse.benchmark.cells import Settings
    from cddfuse.benchmark.plan import columns, parse, read_published
    from cddfuse.benchmark.suite import Progress
    from cddfuse.datasets.base import Reader
    from cddfuse.evaluate.report import require_folder
    from cddfuse.recipes.choice import Request
    from cddfuse.train import Running
    from cddfuse.train.data import DataRequest

    plan = parse((), data, ())
    for place in plan.data:
        columns(metrics, profile, place.task)
    figures = read_published(expanded(published)) if published else {}
    request = Request("cddfuse", budget.preset, None, budget.settings())
    request = request.over(expanded(budget.config)) if budget.config else request
    output, console = expanded(output), stderr(quiet)
    require_folder(output)
    settings = Settings(tuple(metrics), profile, limit, device=device)
    reader = Reader(byte_count(budget.cache) or None)
    pairs = DataRequest(
        expanded(first),
        second and expanded(second),
        tuple(map(expanded, budget.extra_data)),
        tuple(map(expanded, budget.val)),
        budget.val_share,
    )

    def say(what: str | InputError) -> None:
        console.print(Text(f"left out: {sentence(what)}" if isinstance(what, InputError) else what))

    running = Running(accelerator=budget.accelerator)
    runs = prepare_all(chosen(variants), request, pairs, output / "runs", reader, say)
    require_unseen(runs[0], plan.data, settings)
    trained = train_all(runs, reader, running, quiet=console.quiet, say=say)
    if len(trained) < len(runs):
        console.print("stopped; run the same command again to go on.")
        return 130
    with progress(console) as bar:
        shown = bar.add_task("scoring", total=None, rate="")

        def after(state: Progress) -> None:
            bar.update(
                shown, completed=state.done, total=state.total, description=state.doing, rate=""
            )

        results = score(
            trained,
            plan.data,
            settings,
            output / "benchmark",
            published=figures,
            turns=turns,
            after=after,
        )
    written = write(results, trained, output)
    if not quiet:
        print((output / ("ablation.json" if json else "ablation.md")).read_text(encoding="utf-8"))
    failed = (f"{each.data}, {each.method}: {each.reason}" for each in results.failures)
    return report_end(console, written, failed)


def _require_extras() -> None:
    """Check, before hours of work, that the packages for training and for tables are there."""
    from cddfuse.benchmark.report import require_extra

    if not all(find_spec(name) for name in ("lightning_fabric", "pydantic", "tensorboard")):
        raise InputError("training needs more packages: pip install 'cddfuse[train,benchmark]'.")
    require_extra()
