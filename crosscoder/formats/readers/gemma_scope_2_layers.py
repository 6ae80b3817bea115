"""Gemma Scope 2's weakly causal crosscoders: several layers of one model, one file per input layer.

    pre_l = x_l w_enc_l + b_enc_l      x̂_m = b_dec_m + Σ_{l ≤ m} f_l w_dec_l[:, m]

    params_layer_i.safetensors:
        w_enc [d, F_i]   b_enc [F_i]   threshold [F_i]   w_dec [F_i, L, d]   b_dec [d]

i counts the input layers, and b_dec belongs to layer i. A latent reads one layer and writes that
one and later ones: the file's weights for earlier layers are masked. The sources are one model at
several layers, not a base and a chat model.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from crosscoder.core.activations.jumprelu import JumpReLU
from crosscoder.core.sources import Source, Sources
from crosscoder.errors import UserError
from crosscoder.formats.base import Dictionary, Layout
from crosscoder.formats.folder import Folder
from crosscoder.formats.hookpoints import expand_layers, parse_hookpoint
from crosscoder.formats.model_sources import guess_role
from crosscoder.formats.readers.gemma_scope_2_names import (
    NOT_SUPPORTED,
    check_sizes,
    find_kind,
    find_model_id,
    read_config,
)

AXES = {"w_enc": "d F", "b_enc": "F", "threshold": "F", "w_dec": "F L d", "b_dec": "d"}


def read(folder: Folder) -> Dictionary:
    """Read the crosscoder over layers, with a source for each."""
    config = read_config(folder)
    n_files = len(folder.list_names("params_layer_*.safetensors"))
    hookpoints = _find_hookpoints(folder, config)
    _require_crosscoder(folder, find_kind(folder, config), len(hookpoints), n_files)
    layers, d = _take_layers(folder, n_files)
    n_latents = sum(len(layer["b_enc"]) for layer in layers)
    model = find_model_id(folder, config)
    check_sizes(folder, config, model, "resid_post", d, n_latents)
    masked_norm = _mask_earlier_layers(folder, layers)
    notes = {"masked_norm": masked_norm}
    if "l0" in config:
        notes["target_l0"] = config["l0"]
    lm = guess_role(model)
    return Dictionary(
        Sources(tuple(Source(f"{lm}.{place}", d, lm, place) for place in hookpoints)),
        torch.block_diag(*(layer["w_enc"].T for layer in layers)),
        torch.cat([layer["b_enc"] for layer in layers]),
        torch.cat([layer["w_dec"].flatten(1) for layer in layers]),
        torch.cat([layer["b_dec"] for layer in layers]),
        JumpReLU.from_threshold(torch.cat([layer["threshold"] for layer in layers])),
        bos=False,
        models={lm: model} if model else {},
        notes=notes,
    )


def _find_hookpoints(folder: Folder, config: dict[str, Any]) -> list[str]:
    """Return the hookpoints by the config or the folder's name; none if neither has them."""
    if config.get("hf_hook_point_in"):
        return [parse_hookpoint(text) for text in expand_layers(config["hf_hook_point_in"])]
    found = folder.match_origin(r"layer_(\d+(?:_\d+)*)_width_.*")
    return [f"resid_post.{layer}" for layer in found[1].split("_")] if found else []


def _require_crosscoder(folder: Folder, kind: str | None, n_layers: int, n_files: int) -> None:
    """Refuse other kinds of dictionaries, and a crosscoder with another number of files."""
    if kind == "clt":
        raise UserError(f"{folder.origin} is a cross-layer transcoder (clt): it {NOT_SUPPORTED}")
    if kind != "crosscoder" or n_layers != n_files:
        found = f"{kind or 'neither crosscoder nor clt'} over {n_layers or 'unknown'} layers"
        raise UserError(
            f"{folder.origin} has {n_files} files params_layer_N, "
            f"but config.json or its name says {found}"
        )


def _take_layers(folder: Folder, n_files: int) -> tuple[list[dict[str, Tensor]], int]:
    """Take the weights of every layer, and the width that they share."""
    layers = []
    lengths = {"L": n_files}
    for i in range(n_files):
        file = folder.read_tensors(f"params_layer_{i}.safetensors", lengths)
        if "affine_skip_connection" in file:
            raise UserError(
                f"{file.file} has an affine skip connection, as transcoders do: it {NOT_SUPPORTED}"
            )
        layers.append({name: file.take(name, axes) for name, axes in AXES.items()})
        file.finish()
        lengths["d"] = file.lengths["d"]
    return layers, lengths["d"]


def _mask_earlier_layers(folder: Folder, layers: Sequence[dict[str, Tensor]]) -> float:
    """Set decoder weights of layers before the one that is read to zero; return their norm."""
    masked = 0.0
    total = 0.0
    for i, layer in enumerate(layers):
        masked += _squared_norm(layer["w_dec"][:, :i])
        total += _squared_norm(layer["w_dec"])
        layer["w_dec"][:, :i] = 0
    norm = masked**0.5
    if masked:
        fraction = (masked / total) ** 0.5
        warnings.warn(
            f"{folder.origin}: latents write to layers before the one they read "
            f"(norm {norm:.3g}, {fraction:.2g} of the decoder's norm): masked",
            stacklevel=3,
        )
    return norm


def _squared_norm(weight: Tensor) -> float:
    return float(torch.linalg.vector_norm(weight, dtype=torch.float64)) ** 2


LAYOUT = Layout(
    "gemma_scope_2_layers", ("params_layer_*.safetensors",), read, optional=("config.json",)
)
