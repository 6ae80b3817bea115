"""Gemma Scope 2 (Gemma 3): one site and layer, `params.safetensors`. Google DeepMind, technical paper, December 2025.

    f = pre · H(pre − θ)      pre = x w_enc + b_enc      x̂ = f w_dec + b_dec

    w_enc [d, F]   b_enc [F]   threshold [F]   w_dec [F, d]   b_dec [d]

Raw activations, no pre-bias; BOS was left out of training. `attn_out` dictionaries read the input of `o_proj` (`attn_z` here).
The `config.json` beside it may be missing; then the folder's name says what it is. The IT dictionaries were finetuned from the PT
ones of the same path. Crosscoders over layers: gemma_scope_2_layers.py.
"""

from typing import Any

from crosscoder.activations.jumprelu import JumpReLU
from crosscoder.errors import UserError
from crosscoder.formats.base import Dictionary, InputScale, Layout, no_input_scale, one_source
from crosscoder.formats.catalogue import gemma_scope, model_of, width_of
from crosscoder.formats.folder import Folder, one_of, setting, shown
from crosscoder.formats.hookpoints import hookpoint

SITES = {"resid_post": "resid_post", "mlp_out": "mlp_out", "attn_out": "attn_z"}
KINDS = ("sae", "transcoder", "clt", "crosscoder")
TRANSCODES = "maps one site to another, which a crosscoder's sources cannot say: not read"


def read(folder: Folder, given: InputScale) -> Dictionary:
    """The SAE of one site and layer."""
    no_input_scale(given, folder)
    config = config_of(folder)
    kind = kind_of(folder, config)
    file = folder.tensors("params.safetensors")
    if kind in ("transcoder", "clt") or "affine_skip_connection" in file:
        raise UserError(f"{folder.origin} is a {kind or 'transcoder'}: it {TRANSCODES}")
    W_enc, W_dec = file.take("w_enc", "d F"), file.take("w_dec", "F d")
    b_enc, b_dec, threshold = file.take("b_enc", "F"), file.take("b_dec", "d"), file.take("threshold", "F")
    file.done()
    site = hookpoint(config.get("hf_hook_point_in")) or named_site(folder)
    model = model_id(folder, config)
    check(folder, config, model, site.partition(".")[0], len(W_enc), len(b_enc))
    sources, models = one_source(len(W_enc), site, model)
    notes = {"target_l0": config["l0"]} if "l0" in config else {}
    return Dictionary(
        sources,
        W_enc.T.contiguous(),
        b_enc,
        W_dec,
        b_dec,
        JumpReLU.of(threshold),
        bos=False,
        models=models,
        notes=notes,
    )


def config_of(folder: Folder) -> dict[str, Any]:
    """`config.json`, which may be missing; its words checked."""
    config = folder.json("config.json") if folder.has("config.json") else {}
    for name, kind in {"hf_hook_point_in": str, "hf_hook_point_out": str, "model_name": str, "width": int}.items():
        setting(config, name, kind, f"{folder.path}/config.json", None)
    if (architecture := config.get("architecture", "jump_relu")) != "jump_relu":
        raise UserError(f"{folder.path}/config.json: architecture {shown(architecture)} is not Gemma Scope's jump_relu")
    one_of(config.get("type", "sae"), KINDS, f"{folder.path}/config.json: type")
    return config


def kind_of(folder: Folder, config: dict[str, Any]) -> str | None:
    """`sae`, `transcoder`, `clt` or `crosscoder`, by the config or else by the folder's name."""
    named = folder.match("(transcoder|clt|crosscoder)(?:_all)?")
    if config.get("affine_connection"):
        return "transcoder" if config.get("type", "sae") == "sae" else config["type"]
    return config.get("type") or (named[1] if named else None)


def named_site(folder: Folder) -> str:
    """The hookpoint of `resid_post/layer_9_width_16k_l0_medium`."""
    site, layer = folder.match("(resid_post|attn_out|mlp_out)(?:_all)?"), folder.match(r"layer_(\d+)_width_.*")
    return f"{SITES[site[1]]}.{layer[1]}" if site and layer else ""


def model_id(folder: Folder, config: dict[str, Any]) -> str | None:
    """The hub id of the language model; config files write it in several ways."""
    if known := model_of(folder.origin):
        return known[2]
    if not (name := config.get("model_name")):
        return None
    name = name.replace("gemma-v3-", "gemma-3-").removesuffix("-pt" if "270m" in name else "\0")
    return name if "/" in name else f"google/{name}"


def check(folder: Folder, config: dict[str, Any], model: str | None, site: str, d: int, n_latents: int) -> None:
    """Refuse tensors that are not as large as the names say."""
    word = folder.match(r"layer_[\d_]+_width_([0-9a-z]+).*")
    for said, where in ((config.get("width"), "config.json"), (width_of(word[1]) if word else None, "its name")):
        if said not in (None, n_latents):
            raise UserError(f"{folder.origin} has {n_latents:,} latents, but {where} says {said:,}")
    sizes = {"resid_post": "resid_post", "mlp_out": "mlp_out", "attn_z": "attn_out"}
    for known in gemma_scope()["models2"].values():
        mine = model and model.removesuffix("-pt").removesuffix("-it") == known["id"]
        if mine and site in sizes and (wanted := known["width"][sizes[site]]) != d:
            raise UserError(f"{model} has width {wanted} at {site}, but {folder.origin} reads {d}")


LAYOUT = Layout("gemma_scope_2", ("params.safetensors",), read, optional=("config.json",))
