"""Principal components of the difference of two models' activations.

    C = E[(x_Δ − E x_Δ)(x_Δ − E x_Δ)ᵀ],      x_Δ = x_chat − x_base

The directions are the eigenvectors of C with the largest eigenvalues, over all held-out tokens. The
difference is centred, so its mean, which every token shares, is no component. With
`is_centred=False` the mean is not subtracted. An eigenvector has no sign of its own: it points to
where the projections have the longer tail (a positive third central moment).
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from crosscoder.evals.diffing.evidence import MAX_PIECES, DirectionPiece
from crosscoder.evals.diffing.material import Material
from crosscoder.values import require_flag, require_whole


@dataclass(frozen=True)
class DifferencePCA:
    """The first principal components of chat − base.

    Args:
        n_components: Number of components.
        is_centred: Whether the mean difference is subtracted.
    """

    n_components: int = MAX_PIECES
    is_centred: bool = True
    uses_labels: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require_whole("n_components of the PCA", self.n_components, most=MAX_PIECES)
        require_flag("is_centred of the PCA", self.is_centred)

    def find_evidence(self, material: Material) -> list[DirectionPiece]:
        """Return the components; the weight of one is its fraction of the variance."""
        differences = torch.cat([chat - base for chat, base in material.iter_pairs()])
        fractions, components = compute_components(differences, self.is_centred)
        pieces = []
        for number, component in enumerate(components[: self.n_components]):
            weight = float(fractions[number])
            if weight > 0:
                name = f"component {number + 1}"
                pieces.append(DirectionPiece.from_vector(name, weight, component, "difference"))
        return pieces


def compute_components(
    x: Float[Tensor, "batch d_source"], is_centred: bool = True
) -> tuple[Float[Tensor, "d_source"], Float[Tensor, "d_source d_source"]]:
    """Return each component's fraction of the variance and the components, the largest first.

    Args:
        x: The differences.
        is_centred: Whether their mean is subtracted. Otherwise the variance is around 0.

    Returns:
        Fractions, all 0 if nothing varies, and unit vectors, one per row.
    """
    x = x.double()
    centred = x - x.mean(0)
    of = centred if is_centred else x
    values, vectors = torch.linalg.eigh(of.T @ of / len(x))
    values = values.flip(0).clamp(min=0)
    components = vectors.T.flip(0)
    skew = (centred @ components.T).pow(3).mean(0)
    components = torch.where(skew[:, None] < 0, -components, components)
    total = values.sum()
    fractions = values / total if total > 0 else values
    return fractions.float(), components.float()
