"""Metrics of fused images: functions of grey levels, and records with unit, range and source."""

from cddfuse.metrics.ag import average_gradient
from cddfuse.metrics.base import Levels, Metric, levels
from cddfuse.metrics.cc import correlation
from cddfuse.metrics.ce import cross_entropy
from cddfuse.metrics.ei import edge_intensity
from cddfuse.metrics.en import entropy
from cddfuse.metrics.fmi import feature_mutual_information
from cddfuse.metrics.mef_ms_ssim import multi_exposure_similarity
from cddfuse.metrics.mi import mutual_information
from cddfuse.metrics.ms_ssim import multi_scale_similarity
from cddfuse.metrics.mse import mean_squared_error
from cddfuse.metrics.nabf import gradient_artefacts
from cddfuse.metrics.nmi import normalised_mutual_information
from cddfuse.metrics.profiles import METRICS, PAPER_EIGHT, PROFILES, Profile, chosen, score
from cddfuse.metrics.psnr import peak_signal_to_noise
from cddfuse.metrics.q_cb import contrast_preservation
from cddfuse.metrics.q_cv import perceived_difference
from cddfuse.metrics.qabf import edge_preservation
from cddfuse.metrics.scd import correlations_of_differences
from cddfuse.metrics.sd import standard_deviation
from cddfuse.metrics.sf import spatial_frequency
from cddfuse.metrics.ssim import gaussian_similarity, structural_similarity
from cddfuse.metrics.vif import visual_information_fidelity
from cddfuse.metrics.viff import fused_information

__all__ = [
    "METRICS",
    "PAPER_EIGHT",
    "PROFILES",
    "Levels",
    "Metric",
    "Profile",
    "average_gradient",
    "chosen",
    "contrast_preservation",
    "correlation",
    "correlations_of_differences",
    "cross_entropy",
    "edge_intensity",
    "edge_preservation",
    "entropy",
    "feature_mutual_information",
    "fused_information",
    "gaussian_similarity",
    "gradient_artefacts",
    "levels",
    "mean_squared_error",
    "multi_exposure_similarity",
    "multi_scale_similarity",
    "mutual_information",
    "normalised_mutual_information",
    "peak_signal_to_noise",
    "perceived_difference",
    "score",
    "spatial_frequency",
    "standard_deviation",
    "structural_similarity",
    "visual_information_fidelity",
]
