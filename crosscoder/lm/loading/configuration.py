"""Check a model's config.json before transformers reads it, and pass on only what has been checked.

transformers builds what a config.json asks for: a billion layers, attention from a package that it
downloads, weights from another file. Sizes are compared with the checkpoint later (see load.py).
This module checks what must be known before.
"""

import re
from pathlib import Path
from typing import Any

import torch

from crosscoder.errors import UserError, plain
from crosscoder.io.schema import read_json
from crosscoder.lm.loading.weights import refuse_adapter_folder

NAME = "config.json"
ATTENTION = ("attn_implementation", "_attn_implementation", "_attn_implementation_internal")
DTYPE = ("dtype", "torch_dtype")
# A config.json must not choose where a model's weights, code and kernels come from.
DROPPED = {
    "auto_map",
    "transformers_weights",
    "fusion_config",
    "kernel_config",
    "use_kernels",
    "custom_generate",
    "_name_or_path",
    "distributed_config",
    "_experts_implementation",
    "experts_implementation",
    "base_model_tp_plan",
    "base_model_pp_plan",
    "base_model_ep_plan",
}
QUANTISED = ("quantization_config", "compression_config", "quantization")
COUNT = re.compile(r"(num|n)_(\w+_)?(layers?|blocks?|experts?)|depth")
MAX_COUNT = 4096  # layers, or experts in a layer
MAX_DEPTH = 20  # objects inside objects


def read_config(folder: Path) -> dict[str, Any]:
    """Read the config.json of a model folder, without the entries that transformers must not see.

    Raises:
        UserError: It is not a JSON object, names no model type, or asks for something unsupported.
    """
    path = folder / NAME
    if not path.exists():
        refuse_adapter_folder(folder)
    config = read_json(path, dict)
    model_type = config.get("model_type")
    if not isinstance(model_type, str):
        raise UserError(
            f"{path}: model_type must be the name of an architecture, not {_quote(model_type)}"
        )
    return _check(config, str(path), 0)


def _check(config: dict[str, Any], path: str, depth: int) -> dict[str, Any]:
    """Check one object and those inside it; return it without the entries that are dropped."""
    if depth > MAX_DEPTH:
        raise UserError(f"{path}: objects are nested more than {MAX_DEPTH} deep")
    checked: dict[str, Any] = {}
    value: Any
    for key, value in config.items():
        if key in DROPPED:
            continue
        _check_entry(key, value, path)
        # the keys of vocabulary_map are tokens, not settings
        is_settings = isinstance(value, dict) and key != "vocabulary_map"
        checked[key] = _check(value, path, depth + 1) if is_settings else value
    return checked


def _check_entry(key: str, value: Any, path: str) -> None:
    if key in ATTENTION:
        _require_attention(value, f"{path}: {key}")
    if key in QUANTISED and value:
        raise UserError(
            f"{path}: the weights are quantised ({_get_method(value)}), which is not supported: "
            "use the weights they were made from, or dequantise the model and save it with "
            "save_pretrained"
        )
    if key in DTYPE and not _is_dtype(value):
        raise UserError(
            f"{path}: {key} must be the name of a dtype, e.g. bfloat16, not {_quote(value)}"
        )
    is_count = COUNT.fullmatch(key) and isinstance(value, int)
    if is_count and not 0 <= value <= MAX_COUNT:
        raise UserError(
            f"{path}: {key} must be a number from 0 to {MAX_COUNT}, not {_quote(value)}"
        )


def _is_dtype(value: Any) -> bool:
    if isinstance(value, dict):  # one for each submodel
        return all(_is_dtype(dtype) for dtype in value.values())
    return value is None or isinstance(getattr(torch, str(value), None), torch.dtype)


def _require_attention(value: Any, entry: str) -> None:
    for name in _list_attentions(value):
        if not _is_available(name):
            shown = plain(name).replace("flash_attention_", "FlashAttention")
            raise UserError(
                f"{entry} asks for the attention '{shown}', which is not available here: remove "
                "the entry, and the model runs with PyTorch's own attention (sdpa)"
            )


def _list_attentions(value: Any) -> list[str]:
    """List the names of attentions in an entry: one, or one for each submodel."""
    values = value.values() if isinstance(value, dict) else [value]
    return [str(name) for name in values if name is not None]


def _is_available(attention: str) -> bool:
    from transformers.utils import import_utils

    if attention == "flash_attention_2":
        return bool(import_utils.is_flash_attn_2_available())
    if attention == "flash_attention_3":
        return bool(import_utils.is_flash_attn_3_available())
    return attention in ("eager", "sdpa", "flex_attention")


def _get_method(value: Any) -> str:
    """Return the name of a quantisation method."""
    if isinstance(value, dict):
        value = value.get("quant_method") or value.get("format")
    return plain(value or "method not named")


def _quote(value: Any) -> str:
    return plain(repr(value), 60)
