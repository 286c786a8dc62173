"""A file is put in its place whole, or not at all."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from cddfuse import write_image
from cddfuse.errors import InputError
from cddfuse.io import expanded, formats, replacing, replacing_folder
from cddfuse.io.files import node, remove_abandoned


def test_file_appears_only_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "new" / "folder" / "a.png"
    with replacing(target) as temporary:
        temporary.write_text("whole")
        assert not target.exists()
    assert target.read_text() == "whole"
    assert list(target.parent.iterdir()) == [target]


def test_temporary_is_a_hidden_neighbour_of_the_same_kind(tmp_path: Path) -> None:
    target = tmp_path / "scan.nii.gz"
    with replacing(target) as one, replacing(tmp_path / "a.png") as other:
        one.touch()
        other.touch()
        assert one.parent == tmp_path
        assert one.name.startswith(".")
        assert one.name.endswith(".nii.gz")
        assert other.suffix == ".png"


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    with replacing(tmp_path / "a") as one, replacing(tmp_path / "a") as other:
        assert one != other
        one.write_text("one")
        other.write_text("other")
    assert (tmp_path / "a").read_text() == "one"


def write_half(path: Path, failure: BaseException) -> None:
    with replacing(path) as temporary:
        temporary.write_text("half")
        raise failure


def write_whole(path: Path) -> None:
    with replacing(path) as temporary:
        temporary.write_text("whole")


@pytest.mark.parametrize(
    "failure", [RuntimeError(), KeyboardInterrupt(), OSError(errno.EIO, "broken")], ids=repr
)
def test_failure_leaves_the_old_file_and_no_other(tmp_path: Path, failure: BaseException) -> None:
    target = tmp_path / "a.png"
    target.write_text("old")
    with pytest.raises(type(failure)):
        write_half(target, failure)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(
    ("number", "cure"),
    [
        (errno.ENOSPC, "the disk is full: free some space, or choose another folder"),
        (errno.EACCES, "permission is denied: choose another folder"),
        (errno.EROFS, "the disk is read-only: choose another folder"),
    ],
)
def test_trouble_of_the_disk_is_one_sentence(tmp_path: Path, number: int, cure: str) -> None:
    target = tmp_path / "a.png"
    with pytest.raises(InputError, match=f"cannot write {target}: {cure}"):
        write_half(target, OSError(number, os.strerror(number)))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["file/a.png", "file/deeper/a.png"])
def test_file_in_the_way_of_a_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="a file is in the way where a folder is needed"):
        write_whole(tmp_path / name)


def test_folder_in_the_way_of_a_file(tmp_path: Path) -> None:
    target = tmp_path / "a.png"
    target.mkdir()
    with pytest.raises(InputError, match="a folder of that name is in the way"):
        write_whole(target)
    assert list(tmp_path.iterdir()) == [target]


def test_name_that_is_too_long(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the name is too long: choose a shorter one"):
        write_whole(tmp_path / ("a" * 300 + ".png"))
    assert not list(tmp_path.iterdir())


def test_home_folder_for_a_tilde(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert expanded(Path("~/out")) == tmp_path / "out"
    assert expanded(Path("~")) == tmp_path
    assert expanded(Path("~nobody-of-this-name/x")) == Path("~nobody-of-this-name/x")
    assert expanded(Path("a/~/b")) == Path("a/~/b")


KILLED = """
import os, signal, sys
from pathlib import Path
from cddfuse.io import replacing, replacing_folder
place = Path(sys.argv[1])
with replacing(place / "a.nii.gz") as one, replacing_folder(place / "b") as other:
    one.write_text("half")
    (other / "half").touch()
    rename = os.rename
    def killed(source, target):
        rename(source, target)
        os.kill(os.getpid(), signal.SIGKILL)
    if sys.argv[2] == "between":
        os.rename = killed
    else:
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
@pytest.mark.parametrize("moment", ["early", "between"])
def test_what_a_killed_process_left_is_removed(tmp_path: Path, moment: str) -> None:
    """A folder that it was about to replace is still there, or comes back."""
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "old").write_text("old")
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), moment])
    assert killed.returncode == -9
    assert len(list(tmp_path.glob(".cddfuse-*"))) == (3 if moment == "between" else 2)
    assert (tmp_path / "b").exists() == (moment == "early")
    remove_abandoned(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["b"]
    assert (tmp_path / "b" / "old").read_text() == "old"


def test_what_others_write_is_left_alone(tmp_path: Path) -> None:
    dead, random = 2**22 + 1, "0123abcd"
    names = [
        f".cddfuse-{node()}-{os.getpid()}-{random}.png",  # a process that lives
        f".cddfuse-00000000-{dead}-{random}.png",  # one of another machine
        f".cddfuse-{dead}-{random}.png",
        ".cddfuse-notes.txt",
        "fused.png",
    ]
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / f".cddfuse-{node()}-{dead}-{random}").touch()
    remove_abandoned(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    remove_abandoned(tmp_path / "nowhere")


def test_each_folder_of_results_is_tidied_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Subfolders too."""
    for side in ("vi", "ir"):
        for name in ("a/1", "a/2", "b/1"):
            write_image(tmp_path / side / f"{name}.png", torch.zeros(1, 4, 5))
    seen: list[Path] = []
    monkeypatch.setattr(formats, "remove_abandoned", seen.append)
    source = formats.open_source(tmp_path / "vi", tmp_path / "ir", formats.Reading(recursive=True))
    out = tmp_path / "out"
    formats.open_sink(source, formats.Writing(out))
    assert sorted(seen) == [tmp_path, out, out / "a", out / "b"]


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    for text in ("one", "two"):
        with replacing_folder(tmp_path / "a") as folder:
            (folder / text).touch()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["two"]
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
