import numpy as np

from crosscoder.analysis.table import LatentTable
from crosscoder.evals.support.rankings import qualify, rank_candidates


def test_candidates_are_changed_sparse_and_more_active_on_the_first_prompts():
    rng = np.random.default_rng(0)
    n = 400
    columns = {
        "verdict": rng.choice(["rewritten", "shared", "chat-specific", "dead", "shrunk"], n),
        "density": rng.uniform(0, 0.2, n),
        "difference_norm": rng.uniform(0, 1, n),
        "norm/chat": rng.uniform(0, 1, n),
        "expertise": rng.normal(size=n),
        "expertise/holm": rng.uniform(0, 0.1, n),
        "dead": np.zeros(n, dtype=bool),
    }
    table = LatentTable.from_columns(columns, {"contrast": ["chat", "base"]})
    ranked = rank_candidates(table, "expertise")
    n_qualified = int(qualify(table, "expertise").sum())
    assert sorted(ranked) == list(range(n))
    is_positive = columns["expertise"][ranked[n_qualified:]] > 0
    assert is_positive[: is_positive.sum()].all()
    first = ranked[:n_qualified]
    expected = [
        latent
        for latent in range(n)
        if columns["verdict"][latent] in ("rewritten", "chat-specific")
        and columns["density"][latent] < 0.1
        and columns["expertise"][latent] > 0
        and columns["expertise/holm"][latent] < 0.05
    ]
    assert sorted(first) == expected
    weights = (columns["expertise"] * columns["difference_norm"])[first]
    assert (np.diff(weights) <= 0).all()
