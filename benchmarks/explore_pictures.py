"""Take the pictures of crosscoder-explore, in headless Chromium.

python -m benchmarks.explore_pictures RUN
"""

import shutil
import sys
import threading

from playwright.sync_api import Page, expect, sync_playwright

from benchmarks.screenshots import BROWSERS, IMAGES
from crosscoder.errors import UserError, exit_on_error
from crosscoder.explore.__main__ import bind
from crosscoder.explore.server import serve
from crosscoder.explore.session import open_session

QUESTION = "I'm new to programming. Is this code correct? values = 12/0"
PICTURES = {"explore": (1360, 1060)}
PATIENCE = 600_000  # milliseconds


@exit_on_error()
def main() -> None:
    """Serve a run, and take all pictures of its page."""
    if len(sys.argv) != 2:
        raise UserError("usage: python -m benchmarks.explore_pictures RUN")
    paths = [shutil.which(name) for name in BROWSERS]
    browsers = [path for path in paths if path]
    if not browsers:
        raise UserError(f"no browser found: install one of {', '.join(BROWSERS)}")
    address = start(sys.argv[1])
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browsers[0], args=["--no-sandbox"])
        for name, (width, height) in PICTURES.items():
            viewport = {"width": width, "height": height}
            tab = browser.new_page(viewport=viewport, color_scheme="light")  # type: ignore[arg-type]
            tab.set_default_timeout(PATIENCE)
            tab.goto(address)
            ablate_first(tab)
            tab.screenshot(path=IMAGES / f"{name}.png")
        browser.close()


def start(run: str) -> str:
    """Serve a run from a thread, and return the address."""
    session = open_session(run)
    found: list[str] = []
    is_ready = threading.Event()

    def announce(address: str) -> None:
        found.append(address)
        is_ready.set()

    threading.Thread(target=serve, args=(session, bind(0), announce), daemon=True).start()
    is_ready.wait()
    return found[0]


def ablate_first(tab: Page) -> None:
    """Ask the question, and ask it again without the prompt's first latent."""
    expect(tab.locator("#status")).to_have_text("ready", timeout=PATIENCE)
    tab.locator("#composer-first textarea").fill(QUESTION)
    tab.locator("#read").click()
    tab.locator("#strip-first .piece").first.wait_for()
    tab.locator("#top button[aria-label^='Edit latent']").first.click()
    tab.locator("#generate").click()
    for column in tab.locator("#answer-columns .answer .note").all():
        expect(column).to_contain_text("after", timeout=PATIENCE)
    tab.evaluate("scrollTo(0, 0)")


if __name__ == "__main__":
    main()
