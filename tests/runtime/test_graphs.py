"""Captures of a network, with what stands in for a GPU: operations that are done again.

Whether CUDA captures the same is for the test at the end, which needs a GPU.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from cddfuse import create_model
from cddfuse.errors import InputError
from cddfuse.history import History, steady
from cddfuse.models.base import FusionModel
from cddfuse.runtime import Limits, run
from cddfuse.runtime.cddfuse import engine
from cddfuse.runtime.graphs import Capture, Graphs, Job, graphs_of, state_of

_WAITS = (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default)


class Tape(TorchDispatchMode):
    """Records operations with their tensors and constants, as CUDA does."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: list[tuple[Callable[..., Any], Any, Any, list[Tensor]]] = []

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        assert operation not in _WAITS, "a capture cannot wait for a value"
        results = operation(*args, **(kwargs or {}))
        places = {x.untyped_storage()._cdata for x in tensors((args, kwargs))}
        new = [x for x in tensors(results) if x.untyped_storage()._cdata not in places]
        if new or operation._schema.is_mutable:  # views show what is there
            self.operations.append((operation, args, kwargs or {}, new))
        return results

    def play(self) -> None:
        """Do all of it again, on the same tensors."""
        for operation, args, kwargs, new in self.operations:
            again = tensors(operation(*args, **kwargs))
            for kept, result in zip(new, again if new else (), strict=True):
                kept.copy_(result)


def tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


class Recorder:
    """Records on a CPU."""

    def __init__(self) -> None:
        self.count = 0
        self.replays = 0

    def __call__(self, job: Job) -> Capture:
        self.count += 1
        with Tape() as tape:
            results = job()

        def replay() -> None:
            self.replays += 1
            tape.play()

        return Capture(results, replay)


def work(first: Tensor, second: Tensor) -> Tensor:
    return first * steady(second.mean((1, 2, 3))) + steady(first.amax((1, 2, 3)))


def pair(seed: int, *shape: int) -> tuple[Tensor, Tensor]:
    first, second = torch.rand(2, *shape, generator=torch.Generator().manual_seed(seed))
    return first, second


def test_the_second_of_a_size_is_captured_and_later_ones_replayed() -> None:
    recorder = Recorder()
    graphs = Graphs(recorder)
    results = []
    for seed in range(4):
        images = pair(seed, 1, 1, 6, 5)
        results.append((graphs(work, "state", *images), work(*images)))
    assert (recorder.count, recorder.replays) == (1, 3)
    for fused, expected in results:  # compared at last: none is overwritten by the next
        assert torch.equal(fused, expected)


def test_sizes_and_states_that_change_are_not_captured() -> None:
    recorder = Recorder()
    graphs = Graphs(recorder)
    for seed in range(6):
        images = pair(seed, 1, 1, 6, 5 + seed % 2)
        assert torch.equal(graphs(work, "state", *images), work(*images))
    for state in range(6):
        graphs(work, state, *pair(0, 1, 1, 6, 5))
    assert recorder.count == 0


def test_few_captures_are_kept_and_those_used_last() -> None:
    recorder = Recorder()
    graphs = Graphs(recorder)

    def twice(width: int) -> int:
        for _ in range(2):
            graphs(work, "state", *pair(0, 1, 1, 6, width))
        return recorder.count

    assert [twice(width) for width in (5, 6, 5, 7, 5, 6)] == [1, 2, 2, 3, 3, 4]


def test_frames_of_a_clip_are_smoothed_as_without() -> None:
    recorder = Recorder()
    graphs, ours, theirs = Graphs(recorder), History(4), History(4)
    for seed in range(7):
        images = pair(seed, 1, 1, 6, 5)
        with ours.frame():
            fused = graphs(work, "state", *images)
        with theirs.frame():
            expected = work(*images)
        torch.testing.assert_close(fused, expected, atol=1e-7, rtol=0)
        assert seed == 0 or (fused - work(*images)).abs().max() > 0.01
    assert (recorder.count, recorder.replays) == (1, 5)  # the first two had no past, or just one


def test_a_clip_that_begins_again_has_no_past() -> None:
    graphs = Graphs(Recorder())
    for _ in range(2):
        history = History()
        for seed in range(4):
            images = pair(seed, 1, 1, 6, 5)
            with history.frame():
                fused = graphs(work, "state", *images)
            if not seed:
                assert torch.equal(fused, work(*images))


def test_what_cannot_be_captured_goes_on_without(caplog: pytest.LogCaptureFixture) -> None:
    def refuse(_: Job) -> Capture:
        raise RuntimeError("operation not permitted when stream is capturing\nand so on")

    graphs = Graphs(refuse)
    for seed in range(4):
        images = pair(seed, 1, 1, 6, 5)
        assert torch.equal(graphs(work, "state", *images), work(*images))
    assert caplog.messages == [
        "no CUDA graph of this network (operation not permitted when stream is capturing): "
        "going on without"
    ]


def test_captures_make_room_for_what_needs_memory() -> None:
    recorder = Recorder()
    graphs, images = Graphs(recorder), pair(0, 1, 1, 6, 5)
    for _ in range(2):
        graphs(work, "state", *images)
    calls = []

    def large(first: Tensor, second: Tensor) -> Tensor:
        calls.append(steady(first.mean()))
        if len(calls) == 1:
            raise torch.OutOfMemoryError
        return first

    history = History()
    with history.frame():
        assert torch.equal(graphs(large, "large", *images), images[0])
    assert (len(calls), history.place) == (2, 1)
    graphs(work, "state", *images)
    graphs(work, "state", *images)
    assert recorder.count == 2


def test_full_memory_without_captures_is_told() -> None:
    def full(*_: Any) -> Tensor:
        raise torch.OutOfMemoryError

    with pytest.raises(torch.OutOfMemoryError):
        Graphs(Recorder())(full, "state", *pair(0, 1, 1, 6, 5))


def test_no_memory_for_a_capture(caplog: pytest.LogCaptureFixture) -> None:
    tries = []

    def full(_: Job) -> Capture:
        tries.append(1)
        raise torch.OutOfMemoryError("CUDA out of memory")

    graphs, images = Graphs(full), pair(0, 1, 1, 6, 5)
    for _ in range(4):
        assert torch.equal(graphs(work, "state", *images), work(*images))
    assert len(tries) == len(caplog.messages) == 1


@pytest.mark.parametrize(
    ("name", "limits"),
    [("cddfuse_small", Limits(graphs=True)), ("cddfuse", Limits(graphs=True, kernels="eager"))],
)
def test_networks(name: str, limits: Limits, monkeypatch: pytest.MonkeyPatch) -> None:
    model, recorder = create_model(name), Recorder()
    graphs = Graphs(recorder)
    monkeypatch.setattr(import_module("cddfuse.runtime.run"), "graphs_of", lambda _: graphs)
    monkeypatch.setattr(engine, "require_graphs", lambda _: None)
    ours, theirs = History(), History()
    plain = Limits(kernels=limits.kernels)
    for seed in range(5):
        images = pair(seed, 1, 1, 20, 17)
        with ours.frame(), torch.inference_mode():
            fused = run(model, *images, limits)
        with theirs.frame(), torch.inference_mode():
            expected = run(model, *images, plain)
        torch.testing.assert_close(fused, expected, atol=1e-6, rtol=0)
    assert (recorder.count, recorder.replays) == (1, 3)
    weight = next(model.parameters())
    for count in (2, 3):
        for _ in range(2):
            with torch.inference_mode():
                both = run(model, *images, limits), run(model, *images, plain)
            torch.testing.assert_close(*both, atol=1e-6, rtol=0)
        assert recorder.count == count
        weight.data = weight.data + 0.1  # elsewhere in memory


def changed(model: FusionModel, **options: Any) -> bool:
    """Whether options change what is fused after three images."""
    limits, images = Limits(graphs=True), pair(7, 1, 1, 24, 32)
    for _ in range(3):
        run(model, *images, limits)
    for name, value in options.items():
        setattr(model, name, value)
    images = 0 * images[0], 0 * images[1]
    fused, expected = run(model, *images, limits), run(model, *images)
    return torch.equal(fused, expected)


@torch.inference_mode()
def test_changed_options_count_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    graphs = Graphs(Recorder())
    monkeypatch.setattr(import_module("cddfuse.runtime.run"), "graphs_of", lambda _: graphs)
    monkeypatch.setattr(engine, "require_graphs", lambda _: None)
    assert changed(create_model("cddfuse_small"), keep_black=True)
    assert changed(create_model("cddfuse_small"), training=True)


@torch.inference_mode()
def test_clips_have_time_constants_of_their_own() -> None:
    graphs = Graphs(Recorder())
    for frames in (30, 2):
        ours, theirs = History(frames), History(frames)
        for seed in range(4):
            found = []
            for history, fuse in ((ours, graphs), (theirs, None)):
                with history.frame():
                    images = pair(seed, 1, 1, 6, 5)
                    found.append(fuse(work, "state", *images) if fuse else work(*images))
            torch.testing.assert_close(*found, atol=1e-6, rtol=0)


@torch.inference_mode()
def test_tiles_of_a_clip_are_not_mixed_up(monkeypatch: pytest.MonkeyPatch) -> None:
    model, graphs = create_model("cddfuse_small"), Graphs(Recorder())
    monkeypatch.setattr(import_module("cddfuse.runtime.run"), "graphs_of", lambda _: graphs)
    monkeypatch.setattr(engine, "require_graphs", lambda _: None)
    ours, theirs = History(), History()
    for seed in range(4):
        images = pair(seed, 1, 1, 128, 64)
        images = images[0] * torch.linspace(0.2, 1, 128)[:, None], images[1]
        with ours.frame():
            fused = run(model, *images, Limits(tile=64, graphs=True))
        with theirs.frame():
            expected = run(model, *images, Limits(tile=64))
        torch.testing.assert_close(fused, expected, atol=1e-6, rtol=0)


def test_weights_elsewhere_are_another_state() -> None:
    model = create_model("cddfuse_small")
    before = state_of(model)
    assert state_of(model) == before
    buffer = next(model.buffers())
    buffer.data = buffer.data.clone()
    assert state_of(model) != before


def test_captures_end_with_their_network() -> None:
    model = create_model("cddfuse_small")
    graphs = graphs_of(model)
    assert graphs_of(model) is graphs
    assert graphs_of(create_model("cddfuse_small")) is not graphs


def test_other_devices_have_none() -> None:
    with pytest.raises(InputError, match="CUDA graphs need a CUDA GPU, and this is cpu: leave"):
        run(create_model("cddfuse_small"), *pair(0, 1, 1, 8, 8), Limits(graphs=True))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(
    ("name", "limits"),
    [
        ("cddfuse_small", {}),
        ("cddfuse", {}),
        ("cddfuse", {"kernels": "eager"}),
        ("cddfuse", {"kernels": "eager", "band": 16}),
    ],
)
@torch.inference_mode()
def test_on_a_gpu(name: str, limits: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    model = create_model(name).to("cuda")
    histories = History(), History()
    for seed in range(6):
        found = []
        for history, graphs in zip(histories, (True, False), strict=True):
            with history.frame():
                first, second = (x.cuda() for x in pair(seed, 1, 1, 48, 40))
                found.append(run(model, first, second, Limits(**limits, graphs=graphs)))
        torch.testing.assert_close(*found, atol=0.01, rtol=0)
    assert not caplog.messages
