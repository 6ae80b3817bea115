"""crosscode (O. Clive-Griffin): an acausal crosscoder over models and hookpoints.

Files: `model_cfg.yaml` and `model.pt`.

    pre = Σ_mp x_mp W_enc[m, p] + b_enc      x̂_mp = f W_dec[:, m, p] + b_dec[m, p]

    _W_enc_XiDiL [M, P, d, F]   _W_dec_LXoDo [F, M, P, d]   b_enc_L [F]   _b_dec_XoDo [M, P, d]
    is_folded []   _activation_fn.log_threshold_L [F] (AnthropicSTEJumpReLUActivation: θ = exp)

Where `is_folded` is false, the weights read activations scaled by factors that the file does not
hold: `input_scale`. Its BatchTopK has no threshold for inference, so its code depends on the batch:
refused. Its TopK keeps negative values where fewer than k pre-activations are positive; here they
are dropped.
"""

import warnings
from typing import Any

import torch

from crosscoder.core.activations import Activation
from crosscoder.core.activations.jumprelu import JumpReLU
from crosscoder.core.activations.relu import ReLU
from crosscoder.core.activations.topk import TopK
from crosscoder.core.sources import Source, Sources
from crosscoder.errors import UserError
from crosscoder.formats.base import Dictionary, Layout
from crosscoder.formats.folder import Folder
from crosscoder.formats.input_scale import InputScale, reject_input_scale, require_input_scale
from crosscoder.formats.model_sources import build_model_sources
from crosscoder.formats.settings import read_setting, require_choice
from crosscoder.formats.tensors import Tensors

CONFIG = "model_cfg.yaml"
WEIGHTS = "model.pt"
LENGTH_KEYS = {"M": "n_models", "P": "n_hookpoints", "d": "d_model", "F": "n_latents"}
THRESHOLD = "_activation_fn.log_threshold_L"
ACTIVATIONS = ("ReLUActivation", "TopkActivation", "AnthropicSTEJumpReLUActivation")
# names in older files; the library has the first in a table of its own
ALIASES = {
    "JumpReLUActivationFunction": "AnthropicSTEJumpReLUActivation",
    "AnthropicJumpReLUActivation": "AnthropicSTEJumpReLUActivation",
}
UNSUPPORTED = {
    "BatchTopkActivation": "has no threshold for inference: its code depends on the batch",
    "GroupMaxActivation": "takes the largest of each group of latents",
}


def read(folder: Folder, input_scale: InputScale) -> Dictionary:
    """Read the crosscoder, with a source for each model and hookpoint."""
    file_name = f"{folder.path}/{CONFIG}"
    config = folder.read_yaml(CONFIG)
    if "n_models" not in config and set(config) >= {"d_model", "n_latents"}:
        raise UserError(
            f"{file_name} belongs to an SAE or to a transcoder, which maps one site to another, "
            "and does not say to which: not supported"
        )
    lengths = {}
    for axis, key in LENGTH_KEYS.items():
        lengths[axis] = read_setting(config, key, int, file_name)
    file = folder.read_tensors(WEIGHTS, lengths)
    W_enc = file.take("_W_enc_XiDiL", "M P d F")
    W_dec = file.take("_W_dec_LXoDo", "F M P d")
    missing_b_enc = _read_missing_bias(config, "use_encoder_bias", file, "b_enc_L", file_name)
    missing_b_dec = _read_missing_bias(config, "use_decoder_bias", file, "_b_dec_XoDo", file_name)
    b_enc = file.take("b_enc_L", "F", missing=missing_b_enc)
    b_dec = file.take("_b_dec_XoDo", "M P d", missing=missing_b_dec)
    is_folded = bool(file.take("is_folded", "", missing=0.0))
    file.drop([name for name in file.left if name.startswith("folded_scaling_factors")])
    activation = _take_activation(config, file, file_name)
    file.finish()
    M, P, d, _ = W_enc.shape
    sources = _build_sources(M, P, d)
    if is_folded:
        reject_input_scale(input_scale, folder)
        scale = None
    else:
        hint = "They were estimated when it was trained (is_folded is false)."
        scale = 1 / require_input_scale(input_scale, sources, folder, hint)
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


def _build_sources(M: int, P: int, d: int) -> Sources:
    """Return a source for each model and hookpoint; the file does not name the hookpoints."""
    models = build_model_sources([d] * M)
    if P == 1:
        items = tuple(Source(lm, d, lm) for lm in models.names)
        return Sources(items, models.diff_pair)
    sources = []
    for lm in models.names:
        sources += [Source(f"{lm}.{p}", d, lm) for p in range(P)]
    return Sources(tuple(sources))


def _read_missing_bias(
    config: dict[str, Any], key: str, file: Tensors, name: str, file_name: str
) -> float | None:
    """Return the fill value of a bias: 0 if the settings deny it, None if it is required.

    Raises:
        UserError: The file holds a bias that the settings deny.
    """
    if read_setting(config, key, bool, file_name, True):
        return None
    if name in file:
        raise UserError(f"{file_name}: {key} is false, but {file.file} holds '{name}'")
    return 0.0


def _take_activation(config: dict[str, Any], file: Tensors, file_name: str) -> Activation:
    spec = read_setting(config, "activation_fn", dict, file_name)
    name = _read_activation_name(spec, file_name)
    if name == "ReLUActivation":
        return ReLU()
    if name == "TopkActivation":
        return _read_topk(spec, file.lengths["F"], file_name)
    threshold = file.take(THRESHOLD, "F", finite=False).exp()
    if threshold.isnan().any():
        raise UserError(f"{file.file}: '{THRESHOLD}' holds NaN")
    file.drop(["_activation_fn.bandwidth"])
    return JumpReLU.from_threshold(torch.as_tensor(threshold))


def _read_activation_name(spec: dict[str, Any], file_name: str) -> str:
    name = spec.get("classname")
    if isinstance(name, str):
        if name in UNSUPPORTED:
            raise UserError(f"{file_name}: {name} {UNSUPPORTED[name]}; not supported")
        name = ALIASES.get(name, name)
    return require_choice(name, ACTIVATIONS, f"{file_name}: activation_fn")


def _read_topk(spec: dict[str, Any], n_latents: int, file_name: str) -> TopK:
    cfg = read_setting(spec, "cfg", dict, file_name)
    k = read_setting(cfg, "k", int, file_name)
    if not 0 < k <= n_latents:
        raise UserError(f"{file_name}: k = {k}, but there are {n_latents} latents")
    warnings.warn(
        f"{file_name}: where fewer than k pre-activations are positive, negative ones are left out",
        stacklevel=2,
    )
    return TopK(k)


LAYOUT = Layout("crosscode", (CONFIG, WEIGHTS), read, accepts_input_scale=True)
