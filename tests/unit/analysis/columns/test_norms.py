"""Published categories on both scores; R and Δ of one latent."""

import numpy as np
import pytest
import torch

from crosscoder.analysis.columns.norms import PUBLISHED, compute_norms
from crosscoder.core.activations.topk import TopK
from crosscoder.core.metrics import delta_norm, relative_norm
from tests.helpers.small import crosscoder_of


@pytest.mark.parametrize(
    ("small_over_large", "R", "delta"),
    [
        (0.200, 0.833, 0.900),
        (0.800, 0.556, 0.600),
        (0.429, 0.700, 0.786),
        (0.0526, 0.950, 0.974),
        (0.25, 0.8, 0.875),
    ],
)
def test_r_and_delta_of_one_latent(small_over_large, R, delta):
    """R = 1/(1+r) and Δ = 1 − r/2 for r = ‖d_base‖/‖d_chat‖ ≤ 1, and the mirror image."""
    one = torch.tensor([1.0])
    other = torch.tensor([small_over_large])
    assert float(relative_norm(one, other)) == pytest.approx(R, abs=1e-3)
    assert float(delta_norm(one, other)) == pytest.approx(delta, abs=1e-3)
    assert float(relative_norm(other, one)) == pytest.approx(1 - R, abs=1e-3)
    assert float(delta_norm(other, one)) == pytest.approx(1 - delta, abs=1e-3)


@pytest.mark.parametrize(
    ("paper", "ratio", "expected"),
    [
        ("minder2025", 0.19, "chat-only"),
        ("minder2025", 0.21, "other"),
        ("minder2025", 0.81, "shared"),
        ("lindsey2024", 0.42, "chat-only"),
        ("lindsey2024", 0.44, "shared"),
        ("dfc2026", 0.24, "chat-only"),
        ("dfc2026", 0.26, "shared"),
        ("mishra_sharma2025", 0.052, "chat-only"),
        ("mishra_sharma2025", 0.053, "other"),
    ],
)
def test_each_paper_s_threshold_separates_its_categories(paper, ratio, expected):
    crosscoder = crosscoder_of(TopK(3), n_latents=4)
    with torch.no_grad():
        crosscoder.W_dec[0] = torch.tensor([ratio] + [0] * 5 + [1.0] + [0] * 5)
        crosscoder.W_dec[1] = crosscoder.W_dec[0].roll(6)
    categories = compute_norms(crosscoder.fold())[f"category/{paper}"]
    assert categories[0] == expected
    assert categories[1] == expected.replace("chat", "base")


def test_every_description_names_the_paper_and_its_threshold():
    for paper, rule in PUBLISHED.items():
        assert rule.paper in rule.describe(), paper
        assert f"> {rule.exclusive}" in rule.describe()


def test_norms_and_cosines_are_in_training_units():
    crosscoder = crosscoder_of(TopK(3))
    before = compute_norms(crosscoder)
    crosscoder.set_units(torch.zeros(12), torch.cat([torch.full((6,), 100.0), torch.ones(6)]))
    after = compute_norms(crosscoder.fold())
    for column in (
        "norm/base",
        "norm/chat",
        "relative_norm",
        "delta_norm",
        "cosine",
        "difference_norm",
    ):
        np.testing.assert_allclose(after[column], before[column], rtol=1e-5)
