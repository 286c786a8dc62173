"""Figures of the paper of CDDFuse (CVPR 2023), to stand beside ours, marked.

Detection on M3FD by YOLOv5, AP@0.5; segmentation on MSRS by DeepLabV3+, IoU. Means over classes:
those of single classes are not kept here. Recipe, split and seeds were not published, so that our
rows are not a repetition.
"""

from collections.abc import Mapping

ROWS: Mapping[tuple[str, str], Mapping[str, float]] = {
    ("m3fd", "AP@0.5"): {
        "ir": 0.7462,
        "vi": 0.7769,
        "cddfuse": 0.8113,
        "best of the other methods": 0.8082,
    },
    ("msrs", "IoU"): {
        "ir": 0.517,
        "vi": 0.554,
        "cddfuse": 0.643,
        "best of the other methods": 0.617,
    },
}
"""Mean over classes, by data set and measure."""
