"""Intersection over union of class maps, from confusion matrices.

Range: [0, 1]; NaN for a class that occurs neither in labels nor in predictions. Over a set of
images, counts are added before they are divided, as is usual.
"""

import numpy as np
from numpy.typing import NDArray

from cddfuse.datasets.labels import IGNORED

Counts = NDArray[np.int64]
Values = NDArray[np.float64]


def confusion(labels: NDArray[np.uint8], predicted: NDArray[np.uint8], classes: int) -> Counts:
    """How many pixels of each class (rows) are taken for each (columns), without ignored ones."""
    counted = labels != IGNORED
    cells = labels[counted].astype(np.int64) * classes + predicted[counted]
    return np.bincount(cells, minlength=classes**2).reshape(classes, classes)


def intersection_over_union(matrices: NDArray[np.integer | np.floating]) -> Values:
    """IoU of each class from confusion matrices (..., N, N): (..., N)."""
    hits = np.diagonal(matrices, axis1=-2, axis2=-1).astype(np.float64)
    union = matrices.sum(-1) + matrices.sum(-2) - hits
    return np.divide(hits, union, out=np.full(hits.shape, np.nan), where=union > 0)


def resampled(matrices: Counts, weights: Values | None = None) -> Values:
    """IoU over resamples of images: (resamples, N).

    Args:
        matrices: (images, N, N).
        weights: (resamples, images) how often each image is in a resample; None is once each.
    """
    if weights is None:
        weights = np.ones((1, len(matrices)))
    return intersection_over_union(np.tensordot(weights, matrices.astype(np.float64), 1))
