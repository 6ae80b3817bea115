"""Effects of removing the first pieces of a method: on a behaviour, and on everything else.

    latents of the crosscoder   ablated in both models, Σ_{j∈S} f_j d_j^s is subtracted (ablate.py)
    latents of the SAE          Σ_{j∈S} f_j d_j is subtracted from chat (span.py)
    directions                  x' = x − Vᵀ V (x − c) in chat; V an orthonormal basis of them, c the
                                mean of base's activations on held-out text

    removed        1 − rate / rate of the unedited model, both in the framing
    KL plain       KL(clean ‖ edited) on held-out documents, nats per token

The floor is made of random pieces: latents of the same density and decoder norm, or directions that
point anywhere. A method with fewer pieces than a size removes all it has.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from crosscoder.core.intervention import Intervention
from crosscoder.core.model import Crosscoder
from crosscoder.evals.diffing.evidence import DirectionPiece, Evidence, LatentPiece
from crosscoder.evals.diffing.material import Material
from crosscoder.evals.support.baselines import match_latents
from crosscoder.evals.support.measurement import InterventionBenchmark
from crosscoder.interventions.ablate import ablate
from crosscoder.interventions.span import ablate_in_difference, project_out_span

Row = dict[str, Any]
RANDOM_LATENTS = "random latents"
RANDOM_DIRECTIONS = "random directions"


class Key(NamedTuple):
    """Names a removal: the first pieces of a method."""

    method: str
    n_pieces: int


@dataclass(frozen=True)
class Arm:
    """One removal.

    Args:
        method: Name of the method.
        size: Number of pieces that were asked for.
        n_pieces: Number of pieces that there are, at most `size`.
        change: The intervention.
    """

    method: str
    size: int
    n_pieces: int
    change: Intervention

    @property
    def key(self) -> Key:
        """Name of the removal. Two sizes can have the same one."""
        return Key(self.method, self.n_pieces)


@dataclass(frozen=True)
class Removal:
    """Removes pieces of evidence from the finetuned model while it answers held-out questions.

    Args:
        benchmark: The questions and models.
        material: Held-out tokens.
        sizes: Numbers of pieces that are removed together.
    """

    benchmark: InterventionBenchmark
    material: Material
    sizes: Sequence[int]

    def measure(self, found: Mapping[str, Sequence[Evidence]]) -> list[Row]:
        """Measure each method at every size, and random pieces at the largest size.

        Args:
            found: The pieces of the methods, by name. Pieces without a direction are not used.
        """
        arms = [*self._list_arms(found), *self._draw_floor(found)]
        figures = self._measure_changes({arm.key: arm.change for arm in arms})
        rows = []
        for arm in arms:
            place = {"method": arm.method, "size": arm.size, "pieces": arm.n_pieces}
            rows.append(place | figures[arm.key])
        return rows

    def _list_arms(self, found: Mapping[str, Sequence[Evidence]]) -> Iterator[Arm]:
        """Yield the removal of the first pieces of each method, one for each size."""
        for name, pieces in found.items():
            usable = [piece for piece in pieces if isinstance(piece, LatentPiece | DirectionPiece)]
            if not usable:
                continue
            for size in self.sizes:
                first = usable[:size]
                yield Arm(name, size, len(first), self.remove(first))

    def remove(self, pieces: Sequence[LatentPiece | DirectionPiece]) -> Intervention:
        """Return the intervention that removes pieces of one method, which are of one kind."""
        crosscoder = self.material.context.crosscoder
        latents = [piece for piece in pieces if isinstance(piece, LatentPiece)]
        if not latents:
            return self._project_out(torch.stack([piece.direction for piece in pieces]))
        numbers = [piece.latent for piece in latents]
        dictionary = latents[0].dictionary
        if dictionary is crosscoder:
            return ablate(crosscoder, numbers)
        return ablate_in_difference(crosscoder.sources, dictionary, numbers)

    def _project_out(self, directions: Tensor) -> Intervention:
        first, _ = self.material.diff_pair
        sources = self.material.context.crosscoder.sources
        return project_out_span(sources, first, directions, self.material.base_mean)

    def _draw_floor(self, found: Mapping[str, Sequence[Evidence]]) -> Iterator[Arm]:
        """Yield removals of random pieces of those kinds that are measured."""
        context = self.material.context
        crosscoder = context.crosscoder
        n = max(self.sizes)
        latents = find_latents(found, crosscoder)[:n]
        if latents:
            others = match_latents(context.latent_table, latents, context.seed)
            yield Arm(RANDOM_LATENTS, n, len(others), ablate(crosscoder, others))
        everything = list(chain.from_iterable(found.values()))
        if any(isinstance(piece, DirectionPiece) for piece in everything):
            directions = draw_directions(n, len(self.material.base_mean), context.seed)
            yield Arm(RANDOM_DIRECTIONS, n, n, self._project_out(directions))

    def _measure_changes(self, changes: Mapping[Key, Intervention]) -> dict[Key, Row]:
        """Return the figures of interventions, which answer together."""
        benchmark = self.benchmark
        questions = [*benchmark.questions, *benchmark.control_questions]
        several = list(changes.values())
        texts = benchmark.generate_for_all(several, questions, "answers without pieces")
        kls = benchmark.measure_plain_kls(several)
        figures = {}
        for key, own, kl in zip(changes, texts, kls, strict=True):
            figures[key] = self._score_answers(changes[key], own) | {"KL plain": kl}
        return figures

    def _score_answers(self, change: Intervention, texts: Sequence[str]) -> Row:
        """Return the figures of the answers to all questions, then to the control questions."""
        benchmark = self.benchmark
        n = len(benchmark.questions)
        shows = benchmark.detect_behaviour(change, benchmark.questions, texts[:n])
        control = benchmark.detect_behaviour(change, benchmark.control_questions, texts[n:])
        clean = float(benchmark.clean_shows.mean())
        rate = float(shows.mean())
        return {
            "rate": rate,
            "removed": 1 - rate / clean if clean else float("nan"),
            "control rate": float(control.mean()),
            "coherence NLL rise": float(benchmark.measure_coherence_rise(texts[:n]).mean()),
        }

    def describe_clean(self) -> dict[str, float]:
        """Return the rates of the unedited model and of its base."""
        benchmark = self.benchmark
        control = benchmark.detect_behaviour(
            None, benchmark.control_questions, benchmark.control_answers
        )
        return {
            "rate": float(benchmark.clean_shows.mean()),
            "control_rate": float(control.mean()),
            "rate_base": float(benchmark.base_shows.mean()),
        }


def find_latents(found: Mapping[str, Sequence[Evidence]], crosscoder: Crosscoder) -> list[int]:
    """Return the latents of the first method whose pieces are latents of a crosscoder."""
    for pieces in found.values():
        latents = [
            piece.latent
            for piece in pieces
            if isinstance(piece, LatentPiece) and piece.dictionary is crosscoder
        ]
        if latents:
            return latents
    return []


def draw_directions(n: int, width: int, seed: int) -> Tensor:
    """Draw directions that are uniform on the sphere, [n, width]."""
    draws = np.random.default_rng(seed).standard_normal((n, width))
    return torch.nn.functional.normalize(torch.from_numpy(draws).float(), dim=-1)
