import dataclasses

import numpy as np
import pytest

from crosscoder.behaviours.questions import Question
from crosscoder.evals.support.benchmark import open_benchmark
from crosscoder.evals.support.heldout import PlainText
from crosscoder.evals.support.measurement import InterventionBenchmark
from crosscoder.interventions.ablate import ablate
from crosscoder.interventions.splice import splice
from tests.unit.evals.behaviours import SPEC


class Answered(InterventionBenchmark):
    """A benchmark with known answers; "yes" is one that shows the behaviour."""

    def __init__(self, clean: list[str], base: list[str]) -> None:
        questions = [Question(str(number), "asked", "Q?") for number in range(len(clean))]
        behaviour = dataclasses.replace(SPEC, marker=lambda text, question: text == "yes")
        plain = PlainText([], 1)
        super().__init__(None, "chat", "base", questions, questions, behaviour, plain)  # type: ignore[arg-type]
        self.by_model = {"chat": clean, "base": base}

    def generate_answers(self, change, questions, title, model=None, mode="paired"):
        return self.by_model[model or self.edited_model]


def test_the_removed_fraction_is_that_of_the_gap_between_the_models(unchecked):
    benchmark = Answered(clean=["yes"] * 4, base=["no"] * 4)
    removed, low, high = benchmark.removed_fraction(np.array([0.0, 0, 0, 1]))
    assert removed == 0.75
    # a resample of the four answers has at most 0.25 with probability 0.05, and 0 with 0.004
    assert (low, high) == (0.25, 1.0)
    smaller_gap = Answered(clean=["yes"] * 4, base=["yes", "yes", "no", "no"])
    removed, low, high = smaller_gap.removed_fraction(np.array([1.0, 1, 1, 0]))
    assert removed == 0.5
    assert low < removed < high


def test_nothing_can_be_removed_if_the_models_answer_alike(unchecked):
    benchmark = Answered(clean=["yes"] * 4, base=["yes"] * 4)
    assert np.isnan(benchmark.removed_fraction(np.zeros(4))).all()


def test_an_edit_that_changes_nothing_costs_nothing(context):
    nothing = ablate(context.crosscoder, [])
    with open_benchmark(context, 4, 64, 4) as benchmark:
        result = benchmark.evaluate({"nothing": nothing})["nothing"]
        assert result.answers == benchmark.clean_answers
        assert result.kl_plain == pytest.approx(0, abs=1e-9)
        np.testing.assert_allclose(result.control_rise, 0, atol=1e-6)
        rise = benchmark.measure_coherence_rise(benchmark.control_answers)
        np.testing.assert_allclose(rise, 0, atol=1e-6)
        (kl,) = benchmark.measure_plain_kls([splice(context.crosscoder)])
        assert kl > 0.01
