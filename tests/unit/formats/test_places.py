"""Finding a folder, detecting its layout, and factors that its files do not hold."""

import pytest
import torch

import crosscoder
from crosscoder.core.activations.relu import ReLU
from crosscoder.errors import UserError
from tests.helpers.small import crosscoder_of
from tests.unit.formats import folders
from tests.unit.formats.folders import assert_refused

TWO = {"base": 0.5, "chat": 0.25}


@pytest.mark.faults
@pytest.mark.parametrize(
    "spec",
    [
        "hf://a/b/../../c",
        "hf://../x",
        "hf://a/..",
        "hf://./b",
        "hf://a/b/./c",
        "hf://a/b@../c",
        "hf://a/b@main/../c",
        "hf://a/b@..",
        "hf://a/b//etc/passwd",
        "hf:////etc//passwd",
        "hf://a\\b",
        "hf://a/b/..\\..\\c",
        "hf://a/b/%2e%2e/c",
        "hf://a/b/*",
        "hf://a/b/c\n",
        "hf://a/b/c\0",
        "hf://a",
        "hf://",
        "hf://a/b@x@y",
        "a/../../b",
        "gemma-scope-2b-pt-res/../../x",
        "gemma-scope-2b-pt-res/layer\n_12/width_16k",
        "gemma-scope-2b-pt-res/embedding/../../../x",
        "gemma-scope-2-270m-pt/crosscoder/../../x",
        "gemma-scope-2b-pt-res@../layer_12/width_16k",
    ],
)
def test_names_that_leave_the_repository_are_refused(spec, monkeypatch):
    monkeypatch.setattr(
        "crosscoder.formats.locate.download_snapshot", lambda *_: pytest.fail("asked the hub")
    )
    with pytest.raises(UserError) as error:
        crosscoder.load(spec)
    assert "\n" not in str(error.value)


@pytest.mark.faults
@pytest.mark.parametrize("folder", ["..", "../x", "a/../../x", "a\\..\\b", "/../x"])
def test_folders_that_leave_the_repository_are_refused(folder, monkeypatch):
    monkeypatch.setattr(
        "crosscoder.formats.locate.download_snapshot", lambda *_: pytest.fail("asked the hub")
    )
    for spec in ("hf://a/b", "gemma-scope-2b-pt-res", "hf://a/b@main"):
        with pytest.raises(UserError, match=r"^no dictionary at|^'gemma-scope"):
            crosscoder.load(spec, folder)


def test_an_impossible_hub_name_is_refused_in_one_line():
    with pytest.raises(UserError, match="neither a local folder nor on the hub") as error:
        crosscoder.load("hf://" + "a" * 200 + "/b")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "spec",
    ["nowhere", "./nowhere", "/no/where", "~nobody-of-this-name/x", "x" * 300, "x/" * 3000, "a\0b"],
)
def test_a_missing_place_is_named(spec):
    with pytest.raises(UserError, match="no dictionary at") as error:
        crosscoder.load(spec)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("spec", ["outputs/RUN", "a/b/c", "folder/missing"])
def test_a_missing_folder_is_not_looked_up_on_the_hub(spec, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    monkeypatch.setattr(
        "crosscoder.formats.locate.download_snapshot", lambda *_: pytest.fail("asked the hub")
    )
    with pytest.raises(UserError, match=r"there is no such folder; a folder on the hub .* hf://"):
        crosscoder.load(spec)


def test_a_file_without_weights_is_refused(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("")
    assert_refused(path, "it is neither a folder nor a file of weights")


def test_the_content_of_an_unknown_folder_is_listed(tmp_path):
    assert_refused(tmp_path, "no known layout", "it has nothing")
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "1²").write_text("no number")
    (tmp_path / "layer_3").mkdir()
    assert_refused(tmp_path, "no known layout", "notes.txt", "layer_3/")


def test_a_folder_in_place_of_a_file_does_not_match(tmp_path):
    (tmp_path / "params.npz").mkdir()
    assert_refused(tmp_path, "no known layout")


def test_a_folder_that_fits_two_layouts_needs_a_choice(tmp_path):
    folders.write_folder("gemma_scope", tmp_path)
    folders.write_folder("saelens", tmp_path)
    assert_refused(tmp_path, "gemma_scope, saelens", "layout=")
    for layout in ("gemma_scope", "saelens"):
        assert crosscoder.load(tmp_path, layout=layout).provenance["layout"] == layout


def test_an_unknown_or_unfitting_layout_is_refused(tmp_path):
    folders.write_folder("gemma_scope", tmp_path)
    with pytest.raises(UserError, match=r"no layout 'npz'; there is .*saelens"):
        crosscoder.load(tmp_path, layout="npz")
    assert_refused(tmp_path, "not of the layout 'saelens'", "cfg.json", layout="saelens")
    assert_refused(tmp_path, "not of the layout 'kissane'", "cc_weights.pt", layout="kissane")


def test_a_saved_crosscoder_is_found_in_its_folder_and_in_a_run(tmp_path):
    saved = crosscoder_of(ReLU()).fold()
    saved.save_pretrained(tmp_path / "run" / "crosscoder")
    for path in (tmp_path / "run", tmp_path / "run" / "crosscoder"):
        assert torch.equal(crosscoder.load(path).W_dec, saved.W_dec)


# --- factors ---


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("layout", ["kissane", "crosscode"])
@pytest.mark.parametrize(
    ("input_scale", "message"),
    [
        (None, "Pass them as input_scale={'base': …, 'chat': …}"),
        ({"base": 0.5}, "sources base, chat, found base"),
        (TWO | {"it": 1.0}, "sources base, chat, found base, chat, it"),
        ({"base": 0.5, 1: 0.5}, "sources base, chat, found base, 1"),
        *[
            (bad, "positive")
            for bad in (-1.0, 0, float("nan"), float("inf"), 1e300, 1e-300, "2", [2.0])
        ],
        *[
            (TWO | {"chat": bad}, "positive")
            for bad in (-1.0, 0.0, float("nan"), None, "2", 10**400)
        ],
    ],
    ids=str,
)
def test_factors_must_be_positive_and_name_every_source(layout, input_scale, message, tmp_path):
    assert_refused(folders.write_folder(layout, tmp_path), message, input_scale=input_scale)


def test_a_single_factor_applies_to_every_source(tmp_path):
    folders.write_folder("kissane", tmp_path)
    one, both = (
        crosscoder.load(tmp_path, input_scale=input_scale)
        for input_scale in (0.5, {"chat": 0.5, "base": 0.5})
    )
    assert torch.equal(one.W_enc, both.W_enc)
    assert torch.equal(
        one.W_enc, folders.kissane()["cc_weights.pt"]["W_enc"].permute(2, 0, 1).flatten(1) * 0.5
    )


@pytest.mark.parametrize(
    "layout", ["gemma_scope", "saelens", "sparsify", "dictionary_learning", "openmoss"]
)
def test_factors_are_refused_if_the_files_hold_them(layout, tmp_path):
    assert_refused(folders.write_folder(layout, tmp_path), "leave input_scale out", input_scale=0.5)


def test_factors_are_refused_if_they_are_folded_in(tmp_path):
    files = folders.crosscode()
    files["model.pt"]["is_folded"] = torch.tensor(True)
    assert_refused(folders.write(tmp_path, files), "leave input_scale out", input_scale=1.0)
