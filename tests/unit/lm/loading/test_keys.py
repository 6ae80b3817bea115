"""A checkpoint that does not hold exactly the model's weights is refused with the keys."""

import shutil
from pathlib import Path

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

from crosscoder.errors import UserError
from crosscoder.lm import LM

SIZES = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}


def saved(folder: Path, **options) -> Path:
    torch.manual_seed(0)
    LlamaForCausalLM(
        LlamaConfig(vocab_size=40, num_key_value_heads=2, **SIZES, **options)
    ).save_pretrained(folder)
    return folder


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return saved(tmp_path / "model")


def rewrite(folder: Path, change) -> Path:
    path = folder / "model.safetensors"
    new = {}
    for key, value in load_file(path).items():
        new |= change(key, value)
    save_file(new, path, {"format": "pt"})
    return folder


CHANGES = {
    "PEFT's prefix": (lambda key, value: {f"base_model.model.{key}": value}, "merge_and_unload"),
    "a compiled model's prefix": (lambda key, value: {f"_orig_mod.{key}": value}, "compiled"),
    "a prefix inside": (
        lambda key, value: {key.replace("model.layers", "model._orig_mod.layers"): value},
        "compiled",
    ),
    "a wrapped model's prefix": (lambda key, value: {f"module.{key}": value}, "missing"),
    "one layer's MLP is gone": (
        lambda key, value: {} if ".layers.1.mlp." in key else {key: value},
        "layers.1.mlp",
    ),
    "one weight is gone": (
        lambda key, value: {} if "layers.0.self_attn.q_proj" in key else {key: value},
        "q_proj",
    ),
    "the head is gone": (
        lambda key, value: {} if key == "lm_head.weight" else {key: value},
        "lm_head",
    ),
    "LoRA names": (
        lambda key, value: {key.replace("q_proj.weight", "q_proj.base_layer.weight"): value},
        "not merged",
    ),
    "LoRA beside the weights": (
        lambda key, value: (
            {key: value}
            | ({key.replace("weight", "lora_A.weight"): value + 0} if "q_proj" in key else {})
        ),
        "not merged",
    ),
    "one layer more": (
        lambda key, value: {key: value, key.replace("layers.1.", "layers.2."): value.clone()},
        "unexpected",
    ),
    "scales of 8 bits": (
        lambda key, value: (
            {key: value}
            | ({key.replace("weight", "SCB"): value[0].clone()} if "q_proj" in key else {})
        ),
        "it is quantised",
    ),
    "GPTQ's names": (
        lambda key, value: {key.replace("q_proj.weight", "q_proj.qweight"): value},
        "it is quantised",
    ),
    "another shape": (
        lambda key, value: {key: torch.zeros(12, 16) if "q_proj" in key else value},
        "2 weights of another shape (model.layers.0.self_attn.q_proj.weight, [12, 16] in the files "
        "and [16, 16] by config",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_checkpoint_that_does_not_fit_the_model_is_refused_with_its_keys(name, weights):
    change, said = CHANGES[name]
    rewrite(weights, change)
    with pytest.raises(UserError) as error:
        LM(str(weights)).load(torch.float32)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


HARMLESS = {
    "rotary frequencies": "model.layers.0.self_attn.rotary_emb.inv_freq",
    "a vision tower": "vision_tower.vision_model.encoder.weight",
    "a projector": "multi_modal_projector.linear.weight",
    "a value head": "v_head.summary.weight",
}


@pytest.mark.parametrize("name", HARMLESS)
def test_weights_outside_the_language_model_are_ignored(name, weights):
    before = LM(str(weights)).load(torch.float32).state_dict()
    extra = HARMLESS[name]
    rewrite(weights, lambda key, value: {key: value, extra: torch.ones(3)})
    after = LM(str(weights)).load(torch.float32).state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_a_tied_head_may_be_missing(tmp_path):
    folder = saved(tmp_path / "tied", tie_word_embeddings=True)
    rewrite(folder, lambda key, value: {} if key == "lm_head.weight" else {key: value})
    model = LM(str(folder)).load(torch.float32)
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


# --- adapters ---


@pytest.fixture
def adapter(weights: Path, tmp_path: Path) -> Path:
    torch.manual_seed(1)
    config = peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    peft.get_peft_model(LlamaForCausalLM.from_pretrained(weights), config).save_pretrained(
        tmp_path / "adapter"
    )
    return tmp_path / "adapter"


def test_an_adapter_whose_keys_fit_nothing_is_refused(weights, adapter):
    path = adapter / "adapter_model.safetensors"
    save_file(
        {key.replace("layers", "blocks"): value for key, value in load_file(path).items()}, path
    )
    with pytest.raises(UserError, match=r"does not fit .* weights missing .* weights unexpected"):
        LM(str(weights), str(adapter)).load(torch.float32)


def test_an_adapter_that_lacks_a_layer_is_refused(weights, adapter):
    path = adapter / "adapter_model.safetensors"
    save_file(
        {key: value for key, value in load_file(path).items() if ".layers.1." not in key}, path
    )
    with pytest.raises(UserError, match=r"4 weights missing"):
        LM(str(weights), str(adapter)).load(torch.float32)


def test_an_adapter_with_weights_its_config_does_not_name_is_refused(weights, adapter):
    path = adapter / "adapter_model.safetensors"
    held = load_file(path)
    more = {
        key.replace("q_proj", "k_proj"): value.clone()
        for key, value in held.items()
        if "q_proj" in key
    }
    save_file(held | more, path)
    with pytest.raises(UserError, match=r"unexpected .*k_proj"):
        LM(str(weights), str(adapter)).load(torch.float32)


def test_an_adapter_with_saved_embeddings_computes_what_peft_computes(weights, tmp_path):
    torch.manual_seed(1)
    config = peft.LoraConfig(
        r=2, target_modules=["q_proj"], modules_to_save=["lm_head"], init_lora_weights=False
    )
    tuned = peft.get_peft_model(LlamaForCausalLM.from_pretrained(weights), config)
    tuned.base_model.model.lm_head.modules_to_save["default"].weight.data += 1
    tuned.save_pretrained(tmp_path / "adapter")
    ids = torch.arange(6)[None]
    ours = LM(str(weights), str(tmp_path / "adapter")).load(torch.float32)
    torch.testing.assert_close(ours(ids).logits, tuned.eval()(ids).logits)


def test_prompt_tuning_is_refused_by_name(weights, tmp_path):
    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
    peft.get_peft_model(LlamaForCausalLM.from_pretrained(weights), config).save_pretrained(
        tmp_path / "prompt"
    )
    with pytest.raises(UserError, match="PROMPT_TUNING"):
        LM(str(weights), str(tmp_path / "prompt")).load(torch.float32)


def test_an_adapter_as_a_pickle_is_refused(weights, adapter):
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    with pytest.raises(UserError, match="pickles"):
        LM(str(weights), str(adapter)).load(torch.float32)


# --- rewritten files ---


def test_rewritten_weights_get_another_fingerprint_and_stamp(weights):
    lm = LM(str(weights))
    before, stamp = lm.fingerprint(), lm.stamp()
    rewrite(weights, lambda key, value: {key: value + 1})
    assert lm.fingerprint() != before
    assert lm.stamp() != stamp


def test_a_copy_of_a_model_has_the_same_fingerprint(weights, tmp_path):
    shutil.copytree(weights, tmp_path / "copy")
    assert LM(str(weights)).fingerprint() == LM(str(tmp_path / "copy")).fingerprint()
