"""Interventions: functions from activations to activations of all sources, run by `Pair.edit`.

The activations of all sources go in side by side, and all of them come out. The edited model uses
those of its own sources:

    with pair.edit("chat", ablate(crosscoder, latents=[457, 2864])) as chat:
        chat.generate(…)
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from crosscoder.core.inputs import require_acts
from crosscoder.core.model import Crosscoder
from crosscoder.core.sources import Sources
from crosscoder.core.types import Acts
from crosscoder.errors import UserError


@dataclass(frozen=True)
class Intervention:
    """New activations [n, d_total] of all sources, computed from clean ones.

    Args:
        name: Name in tables.
        sources: The sources, in the order of their columns.
        change: Function from clean activations to new ones.
        complete: Function from one source's activations [n, d_source] and its name to activations
            of all sources, with stand-ins for the others; used in mode `solo`.
        is_local: True if the new activations of a source depend on that source alone; the other
            sources are then not read.
    """

    name: str
    sources: Sources
    change: Callable[[Acts], Acts]
    complete: Callable[[Tensor, str], Acts]
    is_local: bool = False

    def __repr__(self) -> str:
        return f"Intervention({self.name!r} on {self.sources.describe()})"

    @torch.no_grad()
    def __call__(self, acts: Acts) -> Acts:
        require_acts(acts, self.sources)
        return self.change(acts)


def require_crosscoder(crosscoder: Any) -> None:
    """Refuse anything but a crosscoder."""
    if not isinstance(crosscoder, Crosscoder):
        raise UserError(
            "an intervention needs a Crosscoder, e.g. Crosscoder.from_pretrained(path), "
            f"not {type(crosscoder).__name__}"
        )


def intervene_on_code(
    name: str, crosscoder: Crosscoder, change: Callable[[Acts], Acts]
) -> Intervention:
    """Make an intervention that needs the code, and therefore all sources.

    The crosscoder may be on another device than the activations.
    """
    require_crosscoder(crosscoder)
    if not crosscoder.folded:
        raise UserError(
            "an intervention acts on raw activations: fold the crosscoder, or load a saved one"
        )

    def change_there(acts: Acts) -> Acts:
        return change(acts.to(crosscoder.W_enc.device)).to(acts.device)

    def complete(acts: Tensor, source: str) -> Acts:
        return crosscoder.complete(acts.to(crosscoder.W_enc.device), source)

    return Intervention(name, crosscoder.sources, change_there, complete)


def intervene_per_source(
    name: str, sources: Sources, change: Callable[[Acts], Acts]
) -> Intervention:
    """Make an intervention that treats each source separately."""

    def refuse(acts: Tensor, source: str) -> Acts:
        raise UserError(f"'{name}' treats each source separately: it needs no stand-ins")

    return Intervention(name, sources, change, refuse, is_local=True)
