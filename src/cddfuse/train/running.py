"""The processes that a run is computed by."""

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, cast, get_args

import torch
from filelock import FileLock, Timeout
from lightning_fabric import Fabric
from lightning_fabric.utilities.exceptions import MisconfigurationException
from torch import Tensor

from cddfuse.datasets.crops import Share
from cddfuse.errors import InputError

Precision = Literal["32-true", "bf16-mixed"]
Result = TypeVar("Result")

LOCK = ".lock"
_LEAST = {"devices": 1, "nodes": 1, "accumulate": 1}
# What Fabric raises for devices that there are not.
_IMPOSSIBLE = (ValueError, TypeError, RuntimeError, ImportError, MisconfigurationException)


@dataclass(frozen=True)
class Running:
    """How a run is computed.

    Up to rounding, nothing here changes what is computed, except where a loss or a norm looks at
    the batch as a whole.
    """

    devices: int = 1
    """Processes, each with a device of its own (or a share of the CPU)."""

    nodes: int = 1
    """Machines, each started with the same command by torchrun or SLURM. Under torchrun, those that
    take part count."""

    accelerator: str = "auto"
    """Device: cpu, cuda, mps; auto takes the fastest there is."""

    precision: Precision = "32-true"
    """Precision of the network's arithmetic; losses are in single precision."""

    compile: bool = False
    """Compile the training step first, a minute or two: half the time of a step on a GPU."""

    accumulate: int = 1
    """Process each batch in so many parts, to need less memory. Gradients are the same for losses
    that are means over images; not where a loss or a norm looks at the batch as a whole."""

    log_terms: tuple[str, ...] = ()
    """Terms of the loss to compute and log though their weight is 0."""

    save_every: float = 10.0
    """Minutes between two saves."""

    validate_every: float = 20.0
    """Minutes between two validations; there is always one at the end."""

    stop_after: float = 0.0
    """Minutes after which the run stops, to be resumed later; 0 does not stop."""

    def __post_init__(self) -> None:
        """Raises InputError for what cannot be."""
        if self.precision not in get_args(Precision):
            known = " or ".join(get_args(Precision))
            raise InputError(f"precision is {self.precision!r}: use {known}.", setting="precision")
        for name, value in vars(self).items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                continue
            least = _LEAST.get(name, 0)
            if not least <= value < math.inf:
                wanted = "finite" if value == math.inf else f"at least {least}"
                raise InputError(f"{name} is {value}: it must be {wanted}.", setting=name)

    def fabric(self) -> Fabric:
        """The processes, started: from here on, all of them run the program."""
        try:
            fabric = Fabric(
                accelerator=self.accelerator,
                devices=self.devices,
                num_nodes=self.machines,
                precision="32-true",  # or LT_PRECISION would count; bf16 is up to `Objective`
                # Stage one does not reach the fusion layers.
                strategy="ddp_find_unused_parameters_true" if self._several else "auto",
            )
        except _IMPOSSIBLE as error:
            raise InputError(
                f"there is no accelerator {self.accelerator} with {self.devices} devices here: use "
                "cpu, auto, or fewer devices.",
                setting="accelerator",
            ) from error
        fabric.launch()
        return fabric

    @property
    def machines(self) -> int:
        """Machines that take part: torchrun may have started again with others."""
        elastic = "TORCHELASTIC_RUN_ID" in os.environ
        return int(os.environ.get("GROUP_WORLD_SIZE", self.nodes)) if elastic else self.nodes

    @property
    def note(self) -> str:
        """What is to be known before a worker of torchrun dies; mostly nothing.

        Its agents share one store with the workers of all restarts, where those that come first
        find the addresses of workers that are no more (https://github.com/pytorch/pytorch/issues/
        135712).
        """
        restarts = os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0") != "0"
        if not restarts or os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
            return ""
        return (
            "torchrun may fail to start workers again as it is: give it --rdzv-backend c10d, and "
            "set TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 for it"
        )

    @property
    def _several(self) -> bool:
        return self.devices * self.machines > 1


def leading(fabric: Fabric, work: Callable[[], Result]) -> Result:
    """What the first process finds, in all processes; or the `InputError` that it meets."""
    found: Result | InputError | None = None
    if fabric.is_global_zero:
        try:
            found = work()
        except InputError as error:
            found = error
    found = fabric.broadcast(found)
    if isinstance(found, InputError):
        raise found
    return cast(Result, found)


def claimed(folder: Path) -> FileLock:
    """Keep other runs out of a folder, until the lock is released or the process ends.

    Where the file system has no locks, nothing is kept out.

    Raises:
        InputError: another run is at work there.
    """
    lock = FileLock(folder / LOCK, blocking=False, fallback_to_soft=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise InputError(
            f"another run is at work in {folder}: wait until it ends, or choose another folder.",
            setting="output",
        ) from error
    except (OSError, NotImplementedError):
        pass  # no locks; or a folder that cannot be written, which the first save says
    return lock


@contextmanager
def alone(folder: Path, fabric: Fabric) -> Iterator[None]:
    """Keep other runs out of a folder meanwhile (see `claimed`). All processes must call this."""
    held: list[FileLock] = []
    leading(fabric, lambda: held.append(claimed(folder)))
    try:
        yield
    finally:
        for lock in held:
            lock.release()


def share(fabric: Fabric) -> Share:
    """What this process makes of every batch."""

    def exchange(values: list[int]) -> list[int]:
        if fabric.world_size == 1:
            return values
        tensor = fabric.to_device(torch.tensor(values))
        return cast(Tensor, fabric.all_reduce(tensor, reduce_op="sum")).tolist()

    def tell(value: Any, rank: int) -> Any:
        return fabric.broadcast(value, src=rank)

    return Share(fabric.global_rank, fabric.world_size, exchange, tell)
