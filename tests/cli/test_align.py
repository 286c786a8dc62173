"""The verb `align`, and what `fuse` makes of its file and says about pairs that need it."""

import json
from pathlib import Path

import pytest
import torch
from scenes import modalities, similarity, unregistered, view

from cddfuse.cli import run
from cddfuse.io import read_image, write_image

Say = pytest.CaptureFixture[str]
TRUTH = similarity(3, 1.03, 8, -6)


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    pair = unregistered(TRUTH)
    paths = [tmp_path / "vi.png", tmp_path / "ir.png"]
    for path, image in zip(paths, pair[:2], strict=True):
        write_image(path, image)
    return list(map(str, paths))


def test_align_then_fuse(files: list[str], tmp_path: Path, capsys: Say) -> None:
    t, board, out = (str(tmp_path / name) for name in ("t.json", "board.png", "out.png"))
    assert run(["align", *files, "-o", t, "--check", board, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["trusted"]
    assert torch.tensor(facts["first_to_second"]).allclose(TRUTH.float(), atol=0.3)
    assert read_image(board).shape == read_image(files[0]).shape
    assert run(["fuse", *files, "-o", out, "--model", "mean", "--transform", t]) == 0
    assert "look misaligned" not in capsys.readouterr().err
    scene = modalities()
    expected = (view(scene.first) + view(scene.second)) / 2
    middle = (read_image(out) - expected)[:, 40:-40, 40:-40].abs()
    assert middle.mean() < 0.01


def test_clips_of_unregistered_cameras(tmp_path: Path, capsys: Say) -> None:
    pytest.importorskip("av")
    from video_clips import write_clip

    clips = [str(tmp_path / name) for name in ("vi.mkv", "ir.mkv")]
    for path, image in zip(clips, unregistered(TRUTH)[:2], strict=True):
        levels = (image[0].numpy() * 255).round().astype("uint8")
        write_clip(Path(path), [levels // 4, levels, levels // 4])
    t, out = str(tmp_path / "t.json"), tmp_path / "out"
    assert run(["align", *clips, "-o", t, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["first_to_second"]
    assert torch.tensor(found).allclose(TRUTH.float(), atol=0.3)
    words = ["fuse", *clips, "-o", str(out), "--model", "mean", "--transform", t]
    assert run([*words, "--range", "full"]) == 0
    scene = modalities()
    expected = (view(scene.first) + view(scene.second)) / 2
    middle = (read_image(out / "000001.png") - expected)[:, 40:-40, 40:-40].abs()
    assert middle.mean() < 0.01


def test_a_misaligned_pair_is_noticed(files: list[str], tmp_path: Path, capsys: Say) -> None:
    fuse = ["fuse", *files, "--model", "mean", "-o"]
    assert run([*fuse, str(tmp_path / "a.png")]) == 0
    assert "look misaligned by about" in capsys.readouterr().err
    assert run([*fuse, str(tmp_path / "b.png"), "--no-check"]) == 0
    assert "look misaligned" not in capsys.readouterr().err


def test_a_folder_is_warned_about_once(tmp_path: Path, capsys: Say) -> None:
    for number, shift in enumerate((0, 6, 7)):
        pair = unregistered(similarity(0, 1, shift, 0), number)
        for side, image in zip(("vi", "ir"), pair[:2], strict=True):
            (tmp_path / side).mkdir(exist_ok=True)
            write_image(tmp_path / side / f"{number}.png", image)
    sides = [str(tmp_path / side) for side in ("vi", "ir")]
    assert run(["fuse", *sides, "-o", str(tmp_path / "out"), "--model", "mean", "--json"]) == 0
    said = capsys.readouterr()
    assert said.err.count("misaligned") == 1
    assert "2 of 3 checked pairs look misaligned" in said.err
    assert set(json.loads(said.out)["misaligned"]) == {"1", "2"}


def test_a_quarter_of_a_long_folder_is_checked(tmp_path: Path, capsys: Say) -> None:
    image = view(modalities().first, size=(60, 64))
    for side in ("vi", "ir"):
        (tmp_path / side).mkdir()
        for number in range(12):
            write_image(tmp_path / side / f"{number}.png", image)
    sides = [str(tmp_path / side) for side in ("vi", "ir")]
    assert run(["fuse", *sides, "-o", str(tmp_path / "out"), "--model", "mean", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["checked"] == 3


def test_a_transform_serves_a_folder(files: list[str], tmp_path: Path, capsys: Say) -> None:
    t = tmp_path / "t.json"
    assert run(["align", *files, "-o", str(t)]) == 0
    for side, name in (("vi", "vi.png"), ("ir", "ir.png")):
        (tmp_path / side).mkdir()
        for number in (1, 2):
            write_image(tmp_path / side / f"{number}.png", read_image(tmp_path / name))
    write_image(tmp_path / "vi" / "3.png", torch.rand(1, 20, 20))
    write_image(tmp_path / "ir" / "3.png", torch.rand(1, 20, 20))
    sides = [str(tmp_path / side) for side in ("vi", "ir")]
    out = tmp_path / "out"
    assert run(["fuse", *sides, "-o", str(out), "--model", "mean", "--transform", str(t)]) == 1
    assert "the transform is for 240x180" in capsys.readouterr().err
    single = str(tmp_path / "one.png")
    assert run(["fuse", *files, "-o", single, "--model", "mean", "--transform", str(t)]) == 0
    assert torch.equal(read_image(out / "2.png"), read_image(single))


def test_doubt_is_a_refusal(files: list[str], tmp_path: Path, capsys: Say) -> None:
    write_image(tmp_path / "other.png", view(modalities(7).second))
    t = tmp_path / "t.json"
    words = ["align", files[0], str(tmp_path / "other.png"), "-o", str(t)]
    assert run(words) == 2
    said = capsys.readouterr().err
    assert "could not be aligned" in said
    assert "(--scale, --points, --force)" in said
    assert not t.exists()
    assert run([*words, "--force"]) == 0
    assert "warning: the confidence is" in capsys.readouterr().err
    assert t.exists()


def test_points_instead_of_a_search(files: list[str], tmp_path: Path, capsys: Say) -> None:
    words = ["align", *files, "--json", "--points"]
    one, two = str(tmp_path / "1.json"), str(tmp_path / "2.json")
    assert run([*words, "10,10,14,13", "90,10,94,13", "-o", one]) == 0
    found = torch.tensor(json.loads(capsys.readouterr().out)["first_to_second"])
    assert found.allclose(torch.tensor([[1.0, 0, 4], [0, 1, 3], [0, 0, 1]]), atol=1e-5)
    (tmp_path / "points.csv").write_text("10, 10, 14, 13\n\n90 10 94 13\n90,90,94,153\n")
    assert run([*words, str(tmp_path / "points.csv"), "-o", two]) == 0
    assert "is missed by" in capsys.readouterr().err
    assert run([*words, "10,10,14", "90,10,94,13", "-o", one, "--overwrite"]) == 2
    assert "10,10,14 is no point" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["{vi}", "{tmp}/none.png", "-o", "{tmp}/t.json"], "there is no file"),
        (["{tmp}", "{ir}", "-o", "{tmp}/t.json"], "is a folder"),
        (["{vi}", "{ir}", "-o", "{vi}"], "is a source"),
        (["{vi}", "{ir}", "-o", "{tmp}/t.txt"], "is no JSON file"),
        (["{vi}", "{ir}", "-o", "{tmp}/t.json", "--check", "{ir}"], "is a source"),
        (["{vi}", "{ir}", "-o", "{tmp}/t.json", "--check", "{tmp}/board.xyz"], "xyz"),
        (["{vi}", "{ir}", "-o", "{tmp}/old.json"], "exists already"),
        (["{vi}", "{tmp}/old.json", "-o", "{tmp}/t.json"], "old.json"),
    ],
)
def test_refusals(
    files: list[str], tmp_path: Path, capsys: Say, words: list[str], says: str
) -> None:
    (tmp_path / "old.json").write_text("{}")
    names = {"vi": files[0], "ir": files[1], "tmp": str(tmp_path)}
    assert run(["align", *(word.format(**names) for word in words)]) == 2
    assert says in capsys.readouterr().err
    assert (tmp_path / "old.json").read_text() == "{}"
    assert not (tmp_path / "t.json").exists()


def test_a_transform_and_resizing_contradict(files: list[str], tmp_path: Path, capsys: Say) -> None:
    t = str(tmp_path / "t.json")
    assert run(["align", *files, "-o", t, "--points", "1,1,1,1", "9,9,9,9"]) == 0
    out = str(tmp_path / "out.png")
    words = ["fuse", *files, "-o", out, "--model", "mean", "--transform", t, "--resize"]
    assert run(words) == 2
    assert "(--resize)" in capsys.readouterr().err
