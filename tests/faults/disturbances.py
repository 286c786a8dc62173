"""What is done to a job, and what has to hold then."""

import bisect
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import NamedTuple

from faults.child import Facts
from faults.disks import mounted, remount
from faults.jobs import Job, hashed, results, unreadable
from faults.processes import Command, Ended, Server

_SEVERAL = 3  # kills of one run, at most, before it is left in peace
_LARGE = "64m"
_YEAR = 86400 * 365


@dataclass
class Place:
    """Where a job is run, and what an undisturbed run gave."""

    name: str
    job: Job
    sources: Path
    output: Path
    wanted: Mapping[str, str] = field(default_factory=dict)
    stamps: Sequence[float] = (0.0, 1.0)
    """Seconds from its first call of the system to each, and to the end."""

    pages: int = 1
    """Of 4 KiB, that all results take."""

    server: Server | None = None
    """Forks its processes; by default each is started anew."""

    def fresh(self) -> None:
        """No results."""
        shutil.rmtree(self.output, ignore_errors=True)
        self.output.mkdir()

    def start(self, *, at: int = 0, act: str = "", bound: bool = False) -> Command:
        """The job; it resumes if there are results."""
        words = self.job.command(self.sources, self.output)
        again = self.job.again if any(self.output.iterdir()) else ()
        facts = Facts(str(self.output.parent), at=at, act=act, bound=bound)
        return Command([*words, *again], facts, self.server)

    def call(self, random: Random) -> int:
        """Number of a call of the system."""
        return random.randint(1, len(self.stamps) - 1)

    def moment(self, random: Random) -> tuple[int, float]:
        """A moment of the job: the call of the system before it, and the seconds since."""
        time = random.uniform(0, self.stamps[-1])
        number = min(bisect.bisect(self.stamps, time), len(self.stamps) - 1)
        return number, time - self.stamps[number - 1]


@dataclass
class Report:
    """What came of a campaign."""

    done: Counter[str] = field(default_factory=Counter)
    """Disturbances by kind and job, and the kills."""

    problems: list[str] = field(default_factory=list)

    def check(self, holds: object, place: Place, kind: str, what: str) -> None:
        """Note a promise that does not hold."""
        if not holds:
            self.problems.append(f"{kind} {place.name}: {what}")
            print(self.problems[-1], file=sys.stderr, flush=True)

    def ended(self, end: Ended, codes: Sequence[int], place: Place, kind: str) -> None:
        """A command has ended with one of these codes, and nobody was shown a traceback."""
        self.check(end.code in codes, place, kind, f"ends with {end.code}: {end.said[-600:]}")
        quiet = "Traceback" not in end.said and "Exception ignored" not in end.said
        self.check(quiet, place, kind, f"shows a traceback: {end.said[-600:]}")


def resume(place: Place, report: Report, kind: str) -> None:
    """Run the job to its end, and compare."""
    report.ended(place.start().ended(), (0,), place, f"{kind}, resumed,")
    found = results(place.job, place.output)
    names = {
        name for name in found.keys() | place.wanted if found.get(name) != place.wanted.get(name)
    }
    report.check(not names, place, kind, f"results differ: {sorted(names)[:4]}")


def require_whole(place: Place, report: Report, kind: str) -> None:
    """What has the name of a result is a result, at any moment.

    Of jobs that replace their files as they go on, each version is a whole file.
    """
    for path in sorted(place.output.rglob("*")):
        if path.is_dir() or path.name.startswith(".cddfuse-"):
            continue
        if place.job.grows:
            problem = unreadable(path)
        else:
            name = str(path.relative_to(place.output))
            problem = "" if hashed(path) == place.wanted.get(name) else "it differs"
        report.check(not problem, place, kind, f"{path.name} is not whole: {problem}")


def killed(place: Place, random: Random, report: Report) -> None:
    """SIGKILL at a call of the system or between two, up to three times in one run."""
    place.fresh()
    for _ in range(random.randint(1, _SEVERAL)):
        if random.random() < 0.5:
            end = place.start(at=place.call(random), act="die").ended()
        else:
            number, later = place.moment(random)
            command = place.start()
            if command.reaches(number):
                time.sleep(later)
                command.kill()
            end = command.ended()
        report.ended(end, (0, -9), place, "killed")
        report.done["SIGKILL"] += end.code == -9
        require_whole(place, report, "killed")
    resume(place, report, "killed")


def full_disk(place: Place, random: Random, report: Report) -> None:
    """No space at some point: a sentence, and the rest once there is space again."""
    place.fresh()
    with mounted(place.output, f"{4 * random.randint(1, place.pages)}k"):
        report.ended(place.start().ended(), (0, 1, 2), place, "full disk")
        require_whole(place, report, "full disk")
        remount(place.output, f"size={_LARGE}")
        resume(place, report, "full disk")


def read_only(place: Place, random: Random, report: Report) -> None:
    """The disk becomes read-only in the middle."""
    place.fresh()
    with mounted(place.output, _LARGE):
        end = place.start(at=place.call(random), act=str(place.output)).ended()
        report.ended(end, (0, 1, 2), place, "read-only")
        remount(place.output, "rw")
        require_whole(place, report, "read-only")
        resume(place, report, "read-only")


def no_permission(place: Place, random: Random, report: Report) -> None:
    """The folder of the results, or one of its sources, is closed in the middle."""
    place.fresh()
    files = [path for path in sorted(place.sources.rglob("*")) if path.is_file()]
    closed = random.choice((place.output, random.choice(files)))
    mode = closed.stat().st_mode
    number, later = place.moment(random)
    command = place.start(bound=True)
    try:
        if command.reaches(number):
            time.sleep(later)
        closed.chmod(0o500 if closed.is_dir() and random.random() < 0.5 else 0)
        report.ended(command.ended(), (0, 1, 2), place, "permission")
    finally:
        closed.chmod(mode)
    require_whole(place, report, "permission")
    resume(place, report, "permission")


def clock(place: Place, random: Random, report: Report) -> None:
    """The clock goes back by a day in the middle, and results are of the future."""
    place.fresh()
    end = place.start(at=place.call(random), act="yesterday").ended()
    report.ended(end, (0,), place, "clock")
    later = time.time() + _YEAR
    files = [path for path in sorted(place.output.rglob("*")) if path.is_file()]
    for path in files:
        os.utime(path, (later, later))
    if place.job.partial:
        for path in random.sample(files, len(files) // 2):
            path.unlink()
    resume(place, report, "clock")


def two_at_once(place: Place, random: Random, report: Report) -> None:
    """Runs into one folder: all end in peace, and the results are whole."""
    place.fresh()
    number, later = place.moment(random)
    one = place.start()
    if one.reaches(number):
        time.sleep(later)
    for command in [one, place.start(), place.start()]:
        report.ended(command.ended(), (0, 2), place, "two at once")
    require_whole(place, report, "two at once")
    resume(place, report, "two at once")


class Kind(NamedTuple):
    """A disturbance."""

    act: Callable[[Place, Random, Report], None]
    share: int
    """Of the campaign, in proportion."""


KINDS: Mapping[str, Kind] = {
    "killed": Kind(killed, 12),
    "full disk": Kind(full_disk, 3),
    "read-only": Kind(read_only, 2),
    "permission": Kind(no_permission, 2),
    "clock": Kind(clock, 1),
    "two at once": Kind(two_at_once, 2),
}
DISKS = ("full disk", "read-only")
"""Those that need small disks."""
