"""What every record of every profile promises. A new record is tested here without a new line."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cddfuse.errors import InputError
from cddfuse.metrics import (
    METRICS,
    PAPER_EIGHT,
    PROFILES,
    Metric,
    levels,
    score,
    structural_similarity,
)

Triple = tuple[Tensor, Tensor, Tensor]

EVERY = [(metric, profile) for profile in PROFILES for metric in PROFILES[profile].values()]


def parametrized(records: list[tuple[Metric, str]]) -> pytest.MarkDecorator:
    names = [f"{profile}-{metric.name}" for metric, profile in records]
    return pytest.mark.parametrize(("metric", "profile"), records, ids=names)


every_record = parametrized(EVERY)
# NABF_WRONG_ORDER scores one source as if it were the fused image.
with_equal_sources = parametrized(
    [
        (metric, profile)
        for metric, profile in EVERY
        if metric.over != "fused"
        and (profile, metric.name) != ("matlab", "Nabf")
        and not metric.name.startswith("TC")  # one source shows the targets
    ]
)
few = settings(max_examples=5, deadline=None)

# The numbers of the eight in `paper`: benchmarks/metrics.py's transcription with SciPy 1.17,
# scikit-learn 1.9 and scikit-image 0.26, in float32 where it works in that. The others: this code,
# when it agreed with the reference programs on all triples of test_golden.py.
SCENE: dict[str, dict[str, float]] = {
    "paper": {
        "EN": 6.885122579486924,
        "SD": 31.035293579101562,
        "SF": 14.91992473602295,
        "MI": 2.417596949860877,
        "SCD": 1.5266166925430298,
        "VIF": 0.6295600196168052,
        "VIFF": 0.3213901744072121,
        "Qabf": 0.5616081357002258,
        "SSIM": 1.1060676753791356,
        "AG": 4.540742961824675,
        "NMI": 0.5059676555444745,
        "MSE": 1555.4422970924625,
        "PSNR": 12.217978475281122,
        "CC": 0.6400490556759599,
        "Nabf": 1.6485048000251657e-05,
        "MS-SSIM": 1.0904851987598376,
        "FMI": 0.8945044186316516,
        "FMI_gradient": 0.80461752826343,
        "FMI_dct": 0.348131291691329,
        "FMI_wavelet": 0.6828673020316913,
        "Q_CB": 0.5665170847637626,
        "Q_CV": 219.36176558258262,
        "CE": 0.9434549366081273,
        "EI": 40.935972651733934,
    },
    "matlab": {
        "AG": 4.594558236748699,
        "MI": 3.487855130432572,
        "MSE": 0.023920681231717995,
        "PSNR": 64.34306817200233,
        "Nabf": 0.017592375964982112,
        "SSIM": 0.5636671946182074,
        "MS-SSIM": 0.8539709514079066,
    },
    "spreadsheet": {
        "SD": 9.700290294819824,
        "SF": 0.05850950993135756,
        "AG": 4.594558236748699,
        "MI": 3.487855130432572,
        "MSE": 0.023920681231717995,
        "PSNR": 64.34306817200233,
        "VIF": 0.638222094710662,
    },
    "vifb": {
        "SF": 14.875245993429045,
        "AG": 4.594558236748699,
        "PSNR": 54.693236921185466,
        "SSIM": 1.348541072218223,
    },
    "ivif_zoo": {
        "EN": 6.885101084940612,
        "MI": 3.487855130432572,
        "NMI": 0.5088576487701072,
        "MSE": 0.023920681231717995,
        "PSNR": 64.34306817200233,
        "Nabf": 1.647936682942672e-05,
        "SSIM": 1.1224755177528902,
        "MS-SSIM": 0.9657425894323476,
        "EI": 47.0996894590475,
    },
    "corrected": {
        "SF": 14.875245993429045,
        "MI": 3.487855130432572,
        "PSNR": 16.21226456332323,
        "VIF": 0.3147800098084037,
        "Qabf": 0.5914099920654283,
        "SSIM": 0.6742705361091115,
        "MS-SSIM": 0.5452425993799188,
        "FMI": 0.56548436868325,
        "TC": 0.47746635849444424,
        "TC_lost": 0.0,
        "TC_large": 0.7397390521973419,
        "TC_large_lost": 0.0,
        "TC_first": 0.7279739132078422,
        "TC_first_lost": 1 / 6,
        "TC_first_large": 0.7091500930470069,
        "TC_first_large_lost": 0.0,
    },
}


def units(images: Triple) -> Triple:
    fused, first, second = (image / 255 for image in images)
    return fused, first, second


def big_enough(metric: Metric, batch: Triple, scene: Triple) -> Triple:
    if metric.smallest <= 57:
        return batch
    fused, first, second = (torch.cat([image, image.flip(-1)]) for image in units(scene))
    return fused, first, second


@every_record
def test_stored_value(metric: Metric, profile: str, scene: Triple) -> None:
    expected = SCENE[profile].get(metric.name, SCENE["paper"].get(metric.name))
    assert metric(*units(scene)).item() == pytest.approx(expected, rel=3e-7)


@every_record
def test_says_what_it_is(metric: Metric, profile: str) -> None:
    assert PROFILES[profile][metric.name] is metric
    assert metric.title
    assert metric.source
    assert metric.range[0] < metric.range[1]
    assert (metric.combine is not None) == (metric.over == "each")
    paper = METRICS.get(metric.name, metric)
    assert metric is paper or metric.note != paper.note, "differs, but does not say how"


def test_profiles_say_where_they_compare() -> None:
    assert set(PAPER_EIGHT) <= set(METRICS)
    assert METRICS is PROFILES["paper"]
    assert all(profile.compares.endswith(".") for profile in PROFILES.values())
    assert len({profile.compares for profile in PROFILES.values()}) == len(PROFILES)


@every_record
def test_a_batch_is_scored_image_by_image(
    metric: Metric, profile: str, batch: Triple, scene: Triple
) -> None:
    images = big_enough(metric, batch, scene)
    together = metric(*images)
    assert together.shape == (len(images[0]),)
    assert together.dtype == torch.float64
    alone = torch.cat(
        [metric(*triple) for triple in zip(*(i.split(1) for i in images), strict=True)]
    )
    torch.testing.assert_close(together, alone, rtol=1e-6, atol=1e-12, equal_nan=True)


@with_equal_sources
def test_sources_are_equals(metric: Metric, profile: str, batch: Triple, scene: Triple) -> None:
    fused, first, second = big_enough(metric, batch, scene)
    one, other = metric(fused, first, second), metric(fused, second, first)
    torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-12, equal_nan=True)


@with_equal_sources
def test_both_sources_matter(metric: Metric, profile: str, batch: Triple, scene: Triple) -> None:
    fused, first, second = big_enough(metric, batch, scene)
    value = metric(fused, first, second)
    for others in ((first.flip(-2), second), (first, second.flip(-2))):
        if metric.name == "CE":
            others = (others[0] ** 2, others[1] ** 2)
        assert not torch.allclose(metric(fused, *others), value, rtol=1e-6, equal_nan=True)


# FMI reads windows column by column, and Qabf takes vertical edges for special.
@pytest.mark.parametrize(
    "name", [name for name in METRICS if name != "Qabf" and not name.startswith("FMI")]
)
def test_blind_to_a_turn(name: str, batch: Triple, scene: Triple) -> None:
    metric = METRICS[name]
    images = big_enough(metric, batch, scene)
    value, turned = metric(*images), metric(*(image.mT for image in images))
    torch.testing.assert_close(value, turned, rtol=1e-6, atol=1e-9, equal_nan=True)


@every_record
@given(seed=st.integers(0, 2**20), contrast=st.sampled_from([2, 30, 256]))
@few
def test_stays_within_its_range(metric: Metric, profile: str, seed: int, contrast: int) -> None:
    side = max(metric.smallest, 12)
    shape = (3, 1, 1, side, side + seed % 5)
    images = torch.randint(0, contrast, shape, generator=torch.manual_seed(seed)) / 255
    value = metric(*images)
    low, high = metric.range
    assert value.isnan() or low - 1e-9 <= value.item() <= high + 1e-9


@pytest.mark.parametrize(
    "name",
    ["MSE", "PSNR", "CC", "SSIM", "MS-SSIM", "VIF", "Qabf", "MI", "NMI", "FMI", "Q_CB", "Q_CV"],
)
@given(seed=st.integers(0, 2**20))
@few
def test_worse_with_more_noise(name: str, scene: Triple, seed: int) -> None:
    metric, (clean, _, _) = METRICS[name], units(scene)
    noise = torch.randn(clean.shape, generator=torch.manual_seed(seed), dtype=clean.dtype)
    values = [
        metric((clean + amount * noise / 255).clamp(0, 1), clean, clean).item()
        for amount in (0, 4, 20)
    ]
    assert values == sorted(values, reverse=metric.better == "higher")
    assert len(set(values)) == 3


@pytest.mark.parametrize("name", ["SF", "AG", "EI", "Nabf"])
def test_noise_looks_like_detail(name: str, scene: Triple) -> None:
    fused, first, second = units(scene)
    noise = torch.randn(fused.shape, generator=torch.manual_seed(0)) / 12
    noisy = (fused + noise).clamp(0, 1)
    assert METRICS[name](noisy, first, second) > METRICS[name](fused, first, second)


@pytest.mark.parametrize("name", ["SD", "SF", "AG", "EI", "CC", "SCD", "MSE", "MI", "NMI", "EN"])
@given(shift=st.integers(-9, 30))
@few
def test_blind_to_brightness(name: str, batch: Triple, shift: int) -> None:
    images = [(0.8 * image * 255).round() / 255 + 10 / 255 for image in batch]
    value = METRICS[name](images[0], images[1], images[2])
    brighter = METRICS[name](*(image + shift / 255 for image in images))
    torch.testing.assert_close(value, brighter, rtol=1e-9, atol=1e-9)


@every_record
def test_too_small_is_refused(metric: Metric, profile: str) -> None:
    if metric.smallest == 1:
        assert metric(*torch.rand(3, 1, 1, 1, 1)).shape == (1,)
        return
    side = metric.smallest - 1
    message = f"{metric.name} needs .* at least {metric.smallest} x .* got {side} x {side + 9}"
    with pytest.raises(InputError, match=message):
        metric(*torch.rand(3, 1, 1, side, side + 9))
    images = torch.rand(3, 1, 1, side + 1, side + 1, generator=torch.manual_seed(0))
    assert metric(*images).shape == (1,)


def test_score_is_each_metric_by_its_name(batch: Triple) -> None:
    values = score(*batch)
    assert tuple(values) == PAPER_EIGHT
    for name, value in values.items():
        assert torch.equal(value, METRICS[name](*batch))
    other = score(*batch, ["MI", "SSIM"], profile="corrected")
    torch.testing.assert_close(other["MI"] * math.log(2), values["MI"])


def test_ssim_in_integers_is_that_of_its_definition(batch: Triple) -> None:
    images = levels(*batch)
    expected = structural_similarity(images.fused, images.sources, white=2).sum(0)
    torch.testing.assert_close(METRICS["SSIM"].of(images), expected, rtol=1e-12, atol=0)


def test_single_precision_images_give_the_same(batch: Triple) -> None:
    for name, value in score(*batch).items():
        single = METRICS[name](*(image.float() for image in batch))
        assert torch.equal(single, value), name


grey = torch.rand(2, 1, 50, 50, generator=torch.manual_seed(0))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        pytest.param((grey, grey, grey[:, :, 1:]), r"second is \(2, 1, 49, 50\)", id="size"),
        pytest.param((grey, grey[:1], grey), r"first is \(1, 1, 50, 50\)", id="batch"),
        pytest.param((grey.expand(2, 3, 50, 50), grey, grey), "colour.luma", id="colour"),
        pytest.param((grey[0], grey[0], grey[0]), r"\(B, 1, H, W\)", id="no batch"),
        pytest.param((grey, grey, grey * 255), "from 0 to 25[0-9]", id="not in [0, 1]"),
        pytest.param((grey, grey - 1, grey), "from -1 to", id="negative"),
        pytest.param((grey, grey, grey / 0), "inf|nan", id="not finite"),
        pytest.param((grey[:0], grey[:0], grey[:0]), "with pixels", id="empty"),
    ],
)
def test_unusable_images_are_named(images: Triple, message: str) -> None:
    with pytest.raises(InputError, match=message):
        levels(*images)


def test_unknown_names_are_answered_with_the_known() -> None:
    with pytest.raises(InputError, match="'ssim': use EN, SD"):
        score(grey, grey, grey, ["ssim"])
    with pytest.raises(InputError, match="'papers': use paper, matlab"):
        score(grey, grey, grey, profile="papers")


class _Watch(torch.overrides.TorchFunctionMode):
    """Notes how many numbers each result has."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def __torch_function__(self, function, types, arguments=(), options=None):  # type: ignore[no-untyped-def]
        result = function(*arguments, **(options or {}))
        if isinstance(result, Tensor):
            self.sizes.append(result.numel())
        return result


def test_large_images_are_scored_in_bands() -> None:
    # No result is larger than the three images together: not the 17 x 17 windows of them, nor a
    # stack of their products.
    images = torch.zeros(3, 1, 1, 900, 700)
    with _Watch() as watch:
        score(images[0], images[1], images[2], ["VIF", "SSIM", "Qabf"])
    assert max(watch.sizes) <= 3 * 902 * 702
