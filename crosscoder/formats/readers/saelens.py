"""SAELens: `cfg.json` and `sae_weights.safetensors` of version 6 (older ones use other names).

    pre = x̃ W_enc + b_enc      x̃ = x − b_dec where apply_b_dec_to_input      x̂ = f W_dec + b_dec

    W_enc [d, F]   W_dec [F, d]   b_dec [d]
    standard   b_enc [F]                       f = relu(pre)
    topk       b_enc                           f = relu(pre) · n for the k largest pre · n;
                                               n = ‖W_dec‖ or 1; x̂ is decoded from f / n
    jumprelu   b_enc, threshold [F]            f = pre · H(pre − θ); released BatchTopK and
                                               Matryoshka SAEs have this architecture
    gated      b_gate [F], b_mag [F], r_mag [F]
                         f = H(p + b_gate) · relu(p · exp(r_mag) + b_mag), p = x̃ W_enc

Defaults are the library's: apply_b_dec_to_input true, normalize_activations none, k 100. Older
versions: saelens_versions.py. A gated latent is a JumpReLU: with W_enc · exp(r_mag), b_mag and
θ = b_mag − exp(r_mag) · b_gate (Rajamanoharan et al. 2024).
"""

from typing import Any

from torch import Tensor

from crosscoder.core.activations import Activation
from crosscoder.core.activations.jumprelu import JumpReLU
from crosscoder.core.activations.relu import ReLU
from crosscoder.core.activations.topk import TopK
from crosscoder.core.sources import Sources
from crosscoder.errors import UserError
from crosscoder.formats.base import Dictionary, Layout
from crosscoder.formats.folder import Folder
from crosscoder.formats.folding import fold_gate
from crosscoder.formats.input_scale import InputScale, reject_input_scale, require_input_scale
from crosscoder.formats.readers.saelens_metadata import read_bos, read_sources
from crosscoder.formats.readers.saelens_versions import take_factor, upgrade_config
from crosscoder.formats.settings import read_setting, require_choice
from crosscoder.formats.tensors import Tensors
from crosscoder.formats.writers.saelens import CONFIG, WEIGHTS, write

PER_TOKEN_NORMS = ("constant_norm_rescale", "layer_norm", "covariance_whitening")


def read(folder: Folder, input_scale: InputScale) -> Dictionary:
    """Read the SAE of one site."""
    file_name = f"{folder.path}/{CONFIG}"
    config = folder.read_json(CONFIG)
    read_setting(config, "metadata", dict, file_name, None)
    config = upgrade_config(config, file_name)
    architecture = require_choice(
        read_setting(config, "architecture", str, file_name),
        tuple(TAKE_ACTIVATION),
        f"{file_name}: architecture",
    )
    norm = _read_norm(config, file_name)
    d = read_setting(config, "d_in", int, file_name)
    n_latents = read_setting(config, "d_sae", int, file_name)
    file = folder.read_tensors(WEIGHTS, {"d": d, "F": n_latents})
    W_enc = file.take("W_enc", "d F").T.contiguous()
    W_dec = file.take("W_dec", "F d")
    b_dec = file.take("b_dec", "d")
    factor = take_factor(file, config, file_name)
    take_activation = TAKE_ACTIVATION[architecture]
    W_enc, b_enc, W_dec, activation = take_activation(file, config, file_name, W_enc, W_dec)
    W_dec = W_dec * factor[:, None]
    file.finish()
    metadata = config.get("metadata") or {}
    sources, models = read_sources(metadata, d, file_name)
    scale = _read_scale(norm, input_scale, sources, folder)
    return Dictionary(
        sources,
        W_enc,
        b_enc,
        W_dec,
        b_dec,
        activation,
        norm="raw activations" if scale is None else "x · √d / mean‖x‖",
        scale=scale,
        pre_bias=read_setting(config, "apply_b_dec_to_input", bool, file_name, True),
        bos=read_bos(metadata),
        models=models,
        notes={"architecture": architecture, "metadata": metadata},
    )


def _read_norm(config: dict[str, Any], file_name: str) -> str:
    norm = config["normalize_activations"]
    if norm in PER_TOKEN_NORMS:
        raise UserError(
            f"{file_name}: normalize_activations {norm!r} depends on the token "
            "and cannot be folded into the weights"
        )
    known = ("none", "expected_average_only_in")
    return require_choice(norm, known, f"{file_name}: normalize_activations")


def _read_scale(
    norm: str, input_scale: InputScale, sources: Sources, folder: Folder
) -> Tensor | None:
    """Return the divisor of the activations, [d]; None where the weights read raw ones."""
    if norm == "none":
        reject_input_scale(input_scale, folder)
        return None
    hint = "It is √d / mean‖x‖ (expected_average_only_in)."
    return 1 / require_input_scale(input_scale, sources, folder, hint)


# W_enc, b_enc, W_dec and the activation that belongs to them
Code = tuple[Tensor, Tensor, Tensor, Activation]


def _take_standard(
    file: Tensors, config: dict[str, Any], file_name: str, W_enc: Tensor, W_dec: Tensor
) -> Code:
    return W_enc, file.take("b_enc", "F"), W_dec, ReLU()


def _take_topk(
    file: Tensors, config: dict[str, Any], file_name: str, W_enc: Tensor, W_dec: Tensor
) -> Code:
    k = read_setting(config, "k", int, file_name, 100)
    b_enc = file.take("b_enc", "F")
    if not 0 < k <= len(b_enc):
        raise UserError(f"{file_name}: k = {k}, but there are {len(b_enc)} latents")
    if config.get("rescale_acts_by_decoder_norm"):  # then its code includes the norms
        norms = W_dec.norm(dim=-1)
        W_enc = W_enc * norms[:, None]
        b_enc = b_enc * norms
        W_dec = W_dec / norms.where(norms > 0, 1)[:, None]
    return W_enc, b_enc, W_dec, TopK(k)


def _take_jumprelu(
    file: Tensors, config: dict[str, Any], file_name: str, W_enc: Tensor, W_dec: Tensor
) -> Code:
    # training checkpoints of older versions hold the logarithm
    is_logarithm = "log_threshold" in file
    name = "log_threshold" if is_logarithm else "threshold"
    threshold = file.take(name, "F", finite=False)  # infinity: never active
    if threshold.isnan().any():
        raise UserError(f"{file.file}: '{name}' holds NaN")
    if is_logarithm:
        threshold = threshold.exp()
    return W_enc, file.take("b_enc", "F"), W_dec, JumpReLU.from_threshold(threshold)


def _take_gated(
    file: Tensors, config: dict[str, Any], file_name: str, W_enc: Tensor, W_dec: Tensor
) -> Code:
    r_mag = file.take("r_mag", "F")
    b_mag = file.take("b_mag", "F")
    b_gate = file.take("b_gate", "F")
    W_enc, activation = fold_gate(W_enc, b_mag, b_gate, r_mag)
    return W_enc, b_mag, W_dec, activation


TAKE_ACTIVATION = {
    "standard": _take_standard,
    "topk": _take_topk,
    "jumprelu": _take_jumprelu,
    "gated": _take_gated,
}


LAYOUT = Layout("saelens", (CONFIG, WEIGHTS), read, accepts_input_scale=True, write=write)
