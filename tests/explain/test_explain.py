"""Explanations: laws that hold for every network, and cases worked by hand."""

import pytest
import torch
from torch import Tensor, nn

from cddfuse import ImagePair, create_model
from cddfuse.errors import InputError
from cddfuse.explain import Settings, decomposing, explain
from cddfuse.explain.contributions import shares
from cddfuse.explain.features import correlations, displayed
from cddfuse.losses import correlation
from cddfuse.models import MODELS, Card, FusionModel
from cddfuse.models.base import Decomposed, Part

# PyTorch compiles parts of its forward-mode derivatives by a function that it deprecates itself.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")

QUICK = Settings(size=48, directions=0)


def pair(height: int = 40, width: int = 48) -> ImagePair:
    random = torch.Generator().manual_seed(1)
    first, second = torch.rand(2, 1, height, width, generator=random)
    return ImagePair(first, second, "scene")


@pytest.mark.parametrize("name", MODELS)
def test_parts_joined_are_the_result(name: str) -> None:
    for package in MODELS[name].card.requires:
        pytest.importorskip(package)
    torch.manual_seed(0)
    model = create_model(name)
    first, second = (image[None] for image in pair()[:2])
    with torch.no_grad():
        found = model.decomposed(first, second)
        assert (found is not None) == (name in decomposing())
        if found is not None:
            parts = {kind: part.fused for kind, part in found.parts.items()}
            joined = found.join(parts, found.residual)
            torch.testing.assert_close(joined, model(first, second), atol=1e-6, rtol=0)


def test_networks_of_the_issue_decompose() -> None:
    assert {"cddfuse", "didfuse"} <= set(decomposing())


class Weighted(FusionModel):
    """0.6 of the first and 0.2 of the second, in two parts, and a residual."""

    card = Card(name="weighted", paper="")

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Add up."""
        return 0.6 * first + 0.2 * second

    def decomposed(self, first: Tensor, second: Tensor) -> Decomposed:
        """Half of the first is the residual."""
        parts = {
            "base": Part(first, first, 0.1 * first),
            "detail": Part(first, 1 - first, 0.2 * second),
        }

        def join(fused: dict[str, Tensor], residual: Tensor | None) -> Tensor:
            image = fused["base"] + fused["detail"]
            return image if residual is None else image + residual

        return Decomposed(parts, join, 0.5 * first)  # type: ignore[arg-type]


def test_worked_case() -> None:
    source = pair()
    found = explain(Weighted().eval(), source, Settings(directions=3))
    assert found.share is not None
    torch.testing.assert_close(found.share, torch.full_like(found.share, 0.75))
    torch.testing.assert_close(
        found.parts["base"].without, 0.5 * source.first + 0.2 * source.second
    )
    torch.testing.assert_close(found.parts["detail"].without, 0.6 * source.first)
    assert found.without_residual is not None
    torch.testing.assert_close(found.without_residual, 0.1 * source.first + 0.2 * source.second)
    for kind, expected in (("base", 1.0), ("detail", -1.0)):
        for values in (found.parts[kind].correlation, found.parts[kind].correlation_inside):
            assert values is not None
            assert float(values) == pytest.approx(expected)


class Blur(FusionModel):
    """A convolution of each source, whose gradient is known."""

    card = Card(name="blur", paper="")

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(1, 1, 3, padding=1, bias=False)
        self.two = nn.Conv2d(1, 1, 3, padding=1, bias=False)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Add up."""
        return self.one(first) + self.two(second)


def test_shares_converge_to_the_length_of_the_gradient() -> None:
    torch.manual_seed(3)
    model = Blur().eval().requires_grad_(False)
    first, second = (image[None] for image in pair(32, 32)[:2])
    found = shares(model, first, second, directions=64)
    lengths = [float(layer.weight.norm()) for layer in (model.one, model.two)]
    assert found is not None
    inner = found[..., 8:-8, 8:-8]
    assert (inner - lengths[0] / sum(lengths)).abs().max() < 0.03


@pytest.mark.parametrize(("name", "expected"), [("first", 1.0), ("second", 0.0), ("mean", 0.5)])
def test_shares_of_trivial_methods(name: str, expected: float) -> None:
    first, second = (image[None] for image in pair(16, 16)[:2])
    found = shares(create_model(name), first, second, directions=1)
    assert found is not None
    assert (found == expected).all()


def test_no_gradient_no_shares() -> None:
    first, second = (image[None] for image in pair(16, 16)[:2])
    assert shares(create_model("laplacian"), first, second) is None


def test_correlation_is_that_of_the_loss() -> None:
    random = torch.Generator().manual_seed(5)
    one, two = torch.rand(2, 2, 7, 9, 11, generator=random)
    found = correlations(one, two + one)
    torch.testing.assert_close(found.mean().float(), correlation(one, two + one))
    assert correlations(one, torch.ones_like(one)).isnan().all()


def test_the_border_is_left_out_of_the_inner_correlation() -> None:
    class Framed(Weighted):
        def decomposed(self, first: Tensor, second: Tensor) -> Decomposed:
            framed = [image.clone() for image in (first, second)]
            for image in framed:
                image[..., 0, :] = 50
            return Decomposed(
                {"base": Part(framed[0], framed[1], first)}, lambda fused, _: fused["base"]
            )

    found = explain(Framed().eval(), pair(), QUICK).parts["base"]
    assert found.correlation is not None
    assert found.correlation_inside is not None
    assert float(found.correlation) > 0.9
    assert abs(float(found.correlation_inside)) < 0.1


def test_large_images_are_reduced_and_too_large_ones_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = explain(Weighted().eval(), pair(60, 120), Settings(size=40, directions=0))
    assert found.fused.shape == (1, 20, 40)
    assert found.original == (60, 120)
    monkeypatch.setattr("cddfuse.explain.memory.budget", lambda device: 1000)
    with pytest.raises(InputError, match=r"takes about .* use a smaller size"):
        explain(create_model("guided"), pair(), QUICK)
    with pytest.raises(InputError, match="too small for defusion"):
        explain(create_model("defusion"), pair(12, 40), QUICK)


def test_networks_that_do_not_decompose_are_refused() -> None:
    with pytest.raises(InputError, match=r"u2fusion does not take images apart.*cddfuse") as error:
        explain(create_model("u2fusion"), pair(), QUICK)
    assert error.value.setting == "model"


def test_displayed_maps_share_a_scale() -> None:
    one, two = torch.linspace(0, 1, 100)[None], torch.linspace(1, 2, 100)[None]
    shown = displayed(one, two)
    assert shown[0].max() < 0.51
    assert shown[1].min() > 0.49
    assert (displayed(torch.ones(1, 5))[0] == 0.5).all()
