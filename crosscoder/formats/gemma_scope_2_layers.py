"""Gemma Scope 2's weakly causal crosscoders: several layers of one model, one file per layer that is read.

    pre_l = x_l w_enc_l + b_enc_l      x̂_m = b_dec_m + Σ_{l ≤ m} f_l w_dec_l[:, m]

    params_layer_i.safetensors:  w_enc [d, F_i]   b_enc [F_i]   threshold [F_i]   w_dec [F_i, L, d]   b_dec [d]

i counts the layers that are read, and b_dec is of layer i. A latent reads one layer and writes that one and later ones: what the
file holds for earlier layers is masked. This is one model at several layers, not a base and a chat model.
"""

import warnings

import torch
from torch import Tensor

from crosscoder.activations.jumprelu import JumpReLU
from crosscoder.errors import UserError
from crosscoder.formats.base import Dictionary, InputScale, Layout, no_input_scale, role
from crosscoder.formats.folder import Folder, Tensors
from crosscoder.formats.gemma_scope_2 import TRANSCODES, check, config_of, kind_of, model_id
from crosscoder.formats.hookpoints import hookpoint, layers_of
from crosscoder.sources import Source, Sources


def read(folder: Folder, given: InputScale) -> Dictionary:
    """The crosscoder over layers, a source for each."""
    no_input_scale(given, folder)
    config = config_of(folder)
    kind = kind_of(folder, config)
    if kind == "clt":
        raise UserError(f"{folder.origin} is a cross-layer transcoder (clt): it {TRANSCODES}")
    names = [f"params_layer_{i}.safetensors" for i in range(len(folder.names("params_layer_*.safetensors")))]
    if config.get("hf_hook_point_in"):
        hookpoints = [hookpoint(text) for text in layers_of(config["hf_hook_point_in"])]
    else:
        found = folder.match(r"layer_(\d+(?:_\d+)*)_width_.*")
        hookpoints = [f"resid_post.{layer}" for layer in found[1].split("_")] if found else []
    if kind != "crosscoder" or len(hookpoints) != len(names):
        said = f"{kind or 'neither crosscoder nor clt'} over {len(hookpoints) or 'unknown'} layers"
        raise UserError(
            f"{folder.origin} has {len(names)} files params_layer_N, but config.json or its name says {said}"
        )

    layers: list[dict[str, Tensor]] = []
    d = None
    for name in names:
        file = folder.tensors(name)
        if "affine_skip_connection" in file:
            raise UserError(f"{file.file} has an affine skip connection, as transcoders do: it {TRANSCODES}")
        file = Tensors(file.file, file.left, {"L": len(names)} | ({"d": d} if d else {}))
        axes = {"w_enc": "d F", "b_enc": "F", "threshold": "F", "w_dec": "F L d", "b_dec": "d"}
        layers.append({key: file.take(key, shape) for key, shape in axes.items()})
        file.done()
        d = file.lengths["d"]
    assert d is not None

    model = model_id(folder, config)
    check(folder, config, model, "resid_post", d, sum(len(layer["b_enc"]) for layer in layers))
    above, total = 0.0, 0.0
    for i, layer in enumerate(layers):
        above += float(torch.linalg.vector_norm(layer["w_dec"][:, :i], dtype=torch.float64)) ** 2
        total += float(torch.linalg.vector_norm(layer["w_dec"], dtype=torch.float64)) ** 2
        layer["w_dec"][:, :i] = 0
    if above:
        share = (above / total) ** 0.5
        warnings.warn(
            f"{folder.origin}: latents write to layers before the one they read "
            f"(norm {above**0.5:.3g}, {share:.2g} of all): masked",
            stacklevel=2,
        )
    lm = role(model)
    sources = Sources(tuple(Source(f"{lm}.{place}", d, lm, place) for place in hookpoints))
    return Dictionary(
        sources,
        torch.block_diag(*(layer["w_enc"].T for layer in layers)),
        torch.cat([layer["b_enc"] for layer in layers]),
        torch.cat([layer["w_dec"].flatten(1) for layer in layers]),
        torch.cat([layer["b_dec"] for layer in layers]),
        JumpReLU.of(torch.cat([layer["threshold"] for layer in layers])),
        bos=False,
        models={lm: model} if model else {},
        notes={"masked_norm": above**0.5} | ({"target_l0": config["l0"]} if "l0" in config else {}),
    )


LAYOUT = Layout("gemma_scope_2_layers", ("params_layer_*.safetensors",), read, optional=("config.json",))
