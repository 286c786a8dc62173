"""The verb `evaluate`: tables, files, what it refuses, exit codes."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cddfuse.cli import run
from cddfuse.evaluate import evaluate
from cddfuse.io import pair_folders, write_image
from cddfuse.metrics import PAPER_EIGHT, PROFILES
from cddfuse.models import FusionModel, create_model
from cddfuse.pair import ImagePair
from cddfuse.runtime import Limits

SIZE = (42, 45)
FILES = ["per_image.csv", "summary.json", "summary.md", "summary.tex"]
Say = pytest.CaptureFixture[str]


def noisy(path: Path, seed: int, size: tuple[int, int] = SIZE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = torch.Generator().manual_seed(seed)
    write_image(path, torch.rand(1, *size, generator=rng) * 0.5 + 0.2)
    return path


def flat(path: Path, level: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, torch.full((1, *SIZE), level / 255))
    return path


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Flat sources of 0 and 20 in `vi` and `ir`; results of 10, 30 and 90 in `out_f`."""
    monkeypatch.chdir(tmp_path)
    for name, level in (("a", 10), ("b", 30), ("c", 90)):
        flat(tmp_path / "vi" / f"{name}.png", 0)
        flat(tmp_path / "ir" / f"{name}.png", 20)
        flat(tmp_path / "out_f" / f"{name}_fused.png", level)
    return tmp_path


@pytest.fixture
def noise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two pairs that every metric of the paper can score."""
    monkeypatch.chdir(tmp_path)
    for number in (1, 2):
        noisy(tmp_path / "vi" / f"{number}.png", number)
        noisy(tmp_path / "ir" / f"{number}.png", number + 5)
    return tmp_path


def score(*arguments: object) -> int:
    return run(["evaluate", *map(str, arguments), "--first", "vi", "--second", "ir"])


def cells(text: str) -> dict[str, list[str]]:
    """The lines of a table that was printed, by their first cell."""
    lines = [re.split(r"\s*[│┃|]\s*", line.strip(" │┃|")) for line in text.splitlines()]
    return {line[0]: line[1:] for line in lines if len(line) > 3}


# What comes out


def test_table_of_a_folder(scene: Path, capsys: Say) -> None:
    assert score("out_f", "--metrics", "MSE", "CC") == 0
    out, err = capsys.readouterr()
    assert not err
    assert "out_f, 3 images, the files as saved, 8 bit" in out
    assert f"Profile paper. {PROFILES['paper'].compares}" in out
    table = cells(out)
    assert table["metric"][:3] == ["fused", "std. dev.", "95 % CI of mean"]
    assert table["metric"][-4:] == ["first", "second", "mean", "max"]
    # MSE 100, (900 + 100) / 2 and (8100 + 4900) / 2, whose mean is 2366.667.
    assert table["MSE ↓"][:2] == ["2366.667", "3585.155"]
    assert table["MSE ↓"][3:] == ["200.000 *", "200.000 *", "100.000 *", "200.000 *"]
    assert table["CC ↑"] == ["- (3 undef.)", "-", "-"] + ["- (3 undef.)"] * 4
    assert "* better than the method" in out
    assert "undef.: images for which the metric is undefined" in out


def test_no_mark_where_the_method_is_best(scene: Path, capsys: Say) -> None:
    for name in "bc":
        (scene / "out_f" / f"{name}_fused.png").unlink()
    assert score("out_f", "--metrics", "MSE") == 1
    out = capsys.readouterr().out
    assert cells(out)["MSE ↓"] == ["100.000", "-", "-", "200.000", "200.000", "100.000", "200.000"]
    assert "*" not in out
    assert "undef." not in out
    assert "out_f, 1 image, " in out


def test_network_without_files(noise: Path, capsys: Say) -> None:
    assert score("--model", "mean") == 0
    out, err = capsys.readouterr()
    assert not err
    assert "mean, 2 images, the published protocol: each image stretched to 0..255, 8 bit" in out
    assert "mean, 2 images, the same images without the stretch, 8 bit" in out
    assert not [path for path in noise.iterdir() if path.name not in ("vi", "ir")]
    scores = evaluate(create_model("mean"), pair_folders(noise / "vi", noise / "ir").pairs)
    stretched, plain = out.split("without the stretch")
    for text, name in ((stretched, "stretched"), (plain, "plain")):
        found = cells(text)
        for metric in scores.metrics:
            expected = scores.summaries[name]["fused"][metric.name].mean
            assert found[f"{metric.name} ↑"][0] == f"{expected:.3f}"
    assert cells(plain)["SCD ↑"][3] == "- (2 undef.)"


def test_one_folder_that_holds_both(noise: Path, capsys: Say) -> None:
    assert run(["evaluate", "--model", "mean", "--first", ".", "--metrics", "EN"]) == 0
    assert "2 images" in capsys.readouterr().out


def test_real_network(noise: Path, weights: Path, capsys: Say) -> None:
    arguments = ["--model", "cddfuse", "--weights", weights, "--device", "cpu", "--limit", "1"]
    assert score(*arguments, "--metrics", "SD", "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    pairs = pair_folders(noise / "vi", noise / "ir").pairs
    scores = evaluate(create_model("cddfuse", weights), pairs, ["SD"], limit=1)
    assert summary["images"] == 1
    assert summary["tables"]["stretched"]["fused"]["SD"]["mean"] == scores.values["SD"][0]


def test_limits_reach_the_network(noise: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    came = []

    def watched(model: FusionModel, pair: ImagePair, *, limits: Limits) -> Tensor:
        came.append(limits)
        return pair.first

    monkeypatch.setattr("cddfuse.evaluate.fuse", watched)
    arguments = ["--tile", "256", "--memory", "2GB", "--precision", "bf16", "--limit", "1"]
    assert score("--model", "mean", "--metrics", "EN", "--quiet", *arguments) == 0
    assert came == [Limits(256, 2 * 10**9, "bf16")]


def test_report(noise: Path, capsys: Say) -> None:
    flat(noise / "vi" / "3.png", 7)
    noisy(noise / "ir" / "3.png", 9)
    assert score("--model", "mean", "-o", "new/report") == 0
    assert "report: new/report" in capsys.readouterr().err
    assert sorted(path.name for path in (noise / "new/report").iterdir()) == FILES
    pairs = pair_folders(noise / "vi", noise / "ir").pairs
    scores = evaluate(create_model("mean"), pairs)
    texts = {name: (noise / "new/report" / name).read_text("utf-8") for name in FILES}

    head, *body = csv.reader(texts["per_image.csv"].splitlines())
    assert head == ["table", "row", "image", *PAPER_EIGHT]
    assert len(body) == 2 * 5 * 3
    for table, row, image, *numbers in body:
        values = scores.tables[table][row].values()
        index = scores.images.index(image)
        assert numbers == [repr(column[index]) for column in values]

    summary = json.loads(texts["summary.json"])
    assert (summary["method"], summary["profile"], summary["images"]) == ("mean", "paper", 3)
    assert summary["compares"] == PROFILES["paper"].compares
    record = summary["tables"]["plain"]["fused"]["SF"]
    assert record["mean"] == scores.summaries["plain"]["fused"]["SF"].mean
    assert record["low"] < record["mean"] < record["high"]
    assert summary["tables"]["plain"]["first"]["SCD"]["mean"] is None
    assert summary["tables"]["plain"]["first"]["SCD"]["undefined"] == 3
    assert summary["tables"]["plain"]["first"]["SF"]["beats"] is True

    assert texts["summary.md"].count("| metric | fused | std. dev. |") == 2
    assert f"Profile paper. {PROFILES['paper'].compares}" in texts["summary.md"]
    found = cells(texts["summary.md"].split("without the stretch")[1])
    assert found["SF ↑"][0] == f"{record['mean']:.3f}"
    assert found["SF ↑"][2] == f"{record['low']:.3f} to {record['high']:.3f}"
    assert found["SF ↑"][3].endswith(r" \*")

    latex = texts["summary.tex"]
    assert latex.count(r"\begin{tabular}{lrrrrrrr}") == latex.count(r"\end{tabular}") == 2
    assert "% Profile paper. " in latex
    assert r"95 \% CI of mean" in latex
    assert rf"SF $\uparrow$ & {record['mean']:.3f} & " in latex
    rows = [line for line in latex.splitlines() if line.endswith(r"\\")]
    assert len(rows) == 2 * 9
    assert all(row.count(" & ") == 7 for row in rows)


def test_latex_of_names_with_special_letters(scene: Path) -> None:
    (scene / "out_f").rename(scene / "a_b%")
    assert score("a_b%", "--metrics", "Q_CB", "-o", "report", "--quiet") == 0
    latex = (scene / "report" / "summary.tex").read_text("utf-8")
    assert r"Q\_CB $\uparrow$ & " in latex


def test_json_leaves_stdout_to_it(scene: Path, capsys: Say) -> None:
    assert score("out_f", "--metrics", "MSE", "CC", "--json") == 0
    out, err = capsys.readouterr()
    summary: dict[str, Any] = json.loads(out)
    assert summary["tables"]["saved"]["fused"]["CC"]["mean"] is None
    assert summary["better"] == {"MSE": "lower", "CC": "higher"}
    assert "MSE ↓" in err


def test_quiet_prints_nothing(scene: Path, capsys: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as on a terminal
    assert score("out_f", "--metrics", "EN", "--quiet", "-o", "report") == 0
    assert capsys.readouterr() == ("", "")


def test_progress_on_a_terminal(scene: Path, capsys: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    assert score("out_f", "--metrics", "EN") == 0
    err = capsys.readouterr().err
    assert "3/3" in err
    assert "pairs/s" in err


def test_another_profile_is_named(scene: Path, capsys: Say) -> None:
    assert score("out_f", "--metrics", "PSNR", "--profile", "corrected") == 0
    assert f"Profile corrected. {PROFILES['corrected'].compares}" in capsys.readouterr().out


# Sizes


def test_results_of_another_size(noise: Path, capsys: Say) -> None:
    noisy(noise / "out" / "1.png", 3)
    noisy(noise / "out" / "2.png", 4, (40, 41))
    arguments = ["out", "--metrics", "EN", "VIF"]
    assert score(*arguments) == 1
    out, err = capsys.readouterr()
    assert "1 image, " in out
    assert err.endswith("resize them, or crop the sources (--resize, --crop).\n")

    assert score(*arguments, "--resize") == 0
    out, err = capsys.readouterr()
    assert not err
    assert "1 result (2) was resized to the size of the sources" in out
    assert "undef." not in out

    assert score(*arguments, "--crop", "-o", "report") == 0
    out, _ = capsys.readouterr()
    notes = [
        "1 result (2) was scored against the centre of the sources, cropped to the size of the "
        "result.",
        "VIF is over 1 of 2 images, for it needs at least 41 x 41 pixels.",
    ]
    assert out.splitlines()[-2:] == notes
    assert cells(out)["VIF ↑"][0].endswith(" (1 undef.)")
    text = (noise / "report" / "summary.md").read_text("utf-8")
    assert "\n\n".join(notes) in text
    summary = json.loads((noise / "report" / "summary.json").read_text("utf-8"))
    assert summary["notes"] == notes
    assert summary["tables"]["saved"]["fused"]["VIF"]["undefined"] == 1


def test_second_source_of_another_size(noise: Path, capsys: Say) -> None:
    (noise / "ir" / "1.png").unlink()
    noisy(noise / "ir" / "1.png", 6, (30, 31))
    assert score("--model", "mean", "--metrics", "EN") == 1
    assert capsys.readouterr().err.endswith("or resize the second (--resize).\n")
    assert score("--model", "mean", "--metrics", "EN", "--resize") == 0


def test_one_result_of_two_images(noise: Path, capsys: Say) -> None:
    noisy(noise / "any.png", 3)
    sources = ["--first", "vi/1.png", "--second", "ir/2.png"]
    assert run(["evaluate", "any.png", *sources, "--metrics", "EN"]) == 0
    assert "any.png, 1 image, the files as saved" in capsys.readouterr().out


# Trouble


def test_what_does_not_fit_is_listed_and_the_rest_is_done(scene: Path, capsys: Say) -> None:
    flat(scene / "vi" / "lone.png", 1)
    flat(scene / "vi" / "d.png", 0)
    flat(scene / "ir" / "d.png", 20)
    flat(scene / "out_f" / "stray.png", 1)
    (scene / "out_f" / "b_fused.png").write_text("no image")
    noisy(scene / "x.png", 1, (5, 7)).replace(scene / "out_f" / "c_fused.png")
    assert score("out_f", "--metrics", "MSE", "-o", "report", "--quiet") == 1
    out, err = capsys.readouterr()
    assert not out
    lines = err.splitlines()
    assert lines[:3] == ["no partner: vi/lone.png", "no partner: out_f/stray.png", "no result: d"]
    assert lines[3].startswith("failed: b: out_f/b_fused.png is not an image")
    text, flags = lines[4].removesuffix(".").split(" (--")
    assert text.startswith("failed: c: out_f/c_fused.png is 7x5 and its sources are 45x42: use")
    assert flags == "resize, --crop)"
    assert len(lines) == 5
    written = (scene / "report" / "summary.md").read_text("utf-8")
    assert all(f"- {line}" in written for line in (*lines[:4], text))
    summary = json.loads((scene / "report" / "summary.json").read_text())
    assert summary["unmatched"] == ["out_f/stray.png"]
    assert summary["skipped"] == {"vi/lone.png": "no partner"}
    assert summary["missing"] == ["d"]
    assert list(summary["failed"]) == ["b", "c"]
    assert summary["tables"]["saved"]["fused"]["MSE"]["mean"] == 100


def test_what_looks_like_an_image_is_not_passed_over(scene: Path, capsys: Say) -> None:
    (scene / "vi" / "d.heic").touch()
    (scene / "out_f" / "d.gone.png").symlink_to("nowhere.png")
    assert score("out_f", "--metrics", "MSE", "-o", "report", "--quiet") == 1
    assert capsys.readouterr().err.splitlines() == [
        "heic files cannot be read, convert to PNG or TIFF: vi/d.heic",
        "broken link to nowhere.png: out_f/d.gone.png",
    ]
    summary = json.loads((scene / "report" / "summary.json").read_text())
    assert list(summary["skipped"]) == ["vi/d.heic", "out_f/d.gone.png"]


def test_swapped_sides_are_noted_before_the_work_and_in_the_report(
    scene: Path, capsys: Say
) -> None:
    arguments = ["--first", "ir", "--second", "vi", "--metrics", "MSE", "-o", "report"]
    assert run(["evaluate", "out_f", *arguments]) == 0
    out, err = capsys.readouterr()
    note, _ = err.splitlines()
    assert "ir" in note
    assert note in out.splitlines()
    assert note in json.loads((scene / "report" / "summary.json").read_text("utf-8"))["notes"]


def test_cures_of_what_was_skipped_are_flags(scene: Path, capsys: Say) -> None:
    flat(scene / "vi" / "s" / "01.png", 10)
    assert score("out_f", "--metrics", "MSE", "--quiet") == 1
    assert capsys.readouterr().err.strip().endswith("vi/s (--recursive)")


def test_home(scene: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(scene))
    arguments = ["--first=~/vi", "--second=~/ir", "--metrics", "MSE", "-o=~/report", "--quiet"]
    assert run(["evaluate", "~/out_f", *arguments]) == 0
    assert sorted(path.name for path in (scene / "report").iterdir()) == FILES


def test_subfolders(scene: Path, capsys: Say) -> None:
    for folder in ("vi", "ir", "out_f"):
        flat(scene / folder / "s" / "01.png", 10)
    (scene / "out_f" / "s" / "01.png").rename(scene / "out_f" / "s" / "1_fused.png")
    assert score("out_f", "--metrics", "MSE", "--recursive", "--json", "--quiet") == 0
    assert json.loads(capsys.readouterr().out)["images"] == 4


def test_existing_report_is_safe(scene: Path, capsys: Say) -> None:
    old = scene / "report" / "summary.tex"
    old.parent.mkdir()
    old.write_text("mine")
    assert score("out_f", "--metrics", "EN", "-o", "report") == 2
    out, err = capsys.readouterr()
    assert not out
    assert err == (
        "cddfuse: report/summary.tex exists already: choose another folder, "
        "or overwrite it (--overwrite).\n"
    )
    assert [path.name for path in old.parent.iterdir()] == ["summary.tex"]
    assert old.read_text() == "mine"
    assert score("out_f", "--metrics", "EN", "-o", "report", "--overwrite") == 0
    assert "tabular" in old.read_text()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["empty"], "empty holds no images: they end with"),
        (["nowhere"], "cannot open the folder nowhere (No such file"),
        (["vi/a.png"], "cannot open the folder vi/a.png (Not a directory"),
        (["strange"], "no image of strange (z.png, ...) has the name of a pair (a, ...)"),
        (["small"], "none of 1 pairs could be scored: small/a.png is 7x5 and its sources"),
        (["out_f", "--metrics", "XX"], "profile paper has no metric 'XX': use EN, SD"),
        (["out_f", "--profile", "xx"], "there is no profile 'xx': use paper"),
        (["out_f", "--limit", "0"], "cannot stop after 0 pairs: use 1 or more (--limit)."),
        (["out_f", "-o", "vi/a.png"], "vi/a.png is not a folder: choose one for the report (-o)."),
        (
            ["out_f", "-o", "vi/a.png/x/y"],
            "vi/a.png is not a folder: choose one for the report (-o).",
        ),
        (["out_f", "--model", "mean"], "score a folder of results or a network: leave out one"),
        (["out_f", "--weights", "ivf"], "score a folder of results or a network: leave out one"),
        (["out_f", "--tile", "256"], "score a folder of results or a network: leave out one"),
        (["--model", "mean", "--crop"], "results of a network have the size of their sources: do"),
        (["--model", "mean", "--tile", "3"], "a tile of 3 pixels is too small"),
        (["--model", "mean", "--memory", "much"], "much is no amount of memory: write 2GB"),
        ([], "name a folder of fused images, or a network: --model cddfuse."),
        (["--model", "nobody"], "there is no network nobody: known are cddfuse"),
        (["--model", "untrained"], "no weights of untrained are at hand: import those"),
        (["--model", "mean", "--device", "warp"], "there is no device warp here: use cpu, or auto"),
    ],
    ids=str,
)
def test_nothing_is_done(scene: Path, capsys: Say, arguments: list[str], expected: str) -> None:
    (scene / "empty").mkdir()
    flat(scene / "strange" / "z.png", 0)
    noisy(scene / "small" / "a.png", 1, (5, 7))
    assert score(*arguments) == 2
    out, err = capsys.readouterr()
    assert not out
    assert err.startswith(f"cddfuse: {expected}")
    assert err.count("\n") == 1


def test_sources_without_partners(scene: Path, capsys: Say) -> None:
    flat(scene / "other" / "z.png", 0)
    assert run(["evaluate", "out_f", "--first", "vi", "--second", "other"]) == 2
    assert capsys.readouterr().err.startswith("cddfuse: no image of vi (a.png, ...) has a partner")
