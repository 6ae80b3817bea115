"""A crosscoder as an SAE of SAELens: on its sources' activations side by side, [x_base; x_chat], as the layout of saelens.py."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from crosscoder.activations.jumprelu import JumpReLU
from crosscoder.activations.relu import ReLU
from crosscoder.activations.topk import TopK
from crosscoder.errors import UserError
from crosscoder.model import Crosscoder

CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"
VERSION = "6.54.12"  # whose format this is
PLAIN = {"apply_b_dec_to_input": False, "normalize_activations": "none", "reshape_activations": "none"}


def write(crosscoder: Crosscoder, folder: Path) -> None:
    """Write a folded crosscoder's files.

    TopK selects by pre · n here and by the pre-activation there, so n goes into the weights: its f is n times ours.
    """
    activation, n = crosscoder.activation, torch.ones(crosscoder.n_latents)
    tensors: dict[str, Tensor] = {}
    if isinstance(activation, JumpReLU):
        kind: dict[str, Any] = {"architecture": "jumprelu"}
        tensors["threshold"] = activation.threshold.clamp(min=0)
    elif type(activation) is TopK:
        kind = {"architecture": "topk", "k": activation.k, "rescale_acts_by_decoder_norm": False}
        n = crosscoder.selection_scale
    elif isinstance(activation, ReLU):
        kind = {"architecture": "standard"}
    else:
        raise UserError(f"SAELens has no activation like {activation.spec()['name']}")
    tensors |= {"W_enc": (crosscoder.W_enc * n[:, None]).T, "b_enc": crosscoder.b_enc * n}
    tensors |= {"W_dec": crosscoder.W_dec / n.where(n > 0, 1)[:, None], "b_dec": crosscoder.b_dec}
    sizes = {"d_in": crosscoder.sources.d_total, "d_sae": crosscoder.n_latents, "dtype": "float32", "device": "cpu"}
    config = {**kind, **sizes, **PLAIN, "metadata": _metadata(crosscoder)}
    save_file({name: tensor.detach().float().contiguous() for name, tensor in tensors.items()}, folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n")


def _metadata(crosscoder: Crosscoder) -> dict[str, Any]:
    """What SAELens asks of every SAE, and the sources, by which this project reads it back."""
    sources, lms = crosscoder.sources, (crosscoder.provenance.get("pair") or {}).get("lms", {})
    return {
        "sae_lens_version": VERSION,
        "model_name": ", ".join(str(lms.get(s.lm, {}).get("weights", s.lm)) for s in sources),
        "hook_name": ", ".join(source.hookpoint for source in sources),
        "prepend_bos": True,
        "sources": [f"{source.lm} {source.hookpoint}".strip() for source in sources],
        "widths": list(sources.widths),
    }
