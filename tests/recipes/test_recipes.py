"""Recipes: presets, schedules, files, and a loss that can be computed."""

import inspect
import operator
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from released import golden_arrays, released_model
from torch import Tensor

from cddfuse import losses
from cddfuse.errors import InputError
from cddfuse.models import MODELS
from cddfuse.models.cddfuse import CDDFuse
from cddfuse.pair import ImagePair
from cddfuse.recipes import RECIPES, learning_rate
from cddfuse.recipes.cddfuse import CDDFuseRecipe
from cddfuse.recipes.choice import Choice
from cddfuse.recipes.settings import read_settings, with_settings

GROUPS = {"Data", "Recipe", "Loss", "Optimizer", "Network"}
PRESETS = [(method, preset) for method, presets in RECIPES.items() for preset in presets]
RELEASED = CDDFuseRecipe()


def images(*shape: int, seed: int = 0) -> ImagePair:
    first, second = torch.rand(2, *shape, generator=torch.Generator().manual_seed(seed))
    return ImagePair(first, second)


# Every recipe


def test_methods_are_networks_of_the_zoo() -> None:
    assert RECIPES.keys() <= MODELS.keys()
    for method, presets in RECIPES.items():
        for recipe in presets.values():
            assert type(recipe.create_model()) is MODELS[method]


@pytest.mark.parametrize("method", RECIPES)
def test_every_stage_has_a_loss_that_its_parts_learn_from(method: str) -> None:
    recipe = RECIPES[method]["quick"]
    torch.manual_seed(0)
    model = recipe.create_model().train()
    recipe.prepare(model)
    parts = dict(model.named_children())
    for stage in recipe.stages():
        assert stage.epochs > 0
        terms = stage.losses(model, images(2, 1, 16, 16), log=tuple(stage.weights))
        assert all(term.ndim == 0 and term.isfinite() for term in terms.values())
        assert terms.keys() == {*stage.weights, *stage.watched}
        model.zero_grad()
        torch.stack(
            [weight * terms[name] for name, weight in stage.counting.items()]
        ).sum().backward()
        learning = {
            name
            for name, part in parts.items()
            if any(w.grad is not None for w in part.parameters())
        }
        assert learning == set(stage.parts)


@pytest.mark.parametrize(("method", "preset"), PRESETS)
def test_a_choice_survives_its_file(method: str, preset: str, tmp_path: Path) -> None:
    changed = replace(RECIPES[method][preset], seed=7, jitter=0.125, darken=0.25)
    choice = Choice(method, preset, "mine.pth", changed)
    choice.write(tmp_path / "new" / "recipe.yaml")
    assert Choice.read(tmp_path / "new" / "recipe.yaml") == choice


@pytest.mark.parametrize("method", RECIPES)
def test_every_option_of_a_network_is_a_setting_of_its_recipe(method: str) -> None:
    recipe = RECIPES[method]["released"]
    arguments = list(inspect.signature(MODELS[method].__init__).parameters.values())[1:]
    assert recipe.options == {argument.name: argument.default for argument in arguments}
    assert {recipe.group(name) for name in recipe.options} <= {"Network"}
    assert recipe.group("learning_rate") == "Optimizer"
    assert {type(recipe).group(each.name) for each in fields(recipe)} <= GROUPS


def test_settings_of_one_name_have_one_type() -> None:
    types: dict[str, Any] = {}
    for presets in RECIPES.values():
        for recipe in presets.values():
            for setting in fields(recipe):
                assert types.setdefault(setting.name, setting.type) == setting.type


def test_every_method_has_the_presets_that_the_command_line_falls_back_on() -> None:
    assert all({"quick", "released"} <= presets.keys() for presets in RECIPES.values())


# CDDFuse


def test_presets_of_cddfuse() -> None:
    released, paper = RECIPES["cddfuse"]["released"], RECIPES["cddfuse"]["paper"]
    facts = {
        "crop": 128,
        "sampling": "grid",
        "stride": 200,
        "min_contrast": 0.1,
        "flips": False,
        "jitter": 0,
        "darken": 0,
        "haze": 0,
        "cameras": 0,
        "cycle": 0,
        "batch": 8,
        "epochs": (40, 80),
        "steps": 0,
        "minutes": 0,
        "optimizer": "adam",
        "rmsprop_alpha": 0.99,
        "momentum": 0,
        "learning_rate": 1e-4,
        "warmup": 0,
        "schedule": "step",
        "lr_gamma": 0.5,
        "lr_step": 20,
        "min_lr": 1e-6,
        "clip_norm": 0.01,
        "ema": 0,
        "reconstruction_ssim": 5,
        "reconstruction_mse": 1,
        "reconstruction_gradient": 5,
        "decomposition": 2,
        "intensity": 1,
        "gradient": 10,
        "loss": {},
        "gradient_gain": 1,
        "mi_bins": 64,
        "target_source": "second",
        "target_gain": 1,
        "target_prominence": 0,
        "residual": "first",
        "base": "transformer",
        "detail": "invertible",
        "single_stage": False,
        "freeze_encoder": False,
    }
    assert asdict(released) == {**facts, "seed": 0}
    changed = {"batch": 16, "reconstruction_ssim": 10, "reconstruction_gradient": 0}
    assert asdict(paper) == {**facts, "seed": 0, **changed}


def test_every_weight_is_on_its_own_term() -> None:
    rows = {name: row for name, row in losses.LOSSES.items() if not hasattr(RELEASED, name)}
    own = {name: 11 + n for n, name in enumerate(losses.LOSSES) if name not in rows}
    loss = {name: 31 + n for n, name in enumerate(rows)}
    recipe = CDDFuseRecipe(epochs=(3, 4), loss=loss, **own)  # type: ignore[arg-type]
    separate, fuse = recipe.stages()
    assert (separate.name, separate.epochs) == ("separate", 3)
    assert separate.parts == ("encoder", "decoder")
    assert separate.weights == {
        "reconstruction_ssim_first": own["reconstruction_ssim"],
        "reconstruction_ssim_second": own["reconstruction_ssim"],
        "reconstruction_mse_first": own["reconstruction_mse"],
        "reconstruction_mse_second": own["reconstruction_mse"],
        "reconstruction_gradient_first": own["reconstruction_gradient"],
        "decomposition": own["decomposition"],
        "base_correlation": loss["base_correlation"],
    }
    assert (fuse.name, fuse.epochs) == ("fuse", 4)
    assert set(fuse.parts) == {"encoder", "decoder", "base_fusion", "detail_fusion"}
    assert fuse.weights == {
        **{name: own[name] for name in ("intensity", "gradient", "decomposition")},
        **loss,
    }
    asked = {"intensity", "gradient", "decomposition"}
    assert RELEASED.stages()[1].counting.keys() == asked
    (alone,) = replace(recipe, single_stage=True).stages()
    assert (alone.name, alone.epochs, alone.parts) == ("fuse", 7, fuse.parts)
    assert alone.weights == fuse.weights
    rest = replace(recipe, freeze_encoder=True).stages()
    assert [set(stage.parts) for stage in rest] == [
        {"encoder", "decoder"},
        {"decoder", "base_fusion", "detail_fusion"},
    ]


def test_network_is_built_with_the_settings() -> None:
    recipe = replace(RELEASED, residual="sum", base="invertible", detail="transformer")
    built, expected = recipe.create_model(), CDDFuse("sum", "invertible", "transformer")
    assert built.residual == "sum"
    assert built.state_dict().keys() == expected.state_dict().keys()


def terms_of(
    stage: int, model: CDDFuse, pair: ImagePair, recipe: CDDFuseRecipe = RELEASED
) -> dict[str, Tensor]:
    with torch.no_grad():
        return {name: term() for name, term in recipe.stages()[stage].terms(model, pair).items()}


def test_terms_of_stage_one_compare_each_image_with_its_own_reconstruction() -> None:
    model, pair = released_model(), images(2, 1, 9, 11)
    terms = terms_of(0, model, pair)
    with torch.no_grad():
        one, two = model.encode(pair.first, pair.second)
        first, second = model.decoder(one, pair.first), model.decoder(two, pair.second)
    base = losses.correlation(one.base, two.base)
    detail = losses.correlation(one.detail, two.detail)
    expected = {
        "reconstruction_ssim_first": losses.reconstruction_ssim(first, pair.first),
        "reconstruction_ssim_second": losses.reconstruction_ssim(second, pair.second),
        "reconstruction_mse_first": F.mse_loss(first, pair.first),
        "reconstruction_mse_second": F.mse_loss(second, pair.second),
        "reconstruction_gradient_first": losses.reconstruction_gradient(first, pair.first),
        "decomposition": detail**2 / (base + 1.01),
        "base_correlation": 1 - base,
        "correlation_base": base,
        "correlation_detail": detail,
    }
    assert len({round(value.item(), 6) for value in expected.values()}) == len(expected)
    torch.testing.assert_close(terms, expected)


@pytest.mark.parametrize("residual", ["first", "sum", "none"])
def test_terms_of_stage_two_look_at_the_fused_image(residual: Any) -> None:
    model, pair = released_model(residual), images(2, 1, 18, 20)
    terms = terms_of(1, model, pair)
    with torch.no_grad():
        fused = model(pair.first, pair.second)
    before = terms_of(0, model, pair)
    expected = {
        **{
            name: row.function(fused, pair.first, pair.second)
            for name, row in losses.LOSSES.items()
            if row.stage == "fuse"
        },
        **{name: before[name] for name in before if not name.startswith("recon")},
    }
    torch.testing.assert_close(terms, expected)


@pytest.mark.parametrize(
    ("setting", "value", "names", "way"),
    [
        (
            "gradient_gain",
            1.5,
            ["gradient", "signed_gradient", "edge_weighted_gradient"],
            operator.lt,
        ),
        ("mi_bins", 256, ["mi"], operator.gt),
        ("target_gain", 1.5, ["target_contrast"], operator.lt),
    ],
)
def test_a_setting_changes_its_own_terms_and_nothing_else(
    setting: str, value: Any, names: list[str], way: Callable[[Tensor, Tensor], bool]
) -> None:
    model, pair = released_model(), images(2, 1, 18, 20)
    changed = replace(RELEASED, single_stage=True, **{setting: value})
    usual, asked = terms_of(1, model, pair), terms_of(0, model, pair, changed)
    with torch.no_grad():
        fused = model(pair.first, pair.second)
    for name in names:
        expected = getattr(losses, name)(fused, pair.first, pair.second, value)
        torch.testing.assert_close(asked.pop(name), expected)
        assert way(usual.pop(name), expected)
    torch.testing.assert_close(asked, usual)


def test_terms_of_the_released_training() -> None:
    # The first step of golden/cddfuse_trajectory.json: kornia 0.2.0 and torch 2.13 CPU.
    batches = golden_arrays("cddfuse_batches")
    vis, ir = (torch.from_numpy(batches[name][0]).float() / 255 for name in ("vis", "ir"))
    terms = terms_of(0, released_model(), ImagePair(vis, ir))
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(
        {
            "correlation_base": 0.5826740264892578,
            "correlation_detail": 0.5863062143325806,
            "decomposition": 0.2158351093530655,
            "base_correlation": 1 - 0.5826740264892578,
            "reconstruction_ssim_first": 0.22143065929412842,
            "reconstruction_mse_first": 0.025025470182299614,
            "reconstruction_ssim_second": 0.12926554679870605,
            "reconstruction_mse_second": 0.03065711259841919,
            "reconstruction_gradient_first": 0.01894182339310646,
        },
        rel=1e-4,
    )
    weights = RELEASED.stages()[0].counting
    total = sum(weight * terms[name].item() for name, weight in weights.items())
    assert total == pytest.approx(2.335542917251587, rel=1e-4)


def test_the_manual_names_every_loss_that_can_be_added() -> None:
    text = (Path(__file__).parents[2] / "docs" / "training.md").read_text()
    added = [name for name in losses.LOSSES if not hasattr(RELEASED, name)]
    assert [name for name in added if f"`{name}`" not in text] == []


# Learning rate


@pytest.mark.parametrize(
    ("epoch", "rate"),
    [
        (0, 1e-4),
        (19.99, 1e-4),
        (20, 5e-5),
        (39.99, 5e-5),
        (40, 2.5e-5),
        (60, 1.25e-5),
        (119.9, 3.125e-6),
        (120, 1.5625e-6),
        (140, 1e-6),
        (1000, 1e-6),
    ],
)
def test_step_schedule_worked_by_hand(epoch: float, rate: float) -> None:
    assert learning_rate(RELEASED, epoch, -1, 0) == pytest.approx(rate)
    assert learning_rate(RELEASED, epoch, 0.9, 9999) == pytest.approx(rate)


def test_a_step_of_the_schedule_does_not_come_late() -> None:
    # Epochs are sums of shares of an epoch, and rounding may leave them just below.
    assert learning_rate(RELEASED, 20 - 1e-9, -1, 0) == pytest.approx(5e-5)


def test_the_step_schedule_can_be_left_out() -> None:
    assert learning_rate(replace(RELEASED, lr_step=0), 100, -1, 0) == 1e-4


@pytest.mark.parametrize(
    ("done", "rate"),
    [(-1, 1e-3), (0, 1e-3), (1 / 3, 0.775e-3), (0.5, 0.55e-3), (1, 1e-4), (1.2, 1e-4)],
)
def test_cosine_worked_by_hand(done: float, rate: float) -> None:
    recipe = replace(RELEASED, schedule="cosine", learning_rate=1e-3, min_lr=1e-4)
    assert learning_rate(recipe, 500, done, 0) == pytest.approx(rate)


def test_constant_and_warm_up() -> None:
    recipe = replace(RELEASED, schedule="constant", warmup=4)
    rates = [learning_rate(recipe, 500, 1, step) for step in range(6)]
    assert rates == pytest.approx([0.25e-4, 0.5e-4, 0.75e-4, 1e-4, 1e-4, 1e-4])
    steps = replace(RELEASED, warmup=2)
    assert learning_rate(steps, 20, -1, 0) == pytest.approx(2.5e-5)


# Settings


def test_settings_are_replaced_and_given_their_types() -> None:
    settings = {"batch": 4, "learning_rate": "5e-4", "epochs": [1, 3], "sampling": "random"}
    found = with_settings(RELEASED, settings)
    assert found == replace(
        RELEASED, batch=4, learning_rate=5e-4, epochs=(1.0, 3.0), sampling="random"
    )
    assert type(found) is CDDFuseRecipe
    assert with_settings(RELEASED, {}) == RELEASED


def test_weights_of_losses_are_replaced_one_by_one() -> None:
    first = with_settings(RELEASED, {"loss": {"ssim": 9, "vif": 2}})
    assert first == replace(RELEASED, loss={"ssim": 9.0, "vif": 2.0})
    assert with_settings(first, {"loss": {"vif": 0, "scd": 1}}).loss == {  # type: ignore[attr-defined]
        "ssim": 9,
        "vif": 0,
        "scd": 1,
    }


def test_of_three_lengths_the_one_that_is_set_counts() -> None:
    quick = replace(RELEASED, minutes=50, steps=100)
    assert with_settings(quick, {"batch": 2}).minutes == 50
    by_steps = with_settings(quick, {"steps": 9})
    assert (by_steps.minutes, by_steps.steps) == (0, 9)
    by_epochs = with_settings(quick, {"epochs": (2, 4)})
    assert (by_epochs.minutes, by_epochs.steps) == (0, 0)
    assert with_settings(quick, {"minutes": 3}).minutes == 3


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"bach": 8}, "there is no setting bach: known are crop, sampling, "),
        ({1: 2}, "there is no setting 1: known are crop, sampling, "),
        ({"batch": "many"}, "batch is 'many': Input should be a valid integer"),
        ({"batch": 2.5}, "batch is 2.5: Input should be a valid integer"),
        ({"flips": "maybe"}, "flips is 'maybe': Input should be a valid boolean"),
        ({"epochs": 3}, "epochs is 3: Input should be a valid tuple."),
        ({"epochs": [1, "x"]}, "epochs.1 is 'x': Input should be a valid number"),
        ({"sampling": "both"}, "sampling is 'both': Input should be 'grid', 'random' or 'whole'."),
        ({"residual": "mean"}, "residual is 'mean': Input should be 'first', 'sum' or"),
        ({"batch": 0}, "batch is 0: it must be at least 1."),
        ({"crop": 15}, "crop is 15: it must be at least 16."),
        ({"seed": -1}, "seed is -1: it must be at least 0."),
        (
            {"reconstruction_gradient": -1},
            "reconstruction_gradient is -1.0: it must be at least 0.",
        ),
        ({"learning_rate": float("nan")}, "learning_rate is nan: it must be at least 0."),
        ({"learning_rate": float("inf")}, "learning_rate is inf: it must be finite."),
        ({"minutes": float("nan")}, "minutes is nan: it must be at least 0."),
        ({"jitter": 1.5}, "jitter is 1.5: it must be at most 1."),
        ({"min_contrast": 2}, "min_contrast is 2.0: it must be at most 1."),
        ({"momentum": 1}, "momentum is 1.0: it must be below 1."),
        ({"epochs": [1, float("nan")]}, "epochs is (1.0, nan): each stage needs more than 0."),
        ({"loss": {"sim": 1}}, "there is no loss sim: known are intensity_l2, signed_gradient, "),
        ({"loss": {"ssim": float("nan")}}, "the weight of ssim is nan: it must be at least 0"),
        ({"loss": {"vif": -1}}, "the weight of vif is -1.0: it must be at least 0 and finite."),
        ({"loss": {"gradient": 1}}, "the weight of gradient is a setting of its own."),
        ({"ema": 1}, "ema is 1.0: it must be below 1."),
        ({"darken": 1.5}, "darken is 1.5: it must be at most 1."),
        ({"gradient_gain": 0}, "gradient_gain is 0.0: it must be above 0."),
        ({"mi_bins": 1}, "mi_bins is 1: it must be at least 2."),
        ({"mi_bins": 257}, "mi_bins is 257: it must be at most 256."),
        ({"epochs": [0, 1]}, "epochs is (0.0, 1.0): each stage needs more than 0."),
        ({"epochs": [40]}, "epochs is (40.0,): CDDFuse has two stages, so two are needed."),
    ],
    ids=str,
)
def test_wrong_setting_is_a_sentence(settings: dict[Any, Any], sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        with_settings(RELEASED, settings)
    assert str(caught.value).startswith(sentence)
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "cannot read FILE ("),
        (b"batch: [8", "FILE is not YAML: "),
        (b"\xff\xfe\xfa", "FILE is not YAML: "),
        (b"just words", "FILE holds no settings: it needs lines such as 'batch: 8'."),
        (b"", "FILE holds no settings: it needs lines such as 'batch: 8'."),
        (b"- batch: 8", "FILE holds no settings: it needs lines such as 'batch: 8'."),
        (b"a: !!python/object/apply:os.system ['false']", "FILE is not YAML: "),
    ],
    ids=["missing", "open", "binary", "words", "empty", "list", "code"],
)
def test_file_that_is_no_recipe(tmp_path: Path, content: bytes | None, sentence: str) -> None:
    path = tmp_path / "recipe.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_settings(path)
    found = str(caught.value)
    assert found.startswith(sentence.replace("FILE", str(path)))
    assert found.endswith(".")
    assert "\n" not in found


def test_folder_is_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        read_settings(tmp_path)
