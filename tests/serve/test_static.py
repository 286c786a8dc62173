"""The page without a server, in a real browser: the same picture as Python, no other request."""

import functools
import json
import threading
import warnings
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from browsing import chromium, look, opened, violations
from image_bytes import chunk, encoded, exif, noise, tensor
from PIL import Image

from cddfuse import create_model, fuse
from cddfuse.cli import run
from cddfuse.errors import InputError
from cddfuse.evaluate.protocol import rows, stretched_rows
from cddfuse.io.images import quantize, read_pair
from cddfuse.metrics import score
from cddfuse.models import FusionModel, save_weights
from cddfuse.serve import assets
from cddfuse.serve.static import runtime_files

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def network() -> FusionModel:
    """The small network, with weights that change the image although nobody has trained them."""
    torch.manual_seed(3)
    model = create_model("cddfuse_small")
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "excite" in name:
                weight.normal_(std=0.05)  # tokens count, and hardly a pixel is clipped
    return model


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of onnxruntime-web; the test is skipped where npm does not give them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        try:
            return runtime_files()[0].parent
        except InputError as error:
            pytest.skip(str(error))


@pytest.fixture(scope="module")
def site(
    network: FusionModel, parts: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The address of the page, as a plain web server gives it."""
    folder = tmp_path_factory.mktemp("static")
    save_weights(network, folder / "small.safetensors")
    words = ["serve", "--static", folder / "page", "--weights", folder / "small.safetensors"]
    with warnings.catch_warnings():  # those of the exporter, which the command silences
        assert run([*map(str, words), "--runtime", str(parts), "--quiet"]) == 0

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(folder / "page"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    with chromium() as found:
        yield found


def fused_in(page: "Page", first: Path, second: Path) -> np.ndarray:
    page.set_input_files("#first", first)
    page.set_input_files("#second", second)
    page.click("#fuse")
    page.locator("#error:not(:empty), #status:has-text('Done')").first.wait_for()
    assert page.inner_text("#error") == ""
    with page.expect_download() as waiting:
        page.click("#download")
    picture = Image.open(waiting.value.path()).convert("RGB")
    return np.asarray(picture).astype(int)


def difference(network: FusionModel, found: np.ndarray, *sources: Path, **how: object) -> int:
    expected = quantize(fuse(network, read_pair(*sources), **how)).astype(int)  # type: ignore[arg-type]
    expected = expected if expected.ndim == 3 else np.repeat(expected[..., None], 3, -1)
    return int(np.abs(found - expected).max())


def written(folder: Path, name: str, data: bytes) -> Path:
    (folder / name).write_bytes(data)
    return folder / name


def test_same_picture_as_python(
    browser: "Browser", site: str, network: FusionModel, tmp_path: Path
) -> None:
    names = "examples/1_visible.webp", "examples/1_infrared.webp"
    street = [Image.open(BytesIO(assets.content(name))) for name in names]
    sizes = {"whole": (400, 300), "odd": (133, 77), "tiny": (5, 3)}
    with opened(browser, site) as page:
        for name, size in sizes.items():
            colours = written(tmp_path, f"{name}.png", encoded(street[0].resize(size), "PNG"))
            grey = street[1].convert("L").resize(size)
            heat = written(tmp_path, f"{name}_heat.png", encoded(grey, "PNG"))
            found = fused_in(page, colours, heat)
            assert difference(network, found, colours, heat) <= 1
            mean = fuse(create_model("mean"), read_pair(colours, heat))
            assert np.abs(found - quantize(mean)).max() > 3  # it is the network
            assert difference(network, fused_in(page, heat, colours), heat, colours) <= 1
        page.check("#stretch")
        assert difference(network, fused_in(page, colours, heat), colours, heat, stretch=True) <= 1
        page.uncheck("#stretch")
        page.select_option("#colour", "grey")
        assert difference(network, fused_in(page, colours, heat), colours, heat, grey=True) <= 1
        turned = Image.Exif()
        turned[274] = 6
        photo = encoded(Image.fromarray(noise(40, 56)), "JPEG", quality=95, exif=turned)
        first = written(tmp_path, "a.jpg", photo)
        assert difference(network, fused_in(page, first, first), first, first, grey=True) <= 2


def test_scores_accessibility_and_hosts(browser: "Browser", site: str) -> None:
    with opened(browser, site, viewport={"width": 390, "height": 844}) as page:
        page.click("[data-example='2']")
        page.locator("#status", has_text="Example 2").wait_for()
        page.click("#fuse")
        page.locator("#status", has_text="Done").wait_for()
        page.click("#scores summary")
        page.locator("#scores table").wait_for()
        assert not page.locator("#features").is_visible()
        assert page.locator("#resize").count() == 0
        assert page.locator("#colour option").all_inner_texts() == [
            "as in the colour image",
            "none",
        ]
        assert page.inner_text("#about") == "With weights from a file."
        assert violations(page) == []
        look(page, "static-phone")


def test_all_shipped_weights_are_offered(parts: Path, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        words = ["--static", str(tmp_path / "page"), "--runtime", str(parts), "--quiet"]
        assert run(["serve", *words]) == 0
    networks = json.loads((tmp_path / "page/network.json").read_text())["networks"]
    assert [each["name"] for each in networks] == ["cddfuse_small=ivf", "cddfuse_small=mif"]
    files = [(tmp_path / "page" / each["file"]).read_bytes() for each in networks]
    assert len(set(files)) == 2


@pytest.mark.parametrize("stretch", [False, True])
def test_scores_are_those_of_the_library(browser: "Browser", site: str, stretch: bool) -> None:
    image = noise(20, 30) // 2 + 40
    levels = [np.ascontiguousarray(x) for x in (image, image[::-1], image[:, ::-1] // 2)]
    files = [encoded(x, "PNG") for x in levels]
    with opened(browser, site) as page:
        found = page.evaluate(
            """async ([images, stretch]) => {
            const { scores } = await import("./engine.js");
            const [fused, first, second] = images.map(
              bytes => new Blob([new Uint8Array(bytes)], { type: "image/png" }));
            return (await scores({ first, second, stretch }, fused)).rows; }""",
            [[list(data) for data in files], stretch],
        )
    fused, first, second = map(tensor, levels)
    for name, row in (stretched_rows if stretch else rows)(fused, first, second).items():
        expected = score(row[None], first[None], second[None], ["EN", "SD", "SF", "MI", "SCD"])
        numbers = {x: y.item() for x, y in expected.items()}
        shown = {x: float("nan") if y is None else y for x, y in found[name].items()}
        assert shown == pytest.approx(numbers, rel=1e-5, nan_ok=True), name
    assert set(found) == {"fused", "first", "second", "mean", "max"}


def test_profiles_and_gamma_are_taken_as_python_takes_them(
    browser: "Browser", site: str, network: FusionModel, tmp_path: Path
) -> None:
    """Browsers convert levels of grey, and colours by their gamma, where they are let."""
    import imagecodecs

    grey, colours = noise(20, 30), encoded(noise(20, 30, 3), "PNG")
    white, corners = [0.3127, 0.329, 1.0], [0.64, 0.33, 1, 0.21, 0.71, 1, 0.15, 0.06, 1]
    profile = bytes(imagecodecs.cms_profile("gray", whitepoint=white, gamma=1.0))
    wide = imagecodecs.cms_profile("rgb", whitepoint=white, primaries=corners, gamma=2.2)
    gamma = chunk(b"gAMA", (100_000).to_bytes(4, "big"))
    cases = {
        "gamma.png": colours[:33] + gamma + colours[33:],
        "wide.png": encoded(noise(20, 30, 3), "PNG", icc_profile=bytes(wide)),
        "grey.png": encoded(grey, "PNG", icc_profile=profile),
        "grey.jpg": encoded(grey, "JPEG", icc_profile=profile, quality=95),
    }
    other = written(tmp_path, "other.png", encoded(grey, "PNG"))
    with opened(browser, site) as page:
        for name, data in cases.items():
            file = written(tmp_path, name, data)
            found = fused_in(page, file, other)
            # Two programs convert wide colours, and round in between.
            assert difference(network, found, file, other) <= (3 if "wide" in name else 1), name


def test_work_can_be_cancelled_while_images_are_read(browser: "Browser", site: str) -> None:
    with opened(browser, site) as page:
        page.click("[data-example='1']")
        page.locator("#status", has_text="Example 1").wait_for()
        page.evaluate("document.getElementById('fuse').click()")
        page.evaluate("document.getElementById('cancel').click()")
        page.locator("#status", has_text="Cancelled").wait_for()
        assert page.is_hidden("#result")


def test_a_connection_that_fails_once_is_tried_again(browser: "Browser", site: str) -> None:
    with opened(browser, site) as page:
        page.route("**/network0.onnx", lambda route: route.abort())
        page.click("[data-example='1']")
        page.locator("#status", has_text="Example 1").wait_for()
        page.click("#fuse")
        page.locator("#error", has_text="check the connection").wait_for()
        page.unroute("**/network0.onnx")
        page.click("#fuse")
        page.locator("#status", has_text="Done").wait_for()


def test_opened_as_a_file_it_says_what_it_needs(browser: "Browser", tmp_path: Path) -> None:
    for name in ("index.html", "page.js", "style.css"):
        written(tmp_path, name, assets.content(name))
    page = browser.new_page()
    page.goto((tmp_path / "index.html").as_uri())
    assert "needs a web server" in page.inner_text("#about")
    page.close()


def test_what_it_cannot_read_is_said(browser: "Browser", site: str, tmp_path: Path) -> None:
    good = written(tmp_path, "good.png", encoded(noise(20, 30), "PNG"))
    clear = Image.new("RGBA", (30, 20), (10, 20, 30, 40))
    turned = encoded(noise(20, 30, 3), "WEBP", exif=exif(tag274=3))
    cases = {
        "has 16 bits": encoded(noise(20, 30, bits=16), "PNG"),
        "is no image": encoded(noise(20, 30), "TIFF"),
        "transparent": encoded(clear, "PNG"),
        "is to be turned": turned,
        "of one size": encoded(noise(20, 31), "PNG"),
    }
    with opened(browser, site) as page:
        for text, data in cases.items():
            page.set_input_files("#first", written(tmp_path, f"{text}.png", data))
            page.set_input_files("#second", good)
            page.click("#fuse")
            page.locator("#error", has_text=text).wait_for()


def test_folder_that_exists_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "page").mkdir()
    assert run(["serve", "--static", str(tmp_path / "page")]) == 2
    assert "--overwrite" in capsys.readouterr().err
    (tmp_path / "page" / "thesis.txt").write_text("mine")
    assert run(["serve", "--static", str(tmp_path / "page"), "--overwrite"]) == 2
    assert "thesis.txt" in capsys.readouterr().err
    assert (tmp_path / "page" / "thesis.txt").exists()
    assert run(["serve", "--weights", "x"]) == 2
    assert "--static" in capsys.readouterr().err
    with pytest.raises(InputError, match="lacks files of onnxruntime-web"):
        runtime_files(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="install Node"):
        runtime_files()


def test_runtime_that_is_not_the_published_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    npm = tmp_path / "npm"
    npm.write_text('#!/bin/sh\necho other > "$5/other.tgz"\n')
    npm.chmod(0o755)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("shutil.which", lambda name: str(npm))
    with pytest.raises(InputError, match="not what was published"):
        runtime_files()
