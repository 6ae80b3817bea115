"""OpenMOSS's SAEs (Language-Model-SAEs, lm-saes, llamascopium), e.g. Llama Scope R1.

Files: `config.json`, `sae_weights.safetensors`.

    a = x' W_E + b_E      f = act(a n) / n      x̂' = f W_D + b_D
    n = ‖W_D‖ (1 where sparsity_include_decoder_norm is false)

    W_E [d, F]   b_E [F]   W_D [F, d]   b_D [d]   activation_function.log_jumprelu_threshold [F]
    until 2025: encoder.weight [F, d]   encoder.bias   decoder.weight [d, F]   decoder.bias
                log_jumprelu_threshold

x' is x ("inference") or x · √d / average norm ("dataset-wise", openmoss_averages.py). Until 2025 an
encoder may read x' − b_D (apply_decoder_bias_to_pre_encoder). Defaults: openmoss_settings.py.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from crosscoder.core.activations import Activation
from crosscoder.core.activations.jumprelu import JumpReLU
from crosscoder.core.activations.relu import ReLU
from crosscoder.core.activations.topk import TopK
from crosscoder.formats.base import Dictionary, Layout
from crosscoder.formats.folder import Folder
from crosscoder.formats.hookpoints import parse_hookpoint
from crosscoder.formats.input_scale import InputScale
from crosscoder.formats.model_sources import build_single_source
from crosscoder.formats.readers.openmoss_averages import take_scale
from crosscoder.formats.readers.openmoss_settings import (
    read_activation,
    read_hook,
    read_is_scaled,
    read_k,
    read_lengths,
)
from crosscoder.formats.readers.openmoss_weights import take_weights
from crosscoder.formats.settings import read_setting
from crosscoder.formats.tensors import Tensors

CONFIG = "config.json"
WEIGHTS = "sae_weights.safetensors"
THRESHOLDS = ("activation_function.log_jumprelu_threshold", "log_jumprelu_threshold")


def fits(folder: Folder) -> bool:
    """Tell whether the settings are an SAE's: they say so, or name the one place that it reads."""
    config = folder.read_json(CONFIG)
    return config.get("sae_type", "sae") == "sae" and "hook_point_in" in config


def read(folder: Folder, input_scale: InputScale) -> Dictionary:
    """Read the SAE of one hook point."""
    file_name = f"{folder.path}/{CONFIG}"
    config = folder.read_json(CONFIG)
    is_scaled = read_is_scaled(config, file_name)
    act = read_activation(config, file_name)
    hook = read_hook(config, file_name)
    lengths = read_lengths(config, file_name)
    file = folder.read_tensors(WEIGHTS, lengths)
    has_b_dec = read_setting(config, "use_decoder_bias", bool, file_name, True)
    W_enc, b_enc, W_dec, b_dec = take_weights(file, has_b_dec, file_name)
    uses_norms = read_setting(config, "sparsity_include_decoder_norm", bool, file_name, True)
    norms = W_dec.norm(dim=-1) if uses_norms else torch.ones(len(b_enc))
    activation = _take_activation(act, file, config, norms, file_name)
    sources, _ = build_single_source(lengths["d"], parse_hookpoint(hook), None)
    scale = take_scale(file, [hook], is_scaled, input_scale, sources, folder)
    file.finish()
    pre_bias = read_setting(config, "apply_decoder_bias_to_pre_encoder", bool, file_name, False)
    return Dictionary(
        sources,
        W_enc,
        b_enc,
        W_dec,
        b_dec,
        activation,
        norm="raw activations" if scale is None else "x · √d / average norm",
        scale=scale,
        pre_bias=pre_bias and has_b_dec,
        selection_scale=norms,
        notes={"hook_points": [hook]},
    )


def _take_activation(
    act: str, file: Tensors, config: Mapping[str, Any], norms: Tensor, file_name: str
) -> Activation:
    if act == "topk":
        return TopK(read_k(config, len(norms), file_name))
    if act == "jumprelu":
        name = next((name for name in THRESHOLDS if name in file), THRESHOLDS[0])
        return JumpReLU.from_threshold(file.take(name, "F").exp() / norms)
    return ReLU()


LAYOUT = Layout("openmoss_sae", (CONFIG, WEIGHTS), read, fits=fits, accepts_input_scale=True)
