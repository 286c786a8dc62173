"""Formulas as losses: derivatives are right, and finite where an image is flat."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from cddfuse import metrics

Formulas = dict[str, tuple[Callable[..., Tensor], int]]

EACH: Formulas = {
    "mean_squared_error": (metrics.mean_squared_error, 8),
    "correlation": (metrics.correlation, 8),
    "structural_similarity": (metrics.structural_similarity, 12),
    "gaussian_similarity": (metrics.gaussian_similarity, 14),
    "gaussian_similarity with a border": (
        partial(metrics.gaussian_similarity, border="replicate"),
        9,
    ),
    "multi_scale_similarity": (metrics.multi_scale_similarity, 161),
    "visual_information_fidelity": (metrics.visual_information_fidelity, 43),
}
BOTH: Formulas = {
    "correlations_of_differences": (metrics.correlations_of_differences, 8),
    "peak_signal_to_noise": (partial(metrics.peak_signal_to_noise, peak=255), 8),
    "edge_preservation": (metrics.edge_preservation, 9),
    "edge_preservation folded": (partial(metrics.edge_preservation, fold=True), 9),
    "multi_exposure_similarity": (metrics.multi_exposure_similarity, 44),
}
ONE: Formulas = {
    "standard_deviation": (metrics.standard_deviation, 8),
    "spatial_frequency": (metrics.spatial_frequency, 8),
    "average_gradient": (metrics.average_gradient, 8),
    "edge_intensity": (metrics.edge_intensity, 8),
}


def noise(count: int, side: int) -> list[Tensor]:
    shape = (count, 2, 1, side, side + 1)
    images = 40 + 150 * torch.rand(shape, generator=torch.manual_seed(3), dtype=torch.float64)
    return [image.requires_grad_() for image in images]


@pytest.mark.parametrize(
    ("formula", "count", "side"),
    [
        pytest.param(formula, count, side, id=name)
        for count, formulas in ((1, ONE), (2, EACH), (3, BOTH))
        for name, (formula, side) in formulas.items()
    ],
)
def test_derivatives(formula: Callable[..., Tensor], count: int, side: int) -> None:
    images = noise(count, side)
    if side < 20:
        assert torch.autograd.gradcheck(formula, images, fast_mode=True, atol=1e-4)
        return
    # Where gradcheck fails it goes through all pixels for its message, which takes hours here.
    slopes = torch.autograd.grad(formula(*images).sum(), images)
    step = 1e-4
    for number, (image, slope) in enumerate(zip(images, slopes, strict=True)):
        way = torch.randn(image.shape, generator=torch.manual_seed(number), dtype=image.dtype)
        there, back = (
            formula(*images[:number], image + side * way, *images[number + 1 :]).sum()
            for side in (step, -step)
        )
        expected = (there - back) / (2 * step)
        torch.testing.assert_close((slope * way).sum(), expected, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("name", ["structural_similarity", "visual_information_fidelity"])
def test_flat_images_have_finite_derivatives(name: str) -> None:
    formula, _ = EACH[name]
    fused = torch.full((1, 1, 64, 64), 90.0, requires_grad=True)
    formula(fused, torch.rand(1, 1, 64, 64) * 255).sum().backward()
    assert fused.grad is not None
    assert fused.grad.isfinite().all()


def test_qabf_has_finite_derivatives_on_flat_images() -> None:
    fused = torch.full((1, 1, 64, 64), 90.0, requires_grad=True)
    sources = torch.rand(2, 1, 1, 64, 64) * 255
    metrics.edge_preservation(fused, *sources).sum().backward()
    assert fused.grad is not None
    assert fused.grad.isfinite().all()
    assert fused.grad.abs().sum() > 0


def test_a_loss_made_of_ssim_brings_an_image_closer() -> None:
    goal = torch.rand(1, 1, 16, 16, generator=torch.manual_seed(0)) * 255
    image = torch.full_like(goal, 128, requires_grad=True)
    before = metrics.structural_similarity(image, goal)
    for _ in range(10):
        (slope,) = torch.autograd.grad(metrics.structural_similarity(image, goal).sum(), image)
        image = (image + 8 * slope.sign()).detach().requires_grad_()
    assert metrics.structural_similarity(image, goal).item() > before.item() + 0.3


def test_derivatives_after_inference() -> None:
    images = [image[..., :31, :33] for image in noise(2, 40)]
    with torch.inference_mode():
        metrics.gaussian_similarity(*images)
    metrics.gaussian_similarity(*images).sum().backward()
