import subprocess
import sys
from collections import Counter
from dataclasses import fields
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from released import shared
from torch import Tensor

from cddfuse import write_image
from cddfuse.benchmark.plan import DataSet
from cddfuse.datasets import catalog
from cddfuse.datasets.catalog import CATALOG, TRAINED_ON, Card, locate, split_of
from cddfuse.datasets.checking import check, recognise
from cddfuse.datasets.fingerprints import FARTHEST, find_copies, fingerprint, found_in_splits
from cddfuse.errors import InputError
from cddfuse.models import MODELS
from cddfuse.pair import ImagePair

NAMES = {"msrs", "tno", "roadscene", "m3fd", "llvip", "fmb", "vifb", "m3svd"}


def test_the_catalogue_needs_the_standard_library_only() -> None:
    """Read without the package, whose `__init__` loads torch."""
    code = """
import importlib.util, pathlib, sys, types
folder = pathlib.Path(sys.argv[1]).parent
errors = types.ModuleType("cddfuse.errors")
errors.InputError = ValueError
package = types.ModuleType("cddfuse.datasets")
package.__path__ = [str(folder)]
package.__spec__ = importlib.util.spec_from_file_location(
    "cddfuse.datasets", folder / "__init__.py", submodule_search_locations=[str(folder)])
sys.modules.update({"cddfuse": types.ModuleType("cddfuse"), "cddfuse.errors": errors,
                    "cddfuse.datasets": package})
import cddfuse.datasets.catalog as catalog
assert len(catalog.split_of("tno/test").fingerprints()) == 25
assert not {"torch", "numpy", "cv2", "PIL"} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code, str(catalog.__file__)], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


def test_the_data_sets_of_the_field_have_cards() -> None:
    assert NAMES | {"mri_ct", "mri_pet", "mri_spect"} == set(CATALOG)


@pytest.mark.parametrize("card", CATALOG.values(), ids=list(CATALOG))
def test_cards_are_complete_and_lists_have_the_expected_length(card: Card) -> None:
    assert card.source.startswith("https://")
    assert card.terms
    assert card.layouts
    for split in card.splits.values():
        assert split.pairs > 0
        assert not split.listed or len(split.fingerprints()) == split.pairs


@pytest.mark.parametrize("card", CATALOG.values(), ids=list(CATALOG))
def test_facts_that_nobody_checked_are_marked(card: Card) -> None:
    assert set(card.unverified) <= {field.name for field in fields(card)}
    for name in ("terms", "size"):
        marked = card.marked(name, "x") == "x (unverified)"
        assert marked == (name in card.unverified)
    if "none stated" in card.terms:  # who would know that from memory?
        assert "terms" in card.unverified


def test_splits_of_a_set_share_no_pair() -> None:
    for card in CATALOG.values():
        listed = [name for split in card.splits.values() for name in split.fingerprints()]
        assert Counter(listed).total() == len(set(listed)), card.name


def test_training_data_of_all_shipped_weights_is_known() -> None:
    shipped = {f"{name}/{w}" for name, kind in MODELS.items() for w in kind.card.weights}
    assert shipped == set(TRAINED_ON)
    for name, splits in TRAINED_ON.items():
        model, _, weights = name.partition("/")
        text = MODELS[model].card.weights[weights].trained_on
        sets = {path.partition("/")[0] for path in splits}
        for word, wanted in {"RoadScene": "roadscene", "MSRS": "msrs", "LLVIP": "llvip"}.items():
            assert (word in text) == (wanted in sets), (name, text)
        count = sum(split_of(path).pairs for path in splits if path.endswith("/train"))
        assert f"{count} pairs" in text, (name, text)


@pytest.mark.parametrize("name", ["tno", "roadscene", "mri_ct", "mri_pet", "mri_spect"])
def test_published_test_pairs_are_in_no_training_data(name: str) -> None:
    """And are far enough from all of it that no copy could be mistaken."""
    test = split_of(f"{name}/test").fingerprints()
    prints = {key: mark for key, mark in test.items() if mark is not None}
    place = DataSet(name, Path(), None, CATALOG[name].task, CATALOG[name])
    assert len(prints) == len(test)
    for splits in set(TRAINED_ON.values()):
        assert found_in_splits(splits, place.card, list(test), prints) == {}


def scene(seed: int) -> Tensor:
    rng = np.random.default_rng(seed)
    small = cv2.resize(rng.random((9, 12)).astype(np.float32), (240, 180))
    return torch.from_numpy(small)[None]


def copy(image: Tensor) -> Tensor:
    """At half size and low JPEG quality."""
    levels = (image[0].numpy() * 255).astype(np.uint8)
    half = cv2.resize(levels, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    encoded = cv2.imencode(".jpg", half, [cv2.IMWRITE_JPEG_QUALITY, 60])[1]
    decoded = cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE)
    return torch.from_numpy(np.asarray(decoded))[None].float() / 255


def test_copies_are_found_and_other_scenes_are_not() -> None:
    known = fingerprint(ImagePair(scene(1), scene(2)))
    same = fingerprint(ImagePair(copy(scene(1)), copy(scene(2))))
    other = fingerprint(ImagePair(scene(1), scene(3)))
    assert find_copies({"same": same, "other": other}, [("known", known)]) == {"same": "known"}
    assert FARTHEST < 38  # neighbouring slices of AANLIB


def test_scenes_and_patients() -> None:
    assert CATALOG["mri_ct"].scene_of("20005") == "20"
    assert CATALOG["mri_ct"].scene_of("11") == "11"
    assert CATALOG["llvip"].scene_of("190123") == "19"
    assert CATALOG["tno"].scene_of("01") == "01"


def write_pairs(folder: Path, first: str, second: str, names: list[str]) -> None:
    for side in (first, second):
        for name in names:
            write_image(folder / side / f"{name}.png", torch.rand(1, 12, 16))


@pytest.mark.parametrize(
    "layout", ["vi ir", "test/Visible test/Infrared", "visible/test infrared/test"]
)
def test_layouts_in_the_wild_are_found(tmp_path: Path, layout: str) -> None:
    first, second = layout.split()
    write_pairs(tmp_path, first, second, ["1"])
    assert locate(CATALOG["msrs"], tmp_path) == (tmp_path / first, tmp_path / second)


def test_a_folder_is_checked_against_its_card(tmp_path: Path) -> None:
    folder = tmp_path / "tno"
    write_pairs(folder, "vi", "ir", ["01", "02", "extra"])
    write_image(folder / "vi" / "03.png", torch.rand(1, 12, 16))
    write_image(folder / "ir" / "02.png", torch.rand(1, 12, 18), overwrite=True)
    found = check(folder, recognise(folder))
    assert found.splits == {"test": (2, 25)}
    assert found.sizes == {"16x12": 3}
    assert any("03.png" in problem for problem in found.problems)
    assert any("16x12 and 18x12" in problem for problem in found.problems)


def test_folders_that_hold_nothing_known_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="names no known data set"):
        recognise(tmp_path)
    with pytest.raises(InputError, match="has no folders of TNO"):
        locate(CATALOG["tno"], tmp_path)
    with pytest.raises(InputError, match="there is no folder"):
        locate(CATALOG["tno"], tmp_path / "nothing")


@pytest.mark.shared
def test_lists_are_those_of_the_images() -> None:
    folder = shared("data", "tno", "test")
    found = check(folder, CATALOG["tno"])
    assert found.splits == {"test": (25, 25)}
    assert found.problems == []
