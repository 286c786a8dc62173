"""The verbs `models` and `weights`, and what other verbs make of imported weights."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from zoo import checkpoint

import cddfuse
from cddfuse.cli import run
from cddfuse.cli.models import facts, multiply_adds
from cddfuse.errors import InputError
from cddfuse.io import read_image, write_image
from cddfuse.models import MODELS, Weights, create_model, load, save_weights
from cddfuse.models.base import Task
from cddfuse.models.load import default_weights, load_network
from cddfuse.models.reconet import ReCoNet
from cddfuse.models.sdnet import SDNet
from cddfuse.models.tardal import TarDAL

Say = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "cddfuse" / "weights"


@pytest.fixture
def pair(tmp_path: Path) -> list[str]:
    paths = [str(tmp_path / name) for name in ("vi.png", "ir.png")]
    random = torch.Generator().manual_seed(0)
    write_image(Path(paths[0]), torch.rand(3, 19, 27, generator=random))
    write_image(Path(paths[1]), torch.rand(1, 19, 27, generator=random))
    return paths


def fuse(pair: list[str], output: Path, *flags: str) -> int:
    return run(["fuse", *pair, "-o", str(output), "--quiet", *flags])


def import_weights(*arguments: object) -> int:
    return run(["weights", "import", *map(str, arguments), "--quiet"])


def complaint(capsys: Say) -> str:
    text = capsys.readouterr().err
    assert text.startswith("cddfuse: ")
    assert text.count("\n") == 1
    return text.removeprefix("cddfuse: ").rstrip()


# models


def test_multiply_adds_worked_by_hand() -> None:
    # Streams of 1x5x5x16 + (16 + 32 + 48) x 3x3 x 16, twice, and 128 to 1.
    streams = 2 * (25 * 16 + (16 + 32 + 48) * 9 * 16)
    assert multiply_adds(SDNet) == (streams + 128) * 640 * 480
    # Two attentions of 2 x 3x3, three branches of 3 x 3x3 x 64, and 192 x 3x3; three turns.
    assert multiply_adds(ReCoNet) == 3 * (2 * 18 + 3 * 27 * 64 + 192 * 9) * 640 * 480


def test_table_and_json_list_every_model(monkeypatch: pytest.MonkeyPatch, capsys: Say) -> None:
    monkeypatch.setattr("cddfuse.cli.models.multiply_adds", lambda kind: 1_234_000_000)
    assert run(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    assert [line.split()[0] for line in lines] == list(MODELS)
    assert lines[0].split()[1:7] == ["ivf,", "mif", "1,188,272", "1.2", "ivf,", "mif"]
    assert run(["models", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["model"] for row in rows] == list(MODELS)
    by_name = {row["model"]: row for row in rows}
    assert by_name["cddfuse"]["weights"] == ["ivf", "mif"]
    assert by_name["max"]["multiply_adds"] is None
    assert by_name["sdnet"]["licence"] == "MIT"
    published = by_name["tardal"]["published"]
    assert published["norms"].startswith("batch: running, or")
    assert (published["values"], published["saved"]) == ("[0, 1]", "rounded")
    assert by_name["sdnet"]["tiles_overlap"] == 5
    assert by_name["sdnet"]["options"] == {"leading": "first or second"}
    assert by_name["cddfuse"]["shipped"]["mif"]["task"] == "mif"


# weights import


def test_imported_weights_are_found_by_name_and_alone(
    tmp_path: Path,
    pair: list[str],
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Say,
) -> None:
    monkeypatch.setattr(ReCoNet, "card", replace(ReCoNet.card, weights={}))
    save_file(checkpoint("reconet"), tmp_path / "params.safetensors")
    assert fuse(pair, tmp_path / "a.png", "--model", "reconet") == 2
    assert complaint(capsys) == (
        "no weights of reconet are at hand: import those of its authors by `cddfuse weights "
        "import`, or give some (--weights)."
    )
    assert import_weights("reconet", tmp_path / "params.safetensors") == 0
    assert (cache / "reconet" / "params.safetensors").is_file()
    assert facts(ReCoNet)["weights"] == ["params"]
    for name, flags in {"a": [], "b": ["--weights", "params"]}.items():
        assert fuse(pair, tmp_path / f"{name}.png", "--model", "reconet", *flags) == 0
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert import_weights("reconet", tmp_path / "params.safetensors") == 2
    assert "exists already: choose another name, or overwrite it (--ov" in complaint(capsys)
    assert import_weights("reconet", tmp_path / "params.safetensors", "--name", "more") == 0
    assert fuse(pair, tmp_path / "c.png", "--model", "reconet") == 2
    assert complaint(capsys) == (
        "reconet has several weights, more, params: choose some (--weights)."
    )


def test_task_chooses_among_shipped_weights_by_what_they_are_for(
    tmp_path: Path, pair: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Say
) -> None:
    tasks: dict[str, Task] = {"street": "ivf", "head": "mif", "old": "ivf"}
    shipped = {name: Weights("", "", "", "", task=task) for name, task in tasks.items()}
    monkeypatch.setattr(ReCoNet, "card", replace(ReCoNet.card, weights=shipped))
    chosen = [default_weights("reconet", "ivf"), default_weights("reconet", "mif")]
    assert chosen == ["street", "head"]
    del shipped["head"]
    assert fuse(pair, tmp_path / "a.png", "--model", "reconet", "--task", "mif") == 2
    assert complaint(capsys) == (
        "reconet has no weights for the task mif, only street, old: choose others, or another "
        "task (--weights)."
    )
    save_file(checkpoint("reconet"), tmp_path / "params.safetensors")
    assert import_weights("reconet", tmp_path / "params.safetensors") == 0
    assert default_weights("reconet", "mif") == "params"
    assert default_weights("reconet", "ivf") == "street"


def test_without_a_task_a_network_has_its_own_first(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(load, "default_weights", lambda name, task: asked.append(task))
    load_network("mean", device="cpu")
    with pytest.raises(InputError):
        load_network("emfusion", device="cpu")
    assert asked == ["ivf", "mif"]


def test_parts_in_several_files_make_one_network(tmp_path: Path) -> None:
    state = checkpoint("didfuse")
    encoder = {name: x for name, x in state.items() if name[3] in "1234"}
    decoder = {name: x for name, x in state.items() if name[3] in "567"}
    torch.save({"weight": encoder, "epoch": 120}, tmp_path / "Encoder.pkl")
    torch.save({"weight": decoder, "epoch": 120}, tmp_path / "Decoder.pkl")
    output = tmp_path / "o.safetensors"
    files = (tmp_path / "Encoder.pkl", tmp_path / "Decoder.pkl")
    assert import_weights("didfuse", *files, "-o", output) == 0
    expected = MODELS["didfuse"].convert_checkpoint(state) or {}
    found = load_file(output)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_half_of_a_network_is_refused(tmp_path: Path, capsys: Say) -> None:
    state = {n: x for n, x in checkpoint("didfuse").items() if n[3] in "1234"}
    torch.save({"weight": state, "epoch": 120}, tmp_path / "Encoder.pkl")
    assert import_weights("didfuse", tmp_path / "Encoder.pkl") == 2
    assert "does not fit didfuse: 23 missing (decoder.merge.0.weight" in complaint(capsys)


@pytest.mark.parametrize(("task", "leads"), [("ivf", "second"), ("mif", "first")])
def test_task_decides_where_weights_do_not_say(
    tmp_path: Path, pair: list[str], task: str, leads: str
) -> None:
    theirs, ours = tmp_path / "theirs.safetensors", tmp_path / "ours.safetensors"
    state = {name: x.contiguous() for name, x in checkpoint("sdnet").items()}
    save_file(state, theirs)
    assert import_weights("sdnet", theirs, "-o", ours, "--task", task) == 0
    model: Any = create_model("sdnet", ours)
    assert model.leads == leads
    sdnet = ("--model", "sdnet", "--weights")
    assert fuse(pair, tmp_path / "a.png", *sdnet, str(theirs), "--task", task) == 0
    for other in ("ivf", "mif"):  # What the file says counts more.
        output = tmp_path / f"{other}.png"
        assert fuse(pair, output, *sdnet, str(ours), "--task", other) == 0
        assert output.read_bytes() == (tmp_path / "a.png").read_bytes()


def test_weights_that_train_wrote_are_imported_with_what_they_say(
    tmp_path: Path, pair: list[str], capsys: Say
) -> None:
    path = tmp_path / "weights.safetensors"
    save_weights(create_model("rfnnest"), path)
    assert fuse(pair, tmp_path / "a.png", "--model", "rfnnest", "--weights", str(path)) == 0
    assert import_weights("rfnnest", path, "--name", "ours") == 0
    assert fuse(pair, tmp_path / "b.png", "--model", "rfnnest") == 0
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert import_weights("defusion", path) == 2
    assert complaint(capsys) == f"{path} holds weights of rfnnest, not of defusion."
    save_weights(create_model("sdnet", leading="first"), path)
    assert import_weights("sdnet", path, "--name", "ours") == 0
    model: Any = create_model("sdnet", "ours")
    assert model.leads == "first"


@pytest.mark.parametrize(
    ("content", "statistics"),
    [
        (lambda state: state, "running"),
        (lambda state: {n: x * 0 if "tracked" in n else x for n, x in state.items()}, "image"),
        (lambda state: {"fuse": {**state, "use_eval": torch.tensor(False)}, "disc": {}}, "image"),
        (lambda state: {"fuse": state, "disc": {}}, "running"),
    ],
    ids=["counted", "never counted", "second release, use_eval off", "second release"],
)
def test_statistics_of_tardal_follow_from_its_weights(
    tmp_path: Path, content: Any, statistics: str
) -> None:
    torch.save(content(checkpoint("tardal")), tmp_path / "tardal.pt")
    model = create_model("tardal", tmp_path / "tardal.pt")
    assert isinstance(model, TarDAL)
    assert (model.card.receptive_radius is None) == (statistics == "image")
    again = create_model("tardal", tmp_path / "tardal.pt", statistics="image")
    assert again.card.receptive_radius is None


def test_what_a_file_of_ours_says_counts_more_than_what_its_statistics_imply(
    tmp_path: Path,
) -> None:
    for statistics, global_ in (("image", True), ("running", False)):
        path = tmp_path / f"{statistics}.safetensors"
        save_weights(create_model("tardal", statistics=statistics), path)
        assert (create_model("tardal", path).card.receptive_radius is None) == global_


def test_checkpoint_of_tensorflow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Say
) -> None:
    state = checkpoint("emfusion")

    class Reader:
        def get_variable_to_shape_map(self) -> dict[str, list[int]]:
            return {name: list(x.shape) for name, x in state.items()}

        def get_tensor(self, name: str) -> np.ndarray:
            return state[name].numpy()

    (tmp_path / "3200.ckpt.index").touch()
    monkeypatch.setitem(sys.modules, "tensorflow.train", None)
    assert import_weights("emfusion", tmp_path / "3200.ckpt") == 2
    assert "is a checkpoint of TensorFlow: pip install 'cddfuse[tensorflow]'" in complaint(capsys)
    package, module = ModuleType("tensorflow"), ModuleType("tensorflow.train")
    module.__dict__["load_checkpoint"] = lambda path: Reader()
    monkeypatch.setitem(sys.modules, "tensorflow", package)
    monkeypatch.setitem(sys.modules, "tensorflow.train", module)
    output = tmp_path / "o.safetensors"
    assert import_weights("emfusion", tmp_path / "3200.ckpt", "-o", output) == 0
    assert create_model("emfusion", output).card.name == "emfusion"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("method", ["sdnet", "u2fusion", "emfusion"])
def test_checkpoint_that_tensorflow_wrote(tmp_path: Path, method: str) -> None:
    reason = "tensorflow is not installed: pip install 'cddfuse[tensorflow]'"
    v1 = pytest.importorskip("tensorflow", reason=reason).compat.v1
    state = checkpoint(method)
    with v1.Graph().as_default(), v1.Session() as session:
        kept = [v1.Variable(value.numpy(), name=name) for name, value in state.items()]
        session.run(v1.global_variables_initializer())
        v1.train.Saver(kept).save(session, str(tmp_path / "Medical.model-29"))
    output = tmp_path / "o.safetensors"
    assert import_weights(method, tmp_path / "Medical.model-29", "-o", output) == 0
    expected, found = MODELS[method].convert_checkpoint(state) or {}, load_file(output)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nobody", "FILE"], "there is no network nobody: known are cddfuse"),
        (["sdnet", "missing.pt"], "there is no file missing.pt: check the name."),
        (["sdnet", "FILE", "-o", "a.pth"], "a.pth cannot hold weights: choose a name that ends"),
        (["cddfuse", "FILE", "--name", "ivf"], "weights cannot be called ivf: choose another"),
        (["sdnet", "FILE", "--name", "../x"], "weights cannot be called ../x: choose another"),
        (["sdnet", "FILE"], "FILE does not fit sdnet: 32 missing"),
        (["max", "FILE"], "FILE does not fit max: 1 unknown"),
    ],
    ids=str,
)
def test_what_cannot_be_imported_is_a_sentence(
    tmp_path: Path, capsys: Say, arguments: list[str], sentence: str
) -> None:
    path = tmp_path / "stranger.safetensors"
    save_file({"stranger": torch.zeros(1)}, path)
    assert import_weights(*(path if x == "FILE" else x for x in arguments)) == 2
    assert complaint(capsys).replace(str(path), "FILE").startswith(sentence)


@pytest.mark.parametrize("method", ["max", "laplacian", "guided"])
@pytest.mark.parametrize("task", ["ivf", "mif"])
def test_methods_without_weights_just_work(
    tmp_path: Path, pair: list[str], method: str, task: str
) -> None:
    assert fuse(pair, tmp_path / "o.png", "--model", method, "--task", task) == 0


def test_option_of_another_network_is_a_sentence(
    tmp_path: Path, pair: list[str], capsys: Say
) -> None:
    assert fuse(pair, tmp_path / "o.png", "--model", "max", "--option", "residual=none") == 2
    assert complaint(capsys) == "max takes no options: leave residual out (--option)."


def test_options_of_a_network_reach_it_from_every_verb(
    tmp_path: Path, pair: list[str], capsys: Say
) -> None:
    for name, flags in {"sum": [], "average": ["--option", "rule=average"]}.items():
        assert fuse(pair, tmp_path / f"{name}.png", "--model", "didfuse", *flags) == 0
        expected = cddfuse.fuse(create_model("didfuse", "ivf", rule=name), cddfuse.read_pair(*pair))
        difference = (read_image(tmp_path / f"{name}.png") - expected).abs().max()
        assert difference < 1.01 / 255
    sources = ["--first", str(tmp_path), "--metrics", "EN", "--quiet", "--model", "cddfuse"]
    wrong = ["--option", "residual=none", "detail=conv"]
    said = "cddfuse takes transformer or invertible for detail, not conv (--option)."
    for command in (
        ["fuse", *pair, "-o", str(tmp_path / "x.png")],
        ["export", "-o", str(tmp_path / "x.onnx")],
        ["evaluate", *sources],
    ):
        assert run([*command, *wrong]) == 2
        assert complaint(capsys) == said
    assert run(["export", "-o", str(tmp_path / "x.onnx"), "--option", "residual"]) == 2
    assert complaint(capsys) == "residual is no option: write NAME=VALUE (--option)."


@pytest.mark.parametrize("method", [name for name, kind in MODELS.items() if kind.card.weights])
def test_shipped_weights_need_no_import_and_go_before_imported_ones(
    tmp_path: Path, pair: list[str], cache: Path, method: str
) -> None:
    kind = MODELS[method]
    assert fuse(pair, tmp_path / "a.png", "--model", method) == 0
    imported = cache / method / "theirs.safetensors"
    imported.parent.mkdir(parents=True)
    torch.manual_seed(0)
    save_weights(create_model(method), imported)
    assert fuse(pair, tmp_path / "b.png", "--model", method) == 0
    assert fuse(pair, tmp_path / "c.png", "--model", method, "--weights", "theirs") == 0
    a, b, c = ((tmp_path / f"{name}.png").read_bytes() for name in "abc")
    assert a == b != c
    first = next(iter(kind.card.weights))
    assert facts(kind)["weights"] == [*kind.card.weights, "theirs"]
    assert kind.card.weights[first].task == kind.card.tasks[0]


def test_other_methods_than_cddfuse_are_shipped_with_weights() -> None:
    shipped = [name for name, kind in MODELS.items() if kind.card.weights]
    others = ["didfuse", "u2fusion", "sdnet", "tardal", "reconet", "emfusion"]
    assert shipped == ["cddfuse", "cddfuse_small", *others]


@pytest.mark.parametrize(
    "method", ["didfuse", "u2fusion", "sdnet", "tardal", "reconet", "emfusion"]
)
def test_weights_in_the_authors_layout_fuse_colour_of_odd_size(
    tmp_path: Path, pair: list[str], method: str
) -> None:
    weights, output = tmp_path / "theirs.safetensors", tmp_path / "o.png"
    save_file({name: x.contiguous() for name, x in checkpoint(method).items()}, weights)
    assert fuse(pair, output, "--model", method, "--weights", str(weights)) == 0
    assert read_image(output).shape == (3, 19, 27)
