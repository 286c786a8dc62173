"""`cddfuse fuse` with clips."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("av")

from video_clips import flat, noise, read_clip, write_clip

from cddfuse.cli import run
from cddfuse.cli.flags.scale import ScaleFlags
from cddfuse.cli.hint import Hint
from cddfuse.io.decode import Decoded
from cddfuse.io.image_files import ImageFiles
from cddfuse.io.metadata import Metadata
from cddfuse.io.video import opening
from cddfuse.io.video.writer import VideoFile


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


@pytest.fixture
def thermal(tmp_path: Path) -> tuple[str, str]:
    """Clips of counts, whose value range is found and recorded."""
    counts = [np.linspace(29000, 30000, 1536).astype(np.uint16).reshape(32, 48)] * 6
    vi, ir = (write_clip(tmp_path / f"{x}.mkv", counts, form="gray16le") for x in ("t_vi", "t_ir"))
    return str(vi), str(ir)


@pytest.mark.parametrize("name", ["out.mkv", "out"])
def test_a_run_without_any_result_leaves_no_range(
    thermal: tuple[str, str], tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / name
    record = out / "fuse.json" if name == "out" else tmp_path / "out.mkv.fuse.json"
    command = ["fuse", *thermal, "-o", str(out), "--model", "mean"]
    assert run([*command, "--offset", "60"]) == 2
    assert "no time in common" in capsys.readouterr().err
    assert not record.exists()
    record.parent.mkdir(exist_ok=True)
    before = '{"range": ["first=full", "second=1:2"]}'
    record.write_text(before)
    assert run([*command, "--offset", "60"]) == 2
    assert record.exists()  # it was there before
    record.unlink()
    assert run(command) == 0
    assert record.exists()


@pytest.mark.parametrize("name", ["out.mkv", "out"])
def test_a_run_that_is_stopped_leaves_the_range_of_its_results(
    thermal: tuple[str, str], tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = name == "out.mkv"
    sink = VideoFile if whole else ImageFiles
    write, written = sink.write, []

    def once(self: Any, name: str, *image: Any) -> bool:
        written.append(name)
        return write(self, name, *image)

    def stop(self: Hint) -> None:
        if written:
            raise KeyboardInterrupt

    monkeypatch.setattr(sink, "write", once)
    monkeypatch.setattr(Hint, "after_pair", stop)
    command = ["fuse", *thermal, "-o", str(tmp_path / name), "--model", "mean", "--no-check"]
    assert run(command) == 130
    assert (tmp_path / "out.mkv.fuse.json").exists() is False
    assert (tmp_path / "out" / "fuse.json").exists() is not whole
    if whole:  # the record of a file that is not replaced stays as it is
        record = tmp_path / "out.mkv.fuse.json"
        (tmp_path / "out.mkv").touch()
        record.write_text('{"range": ["first=full", "second=1:2"]}')
        assert run([*command, "--overwrite"]) == 130
        assert "1:2" in record.read_text()


def test_a_run_that_is_stopped_before_its_first_result_leaves_no_range(
    thermal: tuple[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def stop(*args: object, **more: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ScaleFlags, "note", stop)
    out = tmp_path / "out"
    assert run(["fuse", *thermal, "-o", str(out), "--model", "mean"]) == 130
    assert not list(out.iterdir())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["a.png", "b.png", "-o", "c.png", "--offset", "1"], "leave the offset out (--offset)"),
        (["vi", "ir", "-o", "c.mp4", "--offset", "1"], "leave the offset out (--offset)"),
        (["a.png", "b.png", "-o", "c.png", "--layout", "stacked"], "leave it out (--layout)"),
        (["a.png", "b.png", "-o", "c.png", "--codec", "h264"], "leave out its codec (--codec)"),
        (["vi", "ir", "-o", "out", "--crf", "9"], "leave out its crf (--crf)"),
        (["vi.mp4", "ir.mkv", "-o", "c.mp4", "--celsius"], "leave them out (--celsius)"),
        (["vi", "ir", "-o", "c.mp4", "--celsius"], "leave them out (--celsius)"),
        (["a.gif", "b.gif", "-o", "c.mp4"], "convert them to video files first (-o)"),
        (["a.png", "b.png", "-o", "c.mp4"], "give clips or folders for it (-o)"),
    ],
)
def test_settings_that_would_do_nothing_are_refused(
    clips: tuple[str, str],
    tmp_path: Path,
    words: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "b.png", "a.gif", "b.gif", "vi/1.png", "ir/1.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("L", (48, 32)).save(tmp_path / name)
    before = sorted(tmp_path.rglob("*"))
    assert run(["fuse", *words, "--model", "mean"]) == 2
    assert said in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


def test_a_clip_alone_is_not_aligned(
    clips: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["align", clips[0], "-o", str(tmp_path / "rig.json")]) == 2
    assert "is one clip: give the second one too" in capsys.readouterr().err


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


def test_frames_without_time_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow() -> Decoded:
        time.sleep(0.2)
        return Decoded(flat(9), (0.0, 255.0), False, Metadata())

    monkeypatch.setattr(opening, "frames_of", lambda address: iter([slow] * 9))
    cameras = ["rtsp://one/a", "rtsp://two/b"]
    out = tmp_path / "frames"
    assert run(["fuse", *cameras, "-o", str(out), "--model", "mean"]) == 0
    count = 9 - len(list(out.glob("*.png")))
    assert count >= 5
    said = f"left out: {count} frames of the first camera that came while others were fused"
    assert said in capsys.readouterr().err.replace("\n", " ")


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
