"""Save a small Llama with a tokenizer, and change files of its folder."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken
from transformers import LlamaConfig, LlamaForCausalLM

from crosscoder.lm import TinyLM

SIZES = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def save_llama(
    folder: Path,
    added: Sequence[str] = (),
    rows: int | None = None,
    template: str | None = None,
    seed: int = 0,
) -> Path:
    """Save a Llama with TinyLM's tokenizer and added tokens.

    Args:
        folder: Where it is saved.
        added: Special tokens that are added to the tokenizer.
        rows: Rows of the embedding, by default one for each token.
        template: The chat template.
        seed: Random seed of the weights.
    """
    tokenizer = TinyLM(seed=0).load_tokenizer()
    tokenizer.chat_template = template
    tokenizer.add_tokens([AddedToken(token, special=True) for token in added])
    tokenizer.save_pretrained(folder)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=rows or len(tokenizer), num_key_value_heads=2, initializer_range=0.2, **SIZES
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def copy(folder: Path, target: Path) -> Path:
    """Copy a folder."""
    return Path(shutil.copytree(folder, target))


def edit_json(path: Path, **entries: Any) -> Path:
    """Set entries of a JSON file."""
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(content | entries))
    return path


def shard(folder: Path) -> Path:
    """Write a folder's weights in two shards with an index; return the index."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    half = len(tensors) // 2
    where = {}
    for number, names in enumerate((list(tensors)[:half], list(tensors)[half:]), 1):
        name = f"model-{number:05d}-of-00002.safetensors"
        save_file({key: tensors[key] for key in names}, folder / name, {"format": "pt"})
        where |= dict.fromkeys(names, name)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 0}, "weight_map": where}))
    return index
