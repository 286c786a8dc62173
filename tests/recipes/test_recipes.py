"""Recipes: presets, schedules, files, and a loss that can be computed."""

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
from cddfuse.recipes import RECIPES, Recipe, learning_rate
from cddfuse.recipes.cddfuse import CDDFuseRecipe
from cddfuse.recipes.files import read_settings, with_settings, write_recipe

PRESETS = [(method, preset) for method, presets in RECIPES.items() for preset in presets]
RELEASED = CDDFuseRecipe()


def images(*shape: int, seed: int = 0) -> ImagePair:
    first, second = torch.rand(2, *shape, generator=torch.Generator().manual_seed(seed))
    return ImagePair(first, second)


# Every recipe


@pytest.fixture(params=PRESETS, ids="-".join)
def recipe(request: pytest.FixtureRequest) -> Recipe:
    method, preset = request.param
    return RECIPES[method][preset]


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
        terms = stage.terms(model, images(2, 1, 16, 16))
        assert all(term.ndim == 0 and term.isfinite() for term in terms.values())
        assert stage.weights.keys() <= terms.keys()
        model.zero_grad()
        torch.stack(
            [weight * terms[name] for name, weight in stage.weights.items()]
        ).sum().backward()
        learning = {
            name
            for name, part in parts.items()
            if any(w.grad is not None for w in part.parameters())
        }
        assert learning == set(stage.parts)


def test_recipe_survives_its_file(recipe: Recipe, tmp_path: Path) -> None:
    changed = replace(recipe, seed=7, jitter=0.125, dimming=0.25)
    write_recipe(tmp_path / "new" / "recipe.yaml", "any", changed)
    settings = read_settings(tmp_path / "new" / "recipe.yaml")
    assert settings.pop("method") == "any"
    assert settings.keys() == asdict(recipe).keys()
    again = with_settings(replace(recipe, epochs=tuple(9 for _ in recipe.epochs)), {**settings})
    assert replace(again, steps=changed.steps, minutes=changed.minutes) == changed


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
        "dimming": 0,
        "batch": 8,
        "epochs": (40, 80),
        "steps": 0,
        "minutes": 0,
        "optimizer": "adam",
        "smoothing": 0.99,
        "momentum": 0,
        "learning_rate": 1e-4,
        "warmup": 0,
        "schedule": "halving",
        "decay": 0.5,
        "halve_every": 20,
        "floor": 1e-6,
        "clip": 0.01,
        "ema": 0,
        "structural": 5,
        "squared": 1,
        "edges": 5,
        "decomposition": 2,
        "common": 0,
        "intensity": 1,
        "brightness": 0,
        "gradient": 10,
        "directed": 0,
        "contours": 0,
        "sharpness": 1,
        "likeness": 0,
        "fidelity": 0,
        "preservation": 0,
        "information": 0,
        "bins": 64,
        "difference": 0,
        "residual": "first",
        "base": "transformer",
        "detail": "invertible",
        "single_stage": False,
        "freeze_encoder": False,
    }
    assert asdict(released) == {**facts, "seed": 0}
    assert asdict(paper) == {**facts, "seed": 0, "batch": 16, "structural": 10, "edges": 0}


def test_every_weight_is_on_its_own_term() -> None:
    recipe = CDDFuseRecipe(
        epochs=(3, 4),
        structural=11,
        squared=12,
        edges=13,
        decomposition=14,
        common=17,
        intensity=15,
        gradient=16,
        brightness=20,
        directed=18,
        contours=25,
        likeness=19,
        fidelity=21,
        preservation=23,
        information=24,
        difference=22,
    )
    separate, fuse = recipe.stages()
    assert (separate.name, separate.epochs) == ("separate", 3)
    assert separate.parts == ("encoder", "decoder")
    assert separate.weights == {
        "structural_first": 11,
        "structural_second": 11,
        "squared_first": 12,
        "squared_second": 12,
        "edges_first": 13,
        "decomposition": 14,
        "correlation_base": -17,
    }
    assert (fuse.name, fuse.epochs) == ("fuse", 4)
    assert set(fuse.parts) == {"encoder", "decoder", "base_fusion", "detail_fusion"}
    assert fuse.weights == {
        "intensity": 15,
        "brightness": 20,
        "gradient": 16,
        "directed": 18,
        "contours": 25,
        "likeness": 19,
        "fidelity": 21,
        "preservation": 23,
        "information": 24,
        "difference": 22,
        "decomposition": 14,
        "correlation_base": -17,
    }
    asked = {"intensity", "gradient", "decomposition"}
    assert RELEASED.stages()[1].weights.keys() == asked
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
        return recipe.stages()[stage].terms(model, pair)


def test_terms_of_stage_one_compare_each_image_with_its_own_reconstruction() -> None:
    model, pair = released_model(), images(2, 1, 9, 11)
    terms = terms_of(0, model, pair)
    with torch.no_grad():
        one, two = model.encode(pair.first, pair.second)
        first, second = model.decoder(one, pair.first), model.decoder(two, pair.second)
    base = losses.correlation(one.base, two.base)
    detail = losses.correlation(one.detail, two.detail)
    expected = {
        "structural_first": losses.structural(first, pair.first),
        "structural_second": losses.structural(second, pair.second),
        "squared_first": F.mse_loss(first, pair.first),
        "squared_second": F.mse_loss(second, pair.second),
        "edges_first": losses.edges(first, pair.first),
        "decomposition": detail**2 / (base + 1.01),
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
        "intensity": losses.intensity(fused, pair.first, pair.second),
        "brightness": losses.brightness(fused, pair.first, pair.second),
        "gradient": losses.gradient(fused, pair.first, pair.second),
        "directed": losses.directed(fused, pair.first, pair.second),
        "contours": losses.contours(fused, pair.first, pair.second),
        "likeness": losses.likeness(fused, pair.first, pair.second),
        "fidelity": losses.fidelity(fused, pair.first, pair.second),
        "preservation": losses.preservation(fused, pair.first, pair.second),
        "information": losses.information(fused, pair.first, pair.second),
        "difference": losses.difference(fused, pair.first, pair.second),
        **{name: before[name] for name in before if name.startswith(("decomp", "correl"))},
    }
    torch.testing.assert_close(terms, expected)


@pytest.mark.parametrize(
    ("setting", "value", "names", "way"),
    [
        ("sharpness", 1.5, ["gradient", "directed", "contours"], operator.lt),
        ("bins", 256, ["information"], operator.gt),
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
            "structural_first": 0.22143065929412842,
            "squared_first": 0.025025470182299614,
            "structural_second": 0.12926554679870605,
            "squared_second": 0.03065711259841919,
            "edges_first": 0.01894182339310646,
        },
        rel=1e-4,
    )
    weights = RELEASED.stages()[0].weights
    total = sum(weight * terms[name].item() for name, weight in weights.items())
    assert total == pytest.approx(2.335542917251587, rel=1e-4)


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
def test_halving_worked_by_hand(epoch: float, rate: float) -> None:
    assert learning_rate(RELEASED, epoch, -1, 0) == pytest.approx(rate)
    assert learning_rate(RELEASED, epoch, 0.9, 9999) == pytest.approx(rate)


def test_halving_does_not_come_a_step_late() -> None:
    # Epochs are sums of shares of an epoch, and rounding may leave them just below.
    assert learning_rate(RELEASED, 20 - 1e-9, -1, 0) == pytest.approx(5e-5)


def test_halving_can_be_left_out() -> None:
    assert learning_rate(replace(RELEASED, halve_every=0), 100, -1, 0) == 1e-4


@pytest.mark.parametrize(
    ("done", "rate"),
    [(-1, 1e-3), (0, 1e-3), (1 / 3, 0.775e-3), (0.5, 0.55e-3), (1, 1e-4), (1.2, 1e-4)],
)
def test_cosine_worked_by_hand(done: float, rate: float) -> None:
    recipe = replace(RELEASED, schedule="cosine", learning_rate=1e-3, floor=1e-4)
    assert learning_rate(recipe, 500, done, 0) == pytest.approx(rate)


def test_constant_and_warm_up() -> None:
    recipe = replace(RELEASED, schedule="constant", warmup=4)
    rates = [learning_rate(recipe, 500, 1, step) for step in range(6)]
    assert rates == pytest.approx([0.25e-4, 0.5e-4, 0.75e-4, 1e-4, 1e-4, 1e-4])
    halving = replace(RELEASED, warmup=2)
    assert learning_rate(halving, 20, -1, 0) == pytest.approx(2.5e-5)


# Settings


def test_settings_are_replaced_and_given_their_types() -> None:
    settings = {"batch": 4, "learning_rate": "5e-4", "epochs": [1, 3], "sampling": "random"}
    found = with_settings(RELEASED, settings)
    assert found == replace(
        RELEASED, batch=4, learning_rate=5e-4, epochs=(1.0, 3.0), sampling="random"
    )
    assert type(found) is CDDFuseRecipe
    assert with_settings(RELEASED, {}) == RELEASED


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
        ({"bach": 8}, "unknown setting bach: known are crop, sampling, "),
        ({1: 2}, "unknown setting 1: known are crop, sampling, "),
        ({"batch": "many"}, "setting batch is 'many': Input should be a valid integer"),
        ({"batch": 2.5}, "setting batch is 2.5: Input should be a valid integer"),
        ({"flips": "maybe"}, "setting flips is 'maybe': Input should be a valid boolean"),
        ({"epochs": 3}, "setting epochs is 3: Input should be a valid tuple."),
        ({"epochs": [1, "x"]}, "setting epochs.1 is 'x': Input should be a valid number"),
        ({"sampling": "both"}, "setting sampling is 'both': Input should be 'grid' or 'random'."),
        ({"residual": "mean"}, "setting residual is 'mean': Input should be 'first', 'sum' or"),
        ({"batch": 0}, "batch is 0: it must be at least 1."),
        ({"crop": 15}, "crop is 15: it must be at least 16."),
        ({"seed": -1}, "seed is -1: it must be at least 0."),
        ({"edges": -1}, "edges is -1.0: it must be at least 0."),
        ({"learning_rate": float("nan")}, "learning_rate is nan: it must be at least 0."),
        ({"ema": 1}, "ema is 1.0: it must be below 1."),
        ({"dimming": 1.5}, "dimming is 1.5: it is a share, at most 1."),
        ({"sharpness": 0}, "sharpness is 0.0: it is a factor, above 0."),
        ({"bins": 1}, "bins is 1: give 2 to 256."),
        ({"bins": 257}, "bins is 257: give 2 to 256."),
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
        (None, "there is no recipe FILE."),
        (b"batch: [8", "FILE is not YAML: "),
        (b"\xff\xfe\xfa", "FILE is not YAML: "),
        (b"just words", "FILE is no recipe: lines such as 'batch: 8' are wanted."),
        (b"", "FILE is no recipe: lines such as 'batch: 8' are wanted."),
        (b"- batch: 8", "FILE is no recipe: lines such as 'batch: 8' are wanted."),
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
    with pytest.raises(InputError, match="there is no recipe"):
        read_settings(tmp_path)
