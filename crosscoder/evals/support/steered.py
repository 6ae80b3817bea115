"""Directions to steer in, and what is measured of a model that is steered by a dose."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from crosscoder.analysis.table import LatentTable
from crosscoder.behaviours.bootstrap import bootstrap_mean
from crosscoder.core.intervention import Intervention
from crosscoder.core.model import Crosscoder
from crosscoder.evals.support.baselines import match_latents
from crosscoder.evals.support.measurement import InterventionBenchmark
from crosscoder.interventions.steer import Direction, combine_decoders, steer

Row = dict[str, Any]


@dataclass(frozen=True)
class Arm:
    """A direction, and at which doses it is measured.

    Args:
        name: Name of the direction; random directions of one kind share theirs.
        direction: The direction [d_source].
        doses: Strengths of either sign, in units of the median residual norm.
        is_answering: Whether answers are generated.
        draw: Number of the random direction; None if it is not random.
    """

    name: str
    direction: Direction
    doses: Sequence[float]
    is_answering: bool = False
    draw: int | None = None


def list_doses(strengths: Sequence[float]) -> list[float]:
    """Return the strengths with both signs, in ascending order."""
    sizes = sorted(set(strengths))
    return [-size for size in reversed(sizes)] + sizes


def draw_directions(
    crosscoder: Crosscoder,
    table: LatentTable,
    latents: Sequence[int],
    weights: Sequence[float],
    n: int,
    seed: int,
) -> dict[str, list[Tensor]]:
    """Draw random directions to compare the direction of some latents with.

    Args:
        crosscoder: The crosscoder.
        table: Its table of latents.
        latents: The latents.
        weights: Their weights in the direction.
        n: Number of directions of each kind.
        seed: Random seed.

    Returns:
        "random latents": directions of other latents of similar density and norm, with the same
        weights; "random vectors": directions without a preferred one.
    """
    generator = torch.Generator().manual_seed(seed)
    width = len(crosscoder.decoder(crosscoder.sources.primary)[0])
    of_latents = []
    vectors = []
    for draw in range(n):
        others = match_latents(table, latents, seed + draw)
        of_latents.append(combine_decoders(crosscoder, others, weights))
        vectors.append(torch.randn(width, generator=generator))
    return {"random latents": of_latents, "random vectors": vectors}


@dataclass(frozen=True)
class SteeredModels:
    """Models that are steered while they are asked the control questions.

    Args:
        benchmark: The models and questions.
        crosscoder: The crosscoder whose sources are steered.
        norms: Median ‖x‖ by source.
    """

    benchmark: InterventionBenchmark
    crosscoder: Crosscoder
    norms: Mapping[str, float]

    def measure_all(self, model: str, arms: Sequence[Arm]) -> list[tuple[Row, list[str]]]:
        """Measure one model at every dose of every arm; dose 0 leaves it as it is.

        Returns:
            For each dose the log-probability difference, if the questions have answers; the rate
            and the coherence of generated answers, if there are any; and these answers.
        """
        dosed = [(arm, dose) for arm in arms for dose in arm.doses]
        answering = [(arm, dose) for arm, dose in dosed if arm.is_answering]
        answers = iter(self._generate(model, answering))
        measured = []
        for arm, dose in dosed:
            texts = next(answers) if arm.is_answering else []
            measured.append((self._measure(model, arm, dose, texts), texts))
        return measured

    def _generate(self, model: str, dosed: Sequence[tuple[Arm, float]]) -> list[list[str]]:
        """Return a model's answers to the control questions at some doses."""
        benchmark = self.benchmark
        questions = benchmark.control_questions
        changes = [change for arm, dose in dosed if (change := self._steer(arm, dose)) is not None]
        steered = iter(benchmark.generate_for_all(changes, questions, f"{model}, steered", model))
        answers = []
        for _, dose in dosed:
            if dose:
                answers.append(next(steered))
            else:
                answers.append(benchmark.generate_answers(None, questions, model, model))
        return answers

    def _steer(self, arm: Arm, dose: float) -> Intervention | None:
        """Return the intervention at a dose; None at dose 0."""
        return steer(self.crosscoder, arm.direction, dose, self.norms) if dose else None

    def _measure(self, model: str, arm: Arm, dose: float, texts: Sequence[str]) -> Row:
        """Measure one model at one dose, and its answers there, if there are any."""
        benchmark = self.benchmark
        questions = benchmark.control_questions
        change = self._steer(arm, dose)
        row: Row = {"model": model, "direction": arm.name, "strength": dose}
        if arm.draw is not None:
            row["draw"] = arm.draw
        if benchmark.has_answers:
            values = benchmark.logprob_diff(change, questions, model)
            row |= self._summarise(values, ("contrast", "contrast low", "contrast high"))
        if arm.is_answering:
            shows = benchmark.detect_behaviour(change, questions, texts, model)
            row |= self._summarise(shows, ("rate", "low", "high"))
            nll = benchmark.answer_scores.compute_nll(benchmark.base_model, texts)
            row["NLL under base"] = float(nll.mean())
        return row

    def _summarise(self, values: np.ndarray, columns: Sequence[str]) -> Row:
        """Return the mean over questions and its interval."""
        figures = bootstrap_mean(values, self.benchmark.seed)
        return dict(zip(columns, figures, strict=True))


def name_dose(model: str, direction: str, dose: float) -> str:
    """Return the name of the column of answers at a dose."""
    return f"{model}, {direction} × {dose:g}"
