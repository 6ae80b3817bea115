"""Qwen Scope: a repository `SAE-Res-MODEL-WnK-L0_k` with a file `layerN.sae.pt` for each layer.

    f = the k largest of relu(x W_encᵀ + b_enc)      x̂ = f W_decᵀ + b_dec

    W_enc [F, d]   b_enc [F]   W_dec [d, F]   b_dec [d]

Raw activations, the output of layer N. There are no settings: only the repository's name says k and
the language model.
"""

import re

from crosscoder.core.activations.topk import TopK
from crosscoder.errors import UserError
from crosscoder.formats.base import Dictionary, Layout
from crosscoder.formats.folder import Folder
from crosscoder.formats.model_sources import build_single_source

FILES = "layer*.sae.pt"
REPOSITORY = r"(?:[\w.-]*--)?SAE-Res-([\w.-]+)-W(\d{1,5})K-L0_(\d{1,5})"


def fits(folder: Folder) -> bool:
    """Tell whether the folder has files of layers."""
    return folder.has_file(FILES)


def read(folder: Folder) -> Dictionary:
    """Read the SAE of one layer."""
    names = folder.list_names(FILES)
    if len(names) > 1:
        raise UserError(
            f"{folder.path} holds {len(names)} layers: name one, e.g. {folder.path}/{names[0]}"
        )
    (name,) = names
    repository = folder.match_origin(REPOSITORY)
    if repository is None:
        raise UserError(
            f"{folder.path}/{name} does not say k: "
            "put it into a folder with the repository's name, SAE-Res-MODEL-WnK-L0_k"
        )
    model, thousands, k_text = repository.groups()
    file = folder.read_tensors(name)
    W_enc = file.take("W_enc", "F d")
    b_enc = file.take("b_enc", "F")
    W_dec = file.take("W_dec", "d F").T.contiguous()
    b_dec = file.take("b_dec", "d")
    file.finish()
    n_latents = int(thousands) * 1024
    k = int(k_text)
    if n_latents != len(b_enc):
        raise UserError(
            f"{folder.path} names {n_latents:,} latents (W{thousands}K), "
            f"but {name} has {len(b_enc):,}"
        )
    if not 0 < k <= n_latents:
        raise UserError(f"{folder.path} names k = {k}, but there are {n_latents:,} latents")
    layer = re.fullmatch(r"layer(\d{1,4})\.sae\.pt", name)
    hookpoint = f"resid_post.{int(layer[1])}" if layer else ""
    sources, models = build_single_source(W_enc.shape[1], hookpoint, f"Qwen/{model}")
    notes = {"k": k, "file": name}
    return Dictionary(sources, W_enc, b_enc, W_dec, b_dec, TopK(k), models=models, notes=notes)


# FILES are not in `files`, because that would download every layer: on the hub the user names one
LAYOUT = Layout("qwen_scope", (), read, fits=fits)
