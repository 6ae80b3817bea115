"""Adapters that were trained with other numbers of tokens than their base model has."""

from pathlib import Path

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, LlamaForCausalLM

from crosscoder.errors import UserError
from crosscoder.lm import LM, Pair
from tests.helpers.model_folders import CHATML, save_llama

MARKERS = ["<|im_start|>", "<|im_end|>"]
CHAT = [{"role": "user", "content": "Hello there"}, {"role": "assistant", "content": "Hi"}]
MODULES = {"target_modules": ["q_proj", "v_proj"]}


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    return save_llama(tmp_path_factory.mktemp("llama") / "model")


def tune(weights: Path, folder: Path, size_change: int = 2, **settings) -> peft.PeftModel:
    """Save an adapter trained with more tokens or fewer rows; return the model that peft runs."""
    torch.manual_seed(1)
    model = LlamaForCausalLM.from_pretrained(weights, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(weights)
    tokenizer.add_tokens(MARKERS[: max(size_change, 0)], special_tokens=True)
    tokenizer.chat_template = CHATML if size_change == 2 else None
    model.resize_token_embeddings(model.config.vocab_size + size_change, mean_resizing=False)
    tuned = peft.get_peft_model(model, peft.LoraConfig(r=2, **{**MODULES, **settings}))
    with torch.no_grad():
        for weight in tuned.parameters():
            if weight.requires_grad:
                weight.add_(0.1 * torch.randn_like(weight))
    tuned.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return tuned.eval()


@pytest.mark.filterwarnings("ignore")  # peft's, while the adapters are made
@pytest.mark.parametrize(
    "settings",
    [
        {"modules_to_save": ["embed_tokens", "lm_head"]},
        {"target_modules": "all-linear", "modules_to_save": ["embed_tokens", "lm_head"]},
        {"target_modules": ["q_proj", "embed_tokens", "lm_head"]},
        {},
    ],
    ids=str,
)
@pytest.mark.parametrize("size_change", [2, -3])
def test_embeddings_are_resized_to_those_of_the_adapter(settings, size_change, weights, tmp_path):
    tuned = tune(weights, tmp_path / "adapter", size_change, **settings)
    if not settings:
        tuned.save_pretrained(tmp_path / "adapter", save_embedding_layers=True)
    lm = LM(str(weights), str(tmp_path / "adapter"))
    ours = lm.load(torch.float32)
    ids = torch.arange(12)[None] + ours.config.vocab_size - 12
    torch.testing.assert_close(ours(ids).logits, tuned(ids).logits, atol=1e-5, rtol=1e-5)
    assert (
        lm.build_skeleton().get_input_embeddings().weight.shape
        == ours.get_input_embeddings().weight.shape
    )


@pytest.mark.filterwarnings("ignore")
def test_missing_rows_of_added_tokens_are_named(weights, tmp_path):
    tune(weights, tmp_path / "adapter", modules_to_save=["embed_tokens", "lm_head"])
    path = tmp_path / "adapter" / "adapter_model.safetensors"
    held = {key: value for key, value in load_file(path).items() if "lm_head" not in key}
    save_file(held, path)
    for ask in (
        LM(str(weights), str(tmp_path / "adapter")).load,
        LM(str(weights), str(tmp_path / "adapter")).build_skeleton,
    ):
        with pytest.raises(UserError, match="does not hold lm_head of the 2 added tokens") as error:
            ask()
        assert "\n" not in str(error.value)


@pytest.mark.filterwarnings("ignore")
def test_embeddings_with_contradicting_sizes_are_refused(weights, tmp_path):
    tune(weights, tmp_path / "adapter", modules_to_save=["embed_tokens", "lm_head"])
    path = tmp_path / "adapter" / "adapter_model.safetensors"
    held = load_file(path)
    key = next(key for key in held if key.endswith("lm_head.weight"))
    save_file(held | {key: held[key][:-1].clone()}, path)
    with pytest.raises(UserError, match="it is not of one model"):
        LM(str(weights), str(tmp_path / "adapter")).load()


@pytest.mark.filterwarnings("ignore")
def test_the_tokenizer_of_an_adapter_has_its_added_tokens(weights, tmp_path):
    tune(weights, tmp_path / "adapter", modules_to_save=["embed_tokens", "lm_head"])
    tokenizer = LM(str(weights), str(tmp_path / "adapter")).load_tokenizer()
    assert tokenizer.chat_template == CHATML
    assert tokenizer.convert_tokens_to_ids(MARKERS) == [262, 263]
    models = {
        "base": {"weights": str(weights)},
        "chat": {"weights": str(weights), "adapter": str(tmp_path / "adapter")},
    }
    pair = Pair(models, layer=0, dtype="float32", device="cpu")
    assert len(pair.read("Hello there").tokens)
    with pytest.raises(
        UserError, match=r"base has embeddings of 262 tokens, and the tokenizer has 264"
    ):
        pair.read([CHAT])
