"""Headless Chromium for all tests of pages."""

import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
REQUIRED = os.environ.get("CROSSCODER_REQUIRE_BROWSER") == "1"

expect.set_options(timeout=60_000)  # a busy machine answers slowly


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start Chromium; without one, the tests are skipped unless it is required."""
    if CHROMIUM is None and not REQUIRED:
        pytest.skip("no Chromium on PATH")
    assert CHROMIUM, "no Chromium on PATH, and CROSSCODER_REQUIRE_BROWSER=1"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()
