"""Patch: give one model the other's activation, as far as some latents explain the difference.

    h_S     = h_base + Σ_{j∈S} f_j (d_j^chat − d_j^base)        Minder, Dumas et al. 2025, causality
    all     = h_base + Σ_j f_j (d_j^chat − d_j^base) + (b_chat − b_base)
    error   = h_base + (e_chat − e_base),   e_s = x_s − x̂_s     the part that no latent explains
    true    = h_base + (h_chat − h_base)                        chat's own activation

`all` and `error` together are `true`. The patched activation continues in the chat model (`patch`)
or in the base model (`patch_base`). Both sources must have one width.
"""

from collections.abc import Callable
from typing import Literal

from torch import Tensor

from crosscoder.core.intervention import Intervention, intervene_on_code, require_crosscoder
from crosscoder.core.model import Crosscoder
from crosscoder.core.types import Acts
from crosscoder.errors import UserError
from crosscoder.interventions.ablate import decode_latents
from crosscoder.interventions.latents import Latents, format_count, parse_latents

WITHOUT_INDICES = ("none", "all", "error", "true")
Patched = Latents | Literal["none", "all", "error", "true"]


def patch(crosscoder: Crosscoder, latents: Patched) -> Intervention:
    """Replace the first compared source (chat) by the second (base) plus some latents.

    Args:
        crosscoder: Folded crosscoder with two compared sources of one width.
        latents: Latents by index, or `none`, `all`, `error` or `true` (see above).

    Raises:
        UserError: There are no compared sources, their widths differ, or `latents` is unknown.
    """
    chat, _ = _compared_slices(crosscoder)
    return _put_patched(crosscoder, latents, chat, "patch")


def patch_base(crosscoder: Crosscoder, latents: Patched) -> Intervention:
    """Add the difference that some latents explain to the second compared source (base).

    Arguments and errors are those of `patch`.
    """
    _, base = _compared_slices(crosscoder)
    return _put_patched(crosscoder, latents, base, "patch base with")


def _put_patched(
    crosscoder: Crosscoder, latents: Patched, columns: slice, verb: str
) -> Intervention:
    """Make an intervention that puts the patched activation into these columns."""
    if isinstance(latents, str):
        compute = _patch_by_name(crosscoder, latents)
        name = f"{verb} {latents}"
    else:
        chosen = parse_latents(crosscoder, latents)
        compute = _patch_by_latents(crosscoder, chosen)
        name = f"{verb} {format_count(len(chosen))}"

    def change(acts: Acts) -> Acts:
        new = acts.clone()
        new[:, columns] = compute(acts)
        return new

    return intervene_on_code(name, crosscoder, change)


def _patch_by_name(crosscoder: Crosscoder, name: str) -> Callable[[Acts], Tensor]:
    """Return the function from activations [n, d_total] to a patch that has a name."""
    if name not in WITHOUT_INDICES:
        raise UserError(
            f"expected latents by index, or 'none', 'all', 'error' or 'true', found '{name}'"
        )
    chat, base = _compared_slices(crosscoder)

    def compute(acts: Acts) -> Tensor:
        if name == "none":
            return acts[:, base]
        if name == "true":
            return acts[:, chat]
        recon = crosscoder.decode(crosscoder.encode(acts))
        explained = recon[:, chat] - recon[:, base]
        if name == "all":
            return acts[:, base] + explained
        return acts[:, base] + (acts[:, chat] - acts[:, base] - explained)

    return compute


def _patch_by_latents(crosscoder: Crosscoder, chosen: Tensor) -> Callable[[Acts], Tensor]:
    """Return the function from activations [n, d_total] to the patch h_S of these latents."""
    chat, base = _compared_slices(crosscoder)
    W_difference = crosscoder.W_dec[:, chat] - crosscoder.W_dec[:, base]

    def compute(acts: Acts) -> Tensor:
        code = crosscoder.encode(acts)
        return acts[:, base] + decode_latents(crosscoder, code, chosen, W_difference)

    return compute


def _compared_slices(crosscoder: Crosscoder) -> tuple[slice, slice]:
    """Return the columns of the two compared sources, which must have one width."""
    require_crosscoder(crosscoder)
    sources = crosscoder.sources
    if sources.diff_pair is None:
        raise UserError(
            f"patching needs two compared sources (diff_pair); there is only {sources.describe()}"
        )
    first = sources.slice(sources.diff_pair[0])
    second = sources.slice(sources.diff_pair[1])
    if crosscoder.W_dec[0, first].shape != crosscoder.W_dec[0, second].shape:
        raise UserError(f"patching needs sources of one width, found {sources.describe()}")
    return first, second
