"""SAELens: `cfg.json` and `sae_weights.safetensors`, as its version 6 writes them (older ones differ in names).

    pre = x̃ W_enc + b_enc      x̃ = x − b_dec where apply_b_dec_to_input      x̂ = f W_dec + b_dec

    W_enc [d, F]   W_dec [F, d]   b_dec [d]
    standard   b_enc [F]                              f = relu(pre)
    topk       b_enc                                  f = relu(pre) · n if of the k largest pre · n; n = ‖W_dec‖ or 1; x̂ of f / n
    jumprelu   b_enc, threshold [F]                   f = pre · H(pre − θ); what BatchTopK and Matryoshka SAEs are released as
    gated      b_gate [F], b_mag [F], r_mag [F]       f = H(p + b_gate) · relu(p · exp(r_mag) + b_mag), p = x̃ W_enc

A gated latent is a JumpReLU: with W_enc · exp(r_mag), b_mag and θ = b_mag − exp(r_mag) · b_gate (Rajamanoharan et al. 2024).
"""

import re
from typing import Any

from torch import Tensor

from crosscoder.activations import Activation
from crosscoder.activations.jumprelu import JumpReLU
from crosscoder.activations.relu import ReLU
from crosscoder.activations.topk import TopK
from crosscoder.errors import UserError
from crosscoder.formats.base import (
    Dictionary,
    InputScale,
    Layout,
    gated,
    input_scale,
    no_input_scale,
    one_source,
    pair_of,
)
from crosscoder.formats.folder import Folder, Tensors, one_of, setting
from crosscoder.formats.hookpoints import hookpoint
from crosscoder.formats.saelens_write import CONFIG, WEIGHTS, write

PER_TOKEN = ("constant_norm_rescale", "layer_norm", "covariance_whitening")


def read(folder: Folder, given: InputScale) -> Dictionary:
    """The SAE of one site."""
    where, config = f"{folder.path}/{CONFIG}", folder.json(CONFIG)
    setting(config, "metadata", dict, where, None)
    config = _current(config, where)
    architecture = one_of(
        setting(config, "architecture", str, where), ("standard", "topk", "jumprelu", "gated"), f"{where}: architecture"
    )
    norm = config.get("normalize_activations", "none")
    if norm in PER_TOKEN:
        raise UserError(
            f"{where}: normalize_activations {norm!r} is done token by token and cannot be part of the weights"
        )
    one_of(norm, ("none", "expected_average_only_in"), f"{where}: normalize_activations")
    sizes = {"d": setting(config, "d_in", int, where), "F": setting(config, "d_sae", int, where)}
    raw = folder.tensors(WEIGHTS)
    file = Tensors(raw.file, raw.left, sizes)
    W_enc, W_dec, b_dec = file.take("W_enc", "d F").T.contiguous(), file.take("W_dec", "F d"), file.take("b_dec", "d")
    if config.get("scaling_factor") not in (None, 1, 1.0) or "scaling_factor" in file:
        raise UserError(f"{where}: finetuned scaling factors are not read")
    W_enc, b_enc, W_dec, activation = KINDS[architecture](file, config, where, W_enc, W_dec)
    file.done()
    metadata = config.get("metadata") or {}
    place = hookpoint(_text(metadata.get("hf_hook_name")) or _text(metadata.get("hook_name")))
    sources, models = one_source(sizes["d"], place, _text(metadata.get("model_name")))
    widths = metadata.get("widths")  # written here: a crosscoder's sources side by side
    if isinstance(widths, list) and all(type(n) is int and n > 0 for n in widths) and sum(widths) == sizes["d"]:
        sources, models = pair_of(widths, hookpoint((_text(metadata.get("hook_name")) or "").partition(",")[0])), {}
    if norm == "none":
        no_input_scale(given, folder)
        scale = None
    else:
        scale = 1 / input_scale(given, sources, folder, "It is √d / mean‖x‖ (expected_average_only_in).")
    skipped = metadata.get("exclude_special_tokens")
    return Dictionary(
        sources,
        W_enc,
        b_enc,
        W_dec,
        b_dec,
        activation,
        norm="raw activations" if scale is None else "x · √d / mean‖x‖",
        scale=scale,
        pre_bias=bool(config.get("apply_b_dec_to_input", False)),
        bos=None if skipped is None else not skipped,
        models=models,
        notes={"architecture": architecture, "metadata": metadata},
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _current(config: dict[str, Any], where: str) -> dict[str, Any]:
    """A configuration from before version 6 in today's words."""
    config = dict(config)
    metadata = dict(config.get("metadata") or {})
    version = config.get("sae_lens_version") or metadata.get("sae_lens_version")
    major = str(version).split(".")[0] if isinstance(version, str | int | float) else "0"
    if re.fullmatch("[0-9]{1,9}", major) and int(major) >= 6:
        return config
    for name in ("model_name", "hook_name", "hook_point", "prepend_bos", "context_size", "dataset_path"):
        if name in config:
            metadata.setdefault("hook_name" if name == "hook_point" else name, config[name])
    config.setdefault("apply_b_dec_to_input", True)
    config.setdefault("architecture", "standard")
    activation = config.get("activation_fn") or config.get("activation_fn_str") or "relu"
    one_of(activation, ("relu", "topk"), f"{where}: activation_fn")
    if activation == "topk":
        kwargs = config.get("activation_fn_kwargs")
        config |= {"architecture": "topk", "k": kwargs.get("k") if isinstance(kwargs, dict) else None}
    normalised = config.get("normalize_activations", False)
    if isinstance(normalised, bool):
        config["normalize_activations"] = "expected_average_only_in" if normalised else "none"
    return config | {"metadata": metadata}


Parts = tuple[Tensor, Tensor, Tensor, Activation]


def _standard(file: Tensors, config: dict, where: str, W_enc: Tensor, W_dec: Tensor) -> Parts:
    return W_enc, file.take("b_enc", "F"), W_dec, ReLU()


def _topk(file: Tensors, config: dict, where: str, W_enc: Tensor, W_dec: Tensor) -> Parts:
    k, b_enc = setting(config, "k", int, where), file.take("b_enc", "F")
    if not 0 < k <= len(b_enc):
        raise UserError(f"{where}: k = {k}, but there are {len(b_enc)} latents")
    if config.get("rescale_acts_by_decoder_norm"):  # then its f has the norms in it, too
        norms = W_dec.norm(dim=-1)
        W_enc, b_enc, W_dec = W_enc * norms[:, None], b_enc * norms, W_dec / norms.where(norms > 0, 1)[:, None]
    return W_enc, b_enc, W_dec, TopK(k)


def _jumprelu(file: Tensors, config: dict, where: str, W_enc: Tensor, W_dec: Tensor) -> Parts:
    # checkpoints of training, in older versions, hold its logarithm
    name = "log_threshold" if "log_threshold" in file else "threshold"
    threshold = file.take(name, "F", finite=False)  # infinity: never active
    if threshold.isnan().any():
        raise UserError(f"{file.file}: '{name}' holds NaN")
    threshold = threshold.exp() if name == "log_threshold" else threshold
    return W_enc, file.take("b_enc", "F"), W_dec, JumpReLU.of(threshold)


def _gated(file: Tensors, config: dict, where: str, W_enc: Tensor, W_dec: Tensor) -> Parts:
    r_mag, b_mag, b_gate = (file.take(name, "F") for name in ("r_mag", "b_mag", "b_gate"))
    W_enc, activation = gated(W_enc, b_mag, b_gate, r_mag)
    return W_enc, b_mag, W_dec, activation


KINDS = {"standard": _standard, "topk": _topk, "jumprelu": _jumprelu, "gated": _gated}


LAYOUT = Layout("saelens", (CONFIG, WEIGHTS), read, write=write)
