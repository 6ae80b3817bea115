"""GGUF files against the packages gguf and transformers, which read them in full."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter, dequantize, quantize
from safetensors.torch import load_file
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
)

from benchmarks.conversion import convert_by_transformers
from crosscoder.errors import UserError
from crosscoder.lm.loading import gguf_model
from crosscoder.lm.loading.llama_cpp import restore_gemma3, restore_llama
from crosscoder.lm.loading.pinned import PINNED, get_folder

SIZES = {
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
}
NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
}
GEMMA_NORMS = {
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}
LLAMA_NORMS = {"post_attention_layernorm": "ffn_norm"}


def rename(name: str, norms: dict[str, str]) -> str:
    """Return llama.cpp's name of a weight."""
    module = name.removesuffix(".weight")
    prefix = ""
    if module.startswith("model.layers."):
        _, _, layer, module = module.split(".", 3)
        prefix = f"blk.{layer}."
    return prefix + (NAMES | norms)[module] + ".weight"


def write_gguf(path: Path, architecture: str, weights: dict[str, torch.Tensor]) -> Path:
    writer = GGUFWriter(path, architecture)
    writer.add_array("tokenizer.ggml.tokens", ["<a>", "", "ünïcode", "▁▁"])
    writer.add_array("tokenizer.ggml.scores", [0.5, -1.0, 2.0])
    writer.add_array("of.bytes", [True, False])
    writer.add_string("of.text", "text")
    for name, weight in weights.items():
        writer.add_tensor(name, weight.float().numpy().copy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture
def small_gemma() -> Gemma3ForCausalLM:
    torch.manual_seed(0)
    model = Gemma3ForCausalLM(Gemma3TextConfig(**SIZES, tie_word_embeddings=True))
    for name, weight in model.named_parameters():
        if name.endswith("norm.weight"):
            torch.nn.init.normal_(weight)
    return model


def test_weights_of_gemma_are_read_as_they_were(small_gemma, tmp_path):
    expected = small_gemma.state_dict()
    del expected["lm_head.weight"]  # the embedding
    # as Gemma3Model in llama.cpp's convert_hf_to_gguf.py
    stored = {
        rename(name, GEMMA_NORMS): weight + 1 if name.endswith("norm.weight") else weight
        for name, weight in expected.items()
    }
    path = write_gguf(tmp_path / "gemma.gguf", "gemma3", stored)
    found = gguf_model.read_weights(path, small_gemma.config, restore_gemma3)
    assert found.keys() == expected.keys()
    for name, weight in found.items():
        shifted = name.endswith("norm.weight")
        reference = (expected[name] + 1 - 1 if shifted else expected[name]).bfloat16()
        assert torch.equal(weight, reference), name


def test_weights_of_llama_are_read_as_they_were(tmp_path):
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**SIZES, tie_word_embeddings=False))
    expected = model.state_dict()
    stored = {}
    for name, weight in expected.items():
        for projection, n_heads in (("q_proj", 4), ("k_proj", 2)):
            if projection in name:
                # as LlamaModel.permute in llama.cpp's convert_hf_to_gguf.py
                half = weight.shape[0] // n_heads // 2
                halves = weight.reshape(n_heads, 2, half, weight.shape[1])
                stored[rename(name, LLAMA_NORMS)] = halves.swapaxes(1, 2).reshape(weight.shape)
        stored.setdefault(rename(name, LLAMA_NORMS), weight)
    path = write_gguf(tmp_path / "llama.gguf", "llama", stored)
    found = gguf_model.read_weights(path, model.config, restore_llama)
    assert found.keys() == expected.keys()
    for name, weight in found.items():
        assert torch.equal(weight, expected[name].bfloat16()), name


def test_a_tensor_of_another_architecture_is_not_left_out(small_gemma, tmp_path):
    path = write_gguf(tmp_path / "g.gguf", "gemma3", {"blk.0.ssm_a.weight": torch.ones(4, 4)})
    with pytest.raises(KeyError, match="ssm_a"):
        gguf_model.read_weights(path, small_gemma.config, restore_gemma3)


def test_metadata_are_stepped_over_and_tensors_are_where_they_are(tmp_path):
    weights = {"a.weight": torch.randn(3, 32), "b.weight": torch.randn(5)}
    path = write_gguf(tmp_path / "small.gguf", "gemma3", weights)
    found, expected = gguf_model.TensorReader(path), GGUFReader(path)
    assert len(found.tensors) == 2
    for ours, theirs in zip(found.tensors, expected.tensors, strict=True):
        assert ours.name == theirs.name
        assert np.array_equal(ours.data, theirs.data)
        assert torch.equal(torch.from_numpy(ours.data.copy()), weights[ours.name])
    assert found.fields.keys() == expected.fields.keys()
    assert found.fields["of.text"].contents() == "text"


@pytest.mark.parametrize("kind", ["Q5_0", "Q8_0"])
def test_pieces_are_dequantised_as_the_whole(kind, monkeypatch, tmp_path):
    monkeypatch.setattr(gguf_model, "ROWS", 3)
    kind = GGMLQuantizationType[kind]
    data = quantize(np.random.default_rng(0).normal(size=(8, 64)).astype(np.float32), kind)
    writer = GGUFWriter(tmp_path / "q.gguf", "gemma3")
    writer.add_tensor("a", data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    (tensor,) = gguf_model.TensorReader(tmp_path / "q.gguf").tensors
    found = gguf_model.dequantise(tensor)
    assert found.shape == (8, 64)
    assert np.array_equal(found.numpy(), dequantize(data, kind))


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("name", PINNED)
def test_a_pinned_model_is_what_transformers_makes_of_its_file(name, monkeypatch, tmp_path):
    monkeypatch.setenv("CROSSCODER_CACHE", str(tmp_path / "cache"))
    try:
        gguf = PINNED[name].get_file(tmp_path)
    except UserError as error:
        pytest.skip(str(error))
    expected = tmp_path / "expected"
    convert_by_transformers(name, gguf, expected)

    found = get_folder(name)
    weights = load_file(found / "model.safetensors")
    for key, weight in load_file(expected / "model.safetensors").items():
        assert torch.equal(weights.pop(key), weight), key
    assert not weights
    made_by = {"transformers_version": None}
    for file in ("config.json", "tokenizer_config.json"):
        settings = json.loads((found / file).read_text()) | made_by
        assert settings == json.loads((expected / file).read_text()) | made_by
    tokenizer = (found / "tokenizer.json").read_bytes()
    assert tokenizer == (expected / "tokenizer.json").read_bytes()
