import csv
import io
import json
import math
import re
from dataclasses import replace

from made_up import made_up

from cddfuse.benchmark import captions
from cddfuse.benchmark.data_files import as_csv, as_json, as_wide_csv
from cddfuse.benchmark.latex import as_latex
from cddfuse.benchmark.markdown import as_markdown, differences_markdown
from cddfuse.benchmark.rewards import rewarded_metrics
from cddfuse.benchmark.suite import Failure
from cddfuse.benchmark.tables import tables
from cddfuse.evaluate import BASELINES
from cddfuse.metrics import PROFILES

LOW = {row: [0.0, 0.1, 0.2] for row in BASELINES}


def markdown_row(text: str, label: str) -> list[str]:
    line = next(line for line in text.splitlines() if line.startswith(f"| {label}"))
    return [cell.strip() for cell in line.split("|")[2:-1]]


def test_best_is_bold_and_second_underlined() -> None:
    text = as_markdown(made_up({"a": [1, 2, 3], "b": [2, 3, 4], "c": [0.5, 1, 2]}, LOW))
    assert markdown_row(text, "b")[1] == "**3.000**"
    assert markdown_row(text, "a")[1] == "<u>2.000</u>"
    assert markdown_row(text, "c")[1] == "1.167"


def test_small_differences_have_as_many_decimals_as_they_need() -> None:
    levels = [0.001 * (place + 1) for place in range(12)]
    values = {"a": levels, "b": [x - 0.0004 - 1e-6 * n for n, x in enumerate(levels)]}
    (table, _) = tables(made_up(values, dict.fromkeys(BASELINES, levels)))
    row = markdown_row(differences_markdown(table, "a"), "b")
    assert row[0] == "-0.00041 worse"
    assert captions.difference_text(-0.0004, 3) == "-0.00040"
    assert captions.difference_text(1.5, 3) == "+1.500"
    assert captions.difference_text(-1e-12, 3) == "-0.00000000"
    assert captions.difference_text(0.0, 3) == "+0.000"
    assert captions.difference_text(math.inf, 3) == "+inf"


def test_methods_trained_for_the_other_task_compete_apart() -> None:
    values = {"a": [1, 2, 3], "b": [2, 3, 4], "c": [5, 6, 7], "d": [6, 7, 8]}
    results = made_up(values, LOW)
    for label in "cd":
        results.records["mine", label].facts["trained"] = "mif"
    text = as_markdown(results)
    assert "compete among themselves" in text
    assert markdown_row(text, "b")[1] == "**3.000**"
    assert markdown_row(text, "d, trained on MIF")[1] == "**7.000**"


def test_demonstration_weights_are_called_so() -> None:
    results = made_up({"a": [1, 2, 3], "b": [2, 3, 4]}, LOW)
    results.records["mine", "a"].facts.update(trained="ivf", model="sdnet")
    results.records["mine", "b"].facts.update(trained="ivf", model="cddfuse")
    text = as_markdown(results)
    assert "no ranking of the published methods" in text
    assert markdown_row(text, "a, demonstration weights |")
    assert markdown_row(text, "b |")


def test_images_that_may_share_a_patient_are_noted() -> None:
    for names, said in ((["11", "12", "13"], True), (["20005", "20006", "21005"], False)):
        results = made_up({"a": [1, 2, 3]}, LOW, name="mri_ct", images=names)
        assert ("are too narrow" in as_markdown(results)) == said


def test_scores_that_the_training_asked_for_are_named() -> None:
    results = made_up({"a": [1, 2, 3], "b": [2, 3, 4]}, LOW)
    facts = {
        "model": "cddfuse",
        "weights": "ivf",
        "trained": "ivf",
        "metrics": ["EN@paper", "TC@corrected"],
    }
    results.records["mine", "a"].facts.update(facts)
    assert "a: the loss of its training has terms for TC, so" in as_markdown(results)
    results.records["mine", "a"].facts["metrics"] = ["EN@paper"]
    assert "the loss of its training" not in as_markdown(results)
    assert rewarded_metrics("cddfuse", "mif") == ["SSIM", "VIF", "Qabf", "MI", "SCD", "TC"]
    assert rewarded_metrics("sdnet", "ivf") == rewarded_metrics("x", "nowhere.safetensors") == []


def test_of_two_methods_none_is_second() -> None:
    text = as_markdown(made_up({"a": [1, 2, 3], "b": [2, 3, 4]}, LOW))
    assert markdown_row(text, "a")[1] == "2.000"


def test_a_sentence_for_each_method() -> None:
    low = LOW | {"max": [2.5, 2.5, 2.5]}
    brief = tables(made_up({"a": [1, 2, 3], "b": [2, 3, 4]}, low))[0].brief()
    assert brief == [
        "a: in 3 of 3 metrics a baseline is better.",
        "b: best in EN, SSIM, TC; no baseline is better in any of 3 metrics.",
    ]


def test_after_two_best_none_is_second() -> None:
    text = as_markdown(made_up({"a": [1, 2, 3], "b": [1, 2, 3], "c": [1, 1, 1]}, LOW))
    assert markdown_row(text, "a")[1] == "**2.000**"
    assert markdown_row(text, "c")[1] == "1.000"


def test_small_means_have_three_digits() -> None:
    low = {row: [0.0, 0.0, 0.0] for row in LOW}
    text = as_markdown(made_up({"a": [0.001, 0.002, 0.003], "b": [1e-5] * 3}, low))
    assert markdown_row(text, "a")[1] == "**0.00200**"
    assert markdown_row(text, "b")[1] == "0.00001"


def test_latex_survives_brackets_and_says_what_to_know() -> None:
    results = made_up({"[12] a": [1, 2, 3], "b": [2, math.nan, 4]}, LOW)
    results.failures.append(Failure("mine", "b", "2: 50 % of it is missing"))
    text = as_latex(results)
    assert not re.search(r"\\\\\s*\[", text)
    assert "{[}12] a & 3" in text
    assert r"\label{tab:mine-stretched}" in text
    assert "3 pairs are too few" in text
    assert r"Failed: mine, b: 2: 50 \% of it is missing" in text
    assert "($n$=2)" in text


def test_equal_methods_share_a_place_and_one_method_has_none() -> None:
    text = as_markdown(made_up({"a": [1, 2, 3], "b": [1, 2, 3]}, LOW))
    assert markdown_row(text, "a")[1] == markdown_row(text, "b")[1] == "**2.000**"
    assert markdown_row(as_markdown(made_up({"a": [1, 2, 3]}, LOW)), "a")[1] == "2.000"


def test_baselines_mark_what_they_beat_and_do_not_compete() -> None:
    low = LOW | {"max": [9.0, 9.0, 9.0]}
    text = as_markdown(made_up({"a": [1, 2, 3], "b": [2, 3, 4]}, low))
    assert markdown_row(text, "b")[1] == "**3.000**<sup>m</sup>"
    assert markdown_row(text, "max")[1] == "9.000"


def test_a_method_that_lacks_a_pair_says_so_and_does_not_compete() -> None:
    results = made_up({"a": [1, 2, 3], "b": [8, 9, 9], "c": [0, 1, 2]}, LOW, missing={"b": 1})
    text = as_markdown(results)
    assert markdown_row(text, "b")[0] == "2 of 3"
    assert markdown_row(text, "b")[1] == "8.500 (n=2)"
    assert markdown_row(text, "a")[1] == "**2.000**"


def test_undefined_values_are_counted() -> None:
    text = as_markdown(made_up({"a": [1, math.nan, 3], "b": [math.nan] * 3}, LOW))
    assert markdown_row(text, "a")[1] == "2.000 (n=2)"
    assert markdown_row(text, "b")[1] == "-"


def test_every_column_names_its_profile() -> None:
    results = made_up({"a": [1, 2, 3], "b": [2, 3, 4]}, LOW)
    for text in (as_markdown(results), as_latex(results)):
        assert "paper (EN, SSIM), corrected (TC)" in text
    table = tables(results)[0]
    for column in table.columns:
        assert PROFILES[column.profile][column.name] is column.metric


def test_published_rows_stand_in_the_stretched_table_only() -> None:
    stretched, plain = tables(made_up({"a": [1, 2, 3]}, LOW, name="tno"))
    assert stretched.published[0].label == "cddfuse (paper)"
    assert stretched.published[0].cells["EN"].summary.mean == 7.12
    assert "TC" not in stretched.published[0].cells
    assert plain.published == []
    assert "3 pairs here, 25 in published tables" in stretched.expected()


def test_published_rows_of_a_file_stand_beside() -> None:
    results = made_up({"a": [1, 2, 3]}, LOW)
    results.plan = replace(results.plan, published={"mine": {"theirs": [1, 2, 3, 4, 5, 6, 7, 8]}})
    text = as_markdown(results)
    assert markdown_row(text, "theirs, published") == ["-", "1.00", "8.00", "-"]
    assert text.count("| theirs, published |") == 1


def test_wide_csv_has_a_column_for_each_metric() -> None:
    text = as_wide_csv(made_up({"a": [1, math.nan, 3.0000001]}, LOW, images=["x", "y,1", "z"]))
    lines = list(csv.DictReader(io.StringIO(text)))
    assert len(lines) == 2 * 5 * 3
    values = {line["image"]: line["EN"] for line in lines if line["method"] == "a"}
    assert values == {"x": "1", "y,1": "nan", "z": "3"}


def test_csv_has_a_row_for_each_image_and_metric() -> None:
    results = made_up({"a": [1, math.nan, 3]}, LOW, images=["x", "y,1", "z"])
    lines = list(csv.DictReader(io.StringIO(as_csv(results))))
    assert len(lines) == 2 * 5 * 3 * 3
    values = {line["image"]: line["value"] for line in lines if line["method"] == "a"}
    assert values == {"x": "1", "y,1": "nan", "z": "3"}


def test_json_is_valid_and_complete() -> None:
    results = made_up({"a": [1, math.nan, 3], "b": [math.inf] * 3}, LOW)
    results.failures.append(Failure("mine", "c", "broken."))

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    text = as_json(results, {"reference": "a"})
    content = json.loads(text, parse_constant=refuse)
    assert content["failures"] == [{"data": "mine", "method": "c", "reason": "broken."}]
    rows = {row["label"]: row for row in content["tables"][0]["rows"]}
    assert rows["a"]["cells"]["EN"]["summary"]["undefined"] == 1
    assert rows["b"]["cells"]["EN"]["summary"]["mean"] == "inf"
    assert {cell["key"] for cell in content["cells"]} == {"k" * 24}


def test_latex_escapes_names_and_closes_what_it_opens() -> None:
    text = as_latex(made_up({"a_b & 50 % $x$ \\cmd {": [1, 2, 3], "b": [2, 3, 4]}, LOW))
    assert r"a\_b \& 50 \% \$x\$ \textbackslash{}cmd \{" in text
    assert text.count(r"\begin{") == text.count(r"\end{") == 4
    body = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {len(re.findall(r"(?<!\\)&", line)) for line in body} == {4}


def test_markdown_keeps_names_from_becoming_markup() -> None:
    text = as_markdown(made_up({"<b>|x|*": [1, 2, 3]}, LOW))
    assert r"&lt;b>\|x\|\*" in text


def test_holm_counts_all_tests_of_a_table() -> None:
    rng = [0.1, 0.5, 0.2, 0.9, 0.3, 0.7]
    results = made_up({"a": rng, "b": [x + 1 for x in rng]}, {row: [0.0] * 6 for row in BASELINES})
    tests = tables(results)[0].against("a")
    # Five other rows, one exact two-sided p of 2/64 for each of three metrics.
    assert tests["b"]["EN"].p * 15 == tests["b"]["EN"].adjusted
