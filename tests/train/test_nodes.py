"""Training on two machines, here two agents of torchrun on loopback."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file
from training import write_pairs

from cddfuse.train import Running

AGENTS = ("--nnodes", "2", "--nproc-per-node", "1", "--max-restarts", "3", "--rdzv-backend", "c10d")


@pytest.mark.parametrize(
    ("variables", "machines"),
    [
        ({}, 3),
        ({"GROUP_WORLD_SIZE": "2"}, 3),  # of another program
        ({"GROUP_WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "a"}, 2),
    ],
)
def test_machines_are_those_that_take_part(
    variables: dict[str, str], machines: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GROUP_WORLD_SIZE", "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert Running(nodes=3).machines == machines


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _agents(root: Path, name: str) -> list["subprocess.Popen[bytes]"]:
    end = ("--rdzv-endpoint", f"127.0.0.1:{_free_port()}", "--rdzv-id", name, "-m", "cddfuse")
    recipe = ("--recipe", "reconet", "--crop", "16", "--batch", "2", "--steps", "12")
    data = ("train", str(root / "vi"), str(root / "ir"), "-o", str(root / name), "--val-share", "0")
    how = ("--nodes", "2", "--accelerator", "cpu", "--resume", "--save-every", "1e-9", "--quiet")
    command = [sys.executable, "-m", "torch.distributed.run", *AGENTS, *end, *data, *recipe, *how]
    log = (root / f"{name}.log").open("wb")
    env = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    return [subprocess.Popen(command, env=env, stdout=log, stderr=log) for _ in range(2)]


def _ended(agents: list["subprocess.Popen[bytes]"], root: Path, name: str) -> None:
    try:
        codes = [agent.wait(540) for agent in agents]
    finally:
        for agent in agents:
            agent.kill()
    assert codes == [0, 0], (root / f"{name}.log").read_text(errors="replace")[-3000:]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs gloo over loopback, and SIGKILL")
def test_a_run_goes_on_after_a_worker_died(tmp_path: Path) -> None:
    """And ends with the weights of one that nothing happened to."""
    write_pairs(tmp_path, count=3, side=32)
    _ended(_agents(tmp_path, "peace"), tmp_path, "peace")
    agents = _agents(tmp_path, "killed")
    state, until = tmp_path / "killed" / "state.pt", time.monotonic() + 300
    try:
        first: float | None = None
        while time.monotonic() < until:  # for the second state: a few steps are done
            now = state.stat().st_mtime if state.exists() else None
            first = first or now
            if now and now != first:
                break
            time.sleep(0.002)
        worker = psutil.Process(agents[1].pid).children()[0]
        worker.kill()
    except BaseException:
        for agent in agents:
            agent.kill()
        raise
    _ended(agents, tmp_path, "killed")
    assert "SIGKILL" in (tmp_path / "killed.log").read_text(errors="replace")
    one, other = (
        load_file(tmp_path / name / "weights.safetensors") for name in ("peace", "killed")
    )
    assert all(torch.equal(one[name], other[name]) for name in one)
    progress = torch.load(state, weights_only=True)["progress"]
    assert progress["step"] == 12
    assert [how for how in progress["computed"] if "in 2 processes" in how]
