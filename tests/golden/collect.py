"""Copy the reference data that may be committed from `../shared/golden` into this folder.

Run `PYTHONPATH=tests python tests/golden/collect.py` after the reference data have changed.
README.md says what is taken, what is left out, and why.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
GOLDEN = HERE.parents[2] / "shared" / "golden"

# The cases that were drawn or computed from nothing else. `syn_inverted_fused`, `syn_fused_const`,
# `syn_ir_const`, `syn_ir_zero`, `syn_mean_round`, `syn_max`, `syn_tiny_16x16`, `syn_tiny_17x17`,
# `syn_vif_40x40` and `syn_vif_41x41` are called synthetic too, but crop a TNO pair.
CASES = (
    *("all_zero", "const_same", "identical", "fused_is_ir", "inverted", "saturated", "binary"),
    *("checker1", "noise_indep", "strip_1xW", "strip_Hx1", "strip_2xW", "tiny_1x1", "tiny_2x2"),
    *("tiny_3x3", "tiny_6x6", "tiny_7x7"),
)
# file of reference values -> the program that computed them
ORIGINS = {
    "official_pinned_f64": "Evaluator.py of MMIF-CDDFuse in float64: Python 3.8, numpy 1.21.5, "
    "scipy 1.7.3, scikit-image 0.19.2, scikit-learn 1.1.3, opencv 4.5.3",
    "official_pinned_f32": "the same program in float32, as released",
    "extra": "independent NumPy transcriptions of the definitions, checked against Octave",
    "octave_zhengliu": "the MATLAB toolbox of Zheng Liu under Octave 7.3",
    "octave_vifb": "the MATLAB code of the VIFB benchmark under Octave 7.3",
    "octave_linfengtang": "the MATLAB code of Linfeng-Tang's Evaluation-for-Image-Fusion "
    "under Octave 7.3",
}


def metrics(keys: dict[str, set[str]]) -> None:
    """Images of the synthetic cases, and the values of every reference that a test reads."""
    images: dict[str, np.ndarray] = {}
    values: dict[str, Any] = {}
    for case in CASES:
        with np.load(GOLDEN / "metrics" / "cases" / f"syn_{case}.npz") as file:
            images |= {f"syn_{case}/{key}": file[key] for key in ("fused", "vi", "ir")}
    for name, origin in ORIGINS.items():
        stored = _read(GOLDEN / "metrics" / f"golden_{name}.json")
        chosen = {
            f"syn_{case}": {k: v for k, v in stored[f"syn_{case}"].items() if k in keys[name]}
            for case in CASES
            if f"syn_{case}" in stored
        }
        values[name] = {"origin": origin, "values": chosen}
    _save(HERE / "metrics.npz", images)
    _write(HERE / "metrics.json", values)


def published() -> None:
    """Scores of single images behind the re-derived rows of published tables: numbers only."""
    stored = _read(GOLDEN / "metrics" / "paper_rederivation.json")
    rows = {
        name: {"paper": row["paper"], "per_image": row["per_image"]} for name, row in stored.items()
    }
    origin = "Evaluator.py of MMIF-CDDFuse, in the order EN SD SF MI SCD VIF Qabf SSIM"
    _write(HERE / "published.json", {"origin": origin, "rows": rows})


def cddfuse() -> None:
    """Outputs, layout and ten training steps of the released CDDFuse, on drawn inputs."""
    with np.load(GOLDEN / "cddfuse" / "forward.npz") as file:
        _save(HERE / "cddfuse_forward.npz", {name: _thin(array) for name, array in file.items()})
    with np.load(GOLDEN / "cddfuse" / "train_batches.npz") as file:
        _save(HERE / "cddfuse_batches.npz", dict(file))
    for theirs, ours in (
        ("official_state_dict_layout", "cddfuse_layout"),
        ("train_trajectory", "cddfuse_trajectory"),
    ):
        _write(HERE / f"{ours}.json", _read(GOLDEN / "cddfuse" / f"{theirs}.json"))


def _thin(array: np.ndarray) -> np.ndarray:
    """Every second row and column of feature maps, which are stored every third; images whole."""
    return array if array.shape[1] == 1 else array[..., ::2, ::2]


def _save(path: Path, arrays: dict[str, Any]) -> None:
    np.savez_compressed(path, **arrays)


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    from metrics.test_golden import REFERENCES

    used: dict[str, set[str]] = {name: set() for name in ORIGINS}
    for entry in REFERENCES:
        used.setdefault(entry[2], set()).add(entry[3])
    metrics(used)
    published()
    cddfuse()
