"""One step after another: the network, its optimizer, and the progress of the run."""

import copy
import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from cddfuse.errors import InputError
from cddfuse.filters import full
from cddfuse.models.base import FusionModel
from cddfuse.pair import ImagePair
from cddfuse.recipes import Recipe, Stage, learning_rate
from cddfuse.recipes.settings import plain


class Objective(nn.Module):
    """The network with the losses as its forward pass, which is what distributed wrappers need.

    With `half`, products and convolutions of the network are computed in bfloat16. Lightning's own
    mixed precision would round the images too, and of small variances, which SSIM divides by,
    nothing but noise would be left.
    """

    def __init__(
        self,
        model: FusionModel,
        stages: Sequence[Stage],
        *,
        half: bool = False,
        log_terms: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.model = model
        self._stages = stages
        self._half = half
        self._log_terms = tuple(log_terms)

    def forward(self, first: Tensor, second: Tensor, stage: int) -> dict[str, Tensor]:
        """Terms of the loss of a stage, before weighting."""
        with torch.autocast(first.device.type, torch.bfloat16, enabled=self._half):
            pair = ImagePair(first, second)
            terms = self._stages[stage].losses(self.model, pair, self._log_terms)
        return {name: full(term) for name, term in terms.items()}


class StepResult(NamedTuple):
    """What is known about a step. Losses are means over the global batch."""

    losses: dict[str, float]
    """Terms before weighting, and their weighted sum as `total`."""

    gradient_norms: dict[str, float]
    """Of each part that learns, before clipping."""

    learning_rate: float
    """The highest of the parts that learn."""

    finite: bool
    """False if the step was left out because a loss that counts or a gradient was not a number."""


@dataclass
class RunProgress:
    """How far a run has come."""

    plan: tuple[int, ...]
    """Steps of each stage."""

    step: int = 0
    skipped: int = 0
    seconds: float = 0.0
    best: float = field(default=math.inf)
    """Lowest validation loss of the last stage."""

    teachers: tuple[str, ...] = ()
    """Of each stage, as there."""

    recipe: dict[str, Any] = field(default_factory=dict)
    """The settings that the run began with."""

    computed: tuple[str, ...] = ()
    """In which precision, on what and by which PyTorch: each combination of the run once."""

    @property
    def total(self) -> int:
        """Steps of the whole run."""
        return sum(self.plan)

    @property
    def done(self) -> bool:
        """Whether nothing is left to do."""
        return self.step >= self.total

    def stage(self) -> tuple[int, float]:
        """Index of the stage of the next step, and which share of it is done."""
        passed = 0
        for index, length in enumerate(self.plan):
            if self.step < passed + length:
                return index, (self.step - passed) / length
            passed += length
        return len(self.plan) - 1, 1.0


class Trainer:
    """Everything that a step changes.

    Each child module of the network is a *part*: its parameters are clipped together and have a
    learning rate of their own, and their optimizer state lives on across stages.

    Args:
        recipe: what to compute.
        model: the network.
        fabric: on what.
        half: whether the network, not the losses, computes in bfloat16.
        compiled: whether forward and backward passes are compiled, for this size of batches.
        accumulate: parts that a batch is processed in, one after another.
        log_terms: terms of the loss to compute for the log though their weight is 0.
    """

    def __init__(
        self,
        recipe: Recipe,
        model: FusionModel,
        fabric: Fabric,
        *,
        half: bool = False,
        compiled: bool = False,
        accumulate: int = 1,
        log_terms: Sequence[str] = (),
    ) -> None:
        self.recipe = recipe
        self.stages = recipe.stages()
        self.accumulate = accumulate
        self.log_terms = log_terms
        self._check()
        _check_batch(recipe.batch, fabric.world_size, accumulate)
        recipe.prepare(model)
        self.model = model.train()
        self.fabric = fabric
        self.parts = dict(model.named_children())
        _check_parts(model, self.stages)
        groups = [
            {"params": list(part.parameters()), "name": name} for name, part in self.parts.items()
        ]
        objective: nn.Module = Objective(model, self.stages, half=half, log_terms=log_terms)
        if compiled:
            objective = cast(nn.Module, torch.compile(objective))
        self.objective, self.optimizer = fabric.setup(objective, _optimizer(recipe, groups))
        teachers = tuple(stage.teacher for stage in self.stages)
        self.progress = RunProgress(
            plan=tuple(0 for _ in self.stages), teachers=teachers, recipe=plain(recipe)
        )
        self.average = self._new_average() if recipe.ema else None

    def _check(self) -> None:
        """Refuse stages without a loss, and terms to log that no stage has."""
        for stage in self.stages:
            if not stage.counting:
                raise InputError(f"nothing is learned in stage {stage.name}: all weights are 0.")
        known = dict.fromkeys(
            name for stage in self.stages for name in (*stage.weights, *stage.watched)
        )
        for name in self.log_terms:
            if name not in known:
                raise InputError(
                    f"there is no term {name} to log: known are {', '.join(known)}.",
                    setting="log_terms",
                )

    @property
    def stage(self) -> Stage:
        """The stage of the next step."""
        return self.stages[self.progress.stage()[0]]

    @property
    def best_model(self) -> FusionModel:
        """The moving average of the network once there is one, else the network."""
        if self.average is None or not self.average.n_averaged:
            return self.model
        return cast(FusionModel, self.average.module)

    def step(self, batch: ImagePair) -> StepResult:
        """Learn from a batch, of which every process has its share."""
        number = self.progress.stage()[0]
        stage = self.stages[number]
        self._set_learning_rates()
        self._wake(stage)
        self.optimizer.zero_grad()
        losses = self._over_processes(self._backward(batch, number))
        norms = self._clip(stage)
        finite = all(math.isfinite(value) for value in (losses["total"], *norms.values()))
        if finite:
            self.optimizer.step()
        else:
            self.progress.skipped += 1
        self._advance(finite)
        groups = self.optimizer.param_groups
        rate = max(group["lr"] for group in groups if group["name"] in stage.parts)
        return StepResult(losses, norms, rate, finite)

    def _backward(self, batch: ImagePair, number: int) -> dict[str, Tensor]:
        """Gradients of the mean loss over the parts of a batch; the means of its terms."""
        images = self.fabric.to_device((batch.first, batch.second))
        parts = list(zip(*(image.chunk(self.accumulate) for image in images), strict=True))
        weights = self.stages[number].counting
        sums: dict[str, Tensor] = {}
        for index, (first, second) in enumerate(parts, 1):
            # Gradients are exchanged once, with those of the last part.
            together = index == len(parts)
            with nullcontext() if together else self.fabric.no_backward_sync(self.objective):
                terms = self.objective(first, second, number)
                weighted = [weight * terms[name] for name, weight in weights.items()]
                total = torch.stack(weighted).sum()
                self.fabric.backward(total / len(parts) if len(parts) > 1 else total)
            for name, term in {**terms, "total": total}.items():
                sums[name] = sums[name] + term.detach() if name in sums else term.detach()
        return {name: value / len(parts) for name, value in sums.items()}

    def _wake(self, stage: Stage) -> None:
        """Spare what does not learn in a stage its gradients.

        With several processes all have them: what is exchanged is settled before the first step.
        """
        if self.fabric.world_size == 1:
            for name, part in self.parts.items():
                part.requires_grad_(name in stage.parts)

    def _clip(self, stage: Stage) -> dict[str, float]:
        """Clip the gradients of each part that learns; forget those of the others."""
        norms = {}
        for name, part in self.parts.items():
            if name in stage.parts:
                limit = self.recipe.clip_norm or math.inf
                norms[name] = float(nn.utils.clip_grad_norm_(part.parameters(), limit))
            else:
                part.zero_grad(set_to_none=True)
        return norms

    def _over_processes(self, losses: dict[str, Tensor]) -> dict[str, float]:
        values = torch.stack([value.float() for value in losses.values()])
        if self.fabric.world_size > 1:
            values = cast(Tensor, self.fabric.all_reduce(values, reduce_op="mean"))
        return dict(zip(losses, values.tolist(), strict=True))

    def _set_learning_rates(self) -> None:
        index, share = self.progress.stage()
        last_stage = share if index == len(self.stages) - 1 else -1.0
        for group in self.optimizer.param_groups:
            epochs = [
                stage.epochs * (share if number == index else 1)
                for number, stage in enumerate(self.stages[: index + 1])
                if number >= self._start(group["name"])
            ]
            group["lr"] = learning_rate(
                self.recipe, sum(epochs), last_stage, self.progress.step, self.stages[index]
            )

    def _start(self, part: str) -> int:
        """The stage in which a part begins to learn."""
        stages = [index for index, stage in enumerate(self.stages) if part in stage.parts]
        return min(stages, default=len(self.stages))

    def _advance(self, learned: bool) -> None:
        before = self.progress.stage()[0]
        self.progress.step += 1
        if self.average is None:
            return
        if self.progress.stage()[0] != before:
            self.average.n_averaged.zero_()  # the next update copies the network
        if learned:
            self.average.update_parameters(self.model)

    def _new_average(self) -> AveragedModel:
        return AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(self.recipe.ema))

    def save(self, path: Path) -> None:
        """Write everything needed to resume. All processes must call this, with one path."""
        self.fabric.save(path, self._state())

    def load(self, path: Path) -> None:
        """Go back to where a file was saved. No code in it is run. All processes must call this."""
        teachers = self.progress.teachers
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)["progress"]
        self._check_recipe(found.get("recipe", {}))  # or weights would be said not to fit
        state = self._state()
        self.fabric.load(path, state, weights_only=True)
        self.progress = RunProgress(**{"teachers": teachers, **state["progress"]})
        if len(self.progress.plan) != len(self.stages) or not self.progress.step >= 0:
            raise ValueError("the state is of a run with other stages")
        if tuple(self.progress.teachers) != teachers:
            raise InputError(
                "the teacher has changed since the run began: put its weights back, or start "
                "another run."
            )

    def _check_recipe(self, begun: dict[str, Any]) -> None:
        """Refuse settings that were edited since the run began: what they ask for was not done."""
        now = plain(self.recipe)
        for name, then in begun.items():
            # Weights of a teacher may have moved; that they are the same is known by its digest.
            if name in now and now[name] != then and name != "teacher_weights":
                raise InputError(
                    f"the run began with {name} {then}, not {now[name]}: put it back in its "
                    "recipe.yaml, or start another run.",
                    setting=name,
                )

    def _state(self) -> dict[str, Any]:
        """Modules, the optimizer, and plain values: Fabric saves each as its strategy needs."""
        state = {
            "progress": asdict(self.progress),
            "objective": self.objective,
            "optimizer": self.optimizer,
        }
        return state if self.average is None else {**state, "average": self.average}

    def snapshot(self) -> dict[str, Any]:
        """A copy of the state in memory."""
        state = self._state()
        return {
            name: copy.deepcopy(value if name == "progress" else value.state_dict())
            for name, value in state.items()
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go back to where a snapshot was taken."""
        for name, value in self._state().items():
            if name != "progress":
                value.load_state_dict(snapshot[name])
        self.progress = RunProgress(**snapshot["progress"])


def _check_parts(model: FusionModel, stages: Sequence[Stage]) -> None:
    """Raise ValueError for a network or a recipe of which something would silently not learn."""
    parts = dict(model.named_children())
    unknown = [part for stage in stages for part in stage.parts if part not in parts]
    if unknown:
        raise ValueError(f"the network has no part {unknown[0]}: it has {', '.join(parts)}.")
    loose = [name for name, _ in model.named_parameters(recurse=False)]
    if loose:
        raise ValueError(f"the parameter {loose[0]} is in no part: put it into a child module.")


def _check_batch(batch: int, processes: int, parts: int) -> None:
    if batch % (processes * parts):
        shares = [f"{processes} processes"] * (processes > 1) + [f"{parts} parts"] * (parts > 1)
        raise InputError(
            f"a batch of {batch} cannot be divided among {' of '.join(shares)}: choose a batch "
            f"that {processes * parts} divides.",
            setting="batch",
        )


def _optimizer(recipe: Recipe, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    rate = recipe.learning_rate
    if recipe.optimizer == "rmsprop":
        return torch.optim.RMSprop(
            groups, lr=rate, alpha=recipe.rmsprop_alpha, momentum=recipe.momentum
        )
    return {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[recipe.optimizer](groups, lr=rate)
