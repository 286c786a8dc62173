"""What TensorBoard reads of a run's events."""

import os
import threading
from contextlib import nullcontext
from pathlib import Path

import pytest

pytest.importorskip("tensorboard", reason="needs cddfuse[train]")

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cddfuse.errors import InputError
from cddfuse.train.events import Events
from cddfuse.train.log import TrainingLog


def test_a_resumed_run_replaces_what_was_done_again(tmp_path: Path) -> None:
    for step in (1, 3):
        events = Events(tmp_path, step=step)
        for number in range(step, 5):
            events.add("one/total", number + step / 10, number)
        events.flush()
        events.close()
    read = EventAccumulator(str(tmp_path)).Reload().Scalars("one/total")
    found = [(each.step, round(each.value, 4)) for each in read]
    assert found == [(1, 1.1), (2, 2.1), (3, 3.3), (4, 4.3)]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_told_to_the_caller(tmp_path: Path) -> None:
    """There is no thread that prints a traceback of it."""
    threads, events = threading.enumerate(), Events(tmp_path, step=0)
    assert threading.enumerate() == threads
    events.add("one/total", 1, 1)
    for place, full in (("/dev/full", True), (os.devnull, False)):
        device = os.open(place, os.O_WRONLY)
        os.dup2(device, events._file.fileno())
        os.close(device)
        with pytest.raises(OSError, match="No space") if full else nullcontext():
            events.flush()
    events.close()


def test_a_file_in_the_place_of_the_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "tensorboard").touch()
    with pytest.raises(InputError, match=r"cannot write .*tensorboard"):
        TrainingLog(tmp_path, total=1, step=0, quiet=True)
