"""Find a network by name, task, weights and options, and load it: for programs of any kind."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, cast

import torch

from cddfuse.errors import InputError
from cddfuse.models import MODELS, create_model, load_weights
from cddfuse.models.base import FusionModel, Task
from cddfuse.models.exported import Backend, is_exported, load_exported
from cddfuse.models.options import checked_options
from cddfuse.models.weights import imported

DEFAULT = "cddfuse"


def load_network(
    name: str | None = None,
    task: Task | None = None,
    weights: str | None = None,
    options: Mapping[str, Any] | None = None,
    device: str = "auto",
    backend: Literal["torch"] | Backend | None = None,
    *,
    run_by: Callable[[FusionModel, Backend], FusionModel] | None = None,
) -> FusionModel:
    """A trained network on its device, in evaluation mode; or an exported one.

    Without `weights`: the first on the card that are for the task, or else the only imported ones.

    Args:
        name: of the network; None is what an exported file holds, or cddfuse.
        task: chooses weights and options; None is the first of the network.
        weights: as for `load_weights`, or a file of `cddfuse.export`.
        options: arguments of the network's constructor, as values or as text.
        device: as for `find_device`.
        backend: what runs it; None is torch, or by the suffix of an exported file.
        run_by: gives the network to a backend other than torch: `cddfuse.export.run_by`. Exported
            files do without.
    """
    if weights and is_exported(weights):
        return _from_file(name, weights, options, device, backend)
    network = _trained(name or DEFAULT, task, weights, options or {})
    if backend is None or backend == "torch":
        return network.to(find_device(device))
    _require_cpu(device, backend)
    if run_by is None:
        raise ValueError(f"{backend} runs exported networks: give run_by.")
    return run_by(network, backend)


def default_weights(name: str, task: Task | None) -> str | None:
    """Name of the weights to use when none is given."""
    card = MODELS[name].card
    task, shipped = task or card.tasks[0], card.weights
    for known, weights in shipped.items():
        if weights.task == task:
            return known
    own = imported(MODELS[name])
    if len(own) > 1:
        text = f"{name} has several weights, {', '.join(own)}: choose some."
        raise InputError(text, setting="weights")
    if shipped and not own:
        text = (
            f"{name} has no weights for the task {task}, only {', '.join(shipped)}: choose others, "
            "or another task."
        )
        raise InputError(text, setting="weights")
    return next(iter(own), None)


def find_device(name: str) -> torch.device:
    """The device of a name; `auto` is an accelerator if there is one."""
    if name == "auto":
        accelerator = torch.accelerator.current_accelerator(check_available=True)
        return accelerator or torch.device("cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device).cpu()
    except (RuntimeError, AssertionError) as error:
        text = f"there is no device {name} here: use cpu, or auto."
        raise InputError(text, setting="device") from error
    return device


def _from_file(
    name: str | None,
    path: str,
    options: Mapping[str, Any] | None,
    device: str,
    backend: str | None,
) -> FusionModel:
    _require_cpu(device, path)
    if options:
        text = f"{path} has its options in it: leave them out, or export the network again."
        raise InputError(text, setting="option")
    if backend == "torch":
        raise InputError(f"{path} is not run by torch: leave the backend out.", setting="backend")
    network = load_exported(path, cast(Backend | None, backend))
    if name not in (None, network.card.name):
        text = f"{path} holds {network.card.name}, not {name}: leave the model out."
        raise InputError(text, setting="model")
    return network


def _require_cpu(device: str, what: str) -> None:
    if device not in ("auto", "cpu"):
        raise InputError(f"{what} runs on the CPU: leave the device out.", setting="device")


def _trained(
    name: str, task: Task | None, weights: str | None, options: Mapping[str, Any]
) -> FusionModel:
    if name in MODELS:
        card = MODELS[name].card
        task = task or card.tasks[0]
        weights = weights or default_weights(name, task)
        if weights and task in card.task_options:
            given = checked_options(MODELS[name], options)
            defaults = card.task_options[task]
            return load_weights(MODELS[name], weights, given, defaults=defaults).eval()
    network = create_model(name, weights, **options)
    if not weights and any(True for _ in network.parameters()):
        text = (
            f"no weights of {name} are at hand: import those of its authors by "
            "`cddfuse weights import`, or give some."
        )
        raise InputError(text, setting="weights")
    return network
