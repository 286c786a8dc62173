"""`scripts/results` on made-up pairs of two data sets."""

import importlib
import json
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from cddfuse import write_image

ROOT = Path(__file__).parents[2]
MARKED = "before\n<!-- results:begin -->\nold\n<!-- results:end -->\nafter\n"
COSTS = "<!-- costs:begin -->\n<!-- costs:end -->\n"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    for name in ("results", "results_pages"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return importlib.import_module("results")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    rng = torch.Generator().manual_seed(0)
    for sides in (("tno", "vi", "ir"), ("mri_ct", "ct", "mri")):
        for name in ("1", "2"):
            for side in sides[1:]:
                path = tmp_path / "data" / sides[0] / "test" / side / f"{name}.png"
                write_image(path, torch.rand(1, 48, 56, generator=rng))
    (tmp_path / "readme.md").write_text(MARKED)
    (tmp_path / "performance.md").write_text(COSTS)
    return tmp_path


def call(script: ModuleType, place: Path, monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    flags = ["--weights", "--cells", "--out", "--readme", "--performance"]
    names = ["weights", "cells", "results", "readme.md", "performance.md"]
    fixed = [x for pair in zip(flags, (str(place / n) for n in names), strict=True) for x in pair]
    monkeypatch.setattr(sys, "argv", ["results", str(place / "data"), *fixed, *words])
    return int(script.main())


def test_parts_add_up_and_pages_say_what_is_missing(
    script: ModuleType,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = place / "results"
    assert call(script, place, monkeypatch, "--only", "tno", "--methods", "laplacian") == 0
    page = (out / "tno.md").read_text()
    assert "| laplacian | 2 |" in page
    assert "Not run: cddfuse; cddfuse_small; didfuse" in page
    assert not (out / "mri_ct.md").exists()

    assert call(script, place, monkeypatch, "--methods", "guided") == 0
    page = (out / "tno.md").read_text()
    assert all(f"| {name} | 2 |" in page for name in ("laplacian", "guided"))
    assert "2 pairs here, 25 in published tables" in page
    content = json.loads((out / "data" / "tno.json").read_text())
    rows = {row["label"]: row for row in content["tables"][0]["rows"]}
    assert rows["guided"]["pairs"] == 2
    assert f"{rows['max']['cells']['EN']['summary']['mean']:.3f}" in page
    for name in ("tno_ranks", "tno_distributions", "mri_ct_ranks"):
        assert (out / "plots" / f"{name}.svg").read_text().startswith("<svg")
        assert f"plots/{name}.svg" in (out / f"{name.rpartition('_')[0]}.md").read_text()
    assert (out / "data" / "mri_ct.csv").read_text().startswith("data,variant,method,image,EN")
    assert not list(out.rglob("*.png"))

    capsys.readouterr()
    assert call(script, place, monkeypatch, "--list", "--only", "tno") == 0
    assert (
        "tno: 3 of 11 kept, 2 pairs each; to do: cddfuse; cddfuse_small; didfuse"
        in capsys.readouterr().out
    )

    index = (out / "index.md").read_text()
    assert index.index("[TNO](tno.md), 2 pairs") < index.index(
        "[Harvard AANLIB, MRI-CT](mri_ct.md)"
    )
    kept = content["tables"][1]["rows"][-1]["cells"]["TC"]["summary"]["mean"]  # without the stretch
    assert ("-" if kept is None else f"{kept:.2f}") in index.split("| max, baseline |")[1].split(
        "\n"
    )[0]
    readme = (place / "readme.md").read_text()
    assert readme.startswith("before\n<!-- results:begin -->\n")
    assert readme.endswith("<!-- results:end -->\nafter\n")
    assert "old" not in readme
    assert "CDDFuse, published | 7.12 | 46.00 |" in readme
    assert "CDDFuse, published | 4.88 | 79.17 |" in readme  # of the medical model, on MRI-CT
    assert "| `cddfuse`: not run |" in readme


def test_rows_that_are_not_kept_are_taken_from_the_pages_if_asked(
    script: ModuleType, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--only", "tno", "--methods")
    assert call(script, place, monkeypatch, *words, "laplacian", "guided") == 0
    before = (place / "results" / "data" / "tno.csv").read_text()
    shutil.rmtree(place / "cells")
    assert call(script, place, monkeypatch, *words, "laplacian", "--rest") == 0
    assert (place / "results" / "data" / "tno.csv").read_text() == before
    for _ in range(2):
        assert call(script, place, monkeypatch, *words, "laplacian", "--rest") == 0
    cells = json.loads((place / "results" / "data" / "tno.json").read_text())["cells"]
    assert len({cell["data_sha256"] for cell in cells}) == 1
    assert {cell["data"] for cell in cells} == {"tno"}
    assert call(script, place, monkeypatch, *words, "laplacian", "--rest", "--limit", "1") == 2
    shutil.rmtree(place / "cells")
    assert call(script, place, monkeypatch, *words, "laplacian") == 0
    assert "| guided | 2 |" not in (place / "results" / "tno.md").read_text()


def test_costs_of_a_busy_machine_have_no_seconds(
    script: ModuleType, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cddfuse.benchmark import timing

    def turn(arguments: tuple[str, ...]) -> dict[str, object]:
        facts = {"parameters": 1234, "multiply_adds": 5 * 10**9, "device": "cpu"}
        load = 99.0 if arguments[0] == "cddfuse" else 0.0
        return {**facts, "seconds": 0.125, "peak_bytes": 2 * 10**6, "load": load}

    monkeypatch.setattr(timing, "_one_turn", turn)
    words = ("--only", "tno", "--methods", "laplacian", "--turns", "1")
    assert call(script, place, monkeypatch, *words) == 0
    page = (place / "performance.md").read_text()
    assert "| `cddfuse` | 1,234 | 5.0 | busy | busy | 2 | 1 |" in page
    assert "| `sdnet` | 1,234 | 5.0 | 0.125 | 0.125 | 2 | 1 |" in page
    assert "--turns 3` on an idle machine" in page
    plot = (place / "results" / "plots" / "tno_cost.svg").read_text()
    assert "laplacian" in plot


def test_slips_are_named(
    script: ModuleType,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert call(script, place, monkeypatch, "--only", "msrs") == 2
    assert "there is no msrs in" in capsys.readouterr().err
    assert call(script, place, monkeypatch, "--pages") == 0
    assert "No data set has been run." in (place / "readme.md").read_text()
    assert "Not measured yet." in (place / "performance.md").read_text()
    (place / "readme.md").write_text("no markers")
    with pytest.raises(ValueError, match="needs the lines"):
        call(script, place, monkeypatch, "--only", "tno", "--methods", "laplacian")


def test_every_network_with_weights_is_in_the_plan(script: ModuleType, place: Path) -> None:
    from cddfuse.models import MODELS

    (place / "weights").mkdir()
    for name in script.AUTHORS:
        (place / "weights" / f"{name}.safetensors").touch()
    sets = script.test_sets(place / "data")
    for data in sets:
        plan = script.plan_for(data, place / "weights")
        shipped = {
            name
            for name, kind in MODELS.items()
            if any(weights.task == data.task for weights in kind.card.weights.values())
        }
        labels = [method.label for method in plan.methods]
        assert shipped <= set(labels)
        assert len(labels) == len(set(labels))
        assert sum("authors' weights" in label for label in labels) == (7, 3)[data.task == "mif"]
