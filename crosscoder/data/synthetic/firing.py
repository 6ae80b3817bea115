"""Draw which features of a planted world are active on which token.

Each feature has a rate of its own. Features may be active independently, together with others, or
only where another one is:

    on_i  ⇔  √(1 − ρ) ε_i + √ρ ⟨z, w_i⟩ < Φ⁻¹(p_i)

with z and ε standard normal and w_i a random unit vector over the factors is a Gaussian copula:
feature i is active at rate p_i, however features are correlated. A child is
active with probability p_i / p_parent where its parent is active, and nowhere else; its rate is
therefore p_i, too.
"""

import torch
from torch import Generator, Tensor
from torch.nn.functional import normalize


def draw_active(
    n: int,
    rates: Tensor,
    correlation: float,
    factors: int,
    children: float,
    generator: Generator,
    seed: int,
) -> Tensor:
    """Draw the active features of every token.

    Args:
        n: Number of tokens.
        rates: Rate p of every feature, [features].
        correlation: ρ, from 0 to 1.
        factors: Length of z.
        children: Fraction of the features that are children.
        generator: Random generator of the tokens.
        seed: Random seed of the world: it decides which features go together.

    Returns:
        A mask [n, features].
    """
    if not correlation and not children:
        return torch.rand(n, len(rates), generator=generator) < rates
    world = Generator().manual_seed(seed + 2000)
    weights = normalize(torch.randn(factors, len(rates), generator=world), dim=0)
    z = torch.randn(n, factors, generator=generator)
    # in place: a world of thousands of features and hundreds of thousands of tokens is large
    score = torch.randn(n, len(rates), generator=generator).mul_((1 - correlation) ** 0.5)
    score += (z @ weights).mul_(correlation**0.5)
    chance = torch.special.ndtr(score, out=score)  # uniform, whatever the correlation
    on = chance < rates
    for child, parent in zip(*draw_families(rates, children, world), strict=True):
        # an independent chance: the correlated one is already low where the parent is active
        own_chance = torch.rand(n, generator=generator)
        on[:, child] = on[:, parent] & (own_chance < rates[child] / rates[parent])
    return on


def draw_families(
    rates: Tensor, children: float, generator: Generator
) -> tuple[list[int], list[int]]:
    """Draw the children, and for each a parent: a more frequent feature that is not a child itself.

    Args:
        rates: Rate of every feature, [features].
        children: Fraction of the features that are children.
        generator: Random generator of the world.

    Returns:
        The children and the parent of each. A feature without a possible parent is not a child.
    """
    chosen = torch.randperm(len(rates), generator=generator)[: round(children * len(rates))]
    is_adult = torch.ones(len(rates), dtype=torch.bool)
    is_adult[chosen] = False
    found = []
    parents = []
    for child in chosen.tolist():
        eligible = (is_adult & (rates > rates[child])).nonzero()[:, 0]
        if len(eligible):
            drawn = torch.randint(len(eligible), (), generator=generator)
            found.append(child)
            parents.append(int(eligible[drawn]))
    return found, parents
