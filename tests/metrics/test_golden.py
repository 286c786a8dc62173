"""Agreement with the reference programs, on triples of a fused image and its two sources.

Synthetic triples are committed (golden/README.md); real images lie in `../shared`.
"""

import json
import math
from collections.abc import Iterable
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch
from released import golden_arrays, golden_values, shared, shared_cases

from cddfuse.metrics import PROFILES, Levels, edge_preservation
from cddfuse.metrics.fmi import FMI_GRADIENT

OFFICIAL, OFFICIAL_32 = "official_pinned_f64", "official_pinned_f32"
EXTRA, LIU, VIFB, TANG = "extra", "octave_zhengliu", "octave_vifb", "octave_linfengtang"
ZOO = "ivif_zoo"

# profile, metric, file, key there, relative and absolute tolerance. The absolute one is for values
# that are 0 but for rounding.
Reference = tuple[str, str, str, str, float, float]
REFERENCES: list[Reference] = [
    *[
        ("paper", name, OFFICIAL, name, 1e-10, 1e-12)
        for name in ("EN", "SD", "SF", "AG", "MI", "MSE", "PSNR", "CC", "SCD")
    ],
    # in 5-window sums of squares this reference itself is not more exact
    ("paper", "SSIM", OFFICIAL, "SSIM", 1e-9, 1e-10),
    # thresholds of 1e-10 on differences of numbers up to 65025: the reference itself moves by 3e-9
    ("paper", "VIF", OFFICIAL, "VIFF", 2e-8, 0),
    ("paper", "Qabf", OFFICIAL, "Qabf", 1e-10, 0),
    *[
        ("paper", name, OFFICIAL_32, key, 1e-4, 1e-4)
        for name, key in {"SSIM": "SSIM", "VIF": "VIFF", "Qabf": "Qabf", "SCD": "SCD"}.items()
    ],
    ("paper", "NMI", EXTRA, "NMI_hossny_raw", 1e-10, 1e-12),
    ("paper", "CE", EXTRA, "CE_vifb", 1e-10, 1e-12),
    ("paper", "EI", EXTRA, "EI", 1e-10, 0),
    ("paper", "Nabf", EXTRA, "Nabf", 1e-10, 1e-12),
    ("paper", "MS-SSIM", EXTRA, "MS_SSIM5_L255_sum", 1e-10, 0),
    ("paper", "FMI", EXTRA, "FMI_edge", 1e-10, 1e-12),
    ("paper", "FMI_gradient", EXTRA, "FMI_gradient", 1e-6, 1e-12),
    ("paper", "FMI_dct", EXTRA, "FMI_dct", 1e-6, 1e-12),
    ("paper", "FMI_wavelet", EXTRA, "FMI_wavelet", 1e-6, 1e-12),
    ("paper", "VIFF", EXTRA, "VIFF_han", 1e-6, 0),
    ("paper", "Q_CB", LIU, "Q_CB", 1e-6, 0),
    ("paper", "Q_CV", LIU, "Q_CV_real", 1e-10, 1e-9),
    ("matlab", "AG", EXTRA, "AG_matlab_(r-1)(c-1)", 1e-10, 0),
    ("matlab", "MI", TANG, "MI_uint8_saturating_asis", 1e-10, 1e-12),
    ("matlab", "MSE", TANG, "MSE", 1e-10, 0),
    ("matlab", "PSNR", TANG, "PSNR", 1e-10, 0),
    ("matlab", "VIF", TANG, "VIF", 2e-8, 1e-12),
    ("matlab", "CC", TANG, "CC", 1e-10, 1e-12),
    ("matlab", "SCD", TANG, "SCD", 1e-10, 1e-12),
    ("vifb", "Q_CB", VIFB, "Qcb", 1e-6, 0),
    ("matlab", "Nabf", TANG, "Nabf_asis_wrong_order", 1e-10, 1e-12),
    ("matlab", "SSIM", EXTRA, "SSIM_gauss11_L1_replicate_half", 1e-7, 1e-12),
    ("matlab", "MS-SSIM", EXTRA, "MEF_MS_SSIM", 1e-7, 0),
    ("spreadsheet", "SD", TANG, "SD_uint8_saturating", 1e-10, 0),
    ("spreadsheet", "VIF", EXTRA, "VIF_uint8_saturated", 1e-6, 1e-12),
    ("vifb", "SF", VIFB, "Spatial_frequency", 1e-10, 0),
    ("vifb", "MI", VIFB, "Mutinf", 1e-10, 1e-12),
    ("vifb", "PSNR", VIFB, "Psnr", 1e-10, 0),
    ("vifb", "SSIM", VIFB, "Ssim", 1e-10, 1e-12),
    ("vifb", "Qabf", VIFB, "Qabf", 1e-8, 0),
    # that program works in float32, where its SSIM loses most: 1e-4 on 16 of the 23 images, 1e-4 to
    # 4e-4 on five, more on the two dark ones that are left out
    ("ivif_zoo", "SSIM", ZOO, "SSIM", 5e-4, 0),
    ("ivif_zoo", "MS-SSIM", ZOO, "MS_SSIM", 3e-4, 0),
    *[
        ("ivif_zoo", name, ZOO, name, 1e-6, 0)
        for name in ("EN", "SD", "SF", "AG", "MI", "NMI", "MSE", "PSNR", "CC", "SCD", "Qabf", "EI")
    ],
    ("ivif_zoo", "Nabf", ZOO, "Nabf", 1e-10, 0),
    ("corrected", "SF", EXTRA, "SF_mn", 1e-10, 0),
    ("corrected", "MI", EXTRA, "MI_bits", 1e-10, 1e-12),
    ("corrected", "PSNR", EXTRA, "PSNR_peak255", 1e-10, 0),
    ("corrected", "Qabf", EXTRA, "Qabf_folded_angle", 1e-10, 0),
    ("corrected", "FMI", EXTRA, "FMI_none", 1e-6, 1e-12),
]

# Not reproducible, by the specification or because a reference is decided by rounding.
ILL_POSED = {
    # 46 rows of the MRI are black to 1e-10 of a level after the filter, and 18 % of the pixels
    # weigh what the Fourier transform leaves there: 0.4 % below the reference with MKL's real
    # transform, 0.3 % with its complex one, 0.08 % with NumPy's
    "Q_CB": {"mri_pet_11_DIDFuse", "mri_pet_32_DIDFuse"},
    "Qcb": {"mri_pet_11_DIDFuse", "mri_pet_32_DIDFuse"},
    "ivif_zoo SSIM": {"msrs_00537D_PIAFusion", "vifb_manWalking_ADF"},
    "ivif_zoo MS_SSIM": {"msrs_00537D_PIAFusion"},
    # in MATLAB a single pixel correlates with itself
    "SCD": {"syn_tiny_1x1"},
    # the transform of a flat image is made of what is lost in rounding; that of the black around a
    # head partly too, which moves the score by up to 2e-6
    "FMI_wavelet": {
        *("syn_fused_const", "syn_ir_const", "syn_saturated", "syn_tiny_1x1"),
        *("mri_ct_11_DIDFuse", "mri_ct_21_DIDFuse"),
    },
    # sources that cancel; scales that are unlike on the average, complex numbers in MATLAB
    "MEF_MS_SSIM": {
        "syn_checker1",
        "syn_inverted",
        "syn_inverted_fused",
        "syn_binary",
        "syn_noise_indep",
    },
}

# up to a second for each image, so on the smaller ones
SLOW = {"Q_CB", "Qcb", "MEF_MS_SSIM", "VIF_uint8_saturated", "SSIM_gauss11_L1_replicate_half"}
SLOW |= {"FMI_edge", "FMI_gradient", "FMI_dct", "FMI_none", "FMI_wavelet"}

# these programs were run on real images only
REAL_ONLY = {ZOO, "MS_SSIM5_L255_sum"}

BY_ID = {"-".join(entry[:3]): entry for entry in REFERENCES}
SYNTHETIC = {k: entry for k, entry in BY_ID.items() if not REAL_ONLY.intersection(entry[2:4])}


@cache
def images() -> dict[str, np.ndarray]:
    return golden_arrays("metrics")


@cache
def references() -> dict[str, Any]:
    return golden_values("metrics")


@cache
def synthetic(label: str) -> Levels:
    return levels(*(images()[f"{label}/{key}"] for key in ("fused", "vi", "ir")))


@cache
def real(label: str) -> Levels:
    with np.load(shared("golden", "metrics", "cases", f"{label}.npz")) as file:
        return levels(*(file[key] for key in ("fused", "vi", "ir")))


def levels(*arrays: np.ndarray) -> Levels:
    fused, *sources = (torch.from_numpy(array).float()[None, None] for array in arrays)
    return Levels(fused, torch.stack(sources))


@cache
def stored(name: str) -> dict[str, dict[str, Any]]:
    """Reference values by image, of everything in `../shared`."""
    values: dict[str, dict[str, Any]] = json.loads(
        shared("golden", "metrics", f"golden_{name}.json").read_text()
    )
    return values


def assert_agrees(
    reference: Reference,
    cases: Iterable[tuple[str, Levels]],
    values: dict[str, dict[str, Any]],
    least: int,
) -> None:
    """Compare with every value of a reference that is defined; at least so many have to be."""
    profile, name, file, key, rel, tiny = reference
    metric, wrong, compared = PROFILES[profile][name], {}, 0
    ill_posed = ILL_POSED.get(key, set()) | ILL_POSED.get(f"{file} {key}", set())
    for label, case in cases:
        expected = values.get(label, {}).get(key)
        size = min(case.fused.shape[-2:])
        if expected is None or size < metric.smallest or label in ill_posed:
            continue
        if isinstance(expected, str) and expected.startswith(("EXC", "complex")):
            continue
        found, compared = metric.of(case).item(), compared + 1
        if found != pytest.approx(float(expected), rel=rel, abs=tiny, nan_ok=True):
            wrong[label] = (found, expected)
    assert not wrong
    assert compared >= least


@pytest.mark.parametrize("reference", SYNTHETIC.values(), ids=SYNTHETIC)
def test_agrees_on_synthetic_images(reference: Reference) -> None:
    values = references()[reference[2]]["values"]
    assert_agrees(reference, ((label, synthetic(label)) for label in values), values, least=5)


@pytest.mark.parametrize("reference", shared_cases({k: (entry,) for k, entry in BY_ID.items()}))
def test_agrees_on_real_images(reference: Reference) -> None:
    most = 70_000 if reference[3] in SLOW else math.inf
    committed = references()[OFFICIAL]["values"]
    others = ((label, real(label)) for label in stored(OFFICIAL) if label not in committed)
    cases = ((label, case) for label, case in others if case.fused.numel() <= most)
    assert_agrees(reference, cases, stored(reference[2]), least=10)


def test_qabf_in_torch_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    module = import_module("cddfuse.metrics.qabf")  # its name is a function's too
    monkeypatch.setattr(module, "loops", lambda *images: None)
    for label, values in references()[OFFICIAL]["values"].items():
        case, wanted = synthetic(label), float(values["Qabf"])
        single = edge_preservation(case.fused, *case.sources).item()
        assert single == pytest.approx(wanted, rel=2e-7, nan_ok=True), label
        double = edge_preservation(case.fused.double(), *case.sources.double()).item()
        assert double == pytest.approx(wanted, rel=1e-10, nan_ok=True), label


def test_what_the_reference_cannot_do_is_undefined_or_refused() -> None:
    black = synthetic("syn_all_zero")
    assert PROFILES["paper"]["NMI"].of(black).isnan().item()
    assert FMI_GRADIENT.of(black).item() == 1
