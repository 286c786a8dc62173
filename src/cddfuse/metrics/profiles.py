"""Profiles: named implementation variants of the metrics. Only equal profiles are comparable."""

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
from cddfuse.metrics.tc import TARGET_CONTRASTS
from cddfuse.metrics.vif import (
    VIF,
    VIF_MEAN,
    VIF_SATURATED,
    VIF_STRICT,
)
from cddfuse.metrics.viff import VIFF
from cddfuse.threads import single_threaded


class Profile(dict[str, Metric]):
    """Metrics by name, and in `compares` the tables that their numbers are comparable with."""

    def __init__(self, compares: str, *metrics: Metric) -> None:
        super().__init__((metric.name, metric) for metric in metrics)
        self.compares = compares


PAPER_EIGHT = ("EN", "SD", "SF", "MI", "SCD", "VIF", "Qabf", "SSIM")

# fmt: off
PROFILES = {
    "paper": Profile(
        "Comparable with the tables of CDDFuse and of papers that use its evaluator, which has "
        "twelve of these metrics; the others are as in the programs usually used for them.",
        EN, SD, SF, AG, MI, NMI, MSE, PSNR, CC, SCD, VIF, VIFF, QABF, NABF, SSIM, MS_SSIM,
        FMI, FMI_GRADIENT, FMI_DCT, FMI_WAVELET, Q_CB, Q_CV, CE, EI,
    ),
    "matlab": Profile(
        "Comparable with tables made with Linfeng Tang's MATLAB scripts of today, bugs included.",
        EN, SD, SF, AG_PER_STEP, MI_SATURATED, MSE_UNIT, PSNR_65025, CC, SCD, VIF_STRICT, QABF,
        NABF_WRONG_ORDER, SSIM_MATLAB, MEF_MS_SSIM, FMI, FMI_DCT, FMI_WAVELET,
    ),
    "spreadsheet": Profile(
        "Comparable with tables made with an older version of those scripts, in uint8 arithmetic: "
        "SD of 8 to 10.",
        EN, SD_SATURATED, SF_UNIT, AG_PER_STEP, MI_SATURATED, MSE_UNIT, PSNR_65025, CC, SCD,
        VIF_SATURATED,
    ),
    "vifb": Profile(
        "Comparable with the tables of the benchmark VIFB and of papers that use its scripts.",
        EN, SD, SF_OVER_PIXELS, AG_PER_STEP, MI_STRETCHED, PSNR_ROOT, QABF, SSIM_SUM, Q_CB, Q_CV,
        CE, EI,
    ),
    "ivif_zoo": Profile(
        "Comparable with tables made with the program of the collection IVIF_ZOO, to about 1e-4, "
        "for it computes in float32. Its VIF, CE, Q_CB, Q_Y, Q_NCIE and Q_TE are not included.",
        EN_OFFSET, SD, SF, AG, MI_BITS, NMI_OF_SOURCES, MSE_UNIT, PSNR_65025, CC, SCD, QABF,
        NABF_WITHOUT_FAINT, SSIM_SUM_OF_1, MS_SSIM_OF_1, EI_FRAMED,
    ),
    "corrected": Profile(
        "Definitions as stated in the papers; not comparable with published tables.",
        EN, SD, SF_OVER_PIXELS, AG, MI_BITS, NMI, MSE, PSNR_255, CC, SCD, VIF_MEAN, VIFF,
        QABF_FOLDED, NABF, SSIM_MEAN, MS_SSIM_MEAN, FMI_PIXEL, FMI_GRADIENT, FMI_DCT, FMI_WAVELET,
        Q_CB, Q_CV, CE, EI, *TARGET_CONTRASTS,
    ),
}
# fmt: on

METRICS = PROFILES["paper"]


def score(
    fused: Tensor,
    first: Tensor,
    second: Tensor,
    metrics: Iterable[str | Metric] = PAPER_EIGHT,
    profile: str = "paper",
) -> dict[str, Tensor]:
    """Score a batch of fused images (B, 1, H, W) in [0, 1] by several metrics: (B,) for each name.

    The images are checked and quantised once. A metric that needs larger images is NaN.
    """
    return _scores(chosen(metrics, profile), fused, first, second)


@single_threaded
def _scores(
    records: list[Metric], fused: Tensor, first: Tensor, second: Tensor
) -> dict[str, Tensor]:
    images = levels(fused, first, second)
    return {metric.name: metric.of(images) for metric in records}


def chosen(metrics: Iterable[str | Metric], profile: str = "paper") -> list[Metric]:
    """Metrics by their names in a profile, beside any of your own; repeated ones once."""
    if profile not in PROFILES:
        raise InputError(
            f"there is no profile {profile!r}: use {', '.join(PROFILES)}.", setting="profile"
        )
    known = PROFILES[profile]
    found: dict[str, Metric] = {}
    for metric in metrics:
        if not isinstance(metric, str | Metric):
            kind = type(metric).__name__
            raise InputError(f"a {kind} is no metric: use a name, or a cddfuse.metrics.Metric.")
        if isinstance(metric, str) and metric not in known:
            raise InputError(
                f"profile {profile} has no metric {metric!r}: use {', '.join(known)}.",
                setting="metrics",
            )
        record = known[metric] if isinstance(metric, str) else metric
        if found.setdefault(record.name, record) is not record:
            raise InputError(f"two metrics are called {record.name}: rename one of them.")
    if not found:
        raise InputError(f"there is no metric to compute: use {', '.join(known)}.")
    return list(found.values())
