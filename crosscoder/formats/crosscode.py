"""crosscode (O. Clive-Griffin): `model_cfg.yaml` and `model.pt` of an acausal crosscoder over models and hookpoints.

    pre = Σ_mp x_mp W_enc[m, p] + b_enc      x̂_mp = f W_dec[:, m, p] + b_dec[m, p]

    _W_enc_XiDiL [M, P, d, F]   _W_dec_LXoDo [F, M, P, d]   b_enc_L [F]   _b_dec_XoDo [M, P, d]   is_folded []
    _activation_fn.log_threshold_L [F] (AnthropicSTEJumpReLUActivation: θ = exp)

Where `is_folded` is false, the weights read activations scaled by factors that the file does not hold: `input_scale`.
Its BatchTopK has no threshold for inference, so its code depends on the batch: refused. Its TopK keeps negative values where
fewer than k pre-activations are positive; here they are left out.
"""

import warnings
from typing import Any

import torch

from crosscoder.activations import Activation
from crosscoder.activations.jumprelu import JumpReLU
from crosscoder.activations.relu import ReLU
from crosscoder.activations.topk import TopK
from crosscoder.errors import UserError
from crosscoder.formats.base import Dictionary, InputScale, Layout, input_scale, no_input_scale, pair_of
from crosscoder.formats.folder import Folder, Tensors, one_of, setting
from crosscoder.sources import Source, Sources

CONFIG, WEIGHTS = "model_cfg.yaml", "model.pt"
ACTIVATIONS = ("ReLUActivation", "TopkActivation", "AnthropicSTEJumpReLUActivation")


def read(folder: Folder, given: InputScale) -> Dictionary:
    """The crosscoder, a source for each model and hookpoint."""
    where, config = f"{folder.path}/{CONFIG}", folder.yaml(CONFIG)
    names = {"M": "n_models", "P": "n_hookpoints", "d": "d_model", "F": "n_latents"}
    raw = folder.tensors(WEIGHTS)
    file = Tensors(raw.file, raw.left, {axis: setting(config, name, int, where) for axis, name in names.items()})
    W_enc, W_dec = file.take("_W_enc_XiDiL", "M P d F"), file.take("_W_dec_LXoDo", "F M P d")
    biased = [setting(config, f"use_{part}_bias", bool, where, True) for part in ("encoder", "decoder")]
    b_enc = file.take("b_enc_L", "F", missing=None if biased[0] else 0.0)
    b_dec = file.take("_b_dec_XoDo", "M P d", missing=None if biased[1] else 0.0)
    folded = bool(file.take("is_folded", "", missing=0.0))
    file.drop([name for name in file.left if name.startswith("folded_scaling_factors")])
    activation = _activation(config, file, where)
    file.done()
    M, P, d, _ = W_enc.shape
    models = pair_of([d] * M)
    items = tuple(Source(f"{lm}.{p}" if P > 1 else lm, d, lm) for lm in models.names for p in range(P))
    sources = Sources(items, models.contrast if P == 1 else None)
    if folded:
        no_input_scale(given, folder)
        scale = None
    else:
        scale = 1 / input_scale(given, sources, folder, "They were estimated when it was trained (is_folded is false).")
    return Dictionary(
        sources,
        W_enc.permute(3, 0, 1, 2).flatten(1).contiguous(),
        b_enc,
        W_dec.flatten(1),
        b_dec.flatten(),
        activation,
        norm="raw activations" if scale is None else "scaled, one factor for each source",
        scale=scale,
    )


def _activation(config: dict[str, Any], file: Tensors, where: str) -> Activation:
    spec = setting(config, "activation_fn", dict, where)
    if spec.get("classname") == "BatchTopkActivation":
        raise UserError(
            f"{where}: BatchTopkActivation has no threshold for inference: its code depends on the batch; not read"
        )
    name = one_of(spec.get("classname"), ACTIVATIONS, f"{where}: activation_fn")
    if name == "TopkActivation":
        k = setting(setting(spec, "cfg", dict, where), "k", int, where)
        if not 0 < k <= file.lengths["F"]:
            raise UserError(f"{where}: k = {k}, but there are {file.lengths['F']} latents")
        warnings.warn(
            f"{where}: where fewer than k pre-activations are positive, negative ones are left out", stacklevel=2
        )
        return TopK(k)
    if name == "ReLUActivation":
        return ReLU()
    threshold = file.take("_activation_fn.log_threshold_L", "F", finite=False).exp()
    if threshold.isnan().any():
        raise UserError(f"{file.file}: '_activation_fn.log_threshold_L' holds NaN")
    file.drop(["_activation_fn.bandwidth"])
    return JumpReLU.of(torch.as_tensor(threshold))


LAYOUT = Layout("crosscode", (CONFIG, WEIGHTS), read)
