"""Use many damaged files in a process of its own, and say what went wrong: see `scripts/fuzz`."""

import argparse
import json
import os
import resource
import select
import subprocess
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil

assert sys.platform != "win32"  # it limits the memory of processes

SLOW = 30.0  # seconds of a processor
_LATE = 300.0  # seconds on the clock, of a machine that may be busy
MEMORY = 2 * 2**30  # bytes that one small file may make a process grow by
_SPACE = 12 * 2**30  # bytes of address space


@dataclass
class Findings:
    """What came of a campaign."""

    outcomes: Counter[str] = field(default_factory=Counter)
    """`result`, `refused` and `fault` by target."""

    faults: list[dict[str, Any]] = field(default_factory=list)
    warned: Counter[str] = field(default_factory=Counter)
    peak: int = 0
    """Largest memory of a process, in bytes."""

    grown: int = 0
    """Bytes that the memory of a process grew by for one input at most."""

    slowest: float = 0.0
    """Seconds of a processor that one input took at most."""


def work(seed: int, first: int, last: int) -> None:
    """Use inputs, and print what came of each. Runs in a process that may die."""
    resource.setrlimit(resource.RLIMIT_AS, (_SPACE, _SPACE))
    import torch
    from fuzz.inputs import made, outcome

    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        for number in range(first, last):
            found = made(seed, number)
            facts: dict[str, Any] = {"number": number, "target": found.target, "file": found.name}
            _say(facts)
            peak, begun = _peak(), time.process_time()
            with warnings.catch_warnings(record=True) as warned:
                warnings.simplefilter("always")
                try:
                    facts["outcome"] = outcome(found, Path(folder))
                except BaseException as error:
                    facts |= {"outcome": "fault", "what": _described(error)}
            facts["seconds"] = time.process_time() - begun
            facts["grown"], facts["peak"] = _peak() - peak, _peak()
            facts["warned"] = [f"{w.category.__name__}: {w.message}"[:120] for w in warned]
            _say(facts)


def campaign(seed: int, count: int, *, first: int = 0, log: Any = sys.stderr) -> Findings:
    """Use inputs in worker processes: one that dies or hangs is a fault, and the next goes on."""
    findings, number = Findings(), first
    while number < first + count:
        for facts in _of_worker(seed, number, first + count):
            _take(findings, facts, log)
            number = facts["number"] + 1
            if number % 1000 == 0:
                print(f"{number}: {len(findings.faults)} faults", file=log, flush=True)
    return findings


def _of_worker(seed: int, first: int, last: int) -> Iterator[dict[str, Any]]:
    """What a worker says, ending with a fault if it does not end well."""
    command = [sys.executable, "-m", "fuzz.campaign", "--worker", str(seed), str(first), str(last)]
    # Without a buffer, in which a line would wait that `select` does not see.
    worker = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0)
    assert worker.stdout is not None
    begun: dict[str, Any] | None = None
    try:
        while True:
            line = _line(worker, begun)
            if line is None:
                yield {**(begun or {"number": last}), "outcome": "fault", "what": "hangs"}
                return
            if not line:
                break
            facts = json.loads(line)
            begun = None if "outcome" in facts else facts
            if begun is None:
                yield facts
        if worker.wait() or begun:
            what = f"ends the process with {worker.returncode}"
            yield {**(begun or {"number": last}), "outcome": "fault", "what": what}
    finally:
        worker.kill()
        worker.wait()
        worker.stdout.close()


def _line(worker: "subprocess.Popen[bytes]", begun: object) -> bytes | None:
    """The next line of a worker, empty at the end; None if it hangs."""
    assert worker.stdout is not None
    started, used = time.monotonic(), _used(worker)
    while not select.select([worker.stdout], [], [], 1)[0]:
        late = time.monotonic() - started > _LATE or _used(worker) - used > SLOW
        if begun and late:
            return None
    return worker.stdout.readline()


def _used(worker: "subprocess.Popen[bytes]") -> float:
    try:
        times = psutil.Process(worker.pid).cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)


def _take(findings: Findings, facts: dict[str, Any], log: Any) -> None:
    if facts.get("grown", 0) > MEMORY:
        facts |= {"outcome": "fault", "what": f"takes {facts['grown'] / 1e9:.1f} GB"}
    if facts.get("seconds", 0) > SLOW:
        facts |= {"outcome": "fault", "what": f"takes {facts['seconds']:.0f} s"}
    findings.outcomes[f"{facts.get('target')} {facts['outcome']}"] += 1
    findings.peak = max(findings.peak, facts.get("peak", 0))
    findings.grown = max(findings.grown, facts.get("grown", 0))
    findings.slowest = max(findings.slowest, facts.get("seconds", 0))
    findings.warned.update(facts.get("warned", ()))
    if facts.get("grown", 0) > MEMORY / 8:
        print(f"large: {json.dumps(facts)}", file=log, flush=True)
    if facts["outcome"] == "fault":
        findings.faults.append(facts)
        print(json.dumps(facts), file=log, flush=True)


def _described(error: BaseException) -> str:
    places = traceback.extract_tb(error.__traceback__)
    own = [place for place in places if "/cddfuse/" in place.filename] or list(places)
    where = f"{Path(own[-1].filename).name}:{own[-1].lineno}"
    return f"{type(error).__name__} at {where}: {error}"[:300]


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _say(facts: dict[str, Any]) -> None:
    os.write(_OUT, json.dumps(facts).encode() + b"\n")


_OUT = 1


def _table(findings: Findings) -> str:
    names = sorted({name.rpartition(" ")[0] for name in findings.outcomes})
    columns = ("result", "refused", "fault")
    lines = [f"{'target':14}" + "".join(f"{column:>9}" for column in columns)]
    for name in names:
        counts = "".join(f"{findings.outcomes[f'{name} {column}']:9}" for column in columns)
        lines.append(f"{name:14}{counts}")
    total = sum(findings.outcomes.values())
    lines.append(
        f"{total} inputs, {len(findings.faults)} faults; slowest {findings.slowest:.1f} s of CPU, "
        f"largest process {findings.peak / 1e9:.2f} GB, most for one {findings.grown / 1e9:.2f} GB"
    )
    lines += [f"warned {count} times: {text}" for text, count in findings.warned.most_common()]
    return "\n".join(lines)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=20_000, help="how many")
    parser.add_argument("--seed", type=int, default=0, help="decides all of them")
    parser.add_argument("--first", type=int, default=0, help="number of the first, to repeat one")
    arguments = parser.parse_args()
    findings = campaign(arguments.seed, arguments.inputs, first=arguments.first)
    print(_table(findings))
    return 1 if findings.faults else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        _OUT = os.dup(1)
        os.dup2(2, 1)  # what libraries print is no message to the parent
        work(*map(int, sys.argv[2:]))
    else:
        sys.exit(main())
