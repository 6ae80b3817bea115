"""Settings of wrong type, nested too deeply or too long are refused in one line."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import crosscoder
from crosscoder.core.activations.relu import ReLU
from crosscoder.errors import UserError
from crosscoder.formats import list_layouts
from tests.helpers.small import crosscoder_of
from tests.unit.formats import folders
from tests.unit.formats.folders import assert_refused

JSON = [
    name
    for name in list_layouts()
    if any(file.endswith(".json") for file in folders.build_files(name))
]
SIZES = {
    "gemma_scope_2": "width",
    "gemma_scope_2_layers": "width",
    "saelens": "d_in",
    "sparsify": "d_in",
    "dictionary_learning": "activation_dim",
    "kissane": "d_in",
    "crosscode": "d_model",
    "openmoss": "d_model",
}


def find_settings_file(files: folders.Files) -> str:
    return next(name for name in files if Path(name).suffix in (".json", ".yaml"))


def assert_refused_with(layout: str, folder: Path, *words: str, **settings: Any) -> None:
    """Check that a layout's folder is refused with these settings."""
    files = folders.build_files(layout)
    name = find_settings_file(files)
    files[name] |= settings
    assert_refused(
        folders.write(folder, files), *words, input_scale=folders.INPUT_SCALE.get(layout)
    )


@pytest.mark.parametrize("layout", JSON)
@pytest.mark.parametrize(
    "text",
    ["[]", "3", "null", '"a"', "{", "", "[" * 100_000, '{"a":' * 100_000, "9" * 5000, "\ufeff{}"],
)
def test_json_that_is_not_an_object_is_refused(layout, text, tmp_path):
    name = find_settings_file(folders.build_files(layout))
    (folders.write_folder(layout, tmp_path) / name).write_text(text, encoding="utf-8")
    assert_refused(tmp_path, name, input_scale=folders.INPUT_SCALE.get(layout))


@pytest.mark.long
@pytest.mark.parametrize(
    "text", ["- a", "3", "", "a: [", "? [a]\n: 1", "{" * 1500, "n_models: [0x" + "f" * 5000 + "]"]
)
def test_yaml_that_is_not_a_mapping_is_refused(text, tmp_path):
    (folders.write_folder("crosscode", tmp_path) / "model_cfg.yaml").write_text(text)
    assert_refused(tmp_path, "model_cfg.yaml", input_scale=1.0)


def test_yaml_with_nested_aliases_is_refused_with_a_short_message(tmp_path):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    (folders.write_folder("crosscode", tmp_path) / "model_cfg.yaml").write_text(
        "\n".join([*lines, "n_models: *a11"])
    )
    assert_refused(tmp_path, "model_cfg.yaml", "n_models", input_scale=1.0)


@pytest.mark.parametrize("layout", SIZES)
@pytest.mark.parametrize("value", ["4", True, 4.0, [4], {"4": 4}, -4, 0, 5, 10**400], ids=str)
def test_a_size_of_wrong_type_or_value_is_refused(layout, value, tmp_path):
    assert_refused_with(layout, tmp_path, **{SIZES[layout]: value})


@pytest.mark.parametrize(
    ("layout", "settings"),
    [
        ("saelens", {"architecture": None}),
        ("saelens", {"architecture": ["jumprelu"]}),
        ("saelens", {"normalize_activations": ["none"]}),
        ("saelens", {"metadata": [1]}),
        ("saelens", {"metadata": "6.0.0"}),
        ("saelens", {"metadata": {}, "normalize_activations": {"a": 1}}),
        ("saelens", {"metadata": {}, "activation_fn": "topk", "activation_fn_kwargs": [3]}),
        ("saelens", {"architecture": "topk", "k": 0}),
        ("saelens", {"architecture": "topk", "k": 2.0}),
        ("sparsify", {"k": 0}),
        ("sparsify", {"k": 7}),
        ("sparsify", {"k": None}),
        ("gemma_scope_2", {"hf_hook_point_in": 3}),
        ("gemma_scope_2", {"type": ["sae"]}),
        ("gemma_scope_2", {"type": "a\nb"}),
        ("gemma_scope_2_layers", {"hf_hook_point_in": "model.layers.{5,5}.output"}),
        ("gemma_scope_2_layers", {"hf_hook_point_in": "model.layers.{,,}.output"}),
        ("openmoss", {"hook_points": "blocks.5.hook_resid_post"}),
        ("openmoss", {"hook_points": [["a"], ["b"]]}),
        ("openmoss", {"hook_points": ["a\nb", "c"]}),
        ("openmoss", {"hook_points": ["blocks.5.hook_resid_post", "blocks.6.hook_resid_pre"]}),
        ("openmoss", {"expansion_factor": float("nan")}),
        ("openmoss", {"expansion_factor": float("inf")}),
        ("openmoss", {"expansion_factor": 10**400}),
        ("openmoss", {"sparsity_include_decoder_norm": "yes"}),
        ("crosscode", {"activation_fn": "ReLUActivation"}),
        ("crosscode", {"activation_fn": {"classname": "TopkActivation", "cfg": {"k": 99}}}),
        ("crosscode", {"use_encoder_bias": 1}),
        ("dictionary_learning_sae", {"trainer": None}),
        ("dictionary_learning_sae", {"trainer": {"dict_class": ["AutoEncoder"]}}),
    ],
    ids=str,
)
def test_settings_of_wrong_type_or_value_are_refused(layout, settings, tmp_path):
    assert_refused_with(layout, tmp_path, **settings)


@pytest.mark.parametrize("alpha", [float("nan"), float("inf"), -5.0, 10**400, "1"], ids=str)
def test_alphas_of_the_code_normalisation_must_be_finite_numbers(alpha, tmp_path):
    files = folders.dictionary_learning()
    files["model.safetensors"]["code_normalization_id"] = torch.tensor(3)
    files["config.json"] |= {"code_normalization_alpha_sae": alpha}
    assert_refused(folders.write(tmp_path, files))


@pytest.mark.parametrize(
    "place",
    ["a.²", "blocks." + "9" * 5000 + ".hook_resid_post", "layers." + "٣" * 9, "x." + "1" * 5000],
)
def test_a_place_without_a_hookpoint_is_kept_unchanged(place, tmp_path):
    files = folders.saelens()
    files["cfg.json"]["metadata"]["hook_name"] = place
    (source,) = crosscoder.load(folders.write(tmp_path, files)).sources
    assert source.hookpoint == place


@pytest.mark.parametrize("version", ["²", 6, [6], "six", None])
def test_an_invalid_version_counts_as_an_old_one(version, tmp_path):
    files = folders.saelens()
    files["cfg.json"]["metadata"] = {"sae_lens_version": version}
    assert crosscoder.load(folders.write(tmp_path, files)).provenance["layout"] == "saelens"


@pytest.mark.parametrize(
    "name", ["os", "os.system", "../os", "base", "", None, ["relu"], {"relu": 1}], ids=str
)
def test_unknown_activations_are_refused(name, tmp_path):
    assert_refused_with(
        "crosscode",
        tmp_path / "crosscode",
        "activation_fn is",
        "ReLUActivation",
        activation_fn={"classname": name},
    )
    assert_refused_with("openmoss", tmp_path / "openmoss", "act_fn is", "jumprelu", act_fn=name)
    config = crosscoder_of(ReLU()).save_pretrained(tmp_path / "own") / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"activation": {"name": name}}))
    with pytest.raises(UserError, match="unknown activation"):
        crosscoder.load(tmp_path / "own")
