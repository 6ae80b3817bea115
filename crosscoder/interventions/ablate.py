"""Ablate or scale latents, in every source at once.

    x'_s = x_s + Σ_{j∈S} (g − 1) f_j d_j^s        keep_error: only the latents' contribution changes
    x'_s = Σ_j g_j f_j d_j^s + b_s               otherwise: the reconstruction error is removed, too

g = 0 ablates. The second form includes the effect of splicing in the reconstruction, so it must be
compared with that.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from crosscoder.core.intervention import Intervention, intervene_on_code
from crosscoder.core.model import Crosscoder
from crosscoder.core.sparse import Code, DenseCode
from crosscoder.core.types import Acts
from crosscoder.interventions.latents import Latents, format_count, parse_latents
from crosscoder.values import require_flag, require_number


def ablate(crosscoder: Crosscoder, latents: Latents, keep_error: bool = True) -> Intervention:
    """Set these latents to zero."""
    return scale_latents(crosscoder, latents, 0.0, keep_error)


def scale_latents(
    crosscoder: Crosscoder, latents: Latents, factor: float, keep_error: bool = True
) -> Intervention:
    """Multiply these latents by a factor."""
    require_number("factor", factor)
    require_flag("keep_error", keep_error)
    chosen = parse_latents(crosscoder, latents)

    def change(acts: Acts) -> Acts:
        code = crosscoder.encode(acts)
        moved = (factor - 1) * decode_latents(crosscoder, code, chosen)
        unchanged = acts if keep_error else crosscoder.decode(code)
        return unchanged + moved

    verb = "ablate" if factor == 0 else f"scale × {factor:g}"
    return intervene_on_code(f"{verb} {format_count(len(chosen))}", crosscoder, change)


def scale_each(
    crosscoder: Crosscoder, factors: Mapping[int, float], keep_error: bool = True
) -> Intervention:
    """Multiply each of these latents by a factor of its own, e.g. {12: 0.0, 40: 2.0}.

    Args:
        crosscoder: Crosscoder that has the latents.
        factors: Factor g by latent: 0 ablates it, 1 leaves it unchanged, -1 reverses it.
        keep_error: Whether the reconstruction error stays (see above).
    """
    require_flag("keep_error", keep_error)
    for factor in factors.values():
        require_number("factor", factor)
    chosen = parse_latents(crosscoder, list(factors))
    gains = torch.tensor(list(factors.values()), dtype=crosscoder.W_dec.dtype) - 1
    gains = gains.to(crosscoder.W_dec.device)

    def change(acts: Acts) -> Acts:
        code = crosscoder.encode(acts)
        moved = (gains * select_values(code, chosen)) @ crosscoder.W_dec[chosen]
        unchanged = acts if keep_error else crosscoder.decode(code)
        return unchanged + moved

    name = f"scale {format_count(len(chosen))} by their factors"
    return intervene_on_code(name, crosscoder, change)


def steer_toward_base(
    crosscoder: Crosscoder, latents: Latents, strength: float, keep_error: bool = True
) -> Intervention:
    """Multiply chat-specific latents by 1 − strength: 0 changes nothing, 1 ablates them."""
    require_number("strength", strength)
    return scale_latents(crosscoder, latents, 1 - strength, keep_error)


def decode_latents(
    crosscoder: Crosscoder, code: Code, latents: Tensor, decoder: Tensor | None = None
) -> Acts:
    """Return the contribution of some latents, Σ_{j∈S} f_j d_j, [batch, width of the decoder]."""
    if decoder is None:
        decoder = crosscoder.W_dec
    return select_values(code, latents) @ decoder[latents]


def select_values(code: Code, latents: Tensor) -> Tensor:
    """Return f of some latents, [batch, len(latents)]."""
    if isinstance(code, DenseCode):
        return code.f[:, latents]
    column_of = latents.new_full((code.n_latents,), -1)
    column_of[latents] = torch.arange(len(latents), dtype=latents.dtype, device=latents.device)
    column = column_of[code.index.latents]
    is_chosen = column >= 0
    f = code.values.new_zeros(len(code), len(latents))
    entries = (code.index.rows[is_chosen], column[is_chosen])
    return f.index_put(entries, code.values[is_chosen])
