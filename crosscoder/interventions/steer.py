"""Add a direction to activations, or project it out.

    steer     x'_s = x_s + α · median‖x_s‖ · u     u a unit direction, α in units of the median norm
    project   x'_s = x_s − ⟨x_s − c, v⟩ v          v a unit direction, c the vector whose projection
                                                   is kept, e.g. a class's mean

The direction of a latent is its decoder of the *first compared source* (chat). This holds when the
base model is steered, too, as its own decoder may be ≈ 0.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from crosscoder.core.intervention import Intervention, intervene_per_source, require_crosscoder
from crosscoder.core.model import Crosscoder
from crosscoder.core.reading import Reading
from crosscoder.core.sources import Sources
from crosscoder.core.types import Acts
from crosscoder.errors import UserError
from crosscoder.interventions.latents import Latents, parse_latents
from crosscoder.values import require_number

Direction = Float[Tensor, "d_source"]


def steer(
    crosscoder: Crosscoder,
    along: Latents | Direction,
    strength: float,
    norms: Mapping[str, float] | None = None,
    weights: Sequence[float] | None = None,
) -> Intervention:
    """Add `strength` · median norm · unit direction to every source.

    Args:
        crosscoder: Crosscoder whose sources are steered.
        along: Latents by index (see `combine_decoders`), or any vector [d_source].
        strength: Step in units of the median residual norm; negative values steer away.
        norms: Median ‖x‖ by source name; None takes those of the held-out tokens, which a
            crosscoder trained here stores.
        weights: Weights of the latents, 1 by default.
    """
    require_crosscoder(crosscoder)
    require_number("strength", strength)
    if isinstance(along, Tensor) and along.is_floating_point():
        unit = _normalize(along)
    else:
        unit = combine_decoders(crosscoder, along, weights)  # type: ignore[arg-type]
    norms = norms or crosscoder.provenance.get("median_norms")
    if norms is None:
        raise UserError(
            "this crosscoder does not store the median norms of activations: "
            "pass norms, see `compute_median_norms`"
        )
    _require_vectors(crosscoder.sources, norms, "norm")
    for name, norm in norms.items():
        require_number(f"norm of source '{name}'", norm, above=0)
    steps = {name: strength * norm * unit for name, norm in norms.items()}
    offset = _concatenate(crosscoder.sources, steps)

    def change(acts: Acts) -> Acts:
        return acts + offset.to(acts)

    return intervene_per_source(f"steer {strength:+g}", crosscoder.sources, change)


def combine_decoders(
    crosscoder: Crosscoder, latents: Latents, weights: Sequence[float] | None = None
) -> Direction:
    """Return the unit vector along Σ_j w_j d_j^chat; all weights are 1 by default."""
    chosen = parse_latents(crosscoder, latents)
    w = torch.ones(len(chosen)) if weights is None else _parse_weights(weights, len(chosen))
    source = crosscoder.sources.primary
    total = w.to(crosscoder.W_dec) @ crosscoder.decoder(source)[chosen].detach()
    if not total.norm() > 0:
        raise UserError("the decoders of these latents add up to zero: choose other latents")
    return normalize(total, dim=0)


def _parse_weights(weights: Any, n_latents: int) -> Tensor:
    """Return one weight per latent as a tensor."""
    numbers = weights.tolist() if hasattr(weights, "tolist") else weights
    if not isinstance(numbers, Sequence) or isinstance(numbers, str):
        raise UserError(f"weights are a list of numbers, one per latent, not {weights!r:.80}")
    for number in numbers:
        require_number("weight of a latent", number)
    if len(numbers) != n_latents:
        raise UserError(
            f"expected one weight per latent, found {len(numbers)} weights for {n_latents} latents"
        )
    return torch.as_tensor(numbers, dtype=torch.float32)


def project_out(
    sources: Sources, directions: Mapping[str, Tensor], to: Mapping[str, Tensor]
) -> Intervention:
    """Move every activation along a direction until its projection is that of `to`.

    Args:
        sources: The sources to change.
        directions: Direction [d_source] by source name.
        to: Vector [d_source] by source name, whose projection the new activations have.
    """
    _require_vectors(sources, directions, "direction")
    _require_vectors(sources, to, "vector")
    units = {name: _normalize(directions[name]) for name in sources.names}

    def change(acts: Acts) -> Acts:
        columns = []
        for name, x in sources.split(acts).items():
            columns.append(_project(x, units[name].to(x), to[name].to(x)))
        return torch.cat(columns, dim=-1)

    return intervene_per_source("project out a direction", sources, change)


def compute_median_norms(reading: Reading) -> dict[str, float]:
    """Return the median ‖x‖ of a reading's content tokens, by source name.

    It is the unit in which the strength of steering is given.
    """
    is_content = reading.tokens.is_content
    norms = {}
    for name in reading.sources.names:
        norms[name] = reading[name][is_content].float().norm(dim=-1).median().item()
    return norms


def _project(x: Tensor, v: Tensor, c: Tensor) -> Tensor:
    return x - ((x - c) @ v)[:, None] * v


def _normalize(direction: Direction) -> Direction:
    is_vector = isinstance(direction, Tensor) and direction.dim() == 1
    if not is_vector or not direction.norm() > 0 or not direction.isfinite().all():
        raise UserError("expected a direction: one vector of finite numbers that is not zero")
    return normalize(direction.float(), dim=0)


def _concatenate(sources: Sources, vectors: Mapping[str, Tensor]) -> Tensor:
    """Concatenate one vector per source to [d_total]."""
    for source in sources:
        width = len(vectors[source.name])
        if width != source.width:
            raise UserError(
                f"source '{source.name}' has width {source.width}, the direction {width}"
            )
    return torch.cat([vectors[name] for name in sources.names])


def _require_vectors(sources: Sources, found: Any, what: str) -> None:
    """Refuse anything but one entry per source, and entries for sources that do not exist."""
    if not isinstance(found, Mapping):
        raise UserError(f"expected one {what} by source name, a dict, not {found!r:.80}")
    names = ", ".join(map(str, found)) or "none"
    for name in sources.names:
        if name not in found:
            raise UserError(f"no {what} for source '{name}': there is one for {names}")
