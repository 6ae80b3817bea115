"""Running sums against the definitions, computed in one go in float64."""

import pytest
import torch

from crosscoder.core.metrics import (
    Variance,
    delta_norm,
    relative_norm,
    rounding_variance,
)


@pytest.fixture
def seen() -> tuple[torch.Tensor, torch.Tensor, Variance]:
    """Return x, x̂ and their sums over uneven batches.

    One dimension is large, one is constant, and all are far from 0.
    """
    x = torch.randn(500, 6, dtype=torch.float64) * torch.tensor([1, 2, 50, 1, 0.1, 0]) + 30
    recon = x + 0.3 * torch.randn(500, 6, dtype=torch.float64)
    running = Variance()
    for start, stop in ((0, 7), (7, 300), (300, 500)):
        running.update(x[start:stop], recon[start:stop])
    return x, recon, running


def test_fve_is_pooled_over_tokens_and_dimensions(seen):
    x, recon, running = seen
    residual = (x - recon).square().sum()
    total = (x - x.mean(0)).square().sum()
    assert running.fve() == pytest.approx(float(1 - residual / total), rel=1e-9)


def test_standardised_fve_divides_every_dimension_by_its_deviation_first(seen):
    x, recon, running = seen
    deviation = x[:, :5].std(0, correction=0)
    z = x[:, :5] / deviation
    z_hat = recon[:, :5] / deviation
    expected = 1 - (z - z_hat).square().sum() / (z - z.mean(0)).square().sum()
    assert running.fve_standardised() == pytest.approx(float(expected), rel=1e-9)


def test_the_mean_has_fve_zero_and_the_original_has_fve_one(seen):
    x, _, _ = seen
    for recon, expected in ((x.mean(0).expand_as(x), 0.0), (x, 1.0)):
        running = Variance()
        running.update(x, recon)
        assert running.fve() == pytest.approx(expected, abs=1e-9)
        assert running.fve_standardised() == pytest.approx(expected, abs=1e-9)


def test_float32_batches_do_not_lose_a_small_variance_beside_a_large_mean():
    x = 1000 + torch.randn(20_000, 1)
    running = Variance()
    for batch in x.split(100):
        running.update(batch, batch)
    assert float(running.total) == pytest.approx(
        float((x.double() - x.double().mean()).square().sum()), rel=1e-6
    )


def test_rounding_variance_is_the_squared_error_of_rounding_to_bfloat16():
    exact = torch.rand(200_000, dtype=torch.float64) * 6 + 1  # over several exponents
    rounded = exact.to(torch.bfloat16)
    cost = (exact - rounded.double()).square().mean()
    assert float(rounding_variance(rounded).mean()) == pytest.approx(float(cost), rel=0.02)


def test_rounding_variance_by_hand():
    # 1 ≤ x < 2 is spaced by 2⁻⁷, 2 ≤ x < 4 by 2⁻⁶; the sign does not matter, and 0 is exact
    given = torch.tensor([1.0, 1.5, -2.0, 0.0], dtype=torch.bfloat16)
    expected = torch.tensor([2.0**-14, 2.0**-14, 2.0**-12, 0]) / 12
    torch.testing.assert_close(rounding_variance(given), expected)


@pytest.mark.parametrize(
    ("ratio", "R", "delta"),  # the conversion table of the literature, with r = ‖d_base‖ / ‖d_chat‖
    [
        (0.0, 1.0, 1.0),
        (0.2, 1 / 1.2, 0.9),
        (0.8, 1 / 1.8, 0.6),
        (3 / 7, 0.7, 1 - 1.5 / 7),
        (1.0, 0.5, 0.5),
    ],
)
def test_norm_scores_point_to_chat_and_mirror_when_sources_swap(ratio, R, delta):
    large = torch.tensor([2.0])
    small = torch.tensor([2.0 * ratio])
    assert float(relative_norm(large, small)) == pytest.approx(R)
    assert float(delta_norm(large, small)) == pytest.approx(delta)
    assert float(relative_norm(small, large)) == pytest.approx(1 - R)
    assert float(delta_norm(small, large)) == pytest.approx(1 - delta)


def test_two_zero_norms_do_not_divide_by_zero():
    zero = torch.zeros(1)
    assert relative_norm(zero, zero).isfinite().all()
    assert float(delta_norm(zero, zero)) == 0.5
