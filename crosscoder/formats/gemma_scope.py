"""Gemma Scope (Gemma 2): `layer_L/width_W/average_l0_N/params.npz`. Lieberum et al. 2024, arXiv 2408.05147.

    f = pre · H(pre − θ)      pre = x W_enc + b_enc      x̂ = f W_dec + b_dec

    W_enc [d, F]   b_enc [F]   W_dec [F, d]   b_dec [d]   threshold [F]

The released weights read raw activations (App. A: scale and pre-bias are folded in). Sites: the output of the decoder layer
(res), of the MLP's post-norm (mlp), the input of `o_proj` (att). Embedding SAEs read the embedding before it is multiplied by √d.
"""

import re

import torch

from crosscoder.activations.jumprelu import JumpReLU
from crosscoder.errors import UserError
from crosscoder.formats.base import Dictionary, InputScale, Layout, no_input_scale, one_source
from crosscoder.formats.catalogue import model_of, width_of
from crosscoder.formats.folder import Folder, Tensors

SITES = {"res": "resid_post", "mlp": "mlp_out", "att": "attn_z"}


def read(folder: Folder, given: InputScale) -> Dictionary:
    """The SAE of one site and layer, as far as the folder's name tells which."""
    no_input_scale(given, folder)
    suite = folder.match(r"gemma-scope-\w+-(?:pt|it)-(res|mlp|att|transcoders)")
    if suite and suite[1] == "transcoders":
        raise UserError(f"{folder.origin} is a transcoder, which maps one site to another: not read")
    file = folder.tensors("params.npz")
    # some files spell their keys in lower case
    spelt = {re.sub("^w", "W", name.lower()): tensor for name, tensor in file.left.items()}
    if len(spelt) < len(file.left):
        raise UserError(f"{file.file} holds the same weights in upper and lower case")
    file = Tensors(file.file, spelt)
    W_enc, W_dec = file.take("W_enc", "d F"), file.take("W_dec", "F d")
    b_enc, b_dec, threshold = file.take("b_enc", "F"), file.take("b_dec", "d"), file.take("threshold", "F")
    if "scaling_factor" in file and not (file.take("scaling_factor", "F") == 1).all():
        raise UserError(f"{file.file}: a scaling_factor other than 1 is not known here")
    file.done()
    d, n_latents = W_enc.shape
    if (word := folder.match(r"width_(\w+)")) and width_of(word[1]) not in (None, n_latents):
        raise UserError(
            f"{folder.origin} names {width_of(word[1]):,} latents ({word[0]}), but {file.file} has {n_latents:,}"
        )
    known, layer = model_of(folder.origin), folder.match(r"layer_(\d+)")
    if known and suite and (wanted := known[1]["width"].get(suite[1])) != d:
        raise UserError(f"{known[2]} has width {wanted} at {SITES[suite[1]]}, but {file.file} reads {d}")
    hookpoint = f"{SITES[suite[1] if suite else 'res']}.{layer[1]}" if layer else ""
    embedding = folder.match("embedding") is not None
    sources, models = one_source(d, "embed" if embedding else hookpoint, known[2] if known else None)
    l0 = folder.match(r"average_l0_(\d+)")
    return Dictionary(
        sources,
        W_enc.T.contiguous(),
        b_enc,
        W_dec,
        b_dec,
        JumpReLU.of(threshold),
        norm="embeddings before they are multiplied by √d" if embedding else "raw activations",
        scale=torch.full((d,), d**0.5) if embedding else None,
        bos=False,
        models=models,
        notes={"average_l0": int(l0[1])} if l0 else {},
    )


LAYOUT = Layout("gemma_scope", ("params.npz",), read)
