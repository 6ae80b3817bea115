"""Models are loaded from folders; a tiny saved model stands for real weights."""

import json
import shutil
from pathlib import Path

import huggingface_hub
import peft
import pytest
import torch
import transformers
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError
from safetensors.torch import load_file, save_file

from crosscoder.errors import UserError
from crosscoder.lm import LM, TinyLM


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """Save a model folder."""
    folder, tiny = tmp_path_factory.mktemp("model"), TinyLM(seed=3)
    tiny.load().save_pretrained(folder)
    tiny.load_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def adapter(weights, tmp_path_factory) -> Path:
    """Save a random LoRA adapter of rank 2 on one projection, with its own chat template."""
    folder = tmp_path_factory.mktemp("adapter")
    config = peft.LoraConfig(r=2, lora_alpha=6, target_modules=["q_proj"], init_lora_weights=False)
    peft.get_peft_model(TinyLM(seed=3).load(), config).save_pretrained(folder)
    (folder / "chat_template.jinja").write_text("{{ bos_token }}mine")
    return folder


def test_a_folder_is_loaded_as_it_was_saved(weights):
    model, saved = LM(str(weights)).load(torch.float32), TinyLM(seed=3).load()
    assert all(torch.equal(w, saved.state_dict()[name]) for name, w in model.state_dict().items())
    assert not model.training
    assert not any(weight.requires_grad for weight in model.parameters())
    assert next(LM(str(weights)).load().parameters()).dtype == torch.bfloat16


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_logits_are_those_of_transformers_bit_for_bit(weights, dtype):
    """The frequencies of rotary positions stay in float32; rounded, late positions would move."""
    theirs = transformers.AutoModelForCausalLM.from_pretrained(weights, dtype=dtype).eval()
    ids = torch.arange(2, 402)[None] % theirs.config.vocab_size
    ours = LM(str(weights)).load(dtype)
    with torch.no_grad():
        assert torch.equal(ours(ids).logits, theirs(ids).logits)


def test_an_adapter_is_merged(weights, adapter):
    merged, plain = LM(str(weights), str(adapter)).load(torch.float32), TinyLM(seed=3).load()
    lora = load_file(adapter / "adapter_model.safetensors")
    part = "model.layers.1.self_attn.q_proj"
    A, B = (lora[f"base_model.model.{part}.lora_{side}.weight"] for side in "AB")
    expected = plain.get_submodule(part).weight + 6 / 2 * B @ A
    torch.testing.assert_close(merged.get_submodule(part).weight, expected)
    other = "model.layers.1.self_attn.k_proj"
    assert torch.equal(merged.get_submodule(other).weight, plain.get_submodule(other).weight)


def test_an_adapter_brings_its_chat_template(weights, adapter):
    assert LM(str(weights), str(adapter)).load_tokenizer().chat_template == "{{ bos_token }}mine"
    assert "start_of_turn" in LM(str(weights)).load_tokenizer().chat_template


def test_a_skeleton_has_widths_but_no_weights(weights):
    skeleton = LM(str(weights)).build_skeleton()
    assert skeleton.config.hidden_size == 32
    assert all(weight.device.type == "meta" for weight in skeleton.parameters())


def test_the_fingerprint_depends_on_the_content(weights, adapter, tmp_path):
    copy = shutil.copytree(weights, tmp_path / "copy")
    assert LM(str(copy)).fingerprint() == LM(str(weights)).fingerprint()
    assert LM(str(weights), str(adapter)).fingerprint() != LM(str(weights)).fingerprint()
    changed = shutil.copytree(weights, tmp_path / "changed")
    tensors = load_file(changed / "model.safetensors")
    tensors["model.norm.weight"][0] += 1
    save_file(tensors, changed / "model.safetensors", {"format": "pt"})
    assert LM(str(changed)).fingerprint() != LM(str(weights)).fingerprint()


def test_the_fingerprint_does_not_depend_on_where_a_tokenizer_was_converted(weights, tmp_path):
    copy = shutil.copytree(weights, tmp_path / "copy")
    settings = json.loads((copy / "tokenizer_config.json").read_text())
    (copy / "tokenizer_config.json").write_text(
        json.dumps(settings | {"name_or_path": "/somewhere/else"})
    )
    assert LM(str(copy)).fingerprint() == LM(str(weights)).fingerprint()
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 0.5}))
    assert LM(str(copy)).fingerprint() != LM(str(weights)).fingerprint()


def test_spec_returns_the_arguments(weights):
    assert LM(str(weights)).spec() == {"weights": str(weights)}
    assert LM("a/b", "c/d").spec() == {"weights": "a/b", "adapter": "c/d"}


# --- what goes wrong ---


def refused(lm: LM, match: str) -> None:
    """Require that everything that uses the model fails in one line."""
    for ask in (lm.load, lm.build_skeleton, lm.load_tokenizer, lm.fingerprint):
        with pytest.raises(UserError, match=match) as error:
            ask()
        assert "\n" not in str(error.value)


def test_a_missing_folder_is_named():
    refused(LM("./no/such/model"), r"no model at '\./no/such/model'")
    refused(LM("outputs/model"), "no model at 'outputs/model': no such folder")
    refused(LM("gemma"), "no model at 'gemma': no such folder, and not a hub id")
    refused(LM("pinned:gemma-4"), "no pinned model 'gemma-4'; there is gemma-3-270m")


@pytest.mark.parametrize("action", ["load", "load_tokenizer", "build_skeleton", "fingerprint"])
def test_a_missing_adapter_is_named_before_weights_are_looked_for(action):
    lm = LM("./nor-these", adapter="./no-adapter")
    with pytest.raises(UserError, match=r"no model at './no-adapter'"):
        getattr(lm, action)()


def test_an_unreachable_hub_is_named():
    refused(LM("google/gemma-2-2b"), "cannot get 'google/gemma-2-2b': .* the hub is out of reach")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (GatedRepoError, "'a/b' is gated: accept its terms"),
        (RepositoryNotFoundError, "'a/b' is neither a local folder nor on the hub"),
    ],
)
def test_a_refusal_of_the_hub_is_explained(monkeypatch, error, message):
    def refuse(*_, **__):
        raise error.__new__(error)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    refused(LM("a/b"), message)


def test_an_empty_folder_is_refused(tmp_path):
    for ask in (
        LM(str(tmp_path)).load,
        LM(str(tmp_path)).build_skeleton,
        LM(str(tmp_path)).load_tokenizer,
    ):
        with pytest.raises(UserError, match=str(tmp_path)) as error:
            ask()
        assert "\n" not in str(error.value)


def test_pickled_weights_are_not_loaded(weights, tmp_path):
    folder = shutil.copytree(weights, tmp_path / "pickled")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match=f"cannot load '{folder}'"):
        LM(str(folder)).load()


def test_an_adapter_for_another_model_is_refused(weights, tmp_path):
    config = peft.LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
    peft.get_peft_model(TinyLM(seed=0, d_model=64).load(), config).save_pretrained(
        tmp_path / "wide"
    )
    with pytest.raises(UserError, match=r"adapter '.*wide' does not fit") as error:
        LM(str(weights), str(tmp_path / "wide")).load()
    assert "\n" not in str(error.value)


def test_an_attention_that_is_not_installed_is_refused_in_one_line(weights, tmp_path):
    folder = shutil.copytree(weights, tmp_path / "flash")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(
        json.dumps(config | {"_attn_implementation": "flash_attention_2"})
    )
    for ask in (LM(str(folder)).load, LM(str(folder)).build_skeleton):
        with pytest.raises(UserError, match="FlashAttention2") as error:
            ask()
        assert "\n" not in str(error.value)
