"""One step after another: the network, its optimiser, and where the run stands."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
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


class Objective(nn.Module):
    """The network with the losses as its forward pass, which is what distributed wrappers need.

    With `half`, products and convolutions of the network are computed in bfloat16. Lightning's own
    mixed precision would round the images too, and of small variances, which SSIM divides by,
    nothing but noise would be left.
    """

    def __init__(self, model: FusionModel, stages: Sequence[Stage], *, half: bool) -> None:
        super().__init__()
        self.model = model
        self._stages = stages
        self._half = half

    def forward(self, first: Tensor, second: Tensor, stage: int) -> dict[str, Tensor]:
        """Terms of the loss of a stage, before weighting."""
        with torch.autocast(first.device.type, torch.bfloat16, enabled=self._half):
            terms = self._stages[stage].terms(self.model, ImagePair(first, second))
        return {name: full(term) for name, term in terms.items()}


class StepResult(NamedTuple):
    """What is known about a step. Losses are means over the global batch."""

    losses: dict[str, float]
    """Terms before weighting, and their weighted sum as `total`."""

    gradient_norms: dict[str, float]
    """Of each part that learns, before clipping."""

    learning_rate: float
    """The highest of the parts'."""

    finite: bool
    """False if the step was left out because a loss or gradient was not a number."""


@dataclass
class Standing:
    """How far a run has come."""

    plan: tuple[int, ...]
    """Steps of each stage."""

    step: int = 0
    skipped: int = 0
    seconds: float = 0.0
    best: float = field(default=math.inf)
    """Lowest validation loss of the last stage."""

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
    learning rate of their own, and their optimiser state lives on across stages.

    Args:
        recipe: what to compute.
        model: the network.
        fabric: on what.
        half: whether the network, not the losses, computes in bfloat16.
        compiled: whether forward and backward passes are compiled, for this size of batches.
    """

    def __init__(
        self,
        recipe: Recipe,
        model: FusionModel,
        fabric: Fabric,
        *,
        half: bool = False,
        compiled: bool = False,
    ) -> None:
        self.recipe = recipe
        self.stages = recipe.stages()
        recipe.prepare(model)
        self.model = model.train()
        self.fabric = fabric
        self.parts = dict(model.named_children())
        groups = [
            {"params": list(part.parameters()), "name": name} for name, part in self.parts.items()
        ]
        objective: nn.Module = Objective(model, self.stages, half=half)
        if compiled:
            objective = cast(nn.Module, torch.compile(objective))
        self.objective, self.optimizer = fabric.setup(objective, _optimizer(recipe, groups))
        self.standing = Standing(plan=tuple(0 for _ in self.stages))
        self.average: AveragedModel | None = None
        if recipe.batch % fabric.world_size:
            raise InputError(
                f"a batch of {recipe.batch} cannot be shared by {fabric.world_size} processes: "
                "choose a --batch that divides."
            )

    @property
    def stage(self) -> Stage:
        """The stage of the next step."""
        return self.stages[self.standing.stage()[0]]

    @property
    def best_model(self) -> FusionModel:
        """The running average of the network if there is one, else the network."""
        return self.model if self.average is None else cast(FusionModel, self.average.module)

    def step(self, batch: ImagePair) -> StepResult:
        """Learn from a global batch (every process takes its share of it)."""
        number = self.standing.stage()[0]
        stage = self.stages[number]
        self._set_learning_rates()
        self._wake(stage)
        self.optimizer.zero_grad()
        terms = self.objective(*self._share(batch), number)
        total = torch.stack([weight * terms[name] for name, weight in stage.weights.items()]).sum()
        self.fabric.backward(total)
        norms = self._clip(stage)
        losses = self._over_processes({**terms, "total": total})
        finite = all(math.isfinite(value) for value in (*losses.values(), *norms.values()))
        if finite:
            self.optimizer.step()
        else:
            self.standing.skipped += 1
        self._advance(finite)
        rate = max(group["lr"] for group in self.optimizer.param_groups)
        return StepResult(losses, norms, rate, finite)

    def _wake(self, stage: Stage) -> None:
        """Spare what does not learn in a stage its gradients.

        With several processes all have them: what is exchanged is settled before the first step.
        """
        if self.fabric.world_size == 1:
            for name, part in self.parts.items():
                part.requires_grad_(name in stage.parts)

    def _share(self, batch: ImagePair) -> tuple[Tensor, Tensor]:
        """What this process takes of a global batch, on its device."""
        mine = slice(self.fabric.global_rank, None, self.fabric.world_size)
        return self.fabric.to_device((batch.first[mine], batch.second[mine]))

    def _clip(self, stage: Stage) -> dict[str, float]:
        """Clip the gradients of each part that learns; forget those of the others."""
        norms = {}
        for name, part in self.parts.items():
            if name in stage.parts:
                limit = self.recipe.clip or math.inf
                norms[name] = float(nn.utils.clip_grad_norm_(part.parameters(), limit))
            else:
                part.zero_grad(set_to_none=True)
        return norms

    def _over_processes(self, losses: dict[str, Tensor]) -> dict[str, float]:
        values = torch.stack([value.detach().float() for value in losses.values()])
        if self.fabric.world_size > 1:
            values = cast(Tensor, self.fabric.all_reduce(values, reduce_op="mean"))
        return dict(zip(losses, values.tolist(), strict=True))

    def _set_learning_rates(self) -> None:
        index, share = self.standing.stage()
        last_stage = share if index == len(self.stages) - 1 else -1.0
        for group in self.optimizer.param_groups:
            epochs = [
                stage.epochs * (share if number == index else 1)
                for number, stage in enumerate(self.stages[: index + 1])
                if number >= self._start(group["name"])
            ]
            group["lr"] = learning_rate(
                self.recipe, sum(epochs), last_stage, self.standing.step, self.stages[index]
            )

    def _start(self, part: str) -> int:
        """The stage in which a part begins to learn."""
        stages = [index for index, stage in enumerate(self.stages) if part in stage.parts]
        return min(stages, default=len(self.stages))

    def _advance(self, learned: bool) -> None:
        before = self.standing.stage()[0]
        self.standing.step += 1
        if not self.recipe.ema:
            return
        if self.average is None or self.standing.stage()[0] != before:
            self.average = self._new_average()
        if learned:
            self.average.update_parameters(self.model)

    def _new_average(self) -> AveragedModel:
        return AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(self.recipe.ema))

    def state(self) -> dict[str, Any]:
        """Everything needed to go on, as tensors and plain values."""
        return {
            "standing": asdict(self.standing),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go back to where `state` was taken."""
        self.standing = Standing(**state["standing"])
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.average = None
        if state["average"] is not None:
            self.average = self._new_average()
            self.average.load_state_dict(state["average"])


def _optimizer(recipe: Recipe, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    rate = recipe.learning_rate
    if recipe.optimizer == "rmsprop":
        return torch.optim.RMSprop(
            groups, lr=rate, alpha=recipe.smoothing, momentum=recipe.momentum
        )
    return {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[recipe.optimizer](groups, lr=rate)
