"""Which file is the result of which pair, for names that differ as little as those of sources."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from cddfuse.errors import InputError
from cddfuse.evaluate.matching import Matched, match_fused
from cddfuse.evaluate.sources import as_source, listed
from cddfuse.io import PairedPaths
from cddfuse.pair import ImagePair


def matched(root: Path, files: Sequence[str], pairs: Sequence[str]) -> Matched:
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return match_fused(
        root, [PairedPaths(name, Path(f"{name}_vi.png"), Path(f"{name}_ir.png")) for name in pairs]
    )


def names(root: Path, files: Sequence[str], pairs: Sequence[str]) -> dict[str, str]:
    found = matched(root, files, pairs).files
    return {name: str(path.relative_to(root)) for name, path in found.items()}


@pytest.mark.parametrize(
    ("files", "pairs"),
    [
        (["fused1.png", "fused2.png"], ["1", "2"]),
        (["FUSED0001.png", "Fused0002.png"], ["1", "2"]),
        (["1fused.png", "2fused.png"], ["1", "2"]),
        (["0001.png", "0002.png"], ["1", "2"]),
        (["1.png", "2.png"], ["001", "002"]),
        (["out_01_x.png", "out_02_X.png"], ["1", "2"]),
        (["STREET.PNG", "tree.png"], ["Street", "Tree"]),
        (["cafe\u0301.png", "STRASSE.png"], ["caf\u00e9", "stra\u00dfe"]),
        (["scene-1_fused.png"], ["scene_01"]),
        (["01_IR.png", "02_ir.png"], ["1", "2"]),
    ],
    ids=str,
)
def test_results_that_look_like_their_pair(
    tmp_path: Path, files: list[str], pairs: list[str]
) -> None:
    assert names(tmp_path, files, pairs) == dict(zip(pairs, files, strict=True))


def test_equal_names_go_first(tmp_path: Path) -> None:
    result = matched(tmp_path, ["1.png", "01.png", "001.png", "a.png", "A.png"], ["1", "01", "A"])
    assert {name: path.name for name, path in result.files.items()} == {
        "1": "1.png",
        "01": "01.png",
        "A": "A.png",
    }
    assert [path.name for path in result.unmatched] == ["001.png", "a.png"]


@pytest.mark.parametrize(
    ("files", "pairs", "expected"),
    [
        # The affix with a separator is likelier.
        (["1_v2.png"], ["1", "2"], {"1": "1_v2.png"}),
        (["fused1.png", "x_2.png"], ["1", "2"], {"2": "x_2.png"}),
        # The affix with more pairs counts.
        (["fused1.png", "fused2.png", "2.png"], ["1", "2"], {"1": "fused1.png", "2": "fused2.png"}),
        # A digit does not part from a digit.
        (["11.png", "2.png"], ["1", "2"], {"2": "2.png"}),
        # Equal names count more than names that look equal.
        (["1_a.png", "01_b.png"], ["1"], {"1": "1_a.png"}),
    ],
    ids=str,
)
def test_affix_that_counts(
    tmp_path: Path, files: list[str], pairs: list[str], expected: dict[str, str]
) -> None:
    assert names(tmp_path, files, pairs) == expected


@pytest.mark.parametrize(
    ("files", "pairs", "expected"),
    [
        (["01.png", "001.png"], ["1"], r"001\.png and .*01\.png could both be the result of one"),
        (["a1.png", "b1.png"], ["1"], r"a1\.png and .*b1\.png could both be the result of one"),
        (["001.png"], ["1", "01"], r"001\.png could be the result of the pairs 01 and 1"),
    ],
    ids=str,
)
def test_ambiguity_names_the_candidates(
    tmp_path: Path, files: list[str], pairs: list[str], expected: str
) -> None:
    with pytest.raises(InputError, match=expected):
        matched(tmp_path, files, pairs)


def test_results_in_subfolders(tmp_path: Path) -> None:
    files = ["0001_f.png", "s1/0001_f.png", "S2/deep/1_f.png", "s3/0001_f.png"]
    pairs = ["0001", "s1/0001", "s2/deep/0001", "s4/0001"]
    result = matched(tmp_path, files, pairs)
    assert result.files == {
        pair: tmp_path / file for pair, file in zip(pairs[:3], files, strict=False)
    }
    assert result.missing == ["s4/0001"]
    assert result.unmatched == [tmp_path / "s3/0001_f.png"]


def test_results_of_images_in_memory(tmp_path: Path) -> None:
    (tmp_path / "fused01.png").touch()
    (tmp_path / "fused0.5.png").touch()
    pairs = [ImagePair(torch.zeros(1, 2, 2), torch.zeros(1, 2, 2), name) for name in ("1", "0.5")]
    found = match_fused(tmp_path, listed(as_source(pairs))).files
    assert {name: path.name for name, path in found.items()} == {
        "1": "fused01.png",
        "0.5": "fused0.5.png",
    }


def test_what_cannot_be_a_result_is_listed(tmp_path: Path) -> None:
    result = matched(tmp_path, ["1.png", "2.heic", "sub/2.png", "scores.csv"], ["1", "2"])
    assert [(path.name, reason) for path, reason, _ in result.skipped] == [
        ("2.heic", "heic files cannot be read, convert to PNG or TIFF"),
        ("sub", "subfolder with images"),
    ]
    assert result.missing == ["2"]
