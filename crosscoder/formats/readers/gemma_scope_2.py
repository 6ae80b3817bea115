"""Gemma Scope 2 (Gemma 3): one site and layer. Google DeepMind, technical paper, December 2025.

File: `params.safetensors`.

    f = pre · H(pre − θ)      pre = x w_enc + b_enc      x̂ = f w_dec + b_dec

    w_enc [d, F]   b_enc [F]   threshold [F]   w_dec [F, d]   b_dec [d]

Raw activations, no pre-bias; BOS was left out of training. `attn_out` dictionaries read the input
of `o_proj` (`attn_z` here). `config.json` may be missing; the folder's name then says what it is.
The IT dictionaries were finetuned from the PT ones of the same path. Crosscoders over layers:
gemma_scope_2_layers.py.
"""

from crosscoder.core.activations.jumprelu import JumpReLU
from crosscoder.errors import UserError
from crosscoder.formats.base import Dictionary, Layout
from crosscoder.formats.folder import Folder
from crosscoder.formats.hookpoints import parse_hookpoint
from crosscoder.formats.model_sources import build_single_source
from crosscoder.formats.readers.gemma_scope_2_names import (
    NOT_SUPPORTED,
    check_sizes,
    find_kind,
    find_model_id,
    find_site,
    read_config,
)


def read(folder: Folder) -> Dictionary:
    """Read the SAE of one site and layer."""
    config = read_config(folder)
    kind = find_kind(folder, config)
    file = folder.read_tensors("params.safetensors")
    if kind in ("transcoder", "clt") or "affine_skip_connection" in file:
        raise UserError(f"{folder.origin} is a {kind or 'transcoder'}: it {NOT_SUPPORTED}")
    W_enc = file.take("w_enc", "d F")
    W_dec = file.take("w_dec", "F d")
    b_enc = file.take("b_enc", "F")
    b_dec = file.take("b_dec", "d")
    threshold = file.take("threshold", "F")
    file.finish()
    d, n_latents = W_enc.shape
    hookpoint = parse_hookpoint(config.get("hf_hook_point_in")) or find_site(folder)
    model = find_model_id(folder, config)
    check_sizes(folder, config, model, hookpoint.partition(".")[0], d, n_latents)
    sources, models = build_single_source(d, hookpoint, model)
    return Dictionary(
        sources,
        W_enc.T.contiguous(),
        b_enc,
        W_dec,
        b_dec,
        JumpReLU.from_threshold(threshold),
        bos=False,
        models=models,
        notes={"target_l0": config["l0"]} if "l0" in config else {},
    )


LAYOUT = Layout("gemma_scope_2", ("params.safetensors",), read, optional=("config.json",))
