"""Networks and what they are trained by."""

import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from cddfuse.datasets.labels import Box
from cddfuse.downstream import instruments, learning
from cddfuse.downstream.inputs import Arrays
from cddfuse.downstream.learning import Training, steps_within, train
from cddfuse.downstream.networks import NETWORKS, WHOLE, centernet
from cddfuse.downstream.networks.backbone import ResNet, SmallBackbone, pretrained_backbone
from cddfuse.downstream.networks.segformer import Attention
from cddfuse.errors import InputError

BOXES = [[Box(0, (8.0, 12.0, 24.0, 44.0)), Box(1, (41.0, 3.0, 61.0, 17.0))], []]


def perfect_output(wanted: centernet.Targets) -> tuple[Tensor, Tensor]:
    heat = torch.where(wanted.heat == 1, 9.0, -9.0)
    return heat, wanted.sizes


def test_boxes_survive_being_made_targets() -> None:
    wanted = centernet.targets(BOXES, 2, 48, 64)
    found = centernet.decode(*perfect_output(wanted), most=2)
    for box in BOXES[0]:
        (place,) = torch.nonzero(found[0].classes == box.label)
        torch.testing.assert_close(found[0].corners[place[0]], torch.tensor(box.corners))
    assert found[1].scores.max() < 0.01
    assert wanted.centres.sum() == 2


def test_loss_is_least_where_the_network_is_right() -> None:
    wanted = centernet.targets(BOXES, 2, 48, 64)
    heat, sizes = perfect_output(wanted)
    right = centernet.loss(heat, sizes, wanted)
    assert right < 0.01 < centernet.loss(-heat, sizes, wanted)
    assert centernet.loss(heat, sizes + 1, wanted) == pytest.approx(float(right) + 4, abs=1e-3)


def test_ignored_boxes_are_no_objects_and_no_background() -> None:
    crowd = [[Box(0, (8.0, 12.0, 24.0, 44.0), ignored=True)]]
    wanted = centernet.targets(crowd, 1, 48, 64)
    silent, inside = torch.full((1, 1, 12, 16), -9.0), torch.full((1, 1, 12, 16), -9.0)
    inside[0, 0, 3:11, 2:6] = 9
    sizes = torch.zeros(1, 4, 12, 16)
    assert centernet.loss(inside, sizes, wanted) == centernet.loss(silent, sizes, wanted)
    inside[0, 0, 0, 0] = 9
    assert centernet.loss(inside, sizes, wanted) > 1


@pytest.mark.parametrize("name", [*NETWORKS, *WHOLE])
def test_networks_have_a_map_of_stride_four_and_every_parameter_learns(name: str) -> None:
    network = instruments.build(name, 4, 3, seed=0)
    output = network(torch.rand(2, 4, 48, 80))
    maps = output if isinstance(output, tuple) else (output,)
    assert [m.shape[-2:] for m in maps] == [(12, 20)] * len(maps)
    assert maps[0].shape[1] == 3
    sum(m.square().mean() for m in maps).backward()
    assert not [n for n, weight in network.named_parameters() if weight.grad is None]


def test_a_transformer_learns_where_bright_pixels_are() -> None:
    network = instruments.build("segformer", 3, 2, seed=0)
    optimizer = torch.optim.AdamW(network.parameters(), 2e-3)
    rng = torch.Generator().manual_seed(0)
    for _ in range(25):
        image = (
            torch.rand(2, 1, 8, 12, generator=rng).repeat_interleave(4, 2).repeat_interleave(4, 3)
        )
        wanted = (image[:, 0, ::4, ::4] > 0.5).long()
        output = network(image.expand(-1, 3, -1, -1))
        torch.nn.functional.cross_entropy(output, wanted).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert (output.argmax(1) == wanted).float().mean() > 0.8


def test_reduced_attention_sees_the_edges() -> None:
    torch.manual_seed(0)
    attention = Attention(8, 2, reduction=8)
    tokens = torch.rand(1, 12 * 20, 8)
    changed = tokens.clone()
    changed[0, -1] += 1
    before, after = attention(tokens, 12, 20), attention(changed, 12, 20)
    assert (before[0, 0] - after[0, 0]).abs().max() > 1e-5


def test_initial_weights_depend_on_the_seed_alone() -> None:
    before = torch.random.get_rng_state()
    one, same, other = (instruments.build("unet", 3, 2, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    first, again, differs = (next(n.parameters()) for n in (one, same, other))
    assert torch.equal(first, again)
    assert not torch.equal(first, differs)


def test_a_pretrained_backbone_is_loaded_for_three_and_four_channels(tmp_path: Path) -> None:
    source = ResNet(3)
    state = {**source.state_dict(), "fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1)}
    torch.save(state, tmp_path / "resnet18.pth")
    loaded = pretrained_backbone(tmp_path / "resnet18.pth", 4)
    torch.testing.assert_close(loaded.conv1.weight[:, :3], source.conv1.weight)
    torch.testing.assert_close(loaded.conv1.weight[:, 3], source.conv1.weight.mean(1))
    image = torch.rand(1, 4, 32, 32)
    shapes = [f.shape[1:] for f in loaded.eval()(image)]
    assert shapes == [(64, 8, 8), (128, 4, 4), (512, 2, 2)]
    network = instruments.build("deeplabv3plus", 3, 2, 0, tmp_path / "resnet18.pth")
    assert network.eval()(image[:, :3]).shape == (1, 2, 8, 8)


def test_files_that_are_no_backbone_are_named(tmp_path: Path) -> None:
    (tmp_path / "text.pth").write_text("none")
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pth")
    torch.save([1], tmp_path / "list.pth")
    for name, message in (
        ("text.pth", "cannot be read as weights"),
        ("other.pth", "does not have the weights of a ResNet-18"),
        ("list.pth", "is no state dict"),
        ("none.pth", "cannot be read as weights"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            pretrained_backbone(tmp_path / name, 3)
        assert caught.value.setting == "backbone"


class Brightness:
    """Learn the mean of an image."""

    count = 5

    def targets(self, places: Sequence[int], flipped: Sequence[bool]) -> Tensor:
        return torch.tensor([place / 5 for place in places])

    def loss(self, output: Tensor, wanted: Tensor) -> Tensor:
        return (output.mean((1, 2, 3)) - wanted).square().mean()


def brightness_images() -> list[Arrays]:
    import numpy as np

    rng = np.random.default_rng(0)
    levels = np.arange(6, dtype=np.uint8)[:, None, None, None] * 50
    return [levels + rng.integers(0, 5, (6, 3, 16, 16), dtype=np.uint8)]


def small_network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Dropout(0.5), nn.Conv2d(4, 1, 3))


def trained(checkpoint: Path | None, steps: int = 12, stop: int | None = None) -> Tensor:
    def after(step: int) -> None:
        if step == stop:
            raise KeyboardInterrupt

    network = small_network()
    setting = Training(steps, 2)
    train(
        network, brightness_images(), Brightness(), setting, 3, checkpoint=checkpoint, after=after
    )
    return torch.cat([weight.detach().flatten() for weight in network.parameters()])


def test_training_that_was_stopped_goes_on_exactly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning, "_SAVED_EVERY", -1.0)
    whole, state = trained(None), tmp_path / "state.pt"
    with pytest.raises(KeyboardInterrupt):
        trained(state, stop=7)
    assert state.is_file()
    assert torch.equal(trained(state), whole)
    assert not state.exists()
    state.write_bytes(b"damaged")
    assert torch.equal(trained(state), whole)


def test_training_learns_and_refuses_what_is_no_number() -> None:
    network = small_network()
    images = brightness_images()
    task = Brightness()
    train(network, images, task, Training(150, 4, 1e-2), 0)
    said = network(torch.from_numpy(images[0][:5]).float() / 255).mean((1, 2, 3))
    assert (said[1:] > said[:-1]).all()
    with pytest.raises(InputError, match="training came apart at step 1 with seed 0"):
        train(small_network(), images, task, Training(3, 2, math.inf), 0)


def test_a_budget_is_a_number_of_steps() -> None:
    args = brightness_images(), Brightness(), Training(1, 2), "cpu"
    few = steps_within(1e-9, small_network(), *args)
    many = steps_within(60, small_network(), *args)
    assert few == 1
    assert many > 100


def test_a_budget_is_measured_on_one_core_as_trainings_are() -> None:
    class Counted(Brightness):
        def loss(self, output: Tensor, wanted: Tensor) -> Tensor:
            threads.append(torch.get_num_threads())
            return super().loss(output, wanted)

    threads: list[int] = []
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        args = brightness_images(), Counted(), Training(1, 2), "cpu"
        steps_within(1, small_network(), *args)
    finally:
        torch.set_num_threads(before)
    assert set(threads) == {1}


def test_weights_are_kept(tmp_path: Path) -> None:
    network = instruments.build("centernet", 3, 2, 0)
    instruments.save(network, tmp_path / "a.safetensors", {"instrument": "centernet"})
    other = instruments.build("centernet", 3, 2, 1)
    assert instruments.restore(other, tmp_path / "a.safetensors")
    image = torch.rand(1, 3, 32, 32)
    torch.testing.assert_close(other(image), network.eval()(image))
    assert not instruments.restore(
        instruments.build("centernet", 3, 3, 0), tmp_path / "a.safetensors"
    )
    assert SmallBackbone(3).widths == (48, 72, 96)
