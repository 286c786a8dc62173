"""Clips as sources: times, pixels, ranges, and what is wrong with files."""

import shutil
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

pytest.importorskip("av")

from video_clips import flat, noise, write_clip

from cddfuse import write_image
from cddfuse.errors import InputError
from cddfuse.io.formats import Reading, open_source
from cddfuse.io.ranges import Ranges
from cddfuse.io.source import Loaded
from cddfuse.io.video.settings import ClipReading
from cddfuse.io.video.streams import FileStream
from cddfuse.registration import Transform

SHIFTED = Transform("similarity", ((1, 0, 3), (0, 1, 2), (0, 0, 1)), (48, 32), (60, 40))
"""The second image is larger, and what the first shows lies 3 to the right and 2 below."""


def pairs(first: Path, second: Path | None, **reading: object) -> Iterator[Loaded]:
    """All pairs of two clips."""
    clip = {key: reading.pop(key) for key in ("offset", "layout", "rate") if key in reading}
    source = open_source(first, second, Reading(**reading, clip=ClipReading(**clip)))  # type: ignore[arg-type]
    return (entry.read() for entry in source)


def level(image: Tensor) -> int:
    """The grey of an even image."""
    return round(image.mean().item() * 255)


def levels(first: Path, second: Path | None, **reading: object) -> list[tuple[int, int]]:
    """The greys of both sides."""
    return [(level(x.pair.first), level(x.pair.second)) for x in pairs(first, second, **reading)]


def test_frames_of_different_rates_are_paired_by_time_exactly(tmp_path: Path) -> None:
    vi = write_clip(tmp_path / "vi.mp4", [flat(n) for n in range(90)], rate=30)
    ir = write_clip(
        tmp_path / "ir.mp4",
        [flat(100 + n) for n in range(27)],
        rate=9,
        unit=Fraction(1, 90000),
        times=[10000 * n for n in range(27)],
    )
    # Frame n is shown at n / 30; 9 n / 30 + 1/2 is whole where two frames are equally near.
    nearest = [100 + min(26, int(Fraction(9 * n, 30) + Fraction(1, 2))) for n in range(90)]
    assert levels(vi, ir) == list(zip(range(90), nearest, strict=True))


def test_offset_variable_rate_and_late_start(tmp_path: Path) -> None:
    times = [0, 40, 200, 240, 1000]
    vi = write_clip(
        tmp_path / "vi.mp4",
        [flat(n) for n in range(5)],
        times=[500 + t for t in times],
        unit=Fraction(1, 1000),
    )
    ir = write_clip(tmp_path / "ir.mp4", [flat(100 + n) for n in range(40)], rate=25)
    found = list(pairs(vi, ir, offset=Fraction(2, 25)))
    assert [x.metadata.time for x in found] == [Fraction(t, 1000) for t in times]
    assert [level(x.pair.second) for x in found] == [102, 103, 107, 108, 127]


@pytest.mark.parametrize(
    ("form", "white"), [("gray10le", 1023), ("gray12le", 4095), ("gray16le", 65535)]
)
def test_deep_grey_is_read_as_it_is(tmp_path: Path, form: str, white: int) -> None:
    ramp = np.linspace(0, white, 48).round().astype(np.uint16)[None].repeat(32, 0)
    file = write_clip(tmp_path / "a.mkv", [ramp], form=form)
    (found,) = pairs(file, file, ranges=Ranges.parse(["full"]))
    assert np.array_equal((found.pair.second[0].numpy() * white).round(), ramp)
    assert found.metadata.bits == 16


def test_grey_of_limited_range_fills_the_full_one(tmp_path: Path) -> None:
    def tag(stream: object) -> None:
        stream.codec_context.color_range = 1  # type: ignore[attr-defined]

    file = write_clip(tmp_path / "a.mkv", [flat(16), flat(235)], prepare=tag)
    assert levels(file, file) == [(0, 0), (255, 255)]


def test_rotated_clips_are_turned_upright(tmp_path: Path) -> None:
    image = flat(0)
    image[:, :24] = 200  # left in the file
    turned = write_clip(
        tmp_path / "a.mp4", [image], prepare=lambda stream: stream.set_display_rotation(90)
    )
    (found,) = pairs(turned, turned)
    first = found.pair.first[0]
    assert first.shape == (48, 32)
    expected = np.rot90(image) / 255
    assert np.allclose(first, expected, atol=1e-6)


@pytest.mark.parametrize("height", [64, 720])
def test_untagged_colours_are_those_that_players_show(tmp_path: Path, height: int) -> None:
    import av

    red = np.zeros((height, 64, 3), np.uint8)
    red[..., 0] = 200
    matrix = 1 if height >= 720 else 5
    frame = av.VideoFrame.from_ndarray(red, "rgb24").reformat(
        format="yuv444p", dst_colorspace=matrix, dst_color_range=1
    )
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, height, "yuv444p"
        frame.colorspace = frame.color_range = 2
        frame.color_range = 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    (found,) = pairs(tmp_path / "a.mkv", tmp_path / "a.mkv")
    assert (found.pair.first[:, 0, 0] * 255).tolist() == pytest.approx([200, 0, 0], abs=2)


@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        ("side-by-side", (10, 20)),
        ("side-by-side-swapped", (20, 10)),
        ("stacked", (10, 30)),
        ("stacked-swapped", (30, 10)),
    ],
)
def test_one_clip_holds_both_sides(tmp_path: Path, layout: str, expected: tuple[int, int]) -> None:
    side = layout.startswith("side")
    parts = [flat(10), flat(20 if side else 30)]
    file = write_clip(tmp_path / "both.mkv", [np.concatenate(parts, 1 if side else 0)])
    assert levels(file, None, layout=layout) == [expected]
    odd = write_clip(tmp_path / "odd.mkv", [flat(1, (33, 47))])
    with pytest.raises(InputError, match="has no half"):
        pairs(odd, None, layout=layout)


def test_images_of_a_folder_are_frames_too(tmp_path: Path) -> None:
    for n in range(8):
        write_image(tmp_path / "ir" / f"{n}.png", torch.full((1, 32, 48), (100 + n) / 255))
    vi = write_clip(tmp_path / "vi.mp4", [flat(n) for n in range(4)], rate=10)
    assert levels(vi, tmp_path / "ir", rate=Fraction(20)) == [(n, 100 + 2 * n) for n in range(4)]


def test_range_is_that_of_the_whole_clip(tmp_path: Path) -> None:
    """A hot body that comes into view does not change what is there already."""
    cold = np.linspace(29000, 29300, 48).round().astype(np.uint16)[None].repeat(32, 0)
    hot = cold.copy()
    hot[:8, :8] = 31000
    ir = write_clip(tmp_path / "ir.mkv", [cold] * 6 + [hot] * 6, form="gray16le")
    vi = write_clip(tmp_path / "vi.mkv", [flat(n) for n in range(12)])
    source = open_source(vi, ir, Reading())
    assert list(source.notes) == ["value range: second=auto:29000:31000 from 12 frames"]
    static = {entry.read().pair.second[0, 16:].sum().item() for entry in source}
    assert len(static) == 1


def test_colour_is_that_of_one_side_in_all_frames(tmp_path: Path) -> None:
    grey, tinted = flat(90, (32, 48, 3)), flat(90, (32, 48, 3))
    tinted[..., 0] = 140
    vi = write_clip(tmp_path / "vi.mkv", [grey, tinted, grey], form="bgr0")
    ir = write_clip(tmp_path / "ir.mkv", [tinted] * 3, form="bgr0")
    shapes = [(len(x.pair.first), len(x.pair.second)) for x in pairs(vi, ir)]
    assert shapes == [(3, 1)] * 3


def failures(first: Path, second: Path) -> list[str]:
    """What entries say that fail."""
    said = []
    for entry in open_source(first, second, Reading()):
        try:
            entry.read()
        except InputError as error:
            said.append(str(error))
    return said


def test_clip_that_was_cut_short_is_noticed(tmp_path: Path) -> None:
    whole = write_clip(tmp_path / "whole.mkv", noise(60))
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    assert failures(whole, whole) == []
    (said,) = failures(cut, whole)
    assert "it ends after" in said
    assert "of the 2.40 s it should have" in said


def damaged(path: Path, frame: int) -> Path:
    """The file with 400 bytes that are wrong, from before a frame on."""
    import av

    with av.open(str(path)) as container:
        places = [packet.pos for packet in container.demux(video=0)]
    data = bytearray(path.read_bytes())
    place = (places[frame] or 0) - 8
    data[place : place + 400] = np.random.default_rng(0).bytes(400)
    path.write_bytes(data)
    return path


def test_frames_that_are_lost_within_a_clip_are_noticed(tmp_path: Path) -> None:
    images = noise(60, (48, 64))
    whole = write_clip(tmp_path / "whole.mkv", images, rate=10, codec="libx264", form="yuv420p")
    wrong = tmp_path / "wrong.mkv"
    shutil.copy(whole, wrong)
    assert failures(whole, whole) == []
    (said,) = failures(damaged(wrong, 20), whole)
    assert "it has no frames for" in said
    index = write_clip(tmp_path / "cut.avi", images, rate=10)
    index.write_bytes(index.read_bytes()[: index.stat().st_size * 2 // 3])
    (said,) = failures(index, whole)
    assert "of the 6.00 s it should have" in said


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_pauses_of_variable_frame_rates_are_no_damage(tmp_path: Path, suffix: str) -> None:
    """In MP4 they are durations of frames; in MKV the other frames are uneven too."""
    steps = np.random.default_rng(0).choice([1, 2, 3, 5, 8, 40], 40)
    file = write_clip(
        tmp_path / f"a{suffix}",
        [flat(n) for n in range(40)],
        times=[int(time) for time in steps.cumsum()],
    )
    assert failures(file, file) == []
    slow = write_clip(tmp_path / f"slow{suffix}", [flat(n) for n in range(6)], rate=Fraction(1, 3))
    assert failures(slow, slow) == []


def test_a_stream_that_was_cut_is_noticed_if_the_other_goes_on(tmp_path: Path) -> None:
    """Transport streams name no duration."""
    images = [flat(n) for n in range(50)]
    whole = write_clip(tmp_path / "a.ts", images, codec="mpeg2video", form="yuv420p")
    short = write_clip(tmp_path / "b.ts", images[:20], codec="mpeg2video", form="yuv420p")
    assert failures(short, whole) == []
    (note,) = open_source(short, whole, Reading()).notes
    assert note == f"left out: 1.2 s of {whole}, after the end of {short}"
    assert not open_source(short, whole, Reading(clip=ClipReading(Fraction(1)))).notes
    short.write_bytes(short.read_bytes()[:-100])
    said = failures(short, whole)
    assert f"it ends amid a packet, 1.2 s before {whole} does" in said[0]
    assert not any("amid a packet" in each for each in failures(short, short))


def test_frames_that_are_damaged_are_counted(tmp_path: Path) -> None:
    images = noise(20, (64, 96))
    file = write_clip(tmp_path / "a.mp4", images, codec="libx264", form="yuv420p")
    data = bytearray(file.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3000] = bytes(3000)
    file.write_bytes(data)
    (said,) = failures(file, write_clip(tmp_path / "b.mp4", images))
    assert "of its frames are damaged" in said


def test_frames_that_all_come_at_one_time_are_taken_in_turn(tmp_path: Path) -> None:
    """What a program writes that forgets the times."""
    images = [flat(9 * n) for n in range(8)]
    vi, ir = (
        write_clip(tmp_path / f"{side}.mp4", images, codec="libx264", form="yuv420p", times=[0] * 8)
        for side in ("vi", "ir")
    )
    *entries, _, _ = open_source(vi, ir, Reading())
    seen = [(level(x.pair.first), level(x.pair.second)) for x in (e.read() for e in entries)]
    assert len(set(seen)) == 8
    assert all(first == second for first, second in seen)
    said = failures(vi, ir)
    assert len(said) == 2
    assert "7 of its frames come at the time of another" in said[0]


def test_frames_without_partner_are_left_out_and_counted(tmp_path: Path) -> None:
    vi = write_clip(tmp_path / "vi.mp4", [flat(n) for n in range(50)])
    ir = write_clip(tmp_path / "ir.mp4", [flat(n) for n in range(25)])
    (said,) = failures(vi, ir)
    assert "13 of 50 frames have no partner within 0.50 s" in said
    with pytest.raises(InputError, match="no time in common"):
        list(pairs(vi, ir, offset=Fraction(60)))


@pytest.mark.parametrize("kept", [0, 100, None])
def test_files_that_are_no_video(tmp_path: Path, kept: int | None) -> None:
    """Empty, text, and half a file."""
    good = write_clip(tmp_path / "good.mp4", noise(9))
    bad = tmp_path / "bad.mp4"
    data = good.read_bytes()
    bad.write_bytes(data[: len(data) // 2] if kept is None else b"hello" * kept)
    with pytest.raises(InputError, match="is no video, or is damaged or cut short") as caught:
        open_source(good, bad, Reading())
    assert str(bad) in str(caught.value)


def test_tags_that_are_no_text_do_not_matter(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", [flat(9)] * 2, codec="mpeg4", form="yuv420p")
    data = path.read_bytes()
    assert data.count(b"Lavf") == 1
    path.write_bytes(data.replace(b"Lavf", b"L\xffvf"))
    assert FileStream.of(path).facts.height == 32


def test_what_does_not_fit_together(tmp_path: Path) -> None:
    one = write_clip(tmp_path / "a.mkv", [flat(1)])
    other = write_clip(tmp_path / "b.mkv", [flat(1, (16, 16))])
    with pytest.raises(InputError, match="one size") as caught:
        pairs(one, other)
    assert caught.value.setting == "resize"
    assert len(list(pairs(one, other, resize=True))) == 1
    with pytest.raises(InputError, match="is one clip"):
        pairs(one, None)
    with pytest.raises(InputError, match="are two clips"):
        pairs(one, other, layout="stacked")
    with pytest.raises(InputError, match="there is no file"):
        pairs(one, tmp_path / "none.mp4")
    write_image(tmp_path / "i.png", torch.zeros(1, 32, 48))
    with pytest.raises(InputError, match="is one image"):
        pairs(one, tmp_path / "i.png")
    sound = write_clip(tmp_path / "s.mkv", [flat(1)], tones=1)
    assert levels(sound, sound) == [(1, 1)]


def test_a_transform_draws_the_second_of_each_frame(tmp_path: Path) -> None:
    large = noise(3, (40, 60))
    vi = write_clip(tmp_path / "vi.mkv", noise(3))
    ir = write_clip(tmp_path / "ir.mkv", large)
    found = list(pairs(vi, ir, transform=SHIFTED))
    assert len(found) == 3
    for loaded, levels in zip(found, large, strict=True):
        drawn = (loaded.pair.second[0].numpy() * 255).round()
        assert np.array_equal(drawn, levels[2:34, 3:51])
        assert loaded.covered is None
    with pytest.raises(InputError, match="the second image is 48x32, and the transform is for"):
        open_source(vi, vi, Reading(transform=SHIFTED))
