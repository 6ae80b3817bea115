"""Latents of an SAE of the difference of two models' activations.

    f(x) = σ(W_enc x_Δ + b_enc)      x_Δ = x_chat − x_base
    x̂_Δ  = W_dec f + b_dec

Aranguri, Drori & Nanda 2025, "SAE on activation differences". It is trained by the recipe of the
crosscoder, on the same tokens, with as many latents. Its latents are ranked by the energy that they
write, E[f_j²] ‖d_j‖², as the crosscoder's are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch.nn.functional import normalize

from crosscoder.analysis.base import encode_store
from crosscoder.core.model import Crosscoder
from crosscoder.core.types import PerLatent
from crosscoder.data import Store
from crosscoder.evals.context import EvalContext
from crosscoder.evals.diffing.evidence import MAX_PIECES, LatentPiece
from crosscoder.evals.diffing.material import Material
from crosscoder.evals.support.auxiliary import train_auxiliary
from crosscoder.evals.support.kept import is_kept
from crosscoder.values import require_types

NAME = "difference_sae"  # of its folder


@dataclass(frozen=True)
class DifferenceSAE:
    """The latents of an SAE of the difference that write most energy.

    Args:
        train_tokens: Tokens to train on; None: as many as the crosscoder.
    """

    train_tokens: int | None = None
    uses_labels: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require_types("the SAE of the difference", self)

    def find_evidence(self, material: Material) -> list[LatentPiece]:
        """Return the first latents."""
        context = material.context
        sae = self._train(material)
        energy = measure_energy(sae, context.heldout)
        pieces = []
        for latent in energy.argsort(descending=True, stable=True)[:MAX_PIECES].tolist():
            if energy[latent] > 0:
                direction = normalize(sae.W_dec[latent].detach().float(), dim=0)
                pieces.append(LatentPiece(latent, float(energy[latent]), sae, direction))
        return pieces

    def _train(self, material: Material) -> Crosscoder:
        context = material.context
        first, second = material.diff_pair
        difference = context.crosscoder.sources.subset([f"{first}-{second}"])
        return train_auxiliary(
            context,
            context.open_stores(),
            NAME,
            context.seed,
            difference,
            train_tokens=self.train_tokens,
        )

    def count_training_tokens(self, context: EvalContext, own_tokens: int) -> Sequence[int]:
        """Return the number of training tokens, unless it was trained before."""
        if is_kept(context, NAME, context.seed, train_tokens=self.train_tokens):
            return []
        return [self.train_tokens or own_tokens]


@torch.no_grad()
def measure_energy(sae: Crosscoder, store: Store) -> PerLatent:
    """Return E[f_j²] ‖d_j‖² of every latent on the tokens of a store."""
    squares = torch.zeros(sae.n_latents, dtype=torch.float64)
    n_tokens = 0
    for batch in encode_store(sae, store):
        latents = batch.code.index.latents.cpu()
        squares.index_add_(0, latents, batch.code.values.double().square().cpu())
        n_tokens += len(batch)
    return squares / n_tokens * sae.W_dec.detach().double().square().sum(-1).cpu()
