"""`cddfuse fuse` with clips."""

import json
from pathlib import Path

import pytest

pytest.importorskip("av")

from video_clips import flat, noise, read_clip, write_clip

from cddfuse.cli import run


@pytest.fixture
def clips(tmp_path: Path) -> tuple[str, str]:
    """Twelve frames of each side."""
    vi = write_clip(tmp_path / "vi.mp4", [flat(2 * n) for n in range(12)])
    ir = write_clip(tmp_path / "ir.mkv", [flat(100)] * 12)
    return str(vi), str(ir)


def test_two_clips_become_one(
    clips: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.mp4"
    assert run(["fuse", *clips, "-o", str(out), "--model", "mean", "--json"]) == 0
    told = capsys.readouterr()
    assert "fused 12 frames" in told.err
    assert json.loads(told.out)["done"] == [str(out)]
    greys = [image.mean() for _, image in read_clip(out)]
    assert greys == pytest.approx([50 + n for n in range(12)], abs=2)
    assert run(["fuse", *clips, "-o", str(out), "--model", "mean"]) == 2
    assert "exists already: choose another name, or overwrite it (--overwrite)" in (
        capsys.readouterr().err
    )


def test_what_a_cut_clip_lacks_is_said(
    clips: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = write_clip(tmp_path / "whole.mkv", noise(60))
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    code = run(["fuse", str(cut), str(whole), "-o", str(tmp_path / "out"), "--model", "mean"])
    told = capsys.readouterr().err
    assert code == 1
    assert f"failed: {cut}: it ends after" in told


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--offset", "-x"], "is no time"),
        (["--fps", "0"], "is no frame rate"),
        (["--crf", "99"], "no rate factor 99"),
        (["--steady", "0"], "cannot smooth over 0 frames"),
        (["--camera", "0", "1"], "give files or cameras, not both"),
        (["--codec", "vp9", "-o", "out.mov"], "do not hold vp9"),
    ],
)
def test_what_flags_cannot_be(
    clips: tuple[str, str],
    tmp_path: Path,
    words: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    words = words if "-o" in words else [*words, "-o", "out.mp4"]
    assert run(["fuse", *clips, *words, "--model", "mean"]) == 2
    assert said in capsys.readouterr().err


def test_nothing_to_fuse(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["fuse", "-o", "out.mp4"]) == 2
    assert "nothing to fuse" in capsys.readouterr().err
    assert run(["fuse", "-o", "out.mp4", "--camera", "0"]) == 2
    assert "two cameras" in capsys.readouterr().err


def test_without_pyav_the_extra_is_named(
    clips: tuple[str, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "av", None)
    assert run(["fuse", *clips, "-o", str(tmp_path / "out.mp4"), "--model", "mean"]) == 2
    assert "pip install 'cddfuse[video]'" in capsys.readouterr().err
