"""Which features of a planted world are on: each at its own rate, by itself, together with others, or only where another is.

    on_i  ⇔  √(1 − ρ) ε_i + √ρ ⟨z, w_i⟩ < Φ⁻¹(p_i)        z, ε standard normal, w_i a random unit vector over the factors

is a Gaussian copula: however features go together, feature i is on at rate p_i. A child is on with probability p_i / p_parent
where its parent is on, and nowhere else: at rate p_i, too.
"""

import torch
from torch import Generator, Tensor
from torch.nn.functional import normalize


def fires(
    n: int, rates: Tensor, correlation: float, factors: int, children: float, generator: Generator, seed: int
) -> Tensor:
    """[n, features] bool.

    Args:
        n: tokens.
        rates: p, [features].
        correlation: ρ, from 0 to 1.
        factors: length of z.
        children: share of the features that are children.
        generator: of the tokens.
        seed: of the world: which features go together.
    """
    if not correlation and not children:
        return torch.rand(n, len(rates), generator=generator) < rates
    world = Generator().manual_seed(seed + 2000)
    weights = normalize(torch.randn(factors, len(rates), generator=world), dim=0)
    z = torch.randn(n, factors, generator=generator)
    score = (1 - correlation) ** 0.5 * torch.randn(n, len(rates), generator=generator) + correlation**0.5 * (
        z @ weights
    )
    chance = torch.special.ndtr(score)  # uniform, however correlated
    on = chance < rates
    for child, parent in zip(*families(rates, children, world), strict=True):
        # a chance of its own: the correlated one already leans to where the parent is on
        on[:, child] = on[:, parent] & (torch.rand(n, generator=generator) < rates[child] / rates[parent])
    return on


def families(rates: Tensor, children: float, generator: Generator) -> tuple[list[int], list[int]]:
    """Children and the parent of each: a more frequent feature that is no child itself."""
    chosen = torch.randperm(len(rates), generator=generator)[: round(children * len(rates))]
    adult = torch.ones(len(rates), dtype=torch.bool)
    adult[chosen] = False
    pairs = []
    for child in chosen.tolist():
        eligible = (adult & (rates > rates[child])).nonzero()[:, 0]
        if len(eligible):
            pairs.append((child, int(eligible[torch.randint(len(eligible), (), generator=generator)])))
    return [child for child, _ in pairs], [parent for _, parent in pairs]
