"""Weights: round trips, the layouts that load, and a sentence for everything that does not."""

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from released import released_checkpoint, released_model
from safetensors.torch import load_file, save_file
from torch import Tensor

from cddfuse.errors import InputError
from cddfuse.models import Weights, create_model, save_weights
from cddfuse.models.base import FusionModel
from cddfuse.models.cddfuse import CDDFuse
from cddfuse.models.weights import network_of


@pytest.fixture(scope="module")
def model() -> CDDFuse:
    return released_model("sum")


@pytest.fixture(scope="module")
def ours(model: CDDFuse, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of ours. Not to be written to."""
    path = tmp_path_factory.mktemp("ours") / "weights.safetensors"
    save_weights(model, path, {"trained_on": "nothing"})
    return path


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file in the layout of the release. Not to be written to."""
    path = tmp_path_factory.mktemp("theirs") / "CDDFuse.pth"
    torch.save(released_checkpoint(), path)
    return path


def assert_same(one: FusionModel, other: FusionModel) -> None:
    assert one.state_dict().keys() == other.state_dict().keys()
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name


def refused(source: Path | str, named: Path | str | None = None, **options: Any) -> str:
    """The sentence with which a source is refused, which names the file."""
    with pytest.raises(InputError) as caught:
        create_model("cddfuse", source, **options)
    sentence = str(caught.value)
    assert str(named or source) in sentence
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert ". " not in sentence
    return sentence.replace(str(named or source), "FILE")


# What loads


def test_what_is_saved_is_loaded_with_its_options(model: CDDFuse, ours: Path) -> None:
    again = create_model("cddfuse", ours)
    assert isinstance(again, CDDFuse)
    assert again.residual == "sum"
    assert not again.training
    assert_same(again, model)


def test_branches_are_saved_and_loaded(tmp_path: Path) -> None:
    exchanged = CDDFuse("none", base="invertible", detail="transformer")
    save_weights(exchanged, tmp_path / "new" / "a.safetensors")
    again = create_model("cddfuse", str(tmp_path / "new" / "a.safetensors"))
    assert isinstance(again, CDDFuse)
    assert again.residual == "none"
    assert_same(again, exchanged)


def test_options_given_count_more_than_those_saved(ours: Path) -> None:
    again = create_model("cddfuse", ours, residual="none")
    assert isinstance(again, CDDFuse)
    assert again.residual == "none"


def test_folder_as_the_hub_has_it(model: CDDFuse, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["residual"] == "sum"
    for again in (create_model("cddfuse", tmp_path), CDDFuse.from_pretrained(tmp_path)):
        assert isinstance(again, CDDFuse)
        assert again.residual == "sum"
        assert_same(again, model)


def test_checkpoint_of_the_release_loads_as_it_is(model: CDDFuse, theirs: Path) -> None:
    assert_same(create_model("cddfuse", theirs), model)
    again = create_model("cddfuse", theirs, residual="sum")
    first, second = torch.rand(2, 1, 1, 12, 9, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(again(first, second), model(first, second))


def test_checkpoint_of_the_release_loads_without_prefixes(model: CDDFuse, tmp_path: Path) -> None:
    bare = {
        part: {name.removeprefix("module."): tensor for name, tensor in state.items()}
        for part, state in released_checkpoint().items()
    }
    torch.save({**bare, "epoch": 3}, tmp_path / "bare.ckpt")
    assert_same(create_model("cddfuse", tmp_path / "bare.ckpt"), model)


def test_own_state_dict_loads_whatever_its_file_is_called(model: CDDFuse, tmp_path: Path) -> None:
    torch.save(model.state_dict(), tmp_path / "weights")
    assert_same(create_model("cddfuse", tmp_path / "weights"), model)


def prefixed(prefix: str, state: Mapping[str, Any]) -> dict[str, Any]:
    return {prefix + name: tensor for name, tensor in state.items()}


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda state: prefixed("module.", state),
        lambda state: prefixed("module._orig_mod.", state),
        lambda state: {"state_dict": state, "epoch": 3, "optimizer": {"lr": 1e-4}},
        lambda state: {"model": state, "step": 7},
        lambda state: {"state_dict": prefixed("model.", state), "pytorch-lightning_version": "2"},
        lambda state: {"model": prefixed("module.", state)},
    ],
    ids=["parallel", "compiled", "state_dict", "model", "Lightning", "model, parallel"],
)
def test_own_state_dict_loads_from_what_training_programs_write(
    model: CDDFuse, tmp_path: Path, wrapped: Callable[[Mapping[str, Any]], dict[str, Any]]
) -> None:
    torch.save(wrapped(model.state_dict()), tmp_path / "a.pth")
    assert_same(create_model("cddfuse", tmp_path / "a.pth", residual="sum"), model)


def test_checkpoint_of_the_release_loads_from_within_another(
    model: CDDFuse, tmp_path: Path
) -> None:
    torch.save({"state_dict": released_checkpoint(), "epoch": 3}, tmp_path / "a.pth")
    assert_same(create_model("cddfuse", tmp_path / "a.pth"), model)


def test_a_file_is_read_by_its_content(model: CDDFuse, ours: Path, tmp_path: Path) -> None:
    safetensors, zipped = tmp_path / "a.pth", tmp_path / "b.safetensors"
    safetensors.write_bytes(ours.read_bytes())
    torch.save(model.state_dict(), zipped)
    again = create_model("cddfuse", safetensors)
    assert isinstance(again, CDDFuse)
    assert again.residual == "sum"  # the header is read as well
    assert network_of(safetensors) == "cddfuse"
    for path in (safetensors, zipped):
        assert_same(create_model("cddfuse", path), model)


def test_a_path_below_the_home_folder(
    ours: Path, monkeypatch: pytest.MonkeyPatch, model: CDDFuse
) -> None:
    monkeypatch.setenv("HOME", str(ours.parent))
    assert_same(create_model("cddfuse", f"~/{ours.name}"), model)


# The hub


class Hub:
    """Answers for the hub, and keeps what it was asked."""

    def __init__(self, answer: Exception | None) -> None:
        self.answer = answer
        self.asked: list[str] = []
        self.offline: list[bool] = []

    def model_info(self, name: str, timeout: float) -> None:
        self.asked.append(name)
        assert timeout <= 10
        if self.answer:
            raise self.answer

    def from_pretrained(self, name: str, local_files_only: bool, **options: Any) -> CDDFuse:
        self.offline.append(local_files_only)
        if self.answer:
            raise LocalEntryNotFoundError("nothing in the cache")
        return CDDFuse(**options)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Hub:
    hub = Hub(None)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: hub)
    monkeypatch.setattr(CDDFuse, "from_pretrained", hub.from_pretrained)
    return hub


@pytest.mark.parametrize(
    "name",
    ["runs/mine", "./mine", "mine", "/nowhere/mine", "u/mine.pth", "../u/m", "~/mine"],
)
def test_what_looks_like_a_path_is_not_asked_of_the_hub(hub: Hub, name: str) -> None:
    Path("runs").mkdir()
    assert refused(name).startswith("there are no weights FILE: give a file that exists")
    assert not hub.asked


def test_a_repository_of_the_hub(hub: Hub) -> None:
    model = create_model("cddfuse", "somebody/cddfuse-1.5", residual="none")
    assert vars(model)["residual"] == "none"
    assert (hub.asked, hub.offline) == (["somebody/cddfuse-1.5"], [False])


def test_a_hub_out_of_reach_is_asked_once_and_its_cache_looked_through(hub: Hub) -> None:
    hub.answer = OSError("Name or service not known")
    assert refused("runs/mine") == (
        "there is no file FILE, and the hub cannot be reached: check the name and the connection."
    )
    assert (hub.asked, hub.offline) == (["runs/mine"], [True])


def test_the_hub_is_left_alone_where_it_is_switched_off(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    began = time.monotonic()
    assert "the hub cannot be reached" in refused("somebody/mine")
    assert time.monotonic() - began < 5


# Weights on the card


def on_card(monkeypatch: pytest.MonkeyPatch, location: Path, digest: str) -> None:
    weights = Weights(str(location), digest, "CC0-1.0", "nothing", {"residual": "none"})
    card = replace(CDDFuse.card, weights={"test": weights, "other": weights})
    monkeypatch.setattr(CDDFuse, "card", card)


def test_weights_of_the_card_by_name(
    model: CDDFuse, ours: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_card(monkeypatch, ours, sha256(ours.read_bytes()).hexdigest())
    again = create_model("cddfuse", "test")
    assert isinstance(again, CDDFuse)
    assert again.residual == "none"
    assert_same(again, model)
    assert vars(create_model("cddfuse", "test", residual="first"))["residual"] == "first"


def test_damaged_weights_of_the_card(ours: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_card(monkeypatch, ours, "0" * 64)
    assert refused("test", ours) == "the weights FILE are damaged: install cddfuse again."


def test_missing_weights_of_the_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_card(monkeypatch, tmp_path / "a.safetensors", "")
    sentence = refused("test", tmp_path / "a.safetensors")
    assert sentence == "the weights FILE are missing: install cddfuse again."


def test_unknown_name_lists_the_known_ones(ours: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_card(monkeypatch, ours, "")
    assert refused("tset") == (
        "there are no weights FILE: give a file that exists, a repository of the hub, or a name of "
        "cddfuse (known: test, other)."
    )


def test_unknown_network_lists_the_known_ones() -> None:
    with pytest.raises(InputError, match="there is no network cdfuse: known are cddfuse"):
        create_model("cdfuse")


# Files that are not what they should be


@pytest.mark.parametrize("name", ["a.safetensors", "deeper/a.pth", "a/b/c"])
def test_missing_file(tmp_path: Path, name: str) -> None:
    assert "there are no weights FILE: give a file that exists" in refused(tmp_path / name)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt", ""])
@pytest.mark.parametrize("content", [b"", b"what is this\n", b'{"a": 1}', b"\x80\x02}", b"PK\3\4"])
def test_empty_and_foreign_files(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    sentence = refused(path)
    assert "damaged" in sentence


@pytest.mark.parametrize("share", [0.0001, 0.01, 0.5, 0.999])
def test_truncated_files(ours: Path, theirs: Path, tmp_path: Path, share: float) -> None:
    for whole in (ours, theirs):
        content = whole.read_bytes()
        path = tmp_path / whole.name
        path.write_bytes(content[: int(share * len(content))])
        assert "damaged" in refused(path)


@pytest.mark.parametrize("new_format", [True, False])
def test_damage_anywhere_is_a_sentence(tmp_path: Path, new_format: bool) -> None:
    path = tmp_path / "a.pth"
    small = {"a": torch.zeros(2), "b": torch.ones(3)}
    torch.save(small, path, _use_new_zipfile_serialization=new_format)
    content = path.read_bytes()
    for place in range(2, len(content), 43 if new_format else 7):
        path.write_bytes(content[:place] + b"." + content[place + 1 :])
        refused(path)
        path.write_bytes(content[:place])
        refused(path)


class Intruder:
    """Unpickled without care, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("place", ["alone", "in DIDF_Encoder", "among tensors"])
def test_checkpoint_that_wants_to_run_code_does_not(tmp_path: Path, place: str) -> None:
    intruder = Intruder(tmp_path / "was here")
    content: dict[str, Any] = {
        "alone": intruder,
        "in DIDF_Encoder": {**released_checkpoint(), "DIDF_Encoder": {"module.x": intruder}},
        "among tensors": {"a": torch.zeros(1), "b": intruder},
    }
    torch.save(content[place], tmp_path / "a.pth")
    sentence = refused(tmp_path / "a.pth")
    assert "FILE is refused: it is damaged, or wants to run code of its own when read" in sentence
    assert not (tmp_path / "was here").exists()


def test_folder_without_weights(tmp_path: Path) -> None:
    assert "the folder FILE holds no model.safetensors" in refused(tmp_path)


def test_folder_with_a_damaged_config(model: CDDFuse, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"residual": ')
    assert (
        refused(tmp_path, tmp_path / "config.json")
        == "FILE does not say how its network is built: write it again."
    )


def test_folder_with_damaged_weights(model: CDDFuse, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert "FILE is damaged" in refused(tmp_path, tmp_path / "model.safetensors")


PAGES = [b"<!DOCTYPE html><html>", b"\n  <html lang=en>", b"\xef\xbb\xbf<?xml version='1.0'?>"]
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 4763396\n"


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("page", PAGES, ids=range(3))
def test_a_web_page_is_called_one(tmp_path: Path, suffix: str, page: bytes) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(page + b"<title>Sign in</title>" * 9)
    assert refused(path) == "FILE is a web page (HTML), not the weights: download the file itself."


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_pointer_of_git_lfs_is_called_one(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(POINTER)
    assert refused(path) == "FILE is a Git LFS pointer, not the weights: run `git lfs pull` there."


# Weights of something else


def test_header_of_another_network(ours: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file(load_file(ours), path, {"cddfuse.model": "densefuse"})
    assert refused(path) == "FILE holds weights of densefuse, not of cddfuse."


def test_header_with_an_option_that_does_not_exist(ours: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file(load_file(ours), path, {"cddfuse.options": '{"width": 32}'})
    assert "FILE does not fit cddfuse: " in refused(path)
    assert "'width'" in refused(path)


def saved(tmp_path: Path, content: Any) -> Path:
    torch.save(content, tmp_path / "a.pth")
    return tmp_path / "a.pth"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ([torch.zeros(1)], "FILE holds a list, not weights by name."),
        (torch.zeros(1), "FILE holds a Tensor, not weights by name."),
        ({}, "FILE is no checkpoint of cddfuse: it holds nothing."),
        (
            {"optimizer": {"a": torch.zeros(1)}, "epoch": 3},
            "FILE is no checkpoint of cddfuse: it holds optimizer, epoch.",
        ),
        (
            {str(number): number for number in range(7)},
            "FILE is no checkpoint of cddfuse: it holds 0, 1, 2, 3, 4, ....",
        ),
    ],
    ids=["list", "tensor", "nothing", "foreign", "many"],
)
def test_checkpoint_of_something_else(tmp_path: Path, content: Any, sentence: str) -> None:
    assert refused(saved(tmp_path, content)) == sentence


@pytest.mark.parametrize("key", ["conv.weight", 1])
def test_tensors_of_another_network(tmp_path: Path, key: Any) -> None:
    sentence = refused(saved(tmp_path, {key: torch.zeros(1)}))
    assert sentence.startswith("FILE does not fit cddfuse: 158 missing (encoder.embedding.weight, ")
    assert sentence.endswith(f", ...); 1 unknown ({key}).")


def test_tensors_that_do_not_fit_are_listed(model: CDDFuse, tmp_path: Path) -> None:
    state = model.state_dict()
    del state["decoder.output.2.weight"]
    state["decoder.extra"] = torch.zeros(1)
    state["encoder.embedding.weight"] = torch.zeros(64, 3, 3, 3)
    assert refused(saved(tmp_path, state)) == (
        "FILE does not fit cddfuse: 1 missing (decoder.output.2.weight); 1 unknown "
        "(decoder.extra); 1 of another shape (encoder.embedding.weight (64, 3, 3, 3) for "
        "(64, 1, 3, 3))."
    )


def test_checkpoint_of_the_release_that_does_not_fit(tmp_path: Path) -> None:
    checkpoint = released_checkpoint()
    del checkpoint["DIDF_Encoder"]["module.baseFeature.attn.scale"]
    checkpoint["DetailFuseLayer"]["module.more"] = torch.zeros(2)
    sentence = refused(saved(tmp_path, checkpoint))
    assert "1 missing (encoder.base.attention.temperature)" in sentence
    assert "1 unknown (detail_fusion.more)" in sentence


def test_weights_of_the_exchanged_network_do_not_fit(ours: Path) -> None:
    assert "does not fit cddfuse" in refused(ours, base="invertible")


@pytest.mark.parametrize(
    "garbage",
    [3, None, [torch.zeros(1)], {"module.x": 5}, {7: torch.zeros(1)}, torch.zeros(3), "text"],
    ids=repr,
)
def test_keys_of_the_release_with_garbage_inside(tmp_path: Path, garbage: Any) -> None:
    checkpoint: Mapping[str, Any] = {**released_checkpoint(), "BaseFuseLayer": garbage}
    refused(saved(tmp_path, checkpoint))


def test_release_without_one_of_its_parts(tmp_path: Path) -> None:
    checkpoint: dict[str, dict[str, Tensor]] = released_checkpoint()
    del checkpoint["DetailFuseLayer"]
    assert "FILE is no checkpoint of cddfuse: it holds DIDF_Encoder" in refused(
        saved(tmp_path, checkpoint)
    )


def test_hub_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    save_file({"stranger": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(RuntimeError, match="stranger"):
        CDDFuse.from_pretrained(tmp_path)


@pytest.mark.parametrize("options", ["no json", "[1]"])
def test_options_that_say_nothing(tmp_path: Path, options: str) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"stranger": torch.zeros(1)}, path, {"cddfuse.options": options})
    with pytest.raises(InputError, match="does not say how its network is built"):
        create_model("cddfuse", path)
