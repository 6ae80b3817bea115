"""python -m crosscoder.formats: look, write, push."""

import sys
from pathlib import Path

import huggingface_hub
import pytest

import crosscoder as package
from crosscoder.activations.batch_topk import BatchTopK
from crosscoder.formats import __main__ as command
from crosscoder.formats import layouts
from tests.small import crosscoder_of


@pytest.fixture
def run(monkeypatch, capsys):
    """Type a command; gives what it printed."""

    def typed(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["formats", *words])
        monkeypatch.setattr(command.console, "_width", 160)
        command.main()
        return capsys.readouterr().out

    return typed


@pytest.fixture
def saved(tmp_path) -> Path:
    made = crosscoder_of(BatchTopK(4), widths=(6, 6)).eval()
    made.activation.threshold.fill_(0.5)
    return made.save_pretrained(tmp_path / "crosscoder")


def test_without_words_it_lists_what_there_is(run):
    out = run()
    assert all(name in out for name in layouts())
    assert "kissane2024" in out


def test_show_names_streams_and_origin(run, saved):
    out = run("show", str(saved))
    for words in ("jumprelu", "base resid_post.1, width 6", "24", str(saved)):
        assert words in out


@pytest.mark.parametrize("layout", [name for name, one in layouts().items() if one.write])
def test_what_is_written_is_read_again(run, saved, tmp_path, layout):
    out = run("export", str(saved), layout, str(tmp_path / "there"))
    assert "bytes" in out
    assert package.load(tmp_path / "there").provenance["layout"] == layout


def test_push_goes_to_the_hub_with_a_card(run, saved, tmp_path, monkeypatch):
    class StubHub:
        def create_repo(self, repo: str, private: bool, exist_ok: bool) -> None:
            assert (repo, private) == ("someone/crosscoder", False)

        def upload_folder(self, repo_id: str, folder_path: str | Path) -> str:
            assert sorted(f.name for f in Path(folder_path).iterdir()) == [
                "README.md",
                "config.json",
                "model.safetensors",
            ]
            return f"the hub's {repo_id}"

    monkeypatch.setattr(huggingface_hub, "HfApi", StubHub)
    assert "the hub's someone/crosscoder" in run("push", str(saved), "someone/crosscoder", "--public")


def test_what_is_wrong_is_one_line(run, capsys, tmp_path):
    with pytest.raises(SystemExit):
        run("show", str(tmp_path / "nothing"))
    assert capsys.readouterr().err.startswith("error: no dictionary at")
