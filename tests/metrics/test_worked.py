"""Scores of images small enough to work them out by hand."""

import math

import pytest
import torch
from torch import Tensor

from cddfuse import metrics
from cddfuse.metrics import METRICS, PROFILES

nan, inf = math.nan, math.inf


def image(*rows: list[int]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)[None, None]


def flat(level: int, size: int = 64) -> Tensor:
    return torch.full((1, 1, size, size), level, dtype=torch.float64)


def step(low: int, high: int, size: int = 64) -> Tensor:
    """Left half low, right half high."""
    picture = flat(low, size)
    picture[..., size // 2 :] = high
    return picture


def levels_of(profile: str, name: str, *images: Tensor) -> float:
    return PROFILES[profile][name](*(i / 255 for i in images)).item()


@pytest.mark.parametrize(
    ("formula", "picture", "expected"),
    [
        pytest.param(metrics.entropy, image([0, 0, 9, 9]), 1, id="EN two levels"),
        pytest.param(metrics.entropy, image([0, 1, 2, 255]), 2, id="EN four levels"),
        pytest.param(metrics.entropy, flat(7), 0, id="EN flat"),
        pytest.param(metrics.standard_deviation, image([0, 0, 8, 8]), 4, id="SD"),
        pytest.param(metrics.standard_deviation, flat(7), 0, id="SD flat"),
        # steps to the right 3 and 3, down 4 and 4: 9 + 16
        pytest.param(metrics.spatial_frequency, image([0, 3], [4, 7]), 5, id="SF"),
        pytest.param(metrics.spatial_frequency, image([0, 3, 9]), nan, id="SF of a line"),
        # gradients 3 and 4 at each pixel: sqrt(25 / 2)
        pytest.param(metrics.average_gradient, image([0, 3], [4, 7]), 12.5**0.5, id="AG"),
        pytest.param(metrics.average_gradient, flat(7), 0, id="AG flat"),
        # Sobel's smoothing sums to 4; two of 64 columns see the step of 10
        pytest.param(metrics.edge_intensity, step(0, 10), 4 * 10 * 2 / 64, id="EI"),
    ],
)
def test_of_one_image(formula, picture: Tensor, expected: float) -> None:  # type: ignore[no-untyped-def]
    assert formula(picture).item() == pytest.approx(expected, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize(
    ("formula", "x", "y", "expected"),
    [
        pytest.param("mutual_information", [0, 0, 9, 9], [9, 9, 0, 0], math.log(2), id="MI"),
        pytest.param("mutual_information", [0, 0, 9, 9], [0, 9, 0, 9], 0, id="MI independent"),
        pytest.param("mutual_information", [0, 0, 9, 9], [7, 7, 7, 7], 0, id="MI flat"),
        # entropies ln 4 and ln 2, all of the second known: 2 ln 2 / (3 ln 2)
        pytest.param("normalised_mutual_information", [0, 1, 2, 3], [5, 5, 6, 6], 2 / 3, id="NMI"),
        pytest.param(
            "normalised_mutual_information", [1, 1, 1, 1], [2, 2, 2, 2], nan, id="NMI 0/0"
        ),
        pytest.param("mean_squared_error", [1, 2, 3, 4], [1, 2, 3, 8], 4, id="MSE"),
        pytest.param("correlation", [1, 2, 3, 4], [8, 6, 4, 2], -1, id="CC"),
        pytest.param("correlation", [1, 2, 1, 2], [1, 1, 2, 2], 0, id="CC unrelated"),
        pytest.param("correlation", [1, 2, 3, 4], [7, 7, 7, 7], nan, id="CC flat"),
        # the source's shares 3/4, 1/4, the fused image's 1/2, 1/2
        pytest.param(
            "cross_entropy", [1, 1, 2, 2], [1, 1, 1, 2], 0.75 * math.log2(1.5) - 0.25, id="CE"
        ),
        pytest.param("cross_entropy", [1, 1, 2, 2], [3, 3, 3, 3], 0, id="CE nothing in common"),
    ],
)
def test_of_two_images(formula: str, x: list[int], y: list[int], expected: float) -> None:
    value = getattr(metrics, formula)(image(x), image(y)).item()
    assert value == pytest.approx(expected, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        # mean squared error (4 + 0) / 2; 10 log10(peak^2 / 2)
        pytest.param("paper", 10 * math.log10(10**2 / 2), id="peak of the image"),
        pytest.param("corrected", 10 * math.log10(255**2 / 2), id="peak 255"),
        pytest.param("matlab", 10 * math.log10(255**2 / (2 / 255**2)), id="on two scales"),
        # the root of the summed squares 8, over 2 pixels; mean with 0
        pytest.param("vifb", 10 * math.log10(255**2 / (8**0.5 / 2 / 2)), id="root"),
    ],
)
def test_psnr(profile: str, expected: float) -> None:
    fused, other = image([10, 6]), image([8, 8])
    assert levels_of(profile, "PSNR", fused, other, fused) == pytest.approx(expected)


def test_psnr_of_equal_and_of_black_images() -> None:
    assert levels_of("paper", "PSNR", flat(9), flat(9), flat(9)) == inf
    assert math.isnan(levels_of("paper", "PSNR", flat(0), flat(0), flat(0)))


def test_scd_of_a_sum_is_two_and_of_one_source_undefined() -> None:
    first, second = image([10, 40, 30, 90]), image([50, 0, 20, 60])
    assert levels_of("paper", "SCD", first + second, first, second) == pytest.approx(2)
    assert math.isnan(levels_of("paper", "SCD", first, first, second))


@pytest.mark.parametrize("compiled", [True, False])
def test_scd_of_copies_is_undefined_however_rounding_falls(compiled: bool) -> None:
    generator = torch.Generator().manual_seed(3)
    first, second = torch.randint(0, 256, (2, 50, 1, 37, 43), generator=generator) / 255
    copy = second.clone().requires_grad_(not compiled)  # derivatives go without compiled loops
    assert METRICS["SCD"](copy, first, second).isnan().all()


def test_saturated_arithmetic() -> None:
    # mean 98 rounds to 98; differences 0, 0, 0, 12 of which 12^2 stays; then 20^2 stops at 255
    assert levels_of("spreadsheet", "SD", *[image([90, 94, 98, 110])] * 3) == 6
    assert levels_of("spreadsheet", "SD", *[image([85, 85, 97, 125])] * 3) == 255**0.5 / 2
    pair = image([254, 254, 255, 255])
    # 254 and 255 apart in each image (1 bit), together in the pair (0 bits), for two sources
    assert levels_of("matlab", "MI", pair, pair, pair) == pytest.approx(4)


def test_mutual_information_after_a_stretch() -> None:
    # the stretch to 0..255 keeps levels apart; a flat image tells nothing
    pair = image([3, 3, 5, 6])
    entropy = 1.5 * math.log(2)
    assert levels_of("vifb", "MI", pair, pair, pair) == pytest.approx(2 * entropy)
    assert levels_of("vifb", "MI", pair, pair, image([7] * 4)) == pytest.approx(entropy)


def test_vif_of_flat_sources() -> None:
    # the evaluator of the tables counts a flat source as fully seen
    grain = torch.randint(0, 255, (1, 1, 64, 64), generator=torch.manual_seed(0)).double()
    assert levels_of("paper", "VIF", grain, grain, flat(9)) == pytest.approx(2)
    assert math.isnan(levels_of("corrected", "VIF", grain, grain, flat(9)))
    assert levels_of("paper", "VIF", flat(9), grain, grain) == 0


def test_vif_follows_the_contrast() -> None:
    grain = torch.randint(0, 128, (1, 1, 64, 64), generator=torch.manual_seed(0)).double()
    less, same, more = (
        metrics.visual_information_fidelity(grain * gain, grain).item() for gain in (0.5, 1, 2)
    )
    assert 0.5 < less < 1 < more < 1.5
    assert same == pytest.approx(1)


def test_ssim_of_flat_images() -> None:
    # only the term of means is left: (2 x y + C1) / (x^2 + y^2 + C1), C1 = (.01 L)^2
    c1 = 2.55**2
    expected = (2 * 100 * 50 + c1) / (100**2 + 50**2 + c1)
    for formula in (metrics.structural_similarity, metrics.gaussian_similarity):
        assert formula(flat(100), flat(50)).item() == pytest.approx(expected)
    paper = (2 * 100 * 50 + 4e-4) / (100**2 + 50**2 + 4e-4)
    assert levels_of("paper", "SSIM", flat(100), flat(50), flat(50)) == pytest.approx(2 * paper)


def test_ssim_of_negatives_about_grey() -> None:
    # opposite shapes: (-2 v + C2) / (2 v + C2), v the variance of the sample
    board = (torch.arange(7)[:, None] + torch.arange(7)) % 2 * 20.0 + 100
    other = 220 - board
    x, y = board[None, None], other[None, None]
    n1, n2 = 25, 24  # squares of either kind
    mean_x, mean_y = (100 * n1 + 120 * n2) / 49, (120 * n1 + 100 * n2) / 49
    variance = 400 * n1 * n2 / 49 / 48
    c1, c2 = 2.55**2, 7.65**2
    means = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    expected = means * (c2 - 2 * variance) / (c2 + 2 * variance)
    assert metrics.structural_similarity(x, y).item() == pytest.approx(expected)


def test_qabf_of_three_equal_steps() -> None:
    # strength ratio: as strong, so 0.9994 / (1 + exp(-15 (g - 0.5))) with g itself, here large;
    # angle: 0.9879 / (1 + exp(-22 * 0.2))
    expected = 0.9994 * 0.9879 / (1 + math.exp(-4.4))
    assert levels_of("paper", "Qabf", *[step(50, 90)] * 3) == pytest.approx(expected, rel=1e-6)
    corrected = expected / (1 + math.exp(-7.5))
    assert levels_of("corrected", "Qabf", *[step(50, 90)] * 3) == pytest.approx(corrected, rel=1e-6)


def test_qabf_of_opposite_steps() -> None:
    # one row, so that the zeros around it only matter at the ends: left out by comparing profiles
    fused, source = step(50, 90), step(90, 50)
    unfolded = levels_of("paper", "Qabf", fused, source, source)
    folded = levels_of("corrected", "Qabf", fused, source, source)
    assert 0 < unfolded <= folded * 1.01 < 1
    assert math.isnan(levels_of("paper", "Qabf", fused, flat(0), flat(0)))


def test_nabf_counts_edges_that_no_source_has() -> None:
    assert levels_of("paper", "Nabf", *[step(50, 90)] * 3) == 0
    # all sources flat: weight 0.001 everywhere; two of 64 columns have an edge, kept as strength 0
    # and angle 0 against pi/2 or 0
    lost = levels_of("paper", "Nabf", step(50, 90), flat(60), flat(60))
    kept = (0.9999 / (1 + math.exp(9.5)) * 0.9995 / (1 + math.exp(11))) ** 0.5
    assert lost == pytest.approx(2 / 64 * (1 - kept), rel=1e-2)


def test_fmi_of_equal_and_of_unrelated_windows() -> None:
    window = image([9, 1, 5], [2, 8, 3], [7, 4, 6])
    assert metrics.feature_mutual_information(window, window).item() == 1
    other = metrics.feature_mutual_information(window, flat(3, 3)).item()
    assert other == pytest.approx(0, abs=1e-12)


def test_frequencies_of_the_eye() -> None:
    # a constant difference passes Mannos and Sakrison's filter times 2.6 * 0.0192, on all blocks;
    # sources and fused image share their extremes, so the stretch changes nothing
    first = step(0, 255)
    fused = first.clone()
    assert levels_of("paper", "Q_CV", fused, first, first) == pytest.approx(0, abs=1e-12)
    assert levels_of("paper", "Q_CB", fused, first, first) == pytest.approx(1)


def test_values_are_rounded_half_to_even() -> None:
    # 0.5, 1.5 and 2.5 levels become 0, 2 and 2
    picture = torch.tensor([0.5, 1.5, 2.5, 2.0], dtype=torch.float64)[None, None, None] / 255
    expected = 2 - 0.75 * math.log2(3)
    assert METRICS["EN"](picture, picture, picture).item() == pytest.approx(expected)
