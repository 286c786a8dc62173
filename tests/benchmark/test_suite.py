"""Runs on small images with methods that have no weights, or those that are shipped."""

import errno
import json
import os
from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from video_clips import flat, noise, write_clip

from cddfuse import write_image
from cddfuse.benchmark import cells, suite, timing
from cddfuse.benchmark.cells import BASELINE, Record, Settings
from cddfuse.benchmark.pictures import require_regions
from cddfuse.benchmark.plan import Plan, columns, parse
from cddfuse.benchmark.suite import Progress, Results, run_plan
from cddfuse.datasets import catalog
from cddfuse.datasets.catalog import Split
from cddfuse.datasets.fingerprints import fingerprint
from cddfuse.errors import InputError
from cddfuse.evaluate import evaluate
from cddfuse.evaluate.sources import GreyImages
from cddfuse.io import pair_folders
from cddfuse.metrics.tc import Box
from cddfuse.models import MODELS, create_model
from cddfuse.models.classical import GuidedFilter

SOME = Settings(("EN", "SSIM"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three pairs."""
    rng = torch.Generator().manual_seed(0)
    for name in ("1", "2", "3"):
        write_image(tmp_path / "data" / "vi" / f"{name}.png", torch.rand(3, 24, 32, generator=rng))
        write_image(tmp_path / "data" / "ir" / f"{name}.png", torch.rand(1, 24, 32, generator=rng))
    return tmp_path / "data"


def plan(data: Path, *models: str, fused: tuple[str, ...] = ()) -> Plan:
    return parse(models, [f"mine={data}"], fused)


def ran(made: Plan, out: Path, **options: Any) -> tuple[Results, list[str]]:
    """Results, and what was computed for them."""
    seen: list[str] = []

    def after(state: Progress) -> None:
        if state.doing != "start":
            seen.append(state.doing)

    return run_plan(made, SOME, out, after=after, **options), seen


def test_cells_are_what_evaluate_gives(data: Path, tmp_path: Path) -> None:
    results, _ = ran(plan(data, "laplacian"), tmp_path / "out")
    pairs = pair_folders(data / "vi", data / "ir").pairs
    scores = evaluate(create_model("laplacian"), pairs, SOME.metrics)
    for table in ("stretched", "plain"):
        mine = results.records["mine", "laplacian"].tables[table]["fused"]
        assert mine == scores.tables[table]["fused"]
        baselines = results.records["mine", BASELINE.label].tables[table]
        assert baselines == {row: scores.tables[table][row] for row in baselines}
        assert list(baselines) == ["first", "second", "mean", "max"]


def test_finished_cells_are_kept(data: Path, tmp_path: Path) -> None:
    _, first = ran(plan(data, "laplacian"), tmp_path / "out")
    results, second = ran(plan(data, "laplacian", "guided"), tmp_path / "out")
    assert set(first) == {"mine, baselines", "mine, laplacian"}
    assert second == ["mine, guided"] * 3
    assert results.reused == 2


def test_kept_results_are_those_on_disk(data: Path, tmp_path: Path) -> None:
    made = plan(data, "laplacian", "guided")
    ran(plan(data, "laplacian"), tmp_path / "out")
    kept = suite.kept_results(made, SOME, tmp_path / "out")
    assert set(kept.records) == {("mine", "baselines"), ("mine", "laplacian")}
    assert kept.reused == 2


def changed_data(data: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    write_image(data / "ir" / "2.png", torch.rand(1, 24, 32), overwrite=True)
    return SOME


def changed_code(data: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr(cells, "_hash_code", lambda own: "other")
    return SOME


def changed_metrics(data: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    return Settings(("EN",))


def changed_limit(data: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    return Settings(SOME.metrics, limit=2)


@pytest.mark.parametrize("change", [changed_data, changed_code, changed_metrics, changed_limit])
def test_what_scores_depend_on_is_in_the_key(
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Path, pytest.MonkeyPatch], Settings],
) -> None:
    ran(plan(data, "laplacian"), tmp_path / "out")
    settings = change(data, monkeypatch)
    assert run_plan(plan(data, "laplacian"), settings, tmp_path / "out").reused == 0


def test_weights_and_options_are_in_the_key(data: Path) -> None:
    made = plan(data, "sdnet", "cddfuse")
    place = made.data[0]
    models = [create_model("sdnet", "ivf"), create_model("sdnet", "ivf", leading="first")]
    with torch.no_grad():
        changed = create_model("sdnet", "ivf")
        next(changed.parameters()).view(-1)[0] += 1e-6
    every = [
        cells.key_of(cells.describe(made.methods[0], place, SOME, None, x), made.methods[0], place)
        for x in (*models, changed)
    ]
    assert len(set(every)) == 3


def test_each_network_keeps_a_cost_of_its_own(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Networks without weights are in one file of code and have no options."""
    seconds = {"laplacian": 1.0, "guided": 2.0}

    def turn(arguments: Any) -> dict[str, Any]:
        rest = {"parameters": 0, "multiply_adds": None, "peak_bytes": 1, "load": 0.0}
        return {"seconds": seconds[arguments[0]], "device": "cpu", **rest}

    monkeypatch.setattr(timing, "_one_turn", turn)
    for _ in range(2):
        results, _ = ran(plan(data, *seconds), tmp_path / "out", turns=1)
        assert {label: cost.seconds for label, cost in results.costs.items()} == seconds


def test_a_run_that_was_stopped_goes_on(data: Path, tmp_path: Path) -> None:
    def stop(state: Progress) -> None:
        if state.doing == "mine, guided":
            raise KeyboardInterrupt

    made = plan(data, "laplacian", "guided")
    with pytest.raises(KeyboardInterrupt):
        run_plan(made, SOME, tmp_path / "out", after=stop)
    results, seen = ran(made, tmp_path / "out")
    assert set(seen) == {"mine, guided"}
    assert set(results.records) == {("mine", x) for x in ("baselines", "laplacian", "guided")}


def test_a_damaged_record_is_computed_again(data: Path, tmp_path: Path) -> None:
    ran(plan(data), tmp_path / "out")
    (path,) = (tmp_path / "out" / "cells").iterdir()
    path.write_text(path.read_text()[:50])
    assert ran(plan(data), tmp_path / "out")[0].reused == 0


def test_undefined_values_survive_on_disk(tmp_path: Path) -> None:
    values = [1.0, float("nan"), float("inf")]
    tables = {"stretched": {"fused": {"EN": values}}}
    Record("a", "b", "k", {}, ["1", "2", "3"], tables, {}, []).write(tmp_path / "x.json")
    json.loads((tmp_path / "x.json").read_text(), parse_constant=lambda x: pytest.fail(x))
    read = Record.read(tmp_path / "x.json")
    assert read is not None
    assert str(read.tables) == str(tables)


@pytest.mark.parametrize("jobs", [1, 2])
def test_one_bad_pair_does_not_stop_a_cell_nor_one_cell_the_others(
    data: Path, tmp_path: Path, jobs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    (data / "ir" / "2.png").write_bytes(b"no image")
    if jobs == 1:
        monkeypatch.setattr(GuidedFilter, "forward", lambda *images: 1 / 0)
    results, _ = ran(plan(data, "guided", "laplacian"), tmp_path / "out", jobs=jobs)
    assert results.records["mine", "laplacian"].images == ["1", "3"]
    reasons = {(x.method, x.reason.partition(":")[0]) for x in results.failures}
    assert ("laplacian", "2") in reasons
    bugs = [x.reason for x in results.failures if "ZeroDivisionError in test_suite.py" in x.reason]
    assert len(bugs) == (jobs == 1)
    again = run_plan(plan(data, "laplacian"), SOME, tmp_path / "out")
    assert again.computed == 0  # a damaged pair stays damaged


def test_failures_of_the_machine_are_not_kept(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward, calls = GuidedFilter.forward, iter(range(9))

    def broken(self: GuidedFilter, first: Tensor, second: Tensor) -> Tensor:
        if next(calls) == 1:
            raise OSError(errno.EIO, "Input/output error")
        return forward(self, first, second)

    with monkeypatch.context() as patch:
        patch.setattr(GuidedFilter, "forward", broken)
        results, _ = ran(plan(data, "guided"), tmp_path / "out")
        assert len(results.failures) == 1
        assert len(results.records["mine", "guided"].images) == 2
    results, _ = ran(plan(data, "guided"), tmp_path / "out")
    assert (results.failures, results.computed) == ([], 1)
    assert results.records["mine", "guided"].images == ["1", "2", "3"]


def test_a_method_that_cannot_run_anywhere_is_refused_before_the_work(
    data: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"rfnnest cannot be run: .*weights"):
        ran(plan(data, "laplacian", "rfnnest"), tmp_path / "out")
    assert not list((tmp_path / "out").glob("cells/*"))


def test_pictures_are_those_of_the_scores(data: Path, tmp_path: Path) -> None:
    """Two runs under one label, and pictures that somebody removed."""
    made = {side: plan(data, fused=(f"tool={data / side}",)) for side in ("vi", "ir")}
    paths = {}
    for side in ("vi", "ir", "vi"):
        results, _ = ran(made[side], tmp_path / "out")
        key = results.records["mine", "tool"].key
        paths[side] = cells.picture_path(tmp_path / "out", "mine", "tool", "1", key)
    assert results.computed == 0
    assert paths["vi"].read_bytes() != paths["ir"].read_bytes()
    paths["vi"].unlink()
    results, _ = ran(made["vi"], tmp_path / "out")
    assert results.computed == 1
    assert paths["vi"].is_file()


def results_folder(data: Path, names: tuple[str, ...]) -> Path:
    folder = data.parent / "tool"
    for name in names:
        write_image(folder / f"{name}_fused.png", torch.rand(1, 24, 32))
    return folder


def test_results_of_a_tool_are_scored_twice(data: Path, tmp_path: Path) -> None:
    folder = results_folder(data, ("1", "2", "3"))
    results, _ = ran(plan(data, fused=(f"tool={folder}",)), tmp_path / "out")
    record = results.records["mine", "tool"]
    assert set(record.tables) == {"stretched", "plain"}
    assert record.facts["as_saved"]
    assert len(list((tmp_path / "out" / "images" / "mine").glob("tool */*.png"))) == 3


def test_results_that_lack_pairs_are_refused(data: Path, tmp_path: Path) -> None:
    folder = results_folder(data, ("1", "3"))
    with pytest.raises(InputError, match=r"lacks 1 of 3 pairs of mine \(2\)"):
        ran(plan(data, fused=(f"tool={folder}",)), tmp_path / "out")


def test_results_of_the_first_pairs_are_found_by_the_names_of_all(
    data: Path, tmp_path: Path
) -> None:
    """A plain result that is left over fits the first pair better than all results together."""
    folder = results_folder(data, ("1", "2", "3"))
    write_image(folder / "1.png", torch.zeros(1, 24, 32))
    made, settings = plan(data, fused=(f"tool={folder}",)), replace(SOME, limit=1)
    first = run_plan(made, settings, tmp_path / "out").records["mine", "tool"]
    write_image(folder / "1_fused.png", torch.rand(1, 24, 32), overwrite=True)
    second = run_plan(made, settings, tmp_path / "out").records["mine", "tool"]
    assert first.key != second.key
    assert first.tables["plain"] != second.tables["plain"]
    (folder / "1_fused.png").unlink()
    with pytest.raises(InputError, match=r"lacks 1 of 1 pairs of mine \(1\)"):
        run_plan(made, settings, tmp_path / "out")


def test_a_clip_is_scored_under_the_hash_of_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its frames are no files, whatever lies in the current folder."""
    monkeypatch.chdir(tmp_path)
    first = write_clip(tmp_path / "vi.avi", noise(3))
    write_clip(tmp_path / "ir.avi", [flat(level) for level in (50, 90, 130)])
    made = parse(["laplacian"], [f"mine={first},{tmp_path / 'ir.avi'}"], ())
    results, _ = ran(made, tmp_path / "out")
    assert results.records["mine", "laplacian"].images == ["000000", "000001", "000002"]
    require_regions(made, SOME, {("mine", "000001"): [Box(0, 0, 48, 32)]})
    with pytest.raises(InputError, match="not within its 48x32 pixels"):
        require_regions(made, SOME, {("mine", "000001"): [Box(0, 0, 49, 32)]})
    write_image(tmp_path / "000000.png", torch.rand(1, 32, 48))
    assert ran(made, tmp_path / "out")[0].reused == 2
    write_clip(first, noise(4)[1:])
    assert ran(made, tmp_path / "out")[0].reused == 0


def test_frames_in_a_folder_are_the_files_of_a_clip(tmp_path: Path) -> None:
    for name in ("1.png", "2.png", "sub/3.png"):
        write_image(tmp_path / name, torch.rand(1, 32, 48))
    (tmp_path / "notes.txt").touch()
    assert cells._files_in(tmp_path) == [tmp_path / "1.png", tmp_path / "2.png"]
    assert cells._files_in(tmp_path / "1.png") == [tmp_path / "1.png"]


def fake_split(monkeypatch: pytest.MonkeyPatch, data: Path, *, name: str) -> None:
    """As if the second pair were in the training data of the shipped weights."""
    entry = list(GreyImages(cells.open_pairs(plan(data).data[0], SOME)))[1]
    marks = {name: fingerprint(entry.read().pair)}
    monkeypatch.setattr(Split, "fingerprints", lambda self: marks)


def test_images_of_the_training_data_are_refused_under_any_name(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_split(monkeypatch, data, name="FLIR_1")
    with pytest.raises(InputError, match=r"1 of 3 pairs of mine \(2\) are in the training data"):
        ran(plan(data, "sdnet"), tmp_path / "out")
    ran(plan(data, "laplacian"), tmp_path / "out")
    location = MODELS["sdnet"].card.weights["ivf"].location
    shipped = files("cddfuse") / "models" / "pretrained" / location
    copy = tmp_path / "mine.safetensors"
    copy.write_bytes(shipped.read_bytes())
    with pytest.raises(InputError, match="are in the training data of sdnet"):
        ran(plan(data, f"sdnet={copy}"), tmp_path / "out")


def test_names_of_the_training_data_are_refused_in_its_data_set(data: Path, tmp_path: Path) -> None:
    name = next(iter(catalog.split_of("roadscene/train").fingerprints()))
    for side in ("vi", "ir"):
        os.rename(data / side / "1.png", data / side / f"{name}.png")
    with pytest.raises(InputError, match=name):
        ran(parse(["sdnet"], [f"roadscene={data}"], ()), tmp_path / "out")


def test_several_processes_give_the_same(data: Path, tmp_path: Path) -> None:
    made = plan(data, "laplacian")
    alone, _ = ran(made, tmp_path / "one")
    both, _ = ran(made, tmp_path / "two", jobs=2)
    for key, record in alone.records.items():
        assert both.records[key].tables == record.tables


def test_a_process_that_is_killed_is_a_failure_of_its_cell(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suite, "_alone", die)
    results, _ = ran(plan(data), tmp_path / "out", jobs=2)
    assert [x.reason for x in results.failures] == [suite._KILLED]


def die(*_: object) -> None:
    os._exit(9)


def test_columns_name_profiles() -> None:
    def named(*words: str, task: Any = "ivf") -> list[tuple[str, str]]:
        return [(metric.name, where) for metric, where in columns(words, "paper", task)]

    assert named()[-2:] == [("SSIM", "paper"), ("TC", "corrected")]
    assert named(task="mif")[-1] == ("TC_first", "corrected")
    assert named("SSIM", "SSIM@corrected") == [("SSIM", "paper"), ("SSIM@corrected", "corrected")]
    for bad in ("nothing", "EN@nowhere", "TC@paper"):
        with pytest.raises(InputError, match="no metric"):
            named(bad)


def test_yaml_lists_models_and_data(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "plan.yaml"
    file.write_text(
        "models: [laplacian, {model: sdnet, label: SDNet, options: {leading: first}}]\n"
        "data: {mine: {first: data/vi, second: data/ir, task: mif}}\n"
        "fused: {tool: results}\n"
    )
    made = parse((), (), (), file)
    assert [method.label for method in made.methods] == ["laplacian", "SDNet", "tool"]
    assert made.methods[1].options == {"leading": "first"}
    assert made.data[0].first == tmp_path / "data/vi"
    assert made.data[0].task == "mif"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("models: laplacian", "must be a list"),
        ("modells: [a]", "keys models, data, fused"),
        ("data: [a]", "table from names"),
        ("data: {a: {second: x}}", "needs first"),
        ("[", "no YAML"),
        ("models: [{weights: x}]", "no model"),
        ("data: {a: {first: x, task: car}}", "ivf or mif"),
        ("", "keys models, data, fused"),
        ("published: {tno: {x: [1, 2]}}", "the eight scores"),
        ("published: [tno]", "the eight scores"),
    ],
)
def test_bad_yaml_is_named(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "plan.yaml"
    file.write_text(text)
    with pytest.raises(InputError, match=message):
        parse((), ["mine=x"], (), file)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"data": ["mine"]}, "names no path"),
        ({"data": ()}, "no data sets"),
        ({"models": ["sdnet", "sdnet"]}, "two methods are called sdnet"),
        ({"data": ["a=x", "a=y"]}, "two data sets are called a"),
        ({"fused": ["max=x"]}, "cannot be called max"),
        ({"models": ["baselines"]}, "cannot be called baselines"),
    ],
)
def test_bad_words_are_named(words: dict[str, Any], message: str) -> None:
    given = {"models": (), "data": ["mine=x"], "fused": (), **words}
    with pytest.raises(InputError, match=message):
        parse(**given)


def test_unknown_networks_and_empty_folders_are_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no network cdfuse"):
        ran(plan(data, "cdfuse"), tmp_path / "out")
    assert not (tmp_path / "out").exists()
