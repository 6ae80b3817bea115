"""Take the pictures of the documents that show a run's report, in headless Chromium.

python -m benchmarks.screenshots RUN
"""

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

from crosscoder.errors import UserError, exit_on_error

IMAGES = Path(__file__).parents[1] / "docs" / "images"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WIDTH = 1280
HEIGHT = 860


def take_screenshot(page: Path, picture: Path, width: int = WIDTH, height: int = HEIGHT) -> None:
    """Write a picture of the first screen of a page.

    Raises:
        UserError: There is no browser or no page.
    """
    paths = [shutil.which(name) for name in BROWSERS]
    browsers = [path for path in paths if path]
    if not browsers:
        raise UserError(f"no browser found: install one of {', '.join(BROWSERS)}")
    if not page.exists():
        raise UserError(f"no page at {page}: python -m crosscoder.report {page.parent} writes it")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browsers[0], args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": width, "height": height}, color_scheme="light")
        tab.goto(page.resolve().as_uri())
        tab.wait_for_load_state("networkidle")
        picture.parent.mkdir(parents=True, exist_ok=True)
        tab.screenshot(path=picture)
        browser.close()


@exit_on_error()
def main() -> None:
    """Take all pictures of a run."""
    if len(sys.argv) != 2:
        raise UserError("usage: python -m benchmarks.screenshots RUN")
    take_screenshot(Path(sys.argv[1]) / "report.html", IMAGES / "report.png")


if __name__ == "__main__":
    main()
