"""The command line: a table from verb to function.

Exit codes: 0 done; 1 some of a folder failed, the rest is done; 2 nothing was done, with one
sentence that says why; 130 stopped by Ctrl-C.
"""

import sys
from collections.abc import Sequence
from inspect import isfunction

from cyclopts import App, CycloptsError, UnknownCommandError
from rich.console import Console

# Verbs are imported when called, so that `--help` and a typing error answer at once.
VERBS = {
    "fuse": "cddfuse.cli.fuse:fuse",
    "train": "cddfuse.cli.train:train",
    "evaluate": "cddfuse.cli.evaluate:evaluate",
    "export": "cddfuse.cli.export:export",
    "models": "cddfuse.cli.models:models",
    "weights": "cddfuse.cli.weights:weights",
}

app = App(
    name="cddfuse",
    help="Fuse registered images of two modalities: infrared and visible, or two medical ones.\n\n"
    "fuse: fuse files or folders. train: train a network on your own pairs. "
    "evaluate: score fused images, or a network. export: write a network for other runtimes. "
    "models: list the networks. "
    "weights: import those of the authors.",
    suppress_keyboard_interrupt=False,  # for `run` has something to say
)
for name, function in VERBS.items():
    app.command(function, name=name)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a verb and leave with its exit code."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a verb; returns the exit code."""
    from cddfuse.cli.messages import sentence
    from cddfuse.errors import InputError

    problems = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    try:
        verb, given, _ = app.parse_args(arguments, exit_on_error=False, print_error=False)
        if isfunction(verb):  # not --help or --version, which need no PyTorch
            from cddfuse.runtime import prepare_process

            prepare_process()
        result = verb(*given.args, **given.kwargs)
    except UnknownCommandError as error:
        # Its own text would import every verb, and so what only training needs.
        word, known = (error.unused_tokens or ["of that name"])[0], ", ".join(VERBS)
        problems.print(f"cddfuse: there is no command {word}: known are {known}.")
        return 2
    except InputError as error:
        problems.print(f"cddfuse: {sentence(error)}")
        return 2
    except CycloptsError as error:
        problems.print(f"cddfuse: {' '.join(str(error).split())}")
        return 2
    except KeyboardInterrupt:
        problems.print("cddfuse: stopped.")
        return 130
    return result if isinstance(result, int) else 0
