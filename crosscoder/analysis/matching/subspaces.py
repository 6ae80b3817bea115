"""Principal angles between the subspaces that two sets of directions span.

    span of rows A [n, d]       first r right singular vectors V_A of the rows at unit length, with
                                the smallest r such that Σ_{i≤r} σ_i² ≥ energy · Σ_i σ_i²
    principal angles            cos θ_i = σ_i(V_Aᵀ V_B), i = 1 … min(r_A, r_B)
    overlap                     mean_i cos² θ_i: 1 if one subspace contains the other, 0 if they are
                                orthogonal
    overlap by chance           max(r_A, r_B) / d, the mean for random subspaces, because
                                E ‖V_Aᵀ V_B‖² = r_A r_B / d

Björck & Golub 1973, "Numerical Methods for Computing Angles Between Linear Subspaces". Hundreds of
directions with some noise span the whole space. The fraction of their energy that is asked for
leaves the noise out.

Random subspaces are a weak comparison. Activations fill few dimensions, so that any two sets of
latents overlap far more than by chance. Compare with the overlap of other latents as well.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

Span = Float[Tensor, "dimensions d_total"]
OtherSpan = Float[Tensor, "other_dimensions d_total"]

# of the largest eigenvalue; smaller ones are rounding
SMALLEST_EIGENVALUE = 1e-10


@torch.no_grad()
def find_span(directions: Float[Tensor, "n d_total"], energy: float) -> Span:
    """Return an orthonormal basis of what directions span, the strongest dimension first.

    Args:
        directions: Directions as rows; their lengths do not matter.
        energy: Fraction of the directions' energy that is in the subspace, above 0 up to 1.
    """
    rows = normalize(directions.double(), dim=-1)
    is_wide = rows.shape[0] < rows.shape[1]
    # the eigenvalues of the smaller one of rows·rowsᵀ and rowsᵀ·rows are the σ²
    gram = rows @ rows.T if is_wide else rows.T @ rows
    eigenvalues, vectors = (part.flip(-1) for part in torch.linalg.eigh(gram))
    kept = eigenvalues > SMALLEST_EIGENVALUE * eigenvalues[0]
    fraction = eigenvalues[kept].cumsum(0) / eigenvalues[kept].sum()
    r = min(int((fraction < energy).sum()) + 1, len(fraction))
    basis = vectors[:, :r].T
    return normalize(basis @ rows, dim=-1) if is_wide else basis


@torch.no_grad()
def compute_cosines(one: Span, other: OtherSpan) -> Float[np.ndarray, "angles"]:
    """Return the cosines of the principal angles between two subspaces, the largest first."""
    return torch.linalg.svdvals(one @ other.T).clamp(max=1).cpu().numpy()


def compute_overlap(one: Span, other: OtherSpan) -> float:
    """Return the mean squared cosine of the principal angles."""
    return float((compute_cosines(one, other) ** 2).mean())


def compute_chance(one: Span, other: OtherSpan) -> float:
    """Return the mean overlap of random subspaces of the same dimensions."""
    return max(len(one), len(other)) / one.shape[1]
