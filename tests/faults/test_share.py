"""A share of the campaign of `scripts/faults`, and that the campaign notices what it should."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="signals, SIGKILL, tmpfs")
ROOT = Path(__file__).parents[2]


def test_disturbed_jobs_end_as_undisturbed_ones() -> None:
    places = os.pathsep.join(str(ROOT / name) for name in ("src", "tests"))
    flags = ("--moments", "8", "--seed", "3", "--jobs", "slices", "volume", "--forked")
    found = subprocess.run(
        [sys.executable, "-m", "faults.campaign", *flags],
        env={**os.environ, "PYTHONPATH": places, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr
    counts = [line.split(maxsplit=1) for line in found.stdout.splitlines()]
    assert sum(int(count) for count, kind in counts if kind != "SIGKILL") == 8
    assert any(kind == "SIGKILL" for _, kind in counts)


def test_a_result_that_is_not_whole_is_a_problem(tmp_path: Path) -> None:
    from faults.disturbances import Place, Report, require_whole
    from faults.jobs import JOBS, results

    (tmp_path / "a.png").write_bytes(b"whole")
    place = Place("folder", JOBS["folder"], tmp_path, tmp_path)
    place.wanted = results(place.job, tmp_path)
    (tmp_path / ".cddfuse-0-1-2.png").write_bytes(b"half")
    report = Report()
    require_whole(place, report, "killed")
    assert report.problems == []
    (tmp_path / "a.png").write_bytes(b"who")
    require_whole(place, report, "killed")
    assert report.problems == ["killed folder: a.png is not whole: it differs"]
