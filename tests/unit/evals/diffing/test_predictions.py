"""Evidence from predictions, against loops over tokens."""

import numpy as np
import pytest
import torch

from crosscoder.core.types import Kind
from crosscoder.evals.diffing.logit_difference import (
    LogitDifferenceNMF,
    TopTokens,
    count_top_tokens,
    factorise,
)
from crosscoder.evals.diffing.material import Material
from crosscoder.evals.diffing.token_kl import TokenKL
from tests.unit.evals.tiny import SEQ_LEN

LENGTH = 7


@pytest.fixture(scope="module")
def material(context) -> Material:
    return Material(context, n_tokens=4 * SEQ_LEN, context_length=LENGTH, least_count=0)


@torch.no_grad()
def list_contexts(material: Material) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return the mean logit difference and the KLs of every context, one sequence at a time."""
    store, pair = material.context.heldout, material.context.pair
    n_sequences = len(store) // SEQ_LEN
    found = []
    for place in range(4):
        number = place * n_sequences // 4
        rows = slice(number * SEQ_LEN, (number + 1) * SEQ_LEN)
        tokens = store.tokens(0)[rows]
        chat, base = (pair[lm](tokens.ids[None]).logits[0].double() for lm in ("chat", "base"))
        p, q = chat.log_softmax(-1), base.log_softmax(-1)
        kl = (p.exp() * (p - q)).sum(-1)
        predicting = torch.arange(SEQ_LEN) < SEQ_LEN - 1
        predicting &= tokens.kind != Kind.SPECIAL
        for piece in range(-(-SEQ_LEN // LENGTH)):
            chosen = predicting & (tokens.position // LENGTH == piece)
            if chosen.any():
                found.append(((chat - base)[chosen].mean(0), kl[chosen]))
    return found


def test_predictions_are_compared_context_by_context(material):
    expected = list_contexts(material)
    found = material.predictions
    assert found.n_contexts == len(expected)
    for context, (difference, kl) in enumerate(expected):
        assert torch.allclose(
            found.logit_differences[context].double(), difference[found.ids], atol=1e-4
        )
        assert torch.allclose(found.kl[found.contexts == context], kl, atol=1e-5)


def test_contexts_are_ranked_by_their_largest_kl(material):
    largest = sorted((float(kl.max()) for _, kl in list_contexts(material)), reverse=True)
    pieces = TokenKL().find_evidence(material)
    assert [piece.weight for piece in pieces] == pytest.approx(largest[:20], rel=1e-3)
    assert all("⟦" in piece.name for piece in pieces)


def test_top_tokens_are_counted_over_contexts(material):
    counts: dict[int, int] = {}
    expected = list_contexts(material)
    for difference, _ in expected:
        for token in difference.argsort(descending=True)[:3].tolist():
            counts[token] = counts.get(token, 0) + (difference[token] > 0).item()
    pieces = TopTokens(k=3).find_evidence(material)
    for piece in pieces:
        assert piece.weight == pytest.approx(counts[piece.ids[0]] / len(expected))
    assert len(pieces) == min(20, sum(count > 0 for count in counts.values()))


def test_negative_differences_do_not_count():
    differences = torch.tensor([[3.0, -1.0, 2.0, -4.0], [-1.0, -2.0, 5.0, -3.0]])
    assert count_top_tokens(differences, 2).tolist() == [0.5, 0, 1, 0]


def test_the_factorisation_finds_planted_topics():
    rng = np.random.default_rng(0)
    topics = np.zeros((3, 30))
    for number in range(3):
        topics[number, number * 10 : number * 10 + 6] = rng.random(6) + 0.5
    topics /= topics.sum(1, keepdims=True)
    amounts = rng.random((40, 3)) * (rng.random((40, 3)) < 0.6) * [5, 2, 1]
    parts, found = factorise(amounts @ topics, 3)
    order = np.argsort(-parts)
    assert found[order] == pytest.approx(topics, abs=0.02)
    assert parts[order] == pytest.approx(amounts.sum(0) / amounts.sum(), abs=0.02)
    assert (found >= 0).all()


def test_a_topic_is_scored_by_its_tokens(material):
    pieces = LogitDifferenceNMF(n_components=3, n_tokens=4).find_evidence(material)
    assert 0 < len(pieces) <= 3
    weights = [piece.weight for piece in pieces]
    assert weights == sorted(weights, reverse=True)
    for piece in pieces:
        assert len(piece.ids) <= 4
        assert sum(piece.shares) == pytest.approx(1)
        assert list(piece.shares) == sorted(piece.shares, reverse=True)


def test_only_tokens_that_may_be_named_are_named(context):
    common = Material(context, n_tokens=2 * SEQ_LEN, least_count=3)
    ids = {piece.ids[0] for piece in TopTokens().find_evidence(common)}
    named = common.named_ids
    assert named is not None
    assert ids <= set(named.nonzero()[:, 0].tolist())
