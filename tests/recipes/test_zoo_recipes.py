"""Recipes of the methods CDDFuse is compared with: settings of their authors, terms by hand."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn
from training import random_pairs

from cddfuse import losses
from cddfuse.errors import InputError
from cddfuse.models import create_model
from cddfuse.models.didfuse import DIDFuse
from cddfuse.models.emfusion import EMFusion
from cddfuse.models.rfnnest import RFNNest
from cddfuse.models.sdnet import SDNet
from cddfuse.pair import ImagePair
from cddfuse.recipes import RECIPES, Stage, defusion, emfusion, learning_rate
from cddfuse.recipes import rfnnest as rfnnest_recipe
from cddfuse.recipes import sdnet as sdnet_recipe
from cddfuse.recipes import tardal as tardal_recipe
from cddfuse.recipes import u2fusion as u2fusion_recipe
from cddfuse.recipes.base import Term, batch_generator, frozen, saliency_weighted, truncated_normal
from cddfuse.recipes.reconet import ReCoNetRecipe
from cddfuse.recipes.tardal import TarDALRecipe
from cddfuse.train import STATE, WEIGHTS, Running, batches, train
from cddfuse.train.trainer import Trainer


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def noisy_pair(*shape: int) -> ImagePair:
    return ImagePair(noise(*shape), noise(*shape, seed=1))


def terms(method: str, model: Any, pair: ImagePair, stage: int = 0) -> dict[str, Tensor]:
    return computed(RECIPES[method]["released"].stages()[stage].terms(model, pair))


def computed(terms: Mapping[str, Term]) -> dict[str, Tensor]:
    return {name: term() for name, term in terms.items()}


# Settings


@pytest.mark.parametrize(
    ("method", "facts", "weights"),
    [
        (
            "didfuse",
            {"crop": 128, "batch": 24, "epochs": (120,), "lr_step": 40, "lr_gamma": 0.1},
            {
                **{"reconstruction_ssim_first": 10, "reconstruction_ssim_second": 10},
                **{"reconstruction_mse_first": 2, "reconstruction_mse_second": 2},
                **{"reconstruction_gradient_first": 10, "background": 1},
                **{"detail_difference": 0.5},
            },
        ),
        (
            "sdnet",
            {"crop": 120, "stride": 10, "batch": 32, "epochs": (15,), "sigma": 1e-3},
            {
                **{"intensity_leading": 1, "intensity_following": 0.5},
                **{"gradient": 80, "decomposition": 1},
            },
        ),
        (
            "tardal",
            {"crop": 224, "batch": 8, "epochs": (200,), "optimizer": "rmsprop"},
            {
                **{"ssim": 1, "intensity": 20, "target": 0.1, "detail": 0.1},
                **{"critics": 1, "penalty": 2},
            },
        ),
        (
            "u2fusion",
            {"batch": 18, "optimizer": "rmsprop", "rmsprop_alpha": 0.6, "momentum": 0.15},
            {"ssim": 1, "mse": 20},
        ),
        ("reconet", {"batch": 32, "epochs": (800,), "optimizer": "adamw"}, None),
        ("emfusion", {"crop": 114, "batch": 16, "epochs": (8, 10, 4)}, None),
        ("rfnnest", {"crop": 256, "batch": 4, "epochs": (2, 2), "learning_rate": 1e-4}, None),
        ("defusion", {"crop": 256, "batch": 4, "learning_rate": 1e-3, "lr_step": 10}, None),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_settings_of_the_authors(
    method: str, facts: dict[str, Any], weights: dict[str, float] | None
) -> None:
    recipe = RECIPES[method]["released"]
    assert {name: vars(recipe)[name] for name in facts} == facts
    assert recipe.clip_norm == 0
    if weights is not None:
        assert recipe.stages()[0].weights == weights


def test_medical_preset_of_sdnet() -> None:
    recipe: Any = RECIPES["sdnet"]["mif"]
    assert (recipe.gradient, recipe.leading, recipe.epochs) == (10, "first", (30,))
    assert recipe.create_model().leads == "first"


def test_every_weight_is_on_its_own_stage() -> None:
    rebuild, fuse = RECIPES["rfnnest"]["released"].stages()
    assert (rebuild.weights, fuse.weights) == (
        {"reconstruction_mse": 1, "reconstruction_ms_ssim": 100},
        {"fused_ms_ssim": 700, "features": 1},
    )
    translate, see, join = RECIPES["emfusion"]["released"].stages()
    assert translate.weights == see.weights == {"ssim": 1, "mse": 40}
    assert join.weights == {
        "ssim": 1,
        "mse": 10,
        "unique_first": 0.5,
        "unique_second": 0.5,
    }
    assert [stage.lr_gamma for stage in (translate, see, join)] == [0.8, 0.85, 0.7]
    assert join.lr_factor == 0.5


@pytest.mark.parametrize("method", ["emfusion", "rfnnest", "defusion"])
def test_wrong_number_of_stages_is_a_sentence(method: str) -> None:
    with pytest.raises(InputError, match="stages"):
        replace(RECIPES[method]["quick"], epochs=(1,))


# What recipes share


def test_learning_rates_of_a_stage() -> None:
    kind = type(RECIPES["didfuse"]["released"])
    recipe = kind(schedule="exponential", learning_rate=1e-3, lr_gamma=0.5, min_lr=1e-5)
    stage = Stage("a", 1, (), lambda model, pair: {}, {}, lr_factor=0.5, lr_gamma=0.7)
    rates = [learning_rate(recipe, epoch, -1, 0) for epoch in (0, 0.5, 2, 100)]
    assert rates == pytest.approx([1e-3, 1e-3 * math.sqrt(0.5), 0.25e-3, 1e-5])
    assert learning_rate(recipe, 2, -1, 0, stage) == pytest.approx(0.5e-3 * 0.49)
    tenth = kind(learning_rate=1e-3, lr_step=40, lr_gamma=0.1)
    assert [learning_rate(tenth, e, -1, 0) for e in (39, 40, 80)] == pytest.approx(
        [1e-3, 1e-4, 1e-5]
    )


def test_truncated_normal() -> None:
    layer = nn.Conv2d(40, 40, 3)
    before = layer.weight.clone()
    truncated_normal(layer, 0)
    assert torch.equal(layer.weight, before)
    torch.manual_seed(0)
    truncated_normal(layer, 0.05)
    assert 0.09 < layer.weight.abs().max() <= 0.1
    assert layer.weight.std().item() == pytest.approx(0.05 * 0.8796, rel=0.02)  # of the cut normal
    assert not layer.bias.any()  # type: ignore[union-attr]


def test_frozen_module_hands_gradients_on_and_keeps_none() -> None:
    layer, x = nn.Conv2d(1, 1, 3), noise(1, 1, 5, 5).requires_grad_()
    out = frozen(layer, x)
    torch.testing.assert_close(out, layer(x))
    out.sum().backward()
    assert x.grad is not None
    assert layer.weight.grad is None


def test_chance_depends_on_the_batch_alone() -> None:
    throws = [
        torch.rand(3, generator=batch_generator(pair)) for pair in (noisy_pair(2, 1, 4, 4),) * 2
    ]
    assert torch.equal(throws[0], throws[1])
    other = torch.rand(
        3, generator=batch_generator(ImagePair(noise(2, 1, 4, 4, seed=9), throws[0]))
    )
    assert not torch.equal(other, throws[0])


def test_saliency_worked_by_hand() -> None:
    # Three pixels of 0 and one of 1: distances 1/4 and 3/4 of the range, stretched to 0 and 1.
    image = torch.tensor([0.0, 0.0, 0.0, 1.0]).view(1, 1, 2, 2)
    torch.testing.assert_close(losses.saliency(image), image)
    torch.testing.assert_close(losses.saliency(1 - image), image)
    assert not losses.saliency(torch.full((1, 1, 3, 3), 0.5)).any()


def test_salient_terms_prefer_the_source_that_stands_out() -> None:
    flat = torch.full((1, 1, 16, 16), 0.2)
    spot = flat.clone()
    spot[..., 4:8, 4:8] = 1.0
    pair = ImagePair(spot, flat)
    near, far = (computed(saliency_weighted(fused, pair)) for fused in (spot, flat))
    # The share is 1 at the spot and a half elsewhere, where both sources agree.
    assert near["intensity"] == 0
    assert far["intensity"] == pytest.approx(16 * 0.8 / 256, rel=1e-4)
    assert near["ssim"] < far["ssim"]


# Terms


@torch.no_grad()
def test_terms_of_didfuse() -> None:
    torch.manual_seed(0)
    model, pair = DIDFuse().eval(), noisy_pair(2, 1, 16, 16)
    found = terms("didfuse", model, pair)
    one, two = model.encoder(pair.first), model.encoder(pair.second)
    first, second = model.decoder(one), model.decoder(two)
    assert found["reconstruction_ssim_second"] == losses.reconstruction_ssim(second, pair.second)
    assert found["reconstruction_mse_first"] == (first - pair.first).square().mean()
    assert found["reconstruction_gradient_first"] == losses.reconstruction_gradient(
        first, pair.first
    )
    background = (one.background - two.background).abs().mean()
    detail = (one.detail - two.detail).abs().mean()
    assert found["background"] == pytest.approx(math.tanh(background))
    assert found["detail_difference"] == pytest.approx(1 - math.tanh(detail))


def test_gradient_of_sdnet_follows_the_sharper_source() -> None:
    flat, texture = torch.zeros(1, 1, 16, 16), noise(1, 1, 16, 16)
    for sources in ((flat, texture), (texture, flat)):
        assert sdnet_recipe.gradient(texture, *sources) == 0
        assert sdnet_recipe.gradient(flat, *sources) > 1
    # A point of height 1: its Laplacian is -4 there and 1 at four neighbours.
    point = torch.zeros(1, 1, 9, 9)
    point[..., 4, 4] = 1
    assert sdnet_recipe.gradient(point, flat[..., :9, :9], flat[..., :9, :9]) == pytest.approx(
        20 / 81
    )


def test_terms_of_sdnet() -> None:
    torch.manual_seed(0)
    model, pair = SDNet(), noisy_pair(2, 1, 16, 16)
    found = terms("sdnet", model, pair)
    leading, following = 2 * pair.second - 1, 2 * pair.first - 1
    fused = model.squeezed(leading, following)
    again = model.decomposition(fused)
    torch.testing.assert_close(found["intensity_leading"], F.mse_loss(fused, leading))
    torch.testing.assert_close(found["intensity_following"], F.mse_loss(fused, following))
    expected = F.mse_loss(again[0], leading) + F.mse_loss(again[1], following)
    torch.testing.assert_close(found["decomposition"], expected)


def test_penalty_of_a_linear_critic() -> None:
    class Linear(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return 0.5 * x.sum((1, 2, 3))

    found = tardal_recipe.divergence(Linear(), *noisy_pair(2, 1, 4, 4)[:2], torch.Generator())
    assert found == pytest.approx((0.25 * 16) ** 3)


def test_penalty_looks_between_real_and_fake() -> None:
    class Quadratic(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.square().sum((1, 2, 3)) / 2

    zeros, ones = torch.zeros(2, 1, 4, 4), torch.ones(2, 1, 4, 4)
    for real, fake in ((zeros, ones), (ones, zeros)):
        found = tardal_recipe.divergence(Quadratic(), real, fake, torch.Generator())
        assert 0 < found < 16**3


def test_target_is_what_is_bright_and_stands_out() -> None:
    infrared = torch.full((1, 1, 8, 8), 0.5)
    infrared[..., 1, 1], infrared[..., 5, 5] = 1.0, 0.0
    expected = torch.zeros_like(infrared)
    expected[..., 1, 1] = 1
    assert torch.equal(tardal_recipe.target_mask(infrared), expected)


def test_gradient_of_tardal_worked_by_hand() -> None:
    ramp = torch.arange(5.0).expand(1, 1, 5, 5)
    found = tardal_recipe.gradient(ramp)
    torch.testing.assert_close(found[0, 0, 2], torch.tensor([0.5, 1.0, 1.0, 1.0, 0.5]))


def test_generator_and_critics_of_tardal_learn_from_their_own_terms() -> None:
    torch.manual_seed(0)
    recipe = TarDALRecipe()
    model = recipe.create_model()
    recipe.prepare(model)
    generator = {"ssim", "intensity", "target", "detail"}
    found = terms("tardal", model, noisy_pair(2, 1, 16, 16))
    for name, term in found.items():
        model.zero_grad(set_to_none=True)
        term.backward(retain_graph=True)
        learning = {n.partition(".")[0] for n, w in model.named_parameters() if w.grad is not None}
        critics = {"target_critic", "detail_critic"}
        assert learning == ({"encoder", "dense", "fuse"} if name in generator else critics), name


def test_information_of_u2fusion() -> None:
    flat, texture = torch.zeros(1, 1, 32, 32), noise(1, 1, 32, 32)
    measures = u2fusion_recipe.information(torch.cat([flat, texture, texture / 2]))
    assert measures[0] == 0
    assert measures[2] == pytest.approx(float(measures[1]) / 4)
    # A point of 1 in 3 x 3 pixels of 0, without coarser scales: (1 + 8 / 64) / 9.
    point = torch.zeros(1, 1, 3, 3)
    point[..., 1, 1] = 1
    assert u2fusion_recipe.information(point) == pytest.approx((1 + 8 / 64) / 9)


def test_terms_of_u2fusion_weigh_the_richer_source() -> None:
    pair = ImagePair(noise(2, 1, 32, 32), torch.full((2, 1, 32, 32), 0.5))
    for source, richer in ((pair.first, True), (pair.second, False)):

        class Copy(nn.Module):
            kept = source
            training = False

            def forward(self, first: Tensor, second: Tensor) -> Tensor:
                return self.kept

        found = computed(u2fusion_recipe.similar(Copy().eval(), pair, 1e-3))  # type: ignore[arg-type]
        assert (found["mse"] < 1e-6) == richer
        assert (found["ssim"] < 1e-3) == richer


def test_richness_of_emfusion() -> None:
    half = torch.tensor([0.0, 0.5]).repeat(8).view(1, 1, 4, 4)
    bright = torch.full((1, 1, 4, 4), 0.9)
    found = emfusion.richness(torch.cat([half, bright]))
    assert found.tolist() == pytest.approx([1.0, 2.7])


def test_fusion_of_emfusion_weighs_the_richer_source() -> None:
    rich, poor = noise(2, 1, 24, 24), torch.full((2, 1, 24, 24), 0.1)

    class Copy(EMFusion):
        def forward(self, first: Tensor, second: Tensor) -> Tensor:
            return rich

    model = Copy()
    RECIPES["emfusion"]["quick"].prepare(model)
    for pair, unchanged in ((ImagePair(rich, poor), "first"), (ImagePair(poor, rich), "second")):
        found = terms("emfusion", model, pair, 2)
        assert found["mse"] < 1e-4
        assert found[f"unique_{unchanged}"] == 0
        assert found["unique_first"] + found["unique_second"] > 0


def test_ms_ssim_of_rfnnest() -> None:
    image, other = noise(2, 1, 176, 176), noise(2, 1, 176, 176, seed=1)
    assert rfnnest_recipe.ms_ssim(image, image) == pytest.approx(1)
    found = rfnnest_recipe.ms_ssim(image, other)
    product, last = 1.0, 1.0
    for weight in (0.0448, 0.2856, 0.3001, 0.2363, 0.1333):
        similarity, contrast = (
            (float(x) + 1) / 2 for x in losses.valid_ssim_and_contrast(image, other)
        )
        last = similarity**weight
        product *= contrast**weight if weight != 0.1333 else 1
        image, other = F.avg_pool2d(image, 2), F.avg_pool2d(other, 2)
    assert found == pytest.approx(product * last**4, rel=1e-5)


@torch.no_grad()
def test_untrained_rfnnest_is_alive_whatever_the_seed() -> None:
    image = noise(1, 1, 16, 16)
    for seed in range(4):
        torch.manual_seed(seed)
        model: Any = RECIPES["rfnnest"]["quick"].create_model()
        found = model.decoder(model.encode(image))
        assert (found > 0).all()
        assert 5 < found.mean() < 2000


def test_features_of_rfnnest_shall_be_six_and_three_times_the_sources() -> None:
    class Ideal(RFNNest):
        def fused(self, first: Any, second: Any) -> list[Tensor]:
            return [3 * one + 6 * two for one, two in zip(first, second, strict=True)]

    torch.manual_seed(0)
    assert terms("rfnnest", Ideal(), noisy_pair(1, 1, 16, 16), 1)["features"] == 0
    assert terms("rfnnest", RFNNest(), noisy_pair(1, 1, 16, 16), 1)["features"] > 1


@torch.no_grad()
def test_untrained_defusion_of_the_quick_preset_is_as_bright_as_its_sources() -> None:
    image = noise(1, 3, 32, 32)
    brightness = {}
    for preset in ("released", "quick"):
        torch.manual_seed(0)
        model: Any = RECIPES["defusion"][preset].create_model()
        brightness[preset] = float(model.project(model.decompose(image, image).common).mean())
    assert brightness["released"] > 4
    assert 0.01 < brightness["quick"] < 2


def test_translators_of_emfusion_learn_within_thirty_steps_of_the_quick_preset() -> None:
    steps, quick = 30, RECIPES["emfusion"]["quick"]
    recipe = replace(quick, crop=16, batch=2, min_contrast=0, minutes=0, steps=3 * steps)
    negatives = [ImagePair(pair.first, 1 - pair.first, pair.name) for pair in random_pairs(4)]
    torch.manual_seed(0)
    trainer = Trainer(recipe, recipe.create_model(), Running(accelerator="cpu").fabric())
    trainer.progress.plan = (steps,) * 3
    data = batches(recipe, negatives)
    losses = [trainer.step(data.batch(step)).losses["total"] for step in range(steps)]
    # A tenth is left; of the authors' initial values, their rate, or 20 steps of warm-up, a fifth.
    assert sum(losses[-5:]) / 5 < 0.15 * losses[0]


@torch.no_grad()
def test_untrained_reconet_of_the_quick_preset_gives_images() -> None:
    inside = {}
    for preset in ("released", "quick"):
        torch.manual_seed(0)
        model: Any = RECIPES["reconet"][preset].create_model()
        found = model.recurrences(noise(4, 1, 32, 32), noise(4, 1, 32, 32, seed=1))[-1].fused
        inside[preset] = float(((found > 0) & (found < 0.9)).float().mean())
    assert inside["released"] < 0.6
    assert inside["quick"] > 0.9


def test_norms_of_reconet_settle_and_wake_up_again() -> None:
    fuse, settle = RECIPES["reconet"]["quick"].stages()
    assert (fuse.epochs, settle.epochs) == (0.5, 0.5)
    model: Any = RECIPES["reconet"]["quick"].create_model()
    norm, pair = model.merge[1], noisy_pair(2, 1, 16, 16)
    for stage, counted in ((settle, 0), (fuse, 3), (settle, 3), (fuse, 6)):
        stage.terms(model, pair)
        assert norm.num_batches_tracked == counted
    model.eval()
    assert computed(fuse.terms(model, pair)) == computed(settle.terms(model, pair))
    assert norm.num_batches_tracked == 6
    with pytest.raises(InputError, match="settled is 1"):
        ReCoNetRecipe(settled=1)


def test_masks_of_defusion_show_every_pixel() -> None:
    masks = defusion.draw_masks(6, (52, 54), torch.Generator().manual_seed(0))
    assert all(mask.shape == (6, 1, 52, 54) for mask in masks)
    total = masks.first + masks.second
    assert set(total.unique().tolist()) == {1.0, 2.0}
    assert not torch.equal(masks.first, masks.second)
    again = defusion.draw_masks(6, (52, 54), torch.Generator().manual_seed(0))
    assert torch.equal(masks.first, again.first)


def test_stages_of_defusion_count_more_and_more() -> None:
    torch.manual_seed(0)
    model, pair = RECIPES["defusion"]["quick"].create_model().eval(), noisy_pair(1, 1, 32, 32)
    with torch.no_grad():
        inside, everywhere, whole = (terms("defusion", model, pair, stage) for stage in range(3))
    assert inside.keys() == everywhere.keys() == {"common", "first", "second"}
    assert all(inside[name] < everywhere[name] for name in inside)
    assert whole.keys() - inside.keys() == {"whole"}
    assert everywhere == {name: whole[name] for name in inside}


# Runs


SMALL = TarDALRecipe(
    crop=16,
    sampling="random",
    batch=2,
    epochs=(1,),
    steps=2,
    optimizer="rmsprop",
    schedule="constant",
    ema=0.5,
)


def test_helpers_are_in_the_state_and_not_among_the_weights(tmp_path: Path) -> None:
    pairs = random_pairs(4)
    train(SMALL, batches(SMALL, pairs), tmp_path, validation=pairs[:1], quiet=True)
    state = torch.load(tmp_path / STATE, weights_only=True)
    assert any(name.startswith("model.target_critic.") for name in state["objective"])
    assert load_file(tmp_path / WEIGHTS).keys() == create_model("tardal").state_dict().keys()
    create_model("tardal", tmp_path / WEIGHTS)


def test_a_run_with_helpers_goes_on_as_if_never_stopped(tmp_path: Path) -> None:
    pairs = random_pairs(4)
    for name, pauses in (("whole", 0), ("paused", 1)):
        for turn in range(pauses + 1):
            running = Running(stop_after=1e-9 if turn < pauses else 0)
            folder, data = tmp_path / name, batches(SMALL, pairs)
            outcome = train(SMALL, data, folder, running=running, resume=turn > 0, quiet=True)
        assert outcome.finished
    whole, paused = (load_file(tmp_path / name / WEIGHTS) for name in ("whole", "paused"))
    assert all(torch.equal(whole[name], paused[name]) for name in whole)
