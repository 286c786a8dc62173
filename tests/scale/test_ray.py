"""A folder on a cluster of two simulated machines, one of which is killed in the middle."""

import contextlib
import importlib
import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from cddfuse import cli, write_image
from cddfuse.errors import InputError
from cddfuse.io.formats import Reading, Writing, open_sink, open_source
from cddfuse.io.image_files import ImageFiles, ImagePairs
from cddfuse.models import FusionModel, create_model
from cddfuse.pipeline import Options, fuse_all
from cddfuse.scale import ray_fuse
from cddfuse.scale.key import NAME
from cddfuse.scale.ray_fuse import Cluster, Merged, fuse_on_ray

COUNT = 24
FEW = Cluster(workers=2, patience=120)


def load() -> FusionModel:
    """A network that takes its time, so that something is going on when a machine is killed."""
    time.sleep(0.01)
    return create_model("mean").eval()


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("sources")
    rng = torch.Generator().manual_seed(0)
    for number in range(COUNT):
        for side in ("vi", "ir"):
            write_image(root / side / f"{number:02}.png", torch.rand(1, 24, 32, generator=rng))
    (root / "ir" / "05.png").write_bytes(b"no image")
    return root / "vi", root / "ir"


@pytest.fixture(scope="module")
def machines() -> Iterator[list[Any]]:
    """A cluster of two machines with two logical CPUs each."""
    ray = pytest.importorskip("ray")
    simulated: Any = importlib.import_module("ray.cluster_utils").Cluster

    patch = pytest.MonkeyPatch()
    here = os.pathsep.join(
        [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    )
    for name, value in {**ray_fuse._SETTINGS, "PYTHONPATH": here}.items():
        patch.setenv(name, value)
    _wait_for_machines(patch)
    try:
        head = {**_machine(), "include_dashboard": False}
        cluster = simulated(initialize_head=True, head_node_args=head)
        other = cluster.add_node(**_machine())
        ray.init(address=cluster.address, logging_level=40, log_to_driver=False)
    except Exception as error:  # it gives a machine half a minute, and then raises this
        patch.undo()
        pytest.skip(f"Ray does not start here: {error}")
    yield [cluster, other]
    ray.shutdown()
    cluster.shutdown()
    patch.undo()


def _machine() -> dict[str, Any]:
    """Two logical CPUs. With ports of its own, a machine does not wait for its agents."""
    names = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port")
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(4)]
        for each in sockets:
            each.bind(("", 0))
        ports = [int(each.getsockname()[1]) for each in sockets]
    facts = dict(zip((*names, "runtime_env_agent_port"), ports, strict=True))
    return {**facts, "num_cpus": 2, "object_store_memory": 80 * 2**20}


def _wait_for_machines(patch: pytest.MonkeyPatch) -> None:
    """Ray gives a machine half a minute to start, which is short where others work too."""
    services: Any = importlib.import_module("ray._private.services")
    ask = services.get_node

    def answer(*arguments: Any, **named: Any) -> Any:
        until = time.monotonic() + 200
        while True:
            try:
                return ask(*arguments, **named)
            except RuntimeError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.5)

    patch.setattr(services, "get_node", answer)


def run(sources: tuple[Path, Path], output: Path, cluster: Cluster = FEW, **how: Any) -> Merged:
    source = open_source(*sources, Reading())
    assert isinstance(source, ImagePairs)
    writing = Writing(output, overwrite=how.pop("overwrite", False))
    sink = open_sink(source, writing)
    assert isinstance(sink, ImageFiles)
    return fuse_on_ray(how.pop("load", load), source, sink, writing, Options(), cluster, **how)


def contents(folder: Path) -> dict[str, bytes]:
    found = {path.name: path.read_bytes() for path in folder.iterdir()}
    found.pop(NAME, None)
    return found


@pytest.mark.filterwarnings("ignore")  # of Ray, about what it will change
def test_a_folder_is_fused_though_a_machine_dies(
    sources: tuple[Path, Path], machines: list[Any], tmp_path: Path
) -> None:
    source = open_source(*sources, Reading())
    plain = fuse_all(load(), source, open_sink(source, Writing(tmp_path / "plain")))
    cluster, other = machines
    output = tmp_path / "out"
    names: list[str] = []

    def kill() -> None:
        while len(list(output.glob("*.png"))) < 3:
            time.sleep(0.01)
        cluster.remove_node(other, allow_graceful=False)

    threading.Thread(target=kill, daemon=True).start()
    found = run(sources, output, after=names.append)
    assert sorted((*found.done, *found.kept)) == sorted(plain.done)
    assert list(found.failed) == ["05"]
    assert sorted(names) == sorted(pair.name for pair in source.pairs)  # type: ignore[attr-defined]
    assert contents(output) == contents(tmp_path / "plain")

    again = run(sources, output)  # the survivor; nothing is left but the pair that failed
    assert (again.done, len(again.kept), list(again.failed)) == ([], COUNT - 1, ["05"])
    with pytest.raises(InputError, match="were made with another network"):
        run(sources, output, load=_maximum)
    assert contents(output) == contents(tmp_path / "plain")

    for problem in (_refuse, _die):
        broken = tmp_path / problem.__name__
        with pytest.raises(InputError, match=r"not here\.$|workers die before they begin"):
            run(sources, broken, Cluster(workers=1, patience=60), load=_elsewhere(problem))
        shutil.rmtree(broken)

    with pytest.raises(InputError, match="the cluster has given no worker in 3 s"):
        run(sources, tmp_path / "none", Cluster(workers=1, cpus=99, patience=3))


def _maximum() -> FusionModel:
    return create_model("max").eval()


@pytest.mark.filterwarnings("ignore")  # of Ray, about what it will change
@pytest.mark.usefixtures("machines")
def test_the_flag_does_the_same(sources: tuple[Path, Path], tmp_path: Path) -> None:
    words = [*map(str, sources), "--model", "mean", "--device", "cpu", "--quiet"]
    assert cli.run(["fuse", *words, "-o", str(tmp_path / "here")]) == 1  # one is no image
    assert cli.run(["fuse", *words, "-o", str(tmp_path / "ray"), "--engine", "ray"]) == 1
    here, there = (contents(tmp_path / name) for name in ("here", "ray"))
    images = {name for name in here if name.endswith(".png")}
    assert len(images) == COUNT - 1
    assert all(here[name] == there[name] for name in images)


def _refuse() -> None:
    raise InputError("the weights are not here.")


def _die() -> None:
    os._exit(1)


def _elsewhere(act: Any) -> Any:
    """A network that loads in this process only."""
    driver = os.getpid()

    def load() -> FusionModel:
        if os.getpid() != driver:
            act()
        return create_model("mean").eval()

    return load


def test_one_bad_pair_does_not_stop_a_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it raises."""
    from cddfuse.pipeline import Summary

    worker = ray_fuse.Worker(None)  # type: ignore[arg-type]

    def fused(pairs: Any, options: Any) -> Summary:
        if any(pair.name == "2" for pair in pairs):
            raise ZeroDivisionError("a bug")
        return Summary([pair.name for pair in pairs])

    monkeypatch.setattr(worker, "_fused", fused)
    monkeypatch.setattr(worker, "_task", type("Task", (), {"options": Options()}))
    from cddfuse.io import PairedPaths

    pairs = [PairedPaths(str(n), tmp_path / f"{n}.png", tmp_path / f"{n}.tif") for n in range(4)]
    found = worker.fuse(pairs, check=False)
    assert found.done == ["0", "1", "3"]
    assert str(found.failed["2"]).endswith("(ZeroDivisionError('a bug')).")
