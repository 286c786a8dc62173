"""The verb `weights`."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from cddfuse.cli.common import Flag, stderr
from cddfuse.errors import InputError, exists_already
from cddfuse.models import MODELS
from cddfuse.models.weights import imported_path, load_converted, save_weights


def weights(
    action: Literal["import"],
    model: str,
    files: Annotated[tuple[Path, ...], Parameter(consume_multiple=True, negative=())],
    /,
    *,
    name: str | None = None,
    output: Annotated[Path | None, Parameter(alias="-o")] = None,
    task: Literal["ivf", "mif"] = "ivf",
    overwrite: Flag = False,
    quiet: Flag = False,
) -> int:
    """Convert weights that a method's authors published, or that `train` wrote.

    Files are read without running code in them, checked against the network, and kept in the user's
    cache, where `fuse --model MODEL` finds them; `--weights NAME` chooses one of several.
    TensorFlow checkpoints (the path without .index or .data-...) need the extra `tensorflow`.

    Args:
        action: import.
        model: A network of the zoo.
        files: The authors' file; or several that make up one network, such as encoder and decoder.
        name: Name of the weights; by default that of the first file.
        output: A file for the weights, ending in .safetensors, instead of the cache.
        task: Task that they were trained for, if the network depends on it.
        overwrite: Replace weights that exist.
        quiet: Print nothing but errors.
    """
    if model not in MODELS:
        raise InputError(f"there is no network {model}: known are {', '.join(MODELS)}.")
    kind = MODELS[model]
    if output is not None and output.suffix != ".safetensors":
        text = f"{output} cannot hold weights: choose a name that ends in .safetensors."
        raise InputError(text, setting="output")
    name = name or files[0].stem
    if name in kind.card.weights or Path(name).name != name:
        raise InputError(f"weights cannot be called {name}: choose another.", setting="name")
    path = output or imported_path(kind, name)
    if path.exists() and not overwrite:
        raise exists_already(path)
    network = load_converted(kind, files, kind.card.task_options.get(task, {}))
    save_weights(network, path, {"cddfuse.imported_from": ", ".join(x.name for x in files)})
    chosen = path if output else name
    stderr(quiet).print(
        f"imported {model}: {path}; to use it: "
        f"cddfuse fuse FIRST SECOND -o OUT --model {model} --weights {chosen}"
    )
    return 0
