"""Commands of python -m crosscoder.formats: list, show, export, push."""

import sys
from pathlib import Path

import huggingface_hub
import pytest

import crosscoder as package
from crosscoder.core.activations.batch_topk import BatchTopK
from crosscoder.core.activations.topk import TopK
from crosscoder.formats import __main__ as command
from crosscoder.formats import list_layouts
from crosscoder.formats.catalogue import CROSSCODERS
from tests.helpers.small import crosscoder_of
from tests.unit.formats import folders


@pytest.fixture
def run(monkeypatch, capsys):
    """Return a function that runs a command and returns what it printed."""

    def typed(*words: str, width: int = 160) -> str:
        monkeypatch.setattr(sys, "argv", ["formats", *words])
        monkeypatch.setattr(command.console, "_width", width)
        command.main()
        return capsys.readouterr().out

    return typed


@pytest.fixture
def saved(tmp_path) -> Path:
    made = crosscoder_of(BatchTopK(4), widths=(6, 6)).eval()
    made.activation.threshold.fill_(0.5)
    return made.save_pretrained(tmp_path / "crosscoder")


def test_without_a_command_layouts_and_short_names_are_listed(run):
    out = run()
    assert all(name in out for name in list_layouts())
    assert "kissane2024" in out


@pytest.mark.parametrize("width", [60, 80])
def test_names_and_addresses_are_never_cut(run, width):
    lines = run(width=width).splitlines()
    assert "gemma-scope-2-270m-pt/resid_post/layer_9_width_16k_l0_medium" in lines
    assert any(line.endswith(f" hf://{CROSSCODERS['minder2025_l1']}") for line in lines)


@pytest.mark.parametrize("kind", [TopK, BatchTopK])
def test_show_says_which_activation_was_loaded(run, tmp_path, kind):
    made = crosscoder_of(kind(4), widths=(6, 6)).eval()
    made.provenance["activation"] = kind(4).spec()
    if kind is BatchTopK:
        made.activation.threshold.fill_(0.5)
    out = run("show", str(made.save_pretrained(tmp_path / "crosscoder")))
    loaded = "topk, k=4, start=1.0" if kind is TopK else "jumprelu"
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert any(line.startswith(f"activation {loaded}") for line in lines)
    assert any(line.startswith("trained with {") for line in lines)


def test_show_prints_sources_and_origin(run, saved):
    out = run("show", str(saved))
    for words in ("jumprelu", "base resid_post.1, width 6", "24", str(saved)):
        assert words in out


def test_list_is_what_is_shown_without_a_command(run):
    assert run("list") == run()


def test_an_unknown_command_is_named(run, capsys):
    with pytest.raises(SystemExit):
        run("lists")
    assert "argument COMMAND: invalid choice: 'lists'" in capsys.readouterr().err


def test_show_leaves_out_what_is_undefined(run, tmp_path, monkeypatch):
    made = crosscoder_of(TopK(4), widths=(6, 6))
    made.provenance = {
        "revision": None,
        "rate": float("nan"),
        "norms": {"base": 1.5, "chat": float("nan")},
        "places": [1, None, float("nan")],
    }
    monkeypatch.setattr(command, "load", lambda *_, **__: made)
    out = run("show", "it")
    assert "nan" not in out.lower()
    assert "null" not in out
    assert "revision" not in out
    assert '{"base": 1.5}' in out
    assert '[1, "–", "–"]' in out


@pytest.mark.parametrize("layout", [name for name, one in list_layouts().items() if one.write])
def test_an_exported_crosscoder_can_be_loaded(run, saved, tmp_path, layout):
    out = run("export", str(saved), layout, str(tmp_path / "there"))
    assert "bytes" in out
    assert package.load(tmp_path / "there").provenance["layout"] == layout


def test_export_accepts_a_form(run, saved, tmp_path):
    run("export", str(saved), "dictionary_learning", str(tmp_path / "there"), "--form", "folded")
    assert package.load(tmp_path / "there").provenance["code_normalization"] == 4


def test_push_uploads_a_model_card(run, saved, tmp_path, monkeypatch):
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
    assert "the hub's someone/crosscoder" in run(
        "push", str(saved), "someone/crosscoder", "--public"
    )


def test_an_error_is_one_line(run, capsys, tmp_path):
    with pytest.raises(SystemExit):
        run("show", str(tmp_path / "nothing"))
    assert capsys.readouterr().err.startswith("error: no dictionary at")


@pytest.mark.parametrize(
    "scale",
    ["[" * 100_000, "nan", "true", '"x"', '{"base": "x"}', '{"base": 1, "chat": 0}', "{", "-1"],
)
def test_invalid_factors_are_refused_in_one_line(run, capsys, tmp_path, scale):
    folder = folders.write_folder("kissane", tmp_path)
    with pytest.raises(SystemExit):
        run("show", str(folder), f"--input-scale={scale}")
    assert "error: " in capsys.readouterr().err.strip().splitlines()[-1]


def test_factors_are_a_number_or_a_number_per_source(run, tmp_path):
    folder = folders.write_folder("kissane", tmp_path)
    for scale in ("2", "0.5", '{"base": 1, "chat": 0.25}'):
        assert "kissane" in run("show", str(folder), "--input-scale", scale)


def test_markup_in_files_is_printed_as_text(run, tmp_path):
    files = folders.saelens()
    files["cfg.json"]["metadata"] |= {
        "hook_name": "[red]x\x1b[31m",
        "model_name": "[/]\x1b[2J :smile:",
    }
    out = run("show", str(folders.write(tmp_path / "[blue]", files)))
    assert "\x1b" not in out
    for words in ("[red]x\\x1b[31m", "[/]\\x1b[2J :smile:", "[blue]"):
        assert words in out.replace("\\u001b", "\\x1b")


def test_push_uploads_results_if_asked(run, saved, monkeypatch):
    asked = {}

    def push(_, repo: str, private: bool, results: bool) -> str:
        asked.update(repo=repo, private=private, results=results)
        return "there"

    monkeypatch.setattr(package.Crosscoder, "push_to_hub", push)
    run("push", str(saved), "someone/crosscoder", "--results")
    assert asked == {"repo": "someone/crosscoder", "private": True, "results": True}
