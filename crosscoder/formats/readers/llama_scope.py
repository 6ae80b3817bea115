"""Llama Scope (Llama 3.1 8B). He et al. 2024, arXiv 2410.20526.

Files: `hyperparams.json`, `checkpoints/final.safetensors`.

    a = s x W_E + b_E      f = a · H(a n − s θ)      x̂ = (f W_D + b_D) / s
    s = √d / average norm      n = ‖W_D‖

    encoder.weight [F, d]   encoder.bias [F]   decoder.weight [d, F]   decoder.bias [d]

`jump_relu_threshold` is one θ for all latents, in units of raw activations. The SAEs were trained
with TopK; θ > 0 makes a JumpReLU of them. The code is f, as in SAELens; its own package returns
f / s. n is 1 where sparsity_include_decoder_norm is false.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from crosscoder.core.activations import Activation
from crosscoder.core.activations.jumprelu import JumpReLU
from crosscoder.core.activations.relu import ReLU
from crosscoder.core.activations.topk import TopK
from crosscoder.errors import UserError
from crosscoder.formats.base import Dictionary, Layout
from crosscoder.formats.folder import Folder
from crosscoder.formats.hookpoints import parse_hookpoint
from crosscoder.formats.model_sources import build_single_source
from crosscoder.formats.readers.openmoss_averages import is_plausible_norm
from crosscoder.formats.readers.openmoss_settings import ACTIVATIONS, read_hook, read_k
from crosscoder.formats.readers.openmoss_weights import take_weights
from crosscoder.formats.settings import format_value, read_setting, require_choice

CONFIG = "hyperparams.json"
WEIGHTS = ("sae_weights.safetensors", "checkpoints/final.safetensors")
MODEL = "meta-llama/Llama-3.1-8B"
NORMS = ("dataset-wise", "inference", "none")


def fits(folder: Folder) -> bool:
    """Tell whether the folder has weights."""
    return any(map(folder.has_file, WEIGHTS))


def read(folder: Folder) -> Dictionary:
    """Read the SAE of one hook point."""
    file_name = f"{folder.path}/{CONFIG}"
    config = folder.read_json(CONFIG)
    act = require_choice(config.get("act_fn", "relu"), ACTIVATIONS, f"{file_name}: act_fn")
    norm = config.get("norm_activation", "token-wise")
    require_choice(norm, NORMS, f"{file_name}: norm_activation")
    hook = read_hook(config, file_name)
    d = read_setting(config, "d_model", int, file_name)
    n_latents = _read_n_latents(config, d, file_name)
    weights = next(filter(folder.has_file, WEIGHTS))
    file = folder.read_tensors(weights, {"d": d, "F": n_latents})
    has_b_dec = read_setting(config, "use_decoder_bias", bool, file_name, True)
    W_enc, b_enc, W_dec, b_dec = take_weights(file, has_b_dec, file_name)
    file.finish()
    s = d**0.5 / _read_average(config, file_name) if norm == "dataset-wise" else 1.0
    uses_norms = read_setting(config, "sparsity_include_decoder_norm", bool, file_name, True)
    norms = W_dec.norm(dim=-1) if uses_norms else torch.ones(n_latents)
    is_released = "Llama3_1-8B" in folder.origin
    sources, models = build_single_source(
        d, parse_hookpoint(hook, MODEL), MODEL if is_released else None
    )
    pre_bias = read_setting(config, "apply_decoder_bias_to_pre_encoder", bool, file_name, True)
    return Dictionary(
        sources,
        W_enc,
        b_enc,
        W_dec,
        b_dec,
        _build_activation(act, config, s, norms, file_name),
        norm="raw activations" if norm != "dataset-wise" else "x · √d / average norm",
        scale=torch.full((d,), 1 / s),
        pre_bias=pre_bias and has_b_dec,
        selection_scale=norms,
        models=models,
        notes={"hook_points": [hook]},
    )


def _read_n_latents(config: Mapping[str, Any], d: int, file_name: str) -> int:
    n_latents = read_setting(config, "d_sae", int, file_name, None)
    return n_latents or d * read_setting(config, "expansion_factor", int, file_name)


def _build_activation(
    act: str, config: Mapping[str, Any], s: float, norms: Tensor, file_name: str
) -> Activation:
    theta = read_setting(config, "jump_relu_threshold", (int, float), file_name, 0.0)
    if theta > 0 and act != "relu":
        return JumpReLU.from_threshold(s * theta / norms)
    if act == "topk":
        return TopK(read_k(config, len(norms), file_name))
    return ReLU()


def _read_average(config: Mapping[str, Any], file_name: str) -> float:
    """Return the average norm of the activations that are read and written.

    Raises:
        UserError: The average is implausible, or those of input and output differ.
    """
    key = "dataset_average_activation_norm"
    averages = read_setting(config, key, dict, file_name)
    average = read_setting(averages, "in", (int, float), f"{file_name}: {key}")
    written = read_setting(averages, "out", (int, float), f"{file_name}: {key}", average)
    if not is_plausible_norm(float(average)) or written != average:
        raise UserError(
            f"{file_name}: {key} must be one plausible norm, found {format_value(averages)}"
        )
    return float(average)


LAYOUT = Layout("llama_scope", (CONFIG,), read, optional=WEIGHTS, fits=fits)
