"""Figures of others for the published test sets, to stand beside ours, marked as published.

Profile `paper`, with the stretch, means over all pairs of the set.
"""

from collections.abc import Iterable

# In the order of PAPER_EIGHT. "paper" is from the tables of CDDFuse (CVPR 2023), of its model for
# infrared and visible ("ivf") or for medical images ("mif"). "re-derived" was made for this project
# with the evaluator of that paper in the versions it asks for: for didfuse from the weights that
# its authors released, by the rule "sum" and with the stretch; for sdnet and u2fusion from fused
# images that Linfeng Tang publishes, which for u2fusion are those of another run than the paper's.
ROWS: dict[tuple[str, str], dict[str, tuple[float, ...]]] = {
    ("cddfuse", "msrs"): {"paper": (6.70, 43.38, 11.56, 3.47, 1.62, 1.05, 0.69, 1.00)},
    ("cddfuse", "tno"): {
        "paper": (7.12, 46.00, 13.15, 2.19, 1.76, 0.77, 0.54, 1.03),
        "third-party retraining": (7.14, 45.34, 13.68, 2.46, 1.65, 0.81, 0.56, 0.97),
    },
    ("cddfuse", "roadscene"): {
        "paper": (7.44, 54.67, 16.36, 2.30, 1.81, 0.69, 0.52, 0.98),
        "third-party retraining": (7.34, 49.64, 16.44, 2.39, 1.74, 0.68, 0.55, 0.91),
    },
    ("cddfuse", "mri_ct"): {
        "paper, ivf": (4.83, 88.59, 33.83, 2.24, 1.74, 0.50, 0.59, 1.31),
        "paper, mif": (4.88, 79.17, 38.14, 2.61, 1.41, 0.61, 0.68, 1.34),
    },
    ("cddfuse", "mri_pet"): {
        "paper, ivf": (4.24, 81.72, 28.04, 1.87, 1.82, 0.66, 0.65, 1.46),
        "paper, mif": (4.23, 70.73, 29.57, 2.03, 1.69, 0.71, 0.71, 1.49),
    },
    ("cddfuse", "mri_spect"): {
        "paper, ivf": (3.91, 71.82, 20.68, 1.89, 1.92, 0.66, 0.69, 1.44),
        "paper, mif": (3.90, 58.31, 20.87, 2.49, 1.35, 0.97, 0.78, 1.48),
    },
    ("didfuse", "tno"): {
        "paper": (6.97, 45.12, 12.59, 1.70, 1.71, 0.60, 0.40, 0.81),
        "re-derived": (6.973, 50.122, 12.588, 1.704, 1.714, 0.604, 0.400, 0.814),
    },
    ("didfuse", "roadscene"): {
        "paper": (7.43, 51.58, 14.66, 2.11, 1.70, 0.58, 0.48, 0.86),
        "re-derived": (7.426, 56.581, 14.663, 2.115, 1.841, 0.631, 0.484, 0.857),
    },
    ("sdnet", "tno"): {
        "paper": (6.64, 32.66, 12.05, 1.52, 1.49, 0.56, 0.44, 1.00),
        "re-derived": (6.640, 32.651, 12.056, 1.516, 1.492, 0.557, 0.437, 0.997),
    },
    ("u2fusion", "tno"): {
        "paper": (6.83, 34.55, 11.52, 1.37, 1.71, 0.58, 0.44, 0.99),
        "re-derived": (6.879, 35.716, 11.708, 1.440, 1.719, 0.592, 0.446, 0.984),
    },
}

BEST_OF_OTHERS: dict[str, dict[str, tuple[float, ...]]] = {
    "msrs": {"": (6.61, 43.24, 11.98, 2.16, 1.44, 0.77, 0.54, 0.94)},
    "tno": {"": (7.10, 45.63, 15.71, 1.86, 1.71, 0.60, 0.44, 1.00)},
    "roadscene": {"": (7.43, 52.54, 16.19, 2.25, 1.74, 0.63, 0.51, 0.99)},
    "mri_ct": {
        "ivf": (5.30, 66.96, 33.42, 2.20, 1.24, 0.47, 0.52, 1.29),
        "mif": (5.02, 72.76, 29.41, 2.34, 1.32, 0.56, 0.49, 1.31),
    },
    "mri_pet": {
        "ivf": (4.77, 65.25, 29.11, 1.74, 1.49, 0.58, 0.58, 1.45),
        "mif": (4.21, 61.40, 31.97, 1.82, 1.40, 0.62, 0.67, 1.47),
    },
    "mri_spect": {
        "ivf": (4.39, 60.07, 23.77, 1.80, 1.47, 0.64, 0.58, 1.46),
        "mif": (3.74, 52.97, 22.20, 1.88, 1.28, 0.71, 0.74, 1.49),
    },
}
"""The best of the eight other methods in the tables of CDDFuse, metric by metric: no method has all
of them. By data set, and by the task that the methods were trained for ("" is the only one)."""


def published_rows(models: Iterable[str], data: str) -> dict[str, tuple[float, ...]]:
    """Rows for a data set by what a table calls them: of these models, and the best of others."""
    rows = {
        f"{model} ({who})": values
        for model in dict.fromkeys(models)
        for who, values in ROWS.get((model, data), {}).items()
        if who != "re-derived"
    }
    for task, values in BEST_OF_OTHERS.get(data, {}).items() if rows else ():
        rows[f"best of 8 others (paper{', ' + task if task else ''})"] = values
    return rows
