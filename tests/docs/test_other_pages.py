"""The blocks of README and of all pages that are no how-to pages run as they stand there."""

from pathlib import Path

import pytest

from tests.docs.blocks import ROOT, list_pages
from tests.docs.running import run_page
from tests.docs.test_how_to import FOLDER

PAGES = [page for page in list_pages() if not page.is_relative_to(FOLDER)]


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_the_blocks_run(page: Path, tmp_path: Path, finished_run: Path):
    run_page(page, tmp_path, finished_run)
