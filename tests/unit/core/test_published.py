"""Published thresholds, counted among live latents."""

import torch

from crosscoder.core.published import PUBLISHED, counts_by_rule

NAMES = [
    "chat-only, Δ > 0.9 (Minder 2025)",
    "base-only, Δ < 0.1 (Minder 2025)",
    "shared, 0.4 < Δ < 0.6 (Minder 2025)",
    "shared, 0.3 < R < 0.7 (Lindsey, Kissane 2024)",
    "chat-only, R > 0.7 (Kissane 2024)",
    "base-only, R < 0.3 (Kissane 2024)",
    "chat-only, R > 0.8 (arXiv 2602.11729, toy)",
    "chat-only, R > 0.95 (Mishra-Sharma 2025)",
    "base-only, R < 0.05 (Mishra-Sharma 2025)",
]


def test_rules_count_live_latents_only():
    """One latent each is shared, chat-only and base-only by every published rule."""
    chat = torch.tensor([1.0, 1.0, 0.0, 1.0])
    base = torch.tensor([1.0, 0.0, 1.0, 0.0])
    counts = counts_by_rule(chat, base, torch.tensor([True, True, True, False]))
    assert list(counts) == NAMES
    for rule, count in counts.items():
        assert count == 1, rule


def test_a_latent_on_a_threshold_is_counted_but_has_no_category():
    chat = torch.tensor([0.75])
    base = torch.tensor([0.25])  # R = ¾ exactly, at the edge of |R − ½| < ¼
    alive = torch.tensor([True])
    counts = counts_by_rule(chat, base, alive)
    assert counts["chat-only, R > 0.7 (Kissane 2024)"] == 1
    rule = PUBLISHED["dfc2026"]
    on_threshold = torch.tensor([0.8]).numpy()
    assert rule.select(on_threshold, "first-only", inclusive=True).tolist() == [True]
    assert rule.select(on_threshold, "first-only").tolist() == [False]
    assert rule.categories(on_threshold, "chat", "base").tolist() == ["other"]
