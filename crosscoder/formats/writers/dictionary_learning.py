"""Write a crosscoder for dictionary_learning (layout: readers/dictionary_learning.py).

    form         normaliser             n               read by
    (default)    in the file            Σ_m ‖D_m‖       packages since July 2025
    dict_class   in the file            Σ_m ‖D_m‖       packages since February 2026, and their
                                                        loaders that take the class from config.json
                                                        (diffing toolkit, local folders)
    folded       none: raw activations  1               packages since May 2025

Before February 2026 their BatchTopKCrossCoder accepts no `dict_class` in config.json;
trainer_config.json has it in every form. Before July 2025 they have one scale for all models, or
none, so only weights of raw activations mean the same to all versions. There the code normalisation
is folded into the weights: f of the `folded` form is f · n, which their library reports as
activations in every form. In the other forms f is the same there and here.
"""

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from crosscoder.core.activations.batch_topk import BatchTopK
from crosscoder.core.activations.jumprelu import JumpReLU
from crosscoder.core.activations.relu import ReLU
from crosscoder.core.model import Crosscoder
from crosscoder.errors import UserError
from crosscoder.formats.hookpoints import is_named
from crosscoder.formats.readers.dictionary_learning_settings import NONE, SUM
from crosscoder.io.files import write_text
from crosscoder.io.tensors import write_tensors


def write(crosscoder: Crosscoder, folder: Path) -> None:
    """Write the files of a folded crosscoder, with its normaliser."""
    _write(crosscoder, folder, _build_normalised_tensors)


def _write(
    crosscoder: Crosscoder,
    folder: Path,
    build_tensors: Callable[[Crosscoder, int], dict[str, Tensor]],
    has_dict_class: bool = False,
) -> None:
    sources = crosscoder.sources
    if len(set(sources.widths)) > 1:
        raise UserError(
            "dictionary_learning requires sources of one width, "
            f"the crosscoder has {sources.describe()}"
        )
    d = sources.widths[0]
    with torch.no_grad():
        tensors = build_tensors(crosscoder, d)
    kind = "BatchTopKCrossCoder" if "threshold" in tensors else "CrossCoder"
    sizes = {"activation_dim": d, "dict_size": crosscoder.n_latents}
    code = "CROSSCODER" if tensors["code_normalization_id"] == SUM else "NONE"
    settings = {**sizes, "num_layers": len(sources), "code_normalization": code}
    # before June 2025 BatchTopKCrossCoder accepts no target_rms, and CrossCoder requires one
    if "target_rms" in tensors or kind == "CrossCoder":
        settings["target_rms"] = 1.0
    if has_dict_class:
        settings["dict_class"] = kind
    trainer = {
        "dict_class": kind,
        **sizes,
        **_describe_activations(crosscoder),
        "code_normalization": code,
    }
    write_tensors(folder / "model.safetensors", tensors)
    write_text(folder / "config.json", json.dumps(settings, indent=2) + "\n")
    write_text(folder / "trainer_config.json", json.dumps({"trainer": trainer}, indent=2) + "\n")


def _build_normalised_tensors(crosscoder: Crosscoder, d: int) -> dict[str, Tensor]:
    """Return tensors in training units, with the normaliser that maps activations there."""
    M = len(crosscoder.sources)
    n_latents = crosscoder.n_latents
    mean = crosscoder.mean.view(M, d)
    scale = crosscoder.scale.view(M, d)
    if not torch.equal(scale, scale[:, :1].expand(M, d)):
        raise UserError(
            "dictionary_learning has one scale per model; this crosscoder has one per dimension"
        )
    W_enc = (crosscoder.W_enc * crosscoder.scale).view(n_latents, M, d)
    W_dec = (crosscoder.W_dec / crosscoder.scale).view(n_latents, M, d).transpose(0, 1)
    shift = (crosscoder.W_enc.double() @ crosscoder.mean.double()).float()
    tensors = {
        "encoder.weight": W_enc.permute(1, 2, 0),
        "encoder.bias": crosscoder.b_enc + shift,
        "decoder.weight": W_dec,
        "decoder.bias": (crosscoder.b_dec.view(M, d) - mean) / scale,
        "code_normalization_id": torch.tensor(SUM),
        "activation_mean": mean,
        "activation_std": scale / d**0.5,  # so that target_rms / ‖std‖ is the scale
        "activation_global_scale": 1 / scale[:, 0],
        "target_rms": torch.tensor(1.0),
    }
    return tensors | _build_selection(crosscoder, W_dec.norm(dim=-1).sum(0))


def _build_folded_tensors(crosscoder: Crosscoder, d: int) -> dict[str, Tensor]:
    """Return tensors that read and write raw activations; n moves from decoder to encoder."""
    M = len(crosscoder.sources)
    n_latents = crosscoder.n_latents
    n = crosscoder.selection_scale
    W_enc = (crosscoder.W_enc * n[:, None]).view(n_latents, M, d)
    W_dec = (crosscoder.W_dec / n.where(n > 0, 1)[:, None]).view(n_latents, M, d)
    tensors = {
        "encoder.weight": W_enc.permute(1, 2, 0),
        "encoder.bias": crosscoder.b_enc * n,
        "decoder.weight": W_dec.transpose(0, 1),
        "decoder.bias": crosscoder.b_dec.view(M, d),
        "code_normalization_id": torch.tensor(NONE),
    }
    return tensors | _build_selection(crosscoder, n)


def _build_selection(crosscoder: Crosscoder, n: Tensor) -> dict[str, Tensor]:
    """Return the threshold of r · n, and k of training, which inference ignores."""
    if isinstance(crosscoder.activation, ReLU):
        return {}
    k = crosscoder.provenance.get("activation", {}).get("k", 0)
    return {"threshold": _find_common_threshold(crosscoder, n), "k": torch.tensor(k)}


def _find_common_threshold(crosscoder: Crosscoder, n: Tensor) -> Tensor:
    """Return θ where every latent's threshold is θ / n_i, which is what folds of BatchTopK have."""
    if not isinstance(crosscoder.activation, JumpReLU | BatchTopK):
        name = crosscoder.activation.spec()["name"]
        raise UserError(
            "dictionary_learning's crosscoders select by one threshold or not at all, "
            f"not by {name}"
        )
    threshold = crosscoder.activation.threshold.clamp(min=0)
    is_comparable = (n > 0) | threshold.isfinite()  # a latent that writes nothing has θ / 0
    theta = (threshold * n)[is_comparable]
    if not torch.allclose(theta, theta.median().expand_as(theta), rtol=1e-3, atol=1e-8):
        raise UserError(
            "dictionary_learning has one threshold for all latents; "
            "this crosscoder has a different one for each"
        )
    return theta.median()


def _describe_activations(crosscoder: Crosscoder) -> dict[str, Any]:
    """Return `<chat>-<base>`, and the hookpoint if all sources share one."""
    sources = crosscoder.sources
    lms = (crosscoder.provenance.get("pair") or {}).get("lms", {})
    models = [str(lms.get(source.lm, {}).get("weights", source.lm)) for source in sources]
    settings: dict[str, Any] = {"lm_name": "-".join(reversed(models))}
    hookpoints = {source.hookpoint for source in sources}
    hookpoint = hookpoints.pop() if len(hookpoints) == 1 else ""
    if is_named(hookpoint):
        site, _, layer = hookpoint.partition(".")
        settings["layer"] = int(layer)
        settings["submodule_name"] = f"{site}_layer_{layer}"
    elif hookpoint:
        settings["submodule_name"] = hookpoint
    return settings


FORMS: Mapping[str, Callable[[Crosscoder, Path], None]] = {
    "dict_class": partial(_write, build_tensors=_build_normalised_tensors, has_dict_class=True),
    "folded": partial(_write, build_tensors=_build_folded_tensors),
}
