import dataclasses

import pytest

from crosscoder.errors import UserError
from crosscoder.evals.support.benchmark import make_contrast, open_benchmark
from crosscoder.organisms.expertise import Asked, load_pairs
from tests.unit.evals.behaviours import SPEC


def test_questions_in_one_framing_alone_are_refused(context):
    behaviour = dataclasses.replace(SPEC, heldout=[*Asked("heldout", ["novice"])])
    context = dataclasses.replace(context, behaviour=behaviour)
    message = "expected questions in the groups 'novice' and 'expert', found novice"
    with pytest.raises(UserError, match=message), open_benchmark(context, 4, 64, 4):
        pass


def test_other_questions_in_the_second_framing_are_refused(context):
    rows = [*Asked("heldout", ["novice"])][:2] + [*Asked("heldout", ["expert"])][1:3]
    context = dataclasses.replace(context, behaviour=dataclasses.replace(SPEC, heldout=rows))
    with (
        pytest.raises(UserError, match="expected the same question ids"),
        open_benchmark(context, 4, 64, 4),
    ):
        pass


def test_a_contrast_pairs_the_two_framings_of_each_question():
    pairs = list(make_contrast(SPEC, "train", None).pairs)
    assert len(pairs) == len(load_pairs("train"))
    for (first, second), row in zip(pairs, load_pairs("train"), strict=True):
        assert first == [{"role": "user", "content": row["novice"]}]
        assert second == [{"role": "user", "content": row["expert"]}]
