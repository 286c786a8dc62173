"""Labelled boxes, read from either kind of file."""

from pathlib import Path

import pytest

from cddfuse.errors import InputError
from cddfuse.io.boxes import read_boxes

VOC = """<annotation> // a remark
<size><width>1280</width><height>1024</height><depth>1</depth></size>
<object><name>person</name><bndbox>
<xmin>1</xmin><ymin>257</ymin><xmax>640</xmax><ymax>512</ymax></bndbox></object>
<object><name>car</name><bndbox>
<xmin>11</xmin><ymin>11</ymin><xmax>20</xmax><ymax>20</ymax></bndbox></object>
</annotation>"""


def test_yolo_is_in_shares_of_the_image(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("0  0.5 0.25 0.5 0.1 \n2 0.05 0.5 0.2 1\n\n")
    assert read_boxes(path, 100, 200) == [(50, 20, 150, 30), (0, 0, 30, 100)]
    assert read_boxes(path, 100, 200, classes=["2"]) == [(0, 0, 30, 100)]


def test_voc_is_in_pixels_and_follows_the_size_of_the_image(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_text(VOC)
    assert read_boxes(path, 1024, 1280, classes=["person"]) == [(0, 256, 640, 512)]
    assert read_boxes(path, 512, 640) == [(0, 128, 320, 256), (5, 5, 10, 10)]


LABELLED = (
    "<annotation><size><width>{width}</width><height>24</height></size><object><bndbox>"
    "<xmin>-3</xmin><ymin>4</ymin><xmax>{right}</xmax><ymax>20</ymax></bndbox></object></annotation>"
)


def test_boxes_end_at_the_edge_of_the_image(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_text(LABELLED.format(width=32, right=40))
    assert read_boxes(path, 24, 32) == [(0, 3, 32, 20)]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        pytest.param("a.txt", "0 0.5 0.5 0.1", id="four words"),
        pytest.param("a.txt", "0 0.5 half 0.1 0.1", id="no number"),
        pytest.param("a.xml", "<annotation>", id="no XML"),
        pytest.param("a.xml", "<annotation></annotation>", id="no size"),
        pytest.param("none.txt", "", id="no file"),
        pytest.param("a.txt", "0 nan 0.5 0.1 0.1", id="not a number"),
        pytest.param("a.txt", "0 0.5 0.5 inf 1", id="infinite"),
        pytest.param("a.xml", LABELLED.format(width=0, right=9), id="image without size"),
        pytest.param("a.xml", LABELLED.format(width=32, right="inf"), id="infinite corner"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, name: str, text: str) -> None:
    if text:
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=rf"{name} cannot be read as boxes .*Pascal VOC\.$"):
        read_boxes(tmp_path / name, 10, 10)
