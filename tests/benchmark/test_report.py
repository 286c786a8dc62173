"""The page on hostile input. Numbers are made up, so no pictures are in it but where noted."""

import json
import math
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_up import made_up

from cddfuse import write_image
from cddfuse.benchmark import report
from cddfuse.benchmark.cells import picture_path
from cddfuse.benchmark.downstream import read_tables
from cddfuse.benchmark.pictures import choose, parse_crops, worst_images
from cddfuse.benchmark.plan import DataSet, Method, Plan
from cddfuse.benchmark.suite import Failure, Results
from cddfuse.benchmark.tables import tables
from cddfuse.errors import InputError
from cddfuse.evaluate import BASELINES

HOSTILE = "</script><script>alert('x')</script>&<img src=x onerror=alert(1)>.png"
LOW = {row: [0.0, 0.1, 0.2] for row in BASELINES}


class Page(HTMLParser):
    """Tags, text outside scripts, and the content of the scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.scripts: list[str] = []
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts.append(data)
        elif self._inside != "style":
            self.text += data

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    @property
    def payload(self) -> Any:
        return json.loads(self.scripts[0])


def page(results: Results, out: Path = Path("nowhere"), shown: int = 0) -> Page:
    facts = report.about(results, report.default_reference(results))
    return Page(report.page(results, facts, out, shown=shown, crops={}))


@pytest.mark.parametrize("bad", [HOSTILE, "$x_1^{2$", "{{ 7 * 7 }}", "a\u2028b"])
def test_names_of_files_and_methods_stay_text(bad: str) -> None:
    results = made_up({bad: [1, 2, 3], "b": [2, 3, 4]}, LOW, images=[bad, "y", "z"])
    results.failures.append(Failure(bad, bad, bad))
    found = page(results)
    scripts = [attrs for tag, attrs in found.tags if tag == "script"]
    assert len(scripts) == 2
    assert "img" not in [tag for tag, _ in found.tags]
    assert not any(name.startswith("on") for _, attrs in found.tags for name in attrs)
    assert found.payload[0]["images"][0] == bad
    assert found.payload[0]["rows"][0] == bad
    assert bad in found.text


def downstream(folder: Path, label: str = "mean", note: str = "5 seeds") -> Path:
    """What a run of `cddfuse downstream` leaves, made up."""

    def estimate(mean: float, half: float) -> dict[str, Any]:
        around = {"low": mean - half, "high": mean + half}
        return {
            "mean": mean,
            "deviation": half,
            "seeds": around,
            "images": {"low": None, "high": None},
        }

    none = {"low": None, "high": None}
    bare = {"mean": 0.8113, "deviation": None, "seeds": none, "images": none}
    rows: list[dict[str, Any]] = [
        {"label": "ir", "published": False, "classes": {"person": 0.5, "car": None}},
        {"label": label, "published": False, "classes": {"person": 0.25, "car": 0.5}},
        {"label": "cddfuse (published)", "published": True, "classes": {}},
    ]
    estimates = [(estimate(0.5, 0.01), None), (estimate(0.375, 0.02), estimate(-0.125, 0.03))]
    for row, (mean, difference) in zip(rows, [*estimates, (bare, None)], strict=True):
        row |= {"mean": mean, "difference": difference, "flag": "not above" if difference else ""}
    table = {
        "measure": "AP@0.5",
        "caption": "by centernet",
        "findings": ["no row is above ir"],
        "reference": "ir",
        "rows": rows,
    }
    content = {
        "task": "detect",
        "data": "streets",
        "classes": ["person", "car"],
        "notes": [note],
        "tables": [table],
    }
    folder.mkdir()
    (folder / "downstream.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def test_tables_of_downstream_tasks_are_in_the_page(tmp_path: Path) -> None:
    results = made_up({"a": [1, 2, 3], "b": [2, 3, 4]}, LOW)
    facts = report.about(results, None)
    folder = downstream(tmp_path / "run", HOSTILE, HOSTILE)
    views = read_tables([folder])
    text = report.page(results, facts, Path("nowhere"), shown=0, crops={}, tasks=views)
    found = Page(text)
    assert "Detection on streets, AP@0.5" in found.text
    for cell in ("50.0", "37.5", "-12.5", "35.5 to 39.5 (seeds)", "-15.5 to -9.5 (seeds)", "81.1"):
        assert cell in found.text
    assert "difference to ir" in found.text
    assert found.text.count(HOSTILE) == 2
    assert len(found.scripts) == 2
    assert "Downstream tasks" not in page(results).text


@pytest.mark.parametrize("text", [None, "no JSON", "[]", '{"notes": []}', '{"notes": 1}'])
def test_what_is_no_run_of_downstream_is_named(text: str | None, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "downstream.json").write_text(text)
    with pytest.raises(InputError, match=re.escape(str(tmp_path))) as caught:
        read_tables([tmp_path])
    assert caught.value.setting == "downstream"


def test_nothing_is_loaded_from_the_network() -> None:
    found = page(made_up({"a": [1, 2, 3], "b": [2, 3, 4]}, LOW))
    policy = [a["content"] for t, a in found.tags if a.get("http-equiv")]
    assert policy[0] is not None
    assert policy[0].startswith("default-src 'none'")
    links = [a.get(key) or "" for tag, a in found.tags for key in ("src", "href", "xlink:href")]
    assert all(link.startswith(("#", "data:")) or not link for link in links)


def test_the_same_numbers_give_the_same_page() -> None:
    texts = []
    for _ in range(2):
        results = made_up({"a": [1, 2, 3], "b": [2, 3, 4]}, LOW)
        facts = report.about(results, "a")
        texts.append(report.page(results, facts, Path("nowhere"), shown=0, crops={}))
    assert texts[0] == texts[1]


@pytest.mark.parametrize(
    ("methods", "count"),
    [
        ({"a": [1.0]}, 1),
        ({"a": [1.0], "b": [2.0]}, 1),
        ({"a": [1.0, 2.0, 3.0]}, 3),
        ({"a": [1.0] * 3, "b": [1.0] * 3, "c": [1.0] * 3}, 3),
        ({"a": [math.nan] * 3, "b": [1.0, math.nan, 3.0]}, 3),
        ({"a": [math.inf, 1.0, 2.0], "b": [1.0, 2.0, 3.0]}, 3),
        ({}, 2),
    ],
    ids=["one image, one method", "one image", "one method", "ties", "nan", "inf", "no method"],
)
def test_few_or_odd_numbers(methods: dict[str, list[float]], count: int) -> None:
    found = page(made_up(methods, {row: [0.5] * count for row in BASELINES}))
    assert "nan" not in re.sub(r"[a-z]*nan[a-z]+", "", found.text.lower()).split()
    assert len(found.payload[0]["images"]) == count


def test_ties_are_called_identical() -> None:
    results = made_up({name: [1.0, 2.0, 3.0] for name in "ab"}, LOW)
    assert "identical" in page(results).text


def test_two_thousand_images_are_a_few_megabytes() -> None:
    rng = np.random.default_rng(0)
    methods = {f"method {i}": rng.normal(i, 1, 2000).tolist() for i in range(8)}
    results = made_up(methods, {row: rng.normal(size=2000).tolist() for row in BASELINES})
    text = report.page(
        results, report.about(results, "method 0"), Path("nowhere"), shown=0, crops={}
    )
    assert len(text) < 6e6
    assert re.search(r"This page is one file of \d\.\d MB", text)
    table = tables(results)[0]
    assert len(choose(table, 8, {})) == 8


def test_failures_and_missing_pairs_come_first() -> None:
    results = made_up({"a": [1, 2, 3], "b": [2, 3, 4]}, LOW, missing={"b": 1})
    results.failures.append(Failure("mine", "b", "0002: cannot be read."))
    text = page(results).text
    assert text.index("0002: cannot be read.") < text.index("How to read this")
    assert "2 of 3" in text


def test_worst_images_are_worst_in_the_direction_of_the_metric() -> None:
    table = tables(made_up({"a": [3.0, 1.0, 2.0]}, LOW))[0]
    assert worst_images(table)["a"][0] == 1


def real_pairs(folder: Path, names: Sequence[str]) -> Results:
    rng = torch.Generator().manual_seed(0)
    for name in names:
        hot = 0.2 * torch.rand(1, 60, 80, generator=rng)
        hot[:, 25:33, 30:36] = 1
        write_image(folder / "vi" / f"{name}.png", torch.rand(3, 60, 80, generator=rng))
        write_image(folder / "ir" / f"{name}.png", hot)
    results = made_up(
        {"a": [1.0] * len(names)}, {row: [0.5] * len(names) for row in BASELINES}, images=names
    )
    data = DataSet("mine", folder / "vi", folder / "ir", "ivf")
    results.plan = Plan((Method("a", model="mean"),), (data,))
    for name in names:
        image = torch.rand(1, 60, 80, generator=rng)
        key = results.records["mine", "a"].key
        write_image(picture_path(folder, "mine", "a", name, key), image)
    return results


def test_pictures_are_embedded_with_crops_of_targets(tmp_path: Path) -> None:
    found = page(real_pairs(tmp_path, ["one", "two", "three"]), tmp_path, shown=2)
    pictures = found.payload[0]["pictures"]
    assert len(pictures) == 2
    picture = next(iter(pictures.values()))
    assert set(picture["images"]) == {"first", "second", "a", "mean", "max"}
    (text, crops), *_ = picture["crops"]
    assert "40 x 40 pixels" in text
    assert set(crops) == set(picture["images"])


def test_all_files_are_written_and_replaced(tmp_path: Path) -> None:
    results = made_up({"a": [1, 2, 3], "b": [2, 3, 4]}, LOW, images=["x\udcff", "y", "z"])
    report.write_report(results, tmp_path, shown=0)
    written = report.write_report(results, tmp_path, shown=0)
    names = {"tables.md", "tables.tex", "per_image.csv", "benchmark.json", "report.html"}
    assert {path.name for path in written} == names == {x.name for x in tmp_path.iterdir()}


def test_regions_are_parsed_or_refused() -> None:
    crops = parse_crops(["tno/01=10,20,30,40", "tno/a=b=1,2,3,4"])
    assert crops["tno", "01"][0] == (10, 20, 40, 60)
    assert ("tno", "a=b") in crops
    for word in ("tno=1,2,3,4", "tno/01", "tno/01=1,2,3", "tno/01=-1,2,3,4", "tno/01=1,2,0,4"):
        with pytest.raises(InputError, match="no region"):
            parse_crops([word])
