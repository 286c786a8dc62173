"""Terms of the losses: worked cases, plain transcriptions in NumPy, laws."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cddfuse import losses, metrics
from cddfuse.filters import sobel

SOBEL = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]) * 1.0


@pytest.fixture
def images() -> Tensor:
    """Three batches of two images, (3, 2, 1, 13, 15), float64."""
    generator = torch.Generator().manual_seed(0)
    return torch.rand(3, 2, 1, 13, 15, generator=generator, dtype=torch.float64)


def filtered(image: np.ndarray, kernel: np.ndarray, border: str) -> np.ndarray:
    """Correlation of a 2-D image with an odd square kernel, pixel by pixel."""
    reach = len(kernel) // 2
    padded = np.pad(image, reach, mode=border)  # type: ignore[call-overload]
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape)
    return (windows * kernel).sum((-2, -1))


def flat(level: float) -> Tensor:
    return torch.full((1, 1, 12, 12), level, dtype=torch.float64)


# Reconstructions


def test_reconstruction_ssim_agrees_with_a_transcription(images: Tensor) -> None:
    line = np.exp(-(np.arange(-5.0, 6) ** 2) / 4.5)
    window = np.outer(line, line) / line.sum() ** 2
    one, two = images[0], images[0] * 0.6 + images[1] * 0.4
    dissimilarities = []
    for image, reference in zip(one.numpy()[:, 0], two.numpy()[:, 0], strict=True):
        x, y = (filtered(a, window, "reflect") for a in (image, reference))
        xx, yy, xy = (
            filtered(a * b, window, "reflect") - c
            for a, b, c in (
                (image, image, x * x),
                (reference, reference, y * y),
                (image, reference, x * y),
            )
        )
        ssim = (2 * x * y + 1e-4) * (2 * xy + 9e-4) / ((x * x + y * y + 1e-4) * (xx + yy + 9e-4))
        dissimilarities.append(np.clip(1 - ssim, 0, 1) / 2)
    found = losses.reconstruction_ssim(one, two).item()
    assert found == pytest.approx(np.mean(dissimilarities), abs=1e-6)


def test_reconstruction_ssim_of_flat_images_compares_their_levels() -> None:
    # (1 - (2 * 0.2 * 0.6 + C1) / (0.2^2 + 0.6^2 + C1)) / 2
    expected = (1 - 0.2401 / 0.4001) / 2
    assert losses.reconstruction_ssim(flat(0.2), flat(0.6)).item() == pytest.approx(
        expected, abs=1e-3
    )


def test_reconstruction_ssim_is_0_of_itself_and_half_of_a_negative(images: Tensor) -> None:
    assert losses.reconstruction_ssim(images[0], images[0]).item() == pytest.approx(0, abs=1e-12)
    board = (torch.arange(12)[:, None] + torch.arange(12)).remainder(2).double()[None, None]
    assert losses.reconstruction_ssim(board, 1 - board).item() == 0.5


def test_reconstruction_ssim_does_not_care_which_is_the_reference(images: Tensor) -> None:
    torch.testing.assert_close(
        losses.reconstruction_ssim(images[0], images[1]),
        losses.reconstruction_ssim(images[1], images[0]),
    )


# Fused images


def test_reconstruction_gradient_of_a_step_against_a_flat_image() -> None:
    # Two of four columns respond with 4, across only: (2 / 4) * (4 / 8) over two directions.
    step = torch.tensor([0.0, 0, 1, 1]).expand(1, 1, 3, 4)
    assert losses.reconstruction_gradient(step, torch.zeros_like(step)).item() == pytest.approx(
        0.125
    )


def test_reconstruction_gradient_agree_with_a_transcription(images: Tensor) -> None:
    differences = [
        filtered(x, kernel, "edge") / 8 - filtered(y, kernel, "edge") / 8
        for x, y in zip(images[0, :, 0].numpy(), images[1, :, 0].numpy(), strict=True)
        for kernel in (SOBEL, SOBEL.T)
    ]
    found = losses.reconstruction_gradient(images[0], images[1]).item()
    assert found == pytest.approx(np.abs(differences).mean(), abs=1e-12)


def test_intensity_worked_by_hand() -> None:
    fused, first, second = (
        torch.tensor(x).reshape(1, 1, 1, 4)
        for x in ([0.5, 0.5, 0.0, 1.0], [0.7, 0.1, 0.2, 0.9], [0.1, 0.2, 0.4, 1.0])
    )
    # From 0.7, 0.2, 0.4 and 1.0 it is 0.2, 0.3, 0.4 and 0.0 away.
    assert losses.intensity(fused, first, second).item() == pytest.approx(0.225)
    errors = (fused - torch.maximum(first, second)).flatten().tolist()
    squared = sum(error**2 for error in errors) / len(errors)
    assert losses.intensity_l2(fused, first, second).item() == pytest.approx(squared)


def test_gradient_agrees_with_a_transcription(images: Tensor) -> None:
    def strength(image: np.ndarray) -> np.ndarray:
        across, down = (filtered(image, kernel, "constant") for kernel in (SOBEL, SOBEL.T))
        return abs(across) + abs(down)

    differences = [
        strength(fused) - np.maximum(strength(first), strength(second))
        for fused, first, second in zip(*images[:, :, 0].numpy(), strict=True)
    ]
    found = losses.gradient(*images).item()
    assert found == pytest.approx(np.abs(differences).mean(), abs=1e-12)


def test_gradient_takes_the_stronger_source_as_a_whole() -> None:
    # 2 across and 2 down beat 3 across: the sum of the directions is compared, not each.
    ramp = torch.arange(5.0).expand(1, 1, 5, 5)
    slanted, steep = 2 * ramp + 2 * ramp.mT, 3 * ramp
    inside = losses.gradient(steep, slanted, steep), losses.gradient(slanted, slanted, steep)
    assert inside[1] < inside[0]


def test_signed_and_edge_weighted_gradient_agree_with_transcriptions(images: Tensor) -> None:
    differences, shares = [], []
    for planes in zip(*images[:, :, 0].numpy(), strict=True):
        fused, first, second = (
            np.stack([filtered(image, kernel, "constant") for kernel in (SOBEL, SOBEL.T)])
            for image in planes
        )
        wanted = np.where(abs(first).sum(0) > abs(second).sum(0), first, second)
        difference, strength = abs(fused - wanted).sum(0), abs(wanted).sum(0)
        differences.append(difference)
        shares.append((strength * difference).sum() / (strength**2).sum())
    signed = losses.signed_gradient(*images).item()
    weighted = losses.edge_weighted_gradient(*images).item()
    assert signed == pytest.approx(np.mean(differences), abs=1e-12)
    assert weighted == pytest.approx(np.mean(shares), abs=1e-12)


def test_edge_weighted_gradient_prefers_one_strong_edge_to_many_weak_ones() -> None:
    weak, strong = torch.zeros(2, 1, 1, 9, 32)
    for left in range(2, 26, 4):
        weak[..., left : left + 2] = 0.15  # six lines, together nearly as bright as the other one
    strong[..., 28:30] = 1
    sources, nothing = (weak + strong, torch.zeros_like(weak)), torch.zeros_like(weak)
    assert losses.edge_weighted_gradient(nothing, *sources).item() == pytest.approx(1)
    lost = [
        (term(weak, *sources) / term(strong, *sources)).item()
        for term in (losses.signed_gradient, losses.edge_weighted_gradient)
    ]
    assert lost == pytest.approx([1 / 0.9, 1 / (6 * 0.15**2)])


def test_edge_weighted_gradient_of_flat_sources_is_0() -> None:
    flat = torch.zeros(1, 1, 8, 8)
    fused = torch.rand(1, 1, 8, 8).requires_grad_()
    found = losses.edge_weighted_gradient(fused, flat, flat)
    found.backward()
    assert found.item() == 0
    assert fused.grad is not None
    assert not fused.grad.any()


def test_signed_gradient_sees_the_sign_that_gradient_does_not() -> None:
    ramp = torch.arange(5.0).expand(1, 1, 5, 5)
    falling, flat = ramp.flip(-1), torch.zeros_like(ramp)
    inside = (..., slice(1, -1), slice(1, -1))  # the border of zeros is another matter
    rising = sobel(ramp, "zero")[inside], sobel(falling, "zero")[inside]
    assert torch.equal(rising[0].abs(), rising[1].abs())
    assert losses.signed_gradient(ramp, ramp, flat).item() == 0
    assert losses.signed_gradient(ramp, falling, flat).item() > 1


@pytest.mark.parametrize(
    ("term", "least"),
    [(losses.gradient, 1), (losses.signed_gradient, 1), (losses.edge_weighted_gradient, 0.3)],
)
def test_gradient_gain_asks_for_steeper_slopes(term: Callable[..., Tensor], least: float) -> None:
    ramp = torch.arange(5.0).expand(1, 1, 5, 5)
    sources = ramp, torch.zeros_like(ramp)
    assert term(1.5 * ramp, *sources, 1.5).item() == pytest.approx(0, abs=1e-6)
    assert term(1.5 * ramp, *sources).item() > least
    assert term(ramp, *sources, 1.5).item() > least


def test_ssim_agrees_with_a_transcription(images: Tensor) -> None:
    fused, first, second = 0.01 * images  # so dark that the constants count
    rest = losses.ssim(fused, first, second).item()
    c1, c2 = 0.01**2, 0.01**2
    line = np.exp(-(np.arange(-5.0, 6) ** 2) / 4.5)
    window = np.outer(line, line) / line.sum() ** 2

    def similarity(one: np.ndarray, two: np.ndarray) -> np.ndarray:
        x, y, xx, yy, xy = (
            filtered(image, window, "reflect") for image in (one, two, one**2, two**2, one * two)
        )
        light = (2 * x * y + c1) / (x * x + y * y + c1)
        return light * (2 * (xy - x * y) + c2) / (xx - x * x + yy - y * y + c2)

    values = [
        similarity(f, one) + similarity(f, two)
        for f, one, two in zip(*images[:, :, 0].numpy() * 0.01, strict=True)
    ]
    assert rest == pytest.approx(2 - np.mean(values), abs=1e-6)
    assert losses.ssim(first, first, first).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("shape", [(41, 41), (48, 64)])
def test_vif_and_scd_are_2_minus_the_metrics(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(3)
    rough = torch.rand(3, 2, 1, *shape, generator=generator)
    fused, first, second = F.avg_pool2d(rough.flatten(0, 1), 3, 1, 1).view(rough.shape)
    fused = (fused + first + 2 * second) / 4
    levels = [255 * image for image in (fused, first, second)]
    seen = metrics.visual_information_fidelity(levels[0], torch.stack(levels[1:])).sum(0).mean()
    added = metrics.correlations_of_differences(*levels).mean()
    assert losses.vif(fused, first, second).item() == pytest.approx(2 - seen.item(), abs=1e-4)
    left = losses.scd(fused, first, second).item()
    assert left == pytest.approx(2 - added.item(), abs=1e-5)
    for term in (losses.vif, losses.scd):
        torch.testing.assert_close(term(fused, first, second), term(fused, second, first))


def test_vif_of_small_images_does_without_large_scales() -> None:
    one, two = torch.rand(2, 1, 1, 41, 41, generator=torch.Generator().manual_seed(4))
    for side in (17, 26, 34, 40):
        small = [image[..., :side, :side] for image in (one, one, two)]
        assert losses.vif(*small).item() < 1.5
    assert losses.vif(*(image[..., :16, :16] for image in (one, one, two))).item() == 2


def test_qabf_is_1_minus_the_metric() -> None:
    generator = torch.Generator().manual_seed(5)
    first, second = F.avg_pool2d(
        torch.rand(2, 3, 1, 24, 30, generator=generator).flatten(0, 1), 5, 1
    ).view(2, 3, 1, 20, 26)
    # A blend of small parts of one image turns no edge round; ratios of 1 are a case of their own.
    fused = 0.9 * first + 0.02 * second
    levels = [255 * image for image in (fused, first, first)]
    kept = metrics.edge_preservation(*levels, fold=True).mean()
    lost = losses.qabf(fused, first, first).item()
    assert lost == pytest.approx(1 - kept.item(), abs=1e-4)
    assert losses.qabf(fused, first, second).item() > lost
    torch.testing.assert_close(losses.qabf(fused, first, second), losses.qabf(fused, second, first))


def test_qabf_takes_an_edge_of_opposite_sign_for_lost() -> None:
    ramp = torch.arange(9.0).expand(1, 1, 9, 9) / 20
    flat = torch.full_like(ramp, ramp.mean().item())
    falling = ramp.flip(-1)
    middle = (..., slice(2, -2), slice(2, -2))
    images = [F.pad(x[middle], (2, 2, 2, 2), mode="replicate") for x in (ramp, falling, flat)]
    assert losses.qabf(images[0], images[0], images[2]).item() < 0.2
    assert losses.qabf(images[1], images[0], images[2]).item() > 0.4


def test_qabf_of_black_images_has_a_derivative() -> None:
    black = torch.zeros(1, 1, 8, 8, requires_grad=True)
    losses.qabf(black, torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 8)).backward()
    assert black.grad is not None
    assert black.grad.isfinite().all()


@pytest.mark.parametrize("bins", [64, 256])
def test_mi_agrees_with_a_transcription(images: Tensor, bins: int) -> None:
    def spline(away: float) -> float:
        away = abs(away)
        if away < 1:
            return 2 / 3 - away**2 + away**3 / 2
        return max(2 - away, 0) ** 3 / 6

    lost = []
    for image, *sources in zip(*images[:, :, 0].numpy(), strict=True):
        lost.append(2.0)
        for source in sources:
            joint = np.zeros((bins + 3, bins))
            for level, other in zip(image.ravel(), source.ravel(), strict=True):
                place = level * (bins - 1)
                shares = [spline(place - k) for k in range(-1, bins + 2)]
                joint[:, round(other * (bins - 1))] += shares
            joint /= joint.sum()
            across, there = joint.sum(1, keepdims=True), joint.sum(0)
            shared = joint > 0
            mutual = (joint[shared] * np.log(joint[shared] / (across * there)[shared])).sum()
            there = there[there > 0]
            lost[-1] += mutual / (there * np.log(there)).sum()
    fused, first, second = images
    found = losses.mi(fused, first, second, bins).item()
    assert found == pytest.approx(np.mean(lost), abs=1e-9)


def test_mi_is_of_levels_wherever_they_are_and_whatever_they_mean() -> None:
    generator = torch.Generator().manual_seed(5)
    planes = F.avg_pool2d(torch.rand(3, 1, 64, 64, generator=generator), 5, 1)
    first, second, other = ((planes - planes.min()) / (planes.max() - planes.min())).split(1)
    lost = losses.mi(first, first, second)
    assert losses.mi((first + second) / 2, first, second) > lost + 0.1
    assert losses.mi(other, first, second) > lost + 0.5
    shuffled = torch.randperm(3600, generator=generator)
    moved = [x.flatten()[shuffled].view(first.shape) for x in (first, second)]
    torch.testing.assert_close(losses.mi(moved[0], *moved), lost)
    for same in (1 - first, first**1.1):  # a negative, another contrast
        assert losses.mi(same, first, second).item() == pytest.approx(lost.item(), abs=0.1)
    # As many levels as the histogram has, wherever they lie, are worth little.
    for place in (0, 0.25, 0.5):
        drawn = ((first * 63 + place).round() - place) / 63
        assert losses.mi(drawn, first, second) > lost - 0.1
    torch.testing.assert_close(losses.mi(first, second, first), lost)


def test_mi_has_a_derivative_and_flat_images_none() -> None:
    generator = torch.Generator().manual_seed(6)
    fused, first, second = torch.rand(3, 2, 1, 7, 8, generator=generator, dtype=torch.float64)
    fused = fused.requires_grad_()
    torch.autograd.gradcheck(losses.mi, (fused, first, second))
    black = torch.zeros_like(first)
    whole, half = losses.mi(fused, first, first), losses.mi(fused, first, black)
    torch.testing.assert_close(half - 1, whole / 2)
    for image in (black, black + 1):
        image = image.clone().requires_grad_()
        lost = losses.mi(image, first, black)
        lost.backward()
        assert lost.item() == pytest.approx(2)
        assert image.grad is not None
        assert image.grad.isfinite().all()
    assert losses.mi(torch.full_like(first, torch.nan), first, second).isnan()


def test_mi_of_a_flat_source_is_nothing_in_single_precision_too() -> None:
    """Sums of 40,000 shares are off by more than the entropy of such a source."""
    fused, first = torch.rand(2, 1, 1, 200, 200, generator=torch.Generator().manual_seed(7))
    found = []
    for second in (first, torch.zeros_like(first)):
        image = fused.clone().requires_grad_()
        lost = losses.mi(image, first, second)
        lost.backward()
        found.append((lost.detach(), image.grad))
    (whole, gradient), (half, alone) = found
    torch.testing.assert_close(half - 1, whole / 2, atol=0.01, rtol=0)
    assert gradient is not None
    assert alone is not None
    assert (alone - gradient / 2).norm() < 0.02 * alone.norm()


@pytest.mark.parametrize(
    "term", [losses.reconstruction_ssim, losses.vif, losses.edge_weighted_gradient]
)
def test_terms_of_a_mixed_run_are_not_computed_in_half_precision(
    term: Callable[..., Tensor],
) -> None:
    images = torch.rand(3, 1, 1, 48, 48, generator=torch.Generator().manual_seed(6))
    images = images[: 2 if term is losses.reconstruction_ssim else 3]
    exact = term(*images)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(term(*images), exact)


@pytest.mark.parametrize("term", [losses.reconstruction_ssim, losses.valid_ssim, losses.ssim])
def test_squares_of_an_image_in_half_precision_are_not_rounded(term: Callable[..., Tensor]) -> None:
    """Networks give bf16 in a mixed run: the level is rounded once, its variance not again."""
    images = 0.7 + 0.02 * torch.rand(3, 1, 1, 48, 48, generator=torch.Generator().manual_seed(7))
    images = images[: 3 if term is losses.ssim else 2]
    half = images[0].bfloat16()
    torch.testing.assert_close(term(half, *images[1:]), term(half.float(), *images[1:]))


@pytest.mark.parametrize(
    "term",
    [
        losses.intensity,
        losses.intensity_l2,
        losses.gradient,
        losses.signed_gradient,
        losses.edge_weighted_gradient,
    ],
)
def test_fusion_terms_are_blind_to_the_order_of_the_sources(term, images: Tensor) -> None:  # type: ignore[no-untyped-def]
    fused, first, second = images
    torch.testing.assert_close(term(fused, first, second), term(fused, second, first))
    assert term(first, first, first).item() == 0


# Correlation and decomposition


def feature(*levels: float) -> Tensor:
    return torch.tensor(levels).reshape(1, 1, 2, 2)


@pytest.mark.parametrize(
    ("one", "two", "expected"),
    [
        pytest.param(feature(1, 2, 3, 4), feature(1, 2, 3, 4), 1, id="same"),
        pytest.param(feature(1, 2, 3, 4), feature(9, 7, 5, 3), -1, id="opposite"),
        pytest.param(feature(1, 1, 2, 2), feature(1, 2, 1, 2), 0, id="unrelated"),
        # Deviations -1.5 -.5 .5 1.5 and -.5 -.5 -.5 1.5: 3 / sqrt(5 * 3).
        pytest.param(feature(1, 2, 3, 4), feature(0, 0, 0, 2), 0.7745967, id="between"),
        pytest.param(feature(1, 2, 3, 4), feature(5, 5, 5, 5), 0, id="flat"),
    ],
)
def test_correlation_worked_by_hand(one: Tensor, two: Tensor, expected: float) -> None:
    assert losses.correlation(one, two).item() == pytest.approx(expected, abs=1e-6)


def test_correlation_is_the_mean_over_channels_and_images() -> None:
    generator = torch.Generator().manual_seed(0)
    one = torch.randn(2, 3, 5, 4, generator=generator)
    two = one + torch.randn(2, 3, 5, 4, generator=generator)
    each = [
        np.corrcoef(x, y)[0, 1]
        for x, y in zip(one.reshape(6, 20).numpy(), two.reshape(6, 20).numpy(), strict=True)
    ]
    assert losses.correlation(one, two).item() == pytest.approx(np.mean(each), abs=1e-6)
    shifted = losses.correlation(3 * one + 7, 0.1 * two - 2)
    torch.testing.assert_close(shifted, losses.correlation(two, one))


@pytest.mark.parametrize("level", [0.0, 0.1, 12.3])
def test_flat_features_have_no_correlation_and_finite_gradients(level: float) -> None:
    one = torch.full((1, 2, 7, 9), level, requires_grad=True)
    two = torch.rand(1, 2, 7, 9, generator=torch.Generator().manual_seed(0)).requires_grad_()
    for other in (one, two):
        found = losses.correlation(one, other)
        found.backward()
        assert -1 <= found.item() <= 1
    for feature in (one, two):
        assert feature.grad is not None
        assert feature.grad.isfinite().all()


def test_black_features_have_correlation_and_gradient_zero() -> None:
    one = torch.zeros(1, 2, 7, 9, requires_grad=True)
    found = losses.correlation(one, torch.zeros(1, 2, 7, 9))
    found.backward()
    assert found.item() == 0
    assert one.grad is not None
    assert not one.grad.any()


def test_correlation_is_taken_in_single_precision() -> None:
    generator = torch.Generator().manual_seed(0)
    one = torch.rand(1, 1, 64, 64, generator=generator) * 300
    found = losses.correlation(one.half(), one.half())
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("base", "detail", "expected"),
    [(0.5, 0.2, 0.04 / 1.51), (0.5, -0.2, 0.04 / 1.51), (1.0, 0.0, 0.0), (-1.0, 1.0, 100.0)],
)
def test_decomposition_worked_by_hand(base: float, detail: float, expected: float) -> None:
    found = losses.decomposition(*torch.tensor([base, detail], dtype=torch.float64))
    assert found.item() == pytest.approx(expected)


def test_base_correlation_is_what_is_missing_to_1() -> None:
    assert losses.base_correlation(torch.tensor(0.25), torch.tensor(9.0)).item() == 0.75


# The index


@pytest.mark.parametrize("name", losses.LOSSES)
def test_every_row_of_the_index_is_a_scalar_that_learns(name: str) -> None:
    row = losses.LOSSES[name]
    random = torch.Generator().manual_seed(0)
    count = {"separate": 2, "fuse": 3, "both": 2}[row.stage]
    shape = () if row.stage == "both" else (2, 1, 24, 24)
    inputs = [torch.rand(shape, generator=random).requires_grad_() for _ in range(count)]
    values = {"gradient_gain": 1.5, "mi_bins": 32, "target_source": "first", "target_gain": 1.5}
    values["target_prominence"] = 0.2
    settings = {setting: values[setting] for setting in row.settings}
    term = row.function(*inputs, **settings)
    term.backward()
    assert term.ndim == 0
    assert inputs[0].grad is not None
    assert inputs[0].grad.isfinite().all()
    assert inputs[0].grad.any()
    assert row.source
