from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cddfuse.benchmark import timing
from cddfuse.errors import InputError
from cddfuse.models import MODELS, Card, FusionModel, create_model
from cddfuse.runtime.work import multiply_adds

TURN = {"parameters": 3, "multiply_adds": None, "device": "cpu", "load": 0.5}


def test_a_turn_runs_in_a_process_of_its_own() -> None:
    turn = timing._one_turn(("mean", None, None, {}, "cpu"))
    assert turn["seconds"] > 0
    assert turn["parameters"] == 0
    assert turn["device"] == "cpu"


def test_networks_take_turns_and_finished_turns_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []

    def turn(arguments: Any) -> dict[str, Any]:
        ran.append(arguments[0])
        seconds = float(len(ran))
        return {**TURN, "seconds": seconds, "peak_bytes": 10 * len(ran)}

    monkeypatch.setattr(timing, "_one_turn", turn)
    networks, keys = {"a": ("a",), "b": ("b",)}, {"a": "1", "b": "2"}
    costs, failed = timing.measure(networks, keys, tmp_path, turns=3)
    assert ran == ["a", "b"] * 3
    assert (costs["a"].seconds, costs["a"].slowest, costs["a"].peak_bytes) == (3, 5, 50)
    assert not failed
    timing.measure(networks, keys, tmp_path, turns=3)
    assert len(ran) == 6
    timing.measure(networks, keys | {"b": "changed"}, tmp_path, turns=1)
    assert ran[6:] == ["b"]


def test_turns_of_a_busy_machine_are_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads = iter([99.0, 0.5])

    def turn(arguments: Any) -> dict[str, Any]:
        load = next(loads)
        return {**TURN, "load": load, "seconds": load, "peak_bytes": 1}

    monkeypatch.setattr(timing, "_one_turn", turn)
    assert timing.measure({"a": ()}, {"a": "1"}, tmp_path, turns=0) == ({}, {})
    timing.measure({"a": ()}, {"a": "1"}, tmp_path, turns=1)
    assert timing.measure({"a": ()}, {"a": "1"}, tmp_path, turns=0)[0]["a"].load == 99
    for turns in (1, 0):
        costs, _ = timing.measure({"a": ()}, {"a": "1"}, tmp_path, turns=turns)
        assert (costs["a"].load, costs["a"].turns) == (0.5, 1)


def test_a_turn_that_fails_is_a_failure_of_its_network(tmp_path: Path) -> None:
    networks: dict[str, tuple[Any, ...]] = {"a": ("nothing", None, None, {}, "cpu")}
    costs, failed = timing.measure(networks, {"a": "1"}, tmp_path, turns=2)
    assert costs == {}
    assert "there is no network nothing" in failed["a"]
    with pytest.raises(InputError, match="cannot measure the cost"):
        timing._one_turn(networks["a"])


class Convolution(FusionModel):
    """One convolution from one channel to four, then their mean."""

    card = Card(name="convolution", paper="")

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Conv2d(1, 4, 3, padding=1)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return self.layer(first).mean(1, keepdim=True)


def test_multiply_adds_of_a_worked_case() -> None:
    assert multiply_adds(Convolution()) == 480 * 640 * 9 * 4


def test_parameters_are_those_that_fusing_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "HEIGHT", 16)
    monkeypatch.setattr(timing, "WIDTH", 16)
    assert MODELS["sdnet"].card.training_only
    assert timing._turn(create_model("sdnet"))["parameters"] == 28_705
