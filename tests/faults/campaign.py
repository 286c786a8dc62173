"""Disturb jobs at random moments and resume them: results are those of an undisturbed run.

See `scripts/faults`. Linux only.
"""

import argparse
import contextlib
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from faults.disks import can_mount
from faults.disturbances import DISKS, KINDS, Place, Report
from faults.jobs import JOBS, results, sizes
from faults.processes import Command


@contextlib.contextmanager
def prepared(name: str, folder: Path) -> Iterator[Place]:
    """A job with its sources, run once undisturbed."""
    job, home = JOBS[name], folder / name
    place = Place(name, job, home / "in", home / "out")
    place.sources.mkdir(parents=True)
    job.prepare(place.sources)
    place.fresh()
    end = Command(job.command(place.sources, place.output), str(home)).ended()
    place.stamps, place.wanted = end.stamps, results(job, place.output)
    place.pages = sizes(place.output)
    if end.code or not place.wanted:
        raise RuntimeError(f"{name} does not run undisturbed: {end.code}\n{end.said}")
    yield place
    shutil.rmtree(home)


def campaign(count: int, seed: int, names: tuple[str, ...] = tuple(JOBS)) -> Report:
    """Disturb jobs `count` times, the jobs in turn."""
    report, disks = Report(), can_mount()
    kinds = [kind for kind in KINDS if disks or kind not in DISKS]
    weights = [KINDS[kind].share for kind in kinds]
    with TemporaryDirectory() as folder:
        for turn, name in enumerate(names):
            random = Random(f"{seed}/{name}")
            with prepared(name, Path(folder)) as place:
                calls, seconds = len(place.stamps) - 1, place.stamps[-1]
                _say(f"{name}: {calls} calls in {seconds:.2f} s")
                for _ in range(count // len(names) + (turn < count % len(names))):
                    kind = random.choices(kinds, weights)[0]
                    KINDS[kind].act(place, random, report)
                    report.done[f"{kind} {name}"] += 1
            _say(f"{name}: {len(report.problems)} problems")
    return report


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="scripts/faults", description=__doc__)
    parser.add_argument("--moments", type=int, default=200, help="disturbances in all")
    parser.add_argument("--seed", type=int, default=0, help="decides all of them")
    parser.add_argument("--jobs", nargs="+", choices=list(JOBS), default=list(JOBS))
    arguments = parser.parse_args()
    if os.geteuid() or not can_mount():
        _say("small disks cannot be mounted here: full and read-only ones are left out")
    report = campaign(arguments.moments, arguments.seed, tuple(arguments.jobs))
    for text, number in sorted(report.done.items()):
        print(f"{number:6} {text}")
    for problem in report.problems:
        print(f"problem: {problem}")
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
