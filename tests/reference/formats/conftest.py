"""Fixtures of the reference tests of layouts."""

import pytest

from crosscoder.formats import gemma_scope_table
from tests.reference.formats.files import F, d


@pytest.fixture
def small(monkeypatch):
    """Give the words 16k and 65k, and Gemma 2's activations, the sizes used here."""
    known = gemma_scope_table.load_gemma_scope()
    for word in ("16k", "65k"):
        monkeypatch.setitem(known["widths"], word, F)
    for model in known["models"].values():
        monkeypatch.setitem(model, "width", dict.fromkeys(model["width"], d))
