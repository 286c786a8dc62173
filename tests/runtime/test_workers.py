"""Processes that work for a program end with it, however it ends."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from cddfuse.runtime.workers import workers

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


def write_later(path: Path) -> None:
    time.sleep(5)
    path.touch()


def interrupt_itself() -> int:
    os.kill(os.getpid(), signal.SIGINT)
    return os.getpid()


def test_interruptions_are_for_the_program_and_end_all_work(tmp_path: Path) -> None:
    before = set(multiprocessing.active_children())

    def interrupted() -> None:
        with workers(1, time.sleep, 0) as pool:
            assert pool.submit(interrupt_itself).result() != os.getpid()
            begun, _ = [pool.submit(write_later, tmp_path / name) for name in ("one", "two")]
            while not begun.running():
                time.sleep(0.01)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    for process in set(multiprocessing.active_children()) - before:
        process.join()
    assert not list(tmp_path.iterdir())


def test_all_are_started_while_interruptions_are_held_back() -> None:
    before = set(multiprocessing.active_children())
    with workers(2, time.sleep, 0):
        assert len(set(multiprocessing.active_children()) - before) == 2


SCRIPT = """
import os, time
from cddfuse.runtime.workers import workers
if __name__ == "__main__":
    with workers(1, time.sleep, 0) as pool:
        print(pool.submit(os.getpid).result(), flush=True)
        pool.submit(time.sleep, 600).result()
"""


def test_a_program_that_is_killed_leaves_no_process(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout
        worker = psutil.Process(int(program.stdout.readline()))
        program.kill()
    until = time.monotonic() + 60
    while alive(worker) and time.monotonic() < until:
        time.sleep(0.05)
    if alive(worker):
        worker.kill()
        pytest.fail("the worker goes on alone")


def alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
