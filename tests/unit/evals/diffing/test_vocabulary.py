import numpy as np
import pytest
import torch

from crosscoder.evals.diffing.evidence import TokensPiece
from crosscoder.evals.diffing.lenses import Lenses
from crosscoder.evals.diffing.material import Material
from crosscoder.evals.diffing.vocabulary import (
    NEIGHBOURS,
    ByFrequency,
    PlantedVocabulary,
    find_planted_ids,
    list_token_ids,
)
from crosscoder.lm.head import get_final_norm, get_head

TOKENS = ["▁lovely", "lovely", "Lovely", "▁won", "der", "▁wonder", "▁wo", "love", "▁the", "▁"]
PIECES = {
    "lovely": [1],
    " lovely": [0],
    "wonders": [3, 4],
    " wonders": [3, 4],
    "wow": [6, 9],
    " wow": [6, 9],
}


class FakeTokenizer:
    """A tokenizer of a few words."""

    def get_vocab(self):
        return {token: number for number, token in enumerate(TOKENS)}

    def __call__(self, text, add_special_tokens):
        return {"input_ids": PIECES[text]}

    def decode(self, ids):
        return "".join(TOKENS[number] for number in ids).replace("▁", " ")


def test_planted_are_the_words_and_their_first_tokens_if_these_say_enough(unchecked):
    planted = find_planted_ids(FakeTokenizer(), ["lovely", "wonders", "wow"], len(TOKENS))
    found = {TOKENS[number] for number in planted.nonzero()[:, 0].tolist()}
    assert found == {"▁lovely", "lovely", "Lovely", "▁won"}


def make_pieces(*lists: list[int]) -> list[TokensPiece]:
    return [TokensPiece("t", 1.0, tuple(ids), tuple(1 / len(ids) for _ in ids)) for ids in lists]


def test_single_tokens_are_one_list():
    assert list_token_ids(make_pieces([3], [5], [1])) == [[3, 5, 1]]
    assert list_token_ids(make_pieces([3, 4], [5, 6])) == [[3, 4], [5, 6]]


def test_random_tokens_are_about_as_frequent():
    counts = torch.zeros(2000, dtype=torch.int64)
    counts[500:1500] = torch.randperm(1000) + 1
    others = ByFrequency.from_counts(counts)
    drawn = others.draw_like([700, 701, 702] * 50, np.random.default_rng(0))
    for place, token in enumerate(drawn):
        assert counts[token] > 0
        assert abs(int(counts[token]) - int(counts[700 + place % 3])) <= NEIGHBOURS
    assert len(set(drawn)) > 50


@pytest.fixture
def vocabulary(context) -> PlantedVocabulary:
    """Return a vocabulary of every tenth token of the tiny models."""
    lenses = Lenses(Material(context, least_count=0))
    n_ids = 262
    planted = torch.arange(n_ids) % 10 == 0
    return PlantedVocabulary(planted, torch.ones(n_ids, dtype=torch.int64), lenses)


def test_the_share_of_tokens_is_beside_that_of_random_ones(vocabulary):
    share, chance = vocabulary.measure_tokens(make_pieces([10], [20], [31], [41]))
    assert share == 0.5
    assert chance == pytest.approx(0.1, abs=0.03)


@torch.no_grad()
def test_promoted_tokens_are_those_of_the_logit_lens(vocabulary, context):
    directions = torch.randn(3, context.crosscoder.sources["chat"].width)
    promoted = vocabulary.lenses.promote(directions)["logit"]
    model = context.pair["chat"]
    logits = get_head(model)(get_final_norm(model)(directions.to(model.dtype)))
    expected = logits.argsort(dim=-1, descending=True)[:, :20]
    assert torch.equal(logits.gather(1, promoted), logits.gather(1, expected))
    shares = [row["logit"] for row in vocabulary.measure_pieces({"logit": promoted})]
    for share, ids in zip(shares, promoted.tolist(), strict=True):
        assert share == pytest.approx(sum(token % 10 == 0 for token in ids) / 20)
