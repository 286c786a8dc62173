"""Which recipe a run follows: requests, presets, and weights that own the network's options."""

from pathlib import Path
from typing import Any

import pytest

from cddfuse.errors import InputError
from cddfuse.models import create_model, save_weights
from cddfuse.recipes.choice import Choice, Request, check_same, started

UNUSUAL = [
    ("cddfuse", {"residual": "none"}),
    ("sdnet", {"leading": "first"}),
    ("didfuse", {"rule": "average"}),
    ("tardal", {"statistics": "image"}),
]


@pytest.mark.parametrize(("method", "options"), UNUSUAL, ids=str)
def test_weights_own_the_options_of_the_network(
    method: str, options: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "unusual.safetensors"
    save_weights(create_model(method, **options), path)
    choice = started(Request(method, weights=str(path)))
    assert choice.recipe.options == {**choice.recipe.options, **options}
    choice.write(tmp_path / "recipe.yaml")
    again = Choice.read(tmp_path / "recipe.yaml")
    trained, fresh = again.trained_model(), again.recipe.create_model()
    assert trained is not None
    save_weights(fresh, tmp_path / "again.safetensors")  # a resumed run builds a fresh network
    resumed = started(Request(method, weights=str(tmp_path / "again.safetensors")))
    assert resumed.recipe.options == choice.recipe.options
    (name,) = options
    usual = getattr(started(Request(method)).recipe, name)
    with pytest.raises(InputError) as caught:
        started(Request(method, weights=str(path), settings={name: usual}))
    assert caught.value.setting == name


def test_shipped_weights_start_a_run_by_name() -> None:
    choice = started(Request(weights="mif"))
    assert (choice.weights, choice.recipe.options["residual"]) == ("mif", "none")


def test_requests_lie_over_files_and_files_over_presets(tmp_path: Path) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text("preset: released\nweights: ivf\nbatch: 4\nloss: {ssim: 9}\n")
    request = Request(settings={"batch": 2, "loss": {"vif": 1}}).over(config)
    assert (request.preset, request.weights) == ("released", "ivf")
    assert request.settings == {"batch": 2, "loss": {"ssim": 9, "vif": 1}}
    assert Request(preset="quick").over(config).preset == "quick"


def test_weights_by_a_relative_path_are_the_same_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_weights(create_model("cddfuse"), tmp_path / "mine.safetensors")
    monkeypatch.chdir(tmp_path)
    choice = started(Request(weights="mine.safetensors"))
    assert choice.weights == str(tmp_path / "mine.safetensors")
    check_same(Request(weights="mine.safetensors"), choice)
    with pytest.raises(InputError, match="the run has weights"):
        check_same(Request(weights="ivf"), choice)


@pytest.mark.parametrize("line", ["method: [cddfuse]", "preset: {quick: 1}", "weights: 3"])
def test_names_in_a_file_are_names(line: str, tmp_path: Path) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text(line)
    with pytest.raises(
        InputError, match=r"mine\.yaml has the .* which is no name: write a name\.$"
    ):
        Request().over(config)


def test_the_length_that_is_asked_for_goes_over_that_of_a_file(tmp_path: Path) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text("minutes: 50\n")
    recipe = started(Request(settings={"steps": 4}).over(config)).recipe
    assert (recipe.minutes, recipe.steps) == (0, 4)
    with pytest.raises(InputError, match="steps and minutes each say how long the run is"):
        started(Request(settings={"steps": 4, "minutes": 1}))


def test_crops_that_do_not_fit_the_network_are_refused() -> None:
    with pytest.raises(InputError, match="crop is 36: cddfuse_small needs a multiple of 8"):
        started(Request("cddfuse_small", settings={"crop": 36}))
    whole = Request("cddfuse_small", settings={"crop": 36, "sampling": "whole"})
    assert started(whole).recipe.crop == 36  # without effect


def test_a_floor_above_the_learning_rate_is_refused() -> None:
    with pytest.raises(InputError, match="min_lr is 1e-06, above the learning_rate 1e-07"):
        started(Request(preset="released", settings={"learning_rate": 1e-7}))
