"""OpenMOSS's crosscoders (Language-Model-SAEs, llamascopium), whose heads h are hook points.

Files: `config.json`, `sae_weights.safetensors`.

    a = Σ_h (x'_h W_E[h] + b_E[h])      f_h,i = act(a_i n_h,i) / n_h,i      n_h,i = ‖W_D[h, i]‖
    x̂'_h = f_h W_D[h] + b_D[h]

    W_E [h, d, F]   b_E [h, F]   W_D [h, F, d]   b_D [h, d]
    activation_function.log_jumprelu_threshold [F]   dataset_average_activation_norm.HOOK []

(n = 1 where sparsity_include_decoder_norm is false.) With a threshold a latent may be active in one
head and not in another, so it becomes a row for each head, of one group. x' is x ("inference") or
x · √d / average norm ("dataset-wise", openmoss_averages.py). SAEs: openmoss_sae.py. Defaults:
openmoss_settings.py.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from crosscoder.core.activations import Activation
from crosscoder.core.activations.jumprelu import JumpReLU
from crosscoder.core.activations.relu import ReLU
from crosscoder.core.activations.topk import TopK
from crosscoder.core.sources import Source, Sources
from crosscoder.errors import UserError
from crosscoder.formats.base import Dictionary, Layout
from crosscoder.formats.folder import Folder
from crosscoder.formats.folding import split_per_source
from crosscoder.formats.hookpoints import parse_hookpoint
from crosscoder.formats.input_scale import InputScale
from crosscoder.formats.readers.openmoss_averages import take_scale
from crosscoder.formats.readers.openmoss_settings import (
    read_activation,
    read_is_scaled,
    read_k,
    read_lengths,
)
from crosscoder.formats.settings import format_value, read_setting, require_choice
from crosscoder.formats.tensors import Tensors

CONFIG = "config.json"
WEIGHTS = "sae_weights.safetensors"
THRESHOLD = "activation_function.log_jumprelu_threshold"


def fits(folder: Folder) -> bool:
    """Tell whether the settings name several places instead of an SAE's one."""
    return "hook_point_in" not in folder.read_json(CONFIG)


def read(folder: Folder, input_scale: InputScale) -> Dictionary:
    """Read the crosscoder over hook points, a source for each."""
    file_name = f"{folder.path}/{CONFIG}"
    config = folder.read_json(CONFIG)
    require_choice(config.get("sae_type"), ("crosscoder",), f"{file_name}: sae_type")
    is_scaled = read_is_scaled(config, file_name)
    act = read_activation(config, file_name)
    hooks = _read_hooks(config, file_name)
    n_heads = len(hooks)
    lengths = read_lengths(config, file_name)
    file = folder.read_tensors(WEIGHTS, {"h": n_heads, **lengths})
    W_E = file.take("W_E", "h d F")
    b_E = file.take("b_E", "h F")
    n_latents = W_E.shape[2]
    W_D, b_D = _take_decoder(file, config, file_name)
    uses_norms = read_setting(config, "sparsity_include_decoder_norm", bool, file_name, True)
    norms = W_D.norm(dim=-1) if uses_norms else torch.ones(n_heads, n_latents)
    rows = W_E.permute(2, 0, 1).flatten(1).contiguous()
    b_enc = b_E.sum(0)
    columns = W_D.transpose(0, 1)
    groups = None
    differs_by_head = uses_norms and n_heads > 1
    if act == "jumprelu" and differs_by_head:
        rows, b_enc, columns, groups = split_per_source(rows, b_enc, W_D)
    if act == "topk" and differs_by_head:
        raise UserError(
            f"{file_name}: its top k is a different selection in every head; "
            "only relu and jumprelu are supported"
        )
    activation = _take_activation(act, file, config, norms if uses_norms else None, file_name)
    sources = _build_sources(hooks, lengths["d"])
    scale = take_scale(file, hooks, is_scaled, input_scale, sources, folder)
    file.finish()
    is_own_norm = groups is not None or n_heads == 1
    return Dictionary(
        sources,
        rows,
        b_enc,
        columns.flatten(1).contiguous(),
        b_D.flatten(),
        activation,
        norm=_describe_norm(scale),
        scale=scale,
        selection_scale=norms.flatten() if is_own_norm else torch.ones(n_latents),
        groups=groups,
        notes={"hook_points": hooks},
    )


def _read_hooks(config: Mapping[str, Any], file_name: str) -> list[str]:
    hooks = read_setting(config, "hook_points", list, file_name)
    are_texts = all(isinstance(hook, str) for hook in hooks)
    if not hooks or not are_texts or len(set(hooks)) != len(hooks):
        raise UserError(
            f"{file_name}: hook_points must be distinct names, found {format_value(hooks)}"
        )
    return hooks


def _take_decoder(
    file: Tensors, config: Mapping[str, Any], file_name: str
) -> tuple[Tensor, Tensor]:
    """Take W_D [h, F, d] and b_D [h, d], zeros if the settings say that there is none."""
    has_b_dec = read_setting(config, "use_decoder_bias", bool, file_name, True)
    if "b_D" in file and not has_b_dec:
        raise UserError(f"{file_name}: use_decoder_bias is false, but {file.file} holds 'b_D'")
    W_D = file.take("W_D", "h F d")
    return W_D, file.take("b_D", "h d", missing=None if has_b_dec else 0.0)


def _take_activation(
    act: str, file: Tensors, config: Mapping[str, Any], norms: Tensor | None, file_name: str
) -> Activation:
    """Take the activation; `norms` [h, F] divide the threshold of each head's row."""
    if act == "topk":
        return TopK(read_k(config, file.lengths["F"], file_name))
    if act == "jumprelu":
        threshold = file.take(THRESHOLD, "F").exp()
        if norms is not None:
            threshold = threshold.repeat(len(norms)) / norms.flatten()
        return JumpReLU.from_threshold(threshold)
    return ReLU()


def _build_sources(hooks: Sequence[str], d: int) -> Sources:
    places = [parse_hookpoint(hook) for hook in hooks]
    if len(places) == 1:
        return Sources((Source("model", d, "model", places[0]),))
    return Sources(tuple(Source(f"model.{place}", d, "model", place) for place in places))


def _describe_norm(scale: Tensor | None) -> str:
    if scale is None:
        return "raw activations"
    return "x · √d / average norm, one factor for each hook point"


LAYOUT = Layout("openmoss", (CONFIG, WEIGHTS), read, fits=fits, accepts_input_scale=True)
