"""Disturb jobs at random moments and resume them: results are those of an undisturbed run.

See `scripts/faults`. Linux only.
"""

import argparse
import itertools
import signal
import sys
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from faults.child import Facts
from faults.disks import can_mount
from faults.disturbances import DISKS, KINDS, Place, Report
from faults.jobs import JOBS, results, sizes
from faults.processes import Command, Server


def prepared(name: str, folder: Path) -> Place:
    """A job with its sources, run once undisturbed; the modules that it needs are in a file."""
    job, home = JOBS[name], folder / name
    place = Place(name, job, home / "in", home / "out")
    place.sources.mkdir(parents=True)
    job.prepare(place.sources)
    place.fresh()
    facts = Facts(str(home), modules=str(folder / f"{name}.modules"))
    end = Command(job.command(place.sources, place.output), facts).ended()
    place.stamps, place.wanted = end.stamps, results(job, place.output)
    place.pages = sizes(place.output)
    if end.code or not place.wanted:
        raise RuntimeError(f"{name} does not run undisturbed: {end.code}\n{end.said}")
    _say(f"{name}: {len(place.stamps) - 1} calls in {place.stamps[-1]:.2f} s")
    return place


def campaign(
    count: int, seed: int, names: tuple[str, ...] = tuple(JOBS), *, forked: bool = False
) -> Report:
    """Disturb jobs `count` times, the jobs in turn.

    Args:
        count: of disturbances.
        seed: decides all of them.
        names: of jobs.
        forked: fork processes from a server instead of starting each anew.
    """
    report, disks = Report(), can_mount()
    kinds = [kind for kind in KINDS if disks or kind not in DISKS]
    weights = [KINDS[kind].share for kind in kinds]
    with TemporaryDirectory() as folder:
        places = [prepared(name, Path(folder)) for name in names]
        server = _server(Path(folder)) if forked else None
        generators = {name: Random(f"{seed}/{name}") for name in names}
        try:
            for place in itertools.islice(itertools.cycle(places), count):
                place.server, random = server, generators[place.name]
                kind = random.choices(kinds, weights)[0]
                KINDS[kind].act(place, random, report)
                report.done[f"{kind} {place.name}"] += 1
        except KeyboardInterrupt:
            _say("ended early")
    return report


def _server(folder: Path) -> Server:
    """A server that has loaded what the jobs need."""
    files = sorted(folder.glob("*.modules"))
    names = (name for file in files for name in file.read_text(encoding="utf-8").split("\n"))
    return Server([name for name in dict.fromkeys(names) if name != "__main__"])


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="scripts/faults", description=__doc__)
    parser.add_argument("--moments", type=int, default=200, help="disturbances in all")
    parser.add_argument("--seed", type=int, default=0, help="decides all of them")
    parser.add_argument("--jobs", nargs="+", choices=list(JOBS), default=list(JOBS))
    parser.add_argument("--forked", action="store_true", help="fork processes: ten times as fast")
    given = parser.parse_args()
    if not can_mount():
        _say("small disks cannot be mounted here: full and read-only ones are left out")
    signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background too
    report = campaign(given.moments, given.seed, tuple(given.jobs), forked=given.forked)
    for text, number in sorted(report.done.items()):
        print(f"{number:6} {text}")
    for problem in report.problems:
        print(f"problem: {problem}")
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
