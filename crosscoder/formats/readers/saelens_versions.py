"""Convert SAELens's configurations of all versions to the keys of version 6.

    1, 2    all keys at the top: hook_point, activation_fn, …;
            a tensor `scaling_factor` [F], ones unless finetuned
    3 to 5  activation_fn_str, finetuning_scaling_factor;
            normalize_activations is a bool, then a word
    6       architecture; what the weights ignore is under `metadata`;
            normalize_activations may be null

Finetuning against shrinkage multiplies the code by a factor for each latent before it is decoded:
f · c.
"""

import re
from typing import Any

import torch
from torch import Tensor

from crosscoder.errors import UserError
from crosscoder.formats.settings import require_choice
from crosscoder.formats.tensors import Tensors

# keys that stood at the top before version 6
METADATA = (
    "model_name",
    "hook_name",
    "hook_point",
    "hf_hook_name",
    "hook_head_index",
    "hook_point_head_index",
    "model_from_pretrained_kwargs",
    "prepend_bos",
    "exclude_special_tokens",
    "context_size",
    "dataset_path",
)
RENAMED = {"hook_point": "hook_name", "hook_point_head_index": "hook_head_index"}
NO_NORM = (None, False, "none", "None")
FACTORS = ("scaling_factor", "finetuning_scaling_factor")  # until version 2, and from 3 to 5


def upgrade_config(config: dict[str, Any], file_name: str) -> dict[str, Any]:
    """Return a configuration of any version with the keys of version 6."""
    config = dict(config)
    norm = config.get("normalize_activations")
    if norm in NO_NORM:
        config["normalize_activations"] = "none"
    elif norm is True:
        config["normalize_activations"] = "expected_average_only_in"
    if read_version(config) >= 6:
        return config
    config["metadata"] = _collect_metadata(config)
    config.setdefault("architecture", "standard")
    activation = config.get("activation_fn") or config.get("activation_fn_str") or "relu"
    require_choice(activation, ("relu", "topk"), f"{file_name}: activation_fn")
    kwargs = config.get("activation_fn_kwargs")
    if activation == "topk" or (config["architecture"] == "topk" and kwargs):
        config["architecture"] = "topk"
        config["k"] = kwargs.get("k") if isinstance(kwargs, dict) else None
    return config


def read_version(config: dict[str, Any]) -> int:
    """Return the version that wrote a configuration; 0 if it names none."""
    metadata = config.get("metadata") or {}
    version = config.get("sae_lens_version") or metadata.get("sae_lens_version")
    if not isinstance(version, str | int | float):
        return 0
    major = str(version).split(".")[0]
    return int(major) if re.fullmatch("[0-9]{1,9}", major) else 0


def take_factor(file: Tensors, config: dict[str, Any], file_name: str) -> Tensor:
    """Take the factors of finetuning, [F]; ones if there was none.

    Raises:
        UserError: There are factors, but the configuration does not say that they are used.
    """
    names = [name for name in FACTORS if name in file]
    factors = [file.take(name, "F") for name in names]
    if not factors:
        factors = [file.take("scaling_factor", "F", missing=1.0)]
    factor = torch.stack(factors).prod(0)
    if torch.allclose(factor, torch.ones_like(factor)):
        return torch.ones_like(factor)
    is_used = config.get("finetuning_scaling_factor", read_version(config) < 3)
    if is_used is not True or len(names) > 1:
        raise UserError(
            f"{file_name}: {file.file} holds {' and '.join(names)} other than 1, "
            "but finetuning_scaling_factor is not true"
        )
    return factor


def _collect_metadata(config: dict[str, Any]) -> dict[str, Any]:
    """Collect the metadata of an old configuration under today's names."""
    metadata = dict(config.get("metadata") or {})
    for name in METADATA:
        if name in config:
            metadata.setdefault(RENAMED.get(name, name), config[name])
    return metadata
