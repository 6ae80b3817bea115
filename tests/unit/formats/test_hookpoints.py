"""Places of other libraries become hookpoints, or are kept unchanged."""

import pytest

import crosscoder
from crosscoder.formats.hookpoints import is_named, parse_hookpoint, parse_submodule
from tests.unit.formats import folders


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("blocks.3.hook_resid_post", "resid_post.3"),
        ("blocks.3.hook_resid_pre", "resid_post.2"),
        ("blocks.3.hook_mlp_out", "mlp_out.3"),
        ("blocks.3.hook_attn_out", "attn_out.3"),
        ("blocks.3.attn.hook_z", "attn_z.3"),
        ("model.layers.3", "resid_post.3"),
        ("model.layers.3.output", "resid_post.3"),
        ("model.layers.3.input", "resid_post.2"),
        ("model.language_model.layers.3", "resid_post.3"),
        ("layers_10", "resid_post.10"),
        ("transformer.h.5", "resid_post.5"),
        ("gpt_neox.layers.5", "resid_post.5"),
        ("model.layers.3.mlp", "mlp_out.3"),
        ("layers.3.mlp", "mlp_out.3"),
        ("h.3.attn", "attn_out.3"),
        ("model.layers.3.self_attn.output", "attn_out.3"),
        ("model.layers.3.self_attn.o_proj.input", "attn_z.3"),
        ("model.layers.3.post_feedforward_layernorm.output", "mlp_out.3"),
    ],
)
def test_a_place_becomes_a_hookpoint(text, place):
    assert parse_hookpoint(text) == place
    assert is_named(place)


@pytest.mark.parametrize(
    "text",
    [
        "blocks.0.hook_resid_pre",  # what the embedding gives
        "model.layers.0.input",
        "blocks.3.hook_resid_mid",
        "blocks.3.hook_mlp_in",
        "blocks.3.ln2.hook_normalized",
        "blocks.3.attn.hook_result",
        "blocks.3.mlp.hook_post",
        "hook_embed",
        "model.embed_tokens",
        "model.layers.3.mlp.down_proj.input",
        "model.layers.3.mlp.input",
        "model.layers.3.input_layernorm",
        "model.layers.3.post_attention_layernorm.output",
        "encoder.blocks.3.hook_resid_post",
        "blocks.3.hook_resid_post ",
    ],
)
def test_other_places_are_kept_unchanged(text):
    assert parse_hookpoint(text) == text
    assert not is_named(text)


@pytest.mark.parametrize(
    "model", ["google/gemma-2-2b", "gemma-3-1b-it", "allenai/OLMo-2-1124-7B", "THUDM/GLM-4-9B-0414"]
)
def test_module_outputs_before_a_norm_are_no_hookpoints(model):
    for text in ("model.layers.3.mlp", "layers.3.mlp", "model.layers.3.self_attn"):
        assert parse_hookpoint(text, model) == text
        assert is_named(parse_hookpoint(text, "meta-llama/Llama-3.2-1B"))
    assert (
        parse_hookpoint("blocks.3.hook_mlp_out", model) == "mlp_out.3"
    )  # TransformerLens reads behind the norm
    assert parse_hookpoint("model.layers.3", model) == "resid_post.3"


@pytest.mark.parametrize(
    ("name", "layer", "place"),
    [
        ("resid_post_layer_13", 13, "resid_post.13"),
        ("resid_post_layer_13", None, "resid_post.13"),
        ("mlp_out_layer_3", 3, "mlp_out.3"),
        ("attn_out_layer_3", 3, "attn_out.3"),
        ("attn_z_layer_3", 3, "attn_z.3"),
        ("resid_pre_layer_3", 3, "resid_post.2"),
        ("resid_out_layer3", 3, "resid_post.3"),
        ("layer_13_out", 13, "resid_post.13"),
        ("layer_13", 13, "resid_post.13"),
        ("layer_13_in", 13, "resid_post.12"),
        ("mlp_out", 3, "mlp_out.3"),
        ("resid_post", 3, "resid_post.3"),
        ("model.layers.3", 3, "resid_post.3"),
        ("resid_pre_layer_0", 0, "resid_pre_layer_0"),
        ("mlp_out", None, "mlp_out"),
        ("mlp_layer_3", 3, "mlp_layer_3"),
        ("resid_mid_layer_3", 3, "resid_mid_layer_3"),
        ("ln2", 3, "ln2"),
    ],
)
def test_submodule_names_of_dictionary_learning(name, layer, place):
    assert parse_submodule(name, layer) == place


@pytest.mark.parametrize(
    ("metadata", "place"),
    [
        ({"hook_name": "blocks.3.hook_mlp_out"}, "mlp_out.3"),
        ({"hook_name": "blocks.3.attn.hook_z"}, "attn_z.3"),
        (
            {"hook_name": "blocks.3.attn.hook_z", "hook_head_index": 2},
            "blocks.3.attn.hook_z",
        ),  # one head's values
        (
            {"hook_name": "blocks.3.hook_resid_post", "hf_hook_name": "model.layers.3"},
            "resid_post.3",
        ),
        ({"hook_name": "blocks.3.hook_mlp_out", "hf_hook_name": "somewhere"}, "mlp_out.3"),
        (
            {"hook_name": "blocks.3.hook_resid_pre", "hf_hook_name": "model.layers.3"},
            "blocks.3.hook_resid_pre",
        ),
        ({"hook_name": None, "hf_hook_name": "model.layers.3.mlp"}, "mlp_out.3"),
        (
            {"hook_name": None, "hf_hook_name": "model.layers.3.mlp", "model_name": "gemma-2-2b"},
            "model.layers.3.mlp",
        ),
        ({"hook_name": None}, ""),
    ],
)
def test_hookpoints_of_saelens_from_two_names(metadata, place, tmp_path):
    files = folders.saelens()
    files["cfg.json"]["metadata"] |= metadata
    (source,) = crosscoder.load(folders.write(tmp_path, files)).sources
    assert source.hookpoint == place


def test_before_version_6_the_head_index_is_at_the_top(tmp_path):
    files = folders.saelens()
    del files["cfg.json"]["metadata"]
    files["cfg.json"] |= {"hook_point": "blocks.3.attn.hook_z", "hook_point_head_index": 2}
    (source,) = crosscoder.load(folders.write(tmp_path, files)).sources
    assert source.hookpoint == "blocks.3.attn.hook_z"


def test_centred_activations_cause_a_warning(tmp_path):
    files = folders.saelens()
    files["cfg.json"]["metadata"]["model_from_pretrained_kwargs"] = {"center_writing_weights": True}
    with pytest.warns(UserWarning, match="mean over dimensions"):
        crosscoder.load(folders.write(tmp_path, files))


@pytest.mark.parametrize(
    ("skipped", "excluded"), [(True, True), (False, False), ([2], None), (None, None)]
)
def test_a_list_of_special_tokens_does_not_decide_about_bos(skipped, excluded, tmp_path):
    files = folders.saelens()
    files["cfg.json"]["metadata"]["exclude_special_tokens"] = skipped
    assert crosscoder.load(folders.write(tmp_path, files)).provenance["bos_excluded"] is excluded
