"""Networks are found and loaded without the command line."""

from pathlib import Path
from typing import Any

import pytest
import torch

from cddfuse.errors import InputError
from cddfuse.models import FusionModel, create_model
from cddfuse.models.load import find_device, load_network


def test_what_is_loaded_without_a_word() -> None:
    model = load_network(device="cpu")
    assert (model.card.name, vars(model)["residual"], model.training) == ("cddfuse", "first", False)


def test_task_and_options_choose() -> None:
    model: Any = load_network("sdnet", "mif", device="cpu", options={"leading": "second"})
    assert model.leads == "second"
    assert vars(load_network(task="mif", device="cpu"))["residual"] == "none"
    with pytest.raises(InputError, match="sdnet takes first or second for leading, not third"):
        load_network("sdnet", "mif", options={"leading": "third"})


@pytest.mark.parametrize(
    ("arguments", "said", "setting"),
    [
        ({"name": "nobody"}, "there is no network nobody", None),
        ({"name": "rfnnest"}, "no weights of rfnnest are at hand", "weights"),
        ({"name": "emfusion", "task": "ivf"}, "no weights for the task ivf, only mif", "weights"),
        ({"options": {"width": "3"}}, "cddfuse has no option width", "option"),
        ({"device": "warp"}, "there is no device warp here", "device"),
        ({"device": "cuda", "backend": "onnxruntime"}, "onnxruntime runs on the CPU", "device"),
    ],
)
def test_the_setting_that_cures_it_is_named(
    arguments: dict[str, Any],
    said: str,
    setting: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(InputError, match=said) as caught:
        load_network(**arguments)
    assert caught.value.setting == setting
    assert "--" not in str(caught.value)


def test_another_backend_is_given_the_network() -> None:
    given: list[Any] = []

    def run_by(model: FusionModel, backend: str) -> FusionModel:
        given.append((model.card.name, backend))
        return create_model("mean")

    assert load_network("max", backend="openvino", run_by=run_by).card.name == "mean"
    assert given == [("max", "openvino")]
    with pytest.raises(ValueError, match="give run_by"):
        load_network("max", backend="openvino")


def test_auto_finds_a_device() -> None:
    assert find_device("auto").type in ("cpu", "cuda", "mps", "xpu")
    assert find_device("cpu") == torch.device("cpu")
