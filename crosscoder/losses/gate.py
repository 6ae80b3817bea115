"""What the gates of gated latents learn from. Rajamanoharan et al. 2024, "Improving Dictionary Learning with Gated SAEs".

    λ E_t Σ_j relu(π_tj) Σ_s ‖d_j^s‖  +  E_t ‖x_t − W_dec relu(π_t) − b_dec‖²

The first makes gates close; the second, in which decoders are held fixed, makes them open where a latent is of use.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from crosscoder.losses.base import LossInput, ramp


@dataclass(frozen=True)
class Gate:
    """See the module's docstring; λ is `sparsity`, which rises linearly from 0 over the first `warmup` of the run."""

    penalises: ClassVar[bool] = True
    needs: ClassVar[str] = "gates"
    weight: float = 1.0
    sparsity: float = 1.0
    warmup: float = 0.05

    def __call__(self, given: LossInput) -> Tensor:
        crosscoder, gates = given.crosscoder, given.every_pre.relu().to(given.acts)
        norms = given.penalised(crosscoder.decoder_norms().sum(0).detach())
        recon = gates @ crosscoder.W_dec.detach() + crosscoder.b_dec.detach()
        sparsity = ramp(given.progress, self.warmup) * self.sparsity
        return given.mean(sparsity * (gates @ norms) + (given.acts - recon).square().sum(-1))
