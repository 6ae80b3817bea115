"""A model folder of any content is a model or is refused in one line.

Nothing hangs, no memory is allocated for it, and none of its code runs.
"""

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from crosscoder.errors import UserError
from crosscoder.lm import LM
from tests.helpers.model_folders import copy, edit_json, save_llama, shard


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    return save_llama(tmp_path_factory.mktemp("llama") / "model")


@pytest.fixture
def folder(whole, tmp_path) -> Path:
    return copy(whole, tmp_path / "model")


def refusal(ask: Callable[[], object]) -> str:
    """Return the message of a refusal, which is one line."""
    with pytest.raises(UserError) as error:
        ask()
    assert "\n" not in str(error.value)
    assert "\x1b" not in str(error.value)
    assert len(str(error.value)) < 800
    return str(error.value)


# --- config.json ---

NESTED = "[" * 100_000
QUANTISED = {
    "bitsandbytes": {"quant_method": "bitsandbytes", "load_in_4bit": True},
    "gptq": {"quant_method": "gptq", "bits": 4, "group_size": 128},
    "awq": {"quant_method": "awq", "bits": 4, "version": "gemm"},
    "compressed-tensors": {"quant_method": "compressed-tensors", "format": "pack-quantized"},
    "fp8": {"quant_method": "fp8", "activation_scheme": "dynamic"},
    "mxfp4": {"quant_method": "mxfp4"},
    "hqq": {"quant_method": "hqq"},
    "no such method": {"quant_method": "no such method"},
}


@pytest.mark.parametrize("method", QUANTISED)
def test_a_quantised_checkpoint_is_named(method, folder):
    edit_json(folder / "config.json", quantization_config=QUANTISED[method])
    lm = LM(str(folder))
    for ask in (lm.load, lm.build_skeleton):
        assert f"the weights are quantised ({method})" in refusal(ask)


def test_quantisation_is_found_in_a_submodel_and_by_other_names(folder):
    for entries in (
        {"text_config": {"quantization_config": {"bits": 4}}},
        {"quantization": {"bits": 4}},
    ):
        edit_json(folder / "config.json", **entries)
        assert "quantised" in refusal(LM(str(folder)).load)


@pytest.mark.parametrize(
    "entry", ["attn_implementation", "_attn_implementation", "_attn_implementation_internal"]
)
@pytest.mark.parametrize(
    "attention", ["flash_attention_2", "flash_attention_3", "kernels-community/flash-attn2", "x"]
)
def test_an_unavailable_attention_is_named(entry, attention, folder):
    edit_json(folder / "config.json", **{entry: attention})
    for ask in (LM(str(folder)).load, LM(str(folder)).build_skeleton):
        assert f"{entry} asks for the attention" in refusal(ask)
    edit_json(folder / "config.json", **{entry: "eager"})
    LM(str(folder)).load()


WRONG = {
    "a size as text": {"hidden_size": "8"},
    "no size": {"hidden_size": None},
    "a fraction": {"hidden_size": 16.5},
    "negative layers": {"num_hidden_layers": -1},
    "a billion layers": {"num_hidden_layers": 10**9},
    "a billion experts": {"num_local_experts": 10**9},
    "no vocabulary": {"vocab_size": 0},
    "a negative vocabulary": {"vocab_size": -5},
    "a vocabulary of petabytes": {"vocab_size": 10**13},
    "an MLP of petabytes": {"intermediate_size": 10**12},
    "heads of gigabytes": {"head_dim": 10**9},
    "no heads": {"num_attention_heads": 0},
    "another model type": {"model_type": "\x1b[31mred"},
    "a list of model types": {"model_type": ["llama"]},
    "no model type": {"model_type": None},
    "a dtype that is a function": {"dtype": "load"},
    "an activation that is none": {"hidden_act": "exec"},
    "padding past the embedding": {"pad_token_id": 10**6},
    "a norm as text": {"rms_norm_eps": "x"},
    "layer types of nobody": {"layer_types": ["x"]},
}


@pytest.mark.parametrize("what", WRONG)
def test_a_config_with_wrong_entries_is_refused_in_one_line(what, folder):
    edit_json(folder / "config.json", **WRONG[what])
    assert str(folder) in refusal(LM(str(folder)).load)


def test_a_buffer_far_larger_than_the_weights_is_refused(folder, tmp_path):
    """GPT-2's causal mask is a table of max_position_embeddings squared."""
    from transformers import GPTNeoConfig, GPTNeoForCausalLM

    config = GPTNeoConfig(
        vocab_size=40,
        hidden_size=16,
        num_layers=2,
        num_heads=2,
        attention_types=[[["global"], 2]],
        intermediate_size=32,
    )
    GPTNeoForCausalLM(config).save_pretrained(tmp_path / "neo")
    LM(str(tmp_path / "neo")).load()
    tensors = load_file(tmp_path / "neo" / "model.safetensors")
    edit_json(tmp_path / "neo" / "config.json", max_position_embeddings=10**6)
    assert len(tensors)
    assert "not of one model" in refusal(LM(str(tmp_path / "neo")).load)


@pytest.mark.parametrize(
    "name",
    [
        "config.json",
        "generation_config.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
    ],
)
@pytest.mark.parametrize(
    "content", ["", NESTED, "[]", "null", "5", '"x"', '{"a": "\\ud800"}', "{", "\xff"]
)
def test_json_that_is_not_an_object_is_named_with_its_file(name, content, folder):
    (folder / name).write_bytes(content.encode("latin-1"))
    for ask in (LM(str(folder)).load, LM(str(folder)).load_tokenizer):
        assert str(folder / name) in refusal(ask)


FILES = [
    "config.json",
    "generation_config.json",
    "tokenizer_config.json",
    "tokenizer.json",
    "model.safetensors",
]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_a_pipe_or_a_folder_in_place_of_a_file_is_named_without_waiting(name, make, folder):
    (folder / name).unlink()
    make(folder / name)
    lm = LM(str(folder))
    asks = (
        [lm.load, lm.fingerprint]
        if name in ("config.json", "model.safetensors")
        else [lm.load, lm.load_tokenizer]
    )
    for ask in asks:
        assert f"cannot read {folder / name}" in refusal(ask)


@pytest.mark.parametrize("content", ["", "{}", NESTED, '{"model": 5}', "[]"])
def test_an_invalid_tokenizer_is_refused_in_one_line(content, folder):
    (folder / "tokenizer.json").write_text(content)
    assert f"no tokenizer for '{folder}'" in refusal(LM(str(folder)).load_tokenizer)


def test_files_and_code_that_a_config_names_are_not_loaded(folder, tmp_path):
    other = save_llama(tmp_path / "other", seed=5)
    (folder / "other.safetensors").write_bytes((other / "model.safetensors").read_bytes())
    expected = LM(str(folder)).load().state_dict()
    edit_json(
        folder / "config.json", transformers_weights="other.safetensors", fusion_config={"x": True}
    )
    edit_json(
        folder / "config.json", auto_map={"AutoConfig": "theirs.Theirs"}, _name_or_path="/no/such"
    )
    (folder / "theirs.py").write_text("raise SystemExit('was run')")
    found = LM(str(folder)).load().state_dict()
    assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_an_adapter_beside_a_model_is_not_loaded_with_it(folder):
    expected = LM(str(folder)).load().state_dict()
    edit_json(
        folder / "adapter_config.json",
        peft_type="LORA",
        base_model_name_or_path="a/b",
        megatron_core="os",
    )
    found = LM(str(folder)).load().state_dict()
    assert found.keys() == expected.keys()


def test_an_adapter_in_place_of_a_model_is_named(folder):
    (folder / "config.json").rename(folder / "adapter_config.json")
    for ask in (LM(str(folder)).load, LM(str(folder)).build_skeleton):
        assert "holds an adapter, not a model" in refusal(ask)


# --- weights ---

KINDS = {
    "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 5\n",
    "a web page": b"<!doctype html><html>log in</html>",
    "a pickle": pickle.dumps({"a": 1}),
    "empty": b"",
    "a GGUF file": b"GGUF\x03\x00\x00\x00",
    "truncated or damaged": b"\x10\x00\x00\x00\x00\x00\x00\x00{",
}


@pytest.mark.parametrize("kind", KINDS)
def test_files_that_are_not_weights_are_identified(kind, folder):
    (folder / "model.safetensors").write_bytes(KINDS[kind])
    assert f"model.safetensors is {kind}" in refusal(LM(str(folder)).load)


def test_truncated_weights_are_refused(folder):
    content = (folder / "model.safetensors").read_bytes()
    for length in (len(content) - 1, len(content) // 2, 100, 4):
        (folder / "model.safetensors").write_bytes(content[:length])
        assert "truncated or damaged" in refusal(LM(str(folder)).load)


def test_shards_are_loaded_and_a_missing_one_is_named(folder):
    before = LM(str(folder)).load().state_dict()
    shard(folder)
    after = LM(str(folder)).load().state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    (folder / "model-00002-of-00002.safetensors").unlink()
    assert "names model-00002-of-00002.safetensors, not in the folder" in refusal(
        LM(str(folder)).load
    )


def test_exchanged_shards_are_refused(folder):
    shard(folder)
    first, second = (folder / f"model-0000{i}-of-00002.safetensors" for i in (1, 2))
    first.rename(folder / "x")
    second.rename(first)
    (folder / "x").rename(second)
    assert "the files are not those of one model, or were renamed" in refusal(LM(str(folder)).load)


@pytest.mark.parametrize(
    "name", ["../model.safetensors", "/etc/passwd", "a/b.safetensors", "x.bin", ""]
)
def test_an_index_may_only_name_files_beside_it(name, folder):
    index = shard(folder)
    content = json.loads(index.read_text())
    content["weight_map"] = dict.fromkeys(content["weight_map"], name)
    index.write_text(json.dumps(content))
    assert "which is not a safetensors file in its folder" in refusal(LM(str(folder)).load)


@pytest.mark.parametrize(
    "content", ["[]", "{}", '{"weight_map": []}', '{"weight_map": {"a": 5}}', NESTED, "", "{"]
)
def test_an_invalid_index_is_named(content, folder):
    shard(folder).write_text(content)
    assert "model.safetensors.index.json" in refusal(LM(str(folder)).load)


@pytest.mark.parametrize(
    "name", ["pytorch_model.bin", "pytorch_model.bin.index.json", "consolidated.00.pth"]
)
def test_a_folder_with_only_pickles_is_refused(name, folder):
    (folder / "model.safetensors").rename(folder / name)
    assert f"({name}), and pickles are not loaded" in refusal(LM(str(folder)).load)


def test_a_folder_without_weights_is_named(folder):
    (folder / "model.safetensors").unlink()
    assert "has no weights" in refusal(LM(str(folder)).load)
