"""Several interventions on one batch against one edit after the other."""

import pytest
import torch

from crosscoder.core.activations.topk import TopK
from crosscoder.core.model import Crosscoder
from crosscoder.errors import UserError
from crosscoder.interventions.ablate import ablate
from crosscoder.interventions.patch import patch
from crosscoder.interventions.steer import steer
from crosscoder.lm import Pair
from crosscoder.lm.answering import generate_answers, generate_in_blocks

PROMPTS = ["Is this right?", "I am new to programming. Is this code correct? x = 1/0", "x"]


@pytest.fixture
def changes(tiny_pair: Pair) -> list:
    made = Crosscoder(tiny_pair.sources(["resid_post.1"]), 64, TopK(8), seed=3).fold()
    with torch.no_grad():
        made.W_dec *= 4
    norms = {source.name: 3.0 for source in made.sources}
    return [ablate(made, list(range(32))), patch(made, "none"), steer(made, [3], 2.0, norms)]


def test_each_block_has_the_answers_of_its_own_edit(tiny_pair: Pair, changes: list):
    with tiny_pair.edit("chat", changes) as model:
        found = generate_in_blocks(model, tiny_pair.tokenizer, PROMPTS, 3, max_new_tokens=8)
    expected = []
    for change in changes:
        with tiny_pair.edit("chat", change) as model:
            expected.append(generate_answers(model, tiny_pair.tokenizer, PROMPTS, 8))
    assert found == expected
    assert len({tuple(answers) for answers in found}) == 3


def test_a_batch_of_unequal_blocks_is_refused(tiny_pair: Pair, changes: list):
    with (
        tiny_pair.edit("chat", changes) as model,
        pytest.raises(UserError, match="has 4 rows"),
    ):
        model(torch.full((4, 3), 9))


def test_interventions_on_other_sources_are_refused(tiny_pair: Pair, changes: list):
    other = Crosscoder(tiny_pair.sources(["resid_post.0"]), 16, TopK(4)).fold()
    with (
        pytest.raises(UserError, match="act on the same sources"),
        tiny_pair.edit("chat", [*changes, ablate(other, [1])]),
    ):
        pass
    with pytest.raises(UserError, match="at least one intervention"), tiny_pair.edit("chat", []):
        pass
