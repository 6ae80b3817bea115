"""Features fire at their rates, however they go together."""

import pytest
import torch

from crosscoder.data.synthetic.firing import draw_active, draw_families

RATES = torch.tensor([0.4, 0.3, 0.2, 0.2, 0.1, 0.1, 0.05, 0.02])
N = 40_000


def on(correlation: float = 0.0, children: float = 0.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return draw_active(N, RATES, correlation, 2, children, generator, seed=0)


@pytest.mark.parametrize(("correlation", "children"), [(0, 0), (0.6, 0), (0, 0.5), (0.6, 0.5)])
def test_features_have_the_rates_asked_for(correlation, children):
    torch.testing.assert_close(on(correlation, children).float().mean(0), RATES, atol=0.012, rtol=0)


def test_correlated_features_are_active_together_and_others_are_not():
    apart, together = (
        torch.corrcoef(on(correlation).float().T).fill_diagonal_(0) for correlation in (0, 0.6)
    )
    assert apart.abs().max() < 0.03
    assert together.abs().max() > 0.1


def test_children_are_active_only_where_their_parents_are():
    children, parents = draw_families(RATES, 0.5, torch.Generator().manual_seed(0))
    assert children
    assert not set(children) & set(parents)
    assert all(
        RATES[parent] > RATES[child] for child, parent in zip(children, parents, strict=True)
    )
    fired = on(children=0.5)
    world = torch.Generator().manual_seed(2000)
    torch.randn(2, len(RATES), generator=world)
    for child, parent in zip(*draw_families(RATES, 0.5, world), strict=True):
        assert not (fired[:, child] & ~fired[:, parent]).any()
