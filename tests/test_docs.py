"""Commands in the documentation are understood, and its pages hold what the package says."""

import importlib.util
import re
import shlex
import xml.etree.ElementTree as ElementTree
from html import unescape
from pathlib import Path
from types import ModuleType

import pytest
import yaml

import cddfuse
from cddfuse.cli import VERBS, app
from cddfuse.metrics import PROFILES
from cddfuse.models import MODELS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def commands(page: Path) -> list[str]:
    """Calls of cddfuse in the shell blocks of a page, without their comments."""
    blocks = re.findall(r"^```bash\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    lines = "\n".join(blocks).replace("\\\n", " ")
    found = re.findall(r"(?:^|&& )(?:\.venv/bin/)?cddfuse (.*)", lines, re.MULTILINE)
    return [re.sub(r"\s#.*", "", line).strip() for line in found]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_exist_with_their_flags(page: Path) -> None:
    for command in commands(page):
        understood(shlex.split(command))


def understood(words: list[str]) -> None:
    """Parse a command as the program does; `train` has flags that depend on its recipe."""
    tokens = [word for word in words if word != "--help"]
    if tokens[0] == "train":
        from cddfuse.cli.train import verb_for

        if "--help" not in words:
            verb_for(tokens[1:]).parse_args(tokens[1:], exit_on_error=False, print_error=False)
        return
    assert tokens[0] in VERBS
    if "--help" not in words:
        app.parse_args(tokens, exit_on_error=False, print_error=False)


def test_there_are_commands() -> None:
    assert sum(len(commands(page)) for page in PAGES) > 40


@pytest.mark.parametrize("command", ["fuse a b -o c --nothing", "train a b -o c --nothing 1"])
def test_a_flag_that_does_not_exist_is_found(command: str) -> None:
    with pytest.raises(Exception, match="nothing"):
        understood(command.split())


@pytest.mark.parametrize("name", ["explain.md", "metrics.md", "extend.md"])
def test_python_of_the_pages_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    monkeypatch.chdir(tmp_path)
    for file in ("visible.png", "infrared.png"):
        cddfuse.write_image(file, torch.rand(1, 40, 48))
    for block in re.findall(r"```python\n(.*?)```", (ROOT / "docs" / name).read_text(), re.DOTALL):
        exec(block, {})


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_pages", ROOT / "scripts" / "docs_pages.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_site_has_every_page_verb_network_and_metric(generator: ModuleType, tmp_path: Path) -> None:
    generator.main(tmp_path)
    listed = str(yaml.safe_load((tmp_path / "mkdocs.yml").read_text())["nav"])
    for page in (ROOT / "docs").glob("*.md"):
        assert repr(page.name) in listed
    for verb in VERBS:
        assert f"verbs/{verb}.md" in listed
        assert f"cddfuse {verb}" in (tmp_path / "pages" / "verbs" / f"{verb}.md").read_text()
    fuse = (tmp_path / "pages" / "verbs" / "fuse.md").read_text()
    assert all(flag in fuse for flag in ("--stretch", "--model", "--tile", "FIRST"))
    assert "--crop" in (tmp_path / "pages" / "verbs" / "train.md").read_text()
    zoo = (tmp_path / "pages" / "zoo.md").read_text()
    assert all(f"[`{name}`]" in zoo for name in MODELS if MODELS[name].card.paper)
    assert f"{MODELS['didfuse'].card.parameters:,}" in zoo
    metrics = (tmp_path / "pages" / "metrics.md").read_text()
    for name in PROFILES["corrected"]:
        assert f"| [`{name}`](#{name.lower()}) |" in metrics
        assert f"### `{name}` {{#{name.lower()}}}" in metrics
        (formula,) = re.findall(
            rf'### `{name}` .*?<div class="formula">\n(.*?)\n</div>\n', metrics, re.DOTALL
        )
        for line in formula.split("\n"):
            (drawn,) = ElementTree.fromstring(line)
            assert drawn.tag.endswith("math")
            assert "\\" not in "".join(drawn.itertext())  # a command that is not known
    for page in (tmp_path / "pages").rglob("*.md"):
        assert "<!-- table:" not in page.read_text().replace("`<!-- table: zoo -->`", "")


def test_a_formula_says_how_the_sources_are_combined(generator: ModuleType) -> None:
    def drawn(profile: str, name: str) -> str:
        return re.sub(r"<[^>]*>", "", generator.formula(name, PROFILES[profile][name]))

    assert "SSIM=SSIM(F,A)+SSIM(F,B)" in unescape(drawn("paper", "SSIM"))
    assert "SSIM=12(SSIM(F,A)+SSIM(F,B))" in unescape(drawn("corrected", "SSIM"))


def test_a_page_that_nobody_listed_is_a_guide(generator: ModuleType, tmp_path: Path) -> None:
    for name in ("index.md", "video.md"):
        (tmp_path / name).write_text(f"# About {name}\n")
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "tno.md").write_text("# TNO\n")
    nav = generator.navigation(tmp_path, [])
    assert {"Guides": [{"About video.md": "video.md"}]} in nav
    assert {"Results": [{"TNO": "results/tno.md"}]} in nav


def test_citation_is_of_this_version() -> None:
    facts = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert facts["version"] == cddfuse.__version__
    assert facts["license"] == "Apache-2.0"
    assert {"cff-version", "message", "title", "authors"} <= facts.keys()
