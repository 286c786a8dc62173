"""CDDFuse: agreement with the released implementation, the plain form, options, edge cases."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from released import golden_arrays, golden_values, layout, released_model
from torch import Tensor, nn

from cddfuse.errors import InputError
from cddfuse.models.cddfuse import CDDFuse, ChannelAttention, Residual

HERE = Path(__file__).parent
IMAGES = ("fused_ivf", "fused_mif_retrained", "fused_mif_ivf_weights", "reconstructed_vis")


@pytest.fixture(scope="module")
def model() -> CDDFuse:
    return released_model()


def parameters(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


# The release


def test_parameter_counts_of_the_release(model: CDDFuse) -> None:
    assert parameters(model) == 1_188_272
    assert {name: parameters(part) for name, part in model.named_children()} == {
        "encoder": 599_144,
        "base_fusion": 363_016,
        "detail_fusion": 18_176,
        "decoder": 207_936,
    }
    assert {name: parameters(part) for name, part in model.encoder.named_children()} == {
        "embedding": 576,
        "blocks": 4 * 45_256,
        "base": 363_016,
        "detail": 3 * 18_176,
    }


def test_names_and_shapes_of_the_release() -> None:
    assert golden_values("cddfuse_layout") == {
        module: {f"module.{name}": list(shape) for name, shape in shapes.items()}
        for module, shapes in layout().items()
    }


@torch.inference_mode()
def outputs(model: CDDFuse, first: Tensor, second: Tensor) -> dict[str, Tensor]:
    """Everything that is stored of the released implementation, under the names it has there."""
    one, two, fused = model.decompose(first, second)
    residuals: dict[str, Residual] = {
        "fused_ivf": "first",
        "fused_mif_retrained": "none",
        "fused_mif_ivf_weights": "sum",
    }
    images = {"reconstructed_vis": model.reconstruct(one, first)}
    for name, residual in residuals.items():
        model.residual = residual
        images[name] = model.decoder(fused, model.residual_image(first, second))
    model.residual = "first"
    features = {
        "vis_shallow": model.encoder.blocks(model.encoder.embedding(first)),
        "vis_base": one.base,
        "vis_detail": one.detail,
        "ir_base": two.base,
        "ir_detail": two.detail,
        "fused_base": fused.base,
        "fused_detail": fused.detail,
    }
    return {**images, **features}


@pytest.mark.parametrize("case", ["case0", "case1", "case2"])
def test_every_number_of_the_released_implementation(model: CDDFuse, case: str) -> None:
    # synthetic 8-bit inputs, and the outputs of the released graph with the weights of
    # released.py: torch 2.13 CPU, float32, one thread. Images are whole, features thinned.
    arrays = golden_arrays("cddfuse_forward")
    stored = {name[6:]: array for name, array in arrays.items() if name.startswith(case)}
    first, second = (torch.from_numpy(stored[name]).float() / 255 for name in ("vis", "ir"))
    found = outputs(model, first, second)
    assert found.keys() == stored.keys() - {"vis", "ir"}
    for name, value in found.items():
        expected = torch.from_numpy(stored[name])
        if name in IMAGES:
            torch.testing.assert_close(value, expected, atol=1e-5, rtol=0)
        else:
            # Features reach 12, and the stored float32 values are themselves up to 1.2e-5 away from
            # a run in float64, hence a bound relative to the largest.
            value = value[:, ::8, ::6, ::6]
            torch.testing.assert_close(
                value, expected, atol=1e-5 * float(abs(expected).max()), rtol=0
            )


# The fast form


def plainly() -> Callable[[CDDFuse], CDDFuse]:
    path = HERE.parents[1] / "benchmarks" / "plain.py"
    spec = importlib.util.spec_from_file_location("plain", path)
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.plain


def everything(model: CDDFuse, first: Tensor, second: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """The fused image and both reconstructions, and the gradients of all parameters."""
    one, two, fused = model.decompose(first, second)
    images = torch.stack([
        model(first, second),
        model.decoder(fused, None),
        *model.reconstruct_both(one, two, first, second),
    ])  # fmt: skip
    (images * noise(*images.shape, seed=3).double()).sum().backward()
    gradients = {
        name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None
    }
    assert len(gradients) == len(list(model.parameters()))
    return images.detach(), gradients


def test_fast_form_equals_the_plain_one() -> None:
    fast = released_model().double()
    plain = plainly()(fast)
    pair = noise(2, 1, 8, 11).double(), noise(2, 1, 8, 11, seed=1).double()
    images, gradients = everything(fast, *pair)
    plain_images, plain_gradients = everything(plain, *pair)
    torch.testing.assert_close(images, plain_images, rtol=0, atol=1e-10)
    for name, gradient in plain_gradients.items():
        torch.testing.assert_close(gradients[name], gradient, rtol=1e-10, atol=1e-10, msg=name)


# Laws


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 13), (1, 8, 31), (2, 21, 8)])
def test_any_size_from_eight_and_any_batch(model: CDDFuse, shape: tuple[int, int, int]) -> None:
    batch, height, width = shape
    first, second = noise(batch, 1, height, width), noise(batch, 1, height, width, seed=1)
    with torch.inference_mode():
        fused = model(first, second)
    assert fused.shape == first.shape
    assert 0 < fused.min() < fused.max() < 1


def test_forward_decodes_what_decompose_fuses(model: CDDFuse) -> None:
    first, second = noise(2, 1, 9, 12), noise(2, 1, 9, 12, seed=1)
    with torch.inference_mode():
        found = model.decompose(first, second)
        assert torch.equal(model.decoder(found.fused, first), model(first, second))
        for features, image in ((found.first, first), (found.second, second)):
            for one, other in zip(features, model.encoder(image), strict=True):
                torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_features_are_fused_alike_in_either_order(model: CDDFuse) -> None:
    first, second = noise(1, 1, 9, 12), noise(1, 1, 9, 12, seed=1)
    with torch.inference_mode():
        here, there = model.decompose(first, second), model.decompose(second, first)
    for one, other in ((here.first, there.second), (here.fused, there.fused)):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("residual", ["first", "sum", "none"])
def test_residual_image_is_what_is_added_before_the_sigmoid(residual: Residual) -> None:
    model = released_model(residual)
    first, second = noise(1, 1, 9, 12), noise(1, 1, 9, 12, seed=1)
    added = {"first": first, "sum": first + second, "none": torch.zeros_like(first)}[residual]
    with torch.inference_mode():
        without = model.decoder(model.decompose(first, second).fused, None)
        fused = model(first, second)
    torch.testing.assert_close(fused.logit() - without.logit(), added, rtol=0, atol=1e-5)


def test_both_reconstructions_equal_one_after_the_other(model: CDDFuse) -> None:
    first, second = noise(2, 1, 9, 12), noise(2, 1, 9, 12, seed=1)
    with torch.inference_mode():
        one, two = model.encode(first, second)
        both = model.reconstruct_both(one, two, first, second)
        singly = model.reconstruct(one, first), model.reconstruct(two, second)
    torch.testing.assert_close(both, singly, rtol=0, atol=1e-6)


# Options


@pytest.mark.parametrize("base", ["transformer", "invertible"])
@pytest.mark.parametrize("detail", ["transformer", "invertible"])
def test_branches_can_be_exchanged_or_doubled(base: Any, detail: Any) -> None:
    torch.manual_seed(0)
    model = CDDFuse(base=base, detail=detail)
    in_encoder = {"transformer": 363_016, "invertible": 3 * 18_176}
    in_fusion = {"transformer": 363_016, "invertible": 18_176}
    assert parameters(model.encoder.base) == in_encoder[base]
    assert parameters(model.encoder.detail) == in_encoder[detail]
    assert parameters(model.base_fusion) == in_fusion[base]
    assert parameters(model.detail_fusion) == in_fusion[detail]
    first, second = noise(1, 1, 9, 11), noise(1, 1, 9, 11, seed=1)
    (model(first, second) * noise(1, 1, 9, 11, seed=2)).sum().backward()
    idle = [
        name
        for name, weight in model.named_parameters()
        if weight.grad is None or not weight.grad.any()
    ]
    assert not idle


@pytest.mark.parametrize(
    "option", [{"residual": "mean"}, {"base": "conv"}, {"detail": ""}], ids=str
)
def test_option_that_does_not_exist_is_refused(option: dict[str, Any]) -> None:
    (name, value), *_ = option.items()
    with pytest.raises(InputError, match=f"no CDDFuse has .*{name}='{value}'.*"):
        CDDFuse(**option)


# Images without content


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("level", [0.0, 1.0])
def test_attention_of_constant_features_is_finite(dense: bool, level: float) -> None:
    torch.manual_seed(0)
    attention = ChannelAttention(16, 4, dense=dense)
    x = torch.full((1, 16, 6, 7), level, requires_grad=True)
    found = attention(x)
    found.sum().backward()
    assert found.isfinite().all()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    for weight in attention.parameters():
        assert weight.grad is not None
        assert weight.grad.isfinite().all()


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_constant_images_give_finite_results_and_gradients(level: float) -> None:
    torch.manual_seed(0)
    model = CDDFuse()  # The biases of its norms are 0, so black images are 0 all the way.
    image = torch.full((1, 1, 9, 9), level)
    fused = model(image, image)
    fused.sum().backward()
    assert fused.isfinite().all()
    for name, weight in model.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.isfinite().all(), name
