"""A real browser for the tests of pages: Chromium of the system, driven by Playwright."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")


@contextmanager
def chromium() -> Iterator["Browser"]:
    """The browser; the test is skipped where there is none."""
    sync_api = pytest.importorskip("playwright.sync_api")
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.skip(f"there is no browser here: none of {', '.join(PROGRAMS)}")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program,
            args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"],
            timeout=240_000,
        )
        yield browser
        browser.close()


@contextmanager
def opened(browser: "Browser", address: str, **options: object) -> Iterator["Page"]:
    """A page in a fresh profile, which asks no other host, logs no error and keeps the policy."""
    context = browser.new_context(**options)  # type: ignore[arg-type]
    context.set_default_timeout(240_000)  # of machines that do other things
    page = context.new_page()
    asked: list[str] = []
    errors: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(address)
    yield page
    own = page.evaluate("location.origin")
    context.close()
    assert [url for url in asked if not url.startswith((own, f"blob:{own}"))] == []
    expected = "Failed to load resource"  # of answers other than 200, which tests ask for
    assert [text for text in errors if expected not in text] == []


def look(page: "Page", name: str) -> None:
    """Keep a screenshot for eyes, in the folder that the variable SCREENSHOTS names."""
    if folder := os.environ.get("SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=True)


def violations(page: "Page") -> list[str]:
    """What axe finds wrong."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    # Under the policy of the page no script can be added to it, but evaluated one is not.
    found = axe.run(page)
    return [f"{x['id']}: {x['nodes'][0]['html'][:200]}" for x in found.response["violations"]]
