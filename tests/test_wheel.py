"""The wheel: its content, its size, and a first run from a fresh environment."""

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from types import SimpleNamespace
from zipfile import ZipFile

import pytest
import torch

from cddfuse.io import read_image, write_image
from cddfuse.models import MODELS

ROOT = Path(__file__).parents[1]
MOST_BYTES = 20_000_000

pytestmark = pytest.mark.slow


def run(*command: object, cwd: Path) -> str:
    """What a program prints, without this checkout on its path."""
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=clean, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    offline = ("--no-deps", "--no-build-isolation", "--no-index")
    run(sys.executable, "-m", "pip", "wheel", ROOT, *offline, "--wheel-dir", folder, cwd=folder)
    (path,) = folder.glob("cddfuse-*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A fresh environment with the wheel, and with this environment's packages behind it."""

    class Builder(venv.EnvBuilder):
        def post_setup(self, context: SimpleNamespace) -> None:
            self.context = context

    builder = Builder(symlinks=os.name != "nt")
    builder.create(tmp_path_factory.mktemp("environment"))
    python = builder.context.env_exe
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    # A .pth file adds folders, but does not read the .pth files in them: an editable install of
    # this checkout stays out.
    packages = {sysconfig.get_path(kind) for kind in ("purelib", "platlib")}
    site = Path(run(python, "-c", where, cwd=wheel.parent).strip())
    (site / "packages.pth").write_text("\n".join(sorted(packages)))
    pip = (sys.executable, "-m", "pip", "--python", python)
    run(*pip, "install", "--no-deps", "--no-index", wheel, cwd=wheel.parent)
    return SimpleNamespace(python=python, site=site, scripts=Path(builder.context.bin_path))


def test_size(wheel: Path) -> None:
    assert wheel.stat().st_size <= MOST_BYTES


def test_content_is_the_package_and_its_licence(wheel: Path) -> None:
    source = ROOT / "src"
    files = (path for path in source.rglob("*") if path.is_file() and path.suffix != ".pyc")
    package = {path.relative_to(source).as_posix() for path in files}
    package = {name for name in package if "__pycache__" not in name and ".egg-info" not in name}
    with ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {name for name in names if not name.startswith("cddfuse-")} == package
    weights = sum(len(network.card.weights) for network in MODELS.values())
    assert sum(name.endswith(".safetensors") for name in names) == weights
    assert "cddfuse/py.typed" in names
    assert [name for name in names if name.endswith(".dist-info/licenses/LICENSE")]


def test_import_finds_the_installed_copy(installed: SimpleNamespace, tmp_path: Path) -> None:
    code = "import cddfuse; print(cddfuse.__file__)"
    found = Path(run(installed.python, "-c", code, cwd=tmp_path).strip())
    assert found == installed.site / "cddfuse" / "__init__.py"


def test_command_fuses_from_another_folder(installed: SimpleNamespace, tmp_path: Path) -> None:
    rng = torch.Generator().manual_seed(0)
    write_image(tmp_path / "visible.png", torch.rand(3, 40, 56, generator=rng))
    write_image(tmp_path / "infrared.png", torch.rand(1, 40, 56, generator=rng))
    cddfuse = installed.scripts / "cddfuse"
    run(cddfuse, "fuse", "visible.png", "infrared.png", "-o", "fused.png", cwd=tmp_path)
    assert read_image(tmp_path / "fused.png").shape == (3, 40, 56)
