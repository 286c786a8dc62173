"""Disturb jobs at random moments and resume them: results are those of an undisturbed run.

See `scripts/faults`. Linux only: jobs are forked, so that a run takes a fraction of a second.
"""

import argparse
import contextlib
import ctypes
import gc
import os
import shutil
import signal
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from faults.jobs import JOBS, Job, results, run

assert sys.platform != "win32"  # it needs signals and users

_EVENTS = (
    "open",
    "os.rename",
    "os.mkdir",
    "os.remove",
    "os.listdir",
    "os.scandir",
    "shutil.rmtree",
)
_NOBODY = 65534
_SEVERAL = 4  # kills of one run, before it is left in peace
_LONGEST = 300.0  # seconds that a run may take on a busy machine
_LARGE = "64m"

Hook = Callable[[], object]


@dataclass
class Place:
    """Where a job is run, and what an undisturbed run gave."""

    name: str
    job: Job
    sources: Path
    output: Path
    wanted: dict[str, str]
    events: int
    """Calls of the system that may be the last."""

    seconds: float


@dataclass
class Report:
    """What came of a campaign."""

    done: Counter[str] = field(default_factory=Counter)
    """Disturbances by kind and job."""

    problems: list[str] = field(default_factory=list)

    def check(self, holds: object, place: Place, kind: str, what: str) -> None:
        """Note a promise that does not hold."""
        if not holds:
            self.problems.append(f"{kind} {place.name}: {what}")


@contextlib.contextmanager
def prepared(name: str, folder: Path) -> Iterator[Place]:
    """A job with its sources, run once undisturbed."""
    job, home = JOBS[name], folder / name
    place = Place(name, job, home / "in", home / "out", {}, 0, 0.0)
    place.sources.mkdir(parents=True)
    job.prepare(place.sources)
    for path in (folder, home, place.sources, *place.sources.rglob("*")):
        path.chmod(0o755)
    fresh(place)
    run(job, place.sources, place.output)  # so that children find all imported and compiled
    gc.collect()  # a child would wait for the threads of decoders that it has not
    fresh(place)
    reading, writing = os.pipe()
    begun = time.monotonic()
    child = fork(place, after=lambda: os.write(writing, str(_seen).encode()))
    status = waited(child)
    place.seconds, place.wanted = time.monotonic() - begun, results(job, place.output)
    place.events = int(os.read(reading, 20) or 1)
    os.close(reading)
    os.close(writing)
    if status or not place.wanted:
        raise RuntimeError(f"{name} does not run undisturbed: exit code {status}")
    yield place
    shutil.rmtree(home)


_seen = 0  # events of a forked job


def fork(
    place: Place,
    *,
    before: Hook = lambda: None,
    at: tuple[int, Hook] | None = None,
    after: Hook = lambda: None,
    again: bool = False,
) -> int:
    """Start the job in a child.

    Args:
        place: of the job.
        before: called in the child first.
        at: called in the child at that call of the system.
        after: called in the child at the end.
        again: whether it resumes.
    """
    child = os.fork()
    if child:
        return child
    code = 99
    try:
        before()
        sys.addaudithook(partial(_count, at))
        code, _ = run(place.job, place.sources, place.output, again=again)
        after()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _count(at: tuple[int, Hook] | None, event: str, _: object) -> None:
    global _seen
    if event in _EVENTS:
        _seen += 1
        if at and _seen == at[0]:
            at[1]()


def waited(child: int) -> int:
    """The exit code of a child; negative for signals."""
    until = time.monotonic() + _LONGEST
    while time.monotonic() < until:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return -999


def fresh(place: Place) -> None:
    """No results."""
    shutil.rmtree(place.output, ignore_errors=True)
    place.output.mkdir()


def run_in_peace(place: Place, *, again: bool = False) -> int:
    """The exit code of the job."""
    return waited(fork(place, again=again))


def resumed(place: Place, report: Report, kind: str) -> None:
    """Run the job to its end, and compare."""
    there = bool(results(place.job, place.output))
    code = run_in_peace(place, again=there)
    report.check(code == 0, place, kind, f"resuming ends with {code}")
    found = results(place.job, place.output)
    names = {
        name for name in found.keys() | place.wanted if found.get(name) != place.wanted.get(name)
    }
    report.check(not names, place, kind, f"results differ: {sorted(names)[:4]}")
    report.done[f"{kind} {place.name}"] += 1


def whole(place: Place, report: Report, kind: str) -> None:
    """What has a name of a result is a result, at any moment."""
    for name, content in results(place.job, place.output).items():
        hidden = Path(name).name.startswith(".cddfuse-")
        same = content == place.wanted.get(name)
        growing = place.name in ("train", "benchmark")  # their files are replaced as they go on
        report.check(hidden or same or growing, place, kind, f"{name} is not whole")


def killed(place: Place, random: Random, report: Report) -> None:
    """SIGKILL by the clock or at a call of the system, up to four times in one run."""
    fresh(place)
    for _ in range(random.randint(1, _SEVERAL)):
        there = bool(results(place.job, place.output))
        if random.random() < 0.5:
            moment = random.randint(1, place.events)
            child = fork(place, at=(moment, _die), again=there)
        else:
            child = fork(place, again=there)
            time.sleep(random.uniform(0, place.seconds))
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        code = waited(child)
        report.check(code in (0, -9), place, "killed", f"ends with {code}")
        report.done["kill"] += code == -9
        whole(place, report, "killed")
    resumed(place, report, "killed")


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def full_disk(place: Place, random: Random, report: Report) -> None:
    """No space at some point: a sentence, and the rest once there is space again."""
    fresh(place)
    size = max(1, sum(path.stat().st_size for path in place.output.rglob("*")) // 1024)
    needed = max(16, int(random.uniform(8, 200)), size)
    with mounted(place.output, f"{needed}k"):
        code = run_in_peace(place)
        report.check(code in (0, 1, 2), place, "full disk", f"ends with {code}")
        whole(place, report, "full disk")
        remount(place.output, f"size={_LARGE}")
        resumed(place, report, "full disk")


def read_only(place: Place, random: Random, report: Report) -> None:
    """The disk becomes read-only in the middle."""
    fresh(place)
    with mounted(place.output, _LARGE):
        hook = partial(remount, place.output, "ro")
        code = waited(fork(place, at=(random.randint(1, place.events), hook)))
        report.check(code in (0, 1, 2), place, "read-only", f"ends with {code}")
        remount(place.output, "rw")
        resumed(place, report, "read-only")


def no_permission(place: Place, random: Random, report: Report) -> None:
    """The folder of the results, or one of its sources, is closed to the user in the middle."""
    fresh(place)
    place.output.chmod(0o777)
    closed = random.choice((place.output, *(p for p in place.sources.rglob("*") if p.is_file())))
    mode = closed.stat().st_mode

    def close() -> None:
        os.chmod(closed, 0)

    moment = random.uniform(0, place.seconds)
    closing = threading.Timer(moment, close)
    child = fork(place, before=_as_nobody)
    closing.start()
    code = waited(child)
    closing.join()
    report.check(code in (0, 1, 2), place, "no permission", f"ends with {code}")
    closed.chmod(mode)
    resumed(place, report, "no permission")


def _as_nobody() -> None:
    os.environ.update(HOME="/tmp", XDG_CACHE_HOME="/tmp/.nobody")
    os.setgroups([])
    os.setgid(_NOBODY)
    os.setuid(_NOBODY)


def clock(place: Place, random: Random, report: Report) -> None:
    """The clock goes back by a day in the middle, and results are of the future."""
    fresh(place)

    def back() -> None:
        now = time.time
        time.time = lambda: now() - 86400.0

    code = waited(fork(place, at=(random.randint(1, place.events), back)))
    report.check(code == 0, place, "clock", f"ends with {code}")
    later = time.time() + 86400 * 365
    names = [path for path in place.output.rglob("*") if path.is_file()]
    for path in names:
        os.utime(path, (later, later))
    if place.name not in ("train", "clip", "volume"):
        for path in random.sample(names, len(names) // 2):
            path.unlink()
    resumed(place, report, "clock")


def two_at_once(place: Place, random: Random, report: Report) -> None:
    """Two runs into one folder: both end in peace, and the results are whole."""
    fresh(place)
    one = fork(place)
    time.sleep(random.uniform(0, place.seconds / 4))
    runs = [one, *(fork(place, again=True) for _ in range(2))]
    codes = [waited(each) for each in runs]
    report.check(set(codes) <= {0, 2}, place, "two at once", f"end with {codes}")
    whole(place, report, "two at once")
    resumed(place, report, "two at once")


@contextlib.contextmanager
def mounted(folder: Path, size: str) -> Iterator[None]:
    """A small disk at a folder."""
    _mount(folder, f"size={size}", 0)
    try:
        yield
    finally:
        _libc().umount2(os.fsencode(folder), 2)


def remount(folder: Path, option: str) -> None:
    """Change a small disk."""
    flags = _REMOUNT | (_READ_ONLY if option == "ro" else 0)
    _mount(folder, option if "=" in option else "", flags)


_REMOUNT, _READ_ONLY = 32, 1


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _mount(folder: Path, options: str, flags: int) -> None:
    kind = b"tmpfs"
    if _libc().mount(kind, os.fsencode(folder), kind, flags, options.encode()):
        raise OSError(ctypes.get_errno(), f"cannot mount at {folder}")


def can_mount() -> bool:
    """Whether this process may mount small disks."""
    with TemporaryDirectory() as folder, contextlib.suppress(OSError):
        with mounted(Path(folder), "64k"):
            pass
        return True
    return False


KINDS: dict[str, tuple[Callable[[Place, Random, Report], None], int]] = {
    "killed": (killed, 12),
    "full": (full_disk, 3),
    "read-only": (read_only, 2),
    "permission": (no_permission, 2),
    "clock": (clock, 1),
    "two": (two_at_once, 2),
}
"""Disturbances, and how many of each there are in 22."""


def campaign(count: int, seed: int, names: tuple[str, ...] = tuple(JOBS)) -> Report:
    """Disturb jobs `count` times, the jobs in turn."""
    report, random = Report(), Random(seed)
    root = os.geteuid() == 0 and can_mount()
    kinds = [kind for kind in KINDS if root or kind in ("killed", "clock", "two")]
    weights = [KINDS[kind][1] for kind in kinds]
    with TemporaryDirectory() as folder:
        for number, name in enumerate(names):
            with prepared(name, Path(folder)) as place:
                print(f"{name}: {place.seconds:.2f} s, {place.events} calls", file=sys.stderr)
                for _ in range(count // len(names) + (number < count % len(names))):
                    kind = random.choices(kinds, weights)[0]
                    KINDS[kind][0](place, random, report)
            print(f"{name}: {len(report.problems)} problems", file=sys.stderr, flush=True)
    return report


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="scripts/faults", description=__doc__)
    parser.add_argument("--moments", type=int, default=200, help="disturbances in all")
    parser.add_argument("--seed", type=int, default=0, help="decides all of them")
    parser.add_argument("--jobs", nargs="+", choices=list(JOBS), default=list(JOBS))
    arguments = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    report = campaign(arguments.moments, arguments.seed, tuple(arguments.jobs))
    for text, number in sorted(report.done.items()):
        print(f"{number:6} {text}")
    for problem in report.problems:
        print(f"problem: {problem}")
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
