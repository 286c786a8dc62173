"""The dialects of the scores. A number means something only beside one of the same profile."""

from collections.abc import Iterable

from torch import Tensor

from cddfuse.errors import InputError
from cddfuse.metrics.ag import AG, AG_PER_STEP
from cddfuse.metrics.base import Metric, levels
from cddfuse.metrics.cc import CC
from cddfuse.metrics.ce import CE
from cddfuse.metrics.ei import EI, EI_FRAMED
from cddfuse.metrics.en import EN, EN_OFFSET
from cddfuse.metrics.fmi import (
    FMI,
    FMI_DCT,
    FMI_GRADIENT,
    FMI_PIXEL,
    FMI_WAVELET,
)
from cddfuse.metrics.mef_ms_ssim import MEF_MS_SSIM
from cddfuse.metrics.mi import MI, MI_BITS, MI_SATURATED, MI_STRETCHED
from cddfuse.metrics.ms_ssim import MS_SSIM, MS_SSIM_MEAN, MS_SSIM_OF_1
from cddfuse.metrics.mse import MSE, MSE_UNIT
from cddfuse.metrics.nabf import NABF, NABF_WITHOUT_FAINT, NABF_WRONG_ORDER
from cddfuse.metrics.nmi import NMI, NMI_OF_SOURCES
from cddfuse.metrics.psnr import PSNR, PSNR_255, PSNR_65025, PSNR_ROOT
from cddfuse.metrics.q_cb import Q_CB
from cddfuse.metrics.q_cv import Q_CV
from cddfuse.metrics.qabf import QABF, QABF_FOLDED
from cddfuse.metrics.scd import SCD
from cddfuse.metrics.sd import SD, SD_SATURATED
from cddfuse.metrics.sf import SF, SF_OVER_PIXELS, SF_UNIT
from cddfuse.metrics.ssim import (
    SSIM,
    SSIM_MATLAB,
    SSIM_MEAN,
    SSIM_SUM,
    SSIM_SUM_OF_1,
)
from cddfuse.metrics.vif import (
    VIF,
    VIF_MEAN,
    VIF_SATURATED,
    VIF_STRICT,
)
from cddfuse.metrics.viff import VIFF
from cddfuse.threads import single_threaded


class Profile(dict[str, Metric]):
    """Metrics by name that belong together, and in `compares` where their numbers do."""

    def __init__(self, compares: str, *metrics: Metric) -> None:
        super().__init__((metric.name, metric) for metric in metrics)
        self.compares = compares


PAPER_EIGHT = ("EN", "SD", "SF", "MI", "SCD", "VIF", "Qabf", "SSIM")

# fmt: off
PROFILES = {
    "paper": Profile(
        "Tables of CDDFuse and of papers that use its evaluator; it has twelve of these metrics, "
        "the others are as in the programs they are usually computed with.",
        EN, SD, SF, AG, MI, NMI, MSE, PSNR, CC, SCD, VIF, VIFF, QABF, NABF, SSIM, MS_SSIM,
        FMI, FMI_GRADIENT, FMI_DCT, FMI_WAVELET, Q_CB, Q_CV, CE, EI,
    ),
    "matlab": Profile(
        "Tables made with Linfeng Tang's MATLAB scripts as they are today, slips included.",
        EN, SD, SF, AG_PER_STEP, MI_SATURATED, MSE_UNIT, PSNR_65025, CC, SCD, VIF_STRICT, QABF,
        NABF_WRONG_ORDER, SSIM_MATLAB, MEF_MS_SSIM, FMI, FMI_DCT, FMI_WAVELET,
    ),
    "spreadsheet": Profile(
        "Tables made with an older state of those scripts, in 8-bit arithmetic: SD of 8 to 10.",
        EN, SD_SATURATED, SF_UNIT, AG_PER_STEP, MI_SATURATED, MSE_UNIT, PSNR_65025, CC, SCD,
        VIF_SATURATED,
    ),
    "vifb": Profile(
        "Tables of the benchmark VIFB and of papers that use its scripts.",
        EN, SD, SF_OVER_PIXELS, AG_PER_STEP, MI_STRETCHED, PSNR_ROOT, QABF, SSIM_SUM, Q_CB, Q_CV,
        CE, EI,
    ),
    "ivif_zoo": Profile(
        "Tables made with the program of the collection IVIF_ZOO, which works in float32: equal to "
        "about 1e-4. Its VIF, CE, Q_CB, Q_Y, Q_NCIE and Q_TE are not here.",
        EN_OFFSET, SD, SF, AG, MI_BITS, NMI_OF_SOURCES, MSE_UNIT, PSNR_65025, CC, SCD, QABF,
        NABF_WITHOUT_FAINT, SSIM_SUM_OF_1, MS_SSIM_OF_1, EI_FRAMED,
    ),
    "corrected": Profile(
        "Definitions as their papers state them; no published table has these numbers.",
        EN, SD, SF_OVER_PIXELS, AG, MI_BITS, NMI, MSE, PSNR_255, CC, SCD, VIF_MEAN, VIFF,
        QABF_FOLDED, NABF, SSIM_MEAN, MS_SSIM_MEAN, FMI_PIXEL, FMI_GRADIENT, FMI_DCT, FMI_WAVELET,
        Q_CB, Q_CV, CE, EI,
    ),
}
# fmt: on

METRICS = PROFILES["paper"]


def score(
    fused: Tensor,
    first: Tensor,
    second: Tensor,
    names: Iterable[str] = PAPER_EIGHT,
    profile: str = "paper",
) -> dict[str, Tensor]:
    """Score a batch of fused images (B, 1, H, W) in [0, 1] by several metrics: (B,) for each name.

    The images are checked and rounded once.
    """
    return _scores(chosen(names, profile), fused, first, second)


@single_threaded
def _scores(
    metrics: list[Metric], fused: Tensor, first: Tensor, second: Tensor
) -> dict[str, Tensor]:
    images = levels(fused, first, second)
    return {metric.name: metric.of(images) for metric in metrics}


def chosen(names: Iterable[str], profile: str = "paper") -> list[Metric]:
    """The metrics of a profile by their names."""
    if profile not in PROFILES:
        raise InputError(f"There is no profile {profile!r}: use {', '.join(PROFILES)}.")
    known, names = PROFILES[profile], list(names)
    for name in names:
        if name not in known:
            raise InputError(f"Profile {profile} has no metric {name!r}: use {', '.join(known)}.")
    return [known[name] for name in names]
