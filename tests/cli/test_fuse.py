"""The verb `fuse`: what comes out, what it says, what it refuses, and that nothing is lost."""

import errno
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import cddfuse
from cddfuse.cli import VERBS, run
from cddfuse.colour import luma
from cddfuse.io import bit_depth, read_image, write_image
from cddfuse.models import MODELS, Card, FusionModel, Weights, create_model, load, save_weights
from cddfuse.runtime import Limits

SIZE = (16, 24)
Say = pytest.CaptureFixture[str]


def flat(path: Path, level: int, size: tuple[int, int] = SIZE) -> Path:
    """A grey image of one level."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, torch.full((1, *size), level / 255))
    return path


def noisy(path: Path, channels: int = 1, seed: int = 0, bits: Literal[8, 16] = 8) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, torch.rand(channels, *SIZE, generator=torch.manual_seed(seed)), bits=bits)
    return path


def folders(root: Path, count: int = 3) -> list[Path]:
    """`vi` and `ir`; the mean of pair n has the level 10 * n."""
    for number in range(1, count + 1):
        flat(root / "vi" / f"{number}.png", 20 * number)
        flat(root / "ir" / f"{number}.png", 0)
    return [root / "vi", root / "ir"]


def mean(*arguments: object) -> int:
    """Fuse with the network that anybody can check by hand."""
    return run(["fuse", *map(str, arguments), "--model", "mean"])


def level(path: Path) -> float:
    """The one level of a flat image."""
    low, high = (read_image(path) * 255).aminmax()
    assert low == high
    return round(low.item(), 3)


def files(root: Path) -> list[str]:
    """Every file below a folder, hidden ones too."""
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


class Pair(NamedTuple):
    first: Path
    second: Path


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    """Two flat images whose mean is 30."""
    return Pair(flat(tmp_path / "v.png", 20), flat(tmp_path / "i.png", 40))


def complaint(say: Say) -> str:
    """What was said on stderr; it must be one line, without a traceback, and nothing on stdout."""
    out, err = say.readouterr()
    assert not out
    assert err.count("\n") == 1
    assert err.startswith("cddfuse: ")
    assert "Traceback" not in err
    return err.removeprefix("cddfuse: ").strip()


# What comes out


def test_two_files(tmp_path: Path, pair: Pair, capsys: Say) -> None:
    assert mean(*pair, "-o", tmp_path / "o.png") == 0
    assert level(tmp_path / "o.png") == 30
    out, err = capsys.readouterr()
    assert not out
    assert err.startswith(f"fused {pair.first} and {pair.second} in ")
    assert err.endswith(f" s: {tmp_path / 'o.png'}\n")


@pytest.mark.parametrize("layout", ["two folders", "subfolders", "names"])
def test_folders(tmp_path: Path, layout: str, capsys: Say) -> None:
    sources = folders(tmp_path / "in")
    if layout == "subfolders":
        sources = [tmp_path / "in"]
    if layout == "names":
        sources = [tmp_path / "tagged"]
        for number in (1, 2, 3):
            flat(tmp_path / "tagged" / f"{number}_vi.png", 20 * number)
            flat(tmp_path / "tagged" / f"{number}_ir.png", 0)
    assert mean(*sources, "-o", tmp_path / "out") == 0
    assert files(tmp_path / "out") == ["1.png", "2.png", "3.png"]
    assert [level(tmp_path / "out" / f"{number}.png") for number in (1, 2, 3)] == [10, 20, 30]
    out, err = capsys.readouterr()
    assert not out
    assert err.startswith("fused 3 pairs in ")
    assert err.endswith(f": {tmp_path / 'out'}\n")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["o.png"], "o.png"),
        (["O.JPG"], "O.JPG"),
        (["new/deep/o.png"], "new/deep/o.png"),
        (["new/folder"], "new/folder/v.png"),
        (["there"], "there/v.png"),
        (["there.d"], "there.d/v.png"),
        (["there", "--suffix", "_fused", "--format", "tif"], "there/v_fused.tif"),
        (["o.png", "--suffix", "_fused"], "o_fused.png"),
    ],
)
def test_where_one_result_goes(
    tmp_path: Path, pair: Pair, arguments: list[str], expected: str
) -> None:
    for folder in ("there", "there.d"):
        (tmp_path / "root" / folder).mkdir(parents=True)
    assert mean(*pair, "-o", tmp_path / "root" / arguments[0], *arguments[1:]) == 0
    assert files(tmp_path / "root") == [expected]


@pytest.mark.parametrize("form", ["png", "jpg", "tif", "bmp", "webp"])
def test_suffix_and_format_of_folders(tmp_path: Path, form: str) -> None:
    arguments = ["-o", tmp_path / "out", "--suffix", "_f", "--format", form]
    assert mean(*folders(tmp_path, 1), *arguments) == 0
    assert files(tmp_path / "out") == [f"1_f.{form}"]
    with Image.open(tmp_path / "out" / f"1_f.{form}") as picture:
        names = {"jpg": "JPEG", "tif": "TIFF"}
        assert picture.format == names.get(form, form.upper())


@pytest.mark.parametrize("suffix", ["a/b", "/../x", "\\b"])
def test_no_suffix_leads_to_another_folder(
    tmp_path: Path, pair: Pair, capsys: Say, suffix: str
) -> None:
    for sources in (pair, folders(tmp_path)):
        assert mean(*sources, "-o", tmp_path / "out" / "o.png", "--suffix", suffix) == 2
        assert "names no folder: leave out its slash (--suffix)." in complaint(capsys)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("output", ["vi", "."])
def test_results_among_the_sources_do_not_lack_a_partner(
    tmp_path: Path, capsys: Say, output: str
) -> None:
    folders(tmp_path)
    command = [tmp_path, "-o", tmp_path / output, "--suffix", "_f"]
    assert mean(*command) == 0
    flat(tmp_path / output / "lone_f.png", 9)
    capsys.readouterr()
    assert mean(*command) == 1
    said = capsys.readouterr().err
    assert "kept 3 results" in said
    assert [line.split("/")[-1] for line in said.splitlines()[2:]] == ["lone_f.png"]


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"])
def test_formats_in_and_out(tmp_path: Path, suffix: str) -> None:
    first, second = flat(tmp_path / f"v{suffix}", 20), flat(tmp_path / f"i{suffix}", 40)
    assert mean(first, second, "-o", tmp_path / f"o{suffix}") == 0
    assert (read_image(tmp_path / f"o{suffix}") * 255 - 30).abs().max() < 1.5


@pytest.mark.parametrize(
    ("depths", "output", "expected"),
    [
        ((8, 8), ["o.png"], 8),
        ((16, 8), ["o.png"], 16),
        ((8, 16), ["o.tif"], 16),
        ((16, 16), ["o.jpg"], 8),
        ((16, 16), ["o.png", "--bits", "8"], 8),
        ((8, 8), ["o.tiff", "--bits", "16"], 16),
    ],
)
def test_bits(
    tmp_path: Path,
    depths: tuple[Literal[8, 16], Literal[8, 16]],
    output: list[str],
    expected: int,
) -> None:
    first = noisy(tmp_path / "v.png", seed=1, bits=depths[0])
    second = noisy(tmp_path / "i.png", seed=2, bits=depths[1])
    assert mean(first, second, "-o", tmp_path / output[0], *output[1:]) == 0
    assert bit_depth(tmp_path / output[0]) == expected
    exact = (read_image(first) + read_image(second)) / 2
    error = (read_image(tmp_path / output[0]) - exact).abs().max() * (2**expected - 1)
    assert error < (20 if output[0] == "o.jpg" else 0.51)


def test_alpha_is_left_out(tmp_path: Path, pair: Pair) -> None:
    Image.new("LA", SIZE[::-1], (20, 7)).save(tmp_path / "alpha.png")
    assert mean(tmp_path / "alpha.png", pair.second, "-o", tmp_path / "o.png") == 0
    assert level(tmp_path / "o.png") == 30


def test_turned_photograph_is_fused_upright(tmp_path: Path, pair: Pair) -> None:
    """Orientation 6: the camera was turned, row 0 of the file is the right side of the scene."""
    upright = np.full(SIZE, 20, np.uint8)
    upright[:, -1] = 40
    tags = Image.Exif()
    tags[274] = 6
    Image.fromarray(np.rot90(upright)).save(tmp_path / "phone.png", exif=tags)
    assert mean(tmp_path / "phone.png", pair.second, "-o", tmp_path / "o.png") == 0
    with Image.open(tmp_path / "o.png") as picture:
        assert picture.size == SIZE[::-1]
        assert not picture.getexif()
        assert (np.asarray(picture)[:, -1] == 40).all()
        assert (np.asarray(picture)[:, :-1] == 30).all()


def test_colour_of_the_first_is_kept(tmp_path: Path) -> None:
    first, second = noisy(tmp_path / "v.png", 3, 1), noisy(tmp_path / "i.png", 3, 2)
    write_image(first, read_image(first) * 0.2 + 0.4, overwrite=True)  # within every gamut
    assert mean(first, second, "-o", tmp_path / "o.png") == 0
    fused, source, other = (read_image(p) for p in (tmp_path / "o.png", first, second))
    assert ((fused - luma(fused)) - (source - luma(source))).abs().max() < 1.01 / 255
    assert (luma(fused) - (luma(source) + luma(other)) / 2).abs().max() < 0.51 / 255


def test_grey_leaves_colour_out(tmp_path: Path, pair: Pair) -> None:
    first = noisy(tmp_path / "colour.png", 3)
    assert mean(first, pair.second, "-o", tmp_path / "o.png", "--grey") == 0
    with Image.open(tmp_path / "o.png") as picture:
        assert picture.mode == "L"


def test_stretch_spans_the_range(tmp_path: Path) -> None:
    first, second = noisy(tmp_path / "v.png", 1, 1), noisy(tmp_path / "i.png", 1, 2)
    for name, flags, expected in (("plain", [], False), ("full", ["--stretch"], True)):
        assert mean(first, second, "-o", tmp_path / f"{name}.png", *flags) == 0
        bounds = (read_image(tmp_path / f"{name}.png") * 255).round().aminmax()
        assert ([bound.item() for bound in bounds] == [0, 255]) is expected


def test_second_is_resized_if_asked(tmp_path: Path, pair: Pair) -> None:
    small = flat(tmp_path / "small.png", 40, (8, 9))
    assert mean(pair.first, small, "-o", tmp_path / "o.png", "--resize") == 0
    assert level(tmp_path / "o.png") == 30
    assert read_image(tmp_path / "o.png").shape[1:] == SIZE


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 3), (17, 25)], ids=str)
@pytest.mark.parametrize("shade", [0, 100, 255])
def test_tiny_black_and_flat_images(
    tmp_path: Path, weights: Path, size: tuple[int, int], shade: int
) -> None:
    first, second = flat(tmp_path / "v.png", shade, size), flat(tmp_path / "i.png", shade, size)
    arguments = [first, second, "-o", tmp_path / "o.png", "--weights", weights]
    assert run(["fuse", *map(str, arguments)]) == 0
    assert read_image(tmp_path / "o.png").shape == (1, *size)


def test_flat_image_stretched_is_black(tmp_path: Path, pair: Pair) -> None:
    assert mean(*pair, "-o", tmp_path / "o.png", "--stretch") == 0
    assert level(tmp_path / "o.png") == 0


@pytest.mark.parametrize(
    "name", ["süd straße 1", "夜の道", "a [b] {0} %s", "-dash", "dot.ted.name", 'it\'s "so"']
)
def test_names_of_all_kinds(
    tmp_path: Path, name: str, capsys: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # the progress bar shows them too
    for folder in ("vi", "ir"):
        flat(tmp_path / "the scene" / folder / f"{name}.png", 30)
    assert mean(tmp_path / "the scene", "-o", tmp_path / "der Ausgang é") == 0
    assert files(tmp_path / "der Ausgang é") == [f"{name}.png"]
    assert name in capsys.readouterr().err


def test_real_network_does_what_python_does(tmp_path: Path, weights: Path) -> None:
    first, second = noisy(tmp_path / "v.png", 3, 1), noisy(tmp_path / "i.png", 1, 2)
    for name, flags, options in (
        ("a", [], {}),
        ("b", ["--option", "residual=sum"], {"residual": "sum"}),
    ):
        output = tmp_path / f"{name}.png"
        arguments = [first, second, "-o", output, "--weights", weights, "--device", "cpu"]
        assert run(["fuse", *map(str, arguments), *flags]) == 0
        model = create_model("cddfuse", weights, **options)
        write_image(tmp_path / "x.png", cddfuse.fuse(model, cddfuse.read_pair(first, second)))
        assert output.read_bytes() == (tmp_path / "x.png").read_bytes()
        (tmp_path / "x.png").unlink()
    assert (tmp_path / "a.png").read_bytes() != (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "ivf"),
        (["--task", "mif"], "head"),
        (["--task", "mif", "--weights", "mine"], "mine"),
    ],
)
def test_task_chooses_the_weights(
    tmp_path: Path,
    pair: Pair,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    expected: str,
) -> None:
    street = Weights("file", "", "licence", "data")
    head = replace(street, task="mif")
    card = Card(
        "mean", "https://example.org", weights={"head": head, "ivf": street, "other": street}
    )
    monkeypatch.setattr(MODELS["mean"], "card", card)
    asked = []

    def made(name: str, weights: str, **options: object) -> Any:
        asked.append((name, weights, options))
        return MODELS[name]()

    monkeypatch.setattr(load, "create_model", made)
    assert mean(*pair, "-o", tmp_path / "o.png", *arguments) == 0
    assert asked == [("mean", expected, {})]


# What it says


def test_json_of_folders(tmp_path: Path, capsys: Say) -> None:
    sources = folders(tmp_path, 4)
    (sources[1] / "2.png").write_text("no image")
    lone = flat(sources[0] / "lone.png", 1)
    kept = flat(tmp_path / "out" / "3.png", 77)
    assert mean(*sources, "-o", tmp_path / "out", "--json") == 1
    summary = json.loads(capsys.readouterr().out)
    assert summary.pop("seconds") >= 0
    assert summary.pop("peak_memory_bytes") > 10**7
    reason = summary["failed"].pop("2")
    assert f"{sources[1] / '2.png'} is not an image" in reason
    done = [str(tmp_path / "out" / f"{number}.png") for number in (1, 4)]
    assert (summary.pop("checked"), summary.pop("misaligned")) == (0, {})
    assert summary == {"done": done, "kept": [str(kept)], "failed": {}, "unpaired": [str(lone)]}


def test_json_of_one_pair(tmp_path: Path, pair: Pair, capsys: Say) -> None:
    assert mean(*pair, "-o", tmp_path / "o.png", "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["done"] == [str(tmp_path / "o.png")]
    assert summary["failed"] == {}


def test_quiet_prints_nothing(
    tmp_path: Path, pair: Pair, capsys: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as on a terminal
    assert mean(*pair, "-o", tmp_path / "o.png", "--quiet") == 0
    assert mean(*folders(tmp_path), "-o", tmp_path / "out", "--quiet") == 0
    assert capsys.readouterr() == ("", "")


def test_quiet_does_not_hide_failures(tmp_path: Path, capsys: Say) -> None:
    sources = folders(tmp_path)
    (sources[0] / "2.png").write_text("no image")
    lone = flat(sources[0] / "lone.png", 1)
    assert mean(*sources, "-o", tmp_path / "out", "--quiet") == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == f"no partner: {lone}"
    assert lines[1].startswith(f"failed: 2: {sources[0] / '2.png'} is not an image")
    assert len(lines) == 2


def test_progress_on_a_terminal(
    tmp_path: Path, capsys: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    sources = folders(tmp_path)
    (sources[0] / "2.png").write_text("no image")
    flat(tmp_path / "out" / "1.png", 0)
    assert mean(*sources, "-o", tmp_path / "out") == 1
    err = capsys.readouterr().err
    assert "3/3" in err
    assert "pairs/s" in err


# What was there before


def test_existing_file_is_safe(tmp_path: Path, pair: Pair, capsys: Say) -> None:
    old = flat(tmp_path / "o.png", 77)
    assert mean(*pair, "-o", old) == 2
    assert complaint(capsys) == (
        f"{old} exists already: choose another name, or overwrite it (--overwrite)."
    )
    assert level(old) == 77
    assert mean(*pair, "-o", old, "--overwrite") == 0
    assert level(old) == 30


def test_existing_results_are_kept(tmp_path: Path, capsys: Say) -> None:
    sources = folders(tmp_path)
    flat(tmp_path / "out" / "2.png", 77)
    assert mean(*sources, "-o", tmp_path / "out") == 0
    assert level(tmp_path / "out" / "2.png") == 77
    err = capsys.readouterr().err
    assert err.startswith("fused 2 pairs in ")
    assert "kept 1 result that exists (--overwrite replaces it)" in err
    assert mean(*sources, "-o", tmp_path / "out", "--overwrite") == 0
    assert level(tmp_path / "out" / "2.png") == 20
    assert "that exist" not in capsys.readouterr().err


@pytest.mark.parametrize("flags", [[], ["--overwrite"]])
@pytest.mark.parametrize("name", ["v.png", "i.png", "link.png"])
def test_source_is_never_replaced(
    tmp_path: Path, pair: Pair, capsys: Say, name: str, flags: list[str]
) -> None:
    (tmp_path / "link.png").symlink_to(pair.first)
    assert mean(*pair, "-o", tmp_path / name, *flags) == 2
    expected = (
        f"{tmp_path / name} is a source: choose another folder for the results, or a suffix (-o)."
    )
    assert complaint(capsys) == expected
    assert (level(pair.first), level(pair.second)) == (20, 40)


def test_source_by_another_name_is_not_replaced(tmp_path: Path, pair: Pair, capsys: Say) -> None:
    (tmp_path / "link.png").symlink_to(pair.first)
    assert mean(tmp_path / "link.png", pair.second, "-o", pair.first, "--overwrite") == 2
    assert complaint(capsys).startswith(f"{pair.first} is a source")


@pytest.mark.parametrize("flags", [[], ["--overwrite"]])
def test_no_folder_of_sources_is_replaced(tmp_path: Path, capsys: Say, flags: list[str]) -> None:
    sources = folders(tmp_path)
    for source in sources:
        assert mean(*sources, "-o", source, *flags) == 2
        assert complaint(capsys).startswith(f"{source / '1.png'} is a source: choose another")
    assert [level(sources[0] / f"{number}.png") for number in (1, 2, 3)] == [20, 40, 60]


@pytest.mark.parametrize(
    ("names", "output", "flags"),
    [
        (("vi/1.jpg", "ir/1.jpg"), "vi", []),
        (("vi/1.jpg", "ir/1.jpg"), "ir", ["--overwrite"]),
        (("vi/1_rgb.png", "ir/1_thermal.png"), "vi", []),
        (("vi/1.jpg", "ir/001.jpg"), "ir", []),
        (("1_vi.jpg", "1_ir.jpg"), ".", ["--suffix", "_vi"]),
    ],
)
def test_no_result_is_taken_for_a_source_by_the_next_run(
    tmp_path: Path, capsys: Say, names: tuple[str, str], output: str, flags: list[str]
) -> None:
    paths = [flat(tmp_path / name, 50) for name in names]
    sources = [path.parent for path in paths]
    sources = sources if sources[0] != sources[1] else sources[:1]
    before = files(tmp_path)
    assert mean(*sources, "-o", tmp_path / output, *flags) == 2
    said = complaint(capsys)
    assert "by the next run: choose another folder for the results, or a suffix (-o)." in said
    assert files(tmp_path) == before
    for _ in range(2):
        assert mean(*sources, "-o", tmp_path / output, "--suffix", "_f") == 0


def test_source_of_another_pair_is_not_replaced(tmp_path: Path, capsys: Say) -> None:
    """Pair 1 with the suffix 0 would land on the source of pair 10."""
    for name in ("vi/1.png", "ir/1.png", "vi/10.png", "ir/10.png"):
        flat(tmp_path / name, 50)
    arguments = ["-o", tmp_path / "vi", "--suffix", "0", "--overwrite"]
    assert mean(tmp_path, *arguments) == 2
    assert complaint(capsys).startswith(f"{tmp_path / 'vi' / '10.png'} is a source")


# Bad input


def cut_short(path: Path, name: str) -> None:
    noisy(path.with_name(name), 3)
    data = path.with_name(name).read_bytes()
    path.with_name(name).unlink()
    path.write_bytes(data[: len(data) // 2])


def float_tiff(path: Path, value: float) -> None:
    Image.fromarray(np.full(SIZE, value, np.float32)).save(path, "TIFF")


def animation(path: Path) -> None:
    frames = [Image.new("L", SIZE[::-1], level) for level in (1, 2)]
    frames[0].save(path, "GIF", save_all=True, append_images=frames[1:])


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: path.symlink_to("nowhere"), "does not exist: check the name"),
    "empty": (lambda path: path.touch(), "is empty: make or copy it again"),
    "text": (lambda path: path.write_text("hello"), "is not an image that can be read: use"),
    "truncated PNG": (lambda path: cut_short(path, "x.png"), "is damaged or cut short"),
    "truncated TIFF": (lambda path: cut_short(path, "x.tif"), "is damaged or cut short"),
    "truncated JPEG": (lambda path: cut_short(path, "x.jpg"), "is damaged or cut short"),
    "animation": (lambda path: animation(path), "holds 2 images: save the one you mean"),
    "NaN": (lambda path: float_tiff(path, float("nan")), "holds NaN or infinite values"),
    "infinite": (lambda path: float_tiff(path, float("inf")), "holds NaN or infinite values"),
    "other size": (lambda path: flat(path, 1, (5, 7)), "7x5"),
}


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("side", [0, 1])
def test_bad_file(tmp_path: Path, pair: Pair, capfd: Say, kind: str, side: int) -> None:
    make, expected = BAD[kind]
    pair[side].unlink()
    make(pair[side])
    before = files(tmp_path)
    if kind == "missing" and side == 0:
        expected = f"there is no file or folder {pair.first}: check the name."
    assert mean(*pair, "-o", tmp_path / "new" / "o.png") == 2
    said = complaint(capfd)
    assert expected in said
    assert str(pair[side]) in said
    assert files(tmp_path) == before


@pytest.mark.parametrize("kind", [kind for kind in BAD if kind != "missing"])
@pytest.mark.parametrize("side", [0, 1])
def test_bad_file_among_good_ones(tmp_path: Path, capfd: Say, kind: str, side: int) -> None:
    make, expected = BAD[kind]
    sources = folders(tmp_path)
    bad = sources[side] / "2.png"
    bad.unlink()
    make(bad)
    assert mean(*sources, "-o", tmp_path / "out") == 1
    assert files(tmp_path / "out") == ["1.png", "3.png"]
    assert [level(tmp_path / "out" / name) for name in ("1.png", "3.png")] == [10, 30]
    head, failure, *rest = capfd.readouterr().err.splitlines()
    assert head.startswith("fused 2 pairs in ")
    assert failure.startswith("failed: 2: ")
    assert expected in failure
    assert str(bad) in failure
    assert not rest


def test_sizes_that_differ_are_both_said(tmp_path: Path, pair: Pair, capsys: Say) -> None:
    small = flat(tmp_path / "small.png", 40, (8, 9))
    assert mean(pair.first, small, "-o", tmp_path / "o.png") == 2
    assert complaint(capsys) == (
        f"{pair.first} is 24x16 and {small} is 9x8: "
        "use images of one size, or resize the second (--resize)."
    )


def test_files_without_a_partner_are_listed(tmp_path: Path, capsys: Say) -> None:
    sources = folders(tmp_path)
    lone = [flat(sources[0] / "4.png", 0), flat(sources[1] / "5.png", 0)]
    assert mean(*sources, "-o", tmp_path / "out") == 1
    assert files(tmp_path / "out") == ["1.png", "2.png", "3.png"]
    assert capsys.readouterr().err.splitlines()[1:] == [f"no partner: {path}" for path in lone]


def test_what_looks_like_an_image_is_not_passed_over(tmp_path: Path, capsys: Say) -> None:
    sources = folders(tmp_path)
    (sources[0] / "4.heic").touch()
    (sources[0] / "5.png").symlink_to("nowhere.png")
    flat(sources[1] / "s" / "1.png", 0)
    assert mean(*sources, "-o", tmp_path / "out") == 1
    assert capsys.readouterr().err.splitlines()[1:] == [
        f"heic files cannot be read, convert to PNG or TIFF: {sources[0] / '4.heic'}",
        f"broken link to nowhere.png: {sources[0] / '5.png'}",
        f"subfolder with images: {sources[1] / 's'} (--recursive)",
    ]


def test_subfolders_keep_their_layout(tmp_path: Path) -> None:
    sources = folders(tmp_path, 1)
    for source in sources:
        flat(source / "scene" / "0001.png", 50)
    arguments = ["-o", tmp_path / "vi" / "out", "--recursive", "--suffix", "-f"]
    assert mean(*sources, *arguments) == 0
    assert files(tmp_path / "vi" / "out") == ["1-f.png", "scene/0001-f.png"]
    assert mean(*sources, *arguments) == 0  # results are no sources


@pytest.mark.parametrize("folder", [True, False])
def test_swapped_sides_are_noted(tmp_path: Path, capsys: Say, folder: bool) -> None:
    sources = folders(tmp_path, 1)
    if not folder:
        sources = [source / "1.png" for source in sources]
    assert mean(*reversed(sources), "-o", tmp_path / "out") == 0
    note = f"by their names {sources[0]} belongs first and {sources[1]} second: swap them if"
    assert capsys.readouterr().err.startswith(note)


@pytest.mark.parametrize("folder", [True, False])
def test_one_source_given_twice_is_questioned(tmp_path: Path, capsys: Say, folder: bool) -> None:
    source = folders(tmp_path, 1)[0]
    source = source if folder else source / "1.png"
    assert mean(source, source, "-o", tmp_path / "out") == 0
    assert capsys.readouterr().err.startswith(f"both images come from {source}: was the second")


def test_home_folder_for_a_tilde(
    tmp_path: Path, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert mean("~/v.png", "~/i.png", "-o", "~/out/o.png") == 0
    assert files(tmp_path) == ["i.png", "out/o.png", "v.png"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["vi", "stranger"], "no image of vi (1.png, ...) has a partner in stranger (z.png, ...)"),
        (["vi", "empty"], "empty holds no images"),
        (["empty", "vi"], "empty holds no images"),
        (["empty"], "cannot tell the two sides in empty, which holds nothing"),
        (["vi"], "cannot tell the two sides in vi, which holds 1.png"),
        (["vi", "nowhere"], "cannot open the folder nowhere"),
        (["nowhere", "ir"], "there is no file or folder nowhere: check the name."),
        (["vi", "v.png"], "cannot open the folder v.png"),
        (["v.png", "vi"], "v.png is a file and vi a folder: give two of one kind."),
        (["v.png"], "v.png is one image: give the second one too."),
        (["v.png", "nowhere.png"], "nowhere.png does not exist: check the name"),
        (["a" * 300, "ir"], f"there is no file or folder {'a' * 300}: check the name."),
    ],
)
def test_nothing_to_fuse(
    tmp_path: Path,
    pair: Pair,
    capsys: Say,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    expected: str,
) -> None:
    folders(tmp_path, 1)
    flat(tmp_path / "stranger" / "z.png", 0)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    before = files(tmp_path)
    assert mean(*arguments, "-o", "out") == 2
    assert complaint(capsys).startswith(expected)
    assert files(tmp_path) == before
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--model", "nobody"], "there is no network nobody: known are cddfuse"),
        (["--model", "untrained"], "no weights of untrained are at hand: import those"),
        (["--weights", "nowhere"], "there are no weights nowhere: give a file that exists"),
        (["--weights", "no/such/file.pth"], "there are no weights no/such/file.pth: give a file"),
        (["--weights", "a" * 300], f"there are no weights {'a' * 300}: give"),
        (["--device", "warp"], "there is no device warp here: use cpu, or auto (--device)."),
        (["--device", "meta"], "there is no device meta here: use cpu, or auto (--device)."),
        (["--device", "cuda:99"], "there is no device cuda:99 here: use cpu, or auto (--device)."),
        (["--tile", "10"], "a tile of 10 pixels is too small: 64 or more (--tile)."),
        (["--memory", "much"], "much is no amount of memory: write 2GB, for example (--memory)."),
        (["--memory", "0GB"], "0GB is no amount of memory: write 2GB, for example (--memory)."),
        (["--precision", "fp8"], 'Invalid value "fp8" for --precision'),
        (["--task", "art"], 'Invalid value "art" for --task'),
        (["--bits", "12"], 'Invalid value "12" for --bits'),
        (["--format", "gif"], 'Invalid value "gif" for --format'),
        (["--option", "residual=all"], "mean takes no options: leave residual out"),
        (["--overwriet"], "Unknown option: --overwriet. Did you mean --overwrite?"),
        (["third.png"], "third.png is one word too many: `cddfuse fuse --help`"),
    ],
)
def test_words_that_mean_nothing(
    tmp_path: Path, pair: Pair, weights: Path, capsys: Say, arguments: list[str], expected: str
) -> None:
    sensible = ["--model", "mean"] if not {"--model", "--weights"} & {*arguments} else []
    output = tmp_path / "o.png"
    assert run(["fuse", *map(str, pair), "-o", str(output), *sensible, *arguments]) == 2
    assert complaint(capsys).startswith(expected)
    assert not output.exists()


def test_pipes_and_closed_folders_are_named_as_such(
    tmp_path: Path, capsys: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    if sys.platform == "win32":
        pytest.skip("this system has no named pipes")
    image, pipe = flat(tmp_path / "i.png", 10), tmp_path / "pipe.png"
    os.mkfifo(pipe)
    assert mean(pipe, image, "-o", tmp_path / "o.png") == 2  # and does not wait
    assert complaint(capsys).startswith(f"{pipe} is a pipe or a device")
    stat = os.stat

    def denied(path: Any, *more: Any, **flags: Any) -> os.stat_result:
        if str(path).endswith("closed/v.png"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return stat(path, *more, **flags)

    monkeypatch.setattr(os, "stat", denied)
    assert mean(tmp_path / "closed" / "v.png", image, "-o", tmp_path / "o.png") == 2
    assert "v.png (Permission denied): check its permissions." in complaint(capsys)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["fuse"], "--output is missing: `cddfuse fuse --help` says what it takes."),
        (["fuse", "v.png", "i.png", "-o"], "-o requires an argument"),
        (["fuse", "--range", "1:2", "v.png", "i.png", "-o", "a"], "before flags that take several"),
        (["fuse", "-v.png", "i.png", "-o", "a"], "For the file of that name, write ./-v.png."),
        (["train", "a", "b", "c", "-o", "d"], "c is one word too many: `cddfuse train --help`"),
        (["data", "melt"], "there is no command melt: known are list, check."),
        (["melt"], "there is no command melt: known are fuse, align, train"),
    ],
)
def test_commands_that_are_not_complete(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    expected: str,
    capsys: Say,
) -> None:
    monkeypatch.chdir(tmp_path)
    flat(tmp_path / "-v.png", 10)
    assert run(arguments) == 2
    assert expected in complaint(capsys)


def test_wrong_command_imports_no_other(capsys: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training needs packages that those who fuse may not have."""
    monkeypatch.setitem(sys.modules, "cddfuse.cli.train", None)
    assert run(["melt"]) == 2
    assert complaint(capsys) == f"there is no command melt: known are {', '.join(VERBS)}."
    assert run(["--help"]) == 0


@pytest.mark.parametrize("suffix", [".jpg", ".bmp", ".webp"])
def test_16_bits_in_a_format_of_8(tmp_path: Path, pair: Pair, capsys: Say, suffix: str) -> None:
    output = tmp_path / f"o{suffix}"
    assert mean(*pair, "-o", output, "--bits", 16) == 2
    expected = f"cannot write {output} with 16 bits: use .png or .tif"
    assert complaint(capsys).startswith(expected)


def test_result_of_an_unknown_format(tmp_path: Path, pair: Pair, capsys: Say) -> None:
    assert mean(*pair, "-o", tmp_path / "o.gif") == 2
    assert complaint(capsys).startswith(f"cannot write {tmp_path / 'o.gif'}: end its name with")


# Bad weights


class Trap:
    """A pickle that makes a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return os.mkdir, (str(self.path),)


BAD_WEIGHTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "hostile.pth": (
        lambda path: torch.save({"encoder": Trap(path.parent / "trapped")}, path),
        "is refused: it is damaged, or wants to run code of its own when read",
    ),
    "bare.pkl": (
        lambda path: path.write_bytes(pickle.dumps(Trap(path.parent / "trapped"))),
        "is damaged or no checkpoint: get it again",
    ),
    "foreign.pth": (
        lambda path: torch.save({"layer.weight": torch.zeros(3)}, path),
        "1 unknown (layer.weight)",
    ),
    "tensorless.pth": (
        lambda path: torch.save({"epoch": 3, "args": "x"}, path),
        "is no checkpoint of cddfuse: it holds epoch, args",
    ),
    "list.pth": (
        lambda path: torch.save([torch.zeros(3)], path),
        "holds a list, not weights by name",
    ),
    "text.pth": (
        lambda path: path.write_text("hello"),
        "is damaged or no checkpoint: get it again",
    ),
    "empty.pth": (lambda path: path.touch(), "is damaged or no checkpoint: get it again"),
    "text.safetensors": (
        lambda path: path.write_text("hello"),
        "is damaged or no safetensors file",
    ),
    "other.safetensors": (
        lambda path: save_weights(MODELS["mean"](), path),
        "holds weights of mean, not of cddfuse",
    ),
    "folder": (
        lambda path: path.mkdir(),
        "holds no model.safetensors: give the weights file itself",
    ),
}


@pytest.mark.parametrize("name", BAD_WEIGHTS)
def test_bad_weights(tmp_path: Path, pair: Pair, capfd: Say, name: str) -> None:
    make, expected = BAD_WEIGHTS[name]
    make(tmp_path / name)
    arguments = [*pair, "-o", tmp_path / "o.png", "--weights", tmp_path / name]
    assert run(["fuse", *map(str, arguments)]) == 2
    said = complaint(capfd)
    assert str(tmp_path / name) in said
    assert expected in said
    assert not (tmp_path / "o.png").exists()
    assert not (tmp_path / "trapped").exists()


def test_weights_cut_short(tmp_path: Path, pair: Pair, weights: Path, capfd: Say) -> None:
    short = tmp_path / "short.safetensors"
    short.write_bytes(weights.read_bytes()[:5000])
    arguments = [*pair, "-o", tmp_path / "o.png", "--weights", short]
    assert run(["fuse", *map(str, arguments)]) == 2
    assert f"{short} is damaged or no safetensors file" in complaint(capfd)


def test_hub_that_cannot_be_reached(
    tmp_path: Path, pair: Pair, capsys: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*arguments: object, **options: object) -> None:
        raise ConnectionError("no route\nto the hub")

    monkeypatch.setattr(MODELS["cddfuse"], "from_pretrained", unreachable)
    arguments = [*pair, "-o", tmp_path / "o.png", "--weights", "somebody/network"]
    assert run(["fuse", *map(str, arguments)]) == 2
    said = "there is no file somebody/network, and the hub "
    assert complaint(capsys).startswith(said)


# Trouble on the way


def full_disk(monkeypatch: pytest.MonkeyPatch, function: str, calls: int) -> None:
    """Let the disk be full in one of the calls, counted from 1, of what puts files in place."""
    owner: Any = Path if function == "write_bytes" else os
    genuine, count = getattr(owner, function), [0]

    def failing(path: Path, *rest: Any) -> Any:
        count[0] += 1
        if count[0] != calls:
            return genuine(path, *rest)
        if function == "write_bytes":
            genuine(path, rest[0][:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(owner, function, failing)


@pytest.mark.parametrize("function", ["write_bytes", "replace"])
def test_full_disk(
    tmp_path: Path, pair: Pair, capsys: Say, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    full_disk(monkeypatch, function, 1)
    output = tmp_path / "o.png"
    assert mean(*pair, "-o", output) == 2
    expected = f"cannot write {output}: the disk is full: free some space, or choose another folder"
    assert complaint(capsys).startswith(expected)
    assert files(tmp_path) == ["i.png", "v.png"]


@pytest.mark.parametrize("function", ["write_bytes", "replace"])
def test_disk_that_is_full_for_a_while(
    tmp_path: Path, capsys: Say, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    sources = folders(tmp_path)
    full_disk(monkeypatch, function, 2)
    assert mean(*sources, "-o", tmp_path / "out") == 1
    assert files(tmp_path / "out") == ["1.png", "3.png"]
    assert "failed: 2: cannot write" in capsys.readouterr().err
    assert mean(*sources, "-o", tmp_path / "out") == 0
    assert files(tmp_path / "out") == ["1.png", "2.png", "3.png"]


@pytest.mark.parametrize("place", ["file", "file/deeper/still"])
def test_file_where_the_output_folder_should_be(tmp_path: Path, capsys: Say, place: str) -> None:
    (tmp_path / "file").touch()
    assert mean(*folders(tmp_path), "-o", tmp_path / place) == 2
    said = complaint(capsys)
    assert said.startswith((f"{tmp_path / place} is a file", f"cannot write to {tmp_path / place}"))
    assert str(tmp_path / "file") in said


def test_output_folder_that_may_not_be_written_to(
    tmp_path: Path, capsys: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)  # for tests run as root
    assert mean(*folders(tmp_path), "-o", tmp_path / "out") == 2
    assert complaint(capsys) == (
        f"cannot write to {tmp_path / 'out'}, for {tmp_path} is not writable: "
        "choose another folder (-o)."
    )


@pytest.mark.parametrize("output", ["a" * 300 + ".png", "a" * 300])
def test_output_with_a_name_that_is_too_long(
    tmp_path: Path, pair: Pair, capsys: Say, output: str
) -> None:
    assert mean(*pair, "-o", tmp_path / output) == 2
    assert "the name is too long: choose a shorter one (-o)" in complaint(capsys)


def test_folder_in_the_way_of_a_result(tmp_path: Path, capsys: Say) -> None:
    (tmp_path / "out" / "2.png").mkdir(parents=True)
    assert mean(*folders(tmp_path), "-o", tmp_path / "out") == 1
    assert files(tmp_path / "out") == ["1.png", "3.png"]
    assert "a folder of that name is in the way" in capsys.readouterr().err


@pytest.mark.parametrize("flags", [[], ["--overwrite"]])
def test_interrupted_run_goes_on(
    tmp_path: Path, capsys: Say, monkeypatch: pytest.MonkeyPatch, flags: list[str]
) -> None:
    sources = folders(tmp_path)
    genuine: Any = MODELS["mean"].forward

    def stopped(self: Any, first: Tensor, second: Tensor) -> Tensor:
        if round(first.max().item() * 255) == 40:
            raise KeyboardInterrupt
        return genuine(self, first, second)

    with monkeypatch.context() as patch:
        patch.setattr(MODELS["mean"], "forward", stopped)
        assert mean(*sources, "-o", tmp_path / "out", *flags) == 130
    assert files(tmp_path / "out") == ["1.png"]
    assert level(tmp_path / "out" / "1.png") == 10
    again = "starts again" if flags else "does the rest"
    assert capsys.readouterr().err == (
        f"stopped: what is done is in {tmp_path / 'out'}; the same command {again}\n"
    )
    assert mean(*sources, "-o", tmp_path / "out") == 0
    assert [level(tmp_path / "out" / f"{number}.png") for number in (1, 2, 3)] == [10, 20, 30]


def test_interrupted_pair(
    tmp_path: Path, pair: Pair, capsys: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*arguments: object) -> Tensor:
        raise KeyboardInterrupt

    monkeypatch.setattr(MODELS["mean"], "forward", stopped)
    assert mean(*pair, "-o", tmp_path / "o.png") == 130
    assert complaint(capsys) == "stopped."
    assert not (tmp_path / "o.png").exists()


# As a program of its own


def program(*arguments: object) -> "subprocess.CompletedProcess[bytes]":
    command = [sys.executable, "-m", "cddfuse", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, env=environment, check=False)


def test_program(tmp_path: Path, weights: Path) -> None:
    """The names of its files are no text in UTF-8."""
    name = os.fsdecode(b"stra\xdfe.png")
    for folder in ("vi", "ir"):
        flat(tmp_path / folder / name, 30)
    flat(tmp_path / "vi" / os.fsdecode(b"\xfc.png"), 30)
    arguments = [tmp_path, "-o", tmp_path / "out", "--weights", weights, "--json"]
    done = program("fuse", *arguments)
    assert done.returncode == 1
    assert json.loads(done.stdout)["done"] == [str(tmp_path / "out" / name)]
    assert b"no partner" in done.stderr
    assert b"Traceback" not in done.stderr
    assert files(tmp_path / "out") == [name]


def test_program_that_cannot_go_on(tmp_path: Path, pair: Pair, weights: Path) -> None:
    (tmp_path / "v.png").write_text("no image")
    done = program("fuse", *pair, "-o", tmp_path / "o.png", "--weights", weights)
    assert done.returncode == 2
    assert not done.stdout
    assert done.stderr.startswith(f"cddfuse: {tmp_path / 'v.png'} is not an image".encode())
    assert done.stderr.count(b"\n") == 1


def test_tiles_memory_and_precision_reach_the_runtime(
    tmp_path: Path, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Limits | None] = []

    def look(model: FusionModel, first: Tensor, second: Tensor, limits: Limits | None) -> Tensor:
        seen.append(limits)
        return first

    monkeypatch.setattr("cddfuse.runtime.run", look)
    words = ["--tile", "96", "--memory", "1.5 GB", "--precision", "bf16"]
    assert mean(*map(str, pair), "-o", str(tmp_path / "o.png"), *words) == 0
    assert mean(*map(str, pair), "-o", str(tmp_path / "p.png")) == 0
    words = ["--kernels", "compile", "--band", "60", "--graphs"]
    assert mean(*map(str, pair), "-o", str(tmp_path / "q.png"), *words) == 0
    chosen = Limits(kernels="compile", band=60, graphs=True)
    assert seen == [Limits(96, 1_500_000_000, "bf16"), Limits(), chosen]


def test_kernels_that_a_network_does_not_have(
    tmp_path: Path, pair: Pair, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mean(*map(str, pair), "-o", str(tmp_path / "o.png"), "--kernels", "eager") == 2
    assert "has no eager kernels" in (err := capsys.readouterr().err)
    assert err.endswith("leave them out (--kernels).\n")


def test_graphs_on_a_cpu(tmp_path: Path, pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["-o", str(tmp_path / "o.png"), "--device", "cpu", "--graphs"]
    assert mean(*map(str, pair), *words) == 2
    assert "need a CUDA GPU, and this is cpu: leave them out (--graphs)" in capsys.readouterr().err
