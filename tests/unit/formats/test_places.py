"""Which folder is meant, which layout it has, and the factors that its files do not hold."""

import pytest
import torch

import crosscoder
from crosscoder.activations.relu import ReLU
from crosscoder.errors import UserError
from tests.small import crosscoder_of
from tests.unit.formats import folders
from tests.unit.formats.folders import refused

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
def test_no_name_leads_out_of_its_repository(spec, monkeypatch):
    monkeypatch.setattr("crosscoder.formats.where.snapshot", lambda *_: pytest.fail("asked the hub"))
    with pytest.raises(UserError) as error:
        crosscoder.load(spec)
    assert "\n" not in str(error.value)


@pytest.mark.faults
@pytest.mark.parametrize("folder", ["..", "../x", "a/../../x", "a\\..\\b", "/../x"])
def test_no_folder_leads_out_of_its_repository(folder, monkeypatch):
    monkeypatch.setattr("crosscoder.formats.where.snapshot", lambda *_: pytest.fail("asked the hub"))
    for spec in ("hf://a/b", "gemma-scope-2b-pt-res", "hf://a/b@main"):
        with pytest.raises(UserError, match=r"^no dictionary at|^'gemma-scope"):
            crosscoder.load(spec, folder)


def test_a_name_that_the_hub_cannot_have_is_one_line():
    with pytest.raises(UserError, match="neither a local folder nor on the hub") as error:
        crosscoder.load("hf://" + "a" * 200 + "/b")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "spec", ["nowhere", "./nowhere", "/no/where", "~nobody-of-this-name/x", "x" * 300, "x/" * 3000, "a\0b"]
)
def test_a_place_that_is_not_there_is_named(spec):
    with pytest.raises(UserError, match="no dictionary at") as error:
        crosscoder.load(spec)
    assert "\n" not in str(error.value)


def test_a_file_is_no_folder(tmp_path):
    path = folders.made("gemma_scope", tmp_path) / "params.npz"
    refused(path, "it is no folder")


def test_what_is_in_an_unknown_folder_is_said(tmp_path):
    refused(tmp_path, "no known layout", "it has nothing")
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "1²").write_text("no number")
    (tmp_path / "layer_3").mkdir()
    refused(tmp_path, "no known layout", "notes.txt", "layer_3/")


def test_a_folder_in_place_of_a_file_is_no_file(tmp_path):
    (tmp_path / "params.npz").mkdir()
    refused(tmp_path, "no known layout")


def test_where_two_layouts_fit_nothing_is_guessed(tmp_path):
    folders.made("gemma_scope", tmp_path)
    folders.made("saelens", tmp_path)
    refused(tmp_path, "gemma_scope, saelens", "layout=")
    for layout in ("gemma_scope", "saelens"):
        assert crosscoder.load(tmp_path, layout=layout).provenance["layout"] == layout


def test_a_layout_must_be_known_and_fit(tmp_path):
    folders.made("gemma_scope", tmp_path)
    with pytest.raises(UserError, match=r"no layout 'npz'; there is .*saelens"):
        crosscoder.load(tmp_path, layout="npz")
    refused(tmp_path, "not of the layout 'saelens'", "cfg.json", layout="saelens")
    refused(tmp_path, "not of the layout 'kissane'", "cc_weights.pt", layout="kissane")


def test_an_own_crosscoder_is_found_as_it_is_saved(tmp_path):
    saved = crosscoder_of(ReLU()).fold()
    saved.save_pretrained(tmp_path / "run" / "crosscoder")
    for path in (tmp_path / "run", tmp_path / "run" / "crosscoder"):
        assert torch.equal(crosscoder.load(path).W_dec, saved.W_dec)


# --- factors ---


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("layout", ["kissane", "crosscode"])
@pytest.mark.parametrize(
    ("given", "said"),
    [
        (None, "Give them as input_scale={'base': …, 'chat': …}"),
        ({"base": 0.5}, "of base, chat, not of base"),
        (TWO | {"it": 1.0}, "of base, chat, not of base, chat, it"),
        ({"base": 0.5, 1: 0.5}, "of base, chat, not of base, 1"),
        *[(bad, "positive") for bad in (-1.0, 0, float("nan"), float("inf"), 1e300, 1e-300, "2", [2.0])],
        *[(TWO | {"chat": bad}, "positive") for bad in (-1.0, 0.0, float("nan"), None, "2", 10**400)],
    ],
    ids=str,
)
def test_factors_are_positive_and_of_every_source(layout, given, said, tmp_path):
    refused(folders.made(layout, tmp_path), said, input_scale=given)


def test_one_factor_is_that_of_every_source(tmp_path):
    folders.made("kissane", tmp_path)
    one, both = (crosscoder.load(tmp_path, input_scale=given) for given in (0.5, {"chat": 0.5, "base": 0.5}))
    assert torch.equal(one.W_enc, both.W_enc)
    assert torch.equal(one.W_enc, folders.kissane()["cc_weights.pt"]["W_enc"].permute(2, 0, 1).flatten(1) * 0.5)


@pytest.mark.parametrize("layout", ["gemma_scope", "saelens", "sparsify", "dictionary_learning", "openmoss"])
def test_factors_are_refused_where_the_files_hold_them(layout, tmp_path):
    refused(folders.made(layout, tmp_path), "leave input_scale out", input_scale=0.5)


def test_factors_are_refused_where_the_file_has_folded_them_in(tmp_path):
    files = folders.crosscode()
    files["model.pt"]["is_folded"] = torch.tensor(True)
    refused(folders.write(tmp_path, files), "leave input_scale out", input_scale=1.0)
