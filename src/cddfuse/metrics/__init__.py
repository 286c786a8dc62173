"""Scores of fused images: pure functions of grey levels, and records that say what they mean."""

from cddfuse.metrics.average_gradient import average_gradient
from cddfuse.metrics.base import Levels, Metric, levels
from cddfuse.metrics.contrast_preservation import contrast_preservation
from cddfuse.metrics.correlation import correlation
from cddfuse.metrics.correlations_of_differences import correlations_of_differences
from cddfuse.metrics.cross_entropy import cross_entropy
from cddfuse.metrics.edge_intensity import edge_intensity
from cddfuse.metrics.edge_preservation import edge_preservation
from cddfuse.metrics.entropy import entropy
from cddfuse.metrics.feature_mutual_information import feature_mutual_information
from cddfuse.metrics.fused_information import fused_information
from cddfuse.metrics.gradient_artefacts import gradient_artefacts
from cddfuse.metrics.mean_squared_error import mean_squared_error
from cddfuse.metrics.multi_exposure_similarity import multi_exposure_similarity
from cddfuse.metrics.multi_scale_similarity import multi_scale_similarity
from cddfuse.metrics.mutual_information import mutual_information
from cddfuse.metrics.normalised_mutual_information import normalised_mutual_information
from cddfuse.metrics.peak_signal_to_noise import peak_signal_to_noise
from cddfuse.metrics.perceived_difference import perceived_difference
from cddfuse.metrics.profiles import METRICS, PAPER_EIGHT, PROFILES, Profile, chosen, score
from cddfuse.metrics.spatial_frequency import spatial_frequency
from cddfuse.metrics.standard_deviation import standard_deviation
from cddfuse.metrics.structural_similarity import gaussian_similarity, structural_similarity
from cddfuse.metrics.visual_information_fidelity import visual_information_fidelity

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
