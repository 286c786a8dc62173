"""Kill a worker of torchrun in the middle of a run: does it go on, and to the same weights?

    python benchmarks/restarts.py              # one agent with two workers
    python benchmarks/restarts.py --agents 2   # two agents with one worker each

The second worker is killed before step 5 of 8, in the first life of the workers, so that nothing
depends on the clock. Prints how the runs ended, and whether the weights are those of a run in which
nothing happened. Linux, CPU, a minute.
"""

import argparse
import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import torch

from cddfuse.cli import main as command
from cddfuse.io import write_image
from cddfuse.pair import ImagePair
from cddfuse.train.trainer import StepResult, Trainer

LAST, STEPS = 5, 8
_RECIPE = ("--recipe", "reconet", "--crop", 16, "--batch", 2, "--steps", STEPS, "--val-share", 0)
_HOW = ("--accelerator", "cpu", "--resume", "--save-every", 1e-9, "--quiet")
_SETTINGS = {
    "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
    "GLOO_SOCKET_IFNAME": "lo",
    "OMP_NUM_THREADS": "1",
}


def work(dies: bool, words: Sequence[str]) -> None:
    """The command, in a worker that may be the one to die."""
    if dies and os.environ["RANK"] == "1" and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
        _die_at(LAST)
    command(words)


def _die_at(last: int) -> None:
    step = Trainer.step

    def steps(trainer: Trainer, batch: ImagePair) -> StepResult:
        if trainer.progress.step == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return step(trainer, batch)

    patch.object(Trainer, "step", steps).start()


def ended(folder: Path, name: str, agents: int, dies: bool) -> tuple[list[int], str]:
    """Exit codes of the agents of a run, and the hash of its weights."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{found.getsockname()[1]}"
    many = ("--nnodes", agents, "--nproc-per-node", 2 // agents, "--max-restarts", 3)
    where = ("--rdzv-backend", "c10d", "--rdzv-id", name, "--rdzv-endpoint", place)
    words = ("train", folder / "vi", folder / "ir", "-o", folder / name, *_RECIPE, *_HOW)
    size = ("--nodes", agents, "--devices", 2 // agents)
    program = (__file__, "--worker", "dies" if dies else "lives", *words, *size)
    line = [sys.executable, "-m", "torch.distributed.run", *map(str, (*many, *where, *program))]
    log = (folder / f"{name}.log").open("wb")
    env = {**os.environ, **_SETTINGS}
    runs = [subprocess.Popen(line, env=env, stdout=log, stderr=log) for _ in range(agents)]
    codes = [run.wait() for run in runs]
    log.close()
    if any(codes):
        print((folder / f"{name}.log").read_text(errors="replace")[-3000:], file=sys.stderr)
    weights = folder / name / "weights.safetensors"
    return codes, hashlib.sha256(weights.read_bytes()).hexdigest() if weights.exists() else ""


def main() -> int:
    """Run both, and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--agents", type=int, choices=(1, 2), default=1)
    agents = parser.parse_args().agents
    rng = torch.Generator().manual_seed(0)
    hashes = []
    with TemporaryDirectory() as name:
        folder = Path(name)
        for side in ("vi", "ir"):
            for number in range(3):
                image = torch.rand(1, 32, 32, generator=rng)
                write_image(folder / side / f"{number}.png", image)
        for run in ("undisturbed", "killed"):
            begun = time.monotonic()
            codes, found = ended(folder, run, agents, run == "killed")
            print(f"{run}: exit codes {codes}, {time.monotonic() - begun:.0f} s, weights {found}")
            hashes.append(found)
        killed = "exitcode: -9" in (folder / "killed.log").read_text(errors="replace")
    same = hashes[0] == hashes[1] != ""
    print("a worker was killed" if killed else "no worker was killed")
    print("the weights are the same" if same else "the weights differ")
    return 0 if same and killed else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        work(sys.argv[2] == "dies", sys.argv[3:])
    else:
        sys.exit(main())
