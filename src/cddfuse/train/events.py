"""Scalars for TensorBoard, written as they come.

The writer that comes with PyTorch writes in a thread of its own, which prints a traceback where
the disk is full or cannot be written.
"""

import os
import socket
import time
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter


class Events:
    """A file of events in a folder.

    Args:
        folder: of all files of the run, which TensorBoard shows as one.
        step: TensorBoard forgets what an interrupted run wrote from this step on.

    Raises:
        OSError: if it cannot be written, now or later.
    """

    def __init__(self, folder: Path, *, step: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        now = time.time_ns()
        place = f"{socket.gethostname()}.{os.getpid()}.{now % 10**9}.scalars"
        self._file = (folder / f"events.out.tfevents.{now // 10**9:010d}.{place}").open("xb")
        self._records = RecordWriter(self._file)
        self._write(Event(file_version="brain.Event:2"))
        self._write(Event(step=step, session_log=SessionLog(status=SessionLog.START)))

    def add(self, name: str, value: float, step: int) -> None:
        """Take the value of a step."""
        summary = Summary(value=[Summary.Value(tag=name, simple_value=value)])
        self._write(Event(step=step, summary=summary))

    def flush(self) -> None:
        """Bring the file up to date."""
        self._file.flush()

    def close(self) -> None:
        """Nothing more comes."""
        self._file.close()

    def _write(self, event: Event) -> None:
        event.wall_time = time.time()
        self._records.write(event.SerializeToString())
