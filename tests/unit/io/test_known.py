"""What the user has chosen is known by its text, and nothing else is."""

import pytest

from crosscoder.io.known import is_known, remember


@pytest.fixture(autouse=True)
def nothing_known(tmp_path, monkeypatch):
    monkeypatch.setenv("CROSSCODER_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("text", ["a", "a/b", "../../x", "", "ü\n", "x" * 10_000, "\ud800"])
def test_what_was_noted_is_known(text):
    assert not is_known("models", text)
    remember("models", text)
    remember("models", text)
    assert is_known("models", text)
    assert not is_known("configurations", text)
    assert not is_known("models", text + " ")


def test_where_nothing_can_be_noted_nothing_is_known(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CROSSCODER_CACHE", str(tmp_path / "file"))
    remember("models", "a")
    assert "cannot note" in caplog.text
    assert not is_known("models", "a")
