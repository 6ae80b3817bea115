"""OpenMOSS's crosscoders (Language-Model-SAEs, llamascopium): `config.json`, `sae_weights.safetensors`, hook points as heads h.

    a = Σ_h (x'_h W_E[h] + b_E[h])      f_h,i = act(a_i n_h,i) / n_h,i      x̂'_h = f_h W_D[h] + b_D[h]      n_h,i = ‖W_D[h, i]‖

    W_E [h, d, F]   b_E [h, F]   W_D [h, F, d]   b_D [h, d]   activation_function.log_jumprelu_threshold [F]
    dataset_average_activation_norm.HOOK []

(n = 1 where sparsity_include_decoder_norm is false.) With a threshold a latent is active in one head and not in another, so
it becomes a row for each head, of one group. x' is x ("inference") or x · √d / average norm ("dataset-wise").
"""

import torch

from crosscoder.activations import Activation
from crosscoder.activations.jumprelu import JumpReLU
from crosscoder.activations.relu import ReLU
from crosscoder.activations.topk import TopK
from crosscoder.errors import UserError
from crosscoder.formats.base import Dictionary, InputScale, Layout, no_input_scale, per_source
from crosscoder.formats.folder import Folder, Tensors, one_of, setting, shown
from crosscoder.formats.hookpoints import hookpoint
from crosscoder.sources import Source, Sources

CONFIG, WEIGHTS = "config.json", "sae_weights.safetensors"


def read(folder: Folder, given: InputScale) -> Dictionary:
    """The crosscoder over hook points, a source for each."""
    no_input_scale(given, folder)
    where, config = f"{folder.path}/{CONFIG}", folder.json(CONFIG)
    one_of(config.get("sae_type"), ("crosscoder",), f"{where}: sae_type")
    norm = one_of(
        config.get("norm_activation", "inference"), ("inference", "dataset-wise"), f"{where}: norm_activation"
    )
    act = one_of(config.get("act_fn"), ("relu", "jumprelu", "topk"), f"{where}: act_fn")
    hooks = setting(config, "hook_points", list, where)
    if not hooks or not all(isinstance(hook, str) for hook in hooks) or len(set(hooks)) != len(hooks):
        raise UserError(f"{where}: hook_points are distinct names, not {shown(hooks)}")
    raw = folder.tensors(WEIGHTS)
    d = setting(config, "d_model", int, where)
    known = {"h": len(hooks), "d": d}
    if "expansion_factor" in config:
        known["F"] = int(d * setting(config, "expansion_factor", (int, float), where))
    file = Tensors(raw.file, raw.left, known)
    W_E, b_E = file.take("W_E", "h d F"), file.take("b_E", "h F", missing=0.0)
    W_D, b_D = file.take("W_D", "h F d"), file.take("b_D", "h d", missing=0.0)
    averages = [file.take(f"dataset_average_activation_norm.{hook}", "", missing=0.0) for hook in hooks]
    scale = None
    if norm == "dataset-wise":
        if not all(average > 0 for average in averages):
            raise UserError(f"{file.file} lacks dataset_average_activation_norm of {', '.join(hooks)}")
        scale = (torch.stack(averages) / d**0.5).repeat_interleave(d)
    h, n_latents = len(hooks), W_E.shape[2]
    weighed = setting(config, "sparsity_include_decoder_norm", bool, where, True)
    norms = W_D.norm(dim=-1) if weighed else torch.ones(h, n_latents)
    rows, b_enc, columns = W_E.permute(2, 0, 1).flatten(1).contiguous(), b_E.sum(0), W_D.transpose(0, 1)
    activation: Activation = ReLU()
    groups = None
    if act == "topk":
        if h > 1 and weighed:
            raise UserError(f"{where}: its top k are another selection in every head; only relu and jumprelu are read")
        k = setting(config, "top_k", int, where)
        if not 0 < k <= n_latents:
            raise UserError(f"{where}: top_k = {k}, but there are {n_latents} latents")
        activation = TopK(k)
    elif act == "jumprelu":
        threshold = file.take("activation_function.log_jumprelu_threshold", "F").exp()
        if weighed and h > 1:
            rows, b_enc, columns, groups = per_source(rows, b_enc, W_D)
            threshold = threshold.repeat(h)
        activation = JumpReLU.of(threshold / norms.flatten() if weighed else threshold)
    file.done()
    places = [hookpoint(hook) for hook in hooks]
    sources = Sources(tuple(Source(f"model.{p}" if h > 1 else "model", d, "model", p) for p in places))
    selection = norms.flatten() if groups is not None or h == 1 else torch.ones(n_latents)
    return Dictionary(
        sources,
        rows,
        b_enc,
        columns.flatten(1).contiguous(),
        b_D.flatten(),
        activation,
        norm="raw activations" if scale is None else "x · √d / average norm, one factor for each hook point",
        scale=scale,
        selection_scale=selection,
        groups=groups,
        notes={"hook_points": hooks},
    )


LAYOUT = Layout("openmoss", (CONFIG, WEIGHTS), read)
