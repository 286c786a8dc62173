"""The ablation table, end to end on made-up pairs."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from training import write_pairs
from video_clips import noise, write_clip

from cddfuse.ablation import runs
from cddfuse.ablation.variants import HEADINGS, VARIANTS, configuration
from cddfuse.benchmark.cells import Settings
from cddfuse.benchmark.plan import DataSet
from cddfuse.cli import run
from cddfuse.recipes.cddfuse import PRESETS
from cddfuse.train import Outcome, train

Say = pytest.CaptureFixture[str]

SOME = ("exchanged", "single_stage", "full")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs to train on, and others to score on."""
    root = tmp_path_factory.mktemp("ablation")
    write_pairs(root / "train", 4, 24)
    write_pairs(root / "test", 3, 32)
    (root / "small.yaml").write_text("crop: 16\nbatch: 2\n")
    (root / "published.yaml").write_text("roadscene: {theirs: [1, 2, 3, 4, 5, 6, 7, 8]}\n")
    return root


def command(root: Path, out: Path, *more: str, variants: tuple[str, ...] = ()) -> list[str]:
    words = ["ablate", str(root / "train"), "--data", f"roadscene={root / 'test'}", "-o", str(out)]
    words += ["--config", str(root / "small.yaml"), "--steps", "2", "--metrics", "EN", "SSIM"]
    words += ["--accelerator", "cpu", "--val-share", "0", *more]
    words += [] if "--published" in more else ["--published", str(root / "published.yaml")]
    return [*words, "--variants", *variants] if variants else words


@pytest.fixture(scope="module")
def made(folders: Path) -> Path:
    """The table of some variants, two steps each."""
    assert run([*command(folders, folders / "out", variants=SOME), "--quiet"]) == 0
    return folders / "out"


def test_variants_are_those_of_the_paper() -> None:
    made_of = {
        name: configuration(type(PRESETS["released"])(**variant.settings))
        for name, variant in VARIANTS.items()
    }
    assert made_of == {
        "no_decomposition": ("-", "transformer", "invertible", "2"),
        "invertible": ("2", "invertible", "invertible", "2"),
        "transformers": ("2", "transformer", "transformer", "2"),
        "exchanged": ("2", "invertible", "transformer", "2"),
        "single_stage": ("2", "transformer", "invertible", "1"),
        "full": ("2", "transformer", "invertible", "2"),
    }


def test_one_table_with_variants_baselines_and_published_rows(made: Path) -> None:
    text = (made / "ablation.md").read_text()
    stretched = text.split("**RoadScene")[1]
    rows = [line.split("|")[1].strip() for line in stretched.splitlines() if line[:1] == "|"][2:]
    assert rows[:3] == [VARIANTS[name].title for name in SOME]
    assert rows[3:7] == [f"{name}, baseline" for name in ("first", "second", "mean", "max")]
    assert {"cddfuse (paper), published", "theirs, published"} <= set(rows[7:])
    assert f"| {' | '.join(HEADINGS)} | steps | pairs |" in stretched
    assert "| branches exchanged | 2 | invertible | transformer | 2 | 2 | 3 |" in text
    assert "Each variant was trained once: 2 steps, 4 pairs, seed 0." in text
    assert "3 pairs here, 50 in published tables: not comparable" in text
    assert "training images are not known" not in text


def test_variants_differ_and_say_how(made: Path) -> None:
    content = json.loads((made / "ablation.json").read_text())
    recipes = {row["name"]: row["recipe"] for row in content["variants"]}
    assert recipes["single_stage"]["single_stage"]
    assert recipes["exchanged"]["detail"] == "transformer"
    assert recipes["full"]["seed"] == recipes["exchanged"]["seed"] == 0
    assert {row["steps"] for row in content["variants"]} == {2}
    rows = content["tables"][0]["rows"][:3]
    means = [row["cells"]["EN"]["summary"]["mean"] for row in rows]
    assert len(set(means)) == 3
    assert content["reference"] == "full"
    assert r"\toprule" in (made / "ablation.tex").read_text()
    assert (made / "benchmark" / "report.html").is_file()


def test_finished_variants_are_kept(
    made: Path, folders: Path, capsys: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "follow", lambda *_, **__: pytest.fail("trained again"))
    before = (made / "ablation.json").read_bytes()
    assert run(command(folders, made, variants=SOME)) == 0
    assert "full: kept from an earlier run, 2 steps" in capsys.readouterr().err
    assert (made / "ablation.json").read_bytes() == before


def test_an_interrupted_study_goes_on(
    folders: Path, tmp_path: Path, capsys: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = command(folders, tmp_path, variants=("full", "single_stage"))
    seen: list[Any] = []

    def stopped(recipe: Any, *given: Any, **options: Any) -> Outcome:
        seen.append(recipe)
        outcome = train(recipe, *given, **options)
        return replace(outcome, step=outcome.step - (len(seen) == 2))  # as if Ctrl-C came before

    with monkeypatch.context() as patch:
        patch.setattr(runs, "follow", stopped)
        assert run(words) == 130
    assert "run the same command again" in capsys.readouterr().err
    assert not (tmp_path / "ablation.md").exists()
    assert run(words) == 0
    assert "| full | 2 | transformer |" in (tmp_path / "ablation.md").read_text()


def test_another_budget_in_the_same_folder_is_refused(
    made: Path, folders: Path, capsys: Say
) -> None:
    words = command(folders, made, variants=SOME)
    words[words.index("--steps") + 1] = "3"
    assert run(words) == 2
    assert "steps 2, not 3" in capsys.readouterr().err


def test_training_pairs_are_not_scored(folders: Path, tmp_path: Path, capsys: Say) -> None:
    words = command(folders, tmp_path / "out")
    words[words.index("--data") + 1] = f"mine={folders / 'train'}"
    assert run(words) == 2
    assert "4 of 4 pairs of mine (00, 01, 02, 03) are among" in capsys.readouterr().err


def test_frames_of_a_clip_are_no_training_pairs(tmp_path: Path) -> None:
    clips = [write_clip(tmp_path / name, noise(2)) for name in ("vi.avi", "ir.avi")]
    pairs = SimpleNamespace(train=[], val=[])
    prepared: Any = SimpleNamespace(pairs=pairs)
    runs.require_unseen(prepared, [DataSet("mine", clips[0], clips[1], "ivf")], Settings(("EN",)))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--minutes", "1"], "steps or of minutes, not both"),
        (["--variants", "half"], "there is no variant half"),
        (["--metrics", "nothing"], "there is no metric nothing"),
        (["--published", "{small}"], "must be a table from data sets"),
    ],
)
def test_slips_are_named_before_any_work(
    folders: Path, tmp_path: Path, capsys: Say, more: list[str], message: str
) -> None:
    words = [word.format(small=folders / "small.yaml") for word in more]
    assert run(command(folders, tmp_path / "out", *words)) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
