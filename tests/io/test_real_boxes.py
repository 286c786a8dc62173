"""Boxes of real data sets, as they lie there."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from released import shared

from cddfuse.datasets.catalog import Fingerprint
from cddfuse.datasets.labelled import LabelledSet, LabelRequest, open_labelled
from cddfuse.io import PairedPaths


def opened(*parts: str, **rest: Any) -> LabelledSet:
    return open_labelled(LabelRequest(shared("data", *parts), **rest), "boxes", unlike)


def unlike(pairs: Sequence[PairedPaths]) -> Mapping[str, Fingerprint]:
    """No two pairs are copies of each other."""
    wide = (2**256 - 1) // 255
    return {pair.name: Fingerprint(n * wide, ~n * wide % 2**256) for n, pair in enumerate(pairs)}


@pytest.mark.shared
def test_real_boxes_of_msrs_and_llvip() -> None:
    msrs = opened("msrs", "train", scene=r"(\d{4})", shares=(6, 0, 4))
    assert len(msrs.pairs) == 34
    assert msrs.classes.kept == ("person", "bicycle", "car")
    llvip = opened("llvip", "train", unlabelled="skip", scene=r"(\d{6})", shares=(6, 0, 3))
    assert len(llvip.pairs) == 9
