"""What these tests share."""

import pytest

from crosscoder.formats import catalogue
from tests.reference.formats.files import F, d


@pytest.fixture
def small(monkeypatch):
    """The words 16k and 65k, and Gemma 2's activations, in the sizes used here."""
    known = catalogue.gemma_scope()
    for word in ("16k", "65k"):
        monkeypatch.setitem(known["widths"], word, F)
    for model in known["models"].values():
        monkeypatch.setitem(model, "width", dict.fromkeys(model["width"], d))
