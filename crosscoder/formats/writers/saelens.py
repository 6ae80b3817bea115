"""Write a crosscoder as an SAE of SAELens (layout: readers/saelens.py).

The SAE reads the concatenated activations of the crosscoder's sources, [x_base; x_chat].
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from crosscoder.core.activations import Activation
from crosscoder.core.activations.jumprelu import JumpReLU
from crosscoder.core.activations.relu import ReLU
from crosscoder.core.activations.topk import TopK
from crosscoder.core.model import Crosscoder
from crosscoder.errors import UserError
from crosscoder.io.files import write_text
from crosscoder.io.tensors import write_tensors

CONFIG = "cfg.json"
WEIGHTS = "sae_weights.safetensors"
VERSION = "6.54.12"  # version of SAELens whose format is written
COMMON_SETTINGS = {
    "apply_b_dec_to_input": False,
    "normalize_activations": "none",
    "reshape_activations": "none",
}


@dataclass(frozen=True)
class Architecture:
    """SAELens's form of an activation.

    Args:
        settings: Keys of cfg.json.
        n: Factor of each latent's code, [n_latents].
        tensors: Further tensors of the weights file.
    """

    settings: dict[str, Any]
    n: Tensor
    tensors: dict[str, Tensor] = field(default_factory=dict)


def write(crosscoder: Crosscoder, folder: Path) -> None:
    """Write the files of a folded crosscoder.

    TopK selects by pre · n here and by the pre-activation in SAELens, so n is folded into the
    weights: SAELens's f is n times ours.
    """
    architecture = _convert(crosscoder)
    n = architecture.n
    tensors = {
        **architecture.tensors,
        "W_enc": (crosscoder.W_enc * n[:, None]).T,
        "b_enc": crosscoder.b_enc * n,
        "W_dec": crosscoder.W_dec / n.where(n > 0, 1)[:, None],
        "b_dec": crosscoder.b_dec,
    }
    config = {
        **architecture.settings,
        "d_in": crosscoder.sources.d_total,
        "d_sae": crosscoder.n_latents,
        "dtype": "float32",
        "device": "cpu",
        **COMMON_SETTINGS,
        "metadata": _build_metadata(crosscoder),
    }
    write_tensors(folder / WEIGHTS, {name: tensor.float() for name, tensor in tensors.items()})
    write_text(folder / CONFIG, json.dumps(config, indent=2) + "\n")


def _convert_jumprelu(crosscoder: Crosscoder, activation: JumpReLU) -> Architecture:
    threshold = activation.threshold.clamp(min=0)
    ones = torch.ones(crosscoder.n_latents)
    return Architecture({"architecture": "jumprelu"}, ones, {"threshold": threshold})


def _convert_topk(crosscoder: Crosscoder, activation: TopK) -> Architecture:
    settings = {
        "architecture": "topk",
        "k": activation.k,
        "rescale_acts_by_decoder_norm": False,
    }
    return Architecture(settings, crosscoder.selection_scale)


def _convert_relu(crosscoder: Crosscoder, activation: ReLU) -> Architecture:
    return Architecture({"architecture": "standard"}, torch.ones(crosscoder.n_latents))


CONVERTERS: dict[type[Activation], Callable[[Crosscoder, Any], Architecture]] = {
    JumpReLU: _convert_jumprelu,
    TopK: _convert_topk,
    ReLU: _convert_relu,
}


def _convert(crosscoder: Crosscoder) -> Architecture:
    activation = crosscoder.activation
    convert = CONVERTERS.get(type(activation))
    if convert is None:
        name = activation.spec()["name"]
        raise UserError(f"SAELens has no activation like {name}")
    return convert(crosscoder, activation)


def _build_metadata(crosscoder: Crosscoder) -> dict[str, Any]:
    """Return what SAELens requires of every SAE, and the sources, which this project reads back."""
    sources = crosscoder.sources
    lms = (crosscoder.provenance.get("pair") or {}).get("lms", {})
    models = [str(lms.get(source.lm, {}).get("weights", source.lm)) for source in sources]
    return {
        "sae_lens_version": VERSION,
        "model_name": ", ".join(models),
        "hook_name": ", ".join(source.hookpoint for source in sources),
        "prepend_bos": True,
        "sources": [f"{source.lm} {source.hookpoint}".strip() for source in sources],
        "widths": list(sources.widths),
    }
