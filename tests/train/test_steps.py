"""One step: which terms are computed, and that a batch in parts is a batch."""

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor
from training import random_pairs, small

from cddfuse.errors import InputError
from cddfuse.losses import LOSSES, Loss
from cddfuse.models import FusionModel
from cddfuse.pair import ImagePair
from cddfuse.recipes import RECIPES, Recipe, Stage
from cddfuse.recipes.base import Term
from cddfuse.recipes.cddfuse import CDDFuseRecipe
from cddfuse.train import STATE, WEIGHTS, Running, batches, train
from cddfuse.train.trainer import Trainer

PAIRS = random_pairs(4)


def trainer(recipe: Recipe, **options: Any) -> Trainer:
    torch.manual_seed(0)
    found = Trainer(recipe, recipe.create_model(), Fabric(accelerator="cpu", devices=1), **options)
    found.progress.plan = tuple(2 for _ in found.stages)
    return found


# Terms


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the losses that are computed, as they are computed."""
    names: list[str] = []

    def watched(name: str, row: Loss) -> Loss:
        def function(*images: Tensor, **settings: Any) -> Tensor:
            names.append(name)
            return row.function(*images, **settings)

        return replace(row, function=function)

    for name, row in LOSSES.items():
        monkeypatch.setitem(cast(dict[str, Loss], LOSSES), name, watched(name, row))
    return names


@pytest.mark.parametrize(
    ("loss", "log", "more"),
    [
        ({}, (), []),
        ({"scd": 1.0}, (), ["scd"]),
        ({"scd": 1.0}, ("vif", "ssim"), ["ssim", "scd", "vif"]),
    ],
    ids=["paper", "one more", "two for the log"],
)
def test_only_what_counts_or_is_logged_is_computed(
    computed: list[str], loss: Mapping[str, float], log: tuple[str, ...], more: list[str]
) -> None:
    recipe = small(single_stage=True, loss=loss)
    result = trainer(recipe, log_terms=log).step(batches(recipe, PAIRS).batch(0))
    assert sorted(computed) == sorted(["intensity", "gradient", *more])
    by_products = {"decomposition", "correlation_base", "correlation_detail", "total"}
    assert result.losses.keys() == {"intensity", "gradient", *more, *by_products}


def test_ablations_do_not_compute_what_they_leave_out(computed: list[str]) -> None:
    recipe = small(reconstruction_ssim=0.0, decomposition=0.0)
    result = trainer(recipe).step(batches(recipe, PAIRS).batch(0))
    assert computed == ["reconstruction_mse"] * 2 + ["reconstruction_gradient"]
    assert not any(name.startswith("correlation") for name in result.losses)


def test_terms_that_do_not_count_never_veto_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    def nan(*_: Tensor) -> Tensor:
        return torch.tensor(math.nan)

    index = cast(dict[str, Loss], LOSSES)
    monkeypatch.setitem(index, "vif", replace(LOSSES["vif"], function=nan))
    recipe = small(single_stage=True)
    result = trainer(recipe, log_terms=("vif",)).step(batches(recipe, PAIRS).batch(0))
    assert math.isnan(result.losses["vif"])
    assert result.finite
    counting = small(single_stage=True, loss={"vif": 1.0})
    assert not trainer(counting).step(batches(counting, PAIRS).batch(0)).finite


def test_a_logged_nan_does_not_end_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = cast(dict[str, Loss], LOSSES)
    row = replace(LOSSES["vif"], function=lambda *_: torch.tensor(math.nan))
    monkeypatch.setitem(index, "vif", row)
    recipe, running = small(steps=2), Running(log_terms=("vif",))
    data = batches(recipe, PAIRS)
    outcome = train(recipe, data, tmp_path, running=running, validation=PAIRS[:1], quiet=True)
    assert outcome.skipped == 0
    assert (tmp_path / "curves.png").is_file()


def test_a_stage_without_a_loss_is_a_sentence() -> None:
    with pytest.raises(InputError, match="nothing is learned in stage fuse: all weights are 0"):
        trainer(small(intensity=0.0, gradient=0.0, decomposition=0.0, single_stage=True))


def test_parts_that_would_not_learn_are_refused() -> None:
    recipe = small()
    model = recipe.create_model()
    model.register_parameter("scale", torch.nn.Parameter(torch.ones(1)))
    with pytest.raises(ValueError, match="the parameter scale is in no part"):
        Trainer(recipe, model, Fabric(accelerator="cpu", devices=1))

    class Misspelt(CDDFuseRecipe):
        def stages(self) -> tuple[Stage, ...]:
            return tuple(replace(stage, parts=("encode",)) for stage in super().stages())

    with pytest.raises(ValueError, match="has no part encode: it has encoder, "):
        trainer(Misspelt())


# Parts of a batch


def gradients(subject: Trainer, batch: ImagePair) -> dict[str, Tensor]:
    subject.step(batch)
    found = {n: w.grad for n, w in subject.model.named_parameters() if w.grad is not None}
    return {name: gradient.clone() for name, gradient in found.items()}


@pytest.mark.parametrize("parts", [2, 4])
@pytest.mark.parametrize("stage", ["separate", "fuse"])
def test_a_batch_in_parts_gives_the_gradients_of_the_whole(parts: int, stage: str) -> None:
    # Without the decomposition loss, which is a ratio of means over the batch.
    recipe = small(batch=4, decomposition=0.0, clip_norm=0.0, single_stage=stage == "fuse")
    batch = batches(recipe, PAIRS).batch(0)
    whole, divided = (trainer(recipe, accumulate=number) for number in (1, parts))
    expected, found = gradients(whole, batch), gradients(divided, batch)
    assert expected.keys() == found.keys()
    for name, gradient in expected.items():
        scale = float(gradient.abs().max())
        torch.testing.assert_close(found[name], gradient, rtol=0, atol=2e-5 * scale + 1e-9)
    one, other = (subject.step(batch).losses for subject in (whole, divided))
    assert one == pytest.approx(other, rel=1e-4)


def test_parts_are_processed_one_after_another(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    losses = Stage.losses

    def watched(self: Stage, model: FusionModel, pair: ImagePair, log: Any = ()) -> Any:
        sizes.append(len(pair.first))
        return losses(self, model, pair, log)

    monkeypatch.setattr(Stage, "losses", watched)
    recipe = small(batch=4)
    trainer(recipe, accumulate=2).step(batches(recipe, PAIRS).batch(0))
    assert sizes == [2, 2]


@pytest.mark.parametrize("method", RECIPES)
def test_every_recipe_can_accumulate(method: str) -> None:
    recipe = replace(RECIPES[method]["quick"], crop=16, batch=4, minutes=0, min_contrast=0)
    subject = trainer(recipe, accumulate=2)
    assert subject.step(batches(recipe, PAIRS).batch(0)).finite


# The state


def test_the_state_is_written_by_fabric_and_replaced_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = small(steps=2)
    train(recipe, batches(recipe, PAIRS), tmp_path, quiet=True, running=Running(stop_after=1e-9))
    before = (tmp_path / STATE).read_bytes()
    written = []

    def broken(self: Fabric, path: Path, state: dict[str, Any]) -> None:
        written.append(path)
        path.write_bytes(b"half of it")
        raise OSError("the disk is gone")

    with monkeypatch.context() as patched:
        patched.setattr(Fabric, "save", broken)
        with pytest.raises(OSError, match="gone"):
            train(recipe, batches(recipe, PAIRS), tmp_path, quiet=True, resume=True)
    assert written
    assert (tmp_path / STATE).read_bytes() == before
    assert not any(path.exists() for path in written)


def test_a_state_with_code_in_it_is_refused(tmp_path: Path) -> None:
    recipe = small(steps=2)
    train(recipe, batches(recipe, PAIRS), tmp_path, quiet=True, running=Running(stop_after=1e-9))
    state = torch.load(tmp_path / STATE, weights_only=True)
    torch.save({**state, "progress": Path("code")}, tmp_path / STATE)
    with pytest.raises(InputError, match=r"state\.pt is not the state of a training run"):
        train(recipe, batches(recipe, PAIRS), tmp_path, quiet=True, resume=True)


def test_a_run_can_be_resumed_before_its_first_step(tmp_path: Path) -> None:
    class Killed:
        steps_per_epoch = 2

        def batch(self, *_: object) -> ImagePair:
            raise KeyboardInterrupt

    recipe = small(steps=2)
    with pytest.raises(KeyboardInterrupt):
        train(recipe, Killed(), tmp_path, quiet=True)
    train(recipe, batches(recipe, PAIRS), tmp_path, quiet=True, resume=True)
    assert (tmp_path / WEIGHTS).is_file()


def test_a_picture_that_is_lost_during_a_run_ends_it_and_can_be_put_back(tmp_path: Path) -> None:
    recipe = small()
    data = batches(recipe, PAIRS)

    class Lost:
        steps_per_epoch = data.steps_per_epoch

        def batch(self, step: int, *_: object) -> ImagePair:
            if step == 3:
                raise InputError("there is no file ir/02.png.")
            return data.batch(step)

    with pytest.raises(InputError) as caught:
        train(recipe, Lost(), tmp_path / "lost", quiet=True)
    assert str(caught.value) == (
        "there is no file ir/02.png; the run is saved at step 3 and can be resumed once the data "
        "are as they were."
    )
    resumed = train(recipe, data, tmp_path / "lost", quiet=True, resume=True)
    whole = train(recipe, data, tmp_path / "whole", quiet=True)
    states = [outcome.model.state_dict() for outcome in (resumed, whole)]
    assert all(torch.equal(states[0][name], value) for name, value in states[1].items())


def test_terms_are_functions_of_one_forward_pass() -> None:
    calls = []

    def term(name: str) -> Tensor:
        calls.append(name)
        return torch.zeros(())

    def terms(model: FusionModel, pair: ImagePair) -> dict[str, Term]:
        calls.append("forward")
        return {name: partial(term, name) for name in "abcd"}

    stage = Stage("s", 1, (), terms, {"a": 1.0, "b": 0.0}, watched=("c",))
    model = CDDFuseRecipe().create_model()
    assert stage.losses(model, PAIRS[0]).keys() == {"a", "c"}
    assert calls == ["forward", "a", "c"]
    assert stage.losses(model, PAIRS[0], ("b",)).keys() == {"a", "b", "c"}
