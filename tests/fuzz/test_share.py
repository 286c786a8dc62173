"""A fixed share of the campaign of `scripts/fuzz`, and that the campaign notices what it should."""

import subprocess
import sys
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pytest

if sys.platform == "win32":
    pytest.skip("limits the memory of processes", allow_module_level=True)

from fuzz import campaign, inputs, targets
from fuzz.mutations import mutated
from fuzz.promises import PromiseError, require_whole

from cddfuse.errors import InputError

SEED, EACH = 20_261_128, 40


@pytest.mark.parametrize("target", targets.TARGETS)
@pytest.mark.filterwarnings("ignore")
def test_damaged_files_give_a_result_or_a_sentence(target: str, tmp_path: Path) -> None:
    each = EACH if targets.TARGETS[target].share > 5 else EACH // 2
    found = Counter(
        inputs.outcome(inputs.made(SEED, number, target), tmp_path) for number in range(each)
    )
    assert found.total() == each
    assert not list(tmp_path.iterdir())


def test_an_input_depends_on_seed_and_number_alone() -> None:
    first, again = (inputs.made(1, 7) for _ in range(2))
    assert first[:3] == again[:3]
    assert first.random.random() == again.random.random()
    assert inputs.made(1, 8).data != first.data
    assert mutated(b"abc" * 99, Random(0)) != b"abc" * 99


def _as_target(monkeypatch: pytest.MonkeyPatch, act: targets.Act) -> None:
    found = targets.Target(lambda: {"a.txt": b"abc"}, act, 1)
    monkeypatch.setattr(inputs, "TARGETS", {"mine": found})


def test_what_is_not_a_sentence_is_a_fault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(path: Path, random: Random) -> None:
        raise InputError(path.name)

    _as_target(monkeypatch, refuse)
    with pytest.raises(AssertionError, match="messages are sentences"):
        inputs.outcome(inputs.made(0, 0), tmp_path)


def test_unfinished_results_are_a_fault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def cut(path: Path, random: Random) -> None:
        path.rename(path.with_name("cut.png"))
        require_whole(path.parent)

    _as_target(monkeypatch, cut)
    with pytest.raises(PromiseError, match="results are complete"):
        inputs.outcome(inputs.made(0, 0), tmp_path)


@pytest.mark.parametrize(
    ("facts", "what"),
    [({"grown": 3 * 2**30}, "takes 3.2 GB"), ({"seconds": 31.0}, "takes 31 s")],
)
def test_what_takes_too_much_is_a_fault(
    facts: dict[str, float], what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    import sys

    found = campaign.Findings()
    campaign._take(found, {"target": "read", "outcome": "result", **facts}, sys.stderr)
    assert [fault["what"] for fault in found.faults] == [what]


def test_the_campaign_outlives_a_worker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One that dies, and one that hangs: the inputs after that are used."""
    import io

    program = tmp_path / "worker.py"
    program.write_text(
        "import sys, json, time, os\n"
        "for number in range(int(sys.argv[-2]), int(sys.argv[-1])):\n"
        "    facts = {'number': number, 'target': 'mine'}\n"
        "    print(json.dumps(facts), flush=True)\n"
        "    if number == 1: os.abort()\n"
        "    if number == 3:\n"
        "        while True: pass\n"
        "    print(json.dumps({**facts, 'outcome': 'result'}), flush=True)\n"
    )
    real: Any = subprocess.Popen

    def start(command: list[str], **options: object) -> object:
        return real([command[0], str(program), *command[3:]], **options)

    monkeypatch.setattr(subprocess, "Popen", start)
    monkeypatch.setattr(campaign, "SLOW", 3.0)
    found = campaign.campaign(0, 5, log=io.StringIO())
    assert found.outcomes == {"mine result": 3, "mine fault": 2}
    assert [fault["what"] for fault in found.faults] == ["ends the process with -6", "hangs"]
