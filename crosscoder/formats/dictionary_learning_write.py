"""A crosscoder for dictionary_learning, in training units with its normaliser, as its newer generation writes it.

The layout is that of dictionary_learning.py. f is the same there and here; what that library reports as activations is f · n.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from crosscoder.activations.batch_topk import BatchTopK
from crosscoder.activations.jumprelu import JumpReLU
from crosscoder.activations.relu import ReLU
from crosscoder.errors import UserError
from crosscoder.model import Crosscoder

SUM = 1  # the id of their code normalisation by Σ_m ‖d_m‖, which is this project's selection scale


@torch.no_grad()
def write(crosscoder: Crosscoder, folder: Path) -> None:
    """Write a folded crosscoder's files."""
    sources, widths = crosscoder.sources, set(crosscoder.sources.widths)
    if len(widths) > 1:
        raise UserError(f"dictionary_learning holds streams of one width, not {sources.describe()}")
    (d,), M, n_latents = widths, len(sources), crosscoder.n_latents
    mean, scale = crosscoder.mean.view(M, d), crosscoder.scale.view(M, d)
    if not torch.equal(scale, scale[:, :1].expand(M, d)):
        raise UserError(
            "dictionary_learning knows one scale for each model; this crosscoder has one for each dimension"
        )
    W_dec = (crosscoder.W_dec / crosscoder.scale).view(n_latents, M, d).transpose(0, 1)
    tensors = {
        "encoder.weight": (crosscoder.W_enc * crosscoder.scale).view(n_latents, M, d).permute(1, 2, 0),
        "encoder.bias": crosscoder.b_enc + (crosscoder.W_enc.double() @ crosscoder.mean.double()).float(),
        "decoder.weight": W_dec,
        "decoder.bias": (crosscoder.b_dec.view(M, d) - mean) / scale,
        "code_normalization_id": torch.tensor(SUM),
        "activation_mean": mean,
        "activation_std": scale / d**0.5,  # so that target_rms / ‖std‖ is the scale
        "activation_global_scale": 1 / scale[:, 0],
        "target_rms": torch.tensor(1.0),
    }
    kind = "CrossCoder"
    if not isinstance(crosscoder.activation, ReLU):
        kind = "BatchTopKCrossCoder"
        k = crosscoder.provenance.get("activation", {}).get("k", 0)  # of training; inference uses the threshold alone
        tensors |= {"threshold": _one_threshold(crosscoder, W_dec.norm(dim=-1).sum(0)), "k": torch.tensor(k)}
    sizes = {"dict_class": kind, "activation_dim": d, "dict_size": n_latents}
    settings = {**sizes, "num_layers": M, "code_normalization": "CROSSCODER", "target_rms": 1.0}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(settings, indent=2) + "\n")
    trainer = {**sizes, **_made_with(crosscoder)}
    (folder / "trainer_config.json").write_text(json.dumps({"trainer": trainer}, indent=2) + "\n")


def _made_with(crosscoder: Crosscoder) -> dict[str, Any]:
    """`<chat>-<base>`, and the layer if there is one."""
    sources, lms = crosscoder.sources, (crosscoder.provenance.get("pair") or {}).get("lms", {})
    names = [str(lms.get(source.lm, {}).get("weights", source.lm)) for source in reversed(sources.items)]
    layers = {source.hookpoint.rpartition(".")[2] for source in sources}
    layer = layers.pop() if len(layers) == 1 else ""
    return {"lm_name": "-".join(names)} | ({"layer": int(layer)} if layer.isdigit() else {})


def _one_threshold(crosscoder: Crosscoder, n: Tensor) -> Tensor:
    """θ where every latent's threshold is θ / n_i, as BatchTopK leaves them."""
    if not isinstance(crosscoder.activation, JumpReLU | BatchTopK):
        name = crosscoder.activation.spec()["name"]
        raise UserError(f"dictionary_learning's crosscoders select by one threshold or not at all, not by {name}")
    threshold = crosscoder.activation.threshold.clamp(min=0)
    theta = (threshold * n)[(n > 0) | threshold.isfinite()]  # a latent that writes nothing has θ / 0
    if not torch.allclose(theta, theta.median().expand_as(theta), rtol=1e-3, atol=1e-8):
        raise UserError(
            "dictionary_learning holds one threshold for all latents; this crosscoder has one of each its own"
        )
    return theta.median()
