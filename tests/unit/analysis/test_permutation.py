"""The sign-flip test against every sign pattern, and Holm's correction against its definition."""

from itertools import product

import pytest
import torch

from crosscoder.analysis import permutation
from crosscoder.analysis.permutation import adjust_holm, sign_flip_test


def exact(d: torch.Tensor) -> torch.Tensor:
    """Return p-values over all 2ⁿ sign patterns.

    The sums are of whole numbers, so that ties are exact.
    """
    flips = [
        sum(s * x for s, x in zip(signs, d, strict=True)).abs()
        for signs in product((1, -1), repeat=len(d))
    ]
    return torch.stack([flip >= d.sum(0).abs() for flip in flips]).double().mean(0)


def naive_holm(p: list[float]) -> list[float]:
    """Step down from the smallest p-value: the i-th of m is multiplied by m − i.

    No value is smaller than those before it or larger than 1.
    """
    order = sorted(range(len(p)), key=lambda i: p[i])
    adjusted = [0.0] * len(p)
    so_far = 0.0
    for place, i in enumerate(order):
        so_far = max(so_far, min(1.0, (len(p) - place) * p[i]))
        adjusted[i] = so_far
    return adjusted


@pytest.mark.parametrize("memory", [permutation.MAX_SUMS, 7 * 40])
def test_p_values_are_those_of_all_sign_patterns(monkeypatch, memory):
    monkeypatch.setattr(permutation, "MAX_SUMS", memory)
    d = torch.randint(-4, 6, (9, 40)).double()  # many ties
    n = 20_000
    p = sign_flip_test(d, n, seed=1)
    expected = exact(d)
    error = (expected * (1 - expected) / n).sqrt()
    assert ((p - expected).abs() <= 5 * error + 2 / n).all()
    assert (expected < 0.1).any()


def test_ties_count_even_if_sums_are_rounded():
    """Only two sign patterns reach the sum of positive differences, in any order of addition."""
    d = torch.rand(64, 400, dtype=torch.float64)
    d[torch.arange(64) % 8 > 0] = 0
    p = sign_flip_test(d, 20_000)
    assert p[0] == pytest.approx(2 / 256, abs=0.003)
    assert (p == p[0]).all()


def test_p_is_never_zero_and_is_one_without_differences():
    d = torch.cat([torch.ones(30, 1), torch.zeros(30, 1)], dim=1)
    assert sign_flip_test(d, 999).tolist() == [1 / 1000, 1.0]
    assert sign_flip_test(torch.zeros(3, 0), 9).shape == (0,)


def test_the_sign_of_all_differences_does_not_matter():
    d = torch.randn(12, 50)
    assert torch.equal(sign_flip_test(d, 500), sign_flip_test(-d, 500))


def test_under_the_null_p_values_are_not_too_small():
    generator = torch.Generator().manual_seed(0)
    d = torch.randn(16, 4000, generator=generator) * torch.rand(16, 4000, generator=generator)
    p = sign_flip_test(d, 999)
    for level in (0.01, 0.05, 0.2, 0.5):
        share = float((p <= level).double().mean())
        assert (
            share <= level + 4 * (level * (1 - level) / 4000) ** 0.5 + 0.01
        )  # all latents share their signs
        assert share >= level / 2  # nor far too large


def test_the_seed_determines_the_signs():
    d = torch.randn(10, 20)
    assert torch.equal(sign_flip_test(d, 300, seed=3), sign_flip_test(d, 300, seed=3))
    assert not torch.equal(sign_flip_test(d, 300, seed=3), sign_flip_test(d, 300, seed=4))


@pytest.mark.parametrize(
    "p", [[0.01, 0.04, 0.03, 0.005], [0.5, 0.5, 0.5], [1e-5, 1.0, 0.9, 1e-5, 0.02], [0.2], []]
)
def test_holm_steps_down(p):
    assert adjust_holm(torch.tensor(p, dtype=torch.float64)).tolist() == pytest.approx(
        naive_holm(p)
    )


def test_holm_keeps_the_order_of_the_p_values_and_stays_at_most_one(monkeypatch):
    p = torch.rand(500).double() ** 3
    adjusted = adjust_holm(p)
    assert adjusted.tolist() == pytest.approx(naive_holm(p.tolist()))
    assert (adjusted[p.argsort()].diff() >= 0).all()
    assert (adjusted >= p).all()
    assert adjusted.max() <= 1
