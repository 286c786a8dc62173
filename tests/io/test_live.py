"""Cameras: tested on files and arrays behind the same interface."""

import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("av")

from video_clips import flat, read_clip, write_clip

from cddfuse.errors import InputError
from cddfuse.io.decode import Decoded
from cddfuse.io.formats import Reading, Writing, open_sink, open_source
from cddfuse.io.metadata import Metadata
from cddfuse.io.ranges import Ranges
from cddfuse.io.video.live import Frames, Live, MovingRanges, _captured, frames_of
from cddfuse.models import create_model
from cddfuse.pipeline import fuse_all
from cddfuse.registration import Transform

WAIT = 0.02  # seconds between frames


def paced(frames: Frames) -> Frames:
    """Frames as a camera gives them."""
    for read in frames:
        time.sleep(WAIT)
        yield read


def from_file(address: str) -> Frames:
    """A file in place of a network camera."""
    return paced(frames_of(address))


def deep(values: Any) -> Decoded:
    """Counts of a thermal camera."""
    return Decoded(np.asarray(values, np.uint16), (0.0, 65535.0), True, Metadata(16))


def test_frames_of_two_cameras_are_paired_as_they_come(tmp_path: Path) -> None:
    vi = write_clip(tmp_path / "vi.mkv", [flat(n) for n in range(20)])
    ir = write_clip(tmp_path / "ir.mkv", [flat(100 + n) for n in range(20)])
    source = Live((str(vi), str(ir)), from_file, Ranges())
    greys, times, names = [], [], set()
    for entry in source:
        loaded = entry.read()
        greys.append([round(x.mean().item() * 255) for x in loaded.pair[:2]])
        assert loaded.metadata.time is not None
        times.append(loaded.metadata.time)
        names.add(entry.name)
    assert len(greys) == len(names) >= 5
    assert times == sorted(times)
    assert all(abs(other - 100 - one) <= 4 for one, other in greys)


def test_a_transform_draws_the_second_of_each_frame(tmp_path: Path) -> None:
    ramp = np.arange(240, dtype=np.uint8).reshape(12, 20)
    vi = write_clip(tmp_path / "vi.mkv", [flat(9, (8, 16))] * 4)
    ir = write_clip(tmp_path / "ir.mkv", [ramp] * 4)
    move = Transform("similarity", ((1, 0, 1), (0, 1, 2), (0, 0, 1)), (16, 8), (20, 12))
    full = Ranges.parse(["full"])
    loaded = next(iter(Live((str(vi), str(ir)), from_file, full, transform=move))).read()
    drawn = (loaded.pair.second[0].numpy() * 255).round()
    assert np.array_equal(drawn, ramp[2:10, 1:17])


def test_frames_are_dropped_where_there_is_no_time_for_them(tmp_path: Path) -> None:
    vi = write_clip(tmp_path / "vi.mkv", [flat(n) for n in range(30)])
    source = Live((str(vi), str(vi)), from_file, Ranges())
    seen = []
    for entry in source:
        seen.append(round(entry.read().pair.first.mean().item() * 255))
        time.sleep(5 * WAIT)
    assert seen == sorted(set(seen))
    assert len(seen) < 20
    assert source.dropped == seen[-1] + 1 - len(seen)
    assert seen[-1] >= 20


def test_what_was_recorded_is_kept_when_the_user_stops(tmp_path: Path) -> None:
    vi = write_clip(tmp_path / "vi.mkv", [flat(99)] * 40)
    source = Live((str(vi), str(vi)), from_file, Ranges())
    sink = open_sink(source, Writing(tmp_path / "out.mp4"))
    seen = []

    def stop(name: str) -> None:
        seen.append(name)
        if len(seen) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fuse_all(create_model("first"), source, sink, after=stop)
    assert len(read_clip(tmp_path / "out.mp4")) >= 4
    assert [x.name for x in tmp_path.glob(".*")] == []


def test_range_moves_by_one_percent_a_frame() -> None:
    moving = MovingRanges(Ranges())
    cold = deep(np.linspace(29000, 29300, 4000).reshape(40, 100))
    hot = deep(np.linspace(29000, 31000, 4000).reshape(40, 100))
    start = moving.next(cold, cold).second.given
    assert start is not None
    assert start == pytest.approx((29000, 29300), abs=2)
    span = start.high - start.low
    after = moving.next(hot, hot).second.given
    assert after is not None
    assert 0 < after.high - start.high <= 0.0101 * span
    given = MovingRanges(Ranges.parse(["28000:30000"]))
    assert given.next(cold, hot).second.given == (28000, 30000)


def test_gain_control_of_cameras() -> None:
    """A plateau curve of each frame, smoothed, also where counts become degrees."""
    cold = deep(
        np.r_[np.linspace(29000, 29100, 3900), np.linspace(29100, 31000, 100)].reshape(40, 100)
    )
    warm = deep(60000 - cold.pixels)
    asked = Ranges.parse(["minmax"], agc="plateau", kelvin_per_count=0.01)
    moving = MovingRanges(asked)
    rule = moving.next(cold, cold).second
    assert rule.given == pytest.approx((16.85, 36.85), abs=0.1)
    assert (rule.kelvin_per_count, rule.agc.kind) == (0.01, "plateau")
    curve = np.array(rule.agc.curve)
    assert curve[4] > 2 * np.linspace(0, 1, len(curve))[4]
    after = np.array(moving.next(warm, warm).second.agc.curve)
    assert 0 < np.abs(after - curve).max() < 0.1

    def camera(address: str) -> Frames:
        return iter([partial(deep, cold.pixels)] * 2)

    plain, gained = (
        next(iter(Live(("a", "b"), camera, ranges))).read().pair.second
        for ranges in (Ranges.parse(["minmax"]), asked)
    )
    assert gained.mean() > 1.5 * plain.mean()


def test_a_camera_that_fails_is_named() -> None:
    def broken(address: str) -> Frames:
        def frames() -> Frames:
            yield partial(deep, [[1, 2], [3, 4]])
            raise OSError("cable")

        return frames()

    with pytest.raises(InputError, match="left gives no more frames \\(cable\\)"):
        for _ in Live(("left", "right"), broken, Ranges.parse(["full"])):
            pass


def test_camera_of_opencv() -> None:
    class Camera:
        images = iter([np.full((2, 2, 3), (1, 2, 3), np.uint8), np.full((2, 2), 700, np.uint16)])

        def get(self, what: int) -> float:
            return 0

        def read(self) -> tuple[bool, Any]:
            image = next(self.images, None)
            return image is not None, image

        def release(self) -> None:
            released.append(1)

    released: list[int] = []
    colour, counts = (read() for read in _captured(Camera(), "camera:0"))
    assert colour.pixels[0, 0].tolist() == [3, 2, 1]
    assert (counts.deep, counts.pixels[0, 0], counts.full) == (True, 700, (0.0, 65535.0))
    assert released == [1]


def test_a_camera_that_is_not_there_is_one_sentence(capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("cv2")
    if Path("/dev/video97").exists():
        pytest.skip("there is a camera 97 here")
    with pytest.raises(InputError, match="there is no camera 97 at this machine"):
        frames_of("camera:97")
    assert capfd.readouterr().err == ""


def test_addresses(tmp_path: Path) -> None:
    source = open_source(Path("rtsp://host:554/a"), Path("rtsp://host/b"), Reading())
    assert isinstance(source, Live)
    assert source.addresses == ("rtsp://host:554/a", "rtsp://host/b")
    with pytest.raises(InputError, match="second live source"):
        open_source(Path("camera:0"), write_clip(tmp_path / "a.mp4", [flat(1)]), Reading())
    with pytest.raises(InputError, match="cannot connect to tcp://127"):
        next(iter(frames_of("tcp://127.0.0.1:9")))


class Served(SimpleHTTPRequestHandler):
    """Files of a folder, which under /live/ have no size, as what a camera sends has none."""

    def send_header(self, keyword: str, value: str) -> None:
        if keyword != "Content-Length" or not self.path.startswith("/live/"):
            super().send_header(keyword, value)

    def log_message(self, *words: object) -> None:
        """Say nothing."""

    def handle(self) -> None:
        with suppress(ConnectionError):  # FFmpeg hangs up
            super().handle()


def test_a_recorded_file_is_no_camera(tmp_path: Path) -> None:
    (tmp_path / "live").mkdir()
    images = [flat(n) for n in range(50)]
    for name in ("a.ts", "live/a.ts", "a.mp4"):
        write_clip(tmp_path / name, images, codec="mpeg2video", form="yuv420p")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Served, directory=tmp_path)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        place = f"http://127.0.0.1:{server.server_port}"
        for name in ("a.ts", "a.mp4"):
            with pytest.raises(InputError, match=f"{name} is a recorded file, no camera: download"):
                frames_of(f"{place}/{name}")
        assert next(frames_of(f"{place}/live/a.ts"))().pixels.shape == (32, 48, 3)
        server.shutdown()


def test_offset_takes_the_frame_that_came_then() -> None:
    def numbered(address: str) -> Frames:
        def frames() -> Iterator[Any]:
            for n in range(30):
                time.sleep(WAIT)
                yield partial(deep, torch.full((2, 2), n).numpy())

        return frames()

    source = Live(("a", "b"), numbered, Ranges.parse(["0:100"]), offset=Fraction(-1, 10))
    behind = []
    for entry in source:
        one, other = (round(x.mean().item() * 100) for x in entry.read().pair[:2])
        behind.append(one - other)
    assert max(behind) >= 3
