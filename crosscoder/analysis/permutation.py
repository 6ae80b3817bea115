"""Paired sign-flip permutation test of many latents at once, and Holm's correction.

Under the null hypothesis that framing does not matter, the sign of each pair's difference d_i is
random:

    p = (1 + #{s : |Σ_i s_i d_i| ≥ |Σ_i d_i|}) / (1 + permutations)          s_i = ±1 at random

The observed signs count as one of the permutations; otherwise p could be 0 (Phipson & Smyth 2010).
Holm 1979 orders the m p-values: p̃_(i) = max_{j ≤ i} min(1, (m − j + 1) p_(j)). Rejecting where p̃
≤ α keeps the probability of any false rejection below α.
"""

import torch
from jaxtyping import Float
from torch import Tensor

MAX_SUMS = 2**22  # sums in memory together
# sums this close, relative to Σ|d_i|, are equal: they differ by the order of addition
TIE_TOLERANCE = 1e-10


def sign_flip_test(
    differences: Float[Tensor, "pairs n_latents"], permutations: int = 100_000, seed: int = 0
) -> Float[Tensor, "n_latents"]:
    """Return the two-sided p-value of each latent.

    Args:
        differences: Difference d_i of every pair, for each latent.
        permutations: Number of random sign patterns.
        seed: Random seed of the signs.
    """
    # All latents see the same signs, so the sums are one matrix product. For 128 pairs and 200
    # latents this is about 30 times as fast as scipy.stats.permutation_test, which draws signs
    # for each latent.
    d = differences.double()
    threshold = d.sum(0).abs() - TIE_TOLERANCE * d.abs().sum(0)
    generator = torch.Generator().manual_seed(seed)
    n_exceeding = torch.zeros(d.shape[1], dtype=torch.int64)
    chunk = max(1, MAX_SUMS // max(d.shape[1], 1))
    for start in range(0, permutations, chunk):
        shape = (min(chunk, permutations - start), len(d))
        signs = 2.0 * torch.randint(2, shape, generator=generator).double() - 1
        n_exceeding += ((signs @ d).abs_() >= threshold).sum(0)
    return (1 + n_exceeding).double() / (1 + permutations)


def adjust_holm(p: Float[Tensor, "n_latents"]) -> Float[Tensor, "n_latents"]:
    """Return p-values adjusted for their number, in the same order."""
    ordered, order = p.double().sort()
    factors = torch.arange(len(p), 0, -1, dtype=torch.float64)
    adjusted = torch.empty_like(ordered)
    adjusted[order] = (factors * ordered).clamp(max=1).cummax(0).values
    return adjusted
