"""Contexts of the Jacobian lens: beginnings of texts that are long enough."""

import pytest
import torch

from crosscoder.core.types import Kind, Tokens
from crosscoder.errors import NotApplicable
from crosscoder.lm.lens_contexts import N_TAIL, draw_contexts

LENGTHS = (5, 40, 16, 17, 200)


@pytest.fixture
def tokens() -> Tokens:
    """Texts of these lengths; an id is the number of the text times 1,000, plus the position."""
    position = torch.cat([torch.arange(n) for n in LENGTHS])
    document = torch.arange(len(LENGTHS)).repeat_interleave(torch.tensor(LENGTHS))
    kind = torch.full_like(position, Kind.PLAIN)
    return Tokens(1000 * document + position, position, document, kind)


def test_contexts_are_the_first_tokens_of_one_text(tokens):
    contexts = draw_contexts(tokens, 100)
    ids = contexts.ids
    assert ids.shape[1] - N_TAIL == 16
    assert (ids % 1000 == torch.arange(ids.shape[1])).all()
    assert (ids // 1000 == ids[:, :1] // 1000).all()
    assert (ids[:, 0] // 1000).tolist() == [1, 3, 4]
    assert len(contexts) == 3


def test_as_many_are_drawn_as_are_asked_for_and_the_seed_decides_which(tokens):
    hashes = {draw_contexts(tokens, 2, seed).sha256 for seed in range(8)}
    assert len(hashes) > 1
    assert len(draw_contexts(tokens, 2)) == 2
    assert draw_contexts(tokens, 2).sha256 == draw_contexts(tokens, 2).sha256


def test_texts_that_are_too_short_are_refused(tokens):
    with pytest.raises(NotApplicable, match="needs texts of at least 17 tokens"):
        draw_contexts(tokens[:5], 3)
