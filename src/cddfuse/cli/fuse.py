"""The verb `fuse`."""

import json as json_format
import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from rich.console import Console

from cddfuse.cli import record
from cddfuse.cli.common import (
    Flag,
    LimitFlags,
    NetworkFlags,
    Words,
    exit_code,
    kept,
    progress,
    stderr,
)
from cddfuse.cli.flags.alignment import AlignmentFlags, warning
from cddfuse.cli.flags.scale import ScaleFlags
from cddfuse.cli.flags.thermal import ThermalFlags
from cddfuse.cli.flags.video import VideoFlags
from cddfuse.cli.flags.volumes import VolumeFlags
from cddfuse.cli.hint import Hint, share_of_time
from cddfuse.cli.messages import left_out, sentence
from cddfuse.cli.usage import peak_memory
from cddfuse.errors import InputError, exists_already
from cddfuse.io import expanded
from cddfuse.io.formats import Reading, Writing, open_sink, open_source
from cddfuse.io.image_files import ImageFiles, ImagePairs
from cddfuse.io.source import Loaded, Sink, Source
from cddfuse.models import FusionModel
from cddfuse.pipeline import Options, Summary, fuse_all
from cddfuse.runtime import Limits


def fuse(
    first: Path | None = None,
    second: Path | None = None,
    /,
    *,
    output: Annotated[Path, Parameter(alias="-o")],
    network: NetworkFlags = NetworkFlags(),  # noqa: B008
    resources: LimitFlags = LimitFlags(),  # noqa: B008
    alignment: AlignmentFlags = AlignmentFlags(),  # noqa: B008
    video: VideoFlags = VideoFlags(),  # noqa: B008
    thermal: ThermalFlags = ThermalFlags(),  # noqa: B008
    colour: Literal["ycbcr", "lab", "per-channel", "grey"] = "ycbcr",
    volumes: VolumeFlags = VolumeFlags(),  # noqa: B008
    scale: ScaleFlags = ScaleFlags(),  # noqa: B008
    grey: Flag = False,
    stretch: Flag = False,
    resize: Flag = False,
    overwrite: Flag = False,
    suffix: Annotated[str, Parameter(allow_leading_hyphen=True)] = "",
    recursive: Flag = False,
    format: Literal["png", "jpg", "tif", "bmp", "webp", "dcm"] = "png",
    bits: Literal[8, 16] | None = None,
    range: Words = (),
    strip: Flag = False,
    json: Flag = False,
    quiet: Flag = False,
) -> int:
    """Fuse two images, or the pairs of two folders, or of one folder that holds both.

    Or two clips: video files, image sequences, cameras. The result is a video file, or numbered
    frames in a folder.

    Or two medical volumes, NIfTI files or folders with DICOM series: PET, SPECT or CT first, MRI
    second, by weights of the task mif where there are some. Research use, not for diagnosis.

    Results that exist in the output folder are kept, so an interrupted run resumes.

    Args:
        first: Visible (PET, SPECT, CT) image or folder; its colour is kept, or that of the second
            if only that has any. Or a folder that holds both sides, in subfolders (vi and ir) or by
            name (01_vi.png and 01_ir.png).
        second: Infrared (MRI) image or folder. Files of two folders are paired by name. Not needed
            for radiometric files of FLIR that hold a visible photo.
        output: Output file or folder; for folders, a folder. For volumes, .nii.gz, a picture (a
            montage), or a folder of slices, which are DICOM by --format dcm.
        colour: Chroma of the colour image, in YCbCr or as it is seen (lab); per-channel fuses red,
            green and blue one by one, so that two colour images are mixed; grey drops it.
        grey: Short for --colour grey.
        stretch: Stretch each result to the full range, as in published tables.
        resize: Resize the second image to the size of the first where they differ.
        overwrite: Replace results that exist.
        suffix: Suffix of the names of the results, before the dot.
        recursive: Include subfolders; the results keep their layout.
        format: Output format for folders.
        bits: Bits per channel of the results; by default 16 where a source has more than 8 and
            the format holds them.
        range: Values that become black and white: full, minmax, percentile[:P], LOW:HIGH or, in
            degrees, LOW:HIGHC or LOW:HIGHK; for both images or after first= or second=. By default
            auto: full for 8 bits and for photographs of 16 bits, else percentiles 0.1 and 99.9 over
            the whole folder. A folder of results keeps its range (fuse.json).
        strip: Drop EXIF, resolution and georeference of the first image.
        json: Print a summary as JSON.
        quiet: Print nothing but errors.
    """
    first, second = video.sources(first, second)
    first, second, output = expanded(first), second and expanded(second), expanded(output)
    reading = Reading(
        resize=resize,
        recursive=recursive,
        leave_out=(output,),
        transform=alignment.read(),
        clip=video.reading(),
        ranges=thermal.ranges(output, range, overwrite=overwrite),
        thermal=thermal.reading(),
        volumes=volumes.reading(),
        shard=scale.part(),
    )
    console = stderr(quiet)
    with console.status(f"reading {first}"):  # headers of a series, value ranges of a folder
        source = open_source(first, second, reading)
    medical = source.kind == "volume"
    if medical and stretch:
        raise InputError("slices of a volume have one range: leave the stretch out.", "stretch")
    writing = Writing(
        output,
        suffix,
        format,
        bits,
        overwrite,
        strip,
        video.writing(),
        volumes.writing(grey=medical and (grey or colour == "grey")),
    )
    sink = open_sink(source, writing)
    if isinstance(source, ImagePairs) and isinstance(sink, ImageFiles):
        source = replace(source, skipped=sink.others(source.skipped, source.pairs))
    scale.require_engine(source, output)
    network = network.preferring("mif") if medical else network
    model = network.load() if scale.engine == "local" else None
    clip = bool({source.kind, sink.kind} & {"clip", "live", "pages"})
    noun = "slice" if medical else "frame" if clip else "pair"
    options = Options(
        grey,
        stretch,
        resources.limits(),
        colour,
        check=not alignment.no_check and not medical,
        history=video.history(clip=clip),
    )
    share = partial(share_of_time, model, network.trained_for()) if model else (lambda: None)
    hint = Hint(source.length, share, console.print)
    for note in (*_doubts(first, second), *source.notes, *sink.notes):
        console.print(note)
    if model and source.length == 1 and not (clip or medical or os.path.isdir(first)):
        return _fuse_one(model, source, sink, options, console, json, hint)
    whole = sink.path("") == sink.path("0")  # one file for all
    summary = Summary()

    def results() -> bool:
        return bool(scale.shared or summary.done or summary.kept)

    ranges = None if medical and whole else source.ranges
    place = sink.path("") if whole else output
    bar = progress(console)

    def after(name: str) -> None:
        speed = bar.tasks[0].speed
        rate = f"{speed:.2f} {noun}s/s" if speed else ""
        bar.update(shown, advance=1, description=name, rate=rate)
        if model:
            hint.after_pair()

    limits = replace(options.limits or Limits(), progress=hint.after_part)
    options = replace(options, limits=limits)
    try:
        with record.recorded(place, ranges, results, asked=range, whole=whole), bar:
            shown = bar.add_task("fuse", total=source.length, rate="")
            if model:
                scale.note(model, source, writing, options)
                fuse_all(model, source, sink, options, after=after, summary=summary)
            else:
                say = console.print
                summary = scale.fuse(network, source, sink, writing, options, after, say)
    except KeyboardInterrupt:
        if source.kind == "live":
            console.print(f"stopped: what was recorded is in {output}")
            _note_dropped(source, console)
            return 0
        again = "starts again" if overwrite or whole else "does the rest"
        left = "nothing was written" if whole else f"what is done is in {output}"
        advice = "; numbered frames in a folder can be resumed" if whole else ""
        console.print(f"stopped: {left}; the same command {again}{advice}")
        return 130
    _report(summary, source, output, console, noun)
    if json:
        print(_as_json(summary, source, sink))
    return exit_code(summary, source)


def _fuse_one(
    network: FusionModel,
    source: Source[Loaded],
    sink: Sink,
    options: Options,
    console: Console,
    json: bool,
    hint: Hint,
) -> int:
    entry = next(iter(source))
    place = sink.path(entry.name)
    with progress(console) as bar:
        shown = bar.add_task(entry.name, total=100, rate="%")

        def after_part(share: float) -> None:
            speed = bar.tasks[0].speed
            rate = f"%, {60 * speed:.0f} %/min" if speed else "%"
            bar.update(shown, completed=int(100 * share), rate=rate)
            hint.after_part(share)

        limits = replace(options.limits or Limits(), progress=after_part)
        summary = fuse_all(network, source, sink, replace(options, limits=limits))
    if summary.kept:
        raise exists_already(place)
    for reason in summary.failed.values():
        raise reason
    console.print(f"fused {entry.origin} in {summary.seconds:.1f} s: {place}")
    if note := warning(summary, many=False):
        console.print(note)
    if json:
        print(_as_json(summary, source, sink))
    return 0


def _doubts(first: Path, second: Path | None) -> list[str]:
    """What is to be said of two sources that are one; it is no error."""
    try:
        same = second is not None and os.path.samefile(first, second)
    except OSError:  # an address, or a pattern of names
        same = False
    return [f"both images come from {first}: was the second meant to be another?"] if same else []


def _report(
    summary: Summary, source: Source[Loaded], output: Path, console: Console, noun: str
) -> None:
    done = len(summary.done)
    parts = f"1 {noun}" if done == 1 else f"{done} {noun}s"
    each = f", {summary.seconds / done:.1f} s each" if done else ""
    memory = f"peak memory {peak_memory() / 1e9:.1f} GB"
    console.print(f"fused {parts} in {summary.seconds:.0f} s{each}, {memory}: {output}")
    if summary.kept:
        console.print(kept(len(summary.kept), "result"))
    if note := warning(summary, many=True):
        console.print(note)
    _note_dropped(source, console)
    problems = stderr(quiet=False)
    for skipped in source.skipped:
        problems.print(left_out(skipped))
    for name, reason in summary.failed.items():
        said = sentence(reason).removeprefix(f"{name}: ")  # damaged clips are named in both
        problems.print(f"failed: {name}: {said}")


def _note_dropped(source: Source[Loaded], console: Console) -> None:
    if count := getattr(source, "dropped", 0):  # of cameras
        frames = "1 frame" if count == 1 else f"{count} frames"
        console.print(f"left out: {frames} of the first camera that came while others were fused")


def _as_json(summary: Summary, source: Source[Loaded], sink: Sink) -> str:
    return json_format.dumps(
        {
            "done": list(dict.fromkeys(str(sink.path(name)) for name in summary.done)),
            "kept": [str(sink.path(name)) for name in summary.kept],
            "failed": {name: sentence(reason) for name, reason in summary.failed.items()},
            "unpaired": [str(skipped.path) for skipped in source.skipped],
            "checked": summary.checked,
            "misaligned": {
                name: {"x": round(off.x, 1), "y": round(off.y, 1), "gain": round(off.gain, 4)}
                for name, off in summary.misaligned.items()
            },
            "seconds": round(summary.seconds, 3),
            "peak_memory_bytes": peak_memory(),
        },
        indent=2,
    )
