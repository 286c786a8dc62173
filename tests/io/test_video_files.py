"""Video files as sinks: colours, times, sound, containers, and nothing unfinished."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

av = pytest.importorskip("av")

from video_clips import flat, packets, read_clip, write_clip  # noqa: E402

from cddfuse.errors import InputError  # noqa: E402
from cddfuse.io.formats import Reading, Writing, open_sink, open_source  # noqa: E402
from cddfuse.io.metadata import Metadata  # noqa: E402
from cddfuse.io.video.live import frames_of  # noqa: E402
from cddfuse.io.video.settings import ClipReading, ClipWriting, CodecName  # noqa: E402
from cddfuse.io.video.writer import VideoFile  # noqa: E402
from cddfuse.models import create_model  # noqa: E402
from cddfuse.pipeline import Summary, fuse_all  # noqa: E402

BARS = torch.tensor(
    [[x >> 2 & 1, x >> 1 & 1, x & 1] for x in range(8)], dtype=torch.float32
).T[:, None].repeat_interleave(16, 2).repeat(1, 64, 1) * (180 / 255)  # fmt: skip


def write(
    path: Path, images: list[Tensor], settings: ClipWriting | None = None, **facts: Any
) -> None:
    """Write images through the sink."""
    sink = VideoFile(path, settings or ClipWriting(), **facts)
    sink.prepare([])
    for number, image in enumerate(images):
        assert sink.write(f"{number}", image, Metadata())
    sink.close()


def heard(path: Path) -> list[tuple[float, bytes]]:
    """The packets of the sound, with their times in seconds."""
    with av.open(str(path)) as container:
        return [(float(p.pts * p.time_base), bytes(p)) for p in container.demux(audio=0) if p.size]


def fuse(first: Path, second: Path, output: Path, **settings: Any) -> Summary:
    """Take the first image of all pairs."""
    source = open_source(first, second, Reading())
    sink = open_sink(source, Writing(output, clip=ClipWriting(**settings)))
    return fuse_all(create_model("first"), source, sink)


@pytest.mark.parametrize(
    ("codec", "suffix", "most"),
    [("h264", ".mp4", 2), ("vp9", ".webm", 3), ("hevc", ".mp4", 3), ("ffv1", ".mkv", 0)],
)
def test_colours_are_right_within_two_levels(
    tmp_path: Path, codec: CodecName, suffix: str, most: int
) -> None:
    path = tmp_path / f"bars{suffix}"
    write(path, [BARS] * 3, ClipWriting(codec, None if codec == "ffv1" else 12))
    shown = read_clip(path)
    assert len(shown) == 3
    middle = shown[1][1][32, 8::16].T / 255
    assert np.abs(middle - BARS[:, 32, 8::16].numpy()).max() * 255 <= most + 0.01


def test_h264_is_what_browsers_play(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    write(path, [BARS] * 3)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frame = next(container.decode(stream))
        assert (stream.codec_context.name, stream.profile) == ("h264", "High")
        assert frame.format.name == "yuv420p"
        tags = (frame.colorspace, frame.color_range, frame.color_primaries, frame.color_trc)
        assert tags == (1, 1, 1, 1)
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # it plays while it loads


def test_times_are_those_of_the_first_clip(tmp_path: Path) -> None:
    times = [0, 40, 200, 240, 1000]
    vi = write_clip(
        tmp_path / "vi.mkv",
        [flat(n) for n in range(5)],
        times=times,
        unit=Fraction(1, 1000),
    )
    fuse(vi, vi, tmp_path / "out.mp4")
    assert [time for time, _ in read_clip(tmp_path / "out.mp4")] == [
        Fraction(time, 1000) for time in times
    ]


def test_sound_is_copied(tmp_path: Path) -> None:
    vi = write_clip(tmp_path / "vi.mp4", [flat(n) for n in range(50)], tones=2)
    ir = write_clip(tmp_path / "ir.mp4", [flat(n) for n in range(50)])
    fuse(vi, ir, tmp_path / "out.mp4")
    assert packets(tmp_path / "out.mp4") == packets(vi)
    source = open_source(vi, ir, Reading())
    sink = open_sink(source, Writing(tmp_path / "out.webm"))
    (note,) = sink.notes
    assert "do not hold its sound (aac)" in note


def test_tags_that_are_no_text_do_not_matter(tmp_path: Path) -> None:
    path = write_clip(
        tmp_path / "vi.mkv",
        [flat(n) for n in range(25)],
        prepare=lambda stream: stream.container.metadata.update(title="Caf#"),
        tones=1,
    )
    sound = packets(path)
    path.write_bytes(path.read_bytes().replace(b"Caf#", b"Caf\xe9"))
    fuse(path, path, tmp_path / "out.mkv")
    assert packets(tmp_path / "out.mkv") == sound
    frames = list(frames_of(str(path)))
    assert frames[0]().pixels.shape == (32, 48)


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
@pytest.mark.parametrize("offset", [Fraction(1, 2), Fraction(-1, 2)])
def test_sound_of_the_second_clip_moves_by_the_offset(
    tmp_path: Path, offset: Fraction, suffix: str
) -> None:
    vi = write_clip(tmp_path / f"vi{suffix}", [flat(n) for n in range(50)])
    ir = write_clip(tmp_path / f"ir{suffix}", [flat(n) for n in range(75)], tones=3)
    source = open_source(vi, ir, Reading(clip=ClipReading(offset)))
    out = tmp_path / f"out{suffix}"
    fuse_all(create_model("first"), source, open_sink(source, Writing(out)))
    times = dict(reversed([(data, time) for time, data in heard(ir)]))
    moved = [time - times[data] for time, data in heard(out)]
    assert np.allclose(moved, float(-offset), atol=0.002)
    assert heard(out)[0][0] >= 0
    assert [time for time, _ in read_clip(out)] == [Fraction(n, 25) for n in range(50)]
    assert len(moved) >= (18 if offset > 0 else 23)


def test_odd_sides_are_extended_by_one_pixel(tmp_path: Path) -> None:
    write(tmp_path / "out.mp4", [torch.full((1, 33, 47), 0.5)] * 2)
    ((_, image), _) = read_clip(tmp_path / "out.mp4")
    assert image.shape == (34, 48, 3)
    assert np.abs(image.astype(int) - 128).max() <= 2


def test_sixteen_bits_are_kept_by_ffv1(tmp_path: Path) -> None:
    ramp = torch.linspace(0, 1, 48).repeat(1, 32, 1)
    for channels in (1, 3):
        path = tmp_path / f"{channels}.mkv"
        write(path, [ramp.repeat(channels, 1, 1)], ClipWriting("ffv1"), bits=16)
        with av.open(str(path)) as container:
            frame = next(container.decode(video=0))
        found = frame.to_ndarray() if channels == 1 else frame.to_ndarray(format="rgb48le")[..., 1]
        assert np.array_equal(found, (ramp[0].double() * 65535).round().numpy())


@pytest.mark.parametrize(
    ("codec", "bits", "channels"),
    [("h264", None, (1, 3)), ("h264", None, (3, 1)), ("ffv1", 8, (3, 1)), ("ffv1", 16, (3, 1))],
)
def test_grey_frames_go_into_a_clip_in_colour(
    tmp_path: Path, codec: CodecName, bits: Any, channels: tuple[int, ...]
) -> None:
    path = tmp_path / "mixed.mkv"
    images = [BARS if count == 3 else BARS[:1] for count in channels]
    write(path, images, ClipWriting(codec, None if codec == "ffv1" else 12), bits=bits)
    shown = [found[32, 8::16].T / 255 for _, found in read_clip(path)]
    assert len(shown) == 2
    for found, image in zip(shown, images, strict=True):
        wanted = image[:, 32, 8::16].expand(3, -1).numpy()
        assert np.abs(found - wanted).max() * 255 <= (1.01 if codec == "ffv1" else 4)


def test_colour_is_not_dropped_from_a_clip_in_grey(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is 128x64x3 and the clip 128x64x1: write numbered"):
        write(tmp_path / "grey.mkv", [BARS[:1], BARS], ClipWriting("ffv1"))


def test_images_of_folders_become_a_clip(tmp_path: Path) -> None:
    from cddfuse import write_image

    for side in ("vi", "ir"):
        for n in range(12):
            write_image(tmp_path / side / f"{n}.png", torch.full((1, 32, 48), n / 20))
    summary = fuse(tmp_path / "vi", tmp_path / "ir", tmp_path / "out.mp4", rate=Fraction(10))
    assert len(summary.done) == 12
    shown = read_clip(tmp_path / "out.mp4")
    assert [time for time, _ in shown] == [Fraction(n, 10) for n in range(12)]
    assert [round(image.mean() / 255 * 20) for _, image in shown] == list(range(12))


def test_an_image_that_fails_shifts_no_other(tmp_path: Path) -> None:
    from cddfuse import write_image

    for side in ("vi", "ir"):
        for n in range(5):
            write_image(tmp_path / side / f"{n}.png", torch.full((1, 32, 48), n / 5))
    (tmp_path / "ir" / "2.png").write_bytes(b"none")
    summary = fuse(tmp_path / "vi", tmp_path / "ir", tmp_path / "out.mkv", rate=Fraction(10))
    assert list(summary.failed) == ["2"]
    assert [time for time, _ in read_clip(tmp_path / "out.mkv")] == [
        Fraction(n, 10) for n in (0, 1, 3, 4)
    ]


def test_what_cannot_be_written(tmp_path: Path) -> None:
    vi = write_clip(tmp_path / "vi.mp4", [flat(1)] * 3)
    cases: list[tuple[str, ClipWriting, str | None, str]] = [
        ("vi.mp4", ClipWriting(), "output", "is a source"),
        ("a.avi", ClipWriting(), None, "end its name with"),
        ("a.mp4", ClipWriting("ffv1"), "codec", "do not hold ffv1"),
        ("old.mp4", ClipWriting(), "overwrite", "exists already"),
        ("a.png", ClipWriting(), "output", "is the name of one image"),
        ("folder.mp4", ClipWriting(), "output", "is a folder"),
        ("a.mp4", ClipWriting("hevc", 60), "crf", "hevc has no rate factor 60: use 0 to 51"),
        ("a.webm", ClipWriting(None, 64), "crf", "vp9 has no rate factor 64: use 0 to 63"),
        ("a.mkv", ClipWriting("ffv1", 3), "crf", "ffv1 is lossless"),
        ("frames", ClipWriting("h264"), "codec", "is no video file: leave out its codec"),
        ("frames", ClipWriting(None, 9), "crf", "is no video file: leave out its crf"),
    ]
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "old.mp4").write_text("mine")
    source = open_source(vi, vi, Reading())
    for name, settings, setting, said in cases:
        with pytest.raises(InputError, match=said) as caught:
            open_sink(source, Writing(tmp_path / name, clip=settings))
        assert caught.value.setting == setting
    with pytest.raises(InputError, match="8 bits"):
        open_sink(source, Writing(tmp_path / "a.mp4", bits=16))
    assert (tmp_path / "old.mp4").read_text() == "mine"


def test_nothing_unfinished_is_left_behind(tmp_path: Path) -> None:
    vi = write_clip(tmp_path / "vi.mp4", [flat(n) for n in range(9)])
    source = open_source(vi, vi, Reading())
    lossless = ClipWriting("ffv1")  # the encoder holds no frames back
    sink = open_sink(source, Writing(tmp_path / "out" / "out.mkv", clip=lossless))

    def stop(name: str) -> None:
        if name == "000003":
            assert list((tmp_path / "out").iterdir())  # it has been begun
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fuse_all(create_model("first"), source, sink, after=stop)
    assert not list((tmp_path / "out").iterdir())


def test_numbered_frames_resume(tmp_path: Path) -> None:
    vi = write_clip(tmp_path / "vi.mp4", [flat(n) for n in range(6)])
    first = fuse(vi, vi, tmp_path / "frames")
    names = [f"{n:06d}.png" for n in range(6)]
    assert sorted(x.name for x in (tmp_path / "frames").iterdir()) == names
    (tmp_path / "frames" / names[2]).unlink()
    again = fuse(vi, vi, tmp_path / "frames")
    assert (len(first.done), again.done, len(again.kept)) == (6, ["000002"], 5)
