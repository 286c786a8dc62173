"""Hours of a service and of a folder job, side by side: memory, open files and threads of each.

    python -m benchmarks.soak --hours 3 --json soak.json --plot docs/soak.svg

A client sends pairs to `cddfuse serve` one after another; `cddfuse fuse` works through a folder
that it does not finish. Growth is the median of the last tenth over that of the second tenth: in
the first, caches fill.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil

from benchmarks.serve import Load, ask, free_port, pair, wait


class Sample(NamedTuple):
    """What a process holds at a time."""

    hours: float
    megabytes: float
    files: int
    threads: int


def sample(process: psutil.Process, hours: float) -> Sample:
    """Of the process now."""
    with process.oneshot():
        megabytes = process.memory_info().rss / 1e6
        return Sample(hours, megabytes, process.num_fds(), process.num_threads())


def fill(folder: Path, files: Mapping[str, bytes], count: int) -> None:
    """Two folders with `count` names for one pair."""
    for side, name in (("vi", "first"), ("ir", "second")):
        (folder / side).mkdir()
        original = folder / f"{side}.png"
        original.write_bytes(files[name])
        for number in range(count):
            (folder / side / f"{number:06}.png").symlink_to(original)


def watch(
    processes: Mapping[str, subprocess.Popen[bytes]], hours: float, every: float
) -> dict[str, list[Sample]]:
    """Samples of all processes until the time is over; all have to live that long."""
    started = time.monotonic()
    watched = {name: psutil.Process(process.pid) for name, process in processes.items()}
    found: dict[str, list[Sample]] = {name: [] for name in processes}
    while (spent := (time.monotonic() - started) / 3600) < hours:
        for name, process in watched.items():
            if processes[name].poll() is not None:
                raise SystemExit(f"{name} ended after {spent:.2f} h: {processes[name].returncode}")
            found[name].append(sample(process, spent))
        time.sleep(every)
    return found


def growth(samples: Sequence[Sample], value: Callable[[Sample], float]) -> dict[str, float]:
    """Medians of the second and the last tenth, and the largest value."""
    tenth = max(1, len(samples) // 10)
    early, late = samples[tenth : 2 * tenth] or samples, samples[-tenth:]
    return {
        "early": round(statistics.median(map(value, early)), 1),
        "late": round(statistics.median(map(value, late)), 1),
        "most": round(max(map(value, samples)), 1),
    }


def plot(found: Mapping[str, Sequence[Sample]], path: Path) -> None:
    """Memory and open files over time."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    figure, (memory, files) = pyplot.subplots(2, 1, sharex=True, figsize=(7, 4))
    for name, samples in found.items():
        hours = [each.hours for each in samples]
        memory.plot(hours, [each.megabytes for each in samples], label=name, linewidth=1)
        files.plot(hours, [each.files for each in samples], label=name, linewidth=1)
    memory.set(ylabel="resident memory, MB", ylim=(0, None))
    files.set(ylabel="open files", xlabel="hours", ylim=(0, None))
    memory.legend()
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=3)
    parser.add_argument("--model", default="cddfuse_small")
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--pairs", type=int, default=200_000, help="names in the folder")
    parser.add_argument("--every", type=float, default=10, help="seconds between samples")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    program = [sys.executable, "-m", "cddfuse"]
    files, port = pair(arguments.height, arguments.width), free_port()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        fill(folder, files, arguments.pairs)
        serve = ["serve", "--port", str(port), "--quiet", "--models", arguments.model]
        fuse = ["fuse", str(folder / "vi"), str(folder / "ir"), "-o", str(folder / "out")]
        fuse += ["--model", arguments.model, "--quiet", "--no-check"]
        processes = {"serve": subprocess.Popen([*program, *serve])}
        load = Load()
        try:
            wait(f"http://127.0.0.1:{port}", processes["serve"])
            processes["folder"] = subprocess.Popen([*program, *fuse])
            until = time.monotonic() + 3600 * arguments.hours
            client = threading.Thread(
                target=ask, args=(f"http://127.0.0.1:{port}", files, until, load)
            )
            client.start()
            found = watch(processes, arguments.hours, arguments.every)
            client.join()
        finally:
            for process in processes.values():
                process.terminate()
                process.wait(120)
        done = len(list((folder / "out").glob("*.png")))
    figures = {
        "hours": arguments.hours,
        "requests": len(load.seconds),
        "failed": len(load.failed),
        "pairs": done,
        **{
            name: {
                "megabytes": growth(samples, lambda each: each.megabytes),
                "files": growth(samples, lambda each: each.files),
                "threads": growth(samples, lambda each: each.threads),
            }
            for name, samples in found.items()
        },
    }
    print(json.dumps(figures, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps({**figures, "samples": found}))
    if arguments.plot:
        plot(found, arguments.plot)


if __name__ == "__main__":
    main()
