"""Gemma Scope (Gemma 2). Lieberum et al. 2024, arXiv 2408.05147.

File: `layer_L/width_W/average_l0_N/params.npz`.

    f = pre · H(pre − θ)      pre = x W_enc + b_enc      x̂ = f W_dec + b_dec

    W_enc [d, F]   b_enc [F]   W_dec [F, d]   b_dec [d]   threshold [F]

The released weights read raw activations (App. A: scale and pre-bias are folded in). Sites: the
output of the decoder layer (res), of the MLP's post-norm (mlp), the input of `o_proj` (att).
Embedding SAEs read the embedding before it is multiplied by √d.
"""

import re

import torch

from crosscoder.core.activations.jumprelu import JumpReLU
from crosscoder.errors import UserError
from crosscoder.formats.base import Dictionary, Layout
from crosscoder.formats.catalogue import find_model, parse_width
from crosscoder.formats.folder import Folder
from crosscoder.formats.model_sources import build_single_source
from crosscoder.formats.tensors import Tensors

SITES = {"res": "resid_post", "mlp": "mlp_out", "att": "attn_z"}
# also inside the hub's own cache, where the owner's name precedes that of the repository
RELEASE = re.compile(r"gemma-scope-\w+-(?:pt|it)-(res|mlp|att|transcoders)(?![^/-])")


def read(folder: Folder) -> Dictionary:
    """Read the SAE of one site and layer; the folder's name says which, if anything does."""
    release = RELEASE.search(folder.origin)
    release_site = release[1] if release else None
    if release_site == "transcoders":
        raise UserError(
            f"{folder.origin} is a transcoder, which maps one site to another: not supported"
        )
    file = _read_tensors(folder)
    W_enc = file.take("W_enc", "d F")
    W_dec = file.take("W_dec", "F d")
    b_enc = file.take("b_enc", "F")
    b_dec = file.take("b_dec", "d")
    threshold = file.take("threshold", "F")
    if "scaling_factor" in file and not (file.take("scaling_factor", "F") == 1).all():
        raise UserError(f"{file.file}: a scaling_factor other than 1 is not supported")
    file.finish()
    d, n_latents = W_enc.shape
    _check_sizes(folder, file, release_site, d, n_latents)
    is_embedding = folder.match_origin("embedding") is not None
    hookpoint = "embed" if is_embedding else _find_hookpoint(folder, release_site)
    model = find_model(folder.origin)
    sources, models = build_single_source(d, hookpoint, model.hub_id if model else None)
    l0 = folder.match_origin(r"average_l0_(\d+)")
    return Dictionary(
        sources,
        W_enc.T.contiguous(),
        b_enc,
        W_dec,
        b_dec,
        JumpReLU.from_threshold(threshold),
        norm="embeddings before they are multiplied by √d" if is_embedding else "raw activations",
        scale=torch.full((d,), d**0.5) if is_embedding else None,
        bos=False,
        models=models,
        notes={"average_l0": int(l0[1])} if l0 else {},
    )


def _read_tensors(folder: Folder) -> Tensors:
    """Read the weights; some files write their names in lower case."""
    file = folder.read_tensors("params.npz")
    tensors = {re.sub("^w", "W", name.lower()): tensor for name, tensor in file.left.items()}
    if len(tensors) < len(file.left):
        raise UserError(f"{file.file} holds the same weights in upper and lower case")
    return Tensors(file.file, tensors)


def _check_sizes(
    folder: Folder, file: Tensors, release_site: str | None, d: int, n_latents: int
) -> None:
    """Refuse weights whose size differs from what the names say."""
    named = folder.match_origin(r"width_(\w+)")
    expected = parse_width(named[1]) if named else None
    if named and expected not in (None, n_latents):
        raise UserError(
            f"{folder.origin} names {expected:,} latents ({named[0]}), "
            f"but {file.file} has {n_latents:,}"
        )
    model = find_model(folder.origin)
    if model and release_site:
        width = model.widths.get(release_site)
        if width != d:
            site = SITES[release_site]
            raise UserError(
                f"{model.hub_id} has width {width} at {site}, but {file.file} reads {d}"
            )


def _find_hookpoint(folder: Folder, release_site: str | None) -> str:
    """Return the hookpoint; "" if the origin does not name both layer and site."""
    layer = folder.match_origin(r"layer_(\d+)")
    return f"{SITES[release_site]}.{layer[1]}" if release_site and layer else ""


LAYOUT = Layout("gemma_scope", ("params.npz",), read)
