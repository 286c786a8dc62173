"""The verb `downstream`."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from cddfuse.cli.common import LimitFlags, Words, progress, report_end, stderr
from cddfuse.cli.flags.downstream import LabelFlags, ShownFlags, TrainingFlags, seconds
from cddfuse.io import expanded

app = App(
    name="downstream",
    help="Train a detector or a segmenter on fused images, beside the sources.\n\n"
    "Every row is trained with the same steps on the same split, with several seeds. The tables "
    "have intervals over seeds and over images, and say which rows are above the better single "
    "source. Run a command again after an interruption: what is finished is kept.",
)

_ROWS = ("vi", "ir", "early", "mean", "max", "cddfuse")
Output = Annotated[Path, Parameter(alias="-o")]


@app.command
def detect(
    data: Path,
    /,
    *,
    output: Output,
    inputs: Words = _ROWS,
    detector: str = "centernet",
    training: TrainingFlags = TrainingFlags(),  # noqa: B008
    labels: LabelFlags = LabelFlags(),  # noqa: B008
    least_area: float = 0,
    yolo_model: str = "yolov5nu.yaml",
    device: str = "auto",
    resources: LimitFlags = LimitFlags(),  # noqa: B008
    shown: ShownFlags = ShownFlags(),  # noqa: B008
) -> int:
    """Detection: AP@0.5 and AP@[.5:.95] of each class, for each input.

    Args:
        data: Folder of a data set with boxes: M3FD, LLVIP, MSRS, or your own (vi, ir and labels).
        output: A folder for tables, pictures, and what is kept.
        inputs: Rows of the table: vi, ir, early (both as channels), networks (see `cddfuse
            models`; NAME=WEIGHTS for other weights), and NAME=FOLDER for results of any tool. By
            default vi ir early mean max cddfuse.
        detector: centernet (of this package), yolox (needs libreyolo and torchvision), or yolo (the
            program of Ultralytics, if you have installed it; needs --steps).
        least_area: Objects of fewer pixels are neither learned nor scored.
        yolo_model: Description of a network for the program yolo.
        device: cpu, cuda, cuda:1 or mps; auto is an accelerator if there is one.
    """
    more = {"least_area": least_area, "yolo_model": yolo_model}
    settings = training, labels, device, resources, shown
    return _run("detect", detector, data, output, inputs, *settings, more)


@app.command
def segment(
    data: Path,
    /,
    *,
    output: Output,
    inputs: Words = _ROWS,
    segmenter: str = "deeplabv3plus",
    training: TrainingFlags = TrainingFlags(),  # noqa: B008
    labels: LabelFlags = LabelFlags(),  # noqa: B008
    device: str = "auto",
    resources: LimitFlags = LimitFlags(),  # noqa: B008
    shown: ShownFlags = ShownFlags(),  # noqa: B008
) -> int:
    """Segmentation: IoU of each class, for each input.

    Args:
        data: Folder of a data set with label images: MSRS, FMB, or your own (vi, ir and maps).
        output: A folder for tables, pictures, and what is kept.
        inputs: Rows of the table: vi, ir, early (both as channels), networks (see `cddfuse
            models`; NAME=WEIGHTS for other weights), and NAME=FOLDER for results of any tool. By
            default vi ir early mean max cddfuse.
        segmenter: deeplabv3plus, unet or segformer, all of this package.
        device: cpu, cuda, cuda:1 or mps; auto is an accelerator if there is one.
    """
    settings = training, labels, device, resources, shown
    return _run("segment", segmenter, data, output, inputs, *settings, {})


def _run(
    task: str,
    instrument: str,
    data: Path,
    output: Path,
    words: tuple[str, ...],
    training: TrainingFlags,
    labels: LabelFlags,
    device: str,
    resources: LimitFlags,
    shown: ShownFlags,
    more: dict[str, object],
) -> int:
    from cddfuse.datasets.labelled import open_labelled
    from cddfuse.downstream.correlation import require_possible
    from cddfuse.downstream.inputs import parse_inputs
    from cddfuse.downstream.instruments import require_known
    from cddfuse.downstream.prints import kept_prints
    from cddfuse.downstream.report import require_extra, write_correlation, write_report
    from cddfuse.downstream.suite import Plan, Progress, run_plan
    from cddfuse.downstream.tables import as_markdown
    from cddfuse.errors import InputError
    from cddfuse.evaluate.report import require_folder

    require_extra()
    require_known(task, instrument)  # type: ignore[arg-type]
    inputs, output = parse_inputs(words), expanded(output)
    if shown.pictures < 0:
        raise InputError(f"{shown.pictures} pictures are too few: use 0 or more.", "pictures")
    plan = Plan(
        task,  # type: ignore[arg-type]
        instrument,
        training.protocol,
        training.seeds,
        training.steps,
        seconds(training.budget),
        training.batch,
        training.rate,
        tuple(training.train_on),
        training.backbone and expanded(training.backbone),
        training.size,
        device=device,
        limits=resources.limits(),
        jobs=training.jobs,
        **more,  # type: ignore[arg-type]
    )
    require_folder(output)
    console = stderr(shown.quiet)
    with progress(console) as bar:
        task_id = bar.add_task("read", total=None, rate="")

        def after(state: Progress) -> None:
            speed = bar.tasks[0].speed
            rate = f"{speed:.2f} {state.unit}/s" if speed else ""
            if state.done == 0:
                bar.reset(task_id, total=state.total)
            bar.update(
                task_id,
                completed=state.done,
                total=state.total,
                description=state.doing,
                rate=rate,
            )

        kind = "boxes" if task == "detect" else "maps"
        prints = kept_prints(output, labels.ranges(), after)
        labelled = open_labelled(labels.request(data), kind, prints)  # type: ignore[arg-type]
        if shown.correlate:
            require_possible(inputs, labelled.classes.kept, shown.correlate)
        results = run_plan(plan, inputs, labelled, output, ranges=labels.ranges(), after=after)
    if results.reused:
        console.print(f"kept: {results.reused} trainings; new: {results.computed}")
    failed = [f"{each.label}: {each.reason}" for each in results.failures]
    if not results.rows:
        report_end(console, (), failed)
        return 2
    written = write_report(results, output, shown=shown.pictures)
    try:
        if shown.correlate:
            written += write_correlation(results, output, shown.correlate)
    except InputError as error:  # rows failed; the tables are there
        failed.append(f"correlation: {error}")
    if shown.json:
        print((output / "downstream.json").read_text(encoding="utf-8"))
    elif not shown.quiet:
        print(as_markdown(results))
    return report_end(console, written, failed)
