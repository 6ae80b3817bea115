"""Splice: replace an activation, for example by its reconstruction, zero or the mean."""

import torch
from torch import Tensor

from crosscoder.core.intervention import Intervention, intervene_on_code
from crosscoder.core.model import Crosscoder
from crosscoder.core.types import Acts
from crosscoder.lm.hooks import Edit


@torch.no_grad()
def reconstruct(crosscoder: Crosscoder, acts: Acts) -> dict[str, Tensor]:
    """Return each source's reconstruction [batch, d_source] of raw activations [batch, d_total].

    The activations may be on another device; the reconstruction is on the crosscoder's.
    """
    code = crosscoder.encode(acts.to(crosscoder.W_enc.device))
    return crosscoder.sources.split(crosscoder.decode(code))


def splice(crosscoder: Crosscoder) -> Intervention:
    """Replace every source's activation by its reconstruction.

    Ablation without `keep_error` has this effect in addition to its own.
    """

    def change(acts: Acts) -> Acts:
        return crosscoder.decode(crosscoder.encode(acts))

    return intervene_on_code("splice", crosscoder, change)


def replace_at(new: Tensor, where: Tensor) -> Edit:
    """Return an edit that replaces activations at some positions.

    Args:
        new: The new activations, [batch, sequence, d].
        where: True at the positions to replace, [batch, sequence].
    """

    def edit(acts: Tensor) -> Tensor:
        return torch.where(where[..., None], new.to(acts), acts)

    return edit
