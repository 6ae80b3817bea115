"""The kept entries of a stream against sorting all of it."""

import numpy as np
import pytest

from crosscoder.analysis import topn
from crosscoder.analysis.topn import TopN

N_LATENTS = 7
N_ENTRIES = 500


def naive(
    latent: np.ndarray, document: np.ndarray, priority: np.ndarray, n: int
) -> list[list[int]]:
    """Return per latent the rows of the largest priorities, one per document.

    The earlier of equal priorities comes first.
    """
    kept = []
    for j in range(N_LATENTS):
        taken: dict[int, int] = {}
        for row in sorted(np.flatnonzero(latent == j), key=lambda row: (-priority[row], row)):
            taken.setdefault(int(document[row]), int(row))
        kept.append(list(taken.values())[:n])
    return kept


@pytest.mark.parametrize("merge_at", [1, 50, 10_000])
@pytest.mark.parametrize("n_documents", [3, 40])
@pytest.mark.parametrize("batch", [1, 33, 500])
def test_the_kept_entries_are_the_first_of_all_sorted_entries(
    monkeypatch, merge_at, n_documents, batch
):
    monkeypatch.setattr(topn, "MERGE_AT", merge_at)
    random = np.random.default_rng(batch)
    latent = random.integers(0, N_LATENTS - 1, N_ENTRIES)  # the last has none
    document, priority = (
        random.integers(0, n_documents, N_ENTRIES),
        random.integers(0, 9, N_ENTRIES) / 8,
    )  # many ties
    part = TopN(5, N_LATENTS)
    for rows in np.split(np.arange(N_ENTRIES), range(batch, N_ENTRIES, batch)):
        part.update(
            priority[rows],
            latent=latent[rows],
            document=document[rows],
            row=rows,
            value=priority[rows],
        )
    kept = part.merge()
    assert [kept["row"][kept["latent"] == j].tolist() for j in range(N_LATENTS)] == naive(
        latent, document, priority, 5
    )
    assert (kept["value"] == priority[kept["row"]]).all()


def test_minus_infinity_is_never_kept():
    part = TopN(3, 2)
    some = np.arange(4)
    part.update(
        np.array([1.0, -np.inf, 2.0, -np.inf]), latent=some % 2, document=some, row=some, value=some
    )
    assert part.merge()["row"].tolist() == [2, 0]
