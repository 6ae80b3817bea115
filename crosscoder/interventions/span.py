"""Remove several directions at once from one source, or what an SAE of the difference explains.

    project    x' = x − Vᵀ V (x − c)           V an orthonormal basis of the directions, as rows
    ablate     x'_chat = x_chat − Σ_{j∈S} f_j d_j         f the code of x_chat − x_base

c is the vector whose projections the new activations have. With c = 0 a direction along which all
activations have a large mean would lose that mean, and the model would break for a reason that has
nothing to do with what the direction carries.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from crosscoder.core.intervention import Intervention, intervene_per_source
from crosscoder.core.model import Crosscoder
from crosscoder.core.sources import Sources
from crosscoder.core.types import Acts
from crosscoder.errors import UserError
from crosscoder.interventions.ablate import decode_latents
from crosscoder.interventions.latents import Latents, format_count, parse_latents

RANK_TOLERANCE = 1e-5  # of the largest singular value


def project_out_span(
    sources: Sources,
    source: str,
    directions: Float[Tensor, "n d_source"],
    to: Float[Tensor, "d_source"],
) -> Intervention:
    """Move one source's activations until their projections on some directions are those of `to`.

    Args:
        sources: All sources.
        source: The source that is changed.
        directions: The directions, of any length and angle.
        to: The vector whose projections the new activations have.
    """
    basis = find_basis(directions)
    columns = sources.slice(source)

    def change(acts: Acts) -> Acts:
        new = acts.clone()
        x = acts[:, columns]
        rows = basis.to(x)
        new[:, columns] = x - (x - to.to(x)) @ rows.T @ rows
        return new

    return intervene_per_source(f"project out {len(basis)} directions", sources, change)


def find_basis(directions: Float[Tensor, "n d_source"]) -> Float[Tensor, "rank d_source"]:
    """Return an orthonormal basis of what some directions span.

    Raises:
        UserError: They are all zero, or not finite.
    """
    if not directions.isfinite().all() or not directions.any():
        raise UserError("expected directions: finite vectors that are not all zero")
    _, sizes, rows = torch.linalg.svd(directions.double(), full_matrices=False)
    return rows[sizes > RANK_TOLERANCE * sizes[0]].float()


def ablate_in_difference(sources: Sources, sae: Crosscoder, latents: Latents) -> Intervention:
    """Remove from the first compared source what latents of an SAE of the difference write.

    Args:
        sources: All sources.
        sae: Folded SAE of the difference of the two compared sources.
        latents: Its latents by index.

    Raises:
        UserError: The SAE reads another source than that difference.
    """
    first, second = sources.require_comparable("ablation in the difference")
    expected = (f"{first}-{second}",)
    if sae.sources.names != expected:
        raise UserError(
            f"expected an SAE of {expected[0]}, found a crosscoder of {sae.sources.describe()}"
        )
    chosen = parse_latents(sae, latents)
    columns = sources.slice(first)

    def change(acts: Acts) -> Acts:
        streams = sources.split(acts)
        code = sae.encode((streams[first] - streams[second]).to(sae.W_enc.device))
        new = acts.clone()
        new[:, columns] = streams[first] - decode_latents(sae, code, chosen).to(acts)
        return new

    def refuse(acts: Tensor, source: str) -> Acts:
        raise UserError("an SAE of the difference cannot be read from one model alone")

    name = f"ablate {format_count(len(chosen))} of the difference"
    return Intervention(name, sources, change, refuse)
