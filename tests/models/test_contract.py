"""What every network of the zoo promises. A new network is tested here without a new line."""

from pathlib import Path

import pytest
import torch

from cddfuse import ImagePair, create_model, fuse, read_pair
from cddfuse.colour import luma
from cddfuse.models import MODELS, FusionModel, save_weights


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> FusionModel:
    for package in MODELS[request.param].card.requires:
        pytest.importorskip(package)
    torch.manual_seed(0)
    return create_model(request.param)


@pytest.fixture
def learner(model: FusionModel) -> FusionModel:
    """The model, if it has anything to learn."""
    if not any(True for _ in model.parameters()):
        pytest.skip("there is nothing to learn")
    return model


def pair(*shape: int, colour: bool = False) -> ImagePair:
    random = torch.Generator().manual_seed(1)
    return ImagePair(
        torch.rand(3 if colour else 1, *shape, generator=random),
        torch.rand(1, *shape, generator=random),
    )


@pytest.mark.parametrize("size", [(32, 32), (37, 51), (8, 64), (1, 1), (1, 9), (5, 7)], ids=str)
@pytest.mark.parametrize("colour", [False, True], ids=["grey", "colour"])
def test_output_is_an_image_like_the_first(
    model: FusionModel, size: tuple[int, int], colour: bool
) -> None:
    source = pair(*size, colour=colour)
    fused = fuse(model, source)
    assert fused.shape == source.first.shape
    assert fused.dtype == source.first.dtype
    assert 0 <= fused.min() <= fused.max() <= 1


def fitting(model: FusionModel) -> tuple[torch.Tensor, torch.Tensor]:
    """A pair that the network takes without padding."""
    side = max(16, model.card.smallest)
    side = -(-side // model.card.multiple_of) * model.card.multiple_of
    first, second, _ = pair(side, side + model.card.multiple_of)
    return first[None], second[None]


def test_network_itself_keeps_to_the_range(model: FusionModel) -> None:
    first, second = fitting(model)
    with torch.inference_mode():
        fused = model(first, second)
    assert fused.shape == first.shape
    assert 0 <= fused.min() <= fused.max() <= 1


def test_batch_equals_one_by_one(model: FusionModel) -> None:
    one = pair(16, 24)
    two = ImagePair(one.first.flip(-1), one.second.flip(-1))
    batch = ImagePair(torch.stack([one.first, two.first]), torch.stack([one.second, two.second]))
    together = fuse(model, batch)
    torch.testing.assert_close(together[0], fuse(model, one))
    torch.testing.assert_close(together[1], fuse(model, two))


@pytest.mark.parametrize("changed", ["first", "second"])
def test_both_images_matter(model: FusionModel, changed: str) -> None:
    source = pair(16, 24)
    other = source._replace(**{changed: 1 - getattr(source, changed)})
    assert torch.equal(fuse(model, source), fuse(model, source))
    alone = {"first", "second"} & {model.card.name}
    assert torch.allclose(fuse(model, source), fuse(model, other)) == bool(alone - {changed})


def test_every_parameter_learns(learner: FusionModel) -> None:
    model = learner
    first, second = fitting(model)
    weight = torch.rand(first.shape, generator=torch.Generator().manual_seed(2))
    (model(first, second) * weight).sum().backward()
    idle = {name for name, x in model.named_parameters() if x.grad is None or not x.grad.any()}
    spared = {name for name, _ in model.named_parameters() if name.startswith(spare(model))}
    assert idle == spared


def spare(model: FusionModel) -> tuple[str, ...]:
    return tuple(f"{part}." for part in model.card.training_only)


@pytest.mark.parametrize("of", ["first", "second"])
def test_receptive_radius_is_the_least_that_holds(learner: FusionModel, of: str) -> None:
    model = learner
    radius = model.card.receptive_radius
    if radius is None:
        pytest.skip("every pixel depends on the whole image")
    side = 2 * radius + 5
    first, second = (x[None].requires_grad_() for x in pair(side, side)[:2])
    fused = model(first, second)
    inside = ((fused > 0) & (fused < 1))[0, 0].nonzero()  # where nothing is clipped
    row, column = min(inside.tolist(), key=lambda x: abs(x[0] - side // 2) + abs(x[1] - side // 2))
    fused[0, 0, row, column].backward()
    source = first if of == "first" else second
    assert source.grad is not None
    distances = (source.grad[0, 0].nonzero() - torch.tensor([row, column])).abs()
    assert distances.max() == radius


def test_made_ready_to_fuse(model: FusionModel) -> None:
    assert not any(module.training for module in model.modules())
    assert {weight.device.type for weight in model.parameters()} <= {"cpu"}


def test_saved_and_loaded_it_is_the_same(learner: FusionModel, tmp_path: Path) -> None:
    model = learner
    path = tmp_path / "weights.safetensors"
    save_weights(model, path)
    again = create_model(model.card.name, path)
    assert torch.equal(fuse(again, pair(16, 24)), fuse(model, pair(16, 24)))


def test_card_is_filed_under_its_own_name(model: FusionModel) -> None:
    assert MODELS[model.card.name] is type(model)
    assert model.card.paper.startswith("https://" if model.card.published else "")
    assert model.card.multiple_of >= 1
    assert model.card.smallest >= 1
    assert model.card.tasks
    assert model.card.parameters == sum(weight.numel() for weight in model.parameters())
    assert set(model.card.training_only) <= {name for name, _ in model.named_children()}


def test_weights_on_the_card_load_and_are_described(model: FusionModel) -> None:
    for name, weights in model.card.weights.items():
        assert weights.licence, name
        assert weights.trained_on, name
        assert weights.location.startswith(f"{model.card.name}-")
        trained = create_model(model.card.name, name)
        assert sum(x.numel() * x.itemsize for x in trained.state_dict().values()) <= 5e6


STREET = Path(__file__).parents[2] / "examples"


def test_shipped_weights_fuse_both_sources(model: FusionModel) -> None:
    source = read_pair(STREET / "night_visible.png", STREET / "night_infrared.png")
    first, second = (luma(x)[:, 150:246, 150:246] for x in (source.first, source.second))
    for name in model.card.weights:
        fused = fuse(create_model(model.card.name, name), ImagePair(first, second))
        likeness = [_correlation(fused, x) for x in (first, second, first + second)]
        assert min(likeness) > 0.2, (name, likeness)
        assert likeness[2] > 0.8, (name, likeness)


def _correlation(one: torch.Tensor, two: torch.Tensor) -> float:
    return float(torch.corrcoef(torch.stack([one.flatten(), two.flatten()]))[0, 1])
