"""The blocks of the how-to pages run as they stand there."""

from pathlib import Path

import pytest

from tests.docs.blocks import ROOT, list_pages
from tests.docs.running import run_page

FOLDER = ROOT / "docs" / "how-to"
PAGES = [page for page in list_pages() if page.is_relative_to(FOLDER)]


@pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])
def test_the_blocks_run(page: Path, tmp_path: Path, finished_run: Path):
    run_page(page, tmp_path, finished_run)
