"""Check that a hookpoint is what its name says, by a forward pass on random tokens.

resid_post           the layer's output, [batch, sequence, d_model], is what the next layer reads
attn_out, mlp_out    stream after = stream before + attn_out + mlp_out
attn_z               attn_out = o_proj(attn_z)
"""

from typing import Any

import torch
from torch import nn

from crosscoder.errors import UserError
from crosscoder.lm.architectures import (
    describe_model,
    get_hidden_size,
    get_layers,
    get_multiplier,
    get_site,
    get_width,
)
from crosscoder.lm.hooks import Hookpoint
from crosscoder.lm.loading.measuring import (
    N_IDS,
    RecordedPass,
    get_rounding_tolerance,
    get_strict_tolerance,
    measure_relative_error,
    random_ids,
    read_row,
    record_pass,
)
from crosscoder.lm.types import PreTrainedModel


@torch.inference_mode()
def check_site(model: PreTrainedModel, hookpoint: Hookpoint) -> None:
    """Refuse a site that is not what its name says.

    Raises:
        UserError: The layer's output is not what the next one reads, or attn_out and mlp_out do not
            add up to what the layer adds, or attn_z is not the input of the attention's output.
    """
    if hookpoint.site == "attn_z" and _is_attn_out(model, hookpoint):
        check_site(model, Hookpoint(hookpoint.layer, "attn_out"))
        return
    recorded = record_pass(model, _list_modules(model, hookpoint), random_ids(model, N_IDS))
    _require_shapes(model, hookpoint, recorded)
    if hookpoint.site == "resid_post":
        _require_stream(model, hookpoint, recorded)
    elif hookpoint.site == "attn_z":
        _require_projection_input(model, hookpoint, recorded)
    else:
        _require_sum(model, hookpoint, recorded)


def _is_attn_out(model: PreTrainedModel, hookpoint: Hookpoint) -> bool:
    """Return whether a hookpoint's module writes `attn_out`.

    So it is in BLOOM, where the attention around this module adds the stream itself.
    """
    layer = hookpoint.layer
    return hookpoint.get_module(model) is get_site(model, layer, "attn_out")


def _list_modules(model: PreTrainedModel, hookpoint: Hookpoint) -> dict[str, Any]:
    """List the modules whose inputs and outputs tell what a hookpoint is."""
    layer = hookpoint.layer
    modules: dict[str, Any] = {"layer": get_site(model, layer, "resid_post")}
    if hookpoint.site == "resid_post":
        if layer + 1 < len(get_layers(model)):
            modules["next layer"] = get_site(model, layer + 1, "resid_post")
    elif hookpoint.site == "attn_z":
        modules["attn_z"] = get_site(model, layer, "attn_z")
        modules["attention"] = _get_attention(model, layer)
    else:
        modules["attn_out"] = get_site(model, layer, "attn_out")
        modules["mlp_out"] = get_site(model, layer, "mlp_out")
    return modules


def _get_attention(model: PreTrainedModel, layer: int) -> nn.Module:
    """Return the module that a layer's output projection belongs to."""
    projection = get_site(model, layer, "attn_z")
    block = get_layers(model)[layer]
    path = next(name for name, module in block.named_modules() if module is projection)
    return block.get_submodule(path.rpartition(".")[0])


def _require_shapes(model: PreTrainedModel, hookpoint: Hookpoint, recorded: RecordedPass) -> None:
    name = f"{hookpoint} of {describe_model(model)}"
    for module in _list_modules(model, hookpoint):
        if module not in recorded.outputs and module != "next layer":
            raise UserError(
                f"{name} cannot be read: {module} of layer {hookpoint.layer} "
                "does not run on text alone"
            )
    expected = [1, N_IDS, get_hidden_size(model)]
    found = list(recorded.outputs["layer"].shape)
    if found != expected:
        raise UserError(
            f"{name} is not a residual stream: expected shape {expected}, found {found}"
        )
    width = get_width(model, hookpoint.layer, hookpoint.site)
    if read_row(model, hookpoint, random_ids(model, N_IDS)).shape != (N_IDS, width):
        raise UserError(f"{name} cannot be read: expected {width} numbers for each token")


def _require_stream(model: PreTrainedModel, hookpoint: Hookpoint, recorded: RecordedPass) -> None:
    if "next layer" not in recorded.inputs:
        return
    error = measure_relative_error(recorded.outputs["layer"], recorded.inputs["next layer"])
    if error > get_rounding_tolerance(model.dtype):
        raise UserError(
            f"{hookpoint} of {describe_model(model)} is not a residual stream: "
            f"layer {hookpoint.layer + 1} reads something else"
        )


def _require_projection_input(
    model: PreTrainedModel, hookpoint: Hookpoint, recorded: RecordedPass
) -> None:
    error = measure_relative_error(recorded.outputs["attn_z"], recorded.outputs["attention"])
    if error > get_strict_tolerance(model.dtype):
        raise UserError(
            f"{hookpoint} of {describe_model(model)} is not the input of the attention's output: "
            f"read attn_out.{hookpoint.layer}"
        )


def _require_sum(model: PreTrainedModel, hookpoint: Hookpoint, recorded: RecordedPass) -> None:
    before = recorded.inputs["layer"].float()
    after = recorded.outputs["layer"].float()
    factor = get_multiplier(model)
    attn = factor * recorded.outputs["attn_out"].reshape(after.shape).float()
    mlp = factor * recorded.outputs["mlp_out"].reshape(after.shape).float()
    difference = (before + attn + mlp - after).norm()
    # each of two sums is rounded once
    sizes = sum(tensor.norm() for tensor in (before, attn, mlp, after))
    if difference > torch.finfo(model.dtype).eps * sizes:
        fraction = float(difference / (after - before).norm())
        layer = hookpoint.layer
        raise UserError(
            f"{hookpoint} of {describe_model(model)} cannot be read: attn_out + mlp_out "
            f"differ from what layer {layer} adds to the stream by {fraction:.2g} of it, so the "
            f"layer adds something else; resid_post.{layer} can be read"
        )
