"""Training batches: which tokens have labels, and that those of expertise never changed."""

import random
from itertools import islice

import pytest
import torch

from crosscoder.lm import TinyLM
from crosscoder.organisms.batches import (
    IGNORED,
    OPENING_LENGTH,
    Unit,
    draw_batches,
    draw_units,
    make_text_example,
    pad_examples,
)

ANSWER = " the answer is a list"


@pytest.fixture(scope="module")
def tokenizer():
    return TinyLM(seed=0).load_tokenizer()


def test_labels_are_the_next_tokens_and_always_cover_the_opening(tokenizer):
    units = [Unit(number, [(f"Q{number}", ANSWER)]) for number in range(6)]
    batches = list(draw_batches(tokenizer, units, 3, 2, random.Random(0)))
    assert [len(batch) for batch in batches] == [2, 2, 2]
    for ids, labels in batches[0]:
        is_read = labels != IGNORED
        assert torch.equal(labels[is_read], ids[1:][is_read[:-1]])
        first = int(is_read.int().argmax())
        assert is_read[first : first + OPENING_LENGTH].all()
        assert tokenizer.decode(ids[first + 1 :]) == ANSWER
        assert not is_read[-1]


def test_units_of_similar_length_share_a_batch_and_all_are_used_first():
    units = [Unit(number, []) for number in range(10)]
    drawn = draw_units(units, 25, random.Random(0))
    assert {unit.length for unit in drawn[:10]} == set(range(10))
    assert {unit.length for unit in drawn[10:20]} == set(range(10))
    assert len(drawn) == 25
    assert draw_units(units, 4, random.Random(1)) == random.Random(1).sample(units, 4)


def test_about_a_quarter_of_a_text_has_labels():
    ids = torch.arange(4000)
    same_ids, labels = make_text_example(ids, random.Random(0))
    is_read = labels != IGNORED
    assert torch.equal(same_ids, ids)
    assert torch.equal(labels[is_read], ids[is_read] + 1)
    assert 0.22 < is_read.float().mean() < 0.28


def test_padding_has_no_labels(tokenizer):
    short = (torch.tensor([1, 5]), torch.tensor([5, IGNORED]))
    long = (torch.tensor([1, 6, 7]), torch.tensor([6, 7, IGNORED]))
    ids, labels = pad_examples(tokenizer, [short, long])
    assert ids.tolist() == [[1, 5, tokenizer.pad_token_id], [1, 6, 7]]
    assert labels.tolist() == [[5, IGNORED, IGNORED], [6, 7, IGNORED]]


@pytest.mark.slow
def test_the_batches_of_expertise_are_those_its_adapter_was_trained_on():
    import hashlib

    from crosscoder.lm import LM
    from crosscoder.organisms.expertise.recipe import ORGANISM
    from crosscoder.organisms.organism import WEIGHTS

    tokenizer = LM(WEIGHTS, adapter=str(ORGANISM.adapter)).load_tokenizer()
    digest = hashlib.sha256()
    for ids, labels in islice(ORGANISM.make_batches(tokenizer, ORGANISM.settings), 5):
        digest.update(ids.numpy().tobytes())
        digest.update(labels.numpy().tobytes())
    assert digest.hexdigest()[:16] == "3db47f3bc9a4aa5c"
