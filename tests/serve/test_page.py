"""The page in a real browser."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import numpy as np
import pytest
from browsing import chromium, look, opened, violations
from image_bytes import encoded
from PIL import Image
from serving import served

from cddfuse import create_model, fuse
from cddfuse.io.images import quantize, read_pair
from cddfuse.serve import assets

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

# The source is where the fused clip is, and has been drawn there.
TOGETHER = """(() => { const source = document.getElementById("source-clip");
    return !source.seeking && source.readyState > 1
        && Math.abs(source.currentTime - clip.currentTime) < 0.06; })()"""
SIZES = {"wide": {"width": 1280, "height": 900}, "phone": {"width": 390, "height": 844}}


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def service() -> Iterator[httpx.Client]:
    with served(networks=("laplacian", "mean")) as client:
        yield client


@pytest.fixture
def sources(tmp_path: Path) -> tuple[Path, Path]:
    paths = tmp_path / "a.png", tmp_path / "b.png"
    for path, side in zip(paths, ("visible", "infrared"), strict=True):
        with Image.open(BytesIO(assets.content(f"examples/1_{side}.webp"))) as picture:
            mode = "RGB" if side == "visible" else "L"
            picture.resize((160, 120)).convert(mode).save(path)
    return paths


def address(service: httpx.Client) -> str:
    return str(service.base_url)


def choose(page: "Page", sources: tuple[Path, Path]) -> None:
    for side, path in zip(("first", "second"), sources, strict=True):
        page.set_input_files(f"#{side}", path)


def until(page: "Page", true: str) -> None:
    """Wait for an expression; Playwright's own way to do so breaks the page's policy."""
    for _ in range(100):
        if page.evaluate(true):
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"never true: {true}")


def drop(page: "Page", where: str, *paths: Path) -> None:
    """Drop files as a person does."""
    content = [[path.name, list(path.read_bytes())] for path in paths]
    transfer = page.evaluate_handle(
        """files => { const transfer = new DataTransfer();
        for (const [name, bytes] of files)
          transfer.items.add(new File([new Uint8Array(bytes)], name));
        return transfer; }""",
        content,
    )
    page.dispatch_event(where, "drop", {"dataTransfer": transfer})


def done(page: "Page") -> None:
    page.locator("#status", has_text="Done").wait_for()


def saved(page: "Page") -> bytes:
    with page.expect_download() as waiting:
        page.click("#download")
    return Path(waiting.value.path()).read_bytes()


def test_drop_fuse_slide_zoom_download(
    browser: "Browser", service: httpx.Client, sources: tuple[Path, Path]
) -> None:
    with opened(browser, address(service), viewport=SIZES["wide"]) as page:
        drop(page, "[data-side=second] .preview", sources[1])
        drop(page, "[data-side=first]", sources[0])
        page.locator("[data-side=first] img").wait_for()
        page.click("#fuse")
        done(page)
        assert page.evaluate("document.activeElement.id") == "title"
        page.focus("#cut")
        for _ in range(10):
            page.keyboard.press("ArrowLeft")
        assert page.input_value("#cut") == "40"
        assert page.evaluate("getComputedStyle(over).clipPath") == "inset(0px 60% 0px 0px)"
        width = page.evaluate("stage.offsetWidth")
        page.locator("#stage").click(position={"x": 0.75 * width, "y": 20})
        assert page.input_value("#cut") == "75"
        page.focus("#viewport")
        for _ in range(3):
            page.keyboard.press("+")
        assert page.inner_text("#level") == "4x"
        assert page.evaluate("stage.offsetWidth") == 640
        page.keyboard.press("-")
        assert page.evaluate("stage.offsetWidth") == 320
        expected = quantize(fuse(create_model("laplacian"), read_pair(*sources)))
        np.testing.assert_array_equal(Image.open(BytesIO(saved(page))), expected)
        page.select_option("#format", "tiff")
        assert saved(page).startswith(b"II*\0")


def test_two_files_at_once_swap_and_clear(
    browser: "Browser", service: httpx.Client, sources: tuple[Path, Path]
) -> None:
    with opened(browser, address(service)) as page:
        assert violations(page) == []
        drop(page, "main", *sources)
        shown = page.locator(".preview p")
        shown.get_by_text("a.png").wait_for()
        assert shown.all_inner_texts() == ["a.png", "b.png"]
        page.click("#swap")
        page.locator("[data-side=first] p", has_text="b.png").wait_for()
        page.click("#clear")
        assert shown.all_inner_texts() == ["Drop an image here"] * 2
        page.click("#fuse")
        page.locator("#error", has_text="The first image is missing").wait_for()


def test_what_is_dropped_beside_two_files_is_said(
    browser: "Browser", service: httpx.Client, sources: tuple[Path, Path]
) -> None:
    with opened(browser, address(service)) as page:
        drop(page, "main", *sources, sources[0])
        page.locator("#error", has_text="the others are left out").wait_for()


def test_files_are_still_chosen_when_one_comes_back_until_they_are_gone(
    browser: "Browser", service: httpx.Client, sources: tuple[Path, Path]
) -> None:
    with opened(browser, address(service)) as page:
        choose(page, sources)
        page.locator("[data-side=second] img").wait_for()
        page.goto(f"{address(service)}/api.html")
        page.go_back()
        page.locator("[data-side=second] p", has_text="b.png").wait_for()
        page.click("#fuse")
        done(page)
        sources[0].unlink()
        page.select_option("#format", "jpeg")
        page.click("#download")
        page.locator("#error", has_text="A file cannot be read any more").wait_for()


def test_tall_images_fit(browser: "Browser", service: httpx.Client, tmp_path: Path) -> None:
    tall = tmp_path / "tall.png"
    tall.write_bytes(encoded(np.zeros((150, 50), np.uint8), "PNG"))
    with opened(browser, address(service), viewport=SIZES["wide"]) as page:
        choose(page, (tall, tall))
        page.click("#fuse")
        done(page)
        until(page, "under.complete && stage.offsetWidth > 0")
        hidden = "(view => view.scrollHeight - view.clientHeight)(stage.parentElement)"
        assert page.evaluate(hidden) == 0
        assert page.evaluate("stage.offsetHeight / stage.offsetWidth") == pytest.approx(3, rel=0.01)


def test_scores_of_stretched_images_and_when_the_server_was_busy(
    browser: "Browser", service: httpx.Client, sources: tuple[Path, Path]
) -> None:
    data = [("first", sources[0].read_bytes()), ("second", sources[1].read_bytes())]
    with opened(browser, address(service)) as page:
        choose(page, sources)
        page.check("#stretch")
        page.click("#fuse")
        done(page)
        page.route("**/v1/score", lambda route: route.fulfill(status=503, json={"detail": "busy."}))
        page.click("#scores summary")
        page.locator("#scores .error", has_text="Busy.").wait_for()
        page.unroute("**/v1/score")
        page.click("#scores summary")
        page.click("#scores summary")
        page.locator("#scores table").wait_for()
        shown = page.locator("#scores tbody tr", has_text="mean").inner_text().split()
    form = {"stretch": "true", "metrics": "EN SD"}
    found = service.post("/v1/score", files=data, data=form).json()["rows"]["mean"]
    assert shown[1:3] == [f"{found['EN']:.3f}", f"{found['SD']:.3f}"]


def test_errors_are_said(browser: "Browser", service: httpx.Client, tmp_path: Path) -> None:
    texts = tmp_path / "<img src=x onerror=alert(1)>.png", tmp_path / "b.png"
    for path in texts:
        path.write_bytes(b"hello")
    with opened(browser, address(service)) as page:
        choose(page, texts)
        page.locator("[data-side=first] p", has_text="no preview").wait_for()
        page.click("#fuse")
        page.locator("#error", has_text="The first image is none of PNG").wait_for()
        assert page.locator("#error").get_attribute("role") == "alert"
        assert page.locator(".preview img[src=x]").count() == 0
        large = tmp_path / "large.png"
        large.write_bytes(bytes(1_000_001))
        page.set_input_files("#first", large)
        page.click("#fuse")
        page.locator("#error", has_text="larger than 1 MB").wait_for()
        page.route("**/v1/fuse/events", lambda route: route.abort())
        small = tmp_path / "small.png"
        small.write_bytes(encoded(np.zeros((8, 8), np.uint8), "PNG"))
        choose(page, (small, small))
        page.click("#fuse")
        page.locator("#error", has_text="does not answer").wait_for()
        assert page.is_enabled("#fuse")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_examples_scores_features_and_accessibility(
    browser: "Browser", service: httpx.Client, size: str, scheme: str
) -> None:
    options = {"viewport": SIZES[size], "color_scheme": scheme}
    with opened(browser, address(service), **options) as page:
        page.click("[data-example='1']")
        page.locator("#status", has_text="Example 1").wait_for()
        page.click("#fuse")
        done(page)
        for summary in ("#scores summary", "#features summary"):
            page.click(summary)
        page.locator("#scores table").wait_for()
        page.locator("#features figure img").last.wait_for()
        rows = page.locator("#scores tbody th").all_inner_texts()
        assert rows == ["fused", "first image", "second image", "mean", "maximum"]
        assert page.locator("#scores strong").count() >= 8
        assert violations(page) == []
        look(page, f"page-{size}-{scheme}")
        assert page.evaluate("document.documentElement.scrollWidth <= screen.width")


def test_page_of_the_api(browser: "Browser", service: httpx.Client) -> None:
    with opened(browser, f"{address(service)}/api.html", viewport=SIZES["phone"]) as page:
        page.locator("h2", has_text="POST /v1/score").wait_for()
        assert "required" in page.inner_text("table >> nth=0")
        assert violations(page) == []
        look(page, "api-phone")
        assert page.evaluate("document.documentElement.scrollWidth <= screen.width")


def test_work_can_be_cancelled(
    browser: "Browser", service: httpx.Client, sources: tuple[Path, Path]
) -> None:
    with opened(browser, address(service)) as page:
        page.route("**/v1/fuse/events", lambda route: None)  # it is never answered
        choose(page, sources)
        page.click("#fuse")
        page.click("#cancel")
        page.locator("#status", has_text="Cancelled").wait_for()
        assert page.is_enabled("#fuse")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Twelve frames of an example, in which a window of it moves."""
    pytest.importorskip("av")
    from clip_bytes import clip

    folder = tmp_path_factory.mktemp("clips")
    paths = folder / "visible.mp4", folder / "infrared.webm"
    kinds = ("mp4", "libx264"), ("webm", "libvpx")
    for path, side, kind in zip(paths, ("visible", "infrared"), kinds, strict=True):
        with Image.open(BytesIO(assets.content(f"examples/1_{side}.webp"))) as picture:
            whole = np.asarray(picture.convert("RGB"))
        frames = [np.ascontiguousarray(whole[20:260, 5 * n : 5 * n + 320]) for n in range(12)]
        path.write_bytes(clip(frames, *kind, form="yuv420p"))
    return paths


@pytest.mark.parametrize("size", SIZES)
def test_clips_are_dropped_fused_played_and_saved(
    browser: "Browser", service: httpx.Client, clips: tuple[Path, Path], size: str
) -> None:
    from clip_bytes import shown

    with opened(browser, address(service), viewport=SIZES[size]) as page:
        drop(page, "main", *clips)
        for side in ("first", "second"):
            page.locator(f"[data-side={side}] video").wait_for()
        page.locator("#about-clips", has_text="600 frames").wait_for()
        assert page.is_hidden("#holds")
        page.click("#fuse")
        done(page)
        assert "laplacian, 320 x 240 pixels, 12 frames" in page.inner_text("#facts")
        assert page.is_hidden("#scores")
        assert page.is_hidden("#under")
        end = page.evaluate(
            """async () => { const clip = document.getElementById("clip");
            clip.loop = false;
            const ended = new Promise(resolve => clip.addEventListener("ended", resolve));
            await clip.play();
            await ended;
            return [clip.videoWidth, clip.videoHeight, clip.currentTime]; }"""
        )
        assert end == pytest.approx([320, 240, 12 / 25], abs=0.05)
        assert violations(page) == []
        look(page, f"clip-{size}")
        assert page.evaluate("document.documentElement.scrollWidth <= screen.width")
        frames = shown(saved(page))
        assert [frame.shape for frame in frames] == [(240, 320, 3)] * 12
        page.locator("#about-clips", has_text="laplacian takes about").wait_for()


def test_a_clip_is_compared_with_its_sources(
    browser: "Browser", service: httpx.Client, clips: tuple[Path, Path]
) -> None:
    with opened(browser, address(service)) as page:
        drop(page, "main", *clips)
        page.click("#fuse")
        done(page)
        source = "document.getElementById('source-clip')"
        until(page, f"{source}.videoWidth === 320")
        assert page.inner_text("#left") == "first clip"
        page.click("#play")
        until(page, f"!{source}.paused && {source}.currentTime > 0.1")
        assert page.inner_text("#play") == "Pause"
        page.click("#play")
        until(page, TOGETHER)
        page.locator("#moment").evaluate(
            "moment => { moment.value = 0.75; moment.dispatchEvent(new Event('input')); }"
        )
        until(page, "Math.abs(clip.currentTime - 0.36) < 0.01")
        until(page, TOGETHER)
        page.select_option("#against", "second")
        until(page, f"{source}.videoWidth === 320")
        until(page, TOGETHER)
        assert page.inner_text("#left") == "second clip"
        look(page, "clip-against")
        # What a browser cannot play is said; the fused clip is still there.
        page.evaluate(f"{source}.src = URL.createObjectURL(new Blob(['nothing']))")
        page.locator("#unplayable", has_text="cannot play this source").wait_for()
        assert page.is_hidden("#over")
        page.select_option("#against", "first")
        page.locator("#over").wait_for()
        assert page.inner_text("#unplayable") == ""


def test_one_clip_of_both_sides_and_what_clips_are_told(
    browser: "Browser", service: httpx.Client, clips: tuple[Path, Path], sources: tuple[Path, Path]
) -> None:
    with opened(browser, address(service)) as page:
        page.set_input_files("#first", clips[0])
        page.select_option("#layout", "side-by-side")
        page.click("#fuse")
        done(page)
        assert "160 x 240 pixels" in page.inner_text("#facts")
        until(page, "document.getElementById('source-clip').videoWidth === 320")
        box = "getComputedStyle(document.getElementById('source-clip'))"
        wide = page.evaluate("stage.offsetWidth")
        for side, left in (("first", 0), ("second", -wide)):
            page.select_option("#against", side)
            found = page.evaluate(f"[{box}.left, {box}.width, {box}.top].map(parseFloat)")
            assert found == pytest.approx([left, 2 * wide, 0], abs=1)
        page.set_input_files("#second", sources[1])
        page.locator("[data-side=second] img").wait_for()
        page.click("#fuse")
        page.locator("#error", has_text="choose two of a kind").wait_for()
        page.click("[data-example='1']")
        page.locator("#about-clips", has_not_text="clips").wait_for(state="attached")
        page.click("#fuse")
        page.locator("#under").wait_for()
        assert page.is_hidden("#clip")


def test_the_small_network_is_proposed_for_clips_and_none_where_they_are_not_taken(
    browser: "Browser", service: httpx.Client, clips: tuple[Path, Path]
) -> None:
    facts = service.get("/v1/networks").json()
    offers = [{"name": name, "seconds_per_megapixel": 9.0} for name in ("large", "small")]
    told = {**facts, "networks": offers, "clips": {**facts["clips"], "network": "small"}}
    with opened(browser, address(service)) as page:
        page.route("**/v1/networks", lambda route: route.fulfill(json=told))
        page.reload()
        page.set_input_files("#first", clips[0])
        # 9 s for each million pixels, 12 frames of 320 x 240.
        page.locator("#about-clips", has_text="small takes about 8 s").wait_for()
        assert page.input_value("#network") == "small"
        page.select_option("#network", "large")
        page.locator("#about-clips", has_text="small is the network that is fast").wait_for()
        page.set_input_files("#first", clips[1])
        page.locator("#about-clips", has_text="large takes about").wait_for()
        assert page.input_value("#network") == "large"
        page.unroute("**/v1/networks")
        page.route("**/v1/networks", lambda route: route.fulfill(json={**facts, "clips": None}))
        page.reload()
        page.set_input_files("#first", clips[0])
        page.locator("#about-clips", has_text="This server takes no clips").wait_for()
        page.click("#fuse")
        page.locator("#error", has_text="This server takes no clips").wait_for()
