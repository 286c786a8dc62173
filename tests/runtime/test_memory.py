"""Peak memory is counted without data, and what does not fit goes in tiles."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from cddfuse.models import MODELS, Card, FusionModel, create_model
from cddfuse.runtime import Limits, memory, run
from cddfuse.runtime.allocator import kept_memory
from cddfuse.runtime.memory import needed, tensor_bytes


def images(height: int, width: int, batch: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    first, second = torch.rand(2, batch, 1, height, width, generator=generator)
    return first, second


class Maps(FusionModel):
    """So many maps at a time, one after another."""

    card = Card(name="maps", paper="", receptive_radius=0)

    def __init__(self, *channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.scale = nn.Parameter(torch.ones(1))
        self.sizes: list[torch.Size] = []

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Fuse."""
        self.sizes.append(first.shape)
        for count in self.channels:
            maps = (first * self.scale).expand(-1, count, -1, -1) + second
            del maps
        return torch.maximum(first, second)


def test_maps_that_exist_at_the_same_time_count() -> None:
    pixels = 4 * 20 * 30
    # first * scale, and the maps; then only the largest of those after one another
    assert tensor_bytes(Maps(7), 1, 20, 30) == (1 + 7) * pixels
    assert tensor_bytes(Maps(3, 9, 5), 1, 20, 30) == (1 + 9) * pixels
    assert tensor_bytes(Maps(7), 2, 20, 30) == 2 * (1 + 7) * pixels


def test_views_and_weights_do_not_count() -> None:
    class Views(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1000, 1000))

        def forward(self, first: Tensor, second: Tensor) -> Tensor:
            return first.mT.reshape(-1)[:5] * self.weight.mT[0, :5]

    assert tensor_bytes(Views(), 1, 10, 10) < 10 * 10 * 4 + 100


def test_convolutions_take_buffers() -> None:
    class Convolution(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(1, 6, 5, padding=2, bias=False)

        def forward(self, first: Tensor, second: Tensor) -> Tensor:
            return self.layer(first)

    pixels = 40 * 30
    # the result, and both sides with their channels in another order
    assert tensor_bytes(Convolution(), 1, 40, 30) == 4 * pixels * (6 + 6 + 1)
    # in double precision, the window of every pixel
    assert tensor_bytes(Convolution().double(), 1, 40, 30) == 8 * pixels * (6 + 25)


@pytest.mark.parametrize("name", MODELS)
def test_every_network_is_counted_and_grows_with_the_image(name: str) -> None:
    for package in MODELS[name].card.requires:
        pytest.importorskip(package)
    model = create_model(name)
    small, large = needed(model, 1, 128, 160), needed(model, 1, 512, 640)
    assert 0 < small < large
    assert 10 < large / small < 17  # borders count more in the small one
    assert needed(model, 2, 128, 160) == pytest.approx(2 * small, rel=0.01)


COUNTED = {name for name, model in MODELS.items() if model.card.bytes_per_pixel}


@pytest.mark.parametrize("name", sorted(COUNTED - {"laplacian", "dwt"}))  # these are in NumPy
def test_cards_say_what_counting_finds(name: str) -> None:
    per_pixel = MODELS[name].card.bytes_per_pixel
    counted = tensor_bytes(create_model(name), 1, 480, 640) / (480 * 640)
    assert counted == pytest.approx(per_pixel, rel=0.05)


def test_wider_networks_are_counted() -> None:
    sizes = [needed(create_model("cddfuse_small", width=width), 1, 480, 640) for width in (16, 64)]
    assert 3 < sizes[1] / sizes[0] < 4.5


def test_counting_leaves_the_network_alone() -> None:
    model = create_model("didfuse", "ivf")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    tensor_bytes(model, 1, 64, 64)
    for name, tensor in model.state_dict().items():
        assert tensor.device.type == "cpu"
        assert torch.equal(tensor, before[name])


class ByNumber(Maps):
    """It looks at values, which there are none of without data."""

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Fuse."""
        assert float(first.sum()) >= 0
        return super().forward(first, second)


def test_a_network_that_needs_data_is_measured_on_a_small_image() -> None:
    assert needed(ByNumber(7), 1, 400, 500) == pytest.approx(needed(Maps(7), 1, 400, 500), rel=0.01)


def test_a_small_budget_means_tiles_on_a_cpu(caplog: pytest.LogCaptureFixture) -> None:
    model, pair = Maps(40), images(300, 400)
    whole = run(model, *pair)
    assert model.sizes == [(1, 1, 300, 400)]
    budget = needed(model, 1, 300, 400) // 4
    fused = run(model, *pair, Limits(memory=budget))
    assert "400 x 300 pixels need 0.0 GB, of 0.0: tiles of 160 pixels, which join exactly" in (
        caplog.text
    )
    torch.testing.assert_close(fused, whole)
    for _, _, height, width in model.sizes[1:]:
        assert needed(model, 1, height, width) <= budget


def test_tiles_by_budget_are_exact_where_the_card_says_how_far_a_network_looks() -> None:
    model, pair = create_model("didfuse", "ivf"), images(150, 170)
    budget = needed(model, 1, 150, 170) // 3
    with torch.inference_mode():
        fused, whole = run(model, *pair, Limits(memory=budget)), run(model, *pair)
    torch.testing.assert_close(fused, whole, atol=2e-6, rtol=0)


def test_what_is_free_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    model, pair = Maps(40), images(300, 400)
    monkeypatch.setattr(memory, "budget", lambda device: needed(model, 1, 300, 400) // 4)
    run(model, *pair)
    assert len(model.sizes) > 4


def test_a_batch_that_does_not_fit_goes_image_by_image(caplog: pytest.LogCaptureFixture) -> None:
    model, pair = Maps(40), images(80, 90, batch=3)
    budget = needed(model, 2, 80, 90)
    with caplog.at_level(logging.INFO, "cddfuse.runtime"):
        fused = run(model, *pair, Limits(memory=budget))
    assert "fusing one by one" in caplog.text
    assert model.sizes == [(1, 1, 80, 90)] * 3
    torch.testing.assert_close(fused, torch.maximum(*pair))


@pytest.mark.parametrize("text", ["DefaultCPUAllocator: can't allocate memory: you tried", ""])
def test_a_cpu_that_runs_out_of_memory_goes_on_in_tiles(text: str) -> None:
    class Full(Maps):
        def forward(self, first: Tensor, second: Tensor) -> Tensor:
            if first.shape[-1] > 200:
                raise RuntimeError(text) if text else MemoryError
            return super().forward(first, second)

    pair = images(150, 300)
    torch.testing.assert_close(run(Full(2), *pair), torch.maximum(*pair))


def test_other_errors_are_not_taken_for_it() -> None:
    class Broken(Maps):
        def forward(self, first: Tensor, second: Tensor) -> Tensor:
            raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        run(Broken(), *images(100, 100))


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """The limit of a control group."""
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)

    def write(limit: str) -> None:
        (tmp_path / "memory.max").write_text(limit)
        (tmp_path / "memory.current").write_text("900000\n")
        (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 100000\n")

    return write


def test_the_limit_of_a_container_counts(group: Callable[[str], None]) -> None:
    cpu = torch.device("cpu")
    unlimited = memory.budget(cpu)
    group("max\n")
    assert memory.budget(cpu) > unlimited / 2
    group("1000000\n")
    kept = 0.7 * kept_memory()
    assert memory.budget(cpu) == pytest.approx(0.7 * 200_000 + kept, rel=0.2, abs=2_000_000)
