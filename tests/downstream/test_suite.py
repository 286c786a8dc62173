"""Runs on small images: what is prepared, trained, kept and told."""

import json
import math
import os
from contextlib import suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from warm_objects import write

from cddfuse import write_image
from cddfuse.benchmark.downstream import read_tables
from cddfuse.datasets.labelled import LabelledSet, LabelRequest, open_labelled
from cddfuse.downstream import inputs, instruments, learning, suite
from cddfuse.downstream.correlation import fusion_scores
from cddfuse.downstream.inputs import Input, parse_inputs
from cddfuse.downstream.kept import arrays
from cddfuse.downstream.pictures import palette
from cddfuse.downstream.prints import kept_prints
from cddfuse.downstream.report import write_report
from cddfuse.downstream.statistics import Scored
from cddfuse.downstream.suite import Plan, Progress, Results, run_plan
from cddfuse.downstream.tables import FLAG, as_markdown, tables
from cddfuse.downstream.tasks import Detection
from cddfuse.errors import InputError
from cddfuse.io import Ranges
from cddfuse.io.files import node
from cddfuse.models import create_model
from cddfuse.runtime import Limits

QUICK = Plan("detect", "centernet", seeds=2, steps=3, batch=2, jobs=1, device="cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("data") / "own")


def labelled(data: Path, out: Path, kind: Any = "boxes", **rest: Any) -> LabelledSet:
    request = LabelRequest(data, shares=(8, 0, 4), **rest)
    return open_labelled(request, kind, kept_prints(out, Ranges()))


def ran(plan: Plan, words: list[str], data: Path, out: Path) -> tuple[Results, list[str]]:
    """Results, and what was trained for them."""
    seen: list[str] = []

    def after(state: Progress) -> None:
        if state.unit == "steps" and state.done:
            seen.append(state.doing)

    kind = "boxes" if plan.task == "detect" else "maps"
    found = labelled(data, out, kind)
    return run_plan(plan, parse_inputs(words), found, out, after=after), seen


def test_rows_are_trained_once_and_kept(data: Path, tmp_path: Path) -> None:
    first, seen = ran(QUICK, ["vi", "ir"], data, tmp_path)
    assert set(seen) == {"vi, seed 0", "vi, seed 1", "ir, seed 0", "ir, seed 1"}
    again, seen = ran(QUICK, ["vi", "ir", "mean"], data, tmp_path)
    assert set(seen) == {"mean, seed 0", "mean, seed 1"}
    assert again.reused == 4
    for label in ("vi", "ir"):
        mine, theirs = first.rows[label]["AP@0.5"], again.rows[label]["AP@0.5"]
        assert np.array_equal(mine.values, theirs.values)
        assert mine.values.shape == (2, 2)
    assert (tmp_path / "split.txt").is_file()


@pytest.mark.parametrize(
    "change",
    [{"steps": 4}, {"side": 32}, {"least_area": 1.0}, {"rate": 1e-3}, {"instrument": "unet"}],
    ids=str,
)
def test_what_a_network_depends_on_is_in_its_key(
    change: dict[str, Any], data: Path, tmp_path: Path
) -> None:
    plan = replace(QUICK, seeds=1)
    if "instrument" in change:
        plan = replace(plan, task="segment", instrument="deeplabv3plus")
    ran(plan, ["vi"], data, tmp_path)
    assert ran(replace(plan, **change), ["vi"], data, tmp_path)[0].reused == 0


def test_changed_images_are_trained_anew(tmp_path: Path) -> None:
    data = write(tmp_path / "own", seed=1)
    plan = replace(QUICK, seeds=1)
    ran(plan, ["mean"], data, tmp_path / "out")
    write_image(data / "ir" / "003.png", torch.rand(1, 48, 64), overwrite=True)
    results, _ = ran(plan, ["mean"], data, tmp_path / "out")
    assert (results.reused, results.computed) == (0, 1)


def test_images_fused_within_other_limits_are_trained_anew(data: Path, tmp_path: Path) -> None:
    plan = replace(QUICK, seeds=1)
    first, _ = ran(plan, ["mean", "vi"], data, tmp_path)
    results, _ = ran(replace(plan, limits=Limits(tile=64)), ["mean", "vi"], data, tmp_path)
    assert (results.reused, results.computed) == (1, 1)
    assert results.prepared["mean"].pictures != first.prepared["mean"].pictures
    assert ran(replace(plan, limits=Limits(graphs=True)), ["mean"], data, tmp_path)[0].reused == 1


def test_images_of_another_device_are_others() -> None:
    network = create_model("sdnet", "ivf")
    assert inputs._running(network, Limits()) == {}
    assert inputs._running(network.to("meta"), Limits()) == {"device": "meta"}


def test_scenes_are_what_intervals_over_images_depend_on(data: Path, tmp_path: Path) -> None:
    plan = replace(QUICK, seeds=1)
    first, _ = ran(plan, ["vi"], data, tmp_path)
    found = replace(first.labelled, scenes=dict.fromkeys(first.labelled.scenes, "one"))
    again = run_plan(plan, parse_inputs(["vi"]), found, tmp_path)
    assert first.rows["vi"]["AP@0.5"].resampled.shape[1] > 0
    assert again.rows["vi"]["AP@0.5"].resampled.shape[1] == 0
    assert len(list((tmp_path / "networks").glob("*.safetensors"))) == 1


def test_a_run_that_was_stopped_goes_on(data: Path, tmp_path: Path) -> None:
    found = labelled(data, tmp_path)

    def stop(state: Progress) -> None:
        if state.doing.startswith("ir"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_plan(replace(QUICK, seeds=1), parse_inputs(["vi", "ir"]), found, tmp_path, after=stop)
    results, seen = ran(replace(QUICK, seeds=1), ["vi", "ir"], data, tmp_path)
    assert results.reused == 1
    assert set(seen) == {"ir, seed 0"}


@pytest.mark.parametrize("at", ["training", "prediction"])
def test_seconds_of_runs_that_were_stopped_count(
    at: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, hour, second = replace(QUICK, seeds=1), 3600.0, 1.0

    def clock(unit: float) -> Any:
        ticks = count()
        return lambda: (unit * next(ticks), 0.0, 0.0, 0.0, 0.0)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    def after(state: Progress) -> None:
        if at == "training" and state.done == 2 and state.unit == "steps":
            stop()

    monkeypatch.setattr(learning, "_SAVED_EVERY", -1.0)
    with monkeypatch.context() as patch:
        patch.setattr(os, "times", clock(hour))
        if at == "prediction":
            patch.setattr(Detection, "predict", stop)
        with pytest.raises(KeyboardInterrupt):
            run_plan(plan, parse_inputs(["vi"]), labelled(data, tmp_path), tmp_path, after=after)
    monkeypatch.setattr(os, "times", clock(second))
    assert ran(plan, ["vi"], data, tmp_path)[0].seconds["vi"] > hour


def test_processes_give_what_one_gives(data: Path, tmp_path: Path) -> None:
    alone, _ = ran(QUICK, ["vi"], data, tmp_path / "one")
    both, seen = ran(replace(QUICK, jobs=2), ["vi"], data, tmp_path / "two")
    assert seen
    for one, other in zip(alone.predictions["vi"], both.predictions["vi"], strict=True):
        with np.load(one) as mine, np.load(other) as theirs:
            np.testing.assert_allclose(mine["scores"], theirs["scores"], rtol=1e-4)


def test_damaged_scores_are_made_again_or_named(data: Path, tmp_path: Path) -> None:
    results, _ = ran(QUICK, ["vi", "ir"], data, tmp_path)
    before = fusion_scores(results, tmp_path)
    for path in (tmp_path / "scores").glob("*.json"):
        path.write_text('{"EN": [1')
    assert fusion_scores(results, tmp_path) == before
    path = next(tmp_path.glob("predictions/*.*.npz"))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match=f"{path.name} is damaged: delete it"):
        ran(QUICK, ["vi", "ir"], data, tmp_path)
    path.unlink()
    ran(QUICK, ["vi", "ir"], data, tmp_path)
    whole = path.read_bytes()
    for at in range(0, len(whole), len(whole) // 20):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1 :])
        with suppress(InputError):  # a few bytes are of no consequence
            arrays(path)
    path.unlink()
    with pytest.raises(InputError, match="cannot read"):
        arrays(path)


def test_a_frozen_network_sees_all_rows(data: Path, tmp_path: Path) -> None:
    plan = replace(QUICK, protocol="frozen")
    results, seen = ran(plan, ["mean", "ir"], data, tmp_path)
    assert set(seen) == {"vi + ir, seed 0", "vi + ir, seed 1"}
    assert set(results.rows) == {"mean", "ir"}
    assert len(list((tmp_path / "networks").glob("*.safetensors"))) == 2
    assert "frozen, trained on vi and ir together" in as_markdown(results)


def test_a_budget_becomes_steps_that_are_kept(data: Path, tmp_path: Path) -> None:
    plan = replace(QUICK, seeds=1, steps=None, budget=0.2)
    first, _ = ran(plan, ["vi"], data, tmp_path)
    assert first.training.steps >= 1
    assert ran(plan, ["vi"], data, tmp_path)[0].reused == 1


def test_segmentation_runs_and_has_a_report(data: Path, tmp_path: Path) -> None:
    plan = replace(QUICK, task="segment", instrument="deeplabv3plus")
    results, _ = ran(plan, ["vi", "ir", "early", "max"], data, tmp_path)
    paths = write_report(results, tmp_path, shown=2)
    assert [path.name for path in paths] == [
        "tables.md",
        "tables.tex",
        "downstream.json",
        "split.txt",
        "segment.png",
    ]
    with Image.open(tmp_path / "segment.png") as sheet:
        assert 2 * 320 < sheet.width < 3 * 320  # two images, and below them
        assert sheet.height > 5 * 240  # labels and four inputs
        meaning = np.asarray(sheet)[-40:]
    for colour in palette(3)[:3]:
        assert (meaning == colour).all(-1).sum() >= 14 * 14  # a square of each class
    content = json.loads((tmp_path / "downstream.json").read_text())
    (table,) = content["tables"]
    assert table["measure"] == "IoU"
    assert [row["label"] for row in table["rows"]] == ["vi", "ir", "early", "max"]
    assert set(table["rows"][0]["classes"]) == {"ground", "person", "lamp"}
    assert np.shape(table["rows"][0]["seeds"]) == (2, 3)
    assert content["split"]["sha256"] == results.labelled.partition.digest
    text = (tmp_path / "tables.tex").read_text()
    assert text.count(r"\begin{tabular}{lrrrr}") == 1
    (view,) = read_tables([tmp_path])
    assert [row["label"] for row in view["rows"]] == ["vi", "ir", "early", "max"]
    assert view["caption"].startswith("Segmentation on own: IoU, percent; deeplabv3plus")


def test_a_report_leaves_no_files_of_an_earlier_one(data: Path, tmp_path: Path) -> None:
    results, _ = ran(replace(QUICK, seeds=1), ["vi", "ir"], data, tmp_path)
    earlier = ("segment.png", "correlation.md", "correlation.png")
    for name in (*earlier, "mine.png"):
        (tmp_path / name).touch()
    write_report(results, tmp_path, shown=1)
    assert [name for name in earlier if (tmp_path / name).exists()] == []
    assert (tmp_path / "detect.png").stat().st_size > 0
    write_report(results, tmp_path, shown=0)
    assert not (tmp_path / "detect.png").exists()
    assert (tmp_path / "mine.png").exists()


def test_results_of_any_tool_are_a_row(data: Path, tmp_path: Path) -> None:
    for name in sorted(path.stem for path in (data / "vi").iterdir()):
        write_image(tmp_path / "theirs" / f"{name}_fused.png", torch.rand(1, 48, 64))
    plan = replace(QUICK, seeds=1)
    results, _ = ran(plan, [f"theirs={tmp_path / 'theirs'}", "vi"], data, tmp_path / "out")
    assert set(results.rows) == {"theirs", "vi"}
    (tmp_path / "theirs" / "003_fused.png").unlink()
    with pytest.raises(InputError, match=r"lacks 1 of 12 images \(003\)"):
        ran(plan, [f"theirs={tmp_path / 'theirs'}", "vi"], data, tmp_path / "out")
    write_image(tmp_path / "theirs" / "003_fused.png", torch.rand(1, 40, 64))
    with pytest.raises(InputError, match="003 of theirs is 64x40, but its labels are for 64x48"):
        ran(plan, [f"theirs={tmp_path / 'theirs'}", "vi"], data, tmp_path / "out")


def test_deep_images_are_brought_to_the_same_range(tmp_path: Path) -> None:
    data = write(tmp_path / "own", seed=2)
    for path in (data / "ir").iterdir():
        with Image.open(path) as picture:
            levels = np.asarray(picture).astype(np.uint16) + 29000
        Image.fromarray(levels).save(path)
    results, _ = ran(replace(QUICK, seeds=1), ["ir"], data, tmp_path / "out")
    images = results.prepared["ir"].open()
    assert images.max() > 240
    assert images[:, :, :48, :64].min() < 20
    assert any("value range: " in note for note in results.notes)
    scores = fusion_scores(results, tmp_path / "out")["ir"]
    assert min(scores["EN"]) > 5  # bits; of 65536 levels without a range, these images have 2
    assert min(scores["MI"]) > 4


def test_a_row_that_fails_is_listed_and_the_others_are_done(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = learning.train

    def fails(network: Any, images: Any, *rest: Any, **more: Any) -> Any:
        if images[0].shape[1] == 4:
            raise InputError("training came apart.")
        return whole(network, images, *rest, **more)

    monkeypatch.setattr(suite, "train", fails)
    results, _ = ran(QUICK, ["vi", "early"], data, tmp_path)
    assert set(results.rows) == {"vi"}
    assert results.failures[0].label == "early"
    assert results.failures[0].reason.startswith("2 of 2 seeds failed")
    assert "## Failed" in as_markdown(results)


def test_what_a_killed_process_took_down_is_tried_alone(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[list[str]] = []

    def killed(todo: Any, count: int, step: Any) -> dict[str, str]:
        tried.append([job.label for job in todo])
        if count == 1 and todo[0].label.startswith("vi"):
            return suite._in_turn(todo, step)
        return {job.key: suite._KILLED for job in todo}

    monkeypatch.setattr(suite, "_in_processes", killed)
    results, _ = ran(replace(QUICK, seeds=1, jobs=2), ["vi", "ir"], data, tmp_path)
    assert tried == [["vi, seed 0", "ir, seed 0"], ["vi, seed 0"], ["ir, seed 0"]]
    assert set(results.rows) == {"vi"}
    assert "memory enough" in results.failures[0].reason


def test_what_killed_runs_left_unfinished_is_removed(data: Path, tmp_path: Path) -> None:
    left = tmp_path / "inputs" / "vi-0" / f".cddfuse-{node()}-{2**22 + 1}-01234567.npy"
    left.parent.mkdir(parents=True)
    left.touch()
    ran(replace(QUICK, seeds=1), ["vi"], data, tmp_path)
    assert not left.exists()


@pytest.mark.parametrize(
    ("change", "words", "message", "setting"),
    [
        ({"instrument": "nothing"}, ["vi"], "no detector nothing", "detector"),
        ({"seeds": 0}, ["vi"], "seeds is 0", "seeds"),
        ({"steps": 0}, ["vi"], "steps is 0", "steps"),
        ({"rate": 0.0}, ["vi"], "learning rate is 0", "rate"),
        ({"protocol": "frozen"}, ["vi", "early"], "early has four", ("inputs", "protocol")),
        ({"protocol": "frozen", "train_on": ("mean",)}, ["vi"], "no input mean", "train_on"),
        ({"train_on": ("ir",)}, ["vi"], "trained on itself", "train_on"),
        ({"yolo_model": "x.yaml"}, ["vi"], "no model of yolo", "yolo_model"),
        ({"instrument": "yolo", "rate": 0.1}, ["vi"], "rate of its own", "rate"),
        ({"least_area": math.nan}, ["vi"], "least area is nan", "least_area"),
        ({"least_area": 161.0}, ["vi"], "no object of the class person", ("least_area", "map")),
        (
            {"protocol": "frozen", "train_on": ("vi", "cddfuse (none)")},
            ["vi", "cddfuse=none"],
            r"cddfuse \(none\) cannot be trained on",
            "train_on",
        ),
        ({"instrument": "yolo"}, ["early"], "three channels", "inputs"),
        ({"instrument": "yolo", "steps": None}, ["vi"], "number of steps", "steps"),
        ({"instrument": "yolo", "backbone": Path("x")}, ["vi"], "no backbone", "backbone"),
        (
            {"task": "segment", "instrument": "segformer", "backbone": Path("x")},
            ["vi"],
            "no backbone",
            "backbone",
        ),
        ({"backbone": Path("none.pth")}, ["vi"], r"none\.pth cannot be read", "backbone"),
    ],
)
def test_slips_are_named_before_any_work(
    change: dict[str, Any],
    words: list[str],
    message: str,
    setting: Any,
    data: Path,
    tmp_path: Path,
) -> None:
    with pytest.raises((InputError, OSError), match=message) as caught:
        ran(replace(QUICK, **change), words, data, tmp_path)
    if setting:
        assert isinstance(caught.value, InputError)
        assert caught.value.setting == setting
    assert not (tmp_path / "networks").exists()


def test_inputs_are_words() -> None:
    assert [each.kind for each in parse_inputs(["vi", "early", "mean"])] == [
        "source",
        "source",
        "network",
    ]
    assert parse_inputs(["early"])[0].channels == 4
    given = parse_inputs(["cddfuse=ivf"])[0]
    assert given == Input("cddfuse (ivf)", "network", "cddfuse", "ivf")
    for words, message in (
        (["nothing"], "there is no input nothing"),
        (["vi", "vi"], "two inputs are called vi"),
        ([], "there are no inputs"),
        (["vi=x"], "vi=x is no input"),
        (["mine=/nowhere"], "no folder /nowhere, nor a network mine"),
    ):
        with pytest.raises(InputError, match=message):
            parse_inputs(words)


def test_rows_that_are_not_above_the_better_source_are_flagged(data: Path, tmp_path: Path) -> None:
    results, _ = ran(QUICK, ["vi", "ir", "mean"], data, tmp_path)
    table = tables(results)[0]
    for name, value in (("vi", 0.2), ("ir", 0.5), ("mean", 0.5)):
        scored = results.rows[name]["AP@0.5"]
        scored.values[:], scored.resampled[:] = value, value
    mean = next(row for row in table.rows if row.label == "mean")
    assert mean.flag == FLAG
    results.rows["mean"]["AP@0.5"].values[:] = 0.6
    results.rows["mean"]["AP@0.5"].resampled[:] = 0.6
    fresh = tables(results)[0]
    assert [row.flag for row in fresh.rows] == ["", "", ""]
    assert fresh.best[-1] == "mean"
    text = as_markdown(results)
    assert "| mean | **60.0** | **60.0** | **60.0** |" in text
    assert "above the better single source, ir: mean." in text
    for row in results.rows.values():  # of one seed nothing is known about others
        scored = row["AP@0.5"]
        row["AP@0.5"] = Scored(scored.values[:1], scored.resampled[:1])
    assert [row.flag for row in tables(results)[0].rows] == ["", "", FLAG]


def test_published_rows_stand_beside_and_are_marked(data: Path, tmp_path: Path) -> None:
    results, _ = ran(replace(QUICK, seeds=1), ["vi"], data, tmp_path)
    from cddfuse.datasets.catalog import CATALOG

    results.frames = replace(
        results.frames, labelled=replace(results.labelled, card=CATALOG["m3fd"])
    )
    text = as_markdown(results)
    assert "| cddfuse (published) | - | - | 81.1 |" in text
    assert "not measured here" in text


def test_networks_are_saved_with_what_they_are(data: Path, tmp_path: Path) -> None:
    ran(replace(QUICK, seeds=1), ["vi"], data, tmp_path)
    (file,) = (tmp_path / "networks").glob("*.safetensors")
    assert instruments.restore(instruments.build("centernet", 3, 2, 5), file)


def test_test_images_that_weights_were_trained_on_are_told(data: Path, tmp_path: Path) -> None:
    from cddfuse.datasets.catalog import split_of
    from cddfuse.downstream.overlap import note

    found = labelled(data, tmp_path)
    mine = found.partition.test[0]
    known = next(mark for mark in split_of("msrs/sample").fingerprints().values() if mark)
    copied = replace(found, prints={**found.prints, mine: known})
    (given,) = parse_inputs(["cddfuse"])
    assert note(given, found) == ""
    assert f"1 of 4 test images ({mine}, ...) are in the training data" in note(given, copied)
    assert note(parse_inputs(["mean"])[0], copied) == ""
