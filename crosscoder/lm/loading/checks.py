"""Measurements that tell whether a language model can be read, scored and looked into.

transformers has about two hundred architectures. Some ignore `position_ids`, some are recurrent,
some see later tokens, some add more to the stream than their attention and MLP. Names do not tell.
Every property that a result rests on is therefore measured on the model itself, with random tokens:

    causal         other tokens to the right change nothing: rows can be padded there without a mask
    left padding   a masked token to the left changes nothing: one batch can hold prompts of several
                   lengths
    lens           the head reads norm(last resid_post)
    logits         get_logits(final hidden states) are the model's own

`sites.py` does the same for hookpoints, `packing.py` for documents that share a row, and
`measuring.py` defines errors and tolerances.
"""

from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from crosscoder.errors import NotApplicable, UserError
from crosscoder.lm.architectures import describe_model, get_hidden_size, get_layers
from crosscoder.lm.head import get_final_norm, get_head, get_logits
from crosscoder.lm.hooks import Hookpoint, read, run_decoder
from crosscoder.lm.loading.measuring import (
    N_IDS,
    get_rounding_tolerance,
    get_strict_tolerance,
    measure_relative_error,
    measure_token_error,
    random_ids,
    read_row,
    record_pass,
)
from crosscoder.lm.loading.sites import check_site
from crosscoder.lm.types import PreTrainedModel


@dataclass(frozen=True)
class Basics:
    """Properties of a model that do not depend on hookpoint or row length.

    Args:
        causal: Error when tokens to the right are exchanged.
        left_padding: Error of a row that is padded on the left; infinite if the model cannot run
            such a row.
        dtype: Type of the model's weights.
    """

    causal: float
    left_padding: float
    dtype: torch.dtype

    @property
    def is_causal(self) -> bool:
        return self.causal <= get_strict_tolerance(self.dtype)

    @property
    def is_left_paddable(self) -> bool:
        return self.left_padding <= get_rounding_tolerance(self.dtype)


_basics: "WeakKeyDictionary[PreTrainedModel, Basics]" = WeakKeyDictionary()
_logit_errors: "WeakKeyDictionary[PreTrainedModel, float]" = WeakKeyDictionary()


@torch.inference_mode()
def measure_basics(model: PreTrainedModel) -> Basics:
    """Measure a model once; later calls return the same.

    Raises:
        UserError: The model's layers do not write a residual stream [batch, sequence, d_model].
    """
    if model not in _basics:
        hookpoint = Hookpoint(len(get_layers(model)) - 1, "resid_post")
        check_site(model, hookpoint)
        ids = random_ids(model, 2 * N_IDS)
        exchanged = torch.cat([ids[:N_IDS], ids[N_IDS:].flip(0)])
        before = read_row(model, hookpoint, ids)[:N_IDS]
        after = read_row(model, hookpoint, exchanged)[:N_IDS]
        causal = measure_token_error(after, before)
        left_padding = _measure_left_padding(model, hookpoint, ids[:N_IDS])
        _basics[model] = Basics(causal, left_padding, model.dtype)
    return _basics[model]


def _measure_left_padding(model: PreTrainedModel, hookpoint: Hookpoint, ids: Tensor) -> float:
    n_pad = N_IDS // 3
    alone = read_row(model, hookpoint, ids)
    row = torch.cat([ids[:1].expand(n_pad), ids])[None].to(model.device)
    mask = torch.ones_like(row)
    mask[:, :n_pad] = 0
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    try:
        padded = read(model, [hookpoint], row, positions, mask)[hookpoint][0, n_pad:]
    except Exception:  # an architecture that takes no mask fails in its own way
        return float("inf")
    error = measure_token_error(padded, alone)
    is_nan = error != error
    return float("inf") if is_nan else error


def require_causal(model: PreTrainedModel) -> None:
    """Refuse a model that sees later tokens.

    Raises:
        UserError: With the error that was measured.
    """
    basics = measure_basics(model)
    if not basics.is_causal:
        raise UserError(
            f"{describe_model(model)} is not causal: other tokens to the right change activations "
            f"by {basics.causal:.2g}; a model of this kind needs is_decoder=true in its config.json"
        )


@torch.inference_mode()
def require_lens(model: PreTrainedModel) -> None:
    """Refuse a logit lens through a model whose head does not read norm(last resid_post).

    Raises:
        NotApplicable: The head reads something else.
    """
    modules = {"layer": get_layers(model)[-1], "head": get_head(model)}
    recorded = record_pass(model, modules, random_ids(model, N_IDS), with_head=True)
    last = recorded.outputs["layer"]
    if last.shape[-1] == get_hidden_size(model):
        last = get_final_norm(model)(last)
    head_input = recorded.inputs["head"]
    is_equal = last.shape == head_input.shape and (
        measure_relative_error(last, head_input) <= get_rounding_tolerance(model.dtype)
    )
    if not is_equal:
        raise NotApplicable(
            f"the logit lens does not fit {describe_model(model)}: "
            "its head does not read the last layer's norm"
        )


@torch.inference_mode()
def measure_logits(model: PreTrainedModel) -> float:
    """Measure the relative error of `get_logits` once per model; later calls return the same."""
    if model not in _logit_errors:
        _logit_errors[model] = _measure_logit_error(model)
    return _logit_errors[model]


def require_logits(model: PreTrainedModel) -> None:
    """Refuse to score with a model whose logits are not `get_logits` of its final hidden states.

    Raises:
        NotApplicable: With the error that was measured.
    """
    error = measure_logits(model)
    if error > get_rounding_tolerance(model.dtype):
        raise NotApplicable(
            f"{describe_model(model)} cannot be scored: its logits differ from those of its final "
            f"hidden states by {error:.2g} of their size"
        )


def _measure_logit_error(model: PreTrainedModel) -> float:
    ids = random_ids(model, N_IDS)[None].to(model.device)
    own = model(input_ids=ids, use_cache=False).logits.float()  # pyright: ignore
    final = run_decoder(model, ids, torch.arange(N_IDS, device=model.device)[None])
    try:
        computed = get_logits(model, final)
    except RuntimeError:  # a head that reads another width
        return float("inf")
    if computed.shape != own.shape:
        return float("inf")
    return measure_relative_error(computed.log_softmax(-1), own.log_softmax(-1))
