"""The command line: a table from verb to function.

Exit codes: 0 done; 1 some of it failed or was left out, or what was printed could not be written,
the rest is done; 2 nothing was done, with one sentence that says why; 130 stopped by Ctrl-C. A
reader of the output that leaves early, such as `head`, changes nothing.
"""

import os
import sys
from collections.abc import Sequence
from inspect import isfunction
from typing import NamedTuple

from cyclopts import App, CycloptsError
from rich.console import Console

from cddfuse.cli import streams


class Verb(NamedTuple):
    """A command."""

    function: str
    """Imported when it is called, so that `--help` and a typing error answer at once."""

    summary: str
    """What `cddfuse --help` says. Its own `--help` shows the docstring of the function."""


VERBS = {
    "fuse": Verb("cddfuse.cli.fuse:fuse", "Fuse two images, or all pairs of two folders."),
    "align": Verb("cddfuse.cli.align:align", "Align the images of an unregistered pair."),
    "train": Verb("cddfuse.cli.train:app", "Train a network on your own pairs."),
    "evaluate": Verb(
        "cddfuse.cli.evaluate:evaluate", "Score the results of any tool, or a network."
    ),
    "benchmark": Verb(
        "cddfuse.cli.benchmark:benchmark", "Score methods on data sets: tables and a report."
    ),
    "ablate": Verb("cddfuse.cli.ablate:ablate", "Train ablations of CDDFuse, in one table."),
    "downstream": Verb(
        "cddfuse.cli.downstream:app", "Train a detector or a segmenter on fused images."
    ),
    "explain": Verb("cddfuse.cli.explain:explain", "Show how a network decomposes pairs."),
    "sheet": Verb("cddfuse.cli.sheet:sheet", "Draw a comparison of methods for a paper."),
    "export": Verb(
        "cddfuse.cli.export:export", "Export a network to ONNX, OpenVINO or TorchScript."
    ),
    "serve": Verb("cddfuse.cli.serve:serve", "Serve a page and an API that fuse images."),
    "data": Verb("cddfuse.cli.data:app", "List data sets, or check a folder against one."),
    "models": Verb("cddfuse.cli.models:models", "List the networks and their weights."),
    "weights": Verb("cddfuse.cli.weights:weights", "Import weights that authors publish."),
    "doctor": Verb("cddfuse.cli.doctor:doctor", "Show what this installation runs on."),
}


def build(called: str | None = None) -> App:
    """The application, in which the verb that is called has its own help."""
    app = App(
        name="cddfuse",
        help="Fuse registered images of two modalities: infrared and visible, or medical ones.",
        suppress_keyboard_interrupt=False,  # `run` handles it
    )
    for place, (name, verb) in enumerate(VERBS.items()):
        summary = None if name == called else verb.summary
        app.command(verb.function, name=name, help=summary, sort_key=place)
    return app


app = build()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a verb and leave with its exit code."""
    streams.reserve_descriptors()
    # What SVT-AV1 and OpenCV print is not for users; both read this when they are loaded.
    os.environ.setdefault("SVT_LOG", "1")
    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a verb; returns the exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    with streams.tolerant() as output:
        problems = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
        code = _run(words, problems)
        sys.stdout.flush()
        if output.lost:
            reason = output.lost.strerror or output.lost
            problems.print(f"cddfuse: what was printed could not be written ({reason}).")
            code = code or 1
        return code


def _prepare_process() -> None:
    """Settings of the whole process, which programs make once and the library never."""
    from cddfuse import io, runtime

    io.prepare_process()
    runtime.prepare_process()


def _run(words: Sequence[str], problems: Console) -> int:
    from cddfuse.cli.messages import misuse, sentence
    from cddfuse.errors import InputError

    name = next((word for word in words if word in VERBS), None)
    try:
        verb, given, _ = build(name).parse_args(words, exit_on_error=False, print_error=False)
        if isfunction(verb):  # not --help or --version, which need no PyTorch
            _prepare_process()
        result = verb(*given.args, **given.kwargs)
    except InputError as error:
        problems.print(f"cddfuse: {sentence(error)}")
        return 2
    except CycloptsError as error:
        problems.print(f"cddfuse: {misuse(error, name)}")
        return 2
    except KeyboardInterrupt:
        problems.print("cddfuse: stopped.")
        return 130
    return result if isinstance(result, int) else 0
