"""Paired sign-flip permutation test of many latents at once, and Holm's correction for their number.

Under the null hypothesis that framing does not matter, each pair's difference d_i may as well have the other sign:

    p = (1 + #{s : |Σ_i s_i d_i| ≥ |Σ_i d_i|}) / (1 + permutations)          s_i = ±1 at random

The observed signs count as one of the permutations, without which p could be 0 (Phipson & Smyth 2010). Holm 1979 orders
the m p-values: p̃_(i) = max_{j ≤ i} min(1, (m − j + 1) p_(j)). Calling what has p̃ ≤ α keeps the chance of any false call below α.
"""

import torch
from jaxtyping import Float
from torch import Tensor

MEMORY = 2**22  # sums in memory together
TIE = 1e-10  # sums this close, relative to Σ|d_i|, are equal: they differ by the order of addition


def sign_flip(
    differences: Float[Tensor, "pairs n_latents"], permutations: int = 100_000, seed: int = 0
) -> Float[Tensor, "n_latents"]:
    """Two-sided p-value per latent; all latents see the same random signs."""
    d = differences.double()
    needed = d.sum(0).abs() - TIE * d.abs().sum(0)
    generator = torch.Generator().manual_seed(seed)
    exceeding = torch.zeros(d.shape[1], dtype=torch.int64)
    at_a_time = max(1, MEMORY // max(d.shape[1], 1))
    for start in range(0, permutations, at_a_time):
        shape = (min(at_a_time, permutations - start), len(d))
        signs = 2.0 * torch.randint(2, shape, generator=generator).double() - 1
        exceeding += ((signs @ d).abs_() >= needed).sum(0)
    return (1 + exceeding).double() / (1 + permutations)


def holm(p: Float[Tensor, "n_latents"]) -> Float[Tensor, "n_latents"]:
    """Adjusted p-values, in the order given."""
    ordered, order = p.double().sort()
    factors = torch.arange(len(p), 0, -1, dtype=torch.float64)
    adjusted = torch.empty_like(ordered)
    adjusted[order] = (factors * ordered).clamp(max=1).cummax(0).values
    return adjusted
