"""Published rows of the benchmark against the scores that were re-derived for single images."""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from released import golden_values, shared, shared_cases

from cddfuse.metrics import PAPER_EIGHT, score

ROOT = Path(__file__).parents[2]
NAMES = {
    "DID_TNO": ("didfuse", "tno"),
    "DID_RoadScene": ("didfuse", "roadscene"),
    "SDN_TNO": ("sdnet", "tno"),
    "U2F_TNO": ("u2fusion", "tno"),
}


def _benchmark() -> Any:
    """The benchmarks are no package that is installed."""
    path = ROOT / "benchmarks" / "published.py"
    spec = importlib.util.spec_from_file_location("published", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


ROWS, compared = _benchmark().ROWS, _benchmark().compared


@pytest.fixture(scope="module")
def stored() -> dict[str, Any]:
    rows: dict[str, Any] = golden_values("published")["rows"]
    return rows


@pytest.mark.parametrize("name", NAMES)
def test_rows_are_the_means_of_the_stored_images(stored: dict[str, Any], name: str) -> None:
    row = stored[name]
    means = np.mean(list(row["per_image"].values()), axis=0)
    assert ROWS[NAMES[name]]["re-derived"] == pytest.approx(means, abs=6e-4)
    assert ROWS[NAMES[name]]["paper"] == pytest.approx(row["paper"])


# Those of the stored triples that belong to a row.
TRIPLES = {
    "U2Fusion": ("U2F_TNO", "07", "tno08_U2Fusion"),
    "SDNet": ("SDN_TNO", "11", "tno17_SDNet"),
}


@pytest.mark.parametrize(("name", "image", "case"), shared_cases(TRIPLES))
def test_scores_of_an_image(stored: dict[str, Any], name: str, image: str, case: str) -> None:
    arrays = np.load(shared("golden", "metrics", "cases", f"{case}.npz"))
    fused, vi, ir = (
        torch.from_numpy(arrays[key])[None, None] / 255 for key in ("fused", "vi", "ir")
    )
    ours = [value.item() for value in score(fused, vi, ir).values()]
    # float32 in the reference
    assert ours == pytest.approx(stored[name]["per_image"][image], rel=1e-6)


def test_differences_are_ours_less_theirs() -> None:
    ours = tuple(value + 0.25 for value in ROWS["didfuse", "tno"]["paper"])
    head, _, paper, more, *_ = compared("didfuse", "tno", ours)
    assert head.split() == list(PAPER_EIGHT)
    assert paper.split()[:2] == ["paper", "6.970"]
    assert more.split()[-8:] == ["+0.250"] * 8
    assert len(compared("own", "tno", ours)) == 2
