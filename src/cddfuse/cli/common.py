"""What verbs share."""

import re
from typing import Annotated, Literal, cast

import torch
from cyclopts import Parameter
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cddfuse.errors import InputError
from cddfuse.export import run_by
from cddfuse.models import MODELS, FusionModel, create_model, load_weights
from cddfuse.models.base import Task
from cddfuse.models.exported import Backend, is_exported, load_exported
from cddfuse.models.weights import imported

Flag = Annotated[bool, Parameter(negative=())]
RangeFlag = Annotated[tuple[str, ...], Parameter(consume_multiple=True, negative=())]


def stderr(quiet: bool) -> Console:
    """Where everything is said that is not a result, whole lines and as it stands."""
    return Console(stderr=True, soft_wrap=True, highlight=False, markup=False, quiet=quiet)


def progress(console: Console) -> Progress:
    """A bar with rate (the task's field `rate`) and time left; nothing where nobody looks."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )


def load_network(
    name: str | None,
    task: Task | None,
    weights: str | None,
    residual: str | None,
    device: str,
    backend: Literal["torch", "onnxruntime", "openvino"] | None = None,
) -> FusionModel:
    """A trained network on its device; or an exported one, run by another runtime.

    Without `weights`: the first on the card that are for the task, or else the only ones imported.

    Args:
        name: of the network; None is what an exported file holds, or cddfuse.
        task: chooses weights and options; None is the first of the network.
        weights: as for `load_weights`, or a file of `cddfuse export`.
        residual: an option of cddfuse.
        device: as for `find_device`.
        backend: what runs it; None is torch, or by the suffix of an exported file.
    """
    if weights and is_exported(weights):
        return _from_file(name, weights, residual, device, backend)
    network = _trained(name or "cddfuse", task, weights, residual)
    if backend is None or backend == "torch":
        return network.to(find_device(device))
    _require_cpu(device, f"--backend {backend}")
    return run_by(network, backend)


def _from_file(
    name: str | None, path: str, residual: str | None, device: str, backend: str | None
) -> FusionModel:
    _require_cpu(device, path)
    if residual:
        raise InputError(f"{path} has its residual in it: leave --residual out, or export again.")
    if backend == "torch":
        raise InputError(f"{path} is not for torch: leave --backend out.")
    network = load_exported(path, cast(Backend | None, backend))
    if name not in (None, network.card.name):
        raise InputError(f"{path} holds {network.card.name}, not {name}: leave --model out.")
    return network


def _require_cpu(device: str, what: str) -> None:
    if device not in ("auto", "cpu"):
        raise InputError(f"{what} runs on the cpu: leave --device out.")


def _trained(
    name: str, task: Task | None, weights: str | None, residual: str | None
) -> FusionModel:
    options = {} if residual is None else {"residual": residual}
    if name in MODELS:
        card = MODELS[name].card
        task = task or card.tasks[0]
        weights = weights or default_weights(name, task)
        if weights and task in card.task_options:
            defaults = card.task_options[task]
            return load_weights(MODELS[name], weights, options, defaults=defaults).eval()
    network = create_model(name, weights, **options)
    if not weights and any(True for _ in network.parameters()):
        raise InputError(
            f"no weights of {name} are at hand: name some with --weights, or import those of its "
            "authors (cddfuse weights import --help)."
        )
    return network


def byte_count(text: str) -> int:
    """Bytes in a text such as 2GB or 500MB; 0 for `auto`."""
    if text == "auto":
        return 0
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)I?B?", text.strip().upper())
    if not match or not float(match[1]):
        raise InputError(f"{text} is no amount of memory: write 2GB, for example.")
    return int(float(match[1]) * 1000 ** " KMGT".index(match[2] or " "))


def default_weights(name: str, task: Task | None) -> str | None:
    """Name of the weights to use when none is given."""
    card = MODELS[name].card
    task, shipped = task or card.tasks[0], card.weights
    for known, weights in shipped.items():
        if weights.task == task:
            return known
    own = imported(MODELS[name])
    if len(own) > 1:
        raise InputError(f"{name} has several weights ({', '.join(own)}): choose with --weights.")
    if shipped and not own:
        raise InputError(
            f"{name} has no weights for --task {task}, only {', '.join(shipped)}: leave the task "
            "out, or choose with --weights."
        )
    return next(iter(own), None)


def find_device(name: str) -> torch.device:
    """The device of a name, `auto` being the fastest at hand."""
    if name == "auto":
        accelerator = torch.accelerator.current_accelerator(check_available=True)
        return accelerator or torch.device("cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device).cpu()
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"there is no device {name} here: use cpu, or auto.") from error
    return device
